//! Identifiers: valid, or they do not exist.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A position in a session's log, gap-free from 1. `0` means "before the first record".
pub type Seq = u64;
/// A turn's number in its session, from 1. Never reused, also after a rewind.
pub type TurnNo = u64;
/// A step's number in its turn, from 1.
pub type StepNo = u32;
/// Wall-clock milliseconds since the Unix epoch. Put on by the runtime, never read by a decision.
pub type Millis = u64;
/// Money in billionths of a US dollar, so that sums are exact.
pub type NanoUsd = u64;

/// A text that is not the identifier it was meant to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadId {
    /// What was being parsed, for example `session id`.
    pub what: &'static str,
    /// The text as it was given, cut to 200 characters.
    pub given: String,
    /// The rule it breaks.
    pub rule: &'static str,
}

impl fmt::Display for BadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a {}: {}", self.given, self.what, self.rule)
    }
}

impl std::error::Error for BadId {}

fn bad(what: &'static str, given: &str, rule: &'static str) -> BadId {
    BadId { what, given: given.chars().take(200).collect(), rule }
}

/// A session's name: 1 to 128 characters of `A-Za-z0-9._:-`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(Arc<str>);

impl SessionId {
    /// Checks and takes an id.
    pub fn new(text: &str) -> Result<Self, BadId> {
        let rule = "1 to 128 characters of A-Z a-z 0-9 . _ : -, and not only dots";
        let fits = (1..=128).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(&b))
            && text.bytes().any(|b| b != b'.');
        if fits { Ok(Self(text.into())) } else { Err(bad("session id", text, rule)) }
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A blake3 hash, 32 bytes, written as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The hash "before the first record" of a chain.
    pub const ZERO: Self = Self([0; 32]);
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0u8; 64];
        for (i, byte) in self.0.iter().enumerate() {
            text[2 * i] = HEX[usize::from(byte >> 4)];
            text[2 * i + 1] = HEX[usize::from(byte & 15)];
        }
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for Digest {
    type Err = BadId;
    fn from_str(text: &str) -> Result<Self, BadId> {
        let rule = "64 lower-case hex digits";
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(bad("hash", text, rule));
        }
        let nibble = |b: u8| match b {
            b'0'..=b'9' => Some(b - b'0'),
            b'a'..=b'f' => Some(b - b'a' + 10),
            _ => None,
        };
        let mut bytes = [0u8; 32];
        for (i, byte) in bytes.iter_mut().enumerate() {
            match (nibble(digits[2 * i]), nibble(digits[2 * i + 1])) {
                (Some(high), Some(low)) => *byte = high << 4 | low,
                _ => return Err(bad("hash", text, rule)),
            }
        }
        Ok(Self(bytes))
    }
}

/// What an effect is, in its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EffectKind {
    /// A model call.
    Model,
    /// A tool call.
    Tool,
    /// A model call that sums up what a window cannot hold any more.
    Compact,
    /// A model call that judges a tool call.
    Judge,
}

impl EffectKind {
    /// The word used in keys.
    pub fn word(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Tool => "tool",
            Self::Compact => "compact",
            Self::Judge => "judge",
        }
    }
}

/// `{session}/{turn}/{step}/{kind}/{ordinal}`: the same effect has the same key when its turn is driven again.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EffectKey {
    pub session: SessionId,
    pub turn: TurnNo,
    pub step: StepNo,
    pub kind: EffectKind,
    /// Position among the effects of this kind in the step, from 0. For tools: the call's order.
    pub ordinal: u32,
}

impl fmt::Display for EffectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { session, turn, step, kind, ordinal } = self;
        write!(f, "{session}/{turn}/{step}/{}/{ordinal}", kind.word())
    }
}

