//! The client scenarios of the official conformance suite that apply to us, against servers of our own that ask the same
//! of a client: they need no npm. `scripts/mcp-conformance` runs the suite itself.

#![allow(clippy::unwrap_used)]

mod common;

use common::{World, of};
use serde_json::{Value, json};
use sterna_mcp::{Client, LoginError, McpError, ServerConfig, Transport, login};
use sterna_testkit::mcp::HttpServer;
use sterna_tool::{Output, ToolReturn};

struct Scenario {
    server: HttpServer,
    world: World,
    config: ServerConfig,
    client: Client,
}

impl Scenario {
    fn new(name: &str) -> Self {
        let server = HttpServer::scenario(name).unwrap();
        let world = World::new();
        let config = of(Transport::Http { url: server.url(), headers: Default::default() });
        let client = world.client_of(config.clone());
        Self { server, world, config, client }
    }

    /// What the client did, as the server saw it.
    async fn observed(&self) -> Value {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let told = client.get(self.server.at("/observed")).send().await.unwrap();
        serde_json::from_slice(&told.bytes().await.unwrap()).unwrap()
    }

    async fn login(&self) -> Result<(), LoginError> {
        login(&self.config, &self.world.state(), browse).await
    }
}

#[tokio::test]
async fn the_handshake_says_who_speaks_and_in_which_version() {
    let scenario = Scenario::new("initialize");
    scenario.client.connect().await.unwrap();
    let said = scenario.observed().await["initialize"].clone();
    assert_eq!(said["protocolVersion"], "2025-11-25");
    assert_eq!(said["clientInfo"]["name"], "sterna");
    assert!(said["clientInfo"]["version"].as_str().is_some_and(|version| !version.is_empty()));
}

#[tokio::test]
async fn numbers_reach_a_tool_as_numbers() {
    let scenario = Scenario::new("tools_call");
    scenario.client.connect().await.unwrap();
    let sum = scenario.world.call(&scenario.client, "add_numbers", json!({"a": 5, "b": 3})).await.unwrap();
    assert_eq!(sum, ("8".into(), false));
    let calls = scenario.observed().await["calls"].clone();
    assert_eq!(calls, json!([{"name": "add_numbers", "arguments": {"a": 5, "b": 3}}]));
}

#[tokio::test]
async fn what_a_person_leaves_empty_is_the_servers_default() {
    let scenario = Scenario::new("elicitation-defaults");
    let (world, client) = (&scenario.world, &scenario.client);
    client.connect().await.unwrap();
    let questions = world.asked(client, "defaults", json!({}), None).await.unwrap();
    let done = world.step(client, "defaults", json!({}), Some(&vec![""; questions.len()])).await.unwrap();
    assert!(
        matches!(done, ToolReturn::Done(done) if matches!(&done.output, Output::Text(_)) && !done.failed)
    );
    let content = json!({"name": "John Doe", "age": 30, "score": 95.5, "status": "active", "verified": true});
    let answer = scenario.observed().await["calls"][0]["answer"].clone();
    assert_eq!(answer, json!({"action": "accept", "content": content}));
}

#[tokio::test]
async fn a_stream_that_ends_early_is_taken_up_when_the_server_said_and_where_it_ended() {
    let scenario = Scenario::new("sse-retry");
    scenario.client.connect().await.unwrap();
    let done = scenario.world.call(&scenario.client, "reconnect", json!({})).await.unwrap();
    assert_eq!(done, ("reconnected".into(), false));
    let reconnects = scenario.observed().await["reconnects"].clone();
    let [reconnect] = reconnects.as_array().unwrap().as_slice() else { panic!("{reconnects}") };
    assert_eq!(reconnect["last_event_id"], "event-1");
    // The server asked for 500 ms; its own clock may have started a little late.
    assert!(reconnect["after_ms"].as_u64().unwrap() >= 450, "{reconnect}");
}

