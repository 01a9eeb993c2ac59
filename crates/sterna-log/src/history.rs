//! A session's whole history, through the logs it forks from, and the check of a log.

use std::collections::{HashSet, VecDeque};

use serde::Serialize;
use sterna_model::{
    Attachment, Body, Digest, Draft, EffectResult, InputAccepted, InputPart, Intended, Manifest, Parent,
    RECORD_VERSION, Seq, SessionId,
};

use crate::codec::damage_of;
use crate::{Blobs, Log, LogError, Sealed, prepare, prev_of_first, seal};

/// Records that one page of a history holds at most.
pub const HISTORY_PAGE: usize = 1024;

/// Loads a session's history, oldest record first: those of the logs that it forks from, up to where it forks, then
/// its own.
///
/// Reads only where the history begins; records come with `History::next_page`.
pub async fn read_history<'a>(log: &'a dyn Log, session: &SessionId) -> Result<History<'a>, LogError> {
    Ok(History { log, cursor: HistoryCursor::open(log, session).await? })
}

/// A place in a session's history. It holds no store, and goes on where it was when there are more records.
pub struct HistoryCursor {
    pieces: VecDeque<Piece>,
}

/// A history that is read page by page.
pub struct History<'a> {
    log: &'a dyn Log,
    cursor: HistoryCursor,
}

struct Piece {
    session: SessionId,
    next: Seq,
    /// Inclusive.
    to: Seq,
}

impl HistoryCursor {
    /// Before the first record of a session's history.
    pub async fn open(log: &dyn Log, session: &SessionId) -> Result<Self, LogError> {
        let mut pieces = VecDeque::from([Piece { session: session.clone(), next: 1, to: Seq::MAX }]);
        let mut seen = HashSet::from([session.clone()]);
        let mut at = session.clone();
        while let Some(parent) = parent_of(log, &at).await? {
            if !seen.insert(parent.session.clone()) {
                let detail = format!("it forks from `{}`, which forks from it", parent.session);
                return Err(LogError::Corrupt { session: at, seq: 1, detail });
            }
            at = parent.session.clone();
            pieces.push_front(Piece { session: parent.session, next: 1, to: parent.seq });
        }
        Ok(Self { pieces })
    }

    /// Goes on after record `seq` of one of the history's logs: everything before is passed over, unread. A log that is
    /// none of them changes nothing.
    pub fn skip_to(&mut self, session: &SessionId, seq: Seq) {
        let Some(at) = self.pieces.iter().position(|piece| piece.session == *session) else { return };
        self.pieces.drain(..at);
        if let Some(piece) = self.pieces.front_mut() {
            piece.next = seq.saturating_add(1);
        }
    }

    /// After record `seq` of a session's own log. Reads nothing.
    pub fn after(session: &SessionId, seq: Seq) -> Self {
        let piece = Piece { session: session.clone(), next: seq.saturating_add(1), to: Seq::MAX };
        Self { pieces: VecDeque::from([piece]) }
    }

    /// The logs of the history that were not read to their end, oldest first, with the last record of each that counts.
    pub fn logs(&self) -> impl DoubleEndedIterator<Item = (&SessionId, Seq)> {
        self.pieces.iter().map(|piece| (&piece.session, piece.to))
    }

    /// The next records, at most `HISTORY_PAGE`; none at the end. A call that is dropped has not moved.
    ///
    /// At a damaged record the records before it come first, and then, with the next call, `LogError::Corrupt`.
    pub async fn next_page(&mut self, log: &dyn Log) -> Result<Vec<(SessionId, Sealed)>, LogError> {
        while let Some(piece) = self.pieces.front_mut() {
            if piece.next > piece.to {
                self.pieces.pop_front();
                continue;
            }
            let left = (piece.to - piece.next).saturating_add(1);
            let limit = usize::try_from(left).unwrap_or(usize::MAX).min(HISTORY_PAGE);
            let page = read_whole_prefix(log, &piece.session, piece.next, limit).await?;
            let session = piece.session.clone();
            let missing = piece.next;
            piece.next += page.len() as u64;
            if !page.is_empty() {
                return Ok(page.into_iter().map(|sealed| (session.clone(), sealed)).collect());
            }
            if piece.to != Seq::MAX {
                let detail = "it is missing, and a fork shares it".into();
                return Err(LogError::Corrupt { session, seq: missing, detail });
            }
            // Its own log may grow.
            break;
        }
        Ok(Vec::new())
    }
}

