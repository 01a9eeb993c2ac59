//! Three hundred tools: they cost little, are found, stay found, and are called as themselves.

#![allow(clippy::unwrap_used)]

#[path = "../../sterna-runtime/tests/common/mod.rs"]
mod common;

use std::sync::{Arc, Mutex};

use common::*;
use serde_json::{Value, json};
use sterna::{Sterna, Store};
use sterna_log::MemoryLog;
use sterna_model::*;
use sterna_tool::{
    Access, Plan, PlanContext, SharedTool, Tool, ToolContext, ToolDone, ToolError, ToolReturn,
};

/// A tool as an MCP server would offer it, which keeps what it was called with.
struct Far {
    spec: ToolSpec,
    called: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Tool for Far {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }
    fn class(&self, _: &Value) -> EffectClass {
        EffectClass::AtMostOnce
    }
    fn plan(&self, _: &PlanContext, _: &Value) -> Result<Plan, ToolError> {
        Ok(Plan { accesses: vec![Access::Other], summary: self.spec.name.clone(), preview: None })
    }
    fn call<'a>(
        &'a self,
        _: ToolContext,
        args: Value,
    ) -> futures::future::BoxFuture<'a, Result<ToolReturn, ToolError>> {
        self.called.lock().unwrap().push((self.spec.name.clone(), args));
        Box::pin(std::future::ready(Ok(ToolReturn::Done(ToolDone::text("it was done")))))
    }
}

type Called = Arc<Mutex<Vec<(String, Value)>>>;

fn far_tools(called: &Called) -> Vec<SharedTool> {
    let far = |n: usize| -> SharedTool {
        let spec = ToolSpec {
            name: format!("mcp__far__tool_{n:03}"),
            description: format!(
                "Works on the thing with the number {n}: reads it, changes it, puts it back."
            ),
            schema: json!({
                "type": "object",
                "properties": {"value": {"type": "string", "description": "What to do with it"}},
                "required": ["value"],
            }),
        };
        Arc::new(Far { spec, called: called.clone() })
    };
    (0..300).map(far).collect()
}

async fn sterna(name: &str, log: &Arc<MemoryLog>, model: &TestModel, called: &Called, rule: &str) -> Sterna {
    let mut builder = Sterna::builder()
        .provider(Arc::new(model.clone()))
        .store(Store::Own(log.clone(), log.clone()))
        .env(Arc::new(TestEnv::new(name)))
        .profile("main")
        .checkpoints(false)
        .limits(Limits { max_steps: 100, no_progress_steps: 100, ..Limits::default() })
        .allow(rule);
    for tool in far_tools(called) {
        builder = builder.deferrable_tool(tool);
    }
    builder.build().await.unwrap()
}

/// What stands before the history: tools and system prompt.
fn prefix(body: &Value) -> String {
    json!([body["tools"], body["messages"][0]]).to_string()
}

fn last_result(body: &Value) -> String {
    let messages = body["messages"].as_array().unwrap();
    let tool = messages.iter().rev().find(|message| message["role"] == "tool").unwrap();
    tool["content"].as_str().unwrap().to_owned()
}

fn call_far(n: usize, value: &str) -> Say {
    let arguments = json!({"value": value});
    Say::Calls(vec![("call_tool", json!({"name": format!("mcp__far__tool_{n:03}"), "arguments": arguments}))])
}

