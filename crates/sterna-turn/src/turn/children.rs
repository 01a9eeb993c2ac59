//! What a turn has to do with child sessions: it waits for them, side by side, and pays for them.

use std::ops::Range;

use sterna_model::{Billed, ChildEnd, ChildTurn, WaitId};

use super::Turn;
use crate::call::CallState;

impl Turn {
    /// Waits for turns of children.
    pub fn children(&self) -> impl Iterator<Item = (&WaitId, &ChildTurn)> {
        self.calls.iter().filter_map(|call| match &call.state {
            CallState::Waiting { wait, child: Some(child), .. } => Some((wait, child)),
            CallState::Waiting { child: None, .. } | CallState::Open | CallState::Ended => None,
        })
    }

    /// What a child used up is part of what its maker's turn used up.
    pub(crate) fn child_ended(&mut self, end: &ChildEnd) {
        for spent in &end.spent {
            self.bill(&Billed { usage: spent.usage, cost: spent.cost, ..Billed::default() });
        }
    }

    /// The first batch that is not over. While its calls wait for children, the next calls of the same tool are due
    /// too: children work side by side.
    pub(super) fn due(&self, batches: Vec<Range<usize>>) -> Vec<usize> {
        let mut due: Vec<usize> = Vec::new();
        for batch in batches {
            let open = batch.clone().any(|i| self.calls[i].state != CallState::Ended);
            if !open {
                continue;
            }
            let name = |i: usize| &self.calls[i].call.name;
            let same_tool = due.iter().copied().chain(batch.clone()).all(|i| name(i) == name(batch.start));
            if !due.is_empty() && !same_tool {
                break;
            }
            due.extend(batch);
            let for_children = |i: &usize| {
                matches!(self.calls[*i].state, CallState::Waiting { child: Some(_), .. } | CallState::Ended)
            };
            if !due.iter().all(for_children) {
                break;
            }
        }
        due
    }
}
