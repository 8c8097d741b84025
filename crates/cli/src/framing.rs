//! Where a message begins and ends in a stream of bytes. Nothing here knows a channel.

use std::fmt;
use std::io::{self, BufRead as _, BufReader, Read};
use std::str::FromStr;

use clap::ValueEnum;

use crate::{args, exit};

/// Large enough that reading costs little, small enough to stay in the cache.
const BUFFER: usize = 256 << 10;

/// Bytes of a length before a message.
const LENGTH: usize = 4;

/// How `send` cuts its input into messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// One message a line, without its newline; the last line needs none.
    Lines,
    /// A 4-byte little-endian length, then the message.
    Length,
    /// So many bytes each; the last may be shorter.
    Chunk(u64),
}

impl FromStr for Input {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            None if text == "lines" => Ok(Self::Lines),
            None if text == "length" => Ok(Self::Length),
            Some(("chunk", size)) => match args::size(size)? {
                0 => Err("a chunk has at least one byte".into()),
                size => Ok(Self::Chunk(size)),
            },
            _ => Err("a framing is lines, length or chunk=SIZE".into()),
        }
    }
}

/// How `recv` writes messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Each message and a newline.
    Lines,
    /// A 4-byte little-endian length before each message.
    Length,
    /// The bytes as they are.
    Raw,
}

impl Output {
    /// Appends one message of `len` bytes to `out`; `body` appends the message itself.
    pub(crate) fn append(
        self,
        len: usize,
        out: &mut Vec<u8>,
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), FrameError> {
        if self == Self::Length {
            let len = u32::try_from(len).map_err(|_| FrameError::Length { len: len as u64 })?;
            out.extend_from_slice(&len.to_le_bytes());
        }
        body(out);
        if self == Self::Lines {
            out.push(b'\n');
        }
        Ok(())
    }
}

/// Why the input cannot be cut, or a message not be written.
#[derive(Debug)]
pub(crate) enum FrameError {
    Read(io::Error),
    /// A line or a chunk is longer than a message may be.
    Line {
        line: u64,
        max: u64,
    },
    Chunk {
        size: u64,
        max: u64,
    },
    /// The length at this offset is more than a message may have.
    Announced {
        offset: u64,
        len: u64,
        max: u64,
    },
    /// The input ended inside the frame that begins at this offset.
    Truncated {
        offset: u64,
        needed: u64,
        given: u64,
    },
    /// A message too long for a 4-byte length.
    Length {
        len: u64,
    },
}

impl From<io::Error> for FrameError {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "reading the input: {}", exit::errno(error)),
            Self::Line { line, max } => write!(
                f,
                "line {line} is longer than the channel's longest message ({max} bytes); \
                 create the channel with a larger --max-message or use --framing chunk=SIZE"
            ),
            Self::Chunk { size, max } => write!(
                f,
                "a chunk of {size} bytes is longer than the channel's longest message \
                 ({max} bytes); use a smaller chunk or create the channel with a larger \
                 --max-message"
            ),
            Self::Announced { offset, len, max } => write!(
                f,
                "the frame at byte {offset} announces {len} bytes, more than the channel's \
                 longest message ({max} bytes); is the input in length framing?"
            ),
            Self::Truncated { offset, needed, given } => write!(
                f,
                "the frame at byte {offset} is truncated: {needed} bytes belong to it, {given} \
                 are there"
            ),
            Self::Length { len } => {
                write!(f, "a message of {len} bytes does not fit length framing; use --framing raw")
            }
        }
    }
}

/// Reads messages from a stream.
#[derive(Debug)]
pub(crate) struct FrameReader<R> {
    input: BufReader<R>,
    framing: Input,
    max: u64,
    /// Bytes read so far.
    offset: u64,
    /// Lines read so far.
    lines: u64,
}

impl<R: Read> FrameReader<R> {
    /// No message is longer than `max`.
    pub(crate) fn new(input: R, framing: Input, max: u64) -> Result<Self, FrameError> {
        Self::with_buffer(BUFFER, input, framing, max)
    }

    /// The same with a buffer of so many bytes.
    pub(crate) fn with_buffer(buffer: usize, input: R, framing: Input, max: u64) -> Result<Self, FrameError> {
        match framing {
            Input::Chunk(size) if size > max => Err(FrameError::Chunk { size, max }),
            _ => {
                let input = BufReader::with_capacity(buffer, input);
                Ok(Self { input, framing, max, offset: 0, lines: 0 })
            }
        }
    }

    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn get_ref(&self) -> &R {
        self.input.get_ref()
    }

