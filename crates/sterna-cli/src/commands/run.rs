//! `sterna run`: one turn, then exit.

use std::io::{IsTerminal, Read};
use std::process::ExitCode;

use sterna::Store;
use sterna_log::{LogError, SharedLog};
use sterna_model::{Delivery, InputPart, Route, Seq, SessionId, SessionOpened};
use sterna_runtime::{Accepted, Runtime, RuntimeError, Submit, TurnConfig};

use crate::args::{PickArgs, RunArgs};
use crate::context::Context;
use crate::drive::{Follow, rest};
use crate::failure::Failure;
use crate::person::Person;
use crate::point::Point;
use crate::render::{Output, counted};
use crate::setup;
use crate::signals::Signals;
use crate::slash;
use crate::spools;

/// Where the turn goes.
pub enum Pick {
    New,
    /// A session that exists, or is made under this id.
    Named(SessionId),
    Fork {
        parent: SessionId,
        seq: Option<Seq>,
        id: Option<SessionId>,
    },
}

pub async fn run(args: RunArgs) -> Result<ExitCode, Failure> {
    let mut cx = setup::context_here(&args.turn, false).await?;
    cx.ephemeral = args.pick.ephemeral;
    let text = prompt(args.prompt.as_deref())?;
    let mut signals = Signals::new()?;
    let (store, pick, route) = match args.key {
        // Nothing of the store is needed yet: it is opened while the rest is put together.
        None if args.pick.is_new() && !cx.ephemeral => {
            (Store::Folder(cx.places.data.clone()), Pick::New, None)
        }
        _ => {
            let (store, log) = setup::store(&cx)?;
            let picked = pick(&cx, &log, &args.pick, args.key.as_deref(), args.turn.model.is_none()).await?;
            (store, picked.0, picked.1)
        }
    };
    let may_ask = !args.json && setup::has_person(&cx);
    let sterna = setup::sterna(&cx, &args.turn, store, route.as_ref(), may_ask).await?;
    setup::ready(&sterna)?;
    let mut config = sterna.turn_config().clone();
    let text = match slash::expand(&cx, &sterna, &text, &[])? {
        Some(expansion) => slash::apply(expansion, &mut config)?,
        None => text,
    };
    let own = config.clone();
    if let Some(guest) = &args.guest {
        sterna.as_guest(&mut config, guest)?;
        sterna.ready(&config.route).map_err(|why| setup::not_ready(&config.route, &why))?;
    }
    let person = (may_ask && args.turn.on_ask.is_none()).then(|| Person::new(None));
    let mut parts = vec![InputPart::Text(text)];
    for file in &args.attach {
        parts.push(sterna.attach(file).await?);
    }
    let session = open(sterna.runtime(), pick).await?;
    let accepted = submit(sterna.runtime(), session, args.key.clone(), parts, config).await?;
    let mut out = Output::of(&cx, args.json);
    let (session, mut input) = (&accepted.session, accepted.input);
    let mut seen = beginning(input);
    let mut then = args.then.iter().enumerate();
    let ended = loop {
        // A goal that the session has goes on when somebody is there for it.
        sterna.runtime().end_after(session, input);
        let follow = Follow { sterna: &sterna, session, input, seen, person: person.as_ref() };
        let ended = follow.until_end(&mut out, &mut signals).await;
        // What follows was written for an answer.
        let next = if ended.code == 0 && !ended.left { then.next() } else { None };
        let Some((n, prompt)) = next else { break ended };
        let mut config = sterna.with_late_tools(own.clone());
        let text = match slash::expand(&cx, &sterna, prompt, &[])? {
            Some(expansion) => slash::apply(expansion, &mut config)?,
            None => prompt.clone(),
        };
        let key = args.key.as_ref().map(|key| format!("{key}/then/{}", n + 1));
        let parts = vec![InputPart::Text(text)];
        // Its turn must not meet the word that the one before was the last.
        sterna.runtime().end_after(session, 0);
        let accepted = submit(sterna.runtime(), Some(session.clone()), key, parts, config).await?;
        input = accepted.input;
        seen = input - 1;
    };
    rest(sterna.runtime(), session, &ended).await;
    let mut code = ended.code;
    tell_goal(&cx, sterna.runtime(), session).await;
    if !cx.ephemeral {
        if args.wait_background {
            code = wait_for_jobs(&cx, session, &mut signals).await.unwrap_or(code);
        }
        tell_jobs(&cx, session);
    }
    Ok(ExitCode::from(code))
}

/// Waits until the session's jobs have ended. `Some`: a signal came first, and they run on.
async fn wait_for_jobs(cx: &Context, session: &SessionId, signals: &mut Signals) -> Option<u8> {
    let (shims, jobs) = (spools::shims(cx), spools::running_jobs(cx, session));
    if !jobs.is_empty() {
        let ids: Vec<String> = jobs.iter().map(|job| job.id()).collect();
        let what = counted(jobs.len() as u64, "background job");
        cx.print.note(&format!("waiting for {what}: {}; Ctrl-C leaves what runs", ids.join(", ")));
    }
    for job in jobs {
        let mut handle = shims.open(&job.spool);
        handle.seek(job.spool.output_len());
        tokio::select! {
            // One that was removed meanwhile has ended too.
            _ = handle.end() => {}
            signal = signals.next() => return Some(signal.exit_code()),
        }
    }
    None
}

/// One line on a goal that is not reached.
async fn tell_goal(cx: &Context, runtime: &Runtime, session: &SessionId) {
    // It is only told: a log that cannot be read says so elsewhere.
    let Ok(state) = sterna_runtime::State::load(&runtime.parts().log, session).await else { return };
    if state.folded.world.goal.held().is_some_and(|held| held.is_active()) {
        cx.print.note(&format!(
            "the session has a goal; `sterna resume {session}` or `sterna worker` goes on with it"
        ));
    }
}

