//! A fuzz target without a fuzzer: its corpus, then inputs made of it.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Inputs made of the corpus, and the most time that they may take.
const SHORT: (u64, Duration) = (20_000, Duration::from_millis(900));
/// The same in the long form, `SYSRING_LONG=1`.
const LONG: (u64, Duration) = (2_000_000, Duration::from_secs(300));

/// Longest input that is made.
const LONGEST: usize = 2048;

/// Runs `target` over every file of the directory, and over changed and mixed ones. `SYSRING_SEED` repeats the choices of
/// a run; an input that fails is printed.
pub(crate) fn replay(corpus: &Path, target: fn(&[u8])) {
    let directory = std::fs::read_dir(corpus).unwrap_or_else(|error| panic!("{}: {error}", corpus.display()));
    let mut paths: Vec<_> = directory.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let files: Vec<Vec<u8>> =
        paths.iter().map(|path| std::fs::read(path).expect("a readable file")).collect();
    assert!(!files.is_empty(), "{} is empty", corpus.display());
    for (path, bytes) in paths.iter().zip(&files) {
        run(target, bytes, &path.display().to_string());
    }

    let seed = seed();
    let long = std::env::var_os("SYSRING_LONG").is_some_and(|value| value != "0");
    let (most, limit) = if long { LONG } else { SHORT };
    let start = Instant::now();
    let mut count = 0;
    while count < most && start.elapsed() < limit {
        let mut random = Random(seed.wrapping_add(count.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        run(target, &random.input(&files), &format!("input {count} of SYSRING_SEED={seed}"));
        count += 1;
    }
    let name = corpus.file_name().unwrap_or_default().to_string_lossy();
    println!("{name}: {} files and {count} inputs made of them, SYSRING_SEED={seed}", files.len());
}

fn run(target: fn(&[u8]), bytes: &[u8], what: &str) {
    let told = Told { bytes, what };
    target(bytes);
    std::mem::forget(told);
}

/// Prints the input if the target panics.
struct Told<'a> {
    bytes: &'a [u8],
    what: &'a str,
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        eprintln!("{}: b\"{}\"", self.what, self.bytes.escape_ascii());
    }
}

fn seed() -> u64 {
    let asked = std::env::var("SYSRING_SEED").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock behind 1970");
        now.as_nanos() as u64 % 1_000_000_007
    })
}

/// Splitmix64 (Steele, Lea, Flood).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// A file with some changes, or now and then nothing but random bytes.
    fn input(&mut self, files: &[Vec<u8>]) -> Vec<u8> {
        if self.below(16) == 0 {
            let length = self.below(256);
            return (0..length).map(|_| self.next() as u8).collect();
        }
        let mut bytes = files[self.below(files.len())].clone();
        for _ in 0..=self.below(6) {
            self.change(&mut bytes, files);
        }
        bytes.truncate(LONGEST);
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, files: &[Vec<u8>]) {
        let at = self.below(bytes.len() + 1);
        let end = (at + self.below(16)).min(bytes.len());
        match self.below(6) {
            0 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << self.below(8)),
            1 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = self.next() as u8),
            2 => bytes.insert(at, [0, 1, 0x7f, 0x80, 0xff, b'\n', b'='][self.below(7)]),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let part = bytes[at..end].to_vec();
                let to = self.below(bytes.len() + 1);
                drop(bytes.splice(to..to, part));
            }
            _ => {
                // The rest of another one.
                let other = &files[self.below(files.len())];
                bytes.truncate(at);
                bytes.extend(&other[self.below(other.len() + 1)..]);
            }
        }
    }
}
