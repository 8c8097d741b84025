//! sysring itself.

use sysring::{Builder, Fence, Order, Receiver, Sender, Trusted, WaitStrategy};

use crate::peer::{Peer, Rx, Setup, Sink, Source, Tx, Wait};
use crate::work::{InPlace, InPlaceRx, InPlaceTx};

/// Messages in a batch.
const BATCH: usize = 64;

fn builder(setup: Setup) -> Builder {
    let kind =
        if setup.senders == 1 { sysring::spsc() } else { sysring::mpsc().senders(setup.senders as u32) };
    let wait = match setup.wait {
        Wait::Spin => WaitStrategy::Spin,
        Wait::Yield | Wait::Default => WaitStrategy::SpinThenSleep,
        Wait::Sleep => WaitStrategy::Sleep,
    };
    let fence = if setup.wait == Wait::Sleep { Fence::Real } else { Fence::Auto };
    kind.capacity(setup.room as u64).max_message(setup.size as u64).wait(wait).fence(fence)
}

/// A channel with stamps and the default number of seats, whatever the setup says of senders.
fn many_seats() -> Builder {
    sysring::mpsc().senders(64).capacity(1 << 20)
}

/// Both ends, unseated until the process that uses one does.
fn pair(builder: Builder) -> (Sender, Receiver) {
    builder.pair().expect("an anonymous channel")
}

macro_rules! flavour {
    ($name:ident, $text:literal, batch $batch:expr, $tx:ident, $rx:ident, |$setup:ident| $builder:expr) => {
        #[doc = concat!("`", $text, "`")]
        pub(crate) struct $name(std::sync::Mutex<(Option<Sender>, Option<Receiver>)>);

        impl Peer for $name {
            const NAME: &'static str = $text;
            const BATCH: usize = $batch;
            type Tx = $tx;
            type Rx = $rx;

            fn make($setup: Setup) -> Option<$name> {
                let (tx, rx) = pair($builder);
                Some($name(std::sync::Mutex::new((Some(tx), Some(rx)))))
            }

            fn sender(&self) -> $tx {
                // Each sender is a process of its own and has inherited the handle.
                let mut tx = self.0.lock().expect("one thread").0.take().expect("one sender a process");
                tx.attach().expect("a free seat");
                $tx::new(tx)
            }

            fn receiver(&self) -> $rx {
                let mut rx = self.0.lock().expect("one thread").1.take().expect("one receiver");
                rx.attach().expect("the receiver's seat");
                $rx::new(rx)
            }
        }
    };
}

flavour!(Ours, "sysring", batch 1, Single, SingleRx, |setup| builder(setup));
flavour!(OursBatch, "sysring-batch", batch BATCH, Batch, BatchRx, |setup| builder(setup));
flavour!(OursPerSender, "sysring-per-sender", batch 1, Single, SingleRx, |setup| builder(setup)
    .order(Order::PerSender));
flavour!(OursPerSenderBatch, "sysring-per-sender-batch", batch BATCH, Batch, BatchRx, |setup| builder(setup)
    .order(Order::PerSender));
flavour!(OursSpin, "sysring-spin", batch 1, Single, SingleRx, |setup| builder(setup)
    .wait(WaitStrategy::Spin));
flavour!(OursLatency, "sysring-latency", batch 1, Single, SingleRx, |setup| builder(setup).latency(true));
flavour!(OursOneAttached, "sysring-1-attached", batch 1, Single, SingleRx, |_setup| many_seats());
flavour!(OursInPlace, "sysring-in-place", batch 1, Placed, PlacedRx, |setup| builder(setup));

/// One sender that sends, and 63 that are attached and idle, in the sender's process.
pub(crate) struct OursManyAttached(OursOneAttached);

