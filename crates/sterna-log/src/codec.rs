//! The record codec: how a draft becomes the bytes of a row, how rows chain, and how a row becomes a record again.
//!
//! A row is one JSON object: `{"v","seq","at","turn"?,"step"?,"body"}`, or with `"spilled":{"hash","bytes"}` in
//! place of `body` when the body is kept as a blob. The chain hash of a row is blake3 over the hash of the row
//! before it and the row's bytes; the row itself does not hold its predecessor.

use std::io::Write;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use sterna_model::{
    BlobRef, Body, Digest, Draft, InputAccepted, Millis, RECORD_VERSION, Record, Seq, SessionId, StepNo,
    TurnNo,
};

use crate::{DamageKind, LogError, SPILL_BYTES, Sealed, digest};

/// A draft whose costly part is done: only its place in the log is missing.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub at: Millis,
    pub turn: Option<TurnNo>,
    pub step: Option<StepNo>,
    /// The body as JSON.
    pub body: Bytes,
    /// Hash of the body's JSON.
    pub hash: Digest,
    /// Hash of what the identity of an append is made of: the body without what its turn is given, so that the same
    /// input sent again is the same also when it is sent with other rights.
    pub content: Digest,
}

impl Prepared {
    /// The blob that holds the body, when it is too large for a row.
    pub fn spill(&self) -> Option<(BlobRef, Bytes)> {
        self.spilled().map(|reference| (reference, self.body.clone()))
    }

    /// Bytes of the row, whatever its place.
    pub fn row_bytes(&self) -> usize {
        ENVELOPE_BYTES + if self.spilled().is_some() { SPILLED_BYTES } else { self.body.len() }
    }

    fn spilled(&self) -> Option<BlobRef> {
        let bytes = self.body.len() as u64;
        (self.body.len() > SPILL_BYTES).then_some(BlobRef { hash: self.hash, bytes })
    }
}

/// Encodes and hashes a draft's body.
pub fn prepare(draft: &Draft) -> Result<Prepared, LogError> {
    let body = serde_json::to_vec(&draft.body)
        .map_err(|error| LogError::Refused(format!("the record cannot be encoded: {error}")))?;
    if depth(&body) > MAX_DEPTH {
        return Err(LogError::Refused(format!(
            "the record cannot be stored: its values are nested deeper than {MAX_DEPTH} levels"
        )));
    }
    let hash = digest(&body);
    let content = content_without_given(&draft.body).unwrap_or(hash);
    Ok(Prepared { at: draft.at, turn: draft.turn, step: draft.step, body: body.into(), hash, content })
}

/// The content of an input that says what its turn is given.
fn content_without_given(body: &Body) -> Option<Digest> {
    let Body::InputAccepted(input) = body else { return None };
    input.given.as_ref()?;
    let bare = Body::InputAccepted(InputAccepted { given: None, ..InputAccepted::clone(input) });
    serde_json::to_vec(&bare).ok().map(|json| digest(&json))
}

/// Gives a prepared draft its place: the row, and the chain hash after it.
pub fn seal(prepared: &Prepared, seq: Seq, prev: &Digest) -> (Vec<u8>, Digest) {
    seal_as(RECORD_VERSION, prepared, seq, prev)
}

/// The row as that version wrote it: a body that an older version could write has the same bytes in all of them.
pub fn seal_as(version: u32, prepared: &Prepared, seq: Seq, prev: &Digest) -> (Vec<u8>, Digest) {
    let mut row = Vec::with_capacity(prepared.row_bytes());
    // Writing to memory does not fail.
    let _ = write!(row, "{{\"v\":{version},\"seq\":{seq},\"at\":{}", prepared.at);
    if let Some(turn) = prepared.turn {
        let _ = write!(row, ",\"turn\":{turn}");
    }
    if let Some(step) = prepared.step {
        let _ = write!(row, ",\"step\":{step}");
    }
    match prepared.spilled() {
        Some(BlobRef { hash, bytes }) => {
            let _ = write!(row, ",\"spilled\":{{\"hash\":\"{hash}\",\"bytes\":{bytes}}}}}");
        }
        None => {
            row.extend_from_slice(b",\"body\":");
            row.extend_from_slice(&prepared.body);
            row.push(b'}');
        }
    }
    let hash = chain(prev, &row);
    (row, hash)
}

