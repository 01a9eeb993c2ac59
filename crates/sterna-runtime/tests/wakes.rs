//! Waits in which nobody is asked: for a time and for a signal, across restarts, early, late and by several at once.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/hook.rs"]
mod hook;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use common::*;
use futures::FutureExt;
use hook::{Act, HookLog};
use serde_json::{Value, json};
use sterna_model::*;
use sterna_runtime::*;
use sterna_tool::{Access, SharedTool, ToolDone, ToolReturn, Woken};

/// What each run of the call was given.
type Given = Arc<Mutex<Vec<Option<Woken>>>>;

/// Waits once, and then says by what it was woken.
fn waiter(wait: impl Fn(Millis) -> ToolReturn + Send + Sync + 'static, given: &Given) -> SharedTool {
    let given = given.clone();
    tool_of("waiter", EffectClass::AtMostOnce, Access::Session, move |cx, _| {
        given.lock().unwrap().push(cx.woken.clone());
        let said = match &cx.woken {
            None => wait((cx.now)()),
            Some(woken) => ToolReturn::Done(ToolDone::text(format!("{woken:?}"))),
        };
        async move { Ok(said) }.boxed()
    })
}

fn sleeper(ms: Millis, given: &Given) -> SharedTool {
    waiter(move |now| ToolReturn::Sleep { until: now + ms }, given)
}

fn listener(given: &Given, limit: Option<Millis>) -> SharedTool {
    waiter(move |now| ToolReturn::Signal { name: "ci".into(), until: limit.map(|ms| now + ms) }, given)
}

fn world(tool: SharedTool) -> World {
    let said = [Say::Calls(vec![("waiter", json!({}))]), Say::Text("went on")];
    World::new(TestModel::new(said), vec![tool])
}

async fn parked(world: &World) -> Accepted {
    let accepted = begun(world, OnAsk::Park).await;
    assert_eq!(world.result(&accepted).await.outcome, "parked");
    accepted
}

async fn begun(world: &World, on_ask: OnAsk) -> Accepted {
    let mut submit = world.submit("s", "go");
    submit.config.on_ask = on_ask;
    world.runtime.submit(submit).await.unwrap()
}

async fn resumed(world: &World, accepted: &Accepted) -> ResultEvent {
    let mut config = world.config();
    config.on_ask = OnAsk::Park;
    world.runtime.resume(&accepted.session, config);
    world.result(accepted).await
}

fn id() -> SessionId {
    SessionId::new("s").unwrap()
}

async fn signal(world: &World, payload: Value) -> Result<(), RuntimeError> {
    world.runtime.signal(&id(), "ci", &payload, "outside").await.map(|_| ())
}

fn is_late(told: &Result<(), RuntimeError>) -> bool {
    matches!(told, Err(RuntimeError::AlreadyResolved { .. }))
}

/// What the call gave, as the log has it.
async fn view(world: &World) -> String {
    let records = world.records("s").await;
    let views = records.iter().filter_map(|record| match &record.body {
        Body::Outcome(outcome) => match &outcome.result {
            EffectResult::Tool(tool) => Some(tool.view.clone()),
            _ => None,
        },
        _ => None,
    });
    views.collect::<Vec<_>>().join("\n")
}

async fn answers(world: &World) -> Vec<(Ruling, bool)> {
    let records = world.records("s").await;
    let answer = |record: &Record| match &record.body {
        Body::WaitResolved { ruling, early, .. } => Some((ruling.clone(), *early)),
        _ => None,
    };
    records.iter().filter_map(answer).collect()
}

#[tokio::test]
async fn a_time_comes_once_also_when_nobody_was_there() {
    let given = Given::default();
    let mut world = world(sleeper(3_600_000, &given));
    let accepted = parked(&world).await;
    // A life in which it is not due changes nothing.
    world.env.now.fetch_add(3_599_000, Ordering::SeqCst);
    world = world.next_life("too early", world.model.clone());
    assert_eq!(resumed(&world, &accepted).await.outcome, "finished", "due within a minute, it is waited for");
    assert_eq!(*given.lock().unwrap(), [None, Some(Woken::Time)]);
    assert_eq!(view(&world).await, "Time");
    // Nobody fires it again.
    world = world.next_life("later", TestModel::new([]));
    assert_eq!(resumed(&world, &accepted).await.message.as_deref(), Some("went on"));
    assert_eq!(answers(&world).await, [(Ruling::Timeout, false)]);
}

