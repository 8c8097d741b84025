//! A sender is killed or held: its message is there whole or not at all, and nobody waits for it.

use std::time::{Duration, Instant};

use crate::drive::{Fate, Outcome, Setting};
use crate::process::{fork, trusted_sender};
use crate::scenario::{Operation, Scenario, State, WARM};
use crate::trace::{self, Came, Page, Result, Tracee, end_mark, start_mark};
use crate::world::{Group, MANY, PATIENCE, PROMPT, Peer, Report, Sent, World, compare, soon, who};

/// How long the others may take while the victim is held.
pub(crate) const HELD: Duration = Duration::from_millis(300);

/// What `try_send` notes when it met a full lane.
const WAS_FULL: u64 = 9;

/// What the victim sends, if its operation comes to its end. `found_room`: `try_send` on the full lane found room,
/// which was made while the victim was held.
fn victims(scenario: &Scenario, found_room: bool) -> Vec<Sent> {
    let count = match scenario.operation {
        Operation::SendBatch => 3,
        Operation::TrySend if scenario.state == State::Full => found_room.into(),
        Operation::Send
        | Operation::TrySend
        | Operation::Slot
        | Operation::SendInPlace
        | Operation::SendAsleep
        | Operation::TakeOverLane => 1,
        _ => 0,
    };
    (0..count).map(|number| Sent { lane: 0, who: who::VICTIM, number, length: scenario.length() }).collect()
}

