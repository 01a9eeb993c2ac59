//! Calls of another life: what became of them is looked for, taken back where that can be, or said to be unknown.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use serde_json::Value;
use sterna_model::{
    Approval, Body, CallTool, EffectClass, EffectKey, InDoubtPolicy, Intended, Intent, Ruling, ToolIntent,
    ToolStatus, WaitOn,
};
use sterna_tool::SharedTool;

use super::beside::Beside;
use super::{Driver, InFlight, Msg, Stage};
use crate::effects::tool::unrun;
use crate::effects::{pipeline, tool};
use crate::{RuntimeError, strangers};

impl Driver {
    /// An intent of another life without an outcome: its class says what may be done.
    pub(super) fn in_doubt(&mut self, call: CallTool) -> Result<bool, RuntimeError> {
        let turn = self.state.turn.as_ref();
        let policy = turn.map_or(InDoubtPolicy::Report, |turn| {
            turn.in_doubt_of(&self.rt.parts.tools.unwrapped(&call.call).name)
        });
        match call.class {
            // Running it again is harmless, or leaves the world as once would.
            EffectClass::Pure | EffectClass::Idempotent => {
                self.own.insert(call.key.clone());
                Ok(true)
            }
            EffectClass::AtMostOnce | EffectClass::Compensable if call.asked => {
                self.own.insert(call.key.clone());
                Ok(true)
            }
            EffectClass::AtMostOnce | EffectClass::Compensable if !self.unknown.contains(&call.key) => {
                self.look_for(call, false)
            }
            EffectClass::Compensable if self.can_undo(&call) => self.undo(call),
            EffectClass::AtMostOnce | EffectClass::Compensable => {
                let key = call.key.clone();
                self.stage(Body::InDoubt { key: key.clone(), resolution: policy })?;
                match policy {
                    InDoubtPolicy::Rerun => {
                        self.own.insert(key);
                    }
                    InDoubtPolicy::Ask => self.ask_doubt(&call)?,
                    InDoubtPolicy::Report | InDoubtPolicy::Stop => self.report_unknown(key, "")?,
                }
                Ok(true)
            }
        }
    }

    /// Asks a person whether a call in doubt is run again. Nobody else can say so: whatever an ask does otherwise,
    /// this one waits.
    fn ask_doubt(&mut self, call: &CallTool) -> Result<(), RuntimeError> {
        let tools = &self.rt.parts.tools;
        let inner = tools.unwrapped(&call.call);
        let name = &inner.name;
        let arguments: String = inner.arguments.chars().take(DOUBT_ARGUMENTS).collect();
        let args = tools.arguments(name, &inner.arguments).unwrap_or_default();
        let own = self.state.turn.as_ref().is_some_and(|turn| turn.in_doubt_of.contains_key(name));
        let key = if own { format!("in_doubt_of.{name}") } else { "in_doubt".to_owned() };
        let approval = Approval {
            tool: name.clone(),
            summary: format!("run again: {name} {arguments}"),
            reason: format!(
                "Sterna was killed while `{name}` was running, and nobody knows whether it happened. Allowed, it is \
                 run again; denied, the model is told that its outcome is unknown"
            ),
            rule: None,
            source: Some(format!("{key} = \"ask\"")),
            preview: None,
            content: pipeline::content_of(name, &args),
            effects: None,
            untrusted: strangers::told(&self.state.transcript.untrusted()),
        };
        self.stage_wait(call.key.clone(), WaitOn::Approval(approval)).map(|_| ())
    }

    /// A person has said what becomes of a call in doubt.
    pub(super) fn doubt_answered(&mut self, call: CallTool) -> Result<bool, RuntimeError> {
        match &call.ruling {
            Some(Ruling::Deny { feedback }) => {
                let said =
                    if feedback.is_empty() { String::new() } else { format!("\nA person says: {feedback}") };
                self.report_unknown(call.key, &said)?;
            }
            Some(Ruling::Timeout) => self.report_unknown(call.key, "")?,
            Some(
                Ruling::Allow
                | Ruling::Answers(_)
                | Ruling::Edited(_)
                | Ruling::Plan { .. }
                | Ruling::Ended(_)
                | Ruling::Signal(_),
            )
            | None => {
                if self.draining {
                    return Ok(false);
                }
                self.own.insert(call.key);
            }
        }
        Ok(true)
    }

    fn report_unknown(&mut self, key: EffectKey, more: &str) -> Result<(), RuntimeError> {
        let now = self.rt.parts.env.now();
        let text = format!("{}{more}", self.unknown_text(&key));
        self.tool_outcome(key, unrun(ToolStatus::OutcomeUnknown, text, now))
    }

