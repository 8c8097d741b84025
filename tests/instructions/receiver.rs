//! A receiver is killed or held: its successor goes on exactly where it stopped, and no sender waits that has room.

use std::time::Instant;

use crate::drive::{Fate, Outcome, Setting};
use crate::process::{Pipe, fork, trusted_receiver};
use crate::scenario::{Operation, State};
use crate::sender::HELD;
use crate::trace::{self, Came, Page, Result, end_mark, start_mark};
use crate::world::{LATE, PROMPT, Peer, Report, Sent, World, compare_suffix, soon, who};

/// Steps of the victim's: the guard is in its hand; the message is released.
const GIVEN: u64 = 1;
const RELEASED: u64 = 2;

/// Messages of one batch.
const BATCH: usize = 3;

/// The victim: does everything between the marks.
fn act(world: &mut World, page: &Page) {
    let operation = world.scenario.operation;
    let mut buffer = vec![0; world.scenario.capacity() as usize];
    if matches!(operation, Operation::AttachReceiver | Operation::TakeOverSeat) {
        trace::be_traced(page);
        start_mark();
        let mut receiver = world.receiver().expect("the seat");
        if operation == Operation::TakeOverSeat {
            let message = receiver.recv().expect("a message");
            let redelivered = message.redelivered();
            page.did(GIVEN);
            drop(message);
            page.did(RELEASED);
            assert!(redelivered, "the dead one had it in its hand");
        }
        end_mark();
        return trace::hold();
    }
    let mut receiver = world.receiver().expect("the seat");
    if world.scenario.warm {
        receiver.recv_vec().expect("the first message");
    }
    match operation {
        Operation::Recv | Operation::RecvAsleep => {
            trace::be_traced(page);
            start_mark();
            let message = receiver.recv().expect("a message");
            page.did(GIVEN);
            message.copy_to(&mut buffer);
            drop(message);
            page.did(RELEASED);
            end_mark();
        }
        Operation::TryRecv => {
            trace::be_traced(page);
            start_mark();
            if let Ok(message) = receiver.try_recv() {
                page.did(GIVEN);
                message.copy_to(&mut buffer);
            }
            page.did(RELEASED);
            end_mark();
        }
        Operation::RecvInto => {
            trace::be_traced(page);
            start_mark();
            let got = receiver.recv_into(&mut buffer);
            page.did(RELEASED);
            end_mark();
            got.expect("a message");
        }
        Operation::RecvVec => {
            trace::be_traced(page);
            start_mark();
            let got = receiver.recv_vec();
            page.did(RELEASED);
            end_mark();
            got.expect("a message");
        }
        Operation::RecvBatch => {
            trace::be_traced(page);
            start_mark();
            let batch = receiver.recv_batch(BATCH).expect("messages");
            page.did(GIVEN);
            batch.iter().for_each(|message| _ = message.copy_to(&mut buffer));
            drop(batch);
            page.did(RELEASED);
            end_mark();
        }
        Operation::RecvInPlace => {
            let mut receiver = trusted_receiver(receiver);
            trace::be_traced(page);
            start_mark();
            let frame = receiver.recv().expect("a message");
            page.did(GIVEN);
            buffer[..frame.len()].copy_from_slice(&frame);
            drop(frame);
            page.did(RELEASED);
            end_mark();
            return trace::hold();
        }
        Operation::LeaveReceiver => {
            trace::be_traced(page);
            start_mark();
            drop(receiver);
            end_mark();
            return trace::hold();
        }
        other => unreachable!("{other:?} is no receiver's"),
    }
    trace::hold();
}

/// A receiver that is killed with a guard in its hand.
fn kill_predecessor(world: &mut World) -> Result<()> {
    let pipe = Pipe::new();
    let child = fork(|| {
        let mut receiver = world.receiver().expect("the seat");
        let _message = receiver.recv().expect("a message");
        pipe.put(0);
        trace::hold();
    });
    pipe.get();
    child.kill();
    Ok(())
}

