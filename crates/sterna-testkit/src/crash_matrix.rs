//! The crash matrix: the hand-written table of what must be true after a crash, for both levels of its tests.

use std::collections::BTreeMap;

/// What must be true when the last durable record was the one of this row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CrashRow {
    /// What may happen a second time: names of tools, and `model`.
    pub again: Vec<String>,
    /// `fire` is declared unknown; else it happened once.
    pub fire_unknown: bool,
    /// `lend` is rolled back; else it happened once.
    pub lend_back: bool,
    /// Model attempts that died in flight.
    pub lost: usize,
}

/// The rows by their record: the turn where there is one, the body's name, and of an effect its step, kind and ordinal.
///
/// Panics when the table is not one.
pub fn crash_matrix() -> BTreeMap<String, CrashRow> {
    let lines = TABLE.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let mut rows = BTreeMap::new();
    for line in lines {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [record, again, fire, lend, lost] = cells[..] else { panic!("not five cells: {line}") };
        let word = |cell: &str, plain: &str, other: &str| match cell {
            _ if cell == plain => false,
            _ if cell == other => true,
            _ => panic!("`{cell}` is neither {plain} nor {other}: {line}"),
        };
        let row = CrashRow {
            again: again.split(',').map(str::trim).filter(|name| *name != "-").map(str::to_owned).collect(),
            fire_unknown: word(fire, "ok", "unknown"),
            lend_back: word(lend, "ok", "back"),
            lost: lost.parse().unwrap_or_else(|e| panic!("{e}: {line}")),
        };
        assert!(rows.insert(record.to_owned(), row).is_none(), "a row is there twice: {line}");
    }
    rows
}

const TABLE: &str = include_str!("crash_matrix.txt");
