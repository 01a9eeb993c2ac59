//! The usage ledger: a row for each billed attempt, and sums by turn, model, source and day.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sterna_model::{
    Billed, Body, ChildEnd, EffectKey, EffectKind, EffectResult, Fact, Millis, ModelUsage, NanoUsd, Record,
    Route, Ruling, SessionId, SpentOf, StepNo, TurnNo, Usage, dollars,
};

/// Who spent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    Turn,
    /// Child sessions, with what their own children used up.
    Child,
    /// Summaries of what a window could not hold any more.
    Compaction,
    /// What judges calls in mode `auto`.
    Classifier,
    /// Hooks that ask a model.
    Hook,
    /// What names a session after its first turn.
    Title,
}

impl Source {
    pub fn word(self) -> &'static str {
        match self {
            Self::Turn => "turn",
            Self::Child => "child",
            Self::Compaction => "compaction",
            Self::Classifier => "classifier",
            Self::Hook => "hook",
            Self::Title => "title",
        }
    }

    fn of(key: &EffectKey) -> Self {
        match key.kind {
            EffectKind::Model | EffectKind::Tool => Self::Turn,
            EffectKind::Compact => Self::Compaction,
            EffectKind::Judge => Self::Classifier,
        }
    }
}

/// One billed attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LedgerRow {
    pub at: Millis,
    pub turn: TurnNo,
    pub step: StepNo,
    pub source: Source,
    pub route: Route,
    pub billed: Billed,
    /// Model calls that it stands for: one, but for what a child used up.
    pub calls: u64,
}

/// Added-up rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    pub calls: u64,
    pub usage: Usage,
    spent: NanoUsd,
    unpriced: bool,
    pub estimated: bool,
}

impl Sum {
    /// `None` when the price of a call that used tokens is not known.
    pub fn cost(&self) -> Option<NanoUsd> {
        (!self.unpriced).then_some(self.spent)
    }

    fn add(&mut self, billed: &Billed, calls: u64) {
        self.calls += calls;
        self.usage.add(&billed.usage);
        self.estimated |= billed.estimated;
        match billed.cost {
            Some(cost) => self.spent = self.spent.saturating_add(cost),
            None => self.unpriced |= billed.usage.total() > 0,
        }
    }
}

/// A fold of what model calls used.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Ledger {
    total: Sum,
    by_model: BTreeMap<Route, Sum>,
    by_source: BTreeMap<Source, Sum>,
    /// Days since 1970-01-01, UTC.
    by_day: BTreeMap<u64, Sum>,
    turn: Sum,
    turn_by_model: BTreeMap<Route, Sum>,
    route: Option<Route>,
    last: Vec<LedgerRow>,
    /// Turns of children, by their input, that are in the sums: an end may be told twice.
    children: BTreeSet<(SessionId, SpentOf)>,
    /// The turn and step that told a child something last: its end may come when no turn runs.
    asked: BTreeMap<SessionId, (TurnNo, StepNo)>,
}

