//! What a provider's prompt cache can keep from one request to the next, and what broke it.

use sterna_context::Prompt;
use sterna_model::{Manifest, ModelIntent, Span};

use super::Driver;

impl Driver {
    /// Why the cached prefix of the last model call is void for this one. Empty: it holds, or there was no call before.
    pub(super) async fn prefix_broken(&self, now: &ModelIntent, prompt: &Prompt) -> Vec<String> {
        let Some(before) = &self.state.last_call else { return Vec::new() };
        if before.route != now.route {
            return vec![format!("route {} was {}", now.route, before.route)];
        }
        let mut why = Vec::new();
        if before.prefix.is_some() && before.prefix != now.prefix {
            let then = self.rt.parts.blobs.get(&before.manifest).await.ok();
            let then = then.and_then(|bytes| serde_json::from_slice::<Manifest>(&bytes).ok());
            if let (Some(then), Some(manifest)) = (then, prompt.manifest()) {
                why.extend(changes(&then, &manifest));
            }
            if before.encoder != now.encoder {
                why.push("encoder".into());
            }
            if why.is_empty() {
                why.push("head".into());
            }
        }
        if self.state.compacted {
            why.push("compaction".into());
        }
        if !extends(&before.history, &now.history) {
            why.push("history".into());
        }
        why
    }
}

/// Whether a request that carries `now` begins with all that one with `before` carried.
pub(super) fn extends(before: &[Span], now: &[Span]) -> bool {
    let Some((last, whole)) = before.split_last() else { return true };
    let same = now.get(..whole.len()).is_some_and(|begin| begin == whole);
    same && now
        .get(whole.len())
        .is_some_and(|span| (&span.session, span.from) == (&last.session, last.from) && span.to >= last.to)
}

/// Sections and tools that differ, without the texts that stand after the history.
fn changes(before: &Manifest, now: &Manifest) -> Vec<String> {
    let of = |manifest: &Manifest| {
        let sections = manifest.parts.iter().filter(|part| part.stability != sterna_model::Stability::Tail);
        let sections = sections.map(|part| (format!("section {}", part.name), part.text.hash));
        let tools = manifest.tools.iter().map(|tool| (format!("tool {}", tool.name), tool.spec.hash));
        sections.chain(tools).collect::<std::collections::BTreeMap<_, _>>()
    };
    let (before, now) = (of(before), of(now));
    let gone = before.keys().filter(|name| !now.contains_key(*name)).map(|name| format!("{name} gone"));
    let new = now.iter().filter_map(|(name, hash)| match before.get(name) {
        Some(held) if held == hash => None,
        Some(_) => Some(format!("{name} changed")),
        None => Some(format!("{name} new")),
    });
    gone.chain(new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(from: u64, to: u64) -> Span {
        Span { session: None, from, to }
    }

    #[test]
    fn a_history_that_grows_extends_and_a_rewound_one_does_not() {
        for (before, now, expected) in [
            (vec![], vec![span(1, 3)], true),
            (vec![span(1, 3)], vec![span(1, 9)], true),
            (vec![span(1, 9)], vec![span(1, 3), span(10, 12)], false),
            (vec![span(1, 3), span(10, 12)], vec![span(1, 3), span(10, 20)], true),
            (vec![span(1, 3), span(10, 12)], vec![span(1, 2), span(13, 20)], false),
        ] {
            assert_eq!(extends(&before, &now), expected, "{before:?} {now:?}");
        }
    }
}
