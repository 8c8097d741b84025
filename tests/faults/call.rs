//! A system call as the victim made it: its name as the library names it, its shape, and what it can fail with.

/// One call.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) step: u32,
    /// As in the library's errors: `semctl(GETVAL)`.
    pub(crate) name: &'static str,
    /// What it does, so far as that tells call sites apart: `semop [0n +1u +1 -1u]`.
    pub(crate) shape: String,
    /// The errno that was put in its place.
    pub(crate) fault: Option<i32>,
    pub(crate) result: i64,
}

impl Call {
    pub(crate) fn new(number: i64, arguments: [u64; 6], step: u32, word: impl Fn(u64) -> u64) -> Call {
        let (name, detail) = describe(number, arguments, word);
        let shape = if detail.is_empty() { name.to_owned() } else { format!("{name} {detail}") };
        Call { step, name, shape, fault: None, result: 0 }
    }

    /// A sleep on a bell.
    pub(crate) fn is_park(&self) -> bool {
        self.shape == "semtimedop [-1]"
    }

    /// A seat, or the initialiser, is given back.
    pub(crate) fn is_leave(&self) -> bool {
        self.shape.starts_with("semop [-1nu")
    }

    /// A ring of a bell.
    pub(crate) fn is_post(&self) -> bool {
        self.shape == "semop [+1n]"
    }

    /// Every errno that it can give, by the manual and the kernel's sources.
    pub(crate) fn errnos(&self) -> &'static [i32] {
        use libc::*;
        match self.name {
            "shmget" => &[EACCES, EEXIST, EINVAL, ENFILE, ENOENT, ENOMEM, ENOSPC, EPERM],
            "shmat" => &[EACCES, EIDRM, EINVAL, ENOMEM],
            "shmdt" => &[EINVAL],
            "shmctl(SHM_LOCK)" => &[EACCES, EIDRM, EINVAL, ENOMEM, EPERM],
            "shmctl(IPC_RMID)" | "shmctl(IPC_SET)" | "shmctl(SHM_UNLOCK)" => &[EACCES, EIDRM, EINVAL, EPERM],
            name if name.starts_with("shmctl") => &[EACCES, EIDRM, EINVAL, EOVERFLOW, EPERM],
            "semget" => &[EACCES, EEXIST, EINVAL, ENOENT, ENOMEM, ENOSPC],
            "semop" if self.is_post() => {
                &[E2BIG, EACCES, EAGAIN, EFBIG, EIDRM, EINTR, EINVAL, ENOMEM, ERANGE]
            }
            // Nothing in it waits or has a limit.
            "semop" if self.shape == "semop [mark]" => {
                &[E2BIG, EACCES, EFBIG, EIDRM, EINTR, EINVAL, ENOMEM, ERANGE]
            }
            "semop" | "semtimedop" => {
                &[E2BIG, EACCES, EAGAIN, EFBIG, EIDRM, EINTR, EINVAL, ENOMEM, ENOSPC, ERANGE]
            }
            "semctl(GETALL)" | "semctl(SEM_INFO)" => &[EACCES, EIDRM, EINVAL, ENOMEM, EPERM],
            "semctl(IPC_RMID)" | "semctl(IPC_SET)" => &[EACCES, EIDRM, EINVAL, EPERM],
            name if name.starts_with("semctl") => &[EACCES, EIDRM, EINVAL, EPERM],
            "membarrier" => &[EINVAL, ENOSYS, EPERM],
            "mmap" => &[ENOMEM, EAGAIN, EPERM],
            "madvise" => &[ENOMEM, EINVAL, EAGAIN, EINTR],
            "munmap" | "close" => &[EINVAL],
            "pidfd_open" => &[EINVAL, ENOSYS, ESRCH, EMFILE, ENFILE, ENOMEM, ENODEV, EPERM],
            "poll" => &[EINTR, ENOMEM, EINVAL],
            "kill" => &[EPERM, ESRCH],
            "openat" => &[ENOENT, EACCES, EMFILE, ENFILE, ENOMEM, EINTR],
            "statx" => &[ENOENT, EACCES, ENOMEM, ENOSYS, ELOOP],
            "read" => &[EACCES, ENOMEM, EINTR, EIO],
            "lseek" => &[ESPIPE],
            "clone" => &[EAGAIN, ENOMEM, ENOSYS, EPERM],
            "wait4" => &[EINTR, ECHILD],
            "getrandom" => &[EAGAIN, EINTR, ENOSYS],
            "rt_sigprocmask" => &[EINVAL],
            _ => &[],
        }
    }

    /// Errnos that a call goes on giving, once it has begun.
    pub(crate) fn lasting(&self) -> &'static [i32] {
        use libc::*;
        match self.name {
            "shmget" => &[EACCES, ENFILE, ENOMEM, ENOSPC],
            "shmat" => &[EACCES, ENOMEM],
            "shmctl(SHM_LOCK)" => &[ENOMEM, EPERM],
            "shmctl(IPC_RMID)" => &[EPERM],
            name if name.starts_with("shmctl") => &[EACCES, EOVERFLOW],
            "semget" => &[EEXIST, EINVAL, ENOMEM, ENOSPC],
            "semop" => &[E2BIG, EACCES, ENOMEM, ENOSPC, ERANGE, EINTR],
            "semtimedop" => &[EACCES, ENOMEM, EINTR],
            "semctl(IPC_RMID)" => &[EPERM],
            name if name.starts_with("semctl") => &[EACCES],
            "membarrier" => &[ENOSYS, EPERM],
            "mmap" if self.shape == "mmap page" => &[ENOMEM],
            "madvise" => &[EINVAL, ENOMEM],
            "pidfd_open" => &[ENOSYS, EMFILE, EPERM],
            "poll" | "read" | "wait4" | "getrandom" => &[EINTR],
            "kill" => &[EPERM],
            "openat" => &[EACCES, EMFILE],
            "statx" => &[EACCES, ENOENT],
            "clone" => &[EAGAIN, ENOSYS, EPERM],
            _ => &[],
        }
    }

    /// Whether a lasting fault of `self` takes `other` along.
    pub(crate) fn is_kin(&self, other: &Call) -> bool {
        let kind = |call: &Call| match call.name {
            // What may be refused to a user is refused with all commands; a removal has errnos of its own.
            "shmctl(IPC_RMID)" | "semctl(IPC_RMID)" => call.name,
            name => name.split('(').next().unwrap_or(name),
        };
        kind(self) == kind(other) && (self.name != "mmap" || other.shape == self.shape)
    }
}

