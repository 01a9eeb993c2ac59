//! The login of a client that logs in by itself: held in memory, asked for anew when it is over, and with more scopes when
//! a server wants more.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use reqwest::header::{HeaderName, HeaderValue};
use rmcp::model::ClientJsonRpcMessage;
use rmcp::transport::AuthClient;
use rmcp::transport::auth::{AuthError, CredentialStore, StoredCredentials};
use rmcp::transport::streamable_http_client::{
    SseError, StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse,
};
use sse_stream::Sse;
use tokio::time::Instant;

use crate::connection::chain;
use crate::launch::MESSAGE_BYTES;
use crate::logins::{SCOPES, scopes_of};

/// Asks the authorization server for a login of the client itself with these scopes, and says for how long it is good.
pub(crate) type Ask = Box<
    dyn Fn(Vec<String>) -> BoxFuture<'static, Result<(StoredCredentials, Option<Duration>), AuthError>>
        + Send
        + Sync,
>;

/// Clones are the same login.
#[derive(Clone)]
pub(crate) struct OwnLogin(Arc<Inner>);

struct Inner {
    ask: Ask,
    held: tokio::sync::Mutex<Held>,
}

struct Held {
    login: Option<(StoredCredentials, Option<Instant>)>,
    /// What is asked for.
    scopes: Vec<String>,
    /// How often more was asked for.
    widened: u32,
}

/// The server wants more scopes, and there was no login with them to be had.
#[derive(Debug, thiserror::Error)]
#[error("there is no login with more scopes: {why}")]
pub(crate) struct NotWidened {
    pub(crate) scopes: Vec<String>,
    pub(crate) why: String,
    /// The authorization server said no. Else nobody knows what it would say.
    pub(crate) refused: bool,
}

impl NotWidened {
    fn new(scopes: Vec<String>, error: &AuthError) -> Self {
        // The library keeps the answer's code as a part of its text only.
        let refused = |why: &String| REFUSALS.iter().any(|code| why.contains(code));
        let refused = matches!(error, AuthError::ClientCredentialsError(why) if refused(why));
        Self { scopes, why: chain(error), refused }
    }
}

impl OwnLogin {
    /// `scopes`: what is asked for at first; none: what the authorization server thinks fit.
    pub(crate) fn new(scopes: Vec<String>, ask: Ask) -> Self {
        let held = Held { login: None, scopes, widened: 0 };
        Self(Arc::new(Inner { ask, held: held.into() }))
    }

    async fn widened(&self) -> u32 {
        self.0.held.lock().await.widened
    }

    /// Gets a login with these scopes, too, unless somebody else did so after the login had been widened `before` times.
    /// `false`: these were asked for already, and once more would bring nothing. Where it fails, the login stays as it was.
    async fn widen(&self, before: u32, more: &[String]) -> Result<bool, AuthError> {
        let mut held = self.0.held.lock().await;
        let asked = more.iter().all(|scope| held.scopes.contains(scope));
        if asked && held.widened != before {
            return Ok(true);
        }
        let granted = held.login.as_ref().map(|(login, _)| login.granted_scopes.clone()).unwrap_or_default();
        let mut scopes = held.scopes.clone();
        for scope in granted.into_iter().chain(more.iter().cloned()) {
            if !scopes.contains(&scope) {
                scopes.push(scope);
            }
        }
        if asked || scopes.len() > SCOPES {
            return Ok(false);
        }
        let login = self.ask(scopes.clone()).await?;
        *held = Held { login: Some(login), scopes, widened: held.widened + 1 };
        Ok(true)
    }

    /// Sends a request, and once more where it is refused for want of scopes, with a login that has them.
    async fn with_scopes<W: Clone, T, F: Future<Output = Answer<T>>>(
        &self,
        with: W,
        send: impl Fn(W) -> F,
    ) -> Answer<T> {
        let before = self.widened().await;
        let refused = match send(with.clone()).await {
            Err(StreamableHttpError::InsufficientScope(refused)) => refused,
            answer => return answer,
        };
        let scopes = scopes_of(refused.required_scope.as_deref().unwrap_or_default());
        match self.widen(before, &scopes).await {
            // A refused request was not carried out.
            Ok(true) => send(with).await,
            Ok(false) => Err(StreamableHttpError::InsufficientScope(refused)),
            Err(error) => Err(io::Error::other(NotWidened::new(scopes, &error)).into()),
        }
    }

    async fn ask(&self, scopes: Vec<String>) -> Result<(StoredCredentials, Option<Instant>), AuthError> {
        let (mut credentials, good) = (self.0.ask)(scopes).await?;
        // Whether it is over is decided here: whoever uses it would renew it as a person's login is renewed.
        credentials.token_received_at = None;
        // A server may name any number: one that no clock reaches is no end.
        let until = good.and_then(|good| Instant::now().checked_add(good.saturating_sub(SPARE)));
        Ok((credentials, until))
    }
}

#[async_trait]
impl CredentialStore for OwnLogin {
    async fn load(&self) -> Result<Option<StoredCredentials>, AuthError> {
        let mut held = self.0.held.lock().await;
        if let Some((credentials, until)) = &held.login
            && until.is_none_or(|until| Instant::now() < until)
        {
            return Ok(Some(credentials.clone()));
        }
        let login = self.ask(held.scopes.clone()).await?;
        held.login = Some(login.clone());
        Ok(Some(login.0))
    }

