//! Redaction of text that comes in pieces: what may be the beginning of a secret is held back until it is known.

use crate::Scoped;

/// One stream of text. A word is held back until it ends; a key block until its last line.
pub struct Stream {
    scoped: Scoped,
    held: Vec<u8>,
    /// Bytes of `held` in which no word ends.
    seen: usize,
}

impl Stream {
    pub(crate) fn new(scoped: Scoped) -> Self {
        Self { scoped, held: Vec::new(), seen: 0 }
    }

    /// Takes a piece; gives what can be shown, without secrets. Often nothing.
    pub fn push(&mut self, piece: &str) -> String {
        text(self.push_bytes(piece.as_bytes()))
    }

    /// What was held back, now that nothing follows.
    pub fn finish(&mut self) -> String {
        text(self.finish_bytes())
    }

    /// As `push`, for bytes.
    pub fn push_bytes(&mut self, piece: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(piece);
        let lines = self.scoped.scanner().has_extra();
        let ends = |b: &u8| if lines { *b == b'\n' } else { b.is_ascii_whitespace() || !b.is_ascii() };
        let end = self.held[self.seen..].iter().rposition(ends).map(|at| self.seen + at + 1);
        self.seen = self.held.len();
        let Some(end) = end else { return Vec::new() };
        let end = self.scoped.scanner().open(&self.held, end);
        // A character whose last bytes are still to come belongs to what comes.
        let end = (0..=end).rev().find(|at| is_border(&self.held, *at)).unwrap_or(0);
        if end == 0 {
            return Vec::new();
        }
        let rest = self.held.split_off(end);
        let ready = std::mem::replace(&mut self.held, rest);
        self.seen = self.held.len();
        self.scoped.redact_bytes(&ready).into_owned()
    }

    pub fn finish_bytes(&mut self) -> Vec<u8> {
        self.seen = 0;
        let held = std::mem::take(&mut self.held);
        self.scoped.redact_bytes(&held).into_owned()
    }
}

/// Pieces of text end at characters, and so do redactions.
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn is_border(bytes: &[u8], at: usize) -> bool {
    bytes.get(at).is_none_or(|b| b & 0xC0 != 0x80)
}
