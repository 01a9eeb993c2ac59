//! Rings 0 and 1 read no clock, randomness, environment or file, and every crate says what it must never know.

use super::blank::{blank, without_tests};
use super::rings::{Ring, ring_of};
use super::sizes::is_test_file;
use super::{Files, Problem};

/// Looks for the world in a source of rings 0 and 1.
pub fn check_source(path: &str, source: &str) -> Vec<Problem> {
    let pure = crate_of(path).and_then(ring_of).is_some_and(|ring| ring <= Ring::Decisions);
    if !pure || is_test_file(path) {
        return Vec::new();
    }
    let code = without_tests(&blank(source).code);
    let mut problems = Vec::new();
    for (number, line) in (1..).zip(code.lines()) {
        for word in WORLD.iter().filter(|word| has_path(line, word)) {
            problems.push(Problem::new(
                path,
                number,
                format!("`{word}` in ring 0 or 1, which must not know the world"),
            ));
        }
    }
    for (number, name) in grouped(&code) {
        if WORLD_MODULES.contains(&name.as_str()) {
            let what = format!("`std::{name}` in ring 0 or 1, which must not know the world");
            problems.push(Problem::new(path, number, what));
        }
    }
    problems
}

/// Checks that each crate has a doc, and says what it must never know.
pub fn check_docs(files: &Files) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (path, source) in files {
        let Some(name) = crate_of(path) else { continue };
        let root = ["lib.rs", "main.rs"].iter().any(|file| *path == format!("crates/{name}/src/{file}"));
        if !root {
            continue;
        }
        let doc: Vec<&str> = source.lines().filter_map(|line| line.strip_prefix("//!")).collect();
        let doc = doc.join(" ").split_whitespace().collect::<Vec<_>>().join(" ");
        if doc.is_empty() {
            problems.push(Problem::new(path, 1, "no `//!` doc: say the crate's job in one sentence"));
        } else if ring_of(name).is_some_and(|ring| ring <= Ring::Driver) && !doc.contains("must never") {
            problems.push(Problem::new(path, 1, "the `//!` doc does not say what the crate must never know"));
        }
    }
    problems
}

/// The crate that a file of `crates/` belongs to.
fn crate_of(path: &str) -> Option<&str> {
    path.strip_prefix("crates/")?.split('/').next()
}

/// Whether the path stands in the line as whole words.
fn has_path(line: &str, path: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(path).any(|(at, found)| {
        let before = line[..at].chars().next_back();
        let after = line[at + found.len()..].chars().next();
        !before.is_some_and(word) && !after.is_some_and(word)
    })
}

/// Names directly inside `use std::{…}`, with their lines.
fn grouped(code: &str) -> Vec<(usize, String)> {
    let mut names = Vec::new();
    for (at, opening) in code.match_indices("std::{") {
        let mut depth = 0usize;
        let mut name = String::new();
        let mut taking = true;
        for c in code[at + opening.len()..].chars() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    names.push((line_of(code, at), std::mem::take(&mut name)));
                    taking = true;
                }
                ':' | ' ' if depth == 0 && !name.is_empty() => taking = false,
                c if depth == 0 && taking && !c.is_whitespace() => name.push(c),
                _ => {}
            }
        }
        names.push((line_of(code, at), name));
    }
    names
}

fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

const WORLD: [&str; 10] = [
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::os",
    "SystemTime",
    "Instant::now",
    "thread::sleep",
    "thread_rng",
    "rand",
];
const WORLD_MODULES: [&str; 5] = ["fs", "net", "env", "process", "os"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_world_is_found_where_it_is_used() {
        // Source, and the lines complained about.
        let table: [(&str, &[usize]); 11] = [
            ("use std::fmt;", &[]),
            ("use std::fs;", &[1]),
            ("//! never std::fs\nfn a() {}", &[]),
            ("const A: &str = \"std::env\";", &[]),
            ("fn a() {\n    std::fs::read(p)\n}", &[2]),
            ("use std::{fmt, fs::File};", &[1]),
            ("use std::{\n    collections::{BTreeMap, fs},\n    io,\n};", &[]),
            ("use std::time::{Duration, SystemTime};", &[1]),
            ("#[cfg(test)]\nmod tests { use std::fs; }", &[]),
            ("let brand = operand;", &[]),
            ("let x = rand::random();", &[1]),
        ];
        for (source, lines) in table {
            let found = check_source("crates/sterna-log/src/a.rs", source);
            let found: Vec<usize> = found.iter().map(|problem| problem.line).collect();
            assert_eq!(found, lines, "{source}");
        }
        assert_eq!(check_source("crates/sterna-sqlite/src/a.rs", "use std::fs;"), []);
        assert_eq!(check_source("crates/sterna-log/src/a_tests.rs", "use std::fs;"), []);
    }

    #[test]
    fn crates_say_what_they_must_never_know() {
        let file = |path: &str, text: &str| Files::from([(path.to_owned(), text.to_owned())]);
        let count = |path, text| check_docs(&file(path, text)).len();
        assert_eq!(count("crates/sterna-turn/src/lib.rs", "//! It must\n//! never know a clock."), 0);
        assert_eq!(count("crates/sterna-turn/src/lib.rs", "//! Turns."), 1);
        assert_eq!(count("crates/sterna-turn/src/turn.rs", ""), 0);
        assert_eq!(count("crates/sterna-cli/src/main.rs", "//! The binary."), 0);
        assert_eq!(count("crates/sterna-cli/src/main.rs", "fn main() {}"), 1);
    }
}
