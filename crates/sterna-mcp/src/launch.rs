//! Starts a server or reaches it: pipes to a program that dies with us, or HTTP.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use rmcp::transport::AuthClient;
use rmcp::transport::async_rw::AsyncRwTransport;
use rmcp::transport::streamable_http_client::{
    StreamableHttpClientTransport, StreamableHttpClientTransportConfig,
};
use sterna_shell::shim::{Server, start_unbound};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio_util::sync::CancellationToken;

use crate::config::{ServerConfig, Transport};
use crate::connection::Setup;
use crate::error::{McpError, cut};
use crate::listening::Listening;
use crate::oauth::{self, Login};
use crate::own::OwnClient;

/// What is known of how a connection ended.
#[derive(Debug, Default)]
pub(crate) struct Fate(Mutex<FateState>);

#[derive(Debug, Default)]
struct FateState {
    said: Vec<u8>,
    exit: Option<String>,
    not_found: bool,
    /// Its program is there, and runs in a sandbox.
    confined: bool,
    too_large: bool,
}

impl Fate {
    /// The end of what the server wrote to its standard error.
    pub(crate) fn last_words(&self) -> String {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cut(String::from_utf8_lossy(&state.said).trim())
    }

    pub(crate) fn said(&self) -> String {
        let words = self.last_words();
        if words.is_empty() { String::new() } else { format!("; it said: {words}") }
    }

    pub(crate) fn exit(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).exit.clone()
    }

    /// The program is not there: nothing is won by starting it again.
    pub(crate) fn is_not_found(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).not_found
    }

    /// What to do about a program that is there and was not found: its sandbox shows other files than we see.
    pub(crate) fn hint(&self) -> &'static str {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.not_found && state.confined { UNSEEN } else { "" }
    }

    pub(crate) fn is_too_large(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).too_large
    }

    fn heard(&self, bytes: &[u8]) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.said.extend_from_slice(bytes);
        let over = state.said.len().saturating_sub(SAID_BYTES);
        state.said.drain(..over);
    }

    fn ended(&self, status: io::Result<std::process::ExitStatus>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.not_found = status.as_ref().is_ok_and(|status| status.code() == Some(NOT_FOUND));
        state.exit = Some(match status {
            Ok(status) => format!("the program ended ({status})"),
            Err(error) => format!("nobody could say how the program ended: {error}"),
        });
    }

    fn grew_too_large(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).too_large = true;
    }
}

/// The pipes of a started program. It ends when the token is cancelled or the pipes are dropped.
pub(crate) type Stdio = AsyncRwTransport<rmcp::RoleClient, Lines<ChildStdout>, ChildStdin>;

pub(crate) async fn stdio(
    config: &ServerConfig,
    setup: &Setup,
    fate: &Arc<Fate>,
    over: CancellationToken,
) -> Result<Stdio, McpError> {
    let Transport::Stdio { command, args, env, cwd } = &config.transport else {
        return Err(start_error(config, "it is no program"));
    };
    let mut all = setup.env.clone();
    all.extend(env.clone());
    let confine = match &setup.confine {
        Some(confines) => confines.confinement(config, &all).await.map_err(|why| start_error(config, why))?,
        None => None,
    };
    let server = Server {
        program: command.clone(),
        args: args.clone(),
        cwd: cwd.clone().unwrap_or_else(|| setup.root.clone()),
        env: all,
        confine,
    };
    fate.0.lock().unwrap_or_else(PoisonError::into_inner).confined = server.confine.is_some();
    if !can_be_found(&server) {
        let why = format!("there is no program `{command}` on its PATH");
        return Err(start_error(config, why));
    }
    let started = match &setup.helper {
        Some(helper) => helper.start_bound(&server),
        None => start_unbound(&server),
    };
    let mut child = started.map_err(|error| start_error(config, error))?;
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
        return Err(start_error(config, "its pipes are missing"));
    };
    tokio::spawn(watch(child, stderr, fate.clone(), over));
    let lines = Lines { inner: stdout, since_newline: 0, fate: fate.clone() };
    Ok(AsyncRwTransport::new_client(lines, stdin))
}

/// Reads what the program says to nobody, and waits for its end. A program that is not bound is killed if it stays.
async fn watch(mut child: Child, stderr: ChildStderr, fate: Arc<Fate>, over: CancellationToken) {
    let listener = tokio::spawn(listen(stderr, fate.clone()));
    let status = tokio::select! {
        status = child.wait() => status,
        () = over.cancelled() => match tokio::time::timeout(STAY, child.wait()).await {
            Ok(status) => status,
            Err(_) => {
                // Its end is what counts, not how it came.
                let _ = child.start_kill();
                child.wait().await
            }
        },
    };
    // Its last words are in the pipe; a descendant that holds it open has nothing to tell.
    drop(tokio::time::timeout(Duration::from_millis(100), listener).await);
    fate.ended(status);
}

