//! Words and snippets, the same for every store's search.

/// The words of a query or a text: runs of letters and digits, in lower case. Whatever else stands there, search
/// syntax included, only separates words.
pub fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase)
}

/// At most 1 KiB of a text round the first of the words that is in it, with `…` where it is cut.
pub fn snippet(text: &str, words: &[String]) -> String {
    if text.len() <= SNIPPET_BYTES {
        return text.to_owned();
    }
    let at = position(text, words).unwrap_or(0);
    // Room for two ellipses of three bytes each.
    let room = SNIPPET_BYTES - 6;
    let from = text.ceil_char_boundary(at.saturating_sub(room / 4).min(text.len() - room));
    let to = text.floor_char_boundary(from + room);
    let start = if from > 0 { "…" } else { "" };
    let end = if to < text.len() { "…" } else { "" };
    format!("{start}{}{end}", &text[from..to])
}

/// Where the first of the words starts.
fn position(text: &str, words: &[String]) -> Option<usize> {
    let mut start = None;
    for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
        match (start, c.is_alphanumeric()) {
            (None, true) => start = Some(at),
            (Some(from), false) => {
                if words.iter().any(|word| *word == text[from..at].to_lowercase()) {
                    return Some(from);
                }
                start = None;
            }
            (None, false) | (Some(_), true) => {}
        }
    }
    None
}

/// The most bytes of a snippet.
pub const SNIPPET_BYTES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syntax_is_only_words() {
        let of = |text: &str| words(text).collect::<Vec<_>>();
        assert_eq!(of("\"Foo\" AND (bar* OR -baz:^qux"), ["foo", "and", "bar", "or", "baz", "qux"]);
        assert!(of("\"*()^-:").is_empty());
    }

    #[test]
    fn snippets_show_the_match_and_stay_small() {
        let word = [String::from("needle")];
        assert_eq!(snippet("a needle here", &word), "a needle here");
        for pad in ["x ", "é ", "日本"] {
            for (before, after) in [(0, 3000), (3000, 0), (2000, 2000)] {
                let text = format!("{} needle {}", pad.repeat(before), pad.repeat(after));
                let cut = snippet(&text, &word);
                assert!(
                    cut.len() <= SNIPPET_BYTES && cut.contains("needle"),
                    "{pad} {before} {after}: {cut}"
                );
                assert_eq!((cut.starts_with('…'), cut.ends_with('…')), (before > 0, after > 0));
            }
        }
        assert!(snippet(&"x".repeat(5000), &word).len() <= SNIPPET_BYTES);
    }
}
