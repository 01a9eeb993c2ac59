//! One call: request out, stream in, under four time limits and with bounded memory.

use std::error::Error;
use std::future::Future;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::FutureExt;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER, TRANSFER_ENCODING};
use reqwest::{Response, StatusCode, Version};
use sterna_llm::wire::{Decoder, Wire};
use sterna_llm::{Encoded, ModelReply, StreamEvent};
use sterna_model::{Billed, ErrorClass, ProviderFailure, Route, Usage};
use tokio::time::{Instant, timeout, timeout_at};

use crate::{Endpoint, Secret};

/// A request about to be sent.
pub(crate) struct Call<'a> {
    pub(crate) client: &'a reqwest::Client,
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) key: Option<&'a Secret>,
    pub(crate) wire: &'static dyn Wire,
    pub(crate) route: &'a Route,
}

impl Call<'_> {
    /// Sends the body and reads the whole answer. Dropping the future closes the connection.
    pub(crate) async fn run(
        self,
        body: Encoded,
        events: &mut (dyn FnMut(StreamEvent) + Send),
    ) -> Result<ModelReply, ProviderFailure> {
        let limits = Limits::from_now(self.endpoint);
        let sent_bytes = body.bytes;
        let response = limits.first(self.request(&body)?.send()).await?.map_err(|error| transport(&error))?;
        let status = response.status();
        if status != StatusCode::OK || !streams(response.headers()) {
            return Err(self.refused(response, &limits).await);
        }
        let result = self.read(response, &limits, events).await;
        result.map_err(|failed| estimated(failed, sent_bytes))
    }

    fn request(&self, body: &Encoded) -> Result<reqwest::RequestBuilder, ProviderFailure> {
        let base = self.endpoint.base_url.trim_end_matches('/');
        let mut request = self.client.post(format!("{base}{}", self.wire.path(&self.route.model)));
        for (name, value) in self.endpoint.headers(self.wire, self.key.map(Secret::expose)) {
            request = request.header(name, value);
        }
        // One piece, with its length: copying is cheaper than a frame for each chunk, and every server takes it.
        Ok(request.body(body.body()))
    }

    /// The failure behind an answer that is no stream.
    async fn refused(&self, response: Response, limits: &Limits) -> ProviderFailure {
        let status = response.status();
        let retry_after = retry_after_ms(response.headers(), SystemTime::now());
        let location = response.headers().get("location").and_then(|to| to.to_str().ok()).map(str::to_owned);
        let body = match limits.first(error_body(response)).await {
            Ok(body) => body,
            Err(timed_out) if status == StatusCode::OK => return timed_out,
            Err(_) => Vec::new(),
        };
        let mut failed = self.wire.classify(status.as_u16(), retry_after, &body);
        if status.is_redirection() {
            let to = location.unwrap_or_else(|| "nowhere".into());
            failed.message = format!("the endpoint redirects to {to}: set that as base URL if you trust it");
        } else if status.is_success() {
            failed.message = format!("the endpoint sent no event stream: {}", failed.message);
        }
        failed
    }

    async fn read(
        &self,
        mut response: Response,
        limits: &Limits,
        events: &mut (dyn FnMut(StreamEvent) + Send),
    ) -> Result<ModelReply, ProviderFailure> {
        let framed = framed(&response);
        let mut decoder = self.wire.decoder(self.route);
        let mut total = 0usize;
        let mut next = limits.first(response.chunk()).await;
        loop {
            match next {
                Ok(Ok(Some(bytes))) => {
                    total = total.saturating_add(bytes.len());
                    decoder.push(&bytes, events)?;
                }
                Ok(Ok(None)) => return decoder.finish(framed, events),
                Ok(Err(error)) => {
                    return broken(decoder, events, |failed| {
                        failed.message = format!("the stream broke: {}", chain(&error));
                    });
                }
                Err(timed_out) => {
                    return broken(decoder, events, |failed| {
                        *failed = ProviderFailure { billed: failed.billed.clone(), ..timed_out };
                    });
                }
            }
            if decoder.done() {
                to_the_end(response).await;
                return decoder.finish(true, events);
            }
            if total > MAX_ANSWER_BYTES {
                return broken(decoder, events, |failed| {
                    failed.message = format!("the answer is longer than {MAX_ANSWER_BYTES} bytes");
                });
            }
            next = limits.idle(response.chunk()).await;
        }
    }
}

/// Reads what follows the answer, which can only be the body's end: with it the connection serves the next request too. Mostly it is
/// there already, and the connection's task only has to look: a timer would wake whoever waits for timers.
async fn to_the_end(mut response: Response) {
    for _ in 0..LOOKS {
        if response.chunk().now_or_never().is_some() {
            return;
        }
        tokio::task::yield_now().await;
    }
    let _ = timeout(DRAIN, response.chunk()).await;
}

/// The four limits of a call that starts now.
struct Limits {
    first_byte: Instant,
    idle: Duration,
    whole: Instant,
}

impl Limits {
    fn from_now(endpoint: &Endpoint) -> Self {
        let now = Instant::now();
        let ms = |ms: u64| Duration::from_millis(ms.min(MAX_LIMIT_MS));
        Self {
            first_byte: now + ms(endpoint.timeouts.first_byte_ms),
            idle: ms(endpoint.timeouts.idle_ms),
            whole: now + ms(endpoint.timeouts.total_ms),
        }
    }

    async fn first<T>(&self, work: impl Future<Output = T>) -> Result<T, ProviderFailure> {
        let what = "the provider sent nothing within the time limit for the first byte";
        timeout_at(self.first_byte.min(self.whole), work).await.map_err(|_| self.over(what))
    }

