//! What a channel is asked to be.

use std::time::{SystemTime, UNIX_EPOCH};

use super::address::Address;
use super::open::{self, Want};
use super::{Channel, Receiver, Sender};
use crate::error::{OpenError, OpenErrorKind};
use crate::segment::layout::{
    FLAG_ANONYMOUS, FLAG_PERSISTENT, FLAG_SPSC, FLAG_TOTAL, Geometry, MAX_CAPACITY, MAX_SENDERS, MIN_CAPACITY,
};
use crate::segment::seat::operations_at_most;
use crate::segment::view::{Plan, View};
use crate::sys::process;
use crate::sys::shm::ShmStat;
use crate::system::Needs;
use crate::wait::WaitStrategy;

/// How many senders a channel is made for.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use sysring::Kind;
/// let (tx, _rx) = sysring::spsc().pair()?;
/// assert_eq!(tx.stats()?.kind, Kind::Spsc);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One sender.
    Spsc,
    /// Many senders, each with a lane of its own.
    Mpsc,
}

/// In which order messages of different senders are received. Each sender's own messages always come in the
/// order they were sent.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use sysring::Order;
/// let (tx, _rx) = sysring::mpsc().order(Order::PerSender).pair()?;
/// assert_eq!(tx.stats()?.order, Order::PerSender);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// One order that respects causality: if the sender of b can know, through memory or a kernel call, that
    /// sending a had returned, a is received before b.
    Total,
    /// Lanes take turns: faster with many senders, no promise across them.
    PerSender,
}

/// How publishing and falling asleep are kept in order.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use sysring::Fence;
/// let (mut tx, _rx) = sysring::spsc().fence(Fence::Real).pair()?;
/// tx.attach()?;
/// assert!(tx.stats()?.real_fences);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fence {
    /// `membarrier` by whoever goes to sleep, nothing for whoever publishes, where the kernel has it and all
    /// processes of the channel may call it; real fences otherwise.
    #[default]
    Auto,
    /// A real fence for each message (about 10 ns); falling asleep is cheaper. Once one handle asks for it, it
    /// holds for all of the channel, for ever.
    Real,
}

/// Default bytes of a lane.
const DEFAULT_CAPACITY: u64 = 1 << 20;
/// Permission bit: users who are neither the owner nor in the group may write.
const EVERYBODY_WRITES: u32 = 0o002;
/// Default number of sender seats of an MPSC channel.
const DEFAULT_SENDERS: u32 = 64;

/// What a channel is asked to be; then makes it, opens it, or takes one of its ends.
///
/// An option that is not set takes its default when the channel is made, and whatever is there when it is
/// opened. One that is set and differs from what is there is [`OpenErrorKind::Mismatch`].
///
/// [`Builder::default`] asks for nothing: it opens a channel of any kind and makes an MPSC channel if it must.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (mut tx, mut rx) = sysring::mpsc().senders(4).capacity(64 << 10).pair()?;
/// tx.send("hello")?;
/// assert_eq!(rx.recv_vec()?, b"hello");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Builder {
    kind: Option<Kind>,
    senders: Option<u32>,
    capacity: Option<u64>,
    max_message: Option<u64>,
    mode: Option<u32>,
    pub(super) group: Option<u32>,
    order: Option<Order>,
    persistent: Option<bool>,
    pub(super) huge_pages: bool,
    pub(super) lock: bool,
    pub(super) trusted: Vec<u32>,
    pub(super) handle: HandleOptions,
}

/// Options of a handle, not of the channel.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HandleOptions {
    pub(crate) wait: WaitStrategy,
    pub(crate) fence: Fence,
    pub(crate) prefault: bool,
    pub(crate) latency: bool,
}

impl Builder {
    pub(crate) fn of_kind(kind: Kind) -> Builder {
        Builder { kind: Some(kind), ..Builder::default() }
    }

    /// Bytes of each sender's lane: rounded up to a power of two, 4 KiB to 1 TiB; default 1 MiB. Lanes nobody
    /// uses cost address space, not memory.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (tx, _rx) = sysring::spsc().capacity(100_000).pair()?;
    /// assert_eq!(tx.capacity(), 128 << 10);
    /// # Ok(())
    /// # }
    /// ```
    pub fn capacity(mut self, bytes: u64) -> Builder {
        self.capacity = Some(bytes);
        self
    }

