//! What stands before the history is the same bytes, whatever a session meets: tools that are found late, other modes,
//! notes that are recalled, other titles, the todo list, another process.

#![allow(clippy::unwrap_used)]

#[path = "../../sterna-runtime/tests/common/mod.rs"]
mod common;

use std::sync::Arc;

use common::*;
use futures::FutureExt;
use serde_json::{Value, json};
use sterna::{Sterna, Store};
use sterna_log::{Log, MemoryLog};
use sterna_model::*;
use sterna_runtime::replay;
use sterna_tool::{
    Access, Plan, PlanContext, SharedTool, Tool, ToolContext, ToolDone, ToolError, ToolReturn,
};

/// A tool as an MCP server would offer it.
struct Far(ToolSpec);

impl Tool for Far {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }
    fn class(&self, _: &Value) -> EffectClass {
        EffectClass::Idempotent
    }
    fn plan(&self, _: &PlanContext, _: &Value) -> Result<Plan, ToolError> {
        Ok(Plan { accesses: vec![Access::Session], summary: self.0.name.clone(), preview: None })
    }
    fn call<'a>(
        &'a self,
        _: ToolContext,
        args: Value,
    ) -> futures::future::BoxFuture<'a, Result<ToolReturn, ToolError>> {
        async move { Ok(ToolReturn::Done(ToolDone::text(args.to_string()))) }.boxed()
    }
}

fn far_tools() -> Vec<SharedTool> {
    let far = |n: usize| -> SharedTool {
        Arc::new(Far(ToolSpec {
            name: format!("mcp__far__tool_{n:03}"),
            description: format!("Works on the thing with the number {n}: {}", "reads it. ".repeat(20)),
            schema: json!({"type": "object", "properties": {"value": {"type": "string"}}}),
        }))
    };
    (0..200).map(far).collect()
}

async fn sterna(name: &str, log: &Arc<MemoryLog>, model: &TestModel, root: &std::path::Path) -> Sterna {
    let mut builder = Sterna::builder()
        .provider(Arc::new(model.clone()))
        .store(Store::Own(log.clone(), log.clone()))
        .env(Arc::new(TestEnv::new(name)))
        .workspace(root)
        .profile("main")
        .without_instructions()
        .checkpoints(false)
        .limits(Limits { max_steps: 100, no_progress_steps: 100, ..Limits::default() })
        .allow("mcp__far__*");
    for tool in far_tools() {
        builder = builder.deferrable_tool(tool);
    }
    builder.build().await.unwrap()
}

fn call(name: &'static str, args: Value) -> Say {
    Say::Calls(vec![(name, args)])
}

fn far(n: usize, value: usize) -> Say {
    let arguments = json!({"value": value.to_string()});
    call("call_tool", json!({"name": format!("mcp__far__tool_{n:03}"), "arguments": arguments}))
}

/// The facts of a request that stand after its history.
fn tail(body: &Value) -> String {
    body["messages"].as_array().unwrap().last().unwrap().to_string()
}

#[tokio::test]
async fn fifty_steps_with_all_that_changes_have_one_prefix() {
    let dir = tempfile::tempdir().unwrap();
    let log = Arc::new(MemoryLog::new());
    let search = |query: &str| call("tool_search", json!({ "query": query }));
    let id = SessionId::new("s").unwrap();

    // Turn 1: a note, a todo list, a tool that is found, and calls of it.
    let mut list = vec![
        call("remember", json!({"name": "port of the database", "text": "5432"})),
        call("todo", json!({"items": [{"id": "1", "subject": "look", "status": "in_progress"}]})),
        search("thing number 117"),
    ];
    list.extend((0..15).map(|n| far(117, n)));
    list.push(Say::Text("one"));
    // Turn 2, in another mode and under another name: what was noted is recalled.
    list.extend((0..10).map(|n| far(117, 100 + n)));
    list.push(search("thing number 003"));
    list.push(Say::Text("two"));
    // Turn 3, in plan mode, by another process.
    list.extend((0..8).map(|n| search(["thing number 042", "select:mcp__far__tool_150"][n % 2])));
    list.push(Say::Text("three"));
    // Turn 4, back again, and recalled anew.
    list.extend((0..13).map(|n| far(42, 200 + n)));
    list.push(Say::Text("four"));
    let steps = list.len();
    let model = TestModel::new(list);

    let one = sterna("one", &log, &model, dir.path()).await;
    one.session("s").turn("begin").await.unwrap();
    let after_one = model.asked();
    one.runtime().set_title(&id, "another name", "a person").await.unwrap();
    one.session("s").set_mode(Mode::Ask).await.unwrap();
    one.session("s").turn("which port has the database?").await.unwrap();
    let after_two = model.asked();
    drop(one);
    let two = sterna("two", &log, &model, dir.path()).await;
    two.session("s").turn("plan it").mode(Mode::Plan).await.unwrap();
    let after_three = model.asked();
    two.runtime().set_title(&id, "a third name", "a person").await.unwrap();
    two.session("s").turn("and the port of the database again?").mode(Mode::Execute).await.unwrap();
    assert!(steps > 50 && model.asked() == steps, "{steps} {}", model.asked());

    // All of it was met, and stands behind the history.
    let tails: Vec<String> = (0..steps).map(|n| tail(&model.body(n))).collect();
    assert!(!tails[2].contains("tool_117") && tails[3].contains("tool_117"), "{}", tails[3]);
    assert!(tails[1..].iter().any(|tail| tail.contains("look")));
    let recalled = |tail: &String| tail.contains("<memory>") && tail.contains("5432");
    assert!(!recalled(&tails[0]) && recalled(&tails[after_one]) && recalled(&tails[after_three]));
    let mode = |n: usize| {
        let at = tails[n].find("permission mode: ").unwrap() + "permission mode: ".len();
        tails[n][at..].split("\\n").next().unwrap().to_owned()
    };
    assert_eq!([mode(after_one), mode(after_two), mode(after_three)], ["ask", "plan", "execute"]);
    assert!(tails[steps - 1].contains("tool_042"), "{}", tails[steps - 1]);

    // And what stands before it never changed, by its bytes and by its recorded hash.
    let prefix = |body: &Value| json!([body["tools"], body["messages"][0]]).to_string();
    let first = prefix(&model.body(0));
    for n in 1..steps {
        assert_eq!(prefix(&model.body(n)), first, "request {n}");
    }
    let read = log.read(&id, 1, 10_000).await.unwrap();
    let intents: Vec<ModelIntent> = read
        .into_iter()
        .filter_map(|sealed| match sealed.record.body {
            Body::Intent(intent) => match intent.what {
                Intended::Model(model) => Some(model),
                Intended::Tool(_) | Intended::Undo(_) | Intended::Compact(_) | Intended::Judge(_) => None,
            },
            _ => None,
        })
        .collect();
    assert_eq!(intents.len(), steps);
    for (n, intent) in intents.iter().enumerate() {
        assert!(intent.prefix.is_some() && intent.prefix == intents[0].prefix, "request {n}");
        assert!(intent.prefix_broken.is_empty(), "request {n}: {:?}", intent.prefix_broken);
    }
    let replayed = replay(two.runtime().parts(), &id).await.unwrap();
    assert_eq!((replayed.requests, replayed.difference), (steps as u64, None));
    assert!(replayed.prefix_breaks.is_empty());
}
