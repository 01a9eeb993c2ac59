//! Whether a step achieved anything: measured on state, never on phrases.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sterna_model::{Fact, ToolCall, ToolOutcome};

/// What the turn has seen so far.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// Hashes of calls with their results, and of the states that files and todo items had.
    seen: BTreeSet<u64>,
    /// The running step brought something new.
    fresh: bool,
    /// Steps in a row that brought nothing new.
    stalled: u32,
    /// The last call that brought nothing new, for the evidence.
    repeated: Option<String>,
}

impl Progress {
    pub fn observe(&mut self, call: &ToolCall, outcome: &ToolOutcome) {
        let answer = [call.name.as_str(), &call.arguments, outcome.status.word(), &outcome.view];
        let mut news = self.seen.insert(fingerprint(&answer));
        for fact in &outcome.facts {
            news |= match fact {
                Fact::FileWritten { path, after, .. } => {
                    self.seen.insert(fingerprint(&["file", path, &after.to_string()]))
                }
                Fact::FileRemoved { path, .. } => self.seen.insert(fingerprint(&["file", path, "gone"])),
                Fact::Todo(item) => self.seen.insert(fingerprint(&["todo", &item.id, &format!("{item:?}")])),
                // Reading and running show their news in the answer itself.
                Fact::Child(_) | Fact::ChildClosed(_) | Fact::Goal(_) | Fact::Continued(_) => true,
                Fact::FileRead { .. } | Fact::Command { .. } | Fact::ToolsFound { .. } => false,
            };
        }
        self.fresh |= news;
        if !news {
            self.repeated = Some(format!("{} {}", call.name, cut(&call.arguments, 200)));
        }
    }

    /// Ends a step that called tools.
    pub fn step_ended(&mut self) {
        self.stalled = if self.fresh { 0 } else { self.stalled + 1 };
        self.fresh = false;
    }

    pub fn stalled(&self) -> u32 {
        self.stalled
    }

    /// For people: what was repeated.
    pub fn evidence(&self) -> String {
        let call = self.repeated.as_deref().unwrap_or("nothing");
        format!("{} steps in a row brought nothing new; the last repeated call is: {call}", self.stalled)
    }
}

fn fingerprint(parts: &[&str]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let mut first = [0u8; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(first)
}

/// The first `max` characters.
pub(crate) fn cut(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
