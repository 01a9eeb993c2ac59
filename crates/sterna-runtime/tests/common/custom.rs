//! A tool with what a test says of secrets and strangers.

#![allow(dead_code)]

use futures::future::BoxFuture;
use serde_json::Value;
use sterna_model::{EffectClass, ToolSpec};
use sterna_tool::{
    Placeholders, Plan, PlanContext, SessionView, SharedTool, Tool, ToolContext, ToolError, ToolReturn,
};

pub struct Custom {
    pub inner: SharedTool,
    pub placeholders: Option<Placeholders>,
    pub origin: Option<&'static str>,
}

impl Tool for Custom {
    fn spec(&self) -> &ToolSpec {
        self.inner.spec()
    }
    fn class(&self, args: &Value) -> EffectClass {
        self.inner.class(args)
    }
    fn plan(&self, cx: &PlanContext, args: &Value) -> Result<Plan, ToolError> {
        self.inner.plan(cx, args)
    }
    fn untrusted(&self, _: &Value, _: &SessionView) -> Option<String> {
        self.origin.map(str::to_owned)
    }
    fn placeholders(&self, args: &Value) -> Placeholders {
        self.placeholders.unwrap_or_else(|| self.inner.placeholders(args))
    }
    fn call<'a>(&'a self, cx: ToolContext, args: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        self.inner.call(cx, args)
    }
}
