//! Jupyter notebooks as text: read for a model, and changed cell by cell. Pure; no bytes panic.
//!
//! A change replaces the bytes of what it is about. Everything else in the file, fields that nobody here knows included,
//! stays as it was written.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::ser::PrettyFormatter;
use serde_json::value::RawValue;
use serde_json::{Serializer, Value, json};

use crate::support::{counted, cut};

/// A notebook over its text.
pub(crate) struct Notebook<'a> {
    text: &'a str,
    /// Of the list of cells, brackets included.
    list: Range<usize>,
    cells: Vec<Cell<'a>>,
    has_ids: bool,
}

/// A cell over its text.
pub(crate) struct Cell<'a> {
    range: Range<usize>,
    id: String,
    kind: String,
    source: Part,
    source_is_text: bool,
    lines: String,
    outputs: Option<(Part, &'a RawValue)>,
    count: Option<(Part, Option<u64>)>,
}

type Part = Range<usize>;

/// What a cell holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Code,
    Markdown,
    Raw,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Markdown => "markdown",
            Self::Raw => "raw",
        }
    }
}

/// A notebook without cells, or with one.
pub(crate) fn empty() -> String {
    "{\n \"cells\": [],\n \"metadata\": {},\n \"nbformat\": 4,\n \"nbformat_minor\": 5\n}\n".to_owned()
}

#[derive(Deserialize)]
struct Top<'a> {
    #[serde(borrow)]
    cells: &'a RawValue,
    nbformat: u64,
    #[serde(default)]
    nbformat_minor: u64,
}

#[derive(Deserialize)]
struct RawCell<'a> {
    #[serde(default)]
    id: Option<String>,
    cell_type: String,
    #[serde(borrow)]
    source: &'a RawValue,
    #[serde(borrow, default)]
    outputs: Option<&'a RawValue>,
    #[serde(borrow, default)]
    execution_count: Option<&'a RawValue>,
}

