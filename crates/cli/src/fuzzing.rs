//! What the fuzz targets of `crates/fuzz` do with their input: any bytes may come. The tests run the same functions over
//! the corpus and over inputs made of it.

use std::cell::RefCell;
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt as _;
use std::time::Duration;

use clap::{CommandFactory as _, FromArgMatches as _};

use crate::args::{self, Cli};
use crate::framing::{FrameError, FrameReader, Input, Output};

/// A framing, a largest message, how a stream comes in pieces, and the stream: what is read is what a plain cut of the
/// whole gives, and what is written comes back.
pub(crate) fn framing(data: &[u8]) {
    let mut head = [0; 4];
    let length = data.len().min(head.len());
    head[..length].copy_from_slice(&data[..length]);
    let (stream, [kind, size, max, pieces]) = (&data[length..], head);
    let max = match max {
        0..0xf0 => u64::from(max),
        0xf0..0xf8 => 1 << (max - 0xe0),
        _ => u64::MAX - u64::from(0xff - max),
    };
    let framing = match kind % 3 {
        0 => Input::Lines,
        1 => Input::Length,
        _ => Input::Chunk(u64::from(size).max(1)),
    };
    let Some(messages) = cut(stream, framing, max, pieces) else { return };
    for output in [Output::Lines, Output::Length, Output::Raw] {
        come_back(&messages, output, pieces);
    }
    // More than fits the length is refused before anything is written.
    let mut out = Vec::new();
    let refused = Output::Length.append(1 << 32 | usize::from(size), &mut out, |_| panic!("it was written"));
    assert!(matches!(refused, Err(FrameError::Length { .. })) && out.is_empty());
}

/// Reads all of a stream; `None` if it cannot be cut so.
fn cut(stream: &[u8], framing: Input, max: u64, pieces: u8) -> Option<Vec<Vec<u8>>> {
    let (expected, whole) = plainly(stream, framing, max);
    let input = Pieces { rest: stream, state: pieces, reads: 0 };
    // Small, so that messages are longer than it.
    let buffer = 16 + usize::from(pieces) / 2;
    let mut reader = match FrameReader::with_buffer(buffer, input, framing, max) {
        Ok(reader) => reader,
        Err(error) => {
            assert!(
                matches!((&error, framing), (FrameError::Chunk { .. }, Input::Chunk(size)) if size > max)
            );
            told_in_one_line(&error);
            return None;
        }
    };
    let (mut messages, mut message) = (Vec::new(), Vec::new());
    let error = loop {
        let (ready, reads) = (reader.ready(), reader.get_ref().reads);
        let read = reader.read(&mut message);
        assert!(!ready || reader.get_ref().reads == reads, "it was ready and has touched the stream");
        // Memory grows with what comes, not with what is announced.
        assert!(message.capacity() <= 4 * stream.len() + 4096, "{} bytes", message.capacity());
        match read {
            Ok(true) => messages.push(message.clone()),
            Ok(false) => break None,
            Err(error) => break Some(error),
        }
    };
    assert_eq!(messages, expected);
    assert_eq!(error.is_none(), whole, "{error:?}");
    match error {
        Some(error) => told_in_one_line(&error),
        None => assert_eq!(reader.offset(), stream.len() as u64),
    }
    whole.then_some(messages)
}

/// The messages before the first that cannot be read, and whether those are all.
fn plainly(stream: &[u8], framing: Input, max: u64) -> (Vec<Vec<u8>>, bool) {
    let mut messages = Vec::new();
    let mut rest = stream;
    while !rest.is_empty() {
        let (message, next) = match framing {
            Input::Lines => {
                let end = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
                (&rest[..end], &rest[rest.len().min(end + 1)..])
            }
            Input::Length => {
                let Some((length, body)) = rest.split_first_chunk() else { return (messages, false) };
                let length = u32::from_le_bytes(*length) as usize;
                if length > body.len() {
                    return (messages, false);
                }
                body.split_at(length)
            }
            Input::Chunk(size) => rest.split_at(rest.len().min(size as usize)),
        };
        if message.len() as u64 > max {
            return (messages, false);
        }
        messages.push(message.to_vec());
        rest = next;
    }
    (messages, true)
}

