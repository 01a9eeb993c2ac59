//! Hooks that ask a model: what its answer does, who pays, and that nobody is asked twice.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/hooks.rs"]
mod double;

use std::sync::Arc;

use common::*;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::json;
use sterna_model::*;
use sterna_runtime::*;
use sterna_tool::{Access, SharedTool, ToolDone, ToolReturn};

/// As a hook of a file does it.
struct Prompted;

impl Hook for Prompted {
    fn name(&self) -> &str {
        "prompted"
    }
    fn on<'a>(&'a self, call: &'a HookCall) -> BoxFuture<'a, HookAnswer> {
        async move {
            let route = "test/small".parse().unwrap();
            let model = call.model.as_ref().expect("a turn runs");
            model.judge(Some(&route), "May it? $ARGUMENTS", &call.input).await
        }
        .boxed()
    }
}

fn writes() -> Vec<SharedTool> {
    vec![tool_of("write", EffectClass::AtMostOnce, Access::Write("/w/a".into()), |_, _| {
        async { Ok(ToolReturn::Done(ToolDone::text("written"))) }.boxed()
    })]
}

fn world(says: Say) -> World {
    let write = Say::Calls(vec![("write", json!({"content": "x"}))]);
    World::new(TestModel::new([write, says, Say::Text("done")]), writes())
        .hooked(vec![Listening::new(HookEvent::PreToolUse, Arc::new(Prompted))])
}

async fn ended(world: &World) -> (ToolStatus, String) {
    let outcome = world.records("s").await.into_iter().find_map(|record| match record.body {
        Body::Outcome(outcome) => match outcome.result {
            EffectResult::Tool(tool) => Some((tool.status, tool.view)),
            _ => None,
        },
        _ => None,
    });
    outcome.unwrap()
}

/// Calls and tokens by source.
async fn spent(world: &World) -> Vec<(&'static str, u64, u64)> {
    let mut folded = sterna_log::fold::Folded::new();
    world.records("s").await.iter().for_each(|record| folded.apply(record));
    let sums = folded.ledger.by_source().iter();
    sums.map(|(source, sum)| (source.word(), sum.calls, sum.usage.total())).collect()
}

