//! What the scripted model says, on each wire that a peer may speak, streamed or in one piece.

use serde_json::{Value, json};

/// A provider's protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    Chat,
    Responses,
    Messages,
}

/// One answer of the model.
#[derive(Debug, Clone, Copy)]
pub enum Say<'a> {
    /// The call of this number, with its arguments as JSON.
    Call { n: usize, tool: &'a str, arguments: &'a str },
    /// What ends a turn.
    Text(&'a str),
}

impl Wire {
    /// The wire that is spoken at a path. A base URL may have any beginning.
    pub fn of_path(path: &str) -> Option<Self> {
        let path = path.split('?').next().unwrap_or_default();
        match path.rsplit('/').next()? {
            "completions" if path.ends_with("/chat/completions") => Some(Self::Chat),
            "responses" => Some(Self::Responses),
            "messages" => Some(Self::Messages),
            _ => None,
        }
    }

    /// A whole HTTP response.
    pub fn response(self, streamed: bool, say: &Say<'_>) -> Vec<u8> {
        let (kind, body) = match streamed {
            true => ("text/event-stream", self.events(say)),
            false => ("application/json", self.whole(say).to_string()),
        };
        // One chunk: how a server cuts its answer is not what is measured.
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n");
        format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).into_bytes()
    }

    fn events(self, say: &Say<'_>) -> String {
        match self {
            Self::Chat => {
                let mut out: String =
                    chat_chunks(say).iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
                out.push_str("data: [DONE]\n\n");
                out
            }
            Self::Responses => named(&responses_events(say)),
            Self::Messages => named(&messages_events(say)),
        }
    }

    fn whole(self, say: &Say<'_>) -> Value {
        match self {
            Self::Chat => {
                let (message, finish) = chat_message(say);
                let choice = json!({ "index": 0, "message": message, "finish_reason": finish });
                chat("chat.completion", json!([choice]), true)
            }
            Self::Responses => responses("completed", json!([responses_item(say)])),
            Self::Messages => {
                let (block, stop) = messages_block(say);
                json!({
                    "id": "msg_1", "type": "message", "role": "assistant", "model": "x", "content": [block],
                    "stop_reason": stop, "stop_sequence": null,
                    "usage": { "input_tokens": 100, "output_tokens": 10 },
                })
            }
        }
    }
}

/// Events whose name is their type.
fn named(events: &[Value]) -> String {
    events
        .iter()
        .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default()))
        .collect()
}

