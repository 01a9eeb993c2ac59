//! How a turn ends. Every ending has a name of its own.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Why a turn stopped without finishing. The word is the same on every surface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    Cancelled,
    MaxSteps,
    NoProgress,
    BudgetTokens,
    BudgetCost,
    Deadline,
    MaxOutput,
    ContextOverflow,
    Refused,
    Denied,
    InvalidInput,
    ToolFailed,
    ProviderFailed,
    HookStopped,
    InDoubt,
    RuntimeError,
    SubmittedError,
    ToolError,
    OutputSchema,
}

impl StopReason {
    /// The name on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::MaxSteps => "max_steps",
            Self::NoProgress => "no_progress",
            Self::BudgetTokens => "budget_tokens",
            Self::BudgetCost => "budget_cost",
            Self::Deadline => "deadline",
            Self::MaxOutput => "max_output",
            Self::ContextOverflow => "context_overflow",
            Self::Refused => "refused",
            Self::Denied => "denied",
            Self::InvalidInput => "invalid_input",
            Self::ToolFailed => "tool_failed",
            Self::ProviderFailed => "provider_failed",
            Self::HookStopped => "hook_stopped",
            Self::InDoubt => "in_doubt",
            Self::RuntimeError => "runtime_error",
            Self::SubmittedError => "submitted_error",
            Self::ToolError => "tool_error",
            Self::OutputSchema => "output_schema",
        }
    }

    /// The exit code of a command that ends with this stop.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::MaxSteps
            | Self::NoProgress
            | Self::BudgetTokens
            | Self::BudgetCost
            | Self::Deadline
            | Self::MaxOutput => 3,
            Self::Denied => 4,
            Self::ProviderFailed => 5,
            Self::InDoubt => 6,
            Self::Cancelled => 130,
            Self::ContextOverflow
            | Self::Refused
            | Self::InvalidInput
            | Self::ToolFailed
            | Self::HookStopped
            | Self::RuntimeError
            | Self::SubmittedError
            | Self::ToolError
            | Self::OutputSchema => 1,
        }
    }
}

/// The terminal outcome of a turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TurnOutcome {
    Finished {
        message: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<Value>,
    },
    Stopped {
        reason: StopReason,
        /// For people: what happened, with the evidence.
        detail: String,
        /// Who asked, when the reason is `cancelled`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
}

impl TurnOutcome {
    /// The exit code of a command that ends with this outcome.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Finished { .. } => 0,
            Self::Stopped { reason, .. } => reason.exit_code(),
        }
    }
}
