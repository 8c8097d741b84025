//! The bench shows all it measured, checks what it received, and leaves nothing behind, however it ends.

use std::collections::HashSet;
use std::fs;
use std::io::Cursor;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

use roxmltree::{Document, Node};
use serde_json::{Value, json};

use crate::support::{Name, Running, alone, assert_empty, run, run_with, until};
use crate::terminal::{Terminal, screen};

/// Short enough for a test, long enough for some messages.
const SHORT: [&str; 5] = ["bench", "--rounds", "1", "--time", "5ms"];

/// Works on the first measurement for as long as any test may take.
fn endless(only: &str) -> [&str; 5] {
    ["bench", "--time", "1m", "--only", only]
}

/// A directory that goes with the test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{}-{name}", process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let removed = fs::remove_dir_all(&self.0);
        assert!(removed.is_ok() || std::thread::panicking(), "{removed:?}");
    }
}

/// What `ls` says of the channels of a bench.
fn channels(pid: u32) -> Vec<Value> {
    let all: Vec<Value> = serde_json::from_str(&run(&["ls", "--json"]).ok()).unwrap();
    let prefix = format!("sysring-bench-{pid}-");
    let ours = |channel: &Value| channel["name"].as_str().is_some_and(|name| name.starts_with(&prefix));
    all.into_iter().filter(ours).collect()
}

/// Its workers: processes of that name that it started and that still run.
fn children(pid: u32) -> HashSet<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|child| {
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse::<u32>().ok());
        parent == Some(pid) && runs(*child)
    })
    .collect()
}

/// A zombie has no command line any more.
fn runs(worker: u32) -> bool {
    fs::read_to_string(format!("/proc/{worker}/cmdline")).is_ok_and(|line| line.contains("bench-worker"))
}

/// Waits until messages flow, and says between whom: sender and receiver of the first channel.
#[track_caller]
fn flowing(bench: &Running) -> (u32, u32) {
    let mut ends = None;
    until("messages flow", || {
        let first = channels(bench.pid()).first().map(|channel| channel["name"].as_str().unwrap().to_owned());
        ends = first.and_then(|name| {
            let stat: Value = serde_json::from_slice(&run(&["stat", "--json", &name]).stdout).ok()?;
            let sender = &stat["senders"][0];
            let pid = |value: &Value| value.as_u64().map(|pid| pid as u32);
            (sender["received"].as_u64()? > 100)
                .then_some((pid(&sender["pid"])?, pid(&stat["receiver"]["pid"])?))
        });
        ends.is_some()
    });
    ends.unwrap()
}

/// Neither workers nor channels nor, where the test is alone in its namespace, anything else.
#[track_caller]
fn assert_nothing_left(bench: u32, workers: &HashSet<u32>, alone: bool) {
    until("the workers have ended", || !workers.iter().any(|worker| runs(*worker)));
    until("the channels are removed", || channels(bench).is_empty());
    if alone {
        assert_empty();
    }
}

fn kill(pid: u32) {
    let kill = format!("kill -KILL {pid}");
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}

#[test]
fn the_table_has_every_row() {
    let alone = alone();
    let bench = Running::start(&[&SHORT[..], &["--quick"]].concat());
    let pid = bench.pid();
    let text = bench.wait().ok();
    assert_nothing_left(pid, &HashSet::new(), alone);
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    let has =
        |start: &[&str]| rows.iter().filter(|row| row.starts_with(start) && row.len() > start.len()).count();
    for size in [["8", "B"], ["64", "B"], ["512", "B"], ["4", "KiB"], ["64", "KiB"]] {
        for wait in ["busy", "sleeping"] {
            let row = [size[0], size[1], wait];
            // There may be one core only.
            let marked = format!("{wait}*");
            assert_eq!(has(&row) + has(&[size[0], size[1], &marked]), 1, "{row:?} in {text}");
        }
    }
    for percentile in ["p50", "p90", "p99", "p99.9", "max"] {
        assert_eq!(has(&[percentile]) + has(&[&format!("{percentile}*")]), 1, "{percentile} in {text}");
    }
    for senders in ["1", "2", "4", "8"] {
        for order in [&["total"][..], &["per", "sender"]] {
            let row = |senders: &str| has(&[&[senders][..], order].concat());
            assert_eq!(row(senders) + row(&format!("{senders}*")), 1, "{senders} {order:?} in {text}");
        }
    }
    let cores = std::thread::available_parallelism().unwrap().get();
    for words in [
        format!("sysring {}", env!("CARGO_PKG_VERSION")),
        format!("{cores} core"),
        "Linux ".into(),
        "1 round of 5 ms".into(),
        "spin, then sleep".into(),
        "messages were checked: each whole, in the order of its sender, and none missing".into(),
    ] {
        assert!(text.contains(&words), "no {words:?} in {text}");
    }
    assert_eq!(text.contains("More processes than cores"), cores < 9, "{text}");
}

