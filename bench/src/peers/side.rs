//! The table side by side: each figure a median of the rounds, and how many times that of Sterna's turn just before it is.

use std::path::Path;

use serde_json::{Value, json};

use crate::peers::OURS;
use crate::peers::once::Run;
use crate::peers::table::{Peer, Turn, Work};
use crate::report::{facts, number, quantile};

/// All that was measured of the peers.
pub struct Side {
    facts: Vec<(&'static str, String)>,
    steps: usize,
    rounds: usize,
    pub rows: Vec<Row>,
    /// What is not measured at all, and why.
    missing: Vec<(String, String)>,
}

/// One way to run one peer.
pub struct Row {
    name: &'static str,
    pub title: &'static str,
    version: String,
    pub label: &'static str,
    work: Work,
    pub runs: Vec<Run>,
    /// Sterna's turn with the same kind of work, just before each of them.
    pub beside: Vec<Run>,
    /// Why there are no more of them.
    pub failed: Option<String>,
}

impl Row {
    pub fn new(peer: &Peer, turn: &Turn, version: String) -> Self {
        let (runs, beside, failed) = (Vec::new(), Vec::new(), None);
        let (name, title, label, work) = (peer.name, peer.title, turn.label, turn.work);
        Self { name, title, version, label, work, runs, beside, failed }
    }

    /// To Sterna, pair by pair. `None` for what stands beside nothing.
    fn ratio(&self, column: &Column) -> Option<f64> {
        let pairs = self.runs.iter().zip(&self.beside);
        let pairs = pairs.map(|(run, ours)| ((column.get)(run), (column.get)(ours)));
        let ratios: Vec<f64> = pairs.filter(|(_, ours)| *ours > 0.0).map(|(run, ours)| run / ours).collect();
        (column.compared && !ratios.is_empty()).then(|| quantile(&ratios, 0.5))
    }

    fn median(&self, get: fn(&Run) -> f64) -> f64 {
        quantile(&self.runs.iter().map(get).collect::<Vec<_>>(), 0.5)
    }
}

impl Side {
    pub fn new(dir: &Path, steps: usize, rounds: usize) -> Self {
        Self { facts: facts(dir), steps, rounds, rows: Vec::new(), missing: Vec::new() }
    }

    pub fn missing(&mut self, what: &str, why: String) {
        eprintln!("{what}: {why}");
        self.missing.push((what.to_owned(), why));
    }

    /// Where Sterna's turn stands that this row is to be compared with. `None` for that turn itself.
    pub fn ours(&self, row: usize) -> Option<usize> {
        let work = self.rows.get(row)?.work;
        let ours = self.rows.iter().position(|ours| ours.name == OURS && ours.work == work)?;
        (ours != row).then_some(ours)
    }

    pub fn text(&self) -> String {
        let mut out = String::new();
        for (name, value) in self.facts.iter().chain(&[after()]) {
            out.push_str(&format!("{name}: {value}\n"));
        }
        out.push_str(&format!("steps: {}, rounds: {}\n\n", self.steps, self.rounds));
        out.push_str(&aligned(&self.lines()));
        out.push_str(
            "\nMedians of the rounds; in brackets the median of the ratios to Sterna's turn with the same \
             kind of work just before.\n",
        );
        for (what, why) in &self.missing {
            out.push_str(&format!("\n{what}: {why}\n"));
        }
        for row in &self.rows {
            if let Some(why) = &row.failed {
                let why = why.replace('\n', "\n    ");
                out.push_str(&format!("\n{}, {}: failed: {why}\n", row.title, row.label));
            }
            let mut outside: Vec<&str> =
                row.runs.iter().flat_map(|run| &run.outside).map(String::as_str).collect();
            outside.sort_unstable();
            outside.dedup();
            if !outside.is_empty() {
                let hosts = outside.join(", ");
                out.push_str(&format!("\n{}, {}: asked for {hosts}, in vain\n", row.title, row.label));
            }
        }
        out
    }

    fn lines(&self) -> Vec<Vec<String>> {
        let head = ["peer", "version", "wire, tool"].into_iter().chain(COLUMNS.map(|column| column.title));
        let mut lines: Vec<Vec<String>> = vec![head.map(str::to_owned).collect()];
        for row in self.rows.iter().filter(|row| !row.runs.is_empty()) {
            let mut line = vec![row.title.to_owned(), row.version.clone(), row.label.to_owned()];
            line.extend(COLUMNS.iter().map(|column| match row.ratio(column) {
                Some(ratio) => format!("{} ({}×)", number(row.median(column.get)), number(ratio)),
                None => number(row.median(column.get)),
            }));
            lines.push(line);
        }
        lines
    }

