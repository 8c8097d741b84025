//! Crate shaq: queues of one type in a shared file, here one that has no name. It has no blocking send.

use std::fs::File;
use std::mem::{self, MaybeUninit};
use std::num::NonZeroUsize;
use std::ptr;
use std::time::Duration;

use shaq::{mpmc, spsc};

use super::unnamed_file;
use crate::peer::{Peer, Rx, Setup, Sink, Source, Tx, Wait};
use crate::work::{InPlace, InPlaceRx, InPlaceTx};

/// Messages in a batch.
const BATCH: usize = 64;
/// The same where senders wait for each other's reservations.
const MANY_BATCH: usize = 16;
/// No end to a wait: shaq has no blocking call without a time limit.
const FOREVER: Duration = Duration::MAX;

/// Its type of a message.
type Message<const N: usize> = [u8; N];

/// How a sender waits. A full queue is all that it can wait for, and no call does.
fn sender_wait(setup: Setup) -> Wait {
    if setup.wait.is_blocking() { Wait::Yield } else { setup.wait }
}

/// Messages in one read.
const fn limit(batched: bool) -> NonZeroUsize {
    NonZeroUsize::new(if batched { BATCH } else { 1 }).unwrap()
}

/// Copies a message into its slot, without a stop on the stack.
#[inline(always)]
fn fill<const N: usize>(slot: &mut MaybeUninit<Message<N>>, message: &[u8]) {
    let message: &Message<N> = message.try_into().expect("a message of the size of the type");
    // SAFETY: two references to memory of one type; the slot is the caller's alone.
    unsafe { ptr::copy_nonoverlapping(message, slot.as_mut_ptr(), 1) };
}

/// Copies a message out of its slot. Returns its length.
#[inline(always)]
fn copy_out<const N: usize>(message: &Message<N>, buffer: &mut [u8]) -> usize {
    buffer[..N].copy_from_slice(message);
    N
}

/// The SPSC queue; `BATCHED`: 64 messages a call.
#[derive(Debug)]
pub(crate) struct Queue<const N: usize, const BATCHED: bool> {
    file: File,
    setup: Setup,
}

pub(crate) type Shaq<const N: usize> = Queue<N, false>;
pub(crate) type ShaqBatch<const N: usize> = Queue<N, true>;

impl<const N: usize, const BATCHED: bool> Peer for Queue<N, BATCHED> {
    const NAME: &'static str = if BATCHED { "shaq-batch" } else { "shaq" };
    const BATCH: usize = if BATCHED { BATCH } else { 1 };
    type Tx = Producer<N, BATCHED>;
    type Rx = Consumer<N, BATCHED>;

    fn make(setup: Setup) -> Option<Self> {
        assert_eq!(setup.size, N);
        // Its blocking calls look 2048 times before they sleep, and cannot be told not to.
        if setup.senders > 1 || setup.wait == Wait::Sleep {
            return None;
        }
        let (file, size) = (unnamed_file(c"shaq"), spsc::minimum_file_size::<Message<N>>(setup.slots()));
        // SAFETY: the file is new and initialised here only; the producer of this line is gone at its end.
        drop(unsafe { spsc::Producer::<Message<N>>::create(&file, size) }.expect("a queue in a new file"));
        Some(Queue { file, setup })
    }

    fn sender(&self) -> Producer<N, BATCHED> {
        // SAFETY: called once by the only sender; both ends have the type of `make`, which is plain bytes.
        let queue = unsafe { spsc::Producer::join(&self.file) }.expect("the queue that `make` made");
        Producer { queue, wait: sender_wait(self.setup) }
    }

    fn receiver(&self) -> Consumer<N, BATCHED> {
        // SAFETY: called once by the only receiver; both ends have the type of `make`, which is plain bytes.
        let queue = unsafe { spsc::Consumer::join(&self.file) }.expect("the queue that `make` made");
        Consumer { queue, wait: self.setup.wait }
    }
}

/// The sending end of a [`Queue`].
pub(crate) struct Producer<const N: usize, const BATCHED: bool> {
    queue: spsc::Producer<Message<N>>,
    wait: Wait,
}

