//! Memory over a log in memory: who finds what, where it is kept, and what past sessions tell.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use futures::executor::block_on;
use proptest::prelude::*;
use sterna_log::conformance::draft;
use sterna_log::{Append, Expect, MemoryLog, SharedLog, is_reserved, user_log};
use sterna_memory::{LIMIT, LogMemory, conformance};
use sterna_model::*;
use sterna_tool::{Memory, MemoryError, MemoryPlace, NewNote};

const NOW: Millis = 1_800_000_000_000;

fn at(root: &str, session: Option<&str>) -> MemoryPlace {
    let session = session.map(|name| SessionId::new(name).unwrap());
    MemoryPlace { root: root.into(), session, now: NOW }
}

fn note(scope: MemoryScope, name: &str, text: &str) -> NewNote {
    NewNote {
        scope,
        name: name.into(),
        text: text.into(),
        tags: vec![],
        aliases: vec![],
        source: MemorySource { by: "test".into(), session: None, call: None },
        tainted: vec![],
    }
}

fn append(log: &SharedLog, session: &str, expect: Expect, once: &str, bodies: Vec<Body>) {
    let (session, id) = (SessionId::new(session).unwrap(), once.to_owned());
    let records = bodies.into_iter().map(|body| draft(NOW, body)).collect();
    block_on(log.append(Append { session, expect, id, records, blobs: vec![] })).unwrap();
}

fn opened(session: &str, root: &str) -> Body {
    Body::SessionOpened(SessionOpened {
        id: SessionId::new(session).unwrap(),
        parent: None,
        root: root.into(),
        cwd: format!("{root}/src"),
        route: "a/m".parse().unwrap(),
        mode: Mode::default(),
        sterna: "0".into(),
        spawned: None,
    })
}

fn open(log: &SharedLog, session: &str, root: &str) {
    append(log, session, Expect::New(None), "open", vec![opened(session, root)]);
}

fn said(text: &str) -> Body {
    let (key, delivery, parts) = (None, Delivery::NextTurn, vec![InputPart::Text(text.into())]);
    let (origin, given, ended, compact) = ("cli".into(), None, None, None);
    let tainted = Vec::new();
    Body::InputAccepted(InputAccepted { key, delivery, parts, origin, given, ended, compact, tainted })
}

fn outcome(session: &str, ordinal: u32, result: EffectResult) -> Body {
    let kind = if matches!(result, EffectResult::Tool(_)) { "tool" } else { "model" };
    let key = format!("{session}/1/1/{kind}/{ordinal}").parse().unwrap();
    Body::Outcome(Box::new(Outcome { key, attempt: 1, result }))
}

fn answered(session: &str, parts: Vec<Part>) -> Body {
    let outcome_of = ModelOutcome {
        parts,
        stop: ModelStop::EndTurn,
        classes: vec![],
        billed: Billed::default(),
        partial: false,
        duration_ms: 1,
        checked: None,
    };
    outcome(session, 0, EffectResult::Model(outcome_of))
}

fn resulted(session: &str, view: &str) -> Body {
    let result = ToolOutcome {
        attachments: Vec::new(),
        status: ToolStatus::Ok,
        view: view.into(),
        full: None,
        facts: vec![],
        started_at: 1,
        duration_ms: 1,
        untrusted: None,
    };
    outcome(session, 0, EffectResult::Tool(result))
}

fn new_log() -> SharedLog {
    Arc::new(MemoryLog::new())
}

#[test]
fn it_does_what_every_memory_must() {
    block_on(conformance::all(async || {
        let log = new_log();
        let (session, id) = (SessionId::new("s").unwrap(), "open".to_owned());
        let records = vec![draft(NOW, opened("s", "/one"))];
        let opening = Append { session, expect: Expect::New(None), id, records, blobs: vec![] };
        log.append(opening).await.unwrap();
        LogMemory::new(log)
    }));
}

