//! `grep`: what is in files, by regular expression.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use futures::FutureExt;
use futures::future::BoxFuture;
use grep::matcher::Matcher;
use grep::regex::{RegexMatcher, RegexMatcherBuilder};
use grep::searcher::{
    BinaryDetection, Searcher, SearcherBuilder, Sink, SinkContext, SinkContextKind, SinkFinish, SinkMatch,
};
use ignore::types::TypesBuilder;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use sterna_model::{EffectClass, ToolSpec};
use sterna_tool::{Access, Plan, PlanContext, Tool, ToolContext, ToolDone, ToolError, ToolReturn, shown};

use crate::file;
use crate::support::{Stop, blocking, counted, number, parse, place, planned};
use crate::walk::{Filters, pattern, walk};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Args {
    /// Regular expression.
    pattern: String,
    /// Folder or file to search; the working directory when left out.
    path: Option<String>,
    /// Only files that match, for example `*.rs`.
    glob: Option<String>,
    /// Only files of this type, for example `rust`.
    #[serde(rename = "type")]
    kind: Option<String>,
    mode: Option<Mode>,
    /// Lines to show before and after each match.
    #[schemars(range(max = 20))]
    context: Option<u64>,
    case_insensitive: Option<bool>,
    /// Let a match go over line ends.
    multiline: Option<bool>,
    /// Matches (mode content) or files to show, 250 at most.
    #[schemars(range(min = 1))]
    limit: Option<u64>,
    /// Matches or files to leave out before the first one.
    offset: Option<u64>,
    sort: Option<Sort>,
}

