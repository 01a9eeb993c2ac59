//! Calls that change nothing may start while the answer that asks for them still streams, as soon as their arguments are
//! whole. What they give is kept here until the answer is in the log: it is neither shown nor sent before, and dropped
//! with an attempt that failed.
//!
//! A call starts early only when all calls before it in the answer are pure too, when policy says a plain yes, and when
//! no hook is set up that might want to say something. Whatever differs in the answer from what streamed is run anew.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use serde_json::Value;
use sterna_model::{CallTool, EffectClass, EffectKey, EffectKind, ModelOutcome, Part, ToolCall};
use sterna_tool::Cancel;

use super::beside::Beside;
use super::want::CallFacts;
use super::{Driver, InFlight, Msg, Stage};
use crate::RuntimeError;
use crate::effects::pipeline::{FromHooks, Passed};
use crate::effects::tool::{self, ToolEnd};

/// Calls of the answer that streams, in its order.
#[derive(Default)]
pub(super) struct Early {
    /// The model call and its attempt.
    of: Option<(EffectKey, u32)>,
    calls: Vec<EarlyCall>,
    /// What follows in this answer waits for its end.
    over: bool,
}

struct EarlyCall {
    call: ToolCall,
    cancel: Cancel,
    task: Beside,
    /// `Some(None)`: it has to take the usual way.
    end: Option<Option<ToolEnd>>,
}

impl Early {
    /// Nothing of it is wanted any more.
    pub fn drop_all(&mut self) {
        for call in self.calls.drain(..) {
            call.cancel.cancel();
            call.task.abort();
        }
        self.of = None;
    }

    fn is_of(&self, key: &EffectKey, attempt: u32) -> bool {
        self.of.as_ref().is_some_and(|(of, n)| of == key && *n == attempt)
    }
}

impl Driver {
    /// The arguments of a call are whole, and the answer goes on.
    pub(super) fn proposed(
        &mut self,
        key: &EffectKey,
        attempt: u32,
        ordinal: u32,
        call: ToolCall,
    ) -> Result<(), RuntimeError> {
        if !self.inflight.contains_key(key) {
            return Ok(());
        }
        if !self.early.is_of(key, attempt) {
            self.early.drop_all();
            self.early.of = Some((key.clone(), attempt));
            self.early.over = false;
        }
        if self.early.over || ordinal as usize != self.early.calls.len() || !self.may_start_early(&call) {
            self.early.over = true;
            return Ok(());
        }
        let key = EffectKey { kind: EffectKind::Tool, ordinal, ..key.clone() };
        let facts = CallFacts { id: call.id.clone(), name: call.name.clone(), ..CallFacts::default() };
        // Nobody sees its progress: the answer is not in the log.
        let Some((mut context, mut after, cancel)) =
            self.context_of(&key, facts, 1, Arc::default(), false, None, None)
        else {
            return Ok(());
        };
        let (mut rights, tools, rt) = (self.rights()?, self.rt.parts.tools.clone(), self.rt.clone());
        let bound = self.bound();
        let wanted = CallTool {
            key: key.clone(),
            call: call.clone(),
            class: EffectClass::Pure,
            started: 0,
            ruling: None,
            approved: false,
            approved_for: None,
            waits: 0,
            changes: 0,
            rewrites: 0,
            asked: false,
            doubt_answered: false,
            undoing: false,
            judging: None,
            closed: None,
        };
        let run = async move {
            let passed = bound.pass(&wanted, &tools, &mut rights, &FromHooks::default()).await;
            let Passed::Run { tool, args, plan, quiet_git, changes, origin, confine, .. } = passed else {
                return None;
            };
            if !changes.is_nothing() {
                return None;
            }
            (context.plan, context.confine, after.origin) = (plan, confine, origin);
            if quiet_git {
                context.env = rt.quiet_git(&context.env);
            }
            match tool::run(tool, context, args, after).await {
                end @ ToolEnd::Done(_) => Some(end),
                ToolEnd::Ask(_)
                | ToolEnd::Child(_)
                | ToolEnd::Continue { .. }
                | ToolEnd::EnterPlan
                | ToolEnd::Permit { .. }
                | ToolEnd::Plan { .. }
                | ToolEnd::Wait { .. } => None,
            }
        };
        let tx = self.tx.clone();
        let task = Beside::start(async move {
            // A panic takes the usual way, and is told there.
            let end = AssertUnwindSafe(run).catch_unwind().await.unwrap_or(None);
            // A driver that is gone wants no answer.
            let _ = tx.send(Msg::Early { key, attempt, end });
        });
        self.early.calls.push(EarlyCall { call, cancel, task, end: None });
        Ok(())
    }

