//! `agent`: other agents, each a session of its own. The tool says what is wanted; the runtime carries it out.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use sterna_model::{ChildEnd, ChildRef, EffectClass, SessionId, ToolSpec};
use sterna_tool::{
    Access, ChildOp, Plan, PlanContext, SessionView, SpawnChild, Tool, ToolContext, ToolDone, ToolError,
    ToolReturn,
};

use crate::agent_types::{AgentType, DEFAULT_KIND};
use crate::support::{first_line, parse};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Args {
    op: Op,
    /// For spawn: the kind of agent. `general` if left out.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// For spawn: all that it has to know, and what it should answer.
    task: Option<String>,
    /// For message, wait and close: the agent.
    id: Option<String>,
    /// For message.
    text: Option<String>,
    /// For spawn and message: do not wait for the answer.
    background: Option<bool>,
    /// For spawn: fewer steps than its kind has.
    #[schemars(range(min = 1))]
    max_steps: Option<u32>,
    /// For spawn: fewer tools than its kind has.
    tools: Option<Vec<String>>,
    /// For spawn: it begins with what you know, instead of with its task alone.
    fork: Option<bool>,
    /// For spawn: `worktree` gives it a git worktree of its own. `close` takes it away, unless something in it is nowhere else.
    isolation: Option<Isolation>,
    /// For wait: give up waiting after so many seconds. The agent goes on.
    timeout_s: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Op {
    Spawn,
    Message,
    Wait,
    List,
    Close,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Isolation {
    None,
    Worktree,
}

pub(crate) struct Agent {
    spec: ToolSpec,
    kinds: Vec<AgentType>,
}

impl Agent {
    /// Of two kinds with one name the later counts.
    pub(crate) fn new(kinds: Vec<AgentType>) -> Self {
        let mut by_name = std::collections::BTreeMap::new();
        by_name.extend(kinds.into_iter().map(|kind| (kind.name.clone(), kind)));
        let kinds: Vec<AgentType> = by_name.into_values().collect();
        let mut told = include_str!("agent.md").trim_end().to_owned();
        told.push_str("\n\nKinds of agents:");
        for kind in &kinds {
            told.push_str(&format!("\n- {}: {}", kind.name, first_line(&kind.description, 200)));
        }
        Self { spec: crate::schema::spec::<Args>("agent", &told), kinds }
    }

    fn wanted(&self, args: Args, view: &SessionView) -> Result<Wanted, ToolError> {
        let missing = |what: &str| ToolError::invalid(format!("this op needs `{what}`"));
        let child = |id: Option<String>| -> Result<SessionId, ToolError> {
            let id = id.filter(|id| !id.is_empty()).ok_or_else(|| missing("id"))?;
            let known = view.children.iter().find(|(child, _)| child.turn.session.as_str() == id);
            let known = known.map(|(child, _)| child.turn.session.clone());
            known.ok_or_else(|| ToolError::failed(format!("you have no agent `{id}`; `list` names yours")))
        };
        let words = |text: Option<String>, what: &str| -> Result<String, ToolError> {
            text.filter(|text| !text.trim().is_empty()).ok_or_else(|| missing(what))
        };
        let background = args.background.unwrap_or(false);
        Ok(match args.op {
            Op::List => Wanted::List,
            Op::Close => Wanted::Op(ChildOp::Close { child: child(args.id)? }),
            Op::Wait => {
                let timeout_ms = args.timeout_s.map(|s| s.saturating_mul(1000));
                Wanted::Op(ChildOp::Wait { child: child(args.id)?, timeout_ms })
            }
            Op::Message => {
                let (child, text) = (child(args.id)?, words(args.text, "text")?);
                Wanted::Op(ChildOp::Tell { child, text, background })
            }
            Op::Spawn => {
                let task = words(args.task, "task")?;
                let kind = self.kind(args.kind.as_deref().unwrap_or(DEFAULT_KIND))?;
                let tools = match args.tools {
                    None => kind.tools.clone(),
                    Some(fewer) if kind.tools.is_empty() => fewer,
                    Some(fewer) => {
                        let both = |tool: &&String| kind.tools.contains(tool);
                        let tools: Vec<String> = fewer.iter().filter(both).cloned().collect();
                        if tools.is_empty() {
                            let have = kind.tools.join(", ");
                            let text = format!("an agent of kind `{}` has other tools: {have}", kind.name);
                            return Err(ToolError::invalid(text));
                        }
                        tools
                    }
                };
                Wanted::Op(ChildOp::Spawn(Box::new(SpawnChild {
                    agent: kind.name.clone(),
                    prompt: kind.prompt.clone(),
                    task,
                    tools,
                    route: kind.route.clone(),
                    max_steps: args.max_steps.unwrap_or(kind.max_steps).clamp(1, kind.max_steps),
                    background,
                    fork: args.fork.unwrap_or(false),
                    worktree: args.isolation == Some(Isolation::Worktree),
                })))
            }
        })
    }

    fn kind(&self, name: &str) -> Result<&AgentType, ToolError> {
        let names = || self.kinds.iter().map(|kind| kind.name.as_str()).collect::<Vec<_>>().join(", ");
        let found = self.kinds.iter().find(|kind| kind.name == name);
        found.ok_or_else(|| ToolError::invalid(format!("there is no agent `{name}`; there are {}", names())))
    }
}

enum Wanted {
    List,
    Op(ChildOp),
}

impl Tool for Agent {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn class(&self, args: &Value) -> EffectClass {
        match args.get("op").and_then(Value::as_str) {
            Some("list") => EffectClass::Pure,
            _ => EffectClass::Idempotent,
        }
    }

    fn plan(&self, _: &PlanContext, args: &Value) -> Result<Plan, ToolError> {
        let args: Args = parse(args)?;
        let kind = args.kind.as_deref().unwrap_or(DEFAULT_KIND);
        let id = args.id.as_deref().unwrap_or_default();
        let summary = match args.op {
            Op::Spawn => format!("{kind}: {}", first_line(args.task.as_deref().unwrap_or_default(), 200)),
            Op::Message => {
                format!("tell {id}: {}", first_line(args.text.as_deref().unwrap_or_default(), 200))
            }
            Op::Wait => format!("wait for {id}"),
            Op::List => "list agents".to_owned(),
            Op::Close => format!("close {id}"),
        };
        // What it does is judged when it does it, under the rights of this turn.
        Ok(Plan { accesses: vec![Access::Session], summary, preview: None })
    }

    fn call<'a>(&'a self, cx: ToolContext, args: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        async move {
            if let Some(end) = &cx.ended {
                return Ok(ToolReturn::Done(told(end)));
            }
            Ok(match self.wanted(parse(&args)?, &cx.view)? {
                Wanted::List => ToolReturn::Done(ToolDone::text(listed(&cx.view.children))),
                Wanted::Op(op) => ToolReturn::Child(op),
            })
        }
        .boxed()
    }
}

/// How an agent ended, as the model is told.
pub(crate) fn told(end: &Arc<ChildEnd>) -> ToolDone {
    let steps = if end.steps == 1 { "1 step".to_owned() } else { format!("{} steps", end.steps) };
    let text = match end.stop {
        None => format!("{}\n\n[{} · {steps}]", end.message, end.session),
        Some(stop) => {
            format!("the agent stopped: {}\n{}\n\n[{} · {steps}]", stop.word(), end.message, end.session)
        }
    };
    ToolDone { failed: end.stop.is_some(), ..ToolDone::text(text) }
}

fn listed(children: &[(ChildRef, Option<ChildEnd>)]) -> String {
    if children.is_empty() {
        return "no agents".to_owned();
    }
    let line = |(child, end): &(ChildRef, Option<ChildEnd>)| {
        let state = match end {
            None => "working".to_owned(),
            Some(ChildEnd { stop: None, .. }) => "finished".to_owned(),
            Some(ChildEnd { stop: Some(stop), .. }) => format!("stopped: {}", stop.word()),
        };
        format!("{} ({}) {state}: {}", child.turn.session, child.turn.agent, child.turn.task)
    };
    children.iter().map(line).collect::<Vec<_>>().join("\n")
}
