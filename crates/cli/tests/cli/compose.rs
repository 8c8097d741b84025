//! Channels put together with what every system has: pipes, and the network. Whatever bytes a message has, it arrives
//! whole, in order, once; and a wire that is cut says where.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::support::{Ended, Name, Running, noise, outside, program, run, run_with, until};

/// The longest message of a channel with the defaults.
const LONGEST: usize = 524_272;

/// Messages of all byte values, empty ones, ones as long as they may be, and some of each length class.
fn messages() -> Vec<Vec<u8>> {
    let every_byte: Vec<u8> = (0..=255).collect();
    let mut messages = vec![Vec::new(), every_byte.clone(), every_byte.iter().rev().copied().collect()];
    messages.extend(every_byte.iter().map(|byte| vec![*byte]));
    messages.extend([
        Vec::new(),
        Vec::new(),
        noise(LONGEST, 1),
        Vec::new(),
        vec![0; LONGEST],
        vec![b'\n'; 777],
    ]);
    messages.extend((0..300).map(|number: usize| noise(number * number % 9_001, number as u64)));
    messages.push(Vec::new());
    messages
}

fn frames(messages: &[Vec<u8>]) -> Vec<u8> {
    let frame = |message: &Vec<u8>| {
        let length = u32::try_from(message.len()).unwrap().to_le_bytes();
        [&length[..], message].concat()
    };
    messages.iter().flat_map(frame).collect()
}

/// A line of bash, in which `$SYSRING` is the program, `$1` and `$2` are channels and `$3` is a port.
fn bash(line: &str, names: [&Name; 2], port: u16) -> Running {
    let mut command = outside("bash");
    command.args(["--norc", "-c", &format!("set -o pipefail; {line}"), "bash"]);
    command.args([names[0].str(), names[1].str(), &port.to_string()]).env("SYSRING", program());
    Running::of_with_input(command, "")
}

/// Sends into `near`; what comes out of `far` is the same. `lines` connect the two, the far end's first.
#[track_caller]
fn carried(near: &Name, far: &Name, connect: impl FnOnce() -> Vec<Running>) {
    let frames = frames(&messages());
    let receiver = Running::start(&["recv", far.str(), "--framing", "length"]);
    until("the last receiver sleeps", || far.stat()["receiver"]["asleep"] == true);
    let ends = connect();
    run_with(&["send", near.str(), "--framing", "length"], frames.clone()).quiet(0);
    // The near end goes when its senders have gone, and then the far one, and then the receiver behind it.
    ends.into_iter().for_each(|end| end.wait().quiet(0));
    let received = receiver.wait().ok_bytes();
    assert_eq!(received.len(), frames.len());
    assert!(received == frames);
    for name in [near, far] {
        assert_eq!((&name.stat()["messages"], &name.stat()["state"]), (&0.into(), &"idle".into()));
    }
}

const NEAR: &str = "$SYSRING recv $1 --framing length";
const FAR: &str = "$SYSRING send $2 --framing length";

#[test]
fn over_a_pipe() {
    let names = [Name::create(&[]), Name::create(&[])];
    carried(&names[0], &names[1], || vec![bash(&format!("{NEAR} | {FAR}"), [&names[0], &names[1]], 0)]);
}

/// The wire is a socket at either end, and nothing but bash is needed.
#[test]
fn over_tcp() {
    let names = [Name::create(&[]), Name::create(&[])];
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut pump = None;
    carried(&names[0], &names[1], || {
        let both = [&names[0], &names[1]];
        let near = bash(&format!("exec {NEAR} >/dev/tcp/127.0.0.1/$3"), both, port);
        let mut from = listener.accept().unwrap().0;
        let far = bash(&format!("exec {FAR} </dev/tcp/127.0.0.1/$3"), both, port);
        let mut to = listener.accept().unwrap().0;
        pump = Some(thread::spawn(move || std::io::copy(&mut from, &mut to).unwrap()));
        vec![near, far]
    });
    assert_eq!(pump.unwrap().join().unwrap() as usize, frames(&messages()).len());
}

/// A port that nobody had a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Connecting to find out would be taken for the connection.
fn listens(port: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let address = format!("0100007F:{port:04X} 00000000:0000 0A");
    table.contains(&address)
}

fn is_there(test: &str) -> bool {
    Command::new("sh").args(["-c", test]).output().unwrap().status.success()
}

fn over_a_tool(listen: &str, connect: &str) {
    let names = [Name::create(&[]), Name::create(&[])];
    let port = free_port();
    carried(&names[0], &names[1], || {
        let both = [&names[0], &names[1]];
        let far = bash(&format!("{listen} | {FAR}"), both, port);
        until("it listens", || listens(port));
        let near = bash(&format!("{NEAR} | {connect}"), both, port);
        vec![near, far]
    });
}

#[test]
fn over_nc() {
    if is_there("nc -h 2>&1 | grep -q OpenBSD") {
        over_a_tool("nc -l 127.0.0.1 $3", "nc -N 127.0.0.1 $3");
    } else {
        println!("SKIPPED: no nc (of OpenBSD) on this machine");
    }
}

#[test]
fn over_socat() {
    if is_there("command -v socat >&2") {
        over_a_tool(
            "socat -u TCP-LISTEN:$3,bind=127.0.0.1,reuseaddr STDOUT",
            "socat -u STDIN TCP:127.0.0.1:$3",
        );
    } else {
        println!("SKIPPED: no socat on this machine");
    }
}