/// The receiving end of a [`Queue`].
pub(crate) struct Consumer<const N: usize, const BATCHED: bool> {
    queue: spsc::Consumer<Message<N>>,
    wait: Wait,
}

impl<const N: usize, const BATCHED: bool> Producer<N, BATCHED> {
    /// Has one message written into its slot, and publishes it. `try_write` would take it by value.
    #[inline(always)]
    fn put(&mut self, write: impl FnOnce(&mut MaybeUninit<Message<N>>)) {
        let mut looks = 0;
        loop {
            let mut batch = self.queue.write_batch();
            // SAFETY: the slot is written in the next line, before the batch is dropped.
            if let Some(slot) = unsafe { batch.try_as_mut() } {
                return write(slot);
            }
            mem::forget(batch); // it has nothing to publish
            self.wait.moment(&mut looks);
        }
    }
}

impl<const N: usize, const BATCHED: bool> Tx for Producer<N, BATCHED> {
    #[inline(always)]
    fn send(&mut self, message: &[u8]) {
        self.put(|slot| fill(slot, message));
    }

    #[inline(always)]
    fn send_many(&mut self, source: &mut Source) {
        if !BATCHED {
            return self.send(source.next());
        }
        let (mut left, mut looks) = (BATCH, 0);
        while left > 0 {
            let (mut batch, before) = (self.queue.write_batch(), left);
            while left > 0 {
                // SAFETY: the slot is written in the next line, before the batch is dropped.
                let Some(slot) = (unsafe { batch.try_as_mut() }) else { break };
                fill(slot, source.next());
                left -= 1;
            }
            if left < before {
                looks = 0;
            } else {
                mem::forget(batch); // it has nothing to publish
                self.wait.moment(&mut looks);
            }
        }
    }
}

impl<const N: usize, const BATCHED: bool> Consumer<N, BATCHED> {
    /// Shows one message, or as many as a batch has, where they lie. One message is read as a batch of one:
    /// `try_read` would write its index even when there is nothing.
    #[inline(always)]
    fn get<R>(&mut self, most: NonZeroUsize, read: impl FnOnce(&spsc::ReadBatch<'_, Message<N>>) -> R) -> R {
        if self.wait.is_blocking() {
            return read(&self.queue.reserve_read_batch_timeout(most, FOREVER).expect("no time limit"));
        }
        let mut looks = 0;
        loop {
            if let Some(batch) = self.queue.try_reserve_read_batch(most) {
                return read(&batch);
            }
            self.wait.moment(&mut looks);
        }
    }
}

impl<const N: usize, const BATCHED: bool> Rx for Consumer<N, BATCHED> {
    #[inline(always)]
    fn recv(&mut self, buffer: &mut [u8]) -> usize {
        self.get(limit(false), |batch| copy_out(&batch[0], buffer))
    }

    #[inline(always)]
    fn recv_many(&mut self, sink: &mut Sink) {
        self.get(limit(BATCHED), |batch| {
            for message in batch {
                sink.take(|buffer| copy_out(message, buffer));
            }
        });
    }
}

impl<const N: usize> InPlace for Queue<N, false> {}

impl<const N: usize> InPlaceTx for Producer<N, false> {
    #[inline(always)]
    fn send_in_place(&mut self, write: impl FnOnce(&mut [u8])) {
        // SAFETY: a slot lies in a mapped file: its bytes have values from the beginning.
        self.put(|slot| write(unsafe { slot.assume_init_mut() }));
    }
}

impl<const N: usize> InPlaceRx for Consumer<N, false> {
    #[inline(always)]
    fn recv_in_place<R>(&mut self, read: impl FnOnce(&[u8]) -> R) -> R {
        self.get(limit(false), |batch| read(&batch[0]))
    }
}

/// The MPMC queue; `BATCHED`: 16 messages a call.
#[derive(Debug)]
pub(crate) struct ManyQueue<const N: usize, const BATCHED: bool> {
    file: File,
    setup: Setup,
}

pub(crate) type ShaqMpmc<const N: usize> = ManyQueue<N, false>;
pub(crate) type ShaqMpmcBatch<const N: usize> = ManyQueue<N, true>;

impl<const N: usize, const BATCHED: bool> Peer for ManyQueue<N, BATCHED> {
    const NAME: &'static str = if BATCHED { "shaq-mpmc-batch" } else { "shaq-mpmc" };
    const BATCH: usize = if BATCHED { MANY_BATCH } else { 1 };
    type Tx = ManyProducer<N, BATCHED>;
    type Rx = ManyConsumer<N, BATCHED>;

