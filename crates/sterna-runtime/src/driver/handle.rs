//! What comes back to the driver: outcomes of effects, and records of others.

use sterna_llm::catalog;
use sterna_log::{Append, Expect, LogError, Receipt};
use sterna_model::{
    Billed, Body, Checked, Draft, EffectClass, EffectKey, EffectKind, EffectResult, Intended, Intent, Millis,
    ModelOutcome, OnAsk, Outcome, Part, Route, Ruling, StopReason, ToolIntent, ToolOutcome, ToolStatus,
    WaitId, WaitOn, WaitOpened, wait_id,
};

use super::want::Ready;
use super::{Driver, End, Msg, Stage};
use crate::effects::model::ModelEnd;
use crate::effects::pipeline::Passed;
use crate::effects::tool::{Found, ToolEnd, unrun};
use crate::schema::OutputSchema;
use crate::{RuntimeError, TurnConfig};

impl Driver {
    pub(super) async fn handle(&mut self, msg: Msg) -> Result<Option<End>, RuntimeError> {
        let effect = matches!(
            msg,
            Msg::Model { .. }
                | Msg::Passed { .. }
                | Msg::Proposed { .. }
                | Msg::Early { .. }
                | Msg::Tool { .. }
                | Msg::Recovered { .. }
                | Msg::Undone { .. }
                | Msg::Child { .. }
                | Msg::ChildTurn { .. }
                | Msg::HookAsks { .. }
                | Msg::Hooked { .. }
                | Msg::Deadline { .. }
        );
        if effect && self.fence.is_none() {
            // Another process leads since: what was under way here has no place in its log.
            return Ok(Some(End::Lost));
        }
        match msg {
            Msg::Append { id, records, config, reply } => {
                if !self.flush().await? {
                    // Whoever sent it is told to send it again: to the log, now that we do not lead.
                    drop(reply);
                    return Ok(Some(End::Lost));
                }
                let appended = self.append_for_others(id, records).await;
                self.remember(&appended, config);
                // Whoever asked may have left.
                let _ = reply.send(appended);
            }
            Msg::Configure { input: None, config } => self.config = *config,
            Msg::Configure { input: Some(input), config } => {
                if self.state.machine.waiting().any(|(seq, _)| seq == input) {
                    self.configs.insert(input, *config);
                }
            }
            Msg::Drain => {
                self.draining = true;
                self.early.drop_all();
                // Hooks can be asked again, under the same key.
                self.hooking.drain();
                // A model call can be made again; what tools do must settle.
                // And what is only looked for can be looked for again.
                let again = |key: &EffectKey, stage| {
                    self.model_key(key) || matches!(stage, Stage::Recovering | Stage::Early)
                };
                let flights = self.inflight.iter().filter(|(key, flight)| again(key, flight.stage));
                let calls: Vec<EffectKey> = flights.map(|(key, _)| key.clone()).collect();
                for key in calls {
                    if let Some(flight) = self.inflight.remove(&key) {
                        flight.task.abort();
                    }
                }
            }
            Msg::Model { key, attempt, end } => {
                // A call that was forgotten meanwhile was made again, or drained.
                if self.inflight.remove(&key).is_some() {
                    self.model_ended(key.clone(), attempt, end)?;
                    self.settle(&key).await;
                }
            }
            Msg::Proposed { key, attempt, ordinal, call } => self.proposed(&key, attempt, ordinal, call)?,
            Msg::Early { key, attempt, end } => self.early_ended(key, attempt, end)?,
            Msg::Passed { key, passed, mode, checkpoint } => {
                if self.inflight.remove(&key).is_some() {
                    checkpoint.map_or(Ok(()), |taken| self.stage(taken))?;
                    // In another mode it is judged again.
                    if self.mode() == mode {
                        self.passed(key, passed).await?;
                    }
                }
            }
            Msg::Tool { key, end } => {
                if self.inflight.remove(&key).is_some() {
                    self.tool_ended(key, end)?;
                }
            }
            Msg::Recovered { key, found } => {
                if self.inflight.remove(&key).is_some() {
                    match found {
                        Found::Ended(end) => self.tool_ended(key, end)?,
                        // Then it can be run, or closed, as if it had no intent.
                        Found::NeverRan => drop(self.own.insert(key)),
                        Found::Unknown => drop(self.unknown.insert(key)),
                    }
                }
            }
            Msg::Undone { key, undone } => {
                if self.inflight.remove(&key).is_some() {
                    self.undone(key, undone)?;
                }
            }
            Msg::Child { key, done } => {
                if self.inflight.remove(&key).is_some() {
                    self.child_done(key, done)?;
                }
            }
            Msg::ChildTurn { wait, seen } => self.child_seen(wait, seen)?,
            Msg::HookAsks { intent, durable } => {
                if !self.hook_asks(intent, durable).await? {
                    return Ok(Some(End::Lost));
                }
            }
            Msg::Hooked { key, answered } => {
                if !self.hooked(&key, answered).await? {
                    return Ok(Some(End::Lost));
                }
            }
            Msg::Deadline { turn } => {
                let running = self.state.machine.turn().is_some_and(|t| t.number == turn && !t.is_ending());
                if running {
                    self.stage(Body::LimitReached { turn, reason: StopReason::Deadline })?;
                }
            }
        }
        Ok(None)
    }

