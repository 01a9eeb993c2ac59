//! The text of a PDF document, page by page.
//!
//! A PDF is a program of strangers for a parser of strangers: it runs in a thread of its own, with a stack and bounds of
//! its own. Whatever it does there, the caller gets an answer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::Duration;

use lopdf::{Document, LoadOptions};

/// Pages of a document as text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pages {
    /// The numbers that were asked for and are there.
    pub first: u32,
    pub last: u32,
    pub total: u32,
    pub text: String,
}

/// Reads pages `first` to `last`, from 1, at most `MAX_PAGES` of them. An error says what is wrong with the document or
/// the numbers.
pub(crate) fn read(bytes: Vec<u8>, first: u32, last: u32) -> Result<Pages, String> {
    read_within(bytes, first, last, READ_WITHIN)
}

fn read_within(bytes: Vec<u8>, first: u32, last: u32, limit: Duration) -> Result<Pages, String> {
    let (answer, answered) = mpsc::sync_channel(1);
    let work = move || {
        let pages = catch_unwind(AssertUnwindSafe(|| pages(&bytes, first, last)));
        // Nobody waits any more: that is no error of ours.
        drop(answer.send(pages.unwrap_or_else(|_| Err("its parts contradict each other".into()))));
    };
    let thread = std::thread::Builder::new().name("sterna-pdf".into()).stack_size(STACK_BYTES).spawn(work);
    thread.map_err(|error| format!("no thread could be started: {error}"))?;
    let late = |_| format!("it took longer than {} s to read", limit.as_secs());
    answered.recv_timeout(limit).map_err(late)?
}

fn pages(bytes: &[u8], first: u32, last: u32) -> Result<Pages, String> {
    let options = LoadOptions { max_decompressed_size: Some(STREAM_BYTES), ..LoadOptions::default() };
    let document = Document::load_mem_with_options(bytes, options).map_err(|error| error.to_string())?;
    if document.is_encrypted() {
        return Err("it is encrypted".into());
    }
    // A circle of pages would have no end.
    let total = u32::try_from(document.page_iter().take(PAGES_COUNTED).count()).unwrap_or(u32::MAX);
    if total == 0 {
        return Err("it has no pages".into());
    }
    if first > total {
        return Err(format!("it has {total} pages; page {first} is past its end"));
    }
    let last = last.min(total).min(first.saturating_add(MAX_PAGES - 1));
    let mut text = String::new();
    for number in first..=last {
        text.push_str(&format!("[page {number}]\n"));
        let page = document.extract_text_with_limit(&[number], STREAM_BYTES);
        let page = page.unwrap_or_else(|error| format!("[its text cannot be read: {error}]"));
        let page = page.trim();
        text.push_str(if page.is_empty() { "[no text; it may be a picture]" } else { page });
        text.push('\n');
        if text.len() > TEXT_BYTES {
            text.truncate(text.floor_char_boundary(TEXT_BYTES));
            return Ok(Pages { first, last: number, total, text });
        }
    }
    Ok(Pages { first, last, total, text })
}

/// Pages of one call.
pub(crate) const MAX_PAGES: u32 = 20;
const READ_WITHIN: Duration = Duration::from_secs(30);
/// What one stream may become when it is unpacked.
const STREAM_BYTES: usize = 32 << 20;
const TEXT_BYTES: usize = 4 << 20;
const STACK_BYTES: usize = 64 << 20;
const PAGES_COUNTED: usize = 100_000;

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A document with one line of text a page.
    pub(crate) fn document(pages: &[&str]) -> Vec<u8> {
        let mut objects = vec!["<</Type/Catalog/Pages 2 0 R>>".to_owned()];
        let kids: Vec<String> = (0..pages.len()).map(|at| format!("{} 0 R", 4 + at * 2)).collect();
        objects.push(format!("<</Type/Pages/Kids[{}]/Count {}>>", kids.join(" "), pages.len()));
        objects.push("<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>".into());
        for (at, page) in pages.iter().enumerate() {
            objects.push(format!(
                "<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]/Resources<</Font<</F1 3 0 R>>>>/Contents {} 0 R>>",
                5 + at * 2
            ));
            let content = format!("BT /F1 12 Tf 10 100 Td ({page}) Tj ET");
            objects.push(format!("<</Length {}>>stream\n{content}\nendstream", content.len()));
        }
        let mut text = "%PDF-1.4\n".to_owned();
        let mut offsets = Vec::new();
        for (at, object) in objects.iter().enumerate() {
            offsets.push(text.len());
            text.push_str(&format!("{} 0 obj\n{object}\nendobj\n", at + 1));
        }
        let xref = text.len();
        text.push_str(&format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1));
        for offset in offsets {
            text.push_str(&format!("{offset:010} 00000 n \n"));
        }
        text.push_str(&format!(
            "trailer\n<</Size {}/Root 1 0 R>>\nstartxref\n{xref}\n%%EOF\n",
            objects.len() + 1
        ));
        text.into_bytes()
    }

    #[test]
    fn pages_come_as_text() {
        let names: Vec<String> = (1..=45).map(|n| format!("text of {n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let bytes = document(&names);
        let two = read(bytes.clone(), 2, 3).unwrap();
        assert_eq!((two.first, two.last, two.total), (2, 3, 45));
        assert_eq!(two.text, "[page 2]\ntext of 2\n[page 3]\ntext of 3\n");
        let many = read(bytes.clone(), 1, 45).unwrap();
        assert_eq!((many.first, many.last), (1, 20));
        let end = read(bytes.clone(), 44, 99).unwrap();
        assert_eq!((end.first, end.last), (44, 45));
        assert_eq!(read(bytes.clone(), 46, 46).unwrap_err(), "it has 45 pages; page 46 is past its end");
        assert!(read(b"%PDF-1.7 nothing".to_vec(), 1, 1).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_damaged_document_is_an_answer(cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20), end in any::<prop::sample::Index>()) {
            let mut bytes = document(&["one", "two"]);
            for (at, byte) in cuts {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let _ = read(bytes.clone(), 1, 20);
            bytes.truncate(end.index(bytes.len()));
            let _ = read(bytes, 1, 20);
        }
    }
}
