//! Any compaction keeps calls with their results and strictly shrinks, on every wire; and what the person demanded is
//! there afterwards, or is found.

#![allow(clippy::unwrap_used, dead_code)]

#[path = "../../sterna-turn/tests/world/mod.rs"]
mod world;

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::Value;
use sterna_context::*;
use sterna_llm::{CallResult, EncodeCache, Item, wire};
use sterna_log::fold::World;
use sterna_model::*;
use world::*;

/// A session that is lived record by record.
struct Session {
    transcript: Transcript,
    seq: Seq,
    step: u32,
}

impl Session {
    fn new() -> Self {
        let mut session = Self { transcript: Transcript::new(), seq: 0, step: 0 };
        session.push(opened(SESSION, None));
        session
    }

    fn push(&mut self, body: Body) -> Seq {
        self.seq += 1;
        self.transcript.apply(&record(self.seq, Some(1), body));
        self.seq
    }

    fn says(&mut self, text: &str) -> Seq {
        let seq = self.push(input(text, Delivery::NextTurn));
        self.push(started(vec![seq], Limits::default(), OnAsk::Deny));
        seq
    }

    fn key(&self, kind: EffectKind, ordinal: u32) -> EffectKey {
        EffectKey { session: SessionId::new(SESSION).unwrap(), turn: 1, step: self.step, kind, ordinal }
    }

    /// An answer with calls, and what they gave.
    fn works(&mut self, results: &[usize]) {
        self.step += 1;
        let model = CallModel {
            key: self.key(EffectKind::Model, 0),
            attempt: 1,
            failures: 0,
            waited_ms: 0,
            not_before: None,
            transition: Transition::ToolResults,
            inputs: vec![],
            tools_off: false,
            intent: None,
        };
        self.push(model_intent(&model));
        let parts: Vec<Part> =
            (0..results.len()).map(|n| call(&format!("c{}_{n}", self.step), "{}")).collect();
        let stop = if parts.is_empty() { ModelStop::EndTurn } else { ModelStop::ToolCalls };
        let parts = if parts.is_empty() { vec![Part::Text(format!("answer {}", self.step))] } else { parts };
        self.push(answered(
            &self.key(EffectKind::Model, 0),
            parts,
            vec![EffectClass::Pure; results.len()],
            stop,
        ));
        for (n, bytes) in results.iter().enumerate() {
            let view = format!("result {} {}", self.seq, "x".repeat(*bytes));
            self.push(tool_outcome(&self.key(EffectKind::Tool, n as u32), ToolStatus::Ok, &view));
        }
    }

    fn bytes(&self) -> u64 {
        self.transcript.with(&[]).iter().map(|item| size(item)).sum()
    }

    /// What a request weighs when a token is four bytes and the prompt has none.
    fn load(&self, window: u64) -> Load {
        let bytes = self.bytes();
        Load { window, bytes, tokens: bytes / 4 }
    }

    fn compacted(&mut self, change: Change) -> u64 {
        let blob = change.new_summary.as_deref().map(summary_blob);
        let record =
            change.record(CompactTrigger::Window, None, 0, blob.as_ref().map(|(name, _)| name.clone()), None);
        let (before, after) = (record.bytes_before, record.bytes_after);
        assert!(after < before, "{before} became {after}");
        let measured = self.bytes();
        self.push(Body::Compacted(Box::new(record)));
        if let Some((name, bytes)) = blob {
            self.transcript.give_summary(name.hash, Some(std::str::from_utf8(&bytes).unwrap()));
        }
        let now = self.bytes();
        assert!(now < measured, "{measured} became {now}");
        now
    }
}

/// Calls of each answer are followed by their results, in order, one each.
fn check_pairs(items: &[Arc<Item>]) {
    let mut due: Vec<String> = Vec::new();
    for item in items {
        match &**item {
            Item::Results(results) => {
                let told: Vec<String> =
                    results.iter().map(|result: &CallResult| result.call_id.clone()).collect();
                assert_eq!(told, std::mem::take(&mut due));
                assert!(!told.is_empty());
            }
            Item::User(texts) => assert!(due.is_empty() && !texts.is_empty()),
            Item::Mixed(parts) => assert!(due.is_empty() && !parts.is_empty()),
            Item::Assistant(parts) => {
                assert!(due.is_empty());
                due = parts
                    .iter()
                    .filter_map(|part| match part {
                        Part::ToolCall(call) => Some(call.id.clone()),
                        Part::Text(_) | Part::Reasoning(_) | Part::Opaque(_) => None,
                    })
                    .collect();
            }
        }
    }
    assert!(due.is_empty());
}

