//! What may come of a fault, and what must.

use crate::call::Call;
use crate::drive::{Form, Plan, Run};
use crate::process::End;
use crate::trace::Result;
use crate::world::Told;

/// What came of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// The step was done all the same.
    Tolerated,
    /// A typed error, and done at the second try.
    Refused,
    /// As one of these, and something stayed that a later call removed.
    Cleaned,
    /// The call was not made this time.
    Missed,
}

impl Class {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Class::Tolerated => "tolerated",
            Class::Refused => "refused",
            Class::Cleaned => "cleaned later",
            Class::Missed => "missed",
        }
    }
}

/// What the rules ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Must {
    /// The step is done all the same.
    Tolerate,
    /// It ends with an error.
    Refuse,
    /// Either: it depends on what else there is to try.
    Either,
}

/// The kernel's names, as the library prints them.
pub(crate) fn errno_name(errno: i32) -> String {
    let text = std::io::Error::from_raw_os_error(errno);
    let known = [
        (libc::E2BIG, "E2BIG"),
        (libc::EACCES, "EACCES"),
        (libc::EAGAIN, "EAGAIN"),
        (libc::ECHILD, "ECHILD"),
        (libc::EEXIST, "EEXIST"),
        (libc::EFBIG, "EFBIG"),
        (libc::EIDRM, "EIDRM"),
        (libc::EINTR, "EINTR"),
        (libc::EINVAL, "EINVAL"),
        (libc::EIO, "EIO"),
        (libc::ELOOP, "ELOOP"),
        (libc::EMFILE, "EMFILE"),
        (libc::ENFILE, "ENFILE"),
        (libc::ENODEV, "ENODEV"),
        (libc::ENOENT, "ENOENT"),
        (libc::ENOMEM, "ENOMEM"),
        (libc::ENOSPC, "ENOSPC"),
        (libc::ENOSYS, "ENOSYS"),
        (libc::EOVERFLOW, "EOVERFLOW"),
        (libc::EPERM, "EPERM"),
        (libc::ERANGE, "ERANGE"),
        (libc::ESRCH, "ESRCH"),
        (libc::ESPIPE, "ESPIPE"),
    ];
    let name = known.iter().find(|(number, _)| *number == errno).map(|(_, name)| *name);
    name.map_or_else(|| text.to_string(), str::to_owned)
}

/// Whether an errno says that there is nothing under an id.
fn is_gone(errno: i32) -> bool {
    matches!(errno, libc::EINVAL | libc::EIDRM | libc::EFBIG)
}

/// Calls whose failure nobody is to notice: what they are for can be done without.
fn is_optional(call: &Call) -> bool {
    matches!(
        call.name,
        "membarrier"
            | "mmap"
            | "munmap"
            | "madvise"
            | "close"
            | "pidfd_open"
            | "poll"
            | "kill"
            | "openat"
            | "read"
            | "lseek"
            | "clone"
            | "wait4"
            | "getrandom"
            | "rt_sigprocmask"
            | "shmdt"
            | "semctl(GETNCNT)"
            | "semctl(GETPID)"
    ) || call.name == "statx" && call.shape.contains("/proc/")
        || call.shape == "shmget huge"
        || call.is_post()
        || call.is_leave()
}

/// A seat is taken.
fn is_hold(call: &Call) -> bool {
    call.shape.starts_with("semop [0n +1u +1")
}

fn must(plan: &Plan, step: &str) -> Must {
    use libc::*;
    let (call, errno) = (&plan.call, plan.errno);
    let inside = matches!(step, "look" | "stats" | "list" | "is_connected" | "departures" | "interrupt")
        || step.starts_with("collect")
        || step.starts_with("drop");
    match () {
        // With a private key there is nothing that could exist.
        () if call.shape == "shmget huge" && errno == EEXIST => Must::Either,
        // It takes others along, which are needed.
        () if plan.form == Form::Lasting
            && ["shm", "sem"].iter().any(|begin| call.name.starts_with(begin))
            && errno != EINTR
            && !step.starts_with("drop") =>
        {
            Must::Either
        }
        () if is_optional(call) || errno == EINTR => Must::Tolerate,
        () if step.starts_with("drop") || step == "interrupt" => Must::Tolerate,
        () if inside => Must::Either,
        // Another key is tried, but not for ever.
        () if call.name == "semget" && errno == EEXIST && plan.form == Form::Once => Must::Tolerate,
        () if call.name == "semget" => Must::Refuse,
        () if call.shape == "shmget make" && errno != EEXIST && errno != EINTR => Must::Refuse,
        () if call.name == "shmctl(SHM_LOCK)" || call.name == "shmctl(SHM_UNLOCK)" => Must::Refuse,
        () if is_hold(call) && matches!(errno, ENOMEM | ENOSPC | EACCES | E2BIG) => Must::Refuse,
        () if call.is_park() && matches!(errno, ENOMEM | ENOSPC | EACCES | E2BIG | ERANGE) => Must::Refuse,
        // The time is over early, or the set has gone: it sleeps again.
        () if call.is_park() => Must::Tolerate,
        () => Must::Either,
    }
}

