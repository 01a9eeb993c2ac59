//! Judging: a call that mode `auto` would ask a person about, put before a classifier.

use serde::{Deserialize, Serialize};

use crate::{Billed, BlobRef, Digest, EffectKey, Route};

/// How much a classifier may think.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JudgePass {
    /// A word: it allows what is plainly fine, and leaves the rest to the other pass.
    Quick,
    /// It may reason before it says what becomes of the call.
    Reasoned,
}

impl JudgePass {
    pub fn word(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Reasoned => "reasoned",
        }
    }
}

/// A classifier is about to be asked. Its request can be derived again from this alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JudgeIntent {
    /// The tool call that it is about.
    pub call: EffectKey,
    pub pass: JudgePass,
    /// Hash of what the call would do. The answer is about this, and about nothing that the call may become.
    pub subject: Digest,
    /// Blob: what it is asked, as JSON. No result of a tool is in it.
    pub asked: BlobRef,
    pub route: Route,
    /// Tokens it may write.
    pub max_output: u32,
    /// Name and version of the encoder.
    pub encoder: String,
    /// Hash and size of the request's body.
    pub request: Digest,
    pub bytes: u64,
    /// The provider itself holds the answer to its schema.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub schema_native: bool,
}

/// What a classifier says of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JudgeSays {
    Allow,
    Deny,
    /// A person has to say it. Whatever is no answer counts as this.
    Ask,
    /// Only of the quick pass: the other one has to say it.
    Unsure,
}

impl JudgeSays {
    pub fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Ask => "ask",
            Self::Unsure => "unsure",
        }
    }
}

/// How a call to the classifier ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    pub says: JudgeSays,
    /// In its own words: untrusted, for people and for the model that called.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Why it gave no answer that counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    pub billed: Billed,
    pub duration_ms: u64,
}

/// The last time that a call was put before a classifier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judging {
    pub key: EffectKey,
    pub intent: JudgeIntent,
    /// Attempts in the log that were lost.
    pub attempts: u32,
    /// How often a classifier was asked about this call, this time included.
    pub times: u32,
    /// `None`: it is open.
    pub judgement: Option<Judgement>,
}

impl Judging {
    /// Nobody knows yet what it says.
    pub fn is_open(&self) -> bool {
        self.judgement.is_none()
    }

    /// What it says of a call that would do this, and nothing else.
    pub fn of(&self, subject: &Digest) -> Option<&Judgement> {
        self.judgement.as_ref().filter(|_| self.intent.subject == *subject)
    }
}
