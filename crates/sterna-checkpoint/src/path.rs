//! Paths as bytes: any name a file system allows, written as text without loss.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::CheckpointError;

/// A path below the workspace's root, in bytes. Never empty, absolute, or with a `.` or `..` in it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelPath(Vec<u8>);

impl RelPath {
    /// Checks and takes a path.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, CheckpointError> {
        let bytes = bytes.into();
        let rule = if bytes.contains(&0) {
            "it holds a NUL byte"
        } else if bytes.split(|b| *b == b'/').any(|name| matches!(name, b"" | b"." | b"..")) {
            "it is empty, absolute, or has an empty, `.` or `..` part"
        } else {
            return Ok(Self(bytes));
        };
        Err(CheckpointError::BadPath { path: escape(&bytes), rule })
    }

    /// The path as the system wants it.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The last part.
    pub fn name(&self) -> &[u8] {
        self.0.rsplit(|b| *b == b'/').next().unwrap_or(&self.0)
    }

    /// The folder that holds it; `None` for what lies in the root.
    pub fn parent(&self) -> Option<Self> {
        let slash = self.0.iter().rposition(|b| *b == b'/')?;
        Some(Self(self.0[..slash].to_vec()))
    }

    /// The folders above it, nearest first, without the root.
    pub fn ancestors(&self) -> impl Iterator<Item = Self> {
        std::iter::successors(self.parent(), Self::parent)
    }

    /// Whether it lies below `above`.
    pub fn is_below(&self, above: &Self) -> bool {
        self.0.strip_prefix(above.0.as_slice()).is_some_and(|rest| rest.first() == Some(&b'/'))
    }

    /// A name in a folder; `folder` is empty for the root. The name must come from the system.
    pub(crate) fn join(folder: &[u8], name: &[u8]) -> Self {
        if folder.is_empty() {
            return Self(name.to_vec());
        }
        Self([folder, b"/", name].concat())
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(&self.0))
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&escape(&self.0), f)
    }
}

impl FromStr for RelPath {
    type Err = CheckpointError;
    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        let bytes = unescape(text).ok_or(CheckpointError::BadPath {
            path: text.to_owned(),
            rule: "a `%` stands before two hex digits",
        })?;
        Self::new(bytes)
    }
}

impl Serialize for RelPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RelPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Any bytes, written as text in the same way: a symlink's target.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RawText(pub Vec<u8>);

impl fmt::Display for RawText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(&self.0))
    }
}

impl fmt::Debug for RawText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&escape(&self.0), f)
    }
}

impl Serialize for RawText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RawText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = unescape(&text);
        bytes.map(Self).ok_or_else(|| serde::de::Error::custom("a `%` stands before two hex digits"))
    }
}

/// Text stays as it is; `%`, control characters and bytes that are not UTF-8 become `%xx`.
fn escape(bytes: &[u8]) -> String {
    fn hex(text: &mut String, bytes: &[u8]) {
        for byte in bytes {
            text.push('%');
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
            }
        }
    }
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '%' || c.is_control() {
                hex(&mut text, c.encode_utf8(&mut [0; 4]).as_bytes());
            } else {
                text.push(c);
            }
        }
        hex(&mut text, chunk.invalid());
    }
    text
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let digit = |b: Option<&u8>| char::from(*b?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            bytes.push(digit(after.first())? << 4 | digit(after.get(1))?);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_is_written_and_read() {
        let table: [(&[u8], &str); 6] = [
            (b"src/main.rs", "src/main.rs"),
            (b"100%", "100%25"),
            (b"a\nb\x7f", "a%0ab%7f"),
            (b"\xff\xfe/x", "%ff%fe/x"),
            ("\u{fc}ber/\u{65e5}".as_bytes(), "\u{fc}ber/\u{65e5}"),
            (b"cut\xe6\x97", "cut%e6%97"),
        ];
        for (bytes, text) in table {
            let path = RelPath::new(bytes).unwrap();
            assert_eq!(path.to_string(), text);
            assert_eq!(text.parse::<RelPath>().unwrap(), path);
        }
    }

    #[test]
    fn a_path_that_could_leave_the_root_does_not_exist() {
        for bad in [
            "",
            "/",
            "/etc",
            "a/",
            "a//b",
            ".",
            "..",
            "../x",
            "a/../../x",
            "a/.",
            "%2e%2e/x",
            "%2fetc",
            "a%00",
            "%",
            "%f",
            "%zz",
            "%+1",
        ] {
            assert!(bad.parse::<RelPath>().is_err(), "{bad}");
        }
    }

    #[test]
    fn families() {
        let path = |text: &str| text.parse::<RelPath>().unwrap();
        assert_eq!(path("a/b/c").ancestors().collect::<Vec<_>>(), [path("a/b"), path("a")]);
        assert_eq!((path("a").parent(), path("a/b").name()), (None, &b"b"[..]));
        assert!(path("a/b").is_below(&path("a")));
        assert!(!path("ab").is_below(&path("a")) && !path("a").is_below(&path("a")));
    }
}
