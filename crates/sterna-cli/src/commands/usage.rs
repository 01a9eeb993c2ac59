//! `sterna usage`: what model calls used and cost.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sterna_llm::{Long, Price, catalog};
use sterna_log::fold::{Ledger, LedgerRow, Source};
use sterna_log::{Filter, HISTORY_PAGE, Log, LogError, Page};
use sterna_model::{Billed, NanoUsd, Route, SessionId, StepNo, TurnNo, Usage, dollars};
use sterna_sqlite::SqliteStore;

use crate::context::Context;
use crate::failure::{FAILED, Failure};
use crate::render::money;
use crate::table::{day, table};

#[derive(Debug, Args)]
pub struct UsageArgs {
    /// The session, with its agents; all of them without one
    id: Option<String>,
    /// Only the sums by this
    #[arg(long, value_name = "WHAT")]
    by: Option<By>,
    /// Other prices: a TOML file with a table for each model, or `current` for those that are known now
    #[arg(long, value_name = "FILE|current")]
    prices: Option<String>,
    /// One object: total, by_model, by_source
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    Model,
    Source,
    Day,
    Session,
    /// Of each session
    Turn,
    /// Of each turn
    Step,
}

/// Sums of one or more sessions.
#[derive(Default)]
struct Totals {
    total: Row,
    by_model: BTreeMap<String, Row>,
    by_source: BTreeMap<String, Row>,
    /// Days since 1970-01-01, UTC.
    by_day: BTreeMap<u64, Row>,
    by_session: BTreeMap<String, Row>,
    by_turn: BTreeMap<(String, TurnNo), Row>,
    by_step: BTreeMap<(String, TurnNo, StepNo), Row>,
}

