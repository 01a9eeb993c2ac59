//! Signals: somebody outside sends a named one to a session, before or after a call waits for it. The first counts, and
//! goes to one wait.

use sterna_log::{LogError, Receipt};
use sterna_model::{Body, Ruling, Seq, SessionId, WaitId, is_signal_name, signal_wait, waiting_signal};
use sterna_turn::TurnMachine;

use crate::state::for_each_record;
use crate::{Resolve, Runtime, RuntimeError};

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
        loop {
            let stands = self.signalled(session, name, 0).await?;
            if let Some(wait) = stands.open {
                let ruling = Ruling::Signal(payload.clone());
                let (of, by) = (session.clone(), by.to_owned());
                let receipt = self.resolve(Resolve { session: of, wait, ruling, grant: None, by }).await?;
                if !self.signalled(session, name, receipt.first).await?.too_late {
                    return Ok(receipt);
                }
                // Its turn ended meanwhile: it is kept for another.
                continue;
            }
            if stands.kept {
                return Err(already());
            }
            if stands.all >= MOST_KEPT {
                let why = format!("{MOST_KEPT} signals wait in `{session}` for somebody who wants them");
                return Err(RuntimeError::Refused(why));
            }
            let ruling = Ruling::Signal(payload.clone());
            let body = Body::WaitResolved { wait: kept.clone(), ruling, by: by.into(), early: true };
            // Of those who send the next one of this name the store takes one.
            let id = format!("signal:{name}:{}", stands.sent);
            let receipt = match self.append(&self.0.shared(session), &id, vec![self.draft(None, body)]).await
            {
                Err(RuntimeError::Log(error)) if matches!(*error, LogError::Conflict { .. }) => {
                    return Err(already());
                }
                Ok(receipt) if receipt.repeated => return Err(already()),
                other => other?,
            };
            if !self.signalled(session, name, receipt.first).await?.too_late {
                return Ok(receipt);
            }
            // A call waited for it meanwhile: it was not early, and answers nothing until it is sent as what it is.
        }
    }

    /// What the log says of a signal. `sent_at`: where ours stands.
    async fn signalled(
        &self,
        session: &SessionId,
        name: &str,
        sent_at: Seq,
    ) -> Result<Signalled, RuntimeError> {
        let mut machine = TurnMachine::new();
        let (mut sent, mut too_late, mut wrong) = (0, false, None);
        let read = for_each_record(&self.0.parts.log, session, |owner, sealed| {
            let record = &sealed.record;
            if let (Body::WaitResolved { wait, early, .. }, true) = (&record.body, owner == session) {
                sent += usize::from(*early && waiting_signal(wait) == Some(name));
                let awaited = machine.awaits_signal(name);
                let counts = if *early { awaited.is_none() } else { awaited == Some(wait) };
                too_late |= record.seq == sent_at && !counts;
            }
            wrong = machine.apply(record).err().or(wrong.take());
            Ok(())
        });
        read.await?;
        if let Some(wrong) = wrong {
            return Err(RuntimeError::Fold { session: session.clone(), detail: wrong.to_string() });
        }
        let open = machine.awaits_signal(name).cloned();
        Ok(Signalled { open, kept: machine.is_signalled(name), all: machine.signals(), sent, too_late })
    }
}

/// What the log says of signals of one name.
struct Signalled {
    /// The wait of a call that it would answer.
    open: Option<WaitId>,
    /// One is there that nobody has waited for.
    kept: bool,
    /// Of all names.
    all: usize,
    /// How many came before they were waited for.
    sent: usize,
    /// Ours answers nothing, and is not kept: a wait was opened, or its turn ended, as it came.
    too_late: bool,
}

/// Bytes of what comes with a signal.
const PAYLOAD_BYTES: usize = 16 << 10;
/// Signals of a session that nobody has waited for yet.
const MOST_KEPT: usize = 64;
