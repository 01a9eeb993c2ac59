//! A world for the runtime's tests: an in-memory log, a clock that the test turns, a model that plays a list, tools
//! of a few lines. No socket, no file.

#![allow(dead_code, clippy::unwrap_used)]

pub mod crash_log;

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crash_log::{CrashLog, Point};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use sterna_llm::scripted::Scripted;
use sterna_llm::{EncodeCache, Encoded, ModelInfo, ModelReply, Provider, Request, StreamEvent};
use sterna_log::{MemoryLog, Owner, SharedBlobs, SharedLog};
use sterna_model::*;
use sterna_runtime::*;
use sterna_tool::{
    Access, Plan, PlanContext, SharedTool, Tool, ToolContext, ToolDone, ToolError, ToolReturn,
};
use tokio::sync::Notify;

/// A clock that moves when it is slept on, and by the test's hand.
#[derive(Clone)]
pub struct TestEnv {
    pub now: Arc<AtomicU64>,
    pub ids: Arc<AtomicU64>,
    pub name: String,
    /// Owners that are known to be dead.
    pub dead: Arc<Mutex<Vec<String>>>,
    /// Sleeps of so many milliseconds end at once, however long that is.
    pub ends: Arc<AtomicU64>,
    /// Sleeps that were asked for, in milliseconds from then.
    pub slept: Arc<Mutex<Vec<u64>>>,
    /// What stands at paths.
    pub files: Arc<Mutex<BTreeMap<PathBuf, FileVersion>>>,
    /// Paths that somebody looked at, in order.
    pub looked: Arc<Mutex<Vec<PathBuf>>>,
}

impl TestEnv {
    pub fn new(name: &str) -> Self {
        Self {
            now: Arc::new(AtomicU64::new(1_795_260_000_000)),
            ids: Arc::default(),
            name: name.into(),
            dead: Arc::default(),
            ends: Arc::default(),
            slept: Arc::default(),
            files: Arc::default(),
            looked: Arc::default(),
        }
    }
}

impl Env for TestEnv {
    fn now(&self) -> Millis {
        self.now.load(Ordering::SeqCst)
    }
    fn sleep_until(&self, at: Millis) -> BoxFuture<'static, ()> {
        let now = self.now.clone();
        let wait = at.saturating_sub(now.load(Ordering::SeqCst));
        // Renewals and polls of drivers are not what tests look at.
        if wait >= 10_000 && wait != self.ends.load(Ordering::SeqCst) {
            return futures::future::pending().boxed();
        }
        self.slept.lock().unwrap().push(wait);
        async move {
            tokio::time::sleep(std::time::Duration::from_millis(wait.min(5))).await;
            now.fetch_max(at, Ordering::SeqCst);
        }
        .boxed()
    }
    fn new_session_id(&self) -> SessionId {
        SessionId::new(&format!("{}-{}", self.name, self.ids.fetch_add(1, Ordering::SeqCst))).unwrap()
    }
    fn owner(&self) -> Owner {
        Owner(self.name.clone())
    }
    fn is_dead(&self, owner: &Owner) -> bool {
        self.dead.lock().unwrap().contains(&owner.0)
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
    fn git_suspect(&self, _: &Path) -> Option<String> {
        None
    }
    fn file_version(&self, path: &Path) -> Option<FileVersion> {
        self.looked.lock().unwrap().push(path.to_path_buf());
        self.files.lock().unwrap().get(path).copied()
    }
    fn wait_secret(&self) -> Option<[u8; 32]> {
        Some([7; 32])
    }
    fn state_dirs(&self) -> Vec<PathBuf> {
        Vec::new()
    }
}

