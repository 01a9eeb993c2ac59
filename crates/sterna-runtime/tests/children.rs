//! Agents that start agents: sessions of their own, awaited without a task, under their maker's rights and caps.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/hooks.rs"]
mod double;
#[path = "common/family.rs"]
mod home;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::*;
use double::{Reaction, Told, listening};
use futures::FutureExt;
use futures::future::BoxFuture;
use home::*;
use serde_json::{Value, json};
use sterna_log::{Log, MemoryLog};
use sterna_model::*;
use sterna_runtime::*;
use sterna_tool::{Access, SharedTool, ToolDone, ToolReturn};
use tokio::sync::Notify;

#[tokio::test]
async fn a_child_does_its_task_in_a_session_of_its_own_and_is_paid_by_its_maker() {
    let home = family(
        vec![
            ("begin now", Thought::Call(vec![spawn("count the files")])),
            ("count the files", Thought::Say("there are 3")),
            ("finished: there are 3", Thought::Say("three it is")),
        ],
        vec![],
    );
    let result = home.world.run(home.world.submit("s", "begin now")).await;
    assert_eq!(result.message.as_deref(), Some("three it is"));
    // Two calls of its own, one of the child.
    assert_eq!((result.usage[0].calls, result.cost), (3, Some(3_000.0 / 1e9)));
    let child = &children(&home.world).await["count the files"];
    let records = home.world.records(child.as_str()).await;
    let Body::SessionOpened(opened) = &records[0].body else { panic!() };
    let spawned = opened.spawned.as_deref().unwrap();
    assert_eq!((spawned.by.to_string(), spawned.depth), ("s/1/1/tool/0".into(), 1));
    assert_eq!(
        home.world.bodies("s").await[2..],
        [
            "turn_started",
            "intent 1/model/0",
            "outcome 1/model/0",
            "intent 1/tool/0",
            "wait_opened",
            "wait_resolved",
            "intent 1/tool/0",
            "outcome 1/tool/0 ok",
            "intent 2/model/0",
            "outcome 2/model/0",
            "turn_committed"
        ]
    );
    // Its prompt says who it is, and it knows nothing of its maker's conversation.
    let asked = home.minds.asked.lock().unwrap().clone();
    let of_child: Vec<&String> = asked.iter().filter(|body| body.contains("You are a tester.")).collect();
    assert_eq!(of_child.len(), 1);
    assert!(!of_child[0].contains("begin now"));
    let state = State::load(&home.world.runtime.parts().log, &SessionId::new("s").unwrap()).await.unwrap();
    let by_source: Vec<_> =
        state.folded.ledger.by_source().iter().map(|(source, sum)| (source.word(), sum.calls)).collect();
    assert_eq!(by_source, [("turn", 2), ("child", 1)]);
}

