//! What the facts mean, and what to do. Asks the system nothing, so that every state of every line can be tested.

use indicatif::BinaryBytes;
use sysring::system::{Limits, Needs, Usage};

use super::facts::{Facts, Namespaces};
use super::memory::{MemoryLimit, MemoryLock};
use super::self_test::Undo;
use super::show::number;
use super::{Check, Group, Status};
use crate::state::State;

/// The kernel gives the namespaces that it begins with these inodes (`PROC_IPC_INIT_INO`, `PROC_PID_INIT_INO`).
const MACHINE_IPC: u64 = 0xefff_ffff;
const MACHINE_PID: u64 = 0xefff_fffc;

/// From here on a limit is the kernel's word for none.
const NONE: u64 = 1 << 60;

/// As many segments or sets as the kernel can have at most (`IPCMNI`).
const MOST_OBJECTS: u64 = 32_768;

/// The first user id that systemd does not take for a system user; and nobody's.
const FIRST_USER: u32 = 1000;
const NOBODY: u32 = 65_534;

pub(super) fn judge(facts: &Facts) -> Vec<Check> {
    let mut checks = limits(facts);
    checks.extend([
        ipc_namespace(&facts.namespaces),
        pid_namespace(&facts.namespaces),
        remove_ipc(facts),
        rmid_forced(facts),
        memory_limit(facts),
        memory_lock(facts),
        huge_pages(facts),
        message(facts),
        undo(facts),
        membarrier(facts),
        leftovers(facts),
        channels(facts),
    ]);
    checks
}

impl Check {
    fn new(id: &'static str, group: Group, status: Status, summary: impl Into<String>) -> Self {
        let summary = summary.into();
        Self {
            id,
            group,
            status,
            summary,
            used: None,
            limit: None,
            unit: None,
            advice: None,
            details: Vec::new(),
        }
    }

    fn unknown(id: &'static str, group: Group, why: &str) -> Self {
        Self::new(id, group, Status::Info, format!("unknown: {why}"))
    }

    fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    fn figures(mut self, used: Option<u64>, limit: u64, unit: &'static str) -> Self {
        (self.used, self.limit, self.unit) = (used, Some(limit), Some(unit));
        self
    }

    /// Advice is for what is not well.
    fn advised(self, advice: impl FnOnce() -> String) -> Self {
        if self.status >= Status::Warning { self.advice(advice()) } else { self }
    }
}

const LIMITS: [&str; 8] = ["shmmni", "shmall", "shmmax", "semmni", "semmns", "semmsl", "semopm", "semvmx"];

fn limits(facts: &Facts) -> Vec<Check> {
    let (limits, usage) = match (&facts.limits, &facts.usage) {
        (Ok(limits), Ok(usage)) => (limits, usage),
        (Err(why), _) | (_, Err(why)) => {
            return LIMITS.map(|id| Check::unknown(id, Group::Limits, why)).to_vec();
        }
    };
    let at_home = facts.namespaces.ipc.is_none_or(|ipc| ipc == MACHINE_IPC);
    let sysctl = |setting: &str, value: String| sysctl(setting, &value, at_home);
    let (small, large) = (&facts.default_needs, &facts.largest_needs);
    let sem = || sysctl("kernel.sem", enough_semaphores(limits, usage, large));
    vec![
        objects("shmmni", "segments", usage.segments, limits.segments)
            .advised(|| more_objects("kernel.shmmni", limits.segments, &sysctl)),
        pages(facts, limits, usage).advised(|| {
            let wanted =
                limits.pages.saturating_mul(2).max(usage.pages.saturating_add(pages_of(large, facts)));
            format!(
                "remove segments that nobody needs ('sysring gc', 'ipcs -m'), or: {}",
                sysctl("kernel.shmall", wanted.to_string())
            )
        }),
        segment_bytes(limits, small, large)
            .advised(|| sysctl("kernel.shmmax", large.segment_bytes.next_power_of_two().to_string())),
        objects("semmni", "sets", usage.sets.into(), limits.sets.into()).advised(|| {
            if u64::from(limits.sets) >= MOST_OBJECTS {
                remove_some("-s")
            } else {
                format!("{}, or: {}", remove_some("-s"), sem())
            }
        }),
        semaphores(limits, usage, small, large).advised(|| format!("{}, or: {}", remove_some("-s"), sem())),
        per_set(limits, small, large).advised(sem),
        per_call(limits, small, large).advised(sem),
        value(limits),
    ]
}

