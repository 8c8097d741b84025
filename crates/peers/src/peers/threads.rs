//! Queues between the threads of one process, as a reference: what there is to gain without a process border.
//! A message is an array: its size stands in the type. How it is handed over is what seemed fastest for that size.

use std::ops::Deref;
use std::sync::{Mutex, mpsc};
use std::{ptr, slice};

use crossbeam_channel as crossbeam;
use rtrb::chunks::ChunkError::TooFewSlots;
use rtrb::{Consumer, Producer, RingBuffer};

use crate::peer::{Peer, Rx, Setup, Sink, Source, Tx, Wait};

/// Messages in a batch.
const BATCH: usize = 64;

/// A message as an array, to be copied from where it is.
#[inline(always)]
fn array<const N: usize>(message: &[u8]) -> &[u8; N] {
    message.try_into().expect("a message of the size it was made for")
}

/// From this size on a message is copied straight between the ring and its place outside (`rtrb`'s calls for slices,
/// of one message), as a value that is pushed or popped is copied once more.
const BY_SLICE: usize = 1024;

/// `rtrb`, one message a call (`CHUNKS`: as many as there are, up to 64). It has no blocking calls.
#[derive(Debug)]
pub(crate) struct Ring<const N: usize, const CHUNKS: bool> {
    tx: Mutex<Option<Producer<[u8; N]>>>,
    rx: Mutex<Option<Consumer<[u8; N]>>>,
    wait: Wait,
}

/// One message a call.
pub(crate) type Rtrb<const N: usize> = Ring<N, false>;
/// As many as there are, up to 64.
pub(crate) type RtrbChunks<const N: usize> = Ring<N, true>;

/// The sending end of [`Ring`].
#[derive(Debug)]
pub(crate) struct RtrbTx<const N: usize, const CHUNKS: bool>(Producer<[u8; N]>, Wait);
/// The receiving end of [`Ring`].
#[derive(Debug)]
pub(crate) struct RtrbRx<const N: usize, const CHUNKS: bool>(Consumer<[u8; N]>, Wait);

impl<const N: usize, const CHUNKS: bool> Peer for Ring<N, CHUNKS> {
    const NAME: &'static str = if CHUNKS { "t:rtrb-chunks" } else { "t:rtrb" };
    const BATCH: usize = if CHUNKS { BATCH } else { 1 };
    const THREADS: bool = true;
    type Tx = RtrbTx<N, CHUNKS>;
    type Rx = RtrbRx<N, CHUNKS>;

    fn make(setup: Setup) -> Option<Self> {
        if setup.size != N || setup.senders > 1 || setup.wait.is_blocking() {
            return None;
        }
        let (tx, rx) = RingBuffer::new(setup.slots());
        Some(Ring { tx: Mutex::new(Some(tx)), rx: Mutex::new(Some(rx)), wait: setup.wait })
    }

    fn sender(&self) -> RtrbTx<N, CHUNKS> {
        let tx = self.tx.lock().expect("no panic in here").take();
        RtrbTx(tx.expect("one sender"), self.wait)
    }

    fn receiver(&self) -> RtrbRx<N, CHUNKS> {
        let rx = self.rx.lock().expect("no panic in here").take();
        RtrbRx(rx.expect("one receiver"), self.wait)
    }
}

impl<const N: usize, const CHUNKS: bool> Tx for RtrbTx<N, CHUNKS> {
    #[inline(always)]
    fn send(&mut self, message: &[u8]) {
        let (message, mut looks): (&[u8; N], _) = (array(message), 0);
        loop {
            let is_sent = if N < BY_SLICE {
                self.0.push(*message).is_ok()
            } else {
                self.0.push_entire_slice(slice::from_ref(message)).is_ok()
            };
            if is_sent {
                return;
            }
            self.1.moment(&mut looks);
        }
    }

    #[inline(always)]
    fn send_many(&mut self, source: &mut Source) {
        if !CHUNKS {
            return self.send(source.next());
        }
        let (mut left, mut looks) = (BATCH, 0);
        while left > 0 {
            let count = match self.0.write_chunk_uninit(left) {
                Ok(_) => left,
                Err(TooFewSlots(0)) => {
                    self.1.moment(&mut looks);
                    continue;
                }
                Err(TooFewSlots(count)) => count,
            };
            let mut chunk = self.0.write_chunk_uninit(count).expect("so many slots");
            let (one, two) = chunk.as_mut_slices();
            for slot in one.iter_mut().chain(two) {
                let message: &[u8; N] = array(source.next());
                // SAFETY: the slot is as large as the array, and nobody else's.
                unsafe { ptr::copy_nonoverlapping(message, slot.as_mut_ptr(), 1) };
            }
            // SAFETY: all slots have just been written.
            unsafe { chunk.commit_all() };
            (left, looks) = (left - count, 0);
        }
    }
}

