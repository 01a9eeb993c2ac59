//! Logins: how one is made, with a browser or by the client itself, and how it is used.

use std::path::Path;
use std::time::Duration;

use futures::FutureExt;
use rmcp::transport::auth::{
    AuthError, AuthorizationManager, AuthorizationRequest, AuthorizationSession, ClientCredentialsConfig,
    CredentialStore, InMemoryCredentialStore, OAuthClientConfig,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::config::{Grant, ServerConfig, Transport};
use crate::connection::chain;
use crate::launch::http_client;
use crate::logins::{FileStore, scopes_of};
use crate::manifest::failure_note;
use crate::own::OwnLogin;

/// Why there is no login.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    #[error("`{0}` is started as a program: only servers with a `url` have logins")]
    NoAddress(String),
    #[error(
        "`{0}` logs in by itself (`oauth_grant` is `client_credentials`); `sterna mcp test {0}` tries it"
    )]
    NoPerson(String),
    #[error("the server does not say where to log in: {0}")]
    Discovery(String),
    #[error(
        "the authorization server would not have us: {0}; set `oauth_client_id` to a client that it knows"
    )]
    Registration(String),
    #[error("nobody came back from the login page within {0} s")]
    Nobody(u64),
    #[error("the login was not accepted: {0}")]
    Refused(String),
    #[error("cannot listen for the answer of the login page: {0}")]
    Listen(#[source] std::io::Error),
    #[error("the login could not be kept: {0}")]
    Keep(String),
}

/// Logs in to a server: finds its authorization server, registers if that is needed, and gives `open` the address that
/// a person's browser is to open. Waits for the browser to come back, 300 s at most, and keeps the login in `state`.
pub async fn login(config: &ServerConfig, state: &Path, open: impl FnOnce(&str)) -> Result<(), LoginError> {
    let Some((url, store)) = address(config).zip(FileStore::of(config, state)) else {
        return Err(LoginError::NoAddress(config.name.clone()));
    };
    if config.oauth.grant == Grant::ClientCredentials {
        return Err(LoginError::NoPerson(config.name.clone()));
    }
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(LoginError::Listen)?;
    let port = listener.local_addr().map_err(LoginError::Listen)?.port();
    let redirect = format!("http://127.0.0.1:{port}/callback");
    let found = found(config, url).await.map_err(|error| LoginError::Discovery(chain(&error)))?;
    let (mut manager, takes_pages) = (found.manager, found.takes_pages);
    manager.set_credential_store(store.clone());
    let scopes = scopes(config, &manager, &store);
    let not_registered = |error: AuthError| {
        // It may have refused what a tool wished for: the next login asks for less.
        store.forget_wishes();
        LoginError::Registration(chain(&error))
    };
    let mut request = AuthorizationRequest::new(redirect.clone()).with_scopes(scopes.clone());
    request = match (&config.oauth.client, &config.oauth.secret) {
        (Some(client), Some(secret)) => {
            request.with_preregistered_client(client.as_str()).with_client_secret(secret.as_str())
        }
        (Some(page), None) if is_page(page) && takes_pages => request.with_client_metadata_url(page.as_str()),
        (Some(client), None) if !is_page(client) => request.with_preregistered_client(client.as_str()),
        (Some(_) | None, None) | (None, Some(_)) => {
            let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
            let made = manager.register_client("Sterna", &redirect, &scopes).await;
            let made = made.map_err(not_registered)?;
            let request = request.with_preregistered_client(made.client_id);
            store.keep_secret(made.client_secret.clone());
            match made.client_secret {
                Some(secret) => request.with_client_secret(secret),
                None => request,
            }
        }
    };
    let session =
        AuthorizationSession::new(manager, request).await.map_err(|(_, error)| not_registered(error))?;
    open(session.get_authorization_url());
    let back = timeout(PATIENCE, callback(&listener, port));
    let back = back.await.map_err(|_| LoginError::Nobody(PATIENCE.as_secs()))?.map_err(LoginError::Listen)?;
    match session.handle_callback_url(&back).await {
        Ok(_) => {
            store.forget_wishes();
            // It failed for want of this, if it failed.
            drop(std::fs::remove_file(failure_note(state, config)));
            Ok(())
        }
        Err(AuthError::CredentialStoreError(why)) => Err(LoginError::Keep(why.to_string())),
        Err(error) => {
            store.forget_wishes();
            Err(LoginError::Refused(chain(&error)))
        }
    }
}

