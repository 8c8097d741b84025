//! Who owns a seat while semaphore sets are removed by strangers and made anew by whoever misses them.
//!
//! Three processes and one seat. The header's set word is {generation, set}. A set has the seat's `alive`, taken with
//! UNDO, so the kernel lets it go when its holder dies; a set that was removed has nothing any more. The seat itself is
//! one word, `holder`: 0, or the claim {process, generation} of whoever owns it. A claim of an older generation is in
//! doubt: its process may live and not have noticed. Only proof of its death lets somebody else take the seat.
//!
//! One step is one access to shared memory or one system call. Any process may be killed before any step, and any set may
//! be removed.

use super::checker::{Model, Property, Step};

/// What seats promise.
pub(crate) mod property {
    use super::Property;

    pub(crate) const ONE_OWNER: Property = "a seat never has two living owners";
    pub(crate) const NOT_LOST: Property = "a seat whose owner is dead can be taken again";
    pub(crate) const WILL_STANDS: Property =
        "whoever gets a seat has its will in the set that the others use";
    pub(crate) const NO_LEAK: Property = "whoever loses the race for a new set removes its own";
}
use property::*;

const PROCESSES: usize = 3;
/// Sets ever made: the first, and what rebuilding adds.
const SETS: usize = 8;
const NONE: u8 = 0xff;

/// A rule that is wrong in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// A claim in doubt is not looked at: the new set's word is enough.
    DoubtIgnored,
    /// The claim is stored, not compared and swapped.
    ClaimByStore,
    /// The set word is not looked at again after the claim.
    NoSecondLookAtSet,
    /// The loser of a rebuild leaves its set behind.
    LosersSetStays,
    /// A claim in doubt is never given up, even if its process is dead.
    DoubtForEver,
    /// Who leaves lets the semaphore go first and clears its claim afterwards, by store.
    LeaveSemaphoreFirst,
}

/// How large the model is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seats {
    /// Sets that may be removed.
    pub(crate) removals: u8,
    /// Processes that may be killed.
    pub(crate) kills: u8,
    /// Times that a process may leave of its own will.
    pub(crate) leaves: u8,
    /// What is wrong with it.
    pub(crate) mutation: Option<Mutation>,
}

/// A claim: whose, and taken in which generation. No claim is `{NONE, 0}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Claim {
    process: u8,
    generation: u8,
}

const FREE: Claim = Claim { process: NONE, generation: 0 };

/// The header's set word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Word {
    generation: u8,
    set: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Set {
    exists: bool,
    /// Process whose unit is in `alive`.
    alive: u8,
    /// Who made it and has not put it into the word yet.
    maker: u8,
}

const NO_SET: Set = Set { exists: false, alive: NONE, maker: NONE };

/// What a process does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    /// Has no seat and may try to take it.
    Idle,
    LoadWord,
    LookForDoubt,
    Semop,
    LookAgain,
    ClaimSeat,
    CheckWord,
    /// Refused with the semaphore taken: lets it go.
    LetGo,
    Owner,
    /// An owner, at its next call: the set is gone.
    RenewWord,
    RenewHolder,
    RenewSemop,
    RenewClaim,
    RenewCheck,
    MakeSet,
    SwapWord,
    RemoveOwn,
    LeaveClaim,
    LeaveSemop,
    Dead,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Process {
    at: At,
    /// Copy of the word, and of the holder.
    word: Word,
    holder: Claim,
    /// Own claim; `FREE` = none.
    mine: Claim,
    /// Whether it was told that the seat is its own, and writes.
    owns: bool,
    /// Own new set.
    made: u8,
}

const NOBODY: Word = Word { generation: 0, set: NONE };

/// Everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    word: Word,
    holder: Claim,
    sets: [Set; SETS],
    made: u8,
    processes: [Process; PROCESSES],
    removals: u8,
    kills: u8,
    leaves: u8,
}

impl State {
    fn is_dead(&self, claim: Claim) -> bool {
        claim != FREE && self.processes[usize::from(claim.process)].at == At::Dead
    }

    fn exists(&self, set: u8) -> bool {
        self.sets[usize::from(set)].exists
    }

    /// `alive: 0 -> 1` with UNDO. `None`: the set was removed.
    fn semop(&mut self, set: u8, process: usize) -> Option<bool> {
        let set = &mut self.sets[usize::from(set)];
        if !set.exists {
            return None;
        }
        let free = set.alive == NONE;
        if free {
            set.alive = process as u8;
        }
        Some(free)
    }

    /// `alive: -1`, NOWAIT; errors do not matter.
    fn release(&mut self, set: u8, process: usize) {
        let set = &mut self.sets[usize::from(set)];
        if set.exists && set.alive == process as u8 {
            set.alive = NONE;
        }
    }
}

