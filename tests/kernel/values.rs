//! Semaphores and their values: limits, what undo does at them, what erases it, permissions, time stamps.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::SystemTime;

use crate::as_root;
use crate::calls::{Op, SIZE, Segment, Set, ftok, op, semget, semop, unshare, will};
use crate::deaths::testator;
use crate::process::{become_user, fork};
use crate::runner::tests;

tests![
    new_values_are_zero,
    operations_happen_all_or_none,
    a_claim_by_wait_zero_and_add_is_atomic,
    values_stop_at_32767_with_erange,
    a_notice_at_the_ceiling_is_clamped,
    a_will_at_the_ceiling_is_refused_with_erange,
    an_undo_below_zero_is_clamped_at_zero,
    taking_back_an_undo_leaves_nothing_to_undo,
    five_hundred_operations_work_and_501_are_e2big,
    setval_erases_the_wills_on_its_semaphore_only,
    setall_erases_every_will_of_the_set,
    a_new_set_under_an_old_key_is_untouched_by_old_wills,
    read_permission_is_not_enough_to_post,
    setval_is_open_to_whoever_may_write,
    the_owner_can_be_changed_and_the_creator_cannot,
    ctime_is_the_second_of_creation,
    ids_are_not_negative,
    the_first_id_of_a_namespace_is_zero,
    ftok_is_made_of_id_device_and_inode,
];

/// Nobody, on every Linux.
const STRANGER: u32 = 65_534;

fn new_values_are_zero() {
    for semaphores in [1, 7, 483, 2000] {
        // Twice, so that the second may get memory that the first has used.
        for _ in 0..2 {
            let set = Set::new(semaphores);
            assert!(set.values().iter().all(|&value| value == 0));
            assert_eq!(set.last_pid(0), 0);
            for index in 0..semaphores as u16 {
                set.op(&[op(index, 1 + index as i16)]).expect("semop");
            }
        }
    }
}

fn operations_happen_all_or_none() {
    let set = Set::new(3);
    set.op(&[op(0, 5), op(2, 1)]).expect("semop");
    assert_eq!(set.op(&[op(0, -5), op(1, 1), op(2, 0).no_wait()]), Err(libc::EAGAIN));
    assert_eq!(set.values(), [5, 0, 1]);
    // In their order, each seeing what those before it did.
    set.op(&[op(1, 0), op(1, 1), op(1, -1), op(0, -5), op(0, 0)]).expect("semop");
    assert_eq!(set.values(), [0, 0, 1]);
}

fn a_claim_by_wait_zero_and_add_is_atomic() {
    const RIVALS: u16 = 8;
    let set = Set::new(2);
    for _ in 0..30 {
        let rivals: Vec<_> = (0..RIVALS)
            .map(|_| {
                fork(|| {
                    set.op(&[op(1, -1)]).expect("semop"); // the start
                    let claimed = set.op(&[op(0, 0).no_wait(), op(0, 1).undo()]);
                    assert!(matches!(claimed, Ok(()) | Err(libc::EAGAIN)), "{claimed:?}");
                    assert!(set.value(0) <= 1, "claimed twice");
                    if claimed.is_ok() {
                        assert_eq!(set.last_pid(0), std::process::id() as i32);
                    }
                })
            })
            .collect();
        set.op(&[op(1, RIVALS as i16)]).expect("semop");
        rivals.iter().for_each(crate::process::Child::join);
        assert_eq!(set.value(0), 0, "freed by the kernel");
    }
}

fn values_stop_at_32767_with_erange() {
    let set = Set::new(1);
    set.op(&[op(0, i16::MAX)]).expect("semop");
    assert_eq!(set.op(&[op(0, 1)]), Err(libc::ERANGE));
    assert_eq!(set.op(&[op(0, 1).no_wait()]), Err(libc::ERANGE));
    assert_eq!(set.value(0), 32_767);
}

fn a_notice_at_the_ceiling_is_clamped() {
    let set = Set::new(1);
    let dying = testator(&set, &will(0));
    set.op(&[op(0, i16::MAX)]).expect("semop");
    dying.kill();
    assert_eq!(set.value(0), 32_767);
}

