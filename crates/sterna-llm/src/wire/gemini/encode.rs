//! Requests as `generateContent` bodies.
//!
//! Neighbouring answers become one content, because a call must follow on something of the user. Results stand in a
//! content of their own, as the wire counts them against the calls before.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use sterna_model::{Opaque, Part, Route, Thinking, ThinkingDialect, ToolCall};

use super::super::body::{EncodeCache, Layout, Role, assemble, compact, entry, has_system, is_object, json};
use super::super::files::{Said, label, result_text, said, sent};
use crate::{CallResult, Encoded, FilePart, Item, Request};

pub(super) fn encode(request: &Request, cache: &mut EncodeCache) -> Encoded {
    assemble(&Contents, request, cache, b"")
}

struct Contents;

impl Layout for Contents {
    fn name(&self) -> &'static str {
        super::NAME
    }

    fn head(&self, request: &Request) -> Vec<u8> {
        let mut out = b"{".to_vec();
        if !request.tools.is_empty() {
            out.extend_from_slice(b"\"tools\":[{\"functionDeclarations\":[");
            for (at, tool) in request.tools.iter().enumerate() {
                out.extend_from_slice(if at == 0 { b"" } else { b"," });
                out.extend_from_slice(b"{\"name\":");
                json(&mut out, &tool.name);
                out.extend_from_slice(b",\"description\":");
                json(&mut out, &tool.description);
                // The other member for it takes a dialect of its own and refuses most of JSON Schema.
                out.extend_from_slice(b",\"parametersJsonSchema\":");
                json(&mut out, &tool.schema);
                out.push(b'}');
            }
            out.extend_from_slice(b"]}],");
        }
        if has_system(request) {
            let mut parts = Parts::default();
            request.system.iter().for_each(|part| parts.text(&part.text, None));
            out.extend_from_slice(b"\"systemInstruction\":{\"parts\":[");
            out.extend_from_slice(&parts.0);
            out.extend_from_slice(b"]},");
        }
        out.extend_from_slice(b"\"contents\":[");
        out
    }

    fn item(&self, item: &Item, route: &Route) -> Vec<u8> {
        let mut out = Parts::default();
        match item {
            Item::User(texts) => texts.iter().for_each(|text| out.text(text, None)),
            Item::Mixed(parts) => parts.iter().for_each(|part| match said(part) {
                Said::Text(text) => out.text(text, None),
                Said::File(file, data) => out.file(file, data),
            }),
            Item::Assistant(parts) => assistant(&mut out, parts, route),
            Item::Results(results) => {
                results.iter().for_each(|result| function_response(&mut out, result));
                let mut files = Parts::default();
                for result in results.iter().filter(|result| sent(result).next().is_some()) {
                    files.text(&label(result), None);
                    sent(result).for_each(|(file, data)| files.file(file, data));
                }
                if !files.0.is_empty() {
                    // Only the newest models take them in the response itself.
                    out.0.extend_from_slice(b"]},{\"role\":\"user\",\"parts\":[");
                    out.0.extend_from_slice(&files.0);
                }
            }
        }
        out.0
    }

    fn tail(&self, text: &str) -> Vec<u8> {
        let mut out = Parts::default();
        out.text(text, None);
        out.0
    }

    fn glue(&self, before: Option<Role>, next: Role) -> &'static [u8] {
        match (before, next) {
            (None | Some(Role::System), Role::Assistant) => b"{\"role\":\"model\",\"parts\":[",
            (None | Some(Role::System), Role::User | Role::System) => b"{\"role\":\"user\",\"parts\":[",
            (Some(Role::Assistant), Role::Assistant) => b",",
            (Some(Role::User), Role::Assistant) => b"]},{\"role\":\"model\",\"parts\":[",
            (Some(Role::User | Role::Assistant), Role::User | Role::System) => {
                b"]},{\"role\":\"user\",\"parts\":["
            }
        }
    }

    fn close(&self, last: Option<Role>) -> &'static [u8] {
        match last {
            None | Some(Role::System) => b"",
            Some(Role::User | Role::Assistant) => b"]}",
        }
    }

    fn suffix(&self, request: &Request) -> Vec<u8> {
        let mut out = b"]".to_vec();
        if request.tools_off && !request.tools.is_empty() {
            out.extend_from_slice(b",\"toolConfig\":{\"functionCallingConfig\":{\"mode\":\"NONE\"}}");
        }
        out.extend_from_slice(b",\"generationConfig\":{\"maxOutputTokens\":");
        json(&mut out, &request.max_output.max(1));
        if let Some(temperature) = request.temperature {
            out.extend_from_slice(b",\"temperature\":");
            json(&mut out, &temperature);
        }
        if let Some(schema) = &request.schema {
            out.extend_from_slice(b",\"responseMimeType\":\"application/json\",\"responseJsonSchema\":");
            json(&mut out, &**schema);
        }
        match request.thinking {
            Some(Thinking { dialect: ThinkingDialect::Level, effort }) => {
                out.extend_from_slice(b",\"thinkingConfig\":{\"thinkingLevel\":");
                json(&mut out, effort.word());
                out.push(b'}');
            }
            Some(Thinking { dialect: ThinkingDialect::Budget, effort }) => {
                out.extend_from_slice(b",\"thinkingConfig\":{\"thinkingBudget\":");
                json(&mut out, &effort.tokens());
                out.push(b'}');
            }
            Some(Thinking { dialect: ThinkingDialect::Effort | ThinkingDialect::Adaptive, .. }) | None => {}
        }
        out.push(b'}');
        out
    }

    fn marks(&self, _request: &Request) -> usize {
        0
    }

    fn mark(&self) -> &'static [u8] {
        b""
    }
}

