//! Finding: one pass for how secrets begin, one for known values, and a look at each hit.

use std::ops::Range;
use std::sync::{LazyLock, OnceLock};

use aho_corasick::{AhoCorasick, MatchKind};
use regex::bytes::{Regex, RegexBuilder};

use crate::known::{Known, Value, values};
use crate::patterns::{KINDS, STAND_INS, Shape};
use crate::starts::{Start, Starts};

/// A secret in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Bytes of the text.
    pub range: Range<usize>,
    /// What it is: the name of a kind, or of a known value.
    pub name: String,
}

/// A pattern that says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}` is no pattern: {why}")]
pub struct BadPattern {
    pub pattern: String,
    pub why: String,
}

/// Finds secrets. Making one compiles little; each kind is compiled when its beginning is met first.
pub struct Scanner {
    values: Vec<Value>,
    value_search: Option<AhoCorasick>,
    extra: Vec<Regex>,
    allow: Vec<Regex>,
}

impl Scanner {
    /// `extra`: further patterns, whose first group is the secret if they have one. `allow`: what matches one of these
    /// as a whole is no secret, unless its value is known.
    pub fn new(known: &[Known], extra: &[String], allow: &[String]) -> Result<Self, BadPattern> {
        let values = values(known);
        let value_search =
            (!values.is_empty()).then(|| search(values.iter().map(|v| v.text.as_slice()).collect()));
        Ok(Self {
            values,
            value_search,
            extra: extra.iter().map(|p| compile(p)).collect::<Result<_, _>>()?,
            allow: allow.iter().map(|p| compile(&format!("^(?:{p})$"))).collect::<Result<_, _>>()?,
        })
    }

    /// All secrets of a text, in order, none inside another. No allocation where there is none.
    pub fn find(&self, text: &[u8]) -> Vec<Finding> {
        let mut found = Vec::new();
        self.known_values(text, &mut found);
        self.patterns(text, &mut found);
        for pattern in &self.extra {
            for groups in pattern.captures_iter(text) {
                let Some(hit) = groups.get(1).or_else(|| groups.get(0)) else { continue };
                if !hit.is_empty() && !self.allowed(hit.as_bytes()) {
                    found.push(Finding { range: hit.range(), name: "extra".into() });
                }
            }
        }
        if !found.is_empty() {
            settle(&mut found, text);
        }
        found
    }

    /// As `find`, for a text that was cut off: also what may be the beginning of a secret at its end.
    pub fn find_cut(&self, text: &[u8]) -> Vec<Finding> {
        let mut found = self.find(text);
        let from = found.last().map_or(0, |last| last.range.end);
        if let Some((at, name)) = self.begun(text, from) {
            found.push(Finding { range: at..text.len(), name });
        }
        found
    }

    /// Where a secret may begin that what follows would complete; at least a few bytes of it are there.
    fn begun(&self, text: &[u8], from: usize) -> Option<(usize, String)> {
        let known = self.values.iter().filter_map(|value| {
            let most = value.text.len().saturating_sub(1).min(text.len() - from);
            let len = (MIN_BEGUN..=most).rev().find(|len| text.ends_with(&value.text[..*len]))?;
            Some((text.len() - len, value.name.clone()))
        });
        let mut at = from;
        let mut tokens = Vec::new();
        while let Some(Start { at: start, end, kind }) = BUILT_IN.starts.find(text, at) {
            let kind = &KINDS[kind];
            let open = match kind.shape {
                Shape::Token => text[end..].iter().all(|b| is_token(*b)),
                Shape::Announced | Shape::Url => text[end..].iter().all(|b| *b > b' ' && *b < 0x7F),
                Shape::Block => true,
            };
            let enough = text.len() >= end + 4;
            if open && enough && boundary_before(text, start, kind.shape) {
                tokens.push((start, kind.name.to_owned()));
                break;
            }
            at = start + 1;
        }
        known.chain(tokens).min_by_key(|(at, _)| *at)
    }

