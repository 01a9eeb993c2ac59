//! What follows for the session's goal when a turn ends. It stands in the append of that end: a crash leaves both or
//! neither.

use sterna_model::{Body, Delivery, Given, GoalChange, InputAccepted, InputPart, TurnOutcome};
use sterna_turn::{GoalNext, GoalStanding};

use super::Driver;
use crate::RuntimeError;

impl Driver {
    /// Stages what follows. The turn's end is staged already.
    pub(super) fn go_on_with_goal(&mut self, outcome: &TurnOutcome) -> Result<(), RuntimeError> {
        let Some(held) = self.state.folded.world.goal.held().filter(|held| held.is_active()).cloned() else {
            return Ok(());
        };
        let standing = GoalStanding {
            token_budget: held.goal.token_budget,
            tokens: held.tokens,
            stalled: held.stalled,
            wrapping: held.wrapping,
        };
        // What somebody said comes first; the end of that turn goes on.
        let waits = self.state.machine.waiting().next().is_some();
        let (text, key, until) = match standing.after(outcome) {
            GoalNext::End { status, why } => {
                let change = GoalChange::Status { status, why, by: "sterna".into() };
                return self.stage_at(None, None, Body::Goal(Box::new(change)));
            }
            GoalNext::GoOn { .. } | GoalNext::WrapUp { .. } if waits => return Ok(()),
            GoalNext::GoOn { until } => (GO_ON, held.next_key(), until),
            GoalNext::WrapUp { until } => (WRAP_UP, held.last_key(), Some(until)),
        };
        let Some(turn) = self.state.turn.clone() else { return Ok(()) };
        let before = self.state.folded.ledger.total().usage.total().saturating_sub(held.tokens);
        // A guest answers once: the session's own agent goes on.
        let given = Given { guest: None, ..turn.given.clone() };
        let given = self.config.late.as_ref().map_or_else(|| given.clone(), |late| late(given.clone()));
        let given = given_for(given, until.map(|until| before.saturating_add(until)));
        let input = InputAccepted {
            key: Some(key),
            delivery: Delivery::NextTurn,
            parts: vec![InputPart::Text(text.trim_end().to_owned())],
            origin: ORIGIN.into(),
            given: Some(Box::new(given)),
            ended: None,
            compact: None,
            tainted: Vec::new(),
        };
        self.stage_at(None, None, Body::InputAccepted(input))
    }
}

/// What a turn of a goal is given: what it had before, the tool that says how the goal stands, and what is left.
pub(crate) fn given_for(mut given: Given, session_tokens: Option<u64>) -> Given {
    if !given.tools.is_empty() && !given.tools.iter().any(|tool| tool == TOOL) {
        given.tools.push(TOOL.into());
        given.tools.sort_unstable();
    }
    if let Some(cap) = session_tokens {
        given.limits.session_max_tokens = Some(cap);
    }
    given
}

/// What a turn of the goal is told. The goal itself stands in the tail: said again and again, it would crowd out what a
/// person said.
pub(crate) const GO_ON: &str = include_str!("goal_next.md");
const WRAP_UP: &str = include_str!("goal_last.md");
/// Where inputs come from that go on with a goal.
pub(crate) const ORIGIN: &str = "goal";
/// The tool that says how the goal stands.
const TOOL: &str = "goal";
