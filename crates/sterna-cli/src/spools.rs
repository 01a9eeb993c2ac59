//! The commands that run, or have left something behind: what the shims' spools say, held against the sessions' logs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use sterna_log::{Log, LogError, SharedLog};
use sterna_model::{EffectKey, SessionId};
use sterna_runtime::State as SessionState;
use sterna_shell::GRACE;
use sterna_shell::shim::{Listed, ShimError, Shims, State};
use sterna_turn::CallState;

use crate::context::Context;
use crate::failure::Failure;
use crate::print::one_line;

/// A command, and what its session's log knows of it.
pub struct Entry {
    pub listed: Listed,
    pub standing: Standing,
}

/// What the log says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Its intent has no outcome yet: recovery will ask the spool.
    Open,
    /// Its outcome is in the log. That of a background job is that it was started.
    Settled,
    /// There is no such session any more.
    Gone,
    /// Nobody can tell.
    Unknown,
}

/// One row for machines.
#[derive(Debug, Serialize)]
pub struct Row {
    id: String,
    job: bool,
    session: Option<SessionId>,
    effect: Option<String>,
    attempt: Option<u32>,
    /// starting, running, exited, dead, never_ran or unreadable.
    state: &'static str,
    told: String,
    exit_code: Option<i32>,
    signal: Option<i32>,
    standing: Standing,
    created_at: Option<u64>,
    output_bytes: u64,
    command: Option<String>,
    cwd: Option<String>,
}

/// The spools beside this user's store.
pub fn shims(cx: &Context) -> Shims {
    Shims::new(cx.places.data.join("spools"), None)
}

/// All spools, oldest first, and what the logs say of them. Changes nothing.
pub async fn entries(cx: &Context) -> Result<Vec<Entry>, Failure> {
    let all = shims(cx).list()?;
    if all.is_empty() {
        return Ok(Vec::new());
    }
    let log: Option<SharedLog> = match cx.store_if_there()? {
        Some(store) => Some(Arc::new(store)),
        None => None,
    };
    let mut sessions = HashMap::new();
    let mut entries = Vec::with_capacity(all.len());
    for listed in all {
        let standing = match (&listed.plan, &listed.state) {
            // Recovery has closed this, and it holds nothing: made again, it would say the same.
            (None, Ok(State::Revoked)) => Standing::Settled,
            (None, _) => Standing::Unknown,
            (Some(plan), _) => {
                let id = &plan.key.session;
                if !sessions.contains_key(id) {
                    sessions.insert(id.clone(), Known::of(log.as_ref(), id).await);
                }
                sessions.get(id).map_or(Standing::Unknown, |known| known.standing(&plan.key))
            }
        };
        entries.push(Entry { listed, standing });
    }
    Ok(entries)
}

impl Entry {
    pub fn session(&self) -> Option<&SessionId> {
        self.listed.plan.as_ref().map(|plan| &plan.key.session)
    }

    pub fn is_job(&self) -> bool {
        self.listed.plan.as_ref().is_some_and(|plan| plan.job)
    }

    /// It runs, or is about to.
    pub fn lives(&self) -> bool {
        matches!(self.listed.state, Ok(State::Running(_) | State::Open))
    }

    /// It can go: it is over, and nobody will ask for it. One that was never claimed counts as over where its session
    /// is gone: without its folder it can never be.
    pub fn may_go(&self) -> bool {
        match (&self.listed.state, &self.standing) {
            (Ok(State::Revoked | State::Exited(_) | State::Dead(_)), Standing::Settled | Standing::Gone) => {
                true
            }
            (Ok(State::Open), Standing::Gone) => true,
            (Ok(State::Open | State::Running(_)), Standing::Settled | Standing::Gone)
            | (_, Standing::Open | Standing::Unknown)
            | (Err(_), _) => false,
        }
    }

    /// What a crash has left: it is over, and is neither a job to be read nor a call to be recovered.
    pub fn is_leftover(&self) -> bool {
        let exited = matches!(self.listed.state, Ok(State::Exited(_)));
        let unread = exited && self.is_job() && self.standing == Standing::Settled;
        match &self.listed.state {
            Ok(State::Running(_)) => self.standing == Standing::Gone,
            Ok(_) => self.may_go() && !unread,
            Err(_) => true,
        }
    }

    pub fn told(&self) -> String {
        match &self.listed.state {
            Ok(state) => state.told(),
            Err(why) => format!("cannot be read: {why}"),
        }
    }

    pub fn command(&self) -> String {
        self.listed
            .plan
            .as_ref()
            .map_or_else(|| "(no plan)".to_owned(), |plan| one_line(&plan.command, COMMAND))
    }

    /// Takes it away, with what its shim left running.
    pub fn remove(&self, shims: &Shims) -> Result<(), ShimError> {
        shims.end_strays(&self.listed.spool)?;
        shims.remove_spool(&self.listed.spool)
    }

