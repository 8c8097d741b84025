//! Who has a will and who a mapping after fork, exec, clone, vfork and unshare, and with threads.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::Ordering::Relaxed;
use std::{fs, thread};

use crate::as_root;
use crate::calls::{self, Mapping, SIZE, Segment, Set, clone, op, semget, semop, shmat, unshare, will};
use crate::deaths::{testator, testator_that};
use crate::process::{Child, Pipe, adopt_orphans, exit, fork, pause, until};
use crate::runner::tests;

tests![
    fork_does_not_inherit_the_will,
    fork_inherits_the_mapping,
    the_parents_will_fires_though_a_child_has_the_mapping,
    exec_keeps_the_will_and_drops_the_mapping,
    the_will_fires_when_the_new_program_ends_by_itself,
    the_end_of_the_registering_thread_fires_nothing,
    the_end_of_the_main_thread_alone_fires_nothing,
    clone_sysvsem_shares_the_will_until_the_last_dies,
    clone_vm_alone_does_not_share_the_will,
    a_clone_vm_vfork_child_has_wills_of_its_own_and_no_signal,
    a_vfork_childs_parent_is_noticed_while_the_child_runs,
    unshare_sysvsem_fires_the_will_at_once,
    unshare_newipc_fires_the_will_at_once,
    unshare_newipc_hides_the_old_ids_and_keeps_the_mapping,
    unshare_newipc_of_one_thread_is_that_threads_alone,
    ids_of_another_namespace_may_name_other_objects,
];

/// Argument that makes this program another one.
const ANOTHER: &str = "as-another-program";

pub(crate) fn is_another_program() -> bool {
    std::env::args().nth(1).as_deref() == Some(ANOTHER)
}

/// Another program: does nothing for so many milliseconds.
pub(crate) fn be_another_program() {
    pause(std::env::args().nth(2).and_then(|text| text.parse().ok()).unwrap_or(0));
}

/// Becomes another program. Its pipes close then.
fn exec(milliseconds: u64) -> ! {
    let this = std::env::current_exe().expect("this program's file");
    let error = Command::new(this).args([ANOTHER, &milliseconds.to_string()]).exec();
    panic!("exec: {error}")
}

fn forever() -> ! {
    loop {
        pause(1000);
    }
}

fn fork_does_not_inherit_the_will() {
    let set = Set::new(1);
    let ends: [fn(); 3] = [|| {}, || exit(1), || crate::process::kill_oneself()];
    let parent = testator_that(&set, &will(0), || {
        for end in ends {
            fork(end).wait();
            assert_eq!(set.value(0), 0, "death of a child gives no notice");
        }
    });
    parent.join();
    assert_eq!(set.value(0), 1);
}

fn fork_inherits_the_mapping() {
    let segment = Segment::new(SIZE);
    let ours = segment.attach();
    let pipe = Pipe::new();
    let child = fork(|| {
        ours.word(0).store(77, Relaxed);
        pipe.put(0);
        forever();
    });
    pipe.get();
    assert_eq!(ours.word(0).load(Relaxed), 77);
    assert_eq!(segment.attached(), 2);
    child.kill();
    assert_eq!(segment.attached(), 1);
}

fn the_parents_will_fires_though_a_child_has_the_mapping() {
    adopt_orphans();
    let (set, segment) = (Set::new(1), Segment::new(SIZE));
    let pids = Pipe::new();
    let mapped = segment.attach().forever();
    let parent = testator_that(&set, &will(0), || {
        // By `clone`, because the children of `fork` die with their parents.
        let child = clone(libc::SIGCHLD, move || {
            loop {
                mapped.word(0).fetch_add(1, Relaxed);
            }
        });
        pids.put(child.expect("clone") as u64);
        forever();
    });
    let child = pids.get() as i32;
    parent.kill();
    assert_eq!(set.value(0), 1);
    assert_eq!(segment.attached(), 2, "the orphan's and ours");
    assert!(still_changes(mapped));
    end_orphan(child);
    assert_eq!((set.value(0), segment.attached()), (1, 1));
}

/// Whether word 0 still changes.
fn still_changes(mapped: &Mapping) -> bool {
    let then = mapped.word(0).load(Relaxed);
    pause(20);
    until("it writes", || mapped.word(0).load(Relaxed) != then);
    true
}

/// Kills an orphan that this process has adopted.
fn end_orphan(pid: i32) {
    calls::kill(pid, libc::SIGKILL).expect("kill");
    calls::wait_for(pid, libc::__WALL).expect("adopted");
}

/// A process with a will and a mapping that has become another program.
fn became_another(set: &Set, segment: &Segment, milliseconds: u64) -> Child {
    let pipe = Pipe::new();
    let child = testator_that(set, &will(0), || {
        let _mapped = segment.attach();
        exec(milliseconds);
    });
    assert_eq!(pipe.rest().count(), 0); // its end is closed by `exec`
    child
}

