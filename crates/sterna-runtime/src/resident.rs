//! Folded sessions that are kept between turns, least recently used first out. Losing one loses nothing: the log is
//! the truth, and what others wrote meanwhile is read from it.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use sterna_llm::EncodeCache;
use sterna_model::SessionId;

use crate::State;

/// Bytes of folded content that a process keeps (design: 32 MiB).
const KEPT_BYTES: usize = 32 << 20;

/// A session between two turns.
pub(crate) struct Rested {
    pub state: State,
    /// Its requests' encoded history.
    pub cache: EncodeCache,
}

#[derive(Default)]
pub(crate) struct Residents(Mutex<VecDeque<(SessionId, Rested)>>);

impl Residents {
    /// Keeps a session until it is taken, or until others need the room.
    pub fn keep(&self, id: SessionId, rested: Rested) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(held, _)| *held != id);
        kept.push_back((id, rested));
        let mut bytes: usize = kept.iter().map(|(_, rested)| rested.state.weight).sum();
        while bytes > KEPT_BYTES {
            let Some((_, dropped)) = kept.pop_front() else { break };
            bytes = bytes.saturating_sub(dropped.state.weight);
        }
    }

    pub fn take(&self, id: &SessionId) -> Option<Rested> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|(held, _)| held == id)?;
        kept.remove(at).map(|(_, rested)| rested)
    }
}
