//! Many processes log into one file through one receiver.
//!
//! ```text
//! cargo run --example log_sink -- FILE [NAME [LOGGERS [LINES]]]   # log-sink, 3 and 5 if not given
//! ```
//!
//! The program starts itself once for every logger, with other arguments. The loggers never touch
//! the file and never wait for it, and no line is torn. Lines come in the order in which
//! they were logged, across all processes. A logger that is killed loses nothing it has sent; a sink
//! that is killed leaves what it had not written to the next one.

use std::error::Error;
use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::process::{Child, Command};
use std::thread;

use sysring::RecvError;

type Done = Result<(), Box<dyn Error>>;

fn main() -> Done {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["--logger", name, logger, lines] => log(name, logger, lines.parse()?),
        [file] => sink(file, "log-sink", 3, 5),
        [file, name] => sink(file, name, 3, 5),
        [file, name, loggers] => sink(file, name, loggers.parse()?, 5),
        [file, name, loggers, lines] => sink(file, name, loggers.parse()?, lines.parse()?),
        _ => Err("usage: log_sink FILE [NAME [LOGGERS [LINES]]]".into()),
    }
}

fn log(name: &str, logger: &str, lines: u32) -> Done {
    let mut tx = sysring::mpsc().sender(name)?;
    for line in 1..=lines {
        tx.send(format!("logger {logger} (pid {}): line {line} of {lines}", std::process::id()))?;
    }
    Ok(())
}

fn sink(file: &str, name: &str, loggers: u32, lines: u32) -> Done {
    let mut rx = sysring::mpsc().receiver(name)?;
    // A sender of our own, so that there is one before the first logger, between two, and until all of
    // ours have ended: `recv_batch` reports `Disconnected` when there is none, and nothing to receive.
    let hold = sysring::mpsc().sender(name)?;
    let stats = rx.stats()?;
    println!("{name}: segment {}, semaphore set {}", stats.id, stats.semaphore_set);

    let start = |logger: u32| {
        let mut program = Command::new(std::env::current_exe()?);
        program.args(["--logger", name, &logger.to_string(), &lines.to_string()]).spawn()
    };
    let children = (1..=loggers).map(start).collect::<io::Result<Vec<Child>>>()?;
    let all_ended = thread::spawn(move || {
        let ends: Vec<_> = children.into_iter().map(|mut child| child.wait()).collect();
        drop(hold);
        ends
    });

    let mut file = BufWriter::new(OpenOptions::new().create(true).append(true).open(file)?);
    let mut line = Vec::new();
    let mut written = 0;
    loop {
        // Everything that waits, up to a limit, with one wake-up and one write to the file.
        let batch = match rx.recv_batch(1000) {
            Ok(batch) => batch,
            Err(RecvError::Disconnected) => break,
            Err(error) => return Err(error.into()),
        };
        for message in batch.iter() {
            line.clear();
            message.append_to(&mut line);
            line.push(b'\n');
            file.write_all(&line)?;
        }
        written += batch.len();
        // The messages are released after this, when the batch is dropped: killed before, we leave
        // them to the next sink, which may write them a second time but loses none.
        file.flush()?;
    }
    for end in all_ended.join().expect("the thread that waits does not panic") {
        let status = end?;
        if !status.success() {
            return Err(format!("a logger ended with {status}").into());
        }
    }
    println!("{written} lines");
    sysring::remove(name)?;
    Ok(())
}
