//! `read`: a text file with line numbers, a notebook by its cells, a PDF document by its pages, an image as it is.

use std::borrow::Cow;
use std::path::Path;

use futures::FutureExt;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use sterna_model::{Attachment, BlobRef, EffectClass, Fact, PDF, ToolSpec};
use sterna_tool::{
    Access, Image, Output, Plan, PlanContext, Tool, ToolContext, ToolDone, ToolError, ToolReturn, ViewBudget,
    shown,
};

use crate::attach;
use crate::file::{self, Snapshot};
use crate::notebook::Notebook;
use crate::pdf;
use crate::support::{blocking, counted, cut, key, number, parse, place, planned};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Args {
    /// File to read, relative to the working directory or absolute.
    path: String,
    /// First line to show, from 1.
    #[schemars(range(min = 1))]
    offset: Option<u64>,
    /// Lines to show, 2000 at most.
    #[schemars(range(min = 1))]
    limit: Option<u64>,
    /// Pages of a PDF document, such as `3` or `21-40`; 20 at once.
    pages: Option<String>,
}

pub(crate) struct Read {
    spec: ToolSpec,
}

impl Read {
    pub(crate) fn new() -> Self {
        Self { spec: crate::schema::spec::<Args>("read", include_str!("read.md")) }
    }
}

impl Tool for Read {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn class(&self, _: &Value) -> EffectClass {
        EffectClass::Pure
    }

    fn plan(&self, cx: &PlanContext, args: &Value) -> Result<Plan, ToolError> {
        let args: Args = parse(args)?;
        let path = place(&cx.cwd, &args.path)?;
        let summary = format!("read {}", shown(&path, &cx.cwd));
        Ok(Plan { accesses: vec![Access::Read(path)], summary, preview: None })
    }

    fn call<'a>(&'a self, cx: ToolContext, args: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        async move {
            let args: Args = parse(&args)?;
            let path = planned(&cx, &args.path)?;
            let cancel = cx.cancel.clone();
            let blobs = cx.blobs.clone();
            let Found { mut done, file } = blocking(&cancel, move |_| read(&args, &path, &cx.cwd)).await?;
            if let Some(Beside { mut file, bytes }) = file {
                let failed = |error| ToolError::failed(format!("`{}` could not be kept: {error}", file.name));
                let kept = blobs.put(bytes.into()).await.map_err(failed)?;
                file.blob = kept;
                done.attachments.push(file);
            }
            Ok(ToolReturn::Done(done))
        }
        .boxed()
    }
}

/// A result, and a file that is to be shown beside it.
struct Found {
    done: ToolDone,
    file: Option<Beside>,
}

/// Bytes that are not kept yet.
struct Beside {
    file: Attachment,
    bytes: Vec<u8>,
}

impl From<ToolDone> for Found {
    fn from(done: ToolDone) -> Self {
        Self { done, file: None }
    }
}

fn read(args: &Args, path: &Path, cwd: &Path) -> Result<Found, ToolError> {
    let snapshot = file::read(path).map_err(|trouble| trouble.told(path, cwd))?;
    let name = shown(path, cwd);
    if snapshot.bytes.starts_with(b"%PDF-") {
        return pdf(args, &name, snapshot, path);
    }
    if args.pages.is_some() {
        return Err(ToolError::invalid(format!("`{name}` has no pages; offset and limit choose its lines")));
    }
    if let Some(found) = Image::of(&snapshot.bytes) {
        return picture(found, &name, snapshot, path);
    }
    if let Some(kind) = binary_kind(&snapshot.bytes) {
        return Err(ToolError::failed(format!(
            "`{name}` is {kind} of {} bytes, not text; use shell with a program that knows this format",
            number(snapshot.bytes.len() as u64)
        )));
    }
    let text = String::from_utf8_lossy(&snapshot.bytes);
    let is_notebook = path.extension().is_some_and(|extension| extension == "ipynb");
    // What is none is shown as the text that it is.
    let notebook = is_notebook.then(|| Notebook::read(&text).ok()).flatten().map(|notebook| notebook.shown());
    let text = notebook.map_or(text.clone(), Cow::Owned);
    Ok(ToolDone {
        output: Output::Text(page(&text, &name, snapshot.bytes.len(), args)?),
        // The page keeps itself to the budget; the trailer has lines of its own.
        budget: ViewBudget { bytes: MAX_VIEW_BYTES, lines: MAX_LINES + 2, head_percent: 100 },
        facts: vec![Fact::FileRead { path: key(path), hash: snapshot.hash }],
        ..ToolDone::default()
    }
    .into())
}

/// An image: a line about it, and itself.
fn picture(found: Image, name: &str, snapshot: Snapshot, path: &Path) -> Result<Found, ToolError> {
    attach::fits(name, snapshot.bytes.len(), found).map_err(ToolError::failed)?;
    let Image { media_type, width, height } = found;
    let size = snapshot.bytes.len() as u64;
    let text = format!("`{name}`: {media_type}, {width}×{height} pixels, {} bytes", number(size));
    let mut file = unkept(path, media_type, &snapshot);
    (file.width, file.height) = (Some(width), Some(height));
    let facts = vec![Fact::FileRead { path: key(path), hash: snapshot.hash }];
    let done = ToolDone { output: Output::Text(text), facts, ..ToolDone::default() };
    Ok(Found { done, file: Some(Beside { file, bytes: snapshot.bytes }) })
}

