//! The proxy that a confined command reaches the network through. It lives in whoever watches the command, outside of
//! the sandbox, and lets through what a domain list allows.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::address::Kind;
use super::head::{Ask, Fault, Head, parse};
use super::pin::{NoWay, Pins, Resolver, system_resolver};
use super::rule::DomainRule;
use crate::sandbox::helper::{PROXY_USER, Via};

/// A running proxy. Dropped, it ends, and its socket is removed.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
    token: String,
    place: Place,
}

/// A connection that the proxy refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub host: String,
    pub port: u16,
    /// `None`: the list does not have it. Else the name is in the list, and leads to this address, which is not let
    /// through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
}

impl Refusal {
    /// For people and models.
    pub fn told(&self) -> String {
        let Self { host, port, address } = self;
        match address {
            None => format!("{host}:{port} is not in the list of allowed domains"),
            Some(address) => {
                format!("{host}:{port} leads to {address}, which is not of the public network")
            }
        }
    }
}

#[derive(Debug)]
enum Place {
    Socket(PathBuf),
    Port(u16),
}

impl Proxy {
    /// Listens on a new Unix socket in `folder`, and serves who sends the token and a line's end first. Needs a tokio
    /// runtime.
    pub fn on_socket(rules: &[DomainRule], folder: &Path) -> io::Result<Self> {
        let path = folder.join(format!(".sterna-proxy-{}", &random()?[..SOCKET_NAME]));
        // However deep the folder lies: a socket's address takes 108 bytes.
        let fd: OwnedFd =
            rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let name = path.file_name().unwrap_or_default();
        let short = Path::new("/proc/self/fd").join(fd.as_raw_fd().to_string()).join(name);
        let listener = UnixListener::bind(short)?;
        let token = random()?;
        let key = Key::Preface(format!("{token}\n").into_bytes());
        let shared = Arc::new(Shared::new(rules, key, system_resolver()));
        let accepting = tokio::spawn(accept(shared.clone(), async move || {
            listener.accept().await.map(|(stream, _)| stream)
        }));
        Ok(Self { shared, accepting, token, place: Place::Socket(path) })
    }

    /// Listens on a port of this machine's loopback, and serves who knows the token. Needs a tokio runtime.
    pub fn on_loopback(rules: &[DomainRule]) -> io::Result<Self> {
        Self::on_loopback_with(rules, system_resolver())
    }

