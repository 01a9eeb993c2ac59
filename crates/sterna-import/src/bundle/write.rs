//! Writing a bundle. What is not whole is not written: the closing line comes last, and only if all of it was there.

use std::collections::HashSet;
use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use sterna_log::{Blobs, HISTORY_PAGE, Head, Log, LogError, Sealed, blob_refs, prev_of_first};
use sterna_model::{Body, Digest, Manifest, Parent, Seq, SessionId};

use super::{EXPORT_VERSION, PIECE};

/// What went into a bundle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// The session's own records.
    pub records: u64,
    /// Logs that it shares history with.
    pub shared: usize,
    pub blobs: usize,
}

/// Why a bundle was not written to its end.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("record {seq} of session `{session}` is missing")]
    Missing { session: SessionId, seq: Seq },
    #[error("the prompt manifest {hash} cannot be decoded: {why}")]
    Manifest { hash: Digest, why: String },
    #[error("blob {0} holds other bytes than it was given; restore it from a backup")]
    Blob(Digest),
    #[error(transparent)]
    Out(#[from] io::Error),
}

/// Writes a session up to `head`, with the history that it shares, to `out`.
pub async fn write_bundle(
    log: &dyn Log,
    blobs: &dyn Blobs,
    session: &SessionId,
    head: &Head,
    sterna: &str,
    out: &mut (dyn FnMut(&[u8]) -> io::Result<()> + Send),
) -> Result<Written, WriteError> {
    let mut out = Out { out, hasher: blake3::Hasher::new() };
    out.line(&json!({
        "sterna_export": EXPORT_VERSION,
        "sterna": sterna,
        "session": session,
        "records": head.seq,
        "hash": head.hash,
    }))?;
    let mut needed = Needed::default();
    let mut parent = write_log(log, blobs, session, head.seq, &mut needed, &mut out).await?;
    let mut written = Written { records: head.seq, ..Written::default() };
    let mut seen = HashSet::from([session.clone()]);
    while let Some(shared) = parent.take() {
        if !seen.insert(shared.session.clone()) {
            let detail = format!("it forks from `{}`, which forks from it", shared.session);
            return Err(LogError::Corrupt { session: session.clone(), seq: 1, detail }.into());
        }
        out.line(&json!({ "log": shared.session, "records": shared.seq, "hash": shared.hash }))?;
        parent = write_log(log, blobs, &shared.session, shared.seq, &mut needed, &mut out).await?;
        written.shared += 1;
    }
    for hash in &needed.blobs {
        write_blob(blobs, hash, &mut out).await?;
    }
    written.blobs = needed.blobs.len();
    let all = out.hasher.finalize().to_hex();
    out.line(&json!({
        "sterna_export_end": EXPORT_VERSION, "blobs": written.blobs, "blake3": all.as_str(),
    }))?;
    Ok(written)
}

/// Writes the records 1 to `to` of one log, and gives where it forks.
async fn write_log(
    log: &dyn Log,
    blobs: &dyn Blobs,
    session: &SessionId,
    to: Seq,
    needed: &mut Needed,
    out: &mut Out<'_>,
) -> Result<Option<Parent>, WriteError> {
    let (mut from, mut prev, mut parent) = (1, None, None);
    while from <= to {
        let page = log.read(session, from, HISTORY_PAGE).await?;
        for sealed in page.iter().filter(|sealed| sealed.record.seq <= to) {
            let before = prev.unwrap_or_else(|| prev_of_first(&sealed.record));
            out.line(&json!({
                "seq": sealed.record.seq,
                "prev": before,
                "hash": sealed.hash,
                "record": sealed.record,
            }))?;
            prev = Some(sealed.hash);
            needed.by(blobs, sealed).await?;
            if let Body::SessionOpened(opened) = &sealed.record.body {
                parent.clone_from(&opened.parent);
            }
        }
        match page.last() {
            Some(last) => from = last.record.seq + 1,
            None => return Err(WriteError::Missing { session: session.clone(), seq: from }),
        }
    }
    Ok(parent)
}

/// Blobs that the records refer to, each once, in the order in which they are first named.
#[derive(Default)]
struct Needed {
    blobs: Vec<Digest>,
    seen: HashSet<Digest>,
}

impl Needed {
    async fn by(&mut self, blobs: &dyn Blobs, sealed: &Sealed) -> Result<(), WriteError> {
        for hash in blob_refs(&sealed.record.body) {
            self.add(hash);
        }
        let Body::Intent(intent) = &sealed.record.body else { return Ok(()) };
        let Some(model) = intent.what.request() else { return Ok(()) };
        let manifest = serde_json::from_slice::<Manifest>(&blobs.get(&model.manifest).await?);
        let manifest = manifest
            .map_err(|error| WriteError::Manifest { hash: model.manifest, why: error.to_string() })?;
        manifest.parts.iter().for_each(|part| self.add(part.text.hash));
        manifest.tools.iter().for_each(|tool| self.add(tool.spec.hash));
        Ok(())
    }

    fn add(&mut self, hash: Digest) {
        if self.seen.insert(hash) {
            self.blobs.push(hash);
        }
    }
}

/// Piece by piece, and the whole is proved at its end: what does not hash to its name is no export.
async fn write_blob(blobs: &dyn Blobs, hash: &Digest, out: &mut Out<'_>) -> Result<(), WriteError> {
    let mut hasher = blake3::Hasher::new();
    let mut offset = 0;
    loop {
        let piece = blobs.get_range(hash, offset, PIECE).await?;
        if piece.is_empty() && offset > 0 {
            break;
        }
        hasher.update(&piece);
        out.line(&json!({ "blob": hash, "offset": offset, "base64": STANDARD.encode(&piece) }))?;
        offset += piece.len() as u64;
        if (piece.len() as u64) < PIECE {
            break;
        }
    }
    if hasher.finalize().as_bytes() == &hash.0 { Ok(()) } else { Err(WriteError::Blob(*hash)) }
}

/// Where the bytes go, and the hash of what went there.
struct Out<'a> {
    out: &'a mut (dyn FnMut(&[u8]) -> io::Result<()> + Send),
    hasher: blake3::Hasher,
}

impl Out<'_> {
    fn line(&mut self, line: &serde_json::Value) -> io::Result<()> {
        let text = format!("{line}\n");
        self.hasher.update(text.as_bytes());
        (self.out)(text.as_bytes())
    }
}
