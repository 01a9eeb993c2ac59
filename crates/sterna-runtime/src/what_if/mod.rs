//! What-if: a session lived again from one of its records, with another model, prompt or limit. What is recorded answers
//! until the first divergence; nothing is written to the session that was recorded.

mod memory;
mod play;
mod recorded;
mod report;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use sterna_context::Prompt;
use sterna_log::{Append, BlobsOver, Expect, LeaseRequest, MemoryLog, SharedBlobs, SharedLog};
use sterna_model::{
    Body, Delivery, Draft, Given, HookRan, InputPart, Limits, Mode, NanoUsd, OnAsk, Record, Route, RuleText,
    Seq, SessionId, TurnNo, TurnStarted,
};
use sterna_tool::{SharedMemory, SharedTool};

use self::memory::PlayedMemory;
use self::play::{Clock, ORIGIN, Play, PlayedHooks, PlayedModel, PlayedTool};
use self::recorded::{Recorded, RecordedTurn};
pub use self::report::{CallSide, Cost, Ending, StepPair, StepSide};
use self::report::{Side, pairs};
use crate::replay::load_prompt;
use crate::state::for_each_record;
use crate::{Env, Parts, PromptSource, Runtime, RuntimeError, SharedHooks, Submit, Toolbox, TurnConfig};

/// A new run that is asked for. What is `None` is as it was recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WhatIf {
    pub session: SessionId,
    /// The last record that counts: one of the session's own log.
    pub from: Seq,
    pub route: Option<Route>,
    /// The next input's text. Later inputs of the record are not given then.
    pub prompt: Option<String>,
    pub mode: Option<Mode>,
    /// Rules beside the recorded ones.
    pub rules: Vec<RuleText>,
    pub max_steps: Option<u32>,
    /// Billionths of a US dollar.
    pub max_cost: Option<NanoUsd>,
    /// Milliseconds that a turn may take.
    pub deadline: Option<u64>,
}

/// Where a new run left the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Divergence {
    pub turn: TurnNo,
    pub step: u32,
    /// The record of the answer from which the new one differs, or the log's last: files are to be as they were then.
    pub record: Seq,
    pub what: String,
}

/// How a new run went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WhatIfRun {
    pub session: SessionId,
    /// The last record that counted: before the one that was asked for when something was in flight there, and after it
    /// when nothing was left of its turn but the end.
    pub from: Seq,
    /// `None`: it made the same calls to the end.
    pub divergence: Option<Divergence>,
    /// Why tools were refused after the divergence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    pub steps: Vec<StepPair>,
    pub endings: Sides<Vec<Ending>>,
    pub cost: Sides<Cost>,
    /// What the new run itself has cost: without what the record answered.
    pub spent: Cost,
}

/// The record's side and the new one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sides<T> {
    pub recorded: T,
    pub new: T,
}

/// Whoever can give a new run a workspace of its own.
pub trait WhatIfHost: Send + Sync {
    /// Asked once, at the divergence, before any tool may run. From `Ok` on, tools of this process must reach a copy of
    /// the workspace and nothing else; `Err` says why there is none, and tools that touch anything are refused.
    fn ground<'a>(&'a self, divergence: &'a Divergence) -> BoxFuture<'a, Result<(), String>>;
}

/// Lives a session again. `parts` are those of the session that was recorded: its log is read only, and its blobs too.
///
/// The new run has a log in memory under the session's own id: a turn that runs at the point goes on with what is asked
/// for as if it had started so. Approvals and questions find nobody: they are refused.
///
/// Errors: `NoRecord` for a point that is not there, `Refused` for a prompt in the middle of a turn.
pub async fn what_if(
    parts: &Parts,
    ask: &WhatIf,
    host: Arc<dyn WhatIfHost>,
) -> Result<WhatIfRun, RuntimeError> {
    let recorded = Recorded::read(&parts.log, &ask.session, ask.from).await?;
    if let (Some(turn), Some(_)) = (recorded.in_turn, &ask.prompt) {
        return Err(RuntimeError::Refused(format!(
            "record {} lies in turn {turn}, whose prompt was read before; choose a point between two turns",
            recorded.from
        )));
    }
    let clock = Arc::new(Clock::new(parts.env.clone()));
    let own = MemoryLog::new();
    let log: SharedLog = Arc::new(own.clone());
    let blobs: SharedBlobs = Arc::new(BlobsOver::new(Arc::new(own), parts.blobs.clone()));
    copy(&log, &recorded, ask, &clock).await?;
    let play = Play::new(&ask.session, &recorded, log.clone(), host, clock.clone());
    let new = NewRun { parts, ask, recorded: &recorded, play: Arc::new(play), clock, log, blobs };
    new.run().await?;
    new.report().await
}

