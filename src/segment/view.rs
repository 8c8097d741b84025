//! A channel's segment after its header was checked: the one decoding place for the shape of a channel.

use std::sync::Arc;

#[cfg(not(loom))]
use super::lane_view::LaneMap;
use super::layout::{
    ABANDONED, FLAG_ANONYMOUS, FLAG_HUGE, FLAG_PERSISTENT, FLAG_SPSC, FLAG_TOTAL, FLAGS_KNOWN, Geometry,
    Header, LAYOUT_VERSION, MAGIC, MAX_NAME, REMOVED, SeatEntry, VERSION_WORD, is_channel_size,
};
use super::region::{HeaderMap, Region};
use super::set::{LAST_WORD, Set};
use crate::sync::{Ordering, fence};

/// A mapped channel whose header passed every check. Keeps the segment mapped; clones share it.
///
/// All numbers were read once, checked against the kernel's size of the segment, and are private since.
#[derive(Clone, Debug)]
pub(crate) struct View {
    header: HeaderMap,
    geometry: Geometry,
    flags: u64,
    max_message: u64,
    name: String,
}

/// What the first words of a segment say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unready {
    /// A channel that somebody is making, or died making.
    HalfMade,
    /// A channel that was given up before it was finished, and is to be removed.
    Abandoned,
    /// No channel of ours: the reason.
    Foreign(String),
    /// A channel of ours with an impossible header: the reason.
    Damaged(String),
}

/// What creation writes, and opening reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) geometry: Geometry,
    pub(crate) flags: u64,
    pub(crate) max_message: u64,
    pub(crate) name: String,
    pub(crate) created: u64,
    pub(crate) creator: u64,
}

/// Whether the segment is ready, without believing anything else in it.
pub(crate) fn probe(region: &Region) -> Result<(), Unready> {
    let size = region.len();
    if !region.holds_header() {
        return Err(Unready::Foreign(format!("its {size} bytes hold no channel header")));
    }
    state(region.at(0), size)
}

/// The same by the header alone, of a segment of `size` bytes.
pub(crate) fn state(header: &Header, size: u64) -> Result<(), Unready> {
    // The header is complete behind the magic. A fence, because an observer may only read here, and there the language
    // allows relaxed loads and no others.
    let magic = header.birth.magic.load(Ordering::Relaxed);
    fence(Ordering::Acquire); // I
    match magic {
        MAGIC => Ok(()),
        // The version is written first.
        0 if is_channel_size(size)
            && [0, VERSION_WORD].contains(&header.birth.version.load(Ordering::Relaxed)) =>
        {
            Err(Unready::HalfMade)
        }
        ABANDONED if is_channel_size(size) => Err(Unready::Abandoned),
        0 => Err(Unready::Foreign(format!("{size} bytes that begin with zeros are no channel"))),
        other => {
            let bytes = other.to_le_bytes();
            let text = bytes.escape_ascii();
            Err(Unready::Foreign(format!("it begins with \"{text}\", not with the mark of a channel")))
        }
    }
}

/// Makes sure that a half-made channel is never finished. False if it is finished.
///
/// Relaxed: [`write`] swaps the same word, so a maker that has entered a set and comes too late learns it there, at the
/// latest, and removes the set.
pub(crate) fn abandon(header: &Header) -> bool {
    let magic = &header.birth.magic;
    let swapped = magic.compare_exchange(0, ABANDONED, Ordering::Relaxed, Ordering::Relaxed);
    matches!(swapped, Ok(_) | Err(ABANDONED))
}

/// Checks the header of a ready channel in a segment of `size` bytes. Every word is read once.
pub(crate) fn read(header: &Header, size: u64) -> Result<Plan, Unready> {
    let birth = &header.birth;
    let version = birth.version.load(Ordering::Relaxed);
    if version != VERSION_WORD {
        let (found, order) = (version >> 32, version as u32);
        return Err(Unready::Foreign(format!(
            "it has layout version {found} (byte order mark {order:#x}), this program speaks {LAYOUT_VERSION}"
        )));
    }
    let flags = birth.flags.load(Ordering::Relaxed);
    let senders = birth.senders.load(Ordering::Relaxed);
    let capacity = birth.capacity.load(Ordering::Relaxed);
    let max_message = birth.max_message.load(Ordering::Relaxed);
    let damaged = |what: &str, value: u64| Unready::Damaged(format!("{what} {value} in its header"));
    let geometry =
        Geometry::new(senders, capacity).filter(|shape| shape.total() == size).ok_or_else(|| {
            Unready::Damaged(format!(
                "{senders} lanes of {capacity} bytes in its header do not make {size} bytes"
            ))
        })?;
    if flags & !FLAGS_KNOWN != 0 || (flags & FLAG_SPSC != 0 && senders != 1) {
        return Err(damaged("impossible flags", flags));
    }
    if max_message > geometry.largest_message() {
        return Err(damaged("impossible largest message", max_message));
    }
    let length = header.name.length.load(Ordering::Relaxed);
    let name = read_name(header, length).ok_or_else(|| damaged("impossible name of length", length))?;
    let (created, creator) = (birth.created.load(Ordering::Relaxed), birth.creator.load(Ordering::Relaxed));
    Ok(Plan { geometry, flags, max_message, name, created, creator })
}

