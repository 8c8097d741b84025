//! Attacks on a channel's semaphore set and on its segment as the kernel keeps them: values set, the set or the segment
//! removed, permissions taken away and given back, units taken and added by a stranger, at random moments.
//!
//! What holds under which attack:
//!
//! * **Bells** (any value, also so full that a post fails): nothing but time is lost, a ceiling at most. All messages
//!   arrive, whole, in order, once; no end is told anything.
//! * **Permissions** of set or segment: calls that need the kernel fail with `EACCES` as long as it lasts, and go on
//!   afterwards. All messages whose sending succeeded arrive.
//! * **The set removed**: it is made anew; all messages arrive. The same with the three values that name its segment
//!   destroyed: then the set is taken for another's, and one is made in its place.
//! * **Seats**: a seat that is set to 0 can be taken by a second process, and then the first one is told `Evicted` at
//!   its next call; a call of it that is just on its way may damage the lane, and nothing is promised of its messages.
//!   A seat that is set to anything else is not free when its holder ends, because the kernel forgets the undo values of
//!   a semaphore that is set: `SeatTaken`, until the set is removed and made anew, which the error asks for if the
//!   last who touched the semaphore is dead.
//! * **The segment removed**: `Removed`.
#![allow(unsafe_code, reason = "the attacker's own system calls")]

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use sysring::segment::Segment;
use sysring::{Builder, OpenError, OpenErrorKind, RecvError, TryRecvError};

use crate::board::{Board, Clock};
use crate::crowd::{Content, Crowd, CrowdBoard, Round, Totals, check_memory};
use crate::grouped;
use crate::message::{Random, mix};
use crate::process::{become_user, fork, is_root};
use crate::runner::{is_long, seed, tests};
use crate::scribble::{Words, shape};

tests![set_attacks];

const SHORT_TIME: Duration = Duration::from_secs(6);
const LONG_TIME: Duration = Duration::from_secs(600);
const SILENCE: Duration = Duration::from_millis(100);
/// How long a thing may take that must work.
const PATIENCE: Duration = Duration::from_secs(30);
/// Whom the test runs as if it may: root may do everything, whatever the mode says.
const USER: u32 = 50_017;

// Semaphores of a set.
const INITIALISER: u16 = 3;
const RECEIVER: u16 = 4;

/// What is attacked in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attack {
    Bells,
    /// Mode, owner and lock of the set and of the segment.
    Permissions,
    SetRemoved,
    Marks,
    Seats,
    /// All values at once.
    Everything,
    SegmentRemoved,
    /// All of them.
    Mixed,
}

const ATTACKS: [Attack; 8] = [
    Attack::Bells,
    Attack::Permissions,
    Attack::SetRemoved,
    Attack::Marks,
    Attack::Seats,
    Attack::Everything,
    Attack::SegmentRemoved,
    Attack::Mixed,
];

impl Attack {
    /// Whether it leaves it to the kernel who has which seat.
    fn spares_seats(self) -> bool {
        matches!(self, Attack::Bells | Attack::Permissions | Attack::SetRemoved | Attack::Marks)
    }

    fn excused(self) -> &'static [&'static str] {
        match self {
            // Openers only: a bell that stays full however often it is emptied.
            Attack::Bells => &["Disconnected", "SeatTaken", "ERANGE"],
            Attack::Permissions => &["Disconnected", "SeatTaken", "EACCES", "PermissionDenied"],
            Attack::SetRemoved | Attack::Marks => &["Disconnected", "SeatTaken", "EAGAIN"],
            Attack::Seats | Attack::Everything => {
                &["Disconnected", "SeatTaken", "Evicted", "Corrupt", "ERANGE", "EAGAIN"]
            }
            // Busy: an observer meets the one that is made in its place.
            Attack::SegmentRemoved => &["Disconnected", "SeatTaken", "Removed", "NotFound", "Busy"],
            Attack::Mixed => &[
                "Disconnected",
                "SeatTaken",
                "Evicted",
                "Corrupt",
                "ERANGE",
                "EAGAIN",
                "EACCES",
                "PermissionDenied",
                "Removed",
                "NotFound",
                "Busy",
            ],
        }
    }
}

fn semctl(set: i32, index: u16, command: i32, value: i32) -> i32 {
    // SAFETY: the callers pass commands that take a number or nothing.
    unsafe { libc::semctl(set, index.into(), command, value) }
}

/// Removes a set, which may be gone already.
pub(crate) fn remove_set(set: i32) {
    semctl(set, 0, libc::IPC_RMID, 0);
}

fn semop(set: i32, index: u16, change: i16) {
    let mut op = libc::sembuf { sem_num: index, sem_op: change, sem_flg: libc::IPC_NOWAIT as i16 };
    // SAFETY: one operation, which the kernel reads. That it fails is fine.
    unsafe { libc::semop(set, &mut op, 1) };
}

