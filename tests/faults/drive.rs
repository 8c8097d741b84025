//! From scenarios to faults: lists the calls, makes each of them fail, judges, counts.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{PipeReader, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicU64;

use crate::call::Call;
use crate::expect::{self, Class};
use crate::life::{SCENARIOS, Scenario};
use crate::process::{self, Child, End, Object, objects};
use crate::runner::{is_long, tests};
use crate::trace::{AGAIN, Fate, Result, Tracee, tick};
use crate::world::{Stage, Told, let_allocate_alike, values};

tests![every_call_fails_once, every_call_goes_on_failing];

/// Scenarios that run at the same time: most of them wait now and then.
const AT_ONCE: usize = 6;
/// Faults that a process works on.
const PIECE: usize = 25;

/// Interruptions in a row, before the call works again.
const INTERRUPTIONS: u32 = 10;

/// How often the calls are listed in the long form, to tell which come each time.
const LISTINGS: usize = 4;

/// Calls of one shape in a step that are expected again. More of them are turns of a loop that waits for somebody, and a
/// machine that is busy makes fewer.
const REPEATS: usize = 64;

/// How often a fault is tried whose call is expected and was not made.
const TRIES: u32 = 5;

/// Violations after which it is no use to go on.
const ENOUGH: usize = 12;

/// For how long a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Once,
    /// All of its kind, to the end of the step.
    Lasting,
}

/// The call that is to fail.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) call: Call,
    /// Among those of the same shape in the same step, from 0.
    occurrence: usize,
    pub(crate) errno: i32,
    pub(crate) form: Form,
    /// Its call comes each time. Another one depends on the time too: its fault is tried once, and may not happen.
    expected: bool,
}

/// What the victim of one run did and said.
#[derive(Debug)]
pub(crate) struct Run {
    /// Those in steps.
    pub(crate) calls: Vec<Call>,
    /// For each step its name, and what it said if it failed.
    pub(crate) steps: BTreeMap<u32, (String, Option<Told>)>,
    /// Other lines of its report.
    pub(crate) remarks: Vec<Vec<String>>,
    pub(crate) end: End,
}

/// Decides in one run.
struct Injector<'a> {
    plan: Option<&'a Plan>,
    stage: &'a Stage,
    seen: usize,
    begun: bool,
    left: u32,
    calls: Vec<Call>,
}

impl Fate for Injector<'_> {
    fn enter(&mut self, call: &Call) -> Option<i32> {
        let errno = self.decide(call);
        if errno.is_none() && call.is_park() {
            self.stage.bell.put(1);
        }
        errno
    }

    fn leave(&mut self, mut call: Call) {
        call.step &= !AGAIN;
        self.calls.push(call);
    }
}

impl Injector<'_> {
    fn decide(&mut self, call: &Call) -> Option<i32> {
        let plan = self.plan.filter(|plan| plan.call.step == call.step)?;
        if self.begun {
            let goes_on = plan.form == Form::Lasting && self.left > 0 && plan.call.is_kin(call);
            self.left -= u32::from(goes_on);
            return goes_on.then_some(plan.errno);
        }
        if call.shape != plan.call.shape {
            return None;
        }
        self.seen += 1;
        self.begun = self.seen > plan.occurrence;
        if plan.errno == libc::EINTR {
            self.left = INTERRUPTIONS - 1;
        }
        self.begun.then_some(plan.errno)
    }
}

/// `quick`: nothing but the step of the fault is looked at.
fn run(scenario: &Scenario, plan: Option<&Plan>, quick: bool, log: &'static [AtomicU64]) -> Result<Run> {
    let stage = Stage::new(log);
    let chosen = plan.filter(|_| quick).map(|plan| plan.call.step);
    let_allocate_alike();
    let child = stage.start(chosen, (scenario.make)());
    let (calls, end) = {
        let mut injector =
            Injector { plan, stage: &stage, seen: 0, begun: false, left: u32::MAX, calls: Vec::new() };
        let lived = Tracee::catch(&child).and_then(|tracee| tracee.live(&mut injector, quick));
        (injector.calls, lived)
    };
    if end.is_ok() {
        std::mem::forget(child); // waited for: its number may be somebody else's
    } else {
        drop(child); // kills it
    }
    process::reap_orphans();
    let mut run = Run { calls, steps: BTreeMap::new(), remarks: Vec::new(), end: end? };
    for line in stage.into_report() {
        let word = |index: usize| line.get(index).cloned().unwrap_or_default();
        let number = word(1).parse().unwrap_or(0);
        match word(0).as_str() {
            "fine" => drop(run.steps.insert(number, (word(2), None))),
            "failed" => {
                let told = Told { kind: word(3), errno: word(4).parse().unwrap_or(0), text: word(5) };
                run.steps.insert(number, (word(2), Some(told)));
            }
            _ => run.remarks.push(line),
        }
    }
    Ok(run)
}

