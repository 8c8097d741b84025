//! Channels that go away with the test, and processes that cannot outlive it.

use std::ffi::OsStr;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{self, Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use serde_json::Value;

/// No process of a test lives longer.
const DEADLINE: Duration = Duration::from_secs(60);

/// A channel name of this test alone; whatever it came to name is removed at the end.
#[derive(Debug)]
pub(crate) struct Name(String);

impl Name {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self(format!("sysring-cli-test-{}-{number}", process::id()))
    }

    /// A channel made by `sysring create` with these options.
    pub(crate) fn create(options: &[&str]) -> Self {
        let name = Self::new();
        let args = [&["create", name.str()], options].concat();
        run(&args).ok();
        name
    }

    pub(crate) fn str(&self) -> &str {
        &self.0
    }

    pub(crate) fn stat(&self) -> Value {
        serde_json::from_str(&run(&["stat", "--json", self.str()]).ok()).unwrap()
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let removed = run(&["rm", self.str()]);
        if !thread::panicking() {
            assert!(matches!(removed.code, Some(0 | 3)), "{removed:?}");
        }
    }
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ended {
    /// It ended well and said nothing but this.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        String::from_utf8(self.ok_bytes()).unwrap()
    }

    #[track_caller]
    pub(crate) fn ok_bytes(self) -> Vec<u8> {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        assert_eq!(self.stderr, "");
        self.stdout
    }

    /// It ended with this status, and said why in one line that has all these words.
    #[track_caller]
    pub(crate) fn failed(self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        assert!(self.stderr.starts_with("sysring: "), "{:?}", self.stderr);
        assert!(self.stderr.ends_with('\n'), "{:?}", self.stderr);
        assert_eq!(self.stderr.lines().count(), 1, "{:?}", self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "no {word:?} in {:?}", self.stderr);
        }
    }

    /// It ended with this status and had nothing to say.
    #[track_caller]
    pub(crate) fn quiet(self, code: i32) {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        assert_eq!(self.stderr, "");
    }
}

/// A process under way. Its output is read all the time; when dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    writer: Option<JoinHandle<()>>,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
    started: Instant,
}

impl Running {
    /// Stdin is open and empty.
    pub(crate) fn start(args: &[impl AsRef<OsStr>]) -> Self {
        Self::of(command(args))
    }

    /// Another command, with what it has for streams.
    pub(crate) fn of(mut command: Command) -> Self {
        let mut child = loop {
            match command.spawn() {
                // A copy of the binary, which a child of another test still has open for the moment before its exec.
                Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => thread::yield_now(),
                child => break child.unwrap(),
            }
        };
        let stdout = child.stdout.take().map(read_all);
        let stderr = child.stderr.take().map(read_all);
        let stdin = child.stdin.take();
        Self { child, stdin, writer: None, stdout, stderr, started: Instant::now() }
    }

    /// Stdin has these bytes, then ends.
    pub(crate) fn with_input(args: &[impl AsRef<OsStr>], input: impl Into<Vec<u8>>) -> Self {
        Self::start(args).fed(input)
    }

