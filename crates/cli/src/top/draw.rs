//! The screen: what of the model and the view is where.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::border;
use ratatui::text::Line;
use ratatui::widgets::{Block, Clear, Paragraph};

use super::columns::{self, Column, Pen, fit};
use super::format::{Glyphs, shorten, visible, wrap};
use super::model::{Model, Track};
use super::text;
use super::view::{LEAST, View};
use crate::state::State;

/// From this height on the overview tells more of the selected channel.
const WITH_BRIEF: u16 = 12;

/// How things look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Theme {
    pub(super) glyphs: Glyphs,
    /// Nothing is told by colours alone.
    pub(super) colours: bool,
}

impl Theme {
    /// As the environment wishes; see <https://no-color.org>.
    pub(super) fn of_environment() -> Self {
        let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { glyphs: Glyphs::of_locale(), colours }
    }

    fn colour(&self, colour: Color) -> Style {
        if self.colours { Style::new().fg(colour) } else { Style::new() }
    }

    fn of_track(&self, track: &Track) -> Style {
        let blocked = track.longest_block().is_some();
        match track.picture.state {
            State::Damaged => self.colour(Color::Red),
            _ if blocked => self.colour(Color::Yellow),
            State::HalfMade | State::Unreadable | State::Removed => self.colour(Color::Magenta),
            State::InUse => self.colour(Color::Green),
            State::Idle => Style::new(),
        }
    }

    fn of_lane(&self, state: &str) -> Style {
        match state {
            "damaged" | "died" => self.colour(Color::Red),
            "blocked" => self.colour(Color::Yellow),
            "active" | "asleep" => self.colour(Color::Green),
            _ => Style::new(),
        }
    }
}

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const REVERSED: Style = Style::new().add_modifier(Modifier::REVERSED);

pub(super) fn draw(frame: &mut Frame, model: &Model, view: &View, theme: &Theme) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let text = format!("too small: {}x{} at least, q quits", LEAST.0, LEAST.1);
        let lines = wrap(&text, usize::from(area.width));
        frame.render_widget(Paragraph::new(lines.into_iter().map(Line::raw).collect::<Vec<_>>()), area);
        return;
    }
    let parts = [Constraint::Length(1), Constraint::Fill(1), Constraint::Length(1), Constraint::Length(1)];
    let [top, middle, status, footer] = Layout::vertical(parts).areas(area);
    let rows = view.rows(model);
    line(frame, top, &text::title(model, view, rows.len()), BOLD, theme);
    if view.detail {
        detail(frame, middle, model, view, theme);
    } else {
        overview(frame, middle, &rows, model, view, theme);
    }
    line(frame, status, &status_text(view), BOLD, theme);
    line(frame, footer, &keys(view, usize::from(footer.width)), Style::new(), theme);
    if view.help {
        dialog(frame, middle, "Help", &help(), theme);
    } else if let Some(track) = view.dialog.and_then(|id| model.get(id)) {
        let mut lines = text::question(track);
        lines.push("y: yes    n: no".into());
        dialog(frame, middle, "Remove", &lines, theme);
    }
}

fn line(frame: &mut Frame, area: Rect, text: &str, style: Style, theme: &Theme) {
    let text = shorten(text, usize::from(area.width), theme.glyphs.gap);
    frame.render_widget(Paragraph::new(Line::styled(text, style)), area);
}

fn status_text(view: &View) -> String {
    match &view.message {
        Some(message) => visible(message),
        None if view.typing => format!("filter: {}_", view.filter),
        None if !view.filter.is_empty() => format!("filter: {}  (/ changes it, Esc clears it)", view.filter),
        None => String::new(),
    }
}

/// The keys that mean something now, as many as fit. The first ones are needed most.
fn keys(view: &View, room: usize) -> String {
    let pairs: &[&str] = if view.dialog.is_some() {
        &["y remove", "n keep"]
    } else if view.help {
        &["any key closes this"]
    } else if view.typing {
        &["Enter keep", "Esc clear"]
    } else if view.detail {
        &["q quit", "? help", "Esc back", "j/k scroll", "p pause", "+/- interval", "r remove"]
    } else {
        &["q quit", "? help", "Enter detail", "/ filter", "s/S sort", "r remove", "p pause", "+/- interval"]
    };
    let mut text = String::new();
    for pair in pairs {
        let gap = if text.is_empty() { "" } else { "  " };
        if text.len() + gap.len() + pair.len() > room {
            break;
        }
        text.push_str(gap);
        text.push_str(pair);
    }
    text
}