    fn on_loopback_with(rules: &[DomainRule], resolver: Resolver) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let listener = TcpListener::from_std(listener)?;
        let token = random()?;
        let login = base64::engine::general_purpose::STANDARD.encode(format!("{PROXY_USER}:{token}"));
        let shared = Arc::new(Shared::new(rules, Key::Login(format!("Basic {login}")), resolver));
        let accepting = tokio::spawn(accept(shared.clone(), async move || {
            listener.accept().await.map(|(stream, _)| stream)
        }));
        Ok(Self { shared, accepting, token, place: Place::Port(port) })
    }

    /// What it refused so far, each once.
    pub fn refusals(&self) -> Vec<Refusal> {
        self.shared.refusals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How the helper leads to it. Inside, the socket's folder is `inside`.
    pub(crate) fn via(&self, inside: &Path) -> Via {
        let token = self.token.clone();
        match &self.place {
            Place::Port(port) => Via::Port { port: *port, token },
            Place::Socket(path) => {
                Via::Socket { path: inside.join(path.file_name().unwrap_or_default()), token }
            }
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        if let Place::Socket(path) = &self.place {
            // The command may have removed it: the folder is its own.
            drop(std::fs::remove_file(path));
        }
    }
}

struct Shared {
    rules: Vec<DomainRule>,
    key: Key,
    pins: Pins,
    refusals: Mutex<Vec<Refusal>>,
}

/// By what the one command is known that is served: another one of the session may reach the same socket.
enum Key {
    /// The first bytes of a connection, from the forwarder.
    Preface(Vec<u8>),
    /// The value of `Proxy-Authorization`.
    Login(String),
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl Shared {
    fn new(rules: &[DomainRule], key: Key, resolver: Resolver) -> Self {
        Self { rules: rules.to_vec(), key, pins: Pins::new(resolver), refusals: Mutex::default() }
    }

    /// Whether the list has the host, and then whether it may be near.
    fn allows(&self, head: &Head) -> Option<bool> {
        let rules = self.rules.iter().filter(|rule| rule.allows(&head.host, head.port));
        rules.map(DomainRule::allows_private).reduce(|a, b| a || b)
    }

    fn refuse(&self, head: &Head, address: Option<IpAddr>) -> Refusal {
        let refusal = Refusal { host: head.host.clone(), port: head.port, address };
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        if refusals.len() < REFUSALS_MAX && !refusals.contains(&refusal) {
            refusals.push(refusal.clone());
        }
        refusal
    }
}

async fn accept<S>(shared: Arc<Shared>, mut next: impl AsyncFnMut() -> io::Result<S>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // The connections end with us.
    let mut serving = tokio::task::JoinSet::new();
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        match next().await {
            Ok(stream) => {
                let shared = shared.clone();
                serving.spawn(async move {
                    serve(&shared, stream).await;
                    drop(permit);
                });
            }
            // Out of descriptors, most likely: not to be asked again at once.
            Err(_) => sleep(PAUSE).await,
        }
        while serving.try_join_next().is_some() {}
    }
}

async fn serve(shared: &Shared, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    if let Key::Preface(want) = &shared.key {
        let mut preface = vec![0; want.len()];
        match timeout(HEAD_WITHIN, stream.read_exact(&mut preface)).await {
            Ok(Ok(_)) if preface == *want => {}
            Ok(_) | Err(_) => return,
        }
    }
    let mut bytes = Vec::new();
    let head = match timeout(HEAD_WITHIN, read_head(&mut stream, &mut bytes)).await {
        Ok(Ok(head)) => head,
        Ok(Err(Some(Fault::Malformed | Fault::Partial))) => {
            return answer(&mut stream, "400 Bad Request", "", "this is no HTTP request").await;
        }
        Ok(Err(Some(Fault::NoProxyRequest))) => {
            let why = "this proxy takes CONNECT host:port and http:// addresses";
            return answer(&mut stream, "400 Bad Request", "", why).await;
        }
        Ok(Err(None)) | Err(_) => return,
    };
    if let Key::Login(login) = &shared.key
        && head.authorization.as_deref() != Some(login.as_bytes())
    {
        let ask = "Proxy-Authenticate: Basic realm=\"sterna\"\r\n";
        let why = "only the sandboxed command has the password";
        return answer(&mut stream, "407 Proxy Authentication Required", ask, why).await;
    }
    let Some(near) = shared.allows(&head) else {
        let why = shared.refuse(&head, None).told();
        return answer(&mut stream, "403 Forbidden", REFUSED, &why).await;
    };
    let mut host = match shared.pins.connect(&head.host, head.port, near).await {
        Ok(host) => host,
        Err(NoWay::Refused(address, Kind::Near | Kind::Metadata | Kind::Public)) => {
            let why = shared.refuse(&head, Some(address)).told();
            return answer(&mut stream, "403 Forbidden", REFUSED, &why).await;
        }
        Err(NoWay::Unknown(error)) => {
            let why = format!("{} cannot be resolved: {error}", head.host);
            return answer(&mut stream, "502 Bad Gateway", "", &why).await;
        }
        Err(NoWay::Unreachable(error)) => {
            let why = format!("{}:{} cannot be reached: {error}", head.host, head.port);
            return answer(&mut stream, "502 Bad Gateway", "", &why).await;
        }
    };
    let ready = match &head.ask {
        Ask::Tunnel => stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await,
        Ask::Forward(forward) => host.write_all(forward).await,
    };
    if ready.is_ok() && host.write_all(&bytes[head.length..]).await.is_ok() {
        // Whoever hangs up has a reason that we need not know.
        drop(copy_bidirectional(&mut stream, &mut host).await);
    }
}

/// `Err(None)`: the client went away.
async fn read_head(
    stream: &mut (impl AsyncRead + Unpin),
    bytes: &mut Vec<u8>,
) -> Result<Head, Option<Fault>> {
    loop {
        match stream.read_buf(bytes).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return Err(None),
        }
        match parse(bytes) {
            Err(Fault::Partial) if bytes.len() < HEAD_MAX => {}
            Ok(head) => return Ok(head),
            Err(fault) => return Err(Some(fault)),
        }
    }
}

