//! Bytes by content.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use sterna_model::{BlobRef, Digest};

use crate::LogError;

/// A store of bytes addressed by their blake3 hash. Putting the same bytes twice is one blob.
#[async_trait]
pub trait Blobs: Send + Sync {
    /// Keeps the bytes; durable on return.
    async fn put(&self, bytes: Bytes) -> Result<BlobRef, LogError>;

    /// The whole blob. `LogError::BlobMissing` when it is not here, `LogError::Corrupt` when the bytes do not hash to it.
    async fn get(&self, hash: &Digest) -> Result<Bytes, LogError>;

    /// At most `len` bytes from `offset`; empty at or past the end.
    async fn get_range(&self, hash: &Digest, offset: u64, len: u64) -> Result<Bytes, LogError> {
        let all = self.get(hash).await?;
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(all.len());
        let to = from.saturating_add(usize::try_from(len).unwrap_or(usize::MAX)).min(all.len());
        Ok(all.slice(from..to))
    }

    /// Whether the blob is here.
    async fn has(&self, hash: &Digest) -> Result<bool, LogError>;

    /// A writer for output whose size is not known beforehand. Synchronous, so that a reader thread may use it.
    fn writer(&self) -> Result<Box<dyn BlobWriter>, LogError>;
}

/// Bytes on their way to a blob. Dropped without `finish`, nothing is kept.
pub trait BlobWriter: Send {
    fn write(&mut self, bytes: &[u8]) -> Result<(), LogError>;
    /// Durable on return.
    fn finish(self: Box<Self>) -> Result<BlobRef, LogError>;
}

/// Hashes bytes as blobs are addressed.
pub fn digest(bytes: &[u8]) -> Digest {
    Digest(*blake3::hash(bytes).as_bytes())
}

/// A shared store of blobs.
pub type SharedBlobs = Arc<dyn Blobs>;
