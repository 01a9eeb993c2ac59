//! Whether the indexes are what the records say. A wrong one loses nothing: it can be made anew.

use rusqlite::params;
use sterna_log::{IndexDelta, KeyEntry, LogError, Sealed, SessionRow, apply_delta, empty_row};
use sterna_model::{Record, SessionId};

use crate::error::Fail;
use crate::read::{Found, Tables};
use crate::rebuild::PAGE;

/// An index that is not what the records say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaleIndex {
    /// `search`, `keys` or `list`.
    pub index: &'static str,
    pub detail: String,
}

impl Tables<'_> {
    /// Compares the indexes of a session with its records, up to the first record that cannot be read.
    pub fn check_indexes(&self, id: &SessionId) -> Result<Vec<StaleIndex>, LogError> {
        let found = self.living(id)?;
        let mut stale = Vec::new();
        let mut lost = |index: &'static str, detail: String| stale.push(StaleIndex { index, detail });
        let mut due = Due::default();
        match self.due(&found, &mut due) {
            Ok(()) => {}
            Err(Fail::Refused(error)) => return Err(error),
            Err(Fail::Broken(error)) => return Err(self.sql(&error)),
        }
        for (index, entries) in [("search", due.texts), ("keys", due.keys.len() as u64)] {
            if !self.has_table(index)? {
                lost(index, format!("the index is gone, and {entries} entries with it"));
                continue;
            }
            let missing = match index {
                "search" => entries.saturating_sub(self.texts(found.key)?),
                _ => self.missing_keys(found.key, &due.keys)?,
            };
            if missing > 0 {
                lost(index, format!("{missing} of {entries} entries are missing"));
            }
        }
        if due.whole && due.row.as_ref() != Some(&found.row) {
            lost("list", "its row does not say what the records say".into());
        }
        Ok(stale)
    }

    fn due(&self, found: &Found, due: &mut Due) -> Result<(), Fail> {
        let id = &found.row.id;
        due.row = Some(empty_row(id));
        let mut head = 0;
        let mut carried: Vec<Record> = Vec::new();
        loop {
            let page = match self.read(id, head + 1, PAGE) {
                Ok(page) => page,
                // What cannot be read is told by the check of the records.
                Err(LogError::Corrupt { .. } | LogError::Newer { .. }) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let records: Vec<Record> = page.into_iter().map(|Sealed { record, .. }| record).collect();
            let Some(last) = records.last().map(|record| record.seq) else { break };
            let delta = IndexDelta::of(&records);
            due.texts += delta.texts.len() as u64;
            if let Some(row) = &mut due.row {
                apply_delta(row, delta, last);
            }
            head = last;
            carried.extend(records);
            due.keys.extend(self.keys_in(found.key, id, &mut carried, false)?);
        }
        due.keys.extend(self.keys_in(found.key, id, &mut carried, true)?);
        due.whole = true;
        Ok(())
    }

    fn has_table(&self, name: &str) -> Result<bool, LogError> {
        self.cached("SELECT 1 FROM sqlite_schema WHERE name = ?1")?
            .exists([name])
            .map_err(|error| self.sql(&error))
    }

    fn texts(&self, session: i64) -> Result<u64, LogError> {
        self.cached("SELECT count(*) FROM search WHERE rowid BETWEEN ?1 AND ?2")?
            .query_row(params![session << 32, (session << 32) | i64::from(u32::MAX)], |row| row.get(0))
            .map(crate::read::uint)
            .map_err(|error| self.sql(&error))
    }

    fn missing_keys(&self, session: i64, keys: &[KeyEntry]) -> Result<u64, LogError> {
        let mut missing = 0;
        for key in keys {
            missing += u64::from(self.key(session, &key.id)?.as_ref() != Some(key));
        }
        Ok(missing)
    }
}

/// What the records say of a session's indexes.
#[derive(Default)]
struct Due {
    row: Option<SessionRow>,
    texts: u64,
    keys: Vec<KeyEntry>,
    /// All records could be read.
    whole: bool,
}
