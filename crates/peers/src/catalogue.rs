//! Which peer does which work.

use std::time::Duration;

use crate::board::Board;
use crate::peer::{Peer, Setup, Wait};
use crate::peers::iceoryx2::{Iceoryx2, Iceoryx2Event, Iceoryx2Loan};
use crate::peers::ipc_channel::IpcChannel;
use crate::peers::kernel::{Pipe, PosixMq, Seqpacket, SysvMsg};
use crate::peers::{iceoryx2, ipmpsc, ours, reference, ringfire, shaq, shm_ring, shmem_ipc, threads};
use crate::work::{self, Idle, InPlace, Pace, Place, Window};

/// One peer at one piece of work.
pub(crate) struct Case {
    pub(crate) workload: &'static str,
    pub(crate) peer: &'static str,
    pub(crate) size: usize,
    pub(crate) senders: usize,
    /// What each figure of a run is.
    pub(crate) units: &'static [&'static str],
    pub(crate) run: Box<dyn Fn(&Board)>,
}

const RATE: &[&str] = &["msg/s"];
const DELAY: &[&str] = &["ns p50", "ns p99", "ns p99.9", "ns min"];

const W1_SIZES: [usize; 6] = [8, 64, 256, 1024, 4096, 65536];
const W2_SIZES: [usize; 2] = [48, 64];
const W4_SENDERS: [usize; 3] = [2, 4, 8];
const W5_SIZES: [usize; 2] = [64, 1024];
const W6_SIZES: [usize; 3] = [1024, 64 << 10, 1 << 20];
const PACES: [(&str, f64, usize); 8] = [
    ("w7-10k", 1e4, 1),
    ("w7-100k", 1e5, 1),
    ("w7-1M", 1e6, 1),
    ("w7-5M", 5e6, 1),
    ("w7-10k-bursts", 1e4, 16),
    ("w7-100k-bursts", 1e5, 16),
    ("w7-1M-bursts", 1e6, 16),
    ("w7-5M-bursts", 5e6, 16),
];

/// How long things are measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) throughput: Window,
    pub(crate) trips: Window,
}

impl Times {
    pub(crate) fn new(quick: bool) -> Times {
        let window = |warm, measure| Window {
            warm: Duration::from_millis(warm),
            measure: Duration::from_millis(measure),
        };
        if quick {
            Times { throughput: window(10, 30), trips: window(5, 20) }
        } else {
            Times { throughput: window(20, 100), trips: window(10, 60) }
        }
    }
}

/// Room for messages: 1 MiB, and 4 of them at least.
const fn room(size: usize) -> usize {
    if 4 * size > 1 << 20 { 4 * size } else { 1 << 20 }
}

/// Messages that may wait.
const fn slots(size: usize) -> usize {
    Setup { size, senders: 1, room: room(size), wait: Wait::Spin }.slots()
}

/// The list of cases as it grows.
struct List {
    cases: Vec<Case>,
    times: Times,
}

