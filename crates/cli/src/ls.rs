//! `sysring ls`: every channel of this machine. It only looks.

use indicatif::BinaryBytes;
use serde::Serialize;
use sysring::Listed;

use crate::args::LsArgs;
use crate::exit::Failure;
use crate::output;
use crate::state::{self, State};

/// One channel, as `--json` shows it. The numbers of a channel that cannot be read are absent.
#[derive(Debug, Serialize)]
struct Row {
    address: String,
    name: Option<String>,
    key: String,
    id: i32,
    state: State,
    kind: Option<&'static str>,
    senders: Option<usize>,
    seats: Option<u32>,
    receiver_pid: Option<i32>,
    messages: Option<u64>,
    size: Option<u64>,
    problem: Option<String>,
}

pub(crate) fn run(args: &LsArgs) -> Result<(), Failure> {
    let rows: Vec<Row> = sysring::list()?.iter().map(row).collect();
    if args.json { output::print_json(&rows) } else { output::print(&text(&rows)) }
}

fn row(listed: &Listed) -> Row {
    let Listed { id, key, outcome, .. } = listed;
    match outcome {
        Ok(stats) => Row {
            address: state::address(stats),
            name: Some(stats.name.clone()).filter(|name| !name.is_empty()),
            key: state::key(*key),
            id: *id,
            state: State::of(stats),
            kind: Some(state::kind(stats.kind)),
            senders: Some(state::senders_taken(stats)),
            seats: Some(stats.senders),
            receiver_pid: stats.receiver.pid.filter(|_| stats.receiver.taken),
            messages: Some(state::messages(stats)),
            size: Some(stats.size),
            problem: None,
        },
        Err(error) => Row {
            address: state::unnamed(*key, *id),
            name: None,
            key: state::key(*key),
            id: *id,
            state: State::of_error(error),
            kind: None,
            senders: None,
            seats: None,
            receiver_pid: None,
            messages: None,
            size: None,
            problem: Some(error.to_string()),
        },
    }
}

fn text(rows: &[Row]) -> String {
    let head = ["NAME", "KEY", "ID", "KIND", "STATE", "SENDERS", "RECEIVER", "MESSAGES", "SIZE"];
    let cells: Vec<[String; 9]> = rows.iter().map(cells).collect();
    output::table(head, &cells)
}

fn cells(row: &Row) -> [String; 9] {
    let senders = row.senders.zip(row.seats).map(|(taken, seats)| format!("{taken}/{seats}"));
    [
        row.address.clone(),
        row.key.clone(),
        row.id.to_string(),
        or_dash(row.kind),
        row.state.text().into(),
        or_dash(senders),
        or_dash(row.receiver_pid),
        or_dash(row.messages),
        or_dash(row.size.map(BinaryBytes)),
    ]
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}
