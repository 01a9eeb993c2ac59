//! What another life left behind: calls whose outcome nobody knows, questions that were answered, attempts that were
//! paid for.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use common::*;
use futures::FutureExt;
use futures::future::{BoxFuture, pending};
use serde_json::json;
use sterna_llm::{EncodeCache, Encoded, ModelInfo, ModelReply, Price, Provider, Request, StreamEvent};
use sterna_model::*;
use sterna_runtime::*;
use sterna_tool::{SharedTool, ToolDone, ToolReturn};
use tokio::sync::Notify;

/// A tool that never answers, and says when it has begun.
fn endless(name: &str, begun: &Arc<Notify>, runs: &Arc<AtomicUsize>) -> SharedTool {
    let inner = (begun.clone(), runs.clone());
    tool(name, EffectClass::AtMostOnce, move |_, _| {
        let (begun, runs) = inner.clone();
        async move {
            runs.fetch_add(1, Ordering::SeqCst);
            begun.notify_one();
            pending().await
        }
        .boxed()
    })
}

/// Another process after the first one died, with a clock of its own.
fn reborn(first: &World, model: TestModel) -> World {
    let next = first.next_life("two", model);
    let env = TestEnv { now: Arc::new(Env::now(&first.env).into()), ..next.env.clone() };
    World::over(first.log.clone(), env, next.model, first.tools.clone())
}

fn views(records: &[Record]) -> Vec<(u32, ToolStatus, String)> {
    let view = |record: &Record| match &record.body {
        Body::Outcome(outcome) => match &outcome.result {
            EffectResult::Tool(tool) => Some((outcome.key.ordinal, tool.status, tool.view.clone())),
            EffectResult::Model(_)
            | EffectResult::ModelFailed(_)
            | EffectResult::Summary(_)
            | EffectResult::Judged(_) => None,
        },
        _ => None,
    };
    records.iter().filter_map(view).collect()
}

#[tokio::test]
async fn a_cancel_before_recovery_does_not_claim_that_a_call_never_ran() {
    let (begun, runs) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let first = World::new(
        TestModel::new([Say::Calls(vec![("fire", json!({})), ("fire", json!({"again": 1}))])]),
        vec![endless("fire", &begun, &runs)],
    );
    let accepted = first.runtime.submit(first.submit("s", "go")).await.unwrap();
    begun.notified().await;
    let next = reborn(&first, TestModel::new([Say::Text("later")]));
    next.runtime.cancel(&accepted.session, "person", "enough").await.unwrap();
    next.runtime.resume(&accepted.session, next.config());
    assert_eq!(next.result(&accepted).await.stop, Some(StopReason::Cancelled));
    let told = views(&next.records("s").await);
    assert_eq!((told.len(), runs.load(Ordering::SeqCst)), (2, 1), "{told:?}");
    for (ordinal, status, view) in &told {
        match ordinal {
            // It was running when the process died.
            0 => {
                assert_eq!(*status, ToolStatus::OutcomeUnknown, "{view}");
                assert!(view.starts_with("outcome_unknown"), "{view}");
            }
            // It has no intent: it never ran.
            _ => assert_eq!(*status, ToolStatus::Cancelled, "{view}"),
        }
    }
    // The model is told so in the next turn.
    next.run(next.submit("s", "what now?")).await;
    let body = next.model.body(0);
    let results = results_in(&body);
    assert!(results[0].starts_with("outcome_unknown") && results[1].starts_with("cancelled"), "{results:?}");
}

#[tokio::test]
async fn a_cancelled_model_call_of_another_life_is_in_the_ledger() {
    let first = World::new(TestModel::new([Say::Hang("never")]), vec![]);
    let accepted = first.runtime.submit(first.submit("s", "go")).await.unwrap();
    first.model.arrived.notified().await;
    let next = reborn(&first, TestModel::new([]));
    next.runtime.cancel(&accepted.session, "person", "enough").await.unwrap();
    next.runtime.resume(&accepted.session, next.config());
    let result = next.result(&accepted).await;
    assert_eq!((result.stop, next.model.asked()), (Some(StopReason::Cancelled), 0));
    let bodies = next.bodies("s").await;
    let lost = bodies.iter().filter(|body| *body == "attempt 1/model/0 1 interrupted").count();
    assert_eq!(lost, 1, "{bodies:?}");
}