fn help() -> Vec<String> {
    [
        "q, Ctrl-C     quit            Ctrl-Z  suspend",
        "arrows, j k   select          g G     first, last",
        "Enter         one channel     Esc     back",
        "s             sort by name, rate, depth, state",
        "S             reverse the order",
        "/             filter: Enter keeps, Esc clears",
        "p, space      pause           + -     interval",
        "r             remove the channel, after a question",
        "",
        "STATE  in use, idle, removed, damaged ..., or who",
        "       waits: N blocked senders, R(eceiver) asleep",
        "SEND   senders now / seats",
        "DEPTH  the fullest lane, and all messages",
        "CAME   senders + receivers so far ! damage reports",
        "DIED   deaths seen since top runs",
        "MSG/S, B/S    messages and bytes sent in a second",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// A box over the middle.
fn dialog(frame: &mut Frame, area: Rect, title: &str, text: &[String], theme: &Theme) {
    let width = area.width.min(56);
    let room = usize::from(width.saturating_sub(4));
    let keep = |line: &String| {
        // Spaces that line up are kept where nothing must be broken.
        if line.len() <= room { vec![line.clone()] } else { wrap(line, room) }
    };
    let lines: Vec<Line> = text.iter().flat_map(keep).map(|line| Line::raw(format!(" {line}"))).collect();
    let height = u16::try_from(lines.len() + 2).unwrap_or(u16::MAX).min(area.height);
    let place =
        Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    const ASCII: border::Set = border::Set {
        top_left: "+",
        top_right: "+",
        bottom_left: "+",
        bottom_right: "+",
        vertical_left: "|",
        vertical_right: "|",
        horizontal_top: "-",
        horizontal_bottom: "-",
    };
    let set = if theme.glyphs.ascii { ASCII } else { border::PLAIN };
    let block = Block::bordered().border_set(set).title(format!(" {title} "));
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(lines).block(block), place);
}

fn overview(frame: &mut Frame, area: Rect, rows: &[&Track], model: &Model, view: &View, theme: &Theme) {
    let selected = view.row(rows);
    let brief = match selected {
        Some(row) if area.height >= WITH_BRIEF => brief(rows[row], model, usize::from(area.width)),
        _ => Vec::new(),
    };
    let below = u16::try_from(brief.len()).unwrap_or(0);
    let [table, rest] = Layout::vertical([Constraint::Fill(1), Constraint::Length(below)]).areas(area);
    if rows.is_empty() {
        let text = if view.filter.is_empty() { "no channel on this machine" } else { "no channel matches" };
        line(frame, table, text, Style::new(), theme);
        return;
    }
    let pen = Pen { glyphs: theme.glyphs, model };
    let styles: Vec<Style> = rows.iter().map(|track| theme.of_track(track)).collect();
    let offset = offset(selected.unwrap_or(0), rows.len(), usize::from(table.height.saturating_sub(1)));
    grid(frame, table, &columns::overview(), rows, &pen, &Look { styles, offset, selected });
    frame.render_widget(Paragraph::new(brief.into_iter().map(Line::raw).collect::<Vec<_>>()), rest);
}

/// What is told of the selected row under the table, with an empty line above.
fn brief(track: &Track, model: &Model, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let wait = track.longest_block().or(track.waits.first());
    let sentence = wait.map(|wait| track.sentence(wait, model.now.time));
    for text in text::brief(track).into_iter().chain(sentence) {
        lines.extend(wrap(&text, width));
    }
    lines.truncate(6);
    lines
}

/// The first row to show, so that the selected one is on the screen.
fn offset(selected: usize, rows: usize, height: usize) -> usize {
    let middle = selected.saturating_sub(height / 2);
    middle.min(rows.saturating_sub(height))
}

/// How the rows of a table look.
struct Look {
    styles: Vec<Style>,
    offset: usize,
    selected: Option<usize>,
}

fn grid<T>(frame: &mut Frame, area: Rect, columns: &[Column<T>], rows: &[T], pen: &Pen, look: &Look) {
    let fitted = fit(columns, usize::from(area.width));
    let join = |cells: Vec<String>| cells.join(" ");
    let head = fitted.iter().map(|(column, cells)| columns::pad(column.head, *cells)).collect();
    let mut lines = vec![Line::styled(join(head), BOLD)];
    let height = usize::from(area.height.saturating_sub(1));
    for (number, row) in rows.iter().enumerate().skip(look.offset).take(height) {
        let cells = fitted.iter().map(|(column, cells)| column.padded(row, pen, *cells)).collect();
        let style = look.styles.get(number).copied().unwrap_or_default();
        let style = if look.selected == Some(number) { style.patch(REVERSED) } else { style };
        lines.push(Line::styled(columns::pad(&join(cells), usize::from(area.width)), style));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

fn detail(frame: &mut Frame, area: Rect, model: &Model, view: &View, theme: &Theme) {
    let Some(track) = view.subject(model) else {
        line(frame, area, "that channel has gone", Style::new(), theme);
        return;
    };
    let width = usize::from(area.width);
    let wrapped = |lines: Vec<String>| lines.iter().flat_map(|line| wrap(line, width)).collect::<Vec<_>>();
    let mut summary = wrapped(text::summary(track));
    if let Some(gone) = track.gone {
        let text = format!("{} has gone, at {}", track.picture.address, super::format::clock(gone));
        summary = wrapped(vec![text]);
    }
    let waits = wrapped(text::waits(track, model));
    let events = wrapped(text::events(track, model));
    let rows = if track.gone.is_some() { Vec::new() } else { text::lane_rows(track) };
    let share = Share::of(
        usize::from(area.height),
        [summary.len(), if rows.is_empty() { 0 } else { rows.len() + 1 }, waits.len(), events.len()],
    );
    let heights = share.0.map(|height| Constraint::Length(u16::try_from(height).unwrap_or(0)));
    let [top, table, middle, bottom] = Layout::vertical(heights).areas(area);
    paragraph(frame, top, summary, theme.of_track(track));
    let pen = Pen { glyphs: theme.glyphs, model };
    let styles = rows.iter().map(|row| theme.of_lane(row.lane.state())).collect();
    let last = rows.len().saturating_sub(usize::from(table.height.saturating_sub(1)));
    let offset = view.scroll.min(last);
    grid(frame, table, &columns::lanes(), &rows, &pen, &Look { styles, offset, selected: None });
    paragraph(frame, middle, cut(waits, usize::from(middle.height)), theme.colour(Color::Yellow));
    paragraph(frame, bottom, events, Style::new());
}

fn paragraph(frame: &mut Frame, area: Rect, lines: Vec<String>, style: Style) {
    frame.render_widget(
        Paragraph::new(lines.into_iter().map(Line::raw).collect::<Vec<_>>()).style(style),
        area,
    );
}

/// Says how much was left out.
fn cut(mut lines: Vec<String>, height: usize) -> Vec<String> {
    if lines.len() > height && height > 0 {
        let left_out = lines.len() - height + 1;
        lines.truncate(height - 1);
        lines.push(format!("({left_out} more lines)"));
    }
    lines
}

/// Lines for the summary, the lanes, the waits and the events.
struct Share([usize; 4]);

impl Share {
    /// Each gets what it needs while there is room; then nobody more than a fair part, and what one leaves over goes
    /// to the next.
    fn of(height: usize, needs: [usize; 4]) -> Self {
        let mut given = [0; 4];
        let mut left = height;
        // One line at a time, so that the shares are even. No terminal is so high that this takes long.
        while left > 0 {
            let before = left;
            for (given, need) in given.iter_mut().zip(needs) {
                if left > 0 && *given < need {
                    *given += 1;
                    left -= 1;
                }
            }
            if left == before {
                break;
            }
        }
        Self(given)
    }
}
