//! Channels: block, refuse, close, recover. No unsafe, no atomics of its own but the header's words.

mod address;
mod collect;
mod config;
mod interrupt;
mod open;
mod peers;
mod receiver;
mod sender;
mod shared;
mod stats;
mod tap;
mod trusted;

pub use address::Address;
pub use collect::{Collector, Finding, FindingKind, Outcome};
pub use config::{Builder, Fence, Kind, Order};
pub use interrupt::Interrupter;
pub use receiver::{BatchMessage, EndOfStream, Iter, Message, Receiver, RecvBatch, TryIter};
pub use sender::{SendBatch, Sender, Slot};
pub use stats::{LaneStats, Listed, Observer, SeatStats, Stats, list};
pub use tap::{Missed, Tap, Tapped, TappedMessage};
pub use trusted::{Frame, FrameMut, Trusted};

#[cfg(any(test, fuzzing))]
pub(crate) use {address::Target, stats::collect};

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::OpenError;
#[cfg(doc)]
use crate::error::OpenErrorKind;
use crate::sys::shm;
use crate::wait::CEILING;
use shared::Shared;

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
        if !self.shared.is_here() {
            return Err(self.shared.lost(shared::Loss::Evicted)); // the id means something else here
        }
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
