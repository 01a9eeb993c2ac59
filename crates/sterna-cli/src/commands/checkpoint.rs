//! `sterna checkpoint`: when the files of a session's folder were kept.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;
use sterna_log::{HISTORY_PAGE, Log};
use sterna_model::{Body, CheckpointTaken, Record, SessionId};

use crate::context::Context;
use crate::failure::Failure;
use crate::print::one_line;
use crate::render::not_kept;
use crate::table::{moment, table};

#[derive(Debug, Args)]
pub struct CheckpointArgs {
    #[command(subcommand)]
    command: CheckpointCommand,
}

#[derive(Debug, Subcommand)]
enum CheckpointCommand {
    /// Lists the checkpoints of a session, oldest first
    List(ListArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    /// The session
    id: String,
    /// One object a line
    #[arg(long)]
    json: bool,
}

pub async fn checkpoint(cx: &Context, args: CheckpointArgs) -> Result<ExitCode, Failure> {
    match args.command {
        CheckpointCommand::List(args) => list(cx, args).await,
    }
}

async fn list(cx: &Context, args: ListArgs) -> Result<ExitCode, Failure> {
    let id = SessionId::new(&args.id)?;
    let store = cx.store_of(&id)?;
    store.head(&id).await?;
    let (mut from, mut rows) = (1, Vec::new());
    loop {
        let page = store.read(&id, from, HISTORY_PAGE).await?;
        let Some(last) = page.last() else { break };
        from = last.record.seq + 1;
        for record in page.into_iter().map(|sealed| sealed.record) {
            match &record.body {
                Body::CheckpointTaken(taken) if args.json => cx.print.json(&object(&record, taken))?,
                Body::CheckpointTaken(taken) => rows.push(row(&record, taken)),
                Body::CheckpointMissed { root, why } if args.json => {
                    let point = point(&record);
                    let object = json!({"seq": record.seq, "at": record.at, "point": point, "root": root, "missed": why});
                    cx.print.json(&object)?;
                }
                Body::CheckpointMissed { why, .. } => {
                    let missed = format!("none: {}", one_line(why, 200));
                    let dash = || "-".to_owned();
                    rows.push(vec![
                        record.seq.to_string(),
                        point(&record),
                        moment(record.at),
                        dash(),
                        dash(),
                        missed,
                    ]);
                }
                _ => {}
            }
        }
    }
    if args.json {
        return Ok(ExitCode::SUCCESS);
    }
    if rows.is_empty() {
        cx.print
            .note(&format!("session `{id}` has no checkpoints: nothing in it could write, or they were off"));
    } else {
        let head = ["record", "point", "taken", "files", "new bytes", "not kept"];
        cx.print.out(&table(&cx.print, &head, &rows))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn object(record: &Record, taken: &CheckpointTaken) -> serde_json::Value {
    json!({
        "seq": record.seq,
        "at": record.at,
        "point": point(record),
        "root": taken.root,
        "manifest": taken.manifest,
        "files": taken.files,
        "bytes_new": taken.bytes_new,
        "skipped": taken.skipped,
        "skipped_names": taken.skipped_names,
    })
}

fn row(record: &Record, taken: &CheckpointTaken) -> Vec<String> {
    let missed =
        if taken.skipped == 0 { String::new() } else { not_kept(&taken.skipped_names, taken.skipped) };
    vec![
        record.seq.to_string(),
        point(record),
        moment(record.at),
        taken.files.to_string(),
        taken.bytes_new.to_string(),
        missed,
    ]
}

/// The step before which it was taken.
fn point(record: &Record) -> String {
    match (record.turn, record.step) {
        (Some(turn), Some(step)) => format!("{turn}.{step}"),
        _ => "rewind".to_owned(),
    }
}
