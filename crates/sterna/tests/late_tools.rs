//! Tools of an MCP server that is slower than the person: the turn begins without it, and a later one has them.

#![allow(clippy::unwrap_used)]
#![cfg(feature = "mcp")]

#[path = "../../sterna-runtime/tests/common/mod.rs"]
mod common;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::*;
use serde_json::{Value, json};
use sterna::Sterna;
use sterna::mcp::{OAuth, Origin, ServerConfig, Times, ToolChoice, Transport};
use sterna::places::Places;
use sterna_model::*;

/// A server that answers nothing before its gate is open.
struct Slow {
    home: tempfile::TempDir,
    model: TestModel,
    notices: Arc<Mutex<Vec<String>>>,
    crashes: bool,
}

impl Slow {
    fn new(list: impl IntoIterator<Item = Say>) -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
            model: TestModel::new(list),
            notices: Arc::default(),
            crashes: false,
        }
    }

    fn gate(&self) -> PathBuf {
        self.home.path().join("gate")
    }

    async fn sterna(&self) -> Sterna {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../sterna-testkit/mcp/server.py");
        let gate = self.gate().display().to_string();
        let mut args: Vec<String> = vec![script.into(), "--slow".into(), gate];
        args.extend(self.crashes.then(|| "--crash".into()));
        let server = ServerConfig {
            name: "slow".into(),
            transport: Transport::Stdio {
                command: "python3".into(),
                args,
                env: Default::default(),
                cwd: None,
            },
            origin: Origin { scope: Scope::User, file: "/mcp.json".into() },
            trusted: false,
            sandbox: false,
            disabled: false,
            tools: ToolChoice::default(),
            times: Times::default(),
            oauth: OAuth::default(),
        };
        let home = self.home.path().display().to_string();
        let notices = self.notices.clone();
        Sterna::builder()
            .provider(Arc::new(self.model.clone()))
            .ephemeral()
            .places(Places::from_env(&|name| (name == "STERNA_HOME").then(|| home.clone())).unwrap())
            .env(Arc::new(TestEnv::new("one")))
            .workspace(self.home.path())
            .profile("main")
            .without_instructions()
            .allow("mcp__slow__*")
            .mcp(vec![server])
            .mcp_patience(Duration::from_millis(1))
            .on_notice(move |text| notices.lock().unwrap().push(text.to_owned()))
            .build()
            .await
            .unwrap()
    }

    /// Lets the server answer, and waits until its tools are heard of.
    async fn open(&self, sterna: &Sterna) {
        std::fs::write(self.gate(), "").unwrap();
        for _ in 0..1_000 {
            if !sterna.turn_config_now().added.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it never came: {:?}", self.notices.lock().unwrap());
    }

    /// Names of the tools of a request.
    fn tools(&self, request: usize) -> Vec<String> {
        let body = self.model.body(request);
        let name = |tool: &Value| tool["function"]["name"].as_str().unwrap().to_owned();
        body["tools"].as_array().unwrap().iter().map(name).collect()
    }

    fn messages(&self, request: usize) -> Vec<Value> {
        self.model.body(request)["messages"].as_array().unwrap().clone()
    }
}

fn finders() -> Vec<String> {
    vec!["tool_search".into(), "call_tool".into()]
}

#[tokio::test]
async fn a_turn_begins_without_a_slow_server_and_the_next_one_finds_its_tools() {
    let echo = json!({"name": "mcp__slow__echo", "arguments": {"text": "from afar"}});
    let slow = Slow::new([
        Say::Text("nothing yet"),
        Say::Calls(vec![("tool_search", json!({"query": "select:mcp__slow__echo"}))]),
        Say::Calls(vec![("call_tool", echo)]),
        Say::Text("done"),
    ]);
    let sterna = slow.sterna().await;
    let said = slow.notices.lock().unwrap().join("\n");
    assert!(
        said.contains("the MCP server `slow` is still starting; the first turn after that has its tools"),
        "{said}"
    );
    let session = sterna.session("s");
    session.turn("begin").await.unwrap();
    let before = slow.tools(0);
    assert!(!before.iter().any(|name| finders().contains(name) || name.starts_with("mcp__")), "{before:?}");

    slow.open(&sterna).await;
    let reply = session.turn("use it").await.unwrap();
    assert_eq!(reply.message(), "done");
    // The tools that look it up come with it, and the server's own stay out of the list.
    let mut with_finders = [before, finders()].concat();
    with_finders.sort_unstable();
    for request in 1..4 {
        assert_eq!(slow.tools(request), with_finders, "request {request}");
        assert_eq!(slow.messages(request)[0], slow.messages(0)[0], "the prompt stays");
    }
    let tail = slow.messages(1).last().unwrap().to_string();
    assert!(tail.contains("mcp__slow__echo") && !tail.contains("Says it back"), "{tail}");
    let results: Vec<String> =
        slow.messages(3).iter().filter(|m| m["role"] == "tool").map(Value::to_string).collect();
    assert!(results[0].contains("Says it back") && results[1].contains("from afar"), "{results:?}");

    // Whoever was given fewer tools than there are gets none of them.
    let mut few = sterna.turn_config().clone();
    few.tools.truncate(1);
    assert_eq!(sterna.with_late_tools(few.clone()).given, few.given);
    let mut none = sterna.turn_config().clone();
    none.tools.clear();
    assert_eq!(sterna.with_late_tools(none.clone()).given, none.given);
}

#[tokio::test]
async fn a_slow_server_that_fails_is_told_of_when_the_next_turn_begins() {
    let slow = Slow { crashes: true, ..Slow::new([Say::Text("one"), Say::Text("two")]) };
    let sterna = slow.sterna().await;
    let session = sterna.session("s");
    session.turn("begin").await.unwrap();
    let told =
        || slow.notices.lock().unwrap().iter().filter(|said| said.contains("its tools are missing")).count();
    assert_eq!(told(), 0);
    std::fs::write(slow.gate(), "").unwrap();
    for _ in 0..1_000 {
        // Looking is what a turn does when it begins.
        drop(sterna.turn_config_now());
        if told() > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    session.turn("go on").await.unwrap();
    assert_eq!(told(), 1, "{:?}", slow.notices.lock().unwrap());
}

#[tokio::test]
async fn a_goal_that_goes_on_by_itself_has_the_tools_that_came_meanwhile() {
    let slow = Slow::new([
        Say::Hang("I look around"),
        Say::Calls(vec![("goal", json!({"op": "update", "status": "complete", "why": "it is done"}))]),
        Say::Text("done"),
    ]);
    let sterna = slow.sterna().await;
    let id = SessionId::new("g").unwrap();
    let config = sterna.turn_config().clone();
    let accepted = sterna.runtime().set_goal(Some(id), None, "Use it.", None, config, "test").await.unwrap();
    slow.model.arrived.notified().await;
    slow.open(&sterna).await;
    slow.model.go.notify_one();
    sterna.runtime().result(&accepted.session, accepted.input).await.unwrap();
    slow.model.arrived.notified().await;
    assert!(!slow.tools(0).contains(&finders()[0]));
    assert!(finders().iter().all(|finder| slow.tools(1).contains(finder)), "{:?}", slow.tools(1));
    assert!(slow.messages(1).last().unwrap().to_string().contains("mcp__slow__echo"));
}
