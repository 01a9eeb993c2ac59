//! Lists, search and snapshots.

use sterna_model::{
    Billed, Body, EffectResult, ModelOutcome, ModelStop, Outcome, Part, Usage, WaitOn, WaitOpened,
};

use super::append::{committed, note};
use super::*;
use crate::{Filter, Page, Pending, SessionRow, Status};

pub async fn lists_are_newest_first_and_paged(store: Store) {
    let log = &*store.log;
    for n in 0..7 {
        open(log, &format!("s{n}")).await;
    }
    // Being written to does not make a session newer.
    log.append(append("s2", Expect::Any, "x", vec![note("x")])).await.expect("appended");
    let mut after = None;
    let mut pages = Vec::new();
    loop {
        let page =
            log.list(&Filter::default(), Page { after: after.clone(), limit: 3 }).await.expect("listed");
        if page.is_empty() {
            break;
        }
        pages.push(page.iter().map(|row| row.id.to_string()).collect::<Vec<_>>());
        after = page.last().map(|row| row.id.clone());
        if pages.len() == 1 {
            open(log, "late").await;
        }
    }
    assert_eq!(pages, [vec!["s6", "s5", "s4"], vec!["s3", "s2", "s1"], vec!["s0"]]);
    // A log that is no session's is in no list.
    open(log, crate::user_log().as_str()).await;
    let page = log.list(&Filter::default(), Page { after: None, limit: 1 }).await.expect("listed");
    assert_eq!(page[0].id, id("late"));
    // A page goes on after a row that was deleted meanwhile.
    log.delete(&id("s4")).await.expect("deleted");
    let page = log.list(&Filter::default(), Page { after: Some(id("s4")), limit: 1 }).await.expect("listed");
    assert_eq!(page[0].id, id("s3"));
    refused!(
        log.list(&Filter::default(), Page { after: Some(id("none")), limit: 1 }).await,
        LogError::NotFound(_)
    );
    assert!(log.list(&Filter::default(), Page { after: None, limit: 0 }).await.expect("listed").is_empty());
}

pub async fn lists_are_filtered(store: Store) {
    let log = &*store.log;
    for (name, cwd) in [("a", "/one"), ("b", "/two"), ("c", "/one")] {
        log.append(append(name, Expect::New(None), "open", vec![opened_in(name, cwd, None)]))
            .await
            .expect("opened");
    }
    let parent = log.read(&id("a"), 1, 1).await.expect("read")[0].hash;
    let parent = sterna_model::Parent { session: id("a"), seq: 1, hash: parent };
    let fork = vec![opened_in("d", "/two", Some(parent))];
    log.append(append("d", Expect::New(None), "open", fork)).await.expect("forked");
    log.append(append("c", Expect::Any, "i", vec![input("go", None)])).await.expect("appended");
    let cases = [
        (Filter::default(), vec!["d", "c", "b", "a"]),
        (Filter { cwd: Some("/one".into()), ..Filter::default() }, vec!["c", "a"]),
        (Filter { cwd: Some("/on".into()), ..Filter::default() }, vec![]),
        (Filter { status: Some(Status::Running), ..Filter::default() }, vec!["c"]),
        (Filter { status: Some(Status::Idle), ..Filter::default() }, vec!["d", "b", "a"]),
        (Filter { parent: Some(id("a")), ..Filter::default() }, vec!["d"]),
        (Filter { parent: Some(id("none")), ..Filter::default() }, vec![]),
        (Filter { cwd: Some("/two".into()), status: Some(Status::Idle), parent: Some(id("a")) }, vec!["d"]),
    ];
    for (filter, expected) in cases {
        let rows = log.list(&filter, Page { after: None, limit: 10 }).await.expect("listed");
        let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
        assert_eq!(ids, expected, "{filter:?}");
    }
}

