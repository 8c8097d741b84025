//! The segment layer as other programs see it: against the kernel, against plain C programs, and
//! through `examples/segment.rs`, each action in a process of its own.
#![allow(unsafe_code, reason = "fork, to see what a child inherits")]

mod common;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use common::{SegmentGuard, compile_c, example, fail, succeed, unique_key};
use sysring::Errno;
use sysring::segment::{Key, Mapping, Segment, page_size, round_to_pages};

/// A segment of its own for one test, removed at its end.
fn fresh(size: usize, mode: u32) -> (Segment, Key, SegmentGuard) {
    let key = unique_key();
    let guard = SegmentGuard::Key(key);
    let key = Key::from_raw(key);
    (Segment::create(key, size, mode).expect("create"), key, guard)
}

/// `program` with these arguments.
fn command(program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// The example with these arguments; it must succeed.
fn run(arguments: &[&str]) -> String {
    succeed(command(&example("segment"), arguments))
}

/// What stands behind `label: ` in the output of `stat`.
fn field<'a>(stat: &'a str, label: &str) -> &'a str {
    stat.lines()
        .find_map(|line| line.strip_prefix(label)?.strip_prefix(": "))
        .unwrap_or_else(|| panic!("no {label} in {stat}"))
}

fn text_of(mapping: &Mapping) -> String {
    let mut bytes = vec![0; mapping.len()];
    mapping.read(0, &mut bytes).expect("in bounds");
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8(text.to_vec()).expect("UTF-8")
}

fn gone(key: Key) -> bool {
    Segment::open(key).is_err_and(|error| error.errno() == Errno::ENOENT)
}

#[test]
fn the_four_programs_of_the_tutorials() {
    let raw = unique_key();
    let _guard = SegmentGuard::Key(raw);
    let key = raw.to_string();

    let created = run(&["create", &key, "100", "640"]);
    assert!(created.contains(&format!("with key {}", Key::from_raw(raw))), "{created}");
    assert_eq!(run(&["write", &key, "from one process"]), "wrote 16 bytes");
    assert_eq!(run(&["read", &key]), "from one process");

    let stat = run(&["stat", &key]);
    let page = page_size();
    let (uid, gid) = user();
    assert_eq!(field(&stat, "size"), format!("100 bytes, in memory {page} (1 pages of {page})"));
    assert_eq!(field(&stat, "mode"), "640");
    assert_eq!(field(&stat, "owner"), format!("uid {uid} gid {gid}"));
    assert_eq!(field(&stat, "creator"), format!("uid {uid} gid {gid}"));
    assert_eq!(field(&stat, "attached"), "0");
    for time in ["attach time", "detach time", "change time"] {
        assert!(field(&stat, time).ends_with("s ago)"), "{stat}");
    }
    let pids = ["creator pid", "last pid"].map(|label| field(&stat, label).parse::<u32>());
    assert!(pids.iter().all(|pid| pid.as_ref().is_ok_and(|&pid| pid > 1)), "{stat}");
    assert_ne!(pids[0], pids[1], "create and read are two processes");

    // The same once more, except that a second may have gone by.
    let removed = run(&["remove", &key]);
    let timeless = |text: &str| -> Vec<String> {
        text.lines().filter(|line| !line.ends_with("s ago)")).map(str::to_owned).collect()
    };
    assert_eq!(timeless(&removed), timeless(&format!("{stat}\nremoved")));
    assert!(gone(Key::from_raw(raw)));
}

#[test]
fn our_programs_and_plain_c_programs_mix() {
    let [create, put, get, delete] = ["create.c", "put.c", "get.c", "delete.c"].map(compile_c);
    let raw = unique_key();
    let _guard = SegmentGuard::Key(raw);
    let key = &raw.to_string();

    // Theirs, ours, theirs, ours.
    let id = succeed(command(&create, &[key, "5000"]));
    run(&["write", key, "written by us"]);
    assert_eq!(succeed(command(&get, &[key])), "written by us");
    assert_eq!(field(&run(&["stat", key]), "id"), id);
    run(&["remove", key]);

    // Ours, theirs, ours, theirs; and every number of the kernel's record is the one C prints.
    run(&["create", key, "5000", "604"]);
    succeed(command(&put, &[key, "written by C"]));
    assert_eq!(run(&["read", key]), "written by C");
    let stat = Segment::open(Key::from_raw(raw)).unwrap().stat().unwrap();
    let second = |time: Option<SystemTime>| {
        time.map_or(0, |time| time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs())
    };
    let ours = format!(
        "{} {} {} {} {} {} {} {} {} {} {} {} {} {}",
        stat.id,
        stat.key.raw(),
        stat.size,
        stat.mode,
        stat.uid,
        stat.gid,
        stat.creator_uid,
        stat.creator_gid,
        stat.attached,
        second(stat.attach_time),
        second(stat.detach_time),
        second(stat.change_time),
        stat.creator_pid,
        stat.last_pid
    );
    assert_eq!(succeed(command(&delete, &[key])), ours);
    assert!(gone(Key::from_raw(raw)));
}

