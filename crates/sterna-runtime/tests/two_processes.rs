//! Several runtimes on one log: as far as they can tell, several processes.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/hook.rs"]
mod hook;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::*;
use futures::FutureExt;
use futures::future::BoxFuture;
use hook::*;
use serde_json::json;
use sterna_log::*;
use sterna_model::*;
use sterna_runtime::*;
use sterna_tool::{SharedTool, ToolDone, ToolReturn};
use tokio::sync::{Notify, watch};

/// The second process of a world: the same log and clock, its own model.
fn second(first: &World, model: TestModel) -> World {
    let env = TestEnv { name: "two".into(), ..first.env.clone() };
    World::over(first.log.clone(), env, model, first.tools.clone())
}

fn count(bodies: &[String], name: &str) -> usize {
    bodies.iter().filter(|body| body.starts_with(name)).count()
}

/// Every answer that was asked for has its intent or its lost attempt in the log, and all requests derive again.
async fn check_log(world: &World, asked: usize) -> Vec<String> {
    let bodies = world.bodies("s").await;
    let context = bodies.join("\n");
    let intents = bodies.iter().filter(|body| body.starts_with("intent") && body.contains("model")).count();
    let lost = bodies.iter().filter(|body| body.contains("interrupted")).count();
    assert_eq!(asked, intents + lost, "{context}");
    assert_eq!(count(&bodies, "turn_started"), count(&bodies, "turn_committed"), "{context}");
    let id = SessionId::new("s").unwrap();
    let replayed = replay(world.runtime.parts(), &id).await.unwrap();
    assert_eq!(replayed.difference, None, "{context}");
    assert_eq!(verify(&*world.log, &*world.log, &id).await.unwrap().first_bad, None, "{context}");
    bodies
}

#[tokio::test]
async fn a_second_process_appends_follows_and_gets_the_same_results() {
    let one = World::new(TestModel::new([Say::Hang("first"), Say::Text("second")]), vec![]);
    let a = one.runtime.submit(one.submit("s", "go")).await.unwrap();
    one.model.arrived.notified().await;
    // Asked for anything, this model panics.
    let two = second(&one, TestModel::new([]));
    let b = two.runtime.submit(two.submit("s", "and this")).await.unwrap();
    one.model.go.notify_one();
    for (accepted, message) in [(&a, "first and the rest"), (&b, "second")] {
        let (here, there) = (one.result(accepted).await, two.result(accepted).await);
        assert_eq!(here, there);
        assert_eq!(here.message.as_deref(), Some(message));
    }
    assert_eq!(count(&check_log(&one, 2).await, "turn_committed"), 2);
}

#[tokio::test]
async fn a_dead_owner_is_taken_over_without_waiting() {
    let one = World::new(TestModel::new([Say::Hang("never")]), vec![]);
    let a = one.runtime.submit(one.submit("s", "go")).await.unwrap();
    one.model.arrived.notified().await;
    let began = Env::now(&one.env);
    let two = one.next_life("two", TestModel::new([Say::Text("taken over")]));
    two.runtime.resume(&a.session, two.config());
    assert_eq!(two.result(&a).await.message.as_deref(), Some("taken over"));
    // The lease holds for 30 s; each look at the log, however short it is here, counts as half a second.
    assert!(Env::now(&one.env) - began < 10_000);
}

#[tokio::test]
async fn a_stale_driver_that_comes_back_writes_nothing() {
    let mut one = World::new(TestModel::new([Say::Hang("stale")]), vec![]);
    // Its clock stands still: it does not renew.
    let env = HandEnv { inner: one.env.clone(), clock: watch::Sender::new(Env::now(&one.env)) };
    one.runtime = Runtime::new(Parts { env: Arc::new(env), ..one.runtime.parts().clone() });
    let a = one.runtime.submit(one.submit("s", "go")).await.unwrap();
    one.model.arrived.notified().await;
    let two = second(&one, TestModel::new([Say::Text("fresh")]));
    two.runtime.resume(&a.session, two.config());
    // It lives: nobody takes the session from it before its lease is over.
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    assert_eq!(two.model.asked(), 0);
    one.env.now.fetch_add(30_001, Ordering::SeqCst);
    let fresh = two.result(&a).await;
    assert_eq!(fresh.message.as_deref(), Some("fresh"));
    one.model.go.notify_one();
    assert_eq!(one.result(&a).await, fresh);
    let bodies = check_log(&two, 2).await;
    assert_eq!((count(&bodies, "turn_committed"), count(&bodies, "outcome")), (1, 1), "{bodies:?}");
}

