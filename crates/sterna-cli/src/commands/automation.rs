//! What `schedule` and `trigger` have in common: they are the two kinds of automations.

use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use sterna::watch::{Watch, key_of};
use sterna_automation::{Automations, BoardError, Held, Over, Row, Run, Times, decide, times, zone_here};
use sterna_log::{LogError, SharedLog};
use sterna_model::{
    Automation, Cause, Millis, Missed, Overlap, QuietHours, RunEnd, RunOutcome, RunTarget, SessionId, Start,
};
use sterna_runtime::Env;

use crate::args::TurnArgs;
use crate::context::Context;
use crate::failure::Failure;
use crate::print::{Style, one_line};
use crate::setup;
use crate::slash;
use crate::table::{now, table};

/// Which of the two a command is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Schedule,
    Trigger,
}

/// What both are given when they are made.
#[derive(Debug, Args)]
pub struct MakeArgs {
    /// What it is called: 1 to 64 characters of a-z, 0-9 and -
    pub name: String,
    /// What each run is told to do
    pub prompt: String,
    /// The zone whose clock counts, such as Europe/Berlin; this machine's unless it is said
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<String>,
    /// Hours of the day in which nothing starts, such as 22:00-06:00
    #[arg(long, value_name = "FROM-TO")]
    pub quiet: Option<String>,
    /// Each run works in this session, instead of in one of its own
    #[arg(long, value_name = "ID")]
    pub session: Option<String>,
    #[command(flatten)]
    pub turn: TurnArgs,
    /// One object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// One object a line
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct NameArgs {
    /// What it is called
    pub name: String,
    /// One object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum OverlapArg {
    /// No run is made
    Skip,
    /// It starts when the run before has ended
    Queue,
    /// Both run
    Parallel,
}

impl From<OverlapArg> for Overlap {
    fn from(arg: OverlapArg) -> Self {
        match arg {
            OverlapArg::Skip => Self::Skip,
            OverlapArg::Queue => Self::Queue,
            OverlapArg::Parallel => Self::Parallel,
        }
    }
}

/// What is changed about one that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Pause,
    Resume,
    Remove,
}

impl Kind {
    pub fn word(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Trigger => "trigger",
        }
    }

    pub fn of(automation: &Automation) -> Self {
        match automation.start {
            Start::On { .. } => Self::Trigger,
            Start::Cron { .. } | Start::Every { .. } | Start::At { .. } => Self::Schedule,
        }
    }
}

/// The automations of the store that the context names.
pub fn watch(cx: &Context, log: SharedLog) -> Watch {
    let env = Arc::new(sterna::SystemEnv::new(&[], Vec::new()).secret_in(cx.places.wait_key()));
    Watch::new(log, cx.secrets(env))
}

/// The same, where there is a store; none is made.
pub fn watch_if_there(cx: &Context) -> Result<Option<Watch>, Failure> {
    Ok(cx.store_if_there()?.map(|store| watch(cx, Arc::new(store))))
}

/// No two commands are the same change.
pub fn once() -> String {
    format!("cli:{}", sterna::SystemEnv::new(&[], Vec::new()).new_session_id())
}

/// Makes one, with the rights that a turn would have here and now.
pub async fn make(
    args: MakeArgs,
    start: impl FnOnce(&str) -> Result<Start, Failure>,
    missed: Missed,
    overlap: Overlap,
) -> Result<ExitCode, Failure> {
    let cx = setup::context_here(&args.turn, false).await?;
    let zone = args.zone.clone().unwrap_or_else(zone_here);
    let quiet =
        args.quiet.as_deref().map(sterna_automation::parse_quiet).transpose().map_err(Failure::usage)?;
    let target = match args.session.as_deref().map(SessionId::new).transpose()? {
        Some(session) => RunTarget::Session(session),
        None => RunTarget::Own,
    };
    let (store, log) = setup::store(&cx)?;
    if let RunTarget::Session(session) = &target
        && let Err(error @ LogError::Tombstone(_)) = log.head(session).await
    {
        return Err(error.into());
    }
    let sterna = setup::sterna(&cx, &args.turn, store, None, false).await?;
    setup::ready(&sterna)?;
    let mut config = sterna.turn_config().clone();
    let prompt = match slash::expand(&cx, &sterna, &args.prompt, &[])? {
        Some(expansion) => slash::apply(expansion, &mut config)?,
        None => args.prompt.clone(),
    };
    // What it may do is fixed now, whatever its session is switched to.
    config.mode_of_session = false;
    let automation = Automation {
        name: args.name.clone(),
        start: start(&zone)?,
        zone,
        quiet,
        missed,
        overlap,
        target,
        prompt,
        given: Box::new(config.given),
        by: "cli".into(),
    };
    let kind = Kind::of(&automation);
    let made = watch(&cx, log).board().add(&once(), now(), automation).await.map_err(failure)?;
    if args.json {
        cx.print.json(&json_of(&made))?;
        return Ok(ExitCode::SUCCESS);
    }
    let next = match times(&made).and_then(|times| Some((decide::next(&made, &times, now())?, times))) {
        Some((next, times)) => format!(", due first at {}", times.shown(next)),
        None => String::new(),
    };
    cx.print.line(&format!("{} {} is made{next}", kind.word(), args.name))?;
    cx.print.note("`sterna worker` runs what is due; `sterna worker --once` does so from crontab");
    Ok(ExitCode::SUCCESS)
}

