//! What sysring is to reach beside its peers, and whether the rows of a run show it.

use std::fmt::Write;

use crate::plot;
use crate::report::{Row, quantile};

/// Peers in any mode, in modes of one message a call, in batch modes.
const ANY: Rivals = Rivals { peers: Some(Mode::Any), named: &[], workload: None, senders: None };
const SINGLE: Rivals = Rivals { peers: Some(Mode::Single), ..ANY };
const BATCH: Rivals = Rivals { peers: Some(Mode::Batch), ..ANY };
const RINGS: Rivals = rows(&["ref-ring", "ref-ring-pause"]);
const THREADS: Rivals = rows(&["t:crossbeam-channel", "t:std-sync_channel"]);
const LOAN: Rivals = rows(&["iceoryx2-loan"]);

const W3_ASLEEP: &[&str] = &["w3-asleep", "w3-asleep-one-core"];
const W3_DEFAULT: &[&str] = &["w3-default", "w3-default-idle", "w3-default-one-core"];
const W4: &[&str] = &["w4-pinned", "w4-free"];
const SENDERS: &[usize] = &[2, 4, 8];
const P50: &[&str] = &["ns p50"];
const P50_P99: &[&str] = &["ns p50", "ns p99"];

/// All targets. A line stands for each of its workloads, sizes, numbers of senders and units.
const TARGETS: &[Target] = &[
    ours("sysring", &["w1"], &[8, 64, 256]).at_least(1.0, BATCH),
    ours("sysring", &["w1"], &[8, 64, 256]).at_least(2.0, SINGLE),
    ours("sysring", &["w1"], &[8, 64, 256]).lower_quartile().at_least(0.5, BATCH),
    ours("sysring-batch", &["w1"], &[8, 64]).at_least(1.1, BATCH),
    ours("sysring-batch", &["w1"], &[256, 1024, 4096, 65536]).at_least(0.95, ANY.and(&["ref-ring-batch"])),
    ours("sysring", &["w1"], &[1024, 4096, 65536]).at_least(1.0, ANY),
    ours("sysring", &["w1"], &[1024, 4096, 65536]).at_least(0.95, RINGS),
    ours("sysring", &["w2"], &[48]).units(P50).at_most(1.25, rows(&["bare-lines"])),
    ours("sysring", &["w2"], &[64]).units(P50_P99).at_most(1.0, ANY),
    ours("sysring", W3_ASLEEP, &[64]).units(P50).at_most(1.15, rows(&["bare-semop"])),
    ours("sysring", W3_DEFAULT, &[64]).units(P50).at_most(1.25, ANY),
    ours("sysring", W4, &[64]).senders(SENDERS).at_least(5.0, SINGLE),
    ours("sysring", W4, &[64]).senders(SENDERS).at_least(1.0, THREADS),
    ours("sysring-per-sender-batch", W4, &[64]).senders(SENDERS).at_least(1.0, BATCH),
    ours("sysring-per-sender", W4, &[64]).senders(SENDERS).at_least(1.0, rows(&["sysring"])),
    ours("sysring", &["w4-pinned"], &[64]).senders(&[8]).at_least(0.5, rows(&["sysring"]).with_senders(2)),
    ours("sysring", &["w5"], &[64]).at_least(3.0, SINGLE),
    ours("sysring", &["w5"], &[1024]).at_least(2.0, SINGLE).or_at_least(0.95, RINGS.of("w1")),
    ours("sysring", &["w5"], &[64, 1024]).at_least(0.8, rows(&["sysring-spin"])),
    ours("sysring-in-place", &["w6"], &[1024]).at_least(3.0, LOAN),
    ours("sysring-in-place", &["w6"], &[64 << 10, 1 << 20]).at_least(1.0, LOAN),
    ours("sysring-in-place", &["w6"], &[1024, 64 << 10, 1 << 20]).at_least(0.95, RINGS),
    ours("sysring", &["w7-*"], &[64]).units(P50_P99).at_most(1.15, rows(&["sysring-latency"])),
    ours("sysring-1-attached", &["w8-one"], &[]).at_most(1.3, rows(&["sysring-64-attached"])),
];