    /// Whether [`read`](Self::read) has all it needs: it will not touch the stream, which may block.
    pub(crate) fn ready(&self) -> bool {
        let bytes = self.input.buffer();
        match self.framing {
            Input::Lines => memchr::memchr(b'\n', bytes).is_some(),
            Input::Length => match bytes.split_first_chunk::<LENGTH>() {
                Some((len, rest)) => {
                    let len = u64::from(u32::from_le_bytes(*len));
                    len > self.max || len <= rest.len() as u64
                }
                None => false,
            },
            Input::Chunk(size) => size <= bytes.len() as u64,
        }
    }

    /// Reads one message into `message`, whose old content is dropped; false at the end.
    pub(crate) fn read(&mut self, message: &mut Vec<u8>) -> Result<bool, FrameError> {
        message.clear();
        match self.framing {
            Input::Lines => self.read_line(message),
            Input::Length => self.read_length(message),
            Input::Chunk(size) => Ok(self.read_up_to(size, message)? > 0),
        }
    }

    fn read_line(&mut self, message: &mut Vec<u8>) -> Result<bool, FrameError> {
        let limit = self.max.saturating_add(1);
        let read = self.input.by_ref().take(limit).read_until(b'\n', message)? as u64;
        self.offset += read;
        self.lines += 1;
        if message.last() == Some(&b'\n') {
            message.pop();
        } else if read > self.max {
            return Err(FrameError::Line { line: self.lines, max: self.max });
        }
        Ok(read > 0)
    }

    fn read_length(&mut self, message: &mut Vec<u8>) -> Result<bool, FrameError> {
        let offset = self.offset;
        let given = self.read_up_to(LENGTH as u64, message)?;
        let len = match message.first_chunk::<LENGTH>() {
            Some(bytes) => u64::from(u32::from_le_bytes(*bytes)),
            None if given == 0 => return Ok(false),
            None => {
                return Err(FrameError::Truncated { offset, needed: LENGTH as u64, given });
            }
        };
        if len > self.max {
            return Err(FrameError::Announced { offset, len, max: self.max });
        }
        message.clear();
        let given = self.read_up_to(len, message)?;
        if given < len {
            return Err(FrameError::Truncated { offset, needed: len, given });
        }
        Ok(true)
    }

