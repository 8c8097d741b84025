//! Names for what a peer puts into file systems: each case has one of its own, and the parent removes all that
//! begins with it when the case has ended, however it ended.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Pid of the program in the upper half, number of the case in the lower.
static CASE: AtomicU64 = AtomicU64::new(0);

/// Where POSIX shared memory lies.
const SHARED: &str = "/dev/shm";

/// The name of the running case, the same in all its processes.
pub(crate) fn name() -> String {
    let case = CASE.load(Ordering::Relaxed);
    format!("sysring-peers-{}-{}-", case >> 32, case as u32)
}

/// A directory of the running case. It need not exist.
pub(crate) fn directory() -> PathBuf {
    std::env::temp_dir().join(name())
}

/// A case's name, taken before the fork; dropping it removes the files.
#[derive(Debug)]
pub(crate) struct Scratch(());

impl Scratch {
    pub(crate) fn new() -> Scratch {
        let number = (CASE.load(Ordering::Relaxed) as u32).wrapping_add(1);
        CASE.store(u64::from(std::process::id()) << 32 | u64::from(number), Ordering::Relaxed);
        Scratch(())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for place in [std::env::temp_dir().as_path(), Path::new(SHARED)] {
            for entry in std::fs::read_dir(place).into_iter().flatten().flatten() {
                if !entry.file_name().to_string_lossy().starts_with(&name()) {
                    continue;
                }
                // A process of the case that is still ending may remove its files at the same time.
                let _ = match entry.file_type() {
                    Ok(kind) if kind.is_dir() => std::fs::remove_dir_all(entry.path()),
                    _ => std::fs::remove_file(entry.path()),
                };
            }
        }
    }
}
