//! How much a model is asked to think before it answers, and in which words.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How much. Models that think are asked for nothing where nobody says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effort {
    Low,
    Medium,
    High,
}

/// How a model's API is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThinkingDialect {
    /// By a word for the effort: OpenAI's, and those of many that imitate it.
    Effort,
    /// Switched on, and by a word; how long is the model's own matter. Messages API.
    Adaptive,
    /// By a number of tokens. Older models of the Messages API and of Gemini.
    Budget,
    /// By a word for the level. Gemini from version 3 on.
    Level,
}

/// What one request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thinking {
    pub dialect: ThinkingDialect,
    pub effort: Effort,
}

impl Effort {
    pub const ALL: [Self; 3] = [Self::Low, Self::Medium, Self::High];

    pub fn word(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }

    /// Tokens, where the wire wants a number (design: 4,096).
    pub fn tokens(self) -> u32 {
        match self {
            Self::Low => 1_024,
            Self::Medium => 4_096,
            Self::High => 16_384,
        }
    }
}

impl fmt::Display for Effort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Effort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|effort| effort.word() == text);
        found.ok_or_else(|| format!("`{text}` is not an effort; it is one of low, medium and high"))
    }
}

impl ThinkingDialect {
    pub const ALL: [Self; 4] = [Self::Effort, Self::Adaptive, Self::Budget, Self::Level];

    pub fn word(self) -> &'static str {
        match self {
            Self::Effort => "effort",
            Self::Adaptive => "adaptive",
            Self::Budget => "budget",
            Self::Level => "level",
        }
    }
}

impl FromStr for ThinkingDialect {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|dialect| dialect.word() == text);
        found.ok_or_else(|| {
            format!("`{text}` is no way to ask for thinking; it is one of effort, adaptive, budget and level")
        })
    }
}
