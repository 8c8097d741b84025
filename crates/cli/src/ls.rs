//! `sysring ls`: every channel of this machine. It only looks.

use indicatif::BinaryBytes;
use schemars::JsonSchema;
use serde::Serialize;
use sysring::Listed;

use crate::args::LsArgs;
use crate::exit::Failure;
use crate::output;
use crate::state::{self, State};

/// One channel, as `sysring ls --json` shows it. What cannot be read is null.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct Row {
    /// What to call it on the command line: its name, else `key:0x...`, else `id:N`.
    address: String,
    /// Its name; null if it has none or it cannot be read.
    name: Option<String>,
    /// Key of its segment, as `0x` and eight hexadecimal digits; 0x00000000 if it cannot be found by key.
    #[schemars(extend("pattern" = "^0x[0-9a-f]{8}$"))]
    key: String,
    /// Id of its segment.
    id: i32,
    /// What can be said of it in one word.
    state: State,
    /// For one sender or many: spsc or mpsc.
    #[schemars(extend("enum" = ["spsc", "mpsc", null]))]
    kind: Option<&'static str>,
    /// Senders that are attached.
    senders: Option<usize>,
    /// How many senders may be attached at a time.
    seats: Option<u32>,
    /// The receiver's process, in the reader's pid namespace; null if there is none or it is in another.
    receiver_pid: Option<i32>,
    /// Messages that wait in all lanes.
    messages: Option<u64>,
    /// Bytes of its segment.
    size: Option<u64>,
    /// Why it could not be read, for people; null if it could.
    problem: Option<String>,
}

/// Every channel of the IPC namespace that the reader is in.
#[derive(Debug, JsonSchema, Serialize)]
#[schemars(title = "sysring ls --json")]
pub(crate) struct Rows(Vec<Row>);

pub(crate) fn run(args: &LsArgs) -> Result<(), Failure> {
    let mut rows = Rows(sysring::list()?.iter().map(row).collect());
    rows.0.sort_by(|a, b| a.address.cmp(&b.address).then(a.id.cmp(&b.id)));
    if args.json { output::print_json(&rows) } else { output::print_styled(&text(&rows.0)) }
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
    let state = |word: &str| rows.iter().map(|row| row.state).find(|state| state.text() == word);
    output::styled_table(head, &cells, |column, cell| match state(cell) {
        Some(state) if head[column] == "STATE" => state.style(),
        _ => output::PLAIN,
    })
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
