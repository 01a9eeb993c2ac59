//! Logins: where they are kept, how one is made with a browser, and how it is used.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rmcp::transport::auth::{
    AuthError, AuthorizationManager, AuthorizationRequest, AuthorizationSession, CredentialRefreshGuard,
    CredentialStore, StoredCredentials,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::config::{ServerConfig, Transport};
use crate::connection::chain;
use crate::launch::http_client;
use crate::manifest::{failure_note, write_private};

/// Why there is no login.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    #[error("`{0}` is started as a program: only servers with a `url` have logins")]
    NoAddress(String),
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
    let Transport::Http { url, .. } = &config.transport else {
        return Err(LoginError::NoAddress(config.name.clone()));
    };
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(LoginError::Listen)?;
    let port = listener.local_addr().map_err(LoginError::Listen)?.port();
    let redirect = format!("http://127.0.0.1:{port}/callback");
    let manager = manager(config, state, url).await;
    let manager = manager.map_err(|error| LoginError::Discovery(chain(&error)))?;
    let mut request = AuthorizationRequest::new(redirect.clone()).with_client_name("Sterna");
    if let Some(client) = &config.oauth_client {
        request = request.with_preregistered_client(client.as_str());
    }
    if !config.oauth_scopes.is_empty() {
        request = request.with_scopes(config.oauth_scopes.clone());
    }
    let session = AuthorizationSession::new(manager, request)
        .await
        .map_err(|(_, error)| LoginError::Registration(chain(&error)))?;
    open(session.get_authorization_url());
    let back = timeout(PATIENCE, callback(&listener, port));
    let back = back.await.map_err(|_| LoginError::Nobody(PATIENCE.as_secs()))?.map_err(LoginError::Listen)?;
    match session.handle_callback_url(&back).await {
        Ok(_) => {
            // It failed for want of this, if it failed.
            drop(std::fs::remove_file(failure_note(state, config)));
            Ok(())
        }
        Err(AuthError::CredentialStoreError(why)) => Err(LoginError::Keep(why.to_string())),
        Err(error) => Err(LoginError::Refused(chain(&error))),
    }
}

/// Forgets a login. `false`: there was none.
pub fn logout(config: &ServerConfig, state: &Path) -> std::io::Result<bool> {
    let Some(file) = login_file(config, state) else { return Ok(false) };
    match std::fs::remove_file(file) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether a login is kept for a server.
pub fn has_login(config: &ServerConfig, state: &Path) -> bool {
    login_file(config, state).is_some_and(|file| file.is_file())
}

/// The manager of a login that is kept; it refreshes tokens by itself. `None` where there is no login.
pub(crate) async fn manager_with_login(
    config: &ServerConfig,
    state: &Path,
    url: &str,
) -> Result<Option<AuthorizationManager>, String> {
    if !has_login(config, state) {
        return Ok(None);
    }
    let mut manager = manager(config, state, url).await.map_err(|error| chain(&error))?;
    match manager.initialize_from_store().await {
        Ok(true) => Ok(Some(manager)),
        Ok(false) => Ok(None),
        Err(error) => Err(format!("its login cannot be used: {}", chain(&error))),
    }
}

/// A manager that knows the authorization server. Where its metadata is, only the server's own refusal may tell: a token
/// is renewed where it was given.
async fn manager(config: &ServerConfig, state: &Path, url: &str) -> Result<AuthorizationManager, AuthError> {
    // An error means that the host has installed a provider of its own: then that one is used.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // It reaches no address that the server's own one is not as close as: metadata must not lead into our network.
    let mut manager = AuthorizationManager::new(url).await?;
    manager.set_credential_store(store(config, state, url));
    let challenge = challenge(url, config.times.start).await;
    let resolved = manager.resolve_metadata_from_challenge(challenge.as_deref()).await?;
    manager.set_metadata(resolved.metadata);
    Ok(manager)
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

fn login_file(config: &ServerConfig, state: &Path) -> Option<PathBuf> {
    match &config.transport {
        Transport::Http { url, .. } => Some(store(config, state, url).file),
        Transport::Stdio { .. } => None,
    }
}

fn store(config: &ServerConfig, state: &Path, url: &str) -> FileStore {
    let hash = blake3::hash(url.as_bytes()).to_hex();
    FileStore { file: state.join("mcp").join("logins").join(format!("{}-{}.json", config.name, &hash[..16])) }
}

/// A login in a file of mode 0600. It holds the issuer: a login is never used at another one.
struct FileStore {
    file: PathBuf,
}

#[async_trait]
impl CredentialStore for FileStore {
    async fn load(&self) -> Result<Option<StoredCredentials>, AuthError> {
        match std::fs::read(&self.file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| cannot(&self.file, &error)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(cannot(&self.file, &error)),
        }
    }

    async fn save(&self, credentials: StoredCredentials) -> Result<(), AuthError> {
        let bytes = serde_json::to_vec(&credentials).map_err(|error| cannot(&self.file, &error))?;
        write_private(&self.file, &bytes).map_err(|error| cannot(&self.file, &error))
    }

    async fn clear(&self) -> Result<(), AuthError> {
        match std::fs::remove_file(&self.file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(cannot(&self.file, &error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// A refresh token is good once: of two processes one refreshes, and the other finds what it got.
    async fn acquire_refresh_guard(&self) -> Result<Option<CredentialRefreshGuard>, AuthError> {
        let lock = self.file.with_extension("lock");
        let taken = tokio::task::spawn_blocking(move || {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(&lock)?;
            file.lock()?;
            Ok::<_, std::io::Error>(Arc::new(file))
        });
        match taken.await {
            Ok(Ok(file)) => Ok(Some(CredentialRefreshGuard::new(file))),
            Ok(Err(error)) => Err(cannot(&self.file, &error)),
            Err(error) => Err(cannot(&self.file, &error)),
        }
    }
}

fn cannot(file: &Path, why: &dyn std::fmt::Display) -> AuthError {
    AuthError::CredentialStoreError(format!("{}: {why}", file.display()))
}

/// For somebody to find the page, the password and the second factor.
const PATIENCE: Duration = Duration::from_secs(300);
const CAME_BACK: &str = "Sterna has what it needs. You can close this page.\n";
