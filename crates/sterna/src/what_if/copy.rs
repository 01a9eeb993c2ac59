//! A copy of a workspace as it was at a record, and what became of it.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::executor::block_on;
use serde::Serialize;
use similar::TextDiff;
use sterna_blobs::LocalBlobs;
use sterna_checkpoint::{
    Against, Change, CheckpointError, Checkpointer, Kind, Options, RelPath, Scope, Side, Taken, What, Why,
};
use sterna_log::{BlobsOver, SharedBlobs};
use sterna_model::Digest;
use sterna_tool::Cancel;

/// A folder of our own that holds the copy, and what is needed to compare it. Gone with the value.
pub(super) struct Scratch {
    dir: PathBuf,
    root: PathBuf,
    exclude: Vec<RelPath>,
    blobs: SharedBlobs,
}

/// A copy that was made.
#[derive(Debug, Clone)]
pub(super) struct Filled {
    /// The copy as it was before anything ran in it.
    pub start: Digest,
    /// What is not in it, with the reason.
    pub missing: Vec<String>,
}

/// A path that was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileDiff {
    /// Relative to the workspace.
    pub path: String,
    /// `created`, `deleted`, `modified`, `mode` or `kind`.
    pub what: What,
    /// A unified diff of texts; `None` for anything else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
}

impl Scratch {
    /// An empty copy of `root`. `store` is read only; `own` are folders that no copy holds.
    pub fn new(place: &Path, root: &Path, store: SharedBlobs, own: &[PathBuf]) -> io::Result<Self> {
        sweep(place);
        let name = format!("{}-{}", std::process::id(), uuid::Uuid::now_v7());
        let dir = place.join(name);
        let private = |dir: &Path| fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        private(&dir)?;
        let dir = fs::canonicalize(dir)?;
        let blobs = Arc::new(LocalBlobs::open(dir.join("blobs")));
        let inside = own.iter().filter_map(|own| own.strip_prefix(root).ok());
        let exclude =
            inside.filter_map(|own| RelPath::new(own.as_os_str().as_encoded_bytes()).ok()).collect();
        let blobs = Arc::new(BlobsOver::new(blobs, store));
        let scratch = Self { dir, root: root.to_owned(), exclude, blobs };
        private(&scratch.files())?;
        Ok(scratch)
    }

    /// The copy.
    pub fn files(&self) -> PathBuf {
        self.dir.join("files")
    }

    /// Fills the copy from a checkpoint, or from the workspace as it is. Git's own folder is always that of now. Blocks.
    pub fn fill(&self, checkpoint: Option<Digest>) -> Result<Filled, String> {
        let mut missing = Vec::new();
        let manifest = match checkpoint {
            Some(manifest) => manifest,
            None => {
                let taken = self.take_root()?;
                let missed =
                    taken.skipped.iter().filter(|(_, why)| !matches!(why, Why::GitData | Why::Excluded));
                missing.extend(missed.map(|(path, why)| format!("{path}: {why}")));
                taken.manifest
            }
        };
        let keeper = self.keeper(&self.files()).map_err(told)?;
        let cancel = Cancel::new();
        let plan = keeper.preview_restore(&manifest, true, &cancel).map_err(told)?;
        keeper.restore(&plan, true, &cancel).map_err(told)?;
        let git = self.root.join(".git");
        if fs::symlink_metadata(&git).is_ok() {
            copy_tree(&git, &self.files().join(".git"))
                .map_err(|error| format!("cannot copy {}: {error}", git.display()))?;
        }
        let start = keeper.take(Scope::Hot, &cancel).map_err(told)?.manifest;
        Ok(Filled { start, missing })
    }

    /// What changed in the copy since it was filled. Blocks.
    pub fn changes(&self, start: &Digest) -> Result<Vec<FileDiff>, String> {
        let keeper = self.keeper(&self.files()).map_err(told)?;
        let end = keeper.take(Scope::Hot, &Cancel::new()).map_err(told)?.manifest;
        self.between(&keeper, start, &end)
    }

    /// What differs between the copy's beginning and the workspace as it is. Blocks.
    pub fn recorded(&self, start: &Digest) -> Result<Vec<FileDiff>, String> {
        let end = self.take_root()?.manifest;
        self.between(&self.keeper(&self.root).map_err(told)?, start, &end)
    }

    fn between(&self, keeper: &Checkpointer, start: &Digest, end: &Digest) -> Result<Vec<FileDiff>, String> {
        let changes = keeper.diff(start, Against::Checkpoint(*end), &Cancel::new()).map_err(told)?;
        let left_out = |side: &Side| side.kind == Kind::LeftOut;
        let seen = changes
            .into_iter()
            .filter(|change| !change.before.iter().chain(&change.after).any(left_out))
            // A folder's files say it all, but for an empty one.
            .map(|change| FileDiff {
                diff: self.text_diff(&change),
                path: change.path.to_string(),
                what: change.what,
            });
        Ok(seen.collect())
    }

    fn text_diff(&self, change: &Change) -> Option<String> {
        let text = |side: &Option<Side>| -> Option<String> {
            let Some(side) = side else { return Some(String::new()) };
            if side.kind != Kind::File || side.bytes > MAX_DIFF_BYTES {
                return None;
            }
            let bytes = block_on(self.blobs.get(&side.hash?)).ok()?;
            String::from_utf8(bytes.to_vec()).ok().filter(|text| !text.contains('\0'))
        };
        let (before, after) = (text(&change.before)?, text(&change.after)?);
        if before == after {
            return None;
        }
        let path = change.path.to_string();
        let name = |side: &Option<Side>, prefix: &str| match side {
            Some(_) => format!("{prefix}/{path}"),
            None => "/dev/null".to_owned(),
        };
        let diff = TextDiff::from_lines(&before, &after);
        let (old, new) = (name(&change.before, "a"), name(&change.after, "b"));
        Some(diff.unified_diff().context_radius(3).header(&old, &new).to_string())
    }

    fn take_root(&self) -> Result<Taken, String> {
        self.keeper(&self.root).map_err(told)?.take(Scope::Hot, &Cancel::new()).map_err(told)
    }

    fn keeper(&self, root: &Path) -> Result<Checkpointer, CheckpointError> {
        let exclude = if root == self.root { self.exclude.clone() } else { Vec::new() };
        let options = Options { exclude, ..Options::new(self.dir.join("state")) };
        Checkpointer::new(root, self.blobs.clone(), options)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove(&self.dir);
    }
}

/// Removes what processes that are gone have left.
fn sweep(place: &Path) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.split('-').next()?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            remove(&entry.path());
        }
    }
}

/// Also folders that a command took its own permissions from.
fn remove(dir: &Path) {
    if fs::remove_dir_all(dir).is_err() {
        open_folders(dir);
        // What cannot be removed now is swept by the next run.
        let _ = fs::remove_dir_all(dir);
    }
}

fn open_folders(dir: &Path) {
    use std::os::unix::fs::PermissionsExt;
    // A folder that is not ours to open cannot be removed either.
    let _ = fs::set_permissions(dir, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_folders(&entry.path());
        }
    }
}

fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    let kind = fs::symlink_metadata(from)?.file_type();
    if kind.is_symlink() {
        return symlink(fs::read_link(from)?, to);
    }
    if kind.is_file() {
        return fs::copy(from, to).map(drop);
    }
    if !kind.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy_tree(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

fn told(error: CheckpointError) -> String {
    error.to_string()
}

/// Bytes of a file up to which its diff is made.
const MAX_DIFF_BYTES: u64 = 1 << 20;