#[test]
fn the_raw_layer_reads_what_a_plain_c_writer_left() {
    let raw = unique_key();
    let _guard = SegmentGuard::Key(raw);
    succeed(command(&compile_c("writer.c"), &[&raw.to_string()]));

    let segment = Segment::open(Key::from_raw(raw)).unwrap();
    assert_eq!(segment.stat().unwrap().size, 1024);
    assert_eq!(text_of(&segment.attach().unwrap()), "Hello, Shared Memory!");
    assert_eq!(run(&["read", &format!("{raw:#x}")]), "Hello, Shared Memory!");
}

#[test]
fn a_plain_c_reader_reads_what_the_raw_layer_left() {
    let (segment, key, _guard) = fresh(1024, 0o666);
    segment.attach().unwrap().write(0, b"Hello, Shared Memory!\0").unwrap();
    let printed = succeed(command(&compile_c("reader.c"), &[&key.raw().to_string()]));
    assert_eq!(printed, "Hello, Shared Memory!");
}

#[test]
fn ftok_gives_the_key_that_c_gives() {
    let ftok = compile_c("ftok.c");
    let here = env!("CARGO_MANIFEST_DIR");
    let exe = std::env::current_exe().unwrap();
    let source = format!("{here}/tests/c/ftok.c");
    let files = [here, "/", "/etc/passwd", "/tmp", "/dev/null", &source, exe.to_str().unwrap()];
    for file in files {
        for id in [1, 65, 255, 256, -1, 0] {
            let printed = succeed(command(&ftok, &[file, &id.to_string()]));
            let ours = Key::ftok(file, id).unwrap();
            assert_eq!(ours.raw().to_string(), printed, "{file} {id}");
        }
    }
    let theirs = fail(command(&ftok, &["/no/such/file", "1"]), 1);
    assert_eq!(theirs, "ftok: No such file or directory");
    assert_eq!(Key::ftok("/no/such/file", 1).unwrap_err().errno(), Errno::ENOENT);
}

#[test]
fn a_file_and_a_number_can_stand_for_the_key() {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("key-{:x}", unique_key()));
    std::fs::write(&file, "").unwrap();
    let key = Key::ftok(&file, 7).unwrap();
    let _guard = SegmentGuard::Key(key.raw());
    let name = format!("{}:7", file.display());
    run(&["create", &name, "10"]);
    run(&["write", &name, "by name"]);
    assert_eq!(run(&["read", &name]), "by name");
    run(&["remove", &name]);
    std::fs::remove_file(&file).unwrap();
    assert!(gone(key));
}

#[test]
fn sizes_are_rounded_to_pages() {
    for size in [1, page_size() - 1, page_size(), page_size() + 1, 10 * page_size()] {
        let (segment, _, _guard) = fresh(size, 0o600);
        let mapping = segment.attach().unwrap();
        // The kernel remembers the size that was asked for, and that is what can be used ...
        assert_eq!((segment.stat().unwrap().size, mapping.len()), (size, size));
        assert!(mapping.write(size - 1, b"x").is_ok() && mapping.write(size, b"x").is_err());
        // ... but it maps whole pages.
        assert_eq!(mapped_bytes(segment.id()), round_to_pages(size));
    }
}

/// How much of this process's memory is the segment, as the kernel lists it.
fn mapped_bytes(id: i32) -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    // address-address permissions offset device inode name; the inode of a segment is its id
    let lines = maps.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines
        .filter(|line| line.len() > 5 && line[5].starts_with("/SYSV") && line[4] == id.to_string())
        .map(|line| {
            let (start, end) = line[0].split_once('-').unwrap();
            let number = |text| usize::from_str_radix(text, 16).unwrap();
            number(end) - number(start)
        })
        .sum()
}

