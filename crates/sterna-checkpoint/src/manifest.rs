//! The manifest: what stood at every path, as blobs that two checkpoints share where they are the same.
//!
//! The entries, sorted by path, are cut into pages where the hash of a path says so; so one changed file makes one new
//! page and one new list of pages, however large the workspace is.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sterna_log::digest;
use sterna_model::Digest;

use crate::{CheckpointError, RawText, RelPath};

/// How much of a workspace a checkpoint holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Everything but cold folders.
    Hot,
    /// Cold folders too: for a plan that may delete or overwrite them.
    WithCold,
}

/// What stood at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Node {
    Dir {
        mode: u32,
    },
    File {
        mode: u32,
        bytes: u64,
        hash: Digest,
    },
    Symlink {
        target: RawText,
    },
    /// Something stood here that the checkpoint does not hold. A restore leaves alone whatever is here.
    LeftOut {
        why: Why,
    },
}

/// Why something is not in a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Over the limit of one file.
    TooBig { bytes: u64 },
    /// The workspace is over its limit; the largest files go first.
    TotalLimit { bytes: u64 },
    /// A folder for which the limit of entries leaves no room.
    TooMany,
    /// We may not read it, or its disk fails.
    Unreadable,
    /// A socket, pipe or device.
    Special,
    /// A cold folder, and the sign that tells it.
    Cold { sign: String },
    /// A `.git`: never entered, never written.
    GitData,
    /// Our own state, or what the caller named.
    Excluded,
    /// Another file system is mounted here.
    OtherFileSystem,
    /// It was written while it was read, again and again. The one reason with which a file is held all the same,
    /// as it was read last.
    Changing,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooBig { bytes } => write!(f, "{bytes} bytes are over the limit of one file"),
            Self::TotalLimit { bytes } => write!(f, "{bytes} bytes would be over the limit of the workspace"),
            Self::TooMany => f.write_str("it has more entries than the limit leaves room for"),
            Self::Unreadable => f.write_str("it cannot be read"),
            Self::Special => f.write_str("it is a socket, pipe or device"),
            Self::Cold { sign } => write!(f, "it is a cache, by {}", sign.escape_debug()),
            Self::GitData => f.write_str("it belongs to git"),
            Self::Excluded => f.write_str("it is excluded"),
            Self::OtherFileSystem => f.write_str("another file system is mounted there"),
            Self::Changing => f.write_str("it was written while it was read; held as it was read last"),
        }
    }
}

/// A checkpoint, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    pub scope: Scope,
    /// Mode bits of the root folder itself.
    pub root_mode: u32,
    pub entries: BTreeMap<RelPath, Node>,
}

impl Manifest {
    /// Files that are held, and the sum of their bytes.
    pub fn totals(&self) -> (u64, u64) {
        self.entries.values().fold((0, 0), |(files, sum), node| match node {
            Node::File { bytes, .. } => (files + 1, sum.saturating_add(*bytes)),
            Node::Dir { .. } | Node::Symlink { .. } | Node::LeftOut { .. } => (files, sum),
        })
    }

    /// The list of pages, and the pages.
    pub(crate) fn encode(&self) -> (Bytes, Vec<Bytes>) {
        let mut pages = Vec::new();
        let mut page: Vec<EntryOut> = Vec::new();
        for (path, node) in &self.entries {
            page.push(EntryOut { path, node });
            if page.len() >= MAX_PAGE || digest(path.as_bytes()).0[0] == 0 {
                pages.push(json(&PageOut { v: VERSION, entries: std::mem::take(&mut page) }));
            }
        }
        if !page.is_empty() {
            pages.push(json(&PageOut { v: VERSION, entries: page }));
        }
        let (files, bytes) = self.totals();
        let list = List {
            v: VERSION,
            scope: self.scope,
            root_mode: self.root_mode,
            files,
            bytes,
            pages: pages.iter().map(|page| digest(page)).collect(),
        };
        (json(&list), pages)
    }

    /// The pages that a list names.
    pub(crate) fn pages(hash: &Digest, list: &[u8]) -> Result<Vec<Digest>, CheckpointError> {
        Ok(read::<List>(hash, list)?.pages)
    }

