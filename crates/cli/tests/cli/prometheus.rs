//! `stat --prometheus`: the format, by its own rules and by a parser of others, and the figures in it.

use std::collections::{BTreeMap, HashMap, HashSet};

use prometheus_parse::{Scrape, Value};
use sysring::segment::Segment;

use crate::support::{Name, Running, alone, noise, run, run_with, until};

type Labels = BTreeMap<String, String>;

/// Of each metric its type, and its samples in their order.
#[derive(Debug, Default)]
struct Page {
    types: HashMap<String, String>,
    samples: Vec<(String, Labels, f64)>,
}

impl Page {
    /// Reads the text and holds it against the rules of the format.
    #[track_caller]
    fn read(text: &str) -> Self {
        assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{text}");
        let mut page = Self::default();
        let (mut helped, mut seen, mut current) = (HashSet::new(), HashSet::new(), String::new());
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').unwrap();
                assert!(helped.insert(name.to_owned()), "a second HELP: {line}");
                assert!(!help.is_empty() && !help.contains('\\'), "{line}");
                current = name.to_owned();
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                assert_eq!(name, current, "TYPE follows its HELP");
                assert!(
                    page.types.insert(name.to_owned(), kind.to_owned()).is_none(),
                    "a second TYPE: {line}"
                );
                assert!(matches!(kind, "counter" | "gauge"), "{line}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                assert!(
                    name.starts_with("sysring_")
                        && name.bytes().all(|byte| b"_".contains(&byte) || byte.is_ascii_lowercase())
                );
            } else {
                let (name, labels, value) = sample(line);
                assert_eq!(name, current, "a sample stands under its head");
                assert!(page.types.contains_key(&name), "{line}");
                assert!(seen.insert((name.clone(), labels.clone())), "twice: {line}");
                assert!(!labels.contains_key("pid"), "{line}");
                page.samples.push((name, labels, value));
            }
        }
        assert_eq!(helped.len(), page.types.len());
        page
    }

    /// The value of a metric of this channel, with these labels among others.
    #[track_caller]
    fn value(&self, metric: &str, channel: &str, labels: &[(&str, &str)]) -> f64 {
        let has =
            |found: &Labels, name: &str, value: &str| found.get(name).is_some_and(|found| found == value);
        let mut values = self.samples.iter().filter(|(name, found, _)| {
            name == metric
                && has(found, "channel", channel)
                && labels.iter().all(|(name, value)| has(found, name, value))
        });
        let (_, _, value) =
            values.next().unwrap_or_else(|| panic!("no {metric} {labels:?} of {channel}: {self:#?}"));
        assert!(values.next().is_none(), "several {metric} {labels:?} of {channel}");
        *value
    }

    fn has(&self, channel: &str) -> bool {
        self.samples.iter().any(|(_, labels, _)| labels.get("channel").is_some_and(|found| found == channel))
    }
}

/// `name{label="value",...} value`
fn sample(line: &str) -> (String, Labels, f64) {
    let end = line.find(['{', ' ']).unwrap();
    let (name, rest) = line.split_at(end);
    let mut labels = Labels::new();
    let mut chars = rest.chars().peekable();
    if chars.next() == Some('{') {
        loop {
            let label: String = chars.by_ref().take_while(|char| *char != '=').collect();
            assert!(!label.is_empty() && label.bytes().all(|byte| byte.is_ascii_lowercase()), "{line}");
            assert_eq!(chars.next(), Some('"'), "{line}");
            let mut value = String::new();
            loop {
                match chars.next().unwrap() {
                    '"' => break,
                    '\\' => value.push(match chars.next().unwrap() {
                        'n' => '\n',
                        escaped @ ('\\' | '"') => escaped,
                        other => panic!("\\{other} in {line}"),
                    }),
                    char => value.push(char),
                }
            }
            assert!(labels.insert(label, value).is_none(), "{line}");
            match chars.next() {
                Some(',') => {}
                Some('}') => break,
                other => panic!("{other:?} in {line}"),
            }
        }
        assert_eq!(chars.next(), Some(' '), "{line}");
    }
    let value: String = chars.collect();
    (name.to_owned(), labels, value.parse().unwrap())
}

/// A channel by a name that is hard to write down.
struct Strange(String);

impl Strange {
    fn create() -> Self {
        let name = format!("{}\"q\\n\\{{x=\"1\",}} # \u{e4}\u{1f980}", Name::new().str());
        run(&["create", &name, "--spsc", "--capacity", "4KiB"]).ok();
        Self(name)
    }
}

