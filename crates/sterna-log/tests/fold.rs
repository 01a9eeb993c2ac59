//! Folds: events of every record, the ledger, the world. Expectations are written by hand; the events' form is the
//! committed schema's.

#![allow(clippy::unwrap_used)]

#[path = "../../sterna-turn/tests/world/mod.rs"]
mod world;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value, json};
use sterna_log::fold::{Folded, World};
use sterna_model::*;
use world::*;

static SCHEMA: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
    let text = include_str!("../../../events.schema.json");
    jsonschema::validator_for(&serde_json::from_str::<Value>(text).unwrap()).unwrap()
});

fn check_schema(event: &Event) -> Value {
    let value = serde_json::to_value(event).unwrap();
    if let Err(error) = SCHEMA.validate(&value) {
        panic!("{error} at {}: {value}", error.instance_path());
    }
    value
}

/// Folds bodies as the records 1, 2, ... of turn 1, and gives the events of each.
fn fold(bodies: impl IntoIterator<Item = Body>) -> (Folded, Vec<Vec<Event>>) {
    let mut folded = Folded::new();
    let mut events = Vec::new();
    for (body, seq) in bodies.into_iter().zip(1..) {
        let record = record(seq, Some(1), body);
        folded.apply(&record);
        let of = folded.events(&record);
        assert!(!of.is_empty(), "{record:?} shows nothing");
        of.iter().for_each(|event| drop(check_schema(event)));
        assert!(of.iter().all(|event| event.seq == seq));
        events.push(of);
    }
    (folded, events)
}

fn types(events: &[Event]) -> Vec<String> {
    events.iter().map(|event| check_schema(event)["type"].as_str().unwrap().to_owned()).collect()
}

fn key(step: u32, kind: EffectKind, ordinal: u32) -> EffectKey {
    EffectKey { session: SessionId::new(SESSION).unwrap(), turn: 1, step, kind, ordinal }
}

fn asks(step: u32, inputs: Vec<Seq>) -> Body {
    model_intent(&CallModel {
        key: key(step, EffectKind::Model, 0),
        attempt: 1,
        failures: 0,
        waited_ms: 0,
        not_before: None,
        transition: Transition::Input,
        inputs,
        tools_off: false,
        intent: None,
    })
}

fn says(step: u32, parts: Vec<Part>, classes: Vec<EffectClass>, billed: Billed) -> Body {
    let model = ModelOutcome {
        parts,
        stop: ModelStop::EndTurn,
        classes,
        billed,
        partial: false,
        duration_ms: 3,
        checked: None,
    };
    outcome(&key(step, EffectKind::Model, 0), EffectResult::Model(model))
}

fn ended(n: u32, status: ToolStatus, view: &str, facts: Vec<Fact>) -> Body {
    let result = ToolOutcome {
        status,
        view: view.into(),
        full: None,
        facts,
        started_at: 7,
        duration_ms: 2,
        untrusted: None,
        attachments: Vec::new(),
    };
    outcome(&key(1, EffectKind::Tool, n), EffectResult::Tool(result))
}

fn text(text: &str) -> Vec<Part> {
    vec![Part::Text(text.into())]
}

fn todo(id: &str, status: TodoStatus) -> TodoItem {
    TodoItem {
        id: id.into(),
        subject: format!("subject {id}"),
        description: String::new(),
        active_form: String::new(),
        status,
        owner: None,
        blocks: vec![],
        blocked_by: vec![],
        metadata: None,
    }
}

fn grant(scope: GrantScope) -> Body {
    let grant = Grant {
        tool: "tool".into(),
        summary: "s".into(),
        scope,
        content: Digest([9; 32]),
        effects: None,
        expires: None,
        permits: None,
    };
    Body::GrantGiven { grant, by: "p".into() }
}

