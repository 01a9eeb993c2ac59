//! Requests as Responses bodies.
//!
//! The history is a flat list of items. Calls and messages go back without the ids that the provider gave their items:
//! an id would refer to something that is stored, and nothing is. Reasoning goes back whole, on its route alone.

use sterna_model::{Opaque, Part, Route, Thinking, ThinkingDialect, ToolCall};

use super::super::body::{EncodeCache, Layout, Role, assemble, entry, has_system, is_object, json};
use super::super::files::{Said, data_url, result_text, said, sent};
use crate::{CallResult, Encoded, FilePart, Item, Request, UserPart};

pub(super) fn encode(request: &Request, cache: &mut EncodeCache) -> Encoded {
    assemble(&Responses, request, cache, b"")
}

struct Responses;

impl Layout for Responses {
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
                out.extend_from_slice(b"{\"type\":\"function\",\"name\":");
                json(&mut out, &tool.name);
                out.extend_from_slice(b",\"description\":");
                json(&mut out, &tool.description);
                out.extend_from_slice(b",\"parameters\":");
                json(&mut out, &tool.schema);
                // Left out, it means yes here, and every optional argument would become a required one.
                out.extend_from_slice(b",\"strict\":false}");
            }
            out.push(b']');
        }
        if has_system(request) {
            let texts = request.system.iter().map(|part| part.text.as_str()).filter(|text| !text.is_empty());
            out.extend_from_slice(b",\"instructions\":");
            json(&mut out, &texts.collect::<Vec<_>>().join("\n\n"));
        }
        out.extend_from_slice(b",\"input\":[");
        out
    }

    fn item(&self, item: &Item, route: &Route) -> Vec<u8> {
        let mut out = Items::default();
        match item {
            Item::User(texts) => out.user(texts.iter().map(String::as_str)),
            Item::Mixed(parts) => out.mixed(parts),
            Item::Assistant(parts) => assistant(&mut out, parts, route),
            Item::Results(results) => results.iter().for_each(|result| call_output(&mut out, result)),
        }
        out.0
    }

    fn tail(&self, text: &str) -> Vec<u8> {
        let mut out = Items::default();
        out.user([text].into_iter());
        out.0
    }

    fn glue(&self, before: Option<Role>, _next: Role) -> &'static [u8] {
        match before {
            None | Some(Role::System) => b"",
            Some(Role::User | Role::Assistant) => b",",
        }
    }

    fn close(&self, _last: Option<Role>) -> &'static [u8] {
        b""
    }

    fn suffix(&self, request: &Request) -> Vec<u8> {
        let mut out = b"],\"store\":false".to_vec();
        if reasons(&request.route.model) {
            out.extend_from_slice(b",\"include\":[\"reasoning.encrypted_content\"]");
        }
        out.extend_from_slice(b",\"max_output_tokens\":");
        json(&mut out, &request.max_output.max(1));
        if let Some(temperature) = request.temperature {
            out.extend_from_slice(b",\"temperature\":");
            json(&mut out, &temperature);
        }
        if request.tools_off && !request.tools.is_empty() {
            out.extend_from_slice(b",\"tool_choice\":\"none\"");
        }
        if let Some(schema) = &request.schema {
            out.extend_from_slice(
                b",\"text\":{\"format\":{\"type\":\"json_schema\",\"name\":\"answer\",\"schema\":",
            );
            json(&mut out, &**schema);
            // Strict would refuse every schema with an optional member.
            out.extend_from_slice(b",\"strict\":false}}");
        }
        if let Some(Thinking { dialect: ThinkingDialect::Effort, effort }) = request.thinking {
            out.extend_from_slice(b",\"reasoning\":{\"effort\":");
            json(&mut out, effort.word());
            out.push(b'}');
        }
        out.extend_from_slice(b",\"stream\":true");
        out
    }

    fn marks(&self, _request: &Request) -> usize {
        0
    }

    fn mark(&self) -> &'static [u8] {
        b""
    }
}

/// Input items, with the commas between them.
#[derive(Default)]
struct Items(Vec<u8>);

impl Items {
    fn next(&mut self) -> &mut Vec<u8> {
        entry(&mut self.0)
    }

    fn user<'a>(&mut self, texts: impl Iterator<Item = &'a str>) {
        let mut content = Items::default();
        texts.for_each(|text| content.input_text(text));
        self.said(&content);
    }

    fn mixed(&mut self, parts: &[UserPart]) {
        let mut content = Items::default();
        for part in parts {
            match said(part) {
                Said::Text(text) => content.input_text(text),
                Said::File(file, data) => content.input_file(file, data),
            }
        }
        self.said(&content);
    }

    /// A user's message of these parts. None: it is not sent.
    fn said(&mut self, content: &Items) {
        if content.0.is_empty() {
            return;
        }
        let out = self.next();
        out.extend_from_slice(b"{\"type\":\"message\",\"role\":\"user\",\"content\":[");
        out.extend_from_slice(&content.0);
        out.extend_from_slice(b"]}");
    }

    fn input_text(&mut self, text: &str) {
        if !text.is_empty() {
            let out = self.next();
            out.extend_from_slice(b"{\"type\":\"input_text\",\"text\":");
            json(out, text);
            out.push(b'}');
        }
    }

    fn input_file(&mut self, file: &FilePart, data: &str) {
        let out = self.next();
        if file.file.is_pdf() {
            out.extend_from_slice(b"{\"type\":\"input_file\",\"filename\":");
            json(out, &file.file.name);
            out.extend_from_slice(b",\"file_data\":");
        } else {
            out.extend_from_slice(b"{\"type\":\"input_image\",\"detail\":\"auto\",\"image_url\":");
        }
        json(out, &data_url(file, data));
        out.push(b'}');
    }

    /// An answer's text. The short form of a message is the one that needs no id.
    fn message(&mut self, text: &str, phase: Option<&str>) {
        let out = self.next();
        out.extend_from_slice(b"{\"type\":\"message\",\"role\":\"assistant\",\"content\":");
        json(out, text);
        if let Some(phase) = phase {
            out.extend_from_slice(b",\"phase\":");
            json(out, phase);
        }
        out.push(b'}');
    }
}

