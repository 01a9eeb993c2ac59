//! Embeddings over HTTP, in the form that OpenAI has and its imitators share.

use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use sterna_llm::embed::{self, Embedded, Embedder};
use sterna_llm::wire;
use sterna_model::{ErrorClass, ProviderFailure, Usage};

use crate::Endpoint;
use crate::call::{failure, retry_after_ms, transport};
use crate::client::LazyClient;
use crate::provider::key;

/// Asks `POST BASE/embeddings` of an endpoint.
pub struct HttpEmbedder {
    provider: String,
    model: String,
    endpoint: Endpoint,
    client: LazyClient,
}

impl HttpEmbedder {
    /// `provider` is for the name of the vectors. Builds no client and reads nothing.
    pub fn new(provider: impl Into<String>, model: impl Into<String>, endpoint: Endpoint) -> Self {
        let (provider, model) = (provider.into(), model.into());
        Self { provider, model, endpoint, client: LazyClient::default() }
    }

    async fn ask(&self, texts: &[String]) -> Result<Embedded, ProviderFailure> {
        let endpoint = &self.endpoint;
        let ms = Duration::from_millis;
        let client = self.client.get(&endpoint.base_url, ms(endpoint.timeouts.connect_ms));
        let client = client.map_err(|message| failure(ErrorClass::InvalidRequest, message))?;
        let key = key(endpoint).await.map_err(|message| failure(ErrorClass::Auth, message))?;
        let url = format!("{}/embeddings", endpoint.base_url.trim_end_matches('/'));
        let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        headers.extend(key.map(|key| match &endpoint.key_header {
            Some(name) => (name.clone(), key.expose().to_owned()),
            None => ("authorization".to_owned(), format!("Bearer {}", key.expose())),
        }));
        let post = client.post(url);
        let own = endpoint.with_own(headers).into_iter();
        let request = own.fold(post, |request, (name, value)| request.header(name, value));
        // Nothing is streamed: the whole answer is the first byte.
        let request = request.timeout(ms(endpoint.timeouts.first_byte_ms));
        let sent = request.body(embed::encode(&self.model, texts)).send().await;
        let mut response = sent.map_err(|error| transport(&error))?;
        let (status, wait) = (response.status(), retry_after_ms(response.headers(), SystemTime::now()));
        let mut body = Vec::new();
        while let Some(bytes) = response.chunk().await.map_err(|error| transport(&error))? {
            body.extend_from_slice(&bytes);
            if body.len() > MAX_ANSWER_BYTES {
                let message = format!("the answer is longer than {MAX_ANSWER_BYTES} bytes");
                return Err(failure(ErrorClass::Server, message));
            }
        }
        if !status.is_success() {
            return Err(wire::classify_body(status.as_u16(), wait, &body));
        }
        embed::decode(&body, texts.len())
    }
}

impl Embedder for HttpEmbedder {
    fn name(&self) -> String {
        format!("{}/{}", self.provider, self.model)
    }

    fn dimensions(&self) -> Option<usize> {
        None
    }

    fn embed<'a>(&'a self, texts: &'a [String]) -> BoxFuture<'a, Result<Embedded, ProviderFailure>> {
        Box::pin(async move {
            let mut all = Embedded { vectors: Vec::with_capacity(texts.len()), usage: Usage::default() };
            for some in texts.chunks(MAX_TEXTS) {
                let Embedded { vectors, usage } = self.ask(some).await?;
                all.vectors.extend(vectors);
                all.usage.add(&usage);
            }
            Ok(all)
        })
    }
}

/// Texts of one request: all servers take so many.
const MAX_TEXTS: usize = 96;
const MAX_ANSWER_BYTES: usize = 64 << 20;
