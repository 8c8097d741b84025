//! In-place access, behind the one promise of [`Sender::trust_peers`] and [`Receiver::trust_peers`].

#![allow(unsafe_code)] // turns payloads into slices, which the promise allows

use core::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use super::{Message, Receiver, Sender, Until};
use crate::error::{RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError};
use crate::lane::Reservation;

/// Why a handle gives no access in place: it was put where a trusted one had been (`*trusted = other`).
pub(super) const NO_PROMISE: &str = "trust_peers was not called for this handle";

/// A handle whose owner trusts everybody who can write to the segment. Everything else of the handle is reached
/// through it. The promise is the handle's: where another one is put in its place, calls in place panic.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (tx, rx) = sysring::spsc().pair()?;
/// // SAFETY: only this process has the anonymous channel, and it does not fork.
/// let (mut tx, mut rx) = unsafe { (tx.trust_peers(), rx.trust_peers()) };
/// let mut frame = tx.reserve(8)?;
/// frame.copy_from_slice(b"in place");
/// frame.commit()?;
/// assert_eq!(&*rx.recv()?, b"in place");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Trusted<T> {
    handle: T,
}

impl<T> Trusted<T> {
    /// Only from `trust_peers`, whose caller makes the promise.
    pub(super) fn new(handle: T) -> Trusted<T> {
        Trusted { handle }
    }

    /// The handle without in-place access.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sysring::Sender;
    /// let (tx, mut rx) = sysring::spsc().pair()?;
    /// // SAFETY: only this process has the anonymous channel, and it does not fork.
    /// let mut tx = unsafe { tx.trust_peers() };
    /// let mut tx: Sender = tx.into_inner(); // `reserve` gives a `Slot` again
    /// tx.send("a")?;
    /// assert_eq!(rx.recv_vec()?, b"a");
    /// # Ok(())
    /// # }
    /// ```
    pub fn into_inner(self) -> T {
        self.handle
    }
}

impl<T> Deref for Trusted<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.handle
    }
}

impl<T> DerefMut for Trusted<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.handle
    }
}

impl Trusted<Sender> {
    /// Reserves room for a message of `len` bytes, written where it lies. Does not wait.
    ///
    /// # Errors
    /// As [`Sender::try_reserve`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (tx, _rx) = sysring::spsc().capacity(4096).pair()?;
    /// // SAFETY: only this process has the anonymous channel, and it does not fork.
    /// let mut tx = unsafe { tx.trust_peers() };
    /// while tx.try_send([7; 56]).is_ok() {}
    /// assert!(tx.try_reserve(56).unwrap_err().is_full());
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_reserve(&mut self, len: usize) -> Result<FrameMut<'_>, TrySendError<()>> {
        match self.handle.reserve_in_place(len, Until::Now) {
            Ok(reservation) => Ok(self.frame(reservation, len)),
            Err(halt) => Err(halt.of_try(())),
        }
    }

    /// Reserves room for a message of `len` bytes, written where it lies; waits for it.
    ///
    /// # Errors
    /// As [`Sender::reserve`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (tx, mut rx) = sysring::spsc().pair()?;
    /// // SAFETY: only this process has the anonymous channel, and it does not fork.
    /// let mut tx = unsafe { tx.trust_peers() };
    /// let mut frame = tx.reserve(4)?;
    /// frame.copy_from_slice(&42u32.to_le_bytes());
    /// frame.commit()?;
    /// assert_eq!(rx.recv_vec()?, 42u32.to_le_bytes());
    /// # Ok(())
    /// # }
    /// ```
    pub fn reserve(&mut self, len: usize) -> Result<FrameMut<'_>, SendError<()>> {
        match self.handle.reserve_in_place(len, Until::Done) {
            Ok(reservation) => Ok(self.frame(reservation, len)),
            Err(halt) => Err(halt.of_plain(())),
        }
    }

    /// As [`Trusted::reserve`]; waits at most `limit`.
    ///
    /// # Errors
    /// As [`Sender::reserve_timeout`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// let (tx, _rx) = sysring::spsc().capacity(4096).pair()?;
    /// // SAFETY: only this process has the anonymous channel, and it does not fork.
    /// let mut tx = unsafe { tx.trust_peers() };
    /// while tx.try_send([7; 56]).is_ok() {}
    /// assert!(tx.reserve_timeout(56, Duration::from_millis(1)).unwrap_err().is_timeout());
    /// # Ok(())
    /// # }
    /// ```
    pub fn reserve_timeout(
        &mut self,
        len: usize,
        limit: Duration,
    ) -> Result<FrameMut<'_>, SendTimeoutError<()>> {
        match self.handle.reserve_in_place(len, Until::timeout(limit)) {
            Ok(reservation) => Ok(self.frame(reservation, len)),
            Err(halt) => Err(halt.of_timeout(())),
        }
    }

    /// As [`Trusted::reserve`]; waits until `deadline`.
    ///
    /// # Errors
    /// As [`Sender::reserve_deadline`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::{Duration, Instant};
    /// let (tx, mut rx) = sysring::spsc().pair()?;
    /// // SAFETY: only this process has the anonymous channel, and it does not fork.
    /// let mut tx = unsafe { tx.trust_peers() };
    /// let mut frame = tx.reserve_deadline(1, Instant::now() + Duration::from_secs(5))?;
    /// frame[0] = b'x';
    /// frame.commit()?;
    /// assert_eq!(rx.recv_vec()?, b"x");
    /// # Ok(())
    /// # }
    /// ```
    pub fn reserve_deadline(
        &mut self,
        len: usize,
        deadline: Instant,
    ) -> Result<FrameMut<'_>, SendTimeoutError<()>> {
        match self.handle.reserve_in_place(len, Until::Deadline(deadline)) {
            Ok(reservation) => Ok(self.frame(reservation, len)),
            Err(halt) => Err(halt.of_timeout(())),
        }
    }

    fn frame(&mut self, reservation: Reservation, length: usize) -> FrameMut<'_> {
        FrameMut { identity: self.handle.identity(), sender: &mut self.handle, reservation, length }
    }
}

