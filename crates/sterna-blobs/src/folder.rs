//! The folder.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use sterna_log::{BlobWriter, Blobs, LogError, digest};
use sterna_model::{BlobRef, Digest};

use crate::io_error;

/// Blobs as files of one folder. Many processes may write the same one at once.
#[derive(Debug, Clone)]
pub struct LocalBlobs {
    dir: PathBuf,
}

impl LocalBlobs {
    /// A store in this folder. Nothing is made before the first blob.
    pub fn open(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Keeps the bytes; durable on return.
    pub fn keep(&self, bytes: &[u8]) -> Result<BlobRef, LogError> {
        let reference = BlobRef { hash: digest(bytes), bytes: bytes.len() as u64 };
        if self.holds(&reference)? {
            return Ok(reference);
        }
        let mut file = Temp::create(&self.dir)?;
        file.write(bytes)?;
        self.name(file, reference)
    }

    /// The whole blob. `Damaged` when its bytes are no longer those of its hash.
    pub fn load(&self, hash: &Digest) -> Result<Bytes, LogError> {
        let path = self.path(hash);
        let bytes = fs::read(&path).map_err(|error| missing_or(hash, &path, &error))?;
        if digest(&bytes) != *hash {
            return Err(damaged(hash));
        }
        Ok(bytes.into())
    }

    /// At most `len` bytes from `offset`, without reading the rest; so the hash is not checked.
    pub fn load_range(&self, hash: &Digest, offset: u64, len: u64) -> Result<Bytes, LogError> {
        let path = self.path(hash);
        let failed = |error: std::io::Error| missing_or(hash, &path, &error);
        let mut file = File::open(&path).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        let len = len.min(size.saturating_sub(offset));
        if len == 0 {
            return Ok(Bytes::new());
        }
        file.seek(SeekFrom::Start(offset)).map_err(failed)?;
        let mut bytes = Vec::new();
        file.take(len).read_to_end(&mut bytes).map_err(failed)?;
        Ok(bytes.into())
    }

    /// All blobs that have a name, with their sizes.
    pub fn list(&self) -> Result<Vec<BlobRef>, LogError> {
        let mut found = Vec::new();
        let mut waiting = vec![self.dir.clone()];
        while let Some(dir) = waiting.pop() {
            let entries = match fs::read_dir(&dir) {
                Ok(entries) => entries,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(io_error("list", &dir, &error)),
            };
            for entry in entries {
                let entry = entry.map_err(|error| io_error("list", &dir, &error))?;
                let (path, name) = (entry.path(), entry.file_name());
                let Some(name) = name.to_str() else { continue };
                if name.len() == 2 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    waiting.push(path);
                } else if let Some(hash) = name.parse().ok().filter(|hash| self.path(hash) == path) {
                    // One that is gone meanwhile is no blob.
                    found.extend(entry.metadata().ok().map(|found| BlobRef { hash, bytes: found.len() }));
                }
            }
        }
        Ok(found)
    }

    /// Removes a blob. One that is not here is no error.
    pub fn remove(&self, hash: &Digest) -> Result<(), LogError> {
        let path = self.path(hash);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(io_error("remove", &path, &error)),
            _ => Ok(()),
        }
    }

    /// Whether there is a file for this hash.
    pub fn contains(&self, hash: &Digest) -> Result<bool, LogError> {
        let path = self.path(hash);
        path.try_exists().map_err(|error| io_error("look for", &path, &error))
    }

    /// A writer that hashes as it goes.
    pub fn start(&self) -> Result<LocalWriter, LogError> {
        let file = Temp::create(&self.dir)?;
        Ok(LocalWriter { store: self.clone(), file, hasher: blake3::Hasher::new(), bytes: 0 })
    }

    /// Where a blob is, or would be.
    pub fn path(&self, hash: &Digest) -> PathBuf {
        let hex = hash.to_string();
        self.dir.join(&hex[..2]).join(&hex[2..4]).join(&hex)
    }

    /// Whether the blob is here, whole and under a durable name. A damaged one is written anew.
    fn holds(&self, reference: &BlobRef) -> Result<bool, LogError> {
        let path = self.path(&reference.hash);
        let Ok(found) = fs::metadata(&path) else { return Ok(false) };
        if found.len() != reference.bytes || self.load(&reference.hash).is_err() {
            return Ok(false);
        }
        // Another process may have named it and not yet made the name durable.
        sync_dir(path.parent().unwrap_or(&self.dir))?;
        Ok(true)
    }

    /// Gives a written file its name: first its bytes are durable, then the name is.
    fn name(&self, file: Temp, reference: BlobRef) -> Result<BlobRef, LogError> {
        let path = self.path(&reference.hash);
        file.sync()?;
        let dir = path.parent().unwrap_or(&self.dir);
        make_dirs(dir, &self.dir)?;
        file.rename(&path)?;
        sync_dir(dir)?;
        Ok(reference)
    }
}

