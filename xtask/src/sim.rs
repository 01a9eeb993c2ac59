//! `cargo xtask sim`: the seeded simulation of `sterna-testkit`, optimised, with its checks on.

use anyhow::Result;

/// Hands on to the example that lives the seeds. Without arguments: 10,000 seeds on two threads.
pub fn run(args: &[String]) -> Result<()> {
    let mut all = BUILD.to_vec();
    all.extend(args.iter().map(String::as_str));
    crate::cargo(&all, &[])
}

/// Optimised as far as is quick to build; debug assertions and overflow checks stay.
const BUILD: [&str; 13] = [
    "--config",
    "profile.sim.inherits='dev'",
    "--config",
    "profile.sim.opt-level=2",
    "run",
    "--quiet",
    "--profile",
    "sim",
    "--package",
    "sterna-testkit",
    "--example",
    "simulate",
    "--",
];
