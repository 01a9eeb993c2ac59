//! A window that fills: what requests carry becomes smaller, the turn goes on, and the log keeps everything.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/hooks.rs"]
mod double;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use common::crash_log::{CrashLog, Point};
use common::*;
use double::{Reaction, Told, listening};
use futures::FutureExt;
use futures::future::{BoxFuture, pending};
use serde_json::{Value, json};
use sterna_llm::{EncodeCache, Encoded, ModelInfo, ModelReply, Provider, Request, StreamEvent};
use sterna_log::fold::Source;
use sterna_log::*;
use sterna_model::*;
use sterna_runtime::*;
use sterna_tool::{SharedTool, ToolDone, ToolReturn, ViewBudget};

/// What the summariser does.
#[derive(Clone, Copy)]
enum Sum {
    Good,
    Fails,
    Empty,
    /// More than it got.
    Grows,
    Calls,
    Hangs,
}

/// A model with a small window that counts four bytes as a token. It works until it was told so many results, then it
/// answers.
#[derive(Clone)]
struct Small {
    window: u32,
    /// Calls of `big` before the answer, in each turn.
    calls: usize,
    sums: Arc<Mutex<VecDeque<Sum>>>,
    /// Requests that the provider refuses as too long.
    refuse: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<Value>>>,
    summaries: Arc<Mutex<Vec<Value>>>,
    hang_at: Option<usize>,
    effects: Arc<AtomicUsize>,
    alive: Arc<AtomicBool>,
}

impl Small {
    fn new(window: u32, calls: usize) -> Self {
        Self {
            window,
            calls,
            sums: Arc::default(),
            refuse: Arc::default(),
            requests: Arc::default(),
            summaries: Arc::default(),
            hang_at: None,
            effects: Arc::default(),
            alive: Arc::new(AtomicBool::new(false)),
        }
    }

    fn sums(self, sums: impl IntoIterator<Item = Sum>) -> Self {
        *self.sums.lock().unwrap() = sums.into_iter().collect();
        self
    }

    fn requests(&self) -> Vec<Value> {
        self.requests.lock().unwrap().clone()
    }

    fn summaries(&self) -> usize {
        self.summaries.lock().unwrap().len()
    }

    fn answer(&self, body: &Value, bytes: usize) -> Result<ModelReply, ProviderFailure> {
        let failure = |class| ProviderFailure {
            class,
            status: None,
            message: "as the test says".into(),
            retry_after_ms: None,
            billed: Billed::default(),
        };
        let usage = Usage { input_uncached: bytes as u64 / 4, output: 10, ..Usage::default() };
        let billed = Billed { usage, cost: Some(1), ..Billed::default() };
        let says = |parts: Vec<Part>, stop| Ok(ModelReply { parts, stop, billed: billed.clone() });
        let text = |text: String| says(vec![Part::Text(text)], ModelStop::EndTurn);
        if is_summary(body) {
            self.summaries.lock().unwrap().push(body.clone());
            return match self.sums.lock().unwrap().pop_front().unwrap_or(Sum::Good) {
                Sum::Good | Sum::Hangs => text("- the summary of it all (record 4)".into()),
                Sum::Fails => Err(failure(ErrorClass::Server)),
                Sum::Empty => text(" \n".into()),
                Sum::Grows => text("blah ".repeat(20_000)),
                Sum::Calls => says(vec![call("x", "big", "{}")], ModelStop::ToolCalls),
            };
        }
        self.requests.lock().unwrap().push(body.clone());
        if self.refuse.load(Ordering::SeqCst) > 0 {
            self.refuse.fetch_sub(1, Ordering::SeqCst);
            return Err(failure(ErrorClass::ContextOverflow));
        }
        // The number of the last result says how far it is: also when the earlier ones are not shown any more.
        let messages = body["messages"].as_array().unwrap();
        let last =
            messages.iter().rev().find(|message| message["role"] != "system" && !is_tail(message)).unwrap();
        let n = match last["role"].as_str().unwrap() {
            "tool" => {
                last["content"].as_str().unwrap().split(' ').nth(1).unwrap().parse::<usize>().unwrap() + 1
            }
            _ => 0,
        };
        if n < self.calls {
            let arguments = json!({"n": n}).to_string();
            return says(vec![call(&format!("c{n}"), "big", &arguments)], ModelStop::ToolCalls);
        }
        text("all done".into())
    }
}

