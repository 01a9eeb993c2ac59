//! `remember` and `forget`: notes that outlive the turn, each a visible record with its source.

use futures::FutureExt;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use sterna_model::{EffectClass, MemoryScope, MemorySource, ToolSpec};
use sterna_tool::{
    Access, MemoryAccess, MemoryError, NewNote, Plan, PlanContext, Tool, ToolContext, ToolDone, ToolError,
    ToolReturn,
};

use crate::support::{first_line, number, parse};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RememberArgs {
    /// What it is called, in a few words. A note of this name is replaced.
    name: String,
    /// What is to be known, at most 8 KiB.
    text: String,
    /// Who finds it; project by default.
    scope: Option<Scope>,
    tags: Option<Vec<String>>,
    /// Other names under which it is looked for.
    aliases: Option<Vec<String>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ForgetArgs {
    /// Its id, name or alias.
    #[serde(rename = "ref")]
    reference: String,
    /// Only there; the nearest by default: session, project, user.
    scope: Option<Scope>,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Scope {
    User,
    Project,
    Session,
}

impl From<Scope> for MemoryScope {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::User => Self::User,
            Scope::Project => Self::Project,
            Scope::Session => Self::Session,
        }
    }
}

pub(crate) struct Remember {
    spec: ToolSpec,
}

impl Remember {
    pub(crate) fn new() -> Self {
        Self { spec: crate::schema::spec::<RememberArgs>("remember", include_str!("remember.md")) }
    }
}

impl Tool for Remember {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn class(&self, _: &Value) -> EffectClass {
        EffectClass::Idempotent
    }

    fn plan(&self, _: &PlanContext, args: &Value) -> Result<Plan, ToolError> {
        let args: RememberArgs = parse(args)?;
        let scope = args.scope.map_or(MemoryScope::Project, MemoryScope::from);
        let name = first_line(&args.name, NAME_BYTES);
        let summary = format!("remember for the {scope}: {name} ({} bytes)", number(args.text.len() as u64));
        Ok(Plan { accesses: vec![kept(Some(scope))], summary, preview: Some(args.text) })
    }

    fn call<'a>(&'a self, cx: ToolContext, args: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        async move {
            let args: RememberArgs = parse(&args)?;
            let access = access(&cx)?;
            let scope = args.scope.map_or(MemoryScope::Project, MemoryScope::from);
            let name = first_line(&args.name, NAME_BYTES);
            let source = MemorySource {
                by: "model".into(),
                session: Some(cx.key.session.clone()),
                call: Some(cx.key.clone()),
            };
            let note = NewNote {
                scope,
                name: args.name,
                text: args.text,
                tags: args.tags.unwrap_or_default(),
                aliases: args.aliases.unwrap_or_default(),
                source,
                tainted: access.tainted.clone(),
            };
            let place = access.place(&cx.key, (cx.now)());
            let kept = access.memory.remember(&place, &once(&cx), note).await.map_err(trouble)?;
            let verb = if kept.replaced { "replaced" } else { "remembered" };
            let label = match access.tainted.is_empty() {
                true => "",
                false => "; it is labelled as written after texts of strangers",
            };
            let text = format!("{verb} {} for the {scope}: {name}{label}", kept.id);
            Ok(ToolReturn::Done(ToolDone::text(text)))
        }
        .boxed()
    }
}

pub(crate) struct Forget {
    spec: ToolSpec,
}

impl Forget {
    pub(crate) fn new() -> Self {
        Self { spec: crate::schema::spec::<ForgetArgs>("forget", include_str!("forget.md")) }
    }
}

impl Tool for Forget {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn class(&self, _: &Value) -> EffectClass {
        EffectClass::Idempotent
    }

    fn plan(&self, _: &PlanContext, args: &Value) -> Result<Plan, ToolError> {
        let args: ForgetArgs = parse(args)?;
        let summary = format!("forget {}", first_line(&args.reference, NAME_BYTES));
        let scope = args.scope.map(MemoryScope::from);
        Ok(Plan { accesses: vec![kept(scope)], summary, preview: None })
    }

    fn call<'a>(&'a self, cx: ToolContext, args: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        async move {
            let args: ForgetArgs = parse(&args)?;
            let access = access(&cx)?;
            let place = access.place(&cx.key, (cx.now)());
            let scope = args.scope.map(MemoryScope::from);
            let gone = access.memory.forget(&place, &once(&cx), &args.reference, scope, "model").await;
            let gone = gone.map_err(trouble)?.note;
            let text = format!("forgot {} of the {}: {}", gone.id, gone.scope, gone.name);
            Ok(ToolReturn::Done(ToolDone::text(text)))
        }
        .boxed()
    }
}

/// What the call may do with memory.
pub(crate) fn access(cx: &ToolContext) -> Result<&MemoryAccess, ToolError> {
    cx.memory.as_ref().ok_or_else(|| ToolError::failed("memory is off here; nothing is kept or found in it"))
}

pub(crate) fn trouble(error: MemoryError) -> ToolError {
    match error {
        MemoryError::Refused(why) => ToolError::invalid(why),
        MemoryError::Unknown(_) => {
            ToolError::failed(format!("{error}; recall{{\"in\":\"memory\",\"query\":…}} finds notes"))
        }
        MemoryError::Log(error) => ToolError::failed(error),
    }
}

/// Another attempt of the same call is the same change.
/// A note of the session goes with it; others outlive it. Without a scope a note of any may be meant.
fn kept(scope: Option<MemoryScope>) -> Access {
    match scope {
        Some(MemoryScope::Session) => Access::Session,
        Some(MemoryScope::User | MemoryScope::Project) | None => Access::Keep,
    }
}

fn once(cx: &ToolContext) -> String {
    format!("memory:{}", cx.key)
}

const NAME_BYTES: usize = 120;