#[track_caller]
fn assert_spread(spread: &Value) {
    let [median, min, max] = ["median", "min", "max"].map(|name| spread[name].as_f64().unwrap());
    assert!(0.0 < min && min <= median && median <= max, "{spread}");
    assert_eq!(spread.as_object().unwrap().len(), 3);
}

#[track_caller]
fn assert_fields(value: &Value, names: &[&str]) {
    let found: HashSet<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(found, names.iter().copied().collect(), "{value}");
}

#[test]
fn json_has_every_field() {
    let text = run(&["bench", "--json", "--rounds", "2", "--time", "5ms", "--senders", "2,1,2"]).ok();
    let report: Value = serde_json::from_str(&text).unwrap();
    let sections = ["throughput", "latency", "scaling"];
    let rest = ["version", "date", "machine", "settings", "checked_messages"];
    assert_fields(&report, &[&sections[..], &rest].concat());
    assert_fields(&report["machine"], &["cpu", "cores", "architecture", "kernel"]);
    assert_eq!(report["settings"], json!({"rounds": 2, "time_ms": 5, "pinned": false}));
    assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
    let date = report["date"].as_str().unwrap();
    assert!(date.len() == 20 && date.starts_with("20") && date.ends_with('Z'), "{date}");
    let cores = report["machine"]["cores"].as_u64().unwrap();

    let mut checked = 0;
    let mut row = |row: &Value, fields: &[&str], processes: u64| {
        let common = ["size", "wait", "more_processes_than_cores", "checked_messages"];
        assert_fields(row, &[&common[..], fields].concat());
        assert_eq!(row["more_processes_than_cores"], processes > cores, "{row}");
        assert!(row["checked_messages"].as_u64() > Some(0), "{row}");
        checked += row["checked_messages"].as_u64().unwrap();
    };
    let rates = ["messages_per_second", "bytes_per_second"];
    let mut seen = Vec::new();
    for throughput in report["throughput"].as_array().unwrap() {
        row(throughput, &rates, 2);
        rates.iter().for_each(|rate| assert_spread(&throughput[rate]));
        seen.push((throughput["size"].as_u64().unwrap(), throughput["wait"].as_str().unwrap()));
    }
    let sizes = [8, 64, 512, 4096, 65536];
    let due: Vec<_> = sizes.iter().flat_map(|size| [(*size, "busy"), (*size, "sleeping")]).collect();
    assert_eq!(seen, due);

    let mut seen = Vec::new();
    for latency in report["latency"].as_array().unwrap() {
        let figures = ["p50_ns", "p90_ns", "p99_ns", "p99_9_ns", "max_ns"];
        row(latency, &[&figures[..], &["percentiles", "round_trips"]].concat(), 2);
        figures.iter().for_each(|figure| assert_spread(&latency[figure]));
        let medians: Vec<f64> =
            figures.iter().map(|figure| latency[figure]["median"].as_f64().unwrap()).collect();
        assert!(medians.is_sorted() && medians[0] > 100.0, "a round trip takes more: {medians:?} ns");
        let trips = latency["round_trips"].as_u64().unwrap();
        assert!(trips > 0 && latency["checked_messages"].as_u64().unwrap() >= 2 * trips, "{latency}");
        let points = latency["percentiles"].as_array().unwrap();
        assert!(points.len() > 20);
        for point in points {
            assert_fields(point, &["percentile", "ns"]);
            assert_spread(&point["ns"]);
        }
        assert_eq!(points.last().unwrap(), &json!({"percentile": 100.0, "ns": latency["max_ns"]}));
        seen.push(latency["wait"].as_str().unwrap());
    }
    assert_eq!(seen, ["busy", "sleeping"]);

    let mut seen = Vec::new();
    for scaling in report["scaling"].as_array().unwrap() {
        let senders = scaling["senders"].as_u64().unwrap();
        row(scaling, &[&rates[..], &["senders", "order"]].concat(), senders + 1);
        rates.iter().for_each(|rate| assert_spread(&scaling[rate]));
        assert_eq!(scaling["wait"], "spin-then-sleep");
        seen.push((senders, scaling["order"].as_str().unwrap()));
    }
    assert_eq!(seen, [(1, "total"), (1, "sender"), (2, "total"), (2, "sender")]);
    assert_eq!(report["checked_messages"], checked);
}