/// What the model does next.
pub enum Say {
    Text(&'static str),
    /// Tool calls by name and arguments.
    Calls(Vec<(&'static str, Value)>),
    Reply(ModelReply),
    Fail(ErrorClass),
    /// Streams this text, then waits until the test lets it go on (or for ever).
    Hang(&'static str),
}

/// A model that plays a list, and keeps what it was asked.
#[derive(Clone, Default)]
pub struct TestModel {
    pub list: Arc<Mutex<VecDeque<Say>>>,
    pub bodies: Arc<Mutex<Vec<String>>>,
    pub go: Arc<Notify>,
    /// Signalled when a request arrives.
    pub arrived: Arc<Notify>,
}

impl TestModel {
    pub fn new(list: impl IntoIterator<Item = Say>) -> Self {
        Self { list: Arc::new(Mutex::new(list.into_iter().collect())), ..Self::default() }
    }

    pub fn asked(&self) -> usize {
        self.bodies.lock().unwrap().len()
    }

    pub fn body(&self, n: usize) -> Value {
        serde_json::from_str(&self.bodies.lock().unwrap()[n]).unwrap()
    }
}

/// The results of tools in a request, in their order.
pub fn results_in(request: &Value) -> Vec<&str> {
    let messages = request["messages"].as_array().unwrap().iter();
    let results = messages.filter(|message| message["role"] == "tool");
    results.map(|message| message["content"].as_str().unwrap()).collect()
}

pub fn reply(parts: Vec<Part>, stop: ModelStop) -> ModelReply {
    let usage = Usage { input_uncached: 100, output: 10, ..Usage::default() };
    ModelReply { parts, stop, billed: Billed { usage, cost: Some(1_000), ..Billed::default() } }
}

pub fn call(id: &str, name: &str, arguments: &str) -> Part {
    Part::ToolCall(ToolCall {
        id: id.into(),
        name: name.into(),
        arguments: arguments.into(),
        truncated: false,
    })
}

impl Provider for TestModel {
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
        self.bodies.lock().unwrap().push(String::from_utf8(body.body().to_vec()).unwrap());
        let n = self.asked();
        let say = self.list.lock().unwrap().pop_front();
        self.arrived.notify_one();
        let delta = |text: &str, phase| StreamEvent {
            segment: Segment::Text,
            phase,
            text: text.into(),
            call_id: None,
            name: None,
        };
        async move {
            match say {
                None => panic!("the model was asked once too often: request {n}"),
                Some(Say::Text(text)) => {
                    events(delta("", Phase::Start));
                    events(delta(text, Phase::Delta));
                    events(delta("", Phase::End));
                    Ok(reply(vec![Part::Text(text.into())], ModelStop::EndTurn))
                }
                Some(Say::Calls(calls)) => {
                    let part = |(i, (name, args)): (usize, (&str, Value))| {
                        call(&format!("c{n}_{i}"), name, &args.to_string())
                    };
                    Ok(reply(calls.into_iter().enumerate().map(part).collect(), ModelStop::ToolCalls))
                }
                Some(Say::Reply(reply)) => Ok(reply),
                Some(Say::Fail(class)) => Err(ProviderFailure {
                    class,
                    status: None,
                    message: "as the test says".into(),
                    retry_after_ms: None,
                    billed: Billed::default(),
                }),
                Some(Say::Hang(text)) => {
                    events(delta("", Phase::Start));
                    events(delta(text, Phase::Delta));
                    self.go.notified().await;
                    Ok(reply(vec![Part::Text(format!("{text} and the rest"))], ModelStop::EndTurn))
                }
            }
        }
        .boxed()
    }
}

type Run = Arc<dyn Fn(ToolContext, Value) -> BoxFuture<'static, Result<ToolReturn, ToolError>> + Send + Sync>;

pub struct TestTool {
    spec: ToolSpec,
    class: EffectClass,
    access: Access,
    run: Run,
}

/// A tool that takes any object.
pub fn tool(
    name: &str,
    class: EffectClass,
    run: impl Fn(ToolContext, Value) -> BoxFuture<'static, Result<ToolReturn, ToolError>> + Send + Sync + 'static,
) -> SharedTool {
    let spec = ToolSpec { name: name.into(), description: name.into(), schema: json!({"type": "object"}) };
    Arc::new(TestTool { spec, class, access: Access::Session, run: Arc::new(run) })
}

/// A tool that takes any object and touches what the test says.
pub fn tool_of(
    name: &str,
    class: EffectClass,
    access: Access,
    run: impl Fn(ToolContext, Value) -> BoxFuture<'static, Result<ToolReturn, ToolError>> + Send + Sync + 'static,
) -> SharedTool {
    let spec = ToolSpec { name: name.into(), description: name.into(), schema: json!({"type": "object"}) };
    Arc::new(TestTool { spec, class, access, run: Arc::new(run) })
}

/// A tool that policy asks about.
pub fn asking_tool(name: &str, text: &'static str) -> SharedTool {
    let spec = ToolSpec { name: name.into(), description: name.into(), schema: json!({"type": "object"}) };
    let run: Run = Arc::new(move |_, _| async move { Ok(ToolReturn::Done(ToolDone::text(text))) }.boxed());
    Arc::new(TestTool { spec, class: EffectClass::AtMostOnce, access: Access::Other, run })
}

/// Answers with its arguments.
pub fn echo(name: &str, class: EffectClass) -> SharedTool {
    tool(name, class, |_, args| async move { Ok(ToolReturn::Done(ToolDone::text(args.to_string()))) }.boxed())
}

impl Tool for TestTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }
    fn class(&self, _: &Value) -> EffectClass {
        self.class
    }
    fn plan(&self, _: &PlanContext, _: &Value) -> Result<Plan, ToolError> {
        Ok(Plan { accesses: vec![self.access.clone()], summary: self.spec.name.clone(), preview: None })
    }
    fn call<'a>(&'a self, cx: ToolContext, args: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        (self.run)(cx, args)
    }
}

