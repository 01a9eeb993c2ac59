//! What a classifier is asked about a call in mode `auto`, and how its answer is read.
//!
//! It sees what the call would do, what the person said and which calls were made: never what a tool answered, so that no
//! page and no file can speak to it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sterna_llm::{Item, Request, SystemPart, UserPart};
use sterna_model::{BlobRef, Digest, JudgePass, JudgeSays, Part, Route};

use crate::Transcript;

/// What a call would do, as policy has worked it out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JudgeCase {
    pub tool: String,
    pub summary: String,
    /// As the model gave them: placeholders stand for secrets.
    pub arguments: String,
    /// One line for each thing that it touches.
    pub effects: Vec<String>,
    /// The commands of its command line, as they were read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commands: Option<Value>,
    /// Why the mode would ask.
    pub why_asked: String,
    pub workspace: String,
    /// The level that would confine its commands: `none`, `landlock`, `bubblewrap`.
    pub sandbox: String,
    /// Texts of strangers were before the model that made the call.
    pub strangers: bool,
}

impl JudgeCase {
    /// What an answer is bound to: a call that would do anything else has to be judged anew.
    pub fn subject(&self) -> Digest {
        Digest(*blake3::hash(json!(self).to_string().as_bytes()).as_bytes())
    }
}

/// A request to a classifier before it has a route: what its blob holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JudgeAsked {
    pub system: String,
    pub text: String,
}

impl JudgeAsked {
    /// Puts a case into words. `child`: another agent said what the session is told. At most `chars` characters of what
    /// was said and called before go along, the newest.
    pub fn new(
        pass: JudgePass,
        case: &JudgeCase,
        transcript: &Transcript,
        child: bool,
        chars: usize,
    ) -> Self {
        let system = match pass {
            JudgePass::Quick => QUICK,
            JudgePass::Reasoned => REASONED,
        };
        let (said, calls) = told(transcript);
        let room = chars.min(TRANSCRIPT_CHARS) / 2;
        let calls = newest(calls, room, |(name, arguments)| {
            let arguments = cut(&arguments, PART_CHARS);
            (name.len() + arguments.len(), json!({ "tool": name, "arguments": arguments }))
        });
        let said = newest(said, room, |text| {
            let text = cut(&text, PART_CHARS);
            (text.len(), json!(text))
        });
        let by = if child { "an agent that the person's agent made a helper of" } else { "the person" };
        let mut call = json!(case);
        call["arguments"] = cut(&case.arguments, PART_CHARS).into();
        let text = json!({ "said_by": by, "said": said, "calls": calls, "call": call });
        Self { system: system.to_owned(), text: text.to_string() }
    }

    /// The name and the bytes of its blob.
    pub fn blob(&self) -> (BlobRef, Vec<u8>) {
        let bytes = json!(self).to_string().into_bytes();
        (BlobRef { hash: Digest(*blake3::hash(&bytes).as_bytes()), bytes: bytes.len() as u64 }, bytes)
    }

    /// Reads a blob.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|error| format!("not what a classifier was asked: {error}"))
    }

    /// The request: the same when it is sent, sent again, and in replay.
    pub fn request(&self, pass: JudgePass, route: &Route, max_output: u32, schema_native: bool) -> Request {
        Request {
            route: route.clone(),
            system: Arc::from([SystemPart { text: self.system.trim().to_owned(), boundary: true }]),
            tools: Arc::from([]),
            items: vec![Arc::new(Item::User(vec![self.text.clone()]))],
            tail: String::new(),
            tools_off: false,
            max_output,
            temperature: None,
            schema: schema_native.then(|| Arc::new(schema(pass))),
            thinking: None,
        }
    }
}

/// Reads what a classifier answered. An error says why that is no answer.
pub fn read_judgement(pass: JudgePass, text: &str) -> Result<(JudgeSays, String), String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Answer {
        decision: String,
        #[serde(default)]
        reason: String,
    }
    let text = text.trim();
    // Models like to put a fence round JSON. It is the same object.
    let fenced = text.strip_prefix("```json").or_else(|| text.strip_prefix("```"));
    let text = fenced.and_then(|rest| rest.strip_suffix("```")).unwrap_or(text);
    let answer: Answer = serde_json::from_str(text.trim())
        .map_err(|error| format!("its answer does not fit the schema: {error}: {}", cut(text, 200)))?;
    let reason = cut(answer.reason.trim(), REASON_CHARS);
    let says = match (pass, answer.decision.as_str()) {
        (_, "allow") => JudgeSays::Allow,
        // What it does not plainly allow, the other pass has to say.
        (JudgePass::Quick, "unsure" | "deny" | "ask") => JudgeSays::Unsure,
        (JudgePass::Reasoned, "deny") => JudgeSays::Deny,
        (JudgePass::Reasoned, "ask") => JudgeSays::Ask,
        (_, other) => {
            return Err(format!("its answer does not fit the schema: `{}` is no decision", cut(other, 100)));
        }
    };
    match (pass, says, reason.is_empty()) {
        (JudgePass::Reasoned, _, true) => Err("its answer does not fit the schema: it gave no reason".into()),
        _ => Ok((says, reason)),
    }
}

/// Tokens that a pass may write (design: 64, then 4,096).
pub fn judge_tokens(pass: JudgePass) -> u32 {
    match pass {
        JudgePass::Quick => 64,
        JudgePass::Reasoned => 4_096,
    }
}