fn is_tail(message: &Value) -> bool {
    let ours = ["<environment>", "<hook event"];
    message["content"].as_str().is_some_and(|text| ours.iter().any(|mark| text.contains(mark)))
}

fn is_summary(body: &Value) -> bool {
    let last = body["messages"].as_array().unwrap().last().unwrap();
    last["content"].as_str().is_some_and(|text| text.contains("is about to be left out"))
}

impl Provider for Small {
    fn model(&self, _: &Route) -> Result<ModelInfo, String> {
        Ok(ModelInfo {
            context: self.window + 2_000,
            max_output: 2_000,
            assumed: false,
            ..ModelInfo::default()
        })
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
            let bytes = body.body();
            let json: Value = serde_json::from_slice(&bytes).unwrap();
            let hangs = is_summary(&json) && matches!(self.sums.lock().unwrap().front(), Some(Sum::Hangs));
            let n = self.effects.fetch_add(1, Ordering::SeqCst);
            if hangs || self.hang_at == Some(n) && !self.alive.load(Ordering::SeqCst) {
                pending::<()>().await;
            }
            self.answer(&json, bytes.len())
        }
        .boxed()
    }
}

/// Gives `chars` characters that name their call.
fn big(chars: usize) -> SharedTool {
    tool("big", EffectClass::Pure, move |_, args| {
        async move {
            let n = args["n"].as_u64().unwrap_or(0);
            let mut text = format!("result {n} needle{n} ");
            text.push_str(&"lorem ipsum ".repeat(chars / 12));
            let budget = ViewBudget { bytes: 1 << 20, lines: 10_000, head_percent: 100 };
            Ok(ToolReturn::Done(ToolDone { budget, ..ToolDone::text(text) }))
        }
        .boxed()
    })
}

fn world(model: &Small, chars: usize) -> World {
    let log = Arc::new(MemoryLog::new());
    over(log, TestEnv::new("one"), model, chars)
}

fn over(log: Arc<MemoryLog>, env: TestEnv, model: &Small, chars: usize) -> World {
    World::with(log.clone(), log, env, TestModel::default(), Arc::new(model.clone()), vec![big(chars)])
}

fn tokens(body: &Value) -> u64 {
    // What the model counts, for bodies are compact JSON.
    body.to_string().len() as u64 / 4
}

async fn compactions(world: &World) -> Vec<Compacted> {
    let of = |record: Record| match record.body {
        Body::Compacted(compacted) => Some(*compacted),
        _ => None,
    };
    world.records("s").await.into_iter().filter_map(of).collect()
}

/// Each call of a request has its result right behind it.
fn check_pairs(body: &Value) {
    let mut due: VecDeque<String> = VecDeque::new();
    for message in body["messages"].as_array().unwrap() {
        match message["role"].as_str().unwrap() {
            "tool" => assert_eq!(due.pop_front().as_deref(), message["tool_call_id"].as_str(), "{body}"),
            _ => assert!(due.is_empty(), "{due:?} lack their results: {body}"),
        }
        let calls = message["tool_calls"].as_array().into_iter().flatten();
        due.extend(calls.map(|call| call["id"].as_str().unwrap().to_owned()));
    }
    assert!(due.is_empty());
}

async fn check_replay(world: &World) {
    let id = SessionId::new("s").unwrap();
    let replayed = replay(world.runtime.parts(), &id).await.unwrap();
    assert_eq!(replayed.difference, None);
    assert_eq!(verify(&*world.log, &*world.log, &id).await.unwrap().first_bad, None);
}