    /// A call that was started early has ended.
    pub(super) fn early_ended(
        &mut self,
        key: EffectKey,
        attempt: u32,
        end: Option<ToolEnd>,
    ) -> Result<(), RuntimeError> {
        let of = EffectKey { kind: EffectKind::Model, ordinal: 0, ..key.clone() };
        if !self.early.is_of(&of, attempt) {
            return Ok(());
        }
        let Some(early) = self.early.calls.get_mut(key.ordinal as usize) else { return Ok(()) };
        if self.inflight.get(&key).is_none_or(|flight| flight.stage != Stage::Early) {
            early.end = Some(end);
            return Ok(());
        }
        self.inflight.remove(&key);
        match end {
            Some(end) => self.tool_ended(key, end),
            // It takes the usual way, at the next look.
            None => {
                early.end = Some(None);
                Ok(())
            }
        }
    }

    /// The answer is here: what is not in it as it streamed has not happened.
    pub(super) fn keep_early(&mut self, answer: &ModelOutcome) {
        let calls = answer.parts.iter().filter_map(|part| match part {
            Part::ToolCall(call) => Some(call),
            Part::Text(_) | Part::Reasoning(_) | Part::Opaque(_) => None,
        });
        let same = calls.zip(&self.early.calls).take_while(|(call, early)| **call == early.call).count();
        let same = if answer.partial { 0 } else { same };
        for gone in self.early.calls.drain(same..) {
            gone.cancel.cancel();
            gone.task.abort();
        }
    }

    /// What a call that is due has come to already. `None`: it was not started early. `true`: the state moved.
    pub(super) fn take_early(&mut self, call: &CallTool) -> Result<Option<bool>, RuntimeError> {
        let of = self.early.of.as_ref();
        let here = of.is_some_and(|(of, _)| (of.turn, of.step) == (call.key.turn, call.key.step));
        let untouched = call.started == 0 && call.waits == 0 && call.changes == 0;
        let early = self.early.calls.get_mut(call.key.ordinal as usize);
        let Some(early) = early.filter(|early| here && untouched && early.call == call.call) else {
            return Ok(None);
        };
        match &mut early.end {
            Some(end) => match end.take() {
                Some(end) => {
                    self.tool_ended(call.key.clone(), end)?;
                    Ok(Some(true))
                }
                None => Ok(None),
            },
            None => {
                let (cancel, task) = (early.cancel.clone(), early.task.clone());
                let flight = InFlight { cancel, task, stage: Stage::Early };
                self.inflight.insert(call.key.clone(), flight);
                Ok(Some(false))
            }
        }
    }

    fn may_start_early(&self, call: &ToolCall) -> bool {
        let Some(turn) = self.state.machine.turn() else { return false };
        let tools = &self.rt.parts.tools;
        // Others take them as they are; what may yet be something else does not start.
        let whole = serde_json::from_str::<Value>(&call.arguments).is_ok_and(|value| value.is_object());
        let running = self.early.calls.iter().filter(|call| call.end.is_none()).count();
        // Whoever hung in the store may have been led over: what was proposed then is another's to run.
        self.holds_lease()
            && self.rt.parts.hooks.is_none()
            && !self.draining
            && !turn.is_ending()
            && !turn.is_without_tools()
            && whole
            && tools.class(call) == EffectClass::Pure
            && running < turn.limits().max_parallel_tools as usize
            && !self.secrets.finds(&call.arguments)
    }
}