fn exec_keeps_the_will_and_drops_the_mapping() {
    let (set, segment) = (Set::new(1), Segment::new(SIZE));
    let _ours = segment.attach();
    let child = became_another(&set, &segment, 60_000);
    assert_eq!(segment.attached(), 1);
    pause(20);
    assert_eq!(set.value(0), 0, "no notice at exec");
    child.signal(libc::SIGKILL);
    set.take(0);
    child.wait();
    assert_eq!(set.value(0), 0);
}

fn the_will_fires_when_the_new_program_ends_by_itself() {
    let (set, segment) = (Set::new(1), Segment::new(SIZE));
    let child = became_another(&set, &segment, 30);
    set.take(0);
    child.join();
    assert_eq!((set.value(0), set.last_pid(0)), (0, std::process::id() as i32));
}

fn the_end_of_the_registering_thread_fires_nothing() {
    let set = Set::new(1);
    let ready = Pipe::new();
    let child = fork(|| {
        thread::scope(|scope| {
            scope.spawn(|| set.op(&will(0)).expect("a will"));
        });
        ready.put(0);
        forever();
    });
    ready.get();
    // The scope waits for the closure; the thread itself may need a moment more.
    until("the thread has ended", || {
        fs::read_dir(format!("/proc/{}/task", child.pid())).is_ok_and(|tasks| tasks.count() == 1)
    });
    assert_eq!(set.value(0), 0);
    child.kill();
    assert_eq!(set.value(0), 1);
}

fn the_end_of_the_main_thread_alone_fires_nothing() {
    let set = Set::new(1);
    let child = testator_that(&set, &will(0), || {
        thread::spawn(|| {
            pause(20_000);
            exit(1);
        });
        calls::exit_thread();
    });
    let state = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.pid())).expect("it lives");
        stat.rsplit(") ").next().and_then(|rest| rest.chars().next())
    };
    until("the main thread is a zombie", || state() == Some('Z'));
    pause(10);
    assert_eq!(set.value(0), 0, "though /proc calls it a zombie");
    child.signal(libc::SIGKILL);
    set.take(0);
    child.wait();
    assert_eq!(set.value(0), 0);
}

/// A process that has a will and then a child by `clone` with these flags, which writes until it is killed.
fn with_clone(set: &Set, mapped: &'static Mapping, flags: i32) -> (Child, i32) {
    adopt_orphans();
    let parent = testator_that(set, &will(0), || {
        // With CLONE_VFORK this does not return while the child lives.
        let child = clone(flags | libc::SIGCHLD, move || {
            mapped.word(1).store(u64::from(std::process::id()), Relaxed);
            loop {
                mapped.word(0).fetch_add(1, Relaxed);
            }
        });
        child.expect("clone");
        forever();
    });
    until("the child runs", || mapped.word(1).load(Relaxed) != 0 && mapped.word(0).load(Relaxed) != 0);
    (parent, mapped.word(1).load(Relaxed) as i32)
}

fn clone_sysvsem_shares_the_will_until_the_last_dies() {
    let (set, segment) = (Set::new(1), Segment::new(SIZE));
    let mapped = segment.attach().forever();
    let (parent, child) = with_clone(&set, mapped, libc::CLONE_SYSVSEM);
    parent.kill();
    assert_eq!(set.value(0), 0, "the child shares the list");
    end_orphan(child);
    assert_eq!(set.value(0), 1);
}

fn clone_vm_alone_does_not_share_the_will() {
    let (set, segment) = (Set::new(1), Segment::new(SIZE));
    let mapped = segment.attach().forever();
    let (parent, child) = with_clone(&set, mapped, libc::CLONE_VM);
    parent.kill();
    assert_eq!(set.value(0), 1, "the child has a list of its own");
    assert_eq!(segment.attached(), 2, "and the memory");
    assert!(still_changes(mapped));
    end_orphan(child);
    assert_eq!(set.value(0), 1);
}

/// How the library makes sure, before the first channel, that undo works at all.
fn a_clone_vm_vfork_child_has_wills_of_its_own_and_no_signal() {
    let set = Set::new(1);
    let id = set.id;
    calls::block_sigchld();
    for _ in 0..10 {
        let child = clone(libc::CLONE_VM | libc::CLONE_VFORK, move || {
            let done = semop(id, &[op(0, 1).undo()]);
            exit(if done.is_ok() { 0 } else { 1 });
        })
        .expect("clone");
        // It has ended, for so long CLONE_VFORK waits.
        assert_eq!(calls::wait_for(child, libc::__WCLONE), Ok(0));
        assert_eq!((set.value(0), set.last_pid(0)), (0, child));
    }
    assert!(!calls::has_sigchld());
    // And that this is how one would see it.
    fork(|| {}).join();
    assert!(calls::has_sigchld());
}