impl History<'_> {
    /// The next records, as `HistoryCursor::next_page`.
    pub async fn next_page(&mut self) -> Result<Vec<(SessionId, Sealed)>, LogError> {
        self.cursor.next_page(self.log).await
    }

    /// All records that are left.
    pub async fn rest(mut self) -> Result<Vec<(SessionId, Sealed)>, LogError> {
        let mut all = self.next_page().await?;
        loop {
            let page = self.next_page().await?;
            if page.is_empty() {
                return Ok(all);
            }
            all.extend(page);
        }
    }
}

/// What the check of a log found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fsck {
    /// Whole records, from the first on.
    pub records: u64,
    /// The first record that is not whole, and what is wrong with it.
    pub first_bad: Option<(Seq, String)>,
    /// What kind of damage that is.
    pub kind: Option<DamageKind>,
    /// Chain hash of the last whole record.
    pub last_hash: Digest,
}

/// Kinds of damage, each with a name of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DamageKind {
    /// The chain does not lead to it: it, or what stands before it, was changed after it was written.
    TamperedRecord,
    /// It cannot be read or decoded, or it is gone from the middle.
    UnreadableRecord,
    /// The log ends before the head that it had.
    TornTail,
    /// Bytes that it refers to are gone.
    MissingBlob,
    /// Bytes that it refers to are others.
    ChangedBlob,
    /// The log that it forks from is not what it was.
    LostHistory,
    /// Written by a newer version of Sterna: not damage, and not readable here.
    NewerVersion,
}

impl DamageKind {
    /// The name for people.
    pub fn words(self) -> &'static str {
        match self {
            Self::TamperedRecord => "tampered record",
            Self::UnreadableRecord => "unreadable record",
            Self::TornTail => "torn tail",
            Self::MissingBlob => "missing blob",
            Self::ChangedBlob => "changed blob",
            Self::LostHistory => "lost history",
            Self::NewerVersion => "newer version",
        }
    }
}

/// Checks a session's own log: chain, numbers, encoding, and that every blob it refers to is there with its hash.
///
/// Errors are those of a store that cannot be read at all; damage is in the answer.
pub async fn verify(log: &dyn Log, blobs: &dyn Blobs, session: &SessionId) -> Result<Fsck, LogError> {
    let mut found = Fsck { records: 0, first_bad: None, kind: None, last_hash: Digest::ZERO };
    let mut known = HashSet::new();
    loop {
        let next = found.records + 1;
        let page = match read_whole_prefix(log, session, next, HISTORY_PAGE).await {
            Ok(page) => page,
            Err(LogError::Corrupt { seq, detail, .. }) => {
                return Ok(found.bad(seq, damage_of(&detail), detail));
            }
            Err(error @ LogError::Newer { .. }) => {
                return Ok(found.bad(next, DamageKind::NewerVersion, error.to_string()));
            }
            Err(error) => return Err(error),
        };
        if page.is_empty() {
            break;
        }
        for sealed in page {
            let seq = found.records + 1;
            if let Some((kind, detail)) = check_record(log, blobs, &found, &sealed, &mut known).await? {
                return Ok(found.bad(seq, kind, detail));
            }
            found.records = seq;
            found.last_hash = sealed.hash;
        }
    }
    let head = match log.head(session).await {
        Ok(head) => head,
        // What a fork keeps of a deleted session has no head.
        Err(LogError::Tombstone(_)) => return Ok(found),
        Err(error) => return Err(error),
    };
    if head.seq != found.records || head.hash != found.last_hash {
        let detail = format!("the session's head is record {}, and its log does not end there", head.seq);
        let seq = found.records + 1;
        let torn = head.seq > found.records;
        let kind = if torn { DamageKind::TornTail } else { DamageKind::TamperedRecord };
        return Ok(found.bad(seq, kind, detail));
    }
    Ok(found)
}