/// The log of a session without what came after the point, and with the running turn as it is asked for.
async fn copy(log: &SharedLog, recorded: &Recorded, ask: &WhatIf, clock: &Clock) -> Result<(), RuntimeError> {
    let kept = |(owner, record): &&(SessionId, Record)| *owner != ask.session || record.seq <= recorded.from;
    let running = recorded.turns.iter().find(|turn| Some(turn.number) == recorded.in_turn);
    let intent = running.and_then(|turn| turn.intent.as_ref());
    let records = recorded.records.iter().filter(kept).cloned().map(|(owner, mut record)| {
        match &mut record.body {
            Body::TurnStarted(started) if owner == ask.session && record.turn == recorded.in_turn => {
                ask.change(started);
                if let Some(intent) = intent.filter(|intent| intent.route == started.route) {
                    started.given.max_output = Some(intent.max_output);
                }
            }
            // What its turn is given is what is asked for.
            Body::InputAccepted(input) => input.given = None,
            _ => {}
        }
        clock.set(record.at);
        (owner, record)
    });
    refill(log, clock, records).await
}

/// Writes records of a session, and of those that it forks from, into another store, with the numbers and times that
/// they have. Their chains are made anew.
pub async fn refill(
    log: &SharedLog,
    env: &dyn Env,
    records: impl Iterator<Item = (SessionId, Record)>,
) -> Result<(), RuntimeError> {
    let mut lease: Option<(SessionId, u64)> = None;
    let mut last = None;
    for (owner, record) in records {
        let Record { seq, at, turn, step, mut body, .. } = record;
        if let (Body::SessionOpened(opened), Some(hash)) = (&mut body, last)
            && let Some(parent) = &mut opened.parent
        {
            parent.hash = hash;
        }
        let expect = match lease.as_ref().filter(|(of, _)| *of == owner) {
            Some((_, fence)) => Expect::Head { head: seq - 1, fence: *fence },
            None => {
                let expires = at.saturating_add(LEASE_MS);
                Expect::New(Some(LeaseRequest { owner: env.owner(), now: at, expires, takeover: None }))
            }
        };
        let append = Append {
            session: owner.clone(),
            expect,
            id: format!("copy:{seq}"),
            records: vec![Draft { at, turn, step, body }],
            blobs: Vec::new(),
        };
        let receipt = log.append(append).await?;
        last = Some(receipt.hash);
        lease = receipt.lease.map(|lease| (owner, lease.fence)).or(lease);
    }
    if let Some((session, fence)) = lease {
        log.release(&session, fence).await?;
    }
    Ok(())
}

impl WhatIf {
    /// What a turn is given.
    fn change(&self, started: &mut TurnStarted) {
        let Limits { max_steps, max_cost, deadline, .. } = &mut started.limits;
        *max_steps = self.max_steps.unwrap_or(*max_steps);
        *max_cost = self.max_cost.or(*max_cost);
        *deadline = self.deadline.or(*deadline);
        started.mode = self.mode.unwrap_or(started.mode);
        started.rules.extend(self.rules.iter().cloned());
        started.on_ask = OnAsk::Deny;
        if let Some(route) = &self.route {
            started.route = route.clone();
        }
    }
}

/// One new run on its way.
struct NewRun<'a> {
    parts: &'a Parts,
    ask: &'a WhatIf,
    recorded: &'a Recorded,
    play: Arc<Play>,
    clock: Arc<Clock>,
    log: SharedLog,
    blobs: SharedBlobs,
}

