//! `sysring send`: stdin or a file into a channel.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::path::Path;
use std::time::Duration;

use sysring::{Builder, SendBatch, SendTimeoutError};

use crate::args::SendArgs;
use crate::exit::{FAILURE, Failure, TIMED_OUT, errno};
use crate::framing::FrameReader;
use crate::progress::Progress;
use crate::signals;

pub(crate) fn run(args: &SendArgs) -> Result<(), Failure> {
    signals::watch()?;
    let (input, mut progress) = open_input(args.file.as_deref())?;

    let builder = args.access.apply(Builder::default());
    let name = args.name.clone();
    let channel = if args.create { builder.open_or_create(name) } else { builder.open(name) }?;
    let mut sender = channel.sender()?;
    signals::interrupts(sender.interrupter());

    let failed = |error| Failure::new(FAILURE, format!("send to {}: {error}", args.name));
    let mut frames = FrameReader::new(input, args.framing, channel.max_message()).map_err(failed)?;
    let mut message = Vec::new();
    // Reading may block, and whoever waits for the messages must not wait for that: one batch
    // takes what is at hand, and its end rings the receiver.
    while frames.read(&mut message).map_err(failed)? {
        let mut batch = sender.batch();
        send_one(&mut batch, &message, args)?;
        while frames.ready() && frames.read(&mut message).map_err(failed)? {
            send_one(&mut batch, &message, args)?;
        }
        batch.finish();
        progress.set(frames.offset());
        if signals::noted() {
            return Err(Failure::interrupted());
        }
    }
    Ok(())
}

fn send_one(batch: &mut SendBatch<'_>, message: &[u8], args: &SendArgs) -> Result<(), Failure> {
    let Some(timeout) = args.timeout else {
        return batch.send(message).map_err(|error| Failure::send(&args.name, &error));
    };
    batch.send_timeout(message, timeout).map_err(|error| match error {
        SendTimeoutError::Timeout(_) => no_room(args, timeout),
        SendTimeoutError::Failed(error) => Failure::send(&args.name, &error),
    })
}

fn no_room(args: &SendArgs, timeout: Duration) -> Failure {
    let name = &args.name;
    Failure::new(
        TIMED_OUT,
        format!(
            "send to {name}: no room within {timeout:?} (ETIMEDOUT); see who should receive with \
             'sysring stat {name}'"
        ),
    )
}

/// The input, and the progress of reading it.
fn open_input(file: Option<&Path>) -> Result<(Box<dyn Read>, Progress), Failure> {
    match file {
        Some(path) if path != Path::new("-") => {
            let failed = |error: io::Error| {
                Failure::new(FAILURE, format!("cannot open {}: {}", path.display(), errno(&error)))
            };
            let file = File::open(path).map_err(failed)?;
            let metadata = file.metadata().map_err(failed)?;
            let total = metadata.is_file().then_some(metadata.len());
            Ok((Box::new(file), Progress::new(total, true)))
        }
        _ => {
            let stdin = io::stdin().lock();
            let wanted = !stdin.is_terminal();
            Ok((Box::new(stdin), Progress::new(None, wanted)))
        }
    }
}
