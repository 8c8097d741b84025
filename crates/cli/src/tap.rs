//! `sysring tap`: messages, looked at without taking them.

mod show;

use std::io::{self, BufWriter, Write};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use sysring::{Address, Corruption, Observer, Tap, Tapped};

use crate::args;
use crate::exit::{DAMAGED, Failure, GONE};
use crate::signals;
use show::{Form, Look};

/// The first and the longest pause between two looks at a channel with nothing new.
const SHORTEST: Duration = Duration::from_micros(50);
const LONGEST: Duration = Duration::from_millis(4);

/// Looks at once after something was seen, before the first pause.
const AT_ONCE: u32 = 64;

/// Without a reader that keeps up, output waits here.
const BUFFER: usize = 64 << 10;

#[derive(Debug, Args)]
pub(crate) struct TapArgs {
    /// The channel
    pub(crate) name: Address,
    /// Go on with the messages that come, until a signal or the removal of the channel
    #[arg(long)]
    pub(crate) follow: bool,
    /// Leave out what waits at the beginning
    #[arg(long, requires = "follow")]
    pub(crate) from_now: bool,
    /// End after N messages
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// Only the messages of the sender in this lane
    #[arg(long, value_name = "LANE")]
    pub(crate) from: Option<u32>,
    /// Show no more than the first SIZE bytes of each message
    #[arg(long, value_name = "SIZE", value_parser = args::size)]
    pub(crate) bytes: Option<u64>,
    /// Say when each message was seen, in seconds since 1970
    #[arg(long)]
    pub(crate) time: bool,
    /// Show all contents as hexadecimal numbers
    #[arg(long, conflicts_with_all = ["text", "json"])]
    pub(crate) hex: bool,
    /// Show all contents as text, whatever they are
    #[arg(long, conflicts_with = "json")]
    pub(crate) text: bool,
    /// For programs: one object a line
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(args: &TapArgs) -> Result<(), Failure> {
    signals::watch()?;
    let mut tap = Observer::open(args.name.clone())?.tap();
    if let Some(lane) = args.from {
        tap = tap.lane(lane)?;
    }
    if let Some(bytes) = args.bytes {
        tap = tap.snap_length(usize::try_from(bytes).unwrap_or(usize::MAX));
    }
    tap = if !args.follow {
        tap.snapshot()
    } else if args.from_now {
        tap.from_now()
    } else {
        tap
    };
    let form = match args {
        TapArgs { json: true, .. } => Form::Json,
        TapArgs { hex: true, .. } => Form::Dump(Look::Hex),
        TapArgs { text: true, .. } => Form::Dump(Look::Text),
        _ => Form::Dump(Look::Fitting),
    };
    let stdout = BufWriter::with_capacity(BUFFER, io::stdout().lock());
    let mut walk = Walk { args, form, stdout, damage: None, left: args.count.unwrap_or(u64::MAX) };
    walk.run(&mut tap)?;
    walk.flush()?;
    match walk.damage {
        None => Ok(()),
        Some(damage) => {
            let name = &args.name;
            let text =
                format!("tap {name}: {damage}; what lies behind is not shown, see 'sysring stat {name}'");
            Err(Failure::new(DAMAGED, text))
        }
    }
}

/// A walk over the channel, under way.
struct Walk<'a, W: Write> {
    args: &'a TapArgs,
    form: Form,
    stdout: W,
    /// The first that was met.
    damage: Option<Corruption>,
    /// Messages that are still to be shown.
    left: u64,
}

impl<W: Write> Walk<'_, W> {
    fn run(&mut self, tap: &mut Tap) -> Result<(), Failure> {
        let (mut fruitless, mut removed) = (0_u32, false);
        while self.left > 0 {
            if signals::noted() {
                self.flush()?;
                return Err(Failure::interrupted());
            }
            if let Some(tapped) = tap.next() {
                self.show(&tapped)?;
                fruitless = 0;
            } else if !self.args.follow {
                break;
            } else if removed {
                self.flush()?;
                let name = &self.args.name;
                return Err(Failure::new(GONE, format!("tap {name}: the channel was removed (EIDRM)")));
            } else {
                // A look that comes after the mark sees what was sent before it.
                removed = self.pause(fruitless, tap)?;
                fruitless = fruitless.saturating_add(1);
            }
        }
        Ok(())
    }

    /// Nothing is there to be shown: waits a little, and longer each time. Whether the channel was removed.
    fn pause(&mut self, fruitless: u32, tap: &Tap) -> Result<bool, Failure> {
        let Some(longer) = fruitless.checked_sub(AT_ONCE) else {
            thread::yield_now();
            return Ok(false);
        };
        if longer == 0 {
            self.flush()?;
        }
        let removed = tap.is_removed();
        if !removed {
            thread::sleep((SHORTEST * 2_u32.pow(longer.min(10))).min(LONGEST));
        }
        Ok(removed)
    }

    fn show(&mut self, tapped: &Tapped) -> Result<(), Failure> {
        match tapped {
            Tapped::Message(_) => self.left -= 1,
            Tapped::Damaged(damage) => {
                self.damage.get_or_insert(*damage);
            }
            _ => {}
        }
        let seen = self.args.time.then(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
        let text = self.form.text(tapped, seen)?;
        self.stdout.write_all(text.as_bytes()).map_err(|error| Failure::stdout(&error))
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.stdout.flush().map_err(|error| Failure::stdout(&error))
    }
}