    fn make(setup: Setup) -> Option<Self> {
        assert_eq!(setup.size, N);
        if setup.wait == Wait::Sleep {
            return None; // as in `Queue`
        }
        let (file, size) = (unnamed_file(c"shaq"), mpmc::minimum_file_size::<Message<N>>(setup.slots()));
        // SAFETY: the file is new and initialised here only.
        drop(unsafe { mpmc::Producer::<Message<N>>::create(&file, size) }.expect("a queue in a new file"));
        Some(ManyQueue { file, setup })
    }

    fn sender(&self) -> ManyProducer<N, BATCHED> {
        // SAFETY: all ends have the type of `make`, which is plain bytes.
        let queue = unsafe { mpmc::Producer::join(&self.file) }.expect("the queue that `make` made");
        ManyProducer { queue, wait: sender_wait(self.setup) }
    }

    fn receiver(&self) -> ManyConsumer<N, BATCHED> {
        // SAFETY: all ends have the type of `make`, which is plain bytes.
        let queue = unsafe { mpmc::Consumer::join(&self.file) }.expect("the queue that `make` made");
        ManyConsumer { queue, wait: self.setup.wait }
    }
}

/// The sending end of a [`ManyQueue`].
pub(crate) struct ManyProducer<const N: usize, const BATCHED: bool> {
    queue: mpmc::Producer<Message<N>>,
    wait: Wait,
}

/// The receiving end of a [`ManyQueue`].
pub(crate) struct ManyConsumer<const N: usize, const BATCHED: bool> {
    queue: mpmc::Consumer<Message<N>>,
    wait: Wait,
}

impl<const N: usize, const BATCHED: bool> Tx for ManyProducer<N, BATCHED> {
    #[inline(always)]
    fn send(&mut self, message: &[u8]) {
        let mut looks = 0;
        loop {
            // SAFETY: the slot is written in the next line, before the guard is dropped.
            if let Some(mut guard) = unsafe { self.queue.try_reserve_write() } {
                return fill(guard.as_mut(), message);
            }
            self.wait.moment(&mut looks);
        }
    }

    #[inline(always)]
    fn send_many(&mut self, source: &mut Source) {
        if !BATCHED {
            return self.send(source.next());
        }
        let (count, mut looks) = (const { NonZeroUsize::new(MANY_BATCH).unwrap() }, 0);
        loop {
            // SAFETY: all slots are written in the next lines, before the batch is dropped.
            if let Some(mut batch) = unsafe { self.queue.try_reserve_write_batch(count) } {
                for index in 0..MANY_BATCH {
                    // SAFETY: exactly `MANY_BATCH` slots are ours.
                    fill(unsafe { batch.as_mut(index) }, source.next());
                }
                return;
            }
            self.wait.moment(&mut looks);
        }
    }
}

impl<const N: usize, const BATCHED: bool> ManyConsumer<N, BATCHED> {
    #[inline(always)]
    fn get<R>(&mut self, most: NonZeroUsize, read: impl FnOnce(&mpmc::ReadBatch<'_, Message<N>>) -> R) -> R {
        if self.wait.is_blocking() {
            return read(&self.queue.reserve_read_batch_timeout(most, FOREVER).expect("no time limit"));
        }
        let mut looks = 0;
        loop {
            if let Some(batch) = self.queue.try_reserve_read_batch(most) {
                return read(&batch);
            }
            self.wait.moment(&mut looks);
        }
    }
}

impl<const N: usize, const BATCHED: bool> Rx for ManyConsumer<N, BATCHED> {
    #[inline(always)]
    fn recv(&mut self, buffer: &mut [u8]) -> usize {
        self.get(limit(false), |batch| copy_out(&batch[0], buffer))
    }

    #[inline(always)]
    fn recv_many(&mut self, sink: &mut Sink) {
        self.get(limit(BATCHED), |batch| {
            for message in batch {
                sink.take(|buffer| copy_out(message, buffer));
            }
        });
    }
}
