//! `call_tool`: calls a tool that is shown by name only. The runtime takes the call out of it before anything else
//! looks at it, so what comes here is a call whose wrapping could not be read.

use futures::FutureExt;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use sterna_model::{EffectClass, ToolSpec};
use sterna_tool::{Access, CALL_TOOL, Plan, PlanContext, Tool, ToolContext, ToolError, ToolReturn};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the runtime reads them")]
struct Args {
    /// The tool's whole name.
    name: String,
    /// What the tool takes.
    arguments: Map<String, Value>,
}

pub(crate) struct CallTool {
    spec: ToolSpec,
}

impl CallTool {
    pub(crate) fn new() -> Self {
        Self { spec: crate::schema::spec::<Args>(CALL_TOOL, include_str!("call_tool.md")) }
    }
}

impl Tool for CallTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn class(&self, _: &Value) -> EffectClass {
        EffectClass::Pure
    }

    fn plan(&self, _: &PlanContext, _: &Value) -> Result<Plan, ToolError> {
        Ok(Plan { accesses: vec![Access::Session], summary: "call no tool".into(), preview: None })
    }

    fn call<'a>(&'a self, _: ToolContext, _: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        async {
            Err(ToolError::invalid(
                "`name` is the name of another tool, and `arguments` is what that one takes",
            ))
        }
        .boxed()
    }
}
