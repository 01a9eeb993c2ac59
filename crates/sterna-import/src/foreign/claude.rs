//! Claude Code: `~/.claude/projects/FOLDER/SESSION.jsonl`. Each line of a conversation holds a message in the shape of
//! the Messages API; one answer comes in several lines, and an edited input leaves a branch behind.

use std::collections::{HashMap, HashSet};

use serde_json::Value;
use sterna_model::{Billed, ModelStop, Part, ToolStatus, Usage};

use super::json::{array, call, content, is, kind, lines, number, owned, reasoning, text, time};
use super::{Answer, Reading, nano, route};

/// False: this is no such log.
pub fn read(bytes: &[u8], read: &mut Reading) -> bool {
    let mut all = Vec::new();
    for line in lines(bytes) {
        match line {
            Some(line) => all.push(line),
            None => read.leave_out("unreadable line"),
        }
    }
    if !all.iter().any(|line| matches!(text(line, "type"), Some("user" | "assistant" | "summary"))) {
        return false;
    }
    titles(&all, read);
    let kept = Kept::of(&all);
    // Whether the last input was a command, whose prompt comes in a line of its own.
    let mut command = false;
    for line in &all {
        if read.session.is_none() {
            read.session = owned(line, "sessionId");
        }
        if read.folder.is_none() {
            read.folder = owned(line, "cwd");
        }
        match text(line, "type").unwrap_or_default() {
            "user" | "assistant" if is(line, "isSidechain") => read.leave_out("message of a subagent"),
            "user" | "assistant" if !kept.has(line) => read.leave_out("message of an abandoned branch"),
            "user" => user(line, read, &mut command),
            "assistant" => {
                command = false;
                assistant(line, read);
            }
            "custom-title" | "ai-title" | "agent-name" | "summary" => {}
            "system" => {
                let subtype: String = text(line, "subtype").unwrap_or("unknown").chars().take(60).collect();
                read.leave_out(format!("system {subtype}"));
            }
            _ => read.leave_out(kind(line)),
        }
    }
    true
}

fn titles(all: &[Value], read: &mut Reading) {
    let last = |wanted: &str, key: &str| {
        all.iter().rev().filter(|line| text(line, "type") == Some(wanted)).find_map(|line| owned(line, key))
    };
    read.title = last("custom-title", "customTitle")
        .or_else(|| last("ai-title", "aiTitle"))
        .or_else(|| last("agent-name", "agentName"))
        .or_else(|| last("summary", "summary"));
}

/// Which messages belong to the conversation as it was when it ended.
struct Kept {
    /// `None` where the lines do not say what follows what.
    lines: Option<HashSet<String>>,
    /// Answers of which a piece is kept: their other pieces are too.
    answers: HashSet<String>,
    calls: HashSet<String>,
}

impl Kept {
    fn of(all: &[Value]) -> Self {
        let talk = |line: &&Value| {
            matches!(text(line, "type"), Some("user" | "assistant")) && !is(line, "isSidechain")
        };
        let mut kept = Self { lines: None, answers: HashSet::new(), calls: HashSet::new() };
        let leaf = all.iter().rev().find(talk).and_then(|line| text(line, "uuid"));
        let Some(mut at) = leaf else { return kept };
        let by_id: HashMap<&str, usize> =
            all.iter().enumerate().filter_map(|(n, line)| Some((text(line, "uuid")?, n))).collect();
        let mut path = HashSet::new();
        while let Some(n) = by_id.get(at).copied() {
            if !path.insert(at.to_owned()) {
                break;
            }
            let line = &all[n];
            let parent = text(line, "parentUuid").or_else(|| text(line, "logicalParentUuid"));
            // Where a summary took the place of what came before, that is still in the file.
            let before = || {
                let mut earlier = all[..n].iter().rev();
                let known = earlier.find(|line| talk(line) && text(line, "uuid").is_some());
                known.and_then(|line| text(line, "uuid"))
            };
            let next = match parent {
                Some(parent) if by_id.contains_key(parent) => Some(parent),
                Some(_) => before(),
                None if is(line, "isCompactSummary") => before(),
                None => None,
            };
            let Some(next) = next else { break };
            at = next;
        }
        for line in all.iter().filter(|line| text(line, "uuid").is_some_and(|id| path.contains(id))) {
            kept.answers.extend(message_id(line));
        }
        for line in all.iter().filter(talk) {
            let on_path = text(line, "uuid").is_some_and(|id| path.contains(id));
            if on_path || message_id(line).is_some_and(|id| kept.answers.contains(&id)) {
                let parts = line.get("message").map_or(&[][..], |message| array(message, "content"));
                kept.calls.extend(parts.iter().filter_map(|part| owned(part, "id")));
            }
        }
        kept.lines = Some(path);
        kept
    }

    /// Parallel calls make branches too: their pieces and results belong to the answer that is kept.
    fn has(&self, line: &Value) -> bool {
        let Some(lines) = &self.lines else { return true };
        let result = || {
            let parts = line.get("message").map_or(&[][..], |message| array(message, "content"));
            parts.iter().filter_map(|part| text(part, "tool_use_id")).any(|id| self.calls.contains(id))
        };
        text(line, "uuid").is_none_or(|id| lines.contains(id))
            || message_id(line).is_some_and(|id| self.answers.contains(&id))
            || result()
    }
}

