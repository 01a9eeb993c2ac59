//! Recorded streams, whole, cut at every byte and in pieces of every size.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use sterna_llm::wire::{self, Decoder};
use sterna_llm::{ModelReply, StreamEvent};
use sterna_model::{
    Billed, ErrorClass, ModelStop, Opaque, Part, Phase, ProviderFailure, Reasoning, Route, Segment, ToolCall,
    Usage,
};

type Decoded = (Vec<StreamEvent>, Result<ModelReply, ProviderFailure>);

fn route() -> Route {
    Route { provider: "p".into(), model: "m".into() }
}

fn decoder(name: &str) -> Box<dyn Decoder> {
    wire::by_name(name).unwrap().decoder(&route())
}

fn decode(name: &str, pieces: &[&[u8]], complete: bool) -> Decoded {
    let mut decoder = decoder(name);
    let mut events = Vec::new();
    for piece in pieces {
        if let Err(failure) = decoder.push(piece, &mut |event| events.push(event)) {
            return (events, Err(failure));
        }
    }
    let result = decoder.finish(complete, &mut |event| events.push(event));
    (events, result)
}

/// The events as one line: `<T"text"T>` is a text segment with one delta.
fn shown(events: &[StreamEvent]) -> String {
    let mut line = String::new();
    for event in events {
        let kind = match event.segment {
            Segment::Text => 'T',
            Segment::Reasoning => 'R',
            Segment::ToolCall => 'C',
        };
        match event.phase {
            Phase::Start => line.push_str(&format!("<{kind}{}", event.name.as_deref().unwrap_or_default())),
            Phase::Delta => line.push_str(&format!("{:?}", event.text)),
            Phase::End => line.push_str(&format!("{kind}>")),
        }
    }
    line
}

/// A stream with its oracle. Every proper prefix that lacks the end is a named failure, and pieces do not matter.
fn check(name: &str, stream: &[u8], live: &str, parts: &[Part], stop: ModelStop, usage: Usage, raw: &str) {
    let (events, result) = decode(name, &[stream], true);
    let raw = (!raw.is_empty()).then(|| raw.to_owned());
    let billed = Billed { usage, cost: None, estimated: false, raw };
    assert_eq!(result, Ok(ModelReply { parts: parts.to_vec(), stop, billed }));
    assert_eq!(shown(&events), live);

    let whole = (events, result);
    for cut in 1..stream.len() {
        assert_eq!(decode(name, &[&stream[..cut], &stream[cut..]], true), whole, "in two, cut at {cut}");
    }
    for size in [1, 2, 3, 7, 64] {
        let pieces: Vec<&[u8]> = stream.chunks(size).collect();
        assert_eq!(decode(name, &pieces, true), whole, "in pieces of {size}");
    }
    let ends_at = terminal(name, stream);
    for cut in 0..stream.len() {
        let (_, result) = decode(name, &[&stream[..cut]], false);
        match ends_at {
            Some(end) if cut >= end => assert!(result.is_ok(), "after the terminal event, cut at {cut}"),
            _ => assert_eq!(result.unwrap_err().class, ErrorClass::StreamCut, "cut at {cut}"),
        }
    }
}

