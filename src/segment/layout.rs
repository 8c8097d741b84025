//! Every shared byte of a channel: where it lies, who writes it, what its values mean.
//!
//! The structures here are laid over the mapped segment. They hold nothing but `AtomicU64`, also where no word has
//! a meaning yet (`_rest`), so that a
//! reference to one is sound whatever other processes write at the same time, and each writer's words have
//! 128 bytes of their own (two cache lines, because processors fetch lines in pairs). Process-private
//! handles are different types and live in other modules.
//!
//! ```text
//! 0      Header                      (4 KiB)
//! 4096   SeatEntry x (1 + senders)   (64 B each: the receiver's first)
//! ...    LaneControl x senders       (512 B each, begins at a multiple of 128)
//! ...    lane data, senders x capacity, begins at a multiple of 4 KiB
//! end    SIZE_MARK bytes that nobody uses
//! ```
//!
//! The size of a segment never changes and comes from the kernel, so its remainder modulo 4096
//! ([`SIZE_MARK`]) tells a half-made channel from a stranger's segment even while every byte is still zero.

use crate::sync::AtomicU64;

/// Words without a meaning. The original also under loom, which would follow each of them.
type Filler = core::sync::atomic::AtomicU64;

/// First word of a finished channel: "sysring" and a zero byte. Stored last in creation.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"sysring\0");

/// First word of a channel that was given up before it was finished. Magic and this exclude each other: both are
/// compared and swapped with 0.
pub(crate) const ABANDONED: u64 = u64::from_le_bytes(*b"givenup\0");

/// Version of this layout. Any change of the structures below changes it.
pub(crate) const LAYOUT_VERSION: u32 = 3;

/// Second word: the version and a pattern that reads differently in another byte order.
pub(crate) const VERSION_WORD: u64 = (LAYOUT_VERSION as u64) << 32 | 0x0102_0304;

/// Size of the header and alignment of the lane data.
pub(crate) const PAGE: u64 = 4096;

/// What is left of every channel's segment size modulo [`PAGE`].
pub(crate) const SIZE_MARK: u64 = 0x528;

/// Smallest and largest lane.
pub(crate) const MIN_CAPACITY: u64 = 4096;
/// Largest lane: 1 TiB.
pub(crate) const MAX_CAPACITY: u64 = 1 << 40;

/// Most senders of one channel: 2 + 2 x 240 operations fit the 500 that one `semop` takes.
pub(crate) const MAX_SENDERS: u32 = 240;

/// Words of the bitmap of lanes worth looking at.
pub(crate) const BITMAP_WORDS: usize = MAX_SENDERS.div_ceil(64) as usize;

/// Bytes that a name may have.
pub(crate) const MAX_NAME: usize = 248;

/// A word alone on its 128 bytes.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub(crate) struct Lone {
    pub(crate) word: AtomicU64,
    _rest: [Filler; 15],
}

/// What creation fixes for the life of the channel. Written before the magic, never after.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub(crate) struct Birth {
    /// [`MAGIC`] when everything below is valid, 0 while the channel is being made.
    pub(crate) magic: AtomicU64,
    /// [`VERSION_WORD`].
    pub(crate) version: AtomicU64,
    /// Bit set of `FLAG_*`.
    pub(crate) flags: AtomicU64,
    /// Number of lanes.
    pub(crate) senders: AtomicU64,
    /// Bytes of one lane, a power of two.
    pub(crate) capacity: AtomicU64,
    /// Largest payload in bytes.
    pub(crate) max_message: AtomicU64,
    /// Nanoseconds since 1970 at creation.
    pub(crate) created: AtomicU64,
    /// Process id of the creator in its own namespace (for people; decides nothing).
    pub(crate) creator: AtomicU64,
    _rest: [Filler; 8],
}

/// One sender, no stamps, no bitmap.
pub(crate) const FLAG_SPSC: u64 = 1;
/// Messages carry stamps and are received in one total order.
pub(crate) const FLAG_TOTAL: u64 = 2;
/// Senders wait for the next receiver instead of seeing `Disconnected`.
pub(crate) const FLAG_PERSISTENT: u64 = 4;
/// The segment was removed from the key space at birth and goes with its last process.
pub(crate) const FLAG_ANONYMOUS: u64 = 8;
/// The segment lies in huge pages.
pub(crate) const FLAG_HUGE: u64 = 16;
/// All flags that this version knows.
pub(crate) const FLAGS_KNOWN: u64 = 31;

/// The receiver's bell, with the words that every publisher reads beside it.
///
/// In steady state nobody writes this line, so that reading it per message costs a cache hit.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub(crate) struct ReceiverBell {
    /// Sleep number: odd = the receiver sleeps or is about to.
    pub(crate) number: AtomicU64,
    /// Nonzero: somebody cannot call `membarrier`, everybody uses real fences. Never cleared.
    pub(crate) real_fences: AtomicU64,
    /// What every call looks at: [`REMOVED`], and below it the generation of the semaphore set. Never
    /// decreases.
    pub(crate) notice: AtomicU64,
    /// Grows at every attach and detach, so that fruitless calls know when to ask the kernel again.
    pub(crate) changes: AtomicU64,
    _rest: [Filler; 12],
}