    async fn idle<T>(&self, work: impl Future<Output = T>) -> Result<T, ProviderFailure> {
        let over = |_| self.over(&format!("the stream was silent for {} ms", self.idle.as_millis()));
        timeout_at(self.whole.min(Instant::now() + self.idle), work).await.map_err(over)
    }

    fn over(&self, what: &str) -> ProviderFailure {
        let whole = Instant::now() >= self.whole;
        failure(ErrorClass::Timeout, if whole { "the call took longer than its time limit" } else { what })
    }
}

/// A failure that no provider worded.
pub(crate) fn failure(class: ErrorClass, message: impl Into<String>) -> ProviderFailure {
    let message = message.into();
    ProviderFailure { class, status: None, message, retry_after_ms: None, billed: Billed::default() }
}

/// An error with its causes, in one line and without the URL, which may hold a secret.
pub(crate) fn chain(error: &reqwest::Error) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut source = error.source();
    while let Some(cause) = source {
        texts.push(cause.to_string());
        source = cause.source();
    }
    texts.dedup();
    if texts.is_empty() { "no reason given".into() } else { texts.join(": ") }
}

/// An attempt that got no answer at all.
pub(crate) fn transport(error: &reqwest::Error) -> ProviderFailure {
    let (class, what) = if error.is_builder() {
        (ErrorClass::InvalidRequest, "the request cannot be sent")
    } else if error.is_timeout() {
        (ErrorClass::Timeout, "connecting took longer than its time limit")
    } else if error.is_connect() {
        (ErrorClass::Network, "cannot connect")
    } else {
        (ErrorClass::Network, "the connection broke before an answer came")
    };
    let host = error.url().and_then(|url| url.host_str()).unwrap_or("the endpoint");
    let port = error.url().and_then(reqwest::Url::port).map(|port| format!(":{port}")).unwrap_or_default();
    failure(class, format!("{what} ({host}{port}): {}", chain(error)))
}

/// Ends a stream whose body broke. The answer may be whole all the same; otherwise `explain` words the failure.
fn broken(
    decoder: Box<dyn Decoder>,
    events: &mut (dyn FnMut(StreamEvent) + Send),
    explain: impl FnOnce(&mut ProviderFailure),
) -> Result<ModelReply, ProviderFailure> {
    decoder.finish(false, events).map_err(|mut failed| {
        explain(&mut failed);
        failed
    })
}

/// A call that failed after it began was billed, though nobody says how much: four bytes are about a token.
fn estimated(mut failed: ProviderFailure, sent_bytes: u64) -> ProviderFailure {
    if failed.billed.usage == Usage::default() && failed.billed.raw.is_none() {
        failed.billed.usage.input_uncached = sent_bytes / 4;
        failed.billed.estimated = true;
    }
    failed
}

/// Whether the end of the body can be told from a broken connection.
fn framed(response: &Response) -> bool {
    let chunked = |value: &reqwest::header::HeaderValue| {
        value.to_str().is_ok_and(|text| text.to_ascii_lowercase().contains("chunked"))
    };
    response.version() >= Version::HTTP_2
        || response.content_length().is_some()
        || response.headers().get(TRANSFER_ENCODING).is_some_and(chunked)
}

/// JSON in place of a stream is an error that came with status 200, or an endpoint that cannot stream.
fn streams(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    !kind.starts_with("application/json") && !kind.starts_with("text/html")
}

/// As much of an error's body as is worth reading.
async fn error_body(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(bytes)) = response.chunk().await {
        body.extend_from_slice(take(&bytes, MAX_ERROR_BYTES - body.len()));
        if body.len() >= MAX_ERROR_BYTES {
            break;
        }
    }
    body
}

fn take(bytes: &Bytes, most: usize) -> &[u8] {
    &bytes[..bytes.len().min(most)]
}

/// `Retry-After`: seconds, or a date.
pub(crate) fn retry_after_ms(headers: &HeaderMap, now: SystemTime) -> Option<u64> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    if let Some(ms) = text("retry-after-ms").and_then(|ms| ms.parse::<f64>().ok()) {
        // A negative number or none casts to 0.
        return Some(ms.ceil() as u64);
    }
    let asked = text(RETRY_AFTER.as_str())?;
    if let Ok(seconds) = asked.parse::<f64>() {
        return Some((seconds * 1_000.0).ceil() as u64);
    }
    let until = httpdate::parse_http_date(asked).ok()?;
    let wait = until.duration_since(now).unwrap_or_default();
    u64::try_from(wait.as_millis()).ok()
}

/// How often the end of a body is looked for before it is waited for.
const LOOKS: usize = 2;
/// How long the end of a body may take after the answer's own end.
const DRAIN: Duration = Duration::from_millis(20);
/// A year: no sum of times overflows.
const MAX_LIMIT_MS: u64 = 365 * 24 * 3_600_000;
const MAX_ERROR_BYTES: usize = 64 << 10;
/// No model writes as much; a server that does is broken or hostile.
const MAX_ANSWER_BYTES: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_ask_to_wait() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let check = |name: &'static str, value: &str, expect: Option<u64>| {
            let headers = HeaderMap::from_iter([(
                reqwest::header::HeaderName::from_static(name),
                value.parse().unwrap(),
            )]);
            assert_eq!(retry_after_ms(&headers, now), expect, "{name}: {value}");
        };
        check("retry-after", "2", Some(2_000));
        check("retry-after", "0.5", Some(500));
        check("retry-after", "-1", Some(0));
        check("retry-after", "Tue, 14 Nov 2023 22:13:30 GMT", Some(10_000));
        check("retry-after", "Tue, 14 Nov 2023 22:00:00 GMT", Some(0));
        check("retry-after", "soon", None);
        check("retry-after-ms", "1500", Some(1_500));
        assert_eq!(retry_after_ms(&HeaderMap::new(), now), None);
    }
}
