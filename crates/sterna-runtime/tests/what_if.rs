//! A session lived again between seams that answer from its record.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use common::*;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::json;
use sterna_log::Log;
use sterna_model::*;
use sterna_runtime::*;
use sterna_tool::{Access, SharedTool, ToolDone, ToolReturn};

/// Says where it was asked, and whether tools may run.
struct Host {
    asked: Mutex<Vec<Divergence>>,
    ground: Result<(), String>,
}

impl Host {
    fn new(ground: Result<(), &str>) -> Arc<Self> {
        Arc::new(Self { asked: Mutex::default(), ground: ground.map_err(str::to_owned) })
    }
}

impl WhatIfHost for Host {
    fn ground<'a>(&'a self, divergence: &'a Divergence) -> BoxFuture<'a, Result<(), String>> {
        self.asked.lock().unwrap().push(divergence.clone());
        std::future::ready(self.ground.clone()).boxed()
    }
}

/// A tool that writes a file, as policy sees it, and counts its runs.
fn writer(name: &str, runs: &Arc<AtomicUsize>) -> SharedTool {
    let runs = runs.clone();
    tool_of(name, EffectClass::AtMostOnce, Access::Write(format!("/w/{name}").into()), move |_, args| {
        let n = runs.fetch_add(1, Ordering::SeqCst);
        async move { Ok(ToolReturn::Done(ToolDone::text(format!("run {n} with {args}")))) }.boxed()
    })
}

fn ask(from: Seq) -> WhatIf {
    WhatIf {
        session: SessionId::new("s").unwrap(),
        from,
        route: None,
        prompt: None,
        mode: None,
        rules: Vec::new(),
        max_steps: None,
        max_cost: None,
        deadline: None,
    }
}

/// The recorded session: a turn with a call, during which somebody steers, and a second turn with a call.
async fn recorded(runs: &Arc<AtomicUsize>) -> World {
    let model = TestModel::new([
        Say::Calls(vec![("put", json!({"n": 1}))]),
        Say::Hang("half"),
        Say::Text("steered"),
        Say::Calls(vec![("put", json!({"n": 2}))]),
        Say::Text("end"),
    ]);
    let world = World::new(model, vec![writer("put", runs)]);
    let mut first = world.submit("s", "first");
    first.config.mode = Mode::AcceptEdits;
    let accepted = world.runtime.submit(first).await.unwrap();
    while world.model.asked() < 2 {
        world.model.arrived.notified().await;
    }
    let steer = Submit { delivery: Delivery::BeforeCompletion, ..world.submit("s", "also this") };
    world.runtime.submit(steer).await.unwrap();
    world.model.go.notify_one();
    assert_eq!(world.result(&accepted).await.message.as_deref(), Some("steered"));
    // The second turn is of another day: what its prompt says of the date is another.
    world.env.now.fetch_add(3 * 86_400_000, Ordering::SeqCst);
    let mut second = world.submit("s", "second");
    second.config.mode = Mode::AcceptEdits;
    let accepted = world.runtime.submit(second).await.unwrap();
    assert_eq!(world.result(&accepted).await.message.as_deref(), Some("end"));
    world.env.now.fetch_add(30 * 86_400_000, Ordering::SeqCst);
    world
}

/// The same log, with another model and other tools.
fn parts(world: &World, model: TestModel, tools: Vec<SharedTool>) -> Parts {
    Parts {
        log: world.log.clone(),
        blobs: world.log.clone(),
        provider: Arc::new(model),
        env: Arc::new(world.env.clone()),
        tools: Toolbox::new(tools),
        checkpoints: None,
        secrets: Secrets::default(),
        hooks: None,
        levels: None,
        memory: None,
        worktrees: None,
    }
}

