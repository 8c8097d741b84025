//! From scenarios to points: records every operation once, chooses the points, runs them, counts.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::message::Random;
use crate::process::{self, Child};
use crate::runner::{is_long, seed, tests};
use crate::scenario::{self, Operation, Scenario, Victim};
use crate::trace::{Came, Company, Page, Point, Result, Trace, Tracee, start_mark};
use crate::world::{LATE, PATIENCE};
use crate::{keeper, receiver, sender};

tests![killed_at_every_instruction, stopped_at_every_instruction];

/// Kill points and stop points of the short form.
const KILLS: usize = 3000;
const STOPS: usize = 1000;

/// Points of the long form, at least.
const LONG: usize = 50_000;

/// Points inside copies, of each scenario that has a copy, in the long form.
const IN_COPIES: usize = 100;

/// How often a point is tried that was only late.
const TRIES: u32 = 3;

/// Failures after which it is no use to go on.
const ENOUGH: usize = 20;

/// What happens to the victim at its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Kill,
    Stop,
}

/// What one run of a scenario needs.
#[derive(Debug)]
pub(crate) struct Setting<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) fate: Fate,
    pub(crate) page: &'a Page,
    pub(crate) random: Random,
    /// Where to, and by which way; `None`: the way is recorded.
    goal: Option<(Point, &'a Trace)>,
    recorded: Option<Trace>,
}

/// What came out of one point.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Messages of the victim that were sent, or received for good.
    pub(crate) whole: usize,
    /// Those that were not.
    pub(crate) absent: usize,
    pub(crate) redelivered: usize,
    /// Objects that nobody can know of.
    pub(crate) left: usize,
    /// How long the others took while it was held.
    pub(crate) waited: Duration,
}

impl Setting<'_> {
    /// Waits until a victim is at the start.
    pub(crate) fn catch(&self, child: &Child) -> Result<Tracee> {
        Tracee::catch(child.pid(), PATIENCE)
    }

    /// Brings the victim to its point; or records its operation and returns `None`.
    pub(crate) fn bring(&mut self, tracee: &Tracee, company: &mut dyn Company) -> Result<Option<Came>> {
        match self.goal {
            Some((point, trace)) => tracee.reach(trace, point, company).map(Some),
            None => {
                self.recorded = Some(tracee.record(company)?);
                Ok(None)
            }
        }
    }

    fn run(&mut self) -> Result<Outcome> {
        let run = match self.scenario.operation.victim() {
            Victim::Sender => sender::run,
            Victim::Receiver => receiver::run,
            Victim::Keeper => keeper::run,
        };
        match catch_unwind(AssertUnwindSafe(|| run(self))) {
            Ok(outcome) => outcome,
            Err(_) => Err("a panic, see above".into()),
        }
    }
}

/// The points of one scenario.
fn choose(trace: &Trace, budget: Option<usize>, fate: Fate, random: &mut Random) -> Vec<Point> {
    let (mut copies, mut rest): (Vec<usize>, Vec<usize>) =
        (1..=trace.len()).partition(|&steps| trace.is_in_copy(steps));
    // The payloads of these scenarios are not longer; the rest is libc filling a buffer of its caller.
    copies.retain(|&steps| trace.rounds(steps) <= 4096);
    let in_copies = if budget.is_none() { IN_COPIES } else { 2 };
    pick(&mut copies, in_copies, random);
    let asleep = if fate == Fate::Kill { trace.sleeps.as_slice() } else { &[] };
    if let Some(budget) = budget {
        pick(&mut rest, budget.saturating_sub(copies.len() + asleep.len()), random);
    }
    let awake = rest.into_iter().chain(copies).map(|steps| Point { steps, asleep: false });
    awake.chain(asleep.iter().map(|&steps| Point { steps, asleep: true })).collect()
}

/// Leaves a random choice of so many.
fn pick(all: &mut Vec<usize>, count: usize, random: &mut Random) {
    for index in 0..count.min(all.len()) {
        let other = index + random.below((all.len() - index) as u64) as usize;
        all.swap(index, other);
    }
    all.truncate(count);
}

#[derive(Debug, Default)]
struct Sum {
    scenarios: usize,
    points: usize,
    in_copies: usize,
    whole: usize,
    absent: usize,
    redelivered: usize,
    left: usize,
    waited: Duration,
    time: Duration,
    recording: Duration,
    longest: usize,
    /// Instructions outside copies: the points there are.
    there_are: usize,
}

/// Scenarios whose text contains `SYSRING_SCENARIO`; all without it.
fn chosen() -> Vec<Scenario> {
    let wanted = std::env::var("SYSRING_SCENARIO").unwrap_or_default();
    scenario::all().into_iter().filter(|scenario| scenario.to_string().contains(&wanted)).collect()
}

fn killed_at_every_instruction() {
    process::stay_on_one_core(0);
    every_instruction(Fate::Kill, KILLS);
}

