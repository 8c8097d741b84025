//! What the kernel allows, and how much of it is in use: the limits behind `ENOSPC` and its like, in the caller's IPC
//! namespace.
//!
//! A channel is one segment and one semaphore set; [`Builder::needs`](crate::Builder::needs) tells what they take of
//! each limit.

use crate::error::SystemError;
use crate::sys::{Errno, process, sem, shm};

/// Limits of the IPC namespace.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let needs = sysring::mpsc().needs()?;
/// let limits = sysring::system::limits()?;
/// if needs.semaphores > limits.set_semaphores {
///     println!("kernel.sem allows only {} semaphores in a set", limits.set_semaphores);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Segments (`kernel.shmmni`).
    pub segments: u64,
    /// Bytes of one segment (`kernel.shmmax`).
    pub segment_bytes: u64,
    /// Pages of all segments together (`kernel.shmall`); see [`page_size`](crate::segment::page_size).
    pub pages: u64,
    /// Semaphore sets (`semmni`, the 4th number of `kernel.sem`).
    pub sets: u32,
    /// Semaphores of all sets together (`semmns`, the 2nd number of `kernel.sem`).
    pub semaphores: u32,
    /// Semaphores of one set (`semmsl`, the 1st number of `kernel.sem`).
    pub set_semaphores: u32,
    /// Operations of one call of `semop` (`semopm`, the 3rd number of `kernel.sem`).
    pub operations: u32,
    /// Largest value of a semaphore (`semvmx`, which cannot be changed).
    pub semaphore_value: u32,
}

/// What is in use in the IPC namespace, by everybody and for whatever purpose.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (_tx, _rx) = sysring::spsc().pair()?; // holds a segment and a set
/// let usage = sysring::system::usage()?;
/// assert!(usage.segments >= 1 && usage.sets >= 1 && usage.semaphores >= 8);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Segments.
    pub segments: u64,
    /// Pages of all segments together, whether anybody has touched them or not: what [`Limits::pages`] counts.
    pub pages: u64,
    /// Those pages that lie in memory.
    pub resident_pages: u64,
    /// Those pages that lie in swap.
    pub swapped_pages: u64,
    /// Semaphore sets.
    pub sets: u32,
    /// Semaphores of all sets together.
    pub semaphores: u32,
}

/// What one channel takes of the [`Limits`]; [`Builder::needs`](crate::Builder::needs) gives it.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let small = sysring::spsc().needs()?;
/// let large = sysring::mpsc().senders(100).needs()?;
/// assert!(small.segment_bytes < large.segment_bytes && small.semaphores < large.semaphores);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Needs {
    /// Bytes of its segment.
    pub segment_bytes: u64,
    /// Semaphores of its set.
    pub semaphores: u32,
    /// Operations of its longest call of `semop`: with it a receiver takes its seat.
    pub operations: u32,
}

/// The limits of the IPC namespace that this thread is in. Does not block.
///
/// # Errors
/// `ENOSYS` if the kernel was built without System V IPC.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let limits = sysring::system::limits()?;
/// assert!(limits.segments > 0 && limits.sets > 0);
/// # Ok(())
/// # }
/// ```
pub fn limits() -> Result<Limits, SystemError> {
    let shm = shm::limits().map_err(failed("shmctl(IPC_INFO)"))?;
    let sem = sem::limits().map_err(failed("semctl(IPC_INFO)"))?;
    Ok(Limits {
        segments: shm.segments,
        segment_bytes: shm.segment_bytes,
        pages: shm.pages,
        sets: count(sem.sets),
        semaphores: count(sem.semaphores),
        set_semaphores: count(sem.set_semaphores),
        operations: count(sem.operations),
        semaphore_value: count(sem.value),
    })
}

/// What is in use in the IPC namespace that this thread is in, at this moment. Does not block.
///
/// # Errors
/// `ENOSYS` if the kernel was built without System V IPC.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use sysring::system;
/// assert!(system::usage()?.segments <= system::limits()?.segments);
/// # Ok(())
/// # }
/// ```
pub fn usage() -> Result<Usage, SystemError> {
    let shm = shm::usage().map_err(failed("shmctl(SHM_INFO)"))?;
    let sem = sem::usage().map_err(failed("semctl(SEM_INFO)"))?;
    Ok(Usage {
        segments: u64::from(count(shm.segments)),
        pages: shm.pages,
        resident_pages: shm.resident,
        swapped_pages: shm.swapped,
        sets: count(sem.sets_used),
        semaphores: count(sem.semaphores_used),
    })
}

/// Whether this process can use the asymmetric fences of [`Fence::Auto`](crate::Fence::Auto): the kernel has
/// `membarrier` with the commands that it takes, lets this process register for it, and carries it out once. Takes a
/// few microseconds.
///
/// # Errors
/// `ENOSYS` if the kernel does not have the call, `EPERM` if something such as a seccomp filter forbids it.
///
/// ```
/// match sysring::system::membarrier() {
///     Ok(true) => println!("sending takes no fence"),
///     Ok(false) => println!("the kernel is older than 4.16"),
///     Err(error) => println!("{error}"),
/// }
/// ```
pub fn membarrier() -> Result<bool, SystemError> {
    let known = process::membarrier_is_known().map_err(failed("membarrier(QUERY)"))?;
    Ok(known && process::membarrier_register() && process::membarrier())
}

fn failed(call: &'static str) -> impl Fn(Errno) -> SystemError {
    move |errno| SystemError { call, errno }
}

/// The kernel has these as `int`, and none of them below 0.
fn count(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_those_of_proc() {
        let limits = limits().unwrap();
        let read = |name: &str| std::fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap();
        assert_eq!(read("shmmni").trim(), limits.segments.to_string());
        assert_eq!(read("shmmax").trim(), limits.segment_bytes.to_string());
        assert_eq!(read("shmall").trim(), limits.pages.to_string());
        let Limits { set_semaphores, semaphores, operations, sets, .. } = limits;
        let sem = [set_semaphores, semaphores, operations, sets].map(|number| number.to_string());
        assert_eq!(read("sem").split_whitespace().collect::<Vec<_>>(), sem);
        assert_eq!(limits.semaphore_value, 32_767);
    }

    #[test]
    fn usage_grows_with_a_channel() {
        // Others come and go meanwhile, so that only what this one holds can be asked for.
        let builder = crate::mpsc().senders(3).capacity(1 << 20);
        let needs = builder.needs().unwrap();
        let (_tx, rx) = builder.pair().unwrap();
        assert_eq!(rx.stats().unwrap().size, needs.segment_bytes);
        let usage = usage().unwrap();
        assert!(usage.segments >= 1 && usage.sets >= 1, "{usage:?}");
        assert!(usage.semaphores >= needs.semaphores, "{usage:?}");
        let pages = needs.segment_bytes.div_ceil(crate::segment::page_size() as u64);
        assert!(usage.pages >= pages && usage.resident_pages >= 1, "{usage:?}");
    }
}
