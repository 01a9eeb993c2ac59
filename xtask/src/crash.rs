//! `cargo xtask crash`: real processes, killed with SIGKILL at random moments and carried on.

use anyhow::Result;

/// Hands on to the example that kills. Without arguments: 1,000 runs.
pub fn run(args: &[String]) -> Result<()> {
    let mut all = BUILD.to_vec();
    all.extend(args.iter().map(String::as_str));
    crate::cargo(&all, &[])
}

const BUILD: [&str; 7] = ["run", "--quiet", "--package", "sterna-testkit", "--example", "crash", "--"];