fn stopped_at_every_instruction() {
    process::stay_on_one_core(1);
    every_instruction(Fate::Stop, STOPS);
}

fn every_instruction(fate: Fate, short: usize) {
    let page = Page::new();
    let seed = seed();
    let mut random = Random::new(seed);
    let scenarios = chosen();
    let mut sums: BTreeMap<usize, (Operation, Sum)> = BTreeMap::new();
    let mut failures = 0;
    let mut retries = 0;
    let mut budget_left = short;
    for (index, scenario) in scenarios.iter().enumerate() {
        let started = Instant::now();
        let run = |goal, random: Random| {
            let mut setting = Setting { scenario, fate, page: &page, random, goal, recorded: None };
            let outcome = setting.run();
            (outcome, setting.recorded)
        };
        let (outcome, trace) = run(None, Random::new(seed));
        if page.refusal() == libc::EPERM as u64 {
            println!("ptrace is not permitted here: skipped");
            return;
        }
        let recording = started.elapsed();
        let trace = match (outcome, trace) {
            (Ok(_), Some(trace)) => trace,
            (outcome, _) => {
                println!("FAILED {scenario}: the operation could not be recorded: {outcome:?}");
                failures += 1;
                continue;
            }
        };
        let left = scenarios.len() - index;
        let budget = (!is_long()).then(|| budget_left.div_ceil(left));
        let points = choose(&trace, budget, fate, &mut random);
        let count = points.len();
        budget_left = budget_left.saturating_sub(count);
        let (_, sum) =
            sums.entry(scenario.operation as usize).or_insert((scenario.operation, Sum::default()));
        sum.scenarios += 1;
        for point in points {
            let chance = random.below(u64::MAX);
            let mut tries = 0;
            let outcome = loop {
                tries += 1;
                match run(Some((point, &trace)), Random::new(chance)).0 {
                    Err(why) if why.starts_with(LATE) && tries < TRIES => retries += 1,
                    outcome => break outcome,
                }
            };
            sum.points += 1;
            sum.in_copies += usize::from(trace.is_in_copy(point.steps));
            match outcome {
                Ok(outcome) => {
                    sum.whole += outcome.whole;
                    sum.absent += outcome.absent;
                    sum.redelivered += outcome.redelivered;
                    sum.left += outcome.left;
                    sum.waited = sum.waited.max(outcome.waited);
                }
                Err(why) => {
                    failures += 1;
                    let place = trace.places[point.steps].wrapping_sub(start_mark as *const () as u64);
                    println!(
                        "FAILED {scenario}: point {} of {}{}, start_mark{:+#x}: {why}",
                        point.steps,
                        trace.len(),
                        if point.asleep { " (asleep)" } else { "" },
                        place.cast_signed(),
                    );
                    if failures >= ENOUGH {
                        panic!("{failures} failures: that is enough");
                    }
                }
            }
        }
        sum.time += started.elapsed();
        if is_long() {
            println!("{scenario}: {count} points in {:.1} s", started.elapsed().as_secs_f64());
        }
        sum.recording += recording;
        sum.longest = sum.longest.max(trace.len());
        sum.there_are += (1..=trace.len()).filter(|&steps| !trace.is_in_copy(steps)).count();
    }
    let points = report(fate, &sums, scenarios.len(), retries, failures);
    assert_eq!(failures, 0, "failures, see above");
    if std::env::var_os("SYSRING_SCENARIO").is_none() {
        assert!(scenarios.len() >= 100 && points >= if is_long() { LONG } else { short }, "too few");
    }
}

fn report(
    fate: Fate,
    sums: &BTreeMap<usize, (Operation, Sum)>,
    scenarios: usize,
    retries: usize,
    failures: usize,
) -> usize {
    let kind = if fate == Fate::Kill { "kill" } else { "stop" };
    let mut total = Sum::default();
    for (operation, sum) in sums.values() {
        println!(
            "{:>16}: {:2} scenarios, {:6} {kind} points ({} in copies): {} whole, {} absent, {} redelivered, {} left; up to {} instructions, {} outside copies in all; {:.1} s, {:.1} of them to record{}",
            format!("{operation:?}"),
            sum.scenarios,
            sum.points,
            sum.in_copies,
            sum.whole,
            sum.absent,
            sum.redelivered,
            sum.left,
            sum.longest,
            sum.there_are,
            sum.time.as_secs_f64(),
            sum.recording.as_secs_f64(),
            if fate == Fate::Stop {
                format!(", others took at most {:?}", sum.waited)
            } else {
                String::new()
            },
        );
        total.points += sum.points;
        total.in_copies += sum.in_copies;
        total.there_are += sum.there_are;
    }
    println!(
        "{kind} points: {} in {scenarios} scenarios ({} in copies, the others of {} outside them); {retries} tried again because late; {failures} failures",
        total.points, total.in_copies, total.there_are
    );
    total.points
}
