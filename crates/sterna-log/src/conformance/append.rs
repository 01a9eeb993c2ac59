//! Appending and reading.

use std::collections::BTreeSet;

use sterna_model::{
    Body, Digest, Draft, Seq, StopReason, TodoItem, TodoStatus, TurnCommitted, TurnOutcome, Usage,
};

use super::*;
use crate::{Head, MAX_APPEND_BYTES, MAX_APPEND_RECORDS, chain, content_of, prepare, seal};

pub async fn appended_records_are_read_back(store: Store) {
    let log = &*store.log;
    let drafts = vec![opened("s"), input("hello", Some("k")), note("a note")];
    let receipt = log.append(append("s", Expect::New(None), "open", drafts.clone())).await.expect("appended");
    assert_eq!((receipt.first, receipt.last, receipt.repeated), (1, 3, false));
    let read = log.read(&id("s"), 1, 100).await.expect("read");
    let mut prev = Digest::ZERO;
    for (seq, (draft, sealed)) in (1..).zip(drafts.iter().zip(&read)) {
        assert_eq!(sealed.record, draft.clone().at_seq(seq));
        // The chain as the design page has it: blake3 over the hash before and the row's bytes.
        let (row, hash) = seal(&prepare(draft).expect("encodes"), seq, &prev);
        assert_eq!(chain(&prev, &row), hash);
        assert_eq!(sealed.hash, hash);
        prev = hash;
    }
    assert_eq!(read.len(), 3);
    assert_eq!(receipt.hash, prev);
    let head = log.head(&id("s")).await.expect("head");
    assert_eq!(head, Head { seq: 3, hash: prev, lease: None });
    let pages =
        [(2, 1, vec![2]), (2, 100, vec![2, 3]), (0, 1, vec![1]), (4, 10, vec![]), (u64::MAX, 10, vec![])];
    for (from, limit, expected) in pages {
        let seqs: Vec<Seq> = log
            .read(&id("s"), from, limit)
            .await
            .expect("read")
            .iter()
            .map(|sealed| sealed.record.seq)
            .collect();
        assert_eq!(seqs, expected, "from {from}, limit {limit}");
    }
    assert!(log.read(&id("s"), 1, 0).await.expect("read").is_empty());
}

pub async fn seq_is_gap_free_from_one(store: Store) {
    let log = &*store.log;
    let (receipt, fence) = open_leased(log, "s", "a").await;
    let mut head = receipt.last;
    for n in 1..=40u64 {
        let records = (0..n % 3 + 1).map(|i| note(&format!("{n}.{i}"))).collect();
        let receipt =
            log.append(driven("s", head, fence, &format!("n{n}"), records)).await.expect("appended");
        assert_eq!((receipt.first, receipt.last), (head + 1, head + n % 3 + 1));
        head = receipt.last;
    }
    let seqs: Vec<Seq> = log
        .read(&id("s"), 1, usize::MAX)
        .await
        .expect("read")
        .iter()
        .map(|sealed| sealed.record.seq)
        .collect();
    assert_eq!(seqs, (1..=head).collect::<Vec<_>>());
}

pub async fn stale_head_writes_nothing(store: Store) {
    let log = &*store.log;
    let (_, fence) = open_leased(log, "s", "a").await;
    log.append(append("s", Expect::Any, "input:1", vec![input("one", None)])).await.expect("appended");
    let before = log.head(&id("s")).await.expect("head");
    for expected in [0, 1, 3, u64::MAX] {
        let mut stale = driven("s", expected, fence, "late", vec![note("late")]);
        stale.blobs = vec!["attached to a stale append".into()];
        refused!(log.append(stale).await, LogError::StaleHead { head: 2, expected: e, .. } if e == expected);
    }
    assert_eq!(log.head(&id("s")).await.expect("head"), before);
    assert_eq!(bodies(log, "s").await.len(), 2);
    let hash = crate::digest(b"attached to a stale append");
    assert!(!store.blobs.has(&hash).await.expect("has"), "a refused append left its blob");
    log.append(driven("s", 2, fence, "late", vec![note("late")])).await.expect("decided again, it fits");
}

pub async fn an_old_fence_is_refused(store: Store) {
    let log = &*store.log;
    let (_, old) = open_leased(log, "s", "a").await;
    let new = log.lease(&id("s"), request("b", 20_000, 30_000)).await.expect("expired").fence;
    assert!(new > old);
    refused!(
        log.append(driven("s", 1, old, "x", vec![note("x")])).await,
        LogError::Fenced { current, ours, .. } if (current, ours) == (new, old)
    );
    refused!(log.append(driven("s", 1, new + 1, "x", vec![note("x")])).await, LogError::Fenced { .. });
    assert_eq!(bodies(log, "s").await.len(), 1);
    log.append(driven("s", 1, new, "x", vec![note("x")])).await.expect("the new driver appends");
    // Nobody drives a session that was never leased.
    open(log, "t").await;
    refused!(log.append(driven("t", 1, 0, "x", vec![note("x")])).await, LogError::Fenced { .. });
}

