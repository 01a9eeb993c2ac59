//! `sterna context`: what the model saw, and whose it is.

use std::process::ExitCode;

use clap::Args;
use sterna_log::SharedLog;
use sterna_model::{Seq, SessionId};
use sterna_runtime::{ContextDiff, ContextReport, Owned, Parts};

use crate::context::Context;
use crate::failure::Failure;
use crate::point::Point;
use crate::setup;
use crate::table::table;

#[derive(Debug, Args)]
pub struct ContextArgs {
    /// The session; without it the newest of this folder
    session: Option<String>,
    /// The request at this point: a record's number, or TURN.STEP
    #[arg(long, value_name = "POINT")]
    at: Option<String>,
    /// What changed from the request at one point to that at another, and what it did to the prompt cache
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with = "at")]
    diff: Option<Vec<String>>,
    /// One object
    #[arg(long)]
    json: bool,
}

pub async fn context(cx: &Context, args: ContextArgs) -> Result<ExitCode, Failure> {
    let id = match &args.session {
        Some(id) => SessionId::new(id)?,
        None => newest(cx).await?,
    };
    let store = cx.store_of(&id)?;
    sterna_log::Log::head(&store, &id).await?;
    let at = async |point: &str| Point::parse(&format!("{id}@{point}"))?.seq(&store).await;
    let points: Vec<Option<Seq>> = match (&args.diff, &args.at) {
        (Some(two), _) => vec![at(&two[0]).await?, at(&two[1]).await?],
        (None, Some(point)) => vec![at(point).await?],
        (None, None) => vec![None],
    };
    let runtime = cx.quiet_runtime(store);
    let mut reports = Vec::new();
    for point in points {
        reports.push(report(runtime.parts(), &id, point).await?);
    }
    match &reports[..] {
        [before, after] => {
            let diff = after.since(before);
            if args.json { cx.print.json(&diff)? } else { show_diff(cx, &diff)? }
        }
        _ if args.json => cx.print.json(&reports[0])?,
        _ => show(cx, &reports[0])?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn newest(cx: &Context) -> Result<SessionId, Failure> {
    let rows = match cx.store_if_there()? {
        Some(store) => {
            let log: SharedLog = std::sync::Arc::new(store);
            setup::sessions_here(cx, &log, None, 1).await?
        }
        None => Vec::new(),
    };
    rows.into_iter().next().map(|row| row.id).ok_or_else(|| {
        Failure::usage(format!("there is no session of {}", cx.cwd.display()))
            .hint("`sterna sessions list` shows those of other folders")
    })
}

async fn report(parts: &Parts, id: &SessionId, at: Option<Seq>) -> Result<ContextReport, Failure> {
    sterna_runtime::context(parts, id, at).await?.ok_or_else(|| {
        Failure::usage(format!("session `{id}` has sent no request there that can be derived"))
            .hint("`sterna sessions show` lists its steps")
    })
}

fn show(cx: &Context, report: &ContextReport) -> Result<(), Failure> {
    let rows: Vec<Vec<String>> = report
        .rows
        .iter()
        .filter(|row| row.owned.bytes > 0)
        .map(|row| {
            let cached = if row.cached { "cached" } else { "" };
            vec![
                row.owned.layer.word().to_owned(),
                row.tokens.to_string(),
                row.owned.bytes.to_string(),
                cached.to_owned(),
                row.owned.owner.clone(),
            ]
        })
        .collect();
    cx.print.out(&table(&cx.print, &["part", "tokens", "bytes", "cache", "owner"], &rows))?;
    let about = if report.counted { "" } else { "about " };
    let (tokens, bytes, room) = (report.tokens, report.bytes, report.room());
    cx.print.line(&format!(
        "{} record {} (turn {}, step {}), {}: {about}{tokens} tokens in {bytes} bytes, {} of them from the cache, room for {room}",
        report.session, report.seq, report.turn, report.step, report.route, report.cached
    ))?;
    Ok(())
}

fn show_diff(cx: &Context, diff: &ContextDiff) -> Result<(), Failure> {
    let row = |mark: &str, row: &Owned| {
        vec![mark.to_owned(), row.layer.word().to_owned(), row.bytes.to_string(), row.owner.clone()]
    };
    let gone = diff.removed.iter().map(|owned| row("-", owned));
    let rows: Vec<Vec<String>> = gone.chain(diff.added.iter().map(|owned| row("+", owned))).collect();
    cx.print.out(&table(&cx.print, &["", "part", "bytes", "owner"], &rows))?;
    let cache = match &diff.broken_by {
        None => "the history only grew, so the prompt cache holds".to_owned(),
        Some(why) => format!("the prompt cache starts anew after about {} tokens: {why}", diff.kept_tokens),
    };
    let (before, after) = diff.bytes;
    cx.print
        .line(&format!("records {} to {}: {before} bytes became {after}; {cache}", diff.from, diff.to))?;
    Ok(())
}
