//! Frames: a session goes on in a fresh window, with a task, a seed and the person's own words.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/hooks.rs"]
mod double;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::crash_log::{CrashLog, Point};
use common::*;
use double::{Reaction, Told, listening};
use futures::FutureExt;
use serde_json::{Value, json};
use sterna_log::{MemoryLog, SharedLog};
use sterna_model::*;
use sterna_runtime::*;
use sterna_tool::{Access, SharedTool, ToolDone, ToolReturn};

/// Goes on as its arguments say.
fn continue_as() -> SharedTool {
    tool("continue_as", EffectClass::Pure, |_, args| {
        let task = args["task"].as_str().unwrap().to_owned();
        let seed = args["seed"].as_object().cloned().unwrap_or_default();
        async move { Ok(ToolReturn::Continue { task, seed }) }.boxed()
    })
}

fn goes_on(task: &str) -> Say {
    Say::Calls(vec![("continue_as", json!({ "task": task }))])
}

fn tools() -> Vec<SharedTool> {
    vec![continue_as(), echo("look", EffectClass::Pure)]
}

/// The conversation of a request: without the prompt, and without the tail.
fn said(body: &Value) -> Vec<String> {
    let all = body["messages"].as_array().unwrap().iter().filter(|message| message["role"] != "system");
    let text = |message: &Value| {
        let content =
            message["content"].as_str().map_or_else(|| message["content"].to_string(), str::to_owned);
        format!("{}: {content}", message["role"].as_str().unwrap())
    };
    all.map(text).filter(|text| !text.contains("<environment>")).collect()
}

async fn frames(world: &World) -> Vec<Frame> {
    let records = world.records("s").await.into_iter();
    let frame = |record: Record| match record.body {
        Body::Compacted(compacted) => compacted.frame.map(|frame| *frame),
        _ => None,
    };
    records.filter_map(frame).collect()
}

async fn replays(world: &World) {
    let id = SessionId::new("s").unwrap();
    assert_eq!(replay(world.runtime.parts(), &id).await.unwrap().difference, None);
}

#[tokio::test]
async fn a_request_holds_the_task_the_seed_and_the_persons_words_alone() {
    let model = TestModel::new([
        Say::Calls(vec![("look", json!({"old_name": "what was read"}))]),
        Say::Calls(vec![("continue_as", json!({"task": "the second half", "seed": {"k": 1}}))]),
        Say::Text("done"),
        Say::Text("and more"),
    ]);
    let world = World::new(model, tools());
    let result = world.run(world.submit("s", "Never touch main.rs. Do both halves.")).await;
    assert_eq!((result.outcome, result.message.as_deref(), result.steps), ("finished", Some("done"), 3));
    let first = said(&world.model.body(2));
    // As it was written down by hand: nothing else of what was said and done.
    assert_eq!(
        first,
        [
            "user: <earlier>\nYou went on in a fresh window. Records 2 to 9 of this session are kept, and not shown: recall \
         {\"query\":\"words\"} finds what was said and done there, recall {\"ref\":\"record:N\"} reads record N.\n\
         <said_by_the_person>\n[record 2] Never touch main.rs. Do both halves.\n</said_by_the_person>\n</earlier>\n\
         <task>\nthe second half\n</task>\n<seed>\n{\"k\":1}\n</seed>"
        ]
    );
    assert!(!world.model.bodies.lock().unwrap()[2].contains("old_name"));
    // The next turn is in the same window of the same session.
    world.run(world.submit("s", "Go on.")).await;
    let second = said(&world.model.body(3));
    assert_eq!(second[0], first[0]);
    assert_eq!(second[1..], ["assistant: done", "user: Go on."]);
    let held = frames(&world).await;
    // Hash of the session, the window before it and the call, as the design has it.
    let id = blake3::hash(b"s\n-\ns/1/2/tool/0");
    assert_eq!(
        held,
        [Frame {
            id: Digest(*id.as_bytes()),
            task: "the second half".into(),
            seed: serde_json::Map::from_iter([("k".to_owned(), json!(1))]),
        }]
    );
    replays(&world).await;
}

