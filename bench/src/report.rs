//! Rows of figures: ours and the floor's, pair by pair.

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use crate::plot::{Bar, svg};

/// All that was measured.
pub struct Report {
    facts: Vec<(&'static str, String)>,
    measure: &'static str,
    rows: Vec<Row>,
}

struct Row {
    /// The measure that it belongs to.
    measure: &'static str,
    what: String,
    unit: &'static str,
    ours: Vec<f64>,
    floor: Vec<f64>,
    /// What the design asks of ours, in words.
    target: &'static str,
}

impl Report {
    pub fn new(dir: &Path) -> Self {
        Self { facts: facts(dir), measure: "", rows: Vec::new() }
    }

    /// What is told from here on belongs to this measure.
    pub fn begin(&mut self, measure: &'static str) {
        self.measure = measure;
    }

    /// Pairs of ours and the floor, each pair measured one after the other.
    pub fn pairs(
        &mut self,
        what: impl Into<String>,
        unit: &'static str,
        target: &'static str,
        pairs: &[(f64, f64)],
    ) {
        let (ours, floor) = pairs.iter().copied().unzip();
        self.rows.push(Row { measure: self.measure, what: what.into(), unit, ours, floor, target });
    }

    /// A figure that has no floor.
    pub fn alone(&mut self, what: impl Into<String>, unit: &'static str, target: &'static str, ours: &[f64]) {
        let (measure, ours) = (self.measure, ours.to_vec());
        self.rows.push(Row { measure, what: what.into(), unit, ours, floor: Vec::new(), target });
    }

    pub fn text(&self) -> String {
        let mut out = String::new();
        for (name, value) in &self.facts {
            out.push_str(&format!("{name}: {value}\n"));
        }
        let heads = ["measure", "unit", "ours", "floor", "ours / floor", "target"].map(str::to_owned);
        let mut lines = vec![heads];
        lines.extend(self.rows.iter().map(|row| {
            [
                row.what.clone(),
                row.unit.to_owned(),
                spread(&row.ours),
                spread(&row.floor),
                spread(&row.ratios()),
                row.target.to_owned(),
            ]
        }));
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..6).map(width).collect();
        for (at, line) in lines.iter().enumerate() {
            let cells: Vec<String> =
                line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            out.push_str(&format!("\n| {} |", cells.join(" | ")));
            if at == 0 {
                let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
                out.push_str(&format!("\n| {} |", rule.join(" | ")));
            }
        }
        out.push_str("\n\nFigures are min / median / max of the rounds; ratios are taken pair by pair.");
        out
    }

    /// A picture of the ratios of each measure, in a file of its name.
    pub fn draw(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder)?;
        let mut measures: Vec<&str> = self.rows.iter().map(|row| row.measure).collect();
        measures.dedup();
        for measure in measures {
            let of = self.rows.iter().filter(|row| row.measure == measure);
            let bars: Vec<Bar> = of
                .filter(|row| !row.ratios().is_empty())
                .map(|row| Bar { name: row.what.clone(), ratio: quantile(&row.ratios(), 0.5) })
                .collect();
            if !bars.is_empty() {
                std::fs::write(folder.join(format!("bench-{measure}.svg")), svg(measure, &bars))?;
            }
        }
        Ok(())
    }

    pub fn json(&self) -> String {
        let facts: serde_json::Map<String, Value> =
            self.facts.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                json!({
                    "of": row.measure, "measure": row.what, "unit": row.unit, "target": row.target,
                    "ours": of(&row.ours), "floor": of(&row.floor), "ratio": of(&row.ratios()),
                    "pairs": row.ours.len(),
                })
            })
            .collect();
        json!({ "facts": facts, "rows": rows }).to_string()
    }
}

impl Row {
    fn ratios(&self) -> Vec<f64> {
        self.ours.iter().zip(&self.floor).filter(|(_, floor)| **floor > 0.0).map(|(a, b)| a / b).collect()
    }
}

/// The value below which this share of the samples lies.
pub fn quantile(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = ((sorted.len() as f64 - 1.0).max(0.0) * share).round() as usize;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

fn of(samples: &[f64]) -> Value {
    if samples.is_empty() {
        return Value::Null;
    }
    json!({ "min": quantile(samples, 0.0), "median": quantile(samples, 0.5), "max": quantile(samples, 1.0) })
}

fn spread(samples: &[f64]) -> String {
    match samples {
        [] => "–".into(),
        [one] => number(*one),
        many => {
            let at = |share: f64| number(quantile(many, share));
            format!("{} / {} / {}", at(0.0), at(0.5), at(1.0))
        }
    }
}

pub fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// What the figures depend on.
pub fn facts(dir: &Path) -> Vec<(&'static str, String)> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let dir = std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    let mounts = read("/proc/mounts");
    let mount = mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            Some((fields.next()?, fields.next()?))
        })
        .filter(|(at, _)| dir.starts_with(at))
        .max_by_key(|(at, _)| at.len());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    vec![
        ("cpu", format!("{}, {cores} cores", cpu.trim_start_matches([' ', '\t', ':']))),
        ("kernel", read("/proc/sys/kernel/osrelease").trim().to_owned()),
        ("store on", mount.map_or_else(|| "unknown".into(), |(_, kind)| kind.to_owned())),
        ("load before", read("/proc/loadavg").trim().to_owned()),
        ("unix time", now.as_secs().to_string()),
    ]
}
