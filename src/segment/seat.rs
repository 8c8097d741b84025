//! Seats and the last will: who holds which end, by the kernel's own word.
//!
//! One `semop` call takes a seat and leaves a will with the kernel:
//!
//! ```text
//! [ {alive, 0, NOWAIT}, {alive, +1, UNDO},      seat free? take it; the kernel frees it at death
//!   {bell, +1},         {bell, -1, UNDO} ]      value unchanged, but death adds +1: the sleeper wakes
//! ```
//!
//! `alive` is 1 while the process lives and 0 after it has gone by any cause: no pid, hence immune to reuse,
//! zombies and pid namespaces. A sender's will is on the receiver's bell, the receiver's on every lane's bell. A
//! clean leave is `{alive, -1, UNDO}, {bell, +1, UNDO}`, which wakes too and brings the undo values back to zero.
//!
//! SETVAL and SETALL are never used: they erase everybody's wills. UNDO is used here and for the initialiser
//! only.
//!
//! The set: three values that name the segment it belongs to, so that an orphan can be recognised, then the
//! initialiser, the receiver's seat and bell, and a seat and a bell for every lane.

use std::sync::atomic::Ordering;

use super::view::View;
use crate::sys::sem::{self, Op};
use crate::sys::{self, Errno, process};

/// Mark of our sets, 15 bits; the lowest carries the highest bit of the segment id.
const MARK: u16 = 0;
const MARK_VALUE: i32 = 0x5352;
const ID_LOW: u16 = 1;
const ID_HIGH: u16 = 2;
/// 1 while somebody initialises the channel.
pub(crate) const INITIALISER: u16 = 3;
/// The receiver's seat.
pub(crate) const RECEIVER: u16 = 4;
/// The receiver's bell.
pub(crate) const RECEIVER_BELL: u16 = 5;
/// First semaphore of lane 0.
pub(crate) const FIRST_LANE: u16 = 6;

/// Keys of our sets: this, and 16 random bits.
pub(crate) const SET_KEY: i32 = 0x5352_0000;

/// Bells that hold so many units are emptied by whoever meets ERANGE.
const FULL: u16 = 16_000;

/// How often to try again where somebody else may be filling up what we empty.
const ATTEMPTS: u32 = 16;

/// Which end of the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Receiver,
    Sender(u32),
}

impl Side {
    /// Semaphore that is 1 while this seat is taken.
    pub(crate) fn alive(self) -> u16 {
        match self {
            Side::Receiver => RECEIVER,
            Side::Sender(lane) => FIRST_LANE + 2 * lane as u16,
        }
    }

    /// Semaphore that the holder of this seat sleeps on.
    pub(crate) fn bell(self) -> u16 {
        self.alive() + 1
    }

    fn entry(self) -> u32 {
        match self {
            Side::Receiver => 0,
            Side::Sender(lane) => lane + 1,
        }
    }
}

/// Makes a semaphore set for segment `shm` and writes into it whose it is.
pub(crate) fn make_set(shm: i32, semaphores: u16, mode: u32) -> sys::Result<i32> {
    loop {
        let key = SET_KEY | (process::random_u64() & 0xffff) as i32;
        let flags = sem::IPC_CREAT | sem::IPC_EXCL | (mode & 0o777) as i32;
        let set = match sem::get(key, semaphores.into(), flags) {
            Err(Errno::EEXIST) => continue,
            made => made?,
        };
        let id = shm as u32;
        let mark = MARK_VALUE as i16 | (id >> 30) as i16;
        let (low, high) = ((id & 0x7fff) as i16, (id >> 15 & 0x7fff) as i16);
        let named = sem::op(set, &[Op::add(MARK, mark), Op::add(ID_LOW, low), Op::add(ID_HIGH, high)]);
        if let Err(errno) = named {
            let _ = sem::remove(set);
            return Err(errno);
        }
        return Ok(set);
    }
}

/// Whether `set` is a set of ours for segment `shm` with that many semaphores.
pub(crate) fn belongs(set: i32, shm: i32, semaphores: u16) -> sys::Result<bool> {
    Ok(sem::stat(set)?.nsems == u64::from(semaphores) && is_marked_for(set, shm))
}

/// Whether `set` names segment `shm` as the one it belongs to.
pub(crate) fn is_marked_for(set: i32, shm: i32) -> bool {
    let id = shm.cast_unsigned();
    let is = |index, value: u32| sem::value(set, index).is_ok_and(|found| u32::from(found) == value);
    is(MARK, MARK_VALUE as u32 | id >> 30) && is(ID_LOW, id & 0x7fff) && is(ID_HIGH, id >> 15 & 0x7fff)
}

/// Why a seat could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoSeat {
    /// This process holds it, in the caller's pid namespace (0 = it is in another).
    Taken(i32),
    Failed(Errno),
}

