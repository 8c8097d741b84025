//! systemd's `RemoveIPC`: at the end of a user's last session logind removes the user's semaphore sets, also those in
//! use, and the segments that nobody is attached to.

use super::facts::Files;

/// Where systemd looks for its configuration, the strongest first.
const DIRECTORIES: [&str; 4] = ["etc/systemd", "run/systemd", "usr/local/lib/systemd", "usr/lib/systemd"];

/// What is known about logind and this user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Logind {
    /// Whether it runs, as far as can be seen from this pid namespace; `None` if nothing can.
    pub(super) runs: Option<bool>,
    /// Its setting.
    pub(super) remove_ipc: RemoveIpc,
    /// Name of the effective user.
    pub(super) user: Option<String>,
    /// Whether that user's sessions never count as ended.
    pub(super) lingers: bool,
}

/// The setting and where it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RemoveIpc {
    pub(super) on: bool,
    /// The file that says so; `None` for what logind was built with.
    pub(super) file: Option<String>,
}

pub(super) fn gather(files: &Files, user: Option<String>) -> Logind {
    let lingers = user.as_ref().is_some_and(|user| {
        !user.is_empty() && !user.contains('/') && files.exists(&format!("var/lib/systemd/linger/{user}"))
    });
    Logind { runs: runs(files), remove_ipc: remove_ipc(files), user, lingers }
}

fn runs(files: &Files) -> Option<bool> {
    // The unit's cgroup shows it also where /proc hides other users' processes.
    let unit = "system.slice/systemd-logind.service";
    if ["sys/fs/cgroup", "sys/fs/cgroup/systemd", "sys/fs/cgroup/unified"]
        .iter()
        .any(|hierarchy| files.exists(&format!("{hierarchy}/{unit}")))
    {
        return Some(true);
    }
    let processes = files.names("proc")?;
    let mut pids = processes.iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    Some(pids.any(|pid| {
        files.read(&format!("proc/{pid}/comm")).is_some_and(|comm| comm.trim_end() == "systemd-logind")
    }))
}

/// As systemd reads it: the first main file there is, then all drop-ins by their names, of which those of the same name
/// hide each other; the last assignment counts.
fn remove_ipc(files: &Files) -> RemoveIpc {
    // systemd is built with "yes"; distributions change that, and then say so in a comment of the main file.
    let mut setting = RemoveIpc { on: true, file: None };
    let main = DIRECTORIES.iter().map(|directory| format!("{directory}/logind.conf"));
    if let Some((file, text)) = main.into_iter().find_map(|file| Some((file.clone(), files.read(&file)?))) {
        if let Some(on) = built_in(&text) {
            setting.on = on;
        }
        if let Some(on) = assigned(&text) {
            setting = RemoveIpc { on, file: Some(format!("/{file}")) };
        }
    }
    for file in drop_ins(files) {
        if let Some(on) = files.read(&file).as_deref().and_then(assigned) {
            setting = RemoveIpc { on, file: Some(format!("/{file}")) };
        }
    }
    setting
}

fn drop_ins(files: &Files) -> Vec<String> {
    let mut found: Vec<(String, String)> = Vec::new();
    for directory in DIRECTORIES {
        let directory = format!("{directory}/logind.conf.d");
        for name in files.names(&directory).unwrap_or_default() {
            if name.ends_with(".conf") && !found.iter().any(|(known, _)| *known == name) {
                found.push((name.clone(), format!("{directory}/{name}")));
            }
        }
    }
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}

/// The last valid `RemoveIPC=` of the section `[Login]`.
fn assigned(text: &str) -> Option<bool> {
    let mut section = "";
    let mut last = None;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name;
        } else if section == "Login"
            && let Some((key, value)) = line.split_once('=')
            && key.trim_end() == "RemoveIPC"
        {
            // systemd passes over what is no truth value.
            last = boolean(value.trim()).or(last);
        }
    }
    last
}

/// The comment that tells what systemd was built with.
fn built_in(text: &str) -> Option<bool> {
    text.lines().find_map(|line| boolean(line.trim().strip_prefix('#')?.trim().strip_prefix("RemoveIPC=")?))
}