/// A runtime over a log that outlives it.
pub struct World {
    pub log: Arc<MemoryLog>,
    pub env: TestEnv,
    pub model: TestModel,
    pub runtime: Runtime,
    pub tools: Vec<SharedTool>,
    /// How it reaches the log, until its process dies. A test that brings a log of its own says itself when that ends.
    pub life: Option<Arc<CrashLog>>,
}

impl World {
    pub fn new(model: TestModel, tools: Vec<SharedTool>) -> Self {
        Self::over(Arc::new(MemoryLog::new()), TestEnv::new("one"), model, tools)
    }

    pub fn over(log: Arc<MemoryLog>, env: TestEnv, model: TestModel, tools: Vec<SharedTool>) -> Self {
        let provider = Arc::new(model.clone());
        let life = Arc::new(CrashLog::new(log.clone(), Point::None, Arc::default()));
        let world = Self::with(life.clone(), log, env, model, provider, tools);
        Self { life: Some(life), ..world }
    }

    /// Over a log that may fail, and any provider.
    pub fn with(
        shared: SharedLog,
        log: Arc<MemoryLog>,
        env: TestEnv,
        model: TestModel,
        provider: Arc<dyn Provider>,
        tools: Vec<SharedTool>,
    ) -> Self {
        let blobs: SharedBlobs = log.clone();
        let parts = Parts {
            log: shared,
            blobs,
            provider,
            env: Arc::new(env.clone()),
            tools: Toolbox::new(tools.clone()),
            checkpoints: None,
            secrets: Secrets::default(),
            hooks: None,
            levels: None,
            memory: None,
            worktrees: None,
        };
        let runtime = Runtime::new(parts);
        // Whatever is tested is tested with snapshots, as often as they may come.
        runtime.snapshot_every(1);
        Self { log, env, model, runtime, tools, life: None }
    }

    /// Another process on the same log, after this one died. What still goes on of it in the test's own process reaches nobody.
    pub fn next_life(&self, name: &str, model: TestModel) -> World {
        if let Some(life) = &self.life {
            life.die();
        }
        let env = TestEnv { name: name.into(), ..self.env.clone() };
        env.dead.lock().unwrap().push(self.env.name.clone());
        World::over(self.log.clone(), env, model, self.tools.clone())
    }

    pub fn config(&self) -> TurnConfig {
        TurnConfig::new(
            Given { on_ask: OnAsk::Deny, ..Given::new("test/model".parse().unwrap(), "/w") },
            PromptSource::new(sterna_context::builtin_sections(sterna_context::Template::Main)),
        )
    }

    pub fn submit(&self, session: &str, text: &str) -> Submit {
        Submit {
            session: Some(SessionId::new(session).unwrap()),
            key: None,
            parts: vec![InputPart::Text(text.into())],
            delivery: Delivery::NextTurn,
            origin: "test".into(),
            config: self.config(),
            live: false,
            drive: true,
        }
    }

    pub async fn run(&self, submit: Submit) -> ResultEvent {
        let accepted = self.runtime.submit(submit).await.unwrap();
        self.result(&accepted).await
    }

