//! Sends a struct under the key that C's `ftok(FILE, ID)` gives: `read_struct.rs` is the other half.
//!
//! ```text
//! cargo run --example write_struct -- [FILE [ID]]   # /tmp and 65 if not given
//! ```
//!
//! The writer has gone before the reader starts: the message waits in the kernel.

mod measurement;

use std::error::Error;

use measurement::Measurement;
use sysring::Address;
use sysring::segment::Key;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().unwrap_or_else(|| "/tmp".to_owned());
    let id = arguments.next().map_or(Ok(65), |id| id.parse())?;

    let measurement =
        Measurement { sensor: 7, time: 1_700_000_000, celsius: -12.75, place: "Łódź".to_owned() };
    let mut tx = sysring::spsc().sender(Address::path(&file, id))?;
    tx.send(measurement.to_bytes())?;
    println!("key {}: {measurement:?}", Key::ftok(&file, id)?);
    Ok(())
}
