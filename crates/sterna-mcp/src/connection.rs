//! One server: started when it is first needed, watched while it lives, started again when it died, ended when nobody
//! needs it.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

use futures::future::BoxFuture;
use rmcp::model::{ClientRequest, PaginatedRequestParams, ProtocolVersion, ServerResult, Tool};
use rmcp::service::{
    ClientInitializeError, ClientLifecycleMode, RunningService, ServiceError,
    serve_client_with_lifecycle_and_ct,
};
use rmcp::transport::streamable_http_client::{
    AuthRequiredError, InsufficientScopeError, StreamableHttpError,
};
use rmcp::transport::{AuthError, IntoTransport};
use rmcp::{Peer, RoleClient};
use sterna_model::{Digest, EffectKey};
use sterna_shell::sandbox::Confinement;
use sterna_shell::shim::Helper;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::config::{Grant, ServerConfig, Transport};
use crate::error::{McpError, cut};
use crate::handler::{Calls, Handler};
use crate::launch::{self, Fate, Http, start_error};
use crate::manifest::{self, Kept, Manifest, ToolDef};
use crate::oauth;
use crate::own::NotWidened;
use crate::parked::Parked;

/// A server of the pool. Cheap to clone; the server ends when the last clone is gone.
#[derive(Clone)]
pub struct Client(pub(crate) Arc<Inner>);

/// What a server is given besides its configuration.
#[derive(Clone)]
pub struct Setup {
    /// The environment of programs, before what their configuration adds: an allow-list without any key.
    pub env: BTreeMap<String, String>,
    /// The program that makes servers die with us. `None`: a killed runtime may leave them behind.
    pub helper: Option<Helper>,
    /// Where programs run.
    pub root: PathBuf,
    /// What servers are told of when they ask for roots.
    pub roots: Vec<PathBuf>,
    /// Holds manifests and logins, below `mcp`.
    pub state: PathBuf,
    /// What holds programs. `None`: nothing does.
    pub confine: Option<Arc<dyn Confines>>,
}

/// Says what holds a server's program. It is asked at each start.
pub trait Confines: Send + Sync {
    /// `None`: nothing, because that was decided or nothing is to be had. An error says why it must not be started.
    fn confinement<'a>(
        &'a self,
        server: &'a ServerConfig,
        env: &'a BTreeMap<String, String>,
    ) -> BoxFuture<'a, Result<Option<Confinement>, String>>;

    /// Two that answer alike say the same here.
    fn told(&self) -> String;
}

/// Where a server is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    Disconnected,
    Connecting,
    /// With the version of the protocol.
    Connected(String),
    Failed(McpError),
}

impl State {
    pub fn word(&self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::Connecting => "connecting",
            Self::Connected(_) => "connected",
            Self::Failed(_) => "failed",
        }
    }
}

pub use crate::offers::{Prompt, PromptArgument, Resource};

pub(crate) struct Inner {
    pub(crate) config: ServerConfig,
    pub(crate) setup: Setup,
    link: tokio::sync::Mutex<Link>,
    state: watch::Sender<State>,
    kept: RwLock<Option<Kept>>,
    /// Rises when what the server offers is something else.
    revision: AtomicU64,
    used: Mutex<Instant>,
    busy: AtomicUsize,
    pub(crate) parked: Mutex<HashMap<EffectKey, Parked>>,
}

#[derive(Default)]
struct Link {
    live: Option<Arc<Live>>,
    failures: u32,
    not_before: Option<Instant>,
}

/// A connection.
pub(crate) struct Live {
    pub(crate) peer: Peer<RoleClient>,
    pub(crate) calls: Arc<Calls>,
    pub(crate) fate: Arc<Fate>,
    running: RunningService<RoleClient, Handler>,
    changed: Arc<Notify>,
    over: CancellationToken,
    _end: DropGuard,
}

impl Live {
    /// The agreed version of the protocol has a handshake, and with it calls that cannot be gone on with elsewhere.
    pub(crate) fn is_legacy(&self) -> bool {
        self.peer.peer_info().is_none_or(|info| info.protocol_version.has_initialize())
    }

    fn is_closed(&self) -> bool {
        self.running.is_closed() || self.peer.is_transport_closed() || self.over.is_cancelled()
    }
}

