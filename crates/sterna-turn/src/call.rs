//! A call of the current step, and where it stands.

use serde::{Deserialize, Serialize};
use sterna_model::{ChildTurn, Digest, EffectClass, Judging, Millis, Rewrite, Ruling, ToolCall, WaitId};

/// A call of the current step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TurnCall {
    pub call: ToolCall,
    pub class: EffectClass,
    /// Attempts that have an intent.
    pub started: u32,
    /// When the intent of the last one was written; 0 before the first.
    #[serde(default)]
    pub intended_at: Millis,
    pub state: CallState,
    /// What a person said last, once somebody was asked.
    pub ruling: Option<Ruling>,
    /// A person has allowed it.
    pub approved: bool,
    /// The places that it was allowed for. `None`: wherever it leads.
    #[serde(default)]
    pub approved_for: Option<Digest>,
    /// How often somebody was asked.
    pub waits: u32,
    /// `started` when somebody was asked last.
    pub asked_at: u32,
    /// The attempt of which a person is to say whether it is run again; 0: none.
    #[serde(default)]
    pub doubted: u32,
    /// The last attempt is being taken back.
    #[serde(default)]
    pub undoing: bool,
    /// How often its arguments were replaced, by hooks and by people.
    #[serde(default)]
    pub changes: u32,
    /// How often hooks did.
    #[serde(default)]
    pub rewrites: u32,
    /// What a classifier was asked about it last.
    #[serde(default)]
    pub judging: Option<Box<Judging>>,
}

impl TurnCall {
    pub(crate) fn replace(&mut self, rewrite: &Rewrite) {
        self.call.arguments.clone_from(&rewrite.arguments);
        self.class = rewrite.class;
        self.changes += 1;
    }

    /// A person is asked, or was, whether the last attempt, which is in doubt, is run again.
    pub fn is_doubted(&self) -> bool {
        self.started > 0 && self.doubted == self.started
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CallState {
    Open,
    /// Somebody is asked. `approval` is false for a question of the tool.
    Waiting {
        wait: WaitId,
        approval: bool,
        /// The places that a yes is for.
        #[serde(default)]
        effects: Option<Digest>,
        deadline: Option<Millis>,
        /// Nobody is asked: the end of this child's turn answers.
        #[serde(default)]
        child: Option<ChildTurn>,
        /// Nobody is asked: the time does, or a signal.
        #[serde(default)]
        wake: Option<Wake>,
    },
    Ended,
}

/// What ends a wait in which nobody is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wake {
    /// The wait's deadline.
    Time,
    /// The signal of this name, or the deadline, if there is one.
    Signal(String),
}
