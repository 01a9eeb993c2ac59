//! Somebody's record comes between a decision and its append: what had happened is durable before it is told, and
//! every event that is told stands in the log at its place.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/hook.rs"]
mod hook;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use common::*;
use futures::FutureExt;
use hook::*;
use serde_json::json;
use sterna_model::*;
use sterna_runtime::*;
use sterna_tool::{SharedTool, ToolDone, ToolReturn};
use tokio::sync::Notify;

/// A world over a log in which somebody else's input overtakes the first append that `when` picks.
fn overtaken(
    delivery: Delivery,
    when: impl Fn(&Body) -> bool + Send + 'static,
    model: TestModel,
    tools: Vec<SharedTool>,
) -> World {
    let mut due = true;
    let log = HookLog::new(move |append| {
        let now = due && is_driven(append) && append.records.iter().any(|draft| when(&draft.body));
        due &= !now;
        if now { foreign(append, "foreign", delivery) } else { Act::Pass }
    });
    over(&log, model, tools)
}

fn over(log: &Arc<HookLog>, model: TestModel, tools: Vec<SharedTool>) -> World {
    World::with(log.clone(), log.inner.clone(), TestEnv::new("one"), model.clone(), Arc::new(model), tools)
}

fn is_tool_outcome(body: &Body) -> bool {
    matches!(body, Body::Outcome(outcome) if outcome.key.kind == EffectKind::Tool)
}

fn count(bodies: &[String], name: &str) -> usize {
    bodies.iter().filter(|body| *body == name).count()
}

/// Where the first record of this name stands.
fn place(bodies: &[String], name: &str) -> usize {
    bodies.iter().position(|body| body == name).unwrap_or_else(|| panic!("no {name} in {bodies:?}"))
}

/// Where the foreign input stands: it is the second one.
fn overtook(bodies: &[String]) -> usize {
    let mut inputs = bodies.iter().enumerate().filter(|(_, body)| *body == "input_accepted");
    inputs.nth(1).expect("somebody's input came first").0
}

#[tokio::test]
async fn a_wait_is_durable_before_parked_is_told() {
    for delivery in [Delivery::NextTurn, Delivery::AfterWork, Delivery::BeforeCompletion] {
        let model = TestModel::new([
            Say::Calls(vec![("risky", json!({}))]),
            Say::Text("with it"),
            Say::Text("and the other"),
        ]);
        let opens = |body: &Body| matches!(body, Body::WaitOpened(_));
        let world = overtaken(delivery, opens, model, vec![asking_tool("risky", "it ran")]);
        let listener = Listener::new(&world, "s");
        let mut submit = world.submit("s", "go");
        submit.config.on_ask = OnAsk::Park;
        let config = submit.config.clone();
        let accepted = world.runtime.submit(submit).await.unwrap();
        assert_eq!(world.result(&accepted).await.outcome, "parked", "{delivery:?}");
        let bodies = world.bodies("s").await;
        assert!(overtook(&bodies) < place(&bodies, "wait_opened"), "{delivery:?} {bodies:?}");
        listener.check(&world, &format!("{delivery:?} parked")).await;

        let resolve = Resolve {
            session: accepted.session.clone(),
            wait: "s/1/1/tool/0".into(),
            ruling: Ruling::Allow,
            grant: None,
            by: "person".into(),
        };
        world.runtime.resolve(resolve).await.unwrap();
        world.runtime.resume(&accepted.session, config);
        assert_eq!(world.result(&accepted).await.outcome, "finished");
        let foreign = Accepted { input: overtook(&bodies) as Seq + 1, ..accepted };
        assert_eq!(world.result(&foreign).await.outcome, "finished");
        let bodies = world.bodies("s").await;
        assert_eq!(
            (count(&bodies, "wait_opened"), count(&bodies, "outcome 1/tool/0 ok")),
            (1, 1),
            "{delivery:?} {bodies:?}"
        );
        listener.check(&world, &format!("{delivery:?} finished")).await;
    }
}