/// A turn with three calls: one that asks and is refused, one that has an intent, one that needs none.
fn beginning() -> Vec<Body> {
    use EffectClass::{AtMostOnce as A, Pure as P};
    vec![
        opened(SESSION, None),
        input("go", Delivery::NextTurn),
        started(vec![2], Limits::default(), OnAsk::Park),
        asks(1, vec![]),
        says(1, vec![call("a", "{}"), call("b", "{}"), call("c", "{}")], vec![A, A, P], billed(5)),
    ]
}

fn judge(call: &EffectKey) -> Body {
    let intent = JudgeIntent {
        call: call.clone(),
        pass: JudgePass::Quick,
        subject: Digest::ZERO,
        asked: BlobRef { hash: Digest::ZERO, bytes: 1 },
        route: route(),
        max_output: 64,
        encoder: "e".into(),
        request: Digest::ZERO,
        bytes: 1,
        schema_native: false,
    };
    let (key, class) = (key(1, EffectKind::Judge, 0), EffectClass::Idempotent);
    let what = Intended::Judge(Box::new(intent));
    Body::Intent(Box::new(Intent { key, class, attempt: 1, what }))
}

#[test]
fn every_body_has_its_events() {
    let by = || "p".to_owned();
    let check = |body: Body, expected: &[&str]| {
        let (_, events) = fold(beginning().into_iter().chain([body]));
        assert_eq!(types(&events[5]), expected);
    };
    let k = |n| key(1, EffectKind::Tool, n);
    let (_, events) = fold(beginning());
    let expected: [&[&str]; 5] = [
        &["session.opened"],
        &["input.accepted"],
        &["turn.started"],
        &["step.started", "model.started"],
        &["model.ended", "usage", "tool.proposed", "tool.proposed", "tool.proposed"],
    ];
    for (of, expected) in events.iter().zip(expected) {
        assert_eq!(types(of), expected);
    }
    check(Body::TitleSet { title: "t".into(), by: by(), made: None }, &["session.titled"]);
    let made = |title: &str, instead_of: Option<&str>, failed: Option<&str>| Body::TitleSet {
        title: title.into(),
        by: by(),
        made: Some(Box::new(TitleMade {
            instead_of: instead_of.map(str::to_owned),
            asking: false,
            route: route(),
            billed: billed(5),
            failed: failed.map(str::to_owned),
        })),
    };
    check(made("t", Some("go"), None), &["session.titled", "usage"]);
    check(made("t", Some("other"), None), &["warning", "usage"]);
    check(made("", Some("go"), Some("no title")), &["warning", "usage"]);
    let edited = |edit: &dyn Fn(&mut TitleMade)| {
        let mut body = made("", Some("go"), Some("no title"));
        if let Body::TitleSet { made: Some(made), .. } = &mut body {
            edit(made);
        }
        body
    };
    check(edited(&|made| made.asking = true), &["title.asking"]);
    // A provider that failed at once was not paid.
    check(edited(&|made| made.billed = Billed::default()), &["warning"]);
    check(Body::SessionClosed { by: by() }, &["session.closed"]);
    check(Body::RouteChanged { route: route(), cause: "c".into(), turn: None }, &["route.changed"]);
    check(Body::ModeChanged { mode: Mode::Plan, by: by() }, &["mode.changed"]);
    check(input("more", Delivery::AfterWork), &["input.accepted"]);
    check(
        Body::InputEdited { input: 2, parts: vec![InputPart::Text("e".into())], by: by() },
        &["input.edited"],
    );
    check(Body::InputWithdrawn { inputs: vec![2], by: by() }, &["input.withdrawn"]);
    check(asks(2, vec![2]), &["step.started", "input.steered", "model.started"]);
    check(tool_intent(&k(1), EffectClass::AtMostOnce, 1), &["tool.started"]);
    check(tool_outcome(&k(0), ToolStatus::Denied, "no"), &["tool.ended"]);
    check(tool_outcome(&k(2), ToolStatus::Ok, "yes"), &["tool.started", "tool.ended"]);
    let facts = vec![Fact::Todo(todo("1", TodoStatus::Pending))];
    check(ended(2, ToolStatus::Ok, "yes", facts), &["tool.started", "tool.ended", "todo.changed"]);
    check(Body::InDoubt { key: k(1), resolution: InDoubtPolicy::Report }, &["warning"]);
    check(judge(&k(0)), &["approval.judging"]);
    let judged = |usage| Judgement {
        says: JudgeSays::Deny,
        reason: "no".into(),
        failed: None,
        billed: usage,
        duration_ms: 1,
    };
    let key = key(1, EffectKind::Judge, 0);
    let said = |usage| {
        Body::Outcome(Box::new(Outcome {
            key: key.clone(),
            attempt: 1,
            result: EffectResult::Judged(judged(usage)),
        }))
    };
    let (_, events) = fold(beginning().into_iter().chain([judge(&k(0)), said(billed(5))]));
    assert_eq!(types(&events[6]), ["usage", "approval.judged"]);
    check(wait_opened(&k(0), false), &["approval.requested"]);
    check(wait_opened(&k(0), true), &["question.asked"]);
    let resolved = |ruling| Body::WaitResolved { wait: k(0).to_string(), ruling, by: by(), early: false };
    for ruling in [
        Ruling::Allow,
        Ruling::Deny { feedback: "no".into() },
        Ruling::Deny { feedback: String::new() },
        Ruling::Timeout,
        Ruling::Answers(vec!["yes".into()]),
    ] {
        check(resolved(ruling.clone()), &["approval.resolved"]);
        let asked = [wait_opened(&k(0), true), resolved(ruling)];
        let (_, events) = fold(beginning().into_iter().chain(asked));
        assert_eq!(types(&events[6]), ["question.answered"]);
    }
    let (request, reason) = ("r".into(), String::new());
    check(Body::CancelRequested { turn: 1, request, by: by(), reason }, &["cancel.requested"]);
    check(Body::LimitReached { turn: 1, reason: StopReason::Deadline }, &["limit.reached"]);
    check(grant(GrantScope::Turn), &["grant.given"]);
    check(Body::GrantRevoked { content: Digest([9; 32]), by: by() }, &["grant.revoked"]);
    for change in [
        MemoryChange::Used { ids: vec!["m1".into()] },
        MemoryChange::Forgotten { ids: vec!["m1".into()], by: by() },
        MemoryChange::Recalled {
            notes: vec![RecalledNote {
                id: "m1".into(),
                scope: MemoryScope::User,
                name: "port".into(),
                text: "5432".into(),
                cut: false,
                tainted: vec![],
            }],
        },
    ] {
        check(Body::Memory(Box::new(change)), &["memory.changed"]);
    }
    check(Body::TodoSet { items: vec![], by: by() }, &["todo.changed"]);
    let taken = CheckpointTaken {
        root: "/w".into(),
        manifest: Digest([9; 32]),
        files: 1,
        bytes_new: 2,
        skipped: 0,
        skipped_names: vec![],
    };
    check(Body::CheckpointTaken(Box::new(taken)), &["checkpoint.taken"]);
    check(Body::CheckpointMissed { root: "/".into(), why: "no".into() }, &["warning"]);
    let rewound = Rewound { to: 2, files: None, conversation: false, by: by() };
    check(Body::Rewound(rewound), &["session.rewound"]);
    let missed = Body::CompactionMissed { trigger: CompactTrigger::Manual, why: "small".into() };
    check(missed, &["warning"]);
    let compacted = Compacted {
        trigger: CompactTrigger::Window,
        stage: CompactStage::Cut,
        key: None,
        archive: Some(Archive { from: 2, to: 3 }),
        summary: None,
        pinned: vec![],
        cut: vec![],
        tokens_before: 9,
        tokens_after: 5,
        bytes_before: 9,
        bytes_after: 5,
        failed: None,
        frame: None,
    };
    check(Body::Compacted(Box::new(compacted)), &["context.compacted"]);
    let stopped = TurnOutcome::Stopped { reason: StopReason::Denied, detail: "d".into(), by: None };
    check(committed(stopped), &["turn.committed", "result"]);
}

