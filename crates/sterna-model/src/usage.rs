//! Tokens and money. The classes are disjoint, so they can be added.

use serde::{Deserialize, Serialize};

use crate::NanoUsd;

/// Tokens of one or more model calls, by class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    #[serde(default, skip_serializing_if = "is_zero")]
    pub input_uncached: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_read: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_write_5m: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_write_1h: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub output: u64,
    /// Part of `output`, marked.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reasoning: u64,
}

impl Usage {
    /// Tokens the model read.
    pub fn input(&self) -> u64 {
        self.input_uncached
            .saturating_add(self.cache_read)
            .saturating_add(self.cache_write_5m)
            .saturating_add(self.cache_write_1h)
    }

    /// Tokens read and written. `reasoning` is inside `output` and not counted twice.
    pub fn total(&self) -> u64 {
        self.input().saturating_add(self.output)
    }

    /// Adds another call's tokens.
    pub fn add(&mut self, other: &Self) {
        let sum = |a: &mut u64, b: u64| *a = a.saturating_add(b);
        sum(&mut self.input_uncached, other.input_uncached);
        sum(&mut self.cache_read, other.cache_read);
        sum(&mut self.cache_write_5m, other.cache_write_5m);
        sum(&mut self.cache_write_1h, other.cache_write_1h);
        sum(&mut self.output, other.output);
        sum(&mut self.reasoning, other.reasoning);
    }
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Usage with its price and proof.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Billed {
    pub usage: Usage,
    /// `None` when no price is known for the route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<NanoUsd>,
    /// Not told by the provider but guessed from bytes, because the call was cut.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
    /// The provider's usage object, as JSON text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
}
