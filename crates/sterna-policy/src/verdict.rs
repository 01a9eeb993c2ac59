//! The answer of policy: the decision, why, and what it depends on.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::{Value, json};
use sterna_model::{Bounds, Decision, Digest};

use crate::shell::ShellPlan;

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    pub decision: Decision,
    /// One sentence for people and the model.
    pub reason: String,
    /// It was decided so because of texts of strangers.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tainted: bool,
    /// The rule that decided, as it was written.
    pub rule: Option<String>,
    /// `file:line` of that rule.
    pub source: Option<String>,
    /// What the caller owes when the call runs.
    pub needs: Vec<Need>,
    /// Every rule that matched something of the call.
    pub rules: Vec<Met>,
    /// What was read from the command line, for calls with one.
    #[serde(rename = "plan")]
    pub shell: Option<ShellPlan>,
    /// What the call may change in files, whatever the decision is.
    #[serde(skip)]
    pub changes: Changes,
    /// It asks, and nothing but the mode makes it: neither a rule nor the safety floor has a say.
    #[serde(skip)]
    pub by_mode: bool,
    /// What a sandbox has to let the call's commands do, and must not, when they run.
    #[serde(skip)]
    pub bounds: Bounds,
    /// Hash of the places that the call leads to now, symlinks resolved: a yes to these is none to others.
    #[serde(skip)]
    pub effects: Digest,
}

/// What a call may change in files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Files, and folders with all beneath, that it writes or removes: absolute, symlinks resolved.
    pub paths: Vec<PathBuf>,
    /// A known program that does more than can be listed, such as a build.
    pub arbitrary: bool,
    /// Something that is not understood, and may change anything.
    pub unknown: bool,
}

impl Changes {
    /// Whether it provably changes nothing.
    pub fn is_nothing(&self) -> bool {
        self.paths.is_empty() && !self.arbitrary && !self.unknown
    }
}

impl Verdict {
    /// The object that `sterna policy explain --json` prints.
    pub fn explain(&self) -> Value {
        serde_json::to_value(self)
            .unwrap_or_else(|_| json!({"decision": self.decision.word(), "reason": self.reason}))
    }
}

/// A rule that matched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Met {
    pub decision: Decision,
    pub rule: String,
    pub source: String,
}

/// A condition of the decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// The command gets the environment `QUIET_GIT`.
    QuietGit,
}
