//! Hooks of files. A command is a line for the shell that is given an event on stdin, and answers by its exit code and its
//! output; an address is given it as the body of a POST, a tool of an MCP server as its arguments, and both answer with the
//! same output; a model is asked whether the event may be.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Map, Value};
use sterna_log::SharedBlobs;
use sterna_model::Route;
use sterna_runtime::{
    Dialect, Hook, HookAnswer, HookCall, HookRun, HookSet, HookSpec, Listening, ServerState, SharedHooks,
    Written, read_command,
};
use sterna_shell::shim::Helper;
use sterna_shell::{Command, MAX_TIMEOUT, run_split};
use sterna_tools::{Poster, Sandboxes};

use crate::config::WebWish;
use crate::places::Places;
use crate::sandbox::{Beside, grounds, holds};

/// The hooks of configuration, with the file that each is of.
#[derive(Debug, Clone, Default)]
pub struct HookSettings(pub(crate) Vec<(String, HookSpec)>);

impl HookSettings {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Ready to run. `None`: there are none.
    pub fn shared(&self, blobs: &SharedBlobs, places: &Places, web: &WebWish) -> Option<SharedHooks> {
        if self.is_empty() {
            return None;
        }
        let helper = crate::is_initialised().then(Helper::this_host);
        let sandboxes = helper.map(|helper| Arc::new(Sandboxes::new(helper, grounds(places, true))));
        // What runs outside of turns has neither a model nor servers.
        all(self, Vec::new(), blobs, sandboxes.as_ref(), web, Arc::new(NoServers))
    }

    /// Each hook: `file:place`, and what it is.
    pub fn shown(&self) -> impl Iterator<Item = (String, &HookSpec)> {
        self.0.iter().map(|(file, spec)| (format!("{file}:{}", spec.place), spec))
    }
}

/// Configured hooks, then those of the host. `None`: there are none.
pub(crate) fn all(
    settings: &HookSettings,
    host: Vec<Listening>,
    blobs: &SharedBlobs,
    sandboxes: Option<&Arc<Sandboxes>>,
    web: &WebWish,
    servers: Arc<dyn HookServers>,
) -> Option<SharedHooks> {
    let listening = |(name, spec): (String, &HookSpec)| Listening {
        event: spec.event,
        matcher: spec.matcher.clone(),
        timeout_ms: spec.timeout_ms,
        fails_closed: spec.fails_closed,
        dialect: spec.dialect,
        hook: match &spec.run {
            HookRun::Command(command) => Arc::new(CommandHook {
                name,
                command: command.clone(),
                dialect: spec.dialect,
                confined: spec.sandbox,
                sandboxes: sandboxes.cloned(),
                blobs: blobs.clone(),
            }),
            HookRun::Http { url, headers } => Arc::new(HttpHook {
                name,
                url: url.clone(),
                headers: headers.clone(),
                dialect: spec.dialect,
                confined: spec.sandbox,
                poster: Poster::new(&web.allow_private, None),
            }),
            HookRun::Prompt { prompt, route } => {
                Arc::new(PromptHook { name, prompt: prompt.clone(), route: route.clone() })
            }
            HookRun::McpTool { server, tool, input } => Arc::new(McpToolHook {
                name,
                server: server.clone(),
                tool: tool.clone(),
                input: input.clone(),
                dialect: spec.dialect,
                confined: spec.sandbox,
                servers: servers.clone(),
            }),
        },
    };
    let all: Vec<Listening> = settings.shown().map(listening).chain(host).collect();
    let states = move || servers.states();
    (!all.is_empty()).then(|| Arc::new(HookSet::new(all).with_servers(Arc::new(states))) as SharedHooks)
}

struct CommandHook {
    name: String,
    command: String,
    dialect: Dialect,
    /// Unless the person's own file says otherwise.
    confined: bool,
    /// Without: nothing can be confined.
    sandboxes: Option<Arc<Sandboxes>>,
    blobs: SharedBlobs,
}

