//! Somebody is killed or held while making, opening or removing a channel: the next caller finishes it or starts
//! anew.

use std::time::Instant;

use sysring::{Observer, OpenErrorKind};

use crate::drive::{Fate, Outcome, Setting};
use crate::process::{self, Name, Object, Pipe, fork};
use crate::scenario::{Operation, Scenario};
use crate::sender::HELD;
use crate::trace::{self, Came, Nobody, Page, Result, Tracee, end_mark, start_mark};
use crate::world::Peer;
use crate::world::{LATE, PATIENCE, Report, builder, soon, told};

/// The victim: does everything between the marks.
fn act(scenario: &Scenario, name: &Name, page: &Page, ready: &Pipe) {
    let builder = builder(scenario);
    match scenario.operation {
        Operation::Create => {
            trace::be_traced(page);
            start_mark();
            let channel = builder.create(name).expect("create");
            page.did(1);
            end_mark();
            trace::hold();
            drop(channel);
        }
        Operation::Repair => {
            trace::be_traced(page);
            start_mark();
            let channel = builder.open_or_create(name).expect("open or create");
            page.did(1);
            end_mark();
            trace::hold();
            drop(channel);
        }
        Operation::Open => {
            trace::be_traced(page);
            start_mark();
            let channel = builder.open(name).expect("open");
            page.did(1);
            end_mark();
            trace::hold();
            drop(channel);
        }
        Operation::Remove => {
            trace::be_traced(page);
            start_mark();
            sysring::remove(name).expect("remove");
            page.did(1);
            end_mark();
            trace::hold();
        }
        Operation::FinishRemoval => {
            let mut sender = builder.open(name).expect("open").sender().expect("a seat");
            ready.put(0);
            trace::be_traced(page);
            start_mark();
            let _ = sender.try_send("seen or not");
            page.did(1);
            end_mark();
            trace::hold();
        }
        Operation::Pair => {
            trace::be_traced(page);
            start_mark();
            let pair = builder.pair().expect("a pair");
            page.did(1);
            end_mark();
            trace::hold();
            drop(pair);
        }
        other => unreachable!("{other:?} is a sender's or a receiver's"),
    }
}

/// Somebody who is killed at some system call of another operation on the same name.
fn kill_predecessor(
    scenario: &Scenario,
    operation: Operation,
    name: &Name,
    page: &Page,
    begun: impl Fn() -> bool,
) -> Result<()> {
    let stage = scenario.stage;
    let scenario = Scenario { operation, ..*scenario };
    let pipe = Pipe::new();
    let child = fork(|| act(&scenario, name, page, &pipe));
    Tracee::catch(child.pid(), PATIENCE)?.run_system_calls(begun, stage)?;
    child.kill();
    page.reset();
    Ok(())
}

const MESSAGE: &str = "sent before";

/// One point of one scenario.
pub(crate) fn run(setting: &mut Setting<'_>) -> Result<Outcome> {
    let scenario = *setting.scenario;
    let operation = scenario.operation;
    let before = process::objects();
    let name = Name::new();
    let mut old = None;
    let mut user = None;
    match operation {
        Operation::Repair => kill_predecessor(&scenario, Operation::Create, &name, setting.page, || true)?,
        Operation::Open | Operation::Remove | Operation::FinishRemoval => {
            let channel = told("create", builder(&scenario).create(&name))?;
            told("send", told("a seat", channel.sender())?.send(MESSAGE))?;
            if scenario.asleep {
                user = Some(Peer::user(&channel)?);
                soon("the receiver sleeps", || Ok(told("stats", channel.stats())?.receiver.asleep))?;
            }
            old = Some(channel.id());
        }
        _ => {}
    }
    setting.page.reset();
    let ready = Pipe::new();
    let child = fork(|| act(&scenario, &name, setting.page, &ready));
    if operation == Operation::FinishRemoval {
        ready.get();
        let observer = told("observe", Observer::open(&name))?;
        let marked = || observer.stats().map_or(true, |stats| stats.removed);
        kill_predecessor(&scenario, Operation::Remove, &name, setting.page, marked)?;
    }
    let tracee = setting.catch(&child)?;
    let Some(came) = setting.bring(&tracee, &mut Nobody)? else {
        drop(child);
        clean(&before, &name);
        return Ok(Outcome::default());
    };
    let mut outcome = Outcome::default();
    if setting.fate == Fate::Stop {
        let started = Instant::now();
        another_channel(&scenario)?;
        outcome.waited = started.elapsed();
        if outcome.waited > HELD {
            return Err(format!("{LATE}another channel waits for a held process"));
        }
        if came == Came::There {
            tracee.run_to_end(&mut Nobody)?;
        }
    }
    let done = setting.page.progress() == 1;
    child.kill();

    let id =
        if operation == Operation::Pair { None } else { Some(next_caller(&scenario, &name, old, done)?) };
    if let Some(mut user) = user {
        // The remover's death wakes nobody: if it had marked the channel and nobody else came, the ceiling does.
        match user.report(Instant::now() + PATIENCE)? {
            Report::Over(0) => {}
            other => return Err(format!("a user of the removed channel reports {other:?}")),
        }
        user.child.join();
    }
    match (old, id) {
        (Some(old), Some(id)) if old != id => outcome.whole = 1,
        (Some(_), _) => outcome.absent = 1,
        (None, _) if done => outcome.whole = 1,
        (None, _) => outcome.absent = 1,
    }
    outcome.left = left_over(&before, operation)?;
    Ok(outcome)
}

