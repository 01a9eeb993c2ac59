//! What a person decides beside single calls: plans, edited calls, and whether to go on after denials.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/hooks.rs"]
mod double;
#[path = "common/hook.rs"]
mod hook;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, mpsc};

use common::*;
use double::{Reaction, Told, listening};
use futures::FutureExt;
use futures::future::BoxFuture;
use hook::{Act, HookLog};
use serde_json::{Value, json};
use sterna_log::{Append, Expect};
use sterna_model::*;
use sterna_runtime::*;
use sterna_tool::{
    Access, Plan, PlanContext, SharedTool, Tool, ToolContext, ToolDone, ToolError, ToolReturn,
};
use tokio::sync::Notify;

fn session() -> SessionId {
    SessionId::new("s").unwrap()
}

/// The planning tools as they are built in, a writer and a reader that count.
fn tools() -> Vec<SharedTool> {
    let done = |text: String| async move { Ok(ToolReturn::Done(ToolDone::text(text))) }.boxed();
    vec![
        tool("enter_plan", EffectClass::Idempotent, |_, _| async { Ok(ToolReturn::EnterPlan) }.boxed()),
        tool_of("submit_plan", EffectClass::Idempotent, Access::Person, |_, args| {
            let text = |key: &str| args[key].as_str().unwrap().to_owned();
            let plan = ToolReturn::Plan { slug: text("slug"), content: text("content") };
            async { Ok(plan) }.boxed()
        }),
        tool_of("write", EffectClass::AtMostOnce, Access::Write("/w/a".into()), move |_, args| {
            done(format!("wrote {args}"))
        }),
        tool_of("read", EffectClass::Pure, Access::Read("/w/a".into()), move |_, _| done("seen".into())),
        asking_tool("other", "ran"),
    ]
}

fn plan() -> Say {
    Say::Calls(vec![("submit_plan", json!({"slug": "fix", "content": "# Fix"}))])
}

fn write() -> Say {
    Say::Calls(vec![("write", json!({"content": "x"}))])
}

async fn views(world: &World) -> Vec<(ToolStatus, String)> {
    let outcomes = world.records("s").await.into_iter().filter_map(|record| match record.body {
        Body::Outcome(outcome) => match outcome.result {
            EffectResult::Tool(tool) => Some((tool.status, tool.view)),
            _ => None,
        },
        _ => None,
    });
    outcomes.collect()
}

async fn modes(world: &World) -> Vec<(Mode, String, Option<TurnNo>)> {
    let records = world.records("s").await.into_iter();
    let changed = records.filter_map(|record| match record.body {
        Body::ModeChanged { mode, by } => Some((mode, by, record.turn)),
        _ => None,
    });
    changed.collect()
}

async fn resolve(world: &World, wait: &str, ruling: Ruling) -> Result<(), RuntimeError> {
    let resolve = Resolve { session: session(), wait: wait.into(), ruling, grant: None, by: "person".into() };
    world.runtime.resolve(resolve).await.map(|_| ())
}

/// Answers, and drives the turn on.
async fn carry_on(world: &World, wait: &str, ruling: Ruling) -> ResultEvent {
    resolve(world, wait, ruling).await.unwrap();
    let mut config = world.config();
    config.on_ask = OnAsk::Park;
    world.runtime.resume(&session(), config);
    world.result(&Accepted { session: session(), input: 2, repeated: true, opened: false }).await
}

fn submit(world: &World, mode: Mode, on_ask: OnAsk) -> Submit {
    let mut submit = world.submit("s", "go");
    (submit.config.mode, submit.config.on_ask) = (mode, on_ask);
    submit
}

async fn replays(world: &World) {
    let replayed = replay(world.runtime.parts(), &session()).await.unwrap();
    assert_eq!(replayed.difference, None);
}

