//! What is said in words, on the screen as in one frame of plain text.

use super::columns::{Column, LaneRow, Pen, lanes, overview, pad};
use super::event::Event;
use super::format::{bytes, clock, count, duration, interval, many, rate, width};
use super::model::{Model, Track};
use super::picture::Content;
use super::view::View;
use crate::state;

/// The line above everything.
pub(super) fn title(model: &Model, view: &View, rows: usize) -> String {
    let all = model.channels().count();
    let channels = many(all as u64, "channel");
    let channels = if rows == all { channels } else { format!("{rows} of {channels}") };
    let order = if view.reverse { ", reversed" } else { "" };
    let interval = interval(view.interval);
    let pause = if view.paused { "  PAUSED" } else { "" };
    format!(
        "sysring top  {channels} by {}{order}, every {interval}, {}{pause}",
        view.sort.text(),
        clock(model.now.wall)
    )
}

/// What one channel is.
pub(super) fn summary(track: &Track) -> Vec<String> {
    let picture = &track.picture;
    let content = match &picture.content {
        Ok(content) => content,
        Err(why) => return vec![format!("{}: {}", picture.address, picture.state.text()), why.clone()],
    };
    let persistence = if content.persistent { "persistent" } else { "not persistent" };
    vec![
        format!(
            "{}: {}, {}, order {}, {persistence}, segment {}, key {}",
            picture.address,
            picture.state.text(),
            state::kind(content.kind),
            state::order(content.order),
            picture.id,
            state::key(content.key),
        ),
        format!(
            "receiver: {}; senders: {} of {}, {} each, longest message {}",
            receiver(content),
            content.senders_taken(),
            content.seats,
            bytes(content.capacity as f64),
            bytes(content.max_message as f64),
        ),
        format!(
            "now: {} msg/s, {} B/s, {} taken/s; {} to be taken",
            rate(track.rates.sent, count),
            rate(track.rates.bytes, bytes),
            rate(track.rates.received, count),
            many(content.messages(), "message"),
        ),
        came(track, content),
    ]
}

/// Two lines about the selected row of the overview.
pub(super) fn brief(track: &Track) -> Vec<String> {
    let mut lines = summary(track);
    if let Some(content) = track.content() {
        lines.truncate(1);
        lines.push(came(track, content));
    }
    lines
}

fn came(track: &Track, content: &Content) -> String {
    format!(
        "came so far: {}, {}; deaths seen: {}; damage reported: {}",
        many(content.sender_attaches, "sender"),
        many(content.receiver_attaches, "receiver"),
        track.deaths,
        many(content.damages, "time")
    )
}

fn receiver(content: &Content) -> String {
    match (content.receiver.taken, content.receiver.asleep, content.receiver.died) {
        (true, true, _) => format!("{}, asleep", content.receiver.who()),
        (true, false, _) => content.receiver.who(),
        (false, _, true) => "none, the last one died".into(),
        (false, _, false) => "none".into(),
    }
}

/// Who waits for whom, the longest first.
pub(super) fn waits(track: &Track, model: &Model) -> Vec<String> {
    track.waits.iter().map(|wait| track.sentence(wait, model.now.time)).collect()
}

/// What happened, the latest first.
pub(super) fn events(track: &Track, model: &Model) -> Vec<String> {
    let line = |event: &Event| {
        let age = model.now.wall.duration_since(event.at).unwrap_or_default();
        format!("{} ({} ago) {}", clock(event.at), duration(age), event.what)
    };
    track.events.iter().rev().map(line).collect()
}

/// What is asked before a channel is removed.
pub(super) fn question(track: &Track) -> Vec<String> {
    let mut lines = vec![format!("Remove channel {}?", track.picture.address)];
    let Some(content) = track.content() else {
        lines.push(format!("It is {}, so nobody knows who uses it.", track.picture.state.text()));
        return lines;
    };
    let senders = content.senders_taken();
    let attached = senders + usize::from(content.receiver.taken);
    let named = many(senders as u64, "sender");
    lines.push(match (attached, content.receiver.taken) {
        (0, _) => format!("Nobody is attached ({}).", many(content.attached, "mapping")),
        (_, true) => {
            format!(
                "{attached} attached: {named} and the receiver ({}). All are told.",
                content.receiver.who()
            )
        }
        (_, false) => format!("{attached} attached: {named}, no receiver. All are told."),
    });
    match content.messages() {
        0 => {}
        messages => lines.push(format!("What waits is lost: {}.", many(messages, "message"))),
    }
    lines
}

/// All channels, as text.
pub(super) fn list(model: &Model, view: &View, pen: &Pen) -> String {
    let rows = view.rows(model);
    let mut text = title(model, view, rows.len());
    text.push_str("\n\n");
    text.push_str(&table(&overview(), &rows, pen));
    let waits = rows.iter().flat_map(|track| {
        let address = &track.picture.address;
        waits(track, model).into_iter().map(move |wait| format!("{address}: {wait}\n"))
    });
    let waits: String = waits.collect();
    if !waits.is_empty() {
        text.push('\n');
        text.push_str(&waits);
    }
    text
}

/// One channel, as text.
pub(super) fn detail(track: &Track, model: &Model, pen: &Pen) -> String {
    let mut text = lines(&summary(track));
    let rows: Vec<LaneRow> = lane_rows(track);
    if !rows.is_empty() {
        text.push('\n');
        text.push_str(&table(&lanes(), &rows, pen));
    }
    for part in [waits(track, model), events(track, model)] {
        if !part.is_empty() {
            text.push('\n');
            text.push_str(&lines(&part));
        }
    }
    text
}

pub(super) fn lane_rows(track: &Track) -> Vec<LaneRow<'_>> {
    let row = |content| move |lane| (content, lane);
    let lanes = track.content().into_iter().flat_map(|content| content.lanes.iter().map(row(content)));
    lanes.map(|(content, lane)| LaneRow { content, lane, track: track.lanes.get(&lane.number) }).collect()
}

fn lines(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// With all columns, none cut.
fn table<T>(columns: &[Column<T>], rows: &[T], pen: &Pen) -> String {
    let cells: Vec<Vec<String>> =
        std::iter::once(columns.iter().map(|column| column.head.to_owned()).collect())
            .chain(rows.iter().map(|row| columns.iter().map(|column| column.full(row, pen)).collect()))
            .collect();
    let widths: Vec<usize> = (0..columns.len())
        .map(|column| cells.iter().map(|row| width(&row[column])).max().unwrap_or(0))
        .collect();
    let line = |row: &Vec<String>| {
        let padded = row.iter().zip(&widths).map(|(cell, width)| pad(cell, *width));
        format!("{}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
    };
    cells.iter().map(line).collect()
}