/// What a turn was given holds for who drives it on, whatever they were given themselves.
#[tokio::test]
async fn the_next_life_lets_the_model_write_no_more() {
    for (given, own) in [(Some(77), None), (Some(77), Some(900)), (None, Some(900))] {
        let model = TestModel::new([Say::Calls(vec![("ask", json!({}))])]);
        let first = World::new(model, vec![asks_once(&Arc::default(), || false)]);
        let mut submit = first.submit("s", "go");
        (submit.config.on_ask, submit.config.max_output) = (OnAsk::Park, given);
        let accepted = first.runtime.submit(submit).await.unwrap();
        assert_eq!(first.result(&accepted).await.outcome, "parked");
        let resolve = Resolve {
            session: accepted.session.clone(),
            wait: "s/1/1/tool/0".into(),
            ruling: Ruling::Answers(vec!["that".into()]),
            grant: None,
            by: "person".into(),
        };
        let next = reborn(&first, TestModel::new([Say::Text("done")]));
        next.runtime.resolve(resolve).await.unwrap();
        let mut config = next.config();
        config.max_output = own;
        next.runtime.resume(&accepted.session, config);
        next.result(&accepted).await;
        let intents = next.records("s").await.into_iter().filter_map(|record| match record.body {
            Body::Intent(intent) => intent.what.request().map(|request| request.max_output),
            _ => None,
        });
        let most = given.unwrap_or(ModelInfo::default().max_output);
        assert_eq!(intents.collect::<Vec<_>>(), [most, most], "{given:?} {own:?}");
    }
}

/// Asks once; when it has the answer it does what the test says.
fn asks_once(
    answers: &Arc<Mutex<Vec<Vec<String>>>>,
    then: impl Fn() -> bool + Send + Sync + 'static,
) -> SharedTool {
    let (answers, then) = (answers.clone(), Arc::new(then));
    tool("ask", EffectClass::AtMostOnce, move |cx, _| {
        let (answers, then) = (answers.clone(), then.clone());
        async move {
            let Some(answer) = cx.answers else {
                let question = "Which one?".to_owned();
                let asked = Question { question, header: "Which".into(), options: vec![], multi: false };
                return Ok(ToolReturn::Ask(vec![asked]));
            };
            answers.lock().unwrap().push(answer);
            if then() {
                pending::<()>().await;
            }
            Ok(ToolReturn::Done(ToolDone::text("done with it")))
        }
        .boxed()
    })
}

/// Parks on the question, and answers it.
async fn parked_and_answered(world: &World) -> Accepted {
    let mut submit = world.submit("s", "go");
    submit.config.on_ask = OnAsk::Park;
    let accepted = world.runtime.submit(submit).await.unwrap();
    assert_eq!(world.result(&accepted).await.outcome, "parked");
    let resolve = Resolve {
        session: accepted.session.clone(),
        wait: "s/1/1/tool/0".into(),
        ruling: Ruling::Answers(vec!["that".into()]),
        grant: None,
        by: "person".into(),
    };
    world.runtime.resolve(resolve).await.unwrap();
    accepted
}

#[tokio::test]
async fn a_call_that_ran_after_its_question_was_answered_is_in_doubt() {
    for (policy, runs, status) in [
        (InDoubtPolicy::Report, 1, ToolStatus::OutcomeUnknown),
        (InDoubtPolicy::Stop, 1, ToolStatus::OutcomeUnknown),
        (InDoubtPolicy::Rerun, 2, ToolStatus::Ok),
    ] {
        let answers = Arc::new(Mutex::new(Vec::new()));
        let (begun, alive) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(1)));
        let (rings, dies) = (begun.clone(), alive.clone());
        let ask = asks_once(&answers, move || {
            rings.notify_one();
            dies.load(Ordering::SeqCst) == 1
        });
        let first = World::new(TestModel::new([Say::Calls(vec![("ask", json!({}))])]), vec![ask]);
        let mut config = first.config();
        config.in_doubt = policy;
        config.on_ask = OnAsk::Park;
        let mut submit = first.submit("s", "go");
        submit.config = config.clone();
        let accepted = first.runtime.submit(submit).await.unwrap();
        assert_eq!(first.result(&accepted).await.outcome, "parked");
        let resolve = Resolve {
            session: accepted.session.clone(),
            wait: "s/1/1/tool/0".into(),
            ruling: Ruling::Answers(vec!["that".into()]),
            grant: None,
            by: "person".into(),
        };
        first.runtime.resolve(resolve).await.unwrap();
        first.runtime.resume(&accepted.session, config);
        begun.notified().await;
        alive.store(2, Ordering::SeqCst);
        let next = reborn(&first, TestModel::new([Say::Text("told")]));
        next.runtime.resume(&accepted.session, next.config());
        next.result(&accepted).await;
        let told = views(&next.records("s").await);
        assert_eq!((told.len(), told[0].1), (1, status), "{policy:?} {told:?}");
        assert_eq!(*answers.lock().unwrap(), vec![vec!["that".to_owned()]; runs], "{policy:?}");
    }
}

