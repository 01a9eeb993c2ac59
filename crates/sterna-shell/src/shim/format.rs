//! How a file of a spool is written: a line that names it, one line of JSON, and the hash of both.
//!
//! The hash tells a whole file from one that was cut or changed. A reader knows every version up to its own.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The version that is written.
pub const VERSION: u32 = 1;

/// Bytes that are not the file they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    #[error("the file {kind} is cut or changed")]
    Damaged { kind: &'static str },
    #[error("the file {kind} has version {version}, and this program reads versions up to {VERSION}")]
    Newer { kind: &'static str, version: u32 },
    #[error("the file {kind} cannot be written: {why}")]
    Unwritable { kind: &'static str, why: String },
}

pub(crate) fn encode<T: Serialize>(kind: &'static str, body: &T) -> Result<Vec<u8>, FormatError> {
    let body = serde_json::to_string(body)
        .map_err(|error| FormatError::Unwritable { kind, why: error.to_string() })?;
    let text = format!("{MAGIC} {VERSION} {kind}\n{body}\n");
    let hash = sterna_log::digest(text.as_bytes());
    Ok(format!("{text}{hash}\n").into_bytes())
}

pub(crate) fn decode<T: DeserializeOwned>(kind: &'static str, bytes: &[u8]) -> Result<T, FormatError> {
    let damaged = || FormatError::Damaged { kind };
    let text = std::str::from_utf8(bytes).map_err(|_| damaged())?;
    let (hashed, hash) = text
        .strip_suffix('\n')
        .and_then(|text| text.rfind('\n').map(|at| (&text[..=at], &text[at + 1..])))
        .ok_or_else(damaged)?;
    if sterna_log::digest(hashed.as_bytes()).to_string() != hash {
        return Err(damaged());
    }
    let (head, body) = hashed.split_once('\n').ok_or_else(damaged)?;
    let mut words = head.split(' ');
    let (magic, version, name) = (words.next(), words.next(), words.next());
    if magic != Some(MAGIC) || name != Some(kind) || words.next().is_some() {
        return Err(damaged());
    }
    match version.and_then(|version| version.parse().ok()) {
        Some(VERSION) => serde_json::from_str(body).map_err(|_| damaged()),
        Some(version) if version > VERSION => Err(FormatError::Newer { kind, version }),
        _ => Err(damaged()),
    }
}

const MAGIC: &str = "sterna-spool";