fn a_will_at_the_ceiling_is_refused_with_erange() {
    let set = Set::new(1);
    set.op(&[op(0, i16::MAX)]).expect("semop");
    assert_eq!(set.op(&will(0)), Err(libc::ERANGE));
    fork(|| assert_eq!(set.op(&will(0)), Err(libc::ERANGE))).join();
    set.op(&[op(0, -1)]).expect("semop");
    assert_eq!(set.op(&will(0)), Ok(()));
}

fn an_undo_below_zero_is_clamped_at_zero() {
    let set = Set::new(1);
    let dying = testator(&set, &[op(0, 2).undo()]);
    set.op(&[op(0, -1)]).expect("semop"); // stolen
    dying.kill();
    assert_eq!(set.value(0), 0);
    set.op(&[op(0, 1)]).expect("semop");
    assert_eq!(set.value(0), 1, "no debt is left");
}

fn taking_back_an_undo_leaves_nothing_to_undo() {
    let set = Set::new(2);
    fork(|| {
        let [first, second] = will(1);
        set.op(&[op(0, 0).no_wait(), op(0, 1).undo(), first, second]).expect("take a seat");
        set.op(&[op(0, -1).undo(), op(1, 1).undo()]).expect("leave it");
        assert_eq!(set.values(), [0, 1]);
    })
    .join();
    assert_eq!(set.values(), [0, 1]);
}

fn five_hundred_operations_work_and_501_are_e2big() {
    let set = Set::new(482);
    assert_eq!(set.op(&[op(0, 0); 500]), Ok(()));
    assert_eq!(set.op(&[op(0, 0); 501]), Err(libc::E2BIG));
    // As the largest channel's receiver needs them: a seat, and 240 wills in one step.
    let mut ops: Vec<Op> = vec![op(0, 0).no_wait(), op(0, 1).undo()];
    ops.extend((1..=240).flat_map(|bell| will(2 * bell)));
    assert_eq!(ops.len(), 482);
    let dying = testator(&set, &ops);
    assert_eq!(set.values().iter().map(|&value| u32::from(value)).sum::<u32>(), 1);
    dying.kill();
    let values = set.values();
    assert!((0..482).all(|index| values[index] == u16::from(index != 0 && index % 2 == 0)), "{values:?}");
}

fn setval_erases_the_wills_on_its_semaphore_only() {
    let set = Set::new(2);
    let dying = [testator(&set, &will(0)), testator(&set, &will(0)), testator(&set, &will(1))];
    set.set_value(0, 0).expect("SETVAL");
    dying.iter().for_each(crate::process::Child::kill);
    assert_eq!(set.values(), [0, 1]);
}

fn setall_erases_every_will_of_the_set() {
    let set = Set::new(2);
    let dying = [testator(&set, &will(0)), testator(&set, &will(1))];
    set.set_all(&mut [0, 0]);
    dying.iter().for_each(crate::process::Child::kill);
    assert_eq!(set.values(), [0, 0]);
}

fn a_new_set_under_an_old_key_is_untouched_by_old_wills() {
    let set = Set::new(1);
    let dying = testator(&set, &will(0));
    set.remove().expect("IPC_RMID");
    let again = Set::under(set.key, 1);
    assert_ne!(again.id, set.id);
    dying.kill();
    assert_eq!(again.value(0), 0);
    assert_eq!(set.op(&[op(0, 1)]), Err(libc::EINVAL));
}

fn read_permission_is_not_enough_to_post() {
    if !as_root() {
        return;
    }
    let set = Set::with_mode(1, 0o644);
    fork(|| {
        become_user(STRANGER);
        assert_eq!(set.op(&[op(0, 0)]), Ok(()), "waiting for zero changes nothing");
        assert_eq!(set.op(&[op(0, 1)]), Err(libc::EACCES));
        assert_eq!(set.set_value(0, 1), Err(libc::EACCES));
        assert_eq!(set.remove(), Err(libc::EPERM));
        assert_eq!(set.value(0), 0);
    })
    .join();
    let closed = Set::new(1);
    fork(|| {
        become_user(STRANGER);
        assert_eq!(closed.op(&[op(0, 0)]), Err(libc::EACCES));
        assert!(matches!(closed.stat(), Err(libc::EACCES)));
    })
    .join();
}

