//! What a turn lends to its calls, and what the sessions above an agent take from that: as long as one of them is in plan
//! mode, nothing that the agent begins may write.
//!
//! What an agent was given stands in its own log. That its maker plans since is in its maker's, and is read there before
//! each call is judged: nobody has to reach the agent, and an agent of an agent is bound as well.

use std::sync::Arc;

use sterna_log::{LogError, SharedLog};
use sterna_model::{CallTool, Mode, Seq, SessionId, ToolStatus};
use tokio::sync::Mutex;

use super::Driver;
use crate::effects::pipeline::{self, FromHooks, Passed, Rights};
use crate::mode::ModeNow;
use crate::tools::Toolbox;
use crate::{Parts, RuntimeError, State};

impl Driver {
    /// What the turn lends.
    pub(super) fn rights(&mut self) -> Result<Rights, RuntimeError> {
        let mut turn = self.state.turn.clone().ok_or_else(|| RuntimeError::NoTurn(self.id.clone()))?;
        // That of the request may be another, as long as that one is under way.
        if turn.mode != self.mode() {
            Arc::make_mut(&mut turn).mode = self.mode();
        }
        let number = self.state.machine.turns();
        let rules = match &self.rules {
            Some((of, rules)) if *of == number => rules.clone(),
            _ => {
                let rules = self.rt.rules(&turn.rules)?;
                self.rules = Some((number, rules.clone()));
                rules
            }
        };
        let grants = Arc::new(self.state.folded.world.grants.clone());
        let Parts { env, levels, log, .. } = &self.rt.parts;
        Ok(Rights {
            turn,
            rules,
            grants,
            env: env.clone(),
            levels: levels.clone(),
            log: log.clone(),
            untrusted: Arc::new(self.state.transcript.untrusted()),
            view: self.view.clone(),
            secrets: self.secrets.clone(),
        })
    }

    /// Who the calls of this session are bound by, beside its own turn.
    pub(super) fn bound(&self) -> Bound {
        let spawned = self.state.machine.session().and_then(|session| session.spawned.as_ref());
        Bound { makers: self.makers.clone(), first: spawned.map(|spawned| spawned.by.session.clone()) }
    }
}

/// Who made a session, and who made them, with what is known of their modes. Shared by the calls of a driver.
#[derive(Clone, Default)]
pub(super) struct Makers(Arc<Mutex<Option<Vec<Maker>>>>);

impl Makers {
    /// Takes away what plan mode above takes. Gives the session that plans, unless the turn itself does; an error says why
    /// nobody can tell.
    pub async fn bind(
        &self,
        first: Option<&SessionId>,
        rights: &mut Rights,
    ) -> Result<Option<SessionId>, String> {
        let Some(first) = first.filter(|_| rights.turn.mode != Mode::Plan) else { return Ok(None) };
        let planning = self.planning(&rights.log, first).await.map_err(|error| {
            format!("denied: the mode of `{first}`, which made this agent, cannot be read: {error}\nThe call was not run.")
        })?;
        if planning.is_some() {
            Arc::make_mut(&mut rights.turn).mode = Mode::Plan;
        }
        Ok(planning)
    }

    /// The first session above that is in plan mode now. `first` is the one that made this session.
    async fn planning(&self, log: &SharedLog, first: &SessionId) -> Result<Option<SessionId>, RuntimeError> {
        let mut known = self.0.lock().await;
        let makers = match known.take() {
            Some(makers) => known.insert(makers),
            None => known.insert(all(log, first).await?),
        };
        for maker in makers {
            maker.read_on(log).await?;
            if maker.mode.now() == Mode::Plan {
                return Ok(Some(maker.session.clone()));
            }
        }
        Ok(None)
    }
}

/// Who made the session of a driver, for the calls of its turn.
pub(super) struct Bound {
    pub makers: Makers,
    pub first: Option<SessionId>,
}

impl Bound {
    /// Takes a call through the pipeline, with no more rights than the makers have now.
    pub async fn pass(
        &self,
        call: &CallTool,
        tools: &Toolbox,
        rights: &mut Rights,
        from: &FromHooks,
    ) -> Passed {
        let planning = match self.makers.bind(self.first.as_ref(), rights).await {
            Ok(planning) => planning,
            Err(text) => return Passed::Answer { status: ToolStatus::Denied, text },
        };
        match (pipeline::pass(call, tools, rights, from).await, planning) {
            (Passed::Answer { status: ToolStatus::Denied, text }, Some(session)) => Passed::Answer {
                status: ToolStatus::Denied,
                text: format!(
                    "{text}\n`{session}`, which you work for, is in plan mode: look around, and answer with what you would do."
                ),
            },
            (passed, _) => passed,
        }
    }
}

struct Maker {
    session: SessionId,
    /// The last record that was read.
    head: Seq,
    mode: ModeNow,
}

impl Maker {
    /// Reads what its log says since.
    async fn read_on(&mut self, log: &SharedLog) -> Result<(), RuntimeError> {
        loop {
            let page = match log.read(&self.session, self.head + 1, PAGE).await {
                Ok(page) => page,
                // One that was deleted plans nothing.
                Err(LogError::NotFound(_) | LogError::Tombstone(_)) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let Some(last) = page.last() else { return Ok(()) };
            self.head = last.record.seq;
            page.iter().for_each(|sealed| self.mode.apply(&sealed.record));
        }
    }
}

/// The makers from the nearest on.
async fn all(log: &SharedLog, first: &SessionId) -> Result<Vec<Maker>, RuntimeError> {
    let (mut makers, mut next) = (Vec::new(), Some(first.clone()));
    while let Some(session) = next.take().filter(|_| makers.len() < DEEPEST) {
        let state = match State::load(log, &session).await {
            Ok(state) => state,
            Err(error) => match error.log() {
                Some(LogError::NotFound(_) | LogError::Tombstone(_)) => break,
                _ => return Err(error),
            },
        };
        let spawned = state.machine.session().and_then(|opened| opened.spawned.as_ref());
        next = spawned.map(|spawned| spawned.by.session.clone());
        makers.push(Maker { session, head: state.head, mode: state.mode });
    }
    Ok(makers)
}

/// Agents go no deeper; the one more is whoever a person talks to.
const DEEPEST: usize = 6;
/// Records that are read at a time.
const PAGE: usize = 512;