impl Run {
    /// Whether it was as it is without a fault.
    fn is_flawless(&self) -> bool {
        let usual = |line: &Vec<String>| matches!(line[0].as_str(), "over" | "values");
        self.end == End::Exit(0)
            && self.steps.values().all(|(_, told)| told.is_none())
            && self.remarks.iter().all(usual)
    }

    /// Lines of that kind.
    pub(crate) fn remark(&self, kind: &str) -> Option<&Vec<String>> {
        self.remarks.iter().find(|line| line[0] == kind)
    }
}

/// What the victim left for the tracer to look at after its end: wills that rang, seats that stayed taken.
fn inspect(run: &Run, plan: Option<&Plan>) -> Result<()> {
    let kept = run.remark("values");
    if let Some(line) = kept {
        let (name, set) = (&line[1], line[2].parse().map_err(|_| "a report that is cut off".to_owned())?);
        let now: Vec<String> = values(set).iter().map(u16::to_string).collect();
        let mut then: Vec<String> = line[3].split(' ').map(str::to_owned).collect();
        if plan.is_some_and(|plan| plan.call.shape == "semop [-1nu]") && then.len() > 3 {
            then[3] = now[3].clone(); // the initialiser, which the process's end has freed
        }
        let (then, now) = (then.join(" "), now.join(" "));
        sysring::remove(name).map_err(|error| format!("the channel that it left: {error}"))?;
        if run.remark("seat").is_none() && now != then {
            return Err(format!("a will was left: the set held {then} at the end, and then {now}"));
        }
        // Whatever it was, the kernel has taken the seats back.
        let seats = now.split(' ').skip(4).step_by(2);
        if seats.into_iter().any(|value| value != "0") {
            return Err(format!("a seat outlived its process: {now}"));
        }
    }
    if plan.is_some_and(|plan| plan.call.name == "shmdt") {
        // The segment went with the process, and its set has nobody any more.
        process::fork(|| drop(sysring::spsc().capacity(4096).pair().expect("a pair"))).join();
    }
    let left = objects();
    left.iter().for_each(remove);
    if !left.is_empty() {
        return Err(format!("left in the kernel: {left:?}"));
    }
    Ok(())
}

fn remove(object: &Object) {
    match *object {
        Object::Segment { id, .. } => drop(sysring::segment::Segment::from_id(id).remove()),
        Object::Set { id, .. } => process::remove_set(id),
    }
}

/// One scenario and its faults.
struct Job {
    scenario: &'static Scenario,
    /// Names of its steps.
    steps: BTreeMap<u32, String>,
    plans: Vec<Plan>,
    quick: bool,
}

impl Job {
    /// Calls that are to fail.
    fn sites(&self) -> usize {
        let sites = self.plans.iter().map(|plan| (plan.call.step, &plan.call.shape, plan.occurrence));
        sites.collect::<BTreeSet<_>>().len()
    }

    /// Some plans wait most of the time, so that the pieces of one scenario are worked on at the same time.
    fn in_pieces(self) -> impl Iterator<Item = Job> {
        let Job { scenario, steps, plans, quick } = self;
        let pieces: Vec<Vec<Plan>> = plans.chunks(PIECE).map(<[Plan]>::to_vec).collect();
        pieces.into_iter().map(move |plans| Job { scenario, steps: steps.clone(), plans, quick })
    }
}

