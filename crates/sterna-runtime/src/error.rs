//! What can go wrong between a surface and a session.

use sterna_log::LogError;
use sterna_model::{SessionId, TurnNo};

/// An error of the runtime itself. A turn that stops is no error: it has an outcome.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RuntimeError {
    #[error(transparent)]
    Log(std::sync::Arc<LogError>),
    #[error("{0}")]
    Route(String),
    #[error("the log of session `{session}` cannot be folded: {detail}")]
    Fold { session: SessionId, detail: String },
    /// The log holds an effect that this Sterna does not ask for there. Nothing is asked, run or written.
    #[error("replay_mismatch at record {seq} of session `{session}`: {paths}")]
    ReplayMismatch { session: SessionId, seq: u64, paths: String },
    #[error("session `{0}` has no running turn")]
    NoTurn(SessionId),
    #[error("session `{session}` has no open question or approval `{wait}`")]
    NoWait { session: SessionId, wait: String },
    #[error("this is no key of a wait: it is cut, or another host made it")]
    ForgedKey,
    #[error("already_resolved: `{wait}` was answered before, and the first answer counts")]
    AlreadyResolved { wait: String },
    #[error("input {input} of session `{session}` was already taken by a turn, or withdrawn")]
    InputTaken { session: SessionId, input: u64 },
    #[error("session `{0}` is being driven: a turn runs or waits for an answer")]
    TurnRunning(SessionId),
    /// A call of an interrupted turn whose end is not known.
    #[error("`{tool}` was running when session `{session}` was interrupted, and may be running still")]
    InDoubt { session: SessionId, tool: String },
    #[error("session `{session}` has records 1 to {head}, not {seq}")]
    NoRecord { session: SessionId, seq: u64, head: u64 },
    /// A snapshot does not hold what the rewind goes back to. The whole log does.
    #[error("a rewind to record {to} goes behind record {from}, from which on the state was kept")]
    Forgotten { to: u64, from: u64 },
    /// Something may have been written since, and what was there before was not kept.
    #[error("the files of record {seq} were not kept: {why}")]
    NotKept { seq: u64, why: String },
    #[error("{0}")]
    FilesChanged(String),
    #[error("{0}")]
    Files(String),
    #[error("turn {turn} of session `{session}` was interrupted: {detail}")]
    Interrupted { session: SessionId, turn: TurnNo, detail: String },
    /// A defect, of Sterna or of what the host brought. What was durable is kept, and the session can be resumed.
    #[error("the session's driver panicked: {0}")]
    Panicked(String),
    #[error(transparent)]
    Attached(#[from] crate::FilesError),
    #[error("{0}")]
    Refused(String),
}

impl From<LogError> for RuntimeError {
    fn from(error: LogError) -> Self {
        Self::Log(std::sync::Arc::new(error))
    }
}

impl RuntimeError {
    /// The store's error, when it is one.
    pub fn log(&self) -> Option<&LogError> {
        match self {
            Self::Log(error) => Some(error),
            _ => None,
        }
    }
}
