//! Those who act on a session from outside of its driver: what they read does not grow with the session.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/hook.rs"]
mod hook;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use common::*;
use hook::{Act, HookLog};
use serde_json::json;
use sterna_log::Log;
use sterna_model::*;
use sterna_runtime::*;

/// What another process reads of a session of so many turns, whose last one waits for a person.
struct Reads {
    /// Bytes of snapshots, by the first act, and those of the whole snapshot.
    snapshots: (usize, usize),
    /// Records, by each act after the first.
    records: Vec<(&'static str, usize)>,
}

async fn reads(turns: usize) -> Reads {
    let log = HookLog::new(|_| Act::Pass);
    let texts = (0..turns).map(|_| Say::Text("done"));
    let model = TestModel::new(texts.chain([Say::Calls(vec![("ask", json!({}))])]));
    let over = |name: &str| {
        let (provider, tools) = (Arc::new(model.clone()), vec![asking_tool("ask", "ran")]);
        World::with(log.clone(), log.inner.clone(), TestEnv::new(name), model.clone(), provider, tools)
    };
    let world = over("one");
    for _ in 0..turns {
        world.run(world.submit("s", &"a long story ".repeat(300))).await;
    }
    let mut submit = world.submit("s", "go");
    submit.config.on_ask = OnAsk::Park;
    assert_eq!(world.run(submit).await.outcome, "parked");
    let session = SessionId::new("s").unwrap();
    world.runtime.rest(&session).await;

    let world = over("two");
    let number = turns + 1;
    let wait: WaitId = format!("s/{number}/1/tool/0");
    let (_, whole) = log.inner.snapshot_get(&session, 1).await.unwrap().unwrap();
    log.snapshot_bytes.store(0, Ordering::SeqCst);
    world.runtime.grant_of(&session, &wait, GrantScope::Session).await.unwrap();
    let snapshots = (log.snapshot_bytes.load(Ordering::SeqCst), whole.len());
    log.read_since(&session);

    let mut records = Vec::new();
    let mut note = |act| records.push((act, log.read_since(&session)));
    let runtime = &world.runtime;
    runtime.grant_of(&session, &wait, GrantScope::Session).await.unwrap();
    note("looks at a grant");
    let resolve = |ruling| Resolve {
        session: session.clone(),
        wait: wait.clone(),
        ruling,
        grant: Some(GrantScope::Turn),
        by: "p".into(),
    };
    runtime.resolve(resolve(Ruling::Allow)).await.unwrap();
    note("answers");
    let again = runtime.resolve(resolve(Ruling::Allow)).await;
    assert!(matches!(again, Err(RuntimeError::AlreadyResolved { .. })), "{again:?}");
    note("answers again");
    let key = runtime.wait_key(&format!("s/{number}/2/tool/0")).unwrap();
    runtime.resolve_key(&key, Ruling::Allow, "p").await.unwrap();
    note("answers early");
    let first = runtime.cancel(&session, "p", "enough").await.unwrap();
    note("cancels");
    let second = runtime.cancel(&session, "q", "enough, I say").await.unwrap();
    assert_eq!((second.first, second.hash, second.repeated), (first.first, first.hash, true));
    note("cancels again");
    let later = Submit { drive: false, ..world.submit("s", "later") };
    let input = runtime.submit(later).await.unwrap().input;
    log.read_since(&session);
    runtime.edit(&session, input, vec![InputPart::Text("sooner".into())], "p").await.unwrap();
    note("edits");
    runtime.withdraw(&session, vec![input], "p").await.unwrap();
    note("withdraws");
    let gone = runtime.withdraw(&session, vec![input], "p").await;
    assert!(matches!(gone, Err(RuntimeError::InputTaken { .. })), "{gone:?}");
    note("withdraws again");
    Reads { snapshots, records }
}

#[tokio::test]
async fn what_acts_from_outside_read_does_not_grow_with_the_session() {
    let (short, long) = (reads(2).await, reads(30).await);
    assert_eq!(short.records, long.records);
    assert!(long.records.iter().all(|(_, read)| *read <= 4), "{:?}", long.records);
    // The first act of a process begins with a snapshot of its own, and not with that of everything that was said.
    let ((small, whole), (least, _)) = (long.snapshots, short.snapshots);
    assert!(least > 0 && small < 2 * least && 4 * small < whole, "{small} of {whole}, {least}");
}
