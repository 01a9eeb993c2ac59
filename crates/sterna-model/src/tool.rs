//! Tools as data: what is advertised, called and answered.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Attachment, BlobRef, ChildRef, Digest, Frame, GoalChange, Millis, SessionId};

/// What recovery may do with an effect that has an intent and no outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectClass {
    /// Changes nothing: runs again, needs no intent, may run beside others.
    Pure,
    /// Running it again under the same key leaves the world as once would.
    Idempotent,
    /// Never run again unless a ruling says so.
    AtMostOnce,
    /// Has an undo, which recovery runs under the same key: `Tool::undo`.
    Compensable,
}

/// A tool as the model is told of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolSpec {
    pub name: String,
    pub description: String,
    /// JSON Schema of the arguments: an object.
    pub schema: Value,
}

/// A call as the model asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    pub id: String,
    pub name: String,
    /// The arguments' JSON text as it came; it may be malformed.
    pub arguments: String,
    /// The answer was cut inside these arguments: the call is never run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

/// How a call ended. The words are also the `status` of `tool.ended`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolStatus {
    Ok,
    /// The tool ran and says that it failed.
    Failed,
    InvalidArguments,
    NotRegistered,
    NotAvailable,
    TruncatedArguments,
    /// Policy or a person said no.
    Denied,
    Timeout,
    Cancelled,
    Panicked,
    /// A crash took the answer: whether it ran is not known.
    OutcomeUnknown,
    /// A crash took the answer, and what the call may have done was taken back.
    RolledBack,
}

impl ToolStatus {
    /// Whether a call with this ending was started.
    pub fn ran(self) -> bool {
        match self {
            Self::Ok
            | Self::Failed
            | Self::Timeout
            | Self::Panicked
            | Self::OutcomeUnknown
            | Self::RolledBack => true,
            Self::InvalidArguments
            | Self::NotRegistered
            | Self::NotAvailable
            | Self::TruncatedArguments
            | Self::Denied
            | Self::Cancelled => false,
        }
    }

    /// The word in events and results.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::InvalidArguments => "invalid_arguments",
            Self::NotRegistered => "not_registered",
            Self::NotAvailable => "not_available",
            Self::TruncatedArguments => "truncated_arguments",
            Self::Denied => "denied",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Panicked => "panicked",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::RolledBack => "rolled_back",
        }
    }
}

/// What came back of a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolOutcome {
    pub status: ToolStatus,
    /// What the model sees: projected, at most 64 KiB.
    pub view: String,
    /// The whole output, where the view is not all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full: Option<BlobRef>,
    /// What the call taught or changed, for the folds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<Fact>,
    /// When it started; equal to the time of its record for calls that never ran.
    pub started_at: Millis,
    pub duration_ms: u64,
    /// Where the view comes from, when it was written by somebody whom nobody here has trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub untrusted: Option<Box<Untrusted>>,
    /// Files that the model is shown beside the view. They come from where the view comes from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
}

/// Text of strangers: a web page, an MCP server's answer, a file from outside the workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Untrusted {
    /// `web:docs.rs`, `mcp:server`, `file:/tmp/x`: the kind and the name.
    pub origin: String,
    /// Names of the injection patterns that it matches. They flag, and remove nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
}

/// Something a tool result says about the session's world.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// A file was read whole or in part at this version.
    FileRead { path: String, hash: Digest },
    /// A file was written; `before` is `None` when it was made.
    FileWritten { path: String, before: Option<Digest>, after: Digest },
    /// A file was deleted, or moved away.
    FileRemoved { path: String, before: Option<Digest> },
    /// A todo item as it is now.
    Todo(TodoItem),
    /// Deferred tools that the model was shown, by name.
    ToolsFound { names: Vec<String> },
    /// How a command ended.
    Command { exit_code: Option<i32>, signal: Option<i32>, bytes: u64 },
    /// A child was given something to do, or is waited for.
    Child(ChildRef),
    /// A child is done with.
    ChildClosed(SessionId),
    /// The session's goal, or where it stands.
    Goal(Box<GoalChange>),
    /// The turn goes on in this window.
    Continued(Box<Frame>),
}

/// One entry of the session's todo list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TodoItem {
    pub id: String,
    pub subject: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub active_form: String,
    pub status: TodoStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Ids of items that wait for this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocks: Vec<String>,
    /// Ids of items that this one waits for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked_by: Vec<String>,
    /// Free JSON object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TodoStatus {
    Pending,
    InProgress,
    Completed,
    Deleted,
}