pub async fn list(kind: Kind, args: ListArgs) -> Result<ExitCode, Failure> {
    let cx = Context::load(None)?;
    let all = match watch_if_there(&cx)? {
        Some(watch) => watch.board().all().await.map_err(failure)?,
        None => Automations::default(),
    };
    let held: Vec<&Held> = all.iter().filter(|held| Kind::of(&held.automation) == kind).collect();
    if args.json {
        for held in held {
            cx.print.json(&json_of(held))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if held.is_empty() {
        cx.print.note(&format!("there is no {}; `sterna {} add` makes one", kind.word(), kind.word()));
        return Ok(ExitCode::SUCCESS);
    }
    let now = now();
    let row = |held: &&Held| {
        let last = held.history.iter().rev().find_map(|row| match row {
            Row::Ran { end, .. } => Some(outcome(end).to_owned()),
            Row::Passed { .. } => None,
        });
        vec![
            held.automation.name.clone(),
            start_of(&held.automation),
            status(held).to_owned(),
            next_shown(held, now).unwrap_or_else(|| "-".into()),
            last.unwrap_or_else(|| "-".into()),
            one_line(&held.automation.prompt, 50),
        ]
    };
    let rows: Vec<Vec<String>> = held.iter().map(row).collect();
    cx.print.out(&table(&cx.print, &["NAME", "WHEN", "STATUS", "NEXT", "LAST", "PROMPT"], &rows))?;
    Ok(ExitCode::SUCCESS)
}

pub async fn show(kind: Kind, args: NameArgs) -> Result<ExitCode, Failure> {
    let cx = Context::load(None)?;
    let held = find(&cx, kind, &args.name).await?.1;
    if args.json {
        cx.print.json(&json_of(&held))?;
        return Ok(ExitCode::SUCCESS);
    }
    let Automation { name, zone, prompt, given, missed, overlap, .. } = &held.automation;
    let mut out = format!("{}  {}\n", cx.print.paint(name, Style::Bold), status(&held));
    out.push_str(&format!("when      {} ({zone})\n", start_of(&held.automation)));
    if let Some(QuietHours { from, to }) = held.automation.quiet {
        out.push_str(&format!("quiet     {}-{}\n", minutes(from), minutes(to)));
    }
    out.push_str(&format!("policy    missed {}, overlap {}\n", word(missed), word(overlap)));
    if let RunTarget::Session(session) = &held.automation.target {
        out.push_str(&format!("session   {session}\n"));
    }
    out.push_str(&format!("model     {}, mode {}, in {}\n", given.route, given.mode.word(), given.cwd));
    if let Some(next) = next_shown(&held, now()) {
        out.push_str(&format!("next      {next}\n"));
    }
    out.push_str(&format!("runs      {}\n", held.runs));
    out.push_str(&format!("prompt    {}\n", one_line(prompt, 500)));
    let times = times(&held);
    let shown = |at: Millis| times.as_ref().map_or_else(|| at.to_string(), |times: &Times| times.shown(at));
    for row in &held.history {
        let line = match row {
            Row::Ran { run, end, .. } => {
                let session = end.session.as_ref().map_or("-", SessionId::as_str);
                let said = one_line(&end.message, 80);
                format!("  {}  {}{}  {session}  {said}", shown(run.fired.due), outcome(end), for_what(run))
            }
            Row::Passed { due, times, why, .. } => {
                format!("  {}  no run ({}), {times} times", shown(*due), why.word())
            }
        };
        out.push_str(&format!("{line}\n"));
    }
    for run in &held.open {
        out.push_str(&format!("  {}  open{}\n", shown(run.fired.due), for_what(run)));
    }
    cx.print.out(&out)?;
    Ok(ExitCode::SUCCESS)
}

pub async fn change(kind: Kind, op: Op, args: NameArgs) -> Result<ExitCode, Failure> {
    let cx = Context::load(None)?;
    let (watch, _) = find(&cx, kind, &args.name).await?;
    let (board, once, name) = (watch.board(), once(), &args.name);
    let (done, word) = match op {
        Op::Pause => (board.pause(&once, now(), name, "cli").await, "paused"),
        Op::Resume => (board.resume(&once, now(), name, "cli").await, "active"),
        Op::Remove => (board.remove(&once, now(), name, "cli").await, "removed"),
    };
    done.map_err(failure)?;
    if args.json {
        cx.print.json(&json!({"name": name, "status": word}))?;
    } else {
        cx.print.line(&format!("{} {name} is {word}", kind.word()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// One of that kind that is there.
pub async fn find(cx: &Context, kind: Kind, name: &str) -> Result<(Watch, Held), Failure> {
    let unknown = || {
        Failure::usage(format!("there is no {} `{}`", kind.word(), one_line(name, 80)))
            .hint(format!("`sterna {} list` shows those that there are", kind.word()))
    };
    let watch = watch_if_there(cx)?.ok_or_else(unknown)?;
    let all = watch.board().all().await.map_err(failure)?;
    let held = all.named(name).filter(|held| Kind::of(&held.automation) == kind).cloned();
    Ok((watch, held.ok_or_else(unknown)?))
}

pub fn failure(error: BoardError) -> Failure {
    match error {
        BoardError::Log(error) => error.into(),
        BoardError::Shared(error) => Failure::from(&*error),
        BoardError::Refused(why) => match why.split_once("; ") {
            Some((what, way_out)) => Failure::usage(what).hint(way_out),
            None => Failure::usage(why),
        },
        BoardError::Unknown(_) => Failure::usage(error.to_string())
            .hint("`sterna schedule list` and `sterna trigger list` show them"),
    }
}

/// How a run ended, in a word.
pub fn outcome(end: &RunEnd) -> &'static str {
    match end.outcome {
        RunOutcome::Finished => "finished",
        RunOutcome::Stopped(reason) => reason.word(),
        RunOutcome::Failed => "failed",
        RunOutcome::Discarded(why) => why.word(),
    }
}

/// One object, for machines.
pub fn json_of(held: &Held) -> Value {
    let automation = &held.automation;
    let session = match &automation.target {
        RunTarget::Own => None,
        RunTarget::Session(session) => Some(session),
    };
    let next = times(held).and_then(|times| decide::next(held, &times, now()));
    let history: Vec<Value> = held.history.iter().map(row_json).collect();
    json!({
        "name": automation.name,
        "kind": Kind::of(automation).word(),
        "start": automation.start,
        "zone": automation.zone,
        "quiet": automation.quiet.map(|quiet| format!("{}-{}", minutes(quiet.from), minutes(quiet.to))),
        "missed": word(&automation.missed),
        "overlap": word(&automation.overlap),
        "session": session,
        "status": status(held),
        "next": next,
        "runs": held.runs,
        "open": held.open.iter().map(run_json).collect::<Vec<_>>(),
        "history": history,
        "prompt": automation.prompt,
        "model": automation.given.route,
        "mode": automation.given.mode,
        "cwd": automation.given.cwd,
        "made_at": held.made_at,
        "by": automation.by,
    })
}

fn row_json(row: &Row) -> Value {
    match row {
        Row::Ran { run, ended_at, end } => {
            let mut value = run_json(run);
            value["ended_at"] = json!(ended_at);
            value["outcome"] = json!(outcome(end));
            value["session"] = json!(end.session);
            value["message"] = json!(end.message);
            value["steps"] = json!(end.steps);
            value["tokens"] = json!(end.tokens);
            value
        }
        Row::Passed { at, due, times, why } => {
            json!({"at": at, "due": due, "times": times, "outcome": "no_run", "why": why.word()})
        }
    }
}

pub fn run_json(run: &Run) -> Value {
    let (cause, missed) = match &run.fired.cause {
        Cause::Time { missed, .. } => ("time", Some(*missed)),
        Cause::Occurrence(_) => ("occurrence", None),
        Cause::Hand { .. } => ("hand", None),
    };
    let Run { fired, fired_at } = run;
    json!({"run": fired.run, "key": key_of(run), "due": fired.due, "fired_at": fired_at, "cause": cause, "missed": missed})
}

fn for_what(run: &Run) -> String {
    match &run.fired.cause {
        Cause::Time { missed: 0, .. } => String::new(),
        Cause::Time { missed, .. } => format!(", and for {missed} missed before"),
        Cause::Occurrence(occurrence) => {
            format!(", {} {}", occurrence.source.word(), one_line(&occurrence.key, 60))
        }
        Cause::Hand { .. } => ", by hand".into(),
    }
}

fn status(held: &Held) -> &'static str {
    match (held.over, held.paused) {
        (Some(Over::Done), _) => "done",
        (Some(Over::SessionDeleted), _) => "session_deleted",
        (None, true) => "paused",
        (None, false) => "active",
    }
}

fn start_of(automation: &Automation) -> String {
    match &automation.start {
        Start::Cron { expr } => expr.clone(),
        Start::Every { ms } => format!("every {} s", ms / 1_000),
        Start::At { at } => crate::table::moment(*at),
        Start::On { source, key } => format!("{}:{}", source.word(), one_line(key, 60)),
    }
}

fn next_shown(held: &Held, now: Millis) -> Option<String> {
    let times = times(held)?;
    Some(times.shown(decide::next(held, &times, now)?))
}

fn minutes(minute: u16) -> String {
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

/// A word as records have it.
fn word(value: &impl serde::Serialize) -> String {
    let text = serde_json::to_value(value).ok();
    text.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned()
}
