//! Servers that are programs: well-behaved ones, and all the others.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{World, config, eventually, lines, of, status, tool};
use serde_json::json;
use sterna_mcp::{McpError, State, Times, Transport, tools_of};
use sterna_model::{EffectClass, ToolStatus};
use sterna_tool::{Access, Tool};

#[tokio::test]
async fn a_server_says_what_it_offers_and_does_it() {
    let world = World::new();
    let client = world.client(&[]);
    assert_eq!(client.state(), State::Disconnected);
    assert!(client.manifest().is_none() && tools_of(&client).is_empty());
    let manifest = client.connect().await.unwrap();
    assert_eq!(client.state(), State::Connected("2025-11-25".into()));
    assert_eq!(manifest.server.as_deref(), Some("testkit 1.0"));
    assert_eq!(manifest.instructions.as_deref(), Some("Be kind."));
    assert!(manifest.resources && manifest.prompts);
    let echo = tool(&client, "echo");
    assert_eq!(
        echo.spec().schema,
        json!({"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]})
    );
    let said = world.call(&client, "echo", json!({"text": "hello"})).await.unwrap();
    assert_eq!(said, ("hello".into(), false));
    assert_eq!(world.call(&client, "fail", json!({})).await.unwrap(), ("it went wrong".into(), true));
    let (refused, why) = status(world.call(&client, "refuse", json!({})).await);
    assert_eq!(refused, ToolStatus::Failed);
    assert!(why.contains("not today") && why.contains("-32000"), "{why}");
    let (roots, _) = world.call(&client, "roots", json!({})).await.unwrap();
    assert_eq!(roots, format!(r#"{{"roots": [{{"uri": "file://{}"}}]}}"#, world.work().display()));
    let (sampled, _) = world.call(&client, "sample", json!({})).await.unwrap();
    assert!(sampled.contains("-32601"), "{sampled}");
}

#[tokio::test]
async fn the_newer_protocol_is_spoken_where_the_server_speaks_it() {
    let world = World::new();
    let client = world.client(&["--modern"]);
    let manifest = client.connect().await.unwrap();
    assert_eq!(manifest.protocol, "2026-07-28");
    let said = world.call(&client, "echo", json!({"text": "hello"})).await.unwrap();
    assert_eq!(said, ("hello".into(), false));
    assert_eq!(client.read_resource("test://one").await.unwrap(), "what is in one");
}

#[tokio::test]
async fn a_server_that_ignores_what_it_does_not_know_is_asked_in_the_older_way() {
    let world = World::new();
    let mut config = config(&["--mute-unknown"]);
    config.times.start = Duration::from_secs(8);
    let client = world.client_of(config);
    assert_eq!(client.connect().await.unwrap().protocol, "2025-11-25");
}

#[tokio::test]
async fn nothing_starts_before_it_is_called() {
    let world = World::new();
    let starts = world.work().join("starts");
    let switches = ["--starts", starts.to_str().unwrap()];
    let client = world.client(&switches);
    client.connect().await.unwrap();
    assert_eq!(lines(&starts), 1);
    drop(client);
    // Another life: the manifest is read, and nothing runs.
    let client = world.client(&switches);
    assert!(tools_of(&client).len() > 10);
    assert_eq!((lines(&starts), client.state()), (1, State::Disconnected));
    world.call(&client, "echo", json!({"text": "x"})).await.unwrap();
    assert_eq!(lines(&starts), 2);
    // Two that are configured alike are one.
    let same = world.client(&switches);
    world.call(&same, "echo", json!({"text": "x"})).await.unwrap();
    assert_eq!(lines(&starts), 2);
}

#[tokio::test]
async fn long_lists_come_in_pages_and_endless_ones_are_refused() {
    let world = World::new();
    let client = world.client(&["--page", "7", "--tools", "300"]);
    client.connect().await.unwrap();
    assert!(tools_of(&client).iter().any(|tool| tool.spec().name == "mcp__test__tool_299"));
    let endless = world.client(&["--endless"]);
    let error = endless.connect().await.unwrap_err();
    assert!(matches!(error, McpError::Strange { .. }), "{error}");
}

#[tokio::test]
async fn names_are_our_own_and_arguments_name_what_they_touch() {
    let world = World::new();
    let client = world.client(&["--shadow"]);
    client.connect().await.unwrap();
    let tools = tools_of(&client);
    assert!(tools.iter().all(|tool| tool.spec().name.starts_with("mcp__test__")));
    let odd = tools.iter().filter(|tool| tool.spec().name.starts_with("mcp__test__strange_name__")).count();
    assert_eq!(odd, 1);
    assert_eq!(world.call(&client, "shell", json!({"x": "y"})).await.unwrap().0, "shell was called");
    let plan = tool(&client, "put")
        .plan(&world.plan_context(), &json!({"path": "sub/.env", "text": "see https://host.invalid:8080/x"}))
        .unwrap();
    let path = world.work().join("sub/.env");
    assert_eq!(plan.accesses, [Access::Other, Access::Read(path.clone()), Access::Write(path)]);
    let plan = tool(&client, "put")
        .plan(&world.plan_context(), &json!({"path": "~/x", "text": "https://host.invalid:8080/x"}))
        .unwrap();
    assert!(plan.accesses.contains(&Access::Web { host: "host.invalid:8080".into() }));
    assert!(plan.accesses.contains(&Access::Write("/home/nobody/x".into())));
}

#[tokio::test]
async fn hints_count_only_where_the_person_trusts_the_server() {
    let world = World::new();
    let untrusted = world.client(&[]);
    untrusted.connect().await.unwrap();
    let class = |client: &sterna_mcp::Client, name: &str| tool(client, name).class(&json!({}));
    assert_eq!(class(&untrusted, "echo"), EffectClass::AtMostOnce);
    assert_eq!(class(&untrusted, "put"), EffectClass::AtMostOnce);
    let mut trusted = config(&[]);
    trusted.trusted = true;
    let trusted = world.client_of(trusted);
    trusted.connect().await.unwrap();
    assert_eq!(class(&trusted, "echo"), EffectClass::Pure);
    assert_eq!(class(&trusted, "put"), EffectClass::Idempotent);
    assert_eq!(class(&trusted, "die"), EffectClass::AtMostOnce);
}

#[tokio::test]
async fn a_changed_tool_asks_again_until_it_is_accepted() {
    let world = World::new();
    let client = world.client(&[]);
    client.connect().await.unwrap();
    let plan = |client: &sterna_mcp::Client| {
        let plan = tool(client, "echo").plan(&world.plan_context(), &json!({"text": "x"})).unwrap();
        plan.accesses
    };
    assert_eq!(plan(&client), [Access::Other]);
    world.call(&client, "change", json!({"word": "second"})).await.unwrap();
    eventually(|| client.changed_tools() == ["echo"], "the change is heard").await;
    let changed = plan(&client);
    assert!(matches!(&changed[1], Access::Unaccepted { why, .. } if why.contains("`echo`")), "{changed:?}");
    // Also in another life, also if the server is asked anew.
    drop(client);
    let client = world.client(&["--word", "second"]);
    client.connect().await.unwrap();
    world.call(&client, "change", json!({"word": "third"})).await.unwrap();
    eventually(|| client.changed_tools() == ["echo"], "the change is heard again").await;
    assert_eq!(plan(&client).len(), 2);
    // A call that runs was allowed by somebody.
    world.call(&client, "echo", json!({"text": "x"})).await.unwrap();
    assert_eq!(plan(&client), [Access::Other]);
}

#[tokio::test]
async fn a_yes_to_one_definition_is_none_to_the_next() {
    let world = World::new();
    let client = world.client(&[]);
    client.connect().await.unwrap();
    let args = json!({"text": "x"});
    let echo = tool(&client, "echo");
    let judged = echo.plan(&world.plan_context(), &args).unwrap();
    world.call(&client, "change", json!({"word": "second"})).await.unwrap();
    eventually(|| client.changed_tools() == ["echo"], "the change is heard").await;
    let (failed, why) = status(echo.call(world.context(judged), args.clone()).await);
    assert_eq!(failed, ToolStatus::Failed);
    assert!(why.contains("nothing was called"), "{why}");
    assert_eq!(client.changed_tools(), ["echo"]);
    // Judged anew, it passes.
    assert_eq!(world.call(&client, "echo", args).await.unwrap().0, "x");
    assert_eq!(client.changed_tools(), [""; 0]);
}

#[tokio::test]
async fn noise_before_an_answer_is_no_answer() {
    let world = World::new();
    let client = world.client(&["--noise"]);
    let said = async {
        client.connect().await.unwrap();
        world.call(&client, "echo", json!({"text": "still"})).await.unwrap()
    };
    assert_eq!(said.await, ("still".into(), false));
}

#[tokio::test]
async fn a_server_that_dies_in_a_call_leaves_it_in_doubt_and_is_started_again() {
    let world = World::new();
    let client = world.client(&[]);
    client.connect().await.unwrap();
    let (unknown, why) = status(world.call(&client, "die", json!({})).await);
    assert_eq!(unknown, ToolStatus::OutcomeUnknown);
    assert!(why.contains("these are my last words") && why.contains("3"), "{why}");
    assert_eq!(world.call(&client, "echo", json!({"text": "back"})).await.unwrap().0, "back");
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    let world = World::new();
    for (transport, expected) in [
        (program("no-such-program-at-all", &[]), "there is no program"),
        (program("sh", &["-c", "echo broken >&2; exit 4"]), "broken"),
        (config(&["--crash"]).transport, "I cannot go on"),
    ] {
        let client = world.client_of(of(transport));
        let error = client.connect().await.unwrap_err();
        assert!(matches!(&error, McpError::Start { why, .. } if why.contains(expected)), "{error:?}");
        assert!(error.never_sent());
        assert_eq!(client.state(), State::Failed(error));
    }
    let mut mute = config(&["--mute"]);
    mute.times.start = Duration::from_millis(600);
    let error = world.client_of(mute).connect().await.unwrap_err();
    assert!(matches!(error, McpError::StartTimeout { .. }), "{error:?}");
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_and_its_late_answer_is_dropped() {
    let world = World::new();
    let mut config = config(&[]);
    config.times.idle = Duration::from_millis(500);
    config.times.total = Duration::from_millis(1_200);
    let client = world.client_of(config);
    client.connect().await.unwrap();
    let (timeout, why) = status(world.call(&client, "hang", json!({})).await);
    assert_eq!(timeout, ToolStatus::Timeout);
    assert!(why.contains("may have happened all the same"), "{why}");
    let (timeout, _) = status(world.call(&client, "late", json!({"seconds": 0.6})).await);
    assert_eq!(timeout, ToolStatus::Timeout);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(world.call(&client, "echo", json!({"text": "mine"})).await.unwrap().0, "mine");
    // Progress is a sign of life, and does not last for ever.
    let steps = |steps: u32| json!({"steps": steps, "pause": 0.2});
    assert_eq!(world.call(&client, "slow", steps(4)).await.unwrap().0, "done slowly");
    assert!(world.progress.lock().unwrap().starts_with(&["step 1".into(), "step 2".into()]));
    let (timeout, why) = status(world.call(&client, "slow", steps(30)).await);
    assert_eq!(timeout, ToolStatus::Timeout);
    assert!(why.contains("took longer"), "{why}");
}

#[tokio::test]
async fn an_endless_line_ends_the_connection() {
    let world = World::new();
    let client = world.client(&[]);
    client.connect().await.unwrap();
    let (unknown, why) = status(world.call(&client, "flood", json!({})).await);
    assert_eq!(unknown, ToolStatus::OutcomeUnknown);
    assert!(why.contains("more than 16 MiB"), "{why}");
    assert_eq!(world.call(&client, "echo", json!({"text": "back"})).await.unwrap().0, "back");
}

#[tokio::test]
async fn lines_without_end_drown_no_answer() {
    let world = World::new();
    let client = world.client(&["--chatter"]);
    client.connect().await.unwrap();
    for text in ["one", "two", "three"] {
        assert_eq!(world.call(&client, "echo", json!({ "text": text })).await.unwrap(), (text.into(), false));
    }
    // Of what it says to nobody the end is kept, and no more.
    let (_, why) = status(world.call(&client, "die", json!({})).await);
    assert!(why.contains("these are my last words") && why.len() < 2_500, "{} bytes: {why}", why.len());
}

#[tokio::test]
async fn a_cancelled_call_ends_at_once() {
    let world = World::new();
    let client = world.client(&[]);
    client.connect().await.unwrap();
    let cancel = world.cancel.clone();
    let call = world.call(&client, "hang", json!({}));
    let later = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        cancel.cancel();
    };
    let (ended, ()) = tokio::join!(call, later);
    assert_eq!(status(ended).0, ToolStatus::Cancelled);
}

#[tokio::test]
async fn one_slow_server_delays_nobody() {
    let world = World::new();
    let mut mute = config(&["--mute"]);
    mute.name = "mute".into();
    let (mute, good) = (world.client_of(mute), world.client(&[]));
    let stuck = tokio::spawn(async move { mute.connect().await });
    good.connect().await.unwrap();
    assert_eq!(world.call(&good, "echo", json!({"text": "x"})).await.unwrap().0, "x");
    assert!(!stuck.is_finished());
    stuck.abort();
}

#[tokio::test]
async fn a_server_that_answers_no_ping_is_ended() {
    let world = World::new();
    let mut config = config(&["--mute-ping"]);
    config.times.ping = Duration::from_millis(50);
    let client = world.client_of(config);
    client.connect().await.unwrap();
    eventually(|| matches!(client.state(), State::Failed(McpError::Silent { .. })), "it is missed").await;
    assert_eq!(world.call(&client, "echo", json!({"text": "again"})).await.unwrap().0, "again");
}

#[tokio::test]
async fn a_server_that_nobody_uses_is_ended() {
    let world = World::new();
    let mut config = config(&[]);
    config.times =
        Times { unused: Duration::from_millis(150), ping: Duration::from_millis(50), ..config.times };
    let client = world.client_of(config);
    client.connect().await.unwrap();
    eventually(|| client.state() == State::Disconnected, "it is ended").await;
    assert_eq!(world.call(&client, "echo", json!({"text": "again"})).await.unwrap().0, "again");
}

#[tokio::test]
async fn a_server_gets_the_listed_environment_and_its_own() {
    let world = World::new();
    let client = world.client(&[]);
    client.connect().await.unwrap();
    let (env, _) = world.call(&client, "env", json!({})).await.unwrap();
    let env: std::collections::BTreeMap<String, String> = serde_json::from_str(&env).unwrap();
    assert_eq!(env["OWN"], "value");
    let ours: Vec<&String> = env.keys().filter(|name| name.starts_with("CARGO")).collect();
    assert_eq!(ours, [""; 0]);
}

#[tokio::test]
async fn a_server_and_what_it_started_end_with_the_client() {
    let world = World::new();
    let client = world.client(&[]);
    client.connect().await.unwrap();
    let (ids, _) = world.call(&client, "child", json!({})).await.unwrap();
    let ids: Vec<u32> = serde_json::from_str(&ids).unwrap();
    let alive = |id: &u32| std::path::Path::new(&format!("/proc/{id}")).exists();
    assert!(ids.iter().all(alive));
    drop(client);
    eventually(|| !ids.iter().any(alive), "both are gone").await;
}

fn program(command: &str, args: &[&str]) -> Transport {
    Transport::Stdio {
        command: command.into(),
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        env: Default::default(),
        cwd: None,
    }
}
