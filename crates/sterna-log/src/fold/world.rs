//! The session's world as its log tells it: file versions, todo items, grants, what changed, what was refused.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sterna_model::{
    Body, Checked, ChildEnd, ChildRef, CompactStage, Denial, Digest, EffectKey, EffectResult, Fact, Grant,
    GrantScope, MemoryChange, NanoUsd, Part, RecalledNote, Record, Ruling, Seq, SessionId, SpentOf, TodoItem,
    TodoStatus, ToolCall, ToolStatus, WaitOn,
};

/// A fold of facts. `turn_*` fields are those of the last turn.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct World {
    /// Version of each file as last read or written in this session, by absolute path.
    pub files: BTreeMap<String, Digest>,
    /// Without the deleted ones.
    pub todos: BTreeMap<String, TodoItem>,
    /// Deferred tools that the model was shown.
    pub found: BTreeSet<String>,
    pub grants: Vec<Grant>,
    /// Child sessions that this one made and has not closed. A fork has none: they are its parent's.
    pub children: BTreeMap<SessionId, Child>,
    /// Files went back and the conversation did not: what it says of them is not so. Until the next turn ends.
    pub files_rewound: bool,
    pub turn_changed: BTreeSet<String>,
    pub turn_denials: Vec<Denial>,
    /// Why the last final answer did not fit the turn's output schema.
    pub schema_errors: Vec<String>,
    /// Notes that the turn was reminded of when it began.
    pub recalled: Vec<RecalledNote>,
    /// What the session works towards.
    pub goal: super::Goals,
    /// What the session is called.
    pub title: super::Titled,
    /// Notes of its own were kept in this log at some time.
    pub has_notes: bool,
    /// Calls of the last answer, to name those that were refused.
    calls: Vec<ToolCall>,
    /// The record that gave each of `grants`; 0 for those of shared history.
    given: Vec<Seq>,
    /// What `files`, `todos` and `found` held before records of this log changed them, oldest first.
    before: Vec<(Seq, Before)>,
    /// The record that is being folded.
    at: Seq,
}

/// A child session, as its maker's log knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Child {
    /// What it was told last.
    pub last: ChildRef,
    /// How that ended.
    pub end: Option<ChildEnd>,
    /// What its ended turns used up.
    pub tokens: u64,
    /// `None` when the price of a call is not known.
    pub cost: Option<NanoUsd>,
    /// The turns that are in these sums. An end may be told twice: to who waits for it, and as an input.
    counted: BTreeSet<SpentOf>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Before {
    File(String, Option<Digest>),
    Todo(String, Option<TodoItem>),
    FilesRewound(bool),
    /// The tool was known then, or was not.
    Found(String, bool),
}

