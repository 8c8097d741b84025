//! What the system says, unjudged. Whatever cannot be found out is missing here, and is no error.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use nix::unistd::{Uid, User};
use sysring::system::{self, Limits, Needs, Usage};
use sysring::{Collector, FindingKind, Outcome, segment};

use super::logind::{self, Logind};
use super::memory::{self, HugePages, MemoryLimit, MemoryLock};
use super::self_test::{self, SelfTests};
use crate::state::{self, State};

/// All of it.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// Else what the kernel answered.
    pub(super) limits: Result<Limits, String>,
    /// Else what the kernel answered.
    pub(super) usage: Result<Usage, String>,
    /// Bytes.
    pub(super) page_size: u64,
    /// Of a channel that `create` makes without options.
    pub(super) default_needs: Needs,
    /// Of a channel with as many senders as there can be.
    pub(super) largest_needs: Needs,
    pub(super) namespaces: Namespaces,
    /// The effective user.
    pub(super) uid: u32,
    pub(super) logind: Logind,
    /// `kernel.shm_rmid_forced`.
    pub(super) rmid_forced: Option<bool>,
    pub(super) huge_pages: HugePages,
    pub(super) memory_lock: MemoryLock,
    pub(super) memory_limit: MemoryLimit,
    pub(super) self_tests: SelfTests,
    pub(super) leftovers: Result<Leftovers, String>,
    pub(super) channels: Result<Vec<Known>, String>,
}

/// Inodes of namespaces; `None` where `/proc` does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Namespaces {
    /// Of this process.
    pub(super) ipc: Option<u64>,
    /// Of process 1 of this pid namespace.
    pub(super) first_ipc: Option<u64>,
    /// Of this process.
    pub(super) pid: Option<u64>,
    /// What manages the container that this is in, if it says so.
    pub(super) container: Option<String>,
}

/// What the dead left behind, and channels that nobody is attached to: a line for each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Leftovers {
    pub(super) removable: Vec<String>,
    pub(super) idle: Vec<String>,
}

/// A channel that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) address: String,
    pub(super) state: State,
}

pub(super) fn gather() -> Facts {
    let files = Files::default();
    let uid = Uid::effective();
    let user = User::from_uid(uid).ok().flatten().map(|user| user.name);
    // Looked at before the self-tests make something of their own.
    let (limits, usage) = (system::limits(), system::usage());
    let (leftovers, channels) = (leftovers(), channels());
    let needs = |builder: sysring::Builder| builder.needs().expect("the builder's own bounds are kept");
    Facts {
        limits: limits.map_err(|error| error.to_string()),
        usage: usage.map_err(|error| error.to_string()),
        page_size: segment::page_size() as u64,
        default_needs: needs(sysring::mpsc()),
        largest_needs: needs(sysring::mpsc().senders(240)),
        namespaces: namespaces(&files),
        uid: uid.as_raw(),
        logind: logind::gather(&files, user),
        rmid_forced: rmid_forced(&files),
        huge_pages: memory::huge_pages(&files),
        memory_lock: memory::lock(&files),
        memory_limit: memory::limit(&files),
        self_tests: self_test::run(),
        leftovers,
        channels,
    }
}

fn namespaces(files: &Files) -> Namespaces {
    Namespaces {
        ipc: files.inode("proc/thread-self/ns/ipc"),
        first_ipc: files.inode("proc/1/ns/ipc"),
        pid: files.inode("proc/thread-self/ns/pid"),
        container: container(files),
    }
}

/// The marks that container managers leave.
fn container(files: &Files) -> Option<String> {
    let systemd = files.read("run/systemd/container").map(|text| text.trim().to_owned());
    if let Some(name) = systemd.filter(|name| !name.is_empty()) {
        return Some(name);
    }
    let marks = [
        (".dockerenv", "docker"),
        ("run/.containerenv", "podman"),
        ("var/run/secrets/kubernetes.io", "kubernetes"),
    ];
    marks.iter().find(|(file, _)| files.exists(file)).map(|(_, name)| (*name).to_owned())
}

fn rmid_forced(files: &Files) -> Option<bool> {
    match files.read("proc/sys/kernel/shm_rmid_forced")?.trim() {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

fn leftovers() -> Result<Leftovers, String> {
    let findings = Collector::new().dry_run(true).run().map_err(|error| error.to_string())?;
    let mut leftovers = Leftovers::default();
    for finding in findings {
        match (finding.outcome, finding.kind) {
            (Outcome::WouldRemove, _) => leftovers.removable.push(finding.to_string()),
            (_, FindingKind::Idle { .. }) => leftovers.idle.push(finding.to_string()),
            _ => {}
        }
    }
    Ok(leftovers)
}

fn channels() -> Result<Vec<Known>, String> {
    let listed = sysring::list().map_err(|error| error.to_string())?;
    Ok(listed
        .iter()
        .map(|listed| match &listed.outcome {
            Ok(stats) => Known { address: state::address(stats), state: State::of(stats) },
            Err(error) => {
                Known { address: state::unnamed(listed.key, listed.id), state: State::of_error(error) }
            }
        })
        .collect())
}

/// The files of the system, under another root in tests. Paths have no leading `/`.
#[derive(Clone, Debug)]
pub(super) struct Files(PathBuf);

impl Default for Files {
    fn default() -> Self {
        Self("/".into())
    }
}

impl Files {
    pub(super) fn read(&self, path: &str) -> Option<String> {
        let bytes = fs::read(self.path(path)).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    pub(super) fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// What is in a directory.
    pub(super) fn names(&self, directory: &str) -> Option<Vec<String>> {
        let entries = fs::read_dir(self.path(directory)).ok()?.flatten();
        Some(entries.filter_map(|entry| entry.file_name().into_string().ok()).collect())
    }

    /// Of what the path leads to.
    fn inode(&self, path: &str) -> Option<u64> {
        Some(fs::metadata(self.path(path)).ok()?.ino())
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::process;

    use super::*;

    /// A made-up file system, which goes with the test.
    pub(in crate::doctor) struct Tree(PathBuf);

    impl Tree {
        pub(in crate::doctor) fn new(test: &str) -> Self {
            let root = std::env::temp_dir().join(format!("sysring-doctor-{}-{test}", process::id()));
            fs::create_dir(&root).unwrap();
            Self(root)
        }

        pub(in crate::doctor) fn put(&self, path: &str, text: &str) {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        pub(in crate::doctor) fn files(&self) -> Files {
            Files(self.0.clone())
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn containers_are_known_by_their_marks() {
        let tree = Tree::new("container");
        assert_eq!(container(&tree.files()), None);
        tree.put(".dockerenv", "");
        assert_eq!(container(&tree.files()).as_deref(), Some("docker"));
        tree.put("run/systemd/container", "lxc\n");
        assert_eq!(container(&tree.files()).as_deref(), Some("lxc"));
    }

    #[test]
    fn what_cannot_be_read_is_missing() {
        let files = Tree::new("empty").files();
        assert_eq!(namespaces(&files), Namespaces::default());
        assert_eq!(rmid_forced(&files), None);
    }
}
