//! A todo list of one tool: its argument `items` is what it sets.

#![allow(dead_code, clippy::unwrap_used)]

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use sterna_model::{EffectClass, Fact, TodoItem, ToolSpec};
use sterna_tool::{
    Access, Plan, PlanContext, SessionView, SharedTool, Tool, ToolContext, ToolDone, ToolError, ToolReturn,
};

struct Tasks(ToolSpec);

pub fn tasks() -> SharedTool {
    let schema = json!({"type": "object"});
    Arc::new(Tasks(ToolSpec { name: "tasks".into(), description: "t".into(), schema }))
}

/// One item for its arguments.
pub fn task(id: &str, status: &str) -> Value {
    json!({"id": id, "subject": format!("subject of {id}"), "status": status})
}

fn items(args: &Value) -> Vec<TodoItem> {
    serde_json::from_value(args["items"].clone()).unwrap()
}

impl Tool for Tasks {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }
    fn class(&self, _: &Value) -> EffectClass {
        EffectClass::Idempotent
    }
    fn plan(&self, _: &PlanContext, _: &Value) -> Result<Plan, ToolError> {
        Ok(Plan { accesses: vec![Access::Session], ..Plan::default() })
    }
    fn todos(&self, args: &Value, _: &SessionView) -> Vec<TodoItem> {
        items(args)
    }
    fn call<'a>(&'a self, _: ToolContext, args: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        let facts = items(&args).into_iter().map(Fact::Todo).collect();
        async move { Ok(ToolReturn::Done(ToolDone { facts, ..ToolDone::text("kept") })) }.boxed()
    }
}
