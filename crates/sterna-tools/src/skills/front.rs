//! Front matter: the YAML between two lines of `---` at the top of a file. Pure, bounded, and with a line for each fault.

use granit_parser::{Event, Parser, ScalarStyle, Span, StructureStyle};

/// A file taken apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Front {
    pub fields: Vec<Field>,
    /// What stands below, without blank lines around it.
    pub body: String,
}

/// One member of the front matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    pub key: String,
    /// Of its key, counted from 1 in the file.
    pub line: usize,
    pub value: FieldValue,
}

/// What a member holds. All scalars are text: `123` and `yes` are what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldValue {
    Text(String),
    List(Vec<FieldValue>),
    Map(Vec<(String, FieldValue)>),
}

/// Something wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// Counted from 1.
    pub line: usize,
    pub weight: Weight,
    pub message: String,
}

/// What a problem means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// Sterna takes it; the specification does not.
    Strict,
    /// Worth a word.
    Warning,
    /// The file is not used, because another thing of its name comes first.
    Shadowed,
    /// The file is not used.
    Error,
}

impl Problem {
    pub(crate) fn new(line: usize, weight: Weight, message: impl Into<String>) -> Self {
        Self { line, weight, message: message.into() }
    }

    pub(crate) fn error(line: usize, message: impl Into<String>) -> Self {
        Self::new(line, Weight::Error, message)
    }
}

/// Files of skills, agents and commands may have so many bytes.
pub const MAX_FILE: usize = 256 << 10;

impl Front {
    /// Takes a file apart. `None` when there is no front matter that can be read; the problems say why.
    pub fn parse(text: &str, problems: &mut Vec<Problem>) -> Option<Self> {
        if text.len() > MAX_FILE {
            let message = format!("the file has {} bytes; {MAX_FILE} are allowed", text.len());
            problems.push(Problem::error(1, message));
            return None;
        }
        let Some((yaml, body)) = split(text) else {
            let message = match first_line(text) {
                "---" => "the front matter is not closed: a line `---` must follow it",
                _ => "the file must begin with front matter: a line `---` first",
            };
            problems.push(Problem::error(1, message));
            return None;
        };
        match fields(yaml, problems) {
            Ok(fields) => Some(Self { fields, body: body.trim().to_owned() }),
            Err(problem) => {
                problems.push(problem);
                None
            }
        }
    }

    /// Whether a file has front matter at all.
    pub fn is_in(text: &str) -> bool {
        first_line(text) == "---"
    }

    pub fn get(&self, key: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.key == key)
    }
}

impl Field {
    /// Its text, when it is text.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            FieldValue::Text(text) => Some(text),
            FieldValue::List(_) | FieldValue::Map(_) => None,
        }
    }

    /// Names in a list, or in text with commas or blanks between them; a blank in parentheses belongs to its name.
    /// `None`: it is neither.
    pub fn names(&self) -> Option<Vec<String>> {
        match &self.value {
            FieldValue::Text(text) => Some(words(text)),
            FieldValue::List(items) => items
                .iter()
                .map(|item| match item {
                    FieldValue::Text(text) => Some(text.trim().to_owned()),
                    FieldValue::List(_) | FieldValue::Map(_) => None,
                })
                .collect(),
            FieldValue::Map(_) => None,
        }
    }

    /// `true` or `false`.
    pub fn flag(&self) -> Option<bool> {
        match self.text()?.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Some(true),
            "false" | "no" | "off" => Some(false),
            _ => None,
        }
    }
}

/// The YAML and what follows it.
fn split(text: &str) -> Option<(&str, &str)> {
    let mut at = 0;
    let mut begin = None;
    for line in text.split_inclusive('\n') {
        let is_mark = line.trim_end() == "---";
        match begin {
            None if !is_mark => return None,
            None => begin = Some(at + line.len()),
            Some(begin) if is_mark => return Some((&text[begin..at], &text[at + line.len()..])),
            Some(_) => {}
        }
        at += line.len();
    }
    None
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default().trim_end()
}

