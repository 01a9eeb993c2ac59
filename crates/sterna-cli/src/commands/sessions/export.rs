//! `sessions export`: a session's own records as JSON lines with the chain that proves them, and the blobs that they
//! refer to.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::ExitCode;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::json;
use sterna_log::{Blobs, HISTORY_PAGE, Head, Log, LogError, Sealed, blob_refs, prev_of_first};
use sterna_model::{Body, Digest, Intended, Manifest, SessionId};
use sterna_sqlite::SqliteStore;

use crate::context::Context;
use crate::failure::Failure;
use crate::print::Print;

/// The version of the file.
const EXPORT_VERSION: u32 = 1;
/// Bytes of a blob that one line holds, so that the size of a blob is no matter of memory.
const PIECE: u64 = 192 * 1024;

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The session
    id: String,
    /// Write a new file instead of stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// The first line is `{"sterna_export":1,…}`; then each record is `{"seq","prev","hash","record"}`, each piece of a
/// blob `{"blob","offset","base64"}`, and the last line `{"sterna_export_end":1,"blobs","blake3"}` has the hash
/// of every byte before it.
pub async fn export(cx: &Context, args: ExportArgs) -> Result<ExitCode, Failure> {
    let id = SessionId::new(&args.id)?;
    let store = cx.store_of(&id)?;
    let head = store.head(&id).await?;
    let mut out = Out { print: cx.print, file: None, hasher: blake3::Hasher::new() };
    let Some(path) = &args.output else {
        write(&store, &id, &head, &mut out).await?;
        return Ok(ExitCode::SUCCESS);
    };
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    out.file = Some(made.map_err(|error| {
        match error.kind() {
            ErrorKind::AlreadyExists => Failure::usage(format!("{} exists already", path.display()))
                .hint("name another file, or remove that one"),
            _ => Failure::usage(format!("cannot write {}: {error}", path.display()))
                .hint("name a file in a folder that exists and can be written"),
        }
    })?);
    let written = match write(&store, &id, &head, &mut out).await {
        Ok(blobs) => out.sync().map(|()| blobs),
        Err(failure) => Err(failure),
    };
    let blobs = written.inspect_err(|_| {
        // Half an export is none; what cannot be removed lacks its last line.
        let _ = std::fs::remove_file(path);
    })?;
    cx.print.note(&format!("{} records and {blobs} blobs written to {}", head.seq, path.display()));
    Ok(ExitCode::SUCCESS)
}

/// Gives the number of blobs.
async fn write(store: &SqliteStore, id: &SessionId, head: &Head, out: &mut Out) -> Result<usize, Failure> {
    let header = json!({
        "sterna_export": EXPORT_VERSION,
        "sterna": env!("CARGO_PKG_VERSION"),
        "session": id,
        "records": head.seq,
        "hash": head.hash,
    });
    out.put(&format!("{header}\n"))?;
    let mut needed = Needed::default();
    let (mut from, mut prev) = (1, None);
    while from <= head.seq {
        let page = store.read(id, from, HISTORY_PAGE).await?;
        let mut lines = String::new();
        for sealed in page.iter().filter(|sealed| sealed.record.seq <= head.seq) {
            let before = prev.unwrap_or_else(|| prev_of_first(&sealed.record));
            let line = json!({
                "seq": sealed.record.seq,
                "prev": before,
                "hash": sealed.hash,
                "record": sealed.record,
            });
            lines.push_str(&format!("{line}\n"));
            prev = Some(sealed.hash);
            needed.by(store, sealed).await?;
        }
        out.put(&lines)?;
        match page.last() {
            Some(last) => from = last.record.seq + 1,
            None => return Err(Failure::failed(format!("record {from} of session `{id}` is missing"))),
        }
    }
    for hash in &needed.blobs {
        write_blob(store, hash, out).await?;
    }
    let blobs = needed.blobs.len();
    let all = out.hasher.finalize().to_hex();
    let end = json!({ "sterna_export_end": EXPORT_VERSION, "blobs": blobs, "blake3": all.as_str() });
    out.put(&format!("{end}\n"))?;
    Ok(blobs)
}

/// Blobs that the records refer to, each once, in the order in which they are first named.
#[derive(Default)]
struct Needed {
    blobs: Vec<Digest>,
    seen: HashSet<Digest>,
}

impl Needed {
    async fn by(&mut self, store: &SqliteStore, sealed: &Sealed) -> Result<(), Failure> {
        // Checkpoints hold whatever lies in a workspace, secrets too: they stay in their store.
        if matches!(&sealed.record.body, Body::CheckpointTaken(_) | Body::Rewound(_)) {
            return Ok(());
        }
        for hash in blob_refs(&sealed.record.body) {
            self.add(hash);
        }
        let Body::Intent(intent) = &sealed.record.body else { return Ok(()) };
        let Intended::Model(model) = &intent.what else { return Ok(()) };
        let manifest = serde_json::from_slice::<Manifest>(&store.get(&model.manifest).await?);
        let manifest = manifest.map_err(|error| {
            Failure::failed(format!("the prompt manifest {} cannot be decoded: {error}", model.manifest))
                .hint("`sterna sessions fsck` names the records that refer to it")
        })?;
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
async fn write_blob(store: &SqliteStore, hash: &Digest, out: &mut Out) -> Result<(), Failure> {
    let mut hasher = blake3::Hasher::new();
    let mut offset = 0;
    loop {
        let piece = store.get_range(hash, offset, PIECE).await?;
        if piece.is_empty() && offset > 0 {
            break;
        }
        hasher.update(&piece);
        let line = json!({ "blob": hash, "offset": offset, "base64": STANDARD.encode(&piece) });
        out.put(&format!("{line}\n"))?;
        offset += piece.len() as u64;
        if (piece.len() as u64) < PIECE {
            break;
        }
    }
    if hasher.finalize().as_bytes() != &hash.0 {
        let text = format!("blob {hash} holds other bytes than it was given; restore it from a backup");
        return Err(LogError::Damaged(text).into());
    }
    Ok(())
}

/// Stdout or a file, and the hash of what went there.
struct Out {
    print: Print,
    file: Option<File>,
    hasher: blake3::Hasher,
}

impl Out {
    fn put(&mut self, text: &str) -> Result<(), Failure> {
        self.hasher.update(text.as_bytes());
        match &mut self.file {
            Some(file) => file.write_all(text.as_bytes()).map_err(|error| cannot_write(&error)),
            None => self.print.out(text),
        }
    }

    fn sync(&self) -> Result<(), Failure> {
        self.file.as_ref().map_or(Ok(()), |file| file.sync_all().map_err(|error| cannot_write(&error)))
    }
}

fn cannot_write(error: &std::io::Error) -> Failure {
    Failure::failed(format!("cannot write the export: {error}"))
        .hint("name a file where there is space; nothing was kept of this one")
}
