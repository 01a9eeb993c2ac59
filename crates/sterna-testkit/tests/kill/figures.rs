//! What many runs came to, as a table for people.

use std::fmt::Write;
use std::time::Duration;

use sterna::model::ToolStatus;

use super::run::Lived;
use super::script::{EFFECTS, Promise};

#[derive(Default)]
pub struct Figures {
    pub runs: usize,
    kills: usize,
    at_records: usize,
    orphans: usize,
    spools: usize,
    pub failed: usize,
    effects: [Row; EFFECTS.len()],
}

#[derive(Default, Clone, Copy)]
struct Row {
    /// Never, once, more than once.
    happened: [usize; 3],
    told: usize,
    unknown: usize,
    rolled_back: usize,
}

impl Figures {
    pub fn add(&mut self, lived: &Lived) {
        self.runs += 1;
        self.kills += lived.kills;
        self.at_records += lived.at_records;
        self.orphans += lived.orphans;
        self.spools += lived.spools;
        self.failed += usize::from(!lived.wrong.is_empty());
        for (row, effect) in self.effects.iter_mut().zip(&EFFECTS) {
            if let Some(came) = lived.judged.came.get(effect.name) {
                row.happened[came.happened.min(2)] += 1;
                match came.status {
                    ToolStatus::OutcomeUnknown => row.unknown += 1,
                    ToolStatus::RolledBack => row.rolled_back += 1,
                    _ => row.told += 1,
                }
            }
        }
    }

    pub fn kills(&self) -> usize {
        self.kills
    }

    /// The table, and how long it took.
    pub fn table(&self, took: Duration) -> String {
        let mut text = String::new();
        let mut line = |args: std::fmt::Arguments<'_>| {
            // A String takes everything.
            let _ = writeln!(text, "{args}");
        };
        line(format_args!(
            "{:<7} {:<19} {:>9} {:>6} {:>6} {:>9} {:>8} {:>12}",
            "effect", "class", "happened:", "once", "more", "never", "unknown", "rolled back"
        ));
        for (row, effect) in self.effects.iter().zip(&EFFECTS) {
            let [never, once, more] = row.happened;
            line(format_args!(
                "{:<7} {:<19} {:>16} {:>6} {:>9} {:>8} {:>12}",
                effect.name,
                effect.promise.word(),
                once,
                more,
                never,
                row.unknown,
                row.rolled_back
            ));
        }
        let shims =
            || self.effects.iter().zip(&EFFECTS).filter(|(_, effect)| effect.promise == Promise::Shim);
        let commands: usize = shims().map(|(row, _)| row.told + row.unknown).sum();
        let told: usize = shims().map(|(row, _)| row.told).sum();
        let all = self.runs * EFFECTS.len();
        let runs = self.runs.max(1) as f64;
        line(format_args!(""));
        line(format_args!(
            "{} runs of {} effects in {:.1} s; {} kills, {} of them when a chosen record was durable; {:.2} recoveries a run",
            self.runs,
            EFFECTS.len(),
            took.as_secs_f64(),
            self.kills,
            self.at_records,
            self.kills as f64 / runs
        ));
        let unknown: usize = self.effects.iter().map(|row| row.unknown).sum();
        let back: usize = self.effects.iter().map(|row| row.rolled_back).sum();
        let ends: usize = self.effects.iter().map(|row| row.told).sum();
        line(format_args!(
            "{ends} of {all} effects told as they ended, {back} rolled back, {unknown} declared unknown"
        ));
        line(format_args!("{told} of {commands} commands: true exit code and output told to the model"));
        line(format_args!("{} orphans; {} spools left for `sterna ps --clean`", self.orphans, self.spools));
        line(format_args!("{} runs failed", self.failed));
        text
    }
}