/// Why the mode is 0600 unless asked otherwise.
fn setval_is_open_to_whoever_may_write() {
    if !as_root() {
        return;
    }
    let set = Set::with_mode(1, 0o666);
    let dying = testator(&set, &will(0));
    fork(|| {
        become_user(STRANGER);
        assert_eq!(set.set_value(0, 0), Ok(()));
        assert_eq!(set.remove(), Err(libc::EPERM));
    })
    .join();
    dying.kill();
    assert_eq!(set.value(0), 0);
}

fn the_owner_can_be_changed_and_the_creator_cannot() {
    if !as_root() {
        return;
    }
    let (set, segment) = (Set::new(1), Segment::new(SIZE));
    set.give_to(STRANGER);
    segment.give_to(STRANGER);
    let perm = set.stat().expect("IPC_STAT").sem_perm;
    assert_eq!((perm.uid, perm.cuid), (STRANGER, 0));
    let perm = segment.stat().expect("IPC_STAT").shm_perm;
    assert_eq!((perm.uid, perm.cuid), (STRANGER, 0));
}

fn ctime_is_the_second_of_creation() {
    let now = || {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        now.expect("after 1970").as_secs() as i64
    };
    let before = now();
    let (set, segment) = (Set::new(1), Segment::new(SIZE));
    let created = set.stat().expect("IPC_STAT").sem_ctime;
    // The kernel's coarse clock may lag by a tick.
    assert!((before - 1..=now()).contains(&created), "{created} after {before}");
    assert!((before - 1..=now()).contains(&segment.stat().expect("IPC_STAT").shm_ctime));
    assert_eq!(set.stat().expect("IPC_STAT").sem_otime, 0);
    crate::process::pause(1100);
    set.op(&will(0)).expect("semop");
    let stat = set.stat().expect("IPC_STAT");
    assert_eq!(stat.sem_ctime, created, "operations do not touch it");
    assert!(stat.sem_otime > created);
}

fn ids_are_not_negative() {
    let sets: Vec<_> = (0..30).map(|_| Set::new(1)).collect();
    assert!(sets.iter().all(|set| set.id >= 0));
    let segments: Vec<_> = (0..30).map(|_| Segment::new(SIZE)).collect();
    assert!(segments.iter().all(|segment| segment.id >= 0));
    assert_eq!(semget(sets[0].key, 0, 0), Ok(sets[0].id), "the key finds it");
    assert_eq!(semget(sets[0].key, 2, 0), Err(libc::EINVAL), "not so many");
}

/// So that 0 cannot stand for "none".
fn the_first_id_of_a_namespace_is_zero() {
    if !as_root() {
        return;
    }
    fork(|| {
        unshare(libc::CLONE_NEWIPC).expect("unshare");
        let (set, segment) = (Set::new(1), Segment::new(SIZE));
        assert_eq!((set.id, segment.id), (0, 0));
        assert_eq!(semop(0, &[op(0, 1)]), Ok(()));
        assert_eq!(set.value(0), 1);
    })
    .join();
}

fn ftok_is_made_of_id_device_and_inode() {
    for path in [c"/", c"/proc/self/exe", c"/dev/null"] {
        let file = fs::metadata(path.to_str().expect("a path")).expect("it exists");
        for id in [1, 0x41, 0xff, 0x1234] {
            let made = (id & 0xff) << 24 | (file.dev() as i32 & 0xff) << 16 | file.ino() as i32 & 0xffff;
            assert_eq!(ftok(path, id), Ok(made), "{path:?} {id}");
        }
    }
    assert_eq!(ftok(c"/does/not/exist", 1), Err(libc::ENOENT));
}
