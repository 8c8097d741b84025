//! iceoryx2: publish-subscribe of byte slices, polled, in place, or with an event for each message; and the
//! single-sender queue from its building blocks.

use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use iceoryx2::config::Config;
use iceoryx2::node::{Node, NodeBuilder};
use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::port::update_connections::UpdateConnections;
use iceoryx2::prelude::{
    BackpressureStrategy, FileName, LogLevel, Path, PortFactory, SemanticString, ServiceName,
    SignalHandlingMode, ipc, set_log_level,
};
use iceoryx2::sample::Sample;
use iceoryx2::service::port_factory::{event, publish_subscribe};
use iceoryx2_bb_lock_free::spsc::queue::{Consumer, Producer, Queue};

use crate::peer::{Peer, Rx, Setup, Tx, Wait};
use crate::scratch;
use crate::work::{InPlace, InPlaceRx, InPlaceTx};

type Service = publish_subscribe::PortFactory<ipc::Service, [u8], ()>;
type Events = event::PortFactory<ipc::Service>;

/// Polled, payload copied in and out.
pub(crate) type Iceoryx2 = Kind<COPY>;
/// Polled, written and read in place.
pub(crate) type Iceoryx2Loan = Kind<LOAN>;
/// A notification for each message, a listener that blocks.
pub(crate) type Iceoryx2Event = Kind<EVENT>;

const COPY: u8 = 0;
const LOAN: u8 = 1;
const EVENT: u8 = 2;

/// One service. Every process opens it through a node of its own, so nothing of it lives before the fork.
#[derive(Debug)]
pub(crate) struct Kind<const KIND: u8> {
    setup: Setup,
    name: String,
}

impl<const KIND: u8> Peer for Kind<KIND> {
    const NAME: &'static str = match KIND {
        COPY => "iceoryx2",
        LOAN => "iceoryx2-loan",
        _ => "iceoryx2-event",
    };
    type Tx = PublisherEnd<KIND>;
    type Rx = SubscriberEnd<KIND>;

    fn make(setup: Setup) -> Option<Self> {
        static SERVICES: AtomicU32 = AtomicU32::new(0);
        let number = SERVICES.fetch_add(1, Ordering::Relaxed);
        let able = (KIND == EVENT) == setup.wait.is_blocking();
        able.then(|| Kind { setup, name: format!("service-{number}") })
    }

    fn sender(&self) -> PublisherEnd<KIND> {
        let door = Door::new(self);
        let publisher = door.service.publisher_builder().initial_max_slice_len(self.setup.size);
        let publisher = publisher.max_loaned_samples(1);
        let publisher = publisher.backpressure_strategy(BackpressureStrategy::RetryUntilDelivered);
        let publisher = publisher.create().expect("a publisher");
        let notifier =
            door.events.as_ref().map(|events| events.notifier_builder().create().expect("a notifier"));
        PublisherEnd { publisher, notifier, size: self.setup.size, _door: door }
    }

    fn receiver(&self) -> SubscriberEnd<KIND> {
        let door = Door::new(self);
        let listener =
            door.events.as_ref().map(|events| events.listener_builder().create().expect("a listener"));
        let subscriber = door.service.subscriber_builder().create().expect("a subscriber");
        // A publisher whose subscriber has not opened its side yet would drop what does not fit.
        while door.service.dynamic_config().number_of_publishers() < self.setup.senders {
            std::thread::yield_now();
        }
        subscriber.update_connections().expect("connected to all publishers");
        SubscriberEnd { subscriber, listener, wait: self.setup.wait, _door: door }
    }
}

/// What a process needs to reach a service.
#[derive(Debug)]
struct Door {
    service: Service,
    events: Option<Events>,
    _node: Node<ipc::Service>,
}

impl Door {
    fn new<const KIND: u8>(kind: &Kind<KIND>) -> Door {
        set_log_level(LogLevel::Fatal);
        let Kind { setup, name } = kind;
        let mut config = Config::default();
        let directory = scratch::directory();
        let directory = directory.to_str().expect("a plain path").as_bytes();
        config.global.set_root_path(&Path::new(directory).expect("a short path"));
        config.global.prefix = FileName::new(scratch::name().as_bytes()).expect("a short name");
        let node = NodeBuilder::new().config(&config).signal_handling_mode(SignalHandlingMode::Disabled);
        let node = node.create::<ipc::Service>().expect("a node");
        let named = |what: &str| ServiceName::new(&format!("{name}-{what}")).expect("a short name");

        let service = node.service_builder(&named("data")).publish_subscribe::<[u8]>();
        let service = service.max_publishers(setup.senders).max_subscribers(1).max_nodes(setup.senders + 1);
        let service = service.enable_safe_overflow(false).history_size(0);
        let service = service.subscriber_max_buffer_size(setup.slots()).subscriber_max_borrowed_samples(1);
        let service = service.open_or_create().expect("a service");
        let events = (KIND == EVENT).then(|| {
            let events = node.service_builder(&named("event")).event();
            let events = events.max_notifiers(setup.senders).max_listeners(1).max_nodes(setup.senders + 1);
            events.event_id_max_value(0).open_or_create().expect("an event service")
        });
        Door { service, events, _node: node }
    }
}

/// A publisher, with its notifier if there are events.
#[derive(Debug)]
pub(crate) struct PublisherEnd<const KIND: u8> {
    publisher: Publisher<ipc::Service, [u8], ()>,
    notifier: Option<Notifier<ipc::Service>>,
    size: usize,
    _door: Door,
}

/// The subscriber, with its listener if there are events.
#[derive(Debug)]
pub(crate) struct SubscriberEnd<const KIND: u8> {
    subscriber: Subscriber<ipc::Service, [u8], ()>,
    listener: Option<Listener<ipc::Service>>,
    wait: Wait,
    _door: Door,
}

