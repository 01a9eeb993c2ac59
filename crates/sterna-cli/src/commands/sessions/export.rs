//! `sessions export`: a session as a bundle, on stdout or in a new file.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use sterna_import::{WriteError, Written, write_bundle};
use sterna_log::{Head, Log, LogError};
use sterna_model::SessionId;
use sterna_sqlite::SqliteStore;

use crate::context::Context;
use crate::failure::Failure;
use crate::print::Print;

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The session
    id: String,
    /// Write a new file instead of stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub async fn export(cx: &Context, args: ExportArgs) -> Result<ExitCode, Failure> {
    let id = SessionId::new(&args.id)?;
    let store = cx.store_of(&id)?;
    let head = store.head(&id).await?;
    let mut out = Out { print: cx.print, file: None, failed: None };
    let Some(path) = &args.output else {
        write(&store, &id, &head, &mut out).await?;
        // What is left in the stream.
        cx.print.out("")?;
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
        Ok(written) => out.sync().map(|()| written),
        Err(failure) => Err(failure),
    };
    let Written { records, shared, blobs } = written.inspect_err(|_| {
        // Half an export is none; what cannot be removed lacks its last line.
        let _ = std::fs::remove_file(path);
    })?;
    let history = match shared {
        0 => String::new(),
        n => format!(", the history that it shares with {n} other sessions,"),
    };
    cx.print.note(&format!("{records} records{history} and {blobs} blobs written to {}", path.display()));
    Ok(ExitCode::SUCCESS)
}

async fn write(store: &SqliteStore, id: &SessionId, head: &Head, out: &mut Out) -> Result<Written, Failure> {
    let written =
        write_bundle(store, store, id, head, env!("CARGO_PKG_VERSION"), &mut |bytes| out.put(bytes)).await;
    written.map_err(|error| match error {
        WriteError::Log(error) => error.into(),
        WriteError::Blob(_) => LogError::Damaged(error.to_string()).into(),
        WriteError::Manifest { .. } => Failure::failed(error.to_string())
            .hint("`sterna sessions fsck` names the records that refer to it"),
        WriteError::Missing { .. } => Failure::failed(error.to_string()),
        WriteError::Out(error) => out.failed.take().unwrap_or_else(|| cannot_write(&error)),
    })
}

/// Stdout or a file.
struct Out {
    print: Print,
    file: Option<File>,
    /// Why stdout took no more.
    failed: Option<Failure>,
}

impl Out {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            return file.write_all(bytes);
        }
        self.print.bytes(bytes).map_err(|failure| {
            self.failed = Some(failure);
            io::Error::from(ErrorKind::BrokenPipe)
        })
    }

    fn sync(&self) -> Result<(), Failure> {
        self.file.as_ref().map_or(Ok(()), |file| file.sync_all().map_err(|error| cannot_write(&error)))
    }
}

fn cannot_write(error: &io::Error) -> Failure {
    Failure::failed(format!("cannot write the export: {error}"))
        .hint("name a file where there is space; nothing was kept of this one")
}
