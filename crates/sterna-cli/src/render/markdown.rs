//! Markdown on a terminal, line by line: text is shown as it comes, and a finished line is shown again in its style.

/// Styles streamed text. Plain when the terminal has no colour.
pub struct Markdown {
    /// Finished lines are styled.
    styled: bool,
    /// Columns of the terminal: a line that wrapped cannot be drawn again.
    width: usize,
    line: String,
    in_code: bool,
}

impl Markdown {
    pub fn new(styled: bool, width: usize) -> Self {
        Self { styled, width, line: String::new(), in_code: false }
    }

    /// What to write for a further piece of text.
    pub fn push(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len() + 16);
        for piece in text.split_inclusive('\n') {
            match piece.strip_suffix('\n') {
                Some(end) => {
                    out.push_str(end);
                    self.line.push_str(end);
                    self.finish_line(&mut out);
                    out.push('\n');
                }
                None => {
                    out.push_str(piece);
                    self.line.push_str(piece);
                }
            }
        }
        out
    }

    /// What to write at the text's end, so that the cursor stands at the beginning of a line.
    pub fn end(&mut self) -> String {
        let mut out = String::new();
        if !self.line.is_empty() {
            self.finish_line(&mut out);
            out.push('\n');
        }
        self.in_code = false;
        out
    }

    /// The cursor stands in the middle of a line.
    pub fn is_open(&self) -> bool {
        !self.line.is_empty()
    }

    fn finish_line(&mut self, out: &mut String) {
        let line = std::mem::take(&mut self.line);
        let fence = line.trim_start().starts_with("```");
        let style = styled(&line, self.in_code || fence);
        self.in_code ^= fence;
        if self.styled && style != line && columns(&line) < self.width {
            out.push_str("\r\x1b[2K");
            out.push_str(&style);
        }
    }
}

/// One line in its style.
fn styled(line: &str, code: bool) -> String {
    if code {
        return format!("\x1b[2m{line}\x1b[0m");
    }
    let text = line.trim_start();
    let indent = &line[..line.len() - text.len()];
    let hashes = text.bytes().take_while(|b| *b == b'#').count();
    if (1..=6).contains(&hashes) && text[hashes..].starts_with(' ') {
        return format!("{indent}\x1b[1m{}\x1b[0m", text[hashes..].trim());
    }
    match text.strip_prefix("- ").or_else(|| text.strip_prefix("* ")) {
        Some(item) => format!("{indent}• {}", inline(item)),
        None => format!("{indent}{}", inline(text)),
    }
}

/// `code` and **strong** in a line.
fn inline(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(at) = rest.find(['`', '*']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let marked = [("`", "\x1b[36m"), ("**", "\x1b[1m")].into_iter().find_map(|(mark, on)| {
            let inner = rest.strip_prefix(mark)?;
            let end = inner.find(mark).filter(|end| *end > 0)?;
            Some((format!("{on}{}\x1b[0m", &inner[..end]), &inner[end + mark.len()..]))
        });
        match marked {
            Some((piece, after)) => {
                out.push_str(&piece);
                rest = after;
            }
            None => {
                let stars = rest.bytes().take_while(|b| *b == rest.as_bytes()[0]).count();
                out.push_str(&rest[..stars]);
                rest = &rest[stars..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// Columns at most: whatever is not ASCII counts as wide.
fn columns(line: &str) -> usize {
    line.chars().map(|c| if c.is_ascii() { 1 } else { 2 }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_styled_when_they_are_finished() {
        let check = |text: &str, shown: &str| {
            let mut markdown = Markdown::new(true, 80);
            let all = markdown.push(text) + &markdown.end();
            assert_eq!(all, shown, "{text:?}");
            assert!(!markdown.is_open());
        };
        check("plain\n", "plain\n");
        check("plain", "plain\n");
        check("", "");
        check("# Title\n", "# Title\r\x1b[2K\x1b[1mTitle\x1b[0m\n");
        check("- a `b`\n", "- a `b`\r\x1b[2K• a \x1b[36mb\x1b[0m\n");
        check("so **very** good", "so **very** good\r\x1b[2Kso \x1b[1mvery\x1b[0m good\n");
        check("2 * 3 ** 4 ` 5\n", "2 * 3 ** 4 ` 5\n");
        check(
            "```\n# no\n```\n",
            "```\r\x1b[2K\x1b[2m```\x1b[0m\n# no\r\x1b[2K\x1b[2m# no\x1b[0m\n```\r\x1b[2K\x1b[2m```\x1b[0m\n",
        );
        check("#hash and ***\n", "#hash and ***\n");
    }

    #[test]
    fn a_line_that_wrapped_or_has_no_colour_stays_as_it_came() {
        let mut narrow = Markdown::new(true, 6);
        assert_eq!(narrow.push("# Title\n"), "# Title\n");
        let mut plain = Markdown::new(false, 80);
        assert_eq!(plain.push("# Ti"), "# Ti");
        assert!(plain.is_open());
        assert_eq!(plain.push("tle"), "tle");
        assert_eq!(plain.end(), "\n");
    }
}
