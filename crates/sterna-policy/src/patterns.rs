//! What names an unquoted pattern may become: the shell replaces it by those that there are.

use crate::shell::Word;

/// Whether a word is this very text, or may become it.
pub(crate) fn may_be(word: &Word, text: &str) -> bool {
    let long = word.text.len() > MAX_PATTERN;
    word.text == text || word.glob && (long || fits(word.text.as_bytes(), text.as_bytes()))
}

/// Generous: what brackets hold is not looked at.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let Some((first, rest)) = pattern.split_first() else { return text.is_empty() };
    if *first == b'*' {
        return (0..=text.len()).any(|taken| fits(rest, &text[taken..]));
    }
    let Some((c, after)) = text.split_first() else { return false };
    let brackets = |end: usize| fits(&rest[end + 1..], after);
    match first {
        b'?' => fits(rest, after),
        // `[]x]` holds a bracket: each that may be the last is tried.
        b'[' => (0..rest.len()).filter(|i| rest[*i] == b']').any(brackets),
        first => first == c && fits(rest, after),
    }
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
            '[' => {
                // The first may itself be a bracket.
                let negated = rest[1..].starts_with(['!', '^']);
                let inner = &rest[1 + usize::from(negated)..];
                let first = inner.chars().next().map_or(0, char::len_utf8);
                let end = if inner.starts_with("[:") {
                    inner.find(":]]").map(|i| i + 2)
                } else {
                    inner[first..].find(']').map(|i| i + first)
                };
                let Some(end) = end else { return false };
                if !holds_most(&inner[..end], negated) {
                    return false;
                }
                &inner[end + 1..]
            }
            _ => return false,
        };
    }
    true
}

/// Whether a bracket's characters, or all others, are many of those that names are made of.
fn holds_most(inner: &str, negated: bool) -> bool {
    if inner.contains("[:") {
        return true;
    }
    let chars: Vec<char> = inner.chars().collect();
    let holds =
        |c: char| chars.contains(&c) || chars.windows(3).any(|w| w[1] == '-' && (w[0]..=w[2]).contains(&c));
    let count = ('a'..='z').chain('A'..='Z').chain('0'..='9').filter(|c| holds(*c) != negated).count();
    count >= MANY
}

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
}
