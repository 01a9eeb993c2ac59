//! Scripts as providers: which line is played, and what it gives.

#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use futures::executor::block_on;
use sterna_llm::{
    CallResult, EncodeCache, Encoded, Item, ModelReply, Provider, Request, Scripted, StreamEvent,
};
use sterna_model::{
    Billed, ErrorClass, ModelStop, Part, Phase, ProviderFailure, Route, Segment, ToolCall, Usage,
};

fn route() -> Route {
    "scripted:s.jsonl".parse().unwrap()
}

/// A script, and the waits that it asked for.
fn script(text: &str) -> (Scripted, Arc<Mutex<Vec<u64>>>) {
    let waits = Arc::new(Mutex::new(Vec::new()));
    let seen = waits.clone();
    let sleep = move |ms| {
        seen.lock().unwrap().push(ms);
        let ready: futures::future::BoxFuture<'static, ()> = Box::pin(std::future::ready(()));
        ready
    };
    (Scripted::parse(text, Arc::new(sleep)).unwrap(), waits)
}

/// A request whose history holds this many answers.
fn request(input: &str, answers: usize) -> Request {
    let mut items = vec![Arc::new(Item::User(vec![input.into()]))];
    for at in 0..answers {
        let id = format!("c{at}");
        let call = ToolCall { id: id.clone(), name: "read".into(), arguments: "{}".into(), truncated: false };
        items.push(Arc::new(Item::Assistant(vec![Part::ToolCall(call)])));
        let result = CallResult {
            call_id: id,
            name: "read".into(),
            text: "x".into(),
            failed: false,
            files: Vec::new(),
        };
        items.push(Arc::new(Item::Results(vec![result])));
    }
    Request {
        route: route(),
        system: Arc::new([]),
        tools: Arc::new([]),
        items,
        tail: String::new(),
        tools_off: false,
        max_output: 10,
        temperature: None,
        schema: None,
        thinking: None,
    }
}

fn body(script: &Scripted, request: &Request) -> Encoded {
    script.encode(request, &mut EncodeCache::default())
}

fn play(script: &Scripted, request: &Request) -> (Vec<StreamEvent>, Result<ModelReply, ProviderFailure>) {
    let mut events = Vec::new();
    let mut push = |event| events.push(event);
    let result = block_on(script.send(&route(), body(script, request), &mut push));
    (events, result)
}

fn text_of(script: &Scripted, request: &Request) -> String {
    match play(script, request).1 {
        Ok(reply) => sterna_model::answer_text(&reply.parts),
        Err(failure) => format!("{}: {}", failure.class.word(), failure.message),
    }
}

#[test]
fn the_history_tells_which_reply() {
    let lines = "# a comment\n\n{\"text\":\"one\"}\n{\"text\":\"two\"}\n";
    let (first, _) = script(lines);
    let (restarted, _) = script(lines);
    assert_eq!(text_of(&first, &request("a", 0)), "one");
    assert_eq!(text_of(&first, &request("b", 0)), "one");
    assert_eq!(text_of(&restarted, &request("a", 1)), "two");
    assert_eq!(
        text_of(&restarted, &request("a", 2)),
        "model_gone: the script has no reply number 3 (it has 2): add a line to it"
    );
}

#[test]
fn failures_come_before_their_reply_once_a_session() {
    let (script, _) = script(concat!(
        "{\"text\":\"one\"}\n",
        "{\"error\":{\"class\":\"rate_limit\",\"status\":429,\"retry_after_ms\":1000}}\n",
        "{\"cut_after\":\"half an ans\"}\n",
        "{\"text\":\"two\"}\n",
    ));
    let one = request("a", 1);
    assert_eq!(text_of(&script, &request("a", 0)), "one");
    let failure = play(&script, &one).1.unwrap_err();
    let told = (failure.class, failure.status, failure.retry_after_ms, failure.message.as_str());
    assert_eq!(told, (ErrorClass::RateLimit, Some(429), Some(1_000), "scripted rate_limit"));
    let (events, cut) = play(&script, &one);
    assert_eq!(cut.unwrap_err().class, ErrorClass::StreamCut);
    assert_eq!(events.iter().map(|e| e.text.as_str()).collect::<String>(), "half an ans");
    // Another session is not disturbed, and the first goes on where it was.
    assert!(text_of(&script, &request("b", 1)).starts_with("rate_limit"));
    assert_eq!(text_of(&script, &one), "two");
    assert_eq!(text_of(&script, &one), "two");
}

