//! What a session is called, by the same rule as its row in the index.

use serde::{Deserialize, Serialize};
use sterna_model::{Body, Record, Seq};

use crate::Title;

/// A fold of what gives a session its title.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Titled {
    text: Option<String>,
    /// Somebody or some model named it: its title is not its first words any more.
    named: bool,
    /// The record that gave it its title.
    by: Seq,
}

impl Titled {
    /// Folds one record.
    pub fn apply(&mut self, record: &Record) {
        if let Body::SessionOpened(_) = &record.body {
            // A fork is called by its own first words.
            *self = Self::default();
        }
        let Some(title) = Title::of(&record.body) else { return };
        let names = !matches!(title, Title::Words(_));
        if title.apply(&mut self.text) {
            self.by = record.seq;
            self.named |= names;
        }
    }

    pub fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// Whether it was given a name.
    pub fn is_named(&self) -> bool {
        self.named
    }

    /// Whether this record gave it the title that it has.
    pub fn is_by(&self, record: Seq) -> bool {
        self.by == record
    }
}
