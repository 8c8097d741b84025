//! Sleeping on one semaphore of a System V set.

use core::time::Duration;

use super::{Park, Unparked};
use crate::sys::{Errno, sem};

/// One doorbell: a semaphore with at most one sleeper.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Semaphore {
    pub(crate) set: i32,
    pub(crate) index: u16,
}

impl Park for Semaphore {
    fn park(&self, limit: Duration) -> Unparked {
        match sem::op_timeout(self.set, &[sem::Op::take(self.index, 1)], Some(limit)) {
            Ok(()) => Unparked::Unit,
            Err(Errno::EAGAIN) => Unparked::Limit,
            Err(Errno::EINTR) => Unparked::Signal,
            Err(errno) => Unparked::Failed(errno),
        }
    }

    fn unpark(&self) -> Result<(), Errno> {
        match sem::op_at_once(self.set, &[sem::Op::add(self.index, 1).no_wait()]) {
            // Full of units: whoever sleeps there will wake.
            Ok(()) | Err(Errno::EAGAIN | Errno::ERANGE) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}
