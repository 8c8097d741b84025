//! A child under ptrace: it runs to an instruction, and then it is killed there, or held.
//!
//! A process that ptrace holds is stopped as by `SIGSTOP`: it runs no instruction and keeps its seats and its
//! mapping. So no signal is sent for the stops of these tests.
#![allow(unsafe_code, reason = "ptrace, and a page that both sides of a fork write")]

use std::hint::black_box;
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Where the operation begins: the first instruction of this function is point 0.
#[inline(never)]
pub(crate) fn start_mark() {
    black_box(0x57a7_u64);
}

/// Where it ends. Another body, so that the two are not made one.
#[inline(never)]
pub(crate) fn end_mark() {
    black_box(0xe4d_u32);
}

/// What was violated, in words.
pub(crate) type Result<T> = std::result::Result<T, String>;

/// Words that a process and its children share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    words: &'static [AtomicU64; 8],
}

impl Page {
    /// A page of zeroes, for as long as this process lives.
    pub(crate) fn new() -> Page {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        // SAFETY: without MAP_FIXED the kernel picks a range that nothing uses.
        let page = unsafe { libc::mmap(ptr::null_mut(), 4096, protection, kind, -1, 0) };
        assert!(page != libc::MAP_FAILED, "mmap: {}", io::Error::last_os_error());
        // SAFETY: the page is mapped for good, aligned, zero, and used through these atomics only.
        let words = unsafe { &*page.cast::<[AtomicU64; 8]>() };
        Page { words }
    }

    /// What the victim has done so far; see [`Page::did`].
    pub(crate) fn progress(&self) -> u64 {
        self.words[0].load(Ordering::SeqCst)
    }

    /// The victim notes that it has done step `step` of its operation.
    pub(crate) fn did(&self, step: u64) {
        self.words[0].store(step, Ordering::SeqCst);
    }

    /// Why tracing is impossible; 0 = it is not.
    pub(crate) fn refusal(&self) -> u64 {
        self.words[1].load(Ordering::SeqCst)
    }

    pub(crate) fn refuse(&self, errno: i32) {
        self.words[1].store(errno as u64, Ordering::SeqCst);
    }

    pub(crate) fn reset(&self) {
        self.did(0);
    }
}

/// To be called by the victim when it is ready for its operation: from here on its parent decides.
pub(crate) fn be_traced(page: &Page) {
    // SAFETY: takes no pointers; makes the parent this process's tracer.
    let traced = unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
    if traced != 0 {
        page.refuse(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO));
        crate::process::exit(104);
    }
    hold();
}

/// Stops this process until its tracer lets it go on.
pub(crate) fn hold() {
    // SAFETY: a signal to this very thread, whose effect is that it stops.
    unsafe { libc::raise(libc::SIGSTOP) };
}

/// How far the victim came with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// To the next instruction, or to the breakpoint.
    There,
    /// It stopped itself: the operation is over.
    Over,
}

/// What an operation does from [`start_mark`] to [`end_mark`].
#[derive(Debug, Default)]
pub(crate) struct Trace {
    /// Where each instruction lies; the last is that of the end mark.
    pub(crate) places: Vec<u64>,
    /// For each instruction the nearest one before it, or itself, that had not been executed before: a
    /// breakpoint there leads to it at once.
    jumps: Vec<u32>,
    /// Instructions that put the victim to sleep.
    pub(crate) sleeps: Vec<usize>,
}

impl Trace {
    /// Instructions from mark to mark: the largest point.
    pub(crate) fn len(&self) -> usize {
        self.places.len() - 1
    }

    /// Whether the process is inside a repeated instruction after `steps` steps: one that moves bytes.
    pub(crate) fn is_in_copy(&self, steps: usize) -> bool {
        steps > 0 && self.places[steps] == self.places[steps - 1]
    }

    /// Rounds of a repeated instruction that were done after `steps` steps.
    pub(crate) fn rounds(&self, steps: usize) -> usize {
        steps - self.jumps[steps] as usize
    }

    /// The last of the following steps that are rounds of the same instruction.
    fn rounds_end(&self, from: usize) -> usize {
        let rest = &self.places[from..];
        from + rest.iter().take_while(|&&place| place == rest[0]).count() - 1
    }

    fn note_jumps(&mut self) {
        let mut seen = std::collections::HashSet::new();
        let mut last = 0;
        self.jumps.clear();
        for (index, place) in self.places.iter().enumerate() {
            if seen.insert(*place) {
                last = index as u32;
            }
            self.jumps.push(last);
        }
    }
}

