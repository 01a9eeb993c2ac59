//! Why something could not be imported. Every reason has a name of its own.

use sterna_log::LogError;
use sterna_model::{Digest, Seq, SessionId};

/// Why an import was given up. Nothing of it is in the store.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error(transparent)]
    Foreign(#[from] ForeignError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("cannot read it: {0}")]
    Read(#[from] std::io::Error),
    /// The records are whole, and no session could have written them.
    #[error("record {seq} of session `{session}` cannot be: {why}")]
    Unfoldable { session: SessionId, seq: Seq, why: String },
}

/// What is wrong with a bundle.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error("this is no bundle: its first line is not that of an export")]
    NotOne,
    #[error("the bundle is of version {found}, and this Sterna reads version {known}")]
    Version { found: u64, known: u32 },
    #[error("the bundle is cut: it ends without its closing line")]
    Cut,
    #[error(
        "the bundle is not what was written: its bytes hash to {found}, and its closing line says {said}"
    )]
    Changed { found: String, said: String },
    #[error("the bundle has {0} bytes after its closing line")]
    Trailing(u64),
    #[error("line {0} of the bundle is longer than a line of an export can be")]
    LongLine(u64),
    #[error("line {line} of the bundle cannot be decoded: {why}")]
    Line { line: u64, why: String },
    #[error("record {seq} of `{session}` in the bundle was tampered with: {why}")]
    Record { session: SessionId, seq: Seq, why: String },
    #[error(
        "record {seq} of `{session}` in the bundle is of version {found}, and this Sterna reads up to {known}"
    )]
    Newer { session: SessionId, seq: Seq, found: u64, known: u32 },
    #[error("the bundle says that `{session}` has {said} records, and holds {found}")]
    Count { session: SessionId, said: u64, found: u64 },
    #[error("blob {0} of the bundle holds other bytes than its name says")]
    Blob(Digest),
    #[error("blob {hash}, which record {seq} of `{session}` refers to, is not in the bundle")]
    BlobMissing { hash: Digest, session: SessionId, seq: Seq },
    #[error(
        "`{session}` forks from record {seq} of `{parent}`, which is neither in the bundle nor in the store"
    )]
    ParentMissing { session: SessionId, parent: SessionId, seq: Seq },
}

/// What is wrong with another agent's session log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForeignError {
    #[error("this is neither a Sterna bundle nor a session log of claude, codex, opencode or pi")]
    Unknown,
    #[error("this is no session log of {0}")]
    Not(&'static str),
    #[error("the session log has no message in it")]
    Empty,
}
