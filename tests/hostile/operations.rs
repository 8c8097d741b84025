//! Every public operation on a channel, in a form that does not wait, with checks of what it gives.
//!
//! The in-place forms are left out: `trust_peers` is the promise that nobody does what is done here.

use std::io::Write as _;
use std::time::{Duration, Instant};

use sysring::{
    Builder, Channel, Collector, EndOfStream, Errno, Fault, Observer, OpenError, OpenErrorKind, Outcome,
    Receiver, RecvError, RecvTimeoutError, SendError, SendTimeoutError, Sender, Stats, Tap, Tapped,
    TryRecvError, TrySendError,
};

use crate::kernel;
use crate::layout;
use crate::message::Random;
use crate::mutation::Mutation;
use crate::state::Instance;

const NOW: Duration = Duration::ZERO;

/// Bytes behind a buffer that nobody may touch.
const GUARD: usize = 64;
const GUARD_BYTE: u8 = 0xa5;

/// Calls of one operation. A peer may forge messages without end, one call gives one.
const CALLS: usize = 2000;

/// A case under way.
pub(crate) struct Scene<'a> {
    pub(crate) instance: &'a mut Instance,
    pub(crate) random: Random,
    pub(crate) mutation: Mutation,
    /// The stranger has not struck yet.
    pub(crate) pending: bool,
    pub(crate) others: [i32; 2],
    /// Opening may wait for somebody who makes the channel: only now and then.
    pub(crate) may_wait: bool,
    pub(crate) buffer: &'a mut Vec<u8>,
}