impl Hook for CommandHook {
    fn name(&self) -> &str {
        &self.name
    }

    fn on<'a>(&'a self, call: &'a HookCall) -> BoxFuture<'a, HookAnswer> {
        async move {
            let mut env = (*call.env).clone();
            let own = [
                ("STERNA_HOOK_EVENT", call.event.word().to_owned()),
                ("STERNA_EFFECT_KEY", call.key.clone()),
                ("STERNA_PROJECT_DIR", call.cwd.display().to_string()),
            ];
            env.extend(own.map(|(name, value)| (name.to_owned(), value)));
            if self.dialect == Dialect::Imported {
                env.insert("CLAUDE_PROJECT_DIR".into(), call.cwd.display().to_string());
            }
            let of = Beside {
                session: &call.session,
                roots: &call.roots,
                env: &env,
                wish: call.sandbox,
                bounds: &call.bounds,
                confined: self.confined,
            };
            let confined = match holds(self.sandboxes.as_deref(), of).await {
                Ok(confined) => confined,
                Err(why) => return HookAnswer::Failed(why),
            };
            let mut command = Command::new(&self.command, &call.cwd, env, self.blobs.clone());
            command.confine = confined;
            command.stdin = Some(call.input.to_string());
            // Whoever asks gives it up earlier, and it dies then.
            command.timeout = MAX_TIMEOUT;
            match run_split(command, MAX_OUTPUT).await {
                Ok(split) if split.timed_out => HookAnswer::Failed("it gave no answer in time".into()),
                Ok(split) => {
                    let (exit_code, stdout, stderr) = (split.exit_code, &*split.stdout, &*split.stderr);
                    read_command(call.event, self.dialect, Written { exit_code, stdout, stderr })
                }
                Err(error) => HookAnswer::Failed(error.to_string()),
            }
        }
        .boxed()
    }
}

struct HttpHook {
    name: String,
    url: String,
    headers: Vec<(String, String)>,
    dialect: Dialect,
    /// Its host must be one that rules open to commands.
    confined: bool,
    poster: Poster,
}

impl Hook for HttpHook {
    fn name(&self) -> &str {
        &self.name
    }

    fn on<'a>(&'a self, call: &'a HookCall) -> BoxFuture<'a, HookAnswer> {
        async move {
            let hosts = self.confined.then_some(&*call.bounds.hosts);
            let body = call.input.to_string();
            match self.poster.post(&self.url, &self.headers, body, hosts, MAX_OUTPUT).await {
                Ok(posted) if (200..300).contains(&posted.status) => {
                    let written = Written { exit_code: Some(0), stdout: &posted.text, stderr: "" };
                    read_command(call.event, self.dialect, written)
                }
                Ok(posted) => HookAnswer::Failed(format!("{} answered {}", self.url, posted.status)),
                Err(why) => HookAnswer::Failed(why),
            }
        }
        .boxed()
    }
}

struct PromptHook {
    name: String,
    prompt: String,
    route: Option<Route>,
}

impl Hook for PromptHook {
    fn name(&self) -> &str {
        &self.name
    }

    fn on<'a>(&'a self, call: &'a HookCall) -> BoxFuture<'a, HookAnswer> {
        async move {
            match &call.model {
                Some(model) => model.judge(self.route.as_ref(), &self.prompt, &call.input).await,
                None => HookAnswer::Failed("no model can be asked outside of a turn".into()),
            }
        }
        .boxed()
    }
}

/// The MCP servers that hooks may call.
pub(crate) trait HookServers: Send + Sync {
    /// What a tool said, or why that is no answer. `confined`: only a server of the project itself.
    fn call<'a>(
        &'a self,
        server: &'a str,
        tool: &'a str,
        input: Map<String, Value>,
        confined: bool,
    ) -> BoxFuture<'a, Result<String, String>>;

    /// How each of them is now.
    fn states(&self) -> Vec<ServerState>;
}

