//! A turn that is to use a budget of tokens goes on after its answers, until most of it is used or nothing more comes.

use serde::{Deserialize, Serialize};
use sterna_model::{Limits, Usage};

/// How far a turn has gone on to use its budget.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GoneOn {
    times: u32,
    /// Those in a row that wrote little.
    small: u32,
    /// Tokens that were written before the last of them.
    written: u64,
}

impl GoneOn {
    /// Whether an answer is gone on from. What is read again counts as used, and what is written as added.
    pub fn is_due(&self, limits: &Limits, used: &Usage) -> bool {
        let Some(budget) = limits.turn_tokens else { return false };
        let most = u128::from(budget) * 9 / 10;
        u128::from(used.total()) < most && self.times < MOST && self.small_after(used) < SMALL_IN_A_ROW
    }

    /// The turn goes on.
    pub fn begin(&mut self, used: &Usage) {
        self.small = self.small_after(used);
        self.times += 1;
        self.written = used.output;
    }

    /// There is no room to go on.
    pub fn give_up(&mut self) {
        self.times = MOST;
    }

    /// With the one that has just ended, if one has.
    fn small_after(&self, used: &Usage) -> u32 {
        let added = used.output.saturating_sub(self.written);
        if self.times > 0 && added < SMALL { self.small + 1 } else { 0 }
    }
}

/// Times that a turn goes on (design: 3).
const MOST: u32 = 3;
/// Tokens below which a continuation has added nothing worth another (design: 500).
const SMALL: u64 = 500;
/// So many of those end it (design: 2).
const SMALL_IN_A_ROW: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    /// What each answer writes, after 100 tokens that each call reads; how often the turn goes on.
    fn goes_on(budget: Option<u64>, answers: &[u64]) -> u32 {
        let limits = Limits { turn_tokens: budget, ..Limits::default() };
        let (mut gone_on, mut used) = (GoneOn::default(), Usage::default());
        for (times, written) in answers.iter().enumerate() {
            used.add(&Usage { input_uncached: 100, output: *written, ..Usage::default() });
            if !gone_on.is_due(&limits, &used) {
                return times as u32;
            }
            gone_on.begin(&used);
        }
        unreachable!("it goes on for ever")
    }

    #[test]
    fn a_turn_goes_on_until_its_budget_is_used_or_nothing_more_comes() {
        for (budget, answers, times) in [
            (None, &[10][..], 0),
            // 900 of 1,000 are used, and one less.
            (Some(1_000), &[800], 0),
            (Some(1_000), &[799, 600], 1),
            (Some(100_000), &[10, 10, 10, 10], 2),
            (Some(100_000), &[10, 499, 499, 10], 2),
            // One that writes more begins the row anew.
            (Some(100_000), &[10, 499, 500, 499, 10], 3),
            (Some(100_000), &[900, 900, 900, 900], 3),
            (Some(u64::MAX), &[900, 900, 900, 900], 3),
        ] {
            assert_eq!(goes_on(budget, answers), times, "{budget:?} {answers:?}");
        }
    }
}
