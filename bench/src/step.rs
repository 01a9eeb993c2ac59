//! Overhead a step: the end of the model's reply to the first byte of the next request, both seen at the server.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use sterna_log::read_history;
use sterna_model::{Body, EffectClass, EffectResult, Part};

use crate::Options;
use crate::floor::{Growing, Kept, ask, client};
use crate::report::{Report, quantile};
use crate::server::{Say, Seen, TimedServer, call_reply, text_reply};
use crate::world::{Keep, over_http};

pub fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        for variant in [Variant::Memory, Variant::Pure, Variant::AtMostOnce] {
            one(options, report, variant).await?;
        }
        Ok(())
    })
}

/// Request sizes of a turn of this many steps, by our own encoder.
pub async fn request_sizes(steps: usize) -> Result<Vec<usize>> {
    let server = TimedServer::start(replies(steps))?;
    let world = over_http(Keep::Memory, &server.base_url(), EffectClass::Pure)?;
    world.turn(None).await?;
    Ok(server.seen().iter().map(|seen| seen.body_bytes).collect())
}

#[derive(Clone, Copy, PartialEq)]
enum Variant {
    Memory,
    Pure,
    AtMostOnce,
}

impl Variant {
    fn name(self) -> &'static str {
        match self {
            Self::Memory => "step, nothing kept",
            Self::Pure => "step, SQLite FULL, pure tool",
            Self::AtMostOnce => "step, SQLite FULL, at_most_once tool",
        }
    }

    /// Durable commits that the step cannot do without.
    fn commits(self) -> usize {
        match self {
            Self::Memory => 0,
            Self::Pure => 1,
            Self::AtMostOnce => 2,
        }
    }
}

async fn one(options: &Options, report: &mut Report, variant: Variant) -> Result<()> {
    let sizes = request_sizes(STEPS).await?;
    let mut pairs: [Vec<(f64, f64)>; 4] = Default::default();
    let (mut log_bytes, mut disk): ([Vec<f64>; 2], [Vec<(f64, f64)>; 3]) = Default::default();
    let mut beyond = Vec::new();
    for _ in 0..options.rounds(7, 2) {
        let ours = ours(options, variant).await?;
        let row_bytes = ours.log_bytes.first().map_or(1_500.0, |(bytes, _)| *bytes) as usize;
        let floor = floor(options, variant, &sizes, row_bytes).await?;
        let times = |seen: &[Seen], from: usize, to: usize, share: f64| {
            let steps = seen[from..=to].windows(2);
            let between: Vec<f64> = steps.map(|two| micros(two[0].replied, two[1].first_byte)).collect();
            quantile(&between, share)
        };
        let spans = [(0, 100, 0.5), (900, STEPS, 0.5), (0, 100, 0.99), (900, STEPS, 0.99)];
        for (pairs, (from, to, share)) in pairs.iter_mut().zip(spans) {
            pairs.push((times(&ours.seen, from, to, share), times(&floor, from, to, share)));
        }
        for (at, (from, to)) in [(0, 100), (900, STEPS), (0, STEPS)].into_iter().enumerate() {
            let written = |seen: &[Seen]| (seen[to].written - seen[from].written) as f64 / (to - from) as f64;
            disk[at].push((written(&ours.seen), written(&floor)));
            if let Some((bytes, content)) = ours.log_bytes.get(at) {
                log_bytes[at].push(*bytes);
                beyond.push(bytes - content);
            }
        }
    }
    let name = variant.name();
    let target = match variant {
        Variant::Memory => "",
        Variant::Pure => "≤ 2 × floor, ≤ 600, flat",
        Variant::AtMostOnce => "≤ 2 × floor",
    };
    let [early, late, early_99, late_99] = pairs;
    report.pairs(format!("{name}: steps 1–100, median"), "µs", target, &early);
    report.pairs(format!("{name}: steps 901–1,000, median"), "µs", target, &late);
    report.pairs(format!("{name}: steps 1–100, p99"), "µs", "", &early_99);
    report.pairs(format!("{name}: steps 901–1,000, p99"), "µs", "", &late_99);
    if variant != Variant::Memory {
        let [early, late] = &log_bytes;
        report.alone(format!("{name}: log bytes a step, 1–100"), "B", "flat", early);
        report.alone(format!("{name}: log bytes a step, 901–1,000"), "B", "flat", late);
        report.alone(format!("{name}: log bytes beyond the content"), "B", "≤ 512", &beyond);
        // The write-ahead log is copied into the database now and then: only the whole turn holds its share of that.
        let [early, late, whole] = &disk;
        report.pairs(format!("{name}: disk writes a step, 1–100"), "B", "flat", early);
        report.pairs(format!("{name}: disk writes a step, 901–1,000"), "B", "flat", late);
        report.pairs(format!("{name}: disk writes a step, 1–1,000"), "B", "", whole);
    }
    Ok(())
}

