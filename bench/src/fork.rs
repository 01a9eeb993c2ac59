//! A fork of a long session, beside the one durable commit that it cannot do without.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};
use sterna_model::EffectClass;
use sterna_runtime::State;

use crate::Options;
use crate::floor::Kept;
use crate::report::Report;
use crate::resume::write;
use crate::world::{Keep, with};
use sterna_hot::Counting;

pub fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let home = options.folder()?;
    let (mut made, mut folded) = (Vec::new(), Vec::new());
    runtime.block_on(async {
        let session = write(home.path(), RECORDS).await?;
        let world = with(Keep::Sqlite(home.path()), Arc::new(Counting::new(0)), EffectClass::Pure)?;
        let floor = Kept::open(&home.path().join("floor.db"))?;
        for _ in 0..options.rounds(25, 5) {
            let started = Instant::now();
            let fork = world.runtime.fork(&session, None, None).await?;
            let ours = ms(started);
            let started = Instant::now();
            floor.keep(&[b'x'; 500])?;
            made.push((ours, ms(started)));
            let started = Instant::now();
            let state = State::load(&world.log, &fork).await?;
            let ours = ms(started);
            let started = Instant::now();
            let parent = State::load(&world.log, &session).await?;
            folded.push((ours, ms(started)));
            ensure!(
                state.transcript.items().len() == parent.transcript.items().len(),
                "a fork shows what it shares"
            );
        }
        anyhow::Ok(())
    })?;
    report.pairs(format!("fork of {RECORDS} records, beside one commit"), "ms", "", &made);
    report.pairs("its fold, beside that of its parent", "ms", "≤ 1.5", &folded);
    Ok(())
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1_000.0
}

const RECORDS: u64 = 10_000;
