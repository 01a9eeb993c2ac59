//! The port to memory: what tools, doors and the runtime ask of it, whoever keeps it.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use sterna_log::LogError;
use sterna_log::fold::Note;
use sterna_model::{EffectKey, MemoryScope, MemorySource, Millis, RecalledNote, Seq, SessionId};

/// Notes for the user, for projects and for sessions, and the search of past sessions. A host may bring its own;
/// `sterna_memory::conformance` says what it must do.
///
/// A place sees the notes of its user, of its project and of its session, and no others.
pub trait Memory: Send + Sync {
    /// Keeps a note; the one of the same name in the same scope is replaced. Durable on return. The same `once` again
    /// changes nothing.
    ///
    /// Errors: `Refused` for a note that is too large, empty, holds a secret, or has no room.
    fn remember<'a>(
        &'a self,
        at: &'a MemoryPlace,
        once: &'a str,
        note: NewNote,
    ) -> BoxFuture<'a, Result<Remembered, MemoryError>>;

    /// Forgets the note of this id, name or alias. What was forgotten; `Unknown` when there is none.
    fn forget<'a>(
        &'a self,
        at: &'a MemoryPlace,
        once: &'a str,
        reference: &'a str,
        scope: Option<MemoryScope>,
        by: &'a str,
    ) -> BoxFuture<'a, Result<Note, MemoryError>>;

    /// All notes of the place, those that nobody has used for long too, by scope and name.
    fn list<'a>(&'a self, at: &'a MemoryPlace) -> BoxFuture<'a, Result<Vec<Note>, MemoryError>>;

    /// The note of this id, name or alias; the nearest scope first: session, project, user.
    fn get<'a>(
        &'a self,
        at: &'a MemoryPlace,
        reference: &'a str,
    ) -> BoxFuture<'a, Result<Option<Note>, MemoryError>>;

    /// The notes that fit a query best, best first. They count as used. Those that nobody has used for long are
    /// not among them.
    fn search<'a>(
        &'a self,
        at: &'a MemoryPlace,
        query: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Note>, MemoryError>>;

    /// What a turn with this input is to be reminded of: few, and none rather than any. Asked when a turn starts, so
    /// it must be quick, and cost next to nothing where nothing is remembered.
    fn remind<'a>(
        &'a self,
        at: &'a MemoryPlace,
        input: &'a str,
    ) -> BoxFuture<'a, Result<Vec<RecalledNote>, MemoryError>>;

    /// Where people and models said this in other sessions of the project, best first: at most 20 places. Arguments and
    /// results of tools are not looked at.
    fn past<'a>(
        &'a self,
        at: &'a MemoryPlace,
        query: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<PastHit>, MemoryError>>;
}

/// A shared memory.
pub type SharedMemory = Arc<dyn Memory>;

/// Who asks, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryPlace {
    /// The workspace: absolute, symlinks resolved. It names the project.
    pub root: String,
    /// `None`: no session's notes.
    pub session: Option<SessionId>,
    pub now: Millis,
}

/// A note to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewNote {
    pub scope: MemoryScope,
    /// One line of at most 120 characters.
    pub name: String,
    /// 1 byte to 8 KiB.
    pub text: String,
    /// At most 16, each of at most 64 characters.
    pub tags: Vec<String>,
    /// At most 16, each of at most 120 characters.
    pub aliases: Vec<String>,
    pub source: MemorySource,
    /// Origins of texts of strangers.
    pub tainted: Vec<String>,
}

/// What became of a note that was to be kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Remembered {
    pub id: String,
    /// There was one of that name.
    pub replaced: bool,
}

/// A place where a search of sessions matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastHit {
    pub session: SessionId,
    pub title: Option<String>,
    /// The entry that matched, with at most four around it, in their order.
    pub entries: Vec<PastEntry>,
}

/// Something that was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastEntry {
    pub seq: Seq,
    /// `user`, `assistant`, or `title` for what a session is called.
    pub role: String,
    /// At most 1 KiB.
    pub text: String,
    /// It is the one that matched.
    pub matched: bool,
}

/// Why memory said no.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The text says why, and what to do.
    #[error("{0}")]
    Refused(String),
    #[error("nothing is remembered under `{0}`")]
    Unknown(String),
    #[error(transparent)]
    Log(#[from] LogError),
}

/// What a call may do with memory.
#[derive(Clone)]
pub struct MemoryAccess {
    pub memory: SharedMemory,
    pub root: String,
    /// Origins of the texts of strangers that the model had before it when it made the call.
    pub tainted: Vec<String>,
}

impl MemoryAccess {
    /// The place of the call with this key.
    pub fn place(&self, key: &EffectKey, now: Millis) -> MemoryPlace {
        MemoryPlace { root: self.root.clone(), session: Some(key.session.clone()), now }
    }
}

impl fmt::Debug for MemoryAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryAccess").field("root", &self.root).field("tainted", &self.tainted).finish()
    }
}
