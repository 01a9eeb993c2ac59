//! What a process knows of secrets: its keys, variables whose names say so, and what the configuration adds.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use sterna_llm_http::{Endpoint, KeySource};
use sterna_runtime::{Env, Secrets};
use sterna_secrets::{Config, Known, looks_secret, worth_hiding};

use crate::config::Settings;

/// The secrets of a process that has these endpoints. Nothing is read before the first text is looked at.
///
/// `wait_key`: the file with the secret of waits' keys, if there is one. It is not made for this.
pub fn secrets_of(
    settings: &Settings,
    endpoints: &BTreeMap<String, Endpoint>,
    wait_key: Option<PathBuf>,
    env: Arc<dyn Env>,
) -> Secrets {
    let keys = known_keys(endpoints);
    let (extra, allow) = (settings.secrets.extra.clone(), settings.secrets.allow.clone());
    Secrets::new(move || {
        let mut known = keys.clone();
        if let Some(Ok(secret)) = wait_key.as_deref().map(std::fs::read) {
            known.extend(Known::of_bytes("wait-key", &secret));
        }
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        known.extend(of_environment(std::env::vars_os().filter_map(text)));
        let env = env.clone();
        let key = Box::new(move || env.wait_secret().unwrap_or_default());
        Config { known, extra: extra.clone(), allow: allow.clone(), key }
    })
}

/// The keys of providers, and what their headers carry.
fn known_keys(endpoints: &BTreeMap<String, Endpoint>) -> Vec<Known> {
    let mut known = Vec::new();
    for (name, endpoint) in endpoints {
        if let KeySource::Value(secret, found) = &endpoint.key {
            // A variable is called by its name, a file by its provider's.
            let name = found.strip_prefix('$').map_or_else(|| format!("{name}-key"), str::to_owned);
            known.push(Known { name, value: secret.expose().to_owned() });
        }
        for (header, value) in &endpoint.headers {
            let lower = header.to_ascii_lowercase();
            let carries =
                ["auth", "key", "token", "secret", "cookie"].iter().any(|word| lower.contains(word));
            // `Bearer KEY`: the last word.
            let value = value.split_whitespace().next_back().unwrap_or_default();
            if carries && worth_hiding(value) {
                known.push(Known { name: format!("{name}-{lower}"), value: value.to_owned() });
            }
        }
    }
    known
}

fn of_environment(all: impl Iterator<Item = (String, String)>) -> Vec<Known> {
    let mut known: Vec<Known> = all
        .filter(|(name, value)| looks_secret(name) && worth_hiding(value))
        .map(|(name, value)| Known { name, value })
        .collect();
    // The same names in each process, whatever the order of its variables.
    known.sort_by(|a, b| a.name.cmp(&b.name));
    known
}

#[cfg(test)]
mod tests {
    use super::*;
    use sterna_llm_http::Secret;

    #[test]
    fn all_keys_of_the_process_are_known() {
        let keyed = |found: &str, header: (&str, &str)| Endpoint {
            key: KeySource::Value(Secret::new(format!("value-of-{found}")), found.into()),
            headers: vec![(header.0.into(), header.1.into())],
            ..Endpoint::new("openai_chat", "http://h/v1")
        };
        let endpoints = BTreeMap::from([
            ("a".to_owned(), keyed("$A_KEY", ("X-Api-Key", "Bearer h3ader-value"))),
            ("b".to_owned(), keyed("/etc/b.key", ("X-Title", "not-a-secret-1"))),
        ]);
        let told = |known: Vec<Known>| -> Vec<String> {
            known.into_iter().map(|known| format!("{}={}", known.name, known.value)).collect()
        };
        assert_eq!(
            told(known_keys(&endpoints)),
            ["A_KEY=value-of-$A_KEY", "a-x-api-key=h3ader-value", "b-key=value-of-/etc/b.key"]
        );
        let variables = [
            ("Z_TOKEN", "t0ken-value"),
            ("A_KEY", "value-of-a1"),
            ("B_KEY", "/a/path"),
            ("PATH", "x1y2z3aa"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(told(of_environment(variables.into_iter())), ["A_KEY=value-of-a1", "Z_TOKEN=t0ken-value"]);
    }
}
