//! What every memory must do. Each check panics with what is wrong; they need no executor of a kind.

use sterna_model::{MemoryScope, MemorySource, Millis, SessionId};
use sterna_tool::{Memory, MemoryError, MemoryPlace, NewNote};

/// Runs all checks, each on a memory of its own. `make` gives an empty one whose session `s`, in the folder `/one`, can
/// be written to.
pub async fn all<M: Memory, F: AsyncFn() -> M>(make: F) {
    one_name_is_one_note(make().await).await;
    names_ids_and_aliases_find(make().await).await;
    nothing_crosses_a_scope(make().await).await;
    what_is_forgotten_is_gone(make().await).await;
    secrets_and_what_is_too_large_are_refused(make().await).await;
    what_nobody_uses_is_not_recalled(make().await).await;
    the_same_call_again_changes_nothing(make().await).await;
}

async fn one_name_is_one_note(memory: impl Memory) {
    let first = keep(&memory, &ONE, "a", note(MemoryScope::Project, "Port", "5432")).await;
    let second = keep(&memory, &ONE, "b", note(MemoryScope::Project, "port", "5433")).await;
    assert!(!first.replaced && second.replaced && first.id == second.id);
    let held = memory.list(&place(&ONE)).await.expect("listed");
    let told: Vec<(&str, &str)> =
        held.iter().map(|held| (held.note.name.as_str(), held.note.text.as_str())).collect();
    assert_eq!(told, [("port", "5433")]);
}

async fn names_ids_and_aliases_find(memory: impl Memory) {
    let aliases = vec!["tc".into(), "how to test".into()];
    let new = NewNote { aliases, ..note(MemoryScope::User, "Test command", "just check") };
    let kept = keep(&memory, &ONE, "a", new).await;
    keep(&memory, &ONE, "b", note(MemoryScope::User, "Deploys", "on fridays")).await;
    for reference in [kept.id.as_str(), "test COMMAND", "TC", "how to test"] {
        let found = memory.get(&place(&ONE), reference).await.expect("looked for");
        assert_eq!(found.map(|found| found.note.text).as_deref(), Some("just check"), "{reference}");
    }
    for query in ["tc", "what is the test command?", "just check"] {
        let found = memory.search(&place(&ONE), query, 1).await.expect("searched");
        assert_eq!(found.first().map(|found| found.note.text.as_str()), Some("just check"), "{query}");
        let reminded = memory.remind(&place(&ONE), query).await.expect("reminded");
        assert_eq!(reminded.first().map(|note| note.id.as_str()), Some(kept.id.as_str()), "{query}");
    }
    assert_eq!(memory.get(&place(&ONE), "nothing").await.expect("looked for"), None);
    // The nearest scope first.
    keep(&memory, &ONE, "c", note(MemoryScope::Session, "deploys", "not today")).await;
    let found = memory.get(&place(&ONE), "Deploys").await.expect("looked for").expect("found");
    assert_eq!(found.note.text, "not today");
}

async fn nothing_crosses_a_scope(memory: impl Memory) {
    for (n, scope) in MemoryScope::ALL.into_iter().enumerate() {
        let name = format!("needle {scope}");
        keep(&memory, &ONE, &format!("k{n}"), note(scope, &name, "haystack")).await;
    }
    let sees = async |at: &At| {
        let at = place(at);
        let mut names: Vec<String> = Vec::new();
        for found in memory.search(&at, "needle haystack", 20).await.expect("searched") {
            names.push(found.note.scope.to_string());
        }
        let mut listed: Vec<String> = Vec::new();
        for found in memory.list(&at).await.expect("listed") {
            listed.push(found.note.scope.to_string());
        }
        let mut reminded: Vec<String> = Vec::new();
        for found in memory.remind(&at, "needle haystack").await.expect("reminded") {
            reminded.push(found.scope.to_string());
        }
        [&mut names, &mut listed, &mut reminded].into_iter().for_each(|list| list.sort());
        assert_eq!((&names, &names), (&listed, &reminded));
        names
    };
    assert_eq!(sees(&ONE).await, ["project", "session", "user"]);
    assert_eq!(sees(&At { session: None, ..ONE }).await, ["project", "user"]);
    assert_eq!(sees(&At { root: "/two", ..ONE }).await, ["session", "user"]);
    assert_eq!(sees(&At { root: "/one/", session: Some("other"), ..ONE }).await, ["user"]);
}

