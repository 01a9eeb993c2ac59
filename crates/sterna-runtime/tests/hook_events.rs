//! Hooks of what happens round a turn: each event fires when it happens and at no other time, with what it is about; and
//! those that may forbid are heard first.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/hooks.rs"]
mod double;
#[path = "common/tasks.rs"]
mod todo;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use common::*;
use double::{Reaction, Told, listening};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use sterna_context::Section;
use sterna_model::HookEvent as E;
use sterna_model::*;
use sterna_runtime::*;
use sterna_tool::{SharedTool, ToolDone, ToolReturn};
use todo::{task, tasks};

fn watching(told: &Told) -> Vec<Listening> {
    listening("h", &E::ALL, told, |_| Reaction::Says(HookAnswer::nothing()))
}

fn texts(n: usize) -> TestModel {
    TestModel::new((0..n).map(|_| Say::Text("done")))
}

fn count(told: &Told, event: E) -> usize {
    told.events().iter().filter(|fired| **fired == event).count()
}

async fn replays(world: &World) {
    let parts = Parts { hooks: None, ..world.runtime.parts().clone() };
    let replayed = replay(&parts, &SessionId::new("s").unwrap()).await.unwrap();
    assert_eq!(replayed.difference, None);
}

/// What came by itself: an agent's end, a job's, a run of a schedule or a trigger. Once, in the turn that takes it.
#[tokio::test]
async fn what_comes_by_itself_is_told_in_the_turn_that_takes_it() {
    for (origin, key, event, field, value) in [
        ("job", "job:s/1/1/tool/0", E::ProcessEvent, "process", "s/1/1/tool/0"),
        ("automation", "run:nightly.3.99", E::TriggerFired, "name", "nightly"),
    ] {
        let told = Told::default();
        let world = World::new(texts(3), vec![]).hooked(watching(&told));
        world.run(world.submit("s", "first")).await;
        assert_eq!(count(&told, event), 0);
        let by_itself = Submit { key: Some(key.into()), origin: origin.into(), ..world.submit("s", "news") };
        world.run(by_itself).await;
        world.run(world.submit("s", "last")).await;
        assert_eq!(count(&told, event), 1, "{event:?}");
        let input = told.input(event);
        assert_eq!((&input[field], &input["turn_id"]), (&json!(value), &json!(2)), "{input}");
        assert!(input.to_string().contains("news"), "{input}");
        replays(&world).await;
    }
}

/// One that enters a turn that runs is told there.
#[tokio::test]
async fn a_job_that_ends_in_a_turn_is_told_in_it() {
    let told = Told::default();
    let model = TestModel::new([Say::Hang("thinking"), Say::Text("done")]);
    let world = World::new(model, vec![]).hooked(watching(&told));
    let accepted = world.runtime.submit(world.submit("s", "go")).await.unwrap();
    world.model.arrived.notified().await;
    let (key, origin) = (Some("job:s/1/1/tool/0".into()), "job".into());
    let steer = Submit { delivery: Delivery::AfterWork, key, origin, ..world.submit("s", "it ended") };
    world.runtime.submit(steer).await.unwrap();
    world.model.go.notify_one();
    world.result(&accepted).await;
    assert_eq!(count(&told, E::ProcessEvent), 1);
    assert_eq!(told.input(E::ProcessEvent)["turn_id"], 1);
}

#[tokio::test]
async fn another_folder_is_told_once() {
    let told = Told::default();
    let world = World::new(texts(3), vec![]).hooked(watching(&told));
    for (cwd, fired) in [("/w", 0), ("/w/deep", 1), ("/w/deep", 1)] {
        let mut submit = world.submit("s", "go");
        submit.config.cwd = cwd.into();
        world.run(submit).await;
        assert_eq!(count(&told, E::CwdChanged), fired, "{cwd}");
    }
    let input = told.input(E::CwdChanged);
    assert_eq!((&input["old_cwd"], &input["new_cwd"]), (&json!("/w"), &json!("/w/deep")));
}

