//! A turn has the mode, the limits and the tools that its own input came with.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/hook.rs"]
mod hook;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use common::*;
use hook::*;
use serde_json::Value;
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