#[test]
fn an_empty_answer_is_followed_by_the_next_line() {
    let (script, _) = script("{\"reasoning\":\"hm\"}\n{\"text\":\"at last\"}\n{\"text\":\"\"}\n");
    let mut asked = request("a", 0);
    assert_eq!(text_of(&script, &asked), "");
    asked.tail = "Say something.".into();
    assert_eq!(text_of(&script, &asked), "at last");
    // At the end the last line repeats.
    let asked = request("a", 1);
    assert_eq!([text_of(&script, &asked), text_of(&script, &asked)], ["", ""]);
}

#[test]
fn a_reply_with_everything() {
    let (script, waits) = script(concat!(
        r#"{"model":{"context":1000,"max_output":50,"price":{"input":3,"output":15,"cache_read":0.3}}}"#,
        "\n{\"delay_ms\":40}\n",
        r#"{"reasoning":"plan","text":"grüße!","chunks":2,"delay_ms":2,"chunk_delay_ms":1,"#,
        r#""calls":[{"name":"read","arguments":{"path":"a"}},{"id":"x","name":"write","arguments_raw":"{\"pa"}],"#,
        r#""stop":"max_output","usage":{"input":100,"cache_read":10,"output":7,"reasoning":3}}"#,
    ));
    let info = script.model(&route()).unwrap();
    assert_eq!((info.context, info.max_output, info.assumed), (1_000, 50, false));
    let (events, result) = play(&script, &request("a", 0));
    let call = |id: &str, name: &str, arguments: &str, truncated| {
        Part::ToolCall(ToolCall { id: id.into(), name: name.into(), arguments: arguments.into(), truncated })
    };
    let usage = Usage { input_uncached: 100, cache_read: 10, output: 7, reasoning: 3, ..Usage::default() };
    let raw = Some(r#"{"input":100,"cache_read":10,"output":7,"reasoning":3}"#.into());
    let reply = result.unwrap();
    assert_eq!(reply.stop, ModelStop::MaxOutput);
    // 100 at 3,000 billionths, 10 at 300, 7 at 15,000.
    assert_eq!(reply.billed, Billed { usage, cost: Some(408_000), estimated: false, raw });
    assert_eq!(
        reply.parts[1..],
        [
            Part::Text("grüße!".into()),
            call("call_1_0", "read", r#"{"path":"a"}"#, false),
            call("x", "write", r#"{"pa"#, true),
        ]
    );
    let deltas: Vec<_> =
        events.iter().filter(|e| e.phase == Phase::Delta).map(|e| (e.segment, e.text.as_str())).collect();
    assert_eq!(
        deltas,
        [
            (Segment::Reasoning, "plan"),
            (Segment::Text, "grü"),
            (Segment::Text, "ße!"),
            (Segment::ToolCall, r#"{"path":"a"}"#),
            (Segment::ToolCall, r#"{"pa"#),
        ]
    );
    assert_eq!(*waits.lock().unwrap(), [42, 1, 1, 1, 1, 1]);
}

#[test]
fn bodies_are_the_chat_wire_with_one_member_more() {
    let (script, _) = script("{\"text\":\"x\"}");
    let plain = sterna_llm::wire::by_name("openai_chat").unwrap();
    let request = request("a", 2);
    let chat = plain.encode(&request, &mut EncodeCache::default()).body();
    let own = body(&script, &request).body();
    let chat = std::str::from_utf8(&chat).unwrap();
    let expect = format!("{},\"answers\":2}}", chat.strip_suffix('}').unwrap());
    assert_eq!(own, expect.as_bytes());
    let result = block_on(script.send(&route(), Encoded::of(vec!["{}".into()]), &mut |_| {}));
    assert_eq!(result.unwrap_err().class, ErrorClass::InvalidRequest);
}

#[test]
fn wrong_lines_are_named() {
    let error =
        |text: &str| Scripted::parse(text, Arc::new(|_| Box::pin(std::future::ready(())))).err().unwrap();
    for (text, line, says) in [
        ("{\"text\":\"a\"}\nnonsense", 2, "expected"),
        ("# x\n{\"txet\":\"a\"}", 2, "unknown field `txet`"),
        ("{}", 1, "a reply needs"),
        ("{\"text\":\"a\",\"cut_after\":\"b\"}", 1, "only one of them"),
        ("{\"text\":\"a\",\"stop\":\"tired\"}", 1, "unknown variant `tired`"),
        ("{\"text\":\"a\"}\n{\"model\":{}}", 2, "must come before"),
        ("{\"calls\":[{\"name\":\"x\",\"arguments\":{},\"arguments_raw\":\"\"}]}", 1, "not both"),
        ("{\"error\":{\"class\":\"bad_mood\"}}", 1, "unknown variant `bad_mood`"),
        ("{\"text\":\"a\",\"usage\":{\"in\":1}}", 1, "`usage`: unknown field `in`"),
    ] {
        let error = error(text);
        assert_eq!(error.line, line, "{text}");
        assert!(error.message.contains(says), "{text}: {error}");
    }
}
