//! Requests as bytes: golden bodies written by hand, and a warm cache that never shows.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;
use sterna_llm::{CallResult, EncodeCache, Encoded, Item, Request, SystemPart, wire};
use sterna_model::{Opaque, Part, Reasoning, Route, ToolCall, ToolSpec};

fn request(route: &str) -> Request {
    Request {
        route: route.parse().unwrap(),
        system: Arc::new([]),
        tools: Arc::new([]),
        items: Vec::new(),
        tail: String::new(),
        tools_off: false,
        max_output: 100,
        temperature: None,
    }
}

fn system(parts: &[(&str, bool)]) -> Arc<[SystemPart]> {
    parts.iter().map(|(text, boundary)| SystemPart { text: text.to_string(), boundary: *boundary }).collect()
}

fn tools() -> Arc<[ToolSpec]> {
    let tool =
        |name: &str, schema| ToolSpec { name: name.into(), description: format!("Does {name}."), schema };
    Arc::new([
        tool("glob", json!({"type": "object"})),
        tool("read", json!({"type": "object", "required": ["path"]})),
    ])
}

fn user(texts: &[&str]) -> Arc<Item> {
    Arc::new(Item::User(texts.iter().map(|text| text.to_string()).collect()))
}

fn answer(parts: &[Part]) -> Arc<Item> {
    Arc::new(Item::Assistant(parts.to_vec()))
}

fn results(results: &[(&str, &str, bool)]) -> Arc<Item> {
    let one = |(id, text, failed): &(&str, &str, bool)| CallResult {
        call_id: id.to_string(),
        name: "read".into(),
        text: text.to_string(),
        failed: *failed,
    };
    Arc::new(Item::Results(results.iter().map(one).collect()))
}

fn text(text: &str) -> Part {
    Part::Text(text.into())
}

fn call(id: &str, arguments: &str) -> Part {
    Part::ToolCall(ToolCall {
        id: id.into(),
        name: "read".into(),
        arguments: arguments.into(),
        truncated: false,
    })
}

fn thought(route: &str, json: &str) -> Part {
    let opaque = Opaque { route: route.parse().unwrap(), json: json.into() };
    Part::Reasoning(Reasoning { text: "hm".into(), opaque: Some(opaque) })
}

fn encode(name: &str, request: &Request) -> Encoded {
    wire::by_name(name).unwrap().encode(request, &mut EncodeCache::default())
}

fn check(name: &str, request: &Request, body: &str) {
    let encoded = encode(name, request);
    assert_eq!(String::from_utf8_lossy(&encoded.body()), body);
    serde_json::from_str::<serde_json::Value>(body).unwrap();
    // The hash is of the body in one piece, and the size is its size.
    assert_eq!(encoded.hash.0, *blake3::hash(body.as_bytes()).as_bytes());
    assert_eq!(encoded.bytes, body.len() as u64);
}

