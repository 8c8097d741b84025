//! What the fuzz targets of `crates/fuzz` do with their input: any bytes may come.
//!
//! Compiled for the fuzzer and for the tests only. The tests run the same functions over the corpus and over inputs made
//! of it, so that a target that fails does so on a stable compiler too.
//!
//! | target | what the bytes are |
//! |---|---|
//! | [`segment`] | words that a stranger writes into a channel's segment, between calls of both sides |
//! | [`operations`] | calls on several lanes and their merge, deaths between steps, compared with queues |
//! | [`address`] | the text of an address |

mod address;
mod operations;
mod segment;
mod stage;

pub use address::address;
pub use operations::operations;
pub use segment::segment;

/// The bytes of an input, taken from the front; zeros follow its end.
struct Input<'a> {
    rest: &'a [u8],
}

impl Input<'_> {
    fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        first
    }

    /// Two bytes.
    fn number(&mut self) -> u64 {
        u64::from(u16::from_le_bytes([self.byte(), self.byte()]))
    }

    /// Eight bytes.
    fn word(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    /// A number below `bound`.
    fn below(&mut self, bound: u32) -> u32 {
        u32::from(self.byte()) % bound
    }

    /// A length up to `max`: small, near the largest, or any.
    fn length(&mut self, max: u64) -> u64 {
        match self.byte() {
            small @ 0..0xa0 => u64::from(small % 32).min(max),
            less @ 0xa0..0xc0 => max.saturating_sub(u64::from(less - 0xa0)),
            _ => self.number() % (max + 1),
        }
    }
}

#[cfg(test)]
#[path = "../../tests/common/replay.rs"]
mod replay;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{address, operations, replay::replay, segment};

    fn corpus(target: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/fuzz/corpus").join(target)
    }

    #[test]
    fn strange_segments() {
        replay(&corpus("segment"), segment);
    }

    #[test]
    fn sequences_of_operations() {
        replay(&corpus("operations"), operations);
    }

    #[test]
    fn texts_of_addresses() {
        replay(&corpus("address"), address);
    }
}