/// Another channel is not disturbed.
fn another_channel(scenario: &Scenario) -> Result<()> {
    let name = Name::new();
    let channel = told("create another", builder(scenario).create(&name))?;
    told("send", told("a seat", channel.sender())?.send(MESSAGE))?;
    let bytes = told("recv", told("the seat", channel.receiver())?.recv_vec())?;
    told("remove another", channel.remove())?;
    if bytes == MESSAGE.as_bytes() { Ok(()) } else { Err("another channel gives something else".into()) }
}

/// The next caller finds one good channel, uses it and removes it. Returns its id.
fn next_caller(scenario: &Scenario, name: &Name, old: Option<i32>, done: bool) -> Result<i32> {
    let operation = scenario.operation;
    if done && operation == Operation::Remove {
        match builder(scenario).open(name) {
            Err(error) if error.kind() == OpenErrorKind::NotFound => {}
            other => return Err(format!("removed, and then {other:?}")),
        }
    }
    if done && matches!(operation, Operation::Create | Operation::Repair | Operation::Open) {
        told("open what was made", builder(scenario).open(name))?;
    }
    let started = Instant::now();
    let channel = told("open or create", builder(scenario).open_or_create(name))?;
    if started.elapsed() > HELD {
        return Err(format!("{LATE}the next caller waited {:?}", started.elapsed()));
    }
    let segments = process::segments_under(channel.key());
    if segments != 1 {
        return Err(format!("{segments} segments under one key"));
    }
    if !scenario.asleep {
        let mut sender = told("a seat", channel.sender())?;
        told("send", sender.try_send("new"))?;
        let mut receiver = told("the seat", channel.receiver())?;
        let first = told("recv", receiver.try_recv_vec())?;
        let same = old == Some(channel.id());
        if same && first != MESSAGE.as_bytes() {
            return Err(format!("the channel is the same, and its first message {first:?}"));
        }
        let mut last = first;
        while same && last != b"new" && last != b"seen or not" {
            last = told("recv", receiver.try_recv_vec())?;
        }
        if last == b"seen or not" {
            last = told("recv", receiver.try_recv_vec())?;
        }
        if last != b"new" {
            return Err(format!("the last message is {last:?}"));
        }
    }
    told("remove", channel.remove())?;
    Ok(channel.id())
}

fn clean(before: &[Object], name: &Name) {
    let _ = sysring::remove(name);
    let _ = remove_new(before);
}

/// Removes what is there now and was not there before.
fn remove_new(before: &[Object]) -> Vec<Object> {
    let left: Vec<Object> =
        process::objects().into_iter().filter(|object| !before.contains(object)).collect();
    for object in &left {
        match *object {
            Object::Segment { id, .. } => _ = sysring::segment::Segment::from_id(id).remove(),
            Object::Set { id, .. } => process::remove_set(id),
        }
    }
    left
}

/// How many objects are left after a collection that only their age could tell from those that are being made: their
/// maker died between making them and naming them, and the kernel has no call for both at once. Anything else that is
/// left is a failure.
fn left_over(before: &[Object], operation: Operation) -> Result<usize> {
    told("collect", sysring::Collector::new().run())?;
    let left = remove_new(before);
    let sets = left.iter().filter(|object| matches!(object, Object::Set { .. })).count();
    let segments = left.len() - sets;
    // Two were killed where one repairs, or finishes, what another has begun.
    let most = if matches!(operation, Operation::Repair) { 2 } else { 1 };
    let allowed = match operation {
        Operation::Create | Operation::Repair | Operation::Pair => most,
        _ => 0,
    };
    let nobodys = left.iter().all(|object| !matches!(object, Object::Segment { key, .. } if *key != 0));
    let segments_allowed = usize::from(operation == Operation::Pair);
    if left.len() <= allowed && nobodys && segments <= segments_allowed {
        Ok(left.len())
    } else {
        Err(format!("left in the kernel: {left:?}"))
    }
}
