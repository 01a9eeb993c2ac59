//! What a folder holds that could make us do something, and one hash over all of it.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use sterna_log::digest;
use sterna_model::Digest;

/// The files of a folder that trust is about. What is used of them later is what was hashed here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Absolute, symlinks resolved: the nearest folder upwards with a `.git`, else with a `.sterna`, else the one asked for.
    pub root: PathBuf,
    /// Sorted by path.
    pub files: Vec<ProjectFile>,
    /// Why this cannot be trusted whatever a person says, such as too many files.
    pub refused: Option<String>,
    /// Of root, paths and contents.
    pub content: Digest,
}

/// One file, as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectFile {
    /// Below the root, with `/`.
    pub path: String,
    pub hash: Digest,
    /// The bytes that were hashed. `None` for what stands in a tree of skills, agents or scripts.
    pub bytes: Option<Vec<u8>>,
}

/// Where to look, and where not.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a> {
    /// Folders of the user's own: what stands in them is no project's.
    pub own: &'a [PathBuf],
    pub home: Option<&'a Path>,
}

impl Project {
    /// Looks from this folder up to the project's root. `None`: there is nothing that could make us do anything, which
    /// takes a few looks at names.
    pub fn find(folder: &Path, look: Look<'_>) -> Option<Self> {
        let root = root_of(folder, look);
        let mut reader =
            Reader { root: &root, files: Vec::new(), seen: HashSet::new(), bytes: 0, refused: None };
        for dir in folder.ancestors().take_while(|dir| dir.starts_with(&root)) {
            for name in FILES {
                reader.file(&dir.join(name), true, look);
            }
            for name in TREES {
                reader.tree(&dir.join(name), 0, look);
            }
        }
        let Reader { mut files, refused, .. } = reader;
        if files.is_empty() && refused.is_none() {
            return None;
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let content = digest(&manifest(&root, &files));
        Some(Self { root, files, refused, content })
    }

    /// What is hashed: the root and a line for each file. Kept with the trust, so that a change can be named.
    pub fn manifest(&self) -> Vec<u8> {
        manifest(&self.root, &self.files)
    }

    /// Files of this name, the root's first, with their places and bytes: `.sterna/config.toml`.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (PathBuf, &'a [u8])> {
        let mut found: Vec<&ProjectFile> = self.files.iter().filter(|file| below(&file.path, name)).collect();
        found.sort_by_key(|file| file.path.matches('/').count());
        found.into_iter().filter_map(|file| Some((self.root.join(&file.path), file.bytes.as_deref()?)))
    }
}

/// Paths and hashes of a manifest that was kept.
pub(super) fn read_manifest(bytes: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(bytes);
    let line = |line: &str| {
        let (hash, path) = line.split_once(' ')?;
        Some((path.to_owned(), hash.to_owned()))
    };
    // The first line is the root.
    text.lines().skip(1).filter_map(line).collect()
}

/// `Debug` of a path has no line break in it, so that a name cannot make a second line.
fn manifest(root: &Path, files: &[ProjectFile]) -> Vec<u8> {
    let mut text = format!("{root:?}\n");
    for file in files {
        text.push_str(&format!("{} {}\n", file.hash, file.path.escape_debug()));
    }
    text.into_bytes()
}

fn below(path: &str, name: &str) -> bool {
    path == name || path.strip_suffix(name).is_some_and(|rest| rest.ends_with('/'))
}

fn root_of(folder: &Path, look: Look<'_>) -> PathBuf {
    let above = || {
        let usual = |dir: &&Path| Some(*dir) != look.home && dir.parent().is_some();
        folder.ancestors().take_while(usual)
    };
    let own = |dir: &Path| look.own.iter().any(|own| own.starts_with(dir.join(".sterna")));
    let with = |name: &'static str| above().find(move |dir| dir.join(name).symlink_metadata().is_ok());
    let found = with(".git").or_else(|| with(".sterna").filter(|dir| !own(dir)));
    found.unwrap_or(folder).to_owned()
}