fn chat(object: &str, choices: Value, usage: bool) -> Value {
    let mut whole =
        json!({ "id": "chatcmpl-1", "object": object, "created": 1, "model": "x", "choices": choices });
    if usage {
        whole["usage"] = json!({ "prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110 });
    }
    whole
}

fn chat_message(say: &Say<'_>) -> (Value, &'static str) {
    match say {
        Say::Call { n, tool, arguments } => {
            let function = json!({ "name": tool, "arguments": arguments });
            let call = json!({ "id": call_id(*n), "type": "function", "function": function });
            (json!({ "role": "assistant", "content": null, "tool_calls": [call] }), "tool_calls")
        }
        Say::Text(text) => (json!({ "role": "assistant", "content": text }), "stop"),
    }
}

fn chat_chunks(say: &Say<'_>) -> [Value; 3] {
    let (mut delta, finish) = chat_message(say);
    if let Some(call) = delta.get_mut("tool_calls").and_then(|calls| calls.get_mut(0)) {
        call["index"] = json!(0);
    }
    let chunk = |choices: Value, usage: bool| chat("chat.completion.chunk", choices, usage);
    [
        chunk(json!([{ "index": 0, "delta": delta, "finish_reason": null }]), false),
        chunk(json!([{ "index": 0, "delta": {}, "finish_reason": finish }]), false),
        chunk(json!([]), true),
    ]
}

fn responses(status: &str, output: Value) -> Value {
    let usage = match status {
        "completed" => json!({
            "input_tokens": 100, "input_tokens_details": { "cached_tokens": 0 },
            "output_tokens": 10, "output_tokens_details": { "reasoning_tokens": 0 }, "total_tokens": 110,
        }),
        _ => Value::Null,
    };
    json!({
        "id": "resp_1", "object": "response", "created_at": 1, "status": status, "model": "x", "output": output,
        "error": null, "incomplete_details": null, "instructions": null, "metadata": {}, "tools": [],
        "tool_choice": "auto", "parallel_tool_calls": true, "temperature": null, "top_p": null, "usage": usage,
    })
}

fn responses_item(say: &Say<'_>) -> Value {
    match say {
        Say::Call { n, tool, arguments } => json!({
            "type": "function_call", "id": format!("fc_{n:06}"), "call_id": call_id(*n), "status": "completed",
            "name": tool, "arguments": arguments,
        }),
        Say::Text(text) => json!({
            "type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
            "content": [{ "type": "output_text", "text": text, "annotations": [] }],
        }),
    }
}

fn responses_events(say: &Say<'_>) -> Vec<Value> {
    let item = responses_item(say);
    let (mut begun, id) = (item.clone(), item["id"].clone());
    begun["status"] = json!("in_progress");
    let middle = match say {
        Say::Call { arguments, .. } => {
            begun["arguments"] = json!("");
            let of = |kind: &str, name: &str| json!({ "type": format!("response.function_call_arguments.{kind}"), "item_id": id, "output_index": 0, name: arguments });
            vec![of("delta", "delta"), of("done", "arguments")]
        }
        Say::Text(text) => {
            begun["content"] = json!([]);
            let part = |text: &str| json!({ "type": "output_text", "text": text, "annotations": [] });
            let of = |kind: &str, name: &str, value: Value| json!({ "type": format!("response.{kind}"), "item_id": id, "output_index": 0, "content_index": 0, name: value });
            vec![
                of("content_part.added", "part", part("")),
                of("output_text.delta", "delta", json!(text)),
                of("output_text.done", "text", json!(text)),
                of("content_part.done", "part", part(text)),
            ]
        }
    };
    let mut events = vec![
        json!({ "type": "response.created", "response": responses("in_progress", json!([])) }),
        json!({ "type": "response.output_item.added", "output_index": 0, "item": begun }),
    ];
    events.extend(middle);
    events.push(json!({ "type": "response.output_item.done", "output_index": 0, "item": item.clone() }));
    events.push(json!({ "type": "response.completed", "response": responses("completed", json!([item])) }));
    for (number, event) in events.iter_mut().enumerate() {
        event["sequence_number"] = json!(number);
    }
    events
}

fn messages_block(say: &Say<'_>) -> (Value, &'static str) {
    match say {
        Say::Call { n, tool, arguments } => {
            // The script writes its arguments itself: they are JSON.
            let input: Value = serde_json::from_str(arguments).unwrap_or_default();
            (json!({ "type": "tool_use", "id": call_id(*n), "name": tool, "input": input }), "tool_use")
        }
        Say::Text(text) => (json!({ "type": "text", "text": text }), "end_turn"),
    }
}

fn messages_events(say: &Say<'_>) -> Vec<Value> {
    let (mut block, stop) = messages_block(say);
    let delta = match say {
        Say::Call { arguments, .. } => {
            block["input"] = json!({});
            json!({ "type": "input_json_delta", "partial_json": arguments })
        }
        Say::Text(text) => {
            block["text"] = json!("");
            json!({ "type": "text_delta", "text": text })
        }
    };
    let message = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "x", "content": [], "stop_reason": null,
        "stop_sequence": null, "usage": { "input_tokens": 100, "output_tokens": 1 },
    });
    vec![
        json!({ "type": "message_start", "message": message }),
        json!({ "type": "content_block_start", "index": 0, "content_block": block }),
        json!({ "type": "content_block_delta", "index": 0, "delta": delta }),
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({
            "type": "message_delta", "delta": { "stop_reason": stop, "stop_sequence": null },
            "usage": { "output_tokens": 10 },
        }),
        json!({ "type": "message_stop" }),
    ]
}

