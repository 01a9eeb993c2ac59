//! What came over the web as text for a model: HTML as Markdown, text as it is. Pure; no bytes panic.

use std::rc::Rc;
use std::time::{Duration, Instant};

use encoding_rs::Encoding;
use htmd::element_handler::{HandlerResult, Handlers};
use htmd::{Element, HtmlToMarkdown, Node};
use html5ever::tendril::TendrilSink;
use html5ever::tree_builder::TreeBuilderOpts;
use html5ever::{ParseOpts, parse_document};
use markup5ever_rcdom::RcDom;
use url::Url;

/// What an answer is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Page {
    Text(String),
    /// Not text: the media type, without parameters.
    Binary(String),
}

/// Reads an answer from `url`.
pub(crate) fn read(bytes: &[u8], content_type: &str, url: &Url) -> Page {
    let mut parts = content_type.split(';');
    let media = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
    let charset = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"').to_owned())
    });
    let is_html = matches!(media.as_str(), "text/html" | "application/xhtml+xml")
        || (media.is_empty() && looks_like_html(bytes));
    if is_html {
        let text = decoded(bytes, charset.as_deref().or(declared(bytes).as_deref()));
        return Page::Text(markdown(&text, url));
    }
    let textual = media.starts_with("text/")
        || media.ends_with("+json")
        || media.ends_with("+xml")
        || TEXTUAL.contains(&media.as_str())
        || (matches!(media.as_str(), "" | "application/octet-stream") && is_text(bytes));
    if textual {
        return Page::Text(decoded(bytes, charset.as_deref()));
    }
    Page::Binary(if media.is_empty() { "an unknown kind".into() } else { media })
}

/// HTML as Markdown. Links are made absolute; scripts, styles and drawings are left out.
pub(crate) fn markdown(html: &str, base: &Url) -> String {
    markdown_within(html, base, PARSED_WITHIN)
}

fn markdown_within(html: &str, base: &Url, limit: Duration) -> String {
    let (links, images) = (base.clone(), base.clone());
    let converter = HtmlToMarkdown::builder()
        .skip_tags(vec!["script", "style", "svg", "template", "iframe", "canvas", "object", "link", "meta"])
        .add_handler(vec!["a"], move |handlers: &dyn Handlers, element: Element| {
            link(&links, handlers, &element)
        })
        .add_handler(vec!["img"], move |_: &dyn Handlers, element: Element| image(&images, &element))
        .build();
    // The converter calls itself once for each level.
    match tree(html, limit).filter(|tree| !depth_exceeds(tree, MAX_DEPTH)) {
        Some(tree) => squeezed(&converter.tree_to_markdown(&tree)),
        None => bare(html),
    }
}

/// The page as a tree. `None` when that takes too long: for elements that are nested without end a parser as browsers
/// have it needs the square of their number.
fn tree(html: &str, limit: Duration) -> Option<Rc<Node>> {
    let tree_builder = TreeBuilderOpts { scripting_enabled: false, ..TreeBuilderOpts::default() };
    let options = ParseOpts { tree_builder, ..ParseOpts::default() };
    let mut parser = parse_document(RcDom::default(), options);
    let began = Instant::now();
    let mut rest = html;
    while !rest.is_empty() {
        if began.elapsed() > limit {
            return None;
        }
        let (piece, more) = rest.split_at(rest.floor_char_boundary(PIECE_BYTES));
        parser.process(piece.into());
        rest = more;
    }
    Some(parser.finish().document)
}

fn link(base: &Url, handlers: &dyn Handlers, element: &Element) -> Option<HandlerResult> {
    let content = handlers.walk_children(element.node).content;
    let text = content.trim();
    let href = attribute(element, "href").unwrap_or_default();
    let plain = href.is_empty() || href.starts_with('#') || href.starts_with("javascript:");
    if text.is_empty() || plain {
        return Some(content.into());
    }
    let full = base.join(&href).map_or(href, String::from);
    // Such a text would end the brackets.
    if text.contains('\n') || text.contains("](") {
        return Some(format!("{content} <{full}>").into());
    }
    Some(format!("[{text}]({full})").into())
}

