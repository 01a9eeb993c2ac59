//! The ladder: other routes take over, breakers open and close, and each route gets back only what is its own.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use common::*;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use sterna_llm::{EncodeCache, Encoded, ModelInfo, ModelReply, Price, Provider, Request, StreamEvent};
use sterna_log::MemoryLog;
use sterna_model::*;
use sterna_runtime::*;
use tokio::sync::Notify;

/// What a route does next.
enum Do {
    Say(&'static str),
    Reply(ModelReply),
    Fail(ErrorClass, Option<u64>),
    /// Streams this text, then breaks off.
    Cut(&'static str),
    /// Waits until the test lets it go on, then answers.
    Hang(&'static str),
}

/// Routes with a list each, on the wire that the provider's name says. Keeps what each was asked.
#[derive(Default)]
struct Routes {
    lists: Mutex<BTreeMap<String, VecDeque<Do>>>,
    asked: Mutex<Vec<(String, Value)>>,
    go: Notify,
    arrived: Notify,
    price: Option<Price>,
}

impl Routes {
    fn new(lists: impl IntoIterator<Item = (&'static str, Vec<Do>)>) -> Arc<Self> {
        let lists = lists.into_iter().map(|(route, list)| (route.to_owned(), list.into())).collect();
        Arc::new(Self { lists: Mutex::new(lists), ..Self::default() })
    }

    /// The routes that were asked, in order.
    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|(route, _)| route.clone()).collect()
    }

    fn body(&self, n: usize) -> Value {
        self.asked.lock().unwrap()[n].1.clone()
    }

    fn wire(route: &Route) -> &'static str {
        match route.provider.as_str() {
            "anthropic" => "anthropic",
            _ => "openai_responses",
        }
    }
}

impl Provider for Routes {
    fn model(&self, route: &Route) -> Result<ModelInfo, String> {
        if route.provider == "gone" {
            Err("there is no such provider".into())
        } else {
            let thinking = match Self::wire(route) {
                "anthropic" => ThinkingDialect::Adaptive,
                _ => ThinkingDialect::Effort,
            };
            Ok(ModelInfo { price: self.price, thinking: Some(thinking), ..ModelInfo::default() })
        }
    }
    fn encoder(&self, route: &Route) -> String {
        format!("{}/1", Self::wire(route))
    }
    fn encode(&self, request: &Request, cache: &mut EncodeCache) -> Encoded {
        sterna_llm::wire::by_name(Self::wire(&request.route)).unwrap().encode(request, cache)
    }
    fn send<'a>(
        &'a self,
        route: &'a Route,
        body: Encoded,
        events: &'a mut (dyn FnMut(StreamEvent) + Send),
    ) -> BoxFuture<'a, Result<ModelReply, ProviderFailure>> {
        let name = route.to_string();
        let body = serde_json::from_slice(&body.body()).unwrap();
        self.asked.lock().unwrap().push((name.clone(), body));
        self.arrived.notify_one();
        let next = self.lists.lock().unwrap().get_mut(&name).and_then(VecDeque::pop_front);
        let text = |text: &str| reply(vec![Part::Text(text.into())], ModelStop::EndTurn);
        let failed = |class, retry_after_ms| ProviderFailure {
            class,
            status: None,
            message: "as the test says".into(),
            retry_after_ms,
            billed: Billed::default(),
        };
        async move {
            match next {
                None => panic!("{name} was asked once too often"),
                Some(Do::Say(said)) => Ok(text(said)),
                Some(Do::Reply(reply)) => Ok(reply),
                Some(Do::Fail(class, after)) => Err(failed(class, after)),
                Some(Do::Cut(said)) => {
                    let (segment, phase, said) = (Segment::Text, Phase::Delta, said.to_owned());
                    events(StreamEvent { segment, phase, text: said, call_id: None, name: None });
                    Err(failed(ErrorClass::StreamCut, None))
                }
                Some(Do::Hang(said)) => {
                    self.go.notified().await;
                    Ok(text(said))
                }
            }
        }
        .boxed()
    }
}

fn world(routes: &Arc<Routes>) -> World {
    let log = Arc::new(MemoryLog::new());
    World::with(log.clone(), log, TestEnv::new("one"), TestModel::default(), routes.clone(), vec![])
}

