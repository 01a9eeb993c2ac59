//! `sessions fsck`: chains, encodings, blobs and indexes; indexes made anew, and what is whole of a damaged log saved.

use std::collections::HashSet;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};
use sterna::{LocalCheckpoints, SystemEnv};
use sterna_import::{ImportError, Lost, Plan, Salvage, salvage};
use sterna_log::{DamageKind, Filter, Fsck, HISTORY_PAGE, Log, LogError, Page, verify};
use sterna_model::{Body, Digest, SessionId};
use sterna_sqlite::{SqliteStore, StaleIndex};

use super::import::{ended, must_be_new, new_session, taken};
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
    /// Make a new session of what comes before the first bad record
    #[arg(long, requires = "ids")]
    salvage: bool,
    /// The id of the new session
    #[arg(long, value_name = "NEW", requires = "salvage")]
    id: Option<String>,
}

pub async fn fsck(cx: &Context, args: FsckArgs) -> Result<ExitCode, Failure> {
    if args.salvage && args.ids.len() != 1 {
        return Err(Failure::usage("--salvage is for one session").hint("name one"));
    }
    let asked = args.ids.iter().map(|id| SessionId::new(id)).collect::<Result<Vec<_>, _>>()?;
    let store = match (cx.store_if_there()?, asked.first()) {
        (Some(store), _) => store,
        (None, Some(id)) => return Err(LogError::NotFound(id.clone()).into()),
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
    let ids = if asked.is_empty() { all(&store).await? } else { asked };
    let keeper = Arc::new(cx.checkpoints(Arc::new(store.clone())));
    let mut known = HashSet::new();
    let many = ids.len();
    let mut bad = 0;
    for id in ids {
        let mut found = check(&store, &id).await?;
        let stale = stale_indexes(&store, &id, &found).await?;
        bad += usize::from(found.first_bad.is_some() || !stale.is_empty());
        if args.salvage {
            return save(cx, &store, &args, &id, &found).await;
        }
        // The session is whole without its checkpoints: nothing of it need be salvaged.
        if found.first_bad.is_none()
            && let Some((seq, detail, kind)) = checkpoints(&keeper, &store, &id, &mut known).await?
        {
            bad += usize::from(stale.is_empty());
            (found.first_bad, found.kind) = (Some((seq, detail)), Some(kind));
        }
        report(cx, args.json, &id, &found, &stale)?;
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
) -> Result<Option<(u64, String, DamageKind)>, Failure> {
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
            let (detail, kind) = match found {
                Ok(None) => continue,
                Ok(Some(error @ LogError::BlobMissing(_))) => (error.to_string(), DamageKind::MissingBlob),
                Ok(Some(error)) => (error.to_string(), DamageKind::ChangedBlob),
                Err(fault) => (fault.to_string(), DamageKind::MissingBlob),
            };
            return Ok(Some((sealed.record.seq, format!("its checkpoint is not whole: {detail}"), kind)));
        }
    }
}

/// A damage that keeps a session from being read is a finding, not the end of the check.
async fn check(store: &SqliteStore, id: &SessionId) -> Result<Fsck, Failure> {
    match verify(store, store, id).await {
        Ok(found) => Ok(found),
        Err(error @ (LogError::NotFound(_) | LogError::Tombstone(_))) => Err(error.into()),
        Err(error) => Ok(Fsck {
            records: 0,
            first_bad: Some((1, error.to_string())),
            kind: Some(DamageKind::UnreadableRecord),
            last_hash: Digest::ZERO,
        }),
    }
}

