//! What help and manual pages say beside the options: examples, exit statuses, notes.

use std::fmt::Write as _;

/// A command line and what it is good for.
#[derive(Debug)]
pub(crate) struct Example {
    pub(crate) line: &'static str,
    pub(crate) what: &'static str,
}

const fn example(line: &'static str, what: &'static str) -> Example {
    Example { line, what }
}

const OVERVIEW: &[Example] = &[
    example("seq 1 3 | sysring send numbers --create", "make a channel and put three messages into it"),
    example("sysring stat numbers", "see how many messages wait, and for whom"),
    example("sysring recv numbers --count 3", "take them out again"),
    example("sysring rm numbers", "remove the channel"),
    example("sysring gc --dry-run", "see what killed processes have left behind"),
];

const CREATE: &[Example] = &[
    example("sysring create logs", "a channel for up to 64 senders, with 1 MiB for each"),
    example("sysring create frames --spsc --capacity 64MiB", "one sender, messages of up to half of 64 MiB"),
    example("sysring create jobs --mode 660 --group 1000", "for all users of the group 1000"),
];

const SEND: &[Example] = &[
    example("journalctl -f | sysring send logs --create", "each line a message, for whoever receives"),
    example("sysring send frames video.raw --framing chunk=64KiB", "a file in pieces of 64 KiB"),
    example(
        "sysring recv a --framing length | sysring send b --framing length",
        "messages of any bytes, moved on",
    ),
    example("sysring send jobs list.txt --timeout 5s", "give up when nobody makes room for five seconds"),
];

const RECV: &[Example] = &[
    example("sysring recv logs", "until all senders have gone and everything is out"),
    example(
        "sysring recv logs --follow --to-file logs.txt --append",
        "a log file that goes on after a restart",
    ),
    example("sysring recv jobs --count 1 --timeout 10s", "one message, if it comes within ten seconds"),
    example(
        "sysring recv logs --framing length | socat - TCP:host:7000",
        "to another machine, where 'socat TCP-LISTEN:7000 - | sysring send logs --framing length' takes them",
    ),
];

const STAT: &[Example] = &[
    example("sysring stat logs", "who is attached, what waits, who blocks whom"),
    example("sysring stat logs --json | jq .messages", "the same for programs"),
    example("sysring stat --prometheus", "all channels, for a monitoring system"),
];

const LS: &[Example] = &[
    example("sysring ls", "every channel of this machine, with its state"),
    example(
        "sysring ls --json | jq -r '.[] | select(.state == \"damaged\").address'",
        "those that are damaged",
    ),
];

const RM: &[Example] = &[
    example("sysring rm logs", "whoever is attached ends with status 6"),
    example("sysring rm key:0x5eed0001", "by its key, as ls shows it for a channel without a name"),
];

const GC: &[Example] = &[
    example("sysring gc --dry-run", "say what is left behind, and touch nothing"),
    example("sysring gc", "remove it"),
    example("sysring gc --idle --older 7d", "also empty channels that nobody has used for a week"),
];

const TOP: &[Example] = &[
    example("sysring top", "all channels, live; ? shows the keys"),
    example("sysring top logs", "one channel with its lanes, and who waits for whom since when"),
    example("sysring top --once --sort rate", "one frame as text, the busiest channels first"),
];

const TAP: &[Example] = &[
    example("sysring tap logs", "see what waits, and take nothing"),
    example("sysring tap logs --follow --json", "what goes through, for programs"),
];

const DOCTOR: &[Example] = &[
    example("sysring doctor", "before the first channel, or when one cannot be made"),
    example("sysring doctor --json", "for a health check; status 1 means a problem"),
];

const BENCH: &[Example] = &[
    example("sysring bench", "throughput and latency of this machine, in about 40 seconds"),
    example("sysring bench --quick --only latency", "rough figures in a few seconds"),
    example("sysring bench --plot here.svg --json > here.json", "a picture and the figures behind it"),
];

const COMPLETIONS: &[Example] = &[
    example("sysring completions bash > ~/.local/share/bash-completion/completions/sysring", "for bash"),
    example("sysring completions zsh > ~/.zfunc/_sysring", "for zsh, with ~/.zfunc in its fpath"),
    example("sysring completions fish > ~/.config/fish/completions/sysring.fish", "for fish"),
];

