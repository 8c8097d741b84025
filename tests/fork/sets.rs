//! The semaphore set is removed under living users (`ipcrm -s`, systemd's RemoveIPC): it is made anew, sleepers and
//! seats are carried over, and no seat ever has two owners.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use sysring::{Channel, OpenErrorKind, Receiver, RecvError, Sender, mpsc, spsc};

use crate::message::{compose, decode};
use crate::process::{
    Child, Name, Object, Pipe, become_user, exit, fork, is_root, objects, pause, remove_set, shared_words,
    until,
};
use crate::runner::tests;

tests![
    a_sleeping_receiver_is_carried_over,
    a_sleeping_sender_is_carried_over,
    a_seat_in_doubt_is_not_given_away,
    a_renewed_seat_is_a_seat,
    a_wake_meets_no_sleeper_on_the_old_set,
    the_dead_do_not_keep_their_seats,
    who_dies_in_doubt_is_found_at_the_ceiling,
    who_dies_after_renewal_is_found_at_once,
    who_touches_no_semaphore_is_told,
    who_leaves_in_doubt_is_gone,
    nobody_was_there,
    an_anonymous_channel_goes_on_and_leaves_nothing,
    a_crowd_makes_one_set,
    traffic_does_not_notice,
    a_removal_at_the_same_time_leaves_nothing,
    the_new_set_belongs_to_the_channels_owner,
    no_seat_has_two_owners,
];

/// Longer than anything that is found without a ceiling, shorter than a ceiling.
const PROMPT: Duration = Duration::from_millis(700);

fn set_of(channel: &Channel) -> i32 {
    channel.stats().expect("stats").semaphore_set
}

fn receiver_sleeps(channel: &Channel) -> bool {
    channel.stats().expect("stats").receiver.asleep
}

fn sets() -> usize {
    objects().iter().filter(|object| matches!(object, Object::Set { .. })).count()
}

fn a_sleeping_receiver_is_carried_over() {
    let name = Name::new();
    let channel = spsc().create(&name).expect("create");
    let mut sender = channel.sender().expect("a seat");
    let child = fork(|| {
        let mut receiver = channel.receiver().expect("a seat");
        for number in 0..5_u8 {
            assert_eq!(receiver.recv_vec().expect("a message"), [number]);
        }
    });
    for number in 0..5 {
        until("the receiver sleeps", || receiver_sleeps(&channel));
        let old = set_of(&channel);
        remove_set(old);
        until("it sleeps again, on another set", || receiver_sleeps(&channel) && set_of(&channel) != old);
        let started = Instant::now();
        sender.send([number]).expect("send");
        until("it has it", || sender.is_empty());
        assert!(started.elapsed() < PROMPT, "{:?}", started.elapsed());
    }
    child.join();
    assert_eq!(sets(), 1);
}

fn a_sleeping_sender_is_carried_over() {
    let name = Name::new();
    let channel = spsc().capacity(4096).create(&name).expect("create");
    let mut receiver = channel.receiver().expect("a seat");
    let child = fork(|| {
        let mut sender = channel.sender().expect("a seat");
        for number in 0..200_u64 {
            sender.send([number; 16].map(|number| number as u8)).expect("send");
        }
    });
    let asleep = || channel.stats().expect("stats").lanes.iter().any(|lane| lane.seat.asleep);
    until("the sender sleeps", asleep);
    let old = set_of(&channel);
    remove_set(old);
    until("it sleeps again, on another set", || asleep() && set_of(&channel) != old);
    for number in 0..200_u64 {
        let message = receiver.recv_timeout(PROMPT).expect("a message");
        assert_eq!(message.to_vec(), [number as u8; 16]);
    }
    child.join();
}

fn taken(outcome: Result<impl Sized, sysring::OpenError>) -> bool {
    outcome.is_err_and(|error| matches!(error.kind(), OpenErrorKind::SeatTaken { .. }))
}

