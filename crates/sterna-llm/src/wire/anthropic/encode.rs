//! Requests as Messages bodies.
//!
//! Neighbours of one role become one message, so an item's bytes are its content blocks and the message brackets are
//! glue. Cache marks stand at the tools, at system boundaries and at the last items of the user; the wire allows four.

use serde_json::Value;
use sterna_model::{Part, Reasoning, Route, Thinking, ThinkingDialect};

use super::super::body::{EncodeCache, Layout, Role, assemble, compact, entry, is_object, json};
use super::super::files::{Said, result_text, said, sent};
use crate::{CallResult, Encoded, FilePart, Item, Request};

pub(super) fn encode(request: &Request, cache: &mut EncodeCache) -> Encoded {
    assemble(&Messages, request, cache, b"")
}

struct Messages;

impl Layout for Messages {
    fn name(&self) -> &'static str {
        super::NAME
    }

    fn head(&self, request: &Request) -> Vec<u8> {
        let mut out = b"{\"model\":".to_vec();
        json(&mut out, &request.route.model);
        if let Some(last) = request.tools.len().checked_sub(1) {
            out.extend_from_slice(b",\"tools\":[");
            for (at, tool) in request.tools.iter().enumerate() {
                out.extend_from_slice(if at == 0 { b"" } else { b"," });
                out.extend_from_slice(b"{\"name\":");
                json(&mut out, &tool.name);
                out.extend_from_slice(b",\"description\":");
                json(&mut out, &tool.description);
                out.extend_from_slice(b",\"input_schema\":");
                json(&mut out, &tool.schema);
                out.extend_from_slice(if at == last { MARK } else { b"" });
                out.push(b'}');
            }
            out.push(b']');
        }
        let texts: Vec<_> = request.system.iter().filter(|part| !part.text.trim().is_empty()).collect();
        if !texts.is_empty() {
            let mut unmarked = boundaries(request).saturating_sub(MAX_BOUNDARIES);
            out.extend_from_slice(b",\"system\":[");
            for (at, part) in texts.iter().enumerate() {
                out.extend_from_slice(if at == 0 { b"" } else { b"," });
                out.extend_from_slice(b"{\"type\":\"text\",\"text\":");
                json(&mut out, &part.text);
                if part.boundary {
                    match unmarked.checked_sub(1) {
                        Some(left) => unmarked = left,
                        None => out.extend_from_slice(MARK),
                    }
                }
                out.push(b'}');
            }
            out.push(b']');
        }
        out.extend_from_slice(b",\"messages\":[");
        out
    }

    fn item(&self, item: &Item, route: &Route) -> Vec<u8> {
        let mut out = Blocks::default();
        match item {
            Item::User(texts) => texts.iter().for_each(|text| out.text(text)),
            Item::Mixed(parts) => parts.iter().for_each(|part| match said(part) {
                Said::Text(text) => out.text(text),
                Said::File(file, data) => out.file(file, data),
            }),
            Item::Assistant(parts) => parts.iter().for_each(|part| assistant(&mut out, part, route)),
            Item::Results(results) => results.iter().for_each(|result| tool_result(&mut out, result)),
        }
        out.0
    }

    fn tail(&self, text: &str) -> Vec<u8> {
        let mut out = Blocks::default();
        out.text(text);
        out.0
    }

    fn glue(&self, before: Option<Role>, next: Role) -> &'static [u8] {
        match (before, next) {
            (None | Some(Role::System), Role::Assistant) => b"{\"role\":\"assistant\",\"content\":[",
            (None | Some(Role::System), Role::User | Role::System) => b"{\"role\":\"user\",\"content\":[",
            (Some(Role::User), Role::Assistant) => b"]},{\"role\":\"assistant\",\"content\":[",
            (Some(Role::Assistant), Role::User | Role::System) => b"]},{\"role\":\"user\",\"content\":[",
            (Some(Role::User), Role::User | Role::System) | (Some(Role::Assistant), Role::Assistant) => b",",
        }
    }

    fn close(&self, last: Option<Role>) -> &'static [u8] {
        match last {
            None | Some(Role::System) => b"",
            Some(Role::User | Role::Assistant) => b"]}",
        }
    }

    fn suffix(&self, request: &Request) -> Vec<u8> {
        let mut out = b"],\"max_tokens\":".to_vec();
        json(&mut out, &request.max_output.max(1));
        if let Some(temperature) = request.temperature {
            out.extend_from_slice(b",\"temperature\":");
            json(&mut out, &temperature);
        }
        if request.tools_off && !request.tools.is_empty() {
            out.extend_from_slice(b",\"tool_choice\":{\"type\":\"none\"}");
        }
        let mut config = Vec::new();
        match request.thinking {
            Some(Thinking { dialect: ThinkingDialect::Adaptive, effort }) => {
                out.extend_from_slice(b",\"thinking\":{\"type\":\"adaptive\"}");
                config.extend_from_slice(b"\"effort\":");
                json(&mut config, effort.word());
            }
            Some(Thinking { dialect: ThinkingDialect::Budget, effort }) => {
                if let Some(tokens) = budget(request, effort.tokens()) {
                    out.extend_from_slice(b",\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":");
                    json(&mut out, &tokens);
                    out.push(b'}');
                }
            }
            Some(Thinking { dialect: ThinkingDialect::Effort | ThinkingDialect::Level, .. }) | None => {}
        }
        if let Some(schema) = request.schema.as_ref().filter(|schema| is_closed(schema)) {
            config.extend_from_slice(if config.is_empty() { b"" } else { b"," });
            config.extend_from_slice(b"\"format\":{\"type\":\"json_schema\",\"schema\":");
            json(&mut config, &**schema);
            config.push(b'}');
        }
        if !config.is_empty() {
            out.extend_from_slice(b",\"output_config\":{");
            out.extend_from_slice(&config);
            out.push(b'}');
        }
        out.extend_from_slice(b",\"stream\":true");
        out
    }

    /// Two when the head leaves room: a step of many parallel calls is longer than the provider looks back.
    fn marks(&self, request: &Request) -> usize {
        let head = usize::from(!request.tools.is_empty()) + boundaries(request).min(MAX_BOUNDARIES);
        MAX_MARKS.saturating_sub(head).min(2)
    }

    fn mark(&self) -> &'static [u8] {
        MARK
    }
}