fn sysctl(setting: &str, value: &str, at_home: bool) -> String {
    let value = if value.contains(' ') { format!("'{value}'") } else { value.to_owned() };
    if at_home {
        format!("as root: sysctl -w {setting}={value} (in /etc/sysctl.d it stays)")
    } else {
        format!(
            "as root in this IPC namespace: sysctl -w {setting}={value} (or where the container is started: \
             --sysctl {setting}={value})"
        )
    }
}

fn remove_some(option: &str) -> String {
    format!("remove what nobody needs ('sysring gc', 'ipcs {option}', 'ipcrm {option} ID')")
}

fn more_objects(setting: &str, limit: u64, sysctl: &dyn Fn(&str, String) -> String) -> String {
    if limit >= MOST_OBJECTS {
        return remove_some("-m"); // the kernel can have no more
    }
    let wanted = limit.saturating_mul(2).clamp(4096, MOST_OBJECTS);
    format!("{}, or: {}", remove_some("-m"), sysctl(setting, wanted.to_string()))
}

/// The four numbers of `kernel.sem` with which all lines about it are well, and none smaller than it is.
fn enough_semaphores(limits: &Limits, usage: &Usage, large: &Needs) -> String {
    let twice = |limit: u32| limit.saturating_mul(2);
    let nearly_full = |used: u32, limit: u32| level(used.into(), limit.into()) != Status::Ok;
    let all = match usage.semaphores.saturating_add(large.semaphores) {
        wanted if wanted > limits.semaphores || nearly_full(usage.semaphores, limits.semaphores) => {
            twice(wanted).max(twice(limits.semaphores)).min(i32::MAX as u32)
        }
        _ => limits.semaphores,
    };
    let sets = match limits.sets {
        sets if nearly_full(usage.sets, sets) => twice(sets).clamp(1024, MOST_OBJECTS as u32).max(sets),
        sets => sets,
    };
    let per_set = limits.set_semaphores.max(large.semaphores);
    let per_call = limits.operations.max(large.operations);
    format!("{per_set} {all} {per_call} {sets}")
}

/// Full is a problem, nearly full a warning.
fn level(used: u64, limit: u64) -> Status {
    match () {
        () if used >= limit => Status::Problem,
        () if used >= limit - limit / 5 => Status::Warning,
        () => Status::Ok,
    }
}

/// The worse of the two, with the reason for the second.
fn demand(small: bool, large: bool) -> Status {
    match (small, large) {
        (false, _) => Status::Problem,
        (true, false) => Status::Warning,
        (true, true) => Status::Ok,
    }
}

fn objects(id: &'static str, unit: &'static str, used: u64, limit: u64) -> Check {
    let status = level(used, limit);
    let meaning = match status {
        Status::Problem => ": no channel can be made",
        Status::Warning => ": nearly full",
        Status::Ok | Status::Info => "",
    };
    let text = format!("{used} of {limit} {unit} in use{meaning}");
    Check::new(id, Group::Limits, status, text).figures(Some(used), limit, unit)
}

fn pages_of(needs: &Needs, facts: &Facts) -> u64 {
    needs.segment_bytes.div_ceil(facts.page_size.max(1))
}

