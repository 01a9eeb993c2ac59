//! What those who act on a session from outside of its driver have to know of its log: what it decides, and where it says
//! more. Small beside the whole fold, however long the session is.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use sterna_model::{Body, Record, Seq, TurnNo, WaitId};
use sterna_turn::{TurnMachine, WrongRecord};

/// The fold of a log for those outside.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Outside {
    pub machine: TurnMachine,
    pub places: Places,
}

/// Where the log says what an answer has to know. Records are named and not kept: who needs one reads it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Places {
    /// The last turn, and its first record.
    turn: Option<(TurnNo, Seq)>,
    /// The first request to cancel it.
    cancel: Option<Seq>,
    /// The waits of it and the last ones before it, in the order in which they were opened.
    waits: VecDeque<OpenedAt>,
}

/// The record that opened a wait.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct OpenedAt {
    pub wait: WaitId,
    pub seq: Seq,
    pub answered: bool,
}

impl Outside {
    pub fn apply(&mut self, record: &Record) -> Result<(), WrongRecord> {
        self.machine.apply(record)?;
        self.places.apply(record);
        Ok(())
    }
}

impl Places {
    /// Folds one record.
    pub fn apply(&mut self, record: &Record) {
        match &record.body {
            // A fork counts its records anew.
            Body::SessionOpened(_) => *self = Self::default(),
            Body::TurnStarted(_) => {
                self.turn = record.turn.map(|turn| (turn, record.seq));
                self.cancel = None;
                let gone = self.waits.len().saturating_sub(MOST_KEPT);
                self.waits.drain(..gone);
            }
            Body::WaitOpened(opened) => self.waits.push_back(OpenedAt {
                wait: opened.wait.clone(),
                seq: record.seq,
                answered: opened.answered,
            }),
            // One that came early counts when the wait says so.
            Body::WaitResolved { wait, early: false, .. } => {
                if let Some(opened) = self.waits.iter_mut().rev().find(|opened| opened.wait == *wait) {
                    opened.answered = true;
                }
            }
            Body::CancelRequested { turn, .. } if self.turn.is_some_and(|(last, _)| last == *turn) => {
                self.cancel.get_or_insert(record.seq);
            }
            _ => {}
        }
    }

    /// The first record of the last turn.
    pub fn turn(&self) -> Option<Seq> {
        self.turn.map(|(_, seq)| seq)
    }

    /// The first request to cancel this turn, if it is the last one.
    pub fn cancel(&self, turn: TurnNo) -> Option<Seq> {
        self.cancel.filter(|_| self.turn.is_some_and(|(last, _)| last == turn))
    }

    /// A wait of the last turn, or of the last ones before it.
    pub fn wait(&self, wait: &str) -> Option<&OpenedAt> {
        self.waits.iter().rev().find(|opened| opened.wait == wait)
    }
}

/// Waits of turns before the last one of which it is known whether they were answered.
const MOST_KEPT: usize = 64;

#[cfg(test)]
mod tests {
    use sterna_model::{Draft, Given, Ruling, TurnStarted, WaitOn, WaitOpened, waiting_call};

    use super::*;

    /// What the places of a log say that has these bodies, each in the turn that the last `TurnStarted` began.
    fn fold(bodies: Vec<Body>) -> Places {
        let (mut places, mut turn) = (Places::default(), 0);
        for (body, seq) in bodies.into_iter().zip(1..) {
            turn += u64::from(matches!(body, Body::TurnStarted(_)));
            places.apply(&Draft { at: 1, turn: Some(turn), step: None, body }.at_seq(seq));
        }
        places
    }

    fn started() -> Body {
        let given = Given::new("a/m".parse().unwrap(), "/w");
        Body::TurnStarted(Box::new(TurnStarted { inputs: vec![2], given, now: 1 }))
    }

    fn opened(wait: &str, answered: bool) -> Body {
        let (wait, key) = (wait.to_owned(), waiting_call(wait).unwrap());
        Body::WaitOpened(Box::new(WaitOpened { wait, key, on: WaitOn::Timer, deadline: None, answered }))
    }

    fn resolved(wait: &str, early: bool) -> Body {
        Body::WaitResolved { wait: wait.to_owned(), ruling: Ruling::Allow, by: "p".into(), early }
    }

    fn cancel(turn: TurnNo) -> Body {
        Body::CancelRequested { turn, request: "r".into(), by: "p".into(), reason: String::new() }
    }

    #[test]
    fn waits_and_cancels_are_found_where_they_are() {
        let (a, b) = ("s/1/1/tool/0", "s/1/1/tool/1");
        let said = |places: &Places, wait| places.wait(wait).map(|opened| (opened.seq, opened.answered));
        let places = fold(vec![started(), opened(a, false), opened(b, true), cancel(1), cancel(1)]);
        assert_eq!((said(&places, a), said(&places, b)), (Some((2, false)), Some((3, true))));
        assert_eq!((places.turn(), places.cancel(1), places.cancel(2)), (Some(1), Some(4), None));
        // Of the turn before, the waits are known, and a cancel that comes too late is none of this one.
        let places =
            fold(vec![started(), opened(a, false), resolved(a, false), started(), cancel(1), cancel(2)]);
        assert_eq!((said(&places, a), places.turn()), (Some((2, true)), Some(4)));
        assert_eq!((places.cancel(1), places.cancel(2)), (None, Some(6)));
        // What came early answers nothing that is not open.
        let places = fold(vec![started(), resolved(a, true), opened(a, false)]);
        assert_eq!(said(&places, a), Some((3, false)));
    }

    #[test]
    fn of_turns_before_the_last_one_only_the_last_waits_are_kept() {
        let names: Vec<String> = (0..100).map(|n| format!("s/1/1/tool/{n}")).collect();
        let mut bodies = vec![started()];
        bodies.extend(names.iter().map(|name| opened(name, false)));
        // The turn that runs has them all.
        assert!(names.iter().all(|name| fold(bodies.clone()).wait(name).is_some()));
        bodies.push(started());
        let places = fold(bodies);
        let known = names.iter().filter(|name| places.wait(name).is_some()).count();
        assert_eq!((known, places.wait(&names[99]).map(|opened| opened.seq)), (MOST_KEPT, Some(101)));
    }
}
