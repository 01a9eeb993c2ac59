//! A set of hooks: those that listen run beside each other, their answers are joined in order, and the strictest wins.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use serde_json::Value;
use sterna_model::{Decision, HookEnd, HookEvent, HookPower, HookReport, HookSays};
use tokio::time::Instant;

use super::answer::cut;
use super::{Dialect, Hook, HookAnswer, HookAnswered, HookCall, HookOutput, Hooks, Matcher, ServerState};
use crate::driver::told_by;

/// A hook and what it listens to.
#[derive(Clone)]
pub struct Listening {
    pub event: HookEvent,
    pub matcher: Matcher,
    pub timeout_ms: u64,
    /// What it was asked about does not go on when it fails, hangs or panics.
    pub fails_closed: bool,
    pub dialect: Dialect,
    pub hook: Arc<dyn Hook>,
}

/// Hooks in the order of their files.
#[derive(Clone, Default)]
pub struct HookSet {
    all: Arc<Vec<Listening>>,
    servers: Option<Servers>,
}

/// Says in which states the MCP servers of a host are.
pub type Servers = Arc<dyn Fn() -> Vec<ServerState> + Send + Sync>;

impl Listening {
    /// A hook of a host, with the usual limits of its event.
    pub fn new(event: HookEvent, hook: Arc<dyn Hook>) -> Self {
        let (matcher, fails_closed) = (Matcher::default(), event.fails_closed());
        Self { event, matcher, timeout_ms: 30_000, fails_closed, dialect: Dialect::Own, hook }
    }

    fn wants(&self, event: HookEvent, subject: &str) -> bool {
        self.event == event
            && (self.matcher.matches(subject)
                || self.dialect == Dialect::Imported && self.matcher.matches(name_elsewhere(subject)))
    }
}

impl HookSet {
    pub fn new(listening: Vec<Listening>) -> Self {
        Self { all: Arc::new(listening), servers: None }
    }

    /// With MCP servers, for the event that tells of them.
    pub fn with_servers(self, servers: Servers) -> Self {
        Self { servers: Some(servers), ..self }
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

impl Hooks for HookSet {
    fn listens(&self, event: HookEvent, subject: &str, _key: &str) -> bool {
        self.all.iter().any(|listening| listening.wants(event, subject))
    }

    fn hears(&self, event: HookEvent) -> bool {
        self.all.iter().any(|listening| listening.event == event)
    }

    fn servers(&self) -> Vec<ServerState> {
        self.servers.as_ref().map(|servers| servers()).unwrap_or_default()
    }

    fn run(&self, call: HookCall) -> BoxFuture<'static, HookAnswered> {
        let wanted: Vec<Listening> =
            self.all.iter().filter(|listening| listening.wants(call.event, &call.subject)).cloned().collect();
        async move {
            let event = call.event;
            let answers = join_all(wanted.into_iter().map(|listening| one(listening, call.clone()))).await;
            join(event, answers)
        }
        .boxed()
    }
}

/// How one hook ended.
struct Ended {
    name: String,
    fails_closed: bool,
    answer: HookAnswer,
    duration_ms: u64,
}

async fn one(listening: Listening, call: HookCall) -> Ended {
    let Listening { timeout_ms, fails_closed, dialect, hook, .. } = listening;
    let call = match dialect {
        Dialect::Own => call,
        Dialect::Imported => as_elsewhere(call),
    };
    let name = hook.name().to_owned();
    let began = Instant::now();
    let asked = AssertUnwindSafe(async { hook.on(&call).await }).catch_unwind();
    let mut answer = match tokio::time::timeout(Duration::from_millis(timeout_ms), asked).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(panic)) => HookAnswer::Failed(format!("it panicked: {}", told_by(&*panic))),
        Err(_) => HookAnswer::Failed(format!("it gave no answer within {timeout_ms} ms")),
    };
    if let (HookAnswer::Said(output), Dialect::Imported) = (&mut answer, dialect)
        && let Some(input) = &mut output.updated_input
    {
        from_elsewhere(input);
    }
    let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ended { name, fails_closed, answer, duration_ms }
}