#[test]
fn steps_end_once_whatever_ends_them() {
    let m = key(1, EffectKind::Model, 0);
    let before = || beginning().into_iter().take(4);
    for (then, expected) in [
        (says(1, text("a"), vec![], billed(5)), vec!["model.ended", "usage", "step.ended"]),
        (says(1, text("a"), vec![], Billed::default()), vec!["model.ended", "step.ended"]),
        (
            answered(&m, vec![call("x", "{}")], vec![], ModelStop::Cancelled),
            vec!["model.ended", "usage", "step.ended"],
        ),
        (
            attempt(&m, 1, ErrorClass::Server, Some(5)),
            vec!["model.reset", "usage", "retry.waiting", "model.started"],
        ),
        (attempt(&m, 1, ErrorClass::Auth, None), vec!["model.reset", "usage"]),
        (
            outcome(&m, EffectResult::ModelFailed(failure(ErrorClass::Auth, 0))),
            vec!["model.ended", "step.ended"],
        ),
    ] {
        let (_, events) = fold(before().chain([then]));
        assert_eq!(types(&events[4]), expected);
    }
    // The last of a step's calls ends it, in whatever order they settle.
    let ends = [2, 0, 1].map(|n| tool_outcome(&key(1, EffectKind::Tool, n), ToolStatus::Denied, "no"));
    let (_, events) = fold(beginning().into_iter().chain(ends));
    let last: Vec<_> = events[5..].iter().map(|of| types(of).last().unwrap().clone()).collect();
    assert_eq!(last, ["tool.ended", "tool.ended", "step.ended"]);
}

