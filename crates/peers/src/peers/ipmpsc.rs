//! Crate ipmpsc: a ring of serialized messages in a file, under a mutex and a condition that processes share.

use std::fs::File;
use std::time::Duration;

use ipmpsc::{Receiver, Sender, SharedRingBuffer};
use serde_bytes::Bytes;

use super::{path, unnamed_file};
use crate::peer::{Peer, Rx, Setup, Tx, Wait};

/// Bytes beside the payload: its length in the ring, and once more in the serialized form.
const HEADER: usize = 12;

/// One ring, opened anew by each side.
#[derive(Debug)]
pub(crate) struct Ipmpsc {
    file: File,
    wait: Wait,
}

impl Peer for Ipmpsc {
    const NAME: &'static str = "ipmpsc";
    type Tx = IpmpscTx;
    type Rx = IpmpscRx;

    fn make(setup: Setup) -> Option<Ipmpsc> {
        let file = unnamed_file(c"ipmpsc");
        let bytes = setup.slots() * (setup.size + HEADER);
        let bytes = bytes.try_into().expect("less than 4 GiB");
        SharedRingBuffer::create(&path(&file), bytes).expect("a ring in a new file");
        Some(Ipmpsc { file, wait: setup.wait })
    }

    fn sender(&self) -> IpmpscTx {
        IpmpscTx { ring: Sender::new(self.open()), wait: self.wait }
    }

    fn receiver(&self) -> IpmpscRx {
        IpmpscRx { ring: Receiver::new(self.open()), wait: self.wait }
    }
}

impl Ipmpsc {
    fn open(&self) -> SharedRingBuffer {
        SharedRingBuffer::open(&path(&self.file)).expect("the ring that `make` made")
    }
}

/// The sending end of [`Ipmpsc`].
pub(crate) struct IpmpscTx {
    ring: Sender,
    wait: Wait,
}

/// The receiving end of [`Ipmpsc`].
pub(crate) struct IpmpscRx {
    ring: Receiver,
    wait: Wait,
}

impl Tx for IpmpscTx {
    #[inline(always)]
    fn send(&mut self, message: &[u8]) {
        let message = Bytes::new(message);
        if self.wait.is_blocking() {
            return self.ring.send(&message).expect("sent");
        }
        let mut looks = 0;
        while !self.ring.send_timeout(&message, Duration::ZERO).expect("sent, or no room") {
            self.wait.moment(&mut looks);
        }
    }
}

impl Rx for IpmpscRx {
    #[inline(always)]
    fn recv(&mut self, buffer: &mut [u8]) -> usize {
        let copy = |message: &Bytes, buffer: &mut [u8]| {
            buffer[..message.len()].copy_from_slice(message);
            message.len()
        };
        if self.wait.is_blocking() {
            return copy(self.ring.zero_copy_context().recv().expect("received"), buffer);
        }
        let mut looks = 0;
        loop {
            let mut context = self.ring.zero_copy_context();
            if let Some(message) = context.try_recv().expect("a message or none") {
                return copy(message, buffer);
            }
            self.wait.moment(&mut looks);
        }
    }
}
