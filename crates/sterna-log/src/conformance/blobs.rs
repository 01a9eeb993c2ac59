//! Blobs, attached and on their own.

use bytes::Bytes;
use sterna_model::Body;

use super::append::note;
use super::*;
use crate::digest;

pub async fn attached_blobs_are_readable(store: Store) {
    let log = &*store.log;
    let large = Bytes::from(vec![7u8; 3 << 20]);
    let mut opening = append("s", Expect::New(None), "open", vec![opened("s")]);
    opening.blobs = vec!["small".into(), large.clone(), Bytes::new(), "small".into()];
    log.append(opening).await.expect("opened");
    for bytes in [Bytes::from("small"), large, Bytes::new()] {
        let hash = digest(&bytes);
        assert!(store.blobs.has(&hash).await.expect("has"));
        assert_eq!(store.blobs.get(&hash).await.expect("got"), bytes);
    }
}

pub async fn blobs_are_kept_by_content(store: Store) {
    let blobs = &*store.blobs;
    for size in [0usize, 1, 1 << 20, (1 << 20) + 1, 3 << 20] {
        let bytes: Bytes = (0..size).map(|n| (n % 251) as u8).collect::<Vec<_>>().into();
        let one = blobs.put(bytes.clone()).await.expect("put");
        let two = blobs.put(bytes.clone()).await.expect("put again");
        assert_eq!((one.hash, one.bytes), (digest(&bytes), size as u64));
        assert_eq!(one, two);
        assert_eq!(blobs.get(&one.hash).await.expect("got"), bytes);
        let end = size as u64;
        for (offset, len) in
            [(0, 10), (end / 2, 5), (end.saturating_sub(3), 10), (end, 1), (u64::MAX, 9), (0, u64::MAX)]
        {
            let from = (offset.min(end)) as usize;
            let to = offset.min(end).saturating_add(len).min(end) as usize;
            let range = blobs.get_range(&one.hash, offset, len).await.expect("range");
            assert!(range == bytes[from..to], "{len} bytes from {offset} of {size}");
        }
    }
}

pub async fn writers_make_blobs(store: Store) {
    let blobs = &*store.blobs;
    for chunks in [0usize, 1, 40, 700] {
        let chunk = vec![b'c'; 4_099];
        let mut writer = blobs.writer().expect("writer");
        for _ in 0..chunks {
            writer.write(&chunk).expect("written");
        }
        let whole = chunk.repeat(chunks);
        let made = writer.finish().expect("finished");
        assert_eq!((made.hash, made.bytes), (digest(&whole), whole.len() as u64));
        assert!(blobs.get(&made.hash).await.expect("got") == whole, "{chunks} chunks");
    }
    for size in [10usize, 2 << 20] {
        let bytes = vec![b'd'; size];
        let mut dropped = blobs.writer().expect("writer");
        dropped.write(&bytes).expect("written");
        drop(dropped);
        assert!(!blobs.has(&digest(&bytes)).await.expect("has"), "a dropped writer keeps nothing");
    }
}

pub async fn a_blob_that_is_not_there_is_missing(store: Store) {
    let hash = digest(b"nobody put this");
    assert!(!store.blobs.has(&hash).await.expect("has"));
    refused!(store.blobs.get(&hash).await, LogError::BlobMissing(h) if h == hash);
    refused!(store.blobs.get_range(&hash, 0, 1).await, LogError::BlobMissing(h) if h == hash);
}

pub async fn a_large_record_comes_back(store: Store) {
    let log = &*store.log;
    open(log, "s").await;
    let sizes = [16_000usize, 16_384, 17_000, 5 << 20];
    for (n, size) in sizes.iter().enumerate() {
        let text = "é".repeat(size / 2);
        let sent = append("s", Expect::Any, &format!("input:{n}"), vec![input(&text, None), note("small")]);
        let first = log.append(sent.clone()).await.expect("appended");
        let again = log.append(sent.clone()).await.expect("known");
        assert_eq!(again, Receipt { repeated: true, ..first.clone() });
        let read = log.read(&id("s"), first.first, 2).await.expect("read");
        assert!(read[0].record.body == sent.records[0].body, "{size} bytes came back changed");
        assert!(matches!(read[1].record.body, Body::GrantRevoked { .. }));
    }
    assert_eq!(bodies(log, "s").await.len(), 9);
}
