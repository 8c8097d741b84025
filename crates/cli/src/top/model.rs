//! What is known of every channel from the pictures so far: rates, waits since when, events.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, SystemTime};

use super::event::{self, Event, Side, Unseen, What};
use super::format::{duration, many};
use super::history::{History, growth, per_second};
use super::picture::{Content, Lane, Picture, Process, Seat};
use crate::state::State;

/// Events kept of each channel.
const EVENTS: usize = 500;

/// The moment of a picture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// Since the start, by a clock that nobody sets.
    pub(super) time: Duration,
    pub(super) wall: SystemTime,
}

impl Default for Moment {
    fn default() -> Self {
        Self { time: Duration::ZERO, wall: SystemTime::UNIX_EPOCH }
    }
}

#[derive(Debug, Default)]
pub(super) struct Model {
    /// By the id of the segment.
    tracks: BTreeMap<i32, Track>,
    /// Of this channel something is told even when it has gone.
    watched: Option<i32>,
    pub(super) now: Moment,
}

/// A channel through time.
#[derive(Debug)]
pub(super) struct Track {
    pub(super) picture: Picture,
    pub(super) rates: Rates,
    pub(super) history: History,
    pub(super) lanes: BTreeMap<u32, LaneTrack>,
    pub(super) waits: Vec<Wait>,
    /// The latest last.
    pub(super) events: VecDeque<Event>,
    /// Holders that ended without leaving their seats, as far as seen.
    pub(super) deaths: u64,
    /// When it was missed first.
    pub(super) gone: Option<SystemTime>,
    time: Duration,
    unseen_senders: Unseen,
    unseen_receivers: Unseen,
}

#[derive(Debug, Default)]
pub(super) struct LaneTrack {
    pub(super) rates: Rates,
    pub(super) history: History,
}

/// In a second; unknown after the first picture, and when a counter went backwards.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) sent: Option<f64>,
    pub(super) bytes: Option<f64>,
    pub(super) received: Option<f64>,
}

/// An end that sleeps, and for how long nothing has moved.
#[derive(Clone, Debug)]
pub(super) struct Wait {
    pub(super) side: Side,
    holder: Option<Process>,
    /// Sent and received by then: as long as they stand, it is the same wait.
    counters: (u64, u64),
    pub(super) since: Duration,
    /// It was so in the first picture, so it may be older.
    pub(super) at_least: bool,
}

impl Model {
    /// Takes a look at all channels into account. `ended` says whether a process is no more.
    pub(super) fn update(&mut self, now: Moment, pictures: Vec<Picture>, ended: &dyn Fn(&Process) -> bool) {
        self.now = now;
        let mut old = std::mem::take(&mut self.tracks);
        let present: Vec<i32> = pictures.iter().map(|picture| picture.id).collect();
        for picture in pictures {
            let id = picture.id;
            let track = match old.remove(&id) {
                Some(mut track) if track.is_same(&picture) => {
                    track.update(now, picture, ended);
                    track
                }
                Some(track) => Track::in_place_of(track, now, picture),
                None => match gone_before(&old, &present, &picture).and_then(|id| old.remove(&id)) {
                    Some(track) => {
                        if self.watched == Some(track.id()) {
                            self.watched = Some(id);
                        }
                        Track::in_place_of(track, now, picture)
                    }
                    None => {
                        let namesake = namesake(old.values().chain(self.tracks.values()), &picture);
                        let mut track = Track::new(now, picture);
                        if let Some(old) = namesake {
                            track.note(now, What::Replaced { old, new: id });
                        }
                        track
                    }
                },
            };
            self.tracks.insert(id, track);
        }
        if let Some(mut track) = self.watched.and_then(|id| old.remove(&id)) {
            if let Some(successor) = namesake(self.tracks.values(), &track.picture) {
                self.watched = Some(successor);
            } else {
                track.leave(now);
                self.tracks.insert(track.id(), track);
            }
        }
    }

    /// From now on the channel of this id is kept when it goes, until another is watched.
    pub(super) fn watch(&mut self, id: Option<i32>) {
        self.watched = id;
        self.tracks.retain(|present, track| track.gone.is_none() || Some(*present) == id);
    }

    /// The channel that is watched: a new one in the old one's place is the same here.
    pub(super) fn watched(&self) -> Option<i32> {
        self.watched
    }