#[test]
fn the_event_copy_of_an_output_is_cut_at_a_character() {
    for (view, bytes) in [("x".repeat(2_048), 2_048), ("x".repeat(2_049), 2_048), ("é".repeat(1_025), 2_048)]
    {
        let (_, events) = fold(beginning().into_iter().chain([ended(2, ToolStatus::Ok, &view, vec![])]));
        let event = serde_json::to_value(&events[5][1]).unwrap();
        assert_eq!(event["output"].as_str().unwrap().len(), bytes);
        assert_eq!(
            (event["bytes"].as_u64(), event["reference"].as_str()),
            (Some(view.len() as u64), Some("s:6"))
        );
    }
    let odd = format!("x{}", "é".repeat(1_100));
    let (_, events) = fold(beginning().into_iter().chain([ended(2, ToolStatus::Ok, &odd, vec![])]));
    assert_eq!(serde_json::to_value(&events[5][1]).unwrap()["output"].as_str().unwrap().len(), 2_047);
}

#[test]
fn a_result_has_its_fields_and_no_others() {
    let written = |path: &str| Fact::FileWritten { path: path.into(), before: None, after: Digest([1; 32]) };
    let turn = |outcome: TurnOutcome| {
        let more = vec![
            tool_outcome(&key(1, EffectKind::Tool, 0), ToolStatus::Denied, "not that"),
            ended(
                1,
                ToolStatus::Ok,
                "w",
                vec![written("/w/src/a.rs"), written("/w/src/a.rs"), written("/other/b")],
            ),
            ended(
                2,
                ToolStatus::Ok,
                "w",
                vec![written("/workshop/c"), Fact::FileRemoved { path: "/w/gone".into(), before: None }],
            ),
            asks(2, vec![]),
            says(2, text("done"), vec![], billed(7)),
            committed(outcome),
        ];
        let (_, events) = fold(beginning().into_iter().chain(more));
        let mut value = serde_json::to_value(events.last().unwrap().last().unwrap()).unwrap();
        // The envelope.
        for field in ["v", "seq", "at", "type"] {
            assert!(value.as_object_mut().unwrap().remove(field).is_some());
        }
        value
    };
    let usage =
        json!([{"model": "test/model", "calls": 2, "input_uncached": 12, "output": 12, "cost": 1.2e-7}]);
    let common = json!({
        "usage": usage, "cost": 1.2e-7, "steps": 1, "session": "s", "turn": 1,
        "denials": [{"call_id": "a", "tool": "tool", "reason": "not that"}],
        "changed_files": ["/other/b", "/workshop/c", "gone", "src/a.rs"],
    });
    let with = |more: Value| {
        let mut all = common.as_object().unwrap().clone();
        all.extend(more.as_object().unwrap().clone());
        Value::Object(all)
    };
    let finished = |value| TurnOutcome::Finished { message: "done".into(), value };
    assert_eq!(turn(finished(None)), with(json!({"outcome": "finished", "message": "done"})));
    let valued = with(json!({"outcome": "finished", "message": "done", "value": {"a": 1}}));
    assert_eq!(turn(finished(Some(json!({"a": 1})))), valued);
    let stopped =
        TurnOutcome::Stopped { reason: StopReason::Cancelled, detail: "enough".into(), by: Some("p".into()) };
    assert_eq!(turn(stopped), with(json!({"outcome": "stopped", "stop": "cancelled", "message": "enough"})));
}