impl<const N: usize, const CHUNKS: bool> Rx for RtrbRx<N, CHUNKS> {
    #[inline(always)]
    fn recv(&mut self, buffer: &mut [u8]) -> usize {
        let (buffer, mut looks): (&mut [u8; N], _) = (buffer.try_into().expect("room for a message"), 0);
        loop {
            let is_there = if N < BY_SLICE {
                self.0.pop().map(|message| *buffer = message).is_ok()
            } else {
                self.0.pop_entire_slice(slice::from_mut(buffer)).is_ok()
            };
            if is_there {
                return N;
            }
            self.1.moment(&mut looks);
        }
    }

    #[inline(always)]
    fn recv_many(&mut self, sink: &mut Sink) {
        if !CHUNKS {
            return sink.take(|buffer| self.recv(buffer));
        }
        let mut looks = 0;
        let count = loop {
            match self.0.read_chunk(BATCH) {
                Ok(_) => break BATCH,
                Err(TooFewSlots(0)) => self.1.moment(&mut looks),
                Err(TooFewSlots(count)) => break count,
            }
        };
        let chunk = self.0.read_chunk(count).expect("so many messages");
        let (one, two) = chunk.as_slices();
        for message in one.iter().chain(two) {
            sink.take(|buffer| {
                buffer.copy_from_slice(message);
                N
            });
        }
        chunk.commit_all();
    }
}

/// What goes through the channels below for a message of `N` bytes.
#[derive(Debug)]
pub(crate) struct Size<const N: usize>;

/// The message itself, or a box with a large one, which saves copies of it.
pub(crate) trait Carry<const N: usize> {
    type Item: Deref<Target = [u8; N]> + Send;

    fn item(message: &[u8; N]) -> Self::Item;
}

/// An array by value.
#[derive(Debug)]
pub(crate) struct Inline<const N: usize>([u8; N]);

impl<const N: usize> Deref for Inline<N> {
    type Target = [u8; N];

    #[inline(always)]
    fn deref(&self) -> &[u8; N] {
        &self.0
    }
}

macro_rules! carry {
    ($($bytes:literal as $item:ty, $wrap:path;)+) => {
        $(impl Carry<$bytes> for Size<$bytes> {
            type Item = $item;

            #[inline(always)]
            fn item(message: &[u8; $bytes]) -> $item {
                $wrap(*message)
            }
        })+
    };
}

carry! {
    8 as Inline<8>, Inline;
    64 as Inline<64>, Inline;
    256 as Inline<256>, Inline;
    1024 as Inline<1024>, Inline;
    4096 as Box<[u8; 4096]>, Box::new;
    65536 as Box<[u8; 65536]>, Box::new;
}

/// The item of messages of `N` bytes.
type Item<const N: usize> = <Size<N> as Carry<N>>::Item;

/// `crossbeam-channel`, bounded.
pub(crate) struct Crossbeam<const N: usize>
where
    Size<N>: Carry<N>,
{
    tx: crossbeam::Sender<Item<N>>,
    rx: crossbeam::Receiver<Item<N>>,
    wait: Wait,
}

/// The sending end of [`Crossbeam`].
pub(crate) struct CrossbeamTx<const N: usize>(crossbeam::Sender<Item<N>>, Wait)
where
    Size<N>: Carry<N>;
/// The receiving end of [`Crossbeam`].
pub(crate) struct CrossbeamRx<const N: usize>(crossbeam::Receiver<Item<N>>, Wait)
where
    Size<N>: Carry<N>;

impl<const N: usize> Peer for Crossbeam<N>
where
    Size<N>: Carry<N>,
{
    const NAME: &'static str = "t:crossbeam-channel";
    const THREADS: bool = true;
    type Tx = CrossbeamTx<N>;
    type Rx = CrossbeamRx<N>;

    fn make(setup: Setup) -> Option<Self> {
        let (tx, rx) = crossbeam::bounded(setup.slots());
        (setup.size == N).then_some(Crossbeam { tx, rx, wait: setup.wait })
    }

    fn sender(&self) -> CrossbeamTx<N> {
        CrossbeamTx(self.tx.clone(), self.wait)
    }

    fn receiver(&self) -> CrossbeamRx<N> {
        CrossbeamRx(self.rx.clone(), self.wait)
    }
}

