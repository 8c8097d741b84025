//! Completions, manual pages and schemas, generated from what the program is.

use std::path::PathBuf;

use clap::Args;

use crate::exit::{FAILURE, Failure};

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// Where to
    pub(crate) directory: PathBuf,
}

pub(crate) fn completions(_args: &CompletionsArgs) -> Result<(), Failure> {
    Err(Failure::new(FAILURE, "not written yet"))
}

pub(crate) fn run(_args: &GenerateArgs) -> Result<(), Failure> {
    Err(Failure::new(FAILURE, "not written yet"))
}
