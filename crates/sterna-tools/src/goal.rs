//! `goal`: what the session works towards, and whether it is reached. Only a person sets one; a turn of a session that
//! has one is given this tool.

use futures::FutureExt;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use sterna_model::{EffectClass, Fact, GoalChange, GoalStatus, ToolSpec};
use sterna_tool::{
    Access, GoalView, Placeholders, Plan, PlanContext, Tool, ToolContext, ToolDone, ToolError, ToolReturn,
};

use crate::support::{first_line, parse};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Args {
    op: Op,
    /// For update.
    status: Option<Status>,
    /// Why it is blocked, or how it was checked that it is reached.
    why: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Op {
    Get,
    Update,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Status {
    Complete,
    Blocked,
}

pub(crate) struct Goal {
    spec: ToolSpec,
}

impl Goal {
    pub(crate) fn new() -> Self {
        Self { spec: crate::schema::spec::<Args>("goal", include_str!("goal.md")) }
    }
}

impl Tool for Goal {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn class(&self, args: &Value) -> EffectClass {
        match args.get("op").and_then(Value::as_str) {
            Some("get") => EffectClass::Pure,
            _ => EffectClass::Idempotent,
        }
    }

    fn plan(&self, _: &PlanContext, args: &Value) -> Result<Plan, ToolError> {
        let args: Args = parse(args)?;
        let summary = match (args.op, args.status) {
            (Op::Get, _) => "look at the goal".to_owned(),
            (Op::Update, Some(Status::Complete)) => "the goal is reached".to_owned(),
            (Op::Update, _) => {
                format!("the goal is blocked: {}", first_line(args.why.as_deref().unwrap_or_default(), 200))
            }
        };
        Ok(Plan { accesses: vec![Access::Session], summary, preview: None })
    }

    /// What is said to a person, or noted, is only text.
    fn placeholders(&self, _: &Value) -> Placeholders {
        Placeholders::Keep
    }

    fn call<'a>(&'a self, cx: ToolContext, args: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        async move { goal(parse(&args)?, cx.view.goal.as_ref()).map(ToolReturn::Done) }.boxed()
    }
}

fn goal(args: Args, held: Option<&GoalView>) -> Result<ToolDone, ToolError> {
    let held = held.ok_or_else(|| ToolError::invalid("this session has no goal; only a person sets one"))?;
    let status = match (args.op, args.status) {
        (Op::Get, None) => return Ok(ToolDone::text(told(held))),
        (Op::Get, Some(_)) => return Err(ToolError::invalid("get takes no status")),
        (Op::Update, None) => return Err(ToolError::invalid("update needs a status: complete or blocked")),
        (Op::Update, Some(Status::Complete)) => GoalStatus::Complete,
        (Op::Update, Some(Status::Blocked)) => GoalStatus::Blocked,
    };
    let why = args.why.unwrap_or_default();
    if status == GoalStatus::Blocked && why.trim().is_empty() {
        return Err(ToolError::invalid("say in `why` what a person has to do"));
    }
    if held.status != GoalStatus::Active {
        let text = format!("the goal is {} already; only a person works on it again", held.status.word());
        return Err(ToolError::invalid(text));
    }
    let text = format!("the goal is {}; end your turn with what was done", status.word());
    let why: String = why.chars().take(WHY_CHARS).collect();
    let change = GoalChange::Status { status, why, by: "model".into() };
    Ok(ToolDone { facts: vec![Fact::Goal(Box::new(change))], ..ToolDone::text(text) })
}

fn told(held: &GoalView) -> String {
    let of = held.token_budget.map_or_else(String::new, |budget| format!(" of {budget}"));
    let why = if held.why.is_empty() { String::new() } else { format!(" ({})", held.why) };
    format!("{}{why}, {}{of} tokens used\n{}", held.status.word(), held.tokens, held.objective)
}

const WHY_CHARS: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_active_goal_changes_and_only_to_an_end() {
        let held = |status| GoalView {
            id: "g".into(),
            objective: "all tests pass".into(),
            status,
            why: String::new(),
            token_budget: Some(100),
            tokens: 7,
        };
        let said = |args: Value, held: Option<GoalView>| {
            let done = goal(parse(&args).unwrap(), held.as_ref());
            let text = |done: &ToolDone| match &done.output {
                sterna_tool::Output::Text(text) => text.clone(),
                other => format!("{other:?}"),
            };
            done.map(|done| (text(&done), done.facts)).map_err(|error| error.to_string())
        };
        let active = || Some(held(GoalStatus::Active));
        let (text, facts) = said(serde_json::json!({"op": "get"}), active()).unwrap();
        assert_eq!((text.as_str(), facts), ("active, 7 of 100 tokens used\nall tests pass", vec![]));
        let (_, facts) = said(serde_json::json!({"op": "update", "status": "complete"}), active()).unwrap();
        let want =
            GoalChange::Status { status: GoalStatus::Complete, why: String::new(), by: "model".into() };
        assert_eq!(facts, [Fact::Goal(Box::new(want))]);
        for (args, held, says) in [
            (serde_json::json!({"op": "get"}), None, "no goal"),
            (serde_json::json!({"op": "update"}), active(), "needs a status"),
            (serde_json::json!({"op": "update", "status": "blocked"}), active(), "`why`"),
            (
                serde_json::json!({"op": "update", "status": "complete"}),
                Some(held(GoalStatus::Paused)),
                "paused already",
            ),
        ] {
            let why = said(args, held).unwrap_err();
            assert!(why.contains(says), "{why}");
        }
    }
}