#[tokio::test]
async fn a_call_whose_question_was_answered_after_its_process_died_runs_once() {
    let answers = Arc::new(Mutex::new(Vec::new()));
    let ask = asks_once(&answers, || false);
    let first = World::new(TestModel::new([Say::Calls(vec![("ask", json!({}))])]), vec![ask]);
    let accepted = parked_and_answered(&first).await;
    let next = reborn(&first, TestModel::new([Say::Text("told")]));
    next.runtime.resume(&accepted.session, next.config());
    assert_eq!(next.result(&accepted).await.message.as_deref(), Some("told"));
    assert_eq!(views(&next.records("s").await), [(0, ToolStatus::Ok, "done with it".to_owned())]);
    assert_eq!(*answers.lock().unwrap(), [["that"]]);
}

/// A model whose price is known.
struct Priced(TestModel);

impl Provider for Priced {
    fn model(&self, _: &Route) -> Result<ModelInfo, String> {
        let price = Price { input: 1.0, output: 1.0, ..Price::default() };
        Ok(ModelInfo { price: Some(price), ..ModelInfo::default() })
    }
    fn encoder(&self, route: &Route) -> String {
        self.0.encoder(route)
    }
    fn encode(&self, request: &Request, cache: &mut EncodeCache) -> Encoded {
        self.0.encode(request, cache)
    }
    fn send<'a>(
        &'a self,
        route: &'a Route,
        body: Encoded,
        events: &'a mut (dyn FnMut(StreamEvent) + Send),
    ) -> BoxFuture<'a, Result<ModelReply, ProviderFailure>> {
        self.0.send(route, body, events)
    }
}

#[tokio::test]
async fn a_lost_attempt_has_a_price_and_the_capped_turn_goes_on() {
    let over = |first: Option<&World>, model: TestModel| {
        let log = first.map_or_else(Arc::default, |first| first.log.clone());
        let env = match first {
            Some(first) => reborn(first, model.clone()).env,
            None => TestEnv::new("one"),
        };
        let tools = vec![echo("look", EffectClass::Pure)];
        World::with(log.clone(), log, env, model.clone(), Arc::new(Priced(model)), tools)
    };
    let first = over(None, TestModel::new([Say::Hang("never")]));
    let mut submit = first.submit("s", "go");
    // One US dollar, and no request here costs a cent.
    submit.config.limits.max_cost = Some(1_000_000_000);
    let accepted = first.runtime.submit(submit).await.unwrap();
    first.model.arrived.notified().await;
    let next = over(Some(&first), TestModel::new([Say::Calls(vec![("look", json!({}))]), Say::Text("done")]));
    next.runtime.resume(&accepted.session, next.config());
    let result = next.result(&accepted).await;
    assert_eq!((result.outcome, result.message.as_deref()), ("finished", Some("done")));
    assert_eq!(next.model.asked(), 2);
    let lost = next.records("s").await.into_iter().find_map(|record| match record.body {
        Body::Attempt(attempt) => Some(attempt.failure.billed),
        _ => None,
    });
    let lost = lost.expect("the lost attempt is in the ledger");
    // A dollar for a million tokens is a thousand billionths for one.
    let tokens = lost.usage.total();
    assert!(tokens > 0 && lost.estimated && lost.cost == Some(tokens * 1_000), "{lost:?}");
    // Both answers told their own cost.
    let sum = (tokens * 1_000 + 2_000) as f64 / 1e9;
    assert!(result.cost.is_some_and(|cost| (cost - sum).abs() < 1e-9), "{:?} {sum}", result.cost);
}
