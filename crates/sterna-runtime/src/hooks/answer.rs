//! What a hook says: exit codes and JSON, as the agents that share the shape of `hooks.json` read them.

use serde_json::{Map, Value};
use sterna_model::{Decision, HookEvent};

use super::Dialect;

/// How a hook ended.
#[derive(Debug, Clone, PartialEq)]
pub enum HookAnswer {
    Said(Box<HookOutput>),
    /// It forbids what it was asked about, and why.
    Blocked(String),
    /// The turn is to end, and why.
    Stopped(String),
    /// Nobody knows what it would have said, and why.
    Failed(String),
}

/// A hook's answer in its parts. The default says nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HookOutput {
    /// `continue` is false: the turn ends, for this reason.
    pub stop: Option<String>,
    /// For the person.
    pub message: String,
    /// What it wrote is shown to nobody.
    pub suppress: bool,
    pub blocked: bool,
    pub permission: Option<Decision>,
    /// Why it is blocked, denied or asked for.
    pub reason: String,
    pub updated_input: Option<Value>,
    /// For the model.
    pub context: Option<String>,
    /// What it wrote, as it came.
    pub written: String,
}

impl HookAnswer {
    /// Nothing to say.
    pub fn nothing() -> Self {
        Self::Said(Box::default())
    }

    /// The model is told this with its next request.
    pub fn tell(context: impl Into<String>) -> Self {
        Self::Said(Box::new(HookOutput { context: Some(context.into()), ..HookOutput::default() }))
    }

    /// About the permission of a call.
    pub fn permission(decision: Decision, reason: impl Into<String>) -> Self {
        let (permission, reason) = (Some(decision), reason.into());
        Self::Said(Box::new(HookOutput { permission, reason, ..HookOutput::default() }))
    }

    /// The call is to run with this input.
    pub fn rewrite(input: Value) -> Self {
        Self::Said(Box::new(HookOutput { updated_input: Some(input), ..HookOutput::default() }))
    }
}

/// What a command left behind.
#[derive(Debug, Clone, Copy)]
pub struct Written<'a> {
    /// `None`: a signal ended it.
    pub exit_code: Option<i32>,
    pub stdout: &'a str,
    pub stderr: &'a str,
}

/// Reads the end of a command hook.
pub fn read_command(event: HookEvent, dialect: Dialect, written: Written) -> HookAnswer {
    let said = |otherwise: &str| match written.stderr.trim() {
        "" => otherwise.to_owned(),
        text => cut(text, MAX_TEXT),
    };
    match written.exit_code {
        Some(0) => read_output(event, dialect, written.stdout),
        Some(BLOCKS) => HookAnswer::Blocked(said("it gave no reason")),
        Some(STOPS) => HookAnswer::Stopped(said("it gave no reason")),
        Some(code) => HookAnswer::Failed(format!("exit code {code}: {}", said("it wrote no error"))),
        None => HookAnswer::Failed("it was ended by a signal".into()),
    }
}

fn read_output(event: HookEvent, dialect: Dialect, text: &str) -> HookAnswer {
    let written = cut(text.trim(), MAX_TEXT);
    if written.is_empty() {
        return HookAnswer::nothing();
    }
    match (serde_json::from_str(text), dialect) {
        (Ok(Value::Object(object)), _) => match read_object(event, &object) {
            Ok(output) => HookAnswer::Said(Box::new(HookOutput { written, ..output })),
            Err(why) => HookAnswer::Failed(why),
        },
        (_, Dialect::Imported) => {
            // There, text is for the model before it has read the prompt, and for nobody elsewhere.
            let tells = matches!(event, HookEvent::SessionStart | HookEvent::UserPromptSubmit);
            let context = tells.then(|| written.clone());
            HookAnswer::Said(Box::new(HookOutput { context, written, ..HookOutput::default() }))
        }
        (_, Dialect::Own) => {
            HookAnswer::Failed(format!("its output is no JSON object: {}", cut(&written, 200)))
        }
    }
}

