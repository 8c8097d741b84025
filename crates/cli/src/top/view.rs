//! What is shown of the model: the order of the rows, the filter, the selection, dialogs; and what keys do to it.

use std::time::Duration;

use clap::ValueEnum;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::model::{Model, Track};
use super::picture::Content;
use crate::state::State;

/// What `+` and `-` go through.
const INTERVALS: [u64; 10] = [100, 200, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000, 300_000];

/// Lines that Page Up and Page Down move by.
const PAGE: usize = 10;

/// What rows are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sort {
    /// By address
    #[default]
    Name,
    /// Most messages a second first
    Rate,
    /// The fullest lane first
    Depth,
    /// Damaged and blocked ones first
    State,
}

impl Sort {
    fn next(self) -> Self {
        match self {
            Self::Name => Self::Rate,
            Self::Rate => Self::Depth,
            Self::Depth => Self::State,
            Self::State => Self::Name,
        }
    }

    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Rate => "rate",
            Self::Depth => "depth",
            Self::State => "state",
        }
    }
}

/// What the caller is to do after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Nothing,
    Quit,
    /// Ctrl-C, which elsewhere is SIGINT.
    Interrupt,
    /// Ctrl-Z.
    Suspend,
    /// Take a picture now: the pause is over.
    Refresh,
    /// Remove this channel; it was confirmed.
    Remove(i32),
}

#[derive(Debug)]
pub(super) struct View {
    pub(super) sort: Sort,
    pub(super) reverse: bool,
    pub(super) filter: String,
    /// The filter is being typed.
    pub(super) typing: bool,
    pub(super) help: bool,
    pub(super) paused: bool,
    pub(super) interval: Duration,
    /// One channel is shown alone.
    pub(super) detail: bool,
    /// First lane shown in the detail view.
    pub(super) scroll: usize,
    /// The channel that is asked about before it is removed.
    pub(super) dialog: Option<i32>,
    /// What the last command came to.
    pub(super) message: Option<String>,
    /// Columns and rows of the window.
    size: (u16, u16),
    selected: Option<Selected>,
}

/// Columns and rows without which nothing is shown.
pub(super) const LEAST: (u16, u16) = (30, 6);
/// And without which nothing is removed: the question would not be shown whole.
const LEAST_TO_ASK: (u16, u16) = (40, 10);

#[derive(Clone, Debug)]
struct Selected {
    id: i32,
    address: String,
    row: usize,
}

impl View {
    pub(super) fn new(sort: Sort, filter: String, interval: Duration) -> Self {
        Self {
            sort,
            filter,
            interval,
            reverse: false,
            typing: false,
            help: false,
            paused: false,
            detail: false,
            scroll: 0,
            dialog: None,
            message: None,
            size: (80, 24),
            selected: None,
        }
    }

    /// The window has so many columns and rows. A question that does not fit is not asked any more.
    pub(super) fn resize(&mut self, columns: u16, rows: u16) {
        self.size = (columns, rows);
        if !self.holds(LEAST_TO_ASK) {
            self.dialog = None;
        }
    }

    fn holds(&self, (columns, rows): (u16, u16)) -> bool {
        self.size.0 >= columns && self.size.1 >= rows
    }

