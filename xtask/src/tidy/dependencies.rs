//! Each dependency has its line in docs/dependencies.md, and no line is stale.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::{Files, Problem};

/// Compares the workspace's dependencies with the page about them.
pub fn check(files: &Files) -> Vec<Problem> {
    let (Some(manifest), Some(page)) = (files.get(MANIFEST), files.get(PAGE)) else { return Vec::new() };
    compare(manifest, page)
}

fn compare(manifest: &str, page: &str) -> Vec<Problem> {
    let manifest: Table = match manifest.parse() {
        Ok(manifest) => manifest,
        Err(error) => return vec![Problem::new(MANIFEST, 0, format!("not TOML: {error}"))],
    };
    let used = manifest.get("workspace").and_then(|workspace| workspace.get("dependencies"));
    let used = used.and_then(Value::as_table).cloned().unwrap_or_default();
    let foreign: Vec<&String> =
        used.iter().filter(|(_, value)| value.get("path").is_none()).map(|(name, _)| name).collect();
    let rows = rows(page);
    let mut problems = Vec::new();
    for name in &foreign {
        match rows.get(name.as_str()) {
            None => problems.push(Problem::new(PAGE, 0, format!("`{name}` is used and has no line here"))),
            Some((line, cells)) if cells.len() < COLUMNS || cells.iter().any(String::is_empty) => {
                let what = format!("the line of `{name}` must say what for, over what, and the licence");
                problems.push(Problem::new(PAGE, *line, what));
            }
            Some(_) => {}
        }
    }
    for (name, (line, _)) in &rows {
        if !foreign.contains(&name) {
            problems.push(Problem::new(PAGE, *line, format!("`{name}` is not a dependency any more")));
        }
    }
    problems
}

/// Rows of the tables whose first cell is a name in backticks: the line and all cells.
fn rows(page: &str) -> BTreeMap<String, (usize, Vec<String>)> {
    let mut rows = BTreeMap::new();
    for (number, line) in (1..).zip(page.lines()) {
        let Some(inner) = line.trim().strip_prefix('|').and_then(|line| line.strip_suffix('|')) else {
            continue;
        };
        let cells: Vec<String> = inner.split('|').map(|cell| cell.trim().to_owned()).collect();
        let name = cells[0].strip_prefix('`').and_then(|cell| cell.strip_suffix('`')).map(str::to_owned);
        if let Some(name) = name {
            rows.insert(name, (number, cells));
        }
    }
    rows
}

const MANIFEST: &str = "Cargo.toml";
const PAGE: &str = "docs/dependencies.md";
/// Name, what for, over what, licence.
const COLUMNS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_and_manifest_agree() {
        let manifest =
            "[workspace.dependencies]\nserde = \"1\"\nown = { path = \"x\" }\nbytes = { version = \"1\" }\n";
        let row = |name: &str| format!("| `{name}` | what for | over what | MIT |\n");
        let head = "| crate | for | over | licence |\n|---|---|---|---|\n";
        let table = [
            (row("serde") + &row("bytes"), 0),
            (row("serde"), 1),
            (row("serde") + &row("bytes") + &row("gone"), 1),
            (row("serde") + "| `bytes` | what for |  | MIT |\n", 1),
            (row("serde") + "| `bytes` | what for |\n", 1),
        ];
        for (rows, expected) in table {
            let found = compare(manifest, &(head.to_owned() + &rows));
            assert_eq!(found.len(), expected, "{rows}: {found:?}");
        }
    }
}
