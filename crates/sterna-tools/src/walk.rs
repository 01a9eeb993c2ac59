//! Walking a folder: in order, without following symlinks, without what ignore files name.

use std::path::Path;

use globset::{GlobBuilder, GlobMatcher};
use ignore::WalkBuilder;
use sterna_tool::{ToolError, shown};

use crate::file::{Trouble, open_folder};

/// Which entries a walk leaves out.
#[derive(Clone, Copy)]
pub(crate) struct Filters {
    pub hidden: bool,
    pub ignored: bool,
}

/// A walk below `root`, each folder sorted by name. `.git` is never entered, unless it is the root.
pub(crate) fn walk(root: &Path, leave_out: Filters) -> WalkBuilder {
    let mut walk = WalkBuilder::new(root);
    walk.standard_filters(false)
        .hidden(leave_out.hidden)
        .ignore(leave_out.ignored)
        .git_ignore(leave_out.ignored)
        .git_exclude(leave_out.ignored)
        .parents(leave_out.ignored)
        .require_git(false)
        .follow_links(false)
        .sort_by_file_name(Ord::cmp)
        .filter_entry(|entry| {
            let inside_git =
                entry.path().parent().is_some_and(|parent| parent.file_name() == Some(".git".as_ref()));
            entry.depth() < 2 || !inside_git
        });
    walk
}

/// The folder is there, and no symlink has taken its place or that of one above.
pub(crate) fn check_folder(path: &Path, cwd: &Path) -> Result<(), ToolError> {
    match open_folder(path, false) {
        Ok(_) => Ok(()),
        Err(Trouble::Io(error)) if error.kind() == std::io::ErrorKind::NotADirectory => {
            Err(ToolError::failed(format!("`{}` is not a folder", shown(path, cwd))))
        }
        Err(trouble) => Err(trouble.told(path, cwd)),
    }
}

/// A pattern for paths relative to a folder. Without a `/` it is for names at any depth.
pub(crate) fn pattern(glob: &str) -> Result<GlobMatcher, ToolError> {
    if glob.is_empty() || glob.starts_with('/') || glob.split('/').any(|part| part == "..") {
        return Err(ToolError::invalid(format!(
            "pattern `{glob}` is not relative to a folder; give the folder as path and the rest as pattern"
        )));
    }
    let glob = glob.strip_prefix("./").unwrap_or(glob);
    let anywhere = if glob.contains('/') { glob.to_owned() } else { format!("**/{glob}") };
    let built = GlobBuilder::new(&anywhere).literal_separator(true).build();
    built
        .map(|glob| glob.compile_matcher())
        .map_err(|error| ToolError::invalid(format!("pattern `{glob}`: {}", error.kind())))
}

/// Whether a pattern itself names something hidden.
pub(crate) fn names_hidden(glob: &str) -> bool {
    glob.strip_prefix("./")
        .unwrap_or(glob)
        .split(['/', '{', ','])
        .any(|part| part.starts_with('.') && part.len() > 1)
}