impl Trusted<Receiver> {
    /// Receives a message in place if there is one. Does not wait.
    ///
    /// # Errors
    /// As [`Receiver::try_recv`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, rx) = sysring::spsc().pair()?;
    /// // SAFETY: only this process has the anonymous channel, and it does not fork.
    /// let mut rx = unsafe { rx.trust_peers() };
    /// assert!(rx.try_recv().unwrap_err().is_empty());
    /// tx.send("a")?;
    /// assert_eq!(&*rx.try_recv()?, b"a");
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_recv(&mut self) -> Result<Frame<'_>, TryRecvError> {
        self.handle.next_in_place(Until::Now).map(Frame).map_err(|halt| halt.of_try())
    }

    /// Receives a message in place; waits for one.
    ///
    /// # Errors
    /// As [`Receiver::recv`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, rx) = sysring::spsc().pair()?;
    /// // SAFETY: only this process has the anonymous channel, and it does not fork.
    /// let mut rx = unsafe { rx.trust_peers() };
    /// tx.send("key=value")?;
    /// let frame = rx.recv()?;
    /// assert_eq!(frame.split(|&byte| byte == b'=').count(), 2); // parsed where it lies
    /// # Ok(())
    /// # }
    /// ```
    pub fn recv(&mut self) -> Result<Frame<'_>, RecvError> {
        self.handle.next_in_place(Until::Done).map(Frame).map_err(|halt| halt.of_plain())
    }

    /// As [`Trusted::recv`]; waits at most `limit`.
    ///
    /// # Errors
    /// As [`Receiver::recv_timeout`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// let (mut tx, rx) = sysring::spsc().pair()?;
    /// // SAFETY: only this process has the anonymous channel, and it does not fork.
    /// let mut rx = unsafe { rx.trust_peers() };
    /// tx.send("a")?;
    /// assert_eq!(&*rx.recv_timeout(Duration::from_secs(5))?, b"a");
    /// assert!(rx.recv_timeout(Duration::from_millis(1)).unwrap_err().is_timeout());
    /// # Ok(())
    /// # }
    /// ```
    pub fn recv_timeout(&mut self, limit: Duration) -> Result<Frame<'_>, RecvTimeoutError> {
        self.handle.next_in_place(Until::timeout(limit)).map(Frame).map_err(|halt| halt.of_timeout())
    }

    /// As [`Trusted::recv`]; waits until `deadline`.
    ///
    /// # Errors
    /// As [`Receiver::recv_deadline`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::{Duration, Instant};
    /// let (mut tx, rx) = sysring::spsc().pair()?;
    /// // SAFETY: only this process has the anonymous channel, and it does not fork.
    /// let mut rx = unsafe { rx.trust_peers() };
    /// tx.send("a")?;
    /// assert_eq!(&*rx.recv_deadline(Instant::now() + Duration::from_secs(5))?, b"a");
    /// # Ok(())
    /// # }
    /// ```
    pub fn recv_deadline(&mut self, deadline: Instant) -> Result<Frame<'_>, RecvTimeoutError> {
        self.handle.next_in_place(Until::Deadline(deadline)).map(Frame).map_err(|halt| halt.of_timeout())
    }
}