    async fn save(&self, _: StoredCredentials) -> Result<(), AuthError> {
        Ok(())
    }

    async fn clear(&self) -> Result<(), AuthError> {
        self.0.held.lock().await.login = None;
        Ok(())
    }
}

/// HTTP with such a login. A request that is refused for want of scopes is sent once more with a login that has them.
#[derive(Clone)]
pub(crate) struct OwnClient {
    client: AuthClient<reqwest::Client>,
    login: OwnLogin,
}

type Answer<T> = Result<T, StreamableHttpError<reqwest::Error>>;

impl OwnClient {
    pub(crate) fn new(client: AuthClient<reqwest::Client>, login: OwnLogin) -> Self {
        Self { client, login }
    }
}

type Headers = HashMap<HeaderName, HeaderValue>;
type Events = BoxStream<'static, Result<Sse, SseError>>;

impl StreamableHttpClient for OwnClient {
    type Error = reqwest::Error;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        token: Option<String>,
        headers: Headers,
    ) -> Answer<StreamableHttpPostResponse> {
        let most = MESSAGE_BYTES;
        self.post_message_with_max_sse_event_size(uri, message, session, token, headers, most).await
    }

    async fn post_message_with_max_sse_event_size(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        token: Option<String>,
        headers: Headers,
        most: usize,
    ) -> Answer<StreamableHttpPostResponse> {
        let send = |(uri, message, session, token, headers)| {
            self.client.post_message_with_max_sse_event_size(uri, message, session, token, headers, most)
        };
        self.login.with_scopes((uri, message, session, token, headers), send).await
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session: Arc<str>,
        token: Option<String>,
        headers: Headers,
    ) -> Answer<()> {
        let send = |(uri, session, token, headers)| self.client.delete_session(uri, session, token, headers);
        self.login.with_scopes((uri, session, token, headers), send).await
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session: Option<Arc<str>>,
        last: Option<String>,
        token: Option<String>,
        headers: Headers,
    ) -> Answer<Events> {
        self.get_stream_with_max_sse_event_size(uri, session, last, token, headers, MESSAGE_BYTES).await
    }

    async fn get_stream_with_max_sse_event_size(
        &self,
        uri: Arc<str>,
        session: Option<Arc<str>>,
        last: Option<String>,
        token: Option<String>,
        headers: Headers,
        most: usize,
    ) -> Answer<Events> {
        let send = |(uri, session, last, token, headers)| {
            self.client.get_stream_with_max_sse_event_size(uri, session, last, token, headers, most)
        };
        self.login.with_scopes((uri, session, last, token, headers), send).await
    }
}

/// A login is renewed so long before it is over: a request takes a while.
const SPARE: Duration = Duration::from_secs(30);
/// What an authorization server answers where more is not for this client (RFC 6749, 5.2; RFC 8707).
const REFUSALS: [&str; 4] = ["invalid_scope", "unauthorized_client", "access_denied", "invalid_target"];

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures::FutureExt;
    use rmcp::transport::streamable_http_client::InsufficientScopeError;
    use tokio::sync::Barrier;

    use super::*;

    /// A login that is given what it asks for, and what it asked for.
    fn login() -> (OwnLogin, Arc<Mutex<Vec<Vec<String>>>>) {
        let asked: Arc<Mutex<Vec<Vec<String>>>> = Arc::default();
        let heard = asked.clone();
        let ask = move |scopes: Vec<String>| {
            heard.lock().unwrap().push(scopes.clone());
            let login = StoredCredentials::new("robot".into(), None, scopes, None);
            async move { Ok((login, None)) }.boxed()
        };
        (OwnLogin::new(vec!["read".into()], Box::new(ask)), asked)
    }

    /// A request that wants a scope. It is refused only when the other one is, too.
    async fn request(login: &OwnLogin, both: &Barrier, scope: &str) -> Answer<()> {
        let tries = AtomicU32::new(0);
        let send = |()| async {
            let held = login.load().await?.unwrap().granted_scopes;
            if tries.fetch_add(1, Ordering::Relaxed) == 0 {
                both.wait().await;
            }
            if held.iter().any(|held| held == scope) {
                return Ok(());
            }
            let refused = InsufficientScopeError::new("Bearer".into(), Some(scope.to_owned()));
            Err(StreamableHttpError::InsufficientScope(refused))
        };
        login.with_scopes((), send).await
    }

    #[tokio::test]
    async fn side_by_side_each_request_gets_the_scope_that_it_wants() {
        for (scopes, wanted) in [
            // Whichever comes first.
            (["admin", "write"], &[&["read"][..], &["admin", "read", "write"]][..]),
            (["write", "write"], &[&["read"], &["read", "write"]]),
        ] {
            let ((login, asked), both) = (login(), Barrier::new(2));
            let [first, second] = scopes;
            let (first, second) = tokio::join!(request(&login, &both, first), request(&login, &both, second));
            first.unwrap();
            second.unwrap();
            let mut asked = asked.lock().unwrap().clone();
            asked.iter_mut().for_each(|scopes| scopes.sort());
            if scopes[0] != scopes[1] {
                assert_eq!(asked.remove(1).len(), 2, "{scopes:?}");
            }
            assert_eq!(asked, wanted, "{scopes:?}");
        }
    }
}
