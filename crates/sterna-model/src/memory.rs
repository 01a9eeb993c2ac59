//! Notes that are remembered: for the user, a project or a session.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{EffectKey, SessionId};

/// Who finds a note.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryScope {
    /// Every session of the user.
    User,
    /// Sessions in the folder of the project.
    Project,
    /// The session alone.
    Session,
}

impl MemoryScope {
    pub const ALL: [Self; 3] = [Self::User, Self::Project, Self::Session];

    pub fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Project => "project",
            Self::Session => "session",
        }
    }
}

impl fmt::Display for MemoryScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for MemoryScope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|scope| scope.word() == text);
        found
            .ok_or_else(|| format!("`{text}` is not a scope of memory; scopes are user, project and session"))
    }
}

/// What a record does to what is remembered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryChange {
    /// A note is there, or is replaced: one name is one note.
    Kept(MemoryNote),
    Forgotten {
        ids: Vec<String>,
        by: String,
    },
    /// They were recalled: what nobody uses for long is not recalled any more.
    Used {
        ids: Vec<String>,
    },
    /// What the requests of the turn that began just before show in their tail.
    Recalled {
        notes: Vec<RecalledNote>,
    },
}

/// What happened to notes, as events name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryWord {
    Kept,
    Forgotten,
    Used,
    Recalled,
}

/// A note in an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryRef {
    pub id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<MemoryScope>,
}

/// A note as it was kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryNote {
    /// `m` and hex digits; the same for the same name in the same scope.
    pub id: String,
    pub name: String,
    pub scope: MemoryScope,
    /// At most 8 KiB.
    pub text: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Other names under which it is found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    pub source: MemorySource,
    /// Origins of the texts of strangers that the model had before it when it wrote this.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tainted: Vec<String>,
}

/// Where a note comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemorySource {
    /// `model`, or the surface through which a person wrote it.
    pub by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// The call that wrote it: its records are in that session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<EffectKey>,
}

/// A note as a turn's requests show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecalledNote {
    pub id: String,
    pub scope: MemoryScope,
    pub name: String,
    /// At most 1 KiB of its text.
    pub text: String,
    /// The text goes on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tainted: Vec<String>,
}
