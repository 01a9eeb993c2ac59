//! `sessions export`: a session's own records as JSON lines, with the chain that proves them.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use sterna_log::{HISTORY_PAGE, Log, prev_of_first};
use sterna_model::SessionId;

use crate::context::Context;
use crate::failure::Failure;

/// The version of the file.
const EXPORT_VERSION: u32 = 1;

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The session
    id: String,
    /// Write a new file instead of stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// The first line is `{"sterna_export":1,…}`; then each record is `{"seq","prev","hash","record"}`. Blobs that records
/// refer to are not in the file.
pub async fn export(cx: &Context, args: ExportArgs) -> Result<ExitCode, Failure> {
    let id = SessionId::new(&args.id)?;
    let store = cx.store_of(&id)?;
    let head = store.head(&id).await?;
    let mut file = match &args.output {
        Some(path) => {
            let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            Some(made.map_err(|error| {
                match error.kind() {
                    ErrorKind::AlreadyExists => Failure::usage(format!("{} exists already", path.display()))
                        .hint("name another file, or remove that one"),
                    _ => Failure::usage(format!("cannot write {}: {error}", path.display())),
                }
            })?)
        }
        None => None,
    };
    let mut put = |text: String| match &mut file {
        Some(file) => {
            file.write_all(text.as_bytes()).map_err(|error| Failure::failed(format!("cannot write: {error}")))
        }
        None => cx.print.out(&text),
    };
    let header = json!({
        "sterna_export": EXPORT_VERSION,
        "sterna": env!("CARGO_PKG_VERSION"),
        "session": id,
        "records": head.seq,
        "hash": head.hash,
    });
    put(format!("{header}\n"))?;
    let (mut from, mut prev) = (1, None);
    while from <= head.seq {
        let page = store.read(&id, from, HISTORY_PAGE).await?;
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
        }
        put(lines)?;
        match page.last() {
            Some(last) => from = last.record.seq + 1,
            None => return Err(Failure::failed(format!("record {from} of session `{id}` is missing"))),
        }
    }
    if let (Some(file), Some(path)) = (file, &args.output) {
        file.sync_all()
            .map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))?;
        cx.print.note(&format!("{} records written to {}", head.seq, path.display()));
    }
    Ok(ExitCode::SUCCESS)
}
