//! Kernel objects that outlive the processes using them, noted on the board so that none is left when a case is
//! ended by force.

use crate::board::Board;

/// What kind of object an id belongs to. None is 0: a slot with 0 is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Queue = 1,
    Semaphores = 2,
}

/// A System V object of this program. Removed when the process that made it drops it, and otherwise, by
/// [`Board::sweep`], after the case's end.
#[derive(Debug)]
pub(crate) struct Object {
    kind: Kind,
    id: i32,
    owner: u32,
}

impl Object {
    /// A message queue.
    pub(crate) fn queue() -> Object {
        // SAFETY: takes numbers.
        let id = unsafe { libc::msgget(libc::IPC_PRIVATE, libc::IPC_CREAT | 0o600) };
        Object::keep(Kind::Queue, id, "msgget")
    }

    /// A set of so many semaphores, all 0.
    pub(crate) fn semaphores(count: i32) -> Object {
        // SAFETY: takes numbers.
        let id = unsafe { libc::semget(libc::IPC_PRIVATE, count, libc::IPC_CREAT | 0o600) };
        Object::keep(Kind::Semaphores, id, "semget")
    }

    fn keep(kind: Kind, id: i32, call: &str) -> Object {
        assert!(id >= 0, "{call}: {}", std::io::Error::last_os_error());
        // Made before it is noted, so that it is removed even if there is no place for a note.
        let object = Object { kind, id, owner: std::process::id() };
        Board::current().note(word(kind, id));
        object
    }

    pub(crate) fn id(&self) -> i32 {
        self.id
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        // Forked children drop what they inherited too.
        if self.owner == std::process::id() {
            // First removed, then forgotten: an id that is noted for too long is harmless, as the kernel gives a
            // number out again only after thousands of others.
            remove(self.kind, self.id);
            Board::current().forget(word(self.kind, self.id));
        }
    }
}

/// A kind and an id as they stand on the board.
fn word(kind: Kind, id: i32) -> u64 {
    (kind as u64) << 32 | u64::from(id as u32)
}

/// Removes what a word on the board stands for; nothing happens if it is gone.
pub(crate) fn remove_noted(word: u64) {
    let kinds = [Kind::Queue, Kind::Semaphores];
    let kind = kinds.into_iter().find(|kind| *kind as u64 == word >> 32);
    remove(kind.expect("a word made here"), word as u32 as i32);
}

fn remove(kind: Kind, id: i32) {
    match kind {
        // SAFETY: marks our own queue; nothing is written.
        Kind::Queue => unsafe { libc::msgctl(id, libc::IPC_RMID, std::ptr::null_mut()) },
        // SAFETY: removes our own set; the command takes no fourth argument.
        Kind::Semaphores => unsafe { libc::semctl(id, 0, libc::IPC_RMID) },
    };
}
