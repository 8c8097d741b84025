//! The semaphore set of a channel: made, recognised, replaced, removed.
//!
//! A set: three values that name the segment it belongs to, so that an orphan can be recognised, then the
//! initialiser, the receiver's seat and bell, and a seat and a bell for every lane.
//!
//! # A set that goes away
//!
//! `ipcrm -s`, and systemd's RemoveIPC at logout, remove a set under living users. The kernel's knowledge of who
//! lives goes with it. No lock guards the repair, because its owner could die: one header word holds {generation,
//! set id}; whoever meets the loss makes a new set and compare-and-swaps the word to the next generation, and a
//! loser removes its own. What becomes of the seats is told in [`super::seat`].
//!
//! A collector that looks whether a channel is idle puts the set aside ([`Set::aside`], a negative id); whoever comes
//! makes a new set in its place, or else the collector writes [`LAST_WORD`], behind which none follows.
//!
//! # A removal at the same time
//!
//! A remover marks, fences, and then looks which set to remove (O). Whoever enters a set into the header fences, and
//! then looks for the mark (P). One of the two sees the other, and removes it.
//!
//! | letter | where | what | pairs with |
//! |---|---|---|---|
//! | N | [`set_aside`]: set word, fence, claims | fence SeqCst | M in [`super::seat`] |
//! | O | [`mark_removed`]: mark, fence, set word | fence SeqCst | P |
//! | P | [`enter`]: set word, fence, mark (by the caller) | fence SeqCst | O |

use std::sync::atomic::AtomicBool;

use super::layout::{Header, REMOVED};
use super::seat::{FIRST_LANE, INITIALISER};
use crate::sync::{Ordering, fence};
use crate::sys::sem::{self, Op};
use crate::sys::shm::ShmStat;
use crate::sys::{self, Errno, process};

/// Mark of our sets, 15 bits; the lowest carry the highest bits of the segment id.
const MARK: u16 = 0;
const MARK_VALUE: u32 = 0x5350;
const ID_LOW: u16 = 1;
const ID_HIGH: u16 = 2;

/// Keys of our sets: this, and 16 random bits.
const KEY: i32 = 0x5352_0000;

/// One set, as the header names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Set {
    /// 1 at birth, one more for every replacement; never 0.
    pub(crate) generation: u32,
    pub(crate) id: i32,
}

/// The header word of a channel that was idle and is being removed: no set follows.
pub(crate) const LAST_WORD: u64 = u64::MAX;

/// Who may use a set: as the segment that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mode: u32,
}

impl Owner {
    /// The owner may use the set even if the segment is closed to him at this moment.
    pub(crate) fn of(segment: &ShmStat) -> Owner {
        Owner { uid: segment.uid, gid: segment.gid, mode: segment.mode & 0o777 | 0o600 }
    }
}

/// Why there is no set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoSet {
    /// This call failed.
    Failed(&'static str, Errno),
    /// It was removed as soon as it was made.
    Gone,
    /// This kernel does not undo semaphore operations when a process ends.
    NoUndo,
}

/// Why a call on a new set failed.
fn failed(call: &'static str) -> impl Fn(Errno) -> NoSet {
    move |errno| match errno {
        Errno::EINVAL | Errno::EIDRM => NoSet::Gone,
        errno => NoSet::Failed(call, errno),
    }
}

/// How many keys to try for a new set. Of 65,536 no more than 32,000 are in use by the kernel's default.
const KEYS: u32 = 1000;

impl Set {
    /// The set in a header word; `None` if there is none yet.
    pub(crate) fn from_word(word: u64) -> Option<Set> {
        let generation = (word >> 32) as u32;
        (generation != 0).then_some(Set { generation, id: (word as u32).cast_signed() })
    }

    /// The set that a header names now; whether it is there, the kernel knows.
    ///
    /// Relaxed: an old word is found out by the kernel, which does not know its set any more.
    pub(crate) fn of(header: &Header) -> Option<Set> {
        Set::from_word(header.set.word.load(Ordering::Relaxed))
    }

