//! What several test programs need: other programs to run, keys of their own, a broom.
#![allow(dead_code, reason = "every test program uses another part of it")]

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sysring::segment::{Key, Segment};

/// The built program of `examples/NAME.rs`. `cargo test` builds them next to the tests.
pub(crate) fn example(name: &str) -> PathBuf {
    // target/PROFILE/deps/TEST -> target/PROFILE/examples/NAME
    let test = std::env::current_exe().expect("a path to this test");
    let profile = test.ancestors().nth(2).expect("target/PROFILE/deps/TEST");
    let program = profile.join("examples").join(name);
    assert!(program.exists(), "{program:?} is missing; run cargo build --examples");
    program
}

/// Compiles `tests/c/SOURCE` with the system's C compiler and returns the program.
pub(crate) fn compile_c(source: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c").join(source);
    let stem = Path::new(source).file_stem().expect("a file name").to_str().expect("UTF-8");
    // Built under a name of its own and then renamed, because tests run at the same time, and a
    // program cannot be started while another compiler writes it.
    let unfinished = directory.join(format!("{stem}-{:x}", unique_key()));
    let program = directory.join(format!("c-{stem}"));
    let mut compiler = Command::new("cc");
    compiler.args(["-O1", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&unfinished).arg(&from);
    succeed(compiler);
    std::fs::rename(&unfinished, &program).expect("rename the program");
    program
}

/// Compiles `tests/c/SOURCE` as a shared library, to be loaded with LD_PRELOAD, and returns it.
pub(crate) fn compile_c_library(source: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c").join(source);
    let stem = Path::new(source).file_stem().expect("a file name").to_str().expect("UTF-8");
    // Renamed when it is whole, as in `compile_c`.
    let unfinished = directory.join(format!("{stem}-{:x}.so", unique_key()));
    let library = directory.join(format!("lib{stem}.so"));
    let mut compiler = Command::new("cc");
    compiler
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"])
        .arg(&unfinished)
        .arg(&from);
    succeed(compiler);
    std::fs::rename(&unfinished, &library).expect("rename the library");
    library
}

/// A key that no other running test uses: never 0, made of the pid and a count.
pub(crate) fn unique_key() -> i32 {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    // Linux has at most 2^22 pids, which leaves 10 bits.
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    assert!(count < 1 << 10, "too many keys for one test program");
    (std::process::id() << 10 | count).cast_signed()
}

/// Removes a segment when it goes out of scope, also by a panic; no matter if it is gone already.
pub(crate) enum SegmentGuard {
    /// Whatever has the key by then.
    Key(i32),
    /// The one with this id.
    Id(i32),
}

impl Drop for SegmentGuard {
    fn drop(&mut self) {
        let segment = match *self {
            SegmentGuard::Key(key) => Segment::open(Key::from_raw(key)),
            SegmentGuard::Id(id) => Ok(Segment::from_id(id)),
        };
        let _ = segment.and_then(|segment| segment.remove());
    }
}

/// Runs a program to its end and returns what it printed; kills it and panics if that takes longer
/// than `deadline`. Its standard input is whatever `command` says.
pub(crate) fn run_with_deadline(mut command: Command, deadline: Duration) -> Output {
    let end = Instant::now() + deadline;
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    // Read while it runs, or a full pipe would hold it up.
    let stdout = read_all(child.stdout.take().expect("piped"));
    let stderr = read_all(child.stderr.take().expect("piped"));
    let status: ExitStatus = loop {
        if let Some(status) = child.try_wait().expect("wait for a child of ours") {
            break status;
        }
        if Instant::now() >= end {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{command:?} was not done after {deadline:?}");
        }
        thread::sleep(Duration::from_millis(2));
    };
    let join = |reader: thread::JoinHandle<Vec<u8>>| reader.join().expect("the reader");
    Output { status, stdout: join(stdout), stderr: join(stderr) }
}

/// Runs a program that must succeed within 30 seconds and returns what it printed, without the
/// last line break.
pub(crate) fn succeed(command: Command) -> String {
    let name = format!("{command:?}");
    let output = run_with_deadline(command, Duration::from_secs(30));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {}, {errors}", output.status);
    String::from_utf8(output.stdout).expect("UTF-8").trim_end_matches('\n').to_owned()
}

/// Runs a program that must fail with exit code `code` within 30 seconds and returns what it wrote
/// to standard error, without the last line break.
pub(crate) fn fail(command: Command, code: i32) -> String {
    let name = format!("{command:?}");
    let output = run_with_deadline(command, Duration::from_secs(30));
    let errors = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(code), "{name}: {errors}");
    errors.trim_end_matches('\n').to_owned()
}

