//! Files of the history: which of them a request shows, and what stands for the others.
//!
//! What is decided here depends on the history and on what the model was said to take, and both are in the log. The
//! bytes come from outside: `wanted` names them, `show` puts them in.

use std::collections::BTreeMap;
use std::sync::Arc;

use sterna_llm::{CallResult, FilePart, Item, Shown, UserPart};
use sterna_model::{Attachment, Digest, FilesSent, InputPart, Sight, ToolOutcome};

use crate::untrusted::marked;

/// How the bytes of a blob are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Form {
    /// In base64 with padding.
    Base64,
    /// As text; what is not UTF-8 in it replaced.
    Text,
}

/// Blobs of files, in the form in which they are wanted. `None`: it is not kept any more.
pub type Loaded = BTreeMap<(Digest, Form), Option<Arc<str>>>;

/// Whether there is a file in this history.
pub fn has_files(items: &[Arc<Item>]) -> bool {
    items.iter().any(|item| files(item).next().is_some())
}

/// The blobs that a request of these items shows.
pub fn wanted(items: &[Arc<Item>], sight: Sight) -> Vec<(Digest, Form)> {
    let blob = |way: &Way| match way {
        Way::Blob(hash, form) => Some((*hash, *form)),
        Way::Note(_) | Way::InView => None,
    };
    plan(items, sight).iter().filter_map(blob).collect()
}

/// The items with their files as the request shows them, and what that says of its size; `None`: there are no files.
/// A blob that was not brought counts as one that is not kept.
pub fn show(items: Vec<Arc<Item>>, sight: Sight, loaded: &Loaded) -> (Vec<Arc<Item>>, Option<FilesSent>) {
    let mut ways = plan(&items, sight);
    if ways.is_empty() {
        return (items, None);
    }
    let mut sent = FilesSent { sight, bytes: 0, tokens: 0 };
    let mut next = |file: &FilePart| {
        let shown = match ways.pop()? {
            Way::InView => return None,
            Way::Note(note) => Shown::Text(note.into()),
            Way::Blob(hash, form) => match (loaded.get(&(hash, form)).cloned().flatten(), form) {
                (None, _) => Shown::Text(not_shown(&file.file, "its bytes are not kept any more").into()),
                (Some(data), Form::Base64) => {
                    sent.bytes += data.len() as u64;
                    sent.tokens += tokens(&file.file);
                    Shown::Data(data)
                }
                (Some(text), Form::Text) => Shown::Text(quoted(file, &text).into()),
            },
        };
        Some(FilePart { shown, ..file.clone() })
    };
    let items = items
        .into_iter()
        .map(|item| match &*item {
            Item::Mixed(parts) => {
                let part = |part: &UserPart| match part {
                    UserPart::Text(text) => vec![UserPart::Text(text.clone())],
                    UserPart::File(file) => next(file).map(introduced).unwrap_or_default(),
                };
                Arc::new(Item::Mixed(parts.iter().flat_map(part).collect()))
            }
            Item::Results(results) if results.iter().any(|result| !result.files.is_empty()) => {
                let result = |result: &CallResult| {
                    let files: Vec<FilePart> = result.files.iter().filter_map(&mut next).collect();
                    let text = shown_instead(&files).unwrap_or_else(|| result.text.clone());
                    CallResult { text, files, ..result.clone() }
                };
                Arc::new(Item::Results(results.iter().map(result).collect()))
            }
            Item::User(_) | Item::Assistant(_) | Item::Results(_) => item,
        })
        .collect();
    (items, Some(sent))
}

/// What stands for a file that was shown before and is no longer sent.
pub fn reference(file: &Attachment) -> String {
    let text = if file.is_text() { Some(&file.blob) } else { file.text.as_ref() };
    let how = match text {
        Some(blob) => format!("; recall {{\"ref\":\"blob:{}\"}} reads its text", blob.hash),
        None => String::new(),
    };
    format!("[{} was shown before and is left out here{how}]", named(file))
}