/// Room for one message, in place: a `&mut [u8]` into the segment. Holds what older messages left there. Nothing
/// is visible before [`FrameMut::commit`]; dropping it aborts.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (tx, mut rx) = sysring::spsc().pair()?;
/// // SAFETY: only this process has the anonymous channel, and it does not fork.
/// let mut tx = unsafe { tx.trust_peers() };
/// let mut frame = tx.reserve(3)?;
/// for (index, byte) in frame.iter_mut().enumerate() {
///     *byte = index as u8;
/// }
/// frame.commit()?;
/// assert_eq!(rx.recv_vec()?, [0, 1, 2]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct FrameMut<'a> {
    sender: &'a mut Sender,
    reservation: Reservation,
    length: usize,
    identity: u64,
}

impl FrameMut<'_> {
    /// Makes the message shorter. Lengths above the present one change nothing.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (tx, mut rx) = sysring::spsc().pair()?;
    /// // SAFETY: only this process has the anonymous channel, and it does not fork.
    /// let mut tx = unsafe { tx.trust_peers() };
    /// let mut frame = tx.reserve(100)?; // as long as it may become
    /// frame[..5].copy_from_slice(b"short");
    /// frame.truncate(5);
    /// frame.commit()?;
    /// assert_eq!(rx.recv_vec()?, b"short");
    /// # Ok(())
    /// # }
    /// ```
    pub fn truncate(&mut self, len: usize) {
        self.length = self.length.min(len);
    }

    /// Publishes the message and wakes the receiver if it sleeps. Does not block.
    ///
    /// # Errors
    /// As [`Slot::commit`](crate::Slot::commit).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (tx, mut rx) = sysring::spsc().pair()?;
    /// // SAFETY: only this process has the anonymous channel, and it does not fork.
    /// let mut tx = unsafe { tx.trust_peers() };
    /// drop(tx.reserve(1)?); // aborted
    /// let mut frame = tx.reserve(1)?;
    /// frame[0] = b'x';
    /// frame.commit()?;
    /// assert_eq!(rx.recv_vec()?, b"x");
    /// # Ok(())
    /// # }
    /// ```
    pub fn commit(self) -> Result<(), SendError<()>> {
        self.sender.commit(self.reservation, self.length, self.identity)
    }
}

impl Deref for FrameMut<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let (lane, payload) = self.sender.reserved_lane(&self.reservation);
        // SAFETY: reserved by the lane's only producer and not published; peers keep to the protocol by the
        // promise of `trust_peers`, which `reserve_in_place` has found to be made for this handle.
        unsafe { lane.slice(payload, self.length) }
    }
}

impl DerefMut for FrameMut<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        let (lane, payload) = self.sender.reserved_lane(&self.reservation);
        // SAFETY: as in `deref`; `&mut self` makes the slice the only one.
        unsafe { lane.slice_mut(payload, self.length) }
    }
}

/// A received message in place: a `&[u8]` into the segment; released when dropped.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (mut tx, rx) = sysring::spsc().pair()?;
/// // SAFETY: only this process has the anonymous channel, and it does not fork.
/// let mut rx = unsafe { rx.trust_peers() };
/// tx.send([1, 2, 3])?;
/// let sum: u8 = rx.recv()?.iter().sum();
/// assert_eq!(sum, 6);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Frame<'a>(Message<'a>);

impl Frame<'_> {
    /// Number of the sender's lane.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, rx) = sysring::spsc().pair()?;
    /// // SAFETY: only this process has the anonymous channel, and it does not fork.
    /// let mut rx = unsafe { rx.trust_peers() };
    /// tx.send("a")?;
    /// assert_eq!(rx.recv()?.lane(), 0); // an SPSC channel has one
    /// # Ok(())
    /// # }
    /// ```
    pub fn lane(&self) -> u32 {
        self.0.lane()
    }

    /// Whether it was handed out before.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut tx, rx) = sysring::spsc().pair()?;
    /// // SAFETY: only this process has the anonymous channel, and it does not fork.
    /// let mut rx = unsafe { rx.trust_peers() };
    /// tx.send("a")?;
    /// std::mem::forget(rx.recv()?); // never released, as if the receiver had been killed
    /// assert!(rx.recv()?.redelivered());
    /// # Ok(())
    /// # }
    /// ```
    pub fn redelivered(&self) -> bool {
        self.0.redelivered()
    }
}

impl Deref for Frame<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let (lane, payload) = self.0.place();
        // SAFETY: published and not released while the guard lives; peers keep to the protocol by the promise of
        // `trust_peers`, which `next_in_place` has found to be made for this handle.
        unsafe { lane.slice(payload, self.0.len()) }
    }
}
