//! Inputs that no turn has taken: only these can be edited and withdrawn.

use sterna_log::Receipt;
use sterna_model::{Record, Seq, SessionId};
use sterna_turn::TurnMachine;

use crate::folded::Folded;
use crate::{Runtime, RuntimeError};

impl Runtime {
    pub(super) async fn untaken(&self, session: &SessionId, inputs: &[Seq]) -> Result<Folded, RuntimeError> {
        let folded = self.folded(session).await?;
        match taken(folded.machine(), inputs) {
            Some(input) => Err(RuntimeError::InputTaken { session: session.clone(), input }),
            None => Ok(folded),
        }
    }

    /// Checks that a change of waiting inputs came before a turn took them.
    pub(super) async fn was_untaken(
        &self,
        session: &SessionId,
        folded: &mut Folded,
        inputs: &[Seq],
        receipt: Receipt,
    ) -> Result<Receipt, RuntimeError> {
        let mut gone = None;
        let look = |machine: &TurnMachine, record: &Record| {
            if record.seq == receipt.first {
                gone = taken(machine, inputs);
            }
        };
        self.read_on(folded, look).await?;
        match gone {
            Some(input) => Err(RuntimeError::InputTaken { session: session.clone(), input }),
            None => Ok(receipt),
        }
    }
}

/// The first of these inputs that does not wait.
fn taken(machine: &TurnMachine, inputs: &[Seq]) -> Option<Seq> {
    inputs.iter().find(|input| machine.waiting().all(|(waiting, _)| waiting != **input)).copied()
}
