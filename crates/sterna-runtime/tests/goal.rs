//! Goals: turn after turn until they are reached or halted, with exact sums, over restarts. SC-65.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use common::crash_log::{CrashLog, Point};
use common::*;
use futures::FutureExt;
use serde_json::json;
use sterna_log::MemoryLog;
use sterna_log::fold::GoalState;
use sterna_model::*;
use sterna_runtime::*;
use sterna_tool::{ChildOp, SharedTool, SpawnChild, ToolDone, ToolReturn};

/// Each answer of the model uses 110 tokens.
const ANSWER: u64 = 110;

fn id() -> SessionId {
    SessionId::new("s").unwrap()
}

/// Says that the goal is reached, or blocked.
fn ends() -> SharedTool {
    tool("goal", EffectClass::Idempotent, |_, args| {
        async move {
            let status = serde_json::from_value(args["status"].clone()).unwrap();
            let change = GoalChange::Status { status, why: "as I say".into(), by: "model".into() };
            let facts = vec![Fact::Goal(Box::new(change))];
            Ok(ToolReturn::Done(ToolDone { facts, ..ToolDone::text("noted") }))
        }
        .boxed()
    })
}

/// Gives the work to an agent, and waits for it.
fn hands_on() -> SharedTool {
    tool("hand_on", EffectClass::Idempotent, |cx, _| {
        async move {
            Ok(match cx.ended {
                Some(end) => ToolReturn::Done(ToolDone::text(end.message.clone())),
                None => ToolReturn::Child(ChildOp::Spawn(Box::new(SpawnChild {
                    agent: "general".into(),
                    prompt: String::new(),
                    task: "help".into(),
                    tools: Vec::new(),
                    route: None,
                    max_steps: 5,
                    fork: false,
                    worktree: false,
                    background: false,
                }))),
            })
        }
        .boxed()
    })
}

fn tools() -> Vec<SharedTool> {
    vec![echo("look", EffectClass::Pure), ends(), hands_on()]
}

fn look(n: u32) -> Say {
    Say::Calls(vec![("look", json!({ "at": n }))])
}

async fn set(world: &World, budget: Option<u64>) -> Accepted {
    let config = world.config();
    world.runtime.set_goal(Some(id()), Some("k"), "all tests pass", budget, config, "test").await.unwrap()
}

