//! Signals: somebody outside sends a named one to a session, before or after a call waits for it. The first counts, and
//! goes to one wait.

use sterna_log::Receipt;
use sterna_model::{Body, Record, Ruling, SessionId, is_signal_name, signal_wait};
use sterna_turn::TurnMachine;

use crate::waits::resolution_id;
use crate::{Runtime, RuntimeError};

impl Runtime {
    /// Sends a signal. A call that waits for it gets the payload; else it is kept for the first that does, in whichever
    /// turn.
    ///
    /// Errors: `AlreadyResolved` when one of this name is there that nobody has waited for, or another came first;
    /// `Refused` for a bad name, a payload of more than 16 KiB, and a session that has 64 of them.
    pub async fn signal(
        &self,
        session: &SessionId,
        name: &str,
        payload: &serde_json::Value,
        by: &str,
    ) -> Result<Receipt, RuntimeError> {
        if !is_signal_name(name) {
            let why = format!("`{name}` is no name of a signal: 1 to 128 characters of A-Za-z0-9._:-");
            return Err(RuntimeError::Refused(why));
        }
        let payload = payload.to_string();
        if payload.len() > PAYLOAD_BYTES {
            let why =
                format!("a signal carries at most {PAYLOAD_BYTES} bytes, and this has {}", payload.len());
            return Err(RuntimeError::Refused(why));
        }
        let kept = signal_wait(session, name);
        let already = || RuntimeError::AlreadyResolved { wait: kept.clone() };
        let mut folded = self.folded(session).await?;
        loop {
            let ruling = Ruling::Signal(payload.clone());
            let resolved = |wait, early| Body::WaitResolved { wait, ruling, by: by.into(), early };
            let receipt = match folded.machine().awaits_signal(name).cloned() {
                Some(wait) => {
                    let draft = self.draft(None, resolved(wait.clone(), false));
                    self.first(session, resolution_id(&wait), vec![draft], &wait).await?
                }
                None if folded.machine().is_signalled(name) => return Err(already()),
                None if folded.machine().signals() >= MOST_KEPT => {
                    let why = format!("{MOST_KEPT} signals wait in `{session}` for somebody who wants them");
                    return Err(RuntimeError::Refused(why));
                }
                None => {
                    // Of those who send the next one of this name the store takes one.
                    let id = format!("signal:{name}:{}", folded.machine().sent_early(name));
                    let draft = self.draft(None, resolved(kept.clone(), true));
                    self.first(session, id, vec![draft], &kept).await?
                }
            };
            let mut counts = true;
            let look = |machine: &TurnMachine, record: &Record| {
                if let (Body::WaitResolved { wait, early, .. }, true) =
                    (&record.body, record.seq == receipt.first)
                {
                    let awaited = machine.awaits_signal(name);
                    counts = if *early { awaited.is_none() } else { awaited == Some(wait) };
                }
            };
            self.read_on(&mut folded, look).await?;
            if counts {
                return Ok(receipt);
            }
            // Its turn ended meanwhile, and it is kept for another; or a call waited for it meanwhile, so that it was not
            // early, and answers nothing until it is sent as what it is.
        }
    }
}

/// Bytes of what comes with a signal.
const PAYLOAD_BYTES: usize = 16 << 10;
/// Signals of a session that nobody has waited for yet.
const MOST_KEPT: usize = 64;
