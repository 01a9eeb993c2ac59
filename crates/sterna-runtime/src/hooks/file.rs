//! The file shape of hooks, shared with other agents: `{"hooks": {EVENT: [{"matcher": …, "hooks": [{…}]}]}}`.

use serde_json::{Map, Value};
use sterna_model::{HookEvent, Route};

use super::Matcher;
use super::answer::cut;

/// Whose meaning a file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Ours: a failing hook forbids where it matters, and its output is JSON or nothing.
    Own,
    /// That of the agent that it was written for: a failing hook forbids nothing, plain text may be an answer, and tools
    /// have that agent's names.
    Imported,
}

/// What a hook of a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookRun {
    /// A line for the shell.
    Command(String),
    /// An address that the event is posted to, with headers.
    Http { url: String, headers: Vec<(String, String)> },
    /// A question to a model, about the event. Without a route the turn's own is asked.
    Prompt { prompt: String, route: Option<Route> },
    /// A tool of a configured MCP server. Without an input it is given the event.
    McpTool { server: String, tool: String, input: Option<Value> },
}

impl HookRun {
    /// The line, the address, the question or the tool, for people. Headers may hold secrets.
    pub fn shown(&self) -> &str {
        match self {
            Self::Command(command) => command,
            Self::Http { url, .. } => url,
            Self::Prompt { prompt, .. } => prompt,
            Self::McpTool { tool, .. } => tool,
        }
    }
}

/// One hook of a file.
#[derive(Debug, Clone)]
pub struct HookSpec {
    pub event: HookEvent,
    pub matcher: Matcher,
    pub run: HookRun,
    pub timeout_ms: u64,
    /// What it was asked about does not go on when it fails.
    pub fails_closed: bool,
    pub dialect: Dialect,
    /// It runs in the sandbox of the turn's commands; an address must be one that rules open to them.
    pub sandbox: bool,
    /// The file says so itself.
    pub sandbox_said: bool,
    /// `PreToolUse.2.1`: event, group and hook, from 1.
    pub place: String,
}

/// A file that cannot be used. Nothing of it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {why}")]
pub struct HookFileError {
    pub place: String,
    pub why: String,
}

/// Reads the object of a hooks file. What it names and Sterna does not do yet is told in notices; in a file of our own,
/// what nobody can understand is an error.
pub fn read_hooks(root: &Value, dialect: Dialect) -> Result<(Vec<HookSpec>, Vec<String>), HookFileError> {
    let mut reader = Reader { dialect, specs: Vec::new(), notices: Vec::new() };
    let root = object(root, "the file")?;
    if dialect == Dialect::Own {
        only(root, &["hooks", "description", "$schema"], "the file")?;
    }
    match root.get("hooks") {
        None if dialect == Dialect::Imported => {}
        None => return Err(wrong("the file", "it has no `hooks`")),
        Some(events) => {
            for (name, groups) in object(events, "`hooks`")? {
                reader.event(name, groups)?;
            }
        }
    }
    Ok((reader.specs, reader.notices))
}

struct Reader {
    dialect: Dialect,
    specs: Vec<HookSpec>,
    notices: Vec<String>,
}

impl Reader {
    fn event(&mut self, name: &str, groups: &Value) -> Result<(), HookFileError> {
        let Some(event) = HookEvent::of(name) else {
            return self.unknown(name, format!("there is no event `{}`", cut(name, 100)));
        };
        for (group, at) in array(groups, name)?.iter().zip(1..) {
            let place = format!("{name}.{at}");
            let group = object(group, &place)?;
            if self.dialect == Dialect::Own {
                only(group, &["matcher", "hooks", "description"], &place)?;
            }
            let matcher = match group.get("matcher") {
                None | Some(Value::Null) => Matcher::default(),
                Some(Value::String(text)) => Matcher::new(text).map_err(|e| wrong(&place, e.to_string()))?,
                Some(_) => return Err(wrong(&place, "`matcher` is no text")),
            };
            let hooks = group.get("hooks").ok_or_else(|| wrong(&place, "it has no `hooks`"))?;
            for (hook, at) in array(hooks, &place)?.iter().zip(1..) {
                self.hook(event, &matcher, hook, format!("{place}.{at}"))?;
            }
        }
        Ok(())
    }