impl Ledger {
    /// Folds one record.
    pub fn apply(&mut self, record: &Record) {
        self.last.clear();
        match &record.body {
            // A fork's history was paid for by its parent: shown, not counted again.
            Body::SessionOpened(_) => *self = Self::default(),
            Body::TurnStarted(_) => {
                self.turn = Sum::default();
                self.turn_by_model.clear();
            }
            Body::Intent(intent) => match &intent.what {
                sterna_model::Intended::Model(model) => self.route = Some(model.route.clone()),
                sterna_model::Intended::Compact(compact) => self.route = Some(compact.model.route.clone()),
                sterna_model::Intended::Judge(judge) => self.route = Some(judge.route.clone()),
                sterna_model::Intended::Tool(_) | sterna_model::Intended::Undo(_) => {}
            },
            Body::Attempt(attempt) => {
                let source = Source::of(&attempt.key);
                self.add(record, source, attempt.route.clone(), attempt.failure.billed.clone(), 1);
            }
            Body::Outcome(outcome) => {
                let billed = match &outcome.result {
                    EffectResult::Model(model) => &model.billed,
                    EffectResult::Summary(summary) => &summary.billed,
                    EffectResult::Judged(judgement) => &judgement.billed,
                    // Its last attempt has a row already, unless this outcome says that there was more.
                    EffectResult::ModelFailed(failure) if failure.billed == Billed::default() => return,
                    EffectResult::ModelFailed(failure) => &failure.billed,
                    EffectResult::Tool(tool) => {
                        let at = (record.turn.unwrap_or(0), record.step.unwrap_or(0));
                        let child = |fact: &Fact| match fact {
                            Fact::Child(child) => Some((child.turn.session.clone(), at)),
                            _ => None,
                        };
                        self.asked.extend(tool.facts.iter().filter_map(child));
                        return;
                    }
                };
                if let Some(route) = self.route.clone() {
                    self.add(record, Source::of(&outcome.key), route, billed.clone(), 1);
                }
            }
            Body::WaitResolved { ruling: Ruling::Ended(end), .. } => self.add_child(record, end),
            Body::HookRan(ran) => {
                for asked in &ran.asked {
                    self.add(record, Source::Hook, asked.route.clone(), asked.billed.clone(), 1);
                }
            }
            // A provider that failed at once was not paid.
            Body::TitleSet { made: Some(made), .. }
                if !made.asking && (made.failed.is_none() || made.billed != Billed::default()) =>
            {
                self.add(record, Source::Title, made.route.clone(), made.billed.clone(), 1);
            }
            Body::InputAccepted(input) => input.ended.iter().for_each(|end| self.add_child(record, end)),
            _ => {}
        }
    }

    pub fn total(&self) -> &Sum {
        &self.total
    }

    pub fn by_model(&self) -> &BTreeMap<Route, Sum> {
        &self.by_model
    }

    pub fn by_source(&self) -> &BTreeMap<Source, Sum> {
        &self.by_source
    }

    pub fn by_day(&self) -> &BTreeMap<u64, Sum> {
        &self.by_day
    }

    /// The last turn's sum.
    pub fn turn(&self) -> &Sum {
        &self.turn
    }

    /// The last turn's usage, as `result` shows it.
    pub fn turn_by_model(&self) -> Vec<ModelUsage> {
        let row = |(route, sum): (&Route, &Sum)| ModelUsage {
            model: route.clone(),
            calls: sum.calls,
            usage: sum.usage,
            cost: dollars(sum.cost()),
        };
        self.turn_by_model.iter().map(row).collect()
    }

    /// The rows that the last record added: one for a call, one a route for the end of a child, one for
    /// each call of its hooks.
    pub fn last(&self) -> &[LedgerRow] {
        &self.last
    }

    fn add(&mut self, record: &Record, source: Source, route: Route, billed: Billed, calls: u64) {
        self.add_in(
            record,
            (record.turn.unwrap_or(0), record.step.unwrap_or(0)),
            source,
            route,
            billed,
            calls,
        );
    }

    fn add_in(
        &mut self,
        record: &Record,
        (turn, step): (TurnNo, StepNo),
        source: Source,
        route: Route,
        billed: Billed,
        calls: u64,
    ) {
        self.add_to(source, record.at, &route, &billed, calls);
        self.last.push(LedgerRow { at: record.at, turn, step, source, route, billed, calls });
    }

    fn add_child(&mut self, record: &Record, end: &ChildEnd) {
        if !self.children.insert((end.session.clone(), end.spent_of())) {
            return;
        }
        let own = record.turn.map(|turn| (turn, record.step.unwrap_or(0)));
        let at = own.or_else(|| self.asked.get(&end.session).copied()).unwrap_or((0, 0));
        for spent in &end.spent {
            let billed = Billed { usage: spent.usage, cost: spent.cost, ..Billed::default() };
            self.add_in(record, at, Source::Child, spent.route.clone(), billed, spent.calls);
        }
    }

    fn add_to(&mut self, source: Source, at: Millis, route: &Route, billed: &Billed, calls: u64) {
        let sums = [
            &mut self.total,
            self.by_model.entry(route.clone()).or_default(),
            self.by_source.entry(source).or_default(),
            self.by_day.entry(at / 86_400_000).or_default(),
        ];
        sums.into_iter().for_each(|sum| sum.add(billed, calls));
        // A title belongs to no turn: one that runs meanwhile has not spent it.
        if source != Source::Title {
            self.turn.add(billed, calls);
            self.turn_by_model.entry(route.clone()).or_default().add(billed, calls);
        }
    }
}
