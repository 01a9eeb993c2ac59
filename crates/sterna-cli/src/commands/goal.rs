//! `sterna goal`: an objective that a session works towards over as many turns as it takes.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use sterna::Sterna;
use sterna_log::fold::GoalState;
use sterna_log::{LogError, SharedLog};
use sterna_model::{Body, GoalStatus, Seq, SessionId};
use sterna_runtime::Accepted;

use super::resume::of_session;
use super::run::beginning;
use crate::args::{TurnArgs, whole};
use crate::context::Context;
use crate::drive::Follow;
use crate::failure::{FAILED, Failure};
use crate::person::Person;
use crate::render::{Output, goal_line};
use crate::setup;
use crate::signals::Signals;

/// The exit code of a goal that met a bound.
const LIMITED: u8 = 3;
const PAGE: usize = 64;

#[derive(Debug, Args)]
pub struct GoalArgs {
    #[command(subcommand)]
    command: GoalCommand,
}

#[derive(Debug, Subcommand)]
enum GoalCommand {
    /// Gives a session a goal, and works on it until it is reached or halted
    Set(Box<SetArgs>),
    /// Shows a session's goal
    Show(OfArgs),
    /// Halts it after the turn that runs
    Pause(OfArgs),
    /// Works on it again
    Resume(Box<ResumeArgs>),
    /// Takes it away; the turn that runs goes on to its end
    Clear(OfArgs),
}

#[derive(Debug, Args)]
struct SetArgs {
    /// What is to be reached, in at most 4,000 characters
    objective: String,
    /// Tokens of all kinds that may be used for it, agents' included
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = whole::<u64>)]
    tokens: Option<u64>,
    /// Give it to this session, or create one under this id
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Idempotency key: the same key in the same session sets one goal
    #[arg(long, value_name = "KEY", requires = "session")]
    key: Option<String>,
    #[command(flatten)]
    turn: TurnArgs,
    /// One event a line on stdout, and nothing else there
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ResumeArgs {
    /// The session
    session: String,
    /// Its token budget from now on, with what was used before
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = whole::<u64>)]
    tokens: Option<u64>,
    #[command(flatten)]
    turn: TurnArgs,
    /// One event a line on stdout, and nothing else there
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct OfArgs {
    /// The session
    session: String,
    /// One object
    #[arg(long)]
    json: bool,
}

pub async fn goal(args: GoalArgs) -> Result<ExitCode, Failure> {
    match args.command {
        GoalCommand::Set(args) => set(*args).await,
        GoalCommand::Show(args) => show(args).await,
        GoalCommand::Pause(args) => change(args, true).await,
        GoalCommand::Resume(args) => resume(*args).await,
        GoalCommand::Clear(args) => change(args, false).await,
    }
}

async fn set(args: SetArgs) -> Result<ExitCode, Failure> {
    let mut cx = setup::context_here(&args.turn, false).await?;
    let session = args.session.as_deref().map(SessionId::new).transpose()?;
    let mut signals = Signals::new()?;
    let (store, log) = setup::store(&cx)?;
    let state = match &session {
        Some(id) => setup::state(&log, id).await?,
        None => None,
    };
    if let (Some(state), None) = (&state, &args.turn.cd) {
        cx = of_session(&cx, state)?;
    }
    let may_ask = !args.json && setup::has_person(&cx);
    let route = state.as_ref().and_then(|state| state.machine.route());
    let sterna = setup::sterna(&cx, &args.turn, store, route, may_ask).await?;
    setup::ready(&sterna)?;
    let config = sterna.turn_config().clone();
    let key = args.key.as_deref();
    let accepted =
        sterna.runtime().set_goal(session, key, &args.objective, args.tokens, config, "cli").await?;
    let person = (may_ask && args.turn.on_ask.is_none()).then(|| Person::new(None));
    follow(&cx, &sterna, &log, accepted, person.as_ref(), args.json, &mut signals).await
}

async fn resume(args: ResumeArgs) -> Result<ExitCode, Failure> {
    let mut cx = setup::context_here(&args.turn, false).await?;
    let id = SessionId::new(&args.session)?;
    let mut signals = Signals::new()?;
    let (store, log) = setup::store(&cx)?;
    let Some(state) = setup::state(&log, &id).await? else { return Err(LogError::NotFound(id).into()) };
    if args.turn.cd.is_none() {
        cx = of_session(&cx, &state)?;
    }
    let may_ask = !args.json && setup::has_person(&cx);
    let sterna = setup::sterna(&cx, &args.turn, store, state.machine.route(), may_ask).await?;
    setup::ready(&sterna)?;
    let config = sterna.turn_config().clone();
    let accepted = sterna.runtime().resume_goal(&id, args.tokens, config, "cli").await?;
    let person = (may_ask && args.turn.on_ask.is_none()).then(|| Person::new(None));
    follow(&cx, &sterna, &log, accepted, person.as_ref(), args.json, &mut signals).await
}