/// The owner and mode of a set; `None` if it is gone or may not be looked at.
fn permissions_of_set(set: i32) -> Option<libc::semid_ds> {
    // SAFETY: a record of integers, for which zeroes are valid.
    let mut record: libc::semid_ds = unsafe { std::mem::zeroed() };
    // SAFETY: IPC_STAT writes one `semid_ds`, which `record` is.
    let got = unsafe { libc::semctl(set, 0, libc::IPC_STAT, &raw mut record) };
    (got == 0).then_some(record)
}

fn set_permissions_of_set(set: i32, record: &mut libc::semid_ds) {
    // SAFETY: IPC_SET reads one `semid_ds`, which `record` is. That it fails is fine.
    unsafe { libc::semctl(set, 0, libc::IPC_SET, &raw mut *record) };
}

struct Attacker {
    segment: i32,
    words: Words,
    attack: Attack,
    lanes: u16,
    /// Longest pause between two blows.
    pace: u64,
    random: Random,
}

impl Attacker {
    fn new(segment: i32, attack: Attack, lanes: u16, mut random: Random) -> Attacker {
        let pace = [20, 300, 3000][random.below(3) as usize];
        Attacker { segment, words: Words::attach(segment), attack, lanes, pace, random }
    }

    fn run(&mut self, board: &CrowdBoard) {
        // The seats shall be taken.
        thread::sleep(Duration::from_micros(self.random.below(30_000)));
        while board.calm.load(Acquire) == 0 {
            self.strike();
            board.blows.fetch_add(1, Relaxed);
            thread::sleep(Duration::from_micros(self.random.below(self.pace)));
        }
    }

    fn strike(&mut self) {
        let attack = match self.attack {
            // The segment goes last of all.
            Attack::Mixed => match self.random.below(200) {
                0 => Attack::SegmentRemoved,
                other => ATTACKS[other as usize % 6],
            },
            attack => attack,
        };
        let set = self.words.set();
        let lane = 2 * self.random.below((self.lanes + 1).into()) as u16;
        match attack {
            Attack::Bells => self.strike_value(set, RECEIVER + 1 + lane),
            Attack::Seats => self.strike_value(set, RECEIVER + lane),
            Attack::Marks => {
                let index = self.random.below(INITIALISER as u64 + 1) as u16;
                self.strike_value(set, index);
                // More often would be so many sets.
                thread::sleep(Duration::from_millis(3));
            }
            Attack::Everything => self.set_all(set),
            Attack::Permissions => self.take_permissions(set),
            Attack::SetRemoved => remove_set(set),
            Attack::SegmentRemoved => {
                thread::sleep(Duration::from_micros(self.random.below(20_000)));
                let _ = Segment::from_id(self.segment).remove();
            }
            Attack::Mixed => unreachable!("taken apart above"),
        }
    }

    fn strike_value(&mut self, set: i32, index: u16) {
        let random = self.random.below(32_768) as i32;
        match self.random.below(8) {
            0..4 => {
                let value = [0, 0, 1, 2, 32_767, random][self.random.below(6) as usize];
                semctl(set, index, libc::SETVAL, value);
            }
            4 => semop(set, index, -1),
            5 => {
                // All there are.
                let value = semctl(set, index, libc::GETVAL, 0);
                if value > 0 {
                    semop(set, index, -value as i16);
                }
            }
            6 => {
                // As full as it gets, so that the next post fails.
                let value = semctl(set, index, libc::GETVAL, 0);
                if (0..32_767).contains(&value) {
                    semop(set, index, (32_767 - value) as i16);
                }
            }
            _ => semop(set, index, 1),
        }
    }

    fn set_all(&mut self, set: i32) {
        let kind = self.random.below(4);
        // With the marks as they are the set stays the channel's.
        let spared = if self.random.below(4) == 0 { 0 } else { INITIALISER };
        let value = |index: u16, random: u64| match kind {
            _ if index < spared => semctl(set, index, libc::GETVAL, 0).max(0) as u16,
            0 => 0,
            1 => 1,
            2 => 32_767,
            _ => random as u16,
        };
        let values: Vec<u16> =
            (0..RECEIVER + 2 + 2 * self.lanes).map(|index| value(index, self.random.below(32_768))).collect();
        // SAFETY: SETALL reads a value for each semaphore: so many has a set of this channel. Another one is not larger.
        unsafe { libc::semctl(set, 0, libc::SETALL, values.as_ptr()) };
        thread::sleep(Duration::from_millis(3));
    }

