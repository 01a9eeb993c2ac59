//! Permission as data: modes, rules and grants. The decision itself is `sterna-policy`'s.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Digest, Millis};

/// How far an agent may go before it has to ask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Reads, writes in the workspace and sandboxed commands pass; the rest asks.
    #[default]
    Execute,
    /// File tools may write in the workspace; every command that writes asks.
    AcceptEdits,
    /// Whatever writes or reaches out asks.
    Ask,
    /// Ask becomes deny.
    NeverAsk,
    /// Ask becomes allow. Deny rules, the safety floor and the ceiling still hold.
    Bypass,
    /// Nothing that writes can run.
    Plan,
    /// Each write is shown to a person, who allows, edits or refuses it.
    Pair,
    /// As `execute`, but a classifier answers what the mode alone would ask.
    Auto,
}

impl Mode {
    /// All modes that are built, in the order of the documentation.
    pub const ALL: [Self; 8] = [
        Self::Execute,
        Self::AcceptEdits,
        Self::Ask,
        Self::Auto,
        Self::NeverAsk,
        Self::Bypass,
        Self::Plan,
        Self::Pair,
    ];

    /// The word in configuration, flags and events.
    pub fn word(self) -> &'static str {
        match self {
            Self::Execute => "execute",
            Self::AcceptEdits => "accept-edits",
            Self::Ask => "ask",
            Self::NeverAsk => "never-ask",
            Self::Bypass => "bypass",
            Self::Plan => "plan",
            Self::Pair => "pair",
            Self::Auto => "auto",
        }
    }
}

/// What an ask does in this turn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnAsk {
    /// A person is at the terminal.
    Prompt,
    /// The call is refused and the turn goes on.
    #[default]
    Deny,
    /// The turn stops `denied`.
    Fail,
    /// The turn is parked until somebody answers from another process.
    Park,
}

/// What a rule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    Allow,
    Ask,
    Deny,
}

impl Decision {
    pub fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Ask => "ask",
            Self::Deny => "deny",
        }
    }
}

/// Where a rule comes from, strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    Managed,
    /// Flags of the command line belong here.
    Session,
    ProjectLocal,
    Project,
    User,
    Builtin,
}

/// A rule as it was written, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleText {
    pub decision: Decision,
    /// `Tool` or `Tool(pattern)`.
    pub text: String,
    pub scope: Scope,
    /// `file:line`, or the flag that gave it.
    pub source: String,
}

/// What to do with an effect that may or may not have happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InDoubtPolicy {
    /// The model is told `outcome_unknown`.
    #[default]
    Report,
    /// A person says whether it is run again or reported. The turn is parked until then.
    Ask,
    /// Run it again, as the next attempt.
    Rerun,
    /// The turn stops `in_doubt`.
    Stop,
}

/// How long a grant lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantScope {
    /// This very call.
    Once,
    Turn,
    Session,
    /// All sessions in one folder. Stored beside them.
    Project,
    /// All sessions of the user. Stored beside them.
    User,
}

impl GrantScope {
    /// Whether it outlives its session.
    pub fn is_stored(self) -> bool {
        match self {
            Self::Once | Self::Turn | Self::Session => false,
            Self::Project | Self::User => true,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Once => "once",
            Self::Turn => "turn",
            Self::Session => "session",
            Self::Project => "project",
            Self::User => "user",
        }
    }
}

/// A permission given once: a capability bound to its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub tool: String,
    /// What was shown to the person, for example the command line.
    pub summary: String,
    pub scope: GrantScope,
    /// Hash of the tool's name and normalised arguments: another content is another grant.
    pub content: Digest,
    /// Hash of the places that the call led to when it was allowed: it covers no call that leads elsewhere. `None`:
    /// wherever it leads, as it was for grants before this was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effects: Option<Digest>,
    /// `None`: as long as its scope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Millis>,
    /// What later calls may do because of it. `None`: it answers for that very call only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permits: Option<Permits>,
}

/// Rights beyond those of a session, which a person was asked for by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permits {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PermittedPath>,
    /// `host` or `host:port`, in lower case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// They were given while texts of strangers were before the model, and hold with them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tainted: bool,
}

impl Permits {
    /// Each of them in words for people.
    pub fn told(&self) -> Vec<String> {
        let path = |one: &PermittedPath| {
            let how = match one.access {
                PathAccess::Read => "read",
                PathAccess::Write => "read and write",
            };
            let beneath = if one.beneath { " and all beneath" } else { "" };
            format!("{how} {}{beneath}", one.path.display())
        };
        let hosts = self.hosts.iter().map(|host| format!("reach {host}"));
        self.paths.iter().map(path).chain(hosts).collect()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PermittedPath {
    /// Absolute, symlinks resolved when it was asked for.
    pub path: PathBuf,
    pub access: PathAccess,
    /// All beneath it, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub beneath: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathAccess {
    Read,
    /// Reading, too.
    Write,
}

/// The level that confines commands, weakest first. A level is named only where it is known to work, and to keep writes
/// to the workspace and a `/tmp` of its own, secrets unreadable and the network to the hosts that are allowed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sandbox {
    /// Commands run with all the rights of the person.
    #[default]
    None,
    Landlock,
    Bubblewrap,
}

impl Sandbox {
    pub const ALL: [Self; 3] = [Self::None, Self::Landlock, Self::Bubblewrap];

    /// The word in configuration, flags and intents.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Landlock => "landlock",
            Self::Bubblewrap => "bubblewrap",
        }
    }

    /// Whether anything is confined at all.
    pub fn holds(self) -> bool {
        match self {
            Self::None => false,
            Self::Landlock | Self::Bubblewrap => true,
        }
    }
}

/// How somebody wants the commands of a turn to be confined.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SandboxWish {
    /// On the best level that the machine offers, which may be none.
    #[default]
    Auto,
    /// Not at all.
    None,
    /// On this level; without it, no command runs.
    Landlock,
    Bubblewrap,
    /// On the best level; without any, no command runs.
    Required,
}

impl SandboxWish {
    pub const ALL: [Self; 5] = [Self::Auto, Self::None, Self::Landlock, Self::Bubblewrap, Self::Required];

    /// The word in configuration.
    pub fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::None => "none",
            Self::Landlock => "landlock",
            Self::Bubblewrap => "bubblewrap",
            Self::Required => "required",
        }
    }

    /// Whether no command may run without a sandbox.
    pub fn is_strict(self) -> bool {
        match self {
            Self::Auto | Self::None => false,
            Self::Landlock | Self::Bubblewrap | Self::Required => true,
        }
    }

    /// Whether nothing was wished for: not written into records.
    pub fn is_auto(&self) -> bool {
        *self == Self::Auto
    }
}

/// What a confined command may do beyond the usual, and what of the usual it may not: what rules and people said of it.
/// Paths are absolute.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Bounds {
    pub writable: Vec<PathBuf>,
    pub readable: Vec<PathBuf>,
    pub read_only: Vec<PathBuf>,
    pub unreadable: Vec<PathBuf>,
    /// `host`, `host:port`, `*.host`, or `*` for any.
    pub hosts: Vec<String>,
    /// It acts through something that no sandbox around it confines, such as a service or another user.
    pub outside: bool,
}