/// One line of [`TARGETS`].
#[derive(Clone, Copy, Debug)]
struct Target {
    ours: &'static str,
    /// A name that ends in `*` stands for all workloads of the run that begin so.
    workloads: &'static [&'static str],
    /// Empty: whatever size the row has.
    sizes: &'static [usize],
    /// Empty: however many the row has.
    senders: &'static [usize],
    units: &'static [&'static str],
    /// Which quantile of our figures is meant.
    share: f64,
    goal: Goal,
    /// Reached as well if this is.
    or: Option<Goal>,
}

/// Our figure through the best rival's median, and who the rivals are.
#[derive(Clone, Copy, Debug)]
struct Goal {
    bound: Bound,
    rivals: Rivals,
}

#[derive(Clone, Copy, Debug)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// The rows to compare with, of which the best counts.
#[derive(Clone, Copy, Debug)]
struct Rivals {
    peers: Option<Mode>,
    named: &'static [&'static str],
    /// Not the same workload as ours but this.
    workload: Option<&'static str>,
    /// Not as many senders as ours but so many.
    senders: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Any,
    Single,
    Batch,
}

/// The beginning of a target; `at_least` or `at_most` must follow.
const fn ours(ours: &'static str, workloads: &'static [&'static str], sizes: &'static [usize]) -> Target {
    let goal = Goal { bound: Bound::AtLeast(f64::NAN), rivals: ANY };
    Target { ours, workloads, sizes, senders: &[], units: &["msg/s"], share: 0.5, goal, or: None }
}

/// Rivals by their names.
const fn rows(named: &'static [&'static str]) -> Rivals {
    Rivals { peers: None, named, workload: None, senders: None }
}

impl Target {
    const fn senders(self, senders: &'static [usize]) -> Target {
        Target { senders, ..self }
    }

    const fn units(self, units: &'static [&'static str]) -> Target {
        Target { units, ..self }
    }

    const fn lower_quartile(self) -> Target {
        Target { share: 0.25, ..self }
    }

    const fn at_least(self, ratio: f64, rivals: Rivals) -> Target {
        Target { goal: Goal { bound: Bound::AtLeast(ratio), rivals }, ..self }
    }

    const fn at_most(self, ratio: f64, rivals: Rivals) -> Target {
        Target { goal: Goal { bound: Bound::AtMost(ratio), rivals }, ..self }
    }

    const fn or_at_least(self, ratio: f64, rivals: Rivals) -> Target {
        Target { or: Some(Goal { bound: Bound::AtLeast(ratio), rivals }), ..self }
    }
}

impl Rivals {
    /// These rows beside the peers.
    const fn and(self, named: &'static [&'static str]) -> Rivals {
        Rivals { named, ..self }
    }

    const fn of(self, workload: &'static str) -> Rivals {
        Rivals { workload: Some(workload), ..self }
    }

    const fn with_senders(self, senders: usize) -> Rivals {
        Rivals { senders: Some(senders), ..self }
    }

    fn include(&self, name: &str) -> bool {
        let mode = match self.peers {
            Some(Mode::Any) => is_peer(name),
            Some(Mode::Single) => is_peer(name) && !name.ends_with("-batch"),
            Some(Mode::Batch) => is_peer(name) && name.ends_with("-batch"),
            None => false,
        };
        mode || self.named.contains(&name)
    }

    fn describe(&self) -> String {
        let peers = self.peers.map(|mode| match mode {
            Mode::Any => "best peer",
            Mode::Single => "best peer's single mode",
            Mode::Batch => "best peer's batch mode",
        });
        let mut text = peers.iter().chain(self.named).copied().collect::<Vec<_>>().join(" / ");
        if let Some(workload) = self.workload {
            let _ = write!(text, " of {workload}");
        }
        if let Some(senders) = self.senders {
            let _ = write!(text, " with {senders} senders");
        }
        text
    }
}