impl Seats {
    fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// Whether a claim forbids taking the seat in this generation.
    fn is_in_doubt(&self, s: &State, claim: Claim, generation: u8) -> bool {
        claim != FREE
            && claim.generation != generation
            && !self.is(Mutation::DoubtIgnored)
            && (!s.is_dead(claim) || self.is(Mutation::DoubtForEver))
    }

    /// One step of process `x`. `None` when it waits for its caller's next wish.
    fn go(&self, s: &mut State, x: usize) -> bool {
        use At::*;
        let p = s.processes[x];
        let mut q = p;
        match p.at {
            Dead => return false,
            // The caller wants the seat.
            Idle => q.at = LoadWord,
            LoadWord => {
                q.word = s.word;
                q.at = LookForDoubt;
            }
            LookForDoubt => {
                q.at = if self.is_in_doubt(s, s.holder, p.word.generation) { Idle } else { Semop }
            }
            Semop => match s.semop(p.word.set, x) {
                Some(true) => q.at = LookAgain,
                Some(false) => q.at = Idle,
                None => q.at = MakeSet,
            },
            LookAgain => {
                q.holder = s.holder;
                q.at = if self.is_in_doubt(s, s.holder, p.word.generation) { LetGo } else { ClaimSeat };
            }
            ClaimSeat => {
                if s.holder == p.holder || self.is(Mutation::ClaimByStore) {
                    q.mine = Claim { process: x as u8, generation: p.word.generation };
                    s.holder = q.mine;
                    q.at = CheckWord;
                } else {
                    q.at = LookAgain;
                }
                q.holder = FREE;
            }
            CheckWord => {
                if s.word == p.word || self.is(Mutation::NoSecondLookAtSet) {
                    q.at = Owner;
                    q.owns = true;
                } else {
                    q.at = RenewWord;
                }
            }
            LetGo => {
                s.release(p.word.set, x);
                q.at = Idle;
            }

            // An owner's next call of the kernel: it notices that its set is gone, or nothing.
            Owner => {
                if s.exists(p.word.set) && s.word == p.word {
                    return false;
                }
                q.at = RenewWord;
            }
            RenewWord => {
                q.word = s.word;
                q.at = RenewHolder;
            }
            RenewHolder => {
                if s.holder == p.mine {
                    q.at = RenewSemop;
                } else {
                    (q.at, q.mine, q.owns) = (Idle, FREE, false);
                }
            }
            RenewSemop => match s.semop(p.word.set, x) {
                Some(true) => q.at = RenewClaim,
                // Somebody is about to be refused there; or it is our own unit of the time before.
                Some(false) => q.at = RenewWord,
                None => q.at = MakeSet,
            },
            RenewClaim => {
                if s.holder == p.mine {
                    q.mine = Claim { process: x as u8, generation: p.word.generation };
                    s.holder = q.mine;
                    q.at = RenewCheck;
                } else {
                    (q.at, q.mine, q.owns) = (LetGo, FREE, false);
                }
            }
            RenewCheck => {
                if s.word == p.word {
                    q.at = Owner;
                    q.owns = true;
                } else {
                    q.at = RenewWord;
                }
            }

            // The set of `word` was removed.
            MakeSet => {
                if usize::from(s.made) == SETS {
                    return false;
                }
                q.made = s.made;
                s.sets[usize::from(s.made)] = Set { exists: true, alive: NONE, maker: x as u8 };
                s.made += 1;
                q.at = SwapWord;
            }
            SwapWord => {
                if s.word == p.word {
                    s.word = Word { generation: p.word.generation + 1, set: p.made };
                    s.sets[usize::from(p.made)].maker = NONE;
                    q.made = NONE;
                    q.at = self.after_rebuild(&p);
                } else if self.is(Mutation::LosersSetStays) {
                    q.made = NONE;
                    q.at = self.after_rebuild(&p);
                } else {
                    q.at = RemoveOwn;
                }
            }
            RemoveOwn => {
                s.sets[usize::from(p.made)] = NO_SET;
                q.made = NONE;
                q.at = self.after_rebuild(&p);
            }

            LeaveClaim => {
                if s.holder == p.mine || self.is(Mutation::LeaveSemaphoreFirst) {
                    s.holder = FREE;
                }
                (q.mine, q.owns) = (FREE, false);
                q.at = if self.is(Mutation::LeaveSemaphoreFirst) { Idle } else { LeaveSemop };
            }
            LeaveSemop => {
                s.release(p.word.set, x);
                q.owns = false;
                q.at = if self.is(Mutation::LeaveSemaphoreFirst) { LeaveClaim } else { Idle };
            }
        }
        if q.at == Idle {
            (q.word, q.holder) = (NOBODY, FREE);
        }
        s.processes[x] = q;
        true
    }

