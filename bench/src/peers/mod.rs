//! `cargo xtask bench --peers`: the same script against Sterna and whichever of its peers are installed, side by side.

mod find;
mod once;
mod serve;
mod side;
mod table;
mod tree;
mod wires;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::peers::find::Have;
use crate::peers::once::Run;
use crate::peers::side::{Row, Side};
use crate::peers::table::{PEERS, Turn};

/// What was asked for.
#[derive(Debug)]
pub struct Asked {
    names: Vec<String>,
    /// Calls in a turn.
    pub steps: usize,
    rounds: usize,
    json: bool,
    /// Where homes are made.
    pub dir: PathBuf,
    /// Where peers were installed.
    pub from: Option<PathBuf>,
    /// The interpreter of the libraries.
    pub python: Option<PathBuf>,
    /// Another Sterna than the one beside the bench.
    sterna: Option<PathBuf>,
    /// The folders of the runs stay.
    pub keep: bool,
    /// How long a turn may last.
    pub patience: Duration,
}

impl Default for Asked {
    fn default() -> Self {
        Self {
            names: Vec::new(),
            steps: 100,
            rounds: 3,
            json: false,
            dir: std::env::temp_dir(),
            from: None,
            python: None,
            sterna: None,
            keep: false,
            patience: Duration::from_secs(300),
        }
    }
}

impl Asked {
    fn parse(args: &[String]) -> Result<Self> {
        let mut asked = Self::default();
        let mut left = args.iter();
        while let Some(arg) = left.next() {
            let mut value = || left.next().with_context(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--peers" => {}
                "--json" => asked.json = true,
                "--keep" => asked.keep = true,
                "--quick" => asked.rounds = 1,
                "--steps" => asked.steps = value()?.parse().context("--steps needs a number")?,
                "--rounds" => asked.rounds = value()?.parse().context("--rounds needs a number")?,
                "--timeout" => {
                    let seconds = value()?.parse().context("--timeout needs a number of seconds")?;
                    asked.patience = Duration::from_secs(seconds);
                }
                "--dir" => asked.dir = find::absolute(value()?)?,
                "--from" => asked.from = Some(find::absolute(value()?)?),
                "--python" => asked.python = Some(find::absolute(value()?)?),
                "--sterna" => asked.sterna = Some(find::absolute(value()?)?),
                name if PEERS.iter().any(|peer| peer.name == name) => asked.names.push(name.to_owned()),
                other => bail!("there is no peer `{other}`; there are:\n\n{LIST}"),
            }
        }
        ensure!(asked.steps > 0 && asked.rounds > 0, "a turn has a step, and there is a round");
        Ok(asked)
    }

    /// The program that is measured.
    pub fn sterna(&self) -> Result<Option<PathBuf>> {
        match &self.sterna {
            Some(named) => Ok(Some(named.clone())),
            None => crate::start::binary(),
        }
    }

    /// Sterna stands in every table.
    fn wants(&self, name: &str) -> bool {
        name == OURS || self.names.is_empty() || self.names.iter().any(|named| named == name)
    }
}

/// Measures and tells.
pub fn run(args: &[String]) -> Result<()> {
    let asked = Asked::parse(args)?;
    let mut side = Side::new(&asked.dir, asked.steps, asked.rounds);
    let mut found: Vec<(&Turn, Have, String)> = Vec::new();
    for peer in PEERS.iter().filter(|peer| asked.wants(peer.name)) {
        match find::find(&asked, peer)? {
            Err(why) => side.missing(peer.title, why),
            Ok(have) => {
                eprintln!("{} {}: {}", peer.title, have.version, have.program.display());
                for turn in peer.turns {
                    let dsn = turn.needs.map(|name| (name, std::env::var(name).unwrap_or_default()));
                    match dsn {
                        Some((name, dsn)) if dsn.is_empty() => {
                            let why = format!("not measured: {name} names no database (postgresql://…)");
                            side.missing(&format!("{}, {}", peer.title, turn.label), why);
                        }
                        dsn => {
                            side.rows.push(Row::new(peer, turn, have.version.clone()));
                            found.push((turn, have.clone(), dsn.unwrap_or_default().1));
                        }
                    }
                }
            }
        }
    }
    // In turns, each just after Sterna's, so that what else the machine does meets both alike.
    for round in 1..=asked.rounds {
        for at in 0..found.len() {
            if side.rows[at].failed.is_some() {
                continue;
            }
            eprintln!(
                "round {round} of {}: {}, {} …",
                asked.rounds, side.rows[at].title, side.rows[at].label
            );
            let beside = match side.ours(at).filter(|ours| side.rows[*ours].failed.is_none()) {
                Some(ours) => measured(&asked, &found, &mut side, ours)?,
                None => None,
            };
            if measured(&asked, &found, &mut side, at)?.is_some() {
                side.rows[at].beside.extend(beside);
            }
        }
    }
    println!("{}", if asked.json { side.json() } else { side.text() });
    Ok(())
}

/// One more run of a row, or the reason why there is none and will be none.
fn measured(
    asked: &Asked,
    found: &[(&Turn, Have, String)],
    side: &mut Side,
    at: usize,
) -> Result<Option<Run>> {
    let (turn, have, dsn) = &found[at];
    match once::once(asked, turn, have, dsn)? {
        Ok(run) => {
            side.rows[at].runs.push(run.clone());
            Ok(Some(run))
        }
        Err(why) => {
            eprintln!("  {}", why.lines().next().unwrap_or_default());
            side.rows[at].failed = Some(why);
            Ok(None)
        }
    }
}

const OURS: &str = "sterna";

/// What each is, for people: `cargo xtask bench --help` reads it too.
const LIST: &str = include_str!("../../peers.txt");

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Result<Asked> {
        Asked::parse(&args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn names_choose_peers_and_never_leave_sterna_out() {
        let asked = parsed(&["--peers", "pi", "--steps", "20"]).unwrap();
        let wanted: Vec<&str> = PEERS.iter().map(|peer| peer.name).filter(|name| asked.wants(name)).collect();
        assert_eq!((&wanted[..], asked.steps), (&["sterna", "pi"][..], 20));
        assert!(PEERS.iter().all(|peer| parsed(&["--peers"]).unwrap().wants(peer.name)));
    }

    #[test]
    fn what_is_not_there_is_refused() {
        let why = |args: &[&str]| parsed(args).unwrap_err().to_string();
        assert!(why(&["--peers", "nobody"]).starts_with("there is no peer `nobody`"));
        assert_eq!(why(&["--peers", "--steps"]), "--steps needs a value");
        assert_eq!(why(&["--peers", "--steps", "many"]), "--steps needs a number");
        assert_eq!(why(&["--peers", "--steps", "0"]), "a turn has a step, and there is a round");
    }
}
