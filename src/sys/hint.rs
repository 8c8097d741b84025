//! What to do about an errno of System V calls, which mislead more often than others.

use super::Errno;

/// One sentence part that says what `errno` means when it comes from `call`, and what to do about
/// it; empty if the errno speaks for itself.
///
/// `call` is the name as the manual prints it, with the command for the `ctl` calls:
/// `"shmget"`, `"shmat"`, `"shmctl(SHM_LOCK)"`, `"semget"`, `"semop"`, `"ftok"`.
pub(crate) fn hint(call: &str, errno: Errno) -> &'static str {
    match (call, errno) {
        ("shmget", Errno::ENOSPC) => {
            "a kernel limit, not a disk: too many segments (kernel.shmmni) or too many pages in \
             them (kernel.shmall); remove unused ones (ipcs -m, ipcrm -m ID) or raise the limit \
             with sysctl"
        }
        ("semget", Errno::ENOSPC) => {
            "a kernel limit, not a disk: too many semaphore sets or semaphores (kernel.sem, 4th \
             and 2nd number); remove unused ones (ipcs -s, ipcrm -s ID) or raise the limit with \
             sysctl"
        }
        ("semop" | "semtimedop", Errno::ENOSPC) => "the kernel has no room for more undo entries",
        ("shmget", Errno::EINVAL) => {
            "the size is 0, or above kernel.shmmax, or larger than the segment that is there"
        }
        ("semget", Errno::EINVAL) => {
            "the set that is there has fewer semaphores, or more were asked for than kernel.sem \
             (1st number) allows"
        }
        ("semget", Errno::EEXIST) => {
            "every key that was tried has a set; remove unused ones (ipcs -s, ipcrm -s ID)"
        }
        ("shmget", Errno::ENFILE) => "the kernel can open no more files, and a segment is one (fs.file-max)",
        ("shmget", Errno::ENOMEM) => {
            "no memory for a segment of that size; for huge pages: not enough in the pool \
             (vm.nr_hugepages)"
        }
        ("shmget", Errno::EPERM) => {
            "huge pages need CAP_IPC_LOCK or membership in the group vm.hugetlb_shm_group"
        }
        ("shmat", Errno::ENOMEM) => "no address space left for it (ulimit -v)",
        ("shmctl(SHM_LOCK)", Errno::ENOMEM) => {
            "more memory than this process may lock; raise the limit (ulimit -l)"
        }
        ("shmctl(SHM_LOCK)" | "shmctl(SHM_UNLOCK)", Errno::EPERM) => {
            "only its owner, its creator or root may do that, and the limit on locked memory \
             (ulimit -l) must not be 0"
        }
        ("semget" | "semop" | "semtimedop" | "semctl(GETALL)" | "semctl(SEM_INFO)", Errno::ENOMEM) => {
            "the kernel has no memory for it"
        }
        ("semop" | "semtimedop", Errno::E2BIG) => "more operations than kernel.sem (3rd number) allows",
        ("semop" | "semtimedop", Errno::EFBIG) => "the set has fewer semaphores than expected: not ours",
        ("semop" | "semtimedop", Errno::ERANGE) => "a semaphore is at its limit of 32,767",
        ("ftok", Errno::ENOENT) => "the file must exist, because the key is made from its inode",
        ("ftok", Errno::EINVAL) => "the path has a zero byte in it",
        ("ftok", Errno::EACCES) => "a directory on the way cannot be searched by this user",
        ("ftok", _) => "the key is made from the file's inode, and the file could not be looked at",
        (_, Errno::EACCES) => {
            "its mode does not let this user in; its owner can change that (ipcs shows owner and \
             mode)"
        }
        (_, Errno::EPERM) => "only its owner, its creator or root may do that",
        (_, Errno::ENOENT) => "nothing has this key; create it first",
        (_, Errno::EEXIST) => "something has this key already; open it, or remove it first",
        (_, Errno::EIDRM) => "it was removed in the meantime",
        ("shmat" | "semop" | "semtimedop", Errno::EINVAL) => "nothing has this id any more; it was removed",
        (ctl, Errno::EINVAL) if ctl.starts_with("shmctl") || ctl.starts_with("semctl") => {
            "nothing has this id any more; it was removed"
        }
        (_, Errno::EOVERFLOW) => "its owner, or a number of it, has no place in this kernel's answer",
        (_, Errno::ENOSYS) => "this kernel was built without System V IPC",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hint_is_one_line() {
        let calls = ["shmget", "shmat", "shmctl(IPC_STAT)", "shmctl(SHM_LOCK)", "semget", "semop"];
        for call in calls {
            for raw in 1..134 {
                let text = hint(call, Errno::from_raw(raw));
                assert!(!text.contains('\n') && !text.contains("  "), "{call} {raw}: {text}");
            }
        }
    }

    #[test]
    fn limits_are_named() {
        assert!(hint("shmget", Errno::ENOSPC).contains("kernel.shmmni"));
        assert!(hint("semget", Errno::ENOSPC).contains("kernel.sem"));
        assert!(hint("shmctl(SHM_LOCK)", Errno::ENOMEM).contains("ulimit -l"));
        assert!(hint("shmctl(IPC_STAT)", Errno::EINVAL).contains("removed"));
        assert_eq!(hint("shmget", Errno::ERANGE), "");
    }
}