fn read_all(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).expect("read from a child of ours");
        bytes
    })
}

/// Removes a channel when it goes out of scope, also by a panic; no matter if it is gone already.
pub(crate) struct ChannelGuard(pub(crate) String);

impl Drop for ChannelGuard {
    fn drop(&mut self) {
        let _ = sysring::remove(&self.0);
    }
}

/// Kills a process when it goes out of scope, also by a panic; no matter if it has ended already.
pub(crate) struct ChildGuard(pub(crate) std::process::Child);

impl ChildGuard {
    /// Waits for its end; panics if that takes longer than 30 seconds.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait_until("a process has ended", || self.0.try_wait().expect("wait for a child of ours"))
    }

    /// As `kill -9`, and returns when the kernel has cleared it away.
    pub(crate) fn kill(&mut self) {
        self.0.kill().expect("kill a child of ours");
        self.0.wait().expect("wait for a child of ours");
    }
}

impl Drop for ChildGuard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Looks until there is something to see, for 30 seconds at most.
pub(crate) fn wait_until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < end, "not within 30 s: {what}");
        thread::sleep(Duration::from_micros(500));
    }
}

/// The kernel objects that a test has caused, so that it can check at its end that none is left:
/// segments as `ipcs -m` lists them, semaphore sets as `ipcs -s` does.
#[derive(Default)]
pub(crate) struct Objects {
    segments: Vec<i32>,
    sets: Vec<i32>,
    keys: Vec<i32>,
}

impl Objects {
    /// Notes the segment and the set of a channel that is there now, and its key.
    pub(crate) fn note(&mut self, stats: &sysring::Stats) {
        assert!(stats.semaphore_set >= 0, "{stats:?}");
        self.note_ids(stats.id, stats.semaphore_set);
        if stats.key != 0 {
            self.note_key(stats.key);
        }
    }

    /// Notes a segment and a set that a program has told of.
    pub(crate) fn note_ids(&mut self, segment: i32, set: i32) {
        self.segments.push(segment);
        self.sets.push(set);
    }

    /// Notes a key that somebody may make a segment under.
    pub(crate) fn note_key(&mut self, key: i32) {
        self.keys.push(key);
    }

    /// Panics if one of them is still there.
    pub(crate) fn assert_gone(&self) {
        assert_eq!(self.left(), None);
    }

    /// Where one of them is still listed, and how.
    pub(crate) fn left(&self) -> Option<String> {
        // Both lists begin with key and id.
        let left = |kind: &str, keys: &[i32], ids: &[i32]| {
            let list = std::fs::read_to_string(format!("/proc/sysvipc/{kind}")).expect("/proc/sysvipc");
            let line_left = list.lines().skip(1).find(|line| {
                let mut words = line.split_whitespace().map(|word| word.parse().expect("a number"));
                let (key, id) = (words.next().expect("a key"), words.next().expect("an id"));
                keys.contains(&key) || ids.contains(&id)
            });
            line_left.map(|line| format!("left in /proc/sysvipc/{kind}: {line}"))
        };
        left("shm", &self.keys, &self.segments).or_else(|| left("sem", &[], &self.sets))
    }
}
