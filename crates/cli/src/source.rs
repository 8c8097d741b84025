//! Where messages come from: stdin or a file, read so that a signal ends the wait for more.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::os::fd::AsFd as _;
use std::path::Path;

use nix::poll::PollFlags;

use crate::exit::{FAILURE, Failure, errno};
use crate::signals;

pub(crate) struct Source {
    file: File,
    /// Of a regular file.
    pub(crate) total: Option<u64>,
    /// Somebody types.
    pub(crate) is_typed: bool,
}

impl Source {
    /// Stdin without a file, or with `-`.
    pub(crate) fn open(file: Option<&Path>) -> Result<Self, Failure> {
        match file {
            Some(path) if path != Path::new("-") => {
                let failed = |error: io::Error| {
                    let (path, why) = (path.display(), errno(&error));
                    Failure::new(FAILURE, format!("cannot open {path}: {why}; nothing was sent"))
                };
                let file = File::open(path).map_err(failed)?;
                let metadata = file.metadata().map_err(failed)?;
                Ok(Self { file, total: metadata.is_file().then_some(metadata.len()), is_typed: false })
            }
            _ => {
                // Not through the buffer that `std` keeps: what waits there cannot be polled for.
                let stdin = io::stdin()
                    .as_fd()
                    .try_clone_to_owned()
                    .map_err(|error| Failure::new(FAILURE, format!("reading stdin: {}", errno(&error))))?;
                let file = File::from(stdin);
                let is_typed = file.is_terminal();
                Ok(Self { file, total: None, is_typed })
            }
        }
    }
}

impl Read for Source {
    /// Fails when a signal came: not with `Interrupted`, after which everybody reads again.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if signals::until_ready(self.file.as_fd(), PollFlags::POLLIN)? {
            self.file.read(buffer)
        } else {
            Err(io::Error::other("a signal came"))
        }
    }
}