async fn answer(stream: &mut (impl AsyncWrite + Unpin), status: &str, headers: &str, why: &str) {
    let text = format!("sterna sandbox: {why}\n");
    let head = format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        text.len()
    );
    // A client that does not want to know is no fault.
    drop(stream.write_all(head.as_bytes()).await);
    drop(stream.write_all(text.as_bytes()).await);
    drop(stream.shutdown().await);
}

/// 32 hexadecimal digits that nobody can guess.
fn random() -> io::Result<String> {
    let mut bytes = [0; 16];
    let mut filled = 0;
    while filled < bytes.len() {
        filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

const REFUSED: &str = "X-Sterna-Sandbox: refused\r\n";
const SOCKET_NAME: usize = 16;
/// Refusals that are told.
const REFUSALS_MAX: usize = 16;
const CONNECTIONS_MAX: usize = 256;
const HEAD_MAX: usize = 32 << 10;
const HEAD_WITHIN: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use futures::FutureExt;
    use tokio::net::TcpStream;

    use super::*;

    /// A web server that tells what it was asked, once.
    async fn web() -> (u16, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = vec![0; 4096];
            let read = stream.read(&mut bytes).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await.unwrap();
            String::from_utf8_lossy(&bytes[..read]).into_owned()
        });
        (port, served)
    }

    /// Every name is this machine, but for one that leads to where clouds keep credentials.
    fn here() -> Resolver {
        Arc::new(|host| {
            let address = if host == "meta.example" { [169, 254, 169, 254] } else { [127, 0, 0, 1] };
            std::future::ready(Ok(vec![IpAddr::from(address)])).boxed()
        })
    }

    fn proxy(rules: &[&str]) -> Proxy {
        let rules: Vec<DomainRule> = rules.iter().map(|rule| rule.parse().unwrap()).collect();
        Proxy::on_loopback_with(&rules, here()).unwrap()
    }

    async fn ask(proxy: &Proxy, first_line: &str) -> String {
        let Via::Port { port, token } = proxy.via(Path::new("")) else { panic!() };
        let login = base64::engine::general_purpose::STANDARD.encode(format!("sterna:{token}"));
        ask_as(port, first_line, &format!("Proxy-Authorization: Basic {login}\r\n")).await
    }

    async fn ask_as(port: u16, first_line: &str, headers: &str) -> String {
        let mut stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).await.unwrap();
        stream.write_all(format!("{first_line}\r\n{headers}\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        // A tunnel to a server that has answered ends by itself.
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn what_is_allowed_is_led_to_its_host() {
        let (port, served) = web().await;
        let proxy = proxy(&[&format!("web.example:{port}")]);
        let answer = ask(&proxy, &format!("GET http://web.example:{port}/a HTTP/1.1")).await;
        assert!(answer.ends_with("\r\n\r\nhi"), "{answer}");
        let seen = served.await.unwrap();
        assert_eq!(seen, format!("GET /a HTTP/1.1\r\nHost: web.example:{port}\r\nConnection: close\r\n\r\n"));

        let (port, served) = web().await;
        let tunnel = super::tests::proxy(&["web.example:*"]);
        let line = format!("CONNECT web.example:{port} HTTP/1.1");
        let Via::Port { port: at, token } = tunnel.via(Path::new("")) else { panic!() };
        let login = base64::engine::general_purpose::STANDARD.encode(format!("sterna:{token}"));
        let headers = format!("Proxy-Authorization: Basic {login}\r\n\r\nraw bytes");
        let answer = ask_as(at, &line, &headers).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("hi"), "{answer}");
        assert!(served.await.unwrap().starts_with("raw bytes"));
        assert_eq!(tunnel.refusals(), []);
    }

    #[tokio::test]
    async fn what_is_not_allowed_is_refused_and_told() {
        let proxy = proxy(&["web.example", "*.sub.example", "meta.example:80", "10.0.0.1"]);
        // what is asked for, status, what is told
        let cases = [
            ("CONNECT other.example:443", "403", "other.example:443 is not in the list"),
            ("CONNECT web.example:22", "403", "web.example:22 is not in the list"),
            ("GET http://sub.example/", "403", "sub.example:80 is not in the list"),
            // Names that lead to this machine, to metadata, and an address itself.
            ("CONNECT web.example:443", "403", "leads to 127.0.0.1, which is not of the public network"),
            ("GET http://a.sub.example/", "403", "leads to 127.0.0.1"),
            ("GET http://meta.example/", "403", "leads to 169.254.169.254"),
            ("GET http://10.0.0.1/", "403", "leads to 10.0.0.1"),
            ("GET /etc/passwd", "400", "this proxy takes"),
        ];
        for (line, status, told) in cases {
            let answer = ask(&proxy, &format!("{line} HTTP/1.1")).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {answer}");
            assert!(answer.contains(told), "{line}: {answer}");
        }
        let told: Vec<String> = proxy.refusals().iter().map(|refusal| refusal.host.clone()).collect();
        let want = "other.example web.example sub.example web.example a.sub.example meta.example 10.0.0.1";
        assert_eq!(told.join(" "), want);
        ask(&proxy, "CONNECT other.example:443 HTTP/1.1").await;
        assert_eq!(proxy.refusals().len(), 7, "each once");
    }

    #[tokio::test]
    async fn only_who_knows_the_token_is_served() {
        let proxy = proxy(&["web.example:*"]);
        let Via::Port { port, .. } = proxy.via(Path::new("")) else { panic!() };
        for headers in ["", "Proxy-Authorization: Basic c3Rlcm5hOng=\r\n"] {
            let answer = ask_as(port, "CONNECT web.example:80 HTTP/1.1", headers).await;
            assert!(answer.starts_with("HTTP/1.1 407 "), "{answer}");
        }
        assert_eq!(proxy.refusals(), []);
    }

    #[tokio::test]
    async fn a_socket_deep_down_is_reached_and_goes_with_the_proxy() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("d".repeat(100)).join("e".repeat(100));
        std::fs::create_dir_all(&deep).unwrap();
        let proxy = Proxy::on_socket(&[], &deep).unwrap();
        let Via::Socket { path, token } = proxy.via(&deep) else { panic!() };
        assert!(path.exists());
        // The address of a socket is short; the way to the folder need not be.
        let folder = std::fs::File::open(&deep).unwrap();
        let short = format!("/proc/self/fd/{}", folder.as_raw_fd());
        let name = Path::new(&short).join(path.file_name().unwrap());
        for (preface, told) in [(format!("{token}\n"), "HTTP/1.1 403 "), ("0".repeat(33), "")] {
            let mut stream = tokio::net::UnixStream::connect(&name).await.unwrap();
            stream
                .write_all(format!("{preface}CONNECT a.example:443 HTTP/1.1\r\n\r\n").as_bytes())
                .await
                .unwrap();
            let mut answer = Vec::new();
            // Who is not served hears nothing, or is hung up on.
            drop(stream.read_to_end(&mut answer).await);
            assert_eq!(String::from_utf8_lossy(&answer).starts_with("HTTP"), !told.is_empty());
            assert!(String::from_utf8_lossy(&answer).starts_with(told));
        }
        drop(proxy);
        assert!(!path.exists());
    }
}
