//! The session's goal as its log tells it: where it stands, what was used for it, whether its turns go forward.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sterna_model::{
    Body, EffectResult, Fact, Goal, GoalChange, GoalStatus, Part, Record, Seq, ToolCall, ToolOutcome,
};

/// A goal, and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GoalState {
    pub goal: Goal,
    pub status: GoalStatus,
    /// Why it is not active any more.
    pub why: String,
    /// Tokens of all kinds that the session has used since it was set, children's included.
    pub tokens: u64,
    /// Turns of its own in a row that brought nothing new.
    pub stalled: u32,
    /// Turns of its own that were queued.
    pub turns: u64,
    /// Its last turn was queued: the one that says what is done and what is left.
    pub wrapping: bool,
    /// Inputs that go on with it.
    inputs: BTreeSet<Seq>,
    /// The running turn is one of its own.
    own: bool,
    /// The running turn brought something new.
    fresh: bool,
    /// What its turns have seen: calls with their results, states of files.
    seen: BTreeSet<u64>,
}

impl GoalState {
    fn new(goal: Goal) -> Self {
        Self {
            goal,
            status: GoalStatus::Active,
            why: String::new(),
            tokens: 0,
            stalled: 0,
            turns: 0,
            wrapping: false,
            inputs: BTreeSet::new(),
            own: false,
            fresh: false,
            seen: BTreeSet::new(),
        }
    }

    pub fn is_active(&self) -> bool {
        self.status == GoalStatus::Active
    }

    /// The key of the input that goes on with it next.
    pub fn next_key(&self) -> String {
        format!("goal:{}:{}", self.goal.id, self.turns + 1)
    }

    /// The key of the input that ends it when its budget does.
    pub fn last_key(&self) -> String {
        format!("goal:{}:{LAST}{}", self.goal.id, self.turns + 1)
    }

    fn own_input(&mut self, seq: Seq, key: &str) {
        let Some(rest) = key.strip_prefix("goal:").and_then(|key| key.strip_prefix(&self.goal.id)) else {
            return;
        };
        self.turns += 1;
        self.wrapping |= rest.starts_with(&format!(":{LAST}"));
        self.inputs.insert(seq);
    }

    fn observe(&mut self, call: Option<&ToolCall>, outcome: &ToolOutcome) {
        let (name, arguments) = call.map_or(("", ""), |call| (call.name.as_str(), call.arguments.as_str()));
        self.fresh |= self.seen.insert(fingerprint(&[name, arguments, outcome.status.word(), &outcome.view]));
        for fact in &outcome.facts {
            self.fresh |= match fact {
                Fact::FileWritten { path, after, .. } => {
                    self.seen.insert(fingerprint(&["file", path, &after.to_string()]))
                }
                Fact::FileRemoved { path, .. } => self.seen.insert(fingerprint(&["file", path, "gone"])),
                Fact::Todo(item) => self.seen.insert(fingerprint(&["todo", &item.id, &format!("{item:?}")])),
                Fact::Child(_)
                | Fact::ChildClosed(_)
                | Fact::FileRead { .. }
                | Fact::Command { .. }
                | Fact::ToolsFound { .. }
                | Fact::Continued(_)
                | Fact::Goal(_) => false,
            };
        }
    }

    fn turn_ended(&mut self) {
        match (self.fresh, self.own) {
            (true, _) => self.stalled = 0,
            (false, true) => self.stalled += 1,
            // A person asked something: that is no turn of its own.
            (false, false) => {}
        }
        (self.fresh, self.own) = (false, false);
    }
}

/// Folds a session's goal.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Goals {
    held: Option<GoalState>,
    /// Calls of the last answer.
    calls: Vec<ToolCall>,
}

impl Goals {
    /// The goal that the session has, whatever its status.
    pub fn held(&self) -> Option<&GoalState> {
        self.held.as_ref()
    }

    /// Folds one record, with the tokens that it says were used.
    pub fn apply(&mut self, record: &Record, tokens: u64) {
        if let Some(held) = &mut self.held {
            held.tokens = held.tokens.saturating_add(tokens);
        }
        match &record.body {
            Body::Goal(change) => self.change(change),
            // A fork works on nothing: the goal is its parent's.
            Body::SessionOpened(_) => *self = Self::default(),
            Body::Outcome(outcome) => match &outcome.result {
                EffectResult::Model(model) => {
                    let call = |part: &Part| match part {
                        Part::ToolCall(call) => Some(call.clone()),
                        Part::Text(_) | Part::Reasoning(_) | Part::Opaque(_) => None,
                    };
                    // Nobody asks for them where there is no goal.
                    self.calls = match self.held {
                        Some(_) => model.parts.iter().filter_map(call).collect(),
                        None => Vec::new(),
                    };
                }
                EffectResult::Tool(tool) => {
                    if let Some(held) = &mut self.held {
                        held.observe(self.calls.get(outcome.key.ordinal as usize), tool);
                    }
                    for fact in &tool.facts {
                        if let Fact::Goal(change) = fact {
                            self.change(change);
                        }
                    }
                }
                EffectResult::ModelFailed(_) | EffectResult::Summary(_) | EffectResult::Judged(_) => {}
            },
            Body::InputAccepted(input) => {
                if let (Some(held), Some(key)) = (&mut self.held, &input.key) {
                    held.own_input(record.seq, key);
                }
            }
            Body::TurnStarted(started) => {
                if let Some(held) = &mut self.held {
                    held.own = started.inputs.iter().any(|input| held.inputs.remove(input));
                }
            }
            Body::TurnCommitted(_) => {
                if let Some(held) = &mut self.held {
                    held.turn_ended();
                }
            }
            // Whoever takes the session back says how it goes on.
            Body::Rewound(rewound) if rewound.conversation => {
                if let Some(held) = self.held.as_mut().filter(|held| held.is_active()) {
                    held.status = GoalStatus::Paused;
                    held.why = "the session was taken back".into();
                }
            }
            _ => {}
        }
    }

    fn change(&mut self, change: &GoalChange) {
        match change {
            GoalChange::Set(goal) => match self.held.as_mut().filter(|held| held.goal.id == goal.id) {
                // The same one with another budget.
                Some(held) => held.goal = goal.clone(),
                None => self.held = Some(GoalState::new(goal.clone())),
            },
            GoalChange::Status { status, why, .. } => {
                if let Some(held) = &mut self.held {
                    (held.status, held.why) = (*status, why.clone());
                    if held.is_active() {
                        (held.stalled, held.wrapping) = (0, false);
                    }
                }
            }
            GoalChange::Cleared { .. } => self.held = None,
        }
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

/// What keys of last turns have before their number.
const LAST: &str = "last-";