/// Forgets a login. `false`: there was none.
pub fn logout(config: &ServerConfig, state: &Path) -> std::io::Result<bool> {
    FileStore::of(config, state).map_or(Ok(false), |store| store.remove())
}

/// Whether a login is kept for a server.
pub fn has_login(config: &ServerConfig, state: &Path) -> bool {
    FileStore::of(config, state).is_some_and(|store| store.is_there())
}

/// A login, and the manager that uses it.
pub(crate) enum Login {
    None,
    /// One that a person has made. It is renewed when it is over.
    Kept(AuthorizationManager),
    /// The client's own.
    Own(AuthorizationManager, OwnLogin),
}

/// The login that requests to the server are made with.
pub(crate) async fn login_of(config: &ServerConfig, state: &Path, url: &str) -> Result<Login, String> {
    if config.oauth.grant == Grant::ClientCredentials {
        let own = own_login(config, url).await.map_err(|error| chain(&error))?;
        return Ok(Login::Own(own.0, own.1));
    }
    let Some(store) = FileStore::of(config, state).filter(FileStore::is_there) else {
        return Ok(Login::None);
    };
    let mut manager = found(config, url).await.map_err(|error| chain(&error))?.manager;
    manager.set_credential_store(store.clone());
    let wrong = |error: AuthError| format!("its login cannot be used: {}", chain(&error));
    if !manager.initialize_from_store().await.map_err(wrong)? {
        return Ok(Login::None);
    }
    if let Some((client, kept)) = store.client() {
        let own = config.oauth.secret.clone().filter(|_| config.oauth.client.as_ref() == Some(&client));
        if let Some(secret) = own.or(kept) {
            // Without it a login that was made with it cannot be renewed.
            let client = OAuthClientConfig::new(client, url).with_client_secret(secret);
            manager.configure_client(client).map_err(wrong)?;
        }
    }
    Ok(Login::Kept(manager))
}

/// The server wants more than its login allows: which scopes, as far as it says. The next login that a person makes asks
/// for them too.
pub(crate) fn wants_scopes(config: &ServerConfig, state: &Path, scope: Option<&str>) -> Vec<String> {
    let scopes = scopes_of(scope.unwrap_or_default());
    let by_person = config.oauth.grant == Grant::AuthorizationCode;
    if let Some(store) = FileStore::of(config, state).filter(|_| by_person && !scopes.is_empty()) {
        store.wish(&scopes);
    }
    scopes
}

/// The manager of a client that logs in by itself.
async fn own_login(config: &ServerConfig, url: &str) -> Result<(AuthorizationManager, OwnLogin), AuthError> {
    let (client, secret) = config.oauth.client.clone().zip(config.oauth.secret.clone()).unwrap_or_default();
    let mut manager = found(config, url).await?.manager;
    // It renews nothing, and has to know whom it speaks for all the same.
    manager.configure_client_id(&client)?;
    let first = config.oauth.scopes.clone();
    let (config, url) = (config.clone(), url.to_owned());
    let ask = move |scopes: Vec<String>| {
        let (config, url) = (config.clone(), url.clone());
        let credentials = ClientCredentialsConfig::ClientSecret {
            client_id: client.clone(),
            client_secret: secret.clone(),
            scopes,
            resource: Some(url.clone()),
        };
        async move {
            let store = InMemoryCredentialStore::new();
            let mut manager = found(&config, &url).await?.manager;
            manager.set_credential_store(store.clone());
            manager.validate_client_credentials_metadata(&credentials)?;
            manager.configure_client_credentials(&credentials)?;
            let token = manager.exchange_client_credentials(&credentials).await?;
            let login = store.load().await?.ok_or(AuthError::AuthorizationRequired)?;
            let good = serde_json::to_value(&token).ok().and_then(|token| token["expires_in"].as_u64());
            Ok((login, good.map(Duration::from_secs)))
        }
        .boxed()
    };
    let login = OwnLogin::new(first, Box::new(ask));
    manager.set_credential_store(login.clone());
    Ok((manager, login))
}

