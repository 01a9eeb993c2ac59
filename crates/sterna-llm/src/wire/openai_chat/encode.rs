//! Requests as `chat/completions` bodies.

use sterna_model::{Part, Route, Thinking, ThinkingDialect, ToolCall};

use super::super::body::{EncodeCache, Layout, Role, assemble, entry, has_system, json};
use super::super::files::{Said, data_url, label, result_text, said, sent};
use crate::{CallResult, Encoded, FilePart, Item, Request, UserPart};

pub(super) fn encode(request: &Request, cache: &mut EncodeCache, extra: &[u8]) -> Encoded {
    assemble(&Chat, request, cache, extra)
}

struct Chat;

impl Layout for Chat {
    fn name(&self) -> &'static str {
        super::NAME
    }

    fn head(&self, request: &Request) -> Vec<u8> {
        let mut out = b"{\"model\":".to_vec();
        let Route { provider, model } = &request.route;
        json(&mut out, if model.is_empty() { provider } else { model });
        if !request.tools.is_empty() {
            out.extend_from_slice(b",\"tools\":[");
            for (at, tool) in request.tools.iter().enumerate() {
                out.extend_from_slice(if at == 0 { b"" } else { b"," });
                out.extend_from_slice(b"{\"type\":\"function\",\"function\":{\"name\":");
                json(&mut out, &tool.name);
                out.extend_from_slice(b",\"description\":");
                json(&mut out, &tool.description);
                out.extend_from_slice(b",\"parameters\":");
                json(&mut out, &tool.schema);
                out.extend_from_slice(b"}}");
            }
            out.push(b']');
        }
        out.extend_from_slice(b",\"messages\":[");
        if has_system(request) {
            let texts = request.system.iter().map(|part| part.text.as_str()).filter(|text| !text.is_empty());
            message(&mut out, "system", &texts.collect::<Vec<_>>().join("\n\n"));
        }
        out
    }

    fn item(&self, item: &Item, _route: &Route) -> Vec<u8> {
        let mut out = Vec::new();
        match item {
            Item::User(texts) => {
                let texts: Vec<&str> =
                    texts.iter().map(String::as_str).filter(|text| !text.is_empty()).collect();
                if !texts.is_empty() {
                    message(&mut out, "user", &texts.join("\n"));
                }
            }
            Item::Mixed(parts) => mixed(&mut out, parts),
            Item::Assistant(parts) => assistant(&mut out, parts),
            Item::Results(results) => {
                for (at, result) in results.iter().enumerate() {
                    let CallResult { call_id, name: _, text: _, failed: _, files: _ } = result;
                    out.extend_from_slice(if at == 0 { b"" } else { b"," });
                    out.extend_from_slice(b"{\"role\":\"tool\",\"tool_call_id\":");
                    json(&mut out, call_id);
                    out.extend_from_slice(b",\"content\":");
                    json(&mut out, &*result_text(result));
                    out.push(b'}');
                }
                // A tool's message takes text alone.
                let mut files = Contents::default();
                for result in results.iter().filter(|result| sent(result).next().is_some()) {
                    files.text(&label(result));
                    sent(result).for_each(|(file, data)| files.file(file, data));
                }
                if !files.0.is_empty() {
                    out.push(b',');
                    files.message(&mut out);
                }
            }
        }
        out
    }

    fn tail(&self, text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        message(&mut out, "user", text);
        out
    }

    fn glue(&self, before: Option<Role>, _next: Role) -> &'static [u8] {
        match before {
            None => b"",
            Some(Role::System | Role::User | Role::Assistant) => b",",
        }
    }

    fn close(&self, _last: Option<Role>) -> &'static [u8] {
        b""
    }

    fn suffix(&self, request: &Request) -> Vec<u8> {
        let mut out = b"]".to_vec();
        // The reasoning models of the wire's owner refuse the old name; most others know only that.
        let limit: &[u8] = match request.route.provider.as_str() {
            "openai" | "azure" => b",\"max_completion_tokens\":",
            _ => b",\"max_tokens\":",
        };
        out.extend_from_slice(limit);
        json(&mut out, &request.max_output.max(1));
        if let Some(temperature) = request.temperature {
            out.extend_from_slice(b",\"temperature\":");
            json(&mut out, &temperature);
        }
        if request.tools_off && !request.tools.is_empty() {
            out.extend_from_slice(b",\"tool_choice\":\"none\"");
        }
        if let Some(schema) = &request.schema {
            out.extend_from_slice(b",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"answer\",\"schema\":");
            json(&mut out, &**schema);
            // Strict would refuse every schema with an optional member.
            out.extend_from_slice(b",\"strict\":false}}");
        }
        if let Some(Thinking { dialect: ThinkingDialect::Effort, effort }) = request.thinking {
            out.extend_from_slice(b",\"reasoning_effort\":");
            json(&mut out, effort.word());
        }
        out.extend_from_slice(b",\"stream\":true");
        // Mistral refuses members that it does not know, and sends usage unasked.
        if request.route.provider != "mistral" {
            out.extend_from_slice(b",\"stream_options\":{\"include_usage\":true}");
        }
        out
    }

    fn marks(&self, _request: &Request) -> usize {
        0
    }

    fn mark(&self) -> &'static [u8] {
        b""
    }
}

