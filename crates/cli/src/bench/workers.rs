//! The worker processes of one measurement: start, order, hear, end. None outlives it.

use std::env;
use std::io::{self, BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{self, Child, ChildStdout, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::low_level::signal_name;

use super::protocol::{Answer, Command, Role, Task};
use crate::exit;
use crate::signals;

/// How often a signal to this process is looked for.
const TICK: Duration = Duration::from_millis(50);
/// For an answer, beyond the time that is measured.
const PATIENCE: Duration = Duration::from_secs(30);
/// For the ends of other workers, when one has failed: theirs may have been the cause.
const AFTERMATH: Duration = Duration::from_millis(300);

pub(super) struct Workers {
    workers: Vec<Worker>,
    heard: mpsc::Receiver<(usize, Heard)>,
    say: mpsc::Sender<(usize, Heard)>,
}

struct Worker {
    child: Child,
    role: Role,
    /// It has said so.
    done: bool,
    /// So has its stdout.
    ended: bool,
}

enum Heard {
    Answer(Answer),
    /// What is no answer.
    Noise(String),
    /// Of its stdout, so most likely of itself.
    End,
}

/// Why a measurement came to nothing.
#[derive(Debug)]
pub(super) enum Trouble {
    /// A signal asked for the end.
    Interrupted,
    Failed(String),
}

impl Workers {
    /// One for each task. They know it, and wait.
    pub(super) fn start(tasks: Vec<Task>) -> Result<Self, Trouble> {
        let (say, heard) = mpsc::channel();
        let mut workers = Self { workers: Vec::new(), heard, say };
        for task in tasks {
            workers.add(task)?;
        }
        Ok(workers)
    }

    fn add(&mut self, task: Task) -> Result<(), Trouble> {
        let role = task.role;
        let cannot = |what: &str, error: &io::Error| {
            Trouble::Failed(format!("cannot {what} {}: {}", role.text(), exit::errno(error)))
        };
        let mut child = spawn().map_err(|error| cannot("start", &error))?;
        let stdout = child.stdout.take();
        let place = self.workers.len();
        // From here on it is ended with the others.
        self.workers.push(Worker { child, role, done: false, ended: false });
        let say = self.say.clone();
        let listen = move || listen(place, stdout, &say);
        thread::Builder::new().spawn(listen).map_err(|error| cannot("listen to", &error))?;
        self.order(place, &Command::Prepare(task))
    }

    pub(super) fn order_all(&mut self, command: &Command) -> Result<(), Trouble> {
        (0..self.workers.len()).try_for_each(|place| self.order(place, command))
    }

    fn order(&mut self, place: usize, command: &Command) -> Result<(), Trouble> {
        let line = serde_json::to_string(command).map_err(|error| Trouble::Failed(error.to_string()))?;
        let worker = &mut self.workers[place];
        match worker.child.stdin.as_mut().map(|stdin| writeln!(stdin, "{line}")) {
            // Whether it may have ended by now, its stdout tells.
            None | Some(Ok(())) => Ok(()),
            Some(Err(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            Some(Err(error)) => {
                Err(Trouble::Failed(format!("cannot tell {}: {}", worker.role.text(), exit::errno(&error))))
            }
        }
    }

    /// All have their seats.
    pub(super) fn await_ready(&mut self) -> Result<(), Trouble> {
        for _ in 0..self.workers.len() {
            match self.hear(Duration::ZERO)? {
                (_, Answer::Ready) => {}
                (_, other) => return Err(Trouble::Failed(format!("ready expected, not {other:?}"))),
            }
        }
        Ok(())
    }

    /// The next answer of any.
    pub(super) fn hear(&mut self, patience: Duration) -> Result<(usize, Answer), Trouble> {
        loop {
            let (place, heard) = self.listen(patience)?;
            let worker = &mut self.workers[place];
            let why = match heard {
                Heard::Answer(Answer::Failed(why)) => format!("{}: {why}", worker.role.text()),
                Heard::Answer(answer) => {
                    worker.done |= matches!(answer, Answer::Done(_));
                    return Ok((place, answer));
                }
                Heard::Noise(line) => format!("{} says '{line}'", worker.role.text()),
                Heard::End if worker.done => {
                    worker.ended = true;
                    continue;
                }
                Heard::End => format!("{} has ended without a word", worker.role.text()),
            };
            return Err(self.diagnose(why));
        }
    }

    fn listen(&self, patience: Duration) -> Result<(usize, Heard), Trouble> {
        let started = Instant::now();
        loop {
            if signals::noted() {
                return Err(Trouble::Interrupted);
            }
            match self.heard.recv_timeout(TICK) {
                Ok(heard) => return Ok(heard),
                Err(_) if started.elapsed() < patience + PATIENCE => {}
                Err(_) => {
                    let seconds = started.elapsed().as_secs();
                    return Err(Trouble::Failed(format!("no answer from the workers for {seconds} s")));
                }
            }
        }
    }

    /// The reason to report: that one was killed explains all that the others say.
    fn diagnose(&mut self, why: String) -> Trouble {
        let started = Instant::now();
        loop {
            // A signal to this process may have been one to all.
            if signals::noted() {
                return Trouble::Interrupted;
            }
            for worker in &mut self.workers {
                if let Ok(Some(status)) = worker.child.try_wait()
                    && let Some(text) = killed(worker, status)
                {
                    return Trouble::Failed(text);
                }
            }
            if started.elapsed() >= AFTERMATH {
                return Trouble::Failed(why);
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// All have done their work and end.
    pub(super) fn finish(mut self) -> Result<(), Trouble> {
        while self.workers.iter().any(|worker| !worker.ended) {
            if let (place, Heard::End) = self.listen(Duration::ZERO)? {
                self.workers[place].ended = true;
            }
        }
        for worker in &mut self.workers {
            // Waiting would close it, and a worker whose stdin ends gives up.
            let stdin = worker.child.stdin.take();
            let status = worker.child.wait().map_err(|error| Trouble::Failed(exit::errno(&error)))?;
            drop(stdin);
            if !status.success() {
                let text = killed(worker, status);
                return Err(Trouble::Failed(
                    text.unwrap_or_else(|| format!("{}: {status}", worker.role.text())),
                ));
            }
        }
        Ok(())
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // All are killed before the first is waited for; those that have ended are only collected.
        for worker in &mut self.workers {
            let _ = worker.child.kill();
        }
        for worker in &mut self.workers {
            let _ = worker.child.wait();
        }
    }
}

fn spawn() -> io::Result<Child> {
    process::Command::new(env::current_exe()?)
        .arg("bench-worker")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // A signal from the terminal is for the bench alone, which ends its workers.
        .process_group(0)
        .spawn()
}

fn killed(worker: &Worker, status: ExitStatus) -> Option<String> {
    let signal = status.signal()?;
    let name = signal_name(signal).map_or_else(|| format!("signal {signal}"), str::to_owned);
    Some(format!("{} (pid {}) was killed by {name}", worker.role.text(), worker.child.id()))
}

fn listen(place: usize, stdout: Option<ChildStdout>, say: &mpsc::Sender<(usize, Heard)>) {
    let lines = stdout.map(|stdout| BufReader::new(stdout).lines());
    for line in lines.into_iter().flatten() {
        let Ok(line) = line else { break };
        let heard = serde_json::from_str(&line).map_or(Heard::Noise(line), Heard::Answer);
        if say.send((place, heard)).is_err() {
            return;
        }
    }
    // Nobody may be listening any more.
    let _ = say.send((place, Heard::End));
}