#[test]
fn the_ledger_adds_up() {
    let m = |step| key(step, EffectKind::Model, 0);
    let unpriced = Billed { usage: Usage { output: 4, ..Usage::default() }, ..Billed::default() };
    let second = || started(vec![2], Limits::default(), OnAsk::Deny);
    let done = || committed(TurnOutcome::Finished { message: "m".into(), value: None });
    let first = vec![
        opened(SESSION, None),
        input("go", Delivery::NextTurn),
        started(vec![2], Limits::default(), OnAsk::Deny),
        asks(1, vec![]),
        attempt(&m(1), 1, ErrorClass::Server, Some(5)),
        attempt(&m(1), 2, ErrorClass::Server, Some(5)),
        says(1, text("a"), vec![], billed(5)),
        done(),
    ];
    // 1 + 1 + 5 tokens each way, at 10 nano-dollars: three billed attempts.
    let (folded, _) = fold(first.clone());
    let sum = folded.ledger.turn();
    assert_eq!((sum.calls, sum.usage.total(), sum.cost()), (3, 14, Some(70)));
    assert_eq!(folded.ledger.total(), sum);
    // The last failure stands in its attempt; the outcome after it is no second row.
    let failed = [
        second(),
        asks(1, vec![]),
        attempt(&m(1), 1, ErrorClass::Auth, None),
        outcome(&m(1), EffectResult::ModelFailed(failure(ErrorClass::Auth, 0))),
        done(),
    ];
    let (folded, _) = fold(first.iter().cloned().chain(failed));
    let (turn, total) = (folded.ledger.turn(), folded.ledger.total());
    assert_eq!((turn.calls, turn.usage.total(), turn.cost()), (1, 2, Some(10)));
    assert_eq!((total.calls, total.usage.total(), total.cost()), (4, 16, Some(80)));
    assert_eq!(folded.ledger.turn_by_model().len(), 1);
    // One call without a price: the sum has none either, in this turn and in all.
    let priceless = [second(), asks(1, vec![]), says(1, text("a"), vec![], unpriced), done()];
    let (folded, _) = fold(first.iter().cloned().chain(priceless));
    let (turn, total) = (folded.ledger.turn(), folded.ledger.total());
    assert_eq!((turn.usage.total(), turn.cost()), (4, None));
    assert_eq!((total.usage.total(), total.cost()), (18, None));
    assert_eq!(folded.ledger.by_day().keys().copied().collect::<Vec<_>>(), [0]);
    // A fork has spent nothing yet; what it spends is its own.
    let parent = Parent { session: SessionId::new(SESSION).unwrap(), seq: 8, hash: Digest::ZERO };
    let mut forked = Folded::new();
    let history = first.iter().cloned().zip(1..).map(|(body, seq)| record(seq, Some(1), body));
    let own =
        [opened("child", Some(parent)), second(), asks(1, vec![]), says(1, text("a"), vec![], billed(2))];
    let own = own.into_iter().zip(1..).map(|(body, seq)| record(seq, Some(2), body));
    for record in history.chain(own) {
        forked.apply(&record);
        forked.events(&record).iter().for_each(|event| drop(check_schema(event)));
    }
    assert_eq!((forked.ledger.total().calls, forked.ledger.total().usage.total()), (1, 4));
    assert_eq!(forked.session.unwrap().as_str(), "child");
}

