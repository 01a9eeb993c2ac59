//! Codex CLI: `~/.codex/sessions/YYYY/MM/DD/rollout-….jsonl`. What the model saw (`response_item`) and what the person
//! saw (`event_msg`) stand side by side; the first is read, and of the second what only it has.

use std::collections::HashMap;

use serde_json::Value;
use sterna_model::{Billed, Part, Route, ToolStatus, Usage};

use super::json::{array, call, content, kind, lines, number, owned, reasoning, text, time};
use super::{Answer, Reading, route};

/// False: this is no such log.
pub fn read(bytes: &[u8], read: &mut Reading) -> bool {
    let mut state = State { provider: "openai".into(), ..State::default() };
    for line in lines(bytes) {
        let Some(line) = line else {
            read.leave_out("unreadable line");
            continue;
        };
        let at = time(&line, "timestamp");
        state.at = if at > 0 { at } else { state.at };
        match (text(&line, "type"), line.get("payload")) {
            (Some("session_meta"), Some(meta)) => state.meta(meta, read),
            (Some("turn_context"), Some(turn)) => state.turn(turn, read),
            (Some("response_item"), Some(item)) => {
                state.known = true;
                state.item(item, read);
            }
            (Some("event_msg"), Some(event)) => state.event(event, read),
            (Some("compacted"), _) => read.leave_out("compaction"),
            // Before the lines had a frame: the first was the session, and each other one an item.
            (None, None) if line.get("id").is_some() && line.get("instructions").is_some() => {
                state.meta(&line, read);
            }
            (Some("message" | "reasoning" | "function_call" | "function_call_output"), None)
                if state.known =>
            {
                state.item(&line, read);
            }
            _ => read.leave_out(kind(&line)),
        }
    }
    state.known
}

#[derive(Default)]
struct State {
    known: bool,
    at: u64,
    provider: String,
    route: Option<Route>,
    /// A result has come: what the model says next is another answer.
    answered: bool,
    /// How commands ended whose results have not come.
    exits: HashMap<String, i32>,
    /// The total that the last count of tokens told.
    total: Option<Value>,
}

impl State {
    fn meta(&mut self, meta: &Value, read: &mut Reading) {
        self.known = true;
        // A fork begins with the line of the session it comes from.
        if read.session.is_some() {
            return read.leave_out("second session_meta");
        }
        read.session = owned(meta, "id");
        read.folder = owned(meta, "cwd");
        if let Some(provider) = owned(meta, "model_provider") {
            self.provider = provider;
        }
    }

    fn turn(&mut self, turn: &Value, read: &mut Reading) {
        self.known = true;
        self.answered = true;
        if let Some(model) = text(turn, "model") {
            self.route = route(&self.provider, model);
        }
        if read.folder.is_none() {
            read.folder = owned(turn, "cwd");
        }
    }

    fn item(&mut self, item: &Value, read: &mut Reading) {
        match text(item, "type").unwrap_or_default() {
            "message" => self.message(item, read),
            "reasoning" => {
                let encrypted = owned(item, "encrypted_content").is_some();
                if encrypted {
                    read.leave_out("opaque reasoning");
                }
                let texts = array(item, "summary").iter().chain(array(item, "content"));
                let texts: Vec<&str> = texts.filter_map(|part| text(part, "text")).collect();
                if let Some(part) = reasoning(&texts.join("\n")) {
                    self.say(part, read);
                }
            }
            "function_call" => self.call(item, item.get("arguments"), read),
            "custom_tool_call" => {
                // Free text, which other wires cannot carry as arguments.
                let input = item.get("input").map(|input| serde_json::json!({ "input": input }));
                self.call(item, input.as_ref(), read);
            }
            "local_shell_call" => self.call(item, item.get("action"), read),
            "function_call_output" | "custom_tool_call_output" => self.output(item, read),
            other => read.leave_out(format!("response_item {}", other.chars().take(60).collect::<String>())),
        }
    }

    fn message(&mut self, item: &Value, read: &mut Reading) {
        let said = content(item.get("content"), read);
        match text(item, "role") {
            Some("assistant") => self.say(Part::Text(said), read),
            Some("user") if is_context(&said) => read.leave_out("context that the program added"),
            Some("user") => {
                self.answered = true;
                read.user(self.at, said);
            }
            Some(role) => {
                let role: String = role.chars().take(60).collect();
                read.leave_out(format!("message of {role}"));
            }
            None => read.leave_out("message of nobody"),
        }
    }