/// Lists the calls of a scenario. `known`: sites that earlier scenarios have, in the short form.
fn prepare(
    scenario: &'static Scenario,
    form: Form,
    known: &mut BTreeSet<(String, String)>,
    log: &'static [AtomicU64],
) -> Result<Job> {
    let list = || {
        let dry = run(scenario, None, false, log)?;
        inspect(&dry, None)?;
        if dry.is_flawless() { Ok(dry) } else { Err(format!("{dry:?}")) }
    };
    let dry = list()?;
    // Who waits asks now and then, and how often depends on the time.
    let others = (1..if is_long() { LISTINGS } else { 1 }).map(|_| list()).collect::<Result<Vec<Run>>>()?;
    let is_expected = |call: &Call, occurrence: usize| {
        let alike = |other: &&Call| (other.step, &other.shape) == (call.step, &call.shape);
        occurrence < REPEATS && others.iter().all(|run| run.calls.iter().filter(alike).count() > occurrence)
    };
    let steps: BTreeMap<u32, String> =
        dry.steps.iter().map(|(step, (name, _))| (*step, name.clone())).collect();
    let rings = steps.values().any(|name| name.starts_with("ring"));
    // A sleep rings for the peer, in whichever step it is; and after a ring that failed the next step is judged too.
    let quick = !rings && !dry.calls.iter().any(Call::is_park);
    let mut plans = Vec::new();
    let mut counts = BTreeMap::new();
    for call in dry.calls {
        let count = counts.entry((call.step, call.shape.clone())).or_insert(0);
        let occurrence = *count;
        *count += 1;
        let step = &steps[&call.step];
        // That rings only if the peer has fallen asleep again meanwhile.
        if step == "ring again" {
            continue;
        }
        // A seat that the kernel does not take back stays taken until the process ends: shown where nobody waits for it.
        let waits = step.starts_with("drop") && !step.ends_with("at the end");
        if form == Form::Lasting && waits && call.is_leave() {
            continue;
        }
        // A call of one shape in steps of one name is one site; a fault that lasts has fewer ways to go.
        let place = if form == Form::Lasting { String::new() } else { step.clone() };
        let new = known.insert((place, call.shape.clone()));
        if !new && !is_long() || form == Form::Lasting && occurrence > 0 {
            continue;
        }
        // That a process is gone is no failure, but an answer; where it is not so, nobody could go on.
        let is_told = |errno: i32| errno != libc::ESRCH || step.ends_with("dead") || step.ends_with("zombie");
        // The same of a segment, for whoever asks because the set is gone: who believes it takes the channel down.
        let is_gone = |errno: i32| {
            let asks = occurrence > 0 && step.ends_with("set lost") && call.name == "shmctl(IPC_STAT)";
            asks && (errno == libc::EIDRM || errno == libc::EINVAL)
        };
        let errnos = match form {
            Form::Once => call.errnos(),
            Form::Lasting => call.lasting(),
        };
        let errnos = errnos.iter().filter(|&&errno| is_told(errno) && !is_gone(errno));
        let expected = is_expected(&call, occurrence);
        plans.extend(errnos.map(|&errno| Plan { call: call.clone(), occurrence, errno, form, expected }));
    }
    Ok(Job { scenario, steps, plans, quick })
}

/// Figures and violations of one scenario.
#[derive(Debug, Default)]
struct Tally {
    sites: usize,
    faults: usize,
    /// Faults whose calls were expected and not made.
    missed: usize,
    classes: BTreeMap<String, usize>,
    violations: Vec<String>,
}

fn work(job: &Job, log: &'static [AtomicU64]) -> Tally {
    let mut tally = Tally::default();
    let wanted = std::env::var("SYSRING_FAULT").unwrap_or_default();
    let listing = std::env::var("SYSRING_FAULTS").is_ok_and(|value| value == "list");
    let Job { scenario, steps, plans, quick } = job;
    for plan in plans {
        let errno = expect::errno_name(plan.errno);
        let step = &steps[&plan.call.step];
        let title = format!(
            "{}, step {} \"{step}\", {} {}{}{errno}",
            scenario.name,
            plan.call.step,
            plan.call.shape,
            if plan.occurrence > 0 { format!("#{} ", plan.occurrence) } else { String::new() },
            if plan.form == Form::Lasting { "for ever " } else { "" },
        );
        if !title.contains(&wanted) {
            continue;
        }
        let begun = std::time::Instant::now();
        let mut tries = 0;
        let judged = loop {
            tries += 1;
            let outcome = run(scenario, Some(plan), *quick, log);
            let inspected = outcome.as_ref().map_or(Ok(()), |run| inspect(run, Some(plan)));
            let judged = outcome.and_then(|run| {
                let class = expect::judge(plan, step, &run)?;
                inspected?;
                Ok((class, run))
            });
            if !plan.expected || tries == TRIES || !matches!(judged, Ok((Class::Missed, _))) {
                break judged;
            }
        };
        let took = begun.elapsed().as_millis();
        tally.faults += 1;
        match judged {
            Ok((class, run)) => {
                tally.missed += usize::from(class == Class::Missed && plan.expected);
                *tally.classes.entry(class.name().to_owned()).or_insert(0) += 1;
                if listing {
                    let told = run.steps.get(&plan.call.step).and_then(|(_, told)| told.clone());
                    let left = run
                        .remark("left")
                        .map_or(String::new(), |line| format!(" LEFT {}", line[1..].join(" ")));
                    println!(
                        "{title}: ({took} ms) {}{}{left}",
                        class.name(),
                        told.map_or(String::new(), |told| format!(": {} {}", told.kind, told.text))
                    );
                }
            }
            Err(why) => {
                objects().iter().for_each(remove);
                if listing {
                    println!("{title}: ({took} ms) VIOLATION {why}");
                }
                tally.violations.push(format!("{title}: {why}"));
                if tally.violations.len() >= ENOUGH {
                    break;
                }
            }
        }
    }
    tally
}

