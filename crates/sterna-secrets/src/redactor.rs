//! Redaction: findings become placeholders, and the values stay in this process's memory.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::scan::{BadPattern, Finding, Scanner};
use crate::{Known, Stream};

/// Tells what placeholders are keyed with. Asked once, at the first secret.
pub type Key = Box<dyn Fn() -> [u8; 32] + Send + Sync>;

/// What a redactor is made of.
pub struct Config {
    pub known: Vec<Known>,
    /// Patterns beside the built-in ones.
    pub extra: Vec<String>,
    /// What matches one of these as a whole is no secret.
    pub allow: Vec<String>,
    /// What placeholders are keyed with: whoever does not have it cannot try a guess against a placeholder.
    pub key: Key,
}

impl Default for Config {
    /// Nothing is known, and placeholders are keyed with nothing.
    fn default() -> Self {
        Self { known: Vec::new(), extra: Vec::new(), allow: Vec::new(), key: Box::new(|| [0; 32]) }
    }
}

/// Replaces secrets by placeholders. One for a process; cheap to clone.
#[derive(Clone)]
pub struct Redactor(Arc<Inner>);

struct Inner {
    scanner: Scanner,
    key: Key,
    keyed: OnceLock<[u8; 32]>,
    vault: Mutex<Vault>,
}

/// What was replaced: placeholders of a scope and their values. Two values with one placeholder: neither is given back.
#[derive(Default)]
struct Vault {
    held: HashMap<(String, String), Option<String>>,
    order: VecDeque<(String, String)>,
}

/// A redactor for one session: the same secret has the same placeholder in all of it, in every process.
#[derive(Clone)]
pub struct Scoped {
    redactor: Redactor,
    scope: String,
}

/// A placeholder whose value this process does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the value of `{0}` is not known to this process")]
pub struct Unknown(pub String);

impl Redactor {
    pub fn new(config: Config) -> Result<Self, BadPattern> {
        let Config { known, extra, allow, key } = config;
        let scanner = Scanner::new(&known, &extra, &allow)?;
        Ok(Self(Arc::new(Inner { scanner, key, keyed: OnceLock::new(), vault: Mutex::default() })))
    }

    /// For what belongs to this session; "" for what belongs to none.
    pub fn scoped(&self, session: &str) -> Scoped {
        Scoped { redactor: self.clone(), scope: session.to_owned() }
    }
}

impl Scoped {
    /// The text without its secrets: the very text where there are none.
    pub fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.replaced(text, &self.scanner().find(text.as_bytes()))
    }

    /// As `redact`, for a text that was cut off in the middle of what may be a secret.
    pub fn redact_cut<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.replaced(text, &self.scanner().find_cut(text.as_bytes()))
    }

    /// Whether there is a secret in it.
    pub fn finds(&self, text: &str) -> bool {
        !self.scanner().find(text.as_bytes()).is_empty()
    }

    /// Replaces in place; whether there was anything.
    pub fn redact_in_place(&self, text: &mut String) -> bool {
        match self.redact(text) {
            Cow::Borrowed(_) => false,
            Cow::Owned(clean) => {
                *text = clean;
                true
            }
        }
    }

    /// The bytes without their secrets. What is no UTF-8 stays as it is.
    pub fn redact_bytes<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let found = self.scanner().find(bytes);
        if found.is_empty() {
            return Cow::Borrowed(bytes);
        }
        let mut clean = Vec::with_capacity(bytes.len());
        let mut at = 0;
        for finding in &found {
            clean.extend_from_slice(&bytes[at..finding.range.start]);
            let secret = String::from_utf8_lossy(&bytes[finding.range.clone()]);
            clean.extend_from_slice(self.placeholder(&finding.name, &secret).as_bytes());
            at = finding.range.end;
        }
        clean.extend_from_slice(&bytes[at..]);
        Cow::Owned(clean)
    }

    /// The text with the values in place of its placeholders. `None`: it has no placeholder.
    pub fn restore(&self, text: &str) -> Result<Option<String>, Unknown> {
        let mut whole = String::new();
        let mut at = 0;
        for (range, placeholder) in sterna_model::placeholders(text) {
            let held =
                self.vault().held.get(&(self.scope.clone(), placeholder.to_owned())).cloned().flatten();
            let value = held.ok_or_else(|| Unknown(placeholder.to_owned()))?;
            whole.push_str(&text[at..range.start]);
            whole.push_str(&value);
            at = range.end;
        }
        if at == 0 {
            return Ok(None);
        }
        whole.push_str(&text[at..]);
        Ok(Some(whole))
    }

    /// For text that comes in pieces.
    pub fn stream(&self) -> Stream {
        Stream::new(self.clone())
    }

    pub(crate) fn scanner(&self) -> &Scanner {
        &self.redactor.0.scanner
    }

    fn replaced<'a>(&self, text: &'a str, found: &[Finding]) -> Cow<'a, str> {
        if found.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut clean = String::with_capacity(text.len());
        let mut at = 0;
        for finding in found {
            clean.push_str(&text[at..finding.range.start]);
            clean.push_str(&self.placeholder(&finding.name, &text[finding.range.clone()]));
            at = finding.range.end;
        }
        clean.push_str(&text[at..]);
        Cow::Owned(clean)
    }

    /// The placeholder of a secret, which is remembered.
    fn placeholder(&self, name: &str, secret: &str) -> String {
        let inner = &self.redactor.0;
        let mut hasher = blake3::Hasher::new_keyed(inner.keyed.get_or_init(&inner.key));
        hasher.update(PURPOSE);
        hasher.update(self.scope.as_bytes());
        hasher.update(&[0]);
        hasher.update(secret.as_bytes());
        let hash = hasher.finalize().to_hex();
        let placeholder = sterna_model::placeholder(name, &hash[..HASH_DIGITS]);
        self.vault().keep((self.scope.clone(), placeholder.clone()), secret);
        placeholder
    }

    fn vault(&self) -> MutexGuard<'_, Vault> {
        self.redactor.0.vault.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Vault {
    fn keep(&mut self, key: (String, String), secret: &str) {
        match self.held.get_mut(&key) {
            Some(held) if held.as_deref() == Some(secret) => {}
            Some(held) => *held = None,
            None => {
                self.order.push_back(key.clone());
                self.held.insert(key, Some(secret.to_owned()));
                if self.order.len() > KEPT
                    && let Some(oldest) = self.order.pop_front()
                {
                    self.held.remove(&oldest);
                }
            }
        }
    }
}