    fn hook(
        &mut self,
        event: HookEvent,
        matcher: &Matcher,
        hook: &Value,
        place: String,
    ) -> Result<(), HookFileError> {
        let hook = object(hook, &place)?;
        let (own, kind): (&[&str], _) = match hook.get("type").and_then(Value::as_str) {
            Some("command") => (&["command"], "command"),
            Some("http") => (&["url", "headers"], "url"),
            Some("prompt") => (&["prompt", "model"], "prompt"),
            Some("mcp_tool") => (&["server", "tool", "input"], "tool"),
            Some(other) => {
                let what = cut(other, 100);
                let why = match other {
                    "agent" => "hooks of type `agent` are not built yet".to_owned(),
                    _ => format!("there is no type `{what}`"),
                };
                return self
                    .unknown(&place, format!("{why}: write `command`, `http`, `prompt` or `mcp_tool`"));
            }
            None => return Err(wrong(&place, "it has no `type`")),
        };
        let runs_here = matches!(kind, "command" | "url");
        if self.dialect == Dialect::Own {
            let common: &[&str] = &["type", "timeout", "on_failure", "description"];
            let held: &[&str] = if runs_here { &["sandbox"] } else { &[] };
            only(hook, &[own, common, held].concat(), &place)?;
        }
        if !runs_here && outside_of_turns(event) {
            let name = event.word();
            let why = format!(
                "hooks of `{name}` are asked outside of turns, where no model and no server is at hand"
            );
            return self.unknown(&place, format!("{why}: write `command` or `http`"));
        }
        if kind == "prompt" && matches!(event, HookEvent::WorktreeCreate | HookEvent::WorktreeRemove) {
            let why =
                format!("hooks of `{}` are asked while a call runs, where no model is at hand", event.word());
            return self.unknown(&place, format!("{why}: write `command`, `http` or `mcp_tool`"));
        }
        let text = hook.get(kind).and_then(Value::as_str).map(str::trim).unwrap_or_default();
        if text.is_empty() {
            return Err(wrong(&place, format!("it has no `{kind}`")));
        }
        let run = match kind {
            "url" if !(text.starts_with("https://") || text.starts_with("http://")) => {
                return Err(wrong(&place, "`url` is no address: write https://HOST/PATH"));
            }
            "url" => HookRun::Http { url: text.to_owned(), headers: headers(hook.get("headers"), &place)? },
            "prompt" => HookRun::Prompt {
                prompt: text.to_owned(),
                route: route(hook.get("model"), self.dialect, &place)?,
            },
            "tool" => {
                let server = hook.get("server").and_then(Value::as_str).map(str::trim).unwrap_or_default();
                if server.is_empty() {
                    return Err(wrong(&place, "it has no `server`"));
                }
                let input = hook.get("input").filter(|input| !input.is_null()).cloned();
                if input.as_ref().is_some_and(|input| !input.is_object()) {
                    return Err(wrong(&place, "`input` is no object"));
                }
                HookRun::McpTool { server: server.to_owned(), tool: text.to_owned(), input }
            }
            _ => HookRun::Command(text.to_owned()),
        };
        let timeout_ms = match hook.get("timeout") {
            None | Some(Value::Null) => DEFAULT_TIMEOUT_MS,
            Some(value) => {
                let seconds = value.as_f64().filter(|s| *s > 0.0 && *s <= MAX_TIMEOUT_S);
                let seconds = seconds.ok_or_else(|| {
                    wrong(&place, format!("`timeout` is no number of seconds up to {MAX_TIMEOUT_S}"))
                })?;
                // In range by the line above.
                ((seconds * 1e3) as u64).max(1)
            }
        };
        let fails_closed = match hook.get("on_failure").map(Value::as_str) {
            None => event.fails_closed() && self.dialect == Dialect::Own,
            Some(Some("block")) => true,
            Some(Some("allow")) => false,
            Some(_) => return Err(wrong(&place, "`on_failure` is neither `block` nor `allow`")),
        };
        let sandbox = match hook.get("sandbox").map(Value::as_bool) {
            None => true,
            Some(Some(sandbox)) => sandbox,
            Some(None) if self.dialect == Dialect::Imported => true,
            Some(None) => return Err(wrong(&place, "`sandbox` is neither true nor false")),
        };
        self.specs.push(HookSpec {
            event,
            matcher: matcher.clone(),
            run,
            timeout_ms,
            fails_closed,
            dialect: self.dialect,
            sandbox,
            sandbox_said: hook.contains_key("sandbox"),
            place,
        });
        Ok(())
    }

    /// In a file of our own it is an error: a hook that was meant to forbid something must not be passed over.
    fn unknown(&mut self, place: &str, why: String) -> Result<(), HookFileError> {
        match self.dialect {
            Dialect::Own => Err(wrong(place, why)),
            Dialect::Imported => {
                self.notices.push(format!("{place}: {why}; it is not used"));
                Ok(())
            }
        }
    }
}