pub async fn anyone_appends_beside_a_driver(store: Store) {
    let log = &*store.log;
    let (_, fence) = open_leased(log, "s", "a").await;
    let one = log.append(append("s", Expect::Any, "input:1", vec![input("one", None)])).await.expect("any");
    log.append(driven("s", 2, fence, "d1", vec![note("driver")])).await.expect("the driver goes on");
    let two = log.append(append("s", Expect::Any, "input:2", vec![input("two", None)])).await.expect("any");
    assert_eq!((one.first, two.first), (2, 4));
    let lease = log.head(&id("s")).await.expect("head").lease.expect("leased");
    assert_eq!((lease.fence, lease.released), (fence, false), "other people's appends leave the lease alone");
}

pub async fn new_takes_the_lease_in_the_same_step(store: Store) {
    let log = &*store.log;
    let opening = append("s", Expect::New(Some(request("a", 5, 10_000))), "open", vec![opened("s")]);
    let lease = log.append(opening).await.expect("opened").lease.expect("leased");
    assert_eq!((lease.owner.0.as_str(), lease.expires, lease.released), ("a", 10_000, false));
    assert_eq!(log.head(&id("s")).await.expect("head").lease, Some(lease.clone()));
    refused!(log.lease(&id("s"), request("b", 9_999, 20_000)).await, LogError::Held { .. });
    log.append(driven("s", 1, lease.fence, "x", vec![note("x")])).await.expect("its fence is good");
    assert_eq!(open(log, "t").await.lease, None);
}

pub async fn a_session_is_opened_once(store: Store) {
    let log = &*store.log;
    open(log, "s").await;
    let again = append("s", Expect::New(Some(request("b", 0, 9))), "another", vec![opened("s")]);
    refused!(log.append(again).await, LogError::Exists(s) if s == id("s"));
    let head = log.head(&id("s")).await.expect("head");
    assert_eq!((head.seq, head.lease), (1, None));
}

pub async fn what_does_not_exist_is_not_found(store: Store) {
    let (log, none) = (&*store.log, id("none"));
    refused!(log.append(append("none", Expect::Any, "x", vec![note("x")])).await, LogError::NotFound(_));
    refused!(log.append(driven("none", 0, 0, "x", vec![note("x")])).await, LogError::NotFound(_));
    refused!(log.head(&none).await, LogError::NotFound(_));
    refused!(log.read(&none, 1, 10).await, LogError::NotFound(_));
    refused!(log.lease(&none, request("a", 0, 10)).await, LogError::NotFound(_));
    refused!(log.delete(&none).await, LogError::NotFound(_));
    refused!(log.snapshot_put(&none, 1, 1, "x".into()).await, LogError::NotFound(_));
    refused!(log.snapshot_get(&none, 1).await, LogError::NotFound(_));
    assert_eq!(log.find_key(&none, "k").await.expect("no key"), None);
}

pub async fn the_same_append_gets_its_first_receipt(store: Store) {
    let log = &*store.log;
    open(log, "s").await;
    let send = || append("s", Expect::Any, "input:k", vec![input("hello", Some("k")), note("with it")]);
    let first = log.append(send()).await.expect("appended");
    for other in 0..5 {
        log.append(append("s", Expect::Any, &format!("input:{other}"), vec![input("x", None)]))
            .await
            .expect("appended");
    }
    // At another time: time is no part of the identity.
    let mut again = send();
    again.records[0].at += 1_000;
    let receipt = log.append(again).await.expect("known");
    assert_eq!(receipt, Receipt { repeated: true, ..first.clone() });
    assert!(!first.repeated);
    assert_eq!(bodies(log, "s").await.len(), 8);
}

