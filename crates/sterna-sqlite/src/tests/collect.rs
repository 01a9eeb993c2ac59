//! Blobs that nothing refers to go; what is referred to stays, however a sweep and a new reference race.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use bytes::Bytes;
use sterna_log::{Append, Blobs, Fence, LeaseRequest, Owner, digest};
use sterna_model::{
    BlobRef, Body, Draft, EffectKey, EffectKind, EffectResult, Outcome, SessionId, ToolOutcome, ToolStatus,
};

use super::*;
use crate::Swept;

/// An outcome of a tool that holds a blob.
fn outcome(session: &str, n: u32, full: BlobRef) -> Draft {
    let key = EffectKey {
        session: SessionId::new(session).unwrap(),
        turn: 1,
        step: n,
        kind: EffectKind::Tool,
        ordinal: 0,
    };
    let outcome = ToolOutcome {
        status: ToolStatus::Ok,
        view: "cut".into(),
        full: Some(full),
        facts: Vec::new(),
        started_at: 0,
        duration_ms: 0,
        untrusted: None,
        attachments: Vec::new(),
    };
    let body = Body::Outcome(Box::new(Outcome { key, attempt: 1, result: EffectResult::Tool(outcome) }));
    Draft { at: 1, turn: Some(1), step: Some(n), body }
}

fn lease(store: &SqliteStore, session: &str, owner: &str) -> Fence {
    let request = LeaseRequest { owner: Owner(owner.into()), now: 1, expires: 1_000, takeover: None };
    block_on(store.lease(&id(session), request)).unwrap().fence
}

fn hold(store: &SqliteStore, session: &str, fence: Fence, full: BlobRef) -> Result<Receipt, LogError> {
    let head = block_on(store.head(&id(session))).unwrap().seq;
    let records = vec![outcome(session, head as u32, full)];
    block_on(store.append(Append {
        session: id(session),
        expect: Expect::Head { head, fence },
        id: format!("outcome:{head}"),
        records,
        blobs: Vec::new(),
    }))
}

fn sweep(store: &SqliteStore, dead: bool) -> Swept {
    let census = block_on(store.census()).unwrap();
    let keep: HashSet<Digest> = census.held.iter().map(sterna_log::Held::hash).collect();
    block_on(store.sweep(census, keep, 2, move |_| dead)).unwrap()
}

fn put(store: &SqliteStore, bytes: &[u8]) -> BlobRef {
    block_on(store.put(Bytes::copy_from_slice(bytes))).unwrap()
}

#[test]
fn one_of_three_that_share_blobs_and_a_fork_is_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    // Small blobs are rows, large ones files.
    let large = |byte: u8| vec![byte; crate::write::INLINE_BYTES + 1];
    let shared = [put(&store, b"shared"), put(&store, &large(1))];
    let alone = [put(&store, b"alone"), put(&store, &large(2))];
    let forked = put(&store, b"forked");
    let loose = put(&store, b"in no record");
    for session in ["a", "b", "c"] {
        filled(&store, session, 2);
    }
    let fences = ["a", "b", "c"].map(|session| (session, lease(&store, session, "me")));
    for (session, fence) in fences {
        for blob in &shared {
            hold(&store, session, fence, blob.clone()).unwrap();
        }
    }
    hold(&store, "a", fences[0].1, forked.clone()).unwrap();
    // `fork` shares what `a` has so far, and not what it gets.
    let head = block_on(store.head(&id("a"))).unwrap();
    let parent = sterna_model::Parent { session: id("a"), seq: head.seq, hash: head.hash };
    let link = vec![sterna_log::conformance::opened_in("fork", "/w", Some(parent))];
    block_on(store.append(append("fork", Expect::New(None), "open", link))).unwrap();
    for blob in &alone {
        hold(&store, "a", fences[0].1, blob.clone()).unwrap();
    }
    let before = ["b", "c", "fork"].map(|session| whole(&store, session));

    block_on(store.delete(&id("a"))).unwrap();
    // Its own driver is gone with it; those of the others are alive.
    assert_eq!(sweep(&store, false), Swept::Driven(id("b")));
    for (session, fence) in &fences[1..] {
        block_on(store.release(&id(session), *fence)).unwrap();
    }
    let bytes = alone.iter().chain([&loose]).map(|blob| blob.bytes).sum();
    assert_eq!(sweep(&store, false), Swept::Done { blobs: 3, bytes });
    assert_eq!(sweep(&store, false), Swept::Done { blobs: 0, bytes: 0 });

    for blob in shared.iter().chain([&forked]) {
        assert_eq!(digest(&block_on(store.get(&blob.hash)).unwrap()), blob.hash);
    }
    for blob in alone.iter().chain([&loose]) {
        assert!(matches!(block_on(store.get(&blob.hash)), Err(LogError::BlobMissing(_))));
    }
    assert_eq!(["b", "c", "fork"].map(|session| whole(&store, session)), before);
    assert!(matches!(block_on(store.head(&id("a"))), Err(LogError::Tombstone(_))));
}

