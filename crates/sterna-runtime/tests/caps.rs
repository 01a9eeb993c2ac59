//! Caps of a turn, a session and a tree: reserved before a call, settled after it, never a billionth over.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/hooks.rs"]
mod double;
#[path = "common/hook.rs"]
mod hook;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use common::*;
use double::saying;
use futures::FutureExt;
use futures::future::BoxFuture;
use hook::*;
use serde_json::Value;
use sterna_llm::catalog::cost;
use sterna_llm::{EncodeCache, Encoded, ModelInfo, ModelReply, Price, Provider, Request, StreamEvent};
use sterna_log::{LogError, MemoryLog};
use sterna_model::*;
use sterna_runtime::{HookAnswer, refill};

/// A model that always writes as much as it may, and is billed for all of what it is sent.
#[derive(Default)]
struct Greedy {
    calls: AtomicU64,
    /// What each request allowed.
    asked: Mutex<Vec<u64>>,
    /// Only this much, if it may write more.
    writes: Option<u64>,
    unpriced: bool,
    /// Fails every attempt, and bills it.
    fails: bool,
}

const PRICE: Price = Price {
    input: 3.0,
    output: 15.0,
    cache_read: 0.3,
    cache_write_5m: 3.75,
    cache_write_1h: 6.0,
    long: None,
};

impl Provider for Greedy {
    fn model(&self, _: &Route) -> Result<ModelInfo, String> {
        Ok(ModelInfo { price: (!self.unpriced).then_some(PRICE), ..ModelInfo::default() })
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
        self.calls.fetch_add(1, Ordering::SeqCst);
        let request: Value = serde_json::from_slice(&body.body()).unwrap();
        let may = request["max_tokens"].as_u64().unwrap();
        self.asked.lock().unwrap().push(may);
        let output = self.writes.unwrap_or(may).min(may);
        let usage = Usage { cache_write_5m: body.bytes / 2, output, ..Usage::default() };
        let billed = Billed { usage, cost: Some(cost(&PRICE, &usage)), ..Billed::default() };
        let fails = self.fails;
        async move {
            // Others come between.
            tokio::task::yield_now().await;
            if fails {
                let message = "as the test says".into();
                let class = ErrorClass::Server;
                return Err(ProviderFailure { class, status: None, message, retry_after_ms: None, billed });
            }
            let parts = vec![Part::Text("x".into())];
            Ok(ModelReply { parts, stop: ModelStop::EndTurn, billed })
        }
        .boxed()
    }
}

fn world(model: &Arc<Greedy>) -> World {
    let log = Arc::new(MemoryLog::new());
    World::with(log.clone(), log, TestEnv::new("one"), TestModel::default(), model.clone(), vec![])
}

/// What the session has spent by its own log, in billionths of a dollar.
async fn spent(world: &World, session: &str) -> u64 {
    let mut folded = sterna_log::fold::Folded::new();
    world.records(session).await.iter().for_each(|record| folded.apply(record));
    folded.ledger.total().cost().unwrap()
}

/// SC-63, by the mechanism that children share: fifty sessions of one tree at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_sessions_of_one_tree_never_pass_its_cap() {
    const CAP: u64 = 1_000_000_000;
    let model = Arc::new(Greedy::default());
    let world = world(&model);
    let mut waiting = Vec::new();
    for n in 0..50 {
        let mut submit = world.submit(&format!("child{n}"), "go");
        submit.config.limits.tree_max_cost = Some(CAP);
        submit.config.tree = Some(SessionId::new("root").unwrap());
        waiting.push(world.runtime.submit(submit).await.unwrap());
    }
    let mut refused = 0;
    for accepted in &waiting {
        let result = world.result(accepted).await;
        match result.outcome {
            "finished" => {}
            _ => {
                assert_eq!(result.stop, Some(StopReason::BudgetCost));
                refused += 1;
            }
        }
    }
    let mut total = 0;
    for n in 0..50 {
        total += spent(&world, &format!("child{n}")).await;
    }
    assert!(total <= CAP, "{total}");
    // One writes 8,192 tokens at 15 dollars a million, which is 0.12288 dollars, and reads a little: eight or nine fit.
    assert!((41..=42).contains(&refused), "{refused}");
    assert!(total > 8 * 122_880_000, "{total}");
    assert_eq!(model.calls.load(Ordering::SeqCst), 50 - refused);
}

/// The same with each session driven by one of four processes, which share nothing but the store.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_cap_of_a_tree_holds_over_processes() {
    const CAP: u64 = 1_000_000_000;
    let model = Arc::new(Greedy::default());
    let log = Arc::new(MemoryLog::new());
    let process = |n: usize| {
        let env = TestEnv::new(&format!("process{n}"));
        World::with(log.clone(), log.clone(), env, TestModel::default(), model.clone(), vec![])
    };
    let processes: Vec<World> = (0..4).map(process).collect();
    let mut waiting = Vec::new();
    for n in 0..50 {
        let world = &processes[n % 4];
        let mut submit = world.submit(&format!("child{n}"), "go");
        submit.config.limits.tree_max_cost = Some(CAP);
        submit.config.tree = Some(SessionId::new("root").unwrap());
        waiting.push((world, world.runtime.submit(submit).await.unwrap()));
    }
    let mut refused = 0;
    for (world, accepted) in &waiting {
        refused += u64::from(world.result(accepted).await.stop == Some(StopReason::BudgetCost));
    }
    let mut total = 0;
    for n in 0..50 {
        total += spent(&processes[0], &format!("child{n}")).await;
    }
    assert!(total <= CAP, "{total}");
    assert!((41..=42).contains(&refused), "{refused}");
    assert_eq!(model.calls.load(Ordering::SeqCst), 50 - refused);
}

