//! The view of a tool result: what the model sees of an output that may be large.

use sterna_model::BlobRef;

/// A view, and whether it is all there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Projected {
    pub view: String,
    pub whole: bool,
}

/// Cuts `text` to a budget of `bytes` and `lines`, markers included, at character borders. The first `head_percent`
/// of it show the beginning, the rest the end. `full` names where the whole output is, once it is kept.
pub fn project(
    text: &str,
    full: Option<&BlobRef>,
    bytes: usize,
    lines: usize,
    head_percent: u8,
) -> Projected {
    if text.len() <= bytes && text.lines().count() <= lines {
        return Projected { view: text.to_owned(), whole: true };
    }
    let room = bytes.saturating_sub(MARKER_ROOM);
    let line_room = lines.saturating_sub(1);
    let share = |all: usize| all * usize::from(head_percent.min(100)) / 100;
    let head = take_head(text, share(room), share(line_room));
    let tail = take_tail(&text[head.len()..], room - share(room), line_room - share(line_room));
    let left_out = &text[head.len()..text.len() - tail.len()];
    let marker = marker(left_out.len() as u64, Some(left_out.lines().count()), full);
    let mut view = head.to_owned();
    if !view.is_empty() && !view.ends_with('\n') {
        view.push('\n');
    }
    view.push_str(&marker);
    if !tail.is_empty() {
        view.push('\n');
        view.push_str(tail);
    }
    Projected { view, whole: false }
}

/// The view of an output of which only the two ends are at hand. `note` says how it ended, and is never cut.
pub fn project_ends(
    head: &str,
    tail: &str,
    note: &str,
    full: &BlobRef,
    bytes: usize,
    lines: usize,
    head_percent: u8,
) -> String {
    let room = bytes.saturating_sub(MARKER_ROOM + note.len() + 1);
    let line_room = lines.saturating_sub(1 + note.lines().count());
    let share = |all: usize| all * usize::from(head_percent.min(100)) / 100;
    let shown_head = take_head(head, share(room), share(line_room));
    let shown_tail = take_tail(tail, room - share(room), line_room - share(line_room));
    let hidden = full.bytes.saturating_sub((shown_head.len() + shown_tail.len()) as u64);
    let mut view = String::with_capacity(bytes);
    for piece in [shown_head, &marker(hidden, None, Some(full)), shown_tail, note] {
        if !view.is_empty() && !view.ends_with('\n') {
            view.push('\n');
        }
        view.push_str(piece);
    }
    view
}

/// Says how much is missing, and how to read it.
pub fn marker(bytes: u64, lines: Option<usize>, full: Option<&BlobRef>) -> String {
    let lines = lines.map(|n| format!(", {n} lines")).unwrap_or_default();
    let how = match full {
        Some(blob) => format!("; recall {{\"ref\":\"blob:{}\"}} reads all {} bytes", blob.hash, blob.bytes),
        None => String::new(),
    };
    format!("[... {bytes} bytes{lines} not shown{how}]")
}

/// Room kept for the marker: its text with a hash and three large numbers.
const MARKER_ROOM: usize = 200;

fn take_head(text: &str, bytes: usize, lines: usize) -> &str {
    let mut end = 0;
    for line in text.split_inclusive('\n').take(lines) {
        if end + line.len() > bytes {
            // A line that does not fit is cut only when it would be the first: else the view ends at a whole line.
            if end == 0 {
                end = floor(text, bytes);
            }
            break;
        }
        end += line.len();
    }
    &text[..end]
}

fn take_tail(text: &str, bytes: usize, lines: usize) -> &str {
    let mut start = text.len();
    for line in text.split_inclusive('\n').rev().take(lines) {
        if text.len() - (start - line.len()) > bytes {
            if start == text.len() {
                start = ceil(text, text.len() - bytes.min(text.len()));
            }
            break;
        }
        start -= line.len();
    }
    &text[start..]
}

fn floor(text: &str, mut at: usize) -> usize {
    at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn ceil(text: &str, mut at: usize) -> usize {
    at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use sterna_model::Digest;

    #[test]
    fn a_small_output_is_shown_whole() {
        let shown = project("a\nb\n", None, 100, 2, 100);
        assert_eq!(shown, Projected { view: "a\nb\n".into(), whole: true });
    }

    #[test]
    fn a_large_output_keeps_its_budget_and_says_what_is_missing() {
        // 1 MiB in 5,000 lines with a two-byte character in each place where a cut could fall.
        let line = "é".repeat(104) + "\n";
        let text = line.repeat(5_000);
        let blob = BlobRef { hash: Digest::ZERO, bytes: text.len() as u64 };
        for head_percent in [100, 40, 0] {
            let shown = project(&text, Some(&blob), 16 << 10, 400, head_percent);
            assert!(!shown.whole);
            assert!(shown.view.len() <= 16 << 10, "{}", shown.view.len());
            assert!(shown.view.lines().count() <= 400);
            assert!(shown.view.contains("recall {\"ref\":\"blob:0000"));
            assert!(shown.view.contains("reads all 1045000 bytes"));
        }
        let one_line = "é".repeat(100_000);
        let shown = project(&one_line, None, 1_000, 10, 40);
        assert!(shown.view.len() <= 1_000 && shown.view.contains("[... 199"), "{}", shown.view);
    }

    #[test]
    fn head_and_tail_are_those_of_the_output() {
        let text: String = (1..=1000).map(|n| format!("line {n}\n")).collect();
        let shown = project(&text, None, 16 << 10, 11, 40);
        let expected = "line 1\nline 2\nline 3\nline 4\n[... 8810 bytes, 990 lines not shown]\nline 995\nline 996\n\
            line 997\nline 998\nline 999\nline 1000\n";
        assert_eq!(shown.view, expected);
    }
}
