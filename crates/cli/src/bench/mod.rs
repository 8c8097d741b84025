//! `sysring bench`: how fast channels are on this machine.

use clap::Args;

use crate::exit::{FAILURE, Failure};

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {}

pub(crate) fn run(_args: &BenchArgs) -> Result<(), Failure> {
    Err(Failure::new(FAILURE, "not written yet"))
}