async fn listen(mut stderr: ChildStderr, fate: Arc<Fate>) {
    let mut buffer = vec![0; 8 << 10];
    while let Ok(read @ 1..) = stderr.read(&mut buffer).await {
        fate.heard(&buffer[..read]);
    }
}

fn can_be_found(server: &Server) -> bool {
    if server.program.contains('/') {
        return server.cwd.join(&server.program).is_file();
    }
    let path = server.env.get("PATH").map_or("/usr/local/bin:/usr/bin:/bin", String::as_str);
    path.split(':').any(|dir| Path::new(dir).join(&server.program).is_file())
}

/// Ends the stream when a line grows beyond what a message may be.
pub(crate) struct Lines<R> {
    inner: R,
    since_newline: usize,
    fate: Arc<Fate>,
}

impl<R: AsyncRead + Unpin> AsyncRead for Lines<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.since_newline > MESSAGE_BYTES {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let ready = Pin::new(&mut self.inner).poll_read(cx, buf);
        if let Poll::Ready(Ok(())) = ready {
            let new = &buf.filled()[before..];
            self.since_newline = match new.iter().rposition(|byte| *byte == b'\n') {
                Some(at) => new.len() - at - 1,
                None => self.since_newline + new.len(),
            };
            if self.since_newline > MESSAGE_BYTES {
                self.fate.grew_too_large();
                buf.set_filled(before);
            }
        }
        ready
    }
}

/// A transport over HTTP, with a login where there is one.
pub(crate) enum Http {
    Plain(StreamableHttpClientTransport<Listening<reqwest::Client>>),
    LoggedIn(StreamableHttpClientTransport<Listening<AuthClient<reqwest::Client>>>),
    ByItself(StreamableHttpClientTransport<Listening<OwnClient>>),
}

pub(crate) async fn http(config: &ServerConfig, setup: &Setup) -> Result<Http, McpError> {
    let Transport::Http { url, headers } = &config.transport else {
        return Err(start_error(config, "it has no address"));
    };
    let client = http_client(url, config.times.start).map_err(|why| start_error(config, why))?;
    let mut custom = HashMap::new();
    for (name, value) in headers {
        let name = reqwest::header::HeaderName::from_bytes(name.as_bytes());
        let mut value = reqwest::header::HeaderValue::from_str(value);
        if let Ok(value) = &mut value {
            value.set_sensitive(true);
        }
        match (name, value) {
            (Ok(name), Ok(value)) => drop(custom.insert(name, value)),
            _ => return Err(start_error(config, "one of its headers is not valid")),
        }
    }
    let transport = StreamableHttpClientTransportConfig::with_uri(url.as_str())
        .custom_headers(custom)
        .max_sse_event_size(MESSAGE_BYTES);
    let login = oauth::login_of(config, &setup.state, url).await;
    Ok(match login.map_err(|why| start_error(config, why))? {
        Login::None => {
            let client = Listening::new(client);
            Http::Plain(StreamableHttpClientTransport::with_client(client, transport))
        }
        Login::Kept(manager) => {
            let client = Listening::new(AuthClient::new(client, manager));
            Http::LoggedIn(StreamableHttpClientTransport::with_client(client, transport))
        }
        Login::Own(manager, own) => {
            let client = Listening::new(OwnClient::new(AuthClient::new(client, manager), own));
            Http::ByItself(StreamableHttpClientTransport::with_client(client, transport))
        }
    })
}

/// A client that follows no redirect: a header with a key goes to the host that it was written for.
pub(crate) fn http_client(url: &str, connect: Duration) -> Result<reqwest::Client, String> {
    // An error means that the host has installed a provider of its own: then that one is used.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let parsed = reqwest::Url::parse(url).map_err(|error| format!("`{url}` is not an address: {error}"))?;
    let host = parsed.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    let local =
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("sterna/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(connect)
        .redirect(reqwest::redirect::Policy::none());
    if local {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| format!("the HTTP client cannot be built: {error}"))
}

pub(crate) fn start_error(config: &ServerConfig, why: impl std::fmt::Display) -> McpError {
    McpError::Start { server: config.name.clone(), why: cut(&why.to_string()) }
}

/// The most that one message may have.
pub(crate) const MESSAGE_BYTES: usize = 16 << 20;
const UNSEEN: &str = "; its program, or what runs it, is not to be seen in its sandbox, which has a temporary folder of its own: put it elsewhere, \
    allow reading it, or set `\"sandbox\": false` in your own mcp.json";
/// What is kept of a server's standard error: its end is what counts, and fits into a message whole.
const SAID_BYTES: usize = 1_500;
/// What shells, and our helper, exit with where a program is not there.
const NOT_FOUND: i32 = 127;
/// After its input was closed. A bound program's helper is quicker.
const STAY: Duration = Duration::from_secs(5);
