//! Each line in each of its states, on made-up facts.

use std::time::Duration;

use sysring::system;

use super::*;
use crate::doctor::facts::{Known, Leftovers};
use crate::doctor::logind::{Logind, RemoveIpc};
use crate::doctor::memory::HugePages;
use crate::doctor::self_test::SelfTests;

/// A machine on which all is well.
fn well() -> Facts {
    let mut limits = system::limits().unwrap();
    limits.segments = 4096;
    limits.segment_bytes = u64::MAX - (1 << 24);
    limits.pages = u64::MAX - (1 << 24);
    limits.sets = 32_000;
    limits.semaphores = 1_024_000_000;
    limits.set_semaphores = 32_000;
    limits.operations = 500;
    limits.semaphore_value = 32_767;
    let mut usage = system::usage().unwrap();
    (usage.segments, usage.pages, usage.resident_pages) = (2, 1000, 10);
    (usage.sets, usage.semaphores) = (2, 100);
    Facts {
        limits: Ok(limits),
        usage: Ok(usage),
        page_size: 4096,
        default_needs: sysring::mpsc().needs().unwrap(),
        largest_needs: sysring::mpsc().senders(240).needs().unwrap(),
        namespaces: Namespaces {
            ipc: Some(MACHINE_IPC),
            first_ipc: Some(MACHINE_IPC),
            pid: Some(MACHINE_PID),
            container: None,
        },
        uid: 1000,
        logind: Logind {
            runs: Some(true),
            remove_ipc: RemoveIpc { on: false, file: Some("/etc/systemd/logind.conf".into()) },
            user: Some("ada".into()),
            lingers: false,
        },
        rmid_forced: Some(false),
        huge_pages: HugePages {
            total: Some(0),
            free: Some(0),
            bytes: Some(2 << 20),
            transparent: Some("never".into()),
        },
        memory_lock: MemoryLock::Unlimited,
        memory_limit: MemoryLimit::Unlimited,
        self_tests: SelfTests {
            message: Ok(Duration::from_micros(3)),
            undo: Undo::Works(Duration::from_micros(200)),
            membarrier: Ok(true),
        },
        leftovers: Ok(Leftovers::default()),
        channels: Ok(Vec::new()),
    }
}

/// The line of this id, with the facts changed so.
#[track_caller]
fn check(id: &str, change: impl FnOnce(&mut Facts)) -> Check {
    let mut facts = well();
    change(&mut facts);
    let mut checks = judge(&facts);
    for check in &checks {
        assert_eq!(check.advice.is_some(), check.status >= Status::Warning, "{check:?}");
        assert!(!check.summary.is_empty() && !check.summary.contains('\n'), "{check:?}");
        assert_eq!(check.limit.is_some(), check.unit.is_some(), "{check:?}");
    }
    checks.retain(|check| check.id == id);
    assert_eq!(checks.len(), 1, "{id}");
    checks.remove(0)
}

/// Its status, and words in its summary and its advice.
#[track_caller]
fn says(id: &str, change: impl FnOnce(&mut Facts), status: Status, words: &[&str]) {
    let check = check(id, change);
    assert_eq!(check.status, status, "{check:?}");
    let text = format!("{} {} {}", check.summary, check.advice.unwrap_or_default(), check.details.join(" "));
    for word in words {
        assert!(text.contains(word), "no {word:?} in {text}");
    }
}

fn limits(facts: &mut Facts) -> &mut Limits {
    facts.limits.as_mut().unwrap()
}

fn usage(facts: &mut Facts) -> &mut Usage {
    facts.usage.as_mut().unwrap()
}

use Status::{Info, Ok as Fine, Problem, Warning};

#[test]
fn a_good_machine_is_well() {
    let checks = judge(&well());
    for check in &checks {
        assert!(check.status <= Info && check.advice.is_none(), "{check:?}");
        assert!(check.status == Fine || check.id == "huge-pages", "{check:?}");
    }
    let mut ids: Vec<&str> = checks.iter().map(|check| check.id).collect();
    assert_eq!(ids.len(), 20);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 20, "{ids:?}");
}