/// What a login asks for: what is configured, or what the server says. A login that was not enough asks for what it had, and
/// for what was missing.
fn scopes(config: &ServerConfig, manager: &AuthorizationManager, store: &FileStore) -> Vec<String> {
    let mut scopes = match config.oauth.scopes.as_slice() {
        [] => manager.select_scopes(None, &[]),
        own => own.to_vec(),
    };
    let wished = store.wished();
    let had = if wished.is_empty() { Vec::new() } else { store.granted() };
    for scope in had.into_iter().chain(wished) {
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    scopes
}

/// Where a server's logins are made.
struct Found {
    manager: AuthorizationManager,
    /// A client may name itself by the address of a page that tells who it is.
    takes_pages: bool,
}

/// Finds the authorization server. Where its metadata is, only the server's own refusal may tell: a token is renewed where
/// it was given.
async fn found(config: &ServerConfig, url: &str) -> Result<Found, AuthError> {
    // An error means that the host has installed a provider of its own: then that one is used.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // It reaches no address that the server's own one is not as close as: metadata must not lead into our network.
    let mut manager = AuthorizationManager::new(url).await?;
    let challenge = challenge(url, config.times.start).await;
    let resolved = manager.resolve_metadata_from_challenge(challenge.as_deref()).await?;
    let takes = resolved.metadata.additional_fields.get("client_id_metadata_document_supported");
    let takes_pages = takes.and_then(serde_json::Value::as_bool).unwrap_or(false);
    manager.set_metadata(resolved.metadata);
    Ok(Found { manager, takes_pages })
}

fn address(config: &ServerConfig) -> Option<&str> {
    match &config.transport {
        Transport::Http { url, .. } => Some(url),
        Transport::Stdio { .. } => None,
    }
}

/// Whether a client's name is the address of its metadata.
fn is_page(client: &str) -> bool {
    client.starts_with("https://")
}

/// What the server says to somebody without a login, if it says something.
async fn challenge(url: &str, wait: Duration) -> Option<String> {
    let client = http_client(url, wait).ok()?;
    let asked = client.post(url).header("content-type", "application/json").body("{}").send();
    let answer = timeout(wait, asked).await.ok()?.ok()?;
    if answer.status() != reqwest::StatusCode::UNAUTHORIZED {
        return None;
    }
    answer.headers().get("www-authenticate")?.to_str().ok().map(str::to_owned)
}

/// Waits for the browser on our own port, and gives the address that it came with. Other visitors are sent away.
async fn callback(listener: &TcpListener, port: u16) -> std::io::Result<String> {
    loop {
        let (stream, _) = listener.accept().await?;
        let Ok(Some(target)) = timeout(Duration::from_secs(5), visitor(stream)).await else { continue };
        return Ok(format!("http://127.0.0.1:{port}{target}"));
    }
}

async fn visitor(stream: TcpStream) -> Option<String> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    // A request line that is longer is none of ours.
    tokio::io::AsyncReadExt::take(&mut stream, 16 << 10).read_line(&mut line).await.ok()?;
    let target = line.strip_prefix("GET ")?.split(' ').next()?.to_owned();
    let ours = target.starts_with("/callback?");
    let (status, text) = if ours { ("200 OK", CAME_BACK) } else { ("404 Not Found", "Not here.") };
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
        text.len()
    );
    stream.get_mut().write_all(answer.as_bytes()).await.ok()?;
    stream.get_mut().shutdown().await.ok()?;
    ours.then_some(target)
}

/// For somebody to find the page, the password and the second factor.
const PATIENCE: Duration = Duration::from_secs(300);
const CAME_BACK: &str = "Sterna has what it needs. You can close this page.\n";