/// The blobs that a record refers to, a spilled body aside. A manifest's own parts are not among them, and
/// neither is a checkpoint of the workspace: it never leaves its store.
pub fn blob_refs(body: &Body) -> Vec<Digest> {
    match body {
        Body::Intent(intent) => match &intent.what {
            Intended::Model(model) => vec![model.manifest],
            Intended::Compact(compact) => vec![compact.model.manifest],
            Intended::Judge(judge) => vec![judge.asked.hash],
            Intended::Tool(_) | Intended::Undo(_) => Vec::new(),
        },
        Body::Outcome(outcome) => match &outcome.result {
            EffectResult::Tool(tool) => {
                let files = tool.attachments.iter().flat_map(Attachment::blobs);
                tool.full.iter().chain(files).map(|blob| blob.hash).collect()
            }
            EffectResult::Model(_) | EffectResult::ModelFailed(_) | EffectResult::Summary(_) | EffectResult::Judged(_) => Vec::new(),
        },
        Body::Compacted(compacted) => compacted.summary.iter().map(|summary| summary.hash).collect(),
        Body::InputAccepted(InputAccepted { parts, .. }) | Body::InputEdited { parts, .. } => {
            let files = parts.iter().filter_map(|part| match part {
                InputPart::File(file) => Some(file),
                InputPart::Text(_) => None,
            });
            files.flat_map(Attachment::blobs).map(|blob| blob.hash).collect()
        }
        Body::SessionOpened(_)
        | Body::TitleSet { .. }
        | Body::SessionClosed { .. }
        | Body::RouteChanged { .. }
        | Body::ModeChanged { .. }
        | Body::InputWithdrawn { .. }
        | Body::TurnStarted(_)
        | Body::TurnCommitted(_)
        | Body::Attempt(_)
        | Body::InDoubt { .. }
        | Body::WaitOpened(_)
        | Body::WaitResolved { .. }
        | Body::CancelRequested { .. }
        | Body::LimitReached { .. }
        | Body::GrantGiven { .. }
        | Body::GrantRevoked { .. }
        | Body::TodoSet { .. }
        | Body::HookRan(_)
        | Body::Memory(_)
        | Body::Automation(_)
        | Body::Goal(_)
        | Body::Budget(_)
        | Body::HookIntent(_)
        // They go nowhere with their record, and a session is whole without them.
        | Body::CheckpointTaken(_)
        | Body::CheckpointMissed { .. }
        | Body::CompactionMissed { .. }
        | Body::Rewound(_) => Vec::new(),
    }
}

/// Bytes that a record needs, by what they are: more than their own may hang on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Held {
    Blob(Digest),
    /// A prompt's manifest, which names its parts.
    Prompt(Digest),
    /// A checkpoint's manifest, which names files.
    Checkpoint(Digest),
}

impl Held {
    pub fn hash(&self) -> Digest {
        match self {
            Self::Blob(hash) | Self::Prompt(hash) | Self::Checkpoint(hash) => *hash,
        }
    }
}

/// All bytes that a record needs, a spilled body aside: what no collector may take.
pub fn held(body: &Body) -> Vec<Held> {
    match body {
        Body::Intent(intent) => match &intent.what {
            Intended::Model(model) => vec![Held::Prompt(model.manifest)],
            Intended::Compact(compact) => vec![Held::Prompt(compact.model.manifest)],
            Intended::Judge(judge) => vec![Held::Blob(judge.asked.hash)],
            Intended::Tool(_) | Intended::Undo(_) => Vec::new(),
        },
        Body::CheckpointTaken(taken) => vec![Held::Checkpoint(taken.manifest)],
        Body::Rewound(rewound) => rewound.files.iter().map(|files| Held::Checkpoint(*files)).collect(),
        other => blob_refs(other).into_iter().map(Held::Blob).collect(),
    }
}

impl Fsck {
    fn bad(mut self, seq: Seq, kind: DamageKind, detail: String) -> Self {
        self.first_bad = Some((seq, detail));
        self.kind = Some(kind);
        self
    }
}

async fn parent_of(log: &dyn Log, session: &SessionId) -> Result<Option<Parent>, LogError> {
    let first = log.read(session, 1, 1).await?;
    Ok(match first.into_iter().next().map(|sealed| sealed.record.body) {
        Some(Body::SessionOpened(opened)) => opened.parent,
        _ => None,
    })
}

