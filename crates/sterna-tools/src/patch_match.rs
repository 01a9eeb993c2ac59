//! Finds where the hunks of a patch go in a file, and makes the new text. Pure; no input panics.

use crate::patch::{Hunk, Line};
use crate::support::cut;

/// A file's new text, and the hunks (from 1) that fit only when differences in whitespace were ignored.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Applied {
    pub text: String,
    pub tolerant: Vec<usize>,
}

/// Why a hunk (from 1) does not go in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Misfit {
    pub hunk: usize,
    pub what: String,
}

/// The text with all hunks in it, each behind the one before. Lines that stay keep every byte; new ones get the line
/// ending that most lines of the file have.
pub(crate) fn apply(text: &str, hunks: &[Hunk]) -> Result<Applied, Misfit> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let bare: Vec<&str> = lines.iter().map(|line| stripped(line)).collect();
    let ending = if crate::write::is_crlf(text.as_bytes()) { "\r\n" } else { "\n" };
    let mut made = Made { text: String::with_capacity(text.len()), ending };
    let mut tolerant = Vec::new();
    let mut from = 0;
    for (at, hunk) in hunks.iter().enumerate() {
        let number = at + 1;
        let place = place(&bare, from, hunk).map_err(|what| Misfit { hunk: number, what })?;
        lines[from..place.at].iter().for_each(|line| made.keep(line));
        let mut next = place.at;
        for line in &hunk.lines {
            match line {
                Line::Same(_) => {
                    made.keep(lines[next]);
                    next += 1;
                }
                Line::Gone(_) => next += 1,
                Line::New(text) => made.add(&place.indented(text)),
            }
        }
        from = next;
        if place.tolerant {
            tolerant.push(number);
        }
    }
    lines[from..].iter().for_each(|line| made.keep(line));
    // The file ends as it did: with a line break, or without.
    if !text.is_empty() && !text.ends_with('\n') {
        let kept = stripped(&made.text).len();
        made.text.truncate(kept);
    }
    Ok(Applied { text: made.text, tolerant })
}

struct Made {
    text: String,
    ending: &'static str,
}

impl Made {
    fn keep(&mut self, line: &str) {
        self.end_line();
        self.text.push_str(line);
    }

    fn add(&mut self, line: &str) {
        self.end_line();
        self.text.push_str(line);
        self.text.push_str(self.ending);
    }

    /// A last line without a line break gets one when something follows.
    fn end_line(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.text.push_str(self.ending);
        }
    }
}

/// Where a hunk goes.
struct Place {
    /// Index of the first of its lines.
    at: usize,
    tolerant: bool,
    /// The indentation of the file and of the hunk, where they differ.
    indent: Option<(String, String)>,
}

impl Place {
    fn indented(&self, line: &str) -> String {
        match &self.indent {
            Some((file, hunk)) if !line.trim().is_empty() => match line.strip_prefix(hunk.as_str()) {
                Some(rest) => format!("{file}{rest}"),
                None => line.to_owned(),
            },
            Some(_) | None => line.to_owned(),
        }
    }
}

fn place(lines: &[&str], from: usize, hunk: &Hunk) -> Result<Place, String> {
    let old: Vec<&str> = hunk.lines.iter().filter_map(Line::old).collect();
    let starts = under(lines, from, &hunk.under)?;
    if old.is_empty() {
        return insertion(lines, &starts, hunk);
    }
    for alike in LEVELS {
        let mut found: Vec<usize> = if hunk.at_end {
            let last = lines.len().checked_sub(old.len()).filter(|at| *at >= starts[0]);
            last.filter(|at| fits(lines, *at, &old, alike)).into_iter().collect()
        } else if hunk.under.is_empty() {
            (from..lines.len()).filter(|at| fits(lines, *at, &old, alike)).collect()
        } else {
            // A line behind `@@` may stand in several places: the first fit below each.
            starts
                .iter()
                .filter_map(|at| (*at..lines.len()).find(|at| fits(lines, *at, &old, alike)))
                .collect()
        };
        found.dedup();
        match found.as_slice() {
            [] => {}
            [at] => {
                let tolerant = !(0..old.len()).all(|i| lines[at + i] == old[i]);
                let indent = tolerant.then(|| indents(lines, *at, &old)).flatten();
                return Ok(Place { at: *at, tolerant, indent });
            }
            [first, second, ..] => {
                return Err(format!(
                    "its lines fit in {} places (lines {} and {}{}); give more lines around the change, or `@@` with \
                     a line that stands above it",
                    found.len(),
                    first + 1,
                    second + 1,
                    if found.len() > 2 { ", …" } else { "" },
                ));
            }
        }
    }
    Err(nowhere(lines, from, &old, hunk))
}