fn pages(facts: &Facts, limits: &Limits, usage: &Usage) -> Check {
    let free = limits.pages.saturating_sub(usage.pages);
    let needed = pages_of(&facts.default_needs, facts);
    let status = if free < needed { Status::Problem } else { level(usage.pages, limits.pages) };
    let bytes = |pages: u64| size(pages.saturating_mul(facts.page_size));
    let meaning = match status {
        Status::Problem => format!(": a default channel needs {needed}"),
        Status::Warning => ": nearly full".into(),
        _ => String::new(),
    };
    let text = if limits.pages >= NONE {
        format!(
            "{} pages in use ({}, {} in memory), no limit",
            usage.pages,
            bytes(usage.pages),
            bytes(usage.resident_pages)
        )
    } else {
        format!(
            "{} of {} pages in use ({} of {}, {} in memory){meaning}",
            usage.pages,
            limits.pages,
            bytes(usage.pages),
            bytes(limits.pages),
            bytes(usage.resident_pages)
        )
    };
    Check::new("shmall", Group::Limits, status, text).figures(Some(usage.pages), limits.pages, "pages")
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    if bytes >= NONE { "no limit".into() } else { BinaryBytes(bytes).to_string() }
}

fn segment_bytes(limits: &Limits, small: &Needs, large: &Needs) -> Check {
    let limit = limits.segment_bytes;
    let status = demand(limit >= small.segment_bytes, limit >= large.segment_bytes);
    let meaning = match status {
        Status::Problem => "too small for a default channel".to_owned(),
        Status::Warning => {
            format!("too small for 240 senders with default lanes ({})", size(large.segment_bytes))
        }
        _ => "enough for 240 senders with default lanes".to_owned(),
    };
    let text = format!(
        "a segment may have {}; a default channel has {}: {meaning}",
        most(limit),
        size(small.segment_bytes)
    );
    Check::new("shmmax", Group::Limits, status, text).figures(None, limit, "bytes")
}

fn most(bytes: u64) -> String {
    if bytes >= NONE { "any size".into() } else { format!("{} at most", size(bytes)) }
}

fn semaphores(limits: &Limits, usage: &Usage, small: &Needs, large: &Needs) -> Check {
    let (used, limit) = (usage.semaphores, limits.semaphores);
    let free = limit.saturating_sub(used);
    let room = demand(free >= small.semaphores, free >= large.semaphores);
    let status = room.max(level(used.into(), limit.into()));
    let meaning = match (status, room) {
        (Status::Problem, _) => format!(": a default channel needs {}", small.semaphores),
        (Status::Warning, Status::Warning) => {
            format!(": a channel of 240 senders needs {}", large.semaphores)
        }
        (Status::Warning, _) => ": nearly full".into(),
        _ => String::new(),
    };
    let text = format!("{used} of {limit} semaphores in use{meaning}");
    Check::new("semmns", Group::Limits, status, text).figures(Some(used.into()), limit.into(), "semaphores")
}

fn per_set(limits: &Limits, small: &Needs, large: &Needs) -> Check {
    let limit = limits.set_semaphores;
    let status = demand(limit >= small.semaphores, limit >= large.semaphores);
    // Each sender has two, and a channel some of its own.
    let own = large.semaphores.saturating_sub(2 * 240);
    let text = format!(
        "a set may have {limit}: {}",
        enough_for(status, limit.saturating_sub(own) / 2, small.semaphores)
    );
    Check::new("semmsl", Group::Limits, status, text).figures(None, limit.into(), "semaphores")
}

fn per_call(limits: &Limits, small: &Needs, large: &Needs) -> Check {
    let limit = limits.operations;
    let status = demand(limit >= small.operations, limit >= large.operations);
    let own = large.operations.saturating_sub(2 * 240);
    let text = format!(
        "a call may have {limit}: {}",
        enough_for(status, limit.saturating_sub(own) / 2, small.operations)
    );
    Check::new("semopm", Group::Limits, status, text).figures(None, limit.into(), "operations")
}

