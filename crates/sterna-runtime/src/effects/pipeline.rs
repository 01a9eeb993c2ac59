//! The one way to a tool: resolve, available, validate, normalise, hooks, policy. What comes after it is intent and run.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use sterna_context::JudgeCase;
use sterna_log::SharedLog;
use sterna_model::{
    Approval, CallTool, Decision, Digest, Grant, JudgeSays, Mode, Sandbox, ToolStatus, TurnStarted, Untrusted,
};
use sterna_policy::{Ask, Changes, Need, Rule, Verdict};
use sterna_secrets::Scoped;
use sterna_tool::{Access, Confine, Placeholders, Plan, PlanContext, SessionView, SharedTool};

use crate::kept::{self, StoredGrant};
use crate::secrets::{placeholder, restored};
use crate::{Env, Levels, Toolbox, strangers};

/// What a turn lends to its calls.
#[derive(Clone)]
pub struct Rights {
    pub turn: Arc<TurnStarted>,
    pub rules: Arc<Vec<Rule>>,
    pub grants: Arc<Vec<Grant>>,
    pub env: Arc<dyn Env>,
    /// Texts of strangers that the model had before it.
    pub untrusted: Arc<Vec<Untrusted>>,
    pub view: Arc<SessionView>,
    pub secrets: Scoped,
    pub levels: Option<Arc<dyn Levels>>,
    /// Holds the grants that are stored.
    pub log: SharedLog,
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

/// What hooks say of a call that they do not forbid.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FromHooks {
    pub permission: Option<Decision>,
    pub reason: String,
}

impl FromHooks {
    /// The decision when hooks have been heard too. They may ask where policy would not; their yes answers only what
    /// the mode alone would have asked.
    fn heard(&self, verdict: &mut Verdict, mode: Mode) {
        let (asks, reason) = (self.permission == Some(Decision::Ask), &self.reason);
        match verdict.decision {
            Decision::Ask if verdict.by_mode && self.permission == Some(Decision::Allow) => {
                verdict.decision = Decision::Allow;
            }
            Decision::Allow if asks && mode == Mode::NeverAsk => {
                verdict.decision = Decision::Deny;
                verdict.reason = format!("mode `never-ask` refuses what would ask; {reason}");
            }
            Decision::Allow if asks && mode != Mode::Bypass => {
                (verdict.decision, verdict.reason) = (Decision::Ask, reason.clone());
                (verdict.rule, verdict.source) = (None, None);
            }
            Decision::Allow | Decision::Ask | Decision::Deny => {}
        }
    }
}

/// What the pipeline says of a call.
pub enum Passed {
    /// Policy said yes: it may run.
    Run {
        tool: SharedTool,
        /// With secrets in place of placeholders, where the tool gets them.
        args: Value,
        plan: Arc<Plan>,
        quiet_git: bool,
        content: Digest,
        changes: Changes,
        /// Where its result comes from, when that is text of strangers.
        origin: Option<String>,
        confine: Arc<Confine>,
    },
    /// Somebody must be asked. With a case, a classifier may answer for them.
    Ask { approval: Approval, case: Option<Box<JudgeCase>> },
    /// It is answered without being run.
    Answer { status: ToolStatus, text: String },
}

