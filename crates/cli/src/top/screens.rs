//! Whole screens, drawn without a terminal.

use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;

use super::draw::{Theme, draw};
use super::format::{Glyphs, width};
use super::made_up::{blocked, channel, half_made, in_use, look, seat, with};
use super::model::Model;
use super::picture::{Content, Lane, Seat};
use super::view::{Sort, View};

const PLAIN: Theme = Theme { glyphs: Glyphs::UNICODE, colours: false };

fn view() -> View {
    View::new(Sort::Name, String::new(), Duration::from_secs(1))
}

fn model() -> Model {
    let mut model = Model::default();
    for (second, sent) in [(0, 100), (1, 1300), (2, 2500)] {
        let pictures = vec![
            in_use(1, "video", sent, sent),
            blocked(2, "a-channel-with-a-rather-long-name", 512, 0),
            half_made(3),
            channel(4, "idle"),
        ];
        look(&mut model, second, pictures);
    }
    model
}

/// The lines of a screen.
fn screen(model: &Model, view: &View, theme: &Theme, (columns, rows): (u16, u16)) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
    terminal.draw(|frame| draw(frame, model, view, theme)).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |row| (0..columns).map(|column| buffer[(column, row)].symbol()).collect::<String>();
    (0..rows).map(line).map(|line| line.trim_end().to_owned()).collect()
}

#[track_caller]
fn has(lines: &[String], words: &[&str]) {
    for word in words {
        assert!(lines.iter().any(|line| line.contains(word)), "no {word:?} in {lines:#?}");
    }
}

#[test]
fn the_overview_at_80x24() {
    let lines = screen(&model(), &view(), &PLAIN, (80, 24));
    assert!(lines[0].starts_with("sysring top  4 channels by name, every 1 s, "), "{}", lines[0]);
    assert_eq!(
        lines[1].trim_end(),
        "CHANNEL      STATE     KIND SEND  RECEIVER    DEPTH     MSG/S B/S   MINUTE CAME"
    );
    let expected = [
        "a-chan…-name 1 blocked mpsc 1/64  80 sink     ████ 512  0     0            1+1",
        "id:3         half-made -    -     -           -         -     -            -",
        "idle         idle      mpsc 0/64  -           ░░░░ 0    0     0            0+0",
        "video        in use    mpsc 1/64  80 sink     ░░░░ 0    1.2k  11.7K      █ 1+1",
    ];
    assert_eq!(lines[2], expected[0]);
    assert_eq!(lines[3], expected[1]);
    assert_eq!(lines[4], expected[2]);
    assert!(
        lines[5].starts_with("video        in use    mpsc 1/64  80 sink     ░░░░ 0    1.2k  12K"),
        "{}",
        lines[5]
    );
    assert!(lines[5].ends_with("█ 1+1"), "{}", lines[5]);
    has(
        &lines,
        &["a-channel-with-a-rather-long-name: in use", "waits for room since at least 2 s", "deaths seen: 0"],
    );
    assert_eq!(lines[23], "q quit  ? help  Enter detail  / filter  s/S sort  r remove  p pause");
}

#[test]
fn the_overview_at_40x10() {
    let lines = screen(&model(), &view(), &PLAIN, (40, 10));
    assert_eq!(lines[1].trim_end(), "CHANNEL       STATE      DEPTH     MSG/S");
    assert_eq!(lines[2], "a-chan…g-name 1 blocked  ████ 512  0");
    assert!(lines[5].starts_with("video") && lines[5].ends_with("1.2k"), "{}", lines[5]);
    assert_eq!(lines[9], "q quit  ? help  Enter detail  / filter");
}