/// `Bash(git add *), Read` is two words.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut depth = 0usize;
    for c in text.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        match words.last_mut() {
            Some(word) if depth > 0 || !(c.is_whitespace() || c == ',') => word.push(c),
            _ => words.push(String::new()),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// One step of reading, with what is left of the bounds.
struct Reader<'a, 'p> {
    parser: Parser<'a, granit_parser::StrInput<'a>>,
    events: usize,
    problems: &'p mut Vec<Problem>,
}

fn fields(yaml: &str, problems: &mut Vec<Problem>) -> Result<Vec<Field>, Problem> {
    let mut reader = Reader { parser: Parser::new_from_str(yaml), events: 0, problems };
    loop {
        let (event, span) = reader.next()?;
        match event {
            Event::StreamStart | Event::DocumentStart(..) => {}
            Event::MappingStart(style, anchor, tag) => {
                reader.plain(line(&span), style, anchor, tag.is_some())?;
                break;
            }
            _ => return Err(Problem::error(line(&span), "the front matter must be `key: value` lines")),
        }
    }
    let mut fields: Vec<Field> = Vec::new();
    while let Some((key, at)) = reader.key()? {
        if fields.iter().any(|field| field.key == key) {
            return Err(Problem::error(at, format!("`{key}` stands here twice")));
        }
        let value = reader.value(0)?;
        fields.push(Field { key, line: at, value });
    }
    // A second document, or what does not belong to the first.
    loop {
        match reader.next()? {
            (Event::StreamEnd, _) => return Ok(fields),
            (Event::DocumentEnd, _) => {}
            (_, span) => return Err(Problem::error(line(&span), "there is more than one document")),
        }
    }
}

impl<'a> Reader<'a, '_> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Problem> {
        self.events += 1;
        if self.events > MAX_EVENTS {
            return Err(Problem::error(1, format!("the front matter has more than {MAX_EVENTS} parts")));
        }
        match self.parser.next() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => {
                let mut message = format!("the front matter is not YAML: {}", error.kind());
                if message.contains("mapping values") {
                    message.push_str(" (put text with `: ` in it in quotes)");
                }
                Err(Problem::error(error.marker().line() + 1, message))
            }
            None => Err(Problem::error(1, "the front matter ends too early")),
        }
    }

    /// The next key of a mapping with its line; `None` at its end.
    fn key(&mut self) -> Result<Option<(String, usize)>, Problem> {
        let (event, span) = self.next()?;
        match event {
            Event::MappingEnd => Ok(None),
            Event::Scalar(text, _, 0, None) => Ok(Some((text.into_owned(), line(&span)))),
            _ => Err(Problem::error(line(&span), "a key must be plain text")),
        }
    }

    fn value(&mut self, depth: usize) -> Result<FieldValue, Problem> {
        let (event, span) = self.next()?;
        self.value_of(event, &span, depth)
    }

    fn value_of(&mut self, event: Event<'a>, span: &Span, depth: usize) -> Result<FieldValue, Problem> {
        let at = line(span);
        if depth > MAX_DEPTH {
            return Err(Problem::error(at, "the front matter is nested too deeply"));
        }
        match event {
            Event::Scalar(_, _, anchor, ref tag) if anchor != 0 || tag.is_some() => {
                Err(Problem::error(at, ANCHORS))
            }
            // The parser writes `~` where nothing stands.
            Event::Scalar(text, ScalarStyle::Plain, ..) if text == "~" && span.is_empty() => {
                Ok(FieldValue::Text(String::new()))
            }
            Event::Scalar(text, ..) => Ok(FieldValue::Text(text.into_owned())),
            Event::SequenceStart(style, anchor, tag) => {
                self.plain(at, style, anchor, tag.is_some())?;
                let mut items = Vec::new();
                loop {
                    let (event, span) = self.next()?;
                    if matches!(event, Event::SequenceEnd) {
                        return Ok(FieldValue::List(items));
                    }
                    items.push(self.value_of(event, &span, depth + 1)?);
                }
            }
            Event::MappingStart(style, anchor, tag) => {
                self.plain(at, style, anchor, tag.is_some())?;
                let mut members: Vec<(String, FieldValue)> = Vec::new();
                while let Some((key, at)) = self.key()? {
                    if members.iter().any(|(held, _)| *held == key) {
                        return Err(Problem::error(at, format!("`{key}` stands here twice")));
                    }
                    members.push((key, self.value(depth + 1)?));
                }
                Ok(FieldValue::Map(members))
            }
            _ => Err(Problem::error(at, ANCHORS)),
        }
    }

    /// Refuses what can make a small file large, and remarks on what other readers refuse.
    fn plain(&mut self, at: usize, style: StructureStyle, anchor: usize, tag: bool) -> Result<(), Problem> {
        if anchor != 0 || tag {
            return Err(Problem::error(at, ANCHORS));
        }
        if style == StructureStyle::Flow {
            self.problems.push(Problem::new(at, Weight::Strict, "other readers refuse `[…]` and `{…}`"));
        }
        Ok(())
    }
}

