//! The tools of a process, by name, with their argument schemas ready to check.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard};

use serde::Deserialize;
use serde_json::{Value, json};
use sterna_model::{EffectClass, ToolCall, ToolSpec};
use sterna_tool::{CALL_TOOL, SharedTool};

use crate::arguments;

/// A set of tools. Clones share it.
#[derive(Clone, Default)]
pub struct Toolbox(Arc<RwLock<BTreeMap<String, Arc<Entry>>>>);

struct Entry {
    tool: SharedTool,
    validator: OnceLock<Result<jsonschema::Validator, String>>,
}

impl Toolbox {
    /// Takes tools. Of two with one name the later one counts.
    pub fn new(tools: impl IntoIterator<Item = SharedTool>) -> Self {
        let toolbox = Self::default();
        tools.into_iter().for_each(|tool| toolbox.put(tool));
        toolbox
    }

    /// Adds a tool, or puts it in the place of the one of its name. Which turns may call it is for their lists to say.
    pub fn put(&self, tool: SharedTool) {
        let name = tool.spec().name.clone();
        let entry = Arc::new(Entry { tool, validator: OnceLock::new() });
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(name, entry);
    }

    pub fn get(&self, name: &str) -> Option<SharedTool> {
        self.entry(name).map(|entry| entry.tool.clone())
    }

    pub fn names(&self) -> Vec<String> {
        self.read().keys().cloned().collect()
    }

    /// What the model is told of these tools; an empty list means all.
    pub fn specs(&self, names: &[String]) -> Vec<ToolSpec> {
        let wanted = |name: &str| names.is_empty() || names.iter().any(|n| n == name);
        self.read()
            .iter()
            .filter(|(name, _)| wanted(name))
            .map(|(_, entry)| entry.tool.spec().clone())
            .collect()
    }

    /// The class of a call as its tool judges it. A call that will not run is pure.
    pub(crate) fn class(&self, call: &ToolCall) -> EffectClass {
        let call = self.unwrapped(call);
        let Some(entry) = self.entry(&call.name).filter(|_| !call.truncated) else {
            return EffectClass::Pure;
        };
        match entry.arguments(&call.arguments) {
            Ok(args) => entry.tool.class(&args),
            Err(_) => EffectClass::Pure,
        }
    }

    /// The call that `call_tool` asks for; any other one as it is, and one whose wrapping cannot be read.
    pub(crate) fn unwrapped<'a>(&self, call: &'a ToolCall) -> Cow<'a, ToolCall> {
        let inside = self.entry(CALL_TOOL).is_some().then(|| inside(call)).flatten();
        inside.map_or(Cow::Borrowed(call), Cow::Owned)
    }

    /// The tool of a call and its arguments, where both are known.
    pub(crate) fn known(&self, call: &ToolCall) -> Option<(SharedTool, Value)> {
        let call = self.unwrapped(call);
        let args = self.arguments(&call.name, &call.arguments).ok()?;
        Some((self.get(&call.name)?, args))
    }

    /// The call's arguments, checked against the tool's schema. The error is for the model.
    pub fn arguments(&self, name: &str, text: &str) -> Result<Value, String> {
        match self.entry(name) {
            Some(entry) => entry.arguments(text),
            None => Err(format!("tool not registered: {name}")),
        }
    }

    fn entry(&self, name: &str) -> Option<Arc<Entry>> {
        self.read().get(name).cloned()
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, Arc<Entry>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The same call with these arguments for the tool that it is about.
pub(crate) fn with_arguments(call: &ToolCall, arguments: String) -> ToolCall {
    let arguments = match inside(call) {
        None => arguments,
        Some(inner) => {
            let given = serde_json::from_str(&arguments).unwrap_or(Value::String(arguments));
            json!({ "name": inner.name, "arguments": given }).to_string()
        }
    };
    ToolCall { arguments, ..call.clone() }
}

/// What a call of `call_tool` asks for.
pub(crate) fn inside(call: &ToolCall) -> Option<ToolCall> {
    if call.name != CALL_TOOL || call.truncated {
        return None;
    }
    let wrapped: Wrapped = serde_json::from_str(&call.arguments).ok()?;
    let arguments = match wrapped.arguments {
        // Some models write JSON in JSON.
        Value::String(text) => text,
        Value::Null => "{}".into(),
        other => other.to_string(),
    };
    (wrapped.name != CALL_TOOL).then(|| ToolCall { name: wrapped.name, arguments, ..call.clone() })
}

/// The arguments of `call_tool`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrapped {
    name: String,
    #[serde(default)]
    arguments: Value,
}

impl Entry {
    fn arguments(&self, text: &str) -> Result<Value, String> {
        let mut args: Value =
            serde_json::from_str(text).map_err(|e| format!("the arguments are not JSON: {e}"))?;
        self.drop_nulls(&mut args);
        let compiled = || arguments::compile(&self.tool.spec().schema);
        let validator = self.validator.get_or_init(compiled).as_ref();
        let validator = validator.map_err(|e| format!("the tool's own schema is not valid: {e}"))?;
        let mut wrong = validator.iter_errors(&args).map(|error| {
            let path = error.instance_path().to_string();
            let path = if path.is_empty() { "the arguments".to_owned() } else { path };
            // A message may quote the instance: cut it.
            let message: String = error.to_string().chars().take(300).collect();
            format!("{path}: {message}")
        });
        let first: Vec<String> = wrong.by_ref().take(5).collect();
        drop(wrong);
        if first.is_empty() { Ok(args) } else { Err(first.join("\n")) }
    }

    /// Many models write `null` for an optional argument that they leave out.
    fn drop_nulls(&self, args: &mut Value) {
        let properties = self.tool.spec().schema.get("properties");
        let takes_null = |name: &str| {
            let of = properties.and_then(|all| all.get(name)).and_then(|property| property.get("type"));
            match of {
                Some(Value::Array(types)) => types.iter().any(|t| t == "null"),
                Some(one) => one == "null",
                None => true,
            }
        };
        if let Value::Object(members) = args {
            members.retain(|name, value| !value.is_null() || takes_null(name));
        }
    }
}