    /// All that were in the last picture, by their ids.
    pub(super) fn channels(&self) -> impl Iterator<Item = &Track> {
        self.tracks.values().filter(|track| track.gone.is_none())
    }

    pub(super) fn get(&self, id: i32) -> Option<&Track> {
        self.tracks.get(&id)
    }
}

/// The channel that had this one's address and is not listed any more.
fn gone_before(old: &BTreeMap<i32, Track>, present: &[i32], picture: &Picture) -> Option<i32> {
    namesake(old.values().filter(|track| !present.contains(&track.id())), picture)
}

/// Another channel of the same address. If both are listed, one was removed and lives until all have left it.
fn namesake<'a>(mut tracks: impl Iterator<Item = &'a Track>, picture: &Picture) -> Option<i32> {
    let same = |track: &&Track| track.picture.address == picture.address && track.id() != picture.id;
    tracks.find(same).map(Track::id)
}

impl Track {
    fn new(now: Moment, picture: Picture) -> Self {
        let mut track = Self {
            picture,
            rates: Rates::default(),
            history: History::default(),
            lanes: BTreeMap::new(),
            waits: Vec::new(),
            events: VecDeque::new(),
            deaths: 0,
            gone: None,
            time: now.time,
            unseen_senders: Unseen::default(),
            unseen_receivers: Unseen::default(),
        };
        track.waits = waits(&track.picture, &[], now.time, true);
        track
    }

    fn in_place_of(old: Track, now: Moment, picture: Picture) -> Self {
        let what = What::Replaced { old: old.id(), new: picture.id };
        let mut track = Self::new(now, picture);
        (track.events, track.deaths) = (old.events, old.deaths);
        track.note(now, what);
        track
    }

    pub(super) fn id(&self) -> i32 {
        self.picture.id
    }

    pub(super) fn content(&self) -> Option<&Content> {
        self.picture.content.as_ref().ok()
    }

    /// Whether the picture is of this channel, and not of a later one with its id.
    fn is_same(&self, picture: &Picture) -> bool {
        match (&self.picture.content, &picture.content) {
            (Ok(before), Ok(now)) => before.created == now.created,
            _ => true,
        }
    }

    fn update(&mut self, now: Moment, picture: Picture, ended: &dyn Fn(&Process) -> bool) {
        let before = std::mem::replace(&mut self.picture, picture);
        let stretch = now.time.saturating_sub(self.time);
        match (&before.content, &self.picture.content) {
            (Ok(old), Ok(new)) => {
                let news = changes(old, new, ended);
                let new_removed = self.picture.state == State::Removed && before.state != State::Removed;
                let arrivals = |wanted: fn(&Side) -> bool| {
                    let arrived = |what: &&What| match what {
                        What::Came(side, _) | What::TookOver { side, .. } => wanted(side),
                        _ => false,
                    };
                    news.iter().filter(arrived).count() as u64
                };
                let attaches = |old: u64, new: u64| growth(old, new).unwrap_or(0);
                let senders = self.unseen_senders.after(
                    attaches(old.sender_attaches, new.sender_attaches),
                    arrivals(|side| matches!(side, Side::Sender(_))),
                );
                let receivers = self.unseen_receivers.after(
                    attaches(old.receiver_attaches, new.receiver_attaches),
                    arrivals(|side| matches!(side, Side::Receiver)),
                );
                self.rates = rates(&mut self.lanes, old, new, (self.time, now.time), stretch);
                self.history.push(self.time, now.time, self.rates.sent);
                let unseen = [(true, senders), (false, receivers)].into_iter();
                let unseen = unseen.filter(|(_, times)| *times > 0);
                let unseen = unseen.map(|(senders, times)| What::Unseen { senders, times });
                for what in unseen.chain(news).chain(new_removed.then_some(What::Removed)).collect::<Vec<_>>()
                {
                    self.note(now, what);
                }
            }
            _ => {
                (self.rates, self.lanes) = (Rates::default(), BTreeMap::new());
                self.history.push(self.time, now.time, None);
                if self.picture.state == State::Removed && before.state != State::Removed {
                    self.note(now, What::Removed);
                }
            }
        }
        let first = before.content.is_err();
        self.waits = waits(&self.picture, &self.waits, now.time, first);
        self.time = now.time;
    }

