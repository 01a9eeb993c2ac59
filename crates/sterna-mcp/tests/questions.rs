//! A server's questions to the person, in the middle of a call.

#![allow(clippy::unwrap_used)]

mod common;

use common::{World, status, tool};
use serde_json::json;
use sterna_model::ToolStatus;
use sterna_tool::{Output, Tool, ToolReturn};

fn text(done: ToolReturn) -> String {
    match done {
        ToolReturn::Done(done) => match done.output {
            Output::Text(text) => text,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_person_answers_and_the_call_goes_on() {
    for (switches, expected) in [
        (&[][..], r#"{"action": "accept", "content": {"age": 7, "name": "Ann"}}"#),
        (&["--modern"], r#"["s1", {"action": "accept", "content": {"age": 7, "name": "Ann"}}]"#),
    ] {
        let world = World::new();
        let client = world.client(switches);
        client.connect().await.unwrap();
        let questions = world.asked(&client, "ask", json!({}), None).await.unwrap();
        assert_eq!(questions.len(), 2);
        assert!(questions[0].question.contains("Who are you?"), "{questions:?}");
        let at = questions.iter().position(|q| q.header == "age").unwrap();
        let mut answers = ["Ann"; 2];
        answers[at] = "seven";
        // What does not fit is asked again.
        let again = world.asked(&client, "ask", json!({}), Some(&answers)).await.unwrap();
        assert!(again[0].question.starts_with("`age` is a whole number"), "{again:?}");
        answers[at] = "7";
        let done = world.step(&client, "ask", json!({}), Some(&answers)).await.unwrap();
        assert_eq!(text(done), expected);
    }
}

#[tokio::test]
async fn a_page_is_opened_or_declined() {
    let world = World::new();
    let client = world.client(&[]);
    client.connect().await.unwrap();
    for (answer, action) in [("Done", "accept"), ("Decline", "decline")] {
        let questions = world.asked(&client, "page", json!({}), None).await.unwrap();
        assert!(questions[0].question.contains("https://page.invalid/1"));
        let done = world.step(&client, "page", json!({}), Some(&[answer])).await.unwrap();
        assert_eq!(text(done), format!(r#"{{"action": "{action}"}}"#));
    }
}

#[tokio::test]
async fn an_answer_that_comes_after_a_restart_finds_no_call() {
    let world = World::new();
    let client = world.client(&[]);
    client.connect().await.unwrap();
    world.asked(&client, "ask", json!({}), None).await.unwrap();
    drop(client);
    let client = world.client(&[]);
    let (unknown, why) = status(world.step(&client, "ask", json!({}), Some(&["7", "Ann"])).await.map(drop));
    assert_eq!(unknown, ToolStatus::OutcomeUnknown);
    assert!(why.contains("stopped before the answer came"), "{why}");
}

#[tokio::test]
async fn the_newer_protocol_takes_an_answer_after_a_restart() {
    let world = World::new();
    let client = world.client(&["--modern"]);
    client.connect().await.unwrap();
    let questions = world.asked(&client, "ask", json!({}), None).await.unwrap();
    let answers: Vec<&str> = questions.iter().map(|q| if q.header == "age" { "7" } else { "Ann" }).collect();
    drop(client);
    let client = world.client(&["--modern"]);
    let done = world.step(&client, "ask", json!({}), Some(&answers)).await.unwrap();
    assert_eq!(text(done), r#"["s1", {"action": "accept", "content": {"age": 7, "name": "Ann"}}]"#);
}

#[tokio::test]
async fn a_call_that_is_settled_waits_for_nobody() {
    let world = World::new();
    let client = world.client(&[]);
    client.connect().await.unwrap();
    world.asked(&client, "ask", json!({}), None).await.unwrap();
    // The person has said no: the runtime answers the call itself.
    tool(&client, "ask").settled(&"demo/1/1/tool/0".parse().unwrap(), 1);
    let (unknown, _) = status(world.step(&client, "ask", json!({}), Some(&["7", "Ann"])).await.map(drop));
    assert_eq!(unknown, ToolStatus::OutcomeUnknown);
}
