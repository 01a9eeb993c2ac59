//! `sessions fsck`: chains, encodings, blobs; and indexes made anew.

use std::collections::HashSet;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde_json::json;
use sterna::LocalCheckpoints;
use sterna_log::{Filter, HISTORY_PAGE, Log, Page, verify};
use sterna_model::{Body, Digest, SessionId};
use sterna_sqlite::SqliteStore;

use crate::context::Context;
use crate::failure::{FAILED, Failure};
use crate::print::{Style, one_line};

#[derive(Debug, Args)]
pub struct FsckArgs {
    /// The sessions to check; all without one
    ids: Vec<String>,
    /// One object a session
    #[arg(long)]
    json: bool,
    /// First make lists, totals, keys and the search index anew from the records
    #[arg(long)]
    rebuild_indexes: bool,
}

pub async fn fsck(cx: &Context, args: FsckArgs) -> Result<ExitCode, Failure> {
    let asked = args.ids.iter().map(|id| SessionId::new(id)).collect::<Result<Vec<_>, _>>()?;
    let store = match (cx.store_if_there()?, asked.first()) {
        (Some(store), _) => store,
        (None, Some(id)) => return Err(sterna_log::LogError::NotFound(id.clone()).into()),
        (None, None) => {
            cx.print.note(&format!("there is no store in {}", cx.places.data.display()));
            return Ok(ExitCode::SUCCESS);
        }
    };
    let mut damaged = false;
    if args.rebuild_indexes {
        let rebuilt = store.rebuild_indexes().await?;
        cx.print.note(&format!(
            "indexes made anew from {} records of {} sessions",
            rebuilt.records, rebuilt.sessions
        ));
        damaged |= !rebuilt.damaged.is_empty();
    }
    let store = Arc::new(store);
    let ids = if asked.is_empty() { all(&store).await? } else { asked };
    let checkpoints_of = Arc::new(cx.checkpoints(store.clone()));
    let mut known = HashSet::new();
    let many = ids.len();
    let mut bad = 0;
    for id in ids {
        // A damage that keeps a session from being read is a finding, not the end of the check.
        let mut found = match verify(&*store, &*store, &id).await {
            Ok(found) => found,
            Err(error @ (sterna_log::LogError::NotFound(_) | sterna_log::LogError::Tombstone(_))) => {
                return Err(error.into());
            }
            Err(error) => {
                bad += 1;
                report(cx, args.json, &id, 0, Some((1, error.to_string())), None)?;
                continue;
            }
        };
        if found.first_bad.is_none() {
            found.first_bad = checkpoints(&checkpoints_of, &store, &id, &mut known).await?;
        }
        bad += usize::from(found.first_bad.is_some());
        report(cx, args.json, &id, found.records, found.first_bad, Some(found.last_hash.to_string()))?;
    }
    damaged |= bad > 0;
    if many > 1 {
        cx.print.note(&format!("{many} sessions checked, {bad} damaged"));
    }
    Ok(if damaged { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

/// The first record whose checkpoint cannot be restored whole, and why.
async fn checkpoints(
    keeper: &Arc<LocalCheckpoints>,
    store: &SqliteStore,
    id: &SessionId,
    known: &mut HashSet<Digest>,
) -> Result<Option<(u64, String)>, Failure> {
    let mut from = 1;
    loop {
        let page = store.read(id, from, HISTORY_PAGE).await?;
        let Some(last) = page.last() else { return Ok(None) };
        from = last.record.seq + 1;
        for sealed in page {
            let Body::CheckpointTaken(taken) = sealed.record.body else { continue };
            let (keeper, mut seen) = (keeper.clone(), std::mem::take(known));
            let looked =
                tokio::task::spawn_blocking(move || (keeper.damage(&taken.manifest, &mut seen), seen));
            let (found, seen) = looked.await.map_err(|error| Failure::failed(error.to_string()))?;
            *known = seen;
            if let Some(detail) = found.unwrap_or_else(|fault| Some(fault.to_string())) {
                return Ok(Some((sealed.record.seq, format!("its checkpoint is not whole: {detail}"))));
            }
        }
    }
}

fn report(
    cx: &Context,
    json: bool,
    id: &SessionId,
    records: u64,
    first_bad: Option<(u64, String)>,
    hash: Option<String>,
) -> Result<(), Failure> {
    if json {
        let bad = first_bad.as_ref().map(|(seq, detail)| json!({"seq": seq, "detail": detail}));
        let row =
            json!({"session": id, "ok": bad.is_none(), "records": records, "first_bad": bad, "hash": hash});
        return cx.print.json(&row);
    }
    let line = match first_bad {
        None => format!("{id}  {}  {records} records", cx.print.paint("whole", Style::Green)),
        Some((seq, detail)) => {
            let what = cx.print.paint("damaged", Style::Red);
            format!(
                "{id}  {what} at record {seq}: {}; {records} records before it are whole",
                one_line(&detail, 500)
            )
        }
    };
    cx.print.line(&line)
}

async fn all(store: &SqliteStore) -> Result<Vec<SessionId>, Failure> {
    let mut ids = Vec::new();
    let mut page = Page { after: None, limit: 500 };
    loop {
        let rows = store.list(&Filter::default(), page.clone()).await?;
        let Some(last) = rows.last() else { return Ok(ids) };
        page.after = Some(last.id.clone());
        ids.extend(rows.into_iter().map(|row| row.id));
    }
}
