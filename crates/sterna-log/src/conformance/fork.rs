//! Forks share history; deleting takes only what nobody shares.

use sterna_model::{Digest, Parent};

use super::append::note;
use super::*;
use crate::{Filter, Page, read_history, verify};

pub async fn a_fork_shares_history(store: Store) {
    let log = &*store.log;
    family(log).await;
    let told: Vec<String> = history(log, "grandchild").await;
    assert_eq!(told, ["p:1", "p:2", "p:3", "child:1", "child:2", "grandchild:1"]);
    let child = log.read(&id("child"), 1, 10).await.expect("read");
    assert_eq!(child[0].record.seq, 1, "a fork's own numbers start at 1");
    assert_eq!(child.len(), 3, "a fork copies nothing");
    for session in ["p", "child", "grandchild"] {
        let found = verify(log, &*store.blobs, &id(session)).await.expect("checked");
        assert_eq!(found.first_bad, None, "{session}");
    }
    let row = &list(log).await[0];
    assert_eq!((row.id.as_str(), row.parent.clone()), ("grandchild", Some(id("child"))));
}

pub async fn a_fork_names_a_real_record(store: Store) {
    let log = &*store.log;
    let receipt = open(log, "p").await;
    let fork = |parent: &str, seq, hash| {
        let parent = Parent { session: id(parent), seq, hash };
        append("f", Expect::New(None), "open", vec![opened_in("f", "/work", Some(parent))])
    };
    refused!(log.append(fork("none", 1, receipt.hash)).await, LogError::NotFound(s) if s == id("none"));
    refused!(log.append(fork("p", 1, Digest::ZERO)).await, LogError::Refused(_));
    refused!(log.append(fork("p", 2, receipt.hash)).await, LogError::Refused(_));
    refused!(log.append(fork("p", 0, Digest::ZERO)).await, LogError::Refused(_));
    refused!(log.head(&id("f")).await, LogError::NotFound(_));
    log.append(fork("p", 1, receipt.hash)).await.expect("a real record");
}

pub async fn delete_leaves_a_tombstone(store: Store) {
    let (log, s) = (&*store.log, id("s"));
    let (_, fence) = open_leased(log, "s", "a").await;
    open(log, "t").await;
    let sent = append("s", Expect::Any, "input:k", vec![input("forgettable words", Some("k"))]);
    log.append(sent.clone()).await.expect("appended");
    log.snapshot_put(&s, 2, 1, "fold".into()).await.expect("kept");
    log.delete(&s).await.expect("deleted");
    assert_eq!(list(log).await.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["t"]);
    assert!(log.search("forgettable", 10).await.expect("searched").is_empty());
    let again = append("s", Expect::New(None), "open", vec![opened("s")]);
    refused!(log.append(again).await, LogError::Tombstone(t) if t == s);
    refused!(log.append(sent).await, LogError::Tombstone(_));
    refused!(log.append(driven("s", 2, fence, "x", vec![note("x")])).await, LogError::Tombstone(_));
    refused!(log.head(&s).await, LogError::Tombstone(_));
    refused!(log.read(&s, 1, 10).await, error if is_tombstone(&error));
    refused!(log.find_key(&s, "k").await, LogError::Tombstone(_));
    refused!(log.lease(&s, request("b", 0, 10)).await, LogError::Tombstone(_));
    refused!(log.snapshot_get(&s, 1).await, LogError::Tombstone(_));
    refused!(log.delete(&s).await, LogError::Tombstone(_));
    log.release(&s, fence).await.expect("a lost lease is no error");
    assert_eq!(bodies(log, "t").await.len(), 1);
}

pub async fn shared_records_outlive_their_session(store: Store) {
    let log = &*store.log;
    let hash = family(log).await;
    log.delete(&id("p")).await.expect("deleted");
    refused!(log.head(&id("p")).await, LogError::Tombstone(_));
    refused!(log.append(append("p", Expect::Any, "x", vec![note("x")])).await, LogError::Tombstone(_));
    let kept: Vec<_> =
        log.read(&id("p"), 1, 10).await.expect("shared").iter().map(|sealed| sealed.record.seq).collect();
    assert_eq!(kept, [1, 2, 3], "up to where it is forked, and no further");
    assert_eq!(history(log, "child").await, ["p:1", "p:2", "p:3", "child:1", "child:2", "child:3"]);
    assert_eq!(list(log).await.len(), 2);
    // What is still readable can still be forked; what is gone cannot.
    let fork = |name: &str, seq, hash| {
        let parent = Parent { session: id("p"), seq, hash };
        append(name, Expect::New(None), "open", vec![opened_in(name, "/work", Some(parent))])
    };
    log.append(fork("late", 3, hash)).await.expect("a shared record");
    refused!(log.append(fork("later", 5, hash)).await, LogError::Tombstone(_));
}

pub async fn rows_go_with_the_last_fork(store: Store) {
    let log = &*store.log;
    family(log).await;
    // The child goes before its own fork: its records stay, and so do those that it shares with its parent.
    log.delete(&id("child")).await.expect("deleted");
    log.delete(&id("p")).await.expect("deleted");
    assert_eq!(history(log, "grandchild").await, ["p:1", "p:2", "p:3", "child:1", "child:2", "grandchild:1"]);
    log.delete(&id("grandchild")).await.expect("deleted");
    for gone in ["grandchild", "child", "p"] {
        refused!(log.read(&id(gone), 1, 10).await, error if is_tombstone(&error));
    }
    assert!(list(log).await.is_empty());
}

/// `p` of 5 records, `child` of 3 that forks at p:3, `grandchild` of 1 that forks at child:2. Gives the hash of p:3.
async fn family(log: &dyn Log) -> Digest {
    open(log, "p").await;
    let add = |session: &'static str, n: u64| append(session, Expect::Any, &format!("n{n}"), vec![note("n")]);
    for n in 2..=5 {
        log.append(add("p", n)).await.expect("appended");
    }
    let at = |sealed: &crate::Sealed, session: &str| Parent {
        session: id(session),
        seq: sealed.record.seq,
        hash: sealed.hash,
    };
    let shared = &log.read(&id("p"), 3, 1).await.expect("read")[0];
    let fork = vec![opened_in("child", "/work", Some(at(shared, "p")))];
    log.append(append("child", Expect::New(None), "open", fork)).await.expect("forked");
    for n in 2..=3 {
        log.append(add("child", n)).await.expect("appended");
    }
    let second = &log.read(&id("child"), 2, 1).await.expect("read")[0];
    let fork = vec![opened_in("grandchild", "/work", Some(at(second, "child")))];
    log.append(append("grandchild", Expect::New(None), "open", fork)).await.expect("forked");
    shared.hash
}

async fn history(log: &dyn Log, session: &str) -> Vec<String> {
    let all = read_history(log, &id(session)).await.expect("linked").rest().await.expect("read");
    all.iter().map(|(session, sealed)| format!("{session}:{}", sealed.record.seq)).collect()
}

async fn list(log: &dyn Log) -> Vec<crate::SessionRow> {
    log.list(&Filter::default(), Page { after: None, limit: 100 }).await.expect("listed")
}