/// Which kind an errno of a call belongs to.
fn kind(call: &Call, errno: i32) -> &'static str {
    match errno {
        libc::ENOENT => "NotFound",
        libc::EEXIST if call.name == "shmget" => "AlreadyExists",
        libc::EACCES | libc::EPERM => "PermissionDenied",
        libc::EIDRM => "Removed",
        libc::EINVAL if !matches!(call.name, "shmget" | "semget") => "Removed",
        libc::ENOSPC | libc::ENOMEM | libc::EINVAL | libc::E2BIG | libc::ENFILE => "Limit",
        _ => "System",
    }
}

fn judge_text(plan: &Plan, told: &Told) -> Result<()> {
    let (call, errno) = (&plan.call, plan.errno);
    let bad = |what: &str| Err(format!("{what}: {} {}", told.kind, told.text));
    if told.text.contains("\\n") || told.text.is_empty() {
        return bad("not one line");
    }
    if told.errno == 0 {
        // Names of their own.
        let fits = match told.kind.as_str() {
            "SeatTaken" => is_hold(call) && errno == libc::EAGAIN,
            "Removed" | "Evicted" | "NotFound" => is_gone(errno),
            // It could not be removed, and cannot be finished any more.
            "Busy" => call.name == "shmctl(IPC_RMID)",
            _ => false,
        };
        return if fits { Ok(()) } else { bad("another errno, or none") };
    }
    if !told.text.contains(&errno_name(told.errno)) {
        return bad("errno not named");
    }
    if told.errno != errno && !(is_gone(errno) && told.errno == libc::EIDRM) {
        return bad("another errno");
    }
    // A path is looked at by `statx` for `ftok`.
    let name = if call.name == "statx" { "ftok" } else { call.name };
    // Attaching includes a look at what was attached, and a list is one question.
    let whole = match name {
        "shmctl(IPC_STAT)" => "shmat",
        "shmctl(SHM_STAT_ANY)" | "shmctl(SHM_STAT)" => "shmctl(SHM_INFO)",
        "semctl(SEM_STAT_ANY)" | "semctl(SEM_STAT)" => "semctl(SEM_INFO)",
        name => name,
    };
    // Another call of the kind may have been the first that mattered.
    let kin = name.split('(').next().filter(|_| plan.form == Form::Lasting);
    let is_named = kin.is_some_and(|kin| told.text.contains(kin)) || told.text.contains(&format!("{name} "));
    if told.errno == errno && !is_named && !told.text.contains(&format!("{whole} ")) {
        return bad("the call is not named");
    }
    if !told.text.contains("; ") {
        return bad("no word of what to do");
    }
    let expected = if told.errno == errno { kind(call, errno) } else { "Removed" };
    match told.kind.as_str() {
        "System" | "Segment" => Ok(()),
        kind if kind == expected => Ok(()),
        "NotFound" if is_gone(errno) => Ok(()),
        _ => bad("another kind"),
    }
}