fn submit(world: &World, session: &str, ladder: &[&str]) -> Submit {
    let mut submit = world.submit(session, "go");
    submit.config.route = ladder[0].parse().unwrap();
    submit.config.fallback = ladder[1..].iter().map(|route| route.parse().unwrap()).collect();
    submit
}

/// The types of the session's events, with what matters of some.
async fn told(world: &World, session: &str) -> Vec<String> {
    let of = |(_, event): (Seq, Value)| match event["type"].as_str().unwrap() {
        "model.reset" => Some(format!("reset {}", event["class"].as_str().unwrap())),
        "route.changed" => Some(format!("route {} {}", event["route"].as_str().unwrap(), event["this_turn"])),
        "model.started" => Some(format!("asked {} {}", event["route"].as_str().unwrap(), event["attempt"])),
        "step.started" => Some("step".to_owned()),
        "warning" => Some(format!("warning {}", event["code"].as_str().unwrap())),
        _ => None,
    };
    shown(world, session).await.into_iter().filter_map(of).collect()
}

#[tokio::test]
async fn four_failures_lead_to_the_next_model_for_the_rest_of_the_turn() {
    let call = || Do::Reply(reply(vec![call("c", "look", "{}")], ModelStop::ToolCalls));
    let routes = Routes::new([
        (
            "anthropic/a",
            vec![
                Do::Fail(ErrorClass::RateLimit, Some(1_000)),
                Do::Cut("half a sen"),
                Do::Fail(ErrorClass::Overloaded, None),
                Do::Fail(ErrorClass::Overloaded, None),
                Do::Say("back at the top"),
            ],
        ),
        ("anthropic/b", vec![call(), Do::Say("done by b")]),
    ]);
    let log = Arc::new(MemoryLog::new());
    let tools = vec![echo("look", EffectClass::Pure)];
    let world =
        World::with(log.clone(), log, TestEnv::new("one"), TestModel::default(), routes.clone(), tools);
    let ladder = ["anthropic/a", "anthropic/b", "other/c"];
    let result = world.run(submit(&world, "s", &ladder)).await;
    assert_eq!((result.outcome, result.message.as_deref()), ("finished", Some("done by b")));
    assert_eq!(
        routes.asked(),
        ["anthropic/a", "anthropic/a", "anthropic/a", "anthropic/a", "anthropic/b", "anthropic/b"]
    );
    let records = world.records("s").await;
    let waits: Vec<u64> = records
        .iter()
        .filter_map(|record| match &record.body {
            Body::Attempt(attempt) => Some(attempt.wait_ms),
            _ => None,
        })
        .collect();
    assert!(waits[0] >= 1_000 && (1_500..=2_500).contains(&waits[1]), "{waits:?}");
    assert!((3_000..=5_000).contains(&waits[2]) && waits[3] == 0, "{waits:?}");
    let changed = records.iter().find_map(|record| match &record.body {
        Body::RouteChanged { route, cause, turn } => Some((route.to_string(), cause.clone(), *turn)),
        _ => None,
    });
    let (route, cause, turn) = changed.unwrap();
    assert_eq!((route.as_str(), turn), ("anthropic/b", Some(1)));
    assert!(cause.starts_with("anthropic/a failed: overloaded: as the test says"), "{cause}");
    assert_eq!(
        told(&world, "s").await,
        [
            "step",
            "asked anthropic/a 1",
            "reset rate_limit",
            "asked anthropic/a 2",
            "reset stream_cut",
            "asked anthropic/a 3",
            "reset overloaded",
            "asked anthropic/a 4",
            "reset overloaded",
            "route anthropic/b true",
            "asked anthropic/b 5",
            "step",
            "asked anthropic/b 1",
        ]
    );
    // Each request can be derived again.
    let id = SessionId::new("s").unwrap();
    let replayed = replay(world.runtime.parts(), &id).await.unwrap();
    assert_eq!((replayed.requests, replayed.difference), (3, None));

    // Sticky in the turn, not beyond it.
    let result = world.run(submit(&world, "s", &ladder)).await;
    assert_eq!(result.message.as_deref(), Some("back at the top"));
    assert_eq!(routes.asked().last().unwrap(), "anthropic/a");
}