/// One line on what goes on without us.
fn tell_jobs(cx: &Context, session: &SessionId) {
    let jobs = spools::running_jobs(cx, session);
    if jobs.is_empty() {
        return;
    }
    let ids: Vec<String> = jobs.iter().map(|job| job.id()).collect();
    let (what, verb) = if jobs.len() == 1 { ("job", "runs") } else { ("jobs", "run") };
    let hint = "`sterna ps` lists, `sterna ps --kill ID` ends";
    cx.print.note(&format!("{} background {what} still {verb}: {}; {hint}", jobs.len(), ids.join(", ")));
}

/// Makes an input durable, and drives its session.
pub async fn submit(
    runtime: &Runtime,
    session: Option<SessionId>,
    key: Option<String>,
    parts: Vec<InputPart>,
    config: TurnConfig,
) -> Result<Accepted, Failure> {
    let submit = Submit {
        session,
        key,
        parts,
        delivery: Delivery::NextTurn,
        origin: "cli".into(),
        config,
        live: true,
        drive: true,
    };
    Ok(runtime.submit(submit).await?)
}

/// The last record before those that this input's run shows: a session's opening belongs to its first input.
pub fn beginning(input: Seq) -> Seq {
    if input <= 2 { 0 } else { input - 1 }
}

/// Which session is meant, and the route that it used last where that matters.
pub async fn pick(
    cx: &Context,
    log: &SharedLog,
    args: &PickArgs,
    key: Option<&str>,
    needs_route: bool,
) -> Result<(Pick, Option<Route>), Failure> {
    let named = args.session.as_deref().map(SessionId::new).transpose()?;
    let of_key = || key.map(|key| key_session(cx, key)).transpose();
    if let Some(point) = &args.fork {
        let point = Point::parse(point)?;
        let seq = point.seq(&**log).await?;
        let parent = point.session;
        let route = setup::state(log, &parent).await?.and_then(|state| state.machine.route().cloned());
        let id = match named {
            Some(id) => Some(id),
            None => of_key()?,
        };
        // One that is there may be this very fork, made by an earlier try; any other would go on as if it were one.
        let of_parent = |there: &SessionOpened| there.parent.as_ref().is_some_and(|of| of.session == parent);
        if let Some(id) = &id
            && let Some(there) = setup::state(log, id).await?
            && (*id == parent || !there.machine.session().is_some_and(of_parent))
        {
            return Err(Failure::usage(format!(
                "session `{id}` is there already, and is not a fork of `{parent}`"
            ))
            .hint("leave --session out, or give the fork an id of its own"));
        }
        return Ok((Pick::Fork { parent, seq, id }, route));
    }
    if args.newest {
        let Some(row) = setup::sessions_here(cx, log, None, 50).await?.into_iter().next() else {
            return Err(Failure::usage(format!("there is no session of {} to continue", cx.cwd.display()))
                .hint(
                    "leave --continue out to begin one; `sterna sessions list` shows those of other folders",
                ));
        };
        return Ok((Pick::Named(row.id), Some(row.route)));
    }
    if let Some(id) = named {
        let Some(state) = setup::state(log, &id).await? else { return Ok((Pick::Named(id), None)) };
        if state.machine.closed() {
            return Err(Failure::usage(format!("session `{id}` is closed"))
                .hint(format!("`sterna run --fork {id} …` goes on from it in a new session")));
        }
        return Ok((Pick::Named(id), state.machine.route().cloned()));
    }
    let Some(id) = of_key()? else { return Ok((Pick::New, None)) };
    let state = if needs_route { setup::state(log, &id).await? } else { None };
    Ok((Pick::Named(id), state.and_then(|state| state.machine.route().cloned())))
}

/// The session to submit to; `None` for a new one. A fork is made here.
pub async fn open(runtime: &Runtime, pick: Pick) -> Result<Option<SessionId>, Failure> {
    match pick {
        Pick::New => Ok(None),
        Pick::Named(id) => Ok(Some(id)),
        Pick::Fork { parent, seq, id } => match runtime.fork(&parent, seq, id.clone()).await {
            Ok(id) => Ok(Some(id)),
            // The same key again: its fork was made before.
            Err(RuntimeError::Log(error)) if matches!(*error, LogError::Exists(_)) && id.is_some() => Ok(id),
            Err(error) => Err(error.into()),
        },
    }
}

/// A key without a session names one of its own, in this folder.
fn key_session(cx: &Context, key: &str) -> Result<SessionId, Failure> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(cx.cwd.as_os_str().as_encoded_bytes());
    hasher.update(b"\0");
    hasher.update(key.as_bytes());
    let hex = hasher.finalize().to_hex();
    Ok(SessionId::new(&format!("k-{}", &hex[..32]))?)
}

fn prompt(given: Option<&str>) -> Result<String, Failure> {
    let hint = "say what to do: sterna run \"fix the failing test\", or pipe it in";
    let text = match given {
        Some(text) if text != "-" => text.to_owned(),
        _ => {
            let mut stdin = std::io::stdin();
            if given.is_none() && stdin.is_terminal() {
                return Err(Failure::usage("there is no prompt").hint(hint));
            }
            let mut bytes = Vec::new();
            stdin
                .read_to_end(&mut bytes)
                .map_err(|e| Failure::usage(format!("cannot read the prompt from stdin: {e}")).hint(hint))?;
            String::from_utf8(bytes)
                .map_err(|_| Failure::usage("the prompt on stdin is not UTF-8").hint("send text"))?
        }
    };
    if text.trim().is_empty() {
        return Err(Failure::usage("the prompt is empty").hint(hint));
    }
    Ok(text)
}