fn schema(pass: JudgePass) -> Value {
    match pass {
        JudgePass::Quick => json!({
            "type": "object",
            "properties": {"decision": {"type": "string", "enum": ["allow", "unsure"]}},
            "required": ["decision"],
            "additionalProperties": false,
        }),
        JudgePass::Reasoned => json!({
            "type": "object",
            "properties": {
                "reason": {"type": "string"},
                "decision": {"type": "string", "enum": ["allow", "deny", "ask"]},
            },
            "required": ["reason", "decision"],
            "additionalProperties": false,
        }),
    }
}

/// What the person said and what the model called, oldest first. Nothing that a tool, a hook or a child answered, and
/// nothing that the model said of itself: neither is a reason to allow anything.
fn told(transcript: &Transcript) -> (Vec<String>, Vec<(String, String)>) {
    let (mut said, mut calls) = (Vec::new(), Vec::new());
    for entry in transcript.items() {
        if let Some(head) = &entry.head {
            said.extend(head.pinned.iter().map(|pin| pin.text.clone()));
            continue;
        }
        match &*entry.item {
            Item::User(_) | Item::Mixed(_)
                if entry.hook || entry.from.iter().any(|place| transcript.is_report(*place)) => {}
            Item::User(texts) => said.extend(texts.iter().cloned()),
            // A file's content is no word of the person.
            Item::Mixed(parts) => said.extend(parts.iter().filter_map(|part| match part {
                UserPart::Text(text) => Some(text.clone()),
                UserPart::File(_) => None,
            })),
            Item::Assistant(parts) => calls.extend(parts.iter().filter_map(|part| match part {
                Part::ToolCall(call) => Some((call.name.clone(), call.arguments.clone())),
                Part::Text(_) | Part::Reasoning(_) | Part::Opaque(_) => None,
            })),
            Item::Results(_) => {}
        }
    }
    (said, calls)
}

/// As many of the newest as fit, oldest first.
fn newest<T>(all: Vec<T>, room: usize, show: impl Fn(T) -> (usize, Value)) -> Vec<Value> {
    let mut left = room;
    let mut kept: Vec<Value> = Vec::new();
    for (size, value) in all.into_iter().rev().map(show) {
        if size > left {
            break;
        }
        left -= size;
        kept.push(value);
    }
    kept.reverse();
    kept
}

fn cut(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((at, _)) => format!("{} […]", &text[..at]),
        None => text.to_owned(),
    }
}

const QUICK: &str = include_str!("prompts/classifier_quick.md");
const REASONED: &str = include_str!("prompts/classifier.md");
/// Design: at most 200,000 characters of transcript, 32,000 a part.
const TRANSCRIPT_CHARS: usize = 200_000;
const PART_CHARS: usize = 32_000;
const REASON_CHARS: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_schema_is_an_answer() {
        use JudgePass::{Quick, Reasoned};
        for (pass, text, says) in [
            (Quick, r#"{"decision": "allow"}"#, Some((JudgeSays::Allow, ""))),
            (Quick, " {\"decision\":\"unsure\"}\n", Some((JudgeSays::Unsure, ""))),
            (Quick, r#"{"decision": "deny"}"#, Some((JudgeSays::Unsure, ""))),
            (Quick, "```json\n{\"decision\": \"allow\"}\n```", Some((JudgeSays::Allow, ""))),
            (Quick, "allow", None),
            (Quick, r#"{"decision": "yes"}"#, None),
            (Quick, r#"{"decision": "allow"} {"decision": "allow"}"#, None),
            (Quick, r#"{"decision": "allow", "sure": true}"#, None),
            (Quick, "", None),
            (Reasoned, r#"{"reason": "fine", "decision": "allow"}"#, Some((JudgeSays::Allow, "fine"))),
            (Reasoned, r#"{"reason": "no", "decision": "deny"}"#, Some((JudgeSays::Deny, "no"))),
            (Reasoned, r#"{"reason": "hm", "decision": "ask"}"#, Some((JudgeSays::Ask, "hm"))),
            (Reasoned, r#"{"reason": "hm", "decision": "unsure"}"#, None),
            (Reasoned, r#"{"decision": "allow"}"#, None),
            (Reasoned, r#"{"reason": "  ", "decision": "allow"}"#, None),
            (Reasoned, r#"{"reason": 1, "decision": "allow"}"#, None),
            (Reasoned, r#"Sure! {"reason": "fine", "decision": "allow"}"#, None),
        ] {
            let wanted = says.map(|(says, reason)| (says, reason.to_owned()));
            assert_eq!(read_judgement(pass, text).ok(), wanted, "{pass:?} {text}");
        }
    }

    #[test]
    fn the_newest_of_what_was_said_goes_along() {
        let show = |text: &str| (text.len(), json!(text));
        for (room, kept) in
            [(0, vec![]), (3, vec!["ccc"]), (5, vec!["bb", "ccc"]), (9, vec!["a", "bb", "ccc"])]
        {
            assert_eq!(newest(vec!["a", "bb", "ccc"], room, show), kept, "{room}");
        }
    }

    #[test]
    fn another_effect_is_another_subject() {
        let case = JudgeCase {
            tool: "shell".into(),
            summary: "make".into(),
            arguments: "{}".into(),
            effects: vec!["runs `make` in /w".into()],
            commands: None,
            why_asked: "arbitrary".into(),
            workspace: "/w".into(),
            sandbox: "none".into(),
            strangers: false,
        };
        let other = JudgeCase { effects: vec!["runs `make` in /v".into()], ..case.clone() };
        assert_eq!(case.subject(), case.clone().subject());
        assert_ne!(case.subject(), other.subject());
    }
}
