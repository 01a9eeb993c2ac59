//! Two Sternas in one process on one store are two owners: the second follows, and takes over only what is dead.

#![allow(clippy::unwrap_used)]

#[path = "../../sterna-runtime/tests/common/mod.rs"]
mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::*;
use sterna::{Sterna, Store};
use sterna_log::{Log, MemoryLog};
use sterna_model::{Body, SessionId};

/// With the real clock and the real process.
async fn sterna(log: &Arc<MemoryLog>, model: &TestModel) -> Sterna {
    Sterna::builder()
        .provider(Arc::new(model.clone()))
        .store(Store::Own(log.clone(), log.clone()))
        .without_builtin_tools()
        .build()
        .await
        .unwrap()
}

async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap_or_else(|_| panic!("{what} hangs"))
}

#[tokio::test]
async fn the_second_follows_and_never_steals() {
    let log = Arc::new(MemoryLog::new());
    let model = TestModel::new([Say::Hang("first"), Say::Text("second")]);
    let one = sterna(&log, &model).await;
    // Asked for anything, this model panics, and its turn would fail.
    let silent = TestModel::new([]);
    let two = sterna(&log, &silent).await;
    let a = one.session("s").turn("one").send().await.unwrap();
    within("the first model call", model.arrived.notified()).await;
    let id = SessionId::new("s").unwrap();
    let lease = log.head(&id).await.unwrap().lease.unwrap();
    let b = two.session("s").turn("two").send().await.unwrap();
    // Long enough for the follower to look at the lease, again and again.
    let deadline = Instant::now() + Duration::from_millis(150);
    while Instant::now() < deadline {
        assert_eq!(log.head(&id).await.unwrap().lease.as_ref(), Some(&lease), "the lease was taken");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    model.go.notify_one();
    for (accepted, message) in [(a, "first and the rest"), (b, "second")] {
        for sterna in [&one, &two] {
            let wait = sterna.runtime().result(&accepted.session, accepted.input);
            assert_eq!(within("a result", wait).await.unwrap().message.as_deref(), Some(message));
        }
    }
    assert_eq!((model.asked(), silent.asked()), (2, 0));
    let records = log.read(&id, 1, 1_000).await.unwrap();
    let commits = records.iter().filter(|r| matches!(r.record.body, Body::TurnCommitted(_))).count();
    assert_eq!(commits, 2);
}

#[test]
fn one_that_was_dropped_is_taken_over_at_once() {
    let executor =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let log = Arc::new(MemoryLog::new());
    let (first, second) = (executor(), executor());
    let accepted = first.block_on(async {
        let model = TestModel::new([Say::Hang("never")]);
        let one = sterna(&log, &model).await;
        let accepted = one.session("s").turn("one").send().await.unwrap();
        within("the first model call", model.arrived.notified()).await;
        accepted
    });
    // Its driver goes with its executor: nobody lets the lease go, and nobody holds it any more.
    first.shutdown_timeout(Duration::from_secs(10));
    second.block_on(async {
        let lease = log.head(&accepted.session).await.unwrap().lease.unwrap();
        assert!(!lease.released);
        let two = sterna(&log, &TestModel::new([Say::Text("taken over")])).await;
        let session = two.session("s");
        let reply = within("the takeover", session.resume()).await.unwrap().unwrap();
        assert_eq!(reply.message(), "taken over");
    });
}
