//! The stat cache: the hash of a file that was read once and has not been touched since.
//!
//! A file is believed untouched when its device, inode, size and both times are as they were, and when it was already
//! older than a margin when it was read: a write in the same tick of the clock would leave the times as they are. That
//! compares with the moment of reading, which is never later than the cache's own; so it is the stricter rule.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sterna_log::digest;
use sterna_model::Digest;

use crate::RelPath;
use crate::root::Stamp;

/// Hashes by path, with the file they are kept in. Losing it costs time and nothing else.
pub(crate) struct Cache {
    file: PathBuf,
    margin: i64,
    pub rows: HashMap<RelPath, Row>,
    dirty: bool,
}

/// What was known of a file when it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    pub dev: u64,
    pub ino: u64,
    pub size: u64,
    pub mtime: i64,
    pub ctime: i64,
    /// Just before the first byte was read.
    pub read_at: i64,
    pub hash: Digest,
}

impl Row {
    pub fn new(stamp: &Stamp, read_at: i64, hash: Digest) -> Self {
        let Stamp { kind: _, mode: _, dev, ino, size, mtime, ctime } = *stamp;
        Self { dev, ino, size, mtime, ctime, read_at, hash }
    }
}

impl Cache {
    /// Reads the cache of this workspace. A damaged or missing one is empty.
    pub fn open(state: &Path, root: &Path, margin: Duration) -> Self {
        let name = digest(root.as_os_str().as_encoded_bytes()).to_string();
        let file = state.join(format!("checkpoint-{}.cache", &name[..16]));
        let rows = fs::read(&file).ok().and_then(|bytes| parse(&bytes)).unwrap_or_default();
        let margin = i64::try_from(margin.as_nanos()).unwrap_or(i64::MAX);
        Self { file, margin, rows, dirty: false }
    }

    /// The hash of a file, if nothing can have been written since it was read.
    pub fn get(&self, path: &RelPath, stamp: &Stamp) -> Option<Digest> {
        let row = self.rows.get(path)?;
        let same = Row::new(stamp, row.read_at, row.hash) == *row;
        let old = row.mtime.max(row.ctime).saturating_add(self.margin) <= row.read_at;
        (same && old).then_some(row.hash)
    }

    pub fn put(&mut self, path: &RelPath, row: Row) {
        self.rows.insert(path.clone(), row);
        self.dirty = true;
    }

    /// Forgets the paths for which `keep` says no.
    pub fn retain(&mut self, mut keep: impl FnMut(&RelPath) -> bool) {
        let before = self.rows.len();
        self.rows.retain(|path, _| keep(path));
        self.dirty |= self.rows.len() != before;
    }

    /// Writes the file if anything changed. It is no error that it cannot be written.
    pub fn save(&mut self) {
        if !self.dirty {
            return;
        }
        let mut text = String::new();
        for (path, row) in &self.rows {
            let line = (path, row.dev, row.ino, row.size, row.mtime, row.ctime, row.read_at, row.hash);
            text.push_str(&serde_json::to_string(&line).expect("text and numbers are always JSON"));
            text.push('\n');
        }
        let head = Head { v: VERSION, check: digest(text.as_bytes()) };
        let head = serde_json::to_string(&head).expect("text and numbers are always JSON");
        let temp = self.file.with_extension(format!("{}.tmp", std::process::id()));
        let folder = self.file.parent().unwrap_or(Path::new("."));
        let written = fs::create_dir_all(folder)
            .and_then(|()| fs::write(&temp, format!("{head}\n{text}")))
            .and_then(|()| fs::rename(&temp, &self.file));
        match written {
            Ok(()) => self.dirty = false,
            Err(_) => drop(fs::remove_file(&temp)),
        }
    }
}

/// Nanoseconds since the epoch.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Head {
    v: u32,
    check: Digest,
}

/// `None` for anything but what `save` wrote.
fn parse(bytes: &[u8]) -> Option<HashMap<RelPath, Row>> {
    let line_end = bytes.iter().position(|b| *b == b'\n')?;
    let (head, rest) = (&bytes[..line_end], &bytes[line_end + 1..]);
    let head: Head = serde_json::from_slice(head).ok()?;
    if head.v != VERSION || head.check != digest(rest) {
        return None;
    }
    let mut rows = HashMap::new();
    for line in rest.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        let (path, dev, ino, size, mtime, ctime, read_at, hash) = serde_json::from_slice(line).ok()?;
        rows.insert(path, Row { dev, ino, size, mtime, ctime, read_at, hash });
    }
    Some(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    const SECOND: i64 = 1_000_000_000;

    fn stamp() -> Stamp {
        Stamp {
            kind: Kind::File,
            mode: 0o644,
            dev: 1,
            ino: 2,
            size: 3,
            mtime: 10 * SECOND,
            ctime: 20 * SECOND,
        }
    }

    #[test]
    fn only_what_was_old_when_it_was_read_is_believed() {
        let dir = tempfile::tempdir().unwrap();
        let mut cache = Cache::open(dir.path(), Path::new("/w"), Duration::from_secs(2));
        let path: RelPath = "a".parse().unwrap();
        let hash = digest(b"x");
        // Both times of the file, when it was read, and whether its hash is believed.
        let table = [
            (10, 20, 22, true),
            (10, 20, 21, false),
            (10, 20, 19, false),
            (21, 20, 22, false),
            (99, 20, 22, false),
        ];
        for (mtime, ctime, read_at, expected) in table {
            let stamp = Stamp { mtime: mtime * SECOND, ctime: ctime * SECOND, ..stamp() };
            cache.put(&path, Row::new(&stamp, read_at * SECOND, hash));
            assert_eq!(cache.get(&path, &stamp).is_some(), expected, "{mtime} {ctime} {read_at}");
        }
        cache.put(&path, Row::new(&stamp(), 30 * SECOND, hash));
        assert_eq!(cache.get(&path, &stamp()), Some(hash));
        let base = stamp();
        let changed = [
            Stamp { dev: 9, ..base },
            Stamp { ino: 9, ..base },
            Stamp { size: 9, ..base },
            Stamp { mtime: base.mtime - 1, ..base },
            Stamp { ctime: base.ctime + 1, ..base },
        ];
        assert!(changed.iter().all(|stamp| cache.get(&path, stamp).is_none()));
    }

    #[test]
    fn it_is_kept_and_damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Cache::open(dir.path(), Path::new("/w"), Duration::ZERO);
        let path = RelPath::new(b"a\xff".as_slice()).unwrap();
        let row = Row::new(&stamp(), 30 * SECOND, digest(b"x"));
        let mut cache = open();
        cache.put(&path, row);
        cache.save();
        assert_eq!(open().rows, HashMap::from([(path, row)]));
        let whole = fs::read(&cache.file).unwrap();
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            assert!(parse(&whole[..at]).is_none(), "cut at {at}");
            assert!(parse(&flipped).is_none(), "flipped at {at}");
        }
        assert!(Cache::open(dir.path(), Path::new("/other"), Duration::ZERO).rows.is_empty());
    }
}
