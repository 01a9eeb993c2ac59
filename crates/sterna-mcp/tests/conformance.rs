//! The client scenarios of the official conformance suite that apply to us, against servers of our own that ask the same
//! of a client: they need no npm. `scripts/mcp-conformance` runs the suite itself.

#![allow(clippy::unwrap_used)]

mod common;

use common::{World, of, status};
use serde_json::{Value, json};
use sterna_mcp::{Client, Grant, LoginError, McpError, OAuth, ServerConfig, State, Transport, login};
use sterna_model::ToolStatus;
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
        Self::known_as(name, OAuth::default())
    }

    fn known_as(name: &str, oauth: OAuth) -> Self {
        let server = HttpServer::scenario(name).unwrap();
        let world = World::new();
        let mut config = of(Transport::Http { url: server.url(), headers: Default::default() });
        config.oauth = oauth;
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
    defaults("elicitation-defaults").await;
}

#[tokio::test]
async fn what_a_server_asks_on_a_stream_that_opens_slowly_is_heard() {
    defaults("elicitation-aside").await;
}

async fn defaults(name: &str) {
    let scenario = Scenario::new(name);
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

#[tokio::test]
async fn a_login_that_is_too_little_asks_for_what_was_missing_beside_what_it_had() {
    let scenario = Scenario::new("scope-step-up");
    scenario.client.connect().await.unwrap_err();
    scenario.login().await.unwrap();
    scenario.client.connect().await.unwrap();
    let (status, why) = status(scenario.world.call(&scenario.client, "test-tool", json!({})).await);
    assert_eq!(status, ToolStatus::Failed);
    let wanted = "the MCP server `test` wants more than its login allows (mcp:write): run `sterna mcp login test` again";
    assert_eq!(why, wanted);
    scenario.login().await.unwrap();
    // The same connection goes on with the new login.
    let done = scenario.world.call(&scenario.client, "test-tool", json!({})).await.unwrap();
    assert_eq!(done, ("done".into(), false));
    let asked = scenario.observed().await["authorizations"].clone();
    let scopes: Vec<&str> = asked.as_array().unwrap().iter().filter_map(|of| of["scope"].as_str()).collect();
    assert_eq!(scopes, ["mcp:basic", "mcp:basic mcp:write"]);
}

#[tokio::test]
async fn a_client_that_was_registered_by_hand_proves_it_with_its_secret() {
    let of = |secret: &str| OAuth {
        client: Some("by-hand".into()),
        secret: Some(secret.into()),
        ..OAuth::default()
    };
    let scenario = Scenario::known_as("pre-registration", of("hush"));
    let observed = scenario.logged_in("pre-registration").await;
    assert_eq!(observed["tokens"][0]["proof"], "client_secret_basic by-hand:hush");
    // Nobody registers there without it.
    let scenario = Scenario::new("pre-registration");
    let refused = scenario.login().await.unwrap_err();
    assert!(matches!(&refused, LoginError::Registration(_)), "{refused}");
    assert!(refused.to_string().contains("set `oauth_client_id`"), "{refused}");
}

#[tokio::test]
async fn a_page_names_the_client_where_the_authorization_server_takes_pages() {
    let page = "https://sterna.invalid/client.json";
    for (name, client) in [("basic-cimd", page), ("metadata-default", "client-1")] {
        let oauth = OAuth { client: Some(page.into()), ..OAuth::default() };
        let observed = Scenario::known_as(name, oauth).logged_in(name).await;
        assert_eq!(observed["authorizations"][0]["client"], client, "{name}");
    }
}

#[tokio::test]
async fn a_client_with_a_secret_logs_in_without_a_person() {
    // A token that is good for half a minute is as good as over: it is asked for again, and never renewed.
    for (name, asked_again) in [("client-credentials", false), ("client-credentials-short", true)] {
        let oauth = OAuth {
            client: Some("robot".into()),
            secret: Some("hush".into()),
            scopes: Vec::new(),
            grant: Grant::ClientCredentials,
        };
        let scenario = Scenario::known_as(name, oauth);
        scenario.client.connect().await.unwrap_or_else(|error| panic!("{name}: {error}"));
        let done = scenario.world.call(&scenario.client, "test-tool", json!({})).await.unwrap();
        assert_eq!(done, ("done".into(), false), "{name}");
        let observed = scenario.observed().await;
        let tokens = observed["tokens"].as_array().unwrap();
        assert_eq!(tokens.len() > 1, asked_again, "{name}: {tokens:?}");
        let proven = json!({"proof": "client_secret_basic robot:hush", "pkce": false, "resource": scenario.server.url(),
            "grant": "client_credentials"});
        assert!(tokens.iter().all(|token| *token == proven), "{name}: {tokens:?}");
        assert_eq!(observed["authorizations"], json!([]), "{name}");
        let refused = scenario.login().await.unwrap_err();
        assert!(matches!(refused, LoginError::NoPerson(_)), "{name}: {refused}");
    }
}

/// A robot that asks for `mcp:basic`, whose server wants `mcp:write` for its tool.
fn robot(name: &str) -> Scenario {
    let oauth = OAuth {
        client: Some("robot".into()),
        secret: Some("hush".into()),
        scopes: vec!["mcp:basic".into()],
        grant: Grant::ClientCredentials,
    };
    Scenario::known_as(name, oauth)
}

impl Scenario {
    /// The scopes of each token that was asked for.
    async fn asked_for(&self) -> Vec<String> {
        let observed = self.observed().await;
        let tokens = observed["tokens"].as_array().unwrap().iter();
        tokens.map(|token| token["scope"].as_str().unwrap_or_default().to_owned()).collect()
    }

    fn wishes(&self) -> bool {
        let logins = std::fs::read_dir(self.world.state().join("mcp/logins"));
        logins.is_ok_and(|mut found| {
            found.any(|file| file.unwrap().path().extension().is_some_and(|end| end == "scopes"))
        })
    }
}

#[tokio::test]
async fn a_client_without_a_person_gets_the_scopes_that_are_missing_by_itself() {
    let robot = robot("client-credentials-step-up");
    robot.client.connect().await.unwrap();
    // Side by side they get one login.
    let call = || robot.world.call(&robot.client, "test-tool", json!({}));
    let (first, second) = tokio::join!(call(), call());
    for done in [first, second, call().await] {
        assert_eq!(done.unwrap(), ("done".into(), false));
    }
    assert_eq!(robot.asked_for().await, ["mcp:basic", "mcp:basic mcp:write"]);
    assert!(!robot.wishes());
}

#[tokio::test]
async fn scopes_that_a_client_without_a_person_is_not_given_are_an_error_and_no_loop() {
    let wants = "the MCP server `test` wants more than its `oauth_client_id` is given (mcp:write): have the authorization \
        server allow it that";
    for (name, told) in [("client-credentials-refused", "invalid_scope"), ("client-credentials-narrowed", "")]
    {
        let robot = robot(name);
        robot.client.connect().await.unwrap();
        let (status, why) = status(robot.world.call(&robot.client, "test-tool", json!({})).await);
        assert_eq!(status, ToolStatus::Failed, "{name}");
        let rest = why.strip_prefix(wants).unwrap_or_else(|| panic!("{name}: {why}"));
        assert!(rest.contains(told) && rest.is_empty() == told.is_empty(), "{name}: {why}");
        assert!(!why.contains("login test"), "{name}: {why}");
        assert_eq!(robot.asked_for().await, ["mcp:basic", "mcp:basic mcp:write"], "{name}");
        assert!(!robot.wishes(), "{name}");
        // What its login is good for goes on with it.
        assert!(matches!(robot.client.state(), State::Connected(_)), "{name}");
        robot.client.connect().await.unwrap();
    }
}

#[tokio::test]
async fn scopes_that_nobody_could_be_asked_for_are_no_refusal() {
    let robot = robot("client-credentials-broken");
    robot.client.connect().await.unwrap();
    let call = || robot.world.call(&robot.client, "test-tool", json!({}));
    let (status, why) = status(call().await);
    assert_eq!(status, ToolStatus::Failed);
    let told = "the MCP server `test` wants more than its login has (mcp:write), and asking for another one failed: ";
    assert!(why.starts_with(told) && why.len() > told.len() && !why.contains("oauth_client_id"), "{why}");
    // What failed once is asked for again when it is needed again.
    assert_eq!(call().await.unwrap(), ("done".into(), false));
    assert_eq!(robot.asked_for().await, ["mcp:basic", "mcp:basic mcp:write", "mcp:basic mcp:write"]);
}

#[tokio::test]
async fn a_wish_that_is_refused_at_the_registration_is_forgotten() {
    let scenario = Scenario::new("scope-refused");
    scenario.client.connect().await.unwrap_err();
    scenario.login().await.unwrap();
    scenario.client.connect().await.unwrap();
    scenario.world.call(&scenario.client, "test-tool", json!({})).await.unwrap_err();
    assert!(scenario.wishes());
    let refused = scenario.login().await.unwrap_err();
    assert!(matches!(refused, LoginError::Registration(_)), "{refused}");
    assert!(!scenario.wishes());
    scenario.login().await.unwrap();
}

#[tokio::test]
async fn what_a_registration_gave_renews_the_login_in_another_life() {
    let Scenario { server, world, config, client } = Scenario::new("renewed-with-a-secret");
    client.connect().await.unwrap_err();
    login(&config, &world.state(), browse).await.unwrap();
    drop(client);
    // The token is over within a second, and counts as over before.
    let client = world.client_of(config.clone());
    client.connect().await.unwrap();
    let scenario = Scenario { server, world, config, client };
    let tokens = scenario.observed().await["tokens"].clone();
    let renewed = &tokens.as_array().unwrap()[1];
    assert_eq!(renewed["grant"], "refresh_token");
    assert_eq!(renewed["proof"], "client_secret_basic client-1:secret-1");
}

/// Logs in, calls the one tool that there is, and gives what the server saw. What holds of every login is checked.
async fn logged_in(name: &str) -> Value {
    Scenario::new(name).logged_in(name).await
}

impl Scenario {
    async fn logged_in(&self, name: &str) -> Value {
        let error = self.client.connect().await.unwrap_err();
        assert!(matches!(error, McpError::NeedsLogin { .. }), "{name}: {error}");
        self.login().await.unwrap_or_else(|error| panic!("{name}: {error}"));
        self.client.connect().await.unwrap_or_else(|error| panic!("{name}: {error}"));
        let done = self.world.call(&self.client, "test-tool", json!({})).await.unwrap();
        assert_eq!(done, ("done".into(), false), "{name}");
        let observed = self.observed().await;
        let (asked, token) = (&observed["authorizations"][0], &observed["tokens"][0]);
        assert_eq!(token["pkce"], true, "{name}");
        assert_eq!(asked["resource"], token["resource"], "{name}");
        let resource = asked["resource"].as_str().unwrap_or_default();
        assert!(self.server.url().starts_with(resource.trim_end_matches('/')), "{name}: {resource}");
        observed
    }
}

/// What a browser does: it follows the page's redirect to us.
fn browse(url: &str) {
    let url = url.to_owned();
    tokio::spawn(async move {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        client.get(url).send().await.unwrap();
    });
}
