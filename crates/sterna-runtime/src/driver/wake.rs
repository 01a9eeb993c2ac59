//! Waits in which nobody is asked: for a time, and for a signal from outside.

use sterna_model::{EffectKey, Millis, ToolStatus, WaitId, WaitOn, is_signal_name};
use sterna_turn::Wake;

use super::Driver;
use crate::RuntimeError;
use crate::effects::tool::unrun;

/// Milliseconds: a timer that is due sooner is waited for by whoever drives the turn, which does not park for it.
const LINGER_MS: Millis = 60_000;

impl Driver {
    /// A call waits for a time or a signal. A signal that is there already answers at once.
    pub(super) fn wait_to_wake(
        &mut self,
        key: EffectKey,
        on: WaitOn,
        until: Option<Millis>,
    ) -> Result<(), RuntimeError> {
        let until = match &on {
            WaitOn::Signal { name } if !is_signal_name(name) => {
                let text = format!("`{name}` is no name of a signal: 1 to 128 characters of A-Za-z0-9._:-");
                let now = self.rt.parts.env.now();
                return self.tool_outcome(key, unrun(ToolStatus::Failed, text, now));
            }
            WaitOn::Signal { .. } => until.into_iter().chain(self.longest_wait()).min(),
            _ => until,
        };
        self.stage_wait_until(key, on, until).map(|_| ())
    }

    /// Some call waits for a time that is near.
    pub(super) fn wakes_soon(&self) -> bool {
        let near = self.rt.parts.env.now().saturating_add(LINGER_MS);
        let turn = self.state.machine.turn();
        turn.is_some_and(|turn| {
            turn.wakes().any(|(_, wake, at)| *wake == Wake::Time && at.is_some_and(|at| at <= near))
        })
    }

    /// When the next of the open waits ends by itself.
    pub(super) fn next_deadline(&self, now: Millis) -> Option<Millis> {
        let turn = self.state.machine.turn()?;
        turn.waits().filter_map(|(_, deadline)| deadline.filter(|at| *at > now)).min()
    }

    /// What a wait is for, for people; `None` for one in which somebody is asked.
    pub(super) fn waits_to_wake(&self, wait: &WaitId) -> Option<String> {
        let (_, wake, _) = self.state.machine.turn()?.wakes().find(|(open, _, _)| *open == wait)?;
        Some(match wake {
            Wake::Time => format!("{wait}, a time"),
            Wake::Signal(name) => format!("{wait}, the signal {name}"),
        })
    }
}