/// Name and details of a call.
fn describe(number: i64, arguments: [u64; 6], word: impl Fn(u64) -> u64) -> (&'static str, String) {
    let [first, second, third, ..] = arguments;
    let none = String::new();
    match number {
        libc::SYS_shmget => {
            let flags = third as i32;
            let how = match () {
                () if flags & libc::SHM_HUGETLB != 0 => "huge",
                () if flags & libc::IPC_EXCL != 0 => "make",
                () if flags & libc::IPC_CREAT != 0 => "find or make",
                () => "find",
            };
            ("shmget", how.to_owned())
        }
        libc::SYS_shmat => {
            ("shmat", if third as i32 & libc::SHM_RDONLY != 0 { "read-only".to_owned() } else { none })
        }
        libc::SYS_shmdt => ("shmdt", none),
        libc::SYS_shmctl => (shmctl(second as i32 & 0xff), none),
        libc::SYS_semget => ("semget", none),
        libc::SYS_semop => ("semop", operations(second, third, word)),
        // semop, as some C libraries make it; only sleeps have a limit.
        libc::SYS_semtimedop if arguments[3] == 0 => ("semop", operations(second, third, word)),
        libc::SYS_semtimedop => ("semtimedop", operations(second, third, word)),
        libc::SYS_semctl => {
            let name = semctl(third as i32 & 0xff);
            let which = match (name, second) {
                ("semctl(GETVAL)", 0..=2) => "mark",
                ("semctl(GETVAL)", 3) => "initialiser",
                ("semctl(GETVAL)" | "semctl(GETPID)", number) if number % 2 == 0 => "seat",
                ("semctl(GETVAL)" | "semctl(GETPID)", _) => "bell",
                _ => "",
            };
            (name, which.to_owned())
        }
        libc::SYS_membarrier => ("membarrier", if first == 2 { "global" } else { "register" }.to_owned()),
        libc::SYS_mmap => ("mmap", if second == 4096 { "page".to_owned() } else { none }),
        libc::SYS_madvise => ("madvise", format!("{third}")),
        libc::SYS_munmap => ("munmap", none),
        libc::SYS_close => ("close", none),
        libc::SYS_pidfd_open => ("pidfd_open", none),
        libc::SYS_poll | libc::SYS_ppoll => ("poll", none),
        libc::SYS_kill => ("kill", none),
        libc::SYS_openat => ("openat", path(second, word)),
        libc::SYS_statx => ("statx", path(second, word)),
        libc::SYS_read => ("read", none),
        libc::SYS_lseek => ("lseek", none),
        libc::SYS_clone => ("clone", none),
        libc::SYS_wait4 => ("wait4", none),
        libc::SYS_getrandom => ("getrandom", none),
        libc::SYS_rt_sigprocmask => {
            // Restoring the mask cannot fail.
            if word(second) == 0 { ("rt_sigprocmask back", none) } else { ("rt_sigprocmask", none) }
        }
        libc::SYS_brk => ("brk", none),
        libc::SYS_sched_yield => ("sched_yield", none),
        libc::SYS_clock_nanosleep => ("clock_nanosleep", none),
        libc::SYS_geteuid | libc::SYS_getegid | libc::SYS_getpid => ("identity of the process", none),
        libc::SYS_fstat | libc::SYS_newfstatat => ("stat", none),
        other => ("other", other.to_string()),
    }
}

