//! Inputs that no turn has taken: only these can be edited and withdrawn.

use std::collections::HashSet;

use sterna_log::Receipt;
use sterna_model::{Body, Seq, SessionId};

use crate::state::{State, for_each_record};
use crate::{Runtime, RuntimeError};

impl Runtime {
    pub(super) async fn untaken(&self, session: &SessionId, inputs: &[Seq]) -> Result<(), RuntimeError> {
        let state = State::load(&self.0.parts.log, session).await?;
        let waiting: HashSet<Seq> = state.machine.waiting().map(|(seq, _)| seq).collect();
        match inputs.iter().find(|input| !waiting.contains(input)) {
            Some(input) => Err(RuntimeError::InputTaken { session: session.clone(), input: *input }),
            None => Ok(()),
        }
    }

    /// Checks that a change of waiting inputs came before a turn took them.
    pub(super) async fn was_untaken(
        &self,
        session: &SessionId,
        inputs: &[Seq],
        receipt: Receipt,
    ) -> Result<Receipt, RuntimeError> {
        let mut taken = None;
        let read = for_each_record(&self.0.parts.log, session, |owner, sealed| {
            if owner == session && sealed.record.seq < receipt.first {
                let by = match &sealed.record.body {
                    Body::TurnStarted(started) => &started.inputs[..],
                    Body::InputWithdrawn { inputs, .. } => &inputs[..],
                    Body::Intent(intent) => match &intent.what {
                        sterna_model::Intended::Model(model) => &model.inputs[..],
                        sterna_model::Intended::Tool(_)
                        | sterna_model::Intended::Undo(_)
                        | sterna_model::Intended::Compact(_)
                        | sterna_model::Intended::Judge(_) => &[],
                    },
                    _ => &[],
                };
                taken = taken.or_else(|| by.iter().find(|seq| inputs.contains(seq)).copied());
            }
            Ok(())
        });
        read.await?;
        match taken {
            Some(input) => Err(RuntimeError::InputTaken { session: session.clone(), input }),
            None => Ok(receipt),
        }
    }
}
