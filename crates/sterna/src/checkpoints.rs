//! Checkpoints of workspaces on this machine, kept as blobs beside the log.

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use sterna_checkpoint::{CheckpointError, Checkpointer, Options, Plan, RelPath, Scope, Taken, What, Why};
use sterna_log::{LogError, SharedBlobs};
use sterna_model::{CheckpointTaken, Digest};
use sterna_runtime::{CheckpointFault, Checkpoints, FileChange, FilePlan, FilesRestored, Reach};
use sterna_tool::Cancel;

/// Keeps workspaces as manifests over the store's blobs, with a stat cache for each in the state folder.
pub struct LocalCheckpoints {
    blobs: SharedBlobs,
    state: PathBuf,
    /// Folders of our own, which are never held and never written.
    own: Vec<PathBuf>,
    home: Option<PathBuf>,
    open: Mutex<HashMap<PathBuf, Arc<Checkpointer>>>,
}

impl LocalCheckpoints {
    /// `state`: folder of the stat caches. `own`: folders that are never part of a checkpoint. `home`: the person's
    /// home folder, which is too much to be a workspace.
    pub fn new(blobs: SharedBlobs, state: PathBuf, own: Vec<PathBuf>, home: Option<PathBuf>) -> Self {
        let real = |path: PathBuf| std::fs::canonicalize(&path).unwrap_or(path);
        let (own, home) = (own.into_iter().map(real).collect(), home.map(real));
        Self { blobs, state, own, home, open: Mutex::default() }
    }

    /// The first blob that this checkpoint needs and the store has lost or damaged, and what is wrong with it. `known`
    /// are blobs that were looked at before. Blocks, and reads all of them.
    pub fn damage(
        &self,
        manifest: &Digest,
        known: &mut HashSet<Digest>,
    ) -> Result<Option<LogError>, CheckpointFault> {
        // It reads no workspace.
        let keeper = Checkpointer::new(Path::new("/"), self.blobs.clone(), Options::new(&self.state))
            .map_err(fault)?;
        for hash in keeper.referenced(manifest).map_err(fault)? {
            if known.contains(&hash) {
                continue;
            }
            match futures::executor::block_on(self.blobs.get(&hash)) {
                Ok(_) => drop(known.insert(hash)),
                Err(error) => return Ok(Some(error)),
            }
        }
        Ok(None)
    }

    /// Every blob that this checkpoint needs; none of one whose manifest is gone. Blocks.
    pub fn holds(&self, manifest: &Digest) -> Result<Vec<Digest>, CheckpointFault> {
        // It reads no workspace.
        let keeper = Checkpointer::new(Path::new("/"), self.blobs.clone(), Options::new(&self.state))
            .map_err(fault)?;
        match keeper.referenced(manifest) {
            Err(CheckpointError::Store(LogError::BlobMissing(_))) => Ok(Vec::new()),
            other => other.map_err(fault),
        }
    }

    /// The checkpointer of a workspace; an error for folders that hold more than anybody's work.
    fn of(&self, root: &Path) -> Result<Arc<Checkpointer>, CheckpointFault> {
        let root = std::fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
        let refuse = |what: &str| {
            let text = format!("{what} is too much for a checkpoint; work in a folder of the project's own");
            Err(CheckpointFault::Failed(text))
        };
        if root.parent().is_none() {
            return refuse("the root of the file system");
        }
        if self.home.as_ref().is_some_and(|home| home.starts_with(&root)) {
            return refuse("the home folder");
        }
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = open.get(&root) {
            return Ok(known.clone());
        }
        let inside = self.own.iter().filter_map(|own| own.strip_prefix(&root).ok());
        let exclude =
            inside.filter_map(|own| RelPath::new(own.as_os_str().as_encoded_bytes()).ok()).collect();
        let options = Options { exclude, ..Options::new(&self.state) };
        let made = Arc::new(Checkpointer::new(&root, self.blobs.clone(), options).map_err(fault)?);
        open.insert(root, made.clone());
        Ok(made)
    }
}

impl Checkpoints for LocalCheckpoints {
    fn take(&self, root: &Path, reach: &Reach, cancel: &Cancel) -> Result<CheckpointTaken, CheckpointFault> {
        let keeper = self.of(root)?;
        let taken = match reach {
            Reach::Everything => keeper.take(Scope::WithCold, cancel),
            Reach::Paths(paths) => match keeper.take(Scope::Hot, cancel) {
                Ok(taken) if reaches_cold(root, paths, &taken) => keeper
                    .take(Scope::WithCold, cancel)
                    .map(|all| Taken { bytes_new: all.bytes_new.saturating_add(taken.bytes_new), ..all }),
                other => other,
            },
        };
        let taken = taken.map_err(fault)?;
        let missed: Vec<&(RelPath, Why)> = taken.skipped.iter().filter(|(_, why)| is_missed(why)).collect();
        Ok(CheckpointTaken {
            root: root.display().to_string(),
            manifest: taken.manifest,
            files: taken.files,
            bytes_new: taken.bytes_new,
            skipped: missed.len() as u64,
            skipped_names: missed.iter().take(NAMED).map(|(path, why)| format!("{path}: {why}")).collect(),
        })
    }

