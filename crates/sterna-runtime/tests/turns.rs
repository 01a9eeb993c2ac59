//! Whole turns over an in-memory log: what is recorded, what the model is asked, how it ends.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::{Arc, Mutex};

use common::*;
use futures::FutureExt;
use serde_json::{Value, json};
use sterna_model::*;
use sterna_runtime::*;
use sterna_tool::{ToolDone, ToolReturn};
use tokio::sync::Barrier;

#[tokio::test]
async fn a_text_answer_is_a_turn_of_five_records() {
    let world = World::new(TestModel::new([Say::Text("ok")]), vec![]);
    let result = world.run(world.submit("s", "hello")).await;
    assert_eq!((result.outcome, result.message.as_deref(), result.steps), ("finished", Some("ok"), 1));
    let expected = [
        "session_opened",
        "input_accepted",
        "turn_started",
        "intent 1/model/0",
        "outcome 1/model/0",
        "turn_committed",
    ];
    assert_eq!(world.bodies("s").await, expected);
    assert_eq!(result.usage.len(), 1);
    assert_eq!((result.usage[0].calls, result.usage[0].usage.output), (1, 10));
}

/// Texts of the messages of one role in a request.
fn said(body: &Value, role: &str) -> Vec<String> {
    let messages = body["messages"].as_array().unwrap().iter().filter(|m| m["role"] == role);
    messages.map(|m| m["content"].as_str().unwrap_or("").to_owned()).collect()
}

/// What the volatile tail of a request says.
fn tail(body: &Value) -> String {
    said(body, "user").last().unwrap().clone()
}

#[tokio::test]
async fn an_answer_cut_by_the_output_limit_is_continued_three_times() {
    let cut = |text: &str| Say::Reply(reply(vec![Part::Text(text.into())], ModelStop::MaxOutput));
    let world = World::new(TestModel::new([cut("a"), cut("b"), cut("c"), cut("d")]), vec![]);
    let result = world.run(world.submit("s", "go")).await;
    assert_eq!((result.stop, world.model.asked()), (Some(StopReason::MaxOutput), 4));
    assert_eq!(said(&world.model.body(3), "assistant").concat(), "abc");
    for n in 1..4 {
        assert!(tail(&world.model.body(n)).contains("cut by the output limit"));
    }
    let whole = World::new(TestModel::new([cut("one, "), Say::Text("two")]), vec![]);
    let result = whole.run(whole.submit("s", "go")).await;
    assert_eq!(result.message.as_deref(), Some("one, two"));
}

