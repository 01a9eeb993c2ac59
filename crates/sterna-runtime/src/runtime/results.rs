//! Results of turns: from whoever drives the session here, else from the log alone.

use sterna_model::{Body, ResultEvent, Seq, SessionId, TurnNo};
use sterna_turn::Next;

use crate::state::{State, for_each_record};
use crate::{Runtime, RuntimeError};

impl Runtime {
    /// The result of the turn that took this input. Waits for it; `parked` and `drained` are results too.
    pub async fn result(&self, session: &SessionId, input: Seq) -> Result<ResultEvent, RuntimeError> {
        let shared = self.0.shared(session);
        let mut changed = shared.changes();
        loop {
            changed.borrow_and_update();
            if let Some(result) = shared.result_of(input) {
                return Ok(result);
            }
            if let Some(error) = shared.lock_error().clone() {
                return Err(error);
            }
            if !shared.is_driven() {
                return self.settled_result(session, input).await;
            }
            // The sender lives as long as `shared`.
            let _ = changed.changed().await;
        }
    }

    /// The result from the log alone, when nobody drives the session here.
    async fn settled_result(&self, session: &SessionId, input: Seq) -> Result<ResultEvent, RuntimeError> {
        let log = &self.0.parts.log;
        let mut folded = sterna_log::fold::Folded::new();
        let mut taken_by = None;
        let mut result = None;
        let read = for_each_record(log, session, |owner, sealed| {
            folded.apply(&sealed.record);
            if owner == session {
                match &sealed.record.body {
                    Body::TurnStarted(started) if started.inputs.contains(&input) => {
                        taken_by = sealed.record.turn
                    }
                    Body::Intent(intent) => match &intent.what {
                        sterna_model::Intended::Model(model) if model.inputs.contains(&input) => {
                            taken_by = sealed.record.turn;
                        }
                        _ => {}
                    },
                    Body::TurnCommitted(committed)
                        if taken_by.is_some() && taken_by == sealed.record.turn =>
                    {
                        result = result
                            .take()
                            .or_else(|| folded.result(sealed.record.turn.unwrap_or(0), committed));
                    }
                    _ => {}
                }
            }
            Ok(())
        });
        read.await?;
        if result.is_none() {
            result = match taken_by {
                Some(turn) => self.parked_result(session, turn).await?,
                None => self.queued_result(session, input).await?,
            };
        }
        result.ok_or_else(|| RuntimeError::Interrupted {
            session: session.clone(),
            turn: taken_by.unwrap_or(0),
            detail: "nobody drives it; `sterna resume` carries on".into(),
        })
    }

    /// A turn that waits for somebody is parked, whoever drove it.
    async fn parked_result(
        &self,
        session: &SessionId,
        turn: TurnNo,
    ) -> Result<Option<ResultEvent>, RuntimeError> {
        let state = State::load(&self.0.parts.log, session).await?;
        let Next::Wait(waits) = state.machine.next() else { return Ok(None) };
        let steps = state.machine.turn().filter(|running| running.number == turn).map(|turn| turn.steps());
        let message = format!("waits for {}", waits.join(", "));
        Ok(steps.and_then(|steps| state.folded.unfinished(turn, "parked", steps, message)))
    }

    /// An input behind a turn that waits for somebody is parked with it.
    async fn queued_result(
        &self,
        session: &SessionId,
        input: Seq,
    ) -> Result<Option<ResultEvent>, RuntimeError> {
        let state = State::load(&self.0.parts.log, session).await?;
        let queued = state.machine.waiting().any(|(waiting, _)| waiting == input);
        let (Next::Wait(waits), true) = (state.machine.next(), queued) else { return Ok(None) };
        let Some(running) = state.machine.turn() else { return Ok(None) };
        let message = format!("queued behind turn {}, which waits for {}", running.number, waits.join(", "));
        Ok(state.folded.unfinished(running.number, "parked", running.steps(), message))
    }
}