    /// As [`Running::with_input`], another command.
    pub(crate) fn of_with_input(mut command: Command, input: impl Into<Vec<u8>>) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self::of(command).fed(input)
    }

    fn fed(mut self, input: impl Into<Vec<u8>>) -> Self {
        let (mut stdin, input) = (self.stdin.take().unwrap(), input.into());
        // A process that ends early does not read all of it.
        self.writer = Some(thread::spawn(move || drop(stdin.write_all(&input))));
        self
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes to stdin, which stays open.
    pub(crate) fn type_in(&mut self, text: &str) {
        self.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// The reader of its stdout goes away without having read a byte.
    pub(crate) fn start_unread(args: &[impl AsRef<OsStr>]) -> Self {
        let mut child = command(args).spawn().unwrap();
        drop(child.stdout.take());
        let stderr = child.stderr.take().map(read_all);
        let stdin = child.stdin.take();
        Self { child, stdin, writer: None, stdout: None, stderr, started: Instant::now() }
    }

    pub(crate) fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.pid());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// Closes stdin and waits for the end.
    #[track_caller]
    pub(crate) fn finish(mut self) -> Ended {
        drop(self.stdin.take());
        self.wait()
    }

    /// Waits for the end; stdin stays open until then.
    #[track_caller]
    pub(crate) fn wait(mut self) -> Ended {
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(self.started.elapsed() < DEADLINE, "still running: {:?}", self.child);
            thread::sleep(Duration::from_millis(2));
        };
        drop(self.stdin.take());
        if let Some(writer) = self.writer.take() {
            writer.join().unwrap();
        }
        let text = |reader: Option<JoinHandle<Vec<u8>>>| {
            reader.map_or_else(Vec::new, |reader| reader.join().unwrap())
        };
        Ended {
            code: status.code(),
            stdout: text(self.stdout.take()),
            stderr: String::from_utf8(text(self.stderr.take())).unwrap(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `sysring` with empty input to its end.
#[track_caller]
pub(crate) fn run(args: &[impl AsRef<OsStr>]) -> Ended {
    Running::start(args).finish()
}

/// Runs `sysring` with this input to its end.
#[track_caller]
pub(crate) fn run_with(args: &[impl AsRef<OsStr>], input: impl Into<Vec<u8>>) -> Ended {
    Running::with_input(args, input).wait()
}

/// Runs `sysring` with empty input to its end, with a library from this C source loaded before all others.
#[track_caller]
pub(crate) fn run_preloaded(source: &str, variables: &[(&str, &str)], args: &[impl AsRef<OsStr>]) -> Ended {
    let mut command = command(args);
    command.env("LD_PRELOAD", library(source)).envs(variables.iter().copied());
    Running::of(command).finish()
}

/// Compiles a C source, by its path in this crate, as a shared library.
fn library(source: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
    let stem = source.file_stem().unwrap().to_str().unwrap();
    // One for each test, because a library cannot be loaded while another compiler writes it.
    let name = format!("{stem}-{:?}.so", thread::current().id());
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut compiler = Command::new("cc");
    compiler
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"])
        .arg(&library)
        .arg(&source);
    assert!(compiler.status().unwrap().success());
    library
}

/// Enters an IPC namespace of its own with this thread and what it starts. False if that is not allowed.
pub(crate) fn alone() -> bool {
    unshare(CloneFlags::CLONE_NEWIPC).is_ok()
}

/// Neither segment nor semaphore set is in the namespace of this thread.
#[track_caller]
pub(crate) fn assert_empty() {
    for kind in ["shm", "sem"] {
        let list = std::fs::read_to_string(format!("/proc/sysvipc/{kind}")).unwrap();
        assert_eq!(list.lines().count(), 1, "{list}");
    }
}

/// Waits until something holds.
#[track_caller]
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < DEADLINE, "not within the deadline: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// `1\n2\n...n\n`
pub(crate) fn numbers(n: u32) -> String {
    (1..=n).map(|i| format!("{i}\n")).collect()
}

/// Bytes without any pattern (xorshift).
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// The built binary.
pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_sysring"))
}

/// What decides about colours and characters. No test takes it from the environment that the tests are run in.
pub(crate) const SURROUNDINGS: [&str; 8] =
    ["CI", "CLICOLOR", "CLICOLOR_FORCE", "COLORTERM", "LANG", "LC_ALL", "LC_CTYPE", "NO_COLOR"];

/// `sysring`, a copy of it, or the shell that starts it: all programs whose output is looked at.
pub(crate) fn outside(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for name in SURROUNDINGS {
        command.env_remove(name);
    }
    command
}

fn command(args: &[impl AsRef<OsStr>]) -> Command {
    let mut command = outside(program());
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn read_all(mut stream: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// A file that goes away with the test.
pub(crate) struct TempFile(PathBuf);

impl TempFile {
    pub(crate) fn new(content: impl AsRef<[u8]>) -> Self {
        let path = std::env::temp_dir().join(Name::new().str());
        std::fs::write(&path, content).unwrap();
        Self(path)
    }

    pub(crate) fn str(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
