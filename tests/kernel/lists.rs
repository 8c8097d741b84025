//! Listing every object by index, as `ipcs` does.

use crate::as_root;
use crate::calls::{
    SEM_STAT, SEM_STAT_ANY, SHM_STAT, SHM_STAT_ANY, SIZE, Segment, Set, sem_info, sem_stat, shm_info,
    shm_stat,
};
use crate::process::{become_user, fork};
use crate::runner::tests;

tests![sem_info_and_stat_list_every_set, shm_info_and_stat_list_every_segment, stat_any_needs_no_permission,];

/// Nobody, on every Linux.
const STRANGER: u32 = 65_534;

/// Ids by index; an index that nobody has answers EINVAL.
fn ids<T>(highest: i32, stat: impl Fn(i32) -> Result<(i32, T), i32>) -> Vec<i32> {
    (0..=highest)
        .filter_map(|index| match stat(index) {
            Ok((id, _)) => Some(id),
            Err(errno) => {
                assert!(matches!(errno, libc::EINVAL | libc::EIDRM | libc::EACCES), "index {index}: {errno}");
                None
            }
        })
        .collect()
}

fn sem_info_and_stat_list_every_set() {
    let mut sets: Vec<Set> = (0..20).map(|_| Set::new(2)).collect();
    for step in [2, 3] {
        // Holes.
        let mut number = 0;
        sets.retain(|_| {
            number += 1;
            number % step != 0
        });
        let (highest, count) = sem_info();
        assert!(count >= sets.len() as i32);
        for command in [SEM_STAT, SEM_STAT_ANY] {
            let found = ids(highest, |index| sem_stat(index, command));
            assert!(sets.iter().all(|set| found.iter().filter(|&&id| id == set.id).count() == 1));
        }
    }
    let (highest, _) = sem_info();
    let (_, record) = (0..=highest)
        .find_map(|index| sem_stat(index, SEM_STAT_ANY).ok().filter(|(id, _)| *id == sets[0].id))
        .expect("listed");
    assert_eq!((record.sem_perm.__key, record.sem_nsems), (sets[0].key, 2));
}

fn shm_info_and_stat_list_every_segment() {
    let mut segments: Vec<Segment> = (0..20).map(|_| Segment::new(SIZE)).collect();
    let removed = Segment::new(SIZE);
    let _mapped = removed.attach();
    removed.remove().expect("IPC_RMID");
    for step in [2, 3] {
        let mut number = 0;
        segments.retain(|_| {
            number += 1;
            number % step != 0
        });
        let (highest, count) = shm_info();
        assert!(count > segments.len() as i32);
        for command in [SHM_STAT, SHM_STAT_ANY] {
            let found = ids(highest, |index| shm_stat(index, command));
            for segment in segments.iter().chain([&removed]) {
                assert_eq!(found.iter().filter(|&&id| id == segment.id).count(), 1, "{segment:?}");
            }
        }
    }
}

fn stat_any_needs_no_permission() {
    if !as_root() {
        return;
    }
    let (set, segment) = (Set::new(1), Segment::new(SIZE));
    fork(|| {
        become_user(STRANGER);
        let sets = |command| ids(sem_info().0, |index| sem_stat(index, command)).contains(&set.id);
        assert_eq!((sets(SEM_STAT), sets(SEM_STAT_ANY)), (false, true));
        let segments = |command| ids(shm_info().0, |index| shm_stat(index, command)).contains(&segment.id);
        assert_eq!((segments(SHM_STAT), segments(SHM_STAT_ANY)), (false, true));
    })
    .join();
}
