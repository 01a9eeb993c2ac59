//! The search of what people and models said in other sessions.

use std::collections::{BTreeMap, BTreeSet};

use sterna_log::{
    Filter, Hit, IndexDelta, IndexedText, Log, LogError, Page, SNIPPET_BYTES, is_reserved, snippet, words,
};
use sterna_model::{Body, Seq, SessionId};
use sterna_tool::{MemoryError, MemoryPlace, PastEntry, PastHit};

use crate::rank::is_common;

/// Where this was said, best first.
pub(crate) async fn search(
    log: &dyn Log,
    at: &MemoryPlace,
    query: &str,
    limit: usize,
) -> Result<Vec<PastHit>, MemoryError> {
    let wanted: BTreeSet<String> = words(query).filter(|word| !is_common(word)).take(WORDS).collect();
    let wanted: Vec<String> = wanted.into_iter().collect();
    if wanted.is_empty() || limit == 0 {
        return Ok(Vec::new());
    }
    others(log, at.session.as_ref(), &at.root, &wanted, limit).await
}

/// In the other sessions of the project.
async fn others(
    log: &dyn Log,
    own: Option<&SessionId>,
    root: &str,
    wanted: &[String],
    limit: usize,
) -> Result<Vec<PastHit>, MemoryError> {
    let mut place = Place { log, own, root, known: BTreeMap::new(), titles: BTreeMap::new() };
    let mut found = place.hits(&wanted.join(" "), limit).await?;
    if found.len() < limit && wanted.len() > 1 {
        // Not all of the words stand in one text: those with most of them, the rarest first.
        let mut lists = Vec::new();
        for word in wanted {
            lists.push(place.hits(word, SOME).await?);
        }
        for hit in joined(&lists) {
            if !found.iter().any(|held| (&held.session, held.seq) == (&hit.session, hit.seq)) {
                found.push(hit);
            }
        }
    }
    found.truncate(limit);
    let mut titled = place.titles(wanted, limit - found.len()).await?;
    titled.retain(|hit| !found.iter().any(|held| held.session == hit.session));
    let mut hits = Vec::with_capacity(found.len());
    for hit in found {
        let title = place.titles.get(&hit.session).cloned();
        hits.push(around(log, hit, title, wanted).await?);
    }
    hits.extend(titled);
    Ok(hits)
}

/// Hits of several searches, best first: each counts the more the fewer its search found.
fn joined(lists: &[Vec<Hit>]) -> Vec<Hit> {
    let mut all: Vec<(Hit, f64)> = Vec::new();
    for list in lists {
        for (rank, hit) in list.iter().enumerate() {
            let score = 1.0 / (list.len() as f64).max(1.0).sqrt() / (rank as f64 + 60.0);
            match all.iter_mut().find(|(held, _)| (&held.session, held.seq) == (&hit.session, hit.seq)) {
                Some((_, sum)) => *sum += score,
                None => all.push((hit.clone(), score)),
            }
        }
    }
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    all.into_iter().map(|(hit, _)| hit).collect()
}

/// The sessions of a project, as far as they were looked at.
struct Place<'a> {
    log: &'a dyn Log,
    own: Option<&'a SessionId>,
    root: &'a str,
    /// Whether a session is one of them.
    known: BTreeMap<SessionId, bool>,
    titles: BTreeMap<SessionId, String>,
}

impl Place<'_> {
    /// Hits in sessions of the place. Those of other places do not count, however many come first.
    async fn hits(&mut self, query: &str, want: usize) -> Result<Vec<Hit>, LogError> {
        let mut ask = want.saturating_mul(4);
        loop {
            let all = self.log.search(query, ask).await?;
            let more = all.len() == ask && ask < MOST_LOOKED_AT;
            let mut found = Vec::new();
            for hit in all {
                if found.len() < want && self.holds(&hit.session).await? {
                    found.push(hit);
                }
            }
            if found.len() >= want || !more {
                return Ok(found);
            }
            ask = ask.saturating_mul(4).min(MOST_LOOKED_AT);
        }
    }

    /// Sessions whose titles hold all the words, newest first.
    async fn titles(&mut self, wanted: &[String], want: usize) -> Result<Vec<PastHit>, LogError> {
        let page = Page { after: None, limit: NEWEST };
        let rows = self.log.list(&Filter::default(), page).await?;
        let mut found = Vec::new();
        for row in rows {
            let Some(title) = row.title else { continue };
            let held: BTreeSet<String> = words(&title).collect();
            let fits = wanted.iter().all(|word| held.contains(word));
            self.titles.insert(row.id.clone(), title.clone());
            if fits && found.len() < want && self.holds(&row.id).await? {
                let text = snippet(&title, wanted);
                let entry = PastEntry { seq: row.head, role: "title".into(), text, matched: true };
                found.push(PastHit { session: row.id, title: Some(title), entries: vec![entry] });
            }
        }
        Ok(found)
    }

    async fn holds(&mut self, session: &SessionId) -> Result<bool, LogError> {
        if let Some(known) = self.known.get(session) {
            return Ok(*known);
        }
        let holds = if self.own == Some(session) || is_reserved(session) {
            false
        } else {
            match self.log.read(session, 1, 1).await {
                Ok(first) => first.first().is_some_and(|first| match &first.record.body {
                    Body::SessionOpened(opened) => opened.root == self.root,
                    _ => false,
                }),
                Err(LogError::NotFound(_) | LogError::Tombstone(_)) => false,
                Err(error) => return Err(error),
            }
        };
        self.known.insert(session.clone(), holds);
        Ok(holds)
    }
}

/// A hit with what was said before and after it.
async fn around(
    log: &dyn Log,
    hit: Hit,
    title: Option<String>,
    wanted: &[String],
) -> Result<PastHit, LogError> {
    let from = hit.seq.saturating_sub(WINDOW).max(1);
    let span = usize::try_from(hit.seq - from + WINDOW + 1).unwrap_or(usize::MAX);
    let read = log.read(&hit.session, from, span).await?;
    let records: Vec<_> = read.into_iter().map(|sealed| sealed.record).collect();
    let texts = IndexDelta::of(&records).texts;
    let entries = match texts.iter().position(|text| text.seq == hit.seq) {
        Some(found) => {
            let first = found.saturating_sub(BEFORE);
            let some = texts.iter().enumerate().skip(first).take(found - first + 1 + AFTER);
            some.map(|(at, text)| entry(text, at == found, wanted)).collect()
        }
        None => vec![matched(hit.seq, hit.role, hit.snippet)],
    };
    Ok(PastHit { session: hit.session, title, entries })
}

fn entry(text: &IndexedText, matched: bool, wanted: &[String]) -> PastEntry {
    // What did not match is shown from its beginning.
    let shown = if matched { snippet(&text.text, wanted) } else { snippet(&text.text, &[]) };
    debug_assert!(shown.len() <= SNIPPET_BYTES);
    PastEntry { seq: text.seq, role: text.role.to_owned(), text: shown, matched }
}

fn matched(seq: Seq, role: String, text: String) -> PastEntry {
    PastEntry { seq, role, text, matched: true }
}

/// Entries around a hit: four in all.
const BEFORE: usize = 2;
const AFTER: usize = 2;
/// Records before and after a hit in which these are looked for.
const WINDOW: Seq = 64;
/// Words of a query that count.
const WORDS: usize = 12;
/// Hits of a single word that are weighed.
const SOME: usize = 40;
/// Hits of all places that are looked through for those of one.
const MOST_LOOKED_AT: usize = 2_000;
/// Sessions whose titles are looked at.
const NEWEST: usize = 500;