#[test]
fn segments() {
    says("shmmni", |_| {}, Fine, &["2 of 4096 segments"]);
    says("shmmni", |facts| usage(facts).segments = 3276, Fine, &[]);
    says(
        "shmmni",
        |facts| usage(facts).segments = 3277,
        Warning,
        &["nearly full", "kernel.shmmni=8192", "gc"],
    );
    says("shmmni", |facts| usage(facts).segments = 4096, Problem, &["no channel can be made"]);
    let full = |facts: &mut Facts| {
        limits(facts).segments = 32_768;
        usage(facts).segments = 32_768;
    };
    says("shmmni", full, Problem, &["ipcrm -m"]);
    assert!(!check("shmmni", full).advice.unwrap().contains("sysctl"), "the kernel can have no more");
    says("shmmni", |facts| limits(facts).segments = 0, Problem, &["kernel.shmmni=4096"]);
    let found = check("shmmni", |_| {});
    assert_eq!((found.used, found.limit, found.unit), (Some(2), Some(4096), Some("segments")));
}

#[test]
fn pages_in_all() {
    says("shmall", |_| {}, Fine, &["1000 pages in use", "no limit"]);
    says("shmall", |facts| limits(facts).pages = 100_000, Fine, &["1000 of 100000 pages", "in memory"]);
    let nearly = |facts: &mut Facts| {
        limits(facts).pages = 1_000_000;
        usage(facts).pages = 900_000;
    };
    says("shmall", nearly, Warning, &["nearly full", "kernel.shmall=2000000"]);
    says(
        "shmall",
        |facts| limits(facts).pages = 2000,
        Problem,
        &["a default channel needs 16396", "kernel.shmall="],
    );
    says("shmall", |facts| usage(facts).pages = u64::MAX, Problem, &["kernel.shmall="]);
}

#[test]
fn bytes_of_a_segment() {
    says("shmmax", |_| {}, Fine, &["any size", "enough for 240"]);
    says("shmmax", |facts| limits(facts).segment_bytes = 100 << 20, Warning, &["240 senders", "268435456"]);
    says(
        "shmmax",
        |facts| limits(facts).segment_bytes = 32 << 20,
        Problem,
        &["too small for a default", "32.00 MiB"],
    );
}

#[test]
fn sets() {
    says("semmni", |_| {}, Fine, &["2 of 32000 sets"]);
    let nearly = |facts: &mut Facts| {
        limits(facts).sets = 10;
        usage(facts).sets = 8;
    };
    says("semmni", nearly, Warning, &["sysctl -w kernel.sem='32000 1024000000 500 1024'"]);
    says("semmni", |facts| usage(facts).sets = 32_000, Problem, &["no channel", "500 32768'", "ipcrm -s"]);
    let full = |facts: &mut Facts| {
        limits(facts).sets = 32_768;
        usage(facts).sets = 32_768;
    };
    assert!(!check("semmni", full).advice.unwrap().contains("sysctl"));
}

#[test]
fn semaphores_in_all() {
    says("semmns", |_| {}, Fine, &["100 of 1024000000 semaphores"]);
    says("semmns", |facts| limits(facts).semaphores = 233, Problem, &["a default channel needs 134"]);
    says(
        "semmns",
        |facts| limits(facts).semaphores = 585,
        Warning,
        &["240 senders needs 486", "32000 1172 500"],
    );
    says("semmns", |facts| limits(facts).semaphores = 586, Fine, &[]);
    let nearly = |facts: &mut Facts| {
        limits(facts).semaphores = 10_000;
        usage(facts).semaphores = 9000;
    };
    says("semmns", nearly, Warning, &["nearly full", "32000 20000 500"]);
    says("semmns", |facts| usage(facts).semaphores = u32::MAX, Problem, &["32000 2147483647 500"]);
}

#[test]
fn semaphores_of_a_set_and_operations_of_a_call() {
    says("semmsl", |_| {}, Fine, &["enough for 240"]);
    says("semmsl", |facts| limits(facts).set_semaphores = 250, Warning, &["enough for 122 senders", "'486 "]);
    says(
        "semmsl",
        |facts| limits(facts).set_semaphores = 100,
        Problem,
        &["enough for 47 senders only", "134"],
    );
    says("semmsl", |facts| limits(facts).set_semaphores = 7, Problem, &["too few for any channel"]);
    says("semopm", |_| {}, Fine, &["enough for 240"]);
    says("semopm", |facts| limits(facts).operations = 200, Warning, &["enough for 99 senders", " 482 "]);
    says("semopm", |facts| limits(facts).operations = 32, Problem, &["enough for 15 senders only", "130"]);
    says("semopm", |facts| limits(facts).operations = 0, Problem, &["too few for any channel"]);
    // What one line advises puts the others right as well.
    let all = |facts: &mut Facts| {
        limits(facts).set_semaphores = 100;
        limits(facts).operations = 32;
    };
    says("semmsl", all, Problem, &["kernel.sem='486 1024000000 482 32000'"]);
    says("semopm", all, Problem, &["kernel.sem='486 1024000000 482 32000'"]);
}

