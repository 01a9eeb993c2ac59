//! What follows a failed model call: the same route again, another one, or the end. All of it is recorded.

use sterna_llm::ladder::{self, Retry};
use sterna_model::{Attempt, Billed, Body, EffectKey, EffectResult, Outcome, ProviderFailure, Route};

use super::Driver;
use crate::RuntimeError;

impl Driver {
    /// The attempt is in the log whatever follows; the table says what does.
    pub(super) fn model_failed(
        &mut self,
        key: EffectKey,
        attempt: u32,
        mut failure: ProviderFailure,
    ) -> Result<(), RuntimeError> {
        self.price(&mut failure.billed);
        let (failures, waited) = self.attempts_so_far();
        let ending = self.state.machine.turn().is_none_or(|turn| turn.is_ending());
        let seed = seed_of(&key, attempt);
        let retry = match ladder::decide(failure.class, failures + 1, failure.retry_after_ms, waited, seed) {
            Retry::After(_) if ending => Retry::End,
            other => other,
        };
        let (wait_ms, retry_at) = match retry {
            Retry::After(ms) => (ms, Some(self.rt.parts.env.now().saturating_add(ms))),
            Retry::End => (0, None),
        };
        let route = self.route();
        let next = if retry == Retry::End && !ending { self.next_rung(&failure, &route) } else { None };
        let attempt_record = Attempt {
            key: key.clone(),
            attempt,
            route: route.clone(),
            failure: failure.clone(),
            wait_ms,
            retry_at,
        };
        self.stage(Body::Attempt(Box::new(attempt_record)))?;
        match (retry_at, next) {
            (Some(_), _) => Ok(()),
            (None, Some(next)) => {
                let said: String = failure.message.chars().take(CAUSE_CHARS).collect();
                let cause = format!("{route} failed: {}: {said}", failure.class.word());
                self.stage(Body::RouteChanged { route: next, cause, turn: Some(key.turn) })
            }
            (None, None) => {
                // What it used up stands in the attempt already.
                failure.billed = Billed::default();
                let result = EffectResult::ModelFailed(failure);
                self.stage(Body::Outcome(Box::new(Outcome { key, attempt, result })))
            }
        }
    }

    /// The route that takes over for the rest of the turn, if the turn was given one that may.
    fn next_rung(&self, failure: &ProviderFailure, failed: &Route) -> Option<Route> {
        let turn = self.state.turn.as_ref()?;
        let capped = self.is_capped_in_money();
        // A cap cannot hold where the price is not known.
        let usable = |route: &Route| {
            let info = self.rt.parts.provider.model(route);
            info.is_ok_and(|info| !capped || info.price.is_some())
        };
        ladder::next_rung(failure.class, failed, &turn.route, &turn.fallback, usable).cloned()
    }
}

/// Spreads retries without randomness: the same attempt waits the same time when its turn is driven again.
fn seed_of(key: &EffectKey, attempt: u32) -> u64 {
    let hash = blake3::hash(format!("{key}#{attempt}").as_bytes());
    let mut first = [0u8; 8];
    first.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_le_bytes(first)
}

/// Characters of a failure's message that the change of route repeats.
const CAUSE_CHARS: usize = 300;
