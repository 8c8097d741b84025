//! Processes that work at the same time, and what disturbs them.
#![allow(unsafe_code, reason = "which processors a process may use")]

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sysring::{Builder, Channel, Fence, Sender, WaitStrategy};

use crate::message::Random;
use crate::process::{Child, End};
use crate::runner::is_long;

/// Without any progress for so long, something hangs; in the long form, which may run beside much else, for ten times
/// that.
const HANG: Duration = Duration::from_secs(20);

/// What disturbs the processes of a round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    /// The processor that all have to share; `None`: all that there are.
    pub(crate) core: Option<usize>,
    /// They are stopped at random moments.
    stops: bool,
    /// How long they wait between operations, in rounds of a loop.
    pause: u64,
}

impl Weather {
    pub(crate) fn draw(random: &mut Random) -> Weather {
        let cores = allowed_cores();
        let core = (random.below(3) == 0).then(|| cores[random.below(cores.len() as u64) as usize]);
        let pause = [0, 0, 200, 2000][random.below(4) as usize];
        Weather { core, stops: random.below(2) == 0, pause }
    }

    /// To be called in a child.
    pub(crate) fn enter(&self) {
        if let Some(core) = self.core {
            pin(core);
        }
    }

    /// What may come between two operations.
    pub(crate) fn delay(&self, random: &mut Random) {
        match random.below(64) {
            0 => thread::yield_now(),
            1 if self.pause > 0 => thread::sleep(Duration::from_micros(random.below(50))),
            2..32 if self.pause > 0 => {
                (0..random.below(self.pause)).for_each(|step| _ = std::hint::black_box(step));
            }
            _ => {}
        }
    }

    /// Waits until all have ended well, and disturbs them meanwhile. `progress` changes as long as they get on.
    pub(crate) fn oversee(
        &self,
        children: &[Child],
        random: &mut Random,
        progress: impl Fn() -> u64,
    ) -> Result<(), String> {
        let mut at_work: Vec<&Child> = children.iter().collect();
        let (mut latest, mut since) = (progress(), Instant::now());
        let patience = if is_long() { 10 * HANG } else { HANG };
        while !at_work.is_empty() {
            let mut ends = Vec::new();
            at_work.retain(|child| match child.try_wait() {
                None => true,
                Some(end) => {
                    ends.push((child.pid(), end));
                    false
                }
            });
            if let Some((pid, end)) = ends.into_iter().find(|(_, end)| *end != End::Exit(0)) {
                return Err(format!("process {pid} ended by {end:?}"));
            }
            let now = progress();
            if now != latest {
                (latest, since) = (now, Instant::now());
            } else if since.elapsed() > patience {
                return Err(format!("{} processes have done nothing for {patience:?}", at_work.len()));
            }
            let unlucky = at_work.get(random.below(at_work.len().max(1) as u64 * 2) as usize);
            match unlucky.filter(|_| self.stops) {
                Some(child) => {
                    child.signal(libc::SIGSTOP);
                    thread::sleep(Duration::from_micros(random.below(100)));
                    child.signal(libc::SIGCONT);
                }
                None if self.stops => thread::sleep(Duration::from_micros(random.below(50))),
                None => thread::sleep(Duration::from_micros(500)),
            }
        }
        Ok(())
    }
}

/// Takes seats that stay idle, anywhere between those that are left free.
pub(crate) fn sit_idle(channel: &Channel, seats: u32, idle: u32, random: &mut Random) -> Vec<Sender> {
    if idle == 0 {
        return Vec::new();
    }
    let mut senders: Vec<Sender> = (0..seats).map(|_| channel.sender().expect("a seat")).collect();
    while senders.len() > idle as usize {
        senders.swap_remove(random.below(senders.len() as u64) as usize);
    }
    senders
}

/// Takes any seat.
pub(crate) fn take_seat(channel: &Channel) -> Sender {
    // Others look for one at the same time, and may pass each other.
    (0..100).find_map(|_| channel.sender().ok()).expect("a seat")
}

/// Draws what concerns a handle alone.
pub(crate) fn any_handle(builder: &Builder, random: &mut Random) -> Builder {
    let strategies = [WaitStrategy::Spin, WaitStrategy::SpinThenSleep, WaitStrategy::Sleep];
    let fence = if random.below(8) == 0 { Fence::Real } else { Fence::Auto };
    builder.clone().wait(strategies[random.below(3) as usize]).fence(fence).latency(random.below(2) == 0)
}

/// Waits until the word is at least so large.
pub(crate) fn await_count(word: &AtomicU64, count: u64) {
    for round in 0_u64.. {
        if word.load(Ordering::Acquire) >= count {
            return;
        }
        if round % 256 == 255 {
            thread::yield_now();
        }
        std::hint::spin_loop();
    }
}

fn empty_set() -> libc::cpu_set_t {
    // SAFETY: zeroes are a valid, empty set.
    unsafe { std::mem::zeroed() }
}

/// Processors that this process may use.
pub(crate) fn allowed_cores() -> Vec<usize> {
    let mut set = empty_set();
    // SAFETY: the set is ours and of that size.
    let failed = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &mut set) };
    assert_eq!(failed, 0, "sched_getaffinity: {}", io::Error::last_os_error());
    // SAFETY: small numbers, of a set that holds so many.
    (0..libc::CPU_SETSIZE as usize).filter(|&core| unsafe { libc::CPU_ISSET(core, &set) }).collect()
}

fn pin(core: usize) {
    let mut set = empty_set();
    // SAFETY: a number that came out of such a set.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: the set is ours and of that size.
    let failed = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) };
    assert_eq!(failed, 0, "cannot run on core {core}: {}", io::Error::last_os_error());
}
