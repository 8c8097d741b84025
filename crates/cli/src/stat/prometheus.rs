//! What `stat --prometheus` shows: the text exposition format 0.0.4, as scripts and the textfile collector of the node
//! exporter take it.
//!
//! Counters are labelled with channel, segment id and lane only. A pid among their labels would begin a new series with
//! every process that comes; the process in a seat is the value of a gauge of its own, `sysring_seat_pid`.

use std::fmt::{Display, Write as _};
use std::time::{Duration, UNIX_EPOCH};

use sysring::{LaneStats, Listed, SeatStats, Stats};

use super::report::{bytes, holder, mappings};
use crate::state::{self, State};

/// Every channel that is there, readable or not.
pub(super) fn all(listed: &[Listed]) -> String {
    let mut page = Page::default();
    page.channels.push(Sample { labels: String::new(), value: listed.len().to_string() });
    for listed in listed {
        match &listed.outcome {
            Ok(stats) => page.channel(stats),
            Err(error) => {
                let channel = Labels::of(&state::unnamed(listed.key, listed.id), listed.id);
                page.presence(&channel, listed.key, State::of_error(error), false);
            }
        }
    }
    page.text()
}

/// One channel.
pub(super) fn one(stats: &Stats) -> String {
    let mut page = Page::default();
    page.channel(stats);
    page.text()
}

/// A value of a metric.
#[derive(Debug)]
struct Sample {
    labels: String,
    value: String,
}

/// The definition of the metrics: field, name, type and help, in the order in which they are shown. A macro, so that
/// each is named in one place and none can be shown twice.
macro_rules! metrics {
    ($($field:ident $name:literal $kind:ident $help:literal;)*) => {
        #[derive(Debug, Default)]
        struct Page {
            $($field: Vec<Sample>,)*
        }

        impl Page {
            /// Metrics without a sample are left out.
            fn text(&self) -> String {
                let mut text = String::new();
                $(family(&mut text, $name, stringify!($kind), $help, &self.$field);)*
                text
            }
        }
    };
}

metrics! {
    channels "sysring_channels" gauge "Channels in the IPC namespace.";
    readable "sysring_channel_readable" gauge "Whether the channel could be read (1) or not (0).";
    state "sysring_channel_state" gauge "The state that the channel is in is 1, the others are 0.";
    info "sysring_channel_info" gauge "Always 1; what the channel was made as is in the labels.";
    created "sysring_channel_created_timestamp_seconds" gauge "When the channel was made, in seconds since 1970.";
    size "sysring_channel_size_bytes" gauge "Size of the segment.";
    capacity "sysring_channel_lane_capacity_bytes" gauge "Capacity of each sender's lane.";
    max_message "sysring_channel_max_message_bytes" gauge "Size of the largest message.";
    seats "sysring_channel_sender_seats" gauge "Senders that may be attached at a time.";
    seats_taken "sysring_channel_sender_seats_taken" gauge "Senders that are attached.";
    mappings "sysring_channel_mappings" gauge "How often the channel is mapped into processes.";
    messages "sysring_channel_waiting_messages" gauge "Messages that wait in all lanes.";
    used "sysring_channel_used_bytes" gauge "Bytes of all lanes in use, with the headers of the messages.";
    attaches "sysring_channel_attaches_total" counter "Seats taken since the channel was made.";
    damages "sysring_channel_damages_total" counter "Damages reported since the channel was made.";
    seat_taken "sysring_seat_taken" gauge "Whether a living process has the seat.";
    seat_asleep "sysring_seat_asleep" gauge "Whether the process in the seat sleeps in the kernel.";
    seat_pid "sysring_seat_pid" gauge "The process in the seat, in the reader's pid namespace.";
    sent "sysring_lane_sent_messages_total" counter "Messages sent through the lane.";
    sent_bytes "sysring_lane_sent_bytes_total" counter "Bytes of the messages sent through the lane.";
    received "sysring_lane_received_messages_total" counter "Messages received from the lane.";
    lane_messages "sysring_lane_waiting_messages" gauge "Messages that wait in the lane.";
    lane_used "sysring_lane_used_bytes" gauge "Bytes of the lane in use, with the headers of the messages.";
    waits "sysring_lane_waits_for_room" gauge "Whether the sender sleeps because the lane is too full.";
    corrupt "sysring_lane_corrupt" gauge "Whether damage was met in the lane.";
}

impl Page {
    fn channel(&mut self, stats: &Stats) {
        let channel = Labels::of(&state::address(stats), stats.id);
        self.presence(&channel, stats.key, State::of(stats), true);
        let created = stats.created.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let kind = [("kind", state::kind(stats.kind)), ("order", state::order(stats.order))];
        let flags = [("persistent", stats.persistent), ("anonymous", stats.anonymous)];
        let flags = flags.map(|(name, flag)| (name, if flag { "true" } else { "false" }));
        channel.with(&kind).with(&flags).add(&mut self.info, 1);
        channel.add(&mut self.created, seconds(created));
        channel.add(&mut self.size, stats.size);
        channel.add(&mut self.capacity, stats.capacity);
        channel.add(&mut self.max_message, stats.max_message);
        channel.add(&mut self.seats, stats.senders);
        channel.add(&mut self.seats_taken, state::senders_taken(stats));
        channel.add(&mut self.mappings, mappings(stats));
        channel.add(&mut self.messages, state::messages(stats));
        channel.add(&mut self.used, bytes(stats));
        channel.with(&[("side", "receiver")]).add(&mut self.attaches, stats.receiver_attaches);
        channel.with(&[("side", "sender")]).add(&mut self.attaches, stats.sender_attaches);
        channel.add(&mut self.damages, stats.damages);
        self.seat(&channel.with(&[("side", "receiver")]), &stats.receiver);
        for lane in &stats.lanes {
            self.lane(&channel, lane);
        }
    }