/// Follows turn after turn until the goal is not active any more, or nobody here can go on.
async fn follow(
    cx: &Context,
    sterna: &Sterna,
    log: &SharedLog,
    accepted: Accepted,
    person: Option<&Person>,
    json: bool,
    signals: &mut Signals,
) -> Result<ExitCode, Failure> {
    let (session, mut input) = (&accepted.session, accepted.input);
    let mut seen = if accepted.opened { 0 } else { beginning(input) };
    let mut out = Output::of(cx, json);
    loop {
        let follow = Follow { sterna, session, input, seen, person };
        let ended = follow.until_end(&mut out, signals).await;
        if ended.left || matches!(ended.result.outcome, "parked" | "drained") {
            return Ok(ExitCode::from(ended.code));
        }
        match next_input(log, session, input).await? {
            Some(next) => (input, seen) = (next, next - 1),
            None => {
                let state = setup::state(log, session).await?;
                let held = state.as_ref().and_then(|state| state.folded.world.goal.held());
                let Some(held) = held else { return Ok(ExitCode::from(ended.code)) };
                if !json {
                    cx.print.note(&line(held));
                }
                return Ok(ExitCode::from(code(held.status, ended.code)));
            }
        }
    }
}

/// The first input after that one that goes on with the goal.
pub async fn next_input(log: &SharedLog, session: &SessionId, after: Seq) -> Result<Option<Seq>, Failure> {
    let mut from = after + 1;
    loop {
        let page = log.read(session, from, PAGE).await?;
        let Some(last) = page.last() else { return Ok(None) };
        let of_goal = |body: &Body| matches!(body, Body::InputAccepted(input) if input.origin == "goal");
        if let Some(found) = page.iter().find(|sealed| of_goal(&sealed.record.body)) {
            return Ok(Some(found.record.seq));
        }
        from = last.record.seq + 1;
    }
}

async fn show(args: OfArgs) -> Result<ExitCode, Failure> {
    let cx = Context::load(None)?;
    let (id, held) = held(&cx, &args.session).await?;
    if args.json {
        cx.print.json(&json_of(&id, &held))?;
    } else {
        cx.print.line(&line(&held))?;
        cx.print.line(&crate::print::harmless(&held.goal.objective))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn change(args: OfArgs, pause: bool) -> Result<ExitCode, Failure> {
    let cx = Context::load(None)?;
    let (id, _) = held(&cx, &args.session).await?;
    let runtime = cx.quiet_runtime(cx.store_of(&id)?);
    if pause {
        runtime.end_goal(&id, GoalStatus::Paused, "a person halted it", "cli").await?;
    } else {
        runtime.clear_goal(&id, "cli").await?;
    }
    let word = if pause { "paused" } else { "cleared" };
    if args.json {
        cx.print.json(&json!({"session": id, "status": word}))?;
    } else {
        cx.print.line(&format!("the goal of {id} is {word}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn held(cx: &Context, session: &str) -> Result<(SessionId, GoalState), Failure> {
    let id = SessionId::new(session)?;
    let log: SharedLog = std::sync::Arc::new(cx.store_of(&id)?);
    let Some(state) = setup::state(&log, &id).await? else { return Err(LogError::NotFound(id).into()) };
    match state.folded.world.goal.held().cloned() {
        Some(held) => Ok((id, held)),
        None => Err(Failure::usage(format!("session `{id}` has no goal"))
            .hint(format!("sterna goal set --session {id} \"what is to be reached\""))),
    }
}

/// What a goal's status is to a script.
fn code(status: GoalStatus, of_turn: u8) -> u8 {
    match status {
        GoalStatus::Complete => 0,
        GoalStatus::BudgetLimited | GoalStatus::UsageLimited => LIMITED,
        GoalStatus::Blocked => FAILED,
        GoalStatus::Paused | GoalStatus::Active => of_turn,
    }
}

fn line(held: &GoalState) -> String {
    goal_line(held.status, &held.why, held.tokens, held.goal.token_budget)
}

fn json_of(session: &SessionId, held: &GoalState) -> Value {
    json!({
        "session": session,
        "id": held.goal.id,
        "objective": held.goal.objective,
        "status": held.status,
        "why": held.why,
        "token_budget": held.goal.token_budget,
        "tokens": held.tokens,
        "turns": held.turns,
        "stalled": held.stalled,
    })
}
