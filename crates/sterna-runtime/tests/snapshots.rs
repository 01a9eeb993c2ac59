//! A driver leaves its fold beside the log, and the next process goes on from there as from the log.

#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use serde_json::json;
use sterna_log::Log;
use sterna_model::*;
use sterna_runtime::*;

/// Where the session's snapshot stands.
async fn kept(world: &World, session: &SessionId) -> Option<Seq> {
    world.log.snapshot_get(session, 1).await.unwrap().map(|(seq, _)| seq)
}

async fn turn(world: &World) -> SessionId {
    assert_eq!(world.run(world.submit("s", "go on")).await.outcome, "finished");
    let session = SessionId::new("s").unwrap();
    world.runtime.rest(&session).await;
    session
}

#[tokio::test]
async fn a_turns_end_leaves_a_snapshot_and_the_next_life_sends_what_the_log_says() {
    let script = || [Say::Calls(vec![("echo", json!({"n": 1}))]), Say::Text("one")];
    let world = World::new(TestModel::new(script()), vec![echo("echo", EffectClass::Pure)]);
    let session = turn(&world).await;
    let head = world.log.head(&session).await.unwrap().seq;
    assert_eq!(kept(&world, &session).await, Some(head));

    // What it sends first is what the whole log derives.
    let next = world.next_life("two", TestModel::new([Say::Text("two")]));
    turn(&next).await;
    assert_eq!(next.model.asked(), 1);
    let messages = next.model.body(0)["messages"].to_string();
    assert!(messages.contains("one") && messages.contains("go on"), "{messages}");
    let replayed = replay(next.runtime.parts(), &session).await.unwrap();
    assert_eq!((replayed.requests, replayed.difference), (3, None));
    // What came since is a small share of it: another one is not due.
    assert_eq!(kept(&next, &session).await, Some(head));
}

#[tokio::test]
async fn a_parked_turn_leaves_one_too_and_is_answered_from_there() {
    let model = TestModel::new([Say::Calls(vec![("ask", json!({}))])]);
    let world = World::new(model, vec![asking_tool("ask", "done")]);
    let mut submit = world.submit("s", "go on");
    submit.config.on_ask = OnAsk::Park;
    let accepted = world.runtime.submit(submit).await.unwrap();
    let session = accepted.session.clone();
    let result = world.runtime.result(&session, accepted.input).await.unwrap();
    assert_eq!(result.outcome, "parked");
    world.runtime.rest(&session).await;
    let head = world.log.head(&session).await.unwrap().seq;
    assert_eq!(kept(&world, &session).await, Some(head));

    let next = world.next_life("two", TestModel::new([Say::Text("it was allowed")]));
    let state = State::load(&next.runtime.parts().log, &session).await.unwrap();
    let (wait, _) = state.machine.turn().unwrap().waits().next().unwrap();
    let resolve = Resolve {
        session: session.clone(),
        wait: wait.clone(),
        ruling: Ruling::Allow,
        grant: None,
        by: "person".into(),
    };
    next.runtime.resolve(resolve).await.unwrap();
    next.runtime.resume(&session, next.config());
    let result = next.runtime.result(&session, accepted.input).await.unwrap();
    assert_eq!(result.message.as_deref(), Some("it was allowed"));
}

#[tokio::test]
async fn a_short_session_leaves_none() {
    let world = World::new(TestModel::new([Say::Text("one")]), Vec::new());
    world.runtime.snapshot_every(256);
    let session = turn(&world).await;
    assert_eq!(kept(&world, &session).await, None);
}
