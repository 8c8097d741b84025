//! `sysring top`: every channel, live.

use clap::Args;

use crate::exit::{FAILURE, Failure};

#[derive(Debug, Args)]
pub(crate) struct TopArgs {}

pub(crate) fn run(_args: &TopArgs) -> Result<(), Failure> {
    Err(Failure::new(FAILURE, "not written yet"))
}