impl Drop for Strange {
    fn drop(&mut self) {
        run(&["rm", &self.0]);
    }
}

#[test]
fn figures_of_a_channel_in_use() {
    let name = Name::create(&["--senders", "3", "--capacity", "64KiB", "--max-message", "1000"]);
    run_with(&["send", name.str()], "one\ntwo\nthree\n").quiet(0);
    let text = run(&["stat", "--prometheus", name.str()]).ok();
    let page = Page::read(&text);
    let value = |metric: &str| page.value(metric, name.str(), &[]);
    assert_eq!(value("sysring_channel_readable"), 1.0);
    assert_eq!(page.value("sysring_channel_state", name.str(), &[("state", "idle")]), 1.0);
    assert_eq!(page.value("sysring_channel_state", name.str(), &[("state", "in-use")]), 0.0);
    let made = [("kind", "mpsc"), ("order", "total"), ("persistent", "true"), ("anonymous", "false")];
    assert_eq!(page.value("sysring_channel_info", name.str(), &made), 1.0);
    assert_eq!(value("sysring_channel_lane_capacity_bytes"), 65_536.0);
    assert_eq!(value("sysring_channel_max_message_bytes"), 1000.0);
    assert!(value("sysring_channel_size_bytes") > 3.0 * 65_536.0);
    assert_eq!(
        (value("sysring_channel_sender_seats"), value("sysring_channel_sender_seats_taken")),
        (3.0, 0.0)
    );
    assert_eq!(value("sysring_channel_waiting_messages"), 3.0);
    assert_eq!(page.value("sysring_channel_attaches_total", name.str(), &[("side", "sender")]), 1.0);
    assert_eq!(page.value("sysring_channel_attaches_total", name.str(), &[("side", "receiver")]), 0.0);
    assert_eq!(value("sysring_channel_damages_total"), 0.0);
    let stat = name.stat();
    assert_eq!(
        value("sysring_channel_created_timestamp_seconds").floor(),
        stat["created_unix"].as_f64().unwrap()
    );
    let lane = |metric: &str| page.value(metric, name.str(), &[("lane", "0")]);
    assert_eq!(
        (lane("sysring_lane_sent_messages_total"), lane("sysring_lane_sent_bytes_total")),
        (3.0, 11.0)
    );
    assert_eq!(
        (lane("sysring_lane_received_messages_total"), lane("sysring_lane_waiting_messages")),
        (0.0, 3.0)
    );
    assert_eq!(lane("sysring_lane_used_bytes"), stat["bytes"].as_f64().unwrap());
    assert_eq!((lane("sysring_lane_corrupt"), lane("sysring_lane_waits_for_room")), (0.0, 0.0));
    assert_eq!(page.value("sysring_seat_taken", name.str(), &[("side", "receiver")]), 0.0);
    assert!(!text.contains("sysring_seat_pid"), "nobody has a seat: {text}");
    assert!(!text.contains("sysring_channels "), "one was asked for: {text}");

    let receiver = Running::start(&["recv", name.str(), "--follow"]);
    until("the receiver sleeps", || name.stat()["receiver"]["asleep"] == true);
    let page = Page::read(&run(&["stat", "--prometheus", name.str()]).ok());
    let seat = |metric: &str| page.value(metric, name.str(), &[("side", "receiver")]);
    assert_eq!((seat("sysring_seat_taken"), seat("sysring_seat_asleep")), (1.0, 1.0));
    assert_eq!(seat("sysring_seat_pid"), f64::from(receiver.pid()));
    assert_eq!(page.value("sysring_lane_received_messages_total", name.str(), &[("lane", "0")]), 3.0);
    assert_eq!(page.value("sysring_channel_state", name.str(), &[("state", "in-use")]), 1.0);
}

#[test]
fn a_sender_that_waits_for_room() {
    let name = Name::create(&["--capacity", "4KiB"]);
    let sender = Running::with_input(&["send", name.str()], "x\n".repeat(10_000));
    until("the sender sleeps", || name.stat()["senders"][0]["asleep"] == true);
    let page = Page::read(&run(&["stat", "--prometheus", name.str()]).ok());
    assert_eq!(page.value("sysring_lane_waits_for_room", name.str(), &[("lane", "0")]), 1.0);
    let seat = [("side", "sender"), ("lane", "0")];
    assert_eq!(page.value("sysring_seat_pid", name.str(), &seat), f64::from(sender.pid()));
}

