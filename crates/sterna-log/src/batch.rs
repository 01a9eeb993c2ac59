//! An append made ready for a store: checked against the limits, encoded, hashed, and with the changes that it
//! makes to every index. A store only has to look at conditions and write what is here.

use bytes::Bytes;
use sterna_model::{Body, Digest, Draft, Record, Seq, SessionId};

use crate::{
    Append, Expect, IndexDelta, KeyReceipt, Lease, LeaseRequest, LogError, MAX_APPEND_BYTES,
    MAX_APPEND_RECORDS, Pending, Prepared, SessionRow, Status, content_of, digest, prepare,
};

/// An append, ready to be written.
#[derive(Debug, Clone)]
pub struct Batch {
    pub session: SessionId,
    pub expect: Expect,
    pub id: String,
    pub records: Vec<Prepared>,
    /// Hash of all bodies: the same id with other content is a conflict.
    pub content: Digest,
    /// Attached bytes and spilled bodies, each once.
    pub blobs: Vec<(Digest, Bytes)>,
    /// The link of a fork.
    pub parent: Option<sterna_model::Parent>,
    delta: IndexDelta,
    keys: Vec<Key>,
}

/// An entry of the look-up by id, with places counted from the append's first record (0).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    id: String,
    first: u64,
    last: u64,
    content: Digest,
}

/// An entry of the look-up by append id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyEntry {
    pub id: String,
    pub first: Seq,
    pub last: Seq,
    pub content: Digest,
}

impl KeyEntry {
    pub fn receipt(&self) -> KeyReceipt {
        KeyReceipt { seq: self.first, content: self.content }
    }
}

impl Batch {
    /// Checks and encodes an append. Nothing here depends on what the store holds.
    pub fn prepare(append: Append) -> Result<Self, LogError> {
        let Append { session, expect, id, records, blobs } = append;
        check_shape(&session, &expect, &id, &records)?;
        let prepared = records.iter().map(prepare).collect::<Result<Vec<_>, _>>()?;
        let bytes: usize = prepared.iter().map(Prepared::row_bytes).sum();
        if bytes > MAX_APPEND_BYTES {
            return Err(LogError::TooLarge { unit: "bytes", max: MAX_APPEND_BYTES, got: bytes });
        }
        let mut kept: Vec<(Digest, Bytes)> = Vec::new();
        let spills = prepared.iter().filter_map(Prepared::spill).map(|(at, bytes)| (at.hash, bytes));
        for (hash, bytes) in blobs.into_iter().map(|bytes| (digest(&bytes), bytes)).chain(spills) {
            if !kept.iter().any(|(other, _)| *other == hash) {
                kept.push((hash, bytes));
            }
        }
        let parent = match records.first().map(|draft| &draft.body) {
            Some(Body::SessionOpened(opened)) => opened.parent.clone(),
            _ => None,
        };
        let content = content_of(&prepared);
        let kind = AppendKind::of(&expect);
        let inputs: Vec<Option<&str>> = records.iter().map(|draft| input_key(&draft.body)).collect();
        let bodies: Vec<Digest> = prepared.iter().map(|record| record.content).collect();
        let keys = keys_of(kind, &id, &inputs, &bodies, content);
        let placed: Vec<Record> = records.into_iter().zip(0..).map(|(draft, at)| draft.at_seq(at)).collect();
        let delta = IndexDelta::of(&placed);
        Ok(Self { session, expect, id, records: prepared, content, blobs: kept, parent, delta, keys })
    }

    /// What the append changes in the indexes when its first record is at `first`.
    pub fn delta_at(&self, first: Seq) -> IndexDelta {
        let mut delta = self.delta.clone();
        for text in &mut delta.texts {
            text.seq = text.seq.saturating_add(first);
        }
        delta
    }

    /// Whether the append enters ids into the look-up.
    pub fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// The entries of the look-up by id when the append's first record is at `first`.
    pub fn keys_at(&self, first: Seq) -> impl Iterator<Item = KeyEntry> {
        place(&self.keys, first)
    }