/// Killed right after its answer was durable, a session cannot say that its call is over: others find it in its log.
#[tokio::test]
async fn what_a_killed_process_had_reserved_is_found_to_be_free() {
    use sterna_log::Log;
    let model = Arc::new(Greedy { writes: Some(1_000), ..Greedy::default() });
    let world = world(&model);
    let root = SessionId::new("root").unwrap();
    let ask = |name: &str| {
        let mut submit = world.submit(name, "go");
        // One call at its worst takes most of it: 8,192 tokens are 0.12288 dollars.
        submit.config.limits.tree_max_cost = Some(200_000_000);
        submit.config.tree = Some(root.clone());
        submit
    };
    world.run(ask("one")).await;
    // As if the settlement had not been written: the tree's log without its last record, in another store.
    let cut = Arc::new(MemoryLog::new());
    let tree = sterna_log::tree_log(&root);
    let shared: sterna_log::SharedLog = cut.clone();
    let kept = world.log.read(&tree, 1, 100).await.unwrap();
    assert!(matches!(&kept.last().unwrap().record.body, Body::Budget(change)
        if matches!(**change, BudgetChange::Settled { .. })));
    let of_tree = kept[..kept.len() - 1].iter().map(|sealed| (tree.clone(), sealed.record.clone()));
    let one = SessionId::new("one").unwrap();
    let of_one = world.records("one").await.into_iter().map(|record| (one.clone(), record));
    refill(&shared, &world.env, of_tree.chain(of_one)).await.unwrap();
    let env = TestEnv::new("another");
    let other = World::with(cut.clone(), cut, env, TestModel::default(), model.clone(), vec![]);
    let answered = other.run(ask("two")).await;
    assert_eq!(answered.outcome, "finished");
    let asked = model.asked.lock().unwrap().clone();
    // All that the model can write, although the call before seemed to hold most of the cap.
    assert_eq!(asked, [8_192, 8_192]);
    let settled = other.log.read(&tree, 1, 100).await.unwrap();
    let of = |sealed: &sterna_log::Sealed| match &sealed.record.body {
        Body::Budget(change) => Some((change.key().session.to_string(), change.key().step)),
        _ => None,
    };
    let told: Vec<(String, u32)> = settled.iter().filter_map(of).collect();
    let names: Vec<&str> = told.iter().map(|(session, _)| session.as_str()).collect();
    // It asks and gets less than it wants, settles for the one that is gone, asks again, and settles for itself.
    assert_eq!(names, ["one", "two", "one", "two", "two"]);
}

#[tokio::test]
async fn a_sessions_cap_holds_over_its_turns() {
    let model = Arc::new(Greedy { writes: Some(1_000), ..Greedy::default() });
    let world = world(&model);
    let mut ends = Vec::new();
    for _ in 0..6 {
        let mut submit = world.submit("s", "go");
        submit.config.limits.session_max_cost = Some(60_000_000);
        ends.push(world.run(submit).await.stop);
    }
    assert!(ends[..3].iter().all(Option::is_none), "{ends:?}");
    assert_eq!(ends.last().unwrap(), &Some(StopReason::BudgetCost));
    assert!(spent(&world, "s").await <= 60_000_000);
}

#[tokio::test]
async fn a_retry_that_the_cap_does_not_pay_for_is_not_sent() {
    let model = Arc::new(Greedy { fails: true, ..Greedy::default() });
    let world = world(&model);
    let mut submit = world.submit("s", "go");
    submit.config.limits.max_cost = Some(150_000_000);
    let result = world.run(submit).await;
    // The first attempt was allowed all that there was, and used it up.
    assert_eq!((result.stop, model.calls.load(Ordering::SeqCst)), (Some(StopReason::BudgetCost), 1));
    assert!(spent(&world, "s").await <= 150_000_000);
}

#[tokio::test]
async fn where_the_price_is_not_known_no_cap_in_money_can_hold() {
    let model = Arc::new(Greedy { unpriced: true, ..Greedy::default() });
    let world = world(&model);
    let mut submit = world.submit("s", "go");
    submit.config.limits.tree_max_cost = Some(1_000_000_000);
    let result = world.run(submit).await;
    assert_eq!((result.stop, model.calls.load(Ordering::SeqCst)), (Some(StopReason::BudgetCost), 0));
}