    /// What takes this set's place in the header while an idle channel is looked at: no set, but it tells which one
    /// was there, so that whoever goes on can remove it.
    pub(crate) fn aside(self) -> Set {
        Set { generation: self.generation.wrapping_add(1).max(1), id: !self.id }
    }

    /// The set whose place this one has taken by [`Set::aside`].
    pub(crate) fn put_aside(self) -> Option<Set> {
        (self.id < 0).then_some(Set { generation: self.generation, id: !self.id })
    }

    /// As the header holds it.
    pub(crate) fn word(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.id.cast_unsigned())
    }

    /// Makes a set for segment `shm`, of the generation after `last`, and writes into it whose it is.
    ///
    /// The first one that a process makes shows whether the kernel undoes what the dead have done.
    pub(crate) fn make(shm: i32, semaphores: u16, owner: Owner, last: Option<Set>) -> Result<Set, NoSet> {
        // Nobody else gets in before the set has its owner.
        let ours = (owner.uid, owner.gid) == (process::euid(), process::egid());
        let birth_mode = if ours { owner.mode } else { 0o600 };
        let flags = sem::IPC_CREAT | sem::IPC_EXCL | birth_mode as i32;
        let mut keys = 0..KEYS;
        let id = loop {
            let key = KEY | (process::random_u64() & 0xffff) as i32;
            match sem::get(key, semaphores.into(), flags) {
                Err(Errno::EEXIST) if keys.next().is_some() => {}
                // EINVAL too: that says nothing of a set, but that it has too many semaphores.
                made => break made.map_err(|errno| NoSet::Failed("semget", errno))?,
            }
        };
        let generation = last.map_or(0, |last| last.generation).wrapping_add(1).max(1);
        match prepare(id, shm, owner) {
            Ok(()) => Ok(Set { generation, id }),
            Err(why) => {
                let _ = sem::remove(id);
                Err(why)
            }
        }
    }

    /// Whether the set is there and is one of ours for segment `shm`, with that many semaphores if that is known. `Err`:
    /// the call that says neither, and why.
    ///
    /// Marks can be forged, and the id of a lost set can come again (after some 4 million creations). So it must also be
    /// made by somebody who may write to the segment, as far as that can be told: where the group or others may write,
    /// everybody could be one of them.
    pub(crate) fn belongs(
        self,
        shm: i32,
        segment: &ShmStat,
        semaphores: Option<u16>,
    ) -> Result<bool, (&'static str, Errno)> {
        let stat = match sem::stat(self.id) {
            Ok(stat) => stat,
            Err(Errno::EINVAL | Errno::EIDRM) => return Ok(false),
            // One that we may not look at is somebody else's, unless its key is ours.
            Err(Errno::EACCES) if self.has_strange_key() => return Ok(false),
            Err(errno) => return Err(("semctl(IPC_STAT)", errno)),
        };
        let shared = segment.mode & 0o022 != 0;
        let maker = shared || [0, segment.uid, segment.cuid, process::euid()].contains(&stat.cuid);
        let size = semaphores.is_none_or(|semaphores| stat.nsems == u64::from(semaphores));
        Ok(maker && size && is_our_key(stat.key) && self.names(shm)?)
    }

    /// Whether it is there with a key that is not of our kind. That may be asked by everybody.
    fn has_strange_key(self) -> bool {
        let all = sem::list().unwrap_or_default();
        all.iter().any(|(id, stat)| *id == self.id && !is_our_key(stat.key))
    }

    /// Whether the set names segment `shm`; not if it is gone. `Err`: the call that says neither, and why.
    pub(crate) fn names(self, shm: i32) -> Result<bool, (&'static str, Errno)> {
        match marked_segment(self.id) {
            Ok(marked) => Ok(marked == Some(shm)),
            Err(Errno::EINVAL | Errno::EIDRM) => Ok(false),
            Err(errno) => Err(("semctl(GETVAL)", errno)),
        }
    }

    /// Gives the set to the owner of its segment. `Err`: the call that failed, and why.
    pub(crate) fn give_to(self, owner: Owner) -> Result<(), (&'static str, Errno)> {
        let stat = sem::stat(self.id).map_err(|errno| ("semctl(IPC_STAT)", errno))?;
        if (stat.uid, stat.gid, stat.mode) == (owner.uid, owner.gid, owner.mode) {
            return Ok(());
        }
        // EINVAL: that user is not known in our user namespace; the set is not gone.
        sem::set_owner(self.id, owner.uid, owner.gid, owner.mode)
            .map_err(|errno| if errno == Errno::EINVAL { Errno::EPERM } else { errno })
            .map_err(|errno| ("semctl(IPC_SET)", errno))
    }

    /// Whether the set names segment `shm` as the one it belongs to.
    pub(crate) fn is_marked_for(self, shm: i32) -> bool {
        marked_segment(self.id) == Ok(Some(shm))
    }

    /// Removes the set if it names segment `shm` as its own. It may be gone already.
    ///
    /// If the kernel refuses it stays; a collector finds it when the segment is gone.
    pub(crate) fn remove(self, shm: i32) {
        let _ = self.try_remove(shm);
    }

    /// [`Set::remove`]; which call was refused, and why.
    pub(crate) fn try_remove(self, shm: i32) -> Result<(), (&'static str, Errno)> {
        if !self.names(shm)? {
            return Ok(());
        }
        match sem::remove(self.id) {
            Ok(()) | Err(Errno::EINVAL | Errno::EIDRM) => Ok(()),
            Err(errno) => Err(("semctl(IPC_RMID)", errno)),
        }
    }
}

