//! The context ledger of a stored session: who owns the bytes of a request, and what changed between two.

use serde::Serialize;
use sterna_context::{Changes, Derived, Layer, Loaded, Owned, TurnFacts, compare, derive, owners};
use sterna_llm::EncodeCache;
use sterna_model::{Body, EffectResult, Intended, Record, Route, Seq, SessionId, StepNo, TurnNo, Usage};

use crate::driver::compact::bring_summary;
use crate::replay::load_prompt;
use crate::state::{State, for_each_record};
use crate::{Parts, RuntimeError, files};

/// What a request was made of.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ContextReport {
    pub session: SessionId,
    /// The record of the request's intent.
    pub seq: Seq,
    pub turn: TurnNo,
    pub step: StepNo,
    pub route: Route,
    /// Bytes of the request: what the owners sum to.
    pub bytes: u64,
    /// Tokens of the request: what the provider counted, or an estimate.
    pub tokens: u64,
    /// The provider has counted them.
    pub counted: bool,
    /// Tokens that the provider read from its cache.
    pub cached: u64,
    /// Tokens that a request may have: the window without what the answer may take.
    pub window: u64,
    /// What the session has spent, in billionths of a dollar. `None`: a price is not known.
    pub cost: Option<u64>,
    pub rows: Vec<ContextRow>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ContextRow {
    #[serde(flatten)]
    pub owned: Owned,
    /// About how many tokens its bytes are.
    pub tokens: u64,
    /// It lies in what the provider read from its cache.
    pub cached: bool,
}

impl ContextReport {
    /// Tokens that are left in the window.
    pub fn room(&self) -> u64 {
        self.window.saturating_sub(self.tokens)
    }

    /// What changed from another request to this one, and what that did to the prompt cache.
    pub fn since(&self, before: &Self) -> ContextDiff {
        let rows =
            |report: &Self| -> Vec<Owned> { report.rows.iter().map(|row| row.owned.clone()).collect() };
        let Changes { kept_bytes, broken_by, added, removed } = compare(&rows(before), &rows(self));
        let other_route =
            (before.route != self.route).then(|| format!("route {} was {}", self.route, before.route));
        let kept = if other_route.is_some() { 0 } else { kept_bytes };
        ContextDiff {
            from: before.seq,
            to: self.seq,
            kept_tokens: scale(kept, self.tokens, self.bytes),
            broken_by: other_route.or(broken_by),
            added,
            removed,
            bytes: (before.bytes, self.bytes),
            cached: (before.cached, self.cached),
        }
    }
}

/// What changed between two requests.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ContextDiff {
    pub from: Seq,
    pub to: Seq,
    /// About how many tokens at the beginning are the same.
    pub kept_tokens: u64,
    /// Why the cache could not keep more. `None`: the history only grew.
    pub broken_by: Option<String>,
    pub added: Vec<Owned>,
    pub removed: Vec<Owned>,
    /// Bytes of the request, before and after.
    pub bytes: (u64, u64),
    /// Tokens that the provider read from its cache, before and after.
    pub cached: (u64, u64),
}

