//! Indexes made anew from the records.

use rusqlite::params;
use sterna_log::{
    AppendKind, IndexDelta, KeyEntry, LogError, Sealed, apply_delta, empty_row, keys_of_stored, row_content,
};
use sterna_model::{Digest, Record, Seq, SessionId};

use crate::error::Fail;
use crate::read::{Found, Tables, int};
use crate::schema::INDEXES;

/// What a rebuild went through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rebuilt {
    pub sessions: u64,
    pub records: u64,
    /// Sessions that are not whole, and the first record that is not. What comes before it was used.
    pub damaged: Vec<(SessionId, Seq, String)>,
}

impl Tables<'_> {
    /// All or nothing: an index that is half rebuilt would forget idempotency keys.
    pub fn rebuild(&self) -> Result<Rebuilt, Fail> {
        self.whole(|| self.rebuild_all())
    }

    fn rebuild_all(&self) -> Result<Rebuilt, Fail> {
        let mut done = Rebuilt::default();
        let names: Vec<String> = self
            .connection
            .prepare("SELECT name FROM sessions WHERE deleted = 0 ORDER BY id")?
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        self.connection.execute_batch(INDEXES)?;
        for name in names {
            let id = SessionId::new(&name).map_err(LogError::from)?;
            if let Some(found) = self.session(&id)? {
                self.rebuild_session(&found, &mut done)?;
            }
        }
        Ok(done)
    }

    fn rebuild_session(&self, found: &Found, done: &mut Rebuilt) -> Result<(), Fail> {
        let id = &found.row.id;
        let mut row = empty_row(id);
        let mut hash = Digest::ZERO;
        let mut damage = None;
        // An append that a page cuts in two goes to the next page whole.
        let mut carried: Vec<Record> = Vec::new();
        loop {
            let from = row.head + 1;
            let page = match self.read(id, from, PAGE) {
                Ok(page) => page,
                Err(LogError::Corrupt { seq, detail, .. }) => {
                    damage = Some((seq, detail));
                    if seq <= from {
                        Vec::new()
                    } else {
                        self.read(id, from, usize::try_from(seq - from).unwrap_or(PAGE))?
                    }
                }
                Err(error) => return Err(error.into()),
            };
            hash = page.last().map_or(hash, |last| last.hash);
            let records: Vec<Record> = page.into_iter().map(|Sealed { record, .. }| record).collect();
            let Some(last) = records.last().map(|record| record.seq) else { break };
            done.records += records.len() as u64;
            let delta = IndexDelta::of(&records);
            for text in &delta.texts {
                self.insert_text(found.key, text)?;
            }
            apply_delta(&mut row, delta, last);
            carried.extend(records);
            for entry in self.keys_in(found.key, id, &mut carried, false)? {
                self.insert_key(found.key, &entry)?;
            }
            if damage.is_some() {
                break;
            }
        }
        for entry in self.keys_in(found.key, id, &mut carried, true)? {
            self.insert_key(found.key, &entry)?;
        }
        done.sessions += 1;
        if let Some((seq, detail)) = damage {
            // The head stays where it was: nothing may be appended over a damaged record as if it were not there.
            (row.head, hash) = (found.row.head, found.hash);
            done.damaged.push((id.clone(), seq, detail));
        }
        self.update_row(found.key, &row, &hash, true)
    }

    /// The keys of all whole appends among the records. Leaves the last append if it may go on.
    pub fn keys_in(
        &self,
        session: i64,
        id: &SessionId,
        records: &mut Vec<Record>,
        at_end: bool,
    ) -> Result<Vec<KeyEntry>, Fail> {
        let mut keys = Vec::new();
        let Some(first) = records.first().map(|record| record.seq) else { return Ok(keys) };
        let mut starts: Vec<(usize, String)> = Vec::new();
        let mut bodies: Vec<Digest> = Vec::new();
        let rows = format!("{} LIMIT ?3", self.layout.select("append_id, data"));
        let mut query = self.connection.prepare_cached(&rows)?;
        let mut rows = query.query(params![session, int(first), int(records.len() as u64)])?;
        while let Some(row) = rows.next()? {
            if let Some(tagged) = row.get::<_, Option<String>>(0)? {
                starts.push((bodies.len(), tagged));
            }
            let data: Vec<u8> = row.get(1)?;
            bodies.push(row_content(id, first + bodies.len() as u64, &data, |hash| self.blob(hash))?);
        }
        let mut whole = 0;
        for (at, (start, tagged)) in starts.iter().enumerate() {
            let end = match starts.get(at + 1) {
                Some((next, _)) => *next,
                None if at_end => bodies.len(),
                None => break,
            };
            if let Some((kind, append)) = AppendKind::untag(tagged) {
                keys.extend(keys_of_stored(kind, append, &records[*start..end], &bodies[*start..end]));
            }
            whole = end;
        }
        records.drain(..whole);
        Ok(keys)
    }
}

pub const PAGE: usize = 1024;
