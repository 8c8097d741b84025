//! Tables that fit: columns that give way when there is little room, and grow when there is much.

use super::format::{Glyphs, bytes, count, rate, shorten, width};
use super::model::{LaneTrack, Model, Track};
use super::picture::{Content, Lane};
use crate::state;

/// A column of a table about `T`.
pub(super) struct Column<T> {
    pub(super) head: &'static str,
    least: usize,
    most: usize,
    /// Columns with the greatest number go first when there is no room.
    rank: u8,
    cell: fn(&T, &Pen, usize) -> String,
}

/// How cells are drawn, and when.
pub(super) struct Pen<'a> {
    pub(super) glyphs: Glyphs,
    pub(super) model: &'a Model,
}

/// A row of the overview.
pub(super) type Row<'a> = &'a Track;

/// A row of the detail view: a lane, and what is known of it from before.
pub(super) struct LaneRow<'a> {
    pub(super) content: &'a Content,
    pub(super) lane: &'a Lane,
    pub(super) track: Option<&'a LaneTrack>,
}

/// Columns that fit, with their widths. One cell is left between two.
pub(super) fn fit<T>(columns: &[Column<T>], room: usize) -> Vec<(&Column<T>, usize)> {
    let mut chosen: Vec<&Column<T>> = columns.iter().collect();
    let needs =
        |chosen: &[&Column<T>]| chosen.iter().map(|column| column.least + 1).sum::<usize>().saturating_sub(1);
    while chosen.len() > 1 && needs(&chosen) > room {
        let least_wanted = chosen.iter().map(|column| column.rank).max();
        chosen.retain(|column| Some(column.rank) != least_wanted);
    }
    let mut left = room.saturating_sub(needs(&chosen));
    let mut widths: Vec<usize> = chosen.iter().map(|column| column.least).collect();
    while left > 0 {
        let before = left;
        for (width, column) in widths.iter_mut().zip(&chosen) {
            if left > 0 && *width < column.most {
                *width += 1;
                left -= 1;
            }
        }
        if left == before {
            break;
        }
    }
    chosen.into_iter().zip(widths).collect()
}

impl<T> Column<T> {
    /// The cell of a row, exactly so wide.
    pub(super) fn padded(&self, row: &T, pen: &Pen, cells: usize) -> String {
        pad(&shorten(&(self.cell)(row, pen, cells), cells, pen.glyphs.gap), cells)
    }

    /// The cell of a row, as wide as it likes.
    pub(super) fn full(&self, row: &T, pen: &Pen) -> String {
        (self.cell)(row, pen, self.most)
    }
}

pub(super) fn pad(text: &str, cells: usize) -> String {
    let spaces = cells.saturating_sub(width(text));
    text.chars().chain(std::iter::repeat_n(' ', spaces)).collect()
}

const fn column<T>(
    head: &'static str,
    (least, most): (usize, usize),
    rank: u8,
    cell: fn(&T, &Pen, usize) -> String,
) -> Column<T> {
    Column { head, least, most, rank, cell }
}

/// All of them take 90 cells; 80 are enough for all but the last two.
pub(super) fn overview<'a>() -> [Column<Row<'a>>; 12] {
    [
        column("CHANNEL", (12, 40), 0, |track, _, _| track.picture.address.clone()),
        column("STATE", (9, 10), 1, |track, _, _| state_of(track)),
        column("KIND", (4, 4), 6, |track, _, _| told(track, |content| state::kind(content.kind).into())),
        column("SEND", (5, 7), 5, |track, _, cells| {
            told(track, |content| {
                let text = seats(content);
                // Where both numbers have no room, who is there counts.
                if text.len() > cells { text.split('/').next().unwrap_or_default().to_owned() } else { text }
            })
        }),
        column("RECEIVER", (11, 24), 4, |track, _, _| told(track, |content| content.receiver.cell())),
        column("DEPTH", (9, 20), 2, |track, pen, cells| {
            told(track, |content| depth(pen, content.depth(), content.messages(), cells))
        }),
        column("MSG/S", (5, 5), 3, |track, _, _| rate(track.rates.sent, count)),
        column("B/S", (5, 5), 7, |track, _, _| rate(track.rates.bytes, bytes)),
        column("MINUTE", (6, 30), 8, |track, pen, cells| {
            pen.glyphs.spark(&track.history.parts(pen.model.now.time, cells))
        }),
        column("CAME", (5, 11), 9, |track, _, _| told(track, came)),
        column("DIED", (4, 4), 10, |track, _, _| count(track.deaths as f64)),
        column("DMG", (4, 4), 11, |track, _, _| told(track, |content| count(content.damages as f64))),
    ]
}

