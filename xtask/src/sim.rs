//! `cargo xtask sim`: the seeded simulation, `sterna-sim`, optimised as the profile `sim` says, with its checks on.

use anyhow::Result;

/// Hands on to the program that lives the seeds. Without arguments: 10,000 seeds on all cores.
pub fn run(args: &[String]) -> Result<()> {
    let mut all = BUILD.to_vec();
    all.extend(args.iter().map(String::as_str));
    crate::cargo(&all, &[])
}

/// Counts the instructions of the hot paths, in the simulation's profile: what both stand on is built once.
pub fn count(args: &[String]) -> Result<()> {
    let mut all = COUNT.to_vec();
    all.extend(args.iter().map(String::as_str));
    crate::cargo(&all, &[])
}

const COUNT: [&str; 7] = ["run", "--quiet", "--profile", "sim", "--package", "sterna-hot", "--"];
const BUILD: [&str; 7] = ["run", "--quiet", "--profile", "sim", "--package", "sterna-sim", "--"];