/// The ledger of the last request at or before `at` (`None`: of all). `None` when there is none, or another program made
/// it. Makes no model call.
pub async fn context(
    parts: &Parts,
    session: &SessionId,
    at: Option<Seq>,
) -> Result<Option<ContextReport>, RuntimeError> {
    let mut records: Vec<(SessionId, Record)> = Vec::new();
    let read = for_each_record(&parts.log, session, |owner, sealed| {
        records.push((owner.clone(), sealed.record));
        Ok(())
    });
    read.await?;
    let asks = |(_, record): &(SessionId, Record)| matches!(&record.body, Body::Intent(intent) if matches!(&intent.what, Intended::Model(_)));
    let until =
        |(owner, record): &(SessionId, Record)| owner != session || at.is_none_or(|at| record.seq <= at);
    let Some(found) = records.iter().rposition(|record| asks(record) && until(record)) else {
        return Ok(None);
    };
    let mut state = State::default();
    for (owner, record) in &records[..found] {
        state.apply_of(owner == session, owner, record)?;
    }
    let (_, record) = &records[found];
    let Body::Intent(intent) = &record.body else { return Ok(None) };
    let Intended::Model(model) = &intent.what else { return Ok(None) };
    let Some(turn) = state.turn.clone().filter(|_| !model.is_imported()) else { return Ok(None) };
    bring_summary(&parts.blobs, &mut state.transcript).await?;
    let prompt = load_prompt(&parts.blobs, &model.manifest).await;
    let prompt = prompt.map_err(|error| RuntimeError::Refused(error.to_string()))?;
    let facts = TurnFacts::of(&turn).schema_native(model.schema_native).thinking(model.thinking);
    let mut entries = state.transcript.entries(&model.inputs);
    let items: Vec<_> = entries.iter().map(|entry| entry.item.clone()).collect();
    let has_files = state.transcript.has_files(&items);
    let sight = model.files.map(|files| files.sight).unwrap_or_default();
    let (items, _) = files::shown(items, has_files, sight, &parts.blobs, &mut Loaded::new()).await?;
    for (entry, item) in entries.iter_mut().zip(items) {
        entry.item = item;
    }
    let request = derive(
        &prompt,
        entries.iter().map(|entry| entry.item.clone()).collect(),
        &state.folded.world,
        &facts,
        &model.route,
        model.transition,
        model.tools_off,
        model.max_output,
    );
    let mut cache = EncodeCache::default();
    let derived = Derived {
        prompt: &prompt,
        entries: &entries,
        world: &state.folded.world,
        facts: &facts,
        transition: model.transition,
        request: &request,
    };
    let rows = owners(&derived, |request| parts.provider.encode(request, &mut cache).bytes);
    let bytes = rows.iter().map(|row| row.bytes).sum();
    let usage = counted(&records[found + 1..], record);
    let tokens = match usage.filter(|usage| usage.input() > 0) {
        Some(usage) => usage.input(),
        None => state.gauge.tokens(&model.route, bytes),
    };
    let info = parts.provider.model(&model.route).ok();
    let window =
        info.map_or(0, |info| u64::from(info.context.saturating_sub(model.max_output.min(info.context / 2))));
    let cached = usage.map_or(0, |usage| usage.cache_read);
    Ok(Some(ContextReport {
        session: session.clone(),
        seq: record.seq,
        turn: intent.key.turn,
        step: intent.key.step,
        route: model.route.clone(),
        bytes,
        tokens,
        counted: usage.is_some_and(|usage| usage.input() > 0),
        cached,
        window,
        cost: state.folded.ledger.total().cost(),
        rows: rows_of(rows, bytes, tokens, cached),
    }))
}

fn rows_of(rows: Vec<Owned>, bytes: u64, tokens: u64, cached: u64) -> Vec<ContextRow> {
    let mut before = 0;
    rows.into_iter()
        .map(|owned| {
            before += owned.bytes;
            // What the wire says of itself stands in no cache of its own.
            let inside = owned.layer != Layer::Tail && scale(before, tokens, bytes) <= cached;
            ContextRow { tokens: scale(owned.bytes, tokens, bytes), cached: inside && cached > 0, owned }
        })
        .collect()
}

/// What the provider counted for this call.
fn counted(later: &[(SessionId, Record)], asked: &Record) -> Option<Usage> {
    let Body::Intent(intent) = &asked.body else { return None };
    later.iter().find_map(|(_, record)| match &record.body {
        Body::Outcome(outcome) if outcome.key == intent.key => match &outcome.result {
            EffectResult::Model(model) if !model.billed.estimated => Some(model.billed.usage),
            _ => None,
        },
        _ => None,
    })
}

fn scale(n: u64, by: u64, of: u64) -> u64 {
    let scaled = u128::from(n) * u128::from(by) / u128::from(of.max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}
