//! `sysring`: message channels between processes, from the shell.
//!
//! Every command is a thin layer over the public API of the library. What went wrong is told in
//! one line on stderr and by the exit status (see [`exit`]); a closed stdout ends a command
//! quietly.

#![forbid(unsafe_code)]

mod args;
mod create;
mod demo;
mod exit;
mod framing;
#[cfg(test)]
mod fuzzing;
mod gc;
mod ls;
mod output;
mod progress;
mod recv;
mod rm;
mod send;
mod signals;
mod stat;
mod state;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
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
        Command::Demo(args) => demo::run(&args),
        Command::DemoSender(args) => demo::sender::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
