//! The ends of background jobs, told to their sessions: each once, whoever tells it and however often.

use std::collections::BTreeSet;

use sterna_automation::Board;
use sterna_log::{LogError, SharedLog};
use sterna_model::{
    Body, Delivery, Discard, EffectKey, EffectResult, Given, InputPart, Millis, Occurrence, Part, SessionId,
    Source, ToolCall,
};
use sterna_runtime::{Runtime, Submit, TurnConfig};
use sterna_shell::shim::{Cause, ListedPlan, Shims, State};

use crate::commands::automation::failure;
use crate::failure::Failure;
use crate::print::one_line;

/// Finds jobs that have ended.
pub struct Wakes {
    log: SharedLog,
    shims: Shims,
    /// Those that were seen to.
    done: BTreeSet<EffectKey>,
    /// When somebody looked last.
    looked: Millis,
}

/// A job's end that its session does not know.
pub struct Wake {
    pub session: SessionId,
    pub job: String,
    key: EffectKey,
    text: String,
    /// What the turn that started the job was given.
    pub given: Given,
}

/// What becomes of the ends that were found.
#[derive(Default)]
pub struct Found {
    pub wakes: Vec<Wake>,
    /// Their session is gone, or they are too old.
    pub discarded: Vec<(SessionId, String, Discard)>,
}

impl Wakes {
    pub fn new(log: SharedLog, shims: Shims) -> Self {
        Self { log, shims, done: BTreeSet::new(), looked: 0 }
    }

    /// The ends that nobody was told, and tells the triggers that wait for them.
    pub async fn look(&mut self, board: &Board, now: Millis) -> Result<Found, Failure> {
        let mut found = Found::default();
        if now.saturating_sub(self.looked) < BETWEEN_MS {
            return Ok(found);
        }
        self.looked = now;
        for listed in self.shims.list()? {
            let job = listed.id();
            let Some(plan) = listed.plan.as_ref().filter(|plan| plan.job && !self.done.contains(&plan.key))
            else {
                continue;
            };
            let (ended_at, killed, told) = match &listed.state {
                Ok(State::Exited(exit)) => (exit.ended_at, exit.cause == Cause::Killed, exit.told()),
                // Nobody can say when: it is new to whoever looks.
                Ok(state @ State::Dead(_)) => (now, false, state.told()),
                Ok(State::Open | State::Running(_) | State::Revoked) | Err(_) => continue,
            };
            self.done.insert(plan.key.clone());
            let end = End { job: &job, plan, ended_at, killed, told: &told };
            self.see_to(end, board, now, &mut found).await?;
        }
        Ok(found)
    }

    async fn see_to(
        &self,
        end: End<'_>,
        board: &Board,
        now: Millis,
        found: &mut Found,
    ) -> Result<(), Failure> {
        let (key, session) = (&end.plan.key, &end.plan.key.session);
        let name = name_of(key);
        let text = end.text();
        let occurrence = Occurrence {
            source: Source::Job,
            key: session.to_string(),
            id: key.to_string(),
            payload: text.clone(),
            hops: 0,
        };
        board.publish_at(now, end.ended_at, occurrence).await.map_err(failure)?;
        let gone = match self.log.head(session).await {
            Err(LogError::NotFound(_) | LogError::Tombstone(_)) => true,
            head => head.map(|_| false)?,
        };
        let why = match () {
            () if gone => Discard::SessionDeleted,
            // Whoever killed it knows.
            () if end.killed || self.log.find_key(session, &name).await?.is_some() => return Ok(()),
            () if now.saturating_sub(end.ended_at) > KEPT_MS => Discard::Expired,
            () => {
                // A log that cannot be read is left to a person.
                let Ok(Some(given)) = self.of_turn(&end).await else { return Ok(()) };
                let (session, job, key) = (session.clone(), end.job.to_owned(), key.clone());
                found.wakes.push(Wake { session, job, key, text, given });
                return Ok(());
            }
        };
        board.discard(now, session, &name, why).await.map_err(failure)?;
        found.discarded.push((session.clone(), end.job.to_owned(), why));
        Ok(())
    }

    /// What the job's turn was given. `None`: the model has read of the end already, or the log does not know the turn.
    async fn of_turn(&self, end: &End<'_>) -> Result<Option<Given>, Failure> {
        let (session, turn) = (&end.plan.key.session, end.plan.key.turn);
        let (mut given, mut calls, mut from) = (None, Vec::<ToolCall>::new(), 1);
        loop {
            let page = self.log.read(session, from, PAGE).await?;
            let Some(last) = page.last() else { return Ok(given) };
            from = last.record.seq + 1;
            for sealed in page {
                let (at, of) = (sealed.record.at, sealed.record.turn);
                match sealed.record.body {
                    Body::TurnStarted(started) if of == Some(turn) => given = Some(started.given),
                    Body::Outcome(outcome) => match outcome.result {
                        EffectResult::Model(model) => {
                            let call = |part: &Part| match part {
                                Part::ToolCall(call) => Some(call.clone()),
                                Part::Text(_) | Part::Reasoning(_) | Part::Opaque(_) => None,
                            };
                            calls = model.parts.iter().filter_map(call).collect();
                        }
                        EffectResult::Tool(_) if at >= end.ended_at => {
                            let call = calls.get(outcome.key.ordinal as usize);
                            let reads = |call: &ToolCall| {
                                call.name == "job_output" && call.arguments.contains(end.job)
                            };
                            if call.is_some_and(reads) {
                                return Ok(None);
                            }
                        }
                        EffectResult::Tool(_)
                        | EffectResult::ModelFailed(_)
                        | EffectResult::Summary(_)
                        | EffectResult::Judged(_) => {}
                    },
                    _ => {}
                }
            }
        }
    }
}

impl Wake {
    /// Makes the input durable. It enters the turn that runs, or begins one.
    pub async fn tell(&self, runtime: &Runtime, host: &TurnConfig) -> Result<(), Failure> {
        let submit = Submit {
            session: Some(self.session.clone()),
            key: Some(name_of(&self.key)),
            parts: vec![InputPart::Text(self.text.clone())],
            delivery: Delivery::AfterWork,
            origin: "job".into(),
            config: TurnConfig { given: self.given.clone(), ..host.clone() },
            live: false,
            drive: false,
        };
        runtime.submit(submit).await?;
        Ok(())
    }
}

/// A job that has ended.
struct End<'a> {
    job: &'a str,
    plan: &'a ListedPlan,
    ended_at: Millis,
    killed: bool,
    told: &'a str,
}

impl End<'_> {
    fn text(&self) -> String {
        let command = one_line(&self.plan.command, COMMAND);
        format!(
            "The background job {} ({command}) {}. `job_output` reads what it wrote.",
            self.job, self.told
        )
    }
}

fn name_of(key: &EffectKey) -> String {
    format!("job:{key}")
}

/// How long an end is told after it (design: 7 days).
const KEPT_MS: Millis = 7 * 24 * 3_600 * 1_000;
/// Between two looks at the disk.
const BETWEEN_MS: Millis = 5_000;
const COMMAND: usize = 200;
const PAGE: usize = 512;
