//! What the kernel itself offers: a pipe, a socket pair and the two kinds of message queues.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

use crate::object::Object;
use crate::peer::{Peer, Rx, Setup, Tx, Wait};

/// Most that a pipe takes without privileges (`/proc/sys/fs/pipe-max-size`).
const PIPE_MAX: usize = 1 << 20;
/// Messages that a POSIX queue holds at most without privileges (`/proc/sys/fs/mqueue/msg_max`).
const MQ_MESSAGES: usize = 10;
/// Bytes of a message of either queue at most (`/proc/sys/fs/mqueue/msgsize_max`, `/proc/sys/kernel/msgmax`).
const QUEUE_SIZE: usize = 8192;

/// Repeats a system call until it has done something. One that does not block says that there is nothing to do, and
/// a moment passes.
#[inline(always)]
fn until_done(wait: Wait, mut call: impl FnMut() -> isize) -> usize {
    let mut looks = 0;
    loop {
        let result = call();
        if result >= 0 {
            return result as usize;
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::ENOMSG) if !wait.is_blocking() => wait.moment(&mut looks),
            Some(libc::EINTR) => {}
            _ => panic!("a message did not pass: {error}"),
        }
    }
}

/// What a call gave that makes things, if it did not fail.
fn made(result: i32, call: &str) -> i32 {
    assert!(result >= 0, "{call}: {}", io::Error::last_os_error());
    result
}

/// A descriptor that a call has just made.
fn owned(descriptor: i32) -> OwnedFd {
    // SAFETY: the caller has it from the call that made it, and has checked it; nobody else closes it.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

/// One end of the peers that are used by a descriptor.
#[derive(Debug)]
pub(crate) struct End<const WHICH: u8> {
    descriptor: OwnedFd,
    wait: Wait,
}

impl<const WHICH: u8> End<WHICH> {
    /// The same open pipe end, socket or queue, by a descriptor of its own.
    fn new(descriptor: &OwnedFd, wait: Wait) -> Self {
        End { descriptor: descriptor.try_clone().expect("a free descriptor"), wait }
    }
}

const PIPE: u8 = 0;
const SEQPACKET: u8 = 1;
const POSIX_MQ: u8 = 2;

/// `pipe(2)`: a byte stream, cut into messages of the fixed size.
#[derive(Debug)]
pub(crate) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    wait: Wait,
}

impl Peer for Pipe {
    const NAME: &'static str = "pipe";
    type Tx = End<PIPE>;
    type Rx = End<PIPE>;

    fn make(setup: Setup) -> Option<Pipe> {
        if setup.senders > 1 && setup.size > libc::PIPE_BUF {
            return None; // parts of messages of several senders would mix
        }
        let mut ends = [0; 2];
        let flags = libc::O_CLOEXEC | if setup.wait.is_blocking() { 0 } else { libc::O_NONBLOCK };
        // SAFETY: writes two descriptors into our array.
        made(unsafe { libc::pipe2(ends.as_mut_ptr(), flags) }, "pipe2");
        let (read, write) = (owned(ends[0]), owned(ends[1]));
        let room = setup.room.min(PIPE_MAX) as i32;
        // SAFETY: takes numbers.
        made(unsafe { libc::fcntl(write.as_raw_fd(), libc::F_SETPIPE_SZ, room) }, "F_SETPIPE_SZ");
        Some(Pipe { read, write, wait: setup.wait })
    }

    fn sender(&self) -> End<PIPE> {
        End::new(&self.write, self.wait)
    }

    fn receiver(&self) -> End<PIPE> {
        End::new(&self.read, self.wait)
    }
}

impl Tx for End<PIPE> {
    #[inline(always)]
    fn send(&mut self, message: &[u8]) {
        let (pipe, mut rest) = (self.descriptor.as_raw_fd(), message);
        while !rest.is_empty() {
            // SAFETY: reads the rest of the message.
            let sent =
                until_done(self.wait, || unsafe { libc::write(pipe, rest.as_ptr().cast(), rest.len()) });
            rest = &rest[sent..];
        }
    }
}

impl Rx for End<PIPE> {
    #[inline(always)]
    fn recv(&mut self, buffer: &mut [u8]) -> usize {
        let (pipe, mut filled) = (self.descriptor.as_raw_fd(), 0);
        while filled < buffer.len() {
            let rest = &mut buffer[filled..];
            // SAFETY: writes into the rest of the buffer.
            let read =
                until_done(self.wait, || unsafe { libc::read(pipe, rest.as_mut_ptr().cast(), rest.len()) });
            assert_ne!(read, 0, "the pipe ended");
            filled += read;
        }
        filled
    }
}