/// An attachment of a file whose bytes are not kept yet.
fn unkept(path: &Path, media_type: &str, snapshot: &Snapshot) -> Attachment {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let blob = BlobRef { hash: snapshot.hash, bytes: snapshot.bytes.len() as u64 };
    Attachment::new(name, media_type, blob)
}

fn pdf(args: &Args, name: &str, snapshot: Snapshot, path: &Path) -> Result<Found, ToolError> {
    let (first, last) = match &args.pages {
        Some(pages) => range(pages).ok_or_else(|| {
            ToolError::invalid(format!("`{}` names no pages; write 3 or 21-40", cut(pages, 40)))
        })?,
        None => (1, pdf::MAX_PAGES),
    };
    let read = pdf::read(snapshot.bytes.clone(), first, last)
        .map_err(|why| ToolError::failed(format!("`{name}` is a PDF document that cannot be read: {why}")))?;
    let mut text = read.text;
    text.push_str(&format!("[pages {}–{} of {}", read.first, read.last, read.total));
    if read.last < read.total {
        text.push_str(&format!("; pages {}-{} reads on", read.last + 1, (read.last + 20).min(read.total)));
    }
    text.push(']');
    // Whole, for a model that takes it: else the pages that were asked for, as text.
    let whole = args.pages.is_none() && read.last == read.total;
    let facts = vec![Fact::FileRead { path: key(path), hash: snapshot.hash }];
    let file = (whole && snapshot.bytes.len() as u64 <= attach::MAX_BYTES).then(|| Beside {
        file: Attachment { pages: Some(read.total), in_view: true, ..unkept(path, PDF, &snapshot) },
        bytes: snapshot.bytes,
    });
    let done = ToolDone {
        output: Output::Text(text),
        budget: ViewBudget { bytes: MAX_VIEW_BYTES, lines: MAX_LINES, head_percent: 100 },
        facts,
        ..ToolDone::default()
    };
    Ok(Found { done, file })
}

/// `3`, `21-40`: from 1, the first not behind the last.
fn range(text: &str) -> Option<(u32, u32)> {
    let (first, last) = text.split_once(['-', '–']).unwrap_or((text, text));
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (1 <= first && first <= last).then_some((first, last))
}

/// The wanted lines with their numbers, and a trailer when these are not all.
fn page(text: &str, name: &str, bytes: usize, args: &Args) -> Result<String, ToolError> {
    if text.is_empty() {
        return Ok(format!("`{name}` is empty (0 bytes)"));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let total = text.lines().count();
    let index = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let first = index(args.offset.unwrap_or(1));
    let limit = index(args.limit.unwrap_or(MAX_LINES as u64)).min(MAX_LINES);
    if first == 0 || limit == 0 {
        return Err(ToolError::invalid("offset and limit count from 1"));
    }
    if first > total {
        return Err(ToolError::failed(format!(
            "`{name}` has {}; offset {first} is past its end",
            counted(total, "line")
        )));
    }
    let mut view = String::new();
    let mut last = first - 1;
    for (at, line) in text.lines().enumerate().skip(first - 1).take(limit) {
        let before = view.len();
        view.push_str(&format!("{}\t", at + 1));
        match line.char_indices().nth(MAX_LINE_CHARS) {
            None => view.push_str(line),
            Some((cut, _)) => {
                view.push_str(&line[..cut]);
                view.push_str(&format!("… [{} more characters]", number(line[cut..].chars().count() as u64)));
            }
        }
        view.push('\n');
        if view.len() > MAX_VIEW_BYTES - TRAILER_BYTES {
            view.truncate(before);
            break;
        }
        last = at + 1;
    }
    if first > 1 || last < total {
        view.push_str(&format!(
            "[lines {}–{} of {}, {} bytes in all",
            number(first as u64),
            number(last as u64),
            number(total as u64),
            number(bytes as u64)
        ));
        let more = if last < total { format!("; offset {} reads on]", last + 1) } else { "]".into() };
        view.push_str(&more);
    }
    Ok(view)
}

/// What the bytes are, when they are not text.
fn binary_kind(bytes: &[u8]) -> Option<&'static str> {
    let start = &bytes[..bytes.len().min(SNIFFED)];
    let lossy = String::from_utf8_lossy(start);
    let broken = lossy.chars().filter(|c| *c == char::REPLACEMENT_CHARACTER).count();
    let is_text = !start.contains(&0) && broken * 10 <= lossy.chars().count();
    if is_text {
        return None;
    }
    let known = SIGNATURES.iter().find(|(signature, _)| start.starts_with(signature));
    Some(known.map_or("binary data", |(_, kind)| kind))
}

const MAX_LINES: usize = 2000;
const MAX_LINE_CHARS: usize = 2000;
const MAX_VIEW_BYTES: usize = 64 << 10;
/// Room for the last line.
const TRAILER_BYTES: usize = 160;
const SNIFFED: usize = 8 << 10;
const SIGNATURES: &[(&[u8], &str)] = &[
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"RIFF", "a RIFF file, such as a WebP image"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"\x7fELF", "an ELF program"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"\xff\xfe", "UTF-16 text"),
    (b"\xfe\xff", "UTF-16 text"),
];
