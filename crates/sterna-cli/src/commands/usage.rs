//! `sterna usage`: what model calls used and cost.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};
use sterna_log::fold::{Ledger, Sum};
use sterna_log::{Filter, HISTORY_PAGE, Log, LogError, Page};
use sterna_model::{NanoUsd, SessionId, Usage, dollars};
use sterna_sqlite::SqliteStore;

use crate::context::Context;
use crate::failure::{FAILED, Failure};
use crate::render::money;
use crate::table::{day, table};

#[derive(Debug, Args)]
pub struct UsageArgs {
    /// The session; all of them without one
    id: Option<String>,
    /// Only the sums by this
    #[arg(long, value_name = "WHAT")]
    by: Option<By>,
    /// One object: total, by_model, by_source
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    Model,
    Source,
    Day,
}

/// Sums of one or more sessions.
#[derive(Default)]
struct Totals {
    total: Row,
    by_model: BTreeMap<String, Row>,
    by_source: BTreeMap<String, Row>,
    /// Days since 1970-01-01, UTC.
    by_day: BTreeMap<u64, Row>,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    calls: u64,
    usage: Usage,
    /// `None`: the price of a call is not known.
    cost: Option<NanoUsd>,
    estimated: bool,
}

pub async fn usage(cx: &Context, args: UsageArgs) -> Result<ExitCode, Failure> {
    let mut totals = Totals::default();
    let mut whole = true;
    match args.id.as_deref().map(SessionId::new).transpose()? {
        Some(id) => {
            let store = cx.store_of(&id)?;
            let (ledger, damage) = ledger(&store, &id).await?;
            totals.add(&ledger);
            whole = warn(cx, damage);
        }
        None => {
            if let Some(store) = cx.store_if_there()? {
                whole = add_all(cx, &store, &mut totals).await?;
            }
        }
    }
    if args.json {
        cx.print.json(&totals.json(args.by))?;
    } else {
        cx.print.out(&totals.text(cx, args.by.unwrap_or(By::Model)))?;
    }
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

async fn add_all(cx: &Context, store: &SqliteStore, totals: &mut Totals) -> Result<bool, Failure> {
    let mut whole = true;
    let mut page = Page { after: None, limit: 500 };
    loop {
        let rows = store.list(&Filter::default(), page.clone()).await?;
        let Some(last) = rows.last() else { return Ok(whole) };
        page.after = Some(last.id.clone());
        // Sessions that used nothing need no reading.
        for row in rows.iter().filter(|row| row.tokens > 0) {
            match ledger(store, &row.id).await {
                Ok((ledger, damage)) => {
                    totals.add(&ledger);
                    whole &= warn(cx, damage);
                }
                // Deleted between the list and now.
                Err(LogError::NotFound(_) | LogError::Tombstone(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The session's own ledger, without what a fork's history has cost; and the damage that it stops at.
async fn ledger(log: &dyn Log, id: &SessionId) -> Result<(Ledger, Option<LogError>), LogError> {
    let mut ledger = Ledger::default();
    let mut from = 1;
    log.head(id).await?;
    let mut limit = HISTORY_PAGE;
    loop {
        match log.read(id, from, limit).await {
            Ok(page) => {
                let Some(last) = page.last() else { return Ok((ledger, None)) };
                from = last.record.seq + 1;
                page.iter().for_each(|sealed| ledger.apply(&sealed.record));
            }
            // The whole records before it count.
            Err(LogError::Corrupt { seq, .. }) if seq > from => {
                limit = usize::try_from(seq - from).unwrap_or(HISTORY_PAGE);
            }
            Err(error @ LogError::Corrupt { .. }) => return Ok((ledger, Some(error))),
            Err(error) => return Err(error),
        }
    }
}

/// Whether there is no damage; else it is told.
fn warn(cx: &Context, damage: Option<LogError>) -> bool {
    if let Some(error) = &damage {
        cx.print.warning(&format!("{error}; only what comes before it is counted"));
    }
    damage.is_none()
}

impl Totals {
    fn add(&mut self, ledger: &Ledger) {
        self.total.add(ledger.total());
        for (route, sum) in ledger.by_model() {
            self.by_model.entry(route.to_string()).or_default().add(sum);
        }
        for (source, sum) in ledger.by_source() {
            self.by_source.entry(source.word().to_owned()).or_default().add(sum);
        }
        for (day, sum) in ledger.by_day() {
            self.by_day.entry(*day).or_default().add(sum);
        }
    }

    fn json(&self, by: Option<By>) -> Value {
        let list = |name: &str, rows: Vec<(String, &Row)>| -> Value {
            rows.into_iter().map(|(value, row)| Value::Object(row.json(Some((name, value))))).collect()
        };
        let mut object = Map::new();
        object.insert("total".into(), Value::Object(self.total.json(None)));
        if matches!(by, None | Some(By::Model)) {
            object.insert("by_model".into(), list("model", named(&self.by_model)));
        }
        if matches!(by, None | Some(By::Source)) {
            object.insert("by_source".into(), list("source", named(&self.by_source)));
        }
        if by == Some(By::Day) {
            object.insert("by_day".into(), list("day", self.days()));
        }
        Value::Object(object)
    }

    fn text(&self, cx: &Context, by: By) -> String {
        let (name, rows) = match by {
            By::Model => ("model", named(&self.by_model)),
            By::Source => ("source", named(&self.by_source)),
            By::Day => ("day", self.days()),
        };
        let head = [name, "calls", "input", "cache read", "cache write", "output", "of it reasoning", "cost"];
        let mut cells: Vec<Vec<String>> = rows.into_iter().map(|(value, row)| row.cells(value)).collect();
        cells.push(self.total.cells("total".into()));
        let mut text = table(&cx.print, &head, &cells);
        if self.total.estimated {
            text.push_str("calls that were cut are counted by estimate\n");
        }
        text
    }

    fn days(&self) -> Vec<(String, &Row)> {
        self.by_day.iter().map(|(days, row)| (day(*days), row)).collect()
    }
}

impl Default for Row {
    /// Nothing costs nothing.
    fn default() -> Self {
        Self { calls: 0, usage: Usage::default(), cost: Some(0), estimated: false }
    }
}

impl Row {
    fn add(&mut self, sum: &Sum) {
        self.calls += sum.calls;
        self.usage.add(&sum.usage);
        self.cost = self.cost.zip(sum.cost()).map(|(a, b)| a.saturating_add(b));
        self.estimated |= sum.estimated;
    }

    fn json(&self, name: Option<(&str, String)>) -> Map<String, Value> {
        let Usage { input_uncached, cache_read, cache_write_5m, cache_write_1h, output, reasoning } =
            self.usage;
        let mut object = Map::new();
        if let Some((name, value)) = name {
            object.insert(name.to_owned(), json!(value));
        }
        for (class, tokens) in [
            ("input_uncached", input_uncached),
            ("cache_read", cache_read),
            ("cache_write_5m", cache_write_5m),
            ("cache_write_1h", cache_write_1h),
            ("output", output),
            ("reasoning", reasoning),
        ] {
            object.insert(class.to_owned(), json!(tokens));
        }
        object.insert("cost".into(), json!(dollars(self.cost)));
        object.insert("calls".into(), json!(self.calls));
        object.insert("estimated".into(), json!(self.estimated));
        object
    }

    fn cells(&self, name: String) -> Vec<String> {
        let usage = &self.usage;
        let written = usage.cache_write_5m.saturating_add(usage.cache_write_1h);
        let counts =
            [self.calls, usage.input_uncached, usage.cache_read, written, usage.output, usage.reasoning];
        let mut cells = vec![name];
        cells.extend(counts.map(|count| count.to_string()));
        cells.push(money(dollars(self.cost)));
        cells
    }
}

fn named(rows: &BTreeMap<String, Row>) -> Vec<(String, &Row)> {
    rows.iter().map(|(name, row)| (name.clone(), row)).collect()
}

#[cfg(test)]
mod tests {
    use sterna_model::{Attempt, Billed, Body, ErrorClass, ProviderFailure, Record};

    use super::*;

    fn ledger(cost: Option<NanoUsd>) -> Ledger {
        let usage = Usage { input_uncached: 5, ..Usage::default() };
        let billed = Billed { usage, cost, ..Billed::default() };
        let (class, message) = (ErrorClass::Server, String::new());
        let failure = ProviderFailure { class, status: None, message, retry_after_ms: None, billed };
        let (key, route) = ("s/1/1/model/0".parse().unwrap(), "acme/x".parse().unwrap());
        let attempt = Attempt { key, attempt: 1, route, failure, wait_ms: 0, retry_at: None };
        let mut ledger = Ledger::default();
        let body = Body::Attempt(Box::new(attempt));
        ledger.apply(&Record { v: 1, seq: 1, at: 0, turn: Some(1), step: Some(1), body });
        ledger
    }

    #[test]
    fn a_price_that_is_not_known_makes_the_sum_unknown() {
        let mut totals = Totals::default();
        totals.add(&ledger(Some(2_000_000_000)));
        assert_eq!(totals.json(None)["total"]["cost"], 2.0);
        totals.add(&ledger(None));
        let shown = totals.json(None);
        assert_eq!((&shown["total"]["cost"], &shown["total"]["input_uncached"]), (&Value::Null, &json!(10)));
        assert_eq!(shown["by_model"][0]["cost"], Value::Null);
    }
}
