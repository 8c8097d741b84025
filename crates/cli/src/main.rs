//! `sysring`: message channels between processes, from the shell.
//!
//! Every command is a thin layer over the public API of the library. What went wrong is told in
//! one line on stderr and by the exit status (see [`exit`]); a closed stdout ends a command
//! quietly.

#![forbid(unsafe_code)]

mod args;
mod bench;
mod create;
mod demo;
mod doctor;

mod exit;
mod framing;
#[cfg(test)]
mod fuzzing;
mod gc;
mod generate;
mod ls;
mod manual;
mod output;
mod progress;
mod recv;
mod rm;
mod schema;
mod send;
mod signals;
mod sink;
mod source;
mod stat;
mod state;
mod tap;
mod top;
mod transfer;

use std::process::ExitCode;

use clap::FromArgMatches as _;

use args::{Cli, Command};

fn main() -> ExitCode {
    let mut definition = args::definition();
    let parsed = definition.try_get_matches_from_mut(std::env::args_os());
    let cli = match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => return exit::usage(&error),
    };
    let result = match cli.command {
        Command::Create(args) => create::run(&args),
        Command::Send(args) => send::run(&args),
        Command::Recv(args) => recv::run(&args),
        Command::Stat(args) => stat::run(&args),
        Command::Ls(args) => ls::run(&args),
        Command::Rm(args) => rm::run(&args),
        Command::Gc(args) => gc::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Tap(args) => tap::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Completions(args) => generate::completions(&args),
        Command::Generate(args) => generate::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::DemoSender(args) => demo::sender::run(&args),
        Command::BenchWorker => bench::work(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
