//! The script server: a model on loopback that calls one tool so many times and then says a text, on any wire. It notes
//! when each request came, and refuses every way out.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::peers::wires::{Say, Wire};
use crate::server::lengths;

/// What the model does in one turn. In its texts `{n}` is the number of the call, from 0, `{line}` the same from 1, and
/// `{entry}` what the line of the file holds that is to be read.
#[derive(Debug, Clone)]
pub struct Script {
    pub tool: String,
    /// JSON.
    pub arguments: String,
    /// What the next request must hold, for the call has run then.
    pub result: String,
    pub steps: usize,
}

impl Script {
    fn at(text: &str, n: usize) -> String {
        let numbered = text.replace("{n}", &n.to_string()).replace("{line}", &(n + 1).to_string());
        numbered.replace("{entry}", &entry(n))
    }
}

/// The text of a line of the file that is read, from 0. No request holds it before its line was read.
pub fn entry(n: usize) -> String {
    format!("entry-{n:06}")
}

/// One request of the turn.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    pub first_byte: Instant,
    pub body_bytes: usize,
    /// Just before the reply's bytes were handed to the kernel.
    pub replied: Instant,
}

/// What came in one run.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    pub steps: Vec<Step>,
    /// Requests to the model without the tool: titles and such. They are answered with a text.
    pub asides: usize,
    /// Tools that such requests offered.
    pub offered: Vec<String>,
    /// Hosts outside that were asked for and refused.
    pub outside: Vec<String>,
    /// What cannot be measured, and why.
    pub problem: Option<String>,
    /// The first request, for people.
    pub first: Vec<u8>,
}

/// Serves one run.
pub struct ScriptServer {
    pub port: u16,
    seen: Arc<Mutex<Seen>>,
}

impl ScriptServer {
    pub fn start(script: Script) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let (all, script) = (seen.clone(), Arc::new(script));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, script) = (all.clone(), script.clone());
                // A client that goes away is no matter of the server's.
                std::thread::spawn(move || drop(converse(stream, &script, &seen)));
            }
        });
        Ok(Self { port, seen })
    }

    pub fn seen(&self) -> Seen {
        lock(&self.seen).clone()
    }
}

/// A request's head and body.
struct Asked {
    method: String,
    target: String,
    body: Vec<u8>,
    first_byte: Instant,
    /// The body is not one that can be read here.
    strange: Option<&'static str>,
}

fn converse(mut stream: TcpStream, script: &Script, seen: &Mutex<Seen>) -> Result<()> {
    stream.set_nodelay(true)?;
    while let Some(asked) = receive(&mut stream)? {
        let reply = answer(&asked, script, seen);
        stream.write_all(&reply)?;
    }
    Ok(())
}

/// The next request of a connection. `None`: there is none.
fn receive(stream: &mut TcpStream) -> Result<Option<Asked>> {
    let mut buffer = vec![0u8; 256 << 10];
    let (mut held, mut whole, mut first_byte) = (0, None, None);
    loop {
        if held == buffer.len() {
            buffer.resize(held * 2, 0);
        }
        let got = stream.read(&mut buffer[held..])?;
        if got == 0 {
            return Ok(None);
        }
        first_byte.get_or_insert_with(Instant::now);
        held += got;
        if whole.is_none() {
            whole = lengths(&buffer[..held]);
            if let Some((head, body)) = whole
                && held < head + body
                && field(&buffer[..head], "expect").is_some()
            {
                stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
        }
        if let Some((head, body)) = whole
            && held >= head + body
        {
            let first_byte = first_byte.context("a request has a first byte")?;
            return Ok(Some(asked(&buffer[..head], &buffer[head..head + body], first_byte)));
        }
    }
}

fn asked(head: &[u8], body: &[u8], first_byte: Instant) -> Asked {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ').map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let strange = match (field(head, "transfer-encoding"), field(head, "content-encoding")) {
        (Some(_), _) => Some("its requests come in chunks, which the script server does not read"),
        (_, Some(_)) => Some("its requests are compressed, which the script server does not read"),
        (None, None) => None,
    };
    Asked { method, target, body: body.to_vec(), first_byte, strange }
}

fn field(head: &[u8], name: &str) -> Option<String> {
    let head = std::str::from_utf8(head).ok()?;
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
}

/// What is said to a request, all of HTTP.
fn answer(asked: &Asked, script: &Script, seen: &Mutex<Seen>) -> Vec<u8> {
    if asked.method == "CONNECT" || asked.target.starts_with("http") {
        lock(seen).outside.push(asked.target.clone());
        return refused("403 Forbidden", "there is no way out of a measurement");
    }
    let path = asked.target.split('?').next().unwrap_or_default();
    let (true, Some(wire)) = (asked.method == "POST", Wire::of_path(path)) else {
        return match path.ends_with("/models") {
            true => json_reply("200 OK", MODELS),
            false => refused("404 Not Found", "the script server knows no such path"),
        };
    };
    if let Some(strange) = asked.strange {
        lock(seen).problem.get_or_insert_with(|| strange.to_owned());
        return refused("415 Unsupported Media Type", strange);
    }
    let ask: Ask = match serde_json::from_slice(&asked.body) {
        Ok(ask) => ask,
        Err(error) => {
            let problem = format!("a request could not be read: {error}");
            lock(seen).problem.get_or_insert_with(|| problem.clone());
            return refused("400 Bad Request", &problem);
        }
    };
    let tools: Vec<String> = ask.tools.into_iter().filter_map(Offer::name).collect();
    if !tools.contains(&script.tool) {
        let mut seen = lock(seen);
        seen.asides += 1;
        if seen.first.is_empty() {
            seen.first = asked.body.clone();
        }
        for tool in tools {
            if !seen.offered.contains(&tool) {
                seen.offered.push(tool);
            }
        }
        return wire.response(ask.stream, &Say::Text("Reading lines"));
    }
    next(asked, wire, ask.stream, script, &mut lock(seen))
}

