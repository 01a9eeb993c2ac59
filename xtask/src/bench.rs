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
    let peers = root.join("bench/peers.txt");
    let peers = std::fs::read_to_string(&peers).with_context(|| peers.display().to_string())?;
    if args.iter().any(|arg| matches!(arg.as_str(), "-h" | "--help")) {
        println!("{}", help(&measures, &peers));
        return Ok(());
    }
    check(&measures, &peers, args)?;
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

fn help(measures: &str, peers: &str) -> String {
    let indented = |list: &str| list.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n");
    let (measures, peers) = (indented(measures), indented(peers));
    format!(
        "{USAGE}\n\nMeasures, all of them unless some are named:\n\n{measures}\n\n{OPTIONS}\n\n\
         {PEERS_USAGE}\n\nPeers, whichever are installed unless some are named:\n\n{peers}\n\n{PEERS_OPTIONS}"
    )
}

/// What is asked for must be there: a build takes minutes.
fn check(measures: &str, peers: &str, args: &[String]) -> Result<()> {
    let beside = args.iter().any(|arg| arg == "--peers");
    let (what, list) = if beside { ("peer", peers) } else { ("measure", measures) };
    let names: Vec<&str> = list.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let (alone, with_value) =
        if beside { (&PEERS_ALONE[..], &PEERS_VALUES[..]) } else { (&ALONE[..], &VALUES[..]) };
    let mut left = args.iter();
    while let Some(arg) = left.next() {
        let value = with_value.iter().find(|(flag, _)| flag == arg);
        match (arg.as_str(), value) {
            (flag, _) if alone.contains(&flag) => {}
            (_, Some((flag, value))) => match (left.next(), *value) {
                (Some(number), NUMBER) if number.parse::<u32>().is_ok_and(|number| number > 0) => {}
                (Some(_), NUMBER) | (None, _) => bail!("{flag} needs a {value}"),
                (Some(_), _) => {}
            },
            (name, None) if names.contains(&name) => {}
            (flag, None) if flag.starts_with('-') => {
                bail!("there is no option `{flag}`\n\n{}", help(measures, peers))
            }
            (name, None) => bail!("there is no {what} `{name}`\n\n{}", help(measures, peers)),
        }
    }
    Ok(())
}

/// Where cargo puts release builds: beside this program's own.
pub fn release() -> Result<PathBuf> {
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

const ALONE: [&str; 2] = ["--quick", "--json"];
const VALUES: [(&str, &str); 2] = [("--dir", FOLDER), ("--svg", FOLDER)];

const PEERS_USAGE: &str =
    "usage: cargo xtask bench --peers [NAME…] [--steps N] [--rounds N] [--from FOLDER] …";
const PEERS_OPTIONS: &str = "  --steps N         calls in a turn, 100 when left out
  --rounds N        how often each is run, in turns, 3 when left out; --quick is one round
  --from FOLDER     where peers were installed: its node_modules and venv, before PATH
  --python PROGRAM  the interpreter that has the libraries
  --sterna PROGRAM  another build of Sterna than this checkout's
  --timeout SECONDS how long a turn may last, 300 when left out
  --dir FOLDER      where throw-away homes are made
  --keep            they stay, with what each peer said and its first request
  --json            the figures as JSON

STERNA_PEERS_POSTGRES names a database (postgresql://…) for LangGraph's Postgres checkpointer, which makes its tables there.";

const PEERS_ALONE: [&str; 4] = ["--peers", "--quick", "--json", "--keep"];
const PEERS_VALUES: [(&str, &str); 7] = [
    ("--steps", NUMBER),
    ("--rounds", NUMBER),
    ("--timeout", NUMBER),
    ("--dir", FOLDER),
    ("--from", FOLDER),
    ("--python", PROGRAM),
    ("--sterna", PROGRAM),
];

const NUMBER: &str = "number";
const FOLDER: &str = "folder";
const PROGRAM: &str = "program";

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "start  from nothing\nstep   from step to step\n";
    const PEERS: &str = "codex  Codex CLI\npi     pi\n";

    fn told(args: &[&str]) -> Option<String> {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        check(LIST, PEERS, &args)
            .err()
            .map(|error| error.to_string().lines().next().unwrap_or_default().to_owned())
    }

    #[test]
    fn what_is_not_there_is_refused_before_anything_is_built() {
        assert_eq!(told(&[]), None);
        assert_eq!(told(&["step", "--quick", "--dir", "/tmp", "--svg", "docs"]), None);
        assert_eq!(told(&["steps"]).as_deref(), Some("there is no measure `steps`"));
        assert_eq!(told(&["--fast"]).as_deref(), Some("there is no option `--fast`"));
        assert_eq!(told(&["step", "--dir"]).as_deref(), Some("--dir needs a folder"));
        assert_eq!(told(&["step", "--steps", "9"]).as_deref(), Some("there is no option `--steps`"));
    }

    #[test]
    fn peers_have_names_and_options_of_their_own() {
        assert_eq!(told(&["--peers"]), None);
        assert_eq!(told(&["--peers", "pi", "--steps", "20", "--from", "/opt", "--keep"]), None);
        assert_eq!(told(&["--peers", "step"]).as_deref(), Some("there is no peer `step`"));
        assert_eq!(told(&["pi"]).as_deref(), Some("there is no measure `pi`"));
        for number in
            [&["--peers", "--steps"][..], &["--peers", "--steps", "0"], &["--peers", "--steps", "x"]]
        {
            assert_eq!(told(number).as_deref(), Some("--steps needs a number"));
        }
        assert_eq!(told(&["--peers", "--from"]).as_deref(), Some("--from needs a folder"));
    }

    #[test]
    fn the_help_names_every_measure_and_peer() {
        let help = help(LIST, PEERS);
        assert!(help.contains("  start  from nothing\n  step   from step to step\n"), "{help}");
        assert!(help.contains("  codex  Codex CLI\n  pi     pi\n"), "{help}");
    }
}