    /// From where on a text must be held back, because what follows may make a secret of it. A word at the end is not
    /// looked at: it is held back in any case.
    pub(crate) fn open(&self, text: &[u8], end: usize) -> usize {
        let mut open = end;
        for literal in self.values.iter().map(|v| v.text.as_slice()).chain(spaced_starts()) {
            if !literal.iter().any(u8::is_ascii_whitespace) {
                continue;
            }
            let most = (literal.len() - 1).min(end);
            if let Some(len) = (1..=most).rev().find(|len| text[..end].ends_with(&literal[..*len])) {
                open = open.min(end - len);
            }
        }
        let mut at = 0;
        while let Some(Start { at: start, kind, .. }) = BUILT_IN.starts.find(text, at) {
            if start >= open {
                break;
            }
            at = start + 1;
            match KINDS[kind].shape {
                Shape::Token | Shape::Url => {}
                Shape::Announced => {
                    let rest = &text[start..];
                    if rest.len() < ANNOUNCED_BYTES && !rest.contains(&b'\n') {
                        return start;
                    }
                }
                Shape::Block => match self.block_end(text, start) {
                    BlockEnd::At(last) if last <= end => at = last,
                    BlockEnd::At(_) | BlockEnd::Open => return start,
                    BlockEnd::None => {}
                },
            }
        }
        open
    }

    /// Whether patterns of a person's own are looked for: they may span words.
    pub(crate) fn has_extra(&self) -> bool {
        !self.extra.is_empty()
    }

    /// Where the key block that begins here ends.
    fn block_end(&self, text: &[u8], start: usize) -> BlockEnd {
        let rest = &text[start..];
        let header =
            KINDS.iter().position(|kind| kind.shape == Shape::Block).and_then(|kind| self.regex(kind));
        match header.and_then(|header| header.find(rest)) {
            Some(header) => match block_end(rest, header.end()) {
                (end, Ended::Whole | Ended::Broken) => BlockEnd::At(start + end),
                (_, Ended::Open) => BlockEnd::Open,
            },
            // `-----BEGIN RSA PRIV`
            None if rest.len() < BLOCK_HEAD_BYTES && !rest.contains(&b'\n') => BlockEnd::Open,
            None => BlockEnd::None,
        }
    }

    fn known_values(&self, text: &[u8], found: &mut Vec<Finding>) {
        let Some(search) = &self.value_search else { return };
        for hit in search.find_iter(text) {
            let value = &self.values[hit.pattern().as_usize()];
            let inside = |at: Option<&u8>| at.is_some_and(|b| is_word(*b));
            let before = hit.start().checked_sub(1).and_then(|at| text.get(at));
            // A short value within a longer word is more likely that word.
            if value.whole_word && (inside(before) || inside(text.get(hit.end()))) {
                continue;
            }
            found.push(Finding { range: hit.range(), name: value.name.clone() });
        }
    }

    fn patterns(&self, text: &[u8], found: &mut Vec<Finding>) {
        let mut at = 0;
        while let Some(Start { at: start, .. }) = BUILT_IN.starts.find(text, at) {
            at = match self.at(text, start) {
                Some(finding) => {
                    let end = finding.range.end;
                    found.push(finding);
                    end
                }
                None => start + 1,
            };
        }
    }

    /// The secret whose kind begins here.
    fn at(&self, text: &[u8], start: usize) -> Option<Finding> {
        let rest = &text[start..];
        BUILT_IN.starts.kinds(rest).into_iter().map(|at| (at, &KINDS[at])).find_map(|(at, kind)| {
            if !boundary_before(text, start, kind.shape) || kind.shape == Shape::Url && !has_user(rest) {
                return None;
            }
            let groups = self.regex(at)?.captures(rest)?;
            let hit = groups.get(1).or_else(|| groups.get(0))?;
            let end = match kind.shape {
                Shape::Token | Shape::Announced | Shape::Url => hit.end(),
                Shape::Block => block_end(rest, hit.end()).0,
            };
            let range = start + hit.start()..start + end;
            let secret = &text[range.clone()];
            let ends = match kind.shape {
                Shape::Token | Shape::Announced => !text.get(range.end).is_some_and(|b| is_word(*b)),
                Shape::Block | Shape::Url => true,
            };
            let real = match kind.shape {
                Shape::Token => varied(secret),
                Shape::Announced => varied(secret) && has_digit_and_letter(secret),
                Shape::Url => !is_stand_in(secret),
                Shape::Block => true,
            };
            (ends && real && !self.allowed(secret)).then(|| Finding { range, name: kind.name.to_owned() })
        })
    }