/// Works on a scenario in a process and an IPC namespace of its own.
fn start(job: &Job) -> (Child, PipeReader) {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let child = process::fork(|| {
        process::adopt_orphans();
        process::own_ipc_namespace();
        tick();
        let tally = catch_unwind(AssertUnwindSafe(|| work(job, process::shared_words(Stage::WORDS))))
            .unwrap_or_else(|_| Tally {
                violations: vec![format!("{}: the tracer panicked, see above", job.scenario.name)],
                ..Tally::default()
            });
        let mut text = format!("faults\t{}\nmissed\t{}\n", tally.faults, tally.missed);
        tally.classes.iter().for_each(|(class, count)| text.push_str(&format!("class\t{class}\t{count}\n")));
        tally
            .violations
            .iter()
            .for_each(|why| text.push_str(&format!("violation\t{}\n", why.escape_debug())));
        writer.write_all(text.as_bytes()).expect("write to a pipe");
    });
    (child, reader)
}

fn all(form: Form) {
    let part = std::env::var("SYSRING_SCENARIO").unwrap_or_default();
    let chosen: Vec<&'static Scenario> =
        SCENARIOS.iter().filter(|scenario| scenario.name.contains(&part)).collect();
    let own = process::is_root();
    tick();
    process::adopt_orphans();
    let log = process::shared_words(Stage::WORDS);
    let mut known = BTreeSet::new();
    let mut job = |scenario: &'static Scenario| {
        prepare(scenario, form, &mut known, log)
            .unwrap_or_else(|why| panic!("{}: without a fault: {why}", scenario.name))
    };
    let mut total = Tally::default();
    let mut running = std::collections::VecDeque::new();
    // What a scenario makes in this process is nothing to the victims of those that make nothing.
    let (makers, plain): (Vec<_>, Vec<_>) = chosen.iter().copied().partition(|scenario| scenario.in_tracer);
    for batch in [plain, makers] {
        let whole: Vec<Job> = batch.into_iter().map(&mut job).collect();
        total.sites += whole.iter().map(Job::sites).sum::<usize>();
        let jobs: Vec<Job> = whole.into_iter().flat_map(Job::in_pieces).collect();
        let mut waiting = jobs.iter();
        loop {
            while running.len() < if own { AT_ONCE } else { 1 }
                && let Some(job) = waiting.next()
            {
                running.push_back(start(job));
            }
            let Some((child, mut reader)) = running.pop_front() else { break };
            let mut text = String::new();
            reader.read_to_string(&mut text).expect("read from a pipe");
            child.join();
            for line in text.lines() {
                let words: Vec<&str> = line.split('\t').collect();
                let number = words.last().and_then(|word| word.parse().ok()).unwrap_or(0);
                match words[0] {
                    "faults" => total.faults += number,
                    "missed" => total.missed += number,
                    "class" => *total.classes.entry(words[1].to_owned()).or_insert(0) += number,
                    _ => total.violations.push(words[1..].join(" ")),
                }
            }
        }
    }
    let classes: Vec<String> =
        total.classes.iter().map(|(class, count)| format!("{count} {class}")).collect();
    println!(
        "{} scenarios, {} call sites, {} faults: {}; {} of the missed were expected",
        chosen.len(),
        total.sites,
        total.faults,
        classes.join(", "),
        total.missed
    );
    assert!(
        total.violations.is_empty(),
        "{} violations:\n{}",
        total.violations.len(),
        total.violations.join("\n")
    );
    assert!(total.missed * 50 <= total.faults, "{} of {} faults were missed", total.missed, total.faults);
}

fn every_call_fails_once() {
    all(Form::Once);
}

fn every_call_goes_on_failing() {
    all(Form::Lasting);
}