#[tokio::test]
async fn nothing_writes_in_plan_mode_until_a_person_says_yes() {
    let model = TestModel::new([
        Say::Calls(vec![("read", json!({})), ("write", json!({})), ("other", json!({}))]),
        plan(),
        plan(),
        write(),
        Say::Text("done"),
    ]);
    let world = World::new(model, tools());
    let result = world.run(submit(&world, Mode::Plan, OnAsk::Park)).await;
    assert_eq!(result.outcome, "parked");
    let said = views(&world).await;
    let statuses: Vec<ToolStatus> = said.iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses, [ToolStatus::Ok, ToolStatus::Denied, ToolStatus::Denied]);
    // A no goes back to the model, and it is still plan mode.
    let no = Ruling::Deny { feedback: "tests first".into() };
    assert_eq!(carry_on(&world, "s/1/2/tool/0", no).await.outcome, "parked");
    let (status, view) = views(&world).await.pop().unwrap();
    assert!(
        status == ToolStatus::Failed && view.contains("tests first") && view.contains("still in plan mode"),
        "{view}"
    );
    assert_eq!(modes(&world).await, []);
    // A yes ends it, within the turn.
    let result = carry_on(&world, "s/1/3/tool/0", Ruling::Allow).await;
    assert_eq!((result.outcome, result.message.as_deref()), ("finished", Some("done")));
    assert_eq!(modes(&world).await, [(Mode::Execute, "person".to_owned(), Some(1))]);
    assert_eq!(views(&world).await.pop().unwrap(), (ToolStatus::Ok, "wrote {\"content\":\"x\"}".into()));
    let planning = |n: usize| world.model.body(n)["messages"].to_string().contains("You are in plan mode");
    assert_eq!([0, 1, 2, 3, 4].map(planning), [true, true, true, false, false]);
    replays(&world).await;
}

#[tokio::test]
async fn a_plan_leads_where_the_person_says_and_with_their_text() {
    for (ruling, mode, text) in [
        (Ruling::Allow, Mode::Execute, "was approved. "),
        (Ruling::Plan { mode: Some(Mode::Ask), content: None }, Mode::Ask, "The mode is `ask` now"),
        (
            Ruling::Plan { mode: None, content: Some("# Fix, tests first".into()) },
            Mode::Execute,
            "# Fix, tests first",
        ),
    ] {
        let model = TestModel::new([plan(), Say::Text("done")]);
        let world = World::new(model, tools());
        world.run(submit(&world, Mode::Plan, OnAsk::Park)).await;
        let result = carry_on(&world, "s/1/1/tool/0", ruling.clone()).await;
        assert_eq!(result.outcome, "finished");
        assert_eq!(modes(&world).await, [(mode, "person".to_owned(), Some(1))], "{ruling:?}");
        let (_, view) = views(&world).await.pop().unwrap();
        assert!(view.contains(text), "{view}");
        replays(&world).await;
    }
}

#[tokio::test]
async fn no_word_but_a_persons_ends_plan_mode() {
    // Nobody is there.
    for (on_ask, ends) in [(OnAsk::Deny, "finished"), (OnAsk::Fail, "stopped")] {
        let world = World::new(TestModel::new([plan(), write(), Say::Text("done")]), tools());
        let result = world.run(submit(&world, Mode::Plan, on_ask)).await;
        assert_eq!(result.outcome, ends);
        assert_eq!(modes(&world).await, []);
        assert!(views(&world).await.iter().all(|(status, _)| *status != ToolStatus::Ok));
    }
    // What is no answer to a plan is not taken.
    let world = World::new(TestModel::new([plan()]), tools());
    world.run(submit(&world, Mode::Plan, OnAsk::Park)).await;
    let edited = Rewrite { arguments: "{}".into(), class: EffectClass::Pure, effects: None };
    for ruling in [
        Ruling::Answers(vec!["yes".into()]),
        Ruling::Edited(edited),
        Ruling::Plan { mode: Some(Mode::Plan), content: None },
        Ruling::Plan { mode: None, content: Some(" ".into()) },
        Ruling::Plan { mode: None, content: Some("x".repeat((64 << 10) + 1)) },
    ] {
        assert!(matches!(resolve(&world, "s/1/1/tool/0", ruling).await, Err(RuntimeError::Refused(_))));
    }
    // Outside of plan mode there is nothing to approve.
    let world = World::new(TestModel::new([plan(), Say::Text("done")]), tools());
    world.run(submit(&world, Mode::Execute, OnAsk::Park)).await;
    assert!(views(&world).await[0].1.contains("not in plan mode"));
}