    /// What the model is told of a call in doubt.
    pub(super) fn unknown_text(&self, key: &EffectKey) -> String {
        match self.not_undone.get(key) {
            Some(why) => format!("{OUTCOME_UNKNOWN}\nIt could not be taken back: {why}"),
            None => OUTCOME_UNKNOWN.to_owned(),
        }
    }

    pub(super) fn can_undo(&self, call: &CallTool) -> bool {
        call.class == EffectClass::Compensable && !self.not_undone.contains_key(&call.key)
    }

    /// Takes back what a compensable call of another life may have done. The intent of that is durable before.
    pub(super) fn undo(&mut self, call: CallTool) -> Result<bool, RuntimeError> {
        let (name, key) = (call.call.name.clone(), call.key.clone());
        let Some((tool, args)) = self.rt.parts.tools.known(&call.call) else {
            self.not_undone.insert(key, format!("there is no tool `{name}` any more that knows this call"));
            return Ok(true);
        };
        if !call.undoing {
            let input = pipeline::content_of(&name, &args);
            let what =
                Intended::Undo(ToolIntent { call_id: call.call.id, name, input, sandbox: "none".into() });
            let (class, attempt) = (call.class, call.started);
            self.stage(Body::Intent(Box::new(Intent { key, class, attempt, what })))?;
            return Ok(true);
        }
        if !self.staged.is_empty() {
            // Its intent may be among them. The next look comes when they are durable.
            return Ok(false);
        }
        let Some((context, _, cancel)) = self.tool_context(&key, call.started, Arc::default(), false, None)
        else {
            return Ok(false);
        };
        // What it wrote held the values.
        let args = match crate::secrets::restored(&args, &self.secrets) {
            Ok(Some(restored)) => restored,
            Ok(None) | Err(_) => args,
        };
        let (tx, sent) = (self.tx.clone(), key.clone());
        let task = Beside::spawn(async move {
            let undone = tool::undo(tool, context, args).await;
            // A driver that is gone wants no answer.
            let _ = tx.send(Msg::Undone { key: sent, undone });
        });
        self.inflight.insert(key, InFlight { cancel, task, stage: Stage::Undoing });
        Ok(false)
    }

    /// An undo has ended.
    pub(super) fn undone(&mut self, key: EffectKey, undone: Result<(), String>) -> Result<(), RuntimeError> {
        match undone {
            Ok(()) => {
                let outcome = unrun(ToolStatus::RolledBack, ROLLED_BACK.into(), self.rt.parts.env.now());
                self.tool_outcome(key, outcome)
            }
            Err(why) => {
                self.not_undone.insert(key, why);
                Ok(())
            }
        }
    }

    /// Asks the tool what became of a call of another life, and waits for it if it still runs.
    pub(super) fn look_for(&mut self, call: CallTool, end: bool) -> Result<bool, RuntimeError> {
        let Some((tool, args)) = self.rt.parts.tools.known(&call.call) else {
            // Another version knew it.
            self.unknown.insert(call.key);
            return Ok(true);
        };
        let name = self.rt.parts.tools.unwrapped(&call.call).name.clone();
        let origin = self.origin(&tool, &name, &args);
        let Some((context, after, cancel)) =
            self.tool_context(&call.key, call.started, Arc::default(), false, origin)
        else {
            return Ok(false);
        };
        if end {
            cancel.cancel();
        }
        let (tx, key) = (self.tx.clone(), call.key.clone());
        let task = Beside::spawn(async move {
            let found = AssertUnwindSafe(tool::recover(tool, context, args, after)).catch_unwind().await;
            // A driver that is gone wants no answer.
            let _ = tx.send(Msg::Recovered { key, found: found.unwrap_or(tool::Found::Unknown) });
        });
        let flight = InFlight { cancel, task, stage: Stage::Recovering };
        self.inflight.insert(call.key, flight);
        Ok(false)
    }

    /// Where the result of a call of another life comes from, when that is text of strangers.
    fn origin(&self, tool: &SharedTool, name: &str, args: &Value) -> Option<String> {
        let turn = self.state.turn.as_ref()?;
        let cx = pipeline::plan_context(turn);
        let accesses = tool.plan(&cx, args).map(|plan| plan.accesses).unwrap_or_default();
        strangers::origin(name, tool.untrusted(args, &self.view), &accesses, &cx.roots)
    }
}

/// What the model is told of a call that was running when Sterna was killed.
const OUTCOME_UNKNOWN: &str = "outcome_unknown: Sterna was killed while this call was running. It may have happened in \
    whole, in part or not at all, and it may still be running. Look at the state of things before you do it again.";

/// What the model is told of a call that was taken back.
const ROLLED_BACK: &str = "rolled_back: Sterna was killed while this call was running, and what it may have done was \
    taken back. If it is still wanted, do it again.";

/// Characters of a call's arguments that a person is shown who is asked about it.
const DOUBT_ARGUMENTS: usize = 300;
