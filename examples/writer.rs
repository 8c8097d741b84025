//! The writer of the classic tutorial, through a channel: `reader.rs` is the other half.
//!
//! ```text
//! cargo run --example writer -- [ADDRESS]   # key:0x1234 if not given
//! ```
//!
//! It leaves its text in the kernel and ends at once, whether a reader is there, comes later, or has
//! waited for long. No semaphore has to be thought of: the channel knows when a text is complete.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "key:0x1234".to_owned());
    let mut tx = sysring::spsc().sender(&address)?;
    tx.send("Hello, Shared Memory!")?;
    println!("written to {address}");
    Ok(())
}
