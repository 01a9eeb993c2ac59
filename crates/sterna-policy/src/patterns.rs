//! What names an unquoted pattern may become: the shell replaces it by those that there are.

use std::collections::BTreeSet;

use crate::shell::Word;

/// Whether a word is this very text, or may become it.
pub(crate) fn may_be(word: &Word, text: &str) -> bool {
    let long = word.text.len() > MAX_PATTERN;
    word.text == text || word.glob && (long || fits(word.text.as_bytes(), text.as_bytes()))
}

/// Generous: what brackets hold is not looked at. All places in the pattern are followed at once, so that no name and no
/// pattern takes long.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let end = pattern.len();
    // A star may stand for nothing.
    let close = |places: &mut Vec<bool>| {
        for at in (0..end).filter(|at| pattern[*at] == b'*') {
            places[at + 1] |= places[at];
        }
    };
    let mut places = vec![false; end + 1];
    places[0] = true;
    close(&mut places);
    for c in text {
        let mut next = vec![false; end + 1];
        let mut bracket = false;
        for at in 0..end {
            // `[]x]` holds a bracket: each that may be the last is tried.
            next[at + 1] |= bracket && pattern[at] == b']';
            if places[at] {
                match pattern[at] {
                    b'*' => next[at] = true,
                    b'[' => bracket = true,
                    sign => next[at + 1] |= sign == b'?' || sign == *c,
                }
            }
        }
        places = next;
        close(&mut places);
    }
    places[end]
}

/// Whether one part of a pattern's path matches most names: `*`, `?*`, `[!.]*`, `.*`, `*.*`.
pub(crate) fn is_broad(part: &str) -> bool {
    let mut rest = part.strip_prefix('.').unwrap_or(part);
    if !rest.contains('*') {
        return false;
    }
    while let Some(c) = rest.chars().next() {
        rest = match c {
            '*' | '?' => &rest[1..],
            // `*.*`: what has an ending, as files have.
            '.' if rest.contains('*') => &rest[1..],
            '[' => match bracket(rest) {
                Some((negated, inner, after)) if holds_most(inner, negated) => after,
                _ => return false,
            },
            _ => return false,
        };
    }
    true
}

/// What the names begin with that one part of a pattern's path matches, where it spares none of those: `a*`, `[ab]?*`.
pub(crate) fn first_letters(part: &str) -> Vec<char> {
    let Some(first) = part.chars().next() else { return Vec::new() };
    let (letters, rest): (Vec<char>, &str) = match first {
        '[' => {
            let Some((negated, inner, rest)) = bracket(part) else { return Vec::new() };
            (LETTERS.chars().filter(|c| holds(inner, *c) != negated).collect(), rest)
        }
        c => (vec![c], &part[c.len_utf8()..]),
    };
    match rest.starts_with('*') && is_broad(rest) {
        true => letters.into_iter().filter(char::is_ascii_alphanumeric).collect(),
        false => Vec::new(),
    }
}

/// Whether these are so many that names beginning with one of them are most of what there is.
pub(crate) fn are_most(letters: &BTreeSet<char>) -> bool {
    letters.len() >= MANY
}

/// What stands in the bracket that a pattern begins with, whether all others are meant, and what comes after it.
fn bracket(pattern: &str) -> Option<(bool, &str, &str)> {
    let negated = pattern[1..].starts_with(['!', '^']);
    let inner = &pattern[1 + usize::from(negated)..];
    // The first may itself be a bracket.
    let first = inner.chars().next().map_or(0, char::len_utf8);
    let end = match inner.starts_with("[:") {
        true => inner.find(":]]").map(|i| i + 2),
        false => inner[first..].find(']').map(|i| i + first),
    }?;
    Some((negated, &inner[..end], &inner[end + 1..]))
}

/// Whether many names have no sign of the bracket that a pattern begins with, and what comes after it.
pub(crate) fn sparing_bracket(pattern: &str) -> Option<(bool, &str)> {
    let (negated, inner, after) = bracket(pattern)?;
    // Without a letter it may hold what stands in every path.
    let has_a_letter = LETTERS.chars().any(|c| holds(inner, c) != negated);
    Some((has_a_letter && !holds_most(inner, negated), after))
}

/// Whether a bracket's characters, or all others, are many of those that names are made of.
fn holds_most(inner: &str, negated: bool) -> bool {
    LETTERS.chars().filter(|c| holds(inner, *c) != negated).count() >= MANY || inner.contains("[:")
}

fn holds(inner: &str, c: char) -> bool {
    let chars: Vec<char> = inner.chars().collect();
    inner.contains("[:")
        || chars.contains(&c)
        || chars.windows(3).any(|w| w[1] == '-' && (w[0]..=w[2]).contains(&c))
}

/// What names begin with.
const LETTERS: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
/// Half of the small letters: two such patterns name all.
const MANY: usize = 13;
/// Longer ones may become anything.
const MAX_PATTERN: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_may_become_what_it_matches() {
        let check = |pattern: &str, text: &str, want: bool| {
            let word = Word { glob: pattern.contains(['*', '?', '[']), ..Word::literal(pattern) };
            assert_eq!(may_be(&word, text), want, "{pattern} {text}");
        };
        for pattern in ["-v", "*", "-*", "??", "-[v]", "[-]?", "-[]v]", "*v", "**-*v*", "[!x]v", "-v*"] {
            check(pattern, "-v", true);
        }
        check(&"[]".repeat(30_000), "-v", true);
        check(&"[".repeat(200), "-v", false);
        // What would be tried in all ways is the work of years.
        check(&"*a".repeat(100), &"a".repeat(255), true);
        check(&format!("{}b", "*a".repeat(100)), &"a".repeat(255), false);
        check(&format!("{}b", "*[a]".repeat(60)), &"a".repeat(255), false);
        for pattern in ["", "*.rs", "?", "-", "???", "v*", "-[v]x", "[-v", "-va", "a*v"] {
            check(pattern, "-v", false);
        }
    }

    #[test]
    fn a_broad_pattern_matches_most_names() {
        for part in [
            "*",
            "**",
            "?*",
            "*?",
            "[!.]*",
            "[^.]*",
            "[a-z]*",
            "[a-m]*",
            "[[:alnum:]]*",
            "[!]x]*",
            ".*",
            ".[!.]*",
            "??*",
            "*.*",
            "*.?*",
        ] {
            assert!(is_broad(part), "{part}");
        }
        for part in [
            "",
            ".",
            "?",
            "???",
            "*.o",
            "x*",
            "*x",
            "*.",
            "*.x*",
            "[abc]*",
            "[0-9]*",
            "[!a-zA-Z]*",
            "[a*",
            "[]*",
            "*é",
            "[é",
            ".git*",
        ] {
            assert!(!is_broad(part), "{part}");
        }
    }

    #[test]
    fn letters_that_names_begin_with() {
        let check = |part: &str, want: &str| {
            assert_eq!(first_letters(part).into_iter().collect::<String>(), want, "{part}");
        };
        check("a*", "a");
        check("[a-c]*", "abc");
        check("[xy]*?", "xy");
        check("[!0-9a-z]*", "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
        for part in ["", "a", "a*.o", "a?", "ab*", "a.*", ".*", "[ab", "[ab]", "-*", "é*"] {
            check(part, "");
        }
    }
}