/// Events of a session that no turn need run in.
fn outside_of_turns(event: HookEvent) -> bool {
    matches!(event, HookEvent::ConfigChange | HookEvent::ModeChanged | HookEvent::SessionEnd)
}

/// Another agent's name of a model is none of ours: the turn's own is asked then.
fn route(value: Option<&Value>, dialect: Dialect, place: &str) -> Result<Option<Route>, HookFileError> {
    match (value.filter(|value| !value.is_null()), dialect) {
        (None, _) | (Some(_), Dialect::Imported) => Ok(None),
        (Some(value), Dialect::Own) => {
            let route = value.as_str().and_then(|text| text.parse().ok());
            route.map(Some).ok_or_else(|| wrong(place, "`model` is no model: write provider/model"))
        }
    }
}

fn headers(value: Option<&Value>, place: &str) -> Result<Vec<(String, String)>, HookFileError> {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(Vec::new()) };
    let one = |(name, value): (&String, &Value)| match value.as_str() {
        Some(text) => Ok((name.clone(), text.to_owned())),
        None => Err(wrong(place, format!("the header `{}` is no text", cut(name, 100)))),
    };
    object(value, place)?.iter().map(one).collect()
}

fn object<'a>(value: &'a Value, place: &str) -> Result<&'a Map<String, Value>, HookFileError> {
    value.as_object().ok_or_else(|| wrong(place, "it is no object"))
}

fn array<'a>(value: &'a Value, place: &str) -> Result<&'a Vec<Value>, HookFileError> {
    value.as_array().ok_or_else(|| wrong(place, "it is no list"))
}

fn only(map: &Map<String, Value>, known: &[&str], place: &str) -> Result<(), HookFileError> {
    match map.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => {
            let why = format!("`{}` means nothing here; known are {}", cut(key, 100), known.join(", "));
            Err(wrong(place, why))
        }
        None => Ok(()),
    }
}

fn wrong(place: &str, why: impl Into<String>) -> HookFileError {
    HookFileError { place: place.to_owned(), why: why.into() }
}

