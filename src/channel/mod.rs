//! Channels: block, refuse, close, recover. No unsafe, no atomics of its own but the header's words.

mod address;
mod config;
mod interrupt;
mod open;
mod peers;
mod receiver;
mod sender;
mod stats;
mod trusted;

pub use address::Address;
pub use config::{Builder, Fence, Kind, Order};
pub use interrupt::Interrupter;
pub use receiver::{BatchMessage, EndOfStream, Iter, Message, Receiver, RecvBatch, TryIter};
pub use sender::{SendBatch, Sender, Slot};
pub use stats::{LaneStats, Listed, Observer, SeatStats, Stats, list};
pub use trusted::{Frame, FrameMut, Trusted};

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{OpenError, OpenErrorKind};
use crate::segment::seat::{NoSeat, Seat, Side};
use crate::segment::view::View;
use crate::sync::Ordering;
use crate::sys::{Errno, process, shm};
use crate::wait::{Barrier, CEILING, Semaphore};
use config::HandleOptions;

/// Asks for a channel with one sender.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (mut tx, mut rx) = sysring::spsc().pair()?;
/// tx.send("one sender, one receiver")?;
/// assert_eq!(rx.recv_vec()?, b"one sender, one receiver");
/// # Ok(())
/// # }
/// ```
pub fn spsc() -> Builder {
    Builder::of_kind(Kind::Spsc)
}

/// Asks for a channel with many senders.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (mut tx, mut rx) = sysring::mpsc().pair()?;
/// let mut other = tx.try_clone()?;
/// tx.send("question")?;
/// other.send("answer")?;
/// assert_eq!(rx.recv_vec()?, b"question");
/// # Ok(())
/// # }
/// ```
pub fn mpsc() -> Builder {
    Builder::of_kind(Kind::Mpsc)
}

/// Removes a channel: everybody attached gets `Removed`, promptly, and its messages are gone with the last of
/// them. Does not block.
///
/// # Errors
/// [`OpenErrorKind::NotFound`], [`OpenErrorKind::Foreign`] (a segment that is no channel is left untouched),
/// [`OpenErrorKind::PermissionDenied`] for anybody but its owner.
///
/// ```
/// # fn main() -> Result<(), sysring::OpenError> {
/// # let name = format!("doc-remove-{}", std::process::id());
/// sysring::spsc().create(&name)?;
/// sysring::remove(&name)?;
/// assert!(sysring::remove(&name).is_err());
/// # Ok(())
/// # }
/// ```
pub fn remove(address: impl Into<Address>) -> Result<(), OpenError> {
    open::remove(&address.into())
}

/// What the handles of one process share of one channel.
#[derive(Debug)]
pub(crate) struct Shared {
    view: View,
    set: i32,
    address: String,
    options: HandleOptions,
    /// Handles of this process, seated or not. After a fork each process counts its own.
    senders_here: AtomicUsize,
    receivers_here: AtomicUsize,
}

impl Shared {
    fn new(view: View, set: i32, address: String, builder: &Builder) -> Shared {
        Shared {
            view,
            set,
            address,
            options: builder.handle,
            senders_here: AtomicUsize::new(0),
            receivers_here: AtomicUsize::new(0),
        }
    }

    fn here(&self, side: PeerSide) -> &AtomicUsize {
        match side {
            PeerSide::Senders => &self.senders_here,
            PeerSide::Receiver => &self.receivers_here,
        }
    }

    fn semaphore(&self, side: Side) -> Semaphore {
        Semaphore { set: self.set, index: side.bell() }
    }

    /// Whether the removed mark is set; finishes the removal if so.
    #[inline]
    fn is_removed(&self) -> bool {
        // Relaxed: the mark is sticky and carries no other data.
        let removed = self.view.header().bell.removed.load(Ordering::Relaxed) != 0;
        if removed {
            self.finish_removal();
        }
        removed
    }

    /// Removes what is left, and marks it for everybody else.
    #[cold]
    fn finish_removal(&self) {
        self.view.header().bell.removed.store(1, Ordering::Relaxed);
        open::remove_all(self.view.region().id(), Some(self.set));
    }

    /// Whether the segment itself was removed behind the channel's back (`ipcrm -m`).
    fn is_segment_gone(&self) -> bool {
        match shm::stat(self.view.region().id()) {
            Ok(stat) => stat.dest && !self.view.is_anonymous(),
            Err(errno) => matches!(errno, Errno::EINVAL | Errno::EIDRM),
        }
    }

    /// Processes attached, by the kernel's count.
    fn attached(&self) -> u64 {
        shm::stat(self.view.region().id()).map_or(u64::MAX, |stat| stat.nattch)
    }

