//! A turn's stream: it ends with its own turn's result, and with the error where there is none. It never hangs.

#![allow(clippy::unwrap_used)]

#[path = "../../sterna-runtime/tests/common/mod.rs"]
mod common;
#[path = "../../sterna-runtime/tests/common/hook.rs"]
mod hook;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use hook::*;
use serde_json::json;
use sterna::{Error, Session, Sterna, Store, TurnStream};
use sterna_log::LogError;
use sterna_model::*;
use sterna_runtime::RuntimeError;
use sterna_tool::SharedTool;

async fn sterna(log: &Arc<HookLog>, model: &TestModel, tools: Vec<SharedTool>) -> Sterna {
    let builder = Sterna::builder()
        .provider(Arc::new(model.clone()))
        .store(Store::Own(log.clone(), log.inner.clone()))
        .env(Arc::new(TestEnv::new("one")))
        .without_builtin_tools();
    tools.into_iter().fold(builder, |builder, tool| builder.tool(tool)).build().await.unwrap()
}

/// The stream's next word, or a hang.
async fn next(stream: &mut TurnStream) -> Result<Option<Event>, Error> {
    tokio::time::timeout(Duration::from_secs(10), stream.next()).await.expect("the stream hangs")
}

/// All that the stream tells, and how it ends.
async fn rest(stream: &mut TurnStream) -> (Vec<Event>, Option<Error>) {
    let mut events = Vec::new();
    loop {
        match next(stream).await {
            Ok(Some(event)) => events.push(event),
            Ok(None) => return (events, None),
            Err(error) => return (events, Some(error)),
        }
    }
}

/// Turn, outcome and message of the results among the events.
fn results(events: &[Event]) -> Vec<(TurnNo, &'static str, Option<String>)> {
    let result = |event: &Event| match &event.kind {
        EventKind::Result(result) => Some((result.turn, result.outcome, result.message.clone())),
        _ => None,
    };
    events.iter().filter_map(result).collect()
}

fn said(turn: TurnNo, message: &str) -> (TurnNo, &'static str, Option<String>) {
    (turn, "finished", Some(message.to_owned()))
}

/// The last event is the result, and `None` comes after it, however often one asks.
async fn check_end(stream: &mut TurnStream, events: &[Event]) {
    assert!(matches!(events.last().unwrap().kind, EventKind::Result(_)));
    assert!(next(stream).await.unwrap().is_none());
}

#[tokio::test]
async fn a_queued_turns_stream_goes_past_the_result_of_the_turn_before() {
    let log = HookLog::new(|_| Act::Pass);
    let model = TestModel::new([Say::Hang("first"), Say::Text("second"), Say::Text("third")]);
    let session: Session = sterna(&log, &model, vec![]).await.session("s");
    let mut first = session.turn("one").key("1").stream().await.unwrap();
    model.arrived.notified().await;
    let mut second = session.turn("two").stream().await.unwrap();
    let mut third = session.turn("three").stream().await.unwrap();
    model.go.notify_one();
    let one = said(1, "first and the rest");
    for (stream, wanted) in [
        (&mut first, vec![one.clone()]),
        (&mut second, vec![one.clone(), said(2, "second")]),
        (&mut third, vec![one.clone(), said(2, "second"), said(3, "third")]),
    ] {
        let (events, error) = rest(stream).await;
        assert!(error.is_none(), "{error:?}");
        assert_eq!(results(&events), wanted);
        check_end(stream, &events).await;
    }
    // The same input once more, long after its turn: its own result again, and no other.
    let mut again = session.turn("one").key("1").stream().await.unwrap();
    let (events, error) = rest(&mut again).await;
    assert!(error.is_none(), "{error:?}");
    assert_eq!(results(&events), [one]);
    assert_eq!(model.asked(), 3);
}

