//! Wire bytes from what a model says: written from the providers' documentation, apart from our decoders.

use serde_json::{Value, json};

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    OpenAiChat,
    Anthropic,
}

/// What a model says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub reasoning: String,
    pub text: String,
    pub calls: Vec<CallText>,
    /// In the words of the wire; `None`: what fits.
    pub stop: Option<String>,
    pub input_tokens: u64,
    pub output_tokens: u64,
}

/// Id, name and arguments of a call.
pub type CallText = (String, String, String);

impl Default for Reply {
    fn default() -> Self {
        Self {
            reasoning: String::new(),
            text: String::new(),
            calls: Vec::new(),
            stop: None,
            input_tokens: 10,
            output_tokens: 5,
        }
    }
}

impl Reply {
    pub fn text(text: &str) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// Id, name and arguments of each call.
    pub fn calls(calls: &[(&str, &str, &str)]) -> Self {
        let own =
            |(id, name, args): &(&str, &str, &str)| (id.to_string(), name.to_string(), args.to_string());
        Self { calls: calls.iter().map(own).collect(), ..Self::default() }
    }
}

impl Api {
    /// The stream of a whole answer. Texts come in two pieces, cut where a character ends.
    pub fn stream(self, reply: &Reply) -> String {
        match self {
            Self::OpenAiChat => chat(reply),
            Self::Anthropic => messages(reply),
        }
    }

    /// What comes after a base URL.
    pub fn path(self) -> &'static str {
        match self {
            Self::OpenAiChat => "/chat/completions",
            Self::Anthropic => "/v1/messages",
        }
    }
}

fn chat(reply: &Reply) -> String {
    let mut out = String::new();
    let mut send = |choices: Value, usage: Value| {
        let chunk = json!({
            "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": choices, "usage": usage,
        });
        out.push_str(&format!("data: {chunk}\n\n"));
    };
    let delta = |delta: Value| json!([{ "index": 0, "delta": delta, "finish_reason": null }]);
    send(delta(json!({ "role": "assistant", "content": "" })), Value::Null);
    for piece in halves(&reply.reasoning) {
        send(delta(json!({ "reasoning_content": piece })), Value::Null);
    }
    for piece in halves(&reply.text) {
        send(delta(json!({ "content": piece })), Value::Null);
    }
    for (index, (id, name, arguments)) in reply.calls.iter().enumerate() {
        let open = json!({ "index": index, "id": id, "type": "function", "function": { "name": name, "arguments": "" } });
        send(delta(json!({ "tool_calls": [open] })), Value::Null);
        for piece in halves(arguments) {
            let more = json!({ "index": index, "function": { "arguments": piece } });
            send(delta(json!({ "tool_calls": [more] })), Value::Null);
        }
    }
    let fits = if reply.calls.is_empty() { "stop" } else { "tool_calls" };
    let stop = reply.stop.as_deref().unwrap_or(fits);
    send(json!([{ "index": 0, "delta": {}, "finish_reason": stop }]), Value::Null);
    let (input, output) = (reply.input_tokens, reply.output_tokens);
    send(
        json!([]),
        json!({ "prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output }),
    );
    out.push_str("data: [DONE]\n\n");
    out
}

fn messages(reply: &Reply) -> String {
    let mut out = String::new();
    let mut send = |event: Value| {
        let name = event["type"].as_str().unwrap_or_default().to_owned();
        out.push_str(&format!("event: {name}\ndata: {event}\n\n"));
    };
    send(json!({ "type": "message_start", "message": {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [],
        "stop_reason": null, "stop_sequence": null,
        "usage": { "input_tokens": reply.input_tokens, "output_tokens": 1 },
    } }));
    let mut index = 0;
    let mut block = |start: Value, deltas: Vec<Value>| {
        send(json!({ "type": "content_block_start", "index": index, "content_block": start }));
        for delta in deltas {
            send(json!({ "type": "content_block_delta", "index": index, "delta": delta }));
        }
        send(json!({ "type": "content_block_stop", "index": index }));
        index += 1;
    };
    if !reply.reasoning.is_empty() {
        let thinking = |text| json!({ "type": "thinking_delta", "thinking": text });
        let mut deltas: Vec<Value> = halves(&reply.reasoning).into_iter().map(thinking).collect();
        deltas.push(json!({ "type": "signature_delta", "signature": "c2lnbmVk" }));
        block(json!({ "type": "thinking", "thinking": "", "signature": "" }), deltas);
    }
    if !reply.text.is_empty() {
        let text = |text| json!({ "type": "text_delta", "text": text });
        block(json!({ "type": "text", "text": "" }), halves(&reply.text).into_iter().map(text).collect());
    }
    for (id, name, arguments) in &reply.calls {
        let input = |text| json!({ "type": "input_json_delta", "partial_json": text });
        let start = json!({ "type": "tool_use", "id": id, "name": name, "input": {} });
        block(start, halves(arguments).into_iter().map(input).collect());
    }
    let fits = if reply.calls.is_empty() { "end_turn" } else { "tool_use" };
    let stop = reply.stop.as_deref().unwrap_or(fits);
    send(json!({ "type": "message_delta", "delta": { "stop_reason": stop, "stop_sequence": null },
        "usage": { "output_tokens": reply.output_tokens } }));
    send(json!({ "type": "message_stop" }));
    out
}

/// The text in at most two pieces.
fn halves(text: &str) -> Vec<&str> {
    let middle = text.char_indices().nth(text.chars().count() / 2).map_or(0, |(at, _)| at);
    let (head, tail) = text.split_at(middle);
    [head, tail].into_iter().filter(|piece| !piece.is_empty()).collect()
}
