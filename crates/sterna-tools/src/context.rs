//! `context`: what the model's last request was made of.

use futures::FutureExt;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use sterna_model::{EffectClass, ToolSpec};
use sterna_tool::{Access, Plan, PlanContext, Tool, ToolContext, ToolDone, ToolError, ToolReturn};

use crate::support::parse;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Args {}

pub(crate) struct Context {
    spec: ToolSpec,
}

impl Context {
    pub(crate) fn new() -> Self {
        Self { spec: crate::schema::spec::<Args>("context", include_str!("context.md")) }
    }
}

impl Tool for Context {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn class(&self, _: &Value) -> EffectClass {
        EffectClass::Pure
    }

    fn plan(&self, _: &PlanContext, args: &Value) -> Result<Plan, ToolError> {
        let Args {} = parse(args)?;
        Ok(Plan { accesses: vec![Access::Session], summary: "look at the context".into(), preview: None })
    }

    fn call<'a>(&'a self, cx: ToolContext, _: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        async move {
            let told = cx.session.context().await.map_err(ToolError::failed)?;
            Ok(ToolReturn::Done(ToolDone::text(told)))
        }
        .boxed()
    }
}
