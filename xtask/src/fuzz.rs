//! `cargo xtask fuzz`: mutated recordings through all decoders for as long as one likes.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

/// Seconds unless somebody says otherwise (design: ten minutes).
const SECONDS: u64 = 600;

pub fn run(args: &[String]) -> Result<()> {
    let (mut seconds, mut seed) = (SECONDS, None);
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let value = || format!("{arg} takes a number");
        match arg.as_str() {
            "--seconds" => seconds = rest.next().and_then(|text| text.parse().ok()).with_context(value)?,
            "--seed" => {
                seed = Some(rest.next().and_then(|text| text.parse::<u64>().ok()).with_context(value)?)
            }
            other => bail!("fuzz takes --seconds N and --seed N, not `{other}`"),
        }
    }
    // A run of its own each time; a failure names the seed that repeats it.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs());
    let seed = seed.unwrap_or(now << 20).to_string();
    println!("fuzzing for {seconds} s from seed {seed}");
    let test = ["test", "-p", "sterna-llm", "--test", "fuzz", "--", "--nocapture", "mutated_recordings"];
    super::cargo(&test, &[("STERNA_FUZZ_SECONDS", &seconds.to_string()), ("STERNA_FUZZ_SEED", &seed)])
}