impl Client {
    pub(crate) fn new(config: ServerConfig, setup: Setup) -> Self {
        let kept = manifest::load(&manifest::file_of(&setup.state, &config));
        Self(Arc::new(Inner {
            config,
            setup,
            link: tokio::sync::Mutex::default(),
            state: watch::Sender::new(State::Disconnected),
            kept: RwLock::new(kept),
            revision: AtomicU64::new(0),
            used: Mutex::new(Instant::now()),
            busy: AtomicUsize::new(0),
            parked: Mutex::default(),
        }))
    }

    pub fn config(&self) -> &ServerConfig {
        &self.0.config
    }

    pub fn state(&self) -> State {
        self.0.state.borrow().clone()
    }

    /// Tells each change of the state.
    pub fn watch(&self) -> watch::Receiver<State> {
        self.0.state.subscribe()
    }

    /// What the server said it offers when it was last asked. `None`: it never was.
    pub fn manifest(&self) -> Option<Manifest> {
        let kept = self.0.kept.read().unwrap_or_else(PoisonError::into_inner);
        kept.as_ref().map(|kept| kept.manifest.clone())
    }

    /// Rises each time when the server is heard to offer something else than before.
    pub fn revision(&self) -> u64 {
        self.0.revision.load(Ordering::Acquire)
    }

    /// Whether a start has failed in the last ten minutes, here or in another process.
    pub fn failed_lately(&self) -> bool {
        let note = manifest::failure_note(&self.0.setup.state, &self.0.config);
        let since = std::fs::metadata(note).and_then(|meta| meta.modified());
        since.is_ok_and(|at| at.elapsed().is_ok_and(|age| age < RETRY_AFTER))
    }

    /// Tools whose definition is no longer the one that was accepted.
    pub fn changed_tools(&self) -> Vec<String> {
        let kept = self.0.kept.read().unwrap_or_else(PoisonError::into_inner);
        let changed = |kept: &Kept| {
            let tools = kept.manifest.tools.iter().filter(|tool| kept.is_changed(tool));
            tools.map(|tool| tool.name.clone()).collect()
        };
        kept.as_ref().map(changed).unwrap_or_default()
    }

    /// Starts the server unless it runs, and gives what it offers now.
    pub async fn connect(&self) -> Result<Manifest, McpError> {
        let _live = self.live().await?;
        self.manifest().ok_or_else(|| start_error(self.config(), "it did not say what it offers"))
    }

    /// Ends the server's connection. The next call starts it again.
    pub async fn disconnect(&self) {
        let mut link = self.0.link.lock().await;
        if let Some(live) = link.live.take() {
            live.over.cancel();
        }
        self.0.state.send_replace(State::Disconnected);
    }

    /// The definition of a tool as it is known now.
    pub(crate) fn definition(&self, name: &str) -> Option<(ToolDef, bool)> {
        let kept = self.0.kept.read().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.as_ref()?;
        let tool = kept.manifest.tools.iter().find(|tool| tool.name == name)?;
        Some((tool.clone(), kept.is_changed(tool)))
    }

    /// Somebody has allowed a call of this definition.
    pub(crate) fn accept(&self, tool: &str, hash: Digest) {
        let kept = {
            let mut kept = self.0.kept.write().unwrap_or_else(PoisonError::into_inner);
            let Some(kept) = kept.as_mut() else { return };
            if kept.accepted.insert(tool.to_owned(), hash) == Some(hash) {
                return;
            }
            kept.clone()
        };
        self.0.save(&kept);
    }

    /// The connection, made first if there is none. After a failure it waits for its turn to try again.
    pub(crate) async fn live(&self) -> Result<Arc<Live>, McpError> {
        let inner = &self.0;
        *inner.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        let mut link = inner.link.lock().await;
        if let Some(live) = &link.live {
            if !live.is_closed() {
                return Ok(live.clone());
            }
            link.live = None;
            // A server that died is not started again at once, over and over.
            link.not_before.get_or_insert_with(|| Instant::now() + inner.config.times.reconnect);
        }
        if let Some(at) = link.not_before {
            tokio::time::sleep_until(at).await;
        }
        inner.state.send_replace(State::Connecting);
        let started = inner.start().await;
        inner.note(started.is_err());
        match started {
            Ok(live) => {
                let live = Arc::new(live);
                *link = Link { live: Some(live.clone()), failures: 0, not_before: None };
                let version = live.peer.peer_info().map(|info| info.protocol_version.to_string());
                inner.state.send_replace(State::Connected(version.unwrap_or_default()));
                tokio::spawn(keep(Arc::downgrade(inner), Arc::downgrade(&live)));
                Ok(live)
            }
            Err(error) => {
                let wait = inner.config.times.reconnect * 2u32.saturating_pow(link.failures.min(6));
                link.not_before =
                    Some(Instant::now() + wait.min(inner.config.times.reconnect * RECONNECT_MAX));
                link.failures += 1;
                inner.state.send_replace(State::Failed(error.clone()));
                Err(error)
            }
        }
    }

