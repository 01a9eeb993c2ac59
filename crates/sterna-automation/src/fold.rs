//! The automations as their log tells it: what there is, what was decided, what runs, how runs ended.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use sterna_model::{
    Automation, AutomationChange, Body, Cause, Discard, Fired, Millis, PassedWhy, Record, RunEnd, RunOutcome,
    Seq, SessionId, Start,
};

/// A fold of the automations' log. Serialises as a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Automations {
    /// By name.
    held: BTreeMap<String, Held>,
    /// What reached nobody, newest last.
    discarded: VecDeque<Discarded>,
}

/// An automation, and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Held {
    pub automation: Automation,
    /// The record that made it.
    pub made: Seq,
    pub made_at: Millis,
    pub paused: bool,
    /// Why nothing of it starts any more.
    pub over: Option<Over>,
    /// What is due up to here was decided.
    pub decided: Millis,
    /// Runs that are not over, oldest first.
    pub open: Vec<Run>,
    /// What was decided and is over, newest last.
    pub history: VecDeque<Row>,
    /// How many runs there were.
    pub runs: u64,
}

/// Why nothing of an automation starts any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Over {
    /// It was for one time, which has come.
    Done,
    SessionDeleted,
}

/// A run, which is driven by whoever is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub fired: Fired,
    pub fired_at: Millis,
}

/// A line of an automation's history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Row {
    Ran {
        run: Run,
        ended_at: Millis,
        end: RunEnd,
    },
    /// No run was made.
    Passed {
        at: Millis,
        due: Millis,
        times: u64,
        why: PassedWhy,
    },
}

/// What was to be told to a session that was not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discarded {
    pub at: Millis,
    pub session: SessionId,
    pub key: String,
    pub why: Discard,
}

impl Automations {
    /// Folds one record. What does not follow from what was there before counts for nothing: of two processes that
    /// decide at the same time the first one in the log is right.
    pub fn apply(&mut self, record: &Record) {
        let Body::Automation(change) = &record.body else { return };
        let at = record.at;
        match &**change {
            AutomationChange::Made(automation) => {
                self.held.entry(automation.name.clone()).or_insert_with(|| Held {
                    automation: Automation::clone(automation),
                    made: record.seq,
                    made_at: at,
                    paused: false,
                    over: None,
                    decided: at,
                    open: Vec::new(),
                    history: VecDeque::new(),
                    runs: 0,
                });
            }
            AutomationChange::Paused { name, .. } => {
                if let Some(held) = self.held.get_mut(name) {
                    held.paused = true;
                }
            }
            AutomationChange::Resumed { name, .. } => {
                if let Some(held) = self.held.get_mut(name).filter(|held| held.paused) {
                    held.paused = false;
                    held.decide(held.decided.max(at));
                }
            }
            AutomationChange::Removed { name, .. } => drop(self.held.remove(name)),
            AutomationChange::Fired(fired) => {
                if let Some(held) = self.of(&fired.name, fired.made) {
                    held.fire(fired, at);
                }
            }
            AutomationChange::Passed { name, made, after, until, times, why } => {
                if let Some(held) = self.of(name, *made).filter(|held| held.follows(*after)) {
                    held.decide(*until);
                    held.tell(Row::Passed { at, due: *until, times: *times, why: *why });
                }
            }
            AutomationChange::Dropped { name, made, why, .. } => {
                if let Some(held) = self.of(name, *made) {
                    held.tell(Row::Passed { at, due: at, times: 1, why: *why });
                }
            }
            AutomationChange::Ended { run, end } => {
                for held in self.held.values_mut() {
                    held.end(run, at, end);
                }
            }
            AutomationChange::Discarded { session, key, why } => {
                let told = Discarded { at, session: session.clone(), key: key.clone(), why: *why };
                self.discarded.push_back(told);
                if self.discarded.len() > DISCARDED {
                    self.discarded.pop_front();
                }
            }
        }
    }

    /// In the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Held> {
        self.held.values()
    }

    pub fn named(&self, name: &str) -> Option<&Held> {
        self.held.get(name)
    }

    /// What reached nobody, oldest first; the last 100.
    pub fn discarded(&self) -> impl Iterator<Item = &Discarded> {
        self.discarded.iter()
    }

    /// The automation of this run, if the run is not over.
    pub fn open_run(&self, run: &str) -> Option<(&Held, &Run)> {
        self.held.values().find_map(|held| Some((held, held.open.iter().find(|open| open.fired.run == run)?)))
    }

    fn of(&mut self, name: &str, made: Seq) -> Option<&mut Held> {
        self.held.get_mut(name).filter(|held| held.made == made)
    }
}

impl Held {
    /// Nothing of it starts now.
    pub fn rests(&self) -> bool {
        self.paused || self.over.is_some()
    }

    fn follows(&self, after: Millis) -> bool {
        !self.rests() && self.decided == after
    }

    fn fire(&mut self, fired: &Fired, at: Millis) {
        match &fired.cause {
            Cause::Time { after, .. } if !self.follows(*after) => return,
            Cause::Time { .. } => self.decide(fired.due),
            Cause::Occurrence(_) if self.rests() => return,
            Cause::Occurrence(_) | Cause::Hand { .. } => {}
        }
        self.runs += 1;
        self.open.push(Run { fired: fired.clone(), fired_at: at });
    }

    fn decide(&mut self, until: Millis) {
        self.decided = until;
        if matches!(self.automation.start, Start::At { at } if at <= until) {
            self.over = Some(Over::Done);
        }
    }

    fn end(&mut self, run: &str, at: Millis, end: &RunEnd) {
        let Some(place) = self.open.iter().position(|open| open.fired.run == run) else { return };
        let run = self.open.remove(place);
        if matches!(end.outcome, RunOutcome::Discarded(Discard::SessionDeleted)) {
            self.over = Some(Over::SessionDeleted);
        }
        self.tell(Row::Ran { run, ended_at: at, end: end.clone() });
    }

    fn tell(&mut self, row: Row) {
        self.history.push_back(row);
        if self.history.len() > HISTORY {
            self.history.pop_front();
        }
    }
}

/// Lines of history that are kept at hand; the log has all.
const HISTORY: usize = 20;
const DISCARDED: usize = 100;