/// What else the key may come to be used for is another text.
const PURPOSE: &[u8] = b"sterna placeholder 1\n";
/// 32 bits: enough that two secrets of a session differ, too few to tell a secret from.
const HASH_DIGITS: usize = 8;
/// Secrets that a process remembers; the oldest is forgotten first.
const KEPT: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = concat!("ghp", "_Zt5Wq8Kc1Xv4Rn7Lb2Mp9Hd6Gf3Js0Ty5Ua8");

    fn redactor(key: u8) -> Redactor {
        let known = vec![Known { name: "MINE KEY".into(), value: "sk-mine-5f1e".into() }];
        Redactor::new(Config { known, key: Box::new(move || [key; 32]), ..Config::default() }).unwrap()
    }

    #[test]
    fn a_secret_has_one_placeholder_in_a_session_and_comes_back() {
        let session = redactor(1).scoped("s");
        let text = format!("a {TOKEN} b sk-mine-5f1e c {TOKEN}");
        let clean = session.redact(&text).into_owned();
        let names: Vec<&str> = sterna_model::placeholders(&clean).map(|(_, p)| p).collect();
        assert_eq!(names.len(), 3);
        assert_eq!(names[0], names[2]);
        assert!(names[0].starts_with("[secret:github-token:"), "{clean}");
        assert!(names[1].starts_with("[secret:MINE_KEY:"), "{clean}");
        assert_eq!(session.restore(&clean), Ok(Some(text.clone())));
        // What is redacted stays as it is, and what has no secret is not copied.
        assert!(matches!(session.redact(&clean), Cow::Borrowed(_)));
        assert_eq!(session.redact_bytes(text.as_bytes()), clean.as_bytes());
        // The same in another process of the same host; another in another session or host.
        let again = redactor(1).scoped("s");
        assert_eq!(again.redact(&text), clean);
        assert_ne!(redactor(1).scoped("t").redact(&text), clean);
        assert_ne!(redactor(2).scoped("s").redact(&text), clean);
    }

    #[test]
    fn what_is_not_known_is_not_given_back() {
        let session = redactor(1).scoped("s");
        let clean = session.redact(TOKEN).into_owned();
        assert_eq!(session.restore("no placeholder"), Ok(None));
        assert_eq!(redactor(1).scoped("s").restore(&clean), Err(Unknown(clean.clone())));
        // Not even in another session of the same process.
        assert_eq!(session.redactor.scoped("t").restore(&clean), Err(Unknown(clean.clone())));
        // A value that two secrets could mean is nobody's.
        let key = ("s".to_owned(), clean.clone());
        session.vault().keep(key, "another");
        assert_eq!(session.restore(&clean), Err(Unknown(clean)));
    }

    #[test]
    fn the_oldest_is_forgotten() {
        let mut vault = Vault::default();
        let key = |n: usize| ("s".to_owned(), n.to_string());
        (0..KEPT + 3).for_each(|n| vault.keep(key(n), "x"));
        assert_eq!((vault.held.len(), vault.order.len()), (KEPT, KEPT));
        assert!(!vault.held.contains_key(&key(2)) && vault.held.contains_key(&key(3)));
    }
}
