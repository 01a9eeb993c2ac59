//! Reading a bundle. It is believed only when all of it is proved: the closing hash over every byte, the chain of
//! every log, and the hash of every blob.

use std::collections::{HashMap, HashSet};
use std::io::{self, BufRead, Read};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::future::try_join_all;
use serde::Deserialize;
use serde_json::Value;
use sterna_log::{BlobWriter, Blobs, blob_refs, digest, prepare, prev_of_first, seal_as};
use sterna_model::{Body, Digest, Draft, Manifest, RECORD_VERSION, Record, Seq, SessionId};

use super::{EXPORT_VERSION, PIECE};
use crate::{BundleError, ImportError};

/// A bundle that is whole.
#[derive(Debug)]
pub struct Bundle {
    /// The session's own log, and then those that it shares history with, nearest first.
    pub logs: Vec<BundleLog>,
    /// Blobs and their sizes, in the order of the file.
    pub blobs: Vec<(Digest, u64)>,
    /// Hash of every byte before the closing line: the bundle's name.
    pub hash: Digest,
}

/// One log of a bundle.
#[derive(Debug)]
pub struct BundleLog {
    pub session: SessionId,
    pub records: Vec<Record>,
    /// Chain hash of the last record.
    pub hash: Digest,
}

/// Whether this is the beginning of a bundle.
pub fn is_bundle(beginning: &[u8]) -> bool {
    let text = beginning.trim_ascii_start();
    // The header's keys stand in the order of the alphabet.
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    line.starts_with(b"{\"") && line.windows(MARK.len()).any(|window| window == MARK)
}

impl Bundle {
    /// Reads and proves a bundle. `open` gives its bytes from the beginning, each time it is asked.
    pub fn read<R: BufRead>(open: impl Fn() -> io::Result<R>) -> Result<Self, ImportError> {
        let hash = integrity(open()?)?;
        let mut reader = Reader::new(open()?, hash);
        while let Some(line) = reader.lines.next()? {
            if !reader.line(&line)? {
                break;
            }
        }
        Ok(reader.finish()?)
    }

    /// Puts the blobs of the bundle into a store: large ones piece by piece, small ones many at once.
    pub async fn store_blobs<R: BufRead + Send>(
        &self,
        source: R,
        blobs: &dyn Blobs,
    ) -> Result<(), ImportError> {
        let mut lines = Lines { source, number: 0 };
        let mut at = 0;
        let mut coming = Coming::None;
        let mut waiting = Waiting::default();
        while let Some(line) = lines.next()? {
            // Whatever is no piece was read before.
            let Ok(piece) = serde_json::from_slice::<Piece>(&line) else { continue };
            let Some((hash, size)) = self.blobs.get(at).copied() else { break };
            let changed = || BundleError::Blob(hash);
            if piece.blob != hash {
                return Err(changed().into());
            }
            let bytes = STANDARD.decode(&piece.base64).map_err(|_| changed())?;
            let mut state = std::mem::replace(&mut coming, Coming::None);
            if piece.offset == 0 {
                state = if size > SMALL { Coming::Large(blobs.writer()?) } else { Coming::Small(Vec::new()) };
            }
            match &mut state {
                Coming::None => return Err(changed().into()),
                Coming::Small(all) => all.extend_from_slice(&bytes),
                Coming::Large(writer) => writer.write(&bytes)?,
            }
            if piece.offset.saturating_add(bytes.len() as u64) < size {
                coming = state;
                continue;
            }
            // The file may be another than the one that was read first.
            let found = match state {
                Coming::None => return Err(changed().into()),
                Coming::Small(all) => {
                    let found = digest(&all);
                    waiting.add(all);
                    found
                }
                Coming::Large(writer) => writer.finish()?.hash,
            };
            if found != hash {
                return Err(changed().into());
            }
            if waiting.is_enough() {
                waiting.put(blobs).await?;
            }
            at += 1;
        }
        waiting.put(blobs).await?;
        match self.blobs.get(at) {
            None => Ok(()),
            Some((hash, _)) => Err(BundleError::Blob(*hash).into()),
        }
    }
}

/// A blob on its way into the store.
enum Coming {
    None,
    Small(Vec<u8>),
    Large(Box<dyn BlobWriter>),
}

/// Small blobs that go together, so that they share the store's flush.
#[derive(Default)]
struct Waiting {
    all: Vec<Bytes>,
    bytes: usize,
}