/// An input as an item. Nobody has brought the bytes yet.
pub(crate) fn user_item(parts: &[InputPart]) -> Item {
    let texts: Option<Vec<String>> = parts
        .iter()
        .map(|part| match part {
            InputPart::Text(text) => Some(text.clone()),
            InputPart::File(_) => None,
        })
        .collect();
    texts.map(Item::User).unwrap_or_else(|| {
        let part = |part: &InputPart| match part {
            InputPart::Text(text) => UserPart::Text(text.clone()),
            InputPart::File(file) => UserPart::File(unshown(file, None)),
        };
        Item::Mixed(parts.iter().map(part).collect())
    })
}

/// The files of a tool's result.
pub(crate) fn result_files(result: &ToolOutcome) -> Vec<FilePart> {
    let origin = result.untrusted.as_ref().map(|untrusted| untrusted.origin.clone());
    result.attachments.iter().map(|file| unshown(file, origin.clone())).collect()
}

/// The texts of what a person said, with the names of the files.
pub(crate) fn said(parts: &[UserPart]) -> String {
    let text = |part: &UserPart| match part {
        UserPart::Text(text) => text.clone(),
        UserPart::File(file) => format!("[file {}]", file.file.name),
    };
    parts.iter().map(text).collect::<Vec<_>>().join("\n")
}

/// What a person said, with references in place of the files.
pub(crate) fn referred(parts: &[UserPart]) -> Item {
    let text = |part: &UserPart| match part {
        UserPart::Text(text) => text.clone(),
        UserPart::File(part) => reference(&part.file),
    };
    Item::User(parts.iter().map(text).collect())
}

/// What the files of an item are worth in bytes of text.
pub(crate) fn weight(item: &Item) -> u64 {
    let of = |part: &FilePart| match (part.file.is_text(), &part.file.text) {
        (true, _) => part.file.blob.bytes,
        (false, Some(text)) if !part.file.is_pdf() => text.bytes,
        (false, _) => tokens(&part.file) * 4,
    };
    files(item).map(of).sum()
}

/// What becomes of a file.
enum Way {
    Blob(Digest, Form),
    Note(String),
    /// The result's text has it already.
    InView,
}

/// What becomes of each file, the oldest last. The newest are shown, as far as a request may grow by them.
fn plan(items: &[Arc<Item>], sight: Sight) -> Vec<Way> {
    let (mut bytes, mut count, mut full) = (0u64, 0usize, false);
    let mut ways = Vec::new();
    for item in items.iter().rev() {
        let mut of_item: Vec<&FilePart> = files(item).collect();
        of_item.reverse();
        for part in of_item {
            let way = way(&part.file, sight);
            let size = match &way {
                Way::Blob(hash, _) => {
                    part.file.blobs().find(|blob| blob.hash == *hash).map(|blob| blob.bytes)
                }
                Way::Note(_) | Way::InView => None,
            };
            let Some(size) = size else {
                ways.push(way);
                continue;
            };
            (bytes, count) = (bytes.saturating_add(size), count + 1);
            full |= bytes > MAX_SENT_BYTES || count > MAX_SENT;
            ways.push(if full { Way::Note(reference(&part.file)) } else { way });
        }
    }
    ways
}

fn way(file: &Attachment, sight: Sight) -> Way {
    if file.is_text() {
        return Way::Blob(file.blob.hash, Form::Text);
    }
    if (file.is_image() && sight.images) || (file.is_pdf() && sight.documents) {
        return Way::Blob(file.blob.hash, Form::Base64);
    }
    match &file.text {
        Some(text) => Way::Blob(text.hash, Form::Text),
        None if file.in_view => Way::InView,
        None if file.is_image() => Way::Note(not_shown(file, "this model is not known to take images")),
        None if file.is_pdf() => {
            Way::Note(not_shown(file, "this model is not known to take PDF documents, and it has no text"))
        }
        None => Way::Note(not_shown(file, "no model takes files of this kind")),
    }
}