impl Args {
    fn path(&self) -> &str {
        self.path.as_deref().unwrap_or(".")
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Mode {
    Content,
    Files,
    Count,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Sort {
    Path,
    Newest,
}

pub(crate) struct Grep {
    spec: ToolSpec,
}

impl Grep {
    pub(crate) fn new() -> Self {
        Self { spec: crate::schema::spec::<Args>("grep", include_str!("grep.md")) }
    }
}

impl Tool for Grep {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn class(&self, _: &Value) -> EffectClass {
        EffectClass::Pure
    }

    fn plan(&self, cx: &PlanContext, args: &Value) -> Result<Plan, ToolError> {
        let args: Args = parse(args)?;
        matcher(&args)?;
        let path = place(&cx.cwd, args.path())?;
        let summary = format!("grep {} in {}", args.pattern.escape_debug(), shown(&path, &cx.cwd));
        Ok(Plan { accesses: vec![Access::ReadTree(path)], summary, preview: None })
    }

    fn call<'a>(&'a self, cx: ToolContext, args: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        async move {
            let args: Args = parse(&args)?;
            let path = planned(&cx, args.path())?;
            let cancel = cx.cancel.clone();
            blocking(&cancel, move |stop| grep(&args, &path, &cx.cwd, stop)).await.map(ToolReturn::Done)
        }
        .boxed()
    }
}

fn grep(args: &Args, root: &Path, cwd: &Path, stop: &Stop) -> Result<ToolDone, ToolError> {
    let matcher = matcher(args)?;
    let index = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let context = index(args.context.unwrap_or(0)).min(MAX_CONTEXT);
    let multiline = args.multiline.unwrap_or(false);
    let mode = args.mode.unwrap_or(Mode::Content);
    let mut searcher = SearcherBuilder::new()
        .line_number(true)
        .multi_line(multiline)
        .binary_detection(BinaryDetection::quit(0))
        .heap_limit(Some(HEAP_BYTES))
        .before_context(if mode == Mode::Content { context } else { 0 })
        .after_context(if mode == Mode::Content { context } else { 0 })
        .build();
    let limit = index(args.limit.unwrap_or(MAX_MATCHES)).min(index(MAX_MATCHES));
    let mut page = Page { skip: index(args.offset.unwrap_or(0)), left: limit, more: false };
    let offset = page.skip;

    let files = files(args, root, cwd, stop)?;
    let (mut text, mut searched, mut skipped, mut matches) = (String::new(), 0, 0, 0usize);
    for path in &files {
        stop.check()?;
        // Gone, or swapped for something else, since the walk: it has no matches.
        let Ok((file, _)) = file::open(path) else { continue };
        let mut lines = Lines {
            matcher: &matcher,
            mode,
            page,
            text: String::new(),
            before: String::new(),
            matches: 0,
            shown: false,
            broken: false,
            is_binary: false,
        };
        let done = searcher.search_reader(&matcher, Stoppable { inner: file, stop }, &mut lines);
        stop.check()?;
        if done.is_err() || lines.is_binary {
            skipped += 1;
            continue;
        }
        searched += 1;
        let name = shown(path, cwd);
        if lines.matches == 0 {
            continue;
        }
        match mode {
            Mode::Content => {
                page = lines.page;
                matches += lines.matches;
                if !lines.text.is_empty() {
                    text.push_str(&format!("{name}\n{}", lines.text));
                }
            }
            Mode::Files | Mode::Count => {
                matches += 1;
                if page.take() {
                    let count =
                        if mode == Mode::Count { format!(":{}", lines.matches) } else { String::new() };
                    text.push_str(&format!("{name}{count}\n"));
                }
            }
        }
        if page.more {
            break;
        }
    }
    let skipped =
        if skipped == 0 { String::new() } else { format!(", {} skipped", counted(skipped, "binary file")) };
    let what = if mode == Mode::Content { "match" } else { "file" };
    if text.is_empty() && matches == 0 {
        text = format!(
            "no match for `{}` in `{}` ({} searched{skipped})",
            args.pattern,
            shown(root, cwd),
            counted(searched, "file")
        );
    } else if text.is_empty() {
        text = format!("[nothing from offset {offset} on: there are {} to show]", number(matches as u64));
    } else if page.more {
        let next = offset.saturating_add(limit);
        let plural = if what == "match" { "matches" } else { "files" };
        text.insert_str(
            0,
            &format!(
                "[the first {} {plural} after offset {offset}; there are more, offset {next} shows them]\n",
                number(limit as u64)
            ),
        );
    }
    Ok(ToolDone::text(text))
}

fn matcher(args: &Args) -> Result<RegexMatcher, ToolError> {
    let multiline = args.multiline.unwrap_or(false);
    let mut builder = RegexMatcherBuilder::new();
    builder.case_insensitive(args.case_insensitive.unwrap_or(false)).multi_line(true);
    if !multiline {
        builder.line_terminator(Some(b'\n'));
    }
    builder.build(&args.pattern).map_err(|error| ToolError::invalid(format!("pattern: {error}")))
}

/// The files to search, in the order in which they are shown.
fn files(args: &Args, root: &Path, cwd: &Path, stop: &Stop) -> Result<Vec<PathBuf>, ToolError> {
    match file::open(root) {
        Ok(_) => return Ok(vec![root.to_path_buf()]),
        Err(file::Trouble::Folder) => crate::walk::check_folder(root, cwd)?,
        Err(trouble) => return Err(trouble.told(root, cwd)),
    }
    let glob = args.glob.as_deref().map(pattern).transpose()?;
    // Hidden files only by `path`: then policy has seen their names.
    let mut walk = walk(root, Filters { hidden: true, ignored: true });
    if let Some(kind) = &args.kind {
        let mut types = TypesBuilder::new();
        types.add_defaults().select(kind);
        let types = types
            .build()
            .map_err(|_| ToolError::invalid(format!("`{kind}` is not a known file type; use glob")))?;
        walk.types(types);
    }
    let mut found: Vec<(Option<SystemTime>, PathBuf)> = Vec::new();
    for entry in walk.build().flatten() {
        stop.check()?;
        let is_file = entry.file_type().is_some_and(|kind| kind.is_file());
        let inner = entry.path().strip_prefix(root).unwrap_or(entry.path());
        if is_file && glob.as_ref().is_none_or(|glob| glob.is_match(inner)) {
            let changed = match args.sort.unwrap_or(Sort::Path) {
                Sort::Path => None,
                Sort::Newest => entry.metadata().ok().and_then(|meta| meta.modified().ok()),
            };
            found.push((changed, entry.into_path()));
        }
    }
    // Stable: the walk's order stays where no times were asked for.
    found.sort_by_key(|(changed, _)| std::cmp::Reverse(*changed));
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// Which of the matches are shown.
#[derive(Clone, Copy)]
struct Page {
    skip: usize,
    left: usize,
    /// There was one match too many.
    more: bool,
}

impl Page {
    /// Counts a match, and tells whether it is shown.
    fn take(&mut self) -> bool {
        if self.skip > 0 {
            self.skip -= 1;
            false
        } else if self.left > 0 {
            self.left -= 1;
            true
        } else {
            self.more = true;
            false
        }
    }
}

/// The matches of one file.
struct Lines<'a> {
    matcher: &'a RegexMatcher,
    mode: Mode,
    page: Page,
    text: String,
    /// Context before a match that may not be shown.
    before: String,
    matches: usize,
    /// The last match was shown, so the context after it is too.
    shown: bool,
    /// There is a gap before the next line.
    broken: bool,
    is_binary: bool,
}

impl Lines<'_> {
    fn line(&self, number: u64, mark: char, line: &[u8]) -> String {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned();
        format!("{number}{mark}{}\n", self.around_match(&line))
    }

    /// The line, or of a long one the part with the match.
    fn around_match(&self, line: &str) -> String {
        if line.len() <= MAX_LINE_CHARS || line.chars().count() <= MAX_LINE_CHARS {
            return line.to_owned();
        }
        let at = self.matcher.find(line.as_bytes()).ok().flatten().map_or(0, |found| found.start());
        let at = line[..line.floor_char_boundary(at)].chars().count();
        let from = if at < MAX_LINE_CHARS * 4 / 5 { 0 } else { at - MAX_LINE_CHARS / 5 };
        let shown: String = line.chars().skip(from).take(MAX_LINE_CHARS).collect();
        let (before, after) = (if from > 0 { "…" } else { "" }, line.chars().count() > from + MAX_LINE_CHARS);
        format!("{before}{shown}{}", if after { "…" } else { "" })
    }
}

impl Sink for Lines<'_> {
    type Error = io::Error;