/// A sender, and idle ones.
pub(crate) struct Crowd(Single, #[expect(dead_code, reason = "they only hold their seats")] Vec<Sender>);

impl Peer for OursManyAttached {
    const NAME: &'static str = "sysring-64-attached";
    type Tx = Crowd;
    type Rx = SingleRx;

    fn make(setup: Setup) -> Option<OursManyAttached> {
        OursOneAttached::make(setup).map(OursManyAttached)
    }

    fn sender(&self) -> Crowd {
        let single = self.0.sender();
        let idle = (0..63).map(|_| {
            let mut idle = single.0.try_clone().expect("a free seat");
            // So that every lane is worth looking at.
            idle.attach().expect("its own seat");
            idle
        });
        let idle = idle.collect();
        Crowd(single, idle)
    }

    fn receiver(&self) -> SingleRx {
        self.0.receiver()
    }
}

impl Tx for Crowd {
    #[inline(always)]
    fn send(&mut self, message: &[u8]) {
        self.0.send(message);
    }
}

/// One message a call.
pub(crate) struct Single(Sender);
/// One message a call.
pub(crate) struct SingleRx(Receiver);

impl Single {
    fn new(tx: Sender) -> Single {
        Single(tx)
    }
}

impl SingleRx {
    fn new(rx: Receiver) -> SingleRx {
        SingleRx(rx)
    }
}

impl Tx for Single {
    #[inline(always)]
    fn send(&mut self, message: &[u8]) {
        self.0.send(message).expect("sent");
    }
}

impl Rx for SingleRx {
    #[inline(always)]
    fn recv(&mut self, buffer: &mut [u8]) -> usize {
        self.0.recv_into(buffer).expect("received")
    }
}

/// A batch a call.
pub(crate) struct Batch(Sender);
/// A batch a call.
pub(crate) struct BatchRx(Receiver);

impl Batch {
    fn new(tx: Sender) -> Batch {
        Batch(tx)
    }
}

impl BatchRx {
    fn new(rx: Receiver) -> BatchRx {
        BatchRx(rx)
    }
}

impl Tx for Batch {
    #[inline(always)]
    fn send(&mut self, message: &[u8]) {
        self.0.send(message).expect("sent");
    }

    #[inline(always)]
    fn send_many(&mut self, source: &mut Source) {
        let mut batch = self.0.batch();
        for _ in 0..BATCH {
            batch.send(source.next()).expect("sent");
        }
    }
}

impl Rx for BatchRx {
    #[inline(always)]
    fn recv(&mut self, buffer: &mut [u8]) -> usize {
        self.0.recv_into(buffer).expect("received")
    }

    #[inline(always)]
    fn recv_many(&mut self, sink: &mut Sink) {
        let batch = self.0.recv_batch(BATCH).expect("received");
        for message in batch.iter() {
            sink.take(|buffer| message.copy_to(buffer));
        }
    }
}

/// In place.
pub(crate) struct Placed(Trusted<Sender>, usize);
/// In place.
pub(crate) struct PlacedRx(Trusted<Receiver>);

impl Placed {
    fn new(tx: Sender) -> Placed {
        let size = tx.max_message() as usize;
        // SAFETY: the channel is anonymous and this program keeps to the protocol.
        Placed(unsafe { tx.trust_peers() }, size)
    }
}

impl PlacedRx {
    fn new(rx: Receiver) -> PlacedRx {
        // SAFETY: as in `Placed::new`.
        PlacedRx(unsafe { rx.trust_peers() })
    }
}

impl Tx for Placed {
    fn send(&mut self, message: &[u8]) {
        self.0.send(message).expect("sent");
    }
}

impl Rx for PlacedRx {
    fn recv(&mut self, buffer: &mut [u8]) -> usize {
        self.0.recv_into(buffer).expect("received")
    }
}

impl InPlace for OursInPlace {}

impl InPlaceTx for Placed {
    #[inline(always)]
    fn send_in_place(&mut self, write: impl FnOnce(&mut [u8])) {
        let mut frame = self.0.reserve(self.1).expect("room");
        write(&mut frame);
        frame.commit().expect("sent");
    }
}

impl InPlaceRx for PlacedRx {
    #[inline(always)]
    fn recv_in_place<R>(&mut self, read: impl FnOnce(&[u8]) -> R) -> R {
        read(&self.0.recv().expect("received"))
    }
}