/// What came of the fault; `Err`: what must not.
pub(crate) fn judge(plan: &Plan, step: &str, run: &Run) -> Result<Class> {
    if run.end != End::Exit(0) || run.remark("over").is_none() {
        return Err(format!("the victim ended by {:?}, see above", run.end));
    }
    let call = &plan.call;
    let Some(place) = run.calls.iter().position(|call| call.fault.is_some()) else {
        return Ok(Class::Missed);
    };
    let told = run.steps.get(&call.step).and_then(|(_, told)| told.as_ref());
    if let Some((name, told)) = run.steps.iter().find_map(|(number, (name, told))| {
        told.as_ref().filter(|_| *number != call.step).map(|told| (name, told))
    }) {
        return Err(format!("a later step without a fault failed: {name}: {}", told.text));
    }
    if let Some(told) = told {
        judge_text(plan, told)?;
    }
    match (must(plan, step), told) {
        (Must::Tolerate, Some(told)) => return Err(format!("not tolerated: {}", told.text)),
        (Must::Refuse, None) => return Err("success".into()),
        _ => {}
    }
    judge_calls(plan, step, run, place)?;
    judge_rest(plan, step, run, told)
}

/// What else the victim did about it.
fn judge_calls(plan: &Plan, step: &str, run: &Run, place: usize) -> Result<()> {
    let rest = &run.calls[place + 1..];
    if plan.call.is_post()
        && step.starts_with("ring")
        && plan.errno != libc::EAGAIN
        && plan.errno != libc::ERANGE
    {
        // The next message of the same sender, at the latest, rings again.
        let next = rest.iter().filter(|call| call.step <= plan.call.step + 1);
        if plan.form == Form::Once && !next.into_iter().any(|call| call.is_post() && call.fault.is_none()) {
            return Err("nobody was rung: a sleeper waits for the ceiling".into());
        }
    }
    // The first call of a handle has more to ask.
    if plan.call.is_park() && plan.errno == libc::EINTR && step.ends_with("asleep") && plan.call.step > 1 {
        let mut until_park = rest.iter().take_while(|call| !call.is_park());
        if let Some(call) =
            until_park.find(|call| call.name.starts_with("semctl") && call.step == plan.call.step)
        {
            return Err(format!("after a signal it did not sleep on, but asked by {}", call.shape));
        }
    }
    Ok(())
}

/// What was left behind.
fn judge_rest(plan: &Plan, step: &str, run: &Run, told: Option<&Told>) -> Result<Class> {
    let call = &plan.call;
    let lies = |kind: &str| run.remark(kind).map(|line| line[1..].join(" "));
    if let Some(what) = lies("mapped").filter(|_| call.name != "shmdt") {
        return Err(format!("{what} segments stay attached"));
    }
    if let Some(what) = lies("open").filter(|_| call.name != "close") {
        return Err(format!("{what} descriptors stay open"));
    }
    if lies("zombie").is_some() && call.name != "wait4" {
        return Err("a child was not waited for".into());
    }
    if let Some(which) = lies("seat")
        && !(plan.form == Form::Lasting && call.is_leave() && step.starts_with("drop"))
    {
        return Err(format!("a seat stays taken: {which}"));
    }
    // What an error leaves behind at once, though a second try may find and use it.
    // A channel whose seat was refused stays, and so does a set in place of a lost one, whoever of the two has made it.
    let kept = step.ends_with("set lost")
        || is_hold(call)
        || call.is_park()
        || matches!(call.name, "shmctl(IPC_RMID)" | "semctl(IPC_RMID)")
        || call.shape.ends_with("mark");
    if let Some(what) = lies("grown").filter(|_| plan.form == Form::Once && !kept) {
        return Err(format!("an error, and left behind: {what}"));
    }
    if let Some(what) = lies("left") {
        let may = match call.name {
            "shmctl(IPC_RMID)" | "semctl(IPC_RMID)" | "shmdt" => true,
            // Without a look at it nobody can say whose it is.
            "semctl(GETVAL)" => call.shape.ends_with("mark") || plan.form == Form::Lasting,
            "shmctl(IPC_STAT)" | "shmat" => true,
            // It was said to be gone, and replaced.
            "semctl(IPC_STAT)" if is_gone(plan.errno) => true,
            name => plan.form == Form::Lasting && (name.starts_with("semctl") || name.starts_with("shmctl")),
        };
        // A removal that leaves something must say so.
        let silent = step.starts_with("remove") && told.is_none() && !is_gone(plan.errno);
        if !may || silent {
            return Err(format!(
                "left, {}: {what}",
                if silent { "and success" } else { "though it could be removed" }
            ));
        }
        return Ok(Class::Cleaned);
    }
    if run.remark("seat").is_some() {
        return Ok(Class::Cleaned);
    }
    Ok(if told.is_some() { Class::Refused } else { Class::Tolerated })
}
