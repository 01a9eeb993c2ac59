//! The Responses API.

use sterna_model::{ErrorClass, ModelStop, Part, ToolCall, Usage};

use crate::harness::*;

const NAME: &str = "openai_responses";

#[test]
fn text_with_cache_and_reasoning_tokens() {
    check(
        NAME,
        include_bytes!("../recordings/openai_responses-text.sse"),
        r#"<T"Grüße ""😀\n"T>"#,
        &[text("Grüße 😀\n")],
        ModelStop::EndTurn,
        Usage {
            input_uncached: 22,
            cache_read: 1_920,
            cache_write_5m: 64,
            output: 300,
            reasoning: 120,
            ..Usage::default()
        },
        concat!(
            r#"{"input_tokens":2006,"input_tokens_details":{"cached_tokens":1920,"cache_write_tokens":64},"#,
            r#""output_tokens":300,"output_tokens_details":{"reasoning_tokens":120},"total_tokens":2306}"#
        ),
    );
}

#[test]
fn reasoning_a_server_tool_and_a_labelled_message() {
    check(
        NAME,
        include_bytes!("../recordings/openai_responses-reasoning.sse"),
        r#"<R"Look ""first.""\n\nThen read."R><T"I read both."T>"#,
        &[
            // The finished item byte for byte: what it began with may be incomplete.
            reasoning(
                "Look first.\n\nThen read.",
                Some(concat!(
                    r#"{"id":"rs_1","type":"reasoning", "encrypted_content":"gAAAAAB\u002d_x==","summary":["#,
                    r#"{"type":"summary_text","text":"Look first."},{"type":"summary_text","text":"Then read."}]}"#
                )),
            ),
            opaque(
                r#"{"id":"ws_1","type":"web_search_call","status":"completed","action":{"type":"search","query":"x"}}"#,
            ),
            opaque(r#"{"phase":"commentary"}"#),
            text("I read both."),
        ],
        ModelStop::EndTurn,
        Usage { input_uncached: 40, output: 79, reasoning: 64, ..Usage::default() },
        r#"{"input_tokens":40,"output_tokens":79,"output_tokens_details":{"reasoning_tokens":64}}"#,
    );
}

#[test]
fn parallel_calls() {
    check(
        NAME,
        include_bytes!("../recordings/openai_responses-calls.sse"),
        r#"<Cread"{\"path\":""\"a\"}"C><Cread"{\"path\":\"b\"}"C><CtodoC>"#,
        &[
            call("call_a", "read", r#"{"path":"a"}"#),
            call("call_b", "read", r#"{"path":"b"}"#),
            call("call_c", "todo", "{}"),
        ],
        ModelStop::ToolCalls,
        Usage { input_uncached: 50, output: 89, reasoning: 64, ..Usage::default() },
        concat!(
            r#"{"input_tokens":50,"input_tokens_details":{"cached_tokens":0},"output_tokens":89,"#,
            r#""output_tokens_details":{"reasoning_tokens":64},"total_tokens":139}"#
        ),
    );
}

#[test]
fn cut_by_the_output_limit_inside_arguments() {
    let arguments = r#"{"path":"a","te"#.into();
    check(
        NAME,
        include_bytes!("../recordings/openai_responses-cut-in-call.sse"),
        r#"<T"I write"T><Cwrite"{\"path\":\"a\",\"te"C>"#,
        &[
            text("I write"),
            Part::ToolCall(ToolCall {
                id: "call_9".into(),
                name: "write".into(),
                arguments,
                truncated: true,
            }),
        ],
        ModelStop::MaxOutput,
        tokens(10, 16),
        concat!(
            r#"{"input_tokens":10,"input_tokens_details":{"cached_tokens":0},"output_tokens":16,"#,
            r#""output_tokens_details":{"reasoning_tokens":0},"total_tokens":26}"#
        ),
    );
}

#[test]
fn stopped_by_the_filter() {
    check(
        NAME,
        include_bytes!("../recordings/openai_responses-filtered.sse"),
        r#"<T"First, "T>"#,
        &[text("First, ")],
        ModelStop::Refused,
        tokens(7, 2),
        concat!(
            r#"{"input_tokens":7,"input_tokens_details":{"cached_tokens":0},"output_tokens":2,"#,
            r#""output_tokens_details":{"reasoning_tokens":0},"total_tokens":9}"#
        ),
    );
}

#[test]
fn refused_by_the_model() {
    check(
        NAME,
        include_bytes!("../recordings/openai_responses-refused.sse"),
        r#"<T"I cannot."T>"#,
        &[text("I cannot.")],
        ModelStop::Refused,
        tokens(9, 3),
        concat!(
            r#"{"input_tokens":9,"input_tokens_details":{"cached_tokens":0},"output_tokens":3,"#,
            r#""output_tokens_details":{"reasoning_tokens":0},"total_tokens":12}"#
        ),
    );
}

#[test]
fn ids_that_change_with_every_event() {
    check(
        NAME,
        include_bytes!("../recordings/openai_responses-other-ids.sse"),
        concat!(
            r#"<T"Two."T><CreadC><Cread"#,
            r#"C><Cread"{\"path\""C><Cread"{\"path\":\"b\"}"C><Cread":\"a\"}"C>"#
        ),
        &[text("Two."), call("call_1", "read", r#"{"path":"a"}"#), call("call_2", "read", r#"{"path":"b"}"#)],
        ModelStop::ToolCalls,
        tokens(4, 2),
        concat!(
            r#"{"input_tokens":4,"input_tokens_details":{"cached_tokens":0},"output_tokens":2,"#,
            r#""output_tokens_details":{"reasoning_tokens":0},"total_tokens":6}"#
        ),
    );
}

#[test]
fn items_that_share_an_index() {
    check(
        NAME,
        include_bytes!("../recordings/openai_responses-same-index.sse"),
        r#"<CreadC><CreadC><Cread"{\"path\":\"a\"}"C><Cread"{\"path\":\"b\"}"C><CglobC><CC>"#.replace("<CC>", r#"<C"{}"C>"#).as_str(),
        &[
            call("c1", "read", r#"{"path":"a"}"#),
            call("c2", "read", r#"{"path":"b"}"#),
            // Without a call id the item's own stands in; without a name there is no call.
            call("f3", "glob", "{}"),
        ],
        ModelStop::ToolCalls,
        Usage::default(),
        "",
    );
}

#[test]
fn all_in_the_terminal_event() {
    check(
        NAME,
        include_bytes!("../recordings/openai_responses-only-end.sse"),
        r#"<R"hm"R><T"ab"T><Ctodo"{}"C>"#,
        &[
            // Not encrypted, it is a reference to something that was never stored.
            reasoning("hm", None),
            opaque(r#"{"phase":"final_answer"}"#),
            text("ab"),
            call("c8", "todo", "{}"),
        ],
        ModelStop::ToolCalls,
        tokens(3, 2),
        r#"{"input_tokens":3,"output_tokens":2,"total_tokens":5}"#,
    );
}

#[test]
fn open_reasoning_and_a_message_without_its_beginning() {
    check(
        NAME,
        include_bytes!("../recordings/openai_responses-open-model-crlf.sse"),
        r#"<R"pl""an"R><T"o""k"T>"#,
        &[
            reasoning(
                "plan",
                Some(concat!(
                    r#"{"id":"rs_9","type":"reasoning","summary":[],"#,
                    r#""content":[{"type":"reasoning_text","text":"plan"}]}"#
                )),
            ),
            text("ok"),
        ],
        ModelStop::EndTurn,
        tokens(7, 3),
        concat!(
            r#"{"input_tokens":7,"input_tokens_details":{"cached_tokens":0},"output_tokens":3,"#,
            r#""output_tokens_details":{"reasoning_tokens":0},"total_tokens":10}"#
        ),
    );
}

#[test]
fn failures_by_name() {
    let fails = |data: &str, class, message: &str, wait: Option<u64>| {
        let start = r#"{"type":"response.output_text.delta","item_id":"m","output_index":0,"delta":"half"}"#;
        let stream = format!("data: {start}\n\ndata: {data}\n\n");
        check_failure(NAME, stream.as_bytes(), class, message, Usage::default(), true);
        assert_eq!(decode(NAME, &[stream.as_bytes()], true).1.unwrap_err().retry_after_ms, wait);
    };
    let failed = |error: &str| {
        format!(
            r#"{{"type":"response.failed","response":{{"id":"r","status":"failed","error":{error},"usage":null}}}}"#
        )
    };
    let slow =
        r#"{"code":"rate_limit_exceeded","message":"Rate limit reached. Please try again in 1.898s."}"#;
    let said = "Rate limit reached. Please try again in 1.898s.";
    fails(&failed(slow), ErrorClass::RateLimit, said, Some(1_898));
    fails(&failed(r#"{"code":"server_error","message":"oops"}"#), ErrorClass::Server, "oops", None);
    let long = r#"{"code":"context_length_exceeded","message":"Your input exceeds the context window"}"#;
    fails(&failed(long), ErrorClass::ContextOverflow, "Your input exceeds the context window", None);
    fails(&failed("null"), ErrorClass::Server, "the provider failed and said nothing more", None);
    let cancelled = r#"{"type":"response.cancelled","response":{"status":"cancelled"}}"#;
    fails(cancelled, ErrorClass::Server, "the provider cancelled the answer", None);
    let reason = r#"{"type":"response.incomplete","response":{"incomplete_details":{"reason":"novel"}}}"#;
    fails(reason, ErrorClass::Server, "the provider left the answer incomplete: \"novel\"", None);
    let flat =
        r#"{"type":"error","code":"server_is_overloaded","message":"busy","param":null,"sequence_number":3}"#;
    fails(flat, ErrorClass::Overloaded, "busy", None);
    let nested = r#"{"type":"error","error":{"type":"invalid_request_error","code":"insufficient_quota","message":"pay"}}"#;
    fails(nested, ErrorClass::Quota, "pay", None);
    fails(r#"{"error":{"code":502,"message":"upstream"}}"#, ErrorClass::Server, "upstream", None);
    fails(
        "{\"type\":",
        ErrorClass::StreamCut,
        "the stream sent an event that is not understood: EOF while parsing a value at line 1 column 8",
        None,
    );
}

#[test]
fn a_failure_with_usage_costs_what_it_says() {
    let stream = concat!(
        r#"data: {"type":"response.failed","response":{"status":"failed","error":{"code":"server_error","message":"oops"},"#,
        r#""usage":{"input_tokens":12,"output_tokens":3}}}"#,
        "\n\n"
    );
    check_failure(NAME, stream.as_bytes(), ErrorClass::Server, "oops", tokens(12, 3), false);
}

#[test]
fn the_end_of_other_wires_ends_nothing() {
    let stream = concat!(
        "data: {\"type\":\"response.output_text.delta\",\"output_index\":0,\"delta\":\"half\"}\n\n",
        "data: [DONE]\n\n"
    );
    let message = "the stream ended before its response.completed";
    check_failure(NAME, stream.as_bytes(), ErrorClass::StreamCut, message, Usage::default(), true);
}

#[test]
fn a_given_up_answer_keeps_text_and_reasoning_but_no_call() {
    let mut decoder = decoder(NAME);
    let whole = String::from_utf8_lossy(include_bytes!("../recordings/openai_responses-reasoning.sse"));
    let (open, _) = whole.split_once("event: response.completed").unwrap();
    decoder.push(open.as_bytes(), &mut |_| {}).unwrap();
    let call = r#"{"type":"response.output_item.added","output_index":3,"item":{"type":"function_call","name":"f"}}"#;
    decoder.push(format!("data: {call}\n\n").as_bytes(), &mut |_| {}).unwrap();
    assert_eq!(decoder.partial(), [reasoning("Look first.\n\nThen read.", None), text("I read both.")]);
}

#[test]
fn too_many_items() {
    let item =
        "data: {\"type\":\"response.output_item.added\",\"item\":{\"type\":\"message\"}}\n\n".repeat(1_100);
    let (_, result) = decode(NAME, &[item.as_bytes()], true);
    assert_eq!(result.unwrap_err().message, "the answer holds more than 1024 items");
}
