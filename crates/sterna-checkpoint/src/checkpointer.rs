//! One workspace, its store and its stat cache.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::executor::block_on;
use futures::future::{join_all, try_join_all};
use sterna_log::{LogError, SharedBlobs};
use sterna_model::Digest;
use sterna_tool::Cancel;

use crate::cache::{Cache, Row};
use crate::diff::{Against, Change, Side, compare, sides};
use crate::read::{Folders, Pass, hash};
use crate::root::{Root, Stamp};
use crate::walk::{Rules, Seen, walk};
use crate::{CheckpointError, Kind, Manifest, Node, RelPath, Scope, Why};

/// Takes, compares and restores checkpoints of one workspace.
pub struct Checkpointer {
    pub(crate) root: PathBuf,
    pub(crate) blobs: SharedBlobs,
    pub(crate) options: Options,
    cache: Mutex<Cache>,
}

/// Limits, and where our own things are.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folder of the stat cache. One folder serves many workspaces; inside a workspace it is left out.
    pub state: PathBuf,
    /// Never held and never written: for example where the store is, if that is in the workspace.
    pub exclude: Vec<RelPath>,
    /// Bytes of one file. 100 MiB.
    pub max_file: u64,
    /// Bytes of all files together. 2 GiB.
    pub max_total: u64,
    /// Files, folders and symlinks. 500,000.
    pub max_entries: usize,
    /// How old a file must have been when it was read, for its hash to be believed later. 2 s, the coarsest clock of
    /// a file system.
    pub racy_margin: Duration,
}

impl Options {
    /// The defaults, with this state folder.
    pub fn new(state: impl Into<PathBuf>) -> Self {
        Self {
            state: state.into(),
            exclude: Vec::new(),
            max_file: 100 << 20,
            max_total: 2 << 30,
            max_entries: 500_000,
            racy_margin: Duration::from_secs(2),
        }
    }
}

impl Checkpointer {
    /// A checkpointer of the workspace in `root`. Reads the stat cache and nothing else.
    pub fn new(root: &Path, blobs: SharedBlobs, options: Options) -> Result<Self, CheckpointError> {
        let failed = |error| CheckpointError::io("find the workspace", root, error);
        // A workspace that was removed whole can still come back to where it was.
        let root = fs::canonicalize(root).or_else(|_| std::path::absolute(root)).map_err(failed)?;
        let cache = Mutex::new(Cache::open(&options.state, &root, options.racy_margin));
        Ok(Self { root, blobs, options, cache })
    }

    /// Reads a checkpoint.
    pub fn load(&self, manifest: &Digest) -> Result<Manifest, CheckpointError> {
        let list = block_on(self.blobs.get(manifest))?;
        Manifest::decode(manifest, &list, |page| Ok(block_on(self.blobs.get(page))?))
    }

    /// Every blob that a checkpoint needs, its own included: for export, and for whoever removes blobs.
    pub fn referenced(&self, manifest: &Digest) -> Result<Vec<Digest>, CheckpointError> {
        let list = block_on(self.blobs.get(manifest))?;
        let mut hashes = Manifest::pages(manifest, &list)?;
        hashes.push(*manifest);
        for node in self.load(manifest)?.entries.values() {
            if let Node::File { hash, .. } = node {
                hashes.push(*hash);
            }
        }
        hashes.sort_unstable();
        hashes.dedup();
        Ok(hashes)
    }

    /// What changed from a checkpoint to another, or to the workspace as it is.
    pub fn diff(&self, from: &Digest, to: Against, cancel: &Cancel) -> Result<Vec<Change>, CheckpointError> {
        let from = self.load(from)?;
        let (after, locked) = match to {
            Against::Checkpoint(to) => (sides(&self.load(&to)?), Vec::new()),
            Against::Current => {
                let now = self.observe(&from, cancel)?;
                (now.sides, now.locked)
            }
        };
        let mut changes = compare(&sides(&from), &after, &locked);
        // A repository that came or went is no change of the workspace's files.
        changes.retain(|change| !change.sides().any(|side| side.left_out == Some(Why::GitData)));
        Ok(changes)
    }

