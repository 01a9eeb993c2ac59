//! `continue_as`: on in a fresh window, with a task and a few named values. What cannot be taken along is said before
//! anything is left behind.

use futures::FutureExt;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use sterna_model::{EffectClass, ToolSpec};
use sterna_tool::{Access, Plan, PlanContext, Tool, ToolContext, ToolError, ToolReturn};

use crate::support::{first_line, parse};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Args {
    /// What is to be done there, with all that it takes to do it.
    #[schemars(length(min = 1))]
    task: String,
    /// Named values to take along.
    #[serde(default)]
    seed: Map<String, Value>,
}

pub(crate) struct ContinueAs {
    spec: ToolSpec,
}

impl ContinueAs {
    pub(crate) fn new() -> Self {
        Self { spec: crate::schema::spec::<Args>("continue_as", include_str!("continue_as.md")) }
    }
}

impl Tool for ContinueAs {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn class(&self, _: &Value) -> EffectClass {
        EffectClass::Pure
    }

    fn plan(&self, _: &PlanContext, args: &Value) -> Result<Plan, ToolError> {
        let Args { task, .. } = checked(args)?;
        let summary = format!("go on in a fresh window: {}", first_line(&task, 200));
        Ok(Plan { accesses: vec![Access::Session], summary, preview: None })
    }

    fn call<'a>(&'a self, _: ToolContext, args: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        let wanted = checked(&args).map(|Args { task, seed }| ToolReturn::Continue { task, seed });
        std::future::ready(wanted).boxed()
    }
}

fn checked(args: &Value) -> Result<Args, ToolError> {
    let args: Args = parse(args)?;
    if args.task.trim().is_empty() {
        return Err(ToolError::invalid("`task` is empty"));
    }
    if args.task.len() > MAX_TASK {
        let bytes = args.task.len();
        return Err(ToolError::invalid(format!(
            "`task` has {bytes} bytes, and at most {MAX_TASK} fit: say less, or write it to a file and name that"
        )));
    }
    let mut left = MAX_SEED;
    for (name, value) in &args.seed {
        let is_name = (1..=MAX_NAME).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && !name.starts_with(|c: char| c.is_ascii_digit());
        if !is_name {
            return Err(not_saved(name, "its name is not 1 to 64 of letters, digits and _"));
        }
        if depth(value) > MAX_DEPTH {
            return Err(not_saved(name, &format!("it is nested more than {MAX_DEPTH} deep")));
        }
        let bytes = value.to_string().len() + name.len();
        let Some(rest) = left.checked_sub(bytes) else {
            let why = format!(
                "it has {bytes} bytes, and {left} of {MAX_SEED} are left; write it to a file and name that"
            );
            return Err(not_saved(name, &why));
        };
        left = rest;
    }
    Ok(args)
}

fn not_saved(name: &str, why: &str) -> ToolError {
    let name: String = name.chars().take(MAX_NAME).collect();
    ToolError::invalid(format!("seed_not_saved: `{name}` cannot be taken along: {why}"))
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// Bytes. Both stand in each request of the window: a small one must hold them.
const MAX_TASK: usize = 8 << 10;
const MAX_SEED: usize = 16 << 10;
const MAX_NAME: usize = 64;
const MAX_DEPTH: usize = 32;

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_seed_that_cannot_be_saved_is_named() {
        let cx = PlanContext { cwd: PathBuf::from("/w"), roots: vec![] };
        let tool = ContinueAs::new();
        let long = "x".repeat(MAX_SEED);
        let deep = (0..33).fold(json!(1), |inner, _| json!([inner]));
        for (args, wrong) in [
            (json!({"task": "go on"}), ""),
            (json!({"task": "go on", "seed": {"k": 1, "_b2": {"c": [null]}}}), ""),
            (json!({"task": " "}), "`task` is empty"),
            (json!({"task": "x".repeat(8193)}), "8193 bytes"),
            (json!({"task": "t", "seed": [1]}), "expected a map"),
            (json!({"task": "t", "seed": {"": 1}}), "seed_not_saved: ``"),
            (json!({"task": "t", "seed": {"2a": 1}}), "seed_not_saved: `2a`"),
            (json!({"task": "t", "seed": {"a-b": 1}}), "seed_not_saved: `a-b`"),
            (json!({"task": "t", "seed": {"deep": deep}}), "seed_not_saved: `deep`"),
            (json!({"task": "t", "seed": {"a": 1, "b": long}}), "seed_not_saved: `b`"),
        ] {
            match tool.plan(&cx, &args) {
                Ok(plan) => assert!(wrong.is_empty() && plan.accesses == [Access::Session], "{args}"),
                Err(error) => assert!(!wrong.is_empty() && error.message.contains(wrong), "{wrong}: {error}"),
            }
        }
    }
}