impl<const KIND: u8> PublisherEnd<KIND> {
    #[inline(always)]
    fn notify(&self) {
        if let Some(notifier) = &self.notifier {
            notifier.notify().expect("notified");
        }
    }
}

impl<const KIND: u8> SubscriberEnd<KIND> {
    /// Waits for the next message.
    #[inline(always)]
    fn next(&self) -> Sample<ipc::Service, [u8], ()> {
        let mut looks = 0;
        loop {
            if let Some(sample) = self.subscriber.receive().expect("received") {
                return sample;
            }
            match &self.listener {
                Some(listener) => drop(listener.blocking_wait(|_| {}).expect("waited")),
                None => self.wait.moment(&mut looks),
            }
        }
    }
}

impl<const KIND: u8> Tx for PublisherEnd<KIND> {
    #[inline(always)]
    fn send(&mut self, message: &[u8]) {
        let sample = self.publisher.loan_slice_uninit(message.len()).expect("a sample");
        let delivered = sample.write_from_slice(message).send().expect("sent");
        assert_eq!(delivered, 1, "a message was dropped");
        self.notify();
    }
}

impl<const KIND: u8> Rx for SubscriberEnd<KIND> {
    #[inline(always)]
    fn recv(&mut self, buffer: &mut [u8]) -> usize {
        let sample = self.next();
        let message = sample.payload();
        buffer[..message.len()].copy_from_slice(message);
        message.len()
    }
}

impl InPlace for Iceoryx2Loan {}

impl InPlaceTx for PublisherEnd<LOAN> {
    #[inline(always)]
    fn send_in_place(&mut self, write: impl FnOnce(&mut [u8])) {
        let sample = self.publisher.loan_slice_uninit(self.size).expect("a sample");
        // SAFETY: bytes of any value are a message, and the kernel gave the segment to iceoryx2 filled with zeroes.
        let mut sample = unsafe { sample.assume_init() };
        write(sample.payload_mut());
        assert_eq!(sample.send().expect("sent"), 1, "a message was dropped");
    }
}

impl InPlaceRx for SubscriberEnd<LOAN> {
    #[inline(always)]
    fn recv_in_place<R>(&mut self, read: impl FnOnce(&[u8]) -> R) -> R {
        read(self.next().payload())
    }
}

/// The queue of `iceoryx2-bb-lock-free` in a mapping that all processes inherit: `SLOTS` messages of `SIZE` bytes.
#[derive(Debug)]
pub(crate) struct Spsc<const SIZE: usize, const SLOTS: usize> {
    queue: &'static Queue<[u8; SIZE], SLOTS>,
    wait: Wait,
}

/// The sending end of a [`Spsc`].
pub(crate) struct SpscTx<const SIZE: usize, const SLOTS: usize> {
    producer: Producer<'static, [u8; SIZE], SLOTS>,
    wait: Wait,
}

/// The receiving end of a [`Spsc`].
pub(crate) struct SpscRx<const SIZE: usize, const SLOTS: usize> {
    consumer: Consumer<'static, [u8; SIZE], SLOTS>,
    wait: Wait,
}

impl<const SIZE: usize, const SLOTS: usize> Peer for Spsc<SIZE, SLOTS> {
    const NAME: &'static str = "iox2-bb-spsc";
    type Tx = SpscTx<SIZE, SLOTS>;
    type Rx = SpscRx<SIZE, SLOTS>;

    fn make(setup: Setup) -> Option<Self> {
        assert_eq!((SIZE, SLOTS), (setup.size, setup.slots()), "the catalogue names another size");
        if setup.senders != 1 || setup.wait.is_blocking() {
            return None;
        }
        let size = size_of::<Queue<[u8; SIZE], SLOTS>>();
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, wherever the kernel likes.
        let place = unsafe { libc::mmap(ptr::null_mut(), size, protection, flags, -1, 0) };
        assert_ne!(place, libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
        // SAFETY: fresh memory of that size; touched so that no page comes for the first time while timing.
        unsafe { ptr::write_bytes(place.cast::<u8>(), 0, size) };
        let place = place.cast::<Queue<[u8; SIZE], SLOTS>>();
        // SAFETY: page-aligned memory of the queue's size that nobody else knows yet.
        unsafe { place.write(Queue::new()) };
        // SAFETY: a queue since the line above; it is never unmapped, and changes through its atomics only.
        Some(Spsc { queue: unsafe { &*place }, wait: setup.wait })
    }

    fn sender(&self) -> Self::Tx {
        SpscTx { producer: self.queue.acquire_producer().expect("one sender"), wait: self.wait }
    }

    fn receiver(&self) -> Self::Rx {
        SpscRx { consumer: self.queue.acquire_consumer().expect("one receiver"), wait: self.wait }
    }
}

impl<const SIZE: usize, const SLOTS: usize> Tx for SpscTx<SIZE, SLOTS> {
    #[inline(always)]
    fn send(&mut self, message: &[u8]) {
        let message = message.try_into().expect("a message of the queue's size");
        let mut looks = 0;
        while !self.producer.push(message) {
            self.wait.moment(&mut looks);
        }
    }
}

impl<const SIZE: usize, const SLOTS: usize> Rx for SpscRx<SIZE, SLOTS> {
    #[inline(always)]
    fn recv(&mut self, buffer: &mut [u8]) -> usize {
        let mut looks = 0;
        loop {
            if let Some(message) = self.consumer.pop() {
                buffer[..SIZE].copy_from_slice(&message);
                return SIZE;
            }
            self.wait.moment(&mut looks);
        }
    }
}