    /// Marks the server as in use.
    pub(crate) fn busy(&self) -> Busy {
        self.0.busy.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::downgrade(&self.0))
    }

    /// A question that needs no tool: idle and total limits hold, and what it asks of a person is declined.
    pub(crate) async fn ask(&self, request: ClientRequest) -> Result<ServerResult, McpError> {
        let _busy = self.busy();
        let live = self.live().await?;
        let sent = live.peer.send_request(request);
        match timeout(self.config().times.idle, sent).await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(error)) => Err(self.told(&live, error).await),
            Err(_) => Err(McpError::Silent {
                server: self.config().name.clone(),
                seconds: self.config().times.idle.as_secs(),
            }),
        }
    }

    /// A failed request in our words.
    pub(crate) async fn told(&self, live: &Live, error: ServiceError) -> McpError {
        let server = self.config().name.clone();
        match error {
            ServiceError::McpError(error) => {
                McpError::Refused { server, code: error.code.0, message: cut(&error.message) }
            }
            ServiceError::TransportSend(error) => match self.0.unauthorized(&*error.error) {
                Some(refused) => {
                    if matches!(refused, McpError::ClientRefused { .. }) {
                        // It is given another login where it is connected anew.
                        live.over.cancel();
                    }
                    refused
                }
                None => McpError::Closed { server, why: cut(&chain(&*error.error)) },
            },
            ServiceError::TransportClosed | ServiceError::Cancelled { .. } => {
                ended(&server, &live.fate).await
            }
            other => McpError::Strange { server, what: cut(&other.to_string()) },
        }
    }
}

/// A server that is in use is not ended for want of use.
/// It does not keep the server: a call that waits for a person is kept by it.
pub(crate) struct Busy(Weak<Inner>);