    /// What an entry of the same id says about this append: its own first receipt, or a conflict.
    pub fn same_as(&self, entry: &KeyEntry) -> Result<(), LogError> {
        let same = entry.id == self.id && entry.content == self.content;
        if same { Ok(()) } else { Err(self.conflict(&entry.id)) }
    }

    pub fn conflict(&self, id: &str) -> LogError {
        LogError::Conflict { session: self.session.clone(), id: id.into() }
    }

    /// The last place of the append when its first record is at `first`.
    pub fn last_at(&self, first: Seq) -> Seq {
        first.saturating_add(self.records.len() as u64).saturating_sub(1)
    }
}

/// How an append came in. Stored with its first record, so that the look-up by id can be rebuilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendKind {
    New,
    Head,
    Any,
}

impl AppendKind {
    pub fn of(expect: &Expect) -> Self {
        match expect {
            Expect::New(_) => Self::New,
            Expect::Head { .. } => Self::Head,
            Expect::Any => Self::Any,
        }
    }

    /// The form in which a store keeps kind and id together.
    pub fn tagged(self, id: &str) -> String {
        let tag = match self {
            Self::New => 'n',
            Self::Head => 'h',
            Self::Any => 'a',
        };
        format!("{tag}{id}")
    }

    /// Reads the form of `tagged`.
    pub fn untag(text: &str) -> Option<(Self, &str)> {
        let kind = match text.chars().next()? {
            'n' => Self::New,
            'h' => Self::Head,
            'a' => Self::Any,
            _ => return None,
        };
        Some((kind, &text[1..]))
    }
}

/// The entries of an append that is in the log already: for stores that rebuild their look-up.
pub fn keys_of_stored(kind: AppendKind, id: &str, records: &[Record], bodies: &[Digest]) -> Vec<KeyEntry> {
    let inputs: Vec<Option<&str>> = records.iter().map(|record| input_key(&record.body)).collect();
    let content = crate::content_from(bodies.iter().copied());
    let first = records.first().map_or(1, |record| record.seq);
    place(&keys_of(kind, id, &inputs, bodies, content), first).collect()
}

/// The id under which an input with this idempotency key is looked up.
pub fn input_id(key: &str) -> String {
    format!("input:{key}")
}

/// Decides on a lease: `current` is the last one that was given.
pub fn next_lease(
    session: &SessionId,
    current: Option<&Lease>,
    request: &LeaseRequest,
) -> Result<Lease, LogError> {
    if let Some(held) = current {
        let free = held.released
            || held.owner == request.owner
            || request.now >= held.expires
            || request.takeover == Some(held.fence);
        if !free {
            return Err(LogError::Held {
                session: session.clone(),
                owner: held.owner.0.clone(),
                expires: held.expires,
                fence: held.fence,
            });
        }
    }
    let fence = current.map_or(0, |lease| lease.fence).saturating_add(1);
    Ok(Lease { fence, owner: request.owner.clone(), expires: request.expires, released: false })
}

/// Refuses a driver that is not the session's. A session that nobody ever leased has no driver.
pub fn check_fence(session: &SessionId, current: Option<&Lease>, ours: u64) -> Result<(), LogError> {
    match current {
        Some(lease) if lease.fence == ours => Ok(()),
        _ => {
            let current = current.map_or(0, |lease| lease.fence);
            Err(LogError::Fenced { session: session.clone(), current, ours })
        }
    }
}

/// The row of a session that has no records yet.
pub fn empty_row(id: &SessionId) -> SessionRow {
    SessionRow {
        id: id.clone(),
        status: Status::Idle,
        pending: Pending::default(),
        title: None,
        cwd: String::new(),
        route: sterna_model::Route { provider: String::new(), model: String::new() },
        parent: None,
        created_at: 0,
        updated_at: 0,
        head: 0,
        turns: 0,
        steps: 0,
        tokens: 0,
        cost: Some(0),
    }
}