struct Ours {
    seen: Vec<Seen>,
    /// Bytes of records a step, and of what the model and the tool said in them: for the first and the last hundred.
    log_bytes: Vec<(f64, f64)>,
}

async fn ours(options: &Options, variant: Variant) -> Result<Ours> {
    let server = TimedServer::start(replies(STEPS))?;
    let folder = options.folder()?;
    let (keep, class) = match variant {
        Variant::Memory => (Keep::Memory, EffectClass::Pure),
        Variant::Pure => (Keep::Sqlite(folder.path()), EffectClass::Pure),
        Variant::AtMostOnce => (Keep::Sqlite(folder.path()), EffectClass::AtMostOnce),
    };
    let world = over_http(keep, &server.base_url(), class)?;
    let (session, _) = world.turn(None).await?;
    let seen = server.seen();
    ensure!(seen.len() == STEPS + 1, "the server saw {} requests", seen.len());
    let mut log_bytes = Vec::new();
    if variant != Variant::Memory {
        let records = read_history(&*world.log, &session).await?.rest().await?;
        let contents: Vec<(u32, usize)> = records
            .iter()
            .map(|(_, sealed)| (sealed.record.step.unwrap_or(0), content(&sealed.record.body)))
            .collect();
        drop(world);
        let rows = row_bytes(folder.path())?;
        ensure!(rows.len() == contents.len(), "{} rows, {} records", rows.len(), contents.len());
        for (from, to) in [(1, 100), (901, 1_000)] {
            let inside = |step: u32| step >= from && step <= to;
            let of = rows.iter().zip(&contents).filter(|(_, (step, _))| inside(*step));
            let (bytes, said) =
                of.fold((0, 0), |(bytes, said), (row, (_, content))| (bytes + row, said + content));
            log_bytes.push((bytes as f64 / 100.0, said as f64 / 100.0));
        }
    }
    Ok(Ours { seen, log_bytes })
}

/// Bytes of each record's row in the store: its data, its hash and the append's name.
fn row_bytes(dir: &std::path::Path) -> Result<Vec<usize>> {
    let connection = rusqlite::Connection::open(dir.join("sterna.db"))?;
    let mut query = connection.prepare(
        "SELECT length(data) + length(hash) + coalesce(length(append_id), 0) FROM records ORDER BY id",
    )?;
    let rows = query.query_map([], |row| row.get::<_, i64>(0))?;
    rows.map(|bytes| Ok(usize::try_from(bytes?)?)).collect()
}

/// What was said: bytes that any log must hold.
fn content(body: &Body) -> usize {
    let Body::Outcome(outcome) = body else { return 0 };
    match &outcome.result {
        EffectResult::Model(model) => model
            .parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.len(),
                Part::ToolCall(call) => call.id.len() + call.name.len() + call.arguments.len(),
                Part::Reasoning(reasoning) => reasoning.text.len(),
                Part::Opaque(_) => 0,
            })
            .sum(),
        EffectResult::Tool(tool) => tool.view.len(),
        EffectResult::Summary(summary) => summary.text.len(),
        EffectResult::Judged(judged) => judged.reason.len(),
        EffectResult::ModelFailed(_) => 0,
    }
}

async fn floor(options: &Options, variant: Variant, sizes: &[usize], row_bytes: usize) -> Result<Vec<Seen>> {
    let server = TimedServer::start(replies(STEPS))?;
    let folder = options.folder()?;
    let kept = Kept::open(&folder.path().join("floor.db"))?;
    let commits = variant.commits();
    let row = vec![b'r'; row_bytes / commits.max(1)];
    let url = format!("{}/chat/completions", server.base_url());
    let client = client()?;
    let first = *sizes.first().context("a turn has a first request")?;
    let mut request = Growing::new(first);
    // On a worker like any other task, as ours is.
    let by: Vec<usize> = sizes.windows(2).map(|two| two[1].saturating_sub(two[0])).collect();
    let work = tokio::spawn(async move {
        ask(&client, &url, request.body()).await?;
        for by in by {
            request.grow(by);
            for _ in 0..commits {
                kept.keep(&row)?;
            }
            ask(&client, &url, request.body()).await?;
        }
        anyhow::Ok(())
    });
    work.await??;
    Ok(server.seen())
}

fn replies(steps: usize) -> Say {
    Arc::new(move |n| if n < steps { call_reply("noop", n) } else { text_reply("done") })
}

fn micros(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_nanos() as f64 / 1_000.0
}

const STEPS: usize = 1_000;
