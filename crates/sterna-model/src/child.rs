//! Child sessions: who made one, what its maker waits for, and how it ended.

use serde::{Deserialize, Serialize};

use crate::{EffectKey, NanoUsd, Route, Seq, SessionId, StopReason, TurnNo, Usage};

/// Where a child session comes from, and who it is. In its first record, so that whoever drives it knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spawned {
    /// The call that made it. The child's name is derived from it.
    pub by: EffectKey,
    /// 1 for a child of a session that a person opened.
    pub depth: u32,
    /// The kind of agent: `general`, `explore`, or a name of the user's own.
    pub agent: String,
    /// What the agent is told to be: a section of its prompt.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prompt: String,
    /// The folder of its own that it works in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worktree: Option<Box<Worktree>>,
}

/// A working folder of its own on the same repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worktree {
    /// The folder.
    pub path: String,
    /// The folder in it that stands for its maker's workspace.
    pub root: String,
    /// The top folder of the repository that it belongs to.
    pub repository: String,
    pub branch: String,
}

/// The turn of a child that a call waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildTurn {
    pub session: SessionId,
    /// The child's record of the input that the turn takes.
    pub input: Seq,
    pub agent: String,
    /// The beginning of what it was told, for people.
    pub task: String,
}

/// How a child's turn ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChildEnd {
    pub session: SessionId,
    pub input: Seq,
    /// The child's turn. Several inputs may be told of one. `None` in records of before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<TurnNo>,
    /// `None`: it finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<StopReason>,
    /// Its answer, or why it stopped.
    pub message: String,
    pub steps: u32,
    /// What it used up, with its own children: it is part of what its maker's turn used up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spent: Vec<Spent>,
    /// Relative to its root where they lie in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed_files: Vec<String>,
    /// Where the texts of strangers come from that it had before it when it answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tainted: Vec<String>,
}

/// What a child's spending is counted by, once: the turn that it is of, or the input where nobody wrote the turn down.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpentOf {
    Turn(TurnNo),
    Input(Seq),
}

impl ChildEnd {
    /// What its spending is counted by.
    pub fn spent_of(&self) -> SpentOf {
        self.turn.map_or(SpentOf::Input(self.input), SpentOf::Turn)
    }
}

/// What was used up on one route.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spent {
    pub route: Route,
    pub calls: u64,
    pub usage: Usage,
    /// `None` when a call's price is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<NanoUsd>,
}

/// A child as its maker's log knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildRef {
    pub turn: ChildTurn,
    /// Its maker does not wait: its end comes as an input.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub background: bool,
}
