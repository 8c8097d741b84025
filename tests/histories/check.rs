//! The quick way: whether a history is that of a queue with bounded lanes.
//!
//! # Why a graph is enough
//!
//! In general one must guess in which order overlapping sends took effect. Here values are different and there is one
//! receiver, so nothing is left to guess: messages entered the queue in the order in which they left it, and those that
//! never left it entered last. Likewise all else that a queue demands says that one operation took effect before
//! another:
//!
//! * each process did one thing after the other;
//! * a message is sent before it is received;
//! * in total order: messages are sent in the order in which they are received, and before those that are
//!   not; else the same within each lane;
//! * who found nothing did so before everything was sent that had not been received by then;
//! * a send into a lane comes after the release that made its room, and who found no room did so before it. Which release
//!   that is follows from the sizes: lanes are filled one record after the other.
//!
//! There is an order of all operations exactly if moments can be chosen, one for each operation, no earlier than its
//! begin, no later than its end, and no earlier than those of all operations that come before it. The earliest possible
//! moments are found in one walk; if one of them is after its operation's end, there is none. A moment may be that of
//! several operations, which then took effect in the order of the graph.
//!
//! [`patterns`] finds what T. Henzinger, A. Sezgin and V. Vafeiadis ("Aspect-oriented linearizability proofs", CONCUR
//! 2013) show to be the only things that can be wrong with a queue, when room does not matter: a message from nowhere,
//! one that comes twice, two that change places, nothing found where something was. It says more plainly what is wrong.

use std::collections::HashMap;
use std::fmt::Write;

use crate::history::{Act, History, Operation, Rule};

/// Says what is wrong with a history.
pub(crate) fn check(history: &History) -> Result<(), String> {
    patterns(history)?;
    Graph::new(history)?.solve()
}

/// A message and what happened to it.
#[derive(Clone, Copy, Debug)]
struct Fate<'a> {
    value: u64,
    lane: u32,
    sent: &'a Operation,
    /// The receive, and its place among the receiver's operations.
    received: Option<(usize, &'a Operation)>,
}

/// What happened to all messages: the received ones in the order in which they were received, then the others.
fn fates(history: &History) -> Result<Vec<Fate<'_>>, String> {
    let mut sent = HashMap::new();
    for operation in history.senders.iter().flatten() {
        if let Act::Send { value, lane, .. } = operation.act {
            assert!(sent.insert(value, (operation, lane)).is_none(), "the test sent {value:x} twice");
        }
    }
    let (mut fates, mut seen) = (Vec::new(), HashMap::new());
    for (index, operation) in history.receiver.iter().enumerate() {
        let Act::Receive { value } = operation.act else { continue };
        if let Some(first) = seen.insert(value, operation) {
            return Err(format!("received twice: {first}, and {operation}"));
        }
        let Some(&(by, lane)) = sent.get(&value) else {
            return Err(format!("received and never sent: {operation}"));
        };
        fates.push(Fate { value, lane, sent: by, received: Some((index, operation)) });
    }
    let mut others: Vec<_> = sent.iter().filter(|(value, _)| !seen.contains_key(*value)).collect();
    others.sort_by_key(|(_, (by, _))| by.begin);
    fates.extend(others.into_iter().map(|(&value, &(sent, lane))| Fate {
        value,
        lane,
        sent,
        received: None,
    }));
    Ok(fates)
}

/// What is wrong with a history as that of a queue, with lanes as large as anybody likes.
pub(crate) fn patterns(history: &History) -> Result<(), String> {
    let fates = fates(history)?;
    for fate in &fates {
        if let Some((_, received)) = fate.received
            && received.end < fate.sent.begin
        {
            return Err(format!("received before it was sent: {received}, {}", fate.sent));
        }
    }
    // From the last to the first: of those that were received later or never, the one whose sending ended first.
    let mut earliest: HashMap<u32, &Fate> = HashMap::new();
    for late in fates.iter().rev() {
        let queue = if history.rule == Rule::Total { 0 } else { late.lane };
        if let Some(other) = earliest.get(&queue)
            && late.received.is_some()
            && other.sent.end < late.sent.begin
        {
            return Err(format!(
                "sent first, {}, and received after, {:?}, what was sent next, {}, and received {:?}",
                other.sent, other.received, late.sent, late.received
            ));
        }
        let first = earliest.entry(queue).or_insert(late);
        if late.sent.end < first.sent.end {
            *first = late;
        }
    }
    for (index, operation) in history.receiver.iter().enumerate() {
        let left = |fate: &&Fate| fate.received.is_none_or(|(when, _)| when > index);
        if operation.act == Act::Empty
            && let Some(inside) = fates.iter().filter(left).find(|fate| fate.sent.end < operation.begin)
        {
            return Err(format!("nothing found, {operation}, though this was there: {}", inside.sent));
        }
    }
    Ok(())
}