/// A point of a scenario: the process is killed or held after so many instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) steps: usize,
    /// And then inside the system call that follows, asleep.
    pub(crate) asleep: bool,
}

/// Who is there beside the victim: wakes it when it sleeps.
pub(crate) trait Company {
    /// To be called now and then while the victim does not come back: wakes it if it sleeps.
    fn idle(&mut self) -> Result<()>;
    /// Whether the victim sleeps.
    fn sleeps(&mut self) -> Result<bool>;
    /// How often it was woken.
    fn wakes(&self) -> u32;
}

/// For victims that never sleep.
#[derive(Debug)]
pub(crate) struct Nobody;

impl Company for Nobody {
    fn idle(&mut self) -> Result<()> {
        Ok(())
    }

    fn sleeps(&mut self) -> Result<bool> {
        Ok(false)
    }

    fn wakes(&self) -> u32 {
        0
    }
}

/// The tracer's side of a victim. Whoever has the child ends it.
#[derive(Debug)]
pub(crate) struct Tracee {
    pid: i32,
    /// Beyond it something is wrong with the victim.
    limit: Instant,
}

/// Looks for a stop without sleeping, at first: it comes within microseconds.
const EAGER: u32 = 60;

/// Then gives the core away, in case the victim needs it.
const PATIENT: u32 = 300;

impl Tracee {
    /// Waits until child `pid` has stopped itself.
    pub(crate) fn catch(pid: i32, patience: Duration) -> Result<Tracee> {
        let tracee = Tracee { pid, limit: Instant::now() + patience };
        if tracee.wait(&mut Nobody)? != libc::SIGSTOP {
            return Err("the victim did not stop itself".into());
        }
        tracee.request(libc::PTRACE_SETOPTIONS, 0, libc::PTRACE_O_EXITKILL as usize)?;
        Ok(tracee)
    }

    fn request(&self, request: libc::c_uint, address: usize, data: usize) -> Result<i64> {
        // PEEK returns its word, so only errno tells.
        // SAFETY: takes nothing; the pointer is to this thread's own errno.
        let errno = unsafe { libc::__errno_location() };
        // SAFETY: valid as long as this thread lives, and nobody else's.
        unsafe { errno.write(0) };
        // SAFETY: requests of this file take numbers, or a pointer to a local that outlives the call; what they
        // change is the tracee.
        let answer = unsafe { libc::ptrace(request, self.pid, address, data) };
        let error = io::Error::last_os_error();
        if answer == -1 && error.raw_os_error() != Some(0) {
            return Err(format!("ptrace request {request:#x}: {error}"));
        }
        Ok(answer)
    }

    /// Waits for the next stop and returns its signal. The company is asked when it takes long.
    fn wait(&self, company: &mut dyn Company) -> Result<i32> {
        let mut looks = 0_u32;
        loop {
            let mut status = 0;
            // SAFETY: `status` is an integer of ours for the kernel to write.
            let found = unsafe { libc::waitpid(self.pid, &mut status, libc::WNOHANG | libc::__WALL) };
            if found == self.pid {
                if libc::WIFSTOPPED(status) {
                    return Ok(libc::WSTOPSIG(status));
                }
                return Err(format!("the victim ended by itself: status {status:#x}"));
            }
            if found < 0 {
                return Err(format!("waitpid: {}", io::Error::last_os_error()));
            }
            looks += 1;
            if looks < EAGER {
                std::hint::spin_loop();
            } else if looks < PATIENT {
                std::thread::yield_now();
            } else {
                std::thread::sleep(Duration::from_micros(100));
                company.idle()?;
                if Instant::now() > self.limit {
                    return Err(format!("the victim hangs at {:#x}", self.syscall_place()));
                }
            }
        }
    }

    /// Something to name in a message about a process that does not stop.
    fn syscall_place(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/syscall", self.pid)).unwrap_or_default();
        let last = text.split_whitespace().last().unwrap_or("");
        u64::from_str_radix(last.trim_start_matches("0x"), 16).unwrap_or(0)
    }

    fn registers(&self) -> Result<libc::user_regs_struct> {
        let mut registers = std::mem::MaybeUninit::<libc::user_regs_struct>::zeroed();
        let mut slice = libc::iovec {
            iov_base: registers.as_mut_ptr().cast(),
            iov_len: size_of::<libc::user_regs_struct>(),
        };
        self.request(
            libc::PTRACE_GETREGSET as libc::c_uint,
            libc::NT_PRSTATUS as usize,
            (&raw mut slice).addr(),
        )?;
        // SAFETY: plain numbers, zeroed before the kernel wrote them.
        Ok(unsafe { registers.assume_init() })
    }

