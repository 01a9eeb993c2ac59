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
}
