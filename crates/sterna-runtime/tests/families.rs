//! Families of agents under pressure: many at once and who looks on, one that asks and is steered, one that is stopped as it
//! ends.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/family.rs"]
mod home;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::*;
use futures::FutureExt;
use home::*;
use serde_json::json;
use sterna_log::Log;
use sterna_model::*;
use sterna_runtime::*;
use sterna_tool::{Access, ToolDone, ToolReturn};

const NINE: [&str; 9] =
    ["task a", "task b", "task c", "task d", "task e", "task f", "task g", "task h", "task i"];

#[tokio::test]
async fn of_nine_agents_at_once_eight_work_the_ninth_waits_and_no_stream_has_a_gap() {
    let mut rules = vec![
        ("begin now", Thought::Call(NINE.iter().map(|task| spawn(task)).collect())),
        ("noted", Thought::Later("done")),
        ("finished: done", Thought::Say("all nine")),
    ];
    // Each does something first, so that its stream holds more than an answer.
    rules.extend(NINE.map(|task| (task, Thought::Call(vec![("note", json!({"text": "noted"}))]))));
    let home = family(rules, vec![echo("note", EffectClass::AtMostOnce)]);
    let submit = home.world.submit("s", "begin now");
    assert_eq!(submit.config.limits.max_children, 8);
    let accepted = home.world.runtime.submit(submit).await.unwrap();
    let top = Listener::new(&home.world, "s");
    until("eight are at work", async || home.minds.busy.lock().unwrap().0 == 8).await;
    until("nine are made", async || children(&home.world).await.len() == 9).await;
    let made = children(&home.world).await;
    let mut begun = Vec::new();
    for (task, child) in &made {
        let bodies = home.world.bodies(child.as_str()).await;
        begun.push((task.clone(), bodies.contains(&"turn_started".to_owned())));
    }
    assert_eq!(begun.iter().filter(|(_, begun)| *begun).count(), 8, "{begun:?}");
    // Somebody looks on at each from the middle of its turn, and at the ninth before it has begun.
    let streams: Vec<(String, Listener)> =
        made.values().map(|child| (child.to_string(), Listener::new(&home.world, child.as_str()))).collect();
    let go = home.minds.go.clone();
    let let_go = tokio::spawn(async move {
        loop {
            go.notify_one();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    let result = home.world.result(&accepted).await;
    let_go.abort();
    assert_eq!(result.message.as_deref(), Some("all nine"));
    assert_eq!(home.minds.busy.lock().unwrap().1, 8, "never more than eight");
    for (child, stream) in &streams {
        stream.check(&home.world, child).await;
    }
    top.check(&home.world, "the maker").await;
}

#[tokio::test]
async fn a_fourth_generation_is_refused_and_a_sixth_whatever_is_allowed() {
    const NAMES: [&str; 7] = [
        "generation 0",
        "generation 1",
        "generation 2",
        "generation 3",
        "generation 4",
        "generation 5",
        "generation 6",
    ];
    for (allowed, made) in [(None, 3), (Some(9), 5), (Some(0), 0)] {
        let mut rules: Vec<(&'static str, Thought)> =
            NAMES.windows(2).map(|two| (two[0], Thought::Call(vec![spawn(two[1])]))).collect();
        rules.push(("deep: do it yourself", Thought::Say("the bottom")));
        rules.push(("finished: the bottom", Thought::Say("the bottom")));
        let home = family(rules, vec![]);
        let mut submit = home.world.submit("s", NAMES[0]);
        if let Some(allowed) = allowed {
            submit.config.limits.max_child_depth = allowed;
        }
        let result = home.world.run(submit).await;
        assert_eq!(result.message.as_deref(), Some("the bottom"), "{allowed:?}");
        assert_eq!(children(&home.world).await.len(), made, "{allowed:?}");
    }
}

/// A child asks; another process attaches to it, steers it and answers; the answer counts for that call and for no other.
#[tokio::test]
async fn a_child_that_asks_is_attached_to_steered_and_answered_from_elsewhere() {
    let home = family(
        vec![
            ("begin now", Thought::Call(vec![spawn("ask twice")])),
            ("ask twice", Thought::Call(vec![("danger", json!({"n": 1}))])),
            ("and be careful", Thought::Call(vec![("danger", json!({"n": 2}))])),
            ("denied", Thought::Say("the second was not allowed")),
            ("finished: the second", Thought::Say("good")),
        ],
        vec![asking_tool("danger", "it is done")],
    );
    let mut submit = home.world.submit("s", "begin now");
    submit.config.on_ask = OnAsk::Park;
    let accepted = home.world.runtime.submit(submit).await.unwrap();
    assert_eq!(home.world.result(&accepted).await.outcome, "parked");
    let child = children(&home.world).await["ask twice"].clone();
    let minds = home.minds.clone();
    let other = over(
        home.world.log.clone(),
        TestEnv { name: "two".into(), ..home.world.env.clone() },
        minds,
        vec![asking_tool("danger", "it is done")],
    );
    // Who attaches sees whose agent asks, and what.
    let stream = Listener::new(&other.world, child.as_str());
    let events = shown(&other.world, child.as_str()).await;
    let opened = &events[0].1;
    assert_eq!((&opened["spawned"]["session"], &opened["spawned"]["agent"]), (&json!("s"), &json!("tester")));
    let asked = |events: &[(Seq, serde_json::Value)]| -> Vec<String> {
        let asks = events.iter().filter(|(_, event)| event["type"] == "approval.requested");
        asks.map(|(_, event)| event["wait"].as_str().unwrap().to_owned()).collect()
    };
    let first = format!("{child}/1/1/tool/0");
    assert_eq!(asked(&events), std::slice::from_ref(&first));
    let mut steer = other.world.submit(child.as_str(), "and be careful");
    (steer.delivery, steer.drive) = (Delivery::AfterWork, false);
    other.world.runtime.submit(steer).await.unwrap();
    let ruling = |wait: &str, ruling| Resolve {
        session: child.clone(),
        wait: wait.to_owned(),
        ruling,
        grant: None,
        by: "person".into(),
    };
    other.world.runtime.resolve(ruling(&first, Ruling::Allow)).await.unwrap();
    let of_child = Accepted { session: child.clone(), input: 2, repeated: false, opened: false };
    let config = TurnConfig {
        given: Given { on_ask: OnAsk::Park, ..other.world.config().given },
        ..other.world.config()
    };
    other.world.runtime.resume(&child, config.clone());
    // What was steered stands in the very next request, beside the result; and the next call asks again.
    assert_eq!(other.world.result(&of_child).await.outcome, "parked");
    let last = home.minds.asked.lock().unwrap().last().unwrap().clone();
    assert!(last.contains("it is done") && last.contains("and be careful"), "{last}");
    let second = format!("{child}/1/2/tool/0");
    assert_eq!(asked(&shown(&other.world, child.as_str()).await), [first, second.clone()]);
    let no = Ruling::Deny { feedback: String::new() };
    other.world.runtime.resolve(ruling(&second, no)).await.unwrap();
    other.world.runtime.resume(&child, config.clone());
    assert_eq!(other.world.result(&of_child).await.message.as_deref(), Some("the second was not allowed"));
    other.world.runtime.resume(&accepted.session, config);
    assert_eq!(other.world.result(&accepted).await.message.as_deref(), Some("good"));
    stream.check(&other.world, "attached").await;
}

/// A child's end and a cancel of it come at the same moment, in any order.
#[tokio::test]
async fn a_cancel_that_races_the_end_leaves_one_end_that_all_tell_alike() {
    let mut ends = [0, 0];
    for round in 0..40 {
        let home = family(
            vec![
                ("begin now", Thought::Call(vec![spawn("slow")])),
                ("slow", Thought::Later("done")),
                ("finished: done", Thought::Say("it ended")),
                ("cancelled: ", Thought::Say("it was stopped")),
            ],
            vec![],
        );
        let accepted = home.world.runtime.submit(home.world.submit("s", "begin now")).await.unwrap();
        until("the child works", async || home.minds.busy.lock().unwrap().0 == 1).await;
        let child = children(&home.world).await["slow"].clone();
        let (runtime, of) = (home.world.runtime.clone(), child.clone());
        let cancel = async move {
            for _ in 0..round % 20 {
                tokio::task::yield_now().await;
            }
            match runtime.cancel(&of, "person", "enough").await {
                Ok(_) => true,
                // It came too late.
                Err(RuntimeError::NoTurn(_)) => false,
                Err(error) => panic!("{error}"),
            }
        };
        let go = home.minds.go.clone();
        let end = async move {
            for _ in 0..(39 - round) % 20 {
                tokio::task::yield_now().await;
            }
            go.notify_one();
        };
        let (asked, ()) = futures::join!(cancel, end);
        let result = home.world.result(&accepted).await;
        let records = home.world.records(child.as_str()).await;
        let terminals: Vec<&TurnOutcome> = records
            .iter()
            .filter_map(|record| match &record.body {
                Body::TurnCommitted(committed) => Some(&committed.outcome),
                _ => None,
            })
            .collect();
        let cancelled = match terminals[..] {
            [TurnOutcome::Finished { .. }] => false,
            [TurnOutcome::Stopped { reason: StopReason::Cancelled, .. }] => true,
            ref other => panic!("round {round}: {other:?}"),
        };
        assert!(asked || !cancelled, "round {round}: nobody stopped it");
        let said = if cancelled { "it was stopped" } else { "it ended" };
        assert_eq!(result.message.as_deref(), Some(said), "round {round}");
        let bodies = home.world.bodies("s").await;
        for once in ["wait_resolved", "outcome 1/tool/0 ok", "turn_committed"] {
            assert_eq!(bodies.iter().filter(|body| *body == once).count(), 1, "round {round}: {once}");
        }
        ends[usize::from(cancelled)] += 1;
    }
    assert!(ends.iter().all(|n| *n > 0), "both happen: {ends:?}");
}

/// Two questions of one answer of the model, each answered by another surface, the second first.
#[tokio::test]
async fn two_questions_of_one_step_are_answered_in_the_other_order_from_two_surfaces() {
    let asked_again = Arc::new(Mutex::new(Vec::new()));
    let heard = asked_again.clone();
    let ask = tool_of("ask_user", EffectClass::Pure, Access::Session, move |cx, args| {
        let heard = heard.clone();
        async move {
            if let Some(answers) = cx.answers {
                heard.lock().unwrap().push(answers[0].clone());
                return Ok(ToolReturn::Done(ToolDone::text(format!("answered {}", answers[0]))));
            }
            let question = args["q"].as_str().unwrap().to_owned();
            Ok(ToolReturn::Ask(vec![Question {
                question,
                header: "q".into(),
                options: vec![],
                multi: false,
            }]))
        }
        .boxed()
    });
    let model = TestModel::new([
        Say::Calls(vec![("ask_user", json!({"q": "first?"})), ("ask_user", json!({"q": "second?"}))]),
        Say::Text("done"),
    ]);
    let world = World::new(model, vec![ask.clone()]);
    let mut submit = world.submit("s", "go");
    submit.config.on_ask = OnAsk::Prompt;
    let accepted = world.runtime.submit(submit).await.unwrap();
    let waits = ["s/1/1/tool/0", "s/1/1/tool/1"];
    until("both ask", async || {
        world.bodies("s").await.iter().filter(|body| *body == "wait_opened").count() == 2
    })
    .await;
    let answer = |wait: &str, text: &str, by: &str| Resolve {
        session: accepted.session.clone(),
        wait: wait.into(),
        ruling: Ruling::Answers(vec![text.into()]),
        grant: None,
        by: by.into(),
    };
    // One through this process, one through another on the same log.
    let other = World::over(
        world.log.clone(),
        TestEnv { name: "two".into(), ..world.env.clone() },
        TestModel::default(),
        vec![ask],
    );
    other.runtime.resolve(answer(waits[1], "two", "elsewhere")).await.unwrap();
    until("the second is taken", async || *asked_again.lock().unwrap() == ["two"]).await;
    world.runtime.resolve(answer(waits[0], "one", "here")).await.unwrap();
    assert_eq!(world.result(&accepted).await.message.as_deref(), Some("done"));
    assert_eq!(*asked_again.lock().unwrap(), ["two", "one"]);
    let late = other.runtime.resolve(answer(waits[1], "again", "elsewhere")).await;
    assert!(late.is_err(), "an answer counts once");
    // The log has them as they came, the request in the order of the calls.
    let log = world.log.read(&accepted.session, 1, 100).await.unwrap();
    let settled: Vec<u32> = log
        .iter()
        .filter_map(|sealed| match &sealed.record.body {
            Body::Outcome(outcome) if outcome.key.kind == EffectKind::Tool => Some(outcome.key.ordinal),
            _ => None,
        })
        .collect();
    assert_eq!(settled, [1, 0]);
    assert_eq!(results_in(&world.model.body(1)), ["answered one", "answered two"]);
}

/// An agent in the background asks when nobody is there; whoever answers it drives its maker, which hears of its end.
#[tokio::test]
async fn a_child_in_the_background_that_is_answered_elsewhere_tells_its_maker() {
    let home = family(
        vec![
            ("begin now", Thought::Call(vec![("agent", json!({"task": "ask first", "background": true}))])),
            ("started: agent-", Thought::Say("it runs")),
            ("ask first", Thought::Call(vec![("danger", json!({}))])),
            ("it is done", Thought::Say("I did it")),
            ("has finished.", Thought::Say("that is all")),
        ],
        vec![asking_tool("danger", "it is done")],
    );
    let mut submit = home.world.submit("s", "begin now");
    submit.config.on_ask = OnAsk::Park;
    let accepted = home.world.runtime.submit(submit).await.unwrap();
    assert_eq!(home.world.result(&accepted).await.message.as_deref(), Some("it runs"));
    until("the child asks", async || {
        let Some(child) = children(&home.world).await.get("ask first").cloned() else { return false };
        home.world.bodies(child.as_str()).await.contains(&"wait_opened".to_owned())
    })
    .await;
    let child = children(&home.world).await["ask first"].clone();
    home.world.runtime.rest(&child).await;
    let other = over(
        home.world.log.clone(),
        TestEnv { name: "two".into(), ..home.world.env.clone() },
        home.minds.clone(),
        vec![asking_tool("danger", "it is done")],
    );
    let resolve = Resolve {
        session: child.clone(),
        wait: format!("{child}/1/1/tool/0"),
        ruling: Ruling::Allow,
        grant: None,
        by: "person".into(),
    };
    other.world.runtime.resolve(resolve).await.unwrap();
    other.world.runtime.resume(&accepted.session, other.world.config());
    until("the maker has heard of its end", async || {
        let bodies = other.world.bodies("s").await;
        bodies.iter().filter(|body| *body == "turn_committed").count() == 2
    })
    .await;
    let records = other.world.records("s").await;
    let told = |record: &&Record| matches!(&record.body, Body::InputAccepted(input) if input.ended.is_some());
    assert_eq!(records.iter().filter(told).count(), 1);
    let asked = home.minds.asked("it is done");
    assert_eq!(asked, 1, "the call ran once, and nobody asked a model twice");
}

/// What a child runs is stopped with the turn of its maker, and not only the child's own waiting.
#[tokio::test]
async fn a_tool_that_a_child_runs_stops_with_its_makers_turn() {
    let (begun, stopped) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(0)));
    let seen = (begun.clone(), stopped.clone());
    let long = tool_of("long", EffectClass::AtMostOnce, Access::Session, move |cx, _| {
        let (begun, stopped) = seen.clone();
        async move {
            *begun.lock().unwrap() += 1;
            cx.cancel.cancelled().await;
            *stopped.lock().unwrap() += 1;
            Ok(ToolReturn::Done(ToolDone::text("cut short")))
        }
        .boxed()
    });
    let home = family(
        vec![
            ("begin now", Thought::Call(vec![spawn("one down")])),
            ("one down", Thought::Call(vec![spawn("two down")])),
            ("two down", Thought::Call(vec![("long", json!({}))])),
        ],
        vec![long],
    );
    let accepted = home.world.runtime.submit(home.world.submit("s", "begin now")).await.unwrap();
    until("the grandchild works", async || *begun.lock().unwrap() == 1).await;
    home.world.runtime.cancel(&accepted.session, "person", "enough").await.unwrap();
    assert_eq!(home.world.result(&accepted).await.stop, Some(StopReason::Cancelled));
    until("its tool is stopped", async || *stopped.lock().unwrap() == 1).await;
    for (task, child) in children(&home.world).await {
        until(&task, async || home.world.bodies(child.as_str()).await.last().unwrap() == "turn_committed")
            .await;
        let records = home.world.records(child.as_str()).await;
        let Body::TurnCommitted(committed) = &records.last().unwrap().body else { panic!() };
        assert!(
            matches!(committed.outcome, TurnOutcome::Stopped { reason: StopReason::Cancelled, .. }),
            "{task}"
        );
    }
    assert_eq!(*begun.lock().unwrap(), 1);
}
