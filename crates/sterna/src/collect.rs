//! Blobs that no session refers to any more are removed, with what hangs on them.

use std::collections::HashSet;
use std::sync::Arc;

use serde::Serialize;
use sterna_log::{Blobs, Held, LogError};
use sterna_model::{Digest, Manifest, SessionId};
use sterna_runtime::Env;
use sterna_sqlite::{SqliteStore, Swept};

use crate::trust::manifests;
use crate::{Error, LocalCheckpoints};

/// What a collection did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Collected {
    pub blobs: u64,
    pub bytes: u64,
    /// Why nothing was removed: this session is being driven.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driven: Option<SessionId>,
    /// Why nothing was removed: others wrote all the time.
    pub busy: bool,
}

/// Removes what no record of any session holds. Nothing is removed while a session is being driven, for its driver may
/// have kept what stands in no record yet.
///
/// Errors: `LogError::Corrupt` when a record cannot be read: what it holds is not known.
pub async fn collect(
    store: &SqliteStore,
    checkpoints: Arc<LocalCheckpoints>,
    env: Arc<dyn Env>,
) -> Result<Collected, Error> {
    let nothing = Collected { blobs: 0, bytes: 0, driven: None, busy: false };
    for _ in 0..ATTEMPTS {
        let census = store.census().await?;
        // No record holds these, and a sweep must not make them forgotten.
        let mut keep: HashSet<Digest> = manifests(store).await?.into_iter().collect();
        for held in &census.held {
            keep.insert(held.hash());
            match held {
                Held::Blob(_) => {}
                Held::Prompt(manifest) => parts(store, manifest, &mut keep).await?,
                Held::Checkpoint(manifest) => {
                    let (checkpoints, manifest) = (checkpoints.clone(), *manifest);
                    let files = tokio::task::spawn_blocking(move || checkpoints.holds(&manifest)).await;
                    let files = files.map_err(|error| LogError::Io(error.to_string()))?;
                    keep.extend(files.map_err(|fault| LogError::Damaged(fault.to_string()))?);
                }
            }
        }
        let (now, env) = (env.now(), env.clone());
        match store.sweep(census, keep, now, move |owner| env.is_dead(owner)).await? {
            Swept::Done { blobs, bytes } => return Ok(Collected { blobs, bytes, ..nothing }),
            Swept::Driven(session) => return Ok(Collected { driven: Some(session), ..nothing }),
            Swept::Changed => {}
        }
    }
    Ok(Collected { busy: true, ..nothing })
}

/// What a prompt's manifest names. A manifest that is gone names nothing.
async fn parts(store: &SqliteStore, manifest: &Digest, keep: &mut HashSet<Digest>) -> Result<(), LogError> {
    let bytes = match store.get(manifest).await {
        Err(LogError::BlobMissing(_)) => return Ok(()),
        other => other?,
    };
    let manifest: Manifest = serde_json::from_slice(&bytes)
        .map_err(|error| LogError::Damaged(format!("the manifest {manifest} cannot be read: {error}")))?;
    keep.extend(manifest.parts.iter().map(|part| part.text.hash));
    keep.extend(manifest.tools.iter().map(|tool| tool.spec.hash));
    Ok(())
}

/// How often a census is taken anew because somebody wrote meanwhile.
const ATTEMPTS: usize = 3;