/// Tokens to think with, out of those that may be written: at most half of them. `None`: too few, or the answer goes on
/// from calls before which nothing was thought on this route, which the API refuses.
fn budget(request: &Request, wanted: u32) -> Option<u32> {
    let tokens = wanted.min(request.max_output / 2);
    let goes_on = match request.items.as_slice() {
        [.., answer, results] if matches!(**results, Item::Results(_)) => match &**answer {
            Item::Assistant(parts) => parts.first().is_some_and(|part| match part {
                Part::Reasoning(Reasoning { opaque: Some(opaque), .. }) | Part::Opaque(opaque) => {
                    opaque.route == request.route
                }
                Part::Reasoning(_) | Part::Text(_) | Part::ToolCall(_) => false,
            }),
            Item::User(_) | Item::Mixed(_) | Item::Results(_) => false,
        },
        _ => true,
    };
    (tokens >= LEAST_BUDGET && goes_on).then_some(tokens)
}

/// Whether the API takes this schema: it refuses objects that are open, and bounds of numbers, texts and lists. Another
/// one is told in the prompt alone.
fn is_closed(schema: &Value) -> bool {
    let Value::Object(members) = schema else { return schema.is_boolean() };
    let all = |value: &Value| value.as_object().is_some_and(|named| named.values().all(is_closed));
    let each = |value: &Value| value.as_array().is_some_and(|list| list.iter().all(is_closed));
    let object =
        members.contains_key("properties") || members.get("type").is_some_and(|kind| kind == "object");
    (!object || members.get("additionalProperties") == Some(&Value::Bool(false)))
        && members.iter().all(|(key, value)| match key.as_str() {
            "properties" | "$defs" | "definitions" => all(value),
            "anyOf" | "allOf" => each(value),
            "items" => is_closed(value),
            "type"
            | "required"
            | "enum"
            | "const"
            | "title"
            | "description"
            | "default"
            | "$ref"
            | "additionalProperties"
            | "$schema" => true,
            _ => false,
        })
}

