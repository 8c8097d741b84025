//! The reader of the classic tutorial, through a channel: `writer.rs` is the other half.
//!
//! ```text
//! cargo run --example reader -- [ADDRESS]   # key:0x1234 if not given
//! ```
//!
//! It sleeps until the text is there, prints it, and removes the channel.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "key:0x1234".to_owned());
    let mut rx = sysring::spsc().receiver(&address)?;
    let text = rx.recv_vec()?;
    println!("{}", String::from_utf8_lossy(&text));
    sysring::remove(&address)?;
    Ok(())
}
