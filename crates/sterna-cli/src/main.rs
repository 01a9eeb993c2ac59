//! `sterna`: the command line. It translates between people and the runtime, and has no behaviour of its own.

mod args;
mod commands;
mod context;
mod drive;
mod failure;
mod person;
mod print;
mod render;
mod setup;
mod signals;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use args::{Cli, Command};
use failure::Failure;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A closed stream is no reason to fail.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { failure::USAGE } else { 0 });
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let failure = Failure::failed(format!("cannot start: {error}"));
            return failure.report(&print::Print::from_env());
        }
    };
    let ended = runtime.block_on(dispatch(cli));
    // Tasks that are left are dropped, and with them the processes that they run.
    runtime.shutdown_timeout(Duration::from_millis(200));
    ended.unwrap_or_else(|failure| failure.report(&print::Print::from_env()))
}

async fn dispatch(cli: Cli) -> Result<ExitCode, Failure> {
    match cli.command {
        Command::Run(args) => commands::run::run(args).await,
        Command::Chat(args) => commands::chat::run(args).await,
        Command::Resume(args) => commands::resume::run(args).await,
    }
}