    /// What the turn of an input is given that was accepted just now. The first submission of a key counts.
    pub(super) fn remember(&mut self, appended: &Result<Receipt, LogError>, config: Option<Box<TurnConfig>>) {
        if let (Ok(receipt), Some(config)) = (appended, config)
            && !receipt.repeated
        {
            self.configs.insert(receipt.last, *config);
        }
    }

    /// Inputs, answers and the like: anyone may append them, and we are the one who is here.
    pub(super) async fn append_for_others(
        &mut self,
        id: String,
        records: Vec<Draft>,
    ) -> Result<Receipt, LogError> {
        let append = Append {
            session: self.id.clone(),
            expect: Expect::Any,
            id,
            records: records.clone(),
            blobs: Vec::new(),
        };
        let receipt = self.rt.parts.log.append(append).await?;
        if !receipt.repeated {
            let next = receipt.first == self.state.head + 1;
            let mut folded = next;
            if next {
                for (draft, seq) in records.into_iter().zip(receipt.first..) {
                    folded &= self.fold_durable(&draft.at_seq(seq)).is_ok();
                }
                self.publish();
            }
            if !folded {
                // Somebody else wrote between: read it all, in order.
                self.catch_up().await.map_err(|e| LogError::Io(e.to_string()))?;
            }
        }
        Ok(receipt)
    }

    fn model_ended(&mut self, key: EffectKey, attempt: u32, end: ModelEnd) -> Result<(), RuntimeError> {
        if key.kind == EffectKind::Compact {
            return self.summary_ended(key, attempt, end);
        }
        if key.kind == EffectKind::Judge {
            return self.judged(key, attempt, end);
        }
        match end {
            ModelEnd::Answered(mut outcome) => {
                self.price(&mut outcome.billed);
                outcome.classes = self.classes(&outcome);
                outcome.checked = self.checked(&outcome);
                self.keep_early(&outcome);
                let result = EffectResult::Model(outcome);
                self.stage(Body::Outcome(Box::new(Outcome { key, attempt, result })))
            }
            ModelEnd::Failed(failure) => {
                self.early.drop_all();
                self.model_failed(key, attempt, failure)
            }
        }
    }

    async fn passed(&mut self, key: EffectKey, passed: Passed) -> Result<(), RuntimeError> {
        match passed {
            Passed::Answer { status, text } => {
                let outcome = unrun(status, text, self.rt.parts.env.now());
                self.tool_outcome(key, outcome)
            }
            // They answer first; then the call passes again.
            Passed::Ask { .. } if self.asks_hooks(&key) => Ok(()),
            Passed::Ask { approval, case: Some(case) } => self.judge(key, approval, &case).await,
            Passed::Ask { approval, case: None } => self.open_wait(key, WaitOn::Approval(approval)),
            Passed::Run { tool, args, plan, quiet_git, content, changes: _, confine, origin } => {
                let Some(call) = self.call(&key) else { return Ok(()) };
                let (class, attempt) = (call.class, call.started + 1);
                let intent = ToolIntent {
                    call_id: call.call.id.clone(),
                    name: call.call.name.clone(),
                    input: content,
                    sandbox: confine.level.word().into(),
                };
                if class != EffectClass::Pure {
                    self.own.insert(key.clone());
                    let what = Intended::Tool(intent);
                    self.stage(Body::Intent(Box::new(Intent { key: key.clone(), class, attempt, what })))?;
                }
                self.ready.push(Ready { key, attempt, tool, args, plan, quiet_git, confine, origin });
                Ok(())
            }
        }
    }

    pub(super) fn tool_ended(&mut self, key: EffectKey, end: ToolEnd) -> Result<(), RuntimeError> {
        match end {
            ToolEnd::Done(outcome) => self.tool_outcome(key, outcome),
            ToolEnd::Ask(questions) => self.tool_asks(key, questions),
            ToolEnd::Child(op) => {
                self.child_op(key, op);
                Ok(())
            }
            ToolEnd::Wait { on, until } => self.wait_to_wake(key, on, until),
            ToolEnd::Continue { task, seed } => self.continue_as(key, task, seed),
            ToolEnd::EnterPlan => self.enter_plan(key),
            ToolEnd::Permit { permits, scope } => self.permit(key, permits, scope),
            ToolEnd::Plan { slug, content } => self.submit_plan(key, slug, content),
        }
    }

