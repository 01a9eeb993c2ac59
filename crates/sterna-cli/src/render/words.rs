//! Words for people: what a call does in a line, how long it took, what it cost.

use serde_json::Value;
use sterna_model::{EventKind, GoalStatus, Mode, QuestionRef, Untrusted, WaitId};

use crate::print::one_line;
use crate::table::moment;

/// Characters of a call's description.
const BRIEF: usize = 100;

/// Somebody is waited for.
#[derive(Debug, Clone, PartialEq)]
pub enum Open {
    Approval {
        wait: WaitId,
        tool: String,
        summary: String,
        reason: String,
        /// The rule that asks, and where it stands.
        rule: Option<String>,
        preview: Option<String>,
        /// Texts of strangers that the model had read, each with how it looks.
        untrusted: Vec<String>,
        /// The call that it is about.
        call_id: String,
    },
    Questions {
        wait: WaitId,
        questions: Vec<QuestionRef>,
    },
    Plan {
        wait: WaitId,
        slug: String,
        content: String,
        /// The mode that a yes leads to.
        after: Mode,
    },
}

/// Where a goal stands, in a line.
pub fn goal(status: GoalStatus, why: &str, tokens: u64, budget: Option<u64>) -> String {
    let of = budget.map_or_else(String::new, |budget| format!(" of {budget}"));
    let why = if why.is_empty() { String::new() } else { format!(" ({})", one_line(why, 200)) };
    format!("goal {}{why}: {tokens}{of} tokens used", status.word())
}

impl Open {
    /// The wait that this event opens.
    pub fn of(kind: &EventKind) -> Option<Self> {
        match kind {
            EventKind::ApprovalRequested {
                wait,
                call_id,
                tool,
                summary,
                reason,
                rule,
                source,
                preview,
                untrusted,
            } => {
                let rule = rule.as_ref().map(|rule| match source {
                    Some(source) => format!("{rule} ({source})"),
                    None => rule.clone(),
                });
                let (wait, tool, summary) = (wait.clone(), tool.clone(), summary.clone());
                let (reason, preview) = (reason.clone(), preview.clone());
                let untrusted = untrusted.iter().map(stranger).collect();
                let call_id = call_id.clone();
                Some(Self::Approval { wait, tool, summary, reason, rule, preview, untrusted, call_id })
            }
            EventKind::QuestionAsked { wait, questions, .. } => {
                Some(Self::Questions { wait: wait.clone(), questions: questions.clone() })
            }
            EventKind::PlanSubmitted { wait, slug, content, after, .. } => {
                let (wait, slug, content) = (wait.clone(), slug.clone(), content.clone());
                Some(Self::Plan { wait, slug, content, after: *after })
            }
            _ => None,
        }
    }

    /// The wait that this event closes.
    pub fn closed_by(kind: &EventKind) -> Option<&WaitId> {
        match kind {
            EventKind::ApprovalResolved { wait, .. }
            | EventKind::QuestionAnswered { wait, .. }
            | EventKind::WaitEnded { wait, .. } => Some(wait),
            _ => None,
        }
    }

    pub fn wait(&self) -> &WaitId {
        match self {
            Self::Approval { wait, .. } | Self::Questions { wait, .. } | Self::Plan { wait, .. } => wait,
        }
    }
}

/// Where a text comes from, and what it looks like.
fn stranger(text: &Untrusted) -> String {
    match &text.flags[..] {
        [] => text.origin.clone(),
        flags => format!("{}, which looks as if it gives orders: {}", text.origin, flags.join(", ")),
    }
}

/// What a call is about: the argument that tells most.
pub fn brief(name: &str, arguments: &str) -> String {
    let args: Value = serde_json::from_str(arguments).unwrap_or(Value::Null);
    let told = ["command", "path", "pattern", "query", "url", "subject", "task", "name", "id"];
    let first = told.iter().find_map(|key| args.get(key).and_then(Value::as_str));
    let asked = || args.pointer("/questions/0/question").and_then(Value::as_str);
    let patched = || {
        let patch = args.get("patch").and_then(Value::as_str)?;
        patch.lines().find_map(|line| line.strip_prefix("*** ")?.split_once(" File: ").map(|(_, path)| path))
    };
    match first.or_else(asked).or_else(patched) {
        Some(text) => format!("{} {}", one_line(name, BRIEF), one_line(text, BRIEF)),
        None => one_line(name, BRIEF),
    }
}

/// A time in milliseconds as people read it.
pub fn seconds(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        _ => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
    }
}

/// Dollars, with as many digits as matter.
pub fn money(cost: Option<f64>) -> String {
    match cost {
        Some(0.0) => "$0".to_owned(),
        Some(cost) if cost < 0.01 => format!("${cost:.5}"),
        Some(cost) => format!("${cost:.2}"),
        None => "price not known".to_owned(),
    }
}

/// A count of tokens.
pub fn tokens(n: u64) -> String {
    match n {
        0..10_000 => n.to_string(),
        10_000..1_000_000 => format!("{}k", n / 1_000),
        _ => format!("{}.{}M", n / 1_000_000, n % 1_000_000 / 100_000),
    }
}

/// `1 step`, `2 steps`.
pub fn counted(n: u64, what: &str) -> String {
    if n == 1 { format!("{n} {what}") } else { format!("{n} {what}s") }
}

/// What a call waits for in which nobody is asked.
pub fn waits_for(signal: Option<&str>, until: Option<u64>) -> String {
    let until = until.map(|at| format!("until {}", moment(at)));
    match (signal, until) {
        (Some(name), None) => format!("waits for the signal {name}"),
        (Some(name), Some(until)) => format!("waits for the signal {name}, {until} at most"),
        (None, until) => format!("waits {}", until.unwrap_or_default()),
    }
}

/// Paths that a checkpoint does not hold: the first few, and how many more.
pub fn not_kept(names: &[String], all: u64) -> String {
    let mut text = names.iter().map(|name| one_line(name, 200)).collect::<Vec<_>>().join("; ");
    let more = all.saturating_sub(names.len() as u64);
    if more > 0 {
        text.push_str(&format!("; and {more} more"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_people() {
        assert_eq!(brief("shell", r#"{"command":"cargo  test\n -p x"}"#), "shell cargo test -p x");
        assert_eq!(brief("edit", r#"{"old_string":"a","path":"src/a.rs"}"#), "edit src/a.rs");
        assert_eq!(brief("ask_user", r#"{"questions":[{"question":"Which?"}]}"#), "ask_user Which?");
        let patch = r#"{"patch":"*** Begin Patch\n*** Update File: src/a.rs\n@@\n-a\n+b\n*** End Patch"}"#;
        assert_eq!(brief("apply_patch", patch), "apply_patch src/a.rs");
        assert_eq!(brief("todo", "{broken"), "todo");
        for (ms, text) in [(7, "7 ms"), (1_250, "1.2 s"), (59_999, "59.9 s"), (61_000, "1 min 1 s")] {
            assert_eq!(seconds(ms), text);
        }
        assert_eq!(money(Some(0.0)), "$0");
        assert_eq!(money(Some(0.001_234)), "$0.00123");
        assert_eq!(money(Some(1.5)), "$1.50");
        assert_eq!(money(None), "price not known");
        assert_eq!(
            (tokens(9_999), tokens(12_345), tokens(2_340_000)),
            ("9999".into(), "12k".into(), "2.3M".into())
        );
    }
}