/// Enters `new` into the header in place of the word `seen`. False if somebody else was faster.
///
/// The caller looks for marks of removal next: whoever set one sees the new set, or is seen here.
pub(crate) fn enter(header: &Header, seen: u64, new: Set) -> bool {
    let word = &header.set.word;
    let entered = word.compare_exchange(seen, new.word(), Ordering::Relaxed, Ordering::Relaxed).is_ok();
    fence(Ordering::SeqCst); // P
    entered
}

/// Puts a set aside, so that nobody can take a seat in it any more: `None` if it is not the present one. Returns what
/// the header names instead.
///
/// The caller looks at the claims next: whoever took a seat before has one, which is visible now.
pub(crate) fn set_aside(header: &Header, set: Set) -> Option<Set> {
    let (word, none) = (&header.set.word, set.aside());
    let swapped = word.compare_exchange(set.word(), none.word(), Ordering::Relaxed, Ordering::Relaxed);
    fence(Ordering::SeqCst); // N
    swapped.is_ok().then_some(none)
}

/// Marks a channel as removed: everybody's next call says so. Returns the set that is to be removed: whoever enters
/// another one at this moment sees the mark.
pub(crate) fn mark_removed(header: &Header) -> Option<Set> {
    header.bell.notice.fetch_or(REMOVED, Ordering::Relaxed);
    fence(Ordering::SeqCst); // O
    Set::of(header)
}

fn prepare(id: i32, shm: i32, owner: Owner) -> Result<(), NoSet> {
    static UNDO_WORKS: AtomicBool = AtomicBool::new(false);
    let name = shm.cast_unsigned();
    let mark = MARK_VALUE | name >> 30;
    let values = [(MARK, mark), (ID_LOW, name & 0x7fff), (ID_HIGH, name >> 15 & 0x7fff)];
    // All are 15 bits. A part that is 0 has that value already, and adding 0 would mean to wait for it.
    let ops = values.iter().filter(|(_, value)| *value != 0);
    let ops: Vec<Op> = ops.map(|&(index, value)| Op::add(index, value as i16)).collect();
    sem::op_at_once(id, &ops).map_err(failed("semop"))?;
    if !UNDO_WORKS.load(Ordering::Relaxed) {
        // Nobody else knows the set yet, so nobody else uses its initialiser.
        // Twice, because who guesses the id may play with the value.
        let ask = || sem::undo_works(id, INITIALISER).map_err(failed("semctl(GETVAL)"));
        let works = match ask()? {
            Some(false) => ask()?,
            answer => answer,
        };
        match works {
            Some(true) => UNDO_WORKS.store(true, Ordering::Relaxed),
            Some(false) => return Err(NoSet::NoUndo),
            None => {} // this process may not try; most kernels can
        }
    }
    Set { generation: 1, id }.give_to(owner).map_err(|(call, errno)| failed(call)(errno))?;
    Ok(())
}

