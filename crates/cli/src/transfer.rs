//! How many messages a transfer has moved, for the one line that says so when a signal ends it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sysring::Address;

use crate::{output, signals};

/// Messages moved for good; read by whoever writes the line, perhaps another thread.
static MOVED: AtomicU64 = AtomicU64::new(0);

/// Whether messages in hand are being written, which may take for ever.
static WRITING: AtomicBool = AtomicBool::new(false);

static TRANSFER: OnceLock<Transfer> = OnceLock::new();

#[derive(Debug)]
struct Transfer {
    /// `send to logs`
    what: String,
    /// `sent`
    done: &'static str,
}

/// A transfer into this channel begins.
pub(crate) fn sending(name: &Address) {
    begin(Transfer { what: format!("send to {name}"), done: "sent" });
}

/// A transfer out of this channel begins.
pub(crate) fn receiving(name: &Address) {
    begin(Transfer { what: format!("recv from {name}"), done: "received" });
}

fn begin(transfer: Transfer) {
    // A process makes one transfer in its life.
    let _ = TRANSFER.set(transfer);
}

/// So many messages are moved in all.
pub(crate) fn moved(messages: u64) {
    MOVED.store(messages, Ordering::Relaxed);
}

/// Messages are being written from here on, or not any more.
pub(crate) fn writing(under_way: bool) {
    WRITING.store(under_way, Ordering::Relaxed);
}

/// `1,234 messages received`; of a transfer that ends early.
pub(crate) fn tally() -> Option<String> {
    let transfer = TRANSFER.get()?;
    Some(format!("{} {}", output::count(MOVED.load(Ordering::Relaxed), "message"), transfer.done))
}

/// What is to be said when a signal ends the transfer. Nothing if there is nothing to tell: no message was moved, and
/// the exit status says the rest.
pub(crate) fn interrupted(detail: &str) -> Option<String> {
    let transfer = TRANSFER.get()?;
    let detail = match detail {
        "" if WRITING.load(Ordering::Relaxed) => "what was being written stays in it",
        detail => detail,
    };
    if MOVED.load(Ordering::Relaxed) == 0 && detail.is_empty() {
        return None;
    }
    let (what, signal, tally) = (&transfer.what, signals::name(), tally()?);
    let mut line = format!("{what}: interrupted by {signal}; {tally}, the channel is consistent");
    if !detail.is_empty() {
        line.push_str("; ");
        line.push_str(detail);
    }
    Some(line)
}
