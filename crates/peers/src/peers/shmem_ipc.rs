//! Crate shmem-ipc: a ring of one type in a sealed memory file, two eventfds to sleep on.

use std::fs::File;
use std::slice;
use std::sync::Mutex;

use shmem_ipc::sharedring::{Receiver, Sender};

use crate::peer::{Peer, Rx, Setup, Sink, Source, Tx, Wait};
use crate::work::{InPlace, InPlaceRx, InPlaceTx};

/// Messages in a batch: at most so many in one closure call.
const BATCH: usize = 64;

/// Its type of a message.
type Message<const N: usize> = [u8; N];
type Ends<const N: usize> = (Option<Sender<Message<N>>>, Option<Receiver<Message<N>>>);

/// The ring; `BATCHED`: up to 64 messages in each closure call.
pub(crate) struct Ring<const N: usize, const BATCHED: bool> {
    ends: Mutex<Ends<N>>,
    setup: Setup,
}

pub(crate) type ShmemIpc<const N: usize> = Ring<N, false>;
pub(crate) type ShmemIpcBatch<const N: usize> = Ring<N, true>;

impl<const N: usize, const BATCHED: bool> Peer for Ring<N, BATCHED> {
    const NAME: &'static str = if BATCHED { "shmem-ipc-batch" } else { "shmem-ipc" };
    const BATCH: usize = if BATCHED { BATCH } else { 1 };
    type Tx = RingTx<N, BATCHED>;
    type Rx = RingRx<N, BATCHED>;

    fn make(setup: Setup) -> Option<Self> {
        assert_eq!(setup.size, N);
        if setup.senders > 1 {
            return None;
        }
        let slots = setup.slots();
        let tx = Sender::new(slots).expect("a new ring");
        let copy = |file: &File| file.try_clone().expect("another descriptor");
        let (memory, empty, full) = (tx.memfd().as_file(), tx.empty_signal(), tx.full_signal());
        let rx = Receiver::open(slots, copy(memory), copy(empty), copy(full)).expect("the new ring");
        Some(Ring { ends: Mutex::new((Some(tx), Some(rx))), setup })
    }

    fn sender(&self) -> RingTx<N, BATCHED> {
        let ring = self.ends.lock().expect("one thread").0.take().expect("one sender");
        RingTx { ring, wait: self.setup.wait }
    }

    fn receiver(&self) -> RingRx<N, BATCHED> {
        let ring = self.ends.lock().expect("one thread").1.take().expect("one receiver");
        RingRx { ring, wait: self.setup.wait }
    }
}

/// The sending end of a [`Ring`].
pub(crate) struct RingTx<const N: usize, const BATCHED: bool> {
    ring: Sender<Message<N>>,
    wait: Wait,
}

/// The receiving end of a [`Ring`].
pub(crate) struct RingRx<const N: usize, const BATCHED: bool> {
    ring: Receiver<Message<N>>,
    wait: Wait,
}

impl<const N: usize, const BATCHED: bool> RingTx<N, BATCHED> {
    /// Has at least one message written, as many as `write` says, and hands them over; waits for room.
    #[inline(always)]
    fn put(&mut self, write: impl FnOnce(&mut [Message<N>]) -> usize) {
        if self.wait.is_blocking() {
            self.ring.block_until_writable().expect("room");
            // SAFETY: `make` gave this ring one sender and one receiver.
            unsafe { self.ring.send_trusted(write) }.expect("sent");
            return;
        }
        let (ring, mut looks) = (self.ring.sender_mut(), 0);
        // A call of `send` would write the shared count even if there is no room.
        while ring.write_count().expect("a count") == 0 {
            self.wait.moment(&mut looks);
        }
        // As above, without the system call that wakes a sleeper: nobody sleeps.
        // SAFETY: as above; the place and the number of slots come from the ring.
        ring.send(|place, count| write(unsafe { slice::from_raw_parts_mut(place, count) })).expect("sent");
    }
}

impl<const N: usize, const BATCHED: bool> Tx for RingTx<N, BATCHED> {
    #[inline(always)]
    fn send(&mut self, message: &[u8]) {
        let message: &Message<N> = message.try_into().expect("a message of the size of the type");
        self.put(|slots| {
            slots[0].copy_from_slice(message);
            1
        });
    }

    #[inline(always)]
    fn send_many(&mut self, source: &mut Source) {
        if !BATCHED {
            return self.send(source.next());
        }
        let mut left = BATCH;
        while left > 0 {
            self.put(|slots| {
                let count = slots.len().min(left);
                for slot in &mut slots[..count] {
                    slot.copy_from_slice(source.next().first_chunk::<N>().expect("a message of that size"));
                }
                left -= count;
                count
            });
        }
    }
}

impl<const N: usize, const BATCHED: bool> RingRx<N, BATCHED> {
    /// Shows the messages that are there, at least one; `read` says how many of them it has taken.
    #[inline(always)]
    fn get(&mut self, read: impl FnOnce(&[Message<N>]) -> usize) {
        if self.wait.is_blocking() {
            self.ring.block_until_readable().expect("a message");
            // SAFETY: `make` gave this ring one sender and one receiver.
            unsafe { self.ring.receive_trusted(read) }.expect("received");
            return;
        }
        let (ring, mut looks) = (self.ring.receiver_mut(), 0);
        // A call of `recv` would write the shared count even if there is nothing.
        while ring.read_count().expect("a count") == 0 {
            self.wait.moment(&mut looks);
        }
        // As above, without the system call that wakes a sleeper: nobody sleeps.
        // SAFETY: as above; the place and the number of slots come from the ring.
        ring.recv(|place, count| read(unsafe { slice::from_raw_parts(place, count) })).expect("received");
    }
}

impl<const N: usize, const BATCHED: bool> Rx for RingRx<N, BATCHED> {
    #[inline(always)]
    fn recv(&mut self, buffer: &mut [u8]) -> usize {
        self.get(|slots| {
            buffer[..N].copy_from_slice(&slots[0]);
            1
        });
        N
    }

    #[inline(always)]
    fn recv_many(&mut self, sink: &mut Sink) {
        let most = if BATCHED { BATCH } else { 1 };
        self.get(|slots| {
            let slots = &slots[..slots.len().min(most)];
            for message in slots {
                sink.take(|buffer| {
                    buffer[..N].copy_from_slice(message);
                    N
                });
            }
            slots.len()
        });
    }
}

impl<const N: usize> InPlace for Ring<N, false> {}

impl<const N: usize> InPlaceTx for RingTx<N, false> {
    #[inline(always)]
    fn send_in_place(&mut self, write: impl FnOnce(&mut [u8])) {
        self.put(|slots| {
            write(&mut slots[0]);
            1
        });
    }
}

impl<const N: usize> InPlaceRx for RingRx<N, false> {
    #[inline(always)]
    fn recv_in_place<R>(&mut self, read: impl FnOnce(&[u8]) -> R) -> R {
        let mut result = None;
        self.get(|slots| {
            result = Some(read(&slots[0]));
            1
        });
        result.expect("a message was there")
    }
}