/// A pair of `AF_UNIX` sockets that keep messages apart; several senders share theirs.
#[derive(Debug)]
pub(crate) struct Seqpacket {
    tx: OwnedFd,
    rx: OwnedFd,
    wait: Wait,
}

impl Seqpacket {
    /// Whether the sockets take a message of that size: one is sent and received.
    fn takes(&self, size: usize) -> bool {
        let mut message = vec![0u8; size];
        let (tx, rx) = (self.tx.as_raw_fd(), self.rx.as_raw_fd());
        // SAFETY: reads the message.
        let sent = unsafe { libc::send(tx, message.as_ptr().cast(), size, libc::MSG_DONTWAIT) };
        if sent < 0 {
            return false;
        }
        // SAFETY: writes into the message.
        let received = unsafe { libc::recv(rx, message.as_mut_ptr().cast(), size, libc::MSG_DONTWAIT) };
        assert_eq!((sent, received), (size as isize, size as isize), "a socket that cuts messages");
        true
    }
}

impl Peer for Seqpacket {
    const NAME: &'static str = "seqpacket";
    type Tx = End<SEQPACKET>;
    type Rx = End<SEQPACKET>;

    fn make(setup: Setup) -> Option<Seqpacket> {
        let mut ends = [0; 2];
        let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
        // SAFETY: writes two descriptors into our array.
        made(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) }, "socketpair");
        let pair = Seqpacket { tx: owned(ends[0]), rx: owned(ends[1]), wait: setup.wait };
        let room = setup.room as i32;
        for (end, option) in [(&pair.tx, libc::SO_SNDBUF), (&pair.rx, libc::SO_RCVBUF)] {
            let (end, size) = (end.as_raw_fd(), size_of_val(&room) as u32);
            // SAFETY: reads one number of ours. The kernel takes it down to its limit.
            let result =
                unsafe { libc::setsockopt(end, libc::SOL_SOCKET, option, (&raw const room).cast(), size) };
            made(result, "setsockopt");
        }
        pair.takes(setup.size).then_some(pair)
    }

    fn sender(&self) -> End<SEQPACKET> {
        End::new(&self.tx, self.wait)
    }

    fn receiver(&self) -> End<SEQPACKET> {
        End::new(&self.rx, self.wait)
    }
}

/// Flags of a call on a socket.
#[inline(always)]
fn socket_flags(wait: Wait) -> i32 {
    if wait.is_blocking() { 0 } else { libc::MSG_DONTWAIT }
}

impl Tx for End<SEQPACKET> {
    #[inline(always)]
    fn send(&mut self, message: &[u8]) {
        let (socket, flags) = (self.descriptor.as_raw_fd(), socket_flags(self.wait) | libc::MSG_NOSIGNAL);
        // SAFETY: reads the message.
        until_done(self.wait, || unsafe {
            libc::send(socket, message.as_ptr().cast(), message.len(), flags)
        });
    }
}

impl Rx for End<SEQPACKET> {
    #[inline(always)]
    fn recv(&mut self, buffer: &mut [u8]) -> usize {
        let (socket, flags) = (self.descriptor.as_raw_fd(), socket_flags(self.wait) | libc::MSG_TRUNC);
        // SAFETY: writes into the buffer, not behind it; the message's own length comes back.
        until_done(self.wait, || unsafe {
            libc::recv(socket, buffer.as_mut_ptr().cast(), buffer.len(), flags)
        })
    }
}

/// A POSIX message queue within the default limits; without a name as soon as it is open.
#[derive(Debug)]
pub(crate) struct PosixMq {
    queue: OwnedFd, // on Linux a queue is a descriptor
    wait: Wait,
}

impl Peer for PosixMq {
    const NAME: &'static str = "posix-mq";
    type Tx = End<POSIX_MQ>;
    type Rx = End<POSIX_MQ>;

