//! The matrix of hooks: each event whose hooks may forbid, and everything that a hook can do. Exit codes and JSON become
//! these answers in `hooks/answer.rs`, and on the real command line.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/hooks.rs"]
mod double;
#[path = "common/tasks.rs"]
mod todo;

use std::sync::{Arc, Mutex};

use common::*;
use double::{Reaction, Told, listening};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use sterna_model::HookEvent as E;
use sterna_model::*;
use sterna_runtime::*;
use sterna_tool::{Access, ChildOp, SharedTool, SpawnChild, ToolDone, ToolReturn};
use todo::{task, tasks};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Does {
    /// Exit code 0, with nothing.
    Nothing,
    /// Exit code 2.
    Blocks,
    /// Exit code 0, with `{"decision": "block"}`.
    SaysBlock,
    /// Exit code 49.
    Stops,
    /// Exit code 0, with `{"continue": false}`.
    SaysStop,
    /// A new input, for what has none.
    Rewrites,
    /// Any other exit code, a signal, or what cannot be read.
    Fails,
    Panics,
    Hangs,
}

/// What became of what the hook was asked about.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Came {
    /// It went on as without the hook.
    On,
    /// It did not, and the turn went on.
    Forbidden,
    /// The turn ended `hook_stopped`.
    Ended,
}

/// What each does, where a failure is let pass and where it is not.
const ANSWERS: [(Does, Came, Came); 9] = [
    (Does::Nothing, Came::On, Came::On),
    (Does::Blocks, Came::Forbidden, Came::Forbidden),
    (Does::SaysBlock, Came::Forbidden, Came::Forbidden),
    (Does::Stops, Came::Ended, Came::Ended),
    (Does::SaysStop, Came::Ended, Came::Ended),
    (Does::Rewrites, Came::On, Came::On),
    (Does::Fails, Came::On, Came::Forbidden),
    (Does::Panics, Came::On, Came::Forbidden),
    (Does::Hangs, Came::On, Came::Forbidden),
];

/// Every event that can deny, what forbidding it comes to, and what ending the turn comes to.
const EVENTS: [(E, Came, Came); 16] = [
    // Without these a turn cannot be.
    (E::SessionStart, Came::Ended, Came::Ended),
    (E::UserPromptSubmit, Came::Ended, Came::Ended),
    (E::TurnStart, Came::Ended, Came::Ended),
    (E::StepStart, Came::Ended, Came::Ended),
    (E::PreModelCall, Came::Ended, Came::Ended),
    (E::SubagentStart, Came::Ended, Came::Ended),
    (E::PreToolUse, Came::Forbidden, Came::Ended),
    (E::PermissionRequest, Came::Forbidden, Came::Ended),
    (E::Stop, Came::Forbidden, Came::Ended),
    (E::SubagentStop, Came::Forbidden, Came::Ended),
    (E::Elicitation, Came::Forbidden, Came::Ended),
    (E::TaskCreated, Came::Forbidden, Came::Ended),
    (E::TaskCompleted, Came::Forbidden, Came::Ended),
    // There is no turn of theirs to end.
    (E::WorktreeCreate, Came::Forbidden, Came::Forbidden),
    (E::WorktreeRemove, Came::Forbidden, Came::Forbidden),
    (E::ConfigChange, Came::Forbidden, Came::Forbidden),
];

fn reaction(does: Does) -> Reaction {
    let said = |output| Reaction::Says(HookAnswer::Said(Box::new(output)));
    let output = HookOutput::default;
    match does {
        Does::Nothing => Reaction::Says(HookAnswer::nothing()),
        Does::Blocks => Reaction::Says(HookAnswer::Blocked("no way".into())),
        Does::SaysBlock => said(HookOutput { blocked: true, reason: "no way".into(), ..output() }),
        Does::Stops => Reaction::Says(HookAnswer::Stopped("enough".into())),
        Does::SaysStop => said(HookOutput { stop: Some("enough".into()), ..output() }),
        Does::Rewrites => said(HookOutput { updated_input: Some(json!({"n": 1})), ..output() }),
        Does::Fails => Reaction::Says(HookAnswer::Failed("exit code 1: oops".into())),
        Does::Panics => Reaction::Panics,
        Does::Hangs => Reaction::Hangs,
    }
}

fn hooks(event: E, does: Does, fails_closed: bool, told: &Told) -> Vec<Listening> {
    let hooks = listening("h", &[event], told, move |_| reaction(does)).into_iter();
    hooks.map(|one| Listening { fails_closed, ..one }).collect()
}