/// Indices behind the lines that `@@` names; without such lines, where the search begins. Never empty.
fn under(lines: &[&str], from: usize, names: &[String]) -> Result<Vec<usize>, String> {
    let mut starts = vec![from];
    for name in names {
        let first = starts[0];
        let whole = |line: &str| line.trim() == name.trim();
        let part = |line: &str| line.contains(name.trim());
        let find = |fits: &dyn Fn(&str) -> bool| -> Vec<usize> {
            (first..lines.len()).filter(|at| fits(lines[*at])).map(|at| at + 1).collect()
        };
        let found = Some(find(&whole)).filter(|found| !found.is_empty()).unwrap_or_else(|| find(&part));
        if found.is_empty() {
            let place = if first == 0 { String::new() } else { format!(" below line {first}") };
            return Err(format!("no line{place} is `{}`, which stands behind its `@@`", cut(name, SHOWN)));
        }
        starts = found;
    }
    Ok(starts)
}

/// Where lines go that are only added: at the end, or below the one line that `@@` names.
fn insertion(lines: &[&str], starts: &[usize], hunk: &Hunk) -> Result<Place, String> {
    let at = match starts {
        _ if hunk.at_end || lines.is_empty() => lines.len(),
        [at] if !hunk.under.is_empty() => *at,
        [first, second, ..] => {
            return Err(format!(
                "it only adds lines, and the line behind its `@@` stands at {} places (lines {first} and {second}); \
                 give lines around the change",
                starts.len()
            ));
        }
        [] | [_] => {
            return Err(
                "it only adds lines and does not say where; give lines around the change, or `@@` with the \
                 line above it, or `*** End of File` behind it"
                    .to_owned(),
            );
        }
    };
    Ok(Place { at, tolerant: false, indent: None })
}

fn fits(lines: &[&str], at: usize, old: &[&str], alike: fn(&str, &str) -> bool) -> bool {
    lines
        .get(at..at + old.len())
        .is_some_and(|lines| lines.iter().zip(old).all(|(line, old)| alike(line, old)))
}

/// From strict to tolerant.
const LEVELS: [fn(&str, &str) -> bool; 3] = [
    |line, old| line == old,
    |line, old| line.trim_end() == old.trim_end(),
    |line, old| line.trim() == old.trim(),
];

/// The two indentations of the first line that has one, when they differ.
fn indents(lines: &[&str], at: usize, old: &[&str]) -> Option<(String, String)> {
    let indent = |line: &str| line[..line.len() - line.trim_start().len()].to_owned();
    let first = old.iter().position(|line| !line.trim().is_empty())?;
    let (file, hunk) = (indent(lines[at + first]), indent(old[first]));
    (file != hunk).then_some((file, hunk))
}