/// Where a text stands: left, right, top and bottom, by the average letter.
fn place(node: &Node<'_, '_>) -> [f64; 4] {
    let number = |name: &str| node.attribute(name).unwrap().parse::<f64>().unwrap();
    let (x, y, size) = (number("x"), number("y"), number("font-size"));
    let length = node.text().unwrap().trim().chars().count() as f64 * size * 0.55;
    if node.attribute("transform").is_some() {
        return [x - size / 2.0, x + size / 2.0, y - length / 2.0, y + length / 2.0];
    }
    let left = match node.attribute("text-anchor") {
        Some("middle") => x - length / 2.0,
        Some("end") => x - length,
        _ => x,
    };
    [left, left + length, y - size / 2.0, y + size / 2.0]
}

#[test]
fn the_plots_say_all_by_themselves() {
    let directory = Directory::new("plots");
    let (svg, png) = (directory.file("plot.svg"), directory.file("plot.PNG"));
    let text = run(&[&SHORT[..], &["--plot", &svg, "--plot", &png]].concat()).ok();

    let source = fs::read_to_string(&svg).unwrap();
    let document = Document::parse(&source).unwrap();
    let page: Vec<f64> = ["width", "height"]
        .map(|name| document.root_element().attribute(name).unwrap().parse().unwrap())
        .into();
    let nodes: Vec<Node<'_, '_>> = document.descendants().filter(|node| node.has_tag_name("text")).collect();
    let texts: Vec<&str> = nodes.iter().map(|node| node.text().unwrap().trim()).collect();
    let machine = text.lines().nth(1).unwrap();
    assert!(texts.iter().any(|text| text.starts_with(machine)), "no {machine:?} in {texts:?}");
    for words in [
        "sysring bench: message channels between processes",
        "Throughput: one sender, one receiver",
        "messages per second",
        "size of a message",
        "Throughput in bytes",
        "bytes per second (GB = 10⁹ bytes)",
        "Latency: 64 B there and back",
        "time of a round trip",
        "share of the round trips that took no longer",
        "Scaling: several senders, one receiver, 64 B",
        "senders (waiting: spin, then sleep)",
        "busy (spinning)",
        "sleeping (in the kernel)",
        "total order",
        "order per sender",
        "64 KiB",
        "99.9 %",
        "8",
    ] {
        assert!(texts.contains(&words), "no {words:?} in {texts:?}");
    }
    // Which units come depends on the machine.
    let ends = |unit: &str| texts.iter().filter(|text| text.ends_with(unit)).count();
    assert!(ends(" µs") + ends(" ms") + ends(" ns") >= 2, "{texts:?}");
    assert!(ends(" MB") + ends(" GB") + ends(" kB") >= 2, "{texts:?}");
    assert!(ends(" k") + ends(" M") >= 2, "{texts:?}");
    for (index, node) in nodes.iter().enumerate() {
        let size: f64 = node.attribute("font-size").unwrap().parse().unwrap();
        let family = node.attribute("font-family").unwrap();
        assert!(size >= 12.0 && family.contains("DejaVu Sans") && family.ends_with("sans-serif"), "{node:?}");
        let [left, right, top, bottom] = place(node);
        assert!(
            left >= 0.0 && right <= page[0] && top >= 0.0 && bottom <= page[1],
            "cut off: {:?}",
            texts[index]
        );
        for (other, text) in nodes.iter().zip(&texts).skip(index + 1) {
            let there = place(other);
            let apart = right < there[0] || there[1] < left || bottom < there[2] || there[3] < top;
            assert!(apart, "{:?} and {text:?} overlap", texts[index]);
        }
    }

    let mut decoder = png::Decoder::new(Cursor::new(fs::read(&png).unwrap())).read_info().unwrap();
    let mut pixels = vec![0; decoder.output_buffer_size().unwrap()];
    let info = decoder.next_frame(&mut pixels).unwrap();
    let (width, height) = (info.width as usize, info.height as usize);
    assert_eq!((width as f64, height as f64), (2.0 * page[0], 2.0 * page[1]));
    assert_eq!(info.color_type, png::ColorType::Rgb);
    // In each panel both of its lines and black letters; the head is 122 of the page.
    let panel = |column: usize, row: usize| {
        let head = 244;
        let (panel_width, panel_height) = (width / 2, (height - head) / 2);
        let lines = (head + row * panel_height..head + (row + 1) * panel_height).map(move |y| y * width);
        let columns = column * panel_width..(column + 1) * panel_width;
        lines
            .flat_map(move |line| columns.clone().map(move |x| (line + x) * 3))
            .map(|at| [0, 1, 2].map(|i| pixels[at + i]))
    };
    let (blue, vermilion) = ([0x00, 0x72, 0xb2], [0xd5, 0x5e, 0x00]);
    let (green, purple) = ([0x00, 0x9e, 0x73], [0xcc, 0x79, 0xa7]);
    let ink = [0x22; 3];
    for (column, row, colours) in [
        (0, 0, [blue, vermilion, ink]),
        (1, 0, [blue, vermilion, ink]),
        (0, 1, [blue, vermilion, ink]),
        (1, 1, [green, purple, ink]),
    ] {
        for colour in colours {
            let count = panel(column, row).filter(|pixel| *pixel == colour).count();
            assert!(count > 500, "{count} pixels of {colour:?} in panel {column} {row}");
        }
        let white = panel(column, row).filter(|pixel| *pixel == [0xff; 3]).count();
        assert!(white > width * height / 8, "{white}");
    }
}

