//! Who drives.

use super::append::note;
use super::*;

pub async fn a_lease_keeps_others_out(store: Store) {
    let (log, s) = (&*store.log, id("s"));
    open(log, "s").await;
    let lease = log.lease(&s, request("a", 100, 200)).await.expect("free");
    assert_eq!((lease.owner.0.as_str(), lease.expires, lease.released), ("a", 200, false));
    refused!(
        log.lease(&s, request("b", 199, 500)).await,
        LogError::Held { owner, expires: 200, fence, .. } if owner == "a" && fence == lease.fence
    );
    // Its own owner may have it again, under a higher generation.
    let again = log.lease(&s, request("a", 150, 300)).await.expect("its own");
    assert!(again.fence > lease.fence);
    assert_eq!(log.head(&s).await.expect("head").lease, Some(again.clone()));
    refused!(log.append(driven("s", 1, lease.fence, "x", vec![note("x")])).await, LogError::Fenced { .. });
    log.append(driven("s", 1, again.fence, "x", vec![note("x")])).await.expect("appended");
}

pub async fn an_expired_or_released_lease_is_free(store: Store) {
    let (log, s) = (&*store.log, id("s"));
    open(log, "s").await;
    let a = log.lease(&s, request("a", 0, 100)).await.expect("free");
    let b = log.lease(&s, request("b", 100, u64::MAX)).await.expect("expired");
    assert!(b.fence > a.fence);
    assert_eq!(b.expires, u64::MAX);
    log.release(&s, b.fence).await.expect("released");
    let head = log.head(&s).await.expect("head").lease.expect("the last lease is still told");
    assert!(head.released && head.fence == b.fence);
    let c = log.lease(&s, request("c", 101, 200)).await.expect("released");
    assert!(c.fence > b.fence);
}

pub async fn the_lease_of_the_dead_is_taken_over(store: Store) {
    let (log, s) = (&*store.log, id("s"));
    open(log, "s").await;
    let dead = log.lease(&s, request("dead", 0, 10_000)).await.expect("free");
    let over = |fence| LeaseRequest { takeover: Some(fence), ..request("b", 1, 10_000) };
    refused!(log.lease(&s, over(dead.fence + 1)).await, LogError::Held { .. });
    let b = log.lease(&s, over(dead.fence)).await.expect("taken over at once");
    assert!(b.fence > dead.fence);
    // Of two that saw the same owner die, one takes over.
    let late = LeaseRequest { takeover: Some(dead.fence), ..request("c", 2, 10_000) };
    refused!(log.lease(&s, late).await, LogError::Held { owner, .. } if owner == "b");
}

pub async fn a_lost_lease_is_released_without_error(store: Store) {
    let (log, s) = (&*store.log, id("s"));
    open(log, "s").await;
    let a = log.lease(&s, request("a", 0, 10)).await.expect("free");
    let b = log.lease(&s, request("b", 20, 10_000)).await.expect("expired");
    log.release(&s, a.fence).await.expect("a lost lease is no error");
    assert_eq!(log.head(&s).await.expect("head").lease, Some(b.clone()), "and it is not the other's");
    refused!(log.lease(&s, request("a", 30, 40)).await, LogError::Held { .. });
}

pub async fn generations_never_repeat(store: Store) {
    let (log, s) = (&*store.log, id("s"));
    let (_, mut last) = open_leased(log, "s", "a").await;
    for n in 0..20u64 {
        log.release(&s, last).await.expect("released");
        let lease = log.lease(&s, request(&format!("o{n}"), n, n + 1_000)).await.expect("free");
        assert!(lease.fence > last, "{} after {last}", lease.fence);
        last = lease.fence;
    }
}
