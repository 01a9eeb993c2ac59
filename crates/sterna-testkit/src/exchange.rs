//! One answer of the script server, down to where its bytes are cut.

use serde_json::json;

use crate::{Api, Reply};

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<Chunk>,
    /// Cuts each `Chunk::Bytes` into pieces of this size, each a write of its own.
    pub rechunk: Option<usize>,
    pub framing: Framing,
}

/// A piece of a body, or what happens between two pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chunk {
    Bytes(Vec<u8>),
    DelayMs(u64),
    /// Drops the connection here.
    Cut,
    /// Sends nothing more, and waits until the client goes away.
    Hang,
}

/// How the client can tell where the body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    Chunked,
    /// `content-length` over all bytes of the body, also those behind a cut.
    Length,
    /// Not at all: the connection is closed after the body.
    Close,
}

impl Exchange {
    /// Any answer with any body.
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: vec![("content-type".into(), content_type.into())],
            body: vec![Chunk::Bytes(body.into())],
            rechunk: None,
            framing: Framing::Chunked,
        }
    }

    /// A stream of server-sent events, as it is.
    pub fn stream(body: impl Into<Vec<u8>>) -> Self {
        Self::new(200, "text/event-stream", body)
    }

    /// A model's answer.
    pub fn reply(api: Api, reply: &Reply) -> Self {
        Self::stream(api.stream(reply))
    }

    /// A model's answer of text alone.
    pub fn reply_text(api: Api, text: &str) -> Self {
        Self::reply(api, &Reply::text(text))
    }

    /// A model's answer of calls: id, name and arguments.
    pub fn reply_calls(api: Api, calls: &[(&str, &str, &str)]) -> Self {
        Self::reply(api, &Reply::calls(calls))
    }

    /// An error; `retry_after` in seconds.
    pub fn error(status: u16, body: &str, retry_after: Option<u64>) -> Self {
        let mut exchange = Self::new(status, "application/json", body);
        exchange.framing = Framing::Length;
        if let Some(seconds) = retry_after {
            exchange.headers.push(("retry-after".into(), seconds.to_string()));
        }
        exchange
    }

    /// An error with a message, in the form that both wires understand.
    pub fn error_message(status: u16, kind: &str, message: &str, retry_after: Option<u64>) -> Self {
        let body = json!({ "type": "error", "error": { "type": kind, "message": message } });
        Self::error(status, &body.to_string(), retry_after)
    }

    /// The same answer in pieces of this many bytes.
    pub fn rechunked(mut self, bytes: usize) -> Self {
        self.rechunk = Some(bytes.max(1));
        self
    }

    /// The same answer, with another way to tell its end.
    pub fn framed(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self
    }

    /// The same answer with something in its body after that many bytes; what a cut leaves behind is still counted in
    /// `content-length`.
    pub fn then_at(mut self, bytes: usize, then: Chunk) -> Self {
        let whole: Vec<u8> = self.bytes().copied().collect();
        let (head, tail) = whole.split_at(bytes.min(whole.len()));
        self.body = vec![Chunk::Bytes(head.to_vec()), then, Chunk::Bytes(tail.to_vec())];
        self
    }

    /// All bytes of the body.
    pub fn bytes(&self) -> impl Iterator<Item = &u8> {
        self.body.iter().flat_map(|chunk| match chunk {
            Chunk::Bytes(bytes) => bytes.as_slice(),
            Chunk::DelayMs(_) | Chunk::Cut | Chunk::Hang => &[],
        })
    }
}