/// Every deciding event is in the table; the one that is not needs a window that is full, and has a test of its own there.
#[test]
fn the_table_is_whole() {
    let deciding: Vec<E> = E::ALL.into_iter().filter(|event| event.power() == HookPower::Decides).collect();
    let missing: Vec<E> =
        deciding.into_iter().filter(|event| EVENTS.iter().all(|(of, ..)| of != event)).collect();
    assert_eq!(missing, [E::PreCompact]);
}

#[tokio::test]
async fn every_event_that_can_deny_and_everything_that_its_hook_can_do() {
    for (event, forbids, ends) in EVENTS {
        for (does, open, closed) in ANSWERS {
            for (fails_closed, answer) in [(false, open), (true, closed)] {
                let wanted = match answer {
                    Came::On => Came::On,
                    Came::Forbidden => forbids,
                    Came::Ended => ends,
                };
                let told = Told::default();
                let came = came(event, hooks(event, does, fails_closed, &told)).await;
                assert!(!told.calls().is_empty(), "{event:?} {does:?} did not fire");
                assert_eq!(came, wanted, "{event:?} {does:?}, failures block: {fails_closed}");
            }
        }
    }
}

async fn came(event: E, hooks: Vec<Listening>) -> Came {
    match event {
        E::ConfigChange => {
            let world = World::new(TestModel::new([Say::Text("done")]), vec![]).hooked(hooks);
            world.run(world.submit("s", "go")).await;
            let session = SessionId::new("s").unwrap();
            let changed = world.runtime.set_mode(&session, Mode::Ask, "person").await;
            let written = world.bodies("s").await.iter().any(|body| body == "mode_changed");
            assert_eq!(changed.is_ok(), written);
            if written { Came::On } else { Came::Forbidden }
        }
        E::Stop => {
            let world = World::new(TestModel::new([(); 4].map(|()| Say::Text("done"))), vec![]).hooked(hooks);
            let result = world.run(world.submit("s", "go")).await;
            match (result.stop, world.model.asked()) {
                (None, 1) => Came::On,
                (None, 4) => Came::Forbidden,
                (Some(StopReason::HookStopped), 1) => Came::Ended,
                other => panic!("{other:?}"),
            }
        }
        E::SubagentStart | E::SubagentStop | E::WorktreeCreate | E::WorktreeRemove => {
            agents(event, hooks).await
        }
        E::Elicitation => call(ask(), json!({}), Access::Session, hooks).await,
        E::TaskCreated => {
            call(tasks(), json!({"items": [task("t1", "pending")]}), Access::Session, hooks).await
        }
        E::TaskCompleted => {
            call(tasks(), json!({"items": [task("t1", "completed")]}), Access::Session, hooks).await
        }
        E::PermissionRequest => {
            let tool = tool_of("t", EffectClass::AtMostOnce, Access::Other, |_, _| {
                async { Ok(ToolReturn::Done(ToolDone::text("ran"))) }.boxed()
            });
            call(tool, json!({"n": 1}), Access::Other, hooks).await
        }
        _ => call(echo("t", EffectClass::AtMostOnce), json!({"n": 1}), Access::Session, hooks).await,
    }
}

/// One call of a tool. Where somebody would be asked, nobody is there, so that a hook's no is told by its words.
async fn call(tool: SharedTool, args: Value, access: Access, hooks: Vec<Listening>) -> Came {
    let name = tool.spec().name.clone();
    let name: &'static str = Box::leak(name.into_boxed_str());
    let model = TestModel::new([Say::Calls(vec![(name, args)]), Say::Text("done")]);
    let world = World::new(model, vec![tool]).hooked(hooks);
    let mut submit = world.submit("s", "go");
    if name.starts_with("mcp__") {
        let (text, scope, source) = (name.into(), Scope::User, "test:1".into());
        submit.config.rules.push(RuleText { decision: Decision::Allow, text, scope, source });
    }
    let result = world.run(submit).await;
    let view = world.records("s").await.into_iter().find_map(|record| match record.body {
        Body::Outcome(outcome) => match outcome.result {
            EffectResult::Tool(tool) => Some((tool.status, tool.view)),
            _ => None,
        },
        _ => None,
    });
    let by_hook = view.as_ref().is_some_and(|(_, view)| view.contains("(hook h)"));
    match (result.stop, by_hook) {
        (Some(StopReason::HookStopped), _) => Came::Ended,
        (None, true) => Came::Forbidden,
        (None, false) => {
            let nobody = matches!(access, Access::Other) || name.starts_with("mcp__");
            let (status, view) = view.unwrap();
            assert!(nobody && view.contains("nobody is at a terminal") || status == ToolStatus::Ok, "{view}");
            Came::On
        }
        other => panic!("{other:?}"),
    }
}