#[tokio::test]
async fn a_call_whose_arguments_were_cut_is_not_run() {
    let half =
        ToolCall { id: "c".into(), name: "look".into(), arguments: r#"{"n": "#.into(), truncated: true };
    let cut = reply(vec![Part::ToolCall(half)], ModelStop::MaxOutput);
    let world =
        World::new(TestModel::new([Say::Reply(cut), Say::Text("ok")]), vec![echo("look", EffectClass::Pure)]);
    let result = world.run(world.submit("s", "go")).await;
    assert_eq!(result.outcome, "finished");
    assert!(world.bodies("s").await.contains(&"outcome 1/tool/0 truncated_arguments".to_owned()));
    assert!(said(&world.model.body(1), "tool")[0].starts_with("truncated_arguments"));
}

#[tokio::test]
async fn the_step_limit_ends_with_one_grace_request_without_tools() {
    let again = |n: u32| Say::Calls(vec![("look", json!({ "n": n }))]);
    let model = TestModel::new([again(1), again(2), Say::Text("I got this far")]);
    let world = World::new(model, vec![echo("look", EffectClass::Pure)]);
    let mut submit = world.submit("s", "go");
    submit.config.limits.max_steps = 2;
    let result = world.run(submit).await;
    assert_eq!((result.stop, result.steps), (Some(StopReason::MaxSteps), 3));
    let grace = world.model.body(2);
    assert_eq!(grace["tool_choice"], "none");
    assert_eq!(grace["tools"], world.model.body(0)["tools"]);
    assert_eq!(StopReason::MaxSteps.exit_code(), 3);

    // A model that calls all the same: the call is not run, and the turn stops by the same name.
    let world = World::new(TestModel::new([again(1), again(2)]), vec![echo("look", EffectClass::Pure)]);
    let mut submit = world.submit("s", "go");
    submit.config.limits.max_steps = 1;
    let result = world.run(submit).await;
    assert_eq!(result.stop, Some(StopReason::MaxSteps));
    assert!(world.bodies("s").await.contains(&"outcome 2/tool/0 not_available".to_owned()));
}

#[tokio::test]
async fn an_empty_answer_is_nudged_once() {
    let empty = || Say::Reply(reply(vec![], ModelStop::EndTurn));
    let world = World::new(TestModel::new([empty(), empty()]), vec![]);
    let result = world.run(world.submit("s", "go")).await;
    assert_eq!((result.stop, world.model.asked()), (Some(StopReason::NoProgress), 2));
    assert!(tail(&world.model.body(1)).contains("answer was empty"));
    assert!(said(&world.model.body(1), "assistant").is_empty());

    let model = TestModel::new([Say::Calls(vec![("look", json!({}))]), empty(), Say::Text("there")]);
    let world = World::new(model, vec![echo("look", EffectClass::Pure)]);
    let result = world.run(world.submit("s", "go")).await;
    assert_eq!(result.message.as_deref(), Some("there"));
}

#[tokio::test]
async fn a_loop_is_nudged_after_six_stalled_steps_and_stopped_after_twelve() {
    let same = (0..13).map(|_| Say::Calls(vec![("look", json!({"n": 1}))]));
    let world = World::new(TestModel::new(same), vec![echo("look", EffectClass::Pure)]);
    let result = world.run(world.submit("s", "go")).await;
    assert_eq!((result.stop, world.model.asked()), (Some(StopReason::NoProgress), 13));
    assert!(result.message.unwrap().contains(r#"look {"n":1}"#));
    let nudged: Vec<usize> =
        (0..13).filter(|n| tail(&world.model.body(*n)).contains("brought nothing new")).collect();
    // Steps 2 to 7 stalled: the eighth request nudges.
    assert_eq!(nudged, [7]);

    let new = (0..40).map(|n| Say::Calls(vec![("look", json!({ "n": n }))]));
    let world =
        World::new(TestModel::new(new.chain([Say::Text("done")])), vec![echo("look", EffectClass::Pure)]);
    let result = world.run(world.submit("s", "go")).await;
    assert_eq!(result.outcome, "finished");
    assert!((0..41).all(|n| !tail(&world.model.body(n)).contains("brought nothing new")));
}

#[tokio::test]
async fn steered_queued_edited_and_withdrawn_inputs() {
    let gate = Arc::new(Barrier::new(2));
    let inner = gate.clone();
    let slow = tool("slow", EffectClass::AtMostOnce, move |_, _| {
        let gate = inner.clone();
        async move {
            gate.wait().await;
            gate.wait().await;
            Ok(ToolReturn::Done(ToolDone::text("slow is done")))
        }
        .boxed()
    });
    let model = TestModel::new([
        Say::Calls(vec![("slow", json!({}))]),
        Say::Text("first answer"),
        Say::Text("answer to E"),
        Say::Text("answer to B"),
    ]);
    let world = World::new(model, vec![slow]);
    let mut first = world.submit("s", "go");
    first.config.mode = Mode::Bypass;
    let first = world.runtime.submit(first).await.unwrap();
    gate.wait().await;
    let send = |text: &'static str, key: Option<&'static str>, delivery: Delivery| {
        let mut submit = world.submit("s", text);
        submit.key = key.map(str::to_owned);
        submit.delivery = delivery;
        submit.config.mode = Mode::Bypass;
        world.runtime.submit(submit)
    };
    let a = send("A", Some("key-a"), Delivery::AfterWork).await.unwrap();
    let b = send("B", None, Delivery::NextTurn).await.unwrap();
    let again = send("A", Some("key-a"), Delivery::AfterWork).await.unwrap();
    assert_eq!((again.input, again.repeated), (a.input, true));
    let c = send("C", None, Delivery::NextTurn).await.unwrap();
    let d = send("D", None, Delivery::NextTurn).await.unwrap();
    let id = SessionId::new("s").unwrap();
    world.runtime.edit(&id, b.input, vec![InputPart::Text("B, edited".into())], "test").await.unwrap();
    world.runtime.withdraw(&id, vec![c.input, d.input], "test").await.unwrap();
    send("E", None, Delivery::BeforeCompletion).await.unwrap();
    gate.wait().await;
    let result = world.result(&first).await;
    assert_eq!(result.message.as_deref(), Some("answer to E"));
    let second = world.result(&b).await;
    assert_eq!((second.message.as_deref(), second.turn), (Some("answer to B"), 2));
    let heard = |n: usize| {
        let all = said(&world.model.body(n), "user");
        all[..all.len() - 1].to_vec()
    };
    assert_eq!(heard(1), ["go", "A"]);
    assert_eq!(heard(2), ["go", "A", "E"]);
    assert_eq!(heard(3), ["go", "A", "E", "B, edited"]);
    let taken = world.runtime.withdraw(&id, vec![a.input], "test").await;
    assert!(matches!(taken, Err(RuntimeError::InputTaken { .. })));
}

#[tokio::test]
async fn a_cancelled_turn_keeps_the_text_so_far_and_the_session_works_on() {
    let world = World::new(TestModel::new([Say::Hang("so far"), Say::Text("next")]), vec![]);
    let first = world.runtime.submit(world.submit("s", "go")).await.unwrap();
    world.model.arrived.notified().await;
    tokio::task::yield_now().await;
    let id = first.session.clone();
    let receipt = world.runtime.cancel(&id, "person", "enough").await.unwrap();
    let result = world.result(&first).await;
    assert_eq!((result.stop, result.message.as_deref()), (Some(StopReason::Cancelled), Some("enough")));
    assert!(receipt.first > first.input);
    let records = world.records("s").await;
    let partial = records.iter().find_map(|record| match &record.body {
        Body::Outcome(outcome) => match &outcome.result {
            EffectResult::Model(model) if model.partial => Some(answer_text(&model.parts)),
            _ => None,
        },
        _ => None,
    });
    assert_eq!(partial.as_deref(), Some("so far"));
    let result = world.run(world.submit("s", "again")).await;
    assert_eq!(result.message.as_deref(), Some("next"));
    assert_eq!(said(&world.model.body(1), "assistant"), ["so far"]);
}

#[tokio::test]
async fn cancels_at_any_moment_leave_one_terminal_record_and_a_working_session() {
    for round in 0..200u64 {
        let model = TestModel::new([
            Say::Calls(vec![("slow", json!({ "ms": round % 7 })), ("slow", json!({ "ms": round % 3 }))]),
            Say::Hang("half a"),
            Say::Text("works"),
        ]);
        let slow = tool("slow", EffectClass::AtMostOnce, |cx, args| {
            async move {
                let ms = args["ms"].as_u64().unwrap();
                tokio::select! {
                    () = tokio::time::sleep(std::time::Duration::from_millis(ms)) => {}
                    () = cx.cancel.cancelled() => return Err(sterna_tool::ToolError::cancelled()),
                }
                Ok(ToolReturn::Done(ToolDone::text("slept")))
            }
            .boxed()
        });
        let world = World::new(model, vec![slow]);
        let first = world.runtime.submit(world.submit("s", "go")).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_micros(round * 53)).await;
        let id = first.session.clone();
        let one = world.runtime.cancel(&id, "a", "one").await;
        let two = world.runtime.cancel(&id, "b", "two").await;
        if let (Ok(one), Ok(two)) = (&one, &two) {
            assert!(two.repeated || two.first == one.first, "round {round}");
        }
        let result = world.result(&first).await;
        assert_eq!(result.stop, Some(StopReason::Cancelled), "round {round}");
        let records = world.records("s").await;
        assert_eq!(records.iter().filter(|r| matches!(r.body, Body::TurnCommitted(_))).count(), 1);
        // The hang may be unheard yet: the next turn plays what is left of the list.
        world.model.list.lock().unwrap().retain(|say| matches!(say, Say::Text(_)));
        let result = world.run(world.submit("s", "again")).await;
        assert_eq!(result.message.as_deref(), Some("works"), "round {round}");
    }
}

#[tokio::test]
async fn the_same_key_is_one_turn_and_other_content_is_a_conflict() {
    let world = World::new(TestModel::new([Say::Text("once")]), vec![]);
    let keyed = |text: &str| {
        let mut submit = world.submit("s", text);
        submit.key = Some("k".into());
        submit
    };
    let first = world.runtime.submit(keyed("go")).await.unwrap();
    let second = world.runtime.submit(keyed("go")).await.unwrap();
    assert_eq!((second.input, second.repeated), (first.input, true));
    assert_eq!(world.result(&first).await, world.result(&second).await);
    let before = world.records("s").await.len();
    let other = world.runtime.submit(keyed("other")).await.unwrap_err();
    assert!(matches!(other.log(), Some(sterna_log::LogError::Conflict { .. })), "{other}");
    assert_eq!(world.records("s").await.len(), before);
    // After a restart the same receipt, and no second turn.
    let next = world.next_life("two", TestModel::new([]));
    let mut again = next.submit("s", "go");
    again.key = Some("k".into());
    let third = next.runtime.submit(again).await.unwrap();
    assert_eq!((third.input, third.repeated), (first.input, true));
    assert_eq!(next.result(&third).await.message.as_deref(), Some("once"));
}

#[tokio::test]
async fn pure_calls_overlap_and_a_writing_call_waits_for_them() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let both = Arc::new(Barrier::new(2));
    let (seen, gate) = (order.clone(), both.clone());
    let look = tool("look", EffectClass::Pure, move |_, args| {
        let (seen, gate) = (seen.clone(), gate.clone());
        async move {
            let name = args["name"].as_str().unwrap().to_owned();
            seen.lock().unwrap().push(format!("start {name}"));
            if name != "D" {
                // Neither gets further before both are here.
                gate.wait().await;
            }
            if name == "A" {
                tokio::time::sleep(std::time::Duration::from_millis(30)).await;
            }
            seen.lock().unwrap().push(format!("end {name}"));
            Ok(ToolReturn::Done(ToolDone::text(name)))
        }
        .boxed()
    });
    let seen = order.clone();
    let change = tool("change", EffectClass::Idempotent, move |_, _| {
        let seen = seen.clone();
        async move {
            seen.lock().unwrap().push("C".into());
            Ok(ToolReturn::Done(ToolDone::text("C")))
        }
        .boxed()
    });
    let name = |n: &str| json!({ "name": n });
    let model = TestModel::new([
        Say::Calls(vec![
            ("look", name("A")),
            ("look", name("B")),
            ("change", name("C")),
            ("look", name("D")),
        ]),
        Say::Text("done"),
    ]);
    let world = World::new(model, vec![look, change]);
    world.run(world.submit("s", "go")).await;
    let order = order.lock().unwrap().clone();
    assert_eq!(order[2..], ["end B", "end A", "C", "start D", "end D"]);
    let bodies = world.bodies("s").await;
    let ended: Vec<&String> = bodies.iter().filter(|b| b.starts_with("outcome 1/tool")).collect();
    assert_eq!(
        ended,
        ["outcome 1/tool/1 ok", "outcome 1/tool/0 ok", "outcome 1/tool/2 ok", "outcome 1/tool/3 ok"]
    );
    assert_eq!(said(&world.model.body(1), "tool"), ["A", "B", "C", "D"]);
}

#[tokio::test]
async fn bad_calls_run_nothing_and_each_has_one_result() {
    let ran = Arc::new(Mutex::new(0));
    let count = ran.clone();
    let strict = tool("strict", EffectClass::Pure, move |_, _| {
        *count.lock().unwrap() += 1;
        async move { Ok(ToolReturn::Done(ToolDone::text("ran"))) }.boxed()
    });
    let panics = tool("panics", EffectClass::Pure, |_, _| async move { panic!("as it must") }.boxed());
    let parts = vec![
        call("1", "unknown", "{}"),
        call("2", "outside", "{}"),
        call("3", "strict", "{\"a\": "),
        call("4", "strict", "[1]"),
        call("5", "panics", "{}"),
    ];
    let model = TestModel::new([Say::Reply(reply(parts, ModelStop::ToolCalls)), Say::Text("went on")]);
    let world = World::new(model, vec![strict, panics, echo("outside", EffectClass::Pure)]);
    let mut submit = world.submit("s", "go");
    submit.config.tools = vec!["strict".into(), "panics".into()];
    let result = world.run(submit).await;
    assert_eq!((result.outcome, *ran.lock().unwrap()), ("finished", 0));
    let results = said(&world.model.body(1), "tool");
    let begins = [
        "tool not registered: unknown",
        "tool not available: outside",
        "invalid_arguments for strict: the arguments are not JSON",
        "invalid_arguments for strict: the arguments: [1] is not of type",
        "`panics` panicked: as it must",
    ];
    assert_eq!(results.len(), begins.len());
    for (result, begin) in results.iter().zip(begins) {
        assert!(result.starts_with(begin), "{result}");
    }
    let advertised: Vec<Value> = world.model.body(0)["tools"].as_array().unwrap().clone();
    let names: Vec<&str> = advertised.iter().map(|t| t["function"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["panics", "strict"]);
}

#[tokio::test]
async fn a_large_result_is_a_view_for_the_model_and_whole_in_the_store() {
    let text: String = (0..5_000).map(|n| format!("{n:04} {}\n", "é".repeat(102))).collect();
    let whole = text.clone();
    let big = tool("big", EffectClass::Pure, move |_, _| {
        let text = text.clone();
        async move { Ok(ToolReturn::Done(ToolDone::text(text))) }.boxed()
    });
    let model = TestModel::new([Say::Calls(vec![("big", json!({}))]), Say::Text("seen")]);
    let world = World::new(model, vec![big]);
    world.run(world.submit("s", "go")).await;
    let view = said(&world.model.body(1), "tool").remove(0);
    assert!(view.len() <= 16 << 10 && view.lines().count() <= 400, "{}", view.len());
    let records = world.records("s").await;
    let full = records.iter().find_map(|record| match &record.body {
        Body::Outcome(outcome) => match &outcome.result {
            EffectResult::Tool(tool) => tool.full.clone(),
            _ => None,
        },
        _ => None,
    });
    let full = full.unwrap();
    assert!(view.contains(&full.hash.to_string()));
    let kept = sterna_log::Blobs::get(&*world.log, &full.hash).await.unwrap();
    assert_eq!(kept, whole.as_bytes());
}

#[tokio::test]
async fn on_ask_denies_fails_or_parks_and_never_hangs() {
    let ask = || Say::Calls(vec![("risky", json!({"x": 1}))]);
    let tools = || vec![asking_tool("risky", "it ran")];
    let with = |world: &World, on_ask: OnAsk| {
        let mut submit = world.submit("s", "go");
        submit.config.on_ask = on_ask;
        submit
    };
    let world = World::new(TestModel::new([ask(), Say::Text("without it")]), tools());
    let result = world.run(with(&world, OnAsk::Deny)).await;
    assert_eq!((result.outcome, result.denials.len()), ("finished", 1));
    assert!(said(&world.model.body(1), "tool")[0].starts_with("denied"));

    let world = World::new(TestModel::new([ask()]), tools());
    let result = world.run(with(&world, OnAsk::Fail)).await;
    assert_eq!((result.stop, result.stop.unwrap().exit_code()), (Some(StopReason::Denied), 4));

    let world = World::new(TestModel::new([ask(), Say::Text("with it")]), tools());
    let accepted = world.runtime.submit(with(&world, OnAsk::Park)).await.unwrap();
    let result = world.result(&accepted).await;
    assert_eq!(result.outcome, "parked");
    // Another process answers, and carries on without a second call for what the model said already.
    let next = world.next_life("two", world.model.clone());
    let resolve = |ruling: Ruling| Resolve {
        session: accepted.session.clone(),
        wait: "s/1/1/tool/0".into(),
        ruling,
        grant: None,
        by: "person".into(),
    };
    next.runtime.resolve(resolve(Ruling::Allow)).await.unwrap();
    let second = next.runtime.resolve(resolve(Ruling::Deny { feedback: String::new() })).await;
    assert!(matches!(second, Err(RuntimeError::AlreadyResolved { .. })));
    next.runtime.resume(&accepted.session, next.config());
    let result = next.result(&accepted).await;
    assert_eq!((result.outcome, result.message.as_deref()), ("finished", Some("with it")));
    assert_eq!(world.model.asked(), 2);
    assert_eq!(said(&world.model.body(1), "tool"), ["it ran"]);
}

#[tokio::test]
async fn three_denials_in_a_row_stop_a_turn_without_a_person() {
    let ask = |n: u32| Say::Calls(vec![("risky", json!({ "x": n }))]);
    let world = World::new(TestModel::new([ask(1), ask(2), ask(3)]), vec![asking_tool("risky", "ran")]);
    let result = world.run(world.submit("s", "go")).await;
    assert_eq!((result.stop, result.denials.len()), (Some(StopReason::Denied), 3));
}

#[tokio::test]
async fn retries_wait_and_are_billed_and_the_last_failure_ends_the_turn() {
    let fail = |class| Say::Fail(class);
    let model =
        TestModel::new([fail(ErrorClass::RateLimit), fail(ErrorClass::StreamCut), Say::Text("third time")]);
    let world = World::new(model, vec![]);
    let result = world.run(world.submit("s", "go")).await;
    assert_eq!(result.message.as_deref(), Some("third time"));
    let bodies = world.bodies("s").await;
    assert_eq!(
        bodies[4..7],
        ["attempt 1/model/0 1 rate_limit", "attempt 1/model/0 2 stream_cut", "outcome 1/model/0"]
    );
    let slept = world.env.slept.lock().unwrap().clone();
    let long: Vec<&u64> = slept.iter().filter(|ms| (750..5_000).contains(*ms)).collect();
    assert!(long.len() == 2 && *long[0] <= 1_250 && (1_500..=2_500).contains(long[1]), "{slept:?}");

    let model = TestModel::new((0..4).map(|_| fail(ErrorClass::Overloaded)));
    let world = World::new(model, vec![]);
    let result = world.run(world.submit("s", "go")).await;
    assert_eq!((result.stop, world.model.asked()), (Some(StopReason::ProviderFailed), 4));

    let world = World::new(TestModel::new([fail(ErrorClass::Auth)]), vec![]);
    let result = world.run(world.submit("s", "go")).await;
    assert_eq!((result.stop, world.model.asked()), (Some(StopReason::ProviderFailed), 1));
}

#[tokio::test]
async fn caps_and_deadlines_have_names_of_their_own() {
    let look = |n: u32| Say::Calls(vec![("look", json!({ "n": n }))]);
    let tools = || vec![echo("look", EffectClass::Pure)];
    let world = World::new(TestModel::new([look(1), look(2)]), tools());
    let mut submit = world.submit("s", "go");
    submit.config.limits.max_tokens = Some(200);
    assert_eq!(world.run(submit).await.stop, Some(StopReason::BudgetTokens));
    assert_eq!(world.model.asked(), 2);

    let world = World::new(TestModel::new([look(1)]), tools());
    let mut submit = world.submit("s", "go");
    submit.config.limits.max_cost = Some(1_000);
    assert_eq!(world.run(submit).await.stop, Some(StopReason::BudgetCost));

    let world = World::new(TestModel::new([Say::Hang("for ever")]), tools());
    let mut submit = world.submit("s", "go");
    submit.config.limits.deadline = Some(3_000);
    let result = world.run(submit).await;
    assert_eq!((result.stop, result.steps), (Some(StopReason::Deadline), 1));
}

#[tokio::test]
async fn sessions_side_by_side_do_not_see_each_other() {
    let tools = || vec![echo("look", EffectClass::Pure)];
    let world = World::new(TestModel::default(), tools());
    // One model for both: which session asks is told by its first words.
    let scripts: Vec<&str> = vec!["a", "b"];
    let mut all = Vec::new();
    for name in scripts {
        let model = TestModel::new(
            (0..20).flat_map(|n| [Say::Calls(vec![("look", json!({ "n": n }))]), Say::Text("ok")]),
        );
        let own = World::over(world.log.clone(), TestEnv::new(name), model, tools());
        all.push(tokio::spawn(async move {
            for turn in 0..20 {
                let mut submit = own.submit(&own.env.name.clone(), &format!("{} {turn}", own.env.name));
                submit.config.cwd = format!("/{}", own.env.name);
                assert_eq!(own.run(submit).await.outcome, "finished");
            }
            own
        }));
    }
    for task in all {
        let own = task.await.unwrap();
        let name = own.env.name.clone();
        let records = own.records(&name).await;
        let seqs: Vec<Seq> = records.iter().map(|record| record.seq).collect();
        assert_eq!(seqs, (1..=records.len() as u64).collect::<Vec<_>>());
        for n in 0..own.model.asked() {
            let body = own.model.body(n);
            assert!(tail(&body).contains(&format!("working directory: /{name}")));
            let other = if name == "a" { "b " } else { "a " };
            assert!(said(&body, "user").iter().all(|text| !text.starts_with(other)));
        }
    }
}

#[tokio::test]
async fn a_hundred_steps_of_three_calls_replay_byte_for_byte() {
    let step = |n: u32| Say::Calls((0..3).map(|i| ("look", json!({ "step": n, "call": i }))).collect());
    let model = TestModel::new((0..99).map(step).chain([Say::Text("done")]));
    let world = World::new(model, vec![echo("look", EffectClass::Pure)]);
    let result = world.run(world.submit("s", "go")).await;
    assert_eq!((result.outcome, result.steps), ("finished", 100));
    let records = world.records("s").await;
    assert!(records.iter().zip(1..).all(|(record, seq)| record.seq == seq));
    for n in 1..100 {
        let body = world.model.body(n);
        let messages = body["messages"].as_array().unwrap();
        let calls: Vec<&str> = messages
            .iter()
            .filter_map(|m| m["tool_calls"].as_array())
            .flatten()
            .map(|call| call["id"].as_str().unwrap())
            .collect();
        let results: Vec<&str> = messages
            .iter()
            .filter(|m| m["role"] == "tool")
            .map(|m| m["tool_call_id"].as_str().unwrap())
            .collect();
        assert_eq!(calls, results);
        assert_eq!(calls.len(), 3 * n);
    }
    let replayed = replay(world.runtime.parts(), &SessionId::new("s").unwrap()).await.unwrap();
    assert_eq!((replayed.requests, replayed.difference), (100, None));
    assert_eq!(world.model.asked(), 100);
}
