//! SIGINT and SIGTERM end a transfer cleanly.
//!
//! A thread waits for the signal, notes it and interrupts the channel call that may be blocked in
//! the main thread, which then winds up and exits. A main thread that cannot hear, because it
//! reads stdin or writes stdout, is not waited for: the kernel gives its seat back at the exit, as
//! it does after a kill, so the channel stays consistent.

use std::io;
use std::process;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

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

/// From here on the two signals are noted instead of ending the process on the spot.
pub(crate) fn watch() -> Result<(), Failure> {
    start().map_err(|error| Failure::new(FAILURE, format!("cannot watch for signals: {error}")))
}

fn start() -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        if let Some(signal) = signals.forever().next() {
            NOTED.store(signal, Ordering::SeqCst);
            if let Some(interrupter) = interrupter().as_ref() {
                interrupter.interrupt();
            }
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