fn image(base: &Url, element: &Element) -> Option<HandlerResult> {
    let alt = attribute(element, "alt").unwrap_or_default();
    let alt = alt.split_whitespace().collect::<Vec<_>>().join(" ");
    let source = attribute(element, "src").unwrap_or_default();
    if source.is_empty() || source.starts_with("data:") {
        return (!alt.is_empty()).then(|| format!("![{alt}]").into());
    }
    let full = base.join(&source).map_or(source, String::from);
    Some(format!("![{alt}]({full})").into())
}

fn attribute(element: &Element, name: &str) -> Option<String> {
    let found = element.attrs.iter().find(|attribute| &*attribute.name.local == name)?;
    Some(found.value.trim().to_owned())
}

fn depth_exceeds(tree: &Rc<Node>, max: usize) -> bool {
    let mut todo = vec![(tree.clone(), 0)];
    while let Some((node, depth)) = todo.pop() {
        if depth > max {
            return true;
        }
        todo.extend(node.children.borrow().iter().map(|child| (child.clone(), depth + 1)));
    }
    false
}

/// The text between the tags, for pages that nobody has written by hand.
fn bare(html: &str) -> String {
    // The same length, byte for byte.
    let lower = html.to_ascii_lowercase();
    let mut text = String::new();
    let mut at = 0;
    while let Some(tag) = html[at..].find('<').map(|found| at + found) {
        text.push_str(&html[at..tag]);
        text.push('\n');
        let hidden = [("<script", "</script"), ("<style", "</style")];
        let closing = hidden.iter().find(|(open, _)| lower[tag..].starts_with(open));
        let from = match closing {
            Some((_, close)) => lower[tag..].find(close).map_or(html.len(), |found| tag + found),
            None => tag,
        };
        at = html[from..].find('>').map_or(html.len(), |found| from + found + 1);
    }
    text.push_str(&html[at..]);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("\n")
}

/// No blanks at the ends of lines, and never two empty lines in a row.
fn squeezed(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut blank = true;
    for line in text.lines().map(str::trim_end) {
        if line.is_empty() && blank {
            continue;
        }
        blank = line.is_empty();
        result.push_str(line);
        result.push('\n');
    }
    result.truncate(result.trim_end().len());
    result
}

fn decoded(bytes: &[u8], label: Option<&str>) -> String {
    let encoding =
        label.and_then(|label| Encoding::for_label(label.as_bytes())).unwrap_or(encoding_rs::UTF_8);
    // A byte order mark wins over what is said.
    encoding.decode(bytes).0.into_owned()
}

/// What the page says of itself in its first kilobyte.
fn declared(bytes: &[u8]) -> Option<String> {
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(1024)]).to_ascii_lowercase();
    let at = start.find("charset=")? + "charset=".len();
    let value = start[at..].trim_start_matches(['"', '\'']);
    let end = value.find(|c: char| !(c.is_ascii_alphanumeric() || "-_:.".contains(c))).unwrap_or(value.len());
    Some(value[..end].to_owned()).filter(|value| !value.is_empty())
}

fn looks_like_html(bytes: &[u8]) -> bool {
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(1024)]).to_ascii_lowercase();
    let start = start.trim_start();
    start.starts_with("<!doctype html") || start.starts_with("<html")
}

fn is_text(bytes: &[u8]) -> bool {
    let start = &bytes[..bytes.len().min(8 << 10)];
    let valid = match std::str::from_utf8(start) {
        Ok(_) => true,
        // Cut inside a character.
        Err(error) => error.error_len().is_none(),
    };
    !start.is_empty() && valid && !start.contains(&0)
}