    /// Takes permissions away for a moment, and gives them back.
    fn take_permissions(&mut self, set: i32) {
        let pause = Duration::from_micros(self.random.below(3000));
        let owner = [0, 12_345, u64::from(u32::MAX) - 1][self.random.below(3) as usize] as u32;
        let mode = [0, 0, 0o400, 0o200, 0o666][self.random.below(5) as usize];
        if self.random.below(3) == 0 {
            let segment = Segment::from_id(self.segment);
            let Ok(before) = segment.stat() else { return };
            let _ = segment.set_permissions(owner, owner, mode);
            let _ = segment.lock();
            thread::sleep(pause);
            let _ = segment.unlock();
            let _ = segment.set_permissions(before.uid, before.gid, before.mode);
        } else {
            let Some(before) = permissions_of_set(set) else { return };
            let mut record = before;
            (record.sem_perm.uid, record.sem_perm.gid) = (owner, owner);
            record.sem_perm.mode = mode as _;
            set_permissions_of_set(set, &mut record);
            thread::sleep(pause);
            record = before;
            set_permissions_of_set(set, &mut record);
        }
    }
}

/// Ends of a channel that nobody else uses any more work. If a seat's semaphore says that it is taken, or two who were
/// given one seat have damaged every lane, the error says what to do, and that helps.
fn check_use(builder: &Builder, crowd: &Crowd<'_>, attack: Attack, helped: &AtomicU64) {
    let use_it = |make: bool| -> Result<(), OpenError> {
        let channel = if make { builder.create(&crowd.name) } else { builder.open(&crowd.name) }?;
        // The receiver first: it finds out which lanes are damaged.
        let mut receiver = channel.receiver()?;
        let mut sender = channel.sender()?;
        drain(&mut receiver);
        for number in 0..10 {
            sender.send_timeout([number; 50], PATIENCE).expect("send");
            assert_eq!(receiver.recv_vec_timeout(PATIENCE).expect("a message"), [number; 50]);
        }
        Ok(())
    };
    let mut outcome = use_it(false);
    // One advice for each kind at most.
    for advice in 0.. {
        let Err(error) = outcome else { return };
        assert!(!attack.spares_seats() && advice < 2, "{attack:?}, after {advice} times as advised: {error}");
        let text = error.to_string();
        helped.store(1, Relaxed);
        outcome = match error.kind() {
            OpenErrorKind::SeatTaken { .. } => {
                let set = Words::attach(crowd.id).set();
                assert!(text.contains(&format!("ipcrm -s {set}")), "{attack:?}: {error}");
                remove_set(set);
                use_it(false)
            }
            OpenErrorKind::Corrupt => {
                assert!(text.contains("remove the channel and make it anew"), "{attack:?}: {error}");
                sysring::remove(&crowd.name).expect("remove");
                use_it(true)
            }
            _ => panic!("{attack:?}: {error}"),
        };
    }
}

fn drain(receiver: &mut sysring::Receiver) {
    let started = Instant::now();
    // Whoever is told of a damaged lane asks again: the others go on.
    while !matches!(receiver.try_recv_vec(), Err(error) if !matches!(error, TryRecvError::Failed(RecvError::Corrupt(_))))
    {
        assert!(started.elapsed() < PATIENCE, "no end of messages");
    }
}

fn set_attacks() {
    let seed = seed();
    if is_root() {
        become_user(USER);
    }
    let (board, clock, started) = (Board::<CrowdBoard>::new(), Clock::new(), Instant::now());
    let mut totals: Vec<(Attack, Totals, u64)> = ATTACKS.map(|attack| (attack, Totals::default(), 0)).into();
    let time = if is_long() { LONG_TIME } else { SHORT_TIME };
    for turn in 0.. {
        if started.elapsed() >= time {
            break;
        }
        let seed = mix(seed ^ turn << 32);
        let mut random = Random::new(seed);
        let (attack, totals, helped) = &mut totals[turn as usize % ATTACKS.len()];
        let attack = *attack;
        let (builder, senders, _) = shape(random.below(3), &mut random);
        let lanes = if senders == 1 { 1 } else { senders as u16 + 2 };
        let content = if attack.spares_seats() { Content::AllBut(None) } else { Content::Any };
        let round = Round { builder, senders, plain: false, content, excused: attack.excused(), seed };
        let mut crowd = Crowd::start(&board, clock, &round, |id| {
            Attacker::new(id, attack, lanes, Random::new(!seed)).run(&board);
        });
        crowd.run(Duration::from_millis(50 + random.below(200)), SILENCE);
        crowd.calm();
        crowd.stop();
        if Segment::from_id(crowd.id).stat().is_ok() {
            fork(|| check_use(&round.builder, &crowd, attack, &board.helped)).join();
            *helped += board.helped.load(Relaxed);
        }
        crowd.end(totals);
    }
    for (attack, totals, helped) in &totals {
        println!(
            "{attack:?}: {} blows in {} channels, {} messages received ({} strange) in {} calls; errors: {}; {} \
             sets beyond one; {helped} channels were of use as their error advised only; {}",
            grouped(totals.blows),
            grouped(totals.rounds),
            grouped(totals.received),
            grouped(totals.strange),
            grouped(totals.calls),
            totals.errors(),
            grouped(totals.sets),
            totals.limits(),
        );
        check_memory(totals, 8 << 16);
    }
}
