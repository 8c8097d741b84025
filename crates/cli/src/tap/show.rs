//! What `tap` writes: lines for people, who get text where there is text, or objects for programs.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;
use sysring::{Tapped, TappedMessage};

use crate::exit::{FAILURE, Failure};

/// Bytes in a line of a dump.
const WIDTH: usize = 16;

/// The form of all that is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    Dump(Look),
    Json,
}

/// How contents are shown to people.
#[derive(Clone, Copy, Debug)]
pub(super) enum Look {
    /// As text where it is text.
    Fitting,
    Text,
    Hex,
}

/// One line of `--json`; the names are a promise.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Line {
    /// A message, of which `text` or `hex` are the first bytes, or all.
    Message {
        #[serde(skip_serializing_if = "Option::is_none")]
        seen_unix: Option<f64>,
        lane: u32,
        pid: Option<i32>,
        number: u64,
        position: u64,
        stamp: Option<u64>,
        length: usize,
        complete: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        hex: Option<String>,
    },
    /// Received before they could be shown.
    Missed {
        #[serde(skip_serializing_if = "Option::is_none")]
        seen_unix: Option<f64>,
        lane: u32,
        messages: u64,
        bytes: u64,
    },
    /// Nothing more is shown of this lane.
    Damaged {
        #[serde(skip_serializing_if = "Option::is_none")]
        seen_unix: Option<f64>,
        lane: u32,
        position: u64,
    },
}

impl Form {
    /// What is written for this; `seen` = when that was, since 1970, if it is to be said.
    pub(super) fn text(self, tapped: &Tapped, seen: Option<Duration>) -> Result<String, Failure> {
        match self {
            Self::Dump(look) => Ok(dump(look, tapped, seen)),
            Self::Json => json(tapped, seen),
        }
    }
}

fn json(tapped: &Tapped, seen: Option<Duration>) -> Result<String, Failure> {
    let seen_unix = seen.map(|seen| seen.as_secs_f64());
    let line = match tapped {
        Tapped::Message(message) => {
            let text = readable(message).map(str::to_owned);
            Line::Message {
                seen_unix,
                lane: message.lane,
                pid: message.pid,
                number: message.number,
                position: message.position,
                stamp: message.stamp,
                length: message.len,
                complete: message.is_complete(),
                hex: text.is_none().then(|| digits(&message.bytes)),
                text,
            }
        }
        Tapped::Missed(missed) => {
            let (lane, messages, bytes) = (missed.lane, missed.messages, missed.bytes);
            Line::Missed { seen_unix, lane, messages, bytes }
        }
        Tapped::Damaged(damage) => Line::Damaged { seen_unix, lane: damage.lane, position: damage.position },
        _ => return Ok(String::new()),
    };
    let mut text = serde_json::to_string(&line)
        .map_err(|error| Failure::new(FAILURE, format!("writing JSON: {error}")))?;
    text.push('\n');
    Ok(text)
}

fn dump(look: Look, tapped: &Tapped, seen: Option<Duration>) -> String {
    let mut out = String::new();
    if let Some(seen) = seen {
        // Writing to a string cannot fail.
        let _ = write!(out, "{}.{:06}  ", seen.as_secs(), seen.subsec_micros());
    }
    match tapped {
        Tapped::Message(message) => dump_message(look, message, &mut out),
        Tapped::Missed(missed) => {
            let (lane, messages, bytes) = (missed.lane, missed.messages, missed.bytes);
            let _ = writeln!(
                out,
                "lane {lane}  {messages} messages missed ({bytes} bytes of the lane): received before they \
                 could be shown"
            );
        }
        Tapped::Damaged(damage) => {
            let (lane, position) = (damage.lane, damage.position);
            let _ = writeln!(out, "lane {lane}  damaged at position {position}: nothing more of it is shown");
        }
        _ => out.clear(),
    }
    out
}

fn dump_message(look: Look, message: &TappedMessage, out: &mut String) {
    let TappedMessage { lane, number, len, bytes, .. } = message;
    let _ = write!(out, "lane {lane}  #{number}  ");
    match message.pid {
        Some(pid) => _ = write!(out, "pid {pid}"),
        None => out.push_str("pid unknown"),
    }
    let _ = write!(out, "  {len} bytes");
    if !message.is_complete() {
        let _ = write!(out, ", the first {}", bytes.len());
    }
    let text = match look {
        Look::Fitting => readable(message).map(escaped),
        Look::Text => Some(bytes.utf8_chunks().fold(String::new(), |text, chunk| {
            let text = text + &escaped(chunk.valid());
            chunk.invalid().iter().fold(text, |text, byte| text + &format!("\\x{byte:02x}"))
        })),
        Look::Hex => None,
    };
    match text {
        Some(text) if text.is_empty() => out.push('\n'),
        Some(text) => _ = writeln!(out, "  {text}"),
        None => {
            out.push('\n');
            dump_bytes(bytes, out);
        }
    }
}

/// Offset, 16 bytes in two halves, and what of them is printable.
fn dump_bytes(bytes: &[u8], out: &mut String) {
    for (index, line) in bytes.chunks(WIDTH).enumerate() {
        let _ = write!(out, "    {:08x} ", index * WIDTH);
        for place in 0..WIDTH {
            if place % 8 == 0 {
                out.push(' ');
            }
            match line.get(place) {
                Some(byte) => _ = write!(out, "{byte:02x} "),
                None => out.push_str("   "),
            }
        }
        let shown = |&byte: &u8| if byte.is_ascii_graphic() || byte == b' ' { byte as char } else { '.' };
        let _ = writeln!(out, " |{}|", line.iter().map(shown).collect::<String>());
    }
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The contents as text, if they are: UTF-8 without control characters but tabs and line ends. A character that was cut
/// in two at the end is left out.
fn readable(message: &TappedMessage) -> Option<&str> {
    let bytes = &message.bytes[..];
    let text = match str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() && !message.is_complete() => {
            str::from_utf8(&bytes[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    let printable = |char: char| !char.is_control() || matches!(char, '\t' | '\n' | '\r');
    (text.chars().all(printable) && (bytes.is_empty() || !text.is_empty())).then_some(text)
}

/// Text that says nothing to the terminal and can be read back: control characters and backslashes escaped, and what is
/// not seen or changes the direction of writing.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\\' | '\t' | '\n' | '\r' => out.extend(char.escape_default()),
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => {
                out.extend(char.escape_unicode());
            }
            char if char.is_control() => out.extend(char.escape_unicode()),
            char => out.push(char),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_says_nothing_to_the_terminal() {
        assert_eq!(escaped("a\tb\n\\ \u{1b}[2J \u{9b} \u{202e} \u{e4}"), {
            "a\\tb\\n\\\\ \\u{1b}[2J \\u{9b} \\u{202e} \u{e4}"
        });
    }

    #[test]
    fn a_dump_has_sixteen_bytes_a_line() {
        let mut out = String::new();
        dump_bytes(b"0123456789abcdef\x00\xffz", &mut out);
        let expected = "    00000000  30 31 32 33 34 35 36 37  38 39 61 62 63 64 65 66  |0123456789abcdef|\n    \
                        00000010  00 ff 7a                                          |..z|\n";
        assert_eq!(out, expected);
    }
}
