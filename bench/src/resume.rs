//! Loading a long session from disk, beside reading the same rows with nothing but SQLite.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Result, ensure};
use futures::FutureExt;
use futures::future::BoxFuture;
use sterna_llm::{EncodeCache, Encoded, ModelInfo, ModelReply, Provider, Request, StreamEvent, wire};
use sterna_log::SharedLog;
use sterna_model::{
    Billed, EffectClass, ModelStop, Part, ProviderFailure, Route, SessionId, ToolCall, Usage,
};
use sterna_runtime::State;
use sterna_sqlite::SqliteStore;

use crate::report::Report;
use crate::world::{Keep, World};
use crate::{Options, start};

pub fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let home = options.folder()?;
    let data = home.path().join("data");
    std::fs::create_dir(&data)?;
    let session = runtime.block_on(write(&data))?;
    let mut pairs = Vec::new();
    for _ in 0..options.rounds(25, 5) {
        let started = Instant::now();
        let state = runtime.block_on(load(&data, &session))?;
        let ours = millis(started);
        ensure!(state.head >= RECORDS, "{} records", state.head);
        let started = Instant::now();
        let rows = bare(&data)?;
        let floor = millis(started);
        ensure!(rows == state.head, "{rows} rows, {} records", state.head);
        pairs.push((ours, floor));
    }
    report.pairs("resume of 10,000 records: State::load, new store handle", "ms", "≤ 20", &pairs);
    if let Some(sterna) = start::binary()? {
        let mut pairs = Vec::new();
        for _ in 0..options.rounds(11, 3) {
            let started = Instant::now();
            let status = Command::new(&sterna)
                .args(["sessions", "show", session.as_str()])
                .env("STERNA_HOME", home.path())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()?;
            let ours = millis(started);
            if !status.success() {
                eprintln!("`sterna sessions show` failed ({status}): not measured");
                return Ok(());
            }
            let started = Instant::now();
            bare(&data)?;
            pairs.push((ours, millis(started)));
        }
        report.pairs("`sterna sessions show` of it, whole process", "ms", "", &pairs);
    }
    Ok(())
}

async fn load(data: &Path, session: &SessionId) -> Result<State> {
    let log: SharedLog = Arc::new(SqliteStore::open(data, sterna_sqlite::Options::default())?);
    Ok(State::load(&log, session).await?)
}

/// The same rows, read and thrown away.
fn bare(data: &Path) -> Result<u64> {
    let connection = rusqlite::Connection::open(data.join("sterna.db"))?;
    let mut query = connection.prepare("SELECT seq, hash, data FROM records ORDER BY session, seq")?;
    let mut rows = query.query([])?;
    let (mut count, mut bytes) = (0, 0);
    while let Some(row) = rows.next()? {
        bytes += row.get_ref(1)?.as_blob()?.len() + row.get_ref(2)?.as_blob()?.len();
        count += 1;
    }
    ensure!(bytes > 0, "the rows are empty");
    Ok(count)
}

/// Turns of 100 steps until there are enough records.
async fn write(data: &Path) -> Result<SessionId> {
    let provider = Arc::new(Counting { asked: AtomicU64::new(0) });
    let world = World::with(Keep::Sqlite(data), provider, EffectClass::Pure)?;
    let (session, _) = world.turn(None).await?;
    while world.log.head(&session).await?.seq < RECORDS {
        world.turn(Some(session.clone())).await?;
    }
    Ok(session)
}

/// A model in this process: 99 calls, then an answer, and again.
struct Counting {
    asked: AtomicU64,
}

impl Provider for Counting {
    fn model(&self, _: &Route) -> Result<ModelInfo, String> {
        Ok(ModelInfo::default())
    }
    fn encoder(&self, _: &Route) -> String {
        "openai_chat/1".into()
    }
    fn encode(&self, request: &Request, cache: &mut EncodeCache) -> Encoded {
        match wire::by_name("openai_chat") {
            Some(wire) => wire.encode(request, cache),
            None => Encoded::of(Vec::new()),
        }
    }
    fn send<'a>(
        &'a self,
        _: &'a Route,
        _: Encoded,
        _: &'a mut (dyn FnMut(StreamEvent) + Send),
    ) -> BoxFuture<'a, Result<ModelReply, ProviderFailure>> {
        let n = self.asked.fetch_add(1, Ordering::SeqCst);
        let (part, stop) = if n % 100 == 99 {
            (Part::Text(format!("So far I have counted to {n}.")), ModelStop::EndTurn)
        } else {
            let call = ToolCall {
                id: format!("call_{n:06}"),
                name: "noop".into(),
                arguments: format!("{{\"n\":{n}}}"),
                truncated: false,
            };
            (Part::ToolCall(call), ModelStop::ToolCalls)
        };
        let usage = Usage { input_uncached: 100, output: 10, ..Usage::default() };
        let raw = r#"{"prompt_tokens":100,"completion_tokens":10,"total_tokens":110}"#;
        let billed = Billed { usage, raw: Some(raw.into()), ..Billed::default() };
        async move { Ok(ModelReply { parts: vec![part], stop, billed }) }.boxed()
    }
}

fn millis(from: Instant) -> f64 {
    from.elapsed().as_secs_f64() * 1_000.0
}

const RECORDS: u64 = 10_000;
