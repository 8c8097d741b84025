//! The checkers themselves: by histories made by hand, by the two against each other, and by recorded ones made wrong
//! (in `record`).

use crate::check::{check, patterns};
use crate::grouped;
use crate::history::{Act, History, Operation, Rule, Shape};
use crate::message::Random;
use crate::runner::{is_long, seed, tests};
use crate::search::{Model, is_linearizable};

tests![made_by_hand, two_checkers_agree];

const SHORT: u64 = 10_000;
const LONG: u64 = 300_000;

fn operation(act: Act, begin: u64, end: u64) -> Operation {
    Operation { act, begin, end }
}

/// Eight bytes in the sender's own lane.
fn send(sender: u32, value: u64, begin: u64, end: u64) -> Operation {
    operation(Act::Send { value, lane: sender, length: 8 }, begin, end)
}

fn receive(value: u64, begin: u64, end: u64) -> Operation {
    operation(Act::Receive { value }, begin, end)
}

fn empty(begin: u64, end: u64) -> Operation {
    operation(Act::Empty, begin, end)
}

/// A history in lanes of that size, without stamps.
fn history(capacity: u64, senders: &[&[Operation]], receiver: &[Operation]) -> History {
    History {
        rule: Rule::Total,
        shape: Shape { capacity, stamped: false },
        tails: vec![0; senders.len()],
        senders: senders.iter().map(|list| list.to_vec()).collect(),
        receiver: receiver.to_vec(),
    }
}

/// Three checks, one opinion; the patterns know nothing of room.
fn judge(what: &str, history: &History, total: bool, per_sender: bool, is_about_room: bool) {
    for (rule, is_good) in [(Rule::Total, total), (Rule::PerSender, per_sender)] {
        let history = History { rule, ..history.clone() };
        let verdict = check(&history);
        assert_eq!(verdict.is_ok(), is_good, "{what}, {rule:?}: {verdict:?}");
        assert_eq!(is_linearizable(&history), is_good, "{what}, {rule:?}");
        assert_eq!(patterns(&history).is_ok(), is_good || is_about_room, "{what}, {rule:?}");
    }
}