/// A reservation that cannot be given back is found to be over by others: the answer that was paid for is kept.
#[tokio::test]
async fn a_settlement_that_fails_loses_no_answer() {
    let settles = |draft: &Draft| match &draft.body {
        Body::Budget(change) => matches!(**change, BudgetChange::Settled { .. }),
        _ => false,
    };
    let log = HookLog::new(move |append| match append.records.iter().any(settles) {
        true => Act::Fail(LogError::Io("the disk is full".into())),
        false => Act::Pass,
    });
    let model = TestModel::new([Say::Text("done")]);
    let env = TestEnv::new("one");
    let world =
        World::with(log.clone(), log.inner.clone(), env, model.clone(), Arc::new(model.clone()), vec![]);
    let mut submit = world.submit("s", "go");
    submit.config.limits.tree_max_tokens = Some(1_000_000);
    assert_eq!(world.run(submit).await.message.as_deref(), Some("done"));
    assert_eq!(model.asked(), 1);
}

/// The transitions of a turn's requests, and its answer.
async fn gone_on(limits: Limits, writes: u64) -> (Vec<&'static str>, ResultEvent) {
    let model = Arc::new(Greedy { writes: Some(writes), ..Greedy::default() });
    let world = world(&model);
    let mut submit = world.submit("s", "go");
    submit.config.limits = limits;
    let result = world.run(submit).await;
    let transitions = world.records("s").await.into_iter().filter_map(|record| match record.body {
        Body::Intent(intent) => intent.what.request().map(|request| request.transition.word()),
        _ => None,
    });
    let replayed =
        sterna_runtime::replay(world.runtime.parts(), &SessionId::new("s").unwrap()).await.unwrap();
    assert_eq!(replayed.difference, None);
    (transitions.collect(), result)
}

#[tokio::test]
async fn a_turn_that_is_to_use_a_budget_goes_on_until_two_answers_add_little() {
    const GOES_ON: &str = "budget_continue";
    for (budget, writes, wanted) in [
        (None, 10, vec!["input"]),
        // Tiny answers: two more, and no third.
        (Some(10_000_000), 10, vec!["input", GOES_ON, GOES_ON]),
        // Long ones: three more.
        (Some(10_000_000), 500, vec!["input", GOES_ON, GOES_ON, GOES_ON]),
        // Most of it is used by the first.
        (Some(500), 500, vec!["input"]),
    ] {
        let (transitions, result) =
            gone_on(Limits { turn_tokens: budget, ..Limits::default() }, writes).await;
        assert_eq!(transitions, wanted, "{budget:?} {writes}");
        assert_eq!((result.outcome, result.steps as usize), ("finished", wanted.len()));
    }
}

/// An answer that stands does not become a stop because there is no room for another one.
#[tokio::test]
async fn a_turn_that_is_to_use_a_budget_keeps_its_answer_where_a_bound_is_reached() {
    let budget = Limits { turn_tokens: Some(10_000_000), ..Limits::default() };
    for (limits, wanted) in [
        (Limits { max_steps: 1, ..budget.clone() }, vec!["input"]),
        (Limits { max_steps: 2, ..budget.clone() }, vec!["input", "budget_continue"]),
        // The first request alone is more.
        (Limits { max_tokens: Some(100), ..budget.clone() }, vec!["input"]),
    ] {
        let (transitions, result) = gone_on(limits.clone(), 10).await;
        assert_eq!(transitions, wanted, "{limits:?}");
        assert_eq!((result.outcome, result.stop), ("finished", None), "{limits:?}");
    }
    // About what one answer costs: the next one is not begun.
    let (_, one) = gone_on(Limits::default(), 10).await;
    let tokens = Some(one.usage.iter().map(|used| used.usage.total()).sum::<u64>() - 20);
    let nanos = Some((one.cost.unwrap() * 1e9) as u64 + 1_000);
    for limits in [
        Limits { max_cost: nanos, ..budget.clone() },
        Limits { session_max_cost: nanos, ..budget.clone() },
        Limits { session_max_tokens: tokens, ..budget.clone() },
        Limits { tree_max_cost: nanos, ..budget.clone() },
        Limits { tree_max_tokens: tokens, ..budget },
    ] {
        let (transitions, result) = gone_on(limits.clone(), 10).await;
        assert_eq!((transitions.len(), result.outcome, result.stop), (1, "finished", None), "{limits:?}");
        assert_eq!(result.message.as_deref(), Some("x"), "{limits:?}");
    }
}

/// A hook wants the turn to go on where there is no room: that ends it, and it is the second time that the same bound does.
#[tokio::test]
async fn a_bound_that_is_reached_twice_is_told_twice() {
    let model = Arc::new(Greedy { writes: Some(10), ..Greedy::default() });
    let world = world(&model).hooked(saying(&[HookEvent::Stop], HookAnswer::Blocked("go on".into())));
    let mut submit = world.submit("s", "go");
    submit.config.limits.turn_tokens = Some(10_000_000);
    submit.config.limits.session_max_tokens = Some(500);
    let result = world.run(submit).await;
    assert_eq!((result.steps, result.stop), (1, Some(StopReason::BudgetTokens)));
    let reached = world.bodies("s").await.into_iter().filter(|body| body == "limit_reached").count();
    assert_eq!(reached, 2);
}