#[tokio::test]
async fn only_listed_routes_are_asked_and_the_class_says_which() {
    use ErrorClass::*;
    // Class, ladder, routes asked once the first has failed for good, how the turn ends.
    for (class, tries, ladder, asked, ends) in [
        (Overloaded, 4, vec!["a/1"], vec![], "stopped"),
        (Overloaded, 4, vec!["a/1", "gone/x", "b/1"], vec!["b/1"], "finished"),
        (Network, 4, vec!["a/1", "a/2", "b/1"], vec!["b/1"], "finished"),
        (Auth, 1, vec!["a/1", "a/2", "b/1"], vec!["b/1"], "finished"),
        (ModelGone, 1, vec!["a/1", "a/2", "b/1"], vec!["a/2"], "finished"),
        (InvalidRequest, 1, vec!["a/1", "a/2", "b/1"], vec![], "stopped"),
        (ContextOverflow, 1, vec!["a/1", "b/1"], vec![], "stopped"),
        (ContentFilter, 1, vec!["a/1", "b/1"], vec![], "stopped"),
    ] {
        let fail = (0..tries).map(|_| Do::Fail(class, None)).collect();
        let routes = Routes::new([("a/1", fail), ("a/2", vec![Do::Say("a2")]), ("b/1", vec![Do::Say("b1")])]);
        let world = world(&routes);
        let result = world.run(submit(&world, "s", &ladder)).await;
        assert_eq!(result.outcome, ends, "{class:?} {ladder:?}");
        assert_eq!(routes.asked()[tries..], asked, "{class:?} {ladder:?}");
    }
}

#[tokio::test]
async fn a_change_of_route_survives_its_process() {
    let routes = Routes::new([
        ("a/1", vec![Do::Fail(ErrorClass::ModelGone, None)]),
        ("b/1", vec![Do::Hang("never heard"), Do::Say("in the next life")]),
    ]);
    let one = world(&routes);
    let accepted = one.runtime.submit(submit(&one, "s", &["a/1", "b/1"])).await.unwrap();
    while routes.asked().len() < 2 {
        routes.arrived.notified().await;
    }
    one.env.dead.lock().unwrap().push("one".into());
    let env = TestEnv { name: "two".into(), ..one.env.clone() };
    let two =
        World::with(one.log.clone(), one.log.clone(), env, TestModel::default(), routes.clone(), vec![]);
    two.runtime.resume(&accepted.session, two.config());
    let result = two.result(&accepted).await;
    assert_eq!(result.message.as_deref(), Some("in the next life"));
    assert_eq!(routes.asked(), ["a/1", "b/1", "b/1"]);
    assert_eq!(routes.body(1), routes.body(2));
}

#[tokio::test]
async fn a_breaker_is_shared_by_sessions_and_one_probe_looks() {
    use ErrorClass::Overloaded;
    let fail = |n: usize| (0..n).map(|_| Do::Fail(Overloaded, None)).collect::<Vec<_>>();
    for heals in [true, false] {
        let mut list = fail(5);
        list.push(if heals { Do::Hang("well again") } else { Do::Fail(Overloaded, None) });
        list.push(Do::Say("as ever"));
        let says = || Do::Say("b");
        let routes = Routes::new([("a/1", list), ("b/1", (0..9).map(|_| says()).collect())]);
        let world = world(&routes);
        let ladder = ["a/1", "b/1"];
        // Four failures in one session, the fifth in another: that one's next attempt is not sent.
        for session in ["s1", "s2"] {
            assert_eq!(world.run(submit(&world, session, &ladder)).await.message.as_deref(), Some("b"));
        }
        let sent = |routes: &Routes| routes.asked().iter().filter(|route| *route == "a/1").count();
        assert_eq!(sent(&routes), 5);
        assert!(world.bodies("s2").await.contains(&"attempt 1/model/0 2 breaker_open".to_owned()));
        let open = world.runtime.open_breakers();
        assert_eq!((open.len(), open[0].route.to_string().as_str()), (1, "a/1"));
        // The sixth call goes to the next model without a request.
        assert_eq!(world.run(submit(&world, "s3", &ladder)).await.message.as_deref(), Some("b"));
        assert_eq!(sent(&routes), 5);
        assert!(world.bodies("s3").await.contains(&"attempt 1/model/0 1 breaker_open".to_owned()));

        // A minute later two at once: exactly one looks.
        world.env.now.store(open[0].until, Ordering::SeqCst);
        if heals {
            let first = world.runtime.submit(submit(&world, "s4", &ladder)).await.unwrap();
            while sent(&routes) < 6 {
                routes.arrived.notified().await;
            }
            assert_eq!(world.run(submit(&world, "s5", &ladder)).await.message.as_deref(), Some("b"));
            assert_eq!(sent(&routes), 6);
            routes.go.notify_one();
            assert_eq!(world.result(&first).await.message.as_deref(), Some("well again"));
            assert!(world.runtime.open_breakers().is_empty());
            assert_eq!(world.run(submit(&world, "s6", &ladder)).await.message.as_deref(), Some("as ever"));
        } else {
            assert_eq!(world.run(submit(&world, "s4", &ladder)).await.message.as_deref(), Some("b"));
            assert_eq!(world.run(submit(&world, "s5", &ladder)).await.message.as_deref(), Some("b"));
            assert_eq!(sent(&routes), 6);
            assert!(world.runtime.open_breakers()[0].until >= open[0].until + 60_000);
        }
    }
}

