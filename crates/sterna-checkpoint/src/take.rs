//! Taking a checkpoint: walk, see what is new, keep that, write the manifest.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use serde::Serialize;
use sterna_log::digest;
use sterna_model::Digest;
use sterna_tool::Cancel;

use crate::cache::{Cache, Row};
use crate::read::{Folders, Pass, Reading, TRIES, hash, pass};
use crate::root::{Root, is_gone};
use crate::walk::{Found, Seen, walk};
use crate::{CheckpointError, Checkpointer, Manifest, Node, Options, RelPath, Scope, Why};

/// A checkpoint that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Taken {
    /// The blob from which it is read again. Two equal workspaces have the same.
    pub manifest: Digest,
    /// Files that it holds, and the sum of their bytes.
    pub files: u64,
    pub bytes: u64,
    /// Bytes of contents that the store did not have.
    pub bytes_new: u64,
    /// Files whose contents were read, because the stat cache did not vouch for them.
    pub files_read: u64,
    /// What is not held, by path, and why. The workspace's own `.git` is not named: it never is held.
    pub skipped: Vec<(RelPath, Why)>,
}

impl Checkpointer {
    /// Keeps the workspace as it is now. The manifest and all it needs are durable on return.
    ///
    /// One at a time for a workspace; a second call waits. What is written by others meanwhile may be in it or not,
    /// file by file; a single file is never half old and half new without being named.
    pub fn take(&self, scope: Scope, cancel: &Cancel) -> Result<Taken, CheckpointError> {
        let mut cache = self.cache();
        let root = Root::open(&self.root)?;
        let mut found = walk(&root, &self.rules(&root, scope, None), cancel)?;
        apply_limits(&mut found, &self.options);
        let mut taking = Taking {
            checkpointer: self,
            cancel,
            cache: &mut cache,
            folders: Folders::new(&root),
            nodes: BTreeMap::new(),
            skipped: Vec::new(),
            known: HashSet::new(),
            small: Vec::new(),
            small_bytes: 0,
            bytes_new: 0,
            files_read: 0,
        };
        taking.run(found)?;
        let Taking { nodes, mut skipped, bytes_new, files_read, .. } = taking;
        let manifest = Manifest { scope, root_mode: root.stamp.mode, entries: nodes };
        let hash = self.put_manifest(&manifest, cancel)?;
        forget_removed(&mut cache, &manifest);
        cache.save();
        skipped.retain(|(path, why)| *why != Why::GitData || path.parent().is_some());
        skipped.sort_by(|a, b| a.0.cmp(&b.0));
        let (files, bytes) = manifest.totals();
        Ok(Taken { manifest: hash, files, bytes, bytes_new, files_read, skipped })
    }

    /// Contents are durable by now; so a manifest in the store is a checkpoint that can be restored.
    fn put_manifest(&self, manifest: &Manifest, cancel: &Cancel) -> Result<Digest, CheckpointError> {
        let (list, pages) = manifest.encode();
        let hashes: Vec<Digest> = pages.iter().map(|page| digest(page)).collect();
        let held = self.held(&hashes, cancel)?;
        let new = pages.into_iter().zip(held).filter(|(_, held)| !held).map(|(page, _)| page);
        self.put_all(new.collect())?;
        let hash = digest(&list);
        self.put_all(vec![list])?;
        Ok(hash)
    }
}

/// One checkpoint on its way.
struct Taking<'a> {
    checkpointer: &'a Checkpointer,
    cancel: &'a Cancel,
    cache: &'a mut Cache,
    folders: Folders<'a>,
    nodes: BTreeMap<RelPath, Node>,
    skipped: Vec<(RelPath, Why)>,
    /// Blobs that the store has.
    known: HashSet<Digest>,
    /// Contents that were read and are not yet in the store.
    small: Vec<(Digest, Bytes)>,
    small_bytes: usize,
    bytes_new: u64,
    files_read: u64,
}

