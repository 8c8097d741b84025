//! One page that the processes of a case share, and what they tell each other on it.

use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::object;

/// Figures that one run of one case gives at most.
pub(crate) const FIGURES: usize = 8;
/// Kernel objects that one case has at a time at most.
const OBJECTS: usize = 8;

/// The board of this process's case.
static CURRENT: OnceLock<&'static Board> = OnceLock::new();

/// Lies in zeroed memory that all processes of a case share.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Board {
    ready: Line<AtomicUsize>,
    stop: Line<AtomicU64>,
    /// Number of figures, then the figures as bits of `f64`.
    figures: Line<[AtomicU64; FIGURES + 1]>,
    /// 1 = the peer cannot do what was asked for.
    unable: Line<AtomicU64>,
    /// Words of [`object`], 0 where there is none.
    objects: Line<[AtomicU64; OBJECTS]>,
}

#[repr(align(128))]
#[derive(Debug)]
struct Line<T>(T);

impl Board {
    /// A fresh one. It is never unmapped: a run makes some thousands of them at most, 4 KiB each.
    pub(crate) fn new() -> &'static Board {
        let size = size_of::<Board>();
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, wherever the kernel likes.
        let place = unsafe { libc::mmap(ptr::null_mut(), size, protection, flags, -1, 0) };
        assert_ne!(place, libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
        // SAFETY: page-aligned zeroed memory of that size, which is a valid `Board`: atomics only.
        unsafe { &*place.cast::<Board>() }
    }

    /// One side is ready; waits until `all` are.
    pub(crate) fn meet(&self, all: usize) {
        self.ready.0.fetch_add(1, Ordering::AcqRel);
        while self.ready.0.load(Ordering::Acquire) < all {
            std::thread::yield_now();
        }
    }

    /// Tells the senders to end.
    pub(crate) fn stop(&self) {
        self.stop.0.store(1, Ordering::Release);
    }

    #[inline(always)]
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.0.load(Ordering::Relaxed) != 0
    }

    /// Leaves the figures of the run.
    pub(crate) fn report(&self, figures: &[f64]) {
        assert!(figures.len() <= FIGURES);
        for (place, figure) in self.figures.0[1..].iter().zip(figures) {
            place.store(figure.to_bits(), Ordering::Relaxed);
        }
        self.figures.0[0].store(figures.len() as u64, Ordering::Release);
    }

    pub(crate) fn figures(&self) -> Option<Vec<f64>> {
        let count = self.figures.0[0].load(Ordering::Acquire) as usize;
        let figures = self.figures.0[1..].iter().take(count);
        (count > 0).then(|| figures.map(|bits| f64::from_bits(bits.load(Ordering::Relaxed))).collect())
    }

    /// The peer cannot do what was asked for.
    pub(crate) fn decline(&self) {
        self.unable.0.store(1, Ordering::Release);
    }

    pub(crate) fn is_declined(&self) -> bool {
        self.unable.0.load(Ordering::Acquire) != 0
    }

    /// Makes it the board of this process, which runs one case, and of what it forks.
    pub(crate) fn enter(&'static self) {
        CURRENT.set(self).expect("a process runs one case");
    }

    /// The board of this process's case.
    pub(crate) fn current() -> &'static Board {
        CURRENT.get().expect("entered at the start of the case")
    }

    /// Notes a kernel object that is to be removed at the end of the case, however that comes.
    pub(crate) fn note(&self, object: u64) {
        let free = |place: &AtomicU64| {
            place.compare_exchange(0, object, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        assert!(self.objects.0.iter().any(free), "no place for another kernel object");
    }

    /// The object has been removed.
    pub(crate) fn forget(&self, object: u64) {
        let noted = |place: &&AtomicU64| place.load(Ordering::Acquire) == object;
        if let Some(place) = self.objects.0.iter().find(noted) {
            place.store(0, Ordering::Release);
        }
    }

    /// Removes the objects that are still noted, after the end of all processes of the case.
    pub(crate) fn sweep(&self) {
        for place in &self.objects.0 {
            match place.swap(0, Ordering::AcqRel) {
                0 => {}
                object => object::remove_noted(object),
            }
        }
    }
}