/// Changes a session's row as an append's delta says.
pub fn apply_delta(row: &mut SessionRow, delta: IndexDelta, head: Seq) {
    let IndexDelta {
        opened,
        updated_at,
        moves,
        titles,
        route,
        turns,
        steps,
        tokens,
        cost,
        cost_unknown,
        texts: _,
    } = delta;
    if let Some(opened) = opened {
        row.cwd = opened.cwd;
        row.route = opened.route;
        row.parent = opened.parent;
        row.created_at = opened.at;
    }
    row.updated_at = row.updated_at.max(updated_at);
    moves.into_iter().for_each(|change| row.pending.apply(change));
    row.status = row.pending.status();
    for title in titles {
        let _ = title.apply(&mut row.title);
    }
    if let Some(route) = route {
        row.route = route;
    }
    row.turns = row.turns.saturating_add(turns);
    row.steps = row.steps.saturating_add(steps);
    row.tokens = row.tokens.saturating_add(tokens);
    row.cost = row.cost.filter(|_| !cost_unknown).map(|sum| sum.saturating_add(cost));
    row.head = head;
}

fn check_shape(session: &SessionId, expect: &Expect, id: &str, records: &[Draft]) -> Result<(), LogError> {
    let refuse = |text: String| Err(LogError::Refused(text));
    if id.is_empty() || id.len() > MAX_ID_BYTES {
        return refuse(format!("an append's id has 1 to {MAX_ID_BYTES} bytes, this one has {}", id.len()));
    }
    if records.is_empty() {
        return refuse("an append carries at least one record".into());
    }
    if records.len() > MAX_APPEND_RECORDS {
        return Err(LogError::TooLarge { unit: "records", max: MAX_APPEND_RECORDS, got: records.len() });
    }
    let is_new = matches!(expect, Expect::New(_));
    for (at, draft) in records.iter().enumerate() {
        match &draft.body {
            Body::SessionOpened(opened) if is_new && at == 0 && opened.id == *session => {}
            Body::SessionOpened(opened) if is_new && at == 0 => {
                return refuse(format!("session `{session}` cannot be opened as `{}`", opened.id));
            }
            Body::SessionOpened(_) => {
                return refuse("a session is opened by the first record of its log alone".into());
            }
            _ if is_new && at == 0 => {
                return refuse("the first record of a log is the one that opens the session".into());
            }
            _ => {}
        }
    }
    Ok(())
}

fn input_key(body: &Body) -> Option<&str> {
    match body {
        Body::InputAccepted(input) => input.key.as_deref(),
        _ => None,
    }
}

/// Which ids an append enters into the look-up.
///
/// A keyed input is found by its key however it came in, and stands for itself alone when it came with others: so
/// the input that opened a session is the same as that input sent on its own. Whoever appends without a place
/// (`Any`) is known by the append's id. A driver's append is known by its place.
fn keys_of(
    kind: AppendKind,
    id: &str,
    inputs: &[Option<&str>],
    bodies: &[Digest],
    content: Digest,
) -> Vec<Key> {
    let mut keys: Vec<Key> = Vec::new();
    let whole = Key { id: id.into(), first: 0, last: (bodies.len() as u64).saturating_sub(1), content };
    if kind == AppendKind::Any {
        keys.push(whole.clone());
    }
    for (at, (input, body)) in (0..).zip(inputs.iter().zip(bodies)) {
        let Some(id) = input.map(input_id) else { continue };
        if keys.iter().all(|key| key.id != id) {
            keys.push(Key { id, first: at, last: at, content: crate::content_from([*body]) });
        }
    }
    let found_by_key = id.starts_with(&input_id(""));
    if (kind == AppendKind::New || found_by_key) && keys.iter().all(|key| key.id != id) {
        keys.push(whole);
    }
    keys
}

fn place(keys: &[Key], first: Seq) -> impl Iterator<Item = KeyEntry> {
    keys.iter().map(move |key| KeyEntry {
        id: key.id.clone(),
        first: first.saturating_add(key.first),
        last: first.saturating_add(key.last),
        content: key.content,
    })
}

/// The longest id of an append.
pub const MAX_ID_BYTES: usize = 2048;
