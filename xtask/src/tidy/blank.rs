//! Rust source with comments, texts and tests blanked out, so that a word found is a word that runs.
//!
//! Lines stay where they are: what is taken away becomes spaces.

/// A source file in parts.
pub struct Blanked {
    /// The code, without comments and without what is inside texts.
    pub code: String,
    /// The comments, without the code.
    pub comments: String,
}

/// Separates code from comments.
pub fn blank(source: &str) -> Blanked {
    let chars: Vec<char> = source.chars().collect();
    let mut out =
        Parts { code: String::with_capacity(source.len()), comments: String::with_capacity(source.len()) };
    let mut at = 0;
    while at < chars.len() {
        let end = match (chars[at], chars.get(at + 1)) {
            ('/', Some('/')) => line_end(&chars, at),
            ('/', Some('*')) => block_end(&chars, at),
            _ => at,
        };
        if end > at {
            out.comment(&chars[at..end]);
            at = end;
            continue;
        }
        let end = text_end(&chars, at);
        if end > at {
            out.text(&chars[at..end]);
            at = end;
            continue;
        }
        out.code(chars[at]);
        at += 1;
    }
    Blanked { code: out.code, comments: out.comments }
}

/// Blanks every item that is compiled for tests only. `code` comes from [`blank`].
pub fn without_tests(code: &str) -> String {
    let mut rest = code;
    let mut out = String::with_capacity(code.len());
    while let Some(at) = rest.find(TEST_ONLY) {
        let (before, item) = rest.split_at(at);
        out.push_str(before);
        let end = item_end(item);
        out.extend(item[..end].chars().map(spaced));
        rest = &item[end..];
    }
    out.push_str(rest);
    out
}

struct Parts {
    code: String,
    comments: String,
}

impl Parts {
    fn code(&mut self, c: char) {
        self.code.push(c);
        self.comments.push(spaced(c));
    }

    fn comment(&mut self, chars: &[char]) {
        self.comments.extend(chars);
        self.code.extend(chars.iter().copied().map(spaced));
    }

    /// Keeps the quotes, so that the code still reads as code.
    fn text(&mut self, chars: &[char]) {
        self.comments.extend(chars.iter().copied().map(spaced));
        let last = chars.len() - 1;
        let kept = |(i, c): (usize, &char)| if i == 0 || i == last { *c } else { spaced(*c) };
        self.code.extend(chars.iter().enumerate().map(kept));
    }
}

fn line_end(chars: &[char], at: usize) -> usize {
    at + chars[at..].iter().position(|c| *c == '\n').unwrap_or(chars.len() - at)
}

fn block_end(chars: &[char], at: usize) -> usize {
    let (mut depth, mut i) = (0usize, at);
    while i < chars.len() {
        match (chars[i], chars.get(i + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                i += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                i += 2;
                if depth == 0 {
                    return i;
                }
            }
            _ => i += 1,
        }
    }
    chars.len()
}

/// The end of the text or character that begins here; `at` when none does.
fn text_end(chars: &[char], at: usize) -> usize {
    match chars[at] {
        '"' => quoted_end(chars, at),
        '\'' => char_end(chars, at),
        'r' if !(at > 0 && is_word(chars[at - 1]) && chars[at - 1] != 'b') => raw_end(chars, at),
        _ => at,
    }
}

fn quoted_end(chars: &[char], at: usize) -> usize {
    let mut i = at + 1;
    while i < chars.len() {
        match chars[i] {
            '\\' => i += 2,
            '"' => return i + 1,
            _ => i += 1,
        }
    }
    chars.len()
}

/// `'a'` and `'\n'` are characters, `'a` is a lifetime.
fn char_end(chars: &[char], at: usize) -> usize {
    match chars.get(at + 1) {
        Some('\\') => {
            // The escaped character itself may be a quote.
            let closing = chars.iter().skip(at + 3).position(|c| *c == '\'');
            closing.map_or(at, |i| at + 3 + i + 1)
        }
        Some(_) if chars.get(at + 2) == Some(&'\'') => at + 3,
        _ => at,
    }
}

fn raw_end(chars: &[char], at: usize) -> usize {
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    if chars.get(at + 1 + hashes) != Some(&'"') {
        return at;
    }
    let mut i = at + 2 + hashes;
    while i < chars.len() {
        let closed =
            chars[i] == '"' && chars[i + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes;
        if closed {
            return i + 1 + hashes;
        }
        i += 1;
    }
    chars.len()
}

/// The end of the item that begins with its attributes.
fn item_end(item: &str) -> usize {
    let mut depth = 0usize;
    for (at, c) in item.char_indices() {
        match c {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 && c == '}' {
                    return at + 1;
                }
            }
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    item.len()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn spaced(c: char) -> char {
    if c == '\n' { '\n' } else { ' ' }
}

const TEST_ONLY: &str = "#[cfg(test)]";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_and_comments_are_told_apart() {
        // Source, the words that must be in its code, the words that must not be.
        let table = [
            ("let a = 1; // std::fs", "let a", "std::fs"),
            ("/* x /* y */ z */ b", "b", "z"),
            ("\"std::fs\" + c", "c", "std"),
            ("\"a \\\" std::fs\" + c", "+ c", "std"),
            ("r#\"a \" std::fs\"# + c", "+ c", "std"),
            ("br\"std::fs\" + c", "+ c", "std"),
            ("let q = '\"'; d(\"x\")", "d(", "x"),
            ("let q = '\\''; e", "e", "\\"),
            ("fn f<'a>(x: &'a str) { g }", "<'a>(x: &'a str) { g }", "std"),
            ("\"// not a comment\"; h", "h", "comment"),
            ("for_r(\"i\")", "for_r(", "i\")x"),
        ];
        for (source, kept, gone) in table {
            let code = blank(source).code;
            assert!(code.contains(kept), "{source}: {code}");
            assert!(!code.contains(gone), "{source}: {code}");
            assert_eq!(code.chars().count(), source.chars().count());
        }
        assert_eq!(blank("a // b\nc").comments.trim(), "// b");
    }

    #[test]
    fn tests_are_taken_away_and_lines_stay() {
        let source = "fn a() {}\n#[cfg(test)]\nmod tests {\n  fn b() { \"}\" }\n}\nfn c() {}\n#[cfg(test)]\nmod d;\nfn e() {}";
        let code = without_tests(&blank(source).code);
        for kept in ["fn a", "fn c", "fn e"] {
            assert!(code.contains(kept), "{kept}");
        }
        for gone in ["fn b", "mod d", "mod tests"] {
            assert!(!code.contains(gone), "{gone}");
        }
        assert_eq!(code.lines().count(), source.lines().count());
    }
}
