//! The notes of one scope: a fold of the records of its log.

use std::collections::BTreeMap;

use sterna_model::{Body, MemoryChange, MemoryNote, MemoryScope, Millis, Record, Seq};

/// A note, and what became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Note {
    pub note: MemoryNote,
    pub created: Millis,
    /// When its text was last written.
    pub updated: Millis,
    /// When it was last written or recalled.
    pub used: Millis,
}

/// What is remembered in one scope. Notes of another scope that stand in the log are none of it.
#[derive(Debug, Clone)]
pub struct Notes {
    scope: MemoryScope,
    /// By the key of their names.
    held: BTreeMap<String, Note>,
    /// What was held before records changed it, oldest first: for rewinds.
    before: Vec<(Seq, String, Option<Note>)>,
}

impl Notes {
    pub fn new(scope: MemoryScope) -> Self {
        Self { scope, held: BTreeMap::new(), before: Vec::new() }
    }

    /// Folds one record. Those of shared history come first, then the fork's own.
    pub fn apply(&mut self, record: &Record) {
        match &record.body {
            Body::Memory(change) => self.change(record.seq, record.at, change),
            // A fork counts its records anew.
            Body::SessionOpened(_) => self.before.clear(),
            Body::Rewound(rewound) if rewound.conversation => {
                let since = self.before.partition_point(|(at, ..)| *at <= rewound.to);
                // A change like any other, so that it can be taken back too.
                let undone: Vec<_> = self.before[since..].iter().rev().cloned().collect();
                undone.into_iter().for_each(|(_, key, before)| self.put(record.seq, key, before));
            }
            _ => {}
        }
    }

    /// In the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Note> {
        self.held.values()
    }

    pub fn len(&self) -> usize {
        self.held.len()
    }

    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// The note of this name, whatever its case and its punctuation.
    pub fn named(&self, name: &str) -> Option<&Note> {
        self.held.get(&name_key(name))
    }

    fn change(&mut self, seq: Seq, at: Millis, change: &MemoryChange) {
        match change {
            MemoryChange::Kept(note) if note.scope == self.scope => {
                let key = name_key(&note.name);
                let held = self.held.get(&key);
                // What was written first gave it its id.
                let id = held.map_or_else(|| note.id.clone(), |held| held.note.id.clone());
                let created = held.map_or(at, |held| held.created);
                let note = MemoryNote { id, ..note.clone() };
                self.put(seq, key, Some(Note { note, created, updated: at, used: at }));
            }
            MemoryChange::Forgotten { ids, .. } => {
                let gone = self.held.iter().filter(|(_, held)| ids.contains(&held.note.id));
                let gone: Vec<String> = gone.map(|(key, _)| key.clone()).collect();
                gone.into_iter().for_each(|key| self.put(seq, key, None));
            }
            MemoryChange::Used { ids } => {
                for held in self.held.values_mut().filter(|held| ids.contains(&held.note.id)) {
                    held.used = held.used.max(at);
                }
            }
            MemoryChange::Kept(_) | MemoryChange::Recalled { .. } => {}
        }
    }

    fn put(&mut self, seq: Seq, key: String, note: Option<Note>) {
        let before = match note {
            Some(note) => self.held.insert(key.clone(), note),
            None => self.held.remove(&key),
        };
        // The logs of users and projects are never rewound.
        if self.scope == MemoryScope::Session {
            self.before.push((seq, key, before));
        }
    }
}

/// What makes two names one: their words in lower case. A name without words is itself.
pub fn name_key(name: &str) -> String {
    let words: Vec<String> = crate::words(name).collect();
    if words.is_empty() { name.trim().to_owned() } else { words.join(" ") }
}

#[cfg(test)]
mod tests {
    use sterna_model::{MemorySource, RECORD_VERSION, Rewound};

    use super::*;

    fn record(seq: Seq, body: Body) -> Record {
        Record { v: RECORD_VERSION, seq, at: seq * 10, turn: None, step: None, body }
    }

    fn change(change: MemoryChange) -> Body {
        Body::Memory(Box::new(change))
    }

    fn kept(id: &str, name: &str, text: &str, scope: MemoryScope) -> Body {
        change(MemoryChange::Kept(MemoryNote {
            id: id.into(),
            name: name.into(),
            scope,
            text: text.into(),
            tags: vec![],
            aliases: vec![],
            source: MemorySource { by: "model".into(), session: None, call: None },
            tainted: vec![],
        }))
    }

    fn told(notes: &Notes) -> Vec<(&str, &str, Millis, Millis, Millis)> {
        let of = |held: &'_ Note| (held.created, held.updated, held.used);
        notes
            .iter()
            .map(|held| {
                let (created, updated, used) = of(held);
                (held.note.id.as_str(), held.note.text.as_str(), created, updated, used)
            })
            .collect()
    }

    #[test]
    fn one_name_is_one_note() {
        let mut notes = Notes::new(MemoryScope::User);
        let user = MemoryScope::User;
        notes.apply(&record(1, kept("m1", "Test command", "cargo test", user)));
        notes.apply(&record(2, kept("m9", "test-COMMAND", "cargo nextest run", user)));
        notes.apply(&record(3, kept("m2", "Port", "5432", user)));
        notes.apply(&record(4, kept("m3", "Port", "another scope's", MemoryScope::Project)));
        notes.apply(&record(5, change(MemoryChange::Used { ids: vec!["m1".into(), "mx".into()] })));
        assert_eq!(told(&notes), [("m2", "5432", 30, 30, 30), ("m1", "cargo nextest run", 10, 20, 50)]);
        let ids = vec!["m1".into()];
        notes.apply(&record(6, change(MemoryChange::Forgotten { ids, by: "cli".into() })));
        assert_eq!(told(&notes), [("m2", "5432", 30, 30, 30)]);
        assert!(notes.named(" PORT! ").is_some() && notes.named("test command").is_none());
    }

    #[test]
    fn a_rewound_session_remembers_what_it_did_then() {
        let session = MemoryScope::Session;
        let mut notes = Notes::new(session);
        notes.apply(&record(2, kept("m1", "a", "first", session)));
        notes.apply(&record(3, kept("m1", "a", "second", session)));
        notes.apply(&record(4, kept("m2", "b", "more", session)));
        let back = |seq, to| {
            record(seq, Body::Rewound(Rewound { to, files: None, conversation: true, by: "p".into() }))
        };
        notes.apply(&back(5, 2));
        assert_eq!(told(&notes), [("m1", "first", 20, 20, 20)]);
        // And forth again.
        notes.apply(&back(6, 4));
        assert_eq!(told(&notes), [("m1", "second", 20, 30, 30), ("m2", "more", 40, 40, 40)]);
    }
}
