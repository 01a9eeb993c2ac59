//! Rules: parsed from `Tool` or `Tool(pattern)`, matched against commands, paths, hosts and tool names.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use globset::{Glob, GlobBuilder, GlobMatcher};
use sterna_model::{Decision, RuleText, Scope};

use crate::paths::{base_name, normalise, within_any_case};
use crate::shell::{ShellPlan, SimpleCommand};
use crate::texts::{texts_to_allow, texts_to_restrict};

/// A rule that can be matched.
#[derive(Debug, Clone)]
pub struct Rule {
    pub(crate) written: RuleText,
    pub(crate) target: Target,
    /// Counts only while the model has text of strangers before it.
    pub(crate) when_tainted: bool,
}

/// What a rule is about.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// Commands, by their text after unquoting.
    Shell(Text),
    /// Reads by anyone; `None`: all.
    Read(Option<PathPattern>),
    /// Writes and removals by anyone.
    Write(Option<PathPattern>),
    /// Hosts reached by anyone.
    Web(Option<Text>),
    /// Calls of a tool, by its name.
    Tool(Text),
}

impl Rule {
    /// Parses a rule's text.
    pub fn parse(written: &RuleText) -> Result<Self, RuleError> {
        let text = written.text.as_str();
        let error = |at, kind| RuleError { text: text.to_owned(), at, kind };
        let (text, condition) = split_condition(text);
        let when_tainted = match condition {
            None => false,
            Some((_, "tainted")) => true,
            Some((at, other)) => return Err(error(at, RuleErrorKind::UnknownCondition(other.to_owned()))),
        };
        let name = text.split('(').next().unwrap_or_default();
        if name.is_empty() {
            return Err(error(0, RuleErrorKind::NoName));
        }
        if let Some((at, c)) = name.char_indices().find(|(_, c)| !is_name_char(*c)) {
            return Err(error(at, RuleErrorKind::BadName(c)));
        }
        let pattern = match text.get(name.len()..).filter(|rest| !rest.is_empty()) {
            None => None,
            Some(rest) => {
                let inner = rest.strip_prefix('(').and_then(|r| r.strip_suffix(')'));
                let inner = inner.ok_or_else(|| error(text.len(), RuleErrorKind::NotClosed))?;
                if inner.trim().is_empty() {
                    return Err(error(name.len() + 1, RuleErrorKind::EmptyPattern));
                }
                Some(inner)
            }
        };
        let at = name.len() + 1;
        let path = || {
            let pattern = pattern
                .map(|p| PathPattern::parse(p.trim(), written.decision != Decision::Allow))
                .transpose();
            pattern.map_err(|kind| error(at, kind))
        };
        let target = match name.to_ascii_lowercase().as_str() {
            "shell" => Target::Shell(Text::new(pattern.unwrap_or("*").trim())),
            "read" => Target::Read(path()?),
            "write" => Target::Write(path()?),
            "web" => Target::Web(match pattern {
                Some(p) => Some(host_pattern(p.trim()).map_err(|kind| error(at, kind))?),
                None => None,
            }),
            _ if pattern.is_some() || name.starts_with(|c: char| c.is_ascii_uppercase()) => {
                return Err(error(0, unknown_capability(name)));
            }
            _ => Target::Tool(Text::new(name)),
        };
        Ok(Self { written: written.clone(), target, when_tainted })
    }

    /// As it was written, and where.
    pub fn written(&self) -> &RuleText {
        &self.written
    }

    pub fn decision(&self) -> Decision {
        self.written.decision
    }

    pub fn scope(&self) -> Scope {
        self.written.scope
    }

    /// The rule as it was written, without its decision: `Shell(rm *)`.
    pub fn text(&self) -> &str {
        &self.written.text
    }

    /// `file:line`, or the flag that gave it.
    pub fn source(&self) -> &str {
        &self.written.source
    }