/// One answer of many. The first of the strictest gives the reason.
fn join(event: HookEvent, ended: Vec<Ended>) -> HookAnswered {
    let power = event.power();
    let mut joined = HookAnswered::default();
    let says = &mut joined.says;
    for Ended { name, fails_closed, answer, duration_ms } in ended {
        let by = |reason: &str| match reason.trim() {
            "" => format!("hook {name}"),
            reason => format!("{reason} (hook {name})"),
        };
        let closed = fails_closed && power == HookPower::Decides;
        let (end, message, output) = match answer {
            HookAnswer::Said(said) => {
                let HookOutput { stop, message, suppress, blocked, permission, reason, .. } = *said.clone();
                joined.updated_input = joined.updated_input.or(said.updated_input);
                says.context.extend(said.context);
                let end = match (&stop, blocked || permission == Some(Decision::Deny)) {
                    (Some(_), _) => HookEnd::Stopped,
                    (None, true) => HookEnd::Blocked,
                    (None, false) => HookEnd::Ok,
                };
                if let Some(why) = stop {
                    says.stop.get_or_insert_with(|| by(&why));
                }
                if blocked {
                    block(says, by(&reason));
                }
                if let Some(decision) = permission {
                    permit(says, decision, by(&reason));
                }
                (end, message, if suppress { String::new() } else { said.written })
            }
            HookAnswer::Blocked(why) => {
                block(says, by(&why));
                (HookEnd::Blocked, String::new(), why)
            }
            HookAnswer::Stopped(why) => {
                says.stop.get_or_insert_with(|| by(&why));
                (HookEnd::Stopped, String::new(), why)
            }
            HookAnswer::Failed(why) => {
                if closed {
                    block(says, by(&format!("a hook that must answer failed: {why}")));
                }
                (if closed { HookEnd::FailedClosed } else { HookEnd::Failed }, String::new(), why)
            }
        };
        let output = cut(&output, MAX_SHOWN);
        joined.hooks.push(HookReport { name, end, duration_ms, message, output });
    }
    limit(event, power, &mut joined);
    joined
}

/// What the hooks of this event may not say is not heard.
fn limit(event: HookEvent, power: HookPower, joined: &mut HookAnswered) {
    let about_a_call = matches!(event, HookEvent::PreToolUse | HookEvent::PermissionRequest);
    let says = &mut joined.says;
    match power {
        HookPower::IsTold => *says = HookSays::default(),
        HookPower::Watches => {
            if std::mem::take(&mut says.blocked) {
                // It has happened; the model is told what is wrong with it.
                says.context.push(std::mem::take(&mut says.reason));
            }
            let over = matches!(event, HookEvent::TurnEnd | HookEvent::StopFailure | HookEvent::Interrupt);
            says.stop = says.stop.take().filter(|_| !over);
        }
        HookPower::Decides if about_a_call => {
            if std::mem::take(&mut says.blocked) {
                says.permission = Some(Decision::Deny);
            }
        }
        HookPower::Decides if event.is_stop() => {
            if says.blocked {
                // That is what the turn goes on with.
                says.context.push(says.reason.clone());
            }
        }
        HookPower::Decides => {}
    }
    if !about_a_call {
        says.permission = None;
        if !says.blocked {
            says.reason.clear();
        }
    }
    if !about_a_call || says.permission == Some(Decision::Deny) || says.stop.is_some() {
        joined.updated_input = None;
    }
}

fn block(says: &mut HookSays, reason: String) {
    if !says.blocked {
        // Stricter than what was said about permission so far, but for a denial.
        if says.permission != Some(Decision::Deny) {
            says.reason = reason;
        }
        says.blocked = true;
    }
}

fn permit(says: &mut HookSays, decision: Decision, reason: String) {
    let strictness = |decision: Option<Decision>| match decision {
        None => 0,
        Some(Decision::Allow) => 1,
        Some(Decision::Ask) => 2,
        Some(Decision::Deny) => 3,
    };
    if strictness(Some(decision)) > strictness(says.permission) {
        says.permission = Some(decision);
        if !says.blocked {
            says.reason = reason;
        }
    }
}

/// The input as hooks know it that were written for another agent.
fn as_elsewhere(mut call: HookCall) -> HookCall {
    if let Some(tool) = call.input.get("tool_name").and_then(Value::as_str) {
        call.input["tool_name"] = name_elsewhere(tool).into();
    }
    if let Some(input) = call.input.get_mut("tool_input").and_then(Value::as_object_mut)
        && let Some(path) = input.get("path").cloned()
    {
        input.insert("file_path".into(), path);
    }
    if let Some(trigger) = call.input.get("trigger").and_then(Value::as_str) {
        call.input["trigger"] = name_elsewhere(trigger).into();
    }
    if let Some(mode) = call.input.get("permission_mode").and_then(Value::as_str) {
        call.input["permission_mode"] = mode_elsewhere(mode).into();
    }
    call
}

/// The new input as our tools know it.
fn from_elsewhere(input: &mut Value) {
    if let Some(input) = input.as_object_mut()
        && let Some(path) = input.remove("file_path")
    {
        input.insert("path".into(), path);
    }
}

/// The name that another agent's hooks know a tool, or what a compaction came of, by.
fn name_elsewhere(tool: &str) -> &str {
    match tool {
        "shell" => "Bash",
        "read" => "Read",
        "write" => "Write",
        "edit" => "Edit",
        "list" => "LS",
        "glob" => "Glob",
        "grep" => "Grep",
        "todo" => "TodoWrite",
        "web_fetch" => "WebFetch",
        "web_search" => "WebSearch",
        "notebook_edit" => "NotebookEdit",
        "agent" => "Task",
        "ask_user" => "AskUserQuestion",
        "enter_plan" => "EnterPlanMode",
        "submit_plan" => "ExitPlanMode",
        "window" | "overflow" => "auto",
        other => other,
    }
}

