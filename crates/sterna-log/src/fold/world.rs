//! The session's world as its log tells it: file versions, todo items, grants, what changed, what was refused.

use std::collections::{BTreeMap, BTreeSet};

use sterna_model::{
    Body, Denial, Digest, EffectKey, EffectResult, Fact, Grant, GrantScope, Part, Record, TodoItem,
    TodoStatus, ToolCall, ToolStatus,
};

/// A fold of facts. `turn_*` fields are those of the last turn.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct World {
    /// Version of each file as last read or written in this session, by absolute path.
    pub files: BTreeMap<String, Digest>,
    /// Without the deleted ones.
    pub todos: BTreeMap<String, TodoItem>,
    pub grants: Vec<Grant>,
    pub turn_changed: BTreeSet<String>,
    pub turn_denials: Vec<Denial>,
    /// Calls of the last answer, to name those that were refused.
    calls: Vec<ToolCall>,
}

impl World {
    /// Folds one record.
    pub fn apply(&mut self, record: &Record) {
        match &record.body {
            Body::TurnStarted(_) => {
                self.turn_changed.clear();
                self.turn_denials.clear();
                self.grants.retain(|grant| grant.scope != GrantScope::Turn);
            }
            Body::Outcome(outcome) => match &outcome.result {
                EffectResult::Model(model) => {
                    self.calls = model
                        .parts
                        .iter()
                        .filter_map(|part| match part {
                            Part::ToolCall(call) => Some(call.clone()),
                            Part::Text(_) | Part::Reasoning(_) | Part::Opaque(_) => None,
                        })
                        .collect();
                }
                EffectResult::Tool(result) => {
                    result.facts.iter().for_each(|fact| self.learn(fact));
                    if result.status == ToolStatus::Denied {
                        self.deny(&outcome.key, &result.view);
                    }
                }
                EffectResult::ModelFailed(_) => {}
            },
            // A grant for once is the answer to its wait, and nothing more.
            Body::GrantGiven { grant, .. } if grant.scope == GrantScope::Once => {}
            Body::GrantGiven { grant, .. } => self.grants.push(grant.clone()),
            Body::GrantRevoked { content, .. } => self.grants.retain(|grant| grant.content != *content),
            Body::TodoSet { items, .. } => {
                self.todos.clear();
                items.iter().for_each(|item| self.todo(item));
            }
            Body::SessionOpened(_)
            | Body::TitleSet { .. }
            | Body::SessionClosed { .. }
            | Body::RouteChanged { .. }
            | Body::ModeChanged { .. }
            | Body::InputAccepted(_)
            | Body::InputEdited { .. }
            | Body::InputWithdrawn { .. }
            | Body::TurnCommitted(_)
            | Body::Intent(_)
            | Body::Attempt(_)
            | Body::InDoubt { .. }
            | Body::WaitOpened(_)
            | Body::WaitResolved { .. }
            | Body::CancelRequested { .. }
            | Body::LimitReached { .. } => {}
        }
    }

    /// Whether the last answer asked for calls.
    pub fn last_answer_called(&self) -> bool {
        !self.calls.is_empty()
    }

    fn learn(&mut self, fact: &Fact) {
        match fact {
            Fact::FileRead { path, hash } => {
                self.files.insert(path.clone(), *hash);
            }
            Fact::FileWritten { path, after, .. } => {
                self.files.insert(path.clone(), *after);
                self.turn_changed.insert(path.clone());
            }
            Fact::Todo(item) => self.todo(item),
            Fact::Command { .. } => {}
        }
    }

    fn todo(&mut self, item: &TodoItem) {
        if item.status == TodoStatus::Deleted {
            self.todos.remove(&item.id);
        } else {
            self.todos.insert(item.id.clone(), item.clone());
        }
    }

    fn deny(&mut self, key: &EffectKey, reason: &str) {
        if let Some(call) = self.calls.get(key.ordinal as usize) {
            let reason = reason.chars().take(500).collect();
            self.turn_denials.push(Denial { call_id: call.id.clone(), tool: call.name.clone(), reason });
        }
    }
}