/// Content blocks, with the commas between them.
#[derive(Default)]
struct Blocks(Vec<u8>);

impl Blocks {
    fn next(&mut self) -> &mut Vec<u8> {
        entry(&mut self.0)
    }

    /// The wire refuses blocks of white space alone.
    fn text(&mut self, text: &str) {
        if !text.trim().is_empty() {
            let out = self.next();
            out.extend_from_slice(b"{\"type\":\"text\",\"text\":");
            json(out, text);
            out.push(b'}');
        }
    }

    fn file(&mut self, file: &FilePart, data: &str) {
        let out = self.next();
        let is_pdf = file.file.is_pdf();
        out.extend_from_slice(if is_pdf { b"{\"type\":\"document\"" } else { b"{\"type\":\"image\"" });
        out.extend_from_slice(b",\"source\":{\"type\":\"base64\",\"media_type\":");
        json(out, &file.file.media_type);
        out.extend_from_slice(b",\"data\":");
        json(out, data);
        out.push(b'}');
        if is_pdf {
            out.extend_from_slice(b",\"title\":");
            json(out, &file.file.name);
        }
        out.push(b'}');
    }
}

fn assistant(out: &mut Blocks, part: &Part, route: &Route) {
    let opaque = match part {
        Part::Text(text) => return out.text(text),
        Part::ToolCall(call) => {
            let out = out.next();
            out.extend_from_slice(b"{\"type\":\"tool_use\",\"id\":");
            json(out, &wire_id(&call.id));
            out.extend_from_slice(b",\"name\":");
            json(out, &call.name);
            out.extend_from_slice(b",\"input\":");
            if is_object(&call.arguments) {
                out.extend_from_slice(compact(&call.arguments).as_bytes());
            } else {
                out.extend_from_slice(b"{\"invalid_arguments\":");
                json(out, &call.arguments);
                out.push(b'}');
            }
            out.push(b'}');
            return;
        }
        Part::Reasoning(reasoning) => reasoning.opaque.as_ref(),
        Part::Opaque(opaque) => Some(opaque),
    };
    // Opaque state goes back to the route that made it, byte for byte, and nowhere else.
    if let Some(opaque) = opaque.filter(|opaque| opaque.route == *route && is_object(&opaque.json)) {
        out.next().extend_from_slice(opaque.json.as_bytes());
    }
}

fn tool_result(out: &mut Blocks, result: &CallResult) {
    let CallResult { call_id, name: _, text: _, failed, files: _ } = result;
    let text = result_text(result);
    let mut content = Blocks::default();
    if sent(result).next().is_some() {
        content.text(&text);
        sent(result).for_each(|(file, data)| content.file(file, data));
    }
    let out = out.next();
    out.extend_from_slice(b"{\"type\":\"tool_result\",\"tool_use_id\":");
    json(out, &wire_id(call_id));
    if !content.0.is_empty() {
        out.extend_from_slice(b",\"content\":[");
        out.extend_from_slice(&content.0);
        out.push(b']');
    } else if !text.is_empty() {
        out.extend_from_slice(b",\"content\":");
        json(out, &*text);
    }
    if *failed {
        out.extend_from_slice(b",\"is_error\":true");
    }
    out.push(b'}');
}

/// Ids of other wires may hold characters that this one refuses.
fn wire_id(id: &str) -> String {
    id.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' }).collect()
}

fn boundaries(request: &Request) -> usize {
    request.system.iter().filter(|part| part.boundary && !part.text.trim().is_empty()).count()
}

/// Keeps what stands before it for five minutes.
const MARK: &[u8] = b",\"cache_control\":{\"type\":\"ephemeral\"}";
/// The wire's least budget.
const LEAST_BUDGET: u32 = 1_024;
/// The wire's limit on marks in one request.
const MAX_MARKS: usize = 4;
/// Of these, the last system boundaries: tools and history need one each.
const MAX_BOUNDARIES: usize = 2;