impl Bound {
    /// The whole interval of a ratio must lie on the wrong side for a target to be missed.
    fn is_met(self, low: f64, high: f64) -> bool {
        match self {
            Bound::AtLeast(ratio) => high >= ratio,
            Bound::AtMost(ratio) => low <= ratio,
        }
    }
}

/// Whether it is neither ours nor a reference: those are no rivals unless a target names them.
pub(crate) fn is_peer(name: &str) -> bool {
    !["sysring", "ref-", "bare-", "t:"].iter().any(|start| name.starts_with(start))
}

/// What a line of the list says about one workload, size, number of senders and unit.
#[derive(Clone, Copy, Debug)]
struct Work<'a> {
    workload: &'a str,
    size: Option<usize>,
    senders: Option<usize>,
    unit: &'a str,
}

impl Work<'_> {
    /// The row's figures for it, one a round.
    fn figures_of<'a>(&self, row: &'a Row) -> Option<&'a [f64]> {
        let fits = row.workload == self.workload
            && self.size.is_none_or(|size| row.size == size)
            && self.senders.is_none_or(|senders| row.senders == senders);
        let unit = row.units.iter().position(|unit| *unit == self.unit)?;
        fits.then(|| row.figures(unit))
    }

    /// Of delays the least is the best.
    fn is_delay(&self) -> bool {
        self.unit.starts_with("ns")
    }

    fn figure(&self, figure: f64) -> String {
        if self.is_delay() { plot::nanos(figure) } else { plot::rate(figure) }
    }

    fn describe(&self) -> String {
        let mut text = self.workload.to_string();
        if let Some(size) = self.size {
            let _ = write!(text, ", {size} B");
        }
        if let Some(senders) = self.senders {
            let _ = write!(text, ", {senders} senders");
        }
        // Figures of delays have their own units.
        let _ = write!(text, ", {}", self.unit.trim_start_matches("ns "));
        text
    }
}

/// Everything that a target asks about, one by one.
fn works<'a>(target: &Target, rows: &'a [Row]) -> Vec<Work<'a>> {
    let or_any = |list: &[usize]| match list {
        [] => vec![None],
        list => list.iter().copied().map(Some).collect(),
    };
    let mut workloads: Vec<&'a str> = Vec::new();
    for &pattern in target.workloads {
        let before = workloads.len();
        if let Some(start) = pattern.strip_suffix('*') {
            for name in rows.iter().map(|row| row.workload).filter(|name| name.starts_with(start)) {
                if !workloads.contains(&name) {
                    workloads.push(name);
                }
            }
        }
        if workloads.len() == before {
            workloads.push(pattern);
        }
    }
    let mut works = Vec::new();
    for workload in workloads {
        for size in or_any(target.sizes) {
            for senders in or_any(target.senders) {
                works.extend(target.units.iter().map(|unit| Work { workload, size, senders, unit }));
            }
        }
    }
    works
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Reached,
    Missed,
    NoData,
}

/// How one goal stands.
#[derive(Debug)]
struct Standing<'a> {
    ours: Option<f64>,
    /// Rounds in which ours gave a figure, and all rounds.
    runs: (usize, usize),
    best: Option<(&'a str, f64)>,
    ratio: Option<Ratio>,
    verdict: Verdict,
}