#[tokio::test]
async fn the_model_may_enter_plan_mode_and_the_session_stays_in_it() {
    let enter = || Say::Calls(vec![("enter_plan", json!({}))]);
    let model =
        TestModel::new([enter(), write(), Say::Text("a"), write(), Say::Text("b"), write(), Say::Text("c")]);
    let told = Told::default();
    let world = World::new(model, tools())
        .hooked(listening("h", &[HookEvent::ModeChanged], &told, |_| Reaction::Says(HookAnswer::nothing())));
    world.run(submit(&world, Mode::AcceptEdits, OnAsk::Deny)).await;
    assert_eq!(modes(&world).await, [(Mode::Plan, "enter_plan".to_owned(), Some(1))]);
    assert_eq!(told.input(HookEvent::ModeChanged)["mode"], "plan");
    // A turn that nobody gave a mode has the session's.
    let mut next = submit(&world, Mode::AcceptEdits, OnAsk::Deny);
    next.config.mode_of_session = true;
    world.run(next).await;
    // A person who names one means it.
    world.run(submit(&world, Mode::AcceptEdits, OnAsk::Deny)).await;
    let statuses: Vec<ToolStatus> = views(&world).await.into_iter().map(|(status, _)| status).collect();
    assert_eq!(statuses, [ToolStatus::Ok, ToolStatus::Denied, ToolStatus::Denied, ToolStatus::Ok]);
    replays(&world).await;
}

#[tokio::test]
async fn a_switched_mode_holds_from_the_next_turn_on() {
    let world = World::new(TestModel::new([Say::Text("a"), write(), Say::Text("b")]), tools());
    world.run(submit(&world, Mode::Execute, OnAsk::Deny)).await;
    world.runtime.set_mode(&session(), Mode::NeverAsk, "person").await.unwrap();
    world.runtime.set_mode(&session(), Mode::Ask, "person").await.unwrap();
    let mut next = submit(&world, Mode::Execute, OnAsk::Deny);
    next.config.mode_of_session = true;
    world.run(next).await;
    assert_eq!(views(&world).await[0].0, ToolStatus::Denied);
}

/// A tool that says when it runs, and goes on when it may.
fn gate(runs: &Arc<Notify>, go: &Arc<Notify>) -> SharedTool {
    let (runs, go) = (runs.clone(), go.clone());
    tool("gate", EffectClass::Pure, move |_, _| {
        let (runs, go) = (runs.clone(), go.clone());
        async move {
            runs.notify_one();
            go.notified().await;
            Ok(ToolReturn::Done(ToolDone::text("open")))
        }
        .boxed()
    })
}

/// A switch within a turn: to `plan` it holds from the next step on, to anything else from the next turn on.
#[tokio::test]
async fn plan_mode_holds_in_the_turn_that_runs_and_other_modes_in_the_next() {
    for (mode, turn, status) in [(Mode::Plan, Some(1), ToolStatus::Denied), (Mode::Ask, None, ToolStatus::Ok)]
    {
        let (runs, go, told) = (Arc::new(Notify::new()), Arc::new(Notify::new()), Told::default());
        let calls = Say::Calls(vec![("gate", json!({}))]);
        let model = TestModel::new([calls, write(), Say::Text("a"), write(), Say::Text("b")]);
        let nothing = |_: &HookCall| Reaction::Says(HookAnswer::nothing());
        let hooks = listening("h", &[HookEvent::ModeChanged], &told, nothing);
        let world = World::new(model, [tools(), vec![gate(&runs, &go)]].concat()).hooked(hooks);
        let running = submit(&world, Mode::AcceptEdits, OnAsk::Deny);
        let accepted = world.runtime.submit(running).await.unwrap();
        runs.notified().await;
        world.runtime.set_mode(&session(), mode, "person").await.unwrap();
        go.notify_one();
        assert_eq!(world.result(&accepted).await.outcome, "finished");
        assert_eq!(modes(&world).await, [(mode, "person".to_owned(), turn)]);
        assert_eq!(views(&world).await[1].0, status, "{mode:?}");
        // Its next request says so.
        let says = |n: usize| world.model.body(n).to_string().contains("mode: plan");
        assert_eq!((says(0), says(1)), (false, turn.is_some()), "{mode:?}");
        // In the session's mode from then on.
        let mut next = submit(&world, Mode::AcceptEdits, OnAsk::Deny);
        next.config.mode_of_session = true;
        world.run(next).await;
        assert_eq!(views(&world).await[2].0, ToolStatus::Denied, "{mode:?}");
        // Told once, by whoever drove the turn or who switched.
        assert_eq!(told.events(), [HookEvent::ModeChanged], "{mode:?}");
        replays(&world).await;
    }
}