fn ask() -> SharedTool {
    tool("mcp__forms__fill", EffectClass::AtMostOnce, |_, _| {
        let question =
            Question { question: "Who?".into(), header: "Who".into(), options: vec![], multi: false };
        async move { Ok(ToolReturn::Ask(vec![question])) }.boxed()
    })
}

/// Worktrees that are only told of.
#[derive(Default)]
struct Folders(Mutex<Vec<&'static str>>);

impl Worktrees for Folders {
    fn add<'a>(&'a self, _: &'a std::path::Path, name: &'a str) -> BoxFuture<'a, Result<Worktree, String>> {
        self.0.lock().unwrap().push("add");
        let path = format!("/trees/{name}");
        let (root, repository, branch) = (path.clone(), "/w".into(), "sterna/x".into());
        async move { Ok(Worktree { path, root, repository, branch }) }.boxed()
    }
    fn remove<'a>(&'a self, _: &'a Worktree) -> BoxFuture<'a, Result<(), String>> {
        self.0.lock().unwrap().push("remove");
        async { Ok(()) }.boxed()
    }
}

/// A session that starts an agent, waits for it and closes it.
async fn agents(event: E, hooks: Vec<Listening>) -> Came {
    let isolated = matches!(event, E::WorktreeCreate | E::WorktreeRemove);
    let agent = tool("agent", EffectClass::Idempotent, move |cx, args| {
        async move {
            if let Some(end) = cx.ended {
                return Ok(ToolReturn::Done(ToolDone::text(end.message.clone())));
            }
            if args["op"] == "close" {
                let Some(child) = cx.view.children.first() else {
                    return Ok(ToolReturn::Done(ToolDone::text("nobody to close")));
                };
                return Ok(ToolReturn::Child(ChildOp::Close { child: child.0.turn.session.clone() }));
            }
            Ok(ToolReturn::Child(ChildOp::Spawn(Box::new(SpawnChild {
                agent: "tester".into(),
                prompt: "You are a tester.".into(),
                task: "test".into(),
                tools: Vec::new(),
                route: None,
                max_steps: 10,
                background: false,
                fork: false,
                worktree: isolated,
            }))))
        }
        .boxed()
    });
    let model = TestModel::new([Say::Calls(vec![("agent", json!({}))])]);
    // The agent's answers, and as many as hooks may want of it; then its maker's.
    let stops = event == E::SubagentStop;
    model.list.lock().unwrap().extend((0..8).map(|_| Say::Text("done")));
    let world = World::new(model.clone(), vec![agent]);
    let folders = Arc::new(Folders::default());
    let worktrees: SharedWorktrees = folders.clone();
    let shared: SharedHooks = Arc::new(HookSet::new(hooks));
    let parts = world.runtime.parts().clone();
    let parts = Parts { worktrees: Some(worktrees), hooks: Some(shared), ..parts };
    let world = World { runtime: Runtime::new(parts), ..world };
    world.run(world.submit("s", "go")).await;
    let asked = model.asked();
    if isolated {
        model.list.lock().unwrap().push_front(Say::Calls(vec![("agent", json!({"op": "close"}))]));
        world.run(world.submit("s", "close it")).await;
        let done = folders.0.lock().unwrap().clone();
        return match (event, &done[..]) {
            (_, ["add", "remove"]) => Came::On,
            (E::WorktreeCreate, []) | (E::WorktreeRemove, ["add"]) => Came::Forbidden,
            other => panic!("{other:?}"),
        };
    }
    let mut ended = None;
    let (filter, page) = (sterna_log::Filter::default(), sterna_log::Page { after: None, limit: 9 });
    let all = sterna_log::Log::list(&*world.log, &filter, page).await.unwrap();
    for row in all.into_iter().filter(|row| row.id.as_str() != "s") {
        for record in world.records(row.id.as_str()).await {
            if let Body::TurnCommitted(committed) = record.body {
                ended = Some(committed.outcome);
            }
        }
    }
    match ended.unwrap() {
        TurnOutcome::Stopped { reason: StopReason::HookStopped, .. } => Came::Ended,
        TurnOutcome::Finished { .. } if asked == 3 => Came::On,
        TurnOutcome::Finished { .. } if stops && asked == 6 => Came::Forbidden,
        other => panic!("{other:?} after {asked}"),
    }
}