#[tokio::test]
async fn a_seventeenth_window_in_a_turn_is_refused() {
    let list =
        (1..=17).map(|_| goes_on("again")).chain([Say::Text("enough"), goes_on("anew"), Say::Text("done")]);
    let world = World::new(TestModel::new(list), tools());
    let result = world.run(world.submit("s", "Go.")).await;
    assert_eq!((result.outcome, result.message.as_deref()), ("finished", Some("enough")));
    let held = frames(&world).await;
    assert_eq!(held.len(), 16);
    let distinct: std::collections::BTreeSet<String> =
        held.iter().map(|frame| frame.id.to_string()).collect();
    assert_eq!(distinct.len(), 16);
    let last = said(&world.model.body(17)).pop().unwrap();
    assert!(last.starts_with("tool: frame_limit: "), "{last}");
    // The next turn may again.
    assert_eq!(world.run(world.submit("s", "Once more.")).await.message.as_deref(), Some("done"));
    assert_eq!(frames(&world).await.len(), 17);
    replays(&world).await;
}

#[tokio::test]
async fn of_two_in_one_answer_the_first_counts_and_the_step_comes_to_its_end() {
    let calls = vec![
        ("continue_as", json!({"task": "one"})),
        ("continue_as", json!({"task": "two"})),
        ("look", json!({"at": "it"})),
    ];
    let world = World::new(TestModel::new([Say::Calls(calls), Say::Text("done")]), tools());
    assert_eq!(world.run(world.submit("s", "Go.")).await.message.as_deref(), Some("done"));
    let held = frames(&world).await;
    assert_eq!(held.len(), 1);
    let records = world.records("s").await;
    let (mut ok, mut failed) = (0, 0);
    for record in &records {
        if let Body::Outcome(outcome) = &record.body
            && let EffectResult::Tool(tool) = &outcome.result
        {
            match tool.status {
                ToolStatus::Ok => ok += 1,
                _ => failed += 1,
            }
        }
    }
    assert_eq!((ok, failed), (2, 1));
    // The window opens after the last of them.
    let opened = records.iter().position(|record| matches!(record.body, Body::Compacted(_))).unwrap();
    let is_tool =
        |record: &Record| matches!(&record.body, Body::Outcome(o) if o.key.kind == EffectKind::Tool);
    assert!(records[opened..].iter().all(|record| !is_tool(record)));
    replays(&world).await;
}

#[tokio::test]
async fn a_rewind_leads_back_into_the_window_before() {
    let list = [Say::Text("first"), goes_on("the rest"), Say::Text("second"), Say::Text("third")];
    let world = World::new(TestModel::new(list), tools());
    world.run(world.submit("s", "One.")).await;
    let id = SessionId::new("s").unwrap();
    let to = State::load(&world.runtime.parts().log, &id).await.unwrap().head;
    world.run(world.submit("s", "Two.")).await;
    let what = RewindWhat::Conversation;
    let rewind = Rewind { session: id, to, what, force: false, by: "test".into(), plan: None };
    world.runtime.rewind(rewind).await.unwrap();
    world.run(world.submit("s", "Three.")).await;
    assert_eq!(said(&world.model.body(3)), ["user: One.", "assistant: first", "user: Three."]);
    replays(&world).await;
}

#[tokio::test]
async fn what_strangers_said_counts_in_the_window_too() {
    let page = tool_of("mcp__tickets__read", EffectClass::Pure, Access::Session, |_, _| {
        async move { Ok(ToolReturn::Done(ToolDone::text("a ticket"))) }.boxed()
    });
    let list = [
        Say::Calls(vec![
            ("mcp__tickets__read", json!({})),
            ("continue_as", json!({"task": "do as it says"})),
        ]),
        Say::Text("done"),
    ];
    let world = World::new(TestModel::new(list), vec![continue_as(), page]);
    assert_eq!(world.run(world.submit("s", "Go.")).await.message.as_deref(), Some("done"));
    assert_eq!(frames(&world).await.len(), 1);
    let state = State::load(&world.runtime.parts().log, &SessionId::new("s").unwrap()).await.unwrap();
    let origins: Vec<String> = state.transcript.untrusted().into_iter().map(|one| one.origin).collect();
    assert_eq!(origins, ["mcp:tickets"]);
}