    fn matched(&mut self, _: &Searcher, found: &SinkMatch<'_>) -> Result<bool, io::Error> {
        self.matches += 1;
        match self.mode {
            Mode::Files => return Ok(false),
            Mode::Count => return Ok(true),
            Mode::Content => {}
        }
        self.shown = self.page.take();
        let before = std::mem::take(&mut self.before);
        if self.shown {
            if self.broken && !self.text.is_empty() {
                self.text.push_str("--\n");
            }
            self.text.push_str(&before);
            let first = found.line_number().unwrap_or(0);
            for (line, number) in found.lines().zip(first..) {
                let line = self.line(number, ':', line);
                self.text.push_str(&line);
            }
        }
        self.broken = false;
        Ok(!self.page.more)
    }

    fn context(&mut self, _: &Searcher, context: &SinkContext<'_>) -> Result<bool, io::Error> {
        let line = self.line(context.line_number().unwrap_or(0), '-', context.bytes());
        match context.kind() {
            SinkContextKind::Before => self.before.push_str(&line),
            SinkContextKind::After | SinkContextKind::Other if self.shown => self.text.push_str(&line),
            SinkContextKind::After | SinkContextKind::Other => {}
        }
        Ok(true)
    }

    fn context_break(&mut self, _: &Searcher) -> Result<bool, io::Error> {
        self.broken = true;
        self.before.clear();
        Ok(true)
    }

    fn finish(&mut self, _: &Searcher, finish: &SinkFinish) -> Result<(), io::Error> {
        self.is_binary = finish.binary_byte_offset().is_some();
        Ok(())
    }
}

/// Ends a read when the call is not wanted any more.
struct Stoppable<'a, R> {
    inner: R,
    stop: &'a Stop,
}

impl<R: io::Read> io::Read for Stoppable<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_set() {
            return Err(io::Error::other("cancelled"));
        }
        self.inner.read(buffer)
    }
}

const MAX_MATCHES: u64 = 250;
const MAX_CONTEXT: usize = 20;
const MAX_LINE_CHARS: usize = 500;
/// A line, or with `multiline` a file, that is larger is skipped.
const HEAP_BYTES: usize = 64 << 20;