pub async fn rows_follow_the_records(store: Store) {
    let log = &*store.log;
    open(log, "s").await;
    let mut row = SessionRow {
        id: id("s"),
        status: Status::Idle,
        pending: Pending::default(),
        title: None,
        cwd: "/work".into(),
        route: route("local"),
        parent: None,
        created_at: 1_000,
        updated_at: 1_000,
        head: 1,
        turns: 0,
        steps: 0,
        tokens: 0,
        cost: Some(0),
    };
    check_row(log, &row).await;

    add(log, "i1", vec![input("\n  fix   the\ttests \nplease", None)]).await;
    row = SessionRow {
        status: Status::Running,
        pending: Pending { inputs: 1, ..Pending::default() },
        title: Some("fix the tests".into()),
        updated_at: 2_000,
        head: 2,
        ..row
    };
    check_row(log, &row).await;

    add(log, "i2", vec![input("another", None), answer(2_500, 10, Some(7)), answer(2_400, 5, Some(3))]).await;
    row.pending.inputs = 2;
    row = SessionRow { updated_at: 2_500, head: 5, steps: 2, tokens: 15, cost: Some(10), ..row };
    check_row(log, &row).await;

    add(log, "w", vec![draft(2_600, waits())]).await;
    row.pending.asks = 1;
    row = SessionRow { status: Status::Parked, updated_at: 2_600, head: 6, ..row };
    check_row(log, &row).await;

    add(
        log,
        "t",
        vec![
            draft(2_700, Body::TitleSet { title: "Mine".into(), by: "user".into(), made: None }),
            committed(2_800),
        ],
    )
    .await;
    // The turn is over, and its questions with it; the inputs still wait.
    row.pending.asks = 0;
    row =
        SessionRow { status: Status::Running, title: Some("Mine".into()), updated_at: 2_800, head: 8, ..row };
    check_row(log, &row).await;

    // A model's title takes the place of the one that it was made for, and of no other.
    let made = |title: &str, instead_of: &str| Body::TitleSet {
        title: title.into(),
        by: "model".into(),
        made: Some(Box::new(sterna_model::TitleMade {
            instead_of: Some(instead_of.into()),
            asking: false,
            route: route("local"),
            billed: sterna_model::Billed::default(),
            failed: None,
        })),
    };
    add(log, "m1", vec![draft(2_850, made("Late", "fix the tests"))]).await;
    row = SessionRow { updated_at: 2_850, head: 9, ..row };
    check_row(log, &row).await;
    add(log, "m2", vec![draft(2_860, made("Better", "Mine"))]).await;
    row = SessionRow { title: Some("Better".into()), updated_at: 2_860, head: 10, ..row };
    check_row(log, &row).await;

    let moved = Body::RouteChanged { route: route("anthropic/x"), cause: "user".into(), turn: None };
    add(log, "r", vec![draft(2_900, moved), answer(2_900, 1, None)]).await;
    row = SessionRow {
        route: route("anthropic/x"),
        updated_at: 2_900,
        head: 12,
        steps: 3,
        tokens: 16,
        cost: None,
        ..row
    };
    check_row(log, &row).await;

    // Once unknown, it stays unknown; and a hostile count neither fails nor wraps.
    add(log, "u", vec![answer(3_000, u64::MAX, Some(1)), answer(3_000, u64::MAX, Some(1))]).await;
    let found = only_row(log).await;
    assert!(found.cost.is_none() && found.tokens > 1 << 62, "{found:?}");

    add(log, "c", vec![draft(3_100, Body::SessionClosed { by: "user".into() })]).await;
    assert_eq!(only_row(log).await.status, Status::Closed);
}