pub async fn the_same_opening_gets_its_first_receipt(store: Store) {
    let log = &*store.log;
    let send = |owner: &str| {
        let expect = Expect::New(Some(request(owner, 0, 10_000)));
        append("s", expect, "input:k", vec![opened("s"), input("hello", Some("k"))])
    };
    let first = log.append(send("a")).await.expect("opened");
    log.append(append("s", Expect::Any, "x", vec![note("x")])).await.expect("appended");
    let again = log.append(send("a")).await.expect("known");
    assert_eq!(again, Receipt { repeated: true, ..first.clone() });
    let other = log.append(send("b")).await.expect("known, but somebody else's");
    assert_eq!(other, Receipt { repeated: true, lease: None, ..first });
    // The input that opened the session is that input when it is sent on its own.
    let alone = append("s", Expect::Any, "input:k", vec![input("hello", Some("k"))]);
    let receipt = log.append(alone).await.expect("known");
    assert_eq!((receipt.first, receipt.last, receipt.repeated), (2, 2, true));
    let changed = append("s", Expect::New(None), "input:k", vec![opened("s"), input("bye", Some("k"))]);
    refused!(log.append(changed).await, LogError::Conflict { .. });
    assert_eq!(bodies(log, "s").await.len(), 3);
}

pub async fn the_same_drivers_append_gets_its_first_receipt(store: Store) {
    let log = &*store.log;
    let (_, fence) = open_leased(log, "s", "a").await;
    let send = || driven("s", 1, fence, "out:1", vec![note("one"), note("two")]);
    let first = log.append(send()).await.expect("appended");
    log.append(append("s", Expect::Any, "input:1", vec![input("x", None)])).await.expect("appended");
    assert_eq!(log.append(send()).await.expect("known"), Receipt { repeated: true, ..first.clone() });
    let other = driven("s", 1, fence, "out:1", vec![note("one"), note("three")]);
    refused!(log.append(other).await, LogError::Conflict { id, .. } if id == "out:1");
    let shorter = driven("s", 1, fence, "out:1", vec![note("one")]);
    refused!(log.append(shorter).await, LogError::Conflict { .. });
    // A commit whose reply was lost is answered also after the lease was.
    log.lease(&id("s"), request("b", 20_000, 30_000)).await.expect("expired");
    assert_eq!(log.append(send()).await.expect("known"), Receipt { repeated: true, ..first });
    assert_eq!(bodies(log, "s").await.len(), 4);
}

pub async fn other_content_under_an_id_is_a_conflict(store: Store) {
    let log = &*store.log;
    open(log, "s").await;
    open(log, "t").await;
    let send =
        |session: &str, text: &str| append(session, Expect::Any, "input:k", vec![input(text, Some("k"))]);
    log.append(send("s", "one")).await.expect("appended");
    refused!(
        log.append(send("s", "two")).await,
        LogError::Conflict { session, id } if session == self::id("s") && id == "input:k"
    );
    // A key is one input, under whatever id it comes.
    let elsewhere = append("s", Expect::Any, "other", vec![input("one", Some("k"))]);
    refused!(log.append(elsewhere).await, LogError::Conflict { .. });
    log.append(send("t", "two")).await.expect("ids are unique in their session only");
    assert_eq!(bodies(log, "s").await.len(), 2);
}

pub async fn keys_find_inputs(store: Store) {
    let log = &*store.log;
    let opening = vec![opened("s"), input("first", Some("k1"))];
    log.append(append("s", Expect::New(None), "open", opening)).await.expect("opened");
    let second = vec![input("second", Some("k2"))];
    log.append(append("s", Expect::Any, "input:k2", second.clone())).await.expect("appended");
    log.append(append("s", Expect::Any, "answer:k3", vec![note("no input")])).await.expect("appended");
    let content = |draft: &Draft| content_of(&[prepare(draft).expect("encodes")]);
    let found = log.find_key(&id("s"), "k1").await.expect("found").expect("some");
    assert_eq!((found.seq, found.content), (2, content(&input("first", Some("k1")))));
    let found = log.find_key(&id("s"), "k2").await.expect("found").expect("some");
    assert_eq!((found.seq, found.content), (3, content(&second[0])));
    for none in ["k3", "K1", "", "open"] {
        assert_eq!(log.find_key(&id("s"), none).await.expect("looked up"), None, "{none}");
    }
}

pub async fn of_two_drivers_one_wins(store: Store) {
    let log = &*store.log;
    let (_, fence) = open_leased(log, "s", "a").await;
    for round in 1..=20u64 {
        let send = |who: &str| driven("s", round, fence, &format!("{who}{round}"), vec![note(who)]);
        let (a, b) = futures::join!(log.append(send("a")), log.append(send("b")));
        let (won, lost) = if a.is_ok() { (a, b) } else { (b, a) };
        assert_eq!(won.expect("one wins").last, round + 1);
        refused!(lost, LogError::StaleHead { .. });
    }
    assert_eq!(bodies(log, "s").await.len(), 21);
}

