//! What a host brings may panic anywhere: nobody hangs, the end has a name, and the session can be used again.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/hook.rs"]
mod hook;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::*;
use futures::FutureExt;
use futures::future::BoxFuture;
use hook::*;
use serde_json::{Value, json};
use sterna_llm::{EncodeCache, Encoded, ModelInfo, ModelReply, Provider, Request, StreamEvent};
use sterna_log::MemoryLog;
use sterna_model::*;
use sterna_runtime::*;
use sterna_tool::{Access, Plan, PlanContext, Tool, ToolContext, ToolDone, ToolError, ToolReturn};

/// Panics at one place, so many times.
#[derive(Clone)]
struct Fault {
    at: &'static str,
    left: Arc<AtomicUsize>,
}

impl Fault {
    fn new(at: &'static str, times: usize) -> Self {
        Self { at, left: Arc::new(AtomicUsize::new(times)) }
    }

    fn here(&self, place: &str) {
        let take = |left: usize| left.checked_sub(1);
        if self.at == place && self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok() {
            panic!("as it must, in {place}");
        }
    }
}

struct FaultyModel(TestModel, Fault);

impl Provider for FaultyModel {
    fn model(&self, route: &Route) -> Result<ModelInfo, String> {
        self.1.here("model");
        self.0.model(route)
    }
    fn encoder(&self, route: &Route) -> String {
        self.1.here("encoder");
        self.0.encoder(route)
    }
    fn encode(&self, request: &Request, cache: &mut EncodeCache) -> Encoded {
        self.1.here("encode");
        self.0.encode(request, cache)
    }
    fn send<'a>(
        &'a self,
        route: &'a Route,
        body: Encoded,
        events: &'a mut (dyn FnMut(StreamEvent) + Send),
    ) -> BoxFuture<'a, Result<ModelReply, ProviderFailure>> {
        self.1.here("send");
        async move {
            self.1.here("answer");
            self.0.send(route, body, events).await
        }
        .boxed()
    }
}

struct FaultyTool(ToolSpec, Fault);

impl Tool for FaultyTool {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }
    fn class(&self, _: &Value) -> EffectClass {
        self.1.here("class");
        EffectClass::AtMostOnce
    }
    fn plan(&self, _: &PlanContext, _: &Value) -> Result<Plan, ToolError> {
        self.1.here("plan");
        Ok(Plan { accesses: vec![Access::Session], ..Plan::default() })
    }
    fn timeout_ms(&self, _: &Value) -> u64 {
        self.1.here("timeout_ms");
        1_000
    }
    fn call<'a>(&'a self, _: ToolContext, _: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        self.1.here("call");
        async move {
            self.1.here("run");
            Ok(ToolReturn::Done(ToolDone::text("ran")))
        }
        .boxed()
    }
}

fn world(fault: &Fault, say: impl IntoIterator<Item = Say>) -> World {
    let log = Arc::new(MemoryLog::new());
    let model = TestModel::new(say);
    let spec =
        ToolSpec { name: "frail".into(), description: "frail".into(), schema: json!({"type": "object"}) };
    let provider = Arc::new(FaultyModel(model.clone(), fault.clone()));
    let tools = vec![Arc::new(FaultyTool(spec, fault.clone())) as sterna_tool::SharedTool];
    World::with(log.clone(), log, TestEnv::new("one"), model, provider, tools)
}

/// The turn's end, or the driver's: within a time.
async fn ended(world: &World, accepted: &Accepted) -> Result<ResultEvent, RuntimeError> {
    let wait = world.runtime.result(&accepted.session, accepted.input);
    tokio::time::timeout(std::time::Duration::from_secs(10), wait).await.expect("the caller hangs")
}

#[tokio::test]
async fn a_provider_that_panics_ends_the_turn_or_the_driver_by_name() {
    for place in ["model", "encoder", "encode", "send", "answer"] {
        let fault = Fault::new(place, 1);
        let world = world(&fault, [Say::Text("first"), Say::Text("second")]);
        let first = world.runtime.submit(world.submit("s", "go")).await.unwrap();
        match ended(&world, &first).await {
            Ok(result) => {
                assert_eq!(result.stop, Some(StopReason::ProviderFailed), "{place}");
                let message = result.message.unwrap_or_default();
                assert!(message.contains("as it must"), "{place}: {message}");
                assert!(["send", "answer"].contains(&place), "{place}");
            }
            Err(RuntimeError::Panicked(text)) => assert!(text.contains(place), "{place}: {text}"),
            Err(other) => panic!("{place}: {other}"),
        }
        assert_eq!(fault.left.load(Ordering::SeqCst), 0, "{place}: it never panicked");
        let again = world.runtime.submit(world.submit("s", "again")).await.unwrap();
        assert_eq!(ended(&world, &again).await.unwrap().outcome, "finished", "{place}");
        // A turn that was only interrupted was driven on first.
        let first = ended(&world, &first).await.unwrap();
        assert!(first.outcome == "finished" || first.stop == Some(StopReason::ProviderFailed), "{place}");
    }
}