#[tokio::test]
async fn children_of_one_answer_work_side_by_side_and_no_more_than_are_allowed() {
    let tasks = ["task a", "task b", "task c", "task d", "task e"];
    let mut rules = vec![
        ("begin now", Thought::Call(tasks.iter().map(|task| spawn(task)).collect())),
        ("finished: done", Thought::Say("all five")),
    ];
    rules.extend(tasks.map(|task| (task, Thought::Later("done"))));
    let home = family(rules, vec![]);
    let mut submit = home.world.submit("s", "begin now");
    submit.config.limits.max_children = 3;
    let accepted = home.world.runtime.submit(submit).await.unwrap();
    until("three are at work", async || home.minds.busy.lock().unwrap().0 == 3).await;
    until("five are made", async || children(&home.world).await.len() == 5).await;
    let go = home.minds.go.clone();
    let let_go = tokio::spawn(async move {
        loop {
            go.notify_one();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let result = home.world.result(&accepted).await;
    assert_eq!(result.message.as_deref(), Some("all five"));
    let_go.abort();
    assert_eq!(home.minds.busy.lock().unwrap().1, 3);
    // In the order of the calls, whoever was first.
    let request: Value = serde_json::from_str(home.minds.asked.lock().unwrap().last().unwrap()).unwrap();
    assert_eq!(results_in(&request).len(), 5);
}

#[tokio::test]
async fn a_call_of_another_tool_waits_for_the_children_before_it() {
    let home = family(
        vec![
            ("begin now", Thought::Call(vec![spawn("slow"), ("note", json!({}))])),
            ("slow", Thought::Later("done")),
            ("finished: done", Thought::Say("good")),
        ],
        vec![echo("note", EffectClass::AtMostOnce)],
    );
    let accepted = home.world.runtime.submit(home.world.submit("s", "begin now")).await.unwrap();
    until("the child works", async || home.minds.busy.lock().unwrap().0 == 1).await;
    home.minds.go.notify_one();
    assert_eq!(home.world.result(&accepted).await.outcome, "finished");
    let bodies = home.world.bodies("s").await;
    let at = |name: &str| bodies.iter().position(|body| body == name).unwrap();
    assert!(at("outcome 1/tool/0 ok") < at("intent 1/tool/1"), "{bodies:?}");
}

#[tokio::test]
async fn a_child_is_denied_what_its_maker_is_denied() {
    let touched = Arc::new(Mutex::new(0));
    let count = touched.clone();
    let danger = tool_of("danger", EffectClass::AtMostOnce, Access::Other, move |_, _| {
        *count.lock().unwrap() += 1;
        async move { Ok(ToolReturn::Done(ToolDone::text("boom"))) }.boxed()
    });
    // By rule, by mode, by the list of tools: also when the child is given it by name.
    type Change = fn(&mut TurnConfig);
    let cases: [(&str, Change, &str); 3] = [
        (
            "rule",
            |config| {
                config.mode = Mode::Bypass;
                config.rules.push(RuleText {
                    decision: Decision::Deny,
                    text: "danger".into(),
                    scope: Scope::User,
                    source: "test:1".into(),
                });
            },
            "denied by rule",
        ),
        ("mode", |config| config.mode = Mode::Plan, "denied"),
        ("list", |config| config.tools = vec!["agent".into()], "none of these tools is available"),
    ];
    for (name, change, told) in cases {
        let home = family(
            vec![
                ("begin now", Thought::Call(vec![("agent", json!({"task": "be bad", "tools": ["danger"]}))])),
                ("be bad", Thought::Call(vec![("danger", json!({}))])),
                ("denied", Thought::Say("I was denied")),
                ("finished: I was denied", Thought::Say("well")),
                ("none of these tools", Thought::Say("well")),
            ],
            vec![danger.clone()],
        );
        let mut submit = home.world.submit("s", "begin now");
        change(&mut submit.config);
        let result = home.world.run(submit).await;
        assert_eq!(result.message.as_deref(), Some("well"), "{name}");
        assert!(home.minds.asked(told) > 0, "{name}");
    }
    assert_eq!(*touched.lock().unwrap(), 0);
}

/// Tools that are shown by name only are given like others: what an agent is not given it neither sees nor calls.
#[tokio::test]
async fn a_child_has_of_the_deferred_tools_what_it_is_given() {
    for (given, calls, asked) in [
        (json!(["look"]), "far", "tool not available: far"),
        (json!(["look", "far"]), "far", "far away"),
        (json!(["far"]), "look", "tool not available: look"),
        (json!([]), "far", "far away"),
        (json!(["gone"]), "far", "none of these tools is available"),
    ] {
        let reached = tool("far", EffectClass::Pure, |_, _| {
            async { Ok(ToolReturn::Done(ToolDone::text("far away"))) }.boxed()
        });
        let home = family(
            vec![
                ("begin now", Thought::Call(vec![("agent", json!({"task": "go there", "tools": given}))])),
                ("go there", Thought::Call(vec![(calls, json!({}))])),
                (asked, Thought::Say("so it is")),
                ("finished: so it is", Thought::Say("well")),
            ],
            vec![reached, echo("look", EffectClass::Pure), echo("call_tool", EffectClass::Pure)],
        );
        let mut submit = home.world.submit("s", "begin now");
        submit.config.tools = ["agent", "look", "call_tool"].map(str::to_owned).into();
        submit.config.deferred = vec!["far".into()];
        let result = home.world.run(submit).await;
        let said = if asked.starts_with("none") { "so it is" } else { "well" };
        assert_eq!(result.message.as_deref(), Some(said), "{given}");
        let asked = home.minds.asked.lock().unwrap().clone();
        let of_child = asked.iter().find(|body| body.contains("You are a tester."));
        let named = given.as_array().unwrap().is_empty() || given.to_string().contains("far");
        assert_eq!(
            of_child.is_none_or(|body| body.contains(r"\n- far")),
            of_child.is_none() || named,
            "{given}"
        );
    }
}

#[tokio::test]
async fn agents_go_no_deeper_than_allowed() {
    let home = family(
        vec![
            ("begin now", Thought::Call(vec![spawn("depth one")])),
            ("depth one", Thought::Call(vec![spawn("depth two")])),
            ("depth two", Thought::Call(vec![spawn("depth three")])),
            ("deep: do it yourself", Thought::Say("the bottom")),
            ("finished: the bottom", Thought::Say("up")),
            ("finished: up", Thought::Say("top")),
        ],
        vec![],
    );
    let mut submit = home.world.submit("s", "begin now");
    submit.config.limits.max_child_depth = 2;
    let result = home.world.run(submit).await;
    assert_eq!(result.message.as_deref(), Some("top"));
    assert_eq!(children(&home.world).await.len(), 2);
    // Each maker pays for all beneath it: 2 + 2 + 2 calls.
    assert_eq!(result.usage[0].calls, 6);
}

#[tokio::test]
async fn a_child_stops_with_the_turn_that_waits_for_it() {
    let home = family(
        vec![("begin now", Thought::Call(vec![spawn("slow")])), ("slow", Thought::Later("never"))],
        vec![],
    );
    let accepted = home.world.runtime.submit(home.world.submit("s", "begin now")).await.unwrap();
    until("the child works", async || home.minds.busy.lock().unwrap().0 == 1).await;
    home.world.runtime.cancel(&accepted.session, "person", "enough").await.unwrap();
    let result = home.world.result(&accepted).await;
    assert_eq!((result.outcome, result.stop), ("stopped", Some(StopReason::Cancelled)));
    let child = children(&home.world).await["slow"].clone();
    until("the child stops", async || {
        home.world.bodies(child.as_str()).await.last().unwrap() == "turn_committed"
    })
    .await;
    let records = home.world.records(child.as_str()).await;
    let Body::TurnCommitted(committed) = &records.last().unwrap().body else { panic!() };
    let TurnOutcome::Stopped { reason, by, .. } = &committed.outcome else { panic!() };
    assert_eq!((*reason, by.as_deref()), (StopReason::Cancelled, Some("parent")));
}

/// A process dies at every record of a turn with a child, and another goes on: one child, one answer.
#[tokio::test]
async fn killed_at_any_record_the_child_is_made_once_and_its_answer_is_told_once() {
    let rules = || {
        vec![
            ("begin now", Thought::Call(vec![spawn("count")])),
            ("count", Thought::Say("it is 3")),
            ("finished: it is 3", Thought::Say("three")),
        ]
    };
    let whole = family(rules(), vec![]);
    whole.world.run(whole.world.submit("s", "begin now")).await;
    let child = children(&whole.world).await["count"].clone();
    let (ours, its) = (whole.world.records("s").await, whole.world.records(child.as_str()).await);
    // How far the child had come when its maker had so many records, and one more or less.
    for of_maker in 2..ours.len() {
        let opened_wait = of_maker >= 7;
        let resolved = of_maker >= 8;
        let lengths: Vec<usize> = match (opened_wait, resolved) {
            (_, true) => vec![its.len()],
            (true, false) => (2..=its.len()).collect(),
            // The call had its intent: the child may be there.
            (false, false) if of_maker == 6 => vec![0, 2],
            (false, false) => vec![0],
        };
        for of_child in lengths {
            let log = Arc::new(MemoryLog::new());
            for (id, records) in [(&ours[0], &ours[..of_maker]), (&its[0], &its[..of_child])] {
                let Body::SessionOpened(opened) = &id.body else { panic!() };
                if !records.is_empty() {
                    copy(&whole.world.log, &log, &opened.id, records).await;
                }
            }
            let next = over(log, TestEnv::new("two"), Minds::new(rules()), vec![]);
            let session = SessionId::new("s").unwrap();
            next.world.runtime.resume(&session, next.world.config());
            let accepted = Accepted { session, input: 2, repeated: false, opened: false };
            let result = next.world.result(&accepted).await;
            let at = format!("{of_maker} of the maker, {of_child} of the child");
            assert_eq!(result.message.as_deref(), Some("three"), "{at}");
            let made = children(&next.world).await;
            assert_eq!(made.len(), 1, "{at}: {made:?}");
            assert_eq!(made["count"], child, "{at}");
            let bodies = next.world.bodies("s").await;
            assert_eq!(bodies.iter().filter(|body| *body == "wait_resolved").count(), 1, "{at}: {bodies:?}");
            let of_child = next.world.bodies(child.as_str()).await;
            assert_eq!(of_child.iter().filter(|body| *body == "turn_committed").count(), 1, "{at}");
        }
    }
}

/// Copies the beginning of a log, with the appends' names, as a crash leaves it.
async fn copy(from: &MemoryLog, to: &MemoryLog, session: &SessionId, records: &[Record]) {
    let _ = from;
    let first = matches!(&records[0].body, Body::SessionOpened(opened) if opened.spawned.is_some());
    let name = match &records[0].body {
        Body::SessionOpened(SessionOpened { spawned: Some(spawned), .. }) => format!("spawn:{}", spawned.by),
        _ => "open".to_owned(),
    };
    let _ = first;
    let draft = |record: &Record| Draft {
        at: record.at,
        turn: record.turn,
        step: record.step,
        body: record.body.clone(),
    };
    let append = |id: String, expect, records: &[Record]| sterna_log::Append {
        session: session.clone(),
        expect,
        id,
        records: records.iter().map(draft).collect(),
        blobs: Vec::new(),
    };
    to.append(append(name, sterna_log::Expect::New(None), &records[..2])).await.unwrap();
    for (n, record) in records.iter().enumerate().skip(2) {
        let one = std::slice::from_ref(record);
        to.append(append(format!("r{n}"), sterna_log::Expect::Any, one)).await.unwrap();
    }
    // Prompts and the like.
    for bytes in blobs_of(from, records).await {
        sterna_log::Blobs::put(to, bytes).await.unwrap();
    }
}

async fn blobs_of(from: &MemoryLog, records: &[Record]) -> Vec<bytes::Bytes> {
    let mut found = Vec::new();
    for record in records {
        if let Body::Intent(intent) = &record.body
            && let Intended::Model(model) = &intent.what
        {
            let bytes = sterna_log::Blobs::get(from, &model.manifest).await.unwrap();
            let manifest: Manifest = serde_json::from_slice(&bytes).unwrap();
            found.push(bytes);
            for blob in manifest.parts.iter().map(|p| &p.text).chain(manifest.tools.iter().map(|t| &t.spec)) {
                found.push(sterna_log::Blobs::get(from, &blob.hash).await.unwrap());
            }
        }
    }
    found
}

#[tokio::test]
async fn a_child_that_waits_for_a_person_parks_its_maker_and_both_go_on() {
    let home = family(
        vec![
            ("begin now", Thought::Call(vec![spawn("ask first")])),
            ("ask first", Thought::Call(vec![("danger", json!({}))])),
            ("it is done", Thought::Say("I did it")),
            ("finished: I did it", Thought::Say("good")),
        ],
        vec![asking_tool("danger", "it is done")],
    );
    let mut submit = home.world.submit("s", "begin now");
    submit.config.on_ask = OnAsk::Park;
    let accepted = home.world.runtime.submit(submit).await.unwrap();
    let result = home.world.result(&accepted).await;
    assert_eq!(result.outcome, "parked");
    let child = children(&home.world).await["ask first"].clone();
    let wait = format!("{child}/1/1/tool/0");
    assert_eq!(result.message.unwrap(), format!("waits for an agent, which waits for {wait}"));
    // Another process answers the child's question, and only drives the child.
    let minds = home.minds.clone();
    let next =
        over(home.world.log.clone(), TestEnv::new("two"), minds, vec![asking_tool("danger", "it is done")]);
    let resolve =
        Resolve { session: child.clone(), wait, ruling: Ruling::Allow, grant: None, by: "person".into() };
    next.world.runtime.resolve(resolve).await.unwrap();
    next.world.runtime.resume(&child, next.world.config());
    let of_child = Accepted { session: child.clone(), input: 2, repeated: false, opened: false };
    assert_eq!(next.world.result(&of_child).await.message.as_deref(), Some("I did it"));
    // Whoever drives the maker finds the end.
    next.world.runtime.resume(&accepted.session, next.world.config());
    assert_eq!(next.world.result(&accepted).await.message.as_deref(), Some("good"));
}

#[tokio::test]
async fn a_parked_child_that_goes_on_is_heard_while_another_works() {
    let gate = Arc::new(Notify::new());
    let opened = gate.clone();
    let danger = tool_of("danger", EffectClass::AtMostOnce, Access::Other, move |_, _| {
        let opened = opened.clone();
        async move {
            opened.notified().await;
            Ok(ToolReturn::Done(ToolDone::text("it is done")))
        }
        .boxed()
    });
    let home = family(
        vec![
            ("begin now", Thought::Call(vec![spawn("ask first"), spawn("slow")])),
            ("ask first", Thought::Call(vec![("danger", json!({}))])),
            ("it is done", Thought::Say("I did it")),
            ("slow", Thought::Later("the other too")),
            ("finished: ", Thought::Say("good")),
        ],
        vec![danger],
    );
    let mut submit = home.world.submit("s", "begin now");
    submit.config.on_ask = OnAsk::Park;
    let accepted = home.world.runtime.submit(submit).await.unwrap();
    let child = async || children(&home.world).await.get("ask first").cloned();
    let log = &home.world.runtime.parts().log;
    until("one is parked and one works", async || {
        let Some(child) = child().await else { return false };
        let released = log.head(&child).await.unwrap().lease.is_some_and(|lease| lease.released);
        released && home.minds.busy.lock().unwrap().0 == 1
    })
    .await;
    let child = child().await.unwrap();
    let wait = format!("{child}/1/1/tool/0");
    let resolve =
        Resolve { session: child.clone(), wait, ruling: Ruling::Allow, grant: None, by: "person".into() };
    home.world.runtime.resolve(resolve).await.unwrap();
    home.world.runtime.resume(&child, home.world.config());
    let ended = async || {
        let bodies = home.world.bodies("s").await;
        bodies.iter().filter(|body| *body == "wait_resolved").count()
    };
    until("the child goes on", async || {
        home.world.bodies(child.as_str()).await.contains(&"intent 1/tool/0".to_owned())
    })
    .await;
    // The maker looks again and again, and so do the others.
    let looks = || home.world.env.slept.lock().unwrap().len();
    let before = looks();
    until("the maker has looked", async || looks() > before + 20).await;
    gate.notify_one();
    until("its end is heard", async || ended().await == 1).await;
    assert_eq!(home.minds.busy.lock().unwrap().0, 1, "the other still works");
    home.minds.go.notify_one();
    assert_eq!(home.world.result(&accepted).await.message.as_deref(), Some("good"));
}

#[tokio::test]
async fn a_parked_child_ends_with_the_turn_that_waits_for_it() {
    let home = family(
        vec![
            ("begin now", Thought::Call(vec![spawn("ask first")])),
            ("ask first", Thought::Call(vec![("danger", json!({}))])),
        ],
        vec![asking_tool("danger", "it is done")],
    );
    let mut submit = home.world.submit("s", "begin now");
    submit.config.on_ask = OnAsk::Park;
    let accepted = home.world.runtime.submit(submit).await.unwrap();
    assert_eq!(home.world.result(&accepted).await.outcome, "parked");
    home.world.runtime.cancel(&accepted.session, "person", "enough").await.unwrap();
    home.world.runtime.resume(&accepted.session, home.world.config());
    assert_eq!(home.world.result(&accepted).await.stop, Some(StopReason::Cancelled));
    let child = children(&home.world).await["ask first"].clone();
    // It was told before its maker's turn was over, whatever becomes of this process then.
    let asked = |records: &[Record]| {
        let cancels = |record: &&Record| matches!(record.body, Body::CancelRequested { .. });
        records.iter().find(cancels).map(|record| record.at)
    };
    let (ours, its) = (home.world.records("s").await, home.world.records(child.as_str()).await);
    assert!(asked(&its).unwrap() <= ours.last().unwrap().at);
    let its = Accepted { session: child, input: 2, repeated: false, opened: false };
    assert_eq!(home.world.result(&its).await.stop, Some(StopReason::Cancelled));
}

#[tokio::test]
async fn a_child_in_the_background_says_once_that_it_has_ended_and_can_be_told_more() {
    let home = family(
        vec![
            ("begin now", Thought::Call(vec![("agent", json!({"task": "long work", "background": true}))])),
            ("started: agent-", Thought::Say("it runs")),
            ("long work", Thought::Later("the result")),
            ("has finished.", Thought::Call(vec![("agent", json!({"op": "tell", "task": "a bit more"}))])),
            ("a bit more", Thought::Say("more")),
            ("finished: more", Thought::Call(vec![("agent", json!({"op": "close"}))])),
            ("closed agent-", Thought::Say("that is all")),
        ],
        vec![],
    );
    let accepted = home.world.runtime.submit(home.world.submit("s", "begin now")).await.unwrap();
    assert_eq!(home.world.result(&accepted).await.message.as_deref(), Some("it runs"));
    until("the child works", async || home.minds.busy.lock().unwrap().0 == 1).await;
    home.minds.go.notify_one();
    // Its end is an input, which starts a turn.
    until("the maker was told", async || {
        let records = home.world.records("s").await;
        records.iter().filter(|r| matches!(&r.body, Body::TurnCommitted(_))).count() == 2
    })
    .await;
    let records = home.world.records("s").await;
    let inputs: Vec<&InputAccepted> = records
        .iter()
        .filter_map(|record| match &record.body {
            Body::InputAccepted(input) => Some(input),
            _ => None,
        })
        .collect();
    assert_eq!(inputs.len(), 2);
    let end = inputs[1].ended.as_deref().unwrap();
    assert_eq!((end.stop, end.message.as_str(), end.spent[0].calls), (None, "the result", 1));
    let child = children(&home.world).await["long work"].clone();
    assert_eq!(home.world.bodies(child.as_str()).await.last().unwrap(), "session_closed");
    let Body::TurnCommitted(last) = &records.last().unwrap().body else { panic!() };
    assert!(matches!(&last.outcome, TurnOutcome::Finished { message, .. } if message == "that is all"));
}

#[tokio::test]
async fn waiting_for_a_child_ends_when_its_time_is_over_and_the_child_goes_on() {
    let home = family(
        vec![
            ("begin now", Thought::Call(vec![("agent", json!({"task": "long work", "background": true}))])),
            ("started: agent-", Thought::Call(vec![("agent", json!({"op": "wait", "ms": 40}))])),
            ("long work", Thought::Later("late")),
            ("timeout: the agent has not ended yet", Thought::Say("then not")),
        ],
        vec![],
    );
    let result = home.world.run(home.world.submit("s", "begin now")).await;
    assert_eq!(result.message.as_deref(), Some("then not"));
    assert_eq!(home.minds.busy.lock().unwrap().0, 1);
}

#[tokio::test]
async fn the_end_of_a_child_starts_a_turn_in_the_mode_that_was_switched_to() {
    let write = tool_of("write", EffectClass::AtMostOnce, Access::Write("/w/a".into()), |_, _| {
        async { Ok(ToolReturn::Done(ToolDone::text("written"))) }.boxed()
    });
    for (mode, status) in [(None, ToolStatus::Ok), (Some(Mode::Plan), ToolStatus::Denied)] {
        let home = family(
            vec![
                (
                    "begin now",
                    Thought::Call(vec![("agent", json!({"task": "long work", "background": true}))]),
                ),
                ("started: agent-", Thought::Say("it runs")),
                ("long work", Thought::Later("the result")),
                ("has finished.", Thought::Call(vec![("write", json!({}))])),
                ("written", Thought::Say("done")),
                ("denied", Thought::Say("done")),
            ],
            vec![write.clone()],
        );
        let accepted = home.world.runtime.submit(home.world.submit("s", "begin now")).await.unwrap();
        home.world.result(&accepted).await;
        until("the child works", async || home.minds.busy.lock().unwrap().0 == 1).await;
        if let Some(mode) = mode {
            home.world.runtime.set_mode(&accepted.session, mode, "person").await.unwrap();
        }
        home.minds.go.notify_one();
        until("the maker was told", async || {
            let bodies = home.world.bodies("s").await;
            bodies.iter().filter(|body| *body == "turn_committed").count() == 2
        })
        .await;
        let bodies = home.world.bodies("s").await;
        let ended = format!("outcome 1/tool/0 {}", status.word());
        assert_eq!(bodies.iter().rfind(|body| body.starts_with("outcome 1/tool")), Some(&ended), "{mode:?}");
    }
}

/// Its end would be told twice: to the call that waits, and as an input. It is told and paid once.
#[tokio::test]
async fn a_child_in_the_background_that_is_waited_for_is_paid_once() {
    let wait = || Thought::Call(vec![("agent", json!({"op": "wait"}))]);
    let home = family(
        vec![
            ("begin now", Thought::Call(vec![("agent", json!({"task": "long work", "background": true}))])),
            ("started: agent-", wait()),
            ("long work", Thought::Later("the result")),
            ("finished: the result", Thought::Say("there it is")),
            ("say it again", wait()),
        ],
        vec![],
    );
    let accepted = home.world.runtime.submit(home.world.submit("s", "begin now")).await.unwrap();
    until("the call waits", async || home.world.bodies("s").await.contains(&"wait_opened".to_owned())).await;
    home.minds.go.notify_one();
    let result = home.world.result(&accepted).await;
    // Three calls of its own, one of the child.
    let calls = |result: &ResultEvent| result.usage.iter().map(|used| used.calls).sum::<u64>();
    assert_eq!((result.message.as_deref(), calls(&result)), (Some("there it is"), 4));
    assert_eq!(result.cost, Some(4_000.0 / 1e9));
    // What is asked for again costs nothing again.
    let again = home.world.run(home.world.submit("s", "say it again")).await;
    assert_eq!((again.message.as_deref(), calls(&again)), (Some("there it is"), 2));
    let bodies = home.world.bodies("s").await;
    assert_eq!(bodies.iter().filter(|body| *body == "input_accepted").count(), 2, "{bodies:?}");
    let records = home.world.records("s").await;
    let costs = records.iter().filter_map(|record| match &record.body {
        Body::TurnCommitted(committed) => committed.cost,
        _ => None,
    });
    assert_eq!(costs.collect::<Vec<_>>(), [4_000, 2_000]);
}

/// After a restart the child is the first that spends: what its maker has spent still counts.
#[tokio::test]
async fn a_tree_stays_within_its_cap_after_a_restart() {
    let rules = || {
        vec![
            ("begin now", Thought::Call(vec![spawn("ask first")])),
            ("ask first", Thought::Call(vec![("danger", json!({}))])),
            ("it is done", Thought::Say("I did it")),
            ("finished: I did it", Thought::Say("good")),
            ("budget_cost: ", Thought::Say("good")),
        ]
    };
    let danger = || vec![asking_tool("danger", "it is done")];
    // Two calls of 1,000 are made before the restart; a token of the third costs 100.
    for (cap, fits) in [(2_050, false), (10_000, true)] {
        let home = family(rules(), danger());
        let mut submit = home.world.submit("s", "begin now");
        submit.config.on_ask = OnAsk::Park;
        submit.config.limits.tree_max_cost = Some(cap);
        submit.config.max_output = Some(10);
        let accepted = home.world.runtime.submit(submit).await.unwrap();
        assert_eq!(home.world.result(&accepted).await.outcome, "parked");
        let child = children(&home.world).await["ask first"].clone();
        let env = TestEnv { name: "two".into(), ..home.world.env.clone() };
        env.dead.lock().unwrap().push("one".into());
        let next = over(home.world.log.clone(), env, Minds::new(rules()), danger());
        let wait = format!("{child}/1/1/tool/0");
        let resolve =
            Resolve { session: child.clone(), wait, ruling: Ruling::Allow, grant: None, by: "person".into() };
        next.world.runtime.resolve(resolve).await.unwrap();
        next.world.runtime.resume(&accepted.session, next.world.config());
        next.world.result(&accepted).await;
        let stopped = next.world.bodies(child.as_str()).await.contains(&"limit_reached".to_owned());
        assert_eq!(stopped, !fits, "{cap}");
    }
}

#[tokio::test]
async fn fifty_children_never_spend_more_than_their_tree_may() {
    // A call of a child costs 1,000 nano-dollars, and is reserved at its worst.
    let tasks: Vec<&'static str> =
        (0..50).map(|n| &*Box::leak(format!("task {n:02}.").into_boxed_str())).collect();
    let mut rules = vec![
        ("begin now", Thought::Call(tasks.iter().map(|task| spawn(task)).collect())),
        ("finished: done", Thought::Say("enough")),
        ("budget_cost: ", Thought::Say("enough")),
    ];
    rules.extend(tasks.iter().map(|task| (*task, Thought::Say("done"))));
    let home = family(rules, vec![]);
    let mut submit = home.world.submit("s", "begin now");
    let cap = 30_500;
    submit.config.limits.tree_max_cost = Some(cap);
    submit.config.max_output = Some(10);
    let result = home.world.run(submit).await;
    let (mut spent, mut refused) = (0, 0);
    let mut sessions: Vec<SessionId> = children(&home.world).await.into_values().collect();
    assert_eq!(sessions.len(), 50);
    sessions.push(SessionId::new("s").unwrap());
    for session in &sessions {
        let state = State::load(&home.world.runtime.parts().log, session).await.unwrap();
        let ledger = &state.folded.ledger;
        let own = ledger.by_source().iter().filter(|(source, _)| source.word() == "turn");
        spent += own.map(|(_, sum)| sum.cost().unwrap()).sum::<u64>();
        let records = home.world.records(session.as_str()).await;
        refused +=
            usize::from(records.iter().any(|record| {
                matches!(&record.body, Body::LimitReached { reason: StopReason::BudgetCost, .. })
            }));
    }
    assert!(spent <= cap, "{spent}");
    assert!(refused >= 20, "{refused}");
    // The maker's sum is that of the ledgers.
    assert_eq!(result.cost.map(|cost| (cost * 1e9).round() as u64), Some(spent));
}

/// SC-31: an agent's hooks are asked in its own session, with what it is and who made it; `Stop` is for a person's.
#[tokio::test]
async fn agents_begin_and_end_under_hooks_of_their_own() {
    let told = Told::default();
    let events = [HookEvent::SubagentStart, HookEvent::SubagentStop, HookEvent::Stop];
    let hooks = listening("h", &events, &told, |call| match call.event {
        HookEvent::SubagentStart => Reaction::Says(HookAnswer::tell("count twice")),
        // Once it has to go on.
        HookEvent::SubagentStop if call.input["stop_hook_active"] == false => {
            Reaction::Says(HookAnswer::Blocked("are you sure".into()))
        }
        _ => Reaction::Says(HookAnswer::nothing()),
    });
    let mut home = family(
        vec![
            ("begin now", Thought::Call(vec![spawn("count the files")])),
            ("count the files", Thought::Say("there are 3")),
            ("are you sure (hook h)", Thought::Say("there are 4")),
            ("finished: there are 4", Thought::Say("four it is")),
        ],
        vec![],
    );
    home.world = home.world.hooked(hooks);
    let result = home.world.run(home.world.submit("s", "begin now")).await;
    assert_eq!(result.message.as_deref(), Some("four it is"));
    use HookEvent::{Stop, SubagentStart, SubagentStop};
    assert_eq!(told.events(), [SubagentStart, SubagentStop, SubagentStop, Stop]);
    let child = &children(&home.world).await["count the files"];
    for call in told.calls().iter().take(3) {
        let input = &call.input;
        assert_eq!((&input["session_id"], &input["agent_id"]), (&json!(child), &json!(child)));
        assert_eq!((&input["agent_type"], &input["parent_session_id"]), (&json!("tester"), &json!("s")));
        assert_eq!(call.subject, "tester");
    }
    let end = told.input(SubagentStop);
    assert_eq!(end["last_assistant_message"], "there are 3");
    assert_eq!(home.minds.asked("count twice"), 2);
}

#[tokio::test]
async fn a_hook_may_forbid_an_agent() {
    let hooks = listening("h", &[HookEvent::SubagentStart], &Told::default(), |_| {
        Reaction::Says(HookAnswer::Blocked("no testers today".into()))
    });
    let mut home = family(
        vec![
            ("begin now", Thought::Call(vec![spawn("count the files")])),
            ("hook_stopped: no testers today", Thought::Say("then not")),
        ],
        vec![],
    );
    home.world = home.world.hooked(hooks);
    let result = home.world.run(home.world.submit("s", "begin now")).await;
    assert_eq!(result.message.as_deref(), Some("then not"));
    assert_eq!(home.minds.asked("You are a tester."), 0);
}

/// A page of strangers, and a note that rules allow: how often each was.
fn page_and_note() -> (Vec<SharedTool>, Arc<Mutex<u32>>) {
    let noted = Arc::new(Mutex::new(0));
    let count = noted.clone();
    let page = Access::Web { host: "docs.rs".into() };
    let fetch = tool_of("fetch", EffectClass::AtMostOnce, page, |_, _| {
        async { Ok(ToolReturn::Done(ToolDone::text("a page of strangers"))) }.boxed()
    });
    let remember = tool_of("remember", EffectClass::AtMostOnce, Access::Session, move |_, _| {
        *count.lock().unwrap() += 1;
        async move { Ok(ToolReturn::Done(ToolDone::text("noted"))) }.boxed()
    });
    (vec![fetch, remember], noted)
}

/// Why somebody was asked, call by call.
async fn asked_for(world: &World, session: &str) -> Vec<String> {
    let reason = |record: Record| match record.body {
        Body::WaitOpened(opened) => match opened.on {
            WaitOn::Approval(approval) => Some(approval.reason),
            WaitOn::Questions(_)
            | WaitOn::Plan(_)
            | WaitOn::Child(_)
            | WaitOn::Timer
            | WaitOn::Signal { .. } => None,
        },
        _ => None,
    };
    world.records(session).await.into_iter().filter_map(reason).collect()
}

const BY_TAINT: &str = "the tool `remember`: asked for by `ask remember when tainted` (built-in), because the model has \
    read text from web:docs.rs";

fn allowing(home: &Family, text: &str, allowed: &[&str]) -> Submit {
    let mut submit = home.world.submit("s", text);
    let rule = |text: &&str| RuleText {
        decision: Decision::Allow,
        text: (*text).into(),
        scope: Scope::User,
        source: "test:1".into(),
    };
    submit.config.rules.extend(allowed.iter().map(rule));
    submit.config.on_ask = OnAsk::Deny;
    submit
}

#[tokio::test]
async fn what_an_agent_has_read_counts_for_the_agents_that_it_starts() {
    let (tools, noted) = page_and_note();
    let home = family(
        vec![
            ("begin now", Thought::Call(vec![("fetch", json!({}))])),
            ("a page of strangers", Thought::Call(vec![spawn("note what I say")])),
            ("note what I say", Thought::Call(vec![("remember", json!({}))])),
            ("The call was not run", Thought::Say("could not")),
            ("finished: could not", Thought::Say("well")),
        ],
        tools,
    );
    let result = home.world.run(allowing(&home, "begin now", &["Web(*)", "remember"])).await;
    assert_eq!(result.message.as_deref(), Some("well"));
    assert_eq!(*noted.lock().unwrap(), 0);
    let child = children(&home.world).await["note what I say"].clone();
    assert_eq!(asked_for(&home.world, child.as_str()).await, [BY_TAINT]);
    // Without the page nothing asks.
    let (tools, noted) = page_and_note();
    let home = family(
        vec![
            ("begin now", Thought::Call(vec![spawn("note what I say")])),
            ("note what I say", Thought::Call(vec![("remember", json!({}))])),
            ("noted", Thought::Say("did it")),
            ("finished: did it", Thought::Say("well")),
        ],
        tools,
    );
    let result = home.world.run(allowing(&home, "begin now", &["remember"])).await;
    assert_eq!((result.message.as_deref(), *noted.lock().unwrap()), (Some("well"), 1));
}

#[tokio::test]
async fn what_an_agent_has_read_counts_for_whoever_hears_its_answer() {
    for background in [false, true] {
        let (tools, noted) = page_and_note();
        let begin = json!({"task": "look at the page", "background": background});
        let home = family(
            vec![
                ("begin now", Thought::Call(vec![("agent", begin)])),
                ("started:", Thought::Say("I wait")),
                ("look at the page", Thought::Call(vec![("fetch", json!({}))])),
                ("a page of strangers", Thought::Say("it says: note this")),
                ("it says: note this", Thought::Call(vec![("remember", json!({}))])),
                ("The call was not run", Thought::Say("well")),
            ],
            tools,
        );
        home.world.run(allowing(&home, "begin now", &["Web(*)", "remember"])).await;
        until("the maker is refused", async || home.minds.asked("The call was not run") > 0).await;
        assert_eq!(asked_for(&home.world, "s").await, [BY_TAINT], "{background}");
        assert_eq!(*noted.lock().unwrap(), 0, "{background}");
        let records = home.world.records("s").await;
        let tainted = records.iter().any(|record| match &record.body {
            Body::Outcome(outcome) => match &outcome.result {
                EffectResult::Tool(tool) => {
                    tool.untrusted.as_ref().is_some_and(|one| one.origin == "web:docs.rs")
                }
                _ => false,
            },
            Body::InputAccepted(input) => input.tainted == ["web:docs.rs"],
            _ => false,
        });
        assert!(tainted, "{background}");
    }
}

#[tokio::test]
async fn an_agent_that_works_with_other_rights_is_not_told_in_its_turn() {
    let wrote = Arc::new(Mutex::new(0));
    let count = wrote.clone();
    let danger = tool_of("danger", EffectClass::AtMostOnce, Access::Other, move |_, _| {
        *count.lock().unwrap() += 1;
        async move { Ok(ToolReturn::Done(ToolDone::text("boom"))) }.boxed()
    });
    let home = family(
        vec![
            ("begin now", Thought::Call(vec![("agent", json!({"task": "zulu task", "background": true}))])),
            ("started:", Thought::Say("I wait")),
            ("zulu task", Thought::Later("zulu done")),
            ("has finished", Thought::Say("I heard")),
            (
                "plan now",
                Thought::Call(vec![(
                    "agent",
                    json!({"op": "tell", "task": "yankee task", "background": true}),
                )]),
            ),
            ("yankee task", Thought::Call(vec![("danger", json!({}))])),
            ("The call was not run", Thought::Say("I may not")),
            ("boom", Thought::Say("done")),
        ],
        vec![danger],
    );
    home.world.run(allowing(&home, "begin now", &["danger"])).await;
    until("the agent works", async || home.minds.busy.lock().unwrap().0 == 1).await;
    let mut planning = allowing(&home, "plan now", &["danger"]);
    planning.config.mode = Mode::Plan;
    home.world.run(planning).await;
    home.minds.go.notify_one();
    until("it was told", async || home.minds.asked("yankee task") > 2).await;
    until("its call was answered", async || {
        home.minds.asked("plan mode: nothing that may write can run") > 0
    })
    .await;
    assert_eq!(*wrote.lock().unwrap(), 0);
}

/// Hooks of the maker are told when an agent in the background has ended its turn, and waits for more.
#[tokio::test]
async fn an_agent_that_has_nothing_to_do_is_told_to_hooks() {
    let home = family(
        vec![
            ("begin now", Thought::Call(vec![("agent", json!({"task": "long work", "background": true}))])),
            ("started: agent-", Thought::Say("it runs")),
            ("long work", Thought::Say("the result")),
            ("has finished.", Thought::Say("I heard")),
        ],
        vec![],
    );
    let told = Told::default();
    let hooks = listening("h", &[HookEvent::TeammateIdle], &told, |_| Reaction::Says(HookAnswer::nothing()));
    let home = Family { world: home.world.hooked(hooks), minds: home.minds };
    home.world.run(home.world.submit("s", "begin now")).await;
    until("it was told", async || !told.calls().is_empty()).await;
    let child = children(&home.world).await["long work"].to_string();
    let input = told.input(HookEvent::TeammateIdle);
    let of = (&input["session_id"], &input["agent_id"], &input["agent_type"], &input["stop"]);
    assert_eq!(of, (&json!("s"), &json!(child), &json!("tester"), &Value::Null));
    assert_eq!(input["last_assistant_message"], "the result");
    until("the maker heard", async || home.minds.asked("has finished.") > 0).await;
    assert_eq!(told.calls().len(), 1);
}

/// Plan mode of whoever is above binds an agent that is in a turn already, and its own agents, from their next call on; and
/// it binds no longer when it is over.
#[tokio::test]
async fn plan_mode_binds_agents_that_are_in_a_turn_already() {
    for depth in [1, 2] {
        let wrote = Arc::new(Mutex::new(0));
        let count = wrote.clone();
        let danger = tool_of("danger", EffectClass::AtMostOnce, Access::Other, move |_, _| {
            *count.lock().unwrap() += 1;
            async move { Ok(ToolReturn::Done(ToolDone::text("boom"))) }.boxed()
        });
        // The agent waits here until the test lets it go on.
        let (open, passed) = (Arc::new(Notify::new()), Arc::new(Mutex::new(0)));
        let opened = open.clone();
        let gate = tool("gate", EffectClass::Idempotent, move |_, _| {
            let (open, passed) = (opened.clone(), passed.clone());
            async move {
                open.notified().await;
                let mut passed = passed.lock().unwrap();
                *passed += 1;
                Ok(ToolReturn::Done(ToolDone::text(format!("gate {passed}"))))
            }
            .boxed()
        });
        let enter =
            tool("enter_plan", EffectClass::Idempotent, |_, _| async { Ok(ToolReturn::EnterPlan) }.boxed());
        let task = if depth == 1 { "zulu task" } else { "to be passed on" };
        let home = family(
            vec![
                ("begin now", Thought::Call(vec![("agent", json!({"task": task, "background": true}))])),
                ("started:", Thought::Call(vec![("enter_plan", json!({}))])),
                ("Plan mode is on", Thought::Say("I plan")),
                ("to be passed on", Thought::Call(vec![spawn("zulu task")])),
                ("zulu task", Thought::Call(vec![("gate", json!({}))])),
                ("gate 1", Thought::Call(vec![("danger", json!({}))])),
                ("is in plan mode", Thought::Call(vec![("gate", json!({}))])),
                ("gate 2", Thought::Call(vec![("danger", json!({}))])),
                ("boom", Thought::Say("zulu done")),
                ("finished: zulu done", Thought::Say("passed on")),
                ("has finished", Thought::Say("I heard")),
            ],
            vec![danger, gate, enter],
        );
        let result = home.world.run(allowing(&home, "begin now", &["danger"])).await;
        assert_eq!(result.message.as_deref(), Some("I plan"), "{depth}");
        open.notify_one();
        until("its call was denied", async || {
            home.minds.asked("`s`, which you work for, is in plan mode") == 1
                && home.minds.asked("plan mode: nothing that may write can run") == 1
        })
        .await;
        assert_eq!(*wrote.lock().unwrap(), 0, "{depth}");
        // The person is content with what there is.
        let session = SessionId::new("s").unwrap();
        home.world.runtime.set_mode(&session, Mode::Execute, "person").await.unwrap();
        open.notify_one();
        until("its call has run", async || *wrote.lock().unwrap() == 1).await;
        until("its maker was told", async || home.minds.asked("has finished") > 0).await;
    }
}

/// Its maker is asking its model when somebody switches: the agent, which has not looked at its maker yet, is bound already.
#[tokio::test]
async fn plan_mode_binds_agents_while_their_maker_asks_its_model() {
    let wrote = Arc::new(Mutex::new(0));
    let count = wrote.clone();
    let danger = tool_of("danger", EffectClass::AtMostOnce, Access::Other, move |_, _| {
        *count.lock().unwrap() += 1;
        async move { Ok(ToolReturn::Done(ToolDone::text("boom"))) }.boxed()
    });
    let home = family(
        vec![
            ("begin now", Thought::Call(vec![("agent", json!({"task": "zulu task", "background": true}))])),
            ("started:", Thought::Later("I wait")),
            ("zulu task", Thought::CallLater(vec![("danger", json!({}))])),
            ("boom", Thought::Say("zulu done")),
            ("is in plan mode", Thought::Say("zulu done")),
            ("has finished", Thought::Say("I heard")),
        ],
        vec![danger],
    );
    let accepted = home.world.runtime.submit(allowing(&home, "begin now", &["danger"])).await.unwrap();
    until("both ask their models", async || home.minds.busy.lock().unwrap().0 == 2).await;
    let session = SessionId::new("s").unwrap();
    home.world.runtime.set_mode(&session, Mode::Plan, "person").await.unwrap();
    home.minds.go_call.notify_one();
    until("its call was answered", async || {
        home.minds.asked("`s`, which you work for, is in plan mode") + home.minds.asked("boom") > 0
    })
    .await;
    assert_eq!(*wrote.lock().unwrap(), 0);
    home.minds.go.notify_one();
    assert_eq!(home.world.result(&accepted).await.outcome, "finished");
}

/// An agent has no more than its maker has when it is told something, whatever it was given when it was made.
#[tokio::test]
async fn an_agent_that_is_told_more_has_only_what_its_maker_still_has() {
    for (now, told) in [
        (&["agent"][..], "is available to you any more"),
        (&["agent", "other"], "is available to you any more"),
        (&["agent", "danger"], "boom again"),
        (&[], "boom again"),
    ] {
        let danger = tool_of("danger", EffectClass::Pure, Access::Session, |_, _| {
            async { Ok(ToolReturn::Done(ToolDone::text("boom"))) }.boxed()
        });
        let home = family(
            vec![
                (
                    "begin now",
                    Thought::Call(vec![("agent", json!({"task": "zulu task", "tools": ["danger"]}))]),
                ),
                ("zulu task", Thought::Say("zulu done")),
                ("finished: zulu done", Thought::Say("I heard")),
                ("tell it now", Thought::Call(vec![("agent", json!({"op": "tell", "task": "yankee task"}))])),
                ("yankee task", Thought::Call(vec![("danger", json!({}))])),
                ("boom", Thought::Say("boom again")),
                ("finished: boom again", Thought::Say("done")),
                ("is available to you any more", Thought::Say("done")),
            ],
            vec![danger, asking_tool("other", "x")],
        );
        home.world.run(home.world.submit("s", "begin now")).await;
        let mut submit = home.world.submit("s", "tell it now");
        submit.config.tools = now.iter().map(|tool| (*tool).to_owned()).collect();
        let result = home.world.run(submit).await;
        assert_eq!(result.message.as_deref(), Some("done"), "{now:?}");
        assert!(home.minds.asked(told) > 0, "{now:?}");
    }
}

#[tokio::test]
async fn a_child_may_begin_with_what_its_maker_knows() {
    let rules = vec![
        ("Tell me of owls.", Thought::Say("They hunt at night.")),
        ("Go deeper.", Thought::Call(vec![("agent", json!({"task": "read about eyes", "fork": true}))])),
        ("read about eyes", Thought::Say("Their eyes are large.")),
        ("finished: Their eyes are large.", Thought::Say("Large eyes.")),
        ("And now?", Thought::Say("Nothing more.")),
    ];
    let home = family(rules, vec![]);
    home.world.run(home.world.submit("s", "Tell me of owls.")).await;
    let result = home.world.run(home.world.submit("s", "Go deeper.")).await;
    assert_eq!(result.message.as_deref(), Some("Large eyes."));
    let child = children(&home.world).await.remove("read about eyes").unwrap();
    // Its one request: all that its maker knew, then its task; and not the call that made it.
    let bodies: Vec<String> = home.minds.asked.lock().unwrap().clone();
    let of_child = bodies.iter().find(|body| body.contains("You are a tester.")).unwrap();
    let body: Value = serde_json::from_str(of_child).unwrap();
    let said: Vec<(&str, &str)> = body["messages"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|message| {
            let role = message["role"].as_str().filter(|role| *role != "system")?;
            let content = message["content"].as_str().filter(|text| !text.contains("<environment>"))?;
            Some((role, content))
        })
        .collect();
    let expected = [
        ("user", "Tell me of owls."),
        ("assistant", "They hunt at night."),
        ("user", "Go deeper."),
        ("user", "read about eyes"),
    ];
    assert_eq!(said, expected);
    // A session of its own that shares the records before the answer that asked for it, and goes on by itself.
    let opened = home.world.records(child.as_str()).await.remove(0);
    let Body::SessionOpened(opened) = opened.body else { panic!("not opened") };
    let parent = opened.parent.unwrap();
    let shared = &home.world.records("s").await[parent.seq as usize - 1];
    assert_eq!(parent.session.as_str(), "s");
    assert!(
        matches!(&shared.body, Body::Intent(intent) if intent.key.kind == EffectKind::Model && intent.key.turn == 2)
    );
    for id in [SessionId::new("s").unwrap(), child.clone()] {
        assert_eq!(replay(home.world.runtime.parts(), &id).await.unwrap().difference, None);
    }
    // What its maker spent is its maker's.
    let state = State::load(&home.world.runtime.parts().log, &child).await.unwrap();
    assert_eq!(state.folded.ledger.total().calls, 1);
    assert!(state.folded.world.children.is_empty() && state.folded.world.grants.is_empty());
}

/// Worktrees that are only told of.
#[derive(Default)]
struct Folders {
    log: Mutex<Vec<String>>,
    dirty: bool,
}

impl Worktrees for Folders {
    fn add<'a>(
        &'a self,
        root: &'a std::path::Path,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Worktree, String>> {
        self.log.lock().unwrap().push(format!("add {}", root.display()));
        let path = format!("/trees/{name}");
        let root = format!("{path}/sub");
        async move { Ok(Worktree { path, root, repository: "/w".into(), branch: "sterna/x".into() }) }.boxed()
    }
    fn remove<'a>(&'a self, worktree: &'a Worktree) -> BoxFuture<'a, Result<(), String>> {
        self.log.lock().unwrap().push(format!("remove {}", worktree.path.starts_with("/trees/agent-")));
        let dirty = self.dirty;
        async move { if dirty { Err("worktree_dirty: 1 changes".into()) } else { Ok(()) } }.boxed()
    }
}

fn with_folders(home: Family, dirty: bool, listening: Vec<Listening>) -> (Family, Arc<Folders>) {
    let folders = Arc::new(Folders { dirty, ..Folders::default() });
    let hooks: SharedHooks = Arc::new(HookSet::new(listening));
    let worktrees: SharedWorktrees = folders.clone();
    let parts = home.world.runtime.parts().clone();
    let parts = Parts { worktrees: Some(worktrees), hooks: Some(hooks), ..parts };
    let world = World { runtime: Runtime::new(parts), ..home.world };
    (Family { world, minds: home.minds }, folders)
}

fn isolated() -> Vec<(&'static str, Thought)> {
    vec![
        ("Go.", Thought::Call(vec![("agent", json!({"task": "change it", "worktree": true}))])),
        ("change it", Thought::Say("changed")),
        ("finished: changed", Thought::Call(vec![("agent", json!({"op": "tell", "task": "once more"}))])),
        ("once more", Thought::Say("again")),
        ("finished: again", Thought::Call(vec![("agent", json!({"op": "close"}))])),
        ("closed agent-", Thought::Say("done")),
        ("forbids the worktree: not here", Thought::Say("none")),
    ]
}

#[tokio::test]
async fn a_child_in_a_worktree_works_there_alone_and_its_end_takes_it_away() {
    for dirty in [false, true] {
        let told = Told::default();
        let events = [HookEvent::Setup, HookEvent::WorktreeCreate, HookEvent::WorktreeRemove];
        let hooks = listening("h", &events, &told, |_| Reaction::Says(HookAnswer::nothing()));
        let (home, folders) = with_folders(family(isolated(), vec![]), dirty, hooks);
        let result = home.world.run(home.world.submit("s", "Go.")).await;
        assert_eq!((result.outcome, result.message.as_deref()), ("finished", Some("done")));
        assert_eq!(*folders.log.lock().unwrap(), ["add /w", "remove true"]);
        // The maker's folder is made ready, and then the agent's.
        let [setup, create, remove] = events;
        assert_eq!(told.events(), [setup, create, setup, remove]);
        let triggers: Vec<Value> = told.calls().iter().map(|call| call.input["trigger"].clone()).collect();
        assert_eq!(triggers, [json!("init"), Value::Null, json!("worktree"), Value::Null]);
        let child = children(&home.world).await.remove("change it").unwrap();
        let path = format!("/trees/{child}");
        assert_eq!(told.input(HookEvent::WorktreeRemove)["worktree_path"], path);
        let turns: Vec<(String, String)> = home
            .world
            .records(child.as_str())
            .await
            .into_iter()
            .filter_map(|record| match record.body {
                Body::TurnStarted(turn) => Some((turn.root.clone(), turn.cwd.clone())),
                _ => None,
            })
            .collect();
        // Told more it is still there, and its maker's folder is none of its own.
        assert_eq!(turns, vec![(path.clone(), format!("{path}/sub")); 2]);
        let last = home.minds.asked.lock().unwrap().last().unwrap().clone();
        assert_eq!(last.contains("was not removed: worktree_dirty: 1 changes"), dirty, "{last}");
    }
}

#[tokio::test]
async fn a_hook_may_forbid_a_worktree() {
    let hooks = listening("h", &[HookEvent::WorktreeCreate], &Told::default(), |_| {
        Reaction::Says(HookAnswer::Blocked("not here".into()))
    });
    let (home, folders) = with_folders(family(isolated(), vec![]), false, hooks);
    assert_eq!(home.world.run(home.world.submit("s", "Go.")).await.message.as_deref(), Some("none"));
    assert!(folders.log.lock().unwrap().is_empty() && children(&home.world).await.is_empty());
}

/// Two inputs of one turn have two ends, and what the turn used up is one.
#[tokio::test]
async fn a_child_that_is_told_more_in_its_turn_is_paid_once() {
    let tell = json!({"op": "tell", "task": "this as well", "background": true});
    let home = family(
        vec![
            ("begin now", Thought::Call(vec![("agent", json!({"task": "long work", "background": true}))])),
            ("started: agent-", Thought::Say("it runs")),
            ("long work", Thought::Later("half of it")),
            ("tell it more", Thought::Call(vec![("agent", tell)])),
            ("this as well", Thought::Say("all of it")),
            ("has finished.", Thought::Say("heard")),
        ],
        vec![],
    );
    let world = &home.world;
    assert_eq!(world.run(world.submit("s", "begin now")).await.message.as_deref(), Some("it runs"));
    until("the child works", async || home.minds.busy.lock().unwrap().0 == 1).await;
    world.run(world.submit("s", "tell it more")).await;
    home.minds.go.notify_one();
    let ends = async || -> Vec<ChildEnd> {
        let records = world.records("s").await.into_iter();
        let end = |record: Record| match record.body {
            Body::InputAccepted(input) => input.ended.map(|end| *end),
            _ => None,
        };
        records.filter_map(end).collect()
    };
    until("both ends are told", async || ends().await.len() == 2).await;
    let ends = ends().await;
    assert!(ends[0].input != ends[1].input && ends.iter().all(|end| end.turn == Some(1)), "{ends:?}");
    until("the maker has heard", async || {
        let head = world.runtime.parts().log.head(&SessionId::new("s").unwrap()).await.unwrap();
        home.minds.asked("has finished.") >= 1 && head.lease.is_none_or(|lease| lease.released)
    })
    .await;
    // Two calls of the child, each once, in a turn of its maker's that told it something.
    let mut ledger = sterna_log::fold::Ledger::default();
    let mut rows = Vec::new();
    for record in world.records("s").await {
        ledger.apply(&record);
        let of_child = |row: &&sterna_log::fold::LedgerRow| row.source == sterna_log::fold::Source::Child;
        rows.extend(ledger.last().iter().filter(of_child).cloned());
    }
    assert_eq!(rows.iter().map(|row| row.calls).sum::<u64>(), 2, "{rows:?}");
    assert!(rows.iter().all(|row| row.turn == 2), "{rows:?}");
}

#[tokio::test]
async fn a_parked_child_that_another_process_answers_is_heard_while_another_works() {
    let danger = || vec![asking_tool("danger", "it is done")];
    let home = family(
        vec![
            ("begin now", Thought::Call(vec![spawn("ask first"), spawn("slow")])),
            ("ask first", Thought::Call(vec![("danger", json!({}))])),
            ("it is done", Thought::Say("I did it")),
            ("slow", Thought::Later("the other too")),
            ("finished: ", Thought::Say("good")),
        ],
        danger(),
    );
    let mut submit = home.world.submit("s", "begin now");
    submit.config.on_ask = OnAsk::Park;
    let accepted = home.world.runtime.submit(submit).await.unwrap();
    let child = async || children(&home.world).await.get("ask first").cloned();
    let log = &home.world.runtime.parts().log;
    until("one is parked and one works", async || {
        let Some(child) = child().await else { return false };
        let released = log.head(&child).await.unwrap().lease.is_some_and(|lease| lease.released);
        released && home.minds.busy.lock().unwrap().0 == 1
    })
    .await;
    let child = child().await.unwrap();
    // Another process, which knows nothing of the maker, sees to the child alone.
    let env = TestEnv { name: "two".into(), ..home.world.env.clone() };
    let other = over(home.world.log.clone(), env, home.minds.clone(), danger());
    let wait = format!("{child}/1/1/tool/0");
    let resolve =
        Resolve { session: child.clone(), wait, ruling: Ruling::Allow, grant: None, by: "person".into() };
    other.world.runtime.resolve(resolve).await.unwrap();
    other.world.runtime.resume(&child, other.world.config());
    let its = Accepted { session: child, input: 2, repeated: false, opened: false };
    assert_eq!(other.world.result(&its).await.message.as_deref(), Some("I did it"));
    until("its end is heard", async || home.world.bodies("s").await.contains(&"wait_resolved".to_owned()))
        .await;
    assert_eq!(home.minds.busy.lock().unwrap().0, 1, "the other still works");
    home.minds.go.notify_one();
    assert_eq!(home.world.result(&accepted).await.message.as_deref(), Some("good"));
}
