//! What a person decides in a turn beside single calls: a plan, and whether to go on after denials.

use serde_json::json;
use sterna_model::{
    Body, CallTool, Choice, EffectKey, Grant, GrantScope, Mode, OnAsk, Permits, Question, Ruling, StopReason,
    SubmittedPlan, ToolOutcome, ToolStatus, WaitOn, wait_id,
};

use super::Driver;
use crate::RuntimeError;
use crate::effects::pipeline::content_of;
use crate::effects::tool::unrun;

impl Driver {
    /// The model wants to plan first. It needs no leave: plan mode only takes rights away.
    pub(super) fn enter_plan(&mut self, key: EffectKey) -> Result<(), RuntimeError> {
        let planning = self.mode() == Mode::Plan;
        if !planning {
            self.stage(Body::ModeChanged { mode: Mode::Plan, by: "enter_plan".into() })?;
        }
        let text = if planning { ALREADY_PLANNING } else { PLANNING };
        self.ended(key, told(ToolStatus::Ok, text.into(), self.rt.parts.env.now()))
    }

    /// A person said yes to more rights: the calls after this one have them, for as long as was shown.
    pub(super) fn permit(
        &mut self,
        key: EffectKey,
        mut permits: Permits,
        scope: GrantScope,
    ) -> Result<(), RuntimeError> {
        let tool = self.call(&key).map_or_else(String::new, |call| call.call.name.clone());
        permits.tainted = !self.state.transcript.untrusted().is_empty();
        let rights = permits.told().join("; ");
        let how_long = if scope == GrantScope::Session { "session" } else { "turn" };
        let text = format!("granted until the end of this {how_long}: {rights}");
        let content = content_of(&tool, &json!(permits));
        let summary = format!("more rights: {rights}");
        let grant = Grant {
            tool: tool.clone(),
            summary,
            scope,
            content,
            effects: None,
            expires: None,
            permits: Some(permits),
        };
        self.stage(Body::GrantGiven { grant, by: tool })?;
        self.ended(key, told(ToolStatus::Ok, text, self.rt.parts.env.now()))
    }

    /// A plan waits for a person.
    pub(super) fn submit_plan(
        &mut self,
        key: EffectKey,
        slug: String,
        content: String,
    ) -> Result<(), RuntimeError> {
        if self.mode() != Mode::Plan {
            let text = "there is nothing to approve: this session is not in plan mode. Go on with the task.";
            return self.ended(key, told(ToolStatus::Failed, text.into(), self.rt.parts.env.now()));
        }
        let after = self.state.before_plan.unwrap_or_default();
        self.open_wait(key, WaitOn::Plan(SubmittedPlan { slug, content, after }))
    }

    /// A person has answered the plan of this call. Only here does plan mode end.
    pub(super) fn plan_answered(&mut self, call: &CallTool) -> Result<bool, RuntimeError> {
        let wait = wait_id(&call.key, call.waits);
        let Some(submitted) = self.state.plan.clone().filter(|plan| call.waits > 0 && plan.wait == wait)
        else {
            return Ok(false);
        };
        let now = self.rt.parts.env.now();
        let (status, text) = match &call.ruling {
            None => return Ok(false),
            Some(Ruling::Allow | Ruling::Plan { .. }) => {
                let (mode, content) = match &call.ruling {
                    Some(Ruling::Plan { mode, content }) => {
                        (mode.unwrap_or(submitted.plan.after), content.clone())
                    }
                    _ => (submitted.plan.after, None),
                };
                if self.mode() != mode {
                    self.stage(Body::ModeChanged { mode, by: submitted.by })?;
                }
                let edited = match content.filter(|content| *content != submitted.plan.content) {
                    Some(content) => format!(" with changes. This is the plan now:\n\n{content}\n\n"),
                    None => ". ".to_owned(),
                };
                let text =
                    format!("The plan was approved{edited}The mode is `{}` now: carry it out.", mode.word());
                (ToolStatus::Ok, text)
            }
            Some(Ruling::Deny { feedback }) => {
                let said = if feedback.is_empty() { "." } else { ". They say: " };
                (ToolStatus::Failed, format!("The plan was not approved{said}{feedback}\n{STILL_PLANNING}"))
            }
            Some(Ruling::Timeout) => {
                (ToolStatus::Timeout, format!("Nobody answered to the plan in time.\n{STILL_PLANNING}"))
            }
            Some(Ruling::Answers(_) | Ruling::Edited(_) | Ruling::Ended(_) | Ruling::Signal(_)) => {
                return Ok(false);
            }
        };
        self.ended(call.key.clone(), told(status, text, now))?;
        Ok(true)
    }

    /// A call was denied. After several in a row a person is asked whether to go on, where there is one.
    pub(super) fn denied(&mut self, key: EffectKey, mut outcome: ToolOutcome) -> Result<(), RuntimeError> {
        let Some(turn) = self.state.machine.turn() else { return Ok(()) };
        let (number, row) = (turn.number, turn.denials_in_row() + 1);
        let max = turn.limits().max_consecutive_denials;
        let asks = turn.on_ask() == OnAsk::Prompt && max > 0 && row >= max && !turn.is_ending();
        let ruling = self.call(&key).and_then(|call| call.ruling.clone());
        match ruling {
            None if asks => {
                let first = outcome.view.lines().next().unwrap_or_default();
                let last: String = first.chars().take(200).collect();
                let choice = |label: &str, description: &str| Choice {
                    label: label.into(),
                    description: description.into(),
                    preview: None,
                };
                let question = Question {
                    question: format!("{row} calls in a row were denied; the last: {last}"),
                    header: "Denied".into(),
                    options: vec![
                        choice(GO_ON, "the model is told, and looks for another way"),
                        choice(STOP, "the turn ends"),
                    ],
                    multi: false,
                };
                self.open_wait(key, WaitOn::Questions(vec![question]))
            }
            Some(Ruling::Answers(answers)) => {
                let said = answers.first().map(|answer| answer.trim()).unwrap_or_default().to_owned();
                if !matches!(said.as_str(), "" | GO_ON | STOP) {
                    outcome.view.push_str(&format!("\nA person says: {said}"));
                }
                self.ended(key, outcome)?;
                if said == STOP {
                    self.stage(Body::LimitReached { turn: number, reason: StopReason::Denied })?;
                }
                Ok(())
            }
            _ => self.ended(key, outcome),
        }
    }

    /// The mode that calls are judged in.
    pub(super) fn mode(&self) -> Mode {
        self.state.mode.now()
    }
}

fn told(status: ToolStatus, text: String, now: sterna_model::Millis) -> ToolOutcome {
    let mut outcome = unrun(status, String::new(), now);
    // A plan is at most 64 KiB, and a person's words are whole.
    outcome.view = text;
    outcome
}

const PLANNING: &str = "Plan mode is on: nothing that writes can run. Look around, then call submit_plan. Only a \
    person's yes to the plan ends it.";
const ALREADY_PLANNING: &str = "Plan mode is on already. Look around, then call submit_plan.";
const STILL_PLANNING: &str = "You are still in plan mode: change the plan and submit it again.";
const GO_ON: &str = "Go on";
const STOP: &str = "Stop";
