//! Dependencies point inwards only.

use std::collections::BTreeSet;

use toml::{Table, Value};

use super::{Files, Problem};

/// A crate's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ring {
    Words,
    Decisions,
    Hands,
    Driver,
    Doors,
    /// Only for tests and chores: nothing that ships depends on it.
    Outside,
}

impl Ring {
    fn number(self) -> u8 {
        self as u8
    }
}

/// The ring of a crate; `None` for one that is not ours.
pub fn ring_of(name: &str) -> Option<Ring> {
    RINGS.iter().find(|(known, _)| *known == name).map(|(_, ring)| *ring)
}

/// Checks the manifest of each crate of the workspace.
pub fn check(files: &Files) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (path, text) in files.iter().filter(|(path, _)| is_manifest(path)) {
        problems.extend(check_manifest(path, text));
    }
    problems
}

/// Checks one crate's `Cargo.toml`.
pub fn check_manifest(path: &str, text: &str) -> Vec<Problem> {
    let problem = |what: String| Problem::new(path, 0, what);
    let manifest: Table = match text.parse() {
        Ok(manifest) => manifest,
        Err(error) => return vec![problem(format!("not TOML: {error}"))],
    };
    let name =
        manifest.get("package").and_then(|p| p.get("name")).and_then(Value::as_str).unwrap_or_default();
    let Some(ring) = ring_of(name) else {
        return vec![problem(format!("`{name}` is not in the table of rings (xtask/src/tidy/rings.rs)"))];
    };
    let mut problems = Vec::new();
    for dependency in dependencies(&manifest, &["dependencies", "build-dependencies"]) {
        problems.extend(edge(name, ring, &dependency).map(problem));
    }
    if ring <= Ring::Decisions {
        for dependency in dependencies(&manifest, &["dependencies", "build-dependencies", "dev-dependencies"])
        {
            if IMPURE.contains(&dependency.as_str()) {
                let number = ring.number();
                problems.push(problem(format!(
                    "`{dependency}` in ring {number}, which decides and does nothing"
                )));
            }
        }
    }
    problems
}

/// What is wrong with an arrow, if anything is.
fn edge(from: &str, ring: Ring, to: &str) -> Option<String> {
    let Some(target) = ring_of(to) else {
        return to.starts_with("sterna").then(|| format!("`{to}` is not in the table of rings"));
    };
    if target == Ring::Outside && ring != Ring::Outside {
        return Some(format!("`{to}` is for tests and chores: only dev-dependencies may name it"));
    }
    if target < ring || WITHIN.contains(&(from, to)) {
        return None;
    }
    let (a, b) = (ring.number(), target.number());
    Some(format!("`{from}` (ring {a}) must not depend on `{to}` (ring {b}): arrows point inwards"))
}

/// Names of the crates in these tables, for all targets, renamed ones by their own name.
fn dependencies(manifest: &Table, tables: &[&str]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut take = |holder: &Table| {
        for table in tables.iter().filter_map(|name| holder.get(*name)?.as_table()) {
            for (key, value) in table {
                let package = value.get("package").and_then(Value::as_str);
                names.insert(package.unwrap_or(key).to_owned());
            }
        }
    };
    take(manifest);
    let targets = manifest.get("target").and_then(Value::as_table);
    for target in targets.into_iter().flat_map(Table::values).filter_map(Value::as_table) {
        take(target);
    }
    names
}

/// Manifests of members, not the workspace's own.
fn is_manifest(path: &str) -> bool {
    path.ends_with("/Cargo.toml") && !path.starts_with("examples/") && !path.contains("/tests/")
}

/// Every crate has its place. A new crate or arrow is a decision, with a page in docs/adr.
const RINGS: [(&str, Ring); 26] = [
    ("sterna-model", Ring::Words),
    ("sterna-turn", Ring::Decisions),
    ("sterna-context", Ring::Decisions),
    ("sterna-policy", Ring::Decisions),
    ("sterna-secrets", Ring::Decisions),
    ("sterna-llm", Ring::Decisions),
    ("sterna-log", Ring::Decisions),
    ("sterna-tool", Ring::Decisions),
    ("sterna-llm-http", Ring::Hands),
    ("sterna-sqlite", Ring::Hands),
    ("sterna-blobs", Ring::Hands),
    ("sterna-checkpoint", Ring::Hands),
    ("sterna-shell", Ring::Hands),
    ("sterna-import", Ring::Hands),
    ("sterna-mcp", Ring::Hands),
    ("sterna-memory", Ring::Hands),
    ("sterna-automation", Ring::Hands),
    ("sterna-tools", Ring::Hands),
    ("sterna-runtime", Ring::Driver),
    ("sterna", Ring::Doors),
    ("sterna-cli", Ring::Doors),
    ("sterna-testkit", Ring::Outside),
    ("sterna-sim", Ring::Outside),
    ("sterna-bench", Ring::Outside),
    ("sterna-hot", Ring::Outside),
    ("xtask", Ring::Outside),
];