fn nowhere(lines: &[&str], from: usize, old: &[&str], hunk: &Hunk) -> String {
    if from > 0 && (0..from).any(|at| fits(lines, at, old, LEVELS[0])) {
        return "its lines stand above those of the hunk before; hunks come in the order of the file".into();
    }
    let first = old.iter().find(|line| !line.trim().is_empty()).copied().unwrap_or_default();
    // How far the best beginning comes tells more than that nothing fits.
    let reach = |at: usize| {
        let pairs = lines[at..].iter().zip(old);
        pairs.take_while(|(line, old)| line.trim() == old.trim()).count()
    };
    let best = (from..lines.len()).map(|at| (reach(at), at)).max_by_key(|(n, at)| (*n, usize::MAX - at));
    match best {
        Some((n, at)) if n > 0 && n < old.len() => {
            let there = lines
                .get(at + n)
                .map_or("the end of the file".into(), |line| format!("`{}`", cut(line.trim(), SHOWN)));
            let wanted = cut(old[n].trim(), SHOWN);
            format!(
                "its lines fit from line {} on only up to line {}: there is {there}, and not `{wanted}`",
                at + 1,
                at + n
            )
        }
        _ if hunk.at_end => {
            format!("its lines are not those at the end of the file (`{}`)", cut(first.trim(), SHOWN))
        }
        Some(_) | None => {
            format!("its lines are not in the file (`{}`); read it again", cut(first.trim(), SHOWN))
        }
    }
}

fn stripped(line: &str) -> &str {
    let line = line.strip_suffix('\n').unwrap_or(line);
    line.strip_suffix('\r').unwrap_or(line)
}

