//! Session logs of other agents. Each reader turns its format into the same few items, and counts by kind what they
//! cannot hold; `build` makes a valid log of the items.

mod build;
mod claude;
mod codex;
mod json;
mod opencode;
mod pi;
mod time;

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;
use sterna_log::digest;
use sterna_model::{Billed, Millis, ModelStop, Part, Route, TodoItem, ToolStatus};

use crate::plan::{Imported, Plan, appends_of, summary};
use crate::{ForeignError, ImportError, NewSession};

/// An agent whose session logs can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Agent {
    Claude,
    Codex,
    Opencode,
    Pi,
}

impl Agent {
    pub const ALL: [Self; 4] = [Self::Claude, Self::Codex, Self::Opencode, Self::Pi];

    pub fn word(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Codex => "codex",
            Self::Opencode => "opencode",
            Self::Pi => "pi",
        }
    }
}

/// Another agent's session, as far as it can be had.
#[derive(Debug)]
pub struct Foreign {
    pub agent: Agent,
    /// The name it has there.
    pub session: Option<String>,
    pub title: Option<String>,
    /// The folder it worked in.
    pub folder: Option<String>,
    /// What is in the log and not in the new session, by kind.
    pub left_out: BTreeMap<String, u64>,
    pub(crate) items: Vec<Item>,
    pub(crate) todos: Vec<TodoItem>,
    /// Hash of the file.
    hash: String,
}

/// What was said, in order.
#[derive(Debug)]
pub(crate) enum Item {
    User { at: Millis, text: String },
    Step(Step),
}

impl Item {
    /// An answer that says nothing and cost nothing.
    fn is_nothing(&self) -> bool {
        matches!(self, Self::Step(step) if step.parts.is_empty() && step.billed == Billed::default())
    }
}

/// One answer of a model, and what became of its calls.
#[derive(Debug)]
pub(crate) struct Step {
    pub at: Millis,
    /// Name of the message that this is, where it may come in pieces.
    pub message: Option<String>,
    pub route: Option<Route>,
    pub parts: Vec<Part>,
    pub stop: Option<ModelStop>,
    pub billed: Billed,
    /// Results by the place of their call among the calls.
    pub results: BTreeMap<usize, Answer>,
}

/// The result of a call.
#[derive(Debug)]
pub(crate) struct Answer {
    pub at: Millis,
    pub status: ToolStatus,
    pub text: String,
    pub exit_code: Option<i32>,
}

/// Reads a session log. Without `from`, the content says whose it is.
pub fn read_foreign(bytes: &[u8], from: Option<Agent>) -> Result<Foreign, ForeignError> {
    let agent = match from {
        Some(agent) => agent,
        None => detect(bytes).ok_or(ForeignError::Unknown)?,
    };
    let mut read = Reading::default();
    let known = match agent {
        Agent::Claude => claude::read(bytes, &mut read),
        Agent::Codex => codex::read(bytes, &mut read),
        Agent::Opencode => opencode::read(bytes, &mut read),
        Agent::Pi => pi::read(bytes, &mut read),
    };
    if !known {
        return Err(ForeignError::Not(agent.word()));
    }
    read.items.retain(|item| !item.is_nothing());
    if read.items.is_empty() {
        return Err(ForeignError::Empty);
    }
    let Reading { session, title, folder, left_out, items, todos } = read;
    let title = title.map(|title| words(&title)).filter(|title| !title.is_empty());
    let hash = digest(bytes).to_string();
    Ok(Foreign { agent, session, title, folder, left_out, items, todos, hash })
}

impl Foreign {
    /// Makes a new session of it. `route`: for a log that names no model.
    pub fn plan(&mut self, new: &NewSession, route: &Route) -> Result<Plan, ImportError> {
        let origin = format!(
            "import: {} session `{}`, blake3 {}",
            self.agent.word(),
            self.session.as_deref().unwrap_or("?"),
            self.hash
        );
        let built = build::build(self, new, route, origin)?;
        let imported: Imported = summary(&built.writer, Vec::new());
        let id = format!("import:{}", self.hash);
        let appends = appends_of(&new.id, &id, built.writer.drafts, built.blobs)?;
        Ok(Plan { appends, imported })
    }
}