#[tokio::test]
async fn a_full_window_is_compacted_once_and_the_turn_goes_on() {
    let model = Small::new(10_000, 18);
    let world = world(&model, 2_000);
    let result = world.run(world.submit("s", "Never touch main.rs. Read it all.")).await;
    assert_eq!((result.outcome, result.message.as_deref()), ("finished", Some("all done")));
    let done = compactions(&world).await;
    assert_eq!(done.len(), 1, "{done:?}");
    assert_eq!((done[0].trigger, done[0].stage), (CompactTrigger::Window, CompactStage::Summary));
    assert!(done[0].tokens_before > 8_500 && done[0].tokens_after <= 5_000, "{done:?}");
    assert!(done[0].bytes_after < done[0].bytes_before);
    assert_eq!(model.summaries(), 1);

    // No request was over, the first one after it is at most half, every call has its result.
    let requests = model.requests();
    assert_eq!(requests.len(), 19);
    requests.iter().for_each(check_pairs);
    check_pairs(&model.summaries.lock().unwrap()[0]);
    assert!(requests.iter().all(|body| tokens(body) <= 8_900));
    let after = requests.iter().find(|body| body.to_string().contains("the summary of it all")).unwrap();
    assert!(tokens(after) <= 5_000, "{}", tokens(after));
    let head = after["messages"][1]["content"].as_str().unwrap();
    assert!(head.contains("[record 2] Never touch main.rs. Read it all."), "{head}");
    // The summary has the session's own prompt and tools, and is asked for with tools off.
    let asked = model.summaries.lock().unwrap()[0].clone();
    assert_eq!(asked["messages"][0], requests[0]["messages"][0]);
    assert_eq!((&asked["tools"], &asked["tool_choice"]), (&requests[0]["tools"], &json!("none")));
    assert!(
        asked["messages"].as_array().unwrap().len()
            < requests.last().unwrap()["messages"].as_array().unwrap().len() * 3
    );

    // The record comes after the summary's outcome, and the call has a source of its own.
    let bodies = world.bodies("s").await;
    let at = |name: &str| {
        bodies.iter().position(|body| body.contains(name)).unwrap_or_else(|| panic!("{name}: {bodies:?}"))
    };
    assert!(
        at("intent 16/compact/0") < at("outcome 16/compact/0") || at("compact/0") < at("compacted"),
        "{bodies:?}"
    );
    let mut folded = fold::Folded::new();
    world.records("s").await.iter().for_each(|record| folded.apply(record));
    assert_eq!(folded.ledger.by_source()[&Source::Compaction].calls, 1);
    assert_eq!(folded.ledger.by_source()[&Source::Turn].calls, 19);
    let billed: u64 = result.usage.iter().map(|usage| usage.calls).sum();
    assert_eq!(billed, 20);
    check_replay(&world).await;
}

#[tokio::test]
async fn long_results_are_cut_first_and_no_model_is_asked() {
    let model = Small::new(20_000, 7);
    let world = world(&model, 12_000);
    let result = world.run(world.submit("s", "go")).await;
    assert_eq!(result.message.as_deref(), Some("all done"));
    let done = compactions(&world).await;
    assert_eq!(done.iter().map(|c| c.stage).collect::<Vec<_>>(), [CompactStage::Results]);
    assert_eq!((done[0].archive, model.summaries()), (None, 0));
    let last = model.requests().pop().unwrap().to_string();
    assert!(last.contains("result 0 needle0") && last.contains("characters not shown; recall"), "{last}");
    check_replay(&world).await;
}

#[tokio::test]
async fn an_overflow_is_compacted_once_and_tried_once() {
    for (refused, ends) in [(1, Some("all done")), (1_000, None)] {
        let model = Small::new(100_000, 4);
        let world = world(&model, 2_000);
        assert_eq!(world.run(world.submit("s", "go")).await.outcome, "finished");
        let before = model.requests().len();
        model.refuse.store(refused, Ordering::SeqCst);
        let result = world.run(world.submit("s", "and on")).await;
        match ends {
            Some(text) => assert_eq!(result.message.as_deref(), Some(text)),
            None => assert_eq!((result.outcome, result.stop), ("stopped", Some(StopReason::ContextOverflow))),
        }
        let done = compactions(&world).await;
        assert_eq!(done.len(), 1);
        assert_eq!((done[0].trigger, model.summaries()), (CompactTrigger::Overflow, 1));
        // The refused one, the retry, and what follows when that went well.
        let asked = model.requests().len() - before;
        assert_eq!(asked, if ends.is_some() { 2 + 4 } else { 2 }, "refused {refused}");
        check_replay(&world).await;
    }
}