impl List {
    fn add<P: Peer>(
        &mut self,
        workload: &'static str,
        units: &'static [&'static str],
        setup: Setup,
        run: impl Fn(&Board) + 'static,
    ) {
        self.cases.push(Case {
            workload,
            peer: P::NAME,
            size: setup.size,
            senders: setup.senders,
            units,
            run: Box::new(run),
        });
    }

    fn one_way<P: Peer>(&mut self, workload: &'static str, setup: Setup, place: Place) {
        let window = self.times.throughput;
        self.add::<P>(workload, RATE, setup, move |board| work::one_way::<P>(board, setup, place, window));
    }

    fn w1<P: Peer>(&mut self, size: usize) {
        let setup = Setup { size, senders: 1, room: room(size), wait: Wait::Spin };
        self.one_way::<P>("w1", setup, Place::TwoCores);
    }

    fn w1_default<P: Peer>(&mut self, size: usize) {
        let setup = Setup { size, senders: 1, room: room(size), wait: Wait::Default };
        self.one_way::<P>("w1", setup, Place::TwoCores);
    }

    /// What `memcpy` alone does.
    fn w1_copies(&mut self, size: usize) {
        let setup = Setup { size, senders: 1, room: room(size), wait: Wait::Spin };
        let window = self.times.throughput;
        self.cases.push(Case {
            workload: "w1",
            peer: reference::Copies::NAME,
            size,
            senders: 1,
            units: RATE,
            run: Box::new(move |board| work::copies(board, setup, window)),
        });
    }

    fn trip<P: Peer>(&mut self, workload: &'static str, size: usize, wait: Wait, place: Place, idle: Idle) {
        let setup = Setup { size, senders: 1, room: room(size), wait };
        let window = self.times.trips;
        self.add::<P>(workload, DELAY, setup, move |board| {
            work::round_trip::<P>(board, setup, place, idle, window);
        });
    }

    fn w2<P: Peer>(&mut self, size: usize) {
        self.trip::<P>("w2", size, Wait::Spin, Place::TwoCores, Idle::No);
    }

    /// Its sizes and numbers of slots are types.
    fn w1_spsc(&mut self, size: usize) {
        match size {
            8 => self.w1::<iceoryx2::Spsc<8, { slots(8) }>>(size),
            64 => self.w1::<iceoryx2::Spsc<64, { slots(64) }>>(size),
            256 => self.w1::<iceoryx2::Spsc<256, { slots(256) }>>(size),
            1024 => self.w1::<iceoryx2::Spsc<1024, { slots(1024) }>>(size),
            4096 => self.w1::<iceoryx2::Spsc<4096, { slots(4096) }>>(size),
            65536 => self.w1::<iceoryx2::Spsc<65536, { slots(65536) }>>(size),
            _ => unreachable!("not a size of w1"),
        }
    }

    fn w2_spsc(&mut self, size: usize) {
        match size {
            48 => self.w2::<iceoryx2::Spsc<48, { slots(48) }>>(size),
            64 => self.w2::<iceoryx2::Spsc<64, { slots(64) }>>(size),
            _ => unreachable!("not a size of w2"),
        }
    }

    fn w3_asleep<P: Peer>(&mut self) {
        self.trip::<P>("w3-asleep", 64, Wait::Sleep, Place::TwoCores, Idle::No);
        self.trip::<P>("w3-asleep-one-core", 64, Wait::Sleep, Place::OneCore, Idle::No);
    }

    fn w3_default<P: Peer>(&mut self) {
        self.trip::<P>("w3-default", 64, Wait::Default, Place::TwoCores, Idle::No);
        self.trip::<P>("w3-default-idle", 64, Wait::Default, Place::TwoCores, Idle::Micros(100));
        self.trip::<P>("w3-default-one-core", 64, Wait::Default, Place::OneCore, Idle::No);
    }

    fn w4<P: Peer>(&mut self, senders: usize) {
        let setup = Setup { size: 64, senders, room: room(64), wait: Wait::Yield };
        self.one_way::<P>("w4-pinned", setup, Place::TwoCores);
        self.one_way::<P>("w4-free", setup, Place::Free);
    }

    fn w5<P: Peer>(&mut self, size: usize) {
        let setup = Setup { size, senders: 1, room: room(size), wait: Wait::Default };
        self.one_way::<P>("w5", setup, Place::TwoCores);
    }

    fn w6<P: InPlace>(&mut self, size: usize) {
        let setup = Setup { size, senders: 1, room: room(size), wait: Wait::Spin };
        let window = self.times.throughput;
        self.add::<P>("w6", RATE, setup, move |board| {
            work::in_place::<P>(board, setup, Place::TwoCores, window);
        });
    }

    fn w7<P: Peer>(&mut self, workload: &'static str, rate: f64, burst: usize) {
        let setup = Setup { size: 64, senders: 1, room: room(64), wait: Wait::Default };
        let window = self.times.throughput;
        let pace = Pace { rate, burst };
        self.add::<P>(workload, DELAY, setup, move |board| {
            work::paced::<P>(board, setup, Place::TwoCores, pace, window);
        });
    }

    fn w8<P: Peer>(&mut self) {
        let setup = Setup { size: 64, senders: 1, room: room(64), wait: Wait::Default };
        self.one_way::<P>("w8-one", setup, Place::TwoCores);
    }
}

/// Calls a method of the list for several peers.
macro_rules! each {
    ($list:ident.$method:ident $arguments:tt: $($peer:ty),+ $(,)?) => {
        $($list.$method::<$peer> $arguments;)+
    };
}

/// The same for peers that have the size of a message in their type. The sizes that a list may have are given
/// once more, as literals.
macro_rules! each_sized {
    (@ $list:ident.$method:ident($argument:expr) $size:ident in [$($bytes:literal)+] $family:ident $peer:ident) => {
        match $size {
            $($bytes => $list.$method::<$family::$peer<$bytes>>($argument),)+
            _ => unreachable!("a size that has no type"),
        }
    };
    ($list:ident.$method:ident($size:ident) in $sizes:tt: $($family:ident::$peer:ident),+ $(,)?) => {
        $(each_sized!(@ $list.$method($size) $size in $sizes $family $peer);)+
    };
}