fn call_id(n: usize) -> String {
    format!("call_{n:06}")
}

#[cfg(test)]
mod tests {
    use sterna_llm::wire;
    use sterna_model::{ModelStop, Part, Route};

    use super::*;

    /// What Sterna's own decoders, which recordings of the providers prove, make of a streamed answer.
    fn decoded(own: Wire, say: &Say<'_>) -> (Vec<Part>, ModelStop) {
        let name = match own {
            Wire::Chat => "openai_chat",
            Wire::Responses => "openai_responses",
            Wire::Messages => "anthropic",
        };
        let route: Route = "bench/x".parse().unwrap();
        let mut decoder = wire::by_name(name).unwrap().decoder(&route);
        decoder.push(own.events(say).as_bytes(), &mut |_| {}).unwrap();
        let reply = decoder.finish(true, &mut |_| {}).unwrap();
        (reply.parts, reply.stop)
    }

    #[test]
    fn a_call_is_read_as_a_call_on_every_wire() {
        let say = Say::Call { n: 7, tool: "read", arguments: r#"{"path":"lines.txt"}"# };
        for own in [Wire::Chat, Wire::Responses, Wire::Messages] {
            let (parts, stop) = decoded(own, &say);
            let [Part::ToolCall(call)] = &parts[..] else { panic!("{own:?}: {parts:?}") };
            assert_eq!((call.id.as_str(), call.name.as_str()), ("call_000007", "read"), "{own:?}");
            assert_eq!(call.arguments, r#"{"path":"lines.txt"}"#, "{own:?}");
            assert_eq!(stop, ModelStop::ToolCalls, "{own:?}");
        }
    }

    #[test]
    fn a_text_is_read_as_the_end_of_a_turn_on_every_wire() {
        for own in [Wire::Chat, Wire::Responses, Wire::Messages] {
            let (parts, stop) = decoded(own, &Say::Text("done"));
            assert_eq!(parts, [Part::Text("done".into())], "{own:?}");
            assert_eq!(stop, ModelStop::EndTurn, "{own:?}");
        }
    }

    #[test]
    fn an_answer_in_one_piece_says_the_same() {
        let say = Say::Call { n: 7, tool: "noop", arguments: r#"{"n":7}"# };
        let at = |wire: Wire, path: &str| wire.whole(&say).pointer(path).cloned().unwrap_or_default();
        assert_eq!(at(Wire::Chat, "/choices/0/message/tool_calls/0/function/arguments"), r#"{"n":7}"#);
        assert_eq!(at(Wire::Chat, "/choices/0/finish_reason"), "tool_calls");
        assert_eq!(at(Wire::Responses, "/output/0/arguments"), r#"{"n":7}"#);
        assert_eq!(at(Wire::Responses, "/status"), "completed");
        assert_eq!(at(Wire::Messages, "/content/0/input"), json!({ "n": 7 }));
        assert_eq!(at(Wire::Messages, "/stop_reason"), "tool_use");
    }

    #[test]
    fn a_wire_is_known_by_its_path() {
        assert_eq!(Wire::of_path("/v1/chat/completions"), Some(Wire::Chat));
        assert_eq!(Wire::of_path("/v1/responses?x=1"), Some(Wire::Responses));
        assert_eq!(Wire::of_path("/v1/messages"), Some(Wire::Messages));
        assert_eq!(Wire::of_path("/v1/completions"), None);
        assert_eq!(Wire::of_path("/v1/models"), None);
    }

    #[test]
    fn the_length_of_the_only_chunk_is_true() {
        let bytes = Wire::Chat.response(true, &Say::Text("done"));
        let text = String::from_utf8(bytes).unwrap();
        let (_, chunked) = text.split_once("\r\n\r\n").unwrap();
        let (length, rest) = chunked.split_once("\r\n").unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        assert_eq!(&rest[length..], "\r\n0\r\n\r\n");
    }
}