/// The first session of a folder makes it ready, before anything else; no later one does.
#[tokio::test]
async fn a_folder_is_made_ready_once() {
    let told = Told::default();
    let world = World::new(texts(3), vec![]).hooked(watching(&told));
    world.run(world.submit("s", "go")).await;
    assert_eq!(told.events()[0], E::Setup);
    assert_eq!(told.input(E::Setup)["trigger"], "init");
    world.run(world.submit("s", "again")).await;
    world.run(world.submit("t", "another")).await;
    assert_eq!(count(&told, E::Setup), 1);
    let mut elsewhere = world.submit("u", "elsewhere");
    (elsewhere.config.root, elsewhere.config.cwd) = ("/v".into(), "/v".into());
    world.model.list.lock().unwrap().push_back(Say::Text("done"));
    world.run(elsewhere).await;
    assert_eq!(count(&told, E::Setup), 2);
}

/// Nor does a second turn of the driver that has made it ready.
#[tokio::test]
async fn a_driver_that_goes_on_with_another_turn_makes_nothing_ready_again() {
    let told = Told::default();
    let model = TestModel::new([Say::Hang("first"), Say::Text("second")]);
    let world = World::new(model, vec![]).hooked(watching(&told));
    let first = world.runtime.submit(world.submit("s", "go")).await.unwrap();
    world.model.arrived.notified().await;
    let second = world.runtime.submit(world.submit("s", "and then")).await.unwrap();
    world.model.go.notify_one();
    world.result(&first).await;
    world.result(&second).await;
    assert_eq!((count(&told, E::TurnStart), count(&told, E::SessionStart)), (2, 1));
    assert_eq!(count(&told, E::Setup), 1);
    assert!(count(&told, E::SessionRestored) == 0, "another driver came: {:?}", told.events());
}

/// Instructions are told when they are others than those of the turn before.
#[tokio::test]
async fn instructions_are_told_when_they_change() {
    let told = Told::default();
    let text = Arc::new(Mutex::new(""));
    let of_turn: TurnSections = {
        let text = text.clone();
        Arc::new(move |_| match *text.lock().unwrap() {
            "" => Vec::new(),
            text => vec![Section {
                name: "instructions/1".into(),
                owner: "/w/AGENTS.md:1-2".into(),
                stability: Stability::Frame,
                text: text.into(),
            }],
        })
    };
    let world = World::new(texts(4), vec![]).hooked(watching(&told));
    let prompt = PromptSource::with_turn(Vec::new(), of_turn);
    for (now, fired) in [("", 0), ("be kind", 1), ("be kind", 1), ("be quick", 2)] {
        *text.lock().unwrap() = now;
        let mut submit = world.submit("s", "go");
        submit.config.prompt = prompt.clone();
        world.run(submit).await;
        assert_eq!(count(&told, E::InstructionsLoaded), fired, "{now}");
    }
    let files = &told.input(E::InstructionsLoaded)["files"];
    assert_eq!(files, &json!([{"file_path": "/w/AGENTS.md", "lines": "1-2"}]));
}