    fn after_rebuild(&self, p: &Process) -> At {
        if p.mine == FREE { At::LoadWord } else { At::RenewWord }
    }

    fn leave(&self, s: &mut State, x: usize) -> bool {
        if s.processes[x].at != At::Owner || s.leaves == 0 {
            return false;
        }
        s.leaves -= 1;
        let semaphore_first = self.is(Mutation::LeaveSemaphoreFirst);
        s.processes[x].at = if semaphore_first { At::LeaveSemop } else { At::LeaveClaim };
        true
    }

    fn kill(&self, s: &mut State, x: usize) -> bool {
        if s.kills == 0 || s.processes[x].at == At::Dead {
            return false;
        }
        s.kills -= 1;
        s.processes[x] =
            Process { at: At::Dead, word: NOBODY, holder: FREE, mine: FREE, owns: false, made: NONE };
        for set in s.sets.iter_mut().filter(|set| set.alive == x as u8) {
            set.alive = NONE;
        }
        true
    }

    fn remove(&self, s: &mut State, set: usize) -> bool {
        if s.removals == 0 || !s.sets[set].exists {
            return false;
        }
        s.removals -= 1;
        s.sets[set] = NO_SET;
        true
    }

    /// Whether `x`, alone and left in peace from here on, gets the seat.
    fn gets_it(&self, s: &State, x: usize) -> bool {
        let mut alone = *s;
        for _ in 0..64 {
            if alone.processes[x].at == At::Owner || !self.go(&mut alone, x) {
                break;
            }
        }
        alone.processes[x].owns
    }
}

impl Model for Seats {
    type State = State;
    /// For every process a step, a leave, a kill; and the removal of every set.
    const ACTIONS: u8 = (3 * PROCESSES + SETS) as u8;

    fn start(&self) -> State {
        let mut sets = [NO_SET; SETS];
        sets[0].exists = true;
        let process =
            Process { at: At::Idle, word: NOBODY, holder: FREE, mine: FREE, owns: false, made: NONE };
        State {
            word: Word { generation: 1, set: 0 },
            holder: FREE,
            sets,
            made: 1,
            processes: [process; PROCESSES],
            removals: self.removals,
            kills: self.kills,
            leaves: self.leaves,
        }
    }

    fn step(&self, state: &State, action: u8) -> Step<State> {
        let mut next = *state;
        let x = usize::from(action) % PROCESSES;
        let taken = match usize::from(action) / PROCESSES {
            0 => self.go(&mut next, x),
            1 => self.leave(&mut next, x),
            2 => self.kill(&mut next, x),
            _ => self.remove(&mut next, usize::from(action) - 3 * PROCESSES),
        };
        if !taken {
            return Step::Blocked;
        }
        // Looked at in the step that makes an owner: a moment later a stranger may remove the set.
        let (before, after) = (&state.processes[x], &next.processes[x]);
        if before.at != At::Owner && after.at == At::Owner && after.word != next.word {
            return Step::Wrong(WILL_STANDS);
        }
        Step::Next(next)
    }

    fn is_progress(&self, action: u8) -> bool {
        usize::from(action) < PROCESSES
    }

    fn check(&self, s: &State) -> Option<Property> {
        if s.processes.iter().filter(|p| p.owns).count() > 1 {
            return Some(ONE_OWNER);
        }
        let living = |x: &usize| s.processes[*x].at != At::Dead;
        let quiet = (0..PROCESSES).filter(living).all(|x| s.processes[x].at == At::Idle);
        if quiet && (0..PROCESSES).filter(living).any(|x| !self.gets_it(s, x)) {
            return Some(NOT_LOST);
        }
        let is_leaked = |(index, set): (usize, &Set)| {
            let maker = s.processes.get(usize::from(set.maker));
            let forgotten = maker.is_some_and(|p| p.at != At::Dead && p.made != index as u8);
            set.exists && forgotten
        };
        s.sets.iter().enumerate().any(is_leaked).then_some(NO_LEAK)
    }

    /// Whoever does not own the seat may always try; nobody is ever stuck but for a lack of sets.
    fn may_rest(&self, s: &State) -> bool {
        let rests = |p: &Process| matches!(p.at, At::Dead | At::Owner);
        s.processes.iter().all(rests) || usize::from(s.made) == SETS
    }

    fn describe(&self, s: &State, action: u8) -> String {
        let x = usize::from(action) % PROCESSES;
        let p = &s.processes[x];
        match usize::from(action) / PROCESSES {
            0 => format!("process {x}: {:?} (word {:?}, holder {:?})", p.at, s.word, s.holder),
            1 => format!("process {x} wants to leave"),
            2 => format!("process {x} is killed at {:?}", p.at),
            _ => format!("a stranger removes set {}", usize::from(action) - 3 * PROCESSES),
        }
    }
}
