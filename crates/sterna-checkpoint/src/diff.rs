//! What differs between two states of a workspace.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use sterna_model::Digest;

use crate::{Manifest, Node, RawText, RelPath, Why};

/// With what a checkpoint is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Against {
    Checkpoint(Digest),
    /// The workspace as it is.
    Current,
}

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    File,
    Dir,
    Symlink,
    /// A socket, pipe or device.
    Special,
    /// Something that was not looked into.
    LeftOut,
}

/// A path that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    pub path: RelPath,
    pub what: What,
    /// `None` where nothing stood.
    pub before: Option<Side>,
    pub after: Option<Side>,
}

/// How it differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    Created,
    Deleted,
    /// Other contents or another target; the mode may differ too.
    Modified,
    /// Nothing but the mode bits.
    Mode,
    /// A file instead of a folder, and so on.
    Kind,
}

/// One side of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Side {
    pub kind: Kind,
    /// Of files and folders.
    pub mode: u32,
    /// Of files.
    pub bytes: u64,
    /// Of files; `None` where the size told enough, or the file cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<Digest>,
    /// Of symlinks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<RawText>,
    /// Of what was not looked into.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_out: Option<Why>,
}

impl Side {
    pub(crate) fn new(kind: Kind) -> Self {
        Self { kind, mode: 0, bytes: 0, hash: None, target: None, left_out: None }
    }
}

impl Change {
    pub(crate) fn sides(&self) -> impl Iterator<Item = &Side> {
        self.before.iter().chain(&self.after)
    }
}

/// A checkpoint as one side.
pub(crate) fn sides(manifest: &Manifest) -> BTreeMap<RelPath, Side> {
    let side = |node: &Node| match node.clone() {
        Node::Dir { mode } => Side { mode, ..Side::new(Kind::Dir) },
        Node::File { mode, bytes, hash } => Side { mode, bytes, hash: Some(hash), ..Side::new(Kind::File) },
        Node::Symlink { target } => Side { target: Some(target), ..Side::new(Kind::Symlink) },
        Node::LeftOut { why } => Side { left_out: Some(why), ..Side::new(Kind::LeftOut) },
    };
    manifest.entries.iter().map(|(path, node)| (path.clone(), side(node))).collect()
}

/// The paths that differ, sorted. Where one side did not look, nothing is said, nor about what lies below it or below
/// a `locked` folder.
pub(crate) fn compare(
    before: &BTreeMap<RelPath, Side>,
    after: &BTreeMap<RelPath, Side>,
    locked: &[RelPath],
) -> Vec<Change> {
    let left_out = before.iter().chain(after).filter(|(_, side)| side.kind == Kind::LeftOut);
    let hidden: BTreeSet<&RelPath> = left_out.map(|(path, _)| path).chain(locked).collect();
    let paths: BTreeSet<&RelPath> = before.keys().chain(after.keys()).collect();
    let mut changes = Vec::new();
    for path in paths {
        let (old, new) = (before.get(path), after.get(path));
        let what = match (old, new) {
            (None, _) => What::Created,
            (_, None) => What::Deleted,
            (Some(old), Some(new)) => match differ(old, new) {
                Some(what) => what,
                None => continue,
            },
        };
        if !hidden.is_empty() && path.ancestors().any(|above| hidden.contains(&above)) {
            continue;
        }
        changes.push(Change { path: path.clone(), what, before: old.cloned(), after: new.cloned() });
    }
    changes
}

fn differ(old: &Side, new: &Side) -> Option<What> {
    if old.kind == Kind::LeftOut || new.kind == Kind::LeftOut {
        return None;
    }
    if old.kind != new.kind {
        return Some(What::Kind);
    }
    let same = match old.kind {
        Kind::File => old.bytes == new.bytes && old.hash.is_some() && old.hash == new.hash,
        Kind::Symlink => old.target == new.target,
        Kind::Dir | Kind::Special | Kind::LeftOut => true,
    };
    if !same {
        return Some(What::Modified);
    }
    (old.mode != new.mode).then_some(What::Mode)
}
