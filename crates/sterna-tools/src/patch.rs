//! Reads a patch: an envelope of sections, one a file. Pure; no input panics.

use std::fmt;

/// One file's part of a patch, in the order in which it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Section {
    /// A new file with this text; every line ends in a line break.
    Add {
        path: String,
        content: String,
    },
    Delete {
        path: String,
    },
    /// Hunks in the order in which they stand, and the file's new name.
    Update {
        path: String,
        to: Option<String>,
        hunks: Vec<Hunk>,
    },
}

impl Section {
    pub(crate) fn path(&self) -> &str {
        match self {
            Self::Add { path, .. } | Self::Delete { path } | Self::Update { path, .. } => path,
        }
    }
}

/// One change within a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Hunk {
    /// What stood behind `@@`: lines that come before the change, outermost first.
    pub under: Vec<String>,
    pub lines: Vec<Line>,
    /// The change is at the end of the file.
    pub at_end: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    Same(String),
    Gone(String),
    New(String),
}

impl Line {
    /// The text of a line that the file has now.
    pub(crate) fn old(&self) -> Option<&str> {
        match self {
            Self::Same(text) | Self::Gone(text) => Some(text),
            Self::New(_) => None,
        }
    }
}

/// What is wrong with a patch, and where: a line of the patch, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub line: usize,
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} of the patch: {}", self.line, self.what)
    }
}

/// Reads a whole patch. At least one section, and each changes something.
pub(crate) fn parse(text: &str) -> Result<Vec<Section>, Fault> {
    let mut reader = Reader::new(text)?;
    let mut sections = Vec::new();
    while let Some((line, head)) = reader.next() {
        let (verb, path) = header(head).ok_or_else(|| Fault { line, what: unknown_header(head) })?;
        let path = path.trim();
        if path.is_empty() {
            return Err(Fault { line, what: "the file has no name".into() });
        }
        let path = path.to_owned();
        sections.push(match verb {
            Verb::Add => Section::Add { content: reader.content()?, path },
            Verb::Delete => Section::Delete { path },
            Verb::Update => {
                let to = reader.moved_to()?;
                let hunks = reader.hunks()?;
                if hunks.is_empty() && to.is_none() {
                    return Err(Fault { line, what: format!("the section of `{path}` changes nothing") });
                }
                Section::Update { path, to, hunks }
            }
        });
    }
    if sections.is_empty() {
        return Err(Fault { line: reader.first, what: format!("there is no file in it; {SECTIONS}") });
    }
    Ok(sections)
}

