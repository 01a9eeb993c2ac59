//! A long session taken up by a new process: what stands between opening the store and the first request.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use sterna_log::SharedLog;
use sterna_model::{EffectClass, SessionId};
use sterna_runtime::State;
use sterna_sqlite::SqliteStore;

use crate::Options;
use crate::floor::Kept;
use crate::report::Report;
use crate::world::{Keep, with};
use sterna_hot::Counting;

pub fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let lengths: &[u64] = if options.quick { &[100, 10_000] } else { &[100, 10_000, 100_000] };
    let mut sessions = Vec::new();
    for records in lengths {
        let home = options.folder()?;
        let session = runtime.block_on(write(home.path(), *records))?;
        sessions.push((*records, home, session));
    }
    let mut firsts = vec![Vec::new(); sessions.len()];
    let mut folds = vec![Vec::new(); sessions.len()];
    let mut rows = vec![Vec::new(); sessions.len()];
    for _ in 0..options.rounds(15, 3) {
        // One after the other in each round, so that their ratios are of the same minute.
        for (at, (records, home, session)) in sessions.iter().enumerate() {
            let (ours, bytes) = runtime.block_on(first_request(home.path(), session))?;
            firsts[at].push((ours, floor(home.path(), bytes)?));
            let (snapshot, whole, head) = runtime.block_on(both_folds(home.path(), session))?;
            ensure!(head >= *records, "{head} records");
            folds[at].push((snapshot, whole));
            rows[at].push((snapshot, bare(home.path())?));
        }
    }
    for (at, (records, _, _)) in sessions.iter().enumerate() {
        let name = format!("resume of {records} records");
        let target = if *records == 100_000 { "≤ 50" } else { "" };
        report.pairs(format!("{name}: store handle to request"), "ms", target, &firsts[at]);
        report.pairs(format!("{name}: fold, beside that of all records"), "ms", "", &folds[at]);
        report.pairs(format!("{name}: fold, beside reading all rows"), "ms", "", &rows[at]);
        if at > 0 {
            let of = |at: usize| firsts[at].iter().map(|(ours, _)| *ours);
            let beside: Vec<(f64, f64)> = of(at).zip(of(0)).collect();
            report.pairs(format!("{name}, beside that of {}", lengths[0]), "ms", "≤ 4", &beside);
        }
    }
    Ok(())
}

/// Turns of 100 steps until there are enough records.
pub async fn write(data: &Path, records: u64) -> Result<SessionId> {
    let calls = if records < 1_000 { 19 } else { 99 };
    let world = with(Keep::Sqlite(data), Arc::new(Counting::new(calls)), EffectClass::Pure)?;
    let (session, _) = world.turn(None).await?;
    while world.log.head(&session).await?.seq < records {
        world.turn(Some(session.clone())).await?;
    }
    world.runtime.rest(&session).await;
    Ok(session)
}

/// Milliseconds from a new store handle to the request of another turn, and that request's bytes.
async fn first_request(data: &Path, session: &SessionId) -> Result<(f64, usize)> {
    let model = Arc::new(Counting::new(0));
    let started = Instant::now();
    let world = with(Keep::Sqlite(data), model.clone(), EffectClass::Pure)?;
    world.turn(Some(session.clone())).await?;
    let (came, bytes) = model.last().context("no request was sent")?;
    world.runtime.rest(session).await;
    Ok((millis(started, came), bytes))
}

/// The least between: a store opened, one durable commit, a request's bytes copied.
fn floor(data: &Path, bytes: usize) -> Result<f64> {
    let started = Instant::now();
    let kept = Kept::open(&data.join("floor.db"))?;
    kept.keep(&[b'x'; 2_000])?;
    let body = std::hint::black_box(vec![b'x'; bytes]);
    let took = millis(started, Instant::now());
    ensure!(body.len() == bytes, "the copy is whole");
    Ok(took)
}

/// Milliseconds of the fold that a resume begins with, and of the fold of everything; and the head.
async fn both_folds(data: &Path, session: &SessionId) -> Result<(f64, f64, u64)> {
    let open =
        || -> Result<SharedLog> { Ok(Arc::new(SqliteStore::open(data, sterna_sqlite::Options::default())?)) };
    let log = open()?;
    let started = Instant::now();
    let state = State::load(&log, session).await?;
    let snapshot = millis(started, Instant::now());
    let log = open()?;
    let started = Instant::now();
    let whole = State::load_whole(&log, session).await?;
    let all = millis(started, Instant::now());
    ensure!(state.head == whole.head, "{} and {} records", state.head, whole.head);
    Ok((snapshot, all, whole.head))
}

/// Milliseconds to read all rows and throw them away.
fn bare(data: &Path) -> Result<f64> {
    let connection = rusqlite::Connection::open(data.join("sterna.db"))?;
    let started = Instant::now();
    let mut query = connection.prepare("SELECT seq, hash, data FROM records ORDER BY id")?;
    let mut rows = query.query([])?;
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        bytes += row.get_ref(1)?.as_blob()?.len() + row.get_ref(2)?.as_blob()?.len();
    }
    ensure!(bytes > 0, "the rows are empty");
    Ok(millis(started, Instant::now()))
}

fn millis(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64() * 1_000.0
}