fn made_by_hand() {
    const LARGE: u64 = 4096;
    let (a, b) = ([send(0, 1, 10, 20)], [send(1, 2, 30, 40)]);
    let about = |what: &str, receiver: &[Operation], total, per_sender| {
        judge(what, &history(LARGE, &[&a, &b], receiver), total, per_sender, false);
    };
    about("nothing received", &[], true, true);
    about("one by one", &[receive(1, 21, 25), receive(2, 41, 45)], true, true);
    about("received while being sent", &[receive(1, 11, 12), receive(2, 31, 32)], true, true);
    about("the second first", &[receive(2, 50, 51), receive(1, 52, 53)], false, true);
    about("the second only", &[receive(2, 50, 51)], false, true);
    about("before it was sent", &[receive(1, 5, 9)], false, false);
    about("twice", &[receive(1, 21, 22), receive(1, 23, 24)], false, false);
    about("from nowhere", &[receive(3, 21, 22)], false, false);
    about("empty before", &[empty(0, 9), empty(12, 13), receive(1, 14, 15)], true, true);
    about("empty with one inside", &[empty(21, 22), receive(1, 23, 24)], false, false);
    about("empty for a moment", &[empty(5, 22), receive(1, 23, 24)], true, true);
    about("lost", &[receive(2, 50, 51), empty(52, 53)], false, false);
    about("both out", &[receive(1, 50, 51), receive(2, 52, 53), empty(54, 55)], true, true);

    // At the same time: either may come first, but then an end to one begins the other.
    let overlapping = [[send(0, 1, 10, 40)], [send(1, 2, 20, 30)]];
    let senders: Vec<&[Operation]> = overlapping.iter().map(|list| &list[..]).collect();
    let about = |what: &str, receiver: &[Operation], is_good| {
        judge(what, &history(LARGE, &senders, receiver), is_good, is_good, false);
    };
    about("this way", &[receive(1, 50, 51), receive(2, 52, 53)], true);
    about("that way", &[receive(2, 50, 51), receive(1, 52, 53)], true);
    about("a gap between", &[receive(2, 25, 26), empty(27, 28), receive(1, 52, 53)], true);
    about("a gap too late", &[empty(31, 32), receive(2, 33, 34), receive(1, 52, 53)], false);

    // The same sender's messages, out of order.
    let senders: [&[Operation]; 1] = [&[send(0, 1, 10, 20), send(0, 2, 21, 30)]];
    let swapped = [receive(2, 50, 51), receive(1, 52, 53)];
    judge("one sender, swapped", &history(LARGE, &senders, &swapped), false, false, false);

    // Room for three records of 16 bytes and the word behind them.
    let (full, third) = (
        operation(Act::Full { lane: 0, length: 8 }, 40, 50),
        [send(0, 1, 10, 11), send(0, 2, 20, 21), send(0, 3, 30, 31)],
    );
    let with = |last: &[Operation]| [&third, last].concat();
    let release = |begin, end| operation(Act::Release { value: 1 }, begin, end);
    let about = |what: &str, last: &[Operation], receiver: &[Operation], is_good| {
        judge(what, &history(64, &[&with(last)], receiver), is_good, is_good, true);
    };
    about("full", &[full], &[], true);
    about("full, then room", &[full, send(0, 4, 60, 70)], &[receive(1, 32, 33), release(45, 65)], true);
    about("received, not given back", &[full], &[receive(1, 32, 33), release(51, 52)], true);
    about("full with room", &[full], &[receive(1, 32, 33), release(34, 39)], false);
    about("a fourth without room", &[send(0, 4, 60, 70)], &[receive(1, 61, 62), release(71, 72)], false);
    about("a fourth into new room", &[send(0, 4, 60, 70)], &[receive(1, 61, 62), release(69, 72)], true);
    about(
        "room, none, room",
        &[full, send(0, 4, 51, 52), full],
        &[receive(1, 32, 33), release(48, 55)],
        false,
    );
    judge(
        "full though two were enough",
        &history(64, &[&[send(0, 1, 10, 11), send(0, 2, 20, 21), full]], &[]),
        false,
        false,
        true,
    );
    // The fourth cannot have been sent before its room was made, which began after another was sent elsewhere.
    let other = [send(1, 9, 62, 64)];
    let late = history(
        64,
        &[&with(&[send(0, 4, 60, 90)]), &other],
        &[
            receive(1, 32, 33),
            release(70, 72),
            receive(2, 91, 92),
            receive(3, 93, 94),
            receive(4, 95, 96),
            receive(9, 97, 98),
        ],
    );
    judge("sent before its room", &late, false, true, true);
}

/// A history that a channel could have, of a few operations.
fn draw(random: &mut Random) -> History {
    let senders = 1 + random.below(3) as usize;
    let mut history = History {
        rule: if random.below(3) == 0 { Rule::PerSender } else { Rule::Total },
        shape: Shape {
            capacity: [128, 128, 1 << 20][random.below(3) as usize],
            stamped: random.below(2) == 0,
        },
        tails: (0..senders).map(|_| random.below(8) * 8).collect(),
        senders: vec![Vec::new(); senders],
        receiver: Vec::new(),
    };
    let mut model = Model::new(&history);
    // What each process does at which moment.
    let mut moments: Vec<Vec<(u64, Vec<Act>)>> = vec![Vec::new(); senders + 1];
    let (count, mut lent) = (4 + random.below(9), None);
    for moment in (1..=count).map(|number| number * 10) {
        let who = random.below(senders as u64 * 2) as usize;
        let acts = if who < senders {
            let (lane, length) = (who as u32, 1 + random.below(48) as u32);
            let sent = Act::Send { value: moment, lane, length };
            if model.step(sent, &history) { vec![sent] } else { vec![Act::Full { lane, length }] }
        } else {
            let next = model.next(history.rule);
            match (lent.take(), next.get(random.below(next.len().max(1) as u64) as usize)) {
                (Some(value), _) => vec![Act::Release { value }],
                (None, None) => vec![Act::Empty],
                (None, Some(&value)) if random.below(2) == 0 => {
                    lent = Some(value);
                    vec![Act::Receive { value }]
                }
                (None, Some(&value)) => vec![Act::Receive { value }, Act::Release { value }],
            }
        };
        for &act in acts.iter().filter(|act| matches!(act, Act::Receive { .. } | Act::Release { .. })) {
            assert!(model.step(act, &history), "it was next");
        }
        moments[who.min(senders)].push((moment, acts));
    }
    // Each operation lasts from some time before its moment to some time after it.
    for (who, list) in moments.iter().enumerate() {
        let mut last_end = 0;
        for (index, (moment, acts)) in list.iter().enumerate() {
            let limit = list.get(index + 1).map_or(count * 10 + 10, |next| next.0);
            let begin = moment - random.below(moment - last_end);
            let end = moment + random.below(limit - moment);
            last_end = end;
            let program = history.senders.get_mut(who).unwrap_or(&mut history.receiver);
            program.extend(acts.iter().map(|&act| operation(act, begin, end)));
        }
    }
    history
}