    /// What is known of every channel.
    fn presence(&mut self, channel: &Labels, key: i32, now: State, readable: bool) {
        channel.with(&[("key", &state::key(key))]).add(&mut self.readable, u8::from(readable));
        for state in State::ALL {
            // The word that `--json` has.
            let word = state.text().replace(' ', "-");
            channel.with(&[("state", &word)]).add(&mut self.state, u8::from(state == now));
        }
    }

    fn seat(&mut self, seat: &Labels, stats: &SeatStats) {
        seat.add(&mut self.seat_taken, u8::from(stats.taken));
        seat.add(&mut self.seat_asleep, u8::from(stats.asleep));
        if let Some(pid) = holder(stats) {
            seat.add(&mut self.seat_pid, pid);
        }
    }

    fn lane(&mut self, channel: &Labels, stats: &LaneStats) {
        let number = stats.lane.to_string();
        self.seat(&channel.with(&[("side", "sender"), ("lane", &number)]), &stats.seat);
        let lane = channel.with(&[("lane", &number)]);
        lane.add(&mut self.sent, stats.sent);
        lane.add(&mut self.sent_bytes, stats.sent_bytes);
        lane.add(&mut self.received, stats.received);
        lane.add(&mut self.lane_messages, stats.messages);
        lane.add(&mut self.lane_used, stats.used);
        lane.add(&mut self.waits, u8::from(stats.waits_for_room));
        lane.add(&mut self.corrupt, u8::from(stats.corrupt));
    }
}

/// Labels, written as they are between the braces.
#[derive(Clone, Debug)]
struct Labels(String);

impl Labels {
    /// The id tells two channels apart that have had the same name one after the other.
    fn of(channel: &str, id: i32) -> Self {
        Self(String::new()).with(&[("channel", channel), ("id", &id.to_string())])
    }

    fn with(&self, labels: &[(&str, &str)]) -> Self {
        let mut text = self.0.clone();
        for (name, value) in labels {
            let comma = if text.is_empty() { "" } else { "," };
            // Writing to a string cannot fail.
            let _ = write!(text, "{comma}{name}=\"{}\"", escaped(value));
        }
        Self(text)
    }

    fn add(&self, metric: &mut Vec<Sample>, value: impl Display) {
        metric.push(Sample { labels: self.0.clone(), value: value.to_string() });
    }
}

/// As the format wants it; everything else stands for itself.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn seconds(time: Duration) -> String {
    format!("{}.{:03}", time.as_secs(), time.subsec_millis())
}

fn family(text: &mut String, name: &str, kind: &str, help: &str, samples: &[Sample]) {
    if samples.is_empty() {
        return;
    }
    // Writing to a string cannot fail.
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    for Sample { labels, value } in samples {
        let _ = match labels.as_str() {
            "" => writeln!(text, "{name} {value}"),
            labels => writeln!(text, "{name}{{{labels}}} {value}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let labels = Labels::of("a\"b\\c\nd{e}=\u{e4},\u{1f980}", 7).with(&[("lane", "0")]);
        let wanted = "channel=\"a\\\"b\\\\c\\nd{e}=\u{e4},\u{1f980}\",id=\"7\",lane=\"0\"";
        assert_eq!(labels.0, wanted);
        assert_eq!(escaped("\\n"), "\\\\n");
    }

    #[test]
    fn a_family_has_its_head_once_and_none_without_samples() {
        let mut text = String::new();
        family(&mut text, "a", "gauge", "A.", &[]);
        assert_eq!(text, "");
        let sample = |labels: &str| Sample { labels: labels.into(), value: "1".into() };
        family(&mut text, "a", "gauge", "A.", &[sample(""), sample("x=\"y\"")]);
        assert_eq!(text, "# HELP a A.\n# TYPE a gauge\na 1\na{x=\"y\"} 1\n");
    }

    #[test]
    fn times_are_seconds() {
        assert_eq!(seconds(Duration::from_millis(1_700_000_000_050)), "1700000000.050");
        assert_eq!(seconds(Duration::MAX), format!("{}.999", u64::MAX));
    }

    /// Whatever a stranger has written there.
    #[test]
    fn the_largest_numbers_are_shown() {
        let (mut tx, _rx) = sysring::spsc().capacity(4096).pair().unwrap();
        tx.send("x").unwrap();
        let mut stats = tx.stats().unwrap();
        stats.lanes[0].sent = u64::MAX;
        stats.lanes[0].messages = u64::MAX;
        (stats.damages, stats.sender_attaches) = (u64::MAX, u64::MAX);
        stats.lanes.push(stats.lanes[0]);
        stats.lanes[1].lane = 1;
        let text = one(&stats);
        let line = format!(
            "sysring_channel_waiting_messages{{channel=\"id:{0}\",id=\"{0}\"}} {1}\n",
            stats.id,
            u64::MAX
        );
        assert!(text.contains(&line), "{text}");
    }
}
