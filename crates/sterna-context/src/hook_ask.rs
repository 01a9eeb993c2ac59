//! What a hook of type `prompt` asks a model, and how its answer is read.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use sterna_llm::{Item, Request, SystemPart};
use sterna_model::Route;

/// The text of a hook's question: its prompt, with the event in place of `$ARGUMENTS`, or after it.
pub fn hook_text(prompt: &str, event: &Value) -> String {
    let event = event.to_string();
    match prompt.contains(ARGUMENTS) {
        true => prompt.replace(ARGUMENTS, &event),
        false => format!("{prompt}\n\n{event}"),
    }
}

/// The request. Nothing of the session is in it but the text.
pub fn hook_request(text: &str, route: &Route, max_output: u32, schema_native: bool) -> Request {
    Request {
        route: route.clone(),
        system: Arc::from([SystemPart { text: SYSTEM.trim().to_owned(), boundary: true }]),
        tools: Arc::from([]),
        items: vec![Arc::new(Item::User(vec![text.to_owned()]))],
        tail: String::new(),
        tools_off: false,
        max_output,
        temperature: None,
        schema: schema_native.then(|| Arc::new(schema())),
        thinking: None,
    }
}

/// Reads the answer: `Ok(None)` is a yes, `Ok(Some(reason))` a no. An error says why it is no answer.
pub fn read_hook_answer(text: &str) -> Result<Option<String>, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Answer {
        ok: bool,
        #[serde(default)]
        reason: String,
    }
    let text = text.trim();
    // Models like to put a fence round JSON. It is the same object.
    let fenced = text.strip_prefix("```json").or_else(|| text.strip_prefix("```"));
    let text = fenced.and_then(|rest| rest.strip_suffix("```")).unwrap_or(text);
    let answer: Answer = serde_json::from_str(text.trim()).map_err(|error| {
        let shown: String = text.chars().take(200).collect();
        format!("the model's answer is no verdict: {error}: {shown}")
    })?;
    let reason: String = answer.reason.trim().chars().take(REASON_CHARS).collect();
    Ok((!answer.ok).then(|| if reason.is_empty() { "the model gave no reason".to_owned() } else { reason }))
}

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {"reason": {"type": "string"}, "ok": {"type": "boolean"}},
        "required": ["reason", "ok"],
        "additionalProperties": false,
    })
}

/// Tokens that an answer may have.
pub const HOOK_TOKENS: u32 = 1_024;
const SYSTEM: &str = include_str!("prompts/hook.md");
const ARGUMENTS: &str = "$ARGUMENTS";
const REASON_CHARS: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_event_stands_where_the_prompt_wants_it() {
        let event = json!({"a": 1});
        assert_eq!(
            hook_text("look at $ARGUMENTS, and $ARGUMENTS", &event),
            "look at {\"a\":1}, and {\"a\":1}"
        );
        assert_eq!(hook_text("look", &event), "look\n\n{\"a\":1}");
    }

    #[test]
    fn only_a_verdict_is_an_answer() {
        for (text, wanted) in [
            (r#"{"ok": true}"#, Some(None)),
            (r#" {"reason": "fine", "ok": true} "#, Some(None)),
            ("```json\n{\"ok\": false, \"reason\": \"it deletes\"}\n```", Some(Some("it deletes"))),
            (r#"{"ok": false}"#, Some(Some("the model gave no reason"))),
            (r#"{"ok": "false"}"#, None),
            (r#"{"ok": true, "sure": 1}"#, None),
            (r#"{"ok": false} {"ok": true}"#, None),
            ("yes", None),
            ("", None),
        ] {
            let read = read_hook_answer(text).ok();
            assert_eq!(read, wanted.map(|reason| reason.map(str::to_owned)), "{text}");
        }
    }
}
