//! Instructions of the hot paths, counted by valgrind: the same on a busy machine as on an idle one, so that a difference
//! of a few percent is one of the code. `instructions.txt` is the baseline.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::Options;
use crate::hot::NAMES;
use crate::report::Report;

pub fn measure(options: &Options, report: &mut Report) -> Result<()> {
    if Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("there is no valgrind here: instructions are not counted");
        return Ok(());
    }
    let file = baseline_file();
    let baseline = if file.exists() { read(&std::fs::read_to_string(&file)?)? } else { BTreeMap::new() };
    let mut counted = BTreeMap::new();
    let mut worse = Vec::new();
    for name in NAMES {
        // What starting and preparing cost is in both runs.
        let (one, three) = (instructions(name, 1)?, instructions(name, 3)?);
        let each = three.saturating_sub(one) / 2;
        ensure!(each > 0, "`{name}` cost nothing");
        counted.insert(name.to_owned(), each);
        let thousands = |count: u64| count as f64 / 1_000.0;
        let before = baseline.get(name).copied();
        match before {
            Some(before) => {
                report.pairs(
                    format!("{name}, beside the baseline"),
                    "k instr.",
                    "≤ 1.05",
                    &[(thousands(each), thousands(before))],
                );
            }
            None => report.alone(format!("{name}, without a baseline"), "k instr.", "", &[thousands(each)]),
        }
        if before.is_some_and(|before| each as f64 > before as f64 * (1.0 + MORE)) {
            worse.push(name);
        }
    }
    if options.bless {
        std::fs::write(&file, written(&counted))?;
        eprintln!("{} is the baseline from now on", file.display());
    } else if !worse.is_empty() {
        bail!(
            "more than {:.0} % more instructions than the baseline: {}. If that is meant, `cargo xtask bench count --bless`",
            MORE * 100.0,
            worse.join(", ")
        );
    }
    Ok(())
}

/// Instructions of a process that runs the path so often.
fn instructions(name: &str, times: usize) -> Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args(["_hot", name, &times.to_string()])
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
        String::from("# Instructions of one run of each hot path, by `cargo xtask bench count --bless`.\n");
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