/// Every message says which it is, and is long enough that they fill any socket's buffers.
fn numbered(count: u64) -> Vec<Vec<u8>> {
    (0..count).map(|number| [&number.to_le_bytes()[..], &noise(20_000, number + 1)].concat()).collect()
}

/// The wire is cut in the middle of a frame. The far end has sent every whole frame on and says where the broken one
/// began; the near end says how many the wire took, and whoever receives next goes on behind them.
#[test]
fn a_wire_that_is_cut() {
    const COUNT: u64 = 1_500;
    const WHOLE: usize = 100;
    let names = [Name::create(&[]), Name::create(&["--capacity", "8MiB"])];
    let both = [&names[0], &names[1]];
    let messages = numbered(COUNT);
    let sender = Running::with_input(&["send", names[0].str(), "--framing", "length"], frames(&messages));

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let near = bash(&format!("exec {NEAR} >/dev/tcp/127.0.0.1/$3"), both, port);
    let mut from = listener.accept().unwrap().0;
    let far = bash(&format!("exec {FAR} </dev/tcp/127.0.0.1/$3"), both, port);
    let mut to = listener.accept().unwrap().0;
    let cut = WHOLE * (20_008 + 4) + 4 + 77;
    let mut passed = vec![0; cut];
    from.read_exact(&mut passed).unwrap();
    to.write_all(&passed).unwrap();
    until("the near end cannot write any more", || is_stuck(&names[0]));
    // What has not been read is thrown away, and the near end is told so (RST).
    drop(from);
    to.shutdown(Shutdown::Both).unwrap();

    let offset = format!("at byte {}", WHOLE * (20_008 + 4));
    far.wait().failed(1, &[names[1].str(), &offset, "truncated", "20008 bytes", "77 are there"]);
    let far_count = WHOLE.to_string();
    let received = run(&["recv", names[1].str(), "--framing", "length", "--count", &far_count]).ok_bytes();
    assert!(received == frames(&messages[..WHOLE]));
    assert_eq!(names[1].stat()["messages"], 0);

    let ended = near.wait();
    let taken = tally(&ended.stderr);
    ended.failed(1, &[names[0].str(), "stdout", "ECONNRESET", "messages received", "stay in the channel"]);
    // What the wire had taken is lost with it, as with any wire; nothing else is.
    assert!(taken >= WHOLE && taken < messages.len(), "{taken}");
    let rest = Running::start(&["recv", names[0].str(), "--framing", "length"]);
    sender.wait().quiet(0);
    assert!(rest.wait().ok_bytes() == frames(&messages[taken..]));
}

/// The receiver is there and takes nothing, because it is busy with its output.
fn is_stuck(name: &Name) -> bool {
    let received = || name.stat()["senders"][0]["received"].clone();
    let before = received();
    thread::sleep(Duration::from_millis(30));
    name.stat()["senders"][0]["asleep"] == true && before == received()
}

/// The number in `... 1,234 messages received ...`.
fn tally(line: &str) -> usize {
    let (before, _) = line.split_once(" message").unwrap_or_else(|| panic!("no number in {line:?}"));
    before.rsplit(' ').next().unwrap().replace(',', "").parse().unwrap()
}

/// The wire ends between two frames: that is an end like any other.
#[test]
fn a_wire_that_ends_behind_a_frame() {
    let names = [Name::create(&[]), Name::create(&[])];
    let messages = messages();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let far = bash(&format!("exec {FAR} </dev/tcp/127.0.0.1/$3"), [&names[0], &names[1]], port);
    let mut to = listener.accept().unwrap().0;
    to.write_all(&frames(&messages[..40])).unwrap();
    drop(to);
    far.wait().quiet(0);
    let received = run(&["recv", names[1].str(), "--framing", "length", "--count", "40"]).ok_bytes();
    assert!(received == frames(&messages[..40]));
}

/// Bytes that come one by one, and late, are frames all the same.
#[test]
fn a_wire_that_dribbles() {
    let names = [Name::create(&[]), Name::create(&[])];
    let messages = [vec![], vec![0, 255, 10], b"\n\n".to_vec(), vec![]];
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let far = bash(&format!("exec {FAR} </dev/tcp/127.0.0.1/$3"), [&names[0], &names[1]], port);
    let mut to: TcpStream = listener.accept().unwrap().0;
    to.set_nodelay(true).unwrap();
    let (send, bytes) = mpsc::channel();
    frames(&messages).into_iter().for_each(|byte| send.send(byte).unwrap());
    drop(send);
    for byte in bytes {
        to.write_all(&[byte]).unwrap();
        thread::sleep(Duration::from_millis(2));
    }
    drop(to);
    far.wait().quiet(0);
    let received: Ended = run(&["recv", names[1].str(), "--framing", "length", "--count", "4"]);
    assert_eq!(received.ok_bytes(), frames(&messages));
}

/// The end of a pipeline that takes only some: the rest stays.
#[test]
fn a_reader_that_has_enough() {
    let name = Name::create(&[]);
    let lines: String = (0..100_000).map(|line| format!("{line}\n")).collect();
    let sender = Running::with_input(&["send", name.str()], lines.clone());
    let head = bash("$SYSRING recv $1 | head -n 3", [&name, &name], 0);
    let ended = head.wait();
    assert_eq!((ended.code, &ended.stdout[..], &ended.stderr[..]), (Some(0), &b"0\n1\n2\n"[..], ""));
    // The pipe had taken some more, which nobody has read; behind them everything comes.
    let rest = Running::start(&["recv", name.str()]);
    sender.wait().quiet(0);
    let rest = rest.wait().ok();
    assert!(lines.ends_with(&format!("\n{rest}")), "{:?}", rest.lines().next());
}