/// What must come before what.
struct Graph {
    operations: Vec<(usize, Operation)>,
    /// To whom, and why.
    after: Vec<Vec<(usize, &'static str)>>,
}

impl Graph {
    fn new(history: &History) -> Result<Graph, String> {
        let numbered =
            history.processes().enumerate().flat_map(|(who, list)| list.iter().map(move |one| (who, *one)));
        let operations: Vec<(usize, Operation)> = numbered.collect();
        let mut graph = Graph { after: vec![Vec::new(); operations.len()], operations };
        for later in 1..graph.operations.len() {
            if graph.operations[later - 1].0 == graph.operations[later].0 {
                graph.add(later - 1, later, "one after the other");
            }
        }
        let first_of_receiver = graph.operations.len() - history.receiver.len();
        let sends: HashMap<u64, usize> = (0..first_of_receiver)
            .filter_map(|node| match graph.operations[node].1.act {
                Act::Send { value, .. } => Some((value, node)),
                _ => None,
            })
            .collect();
        let fates = fates(history)?;
        // The last message received from each queue.
        let mut last: HashMap<u32, usize> = HashMap::new();
        for fate in &fates {
            let (send, queue) = (sends[&fate.value], if history.rule == Rule::Total { 0 } else { fate.lane });
            if let Some(&before) = last.get(&queue) {
                graph.add(before, send, "sent in the order received");
            }
            if let Some((index, _)) = fate.received {
                last.insert(queue, send);
                graph.add(send, first_of_receiver + index, "sent, then received");
            }
        }
        for (index, operation) in history.receiver.iter().enumerate() {
            if operation.act == Act::Empty {
                let left = |fate: &&Fate| fate.received.is_none_or(|(when, _)| when > index);
                for fate in fates.iter().filter(left) {
                    graph.add(first_of_receiver + index, sends[&fate.value], "nothing there, then sent");
                }
            }
        }
        let lanes = fates.iter().map(|fate| (fate.value, fate.lane)).collect();
        graph.add_room(history, &lanes, first_of_receiver)?;
        Ok(graph)
    }

    /// Adds what follows from the lanes' sizes. `lanes`: each message's.
    fn add_room(
        &mut self,
        history: &History,
        lanes: &HashMap<u64, u32>,
        first_of_receiver: usize,
    ) -> Result<(), String> {
        // The release of each message.
        let mut releases: HashMap<u64, usize> = HashMap::new();
        let mut received: Vec<(u64, u32)> = Vec::new();
        for (index, operation) in history.receiver.iter().enumerate() {
            match operation.act {
                Act::Receive { value } => received.push((value, lanes[&value])),
                Act::Release { value } => {
                    // A lane's room is given back in the order of its messages.
                    let first = received.iter().position(|other| Some(&other.1) == lanes.get(&value));
                    if first.map(|first| received.remove(first).0) != Some(value) {
                        return Err(format!("given back out of turn: {operation}"));
                    }
                    releases.insert(value, first_of_receiver + index);
                }
                _ => {}
            }
        }
        let node_of = |wanted: &Operation, graph: &Graph| {
            (0..first_of_receiver)
                .find(|&node| graph.operations[node].1 == *wanted)
                .expect("from this history")
        };
        for (&first_tail, program) in history.tails.iter().zip(&history.lane_programs()) {
            // Ends of the records sent so far, with their values; and how many must be released for the next.
            let (mut tail, mut records): (u64, Vec<(u64, u64)>) = (first_tail, Vec::new());
            for operation in program {
                let (Act::Send { length, .. } | Act::Full { length, .. }) = operation.act else { continue };
                let end = history.shape.end(tail, length);
                let mut reads = [first_tail].into_iter().chain(records.iter().map(|record| record.0));
                let needed = reads.position(|read| history.shape.has_room(end, read));
                let needed = needed.expect("an empty lane has room for any message");
                let release = needed.checked_sub(1).map(|last| releases.get(&records[last].1).copied());
                let node = node_of(operation, self);
                match (operation.act, release) {
                    (Act::Send { value, .. }, release) => {
                        match release {
                            None => {}
                            Some(Some(release)) => self.add(release, node, "room made, then used"),
                            Some(None) => return Err(format!("there was never room for {operation}")),
                        }
                        tail = end;
                        records.push((end, value));
                    }
                    (_, None) => return Err(format!("there was room all the time: {operation}")),
                    (_, Some(Some(release))) => self.add(node, release, "no room, then room made"),
                    (_, Some(None)) => {}
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, before: usize, after: usize, why: &'static str) {
        self.after[before].push((after, why));
    }

    /// Finds the earliest moment of each operation.
    fn solve(&self) -> Result<(), String> {
        let count = self.operations.len();
        let mut open = vec![0; count];
        self.after.iter().flatten().for_each(|&(node, _)| open[node] += 1);
        let mut earliest: Vec<u64> = self.operations.iter().map(|(_, operation)| operation.begin).collect();
        // Whose moment it was, if not the operation's own begin.
        let mut because: Vec<Option<(usize, &str)>> = vec![None; count];
        let mut ready: Vec<usize> = (0..count).filter(|&node| open[node] == 0).collect();
        let mut done = 0;
        while let Some(node) = ready.pop() {
            done += 1;
            if earliest[node] > self.operations[node].1.end {
                return Err(self.explain(node, &because));
            }
            for &(next, why) in &self.after[node] {
                if earliest[node] > earliest[next] {
                    earliest[next] = earliest[node];
                    because[next] = Some((node, why));
                }
                open[next] -= 1;
                if open[next] == 0 {
                    ready.push(next);
                }
            }
        }
        if done == count {
            return Ok(());
        }
        let mut text = "each of these would have to come before another one:".to_owned();
        for node in (0..count).filter(|&node| open[node] > 0).take(20) {
            let (who, operation) = self.operations[node];
            let _ = write!(text, "\n    process {who}: {operation}");
        }
        Err(text)
    }

    /// Why an operation took effect later than it ended.
    fn explain(&self, node: usize, because: &[Option<(usize, &str)>]) -> String {
        let line = |node: usize| format!("process {}: {}", self.operations[node].0, self.operations[node].1);
        let (mut node, mut text) = (node, format!("too late:\n    {}", line(node)));
        while let Some((before, why)) = because[node] {
            let _ = write!(text, "\n  comes after ({why})\n    {}", line(before));
            node = before;
        }
        text
    }
}
