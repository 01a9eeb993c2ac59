//! Observers: from the beginning, in the middle, coming back, too late. What they are told is what the log says.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/hook.rs"]
mod hook;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use common::*;
use futures::FutureExt;
use serde_json::{Value, json};
use sterna_log::fold::Folded;
use sterna_model::*;
use sterna_runtime::*;
use sterna_tool::{SharedTool, ToolDone, ToolReturn};
use tokio::sync::Semaphore;

/// An event without what differs between two tellings.
fn settled(event: &Event) -> Option<(Seq, Value)> {
    (!event.kind.is_live()).then(|| (event.seq, serde_json::to_value(event).unwrap()))
}

/// The next event, or a hang.
async fn next(observer: &mut Observer) -> Event {
    let wait = tokio::time::timeout(std::time::Duration::from_secs(20), observer.next());
    wait.await.expect("the observer hangs").unwrap()
}

/// All events up to the result of this turn.
async fn until_result(observer: &mut Observer, turn: TurnNo) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        let event = next(observer).await;
        let last = matches!(&event.kind, EventKind::Result(result) if result.turn == turn);
        events.push(event);
        if last {
            check_stream(&events);
            return events;
        }
    }
}

/// What holds for every stream: the order, one open segment, the schema.
fn check_stream(events: &[Event]) {
    assert!(events.windows(2).all(|pair| pair[0].seq <= pair[1].seq));
    let mut open = None;
    let mut gone = false;
    for event in events {
        match &event.kind {
            EventKind::Gap { .. } => (open, gone) = (None, true),
            EventKind::ModelDelta { segment, phase, .. } if !gone => match phase {
                Phase::Start => assert_eq!(open.replace(*segment), None),
                Phase::Delta => assert_eq!(open, Some(*segment)),
                Phase::End => assert_eq!(open.take(), Some(*segment)),
            },
            _ => {}
        }
        schema::check(event);
    }
}

/// The settled events of the log, as `sessions show` folds them.
async fn folded(world: &World, session: &str) -> Vec<(Seq, Value)> {
    let mut folded = Folded::new();
    let mut events = Vec::new();
    for record in world.records(session).await {
        folded.apply(&record);
        let of = folded.events(&record);
        assert!(!of.is_empty(), "{record:?} shows nothing");
        events.extend(of);
    }
    events.iter().map(|event| settled(event).unwrap()).collect()
}

fn all_settled(events: &[Event]) -> Vec<(Seq, Value)> {
    events.iter().filter_map(settled).collect()
}

/// A tool that waits for a permit of the test, and tells what it does.
fn gated(gate: &Arc<Semaphore>) -> SharedTool {
    let gate = gate.clone();
    tool("gated", EffectClass::AtMostOnce, move |cx, args| {
        let gate = gate.clone();
        async move {
            for n in 0..args["says"].as_u64().unwrap_or(0) {
                (cx.progress)(format!("line {n}"));
            }
            gate.acquire().await.unwrap().forget();
            Ok(ToolReturn::Done(ToolDone::text(args.to_string())))
        }
        .boxed()
    })
}

fn steps(says: &[u64]) -> Vec<Say> {
    let call = |(n, says): (usize, &u64)| Say::Calls(vec![("gated", json!({ "n": n, "says": says }))]);
    says.iter().enumerate().map(call).chain([Say::Text("done")]).collect()
}

fn live(world: &World) -> Submit {
    Submit { live: true, ..world.submit("s", "go") }
}

/// Whether this is the start of the n-th step's call.
fn tool_starts(event: &Event, step: StepNo) -> bool {
    matches!(event.kind, EventKind::ToolStarted { .. }) && event.step == Some(step)
}