/// Writes a header, the magic last. False if the channel was given up meanwhile.
pub(crate) fn write(header: &Header, plan: &Plan) -> bool {
    let birth = &header.birth;
    birth.version.store(VERSION_WORD, Ordering::Relaxed);
    birth.flags.store(plan.flags, Ordering::Relaxed);
    birth.senders.store(plan.geometry.senders().into(), Ordering::Relaxed);
    birth.capacity.store(plan.geometry.capacity(), Ordering::Relaxed);
    birth.max_message.store(plan.max_message, Ordering::Relaxed);
    birth.created.store(plan.created, Ordering::Relaxed);
    birth.creator.store(plan.creator, Ordering::Relaxed);
    write_name(header, &plan.name);
    birth.magic.compare_exchange(0, MAGIC, Ordering::Release, Ordering::Relaxed).is_ok() // J
}

impl View {
    /// Checks the header of a ready channel.
    pub(crate) fn open(region: Arc<Region>) -> Result<View, Unready> {
        probe(&region)?;
        let plan = read(region.at(0), region.len())?;
        Ok(View::of(region, plan))
    }

    /// Writes the header into a fresh segment that fits the plan, the magic last. `None` if the channel was given up
    /// meanwhile.
    ///
    /// Only under the initialiser semaphore of the segment's first set.
    pub(crate) fn create(region: Arc<Region>, plan: Plan) -> Option<View> {
        assert_eq!(region.len(), plan.geometry.total());
        write(region.at(0), &plan).then(|| View::of(region, plan))
    }

    fn of(region: Arc<Region>, plan: Plan) -> View {
        let Plan { geometry, flags, max_message, name, .. } = plan;
        View { geometry, flags, max_message, name, header: HeaderMap::new(region) }
    }

    pub(crate) fn region(&self) -> &Arc<Region> {
        self.header.region()
    }

    #[inline(always)]
    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// Counts a report of damage, for monitoring.
    #[cold]
    pub(crate) fn count_damage(&self) {
        self.header().visits.damages.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether somebody has marked the channel as removed.
    #[inline]
    pub(crate) fn is_removed(&self) -> bool {
        // Relaxed: the mark is sticky and carries no other data.
        self.header().bell.notice.load(Ordering::Relaxed) & REMOVED != 0
    }

    /// Whether the channel is to be removed, also if whoever decided that has not come to marking it.
    pub(crate) fn is_condemned(&self) -> bool {
        self.is_removed() || self.header().set.word.load(Ordering::Relaxed) == LAST_WORD
    }

    /// The semaphore set that the header names now; whether it is there, the kernel knows.
    pub(crate) fn set(&self) -> Option<Set> {
        Set::of(self.header())
    }

    /// Entry of seat `index`: 0 is the receiver's, 1 + lane a sender's.
    pub(crate) fn seat(&self, index: u32) -> &SeatEntry {
        self.region().at(self.geometry.seat(index))
    }

    #[cfg(not(loom))]
    pub(crate) fn lane(&self, lane: u32) -> LaneMap {
        LaneMap::new(self.region(), self.geometry, lane)
    }

    pub(crate) fn geometry(&self) -> Geometry {
        self.geometry
    }

    #[inline]
    pub(crate) fn max_message(&self) -> u64 {
        self.max_message
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn is_spsc(&self) -> bool {
        self.flags & FLAG_SPSC != 0
    }

    pub(crate) fn is_total(&self) -> bool {
        self.flags & FLAG_TOTAL != 0
    }

    pub(crate) fn is_persistent(&self) -> bool {
        self.flags & FLAG_PERSISTENT != 0
    }

    pub(crate) fn is_anonymous(&self) -> bool {
        self.flags & FLAG_ANONYMOUS != 0
    }

    pub(crate) fn is_huge(&self) -> bool {
        self.flags & FLAG_HUGE != 0
    }

    /// Whether records carry stamps: only where there can be several lanes to put in order.
    pub(crate) fn is_stamped(&self) -> bool {
        self.is_total() && !self.is_spsc()
    }
}

fn read_name(header: &Header, length: u64) -> Option<String> {
    let length = usize::try_from(length).ok().filter(|&length| length <= MAX_NAME)?;
    let mut bytes = [0; MAX_NAME];
    for (chunk, word) in bytes.chunks_mut(8).zip(&header.name.bytes) {
        chunk.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
    }
    let name = core::str::from_utf8(&bytes[..length]).ok()?;
    // What no creator writes would reach somebody's terminal, or be taken for another channel's address.
    (name.is_empty() || wrong_with_name(name).is_none()).then(|| name.to_owned())
}

/// Why that is no channel's name.
pub(crate) fn wrong_with_name(name: &str) -> Option<&'static str> {
    let invisible = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    if name.is_empty() {
        Some("a name has at least one character")
    } else if name.len() > MAX_NAME {
        Some("a name has at most 248 bytes")
    } else if name.chars().any(invisible) {
        Some("a name has no control characters")
    } else if ["key:", "path:", "id:"].iter().any(|prefix| name.starts_with(prefix)) {
        Some("a name does not begin with key:, path: or id:")
    } else {
        None
    }
}

fn write_name(header: &Header, name: &str) {
    assert!(name.len() <= MAX_NAME);
    let mut bytes = [0; MAX_NAME];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    for (chunk, word) in bytes.chunks(8).zip(&header.name.bytes) {
        let word_bytes = chunk.try_into().expect("chunks of 8");
        word.store(u64::from_le_bytes(word_bytes), Ordering::Relaxed);
    }
    header.name.length.store(name.len() as u64, Ordering::Relaxed);
}