/// Parts of a content, with the commas between them.
#[derive(Default)]
struct Parts(Vec<u8>);

impl Parts {
    fn next(&mut self) -> &mut Vec<u8> {
        entry(&mut self.0)
    }

    /// The wire refuses parts without text, unless they carry a signature.
    fn text(&mut self, text: &str, signature: Option<&str>) {
        if text.is_empty() && signature.is_none() {
            return;
        }
        let out = self.next();
        out.extend_from_slice(b"{\"text\":");
        json(out, text);
        seal(out, signature);
        out.push(b'}');
    }

    fn file(&mut self, file: &FilePart, data: &str) {
        let media_type = &file.file.media_type;
        if media_type == "image/gif" {
            return self.text(&format!("[{}: this model takes no GIF images]", file.file.name), None);
        }
        let out = self.next();
        out.extend_from_slice(b"{\"inlineData\":{\"mimeType\":");
        json(out, media_type);
        out.extend_from_slice(b",\"data\":");
        json(out, data);
        out.extend_from_slice(b"}}");
    }

    fn function_call(&mut self, call: &ToolCall, signature: Option<&str>) {
        let out = self.next();
        out.extend_from_slice(b"{\"functionCall\":{\"id\":");
        json(out, &call.id);
        out.extend_from_slice(b",\"name\":");
        json(out, &call.name);
        out.extend_from_slice(b",\"args\":");
        if is_object(&call.arguments) {
            out.extend_from_slice(compact(&call.arguments).as_bytes());
        } else {
            out.extend_from_slice(b"{\"invalid_arguments\":");
            json(out, &call.arguments);
            out.push(b'}');
        }
        out.push(b'}');
        seal(out, signature);
        out.push(b'}');
    }
}

/// A signature as the JSON text that it came as.
fn seal(out: &mut Vec<u8>, signature: Option<&str>) {
    if let Some(signature) = signature {
        out.extend_from_slice(b",\"thoughtSignature\":");
        out.extend_from_slice(signature.as_bytes());
    }
}

fn assistant(out: &mut Parts, parts: &[Part], route: &Route) {
    let mut waiting: Option<String> = None;
    let mut first = true;
    for part in parts {
        let opaque = match part {
            Part::Text(text) if text.is_empty() => continue,
            Part::Text(text) => {
                out.text(text, waiting.take().as_deref());
                continue;
            }
            Part::ToolCall(call) => {
                let foreign = (first && demands_signatures(&route.model)).then(|| NOT_SIGNED.to_owned());
                out.function_call(call, waiting.take().or(foreign).as_deref());
                first = false;
                continue;
            }
            Part::Reasoning(reasoning) => reasoning.opaque.as_ref(),
            Part::Opaque(opaque) => Some(opaque),
        };
        // Opaque state goes back to the route that made it, byte for byte, and nowhere else.
        let Some(opaque) = opaque.filter(|opaque| opaque.route == *route && is_object(&opaque.json)) else {
            continue;
        };
        // One that its part did not follow.
        if waiting.is_some() {
            out.text("", waiting.take().as_deref());
        }
        match signature(opaque) {
            Some(signature) => waiting = Some(signature),
            None => out.next().extend_from_slice(opaque.json.as_bytes()),
        }
    }
    if waiting.is_some() {
        out.text("", waiting.as_deref());
    }
}

/// The signature of the part that follows, if that is all this part holds.
fn signature(opaque: &Opaque) -> Option<String> {
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(&opaque.json).ok()?;
    let (name, value) = members.first_key_value()?;
    (members.len() == 1 && name == super::SIGNATURE).then(|| value.get().to_owned())
}

fn function_response(out: &mut Parts, result: &CallResult) {
    let CallResult { call_id, name, text: _, failed, files: _ } = result;
    let out = out.next();
    out.extend_from_slice(b"{\"functionResponse\":{\"id\":");
    json(out, call_id);
    out.extend_from_slice(b",\"name\":");
    json(out, name);
    out.extend_from_slice(if *failed { b",\"response\":{\"error\":" } else { b",\"response\":{\"output\":" });
    json(out, &*result_text(result));
    out.extend_from_slice(b"}}}");
}

/// Whether a model refuses a step whose first call is not signed: the third generation and what came after it.
fn demands_signatures(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    match name.strip_prefix("gemini-") {
        Some(rest) => !rest.starts_with("1.") && !rest.starts_with("2."),
        None => false,
    }
}

/// What the provider documents for calls that another model made.
const NOT_SIGNED: &str = "\"skip_thought_signature_validator\"";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_that_demand_signatures() {
        for model in ["gemini-3-pro-preview", "models/gemini-3.1-flash", "gemini-flash-latest", "gemini-10"] {
            assert!(demands_signatures(model), "{model}");
        }
        for model in ["gemini-2.5-pro", "gemini-1.5-flash", "gemma-3-27b-it", ""] {
            assert!(!demands_signatures(model), "{model}");
        }
    }
}
