//! The shortest useful program: a message from one process to another.
//!
//! ```text
//! cargo run --example hello -- NAME &          # receives until the senders have gone
//! cargo run --example hello -- NAME "Hello!"   # sends, in another process
//! ```
//!
//! Either may be started first: a message waits in the kernel for its receiver.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().ok_or("usage: hello NAME [MESSAGE]")?;
    if let Some(message) = arguments.next() {
        sysring::mpsc().sender(&name)?.send(message)?;
        return Ok(());
    }
    for message in sysring::mpsc().receiver(&name)?.iter() {
        println!("{}", String::from_utf8_lossy(&message?));
    }
    sysring::remove(&name)?;
    Ok(())
}