/// None at all.
#[derive(Default)]
pub(crate) struct NoServers;

impl HookServers for NoServers {
    fn call<'a>(
        &'a self,
        server: &'a str,
        _: &'a str,
        _: Map<String, Value>,
        _: bool,
    ) -> BoxFuture<'a, Result<String, String>> {
        async move { Err(format!("there is no MCP server `{server}` here")) }.boxed()
    }

    fn states(&self) -> Vec<ServerState> {
        Vec::new()
    }
}

struct McpToolHook {
    name: String,
    server: String,
    tool: String,
    input: Option<Value>,
    dialect: Dialect,
    /// A project's hook: it calls the project's own servers alone.
    confined: bool,
    servers: Arc<dyn HookServers>,
}

impl Hook for McpToolHook {
    fn name(&self) -> &str {
        &self.name
    }

    fn on<'a>(&'a self, call: &'a HookCall) -> BoxFuture<'a, HookAnswer> {
        async move {
            let input = match &self.input {
                Some(template) => filled(template, &call.input),
                None => call.input.clone(),
            };
            let Value::Object(input) = input else {
                return HookAnswer::Failed("its input is no object".into());
            };
            match self.servers.call(&self.server, &self.tool, input, self.confined).await {
                Ok(text) if text.len() > MAX_OUTPUT => {
                    HookAnswer::Failed(format!("the tool's answer is larger than {MAX_OUTPUT} bytes"))
                }
                Ok(text) => {
                    let written = Written { exit_code: Some(0), stdout: &text, stderr: "" };
                    read_command(call.event, self.dialect, written)
                }
                Err(why) => HookAnswer::Failed(why),
            }
        }
        .boxed()
    }
}

/// The input of a tool: `${tool_input.path}` in its texts stands for that field of the event. A text that is nothing else
/// becomes the field as it is; a field that is not there is an empty text, or null.
fn filled(template: &Value, event: &Value) -> Value {
    match template {
        Value::String(text) => match text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) {
            Some(path) if !path.contains('}') => field(event, path).cloned().unwrap_or(Value::Null),
            _ => Value::String(inserted(text, event)),
        },
        Value::Array(items) => items.iter().map(|item| filled(item, event)).collect(),
        Value::Object(map) => {
            Value::Object(map.iter().map(|(key, value)| (key.clone(), filled(value, event))).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => template.clone(),
    }
}

fn inserted(text: &str, event: &Value) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, inner)) = rest.split_once("${") {
        out.push_str(before);
        let Some((path, after)) = inner.split_once('}') else {
            out.push_str("${");
            rest = inner;
            continue;
        };
        match field(event, path) {
            Some(Value::String(text)) => out.push_str(text),
            Some(value) => out.push_str(&value.to_string()),
            None => {}
        }
        rest = after;
    }
    out + rest
}

fn field<'a>(event: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(event, |at, name| at.get(name))
}

/// Bytes of each output of a hook that are read.
const MAX_OUTPUT: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_of_the_event_fill_the_input_of_a_tool() {
        let event = json!({"tool_name": "write", "tool_input": {"path": "a b", "n": 3, "list": [1]}});
        for (template, wanted) in [
            (json!({"file": "${tool_input.path}"}), json!({"file": "a b"})),
            (json!({"x": ["${tool_input.n}", "${tool_input.list}"]}), json!({"x": [3, [1]]})),
            (json!({"x": "${tool_name}: ${tool_input.path} ${tool_input.n}"}), json!({"x": "write: a b 3"})),
            (
                json!({"x": "${nope}", "y": "a${nope}b", "z": "${open"}),
                json!({"x": null, "y": "ab", "z": "${open"}),
            ),
            (json!({"x": 1, "y": null, "z": true}), json!({"x": 1, "y": null, "z": true})),
        ] {
            assert_eq!(filled(&template, &event), wanted, "{template}");
        }
    }
}
