//! A command from its start to its end and output: below its shim, by a plain spawn of ours, and by one of tokio's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use sterna_log::{MemoryLog, SharedBlobs};
use sterna_model::EffectKey;
use sterna_shell::shim::{Followed, Helper, Plan, Run, Shims, follow};
use sterna_tool::Cancel;

use crate::Options;
use crate::report::Report;

pub fn measure(options: &Options, report: &mut Report) -> Result<()> {
    // As the command line and most hosts have it.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let folder = options.folder()?;
    let shims = Shims::new(folder.path().join("spools"), Some(Helper::this_host()));
    shims.prepare()?;
    let work = folder.path().to_owned();
    let (mut shimmed, mut plain) = (Vec::new(), Vec::new());
    // The first of each fills the caches.
    for round in 0..=options.rounds(200, 20) {
        let pair = runtime.block_on(async {
            let below = below_shim(&shims, round, &work).await?;
            let bare = bare(&work).await?;
            let ours = without_shim(&work).await?;
            anyhow::Ok((below, ours, bare, self::bare(&work).await?))
        });
        let (below, ours, before, after) = pair?;
        if round > 0 {
            shimmed.push((below, before));
            plain.push((ours, after));
        }
    }
    let over: Vec<f64> = shimmed.iter().map(|(ours, floor)| ours - floor).collect();
    report.pairs("a command below its shim, start to end", "ms", "", &shimmed);
    report.pairs("a command without a shim, start to end", "ms", "", &plain);
    report.alone("the shim over a plain spawn", "ms", "", &over);
    Ok(())
}

/// With all that is made durable, and its spool removed as after its outcome.
async fn below_shim(shims: &Shims, round: usize, work: &Path) -> Result<f64> {
    let key: EffectKey = format!("bench/1/{}/tool/0", round + 1).parse()?;
    let plan = Plan::new(Run::Shell { line: LINE.into() }, work.to_owned(), env());
    let blobs: SharedBlobs = Arc::new(MemoryLog::new());
    let started = Instant::now();
    let handle = shims.start(&key, 1, &plan).await?;
    let followed = follow(handle, blobs, Cancel::new(), GRACE, Arc::new(|_| {})).await?;
    let took = ms(started);
    let Followed::Ended { ended, .. } = followed else { anyhow::bail!("the shim was lost") };
    ensure!(ended.succeeded() && ended.output.bytes() == SAID, "the command did not say what it must");
    shims.remove(&key, 1)?;
    Ok(took)
}

async fn without_shim(work: &Path) -> Result<f64> {
    let blobs: SharedBlobs = Arc::new(MemoryLog::new());
    let started = Instant::now();
    let command = sterna_shell::Command::new(LINE.to_owned(), PathBuf::from(work), env(), blobs);
    let ended = sterna_shell::run(command).await?;
    let took = ms(started);
    ensure!(ended.succeeded() && ended.output.bytes() == SAID, "the command did not say what it must");
    Ok(took)
}

/// The floor: a shell, its output read to the end, its exit awaited.
async fn bare(work: &Path) -> Result<f64> {
    let started = Instant::now();
    let output = tokio::process::Command::new("bash")
        .args(["-c", LINE])
        .current_dir(work)
        .env_clear()
        .envs(env())
        .stdin(Stdio::null())
        .output()
        .await?;
    let took = ms(started);
    ensure!(
        output.status.success() && output.stdout.len() as u64 == SAID,
        "the floor did not say what it must"
    );
    Ok(took)
}

fn env() -> BTreeMap<String, String> {
    BTreeMap::from([("PATH".to_owned(), std::env::var("PATH").unwrap_or_default())])
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1_000.0
}

const LINE: &str = "echo done";
/// Bytes that it says.
const SAID: u64 = 5;
/// Never waited for here.
const GRACE: Duration = Duration::from_secs(2);