/// The parser counts the lines of the front matter, which begins on the second line of the file.
fn line(span: &Span) -> usize {
    span.start.line() + 1
}

const ANCHORS: &str = "anchors, references and tags are not read";
const MAX_EVENTS: usize = 4_096;
const MAX_DEPTH: usize = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Vec<(String, usize, FieldValue)>, (usize, String)> {
        let mut problems = Vec::new();
        let front = Front::parse(text, &mut problems);
        match front {
            Some(front) => Ok(front.fields.into_iter().map(|f| (f.key, f.line, f.value)).collect()),
            None => {
                let last = problems.pop().unwrap();
                Err((last.line, last.message))
            }
        }
    }

    fn text(text: &str) -> FieldValue {
        FieldValue::Text(text.into())
    }

    #[test]
    fn scalars_are_text_and_lines_are_those_of_the_file() {
        let file = "---\nname: 123\n# remark\ndescription: |\n  one\n  two\nlist:\n  - a\n  - b c\nmap:\n  k: 1.0\n---\nbody\n";
        let fields = [
            ("name".to_owned(), 2, text("123")),
            ("description".to_owned(), 4, text("one\ntwo\n")),
            ("list".to_owned(), 7, FieldValue::List(vec![text("a"), text("b c")])),
            ("map".to_owned(), 10, FieldValue::Map(vec![("k".into(), text("1.0"))])),
        ];
        assert_eq!(read(file), Ok(fields.to_vec()));
        assert_eq!(read("---\r\nname: x\r\n---\r\nbody"), Ok(vec![("name".into(), 2, text("x"))]));
    }

    #[test]
    fn what_cannot_be_read_has_its_line() {
        for (file, at, word) in [
            ("name: x\n", 1, "must begin"),
            ("", 1, "must begin"),
            ("---\nname: x\n", 1, "not closed"),
            ("---\n---\n", 2, "key: value"),
            ("---\n- a\n---\n", 2, "key: value"),
            ("---\na: b\na: c\n---\n", 3, "twice"),
            ("---\na: b\nc: d: e\n---\n", 3, "not YAML"),
            ("---\na: &x b\nc: *x\n---\n", 2, "anchors"),
            ("---\na: !!int 3\n---\n", 2, "anchors"),
            ("---\na:\n\tb: c\n---\n", 3, "not YAML"),
        ] {
            let (line, message) = read(file).unwrap_err();
            assert_eq!((line, message.contains(word)), (at, true), "{file}: {message}");
        }
        let deep = format!("---\na: {}{}\n---\n", "[".repeat(60), "]".repeat(60));
        assert!(read(&deep).unwrap_err().1.contains("deeply"));
        let many = format!("---\na:\n{}---\n", "  - x\n".repeat(5_000));
        assert!(read(&many).unwrap_err().1.contains("4096 parts"));
        assert!(read(&"x".repeat(MAX_FILE + 1)).unwrap_err().1.contains("bytes"));
    }

    #[test]
    fn names_come_in_lists_and_in_text() {
        for (given, want) in [
            ("Bash(git add *), Read  Write", &["Bash(git add *)", "Read", "Write"][..]),
            ("[Read, Grep]", &["Read", "Grep"]),
            ("Bash(a", &["Bash(a"]),
            ("\"\"", &[]),
        ] {
            let front = Front::parse(&format!("---\nt: {given}\n---\n"), &mut Vec::new()).unwrap();
            assert_eq!(front.get("t").unwrap().names().unwrap(), want, "{given}");
        }
    }

    proptest! {
        #[test]
        fn no_file_makes_it_panic(text in "(---\n)?[-a:&*!|>{}\\[\\]\"' \t\r\n#?%,é\u{0}]{0,80}(\n---\n)?.{0,20}") {
            drop(Front::parse(&text, &mut Vec::new()));
        }
    }
}