pub async fn what_is_open_decides_the_status(store: Store) {
    let log = &*store.log;
    open(log, "s").await;
    let resolved = |wait: &str| Body::WaitResolved {
        wait: wait.into(),
        ruling: sterna_model::Ruling::Answers(vec!["that".into()]),
        by: "user".into(),
        early: false,
    };
    let withdrawn = Body::InputWithdrawn { inputs: vec![12], by: "user".into() };
    let steps = [
        ("input 1", vec![input("one", None)], Status::Running),
        ("turn 1 starts", vec![started(2)], Status::Running),
        ("input 2 comes", vec![input("two", None)], Status::Running),
        // A crash here leaves an input that nobody has taken.
        ("turn 1 ends", vec![committed(2_100)], Status::Running),
        ("turn 2 starts", vec![started(4)], Status::Running),
        ("it asks twice", vec![draft(2_200, wait("w1")), draft(2_200, wait("w2"))], Status::Parked),
        ("one is answered", vec![draft(2_300, resolved("w1"))], Status::Parked),
        ("both are answered", vec![draft(2_400, resolved("w2"))], Status::Running),
        ("it asks again", vec![draft(2_500, wait("w3"))], Status::Parked),
        // A turn that ends takes its questions with it.
        ("turn 2 ends", vec![committed(2_600)], Status::Idle),
        ("input 3 comes", vec![input("three", None)], Status::Running),
        ("input 3 is withdrawn", vec![draft(2_700, withdrawn)], Status::Idle),
        ("an input, steered into a turn", vec![input("four", None), steered(15)], Status::Idle),
        ("it is closed", vec![draft(2_800, Body::SessionClosed { by: "user".into() })], Status::Closed),
        ("an input opens it again", vec![input("five", None)], Status::Running),
    ];
    for (what, records, status) in steps {
        add(log, what, records).await;
        let row = only_row(log).await;
        assert_eq!(row.status, status, "{what}: {:?}", row.pending);
        for wanted in [Status::Idle, Status::Running, Status::Parked, Status::Closed] {
            let filter = Filter { status: Some(wanted), ..Filter::default() };
            let rows = log.list(&filter, Page { after: None, limit: 10 }).await.expect("listed");
            assert_eq!(rows.len(), usize::from(wanted == status), "{what}: listed as {wanted:?}");
        }
    }
}

pub async fn search_finds_words(store: Store) {
    let log = &*store.log;
    open(log, "s").await;
    open(log, "t").await;
    add(log, "1", vec![input("The quick brown fox", None)]).await;
    add(log, "2", vec![answer(2_500, 1, None)]).await;
    log.append(append("t", Expect::Any, "3", vec![input("a QUICK note about Füchse", None)]))
        .await
        .expect("appended");
    let cases = [
        ("quick", vec!["s:2:user", "t:2:user"]),
        ("FOX quick", vec!["s:2:user"]),
        ("fox note", vec![]),
        ("qui", vec![]),
        ("füchse", vec!["t:2:user"]),
        ("done", vec!["s:3:assistant"]),
        ("", vec![]),
        (" .,! ", vec![]),
    ];
    for (query, expected) in cases {
        let hits = log.search(query, 10).await.expect("searched");
        let mut told: Vec<String> =
            hits.iter().map(|hit| format!("{}:{}:{}", hit.session, hit.seq, hit.role)).collect();
        told.sort();
        assert_eq!(told, expected, "{query}");
    }
    assert_eq!(log.search("quick", 1).await.expect("searched").len(), 1);
    assert!(log.search("quick", 0).await.expect("searched").is_empty());
}

pub async fn search_syntax_is_only_words(store: Store) {
    let log = &*store.log;
    open(log, "s").await;
    add(log, "1", vec![input("alpha and beta near gamma", None)]).await;
    let cases = [
        ("\"alpha", true),
        ("alpha\"", true),
        ("alpha AND beta", true),
        ("alpha OR delta", false),
        ("NOT alpha", false),
        ("(alpha", true),
        ("alpha*", true),
        ("^beta", true),
        ("text:alpha", false),
        ("-gamma", true),
        ("alpha NEAR(beta, 2)", false),
        ("alpha'; DROP TABLE records; --", false),
        ("{alpha} + beta", true),
        ("\0alpha", true),
    ];
    for (query, found) in cases {
        let hits = log.search(query, 10).await.unwrap_or_else(|error| panic!("{query}: {error}"));
        assert_eq!(!hits.is_empty(), found, "{query}");
    }
}

pub async fn snippets_are_bounded(store: Store) {
    let log = &*store.log;
    open(log, "s").await;
    let texts = [
        format!("{}needle{}", "padding ".repeat(2_000), " padding".repeat(2_000)),
        format!("needle {}", "x".repeat(9_000)),
        format!("{} needle", "日本語の文".repeat(600)),
        "a needle".to_owned(),
    ];
    for (n, text) in texts.iter().enumerate() {
        add(log, &n.to_string(), vec![input(text, None)]).await;
    }
    let hits = log.search("Needle", 10).await.expect("searched");
    assert_eq!(hits.len(), texts.len());
    for hit in hits {
        assert!(hit.snippet.len() <= 1024, "{} bytes", hit.snippet.len());
        assert!(hit.snippet.contains("needle"), "{}", hit.snippet);
    }
}

