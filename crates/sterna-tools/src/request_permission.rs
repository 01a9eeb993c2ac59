//! `request_permission`: rights for later calls, which only a person gives.

use futures::FutureExt;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use sterna_model::{EffectClass, GrantScope, PathAccess, Permits, PermittedPath, ToolSpec};
use sterna_tool::{Access, Plan, PlanContext, Tool, ToolContext, ToolError, ToolReturn};

use crate::support::{first_line, parse, place};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Args {
    /// What it is needed for, for the person.
    #[schemars(length(min = 1, max = 1000))]
    reason: String,
    #[schemars(length(max = 16))]
    filesystem: Option<Vec<Wanted>>,
    /// Host names, each with `:port` unless it is the usual one.
    #[schemars(length(max = 16))]
    network: Option<Vec<String>>,
    /// How long it holds; `turn` when left out.
    scope: Option<Lasting>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// A file, or a folder with all beneath.
    path: String,
    access: Kind,
}

#[derive(Deserialize, JsonSchema, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Read,
    /// Reading, too.
    Write,
}

#[derive(Deserialize, JsonSchema, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum Lasting {
    Turn,
    Session,
}

pub(crate) struct RequestPermission {
    spec: ToolSpec,
}

impl RequestPermission {
    pub(crate) fn new() -> Self {
        Self {
            spec: crate::schema::spec::<Args>("request_permission", include_str!("request_permission.md")),
        }
    }
}

impl Tool for RequestPermission {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn class(&self, _: &Value) -> EffectClass {
        EffectClass::Idempotent
    }

    fn plan(&self, cx: &PlanContext, args: &Value) -> Result<Plan, ToolError> {
        let args: Args = parse(args)?;
        let permits = wanted(cx, &args)?;
        let how_long = match scope(&args) {
            GrantScope::Session => "for this session",
            _ => "for this turn",
        };
        let told = permits.told();
        let summary = format!("more rights {how_long}: {}", first_line(&told.join(", "), SUMMARY_BYTES));
        let preview = format!("{}\n{how_long}\nreason: {}", told.join("\n"), args.reason.trim());
        Ok(Plan { accesses: vec![Access::Permission(permits)], summary, preview: Some(preview) })
    }

    fn call<'a>(&'a self, cx: ToolContext, args: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        let given = parse(&args).and_then(|args: Args| {
            // What was judged, and shown to the person.
            let judged = cx.plan.accesses.iter().find_map(|access| match access {
                Access::Permission(permits) => Some(permits.clone()),
                _ => None,
            });
            let permits = judged.ok_or_else(|| ToolError::failed("nothing was asked for"))?;
            Ok(ToolReturn::Permit { permits, scope: scope(&args) })
        });
        std::future::ready(given).boxed()
    }
}

fn scope(args: &Args) -> GrantScope {
    match args.scope {
        Some(Lasting::Session) => GrantScope::Session,
        Some(Lasting::Turn) | None => GrantScope::Turn,
    }
}

fn wanted(cx: &PlanContext, args: &Args) -> Result<Permits, ToolError> {
    if args.reason.trim().is_empty() || args.reason.chars().count() > MAX_REASON {
        return Err(ToolError::invalid(format!("`reason` has 1 to {MAX_REASON} characters")));
    }
    let mut permits = Permits::default();
    for Wanted { path, access } in args.filesystem.iter().flatten() {
        if path.starts_with('~') || path.contains(['*', '?']) || path.chars().any(char::is_control) {
            return Err(ToolError::invalid(format!(
                "`{path}`: give one whole path, without `~` or patterns"
            )));
        }
        let path = place(&cx.cwd, path)?;
        let beneath = path.is_dir();
        let access = match access {
            Kind::Read => PathAccess::Read,
            Kind::Write => PathAccess::Write,
        };
        permits.paths.push(PermittedPath { path, access, beneath });
    }
    for host in args.network.iter().flatten() {
        let host = host.trim().to_ascii_lowercase();
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
        if host.is_empty() || host.len() > 255 || !host.chars().all(plain) {
            return Err(ToolError::invalid(format!("`{host}`: give the name of one host, such as docs.rs")));
        }
        permits.hosts.push(host);
    }
    let count = permits.paths.len() + permits.hosts.len();
    match count {
        0 => Err(ToolError::invalid("name what you need in `filesystem` or `network`")),
        n if n > MAX_WANTED => Err(ToolError::invalid(format!("at most {MAX_WANTED} rights at once"))),
        _ => Ok(permits),
    }
}

const MAX_REASON: usize = 1000;
const MAX_WANTED: usize = 16;
const SUMMARY_BYTES: usize = 300;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_asked_for_is_shown_whole() {
        let folder = tempfile::tempdir().unwrap();
        let at = std::fs::canonicalize(folder.path()).unwrap();
        std::fs::create_dir(at.join("d")).unwrap();
        std::os::unix::fs::symlink("d", at.join("link")).unwrap();
        let cx = PlanContext { cwd: at.clone(), roots: vec![at.clone()] };
        let tool = RequestPermission::new();
        let args = json!({
            "reason": "the build writes there",
            "filesystem": [{"path": "link", "access": "write"}, {"path": "new/file", "access": "read"}],
            "network": ["Docs.RS", "localhost:8080"],
            "scope": "session",
        });
        let plan = tool.plan(&cx, &args).unwrap();
        let at = at.display();
        assert_eq!(
            plan.preview.unwrap(),
            format!(
                "read and write {at}/d and all beneath\nread {at}/new/file\nreach docs.rs\nreach localhost:8080\n\
                 for this session\nreason: the build writes there"
            )
        );
        assert!(plan.summary.starts_with("more rights for this session: read and write"), "{}", plan.summary);
        for wrong in [
            json!({"reason": "x"}),
            json!({"reason": " ", "network": ["a"]}),
            json!({"reason": "x", "network": ["*"]}),
            json!({"reason": "x", "network": ["a b"]}),
            json!({"reason": "x", "network": ["https://a/b"]}),
            json!({"reason": "x", "filesystem": [{"path": "~/x", "access": "read"}]}),
            json!({"reason": "x", "filesystem": [{"path": "/a/*", "access": "read"}]}),
            json!({"reason": "x", "network": vec!["a"; 17]}),
        ] {
            assert!(tool.plan(&cx, &wrong).is_err(), "{wrong}");
        }
    }
}
