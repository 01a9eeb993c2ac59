//! Folds of the log that decide nothing: the session's world, the usage ledger, the event stream.

mod budget;
mod events;
mod goal;
mod ledger;
mod notes;
mod title;
mod world;

pub use budget::{BESIDE_MS, BESIDE_TURNS, TreeBudget, room};
pub use events::correlation;
pub use goal::{GoalState, Goals};
pub use ledger::{Ledger, LedgerRow, Source, Sum};
pub use notes::{Note, Notes, name_key};
use std::collections::BTreeSet;
pub use title::Titled;

use serde::{Deserialize, Serialize};
use sterna_model::{Event, Record, ResultEvent, SessionId, TurnCommitted, TurnNo, TurnOutcome};
pub use world::World;

/// Everything that surfaces show of a session. Apply records in order; ask for the events of the last one.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Folded {
    pub session: Option<SessionId>,
    pub world: World,
    pub ledger: Ledger,
    pub(crate) steps: events::StepState,
}

impl Folded {
    pub fn new() -> Self {
        Self::default()
    }

    /// Folds one record.
    pub fn apply(&mut self, record: &Record) {
        if let sterna_model::Body::SessionOpened(opened) = &record.body {
            self.session = Some(opened.id.clone());
        }
        self.world.apply(record);
        let before = self.ledger.total().usage.total();
        self.ledger.apply(record);
        self.world.goal.apply(record, self.ledger.total().usage.total().saturating_sub(before));
        self.steps.apply(record);
    }

    /// The events of the record that was applied last: at least one for each record.
    pub fn events(&self, record: &Record) -> Vec<Event> {
        events::of(self, record)
    }

    /// Whether this wait asks a question, and not for an approval.
    pub fn is_question(&self, wait: &str) -> bool {
        self.steps.is_question(wait)
    }

    /// Whether this wait is for a child's turn: nobody is asked.
    pub fn is_for_child(&self, wait: &str) -> bool {
        self.steps.is_for_child(wait)
    }

    /// Whether time or a signal ends this wait: nobody is asked.
    pub fn is_to_wake(&self, wait: &str) -> bool {
        self.steps.is_to_wake(wait)
    }

    /// The result of the turn that `committed` ends, as the `result` event shows it.
    pub fn result(&self, turn: TurnNo, committed: &TurnCommitted) -> Option<ResultEvent> {
        let (outcome, stop, message, value) = match &committed.outcome {
            TurnOutcome::Finished { message, value } => {
                ("finished", None, Some(message.clone()), value.clone())
            }
            TurnOutcome::Stopped { reason, detail, .. } => {
                ("stopped", Some(*reason), Some(detail.clone()), None)
            }
        };
        self.result_of(turn, outcome, committed.steps, stop, message, value)
    }

    /// The result of a turn that goes on later: `parked` or `drained`.
    pub fn unfinished(
        &self,
        turn: TurnNo,
        outcome: &'static str,
        steps: u32,
        message: String,
    ) -> Option<ResultEvent> {
        self.result_of(turn, outcome, steps, None, Some(message), None)
    }

    fn result_of(
        &self,
        turn: TurnNo,
        outcome: &'static str,
        steps: u32,
        stop: Option<sterna_model::StopReason>,
        message: Option<String>,
        value: Option<serde_json::Value>,
    ) -> Option<ResultEvent> {
        let root = self.steps.root();
        let inside = |path: &String| match path.strip_prefix(root).and_then(|rest| rest.strip_prefix('/')) {
            Some(inner) if !root.is_empty() => inner.to_owned(),
            _ => path.clone(),
        };
        // By the name that is told, which is not the order of the absolute paths.
        let changed_files: BTreeSet<String> = self.world.turn_changed.iter().map(inside).collect();
        Some(ResultEvent {
            outcome,
            stop,
            message,
            value,
            usage: self.ledger.turn_by_model(),
            cost: sterna_model::dollars(self.ledger.turn().cost()),
            steps,
            session: self.session.clone()?,
            turn,
            denials: self.world.turn_denials.clone(),
            changed_files: changed_files.into_iter().collect(),
        })
    }
}
