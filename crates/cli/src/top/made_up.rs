//! Pictures for tests.

use std::time::{Duration, SystemTime};

use sysring::{Kind, Order};

use super::model::{Model, Moment};
use super::picture::{Content, Lane, Picture, Process, Seat};
use crate::state::State;

pub(super) fn at(seconds: u64) -> Moment {
    let time = Duration::from_secs(seconds);
    Moment { time, wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000) + time }
}

pub(super) fn seat(pid: i32, command: &str) -> Seat {
    let holder = Process { pid, command: Some(command.into()), started: Some(1), stopped: false };
    Seat { taken: true, holder: Some(holder), ..Seat::default() }
}

/// An idle channel without lanes in use.
pub(super) fn channel(id: i32, address: &str) -> Picture {
    let content = Content {
        key: 7,
        created: SystemTime::UNIX_EPOCH + Duration::from_secs(u64::from(id.unsigned_abs())),
        kind: Kind::Mpsc,
        order: Order::Total,
        persistent: true,
        capacity: 4096,
        max_message: 2000,
        seats: 64,
        attached: 0,
        sender_attaches: 0,
        receiver_attaches: 0,
        damages: 0,
        receiver: Seat::default(),
        lanes: Vec::new(),
    };
    Picture { id, address: address.into(), state: State::Idle, content: Ok(content) }
}

/// The same, changed.
pub(super) fn with(mut picture: Picture, change: impl FnOnce(&mut Content)) -> Picture {
    if let Ok(content) = &mut picture.content {
        change(content);
        picture.state =
            if content.receiver.taken || content.senders_taken() > 0 { State::InUse } else { State::Idle };
    }
    picture
}

/// A channel with a receiver (pid 80, `sink`) and a sender in lane 2 (pid 77, `ffmpeg`).
pub(super) fn in_use(id: i32, address: &str, sent: u64, received: u64) -> Picture {
    with(channel(id, address), |content| {
        (content.sender_attaches, content.receiver_attaches) = (1, 1);
        content.receiver = seat(80, "sink");
        let messages = sent.saturating_sub(received);
        let used = messages.saturating_mul(8).min(4096);
        let (sent_bytes, seat) = (sent.saturating_mul(10), seat(77, "ffmpeg"));
        content.lanes =
            vec![Lane { number: 2, seat, sent, sent_bytes, received, messages, used, ..Lane::default() }];
    })
}

/// Such a channel whose sender waits for room.
pub(super) fn blocked(id: i32, address: &str, sent: u64, received: u64) -> Picture {
    with(in_use(id, address, sent, received), |content| {
        content.lanes[0].waits_for_room = true;
        content.lanes[0].seat.asleep = true;
    })
}

/// One that cannot be read.
pub(super) fn half_made(id: i32) -> Picture {
    let content = Err(format!("id:{id}: it is half-made"));
    Picture { id, address: format!("id:{id}"), state: State::HalfMade, content }
}

/// Takes a picture of these channels; processes that have left their seats have ended.
pub(super) fn look(model: &mut Model, seconds: u64, pictures: Vec<Picture>) {
    model.update(at(seconds), pictures, &|_| true);
}