fn enough_for(status: Status, senders: u32, small: u32) -> String {
    match (status, senders) {
        (Status::Problem, 0) => format!("too few for any channel; a default one needs {small}"),
        (Status::Problem, _) => {
            format!("enough for {senders} senders only; a default channel of 64 needs {small}")
        }
        (Status::Warning, _) => format!("enough for {senders} senders, not for 240"),
        _ => "enough for 240 senders".into(),
    }
}

fn value(limits: &Limits) -> Check {
    let limit = limits.semaphore_value;
    // A bell that is full is emptied at half of this.
    let (status, meaning) =
        if limit < 32_767 { (Status::Problem, ": sysring counts on 32767") } else { (Status::Ok, "") };
    let text = format!("a semaphore may be {limit}{meaning}");
    Check::new("semvmx", Group::Limits, status, text)
        .figures(None, limit.into(), "units")
        .advised(|| "run a kernel that was not changed there: Linux has 32767".into())
}

fn ipc_namespace(namespaces: &Namespaces) -> Check {
    let group = Group::System;
    let Some(own) = namespaces.ipc else {
        return Check::unknown("ipc-namespace", group, "/proc does not tell");
    };
    if own == MACHINE_IPC {
        return Check::new(
            "ipc-namespace",
            group,
            Status::Ok,
            "the machine's own: every process outside containers sees the same channels",
        );
    }
    let first = match namespaces.first_ipc {
        Some(first) if first == own => ", that of process 1",
        Some(_) => ", not that of process 1 either",
        None => "",
    };
    let container = match &namespaces.container {
        Some(manager) => format!(", in a container ({manager})"),
        None => String::new(),
    };
    let text = format!(
        "ipc:[{own}], not the machine's own{first}{container}: only processes in it see its channels"
    );
    let mut check = Check::new("ipc-namespace", group, Status::Info, text);
    check.details = vec![
        "containers share it with --ipc=container:NAME, with the machine with --ipc=host; those of one \
         Kubernetes pod share it anyway"
            .into(),
    ];
    check
}

fn pid_namespace(namespaces: &Namespaces) -> Check {
    let group = Group::System;
    match namespaces.pid {
        None => Check::unknown("pid-namespace", group, "/proc does not tell"),
        Some(MACHINE_PID) => Check::new("pid-namespace", group, Status::Ok, "the machine's own"),
        Some(own) => Check::new(
            "pid-namespace",
            group,
            Status::Info,
            format!(
                "pid:[{own}], not the machine's own: channels work across, but pids of other namespaces are not shown"
            ),
        ),
    }
}

fn remove_ipc(facts: &Facts) -> Check {
    let (logind, namespaces) = (&facts.logind, &facts.namespaces);
    let check = |status, text: String| Check::new("remove-ipc", Group::System, status, text);
    let setting = match (&logind.remove_ipc.file, logind.remove_ipc.on) {
        (Some(file), true) => format!("RemoveIPC=yes ({file})"),
        (Some(file), false) => format!("RemoveIPC=no ({file})"),
        (None, true) => "RemoveIPC=yes (by default)".into(),
        (None, false) => "RemoveIPC=no (by default)".into(),
    };
    let apart = matches!((namespaces.ipc, namespaces.first_ipc), (Some(own), Some(first)) if own != first);
    if apart {
        return check(Status::Ok, "logind does not reach into this IPC namespace".into());
    }
    if facts.uid < FIRST_USER || facts.uid == NOBODY {
        return check(Status::Ok, format!("{setting}: not for system users such as uid {}", facts.uid));
    }
    let hidden = namespaces.pid.is_some_and(|pid| pid != MACHINE_PID) && namespaces.ipc == Some(MACHINE_IPC);
    match logind.runs {
        None => return Check::unknown("remove-ipc", Group::System, "whether systemd-logind runs"),
        Some(false) if hidden => {
            let text = "unknown: the machine's logind cannot be seen from this pid namespace";
            return check(Status::Info, text.into());
        }
        Some(false) => return check(Status::Ok, "systemd-logind does not run".into()),
        Some(true) => {}
    }
    if !logind.remove_ipc.on {
        return check(Status::Ok, setting);
    }
    let user = logind.user.clone().unwrap_or_else(|| facts.uid.to_string());
    if logind.lingers {
        return check(Status::Ok, format!("{setting}: not for {user}, who lingers"));
    }
    let text = format!(
        "{setting}: when {user} logs out, channels that nobody is attached to are removed with their messages, and \
         semaphore sets in use too (their users make new ones)"
    );
    check(Status::Warning, text).advice(format!(
        "as root: loginctl enable-linger {user}, or set RemoveIPC=no under [Login] in \
         /etc/systemd/logind.conf.d/sysring.conf and run: systemctl restart systemd-logind"
    ))
}