type Ring = reference::Ring<false, false>;
type RingPause = reference::Ring<true, false>;
type RingBatch = reference::Ring<false, true>;

/// All cases, in the order in which a round runs them.
pub(crate) fn cases(quick: bool) -> Vec<Case> {
    let mut list = List { cases: Vec::new(), times: Times::new(quick) };
    for size in W1_SIZES {
        each!(list.w1_default(size): ours::Ours, ours::OursBatch);
        each!(list.w1(size): Ring, RingPause, RingBatch);
        list.w1_copies(size);
        each_sized!(list.w1(size) in [8 64 256 1024 4096 65536]:
            shaq::Shaq, shaq::ShaqBatch, shmem_ipc::ShmemIpc, shmem_ipc::ShmemIpcBatch);
        if size <= 4096 {
            // It moves messages by value; the compiler takes many minutes over larger ones.
            each_sized!(list.w1(size) in [8 64 256 1024 4096]: ringfire::Ringfire, ringfire::RingfireBatch);
        }
        list.w1_spsc(size);
        each!(list.w1(size): ipmpsc::Ipmpsc, shm_ring::ShmRing, Iceoryx2);
        each!(list.w1_default(size): IpcChannel); // blocking is faster for it here than polling
        each!(list.w1(size): Pipe, Seqpacket, PosixMq, SysvMsg);
        each_sized!(list.w1(size) in [8 64 256 1024 4096 65536]:
            threads::Rtrb, threads::RtrbChunks, threads::Crossbeam, threads::StdSync);
    }
    for size in W2_SIZES {
        each!(list.w2(size): ours::Ours, Ring, reference::Lines);
        each_sized!(list.w2(size) in [48 64]: shaq::Shaq, shmem_ipc::ShmemIpc, ringfire::Ringfire);
        list.w2_spsc(size);
        each!(list.w2(size): ipmpsc::Ipmpsc, shm_ring::ShmRing, Iceoryx2, IpcChannel);
        each!(list.w2(size): Pipe, Seqpacket, PosixMq, SysvMsg);
    }
    each!(list.w2(64): threads::Rtrb<64>, threads::Crossbeam<64>, threads::StdSync<64>);
    each!(list.w3_asleep(): ours::Ours, reference::Semops, shmem_ipc::ShmemIpc<64>, ipmpsc::Ipmpsc,
        ringfire::Ringfire<64>, Iceoryx2Event, Pipe, Seqpacket, PosixMq, SysvMsg);
    each!(list.w3_default(): ours::Ours, shaq::Shaq<64>, shmem_ipc::ShmemIpc<64>, ipmpsc::Ipmpsc,
        ringfire::Ringfire<64>, Iceoryx2Event, IpcChannel, Pipe, Seqpacket, PosixMq, SysvMsg);
    for senders in W4_SENDERS {
        each!(list.w4(senders): ours::Ours, ours::OursBatch, ours::OursPerSender, ours::OursPerSenderBatch);
        each!(list.w4(senders): shaq::ShaqMpmc<64>, shaq::ShaqMpmcBatch<64>, ipmpsc::Ipmpsc, Iceoryx2);
        each!(list.w4(senders): IpcChannel, Pipe, Seqpacket, PosixMq, SysvMsg);
        each!(list.w4(senders): threads::Crossbeam<64>, threads::StdSync<64>);
    }
    for size in W5_SIZES {
        each!(list.w5(size): ours::Ours, ours::OursBatch, ours::OursSpin);
        each_sized!(list.w5(size) in [64 1024]:
            shaq::Shaq, shaq::ShaqBatch, shmem_ipc::ShmemIpc, shmem_ipc::ShmemIpcBatch,
            ringfire::Ringfire, ringfire::RingfireBatch);
        each!(list.w5(size): ipmpsc::Ipmpsc, shm_ring::ShmRing, Iceoryx2Event, IpcChannel);
        each!(list.w5(size): Pipe, Seqpacket, PosixMq, SysvMsg);
        each_sized!(list.w5(size) in [64 1024]: threads::Crossbeam, threads::StdSync);
    }
    for size in W6_SIZES {
        each!(list.w6(size): ours::OursInPlace, Ring, RingPause, Iceoryx2Loan);
        each_sized!(list.w6(size) in [1024 65536 1048576]: shaq::Shaq, shmem_ipc::ShmemIpc);
    }
    for (workload, rate, burst) in PACES {
        each!(list.w7(workload, rate, burst): ours::Ours, ours::OursLatency);
    }
    each!(list.w8(): ours::OursOneAttached, ours::OursManyAttached);
    list.cases
}
