//! The ladder end to end: what a provider's server does on the wire, a row each, and what the turn makes of it. The
//! server is real, the clock is the test's.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::*;
use futures::FutureExt;
use serde_json::Value;
use sterna_llm::ladder::Timeouts;
use sterna_llm_http::{Endpoint, HttpProvider, KeySource, Secret};
use sterna_log::MemoryLog;
use sterna_model::*;
use sterna_runtime::*;
use sterna_testkit::{Api, Chunk, Exchange, Reply, ScriptServer};
use sterna_tool::{SharedTool, ToolDone, ToolReturn};

/// One thing that happens to providers.
struct Row {
    name: &'static str,
    /// What the server of `a` answers, one after the other.
    a: Vec<Exchange>,
    /// The same of `b`, another provider. Each answers by a text of its own name.
    b: usize,
    /// The rest of the ladder below `a/1`.
    fallback: &'static [&'static str],
    /// Paths and models that were asked, in order.
    asked: &'static [&'static str],
    /// Classes of the failed attempts.
    classes: &'static [ErrorClass],
    /// The least and the most milliseconds that are waited after each of them.
    waits: &'static [(u64, u64)],
    /// The answer, or the name of the stop.
    ends: Result<&'static str, StopReason>,
}

/// `anthropic` at `a`, `openai_chat` at `b`; `c` has a name that no server has.
fn provider(a: &ScriptServer, b: &ScriptServer) -> Arc<HttpProvider> {
    let key = || KeySource::Value(Secret::new("k"), "a test".into());
    let quick = Timeouts { idle_ms: 40, ..Timeouts::default() };
    // A label of a name has 63 bytes at most: it is refused without asking anybody.
    let nowhere = format!("http://{}.invalid", "n".repeat(64));
    let at = |wire, url: String| Endpoint { key: key(), timeouts: quick, ..Endpoint::new(wire, url) };
    let endpoints =
        [("a", at("anthropic", a.url())), ("b", at("openai_chat", b.url())), ("c", at("anthropic", nowhere))];
    Arc::new(HttpProvider::new(BTreeMap::from(endpoints.map(|(name, endpoint)| (name.to_owned(), endpoint)))))
}

/// A tool that counts how often it ran.
fn counted(ran: &Arc<AtomicUsize>) -> SharedTool {
    let ran = ran.clone();
    tool("look", EffectClass::Pure, move |_, _| {
        ran.fetch_add(1, Ordering::SeqCst);
        async { Ok(ToolReturn::Done(ToolDone::text("seen"))) }.boxed()
    })
}

fn said(text: &str) -> Exchange {
    Exchange::reply_text(Api::Anthropic, text)
}

fn error(status: u16, kind: &str, message: &str) -> Exchange {
    Exchange::error_message(status, kind, message, None)
}

/// Where this text of an answer begins.
fn before(exchange: &Exchange, text: &str) -> usize {
    let bytes: Vec<u8> = exchange.bytes().copied().collect();
    bytes.windows(text.len()).position(|window| window == text.as_bytes()).unwrap()
}

fn world(provider: Arc<HttpProvider>, tools: Vec<SharedTool>) -> World {
    let log = Arc::new(MemoryLog::new());
    World::with(log.clone(), log, TestEnv::new("one"), TestModel::default(), provider, tools)
}

fn submit(world: &World, top: &str, fallback: &[&str]) -> Submit {
    let mut submit = world.submit("s", "go");
    submit.config.route = top.parse().unwrap();
    submit.config.fallback = fallback.iter().map(|route| route.parse().unwrap()).collect();
    submit
}

fn models(server: &ScriptServer, name: &str) -> Vec<String> {
    server
        .requests()
        .iter()
        .map(|request| format!("{name}/{}", request.json()["model"].as_str().unwrap()))
        .collect()
}

fn attempts(records: &[Record]) -> Vec<(ErrorClass, u64)> {
    let of = |record: &Record| match &record.body {
        Body::Attempt(attempt) => Some((attempt.failure.class, attempt.wait_ms)),
        _ => None,
    };
    records.iter().filter_map(of).collect()
}

