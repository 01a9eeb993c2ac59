//! Compaction: what a window cannot hold any more is shown by less, and stays in the log.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Billed, BlobRef, Digest, EffectKey, ModelIntent};

/// A record's place in its session's whole history, from 1. What a fork shares comes first; in a session that is no fork
/// it is the record's `seq`. It stays the same under another session's name.
pub type Place = u64;

/// Why a compaction came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CompactTrigger {
    /// The next request would fill too much of the window.
    Window,
    /// The provider said that the request does not fit.
    Overflow,
    /// Somebody asked for it.
    Manual,
    /// The model goes on in a fresh window: `continue_as`.
    Continue,
}

impl CompactTrigger {
    pub fn word(self) -> &'static str {
        match self {
            Self::Window => "window",
            Self::Overflow => "overflow",
            Self::Manual => "manual",
            Self::Continue => "continue",
        }
    }
}

/// How far a compaction went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CompactStage {
    /// Long results are shown by their beginning.
    Results,
    /// The oldest part is shown by a summary.
    Summary,
    /// The oldest part is shown by a reference alone.
    Cut,
    /// All of it is left behind: a task, a seed and the person's own words stand for it.
    Frame,
}

impl CompactStage {
    pub fn word(self) -> &'static str {
        match self {
            Self::Results => "results",
            Self::Summary => "summary",
            Self::Cut => "cut",
            Self::Frame => "frame",
        }
    }
}

/// A compaction that the machine wants, or that is under way.
#[derive(Debug, Clone, PartialEq)]
pub struct Compaction {
    pub key: EffectKey,
    pub trigger: CompactTrigger,
    /// What whoever asked wants kept above all.
    pub focus: String,
    /// 1, or one more than the attempts in the log.
    pub attempt: u32,
    /// The intent of its summary, if that is in the log.
    pub intent: Option<Box<CompactIntent>>,
    /// What the call for the summary gave, if that is in the log.
    pub summary: Option<Summary>,
    /// The window to be opened, where that is what is wanted.
    pub frame: Option<Box<Frame>>,
}

/// Everything from which the request for a summary can be derived again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompactIntent {
    pub trigger: CompactTrigger,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub focus: String,
    /// The last record that the summary covers.
    pub to: Place,
    /// Results are shown to it by their beginning, because the request would not fit otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut_results: bool,
    /// Tokens of the request that did not fit, as far as they are known.
    pub tokens: u64,
    pub model: ModelIntent,
}

/// How a call for a summary ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// What the model wrote; empty when it failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    pub billed: Billed,
    pub duration_ms: u64,
}

/// From here on requests carry less. The log keeps everything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Compacted {
    pub trigger: CompactTrigger,
    pub stage: CompactStage,
    /// The call that made the summary, where one was made for this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<EffectKey>,
    /// The records that requests carry no more: what `recall` is for. `None`: all are carried, and only results are
    /// cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<Archive>,
    /// The text that stands for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<BlobRef>,
    /// The person's own words that stay, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pinned: Vec<Pinned>,
    /// Results that are shown by their beginning from here on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cut: Vec<Place>,
    /// Tokens of the request before and after, as far as they are known.
    pub tokens_before: u64,
    pub tokens_after: u64,
    /// Bytes of what the history is shown by, before and after.
    pub bytes_before: u64,
    pub bytes_after: u64,
    /// Why the summariser did not do it, where it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// The window that the session is in: opened by this record where its stage is `frame`, kept by it where not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame: Option<Box<Frame>>,
}

/// A fresh window within a session: what its requests begin with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Frame {
    /// Hash of the session, the frame before it and the call that asked for it.
    pub id: Digest,
    /// What is to be done in it.
    pub task: String,
    /// Named values that are taken along.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub seed: Map<String, Value>,
}

/// The oldest part of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archive {
    pub from: Place,
    /// Inclusive.
    pub to: Place,
}

/// Words of a person, as they were said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    pub record: Place,
    pub text: String,
}