/// A file that the session knows was changed by somebody else, within a turn or between two.
#[tokio::test]
async fn files_that_others_changed_are_told_once_for_each_version() {
    let hash = |n: u8| Digest([n; 32]);
    let read = tool("look", EffectClass::Pure, move |_, args| {
        async move {
            let hash = hash(args["n"].as_u64().unwrap_or(1) as u8);
            let facts = vec![Fact::FileRead { path: "/w/a.rs".into(), hash }];
            Ok(ToolReturn::Done(ToolDone { facts, ..ToolDone::text("one") }))
        }
        .boxed()
    });
    let told = Told::default();
    let model = TestModel::new([Say::Calls(vec![("look", json!({}))]), Say::Text("done")]);
    let world = World::new(model, vec![read]);
    let now = |version| world.env.files.lock().unwrap().insert(PathBuf::from("/w/a.rs"), version);
    now(FileVersion::Is(hash(1)));
    let files = world.env.files.clone();
    // Somebody writes it as soon as it was read.
    let hooks = listening("h", &[E::PostToolUse], &Told::default(), move |_| {
        files.lock().unwrap().insert(PathBuf::from("/w/a.rs"), FileVersion::Is(hash(2)));
        Reaction::Says(HookAnswer::nothing())
    });
    let all = watching(&told).into_iter().chain(hooks).collect();
    let (env, list) = (world.env.clone(), world.model.list.clone());
    let world = world.hooked(all);
    world.run(world.submit("s", "go")).await;
    assert_eq!(count(&told, E::FileChanged), 1);
    let input = told.input(E::FileChanged);
    assert_eq!((&input["file_path"], &input["change"]), (&json!("/w/a.rs"), &json!("changed")));
    for (version, change, fired) in [
        (FileVersion::Is(hash(2)), "changed", 1),
        (FileVersion::Is(hash(3)), "changed", 2),
        (FileVersion::Gone, "removed", 3),
        (FileVersion::Gone, "removed", 3),
        // As the session knows it, and not as hooks do.
        (FileVersion::Is(hash(1)), "changed", 4),
        (FileVersion::Is(hash(1)), "changed", 4),
        // As it was once.
        (FileVersion::Is(hash(2)), "changed", 5),
    ] {
        env.files.lock().unwrap().insert(PathBuf::from("/w/a.rs"), version);
        list.lock().unwrap().push_back(Say::Text("done"));
        world.run(world.submit("s", "more")).await;
        assert_eq!(count(&told, E::FileChanged), fired, "{version:?}");
        let calls = told.calls();
        let last = calls.iter().rev().find(|call| call.event == E::FileChanged).unwrap();
        assert_eq!(last.input["change"], change);
    }
    // The session reads it as it is now: that is no change, and the next one is, whatever hooks were told before.
    for (reads, version, fired) in [(2, 2, 5), (1, 2, 6)] {
        env.files.lock().unwrap().insert(PathBuf::from("/w/a.rs"), FileVersion::Is(hash(version)));
        list.lock().unwrap().extend([Say::Calls(vec![("look", json!({"n": reads}))]), Say::Text("done")]);
        world.run(world.submit("s", "read")).await;
        assert_eq!(count(&told, E::FileChanged), fired, "read {reads}, is {version}");
    }
    replays(&world).await;
}

/// A tool that reads as many files as it is told, all alike.
fn reader() -> SharedTool {
    tool("look", EffectClass::Pure, |_, args| {
        async move {
            let of = |n: u64| Fact::FileRead { path: format!("/w/{n:04}.rs"), hash: Digest([1; 32]) };
            let facts = (0..args["files"].as_u64().unwrap()).map(of).collect();
            Ok(ToolReturn::Done(ToolDone { facts, ..ToolDone::text("read") }))
        }
        .boxed()
    })
}

/// However many files a session knows, a step looks at 256 of them at most, and the next ones at the others.
#[tokio::test]
async fn a_step_looks_at_so_many_files_and_the_next_at_others() {
    let told = Told::default();
    let looks = Say::Calls(vec![("look", json!({"files": 600}))]);
    let model = TestModel::new([looks].into_iter().chain((0..7).map(|_| Say::Text("done"))));
    let world = World::new(model, vec![reader()]).hooked(watching(&told));
    let is = FileVersion::Is(Digest([1; 32]));
    world.env.files.lock().unwrap().extend((0..600).map(|n| (PathBuf::from(format!("/w/{n:04}.rs")), is)));
    world.run(world.submit("s", "go")).await;
    assert_eq!(std::mem::take(&mut *world.env.looked.lock().unwrap()).len(), 256);
    // The second step of the first turn has looked, and one of each turn after it does.
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..3 {
        world.run(world.submit("s", "go")).await;
        let paths = std::mem::take(&mut *world.env.looked.lock().unwrap());
        assert!(!paths.is_empty() && paths.len() <= 256, "{} files", paths.len());
        seen.extend(paths);
    }
    assert_eq!((seen.len(), count(&told, E::FileChanged)), (600, 0));
    // A change is told three steps later at most, and once.
    let last = PathBuf::from("/w/0599.rs");
    world.env.files.lock().unwrap().insert(last, FileVersion::Gone);
    for _ in 0..3 {
        world.run(world.submit("s", "go")).await;
    }
    assert_eq!(count(&told, E::FileChanged), 1);
}

