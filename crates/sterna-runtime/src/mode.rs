//! The mode that a session acts in now: one fold, for who drives it and for the agents below it.

use serde::{Deserialize, Serialize};
use sterna_model::{Body, Mode, Record, TurnNo};

/// The mode of the turn that runs, else the session's own. It is what calls are judged in; a request that is under way may
/// have been made in another one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ModeNow {
    of_session: Mode,
    of_turn: Option<(TurnNo, Mode)>,
}

impl ModeNow {
    pub fn now(self) -> Mode {
        self.of_turn().unwrap_or(self.of_session)
    }

    /// That of the turn that runs.
    pub fn of_turn(self) -> Option<Mode> {
        self.of_turn.map(|(_, mode)| mode)
    }

    /// Whether a record is one of the turn that runs.
    pub fn is_of_turn(self, record: &Record) -> bool {
        self.of_turn.is_some_and(|(number, _)| record.turn == Some(number))
    }

    /// Folds one record.
    pub fn apply(&mut self, record: &Record) {
        match &record.body {
            Body::SessionOpened(opened) => *self = Self { of_session: opened.mode, of_turn: None },
            Body::TurnStarted(started) => {
                self.of_turn = Some((record.turn.unwrap_or_default(), started.mode));
            }
            Body::TurnCommitted(_) => self.of_turn = None,
            Body::Rewound(rewound) if rewound.conversation => self.of_turn = None,
            Body::ModeChanged { mode, .. } => {
                self.of_session = *mode;
                // One of the running turn holds in it; others from the next turn on.
                if self.is_of_turn(record) {
                    self.of_turn = self.of_turn.map(|(number, _)| (number, *mode));
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use sterna_model::{Draft, Given, TurnCommitted, TurnOutcome, TurnStarted, Usage};

    use super::*;

    #[test]
    fn a_session_acts_in_the_mode_of_its_turn_and_then_in_its_own() {
        let record = |turn: Option<u64>, body: Body| Draft { at: 1, turn, step: None, body }.at_seq(1);
        let begun = |turn, mode| {
            let given = Given { mode, ..Given::new("a/m".parse().unwrap(), "/w") };
            record(Some(turn), Body::TurnStarted(Box::new(TurnStarted { inputs: vec![2], given, now: 1 })))
        };
        let started = |mode| begun(1, mode);
        let changed = |turn, mode| record(turn, Body::ModeChanged { mode, by: "p".into() });
        let outcome = TurnOutcome::Finished { message: String::new(), value: None };
        let ended = TurnCommitted { outcome, steps: 1, usage: Usage::default(), cost: None };
        let committed = || record(Some(1), Body::TurnCommitted(Box::new(ended.clone())));
        for (records, now) in [
            (vec![], Mode::Execute),
            (vec![started(Mode::Plan)], Mode::Plan),
            (vec![started(Mode::Plan), committed()], Mode::Execute),
            (vec![started(Mode::Execute), changed(Some(1), Mode::Plan)], Mode::Plan),
            (vec![started(Mode::Execute), changed(Some(1), Mode::Plan), committed()], Mode::Plan),
            (vec![started(Mode::Execute), changed(None, Mode::Plan)], Mode::Execute),
            (vec![started(Mode::Execute), changed(None, Mode::Plan), committed()], Mode::Plan),
            (vec![changed(None, Mode::Plan)], Mode::Plan),
            (
                vec![started(Mode::Plan), changed(Some(1), Mode::Execute), changed(None, Mode::Plan)],
                Mode::Execute,
            ),
            // Of a turn that is over by then: the one that runs keeps its own.
            (
                vec![started(Mode::Ask), committed(), begun(2, Mode::Execute), changed(Some(1), Mode::Plan)],
                Mode::Execute,
            ),
        ] {
            let mut mode = ModeNow::default();
            records.iter().for_each(|record| mode.apply(record));
            assert_eq!(mode.now(), now, "{records:?}");
        }
    }
}