    /// A part of the answer that is being given, or of a new one.
    fn say(&mut self, part: Part, read: &mut Reading) {
        let route = self.route.clone();
        let goes_on = !self.answered && read.last_step().is_some();
        let found = if goes_on { read.last_step() } else { read.step(self.at, route) };
        if let Some(step) = found {
            step.parts.push(part);
        }
        self.answered = false;
    }

    fn call(&mut self, item: &Value, arguments: Option<&Value>, read: &mut Reading) {
        let id = text(item, "call_id").or_else(|| text(item, "id")).unwrap_or_default();
        let name = text(item, "name").unwrap_or("local_shell");
        self.say(call(id, name, arguments), read);
    }

    fn output(&mut self, item: &Value, read: &mut Reading) {
        let (mut failed, mut exit_code) = (false, None);
        let output = match item.get("output") {
            Some(Value::Object(object)) => {
                failed = object.get("success").and_then(Value::as_bool) == Some(false);
                content(object.get("content").or_else(|| object.get("content_items")), read)
            }
            // Older logs hold what the tool gave as JSON in a string.
            Some(Value::String(text)) => match serde_json::from_str::<Value>(text) {
                Ok(inner) if inner.get("metadata").is_some() => {
                    exit_code = inner
                        .get("metadata")
                        .and_then(|of| of.get("exit_code"))
                        .and_then(Value::as_i64)
                        .and_then(|code| i32::try_from(code).ok());
                    owned(&inner, "output").unwrap_or_default()
                }
                _ => text.clone(),
            },
            other => content(other, read),
        };
        let id = text(item, "call_id").unwrap_or_default().to_owned();
        exit_code = exit_code.or_else(|| self.exits.remove(&id));
        failed |= exit_code.is_some_and(|code| code != 0);
        let status = if failed { ToolStatus::Failed } else { ToolStatus::Ok };
        read.answer(&id, Answer { at: self.at, status, text: output, exit_code });
        self.answered = true;
    }

    fn event(&mut self, event: &Value, read: &mut Reading) {
        self.known = true;
        match text(event, "type").unwrap_or_default() {
            "token_count" => self.tokens(event, read),
            "exec_command_end" => {
                let id = text(event, "call_id").unwrap_or_default();
                let code = event.get("exit_code").and_then(Value::as_i64);
                if let Some(code) = code.and_then(|code| i32::try_from(code).ok())
                    && !read.exited(id, code)
                {
                    self.exits.insert(id.to_owned(), code);
                }
            }
            "thread_name_updated" => read.title = owned(event, "thread_name").or(read.title.take()),
            // They show what the items hold.
            "user_message"
            | "agent_message"
            | "agent_reasoning"
            | "agent_reasoning_raw_content"
            | "agent_reasoning_section_break"
            | "exec_command_begin"
            | "task_started"
            | "task_complete"
            | "turn_started"
            | "turn_complete" => {}
            other => read.leave_out(format!("event_msg {}", other.chars().take(60).collect::<String>())),
        }
    }

    /// The count comes again when nothing was used: only a new total is new usage.
    fn tokens(&mut self, event: &Value, read: &mut Reading) {
        let Some(info) = event.get("info").filter(|info| info.is_object()) else { return };
        let total = info.get("total_token_usage").cloned();
        if total.is_some() && total == self.total {
            return;
        }
        self.total = total;
        let Some(usage) = info.get("last_token_usage").filter(|usage| usage.is_object()) else { return };
        let (input, cached) = (number(usage, "input_tokens"), number(usage, "cached_input_tokens"));
        let used = Usage {
            input_uncached: input.saturating_sub(cached),
            cache_read: cached.min(input),
            output: number(usage, "output_tokens"),
            reasoning: number(usage, "reasoning_output_tokens"),
            ..Usage::default()
        };
        let Some(step) = read.last_step() else { return read.leave_out("usage without an answer") };
        step.billed.usage.add(&used);
        step.billed = Billed { raw: Some(usage.to_string()), ..step.billed.clone() };
    }
}

/// What the program puts before the person's words, in the person's name.
fn is_context(said: &str) -> bool {
    let begins = said.trim_start();
    CONTEXT.iter().any(|mark| begins.get(..mark.len()).is_some_and(|text| text.eq_ignore_ascii_case(mark)))
}

const CONTEXT: [&str; 6] = [
    "<environment_context>",
    "<user_instructions>",
    "<permissions instructions>",
    "<turn_aborted>",
    "<skills_instructions>",
    "# AGENTS.md instructions",
];