/// Before its holder has noticed anything.
fn a_seat_in_doubt_is_not_given_away() {
    let name = Name::new();
    let channel = spsc().create(&name).expect("create");
    let mut sender = channel.sender().expect("a seat");
    let mut receiver = channel.receiver().expect("a seat");
    remove_set(set_of(&channel));
    fork(|| {
        let channel = spsc().open(&name).expect("open"); // makes the new set
        assert!(taken(channel.sender()) && taken(channel.receiver()));
        let stats = channel.stats().expect("stats");
        let parent = Some(std::os::unix::process::parent_id() as i32);
        assert!(stats.receiver.taken && stats.receiver.pid == parent, "{stats:?}");
        assert!(stats.lanes[0].seat.taken && stats.lanes[0].seat.pid == parent, "{stats:?}");
    })
    .join();
    sender.send("x").expect("send");
    assert_eq!(receiver.recv_vec().expect("a message"), b"x");
    assert!(sender.is_connected() && receiver.is_connected());
}

/// After its holder has noticed.
fn a_renewed_seat_is_a_seat() {
    let name = Name::new();
    let channel = spsc().create(&name).expect("create");
    let mut sender = channel.sender().expect("a seat");
    let mut receiver = channel.receiver().expect("a seat");
    for round in 0..3 {
        remove_set(set_of(&channel));
        assert!(sender.is_connected() && receiver.is_connected());
        sender.send("x").expect("send");
        assert_eq!(receiver.recv_vec().expect("a message"), b"x");
        assert!(receiver.try_recv().is_err()); // looks at the notice
        fork(|| {
            let channel = spsc().open(&name).expect("open");
            assert!(taken(channel.sender()) && taken(channel.receiver()));
        })
        .join();
        assert_eq!(sets(), 1, "round {round}");
    }
    drop((sender, receiver));
    fork(|| {
        let channel = spsc().open(&name).expect("open");
        assert!(channel.sender().is_ok() && channel.receiver().is_ok());
    })
    .join();
}

/// The sender knows the old set only; the receiver sleeps on the new one. The ring finds it.
fn a_wake_meets_no_sleeper_on_the_old_set() {
    let name = Name::new();
    let channel = mpsc().senders(2).create(&name).expect("create");
    let go = Pipe::new();
    let told = Pipe::new();
    let child = fork(|| {
        let mut sender = mpsc().sender(&name).expect("a seat");
        told.put(0);
        for _ in 0..3 {
            go.get();
            let started = Instant::now();
            sender.send("x").expect("send");
            until("it has it", || sender.is_empty());
            assert!(started.elapsed() < PROMPT, "{:?}", started.elapsed());
            told.put(1);
        }
    });
    told.get();
    let receiving = fork(|| {
        let mut receiver = mpsc().receiver(&name).expect("a seat");
        for _ in 0..3 {
            assert_eq!(receiver.recv_vec().expect("a message"), b"x");
        }
    });
    for _ in 0..3 {
        until("the receiver sleeps", || receiver_sleeps(&channel));
        let old = set_of(&channel);
        remove_set(old);
        until("it sleeps again", || receiver_sleeps(&channel) && set_of(&channel) != old);
        go.put(0);
        told.get();
    }
    child.join();
    receiving.join();
}

fn the_dead_do_not_keep_their_seats() {
    let name = Name::new();
    let channel = spsc().create(&name).expect("create");
    let told = Pipe::new();
    for dies_first in [true, false] {
        let child = fork(|| {
            let mut sender = channel.sender().expect("a seat");
            let _receiver = channel.receiver().expect("a seat");
            sender.send("x").expect("send");
            told.put(0);
            pause(60_000);
        });
        told.get();
        if dies_first {
            child.kill();
        }
        remove_set(set_of(&channel));
        if !dies_first {
            let refused = fork(|| assert!(taken(spsc().open(&name).expect("open").sender())));
            refused.join();
            child.kill();
        }
        let mut receiver = channel.receiver().expect("the seat of a dead process");
        let _sender = channel.sender().expect("the seat of a dead process");
        assert_eq!(receiver.recv_vec().expect("a message"), b"x");
    }
}

