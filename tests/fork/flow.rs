//! Every message arrives whole, once and in its sender's order: all kinds, sizes, forms and ways to wait.

use sysring::{Builder, Fence, Order, RecvError, WaitStrategy, mpsc, spsc};

use crate::message::{
    Checker, Plan, RECV_FORMS, RecvForm, SEND_FORMS, SendForm, Sizes, receive_all, send_all,
};
use crate::process::{Child, Name, fork};
use crate::runner::tests;

tests![
    spsc_every_size_anonymous,
    spsc_every_size_named,
    spsc_small_messages_at_length,
    spsc_every_form,
    spsc_random_sizes,
    spsc_receiver_in_the_child,
    mpsc_two_senders,
    mpsc_four_senders,
    mpsc_eight_senders,
    mpsc_every_form,
    mpsc_long,
    every_strategy_and_fence,
    strategies_may_differ_in_one_channel,
    round_trips,
    all_senders_of_a_process,
];

const LENGTHS: [usize; 10] = [0, 1, 7, 8, 9, 48, 64, 256, 1024, 4096];
const CAPACITIES: [u64; 3] = [4 << 10, 64 << 10, 1 << 20];
const STRATEGIES: [WaitStrategy; 3] = [WaitStrategy::Spin, WaitStrategy::SpinThenSleep, WaitStrategy::Sleep];

/// One stream from so many senders to this process.
#[derive(Clone, Debug)]
struct Case {
    builder: Builder,
    senders: u32,
    named: bool,
    plan: Plan,
    send: SendForm,
    recv: RecvForm,
}

impl Case {
    fn new(builder: &Builder, senders: u32, named: bool, plan: Plan) -> Case {
        let (send, recv) = (SendForm::Mixed, RecvForm::Mixed);
        Case { builder: builder.clone(), senders, named, plan, send, recv }
    }

    fn run(&self) {
        if self.named { self.run_named() } else { self.run_anonymous() }
    }

    fn run_anonymous(&self) {
        let (sender, receiver) = self.builder.pair().expect("a pair");
        let mut sender = Some(sender);
        let children: Vec<Child> = (0..self.senders)
            .map(|who| fork(|| send_all(sender.take().expect("inherited"), who, self.plan, self.send)))
            .collect();
        self.receive(receiver, &children);
    }

    fn run_named(&self) {
        let name = Name::new();
        let sender = |who| {
            let sender = self.builder.sender(&name).expect("a sender's seat");
            send_all(sender, who, self.plan, self.send);
        };
        // Either side may be first.
        let early: Vec<Child> = (0..self.senders / 2).map(|who| fork(|| sender(who))).collect();
        let receiver = self.builder.receiver(&name).expect("the receiver's seat");
        let late = (self.senders / 2..self.senders).map(|who| fork(|| sender(who)));
        let children: Vec<Child> = early.into_iter().chain(late).collect();
        self.receive(receiver, &children);
        sysring::remove(&name).expect("remove");
    }

    fn receive(&self, receiver: sysring::Receiver, children: &[Child]) {
        let mut checker = Checker::new(self.senders, self.plan);
        let mut receiver = receive_all(receiver, &mut checker, self.recv);
        checker.finish();
        children.iter().for_each(Child::join);
        assert!(matches!(receiver.recv(), Err(RecvError::Disconnected)));
        assert!(receiver.is_empty() && !receiver.is_connected());
    }
}

/// As many messages of that length as make a short stream, at least a few laps of the lane.
fn fixed(length: usize, capacity: u64) -> Plan {
    let laps = 3 * capacity / (length as u64 + 8);
    let count = laps.clamp(200, 20_000).min(24 * (1 << 20) / (length as u64 + 8));
    Plan { sizes: Sizes::Fixed(length), count: count as u32 }
}

fn mixed(largest: u64, count: u32) -> Plan {
    Plan { sizes: Sizes::Mixed(largest as usize), count }
}

fn every_size(named: bool) {
    for capacity in CAPACITIES {
        let builder = spsc().capacity(capacity);
        let largest = capacity as usize / 2 - 16;
        for length in LENGTHS.into_iter().chain([65_536, largest]).filter(|&length| length <= largest) {
            Case::new(&builder, 1, named, fixed(length, capacity)).run();
        }
    }
}

fn spsc_every_size_anonymous() {
    every_size(false);
}

fn spsc_every_size_named() {
    every_size(true);
}

fn spsc_small_messages_at_length() {
    for (length, count) in [(8, 8_000_000), (48, 6_000_000)] {
        let plan = Plan { sizes: Sizes::Fixed(length), count };
        let mut case = Case::new(&spsc(), 1, false, plan);
        (case.send, case.recv) = (SendForm::Plain, RecvForm::Into);
        case.run();
    }
}

fn spsc_every_form() {
    for send in SEND_FORMS {
        for (turn, recv) in RECV_FORMS.into_iter().enumerate() {
            let capacity = CAPACITIES[turn % 2];
            let plan = mixed(capacity / 2 - 16, 600);
            Case { send, recv, ..Case::new(&spsc().capacity(capacity), 1, turn % 3 == 0, plan) }.run();
        }
    }
}

