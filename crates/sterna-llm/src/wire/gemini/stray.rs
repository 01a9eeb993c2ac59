//! What a body holds beside its events: an error in the middle of a stream comes as plain JSON, over many lines.

use serde_json::Value;

use super::errors;

/// The lines of a body that are no events.
#[derive(Default)]
pub(super) struct Stray {
    text: Vec<u8>,
    line: Line,
}

#[derive(Default, Clone, Copy)]
enum Line {
    #[default]
    Start,
    Kept,
    Skipped,
}

impl Stray {
    pub(super) fn take(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
            if let (Line::Start, Some(first)) = (self.line, piece.first()) {
                // The fields of events, comments, and a byte order mark.
                let skipped = matches!(first, b'd' | b'e' | b'i' | b'r' | b':' | 0xef);
                self.line = if skipped { Line::Skipped } else { Line::Kept };
            }
            if matches!(self.line, Line::Kept) {
                let room = MAX_STRAY_BYTES - self.text.len();
                self.text.extend_from_slice(&piece[..piece.len().min(room)]);
            }
            if piece.ends_with(b"\n") || piece.ends_with(b"\r") {
                self.line = Line::Start;
            }
        }
    }

    /// The error among it, once the body has ended.
    pub(super) fn error(&self) -> Option<Value> {
        serde_json::from_slice(&self.text).ok().filter(errors::is_error)
    }
}

/// More than any error is long.
const MAX_STRAY_BYTES: usize = 64 << 10;
