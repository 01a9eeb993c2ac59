//! A workspace for tests, and an oracle: a plain recursive read that shares nothing with the crate.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sterna_checkpoint::{CheckpointError, Checkpointer, Options, Plan, RelPath, Restored, Scope, Taken, Why};
use sterna_log::{BlobWriter, Blobs, LogError, MemoryLog};
use sterna_model::{BlobRef, Digest};
use sterna_tool::Cancel;

/// A folder, a store and a state folder.
pub struct Workspace {
    pub dir: tempfile::TempDir,
    pub state: tempfile::TempDir,
    pub store: Store,
}

impl Workspace {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir, state: tempfile::tempdir().unwrap(), store: Store::default() }
    }

    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    pub fn at(&self, path: impl AsRef<OsStr>) -> PathBuf {
        self.root().join(path.as_ref())
    }

    pub fn write(&self, path: impl AsRef<OsStr>, bytes: impl AsRef<[u8]>) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub fn chmod(&self, path: impl AsRef<OsStr>, mode: u32) {
        fs::set_permissions(self.at(path), Permissions::from_mode(mode)).unwrap();
    }

    pub fn link(&self, target: &str, path: &str) {
        symlink(target, self.at(path)).unwrap();
    }

    pub fn options(&self) -> Options {
        // Tests do not wait until their files are old.
        Options { racy_margin: Duration::ZERO, ..Options::new(self.state.path()) }
    }

    /// A new one each time: what it knows comes from the files it keeps.
    pub fn with(&self, options: Options) -> Checkpointer {
        Checkpointer::new(self.root(), Arc::new(self.store.clone()), options).unwrap()
    }

    pub fn checkpointer(&self) -> Checkpointer {
        self.with(self.options())
    }

    pub fn take(&self) -> Taken {
        self.checkpointer().take(Scope::Hot, &Cancel::new()).unwrap()
    }

    pub fn preview(&self, taken: &Taken) -> Plan {
        self.checkpointer().preview_restore(&taken.manifest, true, &Cancel::new()).unwrap()
    }

    pub fn restore(&self, taken: &Taken) -> Restored {
        let plan = self.preview(taken);
        self.carry_out(&plan).unwrap()
    }

    pub fn carry_out(&self, plan: &Plan) -> Result<Restored, CheckpointError> {
        self.checkpointer().restore(plan, false, &Cancel::new())
    }

    pub fn look(&self) -> Tree {
        look(self.root())
    }
}

/// Path, and what stands there.
pub type Tree = BTreeMap<Vec<u8>, Thing>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Thing {
    Dir(u32),
    File(u32, Vec<u8>),
    Symlink(Vec<u8>),
    Other,
}

/// Everything below a folder, `.git` too.
pub fn look(root: &Path) -> Tree {
    fn into(tree: &mut Tree, root: &Path, dir: &Path) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let found = fs::symlink_metadata(&path).unwrap();
            let mode = found.permissions().mode() & 0o7777;
            let kind = found.file_type();
            let thing = if kind.is_dir() {
                into(tree, root, &path);
                Thing::Dir(mode)
            } else if kind.is_symlink() {
                Thing::Symlink(fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec())
            } else if kind.is_fifo() || kind.is_socket() {
                Thing::Other
            } else {
                Thing::File(mode, fs::read(&path).unwrap())
            };
            let below = path.strip_prefix(root).unwrap();
            tree.insert(below.as_os_str().as_bytes().to_vec(), thing);
        }
    }
    let mut tree = Tree::new();
    into(&mut tree, root, root);
    tree
}

/// A store that counts what it is asked, and raises a signal at the n-th reading of contents.
#[derive(Clone, Default)]
pub struct Store {
    pub inner: MemoryLog,
    pub puts: Arc<AtomicU64>,
    pub lost: Option<Digest>,
    pub cancel_at: Option<(Arc<AtomicU64>, Cancel)>,
}

#[async_trait]
impl Blobs for Store {
    async fn put(&self, bytes: Bytes) -> Result<BlobRef, LogError> {
        self.puts.fetch_add(1, Ordering::SeqCst);
        self.inner.put(bytes).await
    }

    async fn get(&self, hash: &Digest) -> Result<Bytes, LogError> {
        if self.lost == Some(*hash) {
            return Err(LogError::BlobMissing(*hash));
        }
        if let Some((left, cancel)) = &self.cancel_at
            && left.fetch_sub(1, Ordering::SeqCst) == 0
        {
            cancel.cancel();
        }
        self.inner.get(hash).await
    }

    async fn has(&self, hash: &Digest) -> Result<bool, LogError> {
        Ok(self.lost != Some(*hash) && self.inner.has(hash).await?)
    }

    fn writer(&self) -> Result<Box<dyn BlobWriter>, LogError> {
        self.puts.fetch_add(1, Ordering::SeqCst);
        self.inner.writer()
    }
}

pub fn path(text: &str) -> RelPath {
    text.parse().unwrap()
}

pub fn named(skipped: &[(RelPath, Why)]) -> Vec<(String, Why)> {
    skipped.iter().map(|(path, why)| (path.to_string(), why.clone())).collect()
}

/// Runs as a user who may not do everything; in a thread of its own, whose user alone is changed.
pub fn as_nobody<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if rustix::process::geteuid().is_root() {
                rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(65_534)).unwrap();
            }
            body()
        });
        thread.join().unwrap()
    })
}