/// The next step of the turn. Noted before it is sent, so that whoever has the reply finds it here.
fn next(asked: &Asked, wire: Wire, streamed: bool, script: &Script, seen: &mut Seen) -> Vec<u8> {
    let n = seen.steps.len();
    match n {
        0 => seen.first = asked.body.clone(),
        n if n <= script.steps => {
            let result = Script::at(&script.result, n - 1);
            if !std::str::from_utf8(&asked.body).is_ok_and(|body| body.contains(&result)) {
                let problem = format!("the result of call {} is not in the next request: `{result}`", n - 1);
                seen.problem.get_or_insert(problem);
            }
        }
        _ => {
            seen.problem.get_or_insert_with(|| "it went on after the last answer".to_owned());
        }
    }
    let arguments = Script::at(&script.arguments, n);
    let say = match n < script.steps && seen.problem.is_none() {
        true => Say::Call { n, tool: &script.tool, arguments: &arguments },
        false => Say::Text("done"),
    };
    let reply = wire.response(streamed, &say);
    let step = Step { first_byte: asked.first_byte, body_bytes: asked.body.len(), replied: Instant::now() };
    seen.steps.push(step);
    reply
}

/// What is read of a request.
#[derive(Deserialize)]
struct Ask {
    #[serde(default)]
    stream: bool,
    #[serde(default)]
    tools: Vec<Offer>,
}

/// A tool with its name at the place that the wire has for it.
#[derive(Deserialize)]
struct Offer {
    name: Option<String>,
    function: Option<Function>,
}

#[derive(Deserialize)]
struct Function {
    name: String,
}

impl Offer {
    fn name(self) -> Option<String> {
        self.name.or(self.function.map(|function| function.name))
    }
}

fn refused(status: &str, message: &str) -> Vec<u8> {
    json_reply(status, &serde_json::json!({ "error": { "message": message } }).to_string())
}

fn json_reply(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

const MODELS: &str =
    r#"{"object":"list","data":[{"id":"x","object":"model","created":1,"owned_by":"bench"}]}"#;

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> ScriptServer {
        let (arguments, result) = (r#"{"n":{n}}"#.to_owned(), "{entry}".to_owned());
        ScriptServer::start(Script { tool: "noop".into(), arguments, result, steps: 2 }).unwrap()
    }

    fn ask(server: &ScriptServer, head: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        let length = body.len();
        write!(stream, "{head} HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        reply
    }

    const CHAT: &str = "POST /v1/chat/completions";

    #[test]
    fn the_script_is_played_to_its_end() {
        let server = server();
        let tools = r#""stream":true,"tools":[{"type":"function","function":{"name":"noop"}}]"#;
        let first = ask(&server, CHAT, &format!(r#"{{{tools},"messages":[]}}"#));
        assert!(first.contains(r#""arguments":"{\"n\":0}""#), "{first}");
        let second = ask(&server, CHAT, &format!(r#"{{{tools},"messages":["entry-000000"]}}"#));
        assert!(second.contains("call_000001"), "{second}");
        let last = ask(&server, CHAT, &format!(r#"{{{tools},"messages":["entry-000001"]}}"#));
        assert!(last.contains(r#""finish_reason":"stop""#), "{last}");
        let seen = server.seen();
        assert_eq!((seen.steps.len(), seen.asides, &seen.problem), (3, 0, &None));
        assert!(seen.steps.windows(2).all(|pair| pair[0].replied <= pair[1].first_byte));
    }

    #[test]
    fn a_call_that_was_not_run_ends_the_turn() {
        let server = server();
        let body = r#"{"tools":[{"name":"noop"}],"input":[]}"#;
        assert!(ask(&server, "POST /v1/responses", body).contains("function_call"));
        assert!(!ask(&server, "POST /v1/responses", body).contains("function_call"));
        let problem = server.seen().problem.unwrap();
        assert_eq!(problem, "the result of call 0 is not in the next request: `entry-000000`");
    }

    #[test]
    fn a_request_without_the_tool_is_no_step() {
        let server = server();
        let reply = ask(&server, "POST /v1/messages", r#"{"tools":[{"name":"other"}]}"#);
        assert!(reply.contains(r#""stop_reason":"end_turn""#), "{reply}");
        let seen = server.seen();
        assert_eq!((seen.steps.len(), seen.asides, &seen.offered[..]), (0, 1, &["other".to_owned()][..]));
    }

    #[test]
    fn nothing_gets_out() {
        let server = server();
        assert!(ask(&server, "CONNECT example.invalid:443", "").starts_with("HTTP/1.1 403"));
        assert!(ask(&server, "GET http://example.invalid/", "").starts_with("HTTP/1.1 403"));
        assert_eq!(server.seen().outside, ["example.invalid:443", "http://example.invalid/"]);
        assert!(ask(&server, "GET /v1/models", "").contains(r#""id":"x""#));
        assert!(ask(&server, "GET /", "").starts_with("HTTP/1.1 404"));
    }
}
