//! SC-18: a call that changes nothing starts while the answer still streams, and what it gives counts only with the answer.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/hooks.rs"]
mod double;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::*;
use double::saying;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use sterna_llm::{EncodeCache, Encoded, ModelInfo, ModelReply, Provider, Request, StreamEvent};
use sterna_log::MemoryLog;
use sterna_model::*;
use sterna_runtime::*;
use sterna_tool::{Access, SharedTool, ToolDone, ToolReturn};
use tokio::sync::Notify;

/// What one request is answered with.
#[derive(Clone, Default)]
struct Reply {
    /// Calls that stream: name and arguments.
    streams: Vec<(&'static str, Value)>,
    /// What the answer holds, if that is something else.
    holds: Option<Vec<(&'static str, Value)>>,
    /// It waits for the test before it streams.
    late: bool,
    /// It waits for the test after it has streamed.
    gated: bool,
    fails: bool,
    text: &'static str,
}

/// A model that streams its calls piece by piece.
#[derive(Clone, Default)]
struct Streams {
    replies: Arc<Mutex<VecDeque<Reply>>>,
    bodies: Arc<Mutex<Vec<Value>>>,
    go: Arc<Notify>,
}

impl Provider for Streams {
    fn model(&self, _: &Route) -> Result<ModelInfo, String> {
        Ok(ModelInfo::default())
    }
    fn encoder(&self, _: &Route) -> String {
        "openai_chat/1".into()
    }
    fn encode(&self, request: &Request, cache: &mut EncodeCache) -> Encoded {
        sterna_llm::wire::by_name("openai_chat").unwrap().encode(request, cache)
    }
    fn send<'a>(
        &'a self,
        _: &'a Route,
        body: Encoded,
        events: &'a mut (dyn FnMut(StreamEvent) + Send),
    ) -> BoxFuture<'a, Result<ModelReply, ProviderFailure>> {
        let n = {
            let mut bodies = self.bodies.lock().unwrap();
            bodies.push(serde_json::from_slice(&body.body()).unwrap());
            bodies.len()
        };
        let answer = self.replies.lock().unwrap().pop_front().expect("the model was asked once too often");
        async move {
            if answer.late {
                self.go.notified().await;
            }
            let id = |at: usize| format!("c{n}_{at}");
            for (at, (name, args)) in answer.streams.iter().enumerate() {
                let mut event = |phase, text: &str| {
                    events(StreamEvent {
                        segment: Segment::ToolCall,
                        phase,
                        text: text.into(),
                        call_id: Some(id(at)),
                        name: Some((*name).into()),
                    });
                };
                event(Phase::Start, "");
                let text = args.to_string();
                let (head, tail) = text.split_at(text.len() / 2);
                event(Phase::Delta, head);
                tokio::task::yield_now().await;
                event(Phase::Delta, tail);
                event(Phase::End, "");
            }
            if answer.gated {
                self.go.notified().await;
            }
            if answer.fails {
                return Err(ProviderFailure {
                    class: ErrorClass::StreamCut,
                    status: None,
                    message: "cut".into(),
                    retry_after_ms: None,
                    billed: Billed::default(),
                });
            }
            let calls = answer.holds.as_ref().unwrap_or(&answer.streams);
            if calls.is_empty() {
                return Ok(reply(vec![Part::Text(answer.text.into())], ModelStop::EndTurn));
            }
            let part = |(at, (name, args)): (usize, &(&str, Value))| call(&id(at), name, &args.to_string());
            Ok(reply(calls.iter().enumerate().map(part).collect(), ModelStop::ToolCalls))
        }
        .boxed()
    }
}

/// Arguments of calls that have run, in order.
type Ran = Arc<Mutex<Vec<String>>>;

fn noting(name: &'static str, class: EffectClass, access: Access, ran: &Ran) -> SharedTool {
    let ran = ran.clone();
    tool_of(name, class, access, move |_, args| {
        ran.lock().unwrap().push(format!("{name} {args}"));
        async move { Ok(ToolReturn::Done(ToolDone::text(format!("{name} gave {args}")))) }.boxed()
    })
}

struct Scene {
    world: World,
    model: Streams,
    ran: Ran,
}

