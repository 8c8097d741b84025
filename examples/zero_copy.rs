//! Frames of a camera, written and read where they lie: no copy on either side.
//!
//! ```text
//! cargo run --release --example zero_copy -- [NAME [FRAMES]]   # zero-copy and 100 if not given
//! ```
//!
//! The program is the viewer and starts itself as the camera. Without `trust_peers` both sides copy,
//! because another process could change the bytes while they are looked at; with it they promise
//! that nobody does.
#![allow(unsafe_code, reason = "the one promise that in-place access needs")]

use std::error::Error;
use std::process::Command;
use std::time::Instant;

use sysring::RecvError;

type Done = Result<(), Box<dyn Error>>;

const WIDTH: usize = 640;
const HEIGHT: usize = 480;
/// The frame's number, little-endian, then a byte for each pixel.
const FRAME: usize = 8 + WIDTH * HEIGHT;

fn main() -> Done {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["--camera", name, frames] => record(name, frames.parse()?),
        [] => view("zero-copy", 100),
        [name] => view(name, 100),
        [name, frames] => view(name, frames.parse()?),
        _ => Err("usage: zero_copy [NAME [FRAMES]]".into()),
    }
}

/// What both sides ask for: room for some frames.
fn channel() -> sysring::Builder {
    sysring::spsc().max_message(FRAME as u64).capacity(4 << 20)
}

fn record(name: &str, frames: u64) -> Done {
    // SAFETY: the channel has the default mode 0600, so that only processes of this user reach it, and
    // all that do are this program, which writes through the crate and does not fork.
    let mut tx = unsafe { channel().sender(name)?.trust_peers() };
    for number in 0..frames {
        let mut frame = tx.reserve(FRAME)?;
        let (head, pixels) = frame.split_at_mut(8);
        head.copy_from_slice(&number.to_le_bytes());
        for (y, row) in pixels.chunks_exact_mut(WIDTH).enumerate() {
            for (x, pixel) in row.iter_mut().enumerate() {
                *pixel = shade(number, x, y);
            }
        }
        // Now it is visible, all of it at once.
        frame.commit()?;
    }
    Ok(())
}

fn view(name: &str, frames: u64) -> Done {
    // SAFETY: as in `record`.
    let mut rx = unsafe { channel().receiver(name)?.trust_peers() };
    let stats = rx.stats()?;
    println!("{name}: segment {}, semaphore set {}", stats.id, stats.semaphore_set);
    let start = Instant::now();
    let mut camera = Command::new(std::env::current_exe()?);
    let mut camera = camera.args(["--camera", name, &frames.to_string()]).spawn()?;

    let mut seen = 0;
    loop {
        let frame = match rx.recv() {
            Ok(frame) => frame,
            Err(RecvError::Disconnected) => break,
            Err(error) => return Err(error.into()),
        };
        // The frame is a slice of the shared memory. The camera cannot overwrite it before it is dropped.
        let (head, pixels) = frame.split_first_chunk().ok_or("a frame is too short")?;
        let number = u64::from_le_bytes(*head);
        let rows = pixels.chunks_exact(WIDTH).enumerate();
        let right = rows.map(|(y, row)| (0..WIDTH).all(|x| row[x] == shade(number, x, y)));
        if number != seen || pixels.len() != WIDTH * HEIGHT || !right.fold(true, |all, row| all & row) {
            return Err(format!("frame {seen} is wrong").into());
        }
        seen += 1;
    }
    let seconds = start.elapsed().as_secs_f64();
    let status = camera.wait()?;
    if !status.success() || seen != frames {
        return Err(format!("{seen} of {frames} frames, and the camera ended with {status}").into());
    }
    println!("{seen} frames of {WIDTH}x{HEIGHT}, {:.0} in a second", seen as f64 / seconds);
    sysring::remove(name)?;
    Ok(())
}

/// The picture: a pattern that moves.
fn shade(number: u64, x: usize, y: usize) -> u8 {
    ((x ^ y) as u64 + number) as u8
}