fn message_id(line: &Value) -> Option<String> {
    if text(line, "type") != Some("assistant") {
        return None;
    }
    line.get("message").and_then(|message| owned(message, "id"))
}

fn user(line: &Value, read: &mut Reading, command: &mut bool) {
    let at = time(line, "timestamp");
    if is(line, "isCompactSummary") {
        return read.leave_out("compaction summary");
    }
    let Some(message) = line.get("message") else { return read.leave_out("user line without a message") };
    let mut said = Vec::new();
    match message.get("content") {
        Some(Value::String(text)) => said.push(text.clone()),
        Some(Value::Array(parts)) => {
            for part in parts {
                match text(part, "type") {
                    Some("text") => said.extend(owned(part, "text")),
                    Some("tool_result") => result(at, part, read),
                    _ => read.leave_out(format!("content {}", kind(part))),
                }
            }
        }
        _ => {}
    }
    let said = said.join("\n");
    let begins = said.trim_start();
    if begins.starts_with("<local-command-stdout>") || begins.starts_with("<local-command-stderr>") {
        return read.leave_out("output of a local command");
    }
    if is(line, "isMeta") && !(*command && !begins.starts_with("Caveat:") && !begins.starts_with("<local-")) {
        return read.leave_out("note of the program");
    }
    *command = false;
    if begins.starts_with("<command-name>") || begins.starts_with("<command-message>") {
        *command = true;
        let arguments = between(&said, "command-args").unwrap_or_default();
        let name = between(&said, "command-name").unwrap_or_default();
        return read.user(at, format!("{name} {arguments}").trim().to_owned());
    }
    read.user(at, said);
}

fn between<'a>(said: &'a str, tag: &str) -> Option<&'a str> {
    let (_, rest) = said.split_once(&format!("<{tag}>"))?;
    rest.split_once(&format!("</{tag}>")).map(|(inner, _)| inner.trim())
}

fn result(at: u64, part: &Value, read: &mut Reading) {
    let status = if is(part, "is_error") { ToolStatus::Failed } else { ToolStatus::Ok };
    let output = content(part.get("content"), read);
    let id = text(part, "tool_use_id").unwrap_or_default().to_owned();
    read.answer(&id, Answer { at, status, text: output, exit_code: None });
}

fn assistant(line: &Value, read: &mut Reading) {
    let at = time(line, "timestamp");
    let Some(message) = line.get("message") else {
        return read.leave_out("assistant line without a message");
    };
    let model = text(message, "model").unwrap_or_default();
    if is(line, "isApiErrorMessage") || model == "<synthetic>" {
        return read.leave_out("message that no model wrote");
    }
    let mut parts: Vec<Part> = Vec::new();
    match message.get("content") {
        Some(Value::String(text)) => parts.push(Part::Text(text.clone())),
        Some(Value::Array(blocks)) => {
            for block in blocks {
                match text(block, "type") {
                    Some("text") => parts.extend(owned(block, "text").map(Part::Text)),
                    Some("thinking") => {
                        if text(block, "signature").is_some_and(|signature| !signature.is_empty()) {
                            read.leave_out("signature of reasoning");
                        }
                        parts.extend(reasoning(text(block, "thinking").unwrap_or_default()));
                    }
                    Some("redacted_thinking") => read.leave_out("opaque reasoning"),
                    Some("tool_use") => parts.push(call(
                        text(block, "id").unwrap_or_default(),
                        text(block, "name").unwrap_or_default(),
                        block.get("input"),
                    )),
                    _ => read.leave_out(format!("content {}", kind(block))),
                }
            }
        }
        _ => {}
    }
    let id = owned(message, "id");
    // Pieces of one answer have one name, and each says what all of it used.
    let same = id.is_some() && read.last_step().is_some_and(|step| step.message == id);
    let found = if same { read.last_step() } else { read.step(at, route("anthropic", model)) };
    let Some(step) = found else { return };
    step.message = id;
    step.parts.extend(parts);
    if let Some(stop) = text(message, "stop_reason") {
        step.stop = Some(match stop {
            "tool_use" => ModelStop::ToolCalls,
            "max_tokens" | "model_context_window_exceeded" => ModelStop::MaxOutput,
            "refusal" => ModelStop::Refused,
            _ => ModelStop::EndTurn,
        });
    }
    if let Some(usage) = message.get("usage").filter(|usage| usage.is_object()) {
        step.billed = billed(usage, line.get("costUSD").and_then(Value::as_f64));
    }
}

fn billed(usage: &Value, cost: Option<f64>) -> Billed {
    let written = number(usage, "cache_creation_input_tokens");
    let hour = usage.get("cache_creation").map_or(0, |by| number(by, "ephemeral_1h_input_tokens"));
    Billed {
        usage: Usage {
            input_uncached: number(usage, "input_tokens"),
            cache_read: number(usage, "cache_read_input_tokens"),
            cache_write_5m: written.saturating_sub(hour),
            cache_write_1h: hour.min(written),
            output: number(usage, "output_tokens"),
            reasoning: 0,
        },
        cost: cost.and_then(nano),
        estimated: false,
        raw: Some(usage.to_string()),
    }
}
