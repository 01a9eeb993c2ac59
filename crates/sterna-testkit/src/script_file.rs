//! Exchanges from a JSON file, for trying the command line by hand against the script server.
//!
//! The file is `{"exchanges":[…]}`. An exchange is one of
//!
//! - `{"api":"openai_chat","reasoning":"…","text":"…","calls":[{"id":"c1","name":"read","arguments":"{}"}],
//!   "stop":"length","input_tokens":10,"output_tokens":5}`: a model's answer (`api` may be `anthropic`);
//! - `{"status":429,"headers":{"retry-after":"1"},"body":["text",{"delay_ms":5},"more",{"cut":true}]}`: any answer;
//!   `{"hang":true}` sends nothing more.
//!
//! Both may have `"rechunk":N`, the size of the pieces, and `"cut_at":N`: the connection is dropped after N bytes.

use serde::Deserialize;
use serde_json::Map;
use serde_json::Value;

use crate::{Api, Chunk, Exchange, Reply};

/// A file that is no script.
#[derive(Debug)]
pub struct BadScript(pub String);

impl std::fmt::Display for BadScript {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "not a script for the script server: {}", self.0)
    }
}

impl std::error::Error for BadScript {}

/// Reads the text of a script file.
pub fn read_script(text: &str) -> Result<Vec<Exchange>, BadScript> {
    let file: File = serde_json::from_str(text).map_err(|error| BadScript(error.to_string()))?;
    file.exchanges.into_iter().map(exchange).collect()
}

fn exchange(line: ExchangeLine) -> Result<Exchange, BadScript> {
    let mut exchange = match (line.api.as_deref(), line.body) {
        (Some("openai_chat"), None) => Exchange::reply(Api::OpenAiChat, &line.reply.into()),
        (Some("anthropic"), None) => Exchange::reply(Api::Anthropic, &line.reply.into()),
        (Some(other), None) => {
            return Err(BadScript(format!("`api` is `{other}`: write openai_chat or anthropic")));
        }
        (None, Some(body)) => {
            let mut exchange = Exchange::new(line.status.unwrap_or(200), "text/event-stream", "");
            exchange.body = body.into_iter().map(BodyLine::chunk).collect();
            exchange
        }
        _ => return Err(BadScript("an exchange has `api` or `body`, and only one of them".into())),
    };
    for (name, value) in line.headers {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        exchange.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(&name));
        exchange.headers.push((name, value));
    }
    exchange.rechunk = line.rechunk.map(|bytes| bytes.max(1));
    Ok(match line.cut_at {
        Some(bytes) => exchange.then_at(bytes, Chunk::Cut),
        None => exchange,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    exchanges: Vec<ExchangeLine>,
}

#[derive(Deserialize)]
struct ExchangeLine {
    api: Option<String>,
    #[serde(flatten)]
    reply: ReplyLine,
    status: Option<u16>,
    #[serde(default)]
    headers: Map<String, Value>,
    body: Option<Vec<BodyLine>>,
    rechunk: Option<usize>,
    cut_at: Option<usize>,
}

#[derive(Deserialize)]
struct ReplyLine {
    #[serde(default)]
    reasoning: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    calls: Vec<CallLine>,
    stop: Option<String>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
}

impl From<ReplyLine> for Reply {
    fn from(line: ReplyLine) -> Self {
        let usual = Self::default();
        Self {
            reasoning: line.reasoning,
            text: line.text,
            calls: line.calls.into_iter().map(|call| (call.id, call.name, call.arguments)).collect(),
            stop: line.stop,
            input_tokens: line.input_tokens.unwrap_or(usual.input_tokens),
            output_tokens: line.output_tokens.unwrap_or(usual.output_tokens),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CallLine {
    id: String,
    name: String,
    arguments: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum BodyLine {
    Text(String),
    Delay { delay_ms: u64 },
    Cut { cut: bool },
    Hang { hang: bool },
}

impl BodyLine {
    fn chunk(self) -> Chunk {
        match self {
            Self::Text(text) => Chunk::Bytes(text.into_bytes()),
            Self::Delay { delay_ms } => Chunk::DelayMs(delay_ms),
            Self::Cut { cut: true } => Chunk::Cut,
            Self::Hang { hang: true } => Chunk::Hang,
            Self::Cut { cut: false } | Self::Hang { hang: false } => Chunk::DelayMs(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_in_both_forms() {
        let text = r#"{"exchanges":[
            {"api":"anthropic","text":"hi","rechunk":3},
            {"status":429,"headers":{"retry-after":"1","Content-Type":"application/json"},
             "body":["{}",{"delay_ms":5},{"cut":true}]}
        ]}"#;
        let exchanges = read_script(text).unwrap();
        assert_eq!(exchanges[0], Exchange::reply_text(Api::Anthropic, "hi").rechunked(3));
        assert_eq!(exchanges[1].status, 429);
        assert_eq!(exchanges[1].body, [Chunk::Bytes(b"{}".to_vec()), Chunk::DelayMs(5), Chunk::Cut]);
        let mut headers = exchanges[1].headers.clone();
        headers.sort();
        assert_eq!(
            headers,
            [
                ("Content-Type".to_owned(), "application/json".to_owned()),
                ("retry-after".to_owned(), "1".to_owned()),
            ]
        );
        assert!(read_script(r#"{"exchanges":[{"api":"x"}]}"#).is_err());
        assert!(read_script(r#"{"exchanges":[{}]}"#).is_err());
    }
}
