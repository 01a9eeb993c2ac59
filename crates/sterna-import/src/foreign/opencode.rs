//! opencode: what `opencode export SESSION` writes, one JSON object of the session and its messages with their parts.

use serde_json::Value;
use sterna_model::{Billed, ModelStop, Part, Route, TodoItem, TodoStatus, ToolStatus, Usage};

use super::json::{array, call, is, kind, number, owned, reasoning, text, time};
use super::{Answer, Reading, nano, route};

/// Whether these bytes are such an export.
pub fn is_one(bytes: &[u8]) -> bool {
    parse(bytes).is_some()
}

/// False: this is no such log.
pub fn read(bytes: &[u8], read: &mut Reading) -> bool {
    let Some(all) = parse(bytes) else { return false };
    if let Some(info) = all.get("info") {
        read.session = owned(info, "id");
        read.title = owned(info, "title");
        read.folder = owned(info, "directory");
        if info.get("revert").is_some_and(|revert| !revert.is_null()) {
            read.leave_out("revert that was not yet final");
        }
    }
    for message in array(&all, "messages") {
        let info = message.get("info").unwrap_or(&Value::Null);
        let parts = array(message, "parts");
        let at = info.get("time").map_or(0, |of| time(of, "created"));
        match text(info, "role") {
            Some("user") => user(at, parts, read),
            Some("assistant") if is(info, "summary") => read.leave_out("compaction summary"),
            Some("assistant") => assistant(at, info, parts, read),
            _ => read.leave_out("message of nobody"),
        }
    }
    for todo in array(&all, "todos") {
        match todo_item(todo, read.todos.len() + 1) {
            Some(item) => read.todos.push(item),
            None => read.leave_out("todo item"),
        }
    }
    true
}

fn parse(bytes: &[u8]) -> Option<Value> {
    // The program says what it exports before it does, on the other stream, which a shell may have joined.
    let from = bytes.iter().position(|byte| *byte == b'{')?;
    let all: Value = serde_json::from_slice(&bytes[from..]).ok()?;
    (all.get("info").is_some_and(Value::is_object) && all.get("messages").is_some_and(Value::is_array))
        .then_some(all)
}

fn user(at: u64, parts: &[Value], read: &mut Reading) {
    let mut said = Vec::new();
    for part in parts {
        match text(part, "type") {
            Some("text") if is(part, "ignored") => read.leave_out("text that the model did not see"),
            Some("text") => said.extend(owned(part, "text")),
            _ => read.leave_out(format!("part {}", kind(part))),
        }
    }
    read.user(at, said.join("\n"));
}

/// A message holds one answer, or several with their calls between.
fn assistant(at: u64, info: &Value, parts: &[Value], read: &mut Reading) {
    let route =
        route(text(info, "providerID").unwrap_or_default(), text(info, "modelID").unwrap_or_default());
    if info.get("error").is_some_and(|error| !error.is_null()) {
        read.leave_out("error of a provider");
    }
    let mut open = false;
    // What the answers of this message used, where each says so itself.
    let mut told = false;
    for part in parts {
        match text(part, "type") {
            Some("step-start") => open = false,
            Some("text") => {
                if let Some(said) = owned(part, "text") {
                    say(at, &route, Part::Text(said), &mut open, read);
                }
            }
            Some("reasoning") => {
                if part.get("metadata").is_some_and(|of| of.as_object().is_some_and(|of| !of.is_empty())) {
                    read.leave_out("signature of reasoning");
                }
                if let Some(part) = reasoning(text(part, "text").unwrap_or_default()) {
                    say(at, &route, part, &mut open, read);
                }
            }
            Some("tool") => tool(at, &route, part, &mut open, read),
            Some("step-finish") => {
                if let (true, Some(step)) = (open, read.last_step()) {
                    step.billed = billed(part);
                    step.stop = text(part, "reason").map(stop);
                    told = true;
                }
            }
            _ => read.leave_out(format!("part {}", kind(part))),
        }
    }
    if !told && info.get("tokens").is_some() {
        if !open {
            read.step(at, route);
        }
        if let Some(step) = read.last_step() {
            step.billed = billed(info);
            step.stop = text(info, "finish").map(stop);
        }
    }
}