/// A truth value, as systemd writes them.
fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Some(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::facts::tests::Tree;

    fn setting(on: bool, file: Option<&str>) -> RemoveIpc {
        RemoveIpc { on, file: file.map(str::to_owned) }
    }

    #[test]
    fn without_a_file_it_is_on() {
        assert_eq!(remove_ipc(&Tree::new("none").files()), setting(true, None));
    }

    #[test]
    fn a_comment_in_the_main_file_tells_what_it_was_built_with() {
        let tree = Tree::new("comment");
        tree.put("usr/lib/systemd/logind.conf", "[Login]\n#RemoveIPC=no\n");
        assert_eq!(remove_ipc(&tree.files()), setting(false, None));
        // The first file found is the only one.
        tree.put("etc/systemd/logind.conf", "# nothing\n");
        assert_eq!(remove_ipc(&tree.files()), setting(true, None));
    }

    #[test]
    fn the_last_assignment_counts() {
        let tree = Tree::new("order");
        tree.put("etc/systemd/logind.conf", "[Login]\nRemoveIPC=no\n; x\n[Other]\nRemoveIPC=yes\n");
        assert_eq!(remove_ipc(&tree.files()), setting(false, Some("/etc/systemd/logind.conf")));
        tree.put("usr/lib/systemd/logind.conf.d/50-a.conf", "[Login]\n RemoveIPC = On\n");
        let vendor = setting(true, Some("/usr/lib/systemd/logind.conf.d/50-a.conf"));
        assert_eq!(remove_ipc(&tree.files()), vendor);
        tree.put("run/systemd/logind.conf.d/40-b.conf", "[Login]\nRemoveIPC=no\n");
        assert_eq!(remove_ipc(&tree.files()), vendor, "an earlier name");
        tree.put("etc/systemd/logind.conf.d/60-c.conf", "[Login]\nRemoveIPC=off\nRemoveIPC=perhaps\n");
        let local = setting(false, Some("/etc/systemd/logind.conf.d/60-c.conf"));
        assert_eq!(remove_ipc(&tree.files()), local);
        tree.put("etc/systemd/logind.conf.d/60-c.conf.bak", "[Login]\nRemoveIPC=yes\n");
        assert_eq!(remove_ipc(&tree.files()), local, "not a .conf");
        // One of the same name in a stronger directory hides it, even if it says nothing.
        tree.put("etc/systemd/logind.conf.d/50-a.conf", "");
        tree.put("etc/systemd/logind.conf.d/60-c.conf", "");
        assert_eq!(remove_ipc(&tree.files()), setting(false, Some("/run/systemd/logind.conf.d/40-b.conf")));
    }

    #[test]
    fn what_is_no_assignment_is_passed_over() {
        for text in
            ["", "RemoveIPC=no", "[Login]\n#RemoveIPC=no", "[Login]\nRemoveIPC=", "[Login]\nremoveipc=no"]
        {
            assert_eq!(assigned(text), None, "{text}");
        }
        assert_eq!(assigned("[Login]\r\nRemoveIPC=FALSE\r\n"), Some(false));
    }

    #[test]
    fn logind_is_seen_by_its_process_or_its_cgroup() {
        let tree = Tree::new("runs");
        assert_eq!(runs(&tree.files()), None);
        tree.put("proc/77/comm", "bash\n");
        tree.put("proc/self/comm", "systemd-logind\n");
        assert_eq!(runs(&tree.files()), Some(false));
        tree.put("proc/78/comm", "systemd-logind\n");
        assert_eq!(runs(&tree.files()), Some(true));
        let tree = Tree::new("unit");
        tree.put("sys/fs/cgroup/system.slice/systemd-logind.service/cgroup.procs", "1\n");
        assert_eq!(runs(&tree.files()), Some(true));
    }

    #[test]
    fn lingering_is_a_file_with_the_users_name() {
        let tree = Tree::new("linger");
        tree.put("var/lib/systemd/linger/ada", "");
        assert!(gather(&tree.files(), Some("ada".into())).lingers);
        for other in [None, Some("bob"), Some(""), Some("../linger/ada")] {
            assert!(!gather(&tree.files(), other.map(str::to_owned)).lingers, "{other:?}");
        }
    }
}
