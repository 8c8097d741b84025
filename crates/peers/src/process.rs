//! Processes of a case: forked, pinned, waited for, and ended when they hang.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// A child process. Dropping it waits.
#[derive(Debug)]
pub(crate) struct Child {
    pid: libc::pid_t,
}

impl Child {
    /// Runs `work` in a child of this process, which must have one thread only.
    pub(crate) fn run(work: impl FnOnce()) -> Child {
        // SAFETY: the caller has one thread, so the child may run any code; it leaves by _exit.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork: {}", io::Error::last_os_error());
        if pid == 0 {
            let ended = catch_unwind(AssertUnwindSafe(work));
            // SAFETY: ends the child without the destructors of what it inherited.
            unsafe { libc::_exit(i32::from(ended.is_err())) };
        }
        Child { pid }
    }

    /// Makes the child, and what it forks after that, a group of its own that `end` ends as one.
    pub(crate) fn lead(&self) {
        // SAFETY: takes two numbers. Fails harmlessly if the child has ended.
        unsafe { libc::setpgid(self.pid, self.pid) };
    }

    /// Waits for its end until `deadline`. `None`: it goes on.
    pub(crate) fn wait(&self, deadline: Instant) -> Option<bool> {
        let mut pause = Duration::from_micros(200);
        loop {
            let mut status = 0;
            // SAFETY: `status` is ours, and the pid is our own child's.
            match unsafe { libc::waitpid(self.pid, &mut status, libc::WNOHANG) } {
                0 if Instant::now() >= deadline => return None,
                0 => std::thread::sleep(pause),
                pid => return Some(pid == self.pid && status == 0),
            }
            pause = (pause * 2).min(Duration::from_millis(5));
        }
    }

    /// Ends the child's whole group, waits for the child, and a moment for the others of its group.
    pub(crate) fn end(&self) {
        // SAFETY: takes two numbers; the group is the child's, see `lead`.
        unsafe { libc::kill(-self.pid, libc::SIGKILL) };
        let mut status = 0;
        // SAFETY: as in `wait`.
        unsafe { libc::waitpid(self.pid, &mut status, 0) };
        let deadline = Instant::now() + Duration::from_millis(100);
        // SAFETY: takes two numbers; signal 0 only asks whether the group still has members.
        while unsafe { libc::kill(-self.pid, 0) } == 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

/// Pins the calling thread to one core.
pub(crate) fn pin(core: usize) {
    // SAFETY: zeroes are a valid, empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: a small number into a set that holds 1024.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: the set is ours and of that size.
    let failed = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) };
    assert_eq!(failed, 0, "cannot run on core {core}: {}", io::Error::last_os_error());
}