#[tokio::test]
async fn a_far_time_parks_in_every_life_until_it_is_over() {
    let given = Given::default();
    let mut world = world(sleeper(3_600_000, &given));
    let accepted = begun(&world, OnAsk::Deny).await;
    let result = world.result(&accepted).await;
    assert_eq!(result.outcome, "parked", "nobody is asked, so that nobody's absence ends it");
    assert_eq!(result.message.as_deref(), Some("waits for s/1/1/tool/0, a time"));
    for _ in 0..3 {
        world.env.now.fetch_add(1_000_000, Ordering::SeqCst);
        world = world.next_life("a life", world.model.clone());
        assert_eq!(resumed(&world, &accepted).await.outcome, "parked");
        assert_eq!(answers(&world).await, []);
    }
    // Long after it.
    world.env.now.fetch_add(10_000_000, Ordering::SeqCst);
    world = world.next_life("the last", world.model.clone());
    assert_eq!(resumed(&world, &accepted).await.outcome, "finished");
    assert_eq!(*given.lock().unwrap(), [None, Some(Woken::Time)]);
}

#[tokio::test]
async fn a_near_time_is_waited_for_whoever_is_there() {
    for on_ask in [OnAsk::Prompt, OnAsk::Park, OnAsk::Deny, OnAsk::Fail] {
        let given = Given::default();
        let world = world(sleeper(5_000, &given));
        let accepted = begun(&world, on_ask).await;
        assert_eq!(world.result(&accepted).await.outcome, "finished", "{on_ask:?}");
        assert_eq!(*given.lock().unwrap(), [None, Some(Woken::Time)], "{on_ask:?}");
    }
}

#[tokio::test]
async fn a_signal_is_taken_before_and_after_it_is_waited_for_and_in_another_life() {
    for (early, restart) in [(true, false), (true, true), (false, false), (false, true)] {
        let given = Given::default();
        let mut world = world(listener(&given, None));
        let mut submit = world.submit("s", "go");
        submit.config.on_ask = OnAsk::Park;
        submit.drive = !early;
        let accepted = world.runtime.submit(submit).await.unwrap();
        if !early {
            assert_eq!(
                world.result(&accepted).await.message.as_deref(),
                Some("waits for s/1/1/tool/0, the signal ci")
            );
        }
        signal(&world, json!({"ok": true})).await.unwrap();
        let second = signal(&world, json!("too late")).await;
        if early {
            assert!(is_late(&second), "{second:?}");
        } else {
            // That of the first wait was taken: this is kept for another.
            second.unwrap();
        }
        if restart {
            world = world.next_life("two", world.model.clone());
        }
        assert_eq!(resumed(&world, &accepted).await.outcome, "finished", "{early} {restart}");
        let taken = Woken::Signal("{\"ok\":true}".into());
        assert_eq!(*given.lock().unwrap(), [None, Some(taken)], "{early} {restart}");
        let first = (Ruling::Signal("{\"ok\":true}".into()), early);
        let kept = (!early).then(|| (Ruling::Signal("\"too late\"".into()), true));
        assert_eq!(answers(&world).await, [first].into_iter().chain(kept).collect::<Vec<_>>());
        assert!(replay(world.runtime.parts(), &id()).await.is_ok());
    }
}

#[tokio::test]
async fn a_signal_outlives_the_turn_and_goes_to_one_wait() {
    let given = Given::default();
    let said = [
        Say::Text("nothing to wait for"),
        Say::Calls(vec![("waiter", json!({}))]),
        Say::Text("second"),
        Say::Calls(vec![("waiter", json!({}))]),
        Say::Text("third"),
    ];
    let world = World::new(TestModel::new(said), vec![listener(&given, Some(100_000))]);
    let first = begun(&world, OnAsk::Park).await;
    assert_eq!(world.result(&first).await.outcome, "finished");
    signal(&world, json!(1)).await.unwrap();
    let mut submit = world.submit("s", "again");
    submit.config.on_ask = OnAsk::Park;
    assert_eq!(world.run(submit).await.message.as_deref(), Some("second"));
    // It was one signal.
    let mut submit = world.submit("s", "and again");
    submit.config.on_ask = OnAsk::Park;
    let third = world.runtime.submit(submit).await.unwrap();
    assert_eq!(world.result(&third).await.outcome, "parked");
    world.env.now.fetch_add(100_000, Ordering::SeqCst);
    assert_eq!(resumed(&world, &third).await.message.as_deref(), Some("third"));
    let one = Some(Woken::Signal("1".into()));
    assert_eq!(*given.lock().unwrap(), [None, one, None, Some(Woken::Time)]);
    // Another one of the same name is another signal.
    signal(&world, json!(2)).await.unwrap();
    assert!(is_late(&signal(&world, json!(3)).await), "it is kept");
}

#[tokio::test]
async fn of_many_who_send_one_is_heard() {
    for early in [true, false] {
        let given = Given::default();
        let world = world(listener(&given, None));
        let mut submit = world.submit("s", "go");
        submit.config.on_ask = OnAsk::Park;
        submit.drive = !early;
        let accepted = world.runtime.submit(submit).await.unwrap();
        if !early {
            assert_eq!(world.result(&accepted).await.outcome, "parked");
        }
        let told = futures::future::join_all((0..8).map(|n| signal(&world, json!(n)))).await;
        let heard = told.iter().filter(|told| told.is_ok()).count();
        assert!(told.iter().all(|told| told.is_ok() || is_late(told)), "{told:?}");
        // One answers the open wait, and one is kept.
        assert!(heard >= 1 && heard <= if early { 1 } else { 2 }, "{told:?}");
        assert_eq!(resumed(&world, &accepted).await.outcome, "finished");
        let woken = given.lock().unwrap()[1].clone();
        let who = told.iter().position(Result::is_ok).unwrap();
        assert!(matches!(&woken, Some(Woken::Signal(text)) if heard == 2 || *text == who.to_string()));
    }
}