/// The operations of a `semop`: `0n`, `+1u`; n = without waiting, u = undone at the end.
fn operations(place: u64, count: u64, word: impl Fn(u64) -> u64) -> String {
    let half = |index: u64| (word(place + 2 * index) & 0xffff) as u16;
    // The segment's id, in as many parts as are not 0.
    if (0..count).all(|index| half(3 * index + 1).cast_signed() > 0 && half(3 * index + 2) == 0) {
        return "[mark]".to_owned();
    }
    let shown = (0..count.min(4)).map(|index| {
        let change = half(3 * index + 1).cast_signed();
        let flags = i32::from(half(3 * index + 2));
        let sign = if change > 0 { "+" } else { "" };
        // Units on a bell: any number.
        let amount = if change.abs() > 1 {
            format!("{}N", if change < 0 { "-" } else { "" })
        } else {
            change.to_string()
        };
        let no_wait = if flags & libc::IPC_NOWAIT != 0 { "n" } else { "" };
        let undo = if flags & libc::SEM_UNDO != 0 { "u" } else { "" };
        format!("{sign}{amount}{no_wait}{undo}")
    });
    format!("[{}]", shown.collect::<Vec<_>>().join(" "))
}

/// A path in the victim's memory.
fn path(place: u64, word: impl Fn(u64) -> u64) -> String {
    let bytes = (0..32).flat_map(|index| word(place + 8 * index).to_le_bytes());
    String::from_utf8_lossy(&bytes.take_while(|&byte| byte != 0).collect::<Vec<_>>()).into_owned()
}

fn shmctl(command: i32) -> &'static str {
    match command {
        libc::IPC_RMID => "shmctl(IPC_RMID)",
        libc::IPC_SET => "shmctl(IPC_SET)",
        libc::IPC_STAT => "shmctl(IPC_STAT)",
        11 => "shmctl(SHM_LOCK)",
        12 => "shmctl(SHM_UNLOCK)",
        13 => "shmctl(SHM_STAT)",
        14 => "shmctl(SHM_INFO)",
        15 => "shmctl(SHM_STAT_ANY)",
        _ => "shmctl(?)",
    }
}

fn semctl(command: i32) -> &'static str {
    match command {
        libc::IPC_RMID => "semctl(IPC_RMID)",
        libc::IPC_SET => "semctl(IPC_SET)",
        libc::IPC_STAT => "semctl(IPC_STAT)",
        11 => "semctl(GETPID)",
        12 => "semctl(GETVAL)",
        13 => "semctl(GETALL)",
        14 => "semctl(GETNCNT)",
        18 => "semctl(SEM_STAT)",
        19 => "semctl(SEM_INFO)",
        20 => "semctl(SEM_STAT_ANY)",
        _ => "semctl(?)",
    }
}
