//! Sessions that are there and have nothing to do: what a process holds for them.

use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use sterna_model::{EffectClass, SessionId};

use crate::Options;
use crate::report::Report;
use crate::watch::resident_mb;
use crate::world::{Keep, with};
use sterna_hot::Counting;
use sterna_hot::World;

pub fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let counts: &[usize] = if options.quick { &[100, 1_000] } else { &[100, 1_000, 10_000] };
    for sessions in counts {
        let mut pairs = Vec::new();
        for _ in 0..options.rounds(3, 1) {
            let folder = options.folder()?;
            let output = Command::new(std::env::current_exe()?)
                .args(["_resident", &sessions.to_string()])
                .arg(folder.path())
                .output()?;
            ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let told: Value = serde_json::from_slice(&output.stdout)?;
            let number = |name: &str| told[name].as_f64().with_context(|| format!("no {name} in {told}"));
            pairs.push((number("after")?, number("before")?));
        }
        let target = if *sessions == 10_000 { "≤ 300" } else { "" };
        report.pairs(format!("{sessions} idle sessions, beside one: memory"), "MB", target, &pairs);
        let each: Vec<f64> =
            pairs.iter().map(|(after, before)| (after - before) * 1_024.0 / *sessions as f64).collect();
        report.alone(format!("{sessions} idle sessions: each"), "KB", "", &each);
    }
    Ok(())
}

/// In a process of its own. Says its figures on stdout.
pub fn child(args: &[String]) -> Result<()> {
    let [sessions, folder] = args else { bail!("sessions, folder") };
    let sessions: usize = sessions.parse()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (before, after) = runtime.block_on(async {
        let keep = Keep::Sqlite(folder.as_ref());
        let world = with(keep, Arc::new(Counting::new(1)), EffectClass::Pure)?;
        // One, so that everything that all share is there.
        let mut all = vec![one(&world).await?];
        let before = resident_mb();
        while all.len() < sessions {
            let some = (0..AT_ONCE.min(sessions - all.len())).map(|_| one(&world));
            all.extend(futures::future::try_join_all(some).await?);
        }
        let after = resident_mb();
        // They are all still there, and one can be taken up.
        world.turn(all.first().cloned()).await?;
        anyhow::Ok((before, after))
    })?;
    println!("{}", json!({ "before": before, "after": after }));
    Ok(())
}

async fn one(world: &World) -> Result<SessionId> {
    let (session, _) = world.turn(None).await?;
    world.runtime.rest(&session).await;
    Ok(session)
}

const AT_ONCE: usize = 200;