/// Where the metadata of the resource and of the authorization server is, and where nobody may look.
const DISCOVERIES: [(&str, &[&str], &[&str]); 5] = [
    (
        "metadata-default",
        &["GET /.well-known/oauth-protected-resource/mcp", "GET /.well-known/oauth-authorization-server"],
        &["GET /.well-known/oauth-protected-resource"],
    ),
    (
        "metadata-var1",
        &["GET /.well-known/oauth-protected-resource/mcp", "GET /.well-known/openid-configuration"],
        &[],
    ),
    (
        "metadata-var2",
        &["GET /.well-known/oauth-protected-resource", "GET /.well-known/oauth-authorization-server/tenant1"],
        &["GET /.well-known/oauth-authorization-server"],
    ),
    (
        "metadata-var3",
        &["GET /custom/metadata.json", "GET /tenant1/.well-known/openid-configuration"],
        // Nor when the login is used: it is told where to look again.
        &["GET /.well-known/oauth-authorization-server", "GET /.well-known/oauth-protected-resource"],
    ),
    ("endpoint-fallback", &["POST /register", "GET /authorize", "POST /token"], &[]),
];

#[tokio::test]
async fn the_way_to_a_login_is_found_wherever_its_metadata_is() {
    for (name, wanted, forbidden) in DISCOVERIES {
        let observed = logged_in(name).await;
        let requests: Vec<&str> =
            observed["requests"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert!(wanted.iter().all(|path| requests.contains(path)), "{name}: {requests:?}");
        assert!(!forbidden.iter().any(|path| requests.contains(path)), "{name}: {requests:?}");
    }
}

#[tokio::test]
async fn scopes_are_those_of_the_challenge_else_those_of_the_resource_else_none() {
    for (name, scope) in [
        ("scope-from-www-authenticate", json!("mcp:basic")),
        ("scope-from-scopes-supported", json!("mcp:basic mcp:read mcp:write")),
        ("scope-omitted-when-undefined", Value::Null),
    ] {
        let observed = logged_in(name).await;
        assert_eq!(observed["authorizations"][0]["scope"], scope, "{name}");
    }
}

#[tokio::test]
async fn a_client_proves_who_it_is_as_the_authorization_server_wants_it() {
    for (name, proof) in [
        ("token-endpoint-auth-basic", "client_secret_basic client-1:secret-1"),
        ("token-endpoint-auth-post", "client_secret_post"),
        ("token-endpoint-auth-none", "none"),
    ] {
        let observed = logged_in(name).await;
        assert_eq!(observed["tokens"][0]["proof"], proof, "{name}");
    }
}

#[tokio::test]
async fn a_resource_that_says_it_is_another_one_gets_no_login() {
    let scenario = Scenario::new("resource-mismatch");
    scenario.client.connect().await.unwrap_err();
    let refused = scenario.login().await.unwrap_err();
    assert!(matches!(refused, LoginError::Discovery(_)), "{refused}");
    assert_eq!(scenario.observed().await["authorizations"], json!([]));
}

#[tokio::test]
async fn a_login_that_is_never_enough_is_not_made_again_and_again() {
    let scenario = Scenario::new("scope-retry-limit");
    scenario.client.connect().await.unwrap_err();
    scenario.login().await.unwrap();
    for _ in 0..2 {
        scenario.client.connect().await.unwrap_err();
    }
    let asked = scenario.observed().await["authorizations"].clone();
    assert_eq!(asked.as_array().unwrap().len(), 1, "{asked}");
}

/// Logs in, calls the one tool that there is, and gives what the server saw. What holds of every login is checked.
async fn logged_in(name: &str) -> Value {
    let scenario = Scenario::new(name);
    let error = scenario.client.connect().await.unwrap_err();
    assert!(matches!(error, McpError::NeedsLogin { .. }), "{name}: {error}");
    scenario.login().await.unwrap_or_else(|error| panic!("{name}: {error}"));
    scenario.client.connect().await.unwrap_or_else(|error| panic!("{name}: {error}"));
    let done = scenario.world.call(&scenario.client, "test-tool", json!({})).await.unwrap();
    assert_eq!(done, ("done".into(), false), "{name}");
    let observed = scenario.observed().await;
    let (asked, token) = (&observed["authorizations"][0], &observed["tokens"][0]);
    assert_eq!(token["pkce"], true, "{name}");
    assert_eq!(asked["resource"], token["resource"], "{name}");
    let resource = asked["resource"].as_str().unwrap_or_default();
    assert!(scenario.server.url().starts_with(resource.trim_end_matches('/')), "{name}: {resource}");
    observed
}

/// What a browser does: it follows the page's redirect to us.
fn browse(url: &str) {
    let url = url.to_owned();
    tokio::spawn(async move {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        client.get(url).send().await.unwrap();
    });
}