async fn check(row: Row) {
    let Row { name, a, b, fallback, asked, classes, waits, ends } = row;
    let a = ScriptServer::start(a).unwrap();
    let b = ScriptServer::start(vec![Exchange::reply_text(Api::OpenAiChat, "b"); b]).unwrap();
    let ran = Arc::new(AtomicUsize::new(0));
    let world = world(provider(&a, &b), vec![counted(&ran)]);
    let top = if name == "a name that nobody has" { "c/1" } else { "a/1" };
    let result = world.run(submit(&world, top, fallback)).await;
    match ends {
        Ok(text) => {
            assert_eq!((result.outcome, result.message.as_deref()), ("finished", Some(text)), "{name}")
        }
        Err(stop) => assert_eq!((result.outcome, result.stop), ("stopped", Some(stop)), "{name}"),
    }
    assert_eq!([models(&a, "a"), models(&b, "b")].concat(), asked, "{name}");
    let failed = attempts(&world.records("s").await);
    assert_eq!(failed.iter().map(|(class, _)| *class).collect::<Vec<_>>(), classes, "{name}");
    for (n, ((_, waited), (least, most))) in failed.iter().zip(waits).enumerate() {
        assert!(least <= waited && waited <= most, "{name}: wait {n} was {waited} ms");
    }
    // No half of an answer is in the history, and half a call never ran.
    assert!(!world.records("s").await.iter().any(|record| match &record.body {
        Body::Outcome(outcome) => matches!(&outcome.result, EffectResult::Model(model) if model.partial),
        _ => false,
    }));
    assert_eq!(ran.load(Ordering::SeqCst), usize::from(name == "cut in the middle of a call"), "{name}");
    let replayed = replay(world.runtime.parts(), &SessionId::new("s").unwrap()).await.unwrap();
    assert_eq!(replayed.difference, None, "{name}");
}

const SECOND: (u64, u64) = (750, 1_250);
const TWO: (u64, u64) = (1_500, 2_500);
const FOUR: (u64, u64) = (3_000, 5_000);

