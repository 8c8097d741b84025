//! A child under ptrace that is stopped before and after each of its system calls, and for which one may fail.
#![allow(unsafe_code, reason = "ptrace")]

use std::io;
use std::time::{Duration, Instant};

use crate::call::Call;
use crate::process::{Child, End, exit};

/// What was violated, in words.
pub(crate) type Result<T> = std::result::Result<T, String>;

/// Mark of the calls by which the victim tells where it is; the kernel ignores the arguments of `getppid`.
const MARK: u64 = 0x7379_7372_696e_6721;

/// How long a victim may take for all of its steps. The longest sleep of the library is a second.
const PATIENCE: Duration = Duration::from_secs(9);

/// In the number of a step: it is tried again.
pub(crate) const AGAIN: u32 = 1 << 31;

/// Tells the tracer that a step begins; 0: it is over.
pub(crate) fn mark(step: u32) {
    tell(step.into());
}

/// Tells the tracer that nothing more is to be looked at.
pub(crate) fn mark_end() {
    tell(u64::MAX);
}

fn tell(what: u64) {
    // SAFETY: `getppid` takes nothing and touches no memory; the tracer sees what lies in the registers.
    unsafe { libc::syscall(libc::SYS_getppid, MARK, what) };
}

/// To be called by the victim: from here on its parent decides.
pub(crate) fn be_traced() {
    // SAFETY: takes no pointers; makes the parent this process's tracer.
    let traced = unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
    if traced != 0 {
        exit(104);
    }
    hold();
}

/// Stops this process, so that its tracer looks at the calls that follow.
pub(crate) fn hold() {
    // SAFETY: a signal to this very thread, whose effect is that it stops.
    unsafe { libc::raise(libc::SIGSTOP) };
}

/// Makes waiting for children end now and then, so that the time can be looked at.
pub(crate) fn tick() {
    extern "C" fn nothing(_: libc::c_int) {}
    // SAFETY: a record of integers and null pointers, for which zeroes are valid.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = nothing as *const () as usize;
    // SAFETY: the handler does nothing, and without SA_RESTART it ends waits with EINTR.
    unsafe { libc::sigaction(libc::SIGALRM, &action, std::ptr::null_mut()) };
    let every = libc::timeval { tv_sec: 0, tv_usec: 500_000 };
    let timer = libc::itimerval { it_interval: every, it_value: every };
    // SAFETY: reads `timer`; the old one is not asked for.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()) };
}

/// What decides about a victim's calls.
pub(crate) trait Fate {
    /// Before a call: the errno that it shall give instead of being made.
    fn enter(&mut self, call: &Call) -> Option<i32>;
    /// After a call that lies in a step.
    fn leave(&mut self, call: Call);
}

/// Why a traced child has stopped.
enum Stop {
    Call,
    Signal(i32),
    End(End),
}

/// A stopped victim.
pub(crate) struct Tracee {
    pid: i32,
    limit: Instant,
}

impl Tracee {
    /// Takes a child that has called [`be_traced`].
    pub(crate) fn catch(child: &Child) -> Result<Tracee> {
        let tracee = Tracee { pid: child.pid(), limit: Instant::now() + PATIENCE };
        match tracee.wait()? {
            Stop::Signal(libc::SIGSTOP) => {}
            Stop::End(End::Exit(104)) => return Err("ptrace is not allowed".into()),
            _ => return Err("the victim did not stop itself".into()),
        }
        let options = libc::PTRACE_O_EXITKILL | libc::PTRACE_O_TRACESYSGOOD;
        tracee.request(libc::PTRACE_SETOPTIONS, 0, options as usize)?;
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

    fn wait(&self) -> Result<Stop> {
        loop {
            let mut status = 0;
            // SAFETY: `status` is an integer of ours for the kernel to write.
            let found = unsafe { libc::waitpid(self.pid, &mut status, libc::__WALL) };
            if found == self.pid {
                return Ok(match status {
                    status if libc::WIFSIGNALED(status) => Stop::End(End::Signal(libc::WTERMSIG(status))),
                    status if libc::WIFEXITED(status) => Stop::End(End::Exit(libc::WEXITSTATUS(status))),
                    status if libc::WSTOPSIG(status) == libc::SIGTRAP | 0x80 => Stop::Call,
                    status => Stop::Signal(libc::WSTOPSIG(status)),
                });
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(format!("waitpid: {error}"));
            }
            if Instant::now() > self.limit {
                let text = std::fs::read_to_string(format!("/proc/{}/syscall", self.pid)).unwrap_or_default();
                return Err(format!("the victim hangs (in system call {})", text.trim()));
            }
        }
    }

    fn registers(&self) -> Result<libc::user_regs_struct> {
        let mut registers = std::mem::MaybeUninit::<libc::user_regs_struct>::zeroed();
        self.request(libc::PTRACE_GETREGS, 0, registers.as_mut_ptr().addr())?;
        // SAFETY: plain numbers, zeroed before the kernel wrote them.
        Ok(unsafe { registers.assume_init() })
    }

    fn set_registers(&self, registers: &libc::user_regs_struct) -> Result<()> {
        self.request(libc::PTRACE_SETREGS, 0, std::ptr::from_ref(registers).addr())?;
        Ok(())
    }

    /// A word of the victim's memory; 0 if there is none.
    pub(crate) fn word(&self, address: u64) -> u64 {
        self.request(libc::PTRACE_PEEKDATA, address as usize, 0).map_or(0, i64::cast_unsigned)
    }

    /// Lets the victim live to its end. `quick`: only the step that it asks for is looked at, see [`hold`].
    pub(crate) fn live(&self, fate: &mut dyn Fate, quick: bool) -> Result<End> {
        let mut step = 0;
        let mut signal = 0;
        let mut begun: Option<(Call, Option<i32>)> = None;
        let mut inside = false;
        let mut request = if quick { libc::PTRACE_CONT } else { libc::PTRACE_SYSCALL };
        loop {
            self.request(request, 0, signal as usize)?;
            signal = match self.wait()? {
                Stop::End(end) => return Ok(end),
                Stop::Call => 0,
                Stop::Signal(libc::SIGSTOP) => {
                    (request, signal) = (libc::PTRACE_SYSCALL, 0);
                    continue;
                }
                Stop::Signal(other) => {
                    signal = other;
                    continue;
                }
            };
            inside = !inside;
            if !inside {
                if let Some((mut call, errno)) = begun.take() {
                    let mut registers = self.registers()?;
                    if let Some(errno) = errno {
                        registers.rax = i64::from(-errno).cast_unsigned();
                        self.set_registers(&registers)?;
                        call.fault = Some(errno);
                    }
                    call.result = registers.rax.cast_signed();
                    fate.leave(call);
                }
                continue;
            }
            let mut registers = self.registers()?;
            let arguments =
                [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9];
            if registers.orig_rax == libc::SYS_getppid as u64 && registers.rdi == MARK {
                if registers.rsi == u64::MAX {
                    request = libc::PTRACE_CONT;
                    inside = false;
                } else {
                    step = registers.rsi as u32;
                    if quick && step == 0 {
                        request = libc::PTRACE_CONT;
                        inside = false;
                    }
                }
            } else if step != 0 {
                let call = Call::new(registers.orig_rax as i64, arguments, step, |place| self.word(place));
                let errno = fate.enter(&call);
                if errno.is_some() {
                    registers.orig_rax = u64::MAX; // no such call: the kernel does nothing
                    self.set_registers(&registers)?;
                }
                begun = Some((call, errno));
            }
        }
    }
}
