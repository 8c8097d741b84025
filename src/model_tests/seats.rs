//! Header, sets, seats, and the flag that ends a wait.
//!
//! The kernel's part of a seat is a semaphore that orders nothing but itself, and a set that was replaced is still there:
//! less order and more chances than the kernel gives.

use super::*;
use crate::segment::layout::{Geometry, Header, MIN_CAPACITY, REMOVED};
use crate::segment::seat::{self, Claim, NoSeat, Place, Renewal, Side};
use crate::segment::set::{self, Set};
use crate::segment::view::{self, Plan, Unready};
use crate::wait::Flag;

/// The set of a generation.
fn set_of(generation: u32) -> Set {
    Set { generation, id: generation.cast_signed() }
}

/// One seat, and the kernel's part of it.
#[derive(Debug, Default)]
struct World {
    /// On its own: it is large for the stack of a model.
    header: Arc<Header>,
    claim: AtomicU64,
    /// Its semaphore in the sets of generation 1, 2 and 3.
    alive: [AtomicU64; 3],
    /// Handles of the process that hold it, as [`crate::segment::region::Region`] counts them.
    held: AtomicU64,
    /// Stands for what the holder of the seat leaves in its lane.
    work: AtomicU64,
}

impl World {
    /// With the set of generation 1.
    fn new() -> Arc<World> {
        let world = World::default();
        world.header.set.word.store(set_of(1).word(), Ordering::Relaxed);
        Arc::new(world)
    }

    fn work(&self) {
        self.work.store(1, Ordering::Relaxed);
    }

    fn is_worked(&self) -> bool {
        self.work.load(Ordering::Relaxed) == 1
    }
}

/// The seat as one process sees it.
struct Chair {
    world: Arc<World>,
    process: u64,
    /// The process that it knows to have ended; 0 = none.
    buried: u64,
    /// Judges as an only process judges its own claims: dead, unless a thread of it holds the seat.
    alone: bool,
}

impl Chair {
    fn new(world: &Arc<World>, process: u64) -> Chair {
        Chair { world: Arc::clone(world), process, buried: 0, alone: false }
    }

    fn claim_in(&self, set: Set) -> Claim {
        Claim::new(set, 1, self.process)
    }

    fn take(&self, set: Set) -> Result<bool, NoSeat> {
        seat::take(self, set, self.claim_in(set))
    }

    /// As a handle does that is dropped.
    fn leave(&self, set: Set) {
        if seat::give_back(self, self.claim_in(set)) {
            self.free(set).unwrap();
        }
        self.note_left();
    }

    /// Takes the seat and leaves it again if the set has changed. Whether it is owned.
    fn own(&self, set: Set) -> bool {
        match self.take(set) {
            Ok(true) => true,
            Ok(false) => {
                self.leave(set);
                false
            }
            Err(_) => false,
        }
    }

    fn semaphore(&self, set: Set) -> &AtomicU64 {
        &self.world.alive[set.generation as usize - 1]
    }
}

impl Place for Chair {
    fn header(&self) -> &Header {
        &self.world.header
    }

    fn claim(&self) -> &AtomicU64 {
        &self.world.claim
    }

    fn hold(&self, set: Set) -> Result<(), NoSeat> {
        let taken = self.semaphore(set).compare_exchange(0, 1, Ordering::Relaxed, Ordering::Relaxed);
        taken.map(|_| ()).map_err(|_| NoSeat::Taken(0))
    }

    fn free(&self, set: Set) -> Result<(), NoSeat> {
        let freed = self.semaphore(set).compare_exchange(1, 0, Ordering::Relaxed, Ordering::Relaxed);
        freed.map(|_| ()).map_err(|_| NoSeat::Stale)
    }

    fn is_dead(&self, claim: Claim) -> bool {
        if self.alone {
            return self.world.held.load(Ordering::Relaxed) == 0;
        }
        self.buried != 0 && claim == Claim::new(set_of(1), 1, self.buried)
    }

    fn note_taking(&self) {
        self.world.held.fetch_add(1, Ordering::Relaxed);
    }

