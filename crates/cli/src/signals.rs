//! SIGINT and SIGTERM end a transfer cleanly.
//!
//! A thread waits for the signal, notes it and interrupts the main thread, which then winds up and exits: in a channel
//! call by its interrupter, in front of a pipe or a terminal by the end of a pipe of our own that is polled beside it
//! ([`until_ready`]). A main thread that still cannot hear, because it writes to a socket or a stuck disk, is not waited
//! for: the kernel gives its seat back at the exit, as it does after a kill, so the channel stays consistent.

use std::io::{self, PipeReader};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::process;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use sysring::Interrupter;

use crate::exit::{FAILURE, Failure};

/// How long the main thread may take to wind up.
const GRACE: Duration = Duration::from_millis(500);

/// The signal that came; 0 until one does.
static NOTED: AtomicI32 = AtomicI32::new(0);

/// What wakes the main thread, once it has a handle of the channel.
static INTERRUPTER: Mutex<Option<Interrupter>> = Mutex::new(None);

/// Ends when a signal comes: what a thread polls that waits for something else.
static WAKE: OnceLock<PipeReader> = OnceLock::new();

/// Somebody has begun to say how it ended.
static SAID: AtomicBool = AtomicBool::new(false);

/// From here on the two signals are noted instead of ending the process on the spot.
pub(crate) fn watch() -> Result<(), Failure> {
    start().map_err(|error| Failure::new(FAILURE, format!("cannot watch for signals: {error}")))
}

fn start() -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let (wake, held) = io::pipe()?;
    // Watched once in the life of a process.
    let _ = WAKE.set(wake);
    thread::Builder::new().name("signals".into()).spawn(move || {
        if let Some(signal) = signals.forever().next() {
            NOTED.store(signal, Ordering::SeqCst);
            if let Some(interrupter) = interrupter().as_ref() {
                interrupter.interrupt();
            }
            drop(held);
            thread::sleep(GRACE);
            if has_last_word() {
                let failure = Failure::interrupted();
                let status = failure.status();
                failure.say();
                process::exit(status.into());
            }
            // The main thread is saying it, and may be stuck in that.
            thread::sleep(GRACE);
            process::exit(128 + signal);
        }
    })?;
    Ok(())
}

/// A signal interrupts the calls of this handle; also one that came before.
pub(crate) fn interrupts(handle: Interrupter) {
    let mut slot = interrupter();
    if noted() {
        handle.interrupt();
    }
    *slot = Some(handle);
}

/// Whether one of the signals came.
pub(crate) fn noted() -> bool {
    NOTED.load(Ordering::SeqCst) != 0
}

/// Waits until this can be read from or written to without blocking; false if a signal came first, or before.
pub(crate) fn until_ready(fd: BorrowedFd<'_>, events: PollFlags) -> io::Result<bool> {
    loop {
        if noted() {
            return Ok(false);
        }
        let mut fds = vec![PollFd::new(fd, events)];
        fds.extend(WAKE.get().map(|wake| PollFd::new(wake.as_fd(), PollFlags::POLLIN)));
        match poll(&mut fds, PollTimeout::NONE) {
            // An error or a hang-up is for the call that follows to report.
            Ok(_) if fds[0].any() != Some(false) => return Ok(true),
            Ok(_) => {}
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Whether the caller is the one to say how it ended. True once.
pub(crate) fn has_last_word() -> bool {
    !SAID.swap(true, Ordering::SeqCst)
}

/// The signal that came.
pub(crate) fn name() -> &'static str {
    if NOTED.load(Ordering::SeqCst) == SIGTERM { "SIGTERM" } else { "SIGINT" }
}

/// 130 after SIGINT, 143 after SIGTERM.
pub(crate) fn exit_status() -> u8 {
    let signal = match NOTED.load(Ordering::SeqCst) {
        0 => SIGINT,
        noted => noted,
    };
    u8::try_from(128 + signal).unwrap_or(FAILURE)
}

fn interrupter() -> MutexGuard<'static, Option<Interrupter>> {
    INTERRUPTER.lock().unwrap_or_else(PoisonError::into_inner)
}