impl<'a> Notebook<'a> {
    /// Reads a notebook of format 4. An error says why it is none.
    pub(crate) fn read(text: &'a str) -> Result<Self, String> {
        let top: Top<'a> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if top.nbformat != 4 {
            return Err(format!("its format is {}, and only 4 is known", top.nbformat));
        }
        let within = |part: &str| {
            let at = part.as_ptr() as usize - text.as_ptr() as usize;
            at..at + part.len()
        };
        let raw: Vec<&'a RawValue> =
            serde_json::from_str(top.cells.get()).map_err(|error| error.to_string())?;
        let mut cells = Vec::with_capacity(raw.len());
        for (at, raw) in raw.into_iter().enumerate() {
            let cell: RawCell<'a> =
                serde_json::from_str(raw.get()).map_err(|error| format!("cell {}: {error}", at + 1))?;
            let source: Source = serde_json::from_str(cell.source.get())
                .map_err(|_| format!("cell {}: its source is neither text nor lines", at + 1))?;
            let number = |raw: &RawValue| serde_json::from_str(raw.get()).ok();
            cells.push(Cell {
                range: within(raw.get()),
                // Older notebooks have none: then the place is the name.
                id: cell.id.unwrap_or_else(|| format!("#{}", at + 1)),
                kind: cell.cell_type,
                source: within(cell.source.get()),
                source_is_text: matches!(source, Source::Text(_)),
                lines: source.joined(),
                outputs: cell.outputs.map(|raw| (within(raw.get()), raw)),
                count: cell.execution_count.map(|raw| (within(raw.get()), number(raw))),
            });
        }
        let has_ids = top.nbformat_minor >= 5 || cells.iter().any(|cell| !cell.id.starts_with('#'));
        Ok(Self { text, list: within(top.cells.get()), cells, has_ids })
    }

    /// The cells for a model: a line with the id, the source, and the outputs in short.
    pub(crate) fn shown(&self) -> String {
        let mut text = format!("[notebook, {}]\n", counted(self.cells.len(), "cell"));
        for cell in &self.cells {
            text.push_str(&format!("[cell {}, {}", cell.id, cell.kind));
            if let Some((_, Some(count))) = cell.count {
                text.push_str(&format!(", run {count}"));
            }
            text.push_str("]\n");
            push_lines(&mut text, &cell.lines);
            let Some((_, outputs)) = &cell.outputs else { continue };
            let outputs: Vec<Value> = serde_json::from_str(outputs.get()).unwrap_or_default();
            for output in outputs {
                text.push_str("[output]\n");
                push_lines(&mut text, &output_text(&output));
            }
        }
        text
    }

    pub(crate) fn position(&self, id: &str) -> Result<usize, String> {
        let mut found = self.cells.iter().enumerate().filter(|(_, cell)| cell.id == id).map(|(at, _)| at);
        match (found.next(), found.next()) {
            (Some(at), None) => Ok(at),
            (Some(_), Some(_)) => Err(format!("several cells have the id `{id}`")),
            (None, _) => {
                let known: Vec<&str> =
                    self.cells.iter().take(IDS_NAMED).map(|cell| cell.id.as_str()).collect();
                let more = if self.cells.len() > IDS_NAMED { ", …" } else { "" };
                Err(format!("there is no cell `{id}`; cells are {}{more}", known.join(", ")))
            }
        }
    }

    /// The text with a cell's source replaced, and its type where that is given. What it has put out is outdated, and
    /// goes.
    pub(crate) fn replaced(&self, at: usize, source: Option<&str>, kind: Option<Kind>) -> String {
        let cell = &self.cells[at];
        let source = source.unwrap_or(&cell.lines);
        if let Some(kind) = kind.filter(|kind| kind.word() != cell.kind) {
            let old: Value = serde_json::from_str(&self.text[cell.range.clone()]).unwrap_or_default();
            return self.spliced(vec![(cell.range.clone(), self.cell_text(old, None, kind, source))]);
        }
        let value = if cell.source_is_text { json!(source) } else { json!(lines(source)) };
        let mut parts = vec![(cell.source.clone(), self.rendered(&value, KEY_DEPTH))];
        if source != cell.lines {
            parts.extend(cell.outputs.iter().map(|(range, _)| (range.clone(), "[]".to_owned())));
            parts.extend(cell.count.iter().map(|(range, _)| (range.clone(), "null".to_owned())));
        }
        self.spliced(parts)
    }

    /// The text with a new cell at this place.
    pub(crate) fn inserted(&self, at: usize, id: &str, kind: Kind, source: &str) -> String {
        let id = self.has_ids.then_some(id);
        let new = self.cell_text(json!({"metadata": {}}), id, kind, source);
        let mut cells = self.cell_texts();
        cells.insert(at.min(cells.len()), &new);
        self.with_cells(&cells)
    }

    pub(crate) fn removed(&self, at: usize) -> String {
        let mut cells = self.cell_texts();
        cells.remove(at);
        self.with_cells(&cells)
    }

    /// The text with a cell taken out, and put behind another one or at the beginning.
    pub(crate) fn moved(&self, from: usize, behind: Option<usize>) -> String {
        let mut cells = self.cell_texts();
        let cell = cells.remove(from);
        let to = behind.map_or(0, |behind| if behind < from { behind + 1 } else { behind });
        cells.insert(to, cell);
        self.with_cells(&cells)
    }

    pub(crate) fn text(&self) -> &'a str {
        self.text
    }

    pub(crate) fn id(&self, at: usize) -> Option<String> {
        self.cells.get(at).map(|cell| cell.id.clone())
    }

    pub(crate) fn len(&self) -> usize {
        self.cells.len()
    }

    fn cell_texts(&self) -> Vec<&str> {
        self.cells.iter().map(|cell| &self.text[cell.range.clone()]).collect()
    }

    /// The list anew, with what stood between its cells.
    fn with_cells(&self, cells: &[&str]) -> String {
        let unit = self.indent();
        let broken = |depth: usize| unit.map_or(String::new(), |unit| format!("\n{}", unit.repeat(depth)));
        let (open, gap, close) = match (self.cells.first(), self.cells.get(1), self.cells.last()) {
            (Some(first), second, Some(last)) => (
                self.text[self.list.start..first.range.start].to_owned(),
                second.map_or_else(
                    || format!(",{}", broken(CELL_DEPTH)),
                    |second| self.text[first.range.end..second.range.start].to_owned(),
                ),
                self.text[last.range.end..self.list.end].to_owned(),
            ),
            _ => (
                format!("[{}", broken(CELL_DEPTH)),
                format!(",{}", broken(CELL_DEPTH)),
                format!("{}]", broken(1)),
            ),
        };
        let list =
            if cells.is_empty() { "[]".to_owned() } else { format!("{open}{}{close}", cells.join(&gap)) };
        self.spliced(vec![(self.list.clone(), list)])
    }

    fn cell_text(&self, mut cell: Value, id: Option<&str>, kind: Kind, source: &str) -> String {
        if let Some(cell) = cell.as_object_mut() {
            cell.insert("cell_type".into(), kind.word().into());
            cell.insert("source".into(), json!(lines(source)));
            if let Some(id) = id {
                cell.insert("id".into(), id.into());
            }
            if kind == Kind::Code {
                cell.insert("outputs".into(), json!([]));
                cell.insert("execution_count".into(), Value::Null);
            } else {
                cell.remove("outputs");
                cell.remove("execution_count");
            }
        }
        self.rendered(&cell, CELL_DEPTH)
    }

    /// JSON as the file writes it, from this depth on.
    fn rendered(&self, value: &Value, depth: usize) -> String {
        let Some(unit) = self.indent() else { return value.to_string() };
        let mut bytes = Vec::new();
        let mut serializer =
            Serializer::with_formatter(&mut bytes, PrettyFormatter::with_indent(unit.as_bytes()));
        if value.serialize(&mut serializer).is_err() {
            return value.to_string();
        }
        // A line break is never part of a JSON text's values.
        String::from_utf8_lossy(&bytes).replace('\n', &format!("\n{}", unit.repeat(depth)))
    }

    /// What a level is indented by; `None`: all stands in one line.
    fn indent(&self) -> Option<&'a str> {
        let (_, rest) = self.text.trim_start().split_once('\n')?;
        let unit = &rest[..rest.len() - rest.trim_start_matches([' ', '\t']).len()];
        Some(if unit.is_empty() { " " } else { unit })
    }

    fn spliced(&self, mut parts: Vec<(Part, String)>) -> String {
        parts.sort_by_key(|(range, _)| std::cmp::Reverse(range.start));
        let mut text = self.text.to_owned();
        for (range, new) in parts {
            text.replace_range(range, &new);
        }
        text
    }
}