    fn preview(&self, root: &Path, manifest: &Digest, cancel: &Cancel) -> Result<FilePlan, CheckpointFault> {
        let keeper = self.of(root)?;
        let plan = keeper.preview_restore(manifest, true, cancel).map_err(fault)?;
        let mut changes: Vec<FileChange> = plan.steps.iter().map(|step| told(&step.change)).collect();
        changes.sort_by(|a, b| a.path.cmp(&b.path));
        let stay = |stay: &sterna_checkpoint::Stay| match stay {
            sterna_checkpoint::Stay::LeftOut { why } => why.to_string(),
            sterna_checkpoint::Stay::Created => "it was created since".to_owned(),
            sterna_checkpoint::Stay::Holds => "something that stays lies in it".to_owned(),
        };
        // What both sides leave out, such as caches, is no news.
        let kept = plan.kept.iter().filter(|(_, why)| match why {
            sterna_checkpoint::Stay::LeftOut { why } => is_missed(why),
            sterna_checkpoint::Stay::Created | sterna_checkpoint::Stay::Holds => true,
        });
        let stays = kept.chain(&plan.blocked).map(|(path, why)| (path.to_string(), stay(why)));
        let lost = plan
            .lost
            .iter()
            .map(|(path, why)| (path.to_string(), format!("it is gone and was not kept: {why}")));
        Ok(FilePlan {
            manifest: *manifest,
            changes,
            kept: stays.chain(lost).collect(),
            missing: plan.missing.iter().map(|(path, _)| path.to_string()).collect(),
            bytes: plan.bytes,
            caches: keeper.load(manifest).map_err(fault)?.scope == Scope::WithCold,
            own: Arc::new(plan),
        })
    }

    fn restore(
        &self,
        root: &Path,
        plan: &FilePlan,
        force: bool,
        cancel: &Cancel,
    ) -> Result<FilesRestored, CheckpointFault> {
        let own: &(dyn Any + Send + Sync) = &*plan.own;
        let foreign = || CheckpointFault::Failed("the plan was made by somebody else".into());
        let own = own.downcast_ref::<Plan>().ok_or_else(foreign)?;
        let done = self.of(root)?.restore(own, force, cancel).map_err(fault)?;
        Ok(FilesRestored { restored: done.restored, removed: done.removed, bytes: done.bytes })
    }
}

/// Skipped paths that a record names.
const NAMED: usize = 5;

/// Whether something that may be written lies in a cache, or holds one.
fn reaches_cold(root: &Path, paths: &[PathBuf], taken: &Taken) -> bool {
    let root = std::fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
    let cold = taken.skipped.iter().filter(|(_, why)| matches!(why, Why::Cold { .. }));
    let mut folders = cold.map(|(path, _)| root.join(path.as_path()));
    folders.any(|cold| paths.iter().any(|path| path.starts_with(&cold) || cold.starts_with(path)))
}

/// Whether people would miss it: not what tools make again, and not what no checkpoint ever holds.
fn is_missed(why: &Why) -> bool {
    match why {
        Why::Cold { .. } | Why::GitData | Why::Excluded => false,
        Why::TooBig { .. }
        | Why::TotalLimit { .. }
        | Why::TooMany
        | Why::Unreadable
        | Why::Special
        | Why::OtherFileSystem
        | Why::Changing => true,
    }
}

fn told(change: &sterna_checkpoint::Change) -> FileChange {
    let side = change.after.as_ref().or(change.before.as_ref());
    let kind = match side.map(|side| side.kind) {
        Some(sterna_checkpoint::Kind::File) | None => "file",
        Some(sterna_checkpoint::Kind::Dir) => "dir",
        Some(sterna_checkpoint::Kind::Symlink) => "symlink",
        Some(sterna_checkpoint::Kind::Special | sterna_checkpoint::Kind::LeftOut) => "special",
    };
    let what = match change.what {
        What::Created => "create",
        What::Deleted => "remove",
        What::Modified | What::Kind => "restore",
        What::Mode => "mode",
    };
    FileChange { path: change.path.to_string(), what, kind, bytes: side.map_or(0, |side| side.bytes) }
}

fn fault(error: CheckpointError) -> CheckpointFault {
    match error {
        CheckpointError::Conflict { .. } => CheckpointFault::Changed(error.to_string()),
        other => CheckpointFault::Failed(other.to_string()),
    }
}