/// Records that are read for signals to a session of so many turns that waits for `ci`: for an early one, for one that is
/// waited for, and for an early one again. `snapshots`: the session keeps them, and another process sends.
async fn read_for_signals(turns: usize, snapshots: bool) -> [usize; 3] {
    let log = HookLog::new(|_| Act::Pass);
    let texts = (0..turns).map(|_| Say::Text("done"));
    let model = TestModel::new(texts.chain([Say::Calls(vec![("waiter", json!({}))])]));
    let given = Given::default();
    let tools = vec![listener(&given, None)];
    let provider = Arc::new(model.clone());
    let env = TestEnv::new("one");
    let world =
        World::with(log.clone(), log.inner.clone(), env, model.clone(), provider.clone(), tools.clone());
    world.runtime.snapshot_every(if snapshots { 1 } else { u64::MAX });
    for _ in 0..turns {
        world.run(world.submit("s", "go")).await;
    }
    parked(&world).await;
    world.runtime.rest(&id()).await;
    let send = async |world: &World, name: &str| {
        world.runtime.signal(&id(), name, &json!(1), "outside").await.unwrap();
        log.read_since(&id())
    };
    if snapshots {
        let env = TestEnv::new("two");
        let other = World::with(log.clone(), log.inner.clone(), env, model, provider, tools);
        log.read_since(&id());
        return [send(&other, "a").await, send(&other, "ci").await, send(&other, "b").await];
    }
    // The first one reads what there is.
    send(&world, "first").await;
    [send(&world, "a").await, send(&world, "ci").await, send(&world, "b").await]
}

#[tokio::test]
async fn what_a_signal_reads_does_not_grow_with_the_session() {
    for snapshots in [false, true] {
        let short = read_for_signals(2, snapshots).await;
        let long = read_for_signals(30, snapshots).await;
        // What it wrote itself.
        assert_eq!((&short[1..], &long[1..]), (&[1, 1][..], &[1, 1][..]), "{snapshots}");
        // Where there is a snapshot, the first of a process reads what came since, and not each of the 30 turns.
        assert!(long[0] < 5 * 30, "{snapshots}: {} records", long[0]);
    }
}

#[tokio::test]
async fn what_is_no_signal_is_refused() {
    let given = Given::default();
    let world = world(listener(&given, None));
    parked(&world).await;
    let before = world.records("s").await.len();
    let long = "x".repeat(129);
    for name in ["", "a b", "a/b", "../x", "ä", long.as_str()] {
        let told = world.runtime.signal(&id(), name, &json!(1), "p").await;
        assert!(matches!(told, Err(RuntimeError::Refused(_))), "{name} {told:?}");
    }
    let large = world.runtime.signal(&id(), "ci", &json!("x".repeat(20_000)), "p").await;
    assert!(matches!(large, Err(RuntimeError::Refused(_))), "{large:?}");
    for ruling in [Ruling::Allow, Ruling::Answers(vec!["x".into()])] {
        let wait = "s/1/1/tool/0".to_owned();
        let told = Resolve { session: id(), wait, ruling, grant: None, by: "p".into() };
        let told = world.runtime.resolve(told).await;
        assert!(matches!(told, Err(RuntimeError::Refused(_))), "{told:?}");
    }
    assert_eq!(world.records("s").await.len(), before);
}

#[tokio::test]
async fn a_cancel_ends_a_wait_and_keeps_a_signal_for_a_later_one() {
    let given = Given::default();
    let world = world(listener(&given, None));
    let accepted = parked(&world).await;
    world.runtime.cancel(&id(), "person", "enough").await.unwrap();
    // The turn waits for nothing any more.
    signal(&world, json!(1)).await.unwrap();
    assert_eq!(resumed(&world, &accepted).await.outcome, "stopped");
    assert_eq!(answers(&world).await, [(Ruling::Signal("1".into()), true)]);
    assert!(is_late(&signal(&world, json!(2)).await), "it is kept");
}

#[tokio::test]
async fn a_name_that_is_none_fails_the_call() {
    let given = Given::default();
    let world = world(waiter(|_| ToolReturn::Signal { name: "a b".into(), until: None }, &given));
    let accepted = begun(&world, OnAsk::Park).await;
    assert_eq!(world.result(&accepted).await.outcome, "finished");
    assert!(view(&world).await.starts_with("`a b` is no name of a signal"));
}
