//! A configuration file with the line of everything in it, so that each complaint names its place.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeArray, DeString, DeTable, DeValue};

use super::ConfigError;

/// A file's name and text.
pub(super) struct Source<'a> {
    pub path: &'a Path,
    pub text: &'a str,
}

/// A value, the key it was given under, and where.
pub(super) struct Node<'a> {
    pub source: &'a Source<'a>,
    /// `providers.mine.base_url`.
    pub key: String,
    at: usize,
    value: &'a DeValue<'a>,
}

/// A table whose keys are known.
pub(super) struct Table<'a> {
    source: &'a Source<'a>,
    /// Empty at the top.
    key: String,
    table: &'a DeTable<'a>,
}

impl<'a> Source<'a> {
    /// `file:line` of a byte.
    pub fn place(&self, at: usize) -> String {
        let before = self.text.get(..at).unwrap_or(self.text);
        format!("{}:{}", self.path.display(), before.matches('\n').count() + 1)
    }

    pub fn parse(&'a self) -> Result<Spanned<DeTable<'a>>, ConfigError> {
        DeTable::parse(self.text).map_err(|error| {
            let place = self.place(error.span().map_or(0, |span: Range<usize>| span.start));
            ConfigError::new(format!("{place}: {}", error.message())).hint("the file must be valid TOML")
        })
    }

    pub fn top(&'a self, table: &'a Spanned<DeTable<'a>>) -> Table<'a> {
        Table { source: self, key: String::new(), table: table.get_ref() }
    }
}

impl<'a> Table<'a> {
    /// The values of a table that has only these keys, in the order of `known`.
    ///
    /// A key that is not known is an error with the nearest one that is.
    pub fn known<'k>(&self, known: &[&'k str]) -> Result<Vec<(&'k str, Node<'a>)>, ConfigError> {
        let mut stray: Vec<&Spanned<DeString<'_>>> =
            self.table.iter().map(|(key, _)| key).filter(|key| !known.contains(&&**key.get_ref())).collect();
        stray.sort_by_key(|key| key.span().start);
        if let Some(key) = stray.first() {
            let place = self.source.place(key.span().start);
            let full = join(&self.key, key.get_ref());
            let message = format!("{place}: unknown key `{full}`");
            return Err(ConfigError::new(message).hint(suggest(key.get_ref(), known, &self.key)));
        }
        let found = |name: &&'k str| {
            let value = self.table.iter().find(|(key, _)| key.get_ref() == name);
            value.map(|(key, value)| (*name, self.node(key, value)))
        };
        Ok(known.iter().filter_map(found).collect())
    }

    /// The values of a table whose keys are names that people choose, in their order.
    pub fn named(&self) -> Vec<(String, Node<'a>)> {
        let mut all: Vec<_> = self.table.iter().collect();
        all.sort_by_key(|(key, _)| key.span().start);
        all.into_iter().map(|(key, value)| (key.get_ref().to_string(), self.node(key, value))).collect()
    }

    fn node(&self, key: &Spanned<DeString<'_>>, value: &'a Spanned<DeValue<'a>>) -> Node<'a> {
        let name = join(&self.key, key.get_ref());
        Node { source: self.source, key: name, at: key.span().start, value: value.get_ref() }
    }
}

impl<'a> Node<'a> {
    pub fn place(&self) -> String {
        self.source.place(self.at)
    }

    /// An error about this value: `file:line: ` and what is said.
    pub fn error(&self, what: impl std::fmt::Display) -> ConfigError {
        ConfigError::new(format!("{}: {what}", self.place()))
    }