/// A place that the kernel gave to this process alone. Dropping it leaves cleanly; in a forked child it does
/// nothing, because the seat is the parent's.
#[derive(Debug)]
pub(crate) struct Seat {
    view: View,
    set: i32,
    side: Side,
    /// [`process::identity`] of the process that took it.
    identity: u64,
}

impl Seat {
    /// Takes a seat and leaves the will, in one system call. Does not wait.
    pub(crate) fn take(view: &View, set: i32, side: Side) -> Result<Seat, NoSeat> {
        let mut ops = vec![Op::wait_zero(side.alive()).no_wait(), Op::add(side.alive(), 1).undo()];
        for bell in bells(view, side) {
            ops.extend([Op::add(bell, 1), Op::take(bell, 1).undo()]);
        }
        let mut attempts = 0..ATTEMPTS;
        loop {
            match sem::op(set, &ops) {
                Ok(()) => break,
                Err(Errno::EAGAIN) => {
                    let holder = sem::last_pid(set, side.alive()).unwrap_or(0);
                    return Err(NoSeat::Taken(holder));
                }
                Err(Errno::ERANGE) if attempts.next().is_some() && empty_full_bells(view, set, side) => {}
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(NoSeat::Failed(errno)),
            }
        }
        let seat = Seat { view: view.clone(), set, side, identity: process::identity() };
        seat.sign();
        Ok(seat)
    }

    /// Writes down, for people and for later repair, who holds the seat.
    fn sign(&self) {
        let header = self.view.header();
        let entry = self.view.seat(self.side.entry());
        let generation = header.set.word.load(Ordering::Relaxed) >> 32;
        entry.nonce.store(process::random_u64(), Ordering::Relaxed);
        entry.pid_namespace.store(process::pid_namespace(), Ordering::Relaxed);
        entry.holder.store(generation << 32 | process::pid() as u64, Ordering::Release);
        entry.visits.fetch_add(1, Ordering::Relaxed);
        match self.side {
            Side::Receiver => &header.visits.receivers,
            Side::Sender(_) => &header.visits.senders,
        }
        .fetch_add(1, Ordering::AcqRel);
        header.bell.changes.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn side(&self) -> Side {
        self.side
    }

    /// [`process::identity`] of the process whose seat it is.
    pub(crate) fn identity(&self) -> u64 {
        self.identity
    }

    /// Takes off all units that predecessors left on this seat's bell.
    pub(crate) fn empty_bell(&self) {
        empty_bell(self.set, self.side.bell());
    }

    fn leave(&self) {
        if self.view.header().bell.removed.load(Ordering::Relaxed) != 0 {
            return; // the set is gone, and its id may be somebody else's by now
        }
        let entry = self.view.seat(self.side.entry());
        entry.holder.store(0, Ordering::Release);
        // NOWAIT: with the seat's value tampered with, leaving must not wait for ever.
        let mut ops = vec![Op::take(self.side.alive(), 1).undo().no_wait()];
        ops.extend(bells(&self.view, self.side).map(|bell| Op::add(bell, 1).undo()));
        self.view.header().bell.changes.fetch_add(1, Ordering::AcqRel);
        for _ in 0..ATTEMPTS {
            match sem::op(self.set, &ops) {
                Err(Errno::ERANGE) if empty_full_bells(&self.view, self.set, self.side) => {}
                Err(Errno::EINTR) => {}
                // EIDRM and EINVAL: the set is gone, and the seat with it. Anything else: the will stands
                // until this process ends. A destructor has nobody to tell.
                _ => break,
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.identity == process::identity() {
            self.leave();
        }
    }
}

/// The bells on which the holder of `side` leaves its will.
fn bells(view: &View, side: Side) -> impl Iterator<Item = u16> + use<> {
    let (receiver, lanes) = match side {
        Side::Receiver => (None, 0..view.geometry().senders()),
        Side::Sender(_) => (Some(RECEIVER_BELL), 0..0),
    };
    receiver.into_iter().chain(lanes.map(|lane| Side::Sender(lane).bell()))
}

fn empty_bell(set: i32, bell: u16) {
    for _ in 0..ATTEMPTS {
        match sem::value(set, bell) {
            Ok(units @ 1..) => {
                let _ = sem::op(set, &[Op::take(bell, units as i16).no_wait()]);
            }
            _ => break,
        }
    }
}

/// Takes units off bells that are near the kernel's limit: nobody sleeps on those. True if there was one.
fn empty_full_bells(view: &View, set: i32, side: Side) -> bool {
    let mut emptied = false;
    for bell in bells(view, side) {
        if sem::value(set, bell).is_ok_and(|units| units >= FULL) {
            empty_bell(set, bell);
            emptied = true;
        }
    }
    emptied
}
