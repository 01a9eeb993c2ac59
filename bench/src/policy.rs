//! `sterna policy explain` on a configuration of 1,000 rules, beside the same on an empty one, and beside a process of the same
//! program that reads nothing: `sterna --version`.

use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::Options;
use crate::report::Report;
use crate::start::binary;

pub fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let Some(sterna) = binary()? else { return Ok(()) };
    let (many, none) = (options.folder()?, options.folder()?);
    std::fs::write(many.path().join("config.toml"), rules()?)?;
    // The machine is probed, and its report kept.
    once(&sterna, many.path(), &EXPLAIN)?;
    once(&sterna, none.path(), &EXPLAIN)?;
    let (mut rules, mut process) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds(21, 5) {
        let ours = once(&sterna, many.path(), &EXPLAIN)?;
        rules.push((ours, once(&sterna, none.path(), &EXPLAIN)?));
        process.push((ours, once(&sterna, many.path(), &["--version"])?));
    }
    report.pairs("`policy explain`, 1,000 rules, beside none", "ms", "≤ 50", &rules);
    report.pairs("`policy explain`, 1,000 rules, beside `--version`", "ms", "≤ 50", &process);
    Ok(())
}

/// 1,000 rules of all kinds.
fn rules() -> Result<String> {
    let mut text = String::from("[policy]\nallow = [\n");
    for n in 0..RULES {
        match n % 5 {
            0 => writeln!(text, "  \"Read(~/project{n}/**)\",")?,
            1 => writeln!(text, "  \"Web(host{n}.example)\",")?,
            _ => writeln!(text, "  \"Shell(program{n} sub *)\",")?,
        }
    }
    text.push_str("]\n");
    Ok(text)
}

/// Milliseconds of the whole process.
fn once(sterna: &Path, home: &Path, args: &[&str]) -> Result<f64> {
    let mut command = Command::new(sterna);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("HOME", home).env("STERNA_HOME", home).current_dir(home);
    command.args(args);
    let started = Instant::now();
    let output = command.stdin(Stdio::null()).output().with_context(|| sterna.display().to_string())?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(started.elapsed().as_secs_f64() * 1_000.0)
}

const RULES: usize = 1_000;
const EXPLAIN: [&str; 4] = ["policy", "explain", "git push --force && program999 sub x", "--json"];
