//! Stores and looks at the process table, for the tests.

// These are tests, though no function here is one.
#![allow(clippy::unwrap_used)]
// Each test file takes what it needs.
#![allow(dead_code)]

pub mod sandbox;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sterna_log::{BlobWriter, Blobs, LogError};
use sterna_model::{BlobRef, Digest};
use sterna_shell::Command;

pub fn command(line: &str) -> Command {
    let env = BTreeMap::from([("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned())]);
    Command::new(line, std::env::temp_dir(), env, Arc::new(Hashing))
}

/// Keeps no byte, but tells what came by its hash.
pub struct Hashing;

#[async_trait]
impl Blobs for Hashing {
    async fn put(&self, bytes: Bytes) -> Result<BlobRef, LogError> {
        Ok(BlobRef { hash: sterna_log::digest(&bytes), bytes: bytes.len() as u64 })
    }
    async fn get(&self, hash: &Digest) -> Result<Bytes, LogError> {
        Err(LogError::Damaged(hash.to_string()))
    }
    async fn has(&self, _: &Digest) -> Result<bool, LogError> {
        Ok(false)
    }
    fn writer(&self) -> Result<Box<dyn BlobWriter>, LogError> {
        Ok(Box::new(HashingWriter(blake3::Hasher::new())))
    }
}

struct HashingWriter(blake3::Hasher);

impl BlobWriter for HashingWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<(), LogError> {
        self.0.update(bytes);
        Ok(())
    }
    fn finish(self: Box<Self>) -> Result<BlobRef, LogError> {
        Ok(BlobRef { hash: Digest(*self.0.finalize().as_bytes()), bytes: self.0.count() })
    }
}

/// A full disk.
pub struct Broken;

#[async_trait]
impl Blobs for Broken {
    async fn put(&self, _: Bytes) -> Result<BlobRef, LogError> {
        Err(LogError::Damaged("full".into()))
    }
    async fn get(&self, _: &Digest) -> Result<Bytes, LogError> {
        Err(LogError::Damaged("full".into()))
    }
    async fn has(&self, _: &Digest) -> Result<bool, LogError> {
        Ok(false)
    }
    fn writer(&self) -> Result<Box<dyn BlobWriter>, LogError> {
        Err(LogError::Damaged("full".into()))
    }
}

/// Whether the process runs: a zombie does not.
pub fn alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// The process ids in the files `1` to `n` that are whole. The files are gone then.
pub fn pids(folder: &Path, n: u32) -> Vec<String> {
    let take = |n: u32| {
        let file = folder.join(n.to_string());
        let pid = std::fs::read_to_string(&file).ok()?;
        std::fs::remove_file(file).unwrap();
        pid.ends_with('\n').then_some(pid)
    };
    (1..=n).filter_map(take).collect()
}

/// Waits for a thing that another process does, with patience.
pub async fn eventually(check: impl Fn() -> bool, what: &str) {
    for _ in 0..6_000 {
        if check() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain for {what}");
}

/// The most memory this process has held, in bytes.
pub fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}