/// A row of one session's ledger.
struct Call {
    session: String,
    row: LedgerRow,
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
    let prices = args.prices.as_deref().map(|which| Prices::read(cx, which)).transpose()?;
    let mut totals = Totals::default();
    let mut whole = true;
    match args.id.as_deref().map(SessionId::new).transpose()? {
        Some(id) => {
            let store = cx.store_of(&id)?;
            let (calls, damage) = calls(&store, &id).await?;
            totals.add(calls, prices.as_ref());
            whole = warn(cx, damage);
        }
        None => {
            if let Some(store) = cx.store_if_there()? {
                whole = add_all(cx, &store, &mut totals, prices.as_ref()).await?;
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

async fn add_all(
    cx: &Context,
    store: &SqliteStore,
    totals: &mut Totals,
    prices: Option<&Prices<'_>>,
) -> Result<bool, Failure> {
    let mut whole = true;
    let mut page = Page { after: None, limit: 500 };
    loop {
        let rows = store.list(&Filter::default(), page.clone()).await?;
        let Some(last) = rows.last() else { return Ok(whole) };
        page.after = Some(last.id.clone());
        // Sessions that used nothing need no reading.
        for row in rows.iter().filter(|row| row.tokens > 0) {
            match calls(store, &row.id).await {
                Ok((mut calls, damage)) => {
                    // Its agents are sessions of the list themselves.
                    calls.retain(|call| call.row.source != Source::Child);
                    totals.add(calls, prices);
                    whole &= warn(cx, damage);
                }
                // Deleted between the list and now.
                Err(LogError::NotFound(_) | LogError::Tombstone(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The calls of a session and of its agents, without those of a fork's history; and the damage that they stop at.
async fn calls(log: &dyn Log, id: &SessionId) -> Result<(Vec<Call>, Option<LogError>), LogError> {
    let (mut ledger, mut calls) = (Ledger::default(), Vec::new());
    let mut from = 1;
    log.head(id).await?;
    let mut limit = HISTORY_PAGE;
    loop {
        match log.read(id, from, limit).await {
            Ok(page) => {
                let Some(last) = page.last() else { return Ok((calls, None)) };
                from = last.record.seq + 1;
                for sealed in page {
                    ledger.apply(&sealed.record);
                    let rows = ledger.last().iter().cloned();
                    calls.extend(rows.map(|row| Call { session: id.to_string(), row }));
                }
            }
            // The whole records before it count.
            Err(LogError::Corrupt { seq, .. }) if seq > from => {
                limit = usize::try_from(seq - from).unwrap_or(HISTORY_PAGE);
            }
            Err(error @ LogError::Corrupt { .. }) => return Ok((calls, Some(error))),
            Err(error) => return Err(error),
        }
    }
}

/// Prices that usage is counted at anew. What it used stays as it is.
struct Prices<'a> {
    settings: &'a sterna::config::Settings,
    /// `None`: those that are known now.
    told: Option<BTreeMap<String, PriceTable>>,
}

/// US dollars per million tokens. What is not said of the cache costs what input costs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PriceTable {
    input: f64,
    output: f64,
    cache_read: Option<f64>,
    cache_write_5m: Option<f64>,
    cache_write_1h: Option<f64>,
    long: Option<Long>,
}

impl<'a> Prices<'a> {
    fn read(cx: &'a Context, which: &str) -> Result<Self, Failure> {
        let settings = &cx.settings;
        if which == "current" {
            return Ok(Self { settings, told: None });
        }
        let wrong = |why: &dyn std::fmt::Display| {
            Failure::usage(format!("--prices {which}: {why}"))
                .hint("write a table for each model: [\"anthropic/claude-opus-5\"] with input and output")
        };
        let text = std::fs::read_to_string(which).map_err(|e| wrong(&e))?;
        let told: BTreeMap<String, PriceTable> = toml::from_str(&text).map_err(|e| wrong(&e.message()))?;
        Ok(Self { settings, told: Some(told) })
    }

    /// A model that has no price here keeps what its calls cost when they were made.
    fn apply(&self, route: &Route, billed: Billed) -> Billed {
        let price = match &self.told {
            Some(told) => told.get(&route.to_string()).map(PriceTable::price),
            None => {
                let provider = self.settings.providers.get(&route.provider);
                let told = provider.and_then(|provider| provider.endpoint.models.get(&route.model));
                told.and_then(|told| told.price).or_else(|| catalog::lookup(route).price)
            }
        };
        match price {
            Some(price) => Billed { cost: Some(catalog::cost(&price, &billed.usage)), ..billed },
            None => billed,
        }
    }
}

impl PriceTable {
    fn price(&self) -> Price {
        let of = |told: Option<f64>| told.unwrap_or(self.input);
        Price {
            input: self.input,
            output: self.output,
            cache_read: of(self.cache_read),
            cache_write_5m: of(self.cache_write_5m),
            cache_write_1h: of(self.cache_write_1h),
            long: self.long,
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
    fn add(&mut self, calls: Vec<Call>, prices: Option<&Prices<'_>>) {
        for Call { session, row } in calls {
            let LedgerRow { at, turn, step, source, route, billed, calls } = row;
            let billed = match prices {
                Some(prices) => prices.apply(&route, billed),
                None => billed,
            };
            self.total.add(&billed, calls);
            self.by_model.entry(route.to_string()).or_default().add(&billed, calls);
            self.by_source.entry(source.word().to_owned()).or_default().add(&billed, calls);
            self.by_day.entry(at / 86_400_000).or_default().add(&billed, calls);
            self.by_session.entry(session.clone()).or_default().add(&billed, calls);
            self.by_turn.entry((session.clone(), turn)).or_default().add(&billed, calls);
            self.by_step.entry((session, turn, step)).or_default().add(&billed, calls);
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
        for (which, key, name) in [
            (By::Day, "by_day", "day"),
            (By::Session, "by_session", "session"),
            (By::Turn, "by_turn", "turn"),
            (By::Step, "by_step", "step"),
        ] {
            if by == Some(which) {
                object.insert(key.into(), list(name, self.rows(which).1));
            }
        }
        Value::Object(object)
    }

    fn text(&self, cx: &Context, by: By) -> String {
        let (name, rows) = self.rows(by);
        let head = [name, "calls", "input", "cache read", "cache write", "output", "of it reasoning", "cost"];
        let mut cells: Vec<Vec<String>> = rows.into_iter().map(|(value, row)| row.cells(value)).collect();
        cells.push(self.total.cells("total".into()));
        let mut text = table(&cx.print, &head, &cells);
        if self.total.estimated {
            text.push_str("calls that were cut are counted by estimate\n");
        }
        text
    }

    /// The name of the first column, and the rows.
    fn rows(&self, by: By) -> (&'static str, Vec<(String, &Row)>) {
        match by {
            By::Model => ("model", named(&self.by_model)),
            By::Source => ("source", named(&self.by_source)),
            By::Day => ("day", self.days()),
            By::Session => ("session", named(&self.by_session)),
            By::Turn => {
                let rows = self.by_turn.iter();
                ("turn", rows.map(|((session, turn), row)| (format!("{session} {turn}"), row)).collect())
            }
            By::Step => {
                let name =
                    |(session, turn, step): &(String, TurnNo, StepNo)| format!("{session} {turn}.{step}");
                ("step", self.by_step.iter().map(|(at, row)| (name(at), row)).collect())
            }
        }
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
    fn add(&mut self, billed: &Billed, calls: u64) {
        self.calls += calls;
        self.usage.add(&billed.usage);
        let cost = if billed.usage.total() == 0 { Some(billed.cost.unwrap_or(0)) } else { billed.cost };
        self.cost = self.cost.zip(cost).map(|(a, b)| a.saturating_add(b));
        self.estimated |= billed.estimated;
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
    use super::*;

    fn call(cost: Option<NanoUsd>) -> Vec<Call> {
        let usage = Usage { input_uncached: 5, ..Usage::default() };
        let billed = Billed { usage, cost, ..Billed::default() };
        let (source, route) = (Source::Turn, "acme/x".parse().unwrap());
        let row = LedgerRow { at: 0, turn: 1, step: 1, source, route, billed, calls: 1 };
        vec![Call { session: "s".into(), row }]
    }

    #[test]
    fn a_price_that_is_not_known_makes_the_sum_unknown() {
        let mut totals = Totals::default();
        totals.add(call(Some(2_000_000_000)), None);
        assert_eq!(totals.json(None)["total"]["cost"], 2.0);
        totals.add(call(None), None);
        let shown = totals.json(None);
        assert_eq!((&shown["total"]["cost"], &shown["total"]["input_uncached"]), (&Value::Null, &json!(10)));
        assert_eq!(shown["by_model"][0]["cost"], Value::Null);
    }
}