    pub fn row(&self) -> Row {
        let plan = self.listed.plan.as_ref();
        let (exit_code, signal) = match &self.listed.state {
            Ok(State::Exited(exit)) => exit.code_and_signal(),
            _ => (None, None),
        };
        Row {
            id: self.listed.id(),
            job: self.is_job(),
            session: self.session().cloned(),
            effect: plan.map(|plan| plan.key.to_string()),
            attempt: plan.map(|plan| plan.attempt),
            state: match &self.listed.state {
                Ok(State::Open) => "starting",
                Ok(State::Running(_)) => "running",
                Ok(State::Exited(_)) => "exited",
                Ok(State::Dead(_)) => "dead",
                Ok(State::Revoked) => "never_ran",
                Err(_) => "unreadable",
            },
            told: self.told(),
            exit_code,
            signal,
            standing: self.standing.clone(),
            created_at: plan.map(|plan| plan.created_at),
            output_bytes: self.listed.output_bytes,
            command: plan.map(|plan| plan.command.clone()),
            cwd: plan.map(|plan| plan.cwd.display().to_string()),
        }
    }
}

impl Row {
    /// One line.
    pub fn brief(&self) -> String {
        let session = self.session.as_ref().map_or("no session", SessionId::as_str);
        let command = self.command.as_deref().unwrap_or("(no plan)");
        format!("{}  {session}  {}  {}", self.id, self.state, one_line(command, COMMAND))
    }
}

/// What is known of a session.
enum Known {
    Here(Box<SessionState>),
    Gone,
    Unreadable,
}

impl Known {
    async fn of(log: Option<&SharedLog>, id: &SessionId) -> Self {
        let Some(log) = log else { return Self::Gone };
        match Log::head(&**log, id).await {
            Ok(_) => {}
            Err(LogError::NotFound(_) | LogError::Tombstone(_)) => return Self::Gone,
            Err(_) => return Self::Unreadable,
        }
        SessionState::load(log, id).await.map_or(Self::Unreadable, |state| Self::Here(Box::new(state)))
    }

    /// A log that does not know the effect at all is older than the spool: it may be a copy that was put back.
    fn standing(&self, key: &EffectKey) -> Standing {
        let state = match self {
            Self::Here(state) => state,
            Self::Gone => return Standing::Gone,
            Self::Unreadable => return Standing::Unknown,
        };
        match state.machine.turn() {
            _ if key.turn > state.machine.turns() => Standing::Unknown,
            Some(turn) if turn.number == key.turn && turn.steps() < key.step => Standing::Unknown,
            Some(turn) if turn.number == key.turn && turn.steps() == key.step => {
                let at = usize::try_from(key.ordinal).unwrap_or(usize::MAX);
                match turn.calls().get(at).map(|call| &call.state) {
                    Some(CallState::Ended) => Standing::Settled,
                    Some(CallState::Open | CallState::Waiting { .. }) | None => Standing::Open,
                }
            }
            Some(_) | None => Standing::Settled,
        }
    }
}

/// A session's jobs that run now.
pub fn running_jobs(cx: &Context, session: &SessionId) -> Vec<Listed> {
    let is_ours = |listed: &Listed| {
        let ours = listed.plan.as_ref().is_some_and(|plan| plan.job && plan.key.session == *session);
        ours && matches!(listed.state, Ok(State::Running(_)))
    };
    // A look for people's sake: what cannot be read says so in `sterna ps`.
    shims(cx).list().unwrap_or_default().into_iter().filter(is_ours).collect()
}

/// Ends a command, and waits for its end. `Ok(false)`: it does not end.
pub async fn kill(shims: &Shims, listed: &Listed) -> Result<bool, ShimError> {
    let mut handle = shims.open(&listed.spool);
    match handle.control().kill(GRACE).await {
        Ok(()) | Err(ShimError::Ended) => {}
        Err(error) => return Err(error),
    }
    handle.seek(listed.spool.output_len());
    Ok(tokio::time::timeout(GRACE + SPARE, handle.end()).await.is_ok())
}

/// Ends the jobs of a session that is closed or gone, and removes what they left. Says what it did.
pub async fn end_jobs(cx: &Context, session: &SessionId) {
    let shims = shims(cx);
    let mut ended = 0;
    for listed in shims.list().unwrap_or_default() {
        let Some(plan) = listed.plan.as_ref().filter(|plan| plan.job && plan.key.session == *session) else {
            continue;
        };
        let runs = matches!(listed.state, Ok(State::Running(_)));
        let over = if runs { kill(&shims, &listed).await } else { Ok(true) };
        let gone = match over {
            Ok(true) => shims.remove_spool(&listed.spool).map_err(|error| error.to_string()),
            Ok(false) => Err("it does not end".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        match gone {
            Ok(()) => ended += usize::from(runs),
            Err(why) => {
                let command = one_line(&plan.command, COMMAND);
                cx.print.warning(&format!("{} ({command}) is still there: {why}", listed.id()));
            }
        }
    }
    if ended > 0 {
        cx.print.note(&format!("{ended} background job{} ended", if ended == 1 { "" } else { "s" }));
    }
}

/// Characters of a command that a line shows.
const COMMAND: usize = 100;
/// After SIGKILL an end is a matter of milliseconds, on a machine that works.
const SPARE: Duration = Duration::from_secs(10);
