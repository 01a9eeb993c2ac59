//! Hooks of agents: they are asked in the log of the agent's own session, as it begins and before it ends.

use serde_json::{Value, json};
use sterna_model::{HookEvent, Spawned, StepNo};

use super::Point;
use crate::driver::Driver;

impl Driver {
    /// The session is an agent's, and its first turn begins.
    pub(super) fn agent_begins(&self) -> Option<Vec<Point>> {
        let spawned = self.spawned()?;
        Some(vec![self.agent_point(HookEvent::SubagentStart, 0, spawned, json!({}))])
    }

    /// A turn has its answer: an agent's, or one that a person's session waits for.
    pub(super) fn stop_point(&self, step: StepNo, more: Value) -> Point {
        match self.spawned() {
            Some(spawned) => self.agent_point(HookEvent::SubagentStop, step, spawned, more),
            None => self.point(HookEvent::Stop, step, String::new(), None, more),
        }
    }

    fn spawned(&self) -> Option<&Spawned> {
        self.state.machine.session()?.spawned.as_deref()
    }

    fn agent_point(&self, event: HookEvent, step: StepNo, spawned: &Spawned, mut more: Value) -> Point {
        more["agent_id"] = self.id.to_string().into();
        more["agent_type"] = spawned.agent.clone().into();
        more["parent_session_id"] = spawned.by.session.to_string().into();
        self.point(event, step, spawned.agent.clone(), None, more)
    }
}