#[test]
fn the_value_of_a_semaphore() {
    says("semvmx", |_| {}, Fine, &["32767"]);
    says("semvmx", |facts| limits(facts).semaphore_value = 100, Problem, &["counts on 32767"]);
}

#[test]
fn limits_that_cannot_be_read_are_unknown() {
    for id in LIMITS {
        says(id, |facts| facts.limits = Err("ENOSYS".into()), Info, &["unknown: ENOSYS"]);
        says(id, |facts| facts.usage = Err("EPERM".into()), Info, &["unknown: EPERM"]);
    }
}

#[test]
fn in_a_container_a_limit_is_set_from_outside() {
    let inside = |facts: &mut Facts| {
        facts.namespaces.ipc = Some(7);
        usage(facts).segments = 4096;
    };
    says("shmmni", inside, Problem, &["--sysctl kernel.shmmni=8192"]);
}

#[test]
fn namespaces() {
    says("ipc-namespace", |_| {}, Fine, &["the machine's own"]);
    says("ipc-namespace", |facts| facts.namespaces.ipc = None, Info, &["unknown"]);
    let own = |first| {
        move |facts: &mut Facts| (facts.namespaces.ipc, facts.namespaces.first_ipc) = (Some(7), first)
    };
    says("ipc-namespace", own(Some(7)), Info, &["own, that of process 1", "ipc:[7]", "--ipc=host"]);
    says("ipc-namespace", own(Some(8)), Info, &["not that of process 1 either"]);
    says("ipc-namespace", own(None), Info, &["not the machine's own"]);
    let docker = |facts: &mut Facts| {
        facts.namespaces.ipc = Some(7);
        facts.namespaces.container = Some("docker".into());
    };
    says("ipc-namespace", docker, Info, &["in a container (docker)"]);
    says("pid-namespace", |_| {}, Fine, &["the machine's own"]);
    says("pid-namespace", |facts| facts.namespaces.pid = None, Info, &["unknown"]);
    says("pid-namespace", |facts| facts.namespaces.pid = Some(9), Info, &["pid:[9]", "not shown"]);
}

#[test]
fn systemd_removes_only_what_is_left_of_ordinary_users() {
    let on = |facts: &mut Facts| facts.logind.remove_ipc = RemoveIpc { on: true, file: None };
    let and = |change: fn(&mut Facts)| {
        move |facts: &mut Facts| {
            on(facts);
            change(facts);
        }
    };
    says("remove-ipc", |_| {}, Fine, &["RemoveIPC=no (/etc/systemd/logind.conf)"]);
    says(
        "remove-ipc",
        on,
        Warning,
        &["by default", "ada logs out", "loginctl enable-linger ada", "RemoveIPC=no"],
    );
    says("remove-ipc", and(|facts| facts.logind.user = None), Warning, &["enable-linger 1000"]);
    says("remove-ipc", and(|facts| facts.uid = 0), Fine, &["system users such as uid 0"]);
    says("remove-ipc", and(|facts| facts.uid = 999), Fine, &["uid 999"]);
    says("remove-ipc", and(|facts| facts.uid = NOBODY), Fine, &["uid 65534"]);
    says("remove-ipc", and(|facts| facts.logind.lingers = true), Fine, &["ada, who lingers"]);
    says("remove-ipc", and(|facts| facts.logind.runs = Some(false)), Fine, &["does not run"]);
    says("remove-ipc", and(|facts| facts.logind.runs = None), Info, &["unknown"]);
    says("remove-ipc", and(|facts| facts.namespaces.ipc = Some(7)), Fine, &["does not reach"]);
    // Outside the pid namespace somebody may be at work whom we do not see.
    let hidden = |facts: &mut Facts| {
        facts.namespaces.pid = Some(9);
        facts.namespaces.first_ipc = None;
        facts.logind.runs = Some(false);
    };
    says("remove-ipc", and(hidden), Info, &["cannot be seen"]);
}

