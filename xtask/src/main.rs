//! Chores of the repository: `cargo xtask COMMAND`.
//!
//! It tests the repository itself and runs the usual cargo commands with the flags that CI uses. It must never be
//! needed to build or use Sterna.
#![allow(clippy::print_stdout, clippy::print_stderr)] // A command line tool: this is where it speaks.

mod bench;
mod crash;
mod fuzz;
mod link_order;
mod sim;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result, bail};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = match args.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", &args[..]),
    };
    let done = match command {
        "tidy" => tidy(),
        "fmt" => fmt(rest),
        "clippy" => cargo(&CLIPPY, &[]),
        "test" => test(rest),
        "doctest" => cargo(&DOCTEST, &[]),
        "doc" => doc(),
        "ci" => ci(),
        "bench" => root().and_then(|root| bench::run(&root, rest)),
        "requests" => cargo(&REQUESTS, &[("STERNA_RENEW_REQUESTS", "1")]),
        "fuzz" => fuzz::run(rest),
        "sim" => sim::run(rest),
        "count" => sim::count(rest),
        "crash" => crash::run(rest),
        "link-order" => root().and_then(|root| link_order::run(&root)),
        "help" | "-h" | "--help" => {
            println!("{HELP}");
            Ok(())
        }
        other => Err(anyhow::anyhow!("there is no command `{other}`\n\n{HELP}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn tidy() -> Result<()> {
    let problems = tidy::run(&root()?)?;
    for problem in &problems {
        eprintln!("{problem}");
    }
    match problems.len() {
        0 => {
            println!("tidy: nothing to complain about");
            Ok(())
        }
        n => bail!("tidy found {n} problem{}", if n == 1 { "" } else { "s" }),
    }
}

fn fmt(args: &[String]) -> Result<()> {
    match args {
        [] => cargo(&["fmt", "--all"], &[]),
        [flag] if flag == "--check" => cargo(&FMT_CHECK, &[]),
        other => bail!("fmt takes --check and nothing else, not {other:?}"),
    }
}

/// All tests but those in documentation, with nextest where it is installed.
fn test(args: &[String]) -> Result<()> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let nextest = Command::new("cargo").args(["nextest", "--version"]).output();
    let mut all = if nextest.is_ok_and(|output| output.status.success()) {
        vec!["nextest", "run", "--workspace", "--no-fail-fast"]
    } else {
        vec!["test", "--workspace", "--lib", "--bins", "--tests", "--examples", "--no-fail-fast"]
    };
    all.extend(args);
    cargo(&all, &[])
}

fn doc() -> Result<()> {
    cargo(&["doc", "--workspace", "--no-deps"], &[("RUSTDOCFLAGS", "-D warnings")])
}

/// What CI proves, in the order in which it fails fastest.
fn ci() -> Result<()> {
    cargo(&FMT_CHECK, &[])?;
    tidy()?;
    cargo(&CLIPPY, &[])?;
    test(&[])?;
    sim::run(&[])?;
    cargo(&DOCTEST, &[])
}

fn cargo(args: &[&str], env: &[(&str, &str)]) -> Result<()> {
    let started = Instant::now();
    eprintln!("$ cargo {}", args.join(" "));
    // The cargo of the toolchain that runs us.
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.args(args).current_dir(root()?).envs(env.iter().copied());
    // What cargo told us about this package is no part of what we ask it to build: build scripts of dependencies that
    // look at such variables would run again, and with them everything that stands on them would be built again.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| OF_THIS_PACKAGE.iter().any(|part| name.starts_with(part))) {
            command.env_remove(name);
        }
    }
    let status = command.status().context("cargo could not be started")?;
    eprintln!("  {:.1} s", started.elapsed().as_secs_f64());
    if status.success() { Ok(()) } else { bail!("`cargo {}` failed ({status})", args.join(" ")) }
}

/// The workspace's folder.
fn root() -> Result<PathBuf> {
    // Where cargo runs us, which with a target folder of two checkouts need not be where we were built.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Ok(Path::new(&here).parent().context("xtask lies in the workspace")?.to_owned())
}

const OF_THIS_PACKAGE: [&str; 3] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"];
const FMT_CHECK: [&str; 4] = ["fmt", "--all", "--", "--check"];
const CLIPPY: [&str; 6] = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
const DOCTEST: [&str; 3] = ["test", "--workspace", "--doc"];
const REQUESTS: [&str; 5] = ["test", "--package", "sterna", "--test", "requests"];

const HELP: &str = "usage: cargo xtask COMMAND

  tidy           what the repository promises about itself: rings, purity, sizes, links, maps
  fmt [--check]  format all sources, or say what is not formatted
  clippy         lint everything; a warning is an error
  test [ARGS]    all tests but those in documentation
  doctest        the tests in documentation
  doc            the API documentation; a broken link is an error
  ci             fmt --check, tidy, clippy, test, sim, doctest
  bench [ARGS]   the benches, in release mode; --peers beside other agents; --help lists them
  requests       writes the kept requests of crates/sterna/tests/requests anew, to be looked at
  fuzz [ARGS]    mutated recordings through all decoders, ten minutes long: --seconds N, --seed N
  count [--bless] instructions of the hot paths beside the stored baseline, by valgrind; --bless makes a new one
  sim [ARGS]     the seeded simulation, 10,000 seeds: --seeds N, --from S, --seed S, --tell
  link-order     which functions a run takes, by valgrind, for the linker to put side by side: before a release
  crash [ARGS]   kills real processes: --runs N, --seed S, --seconds T, --threads N, --keep";