/// Whose log this is, by what its first lines hold.
fn detect(bytes: &[u8]) -> Option<Agent> {
    let found = json::lines(bytes).take(LOOKED_AT).flatten().find_map(|line| {
        let has = |key: &str| line.get(key).is_some();
        match json::text(&line, "type") {
            Some("session_meta" | "turn_context" | "response_item") if has("payload") => Some(Agent::Codex),
            Some("session") if has("id") && has("cwd") => Some(Agent::Pi),
            Some(_) if has("sessionId") || has("leafUuid") => Some(Agent::Claude),
            None if has("id") && has("timestamp") && has("instructions") => Some(Agent::Codex),
            _ => None,
        }
    });
    found.or_else(|| opencode::is_one(bytes).then_some(Agent::Opencode))
}

/// What a reader has gathered.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    pub session: Option<String>,
    pub title: Option<String>,
    pub folder: Option<String>,
    pub left_out: BTreeMap<String, u64>,
    pub items: Vec<Item>,
    pub todos: Vec<TodoItem>,
}

impl Reading {
    /// Counts something that the new session cannot hold.
    pub fn leave_out(&mut self, kind: impl Into<String>) {
        *self.left_out.entry(kind.into()).or_default() += 1;
    }

    pub fn user(&mut self, at: Millis, text: String) {
        if !text.trim().is_empty() {
            self.items.push(Item::User { at, text });
        }
    }

    /// The last answer, if nothing of a person came after it.
    pub fn last_step(&mut self) -> Option<&mut Step> {
        match self.items.last_mut() {
            Some(Item::Step(step)) => Some(step),
            Some(Item::User { .. }) | None => None,
        }
    }

    /// A new answer.
    pub fn step(&mut self, at: Millis, route: Option<Route>) -> Option<&mut Step> {
        self.items.push(Item::Step(Step {
            at,
            message: None,
            route,
            parts: Vec::new(),
            stop: None,
            billed: Billed::default(),
            results: BTreeMap::new(),
        }));
        self.last_step()
    }

    /// Gives a result to the newest call of this id that has none.
    pub fn answer(&mut self, call_id: &str, answer: Answer) {
        let steps = self.items.iter_mut().rev().filter_map(|item| match item {
            Item::Step(step) => Some(step),
            Item::User { .. } => None,
        });
        for step in steps {
            let calls = step.parts.iter().filter_map(|part| match part {
                Part::ToolCall(call) => Some(call.id.as_str()),
                Part::Text(_) | Part::Reasoning(_) | Part::Opaque(_) => None,
            });
            let open: Vec<usize> =
                calls.enumerate().filter(|(_, id)| *id == call_id).map(|(at, _)| at).collect();
            if let Some(at) = open.iter().find(|at| !step.results.contains_key(at)) {
                step.results.insert(*at, answer);
                return;
            }
            if !open.is_empty() {
                return self.leave_out("second result of a call");
            }
        }
        self.leave_out("result without its call");
    }

    /// Another answer to a call that has one: how its command ended.
    pub fn exited(&mut self, call_id: &str, exit_code: i32) -> bool {
        for item in self.items.iter_mut().rev() {
            let Item::Step(step) = item else { continue };
            let mut calls = step.parts.iter().filter_map(|part| match part {
                Part::ToolCall(call) => Some(call.id.as_str()),
                Part::Text(_) | Part::Reasoning(_) | Part::Opaque(_) => None,
            });
            let Some(at) = calls.position(|id| id == call_id) else { continue };
            let Some(answer) = step.results.get_mut(&at) else { return false };
            answer.exit_code = Some(exit_code);
            if exit_code != 0 {
                answer.status = ToolStatus::Failed;
            }
            return true;
        }
        false
    }
}

/// A route of names that others gave. Characters that a route cannot have become `-`.
pub(crate) fn route(provider: &str, model: &str) -> Option<Route> {
    let word = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let provider: String = provider.chars().take(64).map(word).collect();
    let model: String =
        model.chars().take(200).map(|c| if c.is_control() || c.is_whitespace() { '-' } else { c }).collect();
    if provider.is_empty() || model.is_empty() { None } else { format!("{provider}/{model}").parse().ok() }
}

/// Dollars in the unit of the ledger.
pub(crate) fn nano(dollars: f64) -> Option<u64> {
    let nano = dollars * 1e9;
    (nano.is_finite() && (0.0..1e18).contains(&nano)).then_some(nano.round() as u64)
}

/// Bytes that go with a session.
pub(crate) type Kept = Vec<Bytes>;

fn words(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(200).collect()
}

/// Lines that are looked at to know whose log it is.
const LOOKED_AT: usize = 50;