    /// The channels that the filter lets through, in order.
    pub(super) fn rows<'a>(&self, model: &'a Model) -> Vec<&'a Track> {
        let wanted = self.filter.to_lowercase();
        let shown = |track: &&Track| track.picture.address.to_lowercase().contains(&wanted);
        let mut rows: Vec<&Track> = model.channels().filter(shown).collect();
        rows.sort_by(|a, b| {
            let order = match self.sort {
                Sort::Name => a.picture.address.cmp(&b.picture.address),
                Sort::Rate => rate(b).total_cmp(&rate(a)),
                Sort::Depth => depth(b).total_cmp(&depth(a)),
                Sort::State => urgency(b).cmp(&urgency(a)),
            };
            let order = if self.reverse { order.reverse() } else { order };
            order.then_with(|| a.picture.address.cmp(&b.picture.address)).then_with(|| a.id().cmp(&b.id()))
        });
        rows
    }

    /// The row that is selected: the same channel as before, or one in its place.
    pub(super) fn row(&self, rows: &[&Track]) -> Option<usize> {
        let last = rows.len().checked_sub(1)?;
        let Some(selected) = &self.selected else { return Some(0) };
        let by = |same: &dyn Fn(&Track) -> bool| rows.iter().position(|track| same(track));
        let found = by(&|track| track.id() == selected.id);
        let found = found.or_else(|| by(&|track| track.picture.address == selected.address));
        Some(found.unwrap_or(selected.row.min(last)))
    }

    /// The channel that the detail view shows, or that is selected.
    pub(super) fn subject<'a>(&self, model: &'a Model) -> Option<&'a Track> {
        if self.detail {
            return model.watched().and_then(|id| model.get(id));
        }
        let rows = self.rows(model);
        self.row(&rows).map(|row| rows[row])
    }

    /// After a new picture: follows what was selected, and closes what has lost its subject.
    pub(super) fn follow(&mut self, model: &Model) {
        let row = self.row(&self.rows(model));
        self.select(model, row.unwrap_or(0));
        let listed = |id: i32| model.get(id).is_some_and(|track| track.gone.is_none());
        if self.dialog.is_some_and(|id| !listed(id)) {
            self.dialog = None;
            self.message = Some("that channel has just gone".into());
        }
    }

    /// Opens the detail view of a channel.
    pub(super) fn open(&mut self, model: &mut Model, id: i32) {
        model.watch(Some(id));
        (self.detail, self.scroll) = (true, 0);
    }

    fn select(&mut self, model: &Model, row: usize) {
        let rows = self.rows(model);
        let row = row.min(rows.len().saturating_sub(1));
        if let Some(track) = rows.get(row) {
            self.selected = Some(Selected { id: track.id(), address: track.picture.address.clone(), row });
        }
    }

    pub(super) fn key(&mut self, model: &mut Model, key: KeyEvent) -> Action {
        if key.kind == KeyEventKind::Release || key.modifiers.contains(KeyModifiers::ALT) {
            return Action::Nothing;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            match key.code {
                KeyCode::Char('c') => return Action::Interrupt,
                KeyCode::Char('z') => return Action::Suspend,
                KeyCode::Char('u') if self.typing => {}
                _ => return Action::Nothing,
            }
        }
        if !self.holds(LEAST) {
            // Nobody does what nobody sees.
            return if key.code == KeyCode::Char('q') { Action::Quit } else { Action::Nothing };
        }
        self.message = None;
        if let Some(id) = self.dialog {
            self.dialog_key(id, key.code)
        } else if self.help {
            self.help = false;
            Action::Nothing
        } else if self.typing {
            self.filter_key(key);
            Action::Nothing
        } else {
            self.command_key(model, key.code)
        }
    }

    fn dialog_key(&mut self, id: i32, code: KeyCode) -> Action {
        match code {
            KeyCode::Char('y' | 'Y') => {
                self.dialog = None;
                return Action::Remove(id);
            }
            KeyCode::Char('n' | 'N' | 'q') | KeyCode::Esc => {
                self.dialog = None;
                self.message = Some("nothing was removed".into());
            }
            _ => {}
        }
        Action::Nothing
    }

    fn filter_key(&mut self, key: KeyEvent) {
        match key.code {
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => (self.typing, self.filter) = (false, String::new()),
            KeyCode::Char('u') if key.modifiers.contains(KeyModifiers::CONTROL) => self.filter.clear(),
            KeyCode::Char(c) if !c.is_control() => self.filter.push(c),
            KeyCode::Backspace => drop(self.filter.pop()),
            _ => {}
        }
    }

    fn command_key(&mut self, model: &mut Model, code: KeyCode) -> Action {
        match code {
            KeyCode::Char('q') => return Action::Quit,
            KeyCode::Char('?' | 'h') => self.help = true,
            KeyCode::Char('p' | ' ') => {
                self.paused = !self.paused;
                return if self.paused { Action::Nothing } else { Action::Refresh };
            }
            KeyCode::Char('+' | '=') => self.change_interval(true),
            KeyCode::Char('-' | '_') => self.change_interval(false),
            KeyCode::Char('r') => self.ask_to_remove(model),
            KeyCode::Esc if self.detail => {
                self.detail = false;
                model.watch(None);
            }
            KeyCode::Esc => self.filter.clear(),
            _ if self.detail => self.scroll_key(model, code),
            KeyCode::Enter => {
                if let Some(id) = self.subject(model).map(Track::id) {
                    self.open(model, id);
                }
            }
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('S') => self.reverse = !self.reverse,
            KeyCode::Char('/') => self.typing = true,
            _ => self.select_key(model, code),
        }
        Action::Nothing
    }

    fn select_key(&mut self, model: &Model, code: KeyCode) {
        let rows = self.rows(model);
        let row = self.row(&rows).unwrap_or(0);
        self.select(model, moved(code, row, rows.len().saturating_sub(1)));
    }

    fn scroll_key(&mut self, model: &Model, code: KeyCode) {
        let lanes = self.subject(model).and_then(Track::content).map_or(0, |content| content.lanes.len());
        self.scroll = moved(code, self.scroll, lanes.saturating_sub(1));
    }

    fn change_interval(&mut self, longer: bool) {
        let steps = INTERVALS.map(Duration::from_millis);
        let step = if longer {
            steps.into_iter().find(|step| *step > self.interval)
        } else {
            steps.into_iter().rev().find(|step| *step < self.interval)
        };
        self.interval = step.unwrap_or(self.interval);
    }

    fn ask_to_remove(&mut self, model: &Model) {
        match self.subject(model) {
            None => self.message = Some("there is no channel to remove".into()),
            Some(_) if !self.holds(LEAST_TO_ASK) => {
                self.message = Some(format!("to remove: {}x{} at least", LEAST_TO_ASK.0, LEAST_TO_ASK.1));
            }
            Some(track) if track.gone.is_some() => self.message = Some("that channel has gone".into()),
            Some(track) if track.picture.state == State::Removed => {
                self.message = Some("it was removed already, and lives until all have left it".into());
            }
            Some(track) => self.dialog = Some(track.id()),
        }
    }
}

