//! `sysring demo`: three sender processes, one receiver, one kill -9.
//!
//! The receiver is this process; the senders are this program again. On the way one sender is
//! killed. At the end every message must have been whole and in order, of the killed sender too,
//! and of the other two every message must have come.

mod check;
mod display;
mod message;
pub(crate) mod sender;
mod senders;

use std::process;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use sysring::{Address, Observer, Receiver, RecvError, RecvTimeoutError};

use crate::args::DemoArgs;
use crate::exit::{FAILURE, Failure};
use crate::output;
use crate::signals;

use check::Check;
use display::Display;
use senders::{Senders, Victim};

const SENDERS: usize = 3;
/// The sender that is killed.
const VICTIM: usize = 1;
const CAPACITY: u64 = 1 << 20;
/// Messages in a batch at most: few enough that the display stays live.
const BATCH: usize = 512;
/// How long a sender, alive or killed, may keep us waiting before the demo has failed.
const PATIENCE: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(100);

pub(crate) fn run(args: &DemoArgs) -> Result<(), Failure> {
    signals::watch()?;
    let address = Address::name(format!("sysring-demo-{}", process::id()));
    // Not persistent: should this process be killed, the senders do not wait for another.
    let builder = sysring::mpsc().senders(3).capacity(CAPACITY).persistent(false);
    let channel = builder.create(address.clone())?;
    let _removal = Removal(&address);
    let mut receiver = channel.receiver()?;
    signals::interrupts(receiver.interrupter());

    let outcome = play(Duration::from_secs(args.seconds), &address, &mut receiver)?;
    let printed = output::print(&outcome.summary());
    match outcome.fault() {
        // Whether anybody reads the summary or not.
        Some(fault) => Err(failed(&fault)),
        None => printed,
    }
}

/// The channel goes with the demo, however it ends.
struct Removal<'a>(&'a Address);

impl Drop for Removal<'_> {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = sysring::remove(self.0.clone());
    }
}

/// What the summary is about.
struct Outcome {
    check: Check,
    /// From just before the kill until the kernel said that the sender is gone.
    death: Duration,
    /// What the two survivors say they sent.
    sent: [Option<u64>; SENDERS],
    elapsed: Duration,
}

fn play(length: Duration, address: &Address, receiver: &mut Receiver) -> Result<Outcome, Failure> {
    let mut senders = Senders::start(address)?;
    let mut check = Check::new(senders.lanes());
    let mut display = Display::new(senders.pids());
    let started = Instant::now();

    let until_kill = started + length * 2 / 5;
    take_until(until_kill, receiver, &mut check, &mut display)?;
    let killing = kill(senders.take_victim()?, Observer::open(address.clone())?)?;
    display.killed();
    take_until(started + length, receiver, &mut check, &mut display)?;

    senders.stop();
    while take(PATIENCE, receiver, &mut check)? != Taken::End {
        display.update(&check);
    }
    let elapsed = started.elapsed();
    let death = killing.join().map_err(|_| failed("the thread that killed the sender died"))??;
    let sent = senders.finish()?;
    display.finish(&check);
    Ok(Outcome { check, death, sent, elapsed })
}

fn take_until(
    end: Instant,
    receiver: &mut Receiver,
    check: &mut Check,
    display: &mut Display,
) -> Result<(), Failure> {
    let mut last = Instant::now();
    loop {
        let now = Instant::now();
        if now >= end {
            return Ok(());
        }
        match take(TICK.min(end - now), receiver, check)? {
            Taken::Some => last = now,
            Taken::None if now - last < PATIENCE => {}
            Taken::None => return Err(failed("the senders send nothing")),
            Taken::End => return Err(failed("all senders have gone too early")),
        }
        display.update(check);
    }
}

#[derive(PartialEq, Eq)]
enum Taken {
    Some,
    None,
    End,
}

/// Takes and checks what comes within `patience`.
fn take(patience: Duration, receiver: &mut Receiver, check: &mut Check) -> Result<Taken, Failure> {
    if signals::noted() {
        return Err(Failure::interrupted());
    }
    match receiver.recv_batch_timeout(BATCH, patience) {
        Ok(batch) => {
            batch.iter().for_each(|message| check.message(&message));
            Ok(Taken::Some)
        }
        Err(RecvTimeoutError::Timeout) if patience >= PATIENCE => {
            Err(failed("a sender that was told to stop neither sends nor ends"))
        }
        Err(RecvTimeoutError::Timeout) => Ok(Taken::None),
        Err(RecvTimeoutError::Failed(RecvError::Disconnected)) => Ok(Taken::End),
        Err(RecvTimeoutError::Failed(RecvError::Interrupted)) => Err(Failure::interrupted()),
        Err(RecvTimeoutError::Failed(error)) => Err(failed(&error.to_string())),
    }
}

/// Kills the sender and watches until the kernel says that its seat is free.
fn kill(mut victim: Victim, observer: Observer) -> Result<JoinHandle<Result<Duration, Failure>>, Failure> {
    let watch = move || {
        let start = Instant::now();
        victim.kill().map_err(|error| failed(&format!("cannot kill a sender: {error}")))?;
        while observer.sender_alive(victim.lane())? {
            if start.elapsed() > PATIENCE {
                return Err(failed("the kernel does not report the death of the killed sender"));
            }
        }
        Ok(start.elapsed())
    };
    let thread = thread::Builder::new().name("kill".into()).spawn(watch);
    thread.map_err(|error| failed(&format!("cannot start a thread: {error}")))
}

fn failed(why: &str) -> Failure {
    Failure::new(FAILURE, format!("demo: {why}"))
}

impl Outcome {
    /// What did not hold.
    fn fault(&self) -> Option<String> {
        if let Some(fault) = self.check.fault() {
            return Some(fault.into());
        }
        let counts = self.check.counts();
        for (number, sent) in self.sent.iter().enumerate() {
            match *sent {
                Some(sent) if sent != counts[number] => {
                    return Some(format!(
                        "sender {} sent {sent} messages, {} came",
                        number + 1,
                        counts[number]
                    ));
                }
                None if number != VICTIM => {
                    return Some(format!("sender {} did not say what it sent", number + 1));
                }
                _ => {}
            }
            if counts[number] == 0 {
                return Some(format!("nothing came from sender {}", number + 1));
            }
        }
        None
    }

    fn summary(&self) -> String {
        let counts = self.check.counts();
        let mut text = String::from("\n");
        for (number, count) in counts.iter().enumerate() {
            let end = match self.sent[number] {
                Some(sent) => format!("it sent {}", display::count(sent)),
                None => "killed by SIGKILL on the way".into(),
            };
            text += &format!("sender {}: {} messages received ({end})\n", number + 1, display::count(*count));
        }
        let checked = match self.fault() {
            None => "every message was whole and in order, without a gap or a repetition".into(),
            Some(fault) => format!("FAILED: {fault}"),
        };
        let seconds = self.elapsed.as_secs_f64();
        let total: u64 = counts.iter().sum();
        text += &format!(
            "check: {checked}\n\
             death: the kernel reported it {:.3} ms after the kill\n\
             rate: {} messages in {seconds:.1} s: {} messages/s, {:.1} MB/s\n",
            self.death.as_secs_f64() * 1e3,
            display::count(total),
            display::count((total as f64 / seconds) as u64),
            self.check.bytes() as f64 / seconds / 1e6,
        );
        text
    }
}