/// A clock that moves by the test's hand alone.
#[derive(Clone)]
struct HandEnv {
    inner: TestEnv,
    clock: watch::Sender<Millis>,
}

impl Env for HandEnv {
    fn now(&self) -> Millis {
        *self.clock.borrow()
    }
    fn sleep_until(&self, at: Millis) -> BoxFuture<'static, ()> {
        let mut clock = self.clock.subscribe();
        async move {
            // The sender lives as long as the test.
            let _ = clock.wait_for(|now| *now >= at).await;
        }
        .boxed()
    }
    fn new_session_id(&self) -> SessionId {
        self.inner.new_session_id()
    }
    fn owner(&self) -> Owner {
        self.inner.owner()
    }
    fn is_dead(&self, owner: &Owner) -> bool {
        self.inner.is_dead(owner)
    }
    fn child_env(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }
    fn home(&self) -> Option<PathBuf> {
        None
    }
    fn resolve(&self, path: &Path) -> PathBuf {
        path.to_path_buf()
    }
    fn state_dirs(&self) -> Vec<PathBuf> {
        Vec::new()
    }
}

#[tokio::test]
async fn a_driver_that_slept_while_another_led_starts_over() {
    let (begun, go, runs) = (Arc::new(Notify::new()), Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let inner = (begun.clone(), go.clone(), runs.clone());
    let fire = tool("fire", EffectClass::AtMostOnce, move |_, _| {
        let (begun, go, runs) = inner.clone();
        async move {
            runs.fetch_add(1, Ordering::SeqCst);
            begun.notify_one();
            go.notified().await;
            Ok(ToolReturn::Done(ToolDone::text("too late")))
        }
        .boxed()
    });
    let world =
        World::new(TestModel::new([Say::Calls(vec![("fire", json!({}))]), Say::Text("told")]), vec![fire]);
    let env = HandEnv { inner: world.env.clone(), clock: watch::Sender::new(1_000_000) };
    let parts = Parts { env: Arc::new(env.clone()), ..world.runtime.parts().clone() };
    let runtime = Runtime::new(parts);
    let a = runtime.submit(world.submit("s", "go")).await.unwrap();
    begun.notified().await;
    // Another takes the session when the lease is over, settles what it finds in doubt, and leaves.
    let id = &a.session;
    let request =
        LeaseRequest { owner: Owner("x".into()), now: 1_030_000, expires: 1_060_000, takeover: None };
    let lease = world.log.lease(id, request).await.unwrap();
    let key: EffectKey = "s/1/1/tool/0".parse().unwrap();
    let unknown = ToolOutcome {
        status: ToolStatus::OutcomeUnknown,
        view: "unknown".into(),
        full: None,
        facts: vec![],
        started_at: 1,
        duration_ms: 0,
        untrusted: None,
        attachments: Vec::new(),
    };
    let bodies = [
        Body::InDoubt { key: key.clone(), resolution: InDoubtPolicy::Report },
        Body::Outcome(Box::new(Outcome { key, attempt: 1, result: EffectResult::Tool(unknown) })),
    ];
    let append = Append {
        session: id.clone(),
        expect: Expect::Head { head: world.log.head(id).await.unwrap().seq, fence: lease.fence },
        id: "in_doubt".into(),
        records: bodies.map(|body| Draft { at: 1, turn: Some(1), step: Some(1), body }).into(),
        blobs: vec![],
    };
    world.log.append(append).await.unwrap();
    world.log.release(id, lease.fence).await.unwrap();
    // Now the sleeper renews its lease, and its call ends.
    env.clock.send_replace(1_040_000);
    go.notify_one();
    let wait = runtime.result(id, a.input);
    let result =
        tokio::time::timeout(std::time::Duration::from_secs(20), wait).await.expect("it hangs").unwrap();
    assert_eq!((result.message.as_deref(), runs.load(Ordering::SeqCst)), (Some("told"), 1));
    let bodies = world.bodies("s").await;
    assert_eq!(count(&bodies, "outcome 1/tool/0"), 1, "{bodies:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_twelve_processes_with_one_key_one_drives_and_all_get_the_result() {
    let log = Arc::new(MemoryLog::new());
    // One answer for all: a second question is a panic.
    let model = TestModel::new([Say::Text("once")]);
    let mut all = Vec::new();
    for n in 0..12 {
        let world = World::over(log.clone(), TestEnv::new(&format!("p{n}")), model.clone(), vec![]);
        all.push(tokio::spawn(async move {
            let mut submit = world.submit("s", "go");
            submit.key = Some("k".into());
            let accepted = world.runtime.submit(submit).await.unwrap();
            let mut other = world.submit("s", "something else");
            other.key = Some("k".into());
            let refused = world.runtime.submit(other).await.unwrap_err();
            assert!(matches!(refused.log(), Some(LogError::Conflict { .. })), "{refused}");
            (world.result(&accepted).await, accepted, world)
        }));
    }
    let mut opened = 0;
    let mut first = None;
    for task in all {
        let (result, accepted, world) = task.await.unwrap();
        opened += usize::from(accepted.opened);
        assert_eq!((accepted.input, result.message.as_deref()), (2, Some("once")));
        assert_eq!(first.get_or_insert_with(|| result.clone()), &result);
        assert_eq!(count(&world.bodies("s").await, "turn_committed"), 1);
    }
    assert_eq!((opened, model.asked()), (1, 1));
}

/// A world whose tool counts its runs and whose model answers twice and once more.
fn reference(log: &Arc<HookLog>) -> (World, Arc<AtomicUsize>) {
    let runs = Arc::new(AtomicUsize::new(0));
    let inner = runs.clone();
    let fire = tool("fire", EffectClass::AtMostOnce, move |_, _| {
        inner.fetch_add(1, Ordering::SeqCst);
        async move { Ok(ToolReturn::Done(ToolDone::text("fired"))) }.boxed()
    });
    let look = echo("look", EffectClass::Pure);
    let answers = [
        Say::Calls(vec![("look", json!({})), ("fire", json!({}))]),
        Say::Text("one"),
        Say::Text("two"),
        Say::Text("three"),
    ];
    (over_hook(log, TestModel::new(answers), vec![fire, look]), runs)
}

fn over_hook(log: &Arc<HookLog>, model: TestModel, tools: Vec<SharedTool>) -> World {
    let env = TestEnv::new("one");
    env.dead.lock().unwrap().push(GHOST.into());
    World::with(log.clone(), log.inner.clone(), env, model.clone(), Arc::new(model), tools)
}

#[tokio::test]
async fn an_input_between_decision_and_append_is_heard_once() {
    for delivery in [Delivery::NextTurn, Delivery::AfterWork, Delivery::BeforeCompletion] {
        for n in 0.. {
            let log = HookLog::at(n, move |append| foreign(append, "foreign", delivery));
            let (world, runs) = reference(&log);
            let a = world.runtime.submit(world.submit("s", "go")).await.unwrap();
            let first = world.result(&a).await;
            assert_eq!(first.outcome, "finished", "{delivery:?} {n}");
            if log.driven.load(Ordering::SeqCst) <= n {
                assert!(n > 3, "there were only {n} appends");
                break;
            }
            let records = world.records("s").await;
            let input = records.iter().find(|record| match &record.body {
                Body::InputAccepted(input) => input_text(&input.parts) == "foreign",
                _ => false,
            });
            let foreign = Accepted {
                session: a.session.clone(),
                input: input.unwrap().seq,
                repeated: false,
                opened: false,
            };
            assert_eq!(world.result(&foreign).await.outcome, "finished");
            let bodies = check_log(&world, world.model.asked()).await;
            let turns = count(&bodies, "turn_committed");
            assert!(turns == 2 || delivery != Delivery::NextTurn, "{delivery:?} {n} {bodies:?}");
            assert_eq!((runs.load(Ordering::SeqCst), count(&bodies, "input_accepted")), (1, 2));
            // The last request says each of the two once.
            let last = world.model.body(world.model.asked() - 1);
            let said = |text: &str| {
                last["messages"].as_array().unwrap().iter().filter(|m| m["content"] == text).count()
            };
            assert_eq!((said("go"), said("foreign")), (1, 1), "{delivery:?} {n}");
        }
    }
}

#[tokio::test]
async fn a_steer_that_overtakes_the_commit_leaves_the_deadline_in_force() {
    let mut done = false;
    let log = HookLog::new(move |append| {
        let now = commits(append) && !std::mem::replace(&mut done, commits(append));
        if now { foreign(append, "wait", Delivery::AfterWork) } else { Act::Pass }
    });
    let world = over_hook(&log, TestModel::new([Say::Text("a"), Say::Hang("for ever")]), vec![]);
    let mut submit = world.submit("s", "go");
    submit.config.limits.deadline = Some(9_000);
    assert_eq!(world.run(submit).await.stop, Some(StopReason::Deadline));
}

#[tokio::test]
async fn a_session_that_is_stolen_at_any_append_is_driven_on_from_what_is_durable() {
    for n in 0.. {
        let log = HookLog::at(n, |_| Act::Steal);
        let (world, runs) = reference(&log);
        // Whoever starts over asks again: the model answers by what it is asked.
        let a = world.runtime.submit(world.submit("s", "go")).await.unwrap();
        let result = world.result(&a).await;
        assert_eq!(result.outcome, "finished", "{n}");
        if log.driven.load(Ordering::SeqCst) <= n {
            break;
        }
        let bodies = check_log(&world, world.model.asked()).await;
        assert_eq!(count(&bodies, "turn_committed"), 1, "{n} {bodies:?}");
        assert!(runs.load(Ordering::SeqCst) <= 1, "{n} {bodies:?}");
    }
}

#[tokio::test]
async fn a_store_that_fails_tells_every_caller_and_loses_nothing() {
    type Make = fn() -> LogError;
    let errors: [Make; 2] = [|| LogError::DiskFull("here".into()), || LogError::Io("gone".into())];
    for error in errors {
        for n in 0.. {
            let log = HookLog::at(n, move |_| Act::Fail(error()));
            let (world, runs) = reference(&log);
            let a = world.runtime.submit(world.submit("s", "go")).await.unwrap();
            let wait = || {
                let waiting = world.runtime.result(&a.session, a.input);
                tokio::time::timeout(std::time::Duration::from_secs(20), waiting)
            };
            let (one, two) = tokio::join!(wait(), wait());
            if log.driven.load(Ordering::SeqCst) <= n {
                assert_eq!(one.unwrap().unwrap().outcome, "finished");
                break;
            }
            for told in [one, two] {
                let told = told.expect("a caller hangs").unwrap_err();
                assert!(matches!(told.log(), Some(LogError::DiskFull(_) | LogError::Io(_))), "{n} {told}");
            }
            let failed = world.bodies("s").await;
            assert_eq!(count(&failed, "turn_committed"), 0);
            world.runtime.resume(&a.session, world.config());
            assert_eq!(world.result(&a).await.outcome, "finished");
            let bodies = check_log(&world, world.model.asked()).await;
            assert_eq!(bodies[..failed.len()], failed);
            assert_eq!((count(&bodies, "turn_committed"), count(&bodies, "input_accepted")), (1, 1));
            assert!(runs.load(Ordering::SeqCst) <= 1, "{n} {bodies:?}");
        }
    }
}

#[tokio::test]
async fn an_input_that_comes_while_the_driver_leaves_is_driven_with_its_own_settings() {
    let log = HookLog::new(|_| Act::Pass);
    let world = over_hook(&log, TestModel::new([Say::Text("one"), Say::Text("two")]), vec![]);
    log.hold_release.store(true, Ordering::SeqCst);
    let first = world.runtime.submit(world.submit("s", "go")).await.unwrap();
    log.held.notified().await;
    // The driver has found nothing left to do, and is on its way out.
    let mut late = world.submit("s", "late");
    late.config.limits.max_steps = 7;
    let (late, ()) = tokio::join!(world.runtime.submit(late), async {
        tokio::task::yield_now().await;
        log.go.notify_one();
    });
    assert_eq!(world.result(&late.unwrap()).await.message.as_deref(), Some("two"));
    assert_eq!(world.result(&first).await.message.as_deref(), Some("one"));
    let records = world.records("s").await;
    let steps: Vec<u32> = records
        .iter()
        .filter_map(|record| match &record.body {
            Body::TurnStarted(started) => Some(started.limits.max_steps),
            _ => None,
        })
        .collect();
    assert_eq!(steps, [100, 7]);
}

/// A tool that waits until its turn is cancelled, and says when it has begun.
fn cancellable(begun: &Arc<Notify>) -> SharedTool {
    let begun = begun.clone();
    tool("wait", EffectClass::AtMostOnce, move |cx, _| {
        begun.notify_one();
        async move {
            cx.cancel.cancelled().await;
            Err(sterna_tool::ToolError::cancelled())
        }
        .boxed()
    })
}

#[tokio::test]
async fn a_cancel_of_another_process_is_heard_while_a_tool_runs() {
    let begun = Arc::new(Notify::new());
    let one = World::new(TestModel::new([Say::Calls(vec![("wait", json!({}))])]), vec![cancellable(&begun)]);
    let a = one.runtime.submit(one.submit("s", "go")).await.unwrap();
    begun.notified().await;
    // It has no driver here: the request goes straight to the log.
    let two = second(&one, TestModel::new([]));
    two.runtime.cancel(&a.session, "person", "enough").await.unwrap();
    let result = one.result(&a).await;
    assert_eq!((result.stop, result.message.as_deref()), (Some(StopReason::Cancelled), Some("enough")));
    let bodies = one.bodies("s").await;
    assert_eq!(count(&bodies, "outcome 1/tool/0 cancelled"), 1, "{bodies:?}");
}

#[tokio::test]
async fn an_answer_and_a_steer_of_another_process_are_heard_by_the_leader() {
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let inner = (begun.clone(), go.clone());
    // It runs beside the call that asks, and outlasts the answer.
    let slow = tool("slow", EffectClass::Pure, move |_, _| {
        let (begun, go) = inner.clone();
        async move {
            begun.notify_one();
            go.notified().await;
            Ok(ToolReturn::Done(ToolDone::text("slow ok")))
        }
        .boxed()
    });
    let ran = Arc::new(Notify::new());
    let rings = ran.clone();
    let risky = tool_of("risky", EffectClass::Pure, sterna_tool::Access::Other, move |_, _| {
        rings.notify_one();
        async move { Ok(ToolReturn::Done(ToolDone::text("risky ok"))) }.boxed()
    });
    let model =
        TestModel::new([Say::Calls(vec![("slow", json!({})), ("risky", json!({}))]), Say::Text("heard all")]);
    let one = World::new(model, vec![slow, risky]);
    let mut observer = one.runtime.observe(&SessionId::new("s").unwrap(), 0);
    let mut submit = one.submit("s", "go");
    submit.config.on_ask = OnAsk::Prompt;
    let a = one.runtime.submit(submit).await.unwrap();
    begun.notified().await;
    let asked = async {
        while !matches!(observer.next().await.unwrap().kind, EventKind::ApprovalRequested { .. }) {}
    };
    let long = std::time::Duration::from_secs(20);
    tokio::time::timeout(long, asked).await.expect("nobody asks");
    let two = second(&one, TestModel::new([]));
    let resolve = Resolve {
        session: a.session.clone(),
        wait: "s/1/1/tool/1".into(),
        ruling: Ruling::Allow,
        grant: None,
        by: "person".into(),
    };
    two.runtime.resolve(resolve).await.unwrap();
    // The answer is heard while the other call still runs.
    tokio::time::timeout(long, ran.notified()).await.expect("the answer is not heard");
    let mut steer = two.submit("s", "and this");
    (steer.delivery, steer.drive) = (Delivery::AfterWork, false);
    let b = two.runtime.submit(steer).await.unwrap();
    let head = one.log.head(&a.session).await.unwrap().seq;
    let heard = async { while observer.next().await.unwrap().seq < head {} };
    tokio::time::timeout(long, heard).await.expect("the input is not heard");
    go.notify_one();
    for accepted in [&a, &b] {
        assert_eq!(one.result(accepted).await.message.as_deref(), Some("heard all"));
    }
    assert_eq!(count(&check_log(&one, 2).await, "turn_committed"), 1);
}