fn scene(replies: impl IntoIterator<Item = Reply>) -> Scene {
    let (ran, model) = (Ran::default(), Streams::default());
    *model.replies.lock().unwrap() = replies.into_iter().collect();
    let tools = vec![
        noting("look", EffectClass::Pure, Access::Session, &ran),
        noting("far", EffectClass::Pure, Access::Read("/elsewhere/x".into()), &ran),
        noting("keep", EffectClass::Pure, Access::Keep, &ran),
        noting("write", EffectClass::AtMostOnce, Access::Session, &ran),
    ];
    let log = Arc::new(MemoryLog::new());
    let world = World::with(
        log.clone(),
        log,
        TestEnv::new("one"),
        TestModel::default(),
        Arc::new(model.clone()),
        tools,
    );
    Scene { world, model, ran }
}

fn done() -> Reply {
    Reply { text: "done", ..Reply::default() }
}

fn streams(calls: Vec<(&'static str, Value)>) -> Reply {
    Reply { streams: calls, gated: true, ..Reply::default() }
}

impl Scene {
    fn ran(&self) -> Vec<String> {
        self.ran.lock().unwrap().clone()
    }

    async fn until_ran(&self, n: usize) {
        let all = async {
            while self.ran().len() < n {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), all).await.expect("it never started");
    }

    /// Gives whatever might start wrongly the time to.
    async fn settle(&self) {
        tokio::time::sleep(Duration::from_millis(30)).await;
    }

    async fn results(&self) -> Vec<(String, String)> {
        let of = |record: Record| match record.body {
            Body::Outcome(outcome) => match outcome.result {
                EffectResult::Tool(tool) => Some((tool.status.word().to_owned(), tool.view)),
                _ => None,
            },
            _ => None,
        };
        self.world.records("s").await.into_iter().filter_map(of).collect()
    }

    async fn replays(&self) {
        let id = SessionId::new("s").unwrap();
        assert_eq!(replay(self.world.runtime.parts(), &id).await.unwrap().difference, None);
    }
}

#[tokio::test]
async fn a_pure_call_starts_while_the_answer_streams_and_counts_with_it() {
    let scene = scene([streams(vec![("look", json!({"n": 1})), ("look", json!({"n": 2}))]), done()]);
    let accepted = scene.world.runtime.submit(scene.world.submit("s", "go")).await.unwrap();
    scene.until_ran(2).await;
    // They have run, and the log knows neither them nor the answer.
    let bodies = scene.world.bodies("s").await;
    assert_eq!(bodies[2..], ["turn_started", "intent 1/model/0"]);
    scene.model.go.notify_one();
    assert_eq!(scene.world.result(&accepted).await.message.as_deref(), Some("done"));
    assert_eq!(scene.ran(), [r#"look {"n":1}"#, r#"look {"n":2}"#]);
    let bodies = scene.world.bodies("s").await;
    let at = |name: &str| bodies.iter().position(|body| body == name).unwrap();
    assert!(at("outcome 1/model/0") < at("outcome 1/tool/0 ok"), "{bodies:?}");
    let given = |n: u32| ("ok".to_owned(), format!("look gave {{\"n\":{n}}}"));
    assert_eq!(scene.results().await, [given(1), given(2)]);
    // The request shows them in call order.
    let request = scene.model.bodies.lock().unwrap()[1].to_string();
    assert!(request.find("look gave {\\\"n\\\":1}") < request.find("look gave {\\\"n\\\":2}"), "{request}");
    scene.replays().await;
}

/// A failed attempt never asked for anything: its results are in no log, and what the next one asks for is run.
#[tokio::test]
async fn what_a_retracted_attempt_started_is_dropped() {
    let first = Reply { fails: true, ..streams(vec![("look", json!({"n": 1}))]) };
    let second = Reply { gated: false, ..streams(vec![("look", json!({"n": 2}))]) };
    let scene = scene([first, second, done()]);
    let accepted = scene.world.runtime.submit(scene.world.submit("s", "go")).await.unwrap();
    scene.until_ran(1).await;
    scene.model.go.notify_one();
    assert_eq!(scene.world.result(&accepted).await.outcome, "finished");
    assert_eq!(scene.ran(), [r#"look {"n":1}"#, r#"look {"n":2}"#]);
    assert_eq!(scene.results().await, [("ok".to_owned(), "look gave {\"n\":2}".to_owned())]);
    let log = format!("{:?}", scene.world.records("s").await);
    assert!(!log.contains("look gave {\\\"n\\\":1}"), "{log}");
    scene.replays().await;
}

/// What may write waits for the answer and for its intent, and what comes after it waits for both.
#[tokio::test]
async fn a_writing_call_and_all_behind_it_wait() {
    let calls = vec![("look", json!({"n": 1})), ("write", json!({"n": 2})), ("look", json!({"n": 3}))];
    let scene = scene([streams(calls), done()]);
    let accepted = scene.world.runtime.submit(scene.world.submit("s", "go")).await.unwrap();
    scene.until_ran(1).await;
    scene.settle().await;
    assert_eq!(scene.ran(), [r#"look {"n":1}"#]);
    scene.model.go.notify_one();
    assert_eq!(scene.world.result(&accepted).await.outcome, "finished");
    assert_eq!(scene.ran(), [r#"look {"n":1}"#, r#"write {"n":2}"#, r#"look {"n":3}"#]);
    let bodies = scene.world.bodies("s").await;
    let at = |name: &str| bodies.iter().position(|body| body == name).unwrap();
    assert!(at("outcome 1/model/0") < at("intent 1/tool/1"), "{bodies:?}");
    assert!(at("intent 1/tool/1") < at("outcome 1/tool/1 ok"), "{bodies:?}");
    scene.replays().await;
}

/// What policy asks about, what a hook may want to see, and what is no whole object does not start early.
#[tokio::test]
async fn only_a_plain_yes_starts_a_call_early() {
    for (call, hooked) in [
        (("far", json!({})), false),
        (("look", json!("no object")), false),
        (("nothing", json!({})), false),
        (("look", json!({})), true),
    ] {
        let mut scene = scene([streams(vec![call.clone()]), done()]);
        if hooked {
            scene.world = scene.world.hooked(saying(&[HookEvent::PreToolUse], HookAnswer::nothing()));
        }
        let accepted = scene.world.runtime.submit(scene.world.submit("s", "go")).await.unwrap();
        scene.settle().await;
        assert_eq!(scene.ran(), Vec::<String>::new(), "{call:?}");
        scene.model.go.notify_one();
        assert_eq!(scene.world.result(&accepted).await.outcome, "finished");
        assert_eq!((scene.ran().len(), scene.results().await.len()), (usize::from(hooked), 1), "{call:?}");
    }
}

/// What counts is the answer, whatever streamed before it.
#[tokio::test]
async fn an_answer_that_differs_from_its_stream_is_run_as_it_is() {
    let other =
        Reply { holds: Some(vec![("look", json!({"n": 9}))]), ..streams(vec![("look", json!({"n": 1}))]) };
    let scene = scene([other, done()]);
    let accepted = scene.world.runtime.submit(scene.world.submit("s", "go")).await.unwrap();
    scene.until_ran(1).await;
    scene.model.go.notify_one();
    assert_eq!(scene.world.result(&accepted).await.outcome, "finished");
    assert_eq!(scene.results().await, [("ok".to_owned(), "look gave {\"n\":9}".to_owned())]);
    scene.replays().await;
}

/// Somebody switches to plan mode while the request is under way: what it asks for is judged in that, early or not.
#[tokio::test]
async fn a_call_that_starts_early_is_judged_in_the_mode_that_is_now() {
    for (mode, ran, status) in [(Mode::Plan, 0, "denied"), (Mode::Ask, 1, "ok")] {
        let late = Reply { late: true, ..streams(vec![("keep", json!({}))]) };
        let scene = scene([late, done()]);
        let accepted = scene.world.runtime.submit(scene.world.submit("s", "go")).await.unwrap();
        let asked = async {
            while scene.model.bodies.lock().unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), asked).await.expect("nobody asks");
        scene.world.runtime.set_mode(&accepted.session, mode, "person").await.unwrap();
        scene.model.go.notify_one();
        scene.until_ran(ran).await;
        scene.settle().await;
        assert_eq!(scene.ran().len(), ran, "{mode:?}");
        scene.model.go.notify_one();
        assert_eq!(scene.world.result(&accepted).await.outcome, "finished");
        assert_eq!((scene.ran().len(), scene.results().await[0].0.as_str()), (ran, status), "{mode:?}");
        scene.replays().await;
    }
}

/// A turn that is cancelled while it streams: nothing was asked for, so nothing has a result.
#[tokio::test]
async fn a_cancel_drops_what_started_early() {
    let scene = scene([streams(vec![("look", json!({"n": 1}))])]);
    let accepted = scene.world.runtime.submit(scene.world.submit("s", "go")).await.unwrap();
    scene.until_ran(1).await;
    scene.world.runtime.cancel(&accepted.session, "tester", "").await.unwrap();
    assert_eq!(scene.world.result(&accepted).await.stop, Some(StopReason::Cancelled));
    assert_eq!(scene.results().await, []);
    scene.replays().await;
}