/// A history with everything that the wires treat in their own way.
fn everything(route: &str) -> Request {
    Request {
        system: system(&[("You are Sterna.", true), ("", false), ("In /w.", true)]),
        tools: tools(),
        items: vec![
            user(&["Grüße \"😀\"\n", "", "two"]),
            answer(&[
                thought("anthropic/claude-x", r#"{"type":"thinking","thinking":"hm","signature":"s/=="}"#),
                text("Reading."),
                call("a:1", "{ \"path\" : \"x y\" }"),
                call("b2", "{\"path\":"),
            ]),
            results(&[("a:1", "line\n", false), ("b2", "", true)]),
            answer(&[call("c3", "[1]")]),
            results(&[("c3", "no", false)]),
            answer(&[Part::Reasoning(Reasoning { text: "only".into(), opaque: None })]),
        ],
        tail: "<now>".into(),
        temperature: Some(0.2),
        ..request(route)
    }
}

#[test]
fn chat_golden() {
    check(
        "openai_chat",
        &everything("groq/llama"),
        concat!(
            r#"{"model":"llama","tools":["#,
            r#"{"type":"function","function":{"name":"glob","description":"Does glob.","parameters":{"type":"object"}}},"#,
            r#"{"type":"function","function":{"name":"read","description":"Does read.","#,
            r#""parameters":{"required":["path"],"type":"object"}}}],"#,
            r#""messages":[{"role":"system","content":"You are Sterna.\n\nIn /w."},"#,
            r#"{"role":"user","content":"Grüße \"😀\"\n\ntwo"},"#,
            r#"{"role":"assistant","content":"Reading.","tool_calls":["#,
            r#"{"id":"a:1","type":"function","function":{"name":"read","arguments":"{ \"path\" : \"x y\" }"}},"#,
            r#"{"id":"b2","type":"function","function":{"name":"read","arguments":"{\"path\":"}}]},"#,
            r#"{"role":"tool","tool_call_id":"a:1","content":"line\n"},"#,
            r#"{"role":"tool","tool_call_id":"b2","content":""},"#,
            r#"{"role":"assistant","content":null,"tool_calls":["#,
            r#"{"id":"c3","type":"function","function":{"name":"read","arguments":"[1]"}}]},"#,
            r#"{"role":"tool","tool_call_id":"c3","content":"no"},"#,
            r#"{"role":"user","content":"<now>"}],"#,
            r#""max_tokens":100,"temperature":0.2,"stream":true,"stream_options":{"include_usage":true}}"#,
        ),
    );
}

#[test]
fn messages_golden() {
    check(
        "anthropic",
        &everything("anthropic/claude-x"),
        concat!(
            r#"{"model":"claude-x","tools":["#,
            r#"{"name":"glob","description":"Does glob.","input_schema":{"type":"object"}},"#,
            r#"{"name":"read","description":"Does read.","input_schema":{"required":["path"],"type":"object"},"#,
            r#""cache_control":{"type":"ephemeral"}}],"#,
            r#""system":[{"type":"text","text":"You are Sterna.","cache_control":{"type":"ephemeral"}},"#,
            r#"{"type":"text","text":"In /w.","cache_control":{"type":"ephemeral"}}],"#,
            r#""messages":[{"role":"user","content":["#,
            r#"{"type":"text","text":"Grüße \"😀\"\n"},{"type":"text","text":"two"}]},"#,
            r#"{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"s/=="},"#,
            r#"{"type":"text","text":"Reading."},"#,
            r#"{"type":"tool_use","id":"a_1","name":"read","input":{"path":"x y"}},"#,
            r#"{"type":"tool_use","id":"b2","name":"read","input":{"invalid_arguments":"{\"path\":"}}]},"#,
            r#"{"role":"user","content":[{"type":"tool_result","tool_use_id":"a_1","content":"line\n"},"#,
            r#"{"type":"tool_result","tool_use_id":"b2","is_error":true}]},"#,
            r#"{"role":"assistant","content":["#,
            r#"{"type":"tool_use","id":"c3","name":"read","input":{"invalid_arguments":"[1]"}}]},"#,
            r#"{"role":"user","content":[{"type":"tool_result","tool_use_id":"c3","content":"no","#,
            r#""cache_control":{"type":"ephemeral"}},{"type":"text","text":"<now>"}]}],"#,
            r#""max_tokens":100,"temperature":0.2,"stream":true}"#,
        ),
    );
}

#[test]
fn tools_off_keeps_the_list_and_chooses_none() {
    let with = |route: &str, tools_off| Request {
        tools: tools(),
        tools_off,
        items: vec![user(&["x"])],
        ..request(route)
    };
    for (name, route, choice) in [
        ("openai_chat", "groq/m", r#","tool_choice":"none""#),
        ("anthropic", "anthropic/m", r#","tool_choice":{"type":"none"}"#),
    ] {
        let on = String::from_utf8(encode(name, &with(route, false)).body().to_vec()).unwrap();
        let off = String::from_utf8(encode(name, &with(route, true)).body().to_vec()).unwrap();
        assert_eq!(off.replace(choice, ""), on);
        assert!(off.contains(choice) && !on.contains("tool_choice"));
        // Without tools there is nothing to switch off, and the wires refuse a choice.
        let none = Request { tools_off: true, items: vec![user(&["x"])], ..request(route) };
        assert!(!String::from_utf8_lossy(&encode(name, &none).body()).contains("tool_choice"));
    }
}

#[test]
fn small_bodies() {
    let one = |route: &str, items: &[Arc<Item>]| Request { items: items.to_vec(), ..request(route) };
    let usage = r#""stream":true,"stream_options":{"include_usage":true}}"#;
    let chat = |model: &str, messages: &str, limit: &str| {
        format!(r#"{{"model":"{model}","messages":[{messages}],"{limit}":100,{usage}"#)
    };
    let hi = r#"{"role":"user","content":"hi"}"#;
    check("openai_chat", &one("groq/m", &[user(&["hi"])]), &chat("m", hi, "max_tokens"));
    // The endpoint's own name stands in for a model without one.
    check("openai_chat", &one("local", &[user(&["hi"])]), &chat("local", hi, "max_tokens"));
    check("openai_chat", &one("openai/m", &[user(&["hi"])]), &chat("m", hi, "max_completion_tokens"));
    let plain = r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"max_tokens":100,"stream":true}"#;
    check("openai_chat", &one("mistral/m", &[user(&["hi"])]), plain);
    // Nothing but what was dropped: no message at all.
    check("openai_chat", &one("groq/m", &[answer(&[]), user(&[""])]), &chat("m", "", "max_tokens"));
    let empty = r#"{"model":"m","messages":[],"max_tokens":100,"stream":true}"#;
    check("anthropic", &one("anthropic/m", &[answer(&[]), user(&[" \n"])]), empty);
}

#[test]
fn answers_in_a_row_are_one_message_where_the_wire_wants_it() {
    let request = Request {
        items: vec![user(&["go"]), answer(&[text("one ")]), answer(&[text("two")])],
        tail: "go on".into(),
        ..request("anthropic/m")
    };
    check(
        "anthropic",
        &request,
        concat!(
            r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"go","#,
            r#""cache_control":{"type":"ephemeral"}}]},{"role":"assistant","content":["#,
            r#"{"type":"text","text":"one "},{"type":"text","text":"two"}]},"#,
            r#"{"role":"user","content":[{"type":"text","text":"go on"}]}],"max_tokens":100,"stream":true}"#,
        ),
    );
}

#[test]
fn opaque_state_goes_back_to_its_route_alone() {
    let signed = r#"{"type":"thinking", "thinking":"h\u00e9","signature":"s"}"#;
    let block = r#"{"type":"server_tool_use","id":"x"}"#;
    let route: Route = "anthropic/a".parse().unwrap();
    let parts =
        [thought("anthropic/a", signed), Part::Opaque(Opaque { route, json: block.into() }), text("t")];
    let to = |name: &str, route: &str| {
        let request = Request { items: vec![user(&["q"]), answer(&parts)], ..request(route) };
        String::from_utf8(encode(name, &request).body().to_vec()).unwrap()
    };
    let home = to("anthropic", "anthropic/a");
    assert!(home.contains(&format!("[{signed},{block},{{\"type\":\"text\"")), "{home}");
    for (name, route) in [("anthropic", "anthropic/b"), ("anthropic", "proxy/a"), ("openai_chat", "groq/m")] {
        let away = to(name, route);
        assert!(!away.contains("signature") && !away.contains("server_tool_use"), "{away}");
    }
    // A broken opaque part, from a log that somebody edited, cannot break the body.
    let broken = Request {
        items: vec![answer(&[thought("anthropic/a", "{}]"), text("t")])],
        ..request("anthropic/a")
    };
    serde_json::from_slice::<serde_json::Value>(&encode("anthropic", &broken).body()).unwrap();
}

#[test]
fn no_more_marks_than_the_wire_allows() {
    let many: Vec<(String, bool)> = (0..6).map(|at| (format!("part {at}"), true)).collect();
    let many: Vec<(&str, bool)> = many.iter().map(|(text, boundary)| (text.as_str(), *boundary)).collect();
    let marks = |parts: &[(&str, bool)], tools: Arc<[ToolSpec]>| {
        let items = (0..6).flat_map(|_| [user(&["q"]), answer(&[text("a")])]).collect();
        let request = Request { system: system(parts), tools, items, ..request("anthropic/m") };
        let body = String::from_utf8(encode("anthropic", &request).body().to_vec()).unwrap();
        body.matches("cache_control").count()
    };
    assert_eq!(marks(&many, tools()), 4);
    assert_eq!(marks(&many[..1], tools()), 4);
    assert_eq!(marks(&many[..1], Arc::new([])), 3);
    assert_eq!(marks(&[], Arc::new([])), 2);
}

#[test]
fn unchanged_history_is_shared_and_not_encoded_again() {
    let mut request = Request { items: vec![user(&["q"]), answer(&[text("a")])], ..request("groq/m") };
    let wire = wire::by_name("openai_chat").unwrap();
    let mut cache = EncodeCache::default();
    let first = wire.encode(&request, &mut cache);
    request.items.push(user(&["more"]));
    let second = wire.encode(&request, &mut cache);
    let shared =
        first.chunks.iter().zip(&second.chunks).take_while(|(a, b)| a.as_ptr() == b.as_ptr()).count();
    assert_eq!(shared, first.chunks.len() - 1);
}

/// What a session may do between two requests.
#[derive(Debug, Clone)]
enum Move {
    Push(Arc<Item>),
    /// A rewind, or a fork's start.
    Shrink(prop::sample::Index),
    /// A rewind and another item at once: the length says nothing.
    Swap(Arc<Item>),
    /// A frame switch: the first items go.
    DropFirst,
    System(u8),
    Tools(bool),
    Route(bool),
    Tail(&'static str, bool, u32),
}

fn item() -> impl Strategy<Value = Arc<Item>> {
    prop::sample::select(vec![
        user(&["hello"]),
        user(&[""]),
        user(&["a", "b"]),
        answer(&[text("yes")]),
        answer(&[]),
        answer(&[thought("p/a", r#"{"type":"thinking"}"#)]),
        answer(&[thought("p/a", r#"{"type":"thinking"}"#), text("x"), call("i", "{}"), call("j", "{")]),
        results(&[("i", "ok", false), ("j", "", true)]),
        results(&[]),
    ])
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        6 => item().prop_map(Move::Push),
        1 => any::<prop::sample::Index>().prop_map(Move::Shrink),
        1 => item().prop_map(Move::Swap),
        1 => Just(Move::DropFirst),
        1 => (0u8..3).prop_map(Move::System),
        1 => any::<bool>().prop_map(Move::Tools),
        1 => any::<bool>().prop_map(Move::Route),
        2 => (prop::sample::select(vec!["", "now", "later"]), any::<bool>(), 1u32..3)
            .prop_map(|(tail, off, limit)| Move::Tail(tail, off, limit)),
    ];
    proptest::collection::vec(one, 1..30)
}

proptest! {
    #[test]
    fn a_warm_cache_never_shows(moves in moves()) {
        for name in ["openai_chat", "anthropic"] {
            let wire = wire::by_name(name).unwrap();
            let mut warm = EncodeCache::default();
            let mut request = request("p/a");
            for step in moves.clone() {
                match step {
                    Move::Push(item) => request.items.push(item),
                    Move::Shrink(at) => {
                        let len = at.index(request.items.len() + 1);
                        request.items.truncate(len);
                    }
                    Move::Swap(item) => {
                        request.items.pop();
                        request.items.push(item);
                    }
                    Move::DropFirst => {
                        request.items = request.items.split_off(request.items.len().min(1));
                    }
                    Move::System(0) => request.system = system(&[]),
                    Move::System(kind) => request.system = system(&[("same", true), ("other", kind == 1)]),
                    Move::Tools(some) => request.tools = if some { tools() } else { Arc::new([]) },
                    Move::Route(home) => request.route = if home { "p/a" } else { "p/b" }.parse().unwrap(),
                    Move::Tail(tail, off, limit) => {
                        (request.tail, request.tools_off, request.max_output) = (tail.into(), off, limit);
                    }
                }
                let (seen, cold) = (wire.encode(&request, &mut warm), encode(name, &request));
                prop_assert_eq!(seen.body(), cold.body());
                prop_assert_eq!(seen.hash, cold.hash);
                prop_assert_eq!(seen.hash.0, *blake3::hash(&seen.body()).as_bytes());
                prop_assert_eq!(seen.bytes, seen.body().len() as u64);
                prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&seen.body()).is_ok());
            }
        }
    }

    #[test]
    fn any_text_makes_a_valid_body(words in proptest::collection::vec(any::<String>(), 4)) {
        let request = Request {
            system: system(&[(&words[0], true)]),
            items: vec![
                user(&[&words[1]]),
                answer(&[text(&words[2]), call(&words[3], &words[0])]),
                results(&[(&words[3], &words[1], true)]),
            ],
            tail: words[2].clone(),
            ..request("p/a")
        };
        for name in ["openai_chat", "anthropic"] {
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&encode(name, &request).body()).is_ok());
        }
    }
}
