//! Puts a request's body together from cached pieces: each request costs what is new, not what is old.
//!
//! A body is head, then the items with glue between them, then a tail. The bytes of head and items that will not
//! change are kept as one piece, with the state of the hash over them: an old item costs a copy of its bytes and
//! nothing else. The tail holds whatever may change without the history.

use std::sync::Arc;

use serde::Serialize;
use sterna_model::{Digest, Route, ToolSpec};

use crate::{Encoded, Item, Request, SystemPart};

/// Encoded history that the next request shares. Dropping it only costs time.
#[derive(Default)]
pub struct EncodeCache {
    owner: Option<(&'static str, Route)>,
    head: Option<Head>,
    /// The last request's items, to know them again.
    items: Vec<Arc<Item>>,
    /// The head and the first items as they are sent.
    prefix: Prefix,
    /// The bytes of the items after the prefix.
    rest: Vec<Vec<u8>>,
}

#[derive(Clone, Default)]
struct Prefix {
    /// How many items it holds.
    items: usize,
    bytes: Vec<u8>,
    hasher: blake3::Hasher,
    /// Whose message its last piece is.
    last: Option<Role>,
}

struct Head {
    system: Arc<[SystemPart]>,
    tools: Arc<[ToolSpec]>,
    bytes: Vec<u8>,
    hash: Digest,
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
    let marks = layout.marks(request);
    let mut marked = marked(cache, marks);
    if marked.len() < marks && cache.prefix.items > 0 {
        // A mark may belong into what was thought to be stable.
        cache.forget_prefix(layout, request);
        marked = self::marked(cache, marks);
    }
    let stable = marked.iter().min().copied().unwrap_or(cache.items.len());
    settle(layout, cache, stable);

    let EncodeCache { items, prefix, rest, .. } = cache;
    let more: usize = rest.iter().map(|bytes| bytes.len() + layout.mark().len() + 8).sum();
    let mut body = Vec::with_capacity(prefix.bytes.len() + more + request.tail.len() * 2 + extra.len() + 512);
    body.extend_from_slice(&prefix.bytes);
    let mut before = prefix.last;
    for (at, (item, bytes)) in (prefix.items..).zip(items[prefix.items..].iter().zip(&*rest)) {
        if bytes.is_empty() {
            continue;
        }
        let role = role(item);
        body.extend_from_slice(layout.glue(before, role));
        if marked.contains(&at) {
            body.extend_from_slice(&bytes[..bytes.len() - 1]);
            body.extend_from_slice(layout.mark());
            body.push(b'}');
        } else {
            body.extend_from_slice(bytes);
        }
        before = Some(role);
    }
    if !request.tail.trim().is_empty() {
        body.extend_from_slice(layout.glue(before, Role::User));
        body.extend_from_slice(&layout.tail(&request.tail));
        before = Some(Role::User);
    }
    body.extend_from_slice(layout.close(before));
    body.extend_from_slice(&layout.suffix(request));
    body.extend_from_slice(extra);
    body.push(b'}');
    let mut hasher = prefix.hasher.clone();
    hasher.update(&body[prefix.bytes.len()..]);
    let hash = Digest(*hasher.finalize().as_bytes());
    let prefix = cache.head.as_ref().map(|head| head.hash);
    Encoded { prefix, ..Encoded::with_hash(vec![body.into()], hash) }
}

impl EncodeCache {
    /// Begins the prefix anew, with the head alone.
    fn forget_prefix(&mut self, layout: &dyn Layout, request: &Request) {
        let bytes = self.head.as_ref().map(|head| head.bytes.clone()).unwrap_or_default();
        let mut hasher = blake3::Hasher::new();
        hasher.update(&bytes);
        let last = has_system(request).then_some(Role::System);
        self.prefix = Prefix { items: 0, bytes, hasher, last };
        self.rest = self.items.iter().map(|item| layout.item(item, &request.route)).collect();
    }
}

/// Moves items that will not change into the prefix, until it holds this many.
fn settle(layout: &dyn Layout, cache: &mut EncodeCache, stable: usize) {
    let EncodeCache { items, prefix, rest, .. } = cache;
    let from = prefix.items.min(stable);
    let hashed = prefix.bytes.len();
    for (item, bytes) in items[from..stable].iter().zip(rest.drain(..stable - from)) {
        if bytes.is_empty() {
            continue;
        }
        let role = role(item);
        prefix.bytes.extend_from_slice(layout.glue(prefix.last, role));
        prefix.bytes.extend_from_slice(&bytes);
        prefix.last = Some(role);
    }
    prefix.items = stable;
    prefix.hasher.update(&prefix.bytes[hashed..]);
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
        let bytes = layout.head(request);
        let hash = Digest(*blake3::hash(&bytes).as_bytes());
        cache.head = Some(Head { system: request.system.clone(), tools: request.tools.clone(), bytes, hash });
    }
    // The same content under another address was a preview of the history when it was last seen.
    let known = |(old, new): &(&Arc<Item>, &Arc<Item>)| Arc::ptr_eq(old, new) || old == new;
    let same = cache.items.iter().zip(&request.items).take_while(known).count();
    cache.items.truncate(same);
    for (old, new) in cache.items.iter_mut().zip(&request.items[..same]).rev() {
        if Arc::ptr_eq(old, new) {
            break;
        }
        *old = new.clone();
    }
    if !same_head || cache.prefix.items > same {
        cache.forget_prefix(layout, request);
    }
    cache.rest.truncate(same - cache.prefix.items);
    for item in &request.items[same..] {
        cache.items.push(item.clone());
        cache.rest.push(layout.item(item, &request.route));
    }
}

/// The items that carry a mark: the last `count` of a user that are sent and lie after the prefix.
fn marked(cache: &EncodeCache, count: usize) -> Vec<usize> {
    let sent = |(at, (item, bytes)): (usize, (&Arc<Item>, &Vec<u8>))| {
        (role(item) == Role::User && bytes.ends_with(b"}")).then_some(at)
    };
    let first = cache.prefix.items;
    let rest = cache.items[first..].iter().zip(&cache.rest).enumerate().rev();
    rest.map(|(at, piece)| (first + at, piece)).filter_map(sent).take(count).collect()
}

/// Where the next entry of an array goes: after a comma, unless it is the first.
pub(super) fn entry(out: &mut Vec<u8>) -> &mut Vec<u8> {
    if !out.is_empty() {
        out.push(b',');
    }
    out
}

/// Whether the head holds a system prompt.
pub(super) fn has_system(request: &Request) -> bool {
    request.system.iter().any(|part| !part.text.is_empty())
}

fn role(item: &Item) -> Role {
    match item {
        Item::User(_) | Item::Mixed(_) | Item::Results(_) => Role::User,
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
