//! `cargo xtask count`: instructions of the hot paths, counted by valgrind. They are the same on a busy machine as on an
//! idle one, so that a difference of a few percent is one of the code. `instructions.txt` is the baseline.
#![allow(clippy::print_stdout, clippy::print_stderr)] // A command line tool: this is where it speaks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};
use sterna_hot::{NAMES, about, make};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args[..] {
        [] => compare(),
        ["--bless"] => bless(),
        ["_run", name, times] => run(name, times),
        _ => Err(anyhow::anyhow!("usage: cargo xtask count [--bless]")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Counts, and complains of what costs more than the baseline says.
fn compare() -> Result<()> {
    let file = baseline_file();
    let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let baseline = read(&text)?;
    let counted = count()?;
    let mut worse = Vec::new();
    println!("{:<8} {:>12} {:>12} {:>7}  what", "path", "instructions", "baseline", "ratio");
    for (name, each) in &counted {
        let before =
            *baseline.get(name).with_context(|| format!("`{name}` has no baseline; `--bless` makes one"))?;
        let ratio = *each as f64 / before as f64;
        println!("{name:<8} {each:>12} {before:>12} {ratio:>7.3}  {}", about(name));
        if ratio > 1.0 + MORE {
            worse.push(name.as_str());
        }
    }
    if !worse.is_empty() {
        bail!(
            "more than {:.0} % more instructions than the baseline: {}. If that is meant, `cargo xtask count --bless`",
            MORE * 100.0,
            worse.join(", ")
        );
    }
    Ok(())
}

fn bless() -> Result<()> {
    let file = baseline_file();
    std::fs::write(&file, written(&count()?))?;
    println!("{} is the baseline from now on", file.display());
    Ok(())
}

/// A process of its own for the counter: so many runs of one path.
fn run(name: &str, times: &str) -> Result<()> {
    let mut hot = make(name)?;
    for _ in 0..times.parse::<usize>()? {
        (hot.ours)();
    }
    Ok(())
}

fn count() -> Result<BTreeMap<String, u64>> {
    let found = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    ensure!(
        found.is_ok_and(|status| status.success()),
        "valgrind is not here: install the package `valgrind`"
    );
    let mut counted = BTreeMap::new();
    for name in NAMES {
        // What starting and preparing cost is in both runs. Maps are seeded anew in each, so a short path is run often.
        let times = times(name);
        let (once, twice) = (instructions(name, times)?, instructions(name, 2 * times)?);
        let each = twice.saturating_sub(once) / times as u64;
        ensure!(each > 0, "`{name}` cost nothing");
        counted.insert(name.to_owned(), each);
    }
    Ok(counted)
}

/// Runs after which what a start happens to do weighs nothing.
fn times(name: &str) -> usize {
    match name {
        "sse" | "answer" => 1,
        "fold" | "record" => 10,
        _ => 500,
    }
}

/// Instructions of a process that runs the path so often.
fn instructions(name: &str, times: usize) -> Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args(["_run", name, &times.to_string()])
        .output()
        .context("valgrind could not be started")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{name}` below valgrind: {said}");
    refs(&said).with_context(|| format!("valgrind counted nothing: {said}"))
}

/// `==123== I   refs:      1,234,567`, also written `I refs`.
fn refs(said: &str) -> Option<u64> {
    let line = said.lines().find(|line| line.contains("I ") && line.contains("refs:"))?;
    let count: String = line.rsplit(':').next()?.chars().filter(char::is_ascii_digit).collect();
    count.parse().ok()
}

fn baseline_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.txt")
}

fn read(text: &str) -> Result<BTreeMap<String, u64>> {
    let rows = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    rows.map(|line| {
        let (name, count) = line.split_once(' ').with_context(|| format!("`{line}` is no name and count"))?;
        Ok((name.to_owned(), count.trim().parse()?))
    })
    .collect()
}

fn written(counted: &BTreeMap<String, u64>) -> String {
    let mut text =
        String::from("# Instructions of one run of each hot path, by `cargo xtask count --bless`.\n");
    for (name, count) in counted {
        text.push_str(&format!("{name} {count}\n"));
    }
    text
}

/// The share by which a path may cost more than its baseline.
const MORE: f64 = 0.05;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_valgrind_says_is_read() {
        let old = "==7== Cachegrind, a cache\n==7== \n==7== I   refs:      12,345,678\n";
        assert_eq!(refs(old), Some(12_345_678));
        assert_eq!(refs("==7== I refs:        901\n"), Some(901));
        assert_eq!(refs("==7== nothing\n"), None);
    }

    #[test]
    fn a_baseline_is_read_as_it_was_written() {
        let counted = BTreeMap::from([("fold".to_owned(), 12), ("sse".to_owned(), 3_400)]);
        assert_eq!(read(&written(&counted)).ok(), Some(counted));
        assert!(read("fold\n").is_err());
    }
}
