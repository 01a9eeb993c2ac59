//! Level 1 of the crash matrix: the driver stops for ever before or after any append, or inside any effect; a second
//! one, in another process as far as it can tell, takes over. Points come from the trace; what must hold is the table
//! of `sterna_testkit::crash_matrix`, which is written by hand.

#![allow(clippy::unwrap_used)]

mod common;

use common::crash_log::{CrashLog, Point};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use common::*;
use futures::FutureExt;
use futures::future::{BoxFuture, pending};
use serde_json::{Value, json};
use sterna_llm::{EncodeCache, Encoded, ModelInfo, ModelReply, Provider, Request, StreamEvent};
use sterna_log::*;
use sterna_model::*;
use sterna_testkit::crash_matrix;
use sterna_tool::{Plan, PlanContext, SharedTool, Tool, ToolContext, ToolDone, ToolError, ToolReturn};

/// Counts the outside effects, and stops the first life inside one of them.
#[derive(Clone, Default)]
struct Outside {
    counts: Arc<Mutex<BTreeMap<String, usize>>>,
    calls: Arc<AtomicUsize>,
    stop_at: Arc<Mutex<Option<usize>>>,
}

impl Outside {
    async fn happens(&self, what: String) {
        *self.counts.lock().unwrap().entry(what).or_default() += 1;
        let n = self.calls.fetch_add(1, Ordering::SeqCst);
        let stop = self.stop_at.lock().unwrap().is_some_and(|at| n >= at);
        if stop {
            pending::<()>().await;
        }
    }
    fn count(&self, what: &str) -> usize {
        self.counts.lock().unwrap().get(what).copied().unwrap_or(0)
    }
}

/// Answers by what it is asked, so that asking again gives the same answer.
struct ByHistory(Outside);

impl Provider for ByHistory {
    fn model(&self, _: &Route) -> Result<ModelInfo, String> {
        Ok(ModelInfo::default())
    }
    fn encoder(&self, _: &Route) -> String {
        "openai_chat/1".into()
    }
    fn encode(&self, request: &Request, cache: &mut EncodeCache) -> Encoded {
        sterna_llm::wire::by_name("openai_chat").unwrap().encode(request, cache)
    }
    fn send<'a>(
        &'a self,
        _: &'a Route,
        body: Encoded,
        _: &'a mut (dyn FnMut(StreamEvent) + Send),
    ) -> BoxFuture<'a, Result<ModelReply, ProviderFailure>> {
        async move {
            let body: serde_json::Value = serde_json::from_slice(&body.body()).unwrap();
            let answers =
                body["messages"].as_array().unwrap().iter().filter(|m| m["role"] == "assistant").count();
            self.0.happens(format!("model {answers}")).await;
            let text = |text: &str| Ok(reply(vec![Part::Text(text.into())], ModelStop::EndTurn));
            match answers {
                0 => Ok(reply(
                    vec![
                        call("p", "look", "{}"),
                        call("i", "put", "{}"),
                        call("a", "fire", "{}"),
                        call("l", "lend", "{}"),
                        call("d", "risky", "{}"),
                    ],
                    ModelStop::ToolCalls,
                )),
                1 => Ok(reply(vec![call("p2", "look", r#"{"again":1}"#)], ModelStop::ToolCalls)),
                2 => text("first done"),
                3 => text("second done"),
                n => panic!("asked with {n} answers"),
            }
        }
        .boxed()
    }
}

fn tools(outside: &Outside) -> Vec<SharedTool> {
    let counted = |name: &'static str, class: EffectClass| {
        let outside = outside.clone();
        tool(name, class, move |cx, _| {
            let outside = outside.clone();
            async move {
                outside.happens(format!("{name} {}", cx.key)).await;
                Ok(ToolReturn::Done(ToolDone::text(format!("{name} ok"))))
            }
            .boxed()
        })
    };
    vec![
        counted("look", EffectClass::Pure),
        counted("put", EffectClass::Idempotent),
        counted("fire", EffectClass::AtMostOnce),
        Arc::new(Lend(counted("lend", EffectClass::Compensable), outside.clone())),
        asking_tool("risky", "never"),
    ]
}

/// A compensable tool: that call, and its undo.
struct Lend(SharedTool, Outside);

impl Tool for Lend {
    fn spec(&self) -> &ToolSpec {
        self.0.spec()
    }
    fn class(&self, args: &Value) -> EffectClass {
        self.0.class(args)
    }
    fn plan(&self, cx: &PlanContext, args: &Value) -> Result<Plan, ToolError> {
        self.0.plan(cx, args)
    }
    fn call<'a>(&'a self, cx: ToolContext, args: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        self.0.call(cx, args)
    }
    fn undo<'a>(&'a self, cx: ToolContext, _: Value) -> BoxFuture<'a, Result<(), ToolError>> {
        async move {
            self.1.happens(format!("undo {}", cx.key)).await;
            Ok(())
        }
        .boxed()
    }
}

struct Trace {
    appends: usize,
    effects: usize,
    bodies: Vec<String>,
    /// The last record that was durable when the first life ended, as the table names it.
    last: String,
}