    /// Reads what `encode` wrote, this version's or an older one's, and checks that it can be a workspace.
    pub(crate) fn decode(
        hash: &Digest,
        list: &[u8],
        mut page: impl FnMut(&Digest) -> Result<Bytes, CheckpointError>,
    ) -> Result<Self, CheckpointError> {
        let damaged = |detail: String| CheckpointError::Damaged { manifest: *hash, detail };
        let list: List = read(hash, list)?;
        let mut entries: BTreeMap<RelPath, Node> = BTreeMap::new();
        for name in &list.pages {
            for Entry { path, node } in read::<Page>(hash, &page(name)?)?.entries {
                let parent = path.parent();
                if parent.is_some_and(|parent| !matches!(entries.get(&parent), Some(Node::Dir { .. }))) {
                    return Err(damaged(format!("`{path}` lies in no folder")));
                }
                if entries.last_key_value().is_some_and(|(last, _)| *last >= path) {
                    return Err(damaged(format!("`{path}` is out of order")));
                }
                if is_git(path.name()) && !matches!(node, Node::LeftOut { .. }) {
                    return Err(damaged(format!("`{path}` belongs to git")));
                }
                if matches!(node, Node::Dir { mode } | Node::File { mode, .. } if mode > MODE_BITS) {
                    return Err(damaged(format!("`{path}` has mode bits that there are not")));
                }
                if matches!(&node, Node::Symlink { target } if target.0.is_empty() || target.0.contains(&0)) {
                    return Err(damaged(format!("the symlink `{path}` has no possible target")));
                }
                entries.insert(path, node);
            }
        }
        let manifest = Self { scope: list.scope, root_mode: list.root_mode & MODE_BITS, entries };
        if manifest.totals() != (list.files, list.bytes) {
            return Err(damaged("its sums are wrong".into()));
        }
        Ok(manifest)
    }
}

/// Whether a name belongs to git.
pub(crate) fn is_git(name: &[u8]) -> bool {
    // Where names differ by more than case, `.GIT` is the repository too.
    if cfg!(target_os = "macos") { name.eq_ignore_ascii_case(b".git") } else { name == b".git" }
}

/// The bits of a mode that are kept: permissions, set-user-id, set-group-id and sticky.
pub(crate) const MODE_BITS: u32 = 0o7777;
/// The format that is written. Older ones are read.
const VERSION: u32 = 1;
/// Entries of a page at most; usually 256.
const MAX_PAGE: usize = 1024;

#[derive(Serialize, Deserialize)]
struct List {
    v: u32,
    scope: Scope,
    root_mode: u32,
    files: u64,
    bytes: u64,
    pages: Vec<Digest>,
}

#[derive(Serialize)]
struct PageOut<'a> {
    v: u32,
    entries: Vec<EntryOut<'a>>,
}

#[derive(Serialize)]
struct EntryOut<'a> {
    path: &'a RelPath,
    node: &'a Node,
}

#[derive(Deserialize)]
struct Page {
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    path: RelPath,
    node: Node,
}

#[derive(Deserialize)]
struct Versioned {
    v: u32,
}

fn json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).expect("plain structs with text keys are always JSON").into()
}