    /// Number of sender seats, 1 to 240; default 64. An SPSC channel has one.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, _rx) = sysring::mpsc().senders(2).pair()?;
    /// tx.attach()?;
    /// let _second = tx.try_clone()?;
    /// assert!(tx.try_clone().is_err()); // both seats are taken
    /// # Ok(())
    /// # }
    /// ```
    pub fn senders(mut self, seats: u32) -> Builder {
        self.senders = Some(seats);
        self
    }

    /// Largest message in bytes: at most capacity / 2 - 16, which is the default. Asking for more raises the
    /// capacity.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (tx, _rx) = sysring::spsc().max_message(1 << 20).pair()?;
    /// assert_eq!(tx.max_message(), 1 << 20);
    /// assert_eq!(tx.capacity(), 4 << 20); // more than the default, so that it fits
    /// # Ok(())
    /// # }
    /// ```
    pub fn max_message(mut self, bytes: u64) -> Builder {
        self.max_message = Some(bytes);
        self
    }

    /// Permission bits of the segment and the semaphore set; default 0600, which every mode must include. Whoever may write may also damage the
    /// channel's contents; all are equal inside it.
    ///
    /// A channel that another user made and that every user may write to is opened only if that mode is asked for.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("doc-config-builder-mode-{}", std::process::id());
    /// let channel = sysring::spsc().mode(0o660).create(&name)?; // the group may use it too
    /// assert_eq!(channel.stats()?.mode, 0o660);
    /// channel.remove()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn mode(mut self, mode: u32) -> Builder {
        self.mode = Some(mode);
        self
    }

    /// The group that the second digit of [`Builder::mode`] is about; default: the group of the process that makes
    /// the channel. Members of the group must also trust the channel's creator, see [`Builder::trust_uid`]; until it is
    /// made they are refused.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::os::unix::fs::MetadataExt;
    /// # let name = format!("doc-config-builder-group-{}", std::process::id());
    /// let group = std::fs::metadata("/proc/self")?.gid(); // any group id
    /// let channel = sysring::spsc().mode(0o660).group(group).create(&name)?;
    /// assert_eq!(channel.stats()?.owner_gid, group);
    /// channel.remove()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn group(mut self, gid: u32) -> Builder {
        self.group = Some(gid);
        self
    }

    /// Order across senders of an MPSC channel; default [`Order::Total`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sysring::Order;
    /// let (mut tx, mut rx) = sysring::mpsc().order(Order::PerSender).pair()?;
    /// tx.send("a")?;
    /// tx.send("b")?;
    /// assert_eq!(rx.recv_vec()?, b"a"); // one sender's own order holds always
    /// # Ok(())
    /// # }
    /// ```
    pub fn order(mut self, order: Order) -> Builder {
        self.order = Some(order);
        self
    }

    /// Whether senders wait for the next receiver instead of seeing `Disconnected`. Default: yes for named
    /// channels, no for anonymous ones.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("doc-config-builder-persistent-{}", std::process::id());
    /// let channel = sysring::spsc().persistent(false).create(&name)?;
    /// assert!(!channel.persistent());
    /// channel.remove()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn persistent(mut self, persistent: bool) -> Builder {
        self.persistent = Some(persistent);
        self
    }

    /// How the handles made by this builder wait.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sysring::WaitStrategy;
    /// let (mut tx, mut rx) = sysring::spsc().wait(WaitStrategy::Sleep).pair()?;
    /// let sender = std::thread::spawn(move || tx.send("woken by the kernel"));
    /// assert_eq!(rx.recv_vec()?, b"woken by the kernel");
    /// sender.join().unwrap()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn wait(mut self, strategy: WaitStrategy) -> Builder {
        self.handle.wait = strategy;
        self
    }

    /// How publishing and falling asleep are kept in order.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sysring::Fence;
    /// let (mut tx, mut rx) = sysring::spsc().fence(Fence::Real).pair()?;
    /// tx.send("a")?;
    /// assert_eq!(rx.recv_vec()?, b"a");
    /// assert!(rx.stats()?.real_fences);
    /// # Ok(())
    /// # }
    /// ```
    pub fn fence(mut self, fence: Fence) -> Builder {
        self.handle.fence = fence;
        self
    }

    /// Asks for huge pages when the channel is made. Where the kernel has none to give, ordinary ones are taken;
    /// [`Stats::huge_pages`](crate::Stats::huge_pages) tells.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (tx, _rx) = sysring::spsc().huge_pages(true).pair()?; // works in either case
    /// println!("huge pages: {}", tx.stats()?.huge_pages);
    /// # Ok(())
    /// # }
    /// ```
    pub fn huge_pages(mut self, huge: bool) -> Builder {
        self.huge_pages = huge;
        self
    }

    /// Keeps the segment in memory (`SHM_LOCK`) when the channel is made. Needs a sufficient `RLIMIT_MEMLOCK` or
    /// CAP_IPC_LOCK; making the channel fails otherwise.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// match sysring::spsc().capacity(4096).lock(true).pair() {
    ///     Ok((tx, _rx)) => assert!(tx.stats()?.locked),
    ///     Err(error) => println!("{error}"), // names the limit and what to do
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn lock(mut self, lock: bool) -> Builder {
        self.lock = lock;
        self
    }

    /// Makes the kernel provide the pages of a lane when its seat is taken (a receiver: of all lanes), so that
    /// no first message pays for it.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, mut rx) = sysring::spsc().capacity(64 << 10).prefault(true).pair()?;
    /// tx.attach()?; // here, not in the first `send`
    /// tx.send("a")?;
    /// assert_eq!(rx.recv_vec()?, b"a");
    /// # Ok(())
    /// # }
    /// ```
    pub fn prefault(mut self, prefault: bool) -> Builder {
        self.handle.prefault = prefault;
        self
    }

    /// Latency before throughput: a receiver that has caught up with a stream of messages always looks for the next one
    /// at once. Without it, one that spins for a stream of small messages hangs back for about 4 µs at a time while it
    /// finds that messages come faster so; ping-pong and paced traffic are left alone. For receivers.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, mut rx) = sysring::spsc().latency(true).pair()?;
    /// tx.send("a")?;
    /// assert_eq!(rx.recv_vec()?, b"a");
    /// # Ok(())
    /// # }
    /// ```
    pub fn latency(mut self, latency: bool) -> Builder {
        self.handle.latency = latency;
        self
    }

    /// Also opens channels that this user made. Without it: one's own and root's only, because whoever made a
    /// segment may replace its permissions.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("doc-config-builder-trust-uid-{}", std::process::id());
    /// let daemon = 1; // channels of this user are opened too
    /// let channel = sysring::spsc().trust_uid(daemon).open_or_create(&name)?;
    /// channel.remove()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn trust_uid(mut self, uid: u32) -> Builder {
        self.trusted.push(uid);
        self
    }

    /// What such a channel takes of the kernel's limits, see [`crate::system`]. Asks the kernel nothing.
    ///
    /// # Errors
    /// [`OpenErrorKind::InvalidOption`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let needs = sysring::mpsc().senders(240).capacity(4096).needs()?;
    /// assert_eq!((needs.semaphores, needs.operations), (486, 482));
    /// assert!(needs.segment_bytes > 240 * 4096);
    /// # Ok(())
    /// # }
    /// ```
    pub fn needs(&self) -> Result<Needs, OpenError> {
        let shape = self.plan("(none)", "", false)?.geometry;
        Ok(Needs {
            segment_bytes: shape.total(),
            semaphores: shape.semaphores().into(),
            operations: operations_at_most(shape),
        })
    }

    /// Makes an anonymous channel: two ends to be shared by `fork`.
    ///
    /// The ends take their seats at first use, so either process may use either end. The memory goes with the
    /// last process. Does not block.
    ///
    /// # Errors
    /// [`OpenErrorKind::InvalidOption`], [`OpenErrorKind::Limit`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, mut rx) = sysring::spsc().pair()?;
    /// let sender = std::thread::spawn(move || tx.send("from the other side"));
    /// assert_eq!(rx.recv_vec()?, b"from the other side");
    /// sender.join().unwrap()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn pair(&self) -> Result<(Sender, Receiver), OpenError> {
        let shared = open::anonymous(self)?;
        Ok((Sender::unseated(&shared), Receiver::unseated(&shared)))
    }

    /// Makes a named channel that must not exist yet.
    ///
    /// Blocks only while another process is making the same channel.
    ///
    /// # Errors
    /// [`OpenErrorKind::AlreadyExists`], [`OpenErrorKind::Foreign`], [`OpenErrorKind::NameTaken`],
    /// [`OpenErrorKind::Limit`] and others.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sysring::OpenErrorKind;
    /// # let name = format!("doc-config-builder-create-{}", std::process::id());
    /// let channel = sysring::spsc().create(&name)?;
    /// assert_eq!(sysring::spsc().create(&name).unwrap_err().kind(), OpenErrorKind::AlreadyExists);
    /// channel.remove()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn create(&self, address: impl Into<Address>) -> Result<Channel, OpenError> {
        open::named(self, &address.into(), Want::Create).map(Channel::new)
    }

    /// Opens a channel that must exist.
    ///
    /// # Errors
    /// [`OpenErrorKind::NotFound`], [`OpenErrorKind::Mismatch`], [`OpenErrorKind::Foreign`] and others.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sysring::OpenErrorKind;
    /// # let name = format!("doc-config-builder-open-{}", std::process::id());
    /// let channel = sysring::spsc().capacity(4096).create(&name)?;
    /// assert_eq!(sysring::spsc().open(&name)?.capacity(), 4096); // taken as it is
    /// assert_eq!(sysring::mpsc().open(&name).unwrap_err().kind(), OpenErrorKind::Mismatch);
    /// channel.remove()?;
    /// assert_eq!(sysring::spsc().open(&name).unwrap_err().kind(), OpenErrorKind::NotFound);
    /// # Ok(())
    /// # }
    /// ```
    pub fn open(&self, address: impl Into<Address>) -> Result<Channel, OpenError> {
        open::named(self, &address.into(), Want::Open).map(Channel::new)
    }

    /// Opens the channel, or makes it: one call without a race, whoever comes first.
    ///
    /// # Errors
    /// As [`Builder::open`] and [`Builder::create`], except that either state is welcome.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("doc-config-builder-open-or-create-{}", std::process::id());
    /// let first = sysring::spsc().open_or_create(&name)?;
    /// let second = sysring::spsc().open_or_create(&name)?;
    /// assert_eq!(first.id(), second.id());
    /// first.remove()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn open_or_create(&self, address: impl Into<Address>) -> Result<Channel, OpenError> {
        open::named(self, &address.into(), Want::Either).map(Channel::new)
    }

    /// Opens or makes the channel and takes a sender's seat.
    ///
    /// # Errors
    /// As [`Builder::open_or_create`], and [`OpenErrorKind::SeatTaken`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("doc-config-builder-sender-{}", std::process::id());
    /// let mut tx = sysring::mpsc().sender(&name)?;
    /// tx.send("kept until a receiver comes")?;
    /// assert_eq!(sysring::mpsc().receiver(&name)?.recv_vec()?, b"kept until a receiver comes");
    /// sysring::remove(&name)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn sender(&self, address: impl Into<Address>) -> Result<Sender, OpenError> {
        let address = address.into();
        match self.open_or_create(address.clone())?.sender() {
            // Removed between the two: it can be made anew.
            Err(error) if error.kind() == OpenErrorKind::Removed => self.open_or_create(address)?.sender(),
            outcome => outcome,
        }
    }

    /// Opens or makes the channel and takes the receiver's seat.
    ///
    /// # Errors
    /// As [`Builder::open_or_create`], and [`OpenErrorKind::SeatTaken`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("doc-config-builder-receiver-{}", std::process::id());
    /// let mut rx = sysring::mpsc().receiver(&name)?;
    /// assert!(rx.try_recv().unwrap_err().is_empty()); // waits for the first sender to come
    /// assert!(sysring::mpsc().receiver(&name).is_err()); // there is one receiver
    /// sysring::remove(&name)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn receiver(&self, address: impl Into<Address>) -> Result<Receiver, OpenError> {
        let address = address.into();
        match self.open_or_create(address.clone())?.receiver() {
            // Removed between the two: it can be made anew.
            Err(error) if error.kind() == OpenErrorKind::Removed => self.open_or_create(address)?.receiver(),
            outcome => outcome,
        }
    }

    /// The channel's permission bits.
    pub(super) fn mode_bits(&self) -> u32 {
        self.mode.unwrap_or(0o600)
    }

    /// Permission bits for `shmget`. What is for another group than the maker's is granted when it has that group.
    pub(super) fn birth_mode(&self) -> u32 {
        if self.group.is_some() { self.mode_bits() & !0o070 } else { self.mode_bits() }
    }

    /// The channel to make.
    pub(super) fn plan(&self, address: &str, name: &str, anonymous: bool) -> Result<Plan, OpenError> {
        let invalid = |what: String| OpenError::new(OpenErrorKind::InvalidOption, &address, what);
        let kind = self.kind.unwrap_or(Kind::Mpsc);
        let senders = match kind {
            Kind::Spsc => self.senders.unwrap_or(1),
            Kind::Mpsc => self.senders.unwrap_or(DEFAULT_SENDERS),
        };
        if kind == Kind::Spsc && senders != 1 {
            return Err(invalid(format!("an SPSC channel has 1 sender, not {senders}")));
        }
        if !(1..=MAX_SENDERS).contains(&senders) {
            return Err(invalid(format!("{senders} senders are not between 1 and {MAX_SENDERS}")));
        }
        if self.mode_bits() & !0o777 != 0 {
            return Err(invalid(format!("mode {:o} is not between 0 and 777", self.mode_bits())));
        }
        if self.mode_bits() & 0o600 != 0o600 {
            return Err(invalid(format!("mode {:03o} keeps out who makes the channel", self.mode_bits())));
        }
        let capacity = self.lane_capacity().ok_or_else(|| {
            invalid(format!(
                "a lane is between {MIN_CAPACITY} bytes and 1 TiB, and a message at most half of it less 16 \
                 bytes; asked for: capacity {}, largest message {}",
                self.capacity.unwrap_or(DEFAULT_CAPACITY),
                self.max_message.unwrap_or(0)
            ))
        })?;
        let geometry = Geometry::new(senders.into(), capacity).expect("both were checked");
        let mut flags = 0;
        for (set, flag) in [
            (kind == Kind::Spsc, FLAG_SPSC),
            (self.order != Some(Order::PerSender), FLAG_TOTAL),
            (self.persistent.unwrap_or(!anonymous), FLAG_PERSISTENT),
            (anonymous, FLAG_ANONYMOUS),
        ] {
            flags |= if set { flag } else { 0 };
        }
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |past| past.as_nanos() as u64);
        Ok(Plan {
            geometry,
            flags,
            max_message: self.max_message.unwrap_or(geometry.largest_message()),
            name: name.to_owned(),
            created,
            creator: process::pid() as u64,
        })
    }

    /// Bytes of a lane with all that was asked for, or `None` if that is impossible.
    fn lane_capacity(&self) -> Option<u64> {
        let asked = self.capacity.unwrap_or(DEFAULT_CAPACITY);
        let needed = self.max_message.unwrap_or(0).checked_add(16)?.checked_mul(2)?;
        let capacity = asked.max(needed).max(MIN_CAPACITY).checked_next_power_of_two()?;
        (asked > 0 && capacity <= MAX_CAPACITY).then_some(capacity)
    }

    /// Compares what was asked for with what is there.
    pub(super) fn check(&self, address: &Address, view: &View, segment: &ShmStat) -> Result<(), OpenError> {
        let shape = view.geometry();
        let differs = |what: &str, wanted: String, found: String| {
            let text = format!("its {what} is {found}, not {wanted} as asked for");
            Err(OpenError::new(OpenErrorKind::Mismatch, address, text)
                .with_hint("leave the option out to take the channel as it is, or remove it first"))
        };
        let kind = if view.is_spsc() { Kind::Spsc } else { Kind::Mpsc };
        if let Some(wanted) = self.kind.filter(|wanted| *wanted != kind) {
            return differs("kind", format!("{wanted:?}"), format!("{kind:?}"));
        }
        if let Some(wanted) = self.senders.filter(|wanted| *wanted != shape.senders()) {
            return differs("number of senders", wanted.to_string(), shape.senders().to_string());
        }
        if self.capacity.is_some() && self.lane_capacity() != Some(shape.capacity()) {
            let wanted = self.lane_capacity().map_or("an impossible one".into(), |bytes| bytes.to_string());
            return differs("capacity", wanted, shape.capacity().to_string());
        }
        if let Some(wanted) = self.max_message.filter(|wanted| *wanted != view.max_message()) {
            return differs("largest message", wanted.to_string(), view.max_message().to_string());
        }
        let order = if view.is_total() { Order::Total } else { Order::PerSender };
        if let Some(wanted) = self.order.filter(|wanted| *wanted != order) {
            return differs("order", format!("{wanted:?}"), format!("{order:?}"));
        }
        let persistent = view.is_persistent();
        if let Some(wanted) = self.persistent.filter(|wanted| *wanted != persistent) {
            return differs("persistence", wanted.to_string(), persistent.to_string());
        }
        let mode = segment.mode;
        if let Some(wanted) = self.mode.filter(|wanted| *wanted != mode) {
            return differs("mode", format!("{wanted:03o}"), format!("{mode:03o}"));
        }
        if let Some(wanted) = self.group.filter(|wanted| *wanted != segment.gid) {
            return differs("group", wanted.to_string(), segment.gid.to_string());
        }
        if self.mode.is_none() && mode & EVERYBODY_WRITES != 0 && segment.cuid != process::euid() {
            let text = format!("every user may write to it (mode {mode:03o}, made by user {})", segment.cuid);
            return Err(OpenError::new(OpenErrorKind::Mismatch, address, text)
                .with_hint(format!("ask for mode {mode:03o} if that is meant")));
        }
        Ok(())
    }
}
