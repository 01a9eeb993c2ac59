//! What is there, what works, and what to do about the rest.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;

use serde_json::{Value, json};
use sterna_log::{Append, Expect, LeaseRequest, Log};
use sterna_model::*;
use sterna_runtime::Env;
use sterna_sqlite::{Options, SqliteStore};
use support::{Done, World};

fn report(done: &Done) -> Value {
    serde_json::from_str(&done.out).unwrap_or_else(|error| panic!("{error}: {done:?}"))
}

#[test]
fn a_fresh_home_is_well_and_stays_empty() {
    let world = World::new("");
    let done = world.sterna(&["doctor", "--json"]);
    let found = report(&done);
    assert_eq!((done.code, &found["ok"], &found["problems"]), (0, &json!(true), &json!([])));
    assert_eq!((&found["store"]["exists"], &found["sandbox"]["wish"]), (&json!(false), &json!("auto")));
    assert_eq!(found["places"][1]["path"], json!(world.home().join("data")));
    let openai = found["providers"].as_array().unwrap().iter().find(|p| p["name"] == "openai").unwrap();
    assert_eq!((&openai["key"], &openai["key_set"]), (&json!("$OPENAI_API_KEY"), &json!(false)));
    assert_eq!(std::fs::read_dir(world.home()).unwrap().count(), 0);
    let text = world.sterna(&["doctor"]);
    assert_eq!(text.code, 0);
    assert!(text.out.ends_with("nothing that is needed is broken\n"), "{}", text.out);
}

#[test]
fn a_model_without_its_key_is_a_problem() {
    let world = World::new("");
    for (model, key, what, hint) in [
        (
            "openai/gpt-5",
            None,
            "the model is openai/gpt-5, and its key is not set",
            "put a key into $OPENAI_API_KEY",
        ),
        (
            "acme/x",
            None,
            "there is no provider `acme`",
            "add [providers.acme] to config.toml, or choose another model",
        ),
        (
            "azure/gpt-5",
            None,
            "the model is azure/gpt-5, and where azure is served is not known",
            "set AZURE_OPENAI_ENDPOINT, or base_url in [providers.azure]",
        ),
        ("openai/gpt-5", Some("sk-secret"), "", ""),
    ] {
        let mut command = world.command(&["doctor", "--json"]);
        command.env("STERNA_MODEL", model).envs(key.map(|key| ("OPENAI_API_KEY", key)));
        let done = Done::of(command.spawn().unwrap());
        let problems = report(&done)["problems"].clone();
        if what.is_empty() {
            assert_eq!((done.code, problems), (0, json!([])));
            assert!(!done.out.contains("sk-secret"), "{}", done.out);
        } else {
            assert_eq!((done.code, problems), (1, json!([{"what": what, "hint": hint}])));
        }
    }
}

#[test]
fn a_store_that_is_no_store_is_a_problem() {
    let world = World::new("");
    std::fs::create_dir_all(world.home().join("data")).unwrap();
    std::fs::write(
        world.home().join("data/sterna.db"),
        "not a database, and long enough to be looked at: ".repeat(40),
    )
    .unwrap();
    let done = world.sterna(&["doctor", "--json"]);
    let found = report(&done);
    assert_eq!(done.code, 1);
    assert!(found["store"]["error"].as_str().unwrap().contains("is not a database"), "{found}");
}

/// A session that this process drives, with five failures of one route.
#[test]
fn a_route_that_fails_is_told_with_its_breaker() {
    let world = World::new("");
    let write = async {
        let store = SqliteStore::open(&world.home().join("data"), Options::default()).unwrap();
        let now =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
        let owner = sterna::SystemEnv::new(&[], Vec::new()).owner();
        let lease = LeaseRequest { owner, now, expires: now + 60_000, takeover: None };
        let route: Route = "anthropic/claude-opus-5".parse().unwrap();
        let opened = SessionOpened {
            id: SessionId::new("s").unwrap(),
            parent: None,
            spawned: None,
            root: "/w".into(),
            cwd: "/w".into(),
            route: route.clone(),
            mode: Mode::Execute,
            sterna: "test".into(),
        };
        let failed = |attempt: u32| {
            Body::Attempt(Box::new(Attempt {
                key: "s/1/1/model/0".parse().unwrap(),
                attempt,
                route: route.clone(),
                failure: ProviderFailure {
                    class: ErrorClass::Overloaded,
                    status: Some(529),
                    message: "busy".into(),
                    retry_after_ms: None,
                    billed: Billed::default(),
                },
                wait_ms: 0,
                retry_at: Some(now),
            }))
        };
        let bodies = std::iter::once(Body::SessionOpened(opened)).chain((1..=5).map(failed));
        let append = Append {
            session: SessionId::new("s").unwrap(),
            expect: Expect::New(Some(lease)),
            id: "open".into(),
            records: bodies.map(|body| Draft { at: now, turn: Some(1), step: Some(1), body }).collect(),
            blobs: vec![],
        };
        store.append(append).await.unwrap();
    };
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(write);
    let row = &report(&world.sterna(&["doctor", "--json"]))["routes"][0];
    assert_eq!((&row["route"], &row["failures"]), (&json!("anthropic/claude-opus-5"), &json!(5)));
    assert_eq!((&row["class"], &row["answered"]), (&json!("overloaded"), &json!(false)));
    assert!((1..=60).contains(&row["open_s"].as_u64().unwrap()), "{row}");
    let text = world.sterna(&["doctor"]).out;
    assert!(text.contains("routes that failed lately") && text.contains("its breaker is open"), "{text}");
}

#[test]
fn a_server_on_this_machine_is_found() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).unwrap();
            assert!(request[..read].starts_with(b"GET /v1/models"));
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}").unwrap();
        }
    });
    let world = World::new("");
    world.config(&format!("[providers.near]\nwire = \"openai_chat\"\nbase_url = \"{url}\""));
    let found = report(&world.sterna(&["doctor", "--json"]));
    let server = found["local_servers"].as_array().unwrap().iter().find(|s| s["name"] == "near").unwrap();
    assert_eq!(server, &json!({"name": "near", "base_url": url, "answers": true}));
}

#[test]
fn completions_know_the_commands() {
    let world = World::new("");
    for shell in ["bash", "zsh", "fish"] {
        let done = world.sterna(&["completions", shell]);
        assert_eq!(done.code, 0);
        assert!(done.out.contains("resume") && done.out.contains("fsck"), "{shell}");
    }
    assert_eq!(world.sterna(&["completions", "cmd"]).code, 2);
}