/// A record's name in the table.
fn row_of(record: &Record) -> String {
    let name = name_of(record);
    // How a call ended is not part of it.
    let name = match name.strip_prefix("outcome ") {
        Some(rest) => format!("outcome {}", rest.split(' ').next().unwrap()),
        None => name,
    };
    record.turn.map_or(name.clone(), |turn| format!("{turn} {name}"))
}

/// Lives once up to `point`, then again to the end; checks what must hold.
async fn check(point: Point) -> Trace {
    let outside = Outside::default();
    if let Point::InEffect(n) = point {
        *outside.stop_at.lock().unwrap() = Some(n);
    }
    let log = Arc::new(MemoryLog::new());
    let armed = Arc::new(AtomicUsize::new(0));
    let crashing = Arc::new(CrashLog::new(log.clone(), point, armed.clone()));
    let env = TestEnv::new("one");
    let provider = Arc::new(ByHistory(outside.clone()));
    let first = World::with(
        crashing.clone(),
        log.clone(),
        env.clone(),
        TestModel::default(),
        provider.clone(),
        tools(&outside),
    );
    let mut inputs = Vec::new();
    for (text, delivery) in
        [("go", Delivery::NextTurn), ("and this", Delivery::AfterWork), ("then that", Delivery::NextTurn)]
    {
        let mut submit = first.submit("s", text);
        submit.delivery = delivery;
        submit.drive = false;
        inputs.push(first.runtime.submit(submit).await.unwrap());
    }
    armed.store(1, Ordering::SeqCst);
    let id = inputs[0].session.clone();
    first.runtime.resume(&id, first.config());
    let mut last = "2 turn_committed".to_owned();
    if point == Point::None {
        first.result(&inputs[2]).await;
    } else {
        // Until nothing moves any more: the point is reached, and everything else has settled.
        let (mut still, mut seen) = (0, (0, 0));
        while still < 15 {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            let now = (crashing.appends.load(Ordering::SeqCst), outside.calls.load(Ordering::SeqCst));
            still = if now == seen { still + 1 } else { 0 };
            seen = now;
        }
        *outside.stop_at.lock().unwrap() = None;
        last = row_of(&log.read(&id, 1, 1_000).await.unwrap().last().unwrap().record);
        env.dead.lock().unwrap().push("one".into());
        let second_env = TestEnv { name: "two".into(), ..env };
        let second = World::with(
            log.clone(),
            log.clone(),
            second_env,
            TestModel::default(),
            provider,
            tools(&outside),
        );
        second.runtime.resume(&id, second.config());
        let done = second.result(&inputs[2]).await;
        assert_eq!((done.outcome, done.message.as_deref()), ("finished", Some("second done")), "{point:?}");
    }
    let world = World::over(log.clone(), TestEnv::new("reader"), TestModel::default(), vec![]);
    let records = world.records("s").await;
    let bodies: Vec<String> = records.iter().map(name_of).collect();
    let context = format!("{point:?}\n{}", bodies.join("\n"));

    // No input is lost or doubled, each turn ends once, the first one as it must.
    let count = |name: &str| bodies.iter().filter(|body| *body == name).count();
    assert_eq!(
        (count("input_accepted"), count("turn_started"), count("turn_committed")),
        (3, 2, 2),
        "{context}"
    );
    let ends: Vec<String> = records
        .iter()
        .filter_map(|record| match &record.body {
            Body::TurnCommitted(committed) => match &committed.outcome {
                TurnOutcome::Finished { message, .. } => Some(message.clone()),
                TurnOutcome::Stopped { reason, .. } => Some(reason.word().into()),
            },
            _ => None,
        })
        .collect();
    assert_eq!(ends, ["first done", "second done"], "{context}");

    let table = crash_matrix();
    let row = table.get(&last).unwrap_or_else(|| panic!("the table has no row for `{last}`: {context}"));
    let context = format!("`{last}` was durable, {row:?}, {context}");

    // One outcome for each effect.
    for key in ["1/model/0", "2/model/0", "3/model/0"] {
        let outcomes = records.iter().filter(|record| {
            matches!(&record.body, Body::Outcome(o) if o.key.turn == 1 && o.key.to_string() == format!("s/1/{key}"))
        });
        assert_eq!(outcomes.count(), 1, "{key} {context}");
    }
    let mut told: Vec<(u32, u32, ToolStatus)> = records
        .iter()
        .filter_map(|record| match &record.body {
            Body::Outcome(o) => match &o.result {
                EffectResult::Tool(tool) => Some((o.key.step, o.key.ordinal, tool.status)),
                EffectResult::Model(_)
                | EffectResult::ModelFailed(_)
                | EffectResult::Summary(_)
                | EffectResult::Judged(_) => None,
            },
            _ => None,
        })
        .collect();
    told.sort_by_key(|(step, ordinal, _)| (*step, *ordinal));
    let fire = if row.fire_unknown { ToolStatus::OutcomeUnknown } else { ToolStatus::Ok };
    let lend = if row.lend_back { ToolStatus::RolledBack } else { ToolStatus::Ok };
    let (ok, denied) = (ToolStatus::Ok, ToolStatus::Denied);
    let due = [(1, 0, ok), (1, 1, ok), (1, 2, fire), (1, 3, lend), (1, 4, denied), (2, 0, ok)];
    assert_eq!(told, due, "{context}");

    // What happened to the world.
    let more = |name: &str| usize::from(row.again.iter().any(|again| again == name));
    let within = |what: &[&str], least: usize, most: usize| {
        let count: usize = what.iter().map(|what| outside.count(what)).sum();
        assert!((least..=most).contains(&count), "{what:?} {count} times, not {least} to {most}: {context}");
    };
    within(&["look s/1/1/tool/0", "look s/1/2/tool/0"], 2, 2 + more("look"));
    within(&["put s/1/1/tool/1"], 1, 1 + more("put"));
    within(&["fire s/1/1/tool/2"], usize::from(!row.fire_unknown), 1);
    within(&["lend s/1/1/tool/3"], usize::from(!row.lend_back), 1);
    within(&["undo s/1/1/tool/3"], usize::from(row.lend_back), usize::from(row.lend_back));
    within(&["model 0", "model 1", "model 2", "model 3"], 4, 4 + more("model"));
    let lost = bodies.iter().filter(|body| body.contains("interrupted")).count();
    assert_eq!(lost, row.lost, "{context}");

    let fsck = verify(&*log, &*log, &id).await.unwrap();
    assert_eq!(fsck.first_bad, None, "{context}");
    let replayed = sterna_runtime::replay(world.runtime.parts(), &id).await.unwrap();
    assert_eq!(replayed.difference, None, "{context}");
    Trace {
        appends: crashing.appends.load(Ordering::SeqCst),
        effects: outside.calls.load(Ordering::SeqCst),
        bodies,
        last,
    }
}