#[async_trait]
impl Blobs for LocalBlobs {
    async fn put(&self, bytes: Bytes) -> Result<BlobRef, LogError> {
        self.keep(&bytes)
    }

    async fn get(&self, hash: &Digest) -> Result<Bytes, LogError> {
        self.load(hash)
    }

    async fn get_range(&self, hash: &Digest, offset: u64, len: u64) -> Result<Bytes, LogError> {
        self.load_range(hash, offset, len)
    }

    async fn has(&self, hash: &Digest) -> Result<bool, LogError> {
        self.contains(hash)
    }

    fn writer(&self) -> Result<Box<dyn BlobWriter>, LogError> {
        Ok(Box::new(self.start()?))
    }
}

/// Bytes on their way to a file.
#[derive(Debug)]
pub struct LocalWriter {
    store: LocalBlobs,
    file: Temp,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl BlobWriter for LocalWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<(), LogError> {
        self.file.write(bytes)?;
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<BlobRef, LogError> {
        let Self { store, file, hasher, bytes } = *self;
        let reference = BlobRef { hash: Digest(*hasher.finalize().as_bytes()), bytes };
        if store.holds(&reference)? {
            return Ok(reference);
        }
        store.name(file, reference)
    }
}

/// A file without a name of its own yet. Removed when dropped.
#[derive(Debug)]
struct Temp {
    file: File,
    path: PathBuf,
    named: bool,
}

impl Temp {
    fn create(store: &Path) -> Result<Self, LogError> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let dir = store.join("tmp");
        make_dirs(&dir, store)?;
        // Another process of the same id, in another container on the same folder, may have the same name.
        for _ in 0..1_000 {
            let count = COUNTER.fetch_add(1, Ordering::Relaxed);
            let path = dir.join(format!("{}-{count}", std::process::id()));
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
                Ok(file) => return Ok(Self { file, path, named: false }),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(io_error("create", &path, &error)),
            }
        }
        Err(LogError::Io(format!("{} is full of abandoned files", dir.display())))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), LogError> {
        self.file.write_all(bytes).map_err(|error| io_error("write", &self.path, &error))
    }

    fn sync(&self) -> Result<(), LogError> {
        self.file.sync_all().map_err(|error| io_error("sync", &self.path, &error))
    }

    fn rename(mut self, to: &Path) -> Result<(), LogError> {
        fs::rename(&self.path, to).map_err(|error| io_error("name", to, &error))?;
        self.named = true;
        Ok(())
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if !self.named {
            // A file that stays behind costs space and nothing else.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes a folder below `root`, and every name on the way durable.
fn make_dirs(dir: &Path, root: &Path) -> Result<(), LogError> {
    if dir.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| io_error("create", dir, &error))?;
    // The names of the new folders are in the folders above them, up to the one that holds the store.
    for above in dir.ancestors().skip(1).take_while(|above| above.starts_with(root)) {
        sync_dir(above)?;
    }
    root.parent().filter(|top| top.is_dir()).map_or(Ok(()), sync_dir)
}

fn sync_dir(dir: &Path) -> Result<(), LogError> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(|error| io_error("sync", dir, &error))
}

fn missing_or(hash: &Digest, path: &Path, error: &std::io::Error) -> LogError {
    if error.kind() == ErrorKind::NotFound {
        return LogError::BlobMissing(*hash);
    }
    io_error("read", path, error)
}

