//! From records to appends: a bundle or a whole prefix becomes a new session, all of it or nothing.

use bytes::Bytes;
use serde::Serialize;
use sterna_log::{
    Append, Expect, LogError, MAX_APPEND_BYTES, MAX_APPEND_RECORDS, prepare, prev_of_first, seal,
};
use sterna_model::{Body, Digest, Draft, Millis, Mode, Parent, Record, SessionId};

use crate::rename::Names;
use crate::settle::{Settled, Writer};
use crate::{Bundle, ImportError};

/// What the importer decides about the new session.
#[derive(Debug, Clone)]
pub struct NewSession {
    pub id: SessionId,
    /// The folder that the session works in from now on: what the log says of another machine's folders gives no right
    /// here. `None` keeps what it says.
    pub folder: Option<String>,
    /// The mode of its next turn, unless that is given another.
    pub mode: Mode,
    pub now: Millis,
    /// This version of Sterna.
    pub sterna: String,
}

/// Appends that make new sessions. They have to become visible together.
#[derive(Debug)]
pub struct Plan {
    /// In order: shared history comes before what shares it.
    pub appends: Vec<Append>,
    pub imported: Imported,
}

/// What a plan makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Imported {
    pub session: SessionId,
    pub records: u64,
    pub turns: u64,
    /// Sessions that had to be made for the history that it shares.
    pub shared: Vec<SessionId>,
    /// What was open where it comes from, and was ended.
    pub ended: Settled,
}

impl Bundle {
    /// The session that this bundle is of.
    pub fn session(&self) -> Option<&SessionId> {
        self.logs.first().map(|log| &log.session)
    }

    /// Makes a new session of the bundle. `known` says whether the store has this very record already: history that
    /// the store has is shared, and not made again. `name` gives ids for the rest of it.
    pub fn plan(
        mut self,
        new: &NewSession,
        known: impl Fn(&Parent) -> bool,
        mut name: impl FnMut() -> SessionId,
    ) -> Result<Plan, ImportError> {
        let shares = self.logs.iter().position(|log| log.parent().is_some_and(&known));
        if let Some(last) = shares {
            self.logs.truncate(last + 1);
        } else if let Some(last) = self.logs.last()
            && let Some(parent) = last.parent()
        {
            return Err(crate::BundleError::ParentMissing {
                session: last.session.clone(),
                parent: parent.session.clone(),
                seq: parent.seq,
            }
            .into());
        }
        let mut names = Names::default();
        let mut ids = Vec::with_capacity(self.logs.len());
        for (at, log) in self.logs.iter().enumerate() {
            let id = if at == 0 { new.id.clone() } else { name() };
            names.add(&log.session, &id);
            ids.push(id);
        }
        let mut appends = Vec::new();
        let mut parent: Option<Parent> = None;
        let mut imported = None;
        for (log, id) in self.logs.into_iter().zip(&ids).rev() {
            let origin = format!(
                "import: sterna session `{}`, {} records, blake3 {}",
                log.session,
                log.records.len(),
                self.hash
            );
            let shared_to = log.records.len();
            let new = NewSession { id: id.clone(), ..new.clone() };
            let writer = adopt(log.records, &names, parent.take(), &new, origin)?;
            parent = Some(Parent {
                session: id.clone(),
                seq: shared_to as u64,
                hash: chain_hash(&writer.drafts[..shared_to])?,
            });
            imported = Some(summary(&writer, ids[1..].to_vec()));
            appends.extend(appends_of(id, &format!("import:{}", self.hash), writer.drafts, Vec::new())?);
        }
        let imported = imported.ok_or(crate::BundleError::NotOne)?;
        Ok(Plan { appends, imported })
    }
}

/// Takes records over into a log of another name, ends what was open, and says where they come from.
///
/// `parent`: where the new log forks, if that is another place than the records say.
pub fn adopt(
    records: Vec<Record>,
    names: &Names,
    parent: Option<Parent>,
    new: &NewSession,
    origin: String,
) -> Result<Writer, ImportError> {
    let mut writer = Writer::new(new.id.clone());
    for Record { at, turn, step, mut body, .. } in records {
        names.body(&mut body);
        if let Body::SessionOpened(opened) = &mut body {
            if let Some(folder) = &new.folder {
                opened.root.clone_from(folder);
                opened.cwd.clone_from(folder);
            }
            if parent.is_some() {
                opened.parent.clone_from(&parent);
            }
        }
        writer.push(at, turn, step, body)?;
    }
    writer.settle(new.now, BY)?;
    writer.origin(new.now, new.mode, origin)?;
    Ok(writer)
}

/// What the writer made.
pub fn summary(writer: &Writer, shared: Vec<SessionId>) -> Imported {
    let started = |draft: &&Draft| matches!(draft.body, Body::TurnStarted(_));
    Imported {
        session: writer.session().clone(),
        records: writer.drafts.len() as u64,
        turns: writer.drafts.iter().filter(started).count() as u64,
        shared,
        ended: writer.settled,
    }
}

/// Cuts records into appends that a store takes. The bytes go with the first.
pub fn appends_of(
    session: &SessionId,
    id: &str,
    drafts: Vec<Draft>,
    blobs: Vec<Bytes>,
) -> Result<Vec<Append>, LogError> {
    let mut parts: Vec<Vec<Draft>> = Vec::new();
    let mut bytes = 0;
    for draft in drafts {
        let size = prepare(&draft)?.row_bytes();
        match parts.last_mut() {
            Some(part) if part.len() < MAX_APPEND_RECORDS && bytes + size <= MAX_APPEND_BYTES => {
                bytes += size;
                part.push(draft);
            }
            _ => {
                bytes = size;
                parts.push(vec![draft]);
            }
        }
    }
    let mut blobs = Some(blobs);
    let append = |(part, records): (usize, Vec<Draft>)| Append {
        session: session.clone(),
        expect: if part == 0 { Expect::New(None) } else { Expect::Any },
        id: format!("{id}:{part}"),
        records,
        blobs: blobs.take().unwrap_or_default(),
    };
    Ok(parts.into_iter().enumerate().map(append).collect())
}

/// The chain hash after the last of these records.
fn chain_hash(drafts: &[Draft]) -> Result<Digest, LogError> {
    let mut hash = Digest::ZERO;
    for (draft, seq) in drafts.iter().zip(1..) {
        let before = if seq == 1 { prev_of_first(&draft.clone().at_seq(1)) } else { hash };
        hash = seal(&prepare(draft)?, seq, &before).1;
    }
    Ok(hash)
}

/// Who did it, in the records of an import.
pub const BY: &str = "import";