#[tokio::test]
async fn each_row_of_the_ladder_on_the_wire() {
    use ErrorClass::*;
    let limited = Exchange::error_message(429, "rate_limit_error", "slow down", Some(7));
    let busy = || error(529, "overloaded_error", "busy");
    let call = Exchange::reply(Api::Anthropic, &Reply::calls(&[("c1", "look", r#"{"path":"a long name"}"#)]));
    let cut = call.clone().then_at(before(&call, "long name"), Chunk::Cut);
    let text = said("some text");
    let silent = text.clone().then_at(before(&text, "some"), Chunk::Hang);
    let row =
        |name, a, ends| Row { name, a, b: 0, fallback: &[], asked: &[], classes: &[], waits: &[], ends };
    for row in [
        Row {
            asked: &["a/1", "a/1"],
            classes: &[RateLimit],
            waits: &[(7_000, 7_000)],
            ..row("429 with retry-after", vec![limited, said("one")], Ok("one"))
        },
        Row {
            asked: &["a/1", "a/1", "a/1"],
            classes: &[Overloaded, Overloaded],
            waits: &[SECOND, TWO],
            ..row("529 twice", vec![busy(), busy(), said("one")], Ok("one"))
        },
        Row {
            b: 1,
            fallback: &["b/2"],
            asked: &["a/1", "a/1", "a/1", "a/1", "b/2"],
            classes: &[Overloaded, Overloaded, Overloaded, Overloaded],
            waits: &[SECOND, TWO, FOUR, (0, 0)],
            ..row("529 for good", vec![busy(), busy(), busy(), busy()], Ok("b"))
        },
        Row {
            asked: &["a/1", "a/1", "a/1"],
            classes: &[StreamCut],
            waits: &[SECOND],
            ..row("cut in the middle of a call", vec![cut, call, said("looked")], Ok("looked"))
        },
        Row {
            asked: &["a/1", "a/1"],
            classes: &[Timeout],
            waits: &[SECOND],
            ..row("silence", vec![silent, text], Ok("some text"))
        },
        Row {
            b: 1,
            // Another model of the provider is behind the same name.
            fallback: &["c/2", "b/2"],
            asked: &["b/2"],
            classes: &[Network, Network, Network, Network],
            waits: &[SECOND, TWO, FOUR, (0, 0)],
            ..row("a name that nobody has", vec![], Ok("b"))
        },
        Row {
            asked: &["a/1"],
            classes: &[Auth],
            waits: &[(0, 0)],
            ..row(
                "a bad key",
                vec![error(401, "authentication_error", "invalid x-api-key")],
                Err(StopReason::ProviderFailed),
            )
        },
        Row {
            b: 1,
            // One key for all models of a provider.
            fallback: &["a/2", "b/2"],
            asked: &["a/1", "b/2"],
            classes: &[Auth],
            ..row("a bad key of one of two", vec![error(403, "permission_error", "no")], Ok("b"))
        },
        Row {
            fallback: &["a/2", "b/2"],
            asked: &["a/1"],
            classes: &[ContextOverflow],
            ..row(
                "a request that does not fit, and nothing to leave out",
                vec![error(400, "invalid_request_error", "prompt is too long: 3 tokens > 2 maximum")],
                Err(StopReason::ContextOverflow),
            )
        },
        Row {
            fallback: &["a/2", "b/2"],
            asked: &["a/1"],
            classes: &[ContentFilter],
            ..row("a content filter", vec![error(400, "content_filter", "flagged")], Err(StopReason::Refused))
        },
        Row {
            fallback: &["b/2", "a/2"],
            b: 1,
            asked: &["a/1", "b/2"],
            classes: &[ModelGone],
            ..row("a model that is gone", vec![error(404, "not_found_error", "model: 1")], Ok("b"))
        },
        Row {
            fallback: &["a/2"],
            asked: &["a/1", "a/2"],
            classes: &[ModelGone],
            ..row(
                "a model that is gone, and another of the same provider",
                vec![error(404, "not_found_error", "model: 1"), said("two")],
                Ok("two"),
            )
        },
    ] {
        check(row).await;
    }
}

/// Thinking is signed by one provider, and another takes over: it is told nothing of it, and the first gets it back as it
/// was.
#[tokio::test]
async fn another_provider_takes_over_in_a_history_with_thinking() {
    let thought = Reply { reasoning: "hm, let me see".into(), ..Reply::text("one") };
    let gone = error(404, "not_found_error", "model: 1");
    let a =
        ScriptServer::start(vec![Exchange::reply(Api::Anthropic, &thought), gone, said("three")]).unwrap();
    let b = ScriptServer::start(vec![Exchange::reply_text(Api::OpenAiChat, "two")]).unwrap();
    let world = world(provider(&a, &b), vec![]);
    for expected in ["one", "two", "three"] {
        let result = world.run(submit(&world, "a/1", &["b/2"])).await;
        assert_eq!(result.message.as_deref(), Some(expected));
    }
    let of_b = b.requests()[0].json();
    let text = of_b.to_string();
    assert!(
        !text.contains("let me see") && !text.contains("c2lnbmVk") && !text.contains("thinking"),
        "{text}"
    );
    let answers: Vec<&Value> = of_b["messages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|message| message["role"] == "assistant")
        .map(|message| &message["content"])
        .collect();
    assert_eq!(answers, ["one"]);
    let signed =
        serde_json::json!({"type": "thinking", "thinking": "hm, let me see", "signature": "c2lnbmVk"});
    for n in [1, 2] {
        let body = a.requests()[n].json();
        assert_eq!(body["messages"][1]["content"][0], signed, "request {n}");
    }
    // What the other said in between is there for the first one too.
    assert!(a.requests()[2].json()["messages"].to_string().contains("\"two\""));
}
