//! Memory in the store, with the secrets and the embedder that are configured.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use sterna_llm::embed::{Embedded, Embedder};
use sterna_llm_http::HttpEmbedder;
use sterna_log::SharedLog;
use sterna_memory::LogMemory;
use sterna_model::{Billed, ErrorClass, ProviderFailure};
use sterna_runtime::Secrets;
use sterna_tool::SharedMemory;

use crate::Error;
use crate::config::Settings;

/// The memory of a store's one user. Reads nothing; the key of a configured embedder is looked for now.
pub fn memory_of(settings: &Settings, log: SharedLog, secrets: Secrets) -> Result<SharedMemory, Error> {
    let mut memory = LogMemory::new(log).secrets(move || secrets.common());
    if let Some(route) = &settings.memory_embedder {
        let Some(endpoint) = settings.endpoint(&route.provider)? else {
            return Err(Error::setup(
                format!("`memory_embedder` names the provider `{}`, which there is not", route.provider),
                "name a provider of `sterna models`, or leave the key out",
            ));
        };
        let inner = HttpEmbedder::new(&route.provider, &route.model, endpoint);
        memory = memory.embedder(Arc::new(Hurried(inner)));
    }
    Ok(Arc::new(memory))
}

/// An embedder that no turn waits long for: when it is late, notes are found by their spelling.
struct Hurried<E>(E);

impl<E: Embedder> Embedder for Hurried<E> {
    fn name(&self) -> String {
        self.0.name()
    }

    fn dimensions(&self) -> Option<usize> {
        self.0.dimensions()
    }

    fn embed<'a>(&'a self, texts: &'a [String]) -> BoxFuture<'a, Result<Embedded, ProviderFailure>> {
        async move {
            tokio::time::timeout(PATIENCE, self.0.embed(texts)).await.unwrap_or_else(|_| {
                Err(ProviderFailure {
                    class: ErrorClass::Timeout,
                    status: None,
                    message: "the embedder gave no answer within 2 s".into(),
                    retry_after_ms: None,
                    billed: Billed::default(),
                })
            })
        }
        .boxed()
    }
}

const PATIENCE: Duration = Duration::from_secs(2);
