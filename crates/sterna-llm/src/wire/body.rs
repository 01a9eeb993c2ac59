//! Puts a request's body together from cached pieces: each request costs what is new, not what is old.
//!
//! A body is head, then the items with glue between them, then a tail. Head and items are kept as bytes, and so is
//! the state of the hash over those that will not change; the tail holds whatever may change without the history.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use sterna_model::{Digest, Route, ToolSpec};

use crate::{Encoded, Item, Request, SystemPart};

/// Encoded history that the next request shares. Dropping it only costs time.
#[derive(Default)]
pub struct EncodeCache {
    owner: Option<(&'static str, Route)>,
    head: Option<Head>,
    items: Vec<(Arc<Item>, Bytes)>,
    /// Hash state over the head and the first items, this many.
    prefix: Option<(usize, blake3::Hasher)>,
}

struct Head {
    system: Arc<[SystemPart]>,
    tools: Arc<[ToolSpec]>,
    bytes: Bytes,
}

/// Whose message a piece belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    System,
    User,
    Assistant,
}

/// How a wire spells the pieces. Each function depends on its arguments alone.
pub(super) trait Layout {
    fn name(&self) -> &'static str;
    /// The body up to the first item. If it holds a system prompt, the first piece's `before` is `Role::System`.
    fn head(&self, request: &Request) -> Vec<u8>;
    /// An item without anything round it. Empty: it is not sent.
    fn item(&self, item: &Item, route: &Route) -> Vec<u8>;
    /// The request's tail text, as an item.
    fn tail(&self, text: &str) -> Vec<u8>;
    /// What stands between a piece of `before` and one of `next`.
    fn glue(&self, before: Option<Role>, next: Role) -> &'static [u8];
    /// What ends the last message.
    fn close(&self, last: Option<Role>) -> &'static [u8];
    /// Everything after the messages.
    fn suffix(&self, request: &Request) -> Vec<u8>;
    /// How many of the last user items carry a cache mark. Their bytes must end in `}`.
    fn marks(&self, request: &Request) -> usize;
    /// The mark, to stand before an item's last `}`.
    fn mark(&self) -> &'static [u8];
}

/// Encodes a request; `extra` is added as it is after the suffix, before the body's last brace.
pub(super) fn assemble(
    layout: &dyn Layout,
    request: &Request,
    cache: &mut EncodeCache,
    extra: &[u8],
) -> Encoded {
    refresh(layout, request, cache);
    let head = cache.head.as_ref().map(|head| head.bytes.clone()).unwrap_or_default();
    let marked = marked(cache, layout.marks(request));
    let stable = marked.iter().min().copied().unwrap_or(cache.items.len());

    let (hashed, mut hasher) = match cache.prefix.take() {
        Some((items, hasher)) if items <= stable => (items, hasher),
        _ => {
            let mut hasher = blake3::Hasher::new();
            hasher.update(&head);
            (0, hasher)
        }
    };
    let mut chunks = Vec::with_capacity(cache.items.len() * 2 + 4);
    chunks.push(head);
    let mut before = has_system(request).then_some(Role::System);
    for (at, (item, bytes)) in cache.items.iter().enumerate() {
        if at == stable {
            cache.prefix = Some((at, hasher.clone()));
        }
        if bytes.is_empty() {
            continue;
        }
        let first = chunks.len();
        let role = role(item);
        let glue = layout.glue(before, role);
        if !glue.is_empty() {
            chunks.push(Bytes::from_static(glue));
        }
        if marked.contains(&at) {
            chunks.push(bytes.slice(..bytes.len() - 1));
            chunks.push(Bytes::from_static(layout.mark()));
            chunks.push(Bytes::from_static(b"}"));
        } else {
            chunks.push(bytes.clone());
        }
        if at >= hashed {
            for chunk in &chunks[first..] {
                hasher.update(chunk);
            }
        }
        before = Some(role);
    }
    if stable == cache.items.len() {
        cache.prefix = Some((stable, hasher.clone()));
    }

    let mut end = Vec::new();
    if !request.tail.trim().is_empty() {
        end.extend_from_slice(layout.glue(before, Role::User));
        end.extend_from_slice(&layout.tail(&request.tail));
        before = Some(Role::User);
    }
    end.extend_from_slice(layout.close(before));
    end.extend_from_slice(&layout.suffix(request));
    end.extend_from_slice(extra);
    end.push(b'}');
    hasher.update(&end);
    chunks.push(end.into());
    Encoded::with_hash(chunks, Digest(*hasher.finalize().as_bytes()))
}

