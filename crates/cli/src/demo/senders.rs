//! The demo's sender processes: start, kill, stop. None outlives the demo.

use std::env;
use std::io::{self, BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use sysring::Address;

use super::{SENDERS, VICTIM, failed};
use crate::exit::Failure;

pub(crate) struct Senders([Sender; SENDERS]);

/// The sender that is to be killed, apart from the others.
pub(crate) struct Victim {
    process: Process,
    lane: u32,
}

struct Sender {
    /// None once it was taken away or waited for.
    process: Option<Process>,
    lane: u32,
    pid: u32,
}

struct Process {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Senders {
    /// Starts them all and waits until each has its seat.
    pub(crate) fn start(address: &Address) -> Result<Self, Failure> {
        let mut processes = Vec::new();
        for number in 0..SENDERS {
            processes.push(spawn(address, number).map_err(|e| lost("start", number, &e))?);
        }
        let mut senders = Vec::new();
        for (number, mut process) in processes.into_iter().enumerate() {
            let lane = process.report("lane ").map_err(|e| lost("hear", number, &e))?;
            let lane = u32::try_from(lane).map_err(|_| failed("a sender has an unheard-of lane"))?;
            senders.push(Sender { pid: process.child.id(), process: Some(process), lane });
        }
        match senders.try_into() {
            Ok(senders) => Ok(Self(senders)),
            Err(_) => Err(failed("senders are missing")),
        }
    }

    pub(crate) fn lanes(&self) -> [u32; SENDERS] {
        self.0.each_ref().map(|sender| sender.lane)
    }

    pub(crate) fn pids(&self) -> [u32; SENDERS] {
        self.0.each_ref().map(|sender| sender.pid)
    }

    pub(crate) fn take_victim(&mut self) -> Result<Victim, Failure> {
        let Sender { process, lane, .. } = &mut self.0[VICTIM];
        match process.take() {
            Some(process) => Ok(Victim { process, lane: *lane }),
            None => Err(failed("the sender to be killed is missing")),
        }
    }

    /// Tells those that are left to stop: their stdin ends.
    pub(crate) fn stop(&mut self) {
        for process in self.0.iter_mut().filter_map(|sender| sender.process.as_mut()) {
            drop(process.child.stdin.take());
        }
    }

    /// Waits for those that are left and says how many messages each of them sent.
    pub(crate) fn finish(mut self) -> Result<[Option<u64>; SENDERS], Failure> {
        let mut sent = [None; SENDERS];
        for (number, sender) in self.0.iter_mut().enumerate() {
            if let Some(process) = &mut sender.process {
                sent[number] = Some(process.report("sent ").map_err(|e| lost("hear", number, &e))?);
                let status = process.child.wait().map_err(|e| lost("wait for", number, &e))?;
                if !status.success() {
                    return Err(failed(&format!("sender {} ended with {status}", number + 1)));
                }
                sender.process = None;
            }
        }
        Ok(sent)
    }
}

impl Victim {
    /// SIGKILL.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        self.process.child.kill()
    }

    pub(crate) fn lane(&self) -> u32 {
        self.lane
    }
}

impl Process {
    /// The number after this word, in the next line of the sender.
    fn report(&mut self, word: &str) -> io::Result<u64> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let number = line.trim_end().strip_prefix(word).and_then(|text| text.parse().ok());
        number.ok_or_else(|| io::Error::other(format!("'{word}' expected, not '{line}'")))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended by itself is only collected here, if it was not yet.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(address: &Address, number: usize) -> io::Result<Process> {
    let mut child = Command::new(env::current_exe()?)
        .args(["demo-sender", &address.to_string(), &number.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    match child.stdout.take() {
        Some(stdout) => Ok(Process { child, output: BufReader::new(stdout) }),
        None => Err(io::Error::other("no stdout")),
    }
}

fn lost(what: &str, number: usize, error: &io::Error) -> Failure {
    failed(&format!("cannot {what} sender {}: {error}", number + 1))
}
