//! A client of `server.rs`: sends each line of its standard input as a request and prints the replies.
//!
//! ```text
//! seq 1 5 | cargo run --example client -- [NAME]   # server if not given
//! ```
//!
//! Clients may run at the same time, start before the server, and stay while the server is killed and
//! started again: then they wait, and no request is lost or answered wrongly.

mod protocol;

use std::error::Error;
use std::io;

use protocol::{Reply, Request, reply_channel};
use sysring::{EndOfStream, OpenErrorKind};

fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args().nth(1).unwrap_or_else(|| "server".to_owned());
    let client = std::process::id();

    // Whatever has the name of our replies is of a dead client that had our process id.
    let replies = reply_channel(&name, client);
    match sysring::remove(&replies) {
        Err(error) if error.kind() != OpenErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    // Not persistent: if we are killed, the server learns that nobody waits for replies.
    let channel = sysring::spsc().capacity(64 << 10).persistent(false).create(&replies)?;
    let done = talk(&name, client, channel.receiver()?);
    channel.remove()?;
    done
}

fn talk(name: &str, client: u32, mut rx: sysring::Receiver) -> Result<(), Box<dyn Error>> {
    let mut tx = sysring::mpsc().sender(name)?;
    // A server that has gone is no end: the next one answers.
    rx.set_end(EndOfStream::Never);
    for (number, line) in (0..).zip(io::stdin().lines()) {
        tx.send(Request { client, number, text: line?.into_bytes() }.to_bytes())?;
        let reply = loop {
            let reply = Reply::from_bytes(&rx.recv_vec()?).ok_or("this is no reply")?;
            // A lower number is a reply that came before: the server was killed before it released
            // the request.
            if reply.number == number {
                break reply;
            }
        };
        println!("{}", String::from_utf8_lossy(&reply.text));
    }
    Ok(())
}
