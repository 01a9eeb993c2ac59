//! Which parts of a repository a workspace needs, and which of them must not be written: what git runs by itself.

use std::fs;
use std::path::{Path, PathBuf};

use super::Level;

/// What a workspace's repository adds to a confinement.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) writable: Vec<PathBuf>,
    pub(crate) read_only: Vec<PathBuf>,
}

impl Parts {
    /// Of the workspace `root`, by its real name. A `.git` that points to somewhere else is followed only when that
    /// place points back: a command may have written the pointer.
    pub(crate) fn of(root: &Path, level: Level) -> Self {
        let mut parts = Self::default();
        let dot_git = root.join(".git");
        let Ok(meta) = fs::symlink_metadata(&dot_git) else { return parts };
        if meta.is_dir() {
            parts.protect(&dot_git);
        } else if meta.is_file() {
            parts.read_only.push(dot_git.clone());
            if let Some(git) = points_to(&dot_git, root) {
                if let Some(common) = common_of_worktree(&git, &dot_git) {
                    parts.worktree(git, &common, level);
                } else if is_submodule(&git, root) {
                    parts.protect(&git);
                    parts.writable.push(git);
                }
            }
        }
        parts
    }

    fn worktree(&mut self, git: PathBuf, common: &Path, level: Level) {
        self.protect(common);
        self.existing(&git, &["config.worktree", "commondir", "gitdir"]);
        match level {
            // Packed references are replaced by a rename in the common folder itself.
            Level::Bubblewrap | Level::None => {
                self.writable.push(common.to_owned());
                // The others' heads and indexes.
                self.existing(common, &["worktrees"]);
            }
            // What is allowed for the common folder would be allowed for its hooks too.
            Level::Landlock => {
                self.writable.extend(["objects", "refs", "logs"].map(|name| common.join(name)));
            }
        }
        self.writable.push(git);
    }

    /// Keeps what git runs by itself: hooks, and configuration with its pagers, filters, aliases and monitors. What is
    /// missing is made, empty, as otherwise the command would make it.
    fn protect(&mut self, git: &Path) {
        if !git.join("HEAD").exists() {
            return;
        }
        // A repository that cannot be written needs no protection.
        drop(fs::create_dir(git.join("hooks")));
        drop(fs::OpenOptions::new().write(true).create_new(true).open(git.join("config")));
        let config = fs::read_to_string(git.join("config")).unwrap_or_default();
        if config.to_ascii_lowercase().contains("worktreeconfig") {
            drop(fs::OpenOptions::new().write(true).create_new(true).open(git.join("config.worktree")));
        }
        self.existing(git, &["hooks", "config", "config.worktree"]);
        self.modules(&git.join("modules"), MODULE_DEPTH);
    }

    /// Submodules have whole repositories in there, perhaps several folders down.
    fn modules(&mut self, folder: &Path, depth: usize) {
        if depth == 0 || self.read_only.len() > PARTS_MAX {
            return;
        }
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry.path().join("HEAD").exists() {
                    self.protect(&entry.path());
                } else {
                    self.modules(&entry.path(), depth - 1);
                }
            }
        }
    }

    fn existing(&mut self, folder: &Path, names: &[&str]) {
        self.read_only.extend(names.iter().map(|name| folder.join(name)).filter(|path| path.exists()));
    }
}

/// The folder that a `.git` file names.
fn points_to(dot_git: &Path, root: &Path) -> Option<PathBuf> {
    let text = read_line(dot_git)?;
    fs::canonicalize(root.join(text.strip_prefix("gitdir:")?.trim())).ok()
}

/// The common folder of a worktree's own one, when all three point at each other.
fn common_of_worktree(git: &Path, dot_git: &Path) -> Option<PathBuf> {
    let back = fs::canonicalize(git.join(read_line(&git.join("gitdir"))?)).ok()?;
    let common = fs::canonicalize(git.join(read_line(&git.join("commondir"))?)).ok()?;
    let mutual = back == fs::canonicalize(dot_git).ok()? && git.parent()? == common.join("worktrees");
    (mutual && common.join("objects").is_dir()).then_some(common)
}

/// Whether a folder is the repository of a submodule whose files are in `root`.
fn is_submodule(git: &Path, root: &Path) -> bool {
    let in_modules = git.ancestors().any(|folder| folder.ends_with(".git/modules"));
    let config = fs::read_to_string(git.join("config")).unwrap_or_default();
    let worktree = config.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        name.trim().eq_ignore_ascii_case("worktree").then(|| value.trim())
    });
    let back = worktree.and_then(|path| fs::canonicalize(git.join(path)).ok());
    in_modules && git.join("HEAD").exists() && back.as_deref() == Some(root)
}

