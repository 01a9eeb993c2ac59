//! Whether a peer is there, where, and which version.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::peers::Asked;
use crate::peers::table::{Found, Peer};
use crate::peers::tree::watched;

/// A peer that is there.
#[derive(Debug, Clone)]
pub struct Have {
    /// The program itself, or the interpreter of a library.
    pub program: PathBuf,
    pub version: String,
}

/// The peer, or why it is not measured, in words for the table.
pub fn find(asked: &Asked, peer: &Peer) -> Result<Result<Have, String>> {
    let hint = match peer.found {
        Found::Sterna => "",
        Found::Program { .. } => "; PATH or `--from FOLDER` finds it",
        Found::Python { .. } => "; `--python PROGRAM`, or a venv in `--from FOLDER`, finds it",
    };
    let missing = || Ok(Err(format!("not installed: {}{hint}", peer.install)));
    match peer.found {
        Found::Sterna => match asked.sterna()? {
            Some(program) => version(asked, program, &["--version"]),
            None => missing(),
        },
        Found::Program { below, name } => match program(asked, below, name) {
            Some(program) => version(asked, program, &["--version"]),
            None => missing(),
        },
        Found::Python { distributions } => {
            let Some(python) = python(asked) else { return missing() };
            let line =
                format!("import importlib.metadata as m\nfor d in {distributions:?}: print(m.version(d))");
            match version(asked, python, &["-c", &line])? {
                Err(why) if why.contains("PackageNotFoundError") => missing(),
                known => Ok(known),
            }
        }
    }
}

fn program(asked: &Asked, below: &[&str], name: &str) -> Option<PathBuf> {
    let installed = asked.from.iter().flat_map(|from| below.iter().map(|below| from.join(below)));
    installed.chain(on_path(name)).find(|path| path.is_file())
}

/// The interpreter that was named, the one of a virtual environment, or the machine's.
fn python(asked: &Asked) -> Option<PathBuf> {
    if asked.python.is_some() {
        return asked.python.clone();
    }
    let venv = asked.from.iter().map(|from| from.join("venv/bin/python"));
    venv.chain(on_path("python3")).find(|path| path.is_file())
}

fn on_path(name: &str) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(name)).collect()
}

/// What it says of itself. The first line's last word is the version.
fn version(asked: &Asked, program: PathBuf, args: &[&str]) -> Result<Result<Have, String>> {
    let home = tempfile::Builder::new().prefix("sterna-peers-").tempdir_in(&asked.dir)?;
    let (out, err) = (home.path().join("stdout"), home.path().join("stderr"));
    let mut command = bare(&program, home.path());
    command.args(args).stdout(std::fs::File::create(&out)?).stderr(std::fs::File::create(&err)?);
    let status = match watched(&mut command, Duration::from_secs(60)) {
        Ok(tree) => tree.status,
        Err(error) => return Ok(Err(format!("it cannot be started: {error:#}"))),
    };
    let (out, err) = (std::fs::read(&out)?, std::fs::read(&err)?);
    if !status.is_some_and(|status| status.success()) {
        return Ok(Err(format!("it does not say its version: {}", tail(&err))));
    }
    // Some say it on stderr.
    let out = [out, err].concat();
    let out = String::from_utf8_lossy(&out);
    let word = out.lines().next().and_then(|line| line.split_whitespace().last()).unwrap_or("unknown");
    Ok(Ok(Have { program, version: word.to_owned() }))
}

/// A command with nothing of this machine's environment but where programs lie.
pub fn bare(program: &Path, home: &Path) -> Command {
    let mut command = Command::new(program);
    let own = program.parent().map(Path::to_owned);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(own.into_iter().chain(std::env::split_paths(&path)));
    command.env_clear().env("PATH", path.unwrap_or_default()).env("HOME", home).env("LANG", "C.UTF-8");
    command.stdin(Stdio::null()).current_dir(home);
    command
}

/// The last lines of what a program said.
pub fn tail(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let cut = |line: &&str| line.chars().take(LINE).collect::<String>();
    lines[lines.len().saturating_sub(LINES)..].iter().map(cut).collect::<Vec<_>>().join("\n")
}

/// An absolute path, for a peer is run in another folder.
pub fn absolute(path: &str) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("{path} is no path"))
}

const LINES: usize = 12;
const LINE: usize = 240;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_last_lines() {
        let text: String = (0..20).map(|n| format!("line {n}\n\n")).collect();
        let tail = tail(text.as_bytes());
        assert!(tail.starts_with("line 8\nline 9\n") && tail.ends_with("line 19"), "{tail}");
        assert_eq!(super::tail(b""), "");
    }
}