    fn note_left(&self) {
        self.world.held.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Puts the second set in the place of the first.
fn replace(header: &Header) {
    assert!(set::enter(header, set_of(1).word(), set_of(2)));
}

fn plan() -> Plan {
    let geometry = Geometry::new(3, MIN_CAPACITY).unwrap();
    Plan { geometry, flags: 2, max_message: 100, name: "model".into(), created: 7, creator: 8 }
}

/// Whoever finds the magic finds the whole header.
#[test]
fn a_header_is_whole_behind_its_magic() {
    loom::model(|| {
        let header = Arc::new(Header::default());
        let size = plan().geometry.total();
        let maker = {
            let header = Arc::clone(&header);
            thread::spawn(move || assert!(view::write(&header, &plan())))
        };
        match view::state(&header, size) {
            Ok(()) => assert!(view::read(&header, size) == Ok(plan())),
            unready => assert!(unready == Err(Unready::HalfMade)),
        }
        maker.join().unwrap();
        assert!(view::read(&header, size) == Ok(plan()));
    });
}

/// A half-made channel is finished or given up, never both; and a maker that comes too late learns it, so that it
/// removes the set that it has entered.
#[test]
fn a_half_made_channel_is_finished_or_given_up() {
    loom::model(|| {
        let header = Arc::new(Header::default());
        let size = plan().geometry.total();
        let maker = {
            let header = Arc::clone(&header);
            thread::spawn(move || {
                assert!(set::enter(&header, 0, set_of(1)));
                let finished = match view::state(&header, size) {
                    Err(Unready::HalfMade) => view::write(&header, &plan()),
                    state => {
                        assert!(state == Err(Unready::Abandoned));
                        false
                    }
                };
                assert!(finished || view::state(&header, size) == Err(Unready::Abandoned));
                finished
            })
        };
        let given_up = view::abandon(&header);
        assert_ne!(given_up, maker.join().unwrap());
    });
}

/// A channel is removed while its set is replaced: the new set is removed by one of the two.
#[test]
fn a_set_that_comes_with_a_removal_is_removed() {
    loom::model(|| {
        let world = World::new();
        let finder = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                replace(&world.header);
                let removed = world.header.bell.notice.load(Ordering::Relaxed) & REMOVED != 0;
                removed.then(|| set::mark_removed(&world.header)).flatten()
            })
        };
        let by_remover = set::mark_removed(&world.header);
        let by_finder = finder.join().unwrap();
        assert!([by_remover, by_finder].contains(&Some(set_of(2))));
    });
}

/// X takes the seat in a set that is replaced, Y in the new one.
#[test]
fn a_seat_has_one_owner_though_its_set_is_replaced() {
    loom::model(|| {
        let world = World::new();
        let x = Chair::new(&world, 1);
        let x = thread::spawn(move || x.own(set_of(1)));
        let replacer = {
            let world = Arc::clone(&world);
            thread::spawn(move || replace(&world.header))
        };
        let present = Set::of(&world.header).unwrap();
        let y = present == set_of(2) && Chair::new(&world, 2).own(present);
        replacer.join().unwrap();
        assert!(!(x.join().unwrap() && y));
    });
}

/// X goes on in the second set while Y takes the seat in the second or third.
#[test]
fn a_seat_that_is_renewed_is_not_taken() {
    loom::model(|| {
        let world = World::new();
        let x = Chair::new(&world, 1);
        assert_eq!(x.take(set_of(1)), Ok(true));
        replace(&world.header);
        let x = thread::spawn(move || {
            let (old, new) = (x.claim_in(set_of(1)), x.claim_in(set_of(2)));
            seat::renew(&x, old, set_of(2), new)
        });
        let replacer = {
            let world = Arc::clone(&world);
            thread::spawn(move || assert!(set::enter(&world.header, set_of(2).word(), set_of(3))))
        };
        let present = Set::of(&world.header).unwrap();
        assert!(!Chair::new(&world, 2).own(present));
        replacer.join().unwrap();
        // Later: Y was just trying whether it is free.
        assert!(matches!(x.join().unwrap(), Renewal::Done | Renewal::Later));
    });
}

/// A collector puts the set aside while X takes a seat, and takes the channel for idle only if X is not its owner.
#[test]
fn a_channel_is_not_idle_while_a_seat_is_taken() {
    loom::model(|| {
        let world = World::new();
        let x = Chair::new(&world, 1);
        let x = thread::spawn(move || x.own(set_of(1)));
        let none = set::set_aside(&world.header, set_of(1)).unwrap();
        let idle = seat::doubtful(&Chair::new(&world, 2), none).is_none();
        assert!(!(x.join().unwrap() && idle));
    });
}