    pub(super) fn tool_outcome(&mut self, key: EffectKey, outcome: ToolOutcome) -> Result<(), RuntimeError> {
        match outcome.status {
            ToolStatus::Denied => self.denied(key, outcome),
            _ => self.ended(key, outcome),
        }
    }

    pub(super) fn ended(&mut self, key: EffectKey, outcome: ToolOutcome) -> Result<(), RuntimeError> {
        let attempt = self.call(&key).map_or(1, |call| call.started.max(1));
        let result = EffectResult::Tool(outcome);
        self.stage(Body::Outcome(Box::new(Outcome { key, attempt, result })))
    }

    /// Opens a wait. Where nobody is, what an ask does is explicit, and it never hangs.
    pub(super) fn open_wait(&mut self, key: EffectKey, on: WaitOn) -> Result<(), RuntimeError> {
        let Some(wait) = self.stage_wait(key, on)? else { return Ok(()) };
        let on_ask = self.state.turn.as_ref().map_or(OnAsk::Deny, |turn| turn.on_ask);
        let feedback = match on_ask {
            OnAsk::Prompt | OnAsk::Park => return Ok(()),
            OnAsk::Deny => "nobody is at a terminal to allow it (--on-ask deny)",
            OnAsk::Fail => "nobody is at a terminal to allow it (--on-ask fail)",
        };
        let ruling = Ruling::Deny { feedback: feedback.into() };
        self.stage(Body::WaitResolved { wait, ruling, by: "on_ask".into(), early: false })
    }

    /// The next wait of a call. `None`: its answer is there already.
    pub(super) fn stage_wait(&mut self, key: EffectKey, on: WaitOn) -> Result<Option<WaitId>, RuntimeError> {
        let deadline = self.longest_wait();
        self.stage_wait_until(key, on, deadline)
    }

    /// When a wait that is opened now ends by itself.
    pub(super) fn longest_wait(&self) -> Option<Millis> {
        let limit = self.state.turn.as_ref().and_then(|turn| turn.limits.max_wait);
        limit.map(|ms| self.rt.parts.env.now().saturating_add(ms))
    }

    /// The next wait of a call, and when it ends by itself. `None`: its answer is there already.
    pub(super) fn stage_wait_until(
        &mut self,
        key: EffectKey,
        on: WaitOn,
        deadline: Option<Millis>,
    ) -> Result<Option<WaitId>, RuntimeError> {
        let asked = self.call(&key).map_or(0, |call| call.waits);
        let wait = wait_id(&key, asked + 1);
        let answered = self.state.machine.is_answered_early(&key, &wait, &on);
        let opened = WaitOpened { wait: wait.clone(), key, on, deadline, answered };
        self.stage(Body::WaitOpened(Box::new(opened)))?;
        Ok((!answered).then_some(wait))
    }

    /// Fills in the cost where the provider told only tokens.
    pub(super) fn price(&self, billed: &mut Billed) {
        self.price_on(&self.route(), billed);
    }

    pub(super) fn price_on(&self, route: &Route, billed: &mut Billed) {
        if billed.cost.is_none() && billed.usage.total() > 0 {
            let info = self.rt.parts.provider.model(route);
            billed.cost =
                info.ok().and_then(|info| info.price).map(|price| catalog::cost(&price, &billed.usage));
        }
    }

    /// A final answer held against the turn's schema, if it has one.
    fn checked(&mut self, outcome: &ModelOutcome) -> Option<Checked> {
        let turn = self.state.turn.clone()?;
        let wanted = turn.output_schema.as_deref()?;
        let held = self.schema.take().filter(|held| held.is_of(wanted));
        let schema = held.unwrap_or_else(|| OutputSchema::compile(wanted));
        self.schema = Some(schema.clone());
        let before = self.state.machine.turn().map(sterna_turn::Turn::said_before).unwrap_or_default();
        schema.check(&before, outcome)
    }

    fn classes(&self, outcome: &ModelOutcome) -> Vec<EffectClass> {
        let class = |part: &Part| match part {
            Part::ToolCall(call) => Some(self.rt.parts.tools.class(call)),
            Part::Text(_) | Part::Reasoning(_) | Part::Opaque(_) => None,
        };
        outcome.parts.iter().filter_map(class).collect()
    }

    pub(super) fn call(&self, key: &EffectKey) -> Option<&sterna_turn::TurnCall> {
        let turn = self.state.machine.turn()?;
        turn.calls().get(key.ordinal as usize).filter(|_| turn.steps() == key.step)
    }

    pub(super) fn is_passing(&self, key: &EffectKey) -> bool {
        self.inflight.get(key).is_some_and(|flight| flight.stage == Stage::Passing)
    }
}
