//! Where a text to be replaced is. Pure.

use std::ops::Range;

/// Where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// Byte ranges of exact matches that do not overlap, at least one, and the text to put there.
    Exact { at: Vec<Range<usize>> },
    /// One place that differs in whitespace only, and the new text with its indentation.
    Tolerant { at: Range<usize>, new: String },
    /// Several places: their lines, from 1. `exact` tells which kind.
    Many { lines: Vec<usize>, exact: bool },
    /// Nowhere. The line most like the first of the wanted ones.
    None { nearest: Option<(usize, String)> },
}

/// Finds `old` (not empty) in `text`.
pub(crate) fn find(text: &str, old: &str, new: &str, all: bool) -> Found {
    let at: Vec<Range<usize>> = text.match_indices(old).map(|(from, _)| from..from + old.len()).collect();
    if !at.is_empty() {
        let mut starts = starts(text, old);
        starts.dedup();
        if !all && starts.len() > 1 {
            return Found::Many {
                lines: starts.iter().map(|from| line_at(text, *from)).collect(),
                exact: true,
            };
        }
        return Found::Exact { at };
    }
    let mut near = tolerant(text, old);
    match near.len() {
        0 => Found::None { nearest: nearest(text, old) },
        1 => {
            let at = near.remove(0);
            let new = reindent(&text[at.clone()], old, new);
            Found::Tolerant { at, new }
        }
        _ => Found::Many { lines: near.iter().map(|at| line_at(text, at.start)).collect(), exact: false },
    }
}

/// The text with each range replaced. Ranges are in order and do not overlap.
pub(crate) fn replaced(text: &str, at: &[Range<usize>], new: &str) -> String {
    let mut result = String::with_capacity(text.len() + at.len() * new.len());
    let mut from = 0;
    for range in at {
        result.push_str(&text[from..range.start]);
        result.push_str(new);
        from = range.end;
    }
    result.push_str(&text[from..]);
    result
}

/// Where matches start, overlapping ones too: `aa` is twice in `aaa`, so it says not where.
fn starts(text: &str, old: &str) -> Vec<usize> {
    let step = old.chars().next().map_or(1, char::len_utf8);
    let mut starts = Vec::new();
    let mut from = 0;
    while let Some(at) = text[from..].find(old) {
        starts.push(from + at);
        from += at + step;
    }
    starts
}

/// Runs of whole lines whose words are those of `old`.
fn tolerant(text: &str, old: &str) -> Vec<Range<usize>> {
    let wanted: Vec<Vec<&str>> = old.lines().map(|line| line.split_whitespace().collect()).collect();
    if wanted.iter().all(Vec::is_empty) {
        return Vec::new();
    }
    let mut lines = Vec::new();
    let mut from = 0;
    for line in text.split_inclusive('\n') {
        lines.push((from, line));
        from += line.len();
    }
    let keeps_end = !old.ends_with('\n');
    lines
        .windows(wanted.len())
        .filter(|window| {
            window
                .iter()
                .zip(&wanted)
                .all(|((_, line), words)| line.split_whitespace().eq(words.iter().copied()))
        })
        .filter_map(|window| {
            let (first, (last, line)) = (window.first()?.0, window.last()?);
            let line = if keeps_end { line.trim_end_matches(['\r', '\n']) } else { line };
            Some(first..last + line.len())
        })
        .collect()
}

/// Moves `new` by as much as the found text is moved against `old`.
fn reindent(found: &str, old: &str, new: &str) -> String {
    let indent = |text: &str| -> String {
        let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        line[..line.len() - line.trim_start().len()].to_owned()
    };
    let (theirs, ours) = (indent(found), indent(old));
    let moved = |line: &str| -> String {
        if line.trim().is_empty() {
            line.to_owned()
        } else if let Some(more) = theirs.strip_suffix(ours.as_str()) {
            format!("{more}{line}")
        } else if let Some(less) = ours.strip_suffix(theirs.as_str()) {
            line.strip_prefix(less).unwrap_or(line).to_owned()
        } else {
            match line.strip_prefix(ours.as_str()) {
                Some(rest) => format!("{theirs}{rest}"),
                None => line.to_owned(),
            }
        }
    };
    new.split_inclusive('\n').map(moved).collect()
}

