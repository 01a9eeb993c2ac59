//! Compaction within a turn: when the history must become smaller before the next model call, and what is under way.
//!
//! What does not fit is measured outside. Here is only that a compaction is wanted, that its call is open, and what
//! follows when it is done.

use serde::{Deserialize, Serialize};
use sterna_model::{
    CompactIntent, CompactTrigger, Compacted, Compaction, Effect, EffectKey, EffectKind, Frame, StepNo,
    StopReason, Summary, Transition,
};

use crate::machine::{Next, key_of};
use crate::turn::{Phase, Turn};

/// Where the turn stands with its compactions.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Compacting {
    /// One must come before anything else, with what whoever asked wants kept.
    wanted: Option<(CompactTrigger, String)>,
    /// The window that is to be opened when the step is over.
    #[serde(default)]
    frame: Option<Box<Frame>>,
    /// Windows that calls of this turn have asked for.
    #[serde(default)]
    frames: u32,
    /// The call for its summary.
    open: Option<OpenSummary>,
    /// How many were tried before the next step, and which step that is.
    tried: u32,
    before: StepNo,
    /// The last answer was that the request does not fit, and one compaction was tried for it.
    overflowed: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct OpenSummary {
    key: EffectKey,
    intent: Box<CompactIntent>,
    attempts: u32,
    summary: Option<Summary>,
}

impl Compacting {
    /// A summary was asked for, and nothing came of it yet.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    pub fn want(&mut self, trigger: CompactTrigger, focus: &str) {
        self.wanted = Some((trigger, focus.to_owned()));
    }
}

impl Turn {
    /// How many compactions were tried before the next step.
    pub fn compactions(&self) -> u32 {
        if self.compacting.before == self.steps() + 1 { self.compacting.tried } else { 0 }
    }

    /// The key of the next compaction's call.
    pub fn compaction_key(&self) -> EffectKey {
        let (step, ordinal) = (self.steps() + 1, self.compactions());
        key_of(&self.session, self.number, step, EffectKind::Compact, ordinal)
    }

    /// Windows that calls of this turn have asked for.
    pub fn frames(&self) -> u32 {
        self.compacting.frames
    }

    /// A call of the open step has asked for a window, which opens when the step is over.
    pub fn awaits_frame(&self) -> bool {
        self.compacting.frame.is_some()
    }

    /// A call asks for a fresh window. The first one of a step counts.
    pub(crate) fn continue_in(&mut self, frame: &Frame) {
        if self.compacting.frame.is_none() {
            self.compacting.frame = Some(Box::new(frame.clone()));
            self.compacting.frames += 1;
            self.compacting.want(CompactTrigger::Continue, "");
        }
    }

    /// What is to be done for a compaction before all else.
    pub(crate) fn next_compaction(&self) -> Option<Next> {
        let ending = self.is_ending();
        if !matches!(self.phase, Phase::Decide(_) | Phase::Answered(_)) {
            return None;
        }
        let effect = |compaction| Some(Next::Effects(vec![Effect::Compact(compaction)]));
        match (&self.compacting.open, &self.compacting.wanted) {
            // A summary that came for a turn that ends is not used.
            (Some(open), _) if ending && open.summary.is_some() => None,
            (Some(open), _) => effect(Compaction {
                key: open.key.clone(),
                trigger: open.intent.trigger,
                focus: open.intent.focus.clone(),
                attempt: open.attempts + 1,
                intent: Some(open.intent.clone()),
                summary: open.summary.clone(),
                frame: None,
            }),
            (None, Some((trigger, focus))) if !ending => effect(Compaction {
                key: self.compaction_key(),
                trigger: *trigger,
                focus: focus.clone(),
                attempt: 1,
                intent: None,
                summary: None,
                frame: self.compacting.frame.clone(),
            }),
            (None, _) => None,
        }
    }

    pub(crate) fn compact_intent(&mut self, key: &EffectKey, intent: &CompactIntent) -> Result<(), String> {
        let due =
            matches!(self.phase, Phase::Decide(_) | Phase::Answered(_)) && self.compacting.open.is_none();
        if !due || *key != self.compaction_key() {
            return Err(format!("no compaction is due as {key}"));
        }
        let intent = Box::new(intent.clone());
        self.compacting.open = Some(OpenSummary { key: key.clone(), intent, attempts: 0, summary: None });
        Ok(())
    }

    pub(crate) fn compact_attempt(&mut self, key: &EffectKey, attempt: u32) -> Result<(), String> {
        let open = self.open_summary(key)?;
        if attempt != open.attempts + 1 {
            return Err(format!("attempt {attempt} of {key} is not due"));
        }
        open.attempts = attempt;
        Ok(())
    }

    pub(crate) fn summarised(&mut self, key: &EffectKey, summary: &Summary) -> Result<(), String> {
        self.open_summary(key)?.summary = Some(summary.clone());
        Ok(())
    }

    pub(crate) fn compacted(&mut self, compacted: &Compacted) -> Result<(), String> {
        if !matches!(self.phase, Phase::Decide(_) | Phase::Answered(_)) {
            return Err("nothing can be compacted within a step".into());
        }
        self.compaction_over();
        if compacted.trigger == CompactTrigger::Manual {
            let (before, after) = (compacted.tokens_before, compacted.tokens_after);
            let how = compacted.stage.word();
            self.phase = Phase::Answered(format!("compacted ({how}): about {before} tokens became {after}"));
        }
        if compacted.trigger == CompactTrigger::Continue {
            // What is asked now is the first request of another window.
            self.phase = Phase::Decide(Transition::Input);
        }
        Ok(())
    }

    pub(crate) fn compaction_missed(&mut self, trigger: CompactTrigger, why: &str) -> Result<(), String> {
        if !matches!(self.phase, Phase::Decide(_) | Phase::Answered(_)) {
            return Err("nothing can be compacted within a step".into());
        }
        self.compaction_over();
        match trigger {
            CompactTrigger::Manual => self.phase = Phase::Answered(format!("nothing was compacted: {why}")),
            CompactTrigger::Overflow => {
                let said = format!("the request does not fit the model's window, and {why}");
                self.end(StopReason::ContextOverflow, said, None);
            }
            CompactTrigger::Window | CompactTrigger::Continue => {}
        }
        Ok(())
    }

    /// The provider said that the request does not fit: one compaction and one retry. `false`: that was tried.
    pub(crate) fn overflow(&mut self) -> bool {
        if self.compacting.overflowed || self.is_grace() {
            return false;
        }
        self.compacting.overflowed = true;
        self.compacting.want(CompactTrigger::Overflow, "");
        true
    }

    /// A request was answered: the next that does not fit is another one.
    pub(crate) fn fitted(&mut self) {
        self.compacting.overflowed = false;
    }

    fn compaction_over(&mut self) {
        self.compacting.tried = self.compactions() + 1;
        self.compacting.before = self.steps() + 1;
        self.compacting.wanted = None;
        self.compacting.frame = None;
        self.compacting.open = None;
    }

    fn open_summary(&mut self, key: &EffectKey) -> Result<&mut OpenSummary, String> {
        let open = self.compacting.open.as_mut().filter(|open| open.key == *key && open.summary.is_none());
        open.ok_or_else(|| format!("no compaction is open for {key}"))
    }
}
