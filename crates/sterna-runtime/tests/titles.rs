//! Titles by a model: after the first turn, beside everything else, and never in place of a person's.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/hook.rs"]
mod hook;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::*;
use futures::future::BoxFuture;
use hook::{Act, HookLog};
use sterna_llm::{EncodeCache, Encoded, ModelInfo, ModelReply, Provider, Request, StreamEvent};
use sterna_log::fold::{BESIDE_MS, BESIDE_TURNS, TreeBudget};
use sterna_log::{Append, Expect, Filter, Log, LogError, MemoryLog, Page, SharedLog};
use sterna_model::*;
use sterna_runtime::replay;

/// A model for the turns, and one for titles.
struct Two {
    turns: TestModel,
    titles: TestModel,
}

impl Two {
    fn of(&self, route: &Route) -> &TestModel {
        if route.model == "small" { &self.titles } else { &self.turns }
    }
}

impl Provider for Two {
    fn model(&self, route: &Route) -> Result<ModelInfo, String> {
        self.of(route).model(route)
    }
    fn encoder(&self, route: &Route) -> String {
        self.of(route).encoder(route)
    }
    fn encode(&self, request: &Request, cache: &mut EncodeCache) -> Encoded {
        self.turns.encode(request, cache)
    }
    fn send<'a>(
        &'a self,
        route: &'a Route,
        body: Encoded,
        events: &'a mut (dyn FnMut(StreamEvent) + Send),
    ) -> BoxFuture<'a, Result<ModelReply, ProviderFailure>> {
        self.of(route).send(route, body, events)
    }
}

struct Scene {
    world: World,
    titles: TestModel,
}

fn scene(title: Say) -> Scene {
    let log = Arc::new(MemoryLog::new());
    over(log.clone(), log, TestEnv::new("one"), vec![title])
}

fn over(shared: SharedLog, log: Arc<MemoryLog>, env: TestEnv, titles: Vec<Say>) -> Scene {
    let turns = TestModel::new((0..40).map(|_| Say::Text("done")));
    let titles = TestModel::new(titles);
    let two = Arc::new(Two { turns: turns.clone(), titles: titles.clone() });
    let world = World::with(shared, log, env, turns, two, vec![]);
    Scene { world, titles }
}

/// What the session's tree has spent and reserved, by its log.
async fn tree(log: &MemoryLog) -> TreeBudget {
    let read = log.read(&sterna_log::tree_log(&id()), 1, 100).await.unwrap_or_default();
    let mut budget = TreeBudget::default();
    for sealed in &read {
        if let Body::Budget(change) = &sealed.record.body {
            budget.apply(sealed.record.at, change);
        }
    }
    budget
}