#[test]
fn of_many_users_none_finds_anothers() {
    let log = new_log();
    let of = |user: &str| LogMemory::new(log.clone()).of_user(user);
    let place = at("/one", None);
    for scope in [MemoryScope::User, MemoryScope::Project] {
        let new = note(scope, &format!("of {scope}"), "needle");
        block_on(of("ann").remember(&place, "k", new)).unwrap();
    }
    let finds = |memory: &LogMemory| block_on(memory.search(&place, "needle", 20)).unwrap().len();
    assert_eq!((finds(&of("ann")), finds(&of("bob")), finds(&LogMemory::new(log.clone()))), (2, 0, 0));
    assert!(block_on(of("bob").list(&place)).unwrap().is_empty());
}

#[test]
fn the_log_is_the_truth() {
    let log = new_log();
    let memory = LogMemory::new(log.clone());
    let place = at("/one", None);
    assert!(block_on(memory.list(&place)).unwrap().is_empty());
    // Nothing is made by looking.
    assert!(block_on(log.head(&user_log())).is_err());
    block_on(memory.remember(&place, "a", note(MemoryScope::User, "a", "first"))).unwrap();
    // Another process writes too.
    let other = LogMemory::new(log.clone());
    block_on(other.remember(&place, "b", note(MemoryScope::User, "b", "second"))).unwrap();
    block_on(other.forget(&place, "c", "a", None, "cli")).unwrap();
    let names = |memory: &LogMemory| {
        let all = block_on(memory.list(&place)).unwrap();
        all.into_iter().map(|held| held.note.name).collect::<Vec<_>>()
    };
    assert_eq!((names(&memory), names(&other)), (vec!["b".into()], vec!["b".to_owned()]));
    let bodies: Vec<Body> =
        block_on(log.read(&user_log(), 1, 9)).unwrap().into_iter().map(|sealed| sealed.record.body).collect();
    assert!(matches!(&bodies[0], Body::SessionOpened(opened) if is_reserved(&opened.id)));
    assert!(bodies[1..].iter().all(|body| matches!(body, Body::Memory(_))) && bodies.len() == 4);
    // No list of sessions shows it, and no search of sessions finds it.
    let page = sterna_log::Page { after: None, limit: 9 };
    assert!(block_on(log.list(&sterna_log::Filter::default(), page)).unwrap().is_empty());
    assert!(block_on(log.search("second", 9)).unwrap().is_empty());
}

#[test]
fn a_scope_has_room_for_so_many() {
    let log = new_log();
    let memory = LogMemory::new(log);
    let place = at("/one", None);
    for n in 0..LIMIT {
        let new = note(MemoryScope::Project, &format!("note {n}"), "x");
        block_on(memory.remember(&place, &format!("k{n}"), new)).unwrap();
    }
    let more = |name: &str, scope| block_on(memory.remember(&place, name, note(scope, name, "y")));
    let full = more("one more", MemoryScope::Project).unwrap_err();
    assert_eq!(
        full.to_string(),
        "not remembered: project has 1000 notes, which is all it may have; forget some, or let one note say what \
         several do"
    );
    assert!(more("note 7", MemoryScope::Project).unwrap().replaced);
    more("one more", MemoryScope::User).unwrap();
}

#[test]
fn a_misspelt_word_is_found_and_a_stranger_is_not() {
    let memory = LogMemory::new(new_log());
    let place = at("/one", None);
    for (name, text) in [
        ("Cluster", "The kubernetes cluster is staging-7."),
        ("Deploys", "Deploys happen on fridays after lunch."),
        ("Database", "The database listens on port 5432."),
    ] {
        block_on(memory.remember(&place, name, note(MemoryScope::Project, name, text))).unwrap();
    }
    for (query, expected) in [
        ("which port does the database listen on?", "Database"),
        ("kuberntes clusters", "Cluster"),
        ("when do we deploy?", "Deploys"),
    ] {
        let found = block_on(memory.search(&place, query, 1)).unwrap();
        assert_eq!(found.first().map(|held| held.note.name.as_str()), Some(expected), "{query}");
    }
    assert!(block_on(memory.remind(&place, "please write a haiku about snow")).unwrap().is_empty());
}