impl NewRun<'_> {
    async fn run(&self) -> Result<(), RuntimeError> {
        let session = &self.ask.session;
        let mut template: Option<TurnConfig> = None;
        for turn in &self.recorded.turns {
            let prompt = self.prompt(turn).await?;
            let config = self.config(turn, prompt.clone());
            let runtime = self.runtime(prompt.as_ref());
            template = Some(config.clone());
            let Some(first) = turn.started.inputs.first().copied() else { continue };
            let input = if self.recorded.in_turn == Some(turn.number) {
                self.clock.go();
                runtime.resume(session, config);
                first
            } else {
                self.clock.set(turn.at);
                let given = self.ask.prompt.as_ref().map(|text| vec![InputPart::Text(text.clone())]);
                let focus = self.recorded.asked_to_compact(session, first).filter(|_| given.is_none());
                if let Some(focus) = focus.filter(|_| first > self.recorded.from) {
                    runtime.compact(session, &focus, config, ORIGIN).await?.input
                } else if given.is_none() && first <= self.recorded.from {
                    runtime.resume(session, config);
                    first
                } else {
                    let recorded = || self.recorded.input(session, first).unwrap_or_default();
                    self.submit(&runtime, given.unwrap_or_else(recorded), config).await?
                }
            };
            let result = runtime.result(session, input).await?;
            let as_recorded = turn.outcome.as_ref().is_some_and(|outcome| outcome.exit_code() != 0);
            if self.ask.prompt.is_some() || (result.outcome != "finished" && !as_recorded) {
                return Ok(());
            }
        }
        if template.is_none() {
            // After the last turn there is nothing to live again but what is newly said.
            let Some(text) = &self.ask.prompt else { return Err(nothing(self.recorded.from)) };
            let turn = self.last_turn().ok_or_else(|| nothing(self.recorded.from))?;
            let prompt = self.prompt(&turn).await?;
            let config = self.config(&turn, prompt.clone());
            let runtime = self.runtime(prompt.as_ref());
            let input = self.submit(&runtime, vec![InputPart::Text(text.clone())], config).await?;
            runtime.result(session, input).await?;
        }
        Ok(())
    }

    async fn submit(
        &self,
        runtime: &Runtime,
        parts: Vec<InputPart>,
        config: TurnConfig,
    ) -> Result<Seq, RuntimeError> {
        let submit = Submit {
            session: Some(self.ask.session.clone()),
            key: None,
            parts,
            delivery: Delivery::NextTurn,
            origin: ORIGIN.into(),
            config,
            live: false,
            drive: true,
        };
        Ok(runtime.submit(submit).await?.input)
    }

    /// The prompt that the turn was sent with; `None` when it never called a model.
    async fn prompt(&self, turn: &RecordedTurn) -> Result<Option<Prompt>, RuntimeError> {
        // What another program sent before an import is not here.
        let stored = turn.intent.as_ref().filter(|intent| !intent.is_imported());
        let Some(intent) = stored else { return Ok(None) };
        let loaded = load_prompt(&self.blobs, &intent.manifest).await;
        loaded.map(Some).map_err(|e| RuntimeError::Refused(e.to_string()))
    }

    fn config(&self, turn: &RecordedTurn, prompt: Option<Prompt>) -> TurnConfig {
        let mut started = turn.started.clone();
        // A turn that runs at the point was changed in its log.
        self.ask.change(&mut started);
        // Another model is asked for: what was to take over from the old one is not.
        let rerouted = turn.started.route != started.route;
        let same = |intent: &&sterna_model::ModelIntent| intent.route == started.route;
        let max_output = turn.intent.as_ref().filter(same).map(|intent| intent.max_output);
        let fallback = if rerouted { Vec::new() } else { started.given.fallback.clone() };
        TurnConfig::new(
            Given { max_output, fallback, tree: None, ..started.given },
            prompt.map_or_else(|| PromptSource::new(Vec::new()), PromptSource::fixed),
        )
    }

    /// A runtime whose model and tools know the record. A tool that only the record knows has a stand-in.
    fn runtime(&self, prompt: Option<&Prompt>) -> Runtime {
        let tools = &self.parts.tools;
        let mut played: Vec<SharedTool> = Vec::new();
        let mut add = |spec: sterna_model::ToolSpec| {
            let inner = tools.get(&spec.name);
            played.push(Arc::new(PlayedTool { inner, spec, play: self.play.clone() }));
        };
        tools.specs(&[]).into_iter().for_each(&mut add);
        // What the prompt says of a tool is what the model was told.
        prompt.iter().flat_map(|prompt| prompt.tools().to_vec()).for_each(&mut add);
        Runtime::new(Parts {
            log: self.log.clone(),
            blobs: self.blobs.clone(),
            provider: Arc::new(PlayedModel { inner: self.parts.provider.clone(), play: self.play.clone() }),
            env: self.clock.clone(),
            tools: Toolbox::new(played),
            checkpoints: None,
            secrets: self.parts.secrets.clone(),
            hooks: self.hooks(),
            levels: self.parts.levels.clone(),
            // It works in its copy alone.
            worktrees: None,
            memory: self.reminders(),
        })
    }

    /// What the recorded turns were reminded of. What a new turn would remember is nobody's: it is no memory otherwise.
    fn reminders(&self) -> Option<SharedMemory> {
        let told = PlayedMemory::of(self.recorded.records.iter().map(|(_, record)| record));
        told.map(|told| Arc::new(told) as SharedMemory)
    }

    /// What hooks said in the record, if there were any.
    fn hooks(&self) -> Option<SharedHooks> {
        let ran = self.recorded.records.iter().filter_map(|(_, record)| match &record.body {
            Body::HookRan(ran) => Some((ran.key.clone(), HookRan::clone(ran))),
            _ => None,
        });
        let ran: BTreeMap<String, HookRan> = ran.collect();
        (!ran.is_empty()).then(|| Arc::new(PlayedHooks { ran, play: self.play.clone() }) as SharedHooks)
    }

    /// The last turn before the point.
    fn last_turn(&self) -> Option<RecordedTurn> {
        let mut last: Option<RecordedTurn> = None;
        for (_, record) in &self.recorded.records {
            match &record.body {
                Body::TurnStarted(started) => {
                    last = Some(RecordedTurn {
                        number: record.turn.unwrap_or(0),
                        at: record.at,
                        started: TurnStarted::clone(started),
                        intent: None,
                        outcome: None,
                    });
                }
                Body::Intent(intent) => {
                    if let (Some(turn), sterna_model::Intended::Model(model)) = (&mut last, &intent.what) {
                        turn.intent.get_or_insert_with(|| model.clone());
                    }
                }
                _ => {}
            }
        }
        last
    }

    async fn report(&self) -> Result<WhatIfRun, RuntimeError> {
        let (session, from) = (&self.ask.session, self.recorded.from);
        let mut records = Vec::new();
        let read = for_each_record(&self.log, session, |owner, sealed| {
            if owner == session {
                records.push(sealed.record);
            }
            Ok(())
        });
        read.await?;
        let own = self.recorded.records.iter().filter(|(owner, _)| owner == session);
        let recorded = Side::of(own.map(|(_, record)| record), from);
        let mut new = Side::of(records.iter(), from);
        let played = self.play.played();
        let mut by_record = Cost { cost: Some(0), ..Cost::default() };
        // Failed calls are steps too, and the record answers none of those.
        let answered = new.steps.iter_mut().filter(|step| step.failure.is_none());
        for (step, from_record) in answered.zip(&played.by_record) {
            step.from_record = *from_record;
            if *from_record {
                by_record.add(&step.usage, step.cost);
            }
        }
        let spent = new.cost.without(&by_record);
        let mut divergence = played.divergence.map(|(at, mut divergence)| {
            if let Some(step) = new.steps.get(at) {
                (divergence.turn, divergence.step) = (step.turn, step.step);
            }
            divergence
        });
        if divergence.is_none() && self.ask.prompt.is_none() {
            divergence = ends_otherwise(&recorded, &new, self.recorded.head);
        }
        let sides = |recorded, new| Sides { recorded, new };
        Ok(WhatIfRun {
            session: session.clone(),
            from,
            divergence,
            refused: played.ground.and_then(Result::err),
            endings: Sides { recorded: recorded.endings, new: new.endings },
            cost: sides(recorded.cost, new.cost),
            spent,
            steps: pairs(recorded.steps, new.steps),
        })
    }
}