#[test]
fn only_what_was_asked_for_is_measured_and_drawn() {
    let directory = Directory::new("only");
    let svg = directory.file("scaling.svg");
    let options = ["--only", "scaling", "--senders", "3", "--json", "--plot", &svg];
    let report: Value = serde_json::from_str(&run(&[&SHORT[..], &options].concat()).ok()).unwrap();
    assert_eq!((&report["throughput"], &report["latency"]), (&json!([]), &json!([])));
    let senders: Vec<_> = report["scaling"].as_array().unwrap().iter().map(|row| &row["senders"]).collect();
    assert_eq!(senders, [3, 3]);
    let source = fs::read_to_string(&svg).unwrap();
    assert!(source.contains("Scaling") && !source.contains("Latency") && !source.contains("Throughput"));
}

#[test]
fn signals_end_it_and_all_it_started() {
    let alone = alone();
    let directory = Directory::new("signals");
    let (new, old) = (directory.file("new.svg"), directory.file("old.png"));
    fs::write(&old, "untouched").unwrap();
    for (signal, status, only) in [("INT", 130, "scaling"), ("TERM", 143, "latency")] {
        let bench = Running::start(&[&endless(only)[..], &["--plot", &new, "--plot", &old]].concat());
        flowing(&bench);
        let (pid, workers) = (bench.pid(), children(bench.pid()));
        assert_eq!(workers.len(), 2, "{workers:?}");
        assert!(Path::new(&new).exists());
        bench.signal(signal);
        bench.wait().quiet(status);
        assert_nothing_left(pid, &workers, alone);
        assert!(!Path::new(&new).exists(), "an empty plot was left");
        assert_eq!(fs::read_to_string(&old).unwrap(), "untouched");
    }
}

#[test]
fn a_killed_worker_is_reported_and_the_others_end() {
    let alone = alone();
    for (only, receiver, who, what) in [
        ("throughput", true, "the receiver", "throughput, 8 B, busy"),
        ("throughput", false, "sender 0", "throughput, 8 B, busy"),
        ("latency", true, "the process that sends back", "latency, busy"),
    ] {
        let bench = Running::start(&endless(only));
        let ends = flowing(&bench);
        let (pid, workers) = (bench.pid(), children(bench.pid()));
        // The first channel in the list need not be the first of the two.
        let ends = if only == "latency" && first_sender(&bench) != ends.0 { (ends.1, ends.0) } else { ends };
        let victim = if receiver { ends.1 } else { ends.0 };
        kill(victim);
        let killed = format!("bench: {what}: {who} (pid {victim}) was killed by SIGKILL");
        let ended = bench.wait();
        assert_eq!(ended.stdout, b"");
        ended.failed(1, &[&killed]);
        assert_nothing_left(pid, &workers, alone);
    }
}

/// Who sends first: the channel there was named before the one back.
fn first_sender(bench: &Running) -> u32 {
    let mut channels = channels(bench.pid());
    let number = |channel: &Value| {
        let name = channel["name"].as_str().unwrap().to_owned();
        name.split('-').nth(3).unwrap().parse::<u32>().unwrap()
    };
    channels.sort_by_key(number);
    let name = channels[0]["name"].as_str().unwrap();
    let stat: Value = serde_json::from_str(&run(&["stat", "--json", name]).ok()).unwrap();
    stat["senders"][0]["pid"].as_u64().unwrap() as u32
}