fn read<T: for<'de> Deserialize<'de>>(hash: &Digest, bytes: &[u8]) -> Result<T, CheckpointError> {
    let damaged =
        |error: serde_json::Error| CheckpointError::Damaged { manifest: *hash, detail: error.to_string() };
    let Versioned { v } = serde_json::from_slice(bytes).map_err(damaged)?;
    if v > VERSION {
        return Err(CheckpointError::Newer { manifest: *hash, found: v, known: VERSION });
    }
    serde_json::from_slice(bytes).map_err(damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = include_str!("../tests/golden/manifest-1.json");
    const PAGE: &str = include_str!("../tests/golden/page-1.json");

    fn path(text: &str) -> RelPath {
        text.parse().unwrap()
    }

    fn sample() -> Manifest {
        let hash = digest(b"hello");
        let left_out = |why| Node::LeftOut { why };
        let entries = [
            (".git", left_out(Why::GitData)),
            ("a", Node::Dir { mode: 0o1777 }),
            ("a/%ff", Node::File { mode: 0o4755, bytes: 5, hash }),
            ("a/link", Node::Symlink { target: RawText(b"../\xfe".to_vec()) }),
            ("big", left_out(Why::TooBig { bytes: 200_000_000 })),
            ("changing", left_out(Why::Changing)),
            ("mnt", left_out(Why::OtherFileSystem)),
            ("most", left_out(Why::TotalLimit { bytes: 9 })),
            ("pipe", left_out(Why::Special)),
            ("secret", left_out(Why::Unreadable)),
            ("state", left_out(Why::Excluded)),
            ("target", left_out(Why::Cold { sign: "CACHEDIR.TAG".into() })),
            ("vast", left_out(Why::TooMany)),
        ];
        let entries = entries.into_iter().map(|(text, node)| (path(text), node)).collect();
        Manifest { scope: Scope::Hot, root_mode: 0o755, entries }
    }

    fn decode(list: &str, page: &str) -> Result<Manifest, CheckpointError> {
        Manifest::decode(&Digest::ZERO, list.as_bytes(), |_| Ok(Bytes::copy_from_slice(page.as_bytes())))
    }

    #[test]
    fn version_1_is_written_and_read() {
        let (list, pages) = sample().encode();
        assert_eq!((list, pages), (LIST.trim().into(), vec![PAGE.trim().into()]));
        assert_eq!(decode(LIST, PAGE).unwrap(), sample());
    }

    #[test]
    fn pages_are_shared_when_one_path_changes() {
        let mut manifest = Manifest { scope: Scope::Hot, root_mode: 0o755, entries: BTreeMap::new() };
        for n in 0..4_000 {
            manifest.entries.insert(path(&format!("{n:05}")), Node::Dir { mode: 0o755 });
        }
        let (_, before) = manifest.encode();
        manifest.entries.insert(path("02000x"), Node::Dir { mode: 0o700 });
        let (_, after) = manifest.encode();
        assert!(before.len() > 5, "{}", before.len());
        // At most the page that got it, split in two.
        assert!(after.iter().filter(|page| !before.contains(page)).count() <= 2);
    }

    #[test]
    fn what_cannot_be_a_workspace_is_refused() {
        let hash = digest(b"hello");
        let file = format!(r#"{{"file":{{"mode":420,"bytes":5,"hash":"{hash}"}}}}"#);
        let dir = r#"{"dir":{"mode":493}}"#;
        let page = |entries: &[(&str, &str)]| {
            let entries: Vec<String> =
                entries.iter().map(|(path, node)| format!(r#"{{"path":"{path}","node":{node}}}"#)).collect();
            format!(r#"{{"v":1,"entries":[{}]}}"#, entries.join(","))
        };
        let list = |files: u64| {
            let zero = Digest::ZERO;
            format!(
                r#"{{"v":1,"scope":"hot","root_mode":493,"files":{files},"bytes":{},"pages":["{zero}"]}}"#,
                files * 5
            )
        };
        let good = page(&[("a", dir), ("a/b", &file)]);
        assert_eq!(decode(&list(1), &good).unwrap().entries.len(), 2);
        let bad = [
            (list(1), page(&[("a/b", &file)]), "no folder"),
            (list(2), page(&[("a", &file), ("a/b", &file)]), "no folder"),
            (list(1), page(&[("b", &file), ("a", dir)]), "out of order"),
            (list(2), page(&[("a", &file), ("a", &file)]), "out of order"),
            (list(1), page(&[("../a", &file)]), "not a path"),
            (list(1), page(&[(".git", dir), (".git/config", &file)]), "git"),
            (list(1), page(&[("a", dir), ("a/.git", &file)]), "git"),
            (list(0), page(&[("a", r#"{"dir":{"mode":65536}}"#)]), "mode bits"),
            (list(0), page(&[("a", r#"{"symlink":{"target":""}}"#)]), "target"),
            (list(0), page(&[("a", r#"{"gone":{}}"#)]), "unknown variant"),
            (list(2), good.clone(), "sums"),
            (list(1), good.replace("\"v\":1", "\"v\":2"), "newer"),
            (list(1).replace("\"v\":1", "\"v\":7"), good.clone(), "newer"),
            (list(1), good[..good.len() - 2].to_owned(), "EOF"),
            ("".into(), good, "EOF"),
        ];
        for (list, page, expected) in bad {
            let error = decode(&list, &page).unwrap_err().to_string();
            assert!(error.contains(expected), "{error} / {expected}: {page}");
        }
    }
}
