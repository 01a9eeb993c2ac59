//! What every store must do, as named cases. A backend runs all of them, by name:
//!
//! ```text
//! sterna_log::conformance_tests!({
//!     let (store, keep) = my_store();
//!     (Store { log: store.clone(), blobs: store }, keep)
//! });
//! ```
//!
//! or, on an executor of its own, `for case in cases() { (case.run)(store()).await }`. A case panics with what is
//! wrong. Each case gets an empty store.

mod append;
mod blobs;
mod fork;
mod index;
mod lease;

use futures::future::BoxFuture;
use sterna_model::{
    Body, Delivery, Draft, InputAccepted, InputPart, Millis, Mode, Parent, Route, Seq, SessionId,
    SessionOpened,
};

use crate::{Append, Expect, Fence, LeaseRequest, Log, LogError, Owner, Receipt, SharedBlobs, SharedLog};

/// A store under test: both of its faces.
#[derive(Clone)]
pub struct Store {
    pub log: SharedLog,
    pub blobs: SharedBlobs,
}

/// One thing that a store must do.
pub struct Case {
    pub name: &'static str,
    pub run: fn(Store) -> BoxFuture<'static, ()>,
}

macro_rules! suite {
    ($d:tt $($module:ident: $($name:ident)*;)*) => {
        /// All cases.
        pub fn cases() -> Vec<Case> {
            vec![$($(Case { name: stringify!($name), run: |store| Box::pin($module::$name(store)) },)*)*]
        }

        /// Makes one test of each case. The argument is an expression that gives an empty `Store`, and whatever
        /// has to live as long as it.
        #[macro_export]
        macro_rules! conformance_tests {
            ($d make:expr) => {$($(
                #[test]
                fn $name() {
                    let (store, _keep) = $d make;
                    $crate::conformance::check(stringify!($name), store);
                }
            )*)*};
        }
    };
}

suite! { $
    append:
        appended_records_are_read_back
        seq_is_gap_free_from_one
        stale_head_writes_nothing
        an_old_fence_is_refused
        anyone_appends_beside_a_driver
        new_takes_the_lease_in_the_same_step
        a_session_is_opened_once
        what_does_not_exist_is_not_found
        the_same_append_gets_its_first_receipt
        the_same_opening_gets_its_first_receipt
        the_same_drivers_append_gets_its_first_receipt
        other_content_under_an_id_is_a_conflict
        keys_find_inputs
        of_two_drivers_one_wins
        of_many_at_once_none_is_lost
        limits_are_refused_whole
        shapes_that_are_no_append_are_refused;
    blobs:
        attached_blobs_are_readable
        blobs_are_kept_by_content
        writers_make_blobs
        a_blob_that_is_not_there_is_missing
        a_large_record_comes_back;
    index:
        lists_are_newest_first_and_paged
        lists_are_filtered
        rows_follow_the_records
        what_is_open_decides_the_status
        search_finds_words
        search_syntax_is_only_words
        snippets_are_bounded
        snapshots_are_a_cache_by_version;
    lease:
        a_lease_keeps_others_out
        an_expired_or_released_lease_is_free
        the_lease_of_the_dead_is_taken_over
        a_lost_lease_is_released_without_error
        generations_never_repeat;
    fork:
        a_fork_shares_history
        a_fork_names_a_real_record
        delete_leaves_a_tombstone
        shared_records_outlive_their_session
        rows_go_with_the_last_fork;
}

/// Runs one case by name on a small executor.
pub fn check(name: &str, store: Store) {
    match cases().into_iter().find(|case| case.name == name) {
        Some(case) => futures::executor::block_on((case.run)(store)),
        None => panic!("there is no conformance case `{name}`"),
    }
}

/// An id, from a literal that is one.
pub fn id(text: &str) -> SessionId {
    SessionId::new(text).expect("the suite's ids are valid")
}

/// A draft at a time.
pub fn draft(at: Millis, body: Body) -> Draft {
    Draft { at, turn: None, step: None, body }
}

/// The record that opens a session in `/work`.
pub fn opened(session: &str) -> Draft {
    opened_in(session, "/work", None)
}

pub fn opened_in(session: &str, cwd: &str, parent: Option<Parent>) -> Draft {
    let body = SessionOpened {
        id: id(session),
        parent,
        root: cwd.into(),
        cwd: cwd.into(),
        route: route("local"),
        mode: Mode::Execute,
        sterna: "0.1.0".into(),
        spawned: None,
    };
    draft(1_000, Body::SessionOpened(body))
}

/// An input, with or without an idempotency key.
pub fn input(text: &str, key: Option<&str>) -> Draft {
    let body = InputAccepted {
        key: key.map(str::to_owned),
        delivery: Delivery::NextTurn,
        parts: vec![InputPart::Text(text.into())],
        origin: "cli".into(),
        given: None,
        ended: None,
        compact: None,
        tainted: Vec::new(),
    };
    draft(2_000, Body::InputAccepted(body))
}

pub fn route(text: &str) -> Route {
    text.parse().expect("the suite's routes are valid")
}

/// An append without blobs.
pub fn append(session: &str, expect: Expect, id: &str, records: Vec<Draft>) -> Append {
    Append { session: self::id(session), expect, id: id.into(), records, blobs: Vec::new() }
}

/// Opens a session without a lease.
pub async fn open(log: &dyn Log, session: &str) -> Receipt {
    let opening = append(session, Expect::New(None), "open", vec![opened(session)]);
    log.append(opening).await.expect("a new session is opened")
}

/// Opens a session that `owner` drives until 10,000.
pub async fn open_leased(log: &dyn Log, session: &str, owner: &str) -> (Receipt, Fence) {
    let request = Expect::New(Some(request(owner, 0, 10_000)));
    let opening = append(session, request, "open", vec![opened(session)]);
    let receipt = log.append(opening).await.expect("a new session is opened");
    let fence = receipt.lease.as_ref().expect("the lease was asked for").fence;
    (receipt, fence)
}

pub fn request(owner: &str, now: Millis, expires: Millis) -> LeaseRequest {
    LeaseRequest { owner: Owner(owner.into()), now, expires, takeover: None }
}

/// A driver's append.
pub fn driven(session: &str, head: Seq, fence: Fence, id: &str, records: Vec<Draft>) -> Append {
    append(session, Expect::Head { head, fence }, id, records)
}

/// Fails unless the result is an error of this form.
macro_rules! refused {
    ($result:expr, $pattern:pat $(if $guard:expr)?) => {
        match $result {
            Err($pattern) $(if $guard)? => {}
            Err(error) => panic!("expected {}, got: {error}", stringify!($pattern)),
            Ok(value) => panic!("expected {}, got {value:?}", stringify!($pattern)),
        }
    };
}
use refused;

/// The bodies of a session's records, all of them.
async fn bodies(log: &dyn Log, session: &str) -> Vec<Body> {
    let records = log.read(&id(session), 1, usize::MAX).await.expect("the session is readable");
    records.into_iter().map(|sealed| sealed.record.body).collect()
}

/// The error that a read of nothing but a tombstone gives.
fn is_tombstone(error: &LogError) -> bool {
    matches!(error, LogError::Tombstone(_))
}
