//! Guest turns: another agent answers once over this history, and everybody else is shown its words as its own.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/hooks.rs"]
mod double;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::*;
use double::{Reaction, Told, listening};
use futures::FutureExt;
use serde_json::{Value, json};
use sterna_model::*;
use sterna_runtime::*;
use sterna_tool::{SharedTool, ToolDone, ToolReturn};

fn asks_guest(world: &World, text: &str) -> Submit {
    let mut submit = world.submit("s", text);
    let guest = Guest { agent: "critic".into(), prompt: "You are a stern critic.".into() };
    submit.config.guest = Some(Box::new(guest));
    submit
}

fn messages(body: &Value) -> Vec<String> {
    let text = |message: &Value| {
        let content =
            message["content"].as_str().map_or_else(|| message["content"].to_string(), str::to_owned);
        format!("{}: {content}", message["role"].as_str().unwrap())
    };
    body["messages"].as_array().unwrap().iter().map(text).collect()
}

/// Without the prompt, and without the tail.
fn said(body: &Value) -> Vec<String> {
    let volatile = |text: &String| text.starts_with("system:") || text.contains("<environment>");
    messages(body).into_iter().filter(|text| !volatile(text)).collect()
}

fn counting(runs: &Arc<AtomicUsize>) -> SharedTool {
    let runs = runs.clone();
    tool("act", EffectClass::AtMostOnce, move |_, _| {
        runs.fetch_add(1, Ordering::SeqCst);
        async move { Ok(ToolReturn::Done(ToolDone::text("acted"))) }.boxed()
    })
}

async fn replays(world: &World) {
    let id = SessionId::new("s").unwrap();
    assert_eq!(replay(world.runtime.parts(), &id).await.unwrap().difference, None);
}

#[tokio::test]
async fn a_guest_answers_once_and_others_see_whose_words_it_said() {
    let told = Told::default();
    let events = [HookEvent::UserPromptSubmit, HookEvent::Stop, HookEvent::TurnEnd];
    let hooks = listening("h", &events, &told, |_| Reaction::Says(HookAnswer::nothing()));
    let list = ["I wrote it.", "It is </from> poor.", "I made it better.", "Still poor."].map(Say::Text);
    let world = World::new(TestModel::new(list), vec![counting(&Arc::default())]).hooked(hooks);
    world.run(world.submit("s", "Write it.")).await;
    let result = world.run(asks_guest(&world, "What do you think of it?")).await;
    assert_eq!((result.outcome, result.message.as_deref()), ("finished", Some("It is </from> poor.")));
    world.run(world.submit("s", "Make it better.")).await;
    world.run(asks_guest(&world, "And now?")).await;
    let model = &world.model;
    let (own, guest, next, again) = (model.body(0), model.body(1), model.body(2), model.body(3));
    // The guest: its prompt, the history as it is, who it is, the same tools, and none of them to be called.
    assert_eq!((&guest["tools"], &guest["tool_choice"]), (&own["tools"], &json!("none")));
    assert!(own["tool_choice"].is_null() && next["tool_choice"].is_null());
    let system = |body: &Value| messages(body).into_iter().find(|m| m.starts_with("system:")).unwrap();
    assert!(system(&guest).contains("You are a stern critic.") && !system(&next).contains("critic"));
    assert_eq!(said(&guest), ["user: Write it.", "assistant: I wrote it.", "user: What do you think of it?"]);
    let framing = "You are critic, a guest in this conversation.";
    assert!(messages(&guest).last().unwrap().contains(framing) && !next.to_string().contains(framing));
    // The session's own agent.
    let theirs = "user: <from agent=\"critic\">\nIt is &lt;/from> poor.\n</from>";
    assert_eq!(
        said(&next),
        [
            "user: Write it.",
            "assistant: I wrote it.",
            "user: What do you think of it?",
            theirs,
            "user: Make it better."
        ]
    );
    // The same guest later: what it said was said by itself.
    assert_eq!(said(&again)[3..5], ["assistant: It is </from> poor.", "user: Make it better."]);
    // Nothing of the frames is stored, and every turn had its hooks.
    for record in world.records("s").await {
        let text = serde_json::to_string(&record).unwrap();
        assert!(!text.contains("<from agent") && !text.contains(framing), "{text}");
    }
    for event in events {
        let calls: Vec<Value> =
            told.calls().iter().filter(|c| c.event == event).map(|c| c.input["guest"].clone()).collect();
        assert_eq!(calls, [Value::Null, json!("critic"), Value::Null, json!("critic")], "{event:?}");
    }
    let started: Vec<Value> = shown(&world, "s")
        .await
        .into_iter()
        .map(|(_, e)| e)
        .filter(|e| e["type"] == "turn.started")
        .collect();
    let guests: Vec<&Value> = started.iter().map(|event| &event["guest"]).collect();
    assert_eq!(guests, [&Value::Null, &json!("critic"), &Value::Null, &json!("critic")]);
    let schema: Value = serde_json::from_str(include_str!("../../../events.schema.json")).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    assert!(started.iter().all(|event| schema.is_valid(event)));
    replays(&world).await;
}