impl World {
    /// Folds one record.
    pub fn apply(&mut self, record: &Record) {
        self.at = record.seq;
        self.title.apply(record);
        match &record.body {
            Body::TurnStarted(_) => {
                self.turn_changed.clear();
                self.turn_denials.clear();
                self.schema_errors.clear();
                self.recalled.clear();
                self.keep_grants(|grant, _| grant.scope != GrantScope::Turn);
            }
            Body::Outcome(outcome) => match &outcome.result {
                EffectResult::Model(model) => {
                    if let Some(checked) = &model.checked {
                        self.schema_errors = match checked {
                            Checked::Errors(errors) => errors.clone(),
                            Checked::Value(_) => Vec::new(),
                        };
                    }
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
                EffectResult::ModelFailed(_) | EffectResult::Summary(_) | EffectResult::Judged(_) => {}
            },
            // A grant for once is the answer to its wait, and nothing more. One that is stored holds where it is stored.
            Body::GrantGiven { grant, .. } if grant.scope == GrantScope::Once || grant.scope.is_stored() => {}
            Body::GrantGiven { grant, .. } => {
                self.grants.push(grant.clone());
                self.given.push(record.seq);
            }
            Body::GrantRevoked { content, .. } => self.keep_grants(|grant, _| grant.content != *content),
            Body::TodoSet { items, .. } => {
                let gone: Vec<String> = self.todos.keys().cloned().collect();
                gone.into_iter().for_each(|id| self.set(Before::Todo(id, None)));
                items.iter().for_each(|item| self.todo(item));
            }
            // What was recalled was recalled for words that a new window does not begin with.
            Body::Compacted(compacted) if compacted.stage == CompactStage::Frame => self.recalled.clear(),
            Body::Compacted(_) => {}
            Body::Memory(change) => match &**change {
                MemoryChange::Recalled { notes } => self.recalled.clone_from(notes),
                MemoryChange::Kept(_) => self.has_notes = true,
                MemoryChange::Forgotten { .. } | MemoryChange::Used { .. } => {}
            },
            Body::WaitOpened(opened) => {
                if let WaitOn::Child(turn) = &opened.on {
                    // One in the background that is waited for may outlast the wait.
                    let held = self.children.get(&turn.session).map(|child| &child.last);
                    let background =
                        held.is_some_and(|last| last.background && last.turn.input == turn.input);
                    self.child(&ChildRef { turn: turn.clone(), background });
                }
            }
            Body::WaitResolved { ruling: Ruling::Ended(end), .. } => self.child_ended(end),
            Body::InputAccepted(input) => input.ended.iter().for_each(|end| self.child_ended(end)),
            // A fork counts its records anew.
            Body::SessionOpened(opened) => {
                if opened.spawned.is_some() {
                    // An agent that begins with what its maker knows has none of what its maker was granted.
                    self.keep_grants(|_, _| false);
                }
                self.before.clear();
                self.children.clear();
                self.given.fill(0);
            }
            Body::Rewound(rewound) if rewound.conversation => self.rewind(rewound.to),
            Body::Rewound(rewound) => {
                self.set(Before::FilesRewound(self.files_rewound || rewound.files.is_some()));
            }
            Body::TurnCommitted(_) if self.files_rewound => self.set(Before::FilesRewound(false)),
            Body::CheckpointTaken(_)
            | Body::Budget(_)
            | Body::HookIntent(_)
            | Body::CheckpointMissed { .. }
            | Body::TitleSet { .. }
            | Body::SessionClosed { .. }
            | Body::RouteChanged { .. }
            | Body::ModeChanged { .. }
            | Body::InputEdited { .. }
            | Body::InputWithdrawn { .. }
            | Body::TurnCommitted(_)
            | Body::Intent(_)
            | Body::Attempt(_)
            | Body::InDoubt { .. }
            | Body::WaitResolved { .. }
            | Body::CancelRequested { .. }
            | Body::LimitReached { .. }
            | Body::CompactionMissed { .. }
            | Body::HookRan(_)
            | Body::Automation(_)
            // It has a fold of its own.
            | Body::Goal(_) => {}
        }
    }

    /// Forgets what only a rewind to a record before the last one could ask for.
    pub fn forget_past(&mut self) {
        self.before = Vec::new();
    }

    /// Whether the last answer asked for calls.
    pub fn last_answer_called(&self) -> bool {
        !self.calls.is_empty()
    }

    fn learn(&mut self, fact: &Fact) {
        match fact {
            Fact::FileRead { path, hash } => self.set(Before::File(path.clone(), Some(*hash))),
            Fact::FileWritten { path, after, .. } => {
                self.set(Before::File(path.clone(), Some(*after)));
                self.turn_changed.insert(path.clone());
            }
            Fact::FileRemoved { path, .. } => {
                self.set(Before::File(path.clone(), None));
                self.turn_changed.insert(path.clone());
            }
            Fact::Todo(item) => self.todo(item),
            Fact::Child(child) => self.child(child),
            Fact::ChildClosed(session) => drop(self.children.remove(session)),
            Fact::ToolsFound { names } => {
                names.iter().for_each(|name| self.set(Before::Found(name.clone(), true)));
            }
            Fact::Command { .. } | Fact::Goal(_) | Fact::Continued(_) => {}
        }
    }

    fn child(&mut self, child: &ChildRef) {
        // What was told again, with nothing new, keeps its end.
        let fresh =
            Child { last: child.clone(), end: None, tokens: 0, cost: Some(0), counted: BTreeSet::new() };
        let held = self.children.entry(child.turn.session.clone()).or_insert(fresh);
        held.end = held.end.take().filter(|end| end.input == child.turn.input);
        held.last = child.clone();
    }

    fn child_ended(&mut self, end: &ChildEnd) {
        self.turn_changed.extend(end.changed_files.iter().cloned());
        let Some(child) = self.children.get_mut(&end.session) else { return };
        if child.counted.insert(end.spent_of()) {
            for spent in &end.spent {
                child.tokens = child.tokens.saturating_add(spent.usage.total());
                child.cost = child.cost.zip(spent.cost).map(|(sum, cost)| sum.saturating_add(cost));
            }
        }
        if child.last.turn.input == end.input {
            child.end = Some(end.clone());
        }
    }

    fn todo(&mut self, item: &TodoItem) {
        let kept = (item.status != TodoStatus::Deleted).then(|| item.clone());
        self.set(Before::Todo(item.id.clone(), kept));
    }

    /// Gives a file, an item or a tool this value, and remembers the one before.
    fn set(&mut self, value: Before) {
        let before = match value {
            Before::File(path, hash) => {
                let held = match hash {
                    Some(hash) => self.files.insert(path.clone(), hash),
                    None => self.files.remove(&path),
                };
                if held == hash {
                    return;
                }
                Before::File(path, held)
            }
            Before::FilesRewound(now) => {
                Before::FilesRewound(std::mem::replace(&mut self.files_rewound, now))
            }
            Before::Found(name, now) => {
                let changed = if now { self.found.insert(name.clone()) } else { self.found.remove(&name) };
                if !changed {
                    return;
                }
                Before::Found(name, !now)
            }
            Before::Todo(id, item) => {
                let held = match item {
                    Some(item) => self.todos.insert(id.clone(), item),
                    None => self.todos.remove(&id),
                };
                Before::Todo(id, held)
            }
        };
        self.before.push((self.at, before));
    }

    /// Files, todo list and found tools are what they were after the record `to`. Rights only shrink: a grant that was given since
    /// goes, and one that was taken back since stays away.
    fn rewind(&mut self, to: Seq) {
        let since = self.before.partition_point(|(at, _)| *at <= to);
        // It is a change like any other, so that it can be taken back too.
        let undone: Vec<Before> =
            self.before[since..].iter().rev().map(|(_, before)| before.clone()).collect();
        undone.into_iter().for_each(|before| self.set(before));
        self.keep_grants(|_, given| given <= to);
        self.calls.clear();
    }

    fn keep_grants(&mut self, keep: impl Fn(&Grant, Seq) -> bool) {
        let held = std::mem::take(&mut self.grants).into_iter().zip(std::mem::take(&mut self.given));
        (self.grants, self.given) = held.filter(|(grant, given)| keep(grant, *given)).unzip();
    }

    fn deny(&mut self, key: &EffectKey, reason: &str) {
        if let Some(call) = self.calls.get(key.ordinal as usize) {
            let reason = reason.chars().take(500).collect();
            self.turn_denials.push(Denial { call_id: call.id.clone(), tool: called(call), reason });
        }
    }
}

/// The tool that a call is about: the one inside, for `call_tool`.
fn called(call: &ToolCall) -> String {
    let inside =
        (call.name == "call_tool").then(|| serde_json::from_str::<serde_json::Value>(&call.arguments).ok());
    let name = inside.flatten().and_then(|args| Some(args.get("name")?.as_str()?.to_owned()));
    name.unwrap_or_else(|| call.name.clone())
}