/// A writer whose calls take their time to be planned.
struct Slow {
    spec: ToolSpec,
    plans: Arc<Notify>,
    go: Mutex<mpsc::Receiver<()>>,
}

impl Tool for Slow {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }
    fn class(&self, _: &Value) -> EffectClass {
        EffectClass::AtMostOnce
    }
    fn plan(&self, _: &PlanContext, _: &Value) -> Result<Plan, ToolError> {
        self.plans.notify_one();
        // Until the test lets go of the other end.
        let _ = self.go.lock().unwrap().recv();
        Ok(Plan { accesses: vec![Access::Write("/w/a".into())], ..Plan::default() })
    }
    fn call<'a>(&'a self, _: ToolContext, _: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        async { Ok(ToolReturn::Done(ToolDone::text("wrote"))) }.boxed()
    }
}

/// A call that is being judged when somebody switches is judged again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_being_judged_is_judged_in_the_mode_that_is_now() {
    let (tx, rx) = mpsc::channel::<()>();
    let schema = json!({"type": "object"});
    let spec = ToolSpec { name: "slow".into(), description: "w".into(), schema };
    let plans = Arc::new(Notify::new());
    let slow = Arc::new(Slow { spec, plans: plans.clone(), go: Mutex::new(rx) });
    let model = TestModel::new([Say::Calls(vec![("slow", json!({}))]), Say::Text("done")]);
    let world = World::new(model, vec![slow]);
    let accepted = world.runtime.submit(submit(&world, Mode::AcceptEdits, OnAsk::Deny)).await.unwrap();
    plans.notified().await;
    world.runtime.set_mode(&session(), Mode::Plan, "person").await.unwrap();
    drop(tx);
    assert_eq!(world.result(&accepted).await.outcome, "finished");
    assert_eq!(views(&world).await[0].0, ToolStatus::Denied);
}

/// A request that is under way is made again as it was, also by another process; what its answer asks for is judged in the
/// new mode.
#[tokio::test]
async fn a_request_that_is_under_way_keeps_the_mode_that_it_was_made_in() {
    let first = World::new(TestModel::new([Say::Hang("never")]), tools());
    let accepted = first.runtime.submit(submit(&first, Mode::AcceptEdits, OnAsk::Deny)).await.unwrap();
    first.model.arrived.notified().await;
    first.runtime.set_mode(&session(), Mode::Plan, "person").await.unwrap();
    let next = first.next_life("two", TestModel::new([write(), Say::Text("done")]));
    next.runtime.resume(&session(), next.config());
    assert_eq!(next.result(&accepted).await.outcome, "finished");
    assert_eq!(next.model.body(0), first.model.body(0));
    assert!(next.model.body(1).to_string().contains("mode: plan"));
    assert_eq!(views(&next).await[0].0, ToolStatus::Denied);
    replays(&next).await;
}

