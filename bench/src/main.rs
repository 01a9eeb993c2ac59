//! What Sterna costs, beside a floor that is measured in the same run.
//!
//! Dev only. It reports and asserts nothing: a time depends on the machine, a ratio to a floor far less. It must never
//! be a dependency of a crate that ships.
#![allow(clippy::print_stdout, clippy::print_stderr)] // A command line tool: this is where it speaks.

mod append;
mod floor;
mod fork;
mod hot;
mod peers;
mod plot;
mod policy;
mod report;
mod resident;
mod resume;
mod search;
mod server;
mod sessions;
mod shim;
mod start;
mod step;
mod turn;
mod watch;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::report::Report;

/// What was asked for.
pub struct Options {
    pub quick: bool,
    /// Where stores are made: on the disk that is to be measured.
    pub dir: PathBuf,
}

impl Options {
    /// How often a pair is measured.
    pub fn rounds(&self, usual: usize, quick: usize) -> usize {
        if self.quick { quick } else { usual }
    }

    /// A folder that goes with its value.
    pub fn folder(&self) -> Result<tempfile::TempDir> {
        Ok(tempfile::Builder::new().prefix("sterna-bench-").tempdir_in(&self.dir)?)
    }
}

fn main() -> ExitCode {
    // It is also the shim that is measured.
    sterna_shell::shim::init();
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<()> {
    // The parts that run as processes of their own.
    match args.first().map(String::as_str) {
        Some("_serve") => return server::serve_forever(&args[1..]),
        Some("_sessions") => return sessions::child(&args[1..]),
        Some("_start") => return start::child(&args[1..]),
        Some("_turn") => return turn::child(&args[1..]),
        Some("_resident") => return resident::child(&args[1..]),
        _ => {}
    }
    if args.iter().any(|arg| arg == "--peers") {
        return peers::run(args);
    }
    let mut options = Options { quick: false, dir: std::env::temp_dir() };
    let mut names: Vec<&str> = Vec::new();
    let (mut json, mut svg) = (false, None);
    let mut left = args.iter();
    while let Some(arg) = left.next() {
        match arg.as_str() {
            "--json" => json = true,
            "--quick" => options.quick = true,
            "--dir" => options.dir = PathBuf::from(left.next().context("--dir needs a folder")?),
            "--svg" => svg = Some(PathBuf::from(left.next().context("--svg needs a folder")?)),
            name if MEASURES.iter().any(|(known, _)| *known == name) => names.push(name),
            other => bail!("there is no measure `{other}`; there are:\n\n{LIST}"),
        }
    }
    let mut report = Report::new(&options.dir);
    let mut failed = None;
    for (name, measure) in MEASURES {
        if !names.is_empty() && !names.contains(&name) {
            continue;
        }
        eprintln!("measuring {name} …");
        report.begin(name);
        // What was measured before it is told all the same.
        failed = measure(&options, &mut report).with_context(|| format!("measuring {name}")).err();
        if failed.is_some() {
            break;
        }
    }
    println!("{}", if json { report.json() } else { report.text() });
    if let Some(folder) = svg {
        report.draw(&folder)?;
    }
    failed.map_or(Ok(()), Err)
}

type Measure = fn(&Options, &mut Report) -> Result<()>;

const MEASURES: [(&str, Measure); 12] = [
    ("start", start::measure),
    ("step", step::measure),
    ("turn", turn::measure),
    ("sessions", sessions::measure),
    ("resident", resident::measure),
    ("append", append::measure),
    ("resume", resume::measure),
    ("fork", fork::measure),
    ("search", search::measure),
    ("shim", shim::measure),
    ("policy", policy::measure),
    ("hot", hot::measure),
];

/// What each is, for people: `cargo xtask bench --help` reads it too.
const LIST: &str = include_str!("../measures.txt");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_measure_is_in_the_list() {
        let listed: Vec<&str> = LIST.lines().filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(listed, MEASURES.map(|(name, _)| name));
    }
}