#[tokio::test]
async fn hooks_and_watchers_are_told_of_a_window_once() {
    let told = Told::default();
    let events = [HookEvent::FrameOpened, HookEvent::PostCompact, HookEvent::PreCompact];
    let hooks = listening("h", &events, &told, |_| Reaction::Says(HookAnswer::nothing()));
    let list = [
        Say::Calls(vec![("continue_as", json!({"task": "t", "seed": {"b": [1], "a": 2}}))]),
        Say::Text("done"),
    ];
    let world = World::new(TestModel::new(list), tools()).hooked(hooks);
    world.run(world.submit("s", "Go.")).await;
    assert_eq!(told.events(), [HookEvent::FrameOpened]);
    let input = told.input(HookEvent::FrameOpened);
    let frame = frames(&world).await[0].id.to_string();
    assert_eq!(
        (&input["task"], &input["seed"], &input["frame_id"]),
        (&json!("t"), &json!(["a", "b"]), &json!(frame))
    );
    let events = shown(&world, "s").await;
    let opened: Vec<&Value> =
        events.iter().map(|(_, e)| e).filter(|e| e["type"] == "context.frame").collect();
    assert_eq!(opened.len(), 1);
    assert_eq!((&opened[0]["frame"], &opened[0]["seed"]), (&json!(frame), &json!(["a", "b"])));
    let schema: Value = serde_json::from_str(include_str!("../../../events.schema.json")).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    assert!(schema.is_valid(opened[0]), "{}", opened[0]);
}

/// Lives once up to the point, then again to the end: one window, whatever was cut.
async fn crash(point: Point) -> usize {
    let log = Arc::new(MemoryLog::new());
    let armed = Arc::new(AtomicUsize::new(0));
    let crashing = Arc::new(CrashLog::new(log.clone(), point, armed.clone()));
    let env = TestEnv::new("one");
    let shared: SharedLog = crashing.clone();
    let list = || [goes_on("the rest"), Say::Text("done")];
    let model = TestModel::new(list());
    let first = World::with(shared, log.clone(), env, model.clone(), Arc::new(model), tools());
    let submit = Submit { drive: false, ..first.submit("s", "Go.") };
    let accepted = first.runtime.submit(submit).await.unwrap();
    armed.store(1, Ordering::SeqCst);
    first.runtime.resume(&accepted.session, first.config());
    if point == Point::None {
        assert_eq!(first.result(&accepted).await.message.as_deref(), Some("done"));
    } else {
        let (mut still, mut seen) = (0, 0);
        while still < 15 {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            let now = crashing.appends.load(Ordering::SeqCst);
            still = if now == seen { still + 1 } else { 0 };
            seen = now;
        }
        let asked = first.model.asked();
        // What was answered before is in the log or is asked again; the model goes on from there.
        let bodies = first.bodies("s").await;
        let answered =
            bodies.iter().filter(|body| body.starts_with("outcome") && body.contains("model")).count();
        let second = first.next_life("two", TestModel::new(list().into_iter().skip(answered)));
        second.runtime.resume(&accepted.session, second.config());
        let result = second.result(&accepted).await;
        assert_eq!(result.message.as_deref(), Some("done"), "{point:?} {asked}\n{}", bodies.join("\n"));
        assert_eq!(frames(&second).await.len(), 1, "{point:?}");
        replays(&second).await;
    }
    crashing.appends.load(Ordering::SeqCst)
}

#[tokio::test]
async fn a_crash_anywhere_opens_one_window() {
    let appends = crash(Point::None).await;
    assert!(appends >= 3, "{appends}");
    for n in 0..appends {
        crash(Point::BeforeAppend(n)).await;
        crash(Point::AfterAppend(n)).await;
    }
}