/// The lines between the marks.
struct Reader<'a> {
    lines: Vec<&'a str>,
    at: usize,
    /// Number of the first of them.
    first: usize,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Result<Self, Fault> {
        let all: Vec<&str> = text.lines().collect();
        let blank = |line: &&str| line.trim().is_empty();
        let begin = all.iter().position(|line| !blank(line)).unwrap_or(0);
        let end = all.iter().rposition(|line| !blank(line)).unwrap_or(0);
        if all.get(begin).is_none_or(|line| line.trim() != BEGIN) {
            return Err(Fault { line: begin + 1, what: format!("a patch begins with the line `{BEGIN}`") });
        }
        if end == begin || all.get(end).is_none_or(|line| line.trim() != END) {
            let what = format!("a patch ends with the line `{END}`; was it cut?");
            return Err(Fault { line: end + 1, what });
        }
        Ok(Self { lines: all[begin + 1..end].to_vec(), at: 0, first: begin + 2 })
    }

    /// The next line that is not blank, with its number.
    fn next(&mut self) -> Option<(usize, &'a str)> {
        while self.lines.get(self.at).is_some_and(|line| line.trim().is_empty()) {
            self.at += 1;
        }
        let line = self.lines.get(self.at)?;
        self.at += 1;
        Some((self.first + self.at - 1, line))
    }

    /// The line that comes, unless it begins another section.
    fn peek(&self) -> Option<&'a str> {
        self.lines.get(self.at).copied().filter(|line| header(line).is_none())
    }

    fn number(&self) -> usize {
        self.first + self.at
    }

    /// The lines of a new file.
    fn content(&mut self) -> Result<String, Fault> {
        let mut content = String::new();
        while let Some(line) = self.peek() {
            if let Some(text) = line.strip_prefix('+') {
                content.push_str(text);
                content.push('\n');
            } else if !line.trim().is_empty() {
                let what = "every line of a new file begins with `+`".into();
                return Err(Fault { line: self.number(), what });
            }
            self.at += 1;
        }
        Ok(content)
    }

    fn moved_to(&mut self) -> Result<Option<String>, Fault> {
        let Some(to) = self.peek().and_then(|line| line.strip_prefix(MOVE)) else { return Ok(None) };
        let line = self.number();
        self.at += 1;
        match to.trim() {
            "" => Err(Fault { line, what: "the file has no new name".into() }),
            to => Ok(Some(to.to_owned())),
        }
    }

    fn hunks(&mut self) -> Result<Vec<Hunk>, Fault> {
        let mut hunks: Vec<Hunk> = Vec::new();
        let mut began = self.number();
        while let Some(line) = self.peek() {
            let number = self.number();
            self.at += 1;
            if let Some(under) = anchor(line) {
                // Several such lines in a row lead to one place.
                let goes_on =
                    hunks.last().is_some_and(|hunk| hunk.lines.is_empty() && !hunk.under.is_empty());
                if !goes_on {
                    close(&mut hunks, began)?;
                    hunks.push(Hunk::default());
                    began = number;
                }
                if let (Some(hunk), false) = (hunks.last_mut(), under.trim().is_empty()) {
                    hunk.under.push(under.to_owned());
                }
                continue;
            }
            if line.trim_end() == END_OF_FILE {
                match hunks.last_mut() {
                    Some(hunk) if !hunk.at_end && !hunk.lines.is_empty() => hunk.at_end = true,
                    Some(_) | None => {
                        let what = format!("`{END_OF_FILE}` stands behind the lines of a hunk");
                        return Err(Fault { line: number, what });
                    }
                }
                continue;
            }
            // Between a section's last hunk and the next header a blank line is only layout.
            if line.trim().is_empty() && self.only_blanks_left() {
                continue;
            }
            let read = hunk_line(line).ok_or_else(|| Fault {
                line: number,
                what: "a line of a hunk begins with a space, `+` or `-`, and a hunk with `@@`".into(),
            })?;
            match hunks.last_mut() {
                Some(hunk) if !hunk.at_end => hunk.lines.push(read),
                // The first hunk needs no `@@`.
                None => hunks.push(Hunk { lines: vec![read], ..Hunk::default() }),
                Some(_) => {
                    let what = format!("a hunk that follows `{END_OF_FILE}` begins with `@@`");
                    return Err(Fault { line: number, what });
                }
            }
        }
        close(&mut hunks, began)?;
        Ok(hunks)
    }

    fn only_blanks_left(&self) -> bool {
        let rest = self.lines[self.at..].iter();
        rest.take_while(|line| header(line).is_none()).all(|line| line.trim().is_empty())
    }
}

/// A hunk must say something before the next one begins.
fn close(hunks: &mut [Hunk], began: usize) -> Result<(), Fault> {
    match hunks.last() {
        Some(hunk) if !hunk.lines.iter().any(|line| !matches!(line, Line::Same(_))) => {
            let what = "this hunk changes nothing: it has no line with `+` or `-`".into();
            Err(Fault { line: began, what })
        }
        Some(_) | None => Ok(()),
    }
}

fn hunk_line(line: &str) -> Option<Line> {
    let mut chars = line.chars();
    let sign = chars.next();
    let text = chars.as_str().to_owned();
    match sign {
        // An empty line of the file, whose space an editor took away.
        None => Some(Line::Same(String::new())),
        Some(' ') => Some(Line::Same(text)),
        Some('-') => Some(Line::Gone(text)),
        Some('+') => Some(Line::New(text)),
        Some(_) => None,
    }
}

