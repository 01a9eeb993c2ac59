//! What the log says of hooks: which occurrences of the last turn have their answer, and what there is to tell of.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sterna_model::{
    Body, Compacted, EffectResult, ErrorClass, HookAsked, HookEvent, HookRan, HookSays, Mode, Record, Seq,
    StepNo, ToolStatus, TurnNo, WaitId, WaitOn,
};

use super::happened::Happened;

/// A fold of the log: the same live, on resume and in replay.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct HookFold {
    ran: BTreeMap<String, Arc<HookSays>>,
    /// The last turn is the first one since the session was opened.
    pub first_turn: bool,
    opened: bool,
    /// The step whose model call has been answered last.
    pub answered: StepNo,
    /// How the calls of that step ended so far, by their order: status and milliseconds.
    pub ended: BTreeMap<u32, (ToolStatus, u64)>,
    /// Attempts of model calls that failed in the last turn.
    pub failures: Vec<Failure>,
    /// Waits of the last turn, and what kind they are.
    pub waits: Vec<(WaitId, Cow<'static, str>)>,
    /// Switches of the mode within the last turn: their record, the mode, and who switched.
    pub modes: Vec<(Seq, Mode, String)>,
    /// Compactions within the last turn, with their records and the steps that they came after.
    pub compacted: Vec<(Seq, StepNo, Box<Compacted>)>,
    /// The last step before which the workspace was kept.
    pub kept: Option<(TurnNo, StepNo)>,
    /// What happened round the turn.
    pub happened: Happened,
    /// Model calls that hooks were about to make, by occurrence, and of which nobody has told what became.
    asking: BTreeMap<String, (HookEvent, Vec<HookAsked>)>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Failure {
    pub step: StepNo,
    pub attempt: u32,
    pub class: ErrorClass,
    pub message: String,
}

impl HookFold {
    /// Folds one record. `in_turn`: it is one of the turn that runs.
    pub fn apply(&mut self, record: &Record, in_turn: bool) {
        self.happened.apply(record);
        match &record.body {
            Body::SessionOpened(_) => self.opened = true,
            Body::TurnStarted(_) => {
                self.first_turn = std::mem::take(&mut self.opened);
                self.ran.clear();
                self.ended.clear();
                self.failures.clear();
                self.waits.clear();
                self.modes.clear();
                self.compacted.clear();
                self.asking.clear();
                self.answered = 0;
            }
            Body::Outcome(outcome) => match &outcome.result {
                EffectResult::Model(model) => {
                    self.ended.clear();
                    self.answered = if model.partial { self.answered } else { outcome.key.step };
                }
                EffectResult::Tool(tool) => {
                    self.ended.insert(outcome.key.ordinal, (tool.status, tool.duration_ms));
                }
                EffectResult::ModelFailed(_) | EffectResult::Summary(_) | EffectResult::Judged(_) => {}
            },
            Body::Attempt(attempt) if attempt.key.kind != sterna_model::EffectKind::Model => {}
            Body::Attempt(attempt) => self.failures.push(Failure {
                step: attempt.key.step,
                attempt: attempt.attempt,
                class: attempt.failure.class,
                message: attempt.failure.message.clone(),
            }),
            Body::WaitOpened(opened) if !opened.answered => {
                let kind = match opened.on {
                    WaitOn::Approval(_) => Some("permission_prompt"),
                    WaitOn::Questions(_) => Some("question"),
                    WaitOn::Plan(_) => Some("plan"),
                    // Nobody is asked.
                    WaitOn::Child(_) | WaitOn::Timer | WaitOn::Signal { .. } => None,
                };
                self.waits.extend(kind.map(|kind| (opened.wait.clone(), Cow::Borrowed(kind))));
            }
            Body::ModeChanged { mode, by } if in_turn => {
                self.modes.push((record.seq, *mode, by.clone()));
            }
            Body::Compacted(compacted) => {
                self.compacted.push((record.seq, record.step.unwrap_or(0), compacted.clone()));
            }
            Body::CheckpointTaken(_) => self.kept = record.turn.zip(record.step).or(self.kept),
            Body::HookIntent(intent) => {
                let (_, asks) = self.asking.entry(intent.key.clone()).or_insert((intent.event, Vec::new()));
                asks.push(intent.asks.clone());
            }
            Body::HookRan(ran) => {
                let HookRan { key, says, .. } = &**ran;
                self.asking.remove(key);
                self.ran.insert(key.clone(), Arc::new(says.clone()));
            }
            _ => {}
        }
    }

    /// What hooks of this occurrence were about to ask models.
    pub fn asking(&self, key: &str) -> Vec<HookAsked> {
        self.asking.get(key).map(|(_, asks)| asks.clone()).unwrap_or_default()
    }

    /// The occurrences whose hooks were about to ask models, and have not answered.
    pub fn unanswered(&self) -> impl Iterator<Item = (&String, HookEvent, &Vec<HookAsked>)> {
        self.asking.iter().map(|(key, (event, asks))| (key, *event, asks))
    }

    /// What the hooks of this occurrence came to, if that is in the log.
    pub fn says(&self, key: &str) -> Option<&Arc<HookSays>> {
        self.ran.get(key)
    }
}
