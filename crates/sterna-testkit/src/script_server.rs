//! An HTTP/1.1 server on loopback that plays exchanges and remembers what it was asked.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::{Chunk, Exchange, Framing};

/// A running server. Dropping it ends it and closes its connections.
///
/// It runs in a thread with an executor of its own, so that it serves tests with and without one, and a test's paused
/// clock does not stop it.
pub struct ScriptServer {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// When the last byte was there.
    pub at: Instant,
    /// The connection it came on, from 0.
    pub connection: usize,
}

impl Request {
    /// The first header of that lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON; `Null` if it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

type Answer = Arc<dyn Fn(usize, &Request) -> Exchange + Send + Sync>;

impl ScriptServer {
    /// Plays the exchanges, one for each request in the order in which they come. After the last one it answers 410.
    pub fn start(exchanges: Vec<Exchange>) -> io::Result<Self> {
        Self::start_with(move |index, _| match exchanges.get(index) {
            Some(exchange) => exchange.clone(),
            None => {
                let message = format!("the script server has no exchange number {}", index + 1);
                Exchange::error_message(410, "script_ended", &message, None)
            }
        })
    }

    /// Asks `answer` for each exchange, with the request and its index in order of arrival.
    pub fn start_with(
        answer: impl Fn(usize, &Request) -> Exchange + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = StdListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (stop, stopped) = oneshot::channel();
        let state = Arc::new(State { answer: Arc::new(answer), requests: requests.clone() });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("script-server".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = serve(listener, state) => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { address, requests, stop: Some(stop), thread: Some(thread) })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// What was asked so far, in order of arrival.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.requests).clone()
    }
}

impl Drop for ScriptServer {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct State {
    answer: Answer,
    requests: Arc<Mutex<Vec<Request>>>,
}

async fn serve(listener: StdListener, state: Arc<State>) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    for connection in 0.. {
        let (stream, _) = listener.accept().await?;
        let state = state.clone();
        tokio::spawn(async move {
            // A client that goes away is no matter of the server's.
            let _ = converse(stream, connection, &state).await;
        });
    }
    Ok(())
}

/// Serves one connection until either side is through with it.
async fn converse(mut stream: TcpStream, connection: usize, state: &State) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffer, connection).await? {
        let index = {
            let mut requests = lock(&state.requests);
            requests.push(request.clone());
            requests.len() - 1
        };
        let exchange = (state.answer)(index, &request);
        let goes_on = answer(&mut stream, &exchange).await?;
        let close = request.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        if !goes_on || close {
            return Ok(());
        }
    }
    Ok(())
}

/// The next request; `None` when the client has closed.
async fn read_request(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    connection: usize,
) -> io::Result<Option<Request>> {
    let head = loop {
        if let Some(at) = find(buffer, b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..at]).into_owned();
            buffer.drain(..at + 4);
            break head;
        }
        if buffer.len() > MAX_HEAD_BYTES || !more(stream, buffer).await? {
            return Ok(None);
        }
    };
    let mut lines = head.lines();
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (method, path) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_lowercase(), value.trim().to_owned()))
        .collect();
    let mut request = Request {
        method: method.into(),
        path: path.into(),
        headers,
        body: Vec::new(),
        at: Instant::now(),
        connection,
    };
    let body = if request.header("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
        read_chunked(stream, buffer).await?
    } else {
        let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        read_exact(stream, buffer, length).await?
    };
    let Some(body) = body else { return Ok(None) };
    request.body = body;
    request.at = Instant::now();
    Ok(Some(request))
}

async fn read_exact(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    length: usize,
) -> io::Result<Option<Vec<u8>>> {
    while buffer.len() < length {
        if !more(stream, buffer).await? {
            return Ok(None);
        }
    }
    Ok(Some(buffer.drain(..length).collect()))
}

async fn read_chunked(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    loop {
        let Some(at) = find(buffer, b"\r\n") else {
            if !more(stream, buffer).await? {
                return Ok(None);
            }
            continue;
        };
        let line = String::from_utf8_lossy(&buffer[..at]).into_owned();
        let Ok(size) = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16) else {
            return Ok(None);
        };
        buffer.drain(..at + 2);
        let Some(piece) = read_exact(stream, buffer, size + 2).await? else { return Ok(None) };
        if size == 0 {
            return Ok(Some(body));
        }
        body.extend_from_slice(&piece[..size]);
    }
}

async fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<bool> {
    Ok(stream.read_buf(buffer).await? > 0)
}

/// Sends an answer. False: the connection is not to be used again.
async fn answer(stream: &mut TcpStream, exchange: &Exchange) -> io::Result<bool> {
    let mut head = format!("HTTP/1.1 {} {}\r\n", exchange.status, "Scripted");
    for (name, value) in &exchange.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    match exchange.framing {
        Framing::Chunked => head.push_str("transfer-encoding: chunked\r\n"),
        Framing::Length => head.push_str(&format!("content-length: {}\r\n", exchange.bytes().count())),
        Framing::Close => head.push_str("connection: close\r\n"),
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await?;
    for chunk in &exchange.body {
        match chunk {
            Chunk::Bytes(bytes) => {
                for piece in bytes.chunks(exchange.rechunk.unwrap_or(usize::MAX)) {
                    write_piece(stream, piece, exchange.framing).await?;
                }
            }
            Chunk::DelayMs(ms) => tokio::time::sleep(Duration::from_millis(*ms)).await,
            Chunk::Cut => return Ok(false),
            Chunk::Hang => {
                let mut rest = [0u8; 1024];
                while stream.read(&mut rest).await? > 0 {}
                return Ok(false);
            }
        }
    }
    if exchange.framing == Framing::Chunked {
        stream.write_all(b"0\r\n\r\n").await?;
    }
    Ok(exchange.framing != Framing::Close)
}

async fn write_piece(stream: &mut TcpStream, piece: &[u8], framing: Framing) -> io::Result<()> {
    match framing {
        Framing::Chunked => {
            let mut framed = format!("{:x}\r\n", piece.len()).into_bytes();
            framed.extend_from_slice(piece);
            framed.extend_from_slice(b"\r\n");
            stream.write_all(&framed).await
        }
        Framing::Length | Framing::Close => stream.write_all(piece).await,
    }
}

fn find(buffer: &[u8], what: &[u8]) -> Option<usize> {
    buffer.windows(what.len()).position(|window| window == what)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const MAX_HEAD_BYTES: usize = 64 << 10;