#[tokio::test]
async fn a_summariser_that_fails_leads_to_a_smaller_cut_and_is_left_alone_after_three() {
    let model = Small::new(10_000, 90).sums([Sum::Fails, Sum::Empty, Sum::Grows, Sum::Good]);
    let world = world(&model, 2_000);
    let result = world.run(world.submit("s", "Always be kind. Go.")).await;
    assert_eq!((result.outcome, result.message.as_deref()), ("finished", Some("all done")));
    let done = compactions(&world).await;
    assert!(done.len() >= 4, "{}", done.len());
    assert!(done.iter().all(|c| c.stage == CompactStage::Cut && c.bytes_after < c.bytes_before), "{done:?}");
    assert!(
        done.iter().take(3).all(|c| c.failed.is_some()) && done.iter().skip(3).all(|c| c.failed.is_none())
    );
    assert_eq!(model.summaries(), 3);
    model.requests().iter().for_each(check_pairs);
    assert!(model.requests().last().unwrap().to_string().contains("Always be kind."));

    // A person may ask for it again.
    let id = SessionId::new("s").unwrap();
    let accepted = world.runtime.compact(&id, "the parser", world.config(), "test").await.unwrap();
    let result = world.result(&accepted).await;
    assert!(result.message.unwrap().starts_with("compacted (summary): about "), "{:?}", result.outcome);
    assert_eq!(model.summaries(), 4);
    let asked = model.summaries.lock().unwrap()[3].to_string();
    assert!(asked.contains("Keep above all: the parser"));
    check_replay(&world).await;
}

#[tokio::test]
async fn a_summariser_that_calls_a_tool_has_written_nothing() {
    let model = Small::new(10_000, 18).sums([Sum::Calls]);
    let world = world(&model, 2_000);
    assert_eq!(world.run(world.submit("s", "go")).await.outcome, "finished");
    let done = compactions(&world).await;
    assert_eq!(done[0].stage, CompactStage::Cut);
    assert_eq!(done[0].failed.as_deref(), Some("the model called a tool instead of writing it"));
}

/// Blobs of which one is gone.
struct Without(Arc<MemoryLog>, Arc<Mutex<Option<Digest>>>);

#[async_trait::async_trait]
impl Blobs for Without {
    async fn put(&self, bytes: Bytes) -> Result<BlobRef, LogError> {
        self.0.put(bytes).await
    }
    async fn get(&self, hash: &Digest) -> Result<Bytes, LogError> {
        if *self.1.lock().unwrap() == Some(*hash) {
            return Err(LogError::BlobMissing(*hash));
        }
        self.0.get(hash).await
    }
    async fn get_range(&self, hash: &Digest, offset: u64, limit: u64) -> Result<Bytes, LogError> {
        self.0.get_range(hash, offset, limit).await
    }
    async fn has(&self, hash: &Digest) -> Result<bool, LogError> {
        self.0.has(hash).await
    }
    fn writer(&self) -> Result<Box<dyn BlobWriter>, LogError> {
        self.0.writer()
    }
}

#[tokio::test]
async fn a_final_answer_is_never_followed_by_a_compaction_and_a_lost_summary_is_told() {
    // The last answer alone passes the threshold.
    let model = Small::new(10_000, 14);
    let first = world(&model, 2_000);
    let result = first.run(first.submit("s", "Never push. Go.")).await;
    assert_eq!(result.message.as_deref(), Some("all done"));
    let used = tokens(model.requests().last().unwrap());
    assert!((7_500..=8_500).contains(&used), "{used}");
    assert_eq!(model.summaries(), 0);
    // The next turn says a lot: it compacts before its first call, and not after its last.
    let mut more = model.clone();
    more.calls = 0;
    let next = over(first.log.clone(), TestEnv { name: "two".into(), ..first.env.clone() }, &more, 2_000);
    let said = format!("Look at this: {}", "words and words ".repeat(400));
    assert_eq!(next.run(next.submit("s", &said)).await.message.as_deref(), Some("all done"));
    assert_eq!((more.summaries(), compactions(&next).await.len()), (1, 1));
    let with_summary = more.requests().pop().unwrap();
    assert!(with_summary.to_string().contains("the summary of it all"));

    // After a restart the next request begins the same.
    let third = over(first.log.clone(), TestEnv { name: "three".into(), ..first.env.clone() }, &more, 2_000);
    assert_eq!(third.run(third.submit("s", "again")).await.outcome, "finished");
    let again = more.requests().pop().unwrap();
    assert_eq!(again["messages"][1], with_summary["messages"][1]);
    assert_eq!(more.summaries(), 1);
    check_replay(&third).await;

    // Without the blob the request says what is missing, and the turn works.
    let blob = compactions(&third).await[0].summary.clone().unwrap();
    let gone = Arc::new(Mutex::new(Some(blob.hash)));
    let parts = Parts { blobs: Arc::new(Without(first.log.clone(), gone)), ..third.runtime.parts().clone() };
    let runtime = Runtime::new(parts);
    let accepted = runtime.submit(third.submit("s", "and again")).await.unwrap();
    let result = runtime.result(&accepted.session, accepted.input).await.unwrap();
    assert_eq!(result.message.as_deref(), Some("all done"));
    let head = more.requests().pop().unwrap()["messages"][1]["content"].as_str().unwrap().to_owned();
    assert!(head.contains(&format!("[archived context unavailable: blob:{}]", blob.hash)), "{head}");
    assert!(head.contains("Never push. Go."), "{head}");
}

