//! Requests as bytes: golden bodies written by hand, and a warm cache that never shows.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;
use sterna_llm::{CallResult, EncodeCache, Encoded, Item, Request, SystemPart, wire};
use sterna_model::{Opaque, Part, Reasoning, Route, Thinking, ThinkingDialect, ToolCall, ToolSpec};

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
        schema: None,
        thinking: None,
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
        files: Vec::new(),
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

fn opaque(route: &str, json: &str) -> Part {
    Part::Opaque(Opaque { route: route.parse().unwrap(), json: json.into() })
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
fn responses_golden() {
    check(
        "openai_responses",
        &everything("openai/gpt-5"),
        concat!(
            r#"{"model":"gpt-5","tools":["#,
            r#"{"type":"function","name":"glob","description":"Does glob.","parameters":{"type":"object"},"strict":false},"#,
            r#"{"type":"function","name":"read","description":"Does read.","#,
            r#""parameters":{"required":["path"],"type":"object"},"strict":false}],"#,
            r#""instructions":"You are Sterna.\n\nIn /w.","input":["#,
            r#"{"type":"message","role":"user","content":[{"type":"input_text","text":"Grüße \"😀\"\n"},"#,
            r#"{"type":"input_text","text":"two"}]},"#,
            r#"{"type":"message","role":"assistant","content":"Reading."},"#,
            r#"{"type":"function_call","call_id":"a:1","name":"read","arguments":"{ \"path\" : \"x y\" }"},"#,
            r#"{"type":"function_call","call_id":"b2","name":"read","arguments":"{\"path\":"},"#,
            r#"{"type":"function_call_output","call_id":"a:1","output":"line\n"},"#,
            r#"{"type":"function_call_output","call_id":"b2","output":""},"#,
            r#"{"type":"function_call","call_id":"c3","name":"read","arguments":"[1]"},"#,
            r#"{"type":"function_call_output","call_id":"c3","output":"no"},"#,
            r#"{"type":"message","role":"user","content":[{"type":"input_text","text":"<now>"}]}],"#,
            r#""store":false,"include":["reasoning.encrypted_content"],"max_output_tokens":100,"temperature":0.2,"#,
            r#""stream":true}"#,
        ),
    );
}

#[test]
fn gemini_golden() {
    check(
        "gemini",
        &everything("gemini/gemini-2.5-pro"),
        concat!(
            r#"{"tools":[{"functionDeclarations":["#,
            r#"{"name":"glob","description":"Does glob.","parametersJsonSchema":{"type":"object"}},"#,
            r#"{"name":"read","description":"Does read.","#,
            r#""parametersJsonSchema":{"required":["path"],"type":"object"}}]}],"#,
            r#""systemInstruction":{"parts":[{"text":"You are Sterna."},{"text":"In /w."}]},"contents":["#,
            r#"{"role":"user","parts":[{"text":"Grüße \"😀\"\n"},{"text":"two"}]},"#,
            r#"{"role":"model","parts":[{"text":"Reading."},"#,
            r#"{"functionCall":{"id":"a:1","name":"read","args":{"path":"x y"}}},"#,
            r#"{"functionCall":{"id":"b2","name":"read","args":{"invalid_arguments":"{\"path\":"}}}]},"#,
            r#"{"role":"user","parts":["#,
            r#"{"functionResponse":{"id":"a:1","name":"read","response":{"output":"line\n"}}},"#,
            r#"{"functionResponse":{"id":"b2","name":"read","response":{"error":""}}}]},"#,
            r#"{"role":"model","parts":[{"functionCall":{"id":"c3","name":"read","args":{"invalid_arguments":"[1]"}}}]},"#,
            r#"{"role":"user","parts":[{"functionResponse":{"id":"c3","name":"read","response":{"output":"no"}}}]},"#,
            r#"{"role":"user","parts":[{"text":"<now>"}]}],"#,
            r#""generationConfig":{"maxOutputTokens":100,"temperature":0.2}}"#,
        ),
    );
}

/// The third generation refuses unsigned first calls, so calls that another model made say so.
#[test]
fn calls_of_another_model_are_marked_where_seals_are_demanded() {
    let items = vec![
        user(&["q"]),
        answer(&[call("a", "{}"), call("b", "{}")]),
        results(&[("a", "1", false), ("b", "2", false)]),
    ];
    let request = Request { items, ..request("gemini/gemini-3-pro-preview") };
    check(
        "gemini",
        &request,
        concat!(
            r#"{"contents":[{"role":"user","parts":[{"text":"q"}]},{"role":"model","parts":["#,
            r#"{"functionCall":{"id":"a","name":"read","args":{}},"thoughtSignature":"skip_thought_signature_validator"},"#,
            r#"{"functionCall":{"id":"b","name":"read","args":{}}}]},{"role":"user","parts":["#,
            r#"{"functionResponse":{"id":"a","name":"read","response":{"output":"1"}}},"#,
            r#"{"functionResponse":{"id":"b","name":"read","response":{"output":"2"}}}]}],"#,
            r#""generationConfig":{"maxOutputTokens":100}}"#,
        ),
    );
}

/// Decodes a recording and gives the answer back.
fn round(name: &str, route: &str, home: &str, recording: &[u8]) -> String {
    let wire = wire::by_name(name).unwrap();
    let mut decoder = wire.decoder(&home.parse().unwrap());
    decoder.push(recording, &mut |_| {}).unwrap();
    let reply = decoder.finish(true, &mut |_| {}).unwrap();
    let request = Request { items: vec![user(&["q"]), answer(&reply.parts)], ..request(route) };
    String::from_utf8(encode(name, &request).body().to_vec()).unwrap()
}

#[test]
fn what_responses_sent_goes_back_to_its_route_alone() {
    let body = |route, recording: &[u8]| round("openai_responses", route, "openai/o3", recording);
    let whole = |model: &str, items: &str| {
        format!(
            r#"{{"model":"{model}","input":[{{"type":"message","role":"user","content":[{{"type":"input_text","text":"q"}}]}},{items}],"store":false,"include":["reasoning.encrypted_content"],"max_output_tokens":100,"stream":true}}"#
        )
    };
    let reasoned = include_bytes!("recordings/openai_responses-reasoning.sse");
    let home = concat!(
        r#"{"id":"rs_1","type":"reasoning", "encrypted_content":"gAAAAAB\u002d_x==","summary":["#,
        r#"{"type":"summary_text","text":"Look first."},{"type":"summary_text","text":"Then read."}]},"#,
        r#"{"id":"ws_1","type":"web_search_call","status":"completed","action":{"type":"search","query":"x"}},"#,
        r#"{"type":"message","role":"assistant","content":"I read both.","phase":"commentary"}"#
    );
    assert_eq!(body("openai/o3", reasoned), whole("o3", home));
    let away = r#"{"type":"message","role":"assistant","content":"I read both."}"#;
    assert_eq!(body("openai/o4-mini", reasoned), whole("o4-mini", away));
    assert_eq!(body("proxy/o3", reasoned), whole("o3", away));
    // Calls have nothing that only their route understands.
    let calls = concat!(
        r#"{"type":"function_call","call_id":"call_a","name":"read","arguments":"{\"path\":\"a\"}"},"#,
        r#"{"type":"function_call","call_id":"call_b","name":"read","arguments":"{\"path\":\"b\"}"},"#,
        r#"{"type":"function_call","call_id":"call_c","name":"todo","arguments":"{}"}"#
    );
    let recording = include_bytes!("recordings/openai_responses-calls.sse");
    assert_eq!(body("openai/o3", recording), whole("o3", calls));
    assert_eq!(body("proxy/o3", recording), whole("o3", calls));
}

#[test]
fn what_gemini_sent_goes_back_to_its_route_alone() {
    let body = |route, recording: &[u8]| round("gemini", route, "gemini/g", recording);
    let whole = |parts: &str| {
        format!(
            r#"{{"contents":[{{"role":"user","parts":[{{"text":"q"}}]}},{{"role":"model","parts":[{parts}]}}],"generationConfig":{{"maxOutputTokens":100}}}}"#
        )
    };
    let derived = |at: usize| format!("call_{}_{at}", &blake3::hash(b"g-2").to_hex()[..12]);
    let calls = include_bytes!("recordings/gemini-calls-crlf.sse");
    let parts = |seal: &str| {
        format!(
            r#"{{"text":"I read both."}},{{"functionCall":{{"id":"fc-1","name":"read","args":{{"path":"a","n":1.50}}}}{seal}}},{{"functionCall":{{"id":"{}","name":"read","args":{{"path":"b"}}}}}},{{"functionCall":{{"id":"{}","name":"todo","args":{{}}}}}}"#,
            derived(1),
            derived(2)
        )
    };
    assert_eq!(body("gemini/g", calls), whole(&parts(r#","thoughtSignature":"SigA\u002bA==""#)));
    assert_eq!(body("gemini/h", calls), whole(&parts("")));

    let text = include_bytes!("recordings/gemini-text.sse");
    let said = r#"{"text":"Grüße 😀\n"}"#;
    let sealed = format!(r#"{said},{{"text":"","thoughtSignature":"EjQKMgEt/w=="}}"#);
    assert_eq!(body("gemini/g", text), whole(&sealed));
    assert_eq!(body("proxy/g", text), whole(said));

    let mixed = include_bytes!("recordings/gemini-stop-in-every-chunk.sse");
    let home = concat!(
        r#"{"text":"one "},{"text":"two ","thoughtSignature":"UzI="},{"text":"three "},"#,
        r#"{"executableCode":{"language":"PYTHON","code":"1+1"}},{"text":"four"}"#
    );
    assert_eq!(body("gemini/g", mixed), whole(home));

    let thought = include_bytes!("recordings/gemini-signed-thought.sse");
    let home = concat!(
        r#"{"text":"hm", "thought":true,"thoughtSignature":"VDE="},{"text":"ok"},"#,
        r#"{"text":"","thoughtSignature":"VDI="}"#
    );
    assert_eq!(body("gemini/g", thought), whole(home));
}

/// Reasoning without what it led to is refused by the wire; a seal whose part is gone still counts.
#[test]
fn opaque_state_that_nothing_follows() {
    let one = |name: &str, parts: &[Part]| {
        let request = Request { items: vec![answer(parts)], ..request("p/a") };
        String::from_utf8(encode(name, &request).body().to_vec()).unwrap()
    };
    let raw = r#"{"type":"reasoning","encrypted_content":"x"}"#;
    let alone = one("openai_responses", &[text("a"), thought("p/a", raw)]);
    assert!(alone.contains(r#""content":"a""#) && !alone.contains("reasoning"), "{alone}");
    let led = one("openai_responses", &[thought("p/a", raw), thought("p/a", raw), text("a"), text("b")]);
    let message = r#"{"type":"message","role":"assistant","content":"ab"}"#;
    assert!(led.contains(&format!("[{raw},{raw},{message}]")), "{led}");
    let labelled = one("openai_responses", &[opaque("p/a", r#"{"phase":"x"}"#)]);
    assert!(labelled.contains(r#""input":[]"#), "{labelled}");

    let seal = |text: &str| opaque("p/a", &format!(r#"{{"thoughtSignature":"{text}"}}"#));
    let lost = one("gemini", &[seal("1"), seal("2"), text("a"), seal("3")]);
    let parts = concat!(
        r#"[{"text":"","thoughtSignature":"1"},{"text":"a","thoughtSignature":"2"},"#,
        r#"{"text":"","thoughtSignature":"3"}]"#
    );
    assert!(lost.contains(parts), "{lost}");
}

#[test]
fn ids_too_long_for_responses_still_pair() {
    let long = "x".repeat(65);
    let items = vec![answer(&[call(&long, "{}")]), results(&[(&long, "r", false)])];
    let body = encode("openai_responses", &Request { items, ..request("openai/m") }).body();
    let id = format!("\"call_{}\"", &blake3::hash(long.as_bytes()).to_hex()[..40]);
    assert_eq!(String::from_utf8_lossy(&body).matches(&id).count(), 2);
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
        ("openai_responses", "openai/m", r#","tool_choice":"none""#),
        ("gemini", "gemini/m", r#","toolConfig":{"functionCallingConfig":{"mode":"NONE"}}"#),
    ] {
        let on = String::from_utf8(encode(name, &with(route, false)).body().to_vec()).unwrap();
        let off = String::from_utf8(encode(name, &with(route, true)).body().to_vec()).unwrap();
        assert_eq!(off.replace(choice, ""), on);
        assert!(off.contains(choice) && !on.contains("tool_choice") && !on.contains("toolConfig"));
        // Without tools there is nothing to switch off, and the wires refuse a choice.
        let none = Request { tools_off: true, items: vec![user(&["x"])], ..request(route) };
        let none = String::from_utf8(encode(name, &none).body().to_vec()).unwrap();
        assert!(!none.contains("tool_choice") && !none.contains("toolConfig"));
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
    // A family that does not reason is not asked for its reasoning.
    let empty = r#"{"model":"m","input":[],"store":false,"max_output_tokens":100,"stream":true}"#;
    check("openai_responses", &one("openai/m", &[answer(&[]), user(&[""])]), empty);
    let empty = r#"{"contents":[],"generationConfig":{"maxOutputTokens":100}}"#;
    check("gemini", &one("gemini/m", &[answer(&[]), user(&[""])]), empty);
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
        answer(&[opaque("p/a", r#"{"thoughtSignature":"s"}"#), call("k", "{}")]),
        answer(&[text("x"), opaque("p/a", r#"{"thoughtSignature":"s"}"#)]),
        answer(&[opaque("p/a", r#"{"phase":"commentary"}"#), text("x"), opaque("p/b", "{}")]),
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
        for name in wire::NAMES {
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
        for name in wire::NAMES {
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&encode(name, &request).body()).is_ok());
        }
    }
}

#[test]
fn each_dialect_of_thinking_is_its_wires_own() {
    use ThinkingDialect::*;
    let body = |wire: &str, route: &str, dialect, effort, max_output| -> String {
        let thinking = Some(Thinking { dialect, effort });
        let request = Request { thinking, max_output, items: vec![user(&["go"])], ..request(route) };
        let encoded = wire::by_name(wire).unwrap().encode(&request, &mut EncodeCache::default());
        String::from_utf8(encoded.body().to_vec()).unwrap()
    };
    for (wire, route, dialect, effort, max_output, expected) in [
        (
            "openai_responses",
            "openai/gpt-5.4",
            Effort,
            sterna_model::Effort::High,
            9_000,
            Some(r#","reasoning":{"effort":"high"}"#),
        ),
        (
            "openai_chat",
            "groq/openai/gpt-oss-20b",
            Effort,
            sterna_model::Effort::Low,
            9_000,
            Some(r#","reasoning_effort":"low""#),
        ),
        (
            "anthropic",
            "anthropic/claude-opus-5",
            Adaptive,
            sterna_model::Effort::Medium,
            9_000,
            Some(r#","thinking":{"type":"adaptive"},"output_config":{"effort":"medium"}"#),
        ),
        (
            "anthropic",
            "anthropic/claude-haiku-4-5",
            Budget,
            sterna_model::Effort::Medium,
            64_000,
            Some(r#","thinking":{"type":"enabled","budget_tokens":4096}"#),
        ),
        // Half of what may be written, and nothing where that is too little.
        (
            "anthropic",
            "anthropic/claude-haiku-4-5",
            Budget,
            sterna_model::Effort::High,
            9_000,
            Some(r#","thinking":{"type":"enabled","budget_tokens":4500}"#),
        ),
        ("anthropic", "anthropic/claude-haiku-4-5", Budget, sterna_model::Effort::High, 2_000, None),
        (
            "gemini",
            "gemini/gemini-3.5-flash",
            Level,
            sterna_model::Effort::Low,
            9_000,
            Some(r#","thinkingConfig":{"thinkingLevel":"low"}"#),
        ),
        (
            "gemini",
            "gemini/gemini-2.5-pro",
            Budget,
            sterna_model::Effort::High,
            9_000,
            Some(r#","thinkingConfig":{"thinkingBudget":16384}"#),
        ),
        // A dialect of another wire is not spoken.
        ("openai_chat", "mine/m", Budget, sterna_model::Effort::Low, 9_000, None),
        ("gemini", "mine/m", Effort, sterna_model::Effort::Low, 9_000, None),
    ] {
        let body = body(wire, route, dialect, effort, max_output);
        serde_json::from_str::<serde_json::Value>(&body).unwrap();
        match expected {
            Some(expected) => assert!(body.contains(expected), "{body}"),
            None => assert!(!body.contains("hinking") && !body.contains("effort"), "{body}"),
        }
    }
}
