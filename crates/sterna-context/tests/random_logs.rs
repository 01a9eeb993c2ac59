//! Whatever a crash leaves of a log, the request that is derived from it is one that the wires take.

#![allow(clippy::unwrap_used)]

#[path = "../../sterna-turn/tests/world/mod.rs"]
mod world;

use std::sync::{Arc, LazyLock};

use proptest::prelude::*;
use serde_json::{Value, json};
use sterna_context::{Prompt, Template, Transcript, TurnFacts, builtin_sections, derive};
use sterna_llm::{EncodeCache, Item, Request, wire};
use sterna_log::fold::World;
use sterna_model::*;
use world::*;

/// The messages of `chat/completions`, from its public reference.
static CHAT: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
    let text = json!({"type": "string", "pattern": "\\S"});
    validator(json!({
        "type": "array", "minItems": 2,
        "prefixItems": [{"properties": {"role": {"const": "system"}}}],
        "items": {"oneOf": [
            {"properties": {"role": {"const": "user"}, "content": text}, "required": ["role", "content"], "additionalProperties": false},
            {"properties": {"role": {"const": "system"}, "content": text}, "required": ["role", "content"], "additionalProperties": false},
            {"properties": {"role": {"const": "assistant"}, "content": text}, "required": ["role", "content"], "additionalProperties": false},
            {
                "properties": {
                    "role": {"const": "assistant"},
                    "content": {"oneOf": [text, {"type": "null"}]},
                    "tool_calls": {"type": "array", "minItems": 1, "items": {
                        "type": "object",
                        "properties": {
                            "id": {"type": "string", "minLength": 1},
                            "type": {"const": "function"},
                            "function": {
                                "type": "object",
                                "properties": {"name": {"type": "string", "minLength": 1}, "arguments": {"type": "string"}},
                                "required": ["name", "arguments"], "additionalProperties": false
                            }
                        },
                        "required": ["id", "type", "function"], "additionalProperties": false
                    }}
                },
                "required": ["role", "content", "tool_calls"], "additionalProperties": false
            },
            {
                "properties": {"role": {"const": "tool"}, "tool_call_id": {"type": "string", "minLength": 1}, "content": {"type": "string"}},
                "required": ["role", "tool_call_id", "content"], "additionalProperties": false
            }
        ]}
    }))
});

/// The messages of Messages, from its public reference.
static MESSAGES: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
    let text = json!({
        "properties": {"type": {"const": "text"}, "text": {"type": "string", "pattern": "\\S"}, "cache_control": {}},
        "required": ["type", "text"], "additionalProperties": false
    });
    let blocks = |kinds: Vec<Value>| json!({"type": "array", "minItems": 1, "items": {"oneOf": kinds}});
    let id = json!({"type": "string", "pattern": "^[a-zA-Z0-9_-]+$"});
    let result = json!({
        "properties": {
            "type": {"const": "tool_result"}, "tool_use_id": id, "content": {"type": "string", "minLength": 1},
            "is_error": {"type": "boolean"}, "cache_control": {}
        },
        "required": ["type", "tool_use_id"], "additionalProperties": false
    });
    let call = json!({
        "properties": {"type": {"const": "tool_use"}, "id": id, "name": {"type": "string"}, "input": {"type": "object"}},
        "required": ["type", "id", "name", "input"], "additionalProperties": false
    });
    let message = |role: &str, content: Value| json!({"properties": {"role": {"const": role}, "content": content}, "required": ["role", "content"], "additionalProperties": false});
    validator(json!({
        "type": "array", "minItems": 1,
        "prefixItems": [{"properties": {"role": {"const": "user"}}}],
        "items": {"oneOf": [
            message("user", blocks(vec![text.clone(), result])),
            message("assistant", blocks(vec![text, call]))
        ]}
    }))
});

fn validator(schema: Value) -> jsonschema::Validator {
    jsonschema::validator_for(&schema).unwrap()
}

fn prompt() -> Prompt {
    let spec = ToolSpec { name: "tool".into(), description: "d".into(), schema: json!({"type": "object"}) };
    Prompt::assemble(builtin_sections(Template::Main), vec![spec]).unwrap()
}

fn request(prompt: &Prompt, items: Vec<Arc<Item>>, world: &World, transition: Transition) -> Request {
    let facts = TurnFacts {
        guest: None,
        now: 0,
        cwd: "/w".into(),
        mode: Mode::Execute,
        added: Vec::new(),
        schema: None,
        schema_native: false,
        thinking: None,
    };
    derive(prompt, items, world, &facts, &route(), transition, false, 100)
}

