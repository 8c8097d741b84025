//! Runs the tests, each in a child with a deadline, and reports as the usual harness does.

use std::io::{PipeReader, Read as _, Write as _};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::process::{self, Child, End, Object};

/// How long one test may take, in seconds; `SYSRING_TEST_DEADLINE` gives another limit.
const DEADLINE: u64 = 60;

/// The same in the long form.
const LONG_DEADLINE: u64 = 3600;

/// Whether the long form of the proofs is asked for: `SYSRING_LONG=1`.
pub(crate) fn is_long() -> bool {
    std::env::var_os("SYSRING_LONG").is_some_and(|value| value != "0")
}

/// The seed of random choices: `SYSRING_SEED`, or another one each time. Printed, so that a failure can be tried again.
pub(crate) fn seed() -> u64 {
    let asked = std::env::var("SYSRING_SEED").ok().and_then(|text| text.parse().ok());
    let seed = asked.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock behind 1970");
        now.as_nanos() as u64 % 1_000_000_007
    });
    println!("SYSRING_SEED={seed}");
    seed
}

/// One test.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Test {
    pub(crate) name: &'static str,
    pub(crate) run: fn(),
}

/// Makes the list of a module's tests.
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        /// The tests of this module.
        pub(crate) const TESTS: &[crate::runner::Test] = &[$(crate::runner::Test {
            name: concat!(module_path!(), "::", stringify!($name)),
            run: $name,
        }),*];
    };
}
pub(crate) use tests;

/// What the command line asks for.
#[derive(Debug, Default)]
struct Wanted {
    parts: Vec<String>,
    skip: Vec<String>,
    exact: bool,
    list: bool,
    ignored: bool,
}

impl Wanted {
    fn from_arguments() -> Wanted {
        let mut wanted = Wanted::default();
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--list" => wanted.list = true,
                "--exact" => wanted.exact = true,
                "--ignored" => wanted.ignored = true,
                "--skip" => wanted.skip.extend(arguments.next()),
                // Those that take a value, which is no part of a name.
                "--test-threads" | "--format" | "--color" | "--logfile" | "-Z" | "--shuffle-seed" => {
                    arguments.next();
                }
                flag if flag.starts_with('-') => {}
                part => wanted.parts.push(part.to_owned()),
            }
        }
        wanted
    }

    fn includes(&self, name: &str) -> bool {
        let matches = |part: &String| if self.exact { name == part } else { name.contains(part.as_str()) };
        (self.parts.is_empty() || self.parts.iter().any(matches))
            && !self.skip.iter().any(matches)
            && !self.ignored
    }
}

/// A test's name as people write it.
fn short(test: &Test) -> &'static str {
    test.name.split_once("::").map_or(test.name, |(_, name)| name)
}

/// One after another.
pub(crate) fn main(tests: &[Test]) {
    at_once(1, tests);
}

/// So many at the same time, each in an IPC namespace of its own; one after another where that is not allowed.
pub(crate) fn at_once(count: usize, tests: &[Test]) {
    let wanted = Wanted::from_arguments();
    let chosen: Vec<&Test> = tests.iter().filter(|test| wanted.includes(short(test))).collect();
    if wanted.list {
        chosen.iter().for_each(|test| println!("{}: test", short(test)));
        return;
    }
    process::adopt_orphans();
    let count = if process::own_ipc_namespace() { count } else { 1 };
    let before = process::objects();
    let limit = std::env::var("SYSRING_TEST_DEADLINE").ok().and_then(|text| text.parse().ok());
    let limit = Duration::from_secs(limit.unwrap_or(if is_long() { LONG_DEADLINE } else { DEADLINE }));

    println!("\nrunning {} test{}", chosen.len(), if chosen.len() == 1 { "" } else { "s" });
    let started = Instant::now();
    let mut failures = Vec::new();
    let mut report = |test: &Test, outcome: Outcome| match outcome {
        Ok(time) => println!("test {} ... ok <{:.3}s>", short(test), time.as_secs_f64()),
        Err(why) => {
            println!("test {} ... FAILED", short(test));
            failures.push((short(test), why));
        }
    };
    for tests in chosen.chunks(count) {
        if let [test] = tests {
            report(test, run(test, limit));
            continue;
        }
        let kept: Vec<_> = tests.iter().map(|test| Keeper::start(test, limit)).collect();
        tests.iter().zip(kept).for_each(|(test, keeper)| report(test, keeper.outcome()));
    }
    let left = new_objects(&before);
    if !left.is_empty() {
        failures.push(("(all)", format!("left in the kernel: {left:?}")));
    }

    if !failures.is_empty() {
        println!("\nfailures:");
        failures.iter().for_each(|(name, why)| println!("    {name}: {why}"));
    }
    println!(
        "\ntest result: {}. {} passed; {} failed; 0 ignored; 0 measured; {} filtered out; finished in {:.2}s\n",
        if failures.is_empty() { "ok" } else { "FAILED" },
        chosen.len().saturating_sub(failures.len()),
        failures.len(),
        tests.len() - chosen.len(),
        started.elapsed().as_secs_f64()
    );
    if !failures.is_empty() {
        std::process::exit(101);
    }
}

/// How long a test took, or why it failed.
type Outcome = Result<Duration, String>;

/// A process that runs one test beside others, in a namespace of its own.
struct Keeper {
    child: Child,
    told: PipeReader,
}

impl Keeper {
    fn start(test: &Test, limit: Duration) -> Keeper {
        let (told, mut tells) = std::io::pipe().expect("a pipe");
        let child = process::fork(|| {
            process::adopt_orphans();
            assert!(process::own_ipc_namespace(), "it was allowed before");
            let text = match run(test, limit) {
                Ok(time) => time.as_nanos().to_string(),
                Err(why) => why,
            };
            tells.write_all(text.as_bytes()).expect("write to a pipe");
        });
        Keeper { child, told }
    }

    fn outcome(mut self) -> Outcome {
        let mut text = String::new();
        self.told.read_to_string(&mut text).expect("read from a pipe");
        match self.child.wait() {
            End::Exit(0) => text.parse().map(Duration::from_nanos).map_err(|_| text),
            end => Err(format!("its keeper ended: {end:?}")),
        }
    }
}

/// Runs one test and cleans up after it.
fn run(test: &Test, limit: Duration) -> Outcome {
    let before = process::objects();
    let started = Instant::now();
    let child = process::fork(test.run);
    let end = await_end(&child, limit);
    let time = started.elapsed();
    drop(child); // kills it if it is late
    process::reap_orphans();
    let left = new_objects(&before);
    left.iter().for_each(remove);
    match end {
        None => Err(format!("not done after {limit:?}")),
        Some(End::Exit(0)) if left.is_empty() => Ok(time),
        Some(End::Exit(0)) => Err(format!("left in the kernel: {left:?}")),
        Some(end) => Err(format!("{end:?}")),
    }
}

fn await_end(child: &Child, limit: Duration) -> Option<End> {
    let started = Instant::now();
    loop {
        let end = child.try_wait();
        if end.is_some() || started.elapsed() > limit {
            return end;
        }
        process::pause(1);
    }
}

fn new_objects(before: &[Object]) -> Vec<Object> {
    process::objects().into_iter().filter(|object| !before.contains(object)).collect()
}

fn remove(object: &Object) {
    match *object {
        Object::Segment { id, .. } => {
            let _ = sysring::segment::Segment::from_id(id).remove();
        }
        Object::Set { id, .. } => process::remove_set(id),
    }
}