#[tokio::test]
async fn without_another_route_an_open_breaker_ends_the_turn_by_its_name() {
    let routes = Routes::new([("a/1", (0..8).map(|_| Do::Fail(ErrorClass::Server, None)).collect())]);
    let world = world(&routes);
    world.run(submit(&world, "s", &["a/1"])).await;
    let result = world.run(submit(&world, "s", &["a/1"])).await;
    assert_eq!((result.stop, routes.asked().len()), (Some(StopReason::ProviderFailed), 5));
    assert!(result.message.unwrap().starts_with("breaker_open: a/1 failed 5 times within a minute"));
}

#[tokio::test]
async fn signed_reasoning_stays_with_its_route_and_comes_back_byte_for_byte() {
    let a: Route = "anthropic/a".parse().unwrap();
    let signed = r#"{"type":"thinking","thinking":"hm","signature":"c2lnbmVk=="}"#;
    let opaque = Opaque { route: a.clone(), json: signed.into() };
    let thought = Part::Reasoning(Reasoning { text: "hm".into(), opaque: Some(opaque) });
    let first = reply(vec![thought, Part::Text("one".into())], ModelStop::EndTurn);
    let routes = Routes::new([
        ("anthropic/a", vec![Do::Reply(first), Do::Fail(ErrorClass::ModelGone, None), Do::Say("three")]),
        ("openai/b", vec![Do::Say("two")]),
    ]);
    let world = world(&routes);
    let ladder = ["anthropic/a", "openai/b"];
    for expected in ["one", "two", "three"] {
        assert_eq!(world.run(submit(&world, "s", &ladder)).await.message.as_deref(), Some(expected));
    }
    assert_eq!(routes.asked(), ["anthropic/a", "anthropic/a", "openai/b", "anthropic/a"]);
    let texts: Vec<String> = (0..4).map(|n| routes.body(n).to_string()).collect();
    assert!(!texts[2].contains("c2lnbmVk") && texts[2].contains("one"), "{}", texts[2]);
    for n in [1, 3] {
        let blocks = &routes.body(n)["messages"][1]["content"];
        assert_eq!(blocks[0], serde_json::from_str::<Value>(signed).unwrap(), "request {n}");
    }
    let told = told(&world, "s").await;
    let left_out = told.iter().position(|event| event == "warning opaque_left_out").unwrap();
    assert_eq!(told[left_out + 1], "asked openai/b 2");
    assert_eq!(told.iter().filter(|event| event.starts_with("warning")).count(), 1, "{told:?}");
}