/// Looks at a channel from outside, or opens it.
pub(crate) type Newcomer = fn(&mut Scene<'_>);
pub(crate) type Sending = fn(&mut Scene<'_>, &mut Sender);
pub(crate) type Receiving = fn(&mut Scene<'_>, &mut Receiver);

impl Scene<'_> {
    /// Lets the stranger strike, if that has not happened.
    pub(crate) fn strike(&mut self) {
        if std::mem::take(&mut self.pending) {
            self.mutation.apply(self.instance, &mut self.random, self.others);
        }
    }

    fn message(&mut self, largest: u64) -> Vec<u8> {
        let length = match self.random.below(8) {
            0 => 0,
            1 => largest,
            _ => self.random.below(300).min(largest),
        };
        vec![0x55; length as usize]
    }

    /// Runs something that opens the channel. What is refused as foreign or damaged was not touched; but who takes a
    /// seat as well may find the damage there.
    fn opening<T>(&mut self, open: impl FnOnce(&mut Self) -> Result<T, OpenError>) -> Option<T> {
        let (bytes, values) = (self.instance.bytes(), self.instance.values());
        match open(self) {
            Ok(opened) => Some(opened),
            Err(error) => {
                check_open(&error);
                let refused = match error.kind() {
                    OpenErrorKind::Foreign | OpenErrorKind::NameTaken => true,
                    OpenErrorKind::Corrupt => !error.to_string().contains("lane is damaged"),
                    _ => false,
                };
                if refused && !matches!(self.mutation, Mutation::Structured(_)) {
                    assert!(self.instance.bytes() == bytes, "refused and changed: {error}");
                    assert_eq!(self.instance.values(), values, "refused and its semaphores changed: {error}");
                }
                None
            }
        }
    }

    /// Runs something that only looks: not a byte and no semaphore is changed.
    fn looking<T>(&mut self, look: impl FnOnce(&mut Self) -> T) -> T {
        let (bytes, values) = (self.instance.bytes(), self.instance.values());
        let sets = kernel::count_sets();
        let seen = look(self);
        assert!(self.instance.bytes() == bytes, "a look has changed the segment");
        assert_eq!(self.instance.values(), values, "a look has changed semaphores");
        assert_eq!(kernel::count_sets(), sets, "a look has made or removed a set");
        seen
    }

    /// Whether an open would wait for a maker, and this case has no time for it.
    pub(crate) fn must_not_open(&self) -> bool {
        !self.may_wait && self.instance.word(layout::MAGIC) == 0
    }

    /// Opens it, by name, key or id, in a way that does not wait.
    pub(crate) fn open(&mut self) -> Option<Channel> {
        let builder = if self.must_not_open() || self.random.below(2) == 0 {
            self.instance.shape.builder()
        } else {
            Builder::default()
        };
        let (name, key, id) = (self.instance.name.clone(), self.instance.key, self.instance.id);
        let address = match self.random.below(4) {
            0 => sysring::Address::key(key),
            1 => sysring::Address::id(id),
            _ => sysring::Address::name(name),
        };
        let either = self.must_not_open() || self.random.below(3) == 0;
        self.opening(|_| if either { builder.open_or_create(address) } else { builder.open(address) })
    }

    /// Room for the largest message, with a guard behind it.
    fn with_buffer<R>(&mut self, length: u64, body: impl FnOnce(&mut [u8]) -> R) -> R {
        let length = length as usize;
        self.buffer.clear();
        self.buffer.resize(length + GUARD, GUARD_BYTE);
        let result = body(&mut self.buffer[..length]);
        assert!(self.buffer[length..].iter().all(|&byte| byte == GUARD_BYTE), "written behind the buffer");
        result
    }
}

pub(crate) fn check_open(error: &OpenError) {
    let allowed = !matches!(
        error.kind(),
        OpenErrorKind::InvalidAddress
            | OpenErrorKind::InvalidOption
            | OpenErrorKind::PermissionDenied
            | OpenErrorKind::Limit
            | OpenErrorKind::Unsupported
            | OpenErrorKind::System
    );
    assert!(allowed, "not an error of damaged channels: {error:?}");
    let text = error.to_string();
    assert!(!text.chars().any(char::is_control), "a control character in {text:?}");
    assert!(text.len() < 1000, "{} bytes of error", text.len());
}

fn check_fault(fault: &Fault) {
    match fault {
        Fault::Attach(error) => check_open(error),
        Fault::System(error) => panic!("{error:?}"),
        Fault::Forked => panic!("forked?"),
        _ => {}
    }
}

fn check_send<T>(outcome: Result<(), SendError<T>>) -> bool {
    if let Err(error) = &outcome {
        check_fault(error.fault());
    }
    outcome.is_ok()
}

fn check_try_send<T>(outcome: Result<(), TrySendError<T>>) -> bool {
    match outcome {
        Ok(()) => true,
        Err(TrySendError::Full(_)) => false,
        Err(TrySendError::Failed(error)) => check_send(Err(error)),
    }
}

fn check_send_timeout<T>(outcome: Result<(), SendTimeoutError<T>>) -> bool {
    match outcome {
        Ok(()) => true,
        Err(SendTimeoutError::Timeout(_)) => false,
        Err(SendTimeoutError::Failed(error)) => check_send(Err(error)),
    }
}

/// Whether there is more to come after this error.
fn check_recv(error: &RecvError) -> bool {
    match error {
        RecvError::Attach(error) => check_open(error),
        RecvError::System(error) => panic!("{error:?}"),
        _ => {}
    }
    matches!(error, RecvError::Corrupt(_))
}

fn check_try_recv(error: &TryRecvError) -> bool {
    match error {
        TryRecvError::Empty => false,
        TryRecvError::Failed(error) => check_recv(error),
    }
}

fn check_recv_timeout(error: &RecvTimeoutError) -> bool {
    match error {
        RecvTimeoutError::Timeout => false,
        RecvTimeoutError::Failed(error) => check_recv(error),
    }
}

fn check_length(length: usize, largest: u64) {
    assert!(length as u64 <= largest, "a message of {length} bytes where {largest} is the maximum");
}

fn check_stats(stats: &Stats, instance: &Instance) {
    assert_eq!(stats.id, instance.id);
    assert_eq!(stats.size, instance.shape.map.size() as u64);
    assert!(stats.lanes.len() <= stats.senders as usize && stats.senders <= 240);
    assert!(stats.max_message <= stats.capacity / 2 - 16);
    assert!(!stats.name.chars().any(char::is_control), "a control character in {:?}", stats.name);
    for lane in &stats.lanes {
        assert!(lane.lane < stats.senders && lane.used <= stats.capacity, "{lane:?}");
    }
}

/// Looks at the messages, in all forms: what is shown is no longer than it may be, each lane is reported as damaged at most
/// once, and there is an end.
fn check_taps(scene: &mut Scene<'_>, observer: &Observer) {
    let stats = observer.stats().ok();
    let (senders, largest) = stats.as_ref().map_or((1, u64::MAX), |stats| (stats.senders, stats.max_message));
    // Nothing moves: a lap of each lane is all that there can be.
    let most = stats.map_or(1 << 20, |stats| u64::from(stats.senders) * (stats.capacity / 8 + 2));
    let snap = if scene.random.below(2) == 0 { usize::MAX } else { scene.random.below(100) as usize };
    let tap = || observer.tap().snap_length(snap);
    let some_lane = scene.random.below(u64::from(senders)) as u32;
    let _ = tap().lane(u32::MAX).expect_err("there is no such lane");
    let taps: [Tap; 4] = [
        tap(),
        tap().snapshot(),
        tap().from_now(),
        tap().lane(some_lane).expect("there is that lane").snapshot(),
    ];
    for mut tap in taps {
        let mut damaged = [false; 240];
        let mut calls = 0;
        for tapped in tap.by_ref() {
            calls += 1;
            assert!(calls <= most, "no end");
            match tapped {
                Tapped::Message(message) => {
                    check_length(message.len, largest);
                    assert_eq!(message.bytes.len(), message.len.min(snap));
                    assert!(message.lane < 240);
                }
                Tapped::Damaged(damage) => {
                    let known = std::mem::replace(&mut damaged[damage.lane as usize], true);
                    assert!(!known, "{damage} was reported before");
                }
                other => assert!(matches!(other, Tapped::Missed(_)), "{other:?}"),
            }
        }
        let _ = (tap.shown(), tap.missed(), tap.is_removed());
        assert!(tap.follow().count() as u64 <= most);
    }
}

/// From this one on they remove the channel.
pub(crate) const REMOVING: usize = 13;

/// Everything that a newcomer may do.
pub(crate) const NEWCOMERS: [(&str, Newcomer); 17] = [
    ("open", |scene| drop(scene.open())),
    ("open-mismatch", |scene| {
        if scene.must_not_open() {
            return;
        }
        let builder = sysring::mpsc().senders(5).capacity(1 << 16).max_message(9999);
        let name = scene.instance.name.clone();
        drop(scene.opening(|_| builder.open(name)));
    }),
    ("create", |scene| {
        let (builder, name) = (scene.instance.shape.builder(), scene.instance.name.clone());
        drop(scene.opening(|_| builder.create(name)));
    }),
    ("create-other-shape", |scene| {
        if scene.must_not_open() {
            return;
        }
        let name = scene.instance.name.clone();
        drop(scene.opening(|_| sysring::mpsc().senders(9).capacity(4096).open_or_create(name)));
    }),
    ("builder-sender", |scene| {
        let (builder, name) = (scene.instance.shape.builder(), scene.instance.name.clone());
        if !scene.must_not_open() {
            drop(scene.opening(|_| builder.sender(name)));
        }
    }),
    ("builder-receiver", |scene| {
        let (builder, name) = (scene.instance.shape.builder(), scene.instance.name.clone());
        if !scene.must_not_open() {
            drop(scene.opening(|_| builder.receiver(name)));
        }
    }),
    ("channel-ends", |scene| {
        let Some(channel) = scene.open() else { return };
        let sender = channel.sender().inspect_err(check_open);
        let receiver = channel.receiver().inspect_err(check_open);
        drop((sender, receiver));
    }),
    ("channel-looks", |scene| {
        let Some(channel) = scene.open() else { return };
        let _ = (channel.name().len(), channel.kind(), channel.order(), channel.key(), channel.persistent());
        assert!(channel.max_message() <= channel.capacity() / 2 - 16 && channel.senders() <= 240);
        match channel.stats() {
            Ok(stats) if channel.id() == scene.instance.id => check_stats(&stats, scene.instance),
            Ok(_) => {}
            Err(error) => check_open(&error),
        }
    }),
    ("observer", |scene| {
        scene.looking(|scene| {
            let id = sysring::Address::id(scene.instance.id);
            let by_name = scene.random.below(2) == 0;
            let address = if by_name { sysring::Address::name(scene.instance.name.clone()) } else { id };
            match Observer::open(address) {
                Ok(observer) => {
                    observer
                        .stats()
                        .map_or_else(|error| check_open(&error), |stats| check_stats(&stats, scene.instance));
                    for lane in 0..scene.instance.shape.map.senders as u32 {
                        let alive = observer.sender_alive(lane);
                        let absent =
                            alive.as_ref().is_err_and(|error| error.kind() == OpenErrorKind::InvalidOption);
                        if !absent {
                            let _ = alive.inspect_err(check_open);
                        }
                    }
                    let _ = observer.sender_alive(u32::MAX).expect_err("there is no such lane");
                    check_taps(scene, &observer);
                }
                Err(error) => check_open(&error),
            }
        });
    }),
    ("list", |scene| {
        scene.looking(|scene| {
            for listed in sysring::list().expect("the list") {
                match listed.outcome {
                    Ok(stats) if listed.id == scene.instance.id => check_stats(&stats, scene.instance),
                    Ok(_) => {}
                    Err(error) => check_open(&error),
                }
            }
        });
    }),
    ("collect-dry", |scene| {
        scene.looking(|_| check_findings(&Collector::new().dry_run(true).idle(NOW)));
    }),
    ("collect-dry-detached", |scene| {
        let (bytes, values) = (scene.instance.bytes(), scene.instance.values());
        scene.instance.detach();
        check_findings(&Collector::new().dry_run(true).idle(NOW));
        scene.instance.attach();
        assert!(scene.instance.bytes() == bytes, "a dry run has changed the segment");
        assert_eq!(scene.instance.values(), values, "a dry run has changed semaphores");
    }),
    ("collect", |_| check_findings(&Collector::new())),
    ("collect-detached", |scene| {
        scene.instance.detach();
        check_findings(&Collector::new());
    }),
    ("collect-idle-detached", |scene| {
        scene.instance.detach();
        check_findings(&Collector::new().idle(NOW));
    }),
    ("remove", |scene| {
        let by_name = scene.random.below(2) == 0;
        let (name, id) = (scene.instance.name.clone(), scene.instance.id);
        scene.opening(|_| {
            if by_name { sysring::remove(name) } else { sysring::remove(sysring::Address::id(id)) }
        });
    }),
    ("channel-remove", |scene| {
        if let Some(channel) = scene.open() {
            let _ = channel.remove().inspect_err(check_open);
        }
    }),
];

fn check_findings(collector: &Collector) {
    for finding in collector.run().expect("the kernel's lists") {
        let sound = !matches!(finding.outcome, Outcome::Failed(errno) if errno != Errno::EPERM);
        assert!(sound, "{finding:?}");
        assert!(!finding.to_string().chars().any(char::is_control), "{finding:?}");
    }
}

/// Everything that a sender may do without waiting.
pub(crate) const SENDINGS: [(&str, Sending); 17] = [
    ("try_send", |scene, sender| {
        for _ in 0..6 {
            let message = scene.message(sender.max_message());
            check_try_send(sender.try_send(message));
        }
    }),
    ("try_send-until-full", |_, sender| {
        let mut calls = 0..CALLS;
        while check_try_send(sender.try_send([1; 40])) && calls.next().is_some() {}
    }),
    ("send_timeout", |scene, sender| {
        let message = scene.message(sender.max_message());
        check_send_timeout(sender.send_timeout(message, NOW));
    }),
    ("send_deadline", |scene, sender| {
        let message = scene.message(sender.max_message());
        check_send_timeout(sender.send_deadline(message, Instant::now()));
    }),
    ("send-interrupted", |scene, sender| {
        sender.interrupter().interrupt();
        let message = scene.message(sender.max_message());
        check_send(sender.send(message));
    }),
    ("send-too-long", |_, sender| {
        let length = sender.max_message() as usize + 1;
        assert!(sender.try_send(vec![0; length]).is_err());
    }),
    ("try_reserve", |scene, sender| {
        let length = scene.random.below(sender.max_message() + 1) as usize;
        match sender.try_reserve(length) {
            Ok(mut slot) => {
                scene.strike();
                let half = vec![3; length / 2];
                slot.write(&half).expect("it fits");
                slot.write_at(length / 3, &half[..length / 4]).expect("it fits");
                assert!(slot.write_at(length, b"x").is_err());
                slot.truncate(length - length / 5);
                check_send(slot.commit());
            }
            Err(error) => _ = check_try_send(Err(error)),
        }
    }),
    ("reserve-abort", |scene, sender| {
        let length = scene.random.below(sender.max_message() + 1) as usize;
        match sender.reserve_timeout(length, NOW) {
            Ok(mut slot) => {
                slot.write_all(&vec![4; length]).expect("it fits");
                scene.strike();
            }
            Err(error) => _ = check_send_timeout(Err(error)),
        }
    }),
    ("reserve_deadline", |scene, sender| match sender.reserve_deadline(50, Instant::now()) {
        Ok(slot) => {
            scene.strike();
            check_send(slot.commit());
        }
        Err(error) => _ = check_send_timeout(Err(error)),
    }),
    ("reserve-interrupted", |_, sender| {
        sender.interrupter().interrupt();
        match sender.reserve(100) {
            Ok(slot) => assert_eq!(slot.len(), 100), // and aborts it
            Err(error) => _ = check_send(Err(error)),
        }
    }),
    ("batch", |scene, sender| {
        let largest = sender.max_message();
        let mut batch = sender.batch();
        check_try_send(batch.try_send([5; 20]));
        scene.strike();
        for _ in 0..4 {
            check_try_send(batch.try_send(scene.message(largest)));
        }
        check_send_timeout(batch.send_timeout(scene.message(largest), NOW));
        check_send_timeout(batch.send_deadline([6; 10], Instant::now()));
        batch.finish();
    }),
    ("batch-interrupted", |_, sender| {
        sender.interrupter().interrupt();
        let mut batch = sender.batch();
        check_send(batch.send([7; 30]));
    }),
    ("try_clone", |_, sender| match sender.try_clone() {
        Ok(mut clone) => _ = check_try_send(clone.try_send(b"of the clone")),
        Err(error) => check_open(&error),
    }),
    ("sender-looks", |_, sender| {
        let _ = (sender.is_connected(), sender.len(), sender.is_empty(), sender.lane());
        assert!(sender.max_message() <= sender.capacity() / 2 - 16);
    }),
    ("sender-stats", |scene, sender| match sender.stats() {
        Ok(stats) => check_stats(&stats, scene.instance),
        Err(error) => check_open(&error),
    }),
    ("sender-attach", |_, sender| {
        let _ = sender.attach().inspect_err(check_open);
    }),
    ("send-sleeping", |scene, sender| {
        // Now and then: a millisecond in the kernel, if it comes to that.
        let limit = if scene.random.below(16) == 0 { Duration::from_millis(1) } else { NOW };
        for _ in 0..3 {
            check_send_timeout(sender.send_timeout([8; 500], limit));
        }
    }),
];

/// Everything that a receiver may do without waiting.
pub(crate) const RECEIVINGS: [(&str, Receiving); 25] = [
    ("try_recv", |scene, receiver| {
        let largest = receiver.max_message();
        for _ in 0..3 {
            match receiver.try_recv() {
                Ok(message) => {
                    scene.strike();
                    check_length(message.len(), largest);
                    let length = message.len();
                    let _ = (message.is_empty(), message.lane(), message.redelivered());
                    scene.with_buffer(largest, |buffer| assert_eq!(message.copy_to(buffer), length));
                    scene.with_buffer(length as u64 / 2, |half| message.read_at(length - half.len(), half));
                    assert_eq!(message.to_vec().len(), length);
                    let mut bytes = vec![1; 3];
                    message.append_to(&mut bytes);
                    assert_eq!(bytes.len(), length + 3);
                }
                Err(error) => _ = check_try_recv(&error),
            }
        }
    }),
    ("try_recv-forget", |scene, receiver| {
        for _ in 0..2 {
            match receiver.try_recv() {
                Ok(message) => std::mem::forget(message),
                Err(error) => _ = check_try_recv(&error),
            }
            scene.strike();
        }
    }),
    ("recv_timeout", |scene, receiver| {
        let largest = receiver.max_message();
        match receiver.recv_timeout(NOW) {
            Ok(message) => {
                scene.strike();
                check_length(message.len(), largest);
            }
            Err(error) => _ = check_recv_timeout(&error),
        }
    }),
    ("recv_deadline", |_, receiver| {
        let largest = receiver.max_message();
        match receiver.recv_deadline(Instant::now()) {
            Ok(message) => check_length(message.to_vec().len(), largest),
            Err(error) => _ = check_recv_timeout(&error),
        }
    }),
    ("recv-interrupted", |_, receiver| {
        receiver.interrupter().interrupt();
        let largest = receiver.max_message();
        match receiver.recv() {
            Ok(message) => check_length(message.len(), largest),
            Err(error) => _ = check_recv(&error),
        }
    }),
    ("try_recv_into", |scene, receiver| {
        let largest = receiver.max_message();
        let mut damages = 0;
        scene.with_buffer(largest, |buffer| {
            for _ in 0..CALLS {
                match receiver.try_recv_into(buffer) {
                    Ok(length) => check_length(length, largest),
                    // One lane says so for ever.
                    Err(error) if check_try_recv(&error) && damages < 8 => damages += 1,
                    Err(_) => return,
                }
            }
        });
    }),
    ("try_recv_into-small", |scene, receiver| {
        let length = scene.random.below(40);
        scene.with_buffer(length, |buffer| match receiver.try_recv_into(buffer) {
            Ok(received) => check_length(received, length),
            Err(TryRecvError::Failed(RecvError::TooSmall { needed, given })) => {
                assert!(needed > given && needed as u64 <= receiver.max_message());
            }
            Err(error) => _ = check_try_recv(&error),
        });
    }),
    ("recv_into_timeout", |scene, receiver| {
        let largest = receiver.max_message();
        scene.with_buffer(largest, |buffer| match receiver.recv_into_timeout(buffer, NOW) {
            Ok(length) => check_length(length, largest),
            Err(error) => _ = check_recv_timeout(&error),
        });
    }),
    ("recv_into_deadline", |scene, receiver| {
        let largest = receiver.max_message();
        scene.with_buffer(largest, |buffer| match receiver.recv_into_deadline(buffer, Instant::now()) {
            Ok(length) => check_length(length, largest),
            Err(error) => _ = check_recv_timeout(&error),
        });
    }),
    ("recv_into-interrupted", |scene, receiver| {
        receiver.interrupter().interrupt();
        let largest = receiver.max_message();
        scene.with_buffer(largest, |buffer| match receiver.recv_into(buffer) {
            Ok(length) => check_length(length, largest),
            Err(error) => _ = check_recv(&error),
        });
    }),
    ("try_recv_vec", |_, receiver| {
        let largest = receiver.max_message();
        for _ in 0..4 {
            match receiver.try_recv_vec() {
                Ok(bytes) => check_length(bytes.len(), largest),
                Err(error) => _ = check_try_recv(&error),
            }
        }
    }),
    ("recv_vec_timeout", |_, receiver| {
        let largest = receiver.max_message();
        match receiver.recv_vec_timeout(NOW) {
            Ok(bytes) => check_length(bytes.len(), largest),
            Err(error) => _ = check_recv_timeout(&error),
        }
    }),
    ("recv_vec_deadline", |_, receiver| {
        let largest = receiver.max_message();
        match receiver.recv_vec_deadline(Instant::now()) {
            Ok(bytes) => check_length(bytes.len(), largest),
            Err(error) => _ = check_recv_timeout(&error),
        }
    }),
    ("recv_vec-interrupted", |_, receiver| {
        receiver.interrupter().interrupt();
        let largest = receiver.max_message();
        match receiver.recv_vec() {
            Ok(bytes) => check_length(bytes.len(), largest),
            Err(error) => _ = check_recv(&error),
        }
    }),
    ("try_recv_batch", |scene, receiver| {
        let largest = receiver.max_message();
        let max = [0, 3, usize::MAX, usize::MAX][scene.random.below(4) as usize];
        match receiver.try_recv_batch(max) {
            Ok(batch) => {
                scene.strike();
                assert!((1..=max.max(1)).contains(&batch.len()));
                for message in batch.iter() {
                    check_length(message.len(), largest);
                    assert_eq!(message.to_vec().len(), message.len());
                }
            }
            Err(error) => _ = check_try_recv(&error),
        }
    }),
    ("try_recv_batch-forget", |scene, receiver| match receiver.try_recv_batch(7) {
        Ok(batch) => {
            std::mem::forget(batch);
            scene.strike();
        }
        Err(error) => _ = check_try_recv(&error),
    }),
    ("recv_batch_timeout", |scene, receiver| {
        let largest = receiver.max_message();
        match receiver.recv_batch_timeout(100, NOW) {
            Ok(batch) => {
                scene.strike();
                let mut bytes = Vec::new();
                batch.iter().for_each(|message| message.append_to(&mut bytes));
                check_length(bytes.len() / batch.len(), largest);
            }
            Err(error) => _ = check_recv_timeout(&error),
        }
    }),
    ("recv_batch_deadline", |_, receiver| {
        let largest = receiver.max_message();
        match receiver.recv_batch_deadline(3, Instant::now()) {
            Ok(batch) => batch.iter().for_each(|message| check_length(message.len(), largest)),
            Err(error) => _ = check_recv_timeout(&error),
        }
    }),
    ("recv_batch-interrupted", |_, receiver| {
        receiver.interrupter().interrupt();
        let largest = receiver.max_message();
        match receiver.recv_batch(10) {
            Ok(batch) => batch.iter().for_each(|message| check_length(message.len(), largest)),
            Err(error) => _ = check_recv(&error),
        }
    }),
    ("try_iter", |_, receiver| {
        let largest = receiver.max_message();
        for bytes in receiver.try_iter().take(CALLS) {
            match bytes {
                Ok(bytes) => check_length(bytes.len(), largest),
                Err(error) => _ = check_recv(&error),
            }
        }
    }),
    ("iter-interrupted", |_, receiver| {
        receiver.interrupter().interrupt();
        let largest = receiver.max_message();
        for bytes in receiver.iter().take(3) {
            match bytes {
                Ok(bytes) => check_length(bytes.len(), largest),
                Err(error) => _ = check_recv(&error),
            }
        }
    }),
    ("receiver-looks", |scene, receiver| {
        let ends = [EndOfStream::AllGone, EndOfStream::AfterSenders(2), EndOfStream::Never];
        receiver.set_end(ends[scene.random.below(3) as usize]);
        let _ = (receiver.is_connected(), receiver.len(), receiver.is_empty(), receiver.departures());
        assert!(receiver.max_message() <= receiver.capacity() / 2 - 16);
    }),
    ("receiver-stats", |scene, receiver| match receiver.stats() {
        Ok(stats) => check_stats(&stats, scene.instance),
        Err(error) => check_open(&error),
    }),
    ("receiver-attach", |_, receiver| {
        let _ = receiver.attach().inspect_err(check_open);
    }),
    ("recv-sleeping", |scene, receiver| {
        // Now and then: a millisecond in the kernel, if it comes to that.
        let limit = if scene.random.below(16) == 0 { Duration::from_millis(1) } else { NOW };
        for _ in 0..3 {
            let _ = receiver.recv_timeout(limit).inspect_err(|error| _ = check_recv_timeout(error));
        }
    }),
];

/// What a receiver met in one lane's case.
#[derive(Debug, Default)]
pub(crate) struct Drained {
    /// Messages that are whole, by their lane's number and their own, in the order of arrival.
    pub(crate) whole: Vec<(u32, u32)>,
    pub(crate) damages: Vec<(u32, u64)>,
}

/// Takes everything, in one form or another.
pub(crate) fn drain(scene: &mut Scene<'_>, receiver: &mut Receiver) -> Drained {
    let largest = receiver.max_message();
    let mut drained = Drained::default();
    let form = scene.random.below(5);
    let accept = |bytes: &[u8], drained: &mut Drained| {
        check_length(bytes.len(), largest);
        drained.whole.extend(crate::whole(bytes));
    };
    // A lane may be forged to have no end; the others get their turn.
    for _ in 0..CALLS {
        let outcome = match form {
            0 => receiver.try_recv_vec().map(|bytes| accept(&bytes, &mut drained)),
            1 => receiver.try_recv().map(|message| accept(&message.to_vec(), &mut drained)),
            2 => receiver
                .try_recv_batch(4)
                .map(|batch| batch.iter().for_each(|message| accept(&message.to_vec(), &mut drained))),
            3 => receiver
                .try_recv_batch(1000)
                .map(|batch| batch.iter().for_each(|message| accept(&message.to_vec(), &mut drained))),
            _ => scene.with_buffer(largest, |buffer| {
                receiver.try_recv_into(buffer).map(|length| accept(&buffer[..length], &mut drained))
            }),
        };
        match outcome {
            Ok(()) => {}
            Err(error) => {
                if let TryRecvError::Failed(RecvError::Corrupt(damage)) = &error {
                    drained.damages.push((damage.lane, damage.position));
                    // A channel of one lane says so for ever.
                    if receiver_is_single(scene) || drained.damages.len() > 8 {
                        return drained;
                    }
                }
                if !check_try_recv(&error) {
                    return drained;
                }
            }
        }
    }
    drained
}

fn receiver_is_single(scene: &Scene<'_>) -> bool {
    scene.instance.shape.kind == sysring::Kind::Spsc
}