#[tokio::test]
async fn from_the_beginning_in_the_middle_and_from_the_log() {
    let gate = Arc::new(Semaphore::new(0));
    let world = World::new(TestModel::new(steps(&[3, 3])), vec![gated(&gate)]);
    let accepted = world.runtime.submit(live(&world)).await.unwrap();
    let mut first = world.runtime.observe(&accepted.session, 0);
    let mut begun = Vec::new();
    while !begun.last().is_some_and(|event| tool_starts(event, 1)) {
        begun.push(next(&mut first).await);
    }
    let seen = begun.last().unwrap().seq;
    let mut middle = world.runtime.observe(&accepted.session, 0);
    let mut from_here = world.runtime.observe(&accepted.session, seen);
    gate.add_permits(2);
    begun.extend(until_result(&mut first, 1).await);
    check_stream(&begun);
    let log = folded(&world, "s").await;
    assert_eq!(all_settled(&begun), log);
    assert_eq!(all_settled(&until_result(&mut middle, 1).await), log);
    let later: Vec<_> = log.iter().filter(|(seq, _)| *seq > seen).cloned().collect();
    assert_eq!(all_settled(&until_result(&mut from_here, 1).await), later);
    // Nobody drives any more: the same from the log alone, here and in another process.
    let mut late = world.runtime.observe(&accepted.session, 0);
    assert_eq!(all_settled(&until_result(&mut late, 1).await), log);
    let other = World::over(world.log.clone(), TestEnv::new("two"), TestModel::default(), vec![]);
    let mut there = other.runtime.observe(&accepted.session, 0);
    assert_eq!(all_settled(&until_result(&mut there, 1).await), log);
    let live = begun.iter().filter(|event| matches!(event.kind, EventKind::ToolProgress { .. })).count();
    assert_eq!(live, 6);
}

#[tokio::test]
async fn who_returns_within_the_ring_misses_nothing() {
    let gate = Arc::new(Semaphore::new(0));
    let world = World::new(TestModel::new(steps(&[900, 900])), vec![gated(&gate)]);
    let accepted = world.runtime.submit(live(&world)).await.unwrap();
    let mut observer = world.runtime.observe(&accepted.session, 0);
    for _ in 0..5 {
        next(&mut observer).await;
    }
    gate.add_permits(2);
    assert_eq!(world.result(&accepted).await.outcome, "finished");
    let rest = until_result(&mut observer, 1).await;
    assert!(rest.iter().all(|event| !matches!(event.kind, EventKind::Gap { .. })));
    let deltas: Vec<u64> = rest
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::ToolProgress { delta, .. } | EventKind::ModelDelta { delta, .. } => Some(*delta),
            _ => None,
        })
        .collect();
    assert_eq!(deltas, (1..=deltas.len() as u64).collect::<Vec<_>>());
    assert!(deltas.len() >= 1_800);
}

#[tokio::test]
async fn after_2048_events_comes_a_gap_and_then_the_settled_state() {
    // Wherever the reader stands in the ring when it stops reading.
    for read in [1, 7, 40, 255, 256, 257, 300] {
        let gate = Arc::new(Semaphore::new(0));
        let says: Vec<u64> = vec![7; 80].into_iter().chain([3_000]).collect();
        let world = World::new(TestModel::new(steps(&says)), vec![gated(&gate)]);
        let accepted = world.runtime.submit(live(&world)).await.unwrap();
        let mut observer = world.runtime.observe(&accepted.session, 0);
        gate.add_permits(60);
        let mut events = Vec::new();
        for _ in 0..read {
            events.push(next(&mut observer).await);
        }
        gate.add_permits(100);
        assert_eq!(world.result(&accepted).await.outcome, "finished");
        events.extend(until_result(&mut observer, 1).await);
        check_stream(&events);
        let gaps: Vec<u64> = events
            .iter()
            .filter_map(|event| match event.kind {
                EventKind::Gap { missed } => Some(missed),
                _ => None,
            })
            .collect();
        assert!(gaps.len() == 1 && gaps[0] > 900, "{read} {gaps:?}");
        assert_eq!(all_settled(&events), folded(&world, "s").await, "{read}");
    }
}