fn spsc_random_sizes() {
    for capacity in CAPACITIES {
        let plan = mixed(capacity / 2 - 16, 150_000);
        Case::new(&spsc().capacity(capacity), 1, false, plan).run();
        Case::new(&spsc().capacity(capacity), 1, true, plan).run();
    }
}

fn spsc_receiver_in_the_child() {
    for capacity in CAPACITIES {
        let plan = mixed(capacity / 2 - 16, 10_000);
        let (sender, receiver) = spsc().capacity(capacity).pair().expect("a pair");
        let mut receiver = Some(receiver);
        let child = fork(|| {
            let mut checker = Checker::new(1, plan);
            receive_all(receiver.take().expect("inherited"), &mut checker, RecvForm::Mixed);
            checker.finish();
        });
        send_all(sender, 0, plan, SendForm::Mixed);
        child.join();
        drop(receiver); // the last one here, so that nothing remains in the kernel
    }
}

fn several(senders: u32, count: u32) {
    for (turn, capacity) in CAPACITIES.into_iter().enumerate() {
        for order in [Order::Total, Order::PerSender] {
            for named in [false, true] {
                let builder = mpsc().senders(senders + turn as u32).capacity(capacity).order(order);
                Case::new(&builder, senders, named, mixed(capacity / 2 - 16, count)).run();
            }
        }
    }
}

fn mpsc_two_senders() {
    several(2, 20_000);
}

fn mpsc_four_senders() {
    several(4, 10_000);
}

fn mpsc_eight_senders() {
    several(8, 5_000);
}

fn mpsc_every_form() {
    for (turn, recv) in RECV_FORMS.into_iter().enumerate() {
        for order in [Order::Total, Order::PerSender] {
            let send = SEND_FORMS[turn % SEND_FORMS.len()];
            let builder = mpsc().senders(3).capacity(4096).order(order);
            Case { send, recv, ..Case::new(&builder, 3, turn % 2 == 0, mixed(2032, 600)) }.run();
        }
    }
}

fn mpsc_long() {
    for order in [Order::Total, Order::PerSender] {
        let plan = Plan { sizes: Sizes::Fixed(48), count: 800_000 };
        let mut case = Case::new(&mpsc().order(order), 4, false, plan);
        (case.send, case.recv) = (SendForm::Plain, RecvForm::Into);
        case.run();
    }
}

fn every_strategy_and_fence() {
    for wait in STRATEGIES {
        for fence in [Fence::Auto, Fence::Real] {
            for named in [false, true] {
                let one = spsc().capacity(4096).wait(wait).fence(fence);
                Case::new(&one, 1, named, mixed(2032, 8_000)).run();
                let many = mpsc().senders(2).capacity(4096).wait(wait).fence(fence);
                Case::new(&many, 2, named, mixed(2032, 3_000)).run();
            }
        }
    }
}

fn strategies_may_differ_in_one_channel() {
    let builder = mpsc().senders(6).capacity(4096);
    let name = Name::new();
    let plan = mixed(2032, 2_000);
    let receiver = builder.clone().wait(WaitStrategy::Sleep).receiver(&name).expect("receiver");
    let children: Vec<Child> = (0..6)
        .map(|who| {
            let fence = if who % 2 == 0 { Fence::Auto } else { Fence::Real };
            let builder = builder.clone().wait(STRATEGIES[who as usize % 3]).fence(fence);
            fork(|| send_all(builder.sender(&name).expect("sender"), who, plan, SendForm::Mixed))
        })
        .collect();
    let mut checker = Checker::new(6, plan);
    let receiver = receive_all(receiver, &mut checker, RecvForm::Mixed);
    checker.finish();
    children.iter().for_each(Child::join);
    assert!(receiver.stats().expect("stats").real_fences);
    sysring::remove(&name).expect("remove");
}

fn round_trips() {
    for wait in STRATEGIES {
        for fence in [Fence::Auto, Fence::Real] {
            let builder = spsc().capacity(4096).wait(wait).fence(fence);
            let (mut there, mut far) = builder.pair().expect("a pair");
            let (mut back, mut near) = builder.pair().expect("a pair");
            let child = fork(|| {
                for number in 0..4_000_u64 {
                    assert_eq!(far.recv_vec().expect("receive"), number.to_le_bytes());
                    back.send(number.to_be_bytes()).expect("answer");
                }
            });
            for number in 0..4_000_u64 {
                there.send(number.to_le_bytes()).expect("send");
                assert_eq!(near.recv_vec().expect("an answer"), number.to_be_bytes());
            }
            child.join();
        }
    }
}

/// One process may have both ends and many senders.
fn all_senders_of_a_process() {
    let (first, mut receiver) = mpsc().senders(240).capacity(4096).pair().expect("a pair");
    let mut senders = vec![first];
    senders[0].attach().expect("the first seat");
    for _ in 1..240 {
        senders.push(senders[0].try_clone().expect("a seat"));
    }
    for round in 0..20_u32 {
        for (who, sender) in senders.iter_mut().enumerate() {
            sender.try_send((round << 8 | who as u32).to_le_bytes()).expect("room");
        }
        for who in 0..240 {
            let bytes = receiver.recv_vec().expect("a message");
            assert_eq!(bytes, (round << 8 | who).to_le_bytes(), "total order");
        }
    }
}
