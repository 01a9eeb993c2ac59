//! HTTP clients, built when they are first needed.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// One client with its own connections. Building it loads certificates for `https` and nothing for `http`.
#[derive(Clone, Default)]
pub(crate) struct LazyClient(Arc<OnceLock<Result<reqwest::Client, String>>>);

impl LazyClient {
    /// The client for endpoints below `base_url`.
    pub(crate) fn get(&self, base_url: &str, connect: Duration) -> Result<&reqwest::Client, String> {
        self.0.get_or_init(|| build(base_url, connect)).as_ref().map_err(Clone::clone)
    }

    /// Begins to build it on a thread of its own where that takes long. Whoever needs it meanwhile waits for the rest.
    pub(crate) fn prepare(&self, base_url: &str, connect: Duration) {
        let reads_certificates =
            base_url.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:"));
        if reads_certificates && self.0.get().is_none() {
            let (client, base_url) = (self.clone(), base_url.to_owned());
            let build = move || drop(client.get(&base_url, connect));
            // Without a thread the first call builds it.
            drop(std::thread::Builder::new().name("sterna-tls".into()).spawn(build));
        }
    }
}

fn build(base_url: &str, connect: Duration) -> Result<reqwest::Client, String> {
    let url = reqwest::Url::parse(base_url).map_err(|error| {
        format!("`{base_url}` is not a base URL ({error}): write http://HOST or https://HOST")
    })?;
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("sterna/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(connect)
        .redirect(reqwest::redirect::Policy::none())
        .tcp_nodelay(true);
    if is_loopback(&url) {
        builder = builder.no_proxy();
    }
    let builder = match url.scheme() {
        "https" => {
            // An error means that the host has installed a provider of its own: then that one is used.
            let _ = rustls::crypto::ring::default_provider().install_default();
            builder
        }
        "http" => builder.tls_backend_preconfigured(trusting_nobody()?),
        other => return Err(format!("`{base_url}` has the scheme `{other}`: write http or https")),
    };
    builder
        .build()
        .map_err(|error| format!("the HTTP client cannot be built: {}", crate::call::chain(&error)))
}

/// TLS without a single root, because nothing may use it: reading the system's certificates takes milliseconds.
fn trusting_nobody() -> Result<rustls::ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?;
    Ok(config.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth())
}

fn is_loopback(url: &reqwest::Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_client_that_reads_certificates_is_built_ahead() {
        let connect = Duration::from_secs(1);
        let ahead = |base_url: &str| {
            let client = LazyClient::default();
            client.prepare(base_url, connect);
            client
        };
        let plain = ahead("http://127.0.0.1:1/v1");
        let client = ahead("https://127.0.0.1:1/v1");
        assert!(client.0.wait().is_ok(), "by nobody but the thread");
        assert!(plain.0.get().is_none());
        // An address that is none is told to the call.
        assert!(ahead("https://").get("https://", connect).unwrap_err().contains("is not a base URL"));
    }

    #[test]
    fn loopback_is_known_by_its_names() {
        let is = |text: &str| is_loopback(&reqwest::Url::parse(text).unwrap());
        assert!(is("http://127.0.0.1:1/v1") && is("http://[::1]:1") && is("http://localhost"));
        assert!(!is("http://127.0.0.1.example.invalid") && !is("https://api.example.invalid"));
    }

    #[test]
    fn wrong_urls_say_what_to_write() {
        let error = |text: &str| build(text, Duration::from_secs(1)).unwrap_err();
        assert!(error("nonsense").contains("write http://HOST"));
        assert!(error("ftp://host").contains("scheme `ftp`"));
        assert!(build("http://127.0.0.1:1", Duration::from_secs(1)).is_ok());
        assert!(build("https://127.0.0.1:1", Duration::from_secs(1)).is_ok());
    }
}
