//! A parent and its children over an anonymous channel, which only they can reach.
//!
//! ```text
//! cargo run --example fork -- [CHILDREN [MESSAGES]]   # 3 and 2 if not given
//! ```
//!
//! The children inherit both ends. An end takes its seat at its first use, in the process that uses
//! it, so that each child becomes a sender of its own. Nothing has to be removed: the memory goes
//! with the last process.
#![allow(unsafe_code, reason = "fork, which the standard library does not have")]

use std::error::Error;
use std::io;

use sysring::{EndOfStream, Sender};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let children: u32 = arguments.next().map_or(Ok(3), |number| number.parse())?;
    let messages: u32 = arguments.next().map_or(Ok(2), |number| number.parse())?;

    let (mut tx, mut rx) = sysring::mpsc().senders(children).pair()?;
    let stats = rx.stats()?;
    println!("segment {}, semaphore set {}", stats.id, stats.semaphore_set);

    let mut pids = Vec::new();
    for child in 1..=children {
        // SAFETY: this program has one thread, so the child finds no lock taken by another one.
        let pid = unsafe { libc::fork() };
        match pid {
            -1 => return Err(io::Error::last_os_error().into()),
            0 => {
                let code = i32::from(speak(&mut tx, child, messages).is_err());
                // SAFETY: ends the child at once, without running what the parent has yet to run:
                // destructors, exit handlers, the rest of `main`. The kernel frees the seat.
                unsafe { libc::_exit(code) };
            }
            pid => pids.push(pid),
        }
    }
    drop(tx);

    // Not when there is no sender for a moment, but when every child has come and gone.
    rx.set_end(EndOfStream::AfterSenders(children.into()));
    for message in rx.iter() {
        println!("{}", String::from_utf8_lossy(&message?));
    }
    for pid in pids {
        let mut status = 0;
        // SAFETY: waits for a child made above; `status` is an integer of ours.
        let waited = unsafe { libc::waitpid(pid, &mut status, 0) };
        if waited != pid || status != 0 {
            return Err(format!("child {pid} ended with status {status:#x}").into());
        }
    }
    Ok(())
}

fn speak(tx: &mut Sender, child: u32, messages: u32) -> Result<(), Box<dyn Error>> {
    // Also a child that has nothing to say comes and goes.
    tx.attach()?;
    for number in 1..=messages {
        tx.send(format!("child {child}: message {number} of {messages}"))?;
    }
    Ok(())
}