fn mode_elsewhere(mode: &str) -> &str {
    match mode {
        "accept-edits" => "acceptEdits",
        "bypass" => "bypassPermissions",
        "never-ask" => "dontAsk",
        "plan" => "plan",
        _ => "default",
    }
}

/// Bytes of a hook's output that a record keeps.
const MAX_SHOWN: usize = 2 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(name: &str, answer: HookAnswer) -> Ended {
        Ended { name: name.into(), fails_closed: true, answer, duration_ms: 1 }
    }

    fn say(decision: Decision) -> HookAnswer {
        HookAnswer::permission(decision, format!("said {}", decision.word()))
    }

    #[test]
    fn the_strictest_of_all_hooks_wins_whatever_their_order() {
        use Decision::{Allow, Ask, Deny};
        for (answers, permission, reason) in [
            (vec![say(Allow)], Some(Allow), "said allow (hook 0)"),
            (vec![say(Allow), say(Deny), say(Ask)], Some(Deny), "said deny (hook 1)"),
            (vec![say(Ask), say(Allow)], Some(Ask), "said ask (hook 0)"),
            (vec![say(Allow), HookAnswer::Blocked("no".into())], Some(Deny), "no (hook 1)"),
            (vec![HookAnswer::Blocked("no".into()), say(Allow)], Some(Deny), "no (hook 0)"),
            (
                vec![say(Allow), HookAnswer::Failed("late".into())],
                Some(Deny),
                "a hook that must answer failed: late (hook 1)",
            ),
            (vec![HookAnswer::nothing(), HookAnswer::nothing()], None, ""),
        ] {
            let all = answers.into_iter().enumerate().map(|(n, answer)| ended(&n.to_string(), answer));
            let joined = join(HookEvent::PreToolUse, all.collect());
            assert_eq!((joined.says.permission, joined.says.reason.as_str()), (permission, reason));
        }
    }

    #[test]
    fn each_event_hears_only_what_its_hooks_may_say() {
        let everything = || {
            HookAnswer::Said(Box::new(HookOutput {
                stop: Some("enough".into()),
                blocked: true,
                reason: "no".into(),
                permission: Some(Decision::Allow),
                updated_input: Some(serde_json::json!({})),
                context: Some("mind".into()),
                ..HookOutput::default()
            }))
        };
        let told = |event| join(event, vec![ended("h", everything())]);
        let nothing = HookSays::default;
        let (stop, context) = (Some("enough (hook h)".to_owned()), vec!["mind".to_owned()]);
        let (no, both) = ("no (hook h)".to_owned(), vec!["mind".to_owned(), "no (hook h)".to_owned()]);
        for (event, says) in [
            (HookEvent::Notification, nothing()),
            (HookEvent::ModeChanged, nothing()),
            (HookEvent::PostToolUse, HookSays { stop: stop.clone(), context: both.clone(), ..nothing() }),
            (HookEvent::TurnEnd, HookSays { context: both.clone(), ..nothing() }),
            (
                HookEvent::Stop,
                HookSays {
                    stop: stop.clone(),
                    blocked: true,
                    reason: no.clone(),
                    context: both,
                    ..nothing()
                },
            ),
            (
                HookEvent::UserPromptSubmit,
                HookSays {
                    stop: stop.clone(),
                    blocked: true,
                    reason: no.clone(),
                    context: context.clone(),
                    ..nothing()
                },
            ),
            (
                HookEvent::PreToolUse,
                HookSays { stop, permission: Some(Decision::Deny), reason: no, context, ..nothing() },
            ),
        ] {
            let joined = told(event);
            assert_eq!(joined.says, says, "{event:?}");
            assert_eq!(joined.updated_input, None, "{event:?}");
        }
    }

    #[test]
    fn the_first_new_input_counts_and_a_denied_call_has_none() {
        let rewrite = |n: u32| HookAnswer::rewrite(serde_json::json!({ "n": n }));
        let joined = join(HookEvent::PreToolUse, vec![ended("a", rewrite(1)), ended("b", rewrite(2))]);
        assert_eq!(joined.updated_input, Some(serde_json::json!({"n": 1})));
        let joined =
            join(HookEvent::PreToolUse, vec![ended("a", rewrite(1)), ended("b", say(Decision::Deny))]);
        assert_eq!(joined.updated_input, None);
    }

    #[test]
    fn suppressed_output_is_kept_nowhere() {
        for (suppress, output) in [(false, "secret"), (true, "")] {
            let said = HookOutput { suppress, written: "secret".into(), ..HookOutput::default() };
            let joined = join(HookEvent::Stop, vec![ended("h", HookAnswer::Said(Box::new(said)))]);
            assert_eq!(joined.hooks[0].output, output);
        }
    }
}
