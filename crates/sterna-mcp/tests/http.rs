//! Servers over HTTP, with and without a login.

#![allow(clippy::unwrap_used)]

mod common;

use common::{World, of};
use serde_json::json;
use sterna_mcp::{McpError, Resources, ServerConfig, State, Transport, has_login, login, logout};
use sterna_testkit::mcp::HttpServer;
use sterna_tool::{Access, Output, Tool, ToolReturn};

fn server(switches: &[&str]) -> (HttpServer, ServerConfig) {
    let server = HttpServer::start(switches).unwrap();
    let config = of(Transport::Http { url: server.url(), headers: Default::default() });
    (server, config)
}

#[tokio::test]
async fn both_protocols_work_with_both_kinds_of_answers() {
    for (switches, protocol) in [
        (&[][..], "2025-11-25"),
        (&["--json"], "2025-11-25"),
        (&["--modern"], "2026-07-28"),
        (&["--modern", "--json"], "2026-07-28"),
    ] {
        let world = World::new();
        let (_server, config) = server(switches);
        let client = world.client_of(config);
        let manifest = client.connect().await.unwrap_or_else(|error| panic!("{switches:?}: {error}"));
        assert_eq!(manifest.protocol, protocol, "{switches:?}");
        assert_eq!(world.call(&client, "echo", json!({"text": "hi"})).await.unwrap().0, "hi", "{switches:?}");
    }
}

#[tokio::test]
async fn a_question_comes_with_the_answer_that_it_belongs_to() {
    let world = World::new();
    let (_server, config) = server(&[]);
    let client = world.client_of(config);
    client.connect().await.unwrap();
    let questions = world.asked(&client, "page", json!({}), None).await.unwrap();
    assert!(questions[0].question.contains("page.invalid"));
    match world.step(&client, "page", json!({}), Some(&["Done"])).await.unwrap() {
        ToolReturn::Done(done) => {
            let Output::Text(text) = done.output else { panic!("{done:?}") };
            assert_eq!(text, r#"{"action": "accept"}"#);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn resources_and_prompts_are_read() {
    let world = World::new();
    let (_server, config) = server(&[]);
    let client = world.client_of(config);
    client.connect().await.unwrap();
    let resources = Resources::of(std::slice::from_ref(&client)).unwrap();
    assert_eq!(resources.spec().schema["properties"]["server"]["enum"], json!(["test"]));
    // Rules about files and hosts hold here, too.
    for (uri, access) in [
        ("file:///home/me/.ssh/id_rsa", Some(Access::Read("/home/me/.ssh/id_rsa".into()))),
        ("FILE:/etc/shadow", Some(Access::Read("/etc/shadow".into()))),
        ("https://evil.example:8443/x", Some(Access::Web { host: "evil.example:8443".into() })),
        ("test://one", None),
    ] {
        let plan = resources.plan(&world.plan_context(), &json!({"server": "test", "uri": uri})).unwrap();
        let wanted: Vec<Access> = std::iter::once(Access::Other).chain(access).collect();
        assert_eq!(plan.accesses, wanted, "{uri}");
    }
    let read = |args: serde_json::Value| {
        let plan = resources.plan(&world.plan_context(), &args).unwrap();
        let call = resources.call(world.context(plan), args);
        async {
            match call.await {
                Ok(ToolReturn::Done(done)) => match done.output {
                    Output::Text(text) => Ok(text),
                    other => panic!("{other:?}"),
                },
                Ok(other) => panic!("{other:?}"),
                Err(error) => Err(error.message),
            }
        }
    };
    let list = "test://one (one: The first)\ntest://{name} (any)";
    assert_eq!(read(json!({"server": "test"})).await, Ok(list.into()));
    assert_eq!(read(json!({"server": "test", "uri": "test://one"})).await, Ok("what is in one".into()));
    let blob = "(test://blob: image/png, about 6 bytes, not shown)";
    assert_eq!(read(json!({"server": "test", "uri": "test://blob"})).await, Ok(blob.into()));
    assert!(
        read(json!({"server": "test", "uri": "test://no"})).await.unwrap_err().contains("no such resource")
    );
    let prompts = client.prompts().await.unwrap();
    assert_eq!((prompts[0].name.as_str(), prompts[0].arguments[0].required), ("greet", true));
    let greeted = client.prompt("greet", &[("who".into(), "Ann".into())]).await.unwrap();
    assert_eq!(greeted, "user: Greet Ann.");
}

#[tokio::test]
async fn a_server_that_is_not_there_says_so() {
    let world = World::new();
    let url = "http://127.0.0.1:9/mcp".to_owned();
    let client = world.client_of(of(Transport::Http { url, headers: Default::default() }));
    let error = client.connect().await.unwrap_err();
    assert!(matches!(error, McpError::Start { .. }), "{error:?}");
    let said = error.to_string();
    assert!(said.contains("Connection refused") && !said.contains("rmcp"), "{said}");
    assert!(matches!(client.state(), State::Failed(_)));
}

#[tokio::test]
async fn a_login_is_made_kept_used_and_renewed() {
    let world = World::new();
    // The first token lasts a second, so that it is renewed in the test.
    let (_server, config) = server(&["--auth", "--short"]);
    let state = world.state();
    let client = world.client_of(config.clone());
    let error = client.connect().await.unwrap_err();
    assert!(matches!(&error, McpError::NeedsLogin { server } if server == "test"), "{error:?}");
    assert!(!has_login(&config, &state));
    login(&config, &state, browse).await.unwrap();
    assert!(has_login(&config, &state));
    client.connect().await.unwrap();
    assert_eq!(world.call(&client, "echo", json!({"text": "in"})).await.unwrap().0, "in");
    let kept = kept_logins(&state);
    assert!(kept.contains("access-0") || kept.contains("access-2"), "{kept}");
    drop(client);
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    let client = world.client_of(config.clone());
    client.connect().await.unwrap();
    assert_eq!(world.call(&client, "echo", json!({"text": "still in"})).await.unwrap().0, "still in");
    assert!(kept_logins(&state).contains("access-2"), "{}", kept_logins(&state));
    assert!(logout(&config, &state).unwrap());
    assert!(!logout(&config, &state).unwrap());
    drop(client);
    let client = world.client_of(config);
    assert!(matches!(client.connect().await.unwrap_err(), McpError::NeedsLogin { .. }));
}

/// What a browser does: it follows the page's redirect to us.
fn browse(url: &str) {
    let url = url.to_owned();
    tokio::spawn(async move {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let said = client.get(url).send().await.unwrap().text().await.unwrap();
        assert!(said.contains("You can close this page"), "{said}");
    });
}

fn kept_logins(state: &std::path::Path) -> String {
    let files = std::fs::read_dir(state.join("mcp/logins")).unwrap();
    let json = files.flatten().filter(|file| file.path().extension().is_some_and(|end| end == "json"));
    json.map(|file| std::fs::read_to_string(file.path()).unwrap()).collect()
}
