//! A small exhaustive checker: breadth first through every state that a model can reach.
//!
//! A state is kept whole only while it waits for its turn. Of one that was visited the checker keeps a fingerprint of
//! 64 bits, the number of the state it was first reached from, and the action that led here: 13 bytes and the free
//! places of the table. That is enough to tell a trace by walking it once more from the start. Two states of the same
//! fingerprint would be taken for one; with 50 million states the chance that this happens at all is below 1 in 10,000.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

/// What a protocol promises, as a line that can be read.
pub(crate) type Property = &'static str;

/// A state in which nobody can go on although somebody should.
pub(crate) const STUCK: Property = "stuck: nobody can take a step, and work is left";

/// What became of an action.
pub(crate) enum Step<S> {
    /// It cannot be taken in this state.
    Blocked,
    /// It leads here.
    Next(S),
    /// It breaks this property.
    Wrong(Property),
}

/// A protocol: states, and the actions between them.
pub(crate) trait Model {
    /// Everything: shared memory, kernel, private memory of every process, and what the properties remember.
    type State: Copy + Hash;
    /// Actions have the numbers below it.
    const ACTIONS: u8;

    /// Where it begins.
    fn start(&self) -> Self::State;
    /// Takes an action.
    fn step(&self, state: &Self::State, action: u8) -> Step<Self::State>;
    /// Whether somebody goes on by this action. Kills and other blows from outside are no progress.
    fn is_progress(&self, action: u8) -> bool;
    /// A property that this state breaks.
    fn check(&self, state: &Self::State) -> Option<Property>;
    /// Whether it is right that nobody goes on here.
    fn may_rest(&self, state: &Self::State) -> bool;
    /// An action in words, seen in the state before it.
    fn describe(&self, state: &Self::State, action: u8) -> String;
}

/// What was found.
pub(crate) struct Report {
    /// Different states seen.
    pub(crate) states: usize,
    /// Longest shortest way to a state.
    pub(crate) depth: usize,
    /// The first broken property, and a shortest way to it.
    pub(crate) violation: Option<(Property, Vec<String>)>,
}

/// Visits every state, or stops at the first violation or above `limit` states.
///
/// # Panics
///
/// If there are more states than `limit`: then the answer would not be one.
pub(crate) fn explore<M: Model>(model: &M, limit: usize) -> Report {
    let mut visited = Visited::new();
    let mut ways: Vec<u32> = Vec::new();
    let mut actions: Vec<u8> = Vec::new();
    let mut waiting = VecDeque::new();
    let start = model.start();
    visited.insert(fingerprint(&start));
    ways.push(0);
    actions.push(0);
    waiting.push_back(start);
    let mut current = 0usize;
    let (mut depth, mut end_of_depth) = (0, 1);
    let wrong = |property, ways: &[u32], actions: &[u8], at: usize, last: Option<u8>, depth| Report {
        states: actions.len(),
        depth,
        violation: Some((property, trace(model, ways, actions, at, last))),
    };
    while let Some(state) = waiting.pop_front() {
        if current == end_of_depth {
            depth += 1;
            end_of_depth = actions.len();
        }
        let mut progress = false;
        for action in 0..M::ACTIONS {
            let next = match model.step(&state, action) {
                Step::Blocked => continue,
                Step::Next(next) => next,
                Step::Wrong(property) => {
                    return wrong(property, &ways, &actions, current, Some(action), depth);
                }
            };
            progress |= model.is_progress(action);
            if !visited.insert(fingerprint(&next)) {
                continue;
            }
            if let Some(property) = model.check(&next) {
                return wrong(property, &ways, &actions, current, Some(action), depth);
            }
            assert!(actions.len() < limit, "more than {limit} states");
            ways.push(u32::try_from(current).expect("fewer than 2^32 states"));
            actions.push(action);
            waiting.push_back(next);
        }
        if !progress && !model.may_rest(&state) {
            return wrong(STUCK, &ways, &actions, current, None, depth);
        }
        current += 1;
    }
    Report { states: actions.len(), depth, violation: None }
}

/// The actions that lead to state number `at` and one further, told by taking them again.
fn trace<M: Model>(model: &M, ways: &[u32], actions: &[u8], mut at: usize, last: Option<u8>) -> Vec<String> {
    let mut taken: Vec<u8> = last.into_iter().collect();
    while at != 0 {
        taken.push(actions[at]);
        at = ways[at] as usize;
    }
    taken.reverse();
    let mut state = model.start();
    let mut lines = Vec::new();
    for action in taken {
        lines.push(model.describe(&state, action));
        if let Step::Next(next) = model.step(&state, action) {
            state = next;
        }
    }
    lines
}

/// Fingerprints, by open addressing. Zero marks a free place.
struct Visited {
    places: Vec<u64>,
    used: usize,
}

impl Visited {
    fn new() -> Visited {
        Visited { places: vec![0; 1 << 12], used: 0 }
    }

    /// True if it was not there.
    fn insert(&mut self, fingerprint: u64) -> bool {
        if self.used * 4 >= self.places.len() * 3 {
            let bigger = vec![0; self.places.len() * 2];
            for old in std::mem::replace(&mut self.places, bigger) {
                if old != 0 {
                    Self::put(&mut self.places, old);
                }
            }
        }
        let new = Self::put(&mut self.places, fingerprint);
        self.used += usize::from(new);
        new
    }

    fn put(places: &mut [u64], fingerprint: u64) -> bool {
        let mask = places.len() - 1;
        let mut place = fingerprint as usize & mask;
        loop {
            match places[place] {
                0 => break,
                there if there == fingerprint => return false,
                _ => place = (place + 1) & mask,
            }
        }
        places[place] = fingerprint;
        true
    }
}

fn fingerprint(state: &impl Hash) -> u64 {
    let mut bytes = Bytes { word: 0, filled: 0, sum: 0x9e37_79b9_7f4a_7c15 };
    state.hash(&mut bytes);
    bytes.finish().max(1)
}

/// Gathers bytes into words and multiplies words into a sum. Everything in a state is a byte or an array of them.
struct Bytes {
    word: u64,
    filled: u32,
    sum: u64,
}

impl Bytes {
    #[inline]
    fn mix(&mut self, word: u64) {
        let wide = u128::from(self.sum ^ word) * u128::from(0xa076_1d64_78bd_642f_u64);
        // Rotated, so that words change places with a different result.
        self.sum = ((wide as u64) ^ ((wide >> 64) as u64)).rotate_left(29);
    }
}

impl Hasher for Bytes {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        if let Ok(eight) = <[u8; 8]>::try_from(bytes) {
            self.mix(u64::from_le_bytes(eight));
        } else {
            bytes.iter().for_each(|&byte| self.write_u8(byte));
        }
    }

    #[inline]
    fn write_u8(&mut self, byte: u8) {
        self.word = self.word << 8 | u64::from(byte);
        self.filled += 1;
        if self.filled == 8 {
            self.mix(self.word);
            (self.word, self.filled) = (0, 0);
        }
    }

    /// Which variant of an enum: a byte here.
    #[inline]
    fn write_isize(&mut self, variant: isize) {
        self.write_u8(variant as u8);
    }

    /// Lengths of arrays, which are the same in all states.
    #[inline]
    fn write_usize(&mut self, _length: usize) {}

    #[inline]
    fn finish(&self) -> u64 {
        let mut end = Bytes { word: 0, filled: 0, sum: self.sum };
        end.mix(self.word);
        end.mix(0x1656_67b1_9e37_79f9);
        end.sum
    }
}