#[tokio::test]
async fn each_route_is_asked_to_think_in_its_own_words() {
    let routes = Routes::new([
        ("anthropic/a", vec![Do::Fail(ErrorClass::ModelGone, None), Do::Say("as it likes")]),
        ("openai/b", vec![Do::Say("thought about it")]),
    ]);
    let world = world(&routes);
    let mut asked = submit(&world, "s", &["anthropic/a", "openai/b"]);
    asked.config.effort = Some(Effort::High);
    assert_eq!(world.run(asked).await.message.as_deref(), Some("thought about it"));
    assert_eq!(routes.body(0)["thinking"], json!({"type": "adaptive"}));
    assert_eq!(routes.body(0)["output_config"], json!({"effort": "high"}));
    assert_eq!(routes.body(1)["reasoning"], json!({"effort": "high"}));
    // What nobody asked for is not said, and what was said is derived again.
    world.run(submit(&world, "s", &["anthropic/a"])).await;
    assert!(routes.body(2).get("thinking").is_none() && routes.body(2).get("output_config").is_none());
    let replayed = replay(world.runtime.parts(), &SessionId::new("s").unwrap()).await.unwrap();
    assert_eq!((replayed.requests, replayed.difference), (3, None));
}

#[tokio::test]
async fn a_prefix_holds_for_fifty_steps_and_a_break_is_explained() {
    let calls = |n: usize| {
        let args = json!({ "n": n }).to_string();
        Do::Reply(reply(vec![call(&format!("c{n}"), "look", &args)], ModelStop::ToolCalls))
    };
    let mut list: Vec<Do> = (0..49).map(calls).collect();
    list.extend((0..5).map(|_| Do::Say("done")));
    let routes = Routes::new([("anthropic/a", list)]);
    let log = Arc::new(MemoryLog::new());
    let with = |name: &str, tools| {
        let env = TestEnv::new(name);
        World::with(log.clone(), log.clone(), env, TestModel::default(), routes.clone(), tools)
    };
    let one = with("one", vec![echo("look", EffectClass::Pure)]);
    let id = SessionId::new("s").unwrap();
    one.run(submit(&one, "s", &["anthropic/a"])).await;
    // What changes between turns without touching the prefix.
    one.runtime.set_mode(&id, Mode::Ask, "p").await.unwrap();
    one.runtime.set_title(&id, "another", "p").await.unwrap();
    let mut asked = submit(&one, "s", &["anthropic/a"]);
    asked.config.mode = Mode::Plan;
    one.run(asked).await;
    let intents = |records: Vec<Record>| -> Vec<ModelIntent> {
        let of = |record: Record| match record.body {
            Body::Intent(intent) => match intent.what {
                Intended::Model(model) => Some(model),
                _ => None,
            },
            _ => None,
        };
        records.into_iter().filter_map(of).collect()
    };
    let held = intents(one.records("s").await);
    assert_eq!(held.len(), 51);
    assert!(held[0].prefix.is_some());
    assert!(held.iter().all(|intent| intent.prefix == held[0].prefix && intent.prefix_broken.is_empty()));
    // A fork begins with all that its parent sent.
    let fork = one.runtime.fork(&id, None, None).await.unwrap();
    one.run(submit(&one, fork.as_str(), &["anthropic/a"])).await;
    let forked = intents(one.records(fork.as_str()).await);
    assert_eq!((forked.len(), &forked[0].prefix_broken), (1, &Vec::new()));
    let begins = |n: usize| routes.asked.lock().unwrap()[n].1["tools"].to_string();
    assert!((1..51).all(|n| begins(n) == begins(0)));

    // Another process with a tool more.
    let two = with("two", vec![echo("look", EffectClass::Pure), echo("more", EffectClass::Pure)]);
    two.env.dead.lock().unwrap().push("one".into());
    two.run(submit(&two, "s", &["anthropic/a"])).await;
    let last = intents(two.records("s").await).pop().unwrap();
    assert_eq!(last.prefix_broken, ["tool more new"]);
    assert_ne!(last.prefix, held[0].prefix);
    let shown = told(&two, "s").await;
    assert_eq!(shown.iter().filter(|event| *event == "warning prefix_broken").count(), 1);
    let found = replay(two.runtime.parts(), &id).await.unwrap();
    assert_eq!(found.difference, None);
    assert_eq!(found.prefix_breaks.len(), 1);
    assert_eq!(found.prefix_breaks[0].changed, ["tool more new"]);
}
