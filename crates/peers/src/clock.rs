//! Time by the processor's time-stamp counter, which runs at one rate on all cores of the machines that this
//! program is for (`constant_tsc`, `nonstop_tsc`).

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Ticks since the machine started.
#[inline(always)]
pub(crate) fn now() -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: every x86-64 processor has the instruction.
        unsafe { core::arch::x86_64::_rdtsc() }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed().as_nanos() as u64
    }
}

static RATE: OnceLock<f64> = OnceLock::new();

/// Measures how long a tick is. To be called before any case is forked.
pub(crate) fn calibrate() {
    RATE.get_or_init(|| {
        let (start, from) = (Instant::now(), now());
        std::thread::sleep(Duration::from_millis(50));
        (now() - from) as f64 / start.elapsed().as_nanos() as f64
    });
}

/// Ticks in so many nanoseconds.
pub(crate) fn ticks(nanos: f64) -> u64 {
    (nanos * RATE.get().expect("calibrated at the start")) as u64
}

/// Nanoseconds in so many ticks.
pub(crate) fn nanos(ticks: u64) -> f64 {
    ticks as f64 / RATE.get().expect("calibrated at the start")
}

/// p50, p99, p99.9 and least of some times, in nanoseconds.
pub(crate) fn percentiles(times: &mut [u64]) -> [f64; 4] {
    assert!(!times.is_empty(), "nothing was measured");
    times.sort_unstable();
    let at = |share: f64| nanos(times[((times.len() - 1) as f64 * share) as usize]);
    [at(0.5), at(0.99), at(0.999), at(0.0)]
}
