//! What a session is called, by the same rule as its row in the index.

use serde::{Deserialize, Serialize};
use sterna_model::{Body, Millis, Record, Seq, TitleMade};

use crate::Title;

/// A fold of what gives a session its title.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Titled {
    text: Option<String>,
    /// Somebody or some model named it: its title is not its first words any more.
    named: bool,
    /// The record that gave it its title.
    by: Seq,
    /// A model was about to be asked, and when: nothing is known of what became of that.
    asked: Option<(Millis, Box<TitleMade>)>,
}

impl Titled {
    /// Folds one record.
    pub fn apply(&mut self, record: &Record) {
        if let Body::SessionOpened(_) = &record.body {
            // A fork is called by its own first words.
            *self = Self::default();
        }
        if let Body::TitleSet { made: Some(made), .. } = &record.body {
            self.asked = made.asking.then(|| (record.at, made.clone()));
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

    /// That a model was asked for a title, and when, if the bill of that is not known.
    pub fn asked(&self) -> Option<(Millis, &TitleMade)> {
        self.asked.as_ref().map(|(at, made)| (*at, &**made))
    }

    /// Whether this record gave it the title that it has.
    pub fn is_by(&self, record: Seq) -> bool {
        self.by == record
    }
}