/// How long a hook may take unless it says otherwise.
const DEFAULT_TIMEOUT_MS: u64 = 30_000;
const MAX_TIMEOUT_S: f64 = 600.0;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn file(event: &str, hook: Value) -> Value {
        json!({"hooks": {event: [{"matcher": "shell|edit", "hooks": [hook]}]}})
    }

    #[test]
    fn a_hook_has_the_limits_of_its_event_and_dialect() {
        let plain = || json!({"type": "command", "command": " check "});
        let with = |key: &str, value: Value| {
            let mut hook = plain();
            hook[key] = value;
            hook
        };
        for (event, hook, dialect, timeout_ms, closed) in [
            ("PreToolUse", plain(), Dialect::Own, 30_000, true),
            ("UserPromptSubmit", plain(), Dialect::Own, 30_000, true),
            ("PermissionRequest", plain(), Dialect::Own, 30_000, true),
            ("Stop", plain(), Dialect::Own, 30_000, false),
            ("PreToolUse", plain(), Dialect::Imported, 30_000, false),
            ("PreToolUse", with("on_failure", json!("allow")), Dialect::Own, 30_000, false),
            ("Stop", with("on_failure", json!("block")), Dialect::Own, 30_000, true),
            ("PreToolUse", with("timeout", json!(0.25)), Dialect::Own, 250, true),
        ] {
            let (specs, notices) = read_hooks(&file(event, hook.clone()), dialect).unwrap();
            let [spec] = &specs[..] else { panic!("{hook}") };
            assert_eq!((spec.timeout_ms, spec.fails_closed), (timeout_ms, closed), "{event} {hook}");
            assert_eq!((spec.run.shown(), spec.event.word()), ("check", event));
            assert_eq!(spec.place, format!("{event}.1.1"));
            assert!(spec.matcher.matches("edit") && !spec.matcher.matches("read") && notices.is_empty());
        }
    }

    #[test]
    fn what_cannot_be_understood_is_an_error_in_our_own_files() {
        let command = || json!({"type": "command", "command": "x"});
        let with = |key: &str, value: Value| {
            let mut hook = command();
            hook[key] = value;
            file("Stop", hook)
        };
        for (value, place) in [
            (json!([]), "the file"),
            (json!({}), "the file"),
            (json!({"hooks": {}, "more": 1}), "the file"),
            (json!({"hooks": []}), "`hooks`"),
            (file("PreTool", command()), "PreTool"),
            (json!({"hooks": {"Stop": {}}}), "Stop"),
            (json!({"hooks": {"Stop": [{}]}}), "Stop.1"),
            (json!({"hooks": {"Stop": [{"matcher": 1, "hooks": []}]}}), "Stop.1"),
            (json!({"hooks": {"Stop": [{"matcher": "(", "hooks": []}]}}), "Stop.1"),
            (file("Stop", json!({"type": "http", "url": "x"})), "Stop.1.1"),
            (file("Stop", json!({"type": "http", "command": "x"})), "Stop.1.1"),
            (file("Stop", json!({"type": "http", "url": "https://h/", "headers": {"a": 1}})), "Stop.1.1"),
            (file("Stop", json!({"type": "agent", "prompt": "x"})), "Stop.1.1"),
            (file("Stop", json!({"type": "prompt", "prompt": " "})), "Stop.1.1"),
            (file("Stop", json!({"type": "prompt", "prompt": "x", "model": 1})), "Stop.1.1"),
            (file("Stop", json!({"type": "prompt", "prompt": "x", "sandbox": false})), "Stop.1.1"),
            (file("SessionEnd", json!({"type": "prompt", "prompt": "x"})), "SessionEnd.1.1"),
            (
                file("ConfigChange", json!({"type": "mcp_tool", "server": "s", "tool": "t"})),
                "ConfigChange.1.1",
            ),
            (file("WorktreeCreate", json!({"type": "prompt", "prompt": "x"})), "WorktreeCreate.1.1"),
            (file("Stop", json!({"type": "mcp_tool", "tool": "t"})), "Stop.1.1"),
            (file("Stop", json!({"type": "mcp_tool", "server": "s"})), "Stop.1.1"),
            (file("Stop", json!({"type": "mcp_tool", "server": "s", "tool": "t", "input": 1})), "Stop.1.1"),
            (file("Stop", json!({"command": "x"})), "Stop.1.1"),
            (file("Stop", json!({"type": "command"})), "Stop.1.1"),
            (with("timeout", json!(0)), "Stop.1.1"),
            (with("timeout", json!(601)), "Stop.1.1"),
            (with("on_failure", json!("shrug")), "Stop.1.1"),
            (with("on_failur", json!("block")), "Stop.1.1"),
            (with("sandbox", json!("no")), "Stop.1.1"),
        ] {
            assert_eq!(read_hooks(&value, Dialect::Own).unwrap_err().place, place, "{value}");
        }
        // Elsewhere they may mean something.
        for value in [
            json!({"permissions": {}}),
            file("PreTool", command()),
            file("Stop", json!({"type": "agent", "prompt": "x"})),
            file("SessionEnd", json!({"type": "prompt", "prompt": "x"})),
        ] {
            assert!(read_hooks(&value, Dialect::Imported).unwrap().0.is_empty(), "{value}");
        }
    }

    #[test]
    fn a_hook_may_be_an_address() {
        let hook =
            json!({"type": "http", "url": "https://h.example/x", "headers": {"x-key": "k"}, "timeout": 2});
        let (specs, _) = read_hooks(&file("Stop", hook), Dialect::Own).unwrap();
        let headers = vec![("x-key".to_owned(), "k".to_owned())];
        assert_eq!(specs[0].run, HookRun::Http { url: "https://h.example/x".into(), headers });
        assert_eq!((specs[0].timeout_ms, specs[0].sandbox, specs[0].sandbox_said), (2_000, true, false));
    }

    #[test]
    fn a_hook_may_ask_a_model_or_a_tool_of_a_server() {
        let read = |hook: Value, dialect| read_hooks(&file("PreToolUse", hook), dialect).unwrap().0.remove(0);
        let prompt =
            json!({"type": "prompt", "prompt": "Is it safe?", "model": "openai/gpt-5", "timeout": 9});
        let spec = read(prompt.clone(), Dialect::Own);
        let route = Some("openai/gpt-5".parse().unwrap());
        assert_eq!(spec.run, HookRun::Prompt { prompt: "Is it safe?".into(), route });
        assert_eq!((spec.timeout_ms, spec.fails_closed), (9_000, true));
        let spec = read(json!({"type": "prompt", "prompt": "x", "model": "haiku"}), Dialect::Imported);
        assert_eq!(
            (spec.run, spec.fails_closed),
            (HookRun::Prompt { prompt: "x".into(), route: None }, false)
        );
        let input = json!({"file": "${tool_input.path}"});
        let hook = json!({"type": "mcp_tool", "server": "lint", "tool": "check", "input": input});
        let wanted = HookRun::McpTool { server: "lint".into(), tool: "check".into(), input: Some(input) };
        assert_eq!(read(hook, Dialect::Own).run, wanted);
    }
}