const DEMO: &[Example] = &[example("sysring demo", "ten seconds that show what it is for")];

/// Of a command, or of `sysring` itself.
pub(crate) fn examples(command: &str) -> &'static [Example] {
    match command {
        "sysring" => OVERVIEW,
        "create" => CREATE,
        "send" => SEND,
        "recv" => RECV,
        "stat" => STAT,
        "ls" => LS,
        "rm" => RM,
        "gc" => GC,
        "top" => TOP,
        "tap" => TAP,
        "doctor" => DOCTOR,
        "bench" => BENCH,
        "completions" => COMPLETIONS,
        "demo" => DEMO,
        _ => &[],
    }
}

/// The examples as the end of `--help`.
pub(crate) fn help(command: &str) -> String {
    let examples = examples(command);
    if examples.is_empty() {
        return String::new();
    }
    let mut text = String::from("Examples:");
    for Example { line, what } in examples {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n  {line}\n      {what}");
    }
    text
}

/// An exit status, and what it means.
pub(crate) type Status = (u8, &'static str);

const DONE: Status = (0, "Done. Also if whoever read standard output has gone.");
const FAILURE: Status =
    (1, "Failure; the line on standard error says which, with the name of the system's error.");
const USAGE: Status = (2, "The command line is wrong.");
const NO_CHANNEL: Status = (3, "There is no such channel.");
const TIMED_OUT: Status = (4, "Timed out: no message, or no room for one, within --timeout.");
const SEAT_TAKEN: Status =
    (5, "The seat is taken: another receiver, or as many senders as the channel takes.");
const GONE: Status =
    (6, "The channel was removed, or the receiver of a channel that is not persistent has gone.");
const DAMAGED: Status = (7, "The segment is damaged, or is no channel of ours. It was not changed.");
const BY_SIGNAL: [Status; 2] = [
    (130, "Ended by SIGINT; the channel is consistent."),
    (143, "Ended by SIGTERM; the channel is consistent."),
];

/// What a command can end with.
pub(crate) fn statuses(command: &str) -> Vec<Status> {
    let own: &[Status] = match command {
        "sysring" => &[NO_CHANNEL, TIMED_OUT, SEAT_TAKEN, GONE, DAMAGED, BY_SIGNAL[0], BY_SIGNAL[1]],
        "create" => &[DAMAGED],
        "send" | "recv" => &[NO_CHANNEL, TIMED_OUT, SEAT_TAKEN, GONE, DAMAGED, BY_SIGNAL[0], BY_SIGNAL[1]],
        "stat" | "rm" => &[NO_CHANNEL, GONE, DAMAGED],
        "tap" => &[NO_CHANNEL, GONE, DAMAGED, BY_SIGNAL[0], BY_SIGNAL[1]],
        "top" => &[NO_CHANNEL, DAMAGED, (129, "The terminal has gone."), BY_SIGNAL[0], BY_SIGNAL[1]],
        "doctor" | "bench" | "demo" => &BY_SIGNAL,
        _ => &[],
    };
    [&[DONE, FAILURE, USAGE], own].concat()
}

const NAMES: &str = "A channel is given by its name (1 to 248 bytes), by the key of its segment (key:0x1234), as \
ftok(3) makes a key of a file and a number (path:FILE:ID), or by the identifier of its segment (id:N). Sizes are \
bytes, or numbers with KiB, MiB or GiB; times are numbers with ms, s, m, h or d.";

const COLOURS: &str = "Colours and progress are for terminals only. NO_COLOR, set to anything, turns colours off; \
CLICOLOR_FORCE turns them on also where there is no terminal.";

const SENDING: &[&str] = &[
    "A message is sent once it is in the channel: it is received if a receiver lives or comes, whatever happens to the \
sender. A full channel makes the sender wait, for --timeout at most for each message.",
    "With --framing lines the newline does not belong to the message. A line that is longer than the channel's longest \
message ends the transfer with status 1 and its number; nothing of it is sent. With --framing length a frame that the \
input ends in ends the transfer with status 1 and the offset at which the frame begins; the frames before it are sent, \
nothing of it is.",
    "After SIGINT or SIGTERM one line says how many messages were sent, if there were any. What was read from standard \
input behind the last of them is lost with the process; a file can be sent again from there on.",
    "On a terminal a transfer of more than half a second shows its progress on standard error, and a summary at its \
end; of a file also how much of it is sent, and how long the rest will take.",
];

const RECEIVING: &[&str] = &[
    "A message is taken out of the channel once it is written whole. What could not be written, because the disk is \
full, the reader has gone or a signal came, stays in the channel and comes again for the next receiver, and only that.",
    "--to-file opens the file before the receiver's seat is taken, and empties it after that: while there is no such \
channel, a file keeps what it holds. A message that does not fit on the disk any more leaves no part of it in a regular \
file. A pipe whose reader was too slow when a signal came may end with a part of a frame, which the line on standard \
error then says; the message itself stays in the channel. A socket or a terminal that takes nothing cannot tell: half a \
second after the signal the process ends, and the messages that were being written, 128 KiB or one message of them, come again.",
    "After SIGINT or SIGTERM one line says how many messages were received, if there were any.",
    "A damaged lane is told of at the end, with status 7 (with --follow at once): the messages of the other lanes are \
received. With standard output closed (>&-) messages go nowhere: the system then gives the command /dev/null.",
    "On a terminal a transfer of more than half a second shows its progress on standard error, and a summary at its \
end, unless the messages themselves go to that terminal.",
];

const LOOKING: &str = "It only looks: no channel is changed, and nobody waits for it.";

/// Paragraphs that belong to a command.
pub(crate) fn notes(command: &str) -> Vec<&'static str> {
    let own: &[&str] = match command {
        "sysring" => &[
            "Errors are told on standard error in one line: what, which channel, why, and what to do.",
            COLOURS,
        ],
        "send" => SENDING,
        "recv" => RECEIVING,
        "stat" | "ls" => &[LOOKING, COLOURS],
        "tap" => &[
            LOOKING,
            "The process that is named has the message's seat, or had it last: where senders come and go, one that has \
left may have sent what waits. What was received before it could be shown is told as missed.",
            COLOURS,
        ],
        "top" => &[
            "Keys: arrows or j and k select; Enter shows one channel, Esc leads back; s sorts, S the other way round; / \
filters; p pauses; + and - change the interval; r removes the channel; ? shows help; q ends it.",
            "It only looks, but for r, which removes the selected channel after a question.",
            "A wait is timed from the first frame that showed it, with nothing moved since.",
            COLOURS,
        ],
        "doctor" => {
            &["A warning alone leaves the status 0. Channels of its own are gone when it ends.", COLOURS]
        }
        "bench" => &[
            "Sender and receiver are processes of their own; every message is checked. Each figure is the median of \
several rounds, with the least and the most beside it. Do not run anything else meanwhile.",
            COLOURS,
        ],
        _ => &[],
    };
    let takes_a_name = ["sysring", "create", "send", "recv", "stat", "rm", "tap", "top"].contains(&command);
    takes_a_name.then_some(NAMES).into_iter().chain(own.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::definition;

    fn commands() -> Vec<String> {
        let definition = definition();
        let visible = definition.get_subcommands().filter(|command| !command.is_hide_set());
        visible.map(|command| command.get_name().to_owned()).collect()
    }

    #[test]
    fn every_command_has_examples_of_itself() {
        for command in commands() {
            let examples = examples(&command);
            assert!(!examples.is_empty(), "{command}");
            for Example { line, .. } in examples {
                assert!(line.contains(&format!("sysring {command}")), "{line}");
            }
        }
    }

    /// Each part of an example's pipeline that is ours is a command line that is understood.
    #[test]
    fn examples_are_understood() {
        for command in commands().iter().map(String::as_str).chain(["sysring"]) {
            for Example { line, .. } in examples(command) {
                for part in line.split(['|', '>']).map(str::trim).filter(|part| part.starts_with("sysring")) {
                    let outcome = definition().try_get_matches_from(part.split_whitespace());
                    assert!(outcome.is_ok(), "{part}: {}", outcome.unwrap_err());
                }
            }
        }
    }
}