#[test]
fn all_channels_with_those_that_cannot_be_read() {
    let alone = alone();
    let name = Name::create(&["--senders", "2", "--capacity", "4KiB"]);
    run_with(&["send", name.str()], "one\n").quiet(0);
    let strange = Strange::create();
    let half = Name::create(&["--spsc", "--capacity", "4KiB"]);
    let stat = half.stat();
    let id = stat["id"].as_i64().unwrap();
    Segment::from_id(id as i32).attach().unwrap().write(0, &[0; 8]).unwrap(); // the magic
    let text = run(&["stat", "--prometheus"]).ok();
    let page = Page::read(&text);
    assert_eq!(page.value("sysring_channel_waiting_messages", name.str(), &[]), 1.0);
    assert_eq!(page.value("sysring_channel_waiting_messages", &strange.0, &[]), 0.0);
    let address = format!("key:{}", stat["key"].as_str().unwrap());
    let labels = [("key", stat["key"].as_str().unwrap()), ("id", &id.to_string())];
    assert_eq!(page.value("sysring_channel_readable", &address, &labels), 0.0);
    assert_eq!(page.value("sysring_channel_state", &address, &[("state", "half-made")]), 1.0);
    if alone {
        let all = page.samples.iter().find(|(name, _, _)| name == "sysring_channels").unwrap();
        assert_eq!(all.2, 3.0);
    }

    // Somebody else's parser, which does not know escapes, reads the rest as it is meant.
    let scrape = Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).unwrap();
    assert!(scrape.docs.contains_key("sysring_lane_sent_messages_total"));
    let of = |metric: &str| {
        let mut samples = scrape.samples.iter().filter(|sample| sample.metric == metric);
        samples.find(|sample| sample.labels.get("channel") == Some(name.str())).unwrap().value.clone()
    };
    assert_eq!(of("sysring_lane_sent_messages_total"), Value::Counter(1.0));
    assert_eq!(of("sysring_channel_lane_capacity_bytes"), Value::Gauge(4096.0));

    let one = Page::read(&run(&["stat", "--prometheus", &strange.0]).ok());
    assert!(one.has(&strange.0) && !one.has(name.str()));
}

/// Whatever a stranger has written there, the format holds, and the doctor ends well.
#[test]
fn channels_that_others_have_spoilt() {
    // Sets that are cut off from their segment go with the namespace.
    if !alone() {
        println!("skipped: needs root");
        return;
    }
    for round in 0..8 {
        let name = Name::create(&["--senders", "2", "--capacity", "4KiB"]);
        run_with(&["send", name.str()], "one\n").quiet(0);
        let segment = Segment::from_id(name.stat()["id"].as_i64().unwrap() as i32);
        let mapping = segment.attach().unwrap();
        let spoil = |offset: usize, len: usize| mapping.write(offset, &noise(len, round + 1)).unwrap();
        match round {
            0 => mapping.write(48, &[0xff; 8]).unwrap(),   // when it was made
            1 => mapping.write(384, &[0xff; 24]).unwrap(), // visits and damages
            2 => mapping.write(4352, &[0xff; 1024]).unwrap(), // both lanes' control blocks
            3 => spoil(776, 100),                          // the name
            4 => spoil(4096, 4000),                        // seats and control blocks
            5 => spoil(128, 900),                          // the set, marks, counters, the name's length
            _ => spoil(16, 8000),                          // all of it
        }
        drop(mapping);
        let page = Page::read(&run(&["stat", "--prometheus"]).ok());
        assert!(page.samples.iter().any(|(name, _, _)| name == "sysring_channel_readable"), "round {round}");
        let ended = run(&["doctor"]);
        assert!(matches!(ended.code, Some(0 | 1)), "round {round}: {ended:?}");
        let text = String::from_utf8(ended.stdout).unwrap();
        assert!(text.contains("sem-undo") && !text.contains('\x1b'), "round {round}: {text}");
        segment.remove().unwrap();
    }
}

#[test]
fn without_channels_there_are_none() {
    if alone() {
        let text = run(&["stat", "--prometheus"]).ok();
        Page::read(&text);
        assert!(text.ends_with("\nsysring_channels 0\n"), "{text}");
    }
}

#[test]
fn what_cannot_be_asked_for() {
    run(&["stat"]).failed(2, &["NAME"]);
    run(&["stat", "--json"]).failed(2, &["NAME"]);
    run(&["stat", "--json", "--prometheus"]).failed(2, &["--prometheus", "--json"]);
    let name = Name::new();
    run(&["stat", "--prometheus", name.str()]).failed(3, &[name.str()]);
}