/// Files that no hook watches are not looked at.
#[tokio::test]
async fn only_files_that_somebody_watches_are_looked_at() {
    let model = TestModel::new([Say::Calls(vec![("look", json!({"files": 9}))]), Say::Text("done")]);
    let told = Told::default();
    let one = |one| Listening { matcher: Matcher::new("0003.rs").unwrap(), ..one };
    let hooks = watching(&told).into_iter().filter(|one| one.event == E::FileChanged).map(one).collect();
    let world = World::new(model, vec![reader()]).hooked(hooks);
    world.run(world.submit("s", "go")).await;
    assert_eq!(*world.env.looked.lock().unwrap(), [PathBuf::from("/w/0003.rs")]);
}

/// Hooks that hear one event, and remember which they were asked about.
struct Deaf(Mutex<Vec<E>>);

impl Hooks for Deaf {
    fn listens(&self, event: E, _: &str, _: &str) -> bool {
        self.0.lock().unwrap().push(event);
        false
    }
    fn hears(&self, event: E) -> bool {
        event == E::Stop
    }
    fn run(&self, _: HookCall) -> BoxFuture<'static, HookAnswered> {
        unreachable!("nobody listens")
    }
}

/// What nobody hears is not put together, whatever happened.
#[tokio::test]
async fn what_nobody_hears_is_not_looked_up() {
    let deaf = Arc::new(Deaf(Mutex::default()));
    let world = World::new(texts(3), vec![]);
    let parts = Parts { hooks: Some(deaf.clone()), ..world.runtime.parts().clone() };
    let world = World { runtime: Runtime::new(parts), ..world };
    world.run(world.submit("s", "first")).await;
    for (key, origin) in [("job:s/1/1/tool/0", "job"), ("run:nightly.3.99", "automation")] {
        let mut come =
            Submit { key: Some(key.into()), origin: origin.into(), ..world.submit("s", "it ended") };
        come.config.cwd = format!("/w/{origin}");
        world.run(come).await;
    }
    let asked = deaf.0.lock().unwrap();
    let rare = [E::TeammateIdle, E::ProcessEvent, E::TriggerFired, E::CwdChanged, E::ElicitationResult];
    assert!(asked.contains(&E::Stop) && !asked.iter().any(|event| rare.contains(event)), "{asked:?}");
}

/// The state of a server is told when it is another than it was; what was never up is not down.
#[tokio::test]
async fn servers_that_come_and_go_are_told() {
    let told = Told::default();
    let state = Arc::new(Mutex::new("disconnected"));
    let now = state.clone();
    let servers: Servers = Arc::new(move || {
        let (server, detail) = ("lint".to_owned(), "why".to_owned());
        vec![ServerState { server, state: *now.lock().unwrap(), detail }]
    });
    let world = World::new(texts(5), vec![]).with_hooks(HookSet::new(watching(&told)).with_servers(servers));
    let states = ["disconnected", "connected", "connected", "failed", "connected"];
    for (now, fired) in states.into_iter().zip([0, 1, 1, 2, 3]) {
        *state.lock().unwrap() = now;
        world.run(world.submit("s", "go")).await;
        assert_eq!(count(&told, E::McpState), fired, "{now}");
    }
    let input = told.input(E::McpState);
    let shown = (&input["mcp_server_name"], &input["state"], &input["detail"]);
    assert_eq!(shown, (&json!("lint"), &json!("connected"), &json!("why")));
}

/// New items of the todo list, and those that are completed: each once, before it is so.
#[tokio::test]
async fn tasks_are_asked_about_before_they_are_made_or_completed() {
    let told = Told::default();
    let set = |items: Value| Say::Calls(vec![("tasks", json!({ "items": items }))]);
    let model = TestModel::new([
        set(json!([task("t1", "pending"), task("t2", "completed")])),
        set(json!([task("t1", "in_progress"), task("t2", "completed")])),
        set(json!([task("t1", "completed")])),
        set(json!([task("t3", "deleted")])),
        Say::Text("done"),
    ]);
    let world = World::new(model, vec![tasks()]).hooked(watching(&told));
    world.run(world.submit("s", "go")).await;
    let asked = |event: E| -> Vec<(Value, Value)> {
        let calls = told.calls().into_iter().filter(|call| call.event == event);
        calls.map(|call| (call.input["task_id"].clone(), call.input["step"].clone())).collect()
    };
    assert_eq!(asked(E::TaskCreated), [(json!("t1"), json!(1)), (json!("t2"), json!(1))]);
    assert_eq!(asked(E::TaskCompleted), [(json!("t2"), json!(1)), (json!("t1"), json!(3))]);
    assert_eq!(told.input(E::TaskCreated)["task_subject"], "subject of t1");
    replays(&world).await;
}