fn say(at: u64, route: &Option<Route>, part: Part, open: &mut bool, read: &mut Reading) {
    let talks = !matches!(part, Part::ToolCall(_));
    // Words after a result are another answer, also in logs that do not mark where one begins.
    let after_result = talks && read.last_step().is_some_and(|step| !step.results.is_empty());
    let found = if *open && !after_result { read.last_step() } else { read.step(at, route.clone()) };
    if let Some(step) = found {
        step.parts.push(part);
    }
    *open = true;
}

fn tool(at: u64, route: &Option<Route>, part: &Value, open: &mut bool, read: &mut Reading) {
    let id = text(part, "callID").unwrap_or_default();
    let state = part.get("state").unwrap_or(&Value::Null);
    let name = text(part, "tool").unwrap_or_default();
    say(at, route, call(id, name, state.get("input")), open, read);
    if !array(state, "attachments").is_empty() {
        read.leave_out("attachment of a tool result");
    }
    let (status, output) = match text(state, "status") {
        Some("completed") => (ToolStatus::Ok, text(state, "output")),
        Some("error") => (ToolStatus::Failed, text(state, "error")),
        // It was under way when the log was written.
        _ => return,
    };
    let ended = state.get("time").map_or(0, |of| time(of, "end"));
    let exit_code = state
        .get("metadata")
        .and_then(|of| of.get("exit"))
        .and_then(Value::as_i64)
        .and_then(|code| i32::try_from(code).ok());
    let text = output.unwrap_or_default().to_owned();
    read.answer(id, Answer { at: ended, status, text, exit_code });
}

fn stop(word: &str) -> ModelStop {
    match word {
        "tool-calls" => ModelStop::ToolCalls,
        "length" => ModelStop::MaxOutput,
        "content-filter" => ModelStop::Refused,
        _ => ModelStop::EndTurn,
    }
}

fn billed(of: &Value) -> Billed {
    let tokens = of.get("tokens").unwrap_or(&Value::Null);
    let cache = tokens.get("cache").unwrap_or(&Value::Null);
    let (input, read, write) = (number(tokens, "input"), number(cache, "read"), number(cache, "write"));
    let (output, reasoning) = (number(tokens, "output"), number(tokens, "reasoning"));
    // Whether the output has the reasoning in it differs between its versions; the total tells.
    let sum = [input, read, write, output, reasoning].into_iter().fold(0u64, u64::saturating_add);
    let beside = tokens.get("total").and_then(Value::as_u64) == Some(sum) || reasoning > output;
    Billed {
        usage: Usage {
            input_uncached: input,
            cache_read: read,
            cache_write_5m: write,
            cache_write_1h: 0,
            output: if beside { output.saturating_add(reasoning) } else { output },
            reasoning,
        },
        cost: of.get("cost").and_then(Value::as_f64).and_then(nano),
        estimated: false,
        raw: tokens.is_object().then(|| tokens.to_string()),
    }
}

fn todo_item(todo: &Value, number: usize) -> Option<TodoItem> {
    let status = match text(todo, "status")? {
        "pending" => TodoStatus::Pending,
        "in_progress" => TodoStatus::InProgress,
        "completed" => TodoStatus::Completed,
        "cancelled" => TodoStatus::Deleted,
        _ => return None,
    };
    Some(TodoItem {
        id: owned(todo, "id").unwrap_or_else(|| number.to_string()),
        subject: owned(todo, "content")?,
        description: String::new(),
        active_form: String::new(),
        status,
        owner: None,
        blocks: Vec::new(),
        blocked_by: Vec::new(),
        metadata: None,
    })
}
