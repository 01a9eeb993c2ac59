//! Recorded streams, whole, cut at every byte and in pieces of every size.

#![allow(clippy::unwrap_used)]

mod gemini;
mod harness;
mod openai_responses;

use proptest::prelude::*;
use sterna_llm::wire;
use sterna_model::{ErrorClass, ModelStop, Opaque, Part, Phase, Reasoning, ToolCall, Usage};

use crate::harness::*;

#[test]
fn chat_text_with_cache_and_reasoning_tokens() {
    check(
        "openai_chat",
        include_bytes!("../recordings/openai_chat-text.sse"),
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
        include_bytes!("../recordings/openai_chat-reasoning-crlf.sse"),
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
        include_bytes!("../recordings/openai_chat-calls.sse"),
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
        include_bytes!("../recordings/openai_chat-same-index.sse"),
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
        include_bytes!("../recordings/openai_chat-cut-in-call.sse"),
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
        include_bytes!("../recordings/openai_chat-no-done.sse"),
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
        include_bytes!("../recordings/openai_chat-refused.sse"),
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
        include_bytes!("../recordings/anthropic-text.sse"),
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
        include_bytes!("../recordings/anthropic-everything.sse"),
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
        include_bytes!("../recordings/anthropic-cut-in-call.sse"),
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
        include_bytes!("../recordings/anthropic-refused.sse"),
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
    let chat = include_bytes!("../recordings/openai_chat-cut-in-call.sse");
    let mut decoder = decoder("openai_chat");
    decoder.push(chat, &mut |_| {}).unwrap();
    assert_eq!(decoder.partial(), [text("I write")]);

    let messages = include_bytes!("../recordings/anthropic-everything.sse");
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
    for name in wire::NAMES {
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
        r#"{"type":"response.created","response":{"id":7,"usage":{"input_tokens":18446744073709551615}}}"#,
        r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"function_call","name":"f"}}"#,
        r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"reasoning","id":"r"}}"#,
        r#"{"type":"response.output_item.added","output_index":"x","item":[]}"#,
        r#"{"type":"response.output_text.delta","output_index":0,"delta":"x"}"#,
        r#"{"type":"response.reasoning_summary_part.added","item_id":"r"}"#,
        r#"{"type":"response.reasoning_text.delta","item_id":"r","delta":"t"}"#,
        r#"{"type":"response.function_call_arguments.delta","output_index":0,"delta":"{"}"#,
        r#"{"type":"response.function_call_arguments.done","output_index":0,"arguments":"{}"}"#,
        r#"{"type":"response.output_item.done","output_index":0,"item":{"type":"function_call","arguments":[1]}}"#,
        r#"{"type":"response.output_item.done","item":{"type":"message","content":[{"text":"y"},{"refusal":"z"},7]}}"#,
        r#"{"candidates":[{"content":{"parts":[{"text":"x"},{"text":"","thoughtSignature":"s"},7,{}]}}]}"#,
        r#"{"candidates":[{"content":{"parts":[{"text":"x","thought":true},{"functionCall":{"name":"f","args":[]}}]}}]}"#,
        r#"{"candidates":[{"content":null}],"usageMetadata":{"promptTokenCount":-1,"thoughtsTokenCount":18446744073709551615}}"#,
    ]);
    prop_oneof![
        8 => known.prop_map(|data| format!("data: {data}\n\n").into_bytes()),
        1 => proptest::collection::vec(any::<u8>(), 0..40),
        1 => proptest::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| [b"data: ", &bytes[..], b"\n\n"].concat()),
    ]
}

/// Terminal events, so that random streams may also succeed.
fn ending() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        r#"{"type":"message_stop"}"#,
        r#"[DONE]"#,
        r#"{"choices":[{"finish_reason":"length"}]}"#,
        r#"{"type":"response.completed","response":{"usage":{"output_tokens":18446744073709551615},"output":[{"type":"message","content":[{"text":"x"}]},7]}}"#,
        r#"{"type":"response.incomplete","response":{"incomplete_details":{"reason":"max_output_tokens"}}}"#,
        r#"{"type":"response.completed"}"#,
        r#"{"type":"response.failed","response":{"error":7}}"#,
        r#"{"type":"error"}"#,
        r#"{"candidates":[{"finishReason":"STOP"}]}"#,
        r#"{"candidates":[{"finishReason":"MAX_TOKENS"}],"usageMetadata":{"totalTokenCount":18446744073709551615}}"#,
        r#"{"promptFeedback":{}}"#,
    ]);
    prop_oneof![
        4 => known.prop_map(|data| format!("data: {data}\n\n").into_bytes()),
        1 => Just(b"{\"error\":{\n\"code\":503}}\n".to_vec()),
    ]
}

proptest! {
    #[test]
    fn random_bytes_never_panic_and_never_succeed(lines in proptest::collection::vec(line(), 0..12), whole: bool) {
        let stream = lines.concat();
        for name in wire::NAMES {
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
    fn random_streams_never_panic_and_pieces_do_not_matter(
        lines in proptest::collection::vec(prop_oneof![5 => line(), 1 => ending()], 0..12),
        at in any::<prop::sample::Index>(),
        whole: bool,
    ) {
        let stream = lines.concat();
        let cut = at.index(stream.len() + 1);
        for name in wire::NAMES {
            let (events, result) = decode(name, &[&stream], whole);
            if result.is_ok() {
                // Every call has a name and an id of its own, and every segment was closed.
                let starts = events.iter().filter(|event| event.phase == Phase::Start).count();
                prop_assert_eq!(events.iter().filter(|event| event.phase == Phase::End).count(), starts);
                let reply = result.as_ref().unwrap();
                let calls = reply.parts.iter().filter_map(|part| match part {
                    Part::ToolCall(call) => Some(call),
                    _ => None,
                });
                let mut ids = std::collections::BTreeSet::new();
                for call in calls {
                    prop_assert!(!call.name.is_empty() && !call.id.is_empty() && ids.insert(call.id.clone()));
                }
            }
            prop_assert_eq!(decode(name, &[&stream[..cut], &stream[cut..]], whole), (events, result));
        }
    }

    #[test]
    fn after_the_end_nothing_counts(rest in proptest::collection::vec(any::<u8>(), 0..60)) {
        for (name, stream) in [
            ("openai_chat", &include_bytes!("../recordings/openai_chat-text.sse")[..]),
            ("anthropic", &include_bytes!("../recordings/anthropic-text.sse")[..]),
            ("openai_responses", &include_bytes!("../recordings/openai_responses-text.sse")[..]),
        ] {
            let whole = decode(name, &[stream], true);
            prop_assert_eq!(decode(name, &[stream, &rest], false), whole);
        }
    }
}

/// Whether such an answer is whole nobody knows: it is no success, and the provider's word is told.
#[test]
fn an_unknown_reason_to_end_is_a_named_failure() {
    let chat = include_str!("../recordings/openai_chat-text.sse");
    let messages = include_str!("../recordings/anthropic-text.sse");
    for (name, stream, known) in [
        ("openai_chat", chat, "\"finish_reason\":\"stop\""),
        ("anthropic", messages, "\"stop_reason\":\"end_turn\""),
    ] {
        assert!(decode(name, &[stream.as_bytes()], true).1.is_ok(), "{name}");
        let (key, _) = known.rsplit_once(':').unwrap();
        let odd = stream.replace(known, &format!("{key}:\"ran_dry\""));
        let failure = decode(name, &[odd.as_bytes()], true).1.unwrap_err();
        assert!(failure.message.contains("unknown reason: \"ran_dry\""), "{name}: {failure:?}");
    }
}
