//! Values that somebody says are secret, and the forms in which they may turn up.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// A value that must not be kept, and what its placeholder calls it.
#[derive(Clone, PartialEq, Eq)]
pub struct Known {
    pub name: String,
    pub value: String,
}

impl Known {
    /// The forms in which bytes are printed: hex and base64.
    pub fn of_bytes(name: &str, bytes: &[u8]) -> [Self; 2] {
        let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        [hex, STANDARD_NO_PAD.encode(bytes)].map(|value| Self { name: name.to_owned(), value })
    }
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Known({})", self.name)
    }
}

/// Whether a variable of this name holds a secret: its last word says so.
pub fn looks_secret(variable: &str) -> bool {
    let upper = variable.to_ascii_uppercase();
    let name = upper.trim_end_matches(|c: char| c.is_ascii_digit() || c == '_');
    let last = name.rsplit('_').next().unwrap_or(name);
    SECRET_WORDS.contains(&last)
        || ENDINGS.iter().any(|ending| last.ends_with(ending))
        // `PWD` alone is a folder.
        || name.ends_with("_PWD")
        || name.ends_with("_PASS")
}

/// Whether a value of a variable whose name looks secret is one: long enough, and no path, number or plain word.
pub fn worth_hiding(value: &str) -> bool {
    let value = value.trim();
    let path = value.starts_with(['/', '~']) || value.starts_with("./");
    let number = value.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let word =
        value.len() < LONG_BYTES && value.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b == b'-');
    value.len() >= LEAST_BYTES && !path && !number && !word
}

/// One form of a known value.
pub(crate) struct Value {
    pub text: Vec<u8>,
    pub name: String,
    /// It is so short that it must stand alone.
    pub whole_word: bool,
}

/// All forms of the values: as they are, in JSON, in a URL, in base64, by lines.
pub(crate) fn values(known: &[Known]) -> Vec<Value> {
    let mut values: Vec<Value> = Vec::new();
    for Known { name, value } in known {
        let value = value.trim();
        if value.len() < LEAST_BYTES {
            continue;
        }
        let mut forms = vec![value.to_owned(), in_json(value), in_url(value)];
        if value.len() >= LONG_BYTES {
            // What is encoded together with what follows it ends otherwise: only whole groups of three stay.
            let whole = &value.as_bytes()[..value.len() / 3 * 3];
            forms.push(STANDARD_NO_PAD.encode(whole));
            forms.push(URL_SAFE_NO_PAD.encode(whole));
        }
        for form in forms {
            if !values.iter().any(|held| held.text == form.as_bytes()) {
                let whole_word = form.len() < LONG_BYTES;
                values.push(Value { text: form.into_bytes(), name: name.clone(), whole_word });
            }
        }
    }
    values
}

/// Within the quotes of a JSON string.
fn in_json(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            c => text.push(c),
        }
    }
    text
}

/// Percent-encoded, but for what RFC 3986 leaves unreserved.
fn in_url(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// Shorter values are words that turn up by chance.
const LEAST_BYTES: usize = 8;
/// From here on a value is a secret wherever it stands.
const LONG_BYTES: usize = 16;
const SECRET_WORDS: [&str; 12] = [
    "KEY",
    "TOKEN",
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "CREDENTIAL",
    "CREDENTIALS",
    "PAT",
    "APIKEY",
    "AUTHTOKEN",
    "PASSCODE",
];
const ENDINGS: [&str; 5] = ["APIKEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_variables_that_hold_secrets() {
        for name in [
            "OPENAI_API_KEY",
            "GITHUB_TOKEN",
            "AWS_SECRET_ACCESS_KEY",
            "DB_PASSWORD",
            "PGPASSWORD",
            "MYSQL_PWD",
            "GH_PAT",
            "JWT_SECRET",
            "SSH_PASSPHRASE",
            "ACME_KEY_2",
            "npm_config_authtoken",
            "SMTP_PASS",
        ] {
            assert!(looks_secret(name), "{name}");
        }
        for name in [
            "PWD",
            "OLDPWD",
            "PATH",
            "HOME",
            "SSH_AUTH_SOCK",
            "KEYBOARD",
            "AWS_ACCESS_KEY_ID",
            "SECRET_NAME",
            "TOKEN_FILE",
            "XDG_SESSION_ID",
            "MONKEY",
            "COMPASS",
            "GPG_TTY",
        ] {
            assert!(!looks_secret(name), "{name}");
        }
    }

    #[test]
    fn values_that_are_no_secrets() {
        for value in ["aws-90cd", "sk-mine-5f1e", "hunter2!Hunter2", "correcthorsebatterystaple"] {
            assert!(worth_hiding(value), "{value}");
        }
        for value in [
            "",
            "1",
            "true",
            "disabled",
            "/run/secrets/db",
            "~/.keys/one",
            "1234567890",
            "changeme",
            "no-such-key",
        ] {
            assert!(!worth_hiding(value), "{value}");
        }
    }

    #[test]
    fn a_value_has_many_forms() {
        let known = [Known { name: "K".into(), value: "a\"b\\c/d e-0123456789".into() }];
        let forms: Vec<String> =
            values(&known).into_iter().map(|v| String::from_utf8(v.text).unwrap()).collect();
        assert_eq!(
            forms,
            [
                "a\"b\\c/d e-0123456789",
                "a\\\"b\\\\c/d e-0123456789",
                "a%22b%5Cc%2Fd%20e-0123456789",
                "YSJiXGMvZCBlLTAxMjM0NTY3",
            ]
        );
    }
}