impl<const N: usize> Tx for CrossbeamTx<N>
where
    Size<N>: Carry<N>,
{
    #[inline(always)]
    fn send(&mut self, message: &[u8]) {
        if self.1.is_blocking() {
            assert!(self.0.send(Size::<N>::item(array(message))).is_ok(), "the receiver is gone");
            return;
        }
        let mut looks = 0;
        while let Err(error) = self.0.try_send(Size::<N>::item(array(message))) {
            assert!(error.is_full(), "the receiver is gone");
            self.1.moment(&mut looks);
        }
    }
}

impl<const N: usize> Rx for CrossbeamRx<N>
where
    Size<N>: Carry<N>,
{
    #[inline(always)]
    fn recv(&mut self, buffer: &mut [u8]) -> usize {
        let mut looks = 0;
        loop {
            let message = if self.1.is_blocking() {
                self.0.recv().expect("a sender")
            } else {
                match self.0.try_recv() {
                    Ok(message) => message,
                    Err(error) => {
                        assert!(error.is_empty(), "the senders are gone");
                        self.1.moment(&mut looks);
                        continue;
                    }
                }
            };
            buffer.copy_from_slice(&*message);
            return N;
        }
    }
}

/// `std::sync::mpsc::sync_channel`.
pub(crate) struct StdSync<const N: usize>
where
    Size<N>: Carry<N>,
{
    tx: mpsc::SyncSender<Item<N>>,
    rx: Mutex<Option<mpsc::Receiver<Item<N>>>>,
    wait: Wait,
}

/// The sending end of [`StdSync`].
pub(crate) struct StdSyncTx<const N: usize>(mpsc::SyncSender<Item<N>>, Wait)
where
    Size<N>: Carry<N>;
/// The receiving end of [`StdSync`].
pub(crate) struct StdSyncRx<const N: usize>(mpsc::Receiver<Item<N>>, Wait)
where
    Size<N>: Carry<N>;

impl<const N: usize> Peer for StdSync<N>
where
    Size<N>: Carry<N>,
{
    const NAME: &'static str = "t:std-sync_channel";
    const THREADS: bool = true;
    type Tx = StdSyncTx<N>;
    type Rx = StdSyncRx<N>;

    fn make(setup: Setup) -> Option<Self> {
        let (tx, rx) = mpsc::sync_channel(setup.slots());
        (setup.size == N).then_some(StdSync { tx, rx: Mutex::new(Some(rx)), wait: setup.wait })
    }

    fn sender(&self) -> StdSyncTx<N> {
        StdSyncTx(self.tx.clone(), self.wait)
    }

    fn receiver(&self) -> StdSyncRx<N> {
        let rx = self.rx.lock().expect("no panic in here").take();
        StdSyncRx(rx.expect("one receiver"), self.wait)
    }
}

impl<const N: usize> Tx for StdSyncTx<N>
where
    Size<N>: Carry<N>,
{
    #[inline(always)]
    fn send(&mut self, message: &[u8]) {
        if self.1.is_blocking() {
            assert!(self.0.send(Size::<N>::item(array(message))).is_ok(), "the receiver is gone");
            return;
        }
        let mut looks = 0;
        while let Err(error) = self.0.try_send(Size::<N>::item(array(message))) {
            assert!(matches!(error, mpsc::TrySendError::Full(_)), "the receiver is gone");
            self.1.moment(&mut looks);
        }
    }
}

impl<const N: usize> Rx for StdSyncRx<N>
where
    Size<N>: Carry<N>,
{
    #[inline(always)]
    fn recv(&mut self, buffer: &mut [u8]) -> usize {
        let mut looks = 0;
        loop {
            let message = if self.1.is_blocking() {
                self.0.recv().expect("a sender")
            } else {
                match self.0.try_recv() {
                    Ok(message) => message,
                    Err(error) => {
                        assert_eq!(error, mpsc::TryRecvError::Empty, "the senders are gone");
                        self.1.moment(&mut looks);
                        continue;
                    }
                }
            };
            buffer.copy_from_slice(&*message);
            return N;
        }
    }
}