#[test]
fn a_broken_embedder_leaves_the_local_one() {
    struct Broken;
    impl sterna_llm::embed::Embedder for Broken {
        fn name(&self) -> String {
            "broken".into()
        }
        fn dimensions(&self) -> Option<usize> {
            None
        }
        fn embed<'a>(
            &'a self,
            _: &'a [String],
        ) -> futures::future::BoxFuture<'a, Result<sterna_llm::embed::Embedded, ProviderFailure>> {
            let failure = ProviderFailure {
                class: ErrorClass::Network,
                status: None,
                message: "no".into(),
                retry_after_ms: None,
                billed: Billed::default(),
            };
            Box::pin(std::future::ready(Err(failure)))
        }
    }
    let memory = LogMemory::new(new_log()).embedder(Arc::new(Broken));
    let place = at("/one", None);
    block_on(memory.remember(&place, "k", note(MemoryScope::User, "Cluster", "kubernetes"))).unwrap();
    assert_eq!(block_on(memory.search(&place, "kuberntes", 5)).unwrap().len(), 1);
}

#[test]
fn past_sessions_tell_what_was_said_and_nothing_else() {
    let log = new_log();
    open(&log, "old", "/one");
    open(&log, "now", "/one");
    open(&log, "elsewhere", "/two");
    let call = ToolCall {
        id: "c".into(),
        name: "shell".into(),
        arguments: "{\"command\":\"echo zebra\"}".into(),
        truncated: false,
    };
    let say = |session: &str, once: &str, bodies| append(&log, session, Expect::Any, once, bodies);
    say(
        "old",
        "a",
        vec![
            said("one"),
            answered("old", vec![Part::Text("two".into())]),
            said("the giraffe question"),
            answered("old", vec![Part::Text("I look".into()), Part::ToolCall(call)]),
            resulted("old", "zebra in the output"),
            answered("old", vec![Part::Text("a giraffe is tall".into())]),
            said("five"),
            said(&format!("{} quokka {}", "x ".repeat(900), "y ".repeat(900))),
        ],
    );
    say("old", "t", vec![Body::TitleSet { title: "Animals of Africa".into(), by: "p".into(), made: None }]);
    say("now", "b", vec![said("giraffe here and now")]);
    say("elsewhere", "c", vec![said("giraffe in another project")]);
    let memory = LogMemory::new(log.clone());
    let past = |query: &str| block_on(memory.past(&at("/one", Some("now")), query, 20)).unwrap();
    // Neither arguments nor results of tools, nor the words between calls.
    assert!(past("zebra").is_empty() && past("look").is_empty());
    assert!(past("").is_empty() && past("the of").is_empty());
    let hits = past("giraffe tall");
    // First the text that has both words, then those with one of them.
    let seqs: Vec<(String, Seq)> = hits
        .iter()
        .map(|hit| {
            let found = hit.entries.iter().find(|entry| entry.matched).unwrap();
            (hit.session.to_string(), found.seq)
        })
        .collect();
    assert_eq!(seqs, [("old".into(), 7), ("old".into(), 4)]);
    let told: Vec<(&str, &str)> = hits[0]
        .entries
        .iter()
        .map(|entry| (entry.role.as_str(), &entry.text[..entry.text.len().min(20)]))
        .collect();
    assert_eq!(
        told,
        [
            ("assistant", "two"),
            ("user", "the giraffe question"),
            ("assistant", "a giraffe is tall"),
            ("user", "five"),
            ("user", "x x x x x x x x x x ")
        ]
    );
    assert_eq!(hits[0].title.as_deref(), Some("Animals of Africa"));
    let titled = past("africa animals");
    assert_eq!((titled.len(), titled[0].entries[0].role.as_str()), (1, "title"));
    let long = past("quokka");
    let entry = long[0].entries.iter().find(|entry| entry.matched).unwrap();
    assert!(entry.text.contains("quokka") && entry.text.len() <= 1024);
}

#[test]
fn a_search_ends_after_twenty_places_and_other_projects_do_not_count() {
    let log = new_log();
    open(&log, "here", "/one");
    open(&log, "there", "/two");
    for n in 0..25 {
        append(&log, "here", Expect::Any, &format!("h{n}"), vec![said("needle")]);
    }
    // Newer, and more of them than are asked for at first.
    for n in 0..300 {
        append(&log, "there", Expect::Any, &format!("t{n}"), vec![said("needle")]);
    }
    let memory = LogMemory::new(log);
    let past = |root: &str| block_on(memory.past(&at(root, None), "needle", 99)).unwrap();
    let hits = past("/one");
    assert_eq!(hits.len(), 20);
    assert!(hits.iter().all(|hit| hit.session.as_str() == "here" && hit.entries.len() <= 5));
    assert!(past("/three").is_empty());
}