/// A run that made the same calls and stopped where the record went on, or the other way round.
fn ends_otherwise(recorded: &Side, new: &Side, head: Seq) -> Option<Divergence> {
    let names = |side: &Side| -> Vec<String> { side.endings.iter().map(|end| end.outcome.clone()).collect() };
    let (old, now) = (names(recorded), names(new));
    if old == now && recorded.steps.len() == new.steps.len() {
        return None;
    }
    let at = old.iter().zip(&now).position(|(old, now)| old != now).unwrap_or(old.len().min(now.len()));
    let (old, now) = (recorded.endings.get(at), new.endings.get(at));
    let word = |end: Option<&Ending>| end.map_or("nothing", |end| end.outcome.as_str()).to_owned();
    let (turn, step) = new.steps.last().map_or((0, 0), |last| (last.turn, last.step));
    let message = now.map_or("", |end| end.message.as_str());
    let what = format!("it ends with {} where the record ends with {}: {message}", word(now), word(old));
    Some(Divergence { turn, step, record: head, what })
}

fn nothing(from: Seq) -> RuntimeError {
    RuntimeError::Refused(format!(
        "nothing was recorded after record {from} that could be lived again; give an earlier point, or a prompt"
    ))
}

/// Milliseconds that the copy of one log holds its lease.
const LEASE_MS: u64 = 30_000;