    /// Whether the rule counts only while the model has text of strangers before it: `Web(*) when tainted`.
    pub fn is_conditional(&self) -> bool {
        self.when_tainted
    }

    /// The rule without its decision and its condition.
    pub(crate) fn unconditional(&self) -> &str {
        split_condition(&self.written.text).0
    }

    /// Whether the rule only restricts: then it is matched as widely as it can be meant.
    pub(crate) fn restricts(&self) -> bool {
        self.written.decision != Decision::Allow
    }
}

/// Text with `*` for anything; `\*` is a star and `\\` a backslash. A trailing ` *` also matches nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text {
    /// `None` is a star.
    symbols: Vec<Option<char>>,
}

impl Text {
    pub(crate) fn new(pattern: &str) -> Self {
        let mut symbols = Vec::new();
        let mut chars = pattern.chars().peekable();
        while let Some(c) = chars.next() {
            symbols.push(match (c, chars.peek()) {
                ('\\', Some(&next @ ('*' | '\\'))) => {
                    chars.next();
                    Some(next)
                }
                ('*', _) => None,
                _ => Some(c),
            });
        }
        Self { symbols }
    }

    /// Whether the pattern matches everything.
    pub(crate) fn is_everything(&self) -> bool {
        self.symbols.iter().all(Option::is_none)
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        // Most rules are about another program: seen at their first character.
        if let [Some(first), _, _, ..] = self.symbols[..]
            && !text.starts_with(first)
        {
            return false;
        }
        let text: Vec<char> = text.chars().collect();
        let bare = self.symbols.strip_suffix(&[Some(' '), None]);
        star_match(&self.symbols, &text) || bare.is_some_and(|symbols| star_match(symbols, &text))
    }

    /// Whether the pattern matches a text that begins with this one.
    pub(crate) fn may_match_beyond(&self, beginning: &str) -> bool {
        // Places in the pattern that the text so far may have led to. A star is also left without having matched.
        let mut at: BTreeSet<usize> = BTreeSet::from([0]);
        for c in beginning.chars() {
            let through = self.through_stars(&at);
            at = through
                .into_iter()
                .filter_map(|i| match self.symbols.get(i)? {
                    None => Some(i),
                    Some(want) => (*want == c).then_some(i + 1),
                })
                .collect();
        }
        !at.is_empty()
    }

    fn through_stars(&self, at: &BTreeSet<usize>) -> BTreeSet<usize> {
        let stars =
            |from: usize| self.symbols[from.min(self.symbols.len())..].iter().take_while(|s| s.is_none());
        at.iter().flat_map(|i| *i..=*i + stars(*i).count()).collect()
    }

    /// Whether this text stands in the pattern without a star.
    pub(crate) fn contains(&self, literal: &str) -> bool {
        let want: Vec<Option<char>> = literal.chars().map(Some).collect();
        want.is_empty() || self.symbols.windows(want.len()).any(|w| w == want)
    }

    /// Whether one of the pattern's words is this one, without a star in it.
    pub(crate) fn names(&self, word: &str) -> bool {
        self.symbols.split(|s| *s == Some(' ')).any(|symbols| {
            let literal: Option<String> = symbols.iter().copied().collect();
            literal.is_some_and(|l| l == word)
        })
    }
}