pub(super) fn lanes<'a>() -> [Column<LaneRow<'a>>; 8] {
    [
        column("LANE", (4, 4), 0, |row, _, _| row.lane.number.to_string()),
        column("STATE", (7, 8), 1, |row, _, _| row.lane.state().into()),
        column("SENDER", (14, 24), 2, |row, _, _| row.lane.seat.cell()),
        column("DEPTH", (10, 24), 3, |row, pen, cells| {
            depth(pen, row.lane.depth(row.content.capacity), row.lane.messages, cells)
        }),
        column("MSG/S", (5, 5), 4, |row, _, _| lane_rate(row, |track| track.rates.sent, count)),
        column("B/S", (5, 5), 5, |row, _, _| lane_rate(row, |track| track.rates.bytes, bytes)),
        column("TAKEN/S", (7, 7), 7, |row, _, _| lane_rate(row, |track| track.rates.received, count)),
        column("MINUTE", (6, 30), 6, |row, pen, cells| {
            let parts = row.track.map(|track| track.history.parts(pen.model.now.time, cells));
            pen.glyphs.spark(&parts.unwrap_or_default())
        }),
    ]
}

fn lane_rate(row: &LaneRow, of: fn(&LaneTrack) -> Option<f64>, unit: fn(f64) -> String) -> String {
    rate(row.track.and_then(of), unit)
}

/// Of a channel that can be read.
fn told(track: &Track, tell: impl FnOnce(&Content) -> String) -> String {
    track.content().map_or_else(|| "-".into(), tell)
}

/// The state, and in its place who waits, if somebody does: that is what one wants to know of a channel in use.
pub(super) fn state_of(track: &Track) -> String {
    let in_use = track.content().filter(|_| track.picture.state == state::State::InUse);
    match in_use.map(|content| (content.blocked(), content.receiver.taken && content.receiver.asleep)) {
        Some((blocked @ 1.., _)) => format!("{blocked} blocked"),
        Some((0, true)) => "R asleep".into(),
        _ => track.picture.state.text().into(),
    }
}

fn seats(content: &Content) -> String {
    format!("{}/{}", content.senders_taken(), content.seats)
}

/// Senders and receivers that came, and how often damage was reported.
fn came(content: &Content) -> String {
    let came =
        format!("{}+{}", count(content.sender_attaches as f64), count(content.receiver_attaches as f64));
    if content.damages == 0 { came } else { format!("{came}!{}", count(content.damages as f64)) }
}

/// A bar, and the messages behind it.
fn depth(pen: &Pen, part: f64, messages: u64, cells: usize) -> String {
    let cells = cells.saturating_sub(5).min(15);
    format!("{} {}", pen.glyphs.bar(part, cells), count(messages as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads(room: usize) -> Vec<&'static str> {
        let columns = overview();
        let fitted = fit(&columns, room);
        let sum = fitted.iter().map(|(_, cells)| cells + 1).sum::<usize>() - 1;
        assert!(sum <= room || fitted.len() == 1, "{sum} > {room}");
        fitted.iter().map(|(column, _)| column.head).collect()
    }

    #[test]
    fn columns_give_way() {
        assert_eq!(heads(200).len(), 12);
        assert_eq!(heads(90).len(), 12);
        assert_eq!(heads(80).len(), 10);
        assert_eq!(heads(40), ["CHANNEL", "STATE", "DEPTH", "MSG/S"]);
        assert_eq!(heads(0), ["CHANNEL"]);
        let columns = lanes();
        assert_eq!(fit(&columns, 78).len(), 8);
    }
}
