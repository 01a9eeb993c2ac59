//! Level 1 of the crash matrix: the driver stops for ever before or after any append, or inside any effect; a second
//! one, in another process as far as it can tell, takes over. Points come from the trace; what must hold is written
//! here by hand.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use common::*;
use futures::FutureExt;
use futures::future::{BoxFuture, pending};
use serde_json::json;
use sterna_llm::{EncodeCache, Encoded, ModelInfo, ModelReply, Provider, Request, StreamEvent};
use sterna_log::*;
use sterna_model::*;
use sterna_tool::{SharedTool, ToolDone, ToolReturn};

/// Where the first life ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Point {
    /// It never ends.
    None,
    BeforeAppend(usize),
    AfterAppend(usize),
    /// In the n-th call of a tool or of the model, after its outside effect.
    InEffect(usize),
}

/// A log that stops at a point.
struct CrashLog {
    inner: Arc<MemoryLog>,
    point: Point,
    appends: AtomicUsize,
    /// Appends before the driver starts do not count.
    armed: Arc<AtomicUsize>,
}

#[async_trait]
impl Log for CrashLog {
    async fn append(&self, append: Append) -> Result<Receipt, LogError> {
        if self.armed.load(Ordering::SeqCst) == 0 {
            return self.inner.append(append).await;
        }
        let n = self.appends.fetch_add(1, Ordering::SeqCst);
        if matches!(self.point, Point::BeforeAppend(at) | Point::AfterAppend(at) if n > at) {
            return pending().await;
        }
        if self.point == Point::BeforeAppend(n) {
            return pending().await;
        }
        let receipt = self.inner.append(append).await;
        if self.point == Point::AfterAppend(n) {
            return pending().await;
        }
        receipt
    }
    async fn read(&self, s: &SessionId, from: Seq, limit: usize) -> Result<Vec<Sealed>, LogError> {
        self.inner.read(s, from, limit).await
    }
    async fn head(&self, s: &SessionId) -> Result<Head, LogError> {
        self.inner.head(s).await
    }
    async fn find_key(&self, s: &SessionId, key: &str) -> Result<Option<KeyReceipt>, LogError> {
        self.inner.find_key(s, key).await
    }
    async fn list(&self, filter: &Filter, page: Page) -> Result<Vec<SessionRow>, LogError> {
        self.inner.list(filter, page).await
    }
    async fn search(&self, query: &str, limit: usize) -> Result<Vec<Hit>, LogError> {
        self.inner.search(query, limit).await
    }
    async fn lease(&self, s: &SessionId, request: LeaseRequest) -> Result<Lease, LogError> {
        self.inner.lease(s, request).await
    }
    async fn release(&self, s: &SessionId, fence: Fence) -> Result<(), LogError> {
        self.inner.release(s, fence).await
    }
    async fn snapshot_put(&self, s: &SessionId, seq: Seq, v: u32, bytes: Bytes) -> Result<(), LogError> {
        self.inner.snapshot_put(s, seq, v, bytes).await
    }
    async fn snapshot_get(&self, s: &SessionId, v: u32) -> Result<Option<(Seq, Bytes)>, LogError> {
        self.inner.snapshot_get(s, v).await
    }
    async fn delete(&self, s: &SessionId) -> Result<(), LogError> {
        self.inner.delete(s).await
    }
}

/// Counts the outside effects, and stops the first life inside one of them.
#[derive(Clone, Default)]
struct Outside {
    counts: Arc<Mutex<BTreeMap<String, usize>>>,
    calls: Arc<AtomicUsize>,
    stop_at: Arc<Mutex<Option<usize>>>,
}

impl Outside {
    async fn happens(&self, what: String) {
        *self.counts.lock().unwrap().entry(what).or_default() += 1;
        let n = self.calls.fetch_add(1, Ordering::SeqCst);
        let stop = self.stop_at.lock().unwrap().is_some_and(|at| n >= at);
        if stop {
            pending::<()>().await;
        }
    }
    fn count(&self, what: &str) -> usize {
        self.counts.lock().unwrap().get(what).copied().unwrap_or(0)
    }
}

/// Answers by what it is asked, so that asking again gives the same answer.
struct ByHistory(Outside);