#[test]
fn files_todos_grants_and_denials_are_those_of_the_facts() {
    let hash = |n| Digest([n; 32]);
    let read = |path: &str, n| Fact::FileRead { path: path.into(), hash: hash(n) };
    let write = |path: &str, n| Fact::FileWritten { path: path.into(), before: None, after: hash(n) };
    let items = ["1", "2", "3"].map(|id| Fact::Todo(todo(id, TodoStatus::Pending)));
    let facts = [vec![read("/w/a", 1), write("/w/b", 2), read("/w/b", 3)], items.into()].concat();
    let change = vec![
        write("/w/a", 4),
        Fact::Todo(todo("2", TodoStatus::Deleted)),
        Fact::Todo(todo("3", TodoStatus::Completed)),
    ];
    let all = beginning().into_iter().chain([
        ended(0, ToolStatus::Ok, "x", facts),
        ended(1, ToolStatus::Ok, "x", change),
        grant(GrantScope::Once),
        grant(GrantScope::Turn),
        grant(GrantScope::Session),
    ]);
    let (mut folded, _) = fold(all);
    let expected = BTreeMap::from([("/w/a".to_owned(), hash(4)), ("/w/b".to_owned(), hash(3))]);
    assert_eq!(folded.world.files, expected);
    let todos: Vec<(&str, TodoStatus)> =
        folded.world.todos.values().map(|item| (item.id.as_str(), item.status)).collect();
    assert_eq!(todos, [("1", TodoStatus::Pending), ("3", TodoStatus::Completed)]);
    let scopes = |folded: &Folded| folded.world.grants.iter().map(|grant| grant.scope).collect::<Vec<_>>();
    // What was granted once was the answer to its wait; what was granted for the turn ends with it.
    assert_eq!(scopes(&folded), [GrantScope::Turn, GrantScope::Session]);
    folded.apply(&record(11, Some(2), started(vec![2], Limits::default(), OnAsk::Deny)));
    assert_eq!(scopes(&folded), [GrantScope::Session]);
    assert!(folded.world.turn_changed.is_empty() && folded.world.turn_denials.is_empty());
    folded.apply(&record(
        12,
        None,
        Body::TodoSet { items: vec![todo("9", TodoStatus::Pending)], by: "p".into() },
    ));
    assert_eq!(folded.world.todos.keys().collect::<Vec<_>>(), ["9"]);
    folded.apply(&record(13, None, Body::GrantRevoked { content: hash(9), by: "p".into() }));
    assert!(folded.world.grants.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn events_of_random_logs_keep_their_order_and_their_form(bytes in prop::collection::vec(any::<u8>(), 0..160)) {
        let mut folded = Folded::new();
        let (mut seq, mut steps, mut calls, mut turns) = (0, 0i32, 0i32, 0i32);
        for record in random_log(&bytes) {
            folded.apply(&record);
            let events = folded.events(&record);
            prop_assert!(!events.is_empty());
            for event in &events {
                prop_assert!(event.seq >= seq);
                seq = event.seq;
                match check_schema(event)["type"].as_str().unwrap() {
                    "turn.started" => turns += 1,
                    "step.started" => steps += 1,
                    "tool.proposed" => calls += 1,
                    "tool.ended" => calls -= 1,
                    "step.ended" => {
                        steps -= 1;
                        prop_assert_eq!((steps, calls), (0, 0));
                    }
                    "result" => {
                        turns -= 1;
                        prop_assert_eq!((turns, steps, calls), (0, 0, 0));
                    }
                    _ => {}
                }
            }
        }
    }
}

#[test]
fn a_rewind_takes_back_files_and_todos_and_gives_no_right_back() {
    let by = || "p".to_owned();
    let grant = |content: u8| Body::GrantGiven {
        grant: Grant {
            tool: "shell".into(),
            summary: "s".into(),
            scope: GrantScope::Session,
            content: Digest([content; 32]),
            effects: None,
            expires: None,
            permits: None,
        },
        by: by(),
    };
    let revoked = |content: u8| Body::GrantRevoked { content: Digest([content; 32]), by: by() };
    let files = |files: &[(&str, u8)]| -> Body {
        let fact =
            |(path, hash): &(&str, u8)| Fact::FileRead { path: (*path).into(), hash: Digest([*hash; 32]) };
        ended(0, ToolStatus::Ok, "", files.iter().map(fact).collect())
    };
    let back =
        |to: Seq, conversation: bool| Body::Rewound(Rewound { to, files: None, conversation, by: by() });
    let todos = |items: &[&str]| Body::TodoSet {
        items: items.iter().map(|id| todo(id, TodoStatus::Pending)).collect(),
        by: by(),
    };
    let mut world = World::default();
    let mut seq = 0;
    // A record, and the files, todo items and grants that there are after it.
    let mut check = |body: Body, paths: &[(&str, u8)], items: &[&str], grants: &[u8]| {
        seq += 1;
        world.apply(&Record { v: 1, seq, at: 0, turn: Some(1), step: Some(1), body });
        let held: Vec<(&str, u8)> =
            world.files.iter().map(|(path, hash)| (path.as_str(), hash.0[0])).collect();
        let ids: Vec<&str> = world.todos.keys().map(String::as_str).collect();
        let given: Vec<u8> = world.grants.iter().map(|grant| grant.content.0[0]).collect();
        assert_eq!(
            (held.as_slice(), ids.as_slice(), given.as_slice()),
            (paths, items, grants),
            "record {seq}"
        );
    };
    check(grant(1), &[], &[], &[1]);
    check(grant(2), &[], &[], &[1, 2]);
    check(files(&[("/a", 1), ("/b", 1)]), &[("/a", 1), ("/b", 1)], &[], &[1, 2]);
    check(todos(&["x", "y"]), &[("/a", 1), ("/b", 1)], &["x", "y"], &[1, 2]);
    check(files(&[("/a", 2), ("/c", 1)]), &[("/a", 2), ("/b", 1), ("/c", 1)], &["x", "y"], &[1, 2]);
    check(todos(&["z"]), &[("/a", 2), ("/b", 1), ("/c", 1)], &["z"], &[1, 2]);
    check(revoked(1), &[("/a", 2), ("/b", 1), ("/c", 1)], &["z"], &[2]);
    check(grant(3), &[("/a", 2), ("/b", 1), ("/c", 1)], &["z"], &[2, 3]);
    check(back(4, false), &[("/a", 2), ("/b", 1), ("/c", 1)], &["z"], &[2, 3]);
    check(back(4, true), &[("/a", 1), ("/b", 1)], &["x", "y"], &[2]);
    check(back(2, true), &[], &[], &[2]);
    // Back to before the first rewind: what it took back is there again, but for the rights.
    check(back(9, true), &[("/a", 2), ("/b", 1), ("/c", 1)], &["z"], &[2]);
    check(back(10, true), &[("/a", 1), ("/b", 1)], &["x", "y"], &[2]);
}
