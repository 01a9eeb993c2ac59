//! What lies in a folder, for rules about files of a name in any of them.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;

use sterna_policy::Look;

/// Whether a folder holds, at any depth, something that is wanted: what is nearest is looked at first, and so much at most.
/// Links are not followed, but for the folder itself.
pub fn look(folder: &Path, wanted: &dyn Fn(&Path) -> bool) -> Look {
    through(folder, wanted, MAX_ENTRIES)
}

fn through(folder: &Path, wanted: &dyn Fn(&Path) -> bool, max: usize) -> Look {
    if !folder.is_dir() {
        return Look::NoFolder;
    }
    let mut folders = VecDeque::from([folder.to_owned()]);
    let mut looked_at = 0;
    while let Some(next) = folders.pop_front() {
        // What cannot be listed nobody searches either.
        for entry in fs::read_dir(&next).into_iter().flatten().flatten() {
            looked_at += 1;
            if looked_at > max {
                return Look::Unseen;
            }
            let path = entry.path();
            if wanted(&path) {
                return Look::Found;
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push_back(path);
            }
        }
    }
    Look::Nothing
}

const MAX_ENTRIES: usize = 50_000;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_file_is_found_at_any_depth_and_behind_no_link() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("a/b/c")).unwrap();
        fs::create_dir_all(at("d")).unwrap();
        fs::write(at("a/b/c/.env"), "").unwrap();
        fs::write(at("d/x"), "").unwrap();
        std::os::unix::fs::symlink(at("a"), at("d/link")).unwrap();
        let env = |path: &Path| path.ends_with(".env");
        assert_eq!(look(dir.path(), &env), Look::Found);
        assert_eq!(look(&at("a/b"), &env), Look::Found);
        assert_eq!(look(&at("d"), &env), Look::Nothing);
        assert_eq!(look(&at("d/link"), &env), Look::Found);
        assert_eq!(look(&at("d/x"), &env), Look::NoFolder);
        assert_eq!(look(&at("nothing"), &env), Look::NoFolder);
        assert_eq!(through(dir.path(), &env, 3), Look::Unseen);
        assert_eq!(through(&at("d"), &env, 3), Look::Nothing);
    }
}