async fn what_is_forgotten_is_gone(memory: impl Memory) {
    keep(&memory, &ONE, "a", note(MemoryScope::Project, "port", "5432")).await;
    keep(&memory, &ONE, "b", note(MemoryScope::User, "port", "of the user")).await;
    let at = place(&ONE);
    let gone = memory.forget(&at, "c", "Port", Some(MemoryScope::User), "test").await.expect("forgotten");
    assert_eq!(gone.note.text, "of the user");
    let gone = memory.forget(&at, "d", "Port", None, "test").await.expect("forgotten");
    assert_eq!(gone.note.text, "5432");
    assert!(memory.list(&at).await.expect("listed").is_empty());
    assert!(memory.search(&at, "port", 5).await.expect("searched").is_empty());
    let none = memory.forget(&at, "e", "port", None, "test").await;
    assert!(matches!(none, Err(MemoryError::Unknown(_))));
    let again = keep(&memory, &ONE, "f", note(MemoryScope::Project, "port", "5434")).await;
    assert!(!again.replaced);
}

async fn secrets_and_what_is_too_large_are_refused(memory: impl Memory) {
    let token = format!("ghp_{}", "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0dF3gH6");
    let bad = [
        note(MemoryScope::User, "token", &format!("it is {token}")),
        note(MemoryScope::User, &token, "x"),
        NewNote { aliases: vec![token.clone()], ..note(MemoryScope::User, "t", "x") },
        note(MemoryScope::User, "token", "use [secret:MY_KEY:01234567]"),
        note(MemoryScope::User, "large", &"x".repeat((8 << 10) + 1)),
        note(MemoryScope::User, "", "x"),
        note(MemoryScope::User, "empty", " \n"),
        note(MemoryScope::User, "two\nlines", "x"),
        note(MemoryScope::User, &"n".repeat(121), "x"),
        NewNote { tags: (0..17).map(|n| n.to_string()).collect(), ..note(MemoryScope::User, "tags", "x") },
    ];
    let at = place(&ONE);
    for (n, new) in bad.into_iter().enumerate() {
        let what = format!("{n}: {}", new.name);
        let told = memory.remember(&at, &format!("k{n}"), new).await;
        assert!(matches!(&told, Err(MemoryError::Refused(_))), "{what}: {told:?}");
    }
    assert!(memory.list(&at).await.expect("listed").is_empty());
    keep(&memory, &ONE, "whole", note(MemoryScope::User, "large", &"x".repeat(8 << 10))).await;
}

async fn what_nobody_uses_is_not_recalled(memory: impl Memory) {
    const DAY: Millis = 86_400_000;
    keep(&memory, &ONE, "a", note(MemoryScope::Project, "port", "5432")).await;
    keep(&memory, &ONE, "b", note(MemoryScope::Project, "host", "example")).await;
    let on = |day: Millis| At { now: ONE.now + day * DAY, ..ONE };
    let found = async |day: Millis, query: &str| {
        memory.search(&place(&on(day)), query, 5).await.expect("searched").len()
    };
    // Used on day 20 and on day 31, it lasts until day 61.
    assert_eq!(found(20, "port").await, 1);
    assert_eq!((found(31, "port").await, found(31, "host").await), (1, 0));
    assert_eq!(found(20 + 42, "port").await, 0);
    let late = place(&on(70));
    assert!(memory.remind(&late, "port and host").await.expect("reminded").is_empty());
    assert_eq!(memory.list(&late).await.expect("listed").len(), 2);
    // Whoever names it has it back.
    assert!(memory.get(&late, "host").await.expect("looked for").is_some());
    assert_eq!(found(70, "host").await, 1);
}

async fn the_same_call_again_changes_nothing(memory: impl Memory) {
    let new = note(MemoryScope::Project, "port", "5432");
    keep(&memory, &ONE, "call", new.clone()).await;
    keep(&memory, &ONE, "later", note(MemoryScope::Project, "port", "5433")).await;
    keep(&memory, &ONE, "call", new).await;
    let held = memory.list(&place(&ONE)).await.expect("listed");
    assert_eq!(held.iter().map(|held| held.note.text.as_str()).collect::<Vec<_>>(), ["5433"]);
}

#[derive(Clone, Copy)]
struct At {
    root: &'static str,
    session: Option<&'static str>,
    now: Millis,
}

const ONE: At = At { root: "/one", session: Some("s"), now: 1_800_000_000_000 };

fn place(at: &At) -> MemoryPlace {
    let session = at.session.map(|name| SessionId::new(name).expect("a name"));
    MemoryPlace { root: at.root.into(), session, now: at.now }
}

async fn keep(memory: &impl Memory, at: &At, once: &str, new: NewNote) -> sterna_tool::Remembered {
    memory.remember(&place(at), once, new).await.expect("remembered")
}

fn note(scope: MemoryScope, name: &str, text: &str) -> NewNote {
    NewNote {
        scope,
        name: name.into(),
        text: text.into(),
        tags: Vec::new(),
        aliases: Vec::new(),
        source: MemorySource { by: "test".into(), session: None, call: None },
        tainted: Vec::new(),
    }
}