/// Bit of [`ReceiverBell::notice`]: the channel was removed. Never cleared.
pub(crate) const REMOVED: u64 = 1 << 63;

/// How often each side has come, and how often something was damaged. Nobody writes it per message.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub(crate) struct Visits {
    /// Sender seats taken since creation.
    pub(crate) senders: AtomicU64,
    /// Receiver seats taken since creation.
    pub(crate) receivers: AtomicU64,
    /// Sender departures that a receiver has reported as an end.
    pub(crate) departed: AtomicU64,
    /// How often a call has reported damage (for monitoring).
    pub(crate) damages: AtomicU64,
    _rest: [Filler; 12],
}

/// The first page.
#[derive(Debug, Default)]
#[repr(C, align(4096))]
pub(crate) struct Header {
    pub(crate) birth: Birth,
    /// {generation: 32, semaphore set id: 32}; 0 = no set yet. See [`crate::segment::set`].
    pub(crate) set: Lone,
    pub(crate) bell: ReceiverBell,
    pub(crate) visits: Visits,
    /// Next stamp of the total order; senders `fetch_add` it.
    pub(crate) stamps: Lone,
    /// Lanes worth looking at: senders set, only the receiver clears.
    pub(crate) bitmap: Bitmap,
    /// Length of the name, then its bytes.
    pub(crate) name: Name,
    _rest: [[Filler; 32]; 12],
}

/// See [`Header::bitmap`].
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub(crate) struct Bitmap {
    pub(crate) words: [AtomicU64; BITMAP_WORDS],
    _rest: [Filler; 16 - BITMAP_WORDS],
}

/// Name of a named channel, in words. Length 0 = it was made under a raw key, or is anonymous.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub(crate) struct Name {
    pub(crate) length: AtomicU64,
    pub(crate) bytes: [AtomicU64; MAX_NAME / 8],
}

/// One seat's entry: who took it, for people and for the repair of a lost semaphore set.
///
/// Who *lives* is never read from here while the set is there: the semaphore `alive` of the seat is the kernel's
/// own word.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(crate) struct SeatEntry {
    /// The holder's claim, see [`crate::segment::seat::Claim`]; 0 = left cleanly or never taken. Changed by
    /// compare-and-swap only.
    pub(crate) claim: AtomicU64,
    _rest: [Filler; 7],
}

/// Written by the lane's sender, polled by nobody.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub(crate) struct ProducerLine {
    /// Position of the next record: where a takeover begins its walk.
    pub(crate) tail: AtomicU64,
    /// Messages sent (for monitoring).
    pub(crate) sent: AtomicU64,
    /// Payload bytes sent (for monitoring).
    pub(crate) sent_bytes: AtomicU64,
    /// Grows with every takeover: a producer that finds another number than its own has lost its seat.
    pub(crate) takeovers: AtomicU64,
    /// 1 + the position at which a sender met impossible words; 0 = none was met, or a later one found them in order.
    pub(crate) corrupt: AtomicU64,
    _rest: [Filler; 11],
}

/// The sender's bell: written by it when it must wait for room, read by the receiver at every release.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub(crate) struct RoomBell {
    /// Sleep number: odd = the sender sleeps or is about to.
    pub(crate) number: AtomicU64,
    /// Position that `read` must reach before it is worth waking the sender.
    pub(crate) want: AtomicU64,
    _rest: [Filler; 14],
}

/// Written by the receiver at every release, read by the sender only when the lane seems full.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub(crate) struct ConsumerLine {
    /// Everything before it was released: where a new receiver resumes.
    pub(crate) read: AtomicU64,
    /// Everything before it was handed out: a message that begins before it is a redelivery.
    pub(crate) given: AtomicU64,
    /// Messages released (for monitoring).
    pub(crate) received: AtomicU64,
    /// 1 + the position of the first damaged record; 0 = none was met.
    pub(crate) corrupt: AtomicU64,
    /// As [`ProducerLine::takeovers`].
    pub(crate) takeovers: AtomicU64,
    _rest: [Filler; 11],
}

/// The control words of one lane.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct LaneControl {
    pub(crate) producer: ProducerLine,
    pub(crate) room: RoomBell,
    /// A copy of `read` that is stored in batches and that a waiting sender may poll.
    pub(crate) head: Lone,
    pub(crate) consumer: ConsumerLine,
}