#[tokio::test]
async fn a_model_says_yes_or_no_and_all_else_forbids() {
    for (says, status, told) in [
        (Say::Text(r#"{"ok": true}"#), ToolStatus::Ok, "written"),
        (
            Say::Text(r#"{"reason": "it is late", "ok": false}"#),
            ToolStatus::Denied,
            "it is late (hook prompted)",
        ),
        (Say::Text("Sure, go ahead!"), ToolStatus::Denied, "no verdict"),
        (Say::Calls(vec![("write", json!({"content": "y"}))]), ToolStatus::Denied, "called a tool"),
        (Say::Fail(ErrorClass::Server), ToolStatus::Denied, "as the test says"),
    ] {
        let world = world(says);
        world.run(world.submit("s", "go")).await;
        let (ended, view) = ended(&world).await;
        assert!(ended == status && view.contains(told), "{ended:?} {view}");
        // Asked with the event and nothing of the session; what hooks said is in the log, and replay asks nobody.
        let asked = world.model.body(1).to_string();
        assert!(
            asked.contains("May it?") && asked.contains("PreToolUse") && !asked.contains("\"tools\""),
            "{asked}"
        );
        assert_eq!(world.model.asked(), 3);
        let replayed = replay(world.runtime.parts(), &SessionId::new("s").unwrap()).await.unwrap();
        assert_eq!((replayed.difference, world.model.asked()), (None, 3));
    }
}

#[tokio::test]
async fn it_is_paid_under_a_source_of_its_own() {
    let world = world(Say::Text(r#"{"ok": true}"#));
    let result = world.run(world.submit("s", "go")).await;
    assert_eq!(spent(&world).await, [("turn", 2, 220), ("hook", 1, 110)]);
    let models: Vec<String> = result.usage.iter().map(|used| used.model.to_string()).collect();
    assert_eq!((models, result.cost), (vec!["test/model".into(), "test/small".into()], Some(3_000.0 / 1e9)));
}

#[tokio::test]
async fn a_cap_that_leaves_no_room_is_a_failure() {
    for cap in ["turn", "session", "tree"] {
        let write = Say::Calls(vec![("write", json!({"content": "x"}))]);
        let world = World::new(TestModel::new([write]), writes())
            .hooked(vec![Listening::new(HookEvent::PreToolUse, Arc::new(Prompted))]);
        let mut submit = world.submit("s", "go");
        let limits = &mut submit.config.limits;
        // One answer of 110 tokens leaves less than a verdict may take, and nothing to go on with.
        match cap {
            "turn" => limits.max_tokens = Some(115),
            "session" => limits.session_max_tokens = Some(115),
            _ => limits.tree_max_tokens = Some(115),
        }
        submit.config.max_output = Some(10);
        world.run(submit).await;
        let (ended, view) = ended(&world).await;
        assert!(
            ended == ToolStatus::Denied && view.contains("a cap of the turn leaves no room"),
            "{cap}: {view}"
        );
        assert_eq!(spent(&world).await.iter().filter(|(source, ..)| *source == "hook").count(), 0, "{cap}");
    }
}

/// One that is given up has cost something all the same: it is in the ledger as an estimate.
#[tokio::test]
async fn a_model_that_is_too_slow_forbids_and_is_estimated() {
    let write = Say::Calls(vec![("write", json!({"content": "x"}))]);
    let slow = Listening { timeout_ms: 40, ..Listening::new(HookEvent::PreToolUse, Arc::new(Prompted)) };
    let world =
        World::new(TestModel::new([write, Say::Hang("{"), Say::Text("done")]), writes()).hooked(vec![slow]);
    world.run(world.submit("s", "go")).await;
    let (ended, view) = ended(&world).await;
    assert!(ended == ToolStatus::Denied && view.contains("no answer within 40 ms"), "{view}");
    let hook = spent(&world).await.into_iter().find(|(source, ..)| *source == "hook").unwrap();
    assert!(hook.1 == 1 && hook.2 > 0, "{hook:?}");
}

/// How often models were to be asked by hooks, by the log.
async fn intended(world: &World) -> usize {
    world.bodies("s").await.iter().filter(|body| *body == "hook_intent").count()
}

fn hanging() -> World {
    let write = Say::Calls(vec![("write", json!({"content": "x"}))]);
    let slow = Listening { timeout_ms: 60_000, ..Listening::new(HookEvent::PreToolUse, Arc::new(Prompted)) };
    World::new(TestModel::new([write, Say::Hang("{")]), writes()).hooked(vec![slow])
}

/// The turn's call, then that of the hook.
async fn until_the_hook_asks(world: &World) {
    while world.model.asked() < 2 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn that_a_model_is_asked_is_durable_before_it_is() {
    let world = hanging();
    let accepted = world.runtime.submit(world.submit("s", "go")).await.unwrap();
    until_the_hook_asks(&world).await;
    assert_eq!(intended(&world).await, 1);
    // Here the first process dies: nobody heard the answer, and it is paid all the same.
    let next = world.next_life("two", TestModel::new([Say::Text(r#"{"ok": true}"#), Say::Text("done")]));
    let next = next.hooked(vec![Listening::new(HookEvent::PreToolUse, Arc::new(Prompted))]);
    next.runtime.resume(&accepted.session, next.config());
    let result = next.result(&accepted).await;
    assert_eq!(result.message.as_deref(), Some("done"));
    let hook = spent(&next).await.into_iter().find(|(source, ..)| *source == "hook").unwrap();
    // One that was told, and one that is reckoned by its bytes.
    assert!(hook.1 == 2 && hook.2 > 110, "{hook:?}");
    let of_hooks = result.usage.iter().find(|used| used.model.to_string() == "test/small").unwrap();
    assert_eq!(of_hooks.calls, 2);
    let ran: Vec<HookRan> = next
        .records("s")
        .await
        .into_iter()
        .filter_map(|record| match record.body {
            Body::HookRan(ran) => Some(*ran),
            _ => None,
        })
        .collect();
    assert_eq!(ran.len(), 1);
    let estimated: Vec<bool> = ran[0].asked.iter().map(|asked| asked.billed.estimated).collect();
    assert_eq!((estimated, intended(&next).await), (vec![true, false], 2));
    let replayed = replay(next.runtime.parts(), &SessionId::new("s").unwrap()).await.unwrap();
    assert_eq!(replayed.difference, None);
}

/// Nobody waits for the answer any more, or asks again: what it may have cost is in the turn's sum.
#[tokio::test]
async fn what_is_given_up_with_its_turn_is_paid() {
    for dies in [false, true] {
        let world = hanging();
        let accepted = world.runtime.submit(world.submit("s", "go")).await.unwrap();
        until_the_hook_asks(&world).await;
        let world = match dies {
            false => world,
            // Whoever comes next has no hooks.
            true => world.next_life("two", TestModel::new([])),
        };
        world.runtime.cancel(&accepted.session, "person", "enough").await.unwrap();
        if dies {
            world.runtime.resume(&accepted.session, world.config());
        }
        let result = world.result(&accepted).await;
        assert_eq!(result.stop, Some(StopReason::Cancelled), "{dies}");
        let hook = spent(&world).await.into_iter().find(|(source, ..)| *source == "hook");
        assert!(hook.is_some_and(|hook| hook.1 == 1 && hook.2 > 0), "{dies}: {hook:?}");
        let committed = world.records("s").await.into_iter().find_map(|record| match record.body {
            Body::TurnCommitted(committed) => Some(committed.usage.total()),
            _ => None,
        });
        let all: u64 = spent(&world).await.iter().map(|(_, _, tokens)| tokens).sum();
        assert_eq!(committed, Some(all), "{dies}");
    }
}

/// What a cap refuses is not asked, and stands nowhere.
#[tokio::test]
async fn what_is_not_asked_is_not_intended() {
    let write = Say::Calls(vec![("write", json!({"content": "x"}))]);
    let world = World::new(TestModel::new([write]), writes())
        .hooked(vec![Listening::new(HookEvent::PreToolUse, Arc::new(Prompted))]);
    let mut submit = world.submit("s", "go");
    submit.config.limits.max_tokens = Some(115);
    submit.config.max_output = Some(10);
    world.run(submit).await;
    assert_eq!(intended(&world).await, 0);
}