fn stand<'a>(target: &Target, goal: &Goal, work: Work, rows: &'a [Row]) -> Standing<'a> {
    let figures = rows.iter().filter(|row| row.peer == target.ours).find_map(|row| work.figures_of(row));
    let figures = figures.unwrap_or(&[]);
    let theirs = Work {
        workload: goal.rivals.workload.unwrap_or(work.workload),
        senders: goal.rivals.senders.or(work.senders),
        ..work
    };
    let rivals = rows.iter().filter(|row| goal.rivals.include(row.peer)).filter_map(|row| {
        let figures = theirs.figures_of(row)?;
        Some((row.peer, figures, statistic(figures.iter().copied(), 0.5)?))
    });
    let best = if work.is_delay() {
        rivals.min_by(|a, b| a.2.total_cmp(&b.2))
    } else {
        rivals.max_by(|a, b| a.2.total_cmp(&b.2))
    };
    let ratio = best.and_then(|(_, best, _)| compare(figures, target.share, best));
    Standing {
        ours: statistic(figures.iter().copied(), target.share),
        runs: (figures.iter().filter(|figure| figure.is_finite()).count(), figures.len()),
        best: best.map(|(name, _, median)| (name, median)),
        ratio,
        verdict: match ratio {
            Some(Ratio { low, high, .. }) if goal.bound.is_met(low, high) => Verdict::Reached,
            Some(_) => Verdict::Missed,
            None => Verdict::NoData,
        },
    }
}

/// Of two ways to reach one target. As long as one of them is not known, it may still be reached.
fn either(one: Verdict, other: Verdict) -> Verdict {
    match (one, other) {
        (Verdict::Reached, _) | (_, Verdict::Reached) => Verdict::Reached,
        (Verdict::Missed, Verdict::Missed) => Verdict::Missed,
        _ => Verdict::NoData,
    }
}

/// That quantile of the figures that are there, if any.
fn statistic(figures: impl Iterator<Item = f64>, share: f64) -> Option<f64> {
    let mut good: Vec<f64> = figures.filter(|figure| figure.is_finite()).collect();
    good.sort_by(f64::total_cmp);
    (!good.is_empty()).then(|| quantile(&good, share))
}

/// A ratio, and the ends of its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Ratio {
    ratio: f64,
    low: f64,
    high: f64,
}

const RESAMPLES: usize = 2000;

/// A quantile of ours through the median of theirs. The interval comes from drawing rounds with replacement, the
/// same for both, since the machine's moods in a round are felt by both.
fn compare(ours: &[f64], share: f64, theirs: &[f64]) -> Option<Ratio> {
    let rounds = ours.len().min(theirs.len());
    let ratio_of = |drawn: &[usize]| {
        let ours = statistic(drawn.iter().map(|round| ours[*round]), share)?;
        let theirs = statistic(drawn.iter().map(|round| theirs[*round]), 0.5)?;
        Some(ours / theirs).filter(|ratio| ratio.is_finite())
    };
    let mut drawn: Vec<usize> = (0..rounds).collect();
    let ratio = ratio_of(&drawn)?;
    // The same seed for each comparison: none depends on which came before.
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut ratios = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        drawn.fill_with(|| random.below(rounds));
        ratios.extend(ratio_of(&drawn));
    }
    ratios.sort_by(f64::total_cmp);
    // Empty only if no draw met a figure of both sides.
    let (low, high) =
        if ratios.is_empty() { (ratio, ratio) } else { (quantile(&ratios, 0.025), quantile(&ratios, 0.975)) };
    Some(Ratio { ratio, low, high })
}

/// xorshift64*
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let word = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D);
        ((u128::from(word) * end as u128) >> 64) as usize
    }
}

/// How every target stands, as a Markdown table, and how many are reached.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| work | target | ours | against | ratio | 95 % interval | verdict |\n|---|---|---:|---|---:|---|---|\n",
    );
    let mut counts = [0; 3];
    for target in TARGETS {
        for work in works(target, rows) {
            let first = stand(target, &target.goal, work, rows);
            let other = target.or.map(|goal| (goal, stand(target, &goal, work, rows)));
            let verdict =
                other.as_ref().map_or(first.verdict, |(_, other)| either(first.verdict, other.verdict));
            counts[verdict as usize] += 1;
            line(&mut text, work, target, &target.goal, "", &first, verdict);
            if let Some((goal, other)) = &other {
                line(&mut text, work, target, goal, "or ", other, verdict);
            }
        }
    }
    let [reached, missed, unknown] = counts;
    let _ = writeln!(
        text,
        "\n{reached} reached, {missed} missed, {unknown} without data. A ratio is one of medians; its interval is from \
         {RESAMPLES} resamples of the rounds.\nReached: the interval includes the target or lies beyond it on the good \
         side."
    );
    text
}