/// Bytes of a line that an error shows.
const SHOWN: usize = 120;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::patch::{Section, parse};

    fn hunks(text: &str) -> Vec<Hunk> {
        match parse(&format!("*** Begin Patch\n*** Update File: f\n{text}\n*** End Patch")).unwrap().remove(0)
        {
            Section::Update { hunks, .. } => hunks,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn hunks_go_where_they_belong() {
        let cases = [
            ("a\nb\nc\n", "@@\n a\n-b\n+B\n c", "a\nB\nc\n"),
            ("a\nb\nc\n", "-a\n@@\n-c", "b\n"),
            ("a\nb\n", "@@ a\n+x", "a\nx\nb\n"),
            ("a\nb", "@@\n+x\n*** End of File", "a\nb\nx"),
            ("a\nb\n", "@@\n+x\n*** End of File", "a\nb\nx\n"),
            ("", "@@\n+x", "x\n"),
            ("a\nb", "@@\n-b\n+c", "a\nc"),
            ("a\nb", "@@\n-b", "a"),
            ("x\na\nx\n", "@@\n-x\n+y\n*** End of File", "x\na\ny\n"),
            // Below its line, though it stands above it too.
            ("x\nfn b\nx\nx\n", "@@ fn b\n-x\n+y", "x\nfn b\ny\nx\n"),
            (
                "mod a\nfn f\nx\nmod b\nfn f\nx\n",
                "@@ mod b\n@@ fn f\n-x\n+y",
                "mod a\nfn f\nx\nmod b\nfn f\ny\n",
            ),
            ("pub fn long(a: u8) {\n  x\n", "@@ fn long\n-  x", "pub fn long(a: u8) {\n"),
            // Every other byte is kept: odd endings, blanks at the end.
            ("a\r\nb\r\nc \r\nd\n", "@@\n b\n-c\n+C\n+D", "a\r\nb\r\nC\r\nD\r\nd\n"),
            ("a \n b\nc\n", "@@\n a\n b\n+x\n c", "a \n b\nx\nc\n"),
            // The hunk's indentation is not the file's.
            (
                "{\n        if a {\n        }\n}\n",
                "@@\n if a {\n+    b();\n }",
                "{\n        if a {\n            b();\n        }\n}\n",
            ),
            ("\tif a {\n\t}\n", "@@\n-    if a {\n+    if b {", "\tif b {\n\t}\n"),
        ];
        for (before, patch, after) in cases {
            assert_eq!(
                apply(before, &hunks(patch)).map(|applied| applied.text),
                Ok(after.into()),
                "{before:?} {patch:?}"
            );
        }
        assert_eq!(apply("a \nb\nc\n", &hunks("@@\n-b\n@@\n-c")).unwrap().tolerant, Vec::<usize>::new());
        assert_eq!(apply("a \nb\nc\n", &hunks("@@\n-a\n@@\n-c")).unwrap().tolerant, [1]);
    }

    #[test]
    fn a_hunk_that_does_not_fit_says_why() {
        let cases = [
            ("a\nb\n", "@@\n-a\n@@\n-c", 2, "its lines are not in the file (`c`)"),
            ("x\na\nx\n", "@@\n-x", 1, "fit in 2 places (lines 1 and 3)"),
            ("x\nx\nx\n", "@@\n-x", 1, "(lines 1 and 2, …)"),
            ("a\nb\n", "@@\n-b\n@@\n-a", 2, "in the order of the file"),
            ("a\nb\nc\n", "@@\n a\n b\n-d", 1, "from line 1 on only up to line 2: there is `c`, and not `d`"),
            ("a\nb\n", "@@\n a\n b\n-d", 1, "there is the end of the file, and not `d`"),
            ("a\n", "@@ fn f\n-a", 1, "no line is `fn f`"),
            ("a\n", "@@\n+x", 1, "does not say where"),
            ("a\nb\na\n", "@@ a\n+x", 1, "stands at 2 places (lines 1 and 3)"),
            ("f\nx\nf\nx\n", "@@ f\n-x", 1, "fit in 2 places (lines 2 and 4)"),
            ("a\nb\n", "@@\n-a\n*** End of File", 1, "at the end of the file"),
            ("", "@@\n-a", 1, "not in the file"),
        ];
        for (before, patch, hunk, told) in cases {
            let misfit = apply(before, &hunks(patch)).unwrap_err();
            assert!(misfit.hunk == hunk && misfit.what.contains(told), "{patch:?}: {misfit:?}");
        }
    }

    /// A patch from `before` to `after` with all lines as context.
    fn whole(before: &[String], after: &[String]) -> Hunk {
        let mut lines: Vec<Line> = before.iter().cloned().map(Line::Gone).collect();
        lines.extend(after.iter().cloned().map(Line::New));
        Hunk { under: Vec::new(), lines, at_end: true }
    }

    proptest! {
        #[test]
        fn a_patch_of_everything_makes_the_other_file(
            before in prop::collection::vec("[a-c ]{0,2}", 1..8), after in prop::collection::vec("[a-c ]{0,2}", 1..8)
        ) {
            let text = |lines: &[String]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
            let applied = apply(&text(&before), &[whole(&before, &after)]).unwrap();
            prop_assert_eq!(applied.text, text(&after));
        }

        #[test]
        fn nothing_panics_and_what_is_not_named_stays(
            text in "([a-c ]{0,2}\r?\n){0,9}[a-c]{0,1}",
            patch in "(@@( [a-c])?\n([-+ ][a-c ]{0,2}\n){1,3}(\\*\\*\\* End of File\n)?){1,3}",
        ) {
            let Ok(sections) = parse(&format!("*** Begin Patch\n*** Update File: f\n{patch}*** End Patch")) else { return Ok(()) };
            let Section::Update { hunks, .. } = &sections[0] else { return Ok(()) };
            if let Ok(applied) = apply(&text, hunks) {
                let count = |wanted: fn(&Line) -> bool| hunks.iter().flat_map(|hunk| &hunk.lines).filter(|line| wanted(line)).count();
                let (gone, new) = (count(|line| matches!(line, Line::Gone(_))), count(|line| matches!(line, Line::New(_))));
                let lines = |text: &str| text.split_inclusive('\n').count();
                // A last line that is empty and has no line break is none.
                let (had, has) = (lines(&text) + new, lines(&applied.text) + gone);
                prop_assert!(had == has || had == has + 1, "{:?} {:?}", text, applied);
            }
        }
    }
}