/// Where the terminal event's blank line begins its last byte: from there on nothing is missing.
fn terminal(name: &str, stream: &[u8]) -> Option<usize> {
    let mark: &[u8] = if name == "anthropic" { br#"{"type":"message_stop"}"# } else { b"[DONE]" };
    let at = stream.windows(mark.len()).rposition(|window| window == mark)? + mark.len();
    // Two newlines, or the first three bytes of `\r\n\r\n`: a carriage return ends the line by itself.
    Some(at + if stream[at] == b'\r' { 3 } else { 2 })
}

fn text(text: &str) -> Part {
    Part::Text(text.into())
}

fn call(id: &str, name: &str, arguments: &str) -> Part {
    Part::ToolCall(ToolCall {
        id: id.into(),
        name: name.into(),
        arguments: arguments.into(),
        truncated: false,
    })
}

fn tokens(input_uncached: u64, output: u64) -> Usage {
    Usage { input_uncached, output, ..Usage::default() }
}

#[test]
fn chat_text_with_cache_and_reasoning_tokens() {
    check(
        "openai_chat",
        include_bytes!("recordings/openai_chat-text.sse"),
        r#"<T"Grüße ""😀\n"T>"#,
        &[text("Grüße 😀\n")],
        ModelStop::EndTurn,
        Usage { input_uncached: 86, cache_read: 1_920, output: 300, reasoning: 120, ..Usage::default() },
        concat!(
            r#"{"prompt_tokens":2006,"completion_tokens":300,"total_tokens":2306,"prompt_tokens_details":"#,
            r#"{"cached_tokens":1920,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":120,"#,
            r#""audio_tokens":0}}"#
        ),
    );
}

#[test]
fn chat_reasoning_and_a_chunk_of_two_kinds() {
    check(
        "openai_chat",
        include_bytes!("recordings/openai_chat-reasoning-crlf.sse"),
        r#"<R"pl""an"R><T"o""k"T>"#,
        &[Part::Reasoning(Reasoning { text: "plan".into(), opaque: None }), text("ok")],
        ModelStop::EndTurn,
        tokens(7, 3),
        r#"{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}"#,
    );
}

#[test]
fn chat_calls_interleaved_late_and_degenerate() {
    let derived = format!("call_{}_2", &blake3::hash(b"c-7").to_hex()[..12]);
    check(
        "openai_chat",
        include_bytes!("recordings/openai_chat-calls.sse"),
        concat!(
            r#"<CC><Cread"{\"pa"C><C"{\"x\""C><Cread"th\":\"a\"}"C>"#,
            r#"<Cglob":1}"C><C"{\"lost\":true}"C><CtodoC>"#
        ),
        &[
            call("call_a", "read", r#"{"path":"a"}"#),
            call("call_b", "glob", r#"{"x":1}"#),
            call(&derived, "todo", "{}"),
        ],
        ModelStop::ToolCalls,
        tokens(50, 20),
        r#"{"prompt_tokens":50,"completion_tokens":20,"total_tokens":70}"#,
    );
}

#[test]
fn chat_calls_that_share_an_index() {
    check(
        "openai_chat",
        include_bytes!("recordings/openai_chat-same-index.sse"),
        r#"<T"Two."T><Cread"{\"path\":\"a\"}"C><Cread"{\"path\":\"b\"}"C>"#,
        &[text("Two."), call("f1", "read", r#"{"path":"a"}"#), call("f2", "read", r#"{"path":"b"}"#)],
        ModelStop::ToolCalls,
        Usage::default(),
        "",
    );
}

#[test]
fn chat_cut_by_the_output_limit_inside_arguments() {
    let arguments = r#"{"path":"a","text":"once up"#.into();
    check(
        "openai_chat",
        include_bytes!("recordings/openai_chat-cut-in-call.sse"),
        r#"<T"I write"T><Cread"{}"C><Cwrite"{\"path\":\"a\",\"text\":\"once up"C>"#,
        &[
            text("I write"),
            call("w1", "read", "{}"),
            Part::ToolCall(ToolCall { id: "w2".into(), name: "write".into(), arguments, truncated: true }),
        ],
        ModelStop::MaxOutput,
        tokens(5, 16),
        r#"{"prompt_tokens":5,"completion_tokens":16,"total_tokens":21}"#,
    );
}

#[test]
fn chat_without_done_needs_a_whole_body() {
    check(
        "openai_chat",
        include_bytes!("recordings/openai_chat-no-done.sse"),
        r#"<T"whole"T>"#,
        &[text("whole")],
        ModelStop::EndTurn,
        // The total says that reasoning is counted beside the completion.
        Usage { input_uncached: 4, output: 7, reasoning: 6, ..Usage::default() },
        concat!(
            r#"{"prompt_tokens":4,"completion_tokens":1,"total_tokens":11,"completion_tokens_details":"#,
            r#"{"reasoning_tokens":6}}"#
        ),
    );
    // Without a finish reason a whole body is not enough.
    let (_, result) =
        decode("openai_chat", &[b"data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n"], true);
    assert_eq!(result.unwrap_err().class, ErrorClass::StreamCut);
}

#[test]
fn chat_refusal() {
    check(
        "openai_chat",
        include_bytes!("recordings/openai_chat-refused.sse"),
        r#"<T"I cannot."T>"#,
        &[text("I cannot.")],
        ModelStop::Refused,
        tokens(9, 3),
        r#"{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}"#,
    );
}

#[test]
fn messages_text_with_both_caches() {
    check(
        "anthropic",
        include_bytes!("recordings/anthropic-text.sse"),
        r#"<T"Hallo, ""Wörld!"T>"#,
        &[text("Hallo, Wörld!")],
        ModelStop::EndTurn,
        Usage {
            input_uncached: 25,
            cache_read: 4_000,
            cache_write_5m: 1_200,
            cache_write_1h: 100,
            output: 15,
            reasoning: 0,
        },
        concat!(
            r#"{"cache_creation":{"ephemeral_1h_input_tokens":100,"ephemeral_5m_input_tokens":1200},"#,
            r#""cache_creation_input_tokens":1300,"cache_read_input_tokens":4000,"input_tokens":25,"#,
            r#""output_tokens":15,"service_tier":"standard"}"#
        ),
    );
}

#[test]
fn messages_with_every_kind_of_block() {
    let opaque = |json: &str| Opaque { route: route(), json: json.into() };
    check(
        "anthropic",
        include_bytes!("recordings/anthropic-everything.sse"),
        concat!(r#"<R"Let me ""look."R><T"I read both."T>"#, r#"<Cread"{\"path\": \"a"".rs\"}"C><CtodoC>"#),
        &[
            Part::Reasoning(Reasoning {
                text: "Let me look.".into(),
                opaque: Some(opaque(
                    r#"{"signature":"EqQBCg+/==","thinking":"Let me look.","type":"thinking"}"#,
                )),
            }),
            Part::Reasoning(Reasoning {
                text: String::new(),
                opaque: Some(opaque(r#"{"type":"redacted_thinking", "data":"Emw/KAh\u00e9=="}"#)),
            }),
            text("I read both."),
            Part::Opaque(opaque(
                r#"{"id":"srvtoolu_1","input":{"query":"x"},"name":"web_search","type":"server_tool_use"}"#,
            )),
            call("toolu_1", "read", r#"{"path": "a.rs"}"#),
            call("toolu_2", "todo", "{}"),
        ],
        ModelStop::ToolCalls,
        tokens(10, 89),
        concat!(
            r#"{"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"input_tokens":10,"#,
            r#""output_tokens":89}"#
        ),
    );
}

#[test]
fn messages_cut_by_the_output_limit_inside_arguments() {
    let arguments = r#"{"path":"a","te"#.into();
    check(
        "anthropic",
        include_bytes!("recordings/anthropic-cut-in-call.sse"),
        r#"<Cwrite"{\"path\":\"a\",\"te"C>"#,
        &[Part::ToolCall(ToolCall {
            id: "toolu_9".into(),
            name: "write".into(),
            arguments,
            truncated: true,
        })],
        ModelStop::MaxOutput,
        Usage { input_uncached: 10, cache_write_5m: 7, output: 16, ..Usage::default() },
        r#"{"cache_creation_input_tokens":7,"input_tokens":10,"output_tokens":16}"#,
    );
}

#[test]
fn messages_refusal() {
    check(
        "anthropic",
        include_bytes!("recordings/anthropic-refused.sse"),
        "",
        &[],
        ModelStop::Refused,
        tokens(3, 2),
        r#"{"input_tokens":3,"output_tokens":2}"#,
    );
}

#[test]
fn errors_in_mid_stream_are_classified_and_billed() {
    let fails = |name: &str, stream: &str, class: ErrorClass, message: &str, input: u64| {
        let (_, result) = decode(name, &[stream.as_bytes()], true);
        let failure = result.unwrap_err();
        let seen = (failure.class, failure.message.as_str(), failure.billed.usage.input_uncached);
        assert_eq!(seen, (class, message, input));
        assert!(failure.billed.estimated);
    };
    let start =
        r#"{"type":"message_start","message":{"id":"m","usage":{"input_tokens":12,"output_tokens":1}}}"#;
    let error = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    let stream = format!("data: {start}\n\nevent: error\ndata: {error}\n\n");
    fails("anthropic", &stream, ErrorClass::Overloaded, "Overloaded", 12);
    let stream = "data: {\"error\":{\"message\":\"upstream\",\"code\":502},\"choices\":[{\"delta\":{}}]}\n\n";
    fails("openai_chat", stream, ErrorClass::Server, "upstream", 0);
    let stream = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"error\"}]}\n\ndata: [DONE]\n\n";
    let message = "the provider gave up in the middle of the answer";
    fails("openai_chat", stream, ErrorClass::Overloaded, message, 0);
}

#[test]
fn a_given_up_answer_keeps_text_and_reasoning_but_no_call() {
    let chat = include_bytes!("recordings/openai_chat-cut-in-call.sse");
    let mut decoder = decoder("openai_chat");
    decoder.push(chat, &mut |_| {}).unwrap();
    assert_eq!(decoder.partial(), [text("I write")]);

    let messages = include_bytes!("recordings/anthropic-everything.sse");
    let mut decoder = self::decoder("anthropic");
    decoder.push(messages, &mut |_| {}).unwrap();
    let reasoning = Part::Reasoning(Reasoning { text: "Let me look.".into(), opaque: None });
    assert_eq!(decoder.partial(), [reasoning, text("I read both.")]);
}

#[test]
fn hostile_streams_end_with_a_name() {
    let many: String = (0..1_100)
        .map(|at| {
            format!("data: {{\"choices\":[{{\"delta\":{{\"tool_calls\":[{{\"index\":{at}}}]}}}}]}}\n\n")
        })
        .collect();
    let (_, result) = decode("openai_chat", &[many.as_bytes()], true);
    assert_eq!(result.unwrap_err().message, "the answer holds more than 1024 tool calls");
    let many: String = (0..1_100)
        .map(|at| {
            format!("data: {{\"type\":\"content_block_start\",\"index\":{at},\"content_block\":{{}}}}\n\n")
        })
        .collect();
    let (_, result) = decode("anthropic", &[many.as_bytes()], true);
    assert_eq!(result.unwrap_err().message, "the answer holds more than 1024 blocks");
    let deep = format!("data: {}\n\n", "[".repeat(200_000));
    for name in ["openai_chat", "anthropic"] {
        assert_eq!(decode(name, &[deep.as_bytes()], true).1.unwrap_err().class, ErrorClass::StreamCut);
    }
}

/// Lines that look like a stream, so that random ones get past the first check.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        r#"{"choices":[{"delta":{"content":"x"}}]}"#,
        r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{"}}]}}]}"#,
        r#"{"choices":[{"delta":{"tool_calls":[{"function":{"arguments":[1]}}],"content":[{"text":"y"},7]}}]}"#,
        r#"{"choices":null,"usage":{"prompt_tokens":-1,"completion_tokens":18446744073709551615}}"#,
        r#"{"type":"message_start","message":{"usage":{"input_tokens":"x","output_tokens":18446744073709551615}}}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","name":"f"}}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking"}}"#,
        r#"{"type":"content_block_start","index":1,"content_block":7}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"partial_json":"{","thinking":"t","text":"x"}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"max_tokens"},"usage":{"output_tokens":null}}"#,
    ]);
    prop_oneof![
        8 => known.prop_map(|data| format!("data: {data}\n\n").into_bytes()),
        1 => proptest::collection::vec(any::<u8>(), 0..40),
        1 => proptest::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| [b"data: ", &bytes[..], b"\n\n"].concat()),
    ]
}

proptest! {
    #[test]
    fn random_bytes_never_panic_and_never_succeed(lines in proptest::collection::vec(line(), 0..12), whole: bool) {
        let stream = lines.concat();
        for name in ["openai_chat", "anthropic"] {
            let (events, result) = decode(name, &[&stream], whole);
            prop_assert!(result.is_err(), "{name} took {:?}", String::from_utf8_lossy(&stream));
            // Segments never overlap.
            let mut open = None;
            for event in events {
                match event.phase {
                    Phase::Start => prop_assert!(open.replace(event.segment).is_none()),
                    Phase::Delta => prop_assert_eq!(open, Some(event.segment)),
                    Phase::End => prop_assert_eq!(open.take(), Some(event.segment)),
                }
            }
        }
    }

    #[test]
    fn after_the_end_nothing_counts(rest in proptest::collection::vec(any::<u8>(), 0..60)) {
        for (name, stream) in [
            ("openai_chat", &include_bytes!("recordings/openai_chat-text.sse")[..]),
            ("anthropic", &include_bytes!("recordings/anthropic-text.sse")[..]),
        ] {
            let whole = decode(name, &[stream], true);
            prop_assert_eq!(decode(name, &[stream, &rest], false), whole);
        }
    }
}