    /// Appends `len` bytes, or what is left of the stream. Memory grows with what really comes.
    fn read_up_to(&mut self, len: u64, message: &mut Vec<u8>) -> Result<u64, FrameError> {
        let read = self.input.by_ref().take(len).read_to_end(message)? as u64;
        self.offset += read;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(bytes: &[u8], framing: Input, max: u64) -> Result<Vec<Vec<u8>>, FrameError> {
        let mut reader = FrameReader::new(bytes, framing, max)?;
        let mut message = Vec::new();
        let mut all = Vec::new();
        while reader.read(&mut message)? {
            all.push(message.clone());
        }
        assert_eq!(reader.offset(), bytes.len() as u64);
        Ok(all)
    }

    fn strings(messages: &[Vec<u8>]) -> Vec<&str> {
        messages.iter().map(|message| std::str::from_utf8(message).unwrap()).collect()
    }

    fn length_frames(messages: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        for message in messages {
            let body = |out: &mut Vec<u8>| out.extend_from_slice(message);
            Output::Length.append(message.len(), &mut out, body).unwrap();
        }
        out
    }

    /// A stream that gives its pieces one by one, then fails.
    struct Pieces(Vec<&'static [u8]>);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Err(io::Error::other("would block"));
            }
            let piece = self.0.remove(0);
            buffer[..piece.len()].copy_from_slice(piece);
            Ok(piece.len())
        }
    }

    #[test]
    fn lines_lose_their_newline_and_the_last_needs_none() {
        let lines = read_all(b"one\n\n three \nlast", Input::Lines, 8).unwrap();
        assert_eq!(strings(&lines), ["one", "", " three ", "last"]);
        assert_eq!(read_all(b"a\n", Input::Lines, 8).unwrap().len(), 1);
        assert!(read_all(b"", Input::Lines, 8).unwrap().is_empty());
    }

    #[test]
    fn a_line_may_be_as_long_as_a_message_and_no_longer() {
        assert_eq!(read_all(b"12345678\n12345678", Input::Lines, 8).unwrap().len(), 2);
        for text in [&b"ok\n123456789\n"[..], b"ok\n123456789"] {
            match read_all(text, Input::Lines, 8) {
                Err(error @ FrameError::Line { line: 2, max: 8 }) => {
                    assert!(error.to_string().starts_with("line 2 is longer"), "{error}");
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn lines_longer_than_the_buffer() {
        let text = [vec![b'x'; 3 * BUFFER], vec![b'y'; BUFFER]].join(&b'\n');
        let lines = read_all(&text, Input::Lines, 4 * BUFFER as u64).unwrap();
        assert_eq!(lines.iter().map(Vec::len).collect::<Vec<_>>(), [3 * BUFFER, BUFFER]);
    }

    #[test]
    fn length_frames_carry_any_bytes() {
        let messages: [&[u8]; 5] = [b"", b"a\nb", &[0; 300], b"", &[255, 0, 10, 13]];
        let read = read_all(&length_frames(&messages), Input::Length, 300).unwrap();
        assert_eq!(read, messages);
        assert!(read_all(b"", Input::Length, 300).unwrap().is_empty());
    }

    #[test]
    fn a_truncated_frame_names_its_offset() {
        let mut bytes = length_frames(&[b"whole", b"broken"]);
        bytes.pop();
        match read_all(&bytes, Input::Length, 100) {
            Err(error @ FrameError::Truncated { offset: 9, needed: 6, given: 5 }) => {
                assert!(error.to_string().contains("at byte 9"), "{error}");
            }
            other => panic!("{other:?}"),
        }
        let broken = read_all(&bytes[..11], Input::Length, 100);
        assert!(matches!(broken, Err(FrameError::Truncated { offset: 9, needed: 4, given: 2 })));
    }

    #[test]
    fn a_length_beyond_the_maximum_is_refused_before_anything_is_read() {
        let mut message = Vec::new();
        let bytes = &[255, 255, 255, 255, 1, 2][..];
        let mut reader = FrameReader::new(bytes, Input::Length, 1 << 20).unwrap();
        let error = reader.read(&mut message).unwrap_err();
        assert!(matches!(error, FrameError::Announced { offset: 0, len: 0xffff_ffff, .. }));
        assert!(message.capacity() < 4096);
    }

    #[test]
    fn chunks_are_full_but_the_last() {
        let chunks = read_all(b"abcdefgh", Input::Chunk(3), 3).unwrap();
        assert_eq!(strings(&chunks), ["abc", "def", "gh"]);
        assert_eq!(read_all(b"abcdef", Input::Chunk(3), 3).unwrap().len(), 2);
        assert!(matches!(read_all(b"", Input::Chunk(4), 3), Err(FrameError::Chunk { size: 4, max: 3 })));
    }

    #[test]
    fn ready_means_that_reading_does_not_touch_the_stream() {
        let cases = [
            (Input::Lines, vec![&b"a\nbc\nrest"[..]]),
            (Input::Length, vec![&[1, 0, 0, 0, 9, 2, 0, 0, 0, 9, 9, 2, 0, 0, 0, 9][..]]),
            (Input::Chunk(2), vec![&b"aabbr"[..]]),
        ];
        for (framing, pieces) in cases {
            let mut message = Vec::new();
            let mut reader = FrameReader::new(Pieces(pieces), framing, 100).unwrap();
            assert!(!reader.ready());
            assert!(reader.read(&mut message).unwrap());
            assert!(reader.ready());
            assert!(reader.read(&mut message).unwrap());
            assert!(!reader.ready());
            assert!(matches!(reader.read(&mut message), Err(FrameError::Read(_))));
        }
    }

    #[test]
    fn output_framings() {
        let append = |framing: Output| {
            let mut out = Vec::new();
            for message in [&b"ab"[..], b""] {
                let body = |out: &mut Vec<u8>| out.extend_from_slice(message);
                framing.append(message.len(), &mut out, body).unwrap();
            }
            out
        };
        assert_eq!(append(Output::Lines), b"ab\n\n");
        assert_eq!(append(Output::Raw), b"ab");
        assert_eq!(append(Output::Length), b"\x02\0\0\0ab\0\0\0\0");
    }

    #[test]
    fn framings_are_read() {
        assert_eq!("lines".parse(), Ok(Input::Lines));
        assert_eq!("length".parse(), Ok(Input::Length));
        assert_eq!("chunk=64KiB".parse(), Ok(Input::Chunk(65536)));
        for bad in ["", "raw", "chunk", "chunk=", "chunk=0", "lines=3"] {
            assert!(bad.parse::<Input>().is_err(), "{bad}");
        }
    }
}
