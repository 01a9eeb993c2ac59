//! Durable appends by many writers at once, beside one connection that commits row by row. Both sync each commit; the
//! store shares one among all that wait.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use sterna_log::{Append, Expect, SharedLog};
use sterna_model::{Body, Draft, Mode, SessionId, SessionOpened};
use sterna_sqlite::SqliteStore;

use crate::Options;
use crate::floor::Kept;
use crate::report::Report;

pub fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    for writers in WRITERS {
        let each = (if options.quick { 512 } else { 4_096 } / writers).max(4);
        let mut pairs = Vec::new();
        for _ in 0..options.rounds(5, 2) {
            let home = options.folder()?;
            let ours = runtime.block_on(ours(home.path(), writers, each))?;
            pairs.push((ours, floor(home.path())?));
        }
        let target = if writers == 1 { "≥ 0.6" } else { "" };
        report.pairs(format!("append, {writers} writers: records a second"), "1/s", target, &pairs);
    }
    Ok(())
}

async fn ours(data: &Path, writers: usize, each: usize) -> Result<f64> {
    let log: SharedLog = Arc::new(SqliteStore::open(data, sterna_sqlite::Options::default())?);
    let sessions: Vec<SessionId> =
        (0..writers).map(|n| SessionId::new(&format!("w-{n}"))).collect::<Result<_, _>>()?;
    for session in &sessions {
        append(&log, session, 0, Expect::New(None), opened(session)?).await?;
    }
    let started = Instant::now();
    let tasks: Vec<_> = sessions
        .into_iter()
        .map(|session| {
            let log = log.clone();
            tokio::spawn(async move {
                for n in 1..=each {
                    append(&log, &session, n, Expect::Any, note(n)).await?;
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok((writers * each) as f64 / started.elapsed().as_secs_f64())
}

fn floor(data: &Path) -> Result<f64> {
    let kept = Kept::open(&data.join("floor.db"))?;
    let row = [b'x'; ROW];
    let started = Instant::now();
    for _ in 0..COMMITS {
        kept.keep(&row)?;
    }
    Ok(COMMITS as f64 / started.elapsed().as_secs_f64())
}

async fn append(log: &SharedLog, session: &SessionId, n: usize, expect: Expect, body: Body) -> Result<()> {
    let records = vec![Draft { at: 1, turn: None, step: None, body }];
    let append = Append { session: session.clone(), expect, id: format!("a{n}"), records, blobs: Vec::new() };
    log.append(append).await?;
    Ok(())
}

fn note(n: usize) -> Body {
    Body::TitleSet { title: format!("{n:0width$}", width = ROW / 2), by: "bench".into(), made: None }
}

/// The first record of a session that nobody drives.
pub fn opened(id: &SessionId) -> Result<Body> {
    Ok(Body::SessionOpened(SessionOpened {
        id: id.clone(),
        parent: None,
        spawned: None,
        root: "/w".into(),
        cwd: "/w".into(),
        route: "bench/x".parse()?,
        mode: Mode::Execute,
        sterna: "bench".into(),
    }))
}

const WRITERS: [usize; 4] = [1, 8, 64, 512];
/// Bytes of a record, about.
const ROW: usize = 200;
const COMMITS: usize = 500;
