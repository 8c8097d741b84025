//! `sysring send`: stdin or a file into a channel.

use std::time::Duration;

use sysring::{Builder, SendBatch, SendTimeoutError};

use crate::args::SendArgs;
use crate::exit::{FAILURE, Failure, TIMED_OUT};
use crate::framing::{FrameError, FrameReader};
use crate::progress::Progress;
use crate::source::Source;
use crate::{signals, transfer};

pub(crate) fn run(args: &SendArgs) -> Result<(), Failure> {
    signals::watch()?;
    transfer::sending(&args.name);
    let source = Source::open(args.file.as_deref())?;
    let mut progress = Progress::new(source.total, !source.is_typed);

    let builder = args.access.apply(Builder::default());
    let name = args.name.clone();
    let channel = if args.create { builder.open_or_create(name) } else { builder.open(name) }?;
    let mut sender = channel.sender()?;
    signals::interrupts(sender.interrupter());

    let failed = |error| no_frame(args, &error);
    let mut frames = FrameReader::new(source, args.framing, channel.max_message()).map_err(failed)?;
    let mut message = Vec::new();
    let mut sent = 0;
    // Reading may block, and whoever waits for the messages must not wait for that: one batch
    // takes what is at hand, and its end rings the receiver.
    while frames.read(&mut message).map_err(failed)? {
        let mut batch = sender.batch();
        send_one(&mut batch, &message, args, &mut sent)?;
        while frames.ready() && frames.read(&mut message).map_err(failed)? {
            progress.set(sent, frames.offset());
            send_one(&mut batch, &message, args, &mut sent)?;
        }
        batch.finish();
        progress.set(sent, frames.offset());
        if signals::noted() {
            return Err(Failure::interrupted());
        }
    }
    progress.finish();
    Ok(())
}

fn send_one(
    batch: &mut SendBatch<'_>,
    message: &[u8],
    args: &SendArgs,
    sent: &mut u64,
) -> Result<(), Failure> {
    match args.timeout {
        None => batch.send(message).map_err(|error| Failure::send(&args.name, &error))?,
        Some(timeout) => batch.send_timeout(message, timeout).map_err(|error| match error {
            SendTimeoutError::Timeout(_) => no_room(args, timeout),
            SendTimeoutError::Failed(error) => Failure::send(&args.name, &error),
        })?,
    }
    *sent += 1;
    transfer::moved(*sent);
    Ok(())
}

/// The input cannot be cut into messages, or not be read, or a signal ended that.
fn no_frame(args: &SendArgs, error: &FrameError) -> Failure {
    match error {
        FrameError::Read(_) if signals::noted() => Failure::interrupted(),
        error => Failure::new(FAILURE, format!("send to {}: {error}", args.name)),
    }
}

fn no_room(args: &SendArgs, timeout: Duration) -> Failure {
    let (name, tally) = (&args.name, transfer::tally().unwrap_or_default());
    Failure::new(
        TIMED_OUT,
        format!(
            "send to {name}: no room within {timeout:?} (ETIMEDOUT); {tally}; see who should receive with \
             'sysring stat {name}'"
        ),
    )
}