#[test]
fn the_detail_at_80x24_and_40x10() {
    let (mut model, mut view) = (model(), view());
    view.open(&mut model, 2);
    let died = |content: &mut Content| {
        content.lanes.push(Lane {
            number: 3,
            seat: Seat { died: true, ..Seat::default() },
            ..Lane::default()
        });
        (content.receiver, content.receiver_attaches) = (seat(81, "next"), 2);
    };
    look(&mut model, 5, vec![with(blocked(2, "a-channel-with-a-rather-long-name", 512, 0), died)]);
    let lines = screen(&model, &view, &PLAIN, (80, 24));
    has(
        &lines,
        &[
            "a-channel-with-a-rather-long-name: in use, mpsc, order total, persistent",
            "receiver: pid 81 next; senders: 1 of 64, 4.0K each",
            "LANE STATE    SENDER",
            "2    blocked  77 ffmpeg",
            "3    died     -",
            "sender in lane 2 (pid 77 ffmpeg) waits for room since at least 5 s: the receiver",
            "(pid 81 next) has 512 messages of it to take",
            "(0 s ago) receiver: pid 81 next took the seat of pid 80 sink",
        ],
    );
    assert_eq!(lines[23], "q quit  ? help  Esc back  j/k scroll  p pause  +/- interval  r remove");
    let lines = screen(&model, &view, &PLAIN, (40, 10));
    has(&lines, &["LANE STATE    SENDER", "q quit  ? help  Esc back  j/k scroll"]);
    look(&mut model, 6, vec![channel(4, "idle")]);
    let lines = screen(&model, &view, &PLAIN, (80, 24));
    has(&lines, &["a-channel-with-a-rather-long-name has gone", "took the seat"]);
}

#[test]
fn dialogs_help_and_messages() {
    let (mut model, mut view) = (model(), view());
    view.dialog = Some(1);
    let lines = screen(&model, &view, &PLAIN, (80, 24));
    has(
        &lines,
        &["Remove channel video?", "2 attached: 1 sender and the receiver (pid 80", "y: yes    n: no"],
    );
    view.dialog = Some(3);
    has(&screen(&model, &view, &PLAIN, (80, 24)), &["Remove channel id:3?", "It is half-made"]);
    view.dialog = Some(4);
    has(&screen(&model, &view, &PLAIN, (80, 24)), &["Nobody is attached"]);
    (view.dialog, view.help) = (None, true);
    has(
        &screen(&model, &view, &PLAIN, (80, 24)),
        &["messages and bytes sent in a second", "any key closes this"],
    );
    (view.help, view.message) = (false, Some("removed\u{1b}[2J".into()));
    has(&screen(&model, &view, &PLAIN, (80, 24)), &["removed\\u{1b}[2J"]);
    (view.message, view.typing, view.filter) = (None, true, "nothing such".into());
    has(&screen(&model, &view, &PLAIN, (80, 24)), &["filter: nothing such_", "no channel matches"]);
    look(&mut model, 9, Vec::new());
    view.filter.clear();
    has(&screen(&model, &view, &PLAIN, (80, 24)), &["no channel on this machine"]);
}

#[test]
fn every_size_is_drawn_and_no_line_is_too_wide() {
    let mut model = model();
    let many = |content: &mut Content| {
        let lane =
            |number| Lane { number, seat: seat(1000, "日本"), waits_for_room: true, ..Lane::default() };
        content.lanes = (0..240).map(lane).collect();
    };
    look(&mut model, 3, vec![with(in_use(1, "日本語の名前です日本語の名前です", 0, 0), many)]);
    for glyphs in [Glyphs::UNICODE, Glyphs::ASCII] {
        for detail in [false, true] {
            for (help, dialog) in [(false, None), (true, None), (false, Some(1))] {
                let mut view = view();
                if detail {
                    view.open(&mut model, 1);
                }
                (view.help, view.dialog, view.scroll) = (help, dialog, 239);
                let theme = Theme { glyphs, colours: true };
                for size in
                    [(1, 1), (0, 0), (10, 3), (29, 24), (80, 5), (30, 6), (40, 10), (80, 24), (250, 70)]
                {
                    let lines = screen(&model, &view, &theme, size);
                    assert!(lines.iter().all(|line| width(line) <= usize::from(size.0) * 2));
                }
            }
        }
    }
    has(&screen(&model, &view(), &PLAIN, (29, 24)), &["too small: 30x6 at least, q"]);
}

#[test]
fn colours_only_if_they_are_wished() {
    let model = model();
    for colours in [false, true] {
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        let theme = Theme { glyphs: Glyphs::ASCII, colours };
        terminal.draw(|frame| draw(frame, &model, &view(), &theme)).unwrap();
        let cells = terminal.backend().buffer().content();
        assert_eq!(cells.iter().any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset), colours);
        assert!(cells.iter().all(|cell| cell.symbol().is_ascii()));
    }
}