#[tokio::test]
async fn every_point_of_the_reference_turn_recovers() {
    let whole = check(Point::None).await;
    assert!(
        whole.appends >= 9 && whole.effects == 9,
        "{} {}\n{}",
        whole.appends,
        whole.effects,
        whole.bodies.join("\n")
    );
    let mut reached = BTreeSet::new();
    for n in 0..whole.appends {
        reached.insert(check(Point::BeforeAppend(n)).await.last);
        reached.insert(check(Point::AfterAppend(n)).await.last);
    }
    for n in 0..whole.effects {
        reached.insert(check(Point::InEffect(n)).await.last);
    }
    // Records of one append become durable together: how many, the moment decides. These rows are met whatever it does.
    for row in ALWAYS_MET {
        assert!(reached.contains(row), "nobody died at `{row}`: {reached:?}");
    }
}

const ALWAYS_MET: [&str; 10] = [
    "input_accepted",
    "1 intent 1/model/0",
    "1 intent 1/tool/1",
    "1 intent 1/tool/2",
    "1 intent 1/tool/3",
    "1 intent 2/model/0",
    "1 intent 3/model/0",
    "1 turn_committed",
    "2 intent 1/model/0",
    "2 turn_committed",
];

#[tokio::test]
async fn a_call_that_was_in_flight_is_in_doubt_by_its_class_and_the_policy() {
    for (policy, status, runs, ends) in [
        (InDoubtPolicy::Report, ToolStatus::OutcomeUnknown, 1, "finished"),
        (InDoubtPolicy::Rerun, ToolStatus::Ok, 2, "finished"),
        (InDoubtPolicy::Stop, ToolStatus::OutcomeUnknown, 1, "stopped"),
    ] {
        let outside = Outside::default();
        *outside.stop_at.lock().unwrap() = Some(0);
        let fire =
            |outside: &Outside| tools(outside).into_iter().filter(|t| t.spec().name == "fire").collect();
        let log = Arc::new(MemoryLog::new());
        let model = TestModel::new([Say::Calls(vec![("fire", json!({}))]), Say::Text("told")]);
        let first = World::over(log.clone(), TestEnv::new("one"), model.clone(), fire(&outside));
        let mut submit = first.submit("s", "go");
        submit.config.in_doubt = policy;
        let accepted = first.runtime.submit(submit).await.unwrap();
        while outside.calls.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        *outside.stop_at.lock().unwrap() = None;
        let second = World::over(
            log.clone(),
            {
                first.env.dead.lock().unwrap().push("one".into());
                TestEnv { name: "two".into(), ..first.env.clone() }
            },
            model,
            fire(&outside),
        );
        second.runtime.resume(&accepted.session, second.config());
        let result = second.result(&accepted).await;
        assert_eq!((result.outcome, outside.count("fire s/1/1/tool/0")), (ends, runs), "{policy:?}");
        assert_eq!(result.stop, (ends == "stopped").then_some(StopReason::InDoubt));
        let bodies = second.bodies("s").await;
        assert!(bodies.contains(&format!("outcome 1/tool/0 {}", status.word())), "{bodies:?}");
    }
}