    pub fn json(&self) -> String {
        let facts: serde_json::Map<String, Value> = self
            .facts
            .iter()
            .chain(&[after()])
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                let figures: serde_json::Map<String, Value> = COLUMNS
                    .iter()
                    .map(|column| {
                        let all: Vec<f64> = row.runs.iter().map(column.get).collect();
                        let ratio = row.ratio(column);
                        (column.title.to_owned(), json!({ "rounds": all, "ratio": ratio }))
                    })
                    .collect();
                let asides: Vec<usize> = row.runs.iter().map(|run| run.asides).collect();
                json!({
                    "peer": row.title, "version": row.version, "turn": row.label, "failed": row.failed,
                    "figures": figures, "requests_beside": asides,
                })
            })
            .collect();
        let missing: Vec<Value> =
            self.missing.iter().map(|(what, why)| json!({ "peer": what, "why": why })).collect();
        json!({ "facts": facts, "steps": self.steps, "rows": rows, "missing": missing }).to_string()
    }
}

/// A figure of a run.
struct Column {
    title: &'static str,
    get: fn(&Run) -> f64,
    compared: bool,
}

const COLUMNS: [Column; 9] = [
    Column { title: "start to first request, ms", get: |run| run.start, compared: true },
    Column { title: "overhead a step, ms", get: Run::overhead, compared: true },
    Column { title: "steps 1–10, ms", get: Run::overhead_first, compared: true },
    Column { title: "last 10, ms", get: Run::overhead_last, compared: true },
    Column { title: "CPU, s", get: |run| run.cpu, compared: true },
    Column { title: "peak, MB", get: |run| run.peak_mb, compared: true },
    Column { title: "wall, s", get: |run| run.wall, compared: true },
    Column { title: "first request, kB", get: |run| run.first_kb, compared: false },
    Column { title: "last request, kB", get: |run| run.last_kb, compared: false },
];

fn after() -> (&'static str, String) {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    ("load after", load.trim().to_owned())
}

fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for (at, line) in lines.iter().enumerate() {
        let cells: Vec<String> =
            line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        out.push_str(&format!("| {} |\n", cells.join(" | ")));
        if at == 0 {
            let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
            out.push_str(&format!("| {} |\n", rule.join(" | ")));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::table::PEERS;

    fn run(start: f64) -> Run {
        let (cpu, peak_mb, wall) = (0.1, 20.0, 0.2);
        let (first_kb, last_kb, asides) = (4.0, 9.0, 0);
        Run {
            start,
            overheads: vec![1.0; 20],
            cpu,
            peak_mb,
            wall,
            first_kb,
            last_kb,
            asides,
            outside: Vec::new(),
        }
    }

    #[test]
    fn the_table_stands_peers_beside_sterna_and_names_what_is_not_there() {
        let mut side = Side::new(Path::new("/"), 20, 2);
        let none: &[f64] = &[];
        for (at, starts, beside) in [(0, [5.0, 10.0], none), (3, [100.0, 100.0], &[5.0, 10.0])] {
            let mut row = Row::new(&PEERS[at], &PEERS[at].turns[0], "1.2.3".into());
            row.runs = starts.map(run).to_vec();
            row.beside = beside.iter().copied().map(run).collect();
            side.rows.push(row);
        }
        assert_eq!((side.ours(0), side.ours(1)), (None, Some(0)));
        let mut broken = Row::new(&PEERS[1], &PEERS[1].turns[0], "0.1".into());
        broken.failed = Some("no request came\nlast words".into());
        side.rows.push(broken);
        side.missing("opencode", "not installed: npm install opencode-ai".into());
        let lines = side.lines();
        let starts: Vec<(&str, &str)> =
            lines.iter().map(|line| (line[0].as_str(), line[3].as_str())).collect();
        // Pair by pair: 100 / 5 and 100 / 10.
        let expected = [("peer", "start to first request, ms"), ("Sterna", "10.0"), ("pi", "100 (20.0×)")];
        assert_eq!(starts, expected);
        let text = side.text();
        assert!(text.contains("\nopencode: not installed: npm install opencode-ai\n"), "{text}");
        assert!(
            text.contains("\nCodex CLI, Responses, `update_plan`: failed: no request came\n    last words\n")
        );
    }
}