fn rmid_forced(facts: &Facts) -> Check {
    let group = Group::System;
    match facts.rmid_forced {
        None => Check::unknown("shm-rmid-forced", group, "/proc does not tell"),
        Some(false) => {
            Check::new("shm-rmid-forced", group, Status::Ok, "0: channels stay when nobody is attached")
        }
        Some(true) => {
            let at_home = facts.namespaces.ipc.is_none_or(|ipc| ipc == MACHINE_IPC);
            let text = "1: the kernel removes a channel with its messages when nobody is attached to it";
            Check::new("shm-rmid-forced", group, Status::Problem, text).advice(sysctl(
                "kernel.shm_rmid_forced",
                "0",
                at_home,
            ))
        }
    }
}

fn memory_limit(facts: &Facts) -> Check {
    let group = Group::System;
    match facts.memory_limit {
        MemoryLimit::Unknown => Check::unknown("memory-limit", group, "no memory control group can be read"),
        MemoryLimit::Unlimited => Check::new("memory-limit", group, Status::Ok, "the control group has none"),
        MemoryLimit::Bytes { limit, used } => {
            let whole = facts.default_needs.segment_bytes;
            let text = format!("{} of {} of the control group in use", size(used), size(limit));
            // What is in use may be caches, which give way; what is allowed at all counts.
            let check = if limit < whole {
                let text =
                    format!("{text}: too little for a default channel with all lanes full ({})", size(whole));
                Check::new("memory-limit", group, Status::Warning, text).advice(
                    "raise the limit (memory.max, MemoryMax= of the unit, or --memory of the container), or make \
                     channels smaller: sysring create NAME --senders N --capacity SIZE",
                )
            } else {
                Check::new("memory-limit", group, Status::Ok, text)
            };
            check.figures(Some(used), limit, "bytes")
        }
    }
}

fn memory_lock(facts: &Facts) -> Check {
    let (id, group) = ("memory-lock", Group::System);
    match facts.memory_lock {
        MemoryLock::Unknown => Check::unknown(id, group, "/proc does not tell"),
        MemoryLock::Unlimited => {
            Check::new(id, group, Status::Ok, "no limit: channels of any size can be locked")
        }
        MemoryLock::Bytes(bytes) => {
            let whole = facts.default_needs.segment_bytes;
            let enough =
                if bytes < whole { "not even one default channel" } else { "a default channel fits" };
            let text = format!(
                "{} may be locked into memory (ulimit -l): {enough} ({}); only for channels made with lock",
                size(bytes),
                size(whole)
            );
            Check::new(id, group, Status::Info, text).figures(None, bytes, "bytes")
        }
    }
}

fn huge_pages(facts: &Facts) -> Check {
    let (id, group) = ("huge-pages", Group::System);
    let huge = &facts.huge_pages;
    let transparent = match &huge.transparent {
        Some(word) => format!("; transparent for shared memory: {word}"),
        None => String::new(),
    };
    let (Some(total), Some(free)) = (huge.total, huge.free) else {
        return Check::unknown(id, group, &format!("/proc does not tell{transparent}"));
    };
    let each = huge.bytes.map_or_else(String::new, |bytes| format!(" of {}", size(bytes)));
    let text = match total {
        0 => {
            format!("none in the pool (vm.nr_hugepages), only for channels made with huge pages{transparent}")
        }
        _ => format!("{free} of {total}{each} free{transparent}"),
    };
    Check::new(id, group, Status::Info, text).figures(Some(total.saturating_sub(free)), total, "pages")
}