pub async fn snapshots_are_a_cache_by_version(store: Store) {
    let (log, s) = (&*store.log, id("s"));
    open(log, "s").await;
    assert_eq!(log.snapshot_get(&s, 1).await.expect("looked up"), None);
    log.snapshot_put(&s, 1, 1, "one".into()).await.expect("kept");
    add(log, "x", vec![note("x")]).await;
    log.snapshot_put(&s, 2, 1, "two".into()).await.expect("kept");
    log.snapshot_put(&s, 1, 1, "late".into()).await.expect("kept or not");
    assert_eq!(log.snapshot_get(&s, 1).await.expect("looked up"), Some((2, "two".into())));
    assert_eq!(log.snapshot_get(&s, 2).await.expect("looked up"), None, "another version is no snapshot");
    log.snapshot_put(&s, 1, 2, "new".into()).await.expect("kept");
    assert_eq!(log.snapshot_get(&s, 2).await.expect("looked up"), Some((1, "new".into())));
    assert_eq!(log.head(&s).await.expect("head").seq, 2, "a snapshot is no record");
}

async fn add(log: &dyn Log, id: &str, records: Vec<sterna_model::Draft>) {
    log.append(append("s", Expect::Any, id, records)).await.expect("appended");
}

async fn only_row(log: &dyn Log) -> SessionRow {
    let rows = log.list(&Filter::default(), Page { after: None, limit: 10 }).await.expect("listed");
    assert_eq!(rows.len(), 1);
    rows[0].clone()
}

async fn check_row(log: &dyn Log, expected: &SessionRow) {
    assert_eq!(&only_row(log).await, expected);
}

/// A model's last word, with a bill.
fn answer(at: Millis, tokens: u64, cost: Option<u64>) -> sterna_model::Draft {
    let usage = Usage { output: tokens, ..Usage::default() };
    let result = EffectResult::Model(ModelOutcome {
        parts: vec![Part::Text("It is done.".into())],
        stop: ModelStop::EndTurn,
        classes: vec![],
        billed: Billed { usage, cost, ..Billed::default() },
        partial: false,
        duration_ms: 12,
        checked: None,
    });
    let key = "s/1/1/model/0".parse().expect("a key");
    draft(at, Body::Outcome(Box::new(Outcome { key, attempt: 1, result })))
}

/// The start of a turn that takes this input.
fn started(input: sterna_model::Seq) -> sterna_model::Draft {
    let given = sterna_model::Given::new(route("local"), "/work");
    let started = sterna_model::TurnStarted { inputs: vec![input], given, now: 2_050 };
    draft(2_050, Body::TurnStarted(Box::new(started)))
}

/// A model call that hears this input.
fn steered(input: sterna_model::Seq) -> sterna_model::Draft {
    let hash = sterna_model::Digest([7; 32]);
    let model = sterna_model::ModelIntent {
        route: route("local"),
        transition: sterna_model::Transition::Steer,
        inputs: vec![input],
        history: vec![],
        manifest: hash,
        tools_off: false,
        max_output: 100,
        encoder: "test/1".into(),
        request: hash,
        bytes: 10,
        prefix: None,
        prefix_broken: Vec::new(),
        left_out: 0,
        schema_native: false,
        files: None,
        thinking: None,
    };
    let key = "s/1/2/model/0".parse().expect("a key");
    let what = sterna_model::Intended::Model(model);
    let class = sterna_model::EffectClass::Idempotent;
    draft(2_750, Body::Intent(Box::new(sterna_model::Intent { key, class, attempt: 1, what })))
}

fn waits() -> Body {
    wait("w")
}

fn wait(name: &str) -> Body {
    let key = "s/1/1/tool/0".parse().expect("a key");
    let question = sterna_model::Question {
        question: "Which?".into(),
        header: "Choice".into(),
        options: vec![],
        multi: false,
    };
    Body::WaitOpened(Box::new(WaitOpened {
        wait: name.into(),
        key,
        on: WaitOn::Questions(vec![question]),
        deadline: None,
        answered: false,
    }))
}