fn files(item: &Item) -> impl Iterator<Item = &FilePart> {
    let (said, results) = match item {
        Item::Mixed(parts) => (parts.as_slice(), [].as_slice()),
        Item::Results(results) => ([].as_slice(), results.as_slice()),
        Item::User(_) | Item::Assistant(_) => ([].as_slice(), [].as_slice()),
    };
    let said = said.iter().filter_map(|part| match part {
        UserPart::File(file) => Some(file),
        UserPart::Text(_) => None,
    });
    said.chain(results.iter().flat_map(|result: &CallResult| &result.files))
}

fn unshown(file: &Attachment, origin: Option<String>) -> FilePart {
    FilePart { file: Arc::new(file.clone()), origin, shown: Shown::Text(reference(file).into()) }
}

/// Bytes alone do not say what a person calls them.
fn introduced(file: FilePart) -> Vec<UserPart> {
    let name = match &file.shown {
        Shown::Data(_) => Some(UserPart::Text(format!("[{}]", named(&file.file)))),
        Shown::Text(_) => None,
    };
    name.into_iter().chain([UserPart::File(file)]).collect()
}

/// The text of a result whose own text is that of a file that is shown itself.
fn shown_instead(files: &[FilePart]) -> Option<String> {
    let file = files.iter().find(|part| part.file.in_view && matches!(part.shown, Shown::Data(_)))?;
    let text = format!("[{} is shown as it is]", named(&file.file));
    Some(match &file.origin {
        Some(origin) => marked(&text, origin),
        None => text,
    })
}

fn quoted(part: &FilePart, text: &str) -> String {
    let text = format!("<file name=\"{}\">\n{}\n</file>", name(&part.file), text.trim_end_matches('\n'));
    match &part.origin {
        Some(origin) => marked(&text, origin),
        None => text,
    }
}

fn not_shown(file: &Attachment, why: &str) -> String {
    format!("[{} is not shown: {why}]", named(file))
}

/// A name that ends no bracket and no mark.
fn name(file: &Attachment) -> String {
    let harmless = |c: char| if c.is_control() || "\"<>[]".contains(c) { '_' } else { c };
    file.name.chars().take(NAME_CHARS).map(harmless).collect()
}

/// `image shot.png (image/png, 640×480, 12345 bytes)`.
fn named(file: &Attachment) -> String {
    let kind = match () {
        () if file.media_type.starts_with("image/") => "image",
        () if file.is_pdf() => "document",
        () => "file",
    };
    let size = match (file.width, file.height) {
        (Some(width), Some(height)) => format!("{width}×{height}, "),
        _ => String::new(),
    };
    let pages = match file.pages {
        Some(1) => "1 page, ".to_owned(),
        Some(pages) => format!("{pages} pages, "),
        None => String::new(),
    };
    format!("{kind} {} ({}, {size}{pages}{} bytes)", name(file), file.media_type, file.blob.bytes)
}

/// What a file is thought to cost: an image by its pixels as providers say that they count, a page of a document as text
/// and image together.
fn tokens(file: &Attachment) -> u64 {
    if file.is_pdf() {
        return u64::from(file.pages.unwrap_or(PAGES_ASSUMED)) * PAGE_TOKENS;
    }
    match (file.width, file.height) {
        (Some(width), Some(height)) => (u64::from(width) * u64::from(height) / PIXELS_A_TOKEN)
            .clamp(IMAGE_TOKENS_LEAST, IMAGE_TOKENS_MOST),
        _ => IMAGE_TOKENS_MOST,
    }
}

/// Bytes of files in one request, before base64: providers take requests of 32 MB.
const MAX_SENT_BYTES: u64 = 20_000_000;
/// Files in one request.
const MAX_SENT: usize = 100;
/// The rule of thumb of the Messages API.
const PIXELS_A_TOKEN: u64 = 750;
const IMAGE_TOKENS_LEAST: u64 = 85;
/// Providers make larger images smaller before they count.
const IMAGE_TOKENS_MOST: u64 = 5_000;
/// Characters of a name.
const NAME_CHARS: usize = 200;
const PAGE_TOKENS: u64 = 3_000;
const PAGES_ASSUMED: u32 = 20;