/// Linear in practice: a star is tried again only from its latest position.
fn star_match(pattern: &[Option<char>], text: &[char]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(None) => {
                retry = Some((p, t));
                p += 1;
            }
            Some(Some(c)) if *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match retry {
                Some((star, from)) => {
                    retry = Some((star, from + 1));
                    p = star + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(Option::is_none)
}

/// A glob over paths and what it is relative to.
#[derive(Debug, Clone)]
pub(crate) struct PathPattern {
    base: Base,
    /// The glob below the base.
    text: String,
    /// For rules that restrict.
    any_case: bool,
    /// Made when a path comes that it may match: most rules never meet one. `None` is no glob, which was looked at when
    /// the rule was read.
    matcher: OnceLock<Option<GlobMatcher>>,
    /// The components before the first wildcard.
    literal: PathBuf,
    /// Begins with `**/`: matches at any depth.
    floating: bool,
    /// Has no wildcard but a `/**` at its end.
    plain: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Base {
    Absolute,
    Home,
    Root,
}

/// Where patterns start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Places<'a> {
    pub roots: &'a [PathBuf],
    pub home: Option<&'a Path>,
}

impl PathPattern {
    fn parse(pattern: &str, any_case: bool) -> Result<Self, RuleErrorKind> {
        let (base, relative) = match pattern {
            "*" => (Base::Absolute, "**"),
            "~" => (Base::Home, ""),
            _ if pattern.starts_with("~/") => (Base::Home, &pattern[2..]),
            _ if pattern.starts_with('~') => return Err(RuleErrorKind::OtherHome),
            _ if pattern.starts_with('/') => (Base::Absolute, pattern.trim_start_matches('/')),
            _ => (Base::Root, pattern.strip_prefix("./").unwrap_or(pattern)),
        };
        let relative = relative.trim_end_matches('/');
        if relative.split('/').any(|part| part == "..") {
            return Err(RuleErrorKind::ParentInPattern);
        }
        // Stars and question marks are never wrong.
        if relative.contains(['[', ']', '{', '}', '\\']) {
            glob(relative, any_case).map_err(|e| RuleErrorKind::BadGlob(e.kind().to_string()))?;
        }
        let wild = |part: &&str| !part.contains(['*', '?', '[', '{', '\\']);
        let literal: PathBuf = relative.split('/').take_while(wild).collect();
        let fixed = relative.strip_suffix("/**").unwrap_or(relative);
        let plain = literal == Path::new(fixed);
        let floating = relative.starts_with("**/");
        let (text, matcher) = (relative.to_owned(), OnceLock::new());
        Ok(Self { base, text, any_case, matcher, literal, floating, plain })
    }

    /// Matches as written.
    pub(crate) fn matches(&self, path: &Path, places: Places) -> bool {
        self.relative(path, places).iter().any(|r| self.may_match(r) && self.hits(r))
    }

    /// Matches as widely as it can be meant: any case, all that lies beneath, `**/` anywhere.
    pub(crate) fn matches_widely(&self, path: &Path, places: Places) -> bool {
        let mut candidates = self.relative(path, places);
        if self.floating {
            candidates.extend(path.strip_prefix("/").map(Path::to_owned));
        }
        let hits = |r: &PathBuf| r.ancestors().any(|part| self.hits(part));
        candidates.iter().any(|r| self.may_match(r) && hits(r))
    }

    /// What is no glob restricts everything, and allows nothing.
    fn hits(&self, path: &Path) -> bool {
        let made = || glob(&self.text, self.any_case).ok().map(|glob| glob.compile_matcher());
        self.matcher.get_or_init(made).as_ref().map_or(self.any_case, |matcher| matcher.is_match(path))
    }

    /// Whether a path, or a folder above it, could match at all: it begins as the pattern does. What cases are alike is
    /// plain only in ASCII; the rest is the matcher's to say.
    fn may_match(&self, path: &Path) -> bool {
        let ascii = |path: &Path| path.as_os_str().is_ascii();
        !(ascii(path) && ascii(&self.literal)) || within_any_case(path, &self.literal)
    }

    /// Whether something beneath `folder` might match. `None` when only because it floats.
    pub(crate) fn may_match_beneath(&self, folder: &Path, places: Places) -> Beneath {
        if self.floating {
            return Beneath::Anywhere;
        }
        let mut starts = self.bases(places).into_iter().map(|base| base.join(&self.literal));
        let meets = |start: PathBuf| within_any_case(&start, folder) || within_any_case(folder, &start);
        if starts.any(meets) { Beneath::Here } else { Beneath::No }
    }

    /// The fixed folder of an absolute pattern.
    pub(crate) fn absolute_folder(&self) -> Option<PathBuf> {
        (self.base == Base::Absolute && !self.floating).then(|| Path::new("/").join(&self.literal))
    }

    /// The paths that a pattern without wildcards names; a folder for one that ends in `/**`.
    pub(crate) fn plain_paths(&self, places: Places) -> Vec<PathBuf> {
        if !self.plain || self.literal.as_os_str().is_empty() {
            return Vec::new();
        }
        self.bases(places).into_iter().map(|base| base.join(&self.literal)).collect()
    }

    fn bases(&self, places: Places) -> Vec<PathBuf> {
        match self.base {
            Base::Absolute => vec![PathBuf::from("/")],
            Base::Home => places.home.map(Path::to_owned).into_iter().collect(),
            Base::Root => places.roots.to_vec(),
        }
    }

    fn relative(&self, path: &Path, places: Places) -> Vec<PathBuf> {
        let bases = self.bases(places);
        bases.iter().filter_map(|base| path.strip_prefix(base).ok().map(Path::to_owned)).collect()
    }
}

fn glob(text: &str, any_case: bool) -> Result<Glob, globset::Error> {
    GlobBuilder::new(text).literal_separator(true).backslash_escape(true).case_insensitive(any_case).build()
}

/// Whether a folder holds something that a pattern matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beneath {
    No,
    /// The pattern would match at any depth of any folder.
    Anywhere,
    Here,
}

/// A rule's text without its condition, and the condition with its place. Within brackets ` when ` is part of the
/// pattern.
fn split_condition(text: &str) -> (&str, Option<(usize, &str)>) {
    match text.rsplit_once(CONDITION) {
        Some((rule, condition))
            if !condition.ends_with(')') && (rule.ends_with(')') || !rule.contains('(')) =>
        {
            (rule, Some((rule.len() + CONDITION.len(), condition)))
        }
        _ => (text, None),
    }
}

/// Whether a host pattern covers a host, which may carry a port.
pub(crate) fn host_matches(pattern: &Text, host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let bare =
        host.rsplit_once(':').filter(|(h, p)| !h.contains(':') && p.bytes().all(|b| b.is_ascii_digit()));
    pattern.matches(&host) || bare.is_some_and(|(h, _)| pattern.matches(h.trim_end_matches('.')))
}

fn host_pattern(pattern: &str) -> Result<Text, RuleErrorKind> {
    match pattern.chars().find(|c| c.is_whitespace() || c.is_control() || "/@?#".contains(*c)) {
        Some(_) => Err(RuleErrorKind::NotAHost),
        None => Ok(Text::new(&pattern.to_ascii_lowercase())),
    }
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_-.:*/".contains(c)
}

fn unknown_capability(name: &str) -> RuleErrorKind {
    let lower = name.to_ascii_lowercase();
    // What other agents call these.
    let nearest = match lower.as_str() {
        "bash" | "exec" | "command" | "run" | "terminal" => "Shell",
        "edit" | "multiedit" | "delete" | "notebookedit" | "apply_patch" => "Write",
        "webfetch" | "websearch" | "fetch" | "domain" | "web_fetch" | "network" => "Web",
        "grep" | "glob" | "ls" | "list" => "Read",
        _ => {
            let far = |c: &&&str| strsim::damerau_levenshtein(&lower, &c.to_ascii_lowercase());
            CAPABILITIES.iter().min_by_key(far).map_or("Shell", |c| c)
        }
    };
    RuleErrorKind::UnknownCapability { given: name.to_owned(), nearest }
}

const CONDITION: &str = " when ";
const CAPABILITIES: [&str; 4] = ["Read", "Write", "Shell", "Web"];

/// A rule that says nothing, and where it goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("rule `{text}`, at character {}: {kind}", at + 1)]
pub struct RuleError {
    pub text: String,
    /// Bytes before the place.
    pub at: usize,
    pub kind: RuleErrorKind,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleErrorKind {
    #[error("no name; write Tool or Tool(pattern)")]
    NoName,
    #[error(
        "`{0}` cannot be in a tool's name; write Tool or Tool(pattern), without allow, ask or deny before it"
    )]
    BadName(char),
    #[error("the pattern is never closed; add `)`")]
    NotClosed,
    #[error("the pattern is empty; leave the brackets out to match everything")]
    EmptyPattern,
    #[error(
        "unknown capability `{given}`, did you mean `{nearest}`? only Read, Write, Shell and Web take a pattern"
    )]
    UnknownCapability { given: String, nearest: &'static str },
    #[error("`..` in a path pattern; write the path without it")]
    ParentInPattern,
    #[error("the home folder of another user; only `~/` is understood")]
    OtherHome,
    #[error("bad glob: {0}")]
    BadGlob(String),
    #[error("the condition `{0}` is not known; a rule may end with `when tainted`")]
    UnknownCondition(String),
    #[error("not a host; write it without scheme, path and user, such as `docs.rs` or `*.example.org`")]
    NotAHost,
    #[error("its `match` example `{0}` does not match")]
    ExampleMissed(String),
    #[error("its `not_match` example `{0}` matches")]
    ExampleHit(String),
}