/// How long the receiver sleeps after its only sender was killed.
fn time_to_find_the_death(renews: bool) -> Duration {
    let name = Name::new();
    let channel = spsc().persistent(false).create(&name).expect("create");
    let (told, go) = (Pipe::new(), Pipe::new());
    let sending = fork(|| {
        let mut sender = channel.sender().expect("a seat");
        sender.send("x").expect("send");
        told.put(0);
        go.get();
        if renews {
            sender.send("y").expect("send");
        }
        told.put(1);
        pause(60_000);
    });
    told.get();
    let receiving = fork(|| {
        let mut receiver = channel.receiver().expect("a seat");
        assert_eq!(receiver.recv_vec().expect("a message"), b"x");
        if renews {
            assert_eq!(receiver.recv_vec().expect("a message"), b"y");
        }
        assert!(matches!(receiver.recv(), Err(RecvError::Disconnected)));
    });
    until("the receiver sleeps", || receiver_sleeps(&channel));
    let old = set_of(&channel);
    remove_set(old);
    until("it sleeps again", || receiver_sleeps(&channel) && set_of(&channel) != old);
    go.put(0);
    told.get();
    until("it sleeps again", || receiver_sleeps(&channel));
    let started = Instant::now();
    sending.kill();
    receiving.join();
    started.elapsed()
}

/// Its will went with the old set.
fn who_dies_in_doubt_is_found_at_the_ceiling() {
    let took = time_to_find_the_death(false);
    assert!(took < Duration::from_millis(1900), "{took:?}");
}

fn who_dies_after_renewal_is_found_at_once() {
    let took = time_to_find_the_death(true);
    assert!(took < PROMPT, "{took:?}");
}

/// By the notice that every call looks at: there is nobody to ring, and room enough.
fn who_touches_no_semaphore_is_told() {
    let name = Name::new();
    let channel = spsc().persistent(false).create(&name).expect("create");
    let (told, go) = (Pipe::new(), Pipe::new());
    let sending = fork(|| {
        let mut sender = channel.sender().expect("a seat");
        told.put(0);
        go.get();
        sender.try_send("x").expect("send");
        told.put(1);
        pause(60_000);
    });
    told.get();
    remove_set(set_of(&channel));
    drop(spsc().open(&name).expect("open")); // makes the new set
    go.put(0);
    told.get();
    let receiving = fork(|| {
        let mut receiver = channel.receiver().expect("a seat");
        assert_eq!(receiver.recv_vec().expect("a message"), b"x");
        assert!(matches!(receiver.recv(), Err(RecvError::Disconnected)));
    });
    until("the receiver sleeps", || receiver_sleeps(&channel));
    let started = Instant::now();
    sending.kill(); // it has left a will in the new set
    receiving.join();
    assert!(started.elapsed() < PROMPT, "{:?}", started.elapsed());
}

fn who_leaves_in_doubt_is_gone() {
    let name = Name::new();
    let channel = spsc().persistent(false).create(&name).expect("create");
    let mut sender = channel.sender().expect("a seat");
    sender.send("x").expect("send");
    let receiving = fork(|| {
        let mut receiver = channel.receiver().expect("a seat");
        assert_eq!(receiver.recv_vec().expect("a message"), b"x");
        assert!(matches!(receiver.recv(), Err(RecvError::Disconnected)));
    });
    until("the receiver sleeps", || receiver_sleeps(&channel));
    let old = set_of(&channel);
    remove_set(old);
    until("it sleeps again", || receiver_sleeps(&channel) && set_of(&channel) != old);
    let started = Instant::now();
    drop(sender);
    receiving.join();
    assert!(started.elapsed() < PROMPT, "{:?}", started.elapsed());
}

fn nobody_was_there() {
    let name = Name::new();
    let channel = mpsc().create(&name).expect("create");
    channel.sender().expect("a seat").send("kept").expect("send");
    let set = set_of(&channel);
    drop(channel);
    remove_set(set);
    let mut receiver = mpsc().receiver(&name).expect("a seat");
    assert_eq!(receiver.recv_vec().expect("a message"), b"kept");
    assert_eq!(sets(), 1);
}

fn an_anonymous_channel_goes_on_and_leaves_nothing() {
    let before = objects();
    let (mut sender, mut receiver) = mpsc().pair().expect("a channel");
    let mut other = sender.try_clone().expect("a seat");
    sender.send("a").expect("send");
    let set = sender.stats().expect("stats").semaphore_set;
    let (told, go) = (Pipe::new(), Pipe::new());
    let child = fork(|| {
        drop(receiver.try_recv()); // takes the seat
        told.put(0);
        assert_eq!(receiver.recv_vec().expect("a message"), b"b");
        go.get();
        drop(receiver);
        exit(0); // without its copies of the senders, whose drop would do nothing
    });
    told.get();
    pause(20); // it sleeps now, or will
    remove_set(set);
    other.send("b").expect("send");
    go.put(0);
    child.join();
    assert_ne!(sender.stats().expect("stats").semaphore_set, set);
    drop((sender, other));
    assert_eq!(objects(), before);
}

