//! Crate ringfire: a ring of one type in a file, written by one, read by many, here lossless and with one reader.

use std::fs::File;
use std::sync::Mutex;

use ringfire::{CleanupMode, FlowControl, FutexWait, RingConsumer, RingProducer, RingProducerBuilder};

use super::{path, unnamed_file};
use crate::peer::{Peer, Rx, Setup, Sink, Source, Tx, Wait};

/// Messages in a batch.
const BATCH: usize = 64;

/// Its type of a message.
type Message<const N: usize> = [u8; N];

/// The ring; `BATCHED`: 64 messages a call.
pub(crate) struct Ring<const N: usize, const BATCHED: bool> {
    file: File,
    /// Cannot be opened anew: the sender's process takes it as it came through the fork.
    producer: Mutex<Option<RingProducer<Message<N>>>>,
    setup: Setup,
}

pub(crate) type Ringfire<const N: usize> = Ring<N, false>;
pub(crate) type RingfireBatch<const N: usize> = Ring<N, true>;

impl<const N: usize, const BATCHED: bool> Peer for Ring<N, BATCHED> {
    const NAME: &'static str = if BATCHED { "ringfire-batch" } else { "ringfire" };
    const BATCH: usize = if BATCHED { BATCH } else { 1 };
    type Tx = RingTx<N, BATCHED>;
    type Rx = RingRx<N, BATCHED>;

    fn make(setup: Setup) -> Option<Self> {
        assert_eq!(setup.size, N);
        if setup.senders > 1 {
            return None; // its rings with many senders drop messages
        }
        let file = unnamed_file(c"ringfire");
        let producer = RingProducerBuilder::new(setup.slots() as u64)
            .flow_control(FlowControl::LosslessBackpressure)
            .max_readers(1)
            .cleanup_mode(CleanupMode::Persistent)
            .build(path(&file))
            .expect("a ring in a new file");
        Some(Ring { file, producer: Mutex::new(Some(producer)), setup })
    }

    fn sender(&self) -> RingTx<N, BATCHED> {
        let ring = self.producer.lock().expect("one thread").take().expect("one sender");
        RingTx { ring, wait: self.setup.wait, batch: Vec::with_capacity(Self::BATCH) }
    }

    fn receiver(&self) -> RingRx<N, BATCHED> {
        let ring = RingConsumer::attach(path(&self.file)).expect("the ring that `make` made");
        let sleep =
            if self.setup.wait == Wait::Sleep { FutexWait::new(0, None) } else { FutexWait::default() };
        RingRx { ring, wait: self.setup.wait, sleep, batch: vec![[0; N]; Self::BATCH] }
    }
}

/// The sending end of a [`Ring`].
pub(crate) struct RingTx<const N: usize, const BATCHED: bool> {
    ring: RingProducer<Message<N>>,
    wait: Wait,
    /// A batch is handed over as a slice.
    batch: Vec<Message<N>>,
}

/// The receiving end of a [`Ring`].
pub(crate) struct RingRx<const N: usize, const BATCHED: bool> {
    ring: RingConsumer<Message<N>>,
    wait: Wait,
    sleep: FutexWait,
    /// A batch is received into a slice.
    batch: Vec<Message<N>>,
}

impl<const N: usize, const BATCHED: bool> Tx for RingTx<N, BATCHED> {
    #[inline(always)]
    fn send(&mut self, message: &[u8]) {
        let message = message.try_into().expect("a message of the size of the type");
        if self.wait.is_blocking() {
            return self.ring.push(message);
        }
        let mut looks = 0;
        while self.ring.try_push(message).is_err() {
            self.wait.moment(&mut looks);
        }
    }

    #[inline(always)]
    fn send_many(&mut self, source: &mut Source) {
        if !BATCHED {
            return self.send(source.next());
        }
        self.batch.clear();
        for _ in 0..BATCH {
            self.batch.push(*source.next().first_chunk().expect("a message of the size of the type"));
        }
        // The only call for batches; it waits for room: looks, then yields, then sleeps 10 us at a time.
        self.ring.push_batch(&self.batch);
    }
}

impl<const N: usize, const BATCHED: bool> RingRx<N, BATCHED> {
    /// Waits for one message.
    #[inline(always)]
    fn next(&mut self) -> Message<N> {
        if self.wait.is_blocking() {
            return self.ring.recv_blocking(&mut self.sleep);
        }
        let mut looks = 0;
        loop {
            if let Some(message) = self.ring.try_recv() {
                return message;
            }
            self.wait.moment(&mut looks);
        }
    }
}

impl<const N: usize, const BATCHED: bool> Rx for RingRx<N, BATCHED> {
    #[inline(always)]
    fn recv(&mut self, buffer: &mut [u8]) -> usize {
        buffer[..N].copy_from_slice(&self.next());
        N
    }

    #[inline(always)]
    fn recv_many(&mut self, sink: &mut Sink) {
        let mut take = |message: &Message<N>| {
            sink.take(|buffer| {
                buffer[..N].copy_from_slice(message);
                N
            });
        };
        let mut count = if BATCHED { self.ring.recv_batch(&mut self.batch) } else { 0 };
        if count == 0 {
            take(&self.next());
            count = if BATCHED { self.ring.recv_batch(&mut self.batch) } else { 0 };
        }
        self.batch[..count].iter().for_each(take);
    }
}
