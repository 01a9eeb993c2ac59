//! The `Log` trait: what a store must do. A third party can write one in a day.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use sterna_model::{BadId, Digest, Draft, Millis, Record, Route, Seq, SessionId};

/// The most records that one append may carry (design: "append <= 1 MiB and 512 records").
pub const MAX_APPEND_RECORDS: usize = 512;
/// The most bytes of encoded records that one append may carry, spilled payloads not counted.
pub const MAX_APPEND_BYTES: usize = 1 << 20;
/// A record whose body is larger than this is kept as a blob, and its row holds the reference.
pub const SPILL_BYTES: usize = 16 << 10;

/// A durable store of sessions. Every method is safe to call from many tasks and many processes.
#[async_trait]
pub trait Log: Send + Sync {
    /// Appends atomically; durable on return.
    ///
    /// Errors: `StaleHead` or `Fenced` (nothing written), `Conflict` (same id, other content), `TooLarge`,
    /// `Exists` or `Tombstone` for a new session, `NotFound`.
    async fn append(&self, append: Append) -> Result<Receipt, LogError>;

    /// Records of this log alone (history shared by a fork is read through `Parent`), from `from`, at most `limit`.
    async fn read(&self, session: &SessionId, from: Seq, limit: usize) -> Result<Vec<Sealed>, LogError>;

    /// Where the log stands. O(1). Also the cheap poll for followers.
    async fn head(&self, session: &SessionId) -> Result<Head, LogError>;

    /// The input that was accepted under this idempotency key, if any.
    async fn find_key(&self, session: &SessionId, key: &str) -> Result<Option<KeyReceipt>, LogError>;

    /// Whether a [reserved](crate::is_reserved) log may be there. Costs nothing. `false` only of a store that knew it
    /// just now: what it saw when it was opened it may say once.
    fn may_hold_reserved(&self) -> bool {
        true
    }

    /// Sessions, newest first, without the [reserved](crate::is_reserved) logs. O(page).
    async fn list(&self, filter: &Filter, page: Page) -> Result<Vec<SessionRow>, LogError>;

    /// Full-text search over what people and models said.
    async fn search(&self, query: &str, limit: usize) -> Result<Vec<Hit>, LogError>;

    /// Takes the session for `owner`, with a higher fencing generation, unless another owner holds it and
    /// `now < expires`, and `takeover` is not set to that owner's generation.
    async fn lease(&self, session: &SessionId, request: LeaseRequest) -> Result<Lease, LogError>;

    /// Lets the session go. A lost lease is no error.
    async fn release(&self, session: &SessionId, fence: Fence) -> Result<(), LogError>;

    /// Keeps a cache of the fold at `seq`. Losing it loses nothing.
    async fn snapshot_put(
        &self,
        session: &SessionId,
        seq: Seq,
        version: u32,
        bytes: Bytes,
    ) -> Result<(), LogError>;

    /// The newest snapshot of this version.
    async fn snapshot_get(&self, session: &SessionId, version: u32)
    -> Result<Option<(Seq, Bytes)>, LogError>;

    /// Removes the session and leaves a tombstone: ids are used once. Records that a fork shares stay readable.
    async fn delete(&self, session: &SessionId) -> Result<(), LogError>;
}

/// A shared store.
pub type SharedLog = Arc<dyn Log>;

/// What to append, and on which condition.
#[derive(Debug, Clone)]
pub struct Append {
    pub session: SessionId,
    pub expect: Expect,
    /// Identity: the same id with the same bodies gets the first receipt. Unique in the session.
    /// By convention `input:KEY`, `out:EFFECT KEY:ATTEMPT` and so on: the identity of the first record.
    pub id: String,
    pub records: Vec<Draft>,
    /// Bytes that must be durable with the records, and readable through the store's `Blobs`.
    pub blobs: Vec<Bytes>,
}

/// The condition of an append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// The session does not exist; the first record is `SessionOpened`. The session is leased in the same step, if asked.
    New(Option<LeaseRequest>),
    /// The driver's append: compare-and-set on the head, under its fence.
    Head { head: Seq, fence: Fence },
    /// Anyone's: inputs, answers, cancels, grants. Wherever the head is.
    Any,
}

/// Proof that an append is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    pub first: Seq,
    pub last: Seq,
    /// Chain hash of the last record.
    pub hash: Digest,
    /// The append was there already: this is its first receipt.
    pub repeated: bool,
    /// For `Expect::New` with a lease.
    pub lease: Option<Lease>,
}

