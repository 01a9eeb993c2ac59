//! `sterna policy explain` on a configuration of 1,000 rules, beside the same on an empty one.

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
    once(&sterna, many.path())?;
    once(&sterna, none.path())?;
    let mut pairs = Vec::new();
    for _ in 0..options.rounds(21, 5) {
        pairs.push((once(&sterna, many.path())?, once(&sterna, none.path())?));
    }
    report.pairs("`policy explain`, 1,000 rules", "ms", "≤ 50", &pairs);
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
fn once(sterna: &Path, home: &Path) -> Result<f64> {
    let mut command = Command::new(sterna);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("HOME", home).env("STERNA_HOME", home).current_dir(home);
    command.args(["policy", "explain", "git push --force && program999 sub x", "--json"]);
    let started = Instant::now();
    let output = command.stdin(Stdio::null()).output().with_context(|| sterna.display().to_string())?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(started.elapsed().as_secs_f64() * 1_000.0)
}

const RULES: usize = 1_000;