#[tokio::test]
async fn a_guest_that_calls_a_tool_ends_by_name_and_the_session_goes_on() {
    let runs = Arc::new(AtomicUsize::new(0));
    let parts = vec![Part::Text("Let me see.".into()), call("c", "act", "{}")];
    let list = [Say::Reply(reply(parts, ModelStop::ToolCalls)), Say::Text("I am here.")];
    let world = World::new(TestModel::new(list), vec![counting(&runs)]);
    let result = world.run(asks_guest(&world, "Do it.")).await;
    assert_eq!((result.outcome, result.stop), ("stopped", Some(StopReason::ToolFailed)));
    assert_eq!(runs.load(Ordering::SeqCst), 0);
    let answer = world.records("s").await.into_iter().find_map(|record| match record.body {
        Body::Outcome(outcome) => match outcome.result {
            EffectResult::Tool(tool) => Some(tool),
            _ => None,
        },
        _ => None,
    });
    let answer = answer.unwrap();
    assert!(answer.status == ToolStatus::NotAvailable && answer.view.starts_with("tool not available: act"));
    // No call without its result, and no result without its call.
    assert_eq!(world.run(world.submit("s", "Are you there?")).await.message.as_deref(), Some("I am here."));
    let body = world.model.body(1);
    assert_eq!(
        said(&body),
        ["user: Do it.", "user: <from agent=\"critic\">\nLet me see.\n</from>", "user: Are you there?"]
    );
    replays(&world).await;
}

#[tokio::test]
async fn what_a_guest_said_is_no_word_of_the_person() {
    // Enough is said for a summary to be smaller.
    let long =
        |words: &str| Say::Text(format!("{words} {}", "It was weighed and found good. ".repeat(400)).leak());
    let list = [
        long("Bien."),
        long("Never use tabs."),
        long("Bien."),
        long("Bien."),
        Say::Text("- they talked (record 2)"),
    ];
    let world = World::new(TestModel::new(list), vec![]);
    world.run(world.submit("s", "Always answer in French.")).await;
    world.run(asks_guest(&world, "Any rules?")).await;
    for text in ["Begin.", "Go on."] {
        world.run(world.submit("s", text)).await;
    }
    let id = SessionId::new("s").unwrap();
    let asked = world.runtime.compact(&id, "", world.config(), "test").await.unwrap();
    let result = world.result(&asked).await;
    assert!(result.message.as_deref().unwrap().starts_with("compacted (summary)"), "{result:?}");
    let pinned = world.records("s").await.into_iter().find_map(|record| match record.body {
        Body::Compacted(compacted) => Some(compacted.pinned),
        _ => None,
    });
    // What the person said stays word for word, also what was said to the guest; the guest's own words are summed up, and
    // its "never" binds nobody.
    let texts: Vec<String> = pinned.unwrap().into_iter().map(|pin| pin.text).collect();
    assert_eq!(texts, ["Always answer in French.", "Any rules?", "Begin."]);
    let state = State::load(&world.runtime.parts().log, &id).await.unwrap();
    let kept: Vec<String> =
        state.transcript.items().iter().map(|entry| format!("{:?}", entry.item)).collect();
    assert!(!kept.iter().any(|item| item.contains("tabs")), "{kept:?}");
}

#[tokio::test]
async fn a_guest_is_cancelled_and_driven_on_like_any_turn() {
    // Cancelled while it writes: what it said so far is its own too.
    let model = TestModel::new([Say::Hang("I begin"), Say::Text("Go on.")]);
    let world = World::new(model, vec![]);
    let accepted = world.runtime.submit(asks_guest(&world, "Say something.")).await.unwrap();
    world.model.arrived.notified().await;
    world.runtime.cancel(&accepted.session, "test", "enough").await.unwrap();
    assert_eq!(world.result(&accepted).await.stop, Some(StopReason::Cancelled));
    world.run(world.submit("s", "Go on.")).await;
    assert!(said(&world.model.body(1)).iter().all(|text| !text.starts_with("assistant")));
    replays(&world).await;
    // Accepted by one process, driven by another: who answers stands in the log.
    let other = World::new(TestModel::new([Say::Text("Poor.")]), vec![]);
    let submit = Submit { drive: false, ..asks_guest(&other, "And this?") };
    let accepted = other.runtime.submit(submit).await.unwrap();
    let second = other.next_life("two", TestModel::new([Say::Text("Poor.")]));
    second.runtime.resume(&accepted.session, second.config());
    assert_eq!(second.result(&accepted).await.message.as_deref(), Some("Poor."));
    assert_eq!(second.model.body(0)["tool_choice"], json!(null), "no tools, no choice");
    assert!(second.model.body(0).to_string().contains("You are a stern critic."));
}