/// The goal when nothing goes on any more.
async fn settled(world: &World) -> GoalState {
    let wait = async {
        loop {
            let held = held(world).await;
            if !held.is_active() {
                return held;
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), wait).await.expect("the goal hangs")
}

async fn held(world: &World) -> GoalState {
    let log: sterna_log::SharedLog = world.log.clone();
    State::load(&log, &id()).await.unwrap().folded.world.goal.held().unwrap().clone()
}

/// The keys of the session's inputs, without the goal's own name.
async fn inputs(world: &World) -> Vec<String> {
    let records = world.records("s").await;
    let key = |record: &Record| match &record.body {
        Body::InputAccepted(input) => Some(input.key.clone().unwrap_or_default()),
        _ => None,
    };
    let rest = |key: String| key.rsplit(':').next().unwrap_or_default().to_owned();
    records.iter().filter_map(key).map(rest).collect()
}

#[tokio::test]
async fn each_end_leads_on_until_nine_tenths_are_used_then_one_turn_wraps_up() {
    // Turns of two answers each: 220, 440, 660, 880; the fifth has room for one.
    let list =
        (0..4).flat_map(|n| [look(n), Say::Text("so far")]).chain([look(4), Say::Text("what is left")]);
    let world = World::new(TestModel::new(list), tools());
    set(&world, Some(1_000)).await;
    let held = settled(&world).await;
    assert_eq!((held.status, held.tokens), (GoalStatus::BudgetLimited, 10 * ANSWER));
    assert_eq!(held.why, "1100 of 1000 tokens are used");
    assert_eq!(inputs(&world).await, ["1", "2", "3", "4", "5", "last-6"]);
    assert_eq!(world.model.asked(), 10);
    // The goal and what was used for it stand in the request.
    let body = world.model.body(2).to_string();
    assert!(body.contains("all tests pass") && body.contains("220 of 1000 tokens used"), "{body}");
    let last = world.model.body(9).to_string();
    assert!(last.contains("This is its last turn"), "{last}");
}

#[tokio::test]
async fn what_agents_use_counts_and_a_restart_changes_nothing() {
    let list = [
        Say::Calls(vec![("hand_on", json!({}))]),
        Say::Text("helped"),
        Say::Text("so far"),
        look(1),
        Say::Hang("half"),
    ];
    let first = World::new(TestModel::new(list), tools());
    set(&first, Some(100_000)).await;
    while first.model.asked() < 5 {
        first.model.arrived.notified().await;
    }
    assert_eq!(held(&first).await.tokens, 4 * ANSWER);
    let again =
        [Say::Text("half"), Say::Calls(vec![("goal", json!({"status": "complete"}))]), Say::Text("done")];
    let second = first.next_life("two", TestModel::new(again));
    // The same key sets no second goal, and drives on.
    let accepted = set(&second, Some(100_000)).await;
    assert!(accepted.repeated);
    let held = settled(&second).await;
    assert_eq!((held.status, held.why.as_str()), (GoalStatus::Complete, "as I say"));
    let log: sterna_log::SharedLog = second.log.clone();
    while State::load(&log, &id()).await.unwrap().machine.turn().is_some() {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    // Seven answers with the agent's; and the one that the crash took, which is billed by estimate.
    let lost = |record: &Record| match &record.body {
        Body::Attempt(attempt) => attempt.failure.billed.usage.total(),
        _ => 0,
    };
    let lost: u64 = second.records("s").await.iter().map(lost).sum();
    assert!(lost > 0);
    let state = State::load(&log, &id()).await.unwrap();
    assert_eq!(state.folded.world.goal.held().unwrap().tokens, 7 * ANSWER + lost);
    assert_eq!(state.folded.ledger.total().usage.total(), 7 * ANSWER + lost);
    assert_eq!(inputs(&second).await, ["1", "2", "3"]);
}

#[tokio::test]
async fn three_turns_that_bring_nothing_new_block_it() {
    // The second look at the same thing is nothing new.
    let list = [look(1), Say::Text("a"), look(1), Say::Text("b"), Say::Text("c"), look(1), Say::Text("d")];
    let world = World::new(TestModel::new(list), tools());
    set(&world, None).await;
    let held = settled(&world).await;
    assert_eq!((held.status, held.stalled), (GoalStatus::Blocked, 3));
    assert_eq!(held.why, "3 turns in a row brought nothing new");
    assert_eq!(inputs(&world).await, ["1", "2", "3", "4"]);
    // A person says that it goes on.
    world
        .model
        .list
        .lock()
        .unwrap()
        .extend([Say::Calls(vec![("goal", json!({"status": "blocked"}))]), Say::Text("I need a key")]);
    world.runtime.resume_goal(&id(), Some(9_999), world.config(), "test").await.unwrap();
    let held = settled(&world).await;
    assert_eq!((held.status, held.why.as_str()), (GoalStatus::Blocked, "as I say"));
    assert_eq!(held.goal.token_budget, Some(9_999));
}

#[tokio::test]
async fn what_somebody_says_comes_first_and_a_cancel_halts_it() {
    let list = [Say::Hang("one"), Say::Text("to you"), look(1), Say::Hang("three")];
    let world = World::new(TestModel::new(list), tools());
    set(&world, None).await;
    world.model.arrived.notified().await;
    let submit = world.submit("s", "how far are you?");
    let said = world.runtime.submit(submit).await.unwrap();
    world.model.go.notify_one();
    assert_eq!(world.result(&said).await.message.as_deref(), Some("to you"));
    while world.model.asked() < 4 {
        world.model.arrived.notified().await;
    }
    world.runtime.cancel(&id(), "test", "enough").await.unwrap();
    let held = settled(&world).await;
    assert_eq!((held.status, held.why.as_str()), (GoalStatus::Paused, "its turn was cancelled"));
    assert_eq!(inputs(&world).await, ["1", "", "2"]);
    assert!(world.runtime.end_goal(&id(), GoalStatus::Paused, "", "test").await.is_err());
    world.runtime.clear_goal(&id(), "test").await.unwrap();
    let why = world.runtime.resume_goal(&id(), None, world.config(), "test").await.unwrap_err();
    assert!(why.to_string().contains("has no goal"), "{why}");
}

#[tokio::test]
async fn a_crash_before_or_after_any_append_doubles_no_turn() {
    let list = || {
        [
            look(1),
            Say::Text("a"),
            Say::Calls(vec![("goal", json!({"status": "complete"}))]),
            Say::Text("done"),
        ]
    };
    // A life that nothing stops says how many appends there are.
    let whole = World::new(TestModel::new(list()), tools());
    set(&whole, Some(100_000)).await;
    settled(&whole).await;
    let mut crashed = 0;
    for n in 0..12 {
        for point in [Point::BeforeAppend(n), Point::AfterAppend(n)] {
            let log = Arc::new(MemoryLog::new());
            let env = TestEnv::new("one");
            let model = TestModel::new(list());
            let armed = Arc::new(AtomicUsize::new(1));
            let failing = Arc::new(CrashLog::new(log.clone(), point, armed));
            let provider = Arc::new(model.clone());
            let first = World::with(failing, log, env, model, provider, tools());
            let began = tokio::time::timeout(std::time::Duration::from_millis(150), async {
                set(&first, Some(100_000)).await;
                settled(&first).await;
            });
            crashed += usize::from(began.await.is_err());
            // What was answered is in the log, or is asked for again.
            let answered = match sterna_log::Log::head(&*first.log, &id()).await {
                Ok(_) => first
                    .records("s")
                    .await
                    .iter()
                    .filter(|r| name_of(r).contains("/model/") && name_of(r).starts_with("outcome"))
                    .count(),
                Err(_) => 0,
            };
            let second = first.next_life("two", TestModel::new(list().into_iter().skip(answered)));
            set(&second, Some(100_000)).await;
            let held = settled(&second).await;
            assert_eq!((held.status, held.why.as_str()), (GoalStatus::Complete, "as I say"), "{point:?}");
            let keys = inputs(&second).await;
            let distinct: BTreeSet<&String> = keys.iter().collect();
            assert_eq!(
                (keys.as_slice(), distinct.len()),
                (["1".to_owned(), "2".to_owned()].as_slice(), 2),
                "{point:?}"
            );
        }
    }
    assert!(crashed >= 10, "{crashed}");
}

#[tokio::test]
async fn whoever_came_for_one_turn_leaves_the_next_of_the_goal_to_others() {
    let world = World::new(TestModel::new([Say::Hang("one"), Say::Text("one"), Say::Text("two")]), vec![]);
    let id = SessionId::new("s").unwrap();
    let set = world.runtime.set_goal(Some(id.clone()), None, "Do it all.", None, world.config(), "test");
    let accepted = set.await.unwrap();
    world.model.arrived.notified().await;
    world.runtime.end_after(&id, accepted.input);
    world.model.go.notify_one();
    world.result(&accepted).await;
    world.runtime.rest(&id).await;
    let bodies = world.bodies("s").await;
    let begun = |bodies: &[String]| bodies.iter().filter(|body| *body == "turn_started").count();
    assert_eq!(begun(&bodies), 1, "{bodies:?}");
    assert_eq!(bodies.last().unwrap(), "input_accepted", "what follows is in the log, with the turn's end");
    // Whoever comes next goes on.
    world.runtime.resume(&id, world.config());
    for _ in 0..2_000 {
        if begun(&world.bodies("s").await) > 1 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    assert!(begun(&world.bodies("s").await) > 1);
}