/// One line; `joint` is the verdict on the target where this is one of two ways to reach it.
fn line(
    text: &mut String,
    work: Work,
    target: &Target,
    goal: &Goal,
    or: &str,
    standing: &Standing,
    joint: Verdict,
) {
    let quartile = if target.share < 0.5 { "lower quartile of " } else { "" };
    let (sign, bound) = match goal.bound {
        Bound::AtLeast(bound) => (">=", bound),
        Bound::AtMost(bound) => ("<=", bound),
    };
    let ours = standing.ours.map_or("-".into(), |ours| work.figure(ours));
    let partly = match standing.runs {
        (some, all) if 0 < some && some < all => format!(" ({some} of {all} runs)"),
        _ => String::new(),
    };
    let against =
        standing.best.map_or("-".into(), |(name, median)| format!("{name} {}", work.figure(median)));
    let (ratio, interval) = standing.ratio.map_or(("-".into(), "-".into()), |Ratio { ratio, low, high }| {
        (format!("{ratio:.2}"), format!("{low:.2} to {high:.2}"))
    });
    let verdict = match (standing.verdict, joint) {
        (Verdict::Reached, _) => "reached",
        (_, Verdict::Reached) => "reached by the other way",
        (Verdict::Missed, _) => "missed",
        (Verdict::NoData, _) => "no data",
    };
    let _ = writeln!(
        text,
        "| {} | {or}{quartile}{} {sign} {bound} x {} | {ours}{partly} | {against} | {ratio} | {interval} | {verdict} |",
        work.describe(),
        target.ours,
        goal.rivals.describe(),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Outcome;
    use crate::catalogue::Case;

    const RATE: &[&str] = &["msg/s"];

    fn row(workload: &'static str, peer: &'static str, size: usize, figures: &[f64]) -> Row {
        let mut row = Row::new(&Case {
            workload,
            peer,
            size,
            senders: 1,
            units: RATE,
            run: Box::new(|_| unreachable!()),
        });
        for figure in figures {
            row.add(if figure.is_nan() { Outcome::Failed } else { Outcome::Figures(vec![*figure]) });
        }
        row
    }

    fn standing<'a>(target: &Target, rows: &'a [Row]) -> Standing<'a> {
        stand(target, &target.goal, works(target, rows)[0], rows)
    }

    #[test]
    fn quantiles_lie_between_neighbours() {
        assert_eq!(quantile(&[3.0], 0.5), 3.0);
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.5), 2.0);
        assert_eq!(quantile(&[1.0, 2.0, 4.0, 8.0], 0.5), 3.0);
        assert_eq!(quantile(&[1.0, 2.0, 4.0, 8.0, 16.0], 0.25), 2.0);
        assert_eq!(quantile(&[10.0, 20.0], 0.25), 12.5);
        assert_eq!((quantile(&[1.0, 9.0], 0.0), quantile(&[1.0, 9.0], 1.0)), (1.0, 9.0));
    }

    #[test]
    fn rounds_without_a_figure_do_not_count() {
        assert_eq!(statistic([f64::NAN, 3.0, 1.0, f64::NAN, 2.0].into_iter(), 0.5), Some(2.0));
        assert_eq!(statistic([f64::NAN].into_iter(), 0.5), None);
        assert_eq!(compare(&[], 0.5, &[]), None);
        assert_eq!(compare(&[f64::NAN, f64::NAN], 0.5, &[1.0, 2.0]), None);
        // Never in the same round, but both there.
        let ratio = compare(&[4.0, f64::NAN], 0.5, &[f64::NAN, 2.0]).expect("a ratio");
        assert_eq!((ratio.ratio, ratio.low, ratio.high), (2.0, 2.0, 2.0));
    }

    #[test]
    fn both_rows_are_drawn_in_the_same_rounds() {
        // Moods of the machine that both rows share leave no trace in their ratio.
        let theirs = [1.0, 7.0, 3.0, 100.0, 20.0, 5.0, 9.0];
        let ours = theirs.map(|figure| 2.0 * figure);
        assert_eq!(compare(&ours, 0.5, &theirs), Some(Ratio { ratio: 2.0, low: 2.0, high: 2.0 }));
    }

    #[test]
    fn the_interval_is_that_of_the_median() {
        // The median of n draws lies between the order statistics n/2 -+ 0.98 sqrt(n) in 95 of 100 cases.
        let ours: Vec<f64> = (0..401).map(|index| f64::from(index * 173 % 401)).collect();
        let theirs = [100.0; 401];
        let Ratio { ratio, low, high } = compare(&ours, 0.5, &theirs).expect("a ratio");
        assert_eq!(ratio, 2.0);
        assert!((low - 1.804).abs() < 0.03 && (high - 2.196).abs() < 0.03, "{low} to {high}");
        assert_eq!(compare(&ours, 0.5, &theirs), Some(Ratio { ratio, low, high }), "the same every time");
        let quartile = compare(&ours, 0.25, &theirs).expect("a ratio");
        assert!(quartile.ratio == 1.0 && quartile.low < 1.0 && quartile.high > 1.0, "{quartile:?}");
    }

    #[test]
    fn draws_are_even() {
        let mut random = Random(1);
        let mut counts = [0; 7];
        (0..70_000).for_each(|_| counts[random.below(7)] += 1);
        assert!(counts.iter().all(|count| (9_600..10_400).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_target_is_missed_only_if_the_whole_interval_is_on_the_wrong_side() {
        let least = Bound::AtLeast(1.0);
        assert!(least.is_met(1.1, 1.2) && least.is_met(0.9, 1.1) && least.is_met(0.8, 1.0));
        assert!(!least.is_met(0.8, 0.99));
        let most = Bound::AtMost(1.25);
        assert!(most.is_met(0.5, 0.6) && most.is_met(1.2, 1.4) && most.is_met(1.25, 1.4));
        assert!(!most.is_met(1.26, 1.4));
    }

    #[test]
    fn the_best_of_the_peers_meant_counts() {
        let rows = [
            row("w1", "sysring", 8, &[30.0, 31.0, 29.0]),
            row("w1", "sysring-batch", 8, &[99.0; 3]),
            row("w1", "ref-ring", 8, &[98.0; 3]),
            row("w1", "t:rtrb", 8, &[97.0; 3]),
            row("w1", "shaq", 8, &[10.0, 11.0, 12.0]),
            row("w1", "pipe", 8, &[1.0; 3]),
            row("w1", "shaq-batch", 8, &[60.0; 3]),
            row("w1", "shaq", 64, &[96.0; 3]),
            row("w5", "shaq", 8, &[95.0; 3]),
        ];
        let target = ours("sysring", &["w1"], &[8]);
        let best = |rivals| standing(&target.at_least(1.0, rivals), &rows).best;
        assert_eq!(best(SINGLE), Some(("shaq", 11.0)));
        assert_eq!(best(BATCH), Some(("shaq-batch", 60.0)));
        assert_eq!(best(ANY), Some(("shaq-batch", 60.0)));
        assert_eq!(best(ANY.and(&["ref-ring"])), Some(("ref-ring", 98.0)));
        assert_eq!(best(SINGLE.of("w5")), Some(("shaq", 95.0)));
        assert_eq!(best(THREADS), None);
        assert_eq!(standing(&target.at_least(2.0, SINGLE), &rows).verdict, Verdict::Reached);
        assert_eq!(standing(&target.at_least(3.0, SINGLE), &rows).verdict, Verdict::Reached);
        assert_eq!(standing(&target.at_least(1.0, BATCH), &rows).verdict, Verdict::Missed);
        assert_eq!(standing(&target.at_most(1.0, BATCH), &rows).verdict, Verdict::Reached);
        assert_eq!(standing(&target.at_least(1.0, THREADS), &rows).verdict, Verdict::NoData);
        let absent = ours("sysring-latency", &["w1"], &[8]).at_least(1.0, SINGLE);
        assert_eq!(standing(&absent, &rows).verdict, Verdict::NoData);
    }

    #[test]
    fn of_delays_the_least_is_the_best() {
        let delay = |peer, figures: [f64; 2]| {
            let units = &["ns p50", "ns p99"];
            let case =
                Case { workload: "w2", peer, size: 64, senders: 1, units, run: Box::new(|_| unreachable!()) };
            let mut row = Row::new(&case);
            row.add(Outcome::Figures(figures.to_vec()));
            row
        };
        let rows =
            [delay("sysring", [200.0, 600.0]), delay("shaq", [250.0, 550.0]), delay("pipe", [9e3, 9e4])];
        let target = ours("sysring", &["w2"], &[64]).units(P50_P99).at_most(1.0, ANY);
        let standings: Vec<_> =
            works(&target, &rows).into_iter().map(|work| stand(&target, &target.goal, work, &rows)).collect();
        assert_eq!(standings[0].best, Some(("shaq", 250.0)));
        assert_eq!([standings[0].verdict, standings[1].verdict], [Verdict::Reached, Verdict::Missed]);
    }

    #[test]
    fn one_of_two_ways_is_enough() {
        use Verdict::{Missed, NoData, Reached};
        assert_eq!(either(Missed, Reached), Reached);
        assert_eq!(either(Reached, NoData), Reached);
        assert_eq!(either(Missed, Missed), Missed);
        assert_eq!(either(Missed, NoData), NoData);
        let rows = [
            row("w5", "sysring", 1024, &[15.0; 3]),
            row("w5", "pipe", 1024, &[10.0; 3]),
            row("w1", "ref-ring-pause", 1024, &[14.0; 3]),
        ];
        let text = table(&rows);
        assert!(text.contains("pipe 10.0 | 1.50 | 1.50 to 1.50 | reached by the other way |"), "{text}");
        assert!(text.contains("ref-ring-pause 14.0 | 1.07 | 1.07 to 1.07 | reached |"), "{text}");
        assert!(text.contains("\n1 reached, 0 missed, "), "{text}");
    }

    #[test]
    fn a_star_stands_for_what_the_run_has() {
        let rows = [
            row("w7-10k", "sysring", 64, &[1.0]),
            row("w7-10k", "sysring-latency", 64, &[1.0]),
            row("w7-1M", "sysring", 64, &[1.0]),
        ];
        let target = ours("sysring", &["w7-*"], &[64]).at_most(1.15, rows_named());
        let names = |rows| works(&target, rows).iter().map(|work| work.workload).collect::<Vec<_>>();
        assert_eq!(names(&rows), ["w7-10k", "w7-1M"]);
        assert_eq!(names(&[]), ["w7-*"]);
    }

    fn rows_named() -> Rivals {
        rows(&["sysring-latency"])
    }

    #[test]
    fn every_target_has_a_line_without_rows() {
        let text = table(&[]);
        let lines = text.lines().filter(|line| line.ends_with("| no data |")).count();
        let ways = |target: &Target| works(target, &[]).len() * (1 + usize::from(target.or.is_some()));
        assert_eq!(lines, TARGETS.iter().map(ways).sum::<usize>());
    }

    #[test]
    fn failed_rounds_of_ours_are_told() {
        let rows = [row("w1", "sysring", 8, &[5.0, f64::NAN, 5.0]), row("w1", "pipe", 8, &[1.0; 3])];
        assert!(table(&rows).contains("| 5.00 (2 of 3 runs) | pipe 1.00 |"));
    }
}