#[derive(Debug, Clone)]
enum Op {
    Remember { place: usize, scope: usize, name: u8 },
    Forget { place: usize, scope: usize, name: u8 },
}

fn op() -> impl Strategy<Value = Op> {
    let parts = || (0..PLACES.len(), 0..3usize, 0..4u8);
    prop_oneof![
        3 => parts().prop_map(|(place, scope, name)| Op::Remember { place, scope, name }),
        1 => parts().prop_map(|(place, scope, name)| Op::Forget { place, scope, name }),
    ]
}

/// User, root and session.
const PLACES: [(&str, &str, &str); 6] = [
    ("ann", "/one", "s1"),
    ("ann", "/one", "s2"),
    ("ann", "/two", "s3"),
    ("bob", "/one", "s4"),
    ("bob", "/two", "s5"),
    ("bob", "/one/", "s6"),
];

/// What a note belongs to, as its text says.
fn owner(place: usize, scope: MemoryScope) -> String {
    let (user, root, session) = PLACES[place];
    match scope {
        MemoryScope::User => format!("user {user}"),
        MemoryScope::Project => format!("project {user} {root}"),
        MemoryScope::Session => format!("session {session}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    /// Whatever is kept and forgotten, each place finds what belongs to it and nothing else.
    #[test]
    fn nothing_crosses_a_scope(ops in proptest::collection::vec(op(), 1..40)) {
        let log = new_log();
        for (_, root, session) in PLACES {
            open(&log, session, root);
        }
        let memory = |place: usize| LogMemory::new(log.clone()).of_user(PLACES[place].0);
        let place_of = |place: usize| at(PLACES[place].1, Some(PLACES[place].2));
        let mut model = std::collections::BTreeSet::new();
        for (n, op) in ops.into_iter().enumerate() {
            match op {
                Op::Remember { place, scope, name } => {
                    let scope = MemoryScope::ALL[scope];
                    let new = note(scope, &format!("name{name}"), &format!("needle {}", owner(place, scope)));
                    block_on(memory(place).remember(&place_of(place), &format!("k{n}"), new)).unwrap();
                    model.insert((owner(place, scope), name));
                }
                Op::Forget { place, scope, name } => {
                    let scope = MemoryScope::ALL[scope];
                    let (at, once, name_of) = (place_of(place), format!("k{n}"), format!("name{name}"));
                    let told = block_on(memory(place).forget(&at, &once, &name_of, Some(scope), "t"));
                    let was = model.remove(&(owner(place, scope), name));
                    prop_assert_eq!(was, told.is_ok());
                    prop_assert!(was || matches!(told, Err(MemoryError::Unknown(_))));
                }
            }
        }
        for place in 0..PLACES.len() {
            let owners: Vec<String> = MemoryScope::ALL.into_iter().map(|scope| owner(place, scope)).collect();
            let expected: std::collections::BTreeSet<String> = model
                .iter()
                .filter(|(owner, _)| owners.contains(owner))
                .map(|(owner, name)| format!("name{name}: needle {owner}"))
                .collect();
            let told = |note: MemoryNote| format!("{}: {}", note.name, note.text);
            let found = block_on(memory(place).search(&place_of(place), "needle", 20)).unwrap();
            prop_assert_eq!(&expected, &found.into_iter().map(|held| told(held.note)).collect());
            let listed = block_on(memory(place).list(&place_of(place))).unwrap();
            prop_assert_eq!(&expected, &listed.into_iter().map(|held| told(held.note)).collect());
            for reminded in block_on(memory(place).remind(&place_of(place), "needle")).unwrap() {
                let told = format!("{}: {}", reminded.name, reminded.text);
                prop_assert!(expected.contains(&told), "{}", told);
            }
        }
    }
}
