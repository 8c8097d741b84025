//! Who came, left, died or took over, as seen by comparing pictures.

use std::fmt;
use std::time::SystemTime;

use super::format::many;
use super::picture::Seat;

/// Something that happened between two pictures.
#[derive(Clone, Debug)]
pub(super) struct Event {
    /// When it was seen.
    pub(super) at: SystemTime,
    pub(super) what: What,
}

/// An end of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Sender(u32),
    Receiver,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Somebody took a free seat.
    Came(Side, Seat),
    /// A seat fell free: its holder ended without leaving it.
    Died(Side, Seat),
    /// A seat fell free.
    Left(Side, Seat),
    /// Another has the seat now.
    TookOver { side: Side, old: Seat, new: Seat, old_ended: bool },
    /// Seats were taken that no picture shows: visits shorter than the interval.
    Unseen { senders: bool, times: u64 },
    /// Calls have reported damage.
    Damage { times: u64 },
    /// A lane is damaged from here on.
    LaneDamaged { lane: u32, at: u64 },
    /// Somebody has removed the channel; it lives until all have left.
    Removed,
    /// A new channel is in the place of an old one.
    Replaced { old: i32, new: i32 },
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Came(side, seat) => write!(f, "{side} came: {}", seat.who()),
            What::Died(side, seat) => write!(f, "{side} died without leaving: {}", seat.who()),
            What::Left(side, seat) => write!(f, "{side} left: {}", seat.who()),
            What::TookOver { side, old, new, old_ended } => {
                let fate = if *old_ended { "which has ended" } else { "which has left" };
                write!(f, "{side}: {} took the seat of {}, {fate}", new.who(), old.who())
            }
            What::Unseen { senders, times } => {
                let who = many(*times, if *senders { "sender" } else { "receiver" });
                write!(f, "{who} more came, too briefly to be seen here")
            }
            What::Damage { times } => write!(f, "damage was reported again, {}", many(*times, "time")),
            What::LaneDamaged { lane, at } => write!(f, "lane {lane} is damaged from position {at} on"),
            What::Removed => f.write_str("the channel was removed"),
            What::Replaced { old, new } => {
                write!(f, "a new channel has its place: segment {new}, before {old}")
            }
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Side::Sender(lane) => write!(f, "sender in lane {lane}"),
            Side::Receiver => f.write_str("receiver"),
        }
    }
}

/// What became of a seat between two pictures. `ended` says whether a process is no more.
pub(super) fn of_seat(side: Side, old: &Seat, new: &Seat, ended: impl Fn(&Seat) -> bool) -> Option<What> {
    match (old.taken, new.taken) {
        (false, false) => None,
        (false, true) => Some(What::Came(side, new.clone())),
        (true, false) if new.died => Some(What::Died(side, old.clone())),
        (true, false) => Some(What::Left(side, old.clone())),
        (true, true) => match (&old.holder, &new.holder) {
            (Some(before), Some(now)) if !now.is(before) => {
                Some(What::TookOver { side, old: old.clone(), new: new.clone(), old_ended: ended(old) })
            }
            // A holder of another pid namespace cannot be told from the next.
            _ => None,
        },
    }
}

/// Counts visits that pictures do not show, by the channel's own count of seats taken.
///
/// A seat and the count are read one after the other, so each may be a picture ahead of the other. What is left over is
/// told only when the next picture has not explained it.
#[derive(Clone, Debug, Default)]
pub(super) struct Unseen {
    open: i128,
}

impl Unseen {
    pub(super) fn after(&mut self, counted: u64, shown: u64) -> u64 {
        let balance = self.open + i128::from(counted) - i128::from(shown);
        let told = self.open.clamp(0, balance.max(0));
        // A count that was tampered with must not hide what comes later for ever.
        self.open = (balance - told).max(-1000);
        u64::try_from(told).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::picture::Process;

    fn seat(pid: i32, started: u64) -> Seat {
        let holder = Process { pid, command: Some("a".into()), started: Some(started), stopped: false };
        Seat { taken: true, holder: Some(holder), ..Seat::default() }
    }

    #[test]
    fn seats_change_hands() {
        let (free, died) = (Seat::default(), Seat { died: true, ..Seat::default() });
        let side = Side::Sender(2);
        let of = |old: &Seat, new: &Seat| of_seat(side, old, new, |_| true);
        assert_eq!(of(&free, &free), None);
        assert_eq!(of(&free, &died), None);
        assert_eq!(of(&free, &seat(7, 1)), Some(What::Came(side, seat(7, 1))));
        assert_eq!(of(&seat(7, 1), &free), Some(What::Left(side, seat(7, 1))));
        assert_eq!(of(&seat(7, 1), &died), Some(What::Died(side, seat(7, 1))));
        assert_eq!(of(&seat(7, 1), &seat(7, 1)), None);
        // The pid is the same, the process is not.
        let taken = of(&seat(7, 1), &seat(7, 2)).unwrap();
        assert_eq!(taken.to_string(), "sender in lane 2: pid 7 a took the seat of pid 7 a, which has ended");
        let unknown = Seat { holder: None, ..seat(7, 1) };
        assert_eq!(of(&unknown, &seat(8, 1)), None);
    }

    #[test]
    fn only_visits_that_nothing_explains_are_told() {
        let mut unseen = Unseen::default();
        assert_eq!(unseen.after(1, 1), 0);
        // The count was ahead of the seat, or behind it.
        assert_eq!((unseen.after(1, 0), unseen.after(0, 1), unseen.after(0, 0)), (0, 0, 0));
        assert_eq!((unseen.after(0, 1), unseen.after(1, 0), unseen.after(0, 0)), (0, 0, 0));
        // Two came and went.
        assert_eq!((unseen.after(2, 0), unseen.after(0, 0), unseen.after(0, 0)), (0, 2, 0));
        // Nonsense.
        assert_eq!((unseen.after(u64::MAX, 0), unseen.after(u64::MAX, 0)), (0, u64::MAX));
        assert_eq!(unseen.after(0, u64::MAX), 0);
        assert!(unseen.open >= -1000);
    }
}
