//! What a channel looked like at one moment, and the processes in its seats.
//!
//! The model compares pictures and never asks the kernel, so that its tests can make them up.

use std::collections::HashMap;
use std::fs;
use std::time::SystemTime;

use sysring::{Kind, LaneStats, Listed, OpenError, Order, SeatStats, Stats};

use super::format::visible;
use crate::state::{self, State};

/// One channel of the list.
#[derive(Clone, Debug)]
pub(super) struct Picture {
    pub(super) id: i32,
    /// What to call it, safe to be printed.
    pub(super) address: String,
    pub(super) state: State,
    /// Why there is no more to tell of one that cannot be read.
    pub(super) content: Result<Content, String>,
}

/// What a readable channel tells of itself. Every number may be anything.
#[derive(Clone, Debug)]
pub(super) struct Content {
    pub(super) key: i32,
    pub(super) created: SystemTime,
    pub(super) kind: Kind,
    pub(super) order: Order,
    pub(super) persistent: bool,
    pub(super) capacity: u64,
    pub(super) max_message: u64,
    pub(super) seats: u32,
    /// Mappings, without ours.
    pub(super) attached: u64,
    pub(super) sender_attaches: u64,
    pub(super) receiver_attaches: u64,
    pub(super) damages: u64,
    pub(super) receiver: Seat,
    pub(super) lanes: Vec<Lane>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lane {
    pub(super) number: u32,
    pub(super) seat: Seat,
    pub(super) sent: u64,
    pub(super) sent_bytes: u64,
    pub(super) received: u64,
    pub(super) messages: u64,
    pub(super) used: u64,
    pub(super) waits_for_room: bool,
    /// Where damage was met.
    pub(super) corrupt_at: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seat {
    pub(super) taken: bool,
    /// Who has it; nobody if its pid is not known here.
    pub(super) holder: Option<Process>,
    pub(super) asleep: bool,
    /// Its last holder ended without leaving it.
    pub(super) died: bool,
}

/// A process that sits on a seat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: i32,
    /// Absent if `/proc` does not tell.
    pub(super) command: Option<String>,
    /// Clock ticks from the boot to its start, which tell two processes of the same pid apart.
    pub(super) started: Option<u64>,
    /// By SIGSTOP or a debugger.
    pub(super) stopped: bool,
}

impl Content {
    /// Messages that wait in all lanes.
    pub(super) fn messages(&self) -> u64 {
        self.lanes.iter().fold(0, |sum, lane| sum.saturating_add(lane.messages))
    }

    pub(super) fn senders_taken(&self) -> usize {
        self.lanes.iter().filter(|lane| lane.seat.taken).count()
    }

    /// Senders that sleep because their lane is too full.
    pub(super) fn blocked(&self) -> usize {
        self.lanes.iter().filter(|lane| lane.is_blocked()).count()
    }

    /// How full the fullest lane is, from 0 to 1.
    pub(super) fn depth(&self) -> f64 {
        self.lanes.iter().map(|lane| lane.depth(self.capacity)).fold(0.0, f64::max)
    }

    pub(super) fn lane(&self, number: u32) -> Option<&Lane> {
        self.lanes.iter().find(|lane| lane.number == number)
    }
}

impl Lane {
    pub(super) fn is_blocked(&self) -> bool {
        self.seat.taken && self.waits_for_room
    }

    /// How full it is, from 0 to 1.
    pub(super) fn depth(&self, capacity: u64) -> f64 {
        if capacity == 0 { 0.0 } else { (self.used as f64 / capacity as f64).min(1.0) }
    }

    pub(super) fn state(&self) -> &'static str {
        match &self.seat {
            _ if self.corrupt_at.is_some() => "damaged",
            Seat { taken: false, died: true, .. } => "died",
            Seat { taken: false, .. } => "free",
            _ if self.waits_for_room => "blocked",
            Seat { asleep: true, .. } => "asleep",
            _ => "active",
        }
    }
}

impl Seat {
    /// `pid 77 ffmpeg`, or what can be said instead.
    pub(super) fn who(&self) -> String {
        self.holder.as_ref().map_or_else(|| "pid unknown".into(), Process::text)
    }

    /// The same, shorter, for a column.
    pub(super) fn cell(&self) -> String {
        match &self.holder {
            _ if !self.taken => "-".into(),
            None => "?".into(),
            Some(Process { pid, command: Some(command), .. }) => format!("{pid} {command}"),
            Some(Process { pid, .. }) => pid.to_string(),
        }
    }
}

impl Process {
    pub(super) fn text(&self) -> String {
        let stopped = if self.stopped { ", stopped" } else { "" };
        match &self.command {
            Some(command) => format!("pid {} {command}{stopped}", self.pid),
            None => format!("pid {}{stopped}", self.pid),
        }
    }

    /// Whether the other is this process and not a later one of the same pid.
    pub(super) fn is(&self, other: &Process) -> bool {
        let started_apart = matches!((self.started, other.started), (Some(a), Some(b)) if a != b);
        self.pid == other.pid && !started_apart
    }