/// Text as the format has it: in one piece, or line by line.
#[derive(Deserialize)]
#[serde(untagged)]
enum Source {
    Text(String),
    Lines(Vec<String>),
}

impl Source {
    fn joined(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Lines(lines) => lines.concat(),
        }
    }
}

fn lines(source: &str) -> Vec<&str> {
    source.split_inclusive('\n').collect()
}

fn push_lines(text: &mut String, more: &str) {
    text.push_str(more);
    if !more.is_empty() && !more.ends_with('\n') {
        text.push('\n');
    }
}

/// The most telling form of an output, in short.
fn output_text(output: &Value) -> String {
    let plain = |value: &Value| {
        serde_json::from_value::<Source>(value.clone()).map(Source::joined).unwrap_or_default()
    };
    let text = match output.get("output_type").and_then(Value::as_str) {
        Some("stream") => plain(&output["text"]),
        Some("error") => {
            let word = |key: &str| output[key].as_str().unwrap_or_default().to_owned();
            format!("{}: {}", word("ename"), word("evalue"))
        }
        _ => {
            let data = output["data"].as_object();
            let form = |kind: &str| data.and_then(|data| data.get(kind)).map(&plain);
            form("text/markdown").or_else(|| form("text/plain")).unwrap_or_else(|| {
                let kinds = data.into_iter().flat_map(|data| data.keys());
                format!("[{}]", kinds.cloned().collect::<Vec<_>>().join(", "))
            })
        }
    };
    if text.len() <= OUTPUT_BYTES {
        return text;
    }
    let shown = cut(&text, OUTPUT_BYTES);
    format!("{shown}\n[… {} more bytes of this output]", text.len() - shown.len())
}

