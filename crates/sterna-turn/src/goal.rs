//! What follows for a goal when a turn has ended: a function of where it stands and of that end, never of what was said.

use sterna_model::{GoalStatus, StopReason, TurnOutcome};

/// Where an active goal stands after a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GoalStanding {
    pub token_budget: Option<u64>,
    /// Tokens that were used for it, with those of the turn.
    pub tokens: u64,
    /// Turns of its own in a row that brought nothing new.
    pub stalled: u32,
    /// Its last turn was begun.
    pub wrapping: bool,
}

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GoalNext {
    /// Another turn, which ends when so many tokens are used for the goal.
    GoOn { until: Option<u64> },
    /// A last one: it says what is done and what is left.
    WrapUp { until: u64 },
    /// It is not worked on any more.
    End { status: GoalStatus, why: String },
}

impl GoalStanding {
    pub fn after(&self, outcome: &TurnOutcome) -> GoalNext {
        let Some(budget) = self.token_budget else { return self.by_outcome(outcome, None) };
        if self.wrapping || self.tokens >= budget {
            let why = format!("{} of {budget} tokens are used", self.tokens);
            return GoalNext::End { status: GoalStatus::BudgetLimited, why };
        }
        self.by_outcome(outcome, Some(budget))
    }

    fn by_outcome(&self, outcome: &TurnOutcome, budget: Option<u64>) -> GoalNext {
        let nearly = budget.map(|budget| budget.saturating_sub(budget / 10));
        let is_near = nearly.is_some_and(|nearly| self.tokens >= nearly);
        let stop = match outcome {
            TurnOutcome::Finished { .. } => None,
            TurnOutcome::Stopped { reason, detail, .. } => Some((*reason, detail.as_str())),
        };
        if let Some((reason, detail)) = stop {
            let end = |status| GoalNext::End {
                status,
                why: format!("its turn stopped: {}: {detail}", reason.word()),
            };
            match reason {
                StopReason::Cancelled => {
                    return GoalNext::End {
                        status: GoalStatus::Paused,
                        why: "its turn was cancelled".into(),
                    };
                }
                // The turn was given what is left until the last one. A call that a crash took may find no room as it was, and
                // another turn's calls are made to fit.
                StopReason::BudgetTokens if budget.is_some() => {}
                StopReason::BudgetTokens | StopReason::BudgetCost | StopReason::Deadline => {
                    return end(GoalStatus::UsageLimited);
                }
                // Another turn can do better.
                StopReason::MaxSteps
                | StopReason::NoProgress
                | StopReason::MaxOutput
                | StopReason::OutputSchema => {}
                StopReason::ContextOverflow
                | StopReason::Refused
                | StopReason::Denied
                | StopReason::InvalidInput
                | StopReason::ToolFailed
                | StopReason::ProviderFailed
                | StopReason::HookStopped
                | StopReason::InDoubt
                | StopReason::RuntimeError
                | StopReason::SubmittedError
                | StopReason::ToolError => return end(GoalStatus::Blocked),
            }
        }
        if let (true, Some(budget)) = (is_near, budget) {
            return GoalNext::WrapUp { until: budget };
        }
        if self.stalled >= MAX_STALLED {
            let why = format!("{} turns in a row brought nothing new", self.stalled);
            return GoalNext::End { status: GoalStatus::Blocked, why };
        }
        GoalNext::GoOn { until: nearly }
    }
}

/// Turns without progress after which a goal is blocked (design: 3).
const MAX_STALLED: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_is_told_by_budget_progress_and_end() {
        let finished = || TurnOutcome::Finished { message: "so far".into(), value: None };
        let stopped = |reason| TurnOutcome::Stopped { reason, detail: "d".into(), by: None };
        let at = |tokens| GoalStanding { token_budget: Some(10_000), tokens, stalled: 0, wrapping: false };
        let end = |status, why: &str| GoalNext::End { status, why: why.into() };
        use GoalStatus::{Blocked, BudgetLimited, Paused, UsageLimited};
        for (standing, outcome, want) in [
            (at(0), finished(), GoalNext::GoOn { until: Some(9_000) }),
            (at(8_999), finished(), GoalNext::GoOn { until: Some(9_000) }),
            (at(9_000), finished(), GoalNext::WrapUp { until: 10_000 }),
            (at(9_100), stopped(StopReason::BudgetTokens), GoalNext::WrapUp { until: 10_000 }),
            (at(10_000), finished(), end(BudgetLimited, "10000 of 10000 tokens are used")),
            (
                GoalStanding { wrapping: true, ..at(9_500) },
                finished(),
                end(BudgetLimited, "9500 of 10000 tokens are used"),
            ),
            (at(5_000), stopped(StopReason::BudgetTokens), GoalNext::GoOn { until: Some(9_000) }),
            (
                GoalStanding { token_budget: None, ..at(5_000) },
                stopped(StopReason::BudgetTokens),
                end(UsageLimited, "its turn stopped: budget_tokens: d"),
            ),
            (
                at(5_000),
                stopped(StopReason::BudgetCost),
                end(UsageLimited, "its turn stopped: budget_cost: d"),
            ),
            (at(5_000), stopped(StopReason::Cancelled), end(Paused, "its turn was cancelled")),
            (at(5_000), stopped(StopReason::Denied), end(Blocked, "its turn stopped: denied: d")),
            (at(5_000), stopped(StopReason::MaxSteps), GoalNext::GoOn { until: Some(9_000) }),
            (GoalStanding { stalled: 2, ..at(5_000) }, finished(), GoalNext::GoOn { until: Some(9_000) }),
            (
                GoalStanding { stalled: 3, ..at(5_000) },
                finished(),
                end(Blocked, "3 turns in a row brought nothing new"),
            ),
            (
                GoalStanding { token_budget: None, ..at(9_999_999) },
                finished(),
                GoalNext::GoOn { until: None },
            ),
        ] {
            assert_eq!(standing.after(&outcome), want, "{standing:?} {outcome:?}");
        }
    }
}