/// An answer as its items. Reasoning that nothing follows is not sent: the wire refuses it.
fn assistant(out: &mut Items, parts: &[Part], route: &Route) {
    let mut waiting: Vec<&str> = Vec::new();
    let mut text = String::new();
    let mut phase: Option<String> = None;
    let flush = |out: &mut Items, waiting: &mut Vec<&str>, text: &mut String, phase: &mut Option<String>| {
        if !text.is_empty() {
            reasoning(out, waiting);
            out.message(text, phase.as_deref());
            text.clear();
        }
        *phase = None;
    };
    for part in parts {
        let opaque = match part {
            Part::Text(more) => {
                text.push_str(more);
                continue;
            }
            Part::ToolCall(call) => {
                flush(out, &mut waiting, &mut text, &mut phase);
                reasoning(out, &mut waiting);
                function_call(out, call);
                continue;
            }
            Part::Reasoning(reasoning) => reasoning.opaque.as_ref(),
            Part::Opaque(opaque) => Some(opaque),
        };
        // Opaque state goes back to the route that made it, byte for byte, and nowhere else.
        let Some(opaque) = opaque.filter(|opaque| opaque.route == *route && is_object(&opaque.json)) else {
            continue;
        };
        flush(out, &mut waiting, &mut text, &mut phase);
        match (label(opaque), part) {
            (Some(label), _) => phase = Some(label),
            (None, Part::Reasoning(_)) => waiting.push(&opaque.json),
            (None, _) => {
                reasoning(out, &mut waiting);
                out.next().extend_from_slice(opaque.json.as_bytes());
            }
        }
    }
    flush(out, &mut waiting, &mut text, &mut phase);
}

fn reasoning(out: &mut Items, waiting: &mut Vec<&str>) {
    for raw in waiting.drain(..) {
        out.next().extend_from_slice(raw.as_bytes());
    }
}

/// The label of the text that follows, if that is all this part holds.
fn label(opaque: &Opaque) -> Option<String> {
    let members: std::collections::BTreeMap<String, &serde_json::value::RawValue> =
        serde_json::from_str(&opaque.json).ok()?;
    let (name, value) = members.first_key_value()?;
    (members.len() == 1 && name == super::PHASE).then(|| serde_json::from_str(value.get()).ok())?
}

fn function_call(out: &mut Items, call: &ToolCall) {
    let out = out.next();
    out.extend_from_slice(b"{\"type\":\"function_call\",\"call_id\":");
    json(out, &*wire_id(&call.id));
    out.extend_from_slice(b",\"name\":");
    json(out, &call.name);
    out.extend_from_slice(b",\"arguments\":");
    json(out, &call.arguments);
    out.push(b'}');
}

/// The wire has no flag for a failure: the text says it.
fn call_output(out: &mut Items, result: &CallResult) {
    let CallResult { call_id, name: _, text: _, failed: _, files: _ } = result;
    let text = result_text(result);
    let out = out.next();
    out.extend_from_slice(b"{\"type\":\"function_call_output\",\"call_id\":");
    json(out, &*wire_id(call_id));
    out.extend_from_slice(b",\"output\":");
    if sent(result).next().is_some() {
        let mut content = Items::default();
        content.input_text(&text);
        sent(result).for_each(|(file, data)| content.input_file(file, data));
        out.push(b'[');
        out.extend_from_slice(&content.0);
        out.push(b']');
    } else {
        json(out, &*text);
    }
    out.push(b'}');
}

/// Ids of other wires may be longer than this one takes.
fn wire_id(id: &str) -> std::borrow::Cow<'_, str> {
    if id.chars().count() <= MAX_CALL_ID {
        return id.into();
    }
    format!("call_{}", &blake3::hash(id.as_bytes()).to_hex()[..40]).into()
}

/// Whether a model is of a family that reasons: the others refuse to be asked for its encrypted form.
fn reasons(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    let generation = |rest: &str| {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u32>().ok()
    };
    match name.strip_prefix("gpt-") {
        Some(rest) => generation(rest).is_some_and(|number| number >= 5) && !rest.contains("-chat"),
        None => {
            name.strip_prefix('o').is_some_and(|rest| generation(rest).is_some())
                || name.starts_with("codex-")
        }
    }
}

/// Characters of a call's id.
const MAX_CALL_ID: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_that_reason() {
        for model in [
            "gpt-5",
            "gpt-5-mini-2025-08-07",
            "openai/gpt-5.1",
            "gpt-12",
            "o3",
            "o4-mini",
            "codex-mini-latest",
        ] {
            assert!(reasons(model), "{model}");
        }
        for model in ["gpt-4.1", "gpt-4o", "gpt-5-chat-latest", "openai/gpt-oss-20b", "omni", "", "llama-3.3"]
        {
            assert!(!reasons(model), "{model}");
        }
    }

    #[test]
    fn long_ids_are_shortened_and_stay_apart() {
        let (fits, long) = ("ä".repeat(64), "ä".repeat(65));
        assert_eq!(wire_id(&fits), fits);
        assert_eq!(wire_id(&long).len(), 45);
        assert_ne!(wire_id(&long), wire_id(&"ä".repeat(66)));
    }
}