pub async fn of_many_at_once_none_is_lost(store: Store) {
    let log = &*store.log;
    open(log, "s").await;
    let sends = (0..64).map(|n| async move {
        // Every fourth is a repetition of the one before it.
        let n = if n % 4 == 3 { n - 1 } else { n };
        log.append(append("s", Expect::Any, &format!("n{n}"), vec![note(&n.to_string()), note("and")])).await
    });
    let receipts = futures::future::join_all(sends).await;
    let mut places = BTreeSet::new();
    let mut repeated = 0;
    for receipt in receipts {
        let receipt = receipt.expect("appended");
        assert_eq!(receipt.last, receipt.first + 1);
        repeated += usize::from(receipt.repeated);
        places.insert(receipt.first);
    }
    assert_eq!((places.len(), repeated), (48, 16));
    assert_eq!(places, (0..48).map(|n| 2 + 2 * n).collect());
    assert_eq!(bodies(log, "s").await.len(), 97);
}

pub async fn limits_are_refused_whole(store: Store) {
    let log = &*store.log;
    open(log, "s").await;
    let any = |id: &str, records| append("s", Expect::Any, id, records);
    let many = |n: usize| (0..n).map(|n| note(&n.to_string())).collect::<Vec<_>>();
    refused!(
        log.append(any("many", many(MAX_APPEND_RECORDS + 1))).await,
        LogError::TooLarge { unit: "records", max: 512, got: 513 }
    );
    let thick = |n: usize| (0..n).map(|_| note(&"x".repeat(15_000))).collect::<Vec<_>>();
    refused!(
        log.append(any("thick", thick(69))).await,
        LogError::TooLarge { unit: "bytes", max: MAX_APPEND_BYTES, got } if got > MAX_APPEND_BYTES
    );
    assert_eq!(bodies(log, "s").await.len(), 1);
    let receipt = log.append(any("many", many(MAX_APPEND_RECORDS))).await.expect("just fits");
    assert_eq!(receipt.last, 513);
    log.append(any("thick", thick(68))).await.expect("just fits");
    // What is spilled does not count.
    let spilled = (0..3).map(|n| note(&format!("{n}{}", "y".repeat(600_000)))).collect();
    log.append(any("spilled", spilled)).await.expect("spilled bytes are not counted");
}

pub async fn shapes_that_are_no_append_are_refused(store: Store) {
    let log = &*store.log;
    let new = |records| append("s", Expect::New(None), "open", records);
    refused!(log.append(new(vec![])).await, LogError::Refused(_));
    refused!(log.append(new(vec![note("x")])).await, LogError::Refused(_));
    refused!(log.append(new(vec![opened("other")])).await, LogError::Refused(_));
    refused!(log.append(new(vec![opened("s"), opened("s")])).await, LogError::Refused(_));
    refused!(log.head(&id("s")).await, LogError::NotFound(_));
    open(log, "s").await;
    let any = |id: &str, records| append("s", Expect::Any, id, records);
    refused!(log.append(any("x", vec![])).await, LogError::Refused(_));
    refused!(log.append(any("x", vec![opened("s")])).await, LogError::Refused(_));
    refused!(log.append(any("", vec![note("x")])).await, LogError::Refused(_));
    refused!(log.append(any(&"x".repeat(3000), vec![note("x")])).await, LogError::Refused(_));
    // Deeper than a decoder goes: it could be written, and never be read.
    let mut deep = serde_json::json!(1);
    for _ in 0..200 {
        deep = serde_json::json!([deep]);
    }
    let item = TodoItem {
        id: "1".into(),
        subject: "deep".into(),
        description: String::new(),
        active_form: String::new(),
        status: TodoStatus::Pending,
        owner: None,
        blocks: vec![],
        blocked_by: vec![],
        metadata: Some(deep),
    };
    let body = Body::TodoSet { items: vec![item], by: "user".into() };
    refused!(log.append(any("deep", vec![draft(1, body)])).await, LogError::Refused(_));
    assert_eq!(bodies(log, "s").await.len(), 1);
}

/// A record that moves no index but the times: a title is set by others.
pub(super) fn note(text: &str) -> Draft {
    draft(3_000, Body::GrantRevoked { content: crate::digest(text.as_bytes()), by: text.into() })
}

/// A commit that says how its turn stopped.
pub(super) fn committed(at: Millis) -> Draft {
    let outcome = TurnOutcome::Stopped {
        reason: StopReason::MaxSteps,
        detail: "the limit is reached".into(),
        by: None,
    };
    draft(
        at,
        Body::TurnCommitted(Box::new(TurnCommitted {
            outcome,
            steps: 1,
            usage: Usage::default(),
            cost: None,
        })),
    )
}