    fn read(pid: i32) -> Process {
        let unknown = Process { pid, command: None, started: None, stopped: false };
        let Ok(stat) = fs::read(format!("/proc/{pid}/stat")) else { return unknown };
        Process::parse(pid, &String::from_utf8_lossy(&stat)).unwrap_or(unknown)
    }

    /// `PID (COMMAND) STATE ...`: a command may hold anything, parentheses too. The start is field 22.
    fn parse(pid: i32, stat: &str) -> Option<Process> {
        let (head, rest) = stat.rsplit_once(')')?;
        let (_, command) = head.split_once('(')?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?;
        let started = fields.nth(18).and_then(|ticks| ticks.parse().ok());
        let stopped = matches!(state, "T" | "t");
        Some(Process { pid, command: Some(visible(command)), started, stopped })
    }

    /// Whether it still runs; a dead one that its parent has not asked about does not.
    pub(super) fn is_alive(&self) -> bool {
        let Ok(stat) = fs::read(format!("/proc/{}/stat", self.pid)) else { return false };
        let stat = String::from_utf8_lossy(&stat);
        let zombie = stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']));
        !zombie && Process::parse(self.pid, &stat).is_some_and(|now| self.is(&now))
    }
}

/// All channels of this moment. Looks at each read-only and does not wait.
///
/// A list of all segments is needed for every picture anyhow, to find new channels, and it looks into each. Observers
/// kept open would add to that, and would keep the memory of removed channels alive.
pub(super) fn take() -> Result<Vec<Picture>, OpenError> {
    let mut processes = HashMap::new();
    Ok(sysring::list()?.iter().map(|listed| picture(listed, &mut processes)).collect())
}

/// The processes that were asked about for this picture.
type Processes = HashMap<i32, Process>;

fn picture(listed: &Listed, processes: &mut Processes) -> Picture {
    match &listed.outcome {
        Ok(stats) => Picture {
            id: listed.id,
            address: visible(&state::address(stats)),
            state: State::of(stats),
            content: Ok(content(stats, processes)),
        },
        Err(error) => Picture {
            id: listed.id,
            address: state::unnamed(listed.key, listed.id),
            state: State::of_error(error),
            content: Err(visible(&error.to_string())),
        },
    }
}

fn content(stats: &Stats, processes: &mut Processes) -> Content {
    Content {
        key: stats.key,
        created: stats.created,
        kind: stats.kind,
        order: stats.order,
        persistent: stats.persistent,
        capacity: stats.capacity,
        max_message: stats.max_message,
        seats: stats.senders,
        attached: stats.attached.saturating_sub(1),
        sender_attaches: stats.sender_attaches,
        receiver_attaches: stats.receiver_attaches,
        damages: stats.damages,
        receiver: seat(&stats.receiver, processes),
        lanes: stats.lanes.iter().map(|lane| lane_of(lane, processes)).collect(),
    }
}

fn lane_of(lane: &LaneStats, processes: &mut Processes) -> Lane {
    Lane {
        number: lane.lane,
        seat: seat(&lane.seat, processes),
        sent: lane.sent,
        sent_bytes: lane.sent_bytes,
        received: lane.received,
        messages: lane.messages,
        used: lane.used,
        waits_for_room: lane.waits_for_room,
        corrupt_at: lane.corrupt_at,
    }
}

fn seat(seat: &SeatStats, processes: &mut Processes) -> Seat {
    let pid = seat.pid.filter(|_| seat.taken);
    let holder = pid.map(|pid| processes.entry(pid).or_insert_with(|| Process::read(pid)).clone());
    Seat { taken: seat.taken, holder, asleep: seat.asleep, died: seat.died }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_may_be_called_anything() {
        let tail = "T 1 7 7 0 -1 4194304 0 0 0 0 1 2 3 4 20 0 1 0 4242 0 0";
        let process = Process::parse(7, &format!("7 (a) S (\u{1b}[2J) {tail}\n")).unwrap();
        assert_eq!(process.command.as_deref(), Some("a) S (\\u{1b}[2J"));
        assert_eq!((process.started, process.stopped), (Some(4242), true));
        for bad in ["", "7", "7 (x", "7 )x(", "7 (x)"] {
            assert!(Process::parse(7, bad).is_none(), "{bad}");
        }
        assert_eq!(Process::parse(7, "7 (x) S").unwrap().started, None);
    }

    #[test]
    fn this_process_lives_and_a_later_one_of_its_pid_is_another() {
        let me = Process::read(std::process::id().cast_signed());
        assert!(me.command.is_some() && me.started.is_some() && me.is_alive());
        let earlier = Process { started: Some(0), ..me.clone() };
        assert!(!earlier.is_alive() && !earlier.is(&me));
    }

    #[test]
    fn depth_is_between_nothing_and_all() {
        let lane = |used| Lane { used, ..Lane::default() };
        assert!(lane(512).depth(1024) == 0.5);
        assert!(lane(u64::MAX).depth(1024) == 1.0);
        assert!(lane(u64::MAX).depth(0) == 0.0);
    }
}
