//! `cargo xtask bench`: builds what is measured as it is shipped, and hands on to the bench.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Says what there is, refuses what there is not, and only then builds.
pub fn run(root: &Path, args: &[String]) -> Result<()> {
    let list = root.join("bench/measures.txt");
    let Ok(measures) = std::fs::read_to_string(&list) else {
        bail!("there is no bench here: the crate `sterna-bench` in bench/ is not part of this checkout");
    };
    if args.iter().any(|arg| matches!(arg.as_str(), "-h" | "--help")) {
        println!("{}", help(&measures));
        return Ok(());
    }
    check(&measures, args)?;
    // First exactly what is shipped; then with it the bench, whose dependencies are the same and have the same features,
    // so that nothing but the bench itself is built again. `cargo run` would choose its features for the bench alone.
    let cli = ["build", "--release", "--locked", "--package", "sterna-cli"];
    crate::cargo(&cli, &[])?;
    crate::cargo(&[&cli[..], &["--package", "sterna-bench"]].concat(), &[])?;
    let program = release()?.join("sterna-bench");
    let status = Command::new(&program)
        .args(args)
        .status()
        .with_context(|| format!("{} could not be started", program.display()))?;
    if status.success() { Ok(()) } else { bail!("the bench failed ({status})") }
}

fn help(measures: &str) -> String {
    let measures: Vec<String> = measures.lines().map(|line| format!("  {line}")).collect();
    format!("{USAGE}\n\nMeasures, all of them unless some are named:\n\n{}\n\n{OPTIONS}", measures.join("\n"))
}

/// What is asked for must be there: a build takes minutes.
fn check(measures: &str, args: &[String]) -> Result<()> {
    let names: Vec<&str> = measures.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let mut left = args.iter();
    while let Some(arg) = left.next() {
        match arg.as_str() {
            "--quick" | "--json" => {}
            "--dir" | "--svg" if left.next().is_some() => {}
            "--dir" | "--svg" => bail!("{arg} needs a folder"),
            name if names.contains(&name) => {}
            flag if flag.starts_with('-') => bail!("there is no option `{flag}`\n\n{}", help(measures)),
            name => bail!("there is no measure `{name}`\n\n{}", help(measures)),
        }
    }
    Ok(())
}

/// Where cargo puts release builds: beside this program's own.
fn release() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let target = own.parent().and_then(Path::parent).context("a program lies below the target folder")?;
    Ok(target.join("release"))
}

const USAGE: &str = "usage: cargo xtask bench [MEASURE…] [--quick] [--json] [--svg FOLDER] [--dir FOLDER]";
const OPTIONS: &str = "  --quick       fewer rounds, and nothing that takes minutes
  --json        the figures as JSON
  --svg FOLDER  plots of the ratios beside the table, one file a measure
  --dir FOLDER  where stores are made: on the disk that is to be measured

Every measure stands beside a floor of the same run, in turns. The first build takes minutes, a second one seconds.";

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "start  from nothing\nstep   from step to step\n";

    fn told(args: &[&str]) -> Option<String> {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        check(LIST, &args).err().map(|error| error.to_string().lines().next().unwrap_or_default().to_owned())
    }

    #[test]
    fn what_is_not_there_is_refused_before_anything_is_built() {
        assert_eq!(told(&[]), None);
        assert_eq!(told(&["step", "--quick", "--dir", "/tmp", "--svg", "docs"]), None);
        assert_eq!(told(&["steps"]).as_deref(), Some("there is no measure `steps`"));
        assert_eq!(told(&["--fast"]).as_deref(), Some("there is no option `--fast`"));
        assert_eq!(told(&["step", "--dir"]).as_deref(), Some("--dir needs a folder"));
    }

    #[test]
    fn the_help_names_every_measure() {
        let help = help(LIST);
        assert!(help.contains("  start  from nothing\n  step   from step to step\n"), "{help}");
    }
}
