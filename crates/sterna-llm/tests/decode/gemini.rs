//! `generateContent`.

use sterna_model::{ErrorClass, ModelStop, Usage};

use crate::harness::*;

const NAME: &str = "gemini";

#[test]
fn text_with_cache_thoughts_and_a_last_seal() {
    check(
        NAME,
        include_bytes!("../recordings/gemini-text.sse"),
        r#"<T"Grüße ""😀\n"T>"#,
        &[text("Grüße 😀\n"), opaque(r#"{"text":"","thoughtSignature":"EjQKMgEt/w=="}"#)],
        ModelStop::EndTurn,
        Usage { input_uncached: 86, cache_read: 1_920, output: 300, reasoning: 180, ..Usage::default() },
        concat!(
            r#"{"promptTokenCount":2006,"candidatesTokenCount":120,"totalTokenCount":2306,"thoughtsTokenCount":180,"#,
            r#""cachedContentTokenCount":1920,"promptTokensDetails":[{"modality":"TEXT","tokenCount":2006}]}"#
        ),
    );
}

#[test]
fn parallel_calls_of_which_the_first_is_sealed() {
    let derived = |at: usize| format!("call_{}_{at}", &blake3::hash(b"g-2").to_hex()[..12]);
    check(
        NAME,
        include_bytes!("../recordings/gemini-calls-crlf.sse"),
        concat!(
            r#"<R"Let me ""look."R><T"I read ""both."T><Cread"{\"path\": \"a\", \"n\": 1.50}"C>"#,
            r#"<Cread"{\"path\":\"b\"}"C><Ctodo"{}"C>"#
        ),
        &[
            reasoning("Let me look.", None),
            text("I read both."),
            opaque(r#"{"thoughtSignature":"SigA\u002bA=="}"#),
            call("fc-1", "read", r#"{"path": "a", "n": 1.50}"#),
            call(&derived(1), "read", r#"{"path":"b"}"#),
            call(&derived(2), "todo", "{}"),
        ],
        ModelStop::ToolCalls,
        Usage { input_uncached: 53, output: 25, reasoning: 5, ..Usage::default() },
        concat!(
            r#"{"promptTokenCount":50,"candidatesTokenCount":20,"totalTokenCount":75,"thoughtsTokenCount":5,"#,
            r#""toolUsePromptTokenCount":3}"#
        ),
    );
}

#[test]
fn a_finish_reason_in_every_chunk() {
    check(
        NAME,
        include_bytes!("../recordings/gemini-stop-in-every-chunk.sse"),
        r#"<T"one ""two ""three ""four"T>"#,
        &[
            text("one "),
            // A sealed part stays by itself.
            opaque(r#"{"thoughtSignature":"UzI="}"#),
            text("two "),
            text("three "),
            opaque(r#"{"executableCode":{"language":"PYTHON","code":"1+1"}}"#),
            text("four"),
        ],
        ModelStop::EndTurn,
        // The total says that the thoughts are counted among the candidates.
        Usage { input_uncached: 9, output: 8, reasoning: 3, ..Usage::default() },
        r#"{"promptTokenCount":9,"candidatesTokenCount":8,"thoughtsTokenCount":3,"totalTokenCount":17}"#,
    );
}

#[test]
fn a_sealed_thought_and_a_seal_alone() {
    check(
        NAME,
        include_bytes!("../recordings/gemini-signed-thought.sse"),
        r#"<R"hm""so"R><T"ok"T>"#,
        &[
            reasoning("hm", Some(r#"{"text":"hm", "thought":true,"thoughtSignature":"VDE="}"#)),
            reasoning("so", None),
            text("ok"),
            opaque(r#"{"text":"","thoughtSignature":"VDI="}"#),
        ],
        ModelStop::EndTurn,
        Usage::default(),
        "",
    );
}

#[test]
fn cut_by_the_output_limit() {
    check(
        NAME,
        include_bytes!("../recordings/gemini-max-tokens.sse"),
        r#"<T"once up""on"T>"#,
        &[text("once upon")],
        ModelStop::MaxOutput,
        tokens(5, 16),
        r#"{"promptTokenCount":5,"candidatesTokenCount":16,"totalTokenCount":21}"#,
    );
}

#[test]
fn ends_that_are_no_success() {
    let fails = |stream: &[u8], class, message: &str, usage, estimated| {
        check_failure(NAME, stream, class, message, usage, estimated);
    };
    fails(
        include_bytes!("../recordings/gemini-safety.sse"),
        ErrorClass::ContentFilter,
        "the provider's filter stopped the answer (SAFETY)",
        tokens(7, 2),
        false,
    );
    fails(
        include_bytes!("../recordings/gemini-malformed-call.sse"),
        ErrorClass::Server,
        concat!(
            "the model wrote a tool call that the provider threw away (MALFORMED_FUNCTION_CALL): ",
            "Malformed function call: print(read("
        ),
        tokens(7, 0),
        false,
    );
    fails(
        include_bytes!("../recordings/gemini-blocked-prompt.sse"),
        ErrorClass::ContentFilter,
        "the provider's filter blocked the prompt (PROHIBITED_CONTENT)",
        tokens(7, 0),
        false,
    );
    fails(
        include_bytes!("../recordings/gemini-error-in-body.sse"),
        ErrorClass::Overloaded,
        "The model is overloaded.",
        tokens(7, 0),
        true,
    );
}

#[test]
fn every_other_end_keeps_its_word() {
    for (reason, class) in [
        ("RECITATION", ErrorClass::ContentFilter),
        ("LANGUAGE", ErrorClass::ContentFilter),
        ("BLOCKLIST", ErrorClass::ContentFilter),
        ("PROHIBITED_CONTENT", ErrorClass::ContentFilter),
        ("SPII", ErrorClass::ContentFilter),
        ("IMAGE_SAFETY", ErrorClass::ContentFilter),
        ("UNEXPECTED_TOOL_CALL", ErrorClass::Server),
        ("TOO_MANY_TOOL_CALLS", ErrorClass::Server),
        ("MISSING_THOUGHT_SIGNATURE", ErrorClass::InvalidRequest),
        ("OTHER", ErrorClass::Server),
        ("NOVEL", ErrorClass::Server),
    ] {
        let stream = format!("data: {{\"candidates\":[{{\"finishReason\":\"{reason}\"}}]}}\n\n");
        let failure = decode(NAME, &[stream.as_bytes()], true).1.unwrap_err();
        assert!(failure.class == class && failure.message.contains(reason), "{failure:?}");
    }
}

#[test]
fn errors_as_events() {
    let error =
        r#"{"code":429,"message":"slow","status":"RESOURCE_EXHAUSTED","details":[{"retryDelay":"2.5s"}]}"#;
    for data in [format!("{{\"error\":{error}}}"), format!("[{{\"error\":{error}}}]")] {
        let stream = format!("data: {data}\n\n");
        check_failure(NAME, stream.as_bytes(), ErrorClass::RateLimit, "slow", Usage::default(), true);
        assert_eq!(decode(NAME, &[stream.as_bytes()], true).1.unwrap_err().retry_after_ms, Some(2_500));
    }
    let (_, result) = decode(NAME, &[b"data: \"message\"\n\n"], true);
    assert_eq!(result.unwrap_err().class, ErrorClass::StreamCut);
}

/// An error behind a finish reason is one all the same.
#[test]
fn an_error_behind_the_end() {
    let stream =
        [&include_bytes!("../recordings/gemini-max-tokens.sse")[..], b"[{\n\"error\": {\"code\": 500}\n}]"]
            .concat();
    assert_eq!(decode(NAME, &[&stream], true).1.unwrap_err().class, ErrorClass::Server);
}

#[test]
fn a_given_up_answer_keeps_text_and_reasoning_but_no_call() {
    let mut decoder = decoder(NAME);
    decoder.push(include_bytes!("../recordings/gemini-calls-crlf.sse"), &mut |_| {}).unwrap();
    assert_eq!(decoder.partial(), [reasoning("Let me look.", None), text("I read both.")]);
}

#[test]
fn too_many_parts() {
    let part = "data: {\"candidates\":[{\"content\":{\"parts\":[{\"functionCall\":{\"name\":\"f\"}}]}}]}\n\n";
    let (_, result) = decode(NAME, &[part.repeat(1_100).as_bytes()], true);
    assert_eq!(result.unwrap_err().message, "the answer holds more than 1024 parts");
}