/// Makes the cache hold exactly this request's head and items.
fn refresh(layout: &dyn Layout, request: &Request, cache: &mut EncodeCache) {
    let ours =
        cache.owner.as_ref().is_some_and(|(name, route)| *name == layout.name() && *route == request.route);
    if !ours {
        *cache =
            EncodeCache { owner: Some((layout.name(), request.route.clone())), ..EncodeCache::default() };
    }
    let same_head = cache.head.as_ref().is_some_and(|head| {
        (Arc::ptr_eq(&head.system, &request.system) || head.system == request.system)
            && (Arc::ptr_eq(&head.tools, &request.tools) || head.tools == request.tools)
    });
    if !same_head {
        let bytes = layout.head(request).into();
        cache.head = Some(Head { system: request.system.clone(), tools: request.tools.clone(), bytes });
        cache.prefix = None;
    }
    let same =
        cache.items.iter().zip(&request.items).take_while(|((old, _), new)| Arc::ptr_eq(old, new)).count();
    cache.items.truncate(same);
    if cache.prefix.as_ref().is_some_and(|(items, _)| *items > same) {
        cache.prefix = None;
    }
    for item in &request.items[same..] {
        cache.items.push((item.clone(), layout.item(item, &request.route).into()));
    }
}

/// The items that carry a mark: the last `count` of a user that are sent.
fn marked(cache: &EncodeCache, count: usize) -> Vec<usize> {
    let sent = |(at, (item, bytes)): (usize, &(Arc<Item>, Bytes))| {
        (role(item) == Role::User && bytes.ends_with(b"}")).then_some(at)
    };
    cache.items.iter().enumerate().rev().filter_map(sent).take(count).collect()
}

/// Whether the head holds a system prompt.
pub(super) fn has_system(request: &Request) -> bool {
    request.system.iter().any(|part| !part.text.is_empty())
}

fn role(item: &Item) -> Role {
    match item {
        Item::User(_) | Item::Results(_) => Role::User,
        Item::Assistant(_) => Role::Assistant,
    }
}

/// Appends a value as compact JSON, non-ASCII unescaped.
pub(super) fn json(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    // Only a map with keys that are no strings, or a failing `Serialize`, could fail; our values have neither.
    let written = serde_json::to_writer(out, value);
    debug_assert!(written.is_ok());
}

/// Removes the white space between the tokens of a JSON text that is known to be valid.
pub(super) fn compact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut inside, mut escaped) = (false, false);
    for c in text.chars() {
        if inside {
            (inside, escaped) = (escaped || c != '"', !escaped && c == '\\');
        } else if c.is_ascii_whitespace() {
            continue;
        } else {
            inside = c == '"';
        }
        out.push(c);
    }
    out
}

/// Whether a text is one JSON object.
pub(super) fn is_object(text: &str) -> bool {
    text.trim_start().starts_with('{') && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_goes_and_strings_stay() {
        let text = "{ \"a b\" : [ 1 ,\n2 ] , \"c\\\\\" : \"x \\\" y \" }";
        assert_eq!(compact(text), "{\"a b\":[1,2],\"c\\\\\":\"x \\\" y \"}");
    }

    #[test]
    fn objects_are_told_from_the_rest() {
        for good in ["{}", " {\"a\":1}\n"] {
            assert!(is_object(good), "{good}");
        }
        for wrong in ["", "[]", "{", "{} {}", "{a:1}", "\"{}\"", "null"] {
            assert!(!is_object(wrong), "{wrong}");
        }
        assert!(!is_object(&format!("{{\"a\":{}", "[".repeat(100_000))));
    }
}
