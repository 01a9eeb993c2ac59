//! Hooks round a compaction: they may keep one from happening, and are told when one has.

use serde_json::json;
use sterna_model::{CompactStage, Compacted, EffectKey, HookEvent, Seq, StepNo};

use super::Point;
use crate::driver::Driver;

/// A compaction that is about to begin.
pub(in crate::driver) struct About<'a> {
    pub key: &'a EffectKey,
    pub trigger: sterna_model::CompactTrigger,
    pub focus: &'a str,
    /// Tokens that the next request has, as far as they are known.
    pub tokens: u64,
}

/// What hooks say of it.
pub(in crate::driver) enum BeforeCompaction {
    Go,
    /// They are still to answer.
    Wait,
    Forbidden(String),
}

impl Driver {
    /// Asks hooks before anything is made smaller.
    pub(in crate::driver) fn before_compaction(&mut self, about: &About<'_>) -> BeforeCompaction {
        let Some(hooks) = self.rt.parts.hooks.clone() else { return BeforeCompaction::Go };
        let word = about.trigger.word();
        let more = json!({
            "trigger": word,
            "custom_instructions": about.focus,
            "tokens": about.tokens,
        });
        let ordinal = Some(about.key.ordinal.to_string());
        let point = self.point(HookEvent::PreCompact, about.key.step, word.into(), ordinal, more);
        if self.hooking.has(&point.key) {
            return BeforeCompaction::Wait;
        }
        if self.is_open(&hooks, &point) {
            if !self.draining {
                self.hooking.queue.push(point);
            }
            return BeforeCompaction::Wait;
        }
        match self.state.hooks.says(&point.key) {
            Some(says) if says.blocked => BeforeCompaction::Forbidden(says.reason.clone()),
            Some(_) | None => BeforeCompaction::Go,
        }
    }

    /// Compactions of this turn that hooks were not told of yet.
    pub(super) fn compactions(&self) -> Vec<Point> {
        let point = |(seq, step, compacted): &(Seq, StepNo, Box<Compacted>)| {
            if let (Some(frame), CompactStage::Frame) = (&compacted.frame, compacted.stage) {
                let id = frame.id.to_string();
                let seed: Vec<&String> = frame.seed.keys().collect();
                let more = json!({ "frame_id": id, "task": frame.task, "seed": seed });
                return self.point(HookEvent::FrameOpened, *step, String::new(), Some(id), more);
            }
            let trigger = compacted.trigger.word();
            let more = json!({
                "trigger": trigger,
                "stage": compacted.stage.word(),
                "tokens_before": compacted.tokens_before,
                "tokens_after": compacted.tokens_after,
            });
            self.point(HookEvent::PostCompact, *step, trigger.into(), Some(seq.to_string()), more)
        };
        self.state.hooks.compacted.iter().map(point).collect()
    }
}