fn read_object(event: HookEvent, object: &Map<String, Value>) -> Result<HookOutput, String> {
    let mut output = HookOutput {
        message: text(object, "systemMessage")?.unwrap_or_default(),
        suppress: flag(object, "suppressOutput")?.unwrap_or(false),
        reason: text(object, "reason")?.unwrap_or_default(),
        ..HookOutput::default()
    };
    if flag(object, "continue")? == Some(false) {
        let why = text(object, "stopReason")?;
        output.stop = Some(why.filter(|why| !why.is_empty()).unwrap_or_else(|| "it gave no reason".into()));
    }
    match text(object, "decision")?.as_deref() {
        None => {}
        Some("block") => output.blocked = true,
        Some("approve") => output.permission = Some(Decision::Allow),
        Some(other) => {
            return Err(format!("`decision` is `{}`, and not `block` or `approve`", cut(other, 100)));
        }
    }
    let Some(specific) = object.get("hookSpecificOutput").filter(|value| !value.is_null()) else {
        return Ok(output);
    };
    let specific = specific.as_object().ok_or("`hookSpecificOutput` is no object")?;
    output.context = text(specific, "additionalContext")?.filter(|context| !context.trim().is_empty());
    if let Some(word) = text(specific, "permissionDecision")? {
        output.permission = permission(&word)?;
    }
    if let Some(reason) = text(specific, "permissionDecisionReason")? {
        output.reason = reason;
    }
    if event == HookEvent::Elicitation {
        match text(specific, "action")?.as_deref() {
            // A hook does not answer for the person.
            None | Some("accept") => {}
            Some("decline" | "cancel") => output.blocked = true,
            Some(other) => {
                return Err(format!("`{}` is no action: accept, decline or cancel", cut(other, 100)));
            }
        }
    }
    output.updated_input = input(specific)?;
    if let Some(decision) = specific.get("decision").filter(|value| !value.is_null()) {
        // How a PermissionRequest is answered elsewhere.
        let decision = decision.as_object().ok_or("`hookSpecificOutput.decision` is no object")?;
        if let Some(word) = text(decision, "behavior")? {
            output.permission = permission(&word)?;
        }
        if let Some(reason) = text(decision, "message")? {
            output.reason = reason;
        }
        output.updated_input = input(decision)?.or(output.updated_input);
    }
    Ok(output)
}

fn permission(word: &str) -> Result<Option<Decision>, String> {
    match word {
        "allow" => Ok(Some(Decision::Allow)),
        "ask" => Ok(Some(Decision::Ask)),
        "deny" => Ok(Some(Decision::Deny)),
        "defer" => Ok(None),
        other => Err(format!("`{}` is no permission: allow, deny, ask or defer", cut(other, 100))),
    }
}

fn input(object: &Map<String, Value>) -> Result<Option<Value>, String> {
    match object.get("updatedInput") {
        None | Some(Value::Null) => Ok(None),
        Some(input @ Value::Object(_)) => Ok(Some(input.clone())),
        Some(_) => Err("`updatedInput` is no object".into()),
    }
}

fn text(object: &Map<String, Value>, key: &str) -> Result<Option<String>, String> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(cut(text, MAX_TEXT))),
        Some(_) => Err(format!("`{key}` is no text")),
    }
}

fn flag(object: &Map<String, Value>, key: &str) -> Result<Option<bool>, String> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(_) => Err(format!("`{key}` is neither true nor false")),
    }
}

/// At most this many bytes, cut at a character.
pub(super) fn cut(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let at = (0..=max).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{} […]", &text[..at])
}