/// Where a key leads from one line to another.
fn moved(code: KeyCode, line: usize, last: usize) -> usize {
    let line = match code {
        KeyCode::Up | KeyCode::Char('k') => line.saturating_sub(1),
        KeyCode::Down | KeyCode::Char('j') => line + 1,
        KeyCode::PageUp => line.saturating_sub(PAGE),
        KeyCode::PageDown => line + PAGE,
        KeyCode::Home | KeyCode::Char('g') => 0,
        KeyCode::End | KeyCode::Char('G') => last,
        _ => line,
    };
    line.min(last)
}

fn rate(track: &Track) -> f64 {
    track.rates.sent.unwrap_or(-1.0)
}

fn depth(track: &Track) -> f64 {
    track.content().map_or(-1.0, Content::depth)
}

/// How much a channel's state asks for a look.
fn urgency(track: &Track) -> (u8, usize) {
    let blocked = track.content().map_or(0, Content::blocked);
    let rank = match track.picture.state {
        State::Damaged => 6,
        _ if blocked > 0 => 5,
        State::HalfMade => 4,
        State::Unreadable => 3,
        State::Removed => 2,
        State::InUse => 1,
        State::Idle => 0,
    };
    (rank, blocked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::made_up::{blocked, channel, half_made, in_use, look};

    fn model() -> Model {
        let mut model = Model::default();
        look(
            &mut model,
            0,
            vec![channel(1, "b"), in_use(2, "Alpha", 0, 0), blocked(3, "c", 400, 0), half_made(4)],
        );
        look(
            &mut model,
            1,
            vec![channel(1, "b"), in_use(2, "Alpha", 50, 50), blocked(3, "c", 400, 0), half_made(4)],
        );
        model
    }

    fn view() -> View {
        View::new(Sort::Name, String::new(), Duration::from_secs(1))
    }

    fn press(view: &mut View, model: &mut Model, code: KeyCode) -> Action {
        view.key(model, KeyEvent::new(code, KeyModifiers::NONE))
    }

    fn type_in(view: &mut View, model: &mut Model, text: &str) {
        for c in text.chars() {
            assert_eq!(press(view, model, KeyCode::Char(c)), Action::Nothing);
        }
    }

    fn ids(view: &View, model: &Model) -> Vec<i32> {
        view.rows(model).iter().map(|track| track.id()).collect()
    }

    #[test]
    fn rows_are_sorted() {
        let (mut view, mut model) = (view(), model());
        let expected = [[2, 1, 3, 4], [2, 1, 3, 4], [3, 2, 1, 4], [3, 4, 2, 1], [2, 1, 3, 4]];
        for order in expected {
            assert_eq!(ids(&view, &model), order, "{:?}", view.sort);
            press(&mut view, &mut model, KeyCode::Char('s'));
        }
        view.sort = Sort::Name;
        press(&mut view, &mut model, KeyCode::Char('S'));
        assert_eq!(ids(&view, &model), [4, 3, 1, 2]);
    }

    #[test]
    fn a_filter_is_typed_kept_and_cleared() {
        let (mut view, mut model) = (view(), model());
        type_in(&mut view, &mut model, "/alq");
        assert!(ids(&view, &model).is_empty());
        press(&mut view, &mut model, KeyCode::Backspace);
        assert_eq!(ids(&view, &model), [2]);
        press(&mut view, &mut model, KeyCode::Enter);
        assert!(!view.typing && view.filter == "al");
        press(&mut view, &mut model, KeyCode::Esc);
        assert_eq!(ids(&view, &model).len(), 4);
        type_in(&mut view, &mut model, "/x");
        press(&mut view, &mut model, KeyCode::Esc);
        assert!(!view.typing && view.filter.is_empty());
        assert_eq!(press(&mut view, &mut model, KeyCode::Char('q')), Action::Quit);
    }

    #[test]
    fn the_selection_follows_its_channel() {
        let (mut view, mut model) = (view(), model());
        type_in(&mut view, &mut model, "jj");
        assert_eq!(view.subject(&model).unwrap().id(), 3);
        press(&mut view, &mut model, KeyCode::Char('S'));
        assert_eq!(view.subject(&model).unwrap().id(), 3);
        // It is replaced, then gone.
        look(&mut model, 2, vec![channel(1, "b"), channel(9, "c")]);
        view.follow(&model);
        assert_eq!(view.subject(&model).unwrap().id(), 9);
        look(&mut model, 3, vec![channel(1, "b")]);
        view.follow(&model);
        assert_eq!(view.subject(&model).unwrap().id(), 1);
        look(&mut model, 4, Vec::new());
        view.follow(&model);
        assert!(view.subject(&model).is_none());
        for code in [KeyCode::Enter, KeyCode::Char('r'), KeyCode::Down, KeyCode::End, KeyCode::PageUp] {
            assert_eq!(press(&mut view, &mut model, code), Action::Nothing);
        }
        assert!(!view.detail && view.dialog.is_none());
    }

    #[test]
    fn nothing_is_removed_unseen() {
        let (mut view, mut model) = (view(), model());
        view.resize(39, 10);
        type_in(&mut view, &mut model, "r");
        assert!(view.dialog.is_none() && view.message.is_some());
        view.resize(40, 10);
        type_in(&mut view, &mut model, "r");
        assert!(view.dialog.is_some());
        view.resize(29, 5);
        assert!(view.dialog.is_none());
        for code in [KeyCode::Char('r'), KeyCode::Char('y'), KeyCode::Char('s')] {
            assert_eq!(press(&mut view, &mut model, code), Action::Nothing);
        }
        assert_eq!(press(&mut view, &mut model, KeyCode::Char('q')), Action::Quit);
    }

    #[test]
    fn nothing_is_removed_without_a_yes() {
        let (mut view, mut model) = (view(), model());
        for (answer, action) in [('n', Action::Nothing), ('x', Action::Nothing), ('y', Action::Remove(2))] {
            view.dialog = None;
            type_in(&mut view, &mut model, "r");
            assert_eq!(view.dialog, Some(2));
            assert_eq!(press(&mut view, &mut model, KeyCode::Char(answer)), action);
        }
        type_in(&mut view, &mut model, "r");
        assert_eq!(press(&mut view, &mut model, KeyCode::Enter), Action::Nothing);
        look(&mut model, 2, vec![channel(1, "b")]);
        view.follow(&model);
        assert!(view.dialog.is_none() && view.message.is_some());
        assert_eq!(press(&mut view, &mut model, KeyCode::Char('y')), Action::Nothing);
    }

    #[test]
    fn detail_help_pause_and_interval() {
        let (mut view, mut model) = (view(), model());
        press(&mut view, &mut model, KeyCode::Enter);
        assert!(view.detail && model.watched() == Some(2));
        type_in(&mut view, &mut model, "jjjk?");
        assert!(view.help && view.scroll == 0);
        type_in(&mut view, &mut model, "q");
        assert!(!view.help && view.detail);
        press(&mut view, &mut model, KeyCode::Esc);
        assert!(!view.detail && model.watched().is_none());
        type_in(&mut view, &mut model, "+");
        assert_eq!(view.interval, Duration::from_secs(2));
        type_in(&mut view, &mut model, "--------");
        assert_eq!(view.interval, Duration::from_millis(100));
        type_in(&mut view, &mut model, "p");
        assert!(view.paused);
        assert_eq!(press(&mut view, &mut model, KeyCode::Char(' ')), Action::Refresh);
        let control = |c| KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL);
        view.dialog = Some(2);
        assert_eq!(view.key(&mut model, control('c')), Action::Interrupt);
        assert_eq!(view.key(&mut model, control('z')), Action::Suspend);
        assert_eq!(view.key(&mut model, control('y')), Action::Nothing);
    }
}