#[tokio::test]
async fn a_steered_inputs_stream_ends_with_the_turn_that_took_it() {
    let log = HookLog::new(|_| Act::Pass);
    let model = TestModel::new([Say::Hang("first"), Say::Text("heard it")]);
    let session = sterna(&log, &model, vec![]).await.session("s");
    session.turn("one").send().await.unwrap();
    model.arrived.notified().await;
    let mut steer = session.turn("two").delivery(Delivery::AfterWork).stream().await.unwrap();
    model.go.notify_one();
    let (events, error) = rest(&mut steer).await;
    assert!(error.is_none(), "{error:?}");
    assert_eq!(results(&events), [said(1, "heard it")]);
    check_end(&mut steer, &events).await;
}

#[tokio::test]
async fn a_parked_turns_stream_ends_and_another_goes_on() {
    let log = HookLog::new(|_| Act::Pass);
    let model = TestModel::new([Say::Calls(vec![("risky", json!({}))]), Say::Text("with it")]);
    let session = sterna(&log, &model, vec![asking_tool("risky", "it ran")]).await.session("s");
    let turn = || session.turn("go").key("k").on_ask(OnAsk::Park);
    let mut stream = turn().stream().await.unwrap();
    let (events, error) = rest(&mut stream).await;
    assert!(error.is_none(), "{error:?}");
    assert_eq!(results(&events).last().map(|last| last.1), Some("parked"));
    check_end(&mut stream, &events).await;
    session.resolve("s/1/1/tool/0", Ruling::Allow).await.unwrap();
    let mut stream = turn().stream().await.unwrap();
    let (events, error) = rest(&mut stream).await;
    assert!(error.is_none(), "{error:?}");
    assert_eq!(results(&events).last(), Some(&said(1, "with it")));
    check_end(&mut stream, &events).await;
}

#[tokio::test]
async fn a_stream_whose_driver_fails_ends_with_the_error() {
    for n in 0.. {
        let log = HookLog::at(n, |_| Act::Fail(LogError::DiskFull("here".into())));
        let model = TestModel::new([Say::Text("done")]);
        let session = sterna(&log, &model, vec![]).await.session("s");
        let mut stream = session.turn("go").stream().await.unwrap();
        let (events, error) = rest(&mut stream).await;
        if log.driven.load(std::sync::atomic::Ordering::SeqCst) <= n {
            assert_eq!((results(&events), error.is_none(), n > 1), (vec![said(1, "done")], true, true));
            break;
        }
        assert_eq!(results(&events), [], "{n}");
        let error = error.expect("it ends without a result and without an error").to_string();
        assert!(error.contains("full") || error.contains("here"), "{n}: {error}");
    }
}

#[tokio::test]
async fn a_stream_of_an_input_that_no_turn_takes_ends_with_the_error() {
    let log = HookLog::new(|_| Act::Pass);
    let model = TestModel::new([Say::Hang("first")]);
    let sterna = sterna(&log, &model, vec![]).await;
    let session = sterna.session("s");
    session.turn("one").send().await.unwrap();
    model.arrived.notified().await;
    let mut stream = session.turn("two").stream().await.unwrap();
    let accepted = stream.accepted().clone();
    sterna.runtime().withdraw(&accepted.session, vec![accepted.input], "person").await.unwrap();
    model.go.notify_one();
    let (events, error) = rest(&mut stream).await;
    assert_eq!(results(&events), [said(1, "first and the rest")]);
    assert!(error.is_some());
}

#[tokio::test]
async fn a_stream_of_a_runtime_that_drains_ends() {
    let log = HookLog::new(|_| Act::Pass);
    let model = TestModel::new([Say::Hang("first")]);
    let sterna = sterna(&log, &model, vec![]).await;
    let session = sterna.session("s");
    let mut first = session.turn("one").stream().await.unwrap();
    model.arrived.notified().await;
    let mut second = session.turn("two").stream().await.unwrap();
    sterna.runtime().drain().await;
    let (events, error) = rest(&mut first).await;
    assert_eq!((results(&events)[0].1, error.is_none()), ("drained", true));
    // It waits for a turn that nobody drives here any more.
    let (_, error) = rest(&mut second).await;
    match error {
        Some(Error::Runtime(RuntimeError::Interrupted { .. })) => {}
        other => panic!("{other:?}"),
    }
}
