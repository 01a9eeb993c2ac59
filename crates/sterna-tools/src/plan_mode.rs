//! `enter_plan` and `submit_plan`: plan mode from the model's side. Neither can end it.

use futures::FutureExt;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use sterna_model::{EffectClass, ToolSpec};
use sterna_tool::{Access, Plan, PlanContext, Tool, ToolContext, ToolError, ToolReturn};

use crate::support::{first_line, parse};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Submitted {
    /// Lower-case letters, digits and dashes, 64 at most.
    #[schemars(length(min = 1, max = 64))]
    slug: String,
    /// Markdown.
    #[schemars(length(min = 1))]
    content: String,
}

pub(crate) struct EnterPlan {
    spec: ToolSpec,
}

pub(crate) struct SubmitPlan {
    spec: ToolSpec,
}

impl EnterPlan {
    pub(crate) fn new() -> Self {
        Self { spec: crate::schema::spec::<Nothing>("enter_plan", include_str!("enter_plan.md")) }
    }
}

impl SubmitPlan {
    pub(crate) fn new() -> Self {
        Self { spec: crate::schema::spec::<Submitted>("submit_plan", include_str!("submit_plan.md")) }
    }
}

impl Tool for EnterPlan {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn class(&self, _: &Value) -> EffectClass {
        EffectClass::Idempotent
    }

    fn plan(&self, _: &PlanContext, args: &Value) -> Result<Plan, ToolError> {
        let Nothing {} = parse(args)?;
        Ok(Plan { accesses: vec![Access::Session], summary: "enter plan mode".into(), preview: None })
    }

    fn call<'a>(&'a self, _: ToolContext, _: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        std::future::ready(Ok(ToolReturn::EnterPlan)).boxed()
    }
}

impl Tool for SubmitPlan {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn class(&self, _: &Value) -> EffectClass {
        EffectClass::Idempotent
    }

    fn plan(&self, _: &PlanContext, args: &Value) -> Result<Plan, ToolError> {
        let Submitted { slug, content } = submitted(args)?;
        let summary = format!("submit the plan {slug}: {}", first_line(&content, 200));
        Ok(Plan { accesses: vec![Access::Person], summary, preview: None })
    }

    fn call<'a>(&'a self, _: ToolContext, args: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        let plan = submitted(&args).map(|Submitted { slug, content }| ToolReturn::Plan { slug, content });
        std::future::ready(plan).boxed()
    }
}

fn submitted(args: &Value) -> Result<Submitted, ToolError> {
    let plan: Submitted = parse(args)?;
    let fits = (1..=MAX_SLUG).contains(&plan.slug.len())
        && plan.slug.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !fits {
        return Err(ToolError::invalid("`slug` is 1 to 64 lower-case letters, digits and dashes"));
    }
    if plan.content.trim().is_empty() {
        return Err(ToolError::invalid("the plan is empty"));
    }
    if plan.content.len() > MAX_PLAN {
        let bytes = plan.content.len();
        return Err(ToolError::invalid(format!(
            "the plan has {bytes} bytes, and at most 65536 fit: shorten it"
        )));
    }
    Ok(plan)
}

const MAX_SLUG: usize = 64;
/// Bytes.
const MAX_PLAN: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_plan_has_a_name_and_a_size() {
        let cx = PlanContext { cwd: PathBuf::from("/w"), roots: vec![] };
        let tool = SubmitPlan::new();
        let long = "x".repeat(MAX_PLAN);
        for (slug, content, wrong) in [
            ("fix-it-2", "# Fix it\n1. …", ""),
            ("fix", long.as_str(), ""),
            ("", "x", "`slug`"),
            ("Fix", "x", "`slug`"),
            ("a b", "x", "`slug`"),
            (&"a".repeat(65), "x", "`slug`"),
            ("a", " \n", "empty"),
            ("a", &format!("{long}x"), "65537 bytes"),
        ] {
            let planned = tool.plan(&cx, &json!({"slug": slug, "content": content}));
            match planned {
                Ok(plan) => assert!(wrong.is_empty() && plan.accesses == [Access::Person], "{slug}"),
                Err(error) => assert!(!wrong.is_empty() && error.message.contains(wrong), "{slug}: {error}"),
            }
        }
    }
}
