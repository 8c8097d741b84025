//! Total order respects causality: whoever can know of a message sends after it.

use sysring::{EndOfStream, Receiver, RecvError, Sender, mpsc, spsc};

use crate::process::{Child, Name, Pipe, fork};
use crate::runner::tests;

tests![told_through_a_pipe, token_through_pipes, token_through_a_channel, among_noise];

/// A number of the chain; others are noise.
const CHAIN: u64 = 1 << 63;

fn send(sender: &mut Sender, number: u64) {
    sender.send(number.to_le_bytes()).expect("send");
}

/// Receives until `senders` have gone: the chain's numbers must come in order, all of them.
fn check(receiver: &mut Receiver, senders: u64, chain: u64) {
    receiver.set_end(EndOfStream::AfterSenders(senders));
    let mut next = 0;
    each_number(receiver, |number| {
        if number & CHAIN != 0 {
            assert_eq!(number & !CHAIN, next, "an effect came before its cause");
            next += 1;
        }
    });
    assert_eq!(next, chain);
}

/// Receives until the end, in all the ways there are: one by one into a buffer, in batches, as vectors.
fn each_number(receiver: &mut Receiver, mut take: impl FnMut(u64)) {
    let mut buffer = [0; 8];
    for turn in 0.. {
        let received = match turn % 8 {
            0..5 => receiver.recv_into(&mut buffer).map(|_| take(u64::from_le_bytes(buffer))),
            5 | 6 => receiver.recv_batch(16).map(|batch| {
                for message in batch.iter() {
                    message.copy_to(&mut buffer);
                    take(u64::from_le_bytes(buffer));
                }
            }),
            _ => {
                receiver.recv_vec().map(|bytes| take(u64::from_le_bytes(bytes.try_into().expect("8 bytes"))))
            }
        };
        match received {
            Ok(()) => {}
            Err(RecvError::Disconnected) => return,
            Err(error) => panic!("{error}"),
        }
    }
}

/// A sends a, tells B through a pipe, B sends b; A does not wait for B.
fn told_through_a_pipe() {
    const PAIRS: u64 = 150_000;
    let (mut sender, mut receiver) = mpsc().senders(2).capacity(4096).pair().expect("a pair");
    let pipe = Pipe::new();
    let cause = fork(|| {
        for pair in 0..PAIRS {
            send(&mut sender, pair * 2);
            pipe.put(pair);
        }
    });
    let effect = fork(|| {
        for _ in 0..PAIRS {
            let pair = pipe.get();
            send(&mut sender, pair * 2 + 1);
        }
    });
    receiver.set_end(EndOfStream::AfterSenders(2));
    let (mut causes, mut effects) = (0, 0);
    each_number(&mut receiver, |number| {
        if number % 2 == 0 {
            assert_eq!(number / 2, causes);
            causes += 1;
        } else {
            assert_eq!(number / 2, effects);
            assert!(effects < causes, "b{effects} before a{effects}");
            effects += 1;
        }
    });
    assert_eq!((causes, effects), (PAIRS, PAIRS));
    cause.join();
    effect.join();
}

/// A token goes round among senders; whoever has it sends its number.
fn ring_of(senders: u64, rounds: u64, named: bool, noise: bool) {
    let name = Name::new();
    let builder = mpsc().senders(senders as u32 + 1).capacity(4096);
    let (mut sender, mut receiver) = if named {
        let channel = builder.create(&name).expect("create");
        (None, channel.receiver().expect("receiver"))
    } else {
        let (sender, receiver) = builder.pair().expect("a pair");
        (Some(sender), receiver)
    };
    let pipes: Vec<Pipe> = (0..senders).map(|_| Pipe::new()).collect();
    let mut take = || sender.take().unwrap_or_else(|| builder.sender(&name).expect("sender"));
    let mut children: Vec<Child> = (0..senders)
        .map(|who| {
            fork(|| {
                let mut sender = take();
                for _ in 0..rounds {
                    let token = pipes[who as usize].get();
                    send(&mut sender, token | CHAIN);
                    if noise {
                        send(&mut sender, who);
                    }
                    pipes[(who + 1) as usize % pipes.len()].put(token + 1);
                }
            })
        })
        .collect();
    if noise {
        children.push(fork(|| {
            let mut sender = take();
            (0..senders * rounds).for_each(|number| send(&mut sender, number));
        }));
    }
    pipes[0].put(0);
    check(&mut receiver, children.len() as u64, senders * rounds);
    children.iter().for_each(Child::join);
}

fn token_through_pipes() {
    ring_of(2, 30_000, false, false);
    ring_of(4, 10_000, true, false);
}

fn among_noise() {
    ring_of(3, 15_000, false, true);
    ring_of(7, 4_000, true, true);
}

/// The knowledge travels through shared memory, without a system call.
fn token_through_a_channel() {
    const ROUNDS: u64 = 100_000;
    let (mut sender, mut receiver) = mpsc().senders(2).capacity(4096).pair().expect("a pair");
    let (mut to_second, mut at_second) = spsc().capacity(4096).pair().expect("a pair");
    let (mut to_first, mut at_first) = spsc().capacity(4096).pair().expect("a pair");
    let first = fork(|| {
        for round in 0..ROUNDS {
            send(&mut sender, (2 * round) | CHAIN);
            send(&mut to_second, round);
            at_first.recv_vec().expect("the token");
        }
    });
    let second = fork(|| {
        for round in 0..ROUNDS {
            at_second.recv_vec().expect("the token");
            send(&mut sender, (2 * round + 1) | CHAIN);
            send(&mut to_first, round);
        }
    });
    check(&mut receiver, 2, 2 * ROUNDS);
    first.join();
    second.join();
}
