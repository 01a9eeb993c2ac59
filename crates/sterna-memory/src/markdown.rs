//! Notes as Markdown, for people to read, edit and carry elsewhere.

use std::fmt::Write;

use sterna_log::fold::Note;
use sterna_model::{MemoryScope, MemorySource};
use sterna_tool::NewNote;

/// A text that is no dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadDump {
    /// From 1.
    pub line: usize,
    pub why: String,
}

impl std::fmt::Display for BadDump {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

impl std::error::Error for BadDump {}

/// All notes, one section each: its name as a heading, a list of what is known of it, and its text as it is. Headings
/// in the text are set back by a backslash.
pub fn dump<'a>(notes: impl IntoIterator<Item = &'a Note>) -> String {
    let mut out = String::from("# Memory\n");
    for note in notes {
        let note = &note.note;
        let _ = writeln!(out, "\n## {}\n\n- scope: {}", note.name, note.scope);
        for (what, list) in [("tags", &note.tags), ("aliases", &note.aliases), ("tainted", &note.tainted)] {
            for one in list {
                let _ = writeln!(out, "- {what}: {one}");
            }
        }
        out.push('\n');
        for line in note.text.lines() {
            let back = line.trim_start_matches('\\').starts_with("## ");
            let _ = writeln!(out, "{}{line}", if back { "\\" } else { "" });
        }
    }
    out
}

/// Reads what `dump` wrote, or what a person wrote in its form. `by`: the surface that loads it.
pub fn load(text: &str, by: &str) -> Result<Vec<NewNote>, BadDump> {
    let mut notes: Vec<NewNote> = Vec::new();
    let mut part = Part::Before;
    for (at, line) in text.lines().enumerate() {
        let bad = |why: String| BadDump { line: at + 1, why };
        if let Some(name) = line.strip_prefix("## ") {
            notes.push(NewNote {
                scope: MemoryScope::Project,
                name: name.trim().to_owned(),
                text: String::new(),
                tags: Vec::new(),
                aliases: Vec::new(),
                source: MemorySource { by: by.to_owned(), session: None, call: None },
                tainted: Vec::new(),
            });
            part = Part::Facts(false);
            continue;
        }
        let Some(note) = notes.last_mut() else {
            match line.trim() {
                "" | "# Memory" => continue,
                _ => {
                    return Err(
                        bad("this stands before the first note; a note begins with `## NAME`".into()),
                    );
                }
            }
        };
        if let Part::Facts(some) = part {
            match line.strip_prefix("- ").and_then(|fact| fact.split_once(": ")) {
                Some(("scope", word)) => note.scope = word.trim().parse().map_err(bad)?,
                Some(("tags", tag)) => note.tags.push(tag.trim().to_owned()),
                Some(("aliases", alias)) => note.aliases.push(alias.trim().to_owned()),
                Some(("tainted", origin)) => note.tainted.push(origin.trim().to_owned()),
                // The blank line after the heading, or the one before the text.
                _ if line.trim().is_empty() => {
                    if some {
                        part = Part::Text;
                    }
                    continue;
                }
                _ => {
                    part = Part::Text;
                    push(&mut note.text, line);
                    continue;
                }
            }
            part = Part::Facts(true);
            continue;
        }
        push(&mut note.text, line);
    }
    for note in &mut notes {
        note.text = note.text.trim().to_owned();
    }
    Ok(notes)
}

#[derive(PartialEq, Eq)]
enum Part {
    Before,
    /// The list after a heading; whether some of it was read.
    Facts(bool),
    Text,
}

fn push(text: &mut String, line: &str) {
    let set_back = line.strip_prefix('\\').filter(|rest| rest.trim_start_matches('\\').starts_with("## "));
    text.push_str(set_back.unwrap_or(line));
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use sterna_model::MemoryNote;

    use super::*;

    fn note(name: &str, text: &str, scope: MemoryScope, tags: &[&str], aliases: &[&str]) -> Note {
        let of = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect();
        let source = MemorySource { by: "model".into(), session: None, call: None };
        let (tags, aliases) = (of(tags), of(aliases));
        let (name, text) = (name.to_owned(), text.to_owned());
        let note = MemoryNote { id: "m1".into(), name, scope, text, tags, aliases, source, tainted: vec![] };
        Note { note, created: 1, updated: 1, used: 1 }
    }

    #[test]
    fn what_is_dumped_is_loaded() {
        let notes = [
            note(
                "Port",
                "5432\n\n## not a note\n\\## nor this\n- scope: none",
                MemoryScope::User,
                &[],
                &["db"],
            ),
            note("b", "- a list\n- scope: user", MemoryScope::Project, &["x", "y z"], &[]),
        ];
        let text = dump(&notes);
        assert_eq!(
            text,
            "# Memory\n\n## Port\n\n- scope: user\n- aliases: db\n\n5432\n\n\\## not a note\n\\\\## nor this\n- scope: \
             none\n\n## b\n\n- scope: project\n- tags: x\n- tags: y z\n\n- a list\n- scope: user\n"
        );
        let loaded = load(&text, "cli").unwrap();
        for (loaded, note) in loaded.iter().zip(&notes) {
            let note = &note.note;
            assert_eq!((&loaded.name, &loaded.text), (&note.name, &note.text));
            assert_eq!(
                (loaded.scope, &loaded.tags, &loaded.aliases),
                (note.scope, &note.tags, &note.aliases)
            );
            assert_eq!(loaded.source.by, "cli");
        }
        assert_eq!(loaded.len(), 2);
    }

    #[test]
    fn people_may_write_less_and_are_told_what_is_wrong() {
        let loaded = load("## Test command\ncargo test\n", "cli").unwrap();
        assert_eq!((loaded[0].text.as_str(), loaded[0].scope), ("cargo test", MemoryScope::Project));
        assert_eq!(load("", "cli").unwrap(), []);
        assert_eq!(load("# Memory\n\nhello", "cli").unwrap_err().line, 3);
        let bad = load("## a\n- scope: world\nx", "cli").unwrap_err();
        assert_eq!(
            bad.to_string(),
            "line 2: `world` is not a scope of memory; scopes are user, project and session"
        );
    }
}