impl FromStr for EffectKey {
    type Err = BadId;
    fn from_str(text: &str) -> Result<Self, BadId> {
        let rule = "session/turn/step/kind/ordinal";
        let fail = || bad("effect key", text, rule);
        let mut fields = text.split('/');
        let mut next = || fields.next().ok_or_else(fail);
        let session = SessionId::new(next()?)?;
        let turn = next()?.parse().map_err(|_| fail())?;
        let step = next()?.parse().map_err(|_| fail())?;
        let kind = match next()? {
            "model" => EffectKind::Model,
            "tool" => EffectKind::Tool,
            "compact" => EffectKind::Compact,
            "judge" => EffectKind::Judge,
            _ => return Err(fail()),
        };
        let ordinal = next()?.parse().map_err(|_| fail())?;
        if fields.next().is_some() {
            return Err(fail());
        }
        Ok(Self { session, turn, step, kind, ordinal })
    }
}

/// Provider, endpoint and model. Opaque provider state goes back only to the route that made it.
///
/// Written `provider/model` (the model may hold more slashes), `scripted:FILE`, or a bare word for a
/// provider that has one model, such as `local`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Route {
    pub provider: String,
    pub model: String,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.provider.as_str(), self.model.as_str()) {
            ("scripted", file) => write!(f, "scripted:{file}"),
            (provider, "") => f.write_str(provider),
            (provider, model) => write!(f, "{provider}/{model}"),
        }
    }
}

impl FromStr for Route {
    type Err = BadId;
    fn from_str(text: &str) -> Result<Self, BadId> {
        let rule =
            "write provider/model, for example anthropic/claude-sonnet-4-5, or local, or scripted:FILE";
        let fail = || bad("model route", text, rule);
        let route = |provider: &str, model: &str| Self { provider: provider.into(), model: model.into() };
        if let Some(file) = text.strip_prefix("scripted:") {
            return if file.is_empty() { Err(fail()) } else { Ok(route("scripted", file)) };
        }
        let (provider, model) = text.split_once('/').unwrap_or((text, ""));
        let word =
            |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        let printable = !model.chars().any(|c| c.is_control() || c.is_whitespace());
        if !word(provider) || !printable || (text.contains('/') && model.is_empty()) {
            return Err(fail());
        }
        Ok(route(provider, model))
    }
}

/// A durable wait's name: unique in its session, derived from the effect that waits.
pub type WaitId = String;

macro_rules! as_text {
    ($($name:ty),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }
    )*};
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SessionId {
    type Err = BadId;
    fn from_str(text: &str) -> Result<Self, BadId> {
        Self::new(text)
    }
}

as_text!(SessionId, Digest, EffectKey, Route);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_valid_or_do_not_exist() {
        for good in ["a", "demo", "0192-x.y:z_", &"x".repeat(128)] {
            assert!(SessionId::new(good).is_ok(), "{good}");
        }
        for wrong in ["", ".", "..", "a b", "a/b", "é", "a\n", &"x".repeat(129)] {
            assert!(SessionId::new(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn keys_and_routes_survive_their_text_form() {
        let key: EffectKey = "demo/3/12/tool/2".parse().unwrap();
        assert_eq!((key.turn, key.step, key.kind, key.ordinal), (3, 12, EffectKind::Tool, 2));
        assert_eq!(key.to_string(), "demo/3/12/tool/2");
        for text in ["anthropic/claude-x", "openrouter/meta/llama-3:free", "local", "scripted:a/b c.jsonl"] {
            assert_eq!(text.parse::<Route>().unwrap().to_string(), text);
        }
        for wrong in ["", "/", "a/", "/b", "scripted:", "a b/c", "a/b c"] {
            assert!(wrong.parse::<Route>().is_err(), "{wrong}");
        }
        for wrong in ["", "demo/1/1/tool", "demo/1/1/tool/0/0", "demo/x/1/tool/0", "demo/1/1/magic/0"] {
            assert!(wrong.parse::<EffectKey>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn hashes_are_hex() {
        let hash = Digest(std::array::from_fn(|i| i as u8 * 7));
        assert_eq!(hash.to_string().parse::<Digest>().unwrap(), hash);
        assert!("xyz".parse::<Digest>().is_err());
        assert!("G".repeat(64).parse::<Digest>().is_err());
    }
}
