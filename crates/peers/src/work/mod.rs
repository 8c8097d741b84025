//! The work that every peer does alike.

mod in_place;
mod one_way;
mod paced;
mod round_trip;

use std::time::Duration;

pub(crate) use in_place::{InPlace, InPlaceRx, InPlaceTx, in_place};
pub(crate) use one_way::{copies, one_way};
pub(crate) use paced::{Pace, paced};
pub(crate) use round_trip::{Idle, round_trip};

use crate::board::Board;
use crate::peer::Peer;
use crate::process::{Child, pin};

/// On which of the two cores the sides run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The receiver on one, all senders on the other.
    TwoCores,
    /// All on the same.
    OneCore,
    /// Wherever the kernel likes.
    Free,
}

impl Place {
    fn take(self, core: usize) {
        match self {
            Place::TwoCores => pin(core),
            Place::OneCore => pin(0),
            Place::Free => {}
        }
    }
}

/// How long a figure is measured, and what runs before it uncounted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) warm: Duration,
    pub(crate) measure: Duration,
}

/// Runs `sender` (with its number) as often as asked for, each in a process or thread of its own, and `receiver`
/// here.
fn with_senders<P: Peer>(
    senders: usize,
    place: Place,
    sender: impl Fn(usize) + Sync,
    receiver: impl FnOnce(),
) {
    let beside = |number| {
        place.take(1);
        sender(number);
    };
    if P::THREADS {
        std::thread::scope(|scope| {
            for number in 0..senders {
                let beside = &beside;
                scope.spawn(move || beside(number));
            }
            place.take(0);
            receiver();
        });
        return;
    }
    let children: Vec<Child> = (0..senders).map(|number| Child::run(|| beside(number))).collect();
    place.take(0);
    receiver();
    let deadline = std::time::Instant::now() + Duration::from_secs(2);
    for child in children {
        assert_eq!(child.wait(deadline), Some(true), "a sender failed");
    }
}

/// Makes the peer, or says on the board that it cannot do it.
fn make<P: Peer>(board: &Board, setup: crate::peer::Setup) -> Option<P> {
    let peer = P::make(setup);
    if peer.is_none() {
        board.decline();
    }
    peer
}
