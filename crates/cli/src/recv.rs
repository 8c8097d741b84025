//! `sysring recv`: a channel to stdout.

use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};
use std::mem;
use std::os::fd::AsFd as _;

use sysring::{Builder, EndOfStream, Receiver, RecvBatch, RecvError, RecvTimeoutError};

use crate::args::RecvArgs;
use crate::exit::{FAILURE, Failure, TIMED_OUT};
use crate::framing::Output;
use crate::progress::Progress;
use crate::signals;

/// A batch is released at its end only, so it takes no more than about this many bytes: the
/// sender goes on in the rest of its lane meanwhile.
const BATCH_BYTES: usize = 128 << 10;
const BATCH_MESSAGES: usize = 4096;
/// Bytes that framing adds to a message at most.
const FRAME: usize = 4;

pub(crate) fn run(args: &RecvArgs) -> Result<(), Failure> {
    signals::watch()?;
    let mut stdout = Stdout::new(args.framing)?;

    let builder = args.access.apply(Builder::default());
    let name = args.name.clone();
    let channel = if args.create { builder.open_or_create(name) } else { builder.open(name) }?;
    let mut receiver = channel.receiver()?;
    signals::interrupts(receiver.interrupter());
    receiver.set_end(match args.eof {
        Some(senders) => EndOfStream::AfterSenders(senders),
        None if args.follow => EndOfStream::Never,
        None => EndOfStream::AllGone,
    });

    receive(args, &mut receiver, &mut stdout)?;
    if args.rm {
        channel.remove()?;
    }
    Ok(())
}

/// Until the end of the stream, or the count.
fn receive(args: &RecvArgs, receiver: &mut Receiver, stdout: &mut Stdout) -> Result<(), Failure> {
    let mut progress = Progress::new(None, !io::stdout().is_terminal());
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut wanted = 1;
    let mut written = 0;
    while left > 0 {
        let max = usize::try_from(left).map_or(wanted, |left| wanted.min(left));
        let Some(batch) = next_batch(args, receiver, max)? else {
            break;
        };
        let messages = batch.len();
        let bytes = match stdout.write_batch(&batch) {
            Ok(bytes) => bytes,
            Err(failure) => {
                // What was not written stays in the channel, for the next receiver.
                mem::forget(batch);
                return Err(failure);
            }
        };
        drop(batch);
        left -= messages as u64;
        wanted = BATCH_BYTES.div_ceil(bytes / messages.max(1) + 1).min(BATCH_MESSAGES);
        written += bytes as u64;
        progress.set(written);
        if signals::noted() {
            return Err(Failure::interrupted());
        }
    }
    Ok(())
}

/// Waits for messages; none at the end of the stream.
fn next_batch<'a>(
    args: &RecvArgs,
    receiver: &'a mut Receiver,
    max: usize,
) -> Result<Option<RecvBatch<'a>>, Failure> {
    let received = match args.timeout {
        None => receiver.recv_batch(max),
        Some(timeout) => match receiver.recv_batch_timeout(max, timeout) {
            Ok(batch) => Ok(batch),
            Err(RecvTimeoutError::Failed(error)) => Err(error),
            Err(RecvTimeoutError::Timeout) => {
                let name = &args.name;
                return Err(Failure::new(
                    TIMED_OUT,
                    format!(
                        "recv from {name}: no message within {timeout:?} (ETIMEDOUT); see who \
                         should send with 'sysring stat {name}'"
                    ),
                ));
            }
        },
    };
    match received {
        Ok(batch) => Ok(Some(batch)),
        Err(RecvError::Disconnected) => Ok(None),
        Err(error) => Err(Failure::recv(&args.name, &error)),
    }
}

/// Standard output without the line buffer that `std` puts before it.
struct Stdout {
    file: File,
    framing: Output,
    buffer: Vec<u8>,
}

impl Stdout {
    fn new(framing: Output) -> Result<Self, Failure> {
        let stdout = io::stdout().as_fd().try_clone_to_owned();
        let file = File::from(stdout.map_err(|error| Failure::stdout(&error))?);
        Ok(Self { file, framing, buffer: Vec::new() })
    }

    /// Writes every message of the batch and says how many bytes that were.
    fn write_batch(&mut self, batch: &RecvBatch<'_>) -> Result<usize, Failure> {
        let mut bytes = 0;
        for message in batch.iter() {
            self.buffer.try_reserve(message.len().saturating_add(FRAME)).map_err(|_| {
                let bytes = message.len();
                Failure::new(FAILURE, format!("no memory for a message of {bytes} bytes (ENOMEM)"))
            })?;
            self.framing
                .append(message.len(), &mut self.buffer, |out| message.append_to(out))
                .map_err(|error| Failure::new(FAILURE, error.to_string()))?;
            if self.buffer.len() >= BATCH_BYTES {
                bytes += self.flush()?;
            }
        }
        bytes += self.flush()?;
        Ok(bytes)
    }

    fn flush(&mut self) -> Result<usize, Failure> {
        self.file.write_all(&self.buffer).map_err(|error| Failure::stdout(&error))?;
        let written = self.buffer.len();
        self.buffer.clear();
        Ok(written)
    }
}
