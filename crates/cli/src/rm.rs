//! `sysring rm`: removes a channel.

use crate::args::RmArgs;
use crate::exit::Failure;

pub(crate) fn run(args: &RmArgs) -> Result<(), Failure> {
    Ok(sysring::remove(args.name.clone())?)
}
