//! Segments: size, content, removal under use, who counts as attached, read-only attachments.

use std::sync::atomic::Ordering::Relaxed;

use crate::calls::{SHM_DEST, SIZE, Segment, shmat, shmget};
use crate::process::{Pipe, fork, pause};
use crate::runner::tests;

tests![
    segments_are_filled_with_zeroes,
    segsz_is_as_asked_to_the_byte,
    asking_for_more_than_there_is_is_einval,
    exclusive_creation_is_eexist,
    a_removed_segment_is_known_by_id_and_marked,
    a_removed_segments_key_is_free,
    a_removed_segment_can_be_attached_by_id,
    the_last_detach_ends_a_removed_segment,
    the_last_death_ends_a_removed_segment,
    removal_without_attachments_is_at_once,
    nattch_counts_forked_children_and_the_killed_leave,
    a_read_only_attachment_cannot_become_writable,
    attachments_in_two_places_are_one_memory,
];

/// A key that no channel has.
const KEY: i32 = 0x7e57_5352;

fn segments_are_filled_with_zeroes() {
    // Twice, so that the second may get memory that the first has used.
    for _ in 0..2 {
        let segment = Segment::new(1 << 20);
        let mapped = segment.attach();
        for index in 0..(1 << 20) / 8 {
            assert_eq!(mapped.word(index).swap(!0, Relaxed), 0);
        }
    }
}

fn segsz_is_as_asked_to_the_byte() {
    for size in [1, 8, 4095, 4096, 4097, SIZE, 1_000_001] {
        let segment = Segment::new(size);
        assert_eq!(segment.stat().expect("IPC_STAT").shm_segsz, size);
    }
    assert_eq!(shmget(libc::IPC_PRIVATE, 0, 0o600), Err(libc::EINVAL));
}

fn asking_for_more_than_there_is_is_einval() {
    let segment = Segment::under(KEY, SIZE);
    assert_eq!(shmget(KEY, SIZE, 0), Ok(segment.id));
    assert_eq!(shmget(KEY, 0, 0), Ok(segment.id));
    assert_eq!(shmget(KEY, SIZE + 1, 0), Err(libc::EINVAL));
    assert_eq!(shmget(KEY, SIZE + 1, libc::IPC_CREAT | 0o600), Err(libc::EINVAL));
}

fn exclusive_creation_is_eexist() {
    assert_eq!(shmget(KEY, SIZE, 0), Err(libc::ENOENT));
    let _segment = Segment::under(KEY, SIZE);
    for size in [1, SIZE, 10 * SIZE] {
        assert_eq!(shmget(KEY, size, libc::IPC_CREAT | libc::IPC_EXCL | 0o600), Err(libc::EEXIST));
    }
}

fn a_removed_segment_is_known_by_id_and_marked() {
    let segment = Segment::under(KEY, SIZE);
    let _mapped = segment.attach();
    let dest = || {
        let stat = segment.stat().expect("IPC_STAT by id");
        (u32::from(stat.shm_perm.mode) & SHM_DEST != 0, stat.shm_perm.__key, stat.shm_nattch)
    };
    assert_eq!(dest(), (false, KEY, 1));
    segment.remove().expect("IPC_RMID");
    assert_eq!(dest(), (true, libc::IPC_PRIVATE, 1));
}

fn a_removed_segments_key_is_free() {
    let segment = Segment::under(KEY, SIZE);
    let mapped = segment.attach();
    segment.remove().expect("IPC_RMID");
    assert_eq!(shmget(KEY, 0, 0), Err(libc::ENOENT));
    let next = Segment::under(KEY, SIZE);
    assert_ne!(next.id, segment.id);
    mapped.word(0).store(1, Relaxed);
    assert_eq!(next.attach().word(0).load(Relaxed), 0);
}

/// Linux only, and how an anonymous channel gets from one process to another.
fn a_removed_segment_can_be_attached_by_id() {
    let segment = Segment::new(SIZE);
    let mapped = segment.attach();
    segment.remove().expect("IPC_RMID");
    mapped.word(3).store(9, Relaxed);
    let again = shmat(segment.id, 0).expect("shmat by id");
    assert_eq!(again.word(3).load(Relaxed), 9);
    assert_eq!(segment.attached(), 2);
}

/// What a call with the id of a segment that has gone says.
fn is_gone(segment: &Segment) -> bool {
    let gone = |errno: i32| matches!(errno, libc::EINVAL | libc::EIDRM);
    segment.stat().is_err_and(gone) && shmat(segment.id, 0).is_err_and(gone)
}

fn the_last_detach_ends_a_removed_segment() {
    let segment = Segment::new(SIZE);
    let (one, other) = (segment.attach(), segment.attach());
    segment.remove().expect("IPC_RMID");
    drop(one);
    assert!(!is_gone(&segment));
    drop(other);
    assert!(is_gone(&segment));
}

fn the_last_death_ends_a_removed_segment() {
    let segment = Segment::new(SIZE);
    let mapped = segment.attach();
    segment.remove().expect("IPC_RMID");
    let child = fork(|| {
        loop {
            pause(1000);
        }
    });
    drop(mapped);
    assert!(!is_gone(&segment));
    child.kill();
    assert!(is_gone(&segment));
}

fn removal_without_attachments_is_at_once() {
    let segment = Segment::new(SIZE);
    segment.remove().expect("IPC_RMID");
    assert!(is_gone(&segment));
    assert!(matches!(segment.remove(), Err(libc::EINVAL | libc::EIDRM)));
}

fn nattch_counts_forked_children_and_the_killed_leave() {
    let segment = Segment::new(SIZE);
    let mapped = segment.attach();
    let pipe = Pipe::new();
    let children: Vec<_> = (0..5)
        .map(|number| {
            fork(|| {
                pipe.put(number);
                loop {
                    pause(1000);
                }
            })
        })
        .collect();
    children.iter().for_each(|_| _ = pipe.get());
    for (killed, child) in children.iter().enumerate() {
        assert_eq!(segment.attached(), 6 - killed as u64);
        child.kill();
    }
    assert_eq!(segment.attached(), 1);
    drop(mapped);
    assert_eq!(segment.attached(), 0);
}

fn a_read_only_attachment_cannot_become_writable() {
    let segment = Segment::new(SIZE);
    let mapped = shmat(segment.id, libc::SHM_RDONLY).expect("shmat");
    assert_eq!(mapped.protect(libc::PROT_READ | libc::PROT_WRITE), Err(libc::EACCES));
    fork(|| {
        crate::calls::no_core();
        let stored = fork(|| mapped.word(0).store(1, Relaxed));
        assert_eq!(stored.wait(), crate::process::End::Signal(libc::SIGSEGV));
    })
    .join();
    assert_eq!(mapped.word(0).load(Relaxed), 0);
}

fn attachments_in_two_places_are_one_memory() {
    let segment = Segment::new(SIZE);
    let (one, other) = (segment.attach(), segment.attach());
    one.word(7).store(5, Relaxed);
    assert_eq!(other.word(7).load(Relaxed), 5);
    assert_eq!(segment.attached(), 2);
}