    pub async fn result(&self, accepted: &Accepted) -> ResultEvent {
        let wait = self.runtime.result(&accepted.session, accepted.input);
        tokio::time::timeout(std::time::Duration::from_secs(20), wait).await.expect("the turn hangs").unwrap()
    }

    /// The session's records.
    pub async fn records(&self, session: &str) -> Vec<Record> {
        let id = SessionId::new(session).unwrap();
        let sealed = sterna_log::Log::read(&*self.log, &id, 1, 100_000).await.unwrap();
        sealed.into_iter().map(|sealed| sealed.record).collect()
    }

    /// The names of the session's record bodies, in order.
    pub async fn bodies(&self, session: &str) -> Vec<String> {
        self.records(session).await.iter().map(name_of).collect()
    }
}

pub fn name_of(record: &Record) -> String {
    match &record.body {
        Body::Intent(intent) => match intent.what {
            Intended::Model(_) | Intended::Tool(_) | Intended::Compact(_) | Intended::Judge(_) => {
                format!("intent {}", short(&intent.key))
            }
            Intended::Undo(_) => format!("undo {}", short(&intent.key)),
        },
        Body::Outcome(outcome) => match &outcome.result {
            EffectResult::Tool(tool) => format!("outcome {} {}", short(&outcome.key), tool.status.word()),
            _ => format!("outcome {}", short(&outcome.key)),
        },
        Body::Attempt(attempt) => {
            format!("attempt {} {} {}", short(&attempt.key), attempt.attempt, attempt.failure.class.word())
        }
        body => {
            let json = serde_json::to_value(body).unwrap();
            json.as_object().and_then(|object| object.keys().next().cloned()).unwrap_or_default()
        }
    }
}

fn short(key: &EffectKey) -> String {
    format!("{}/{}/{}", key.step, key.kind.word(), key.ordinal)
}

/// What the session's records show, as its log tells it.
pub async fn shown(world: &World, session: &str) -> Vec<(Seq, Value)> {
    let mut folded = sterna_log::fold::Folded::new();
    let mut events = Vec::new();
    for record in world.records(session).await {
        folded.apply(&record);
        events.extend(folded.events(&record));
    }
    events.iter().map(told_as).collect()
}

fn told_as(event: &Event) -> (Seq, Value) {
    (event.seq, serde_json::to_value(event).unwrap())
}

/// Somebody who is told a session's events from the beginning.
pub struct Listener {
    heard: Arc<Mutex<Vec<Event>>>,
    session: String,
}

impl Listener {
    pub fn new(world: &World, session: &str) -> Self {
        let mut observer = world.runtime.observe(&SessionId::new(session).unwrap(), 0);
        let heard = Arc::new(Mutex::new(Vec::new()));
        let told = heard.clone();
        tokio::spawn(async move {
            loop {
                let event = observer.next().await.unwrap();
                told.lock().unwrap().push(event);
            }
        });
        Self { heard, session: session.into() }
    }

    /// What was told is what the log says, each event at its record, and nothing is missing.
    pub async fn check(&self, world: &World, context: &str) {
        let wanted = shown(world, &self.session).await;
        let recorded = || -> Vec<(Seq, Value)> {
            let unrecorded = |kind: &EventKind| match kind {
                EventKind::Result(result) => matches!(result.outcome, "parked" | "drained"),
                kind => kind.is_live(),
            };
            let heard = self.heard.lock().unwrap();
            heard.iter().filter(|event| !unrecorded(&event.kind)).map(told_as).collect()
        };
        let all = async {
            while recorded().len() < wanted.len() {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        };
        let complete = tokio::time::timeout(std::time::Duration::from_secs(10), all).await.is_ok();
        for (n, told) in recorded().iter().enumerate() {
            assert_eq!(Some(told), wanted.get(n), "{context}: event {n}");
        }
        assert!(complete, "{context}: only {} of {} events were told", recorded().len(), wanted.len());
    }
}

/// A scripted provider whose pauses take no time.
pub fn scripted(text: &str) -> Arc<Scripted> {
    Arc::new(Scripted::parse(text, Arc::new(|_| futures::future::ready(()).boxed())).unwrap())
}
