//! Calls that are put before a classifier. Policy asks for it outside; here is only what is open and what was said.

use sterna_model::{EffectKey, EffectKind, JudgeIntent, Judgement, Judging};

use super::Turn;
use crate::call::CallState;
use crate::machine::key_of;

impl Turn {
    /// The key of the next call to a classifier.
    pub fn judge_key(&self) -> EffectKey {
        key_of(&self.session, self.number, self.step, EffectKind::Judge, self.judged)
    }

    pub(super) fn judge_intent(&mut self, key: &EffectKey, intent: &JudgeIntent) -> Result<(), String> {
        if *key != self.judge_key() {
            return Err(format!("no call to a classifier is due as {key}"));
        }
        let call = self.open_call(&intent.call)?;
        if call.state != CallState::Open || call.judging.as_ref().is_some_and(|last| last.is_open()) {
            return Err(format!("nothing is to be said of {} as {key}", intent.call));
        }
        let times = call.judging.as_ref().map_or(0, |last| last.times) + 1;
        let (key, intent) = (key.clone(), intent.clone());
        call.judging = Some(Box::new(Judging { key, intent, attempts: 0, times, judgement: None }));
        self.judged += 1;
        Ok(())
    }

    pub(super) fn judge_attempt(&mut self, key: &EffectKey, attempt: u32) -> Result<(), String> {
        let judging = self.open_judging(key)?;
        if attempt != judging.attempts + 1 {
            return Err(format!("attempt {attempt} of {key} is not due"));
        }
        judging.attempts = attempt;
        Ok(())
    }

    pub(super) fn judgement(&mut self, key: &EffectKey, judgement: &Judgement) -> Result<(), String> {
        self.open_judging(key)?.judgement = Some(judgement.clone());
        Ok(())
    }

    fn open_judging(&mut self, key: &EffectKey) -> Result<&mut Judging, String> {
        let open = |judging: &&mut Box<Judging>| judging.key == *key && judging.is_open();
        let mut all = self.calls.iter_mut().filter_map(|call| call.judging.as_mut());
        let found = all.find(open).map(|judging| &mut **judging);
        found.ok_or_else(|| format!("no classifier is asked as {key}"))
    }
}