/// Until the tree holds nothing for anybody, and has spent so much.
async fn settled(log: &MemoryLog, tokens: u64) {
    let settled = async {
        loop {
            let budget = tree(log).await;
            if budget.held().next().is_none() && budget.sum().tokens == tokens {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), settled).await.expect("it stays reserved");
}

impl Scene {
    async fn turn(&self, text: &str) -> ResultEvent {
        self.turn_with(text, |_| {}).await
    }

    async fn turn_with(
        &self,
        text: &str,
        change: impl FnOnce(&mut sterna_runtime::TurnConfig),
    ) -> ResultEvent {
        let mut submit = self.world.submit("s", text);
        submit.config.title_route = Some("test/small".parse().unwrap());
        change(&mut submit.config);
        self.world.run(submit).await
    }

    /// Until the record of a title by a model is there.
    async fn titled(&self) -> TitleMade {
        self.titled_in(&id()).await
    }

    async fn titled_in(&self, session: &SessionId) -> TitleMade {
        let mut observer = self.world.runtime.observe(session, 0);
        let made = async {
            loop {
                let event = observer.next().await.unwrap();
                let kind = serde_json::to_value(&event).unwrap();
                if kind["type"] == "usage" && kind["source"] == "title" {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), made).await.expect("no title is made");
        let made =
            self.world.records(session.as_str()).await.into_iter().find_map(|record| match record.body {
                Body::TitleSet { made: Some(made), .. } if !made.asking => Some(*made),
                _ => None,
            });
        made.unwrap()
    }

    /// Until it is in the log that a model is asked, and what came of it.
    async fn ended(&self) {
        self.ended_in("s").await;
    }

    async fn ended_in(&self, session: &str) {
        let both = async {
            while self.said_of_titles(session).await != [true, false] {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), both).await.expect("no title is made");
    }

    /// Records of titles by a model: whether they say that one is about to be asked.
    async fn said_of_titles(&self, session: &str) -> Vec<bool> {
        let of = |record: Record| match record.body {
            Body::TitleSet { made: Some(made), .. } => Some(made.asking),
            _ => None,
        };
        self.world.records(session).await.into_iter().filter_map(of).collect()
    }

    /// As lists show it.
    async fn title(&self) -> Option<String> {
        self.title_of(&id()).await
    }

    async fn title_of(&self, session: &SessionId) -> Option<String> {
        let page = Page { after: None, limit: 9 };
        let rows = self.world.log.list(&Filter::default(), page).await.unwrap();
        rows.into_iter().find(|row| row.id == *session).unwrap().title
    }

    async fn folded(&self) -> sterna_log::fold::Folded {
        let mut folded = sterna_log::fold::Folded::new();
        self.world.records("s").await.iter().for_each(|record| folded.apply(record));
        folded
    }

    /// Model calls and tokens by source.
    async fn spent(&self) -> Vec<(&'static str, u64, u64)> {
        let folded = self.folded().await;
        let sums = folded.ledger.by_source().iter();
        sums.map(|(source, sum)| (source.word(), sum.calls, sum.usage.total())).collect()
    }

    async fn replays(&self) {
        assert_eq!(replay(self.world.runtime.parts(), &id()).await.unwrap().difference, None);
    }
}

fn id() -> SessionId {
    SessionId::new("s").unwrap()
}

#[tokio::test]
async fn a_model_names_a_session_after_its_first_turn_and_no_turn_waits_for_it() {
    let scene = scene(Say::Hang("**Tests of the parser**"));
    scene.turn("please fix\nthe tests of the parser").await;
    scene.titles.arrived.notified().await;
    let second = scene.turn("and now the docs").await;
    assert_eq!((second.outcome, scene.title().await.as_deref()), ("finished", Some("please fix")));
    scene.titles.go.notify_one();
    let made = scene.titled().await;
    assert_eq!((made.instead_of.as_deref(), made.failed), (Some("please fix"), None));
    // What it wrote further belongs to the line.
    assert_eq!(scene.title().await.as_deref(), Some("Tests of the parser** and the rest"));
    // In the ledger under a source of its own, and in no turn's result.
    assert_eq!(scene.spent().await, [("turn", 2, 220), ("title", 1, 110)]);
    let of: Vec<String> = second.usage.iter().map(|used| used.model.to_string()).collect();
    assert_eq!(of, ["test/model"]);
    // It was shown what the person said first, and nothing else.
    let asked = scene.titles.body(0);
    assert_eq!(asked["messages"][1]["content"], "please fix\nthe tests of the parser");
    assert!(asked.get("tools").is_none() && asked["max_tokens"] == 50, "{asked}");
    // Once.
    let third = scene.turn("more").await;
    assert_eq!((third.outcome, scene.titles.asked()), ("finished", 1));
    scene.replays().await;
}

#[tokio::test]
async fn a_persons_name_stays_whichever_comes_first() {
    // While the model writes.
    let slow = scene(Say::Hang("By the model"));
    slow.turn("go").await;
    slow.titles.arrived.notified().await;
    slow.world.runtime.set_title(&id(), "Mine", "person").await.unwrap();
    slow.titles.go.notify_one();
    slow.titled().await;
    assert_eq!(slow.title().await.as_deref(), Some("Mine"));
    assert_eq!(slow.spent().await, [("turn", 1, 110), ("title", 1, 110)]);
    let folded = slow.folded().await;
    assert_eq!(folded.world.title.text(), Some("Mine"));
    let events = shown(&slow.world, "s").await;
    let titles: Vec<&str> = events.iter().filter_map(|(_, event)| event["title"].as_str()).collect();
    assert_eq!(titles, ["Mine"]);
    assert!(events.iter().any(|(_, event)| event["code"] == "title_unused"));
    // After it.
    let quick = scene(Say::Text("By the model"));
    quick.turn("go").await;
    quick.titled().await;
    assert_eq!(quick.title().await.as_deref(), Some("By the model"));
    quick.world.runtime.set_title(&id(), "Mine", "person").await.unwrap();
    assert_eq!(quick.title().await.as_deref(), Some("Mine"));
}

#[tokio::test]
async fn what_is_no_title_is_paid_and_changes_nothing() {
    let long = "I would be glad to help you with this, but first tell me which tests you mean";
    let called = || Say::Calls(vec![("shell", serde_json::json!({}))]);
    for (say, why) in [
        (Say::Text(long), "in place of a title"),
        (Say::Text("\"\""), "no title"),
        (Say::Reply(reply(vec![], ModelStop::Refused)), "refused"),
        (Say::Reply(reply(vec![Part::Text("A".into())], ModelStop::MaxOutput)), "output limit"),
        (called(), "called a tool"),
    ] {
        let scene = scene(say);
        scene.turn("go").await;
        let made = scene.titled().await;
        assert!(made.failed.as_ref().is_some_and(|failed| failed.contains(why)), "{made:?}");
        assert_eq!(scene.title().await.as_deref(), Some("go"));
        assert_eq!(scene.spent().await, [("turn", 1, 110), ("title", 1, 110)]);
    }
    // One that says nothing for half a minute was paid, as far as anybody knows.
    let scene = scene(Say::Hang(""));
    scene.world.env.ends.store(30_000, Ordering::SeqCst);
    scene.turn("go").await;
    let made = scene.titled().await;
    assert!(made.billed.estimated && made.failed.unwrap().contains("30 s"));
    assert_eq!(scene.title().await.as_deref(), Some("go"));
}

/// Its time is over when it is written down that a model is about to be asked: nobody is, and nothing is paid.
#[tokio::test]
async fn nobody_is_asked_for_a_title_when_its_time_is_over() {
    let env = TestEnv::new("one");
    let now = env.now.clone();
    let asking = |draft: &Draft| match &draft.body {
        Body::TitleSet { made, .. } => made.as_ref().is_some_and(|made| made.asking),
        _ => false,
    };
    let log = HookLog::new(move |append| {
        if append.records.iter().any(asking) {
            now.fetch_add(30_000, Ordering::SeqCst);
        }
        Act::Pass
    });
    let scene = over(log.clone(), log.inner.clone(), env, vec![Say::Text("a title")]);
    scene.turn_with("go", |config| config.limits.tree_max_tokens = Some(1_000_000)).await;
    scene.ended().await;
    settled(&log.inner, 110).await;
    assert_eq!((scene.titles.asked(), scene.spent().await), (0, vec![("turn", 1, 110)]));
    scene.replays().await;
}

#[tokio::test]
async fn nobody_is_asked_where_no_title_is_due() {
    type Change = fn(&mut sterna_runtime::TurnConfig);
    let cases: [(&str, Change); 4] = [
        ("not configured", |config| config.title_route = None),
        // The first turn used up 110.
        ("session cap", |config| config.limits.session_max_tokens = Some(120)),
        ("tree cap", |config| config.limits.tree_max_tokens = Some(120)),
        ("stopped turn", |config| config.limits.max_steps = 0),
    ];
    for (what, change) in cases {
        let scene = scene(Say::Text("a title"));
        scene.turn_with("go", change).await;
        // Somebody who is asked is asked by the time that another turn is over.
        scene.turn_with("more", |config| config.title_route = None).await;
        assert_eq!(scene.titles.asked(), 0, "{what}");
        assert!(!scene.world.bodies("s").await.contains(&"title_set".to_owned()), "{what}");
    }
    // A provider that fails has billed nothing, and nothing counts.
    let scene = scene(Say::Fail(ErrorClass::Server));
    scene.turn("go").await;
    scene.titles.arrived.notified().await;
    scene.ended().await;
    scene.turn("more").await;
    assert_eq!(scene.spent().await, [("turn", 2, 220)]);
    // Named before its first turn was over.
    let named = self::scene(Say::Text("a title"));
    let mut submit = named.world.submit("s", "go");
    submit.drive = false;
    submit.config.title_route = Some("test/small".parse().unwrap());
    let config = submit.config.clone();
    let accepted = named.world.runtime.submit(submit).await.unwrap();
    named.world.runtime.set_title(&id(), "Mine", "person").await.unwrap();
    named.world.runtime.resume(&id(), config);
    named.world.result(&accepted).await;
    named.turn("more").await;
    assert_eq!((named.titles.asked(), named.title().await.as_deref()), (0, Some("Mine")));
}

#[tokio::test]
async fn what_is_reserved_for_it_in_a_tree_is_given_back() {
    let scene = scene(Say::Text("a title"));
    scene.turn_with("go", |config| config.limits.tree_max_tokens = Some(1_000_000)).await;
    scene.titled().await;
    settled(&scene.world.log, 220).await;
}

/// The log takes no title: what was reserved is free all the same, and what was paid counts.
#[tokio::test]
async fn what_is_reserved_is_given_back_when_the_title_cannot_be_written() {
    let titles = |draft: &Draft| match &draft.body {
        Body::TitleSet { made, .. } => made.as_ref().is_some_and(|made| !made.asking),
        _ => false,
    };
    let log = HookLog::new(move |append| match append.records.iter().any(titles) {
        true => Act::Fail(LogError::Io("the disk is full".into())),
        false => Act::Pass,
    });
    let scene = over(log.clone(), log.inner.clone(), TestEnv::new("one"), vec![Say::Text("a title")]);
    scene.turn_with("go", |config| config.limits.tree_max_tokens = Some(1_000_000)).await;
    scene.titles.arrived.notified().await;
    settled(&log.inner, 220).await;
    assert_eq!(scene.said_of_titles("s").await, [true]);
}

/// Another process took this one for dead while it waited, and wrote down what the call may have cost: that counts, once.
#[tokio::test]
async fn what_another_process_has_paid_for_a_title_is_not_paid_again() {
    let usage = Usage { input_uncached: 40, output: 10, ..Usage::default() };
    let made = TitleMade {
        instead_of: None,
        asking: false,
        route: "test/small".parse().unwrap(),
        billed: Billed { usage, cost: Some(7), estimated: true, ..Billed::default() },
        failed: Some("stopped".into()),
    };
    let mut other =
        Some(Body::TitleSet { title: String::new(), by: "model".into(), made: Some(Box::new(made)) });
    let log = HookLog::new(move |append| match other.take_if(|_| append.id == "title:model") {
        Some(body) => Act::First(Append {
            session: append.session.clone(),
            expect: Expect::Any,
            id: append.id.clone(),
            records: vec![Draft { at: 1_795_260_000_000, turn: None, step: None, body }],
            blobs: Vec::new(),
        }),
        None => Act::Pass,
    });
    let scene = over(log.clone(), log.inner.clone(), TestEnv::new("one"), vec![Say::Text("a title")]);
    scene.turn_with("go", |config| config.limits.tree_max_tokens = Some(1_000_000)).await;
    scene.ended().await;
    // The turn's, and what the other one wrote.
    settled(&log.inner, 110 + 50).await;
    assert_eq!(scene.title().await.as_deref(), Some("go"));
}

/// Whoever waited for the title is dead: when no title takes so long any more, what it held is there for others.
#[tokio::test]
async fn what_a_dead_process_held_for_a_title_is_free_after_its_time() {
    // The first turn uses 110 and the title holds 50.
    let cap = |config: &mut sterna_runtime::TurnConfig| config.limits.tree_max_tokens = Some(160);
    let held = async |log: &MemoryLog| tree(log).await.held().any(|(key, _)| key.turn == BESIDE_TURNS);
    for (later, stop) in [(BESIDE_MS - 1, Some(StopReason::BudgetTokens)), (BESIDE_MS, None)] {
        let first = scene(Say::Hang("never"));
        first.turn_with("go", cap).await;
        first.titles.arrived.notified().await;
        first.world.runtime.rest(&id()).await;
        let (log, env) = (first.world.log.clone(), TestEnv { name: "two".into(), ..first.world.env.clone() });
        assert!(held(&log).await);
        env.now.fetch_add(later, Ordering::SeqCst);
        let second = over(log.clone(), log.clone(), env, vec![]);
        assert_eq!(second.turn_with("more", cap).await.stop, stop, "{later}");
        assert_eq!((held(&log).await, second.titles.asked()), (stop.is_some(), 0));
    }
}

/// What a call may have cost that a crash took is in the ledger with a later turn, once, and no title comes of it.
#[tokio::test]
async fn what_a_title_cost_that_a_crash_took_is_paid_by_a_later_life() {
    let first = scene(Say::Hang("never"));
    first.turn("go").await;
    first.titles.arrived.notified().await;
    first.world.runtime.rest(&id()).await;
    assert_eq!(first.said_of_titles("s").await, [true]);
    // It may still come.
    assert_eq!(first.spent().await, [("turn", 1, 110)]);
    let (log, env) = (first.world.log.clone(), TestEnv { name: "two".into(), ..first.world.env.clone() });
    let second = over(log.clone(), log, env.clone(), vec![]);
    second.turn("soon").await;
    assert_eq!(second.said_of_titles("s").await, [true]);
    env.now.fetch_add(BESIDE_MS, Ordering::SeqCst);
    second.turn("later").await;
    second.ended().await;
    second.turn("and later").await;
    assert_eq!((second.said_of_titles("s").await, second.titles.asked()), (vec![true, false], 0));
    let spent = second.spent().await;
    assert_eq!((spent.len(), spent[0], spent[1].0, spent[1].1), (2, ("turn", 4, 440), "title", 1));
    // At most what it was asked for, and what it could have written.
    assert!(spent[1].2 > 0 && spent[1].2 < 1_000, "{spent:?}");
    assert!(second.folded().await.ledger.by_source()[&sterna_log::fold::Source::Title].estimated);
    assert_eq!(second.title().await.as_deref(), Some("go"));
    second.replays().await;
    // The process was not dead after all: what it has to say comes too late, and counts nowhere.
    first.titles.go.notify_one();
    first.turn("last").await;
    assert_eq!(first.said_of_titles("s").await, [true, false]);
}

/// Of two processes one asks.
#[tokio::test]
async fn a_model_is_asked_once_whoever_asks() {
    let scene = scene(Say::Text("a title"));
    let made = TitleMade {
        instead_of: None,
        asking: true,
        route: "test/small".parse().unwrap(),
        billed: Billed::default(),
        failed: None,
    };
    let body = Body::TitleSet { title: String::new(), by: "model".into(), made: Some(Box::new(made)) };
    let mut submit = scene.world.submit("s", "go");
    (submit.drive, submit.config.title_route) = (false, Some("test/small".parse().unwrap()));
    let config = submit.config.clone();
    let accepted = scene.world.runtime.submit(submit).await.unwrap();
    let append = Append {
        session: id(),
        expect: Expect::Any,
        id: "title:asking".into(),
        records: vec![Draft { at: 1_795_260_000_000, turn: None, step: None, body }],
        blobs: Vec::new(),
    };
    scene.world.log.append(append).await.unwrap();
    scene.world.runtime.resume(&id(), config);
    scene.world.result(&accepted).await;
    scene.turn_with("more", |config| config.title_route = None).await;
    assert_eq!((scene.titles.asked(), scene.said_of_titles("s").await), (0, vec![true]));
}

/// A fork is named after its own first turn, by what was said in that.
#[tokio::test]
async fn a_model_names_a_fork_by_its_own_words() {
    let log = Arc::new(MemoryLog::new());
    let titles = vec![Say::Text("The parser"), Say::Text("The docs")];
    let scene = over(log.clone(), log, TestEnv::new("one"), titles);
    scene.turn("fix the parser").await;
    scene.titled().await;
    let fork = SessionId::new("f").unwrap();
    scene.world.runtime.fork(&id(), None, Some(fork.clone())).await.unwrap();
    let turn = |text| {
        let mut submit = scene.world.submit("f", text);
        submit.config.title_route = Some("test/small".parse().unwrap());
        scene.world.run(submit)
    };
    turn("write the docs").await;
    assert_eq!(scene.titled_in(&fork).await.instead_of.as_deref(), Some("write the docs"));
    assert_eq!((scene.title_of(&fork).await.as_deref(), scene.titles.asked()), (Some("The docs"), 2));
    assert_eq!(scene.titles.body(1)["messages"][1]["content"], "write the docs");
    // Once, as any session.
    turn("more").await;
    assert_eq!((scene.title().await.as_deref(), scene.titles.asked()), (Some("The parser"), 2));
}

/// What was said is read in the fork's own first turn alone: its parent's log is read no further than without a title.
#[tokio::test]
async fn a_forks_title_reads_nothing_of_its_parent() {
    let mut read = Vec::new();
    for titled in [false, true] {
        let log = HookLog::new(|_| Act::Pass);
        let scene = over(log.clone(), log.inner.clone(), TestEnv::new("one"), vec![Say::Text("a title")]);
        scene.world.runtime.snapshot_every(u64::MAX);
        for _ in 0..9 {
            scene.turn_with("go", |config| config.title_route = None).await;
        }
        scene.world.runtime.rest(&id()).await;
        let fork = SessionId::new("f").unwrap();
        scene.world.runtime.fork(&id(), None, Some(fork.clone())).await.unwrap();
        log.read_since(&id());
        let mut submit = scene.world.submit("f", "write the docs");
        submit.config.title_route = titled.then(|| "test/small".parse().unwrap());
        scene.world.run(submit).await;
        if titled {
            scene.ended_in("f").await;
        }
        scene.world.runtime.rest(&fork).await;
        read.push(log.read_since(&id()));
    }
    assert_eq!(read[0], read[1]);
    assert!(read[0] > 0, "the fork has nothing of its parent");
}