/// The chain hash of a row.
pub fn chain(prev: &Digest, row: &[u8]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&prev.0);
    hasher.update(row);
    Digest(*hasher.finalize().as_bytes())
}

/// The content of an append: what makes two appends of one id the same.
pub fn content_of(prepared: &[Prepared]) -> Digest {
    content_from(prepared.iter().map(|record| record.content))
}

/// The content of an append from the hashes of its bodies.
pub fn content_from(bodies: impl IntoIterator<Item = Digest>) -> Digest {
    let mut hasher = blake3::Hasher::new();
    for body in bodies {
        hasher.update(&body.0);
    }
    Digest(*hasher.finalize().as_bytes())
}

/// What the body in a row adds to the identity of its append. Only inputs are decoded for it; `spilled` fetches a
/// body that is kept as a blob.
pub fn row_content(
    session: &SessionId,
    seq: Seq,
    row: &[u8],
    spilled: impl FnOnce(&Digest) -> Result<Bytes, LogError>,
) -> Result<Digest, LogError> {
    let row = envelope(session, seq, row)?;
    let of = |json: &[u8], hash: Digest| {
        let input = json.starts_with(INPUT).then(|| serde_json::from_slice::<Body>(json));
        match input {
            Some(Ok(body)) => content_without_given(&body).unwrap_or(hash),
            Some(Err(_)) | None => hash,
        }
    };
    Ok(match (row.body, row.spilled) {
        (Some(body), _) => of(body.get().as_bytes(), digest(body.get().as_bytes())),
        (None, Some(reference)) => {
            // A body that is lost is told by whoever reads it.
            spilled(&reference.hash).map_or(reference.hash, |bytes| of(&bytes, reference.hash))
        }
        (None, None) => return Err(corrupt(session, seq, "it has no body")),
    })
}

/// Decodes a row. `spilled` fetches a body that is kept as a blob.
///
/// Errors: `Newer` for a version that this build does not know, `Corrupt` for whatever else is not a record.
pub fn open(
    session: &SessionId,
    seq: Seq,
    row: &[u8],
    spilled: impl FnOnce(&Digest) -> Result<Bytes, LogError>,
) -> Result<Record, LogError> {
    let Envelope { v, seq: own, at, turn, step, body, spilled: reference } = envelope(session, seq, row)?;
    if own != seq {
        return Err(corrupt(session, seq, format!("it says that it is record {own}")));
    }
    let decode = |json: &[u8]| {
        serde_json::from_slice::<Body>(json).map_err(|error| corrupt(session, seq, error.to_string()))
    };
    let body = match (body, reference) {
        (Some(body), _) => decode(body.get().as_bytes())?,
        (None, Some(reference)) => {
            let bytes = spilled(&reference.hash).map_err(|error| lost(session, seq, error))?;
            if bytes.len() as u64 != reference.bytes || digest(&bytes) != reference.hash {
                return Err(corrupt(session, seq, format!("blob {} holds other bytes", reference.hash)));
            }
            decode(&bytes)?
        }
        (None, None) => return Err(corrupt(session, seq, "it has no body")),
    };
    Ok(Record { v, seq, at, turn, step, body })
}

/// Follows a log row by row, and says at which record it breaks.
#[derive(Debug)]
pub struct ChainReader<'a> {
    session: &'a SessionId,
    next: Seq,
    /// `None` before the first record: its predecessor is zero or, in a fork, the record it names.
    prev: Option<Digest>,
}

impl<'a> ChainReader<'a> {
    /// From the first record.
    pub fn from_start(session: &'a SessionId) -> Self {
        Self { session, next: 1, prev: None }
    }

    /// From the record after the one of this hash.
    pub fn after(session: &'a SessionId, seq: Seq, hash: Digest) -> Self {
        Self { session, next: seq.saturating_add(1), prev: Some(hash) }
    }

