//! The seam for whoever keeps the files of workspaces. The runtime knows when a checkpoint is due and what a rewind
//! means; it looks at no file itself.

use std::any::Any;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use sterna_model::{CheckpointTaken, Digest};
use sterna_tool::Cancel;

/// Keeps the files of a workspace and brings them back. Every method blocks: the runtime calls it on a thread made
/// for that, and gives a `Cancel` that is to be heard.
pub trait Checkpoints: Send + Sync {
    /// Keeps the workspace as it is. All of it is durable on return.
    fn take(&self, root: &Path, reach: &Reach, cancel: &Cancel) -> Result<CheckpointTaken, CheckpointFault>;

    /// What a restore of this checkpoint would change. Changes nothing.
    fn preview(&self, root: &Path, manifest: &Digest, cancel: &Cancel) -> Result<FilePlan, CheckpointFault>;

    /// Does what the plan says. With `force` the plan is made anew from what is there now.
    fn restore(
        &self,
        root: &Path,
        plan: &FilePlan,
        force: bool,
        cancel: &Cancel,
    ) -> Result<FilesRestored, CheckpointFault>;
}

/// A shared keeper.
pub type SharedCheckpoints = Arc<dyn Checkpoints>;

/// What an effect may change in files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// These files, these folders with all beneath, and what people work on; but no cache that tools make again.
    Paths(Vec<PathBuf>),
    /// Anything.
    Everything,
}

/// Why the files of a workspace were not kept or brought back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointFault {
    /// Files are neither as they were at the preview nor as they are to be. Nothing was changed.
    #[error("{0}")]
    Changed(String),
    #[error("{0}")]
    Failed(String),
}

/// What a restore would change, as people are shown it.
#[derive(Clone, Serialize)]
pub struct FilePlan {
    pub manifest: Digest,
    /// In the order of their paths.
    pub changes: Vec<FileChange>,
    /// What stays although the checkpoint does not know it, or cannot come back: a path and the reason.
    pub kept: Vec<(String, String)>,
    /// Files that the store has lost; a restore refuses such a plan.
    pub missing: Vec<String>,
    /// Bytes that would be written.
    pub bytes: u64,
    /// Caches that tools make again go back too.
    pub caches: bool,
    /// The plan itself, for whoever made it.
    #[serde(skip)]
    pub own: Arc<dyn Any + Send + Sync>,
}

/// One path of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileChange {
    pub path: String,
    /// `create`, `restore`, `mode` or `remove`.
    pub what: &'static str,
    /// `file`, `dir`, `symlink` or `special`.
    pub kind: &'static str,
    pub bytes: u64,
}

/// What a restore did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct FilesRestored {
    pub restored: u64,
    pub removed: u64,
    pub bytes: u64,
}

impl FilePlan {
    /// Whether the files are already as they were.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

impl fmt::Debug for FilePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FilePlan").field("manifest", &self.manifest).field("changes", &self.changes).finish()
    }
}
