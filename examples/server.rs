//! A server that answers requests of several clients: `client.rs` is the other half.
//!
//! ```text
//! cargo run --example server -- [NAME [CLIENTS]]   # server if not given, and clients without end
//! ```
//!
//! It gives every text back in capital letters. Kill it at any moment, with `kill -9` too, and start
//! it again: a request is released only after its reply was sent, so the next server gets what this
//! one has not answered. A reply that was sent just before the kill is sent a second time; the
//! client knows it by its number.
//!
//! With CLIENTS it ends and removes its channel after so many clients have come and gone.

mod protocol;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::error::Error;

use protocol::{Reply, Request, reply_channel};
use sysring::{EndOfStream, OpenErrorKind, RecvError, Sender};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_else(|| "server".to_owned());
    let clients = arguments.next().map(|clients| clients.parse()).transpose()?;

    let mut rx = sysring::mpsc().receiver(&name)?;
    // The channel counts those who have gone, so it does not matter how many servers they have seen.
    rx.set_end(clients.map_or(EndOfStream::Never, EndOfStream::AfterSenders));
    let mut senders = HashMap::new();
    loop {
        let message = match rx.recv() {
            Ok(message) => message,
            Err(RecvError::Disconnected) => break,
            Err(error) => return Err(error.into()),
        };
        if let Some(request) = Request::from_bytes(&message.to_vec()) {
            if message.redelivered() {
                println!("request {} of client {} once more", request.number, request.client);
            }
            answer(&name, &mut senders, &request)?;
        }
        // Here, and not before, the request leaves the channel.
        drop(message);
    }
    sysring::remove(&name)?;
    Ok(())
}

fn answer(name: &str, senders: &mut HashMap<u32, Sender>, request: &Request) -> Result<(), Box<dyn Error>> {
    // A client that starts anew with the process id of an older one has made a new channel.
    if senders.get_mut(&request.client).is_some_and(|sender| !sender.is_connected()) {
        senders.remove(&request.client);
    }
    let sender = match senders.entry(request.client) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(new) => {
            let channel = sysring::spsc().open(reply_channel(name, request.client));
            match channel.and_then(|channel| channel.sender()) {
                Ok(sender) => new.insert(sender),
                // The client has gone and taken its channel with it.
                Err(error) if matches!(error.kind(), OpenErrorKind::NotFound | OpenErrorKind::Removed) => {
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
    };
    let reply = Reply { number: request.number, text: request.text.to_ascii_uppercase() };
    // Not `send`, which waits: one client that does not fetch its replies must not hold up the others.
    // A client has one request at a time, so its lane is full only if it is not to be helped.
    if sender.try_send(reply.to_bytes()).is_err() {
        senders.remove(&request.client);
    }
    Ok(())
}