fn read_line(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.lines().next()?.trim().to_owned())
}

/// Submodules below submodules, and names with slashes.
const MODULE_DEPTH: usize = 8;
/// Mounts cost time; a repository with more is protected in part.
const PARTS_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    struct World {
        _folder: tempfile::TempDir,
        root: PathBuf,
    }

    fn world() -> World {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        World { _folder: folder, root }
    }

    impl World {
        fn write(&self, name: &str, text: &str) -> PathBuf {
            let path = self.root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            path
        }

        fn at(&self, names: &[&str]) -> Vec<PathBuf> {
            names.iter().map(|name| self.root.join(name)).collect()
        }
    }

    #[test]
    fn hooks_and_configuration_of_a_repository_and_its_submodules_are_kept() {
        let world = world();
        world.write("w/.git/HEAD", "ref: refs/heads/main\n");
        world.write("w/.git/modules/lib/a/HEAD", "");
        world.write("w/.git/modules/lib/a/config", "");
        world.write("w/.git/modules/lib/a/hooks/post-commit", "");
        let parts = Parts::of(&world.root.join("w"), Level::Bubblewrap);
        let kept = ["hooks", "config", "modules/lib/a/hooks", "modules/lib/a/config"];
        let kept = kept.map(|name| format!("w/.git/{name}"));
        assert_eq!(parts.read_only, world.at(&kept.each_ref().map(String::as_str)));
        assert_eq!(parts.writable, Vec::<PathBuf>::new());
        assert!(world.root.join("w/.git/hooks").is_dir(), "a command would have made it otherwise");
        assert_eq!(Parts::of(&world.root, Level::Bubblewrap), Parts::default());
    }

    #[test]
    fn a_worktree_gets_what_it_needs_of_its_repository() {
        let world = world();
        world.write("main/.git/HEAD", "");
        world.write("main/.git/objects/x", "");
        world.write("main/.git/worktrees/other/HEAD", "");
        world.write("main/.git/worktrees/w/commondir", "../..\n");
        let own = world.write("w/.git", "gitdir: ../main/.git/worktrees/w\n");
        world.write("main/.git/worktrees/w/gitdir", &format!("{}\n", own.display()));
        let root = world.root.join("w");
        let parts = Parts::of(&root, Level::Bubblewrap);
        assert_eq!(parts.writable, world.at(&["main/.git", "main/.git/worktrees/w"]));
        assert!(
            world
                .at(&["w/.git", "main/.git/hooks", "main/.git/config", "main/.git/worktrees"])
                .iter()
                .all(|path| parts.read_only.contains(path)),
            "{:?}",
            parts.read_only
        );
        let parts = Parts::of(&root, Level::Landlock);
        let want = ["main/.git/objects", "main/.git/refs", "main/.git/logs", "main/.git/worktrees/w"];
        assert_eq!(parts.writable, world.at(&want));
    }

    #[test]
    fn a_pointer_that_nobody_returns_opens_nothing() {
        let world = world();
        world.write("other/.git/HEAD", "");
        world.write("other/.git/objects/x", "");
        world.write("other/.git/worktrees/v/commondir", "../..\n");
        world.write("other/.git/worktrees/v/gitdir", "/somewhere/else/.git\n");
        world.write("main/.git/modules/m/HEAD", "");
        world.write("main/.git/modules/m/config", "[core]\n\tworktree = ../../../m\n");
        world.write("main/m/.git", "gitdir: ../.git/modules/m\n");
        for target in ["../other/.git/worktrees/v", "../other/.git", "/etc", "../main/.git/modules/m", "gone"]
        {
            let dot_git = world.write("w/.git", &format!("gitdir: {target}\n"));
            let parts = Parts::of(&world.root.join("w"), Level::Bubblewrap);
            assert_eq!(parts, Parts { writable: vec![], read_only: vec![dot_git] }, "{target}");
        }
        // The submodule itself.
        let parts = Parts::of(&world.root.join("main/m"), Level::Bubblewrap);
        assert_eq!(parts.writable, world.at(&["main/.git/modules/m"]));
        let kept = ["main/m/.git", "main/.git/modules/m/hooks", "main/.git/modules/m/config"];
        assert_eq!(parts.read_only, world.at(&kept));
    }
}
