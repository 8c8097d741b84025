//! Where received messages go: stdout or a file, and how many of them are there whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::poll::PollFlags;
use sysring::{BatchMessage, RecvBatch};

use crate::exit::{FAILURE, Failure, errno};
use crate::framing::{FrameError, Output};
use crate::signals;

/// Written at once.
pub(crate) const BLOCK: usize = 128 << 10;
/// Bytes that framing adds to a message at most.
const FRAME: usize = 4;

/// A file, or standard output without the line buffer that `std` puts before it.
pub(crate) struct Sink {
    file: File,
    /// Of a file, not of stdout.
    path: Option<PathBuf>,
    /// Its bytes can be taken back.
    regular: bool,
    /// It was made here.
    created: bool,
    framing: Output,
    buffer: Vec<u8>,
    /// Where each message in the buffer ends.
    ends: Vec<usize>,
}

/// Some messages of a batch could not be written.
#[derive(Debug)]
pub(crate) struct Cut {
    /// So many before them are written whole.
    pub(crate) whole: usize,
    pub(crate) why: Why,
}

#[derive(Debug)]
pub(crate) enum Why {
    /// A signal came; so many bytes of the next message's frame, of how many, are written all the same.
    Interrupted(Option<(usize, usize)>),
    Write(io::Error),
    Frame(FrameError),
    /// For a message of so many bytes.
    NoMemory(usize),
}

impl Sink {
    pub(crate) fn stdout(framing: Output) -> Result<Self, Failure> {
        let stdout = io::stdout().as_fd().try_clone_to_owned();
        let file = File::from(stdout.map_err(|error| Failure::stdout(&error))?);
        Ok(Self::new(patient(file), framing))
    }

    /// A file, made if there is none. What it holds is kept until [`Sink::empty`].
    pub(crate) fn file(path: &Path, append: bool, framing: Output) -> Result<Self, Failure> {
        let failed = |error: io::Error| {
            let (path, why) = (path.display(), errno(&error));
            Failure::new(FAILURE, format!("cannot open {path} for writing: {why}; nothing was received"))
        };
        let open = |new: bool| OpenOptions::new().write(true).append(append).create_new(new).open(path);
        let (file, created) = match open(false) {
            Ok(file) => (file, false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => match open(true) {
                Ok(file) => (file, true),
                // A link that leads to a file that is not there: as a shell does, make that.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    let made =
                        OpenOptions::new().write(true).append(append).create(true).truncate(false).open(path);
                    (made.map_err(failed)?, false)
                }
                Err(error) => return Err(failed(error)),
            },
            Err(error) => return Err(failed(error)),
        };
        let regular = file.metadata().map_err(failed)?.is_file();
        let path = Some(path.to_owned());
        Ok(Self { path, regular, created, ..Self::new(patient(file), framing) })
    }

    fn new(file: File, framing: Output) -> Self {
        let (buffer, ends) = (Vec::new(), Vec::new());
        Self { file, path: None, regular: false, created: false, framing, buffer, ends }
    }

    /// Drops what the file held before.
    pub(crate) fn empty(&mut self) -> Result<(), Failure> {
        if self.regular {
            self.file.set_len(0).map_err(|error| {
                Failure::new(FAILURE, format!("emptying {}: {}", self.name(), errno(&error)))
            })?;
        }
        Ok(())
    }

    /// Nothing will be written: a file that was made for it goes, one that was there stays as it is.
    pub(crate) fn discard(self) {
        if let Some(path) = self.path.filter(|_| self.created) {
            // An empty file that stays does no harm.
            let _ = fs::remove_file(path);
        }
    }

    pub(crate) fn is_stdout(&self) -> bool {
        self.path.is_none()
    }

    /// What it is called in a report.
    pub(crate) fn name(&self) -> String {
        self.path.as_ref().map_or_else(|| "stdout".into(), |path| path.display().to_string())
    }

    /// Writes every message of the batch and says how many bytes that were.
    pub(crate) fn write_batch(&mut self, batch: &RecvBatch<'_>) -> Result<usize, Cut> {
        let (mut whole, mut bytes) = (0, 0);
        for message in batch.iter() {
            if let Err(why) = self.append(&message) {
                self.flush(&mut whole, &mut bytes)?;
                return Err(Cut { whole, why });
            }
            if self.buffer.len() >= BLOCK {
                self.flush(&mut whole, &mut bytes)?;
            }
        }
        self.flush(&mut whole, &mut bytes)?;
        Ok(bytes)
    }

    fn append(&mut self, message: &BatchMessage<'_>) -> Result<(), Why> {
        let len = message.len();
        self.buffer.try_reserve(len.saturating_add(FRAME)).map_err(|_| Why::NoMemory(len))?;
        self.framing.append(len, &mut self.buffer, |out| message.append_to(out)).map_err(Why::Frame)?;
        self.ends.push(self.buffer.len());
        Ok(())
    }

    /// Writes the buffer; adds the messages that are whole, and the bytes.
    fn flush(&mut self, whole: &mut usize, bytes: &mut usize) -> Result<(), Cut> {
        let (written, outcome) = write_all(&mut self.file, &self.buffer);
        let before = self.ends.partition_point(|end| *end <= written);
        let begun = before.checked_sub(1).map_or(0, |last| self.ends[last]);
        let part = written - begun;
        *whole += before;
        *bytes += written;
        let why = match outcome {
            Ok(true) => None,
            Ok(false) => {
                let frame = self.ends.get(before).map(|end| end - begun);
                Some(Why::Interrupted(frame.map(|frame| (part, frame)).filter(|(part, _)| *part > 0)))
            }
            Err(error) => {
                if part > 0 {
                    self.take_back(part);
                }
                Some(Why::Write(error))
            }
        };
        self.buffer.clear();
        self.ends.clear();
        match why {
            None => Ok(()),
            Some(why) => Err(Cut { whole: *whole, why }),
        }
    }

    /// A frame that did not fit on the disk is taken back as far as it went.
    fn take_back(&mut self, part: usize) {
        if !self.regular {
            return;
        }
        // Where this fails as well, the file ends with a part of a frame, and the error is told anyway.
        if let Ok(end) = self.file.stream_position()
            && let Some(end) = end.checked_sub(part as u64)
            && self.file.set_len(end).is_ok()
        {
            let _ = self.file.seek(SeekFrom::Start(end));
        }
    }
}

/// How many bytes were written, and whether that is all; not all without an error after a signal.
fn write_all(file: &mut File, bytes: &[u8]) -> (usize, io::Result<bool>) {
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                match signals::until_ready(file.as_fd(), PollFlags::POLLOUT) {
                    Ok(true) => {}
                    Ok(false) => return (written, Ok(false)),
                    Err(error) => return (written, Err(error)),
                }
            }
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(true))
}

/// A pipe, opened once more so that a write does not block in it, where a signal could not end it nor anybody tell how
/// much was written. The flag is that of this opening alone: whoever else has the pipe does not notice. Anything else,
/// and a pipe that may not be opened, is given back as it came.
fn patient(file: File) -> File {
    let is_pipe = file.metadata().is_ok_and(|metadata| metadata.file_type().is_fifo());
    if !is_pipe {
        return file;
    }
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let again = OpenOptions::new().write(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path);
    again.unwrap_or(file)
}