/// `vfork` and `posix_spawn` are this call.
fn a_vfork_childs_parent_is_noticed_while_the_child_runs() {
    let (set, segment) = (Set::new(1), Segment::new(SIZE));
    let mapped = segment.attach().forever();
    let (parent, child) = with_clone(&set, mapped, libc::CLONE_VM | libc::CLONE_VFORK);
    parent.signal(libc::SIGKILL);
    set.take(0);
    parent.wait();
    assert!(still_changes(mapped), "it has the parent's memory still");
    assert_eq!(segment.attached(), 2);
    end_orphan(child);
    assert_eq!(set.value(0), 0);
}

fn unshare_sysvsem_fires_the_will_at_once() {
    let (set, segment) = (Set::new(1), Segment::new(SIZE));
    let mapped = segment.attach();
    let child = testator_that(&set, &will(0), || {
        unshare(libc::CLONE_SYSVSEM).expect("unshare");
        assert_eq!(set.value(0), 1);
        mapped.word(0).store(5, Relaxed);
        // Not its last one: the list begins anew.
        set.op(&will(0)).expect("another will");
    });
    child.join();
    assert_eq!(mapped.word(0).load(Relaxed), 5);
    assert_eq!(set.value(0), 2);
}

fn unshare_newipc_fires_the_will_at_once() {
    if !as_root() {
        return;
    }
    let set = Set::new(1);
    let (go, done) = (Pipe::new(), Pipe::new());
    let child = testator_that(&set, &will(0), || {
        go.get();
        unshare(libc::CLONE_NEWIPC).expect("unshare");
        done.put(0);
        forever();
    });
    assert_eq!(set.value(0), 0);
    go.put(0);
    set.take(0);
    done.get();
    assert_eq!(child.try_wait(), None);
    child.kill();
    assert_eq!(set.value(0), 0, "none at its real death");
}

fn unshare_newipc_hides_the_old_ids_and_keeps_the_mapping() {
    if !as_root() {
        return;
    }
    // Not the first of their namespace, whose ids the new one could have too.
    let _others = (Set::new(1), Segment::new(SIZE));
    let (set, segment) = (Set::new(1), Segment::new(SIZE));
    let mapped = segment.attach();
    fork(|| {
        unshare(libc::CLONE_NEWIPC).expect("unshare");
        assert_eq!(set.op(&[op(0, 1)]), Err(libc::EINVAL));
        assert!(matches!(set.stat(), Err(libc::EINVAL)));
        assert_eq!(semget(set.key, 0, 0), Err(libc::ENOENT));
        assert!(matches!(shmat(segment.id, 0), Err(libc::EINVAL)));
        assert!(matches!(segment.stat(), Err(libc::EINVAL)));
        mapped.word(0).store(6, Relaxed);
    })
    .join();
    assert_eq!(mapped.word(0).load(Relaxed), 6);
    assert_eq!((set.value(0), segment.attached()), (0, 1));
    // The old set is as good as ever to the others.
    testator(&set, &will(0)).kill();
    assert_eq!(set.value(0), 1);
}

/// The others keep namespace, undo list and will.
fn unshare_newipc_of_one_thread_is_that_threads_alone() {
    if !as_root() {
        return;
    }
    let _other = Set::new(1); // so that the id is not the first of a namespace
    let set = Set::new(1);
    let ready = Pipe::new();
    let child = fork(|| {
        set.op(&will(0)).expect("a will");
        thread::scope(|scope| {
            scope.spawn(|| {
                unshare(libc::CLONE_NEWIPC).expect("unshare");
                assert_eq!(set.op(&[op(0, 1)]), Err(libc::EINVAL));
            });
        });
        assert_eq!(set.value(0), 0, "no notice");
        ready.put(0);
        forever();
    });
    ready.get();
    assert_eq!(set.value(0), 0);
    child.kill();
    assert_eq!(set.value(0), 1);
}

/// Why an id alone is no proof of what it names.
fn ids_of_another_namespace_may_name_other_objects() {
    if !as_root() {
        return;
    }
    fork(|| {
        unshare(libc::CLONE_NEWIPC).expect("unshare");
        let old = std::mem::ManuallyDrop::new(Set::new(1));
        unshare(libc::CLONE_NEWIPC).expect("unshare");
        let new = Set::new(1);
        assert_eq!(old.id, new.id);
        assert_eq!(old.op(&[op(0, 1)]), Ok(()));
        assert_eq!(new.value(0), 1);
    })
    .join();
}
