//! Caps of a turn, a session and a tree: reserved before a call, settled after it, never a billionth over.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::*;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;
use sterna_llm::catalog::cost;
use sterna_llm::{EncodeCache, Encoded, ModelInfo, ModelReply, Price, Provider, Request, StreamEvent};
use sterna_log::MemoryLog;
use sterna_model::*;

/// A model that always writes as much as it may, and is billed for all of what it is sent.
#[derive(Default)]
struct Greedy {
    calls: AtomicU64,
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
