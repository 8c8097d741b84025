//! `sysring stat`: all that can be said about one channel without touching it.

mod prometheus;
mod report;
mod text;

use sysring::{Address, Observer, Stats};

use crate::args::StatArgs;
use crate::exit::{Failure, USAGE};
use crate::output;
pub(crate) use report::Report;

pub(crate) fn run(args: &StatArgs) -> Result<(), Failure> {
    match &args.name {
        None if args.prometheus => output::print(&prometheus::all(&sysring::list()?)),
        // The definition of the arguments asks for it; this is for whoever changes that.
        None => Err(Failure::new(USAGE, "stat: which channel?")),
        Some(name) => {
            let stats = look(name)?;
            if args.prometheus {
                output::print(&prometheus::one(&stats))
            } else if args.json {
                output::print_json(&report::report(&stats))
            } else {
                output::print_styled(&text::text(&stats))
            }
        }
    }
}

fn look(name: &Address) -> Result<Stats, Failure> {
    Ok(Observer::open(name.clone())?.stats()?)
}