    fn make(setup: Setup) -> Option<PosixMq> {
        if setup.size > QUEUE_SIZE {
            return None;
        }
        let name = CString::new(format!("/sysring-peers-{}", std::process::id())).expect("no zero in it");
        // SAFETY: zeroes are valid attributes.
        let mut attributes: libc::mq_attr = unsafe { std::mem::zeroed() };
        attributes.mq_maxmsg = setup.slots().min(MQ_MESSAGES) as i64;
        attributes.mq_msgsize = setup.size as i64;
        let access = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC;
        let flags = access | if setup.wait.is_blocking() { 0 } else { libc::O_NONBLOCK };
        // SAFETY: reads the name and the attributes, both ours; mode and attributes go with O_CREAT.
        let queue =
            unsafe { libc::mq_open(name.as_ptr(), flags, 0o600 as libc::mode_t, &raw mut attributes) };
        let queue = owned(made(queue, "mq_open"));
        // SAFETY: reads the name.
        made(unsafe { libc::mq_unlink(name.as_ptr()) }, "mq_unlink");
        Some(PosixMq { queue, wait: setup.wait })
    }

    fn sender(&self) -> End<POSIX_MQ> {
        End::new(&self.queue, self.wait)
    }

    fn receiver(&self) -> End<POSIX_MQ> {
        self.sender()
    }
}

impl Tx for End<POSIX_MQ> {
    #[inline(always)]
    fn send(&mut self, message: &[u8]) {
        let (queue, wait) = (self.descriptor.as_raw_fd(), self.wait);
        // SAFETY: reads the message.
        until_done(wait, || unsafe { libc::mq_send(queue, message.as_ptr().cast(), message.len(), 0) }
            as isize);
    }
}

impl Rx for End<POSIX_MQ> {
    #[inline(always)]
    fn recv(&mut self, buffer: &mut [u8]) -> usize {
        let (queue, size) = (self.descriptor.as_raw_fd(), buffer.len());
        let place = buffer.as_mut_ptr().cast();
        // SAFETY: writes into the buffer, which has the queue's message size.
        until_done(self.wait, || unsafe { libc::mq_receive(queue, place, size, ptr::null_mut()) })
    }
}

/// A System V message queue of the default size, 16 KiB.
#[derive(Debug)]
pub(crate) struct SysvMsg {
    queue: Object,
    wait: Wait,
}

/// One end of [`SysvMsg`].
#[derive(Debug)]
pub(crate) struct SysvMsgEnd {
    queue: i32,
    wait: Wait,
    /// The calls want a type in front of the message, so that it is copied once more on its way.
    message: Box<Message>,
}

/// As the calls want it.
#[repr(C)]
#[derive(Debug)]
struct Message {
    kind: libc::c_long,
    text: [u8; QUEUE_SIZE],
}

impl Peer for SysvMsg {
    const NAME: &'static str = "sysv-msg";
    type Tx = SysvMsgEnd;
    type Rx = SysvMsgEnd;

    fn make(setup: Setup) -> Option<SysvMsg> {
        if setup.size > QUEUE_SIZE {
            return None;
        }
        Some(SysvMsg { queue: Object::queue(), wait: setup.wait })
    }

    fn sender(&self) -> SysvMsgEnd {
        let message = Box::new(Message { kind: 1, text: [0; QUEUE_SIZE] });
        SysvMsgEnd { queue: self.queue.id(), wait: self.wait, message }
    }

    fn receiver(&self) -> SysvMsgEnd {
        self.sender()
    }
}

impl SysvMsgEnd {
    #[inline(always)]
    fn flags(&self) -> i32 {
        if self.wait.is_blocking() { 0 } else { libc::IPC_NOWAIT }
    }
}

impl Tx for SysvMsgEnd {
    #[inline(always)]
    fn send(&mut self, message: &[u8]) {
        let (queue, size, flags) = (self.queue, message.len(), self.flags());
        self.message.text[..size].copy_from_slice(message);
        let place = (&raw const *self.message).cast();
        // SAFETY: reads a type and so many bytes, which `make` found to fit.
        until_done(self.wait, || unsafe { libc::msgsnd(queue, place, size, flags) } as isize);
    }
}

impl Rx for SysvMsgEnd {
    #[inline(always)]
    fn recv(&mut self, buffer: &mut [u8]) -> usize {
        let (queue, size, flags) = (self.queue, buffer.len(), self.flags());
        let place = (&raw mut *self.message).cast();
        // SAFETY: writes a type and so many bytes at most, which `make` found to fit.
        let length = until_done(self.wait, || unsafe { libc::msgrcv(queue, place, size, 0, flags) });
        buffer[..length].copy_from_slice(&self.message.text[..length]);
        length
    }
}
