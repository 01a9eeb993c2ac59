//! Search in what many sessions said, beside a bare full-text table of the same texts.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};
use rusqlite::{Connection, params};
use sterna_log::{Append, Expect, SharedLog};
use sterna_model::{Body, Delivery, Draft, InputAccepted, InputPart, SessionId};
use sterna_sqlite::SqliteStore;

use crate::Options;
use crate::append::opened;
use crate::report::Report;

pub fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let home = options.folder()?;
    let log: SharedLog = Arc::new(SqliteStore::open(home.path(), sterna_sqlite::Options::default())?);
    runtime.block_on(fill(&log))?;
    let bare = bare(&home.path().join("floor.db"))?;
    let mut pairs = Vec::new();
    for _ in 0..options.rounds(25, 5) {
        let started = Instant::now();
        let hits = runtime.block_on(log.search(WORD, LIMIT))?.len();
        let ours = micros(started);
        let started = Instant::now();
        let found = {
            let mut query = bare.prepare_cached(
                "SELECT rowid, snippet(said, 0, '', '', '…', 16) FROM said WHERE said MATCH ?1 ORDER BY rank LIMIT ?2",
            )?;
            query.query_map(params![WORD, LIMIT as i64], |row| row.get::<_, i64>(0))?.count()
        };
        pairs.push((ours, micros(started)));
        ensure!((hits, found) == (LIMIT, LIMIT), "{hits} and {found} of {LIMIT} places");
    }
    report.pairs(format!("search in {SESSIONS} sessions, {LIMIT} places"), "µs", "", &pairs);
    Ok(())
}

async fn fill(log: &SharedLog) -> Result<()> {
    for n in 0..SESSIONS {
        let session = SessionId::new(&format!("s-{n}"))?;
        let input = Body::InputAccepted(InputAccepted {
            key: None,
            delivery: Delivery::NextTurn,
            parts: vec![InputPart::Text(text(n))],
            origin: "bench".into(),
            given: None,
            ended: None,
            compact: None,
            tainted: Vec::new(),
        });
        let records = [opened(&session)?, input].map(|body| Draft { at: 1, turn: None, step: None, body });
        let append = Append {
            session,
            expect: Expect::New(None),
            id: "open".into(),
            records: records.into(),
            blobs: Vec::new(),
        };
        log.append(append).await?;
    }
    Ok(())
}

fn bare(path: &Path) -> Result<Connection> {
    let connection = Connection::open(path)?;
    connection.execute_batch("CREATE VIRTUAL TABLE said USING fts5(text); BEGIN")?;
    for n in 0..SESSIONS {
        connection.prepare_cached("INSERT INTO said (text) VALUES (?1)")?.execute([text(n)])?;
    }
    connection.execute_batch("COMMIT")?;
    Ok(connection)
}

/// Forty words; every fifth session has the one that is looked for.
fn text(n: usize) -> String {
    let mut words: Vec<String> = (0..40).map(|at| format!("word{}", (n * 31 + at * 7) % 997)).collect();
    if n.is_multiple_of(5) {
        words[n % 40] = WORD.into();
    }
    words.join(" ")
}

fn micros(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e6
}

const SESSIONS: usize = 1_000;
const LIMIT: usize = 20;
const WORD: &str = "needle";
