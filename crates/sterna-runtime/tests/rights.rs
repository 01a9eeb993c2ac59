//! A turn has the mode, the limits and the tools that its own input came with.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/hook.rs"]
mod hook;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use common::*;
use hook::*;
use serde_json::{Value, json};
use sterna_model::*;
use sterna_runtime::*;

/// An input with rights that nobody else has.
fn submit_with(world: &World, text: &str, mode: Mode, tools: &[&str]) -> Submit {
    let mut submit = world.submit("s", text);
    submit.config.mode = mode;
    submit.config.tools = tools.iter().map(|name| (*name).to_owned()).collect();
    submit
}

/// The mode and the tools of each turn, as the log has them.
async fn started(world: &World) -> Vec<(Seq, Mode, Vec<String>)> {
    let records = world.records("s").await;
    let of = |record: &Record| match &record.body {
        Body::TurnStarted(started) => Some((started.inputs[0], started.mode, started.tools.clone())),
        _ => None,
    };
    records.iter().filter_map(of).collect()
}

/// The tools that a request tells the model of.
fn advertised(body: &Value) -> Vec<String> {
    let tools = body["tools"].as_array().cloned().unwrap_or_default();
    tools.iter().map(|tool| tool["function"]["name"].as_str().unwrap().to_owned()).collect()
}

fn tools() -> Vec<sterna_tool::SharedTool> {
    vec![echo("edit", EffectClass::Pure), echo("look", EffectClass::Pure)]
}

#[tokio::test]
async fn inputs_that_wait_keep_the_rights_they_came_with() {
    let world =
        World::new(TestModel::new([Say::Hang("first"), Say::Text("second"), Say::Text("third")]), tools());
    world.runtime.submit(submit_with(&world, "go", Mode::Execute, &[])).await.unwrap();
    world.model.arrived.notified().await;
    let mut a = submit_with(&world, "A", Mode::Plan, &["look"]);
    a.key = Some("a".into());
    let a = world.runtime.submit(a).await.unwrap();
    let b = world.runtime.submit(submit_with(&world, "B", Mode::AcceptEdits, &["edit"])).await.unwrap();
    // The same input once more, with other rights: the first submission counts.
    let mut again = submit_with(&world, "A", Mode::Bypass, &["edit"]);
    again.key = Some("a".into());
    assert!(world.runtime.submit(again).await.unwrap().repeated);
    world.model.go.notify_one();
    assert_eq!(world.result(&a).await.message.as_deref(), Some("second"));
    assert_eq!(world.result(&b).await.message.as_deref(), Some("third"));
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        started(&world).await,
        [
            (2, Mode::Execute, names(&[])),
            (a.input, Mode::Plan, names(&["look"])),
            (b.input, Mode::AcceptEdits, names(&["edit"])),
        ]
    );
    let told: Vec<Vec<String>> = (0..3).map(|n| advertised(&world.model.body(n))).collect();
    assert_eq!(told, [names(&["edit", "look"]), names(&["look"]), names(&["edit"])]);
}

