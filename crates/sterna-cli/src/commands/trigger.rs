//! `sterna trigger` and `sterna publish`: what starts when something happens.

use std::io::Read;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;
use sterna_model::{AutomationChange, Missed, Occurrence, Source, Start};

use super::automation::{
    Kind, ListArgs, MakeArgs, NameArgs, Op, OverlapArg, change, failure, list, make, once, show, watch,
};
use crate::context::Context;
use crate::failure::Failure;
use crate::table::now;

#[derive(Debug, Args)]
pub struct TriggerArgs {
    #[command(subcommand)]
    command: TriggerCommand,
}

#[derive(Debug, Subcommand)]
enum TriggerCommand {
    /// Makes a trigger, with the rights that a turn would have here and now
    Add(Box<AddArgs>),
    /// Lists triggers
    List(ListArgs),
    /// Shows a trigger and its last runs
    Show(NameArgs),
    /// Nothing of it starts until it is resumed
    Pause(NameArgs),
    /// Goes on; what happened meanwhile is not made up for
    Resume(NameArgs),
    /// Takes it away; a run that has begun goes on
    Remove(NameArgs),
}

#[derive(Debug, Args)]
struct AddArgs {
    #[command(flatten)]
    make: MakeArgs,
    /// What it waits for: publish:KEY, automation:NAME (a run of it has ended) or job:SESSION (a background job of it
    /// has ended); `*` is any key
    #[arg(long, value_name = "SOURCE:KEY")]
    on: String,
    /// What becomes of something that happens while the run before is not over
    #[arg(long, value_name = "WHAT", default_value = "queue")]
    overlap: OverlapArg,
}

#[derive(Debug, Args)]
pub struct PublishArgs {
    /// What triggers wait for as publish:KEY
    key: String,
    /// The same id is the same occurrence, however often it is published
    #[arg(long)]
    id: Option<String>,
    /// What the runs are told of it, at most 16 KiB; `-` reads it from stdin
    #[arg(long, value_name = "TEXT")]
    payload: Option<String>,
    /// One object
    #[arg(long)]
    json: bool,
}

pub async fn trigger(args: TriggerArgs) -> Result<ExitCode, Failure> {
    let kind = Kind::Trigger;
    match args.command {
        TriggerCommand::Add(args) => add(*args).await,
        TriggerCommand::List(args) => list(kind, args).await,
        TriggerCommand::Show(args) => show(kind, args).await,
        TriggerCommand::Pause(args) => change(kind, Op::Pause, args).await,
        TriggerCommand::Resume(args) => change(kind, Op::Resume, args).await,
        TriggerCommand::Remove(args) => change(kind, Op::Remove, args).await,
    }
}

pub async fn publish(args: PublishArgs) -> Result<ExitCode, Failure> {
    let cx = Context::load(None)?;
    let payload = match args.payload.as_deref() {
        Some("-") => {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .map_err(|e| Failure::usage(format!("cannot read the payload from stdin: {e}")))?;
            text
        }
        given => given.unwrap_or_default().to_owned(),
    };
    let id = args.id.unwrap_or_else(once);
    let occurrence = Occurrence { source: Source::Publish, key: args.key, id, payload, hops: 0 };
    let log = std::sync::Arc::new(cx.store()?);
    let published = watch(&cx, log).board().publish(now(), occurrence).await.map_err(failure)?;
    let name = |change: &AutomationChange| match change {
        AutomationChange::Fired(fired) => Some(fired.name.clone()),
        _ => None,
    };
    let fired: Vec<String> = published.decided.iter().filter_map(name).collect();
    if args.json {
        cx.print.json(&json!({"fired": fired, "repeated": published.repeated}))?;
    } else if published.repeated {
        cx.print.line("it was published before, and counts once")?;
    } else if fired.is_empty() {
        cx.print.line("no trigger runs for it")?;
    } else {
        cx.print.line(&format!("runs are to start: {}; `sterna worker` drives them", fired.join(", ")))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn add(args: AddArgs) -> Result<ExitCode, Failure> {
    let wrong = || {
        Failure::usage(format!("`{}` is nothing to wait for", args.on))
            .hint("write publish:KEY, automation:NAME or job:SESSION; `*` is any key")
    };
    let (source, key) = args.on.split_once(':').ok_or_else(wrong)?;
    let source = Source::ALL.into_iter().find(|of| of.word() == source).ok_or_else(wrong)?;
    let start = Start::On { source, key: key.to_owned() };
    make(args.make, |_| Ok(start), Missed::Once, args.overlap.into()).await
}
