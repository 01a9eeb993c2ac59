//! Whether an append may be written, and where: the conditions of the `Log` trait in one place, for every store.

use sterna_model::{Digest, Parent, Seq};

use crate::{AppendKind, Batch, Expect, KeyEntry, Lease, LogError, Receipt, check_fence, next_lease};

/// Where a session stands when the append's transaction has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    Absent,
    Living { head: Seq, hash: Digest, lease: Option<Lease> },
    Deleted,
}

/// What the decision may look up, in the append's transaction.
pub trait Lookup {
    /// An entry of the session's look-up by id.
    fn key(&mut self, id: &str) -> Result<Option<KeyEntry>, LogError>;
    /// The append of this tagged id whose first record comes after `seq`.
    fn append_after(&mut self, seq: Seq, tagged: &str) -> Result<Option<KeyEntry>, LogError>;
    /// The chain hash of a record of the session.
    fn hash_at(&mut self, seq: Seq) -> Result<Digest, LogError>;
    /// The chain hash of the record at which a new session forks. `NotFound` or `Tombstone` when it cannot be read.
    fn parent_hash(&mut self, parent: &Parent) -> Result<Digest, LogError>;
}

/// What to do with an append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It is there already: answer with its first receipt, write nothing.
    Repeat(Receipt),
    /// Write it from `first` on, chained to `prev`, and the lease with it.
    Write { first: Seq, prev: Digest, lease: Option<Lease> },
}

/// Decides on an append.
pub fn decide(batch: &Batch, standing: &Standing, look: &mut dyn Lookup) -> Result<Decision, LogError> {
    let session = &batch.session;
    let (head, hash, lease) = match (standing, &batch.expect) {
        (Standing::Deleted, _) => return Err(LogError::Tombstone(session.clone())),
        (Standing::Absent, Expect::New(request)) => {
            return open_session(batch, request.as_ref(), look);
        }
        (Standing::Absent, Expect::Head { .. } | Expect::Any) => {
            return Err(LogError::NotFound(session.clone()));
        }
        (Standing::Living { head, hash, lease }, _) => (*head, *hash, lease.as_ref()),
    };
    match &batch.expect {
        Expect::New(request) => {
            let tagged = AppendKind::New.tagged(&batch.id);
            let Some(entry) = look.append_after(0, &tagged)? else {
                return Err(LogError::Exists(session.clone()));
            };
            batch.same_as(&entry)?;
            // Only the owner that was given the lease gets it again.
            let ours = |lease: &&Lease| {
                !lease.released && request.as_ref().is_some_and(|request| request.owner == lease.owner)
            };
            let lease = lease.filter(ours).cloned();
            return repeat(&entry, lease, look);
        }
        Expect::Any => {
            if let Some(entry) = look.key(&batch.id)? {
                batch.same_as(&entry)?;
                return repeat(&entry, None, look);
            }
        }
        Expect::Head { head: expected, fence } => {
            if head > *expected {
                let tagged = AppendKind::Head.tagged(&batch.id);
                if let Some(entry) = look.append_after(*expected, &tagged)? {
                    batch.same_as(&entry)?;
                    return repeat(&entry, None, look);
                }
            }
            check_fence(session, lease, *fence)?;
            if head != *expected {
                let session = session.clone();
                return Err(LogError::StaleHead { session, head, expected: *expected });
            }
        }
    }
    let first = head.saturating_add(1);
    if batch.has_keys() {
        for entry in batch.keys_at(first) {
            if look.key(&entry.id)?.is_some() {
                return Err(batch.conflict(&entry.id));
            }
        }
    }
    Ok(Decision::Write { first, prev: hash, lease: None })
}

fn open_session(
    batch: &Batch,
    request: Option<&crate::LeaseRequest>,
    look: &mut dyn Lookup,
) -> Result<Decision, LogError> {
    let prev = match &batch.parent {
        None => Digest::ZERO,
        Some(parent) => {
            let found = look.parent_hash(parent)?;
            if found != parent.hash {
                return Err(LogError::Refused(format!(
                    "session `{}` cannot fork at record {} of `{}`: that record has another hash",
                    batch.session, parent.seq, parent.session
                )));
            }
            found
        }
    };
    let lease = request.map(|request| next_lease(&batch.session, None, request)).transpose()?;
    Ok(Decision::Write { first: 1, prev, lease })
}

fn repeat(entry: &KeyEntry, lease: Option<Lease>, look: &mut dyn Lookup) -> Result<Decision, LogError> {
    let hash = look.hash_at(entry.last)?;
    Ok(Decision::Repeat(Receipt { first: entry.first, last: entry.last, hash, repeated: true, lease }))
}
