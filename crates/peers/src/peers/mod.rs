//! The peers, one module for each family.

pub(crate) mod iceoryx2;
pub(crate) mod ipc_channel;
pub(crate) mod ipmpsc;
pub(crate) mod kernel;
pub(crate) mod ours;
pub(crate) mod reference;
pub(crate) mod ringfire;
pub(crate) mod shaq;
pub(crate) mod shm_ring;
pub(crate) mod shmem_ipc;
pub(crate) mod threads;

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};

/// An empty file in memory without a name, gone with the last process that has it open or mapped.
fn unnamed_file(label: &CStr) -> File {
    // SAFETY: the label is a C string; the call makes a descriptor of our own or fails.
    let file = unsafe { libc::memfd_create(label.as_ptr(), libc::MFD_CLOEXEC) };
    assert!(file >= 0, "memfd_create: {}", io::Error::last_os_error());
    // SAFETY: the descriptor is new and nobody else's.
    unsafe { File::from_raw_fd(file) }
}

/// A path under which this process, and its children, can open such a file anew.
fn path(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}