#[tokio::test]
async fn a_compaction_that_is_cancelled_ends_the_turn_and_leaves_the_session_open() {
    let model = Small::new(100_000, 3).sums([Sum::Hangs]);
    let world = world(&model, 2_000);
    assert_eq!(world.run(world.submit("s", "go")).await.outcome, "finished");
    let id = SessionId::new("s").unwrap();
    let accepted = world.runtime.compact(&id, "", world.config(), "test").await.unwrap();
    let asked = async {
        while model.effects.load(Ordering::SeqCst) < 5 {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), asked).await.expect("no summary is asked for");
    world.runtime.cancel(&id, "person", "enough").await.unwrap();
    let result = world.result(&accepted).await;
    assert_eq!((result.outcome, result.stop), ("stopped", Some(StopReason::Cancelled)));
    assert!(compactions(&world).await.is_empty());
    model.sums.lock().unwrap().clear();
    assert_eq!(world.run(world.submit("s", "on")).await.outcome, "finished");
    check_replay(&world).await;
}

#[tokio::test]
async fn nobody_compacts_a_session_that_is_not_there_or_is_small() {
    let model = Small::new(100_000, 0);
    let world = world(&model, 10);
    let id = SessionId::new("s").unwrap();
    let missing = world.runtime.compact(&id, "", world.config(), "test").await;
    assert!(matches!(missing, Err(RuntimeError::Log(error)) if matches!(*error, LogError::NotFound(_))));
    world.run(world.submit("s", "hi")).await;
    let accepted = world.runtime.compact(&id, "", world.config(), "test").await.unwrap();
    let said = world.result(&accepted).await.message.unwrap();
    assert!(said.starts_with("nothing was compacted: "), "{said}");
}

/// Lives once up to the point, then again to the end.
async fn crash(point: Point) -> (usize, usize) {
    let mut model = Small::new(10_000, 16);
    if let Point::InEffect(n) = point {
        model.hang_at = Some(n);
    }
    let log = Arc::new(MemoryLog::new());
    let armed = Arc::new(AtomicUsize::new(1));
    let crashing = Arc::new(CrashLog::new(log.clone(), point, armed));
    let env = TestEnv::new("one");
    let shared: SharedLog = crashing.clone();
    let provider = Arc::new(model.clone());
    let first = World::with(
        shared,
        log.clone(),
        env.clone(),
        TestModel::default(),
        provider.clone(),
        vec![big(2_000)],
    );
    let submit = Submit { drive: false, ..first.submit("s", "Never push. Go.") };
    // The opening is not a point of the driver's.
    let opened =
        World::with(log.clone(), log.clone(), env.clone(), TestModel::default(), provider.clone(), vec![]);
    let accepted = opened.runtime.submit(submit).await.unwrap();
    first.runtime.resume(&accepted.session, first.config());
    if point == Point::None {
        assert_eq!(first.result(&accepted).await.message.as_deref(), Some("all done"));
    } else {
        let (mut still, mut seen) = (0, (0, 0));
        while still < 15 {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            let now = (crashing.appends.load(Ordering::SeqCst), model.effects.load(Ordering::SeqCst));
            still = if now == seen { still + 1 } else { 0 };
            seen = now;
        }
        model.alive.store(true, Ordering::SeqCst);
        env.dead.lock().unwrap().push("one".into());
        let second = over(log.clone(), TestEnv { name: "two".into(), ..env }, &model, 2_000);
        second.runtime.resume(&accepted.session, second.config());
        let result = second.result(&accepted).await;
        assert_eq!((result.outcome, result.message.as_deref()), ("finished", Some("all done")), "{point:?}");
    }
    let reader = over(log, TestEnv::new("reader"), &model, 2_000);
    let context = format!("{point:?}\n{}", reader.bodies("s").await.join("\n"));
    let done = compactions(&reader).await;
    assert_eq!(done.len(), 1, "{context}");
    assert_eq!(done[0].stage, CompactStage::Summary, "{context}");
    // At most one summary was lost in flight, and it stands in the ledger.
    let lost =
        reader.records("s").await.iter().filter(|record| matches!(&record.body, Body::Attempt(_))).count();
    assert!(lost <= 1, "{context}");
    assert!(model.summaries() <= 2, "{context}");
    model.requests().iter().for_each(check_pairs);
    check_replay(&reader).await;
    (crashing.appends.load(Ordering::SeqCst), model.effects.load(Ordering::SeqCst))
}

