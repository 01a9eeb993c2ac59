//! Providers that stop in the middle of what they say.

#![allow(clippy::unwrap_used)]

mod support;

use serde_json::Value;
use sterna_testkit::{Api, Chunk, Exchange, Reply, ScriptServer};
use support::{World, lines_of};

const WIRES: [(Api, &str, &str); 2] =
    [(Api::OpenAiChat, "openai_chat", "/v1"), (Api::Anthropic, "anthropic", "")];

/// A world whose model is this server; it loses patience soon.
fn world(server: &ScriptServer, wire: &str, path: &str) -> World {
    let world = World::new("");
    let url = server.url();
    world.config(&format!(
        "model = \"mine/m\"\n[providers.mine]\nwire = \"{wire}\"\nbase_url = \"{url}{path}\"\ntimeouts = {{ idle_s = 0.2 }}\n"
    ));
    world
}

/// Where the bytes of this text end in an answer.
fn after(exchange: &Exchange, text: &str) -> usize {
    let bytes: Vec<u8> = exchange.bytes().copied().collect();
    let at = bytes.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
    at + text.len()
}

fn of_type<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["type"] == kind).collect()
}

/// SC-57: half an event, and then silence: the attempt is given up in time and made again; its half is in no message.
#[test]
fn half_an_event_and_then_silence_is_tried_again() {
    for (api, wire, path) in WIRES {
        let whole = Exchange::reply_text(api, "all that I say");
        // In the middle of the JSON of the second piece of text.
        let half = whole.clone().then_at(after(&whole, "t I s"), Chunk::Hang);
        let server = ScriptServer::start(vec![half, whole]).unwrap();
        let world = world(&server, wire, path);
        let done = world.sterna(&["run", "--json", "--session", "s", "go"]);
        let events = done.events();
        assert_eq!(
            (done.code, done.result()["message"].as_str()),
            (0, Some("all that I say")),
            "{}",
            done.err
        );
        assert_eq!(server.requests().len(), 2);
        assert_eq!(of_type(&events, "model.reset").len(), 1, "{wire}: {}", done.out);
        assert_eq!(of_type(&events, "retry.waiting").len(), 1, "{wire}: {}", done.out);
        let shown = world.sterna(&["sessions", "show", "s", "--json"]).events();
        let texts: Vec<&str> =
            of_type(&shown, "model.ended").iter().filter_map(|event| event["text"].as_str()).collect();
        assert_eq!(texts, ["all that I say"]);
        assert_eq!(world.sterna(&["replay", "s"]).code, 0);
    }
}

/// SC-57: cut in the middle of a call's arguments: that call is never run, and the whole one runs once.
#[test]
fn a_call_that_was_cut_is_never_run() {
    for (api, wire, path) in WIRES {
        let call = Reply::calls(&[("c1", "shell", r#"{"command":"echo x >> made"}"#)]);
        let whole = Exchange::reply(api, &call);
        let cut = whole.clone().then_at(after(&whole, "ho x"), Chunk::Cut);
        let text = Exchange::reply_text(api, "made it");
        let server = ScriptServer::start(vec![cut, whole, text]).unwrap();
        let world = world(&server, wire, path);
        let done = world.sterna(&["run", "--json", "--mode", "bypass", "--session", "s", "go"]);
        assert_eq!((done.code, done.result()["message"].as_str()), (0, Some("made it")), "{}", done.err);
        assert_eq!(lines_of(&world.work().join("made")), 1);
        assert_eq!(of_type(&done.events(), "tool.started").len(), 1);
        assert_eq!(server.requests().len(), 3);
        assert_eq!(world.sterna(&["sessions", "fsck", "s"]).code, 0);
    }
}

/// A provider that stays away ends the turn by name, says what to do, and keeps what was said.
#[test]
fn a_provider_that_fails_for_good_loses_no_input() {
    let (api, wire, path) = WIRES[0];
    let whole = Exchange::reply_text(api, "all that I say");
    let half = whole.clone().then_at(after(&whole, "t I s"), Chunk::Hang);
    let refused = Exchange::error_message(401, "auth", "the key has expired", None);
    let server = ScriptServer::start(vec![half, refused, whole]).unwrap();
    let world = world(&server, wire, path);
    let done = world.sterna(&["run", "--session", "s", "remember the zebra"]);
    // What was said before the connection was lost may have been shown, as all text is shown as it comes.
    assert_eq!(done.code, 5, "{}", done.err);
    assert!(done.err.contains("error: stopped (provider_failed): auth: the key has expired"), "{}", done.err);
    assert!(done.err.contains("hint: `sterna run --session s \"go on\"` tries again"), "{}", done.err);
    let shown = world.sterna(&["sessions", "show", "s", "--json"]).events();
    assert_eq!(of_type(&shown, "input.accepted")[0]["text"], "remember the zebra");
    assert_eq!(of_type(&shown, "result")[0]["stop"], "provider_failed");
    // The same end is told again, and the session works on with all that was said.
    assert_eq!(world.sterna(&["resume", "s", "--json"]).code, 5);
    let next = world.sterna(&["run", "--json", "--session", "s", "go on"]);
    assert_eq!((next.code, next.result()["message"].as_str()), (0, Some("all that I say")), "{}", next.err);
    let last = server.requests().pop().unwrap();
    assert!(String::from_utf8_lossy(&last.body).contains("remember the zebra"));
}