/// A person switches to `plan` while a call waits for their yes: their yes is to a call that may not run any more.
#[tokio::test]
async fn a_call_that_waits_for_a_person_is_judged_in_the_mode_that_is_now() {
    let world = World::new(TestModel::new([write(), Say::Text("done")]), tools());
    assert_eq!(world.run(submit(&world, Mode::Pair, OnAsk::Park)).await.outcome, "parked");
    world.runtime.rest(&session()).await;
    world.runtime.set_mode(&session(), Mode::Plan, "person").await.unwrap();
    let result = carry_on(&world, "s/1/1/tool/0", Ruling::Allow).await;
    assert_eq!((result.outcome, views(&world).await[0].0), ("finished", ToolStatus::Denied));
    replays(&world).await;
}

/// A log in which these come before the records that switch the mode, one after the other.
fn before_switches(before: Vec<Vec<Draft>>) -> Arc<HookLog> {
    let mut script = VecDeque::from(before);
    HookLog::new(move |append| {
        let switches = append.records.iter().any(|draft| matches!(draft.body, Body::ModeChanged { .. }));
        match switches.then(|| script.pop_front()).flatten() {
            Some(records) => Act::First(Append {
                session: append.session.clone(),
                expect: Expect::Any,
                id: format!("before {}", append.id),
                records,
                blobs: Vec::new(),
            }),
            None => Act::Pass,
        }
    })
}

/// Turns end and begin between the look at the session and the record of the switch: it holds in the turn that runs by then.
#[tokio::test]
async fn a_switch_to_plan_holds_in_whichever_turn_runs_when_it_is_written() {
    let draft = |turn, body| Draft { at: 1, turn: Some(turn), step: None, body };
    let begun = |turn| {
        let given = Given { mode: Mode::AcceptEdits, ..Given::new("test/model".parse().unwrap(), "/w") };
        draft(turn, Body::TurnStarted(Box::new(TurnStarted { inputs: vec![], given, now: 1 })))
    };
    let over = |turn| {
        let outcome = TurnOutcome::Finished { message: String::new(), value: None };
        let ended = TurnCommitted { outcome, steps: 1, usage: Usage::default(), cost: Some(0) };
        draft(turn, Body::TurnCommitted(Box::new(ended)))
    };
    // What comes before each record of the switch, and the turn that each is of. The first turn waits for a person.
    for (before, turns, running) in [
        (vec![], vec![Some(1)], true),
        (vec![vec![over(1)]], vec![Some(1)], false),
        (vec![vec![over(1), begun(2)]], vec![Some(1), Some(2)], true),
        (vec![vec![over(1), begun(2)], vec![over(2)]], vec![Some(1), Some(2)], false),
        (vec![vec![over(1), begun(2)], vec![over(2), begun(3)]], vec![Some(1), Some(2), Some(3)], true),
    ] {
        let log = before_switches(before.clone());
        let model = TestModel::new([write()]);
        let (env, told) = (TestEnv::new("one"), Told::default());
        let provider = Arc::new(model.clone());
        let hooks =
            listening("h", &[HookEvent::ModeChanged], &told, |_| Reaction::Says(HookAnswer::nothing()));
        let world = World::with(log.clone(), log.inner.clone(), env, model, provider, tools()).hooked(hooks);
        assert_eq!(world.run(submit(&world, Mode::Pair, OnAsk::Park)).await.outcome, "parked");
        world.runtime.rest(&session()).await;
        world.runtime.set_mode(&session(), Mode::Plan, "person").await.unwrap();
        let written: Vec<Option<TurnNo>> = modes(&world).await.into_iter().map(|(_, _, turn)| turn).collect();
        assert_eq!(written, turns, "{before:?}");
        let state = State::load(&world.runtime.parts().log, &session()).await.unwrap();
        assert_eq!(state.machine.turn().is_some(), running, "{before:?}");
        assert!(!running || state.turn.unwrap().mode == Mode::Plan, "{before:?}");
        // Whoever drives the turn tells of it; where none runs, whoever switched.
        assert_eq!(told.calls().len(), usize::from(!running), "{before:?}");
    }
    // No turn runs, and one begins.
    let log = before_switches(vec![vec![begun(1)]]);
    let model = TestModel::new([]);
    let (env, provider) = (TestEnv::new("one"), Arc::new(model.clone()));
    let world = World::with(log.clone(), log.inner.clone(), env, model, provider, tools());
    let waiting = Submit { drive: false, ..submit(&world, Mode::Pair, OnAsk::Park) };
    world.runtime.submit(waiting).await.unwrap();
    world.runtime.set_mode(&session(), Mode::Plan, "person").await.unwrap();
    let turns: Vec<Option<TurnNo>> = modes(&world).await.into_iter().map(|(_, _, turn)| turn).collect();
    assert_eq!(turns, [None, Some(1)]);
}

