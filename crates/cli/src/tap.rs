//! `sysring tap`: messages, looked at without taking them.

use clap::Args;
use sysring::Address;

use crate::exit::{FAILURE, Failure};

#[derive(Debug, Args)]
pub(crate) struct TapArgs {
    /// The channel
    pub(crate) name: Address,
}

pub(crate) fn run(_args: &TapArgs) -> Result<(), Failure> {
    Err(Failure::new(FAILURE, "not written yet"))
}