fn prompt() -> Prompt {
    Prompt::assemble(builtin_sections(Template::Main), vec![]).unwrap()
}

fn facts() -> TurnFacts {
    TurnFacts {
        guest: None,
        now: 0,
        cwd: "/w".into(),
        mode: Mode::Execute,
        added: Vec::new(),
        schema: None,
        schema_native: false,
        thinking: None,
    }
}

/// How often each id of a call stands in the body of a wire: with its call, and with its result.
fn ids(name: &str, items: Vec<Arc<Item>>) -> (usize, usize) {
    let request =
        derive(&prompt(), items, &World::default(), &facts(), &route(), Transition::Input, false, 100);
    let body = wire::by_name(name).unwrap().encode(&request, &mut EncodeCache::default());
    let body: Value = serde_json::from_slice(&body.body()).unwrap();
    let (mut calls, mut results) = (0, 0);
    count(&body, &mut |object| {
        let is = |key: &str, value: &str| object.get(key).is_some_and(|v| v == value);
        let called =
            is("type", "tool_use") || is("type", "function_call") || object.contains_key("functionCall");
        let in_chat = object.get("tool_calls").and_then(Value::as_array).map_or(0, Vec::len);
        calls += usize::from(called) + in_chat;
        let told = is("type", "tool_result")
            || is("type", "function_call_output")
            || is("role", "tool")
            || object.contains_key("functionResponse");
        results += usize::from(told);
    });
    (calls, results)
}

fn count(value: &Value, each: &mut dyn FnMut(&serde_json::Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            each(object);
            object.values().for_each(|value| count(value, each));
        }
        Value::Array(values) => values.iter().for_each(|value| count(value, each)),
        _ => {}
    }
}

#[test]
fn pairs_are_whole_on_each_wire() {
    for name in wire::NAMES {
        let mut session = Session::new();
        session.says("Never touch main.rs. Read it all.");
        (0..40).for_each(|n| session.works(&[700, 300][..1 + n % 2]));
        let before = ids(name, session.transcript.with(&[]));
        assert_eq!(before, (60, 60), "{name}");
        // 86 % of the window.
        let load = session.load(session.bytes() / 4 * 100 / 86);
        assert!(load.is_high() && !load.is_over());
        let entries = session.transcript.entries(&[]);
        let Step::Summarise(to) = first_step(&entries, &load, true, false) else {
            panic!("no summary is wanted")
        };
        let change = with_summary(&entries, &load, to, "- all of it (record 4)").unwrap();
        assert!(change.tokens_after * 2 <= load.window, "{name}: {} of {}", change.tokens_after, load.window);
        session.compacted(change);
        let items = session.transcript.with(&[]);
        check_pairs(&items);
        let (calls, results) = ids(name, items);
        assert!(calls == results && calls > 5 && calls < 30, "{name}: {calls} {results}");
    }
}

#[test]
fn the_window_is_full_where_the_design_says() {
    let high = |window, tokens| Load { window, bytes: tokens * 4, tokens }.is_high();
    for (window, tokens, expected) in [
        (10_000, 8_500, false),
        (10_000, 8_501, true),
        // 13,000 tokens are more than 15 % of a window below 86,667, and count from 64,000 on.
        (63_999, 51_000, false),
        (64_000, 51_000, false),
        (64_000, 51_001, true),
        (200_000, 170_000, false),
        (200_000, 170_001, true),
    ] {
        assert_eq!(high(window, tokens), expected, "{tokens} of {window}");
    }
}

#[test]
fn a_summary_that_is_no_shorter_is_none() {
    let mut session = Session::new();
    session.says("go");
    (0..10).for_each(|_| session.works(&[500]));
    let load = session.load(1_500);
    let entries = session.transcript.entries(&[]);
    let Step::Summarise(to) = first_step(&entries, &load, true, false) else {
        panic!("no summary is wanted")
    };
    assert_eq!(with_summary(&entries, &load, to, " \n"), Err("the summary is empty".into()));
    let grown = with_summary(&entries, &load, to, &"blah ".repeat(3_000));
    assert_eq!(grown, Err("the summary is no shorter than what it sums up".into()));
    assert!(with_summary(&entries, &load, to, "short").is_ok());
}