async fn stale_indexes(
    store: &SqliteStore,
    id: &SessionId,
    found: &Fsck,
) -> Result<Vec<StaleIndex>, Failure> {
    match store.check_indexes(id).await {
        Ok(stale) => Ok(stale),
        // The check of the records has told of it.
        Err(_) if found.first_bad.is_some() => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

fn report(
    cx: &Context,
    json: bool,
    id: &SessionId,
    found: &Fsck,
    stale: &[StaleIndex],
) -> Result<(), Failure> {
    if json {
        return cx.print.json(&row(id, found, stale));
    }
    let records = found.records;
    let line = match &found.first_bad {
        None if stale.is_empty() => {
            format!("{id}  {}  {records} records", cx.print.paint("whole", Style::Green))
        }
        None => {
            let what = cx.print.paint("deleted index", Style::Red);
            let which: Vec<String> =
                stale.iter().map(|stale| format!("{}: {}", stale.index, stale.detail)).collect();
            format!("{id}  {what}  {}; {records} records are whole", which.join("; "))
        }
        Some((seq, detail)) => {
            let what = cx.print.paint("damaged", Style::Red);
            format!(
                "{id}  {what} at record {seq}: {}: {}; {records} records before it are whole",
                found.kind.map_or("damage", DamageKind::words),
                one_line(detail, 500)
            )
        }
    };
    cx.print.line(&line)?;
    if found.first_bad.is_none() && !stale.is_empty() {
        cx.print.hint("`sterna sessions fsck --rebuild-indexes` makes it anew; nothing is lost");
    }
    Ok(())
}

fn row(id: &SessionId, found: &Fsck, stale: &[StaleIndex]) -> Value {
    let bad = found.first_bad.as_ref().map(|(seq, detail)| json!({"seq": seq, "detail": detail}));
    let kind = match found.kind {
        Some(kind) => json!(kind),
        None if !stale.is_empty() => json!("deleted_index"),
        None => Value::Null,
    };
    let stale: Vec<Value> =
        stale.iter().map(|stale| json!({"index": stale.index, "detail": stale.detail})).collect();
    let hash = (found.last_hash != Digest::ZERO).then_some(found.last_hash);
    json!({
        "session": id,
        "ok": bad.is_none() && stale.is_empty(),
        "records": found.records,
        "kind": kind,
        "first_bad": bad,
        "stale_indexes": stale,
        "hash": hash,
    })
}

/// Makes a session of what is whole, and tells what is not in it.
async fn save(
    cx: &Context,
    store: &SqliteStore,
    args: &FsckArgs,
    id: &SessionId,
    found: &Fsck,
) -> Result<ExitCode, Failure> {
    let Some((seq, detail)) = &found.first_bad else {
        return Err(Failure::usage(format!("session `{id}` is whole: there is nothing to salvage"))
            .hint(format!("`sterna sessions fork {id}` makes another session of it")));
    };
    if found.records == 0 {
        return Err(Failure::failed(format!(
            "no record of session `{id}` is whole: {}",
            one_line(detail, 500)
        ))
        .hint("restore the store from a backup, or import an export of the session"));
    }
    let asked = args.id.as_deref().map(SessionId::new).transpose()?;
    let new = new_session(cx, &SystemEnv::new(&[], Vec::new()), asked, None);
    must_be_new(store, &new.id).await?;
    let saved = salvage(store, id, found, &new).await.map_err(|error| match error {
        ImportError::Log(error) => error.into(),
        other => Failure::failed(other.to_string()),
    })?;
    let Salvage { plan: Plan { appends, imported }, lost } = saved;
    store.append_all(appends).await.map_err(|error| taken(error, &new.id))?;
    if args.json {
        let mut row = row(id, found, &[]);
        row["salvaged"] = json!(imported);
        row["lost"] = json!(lost);
        cx.print.json(&row)?;
        return Ok(ExitCode::SUCCESS);
    }
    cx.print.line(imported.session.as_str())?;
    let kind = found.kind.map_or("damage", DamageKind::words);
    cx.print.note(&format!("record {seq} is damaged: {kind}: {}", one_line(detail, 500)));
    cx.print.note(&format!("saved: records 1 to {} of session `{id}`", found.records));
    cx.print.note(&format!("lost: {}", lost_words(&lost)));
    ended(cx, &imported);
    Ok(ExitCode::SUCCESS)
}

fn lost_words(lost: &Lost) -> String {
    let kinds: Vec<String> = lost.kinds.iter().map(|(kind, count)| format!("{count} × {kind}")).collect();
    let turns: Vec<String> = lost.turns.iter().map(u64::to_string).collect();
    let of = if turns.is_empty() { String::new() } else { format!(", of turn {}", turns.join(", ")) };
    match lost.records {
        0 => "nothing that the session's head counts".to_owned(),
        n => format!("{n} records, {} to {}: {}{of}", lost.from, lost.to, kinds.join(", ")),
    }
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