#[test]
fn nothing_goes_that_was_written_since_and_nobody_refers_to_what_went() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    filled(&store, "a", 1);
    let fence = lease(&store, "a", "me");
    let blob = put(&store, b"bytes");
    let census = block_on(store.census()).unwrap();
    hold(&store, "a", fence, blob.clone()).unwrap();
    let swept = block_on(store.sweep(census, HashSet::new(), 2, |_| true)).unwrap();
    assert_eq!(swept, Swept::Changed);
    assert!(block_on(store.has(&blob.hash)).unwrap());

    // Swept between the look and the reference.
    let other = put(&store, b"other");
    assert_eq!(sweep(&store, true), Swept::Done { blobs: 1, bytes: other.bytes });
    let refused = hold(&store, "a", fence, other.clone());
    assert!(matches!(refused, Err(LogError::BlobMissing(hash)) if hash == other.hash), "{refused:?}");
    put(&store, b"other");
    hold(&store, "a", fence, other.clone()).unwrap();
    assert_eq!(sweep(&store, true), Swept::Done { blobs: 0, bytes: 0 });
    // What was never here is the matter of whoever refers to it.
    hold(&store, "a", fence, BlobRef { hash: digest(b"elsewhere"), bytes: 9 }).unwrap();
}

#[test]
fn a_newly_referenced_blob_lives_through_a_racing_collector() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(store(dir.path()));
    filled(&store, "a", 1);
    let fence = lease(&store, "a", "me");
    let (done, swept) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let collector = {
        let (store, done, swept) = (store.clone(), done.clone(), swept.clone());
        thread::spawn(move || {
            while !done.load(Ordering::Acquire) {
                if let Swept::Done { blobs, .. } = sweep(&store, true) {
                    swept.fetch_add(blobs, Ordering::Relaxed);
                }
            }
        })
    };
    let mut held = Vec::new();
    let mut n = 0u64;
    // Until both happened often: references that were taken, and blobs that were swept.
    while held.len() < 40 || swept.load(Ordering::Relaxed) < 3 {
        n += 1;
        // Small and large in turn; every third one is never referred to.
        let size = if n.is_multiple_of(2) { 10 } else { crate::write::INLINE_BYTES + 10 };
        let mut bytes = vec![0; size];
        bytes[..8].copy_from_slice(&n.to_le_bytes());
        loop {
            let blob = put(&store, &bytes);
            if n.is_multiple_of(3) {
                break;
            }
            match hold(&store, "a", fence, blob.clone()) {
                Ok(_) => break held.push(blob),
                // It was swept between: it is put again.
                Err(LogError::BlobMissing(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
    done.store(true, Ordering::Release);
    collector.join().unwrap();
    for blob in held {
        assert_eq!(digest(&block_on(store.get(&blob.hash)).unwrap()), blob.hash);
    }
    whole(&store, "a");
}
