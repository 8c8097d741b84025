//! Receives a struct under the key that C's `ftok(FILE, ID)` gives: `write_struct.rs` is the other
//! half.
//!
//! ```text
//! cargo run --example read_struct -- [FILE [ID]]   # /tmp and 65 if not given
//! ```
//!
//! It waits for the struct if it has to, prints it, and removes the channel.

mod measurement;

use std::error::Error;

use measurement::Measurement;
use sysring::Address;
use sysring::segment::Key;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().unwrap_or_else(|| "/tmp".to_owned());
    let id = arguments.next().map_or(Ok(65), |id| id.parse())?;

    let mut rx = sysring::spsc().receiver(Address::path(&file, id))?;
    let bytes = rx.recv_vec()?;
    let measurement = Measurement::from_bytes(&bytes).ok_or("this is no measurement")?;
    println!("key {}: {measurement:?}", Key::ftok(&file, id)?);
    sysring::remove(Address::path(&file, id))?;
    Ok(())
}