    /// Where the next instruction lies.
    pub(crate) fn place(&self) -> Result<u64> {
        #[cfg(target_arch = "x86_64")]
        let place = self.registers()?.rip;
        #[cfg(target_arch = "aarch64")]
        let place = self.registers()?.pc;
        Ok(place)
    }

    /// Executes one instruction, or one round of a repeated one.
    pub(crate) fn step(&self, company: &mut dyn Company) -> Result<Came> {
        self.request(libc::PTRACE_SINGLESTEP, 0, 0)?;
        self.came(company)
    }

    fn came(&self, company: &mut dyn Company) -> Result<Came> {
        match self.wait(company)? {
            libc::SIGTRAP => Ok(Came::There),
            libc::SIGSTOP => Ok(Came::Over),
            signal => Err(format!("the victim got signal {signal} at {:#x}", self.place()?)),
        }
    }

    /// Lets it run until it stops itself.
    pub(crate) fn run_to_end(&self, company: &mut dyn Company) -> Result<()> {
        self.request(libc::PTRACE_CONT, 0, 0)?;
        match self.came(company)? {
            Came::Over => Ok(()),
            Came::There => Err("a stray trap".into()),
        }
    }

    /// Lets it run to an instruction by a breakpoint.
    #[cfg(target_arch = "x86_64")]
    fn run_to(&self, place: u64, company: &mut dyn Company) -> Result<Came> {
        if self.place()? == place {
            return Ok(Came::There);
        }
        let address = place as usize;
        let word = self.request(libc::PTRACE_PEEKTEXT, address, 0)?;
        self.request(libc::PTRACE_POKETEXT, address, ((word & !0xff) | 0xcc) as usize)?;
        self.request(libc::PTRACE_CONT, 0, 0)?;
        let came = self.came(company)?;
        self.request(libc::PTRACE_POKETEXT, address, word as usize)?;
        if came == Came::There {
            let mut registers = self.registers()?;
            if registers.rip != place + 1 {
                return Err(format!("a stray trap at {:#x}", registers.rip));
            }
            registers.rip = place;
            self.set_registers(&registers)?;
        }
        Ok(came)
    }

    /// Lets it run to an instruction, step by step.
    #[cfg(not(target_arch = "x86_64"))]
    fn run_to(&self, place: u64, company: &mut dyn Company) -> Result<Came> {
        while self.place()? != place {
            if self.step(company)? == Came::Over {
                return Ok(Came::Over);
            }
        }
        Ok(Came::There)
    }

    /// Lets it run to the start mark.
    pub(crate) fn begin(&self) -> Result<()> {
        match self.run_to(start_mark as *const () as u64, &mut Nobody)? {
            Came::There => Ok(()),
            Came::Over => Err("there is no start mark".into()),
        }
    }

    /// Takes the whole operation down, from mark to mark.
    pub(crate) fn record(&self, company: &mut dyn Company) -> Result<Trace> {
        self.begin()?;
        let end = end_mark as *const () as u64;
        let mut trace = Trace::default();
        loop {
            let place = self.place()?;
            trace.places.push(place);
            if place == end {
                break;
            }
            self.skip_rounds(&mut trace)?;
            let before = company.wakes();
            if self.step(company)? == Came::Over {
                return Err("there is no end mark".into());
            }
            if company.wakes() != before {
                trace.sleeps.push(trace.places.len() - 1);
            }
        }
        trace.note_jumps();
        Ok(trace)
    }

    /// Behind a repeated instruction, if there is one at `place`: rep movs or rep stos, with or without a prefix for
    /// 8 bytes at once.
    #[cfg(target_arch = "x86_64")]
    fn behind_repeated(&self, place: u64) -> Result<Option<u64>> {
        let code = self.request(libc::PTRACE_PEEKTEXT, place as usize, 0)?.to_le_bytes();
        let wide = usize::from(code[1] & 0xf0 == 0x40);
        let repeated = code[0] == 0xf3 && matches!(code[1 + wide], 0xa4 | 0xa5 | 0xaa | 0xab);
        Ok(repeated.then_some(place + 2 + wide as u64))
    }