/// Calls of each answer are followed by their results, in order, one each, and by nothing else before them.
fn check_items(items: &[Arc<Item>]) {
    let mut due: Option<Vec<String>> = None;
    for item in items {
        match (&**item, due.take()) {
            (Item::Results(results), Some(calls)) => {
                let answered: Vec<String> = results.iter().map(|result| result.call_id.clone()).collect();
                assert_eq!(answered, calls);
            }
            (other, Some(calls)) => panic!("{other:?} stands before the results of {calls:?}"),
            (Item::Results(results), None) => panic!("{results:?} answer nothing"),
            (Item::User(texts), None) => assert!(!texts.is_empty()),
            (Item::Mixed(parts), None) => assert!(!parts.is_empty()),
            (Item::Assistant(parts), None) => {
                assert!(!parts.is_empty());
                let calls: Vec<String> = parts
                    .iter()
                    .filter_map(|part| match part {
                        Part::ToolCall(call) => Some(call.id.clone()),
                        Part::Text(_) | Part::Reasoning(_) | Part::Opaque(_) => None,
                    })
                    .collect();
                due = Some(calls).filter(|calls| !calls.is_empty());
            }
        }
    }
    assert_eq!(due, None);
}

fn messages(name: &str, request: &Request) -> Value {
    let body = wire::by_name(name).unwrap().encode(request, &mut EncodeCache::default());
    let body: Value = serde_json::from_slice(&body.body()).unwrap();
    body["messages"].clone()
}

fn check_chat(request: &Request) {
    let all = messages("openai_chat", request);
    if let Err(error) = CHAT.validate(&all) {
        panic!("{error}\n{all:#}");
    }
    let mut due: Vec<String> = Vec::new();
    for message in all.as_array().unwrap() {
        match message["role"].as_str().unwrap() {
            "tool" => assert_eq!(due.remove(0), message["tool_call_id"].as_str().unwrap()),
            _ => assert!(due.is_empty(), "{due:?} lack their results: {all:#}"),
        }
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            due.push(call["id"].as_str().unwrap().to_owned());
        }
    }
    assert!(due.is_empty());
}

fn check_messages(request: &Request) {
    let all = messages("anthropic", request);
    if let Err(error) = MESSAGES.validate(&all) {
        panic!("{error}\n{all:#}");
    }
    let mut due: Vec<String> = Vec::new();
    let mut before = "";
    for message in all.as_array().unwrap() {
        let role = message["role"].as_str().unwrap();
        assert_ne!(role, before, "{all:#}");
        before = role;
        let blocks = message["content"].as_array().unwrap();
        let ids = |kind: &str, id: &str| -> Vec<String> {
            let of = blocks.iter().filter(|block| block["type"] == kind);
            of.map(|block| block[id].as_str().unwrap().to_owned()).collect()
        };
        // Results come first, and are those of the message before.
        let results = ids("tool_result", "tool_use_id");
        assert_eq!(results, due, "{all:#}");
        assert!(blocks[..results.len()].iter().all(|block| block["type"] == "tool_result"));
        due = ids("tool_use", "id");
    }
    assert!(due.is_empty());
}