    /// How this process publishes and falls asleep. To be called before a seat is taken.
    fn barrier(&self) -> Barrier {
        if self.options.fence == Fence::Auto && process::membarrier_register() {
            return Barrier::asymmetric(process::membarrier);
        }
        let sticky = &self.view.header().bell.real_fences;
        if sticky.load(Ordering::Relaxed) == 0 {
            sticky.store(1, Ordering::SeqCst);
            // A publisher may have loaded the old word and have a publication on its way to memory still: make
            // sure that it has arrived before anybody sleeps on the new rule.
            if !process::membarrier() {
                thread::sleep(Duration::from_millis(1));
            }
        }
        Barrier::REAL
    }

    fn no_seat(&self, side: Side, why: NoSeat) -> OpenError {
        let end = match side {
            Side::Receiver => "the receiver's seat",
            Side::Sender(_) if self.view.is_spsc() => "the only sender's seat",
            Side::Sender(_) => "every sender's seat",
        };
        match why {
            NoSeat::Taken(pid) => {
                let pid = (pid > 0).then_some(pid);
                let who =
                    pid.map_or("a process outside this pid namespace".into(), |pid| format!("process {pid}"));
                let more =
                    if matches!(side, Side::Sender(_)) && !self.view.is_spsc() { " and others" } else { "" };
                let text = format!("{end} is taken by {who}{more}");
                OpenError::new(OpenErrorKind::SeatTaken { pid }, &self.address, text)
                    .with_hint("it falls free when that process ends or drops its handle")
            }
            NoSeat::Failed(errno) => OpenError::system(&self.address, "semop", errno),
        }
    }

    fn take(&self, side: Side) -> Result<Seat, OpenError> {
        Seat::take(&self.view, self.set, side).map_err(|why| self.no_seat(side, why))
    }
}

/// Which side a handle waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeerSide {
    Senders,
    Receiver,
}

/// How long a call may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    /// Not at all.
    Now,
    /// Until it is done.
    Done,
    /// Until then.
    Deadline(Instant),
}

impl Until {
    fn timeout(limit: Duration) -> Until {
        Instant::now().checked_add(limit).map_or(Until::Done, Until::Deadline)
    }

    /// What is left, at most the ceiling of one sleep.
    fn left(self) -> Duration {
        match self {
            Until::Now => Duration::ZERO,
            Until::Done => CEILING,
            Until::Deadline(then) => then.saturating_duration_since(Instant::now()).min(CEILING),
        }
    }

    fn is_over(self) -> bool {
        self.left().is_zero()
    }
}

/// Why a call that may wait ended without success.
#[derive(Debug)]
pub(crate) enum Stop<E> {
    /// Nothing until [`Until`] was over.
    Late,
    /// Something is wrong.
    Failed(E),
}

impl<E> From<E> for Stop<E> {
    fn from(error: E) -> Stop<E> {
        Stop::Failed(error)
    }
}

/// An open channel without a seat: takes seats, looks, removes.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let name = format!("doc-channel-{}", std::process::id());
/// let channel = sysring::spsc().create(&name)?;
/// let mut tx = channel.sender()?;
/// tx.send("kept in the kernel")?;
/// drop(tx);
/// let mut rx = channel.receiver()?;
/// assert_eq!(rx.recv_vec()?, b"kept in the kernel");
/// channel.remove()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Channel {
    shared: Arc<Shared>,
}

impl Channel {
    fn new(shared: Arc<Shared>) -> Channel {
        Channel { shared }
    }

