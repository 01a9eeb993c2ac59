//! The map from scenarios to tests tells the truth.
//!
//! A row is `| SC-01 | what must be observed | tests | what is not covered |`. The third cell holds tests as
//! `` `crate_name::path::test_name` ``, or `—` when there is none; then the last cell says why.

use super::{Files, Problem};

/// Checks the map against the sources.
pub fn check(files: &Files) -> Vec<Problem> {
    let Some(page) = files.get(PAGE) else { return Vec::new() };
    let mut problems = Vec::new();
    let mut last = String::new();
    for (number, line) in (1..).zip(page.lines()) {
        let Some(row) = row(line) else { continue };
        let mut wrong = |what: String| problems.push(Problem::new(PAGE, number, what));
        let [id, _, tests, open] = row.as_slice() else {
            wrong("a row has four cells: scenario, observed, tests, open".into());
            continue;
        };
        if *id <= last {
            wrong(format!("`{id}` is not in order, or is there twice"));
        }
        last.clone_from(id);
        let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        if names.is_empty() {
            if tests != NONE {
                wrong(format!("`{id}` names no test: write {NONE}, and why in the last cell"));
            } else if open.is_empty() || open == NONE {
                wrong(format!("`{id}` has no test, and the last cell does not say why"));
            }
        }
        for name in names {
            if !exists(files, name) {
                wrong(format!("`{id}`: there is no test `{name}`"));
            }
        }
    }
    problems
}

/// Whether a test of this path is in its crate. Only the crate and the last name are looked at.
fn exists(files: &Files, path: &str) -> bool {
    let (Some((krate, rest)), Some(name)) = (path.split_once("::"), path.rsplit("::").next()) else {
        return false;
    };
    if rest.is_empty() || name.is_empty() {
        return false;
    }
    let folder = format!("crates/{}/", krate.replace('_', "-"));
    let of_crate = files.range(folder.clone()..).take_while(|(path, _)| path.starts_with(&folder));
    let wanted = format!("fn {name}");
    let follows = |text: &str, at: usize| text[at + wanted.len()..].chars().next();
    of_crate.filter(|(path, _)| path.ends_with(".rs")).any(|(_, text)| {
        text.match_indices(&wanted).any(|(at, _)| follows(text, at).is_some_and(|c| c == '(' || c == '<'))
    })
}

fn row(line: &str) -> Option<Vec<String>> {
    let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    let cells: Vec<String> = inner.split('|').map(|cell| cell.trim().to_owned()).collect();
    cells[0].starts_with("SC-").then_some(cells)
}

const PAGE: &str = "docs/scenarios.md";
const NONE: &str = "—";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_tells_the_truth() {
        let source =
            ("crates/sterna-log/src/a.rs".to_owned(), "#[test]\nfn holds() {}\nfn held() {}".to_owned());
        let count = |rows: &str| {
            let page =
                ("docs/scenarios.md".to_owned(), format!("| # | a | b | c |\n|---|---|---|---|\n{rows}"));
            check(&Files::from([source.clone(), page])).len()
        };
        let table = [
            ("| SC-01 | x | `sterna_log::a::holds` | |", 0),
            ("| SC-01 | x | `sterna-log::holds`, `sterna_log::held` | later |", 0),
            ("| SC-01 | x | `sterna_log::a::gone` | |", 1),
            ("| SC-01 | x | `sterna_log::a::hol` | |", 1),
            ("| SC-01 | x | `sterna_turn::holds` | |", 1),
            ("| SC-01 | x | `holds` | |", 1),
            ("| SC-01 | x | — | the shim is not built |", 0),
            ("| SC-01 | x | — | |", 1),
            ("| SC-01 | x | | why |", 1),
            ("| SC-01 | x | — |", 1),
            ("| SC-02 | x | — | why |\n| SC-01 | x | — | why |", 1),
        ];
        for (rows, expected) in table {
            assert_eq!(count(rows), expected, "{rows}");
        }
    }
}
