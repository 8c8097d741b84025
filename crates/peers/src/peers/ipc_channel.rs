//! ipc-channel: its bytes channel, over a pair of sequenced-packet sockets. Both ends are made before the fork; a
//! one-shot server would only hand over the same sockets.

use std::sync::Mutex;

use ipc_channel::TryRecvError;
use ipc_channel::ipc::{self, IpcBytesReceiver, IpcBytesSender};

use crate::peer::{Peer, Rx, Setup, Tx, Wait};

/// The bytes channel.
#[derive(Debug)]
pub(crate) struct IpcChannel {
    sender: IpcBytesSender,
    /// Behind a lock since it is not `Sync`.
    receiver: Mutex<Option<IpcBytesReceiver>>,
    wait: Wait,
}

/// The receiving end.
#[derive(Debug)]
pub(crate) struct Receiver {
    receiver: IpcBytesReceiver,
    wait: Wait,
}

impl Peer for IpcChannel {
    const NAME: &'static str = "ipc-channel";
    type Tx = IpcBytesSender;
    type Rx = Receiver;

    fn make(setup: Setup) -> Option<IpcChannel> {
        let (sender, receiver) = ipc::bytes_channel().expect("a pair of sockets");
        Some(IpcChannel { sender, receiver: Mutex::new(Some(receiver)), wait: setup.wait })
    }

    fn sender(&self) -> IpcBytesSender {
        self.sender.clone()
    }

    fn receiver(&self) -> Receiver {
        let receiver = self.receiver.lock().expect("one thread").take().expect("one receiver");
        Receiver { receiver, wait: self.wait }
    }
}

impl Tx for IpcBytesSender {
    #[inline(always)]
    fn send(&mut self, message: &[u8]) {
        // It has no call that does not block when there is no room.
        IpcBytesSender::send(self, message).expect("sent");
    }
}

impl Receiver {
    /// Waits for the next message.
    #[inline(always)]
    fn next(&self) -> Vec<u8> {
        // `try_recv` switches the socket to not blocking and back: of use only to a side that spins.
        if self.wait != Wait::Spin {
            return self.receiver.recv().expect("received");
        }
        let mut looks = 0;
        loop {
            match self.receiver.try_recv() {
                Ok(message) => return message,
                Err(TryRecvError::Empty) => self.wait.moment(&mut looks),
                Err(error) => panic!("{error}"),
            }
        }
    }
}

impl Rx for Receiver {
    #[inline(always)]
    fn recv(&mut self, buffer: &mut [u8]) -> usize {
        let message = self.next();
        buffer[..message.len()].copy_from_slice(&message);
        message.len()
    }
}