#[test]
fn permissions_are_kept_changed_and_enforced() {
    let (segment, key, _guard) = fresh(100, 0o604);
    let stat = segment.stat().unwrap();
    assert_eq!(stat.mode, 0o604);
    assert_eq!((stat.uid, stat.gid), user());

    if user().0 == 0 {
        let program = PublicCopy::new();
        let key = key.raw().to_string();
        let stranger = |action: &[&str]| {
            let mut command = command(&program.0, action);
            command.arg(&key).uid(65534).gid(65534);
            command
        };
        // Reading is open to others, writing is not; then nothing is; then it is theirs.
        assert_eq!(succeed(stranger(&["read"])), "");
        let mut write = stranger(&["write"]);
        write.arg("x");
        assert_refused(&fail(write, 1), "shmat");
        segment.set_permissions(stat.uid, stat.gid, 0o600).unwrap();
        assert_refused(&fail(stranger(&["read"]), 1), "shmat");
        assert_refused(&fail(stranger(&["remove"]), 1), "shmctl(IPC_STAT)");
        segment.set_permissions(65534, 65534, 0o600).unwrap();
        assert_eq!(succeed(stranger(&["read"])), "");
        let after = segment.stat().unwrap();
        assert_eq!((after.uid, after.creator_uid), (65534, stat.creator_uid));
    } else {
        // The mode binds its owner too, except for root.
        segment.set_permissions(stat.uid, stat.gid, 0o400).unwrap();
        assert!(segment.attach_read_only().is_ok());
        assert_refused(&segment.attach().unwrap_err().to_string(), "shmat");
        segment.set_permissions(stat.uid, stat.gid, 0).unwrap();
        assert_refused(&segment.attach_read_only().unwrap_err().to_string(), "shmat");
    }
}

fn assert_refused(text: &str, call: &str) {
    assert!(text.contains(call) && text.contains("EACCES") && !text.contains('\n'), "{text}");
}

/// A copy of the example where other users may run it, which a build directory need not allow.
struct PublicCopy(PathBuf);

impl PublicCopy {
    fn new() -> PublicCopy {
        let copy = PublicCopy(std::env::temp_dir().join(format!("sysring-{:x}", unique_key())));
        // By another process: a child that another test forks meanwhile would hold a file that is
        // open for writing here, and it could not be run (ETXTBSY).
        let mut command = Command::new("install");
        command.args(["-m", "755"]).arg(example("segment")).arg(&copy.0);
        succeed(command);
        copy
    }
}

impl Drop for PublicCopy {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The user and group of this process: those of what it makes.
fn user() -> (u32, u32) {
    use std::os::unix::fs::MetadataExt;
    let me = std::fs::metadata("/proc/self").unwrap();
    (me.uid(), me.gid())
}

#[test]
fn a_read_only_attachment_sees_what_others_write() {
    let (segment, _, _guard) = fresh(16, 0o600);
    let reader = segment.attach_read_only().unwrap();
    let writer = segment.attach().unwrap();
    writer.write(3, b"seen").unwrap();
    let mut bytes = [0; 4];
    reader.read(3, &mut bytes).unwrap();
    assert_eq!(&bytes, b"seen");
    // That it cannot write is in the types: see the documentation of ReadOnlyMapping. And the
    // kernel agrees: the pages are mapped without permission to write.
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let place = format!(" {} ", segment.id());
    let ours: Vec<_> = maps.lines().filter(|line| line.contains("/SYSV") && line.contains(&place)).collect();
    assert!(ours.iter().any(|line| line.contains(" r--s ")), "{ours:?}");
    assert!(ours.iter().any(|line| line.contains(" rw-s ")), "{ours:?}");
}

#[test]
fn a_child_inherits_attachments_and_its_end_detaches() {
    const GO: usize = 0;
    const ANSWER: usize = 1;
    let (segment, _, _guard) = fresh(2, 0o600);
    let mapping = segment.attach().unwrap();

    // SAFETY: the other threads of the test program do not exist in the child, so it must not take
    // a lock they may hold; it allocates nothing, and it ends by `_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let code = if await_byte(&mapping, GO) && mapping.write(ANSWER, b"!").is_ok() { 0 } else { 1 };
        // SAFETY: ends this process at once; it runs no destructors, so it does not detach either.
        unsafe { libc::_exit(code) };
    }
    assert!(child > 0);
    assert_eq!(segment.stat().unwrap().attached, 2, "the child inherits the attachment");
    mapping.write(GO, b"!").unwrap();
    let mut status = -1;
    // SAFETY: waits for the child made above; `status` is an integer of ours.
    let waited = unsafe { libc::waitpid(child, &mut status, 0) };
    assert_eq!((waited, status), (child, 0));
    assert!(await_byte(&mapping, ANSWER), "what the child wrote is here");
    let stat = segment.stat().unwrap();
    assert_eq!((stat.attached, stat.last_pid), (1, child), "the end of a process detaches");
}

