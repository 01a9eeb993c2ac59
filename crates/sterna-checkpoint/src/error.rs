//! What can go wrong.

use std::path::{Path, PathBuf};

use rustix::io::Errno;
use sterna_log::LogError;
use sterna_model::Digest;

use crate::RelPath;

/// Why a checkpoint was not taken, read or restored.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error("cannot {doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Store(#[from] LogError),
    #[error("cancelled")]
    Cancelled,
    #[error("checkpoint {manifest} is damaged: {detail}")]
    Damaged { manifest: Digest, detail: String },
    #[error(
        "checkpoint {manifest} was written by a newer version of Sterna (format {found}, this one reads up to {known})"
    )]
    Newer { manifest: Digest, found: u32, known: u32 },
    #[error("`{path}` is not a path inside a workspace: {rule}")]
    BadPath { path: String, rule: &'static str },
    #[error("changed since the preview: {}; look at a new preview, or force it", some(paths))]
    Conflict { paths: Vec<RelPath> },
    #[error("the store has lost the contents of {}; nothing was changed", some(paths))]
    Missing { paths: Vec<RelPath> },
}

impl CheckpointError {
    pub(crate) fn io(doing: &'static str, path: &Path, error: impl Into<std::io::Error>) -> Self {
        Self::Io { doing, path: path.to_owned(), source: error.into() }
    }

    pub(crate) fn at(doing: &'static str, path: &RelPath, error: Errno) -> Self {
        Self::io(doing, path.as_path(), error)
    }
}

/// The first few, and how many more.
fn some(paths: &[RelPath]) -> String {
    const SHOWN: usize = 5;
    let mut text: Vec<String> = paths.iter().take(SHOWN).map(|path| format!("`{path}`")).collect();
    if paths.len() > SHOWN {
        text.push(format!("and {} more", paths.len() - SHOWN));
    }
    text.join(", ")
}