impl Waiting {
    fn add(&mut self, blob: Vec<u8>) {
        self.bytes += blob.len();
        self.all.push(Bytes::from(blob));
    }

    fn is_enough(&self) -> bool {
        self.all.len() >= TOGETHER || self.bytes as u64 >= 8 * SMALL
    }

    async fn put(&mut self, blobs: &dyn Blobs) -> Result<(), ImportError> {
        let Self { all, .. } = std::mem::take(self);
        try_join_all(all.into_iter().map(|bytes| blobs.put(bytes))).await?;
        Ok(())
    }
}

/// Whether these bytes are what was written, whatever they say. Gives the hash that the closing line proves.
fn integrity<R: BufRead>(source: R) -> Result<Digest, ImportError> {
    let mut lines = Lines { source, number: 0 };
    let mut hasher = blake3::Hasher::new();
    let Some(first) = lines.next_raw()? else { return Err(BundleError::NotOne.into()) };
    if !is_bundle(&first) {
        return Err(BundleError::NotOne.into());
    }
    if let Ok(header) = serde_json::from_slice::<Version>(&first)
        && header.sterna_export != u64::from(EXPORT_VERSION)
    {
        return Err(BundleError::Version { found: header.sterna_export, known: EXPORT_VERSION }.into());
    }
    let mut line = first;
    while let Some(next) = lines.next_raw()? {
        if let Ok(end) = serde_json::from_slice::<End>(&line)
            && end.sterna_export_end == EXPORT_VERSION
        {
            return Err(BundleError::Trailing(lines.rest(next.len() as u64)?).into());
        }
        hasher.update(&line);
        line = next;
    }
    let (Ok(end), true) = (serde_json::from_slice::<End>(&line), line.ends_with(b"\n")) else {
        return Err(BundleError::Cut.into());
    };
    if end.sterna_export_end != EXPORT_VERSION {
        let (found, known) = (u64::from(end.sterna_export_end), EXPORT_VERSION);
        return Err(BundleError::Version { found, known }.into());
    }
    let found = hasher.finalize();
    if found.to_hex().as_str() != end.blake3 {
        return Err(BundleError::Changed { found: found.to_hex().to_string(), said: end.blake3 }.into());
    }
    Ok(Digest(*found.as_bytes()))
}

/// Lines of a file, none longer than an export's can be.
struct Lines<R> {
    source: R,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    /// The next line with its end.
    fn next_raw(&mut self) -> Result<Option<Vec<u8>>, ImportError> {
        let mut line = Vec::new();
        self.number += 1;
        let read = self.source.by_ref().take(MAX_LINE + 1).read_until(b'\n', &mut line)?;
        if read as u64 > MAX_LINE {
            return Err(BundleError::LongLine(self.number).into());
        }
        Ok((read > 0).then_some(line))
    }

    fn next(&mut self) -> Result<Option<Vec<u8>>, ImportError> {
        Ok(self.next_raw()?.map(|mut line| {
            if line.ends_with(b"\n") {
                line.pop();
            }
            line
        }))
    }

    /// How many bytes are left, with `read` of them taken already.
    fn rest(&mut self, read: u64) -> io::Result<u64> {
        Ok(read.saturating_add(io::copy(&mut self.source, &mut io::sink())?))
    }
}

