//! Signals: somebody outside sends a named one to a session, before or after a call waits for it. The first counts, and
//! goes to one wait.
//!
//! What a session waits for is folded from its last snapshot on, and kept: the next signal reads what came since.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sterna_log::{HistoryCursor, Receipt, SharedLog};
use sterna_model::{Body, Record, Ruling, Seq, SessionId, is_signal_name, signal_wait};
use sterna_turn::TurnMachine;

use crate::waits::resolution_id;
use crate::{Runtime, RuntimeError, snapshot};

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
        let log = &self.0.parts.log;
        let mut folded = match self.0.signals.get(session) {
            Some(folded) => folded,
            None => Folded::load(log, session).await?,
        };
        folded.read_on(log, name, 0).await?;
        loop {
            self.0.signals.keep(&folded);
            let ruling = Ruling::Signal(payload.clone());
            let resolved = |wait, early| Body::WaitResolved { wait, ruling, by: by.into(), early };
            let receipt = match folded.machine.awaits_signal(name).cloned() {
                Some(wait) => {
                    let draft = self.draft(None, resolved(wait.clone(), false));
                    self.first(session, resolution_id(&wait), vec![draft], &wait).await?
                }
                None if folded.machine.is_signalled(name) => return Err(already()),
                None if folded.machine.signals() >= MOST_KEPT => {
                    let why = format!("{MOST_KEPT} signals wait in `{session}` for somebody who wants them");
                    return Err(RuntimeError::Refused(why));
                }
                None => {
                    // Of those who send the next one of this name the store takes one.
                    let id = format!("signal:{name}:{}", folded.machine.sent_early(name));
                    let draft = self.draft(None, resolved(kept.clone(), true));
                    self.first(session, id, vec![draft], &kept).await?
                }
            };
            let counts = folded.read_on(log, name, receipt.first).await?;
            self.0.signals.keep(&folded);
            if counts {
                return Ok(receipt);
            }
            // Its turn ended meanwhile, and it is kept for another; or a call waited for it meanwhile, so that it was not
            // early, and answers nothing until it is sent as what it is.
        }
    }
}

/// What sessions wait for, as far as this process has read it. Last used last.
#[derive(Default)]
pub(crate) struct Signals(Mutex<VecDeque<Folded>>);

impl Signals {
    fn get(&self, session: &SessionId) -> Option<Folded> {
        self.lock().iter().find(|held| held.session == *session).cloned()
    }

    /// Keeps what was read, unless somebody has read more.
    fn keep(&self, folded: &Folded) {
        let mut held = self.lock();
        let at = held.iter().position(|other| other.session == folded.session);
        let known = at.and_then(|at| held.remove(at));
        let further = known.filter(|known| known.machine.head() >= folded.machine.head());
        held.push_back(further.unwrap_or_else(|| folded.clone()));
        if held.len() > MOST_SESSIONS {
            held.pop_front();
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Folded>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a session waits for, up to some record of its own log.
#[derive(Clone)]
struct Folded {
    session: SessionId,
    machine: TurnMachine,
}

impl Folded {
    /// From the last snapshot on, or from the first record.
    async fn load(log: &SharedLog, session: &SessionId) -> Result<Self, RuntimeError> {
        let (state, cursor) = snapshot::begin(log, session).await?;
        let mut folded = Self { session: session.clone(), machine: state.machine };
        folded.fold(log, cursor, |_, _| {}).await?;
        Ok(folded)
    }

    /// Folds what came since. `false`: the record `sent` came when it answered nothing, and is not kept.
    async fn read_on(&mut self, log: &SharedLog, name: &str, sent: Seq) -> Result<bool, RuntimeError> {
        let mut counts = true;
        let cursor = HistoryCursor::after(&self.session, self.machine.head());
        let look = |machine: &TurnMachine, record: &Record| {
            if let (Body::WaitResolved { wait, early, .. }, true) = (&record.body, record.seq == sent) {
                let awaited = machine.awaits_signal(name);
                counts = if *early { awaited.is_none() } else { awaited == Some(wait) };
            }
        };
        self.fold(log, cursor, look).await?;
        Ok(counts)
    }

    /// Folds the rest of a history. Each record is shown with the state before it.
    async fn fold(
        &mut self,
        log: &SharedLog,
        mut cursor: HistoryCursor,
        mut look: impl FnMut(&TurnMachine, &Record),
    ) -> Result<(), RuntimeError> {
        loop {
            let page = cursor.next_page(&**log).await?;
            if page.is_empty() {
                return Ok(());
            }
            for (_, sealed) in page {
                look(&self.machine, &sealed.record);
                self.machine.apply(&sealed.record).map_err(|wrong| {
                    let (session, detail) = (self.session.clone(), wrong.to_string());
                    RuntimeError::Fold { session, detail }
                })?;
            }
        }
    }
}

/// Bytes of what comes with a signal.
const PAYLOAD_BYTES: usize = 16 << 10;
/// Signals of a session that nobody has waited for yet.
const MOST_KEPT: usize = 64;
/// Sessions whose waits a process remembers between two signals.
const MOST_SESSIONS: usize = 64;
