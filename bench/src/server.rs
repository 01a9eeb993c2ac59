//! Model servers without think time: one that notes instants, and one of many connections in its own process.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// One request as the server saw it.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    pub first_byte: Instant,
    pub body_bytes: usize,
    /// Just before the reply's last bytes were handed to the kernel.
    pub replied: Instant,
    /// Bytes that this process had written to disk by then.
    pub written: u64,
}

/// What the model says to the request of this number, from 0.
pub type Say = Arc<dyn Fn(usize) -> Vec<u8> + Send + Sync>;

/// A server in this process, with a thread for each connection.
pub struct TimedServer {
    pub port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl TimedServer {
    pub fn start(say: Say) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (all, count) = (seen.clone(), Arc::new(AtomicUsize::new(0)));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (say, seen, count) = (say.clone(), all.clone(), count.clone());
                // A client that goes away is no matter of the server's.
                std::thread::spawn(move || drop(converse(stream, &say, &seen, &count)));
            }
        });
        Ok(Self { port, seen })
    }

    /// The requests so far, in order.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets what was seen.
    pub fn clear(&self) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub fn base_url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }
}

fn converse(mut stream: TcpStream, say: &Say, seen: &Mutex<Vec<Seen>>, count: &AtomicUsize) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0u8; 1 << 20];
    loop {
        let (mut held, mut wanted, mut head) = (0usize, usize::MAX, 0usize);
        let mut first_byte = None;
        while held < wanted {
            if held == buffer.len() {
                buffer.resize(held * 2, 0);
            }
            let got = stream.read(&mut buffer[held..])?;
            let now = Instant::now();
            if got == 0 {
                return Ok(());
            }
            first_byte.get_or_insert(now);
            held += got;
            if wanted == usize::MAX
                && let Some((head_bytes, body_bytes)) = lengths(&buffer[..held])
            {
                head = head_bytes;
                wanted = head_bytes + body_bytes;
            }
        }
        let reply = say(count.fetch_add(1, Ordering::SeqCst));
        let written = disk_written();
        let replied = Instant::now();
        // Noted before it is sent, so that whoever has the reply finds it here.
        let first_byte = first_byte.context("a request has a first byte")?;
        let request = Seen { first_byte, body_bytes: wanted - head, replied, written };
        seen.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        stream.write_all(&reply)?;
    }
}

/// Bytes of a request's head and body, once the head is there.
pub fn lengths(bytes: &[u8]) -> Option<(usize, usize)> {
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head]).ok()?.to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    Some((head, length.and_then(|length| length.trim().parse().ok()).unwrap_or(0)))
}

fn disk_written() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let bytes = io.lines().find_map(|line| line.strip_prefix("write_bytes:"));
    bytes.and_then(|bytes| bytes.trim().parse().ok()).unwrap_or(0)
}

/// A streamed answer that calls one tool.
pub fn call_reply(tool: &str, n: usize) -> Vec<u8> {
    let arguments = match tool {
        // The program's own tool, on a file that is there: a line that no step before has read.
        "read" => json!({ "path": "lines.txt", "offset": n + 1, "limit": 1 }),
        _ => json!({ "n": n }),
    };
    let function = json!({ "name": tool, "arguments": arguments.to_string() });
    let call = json!({ "index": 0, "id": format!("call_{n:06}"), "type": "function", "function": function });
    stream(&format!("{{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{call}]}}"), "tool_calls")
}

/// A streamed answer that ends a turn.
pub fn text_reply(text: &str) -> Vec<u8> {
    stream(&format!("{{\"role\":\"assistant\",\"content\":\"{text}\"}}"), "stop")
}

fn stream(delta: &str, finish: &str) -> Vec<u8> {
    let begin = "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"x\",\"choices\":";
    let body = format!(
        "{begin}[{{\"index\":0,\"delta\":{delta},\"finish_reason\":null}}]}}\n\n\
         {begin}[{{\"index\":0,\"delta\":{{}},\"finish_reason\":\"{finish}\"}}]}}\n\n\
         {begin}[],\"usage\":{{\"prompt_tokens\":100,\"completion_tokens\":10,\"total_tokens\":110}}}}\n\n\
         data: [DONE]\n\n"
    );
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).into_bytes()
}

/// Serves any number of sessions for as long as the process lives, and says its port on stdout. A request whose last
/// message says `end after N` … is answered by what it holds: as many results as that ends the turn.
pub fn serve_forever(args: &[String]) -> Result<()> {
    let [steps, tool] = args else { bail!("steps, tool") };
    let (steps, tool): (usize, Arc<str>) = (steps.parse()?, tool.as_str().into());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        println!("{}", listener.local_addr()?.port());
        std::io::stdout().flush()?;
        loop {
            let (stream, _) = listener.accept().await?;
            let tool = tool.clone();
            tokio::spawn(async move {
                // A client that goes away is no matter of the server's.
                let _ = converse_many(stream, steps, &tool).await;
            });
        }
    })
}

async fn converse_many(mut stream: tokio::net::TcpStream, steps: usize, tool: &str) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer: Vec<u8> = Vec::with_capacity(16 << 10);
    loop {
        buffer.clear();
        let mut wanted = usize::MAX;
        while buffer.len() < wanted {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            if wanted == usize::MAX
                && let Some((head, body)) = lengths(&buffer)
            {
                wanted = head + body;
            }
        }
        let results = memory_count(&buffer, b"\"role\":\"tool\"");
        let reply = if results >= steps { text_reply("done") } else { call_reply(tool, results) };
        stream.write_all(&reply).await?;
    }
}

fn memory_count(bytes: &[u8], what: &[u8]) -> usize {
    bytes.windows(what.len()).filter(|window| *window == what).count()
}

/// Steps of a session against the server of many connections; the answer after them ends the turn.
pub const SESSION_STEPS: usize = 9;