    fn leave(&mut self, now: Moment) {
        if self.gone.is_none() {
            self.gone = Some(now.wall);
            self.rates = Rates::default();
            self.lanes.clear();
            self.waits.clear();
        }
    }

    fn note(&mut self, now: Moment, what: What) {
        if matches!(what, What::Died(..)) {
            self.deaths = self.deaths.saturating_add(1);
        }
        self.events.push_back(Event { at: now.wall, what });
        while self.events.len() > EVENTS {
            self.events.pop_front();
        }
    }

    /// `since 12 s`, with `at least` for a wait that is older than top.
    pub(super) fn sentence(&self, wait: &Wait, now: Duration) -> String {
        let Some(content) = self.content() else { return String::new() };
        let at_least = if wait.at_least { "at least " } else { "" };
        let since = format!("since {at_least}{}", duration(now.saturating_sub(wait.since)));
        match wait.side {
            Side::Sender(number) => {
                let Some(lane) = content.lane(number) else { return String::new() };
                let (who, why) = (lane.seat.who(), no_room(content, lane));
                format!("sender in lane {number} ({who}) waits for room {since}: {why}")
            }
            Side::Receiver => {
                let (who, why) = (content.receiver.who(), no_message(content));
                format!("the receiver ({who}) waits for messages {since}: {why}")
            }
        }
    }

    /// The wait of a lane's sender.
    pub(super) fn longest_block(&self) -> Option<&Wait> {
        self.waits.iter().find(|wait| matches!(wait.side, Side::Sender(_)))
    }
}

fn no_room(content: &Content, lane: &Lane) -> String {
    if let Some(at) = lane.corrupt_at {
        format!("its lane is damaged at position {at}")
    } else if content.receiver.taken {
        let messages = many(lane.messages, "message");
        format!("the receiver ({}) has {messages} of it to take", content.receiver.who())
    } else {
        format!("there is no receiver to take its {}", many(lane.messages, "message"))
    }
}

fn no_message(content: &Content) -> String {
    let messages = content.messages();
    match content.senders_taken() {
        _ if messages > 0 => format!("{messages} have just come, so it is about to wake"),
        0 => "there is no sender".into(),
        1 => "the one sender has sent nothing more".into(),
        senders => format!("the {senders} senders have sent nothing more"),
    }
}