    /// Takes a sender's seat. Does not block.
    ///
    /// # Errors
    /// [`OpenErrorKind::SeatTaken`] naming the process; [`OpenErrorKind::Removed`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("doc-mod-channel-sender-{}", std::process::id());
    /// let channel = sysring::spsc().create(&name)?;
    /// let mut tx = channel.sender()?;
    /// tx.send("a")?;
    /// assert!(channel.sender().is_err()); // the only seat is taken
    /// channel.remove()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn sender(&self) -> Result<Sender, OpenError> {
        let mut sender = Sender::unseated(&self.shared);
        sender.attach()?;
        Ok(sender)
    }

    /// Takes the receiver's seat. Does not block.
    ///
    /// # Errors
    /// [`OpenErrorKind::SeatTaken`] naming the process; [`OpenErrorKind::Removed`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("doc-mod-channel-receiver-{}", std::process::id());
    /// let channel = sysring::spsc().create(&name)?;
    /// channel.sender()?.send("a")?;
    /// assert_eq!(channel.receiver()?.recv_vec()?, b"a");
    /// channel.remove()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn receiver(&self) -> Result<Receiver, OpenError> {
        let mut receiver = Receiver::unseated(&self.shared);
        receiver.attach()?;
        Ok(receiver)
    }

    /// A picture of the channel, of this moment.
    ///
    /// # Errors
    /// [`OpenErrorKind::Removed`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("doc-mod-channel-stats-{}", std::process::id());
    /// let channel = sysring::spsc().create(&name)?;
    /// let _tx = channel.sender()?;
    /// assert_eq!(channel.stats()?.sender_attaches, 1);
    /// channel.remove()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn stats(&self) -> Result<Stats, OpenError> {
        stats::collect(&self.shared.view, &self.shared.address)
    }

    /// Removes the channel, as [`remove`] does.
    ///
    /// # Errors
    /// [`OpenErrorKind::PermissionDenied`] for anybody but its owner; [`OpenErrorKind::Removed`] if it was
    /// removed already.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("doc-mod-channel-remove-{}", std::process::id());
    /// let channel = sysring::spsc().create(&name)?;
    /// let mut tx = channel.sender()?;
    /// channel.remove()?;
    /// assert!(tx.send("late").unwrap_err().is_removed());
    /// # Ok(())
    /// # }
    /// ```
    pub fn remove(&self) -> Result<(), OpenError> {
        open::remove(&Address::id(self.id()))
    }

    /// The segment's id, as `ipcs -m` shows it.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sysring::Address;
    /// # let name = format!("doc-mod-channel-id-{}", std::process::id());
    /// let channel = sysring::spsc().create(&name)?;
    /// let same = sysring::spsc().open(Address::id(channel.id()))?;
    /// assert_eq!(same.name(), name);
    /// channel.remove()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn id(&self) -> i32 {
        self.shared.view.region().id()
    }

    /// The segment's key; 0 after removal.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sysring::Address;
    /// # let name = format!("doc-mod-channel-key-{}", std::process::id());
    /// let channel = sysring::spsc().create(&name)?;
    /// let same = sysring::spsc().open(Address::key(channel.key()))?;
    /// assert_eq!(same.id(), channel.id());
    /// channel.remove()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn key(&self) -> i32 {
        shm::stat(self.id()).map_or(0, |stat| stat.key)
    }

    /// The channel's name; empty if it was made under a raw key.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("doc-mod-channel-name-{}", std::process::id());
    /// let channel = sysring::spsc().create(&name)?;
    /// assert_eq!(channel.name(), name);
    /// channel.remove()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn name(&self) -> &str {
        self.shared.view.name()
    }

    /// For one sender or many.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sysring::{Builder, Kind};
    /// # let name = format!("doc-mod-channel-kind-{}", std::process::id());
    /// let channel = sysring::spsc().create(&name)?;
    /// assert_eq!(Builder::default().open(&name)?.kind(), Kind::Spsc); // whatever is there
    /// channel.remove()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn kind(&self) -> Kind {
        if self.shared.view.is_spsc() { Kind::Spsc } else { Kind::Mpsc }
    }

    /// Order across senders.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sysring::Order;
    /// # let name = format!("doc-mod-channel-order-{}", std::process::id());
    /// let channel = sysring::mpsc().create(&name)?;
    /// assert_eq!(channel.order(), Order::Total); // the default
    /// channel.remove()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn order(&self) -> Order {
        if self.shared.view.is_total() { Order::Total } else { Order::PerSender }
    }

    /// Bytes of each lane.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("doc-mod-channel-capacity-{}", std::process::id());
    /// let channel = sysring::spsc().create(&name)?;
    /// assert_eq!(channel.capacity(), 1 << 20); // the default
    /// channel.remove()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn capacity(&self) -> u64 {
        self.shared.view.geometry().capacity()
    }

    /// Largest message in bytes.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("doc-mod-channel-max-message-{}", std::process::id());
    /// let channel = sysring::spsc().create(&name)?;
    /// assert_eq!(channel.max_message(), channel.capacity() / 2 - 16); // the default
    /// channel.remove()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn max_message(&self) -> u64 {
        self.shared.view.max_message()
    }

    /// Number of sender seats.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("doc-mod-channel-senders-{}", std::process::id());
    /// let channel = sysring::mpsc().create(&name)?;
    /// assert_eq!(channel.senders(), 64); // the default
    /// channel.remove()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn senders(&self) -> u32 {
        self.shared.view.geometry().senders()
    }

    /// Whether senders wait for the next receiver.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("doc-mod-channel-persistent-{}", std::process::id());
    /// let channel = sysring::spsc().create(&name)?;
    /// assert!(channel.persistent()); // the default of named channels
    /// channel.remove()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn persistent(&self) -> bool {
        self.shared.view.is_persistent()
    }
}

fn count_in(shared: &Shared, side: PeerSide) {
    shared.here(side).fetch_add(1, Relaxed);
}

fn count_out(shared: &Shared, side: PeerSide) {
    shared.here(side).fetch_sub(1, Relaxed);
}
