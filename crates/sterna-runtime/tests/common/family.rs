//! A family of agents: a model that answers by what it reads, a tool that starts agents, and the world that they live in.

#![allow(dead_code, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use sterna_llm::{EncodeCache, Encoded, ModelInfo, ModelReply, Provider, Request, StreamEvent};
use sterna_log::{Log, MemoryLog};
use sterna_model::*;
use sterna_tool::{ChildOp, SharedTool, SpawnChild, ToolDone, ToolError, ToolReturn};
use tokio::sync::Notify;

use crate::common::*;

/// A model that answers by what it reads: the first rule whose words stand in the request.
#[derive(Clone, Default)]
pub struct Minds {
    pub rules: Arc<Mutex<Vec<(&'static str, Thought)>>>,
    pub asked: Arc<Mutex<Vec<String>>>,
    pub go: Arc<Notify>,
    pub go_call: Arc<Notify>,
    /// Requests that are being answered now, and the most there were.
    pub busy: Arc<Mutex<(usize, usize)>>,
}

#[derive(Clone)]
pub enum Thought {
    Say(&'static str),
    Call(Vec<(&'static str, Value)>),
    /// Says this when the test lets it go on.
    Later(&'static str),
    /// Calls these when the test lets it go on, by another door.
    CallLater(Vec<(&'static str, Value)>),
}

impl Minds {
    pub fn new(rules: impl IntoIterator<Item = (&'static str, Thought)>) -> Self {
        Self { rules: Arc::new(Mutex::new(rules.into_iter().collect())), ..Self::default() }
    }

    pub fn asked(&self, words: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|body| body.contains(words)).count()
    }
}

impl Provider for Minds {
    fn model(&self, _: &Route) -> Result<ModelInfo, String> {
        let price = sterna_llm::Price { output: 0.1, ..Default::default() };
        Ok(ModelInfo { price: Some(price), ..ModelInfo::default() })
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
        let body = String::from_utf8(body.body().to_vec()).unwrap();
        self.asked.lock().unwrap().push(body.clone());
        // What stands last was said last.
        let rules = self.rules.lock().unwrap().clone();
        let found = rules
            .iter()
            .filter_map(|(words, thought)| Some(((body.rfind(words)? + words.len(), words.len()), thought)));
        let thought = found.max_by_key(|(at, _)| *at).map(|(_, thought)| thought.clone());
        let thought = thought.unwrap_or_else(|| panic!("nobody thought of this: {body}"));
        // It writes 10 tokens, or what it is allowed.
        let asked: Value = serde_json::from_str(&body).unwrap();
        let most =
            asked["max_completion_tokens"].as_u64().or(asked["max_tokens"].as_u64()).unwrap_or(10).min(10);
        let reply = move |parts, stop| {
            let mut reply = reply(parts, stop);
            reply.billed.usage.output = most;
            reply.billed.cost = Some(100 * most);
            reply
        };
        async move {
            {
                let mut busy = self.busy.lock().unwrap();
                busy.0 += 1;
                busy.1 = busy.1.max(busy.0);
            }
            if let Thought::CallLater(_) = thought {
                self.go_call.notified().await;
            }
            let said = match thought {
                Thought::Say(text) => Ok(reply(vec![Part::Text(text.into())], ModelStop::EndTurn)),
                Thought::Call(calls) | Thought::CallLater(calls) => {
                    let part = |(i, (name, args)): (usize, (&str, Value))| {
                        call(&format!("c{i}"), name, &args.to_string())
                    };
                    Ok(reply(calls.into_iter().enumerate().map(part).collect(), ModelStop::ToolCalls))
                }
                Thought::Later(text) => {
                    self.go.notified().await;
                    Ok(reply(vec![Part::Text(text.into())], ModelStop::EndTurn))
                }
            };
            self.busy.lock().unwrap().0 -= 1;
            said
        }
        .boxed()
    }
}

/// Starts agents as its arguments say, and tells how they ended.
pub fn agent() -> SharedTool {
    tool("agent", EffectClass::Idempotent, |cx, args| {
        async move {
            if let Some(end) = cx.ended {
                let how = end.stop.map_or("finished", |stop| stop.word());
                return Ok(ToolReturn::Done(ToolDone::text(format!("{how}: {}", end.message))));
            }
            let text = |name: &str| args[name].as_str().unwrap_or_default().to_owned();
            let known = || -> Result<SessionId, ToolError> {
                let child = cx.view.children.first().ok_or_else(|| ToolError::failed("no child"))?;
                Ok(child.0.turn.session.clone())
            };
            let background = args["background"].as_bool().unwrap_or(false);
            Ok(ToolReturn::Child(match args["op"].as_str() {
                Some("wait") => ChildOp::Wait { child: known()?, timeout_ms: args["ms"].as_u64() },
                Some("tell") => ChildOp::Tell { child: known()?, text: text("task"), background },
                Some("close") => ChildOp::Close { child: known()? },
                _ => ChildOp::Spawn(Box::new(SpawnChild {
                    agent: "tester".into(),
                    prompt: "You are a tester.".into(),
                    task: text("task"),
                    tools: args["tools"].as_array().map_or(Vec::new(), |all| {
                        all.iter().map(|tool| tool.as_str().unwrap().to_owned()).collect()
                    }),
                    route: None,
                    max_steps: 5,
                    fork: args["fork"].as_bool().unwrap_or(false),
                    worktree: args["worktree"].as_bool().unwrap_or(false),
                    background,
                })),
            }))
        }
        .boxed()
    })
}

pub fn spawn(task: &str) -> (&'static str, Value) {
    ("agent", json!({ "task": task }))
}

pub struct Family {
    pub world: World,
    pub minds: Minds,
}

pub fn family(rules: Vec<(&'static str, Thought)>, tools: Vec<SharedTool>) -> Family {
    over(Arc::new(MemoryLog::new()), TestEnv::new("one"), Minds::new(rules), tools)
}

pub fn over(log: Arc<MemoryLog>, env: TestEnv, minds: Minds, mut tools: Vec<SharedTool>) -> Family {
    tools.push(agent());
    let world = World::with(log.clone(), log, env, TestModel::default(), Arc::new(minds.clone()), tools);
    Family { world, minds }
}

/// The sessions that others made, by what they were told.
pub async fn children(world: &World) -> BTreeMap<String, SessionId> {
    let all =
        world.log.list(&Default::default(), sterna_log::Page { limit: 1_000, after: None }).await.unwrap();
    let mut found = BTreeMap::new();
    for session in all {
        let records = world.records(session.id.as_str()).await;
        let Body::SessionOpened(opened) = &records[0].body else { panic!("{records:?}") };
        let Body::InputAccepted(input) = &records[1].body else { panic!("{records:?}") };
        if opened.spawned.is_some() {
            found.insert(input_text(&input.parts), session.id.clone());
        }
    }
    found
}

pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..2_000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}
