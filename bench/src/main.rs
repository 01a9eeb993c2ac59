//! What Sterna costs, beside a floor that is measured in the same run.
//!
//! Dev only. It reports and asserts nothing: a time depends on the machine, a ratio to a floor far less. It must never
//! be a dependency of a crate that ships.
#![allow(clippy::print_stdout, clippy::print_stderr)] // A command line tool: this is where it speaks.

mod floor;
mod policy;
mod report;
mod resume;
mod server;
mod sessions;
mod shim;
mod start;
mod step;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};

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
        Some("_serve") => return server::serve_forever(),
        Some("_sessions") => return sessions::child(&args[1..]),
        Some("_start") => return start::child(&args[1..]),
        Some("-h" | "--help") => {
            println!("{HELP}");
            return Ok(());
        }
        _ => {}
    }
    let mut options = Options { quick: false, dir: std::env::temp_dir() };
    let mut names: Vec<&str> = Vec::new();
    let mut json = false;
    let mut left = args.iter();
    while let Some(arg) = left.next() {
        match arg.as_str() {
            "--json" => json = true,
            "--quick" => options.quick = true,
            "--dir" => match left.next() {
                Some(dir) => options.dir = PathBuf::from(dir),
                None => bail!("--dir needs a folder"),
            },
            name if MEASURES.contains(&name) => names.push(name),
            other => bail!("there is no measure `{other}`\n\n{HELP}"),
        }
    }
    let mut report = Report::new(&options.dir);
    for name in MEASURES {
        if !names.is_empty() && !names.contains(&name) {
            continue;
        }
        eprintln!("measuring {name} …");
        match name {
            "start" => start::measure(&options, &mut report)?,
            "step" => step::measure(&options, &mut report)?,
            "sessions" => sessions::measure(&options, &mut report)?,
            "resume" => resume::measure(&options, &mut report)?,
            "shim" => shim::measure(&options, &mut report)?,
            "policy" => policy::measure(&options, &mut report)?,
            other => bail!("measure `{other}` is listed and not there"),
        }
    }
    println!("{}", if json { report.json() } else { report.text() });
    Ok(())
}

const MEASURES: [&str; 6] = ["start", "step", "sessions", "resume", "shim", "policy"];

const HELP: &str = "usage: cargo xtask bench [MEASURE…] [--json] [--quick] [--dir FOLDER]

  start     process start to the first byte of the first request
  step      end of the model's reply to the first byte of the next request; bytes a step
  sessions  1,000 sessions at once, 10 steps each
  resume    loading a session of 10,000 records
  shim      a command below its effect shim, beside a plain spawn
  policy    `sterna policy explain` with 1,000 rules, beside none

Every measure stands beside a floor measured in the same run, in turns.";
