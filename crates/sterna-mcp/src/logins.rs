//! Where the logins of people are: in files of the state folder.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use rmcp::transport::auth::{AuthError, CredentialRefreshGuard, CredentialStore, StoredCredentials};
use serde::{Deserialize, Serialize};

use crate::config::{ServerConfig, Transport};
use crate::manifest::write_private;

/// A login in a file of mode 0600. It holds the issuer: a login is never used at another one. Clones are the same login.
#[derive(Clone)]
pub(crate) struct FileStore {
    file: PathBuf,
    /// What the client proves with who it is, until there is a login that it can be kept with.
    secret: Arc<Mutex<Option<String>>>,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    #[serde(flatten)]
    credentials: StoredCredentials,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_secret: Option<String>,
}

impl FileStore {
    /// `None` for a program: it has no login.
    pub(crate) fn of(config: &ServerConfig, state: &Path) -> Option<Self> {
        let Transport::Http { url, .. } = &config.transport else { return None };
        let hash = blake3::hash(url.as_bytes()).to_hex();
        let name = format!("{}-{}.json", config.name, &hash[..16]);
        Some(Self { file: state.join("mcp").join("logins").join(name), secret: Arc::default() })
    }

    pub(crate) fn is_there(&self) -> bool {
        self.file.is_file()
    }

    /// `false`: there was none.
    pub(crate) fn remove(&self) -> std::io::Result<bool> {
        drop(std::fs::remove_file(self.wishes()));
        match std::fs::remove_file(&self.file) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// To be kept with the next login: a secret that came with the registration.
    pub(crate) fn keep_secret(&self, secret: Option<String>) {
        *self.secret.lock().unwrap_or_else(PoisonError::into_inner) = secret;
    }

    /// The client of the login that is kept, and its secret.
    pub(crate) fn client(&self) -> Option<(String, Option<String>)> {
        let kept = self.read().ok()??;
        Some((kept.credentials.client_id, kept.client_secret))
    }

    /// What the login that is kept allows.
    pub(crate) fn granted(&self) -> Vec<String> {
        self.read().ok().flatten().map(|kept| kept.credentials.granted_scopes).unwrap_or_default()
    }

    /// The server wants these scopes, and the login has them not: the next one asks for them.
    pub(crate) fn wish(&self, scopes: &[String]) {
        // Where it cannot be kept, the login asks for what it asked for before.
        drop(write_private(&self.wishes(), scopes.join(" ").as_bytes()));
    }

    pub(crate) fn wished(&self) -> Vec<String> {
        scopes_of(&std::fs::read_to_string(self.wishes()).unwrap_or_default())
    }

    pub(crate) fn forget_wishes(&self) {
        drop(std::fs::remove_file(self.wishes()));
    }

    fn wishes(&self) -> PathBuf {
        self.file.with_extension("scopes")
    }

    fn read(&self) -> Result<Option<Kept>, AuthError> {
        match std::fs::read(&self.file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| cannot(&self.file, &error)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(cannot(&self.file, &error)),
        }
    }
}

#[async_trait]
impl CredentialStore for FileStore {
    async fn load(&self) -> Result<Option<StoredCredentials>, AuthError> {
        Ok(self.read()?.map(|kept| kept.credentials))
    }

    async fn save(&self, credentials: StoredCredentials) -> Result<(), AuthError> {
        let new = self.secret.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // What is renewed is the login of the client that it was made by.
        let before = || self.client().filter(|(client, _)| *client == credentials.client_id);
        let client_secret = new.or_else(|| before()?.1);
        let bytes = serde_json::to_vec(&Kept { credentials, client_secret });
        let bytes = bytes.map_err(|error| cannot(&self.file, &error))?;
        write_private(&self.file, &bytes).map_err(|error| cannot(&self.file, &error))
    }

    async fn clear(&self) -> Result<(), AuthError> {
        self.remove().map(drop).map_err(|error| cannot(&self.file, &error))
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

/// The scopes of a challenge: what is no scope by RFC 6749, and what is too much, is left out.
pub(crate) fn scopes_of(text: &str) -> Vec<String> {
    let plain = |scope: &&str| {
        scope.len() <= SCOPE_BYTES
            && scope.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
    };
    text.split_ascii_whitespace().filter(plain).take(SCOPES).map(str::to_owned).collect()
}

fn cannot(file: &Path, why: &dyn std::fmt::Display) -> AuthError {
    AuthError::CredentialStoreError(format!("{}: {why}", file.display()))
}

/// More than any server asks for.
pub(crate) const SCOPES: usize = 50;
const SCOPE_BYTES: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_scopes_are_scopes() {
        let long = "x".repeat(201);
        for (text, scopes) in [
            ("mcp:read  mcp:write", &["mcp:read", "mcp:write"][..]),
            ("", &[]),
            ("a\u{1b}[31m b\"c d\\e f\u{e9} g", &["g"]),
            (&long, &[]),
        ] {
            assert_eq!(scopes_of(text), scopes, "{text:?}");
        }
        assert_eq!(scopes_of(&"s ".repeat(80)).len(), SCOPES);
    }
}