/// Exit codes that say something.
const BLOCKS: i32 = 2;
const STOPS: i32 = 49;
/// Bytes of a reason, a message or a context.
const MAX_TEXT: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(exit_code: i32, stdout: &str, stderr: &str) -> HookAnswer {
        let written = Written { exit_code: Some(exit_code), stdout, stderr };
        read_command(HookEvent::PreToolUse, Dialect::Own, written)
    }

    fn said(output: HookOutput, stdout: &str) -> HookAnswer {
        HookAnswer::Said(Box::new(HookOutput { written: stdout.into(), ..output }))
    }

    #[test]
    fn exit_codes_mean_what_they_mean_elsewhere() {
        assert_eq!(read(0, "", "noise"), HookAnswer::nothing());
        assert_eq!(read(2, "{}", " no \n"), HookAnswer::Blocked("no".into()));
        assert_eq!(read(49, "", "enough"), HookAnswer::Stopped("enough".into()));
        assert_eq!(read(1, "", "oops"), HookAnswer::Failed("exit code 1: oops".into()));
        let gone = Written { exit_code: None, stdout: "", stderr: "" };
        let answer = read_command(HookEvent::Stop, Dialect::Own, gone);
        assert_eq!(answer, HookAnswer::Failed("it was ended by a signal".into()));
    }

    #[test]
    fn every_field_is_read() {
        let none = HookOutput::default;
        let specific = |value: Value| json!({ "hookSpecificOutput": value });
        for (value, output) in [
            (
                json!({"continue": false, "stopReason": "late"}),
                HookOutput { stop: Some("late".into()), ..none() },
            ),
            (json!({"continue": true, "stopReason": "late"}), none()),
            (json!({"systemMessage": "hello"}), HookOutput { message: "hello".into(), ..none() }),
            (json!({"suppressOutput": true}), HookOutput { suppress: true, ..none() }),
            (
                json!({"decision": "block", "reason": "no"}),
                HookOutput { blocked: true, reason: "no".into(), ..none() },
            ),
            (json!({"decision": "approve"}), HookOutput { permission: Some(Decision::Allow), ..none() }),
            (
                specific(json!({"permissionDecision": "deny", "permissionDecisionReason": "no"})),
                HookOutput { permission: Some(Decision::Deny), reason: "no".into(), ..none() },
            ),
            (
                specific(json!({"permissionDecision": "ask"})),
                HookOutput { permission: Some(Decision::Ask), ..none() },
            ),
            (specific(json!({"permissionDecision": "defer"})), none()),
            (
                specific(json!({"updatedInput": {"command": "ls"}})),
                HookOutput { updated_input: Some(json!({"command": "ls"})), ..none() },
            ),
            (
                specific(json!({"additionalContext": "mind the gap"})),
                HookOutput { context: Some("mind the gap".into()), ..none() },
            ),
            (
                specific(json!({"decision": {"behavior": "deny", "message": "no"}})),
                HookOutput { permission: Some(Decision::Deny), reason: "no".into(), ..none() },
            ),
            (json!({"unknown": 1, "reason": null}), none()),
        ] {
            let text = value.to_string();
            assert_eq!(read(0, &text, ""), said(output, &text), "{text}");
        }
    }

    #[test]
    fn a_question_of_a_server_is_declined_by_its_action() {
        for (event, action, blocked) in [
            (HookEvent::Elicitation, "decline", Some(true)),
            (HookEvent::Elicitation, "cancel", Some(true)),
            (HookEvent::Elicitation, "accept", Some(false)),
            (HookEvent::Elicitation, "shrug", None),
            (HookEvent::PreToolUse, "decline", Some(false)),
        ] {
            let text = json!({"hookSpecificOutput": {"action": action}}).to_string();
            let written = Written { exit_code: Some(0), stdout: &text, stderr: "" };
            let said = match read_command(event, Dialect::Imported, written) {
                HookAnswer::Said(output) => Some(output.blocked),
                _ => None,
            };
            assert_eq!(said, blocked, "{event:?} {action}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_a_failure() {
        for text in [
            "yes",
            "[]",
            "{",
            r#"{"continue": "no"}"#,
            r#"{"decision": "maybe"}"#,
            r#"{"systemMessage": 3}"#,
            r#"{"hookSpecificOutput": []}"#,
            r#"{"hookSpecificOutput": {"permissionDecision": "perhaps"}}"#,
            r#"{"hookSpecificOutput": {"updatedInput": "ls"}}"#,
        ] {
            assert!(matches!(read(0, text, ""), HookAnswer::Failed(_)), "{text}");
        }
    }

    #[test]
    fn imported_hooks_may_write_text() {
        let read = |event| {
            let written = Written { exit_code: Some(0), stdout: "on branch x\n", stderr: "" };
            read_command(event, Dialect::Imported, written)
        };
        let context = |context: Option<&str>| {
            said(HookOutput { context: context.map(str::to_owned), ..HookOutput::default() }, "on branch x")
        };
        assert_eq!(read(HookEvent::SessionStart), context(Some("on branch x")));
        assert_eq!(read(HookEvent::PostToolUse), context(None));
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        assert_eq!(cut("aéb", 2), "a […]");
        assert_eq!(cut("aéb", 4), "aéb");
    }
}