/// What a header of any version says.
#[derive(Deserialize)]
struct Version {
    sterna_export: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    #[serde(rename = "sterna_export")]
    _version: u64,
    #[serde(rename = "sterna")]
    _sterna: String,
    session: SessionId,
    records: u64,
    hash: Digest,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shared {
    log: SessionId,
    records: u64,
    hash: Digest,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordLine {
    seq: Seq,
    prev: Digest,
    hash: Digest,
    record: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Piece {
    blob: Digest,
    offset: u64,
    base64: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    sterna_export_end: u32,
    blobs: u64,
    blake3: String,
}

/// What the parts say, put together line by line.
struct Reader<R> {
    lines: Lines<R>,
    bundle: Bundle,
    /// Records and last hash that the open log has to have.
    due: (u64, Digest),
    known: HashSet<Digest>,
    /// Manifests that records name, and their bytes once they have come.
    manifests: HashMap<Digest, Vec<u8>>,
    /// The blob that is being read.
    open: Option<(Digest, u64, blake3::Hasher)>,
}

impl<R: BufRead> Reader<R> {
    fn new(source: R, hash: Digest) -> Self {
        Self {
            lines: Lines { source, number: 0 },
            bundle: Bundle { logs: Vec::new(), blobs: Vec::new(), hash },
            due: (0, Digest::ZERO),
            known: HashSet::new(),
            manifests: HashMap::new(),
            open: None,
        }
    }

    /// Takes a line. False: it was the last one.
    fn line(&mut self, line: &[u8]) -> Result<bool, BundleError> {
        if self.lines.number == 1 {
            let Header { session, records, hash, .. } = self.decode(line)?;
            self.log(session, records, hash);
        } else if (self.records_of_log() as u64) < self.due.0 {
            let line = self.decode(line)?;
            self.record(line)?;
        } else if line.starts_with(b"{\"base64\"") || line.starts_with(b"{\"blob\"") {
            let piece = self.decode(line)?;
            self.piece(piece)?;
        } else if line.starts_with(b"{\"hash\"") || line.starts_with(b"{\"log\"") {
            self.log_ended()?;
            let Shared { log, records, hash } = self.decode(line)?;
            self.log(log, records, hash);
        } else {
            let end: End = self.decode(line)?;
            self.log_ended()?;
            self.blob_ended()?;
            let found = self.bundle.blobs.len() as u64;
            if end.blobs != found {
                let why = format!("it says that there are {} blobs, and there are {found}", end.blobs);
                return Err(BundleError::Line { line: self.lines.number, why });
            }
            return Ok(false);
        }
        Ok(true)
    }

    fn decode<'l, T: Deserialize<'l>>(&self, line: &'l [u8]) -> Result<T, BundleError> {
        let wrong = |error: serde_json::Error| BundleError::Line {
            line: self.lines.number,
            why: error.to_string().chars().take(300).collect(),
        };
        serde_json::from_slice(line).map_err(wrong)
    }

    fn log(&mut self, session: SessionId, records: u64, hash: Digest) {
        self.due = (records, hash);
        self.bundle.logs.push(BundleLog { session, records: Vec::new(), hash: Digest::ZERO });
    }

    fn records_of_log(&self) -> usize {
        self.bundle.logs.last().map_or(0, |log| log.records.len())
    }

    fn record(&mut self, line: RecordLine) -> Result<(), BundleError> {
        let Some(log) = self.bundle.logs.last_mut() else { return Err(BundleError::NotOne) };
        let RecordLine { seq, prev, hash, record: said } = line;
        let session = log.session.clone();
        let due = log.records.len() as u64 + 1;
        let wrong = |why: &str| BundleError::Record { session: session.clone(), seq: due, why: why.into() };
        if let Some(found) = said.get("v").and_then(Value::as_u64).filter(|v| *v > u64::from(RECORD_VERSION))
        {
            return Err(BundleError::Newer { session, seq: due, found, known: RECORD_VERSION });
        }
        let record = Record::deserialize(&said).map_err(|error| wrong(&error.to_string()))?;
        // What this version does not know would be lost without a word.
        if serde_json::to_value(&record).ok().as_ref() != Some(&said) {
            return Err(wrong("it says more than a record of its version can"));
        }
        if seq != due || record.seq != due {
            return Err(wrong(&format!("record {} stands in its place", record.seq)));
        }
        let before = if due == 1 { prev_of_first(&record) } else { log.hash };
        let draft = Draft { at: record.at, turn: record.turn, step: record.step, body: record.body.clone() };
        let prepared = prepare(&draft).map_err(|error| wrong(&error.to_string()))?;
        if prev != before || seal_as(record.v, &prepared, due, &before).1 != hash {
            return Err(wrong("its hash does not follow from the record before it and its content"));
        }
        match &record.body {
            Body::SessionOpened(opened) if due == 1 && opened.id == session => {}
            Body::SessionOpened(_) => return Err(wrong("it opens another session")),
            _ if due == 1 => return Err(wrong("the first record of a log opens its session")),
            Body::Intent(intent) => {
                if let Some(model) = intent.what.request() {
                    self.manifests.entry(model.manifest).or_default();
                }
            }
            _ => {}
        }
        log.hash = hash;
        log.records.push(record);
        Ok(())
    }

    fn log_ended(&self) -> Result<(), BundleError> {
        let Some(log) = self.bundle.logs.last() else { return Err(BundleError::NotOne) };
        let (said, hash) = self.due;
        let found = log.records.len() as u64;
        if found != said || found == 0 {
            return Err(BundleError::Count { session: log.session.clone(), said, found });
        }
        if log.hash != hash {
            let why = "the bundle's header names another hash for the end of its log".into();
            return Err(BundleError::Record { session: log.session.clone(), seq: found, why });
        }
        Ok(())
    }

    fn piece(&mut self, piece: Piece) -> Result<(), BundleError> {
        let Piece { blob, offset, base64 } = piece;
        if offset == 0 {
            self.log_ended()?;
            self.blob_ended()?;
            if !self.known.insert(blob) {
                return Err(BundleError::Blob(blob));
            }
            self.open = Some((blob, 0, blake3::Hasher::new()));
        }
        let Some((open, size, hasher)) = &mut self.open else { return Err(BundleError::Blob(blob)) };
        let bytes = STANDARD.decode(&base64).map_err(|_| BundleError::Blob(blob))?;
        if *open != blob || *size != offset || bytes.len() as u64 > PIECE {
            return Err(BundleError::Blob(blob));
        }
        hasher.update(&bytes);
        *size += bytes.len() as u64;
        if let Some(kept) = self.manifests.get_mut(&blob) {
            kept.extend_from_slice(&bytes);
        }
        Ok(())
    }

    fn blob_ended(&mut self) -> Result<(), BundleError> {
        let Some((blob, size, hasher)) = self.open.take() else { return Ok(()) };
        if hasher.finalize().as_bytes() != &blob.0 {
            return Err(BundleError::Blob(blob));
        }
        self.bundle.blobs.push((blob, size));
        Ok(())
    }

    /// What one part of a bundle says of another.
    fn finish(self) -> Result<Bundle, BundleError> {
        let Self { bundle, known, manifests, .. } = self;
        for log in &bundle.logs {
            for record in &log.records {
                let missing = |hash: Digest| BundleError::BlobMissing {
                    hash,
                    session: log.session.clone(),
                    seq: record.seq,
                };
                if let Some(hash) = blob_refs(&record.body).into_iter().find(|hash| !known.contains(hash)) {
                    return Err(missing(hash));
                }
                let Some(bytes) = manifest_of(record).and_then(|hash| manifests.get(&hash)) else { continue };
                let manifest: Manifest =
                    serde_json::from_slice(bytes).map_err(|error| BundleError::Record {
                        session: log.session.clone(),
                        seq: record.seq,
                        why: format!("its prompt manifest cannot be decoded: {error}"),
                    })?;
                let parts = manifest.parts.iter().map(|part| part.text.hash);
                let mut all = parts.chain(manifest.tools.iter().map(|tool| tool.spec.hash));
                if let Some(hash) = all.find(|hash| !known.contains(hash)) {
                    return Err(missing(hash));
                }
            }
        }
        for pair in bundle.logs.windows(2) {
            let [child, shared] = pair else { continue };
            let parent = parent_of(child);
            let end = (&shared.session, shared.records.len() as u64, shared.hash);
            if parent.is_none_or(|parent| (&parent.session, parent.seq, parent.hash) != end) {
                let why = format!("it does not fork from the end of `{}`", shared.session);
                return Err(BundleError::Record { session: child.session.clone(), seq: 1, why });
            }
        }
        Ok(bundle)
    }
}

impl BundleLog {
    /// Where this log forks from another.
    pub fn parent(&self) -> Option<&sterna_model::Parent> {
        parent_of(self)
    }
}

fn parent_of(log: &BundleLog) -> Option<&sterna_model::Parent> {
    match log.records.first().map(|record| &record.body) {
        Some(Body::SessionOpened(opened)) => opened.parent.as_ref(),
        _ => None,
    }
}

fn manifest_of(record: &Record) -> Option<Digest> {
    match &record.body {
        Body::Intent(intent) => intent.what.request().map(|model| model.manifest),
        _ => None,
    }
}

/// What the first line of every version of the file holds.
const MARK: &[u8] = b"\"sterna_export\":";
/// A line's bytes at most: a record's whole body stands on one.
const MAX_LINE: u64 = 256 << 20;
/// Blobs up to this size are put as one.
const SMALL: u64 = 1 << 20;
/// How many of them go together.
const TOGETHER: usize = 128;