/// Takes a call through the pipeline. Touches nothing but what resolving names looks at.
pub async fn pass(call: &CallTool, tools: &Toolbox, rights: &Rights, hooks: &FromHooks) -> Passed {
    let answer = |status: ToolStatus, text: String| Passed::Answer { status, text };
    let inner = tools.unwrapped(&call.call);
    let name = &inner.name;
    let turn = &rights.turn;
    let Some(tool) = tools.get(name) else {
        let find = if turn.deferred.is_empty() { "" } else { "; `tool_search` finds tools" };
        return answer(ToolStatus::NotRegistered, format!("tool not registered: {name}{find}"));
    };
    if !may_call(turn, name) {
        return answer(ToolStatus::NotAvailable, format!("tool not available: {name}"));
    }
    if inner.truncated {
        let text = "truncated_arguments: your answer was cut inside these arguments by the output limit, and the \
            call was not run. Send it again, with less content or in several calls.";
        return answer(ToolStatus::TruncatedArguments, text.into());
    }
    let args = match tools.arguments(name, &inner.arguments) {
        Ok(args) => args,
        Err(why) => {
            let takes = match turn.deferred.contains(name) {
                // It may have been a long time since the model was shown it.
                true => format!("\nIt takes: {}", tool.spec().schema),
                false => String::new(),
            };
            let text = format!("invalid_arguments for {name}: {why}{takes}\nThe call was not run.");
            return answer(ToolStatus::InvalidArguments, text);
        }
    };
    // A grant is bound to what the log holds.
    let content = content_of(name, &args);
    let args = match with_secrets(&tool, args, &rights.secrets) {
        Ok(args) => args,
        Err(why) => {
            let text = format!("invalid_arguments for {name}: {why}\nThe call was not run.");
            return answer(ToolStatus::InvalidArguments, text);
        }
    };
    let cx = plan_context(turn);
    let plan = match tool.plan(&cx, &args) {
        Ok(plan) => plan,
        Err(error) => return answer(error.status, error.message),
    };
    let content = bound_to(content, &plan);
    let approved = call.approved.then_some(call.approved_for);
    let judged = match judge(&tool, content, &plan, approved, rights).await {
        Ok(judged) => judged,
        Err(why) => {
            let wish = rights.turn.sandbox.word();
            let text = format!("sandbox_required: {why} (sandbox = \"{wish}\")\nThe call was not run.");
            return answer(ToolStatus::Denied, text);
        }
    };
    let Judged { mut verdict, level, approved } = judged;
    if call.approved && !approved {
        verdict.reason = format!("{ELSEWHERE}; {}", verdict.reason);
    }
    hooks.heard(&mut verdict, turn.mode);
    // What a rule, taint or a hook asks about is a person's to say.
    let open =
        verdict.decision == Decision::Ask && verdict.by_mode && hooks.permission != Some(Decision::Ask);
    let case = (turn.mode == Mode::Auto && open && !approved)
        .then(|| Box::new(case_of(call, name, &plan, &verdict, level, rights)));
    if let (Some(case), Some(judging)) = (&case, &call.judging)
        && judging.of(&case.subject()).is_some_and(|said| said.says == JudgeSays::Allow)
    {
        verdict.decision = Decision::Allow;
    }
    let quiet_git = verdict.needs.iter().any(|need| match need {
        Need::QuietGit => true,
    });
    match verdict.decision {
        Decision::Ask if !approved => Passed::Ask {
            approval: Approval {
                tool: name.clone(),
                summary: plan.summary,
                reason: verdict.reason,
                rule: verdict.rule,
                source: verdict.source,
                preview: plan.preview,
                content,
                effects: Some(verdict.effects),
                untrusted: strangers::told(&rights.untrusted),
            },
            case,
        },
        Decision::Ask | Decision::Allow => Passed::Run {
            origin: strangers::origin(name, tool.untrusted(&args, &rights.view), &plan.accesses, &cx.roots),
            tool,
            args,
            plan: Arc::new(plan),
            quiet_git,
            content,
            changes: verdict.changes,
            confine: Arc::new(Confine { level, bounds: verdict.bounds }),
        },
        Decision::Deny => {
            let by = match (&verdict.rule, &verdict.source) {
                (Some(rule), Some(source)) => format!(" by rule `{rule}` ({source})"),
                (Some(rule), None) => format!(" by rule `{rule}`"),
                (None, _) => String::new(),
            };
            answer(ToolStatus::Denied, format!("denied{by}: {}\nThe call was not run.", verdict.reason))
        }
    }
}

/// What policy says of a call, and the level that it would run on: for `policy explain`. Runs nothing. An error says why
/// such a call could not even be judged.
pub async fn explain(tool: &SharedTool, args: &Value, rights: &Rights) -> Result<(Verdict, Sandbox), String> {
    let plan = tool.plan(&plan_context(&rights.turn), args).map_err(|error| error.message)?;
    let judged = judge(tool, content_of(&tool.spec().name, args), &plan, None, rights).await?;
    Ok((judged.verdict, judged.level))
}

