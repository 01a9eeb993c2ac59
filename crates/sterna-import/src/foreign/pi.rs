//! pi: `~/.pi/agent/sessions/FOLDER/TIME_SESSION.jsonl`. Entries form a tree in one file; the last entry is where the
//! session stands.

use std::collections::{HashMap, HashSet};

use serde_json::Value;
use sterna_model::{Billed, ModelStop, Part, ToolStatus, Usage};

use super::json::{array, call, content, is, kind, lines, number, owned, reasoning, text, time};
use super::{Answer, Reading, nano, route};

/// False: this is no such log.
pub fn read(bytes: &[u8], read: &mut Reading) -> bool {
    let mut entries = Vec::new();
    let mut known = false;
    for line in lines(bytes) {
        let Some(line) = line else {
            read.leave_out("unreadable line");
            continue;
        };
        if text(&line, "type") != Some("session") {
            entries.push(line);
        } else if known {
            read.leave_out("second session header");
        } else {
            known = true;
            read.session = owned(&line, "id");
            read.folder = owned(&line, "cwd");
        }
    }
    let path = path(&entries);
    for entry in &entries {
        if let Some(path) = &path
            && text(entry, "id").is_some_and(|id| !path.contains(id))
        {
            read.leave_out("entry of an abandoned branch");
            continue;
        }
        match text(entry, "type").unwrap_or_default() {
            "message" => message(entry, read),
            "custom_message" => {
                let said = content(entry.get("content"), read);
                read.user(time(entry, "timestamp"), said);
            }
            "session_info" => read.title = owned(entry, "name").or(read.title.take()),
            // Each answer says which model gave it.
            "model_change" => {}
            _ => read.leave_out(kind(entry)),
        }
    }
    known
}

/// The entries from the first to the last one, where they say what follows what.
fn path(entries: &[Value]) -> Option<HashSet<String>> {
    let by_id: HashMap<&str, &Value> =
        entries.iter().filter_map(|entry| Some((text(entry, "id")?, entry))).collect();
    let mut at = text(entries.last()?, "id")?;
    let mut path = HashSet::new();
    while let Some(entry) = by_id.get(at) {
        if !path.insert(at.to_owned()) {
            break;
        }
        let Some(parent) = text(entry, "parentId") else { break };
        at = parent;
    }
    Some(path)
}

fn message(entry: &Value, read: &mut Reading) {
    let at = match time(entry, "timestamp") {
        0 => entry.get("message").map_or(0, |message| time(message, "timestamp")),
        at => at,
    };
    let Some(message) = entry.get("message") else { return read.leave_out("entry without a message") };
    match text(message, "role").unwrap_or_default() {
        "user" => {
            let said = content(message.get("content"), read);
            read.user(at, said);
        }
        "assistant" => assistant(at, message, read),
        "toolResult" => {
            let status = if is(message, "isError") { ToolStatus::Failed } else { ToolStatus::Ok };
            let text_of = content(message.get("content"), read);
            let id = text(message, "toolCallId").unwrap_or_default().to_owned();
            read.answer(&id, Answer { at, status, text: text_of, exit_code: None });
        }
        "bashExecution" if is(message, "excludeFromContext") => {
            read.leave_out("command that the model did not see");
        }
        "bashExecution" => {
            let command = text(message, "command").unwrap_or_default();
            let output = text(message, "output").unwrap_or_default();
            let code = message.get("exitCode").and_then(Value::as_i64);
            let code = code.map_or_else(String::new, |code| format!(" (exit code {code})"));
            read.user(at, format!("I ran `{command}`{code}:\n{output}"));
        }
        "custom" => {
            let said = content(message.get("content"), read);
            read.user(at, said);
        }
        role => {
            let role: String = role.chars().take(60).collect();
            read.leave_out(format!("message of {role}"));
        }
    }
}

fn assistant(at: u64, message: &Value, read: &mut Reading) {
    let mut parts: Vec<Part> = Vec::new();
    for block in array(message, "content") {
        match text(block, "type") {
            Some("text") => parts.extend(owned(block, "text").map(Part::Text)),
            Some("thinking") => {
                if owned(block, "thinkingSignature").is_some() {
                    read.leave_out("signature of reasoning");
                }
                parts.extend(reasoning(text(block, "thinking").unwrap_or_default()));
            }
            Some("toolCall") => parts.push(call(
                text(block, "id").unwrap_or_default(),
                text(block, "name").unwrap_or_default(),
                block.get("arguments"),
            )),
            _ => read.leave_out(format!("content {}", kind(block))),
        }
    }
    if owned(message, "errorMessage").is_some() {
        read.leave_out("error of a provider");
    }
    let route =
        route(text(message, "provider").unwrap_or_default(), text(message, "model").unwrap_or_default());
    let Some(step) = read.step(at, route) else { return };
    step.parts = parts;
    step.stop = text(message, "stopReason").map(|stop| match stop {
        "toolUse" => ModelStop::ToolCalls,
        "length" => ModelStop::MaxOutput,
        _ => ModelStop::EndTurn,
    });
    if let Some(usage) = message.get("usage").filter(|usage| usage.is_object()) {
        step.billed = Billed {
            usage: Usage {
                input_uncached: number(usage, "input"),
                cache_read: number(usage, "cacheRead"),
                cache_write_5m: number(usage, "cacheWrite"),
                cache_write_1h: 0,
                output: number(usage, "output"),
                reasoning: 0,
            },
            cost: usage.get("cost").and_then(|cost| cost.get("total")).and_then(Value::as_f64).and_then(nano),
            estimated: false,
            raw: Some(usage.to_string()),
        };
    }
}