fn a_crowd_makes_one_set() {
    let name = Name::new();
    let channel = mpsc().senders(16).create(&name).expect("create");
    let told = Pipe::new();
    let starts: Vec<Pipe> = (0..16).map(|_| Pipe::new()).collect();
    let children: Vec<Child> = starts
        .iter()
        .map(|start| {
            fork(|| {
                let mut sender = channel.sender().expect("a seat");
                told.put(0);
                for _ in 0..50 {
                    start.get();
                    assert!(!sender.is_connected()); // asks the kernel
                    told.put(0);
                }
            })
        })
        .collect();
    starts.iter().for_each(|_| assert_eq!(told.get(), 0));
    for round in 0..50 {
        remove_set(set_of(&channel));
        starts.iter().for_each(|start| start.put(0));
        starts.iter().for_each(|_| assert_eq!(told.get(), 0));
        assert_eq!(sets(), 1, "round {round}");
    }
    children.iter().for_each(Child::join);
}

fn send_numbers(sender: &mut Sender, life: u32, count: u32) {
    let mut bytes = Vec::new();
    for number in 0..count {
        compose(&mut bytes, life, number, 16 + number as usize % 300);
        sender.send(&bytes).expect("send");
    }
}

fn receive_numbers(receiver: &mut Receiver, senders: usize, count: u32) {
    let mut next = vec![0; senders];
    for _ in 0..senders as u32 * count {
        let message = receiver.recv_timeout(Duration::from_secs(10)).expect("a message");
        let (life, number) = decode(&message.to_vec());
        assert_eq!(number, next[life as usize]);
        next[life as usize] += 1;
    }
}

/// Four senders and a receiver at full speed, small lanes so that both sides sleep, and a set that is removed
/// hundreds of times.
fn traffic_does_not_notice() {
    const COUNT: u32 = 100_000;
    let name = Name::new();
    let channel = mpsc().senders(4).capacity(4096).create(&name).expect("create");
    let mut children: Vec<Child> = (0..4)
        .map(|life| fork(|| send_numbers(&mut channel.sender().expect("a seat"), life, COUNT)))
        .collect();
    children.push(fork(|| receive_numbers(&mut channel.receiver().expect("a seat"), 4, COUNT)));
    let mut removed = 0;
    while children[4].try_wait().is_none() {
        let set = set_of(&channel);
        if objects().iter().any(|object| matches!(object, Object::Set { id, .. } if *id == set)) {
            remove_set(set);
            removed += 1;
        }
        pause(1);
        assert!(!taken_twice(&channel));
    }
    println!("    {removed} sets were removed");
    assert!(removed > 10, "only {removed}");
    children[..4].iter().for_each(Child::join);
    pause(5);
    assert!(sets() <= 1);
}

/// Two living processes of one lane would show as one pid in two lanes or not at all: four senders, four pids.
fn taken_twice(channel: &Channel) -> bool {
    let stats = channel.stats().expect("stats");
    let mut pids: Vec<i32> = stats.lanes.iter().filter_map(|lane| lane.seat.pid).collect();
    let count = pids.len();
    pids.sort_unstable();
    pids.dedup();
    pids.len() != count
}

/// The set is removed, and then the channel, while its users are repairing it.
fn a_removal_at_the_same_time_leaves_nothing() {
    for round in 0..100 {
        let name = Name::new();
        let channel = mpsc().senders(4).capacity(4096).create(&name).expect("create");
        let told = Pipe::new();
        let children: Vec<Child> = (0..3)
            .map(|_| {
                fork(|| {
                    let mut sender = channel.sender().expect("a seat");
                    told.put(0);
                    while sender.send_timeout("x", PROMPT).is_ok() {}
                })
            })
            .collect();
        children.iter().for_each(|_| assert_eq!(told.get(), 0));
        remove_set(set_of(&channel));
        if round % 3 != 0 {
            std::thread::sleep(Duration::from_micros(round * 7));
        }
        sysring::remove(&name).expect("remove");
        children.iter().for_each(Child::join);
        drop(channel);
        assert_eq!(objects(), [], "round {round}");
    }
}

