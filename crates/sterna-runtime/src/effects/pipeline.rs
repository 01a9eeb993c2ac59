//! The one way to a tool: resolve, available, validate, normalise, policy. What comes after it is intent and run.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use sterna_model::{Approval, CallTool, Digest, Grant, Sandbox, ToolStatus, TurnStarted};
use sterna_policy::{Ask, Changes, Need, Rule, Verdict};
use sterna_tool::{Access, Confine, Plan, PlanContext, SharedTool};

use crate::{Env, Levels, Toolbox};

/// What a turn lends to its calls.
#[derive(Clone)]
pub struct Rights {
    pub turn: Arc<TurnStarted>,
    pub rules: Arc<Vec<Rule>>,
    pub grants: Arc<Vec<Grant>>,
    pub env: Arc<dyn Env>,
    pub levels: Option<Arc<dyn Levels>>,
}

impl Rights {
    /// The level that the turn's commands run on. Only asked for where a call has some: it may be found out just now.
    async fn level(&self, tool: &SharedTool, plan: &Plan) -> Result<Sandbox, String> {
        let commands = plan.accesses.iter().any(|access| matches!(access, Access::Shell { .. }));
        let wish = self.turn.sandbox;
        match &self.levels {
            _ if !commands => Ok(Sandbox::None),
            Some(levels) if tool.confines() => levels.level(wish).await,
            _ if wish.is_strict() => {
                Err(format!("commands of `{}` cannot be confined here", tool.spec().name))
            }
            _ => Ok(Sandbox::None),
        }
    }
}

/// What the pipeline says of a call.
pub enum Passed {
    /// Policy said yes: it may run.
    Run {
        tool: SharedTool,
        args: Value,
        plan: Arc<Plan>,
        quiet_git: bool,
        content: Digest,
        changes: Changes,
        confine: Arc<Confine>,
    },
    /// Somebody must be asked.
    Ask(Approval),
    /// It is answered without being run.
    Answer { status: ToolStatus, text: String },
}

/// Takes a call through the pipeline. Touches nothing but what resolving names looks at.
pub async fn pass(call: &CallTool, tools: &Toolbox, rights: &Rights) -> Passed {
    let answer = |status: ToolStatus, text: String| Passed::Answer { status, text };
    let name = &call.call.name;
    let Some(tool) = tools.get(name).cloned() else {
        return answer(ToolStatus::NotRegistered, format!("tool not registered: {name}"));
    };
    let turn = &rights.turn;
    if !turn.tools.is_empty() && !turn.tools.contains(name) {
        return answer(ToolStatus::NotAvailable, format!("tool not available: {name}"));
    }
    if call.call.truncated {
        let text = "truncated_arguments: your answer was cut inside these arguments by the output limit, and the \
            call was not run. Send it again, with less content or in several calls.";
        return answer(ToolStatus::TruncatedArguments, text.into());
    }
    let args = match tools.arguments(name, &call.call.arguments) {
        Ok(args) => args,
        Err(why) => {
            let text = format!("invalid_arguments for {name}: {why}\nThe call was not run.");
            return answer(ToolStatus::InvalidArguments, text);
        }
    };
    let plan = match tool.plan(&plan_context(turn), &args) {
        Ok(plan) => plan,
        Err(error) => return answer(error.status, error.message),
    };
    let content = content_of(name, &args);
    let mut level = match rights.level(&tool, &plan).await {
        Ok(level) => level,
        Err(why) => {
            let wish = rights.turn.sandbox.word();
            let text = format!("sandbox_required: {why} (sandbox = \"{wish}\")\nThe call was not run.");
            return answer(ToolStatus::Denied, text);
        }
    };
    let mut verdict = judge(name, &plan, content, level, rights);
    if level.holds() && verdict.bounds.outside && !turn.sandbox.is_strict() {
        // Inside it would only fail: it is judged, and run, as it is without a sandbox.
        level = Sandbox::None;
        verdict = judge(name, &plan, content, level, rights);
    }
    let quiet_git = verdict.needs.iter().any(|need| match need {
        Need::QuietGit => true,
    });
    match verdict.decision {
        sterna_model::Decision::Ask if !call.approved => Passed::Ask(Approval {
            tool: name.clone(),
            summary: plan.summary,
            reason: verdict.reason,
            rule: verdict.rule,
            source: verdict.source,
            preview: plan.preview,
            content,
        }),
        sterna_model::Decision::Ask | sterna_model::Decision::Allow => Passed::Run {
            tool,
            args,
            plan: Arc::new(plan),
            quiet_git,
            content,
            changes: verdict.changes,
            confine: Arc::new(Confine { level, bounds: verdict.bounds }),
        },
        sterna_model::Decision::Deny => {
            let by = match (&verdict.rule, &verdict.source) {
                (Some(rule), Some(source)) => format!(" by rule `{rule}` ({source})"),
                (Some(rule), None) => format!(" by rule `{rule}`"),
                (None, _) => String::new(),
            };
            answer(ToolStatus::Denied, format!("denied{by}: {}\nThe call was not run.", verdict.reason))
        }
    }
}