const MAX_DEPTH: usize = 400;
/// What the parser is given between two looks at the clock.
const PIECE_BYTES: usize = 4 << 10;
const PARSED_WITHIN: Duration = Duration::from_secs(5);
const TEXTUAL: [&str; 9] = [
    "application/json",
    "application/xml",
    "application/javascript",
    "application/ecmascript",
    "application/yaml",
    "application/x-yaml",
    "application/toml",
    "application/x-sh",
    "application/sql",
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn base() -> Url {
        Url::parse("https://docs.example/guide/page.html").unwrap()
    }

    #[test]
    fn html_becomes_markdown() {
        for (html, want) in [
            ("<h1>Title</h1><p>One <b>two</b>.</p>", "# Title\n\nOne **two**."),
            ("<p>a</p>\n\n\n<div><div><p>b</p></div></div>", "a\n\nb"),
            ("<a href='../x?y=1'>see</a>", "[see](https://docs.example/x?y=1)"),
            ("<a href='#top'>up</a> <a href='javascript:x()'>no</a> <a>bare</a>", "up no bare"),
            (
                "<img src='a.png' alt='A  cat'><img src='data:image/png;base64,AAAA' alt=''>",
                "![A cat](https://docs.example/guide/a.png)",
            ),
            ("<script>evil()</script><style>p{}</style><svg><text>x</text></svg>ok", "ok"),
            ("<noscript>seen</noscript>", "seen"),
            ("<pre><code class='language-rust'>fn a() {}\n</code></pre>", "```rust\nfn a() {}\n```"),
            ("<ul><li>a</li><li>b</li></ul>", "*   a\n*   b"),
            ("<table><tr><th>h</th></tr><tr><td>d</td></tr></table>", "| h |\n| - |\n| d |"),
            ("", ""),
        ] {
            let got = markdown(html, &base());
            let plain = |text: &str| text.replace("   ", " ").replace(" |", "|").replace("| ", "|");
            assert_eq!(plain(&got), plain(want), "{html}: {got:?}");
        }
    }

    #[test]
    fn answers_are_read_by_their_kind_and_charset() {
        let latin = b"<meta charset=\"iso-8859-1\"><p>caf\xe9</p>";
        for (bytes, content_type, want) in [
            (&b"plain <b>"[..], "text/plain", "plain <b>"),
            (b"{\"a\":1}", "application/vnd.x+json; charset=utf-8", "{\"a\":1}"),
            (b"<p>x</p>", "Text/HTML; charset=UTF-8", "x"),
            (b"<!DOCTYPE html><p>x</p>", "", "x"),
            (b"words", "", "words"),
            (b"words", "application/octet-stream", "words"),
            (latin, "text/html", "café"),
            (b"caf\xe9", "text/plain; charset=\"windows-1252\"", "café"),
            (b"\xef\xbb\xbfx", "text/plain", "x"),
        ] {
            assert_eq!(read(bytes, content_type, &base()), Page::Text(want.into()), "{content_type}");
        }
        for (bytes, content_type, want) in [
            (&b"\x89PNG\r\n"[..], "image/png", "image/png"),
            (b"\0\x01", "", "an unknown kind"),
            (b"\xff\xfe\0", "application/octet-stream", "application/octet-stream"),
        ] {
            assert_eq!(read(bytes, content_type, &base()), Page::Binary(want.into()));
        }
    }

    #[test]
    fn a_page_that_is_nested_without_end_is_still_text() {
        for (tag, n) in
            [("<div>", 2_000), ("<q>", 2_000), ("<div>", 1_000_000), ("<p><b a=1></p>", 1_000_000)]
        {
            let html = format!("{}deep{}", tag.repeat(n), "<script>hidden()</script>");
            assert_eq!(markdown_within(&html, &base(), Duration::from_millis(50)), "deep", "{tag}");
        }
        assert_eq!(bare("a<b>c</b><STYLE>x{}</STYLE>d<script>never ends"), "a\nc\nd");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), html in "(<[a-z/]{1,6}( [a-z]{1,4}=['\"]?\\PC{0,6}['\"]?)?>|\\PC{0,6}|&[a-z#0-9]{0,5};?){0,20}") {
            let _ = read(&bytes, "text/html; charset=utf-16", &base());
            let _ = (markdown(&html, &base()), bare(&html));
        }
    }
}
