//! The slow and certain way: is there an order at all in which a queue could have done this, one operation at a time?
//!
//! The search of J. M. Wing and C. Gong ("Testing and verifying concurrent objects", 1993), with the memory of states that
//! were tried in vain by G. Lowe ("Testing for linearizability", 2017): whatever begins before anything that is left
//! has ended may come next.

use std::collections::{HashSet, VecDeque};

use crate::history::{Act, History, Operation, Rule};

/// A channel with bounded lanes, as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Model {
    /// What is in it, in the order it was sent: value and lane.
    queue: VecDeque<(u64, u32)>,
    /// Of each lane: the end of its last record, the end of what was given back, and the ends of the records between.
    lanes: Vec<(u64, u64, VecDeque<u64>)>,
    /// Messages that were received and not given back, as in `queue`.
    received: Vec<(u64, u32)>,
}

impl Model {
    pub(crate) fn new(history: &History) -> Model {
        let lanes = history.tails.iter().map(|&tail| (tail, tail, VecDeque::new())).collect();
        Model { queue: VecDeque::new(), lanes, received: Vec::new() }
    }

    /// What may be received next.
    pub(crate) fn next(&self, rule: Rule) -> Vec<u64> {
        let is_next = |index: usize| match rule {
            Rule::Total => index == 0,
            Rule::PerSender => self.queue.range(..index).all(|other| other.1 != self.queue[index].1),
        };
        (0..self.queue.len()).filter(|&index| is_next(index)).map(|index| self.queue[index].0).collect()
    }

    /// Does it, if that is possible now.
    pub(crate) fn step(&mut self, act: Act, history: &History) -> bool {
        let has_room = |&(tail, read, _): &(u64, u64, VecDeque<u64>), length| {
            history.shape.has_room(history.shape.end(tail, length), read)
        };
        match act {
            Act::Send { value, lane, length } => {
                let place = &mut self.lanes[lane as usize];
                if !has_room(place, length) {
                    return false;
                }
                place.0 = history.shape.end(place.0, length);
                place.2.push_back(place.0);
                self.queue.push_back((value, lane));
                true
            }
            Act::Full { lane, length } => !has_room(&self.lanes[lane as usize], length),
            Act::Receive { value } => {
                let is_next = self.next(history.rule).contains(&value);
                if is_next {
                    let index = self.queue.iter().position(|sent| sent.0 == value).expect("it is next");
                    self.received.extend(self.queue.remove(index));
                }
                is_next
            }
            Act::Release { value } => {
                let Some(&(_, lane)) = self.received.iter().find(|message| message.0 == value) else {
                    return false;
                };
                // A lane's room is given back in the order of its messages.
                let first = self.received.iter().position(|message| message.1 == lane).expect("one of them");
                let is_next = self.received[first].0 == value;
                if is_next {
                    self.received.remove(first);
                    let (_, read, ends) = &mut self.lanes[lane as usize];
                    *read = ends.pop_front().expect("a record for each message");
                }
                is_next
            }
            Act::Empty => self.queue.is_empty(),
        }
    }
}

/// Whether there is an order.
pub(crate) fn is_linearizable(history: &History) -> bool {
    let programs: Vec<&[Operation]> = history.processes().collect();
    let mut vain = HashSet::new();
    go_on(history, &programs, &vec![0; programs.len()], &Model::new(history), &mut vain)
}

/// From here on; `done` says how many operations of each process have taken effect.
fn go_on(
    history: &History,
    programs: &[&[Operation]],
    done: &[usize],
    model: &Model,
    vain: &mut HashSet<(Vec<usize>, Model)>,
) -> bool {
    let next = |process: usize| programs[process].get(done[process]);
    let left = (0..done.len()).flat_map(|process| &programs[process][done[process]..]);
    let Some(first_end) = left.map(|operation| operation.end).min() else { return true };
    for process in 0..done.len() {
        let Some(operation) = next(process).filter(|operation| operation.begin <= first_end) else {
            continue;
        };
        let mut after = model.clone();
        if !after.step(operation.act, history) {
            continue;
        }
        let mut more = done.to_vec();
        more[process] += 1;
        if vain.contains(&(more.clone(), after.clone())) {
            continue;
        }
        if go_on(history, programs, &more, &after, vain) {
            return true;
        }
        vain.insert((more, after));
    }
    false
}