/// Hash of the places that a call of this tool leads to now. `None`: it cannot be planned.
pub(crate) fn places_of(
    tool: &SharedTool,
    args: &Value,
    turn: &TurnStarted,
    env: &dyn Env,
) -> Option<Digest> {
    let plan = tool.plan(&plan_context(turn), args).ok()?;
    let name = &tool.spec().name;
    let said = verdict(name, &plan.accesses, Digest::ZERO, turn, &[], &[], &[], Sandbox::None, env);
    Some(said.effects)
}

/// Whether the turn was given this tool.
pub(crate) fn may_call(turn: &TurnStarted, name: &str) -> bool {
    let listed = |names: &[String]| names.iter().any(|listed| listed == name);
    turn.tools.is_empty() || listed(&turn.tools) || listed(&turn.deferred)
}

/// Where a turn's calls happen.
pub fn plan_context(turn: &TurnStarted) -> PlanContext {
    let dirs = std::iter::once(&turn.root).chain(&turn.add_dirs);
    PlanContext { cwd: PathBuf::from(&turn.cwd), roots: dirs.map(PathBuf::from).collect() }
}

struct Judged {
    verdict: Verdict,
    level: Sandbox,
    /// A person has allowed it, with what it would touch now.
    approved: bool,
}

/// Asks policy. With `approved`, a person has said yes to the call, for these places if they are told. An error says why
/// no sandbox can be had where one is a must.
async fn judge(
    tool: &SharedTool,
    content: Digest,
    plan: &Plan,
    approved: Option<Option<Digest>>,
    rights: &Rights,
) -> Result<Judged, String> {
    let (name, turn) = (&tool.spec().name, &rights.turn);
    let mut level = rights.level(tool, plan).await?;
    let say = |level: Sandbox, grants: &[Grant]| {
        verdict(
            name,
            &plan.accesses,
            content,
            turn,
            &rights.rules,
            grants,
            &rights.untrusted,
            level,
            &*rights.env,
        )
    };
    let mut verdict = say(level, &rights.grants);
    if level.holds() && verdict.bounds.outside && !turn.sandbox.is_strict() {
        // Inside it would only fail: it is judged, and run, as it is without a sandbox.
        level = Sandbox::None;
        verdict = say(level, &rights.grants);
    }
    let approved = approved.is_some_and(|places| places.is_none_or(|places| places == verdict.effects));
    if verdict.decision != Decision::Allow && !approved {
        // Looked for only now: most calls need no grant. A store that cannot be read grants nothing.
        let stored = kept::stored(&rights.log, &turn.root).await.unwrap_or_default();
        let fits = |stored: StoredGrant| (stored.grant.content == content).then_some(stored.grant);
        let fitting: Vec<Grant> = stored.into_iter().filter_map(fits).collect();
        if !fitting.is_empty() {
            verdict = say(level, &[fitting.as_slice(), rights.grants.as_slice()].concat());
        }
    }
    Ok(Judged { verdict, level, approved })
}