/// Examples that a rule carries.
#[derive(Debug, Clone, Copy)]
pub struct Examples<'a> {
    pub matching: &'a [String],
    pub not_matching: &'a [String],
}

/// Checks a rule's own examples: command lines for `Shell`, paths for `Read` and `Write`, hosts for `Web`, tool
/// names for the rest. A rule that fails one must be refused.
pub fn check_examples(rule: &Rule, examples: Examples) -> Result<(), RuleError> {
    let error = |kind| Err(RuleError { text: rule.text().to_owned(), at: 0, kind });
    if let Some(missed) = examples.matching.iter().find(|e| !example_matches(rule, e)) {
        return error(RuleErrorKind::ExampleMissed(missed.clone()));
    }
    match examples.not_matching.iter().find(|e| example_matches(rule, e)) {
        Some(hit) => error(RuleErrorKind::ExampleHit(hit.clone())),
        None => Ok(()),
    }
}

fn example_matches(rule: &Rule, example: &str) -> bool {
    // Any root and home will do: examples and patterns are relative to the same ones.
    let (root, home) = (PathBuf::from("/workspace"), PathBuf::from("/home/me"));
    let roots = [root.clone()];
    let places = Places { roots: &roots, home: Some(&home) };
    let path = |pattern: &Option<PathPattern>| {
        let path = match example.strip_prefix("~/") {
            Some(rest) => home.join(rest),
            None => root.join(example),
        };
        let path = normalise(&path);
        pattern.as_ref().is_none_or(|p| {
            if rule.restricts() { p.matches_widely(&path, places) } else { p.matches(&path, places) }
        })
    };
    match &rule.target {
        Target::Shell(text) => {
            let plan = ShellPlan::read(example);
            let restricted = |c: &SimpleCommand| texts_to_restrict(c).iter().any(|t| text.matches(t));
            let allowed = |c: &SimpleCommand| texts_to_allow(c).iter().any(|t| text.matches(t));
            if rule.restricts() {
                plan.commands.iter().chain(&plan.glimpsed).any(restricted)
            } else {
                plan.unknown.is_none() && plan.commands.iter().all(allowed)
            }
        }
        Target::Read(pattern) | Target::Write(pattern) => path(pattern),
        Target::Web(host) => host.as_ref().is_none_or(|h| host_matches(h, example)),
        Target::Tool(name) => name.matches(example),
    }
}

/// A program's name as rules may write it: the base name for programs of the system, else as it was written.
pub(crate) fn trusted_name(program: &str) -> &str {
    let system = ["/bin/", "/usr/bin/", "/usr/local/bin/", "/sbin/", "/usr/sbin/"];
    let base = base_name(program);
    if system.iter().any(|s| program.strip_prefix(s) == Some(base)) { base } else { program }
}
