//! One sender of the demo: this program, started again.
//!
//! It says `lane N` on stdout once it has its seat, sends until its stdin is closed, and says
//! `sent N` before it ends.

use std::io::{self, Read as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use sysring::Builder;

use super::message;
use crate::args::DemoSenderArgs;
use crate::exit::{FAILURE, Failure};
use crate::output;

/// Messages before the receiver is rung.
const BATCH: u64 = 64;

pub(crate) fn run(args: &DemoSenderArgs) -> Result<(), Failure> {
    let mut sender = Builder::default().open(args.name.clone())?.sender()?;
    let lane = sender.lane().ok_or_else(|| Failure::new(FAILURE, "demo: no seat"))?;
    output::print(&format!("lane {lane}\n"))?;

    let stop = stop_at_end_of_input();
    let mut message = Vec::new();
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut batch = sender.batch();
        for _ in 0..BATCH {
            message::write(args.number, sent, &mut message);
            batch.send(&message).map_err(|error| Failure::send(&args.name, &error))?;
            sent += 1;
        }
        batch.finish();
    }
    drop(sender);
    output::print(&format!("sent {sent}\n"))
}

/// Becomes true when stdin is closed, by the demo or by its death.
fn stop_at_end_of_input() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    thread::spawn(move || {
        // Any end will do, also an error.
        let _ = io::stdin().read_to_end(&mut Vec::new());
        told.store(true, Ordering::Relaxed);
    });
    stop
}
