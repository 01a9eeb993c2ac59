//! Looking into JSON that others wrote: whatever is not as expected is not there.

use serde_json::Value;
use sterna_model::{Millis, Part, Reasoning, ToolCall};

use super::Reading;
use super::time::parse;

/// Each line that is not blank; `None` for one that is no JSON object.
pub fn lines(bytes: &[u8]) -> impl Iterator<Item = Option<Value>> {
    bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.trim_ascii().is_empty())
        .map(|line| serde_json::from_slice::<Value>(line).ok().filter(Value::is_object))
}

pub fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str)
}

pub fn owned(value: &Value, key: &str) -> Option<String> {
    text(value, key).filter(|text| !text.is_empty()).map(str::to_owned)
}

pub fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or(0)
}

pub fn is(value: &Value, key: &str) -> bool {
    value.get(key).and_then(Value::as_bool).unwrap_or(false)
}

pub fn array<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The time of a line: a date, or milliseconds.
pub fn time(value: &Value, key: &str) -> Millis {
    match value.get(key) {
        Some(Value::String(text)) => parse(text).unwrap_or(0),
        Some(Value::Number(number)) => {
            number.as_u64().or_else(|| number.as_f64().map(|ms| ms as u64)).unwrap_or(0)
        }
        _ => 0,
    }
}

/// The kind of a part, for counting.
pub fn kind(value: &Value) -> String {
    text(value, "type").unwrap_or("unknown").chars().take(60).collect()
}

/// Text of a string, or of the text parts of an array; other parts are counted.
pub fn content(value: Option<&Value>, read: &mut Reading) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let mut texts = Vec::new();
            for part in parts {
                match part {
                    Value::String(text) => texts.push(text.as_str()),
                    _ => match (text(part, "type"), text(part, "text")) {
                        (Some("text" | "input_text" | "output_text") | None, Some(text)) => texts.push(text),
                        _ => read.leave_out(format!("content {}", kind(part))),
                    },
                }
            }
            texts.join("\n")
        }
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

/// A call; arguments that are JSON become its text.
pub fn call(id: &str, name: &str, arguments: Option<&Value>) -> Part {
    let arguments = match arguments {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => "{}".to_owned(),
        Some(other) => other.to_string(),
    };
    let name = if name.is_empty() { "unknown" } else { name };
    Part::ToolCall(ToolCall { id: id.into(), name: name.into(), arguments, truncated: false })
}

/// Reasoning that can be read. What is signed or encrypted belongs to its route, and is not here.
pub fn reasoning(text: &str) -> Option<Part> {
    let reasoning = || Part::Reasoning(Reasoning { text: text.to_owned(), opaque: None });
    (!text.trim().is_empty()).then(reasoning)
}
