//! Snapshots: the fold of a session kept beside its log, so that a resume reads only what came since. A cache, never the
//! truth: one that does not fit is passed over, and the log is folded from its beginning.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sterna_context::CONTEXT_VERSION;
use sterna_log::fold::Folded;
use sterna_log::{HistoryCursor, LogError, SharedLog, digest};
use sterna_model::{Digest, RECORD_VERSION, Seq, SessionId};

use crate::State;

/// Records after which a turn's end, or a turn that parks, leaves a snapshot (design: 256).
pub(crate) const EVERY: u64 = 256;

/// The format of a snapshot round the state. What the state itself is, `made_by` says.
const VERSION: u32 = 1;

/// What came since the last snapshot is at least so many times what that one held: what snapshots write stays a share of
/// what the log does, however large a session's fold is.
const GROWTH: usize = 4;

/// The first line of a snapshot: what it belongs to. The second is the state.
#[derive(Serialize, Deserialize)]
struct Cover {
    made_by: String,
    session: SessionId,
    seq: Seq,
    /// Chain hash of the record `seq`: of it, and so of all before it.
    head: Digest,
    /// Hash of the second line.
    state: Digest,
}

/// Of a state, what observers need.
#[derive(Deserialize)]
struct Shown {
    folded: Folded,
}

impl State {
    /// Whether enough came since the last snapshot for another one.
    pub(crate) fn is_snapshot_due(&self, every: u64) -> bool {
        self.head.saturating_sub(self.horizon) >= every.max(1) && self.fresh >= GROWTH * self.snapped
    }

    /// Forgets its past, as what is read back has, and gives the bytes to keep. `head` is the chain hash of its last
    /// record. `None`: it cannot be written down, and nothing is kept.
    pub(crate) fn snapshot(&mut self, session: &SessionId, head: Digest) -> Option<Bytes> {
        self.forget_past();
        let state = serde_json::to_vec(self).ok()?;
        let cover = Cover {
            made_by: made_by(),
            session: session.clone(),
            seq: self.head,
            head,
            state: digest(&state),
        };
        let mut bytes = serde_json::to_vec(&cover).ok()?;
        bytes.push(b'\n');
        bytes.extend_from_slice(&state);
        self.weigh(bytes.len());
        Some(bytes.into())
    }

    fn weigh(&mut self, snapped: usize) {
        // Twice the text, as for records.
        (self.snapped, self.weight) = (snapped, 2 * snapped);
    }
}

/// Where the fold of a session may begin: a state, and what is to be folded into it. Without a snapshot that fits, of the
/// session itself or of one that it forks from, the state before the first record.
pub(crate) async fn begin(log: &SharedLog, session: &SessionId) -> Result<(State, HistoryCursor), LogError> {
    if let Some(state) = newest(log, session, Seq::MAX).await {
        let cursor = HistoryCursor::after(session, state.head);
        return Ok((state, cursor));
    }
    let mut cursor = HistoryCursor::open(&**log, session).await?;
    let shared: Vec<(SessionId, Seq)> =
        cursor.logs().rev().skip(1).map(|(id, to)| (id.clone(), to)).collect();
    for (owner, to) in shared {
        if let Some(mut state) = newest(log, &owner, to).await {
            cursor.skip_to(&owner, state.head);
            state.share(&owner);
            return Ok((state, cursor));
        }
    }
    Ok((State::default(), cursor))
}

/// What observers need of a session's fold at some record up to `to`, and the rest of the log.
pub(crate) async fn shown(log: &SharedLog, session: &SessionId, to: Seq) -> Option<(Folded, HistoryCursor)> {
    if to == 0 {
        return None;
    }
    let (seq, bytes) = fitting(log, session, to).await?;
    let shown: Shown = serde_json::from_slice(state_of(&bytes)?.1).ok()?;
    Some((shown.folded, HistoryCursor::after(session, seq)))
}

async fn newest(log: &SharedLog, session: &SessionId, to: Seq) -> Option<State> {
    let (seq, bytes) = fitting(log, session, to).await?;
    let mut state: State = serde_json::from_slice(state_of(&bytes)?.1).ok()?;
    state.transcript = std::mem::take(&mut state.transcript).without_summaries();
    state.weigh(bytes.len());
    // It was hashed with its content, so anything else is a defect; the log knows better.
    (state.head == seq && state.horizon == seq).then_some(state)
}

/// The session's snapshot, if it is of the log that is there. Whatever is wrong with it, or with the store where it is
/// kept, the log is asked next, and says so itself.
async fn fitting(log: &SharedLog, session: &SessionId, to: Seq) -> Option<(Seq, Bytes)> {
    let (seq, bytes) = log.snapshot_get(session, VERSION).await.ok()??;
    let (cover, state) = state_of(&bytes)?;
    let whole = cover.made_by == made_by()
        && cover.session == *session
        && cover.seq == seq
        && cover.state == digest(state);
    if !whole || seq > to {
        return None;
    }
    let at = log.read(session, seq, 1).await.ok()?;
    at.first()
        .is_some_and(|sealed| sealed.record.seq == seq && sealed.hash == cover.head)
        .then_some((seq, bytes))
}

/// Keeps a snapshot. That it could not be kept loses nothing, so nobody is told.
pub(crate) async fn keep(log: &SharedLog, session: &SessionId, state: &mut State) {
    let Ok(at) = log.read(session, state.head, 1).await else { return };
    let Some(sealed) = at.first() else { return };
    if let Some(bytes) = state.snapshot(session, sealed.hash) {
        let _ = log.snapshot_put(session, state.head, VERSION, bytes).await;
    }
}

fn state_of(bytes: &Bytes) -> Option<(Cover, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let cover = serde_json::from_slice(bytes.get(..end)?).ok()?;
    Some((cover, bytes.get(end + 1..)?))
}

/// Another build may fold the same records into something else: its snapshots are of no use here.
fn made_by() -> String {
    let (version, folds) = (env!("CARGO_PKG_VERSION"), env!("STERNA_FOLDS"));
    format!("sterna {version} records/{RECORD_VERSION} context/{CONTEXT_VERSION} folds/{folds}")
}

#[cfg(test)]
mod tests;
