//! The person's own words that no compaction sums up: what they forbid, demand and want, as they said it.

use sterna_llm::Item;
use sterna_model::{Pinned, Place};

use crate::files::said;
use crate::transcript::Entry;

/// The words that stay of these entries, oldest first, in at most `bytes`. First what the last input said, then what
/// states a constraint, then the rest, newest first.
pub fn pins(entries: &[Entry], bytes: usize) -> Vec<Pinned> {
    let mut all: Vec<Pin> = Vec::new();
    let is_input = |entry: &Entry| {
        entry.head.is_none()
            && !entry.hook
            && entry.by.is_none()
            && matches!(&*entry.item, Item::User(_) | Item::Mixed(_))
    };
    let last = entries.iter().rposition(is_input);
    for (at, entry) in entries.iter().enumerate() {
        match (&entry.head, &*entry.item) {
            (Some(head), _) => {
                let kept = head.pinned.iter().map(|pin| Pin::new(pin.record, pin.text.clone()));
                all.extend(kept);
            }
            (None, Item::User(_) | Item::Mixed(_)) if entry.hook || entry.by.is_some() => {}
            (None, Item::User(_) | Item::Mixed(_)) => {
                let words = match &*entry.item {
                    Item::User(texts) => texts.join("\n"),
                    Item::Mixed(parts) => said(parts),
                    Item::Assistant(_) | Item::Results(_) => String::new(),
                };
                if let Some(place) = entry.from.first() {
                    let whole = if Some(at) == last { LAST_BYTES } else { WHOLE_BYTES };
                    all.extend(of_input(*place, &words, whole));
                }
            }
            (None, Item::Assistant(_) | Item::Results(_)) => {}
        }
    }
    if let Some(last) = all.last().map(|pin| pin.record) {
        all.iter_mut().filter(|pin| pin.record == last).for_each(|pin| pin.rank = Rank::Last);
    }
    let mut order: Vec<usize> = (0..all.len()).collect();
    // Constraints oldest first, because what was said at the beginning holds for all; other words newest first.
    order.sort_by_key(|at| match all[*at].rank {
        Rank::Last => (0, *at),
        Rank::Constraint => (1, *at),
        Rank::Words => (2, all.len() - at),
    });
    let mut left = bytes;
    let mut keep: Vec<usize> = Vec::new();
    for at in order {
        let cost = all[at].text.len() + LINE_BYTES;
        if cost <= left {
            left -= cost;
            keep.push(at);
        }
    }
    keep.sort_unstable();
    keep.into_iter().map(|at| Pinned { record: all[at].record, text: all[at].text.clone() }).collect()
}

/// Whether a sentence says what must or must not be.
pub fn is_constraint(sentence: &str) -> bool {
    let lower = sentence.to_lowercase();
    let words: Vec<&str> =
        lower.split(|c: char| !c.is_alphanumeric() && c != '\'').filter(|w| !w.is_empty()).collect();
    let single = words.iter().any(|word| CONSTRAINT_WORDS.contains(word));
    single || words.windows(2).any(|pair| CONSTRAINT_PAIRS.contains(&(pair[0], pair[1])))
}

struct Pin {
    record: Place,
    text: String,
    rank: Rank,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Rank {
    Last,
    Constraint,
    Words,
}

impl Pin {
    fn new(record: Place, text: String) -> Self {
        let rank = if sentences(&text).any(is_constraint) { Rank::Constraint } else { Rank::Words };
        Self { record, text, rank }
    }
}

/// A short input stays whole; of a long one its constraints and its beginning.
fn of_input(record: Place, text: &str, whole: usize) -> Vec<Pin> {
    let text = text.trim();
    if text.is_empty() {
        return Vec::new();
    }
    if text.len() <= whole {
        return vec![Pin::new(record, text.to_owned())];
    }
    let mut begin: String = text.chars().take(BEGIN_CHARS).collect();
    begin.push_str(" [...]");
    let mut found = vec![Pin { record, text: begin, rank: Rank::Words }];
    let constraints = sentences(text).filter(|sentence| is_constraint(sentence));
    found.extend(constraints.map(|sentence| {
        let text = sentence.chars().take(WHOLE_BYTES).collect();
        Pin { record, text, rank: Rank::Constraint }
    }));
    found
}

/// Sentences and lines, without what stands between them.
fn sentences(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .flat_map(|line| line.split_inclusive(['.', '!', '?', ';']))
        .map(str::trim)
        .filter(|s| !s.is_empty())
}

/// The last input up to this size stays whole.
const LAST_BYTES: usize = 4_000;
/// Another one up to this size.
const WHOLE_BYTES: usize = 600;
/// Characters of a longer one that stay beside its constraints.
const BEGIN_CHARS: usize = 300;
/// What stands round each of them.
const LINE_BYTES: usize = 24;
const CONSTRAINT_WORDS: &[&str] = &[
    "must",
    "mustn't",
    "never",
    "always",
    "don't",
    "cannot",
    "can't",
    "only",
    "shall",
    "shouldn't",
    "should",
    "avoid",
    "require",
    "requires",
    "required",
    "forbidden",
    "forbid",
    "prohibited",
    "ensure",
    "constraint",
    "rule",
    "rules",
    "instead",
    "without",
    "unless",
    "except",
    "prefer",
    "limit",
    "maximum",
    "minimum",
];
const CONSTRAINT_PAIRS: &[(&str, &str)] = &[
    ("do", "not"),
    ("at", "most"),
    ("at", "least"),
    ("no", "more"),
    ("not", "allowed"),
    ("make", "sure"),
    ("no", "new"),
];

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn said(place: Place, text: &str) -> Entry {
        Entry {
            item: Arc::new(Item::User(vec![text.into()])),
            from: Arc::from([place]),
            head: None,
            fixed: false,
            hook: false,
            by: None,
        }
    }

    #[test]
    fn constraints_are_known_by_their_words() {
        for yes in [
            "Never touch main.rs.",
            "do not push",
            "Use at most 3 files",
            "It must build.",
            "Nur ASCII: only ASCII",
            "don't run tests",
            "Answer without markdown",
            "ALWAYS sign off",
        ] {
            assert!(is_constraint(yes), "{yes}");
        }
        for no in ["What does this do?", "fix the parser", "Thanks, that looks good", "the mustard is yellow"]
        {
            assert!(!is_constraint(no), "{no}");
        }
    }

    #[test]
    fn the_last_words_come_first_then_constraints_then_the_newest() {
        let entries = [
            said(2, "Hello there, old friend."),
            said(5, "Never delete a file."),
            said(9, "Look at the parser, please."),
            said(12, "Now fix the lexer."),
        ];
        let kept = |bytes| -> Vec<Place> { pins(&entries, bytes).iter().map(|pin| pin.record).collect() };
        assert_eq!(kept(10_000), [2, 5, 9, 12]);
        // 24 beside each text: 42 for the last, 44 for the constraint, 51 and 48 for the others.
        assert_eq!(kept(42), [12]);
        assert_eq!(kept(86), [5, 12]);
        assert_eq!(kept(137), [5, 9, 12]);
        assert_eq!(kept(0), [0; 0]);
    }

    #[test]
    fn of_a_long_input_its_constraints_stay_word_by_word() {
        let text =
            format!("{} You must keep the licence. {}", "Some story. ".repeat(60), "More of it. ".repeat(60));
        let kept = pins(&[said(3, &text), said(9, "Go on.")], 10_000);
        assert!(kept.iter().any(|pin| pin.text == "You must keep the licence."), "{kept:?}");
        assert!(kept.iter().all(|pin| pin.text.len() <= 600));
    }
}