#[test]
fn a_killed_bench_leaves_nothing_either() {
    let alone = alone();
    for only in ["throughput", "latency", "scaling"] {
        let bench = Running::start(&endless(only));
        flowing(&bench);
        let (pid, workers) = (bench.pid(), children(bench.pid()));
        bench.signal("KILL");
        assert_eq!(bench.wait().code, None);
        assert_nothing_left(pid, &workers, alone);
    }
}

#[test]
fn a_wrong_message_is_an_error() {
    let name = Name::create(&["--spsc", "--no-persistent"]);
    let mut worker = Running::start(&["bench-worker"]);
    let time = json!({"secs": 1, "nanos": 0});
    let task = json!({
        "role": {"receiver": {"senders": 1}}, "channels": [name.str()], "size": 8, "wait": "sleeping",
        "warm_up": time, "time": time,
    });
    for command in [json!({"prepare": task}), json!("attach"), json!("go")] {
        worker.type_in(&format!("{command}\n"));
    }
    run_with(&["send", name.str()], "not from the bench\n").quiet(0);
    let ended = worker.wait();
    let answers = String::from_utf8(ended.stdout).unwrap();
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(1), ""));
    assert!(
        answers.contains("wrong message after 0 good ones: its 18 bytes are not of this test"),
        "{answers}"
    );
}

#[test]
fn a_worker_is_started_by_the_bench_only() {
    run_with(&["bench-worker"], "hello\n").failed(1, &["only 'sysring bench' starts this"]);
}

#[test]
fn bad_options_are_refused_before_anything_is_measured() {
    let directory = Directory::new("options");
    let (missing, folder) = (directory.file("missing/a.svg"), directory.file("folder.png"));
    fs::create_dir(&folder).unwrap();
    for (options, words) in [
        (&["--plot", "a.jpg"][..], &["a.jpg", "ends in .svg or .png"][..]),
        (&["--plot", "svg"], &["ends in .svg or .png"]),
        (&["--plot", &missing], &[&missing, "ENOENT", "name another file"]),
        (&["--plot", &folder], &[&folder, "EISDIR"]),
        (&["--rounds", "0"], &["--rounds", "1..=1000"]),
        (&["--time", "0ms"], &["--time", "1ms to 1m"]),
        (&["--time", "2m"], &["--time", "1ms to 1m"]),
        (&["--time", "5"], &["--time"]),
        (&["--senders", "0"], &["--senders", "1..=240"]),
        (&["--senders", "1,241"], &["--senders", "1..=240"]),
        (&["--only", "speed"], &["--only", "throughput", "latency", "scaling"]),
    ] {
        let good = directory.file("good.svg");
        run(&[&["bench", "--plot", &good][..], options].concat()).failed(2, words);
        assert!(!Path::new(&good).exists(), "{options:?} left a plot");
    }
}

#[test]
fn a_plot_that_cannot_be_written_is_an_error_and_the_table_is_not_lost() {
    let directory = Directory::new("full");
    let full = directory.file("full.svg");
    symlink("/dev/full", &full).unwrap();
    let ended = run(&[&SHORT[..], &["--only", "latency", "--plot", &full]].concat());
    assert!(String::from_utf8_lossy(&ended.stdout).contains("ROUND TRIP"));
    ended.failed(1, &["bench: cannot write the plot", &full, "ENOSPC"]);
}

#[test]
fn a_closed_stdout_is_no_error_and_the_plot_is_drawn() {
    let directory = Directory::new("closed");
    let svg = directory.file("plot.svg");
    let options = [&SHORT[..], &["--only", "latency", "--plot", &svg]].concat();
    Running::start_unread(&options).wait().quiet(0);
    assert!(fs::read_to_string(&svg).unwrap().contains("Latency"));
}

#[test]
fn on_a_terminal_the_remaining_time_is_shown_and_then_gone() {
    let args = ["bench", "--only", "latency", "--rounds", "2", "--time", "300ms"];
    let (status, all) = Terminal::start(&args, &[]).wait();
    assert_eq!(status, 0, "{all}");
    assert!(all.contains(" left ") && all.contains("latency, sleeping"), "{all}");
    let shown = screen(&all);
    assert!(shown.starts_with("sysring ") && shown.contains("p99.9") && !shown.contains(" left"), "{shown}");
}
