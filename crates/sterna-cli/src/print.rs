//! Where output goes: data on stdout, everything else on stderr, colour only where somebody sees it.

use std::io::{self, ErrorKind, IsTerminal, Write};

use serde::Serialize;

use crate::failure::Failure;

/// How this process prints. Cheap to copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Print {
    /// Colour on stdout.
    pub color: bool,
    /// Colour on stderr.
    pub color_err: bool,
    /// Stdout is a terminal that can move its cursor.
    pub live: bool,
    /// Stderr is a terminal that can move its cursor.
    pub live_err: bool,
}

/// The few styles there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
    Cyan,
}

impl Print {
    /// As `NO_COLOR`, `CLICOLOR_FORCE`, `TERM` and the streams themselves say.
    pub fn from_env() -> Self {
        Self::decide(&|name| std::env::var(name).ok(), io::stdout().is_terminal(), io::stderr().is_terminal())
    }

    /// `NO_COLOR` wins over `CLICOLOR_FORCE`, which wins over what the streams are.
    pub fn decide(get: &dyn Fn(&str) -> Option<String>, out_tty: bool, err_tty: bool) -> Self {
        let set = |name: &str| get(name).is_some_and(|value| !value.is_empty());
        let dumb = get("TERM").as_deref() == Some("dumb");
        let forced = set("CLICOLOR_FORCE") && get("CLICOLOR_FORCE").as_deref() != Some("0");
        let color = |tty: bool| !set("NO_COLOR") && (forced || (tty && !dumb));
        Self {
            color: color(out_tty),
            color_err: color(err_tty),
            live: out_tty && !dumb,
            live_err: err_tty && !dumb,
        }
    }

    /// Writes text to stdout as it is.
    pub fn out(&self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| cannot_write(&error))
    }

    /// Writes bytes to stdout as they are, and leaves it to the stream when they go.
    pub fn bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        io::stdout().lock().write_all(bytes).map_err(|error| cannot_write(&error))
    }

    /// Writes a line to stdout.
    pub fn line(&self, text: &str) -> Result<(), Failure> {
        self.out(&format!("{text}\n"))
    }

    /// Writes a value as one line of compact JSON to stdout.
    pub fn json(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value)
            .map_err(|error| Failure::failed(format!("cannot show it as JSON: {error}")))?;
        self.line(&text)
    }

    /// Writes a line to stderr. Nobody there to read it is no failure.
    pub fn note(&self, text: &str) {
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    pub fn error(&self, text: &str) {
        self.note(&format!("{} {text}", self.paint_err("error:", Style::Red)));
    }

    pub fn warning(&self, text: &str) {
        self.note(&format!("{} {text}", self.paint_err("warning:", Style::Yellow)));
    }

    pub fn hint(&self, text: &str) {
        self.note(&format!("{} {text}", self.paint_err("hint:", Style::Cyan)));
    }

    /// For stdout.
    pub fn paint(&self, text: &str, style: Style) -> String {
        painted(text, style, self.color)
    }

    /// For stderr.
    pub fn paint_err(&self, text: &str, style: Style) -> String {
        painted(text, style, self.color_err)
    }
}

/// Text from models, tools and files with its control characters made visible, so that it cannot drive a terminal.
/// Line breaks and tabs stay.
pub fn harmless(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' | '\t' => c,
        '\u{0}'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}'),
        '\u{7f}' => '\u{2421}',
        // C1 controls, and the marks that change the direction of what follows.
        '\u{80}'..='\u{9f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        _ => c,
    };
    text.replace("\r\n", "\n").chars().map(shown).collect()
}

/// `harmless`, on one line of at most `max` characters.
pub fn one_line(text: &str, max: usize) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = harmless(&words.join(" "));
    if line.chars().count() <= max {
        return line;
    }
    let cut: String = line.chars().take(max.saturating_sub(1)).collect();
    format!("{}…", cut.trim_end())
}

fn painted(text: &str, style: Style, color: bool) -> String {
    if !color {
        return text.to_owned();
    }
    let code = match style {
        Style::Bold => 1,
        Style::Dim => 2,
        Style::Red => 31,
        Style::Green => 32,
        Style::Yellow => 33,
        Style::Cyan => 36,
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

fn cannot_write(error: &io::Error) -> Failure {
    match error.kind() {
        ErrorKind::BrokenPipe => Failure::reader_gone(),
        _ => Failure::failed(format!("cannot write to stdout: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_only_where_somebody_sees_it() {
        let check = |env: &[(&str, &str)], tty: bool, colored: bool| {
            let get = |name: &str| {
                env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(Print::decide(&get, tty, tty).color, colored, "{env:?} {tty}");
        };
        check(&[], true, true);
        check(&[], false, false);
        check(&[("NO_COLOR", "1")], true, false);
        check(&[("NO_COLOR", "")], true, true);
        check(&[("TERM", "dumb")], true, false);
        check(&[("CLICOLOR_FORCE", "1")], false, true);
        check(&[("CLICOLOR_FORCE", "0")], false, false);
        check(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], true, false);
        check(&[("CLICOLOR_FORCE", "1"), ("TERM", "dumb")], false, true);
    }

    #[test]
    fn what_models_say_cannot_drive_the_terminal() {
        assert_eq!(harmless("a\x1b[2Jb\r\nc\td\u{9b}\u{202e}"), "a␛[2Jb\nc\td\u{fffd}\u{fffd}");
        assert_eq!(one_line("  many\n words\there ", 12), "many words…");
        assert_eq!(one_line("short", 12), "short");
    }
}