#[test]
fn a_hundred_constraints_survive_ten_compactions_or_are_in_the_log() {
    let mut session = Session::new();
    let said: Vec<(Seq, String)> = (0..100)
        .map(|n| {
            let text = format!("Constraint number {n}: you must never change file_{n}.rs of the project.");
            (session.says(&text), text)
        })
        .collect();
    let window = 12_000;
    let mut sizes = Vec::new();
    while sizes.len() < 10 {
        session.works(&[900]);
        let load = session.load(window);
        if !load.is_high() {
            continue;
        }
        let entries = session.transcript.entries(&[]);
        let change = match first_step(&entries, &load, true, false) {
            // A summariser that drops everything.
            Step::Summarise(to) => with_summary(&entries, &load, to, "Things were done.").unwrap(),
            Step::Change(change) => change,
            Step::Nothing(why) => panic!("{why}"),
        };
        sizes.push(session.compacted(change));
        check_pairs(&session.transcript.with(&[]));
    }
    let shown: String = session
        .transcript
        .with(&[])
        .iter()
        .map(|item| match &**item {
            Item::User(texts) => texts.join("\n"),
            Item::Mixed(_) | Item::Assistant(_) | Item::Results(_) => String::new(),
        })
        .collect();
    let pinned = said.iter().filter(|(_, text)| shown.contains(text.as_str())).count();
    // An eighth of 12,000 tokens are 6,000 bytes, and each constraint takes some 90 of them.
    assert!((55..100).contains(&pinned), "{pinned}");
    // The others are in the part that the head names, for `recall` to find.
    let head = session.transcript.items()[0].head.clone().unwrap();
    let archive = head.archive.unwrap();
    assert!(said.iter().all(|(place, text)| shown.contains(text.as_str())
        || (archive.from..=archive.to).contains(place)));
    assert!(sizes.iter().all(|bytes| bytes / 4 <= window / 2), "{sizes:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_compaction_keeps_pairs_and_shrinks(
        steps in prop::collection::vec((0u8..8, prop::collection::vec(0usize..30_000, 0..4)), 1..40),
        window in 500u64..40_000,
        summary in "[a-z \n]{0,4000}",
        way in 0u8..3,
    ) {
        let mut session = Session::new();
        session.says("Always be brief. Go.");
        for (kind, results) in &steps {
            match kind {
                0 => drop(session.says("And now? Never stop.")),
                _ => session.works(results),
            }
            let load = session.load(window);
            if !load.is_high() && way != 2 {
                continue;
            }
            let entries = session.transcript.entries(&[]);
            let change = match first_step(&entries, &load, way != 0, way == 2) {
                Step::Change(change) => Some(change),
                Step::Summarise(to) => {
                    with_summary(&entries, &load, to, &summary).or_else(|_| mechanical(&entries, &load)).ok()
                }
                Step::Nothing(_) => None,
            };
            if let Some(change) = change {
                let last = session.transcript.with(&[]).last().cloned();
                session.compacted(change);
                let items = session.transcript.with(&[]);
                check_pairs(&items);
                // The newest item stays, if only by its beginning.
                let kind = |item: &Arc<Item>| std::mem::discriminant(&**item);
                prop_assert_eq!(items.last().map(kind), last.as_ref().map(kind));
            }
        }
    }

    #[test]
    fn a_rewind_over_compactions_shows_what_was_shown(
        sizes in prop::collection::vec(0usize..6_000, 4..30),
        back in any::<prop::sample::Index>(),
    ) {
        let mut session = Session::new();
        session.says("Never stop.");
        let mut shown = vec![(session.seq, session.transcript.with(&[]))];
        for bytes in &sizes {
            session.works(&[*bytes]);
            shown.push((session.seq, session.transcript.with(&[])));
            let load = session.load(4_000);
            if load.is_high() && let Ok(change) = mechanical(&session.transcript.entries(&[]), &load) {
                session.compacted(change);
                shown.push((session.seq, session.transcript.with(&[])));
            }
        }
        let (to, then) = shown[back.index(shown.len())].clone();
        session.push(Body::Rewound(Rewound { to, files: None, conversation: true, by: "p".into() }));
        prop_assert_eq!(session.transcript.with(&[]), then);
    }
}
