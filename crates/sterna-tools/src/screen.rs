//! What a terminal shows after it was sent these bytes. Pure; no bytes panic.

use std::num::NonZeroU16;
use std::panic::catch_unwind;

use sterna_shell::shim::Screen;
use vt100::Parser;

/// A screen as text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Lines without blanks at their ends, and without empty lines at the end.
    pub text: String,
    /// Line and column of the cursor, from 1.
    pub cursor: (u16, u16),
}

/// The screen as it is now; with `scrolled` also the lines that have left it at the top, 1,000 at most.
pub(crate) fn show(bytes: &[u8], screen: Screen, scrolled: bool) -> Shown {
    let shown = catch_unwind(|| {
        let size = |n: u16| NonZeroU16::new(n).unwrap_or(NonZeroU16::MIN);
        let mut parser = Parser::new(size(screen.rows), size(screen.cols), SCROLLBACK);
        parser.process(bytes);
        let (row, column) = parser.screen().cursor_position();
        let mut lines = Vec::new();
        if scrolled {
            let rows = usize::from(screen.rows).max(1);
            let mut above = parser.screen().scrollback_len();
            while above > 0 {
                parser.screen_mut().set_scrollback(above);
                let page = parser.screen().rows(0, screen.cols).take(above.min(rows));
                lines.extend(page.map(|line| line.trim_end().to_owned()));
                above = above.saturating_sub(rows);
            }
            parser.screen_mut().set_scrollback(0);
        }
        lines.extend(parser.screen().rows(0, screen.cols).map(|line| line.trim_end().to_owned()));
        let kept = lines.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1);
        lines.truncate(kept);
        Shown { text: lines.join("\n"), cursor: (row + 1, column + 1) }
    });
    // The bytes without what steers: what can be told when the terminal cannot.
    shown.unwrap_or_else(|_| {
        let text = String::from_utf8_lossy(bytes);
        let plain: String = text.chars().filter(|c| !c.is_control() || *c == '\n').collect();
        Shown { text: plain, cursor: (1, 1) }
    })
}

const SCROLLBACK: usize = 1000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SMALL: Screen = Screen { cols: 10, rows: 3 };

    #[test]
    fn a_screen_is_what_a_person_would_see() {
        for (bytes, text, cursor) in [
            (&b""[..], "", (1, 1)),
            (b"one\r\ntwo", "one\ntwo", (2, 4)),
            (b"\x1b[31mred\x1b[0m", "red", (1, 4)),
            (b"10%\r50%\r99%", "99%", (1, 4)),
            (b"ab\x08c", "ac", (1, 3)),
            (b"\x1b[2J\x1b[3;5Hx", "\n\n    x", (3, 6)),
            (b"gone\x1b[2J\x1b[Hnew", "new", (1, 4)),
            (b"0123456789ab", "0123456789\nab", (2, 3)),
            (b"\x1b]0;title\x07\xff\xfex", "x", (1, 2)),
        ] {
            assert_eq!(show(bytes, SMALL, false), Shown { text: text.into(), cursor }, "{bytes:?}");
        }
    }

    #[test]
    fn lines_that_have_left_the_screen_come_first() {
        let bytes: String = (1..=20).map(|n| format!("line {n}\r\n")).collect();
        assert_eq!(show(bytes.as_bytes(), SMALL, false).text, "line 19\nline 20");
        let want: Vec<String> = (1..=20).map(|n| format!("line {n}")).collect();
        assert_eq!(show(bytes.as_bytes(), SMALL, true).text, want.join("\n"));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(prop_oneof![Just(0x1b), Just(b'['), Just(b';'), 0x20u8..0x7f, any::<u8>()], 0..200),
                cols in 1u16..20, rows in 1u16..5) {
            let shown = show(&bytes, Screen { cols, rows }, true);
            prop_assert!(shown.text.lines().count() <= SCROLLBACK + usize::from(rows));
        }
    }
}