#[tokio::test]
async fn every_point_of_a_turn_with_a_compaction_recovers() {
    let (appends, effects) = crash(Point::None).await;
    assert!(appends >= 18 && effects == 18, "{appends} {effects}");
    // Those round the compaction: the rest is what every turn has.
    for n in appends - 8..appends {
        crash(Point::BeforeAppend(n)).await;
        crash(Point::AfterAppend(n)).await;
    }
    for n in effects - 6..effects {
        crash(Point::InEffect(n)).await;
    }
}

#[tokio::test]
async fn a_tool_reads_what_requests_do_not_show_any_more() {
    let model = Small::new(10_000, 18);
    let first = world(&model, 2_000);
    assert_eq!(first.run(first.submit("s", "Never touch main.rs.")).await.outcome, "finished");
    assert_eq!(compactions(&first).await.len(), 1);
    let last = model.requests().pop().unwrap().to_string();
    assert!(!last.contains("needle0"), "it was left out");
    let found = Arc::new(Mutex::new(Vec::new()));
    let keep = found.clone();
    let look = tool("look", EffectClass::Pure, move |cx, _| {
        let keep = keep.clone();
        async move {
            let hits = cx.session.search("Needle0 result", 3).await.unwrap();
            let place = hits[0].place;
            let whole = cx.session.record(place).await.unwrap().unwrap();
            let none = format!("{:?}", cx.session.record(1_000).await);
            let nothing = format!("{:?}", cx.session.search("zzz", 3).await);
            *keep.lock().unwrap() = vec![hits[0].who.clone(), hits[0].snippet.clone(), whole, none, nothing];
            Ok(ToolReturn::Done(ToolDone::text("seen")))
        }
        .boxed()
    });
    let script = TestModel::new([Say::Calls(vec![("look", json!({}))]), Say::Text("ok")]);
    let second = World::over(
        first.log.clone(),
        TestEnv { name: "two".into(), ..first.env.clone() },
        script,
        vec![look],
    );
    assert_eq!(second.run(second.submit("s", "look")).await.message.as_deref(), Some("ok"));
    let found = found.lock().unwrap();
    assert_eq!(found[0], "big");
    assert!(found[1].starts_with("result 0 needle0 lorem"), "{}", found[1]);
    assert!(found[2].starts_with("big:\nresult 0 needle0 lorem") && found[2].len() > 1_900);
    assert_eq!((found[3].as_str(), found[4].as_str()), ("Ok(None)", "Ok([])"));
}

/// SC-31: hooks are asked before anything is made smaller, and told when it was; what they tell stands in the next request.
#[tokio::test]
async fn hooks_are_asked_before_a_compaction_and_told_after_it() {
    let told = Told::default();
    let events = [HookEvent::PreCompact, HookEvent::PostCompact];
    let hooks = listening("h", &events, &told, |call| {
        Reaction::Says(HookAnswer::tell(format!("at {}", call.event.word())))
    });
    let model = Small::new(10_000, 18);
    let world = world(&model, 2_000).hooked(hooks);
    let result = world.run(world.submit("s", "Read it all.")).await;
    assert_eq!(result.message.as_deref(), Some("all done"));
    assert_eq!(told.events(), events);
    let before = told.input(HookEvent::PreCompact);
    assert_eq!((&before["trigger"], &before["custom_instructions"]), (&json!("window"), &json!("")));
    assert!(before["tokens"].as_u64().unwrap() > 8_500, "{before}");
    let after = told.input(HookEvent::PostCompact);
    assert_eq!((&after["trigger"], &after["stage"]), (&json!("window"), &json!("summary")));
    assert!(after["tokens_after"].as_u64().unwrap() <= 5_000, "{after}");
    // The answer is in the log before the summary is asked for, and the model is told it.
    let bodies = world.bodies("s").await;
    let at = |name: &str| bodies.iter().position(|body| body.contains(name)).unwrap();
    assert!(at("hook_ran") < at("compact/0") && at("compact/0") < at("compacted"), "{bodies:?}");
    let last = model.requests().pop().unwrap().to_string();
    assert!(last.contains("at PreCompact") && last.contains("at PostCompact"), "{last}");
    check_replay(&world).await;
    assert_eq!(told.events().len(), 2, "replay starts no hook");
}

