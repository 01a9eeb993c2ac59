//! Random trees, random mutations: restoring what was taken gives what was there.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use common::Workspace;
use proptest::prelude::*;
use sterna_checkpoint::Scope;
use sterna_tool::Cancel;

#[derive(Debug, Clone)]
enum Op {
    Write(usize, u32),
    Dir(u32),
    Link(usize),
    Remove,
    Chmod(u32),
}

fn ops() -> impl Strategy<Value = Vec<(Vec<usize>, Op)>> {
    let path = prop::collection::vec(0..NAMES.len(), 1..4);
    let file_mode = prop::sample::select(vec![0o644u32, 0o755, 0o600, 0o400, 0o4711 | 0o444, 0o666]);
    let dir_mode = prop::sample::select(vec![0o755u32, 0o700, 0o1777, 0o2750]);
    let op = prop_oneof![
        4 => (0..CONTENTS.len(), file_mode.clone()).prop_map(|(text, mode)| Op::Write(text, mode)),
        1 => dir_mode.prop_map(Op::Dir),
        1 => (0..TARGETS.len()).prop_map(Op::Link),
        2 => Just(Op::Remove),
        1 => file_mode.prop_map(Op::Chmod),
    ];
    prop::collection::vec((path, op), 0..20)
}

/// Does what can be done; what stands in the way goes.
fn apply(root: &Path, ops: &[(Vec<usize>, Op)]) {
    for (names, op) in ops {
        let mut path = root.to_owned();
        for (n, name) in names.iter().enumerate() {
            path.push(std::ffi::OsStr::from_bytes(NAMES[*name]));
            let is_dir = fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir());
            if n + 1 < names.len() && !is_dir {
                let _ = fs::remove_file(&path);
                fs::create_dir(&path).unwrap();
            }
        }
        let found = fs::symlink_metadata(&path).ok();
        let is_file = found.as_ref().is_some_and(|found| found.is_file());
        if let Op::Chmod(mode) = op {
            if is_file {
                fs::set_permissions(&path, Permissions::from_mode(*mode)).unwrap();
            }
            continue;
        }
        if found.is_some_and(|found| found.is_dir()) {
            fs::remove_dir_all(&path).unwrap();
        } else {
            let _ = fs::remove_file(&path);
        }
        match op {
            Op::Write(text, mode) => {
                fs::write(&path, CONTENTS[*text]).unwrap();
                fs::set_permissions(&path, Permissions::from_mode(*mode)).unwrap();
            }
            Op::Dir(mode) => {
                fs::create_dir(&path).unwrap();
                fs::set_permissions(&path, Permissions::from_mode(*mode)).unwrap();
            }
            Op::Link(target) => symlink(TARGETS[*target], &path).unwrap(),
            Op::Remove | Op::Chmod(_) => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn restoring_what_was_taken_gives_what_was_there(first in ops(), second in ops(), third in ops()) {
        let w = Workspace::new();
        let cancel = Cancel::new();
        // One with a memory, so that the cache is of use, and its being wrong would show.
        let checkpointer = w.checkpointer();
        let back = |to| {
            let plan = checkpointer.preview_restore(to, true, &cancel).unwrap();
            assert_eq!((&plan.kept[..], &plan.blocked[..], &plan.lost[..]), (&[][..], &[][..], &[][..]));
            checkpointer.restore(&plan, false, &cancel).unwrap();
        };
        apply(w.root(), &first);
        let one = (w.look(), checkpointer.take(Scope::Hot, &cancel).unwrap());
        apply(w.root(), &second);
        let two = (w.look(), checkpointer.take(Scope::Hot, &cancel).unwrap());
        prop_assert_eq!(one.0 == two.0, one.1.manifest == two.1.manifest);
        apply(w.root(), &third);
        back(&one.1.manifest);
        prop_assert_eq!(&w.look(), &one.0);
        // The undo can be undone.
        back(&two.1.manifest);
        prop_assert_eq!(&w.look(), &two.0);
        prop_assert!(w.preview(&two.1).is_empty());
    }
}

/// Names that sort on both sides of `/`, and one that is no text.
const NAMES: [&[u8]; 5] = [b"a", b"a-b", b"a0", b"\xff", b"%"];
/// Two of each size.
const CONTENTS: [&str; 5] = ["", "x", "y", "longer one", "longer two"];
const TARGETS: [&str; 4] = ["a", "..", "/nowhere", "a/a-b"];
