//! Walking the workspace: what stands where, without looking into files.

use std::collections::VecDeque;
use std::io::Read;

use rustix::fd::AsFd;
use rustix::io::Errno;
use sterna_tool::Cancel;

use crate::cold::{TAG, TAG_BEGINS, by_content, by_place};
use crate::manifest::is_git;
use crate::root::{Root, Stamp, is_gone, is_leftover, link, names, open_file};
use crate::{CheckpointError, Kind, Manifest, Node, RawText, RelPath, Why};

/// What to enter and what to leave out.
pub(crate) struct Rules<'a> {
    pub cold_too: bool,
    /// When a checkpoint is compared: its folders are entered, what it left out is left out again.
    pub base: Option<&'a Manifest>,
    pub exclude: &'a [RelPath],
    /// Device of the root.
    pub dev: u64,
    /// Device and inode of our own state folder.
    pub state: Option<(u64, u64)>,
    pub max_entries: usize,
}

/// Something that was found.
pub(crate) struct Found {
    pub path: RelPath,
    pub stamp: Stamp,
    pub what: Seen,
}

pub(crate) enum Seen {
    File,
    Dir,
    Symlink(RawText),
    Special,
    LeftOut(Why),
}

/// Everything below the root, folder by folder, breadth first: so a limit bites in deep places and not in late names.
pub(crate) fn walk(root: &Root, rules: &Rules, cancel: &Cancel) -> Result<Vec<Found>, CheckpointError> {
    let mut found = Vec::new();
    let mut waiting = VecDeque::new();
    let listed = names(&root.fd).map_err(|e| CheckpointError::io("list the workspace", &root.path, e))?;
    enter(&root.fd, &[], listed, rules, &mut found, &mut waiting);
    while let Some(next) = waiting.pop_front() {
        if cancel.is_cancelled() {
            return Err(CheckpointError::Cancelled);
        }
        let Waiting { path, stamp, cold } = next;
        let left_out = |why| Found { path: path.clone(), stamp, what: Seen::LeftOut(why) };
        let known = matches!(rules.base.and_then(|base| base.entries.get(&path)), Some(Node::Dir { .. }));
        let skip_cold = !rules.cold_too && !known;
        if let Some(sign) = cold.filter(|_| skip_cold) {
            found.push(left_out(Why::Cold { sign: sign.into() }));
            continue;
        }
        let listing = root.dir(path.as_bytes()).and_then(|dir| names(&dir).map(|names| (dir, names)));
        let (dir, listed) = match listing {
            Ok(listing) => listing,
            // It went away while we walked.
            Err(error) if is_gone(error) => continue,
            Err(Errno::MFILE | Errno::NFILE) => {
                return Err(CheckpointError::at("open", &path, Errno::MFILE));
            }
            Err(_) => {
                found.push(left_out(Why::Unreadable));
                continue;
            }
        };
        let sign = skip_cold.then(|| by_content(path.name(), &listed, || tag(&dir))).flatten();
        if let Some(sign) = sign {
            found.push(left_out(Why::Cold { sign: sign.into() }));
            continue;
        }
        if found.len() + waiting.len() + listed.len() > rules.max_entries {
            found.push(left_out(Why::TooMany));
            continue;
        }
        found.push(Found { path: path.clone(), stamp, what: Seen::Dir });
        enter(&dir, path.as_bytes(), listed, rules, &mut found, &mut waiting);
    }
    Ok(found)
}

/// A folder that is to be listed.
struct Waiting {
    path: RelPath,
    stamp: Stamp,
    /// The sign beside it, if that makes it cold.
    cold: Option<&'static str>,
}

/// Sorts what lies in a folder into what is found and what is to be entered.
fn enter(
    dir: impl AsFd,
    folder: &[u8],
    listed: Vec<Vec<u8>>,
    rules: &Rules,
    found: &mut Vec<Found>,
    waiting: &mut VecDeque<Waiting>,
) {
    for name in &listed {
        // No part of anybody's work; a comparison shows it, so that it is removed.
        if is_leftover(name) && rules.base.is_none() {
            continue;
        }
        let path = RelPath::join(folder, name);
        let stamp = match Stamp::at(&dir, name) {
            Ok(Some(stamp)) => stamp,
            // Gone again.
            Ok(None) => continue,
            Err(error) if is_gone(error) => continue,
            // A folder that may be listed and not searched, or a failing disk.
            Err(_) => {
                let why = if is_git(name) { Why::GitData } else { Why::Unreadable };
                found.push(Found { path, stamp: Stamp::UNKNOWN, what: Seen::LeftOut(why) });
                continue;
            }
        };
        let what = match left_out(&path, name, &stamp, rules) {
            Some(why) => Seen::LeftOut(why),
            None => match stamp.kind {
                Kind::Dir => {
                    waiting.push_back(Waiting { path, stamp, cold: by_place(name, &listed) });
                    continue;
                }
                Kind::File => Seen::File,
                Kind::Symlink => match link(&dir, name) {
                    Ok(target) => Seen::Symlink(RawText(target)),
                    Err(error) if is_gone(error) || error == Errno::INVAL => continue,
                    Err(_) => Seen::LeftOut(Why::Unreadable),
                },
                Kind::Special | Kind::LeftOut => Seen::Special,
            },
        };
        found.push(Found { path, stamp, what });
    }
}

/// Why it is left out whatever it holds.
fn left_out(path: &RelPath, name: &[u8], stamp: &Stamp, rules: &Rules) -> Option<Why> {
    if is_git(name) {
        return Some(Why::GitData);
    }
    let is_state = stamp.kind == Kind::Dir && rules.state == Some((stamp.dev, stamp.ino));
    if is_state || rules.exclude.contains(path) {
        return Some(Why::Excluded);
    }
    if stamp.dev != rules.dev {
        return Some(Why::OtherFileSystem);
    }
    match rules.base?.entries.get(path)? {
        Node::LeftOut { why } => Some(why.clone()),
        Node::Dir { .. } | Node::File { .. } | Node::Symlink { .. } => None,
    }
}

/// Whether a cache folder's tag is the standard's.
fn tag(dir: impl AsFd) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = open_file(dir, TAG.as_bytes()).ok()?;
    file.take(TAG_BEGINS.len() as u64).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}