/// A tool of an MCP server that asks the person something.
fn asking() -> SharedTool {
    tool("mcp__forms__fill", EffectClass::AtMostOnce, |cx, _| {
        async move {
            if let Some(answers) = cx.answers {
                return Ok(ToolReturn::Done(ToolDone::text(format!("filled: {}", answers.join(",")))));
            }
            let question = Question {
                question: "Your name?".into(),
                header: "Name".into(),
                options: vec![],
                multi: false,
            };
            Ok(ToolReturn::Ask(vec![question]))
        }
        .boxed()
    })
}

fn allowed(world: &World, text: &str) -> Submit {
    let mut submit = world.submit("s", text);
    submit.config.rules.push(RuleText {
        decision: Decision::Allow,
        text: "mcp__forms__fill".into(),
        scope: Scope::User,
        source: "test:1".into(),
    });
    submit.config.on_ask = OnAsk::Park;
    submit
}

/// Hooks hear a server's question before the person does, and its answer after.
#[tokio::test]
async fn questions_of_servers_are_heard_before_they_are_put() {
    let told = Told::default();
    let model = || TestModel::new([Say::Calls(vec![("mcp__forms__fill", json!({}))]), Say::Text("done")]);
    let world = World::new(model(), vec![asking()]).hooked(watching(&told));
    let parked = world.run(allowed(&world, "go")).await;
    assert_eq!(parked.outcome, "parked");
    let bodies = world.bodies("s").await;
    let at = |name: &str| bodies.iter().position(|body| body == name).unwrap();
    let asked = world
        .records("s")
        .await
        .iter()
        .position(|record| matches!(&record.body, Body::HookRan(ran) if ran.event == E::Elicitation));
    assert!(asked.unwrap() < at("wait_opened"), "{bodies:?}");
    let input = told.input(E::Elicitation);
    assert_eq!((&input["mcp_server_name"], &input["message"]), (&json!("forms"), &json!("Your name?")));
    assert_eq!(count(&told, E::ElicitationResult), 0);
    let (session, by) = (SessionId::new("s").unwrap(), "person".into());
    let (wait, ruling) = ("s/1/1/tool/0".into(), Ruling::Answers(vec!["Ada".into()]));
    world.runtime.resolve(Resolve { session: session.clone(), wait, ruling, grant: None, by }).await.unwrap();
    let mut config = world.config();
    config.on_ask = OnAsk::Park;
    world.runtime.resume(&session, config);
    let result = world.result(&Accepted { session, input: 2, repeated: true, opened: false }).await;
    assert_eq!(result.message.as_deref(), Some("done"));
    assert_eq!((count(&told, E::Elicitation), count(&told, E::ElicitationResult)), (1, 1));
    let input = told.input(E::ElicitationResult);
    let heard = (&input["mcp_server_name"], &input["action"], &input["content"]);
    assert_eq!(heard, (&json!("forms"), &json!("accept"), &json!(["Ada"])));
    replays(&world).await;
}

/// A question of our own is no server's.
#[tokio::test]
async fn questions_of_other_tools_are_none_of_a_server() {
    let told = Told::default();
    let ask = tool("ask_user", EffectClass::AtMostOnce, |_, _| async { Ok(ToolReturn::Ask(vec![])) }.boxed());
    let model = TestModel::new([Say::Calls(vec![("ask_user", json!({}))]), Say::Text("done")]);
    let world = World::new(model, vec![ask]).hooked(watching(&told));
    world.run(world.submit("s", "go")).await;
    assert_eq!((count(&told, E::Elicitation), count(&told, E::ElicitationResult)), (0, 0));
}
