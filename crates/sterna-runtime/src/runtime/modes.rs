//! The mode of a session, switched from outside of its turns.

use serde_json::json;
use sterna_log::Receipt;
use sterna_model::{Body, HookEvent, Mode, Record, SessionId, TurnNo};
use sterna_turn::TurnMachine;

use crate::{Runtime, RuntimeError};

impl Runtime {
    /// Changes the mode from the next turn on, for turns that were given none of their own. `plan`, which only takes rights
    /// away, holds also in the turn that runs or is parked: for each call that is judged from then on, and for each request
    /// after one that is under way.
    pub async fn set_mode(&self, session: &SessionId, mode: Mode, by: &str) -> Result<Receipt, RuntimeError> {
        let change = json!({ "key": "mode", "value": mode.word(), "by": by });
        self.ask_outside(session, HookEvent::ConfigChange, "mode", change).await?;
        let (receipt, in_turn) = match mode {
            Mode::Plan => self.plan_now(session, by).await?,
            _ => (self.switch(session, None, mode, by).await?, false),
        };
        // Whoever drives the turn tells of it, if one runs.
        if !in_turn {
            let told = json!({ "mode": mode.word(), "by": by });
            self.tell_outside(session, HookEvent::ModeChanged, mode.word(), told).await?;
        }
        Ok(receipt)
    }

    /// Switches to `plan`, in the turn that runs as well. Whether one does.
    async fn plan_now(&self, session: &SessionId, by: &str) -> Result<(Receipt, bool), RuntimeError> {
        let number = |machine: &TurnMachine| machine.turn().map(|turn| turn.number);
        let mut folded = self.folded(session).await?;
        loop {
            let turn = number(folded.machine());
            let receipt = self.switch(session, turn, Mode::Plan, by).await?;
            let mut running = None;
            let look = |machine: &TurnMachine, record: &Record| {
                if record.seq == receipt.last {
                    running = number(machine);
                }
            };
            self.read_on(&mut folded, look).await?;
            if running.is_none() || running == turn {
                return Ok((receipt, running.is_some()));
            }
            // Another turn began meanwhile, and this was not of it.
        }
    }

    async fn switch(
        &self,
        session: &SessionId,
        turn: Option<TurnNo>,
        mode: Mode,
        by: &str,
    ) -> Result<Receipt, RuntimeError> {
        let draft = self.draft(turn, Body::ModeChanged { mode, by: by.into() });
        let id = format!("once:{}", self.0.parts.env.new_session_id());
        self.append(&self.0.shared(session), &id, vec![draft]).await
    }
}