/// Writes the messages and reads them again.
fn come_back(messages: &[Vec<u8>], output: Output, pieces: u8) {
    let mut out = Vec::new();
    for message in messages {
        output.append(message.len(), &mut out, |out| out.extend_from_slice(message)).expect("short messages");
    }
    let longest = messages.iter().map(Vec::len).max().unwrap_or(0) as u64;
    match output {
        Output::Lines if messages.iter().any(|message| message.contains(&b'\n')) => {}
        Output::Lines => assert_eq!(cut(&out, Input::Lines, longest, pieces).as_deref(), Some(messages)),
        Output::Length => assert_eq!(cut(&out, Input::Length, longest, pieces).as_deref(), Some(messages)),
        Output::Raw => assert_eq!(out, messages.concat()),
    }
}

fn told_in_one_line(error: &FrameError) {
    let text = error.to_string();
    assert!(!text.contains(char::is_control), "{text:?}");
}

/// A stream that comes in pieces, with interruptions.
struct Pieces<'a> {
    rest: &'a [u8],
    state: u8,
    reads: u32,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reads += 1;
        self.state = self.state.wrapping_mul(5).wrapping_add(13);
        let most = match self.state {
            0..8 => return Err(io::ErrorKind::Interrupted.into()),
            8..128 => usize::from(self.state % 8) + 1,
            _ => buffer.len(),
        };
        let length = most.min(buffer.len()).min(self.rest.len());
        let (piece, rest) = self.rest.split_at(length);
        buffer[..length].copy_from_slice(piece);
        self.rest = rest;
        Ok(length)
    }
}

/// A value of the command line, or the words of a whole one, line by line.
pub(crate) fn arguments(data: &[u8]) {
    let Some((&kind, rest)) = data.split_first() else { return };
    if kind % 8 == 7 {
        return command_line(rest);
    }
    let text = &*String::from_utf8_lossy(rest);
    match kind % 8 {
        0 | 1 => assert_eq!(args::size(text).ok(), size(text), "{text:?}"),
        2 | 3 => assert_eq!(args::time(text).ok(), time(text), "{text:?}"),
        4 => assert_eq!(args::mode(text).ok(), mode(text), "{text:?}"),
        _ => {
            let chunk = text.strip_prefix("chunk=").and_then(size).filter(|&size| size > 0);
            let expected = match text {
                "lines" => Some(Input::Lines),
                "length" => Some(Input::Length),
                _ => chunk.map(Input::Chunk),
            };
            assert_eq!(text.parse::<Input>().ok(), expected, "{text:?}");
        }
    }
}

/// Digits and a unit of that many; `None` for anything else and for more than a word holds.
fn product(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.trim_end_matches(|char: char| !char.is_ascii_digit());
    let (_, unit) = units.iter().find(|(unit, _)| *unit == &text[digits.len()..])?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let mut number: u128 = 0;
    for digit in digits.bytes() {
        number = (number * 10 + u128::from(digit - b'0')).min(u128::from(u64::MAX) + 1);
    }
    u64::try_from(number * u128::from(*unit)).ok()
}

fn size(text: &str) -> Option<u64> {
    product(text, &[("", 1), ("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)])
}

fn time(text: &str) -> Option<Duration> {
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    product(text, &units).map(Duration::from_millis)
}

fn mode(text: &str) -> Option<u32> {
    let significant = text.trim_start_matches('0');
    let octal =
        !text.is_empty() && significant.len() <= 3 && text.bytes().all(|byte| (b'0'..b'8').contains(&byte));
    octal.then(|| significant.bytes().fold(0, |mode, digit| mode << 3 | u32::from(digit - b'0')))
}

/// Words line by line: understood or refused, with a text.
fn command_line(bytes: &[u8]) {
    thread_local! {
        static COMMAND: RefCell<clap::Command> = RefCell::new(Cli::command());
    }
    let words = bytes.split(|&byte| byte == b'\n').map(|word| OsString::from_vec(word.to_vec()));
    let words = std::iter::once(OsString::from("sysring")).chain(words);
    let result = COMMAND.with_borrow_mut(|command| {
        command
            .try_get_matches_from_mut(words)
            .and_then(|mut matches| Cli::from_arg_matches_mut(&mut matches))
    });
    if let Err(error) = result {
        assert!(!error.to_string().is_empty());
    }
}

#[cfg(test)]
#[path = "../../../tests/common/replay.rs"]
mod replay;

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{arguments, framing, replay::replay};

    fn corpus(target: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target)
    }

    #[test]
    fn streams_in_any_framing() {
        replay(&corpus("framing"), framing);
    }

    #[test]
    fn words_of_a_command_line() {
        replay(&corpus("arguments"), arguments);
    }
}