fn check(prompt: &Prompt, items: Vec<Arc<Item>>, world: &World) {
    check_items(&items);
    for transition in [Transition::Input, Transition::Nudge, Transition::Grace] {
        let request = request(prompt, items.clone(), world, transition);
        check_chat(&request);
        check_messages(&request);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_truncated_log_gives_a_request_that_the_wires_take(
        bytes in prop::collection::vec(any::<u8>(), 0..160),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 4),
    ) {
        let prompt = prompt();
        let records = random_log(&bytes);
        for cut in cuts {
            let kept = &records[..=cut.index(records.len())];
            let (mut transcript, mut world) = (Transcript::new(), World::default());
            for record in kept {
                transcript.apply(record);
                world.apply(record);
            }
            check(&prompt, transcript.with(&[]), &world);
            // With whatever waits.
            let waiting: Vec<Seq> = kept.iter().map(|r| r.seq).filter(|seq| transcript.input(*seq).is_some()).collect();
            check(&prompt, transcript.with(&waiting), &world);
            // As a fork, with an input of its own: what was open is closed, and what waited is the parent's.
            let parent = Parent { session: SessionId::new(SESSION).unwrap(), seq: kept.len() as u64, hash: Digest::ZERO };
            let own = [
                opened("child", Some(parent)),
                input("from the child", Delivery::NextTurn),
                started(vec![2], Limits::default(), OnAsk::Deny),
            ];
            for (body, seq) in own.into_iter().zip(1..) {
                transcript.apply(&record(seq, None, body));
            }
            let items = transcript.with(&waiting);
            prop_assert_eq!(items.last().map(Arc::as_ref), Some(&Item::User(vec!["from the child".into()])));
            check(&prompt, items, &world);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn after_a_rewind_a_request_shows_what_it_showed_then(
        bytes in prop::collection::vec(any::<u8>(), 0..160),
        backs in prop::collection::vec(any::<prop::sample::Index>(), 1..6),
    ) {
        let prompt = prompt();
        let mut records = random_log(&bytes);
        let (mut transcript, mut world) = (Transcript::new(), World::default());
        // What was shown after each record, as it was noted down then.
        let mut shown = Vec::new();
        for record in &records {
            transcript.apply(record);
            world.apply(record);
            shown.push(transcript.with(&[]));
        }
        for back in backs {
            // To any record before, rewinds and what they cut among them.
            let at = back.index(records.len());
            let body = Body::Rewound(Rewound { to: at as u64 + 1, files: None, conversation: true, by: "p".into() });
            let rewound = record(records.len() as u64 + 1, None, body);
            transcript.apply(&rewound);
            world.apply(&rewound);
            records.push(rewound);
            shown.push(shown[at].clone());
            prop_assert_eq!(transcript.with(&[]), shown[at].clone());
            let late = (at as u64 + 2)..=records.len() as u64;
            prop_assert!(late.clone().all(|seq| transcript.input(seq).is_none()));

            // The conversation goes on from there, and what was cut stays out.
            let mut next = transcript.clone();
            let seq = records.len() as u64 + 1;
            next.apply(&record(seq, None, input("go on", Delivery::NextTurn)));
            let start = started(vec![seq], Limits::default(), OnAsk::Deny);
            next.apply(&record(seq + 1, Some(99), start));
            let items = next.with(&[]);
            let mut expected = shown[at].clone();
            expected.push(Arc::new(Item::User(vec!["go on".into()])));
            prop_assert_eq!(&items, &expected);
            check(&prompt, items, &world);
        }
    }
}

fn fold(records: impl IntoIterator<Item = Body>) -> (Transcript, World) {
    let (mut transcript, mut world) = (Transcript::new(), World::default());
    for (body, seq) in records.into_iter().zip(1..) {
        let record = record(seq, Some(1), body);
        transcript.apply(&record);
        world.apply(&record);
    }
    (transcript, world)
}

fn model_key(step: u32) -> EffectKey {
    EffectKey {
        session: SessionId::new(SESSION).unwrap(),
        turn: 1,
        step,
        kind: EffectKind::Model,
        ordinal: 0,
    }
}

fn asks(step: u32) -> Body {
    model_intent(&CallModel {
        key: model_key(step),
        attempt: 1,
        failures: 0,
        waited_ms: 0,
        not_before: None,
        transition: Transition::ToolResults,
        inputs: vec![],
        tools_off: false,
        intent: None,
    })
}

#[test]
fn a_nudge_says_what_it_is_about() {
    let called = || {
        let key = EffectKey { kind: EffectKind::Tool, ..model_key(1) };
        vec![
            opened(SESSION, None),
            input("go", Delivery::NextTurn),
            started(vec![2], Limits::default(), OnAsk::Deny),
            asks(1),
            answered(&model_key(1), vec![call("a", "{}")], vec![EffectClass::Pure], ModelStop::ToolCalls),
            tool_outcome(&key, ToolStatus::Ok, "same"),
        ]
    };
    let empty = |parts: Vec<Part>| [asks(2), answered(&model_key(2), parts, vec![], ModelStop::EndTurn)];
    let tail = |records: Vec<Body>, inputs: &[Seq]| {
        let (transcript, world) = fold(records);
        let request = request(&prompt(), transcript.with(inputs), &world, Transition::Nudge);
        check_chat(&request);
        check_messages(&request);
        (request.tail.contains("brought nothing new"), request.tail.contains("answer was empty"))
    };
    let (stalled, silent) = ((true, false), (false, true));
    assert_eq!(tail(called(), &[]), stalled);
    let steered = [called(), vec![input("listen", Delivery::AfterWork)]].concat();
    assert_eq!(tail(steered, &[7]), stalled);
    assert_eq!(tail([called(), empty(vec![]).into()].concat(), &[]), silent);
    assert_eq!(tail([called(), empty(vec![Part::Text(" \n".into())]).into()].concat(), &[]), silent);
}

#[test]
fn the_model_is_told_that_files_went_back_without_the_conversation() {
    let rewound = |to: Seq, files: bool, conversation: bool| {
        let files = files.then_some(Digest::ZERO);
        Body::Rewound(Rewound { to, files, conversation, by: "p".into() })
    };
    let mut records = vec![opened(SESSION, None), input("go", Delivery::NextTurn)];
    let mut check = |more: Vec<Body>, expected: bool| {
        records.extend(more);
        let (transcript, world) = fold(records.clone());
        let request = request(&prompt(), transcript.with(&[]), &world, Transition::Input);
        assert_eq!(request.tail.contains("took the files of the workspace back"), expected, "{records:?}");
    };
    let ends = || committed(TurnOutcome::Finished { message: "m".into(), value: None });
    check(vec![], false);
    check(vec![rewound(2, true, true)], false);
    check(vec![rewound(2, false, false)], false);
    check(vec![rewound(2, true, false)], true);
    check(vec![input("on", Delivery::NextTurn), started(vec![6], Limits::default(), OnAsk::Deny)], true);
    check(vec![ends()], false);
    // The conversation goes back to where it was to be told, and to before.
    check(vec![rewound(5, false, true)], true);
    check(vec![rewound(4, false, true)], false);
}