fn message(out: &mut Vec<u8>, role: &str, content: &str) {
    out.extend_from_slice(b"{\"role\":");
    json(out, role);
    out.extend_from_slice(b",\"content\":");
    json(out, content);
    out.push(b'}');
}

/// Texts alone go as one string: many servers of this wire know nothing else.
fn mixed(out: &mut Vec<u8>, parts: &[UserPart]) {
    let texts: Option<Vec<&str>> = parts
        .iter()
        .map(|part| match said(part) {
            Said::Text(text) => Some(text),
            Said::File(..) => None,
        })
        .collect();
    if let Some(mut texts) = texts {
        texts.retain(|text| !text.is_empty());
        if !texts.is_empty() {
            message(out, "user", &texts.join("\n"));
        }
        return;
    }
    let mut content = Contents::default();
    for part in parts {
        match said(part) {
            Said::Text(text) => content.text(text),
            Said::File(file, data) => content.file(file, data),
        }
    }
    content.message(out);
}

/// Parts of a user's message, with the commas between them.
#[derive(Default)]
struct Contents(Vec<u8>);

impl Contents {
    fn next(&mut self) -> &mut Vec<u8> {
        entry(&mut self.0)
    }

    fn text(&mut self, text: &str) {
        if !text.is_empty() {
            let out = self.next();
            out.extend_from_slice(b"{\"type\":\"text\",\"text\":");
            json(out, text);
            out.push(b'}');
        }
    }

    fn file(&mut self, file: &FilePart, data: &str) {
        let out = self.next();
        if file.file.is_pdf() {
            out.extend_from_slice(b"{\"type\":\"file\",\"file\":{\"filename\":");
            json(out, &file.file.name);
            out.extend_from_slice(b",\"file_data\":");
        } else {
            out.extend_from_slice(b"{\"type\":\"image_url\",\"image_url\":{\"url\":");
        }
        json(out, &data_url(file, data));
        out.extend_from_slice(b"}}");
    }

    fn message(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"role\":\"user\",\"content\":[");
        out.extend_from_slice(&self.0);
        out.extend_from_slice(b"]}");
    }
}

/// Reasoning and opaque parts are not sent back: this wire has no place for them.
fn assistant(out: &mut Vec<u8>, parts: &[Part]) {
    let mut text = String::new();
    let mut calls: Vec<&ToolCall> = Vec::new();
    for part in parts {
        match part {
            Part::Text(more) => text.push_str(more),
            Part::ToolCall(call) => calls.push(call),
            Part::Reasoning(_) | Part::Opaque(_) => {}
        }
    }
    if text.is_empty() && calls.is_empty() {
        return;
    }
    out.extend_from_slice(b"{\"role\":\"assistant\",\"content\":");
    if text.is_empty() {
        out.extend_from_slice(b"null");
    } else {
        json(out, &text);
    }
    if !calls.is_empty() {
        out.extend_from_slice(b",\"tool_calls\":[");
        for (at, call) in calls.iter().enumerate() {
            out.extend_from_slice(if at == 0 { b"" } else { b"," });
            out.extend_from_slice(b"{\"id\":");
            json(out, &call.id);
            out.extend_from_slice(b",\"type\":\"function\",\"function\":{\"name\":");
            json(out, &call.name);
            out.extend_from_slice(b",\"arguments\":");
            json(out, &call.arguments);
            out.extend_from_slice(b"}}");
        }
        out.push(b']');
    }
    out.push(b'}');
}