fn damaged(hash: &Digest) -> LogError {
    LogError::Damaged(format!("blob {hash} holds other bytes than it was given; restore it from a backup"))
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn blobs_are_listed_and_removed_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = LocalBlobs::open(dir.path().join("blobs"));
        assert_eq!(blobs.list().unwrap(), []);
        let mut kept = [blobs.keep(b"one").unwrap(), blobs.keep(b"three").unwrap()];
        // A blob on its way, a stranger, and a blob where it does not belong.
        let _writing = blobs.start().unwrap();
        let stray = dir.path().join("blobs").join(kept[0].hash.to_string());
        fs::write(&stray, "x").unwrap();
        fs::write(dir.path().join("blobs/notes.txt"), "x").unwrap();
        let mut listed = blobs.list().unwrap();
        listed.sort_by_key(|blob| blob.bytes);
        kept.sort_by_key(|blob| blob.bytes);
        assert_eq!(listed, kept);
        blobs.remove(&kept[0].hash).unwrap();
        blobs.remove(&kept[0].hash).unwrap();
        assert_eq!(blobs.list().unwrap(), kept[1..]);
        assert!(stray.exists());
    }

    #[test]
    fn blobs_are_files_by_their_hash() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = LocalBlobs::open(dir.path().join("a/b"));
        let kept = blobs.keep(b"hello").unwrap();
        // The hash that `b3sum` gives.
        let hex = "ea8f163db38682925e4491c5e58d4bb3506ef8c14eb78a86e908c5624a67200f";
        assert_eq!((kept.hash.to_string().as_str(), kept.bytes), (hex, 5));
        let path = dir.path().join("a/b/ea/8f").join(hex);
        assert_eq!(fs::read(&path).unwrap(), b"hello");
        assert_eq!(blobs.load(&kept.hash).unwrap(), "hello");
        assert_eq!(leftovers(&blobs), 0);
    }

    #[test]
    fn a_changed_file_is_damaged_and_healed_by_its_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = LocalBlobs::open(dir.path());
        let kept = blobs.keep(b"hello").unwrap();
        for wrong in [&b"jello"[..], b"", b"hello there"] {
            fs::write(blobs.path(&kept.hash), wrong).unwrap();
            assert!(matches!(blobs.load(&kept.hash), Err(LogError::Damaged(_))));
            blobs.keep(b"hello").unwrap();
            assert_eq!(blobs.load(&kept.hash).unwrap(), "hello");
        }
        assert!(matches!(blobs.load(&Digest::ZERO), Err(LogError::BlobMissing(_))));
    }

    #[test]
    fn ranges_do_not_need_the_whole() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = LocalBlobs::open(dir.path());
        let kept = blobs.keep(b"0123456789").unwrap();
        let cases =
            [(0, 3, "012"), (8, 9, "89"), (10, 1, ""), (99, 1, ""), (2, 0, ""), (0, u64::MAX, "0123456789")];
        for (offset, len, expected) in cases {
            assert_eq!(blobs.load_range(&kept.hash, offset, len).unwrap(), expected);
        }
    }

    #[test]
    fn many_may_write_the_same_blob() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = LocalBlobs::open(dir.path());
        let bytes = vec![5u8; 100_000];
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        let mut writer = Box::new(blobs.start().unwrap());
                        bytes.chunks(7_001).for_each(|chunk| writer.write(chunk).unwrap());
                        assert_eq!(writer.finish().unwrap().hash, digest(&bytes));
                        blobs.keep(&bytes).unwrap();
                    }
                });
            }
        });
        assert_eq!(blobs.load(&digest(&bytes)).unwrap(), bytes);
        assert_eq!(leftovers(&blobs), 0);
    }

    #[test]
    fn a_writer_that_is_dropped_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = LocalBlobs::open(dir.path());
        let mut writer = blobs.start().unwrap();
        writer.write(b"half").unwrap();
        assert_eq!(leftovers(&blobs), 1);
        drop(writer);
        assert_eq!(leftovers(&blobs), 0);
        assert!(!blobs.contains(&digest(b"half")).unwrap());
    }

    #[test]
    fn a_file_in_the_way_of_the_folder_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "x").unwrap();
        let error = LocalBlobs::open(file.join("blobs")).keep(b"x").unwrap_err();
        assert!(matches!(&error, LogError::Io(text) if text.contains("cannot create")), "{error}");
    }

    fn leftovers(blobs: &LocalBlobs) -> usize {
        fs::read_dir(blobs.dir.join("tmp")).unwrap().count()
    }
}