impl Provider for ByHistory {
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
        _: &'a mut (dyn FnMut(StreamEvent) + Send),
    ) -> BoxFuture<'a, Result<ModelReply, ProviderFailure>> {
        async move {
            let body: serde_json::Value = serde_json::from_slice(&body.body()).unwrap();
            let answers =
                body["messages"].as_array().unwrap().iter().filter(|m| m["role"] == "assistant").count();
            self.0.happens(format!("model {answers}")).await;
            let text = |text: &str| Ok(reply(vec![Part::Text(text.into())], ModelStop::EndTurn));
            match answers {
                0 => Ok(reply(
                    vec![
                        call("p", "look", "{}"),
                        call("i", "put", "{}"),
                        call("a", "fire", "{}"),
                        call("d", "risky", "{}"),
                    ],
                    ModelStop::ToolCalls,
                )),
                1 => Ok(reply(vec![call("p2", "look", r#"{"again":1}"#)], ModelStop::ToolCalls)),
                2 => text("first done"),
                3 => text("second done"),
                n => panic!("asked with {n} answers"),
            }
        }
        .boxed()
    }
}

fn tools(outside: &Outside) -> Vec<SharedTool> {
    let counted = |name: &'static str, class: EffectClass| {
        let outside = outside.clone();
        tool(name, class, move |cx, _| {
            let outside = outside.clone();
            async move {
                outside.happens(format!("{name} {}", cx.key)).await;
                Ok(ToolReturn::Done(ToolDone::text(format!("{name} ok"))))
            }
            .boxed()
        })
    };
    vec![
        counted("look", EffectClass::Pure),
        counted("put", EffectClass::Idempotent),
        counted("fire", EffectClass::AtMostOnce),
        asking_tool("risky", "never"),
    ]
}

struct Trace {
    appends: usize,
    effects: usize,
    bodies: Vec<String>,
}

/// Lives once up to `point`, then again to the end; checks what must hold.
async fn check(point: Point) -> Trace {
    let outside = Outside::default();
    if let Point::InEffect(n) = point {
        *outside.stop_at.lock().unwrap() = Some(n);
    }
    let log = Arc::new(MemoryLog::new());
    let armed = Arc::new(AtomicUsize::new(0));
    let crashing =
        Arc::new(CrashLog { inner: log.clone(), point, appends: AtomicUsize::new(0), armed: armed.clone() });
    let env = TestEnv::new("one");
    let provider = Arc::new(ByHistory(outside.clone()));
    let first = World::with(
        crashing.clone(),
        log.clone(),
        env.clone(),
        TestModel::default(),
        provider.clone(),
        tools(&outside),
    );
    let mut inputs = Vec::new();
    for (text, delivery) in
        [("go", Delivery::NextTurn), ("and this", Delivery::AfterWork), ("then that", Delivery::NextTurn)]
    {
        let mut submit = first.submit("s", text);
        submit.delivery = delivery;
        submit.drive = false;
        inputs.push(first.runtime.submit(submit).await.unwrap());
    }
    armed.store(1, Ordering::SeqCst);
    let id = inputs[0].session.clone();
    first.runtime.resume(&id, first.config());
    if point == Point::None {
        first.result(&inputs[2]).await;
    } else {
        // Until nothing moves any more: the point is reached, and everything else has settled.
        let (mut still, mut last) = (0, (0, 0));
        while still < 15 {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            let now = (crashing.appends.load(Ordering::SeqCst), outside.calls.load(Ordering::SeqCst));
            still = if now == last { still + 1 } else { 0 };
            last = now;
        }
        *outside.stop_at.lock().unwrap() = None;
        env.dead.lock().unwrap().push("one".into());
        let second_env = TestEnv { name: "two".into(), ..env };
        let second = World::with(
            log.clone(),
            log.clone(),
            second_env,
            TestModel::default(),
            provider,
            tools(&outside),
        );
        second.runtime.resume(&id, second.config());
        let done = second.result(&inputs[2]).await;
        assert_eq!((done.outcome, done.message.as_deref()), ("finished", Some("second done")), "{point:?}");
    }
    let world = World::over(log.clone(), TestEnv::new("reader"), TestModel::default(), vec![]);
    let records = world.records("s").await;
    let bodies: Vec<String> = records.iter().map(name_of).collect();
    let context = format!("{point:?}\n{}", bodies.join("\n"));

    // No input is lost or doubled, each turn ends once, the first one as it must.
    let count = |name: &str| bodies.iter().filter(|body| *body == name).count();
    assert_eq!(
        (count("input_accepted"), count("turn_started"), count("turn_committed")),
        (3, 2, 2),
        "{context}"
    );
    let ends: Vec<String> = records
        .iter()
        .filter_map(|record| match &record.body {
            Body::TurnCommitted(committed) => match &committed.outcome {
                TurnOutcome::Finished { message, .. } => Some(message.clone()),
                TurnOutcome::Stopped { reason, .. } => Some(reason.word().into()),
            },
            _ => None,
        })
        .collect();
    assert_eq!(ends, ["first done", "second done"], "{context}");

    // One outcome for each effect, and an intent before each that is not pure and ran.
    for key in ["1/model/0", "2/model/0", "3/model/0"] {
        let outcomes = records.iter().filter(|record| {
            matches!(&record.body, Body::Outcome(o) if o.key.turn == 1 && o.key.to_string() == format!("s/1/{key}"))
        });
        assert_eq!(outcomes.count(), 1, "{key} {context}");
    }
    let status = |ordinal: u32| {
        let mut of_call = records.iter().filter_map(|record| match &record.body {
            Body::Outcome(o) if (o.key.turn, o.key.step, o.key.kind) == (1, 1, EffectKind::Tool) => {
                match &o.result {
                    EffectResult::Tool(tool) if o.key.ordinal == ordinal => Some(tool.status),
                    _ => None,
                }
            }
            _ => None,
        });
        let status = of_call.next().expect("each call has an outcome");
        assert!(of_call.next().is_none(), "{context}");
        status
    };
    assert_eq!(status(0), ToolStatus::Ok, "{context}");
    assert_eq!(status(1), ToolStatus::Ok, "{context}");
    assert_eq!(status(3), ToolStatus::Denied, "{context}");
    let fired = outside.count("fire s/1/1/tool/2");
    match status(2) {
        ToolStatus::Ok => assert_eq!(fired, 1, "{context}"),
        // Declared unknown: it never happened twice.
        ToolStatus::OutcomeUnknown => assert!(fired <= 1, "{context}"),
        other => panic!("{other:?} {context}"),
    }
    let put = outside.count("put s/1/1/tool/1");
    assert!((1..=2).contains(&put), "{put} {context}");

    // Whatever was in flight, billed attempts are in the ledger, and no answer is there twice.
    let attempts = bodies.iter().filter(|body| body.contains("interrupted")).count();
    let asked: usize = (0..4).map(|n| outside.count(&format!("model {n}"))).sum();
    assert!(asked <= 4 + attempts.max(1), "{asked} {context}");

    let fsck = verify(&*log, &*log, &id).await.unwrap();
    assert_eq!(fsck.first_bad, None, "{context}");
    let replayed = sterna_runtime::replay(world.runtime.parts(), &id).await.unwrap();
    assert_eq!(replayed.difference, None, "{context}");
    Trace {
        appends: crashing.appends.load(Ordering::SeqCst),
        effects: outside.calls.load(Ordering::SeqCst),
        bodies,
    }
}

#[tokio::test]
async fn every_point_of_the_reference_turn_recovers() {
    let whole = check(Point::None).await;
    assert!(
        whole.appends >= 8 && whole.effects == 8,
        "{} {}\n{}",
        whole.appends,
        whole.effects,
        whole.bodies.join("\n")
    );
    for n in 0..whole.appends {
        check(Point::BeforeAppend(n)).await;
        check(Point::AfterAppend(n)).await;
    }
    for n in 0..whole.effects {
        check(Point::InEffect(n)).await;
    }
}

#[tokio::test]
async fn a_call_that_was_in_flight_is_in_doubt_by_its_class_and_the_policy() {
    for (policy, status, runs, ends) in [
        (InDoubtPolicy::Report, ToolStatus::OutcomeUnknown, 1, "finished"),
        (InDoubtPolicy::Rerun, ToolStatus::Ok, 2, "finished"),
        (InDoubtPolicy::Stop, ToolStatus::OutcomeUnknown, 1, "stopped"),
    ] {
        let outside = Outside::default();
        *outside.stop_at.lock().unwrap() = Some(0);
        let fire =
            |outside: &Outside| tools(outside).into_iter().filter(|t| t.spec().name == "fire").collect();
        let log = Arc::new(MemoryLog::new());
        let model = TestModel::new([Say::Calls(vec![("fire", json!({}))]), Say::Text("told")]);
        let first = World::over(log.clone(), TestEnv::new("one"), model.clone(), fire(&outside));
        let mut submit = first.submit("s", "go");
        submit.config.in_doubt = policy;
        let accepted = first.runtime.submit(submit).await.unwrap();
        while outside.calls.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        *outside.stop_at.lock().unwrap() = None;
        let second = World::over(
            log.clone(),
            {
                first.env.dead.lock().unwrap().push("one".into());
                TestEnv { name: "two".into(), ..first.env.clone() }
            },
            model,
            fire(&outside),
        );
        second.runtime.resume(&accepted.session, second.config());
        let result = second.result(&accepted).await;
        assert_eq!((result.outcome, outside.count("fire s/1/1/tool/0")), (ends, runs), "{policy:?}");
        assert_eq!(result.stop, (ends == "stopped").then_some(StopReason::InDoubt));
        let bodies = second.bodies("s").await;
        assert!(bodies.contains(&format!("outcome 1/tool/0 {}", status.word())), "{bodies:?}");
    }
}