/// One point of one scenario.
pub(crate) fn run(setting: &mut Setting<'_>) -> Result<Outcome> {
    let scenario = *setting.scenario;
    let operation = scenario.operation;
    let mut world = World::new(&scenario)?;
    world.prepare()?;
    let mut given_before = 0;
    if operation == Operation::TakeOverSeat {
        kill_predecessor(&mut world)?;
        given_before = 1;
    }
    setting.page.reset();
    let mut peer = None;
    let sleeper = Sent { lane: 0, who: who::SLEEPER, number: 0, length: scenario.length() };
    if scenario.asleep {
        world.own = None;
        peer = Some(Peer::sleeper(&mut world, sleeper)?);
        soon("the sender sleeps", || Ok(world.stats()?.lanes.iter().any(|lane| lane.seat.asleep)))?;
    }
    let child = fork(|| act(&mut world, setting.page));
    let tracee = setting.catch(&child)?;
    let Some(came) = setting.bring(&tracee, &mut world)? else { return Ok(Outcome::default()) };
    let mut outcome = Outcome::default();
    let earlier = world.sent.len();
    if setting.fate == Fate::Stop {
        let started = Instant::now();
        world.others_send()?;
        // Two of the largest fill a lane.
        let has_room = scenario.state != State::Fits && scenario.length() < 1000;
        if world.own.is_some() && has_room {
            world.own_sends(8)?;
        }
        outcome.waited = started.elapsed();
        if outcome.waited > HELD {
            return Err(format!("{LATE}a sender waits for a held receiver"));
        }
        if came == Came::There {
            tracee.run_to_end(&mut world)?;
        }
    }
    let progress = setting.page.progress();
    let sent = world.sent.len();
    // Whoever slept for room has it, or learns that the receiver has gone.
    let mut slept = None;
    if let Some(peer) = &mut peer
        && setting.fate == Fate::Stop
        && progress == RELEASED
    {
        slept = Some(over(peer, Instant::now() + PROMPT)?);
    }
    child.kill();

    if let Some(peer) = &mut peer
        && slept.is_none()
        && !scenario.persistent
        && operation != Operation::AttachReceiver
    {
        slept = Some(over(peer, Instant::now() + PROMPT)?);
    }
    world.receiver = Some(world.receiver()?);
    world.drain()?;
    if let Some(mut peer) = peer {
        let code = match slept {
            Some(code) => code,
            None => over(&mut peer, Instant::now() + PROMPT)?,
        };
        peer.child.join();
        world.drain()?;
        match code {
            0 => {
                // Its stamp is younger than those of all that were there before, and than those of the others
                // that sent while the receiver was held only perhaps: then each lane is compared for itself.
                world.sent.push(sleeper);
            }
            1 if !scenario.persistent => {}
            code => return Err(format!("the sender that slept ended with {code}")),
        }
    }
    // Those that came while it was held may be in its hands or not.
    let most = if operation == Operation::RecvBatch { BATCH } else { 1 };
    let handed = match operation {
        Operation::AttachReceiver | Operation::LeaveReceiver => 0..=0,
        Operation::RecvAsleep => sent.min(most)..=sent.min(most),
        _ => earlier.min(most)..=sent.min(most),
    };
    world.go_on()?;
    let ordered = scenario.is_ordered() && setting.fate == Fate::Kill;
    let (missing, redelivered) = compare_suffix(&world.got, &world.sent, ordered)?;
    let fits = match progress {
        _ if *handed.end() == 0 => missing == 0 && redelivered == 0,
        RELEASED => handed.contains(&missing) && redelivered == 0,
        _ if setting.fate == Fate::Stop => false,
        _ if operation.is_copying() => missing <= *handed.end() && redelivered == 0,
        GIVEN => handed.contains(&(missing + redelivered)),
        _ => missing == 0 && (given_before..=given_before.max(*handed.end())).contains(&redelivered),
    };
    if !fits {
        return Err(format!(
            "after step {progress} of an operation on {handed:?} messages: {missing} missing, {redelivered} redelivered"
        ));
    }
    outcome.whole = missing;
    outcome.absent = handed.end().saturating_sub(missing);
    outcome.redelivered = redelivered;
    world.finish()?;
    Ok(outcome)
}

/// How a sleeping sender's call ended.
fn over(peer: &mut Peer, end: Instant) -> Result<u8> {
    match peer.report(end)? {
        Report::Over(code) => Ok(code),
        Report::Got(got) => Err(format!("a sender reports {got:?}")),
    }
}
