//! A shared-memory segment without a channel, one action per process:
//!
//! ```text
//! segment create KEY SIZE [MODE]   make it; MODE is octal, 600 if not given
//! segment write  KEY TEXT          put a text into it, ended by a zero byte as in C
//! segment read   KEY               print the text that is in it
//! segment stat   KEY               print what the kernel knows about it
//! segment remove KEY               remove it, and print the last the kernel knew
//! ```
//!
//! KEY is a number (`4660`, `0x1234`) or `FILE:ID`, which stands for C's `ftok(FILE, ID)`.
//!
//! Nothing here says when a text is complete: run one after the other, or use a channel.

use std::error::Error;
use std::process::ExitCode;
use std::time::SystemTime;

use sysring::segment::{Key, Segment, SegmentStat, page_size, round_to_pages};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["create", key, size] => create(key, size, "600"),
        ["create", key, size, mode] => create(key, size, mode),
        ["write", key, text] => write(key, text),
        ["read", key] => read(key),
        ["stat", key] => stat(key),
        ["remove", key] => remove(key),
        _ => {
            eprintln!(
                "usage: segment create KEY SIZE [MODE] | write KEY TEXT | read KEY | stat KEY | remove KEY"
            );
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("segment: {error}");
            ExitCode::FAILURE
        }
    }
}

type Done = Result<(), Box<dyn Error>>;

fn create(key: &str, size: &str, mode: &str) -> Done {
    let size = size.parse().map_err(|_| format!("{size:?} is no size in bytes"))?;
    let mode = u32::from_str_radix(mode, 8).map_err(|_| format!("{mode:?} is no octal mode"))?;
    let key = parse_key(key)?;
    let segment = Segment::create(key, size, mode)?;
    println!("created id {} with key {key}", segment.id());
    print_size(size);
    Ok(())
}

fn write(key: &str, text: &str) -> Done {
    let mapping = Segment::open(parse_key(key)?)?.attach()?;
    // One write: text and zero byte fit together or nothing changes.
    mapping.write(0, &[text.as_bytes(), b"\0"].concat())?;
    println!("wrote {} bytes", text.len());
    Ok(())
}

fn read(key: &str) -> Done {
    let mapping = Segment::open(parse_key(key)?)?.attach_read_only()?;
    let mut bytes = vec![0; mapping.len()];
    mapping.read(0, &mut bytes)?;
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    println!("{}", String::from_utf8_lossy(text));
    Ok(())
}

fn stat(key: &str) -> Done {
    print_stat(&Segment::open(parse_key(key)?)?.stat()?);
    Ok(())
}

fn remove(key: &str) -> Done {
    let segment = Segment::open(parse_key(key)?)?;
    let last = segment.stat()?;
    segment.remove()?;
    print_stat(&last);
    println!("removed");
    Ok(())
}

fn parse_key(text: &str) -> Result<Key, Box<dyn Error>> {
    if let Some((file, id)) = text.rsplit_once(':') {
        let id = id.parse().map_err(|_| format!("{id:?} is no number for ftok"))?;
        return Ok(Key::ftok(file, id)?);
    }
    let number = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).map(u32::cast_signed),
        None => text.parse(),
    };
    Ok(Key::from_raw(number.map_err(|_| format!("{text:?} is neither a number nor FILE:ID"))?))
}

fn print_size(size: usize) {
    let rounded = round_to_pages(size);
    let pages = rounded / page_size();
    println!("size: {size} bytes, in memory {rounded} ({pages} pages of {})", page_size());
}

fn print_stat(stat: &SegmentStat) {
    println!("id: {}", stat.id);
    println!("key: {}", stat.key);
    print_size(stat.size);
    println!("mode: {:o}", stat.mode);
    println!("owner: uid {} gid {}", stat.uid, stat.gid);
    println!("creator: uid {} gid {}", stat.creator_uid, stat.creator_gid);
    println!("attached: {}", stat.attached);
    println!("attach time: {}", show_time(stat.attach_time));
    println!("detach time: {}", show_time(stat.detach_time));
    println!("change time: {}", show_time(stat.change_time));
    println!("creator pid: {}", stat.creator_pid);
    println!("last pid: {}", stat.last_pid);
    println!("locked: {}", if stat.locked { "yes" } else { "no" });
}

/// Seconds ago, because the standard library knows no calendar.
fn show_time(time: Option<SystemTime>) -> String {
    match time {
        None => "never".to_owned(),
        Some(time) => {
            let ago = time.elapsed().unwrap_or_default().as_secs();
            let epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
            format!("{epoch} ({ago} s ago)")
        }
    }
}