#[tokio::test]
async fn the_record_answers_with_steered_inputs_other_days_and_tools_that_are_gone() {
    let runs = Arc::new(AtomicUsize::new(0));
    let world = recorded(&runs).await;
    let records = world.records("s").await;
    // From every record on, a model that must not be asked, and no tool at all: the record answers.
    let last_turn = records.iter().rposition(|r| matches!(r.body, Body::TurnStarted(_))).unwrap();
    for from in 1..=records[last_turn].seq {
        let host = Host::new(Err("nothing may run"));
        let parts = parts(&world, TestModel::default(), Vec::new());
        let run = what_if(&parts, &ask(from), host.clone()).await.unwrap();
        assert_eq!(run.divergence, None, "from {from}");
        assert_eq!((run.spent.calls, host.asked.lock().unwrap().len()), (0, 0), "from {from}");
        assert_eq!(run.endings.new, run.endings.recorded, "from {from}");
        assert!(run.from <= from + 1 && run.steps.iter().all(|pair| pair.same_calls), "from {from}");
        let new: Vec<&StepSide> = run.steps.iter().filter_map(|pair| pair.new.as_ref()).collect();
        assert!(new.iter().all(|step| step.from_record), "from {from}");
    }
    assert_eq!(runs.load(Ordering::SeqCst), 2, "those of the record");
    assert_eq!(world.records("s").await, records);
}

#[tokio::test]
async fn from_the_divergence_on_tools_run_if_there_is_ground_for_them() {
    for ground in [Ok(()), Err("no cage")] {
        let runs = Arc::new(AtomicUsize::new(0));
        let world = recorded(&runs).await;
        let records = world.records("s").await;
        let model = TestModel::new([
            // The same call in other words, and with its members in another order of spaces.
            Say::Reply(reply(
                vec![Part::Text("let me".into()), call("x", "put", "{ \"n\" :1 }")],
                ModelStop::ToolCalls,
            )),
            Say::Calls(vec![("put", json!({"n": 7})), ("note", json!({}))]),
            Say::Text("other end"),
            Say::Text("and the second turn"),
        ]);
        let note = echo("note", EffectClass::Pure);
        let parts = parts(&world, model.clone(), vec![writer("put", &runs), note]);
        let host = Host::new(ground);
        let other = WhatIf { route: Some("test/other".parse().unwrap()), ..ask(1) };
        let run = what_if(&parts, &other, host.clone()).await.unwrap();

        let left = run.divergence.clone().unwrap();
        assert_eq!((left.turn, left.step), (1, 2));
        assert_eq!(left.what, "put {\"n\":7} in place of an answer");
        // The answer that the new one differs from: the record's second.
        let answers = records.iter().filter(|record| match &record.body {
            Body::Outcome(outcome) => outcome.key.kind == EffectKind::Model,
            _ => false,
        });
        assert_eq!(answers.map(|record| record.seq).nth(1), Some(left.record));
        assert_eq!(host.asked.lock().unwrap().len(), 1, "asked once, at the divergence");

        let steps: Vec<&StepSide> = run.steps.iter().filter_map(|pair| pair.new.as_ref()).collect();
        let ends = |step: usize| -> Vec<(String, String)> {
            let calls = steps[step].calls.iter();
            calls.map(|call| (call.status.clone().unwrap(), call.view.clone())).collect()
        };
        let ok = |view: &str| ("ok".to_owned(), view.to_owned());
        assert_eq!(ends(0), [ok("run 0 with {\"n\":1}")], "the record's own answer");
        let refused = "tool not available: put (no cage)\nThe call was not run.";
        let put = match ground {
            Ok(()) => ok("run 2 with {\"n\":7}"),
            Err(_) => ("not_available".to_owned(), refused.to_owned()),
        };
        // What touches the session alone runs on either ground.
        assert_eq!(ends(1), [put, ok("{}")]);
        assert_eq!(runs.load(Ordering::SeqCst), if ground.is_ok() { 3 } else { 2 });
        assert_eq!(run.refused, ground.err().map(str::to_owned));
        // Both inputs were given again, and the other model answered all of it.
        let words: Vec<(&str, bool)> =
            steps.iter().map(|step| (step.text.as_str(), step.from_record)).collect();
        assert_eq!(words.first(), Some(&("let me", false)));
        assert_eq!(words.last(), Some(&("and the second turn", false)));
        assert_eq!((run.spent.calls, model.asked()), (4, 4));
        assert_eq!(run.cost.new.cost, Some(4_000));
        assert_eq!(run.cost.recorded.cost, Some(5_000));
        assert_eq!(world.records("s").await, records);
        assert_eq!(world.log.head(&ask(1).session).await.unwrap().seq, records.last().unwrap().seq);
    }
}
