//! Snapshots: the fold of a session kept beside its log, so that a resume reads only what came since. A cache, never the
//! truth: one that does not fit is passed over, and the log is folded from its beginning.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sterna_context::CONTEXT_VERSION;
use sterna_log::fold::Folded;
use sterna_log::{HistoryCursor, LogError, SharedLog, digest};
use sterna_model::{Digest, RECORD_VERSION, Seq, SessionId};

use crate::State;
use crate::outside::Outside;

/// Records after which a turn's end, or a turn that parks, leaves a snapshot (design: 256).
pub(crate) const EVERY: u64 = 256;

/// The format of a snapshot round the state. What the state itself is, `made_by` says.
const VERSION: u32 = 1;

/// As what the store keeps the small one of those outside, beside the other.
const VERSION_OUTSIDE: u32 = 1 << 16;

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
        let bytes = covered(self, session, self.head, head)?;
        self.weigh(bytes.len());
        Some(bytes)
    }

    fn weigh(&mut self, snapped: usize) {
        // Twice the text, as for records.
        (self.snapped, self.weight) = (snapped, 2 * snapped);
    }
}

/// What snapshots are kept of: the whole state of a session, or what those outside need of it.
pub(crate) trait Snapped: Default + DeserializeOwned + Send {
    const VERSION: u32;

    /// What was read from this many bytes of a snapshot at `seq`, unless it is of another record.
    fn read(self, seq: Seq, bytes: usize) -> Option<Self>;

    /// It is of a log whose records a fork shares.
    fn shared_by(&mut self, owner: &SessionId);
}

impl Snapped for State {
    const VERSION: u32 = VERSION;

    fn read(mut self, seq: Seq, bytes: usize) -> Option<Self> {
        self.transcript = std::mem::take(&mut self.transcript).without_summaries();
        self.weigh(bytes);
        // It was hashed with its content, so anything else is a defect; the log knows better.
        (self.head == seq && self.horizon == seq).then_some(self)
    }

    fn shared_by(&mut self, owner: &SessionId) {
        self.share(owner);
    }
}

impl Snapped for Outside {
    const VERSION: u32 = VERSION_OUTSIDE;

    fn read(self, seq: Seq, _: usize) -> Option<Self> {
        (self.machine.head() == seq).then_some(self)
    }

    fn shared_by(&mut self, _: &SessionId) {}
}

/// Where the fold of a session may begin: a state, and what is to be folded into it. Without a snapshot that fits, of the
/// session itself or of one that it forks from, the state before the first record.
pub(crate) async fn begin<T: Snapped>(
    log: &SharedLog,
    session: &SessionId,
) -> Result<(T, HistoryCursor), LogError> {
    if let Some((seq, state)) = newest(log, session, Seq::MAX).await {
        return Ok((state, HistoryCursor::after(session, seq)));
    }
    let mut cursor = HistoryCursor::open(&**log, session).await?;
    let shared: Vec<(SessionId, Seq)> =
        cursor.logs().rev().skip(1).map(|(id, to)| (id.clone(), to)).collect();
    for (owner, to) in shared {
        if let Some((seq, mut state)) = newest::<T>(log, &owner, to).await {
            cursor.skip_to(&owner, seq);
            state.shared_by(&owner);
            return Ok((state, cursor));
        }
    }
    Ok((T::default(), cursor))
}

/// What observers need of a session's fold at some record up to `to`, and the rest of the log.
pub(crate) async fn shown(log: &SharedLog, session: &SessionId, to: Seq) -> Option<(Folded, HistoryCursor)> {
    if to == 0 {
        return None;
    }
    let (seq, bytes) = fitting(log, session, to, VERSION).await?;
    let shown: Shown = serde_json::from_slice(state_of(&bytes)?.1).ok()?;
    Some((shown.folded, HistoryCursor::after(session, seq)))
}

async fn newest<T: Snapped>(log: &SharedLog, session: &SessionId, to: Seq) -> Option<(Seq, T)> {
    let (seq, bytes) = fitting(log, session, to, T::VERSION).await?;
    let state: T = serde_json::from_slice(state_of(&bytes)?.1).ok()?;
    Some((seq, state.read(seq, bytes.len())?))
}

/// The session's snapshot, if it is of the log that is there. Whatever is wrong with it, or with the store where it is
/// kept, the log is asked next, and says so itself.
async fn fitting(log: &SharedLog, session: &SessionId, to: Seq, version: u32) -> Option<(Seq, Bytes)> {
    let (seq, bytes) = log.snapshot_get(session, version).await.ok()??;
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
    let outside = Outside { machine: state.machine.clone(), places: state.places.clone() };
    if let Some(bytes) = covered(&outside, session, state.head, sealed.hash) {
        let _ = log.snapshot_put(session, state.head, VERSION_OUTSIDE, bytes).await;
    }
}

/// The bytes of a snapshot. `head` is the chain hash of the record `seq`.
fn covered<T: Serialize>(state: &T, session: &SessionId, seq: Seq, head: Digest) -> Option<Bytes> {
    let state = serde_json::to_vec(state).ok()?;
    let cover = Cover { made_by: made_by(), session: session.clone(), seq, head, state: digest(&state) };
    let mut bytes = serde_json::to_vec(&cover).ok()?;
    bytes.push(b'\n');
    bytes.extend_from_slice(&state);
    Some(bytes.into())
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