impl Drop for Busy {
    fn drop(&mut self) {
        let Some(inner) = self.0.upgrade() else { return };
        inner.busy.fetch_sub(1, Ordering::Relaxed);
        *inner.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

impl Inner {
    /// Starts the server, agrees on a version, and reads what it offers, all within the time to start.
    async fn start(&self) -> Result<Live, McpError> {
        let until = Instant::now() + self.config.times.start;
        let known = self.kept.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(|kept| {
            let version = kept.manifest.protocol.as_str();
            version < ProtocolVersion::NO_INITIALIZE.as_str()
        });
        let preferred = || vec![ProtocolVersion::V_2026_07_28];
        let auto = || ClientLifecycleMode::Auto {
            preferred_versions: preferred(),
            legacy_version: Some(ProtocolVersion::LATEST_WITH_INITIALIZE),
        };
        // A server that does not answer what it does not know is asked in the older way, in a fresh start.
        let probe_until = until - self.config.times.start.mul_f64(0.6);
        let attempts = match known {
            Some(true) => [(ClientLifecycleMode::Initialize, until), (auto(), until)],
            Some(false) | None => [(auto(), probe_until), (ClientLifecycleMode::Initialize, until)],
        };
        let [first, second] = attempts;
        let live = match self.attempt(first.0, first.1).await {
            Ok(live) => live,
            Err(Failed::For(error)) => return Err(error),
            Err(Failed::Perhaps(_)) => self.attempt(second.0, second.1).await.map_err(Failed::error)?,
        };
        match timeout_at(until, self.read_offers(&live)).await {
            Ok(read) => read?,
            Err(_) => return Err(self.late(&live.fate)),
        }
        Ok(live)
    }

    async fn attempt(&self, mode: ClientLifecycleMode, until: Instant) -> Result<Live, Failed> {
        let fate = Arc::new(Fate::default());
        let over = CancellationToken::new();
        let end = over.clone().drop_guard();
        let handler =
            Handler { calls: Arc::default(), roots: self.setup.roots.clone(), changed: Arc::default() };
        let (calls, changed) = (handler.calls.clone(), handler.changed.clone());
        let served = match &self.config.transport {
            Transport::Stdio { .. } => {
                let transport = launch::stdio(&self.config, &self.setup, &fate, over.clone());
                let transport = transport.await.map_err(Failed::For)?;
                self.serve(handler, transport, mode, &over, until, &fate).await
            }
            Transport::Http { .. } => {
                let opened = timeout_at(until, launch::http(&self.config, &self.setup)).await;
                match opened.map_err(|_| Failed::For(self.late(&fate)))?.map_err(Failed::For)? {
                    Http::Plain(transport) => self.serve(handler, transport, mode, &over, until, &fate).await,
                    Http::LoggedIn(transport) => {
                        self.serve(handler, transport, mode, &over, until, &fate).await
                    }
                    Http::ByItself(transport) => {
                        self.serve(handler, transport, mode, &over, until, &fate).await
                    }
                }
            }
        };
        let running = served?;
        let peer = running.peer().clone();
        Ok(Live { peer, calls, fate, running, changed, over, _end: end })
    }

    async fn serve<T, E, A>(
        &self,
        handler: Handler,
        transport: T,
        mode: ClientLifecycleMode,
        over: &CancellationToken,
        until: Instant,
        fate: &Arc<Fate>,
    ) -> Result<RunningService<RoleClient, Handler>, Failed>
    where
        T: IntoTransport<RoleClient, E, A>,
        E: std::error::Error + Send + Sync + 'static,
    {
        let serving = serve_client_with_lifecycle_and_ct(handler, transport, mode, over.clone());
        match timeout_at(until, serving).await {
            Ok(Ok(running)) => Ok(running),
            Ok(Err(error)) if let Some(refused) = self.unauthorized(cause(&error)) => {
                Err(Failed::For(refused))
            }
            Ok(Err(error)) => {
                let told = self.start_failed(error, fate).await;
                Err(if fate.is_not_found() { Failed::For(told) } else { Failed::Perhaps(told) })
            }
            Err(_) => Err(Failed::Perhaps(self.late(fate))),
        }
    }

    async fn start_failed(&self, error: ClientInitializeError, fate: &Fate) -> McpError {
        match error {
            ClientInitializeError::ConnectionClosed(_) => match ended(&self.config.name, fate).await {
                McpError::Closed { why, .. } => start_error(&self.config, why),
                other => other,
            },
            ClientInitializeError::TransportError { error, .. } => {
                // It hides what the client says of its own failure.
                let why = match error.error.downcast_ref::<StreamableHttpError<reqwest::Error>>() {
                    Some(StreamableHttpError::Client(error)) => chain(error),
                    _ => chain(&*error.error),
                };
                start_error(&self.config, format!("{why}{}", fate.said()))
            }
            other => start_error(&self.config, format!("{}{}", chain(&other), fate.said())),
        }
    }

    /// Whether a request failed for want of a login, or of a better one.
    fn unauthorized(&self, error: &(dyn std::error::Error + 'static)) -> Option<McpError> {
        let server = self.config.name.clone();
        let needs_login = || match self.config.oauth.grant {
            Grant::AuthorizationCode => McpError::NeedsLogin { server: server.clone() },
            Grant::ClientCredentials => McpError::ClientRefused { server: server.clone() },
        };
        std::iter::successors(Some(error), |error| error.source()).find_map(|error| {
            if let Some(refused) = error.downcast_ref::<InsufficientScopeError>() {
                let scope = refused.required_scope.as_deref();
                let scopes = oauth::wants_scopes(&self.config, &self.setup.state, scope);
                return Some(self.needs_scopes(asks(&scopes), String::new()));
            }
            let own = error.downcast_ref::<std::io::Error>().and_then(|error| error.get_ref());
            if let Some(NotWidened { scopes, why, refused }) = own.and_then(|error| error.downcast_ref()) {
                let (asks, why) = (asks(scopes), cut(why));
                return Some(match refused {
                    true => self.needs_scopes(asks, format!("; {why}")),
                    false => McpError::ClientNotWidened { server: server.clone(), asks, why },
                });
            }
            let wanted = error.is::<AuthRequiredError>()
                || matches!(
                    error.downcast_ref(),
                    Some(
                        AuthError::AuthorizationRequired
                            | AuthError::TokenExpired
                            | AuthError::TokenRefreshRejected { .. }
                    )
                );
            wanted.then(needs_login)
        })
    }

    fn needs_scopes(&self, asks: String, why: String) -> McpError {
        let server = self.config.name.clone();
        match self.config.oauth.grant {
            Grant::AuthorizationCode => McpError::NeedsScopes { server, asks },
            Grant::ClientCredentials => McpError::ClientNeedsScopes { server, asks, why },
        }
    }

    fn late(&self, fate: &Fate) -> McpError {
        let (server, seconds) = (self.config.name.clone(), self.config.times.start.as_secs());
        McpError::StartTimeout { server, seconds, said: fate.said() }
    }

    /// Asks for the tools, and keeps what it hears.
    async fn read_offers(&self, live: &Live) -> Result<(), McpError> {
        let server = &self.config.name;
        let info = live.peer.peer_info();
        let info = info.ok_or_else(|| start_error(&self.config, "it did not introduce itself"))?;
        let mut tools: Vec<Tool> = Vec::new();
        if info.capabilities.tools.is_some() {
            let mut cursor = None;
            for page in 0.. {
                if page >= PAGES || tools.len() > TOOLS {
                    let what = format!("it lists more than {TOOLS} tools or {PAGES} pages of them");
                    return Err(McpError::Strange { server: server.clone(), what });
                }
                let params = PaginatedRequestParams::default().with_cursor(cursor);
                let listed = match live.peer.list_tools(Some(params)).await {
                    Ok(listed) => listed,
                    Err(error) => {
                        if let ServiceError::TransportSend(sent) = &error
                            && let Some(refused) = self.unauthorized(&*sent.error)
                        {
                            return Err(refused);
                        }
                        let why = chain(&error);
                        return Err(start_error(
                            &self.config,
                            format!("its tools cannot be listed: {why}{}", live.fate.said()),
                        ));
                    }
                };
                tools.extend(listed.tools);
                cursor = listed.next_cursor;
                if cursor.is_none() {
                    break;
                }
            }
        }
        let mut seen = std::collections::BTreeSet::new();
        tools.retain(|tool| seen.insert(tool.name.to_string()));
        let manifest = Manifest {
            protocol: info.protocol_version.to_string(),
            server: info.server_info.as_ref().map(|own| cut(&format!("{} {}", own.name, own.version))),
            instructions: info.instructions.as_deref().map(cut),
            resources: info.capabilities.resources.is_some(),
            prompts: info.capabilities.prompts.is_some(),
            tools: tools.iter().map(ToolDef::of).collect(),
        };
        let next = {
            let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
            let next = Kept::next(kept.as_ref(), manifest);
            if kept.as_ref() == Some(&next) {
                return Ok(());
            }
            *kept = Some(next.clone());
            self.revision.fetch_add(1, Ordering::Release);
            next
        };
        self.save(&next);
        Ok(())
    }

    fn save(&self, kept: &Kept) {
        // Where it cannot be kept, the server is asked again next time.
        drop(manifest::save(&manifest::file_of(&self.setup.state, &self.config), kept));
    }

    /// Leaves word of a failed start for others, or takes it away. Where that cannot be done, they try for themselves.
    fn note(&self, failed: bool) {
        let note = manifest::failure_note(&self.setup.state, &self.config);
        if failed {
            drop(manifest::write_private(&note, b""));
        } else {
            drop(std::fs::remove_file(note));
        }
    }

    fn is_unused(&self) -> bool {
        let used = *self.used.lock().unwrap_or_else(PoisonError::into_inner);
        self.busy.load(Ordering::Relaxed) == 0 && used.elapsed() >= self.config.times.unused
    }

    /// Questions that nobody answers any more.
    fn forget_parked(&self) {
        let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        parked.retain(|_, parked| parked.since.elapsed() < self.config.times.unused);
    }
}

/// Why an attempt to start has failed.
enum Failed {
    /// Another way to start it would fail too.
    For(McpError),
    Perhaps(McpError),
}

impl Failed {
    fn error(self) -> McpError {
        match self {
            Self::For(error) | Self::Perhaps(error) => error,
        }
    }
}

/// Watches a connection: pings it while it is idle, reads its tools again when they change, ends it when it hangs or
/// when nobody uses it.
async fn keep(inner: Weak<Inner>, live: Weak<Live>) {
    let Some((times, changed, over)) = live
        .upgrade()
        .zip(inner.upgrade())
        .map(|(live, inner)| (inner.config.times, live.changed.clone(), live.over.clone()))
    else {
        return;
    };
    let subscription = subscribe(&live).await;
    let mut misses = 0;
    let look = times.ping.min(times.unused);
    let mut subscription = std::pin::pin!(subscription);
    loop {
        let told = tokio::select! {
            () = over.cancelled() => return,
            () = changed.notified() => true,
            () = heard(&mut subscription) => true,
            () = tokio::time::sleep(look) => false,
        };
        let (Some(held), Some(inner)) = (live.upgrade(), inner.upgrade()) else { return };
        if held.is_closed() {
            let error = ended(&inner.config.name, &held.fate).await;
            inner.state.send_replace(State::Failed(error));
            return;
        }
        if told {
            // A list that changes often is read once.
            tokio::time::sleep(Duration::from_millis(50)).await;
            // What it offers now is known at the next change, or at the next start.
            drop(timeout(times.start, inner.read_offers(&held)).await);
            continue;
        }
        inner.forget_parked();
        if inner.is_unused() {
            let mut link = inner.link.lock().await;
            if inner.is_unused() && link.live.as_ref().is_some_and(|of| Arc::ptr_eq(of, &held)) {
                link.live = None;
                inner.state.send_replace(State::Disconnected);
                held.over.cancel();
                return;
            }
            continue;
        }
        // While it works it may be too busy to answer, and its limits are those of the call.
        if inner.busy.load(Ordering::Relaxed) > 0 || !held.is_legacy() {
            misses = 0;
            continue;
        }
        let ping = ClientRequest::PingRequest(rmcp::model::PingRequest::default());
        match timeout(times.ping, held.peer.send_request(ping)).await {
            // A refusal is an answer too.
            Ok(Ok(_) | Err(ServiceError::McpError(_))) => misses = 0,
            Ok(Err(_)) | Err(_) => misses += 1,
        }
        if misses >= PING_MISSES {
            let seconds = times.ping.as_secs() * u64::from(PING_MISSES);
            let server = inner.config.name.clone();
            inner.state.send_replace(State::Failed(McpError::Silent { server, seconds }));
            held.over.cancel();
            return;
        }
    }
}

/// From 2026-07-28 on a server tells of changes only where it was asked to.
async fn subscribe(live: &Weak<Live>) -> Option<rmcp::service::Subscription> {
    let live = live.upgrade()?;
    let changes = live.peer.peer_info()?.capabilities.tools.as_ref()?.list_changed == Some(true);
    if live.is_legacy() || !changes {
        return None;
    }
    let filter = rmcp::model::SubscriptionFilter::builder().tools_list_changed().build();
    timeout(Duration::from_secs(10), live.peer.listen(filter)).await.ok()?.ok()
}

async fn heard(subscription: &mut Option<rmcp::service::Subscription>) {
    loop {
        match subscription {
            None => std::future::pending::<()>().await,
            Some(of) => match of.next().await {
                Ok(Some(rmcp::model::ServerNotification::ToolListChangedNotification(_))) => return,
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => *subscription = None,
            },
        }
    }
}

/// Scopes as a message names them: in brackets, where there are any.
fn asks(scopes: &[String]) -> String {
    if scopes.is_empty() { String::new() } else { format!(" ({})", scopes.join(" ")) }
}

/// How a connection ended, as far as anybody knows a moment later.
pub(crate) async fn ended(server: &str, fate: &Fate) -> McpError {
    for _ in 0..20 {
        if fate.is_too_large() {
            return McpError::TooLarge { server: server.to_owned() };
        }
        if fate.exit().is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    let why = fate.exit().unwrap_or_else(|| "the other side closed it".into());
    McpError::Closed { server: server.to_owned(), why: format!("{why}{}{}", fate.said(), fate.hint()) }
}

/// What made a handshake fail, where it is in the transport.
fn cause(error: &ClientInitializeError) -> &(dyn std::error::Error + 'static) {
    match error {
        ClientInitializeError::TransportError { error, .. } => &*error.error,
        ClientInitializeError::LegacyFallbackFailed { fallback, .. } => cause(fallback),
        other => other,
    }
}

/// An error with what caused it, each said once.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let more = inner.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = inner.source();
    }
    cut(&text)
}

/// Pings without an answer after which a server counts as hanging.
const PING_MISSES: u32 = 3;
/// The longest wait before a server is started again, in first waits: 30 s by default.
const RECONNECT_MAX: u32 = 60;
/// How long others do not wait for a server that could not be started.
const RETRY_AFTER: Duration = Duration::from_secs(600);
/// A list that goes on and on is no list.
const PAGES: usize = 100;
const TOOLS: usize = 2_000;
