//! How full a window is: what providers counted, and what that says of bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sterna_model::{Body, CompactStage, EffectResult, Intended, Record, Route};

/// A fold of what requests weighed and what providers counted for them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Gauge {
    /// The request whose count is due.
    sent: Option<(Route, u64)>,
    /// The last request of each route that was counted: its bytes and its tokens.
    counted: BTreeMap<Route, (u64, u64)>,
    /// Summaries in a row that came to nothing.
    failures: u32,
    /// A summary came and nothing was made of it yet.
    came: bool,
}

/// Summaries in a row after which none is asked for until a person does (design: 3).
pub const MAX_FAILURES: u32 = 3;

impl Gauge {
    /// Folds one record.
    pub fn apply(&mut self, record: &Record) {
        match &record.body {
            Body::Intent(intent) => {
                if let Intended::Model(model) = &intent.what {
                    self.sent = Some((model.route.clone(), model.weight()));
                }
            }
            Body::Outcome(outcome) => {
                self.came |= matches!(outcome.result, EffectResult::Summary(_));
                if let EffectResult::Model(model) = &outcome.result
                    && let Some((route, bytes)) = self.sent.take()
                    && !model.billed.estimated
                    && model.billed.usage.input() > 0
                {
                    self.counted.insert(route, (bytes, model.billed.usage.input()));
                }
            }
            Body::Compacted(compacted) => {
                let came = std::mem::take(&mut self.came);
                match (&compacted.failed, compacted.stage) {
                    (Some(_), _) if came => self.failures += 1,
                    (None, CompactStage::Summary) => self.failures = 0,
                    // One that was never asked for has not failed.
                    (Some(_), _)
                    | (None, CompactStage::Results | CompactStage::Cut | CompactStage::Frame) => {}
                }
            }
            Body::CompactionMissed { .. } => {
                self.failures += u32::from(std::mem::take(&mut self.came));
            }
            Body::InputAccepted(input) if input.compact.is_some() => self.failures = 0,
            _ => {}
        }
    }

    /// About how many tokens a request of so many bytes has: what the provider counted last, and what came since by
    /// the same ratio.
    pub fn tokens(&self, route: &Route, bytes: u64) -> u64 {
        let (counted_bytes, tokens) = self.ratio(route);
        scale(bytes, tokens, counted_bytes)
    }

    /// About how many bytes so many tokens have.
    pub fn bytes(&self, route: &Route, tokens: u64) -> u64 {
        let (bytes, counted) = self.ratio(route);
        scale(tokens, bytes, counted)
    }

    /// Whether the route's provider has counted a request of this session.
    pub fn is_counted(&self, route: &Route) -> bool {
        self.counted.contains_key(route)
    }

    /// Whether a summary is worth asking for.
    pub fn may_summarise(&self) -> bool {
        self.failures < MAX_FAILURES
    }

    /// Bytes and the tokens they make. Nobody counts a token for less than a byte or for more than 16.
    fn ratio(&self, route: &Route) -> (u64, u64) {
        let (bytes, tokens) = self.counted.get(route).copied().unwrap_or((BYTES_PER_TOKEN, 1));
        (bytes.max(1), tokens.clamp((bytes / 16).max(1), bytes.max(1)))
    }
}

fn scale(n: u64, by: u64, of: u64) -> u64 {
    let scaled = u128::from(n) * u128::from(by) / u128::from(of.max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

/// Before anybody has counted: the same that lost calls are estimated with.
const BYTES_PER_TOKEN: u64 = 4;