#[test]
fn forced_removal_breaks_named_channels() {
    says("shm-rmid-forced", |_| {}, Fine, &["channels stay"]);
    says("shm-rmid-forced", |facts| facts.rmid_forced = None, Info, &["unknown"]);
    says("shm-rmid-forced", |facts| facts.rmid_forced = Some(true), Problem, &["kernel.shm_rmid_forced=0"]);
}

#[test]
fn memory() {
    says("memory-limit", |_| {}, Fine, &["none"]);
    says("memory-limit", |facts| facts.memory_limit = MemoryLimit::Unknown, Info, &["unknown"]);
    let bytes =
        |limit, used| move |facts: &mut Facts| facts.memory_limit = MemoryLimit::Bytes { limit, used };
    says("memory-limit", bytes(1 << 30, 1 << 30), Fine, &["1.00 GiB of 1.00 GiB"]);
    says("memory-limit", bytes(1 << 20, 0), Warning, &["too little", "memory.max", "--capacity"]);
    says("memory-lock", |_| {}, Fine, &["no limit"]);
    says("memory-lock", |facts| facts.memory_lock = MemoryLock::Unknown, Info, &["unknown"]);
    says(
        "memory-lock",
        |facts| facts.memory_lock = MemoryLock::Bytes(8 << 20),
        Info,
        &["8.00 MiB", "not even one"],
    );
    says(
        "memory-lock",
        |facts| facts.memory_lock = MemoryLock::Bytes(1 << 30),
        Info,
        &["a default channel fits"],
    );
    says("huge-pages", |_| {}, Info, &["none in the pool", "shared memory: never"]);
    says("huge-pages", |facts| facts.huge_pages = HugePages::default(), Info, &["unknown"]);
    let some = |facts: &mut Facts| (facts.huge_pages.total, facts.huge_pages.free) = (Some(8), Some(3));
    says("huge-pages", some, Info, &["3 of 8 of 2.00 MiB free"]);
    // What cannot be is no reason to panic.
    says("huge-pages", |facts| facts.huge_pages.free = Some(u64::MAX), Info, &[]);
}

#[test]
fn self_tests() {
    says("message", |_| {}, Fine, &["3.0 us"]);
    says(
        "message",
        |facts| facts.self_tests.message = Err("shmget failed".into()),
        Problem,
        &["shmget failed"],
    );
    says("sem-undo", |_| {}, Fine, &["0.20 ms"]);
    says("sem-undo", |facts| facts.self_tests.undo = Undo::Broken("still".into()), Problem, &["SEM_UNDO"]);
    says("sem-undo", |facts| facts.self_tests.undo = Undo::Untried("no".into()), Warning, &["not tried: no"]);
    says("membarrier", |_| {}, Fine, &["no fence"]);
    says("membarrier", |facts| facts.self_tests.membarrier = Ok(false), Warning, &["4.16"]);
    says(
        "membarrier",
        |facts| facts.self_tests.membarrier = Err("EPERM".into()),
        Warning,
        &["EPERM", "seccomp"],
    );
}

#[test]
fn what_is_there_and_what_is_left() {
    says("leftovers", |_| {}, Fine, &["nothing"]);
    says("leftovers", |facts| facts.leftovers = Err("ENOSYS".into()), Info, &["unknown: ENOSYS"]);
    let left = |facts: &mut Facts| {
        facts.leftovers = Ok(Leftovers { removable: vec!["set 7".into()], idle: vec!["segment 8".into()] });
    };
    says("leftovers", left, Warning, &["1 object behind", "sysring gc", "set 7"]);
    let known = |state| Known { address: format!("it is {}", State::text(state)), state };
    says("channels", |_| {}, Fine, &["none"]);
    says("channels", |facts| facts.channels = Err("ENOSYS".into()), Info, &["unknown: ENOSYS"]);
    let some = |facts: &mut Facts| {
        facts.channels = Ok(vec![known(State::Idle), known(State::InUse), known(State::Idle)]);
        left(facts);
    };
    says("channels", some, Info, &["3: 1 in use, 2 idle", "segment 8"]);
    let damaged = |facts: &mut Facts| facts.channels = Ok(vec![known(State::Damaged)]);
    says("channels", damaged, Warning, &["1: 1 damaged", "damaged: it is damaged", "sysring rm"]);
}