/// Reads a page, cut before its first record that cannot be read; one at its very beginning is the error.
async fn read_whole_prefix(
    log: &dyn Log,
    session: &SessionId,
    from: Seq,
    mut limit: usize,
) -> Result<Vec<Sealed>, LogError> {
    loop {
        match log.read(session, from, limit).await {
            Err(LogError::Corrupt { seq, .. }) if seq > from && seq - from < limit as u64 => {
                limit = usize::try_from(seq - from).unwrap_or(limit / 2);
            }
            // A newer record does not say where it is.
            Err(LogError::Newer { .. }) if limit > 1 => limit /= 2,
            other => return other,
        }
    }
}

/// A kind of damage, and what it is.
type Wrong = (DamageKind, String);

/// What is wrong with a record that could be read.
async fn check_record(
    log: &dyn Log,
    blobs: &dyn Blobs,
    before: &Fsck,
    sealed: &Sealed,
    known: &mut HashSet<Digest>,
) -> Result<Option<Wrong>, LogError> {
    let record = &sealed.record;
    let seq = before.records + 1;
    if record.seq != seq {
        let detail = format!("record {} stands in its place", record.seq);
        return Ok(Some((DamageKind::TamperedRecord, detail)));
    }
    let prev = if seq == 1 { prev_of_first(record) } else { before.last_hash };
    // The store has checked the bytes it holds. This is the second opinion, from the record alone; it can be had
    // only of records that this version would write in the same way.
    if record.v == RECORD_VERSION {
        let draft = Draft { at: record.at, turn: record.turn, step: record.step, body: record.body.clone() };
        if seal(&prepare(&draft)?, seq, &prev).1 != sealed.hash {
            let detail = "its hash does not follow from the record before it and its content".into();
            return Ok(Some((DamageKind::TamperedRecord, detail)));
        }
    }
    if let Body::SessionOpened(opened) = &record.body
        && let Some(parent) = &opened.parent
    {
        match log.read(&parent.session, parent.seq, 1).await {
            Ok(found) if found.first().is_some_and(|found| found.hash == parent.hash) => {}
            Ok(_) | Err(LogError::NotFound(_) | LogError::Tombstone(_) | LogError::Corrupt { .. }) => {
                let Parent { session, seq, .. } = parent;
                let detail = format!("record {seq} of `{session}`, where it forks, is not what it was");
                return Ok(Some((DamageKind::LostHistory, detail)));
            }
            Err(error) => return Err(error),
        }
    }
    for hash in blob_refs(&record.body) {
        if let Some(wrong) = check_blob(blobs, hash, known).await? {
            return Ok(Some(wrong));
        }
    }
    if let Body::Intent(intent) = &record.body
        && let Intended::Model(model) = &intent.what
    {
        return check_manifest(blobs, model.manifest, known).await;
    }
    Ok(None)
}

async fn check_manifest(
    blobs: &dyn Blobs,
    hash: Digest,
    known: &mut HashSet<Digest>,
) -> Result<Option<Wrong>, LogError> {
    let Ok(manifest) = serde_json::from_slice::<Manifest>(&blobs.get(&hash).await?) else {
        let detail = format!("its prompt manifest, blob {hash}, cannot be decoded");
        return Ok(Some((DamageKind::ChangedBlob, detail)));
    };
    let parts = manifest.parts.iter().map(|part| part.text.hash);
    let tools = manifest.tools.iter().map(|tool| tool.spec.hash);
    for hash in parts.chain(tools) {
        if let Some(wrong) = check_blob(blobs, hash, known).await? {
            return Ok(Some(wrong));
        }
    }
    Ok(None)
}

/// What is wrong with a blob. Each is read once.
async fn check_blob(
    blobs: &dyn Blobs,
    hash: Digest,
    known: &mut HashSet<Digest>,
) -> Result<Option<Wrong>, LogError> {
    if known.contains(&hash) {
        return Ok(None);
    }
    match blobs.get(&hash).await {
        Ok(_) => {
            known.insert(hash);
            Ok(None)
        }
        Err(LogError::BlobMissing(_)) => {
            Ok(Some((DamageKind::MissingBlob, format!("blob {hash} is missing"))))
        }
        Err(LogError::Damaged(detail) | LogError::Corrupt { detail, .. }) => {
            Ok(Some((DamageKind::ChangedBlob, detail)))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