#[tokio::test]
async fn rights_survive_somebody_elses_record_at_every_append() {
    for n in 0.. {
        let log = HookLog::at(n, |append| foreign(append, "foreign", Delivery::BeforeCompletion));
        let said = (0..6).map(|_| Say::Text("ok"));
        let model = TestModel::new(said);
        let provider = Arc::new(model.clone());
        let world =
            World::with(log.clone(), log.inner.clone(), TestEnv::new("one"), model, provider, tools());
        let wanted = [("1", Mode::Ask, "edit"), ("2", Mode::Plan, "look"), ("3", Mode::AcceptEdits, "edit")];
        let mut inputs = Vec::new();
        for (text, mode, tool) in wanted {
            inputs.push(world.runtime.submit(submit_with(&world, text, mode, &[tool])).await.unwrap());
        }
        for input in &inputs {
            assert_eq!(world.result(input).await.outcome, "finished", "{n}");
        }
        let started = started(&world).await;
        for (input, (_, mode, tool)) in inputs.iter().zip(wanted) {
            let own = started.iter().find(|(of, ..)| *of == input.input).unwrap();
            assert_eq!((own.1, own.2.as_slice()), (mode, &[tool.to_owned()][..]), "{n}");
        }
        if log.driven.load(Ordering::SeqCst) <= n {
            assert!(n > 5, "there were only {n} appends");
            break;
        }
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The second process of a world: the same log and clock, its own model.
fn second(first: &World, model: TestModel) -> World {
    let env = TestEnv { name: "two".into(), ..first.env.clone() };
    World::over(first.log.clone(), env, model, first.tools.clone())
}

#[tokio::test]
async fn an_input_of_another_process_keeps_its_rights() {
    let one = World::new(TestModel::new([Say::Hang("first"), Say::Text("second")]), tools());
    one.runtime.submit(submit_with(&one, "go", Mode::Execute, &[])).await.unwrap();
    one.model.arrived.notified().await;
    // Asked for anything, this model panics.
    let two = second(&one, TestModel::new([]));
    let b = two.runtime.submit(submit_with(&two, "B", Mode::Plan, &["look"])).await.unwrap();
    one.model.go.notify_one();
    assert_eq!(one.result(&b).await.message.as_deref(), Some("second"));
    assert_eq!(
        started(&one).await,
        [(2, Mode::Execute, names(&[])), (b.input, Mode::Plan, names(&["look"]))]
    );
    assert_eq!(advertised(&one.model.body(1)), names(&["look"]));
}

#[tokio::test]
async fn an_input_keeps_its_rights_when_its_driver_dies() {
    let one = World::new(TestModel::new([Say::Hang("never")]), tools());
    let a = one.runtime.submit(submit_with(&one, "go", Mode::AcceptEdits, &["edit"])).await.unwrap();
    one.model.arrived.notified().await;
    let mut b = submit_with(&one, "B", Mode::Plan, &["look"]);
    b.config.limits.max_steps = 7;
    b.config.max_output = Some(77);
    let b = one.runtime.submit(b).await.unwrap();
    // Whoever carries on would give more.
    let two = one.next_life("two", TestModel::new([Say::Text("first"), Say::Text("second")]));
    let mut config = two.config();
    config.mode = Mode::Bypass;
    two.runtime.resume(&a.session, config);
    assert_eq!(two.result(&a).await.message.as_deref(), Some("first"));
    assert_eq!(two.result(&b).await.message.as_deref(), Some("second"));
    assert_eq!(
        started(&two).await,
        [(2, Mode::AcceptEdits, names(&["edit"])), (b.input, Mode::Plan, names(&["look"]))]
    );
    let records = two.records("s").await;
    let last = records.iter().rev().find_map(|record| match &record.body {
        Body::TurnStarted(started) => Some(started.limits.max_steps),
        _ => None,
    });
    assert_eq!(last, Some(7));
    let mut outputs = records.iter().filter_map(|record| match &record.body {
        Body::Intent(intent) => match &intent.what {
            Intended::Model(model) => Some(model.max_output),
            Intended::Tool(_) | Intended::Undo(_) | Intended::Compact(_) | Intended::Judge(_) => None,
        },
        _ => None,
    });
    assert_eq!(outputs.next_back(), Some(77));
}

#[tokio::test]
async fn an_input_keeps_its_rights_while_the_turn_before_is_parked() {
    let asks = || vec![asking_tool("edit", "done"), echo("look", EffectClass::Pure)];
    let one = World::new(TestModel::new([Say::Calls(vec![("edit", json!({}))])]), asks());
    let mut first = submit_with(&one, "go", Mode::Execute, &[]);
    first.config.on_ask = OnAsk::Park;
    let a = one.runtime.submit(first).await.unwrap();
    assert_eq!(one.result(&a).await.outcome, "parked");
    let mut b = submit_with(&one, "B", Mode::Plan, &["look"]);
    b.drive = false;
    let b = one.runtime.submit(b).await.unwrap();
    let queued = one.result(&b).await;
    let message = queued.message.unwrap();
    assert_eq!(
        (queued.outcome, message.starts_with("queued behind turn 1, which waits for s/1/")),
        ("parked", true),
        "{message}"
    );
    let wait = one
        .records("s")
        .await
        .iter()
        .find_map(|record| match &record.body {
            Body::WaitOpened(wait) => Some(wait.wait.clone()),
            _ => None,
        })
        .unwrap();
    let two = one.next_life("two", TestModel::new([Say::Text("first"), Say::Text("second")]));
    let resolve =
        Resolve { session: a.session.clone(), wait, ruling: Ruling::Allow, grant: None, by: "test".into() };
    two.runtime.resolve(resolve).await.unwrap();
    let mut config = two.config();
    config.mode = Mode::Bypass;
    two.runtime.resume(&a.session, config);
    assert_eq!(two.result(&a).await.message.as_deref(), Some("first"));
    assert_eq!(two.result(&b).await.message.as_deref(), Some("second"));
    assert_eq!(
        started(&two).await,
        [(2, Mode::Execute, names(&[])), (b.input, Mode::Plan, names(&["look"]))]
    );
}
