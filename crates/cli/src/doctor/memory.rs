//! What memory this process may have, lock, and get in huge pages.

use super::facts::Files;

/// From here on a limit is the kernel's word for none.
const NONE: u64 = 1 << 62;

/// `CAP_IPC_LOCK` in the mask of capabilities.
const CAP_IPC_LOCK: u64 = 1 << 14;

/// How much may be locked into memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MemoryLock {
    Unknown,
    Unlimited,
    /// Bytes, by `RLIMIT_MEMLOCK`.
    Bytes(u64),
}

/// The memory limit of the control groups that this process is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MemoryLimit {
    Unknown,
    Unlimited,
    /// Of the group with the lowest.
    Bytes {
        limit: u64,
        used: u64,
    },
}

/// Huge pages; what cannot be read is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct HugePages {
    /// In the pool.
    pub(super) total: Option<u64>,
    pub(super) free: Option<u64>,
    /// Bytes of one.
    pub(super) bytes: Option<u64>,
    /// Whether the kernel uses them for shared memory of its own accord: the word that it marks as chosen.
    pub(super) transparent: Option<String>,
}

pub(super) fn lock(files: &Files) -> MemoryLock {
    let status = files.read("proc/self/status").unwrap_or_default();
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let mask = capabilities.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    if mask.is_some_and(|mask| mask & CAP_IPC_LOCK != 0) {
        return MemoryLock::Unlimited;
    }
    let limits = files.read("proc/self/limits").unwrap_or_default();
    let row = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"));
    match row.and_then(|row| row.split_whitespace().next()) {
        Some("unlimited") => MemoryLock::Unlimited,
        Some(bytes) => bytes.parse().map_or(MemoryLock::Unknown, MemoryLock::Bytes),
        None => MemoryLock::Unknown,
    }
}

pub(super) fn huge_pages(files: &Files) -> HugePages {
    let info = files.read("proc/meminfo").unwrap_or_default();
    let field = |name: &str| {
        let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value?.split_whitespace().next()?.parse::<u64>().ok()
    };
    let choices = files.read("sys/kernel/mm/transparent_hugepage/shmem_enabled").unwrap_or_default();
    let chosen = choices.split_whitespace().find_map(|word| word.strip_prefix('[')?.strip_suffix(']'));
    HugePages {
        total: field("HugePages_Total"),
        free: field("HugePages_Free"),
        bytes: field("Hugepagesize").map(|kib| kib.saturating_mul(1024)),
        transparent: chosen.map(str::to_owned),
    }
}

/// A limit holds for all groups below it, so that the way up to the root counts.
pub(super) fn limit(files: &Files) -> MemoryLimit {
    let groups = files.read("proc/self/cgroup").unwrap_or_default();
    let mut known = false;
    let mut lowest_limit: Option<(u64, u64)> = None;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (_, Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let (mounts, names): (&[&str], _) = if controllers.is_empty() {
            (&["sys/fs/cgroup", "sys/fs/cgroup/unified"], ("memory.max", "memory.current"))
        } else if controllers.split(',').any(|name| name == "memory") {
            (&["sys/fs/cgroup/memory"], ("memory.limit_in_bytes", "memory.usage_in_bytes"))
        } else {
            continue;
        };
        for mount in mounts {
            for group in ancestors(path) {
                let read = |name: &str| files.read(&format!("{mount}{group}/{name}"));
                let Some(limit) = read(names.0) else { continue };
                known = true;
                let Some(limit) = limit.trim().parse().ok().filter(|limit| *limit < NONE) else { continue };
                let used = read(names.1).and_then(|used| used.trim().parse().ok()).unwrap_or(0);
                if lowest_limit.is_none_or(|(lowest, _)| limit < lowest) {
                    lowest_limit = Some((limit, used));
                }
            }
        }
    }
    match lowest_limit {
        Some((limit, used)) => MemoryLimit::Bytes { limit, used },
        // The root group has no limit file; with groups at hand that is no limit.
        None if known => MemoryLimit::Unlimited,
        None => MemoryLimit::Unknown,
    }
}

/// `/a/b`, `/a` and the root, which is empty.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    let path = path.trim_end_matches('/');
    std::iter::successors(Some(path), |path| path.rfind('/').map(|end| &path[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::facts::tests::Tree;

    #[test]
    fn the_way_up() {
        assert_eq!(ancestors("/a/b").collect::<Vec<_>>(), ["/a/b", "/a", ""]);
        assert_eq!(ancestors("/").collect::<Vec<_>>(), [""]);
    }

    #[test]
    fn the_lowest_limit_counts() {
        let tree = Tree::new("cgroup");
        assert_eq!(limit(&tree.files()), MemoryLimit::Unknown);
        tree.put("proc/self/cgroup", "0::/a/b\n");
        assert_eq!(limit(&tree.files()), MemoryLimit::Unknown);
        tree.put("sys/fs/cgroup/a/b/memory.max", "max\n");
        assert_eq!(limit(&tree.files()), MemoryLimit::Unlimited);
        tree.put("sys/fs/cgroup/a/memory.max", "1000\n");
        tree.put("sys/fs/cgroup/a/memory.current", "900\n");
        tree.put("sys/fs/cgroup/a/b/memory.max", "500\n");
        tree.put("sys/fs/cgroup/a/b/memory.current", "100\n");
        assert_eq!(limit(&tree.files()), MemoryLimit::Bytes { limit: 500, used: 100 });
    }

    #[test]
    fn the_first_version_of_cgroups() {
        let tree = Tree::new("cgroup1");
        tree.put("proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/x\nnonsense\n");
        tree.put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(limit(&tree.files()), MemoryLimit::Unlimited);
        tree.put("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "4096\n");
        assert_eq!(limit(&tree.files()), MemoryLimit::Bytes { limit: 4096, used: 0 });
    }

    #[test]
    fn locks() {
        let tree = Tree::new("lock");
        assert_eq!(lock(&tree.files()), MemoryLock::Unknown);
        tree.put("proc/self/limits", "Limit   Soft\nMax locked memory   8388608   unlimited   bytes\n");
        assert_eq!(lock(&tree.files()), MemoryLock::Bytes(8_388_608));
        tree.put("proc/self/status", "CapEff:\t0000000000004000\n");
        assert_eq!(lock(&tree.files()), MemoryLock::Unlimited);
        tree.put("proc/self/status", "CapEff:\t0000000000000000\n");
        tree.put("proc/self/limits", "Max locked memory   unlimited   unlimited   bytes\n");
        assert_eq!(lock(&tree.files()), MemoryLock::Unlimited);
    }

    #[test]
    fn huge() {
        let tree = Tree::new("huge");
        assert_eq!(huge_pages(&tree.files()), HugePages::default());
        tree.put(
            "proc/meminfo",
            "HugePages_Total:       8\nHugePages_Free:        3\nHugepagesize:   2048 kB\n",
        );
        tree.put("sys/kernel/mm/transparent_hugepage/shmem_enabled", "always within_size [advise] never\n");
        let found = huge_pages(&tree.files());
        assert_eq!((found.total, found.free, found.bytes), (Some(8), Some(3), Some(2 << 20)));
        assert_eq!(found.transparent.as_deref(), Some("advise"));
    }
}
