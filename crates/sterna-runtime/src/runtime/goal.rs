//! Goals from outside: set, changed, taken away.

use sterna_log::{Append, Expect, LogError, Receipt};
use sterna_model::{
    Body, Delivery, Draft, Goal, GoalChange, GoalStatus, InputAccepted, InputPart, MAX_OBJECTIVE, SessionId,
};

use super::{Accepted, Runtime};
use crate::driver::goal::{GO_ON, ORIGIN, given_for};
use crate::state::for_each_record;
use crate::{RuntimeError, State, TurnConfig};

impl Runtime {
    /// Gives a session a goal, in the place of the one it has, and its first turn. `None`: a new session. The same `key` sets
    /// it once. The turn's end leads to the next one until the goal is reached, or something halts it.
    pub async fn set_goal(
        &self,
        session: Option<SessionId>,
        key: Option<&str>,
        objective: &str,
        token_budget: Option<u64>,
        config: TurnConfig,
        by: &str,
    ) -> Result<Accepted, RuntimeError> {
        let env = &self.0.parts.env;
        let objective = objective.trim();
        let long = objective.chars().count();
        if objective.is_empty() || long > MAX_OBJECTIVE {
            let why =
                format!("a goal's objective has 1 to {MAX_OBJECTIVE} characters, and this one has {long}");
            return Err(RuntimeError::Refused(why));
        }
        if token_budget == Some(0) {
            return Err(RuntimeError::Refused("a budget of no tokens reaches nothing".into()));
        }
        let once = key.map_or_else(|| env.new_session_id().to_string(), str::to_owned);
        let id = session.unwrap_or_else(|| env.new_session_id());
        let digest = blake3::hash(format!("{id}\0{once}").as_bytes()).to_hex();
        let goal =
            Goal { id: digest[..ID_DIGITS].into(), objective: objective.into(), token_budget, by: by.into() };
        let spent = match State::load(&self.0.parts.log, &id).await {
            Ok(state) => state.folded.ledger.total().usage.total(),
            Err(RuntimeError::Log(error)) if matches!(*error, LogError::NotFound(_)) => 0,
            Err(error) => return Err(error),
        };
        let nearly = token_budget.map(|budget| spent.saturating_add(budget - budget / 10));
        let given = given_for(config.given.clone(), nearly);
        let key = format!("goal:{}:1", goal.id);
        let mut set = self.draft(None, Body::Goal(Box::new(GoalChange::Set(goal.clone()))));
        let mut input = self.draft(None, Body::InputAccepted(first(key.clone(), objective, given)));
        let secrets = self.0.parts.secrets.of(&id);
        for draft in [&mut set, &mut input] {
            crate::secrets::clean(&mut draft.body, &secrets);
        }
        let shared = self.0.shared(&id);
        shared.hub.activate();
        let append_id = format!("goal:{}", goal.id);
        let both = vec![set.clone(), input.clone()];
        let mut records = self.opening_records(&id, &input, &config, None);
        records.insert(1, set);
        let mut tries = 0;
        let accepted = loop {
            tries += 1;
            if let Some(known) = self.set_before(&id, &key, &goal).await? {
                break known;
            }
            let of = |receipt: Receipt, opened| Accepted {
                session: id.clone(),
                input: receipt.last,
                repeated: receipt.repeated,
                opened,
            };
            let failed = match self.append(&shared, &append_id, both.clone()).await {
                Ok(receipt) => break of(receipt, false),
                Err(RuntimeError::Log(error)) if matches!(*error, LogError::NotFound(_)) => {
                    match self.open_with(&id, &append_id, records.clone()).await {
                        Ok(receipt) => break of(receipt, true),
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            // Somebody has just made the session, or set the same goal.
            let again = matches!(failed.log(), Some(LogError::Exists(_) | LogError::Conflict { .. }));
            if !again || tries > 2 {
                return Err(failed);
            }
        };
        self.resume(&id, config);
        Ok(accepted)
    }

    /// Halts the goal of a session, or says that it is reached. The turn that runs goes on to its end.
    pub async fn end_goal(
        &self,
        session: &SessionId,
        status: GoalStatus,
        why: &str,
        by: &str,
    ) -> Result<(), RuntimeError> {
        let state = self.goal_of(session).await?;
        if state.folded.world.goal.held().is_some_and(|held| !held.is_active()) {
            return Err(RuntimeError::Refused(format!("the goal of `{session}` is not worked on")));
        }
        let change = GoalChange::Status { status, why: why.to_owned(), by: by.to_owned() };
        self.append_one(session, Body::Goal(Box::new(change))).await?;
        Ok(())
    }

    /// Works on the goal of a session again, with another budget if one is given.
    pub async fn resume_goal(
        &self,
        session: &SessionId,
        token_budget: Option<u64>,
        config: TurnConfig,
        by: &str,
    ) -> Result<Accepted, RuntimeError> {
        let state = self.goal_of(session).await?;
        let Some(held) = state.folded.world.goal.held() else { return Err(no_goal(session)) };
        let goal = Goal { token_budget: token_budget.or(held.goal.token_budget), ..held.goal.clone() };
        if goal.token_budget.is_some_and(|budget| budget <= held.tokens) {
            let why = format!(
                "{} tokens were used for the goal of `{session}`, which is its budget; give it a larger one",
                held.tokens
            );
            return Err(RuntimeError::Refused(why));
        }
        if held.is_active() {
            // It goes on by itself: somebody has to be there.
            let waiting = state.machine.waiting().next().map(|(input, _)| input);
            let running = state.turn.as_ref().filter(|_| state.machine.turn().is_some());
            let input = waiting.or_else(|| running.and_then(|turn| turn.inputs.first().copied()));
            if let Some(input) = input {
                self.resume(session, config);
                return Ok(Accepted { session: session.clone(), input, repeated: true, opened: false });
            }
        }
        let spent = state.folded.ledger.total().usage.total().saturating_sub(held.tokens);
        let nearly = goal.token_budget.map(|budget| spent.saturating_add(budget - budget / 10));
        let status = GoalChange::Status { status: GoalStatus::Active, why: String::new(), by: by.to_owned() };
        let input = first(held.next_key(), GO_ON.trim_end(), given_for(config.given.clone(), nearly));
        let records = vec![
            self.draft(None, Body::Goal(Box::new(GoalChange::Set(goal)))),
            self.draft(None, Body::Goal(Box::new(status))),
            self.draft(None, Body::InputAccepted(input)),
        ];
        let shared = self.0.shared(session);
        shared.hub.activate();
        let id = format!("once:{}", self.0.parts.env.new_session_id());
        let receipt = self.append(&shared, &id, records).await?;
        self.resume(session, config);
        Ok(Accepted { session: session.clone(), input: receipt.last, repeated: false, opened: false })
    }

    /// Takes the goal of a session away. The turn that runs goes on to its end.
    pub async fn clear_goal(&self, session: &SessionId, by: &str) -> Result<(), RuntimeError> {
        self.goal_of(session).await?;
        self.append_one(session, Body::Goal(Box::new(GoalChange::Cleared { by: by.to_owned() }))).await?;
        Ok(())
    }

    /// The goal's first input, where it was set before.
    async fn set_before(
        &self,
        session: &SessionId,
        key: &str,
        goal: &Goal,
    ) -> Result<Option<Accepted>, RuntimeError> {
        let Some(known) = self.0.parts.log.find_key(session, key).await? else { return Ok(None) };
        let mut same = true;
        let mut objective = goal.objective.clone();
        self.0.parts.secrets.of(session).redact_in_place(&mut objective);
        let read = for_each_record(&self.0.parts.log, session, |_, sealed| {
            if let Body::Goal(change) = &sealed.record.body
                && let GoalChange::Set(set) = &**change
                && set.id == goal.id
            {
                same &= set.objective == objective;
            }
            Ok(())
        });
        read.await?;
        if !same {
            return Err(LogError::Conflict { session: session.clone(), id: key.to_owned() }.into());
        }
        let (session, input) = (session.clone(), known.seq);
        Ok(Some(Accepted { session, input, repeated: true, opened: false }))
    }

    async fn goal_of(&self, session: &SessionId) -> Result<State, RuntimeError> {
        self.0.parts.log.head(session).await?;
        let state = State::load(&self.0.parts.log, session).await?;
        match state.folded.world.goal.held() {
            Some(_) => Ok(state),
            None => Err(no_goal(session)),
        }
    }

    async fn open_with(
        &self,
        id: &SessionId,
        append_id: &str,
        records: Vec<Draft>,
    ) -> Result<Receipt, RuntimeError> {
        let append = Append {
            session: id.clone(),
            expect: Expect::New(None),
            id: append_id.to_owned(),
            records,
            blobs: Vec::new(),
        };
        Ok(self.0.parts.log.append(append).await?)
    }
}

fn first(key: String, text: &str, given: sterna_model::Given) -> InputAccepted {
    InputAccepted {
        key: Some(key),
        delivery: Delivery::NextTurn,
        parts: vec![InputPart::Text(text.to_owned())],
        origin: ORIGIN.into(),
        given: Some(Box::new(given)),
        ended: None,
        compact: None,
        tainted: Vec::new(),
    }
}

fn no_goal(session: &SessionId) -> RuntimeError {
    RuntimeError::Refused(format!("session `{session}` has no goal; `sterna goal set` gives it one"))
}

const ID_DIGITS: usize = 12;
