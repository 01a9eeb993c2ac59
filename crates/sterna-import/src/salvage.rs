//! What is whole of a damaged log becomes a session of its own; what is lost is told, record by record where it can be
//! read.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use sterna_log::{Fsck, HISTORY_PAGE, Log, LogError, Sealed};
use sterna_model::{Body, Record, Seq, SessionId, TurnNo};

use crate::plan::{Plan, adopt, appends_of, summary};
use crate::rename::Names;
use crate::{ImportError, NewSession};

/// A plan for what is whole, and what is not in it.
#[derive(Debug)]
pub struct Salvage {
    pub plan: Plan,
    pub lost: Lost,
}

/// Records that are not in the new session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lost {
    pub from: Seq,
    /// Inclusive; the head that the session had.
    pub to: Seq,
    pub records: u64,
    /// By kind, of those that can still be read one by one; the rest is `unreadable`.
    pub kinds: BTreeMap<String, u64>,
    /// Turns that the readable ones belong to.
    pub turns: BTreeSet<TurnNo>,
}

/// Plans a new session of the records before the first bad one. `found` is what the check of the log found.
///
/// The new session keeps the folder, and where it forks; what was open at its end is ended.
pub async fn salvage(
    log: &dyn Log,
    session: &SessionId,
    found: &Fsck,
    new: &NewSession,
) -> Result<Salvage, ImportError> {
    let mut records: Vec<Record> = Vec::new();
    while (records.len() as u64) < found.records {
        let next = records.len() as u64 + 1;
        let left = usize::try_from(found.records - next + 1).unwrap_or(usize::MAX);
        let page = log.read(session, next, left.min(HISTORY_PAGE)).await?;
        if page.is_empty() {
            return Err(LogError::NotFound(session.clone()).into());
        }
        records.extend(page.into_iter().map(|Sealed { record, .. }| record));
    }
    let lost = lost(log, session, found.records).await?;
    let new = NewSession { folder: None, ..new.clone() };
    let mut names = Names::default();
    names.add(session, &new.id);
    let origin = format!("salvage: session `{session}`, records 1 to {}", found.records);
    let writer = adopt(records, &names, None, &new, origin)?;
    let imported = summary(&writer, Vec::new());
    let id = format!("salvage:{session}:{}", found.last_hash);
    let appends = appends_of(&new.id, &id, writer.drafts, Vec::new())?;
    Ok(Salvage { plan: Plan { appends, imported }, lost })
}

/// What stands after the last whole record.
async fn lost(log: &dyn Log, session: &SessionId, whole: Seq) -> Result<Lost, LogError> {
    let to = log.head(session).await?.seq;
    let mut lost = Lost {
        from: whole + 1,
        to,
        records: to.saturating_sub(whole),
        kinds: BTreeMap::new(),
        turns: BTreeSet::new(),
    };
    let looked_at = to.min(whole.saturating_add(LOOKED_AT));
    for seq in whole + 1..=looked_at {
        let kind = match log.read(session, seq, 1).await {
            // Its own bytes may be whole although what is before it, or what it refers to, is not.
            Ok(page) => page.into_iter().next().map(|sealed| {
                lost.turns.extend(sealed.record.turn);
                kind_of(&sealed.record.body)
            }),
            Err(
                LogError::Corrupt { .. }
                | LogError::Newer { .. }
                | LogError::Damaged(_)
                | LogError::BlobMissing(_),
            ) => None,
            Err(error) => return Err(error),
        };
        *lost.kinds.entry(kind.unwrap_or_else(|| "unreadable".into())).or_default() += 1;
    }
    if to > looked_at {
        *lost.kinds.entry("unreadable".into()).or_default() += to - looked_at;
    }
    Ok(lost)
}

/// The word that a record's body has in the log.
fn kind_of(body: &Body) -> String {
    match serde_json::to_value(body) {
        Ok(serde_json::Value::Object(body)) => body.keys().next().cloned().unwrap_or_default(),
        Ok(_) | Err(_) => "unreadable".into(),
    }
}

/// Lost records that are looked at one by one: a head that is itself damaged may be any number.
const LOOKED_AT: u64 = 100_000;