#[cfg(not(loom))]
const _: () = {
    use core::mem::{align_of, offset_of, size_of};
    assert!(size_of::<Header>() == PAGE as usize);
    assert!(offset_of!(Header, set) == 128);
    assert!(offset_of!(Header, bell) == 256);
    assert!(offset_of!(Header, visits) == 384);
    assert!(offset_of!(Header, stamps) == 512);
    assert!(offset_of!(Header, bitmap) == 640);
    assert!(offset_of!(Header, name) == 768);
    assert!(size_of::<SeatEntry>() == 64);
    assert!(size_of::<LaneControl>() == 512 && align_of::<LaneControl>() == 128);
    assert!(offset_of!(LaneControl, room) == 128);
    assert!(offset_of!(LaneControl, head) == 256);
    assert!(offset_of!(LaneControl, consumer) == 384);
};

/// The numbers that fix where everything lies. A value of this type has passed [`Geometry::new`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    senders: u32,
    capacity: u64,
}

impl Geometry {
    /// Checks the bounds; `None` when a channel of that shape cannot exist.
    pub(crate) fn new(senders: u64, capacity: u64) -> Option<Geometry> {
        let senders = u32::try_from(senders).ok()?;
        let shape = (1..=MAX_SENDERS).contains(&senders)
            && capacity.is_power_of_two()
            && (MIN_CAPACITY..=MAX_CAPACITY).contains(&capacity);
        shape.then_some(Geometry { senders, capacity })
    }

    pub(crate) fn senders(self) -> u32 {
        self.senders
    }

    pub(crate) fn capacity(self) -> u64 {
        self.capacity
    }

    /// Largest payload that fits an empty lane wherever its positions stand.
    ///
    /// A record that does not fit before the end of the lane needs padding of up to its own size less 8,
    /// and 8 bytes more for the terminator: so a record may take half of the lane, 16 of it for header
    /// and stamp.
    pub(crate) fn largest_message(self) -> u64 {
        self.capacity / 2 - 16
    }

    /// Semaphores of the set.
    #[cfg(not(loom))]
    pub(crate) fn semaphores(self) -> u16 {
        crate::segment::seat::FIRST_LANE + 2 * self.senders as u16
    }

    /// Offset of the entry of seat `index` (0 = the receiver).
    pub(crate) fn seat(self, index: u32) -> u64 {
        assert!(index <= self.senders, "seat {index} of {}", self.senders);
        PAGE + 64 * u64::from(index)
    }

    fn controls(self) -> u64 {
        (PAGE + 64 * (u64::from(self.senders) + 1)).next_multiple_of(128)
    }

    /// Offset of the control words of `lane`.
    pub(crate) fn control(self, lane: u32) -> u64 {
        assert!(lane < self.senders, "lane {lane} of {}", self.senders);
        self.controls() + 512 * u64::from(lane)
    }

    fn lanes(self) -> u64 {
        (self.controls() + 512 * u64::from(self.senders)).next_multiple_of(PAGE)
    }

    /// Offset of the bytes of `lane`.
    pub(crate) fn data(self, lane: u32) -> u64 {
        assert!(lane < self.senders, "lane {lane} of {}", self.senders);
        self.lanes() + self.capacity * u64::from(lane)
    }

    /// Size of the whole segment. Cannot overflow: 240 lanes of 1 TiB are below 2^48.
    pub(crate) fn total(self) -> u64 {
        self.lanes() + self.capacity * u64::from(self.senders) + SIZE_MARK
    }
}

/// Whether a segment of this size can be a channel at all.
pub(crate) fn is_channel_size(size: u64) -> bool {
    size % PAGE == SIZE_MARK && size > 2 * PAGE + MIN_CAPACITY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_follow_each_other_without_overlap() {
        for senders in [1, 2, 3, 63, 64, 65, 239, 240] {
            for capacity in [MIN_CAPACITY, 1 << 20, MAX_CAPACITY] {
                let shape = Geometry::new(senders, capacity).unwrap();
                let last = shape.senders() - 1;
                assert!(shape.seat(shape.senders()) + 64 <= shape.control(0));
                assert!(shape.control(last) + 512 <= shape.data(0));
                assert_eq!(shape.control(0) % 128, 0);
                assert_eq!(shape.data(0) % PAGE, 0);
                assert_eq!(shape.total(), shape.data(last) + capacity + SIZE_MARK);
                assert!(is_channel_size(shape.total()));
            }
        }
    }

    #[test]
    fn impossible_shapes_are_refused() {
        for (senders, capacity) in [
            (0, 4096),
            (241, 4096),
            (u64::MAX, 4096),
            (1, 0),
            (1, 2048),
            (1, 4097),
            (1, 1 << 41),
            (1, u64::MAX),
        ] {
            assert_eq!(Geometry::new(senders, capacity), None);
        }
    }

    #[test]
    fn the_tutorials_segment_is_no_channel() {
        assert!(!is_channel_size(1024));
        assert!(!is_channel_size(SIZE_MARK));
        assert!(!is_channel_size(4096));
    }
}
