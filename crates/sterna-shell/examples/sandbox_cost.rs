//! What each level of the sandbox costs a command: `cargo run --release -p sterna-shell --example sandbox_cost`.
//!
//! Runs `true` a few hundred times each way, in turns, and prints in milliseconds what one of ten runs stays below (a quiet machine) and the
//! median.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use sterna_shell::sandbox::{Confinement, Level, Network, Places, Prober};
use sterna_shell::shim::{Event, Helper, Plan, Run, Shims};

const ROUNDS: u32 = 200;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    sterna_shell::shim::init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let room = tempfile::tempdir()?;
    let at = |name: &str| room.path().join(name);
    std::fs::create_dir(at("work"))?;
    let report = runtime.block_on(Prober::new(Helper::this_host(), at("state")).report());
    let shims = Shims::new(at("spool"), Some(Helper::this_host()));
    let places = Places {
        home: std::env::var_os("HOME").map(Into::into),
        workspace: vec![at("work")],
        tmp: at("tmp"),
        env: std::env::vars().collect(),
        ..Places::default()
    };
    let domains = Network::Domains(vec!["example.com".parse()?]);
    let mut ways: Vec<(String, Option<Confinement>, Vec<Duration>)> =
        vec![("no sandbox".into(), None, Vec::new())];
    for level in [Level::Landlock, Level::Bubblewrap] {
        for (name, network) in [("no network", Network::None), ("domains", domains.clone())] {
            match places.confinement(&report, Some(level), network) {
                Ok(confinement) => ways.push((format!("{level}, {name}"), Some(confinement), Vec::new())),
                Err(error) => writeln!(std::io::stderr(), "not measured: {error}")?,
            }
        }
    }
    for round in 0..ROUNDS {
        for (way, (_, confinement, times)) in ways.iter_mut().enumerate() {
            let key = format!("demo/{}/{}/tool/0", round + 1, way + 1).parse()?;
            times.push(runtime.block_on(once(&shims, &key, &at("work"), confinement.clone()))?);
        }
    }
    for (name, _, mut times) in ways {
        times.sort_unstable();
        let at = |part: usize| times[times.len() / part].as_secs_f64() * 1e3;
        writeln!(std::io::stdout(), "{name:28} {:6.2} {:6.2}", at(10), at(2))?;
    }
    Ok(())
}

/// From the wish to the durable end.
async fn once(
    shims: &Shims,
    key: &sterna_model::EffectKey,
    work: &Path,
    confine: Option<Confinement>,
) -> Result<Duration, Box<dyn std::error::Error>> {
    let env = [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into();
    let mut plan = Plan::new(Run::Shell { line: "true".into() }, work, env);
    plan.confine = confine;
    let began = Instant::now();
    let mut handle = shims.start(key, 1, &plan).await?;
    while let Event::Output(_) = handle.next().await? {}
    let took = began.elapsed();
    shims.remove(key, 1)?;
    Ok(took)
}