/// Each write is a person's to allow, to change or to refuse, whatever rules say; reads pass.
#[tokio::test]
async fn in_pair_mode_each_write_is_shown_and_may_be_edited() {
    let edit = |text: &str| {
        let class = EffectClass::Pure;
        Ruling::Edited(Rewrite { arguments: json!({"content": text}).to_string(), class, effects: None })
    };
    for (ruling, status, view) in [
        (Ruling::Allow, ToolStatus::Ok, "wrote {\"content\":\"x\"}"),
        (edit("mine"), ToolStatus::Ok, "wrote {\"content\":\"mine\"}"),
        (Ruling::Deny { feedback: "leave it".into() }, ToolStatus::Denied, "leave it"),
    ] {
        let calls = Say::Calls(vec![("read", json!({})), ("write", json!({"content": "x"}))]);
        let world = World::new(TestModel::new([calls, Say::Text("done")]), tools());
        let mut submit = submit(&world, Mode::Pair, OnAsk::Park);
        submit.config.rules = vec![RuleText {
            decision: Decision::Allow,
            text: "Write".into(),
            scope: Scope::User,
            source: "config.toml:1".into(),
        }];
        assert_eq!(world.run(submit).await.outcome, "parked");
        let result = carry_on(&world, "s/1/1/tool/1", ruling.clone()).await;
        assert_eq!(result.outcome, "finished");
        let said = views(&world).await;
        assert_eq!(said[0].0, ToolStatus::Ok);
        assert!(said[1].0 == status && said[1].1.contains(view), "{ruling:?}: {said:?}");
        replays(&world).await;
    }
}

/// What a person writes is checked, judged by the rules that forbid, and run as what its tool says it is.
#[tokio::test]
async fn an_edited_call_passes_the_pipeline_again() {
    let told = Told::default();
    let hooks = listening("h", &[HookEvent::PreToolUse], &told, |_| Reaction::Says(HookAnswer::nothing()));
    let world = World::new(TestModel::new([write(), Say::Text("done")]), tools()).hooked(hooks);
    world.run(submit(&world, Mode::Pair, OnAsk::Park)).await;
    let bad = Rewrite { arguments: "[1".into(), class: EffectClass::Pure, effects: None };
    assert!(matches!(
        resolve(&world, "s/1/1/tool/0", Ruling::Edited(bad)).await,
        Err(RuntimeError::Refused(_))
    ));
    let edit = Rewrite {
        arguments: json!({"content": "mine"}).to_string(),
        class: EffectClass::Pure,
        effects: None,
    };
    carry_on(&world, "s/1/1/tool/0", Ruling::Edited(edit)).await;
    let inputs: Vec<Value> = told.calls().into_iter().map(|call| call.input["tool_input"].clone()).collect();
    assert_eq!(inputs, [json!({"content": "x"}), json!({"content": "mine"})]);
    // The tool says what class the call has, not whoever answers.
    assert!(world.bodies("s").await.contains(&"intent 1/tool/0".to_owned()));
}

