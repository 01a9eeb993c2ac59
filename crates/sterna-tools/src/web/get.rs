//! One request to addresses that were judged, and what came back, up to a size.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use sterna_shell::sandbox::DomainRule;
use sterna_shell::sandbox::net::{Resolver, system_resolver};
use url::Url;

use super::guard::{Pinned, Refusal, addresses};

/// What came back.
pub(crate) struct Answer {
    pub status: u16,
    pub content_type: String,
    /// Where it leads, for redirects.
    pub location: Option<String>,
    pub bytes: Vec<u8>,
    /// There was more than is taken.
    pub cut: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GetError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("{0}")]
    Failed(String),
}

/// Asks the public network, and what of this one is allowed by name.
#[derive(Clone)]
pub(crate) struct Web {
    private: Arc<[DomainRule]>,
    resolver: Resolver,
}

impl Web {
    pub(crate) fn new(private: &[DomainRule], resolver: Option<Resolver>) -> Self {
        Self { private: private.into(), resolver: resolver.unwrap_or_else(system_resolver) }
    }

    /// What is judged by.
    pub(crate) fn rules(&self) -> (&[DomainRule], &Resolver) {
        (&self.private, &self.resolver)
    }

    pub(crate) fn private(&self) -> &[DomainRule] {
        &self.private
    }

    /// One GET. A redirect is an answer.
    pub(crate) async fn get(&self, url: &Url, accept: &'static str, max: usize) -> Result<Answer, GetError> {
        let pinned = Pinned(addresses(url, &self.private, &self.resolver).await?);
        let client = plain(url)?.dns_resolver(Arc::new(pinned)).build().map_err(|error| failed(&error))?;
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        send(client.get(url.clone()).headers(headers), max).await
    }
}

/// One GET to a place that the person has configured, wherever it is.
pub(crate) async fn get_configured(
    url: &Url,
    headers: &[(&'static str, String)],
    max: usize,
) -> Result<Answer, GetError> {
    let client = plain(url)?.build().map_err(|error| failed(&error))?;
    let mut map = HeaderMap::new();
    map.insert(ACCEPT, HeaderValue::from_static("application/json"));
    for (name, value) in headers {
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| GetError::Failed("the key holds characters that no header may have".into()))?;
        value.set_sensitive(true);
        map.insert(HeaderName::from_static(name), value);
    }
    send(client.get(url.clone()).headers(map), max).await
}

/// A client for one request: no proxy that would resolve names itself, no cookies, no redirects that nobody judged.
pub(crate) fn plain(url: &Url) -> Result<reqwest::ClientBuilder, GetError> {
    let builder = reqwest::Client::builder()
        .user_agent(concat!("sterna/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .connect_timeout(CONNECT_WITHIN)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false);
    if url.scheme() == "https" {
        // An error means that the host has installed a provider of its own: then that one is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        return Ok(builder);
    }
    // Reading the system's certificates takes milliseconds, and nothing here uses them.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| GetError::Failed(format!("TLS cannot be set up: {error}")))?;
    let config = config.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    Ok(builder.tls_backend_preconfigured(config))
}

pub(crate) async fn send(request: reqwest::RequestBuilder, max: usize) -> Result<Answer, GetError> {
    let mut response = request.send().await.map_err(|error| failed(&error))?;
    let header = |name: HeaderName| {
        response.headers().get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let (content_type, location) = (header(CONTENT_TYPE).unwrap_or_default(), header(LOCATION));
    let status = response.status().as_u16();
    let mut bytes = Vec::new();
    let mut cut = false;
    while let Some(chunk) = response.chunk().await.map_err(|error| failed(&error))? {
        let room = max - bytes.len();
        bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            cut = true;
            break;
        }
    }
    Ok(Answer { status, content_type, location, bytes, cut })
}

/// The whole chain: the first error alone says that something went wrong, and the last one what.
fn failed(error: &dyn std::error::Error) -> GetError {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    GetError::Failed(text)
}

const CONNECT_WITHIN: Duration = Duration::from_secs(15);
