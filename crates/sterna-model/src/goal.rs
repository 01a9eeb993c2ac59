//! Goals: what a session works towards over many turns.

use serde::{Deserialize, Serialize};

/// What a session works towards until it is reached. A session has one at most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Goal {
    /// Its name in keys: the same when what set it is done again.
    pub id: String,
    /// At most 4,000 characters.
    pub objective: String,
    /// Tokens of all kinds that may be used for it, children's included. `None`: no bound of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_budget: Option<u64>,
    /// Who set it: `cli`, `sdk`, `model`.
    pub by: String,
}

/// Where a goal stands. Only an active one is worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GoalStatus {
    Active,
    /// A person, or something that stopped its turn, halted it.
    Paused,
    /// Nothing goes forward.
    Blocked,
    /// A bound that is not its own left nothing.
    UsageLimited,
    /// Its budget is used up.
    BudgetLimited,
    Complete,
}

impl GoalStatus {
    pub fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Blocked => "blocked",
            Self::UsageLimited => "usage_limited",
            Self::BudgetLimited => "budget_limited",
            Self::Complete => "complete",
        }
    }
}

/// What a record, or a call's outcome, does to a session's goal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GoalChange {
    /// It takes the place of the one before.
    Set(Goal),
    Status {
        status: GoalStatus,
        why: String,
        by: String,
    },
    Cleared {
        by: String,
    },
}

impl GoalChange {
    /// What people and models wrote in it.
    pub fn text_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::Set(goal) => Some(&mut goal.objective),
            Self::Status { why, .. } => Some(why),
            Self::Cleared { .. } => None,
        }
    }
}

/// The longest objective, in characters.
pub const MAX_OBJECTIVE: usize = 4_000;