/// A record with its place in the chain.
#[derive(Debug, Clone, PartialEq)]
pub struct Sealed {
    pub record: Record,
    pub hash: Digest,
}

/// Where a log stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub seq: Seq,
    pub hash: Digest,
    /// The current or last lease.
    pub lease: Option<Lease>,
}

/// A fencing generation: rises with each lease; an append under an old one is refused.
pub type Fence = u64;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRequest {
    pub owner: Owner,
    pub now: Millis,
    pub expires: Millis,
    /// The generation whose owner the caller knows to be dead.
    pub takeover: Option<Fence>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub fence: Fence,
    pub owner: Owner,
    pub expires: Millis,
    /// Let go by its owner.
    pub released: bool,
}

/// Who drives a session: boot id, process id and process start time make a name that no other process ever has.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner(pub String);

/// The receipt of an input that carried an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyReceipt {
    pub seq: Seq,
    /// Hash of the append's bodies.
    pub content: Digest,
}

/// Which sessions to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only sessions whose `cwd` is exactly this.
    pub cwd: Option<String>,
    pub status: Option<Status>,
    pub parent: Option<SessionId>,
}

/// A page of a list: at most `limit` rows after the row of `after`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub after: Option<SessionId>,
    pub limit: usize,
}

/// What a session is doing, as far as its log says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    #[default]
    Idle,
    /// A turn has started and is not committed, or an input waits for one.
    Running,
    /// A turn waits for an approval or an answer.
    Parked,
    Closed,
}

/// What is open in a session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pending {
    /// Inputs that wait for a turn.
    pub inputs: u64,
    /// Approvals and questions that wait for an answer.
    pub asks: u64,
    pub in_turn: bool,
    pub closed: bool,
}

/// A row of the list: an index, kept in the transaction of each append, and rebuildable.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionRow {
    pub id: SessionId,
    pub status: Status,
    pub pending: Pending,
    pub title: Option<String>,
    pub cwd: String,
    pub route: Route,
    pub parent: Option<SessionId>,
    pub created_at: Millis,
    pub updated_at: Millis,
    pub head: Seq,
    pub turns: u64,
    pub steps: u64,
    pub tokens: u64,
    /// `None` when a call's price is unknown.
    pub cost: Option<u64>,
}

/// A place where a search matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    pub session: SessionId,
    pub seq: Seq,
    /// `user` or `assistant`.
    pub role: String,
    /// At most 1 KiB round the match.
    pub snippet: String,
}

/// Why a store said no.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("session `{0}` does not exist")]
    NotFound(SessionId),
    #[error("session `{0}` exists already")]
    Exists(SessionId),
    #[error("session `{0}` was deleted, and its id is not used again")]
    Tombstone(SessionId),
    #[error("session `{session}` has moved on: its head is {head}, not {expected}")]
    StaleHead { session: SessionId, head: Seq, expected: Seq },
    #[error("session `{session}` is driven by another process (generation {current}, ours is {ours})")]
    Fenced { session: SessionId, current: Fence, ours: Fence },
    #[error("session `{session}` is held by {owner} until {expires}")]
    Held { session: SessionId, owner: String, expires: Millis, fence: Fence },
    #[error("`{id}` was already accepted in session `{session}` with other content")]
    Conflict { session: SessionId, id: String },
    #[error("an append may carry at most {max} {unit}, this one has {got}")]
    TooLarge { unit: &'static str, max: usize, got: usize },
    #[error("the log of session `{session}` is damaged at record {seq}: {detail}")]
    Corrupt { session: SessionId, seq: Seq, detail: String },
    #[error("the store is damaged: {0}")]
    Damaged(String),
    #[error(
        "written by a newer version of Sterna (format {found}, this one reads up to {known}); open it read-only or upgrade"
    )]
    Newer { found: u32, known: u32 },
    #[error("blob {0} is not in the store")]
    BlobMissing(Digest),
    #[error("no space left where the store is: {0}")]
    DiskFull(String),
    #[error("the store cannot be written: {0}")]
    ReadOnly(String),
    #[error("{0}")]
    Refused(String),
    #[error("store failed: {0}")]
    Io(String),
    #[error(transparent)]
    BadId(#[from] BadId),
}