#[tokio::test]
async fn after_120_seconds_comes_a_gap_too() {
    for (pause, gap) in [(119_000, false), (120_001, true)] {
        let gate = Arc::new(Semaphore::new(0));
        let world = World::new(TestModel::new(steps(&[5])), vec![gated(&gate)]);
        let accepted = world.runtime.submit(live(&world)).await.unwrap();
        let mut watcher = world.runtime.observe(&accepted.session, 0);
        let mut observer = world.runtime.observe(&accepted.session, 0);
        let mut events = vec![next(&mut observer).await];
        let mut progress = 0;
        while progress < 5 {
            progress += usize::from(matches!(next(&mut watcher).await.kind, EventKind::ToolProgress { .. }));
        }
        world.env.now.fetch_add(pause, Ordering::SeqCst);
        gate.add_permits(1);
        world.result(&accepted).await;
        events.extend(until_result(&mut observer, 1).await);
        check_stream(&events);
        assert_eq!(events.iter().any(|event| matches!(event.kind, EventKind::Gap { .. })), gap, "{pause}");
        assert_eq!(all_settled(&events), folded(&world, "s").await, "{pause}");
    }
}

#[tokio::test]
async fn twenty_observers_that_come_and_go_are_told_the_same() {
    let gate = Arc::new(Semaphore::new(0));
    let world = World::new(TestModel::new(steps(&[40; 60])), vec![gated(&gate)]);
    let accepted = world.runtime.submit(live(&world)).await.unwrap();
    // One that never reads.
    let idle = world.runtime.observe(&accepted.session, 0);
    let mut all = Vec::new();
    for n in 0..20u64 {
        let (runtime, session) = (world.runtime.clone(), accepted.session.clone());
        all.push(tokio::spawn(async move {
            let mut told: Vec<(Seq, Value)> = Vec::new();
            let mut whole = 0;
            let mut dice = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            loop {
                // Back from where the last whole record ended: a client knows its seq, and nothing else.
                told.retain(|(seq, _)| *seq <= whole);
                let mut observer = runtime.observe(&session, whole);
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                for _ in 0..20 + (dice >> 33) % 400 {
                    let event = next(&mut observer).await;
                    whole = whole.max(event.seq.saturating_sub(1));
                    let over = matches!(event.kind, EventKind::Result(_));
                    told.extend(settled(&event));
                    if over {
                        return told;
                    }
                }
                tokio::task::yield_now().await;
            }
        }));
    }
    gate.add_permits(100);
    assert_eq!(world.result(&accepted).await.outcome, "finished");
    let log = folded(&world, "s").await;
    for one in all {
        assert_eq!(one.await.unwrap(), log);
    }
    let seqs: BTreeSet<Seq> = log.iter().map(|(seq, _)| *seq).collect();
    assert_eq!(seqs, (1..=world.records("s").await.len() as u64).collect());
    drop(idle);
}

#[tokio::test]
async fn an_observer_of_a_follower_and_one_that_came_before_the_session() {
    let gate = Arc::new(Semaphore::new(0));
    let one = World::new(TestModel::new(steps(&[1, 1])), vec![gated(&gate)]);
    let id = SessionId::new("s").unwrap();
    let mut early = one.runtime.observe(&id, 0);
    let accepted = one.runtime.submit(one.submit("s", "go")).await.unwrap();
    let two = World::over(
        one.log.clone(),
        TestEnv { name: "two".into(), ..one.env.clone() },
        TestModel::default(),
        vec![],
    );
    let mut there = two.runtime.observe(&id, 0);
    two.runtime.resume(&id, two.config());
    gate.add_permits(2);
    one.result(&accepted).await;
    let log = folded(&one, "s").await;
    assert_eq!(all_settled(&until_result(&mut early, 1).await), log);
    assert_eq!(all_settled(&until_result(&mut there, 1).await), log);
}