impl Taking<'_> {
    fn run(&mut self, found: Vec<Found>) -> Result<(), CheckpointError> {
        let mut hits = Vec::new();
        let mut unread = Vec::new();
        for Found { path, stamp, what } in found {
            let node = match what {
                Seen::Dir => Node::Dir { mode: stamp.mode },
                Seen::Symlink(target) => Node::Symlink { target },
                Seen::Special => self.left_out(&path, Why::Special),
                Seen::LeftOut(why) => self.left_out(&path, why),
                Seen::File => {
                    match self.cache.get(&path, &stamp) {
                        Some(hash) => hits.push((path, stamp, hash)),
                        None => unread.push((path, stamp.size)),
                    }
                    continue;
                }
            };
            self.nodes.insert(path, node);
        }
        // A blob may have been lost since: the cache vouches for the file, and the store for the blob.
        let mut hashes: Vec<Digest> = hits.iter().map(|(_, _, hash)| *hash).collect();
        hashes.sort_unstable();
        hashes.dedup();
        let held = self.checkpointer.held(&hashes, self.cancel)?;
        self.known.extend(hashes.iter().zip(held).filter(|(_, held)| *held).map(|(hash, _)| *hash));
        for (path, stamp, hash) in hits {
            if self.known.contains(&hash) {
                self.nodes.insert(path, Node::File { mode: stamp.mode, bytes: stamp.size, hash });
            } else {
                unread.push((path, stamp.size));
            }
        }
        for (path, size) in unread {
            self.file(path, size)?;
        }
        self.flush()
    }

    fn left_out(&mut self, path: &RelPath, why: Why) -> Node {
        self.skipped.push((path.clone(), why.clone()));
        Node::LeftOut { why }
    }

    /// Reads a file and keeps its contents.
    fn file(&mut self, path: RelPath, size: u64) -> Result<(), CheckpointError> {
        let read = if size <= SMALL { self.read_small(&path)? } else { Err(Pass::TooBig(size)) };
        let read = match read {
            // It may have grown since it was found.
            Err(Pass::TooBig(_)) => self.read_large(&path)?,
            other => other,
        };
        let node = match read {
            Ok((hash, reading)) => {
                self.files_read += 1;
                if reading.steady {
                    self.cache.put(&path, Row::new(&reading.stamp, reading.read_at, hash));
                } else {
                    self.skipped.push((path.clone(), Why::Changing));
                }
                Node::File { mode: reading.stamp.mode, bytes: reading.bytes, hash }
            }
            Err(Pass::TooBig(bytes)) => self.left_out(&path, Why::TooBig { bytes }),
            Err(Pass::Unreadable) => self.left_out(&path, Why::Unreadable),
            Err(Pass::Gone | Pass::Read(_)) => return Ok(()),
        };
        self.nodes.insert(path, node);
        Ok(())
    }

    fn read_small(&mut self, path: &RelPath) -> Result<Read, CheckpointError> {
        let dir = match self.folders.of(path) {
            Ok(dir) => dir,
            Err(error) => return Ok(Err(if is_gone(error) { Pass::Gone } else { Pass::Unreadable })),
        };
        let mut tries = 1;
        loop {
            let mut bytes = Vec::new();
            let cap = SMALL.min(self.checkpointer.options.max_file);
            let read = pass(dir, path.name(), cap, self.cancel, |some| {
                bytes.extend_from_slice(some);
                Ok(())
            })?;
            match read {
                Pass::Read(reading) if reading.steady || tries == TRIES => {
                    let hash = digest(&bytes);
                    self.keep(hash, bytes.into())?;
                    return Ok(Ok((hash, reading)));
                }
                Pass::Read(_) => tries += 1,
                other @ (Pass::TooBig(_) | Pass::Unreadable | Pass::Gone) => return Ok(Err(other)),
            }
        }
    }

    /// Once for its hash; and once more, piece by piece into the store, if the store does not have it.
    fn read_large(&mut self, path: &RelPath) -> Result<Read, CheckpointError> {
        let max = self.checkpointer.options.max_file;
        let dir = match self.folders.of(path) {
            Ok(dir) => dir,
            Err(error) => return Ok(Err(if is_gone(error) { Pass::Gone } else { Pass::Unreadable })),
        };
        let (digest, reading) = match hash(dir, path.name(), max, self.cancel)? {
            Ok(read) => read,
            Err(other) => return Ok(Err(other)),
        };
        if self.known.contains(&digest) || self.checkpointer.held(&[digest], self.cancel)? == [true] {
            self.known.insert(digest);
            return Ok(Ok((digest, reading)));
        }
        let mut tries = 1;
        loop {
            let mut writer = self.checkpointer.blobs.writer()?;
            let read = pass(dir, path.name(), max, self.cancel, |bytes| Ok(writer.write(bytes)?))?;
            match read {
                Pass::Read(reading) if reading.steady || tries == TRIES => {
                    let kept = writer.finish()?;
                    self.known.insert(kept.hash);
                    self.bytes_new += kept.bytes;
                    return Ok(Ok((kept.hash, reading)));
                }
                Pass::Read(_) => tries += 1,
                other @ (Pass::TooBig(_) | Pass::Unreadable | Pass::Gone) => return Ok(Err(other)),
            }
        }
    }

    /// Puts contents with those that wait for the store.
    fn keep(&mut self, hash: Digest, bytes: Bytes) -> Result<(), CheckpointError> {
        if self.known.contains(&hash) || self.small.iter().any(|(waiting, _)| *waiting == hash) {
            return Ok(());
        }
        self.small_bytes += bytes.len();
        self.small.push((hash, bytes));
        if self.small.len() >= MAX_WAITING || self.small_bytes >= MAX_WAITING_BYTES {
            return self.flush();
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), CheckpointError> {
        self.small_bytes = 0;
        let waiting = std::mem::take(&mut self.small);
        let hashes: Vec<Digest> = waiting.iter().map(|(hash, _)| *hash).collect();
        let held = self.checkpointer.held(&hashes, self.cancel)?;
        let new: Vec<Bytes> =
            waiting.into_iter().zip(held).filter(|(_, held)| !held).map(|((_, bytes), _)| bytes).collect();
        self.bytes_new += new.iter().map(|bytes| bytes.len() as u64).sum::<u64>();
        self.checkpointer.put_all(new)?;
        self.known.extend(hashes);
        Ok(())
    }
}

