//! What is tried and not only asked for: a message through a channel, and the death of a process that has a seat.

use std::io::{self, Read as _};
use std::process::{self, Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sysring::{Address, Observer, OpenError, OpenErrorKind, system};

use crate::exit::{FAILURE, Failure};

/// How long anything may take that takes far below a second.
const PATIENCE: Duration = Duration::from_secs(5);

/// What came out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SelfTests {
    /// How long a message took through an anonymous channel of this process; else what failed.
    pub(super) message: Result<Duration, String>,
    /// Whether the kernel gave back what a killed process had.
    pub(super) undo: Undo,
    /// Whether `membarrier` can be used; else what the kernel answered.
    pub(super) membarrier: Result<bool, String>,
}

/// Whether the kernel undoes the semaphore operations of processes that end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Undo {
    /// So long after the kill the seat was free.
    Works(Duration),
    /// It does not: why we think so.
    Broken(String),
    /// Something else stood in the way.
    Untried(String),
}

pub(super) fn run() -> SelfTests {
    SelfTests {
        message: message(),
        undo: undo(),
        membarrier: system::membarrier().map_err(|error| error.to_string()),
    }
}

fn message() -> Result<Duration, String> {
    let text = |error: &dyn std::error::Error| error.to_string();
    let (mut sender, mut receiver) = sysring::spsc().capacity(4096).pair().map_err(|error| text(&error))?;
    // Takes the seats, which is no part of a message's way.
    sender.attach().and_then(|()| receiver.attach()).map_err(|error| text(&error))?;
    let sent: Vec<u8> = (0..=u8::MAX).collect();
    let start = Instant::now();
    sender.send_timeout(&sent, PATIENCE).map_err(|error| error.to_string())?;
    let received = receiver.recv_timeout(PATIENCE).map_err(|error| text(&error))?.to_vec();
    let took = start.elapsed();
    if received == sent { Ok(took) } else { Err("a message came out changed".into()) }
}

/// A channel that goes at the end.
struct Channel(Address);

impl Drop for Channel {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = sysring::remove(self.0.clone());
    }
}

/// A process that dies with this one, by the end of its stdin, or by a kill.
struct Victim(Child);

impl Drop for Victim {
    fn drop(&mut self) {
        // It may have been killed and waited for long ago.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn undo() -> Undo {
    // A name that no other process comes to, whatever pid namespace it is in.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let name = format!("sysring-doctor-{}-{}", process::id(), now.as_nanos());
    let unsuited = |error: &OpenError| match error.kind() {
        OpenErrorKind::Unsupported => Undo::Broken(error.to_string()),
        _ => Undo::Untried(error.to_string()),
    };
    let channel = match sysring::spsc().capacity(4096).create(name.as_str()) {
        Ok(channel) => channel,
        Err(error) => return unsuited(&error),
    };
    let _removal = Channel(name.as_str().into());
    let ready = channel.receiver().and_then(|receiver| Ok((receiver, Observer::open(name.as_str())?)));
    let (mut receiver, observer) = match ready {
        Ok(ready) => ready,
        Err(error) => return unsuited(&error),
    };
    let mut victim = match start_victim(&name) {
        Ok(victim) => victim,
        Err(error) => return Undo::Untried(format!("a process could not be started: {error}")),
    };
    if let Err(error) = receiver.recv_timeout(PATIENCE) {
        return Undo::Untried(format!("nothing came from the process that was started: {error}"));
    }
    match observer.sender_alive(0) {
        Ok(true) => {}
        Ok(false) => return Undo::Untried("the process that was started has gone by itself".into()),
        Err(error) => return unsuited(&error),
    }
    if let Err(error) = victim.0.kill() {
        return Undo::Untried(format!("a process could not be killed: {error}"));
    }
    watch(&observer, Instant::now())
}

/// Waits until the kernel says that the victim's seat is free.
fn watch(observer: &Observer, killed: Instant) -> Undo {
    loop {
        match observer.sender_alive(0) {
            Ok(false) => return Undo::Works(killed.elapsed()),
            Ok(true) if killed.elapsed() < PATIENCE => thread::yield_now(),
            Ok(true) => {
                return Undo::Broken(format!("a killed process still has its seat after {PATIENCE:?}"));
            }
            Err(error) => return Undo::Untried(error.to_string()),
        }
    }
}

fn start_victim(name: &str) -> io::Result<Victim> {
    // This very program, also if its file was replaced since.
    let mut command = Command::new("/proc/self/exe");
    command.args(["doctor", "--victim", name]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().map(Victim)
}

/// What the process does that is to be killed: it takes the sender's seat, says so, and waits.
pub(super) fn victim(address: &Address) -> Result<(), Failure> {
    let mut sender = sysring::spsc().open(address.clone())?.sender()?;
    sender.send("here").map_err(|error| Failure::send(address, &error))?;
    let waited = io::stdin().read_to_end(&mut Vec::new());
    waited.map(drop).map_err(|error| Failure::new(FAILURE, format!("doctor: reading stdin: {error}")))
}