/// Root repairs what is a user's, and the user goes on with it.
fn the_new_set_belongs_to_the_channels_owner() {
    if !is_root() {
        return;
    }
    let name = Name::new();
    let (told, go) = (Pipe::new(), Pipe::new());
    let child = fork(|| {
        become_user(1234);
        let channel = spsc().create(&name).expect("create");
        let mut sender = channel.sender().expect("a seat");
        told.put(0);
        go.get();
        for _ in 0..1000 {
            sender.send([0; 100]).expect("send"); // rings and sleeps on a set that root has made
        }
    });
    told.get();
    remove_set(spsc().trust_uid(1234).open(&name).map(|channel| set_of(&channel)).expect("open"));
    let mut receiver = spsc().trust_uid(1234).receiver(&name).expect("a seat");
    go.put(0);
    for _ in 0..1000 {
        assert_eq!(receiver.recv_timeout(Duration::from_secs(5)).expect("a message").len(), 100);
    }
    child.join();
}

/// Six processes take and leave one seat, die in it and come back, while its set is removed again and again.
fn no_seat_has_two_owners() {
    let name = Name::new();
    let channel = spsc().create(&name).expect("create");
    let words = shared_words(2);
    let (owner, taken_in_all) = (&words[0], &words[1]);
    let life = || {
        let me = u64::from(std::process::id());
        let channel = spsc().open(&name).expect("open");
        loop {
            let Ok(mut sender) = channel.sender() else { continue };
            // A dead owner could not sign off; a living one has, or there are two.
            let before = owner.swap(me, Ordering::SeqCst);
            assert!(before == 0 || ends(before), "{before} and {me} have the seat");
            taken_in_all.fetch_add(1, Ordering::Relaxed);
            for _ in 0..me % 50 {
                assert!(sender.try_send("x").is_ok() || !sender.is_empty());
                assert_eq!(owner.load(Ordering::SeqCst), me, "somebody came in");
            }
            assert_eq!(owner.swap(0, Ordering::SeqCst), me, "somebody came in");
        }
    };
    let mut children: Vec<Child> = (0..6).map(|_| fork(life)).collect();
    let started = Instant::now();
    let (mut removed, mut killed) = (0, 0);
    let enough = |removed, killed, taken| removed > 100 && killed > 50 && taken > 100;
    while started.elapsed() < Duration::from_secs(2)
        || (!enough(removed, killed, taken_in_all.load(Ordering::Relaxed))
            && started.elapsed() < Duration::from_secs(60))
    {
        std::thread::sleep(Duration::from_micros(300));
        let set = set_of(&channel);
        if removed <= killed * 2
            && objects().iter().any(|object| matches!(object, Object::Set { id, .. } if *id == set))
        {
            remove_set(set);
            removed += 1;
        } else {
            let index = killed % children.len();
            assert_eq!(children[index].try_wait(), None, "it has failed");
            children[index] = fork(life); // the old one is killed
            killed += 1;
        }
    }
    drop(children);
    let taken = taken_in_all.load(Ordering::Relaxed);
    println!("    taken {taken} times, {killed} kills, {removed} sets removed");
    assert!(enough(removed, killed, taken));
    assert!(channel.sender().is_ok());
    // Those who were killed between making a set and naming it have left one that only its age could give away.
    sysring::remove(&name).expect("remove");
    drop(channel);
    sysring::Collector::new().run().expect("collect");
    for object in objects() {
        let Object::Set { id, .. } = object else { panic!("left in the kernel: {object:?}") };
        remove_set(id);
    }
}

/// Whether a process that was killed is gone: the kernel gives its seat back a moment before it is a zombie.
fn ends(pid: u64) -> bool {
    let is_gone = || {
        std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .map_or(true, |stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['Z', 'X'])))
    };
    (0..500).any(|_| {
        let gone = is_gone();
        if !gone {
            pause(1);
        }
        gone
    })
}