/// The hash, and what was read; or why it was not.
type Read = Result<(Digest, Reading), Pass>;

/// Leaves out each file over its limit; and, while all are over theirs, the largest.
fn apply_limits(found: &mut [Found], options: &Options) {
    let mut held = Vec::new();
    let mut total = 0u64;
    for (index, found) in found.iter_mut().enumerate().filter(|(_, found)| matches!(found.what, Seen::File)) {
        let bytes = found.stamp.size;
        if bytes > options.max_file {
            found.what = Seen::LeftOut(Why::TooBig { bytes });
        } else {
            total = total.saturating_add(bytes);
            held.push(index);
        }
    }
    if total <= options.max_total {
        return;
    }
    held.sort_by(|a, b| {
        found[*b].stamp.size.cmp(&found[*a].stamp.size).then_with(|| found[*a].path.cmp(&found[*b].path))
    });
    for index in held {
        if total <= options.max_total {
            return;
        }
        let bytes = found[index].stamp.size;
        found[index].what = Seen::LeftOut(Why::TotalLimit { bytes });
        total -= bytes;
    }
}

/// Drops what the cache knows of files that are no more. Cold folders that were not walked keep their lines.
fn forget_removed(cache: &mut Cache, manifest: &Manifest) {
    let left_out = |path: &RelPath| matches!(manifest.entries.get(path), Some(Node::LeftOut { .. }));
    cache.retain(|path| {
        matches!(manifest.entries.get(path), Some(Node::File { .. }))
            || path.ancestors().any(|above| left_out(&above))
    });
}

/// Larger files are never in memory whole.
const SMALL: u64 = 1 << 20;
/// Contents that wait for the store at most, in number and bytes.
const MAX_WAITING: usize = 512;
const MAX_WAITING_BYTES: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;
    use std::time::Duration;

    use sterna_log::MemoryLog;

    use super::*;

    const MARGIN: Duration = Duration::from_secs(2);

    /// Takes a checkpoint of a file that holds `old`, writes `new`, and makes the cache see what it would see had
    /// the write come in the same tick of the clock: all of the file as it is now. Gives what the next one holds.
    fn after_an_edit_in_the_same_tick(read_after: Duration) -> Digest {
        let (root, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let file = root.path().join("a");
        fs::write(&file, "old").unwrap();
        let options = Options { racy_margin: MARGIN, ..Options::new(state.path()) };
        let checkpointer = Checkpointer::new(root.path(), Arc::new(MemoryLog::default()), options).unwrap();
        let cancel = Cancel::new();
        checkpointer.take(Scope::Hot, &cancel).unwrap();

        fs::write(&file, "new").unwrap();
        let path = RelPath::new("a").unwrap();
        let stamp =
            crate::root::Stamp::at(&Root::open(&checkpointer.root).unwrap().fd, b"a").unwrap().unwrap();
        let read_at = stamp.ctime + i64::try_from(read_after.as_nanos()).unwrap();
        checkpointer.cache().put(&path, Row::new(&stamp, read_at, digest(b"old")));

        let taken = checkpointer.take(Scope::Hot, &cancel).unwrap();
        match &checkpointer.load(&taken.manifest).unwrap().entries[&path] {
            Node::File { hash, .. } => *hash,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_file_that_was_young_when_it_was_read_is_read_again() {
        assert_eq!(after_an_edit_in_the_same_tick(MARGIN - Duration::from_nanos(1)), digest(b"new"));
        // The rule is what decides: a hair older, and the cache is believed.
        assert_eq!(after_an_edit_in_the_same_tick(MARGIN), digest(b"old"));
    }
}
