//! What the repository promises about itself, as checks on its text.
//!
//! Each check is a function from text to problems. Only this file reads the disk.

mod blank;
mod dependencies;
mod links;
mod purity;
mod rings;
mod scenarios;
mod sizes;
mod text;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::{Context, Result};
use walkdir::{DirEntry, WalkDir};

/// Something that is not as promised.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Relative to the workspace.
    pub path: String,
    /// From 1; 0 for the whole file.
    pub line: usize,
    pub what: String,
}

impl Problem {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.into(), line, what: what.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.what),
            line => write!(f, "{}:{line}: {}", self.path, self.what),
        }
    }
}

/// The repository's text files by path relative to its root, `/` between folders.
pub type Files = BTreeMap<String, String>;

/// Runs all checks over a checkout.
pub fn run(root: &Path) -> Result<Vec<Problem>> {
    let files = read(root)?;
    let mut problems = check(&files);
    problems.sort();
    problems.dedup();
    Ok(problems)
}

/// Runs all checks over files.
fn check(files: &Files) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (path, text) in files {
        problems.extend(text::check(path, text));
        if path.ends_with(".rs") {
            problems.extend(sizes::check(path, text));
            problems.extend(purity::check_source(path, text));
        }
    }
    problems.extend(rings::check(files));
    problems.extend(purity::check_docs(files));
    problems.extend(links::check(files));
    problems.extend(dependencies::check(files));
    problems.extend(scenarios::check(files));
    for needed in NEEDED {
        if !files.contains_key(needed) {
            problems.push(Problem::new(needed, 0, "this file must exist"));
        }
    }
    problems
}

fn read(root: &Path) -> Result<Files> {
    let mut files = Files::new();
    for entry in WalkDir::new(root).into_iter().filter_entry(|entry| !skipped(root, entry)) {
        let entry = entry.with_context(|| format!("reading {}", root.display()))?;
        if !entry.file_type().is_file() {
            continue;
        }
        let bytes =
            std::fs::read(entry.path()).with_context(|| format!("reading {}", entry.path().display()))?;
        // What is not text has no promise to keep; links may point at it all the same.
        let text = String::from_utf8(bytes).unwrap_or_default();
        let relative = entry.path().strip_prefix(root).context("a file of the workspace")?;
        let parts: Vec<_> = relative.components().map(|part| part.as_os_str().to_string_lossy()).collect();
        files.insert(parts.join("/"), text);
    }
    Ok(files)
}

/// Built, fetched, or kept by tools.
fn skipped(root: &Path, entry: &DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy();
    let built =
        entry.file_type().is_dir() && ["target", "node_modules", "__pycache__", ".git"].contains(&&*name);
    built || entry.path() == root.join("docs/book") || entry.path() == root.join(".git")
}

/// Files that people look for.
const NEEDED: [&str; 10] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "LICENSE-MIT",
    "LICENSE-APACHE",
    "deny.toml",
    "events.schema.json",
    "docs/dependencies.md",
    "docs/scenarios.md",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_say_where() {
        assert_eq!(Problem::new("a/b.rs", 3, "no").to_string(), "a/b.rs:3: no");
        assert_eq!(Problem::new("a/b.rs", 0, "no").to_string(), "a/b.rs: no");
    }

    #[test]
    fn an_empty_repository_lacks_what_people_look_for() {
        let problems = check(&Files::new());
        for needed in NEEDED {
            assert!(problems.iter().any(|problem| problem.path == needed), "{needed}");
        }
    }
}
