//! Answers that have to fit a schema: mended at most three times, and then a value or a stop by name.

#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use serde_json::{Value, json};
use sterna_model::*;
use sterna_runtime::*;

fn submit(world: &World) -> Submit {
    let mut submit = world.submit("s", "how many?");
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
    submit.config.output_schema = Some(Box::new(schema));
    submit
}

fn messages(body: &Value) -> &Vec<Value> {
    body["messages"].as_array().unwrap()
}

/// What stands after the history.
fn tail(body: &Value) -> String {
    messages(body).last().unwrap()["content"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_answer_is_mended_by_the_errors_that_it_shows() {
    let model = TestModel::new([Say::Text(r#"{"n":"a"}"#), Say::Text("```json\n{\"n\": 3}\n```")]);
    let world = World::new(model, vec![]);
    let result = world.run(submit(&world)).await;
    assert_eq!((result.outcome, result.value, result.steps), ("finished", Some(json!({"n": 3})), 2));
    let (first, second) = (world.model.body(0), world.model.body(1));
    assert!(tail(&first).contains(r#""required":["n"]"#), "{}", tail(&first));
    assert!(!tail(&first).contains("does not fit"));
    let mended = tail(&second);
    assert!(mended.contains(r#"- /n: "a" is not of type "integer""#), "{mended}");
    // The system part stays, and so does what was said.
    assert_eq!(messages(&first)[0], messages(&second)[0]);
    assert_eq!(messages(&second)[2]["content"], r#"{"n":"a"}"#);
    let id = SessionId::new("s").unwrap();
    assert_eq!(replay(world.runtime.parts(), &id).await.unwrap().difference, None);
}

#[tokio::test]
async fn after_three_repairs_the_turn_stops_by_its_name() {
    let world = World::new(TestModel::new((0..4).map(|_| Say::Text("a"))), vec![]);
    let result = world.run(submit(&world)).await;
    assert_eq!((result.stop, result.value, world.model.asked()), (Some(StopReason::OutputSchema), None, 4));
    let message = result.message.unwrap();
    assert!(message.starts_with("4 answers did not fit the schema; the last: the answer is not one JSON"));
    let system = |n: usize| messages(&world.model.body(n))[0].clone();
    assert!((1..4).all(|n| system(n) == system(0)));
    assert_eq!(StopReason::OutputSchema.exit_code(), 1);

    // The next turn of the session is not bound by it.
    world.model.list.lock().unwrap().push_back(Say::Text("free"));
    let result = world.run(world.submit("s", "and now?")).await;
    assert_eq!((result.outcome, result.value), ("finished", None));
    assert!(!tail(&world.model.body(4)).contains("JSON Schema"));
}

#[tokio::test]
async fn tools_come_before_the_answer_and_a_cut_answer_is_put_together() {
    let cut = reply(vec![Part::Text(r#"{"n""#.into())], ModelStop::MaxOutput);
    let model = TestModel::new([Say::Calls(vec![("look", json!({}))]), Say::Reply(cut), Say::Text(": 4}")]);
    let world = World::new(model, vec![echo("look", EffectClass::Pure)]);
    let result = world.run(submit(&world)).await;
    assert_eq!((result.outcome, result.value), ("finished", Some(json!({"n": 4}))));
}

#[tokio::test]
async fn another_process_holds_the_answer_to_the_same_schema() {
    let world = World::new(TestModel::new([Say::Hang("")]), vec![]);
    let accepted = world.runtime.submit(submit(&world)).await.unwrap();
    world.model.arrived.notified().await;
    let next = world.next_life("two", TestModel::new([Say::Text("five"), Say::Text(r#"{"n":5}"#)]));
    next.runtime.resume(&accepted.session, next.config());
    assert_eq!(next.result(&accepted).await.value, Some(json!({"n": 5})));
}
