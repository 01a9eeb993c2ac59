//! The mode of a session, switched from outside of its turns.

use serde_json::json;
use sterna_log::Receipt;
use sterna_model::{Body, HookEvent, Mode, Record, SessionId};
use sterna_turn::TurnMachine;

use crate::{Runtime, RuntimeError};

impl Runtime {
    /// Changes the mode from the next turn on, for turns that were given none of their own. `plan`, which only takes rights
    /// away, holds also in the turn that runs or is parked: for each call that is judged from then on, and for each request
    /// after one that is under way.
    pub async fn set_mode(&self, session: &SessionId, mode: Mode, by: &str) -> Result<Receipt, RuntimeError> {
        let change = json!({ "key": "mode", "value": mode.word(), "by": by });
        self.ask_outside(session, HookEvent::ConfigChange, "mode", change).await?;
        let number = |machine: &TurnMachine| machine.turn().map(|turn| turn.number);
        let mut folded = match mode {
            Mode::Plan => Some(self.folded(session).await?),
            _ => None,
        };
        let turn = folded.as_ref().and_then(|folded| number(folded.machine()));
        let draft = self.draft(turn, Body::ModeChanged { mode, by: by.into() });
        let id = format!("once:{}", self.0.parts.env.new_session_id());
        let receipt = self.append(&self.0.shared(session), &id, vec![draft]).await?;
        // Whoever drives the turn tells of it, unless the turn was over by then.
        let mut in_turn = false;
        if let Some(folded) = folded.as_mut().filter(|_| turn.is_some()) {
            let look = |machine: &TurnMachine, record: &Record| {
                in_turn |= record.seq == receipt.last && number(machine) == turn;
            };
            self.read_on(folded, look).await?;
        }
        if !in_turn {
            let told = json!({ "mode": mode.word(), "by": by });
            self.tell_outside(session, HookEvent::ModeChanged, mode.word(), told).await?;
        }
        Ok(receipt)
    }
}