/// What happened in a channel between two pictures.
fn changes(old: &Content, new: &Content, ended: &dyn Fn(&Process) -> bool) -> Vec<What> {
    let ended = |seat: &Seat| seat.holder.as_ref().is_some_and(ended);
    let nobody = Seat::default();
    let seat_of = |content: &'_ Content, number| content.lane(number).map(|lane| lane.seat.clone());
    let mut news: Vec<What> =
        event::of_seat(Side::Receiver, &old.receiver, &new.receiver, ended).into_iter().collect();
    let mut numbers: Vec<u32> = old.lanes.iter().chain(&new.lanes).map(|lane| lane.number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    for number in numbers {
        let before = seat_of(old, number).unwrap_or_else(|| nobody.clone());
        let after = seat_of(new, number).unwrap_or_else(|| nobody.clone());
        news.extend(event::of_seat(Side::Sender(number), &before, &after, ended));
        let damaged = |content: &Content| content.lane(number).and_then(|lane| lane.corrupt_at);
        if let (None, Some(at)) = (damaged(old), damaged(new)) {
            news.push(What::LaneDamaged { lane: number, at });
        }
    }
    if let Some(times @ 1..) = growth(old.damages, new.damages) {
        news.push(What::Damage { times });
    }
    news
}

/// The rates of all lanes, and of the channel: their sum, if all are known.
fn rates(
    tracks: &mut BTreeMap<u32, LaneTrack>,
    old: &Content,
    new: &Content,
    (begin, end): (Duration, Duration),
    time: Duration,
) -> Rates {
    let mut all = Rates { sent: Some(0.0), bytes: Some(0.0), received: Some(0.0) };
    for lane in &new.lanes {
        // A lane that the earlier picture has not was unused then.
        let before = old.lane(lane.number).cloned().unwrap_or_default();
        let rate = |before: u64, now: u64| growth(before, now).and_then(|growth| per_second(growth, time));
        let rates = Rates {
            sent: rate(before.sent, lane.sent),
            bytes: rate(before.sent_bytes, lane.sent_bytes),
            received: rate(before.received, lane.received),
        };
        let add = |sum: &mut Option<f64>, part: Option<f64>| {
            *sum = sum.zip(part).map(|(sum, part)| sum + part);
        };
        add(&mut all.sent, rates.sent);
        add(&mut all.bytes, rates.bytes);
        add(&mut all.received, rates.received);
        let track = tracks.entry(lane.number).or_default();
        track.rates = rates;
        track.history.push(begin, end, rates.sent);
    }
    if time.is_zero() { Rates::default() } else { all }
}

/// Who waits now, the longest first. A wait goes on as long as its end sleeps, is the same, and nothing has moved.
fn waits(picture: &Picture, before: &[Wait], now: Duration, first: bool) -> Vec<Wait> {
    let Ok(content) = &picture.content else { return Vec::new() };
    let mut waits = Vec::new();
    let mut add = |side: Side, seat: &Seat, counters: (u64, u64)| {
        let same = |wait: &&Wait| {
            let holder = match (&wait.holder, &seat.holder) {
                (Some(before), Some(now)) => now.is(before),
                (None, None) => true,
                _ => false,
            };
            wait.side == side && wait.counters == counters && holder
        };
        let known = before.iter().find(same);
        let (since, at_least) = known.map_or((now, first), |wait| (wait.since, wait.at_least));
        waits.push(Wait { side, holder: seat.holder.clone(), counters, since, at_least });
    };
    for lane in content.lanes.iter().filter(|lane| lane.is_blocked()) {
        add(Side::Sender(lane.number), &lane.seat, (lane.sent, lane.received));
    }
    if content.receiver.taken && content.receiver.asleep {
        let sum = |count: fn(&Lane) -> u64| {
            content.lanes.iter().fold(0u64, |sum, lane| sum.wrapping_add(count(lane)))
        };
        add(Side::Receiver, &content.receiver, (sum(|lane| lane.sent), sum(|lane| lane.received)));
    }
    waits.sort_by_key(|wait| wait.since);
    waits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::made_up::{at, blocked, channel, half_made, in_use, look, seat, with};

    fn events(model: &Model, id: i32) -> Vec<String> {
        model.get(id).unwrap().events.iter().map(|event| event.what.to_string()).collect()
    }

    fn sentences(model: &Model, id: i32) -> Vec<String> {
        let track = model.get(id).unwrap();
        track.waits.iter().map(|wait| track.sentence(wait, model.now.time)).collect()
    }

    #[test]
    fn rates_need_two_pictures() {
        let mut model = Model::default();
        look(&mut model, 0, vec![in_use(1, "a", 100, 90)]);
        assert_eq!(model.get(1).unwrap().rates, Rates::default());
        look(&mut model, 2, vec![in_use(1, "a", 300, 190)]);
        let rates = Rates { sent: Some(100.0), bytes: Some(1000.0), received: Some(50.0) };
        assert_eq!(model.get(1).unwrap().rates, rates);
        assert_eq!(model.get(1).unwrap().lanes[&2].rates, rates);
        // A lane that is new was empty before.
        let another = |content: &mut Content| {
            let lane = Lane { number: 3, sent: 40, seat: seat(78, "x"), ..Lane::default() };
            content.lanes.push(lane);
        };
        look(&mut model, 4, vec![with(in_use(1, "a", 300, 190), another)]);
        assert_eq!(model.get(1).unwrap().rates.sent, Some(20.0));
        assert_eq!(model.get(1).unwrap().history.parts(at(4).time, 30)[28..], [Some(100.0), Some(20.0)]);
    }

    #[test]
    fn counters_that_go_backwards_or_jump() {
        let mut model = Model::default();
        look(&mut model, 0, vec![in_use(1, "a", 100, 90)]);
        look(&mut model, 1, vec![in_use(1, "a", 50, 90)]);
        let rates = model.get(1).unwrap().rates;
        assert_eq!((rates.sent, rates.bytes, rates.received), (None, None, Some(0.0)));
        look(&mut model, 2, vec![in_use(1, "a", u64::MAX, u64::MAX)]);
        let hostile = |content: &mut Content| {
            (content.sender_attaches, content.receiver_attaches) = (u64::MAX, u64::MAX);
            (content.damages, content.capacity) = (u64::MAX, 0);
            let lane =
                Lane { sent: u64::MAX, received: u64::MAX, messages: u64::MAX, ..content.lanes[0].clone() };
            content.lanes = vec![lane.clone(), lane];
        };
        for second in 3..6 {
            look(&mut model, second, vec![with(in_use(1, "a", 0, 0), hostile)]);
        }
        look(&mut model, 6, vec![in_use(1, "a", 0, 0)]);
        // The same moment again, and an earlier one.
        look(&mut model, 6, vec![in_use(1, "a", 5, 0)]);
        assert_eq!(model.get(1).unwrap().rates, Rates::default());
        look(&mut model, 5, vec![in_use(1, "a", 5, 0)]);
        assert!(events(&model, 1).iter().any(|text| text.contains(&format!("{} times", u64::MAX))));
    }

    #[test]
    fn a_wait_is_as_old_as_its_counters() {
        let mut model = Model::default();
        look(&mut model, 0, vec![blocked(1, "a", 900, 0)]);
        look(&mut model, 12, vec![blocked(1, "a", 900, 0)]);
        let sentence = "sender in lane 2 (pid 77 ffmpeg) waits for room since at least 12 s: \
                        the receiver (pid 80 sink) has 900 messages of it to take";
        assert_eq!(sentences(&model, 1), [sentence]);
        // It moved, so this is another wait, and its beginning was seen.
        look(&mut model, 13, vec![blocked(1, "a", 901, 1)]);
        look(&mut model, 20, vec![blocked(1, "a", 901, 1)]);
        assert!(sentences(&model, 1)[0].contains("since 7 s"), "{:?}", sentences(&model, 1));
        // Awake for a moment, then another process of the same pid.
        look(&mut model, 21, vec![in_use(1, "a", 901, 1)]);
        assert!(sentences(&model, 1).is_empty());
        look(&mut model, 22, vec![blocked(1, "a", 901, 1)]);
        let reused = |content: &mut Content| {
            if let Some(holder) = &mut content.lanes[0].seat.holder {
                holder.started = Some(2);
            }
        };
        look(&mut model, 30, vec![with(blocked(1, "a", 901, 1), reused)]);
        assert!(sentences(&model, 1)[0].contains("since 0 s"));
        let alone = |content: &mut Content| content.receiver = Seat::default();
        look(&mut model, 31, vec![with(blocked(1, "a", 901, 1), alone)]);
        assert!(sentences(&model, 1)[0].ends_with("there is no receiver to take its 900 messages"));
        let stopped = |content: &mut Content| {
            content.receiver.holder = content.receiver.holder.take().map(|p| Process { stopped: true, ..p });
        };
        look(&mut model, 32, vec![with(blocked(1, "a", 901, 1), stopped)]);
        assert!(sentences(&model, 1)[0].contains("the receiver (pid 80 sink, stopped) has 900"));
    }

    #[test]
    fn a_receiver_waits_for_messages() {
        let mut model = Model::default();
        let asleep = |content: &mut Content| content.receiver.asleep = true;
        look(&mut model, 0, vec![in_use(1, "a", 5, 5)]);
        look(&mut model, 1, vec![with(in_use(1, "a", 5, 5), asleep)]);
        look(&mut model, 71, vec![with(in_use(1, "a", 5, 5), asleep)]);
        let sentence = "the receiver (pid 80 sink) waits for messages since 1 min 10 s: \
                        the one sender has sent nothing more";
        assert_eq!(sentences(&model, 1), [sentence]);
    }

    #[test]
    fn seats_that_change_hands_are_events() {
        let mut model = Model::default();
        let attached = |senders: u64, receivers: u64| {
            move |content: &mut Content| {
                (content.sender_attaches, content.receiver_attaches) = (senders, receivers);
            }
        };
        look(&mut model, 0, vec![in_use(1, "a", 0, 0)]);
        let died = |content: &mut Content| {
            content.lanes[0].seat = Seat { died: true, ..Seat::default() };
        };
        look(&mut model, 1, vec![with(in_use(1, "a", 0, 0), died)]);
        assert_eq!(events(&model, 1), ["sender in lane 2 died without leaving: pid 77 ffmpeg"]);
        assert_eq!(model.get(1).unwrap().deaths, 1);
        look(&mut model, 2, vec![with(in_use(1, "a", 0, 0), attached(2, 1))]);
        assert_eq!(events(&model, 1)[1..], ["sender in lane 2 came: pid 77 ffmpeg"]);
        // Another receiver, and one that nobody saw.
        let taken_over = |content: &mut Content| {
            attached(2, 3)(content);
            content.receiver = seat(81, "sink");
        };
        let pictures = || vec![with(in_use(1, "a", 0, 0), taken_over)];
        look(&mut model, 3, pictures());
        look(&mut model, 4, pictures());
        look(&mut model, 5, pictures());
        let news = [
            "receiver: pid 81 sink took the seat of pid 80 sink, which has ended",
            "1 receiver more came, too briefly to be seen here",
        ];
        assert_eq!(events(&model, 1)[2..], news);
        let left = |content: &mut Content| {
            attached(2, 3)(content);
            (content.receiver, content.damages) = (Seat::default(), 2);
            content.lanes[0].corrupt_at = Some(64);
        };
        look(&mut model, 6, vec![with(in_use(1, "a", 0, 0), left)]);
        let news = [
            "receiver left: pid 81 sink",
            "lane 2 is damaged from position 64 on",
            "damage was reported again, 2 times",
        ];
        assert_eq!(events(&model, 1)[4..], news);
        assert_eq!(model.get(1).unwrap().deaths, 1);
        let removed = || {
            let mut picture = with(in_use(1, "a", 0, 0), left);
            picture.state = State::Removed;
            vec![picture]
        };
        look(&mut model, 7, removed());
        look(&mut model, 8, removed());
        assert_eq!(events(&model, 1)[7..], ["the channel was removed"]);
    }

    #[test]
    fn an_event_list_has_an_end() {
        let mut model = Model::default();
        for second in 0..2 * EVENTS as u64 {
            let damages = |content: &mut Content| content.damages = second;
            look(&mut model, second, vec![with(channel(1, "a"), damages)]);
        }
        assert_eq!(model.get(1).unwrap().events.len(), EVENTS);
    }

    #[test]
    fn a_channel_replaced_under_its_name() {
        let mut model = Model::default();
        look(&mut model, 0, vec![blocked(1, "a", 900, 0)]);
        model.watch(Some(1));
        look(&mut model, 1, vec![in_use(2, "a", 5, 5)]);
        assert_eq!(model.watched(), Some(2));
        assert!(model.get(1).is_none());
        assert_eq!(events(&model, 2), ["a new channel has its place: segment 2, before 1"]);
        assert_eq!(model.get(2).unwrap().rates, Rates::default());
        // Under the same id, which only its birth tells.
        let born = |content: &mut Content| content.created = SystemTime::UNIX_EPOCH;
        look(&mut model, 2, vec![with(in_use(2, "a", 1, 1), born)]);
        assert_eq!(model.get(2).unwrap().rates, Rates::default());
        assert_eq!(events(&model, 2).len(), 2);
        // The old one is still there because somebody has not left it.
        let mut old = with(in_use(2, "a", 1, 1), born);
        old.state = State::Removed;
        look(&mut model, 3, vec![old, channel(3, "a")]);
        assert_eq!(model.watched(), Some(2));
        assert_eq!(events(&model, 3), ["a new channel has its place: segment 3, before 2"]);
        look(&mut model, 4, vec![channel(3, "a")]);
        assert_eq!(model.watched(), Some(3));
    }

    #[test]
    fn channels_come_go_and_cannot_be_read() {
        let mut model = Model::default();
        look(&mut model, 0, vec![half_made(1), channel(2, "b")]);
        model.watch(Some(2));
        look(&mut model, 1, vec![channel(1, "a")]);
        assert_eq!(model.channels().count(), 1);
        assert!(model.get(2).unwrap().gone.is_some());
        look(&mut model, 2, vec![half_made(1)]);
        assert!(model.get(2).unwrap().gone.is_some());
        assert!(model.get(1).unwrap().content().is_none());
        // It comes again while it is still looked at.
        look(&mut model, 3, vec![channel(1, "a"), channel(4, "b")]);
        assert_eq!(model.watched(), Some(4));
        look(&mut model, 4, Vec::new());
        model.watch(None);
        assert!(model.get(4).is_none());
    }
}
