//! Where a path leads: absolute, without `.`, `..` or a symlink on the way.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

/// Why a path leads nowhere.
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    #[error("the path is empty")]
    Empty,
    #[error("the path holds a NUL byte")]
    Nul,
    #[error("`{0}` goes through too many symlinks; they may form a circle")]
    Circle(String),
    #[error("`{given}` cannot be resolved: {source}")]
    Io { given: String, source: io::Error },
}

/// The place that `given` names, seen from `cwd` (absolute).
///
/// Symlinks are followed, the last one too, and `..` goes up from where a symlink led. What does not exist yet is
/// appended as it is written. `~` is an ordinary character.
pub fn resolve(cwd: &Path, given: &str) -> Result<PathBuf, PathError> {
    if given.is_empty() {
        return Err(PathError::Empty);
    }
    if given.contains('\0') {
        return Err(PathError::Nul);
    }
    let mut todo: VecDeque<Step> = steps(&cwd.join(given)).collect();
    let mut real = PathBuf::from("/");
    let mut links = 0;
    while let Some(step) = todo.pop_front() {
        let name = match step {
            Step::Root => {
                real = PathBuf::from("/");
                continue;
            }
            Step::Up => {
                real.pop();
                continue;
            }
            Step::Into(name) => name,
        };
        let next = real.join(&name);
        match std::fs::read_link(&next) {
            Ok(target) => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(PathError::Circle(given.into()));
                }
                for step in steps(&target).collect::<Vec<_>>().into_iter().rev() {
                    todo.push_front(step);
                }
            }
            // Not a symlink, not there, or below a file: the use of the path will tell the last two apart.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::InvalidInput | io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                real = next;
            }
            Err(source) => return Err(PathError::Io { given: given.into(), source }),
        }
    }
    Ok(real)
}

/// As many as Linux follows.
const MAX_LINKS: usize = 40;

enum Step {
    Root,
    Up,
    Into(OsString),
}

fn steps(path: &Path) -> impl Iterator<Item = Step> {
    path.components().filter_map(|component| match component {
        Component::RootDir => Some(Step::Root),
        Component::ParentDir => Some(Step::Up),
        Component::Normal(name) => Some(Step::Into(name.to_owned())),
        Component::CurDir | Component::Prefix(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use proptest::prelude::*;

    use super::*;

    /// `a/b/file`, `l` → `a/b`, `up` → `..`, `abs` → the root's `a`, `dead` → `a/none`, `x` ↔ `y`.
    fn tree() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(folder.path()).unwrap();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::write(root.join("a/b/file"), "").unwrap();
        symlink("a/b", root.join("l")).unwrap();
        symlink("..", root.join("a/up")).unwrap();
        symlink(root.join("a"), root.join("abs")).unwrap();
        symlink("a/none", root.join("dead")).unwrap();
        symlink("y", root.join("x")).unwrap();
        symlink("x", root.join("y")).unwrap();
        (folder, root)
    }

    #[test]
    fn leads_where_the_system_would_go() {
        let (_folder, root) = tree();
        let cases = [
            (".", ""),
            ("a/./b//file", "a/b/file"),
            ("a/b/file/", "a/b/file"),
            ("l", "a/b"),
            ("l/file", "a/b/file"),
            ("l/../b", "a/b"),
            ("a/up/l/new", "a/b/new"),
            ("abs/b/../../a", "a"),
            ("dead", "a/none"),
            ("dead/deeper/still", "a/none/deeper/still"),
            ("new/../l/file", "a/b/file"),
            ("~/x", "~/x"),
            ("a/b/file/below", "a/b/file/below"),
        ];
        for (given, want) in cases {
            let want = root.join(want).components().collect::<PathBuf>();
            assert_eq!(resolve(&root, given).unwrap(), want, "{given}");
        }
        assert_eq!(resolve(&root, "/../..").unwrap(), Path::new("/"));
        assert!(matches!(resolve(&root, ""), Err(PathError::Empty)));
        assert!(matches!(resolve(&root, "a\0b"), Err(PathError::Nul)));
        assert!(matches!(resolve(&root, "x/z"), Err(PathError::Circle(_))));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn agrees_with_the_system_on_all_that_exists(
            parts in prop::collection::vec(prop::sample::select(
                vec!["a", "b", "l", "..", ".", "up", "abs", "file", "dead", "new", "x"]), 1..7)
        ) {
            let (_folder, root) = tree();
            let given = parts.join("/");
            match (std::fs::canonicalize(root.join(&given)), resolve(&root, &given)) {
                (Ok(system), ours) => prop_assert_eq!(system, ours.unwrap()),
                // Where nothing is, the result must still be free of links: resolving it again changes nothing.
                (Err(_), Ok(ours)) => {
                    let again = resolve(Path::new("/"), ours.to_str().unwrap()).unwrap();
                    prop_assert_eq!(again, ours);
                }
                (Err(_), Err(error)) => prop_assert!(matches!(error, PathError::Circle(_))),
            }
        }
    }
}
