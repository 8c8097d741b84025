//! In-place access, behind the one promise of [`Sender::trust_peers`] and [`Receiver::trust_peers`].

#![allow(unsafe_code)] // turns payloads into slices, which the promise allows

use core::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use super::{Message, Receiver, Sender, Until};
use crate::error::{RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError};
use crate::lane::Reservation;

/// A handle whose owner trusts everybody who can write to the segment. Everything else of the handle is reached
/// through it.
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
    pub fn try_recv(&mut self) -> Result<Frame<'_>, TryRecvError> {
        self.handle.next_in_place(Until::Now).map(Frame).map_err(|halt| halt.of_try())
    }

    /// Receives a message in place; waits for one.
    ///
    /// # Errors
    /// As [`Receiver::recv`].
    pub fn recv(&mut self) -> Result<Frame<'_>, RecvError> {
        self.handle.next_in_place(Until::Done).map(Frame).map_err(|halt| halt.of_plain())
    }

    /// As [`Trusted::recv`]; waits at most `limit`.
    ///
    /// # Errors
    /// As [`Receiver::recv_timeout`].
    pub fn recv_timeout(&mut self, limit: Duration) -> Result<Frame<'_>, RecvTimeoutError> {
        self.handle.next_in_place(Until::timeout(limit)).map(Frame).map_err(|halt| halt.of_timeout())
    }

    /// As [`Trusted::recv`]; waits until `deadline`.
    ///
    /// # Errors
    /// As [`Receiver::recv_deadline`].
    pub fn recv_deadline(&mut self, deadline: Instant) -> Result<Frame<'_>, RecvTimeoutError> {
        self.handle.next_in_place(Until::Deadline(deadline)).map(Frame).map_err(|halt| halt.of_timeout())
    }
}

/// Room for one message, in place: a `&mut [u8]` into the segment. Holds what older messages left there. Nothing
/// is visible before [`FrameMut::commit`]; dropping it aborts.
#[derive(Debug)]
pub struct FrameMut<'a> {
    sender: &'a mut Sender,
    reservation: Reservation,
    length: usize,
    identity: u64,
}

impl FrameMut<'_> {
    /// Makes the message shorter. Lengths above the present one change nothing.
    pub fn truncate(&mut self, len: usize) {
        self.length = self.length.min(len);
    }

    /// Publishes the message and wakes the receiver if it sleeps. Does not block.
    ///
    /// # Errors
    /// As [`Slot::commit`](crate::Slot::commit).
    pub fn commit(self) -> Result<(), SendError<()>> {
        self.sender.commit(self.reservation, self.length, self.identity)
    }
}

impl Deref for FrameMut<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let (lane, payload) = self.sender.reserved_lane(&self.reservation);
        // SAFETY: reserved by the lane's only producer and not published; peers keep to the protocol by the
        // promise of `trust_peers`.
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
#[derive(Debug)]
pub struct Frame<'a>(Message<'a>);

impl Frame<'_> {
    /// Number of the sender's lane.
    pub fn lane(&self) -> u32 {
        self.0.lane()
    }

    /// Whether it was handed out before.
    pub fn redelivered(&self) -> bool {
        self.0.redelivered()
    }
}

impl Deref for Frame<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let (lane, payload) = self.0.place();
        // SAFETY: published and not released while the guard lives; peers keep to the protocol by the promise of
        // `trust_peers`.
        unsafe { lane.slice(payload, self.0.len()) }
    }
}
