//! Blobs above others that are only read.

use async_trait::async_trait;
use bytes::Bytes;
use sterna_model::{BlobRef, Digest};

use crate::{BlobWriter, Blobs, LogError, SharedBlobs};

/// Finds what either store has, and keeps what is new in the upper one.
pub struct BlobsOver {
    upper: SharedBlobs,
    lower: SharedBlobs,
}

impl BlobsOver {
    /// `lower` is never written.
    pub fn new(upper: SharedBlobs, lower: SharedBlobs) -> Self {
        Self { upper, lower }
    }
}

#[async_trait]
impl Blobs for BlobsOver {
    async fn put(&self, bytes: Bytes) -> Result<BlobRef, LogError> {
        self.upper.put(bytes).await
    }

    async fn get(&self, hash: &Digest) -> Result<Bytes, LogError> {
        match self.upper.get(hash).await {
            Err(LogError::BlobMissing(_)) => self.lower.get(hash).await,
            other => other,
        }
    }

    async fn has(&self, hash: &Digest) -> Result<bool, LogError> {
        Ok(self.upper.has(hash).await? || self.lower.has(hash).await?)
    }

    fn writer(&self) -> Result<Box<dyn BlobWriter>, LogError> {
        self.upper.writer()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::executor::block_on;

    use super::*;
    use crate::{MemoryLog, digest};

    #[test]
    fn what_is_new_stays_above() {
        let (upper, lower) = (Arc::new(MemoryLog::new()), Arc::new(MemoryLog::new()));
        let old = block_on(lower.put(Bytes::from_static(b"old"))).unwrap();
        let both = BlobsOver::new(upper.clone(), lower.clone());
        let new = block_on(both.put(Bytes::from_static(b"new"))).unwrap();
        for (blob, text) in [(&old, "old"), (&new, "new")] {
            assert_eq!(block_on(both.get(&blob.hash)).unwrap(), text);
            assert!(block_on(both.has(&blob.hash)).unwrap());
        }
        assert!(!block_on(lower.has(&new.hash)).unwrap());
        assert!(!block_on(both.has(&digest(b"none"))).unwrap());
    }
}