/// Waits until the byte is not 0; false if that takes too long.
fn await_byte(mapping: &Mapping, offset: usize) -> bool {
    let end = Instant::now() + Duration::from_secs(20);
    let mut byte = [0];
    while byte == [0] {
        if Instant::now() >= end || mapping.read(offset, &mut byte).is_err() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

#[test]
fn a_removed_segment_dies_with_its_last_attachment() {
    let (segment, key, _guard) = fresh(8, 0o600);
    let first = segment.attach().unwrap();
    let second = segment.attach().unwrap();
    segment.remove().unwrap();
    assert!(gone(key), "no key finds it any more");

    let stat = segment.stat().unwrap();
    assert_eq!((stat.removed, stat.attached, stat.key), (true, 2, Key::PRIVATE));
    first.write(0, b"still us").unwrap();
    first.detach();
    assert_eq!(text_of(&second), "still us");
    drop(second);
    let error = segment.stat().unwrap_err();
    assert!([Errno::EINVAL, Errno::EIDRM].contains(&error.errno()), "{error}");

    // The key is free at once, for another segment.
    let other = Segment::create(key, 8, 0o600).unwrap();
    assert_ne!(other.id(), segment.id());
}

#[test]
fn several_create_at_once_and_get_the_same_segment() {
    let raw = unique_key();
    let _guard = SegmentGuard::Key(raw);
    let key = Key::from_raw(raw);
    let threads: Vec<_> = (0..8)
        .map(|_| std::thread::spawn(move || Segment::open_or_create(key, 100, 0o600).unwrap()))
        .collect();
    let segments: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(segments.iter().all(|segment| *segment == segments[0]));
}

#[test]
fn errors_say_what_failed_on_what_why_and_what_to_do() {
    let (_, key, _guard) = fresh(100, 0o600);
    let no_key = Key::from_raw(unique_key());
    let hex = key.to_string();
    let cases = [
        (Segment::create(key, 100, 0o600), Errno::EEXIST, vec!["shmget", &hex, "remove it first"]),
        (
            Segment::open_or_create(key, 5000, 0o600),
            Errno::EINVAL,
            vec![&hex, "5000 bytes asked for", "has 100"],
        ),
        (Segment::create(no_key, 0, 0o600), Errno::EINVAL, vec!["at least 1 byte"]),
        (Segment::create(no_key, usize::MAX, 0o600), Errno::EINVAL, vec!["kernel.shmmax"]),
        (Segment::open(no_key), Errno::ENOENT, vec!["create it first"]),
    ];
    for (outcome, errno, parts) in cases {
        let error = outcome.expect_err("must fail");
        let text = error.to_string();
        assert_eq!(error.errno(), errno, "{text}");
        assert!(text.contains(errno.name()) && !text.contains('\n'), "{text}");
        for part in parts {
            assert!(text.contains(part), "{part:?} is not in: {text}");
        }
        let source = std::error::Error::source(&error).expect("a source");
        assert_eq!(source.downcast_ref::<Errno>(), Some(&errno));
    }

    let program = example("segment");
    let text = fail(command(&program, &["read", &no_key.raw().to_string()]), 1);
    assert!(text.starts_with("segment: shmget of key") && text.contains("ENOENT"), "{text}");
    let text = fail(command(&program, &["write", &key.raw().to_string(), &"x".repeat(100)]), 1);
    assert_eq!(text, "segment: 101 bytes at offset 0 do not fit a segment of 100 bytes");
    fail(command(&program, &["paint", "0x1234"]), 2);
}
