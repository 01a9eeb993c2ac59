//! `sterna`: the command line. It translates between people and the runtime, and has no behaviour of its own.

mod args;
mod commands;
mod context;
mod drive;
mod edit;
mod failure;
mod person;
mod point;
mod print;
mod render;
mod setup;
mod signals;
mod slash;
mod spools;
mod table;
mod trust;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use args::{Cli, Command};
use context::Context;
use failure::Failure;

fn main() -> ExitCode {
    if let Some(ended) = commands::shim::if_asked() {
        return ended;
    }
    let inside = commands::what_if::is_inside();
    let words: Vec<OsString> = std::env::args_os().collect();
    let cli = match (!inside).then(|| Cli::of(&words)).transpose() {
        Ok(cli) => cli,
        Err(error) => {
            // A closed stream is no reason to fail.
            let _ = error.print();
            if let Some(hint) = unquoted(&error) {
                print::Print::from_env().hint(hint);
            }
            return ExitCode::from(if error.use_stderr() { failure::USAGE } else { 0 });
        }
    };
    // One worker beside this thread: a turn waits for the model and the disk, and each hand-over to another thread
    // costs its first request time. What computes has threads of its own.
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let failure = Failure::failed(format!("cannot start: {error}"));
            return failure.report(&print::Print::from_env());
        }
    };
    let ended = match cli {
        Some(cli) => runtime.block_on(dispatch(cli)),
        None => Ok(runtime.block_on(sterna::what_if_inside())),
    };
    // Tasks that are left are dropped, and with them the processes that they run.
    runtime.shutdown_timeout(Duration::from_millis(200));
    ended.unwrap_or_else(|failure| failure.report(&print::Print::from_env()))
}

/// `sterna run fix the test`: the second word is one too many. `sterna policy explain rm -rf x`: `-rf` is none of our flags.
fn unquoted(error: &clap::Error) -> Option<&'static str> {
    let Some(clap::error::ContextValue::String(extra)) = error.get(clap::error::ContextKind::InvalidArg)
    else {
        return None;
    };
    if error.kind() != clap::error::ErrorKind::UnknownArgument {
        return None;
    }
    let mut words = std::env::args().skip(1);
    match (words.next().as_deref(), words.next().as_deref()) {
        (Some("run"), _) if !extra.starts_with('-') => {
            Some("a prompt of several words stands in quotes: sterna run \"fix the test\"")
        }
        (Some("policy"), Some("explain")) if words.next().is_some_and(|word| !word.starts_with('-')) => {
            Some("a command line stands in quotes: sterna policy explain 'git push origin main'")
        }
        _ => None,
    }
}

async fn dispatch(cli: Cli) -> Result<ExitCode, Failure> {
    match cli.command {
        Command::Run(args) => commands::run::run(args).await,
        Command::Chat(args) => commands::chat::run(args).await,
        Command::Resume(args) => commands::resume::run(args).await,
        Command::Sessions(args) => commands::sessions::sessions(&Context::load(None)?, args).await,
        Command::Approve(args) => commands::resolve::approve(&Context::load(None)?, args).await,
        Command::Deny(args) => commands::resolve::deny(&Context::load(None)?, args).await,
        Command::Answer(args) => commands::resolve::answer(&Context::load(None)?, args).await,
        Command::Signal(args) => commands::resolve::signal(&Context::load(None)?, args).await,
        Command::Models(args) => commands::models::models(&Context::load(None)?, &args),
        Command::Usage(args) => commands::usage::usage(&Context::load(None)?, args).await,
        Command::Ps(args) => commands::ps::ps(&Context::load(None)?, args).await,
        Command::Policy(args) => commands::policy::policy(args).await,
        Command::Replay(args) => commands::replay::replay(&Context::load(None)?, args).await,
        Command::WhatIf(args) => commands::what_if::what_if(args).await,
        Command::Rewind(args) => commands::rewind::rewind(&Context::load(None)?, args).await,
        Command::Checkpoint(args) => commands::checkpoint::checkpoint(&Context::load(None)?, args).await,
        Command::Context(args) => commands::context::context(&Context::load(None)?, args).await,
        Command::Compact(args) => commands::compact::compact(args).await,
        Command::Skills(args) => commands::skills::skills(args).await,
        #[cfg(feature = "mcp")]
        Command::Mcp(args) => {
            let mut cx = Context::load(None)?;
            trust::join(&mut cx, trust::Wish { once: false, ask: false }).await?;
            commands::mcp::mcp(&cx, args).await
        }
        Command::Goal(args) => commands::goal::goal(args).await,
        Command::Schedule(args) => commands::schedule::schedule(args).await,
        Command::Trigger(args) => commands::trigger::trigger(args).await,
        Command::Publish(args) => commands::trigger::publish(args).await,
        Command::Worker(args) => commands::worker::worker(args).await,
        Command::Memory(args) => commands::memory::memory(args).await,
        // They help with a configuration that cannot be read.
        Command::Trust(args) => commands::trust::trust(args).await,
        Command::Config(args) => {
            let mut cx = Context::lenient(None)?;
            if cx.broken.is_none() {
                trust::join(&mut cx, trust::Wish { once: false, ask: false }).await?;
            }
            commands::config::config(&cx, args).await
        }
        Command::Doctor(args) => commands::doctor::doctor(Context::lenient(None)?, args).await,
        Command::Completions(args) => commands::completions::completions(args),
    }
}
