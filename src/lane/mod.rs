//! The lane: a single-producer single-consumer byte ring, the only ring of this crate.
//!
//! A record is an 8-byte header word, in stamped lanes a stamp, then the payload, padded to 8 and never
//! wrapped. **The header word is the publication.** The producer first writes a zero word, the terminator,
//! where the next header will be, then the payload, then this header with Release (A). The consumer looks at
//! the header at its own position with Acquire (B): nonzero means that the whole record is there. Payload and
//! flag share a cache line, so a small message costs one line transfer.
//!
//! A record that would cross the end of the lane goes to offset 0, and a padding record fills the gap. The
//! record is written first, its header included, and the padding's header publishes both at once.
//!
//! Positions are ever-growing byte counts; an offset is a position modulo the capacity. `tail` is where the
//! next record goes, `read` the next to release, `head` a copy of `read` stored in batches. A record needs
//!
//! ```text
//! padding + record + 8 <= capacity - (tail - read)
//! ```
//!
//! The 8 bytes are the terminator's: without them a full lane would zero the header at `read`.
//!
//! Each side keeps its own positions in private memory and never believes the shared copies; what it loads of
//! the other side is checked before use. The lane never sleeps, reads no clock and knows no process: it
//! reports, the caller decides.
//!
//! | letter | where | order | pairs with |
//! |---|---|---|---|
//! | A | [`Producer::commit`], [`Producer::send_at_once`], header store | Release | B |
//! | B | [`Consumer::peek`], [`Consumer::receive_at_once`], [`Consumer::take_at_once`], header load | Acquire | A |
//! | C | [`Consumer::release`], [`Consumer::receive_at_once`], `read` and `head` store | Release | D |
//! | D | [`Producer::reserve`], `head` and `read` load | Acquire | C |
//! | S | [`Producer::commit`], [`Producer::send_at_once`], `tail` store | Release | s |
//! | s | [`Consumer::is_cut_off`], `tail` load | Acquire | S |
//! | Y | [`Producer::reserve`], fence behind D | Release | Z |
//! | Z | [`Onlooker`], fence before `read` | Acquire | Y, C |
//!
//! Y and Z serve those who look from outside: see [`onlooker`].

mod consumer;
mod onlooker;
mod producer;
mod record;

pub(crate) use consumer::{Consumer, Found, Peek};
pub(crate) use onlooker::{Glance, Onlooker, Seen};
pub(crate) use producer::{Look, Producer, Reservation, Room};

#[cfg(all(any(test, fuzzing), not(loom)))]
pub(crate) use record::{data, padding, payload_offset, size};

/// No honest position comes near: 2^62 bytes are seven years at 20 GB/s. Whatever the segment claims beyond
/// is refused, so that arithmetic on positions cannot overflow.
const MAX_POSITION: u64 = 1 << 62;

#[cfg(all(test, not(loom)))]
mod tests;