fn nearest(text: &str, old: &str) -> Option<(usize, String)> {
    let short = |line: &str| line.trim().chars().take(COMPARED_CHARS).collect::<String>();
    let wanted = old.lines().map(short).find(|line| !line.is_empty())?;
    let lines = text.lines().take(COMPARED_LINES).enumerate();
    lines
        .map(|(at, line)| (strsim::normalized_levenshtein(&wanted, &short(line)), at + 1, line))
        .filter(|(likeness, _, line)| *likeness >= LIKENESS && !line.trim().is_empty())
        // Of equals the first.
        .max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)))
        .map(|(_, at, line)| (at, short(line)))
}

fn line_at(text: &str, byte: usize) -> usize {
    text.as_bytes()[..byte].iter().filter(|b| **b == b'\n').count() + 1
}

const COMPARED_CHARS: usize = 200;
const COMPARED_LINES: usize = 20_000;
const LIKENESS: f64 = 0.4;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exact(ranges: &[(usize, usize)]) -> Found {
        Found::Exact { at: ranges.iter().map(|(from, to)| *from..*to).collect() }
    }

    #[test]
    fn finds_what_it_should() {
        let many = |lines: &[usize], exact| Found::Many { lines: lines.to_vec(), exact };
        let none = |nearest: Option<(usize, &str)>| Found::None {
            nearest: nearest.map(|(at, line)| (at, line.to_owned())),
        };
        let near = |from, to, new: &str| Found::Tolerant { at: from..to, new: new.to_owned() };
        // text, old, new, all, what is found
        let cases = [
            ("abc", "b", "", false, exact(&[(1, 2)])),
            ("a\nb\na\n", "a", "", false, many(&[1, 3], true)),
            ("a\nb\na\n", "a", "", true, exact(&[(0, 1), (4, 5)])),
            ("aaa", "aa", "", false, many(&[1, 1], true)),
            ("éé é", "é é", "", false, exact(&[(2, 7)])),
            // The file is indented more, less, and by tabs.
            ("if x:\n    a = 1\n    b\n", "a = 1\nb", "c\n\n  d", false, near(6, 21, "    c\n\n      d")),
            ("a  =  1\n", "    a = 1\n", "    b\n        c\n", false, near(0, 8, "b\n    c\n")),
            ("\ta\n", "  a", "  b\nc", false, near(0, 2, "\tb\nc")),
            ("a b\r\nc\r\n", "a  b\nc\n", "x\n", false, near(0, 8, "x\n")),
            ("a  b\nx\na b \n", "a   b", "", false, many(&[1, 3], false)),
            ("fn main() {}\nlet y = 1;\n", "let z = 1;", "", false, none(Some((2, "let y = 1;")))),
            ("abc", "   \n  ", "", false, none(None)),
            ("", "a", "", false, none(None)),
        ];
        for (text, old, new, all, want) in cases {
            assert_eq!(find(text, old, new, all), want, "{old:?} in {text:?}");
        }
    }

    proptest! {
        #[test]
        fn an_exact_match_is_replaced_as_the_standard_library_would(
            text in "[ab\n é]{0,30}", old in "[ab\n é]{1,4}", new in "[abx\n]{0,4}"
        ) {
            match find(&text, &old, &new, true) {
                Found::Exact { at } => prop_assert_eq!(replaced(&text, &at, &new), text.replace(&old, &new)),
                _ => prop_assert!(!text.contains(&old)),
            }
            if let Found::Exact { at } = find(&text, &old, &new, false) {
                // Unique: it starts at exactly one byte.
                let places = (0..text.len()).filter(|from| text.as_bytes()[*from..].starts_with(old.as_bytes()));
                prop_assert_eq!(places.collect::<Vec<_>>(), vec![at[0].start]);
            }
        }

        #[test]
        fn other_whitespace_is_tolerated_and_nothing_else(
            before in "[ab]{1,3}", words in prop::collection::vec("[cde]{1,3}", 1..4), indent in " {0,4}", gap in " {1,3}"
        ) {
            let line = |gap: &str| words.join(gap);
            let text = format!("{before}\n\t{indent}{}  \n{before}\n", line(&gap));
            let old = format!("{}\n", line(" "));
            match find(&text, &old, "new\n", false) {
                Found::Tolerant { at, new } => {
                    let result = replaced(&text, &[at], &new);
                    prop_assert_eq!(result, format!("{before}\n\t{indent}new\n{before}\n"));
                }
                other => prop_assert!(false, "{:?}", other),
            }
            let other = format!("{}x\n", line(" "));
            let is_none = matches!(find(&text, &other, "new\n", false), Found::None { .. });
            prop_assert!(is_none);
        }
    }
}