/// Whether a set's key is of our kind.
pub(crate) fn is_our_key(key: i32) -> bool {
    key & 0xffff_0000_u32.cast_signed() == KEY
}

/// Whether a set can be one of a channel by its number of semaphores.
pub(crate) fn is_our_size(semaphores: u64) -> bool {
    let first = u64::from(FIRST_LANE);
    let lanes = u64::from(super::layout::MAX_SENDERS);
    (first + 2..=first + 2 * lanes).contains(&semaphores) && semaphores.is_multiple_of(2)
}

/// Whether no operation and no command has ever touched a set: so is one whose maker died at once.
pub(crate) fn is_untouched(id: i32, semaphores: u64) -> bool {
    let untouched = |index| sem::value(id, index) == Ok(0) && sem::last_pid(id, index) == Ok(0);
    u16::try_from(semaphores).is_ok_and(|semaphores| (0..semaphores).all(untouched))
}

/// The segment that a set names; `None` if its maker has not named one yet, or it is not ours.
pub(crate) fn marked_segment(id: i32) -> sys::Result<Option<i32>> {
    let mark = u32::from(sem::value(id, MARK)?);
    let low = u32::from(sem::value(id, ID_LOW)?);
    let high = u32::from(sem::value(id, ID_HIGH)?);
    let named = mark & !3 == MARK_VALUE && low < 1 << 15 && high < 1 << 15;
    Ok(named.then_some(((mark & 3) << 30 | high << 15 | low).cast_signed()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_names_its_segment() {
        let owner = Owner { uid: process::euid(), gid: process::egid(), mode: 0o600 };
        for shm in [0, 1, 0x7fff, 0x8000, 12_345_678, i32::MAX] {
            let set = Set::make(shm, 8, owner, None).unwrap();
            assert_eq!(marked_segment(set.id), Ok(Some(shm)));
            let segment = ShmStat { mode: 0o600, uid: owner.uid, cuid: owner.uid, ..ShmStat::default() };
            let belongs = |shm, segment: &ShmStat, size| set.belongs(shm, segment, size).unwrap();
            assert!(belongs(shm, &segment, Some(8)) && belongs(shm, &segment, None));
            assert!(!belongs(shm, &segment, Some(10)) && !belongs(shm ^ 1, &segment, Some(8)));
            // Made by somebody who may not write to it.
            let anothers = ShmStat { uid: owner.uid + 1, cuid: owner.uid + 1, ..segment };
            assert!(!belongs(shm, &anothers, None) || owner.uid == 0);
            assert!(belongs(shm, &ShmStat { mode: 0o660, ..anothers }, None));
            let stat = sem::stat(set.id).unwrap();
            assert!(is_our_key(stat.key) && is_our_size(stat.nsems));
            set.remove(shm ^ 1);
            assert!(belongs(shm, &segment, None));
            set.remove(shm);
            assert!(!belongs(shm, &segment, None));
        }
    }

    #[test]
    fn generations_begin_with_one_and_skip_zero() {
        let word = Set { generation: 1, id: 0 }.word();
        assert_eq!(Set::from_word(word), Some(Set { generation: 1, id: 0 }));
        assert_eq!(Set::from_word(77), None);
        let owner = Owner { uid: process::euid(), gid: process::egid(), mode: 0o600 };
        let last = Set { generation: u32::MAX, id: -1 };
        let next = Set::make(5, 8, owner, Some(last)).unwrap();
        next.remove(5);
        assert_eq!(next.generation, 1);
    }

    #[test]
    fn sizes_of_strangers_are_not_ours() {
        for size in [0, 1, 3, 6, 7, 9, 488, 32_000] {
            assert!(!is_our_size(size), "{size}");
        }
        assert!(is_our_size(8) && is_our_size(486));
    }
}