/// What a hook of a compaction can do, where a failure is let pass and where it is not: how the turn ends, and whether the
/// window is smaller.
#[tokio::test]
async fn matrix_of_hooks_before_a_compaction() {
    type Does = fn() -> Reaction;
    let cases: [(Does, (&str, bool), (&str, bool)); 8] = [
        (|| Reaction::Says(HookAnswer::nothing()), ("finished", true), ("finished", true)),
        (|| Reaction::Says(HookAnswer::Blocked("no".into())), ("finished", false), ("finished", false)),
        (
            || {
                let said = HookOutput { blocked: true, reason: "no".into(), ..HookOutput::default() };
                Reaction::Says(HookAnswer::Said(Box::new(said)))
            },
            ("finished", false),
            ("finished", false),
        ),
        (
            || Reaction::Says(HookAnswer::Stopped("enough".into())),
            ("hook_stopped", false),
            ("hook_stopped", false),
        ),
        (|| Reaction::Says(HookAnswer::rewrite(json!({"n": 1}))), ("finished", true), ("finished", true)),
        (
            || Reaction::Says(HookAnswer::Failed("exit code 1".into())),
            ("finished", true),
            ("finished", false),
        ),
        (|| Reaction::Panics, ("finished", true), ("finished", false)),
        (|| Reaction::Hangs, ("finished", true), ("finished", false)),
    ];
    for (n, (does, open, closed)) in cases.into_iter().enumerate() {
        for (fails_closed, wanted) in [(false, open), (true, closed)] {
            let told = Told::default();
            let hooks = listening("h", &[HookEvent::PreCompact], &told, move |_| does()).into_iter();
            let hooks = hooks.map(|one| Listening { fails_closed, ..one }).collect();
            let world = world(&Small::new(10_000, 16), 2_000).hooked(hooks);
            let result = world.run(world.submit("s", "Read it all.")).await;
            let ended = result.stop.map_or(result.outcome, |stop| stop.word());
            let smaller = !compactions(&world).await.is_empty();
            assert!(!told.events().is_empty(), "case {n} did not fire");
            assert_eq!((ended, smaller), wanted, "case {n}, failures block: {fails_closed}");
        }
    }
}

/// A hook that forbids keeps the window as it is: a person is told why, and a request that still fits is sent.
#[tokio::test]
async fn a_hook_may_forbid_a_compaction() {
    let forbids = || {
        let (told, events) = (Told::default(), [HookEvent::PreCompact, HookEvent::PostCompact]);
        let hooks = listening("h", &events, &told, |_| Reaction::Says(HookAnswer::Blocked("keep it".into())));
        (told, hooks)
    };
    let model = Small::new(10_000, 16);
    let (told, hooks) = forbids();
    let world_of = |model: &Small, hooks| world(model, 2_000).hooked(hooks);
    let world = world_of(&model, hooks);
    let result = world.run(world.submit("s", "Read it all.")).await;
    assert_eq!((result.outcome, compactions(&world).await.len(), model.summaries()), ("finished", 0, 0));
    assert!(!told.events().is_empty() && !told.events().contains(&HookEvent::PostCompact));
    // One that a person asks for.
    let id = SessionId::new("s").unwrap();
    let accepted = world.runtime.compact(&id, "the parser", world.config(), "test").await.unwrap();
    let result = world.result(&accepted).await;
    let said = "nothing was compacted: a hook forbids it: keep it (hook h)";
    assert_eq!((result.message.as_deref(), compactions(&world).await.len()), (Some(said), 0));
    let last = told.calls().pop().unwrap().input;
    assert_eq!((&last["trigger"], &last["custom_instructions"]), (&json!("manual"), &json!("the parser")));
    // One that the provider wants: nothing else can be done.
    let model = Small::new(100_000, 4);
    let (_, hooks) = forbids();
    let world = world_of(&model, hooks);
    world.run(world.submit("s", "go")).await;
    model.refuse.store(1, Ordering::SeqCst);
    let result = world.run(world.submit("s", "and on")).await;
    assert_eq!(result.stop, Some(StopReason::ContextOverflow));
    check_replay(&world).await;
}