/// Of a call inside another one a person may write either. What they wrote runs as what its tool says it is.
#[tokio::test]
async fn a_call_inside_another_can_be_edited() {
    let inner = json!({"content": "mine"});
    for edit in [inner.clone(), json!({"name": "write", "arguments": inner})] {
        let wrapped = json!({"name": "write", "arguments": {"content": "x"}});
        let model = TestModel::new([Say::Calls(vec![("call_tool", wrapped)]), Say::Text("done")]);
        let mut tools = tools();
        tools.push(echo("call_tool", EffectClass::Pure));
        let world = World::new(model, tools);
        let mut submit = submit(&world, Mode::Pair, OnAsk::Park);
        submit.config.tools = vec!["call_tool".into()];
        submit.config.deferred = vec!["write".into()];
        assert_eq!(world.run(submit).await.outcome, "parked");
        let rewrite = Rewrite { arguments: edit.to_string(), class: EffectClass::Pure, effects: None };
        carry_on(&world, "s/1/1/tool/0", Ruling::Edited(rewrite)).await;
        let said = views(&world).await;
        assert_eq!(said[0], (ToolStatus::Ok, "wrote {\"content\":\"mine\"}".to_owned()), "{edit}");
        assert!(world.bodies("s").await.contains(&"intent 1/tool/0".to_owned()), "{edit}");
        replays(&world).await;
    }
}

#[tokio::test]
async fn after_denials_in_a_row_a_person_is_asked_whether_to_go_on() {
    let never = |n: usize| (0..n).map(|_| Say::Calls(vec![("other", json!({}))]));
    // Nobody is there: the turn stops.
    let world = World::new(TestModel::new(never(3)), tools());
    let result = world.run(submit(&world, Mode::NeverAsk, OnAsk::Deny)).await;
    assert_eq!(result.stop, Some(StopReason::Denied));
    // Somebody is.
    for (answer, stop, denials, view) in [
        ("Go on", None, 4, "The call was not run."),
        ("Stop", Some(StopReason::Denied), 3, "The call was not run."),
        ("use git", None, 4, "A person says: use git"),
    ] {
        let model = TestModel::new(never(4).chain([Say::Text("done")]));
        let world = World::new(model, tools());
        let listener = Listener::new(&world, "s");
        let submit = Submit { live: true, ..submit(&world, Mode::NeverAsk, OnAsk::Prompt) };
        let accepted = world.runtime.submit(submit).await.unwrap();
        let mut observer = world.runtime.observe(&session(), 0);
        let asked = async {
            loop {
                if let EventKind::QuestionAsked { wait, questions, .. } = observer.next().await.unwrap().kind
                {
                    return (wait, questions);
                }
            }
        };
        let asked = tokio::time::timeout(std::time::Duration::from_secs(20), asked).await;
        let (wait, questions) = asked.expect("nobody asks");
        assert!(questions[0].question.starts_with("3 calls in a row were denied"), "{questions:?}");
        resolve(&world, &wait, Ruling::Answers(vec![answer.into()])).await.unwrap();
        let result = world.result(&accepted).await;
        assert_eq!((result.stop, result.denials.len()), (stop, denials), "{answer}");
        assert!(views(&world).await[2].1.ends_with(view), "{answer}");
        listener.check(&world, answer).await;
        replays(&world).await;
    }
}

/// A process that dies between the answer and what it leads to changes nothing of it.
#[tokio::test]
async fn an_approved_plan_survives_the_death_of_whoever_heard_it() {
    let world = World::new(TestModel::new([plan()]), tools());
    world.run(submit(&world, Mode::Plan, OnAsk::Park)).await;
    resolve(&world, "s/1/1/tool/0", Ruling::Plan { mode: Some(Mode::Bypass), content: None }).await.unwrap();
    let next =
        world.next_life("two", TestModel::new([Say::Calls(vec![("other", json!({}))]), Say::Text("done")]));
    next.runtime.resume(&session(), next.config());
    let result = next.result(&Accepted { session: session(), input: 2, repeated: true, opened: false }).await;
    assert_eq!(result.outcome, "finished");
    assert_eq!(modes(&next).await, [(Mode::Bypass, "person".to_owned(), Some(1))]);
    assert_eq!(views(&next).await.pop().unwrap(), (ToolStatus::Ok, "ran".to_owned()));
}