#[tokio::test]
async fn a_tool_that_panics_has_an_outcome_like_any_other() {
    for place in ["plan", "timeout_ms", "call", "run"] {
        let fault = Fault::new(place, 1);
        let say = [Say::Calls(vec![("frail", json!({}))]), Say::Text("went on"), Say::Text("second")];
        let world = world(&fault, say);
        let first = world.runtime.submit(world.submit("s", "go")).await.unwrap();
        assert_eq!(ended(&world, &first).await.unwrap().message.as_deref(), Some("went on"), "{place}");
        let bodies = world.bodies("s").await;
        assert!(bodies.contains(&"outcome 1/tool/0 panicked".to_owned()), "{place} {bodies:?}");
        let again = world.runtime.submit(world.submit("s", "again")).await.unwrap();
        assert_eq!(ended(&world, &again).await.unwrap().message.as_deref(), Some("second"), "{place}");
    }
}

#[tokio::test]
async fn a_tool_whose_class_panics_ends_the_driver_and_not_the_session() {
    let fault = Fault::new("class", 1);
    let frail = || Say::Calls(vec![("frail", json!({}))]);
    let world = world(&fault, [frail(), frail(), Say::Text("went on"), Say::Text("second")]);
    let first = world.runtime.submit(world.submit("s", "go")).await.unwrap();
    match ended(&world, &first).await {
        Err(RuntimeError::Panicked(text)) => assert!(text.contains("class"), "{text}"),
        other => panic!("{other:?}"),
    }
    let again = world.runtime.submit(world.submit("s", "again")).await.unwrap();
    assert_eq!(ended(&world, &again).await.unwrap().message.as_deref(), Some("second"));
    assert_eq!(ended(&world, &first).await.unwrap().message.as_deref(), Some("went on"));
}

#[tokio::test]
async fn a_turn_that_always_panics_can_be_cancelled() {
    let fault = Fault::new("class", usize::MAX);
    let frail = || Say::Calls(vec![("frail", json!({}))]);
    let world = world(&fault, [frail(), frail(), Say::Text("works")]);
    let first = world.runtime.submit(world.submit("s", "go")).await.unwrap();
    assert!(matches!(ended(&world, &first).await, Err(RuntimeError::Panicked(_))));
    world.runtime.resume(&first.session, world.config());
    assert!(matches!(ended(&world, &first).await, Err(RuntimeError::Panicked(_))));
    world.runtime.cancel(&first.session, "person", "it never works").await.unwrap();
    let again = world.runtime.submit(world.submit("s", "again")).await.unwrap();
    assert_eq!(ended(&world, &again).await.unwrap().message.as_deref(), Some("works"));
    assert_eq!(ended(&world, &first).await.unwrap().stop, Some(StopReason::Cancelled));
}

fn over(log: &Arc<HookLog>, model: TestModel) -> World {
    let provider = Arc::new(model.clone());
    World::with(log.clone(), log.inner.clone(), TestEnv::new("one"), model, provider, vec![])
}

#[tokio::test]
async fn a_log_that_panics_while_a_driver_leaves_hangs_nobody() {
    let log = HookLog::new(|_| Act::Pass);
    log.panic_in_release.store(true, Ordering::SeqCst);
    let world = over(&log, TestModel::new([Say::Text("one"), Say::Text("two")]));
    assert_eq!(world.run(world.submit("s", "go")).await.message.as_deref(), Some("one"));
    assert_eq!(world.run(world.submit("s", "again")).await.message.as_deref(), Some("two"));
    assert!(!log.panic_in_release.load(Ordering::SeqCst));
}

#[tokio::test]
async fn an_input_that_a_leaving_driver_cannot_write_is_refused() {
    let log = HookLog::new(|append| {
        let text = append.records.iter().find_map(|draft| match &draft.body {
            Body::InputAccepted(input) => Some(input_text(&input.parts)),
            _ => None,
        });
        if text.as_deref() == Some("bad") { Act::Panic } else { Act::Pass }
    });
    log.hold_release.store(true, Ordering::SeqCst);
    let world = over(&log, TestModel::new([Say::Text("one"), Say::Text("two")]));
    assert_eq!(world.run(world.submit("s", "go")).await.message.as_deref(), Some("one"));
    log.held.notified().await;
    // The driver is leaving, and sees to its messages once more.
    let submit = world.runtime.submit(world.submit("s", "bad"));
    let (refused, ()) = tokio::join!(submit, async { log.go.notify_one() });
    assert!(refused.unwrap_err().to_string().contains("the log panicked: as it must, in append"));
    assert_eq!(world.run(world.submit("s", "good")).await.message.as_deref(), Some("two"));
}