fn anchor(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("@@")?;
    // `@@ -1,3 +1,4 @@ fn x` as other tools write it: the numbers mean nothing here.
    if rest.trim_start().starts_with('-')
        && let Some((numbers, under)) = rest.split_once("@@")
        && numbers.chars().all(|c| c.is_ascii_digit() || " ,+-".contains(c))
    {
        return Some(under.trim());
    }
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix(' ') }
}

enum Verb {
    Add,
    Delete,
    Update,
}

fn header(line: &str) -> Option<(Verb, &str)> {
    let verbs = [(ADD, Verb::Add), (DELETE, Verb::Delete), (UPDATE, Verb::Update)];
    verbs.into_iter().find_map(|(mark, verb)| Some((verb, line.strip_prefix(mark)?)))
}

fn unknown_header(line: &str) -> String {
    let shown: String = line.chars().take(80).collect();
    format!("`{shown}` begins no section; {SECTIONS}")
}

const BEGIN: &str = "*** Begin Patch";
const END: &str = "*** End Patch";
const ADD: &str = "*** Add File:";
const DELETE: &str = "*** Delete File:";
const UPDATE: &str = "*** Update File:";
const MOVE: &str = "*** Move to:";
const END_OF_FILE: &str = "*** End of File";
const SECTIONS: &str =
    "sections begin with `*** Add File: PATH`, `*** Update File: PATH` or `*** Delete File: PATH`";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Line::{Gone, New, Same};
    use super::*;

    fn envelope(body: &str) -> String {
        format!("*** Begin Patch\n{body}*** End Patch\n")
    }

    #[test]
    fn sections_are_read_as_they_stand() {
        let text = envelope(
            "*** Add File: a/new.txt\n+one\n+\n+ two\n\n*** Update File: b.rs\n*** Move to: c.rs\n context\n-old\n+new\n\
             @@ impl X\n@@ fn y\n \n\n-gone\n*** End of File\n@@ -3,4 +3,5 @@ fn z\n+++x\n---y\n\n*** Delete File: d\n",
        );
        let hunk = |under: &[&str], lines: &[Line], at_end| Hunk {
            under: under.iter().map(ToString::to_string).collect(),
            lines: lines.to_vec(),
            at_end,
        };
        let want = vec![
            Section::Add { path: "a/new.txt".into(), content: "one\n\n two\n".into() },
            Section::Update {
                path: "b.rs".into(),
                to: Some("c.rs".into()),
                hunks: vec![
                    hunk(&[], &[Same("context".into()), Gone("old".into()), New("new".into())], false),
                    hunk(
                        &["impl X", "fn y"],
                        &[Same(String::new()), Same(String::new()), Gone("gone".into())],
                        true,
                    ),
                    hunk(&["fn z"], &[New("++x".into()), Gone("--y".into())], false),
                ],
            },
            Section::Delete { path: "d".into() },
        ];
        assert_eq!(parse(&text).unwrap(), want);
        let crlf = text.replace('\n', "\r\n");
        assert_eq!(parse(&format!("\n\n{crlf}\n\n")).unwrap(), want);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let cases = [
            ("", 1, "begins with the line `*** Begin Patch`"),
            ("*** Begin Patch", 1, "ends with the line `*** End Patch`"),
            ("*** Begin Patch\n*** Add File: a\n+x", 3, "was it cut?"),
            ("*** Begin Patch\n\n*** End Patch", 2, "there is no file in it"),
            (
                "*** Begin Patch\n*** Rename File: a\n*** End Patch",
                2,
                "`*** Rename File: a` begins no section",
            ),
            ("*** Begin Patch\n*** Add File:  \n*** End Patch", 2, "the file has no name"),
            ("*** Begin Patch\n*** Add File: a\nx\n*** End Patch", 3, "begins with `+`"),
            ("*** Begin Patch\n*** Update File: a\n*** End Patch", 2, "changes nothing"),
            ("*** Begin Patch\n*** Update File: a\n*** Move to:\n*** End Patch", 3, "no new name"),
            ("*** Begin Patch\n*** Update File: a\n@@\n same\n*** End Patch", 3, "changes nothing"),
            ("*** Begin Patch\n*** Update File: a\n@@\n-x\n@@ y\n*** End Patch", 5, "changes nothing"),
            ("*** Begin Patch\n*** Update File: a\n@@\n-x\n?\n*** End Patch", 5, "begins with a space"),
            ("*** Begin Patch\n*** Update File: a\n*** End of File\n*** End Patch", 3, "stands behind"),
            (
                "*** Begin Patch\n*** Update File: a\n-x\n*** End of File\n-y\n*** End Patch",
                5,
                "begins with `@@`",
            ),
            ("*** Begin Patch\n*** Delete File: a\n+x\n*** End Patch", 3, "`+x` begins no section"),
        ];
        for (text, line, told) in cases {
            let fault = parse(text).unwrap_err();
            assert!(fault.line == line && fault.what.contains(told), "{text:?}: {fault}");
        }
    }

    fn written(sections: &[Section]) -> String {
        let mut text = String::new();
        for section in sections {
            match section {
                Section::Add { path, content } => {
                    text.push_str(&format!("*** Add File: {path}\n"));
                    for line in content.lines() {
                        text.push_str(&format!("+{line}\n"));
                    }
                }
                Section::Delete { path } => text.push_str(&format!("*** Delete File: {path}\n")),
                Section::Update { path, to, hunks } => {
                    text.push_str(&format!("*** Update File: {path}\n"));
                    if let Some(to) = to {
                        text.push_str(&format!("*** Move to: {to}\n"));
                    }
                    for hunk in hunks {
                        text.push_str("@@\n");
                        for line in &hunk.lines {
                            match line {
                                Same(line) => text.push_str(&format!(" {line}\n")),
                                Gone(line) => text.push_str(&format!("-{line}\n")),
                                New(line) => text.push_str(&format!("+{line}\n")),
                            }
                        }
                        if hunk.at_end {
                            text.push_str("*** End of File\n");
                        }
                    }
                }
            }
        }
        envelope(&text)
    }

    fn hunks() -> impl Strategy<Value = Vec<Hunk>> {
        let line =
            prop_oneof!["[ -~]{0,8}".prop_map(Same), "[ -~]{0,8}".prop_map(Gone), "[ -~]{0,8}".prop_map(New)];
        let lines = (prop::collection::vec(line, 0..5), "[ -~]{0,8}").prop_map(|(mut lines, last)| {
            lines.push(New(last));
            lines
        });
        let hunk = (lines, any::<bool>()).prop_map(|(lines, at_end)| Hunk { under: vec![], lines, at_end });
        prop::collection::vec(hunk, 1..4)
    }

    fn sections() -> impl Strategy<Value = Vec<Section>> {
        let path = "[a-z/]{1,8}";
        let section = prop_oneof![
            (path, "([ -~]{0,6}\n){0,3}").prop_map(|(path, content)| Section::Add { path, content }),
            path.prop_map(|path| Section::Delete { path }),
            (path, prop::option::of(path), hunks()).prop_map(|(path, to, hunks)| Section::Update {
                path,
                to,
                hunks
            }),
        ];
        prop::collection::vec(section, 1..5)
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(sections in sections()) {
            prop_assert_eq!(parse(&written(&sections)).unwrap(), sections);
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,80}", body in "([-+ @*][ -~]{0,12}\n|\\*\\*\\* (Update|Add|Delete) File: [a-z]\n|\\*\\*\\* End of File\n|\\*\\*\\* Move to: b\n|@@ ?[a-z]{0,3}\n|\n){0,12}") {
            let _ = parse(&text);
            if let Err(fault) = parse(&envelope(&body)) {
                prop_assert!(fault.line >= 1 && fault.line <= body.lines().count() + 2, "{} {:?}", fault, body);
            }
        }
    }
}