/// Makes it another one, which may be wrong.
fn spoil(history: &mut History, random: &mut Random) {
    let which = random.below(history.senders.len() as u64 * 2) as usize;
    let program = history.senders.get_mut(which).unwrap_or(&mut history.receiver);
    if program.is_empty() {
        return;
    }
    let mut pick = || random.below(program.len() as u64) as usize;
    let (one, other, choice) = (pick(), pick(), random.below(5));
    match choice {
        // Two change places.
        0 => {
            let (first, second) = (program[one].act, program[other].act);
            (program[one].act, program[other].act) = (second, first);
        }
        1 => _ = program.remove(one),
        // It took less time than it did, and what was done by the same call too.
        2 | 3 => {
            let Operation { begin, end, .. } = program[one];
            let moment = if choice == 2 { begin } else { end };
            for other in program.iter_mut().filter(|other| (other.begin, other.end) == (begin, end)) {
                (other.begin, other.end) = (moment, moment);
            }
        }
        _ => match program[one].act {
            Act::Send { lane, length, .. } => program[one].act = Act::Full { lane, length },
            Act::Receive { .. } => program[one].act = Act::Empty,
            Act::Release { .. } | Act::Empty | Act::Full { .. } => _ = program.remove(one),
        },
    }
}

/// Quick and slow checker say the same of right and of wrong histories.
fn two_checkers_agree() {
    let seed = seed();
    let (mut good, mut bad, mut by_patterns) = (0, 0, 0);
    for number in 0..if is_long() { LONG } else { SHORT } {
        let mut random = Random::new(seed.wrapping_add(number << 32));
        let mut history = draw(&mut random);
        let spoils = random.below(4);
        (0..spoils).for_each(|_| spoil(&mut history, &mut random));
        let (quick, slow) = (check(&history), is_linearizable(&history));
        assert_eq!(quick.is_ok(), slow, "seed {seed}, history {number}: {quick:?}\n{history:#?}");
        assert!(slow || spoils > 0, "seed {seed}: history {number} is right by its making\n{history:#?}");
        let plain = patterns(&history);
        assert!(plain.is_ok() || !slow, "seed {seed}, history {number}: {plain:?}\n{history:#?}");
        // The patterns know all about queues but room, and calls that did two things.
        history.shape.capacity = 1 << 20;
        history.senders.iter_mut().for_each(|list| list.retain(|one| !matches!(one.act, Act::Full { .. })));
        history.receiver.retain(|operation| !operation.act.is_release());
        if history.receiver.windows(2).all(|two| two[0].end < two[1].begin) {
            let is_queue = is_linearizable(&history);
            assert_eq!(plain.is_ok(), is_queue, "seed {seed}, history {number}: {plain:?}\n{history:#?}");
        }
        good += u64::from(slow);
        bad += u64::from(!slow);
        by_patterns += u64::from(plain.is_err());
    }
    println!(
        "two checkers agree on {} histories: {} right, {} wrong, of these {} by the plain patterns",
        grouped(good + bad),
        grouped(good),
        grouped(bad),
        grouped(by_patterns)
    );
    assert!(good > bad / 10 && bad > good / 10, "one kind is hardly tried");
}
