//! Blobs as a tool sees them: output that is streamed into one has no secrets, and that it had some is known.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use sterna_log::{BlobWriter, Blobs, LogError, SharedBlobs};
use sterna_model::{BlobRef, Digest};
use sterna_secrets::{Scoped, Stream};

/// Blobs whose writer takes secrets out. What is put whole stays as it is: old versions of files, which are found
/// again by their hash and never leave the store.
pub(crate) struct CleanBlobs {
    inner: SharedBlobs,
    secrets: Scoped,
    /// Something was taken out.
    pub edited: Arc<AtomicBool>,
}

impl CleanBlobs {
    pub fn new(inner: SharedBlobs, secrets: Scoped) -> Self {
        Self { inner, secrets, edited: Arc::default() }
    }
}

#[async_trait]
impl Blobs for CleanBlobs {
    async fn put(&self, bytes: Bytes) -> Result<BlobRef, LogError> {
        self.inner.put(bytes).await
    }

    async fn get(&self, hash: &Digest) -> Result<Bytes, LogError> {
        self.inner.get(hash).await
    }

    async fn get_range(&self, hash: &Digest, offset: u64, len: u64) -> Result<Bytes, LogError> {
        self.inner.get_range(hash, offset, len).await
    }

    async fn has(&self, hash: &Digest) -> Result<bool, LogError> {
        self.inner.has(hash).await
    }

    fn writer(&self) -> Result<Box<dyn BlobWriter>, LogError> {
        let writer = Writer {
            inner: self.inner.writer()?,
            stream: self.secrets.stream(),
            taken: blake3::Hasher::new(),
            edited: self.edited.clone(),
        };
        Ok(Box::new(writer))
    }
}

struct Writer {
    inner: Box<dyn BlobWriter>,
    stream: Stream,
    /// Hash of what came: another than that of what was written tells that something was taken out.
    taken: blake3::Hasher,
    edited: Arc<AtomicBool>,
}

impl BlobWriter for Writer {
    fn write(&mut self, bytes: &[u8]) -> Result<(), LogError> {
        self.taken.update(bytes);
        let clean = self.stream.push_bytes(bytes);
        if clean.is_empty() { Ok(()) } else { self.inner.write(&clean) }
    }

    fn finish(mut self: Box<Self>) -> Result<BlobRef, LogError> {
        let rest = self.stream.finish_bytes();
        if !rest.is_empty() {
            self.inner.write(&rest)?;
        }
        let blob = self.inner.finish()?;
        if blob.hash != Digest(*self.taken.finalize().as_bytes()) {
            self.edited.store(true, Ordering::Release);
        }
        Ok(blob)
    }
}
