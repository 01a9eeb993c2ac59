//! `sterna schedule`: what starts by the clock.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use sterna_automation::{parse_at, parse_every};
use sterna_model::{Missed, Start};

use super::automation::{
    Kind, ListArgs, MakeArgs, NameArgs, Op, OverlapArg, change, failure, find, list, make, once, run_json,
    show,
};
use crate::context::Context;
use crate::failure::Failure;
use crate::table::now;

#[derive(Debug, Args)]
pub struct ScheduleArgs {
    #[command(subcommand)]
    command: ScheduleCommand,
}

#[derive(Debug, Subcommand)]
enum ScheduleCommand {
    /// Makes a schedule, with the rights that a turn would have here and now
    Add(Box<AddArgs>),
    /// Lists schedules
    List(ListArgs),
    /// Shows a schedule and its last runs
    Show(NameArgs),
    /// Nothing of it starts until it is resumed
    Pause(NameArgs),
    /// Goes on; what was due meanwhile is not made up for
    Resume(NameArgs),
    /// Takes it away; a run that has begun goes on
    Remove(NameArgs),
    /// Makes a run now, beside what is due; `sterna worker` drives it
    RunNow(RunNowArgs),
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("when").required(true).args(["cron", "every", "at"]))]
struct AddArgs {
    #[command(flatten)]
    make: MakeArgs,
    /// A cron expression of 5 fields, or of 6 with seconds first
    #[arg(long, value_name = "EXPR")]
    cron: Option<String>,
    /// An interval, such as 90s, 15m, 2h or 1d12h
    #[arg(long, value_name = "SPAN")]
    every: Option<String>,
    /// Once, at this time of the zone, such as 2026-11-22T09:00
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// What becomes of times that were due while nothing ran
    #[arg(long, value_name = "WHAT", default_value = "once")]
    missed: MissedArg,
    /// What becomes of a time that comes while the run before is not over
    #[arg(long, value_name = "WHAT", default_value = "skip")]
    overlap: OverlapArg,
}

#[derive(Debug, Args)]
struct RunNowArgs {
    #[command(flatten)]
    of: NameArgs,
    /// Idempotency key: the same key makes one run
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum MissedArg {
    /// Nothing
    Skip,
    /// One run makes up for all of them
    Once,
    /// Each is made up for, one after the other
    All,
}

pub async fn schedule(args: ScheduleArgs) -> Result<ExitCode, Failure> {
    let kind = Kind::Schedule;
    match args.command {
        ScheduleCommand::Add(args) => add(*args).await,
        ScheduleCommand::List(args) => list(kind, args).await,
        ScheduleCommand::Show(args) => show(kind, args).await,
        ScheduleCommand::Pause(args) => change(kind, Op::Pause, args).await,
        ScheduleCommand::Resume(args) => change(kind, Op::Resume, args).await,
        ScheduleCommand::Remove(args) => change(kind, Op::Remove, args).await,
        ScheduleCommand::RunNow(args) => run_now(args).await,
    }
}

async fn add(args: AddArgs) -> Result<ExitCode, Failure> {
    let AddArgs { make: of, cron, every, at, missed, overlap } = args;
    let start = |zone: &str| match (cron, every, at) {
        (Some(expr), ..) => Ok(Start::Cron { expr }),
        (_, Some(every), _) => Ok(Start::Every { ms: parse_every(&every).map_err(Failure::usage)? }),
        (.., at) => {
            let at = parse_at(at.as_deref().unwrap_or_default(), zone).map_err(Failure::usage)?;
            Ok(Start::At { at })
        }
    };
    let missed = match missed {
        MissedArg::Skip => Missed::Skip,
        MissedArg::Once => Missed::Once,
        MissedArg::All => Missed::All,
    };
    make(of, start, missed, overlap.into()).await
}

async fn run_now(args: RunNowArgs) -> Result<ExitCode, Failure> {
    let cx = Context::load(None)?;
    let (watch, held) = find(&cx, Kind::Schedule, &args.of.name).await?;
    let once = match &args.key {
        Some(key) => format!("run:{}:{}:{key}", args.of.name, held.made),
        None => once(),
    };
    let run = watch.board().run_now(&once, now(), &args.of.name, "cli").await.map_err(failure)?;
    if args.of.json {
        cx.print.json(&run_json(&run))?;
    } else {
        cx.print.line(&format!("run {} is to start; `sterna worker` drives it", run.fired.run))?;
    }
    Ok(ExitCode::SUCCESS)
}
