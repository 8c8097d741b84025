//! What the kernel sees: no system call per message while nobody sleeps, and no processor time while idle.
//!
//! The test binary runs itself again for each process, with its role in the environment.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use sysring::{RecvError, WaitStrategy};

const ROLE: &str = "SYSRING_TEST_ROLE";
const CHANNEL: &str = "SYSRING_TEST_CHANNEL";
const MESSAGES: u64 = 2_000_000;

/// Removes the channel and kills what still runs, also when the test panics.
struct Scene {
    channel: String,
    children: Vec<Child>,
}

impl Scene {
    fn new(name: &str) -> Scene {
        Scene { channel: format!("test-{name}-{}", std::process::id()), children: Vec::new() }
    }

    /// Starts this binary in a role, behind `wrapper`.
    fn start(&mut self, role: &str, wrapper: &[&str]) {
        let exe = env::current_exe().unwrap();
        let exe = exe.to_str().unwrap();
        let line: Vec<&str> = wrapper.iter().copied().chain([exe, "role", "--exact", "--quiet"]).collect();
        let child = Command::new(line[0])
            .args(&line[1..])
            .env(ROLE, role)
            .env(CHANNEL, &self.channel)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.children.push(child);
    }

    /// Waits for all, and that they succeeded, with a deadline.
    fn finish(&mut self, limit: Duration) {
        let deadline = Instant::now() + limit;
        for mut child in self.children.drain(..) {
            let status = loop {
                if let Some(status) = child.try_wait().unwrap() {
                    break status;
                }
                if Instant::now() > deadline {
                    let _ = child.kill();
                    let _ = child.wait();
                    panic!("a process did not end in {limit:?}");
                }
                thread::sleep(Duration::from_millis(5));
            };
            assert!(status.success(), "a process failed: {status}");
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = sysring::remove(&self.channel);
    }
}

/// Not a test of its own: what the other processes do.
#[test]
fn role() {
    let Ok(role) = env::var(ROLE) else { return };
    let channel = env::var(CHANNEL).unwrap();
    let builder = sysring::spsc().wait(WaitStrategy::Spin);
    match role.as_str() {
        "sender" => {
            let mut tx = builder.sender(&channel).unwrap();
            for number in 0..MESSAGES {
                tx.send(number.to_le_bytes()).unwrap();
            }
        }
        "receiver" => {
            let mut rx = builder.receiver(&channel).unwrap();
            let mut buffer = [0; 8];
            for number in 0..MESSAGES {
                assert_eq!(rx.recv_into(&mut buffer).unwrap(), 8);
                assert_eq!(u64::from_le_bytes(buffer), number);
            }
        }
        "idle" => {
            let mut rx = sysring::spsc().receiver(&channel).unwrap();
            assert!(matches!(rx.recv().map(drop), Err(RecvError::Removed)));
        }
        other => panic!("no role {other}"),
    }
}

#[test]
fn no_system_call_per_message() {
    if Command::new("strace").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        eprintln!("skipped: strace is not installed");
        return;
    }
    let mut scene = Scene::new("strace");
    sysring::spsc().create(&scene.channel).unwrap();
    let counts: Vec<PathBuf> = ["sender", "receiver"]
        .map(|role| {
            let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}.{role}", scene.channel));
            scene.start(role, &["strace", "-f", "-c", "-o", file.to_str().unwrap()]);
            file
        })
        .into();
    scene.finish(Duration::from_secs(60));
    for file in counts {
        let table = fs::read_to_string(&file).unwrap();
        let total =
            table.lines().find(|line| line.trim_end().ends_with("total")).expect("strace ends with a total");
        // % time, seconds, usecs/call, calls, errors, total: the errors may be missing.
        let calls: u64 = total.split_whitespace().nth(3).unwrap().parse().unwrap();
        println!("{calls} system calls for {MESSAGES} messages");
        // Start-up and asking for a silent peer every 100 us are all there is.
        assert!(calls < MESSAGES / 20, "{calls} system calls for {MESSAGES} messages:\n{table}");
        fs::remove_file(file).unwrap();
    }
}

#[test]
fn idle_receiver_uses_no_processor_time() {
    let mut scene = Scene::new("idle");
    scene.start("idle", &[]);
    let pid = scene.children[0].id();
    let ticks = || -> u64 {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    thread::sleep(Duration::from_millis(500));
    let before = ticks();
    thread::sleep(Duration::from_secs(3));
    let used = ticks() - before;
    // A tick is 10 ms; one may fall on any process.
    assert!(used <= 1, "{used} ticks of processor time in 3 s of waiting");
    sysring::remove(&scene.channel).unwrap();
    scene.finish(Duration::from_secs(10));
}
