//! `sysring doctor`: what the kernel and the system offer, and what may stand in the way.

use clap::Args;

use crate::exit::{FAILURE, Failure};

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {}

pub(crate) fn run(_args: &DoctorArgs) -> Result<(), Failure> {
    Err(Failure::new(FAILURE, "not written yet"))
}