/// What a classifier is told of a call: its effects, as policy has worked them out.
fn case_of(
    call: &CallTool,
    name: &str,
    plan: &Plan,
    verdict: &Verdict,
    level: Sandbox,
    rights: &Rights,
) -> JudgeCase {
    let effect = |access: &Access| match access {
        Access::Read(path) => format!("reads {}", path.display()),
        Access::ReadTree(path) => format!("reads {} and all beneath", path.display()),
        Access::Write(path) => format!("writes {}", path.display()),
        Access::Shell { command, cwd } => format!("runs in {}: {command}", cwd.display()),
        Access::Web { host } => format!("reaches {host}"),
        Access::Person => "asks the person".to_owned(),
        Access::Permission(permits) => format!("wants more rights: {}", permits.told().join("; ")),
        Access::Session => "touches the session's own state".to_owned(),
        Access::Keep => "keeps something beyond the session".to_owned(),
        Access::Other => format!("does what only the tool `{name}` knows"),
        Access::Unaccepted { why, .. } => why.clone(),
    };
    let mut effects: Vec<String> = plan.accesses.iter().map(effect).collect();
    effects.extend(verdict.changes.paths.iter().map(|path| format!("may change {}", path.display())));
    if verdict.changes.arbitrary {
        effects.push("runs a program that may do more than is listed".into());
    }
    if verdict.changes.unknown {
        effects.push("holds something that is not understood, and may change anything".into());
    }
    if verdict.bounds.outside {
        effects.push("acts through something that no sandbox confines".into());
    }
    JudgeCase {
        tool: name.to_owned(),
        summary: plan.summary.clone(),
        arguments: call.call.arguments.clone(),
        effects,
        commands: verdict.shell.as_ref().and_then(|plan| serde_json::to_value(plan).ok()),
        why_asked: verdict.reason.clone(),
        workspace: rights.turn.root.clone(),
        sandbox: level.word().to_owned(),
        strangers: !rights.untrusted.is_empty(),
    }
}

/// The arguments that the tool is given: those few that only write get the secrets that placeholders stand for. What
/// else would run with a placeholder is not what was meant, and does not run.
fn with_secrets(tool: &SharedTool, args: Value, secrets: &Scoped) -> Result<Value, String> {
    let Some(placeholder) = placeholder(&args) else { return Ok(args) };
    match tool.placeholders(&args) {
        Placeholders::Keep => Ok(args),
        Placeholders::Restore => match restored(&args, secrets) {
            Ok(whole) => Ok(whole.unwrap_or(args)),
            Err(unknown) => Err(format!(
                "{unknown} any more: it was seen by another one, or it is no secret's placeholder. Leave that part of \
                 the text as it is, or ask the person to put the secret in."
            )),
        },
        Placeholders::Refuse => Err(format!(
            "`{placeholder}` stands for a secret, which neither you nor this tool is given. Use what has the secret \
             already, such as a variable of the environment or a file that is read where it is needed, or ask the \
             person."
        )),
    }
}

#[expect(clippy::too_many_arguments, reason = "everything that a decision depends on")]
fn verdict(
    name: &str,
    accesses: &[Access],
    content: Digest,
    turn: &TurnStarted,
    rules: &[Rule],
    grants: &[Grant],
    untrusted: &[Untrusted],
    sandbox: Sandbox,
    env: &dyn Env,
) -> Verdict {
    let untrusted: Vec<&str> = untrusted.iter().map(|one| one.origin.as_str()).collect();
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
        untrusted: &untrusted,
        resolve: &|path| env.resolve(path),
        git: &|folder| env.git_suspect(folder),
        git_outside: &|folder, remote| env.git_outside(folder, remote),
        git_contacts: &|folder, remote, push| env.git_contacts(folder, remote, push),
        look: &|folder, wanted| env.look(folder, wanted),
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
        Access::Permission(permits) => sterna_policy::Access::Permission(permits.clone()),
        Access::Session => sterna_policy::Access::Session,
        Access::Keep => sterna_policy::Access::Keep,
        Access::Other => sterna_policy::Access::Other,
        Access::Unaccepted { why, .. } => sterna_policy::Access::Unaccepted { why: why.clone() },
    }
}

/// What a person is told who said yes to something else.
const ELSEWHERE: &str =
    "what it would touch has changed since it was allowed: a link or a folder was replaced";

/// A grant for what a tool was is none for what it has become.
fn bound_to(content: Digest, plan: &Plan) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&content.0);
    let mut changed = false;
    for access in &plan.accesses {
        if let Access::Unaccepted { definition, .. } = access {
            hasher.update(&definition.0);
            changed = true;
        }
    }
    if changed { Digest(*hasher.finalize().as_bytes()) } else { content }
}

/// The content that a grant is bound to: the tool's name and its arguments.
pub fn content_of(name: &str, args: &Value) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(name.as_bytes());
    hasher.update(&[0]);
    hasher.update(args.to_string().as_bytes());
    Digest(*hasher.finalize().as_bytes())
}
