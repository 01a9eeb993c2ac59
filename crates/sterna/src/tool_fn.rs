//! A tool from a function: its arguments are a type, its schema comes from the type.

use std::future::Future;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sterna_model::{EffectClass, ToolSpec};
use sterna_tool::{
    Access, Plan, PlanContext, SharedTool, Tool, ToolContext, ToolDone, ToolError, ToolReturn,
};

/// A tool that calls a function of the host.
pub struct FnTool<F> {
    spec: ToolSpec,
    class: EffectClass,
    run: F,
}

/// Makes a tool of an async function. It is `at_most_once` until the host says that more is safe, and it asks before
/// it runs unless a rule allows it by its name.
///
/// ```
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// struct Order {
///     /// The order's number.
///     number: u64,
/// }
///
/// let tool = sterna::tool_fn("order_status", "Tells where an order is.", |order: Order| async move {
///     Ok(format!("order {} is on its way", order.number))
/// });
/// assert_eq!(tool.spec().name, "order_status");
/// ```
pub fn tool_fn<A, F, Fut>(name: &str, description: &str, run: F) -> SharedTool
where
    A: DeserializeOwned + JsonSchema + Send + 'static,
    F: Fn(A) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<String, String>> + Send + 'static,
{
    tool_fn_of(name, description, EffectClass::AtMostOnce, run)
}

/// As `tool_fn`, with the class that recovery goes by: `Pure` for a function that changes nothing.
pub fn tool_fn_of<A, F, Fut>(name: &str, description: &str, class: EffectClass, run: F) -> SharedTool
where
    A: DeserializeOwned + JsonSchema + Send + 'static,
    F: Fn(A) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<String, String>> + Send + 'static,
{
    let mut schema = schemars::schema_for!(A).to_value();
    if let Some(object) = schema.as_object_mut() {
        object.remove("$schema");
        object.remove("title");
    }
    let spec = ToolSpec { name: name.into(), description: description.into(), schema };
    let call = move |args: Value| -> BoxFuture<'static, Result<String, ToolError>> {
        match serde_json::from_value::<A>(args) {
            Ok(args) => run(args).map(|ended| ended.map_err(ToolError::failed)).boxed(),
            Err(error) => futures::future::ready(Err(ToolError::invalid(error))).boxed(),
        }
    };
    Arc::new(FnTool { spec, class, run: call })
}

impl<F> Tool for FnTool<F>
where
    F: Fn(Value) -> BoxFuture<'static, Result<String, ToolError>> + Send + Sync,
{
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn class(&self, _args: &Value) -> EffectClass {
        self.class
    }

    fn plan(&self, _cx: &PlanContext, args: &Value) -> Result<Plan, ToolError> {
        let accesses = match self.class {
            EffectClass::Pure => vec![Access::Session],
            EffectClass::Idempotent | EffectClass::AtMostOnce | EffectClass::Compensable => {
                vec![Access::Other]
            }
        };
        let shown: String = args.to_string().chars().take(200).collect();
        Ok(Plan { accesses, summary: format!("{} {shown}", self.spec.name), preview: None })
    }

    fn call<'a>(&'a self, _cx: ToolContext, args: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        (self.run)(args).map(|ended| ended.map(|text| ToolReturn::Done(ToolDone::text(text)))).boxed()
    }
}