/// The same if X has come, sent, and gone: then the collector sees what it has sent.
#[test]
fn a_channel_is_not_empty_after_a_short_visit() {
    loom::model(|| {
        let world = World::new();
        let x = Chair::new(&world, 1);
        let x = thread::spawn(move || {
            let owned = x.own(set_of(1));
            if owned {
                x.world.work();
                x.leave(set_of(1));
            }
            owned
        });
        let none = set::set_aside(&world.header, set_of(1)).unwrap();
        let idle = seat::doubtful(&Chair::new(&world, 2), none).is_none();
        let empty = !world.is_worked();
        assert!(!(x.join().unwrap() && idle && empty));
    });
}

/// Who takes a seat after another has left it sees what that one did.
#[test]
fn a_seat_is_handed_on_with_all_that_was_done() {
    loom::model(|| {
        let world = World::new();
        let x = Chair::new(&world, 1);
        assert_eq!(x.take(set_of(1)), Ok(true));
        let x = thread::spawn(move || {
            x.world.work();
            x.leave(set_of(1));
        });
        if Chair::new(&world, 2).own(set_of(1)) {
            assert!(world.is_worked());
        }
        x.join().unwrap();
    });
}

/// X has died in a set that is lost; Z finds that out and takes X's claim away; Y takes the seat.
#[test]
fn a_dead_ones_seat_is_handed_on_with_all_that_was_done() {
    loom::model(|| {
        let world = World::new();
        let x = Chair::new(&world, 1);
        assert_eq!(x.take(set_of(1)), Ok(true));
        replace(&world.header);
        let z = Chair { buried: x.process, ..Chair::new(&world, 2) };
        let y = Chair::new(&world, 3);
        let y = thread::spawn(move || {
            if y.own(set_of(2)) {
                assert!(y.world.is_worked());
            }
        });
        // Z has the kernel's word that X has ended: so what X did comes first for Z, as if Z had done it.
        world.work();
        assert_eq!(seat::doubtful(&z, set_of(2)), None);
        y.join().unwrap();
    });
}

/// In a process that is alone with the channel one thread takes the seat, another one asks for it in a later set: the
/// claim of its own process is not a dead one's.
#[test]
fn a_claim_of_the_own_process_is_not_taken_for_dead() {
    loom::model(|| {
        let world = World::new();
        let of_process = |world| Chair { alone: true, ..Chair::new(world, 1) };
        let taker = of_process(&world);
        let taker = thread::spawn(move || (taker.own(set_of(1)), taker));
        let replacer = {
            let world = Arc::clone(&world);
            thread::spawn(move || replace(&world.header))
        };
        if Set::of(&world.header) == Some(set_of(2)) {
            seat::doubtful(&of_process(&world), set_of(2));
        }
        let (owned, taker) = taker.join().unwrap();
        replacer.join().unwrap();
        assert!(!owned || seat::give_back(&taker, taker.claim_in(set_of(1))));
    });
}

/// Who sees that somebody has come, and finds the seat free, takes him for gone: he was there.
#[test]
fn a_visit_is_not_seen_before_the_seat_is_taken() {
    loom::model(|| {
        let world = World::new();
        let x = Chair::new(&world, 1);
        let x = thread::spawn(move || {
            assert_eq!(x.take(set_of(1)), Ok(true));
            seat::count(x.header(), Side::Sender(0));
        });
        let visits = seat::visits(&world.header, Side::Sender(0));
        let alive = world.alive[0].load(Ordering::Relaxed);
        assert!(visits == 0 || alive == 1);
        x.join().unwrap();
    });
}

/// A wait is ended, whether its bell was known yet or not, and sees what was stored before.
#[test]
fn a_raised_flag_ends_the_wait() {
    loom::model(|| {
        let shared = Arc::new((Flag::default(), AtomicU64::new(0)));
        let raiser = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let (flag, before) = &*shared;
                before.store(1, Ordering::Relaxed);
                flag.raise()
            })
        };
        let (flag, before) = &*shared;
        flag.seated(5);
        let taken = flag.take();
        if taken {
            assert_eq!(before.load(Ordering::Relaxed), 1);
        }
        // What it rings ends the sleep.
        let rung = raiser.join().unwrap();
        assert!(taken || rung == 5);
        assert_ne!(taken, flag.take());
    });
}
