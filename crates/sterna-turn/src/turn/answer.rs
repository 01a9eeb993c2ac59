//! What a model's answer makes of a turn: calls, another request, the message, or an ending.

use sterna_model::{
    Checked, EffectClass, ErrorClass, ModelOutcome, ModelStop, Part, ProviderFailure, StopReason, ToolCall,
    Transition, answer_text,
};

use super::{Phase, Turn};
use crate::call::{CallState, TurnCall};
use crate::progress::cut;

impl Turn {
    pub(super) fn answered(&mut self, model: &ModelOutcome) {
        self.fitted();
        let calls: Vec<ToolCall> = model
            .parts
            .iter()
            .filter_map(|part| match part {
                Part::ToolCall(call) => Some(call.clone()),
                Part::Text(_) | Part::Reasoning(_) | Part::Opaque(_) => None,
            })
            .collect();
        let text = answer_text(&model.parts);
        if model.partial || model.stop == ModelStop::Cancelled {
            // Whoever stopped it has said why in a record before this one.
            self.end(StopReason::Cancelled, "the model call was cancelled".into(), None);
            self.phase = Phase::Decide(Transition::Input);
        } else if !calls.is_empty() {
            let classes = model.classes.iter().copied().chain(std::iter::repeat(EffectClass::AtMostOnce));
            self.calls = calls
                .into_iter()
                .zip(classes)
                .map(|(call, class)| TurnCall {
                    call,
                    class,
                    started: 0,
                    intended_at: 0,
                    state: CallState::Open,
                    ruling: None,
                    approved: false,
                    approved_for: None,
                    waits: 0,
                    asked_at: 0,
                    doubted: 0,
                    undoing: false,
                    changes: 0,
                    rewrites: 0,
                    judging: None,
                })
                .collect();
            self.phase = Phase::Tools;
            self.cut_texts.clear();
        } else if model.stop == ModelStop::Refused {
            let said =
                if text.is_empty() { "the model refused to answer".to_owned() } else { cut(&text, 1000) };
            self.end(StopReason::Refused, said, None);
            self.phase = Phase::Decide(Transition::Input);
        } else if self.grace {
            let said = if text.is_empty() {
                String::new()
            } else {
                format!("; its last words: {}", cut(&text, 1000))
            };
            self.end(StopReason::MaxSteps, format!("{}{said}", self.max_steps_detail()), None);
            self.phase = Phase::Decide(Transition::Input);
        } else if model.stop == ModelStop::MaxOutput {
            self.cut_texts.push(text);
            if self.continuations < self.limits.max_output_continuations {
                self.continuations += 1;
                self.phase = Phase::Decide(Transition::OutputContinue);
            } else {
                let n = self.continuations + 1;
                self.end(StopReason::MaxOutput, format!("{n} answers were cut by the output limit"), None);
                self.phase = Phase::Decide(Transition::Input);
            }
        } else if text.trim().is_empty() {
            if self.nudged_empty {
                self.end(StopReason::NoProgress, "the model gave an empty answer twice".into(), None);
                self.phase = Phase::Decide(Transition::Input);
            } else {
                self.nudged_empty = true;
                self.phase = Phase::Decide(Transition::Nudge);
            }
        } else {
            let mut message = std::mem::take(&mut self.cut_texts).concat();
            message.push_str(&text);
            self.final_answer(message, model.checked.as_ref());
        }
    }

    fn final_answer(&mut self, message: String, checked: Option<&Checked>) {
        let unchecked = ["the answer was not held against the schema".to_owned()];
        let errors = match (self.schema, checked) {
            (false, _) => None,
            (true, Some(Checked::Value(value))) => {
                self.value = Some(value.clone());
                None
            }
            (true, Some(Checked::Errors(errors))) => Some(errors.as_slice()),
            (true, None) => Some(unchecked.as_slice()),
        };
        match errors {
            None => self.phase = Phase::Answered(message),
            Some(_) if self.repairs < MAX_REPAIRS => {
                self.repairs += 1;
                self.phase = Phase::Decide(Transition::Repair);
            }
            Some(errors) => {
                let n = self.repairs + 1;
                let detail = format!("{n} answers did not fit the schema; the last: {}", errors.join("; "));
                self.end(StopReason::OutputSchema, cut(&detail, 1000), None);
                self.phase = Phase::Decide(Transition::Input);
            }
        }
    }

    pub(super) fn failed(&mut self, failure: &ProviderFailure) {
        if failure.class == ErrorClass::ContextOverflow
            && self.ending.is_none()
            && let Phase::Model(model) = &self.phase
        {
            let transition = model.intent.transition;
            if self.overflow() {
                self.phase = Phase::Decide(transition);
                return;
            }
        }
        let reason = match failure.class {
            ErrorClass::ContextOverflow => StopReason::ContextOverflow,
            ErrorClass::ContentFilter => StopReason::Refused,
            _ => StopReason::ProviderFailed,
        };
        self.end(reason, format!("{}: {}", failure.class.word(), failure.message), None);
        self.phase = Phase::Decide(Transition::Input);
    }
}

/// Times that an answer which does not fit the schema is sent back (design: 3 repairs).
const MAX_REPAIRS: u32 = 3;
