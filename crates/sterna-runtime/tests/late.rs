//! Inputs and words that come late: into a runtime that drains, or after a turn took what they are about.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/hook.rs"]
mod hook;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::*;
use futures::FutureExt;
use hook::*;
use serde_json::json;
use sterna_log::*;
use sterna_model::*;
use sterna_runtime::*;
use sterna_tool::{SharedTool, ToolDone, ToolReturn};
use tokio::sync::{Notify, Semaphore};

/// A tool that waits for a permit of its session.
fn hold(begun: &Arc<Notify>, gates: &[(&'static str, Arc<Semaphore>)]) -> SharedTool {
    let (begun, gates) = (begun.clone(), gates.to_vec());
    tool("hold", EffectClass::AtMostOnce, move |cx, _| {
        let gate = gates.iter().find(|(name, _)| *name == cx.key.session.as_str()).unwrap().1.clone();
        begun.notify_one();
        async move {
            gate.acquire().await.unwrap().forget();
            Ok(ToolReturn::Done(ToolDone::text("held")))
        }
        .boxed()
    })
}

fn over(log: &Arc<HookLog>, model: TestModel, tools: Vec<SharedTool>) -> World {
    World::with(log.clone(), log.inner.clone(), TestEnv::new("one"), model.clone(), Arc::new(model), tools)
}

async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap_or_else(|_| panic!("{what} hangs"))
}

#[tokio::test]
async fn a_drain_ends_and_starts_nothing_however_late_inputs_come() {
    let (a_gate, b_gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let begun = Arc::new(Notify::new());
    let tool = hold(&begun, &[("a", a_gate.clone()), ("b", b_gate.clone())]);
    let call = || Say::Calls(vec![("hold", json!({}))]);
    let log = HookLog::new(|_| Act::Pass);
    let world = over(&log, TestModel::new([call(), call()]), vec![tool]);
    let mut inputs = Vec::new();
    for name in ["a", "b"] {
        inputs.push(world.runtime.submit(world.submit(name, "go")).await.unwrap());
        begun.notified().await;
    }
    // Somebody waits for `a` all the time.
    let waiting = {
        let (runtime, a) = (world.runtime.clone(), inputs[0].clone());
        tokio::spawn(async move { runtime.result(&a.session, a.input).await })
    };
    let runtime = world.runtime.clone();
    let meanwhile = async {
        let mut late = Vec::new();
        // The tool of `b` ends while that of `a` still runs: `b` stops there.
        b_gate.add_permits(1);
        let drained = within("b", runtime.result(&inputs[1].session, inputs[1].input)).await.unwrap();
        assert_eq!(drained.outcome, "drained");
        // Inputs come: to the one that has stopped, to the one that has not, and to a session that is new.
        for name in ["b", "a", "new"] {
            let accepted = within(name, runtime.submit(world.submit(name, "late"))).await.unwrap();
            late.push(accepted);
        }
        assert_eq!(world.model.asked(), 2);
        // And one comes to `a` at the moment when its driver leaves.
        log.hold_release.store(true, Ordering::SeqCst);
        a_gate.add_permits(1);
        within("the driver of a", log.held.notified()).await;
        let (last, ()) = tokio::join!(runtime.submit(world.submit("a", "last")), async {
            tokio::task::yield_now().await;
            log.go.notify_one();
        });
        late.push(last.unwrap());
        late
    };
    let ((), late) = tokio::join!(within("drain", world.runtime.drain()), meanwhile);
    let drained = within("a", waiting).await.unwrap().unwrap();
    assert_eq!(drained.outcome, "drained");
    // Whoever waits for what nobody drives is told so.
    for accepted in &late {
        let told = within("a late input", world.runtime.result(&accepted.session, accepted.input)).await;
        assert!(matches!(told, Err(RuntimeError::Interrupted { .. })), "{accepted:?} {told:?}");
    }
    assert_eq!(world.model.asked(), 2);
    for (name, inputs, turns) in [("a", 3, 1), ("b", 2, 1), ("new", 1, 0)] {
        let bodies = world.bodies(name).await;
        let count = |of: &str| bodies.iter().filter(|body| *body == of).count();
        assert_eq!((count("input_accepted"), count("turn_started")), (inputs, turns), "{name} {bodies:?}");
        assert_eq!(count("outcome 1/tool/0 ok"), turns, "{name} {bodies:?}");
    }
    // The next process drives it all.
    let next = world.next_life("two", TestModel::new((0..6).map(|_| Say::Text("ok"))));
    for accepted in inputs.iter().chain(&late) {
        next.runtime.resume(&accepted.session, next.config());
        assert_eq!(next.result(accepted).await.outcome, "finished");
    }
}

/// A session with an input that waits, and a log in which `first` comes before somebody's change of it.
async fn overtaken(first: impl Fn(Head) -> Append + Send + 'static) -> (World, Accepted) {
    let changes = |append: &Append| {
        let change =
            |draft: &Draft| matches!(draft.body, Body::InputWithdrawn { .. } | Body::InputEdited { .. });
        append.records.iter().any(change)
    };
    let inner = Arc::new(std::sync::OnceLock::<Arc<MemoryLog>>::new());
    let at_head = inner.clone();
    let mut due = true;
    let log = HookLog::new(move |append| {
        if !due || !changes(append) {
            return Act::Pass;
        }
        due = false;
        let head = at_head.get().unwrap().head(&append.session).now_or_never().unwrap().unwrap();
        Act::First(first(head))
    });
    assert!(inner.set(log.inner.clone()).is_ok());
    let world = over(&log, TestModel::new([]), vec![]);
    let mut submit = world.submit("s", "go");
    submit.drive = false;
    let accepted = world.runtime.submit(submit).await.unwrap();
    // Another process leads, and is about to start the turn.
    let request = LeaseRequest { owner: Owner("x".into()), now: 0, expires: u64::MAX, takeover: None };
    log.inner.lease(&accepted.session, request).await.unwrap();
    (world, accepted)
}

fn turn_starts(head: Head) -> Append {
    let world = World::new(TestModel::new([]), vec![]);
    let started = TurnStarted { inputs: vec![2], given: world.config().given, now: 1 };
    let body = Body::TurnStarted(Box::new(started));
    Append {
        session: SessionId::new("s").unwrap(),
        expect: Expect::Head { head: head.seq, fence: head.lease.unwrap().fence },
        id: "turn:1".into(),
        records: vec![Draft { at: 1, turn: Some(1), step: None, body }],
        blobs: vec![],
    }
}

fn withdrawn(_: Head) -> Append {
    Append {
        session: SessionId::new("s").unwrap(),
        expect: Expect::Any,
        id: "once:other".into(),
        records: vec![Draft {
            at: 1,
            turn: None,
            step: None,
            body: Body::InputWithdrawn { inputs: vec![2], by: "other".into() },
        }],
        blobs: vec![],
    }
}

#[tokio::test]
async fn a_withdrawal_or_an_edit_that_came_too_late_is_told_so() {
    for first in [turn_starts, withdrawn] {
        for edits in [false, true] {
            let (world, accepted) = overtaken(first).await;
            let told = if edits {
                let parts = vec![InputPart::Text("other".into())];
                world.runtime.edit(&accepted.session, accepted.input, parts, "person").await
            } else {
                world.runtime.withdraw(&accepted.session, vec![accepted.input], "person").await
            };
            match told {
                Err(RuntimeError::InputTaken { input, .. }) => assert_eq!(input, accepted.input),
                other => panic!("edits {edits}: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_withdrawal_in_time_is_a_receipt() {
    let world = World::new(TestModel::new([]), vec![]);
    let mut submit = world.submit("s", "go");
    submit.drive = false;
    let accepted = world.runtime.submit(submit).await.unwrap();
    let receipt = world.runtime.withdraw(&accepted.session, vec![2], "person").await.unwrap();
    assert_eq!((receipt.first, receipt.repeated), (3, false));
    let again = world.runtime.withdraw(&accepted.session, vec![2], "person").await;
    assert!(matches!(again, Err(RuntimeError::InputTaken { input: 2, .. })), "{again:?}");
}

#[tokio::test]
async fn a_parked_result_can_be_asked_for_when_its_driver_has_left() {
    let model = TestModel::new([Say::Calls(vec![("risky", json!({}))])]);
    let log = HookLog::new(|_| Act::Pass);
    let world = over(&log, model, vec![asking_tool("risky", "it ran")]);
    let mut submit = world.submit("s", "go");
    submit.config.on_ask = OnAsk::Park;
    let accepted = world.runtime.submit(submit).await.unwrap();
    let parked = async {
        while !log.inner.head(&accepted.session).await.unwrap().lease.is_some_and(|lease| lease.released) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    within("the driver", parked).await;
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    let result = within("a result", world.runtime.result(&accepted.session, accepted.input)).await.unwrap();
    assert_eq!(result.outcome, "parked");
}