#[tokio::test]
async fn three_hundred_tools_cost_little_until_they_are_found() {
    let called = Called::default();
    let log = Arc::new(MemoryLog::new());
    let search = |query: &str| Say::Calls(vec![("tool_search", json!({ "query": query }))]);
    let mut list = vec![
        search("thing number 217"),
        call_far(217, "first"),
        call_far(218, "never searched for"),
        Say::Calls(vec![("call_tool", json!({"name": "mcp__far__tool_217", "arguments": {"volume": 3}}))]),
        Say::Calls(vec![("call_tool", json!({"name": "mcp__far__tool_9999", "arguments": {}}))]),
        search("select:mcp__far__tool_9999,"),
        search("{\"query\": ["),
    ];
    list.extend((0..45).map(|n| call_far(217, ["a", "b"][n % 2])));
    list.push(Say::Text("done"));
    let steps = list.len();
    let model = TestModel::new(list);
    let one = sterna("one", &log, &model, &called, "mcp__far__*").await;
    let reply = one.session("s").turn("go").await.unwrap();
    assert_eq!(reply.message(), "done");

    // What the tools cost: the same request without them is so much smaller.
    let without = TestModel::new([Say::Text("done")]);
    let bare = Sterna::builder()
        .provider(Arc::new(without.clone()))
        .ephemeral()
        .env(Arc::new(TestEnv::new("two")))
        .profile("main")
        .build()
        .await
        .unwrap();
    bare.session("s").turn("go").await.unwrap();
    let bytes = prefix(&model.body(0)).len() - prefix(&without.body(0)).len();
    assert!(bytes / 4 < 2_000, "{bytes} bytes");

    // The prefix is the same over all of more than fifty steps.
    assert!(steps > 50);
    assert_eq!(model.asked(), steps);
    let first = prefix(&model.body(0));
    assert!(first.contains("tool_299") && !first.contains("Works on the thing"));
    for n in 1..steps {
        assert_eq!(prefix(&model.body(n)), first, "request {n}");
    }

    // The search shows the tool; the tail names it from then on; and it is called as itself.
    let shown = last_result(&model.body(1));
    assert!(shown.starts_with("mcp__far__tool_217\n") && shown.contains("What to do with it"), "{shown}");
    let tail = |n: usize| model.body(n)["messages"].as_array().unwrap().last().unwrap().to_string();
    assert!(!tail(0).contains("found_tools"));
    assert!(tail(1).contains("found_tools") && tail(steps - 1).contains("mcp__far__tool_217"));
    // What comes of it is text of strangers, under the server's name.
    let done = "<untrusted origin=\"mcp:far\">\nit was done\n</untrusted>";
    assert_eq!(last_result(&model.body(2)), done);
    assert_eq!(last_result(&model.body(3)), done);
    let wrong = last_result(&model.body(4));
    assert!(
        wrong.contains("invalid_arguments for mcp__far__tool_217") && wrong.contains("It takes:"),
        "{wrong}"
    );
    let missing = last_result(&model.body(5));
    assert!(missing.contains("tool not registered: mcp__far__tool_9999"), "{missing}");
    for n in [6, 7] {
        let near = last_result(&model.body(n));
        assert!(near.contains("Names that come near: ") && near.contains("mcp__far__tool_"), "{near}");
    }
    let expected = ("mcp__far__tool_217".to_owned(), json!({"value": "first"}));
    assert_eq!(called.lock().unwrap()[0], expected);
    assert_eq!(called.lock().unwrap().len(), 47);

    // Another life: the turn's tools are those of its record, and what was found needs no search.
    let model = TestModel::new([call_far(217, "after a restart"), Say::Text("done")]);
    drop(one);
    let two = sterna("two", &log, &model, &called, "mcp__far__*").await;
    two.session("s").turn("go on").await.unwrap();
    assert_eq!(prefix(&model.body(0)), first);
    let tail = model.body(0)["messages"].as_array().unwrap().last().unwrap().to_string();
    assert!(tail.contains("mcp__far__tool_217"), "{tail}");
    let expected = ("mcp__far__tool_217".to_owned(), json!({"value": "after a restart"}));
    assert_eq!(called.lock().unwrap().last(), Some(&expected));
}

#[tokio::test]
async fn policy_sees_the_tool_and_not_its_wrapping() {
    // A rule for `call_tool` allows nothing, and the call is refused under its own name.
    for (rule, ran) in [("call_tool", 0), ("mcp__far__tool_001", 1)] {
        let called = Called::default();
        let log = Arc::new(MemoryLog::new());
        let model = TestModel::new([call_far(1, "x"), Say::Text("done")]);
        let sterna = sterna("one", &log, &model, &called, rule).await;
        let reply = sterna.session("s").turn("go").await.unwrap();
        assert_eq!(called.lock().unwrap().len(), ran, "{rule}");
        if ran == 0 {
            assert_eq!(reply.result().denials[0].tool, "mcp__far__tool_001");
        }
    }
}

#[tokio::test]
async fn few_tools_are_simply_shown() {
    let called = Called::default();
    let model =
        TestModel::new([Say::Calls(vec![("mcp__far__tool_000", json!({"value": "x"}))]), Say::Text("done")]);
    let sterna = Sterna::builder()
        .provider(Arc::new(model.clone()))
        .ephemeral()
        .env(Arc::new(TestEnv::new("one")))
        .deferrable_tool(far_tools(&called).remove(0))
        .allow("mcp__far__*")
        .build()
        .await
        .unwrap();
    sterna.session("s").turn("go").await.unwrap();
    assert!(model.body(0)["tools"].to_string().contains("Works on the thing with the number 0"));
    assert!(!model.body(0).to_string().contains("tool_search"));
    assert_eq!(called.lock().unwrap().len(), 1);
}