struct Reader<'a> {
    root: &'a Path,
    files: Vec<ProjectFile>,
    /// Folders that were entered: links may lead in circles.
    seen: HashSet<PathBuf>,
    bytes: u64,
    refused: Option<String>,
}

impl Reader<'_> {
    /// A file, through links: what they lead to is what would be used.
    fn file(&mut self, path: &Path, keep: bool, look: Look<'_>) {
        if path.symlink_metadata().is_err() || look.own.iter().any(|own| path.starts_with(own)) {
            return;
        }
        let shown = path.strip_prefix(self.root).unwrap_or(path).to_string_lossy().into_owned();
        if self.refused.is_some() {
            return;
        }
        let read = match fs::metadata(path) {
            // Never opened: a pipe would wait for ever.
            Ok(meta) if !meta.is_file() => Err("it is no regular file".to_owned()),
            Ok(_) => self.read(path),
            Err(error) => Err(error.to_string()),
        };
        match read {
            Ok(bytes) => {
                let (hash, bytes) = (digest(&bytes), keep.then_some(bytes));
                self.files.push(ProjectFile { path: shown, hash, bytes });
            }
            Err(why) => self.refused = Some(format!("`{shown}` cannot be read: {why}")),
        }
    }

    fn read(&mut self, path: &Path) -> Result<Vec<u8>, String> {
        let left = MAX_BYTES.saturating_sub(self.bytes);
        let mut bytes = Vec::new();
        let file = fs::File::open(path).map_err(|error| error.to_string())?;
        file.take(left + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
        self.bytes += bytes.len() as u64;
        if bytes.len() as u64 > left || self.files.len() >= MAX_FILES {
            return Err(format!("more than {MAX_FILES} files or {} MiB are too many", MAX_BYTES >> 20));
        }
        Ok(bytes)
    }

    fn tree(&mut self, dir: &Path, depth: usize, look: Look<'_>) {
        let Ok(meta) = fs::metadata(dir) else {
            // A link to nowhere may lead somewhere later.
            return self.file(dir, false, look);
        };
        if !meta.is_dir() {
            return self.file(dir, false, look);
        }
        let Ok(real) = fs::canonicalize(dir) else { return };
        if look.own.iter().any(|own| real.starts_with(own)) || !self.seen.insert(real) {
            return;
        }
        let shown = dir.display();
        let entries = match fs::read_dir(dir) {
            Ok(entries) if depth < MAX_DEPTH => entries,
            Ok(_) => {
                self.refused = Some(format!("`{shown}` is too deep"));
                return;
            }
            Err(error) => {
                self.refused = Some(format!("`{shown}` cannot be read: {error}"));
                return;
            }
        };
        let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
        names.sort();
        for name in names.iter().filter(|name| *name != OsStr::new(".git")) {
            if self.refused.is_none() {
                self.tree(&dir.join(name), depth + 1, look);
            }
        }
    }
}

/// Files that configure, start or connect.
const FILES: [&str; 7] = [
    ".sterna/config.toml",
    ".sterna/config.local.toml",
    ".sterna/hooks.json",
    ".sterna/mcp.json",
    ".mcp.json",
    ".claude/settings.json",
    ".claude/settings.local.json",
];
/// Folders whose files are instructions with scripts beside them.
const TREES: [&str; 12] = [
    ".sterna/skills",
    ".sterna/agents",
    ".sterna/commands",
    ".sterna/plugins",
    ".sterna/hooks",
    ".agents/skills",
    ".agents/agents",
    ".claude/skills",
    ".claude/agents",
    ".claude/commands",
    ".claude/plugins",
    ".claude/hooks",
];
const MAX_FILES: usize = 10_000;
const MAX_BYTES: u64 = 64 << 20;
const MAX_DEPTH: usize = 32;