    /// The workspace as it is, looked at as far as a comparison with `base` needs it.
    pub(crate) fn observe(&self, base: &Manifest, cancel: &Cancel) -> Result<Now, CheckpointError> {
        let mut now = Now::default();
        if !self.root.exists() {
            return Ok(now);
        }
        let root = Root::open(&self.root)?;
        now.root_mode = Some(root.stamp.mode);
        let rules = self.rules(&root, base.scope, Some(base));
        let mut cache = self.cache();
        let mut folders = Folders::new(&root);
        for found in walk(&root, &rules, cancel)? {
            let known = base.entries.get(&found.path);
            let Stamp { mode, size, .. } = found.stamp;
            let side = match found.what {
                Seen::Dir => Side { mode, ..Side::new(Kind::Dir) },
                Seen::Symlink(target) => Side { target: Some(target), ..Side::new(Kind::Symlink) },
                Seen::Special => Side::new(Kind::Special),
                // A folder that lost its permissions: it can be given them back, and looked into then.
                Seen::LeftOut(Why::Unreadable)
                    if found.stamp.kind == Kind::Dir && matches!(known, Some(Node::Dir { .. })) =>
                {
                    now.locked.push(found.path.clone());
                    Side { mode, ..Side::new(Kind::Dir) }
                }
                Seen::LeftOut(why) => Side { left_out: Some(why), ..Side::new(Kind::LeftOut) },
                Seen::File => {
                    let mut side = Side { mode, bytes: size, ..Side::new(Kind::File) };
                    if matches!(known, Some(Node::File { bytes, .. }) if *bytes == size) {
                        side.hash =
                            current_hash(&mut folders, &mut cache, &found.path, &found.stamp, cancel)?;
                    }
                    side
                }
            };
            now.stamps.insert(found.path.clone(), found.stamp);
            now.sides.insert(found.path, side);
        }
        cache.save();
        Ok(now)
    }

    pub(crate) fn rules<'a>(&'a self, root: &Root, scope: Scope, base: Option<&'a Manifest>) -> Rules<'a> {
        let state = fs::metadata(&self.options.state).ok().map(|found| (found.dev(), found.ino()));
        Rules {
            cold_too: scope == Scope::WithCold,
            base,
            exclude: &self.options.exclude,
            dev: root.stamp.dev,
            state,
            max_entries: self.options.max_entries,
        }
    }

    pub(crate) fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which of these blobs the store has. Asked together, as a store may answer them together.
    pub(crate) fn held(&self, hashes: &[Digest], cancel: &Cancel) -> Result<Vec<bool>, CheckpointError> {
        let mut held = Vec::with_capacity(hashes.len());
        for some in hashes.chunks(TOGETHER) {
            if cancel.is_cancelled() {
                return Err(CheckpointError::Cancelled);
            }
            let answers = block_on(join_all(some.iter().map(|hash| self.blobs.has(hash))));
            held.extend(answers.into_iter().collect::<Result<Vec<bool>, LogError>>()?);
        }
        Ok(held)
    }

    /// Puts blobs together, so that a store may make them durable in one go.
    pub(crate) fn put_all(&self, blobs: Vec<Bytes>) -> Result<(), CheckpointError> {
        let mut rest = blobs.into_iter().peekable();
        while rest.peek().is_some() {
            let some: Vec<Bytes> = rest.by_ref().take(TOGETHER).collect();
            block_on(try_join_all(some.into_iter().map(|bytes| self.blobs.put(bytes))))?;
        }
        Ok(())
    }
}

/// The workspace as it is.
#[derive(Default)]
pub(crate) struct Now {
    pub sides: BTreeMap<RelPath, Side>,
    pub stamps: BTreeMap<RelPath, Stamp>,
    /// Folders whose permissions keep us out.
    pub locked: Vec<RelPath>,
    /// `None` when there is no root any more.
    pub root_mode: Option<u32>,
}

/// The hash of a file as it is; `None` when it cannot be read, which counts as changed.
fn current_hash(
    folders: &mut Folders,
    cache: &mut Cache,
    path: &RelPath,
    stamp: &Stamp,
    cancel: &Cancel,
) -> Result<Option<Digest>, CheckpointError> {
    if let Some(known) = cache.get(path, stamp) {
        return Ok(Some(known));
    }
    let Ok(dir) = folders.of(path) else { return Ok(None) };
    match hash(dir, path.name(), u64::MAX, cancel)? {
        Ok((digest, reading)) if reading.steady => {
            cache.put(path, Row::new(&reading.stamp, reading.read_at, digest));
            Ok(Some(digest))
        }
        Ok(_) | Err(Pass::Read(_) | Pass::TooBig(_) | Pass::Unreadable | Pass::Gone) => Ok(None),
    }
}

/// Questions and blobs that go to the store at once.
const TOGETHER: usize = 128;