#[tokio::test]
async fn an_outcome_is_durable_before_drained_is_told() {
    let (begun, go, runs) = (Arc::new(Notify::new()), Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let inner = (begun.clone(), go.clone(), runs.clone());
    let fire = tool("fire", EffectClass::AtMostOnce, move |_, _| {
        let (begun, go, runs) = inner.clone();
        async move {
            runs.fetch_add(1, Ordering::SeqCst);
            begun.notify_one();
            go.notified().await;
            Ok(ToolReturn::Done(ToolDone::text("fired")))
        }
        .boxed()
    });
    let model = TestModel::new([Say::Calls(vec![("fire", json!({}))])]);
    let world = overtaken(Delivery::NextTurn, is_tool_outcome, model, vec![fire]);
    let listener = Listener::new(&world, "s");
    let accepted = world.runtime.submit(world.submit("s", "go")).await.unwrap();
    begun.notified().await;
    tokio::join!(world.runtime.drain(), async { go.notify_one() });
    assert_eq!(world.result(&accepted).await.outcome, "drained");
    let bodies = world.bodies("s").await;
    assert!(overtook(&bodies) < place(&bodies, "outcome 1/tool/0 ok"), "{bodies:?}");
    listener.check(&world, "drained").await;

    let next = world.next_life("two", TestModel::new([Say::Text("told"), Say::Text("and the other")]));
    next.runtime.resume(&accepted.session, next.config());
    assert_eq!(next.result(&accepted).await.message.as_deref(), Some("told"));
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_outcome_that_is_staged_when_an_input_comes_in_keeps_its_place() {
    // `first` ends; `second`, which runs beside it, submits an input at that very moment.
    let ended = Arc::new(Notify::new());
    let rings = ended.clone();
    let first = tool("first", EffectClass::Pure, move |_, _| {
        rings.notify_one();
        async move { Ok(ToolReturn::Done(ToolDone::text("first ok"))) }.boxed()
    });
    let slot: Arc<OnceLock<(Runtime, std::sync::Mutex<Option<Submit>>)>> = Arc::default();
    let inside = slot.clone();
    let second = tool("second", EffectClass::Pure, move |_, _| {
        let (ended, slot) = (ended.clone(), inside.clone());
        async move {
            ended.notified().await;
            let (runtime, submit) = slot.get().unwrap();
            let submit = submit.lock().unwrap().take().unwrap();
            runtime.submit(submit).await.unwrap();
            Ok(ToolReturn::Done(ToolDone::text("second ok")))
        }
        .boxed()
    });
    let model = TestModel::new([
        Say::Calls(vec![("first", json!({})), ("second", json!({}))]),
        Say::Text("one"),
        Say::Text("two"),
        Say::Text("three"),
    ]);
    let world = overtaken(Delivery::NextTurn, is_tool_outcome, model, vec![first, second]);
    let mine = std::sync::Mutex::new(Some(world.submit("s", "mine")));
    assert!(slot.set((world.runtime.clone(), mine)).is_ok());
    let listener = Listener::new(&world, "s");
    let accepted = world.runtime.submit(world.submit("s", "go")).await.unwrap();
    assert_eq!(world.result(&accepted).await.message.as_deref(), Some("one"));
    let bodies = world.bodies("s").await;
    let inputs: Vec<usize> = (0..bodies.len()).filter(|n| bodies[*n] == "input_accepted").collect();
    let outcome = place(&bodies, "outcome 1/tool/0 ok");
    assert!(inputs.len() == 3 && inputs[1] < outcome && outcome < inputs[2], "{bodies:?}");
    for (input, message) in [(inputs[1], "two"), (inputs[2], "three")] {
        let of = Accepted { input: input as Seq + 1, ..accepted.clone() };
        assert_eq!(world.result(&of).await.message.as_deref(), Some(message));
    }
    listener.check(&world, "finished").await;
}

#[tokio::test]
async fn a_grant_that_was_overtaken_is_given_all_the_same() {
    let permits = Permits { hosts: vec!["a.b".into()], ..Permits::default() };
    let permit = tool("permit", EffectClass::Idempotent, move |_, _| {
        let given = ToolReturn::Permit { permits: permits.clone(), scope: GrantScope::Session };
        async { Ok(given) }.boxed()
    });
    let model = TestModel::new([
        Say::Calls(vec![("permit", json!({}))]),
        Say::Text("with it"),
        Say::Text("and the other"),
    ]);
    let gives = |body: &Body| matches!(body, Body::GrantGiven { .. });
    let world = overtaken(Delivery::NextTurn, gives, model, vec![permit]);
    assert_eq!(world.run(world.submit("s", "go")).await.message.as_deref(), Some("with it"));
    let bodies = world.bodies("s").await;
    assert!(overtook(&bodies) < place(&bodies, "grant_given"), "{bodies:?}");
    assert!(place(&bodies, "grant_given") < place(&bodies, "outcome 1/tool/0 ok"), "{bodies:?}");
    assert_eq!((count(&bodies, "grant_given"), count(&bodies, "outcome 1/tool/0 ok")), (1, 1), "{bodies:?}");
}

/// One input, or two in a row, overtake the n-th append of a turn with calls, an approval and a question.
#[tokio::test]
async fn at_every_append_what_is_told_is_what_the_log_says() {
    for on_ask in [OnAsk::Deny, OnAsk::Park] {
        for overtakers in [1, 2] {
            for n in 0.. {
                let (mut seen, mut left) = (0, 0);
                let log = HookLog::new(move |append| {
                    if !is_driven(append) {
                        return Act::Pass;
                    }
                    seen += 1;
                    left = if seen == n + 1 { overtakers } else { left };
                    if left == 0 {
                        return Act::Pass;
                    }
                    left -= 1;
                    foreign(append, &format!("foreign {left}"), Delivery::AfterWork)
                });
                let runs = Arc::new(AtomicUsize::new(0));
                let inner = runs.clone();
                let fire = tool("fire", EffectClass::AtMostOnce, move |_, _| {
                    inner.fetch_add(1, Ordering::SeqCst);
                    async move { Ok(ToolReturn::Done(ToolDone::text("fired"))) }.boxed()
                });
                let look = echo("look", EffectClass::Pure);
                let model = TestModel::new([
                    Say::Calls(vec![("look", json!({})), ("fire", json!({})), ("risky", json!({}))]),
                    Say::Text("one"),
                    Say::Text("two"),
                    Say::Text("three"),
                ]);
                let world = over(&log, model, vec![fire, look, asking_tool("risky", "it ran")]);
                let context = format!("{on_ask:?} {overtakers} {n}");
                let listener = Listener::new(&world, "s");
                let mut submit = world.submit("s", "go");
                submit.config.on_ask = on_ask;
                let accepted = world.runtime.submit(submit).await.unwrap();
                let result = world.result(&accepted).await;
                let ends = if on_ask == OnAsk::Park { "parked" } else { "finished" };
                assert_eq!((result.outcome, runs.load(Ordering::SeqCst)), (ends, 1), "{context}");
                let bodies = world.bodies("s").await;
                let told = ["outcome 1/tool/0 ok", "outcome 1/tool/1 ok", "wait_opened"];
                assert_eq!(told.map(|name| count(&bodies, name)), [1, 1, 1], "{context} {bodies:?}");
                listener.check(&world, &context).await;
                if log.driven.load(Ordering::SeqCst) <= n {
                    assert!(n >= 3, "there were only {n} appends");
                    break;
                }
            }
        }
    }
}