/// Drops a slot: that is how a message is given up.
fn abort(_: sysring::Slot<'_>) {}

/// The victim: does everything between the marks.
fn act(world: &World, page: &Page) {
    let scenario = world.scenario;
    let bytes = Sent { lane: 0, who: who::VICTIM, number: 0, length: scenario.length() }.bytes();
    let (front, back) = bytes.split_at(bytes.len() / 3);
    if matches!(scenario.operation, Operation::AttachSender | Operation::TakeOverLane) {
        trace::be_traced(page);
        start_mark();
        let mut sender = world.sender().expect("a seat");
        if scenario.operation == Operation::TakeOverLane {
            sender.try_send(&bytes).expect("room");
            page.did(1);
        }
        end_mark();
        trace::hold();
        return;
    }
    let mut sender = world.sender().expect("a seat");
    assert_eq!(sender.lane(), Some(0));
    if sends_before(&scenario) {
        sender.try_send(predecessors(&scenario).bytes()).expect("room");
    }
    match scenario.operation {
        Operation::Send | Operation::SendAsleep => {
            trace::be_traced(page);
            start_mark();
            let sent = sender.send(&bytes);
            page.did(1);
            end_mark();
            sent.expect("send");
        }
        Operation::TrySend => {
            trace::be_traced(page);
            start_mark();
            let sent = sender.try_send(&bytes);
            page.did(if sent.is_ok() { 1 } else { WAS_FULL });
            end_mark();
            assert!(sent.is_ok() || scenario.state == State::Full);
        }
        Operation::Slot => {
            trace::be_traced(page);
            start_mark();
            let mut slot = sender.reserve(bytes.len()).expect("room");
            slot.write(front).expect("it fits");
            slot.write_at(front.len(), back).expect("it fits");
            slot.commit().expect("commit");
            page.did(1);
            end_mark();
        }
        Operation::Abort => {
            trace::be_traced(page);
            start_mark();
            let mut slot = sender.reserve(bytes.len()).expect("room");
            slot.write(&bytes).expect("it fits");
            abort(slot);
            end_mark();
        }
        Operation::SendBatch => {
            let all: Vec<Vec<u8>> = victims(&scenario, true).iter().map(Sent::bytes).collect();
            trace::be_traced(page);
            start_mark();
            let mut batch = sender.batch();
            batch.send(&all[0]).expect("send");
            page.did(1);
            batch.send(&all[1]).expect("send");
            page.did(2);
            batch.send(&all[2]).expect("send");
            page.did(3);
            batch.finish();
            end_mark();
        }
        Operation::SendInPlace => {
            let mut sender = trusted_sender(sender);
            trace::be_traced(page);
            start_mark();
            let mut frame = sender.reserve(bytes.len()).expect("room");
            frame.copy_from_slice(&bytes);
            frame.commit().expect("commit");
            page.did(1);
            end_mark();
            trace::hold();
        }
        Operation::LeaveSender => {
            trace::be_traced(page);
            start_mark();
            drop(sender);
            end_mark();
            trace::hold();
            return;
        }
        other => unreachable!("{other:?} is no sender's"),
    }
    trace::hold();
}

/// A sender that is killed at some instruction of a send, or after it.
fn kill_predecessor(world: &World, setting: &mut Setting<'_>) -> Result<()> {
    let page = setting.page;
    let child = fork(|| {
        let mut sender = world.sender().expect("a seat");
        let sent = predecessors(&world.scenario);
        trace::be_traced(page);
        start_mark();
        sender.try_send(sent.bytes()).expect("room");
        end_mark();
        trace::hold();
    });
    Tracee::catch(child.pid(), PATIENCE)?.run_steps(setting.random.below(500))?;
    child.kill();
    Ok(())
}

fn predecessors(scenario: &Scenario) -> Sent {
    let length = if scenario.warm { WARM } else { scenario.length() };
    Sent { lane: 0, who: who::PREDECESSOR, number: 0, length }
}

/// Whether the victim sends one of those before its operation.
fn sends_before(scenario: &Scenario) -> bool {
    scenario.warm || scenario.operation == Operation::LeaveSender
}

/// One point of one scenario.
pub(crate) fn run(setting: &mut Setting<'_>) -> Result<Outcome> {
    let scenario = *setting.scenario;
    let mut world = World::new(&scenario)?;
    world.prepare()?;
    let mut maybe = Vec::new();
    if scenario.operation == Operation::TakeOverLane {
        kill_predecessor(&world, setting)?;
        maybe.push(predecessors(&scenario));
    }
    setting.page.reset();
    let mut peer = if scenario.asleep { Some(Peer::listener(&mut world)?) } else { None };
    let mut heard = Vec::new();
    let child = fork(|| act(&world, setting.page));
    let tracee = setting.catch(&child)?;
    if sends_before(&scenario) {
        world.sent.push(predecessors(&scenario));
    }
    if let Some(peer) = &mut peer {
        peer.collect(&mut heard, world.sent.len(), Instant::now() + PATIENCE)?;
        soon("the receiver sleeps", || Ok(world.stats()?.receiver.asleep))?;
    }
    let earlier = world.sent.len();
    let Some(came) = setting.bring(&tracee, &mut world)? else { return Ok(Outcome::default()) };
    let mut outcome = Outcome::default();
    if setting.fate == Fate::Stop {
        let started = Instant::now();
        world.others_send()?;
        match &mut peer {
            Some(peer) => peer.collect(&mut heard, world.sent.len(), Instant::now() + HELD)?,
            None => {
                // The messages of the others, and those that were there before; the held one's may be there too.
                let held: Vec<Sent> = maybe.iter().copied().chain(victims(&scenario, true)).collect();
                let whole = |world: &World| {
                    world.got.iter().filter(|one| !held.iter().any(|sent| one.is(sent))).count()
                };
                let least = world.sent.len();
                loop {
                    world.drain()?;
                    if whole(&world) >= least {
                        break;
                    }
                    if started.elapsed() > HELD {
                        return Err(format!("{}the receiver waits for a held sender", crate::world::LATE));
                    }
                    std::thread::yield_now();
                }
            }
        }
        outcome.waited = started.elapsed();
        if came == Came::There {
            tracee.run_to_end(&mut world)?;
        }
        if let Some(peer) = &mut peer {
            // Its own last message may have waited so long; now it was rung for.
            let all = world.sent.len() + victims(&scenario, true).len();
            peer.collect(&mut heard, all, Instant::now() + PROMPT)?;
        }
    }
    let progress = setting.page.progress();
    let victims = victims(&scenario, progress == 1);
    if setting.fate == Fate::Kill && scenario.state == State::Full && progress == 1 && world.got.is_empty() {
        return Err("sent on a full lane".into());
    }
    let least = if setting.fate == Fate::Stop { victims.len() } else { victims.len().min(progress as usize) };
    child.kill();

    let alone = world.others.is_empty();
    if let Some(mut peer) = peer {
        let end = Instant::now() + PROMPT;
        if !alone {
            world.others_send()?;
            peer.collect(&mut heard, world.sent.len(), end)?;
            world.others.clear();
        }
        loop {
            match peer.report(end)? {
                Report::Got(got) if heard.len() <= world.sent.len() + MANY => heard.push(got),
                Report::Got(_) => return Err(format!("{} messages came, and no end", heard.len())),
                Report::Over(1) => break,
                Report::Over(code) => return Err(format!("the receiver ended with {code}")),
            }
        }
        peer.child.join();
        world.receiver = Some(world.receiver()?);
        world.got = heard;
    } else if setting.random.below(2) == 0 {
        world.others_send()?;
    }
    world.drain()?;
    world.go_on()?;
    let groups = [
        Group { sent: &world.sent[..earlier], least: earlier },
        Group { sent: &maybe, least: 0 },
        Group { sent: &victims, least },
        Group { sent: &world.sent[earlier..], least: world.sent.len() - earlier },
    ];
    let ordered = scenario.is_ordered() && setting.fate == Fate::Kill;
    let counts = compare(&world.got, &groups, ordered)?;
    if let Some(one) = world.got.iter().find(|one| one.redelivered) {
        return Err(format!("redelivered, though no receiver died: {one:?}"));
    }
    outcome.whole = counts[2];
    outcome.absent = victims.len() - counts[2];
    world.finish()?;
    Ok(outcome)
}