fn message(facts: &Facts) -> Check {
    match &facts.self_tests.message {
        Ok(took) => {
            let text = format!("went through an anonymous channel in {:.1} us", took.as_secs_f64() * 1e6);
            Check::new("message", Group::SelfTests, Status::Ok, text)
        }
        Err(why) => Check::new("message", Group::SelfTests, Status::Problem, why)
            .advice("see the limits above; the error names the call that failed"),
    }
}

fn undo(facts: &Facts) -> Check {
    let check = |status, text: String| Check::new("sem-undo", Group::SelfTests, status, text);
    match &facts.self_tests.undo {
        Undo::Works(took) => check(Status::Ok, format!(
            "the seat of a killed process was free after {:.2} ms",
            took.as_secs_f64() * 1e3
        )),
        Undo::Broken(why) => check(Status::Problem, why.clone()).advice(
            "sysring rests on SEM_UNDO: run on Linux itself, not on an emulation of its system calls such as gVisor",
        ),
        Undo::Untried(why) => check(Status::Warning, format!("not tried: {why}"))
            .advice("put right what stood in the way, and run it again"),
    }
}

fn membarrier(facts: &Facts) -> Check {
    let check = |status, text: String| Check::new("membarrier", Group::SelfTests, status, text);
    let costs = "every message costs a fence (about 10 ns)";
    match &facts.self_tests.membarrier {
        Ok(true) => check(Status::Ok, "works: sending takes no fence".into()),
        Ok(false) => check(Status::Warning, format!("the kernel does not have it: {costs}"))
            .advice("run Linux 4.16 or newer with CONFIG_MEMBARRIER"),
        Err(why) => check(Status::Warning, format!("{why}: {costs}"))
            .advice("let the call through: in a container, allow membarrier in its seccomp profile"),
    }
}

fn leftovers(facts: &Facts) -> Check {
    let (id, group) = ("leftovers", Group::Channels);
    let removable = match &facts.leftovers {
        Ok(leftovers) => &leftovers.removable,
        Err(why) => return Check::unknown(id, group, why),
    };
    if removable.is_empty() {
        return Check::new(id, group, Status::Ok, "the dead left nothing behind");
    }
    let text = format!("the dead left {} behind", number(removable.len(), "object"));
    let mut check = Check::new(id, group, Status::Warning, text).advice("sysring gc");
    check.details.clone_from(removable);
    check
}

fn channels(facts: &Facts) -> Check {
    let (id, group) = ("channels", Group::Channels);
    let channels = match &facts.channels {
        Ok(channels) => channels,
        Err(why) => return Check::unknown(id, group, why),
    };
    let of = |state| channels.iter().filter(move |known| known.state == state);
    let states = State::ALL.iter().map(|state| (of(*state).count(), state.text()));
    let parts: Vec<String> =
        states.filter(|(count, _)| *count > 0).map(|(count, text)| format!("{count} {text}")).collect();
    let text = match parts.is_empty() {
        true => "none".into(),
        false => format!("{}: {}", channels.len(), parts.join(", ")),
    };
    let damaged: Vec<&str> = of(State::Damaged).map(|known| known.address.as_str()).collect();
    let status = match () {
        () if !damaged.is_empty() => Status::Warning,
        () if channels.is_empty() => Status::Ok,
        () => Status::Info,
    };
    let mut check = Check::new(id, group, status, text);
    check.details = damaged.iter().map(|address| format!("damaged: {address}")).collect();
    if let Ok(leftovers) = &facts.leftovers {
        check.details.extend(leftovers.idle.iter().cloned());
    }
    check.advised(|| "'sysring stat NAME' shows the damage, 'sysring rm NAME' removes the channel".into())
}

#[cfg(test)]
mod tests;