    pub fn text(&self) -> Result<&'a str, ConfigError> {
        self.value.as_str().ok_or_else(|| self.wrong("a string"))
    }

    /// A string with something in it.
    pub fn filled(&self) -> Result<&'a str, ConfigError> {
        match self.text()?.trim() {
            "" => Err(self.error(format!("`{}` is empty", self.key))),
            text => Ok(text),
        }
    }

    /// One of these words.
    pub fn word<T: Copy>(&self, words: &[(&str, T)]) -> Result<T, ConfigError> {
        let given = self.text()?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == given) {
            return Ok(*value);
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let message = format!("`{}` cannot be `{given}`", self.key);
        let nearest = nearest(given, &known).map(|word| format!("did you mean `{word}`? "));
        let hint = format!("{}it is one of {}", nearest.unwrap_or_default(), known.join(", "));
        Err(self.error(message).hint(hint))
    }

    /// A whole number of at least `least` and at most `most`.
    pub fn whole(&self, least: u64, most: u64) -> Result<u64, ConfigError> {
        let expected = match (least, most) {
            (0, u64::MAX) => "a whole number".to_owned(),
            (_, u64::MAX | 0xFFFF_FFFF) => format!("a whole number of at least {least}"),
            _ => format!("a whole number from {least} to {most}"),
        };
        let number = self.value.as_integer().ok_or_else(|| self.wrong(&expected))?;
        let digits = number.as_str().replace('_', "");
        let value = u64::from_str_radix(digits.trim_start_matches('+'), number.radix()).ok();
        match value.filter(|value| (least..=most).contains(value)) {
            Some(value) => Ok(value),
            None => Err(self.error(format!("`{}` must be {expected}, not {number}", self.key))),
        }
    }

    pub fn flag(&self) -> Result<bool, ConfigError> {
        match self.value {
            DeValue::Boolean(value) => Ok(*value),
            _ => Err(self.wrong("true or false")),
        }
    }

    /// `whole`, of 32 bits.
    pub fn whole32(&self, least: u32) -> Result<u32, ConfigError> {
        let value = self.whole(u64::from(least), u64::from(u32::MAX))?;
        Ok(u32::try_from(value).unwrap_or(u32::MAX))
    }

    /// A number that is not negative, with or without a fraction.
    pub fn number(&self) -> Result<f64, ConfigError> {
        let expected = "a number that is not negative";
        let digits = match self.value {
            DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
            DeValue::Float(number) => number.as_str(),
            _ => return Err(self.wrong(expected)),
        };
        match digits.replace('_', "").parse::<f64>() {
            Ok(value) if value.is_finite() && value >= 0.0 => Ok(value),
            _ => Err(self.error(format!("`{}` must be {expected}, not {digits}", self.key))),
        }
    }

    pub fn table(&self) -> Result<Table<'a>, ConfigError> {
        let table = self.value.as_table().ok_or_else(|| self.wrong("a table"))?;
        Ok(Table { source: self.source, key: self.key.clone(), table })
    }

    /// The table that this is, if it is one.
    pub fn as_table(&self) -> Option<Table<'a>> {
        self.table().ok()
    }

    /// The elements of an array, each with its own line.
    pub fn items(&self) -> Result<Vec<Node<'a>>, ConfigError> {
        let array: &'a DeArray<'a> = self.value.as_array().ok_or_else(|| self.wrong("an array"))?;
        let node = |item: &'a Spanned<DeValue<'a>>| Node {
            source: self.source,
            key: self.key.clone(),
            at: item.span().start,
            value: item.get_ref(),
        };
        Ok(array.iter().map(node).collect())
    }

    /// An array of strings.
    pub fn texts(&self) -> Result<Vec<String>, ConfigError> {
        let expected = "an array of strings";
        let items = self.items().map_err(|_| self.wrong(expected))?;
        items.iter().map(|item| Ok(item.text().map_err(|_| item.wrong(expected))?.to_owned())).collect()
    }

    /// The value as JSON.
    pub fn json(&self) -> Result<serde_json::Value, ConfigError> {
        json_of(self.value)
            .ok_or_else(|| self.error(format!("`{}` holds a value that has no place here", self.key)))
    }

    /// The name of the file that it stands in.
    pub fn file_name(&self) -> String {
        self.source.path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    }

    pub fn is_array(&self) -> bool {
        self.value.is_array()
    }

    fn wrong(&self, expected: &str) -> ConfigError {
        let found = match self.value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        self.error(format!("`{}` must be {expected}, not {found}", self.key))
    }
}

/// `None`: a date, or a number that is none in JSON.
fn json_of(value: &DeValue<'_>) -> Option<serde_json::Value> {
    use serde_json::Value;
    Some(match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => {
            Value::from(i64::from_str_radix(&number.as_str().replace('_', ""), number.radix()).ok()?)
        }
        DeValue::Float(number) => Value::from(number.as_str().replace('_', "").parse::<f64>().ok()?),
        DeValue::Boolean(flag) => Value::Bool(*flag),
        DeValue::Datetime(_) => return None,
        DeValue::Array(items) => {
            Value::Array(items.iter().map(|item| json_of(item.get_ref())).collect::<Option<_>>()?)
        }
        DeValue::Table(table) => Value::Object(
            table
                .iter()
                .map(|(key, value)| Some((key.get_ref().to_string(), json_of(value.get_ref())?)))
                .collect::<Option<_>>()?,
        ),
    })
}

fn join(outer: &str, key: &str) -> String {
    if outer.is_empty() { key.to_owned() } else { format!("{outer}.{key}") }
}

fn suggest(given: &str, known: &[&str], outer: &str) -> String {
    let plain = given.to_ascii_lowercase().replace('-', "_");
    if let Some((_, hint)) = ELSEWHERE.iter().find(|(words, _)| outer.is_empty() && words.contains(&&*plain))
    {
        return (*hint).to_owned();
    }
    match nearest(given, known) {
        Some(word) => format!("did you mean `{}`?", join(outer, word)),
        None => format!("keys {} are {}", if outer.is_empty() { "here" } else { "there" }, known.join(", ")),
    }
}

/// The known word that was probably meant by one that is not known.
pub fn nearest<'k>(given: &str, known: &[&'k str]) -> Option<&'k str> {
    let plain = |word: &str| word.to_ascii_lowercase().replace('-', "_");
    let given = plain(given);
    let distance = |word: &str| strsim::damerau_levenshtein(&given, &plain(word));
    // Of two that are as near, the one of the same length: letters are swapped more often than left out.
    let apart = |word: &str| (distance(word), word.chars().count().abs_diff(given.chars().count()));
    let word = known.iter().copied().min_by_key(|word| apart(word))?;
    let (far, _) = apart(word);
    // Of a short word something must be left: any two letters are as near to any others.
    (far <= 2.max(given.chars().count() / 3) && far < given.chars().count()).then_some(word)
}

/// What others call a key of the file, and where it is here.
const ELSEWHERE: [(&[&str], &str); 2] = [
    (&["mcp", "mcpservers", "mcp_servers"], "MCP servers are in mcp.json: `sterna mcp add` writes it"),
    (
        &["allow", "ask", "deny", "permissions", "rules"],
        "rules are lists in [policy], such as allow = [\"Shell(cargo test *)\"]",
    ),
];