    /// In a repeated instruction that has many rounds to go: does all of them at once, and takes them down.
    #[cfg(target_arch = "x86_64")]
    fn skip_rounds(&self, trace: &mut Trace) -> Result<()> {
        let [.., before, place] = trace.places[..] else { return Ok(()) };
        let rounds = self.registers()?.rcx;
        if before != place || rounds < 16 {
            return Ok(());
        }
        let Some(next) = self.behind_repeated(place)? else { return Ok(()) };
        if self.run_to(next, &mut Nobody)? == Came::Over {
            return Err("there is no end mark".into());
        }
        trace.places.extend(std::iter::repeat_n(place, rounds as usize - 1));
        trace.places.push(next);
        Ok(())
    }

    /// At a repeated instruction: does so many rounds of it at once. False if it is none, or has fewer.
    ///
    /// The instruction keeps all of its state in registers: with a smaller count it stops where an interrupt would
    /// have stopped it, and with the rest of the count it goes on.
    #[cfg(target_arch = "x86_64")]
    fn do_rounds(&self, place: u64, rounds: u64) -> Result<bool> {
        let Some(next) = self.behind_repeated(place)? else { return Ok(false) };
        let mut registers = self.registers()?;
        let all = registers.rcx;
        if registers.rip != place || all <= rounds {
            return Ok(false);
        }
        registers.rcx = rounds;
        self.set_registers(&registers)?;
        if self.run_to(next, &mut Nobody)? == Came::Over {
            return Err("a repeated instruction without an end".into());
        }
        let mut registers = self.registers()?;
        registers.rcx = all - rounds;
        registers.rip = place;
        self.set_registers(&registers)?;
        Ok(true)
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn do_rounds(&self, _: u64, _: u64) -> Result<bool> {
        Ok(false)
    }

    #[cfg(target_arch = "x86_64")]
    fn set_registers(&self, registers: &libc::user_regs_struct) -> Result<()> {
        let mut copy = *registers;
        let slice =
            libc::iovec { iov_base: (&raw mut copy).cast(), iov_len: size_of::<libc::user_regs_struct>() };
        self.request(
            libc::PTRACE_SETREGSET as libc::c_uint,
            libc::NT_PRSTATUS as usize,
            (&raw const slice).addr(),
        )?;
        Ok(())
    }

    /// Other processors move bytes by loops.
    #[cfg(not(target_arch = "x86_64"))]
    fn skip_rounds(&self, _: &mut Trace) -> Result<()> {
        Ok(())
    }

    /// Brings it to a point. [`Came::Over`]: it took another way this time, and its operation is over.
    pub(crate) fn reach(&self, trace: &Trace, point: Point, company: &mut dyn Company) -> Result<Came> {
        self.begin()?;
        let mut done = 0;
        let jump = trace.jumps[point.steps] as usize;
        if cfg!(target_arch = "x86_64") && jump > 8 {
            if self.run_to(trace.places[jump], company)? == Came::Over {
                return Ok(Came::Over);
            }
            done = jump;
            let rounds = point.steps - jump;
            if rounds > 16
                && trace.rounds_end(jump) >= point.steps
                && self.do_rounds(trace.places[jump], rounds as u64)?
            {
                done = point.steps;
            }
        }
        for _ in done..point.steps {
            if self.step(company)? == Came::Over {
                return Ok(Came::Over);
            }
        }
        if point.asleep {
            self.request(libc::PTRACE_SINGLESTEP, 0, 0)?;
            while !company.sleeps()? {
                if Instant::now() > self.limit {
                    return Err("the victim does not fall asleep".into());
                }
                std::thread::yield_now();
            }
        }
        Ok(Came::There)
    }

    /// Lets it enter or leave system calls, so many after the first at which `begun` is so, or run to its end.
    pub(crate) fn run_system_calls(&self, begun: impl Fn() -> bool, stops: u32) -> Result<Came> {
        self.begin()?;
        let mut left = stops;
        while left > 0 || !begun() {
            left -= u32::from(begun());
            self.request(libc::PTRACE_SYSCALL, 0, 0)?;
            if self.came(&mut Nobody)? == Came::Over {
                return Ok(Came::Over);
            }
        }
        Ok(Came::There)
    }

    /// Lets it execute so many instructions, or run to its end.
    pub(crate) fn run_steps(&self, steps: u64) -> Result<Came> {
        self.begin()?;
        for _ in 0..steps {
            if self.step(&mut Nobody)? == Came::Over {
                return Ok(Came::Over);
            }
        }
        Ok(Came::There)
    }
}
