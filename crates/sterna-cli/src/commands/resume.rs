//! `sterna resume`: drives an interrupted turn, or inputs that wait, to the end that the interrupted run would have had.
//!
//! With `--json` the stream is whole: all events of the turn from its start, those that were shown before included.

use std::process::ExitCode;

use sterna_log::{LogError, SessionRow, SharedLog, Status};
use sterna_model::{Route, Seq, SessionId};
use sterna_runtime::State;

use super::run::beginning;
use crate::args::ResumeArgs;
use crate::context::Context;
use crate::drive::{Follow, rest};
use crate::failure::Failure;
use crate::person::{Line, Person};
use crate::print::one_line;
use crate::render::Output;
use crate::setup;
use crate::signals::Signals;
use crate::trust::{self, Wish};

pub async fn run(args: ResumeArgs) -> Result<ExitCode, Failure> {
    let mut cx = setup::context(&args.turn)?;
    let named = args.id.as_deref().map(SessionId::new).transpose()?;
    let mut signals = Signals::new()?;
    let (store, log) = setup::store(&cx)?;
    let may_ask = !args.json && setup::has_person(&cx);
    let id = match named {
        Some(id) => id,
        None => choose(&cx, &log, may_ask).await?,
    };
    let Some(state) = setup::state(&log, &id).await? else { return Err(LogError::NotFound(id).into()) };
    let Some(work) = Work::of(&state) else {
        return Err(Failure::usage(format!("session `{id}` has had no turn"))
            .hint(format!("sterna run --session {id} \"what to do\"")));
    };
    if args.turn.cd.is_none() {
        cx = of_session(&cx, &state)?;
    }
    trust::join(&mut cx, Wish { once: args.turn.trust, ask: false }).await?;
    let mut turn = args.turn;
    if work.in_flight.is_some() && turn.model.take().is_some() {
        cx.print.warning("the turn in flight keeps the model that it started with");
    }
    let route = work.in_flight.as_ref().or(state.machine.route());
    let sterna = setup::sterna(&cx, &turn, store, route, may_ask).await?;
    if !work.is_over {
        setup::ready(&sterna)?;
        sterna.runtime().resume(&id, sterna.turn_config().clone());
    }
    let person = (may_ask && turn.on_ask.is_none()).then(|| Person::new(None));
    // People have seen what came before; programs get the whole turn.
    let seen = if args.json { beginning(work.input) } else { state.head };
    let mut out = Output::of(&cx, args.json);
    let follow = Follow { sterna: &sterna, session: &id, input: work.input, seen, person: person.as_ref() };
    let ended = follow.until_end(&mut out, &mut signals).await;
    rest(sterna.runtime(), &id, &ended).await;
    Ok(ExitCode::from(ended.code))
}

/// What there is to drive.
pub struct Work {
    /// The input whose turn is followed.
    pub input: Seq,
    /// The route of the turn that is running.
    pub in_flight: Option<Route>,
    pub is_over: bool,
}

impl Work {
    /// The running turn, else the first input that waits, else the last turn.
    pub fn of(state: &State) -> Option<Self> {
        let last = state.turn.as_ref().filter(|_| state.head > 1);
        if let (Some(turn), Some(_)) = (last, state.machine.turn()) {
            let input = turn.inputs.first().copied()?;
            return Some(Self { input, in_flight: Some(turn.route.clone()), is_over: false });
        }
        if let Some((input, _)) = state.machine.waiting().next() {
            return Some(Self { input, in_flight: None, is_over: false });
        }
        let input = last?.inputs.first().copied()?;
        Some(Self { input, in_flight: None, is_over: true })
    }
}

/// The surroundings of the session's own folder. Whether its files count is still to be asked: `trust::join`.
pub fn of_session(cx: &Context, state: &State) -> Result<Context, Failure> {
    let opened = state.machine.session().map(|session| session.cwd.as_str());
    let Some(cwd) = state.turn.as_ref().map(|turn| turn.cwd.as_str()).or(opened) else {
        return Ok(cx.clone());
    };
    let cwd = std::path::Path::new(cwd);
    if cwd == cx.cwd {
        return Ok(cx.clone());
    }
    Context::load(Some(cwd)).map_err(|failure| Failure {
        hint: Some("the session's folder is gone; give another one with -C".into()),
        ..failure
    })
}

async fn choose(cx: &Context, log: &SharedLog, may_ask: bool) -> Result<SessionId, Failure> {
    let mut rows = setup::sessions_here(cx, log, Some(Status::Running), 20).await?;
    rows.extend(setup::sessions_here(cx, log, Some(Status::Parked), 20).await?);
    rows.sort_by_key(|row| std::cmp::Reverse(row.updated_at));
    match rows.as_slice() {
        [] => Err(Failure::usage(format!("nothing was interrupted in {}", cx.cwd.display()))
            .hint("`sterna sessions list` shows the sessions of all folders")),
        [row] => Ok(row.id.clone()),
        several => {
            cx.print.note("several sessions of this folder can be resumed:");
            for (at, row) in several.iter().enumerate() {
                cx.print.note(&format!("  {}. {}", at + 1, line(row)));
            }
            let unclear = || Failure::usage("which one is meant?").hint("sterna resume ID");
            if !may_ask {
                return Err(unclear());
            }
            match Person::new(None).read("number: ", false).await {
                Line::Text(text) => {
                    let at = text.trim().parse::<usize>().ok().and_then(|n| n.checked_sub(1));
                    at.and_then(|at| several.get(at)).map(|row| row.id.clone()).ok_or_else(unclear)
                }
                Line::Interrupt | Line::End => Err(unclear()),
            }
        }
    }
}

/// A session in a line, for people.
pub fn line(row: &SessionRow) -> String {
    let status = match row.status {
        Status::Idle => "",
        Status::Running => " (interrupted)",
        Status::Parked => " (waits)",
        Status::Closed => " (closed)",
    };
    format!("{}  {}{status}", row.id, one_line(row.title.as_deref().unwrap_or("(no title)"), 60))
}