#[tokio::test]
async fn a_parked_turn_is_told_once_and_its_end_later() {
    let ask = Say::Calls(vec![("risky", json!({}))]);
    let world = World::new(TestModel::new([ask, Say::Text("done")]), vec![asking_tool("risky", "ran")]);
    let mut submit = live(&world);
    submit.config.on_ask = OnAsk::Park;
    let accepted = world.runtime.submit(submit).await.unwrap();
    let mut observer = world.runtime.observe(&accepted.session, 0);
    let parked = until_result(&mut observer, 1).await;
    let EventKind::Result(result) = &parked.last().unwrap().kind else { panic!("no result") };
    assert_eq!((result.outcome, result.steps), ("parked", 1));
    let resolve = Resolve {
        session: accepted.session.clone(),
        wait: "s/1/1/tool/0".into(),
        ruling: Ruling::Allow,
        grant: None,
        by: "p".into(),
    };
    world.runtime.resolve(resolve).await.unwrap();
    world.runtime.resume(&accepted.session, world.config());
    let rest = until_result(&mut observer, 1).await;
    let EventKind::Result(result) = &rest.last().unwrap().kind else { panic!("no result") };
    assert_eq!(result.message.as_deref(), Some("done"));
    let told: Vec<_> = [&parked[..parked.len() - 1], &rest[..]].concat();
    assert_eq!(all_settled(&told), folded(&world, "s").await);
}

/// A session of so many records, in a log that may be slow to read.
async fn long_log(records: usize, slow: bool) -> World {
    let log = hook::HookLog::new(|_| hook::Act::Pass);
    let model = TestModel::new([]);
    let provider = Arc::new(model.clone());
    let world = World::with(log.clone(), log.inner.clone(), TestEnv::new("one"), model, provider, vec![]);
    let mut submit = world.submit("s", "go");
    submit.drive = false;
    let accepted = world.runtime.submit(submit).await.unwrap();
    for n in 2..records {
        world.runtime.set_title(&accepted.session, &format!("title {n}"), "test").await.unwrap();
    }
    log.slow_reads.store(slow, Ordering::SeqCst);
    world
}

/// Reads a log with futures that are dropped after so many polls, each of them.
async fn read_in_glances(world: &World, polls: usize) -> Vec<Event> {
    let wanted = folded(world, "s").await.len();
    let mut observer = world.runtime.observe(&SessionId::new("s").unwrap(), 0);
    let mut events = Vec::new();
    for _ in 0..20 * wanted {
        let mut next = Box::pin(observer.next());
        for _ in 0..polls {
            if let std::task::Poll::Ready(event) = futures::poll!(&mut next) {
                events.push(event.unwrap());
                break;
            }
            tokio::task::yield_now().await;
        }
        if events.len() == wanted {
            break;
        }
    }
    events
}

#[tokio::test]
async fn an_observer_whose_futures_are_dropped_still_gets_on() {
    for (slow, polls) in [(false, 1), (true, 2), (true, 1)] {
        let world = long_log(3_000, slow).await;
        let events = read_in_glances(&world, polls).await;
        let log = folded(&world, "s").await;
        assert_eq!(events.len(), log.len(), "slow: {slow}, polls: {polls}");
        assert_eq!(all_settled(&events), log, "slow: {slow}, polls: {polls}");
    }
}

/// The committed schema of events.
mod schema {
    use std::sync::LazyLock;

    use serde_json::Value;
    use sterna_model::Event;

    static SCHEMA: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
        let text = include_str!("../../../events.schema.json");
        jsonschema::validator_for(&serde_json::from_str::<Value>(text).unwrap()).unwrap()
    });

    pub fn check(event: &Event) {
        let value = serde_json::to_value(event).unwrap();
        if let Err(error) = SCHEMA.validate(&value) {
            panic!("{error} at {}: {value}", error.instance_path());
        }
    }
}
