//! What sessions decide, as far as this process has read their logs for those who act on them from outside: folded from
//! the last snapshot on, and kept, so that whoever asks next reads what came since.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sterna_log::{HistoryCursor, SharedLog};
use sterna_model::{Record, SessionId};
use sterna_turn::TurnMachine;

use crate::outside::{Outside, Places};
use crate::{Runtime, RuntimeError, snapshot};

/// What is known of a session, up to some record of its own log.
#[derive(Clone)]
pub(crate) struct Folded {
    session: SessionId,
    outside: Outside,
}

/// Those that were asked for last. The last of all is at the end.
#[derive(Default)]
pub(crate) struct Kept(Mutex<VecDeque<Folded>>);

impl Runtime {
    /// A session at the head of its log.
    pub(crate) async fn folded(&self, session: &SessionId) -> Result<Folded, RuntimeError> {
        let mut folded = match self.0.folded.get(session) {
            Some(folded) => folded,
            None => Folded::load(&self.0.parts.log, session).await?,
        };
        self.read_on(&mut folded, |_, _| {}).await?;
        Ok(folded)
    }

    /// Folds what came since. Each record is shown with the state before it.
    pub(crate) async fn read_on(
        &self,
        folded: &mut Folded,
        look: impl FnMut(&TurnMachine, &Record),
    ) -> Result<(), RuntimeError> {
        let cursor = HistoryCursor::after(&folded.session, folded.machine().head());
        folded.fold(&self.0.parts.log, cursor, look).await?;
        self.0.folded.keep(folded);
        Ok(())
    }
}

impl Folded {
    pub fn machine(&self) -> &TurnMachine {
        &self.outside.machine
    }

    pub fn places(&self) -> &Places {
        &self.outside.places
    }

    /// From the last snapshot on, or from the first record.
    async fn load(log: &SharedLog, session: &SessionId) -> Result<Self, RuntimeError> {
        let (outside, cursor) = snapshot::begin(log, session).await?;
        let mut folded = Self { session: session.clone(), outside };
        folded.fold(log, cursor, |_, _| {}).await?;
        Ok(folded)
    }

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
                look(&self.outside.machine, &sealed.record);
                self.outside.apply(&sealed.record).map_err(|wrong| {
                    let (session, detail) = (self.session.clone(), wrong.to_string());
                    RuntimeError::Fold { session, detail }
                })?;
            }
        }
    }
}

impl Kept {
    fn get(&self, session: &SessionId) -> Option<Folded> {
        self.lock().iter().find(|held| held.session == *session).cloned()
    }

    /// Keeps what was read, unless somebody has read more.
    fn keep(&self, folded: &Folded) {
        let mut held = self.lock();
        let at = held.iter().position(|other| other.session == folded.session);
        let known = at.and_then(|at| held.remove(at));
        let further = known.filter(|known| known.machine().head() >= folded.machine().head());
        held.push_back(further.unwrap_or_else(|| folded.clone()));
        if held.len() > MOST_KEPT {
            held.pop_front();
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Folded>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sessions that a process keeps so.
const MOST_KEPT: usize = 64;