const CELL_DEPTH: usize = 2;
const KEY_DEPTH: usize = 3;
const OUTPUT_BYTES: usize = 2 << 10;
const IDS_NAMED: usize = 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOTEBOOK: &str = r##"{
 "cells": [
  {
   "cell_type": "markdown",
   "id": "intro",
   "metadata": {"x": 1e2},
   "source": [
    "# Title\n",
    "text"
   ]
  },
  {
   "attachments": {},
   "cell_type": "code",
   "execution_count": 3,
   "id": "calc",
   "metadata": {},
   "outputs": [
    {"name": "stdout", "output_type": "stream", "text": ["4\n"]},
    {"data": {"image/png": "AAAA", "text/plain": "<Figure>"}, "output_type": "display_data"}
   ],
   "source": "2 + 2"
  }
 ],
 "metadata": {"kernelspec": {"name": "python3"}, "odd": "é"},
 "nbformat": 4,
 "nbformat_minor": 5
}
"##;

    #[test]
    fn a_notebook_is_shown_by_its_cells() {
        assert_eq!(
            Notebook::read(NOTEBOOK).unwrap().shown(),
            "[notebook, 2 cells]\n[cell intro, markdown]\n# Title\ntext\n[cell calc, code, run 3]\n2 + 2\n\
             [output]\n4\n[output]\n<Figure>\n"
        );
    }

    #[test]
    fn a_change_touches_nothing_else() {
        let notebook = Notebook::read(NOTEBOOK).unwrap();
        let source = notebook.replaced(0, Some("# New\n\nmore"), None);
        let want = NOTEBOOK.replace(
            "    \"# Title\\n\",\n    \"text\"\n",
            "    \"# New\\n\",\n    \"\\n\",\n    \"more\"\n",
        );
        assert_eq!(source, want);
        let code = notebook.replaced(1, Some("3 + 3"), None);
        let outputs = &NOTEBOOK
            [NOTEBOOK.find("\"outputs\": [").unwrap()..NOTEBOOK.find(",\n   \"source\": \"2").unwrap()];
        let want = NOTEBOOK
            .replace("\"2 + 2\"", "\"3 + 3\"")
            .replace(outputs, "\"outputs\": []")
            .replace("\"execution_count\": 3", "\"execution_count\": null");
        assert_eq!(code, want);
        let swapped = notebook.moved(1, None);
        assert_eq!(Notebook::read(&swapped).unwrap().moved(0, Some(1)), NOTEBOOK);
        let more = notebook.inserted(1, "new", Kind::Code, "x = 1\n");
        let new = "  {\n   \"cell_type\": \"code\",\n   \"execution_count\": null,\n   \"id\": \"new\",\n   \"metadata\": {},\n   \
            \"outputs\": [],\n   \"source\": [\n    \"x = 1\\n\"\n   ]\n  },\n";
        let at = NOTEBOOK.find("  {\n   \"attachments\"").unwrap();
        assert_eq!(more, format!("{}{new}{}", &NOTEBOOK[..at], &NOTEBOOK[at..]));
        assert_eq!(Notebook::read(&more).unwrap().removed(1), NOTEBOOK);
        let kind = notebook.replaced(1, None, Some(Kind::Markdown));
        let kind: Value = serde_json::from_str(&kind).unwrap();
        assert_eq!(
            kind["cells"][1],
            json!({"attachments": {}, "cell_type": "markdown", "id": "calc", "metadata": {}, "source": ["2 + 2"]})
        );
    }

    #[test]
    fn other_forms_are_kept_too() {
        let compact = r#"{"cells":[{"cell_type":"raw","metadata":{},"source":["a"]}],"metadata":{},"nbformat":4,"nbformat_minor":2}"#;
        let notebook = Notebook::read(compact).unwrap();
        // Cells of this version have no ids.
        assert_eq!(notebook.shown(), "[notebook, 1 cell]\n[cell #1, raw]\na\n");
        assert_eq!(notebook.replaced(0, Some("b"), None), compact.replace("[\"a\"]", "[\"b\"]"));
        let more = notebook.inserted(1, "id", Kind::Markdown, "m");
        assert_eq!(
            more,
            compact.replace(
                "\"a\"]}",
                "\"a\"]},{\"cell_type\":\"markdown\",\"metadata\":{},\"source\":[\"m\"]}"
            )
        );
        let new = empty();
        let one = Notebook::read(&new).unwrap().inserted(0, "id", Kind::Raw, "r");
        assert!(
            one.starts_with("{\n \"cells\": [\n  {\n   \"cell_type\": \"raw\",\n   \"id\": \"id\","),
            "{one}"
        );
        assert_eq!(Notebook::read(&one).unwrap().removed(0), new);
        for (text, told) in [
            ("", "EOF"),
            ("[]", "invalid"),
            (r#"{"cells":[],"nbformat":3}"#, "its format is 3"),
            (r#"{"cells":[{"cell_type":"code","source":4}],"nbformat":4}"#, "neither text nor lines"),
            (r#"{"cells":[{"source":""}],"nbformat":4}"#, "cell 1: missing field `cell_type`"),
        ] {
            let error = Notebook::read(text).err().unwrap();
            assert!(error.contains(told), "{text}: {error}");
        }
        assert!(
            Notebook::read(NOTEBOOK).unwrap().position("x").unwrap_err().contains("cells are intro, calc")
        );
    }

    proptest! {
        #[test]
        fn no_text_panics_and_every_change_is_a_notebook(
            sources in prop::collection::vec(prop_oneof![
                "\\PC{0,9}".prop_map(|text| json!(text)), prop::collection::vec("\\PC{0,5}\n?", 0..3).prop_map(|lines| json!(lines))
            ], 0..4),
            source in "(\\PC{0,6}\n?){0,3}", at in 0usize..4, to in 0usize..4, pretty in any::<bool>(), noise in "\\PC{0,30}",
        ) {
            drop(Notebook::read(&noise));
            let cells: Vec<Value> = sources.iter().enumerate().map(|(i, source)|
                json!({"cell_type": "code", "id": format!("c{i}"), "metadata": {}, "outputs": [], "source": source})).collect();
            let value = json!({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5});
            let text = if pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() };
            let notebook = Notebook::read(&text).unwrap();
            let new = notebook.inserted(at, "new", Kind::Code, &source);
            let read = Notebook::read(&new).unwrap();
            let place = read.position("new").unwrap();
            prop_assert_eq!(place, at.min(sources.len()));
            prop_assert_eq!(&read.cells[place].lines, &source);
            prop_assert_eq!(read.removed(place), &text[..]);
            if at < sources.len() {
                let changed = notebook.replaced(at, Some(&source), None);
                prop_assert_eq!(&Notebook::read(&changed).unwrap().cells[at].lines, &source);
                if to < sources.len() && to != at {
                    let moved = notebook.moved(at, Some(to));
                    prop_assert_eq!(Notebook::read(&moved).unwrap().len(), sources.len());
                }
            }
        }
    }
}