    fn regex(&self, kind: usize) -> Option<&Regex> {
        let compile = || compile(&format!("^(?:{})", KINDS[kind].pattern)).ok();
        BUILT_IN.regexes[kind].get_or_init(compile).as_ref()
    }

    fn allowed(&self, secret: &[u8]) -> bool {
        self.allow.iter().any(|pattern| pattern.is_match(secret))
    }
}

/// What all scanners of a process share: it is made once.
struct BuiltIn {
    starts: Starts,
    regexes: Vec<OnceLock<Option<Regex>>>,
}

static BUILT_IN: LazyLock<BuiltIn> = LazyLock::new(|| BuiltIn {
    starts: Starts::new(),
    regexes: KINDS.iter().map(|_| OnceLock::new()).collect(),
});

fn search(texts: Vec<&[u8]>) -> AhoCorasick {
    let built = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(texts);
    built.expect("a few hundred short texts fit any automaton")
}

enum BlockEnd {
    At(usize),
    Open,
    None,
}

/// How a key block ends.
enum Ended {
    /// With its last line.
    Whole,
    /// Something else came first: what there is of the key counts.
    Broken,
    /// The text ends first.
    Open,
}

/// Where a key block ends whose first line ends at `from`.
fn block_end(block: &[u8], from: usize) -> (usize, Ended) {
    let most = block.len().min(from + BLOCK_BYTES);
    let mut at = from;
    loop {
        let body = &block[at..most];
        let key = |b: &&u8| b.is_ascii_alphanumeric() || b"+/=:,. \t\r\n\\-".contains(b);
        let run = body.iter().take_while(key).count();
        if let Some(mark) = body[..run].windows(END_MARK.len()).position(|w| w == END_MARK) {
            let name = at + mark + END_MARK.len();
            let dashes = block[name..most].iter().position(|b| *b == b'-').map(|len| name + len);
            return match dashes {
                Some(dashes) if dashes + 5 <= most => (dashes + 5, Ended::Whole),
                _ => (most, Ended::Open),
            };
        }
        // A key in source code: each line a string of its own.
        let joint = |b: &&u8| b"\"'+, \t\r\n\\".contains(b);
        let gap = body[run..].iter().take(JOINT_BYTES).take_while(joint).count();
        let end = at + run + gap;
        if end == block.len() {
            return (at + run, Ended::Open);
        }
        let joined =
            gap >= 3 && body[run..run + gap].contains(&b'\n') && b"\"'".contains(&body[run + gap - 1]);
        if !joined || end >= most {
            return (at + run, Ended::Broken);
        }
        at = end;
    }
}

fn compile(pattern: &str) -> Result<Regex, BadPattern> {
    let built = RegexBuilder::new(pattern).size_limit(4 << 20).build();
    built.map_err(|error| {
        let told = error.to_string();
        let why = told.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        BadPattern { pattern: pattern.to_owned(), why }
    })
}

/// In order; of two that overlap the one that begins first, and of those the longer. What lies inside a placeholder is
/// none, and no cut goes through a character.
fn settle(found: &mut Vec<Finding>, text: &[u8]) {
    for finding in found.iter_mut() {
        let continues = |at: usize| text.get(at).is_some_and(|b| b & 0xC0 == 0x80);
        while finding.range.start > 0 && continues(finding.range.start) {
            finding.range.start -= 1;
        }
        while continues(finding.range.end) {
            finding.range.end += 1;
        }
    }
    found.sort_by_key(|f| (f.range.start, std::cmp::Reverse(f.range.end)));
    let mut end = 0;
    found.retain(|finding| {
        let keep = finding.range.start >= end && !in_placeholder(text, &finding.range);
        if keep {
            end = finding.range.end;
        }
        keep
    });
}