/// The arrows inside a ring. The turn machine has none: it knows words only.
const WITHIN: [(&str, &str); 9] = [
    ("sterna-context", "sterna-llm"),
    ("sterna-context", "sterna-log"),
    ("sterna-tool", "sterna-log"),
    ("sterna-sqlite", "sterna-blobs"),
    ("sterna-tools", "sterna-shell"),
    ("sterna-mcp", "sterna-shell"),
    ("sterna-cli", "sterna"),
    ("sterna-bench", "sterna-testkit"),
    ("sterna-bench", "sterna-hot"),
];

/// Crates that do, or that know the time, the machine or chance.
const IMPURE: [&str; 17] = [
    "tokio",
    "tokio-util",
    "reqwest",
    "hyper",
    "rusqlite",
    "rustix",
    "libc",
    "nix",
    "rand",
    "getrandom",
    "fastrand",
    "uuid",
    "chrono",
    "jiff",
    "time",
    "tempfile",
    "dirs",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(name: &str, tables: &str) -> Vec<String> {
        let text = format!("[package]\nname = \"{name}\"\n{tables}");
        check_manifest("Cargo.toml", &text).into_iter().map(|problem| problem.what).collect()
    }

    #[test]
    fn arrows_point_inwards() {
        // Crate, its tables, and a word of each complaint.
        let table: [(&str, &str, &[&str]); 12] = [
            ("sterna-turn", "[dependencies]\nsterna-model.workspace = true", &[]),
            ("sterna-turn", "[dependencies]\nsterna-log.workspace = true", &["sterna-log"]),
            ("sterna-context", "[dependencies]\nsterna-log.workspace = true\nsterna-llm = {}", &[]),
            ("sterna-log", "[dependencies]\nsterna-context = {}", &["sterna-context"]),
            ("sterna-model", "[dependencies]\nsterna-runtime = {}", &["sterna-runtime"]),
            ("sterna-tools", "[dependencies]\nsterna-shell = {}\nsterna-sqlite = {}", &["sterna-sqlite"]),
            ("sterna-runtime", "[dependencies]\nsterna-sqlite = {}", &[]),
            ("sterna-runtime", "[target.'cfg(unix)'.dependencies]\nsterna = {}", &["`sterna`"]),
            ("sterna-shell", "[dev-dependencies]\nsterna-testkit = {}", &[]),
            ("sterna-shell", "[dependencies]\nsterna-testkit = {}", &["sterna-testkit"]),
            ("sterna-shell", "[dependencies]\nx = { package = \"sterna-cli\" }", &["sterna-cli"]),
            ("sterna-magic", "", &["table of rings"]),
        ];
        for (name, tables, expected) in table {
            let found = problems(name, tables);
            assert_eq!(found.len(), expected.len(), "{name} {tables}: {found:?}");
            for (found, expected) in found.iter().zip(expected) {
                assert!(found.contains(expected), "{found}");
            }
        }
    }

    #[test]
    fn the_inner_rings_do_nothing() {
        assert_eq!(problems("sterna-log", "[dependencies]\ntokio = \"1\"\nserde = \"1\"").len(), 1);
        assert_eq!(problems("sterna-policy", "[dev-dependencies]\ntempfile = \"3\"").len(), 1);
        assert_eq!(problems("sterna-sqlite", "[dependencies]\nrusqlite = \"1\"").len(), 0);
    }

    #[test]
    fn arrows_inside_a_ring_make_no_circle() {
        // Each arrow leads to a crate from which no listed arrow leads back.
        for (from, to) in WITHIN {
            let mut reached = vec![to];
            while let Some((_, next)) =
                WITHIN.iter().find(|(a, b)| reached.contains(a) && !reached.contains(b))
            {
                reached.push(next);
            }
            assert!(!reached.contains(&from), "{from} -> {to}");
            assert_eq!(ring_of(from), ring_of(to), "{from} -> {to} needs no leave");
        }
    }
}
