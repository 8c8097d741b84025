//! `sysring recv`: a channel to stdout or a file.

use std::io::{self, IsTerminal as _};
use std::path::Path;

use sysring::{Builder, Channel, Corruption, EndOfStream, Receiver, RecvBatch, RecvError, RecvTimeoutError};

use crate::args::RecvArgs;
use crate::exit::{DAMAGED, FAILURE, Failure, TIMED_OUT, errno};
use crate::progress::Progress;
use crate::sink::{BLOCK, Cut, Sink, Why};
use crate::{signals, transfer};

/// A batch is released at its end only, so it takes no more than about [`BLOCK`] bytes: the sender goes on in the rest
/// of its lane meanwhile.
const BATCH_MESSAGES: usize = 4096;

pub(crate) fn run(args: &RecvArgs) -> Result<(), Failure> {
    signals::watch()?;
    transfer::receiving(&args.name);
    let mut sink = match args.to_file.as_deref() {
        Some(path) if path != Path::new("-") => Sink::file(path, args.append, args.framing)?,
        _ => Sink::stdout(args.framing)?,
    };

    let (channel, mut receiver) = match seat(args) {
        Ok(seated) => seated,
        Err(failure) => {
            sink.discard();
            return Err(failure);
        }
    };
    if !args.append {
        sink.empty()?;
    }

    receive(args, &mut receiver, &mut sink)?;
    if args.rm {
        channel.remove()?;
    }
    Ok(())
}

fn seat(args: &RecvArgs) -> Result<(Channel, Receiver), Failure> {
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
    Ok((channel, receiver))
}

/// Until the end of the stream, or the count.
fn receive(args: &RecvArgs, receiver: &mut Receiver, sink: &mut Sink) -> Result<(), Failure> {
    // What runs over the terminal as text needs no bar between it.
    let mut progress = Progress::new(None, !(sink.is_stdout() && io::stdout().is_terminal()));
    let limit = args.count.unwrap_or(u64::MAX);
    let mut wanted = 1;
    let (mut received, mut written) = (0, 0);
    let mut damage = Damage::default();
    while received < limit {
        let max = usize::try_from(limit - received).map_or(wanted, |left| wanted.min(left));
        let batch = match next_batch(args, receiver, max) {
            Ok(Some(batch)) => batch,
            Ok(None) => break,
            Err(Stop::Failed(failure)) => return Err(damage.first(failure)),
            Err(Stop::Damaged(corruption)) => {
                damage.note(args, corruption)?;
                continue;
            }
        };
        let messages = batch.len();
        transfer::writing(true);
        let outcome = sink.write_batch(&batch);
        let whole = outcome.as_ref().map_or_else(|cut| cut.whole, |_| messages);
        received += whole as u64;
        // What was not written stays in the channel, for the next receiver.
        batch.release_first(whole);
        transfer::moved(received);
        transfer::writing(false);
        let bytes = outcome.map_err(|cut| not_written(args, sink, cut))?;
        wanted = BLOCK.div_ceil(bytes / messages.max(1) + 1).min(BATCH_MESSAGES);
        written += bytes as u64;
        progress.set(received, written);
        if signals::noted() {
            return Err(Failure::interrupted());
        }
    }
    progress.finish();
    damage.end()
}

/// What was met, and is told at the end: the other lanes go on.
#[derive(Debug, Default)]
struct Damage {
    lanes: Vec<u32>,
    failure: Option<Failure>,
}

impl Damage {
    /// A lane is damaged. An error if nothing else can come.
    fn note(&mut self, args: &RecvArgs, corruption: Corruption) -> Result<(), Failure> {
        let failure = Failure::recv(&args.name, &RecvError::Corrupt(corruption));
        if self.lanes.contains(&corruption.lane) {
            return Err(self.first(failure));
        }
        self.lanes.push(corruption.lane);
        if args.follow {
            failure.say(); // the end may be far away
            self.failure.get_or_insert(Failure::quiet(DAMAGED));
        } else {
            self.failure.get_or_insert(failure);
        }
        Ok(())
    }

    /// The damage goes before whatever ended the transfer, but for a signal.
    fn first(&mut self, failure: Failure) -> Failure {
        self.failure.take().filter(|_| !signals::noted()).unwrap_or(failure)
    }

    fn end(self) -> Result<(), Failure> {
        self.failure.map_or(Ok(()), Err)
    }
}

/// Why there are no messages.
#[derive(Debug)]
enum Stop {
    Failed(Failure),
    Damaged(Corruption),
}

fn not_written(args: &RecvArgs, sink: &Sink, cut: Cut) -> Failure {
    let why = match cut.why {
        Why::Interrupted(None) => return Failure::interrupted(),
        Why::Interrupted(Some((part, frame))) => {
            return Failure::cut(&format!(
                "{} ends with {part} of the next message's {frame} bytes, which stays in the channel",
                sink.name()
            ));
        }
        // Nobody reads it any more: that is the end, not a failure.
        Why::Write(error) if error.kind() == io::ErrorKind::BrokenPipe => return Failure::quiet(0),
        Why::Write(error) => format!("writing to {}: {}", sink.name(), errno(&error)),
        Why::Frame(error) => error.to_string(),
        Why::NoMemory(bytes) => format!("no memory for a message of {bytes} bytes (ENOMEM)"),
    };
    let tally = transfer::tally().unwrap_or_default();
    let line = format!("recv from {}: {why}; {tally}, the others stay in the channel", args.name);
    Failure::new(FAILURE, line)
}

/// Waits for messages; none at the end of the stream.
fn next_batch<'a>(
    args: &RecvArgs,
    receiver: &'a mut Receiver,
    max: usize,
) -> Result<Option<RecvBatch<'a>>, Stop> {
    let received = match args.timeout {
        None => receiver.recv_batch(max),
        Some(timeout) => match receiver.recv_batch_timeout(max, timeout) {
            Ok(batch) => Ok(batch),
            Err(RecvTimeoutError::Failed(error)) => Err(error),
            Err(RecvTimeoutError::Timeout) => {
                let name = &args.name;
                return Err(Stop::Failed(Failure::new(
                    TIMED_OUT,
                    format!(
                        "recv from {name}: no message within {timeout:?} (ETIMEDOUT); see who \
                         should send with 'sysring stat {name}'"
                    ),
                )));
            }
        },
    };
    match received {
        Ok(batch) => Ok(Some(batch)),
        Err(RecvError::Disconnected) => Ok(None),
        Err(RecvError::Corrupt(corruption)) => Err(Stop::Damaged(corruption)),
        Err(error) => Err(Stop::Failed(Failure::recv(&args.name, &error))),
    }
}
