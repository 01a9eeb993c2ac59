//! What the sessions of a tree may spend together: the records of the tree's own log.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{EffectKey, NanoUsd, SessionId};

/// What was spent, or may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spend {
    pub tokens: u64,
    /// `None` when a price is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<NanoUsd>,
}

/// The most that may be spent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpendCaps {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<NanoUsd>,
}

/// A call that is about to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpendWish {
    /// Tokens that the model may write at most.
    pub max_output: u32,
    /// With fewer the call is not made.
    pub least: u32,
    /// `None`: nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<WorstPrice>,
}

/// What a call costs at worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorstPrice {
    /// For reading the request.
    pub input: NanoUsd,
    /// For a million tokens of the answer.
    pub million: NanoUsd,
}

/// A change of what a tree has spent and reserved. The order of these records decides who gets what is left: whoever
/// reads them comes to the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetChange {
    /// A session asks for room before a call. The records before this one say how much it gets.
    Asked {
        key: EffectKey,
        attempt: u32,
        /// What the session has spent, by its own log, with its children.
        spent: Spend,
        /// What of that its children spent.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        children: BTreeMap<SessionId, Spend>,
        caps: SpendCaps,
        wish: SpendWish,
    },
    /// This attempt of a call, and those before it, are over or are not made: its session has spent this by now.
    Settled { key: EffectKey, attempt: u32, spent: Spend },
}

impl BudgetChange {
    /// The call that it is about.
    pub fn key(&self) -> &EffectKey {
        match self {
            Self::Asked { key, .. } | Self::Settled { key, .. } => key,
        }
    }
}