fn in_placeholder(text: &[u8], range: &Range<usize>) -> bool {
    let from = range.start.saturating_sub(sterna_model::PLACEHOLDER_BYTES);
    let to = (range.end + sterna_model::PLACEHOLDER_BYTES).min(text.len());
    let around = String::from_utf8_lossy(&text[from..to]);
    // Lossy text may be longer than its bytes; then nothing around is a placeholder's.
    around.len() == to - from
        && sterna_model::placeholders(&around)
            .any(|(at, _)| from + at.start < range.end && range.start < from + at.end)
}

fn boundary_before(text: &[u8], start: usize, shape: Shape) -> bool {
    match shape {
        Shape::Token => !start.checked_sub(1).and_then(|at| text.get(at)).is_some_and(|b| is_word(*b)),
        Shape::Announced | Shape::Block | Shape::Url => true,
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-.+/=%".contains(&byte)
}

/// `xxxxxxxx` and the like are no secrets.
fn varied(secret: &[u8]) -> bool {
    let tail = &secret[secret.len().saturating_sub(16)..];
    let mut seen = [false; 256];
    tail.iter().for_each(|b| seen[usize::from(*b)] = true);
    seen.iter().filter(|seen| **seen).count() >= 6
}

fn has_digit_and_letter(secret: &[u8]) -> bool {
    secret.iter().any(u8::is_ascii_digit) && secret.iter().any(u8::is_ascii_alphabetic)
}

/// Whether a URL, from its `://` on, names somebody before its host: most do not, and need no regex to tell.
fn has_user(url: &[u8]) -> bool {
    let mut after = url.iter().skip(3);
    after.find(|b| b.is_ascii_whitespace() || matches!(b, b'/' | b'@')) == Some(&b'@')
}

fn is_stand_in(secret: &[u8]) -> bool {
    let lower = String::from_utf8_lossy(secret).to_ascii_lowercase();
    let starred = lower.chars().all(|c| matches!(c, '*' | 'x' | '.' | '•' | '…'));
    starred || STAND_INS.contains(&lower.as_str())
}

fn spaced_starts<'a>() -> impl Iterator<Item = &'a [u8]> {
    KINDS.iter().flat_map(|kind| kind.starts.iter()).map(|s| s.as_bytes())
}

/// Bytes of a known value from which on a cut one is told.
const MIN_BEGUN: usize = 6;
/// Within so many bytes of what announces it a secret has ended, or there is none.
const ANNOUNCED_BYTES: usize = 4 << 10;
/// The most that stands between two lines of a key in source code.
const JOINT_BYTES: usize = 64;
const END_MARK: &[u8] = b"-----END ";
/// The longest key block.
const BLOCK_BYTES: usize = 64 << 10;
/// The longest first line of a key block.
const BLOCK_HEAD_BYTES: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    fn scanner() -> Scanner {
        Scanner::new(&[], &[], &[]).unwrap()
    }

    #[test]
    fn each_kind_finds_its_example_and_not_its_near_miss() {
        let scanner = scanner();
        for kind in KINDS {
            let example = kind.example.replace('·', "");
            for (before, after) in [("", ""), ("x = \"", "\";\n"), ("(", ")"), ("token: ", " and more")] {
                let text = format!("{before}{example}{after}");
                let found = scanner.find(text.as_bytes());
                assert_eq!(found.len(), 1, "{}: {text} {found:?}", kind.name);
                assert_eq!(found[0].name, kind.name, "{text}");
                assert!(found[0].range.end <= text.len() - after.len(), "{text} {found:?}");
            }
            let found = scanner.find(kind.near_miss.as_bytes());
            assert_eq!(found, [], "near miss of {}: {}", kind.name, kind.near_miss);
            // In the middle of a word it is none.
            if kind.shape == Shape::Token {
                assert_eq!(scanner.find(format!("abc{example}").as_bytes()), [], "{}", kind.name);
            }
        }
    }

    #[test]
    fn only_the_secret_of_what_announces_it_is_found() {
        let check = |text: &str, expected: &[&str]| {
            let found = scanner().find(text.as_bytes());
            let texts: Vec<&str> = found.iter().map(|f| &text[f.range.clone()]).collect();
            assert_eq!(texts, expected, "{text}");
        };
        check("git clone https://me:s3cr3t-w0rd@git.example/x.git", &["s3cr3t-w0rd"]);
        check("redis://:p4ssw0rd99@cache:6379 and postgres://a:b@c/", &["p4ssw0rd99"]);
        check("see https://example.org:8080/a@b and mailto:a@b.c", &[]);
        check("postgres://postgres:postgres@localhost/db postgres://u:password@h/d", &[]);
        check("curl -H 'Authorization: Bearer abcdef0123456789abcdef01' x", &["abcdef0123456789abcdef01"]);
        check("the bearer certificateauthoritydocuments are", &[]);
        check(
            r#"{"SecretAccessKey": "wJ7rXUtn9FEMI2K7MDENGbPx4RfiCYzq83hQpLo5", "x": 1}"#,
            &["wJ7rXUtn9FEMI2K7MDENGbPx4RfiCYzq83hQpLo5"],
        );
        check("ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", &[]);
        check("https://u:[secret:url-password:0a1b2c3d]@h/", &[]);
    }

    #[test]
    fn a_key_block_without_its_end_is_found_as_far_as_it_goes() {
        let text = "a\n-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIK7hK2\nmQ9xT4bW8cZ1\n";
        let found = scanner().find(text.as_bytes());
        assert_eq!(found.len(), 1);
        assert_eq!(&text[..found[0].range.start], "a\n");
        assert_eq!(found[0].range.end, text.len());
        let code = "k = \"-----BEGIN PRIVATE KEY-----\\n\" +\n    \"MIIEvQ\\n\" +\n    \"AbC=\\n-----END PRIVATE KEY-----\";";
        let found = scanner().find(code.as_bytes());
        assert_eq!(&code[found[0].range.end..], "\";");
        let json =
            r#"{"key":"-----BEGIN PRIVATE KEY-----\nMIIEvQ\nAbC=\n-----END PRIVATE KEY-----\n","b":2}"#;
        let found = scanner().find(json.as_bytes());
        assert_eq!(&json[found[0].range.end..], r#"\n","b":2}"#);
    }

    #[test]
    fn own_patterns_and_what_is_allowed() {
        let extra = ["corp-[0-9]{6}".to_owned(), "pin=([0-9]+)".to_owned()];
        let allow = ["ghp_[A-Za-z0-9]*0000".to_owned(), "corp-000000".to_owned()];
        let scanner = Scanner::new(&[], &extra, &allow).unwrap();
        let text = "corp-123456 corp-000000 pin=42 ghp_Zt5Wq8Kc1Xv4Rn7Lb2Mp9Hd6Gf3Js0Ty0000";
        let found: Vec<&str> = scanner.find(text.as_bytes()).iter().map(|f| &text[f.range.clone()]).collect();
        assert_eq!(found, ["corp-123456", "42"]);
        let bad = Scanner::new(&[], &["a(".into()], &[]).err().unwrap();
        assert_eq!(bad.to_string(), "`a(` is no pattern: unclosed group");
    }

    #[test]
    fn the_beginning_of_a_secret_at_a_cut_is_found() {
        let known = [Known { name: "K".into(), value: "zebra-4471-quill-09".into() }];
        let scanner = Scanner::new(&known, &[], &[]).unwrap();
        let check = |text: &str, rest: &str| {
            let from = scanner.find_cut(text.as_bytes()).first().map_or(text.len(), |f| f.range.start);
            assert_eq!(&text[..from], rest, "{text}");
        };
        check("the key is ghp_Zt5Wq8", "the key is ");
        check("the key is zebra-4471-q", "the key is ");
        check("-----BEGIN RSA PRIVATE KEY-----\nMIIE", "");
        check("see https://me:hunte", "see https");
        check("we use sk-learn here", "we use sk-learn here");
        check("a zebra", "a zebra");
    }
}