/// What policy says of a shell command line under a turn's rights: for `policy explain` and for tests. Runs nothing.
pub fn explain(
    command: &str,
    rights: &TurnStarted,
    rules: &[Rule],
    level: Sandbox,
    env: &dyn Env,
) -> Verdict {
    let access = Access::Shell { command: command.to_owned(), cwd: PathBuf::from(&rights.cwd) };
    let content = content_of("shell", &serde_json::json!({ "command": command }));
    verdict("shell", &[access], content, rights, rules, &[], level, env)
}

/// Where a turn's calls happen.
pub fn plan_context(turn: &TurnStarted) -> PlanContext {
    let dirs = std::iter::once(&turn.root).chain(&turn.add_dirs);
    PlanContext { cwd: PathBuf::from(&turn.cwd), roots: dirs.map(PathBuf::from).collect() }
}

fn judge(name: &str, plan: &Plan, content: Digest, level: Sandbox, rights: &Rights) -> Verdict {
    verdict(name, &plan.accesses, content, &rights.turn, &rights.rules, &rights.grants, level, &*rights.env)
}

#[expect(clippy::too_many_arguments, reason = "everything that a decision depends on")]
fn verdict(
    name: &str,
    accesses: &[Access],
    content: Digest,
    turn: &TurnStarted,
    rules: &[Rule],
    grants: &[Grant],
    sandbox: Sandbox,
    env: &dyn Env,
) -> Verdict {
    let accesses: Vec<sterna_policy::Access> = accesses.iter().map(access).collect();
    let cx = plan_context(turn);
    let grants: Vec<&Grant> = grants.iter().collect();
    let state_dirs = env.state_dirs();
    let home = env.home();
    sterna_policy::decide(&Ask {
        tool: name,
        accesses: &accesses,
        mode: turn.mode,
        rules,
        grants: &grants,
        content,
        now: env.now(),
        roots: &cx.roots,
        home: home.as_deref(),
        cwd: &cx.cwd,
        state_dirs: &state_dirs,
        sandbox,
        resolve: &|path| env.resolve(path),
    })
}

fn access(access: &Access) -> sterna_policy::Access {
    match access {
        Access::Read(path) => sterna_policy::Access::Read(path.clone()),
        Access::ReadTree(path) => sterna_policy::Access::ReadTree(path.clone()),
        Access::Write(path) => sterna_policy::Access::Write(path.clone()),
        Access::Shell { command, cwd } => {
            sterna_policy::Access::Shell { command: command.clone(), cwd: cwd.clone() }
        }
        Access::Web { host } => sterna_policy::Access::Web { host: host.clone() },
        Access::Person => sterna_policy::Access::Person,
        Access::Session => sterna_policy::Access::Session,
        Access::Other => sterna_policy::Access::Other,
    }
}

/// The content that a grant is bound to: the tool's name and its arguments.
pub fn content_of(name: &str, args: &Value) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(name.as_bytes());
    hasher.update(&[0]);
    hasher.update(args.to_string().as_bytes());
    Digest(*hasher.finalize().as_bytes())
}