    /// Takes the next row and the hash stored with it.
    pub fn take(
        &mut self,
        seq: Seq,
        hash: Digest,
        row: &[u8],
        spilled: impl FnOnce(&Digest) -> Result<Bytes, LogError>,
    ) -> Result<Sealed, LogError> {
        if seq != self.next {
            return Err(corrupt(self.session, self.next, "it is missing"));
        }
        if let Some(prev) = &self.prev
            && chain(prev, row) != hash
        {
            return Err(corrupt(self.session, seq, CHANGED));
        }
        let record = open(self.session, seq, row, spilled)?;
        if self.prev.is_none() && chain(&prev_of_first(&record), row) != hash {
            return Err(corrupt(self.session, seq, CHANGED));
        }
        self.next = seq.saturating_add(1);
        self.prev = Some(hash);
        Ok(Sealed { record, hash })
    }
}

/// What comes before the first record of a log: nothing, or the record at which it forks.
pub fn prev_of_first(record: &Record) -> Digest {
    match &record.body {
        Body::SessionOpened(opened) => opened.parent.as_ref().map_or(Digest::ZERO, |parent| parent.hash),
        _ => Digest::ZERO,
    }
}

/// What kind of damage a store's `Corrupt` tells.
pub(crate) fn damage_of(detail: &str) -> DamageKind {
    match detail {
        CHANGED => DamageKind::TamperedRecord,
        TORN_TAIL => DamageKind::TornTail,
        _ if detail.starts_with(LOST_BLOB) => DamageKind::MissingBlob,
        _ => DamageKind::UnreadableRecord,
    }
}

pub(crate) fn corrupt(session: &SessionId, seq: Seq, detail: impl Into<String>) -> LogError {
    LogError::Corrupt { session: session.clone(), seq, detail: detail.into() }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    v: u32,
    seq: Seq,
    at: Millis,
    #[serde(default)]
    turn: Option<TurnNo>,
    #[serde(default)]
    step: Option<StepNo>,
    #[serde(borrow, default)]
    body: Option<&'a RawValue>,
    #[serde(default)]
    spilled: Option<BlobRef>,
}

fn envelope<'a>(session: &SessionId, seq: Seq, row: &'a [u8]) -> Result<Envelope<'a>, LogError> {
    #[derive(Deserialize)]
    struct Version {
        v: u32,
    }
    let newer = |found: u32| LogError::Newer { found, known: RECORD_VERSION };
    match serde_json::from_slice::<Envelope<'a>>(row) {
        Ok(envelope) if envelope.v > RECORD_VERSION => Err(newer(envelope.v)),
        Ok(envelope) if envelope.v == 0 => Err(corrupt(session, seq, "its version is 0")),
        Ok(envelope) => Ok(envelope),
        // A newer version may have another envelope: its number is all that we rely on.
        Err(error) => match serde_json::from_slice::<Version>(row) {
            Ok(Version { v }) if v > RECORD_VERSION => Err(newer(v)),
            _ => Err(corrupt(session, seq, error.to_string())),
        },
    }
}

/// A spilled body that cannot be had is a damage of its record.
fn lost(session: &SessionId, seq: Seq, error: LogError) -> LogError {
    match error {
        LogError::BlobMissing(hash) => corrupt(session, seq, format!("{LOST_BLOB}{hash} is missing")),
        LogError::Damaged(detail) => corrupt(session, seq, detail),
        other => other,
    }
}

/// How deep the arrays and objects of a JSON text nest.
fn depth(json: &[u8]) -> usize {
    let (mut now, mut most, mut in_text, mut escaped) = (0usize, 0usize, false, false);
    for byte in json {
        match (in_text, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_text = !in_text,
            (false, b'{' | b'[') => {
                now += 1;
                most = most.max(now);
            }
            (false, b'}' | b']') => now = now.saturating_sub(1),
            _ => {}
        }
    }
    most
}

/// A row that does not hash to what was stored with it.
pub(crate) const CHANGED: &str = "its bytes or its hash changed after it was written";
/// A spilled body that is not in the store.
const LOST_BLOB: &str = "its blob ";
/// For stores: the log ends before the head that it had.
pub const TORN_TAIL: &str = "it is missing, and so is all that came after it";

/// How the JSON of an input begins.
const INPUT: &[u8] = b"{\"input_accepted\"";
/// The decoder's own limit is 127, and the envelope needs one.
const MAX_DEPTH: usize = 120;
/// A row's bytes round its body, with numbers of full length.
const ENVELOPE_BYTES: usize = 128;
/// A reference in place of a body.
const SPILLED_BYTES: usize = 128;

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
