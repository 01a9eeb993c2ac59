//! What a simple command would touch, as far as it is known.

use crate::shell::Word;

/// The effects of one command.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Effects {
    pub class: Class,
    pub touches: Vec<Touch>,
    /// Hosts it reaches; `*` is any host.
    pub hosts: Vec<String>,
    /// Hosts to which its traffic may be led: held against rules that restrict, no more.
    pub may_reach: Vec<String>,
    /// Hosts that a later command of git's may come to reach by it.
    pub keeps: Vec<String>,
    /// Changes the folder of the commands after it.
    pub enters: Option<Word>,
    /// Runs git, which reads configuration that can name programs.
    pub git: bool,
    /// Where git goes first, each from the one before.
    pub git_folders: Vec<Word>,
    /// The remote that git talks to.
    pub contact: Option<Contact>,
    /// Removes what it is given by a program that hands on names, and those are not seen.
    pub removes_unseen: bool,
}

/// That git talks to a remote.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Contact {
    /// As it is written; empty where the repository's settings name it.
    pub remote: String,
    pub push: bool,
}

/// How much of a program is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Class {
    /// Everything it does is listed.
    #[default]
    Known,
    /// Does more than can be listed; passes only by a rule that names it.
    Arbitrary(String),
    /// It is certain which program runs, and not what it makes of its words. Never passes by a rule; a sandbox holds it.
    Unclear(String),
    /// Not understood. Never passes by a rule, and asks in a sandbox, too.
    Unknown(String),
}

/// A path that a command would touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Touch {
    pub how: How,
    pub word: Word,
    pub reach: Reach,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    Read,
    Write,
    Delete,
    /// What may be a file, such as an argument of a program that is not known: held against rules that forbid reading,
    /// no more.
    Named,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The path itself. With a pattern in it: the files it names.
    This,
    /// Names and sizes only.
    Names,
    /// All beneath.
    Tree,
    /// All beneath but for what is hidden.
    Visible,
    /// The path itself; where it is a folder that is there, all beneath.
    MayTree,
    /// The path itself, which leads to what lies beneath from now on: it gets another name, or a link.
    Whole,
}

impl Effects {
    pub(crate) fn none() -> Self {
        Self::default()
    }
    pub(crate) fn arbitrary(why: impl Into<String>) -> Self {
        Self { class: Class::Arbitrary(why.into()), ..Self::default() }
    }
    pub(crate) fn unclear(why: impl Into<String>) -> Self {
        Self { class: Class::Unclear(why.into()), ..Self::default() }
    }
    pub(crate) fn unknown(why: impl Into<String>) -> Self {
        Self { class: Class::Unknown(why.into()), ..Self::default() }
    }
    pub(crate) fn touch(&mut self, how: How, word: &Word, reach: Reach) {
        // Standard input and output.
        if word.text == "-" {
            return;
        }
        self.touches.push(Touch { how, word: word.clone(), reach });
    }
    pub(crate) fn with(mut self, how: How, words: &[&Word], reach: Reach) -> Self {
        words.iter().for_each(|w| self.touch(how, w, reach));
        self
    }
    /// Whether it provably changes nothing and reaches nobody.
    pub(crate) fn only_reads(&self) -> bool {
        let reads = |touch: &Touch| matches!(touch.how, How::Read | How::Named);
        self.class == Class::Known && self.hosts.is_empty() && self.touches.iter().all(reads)
    }
}

/// What to know of a program's options.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    /// Short options with a value that is no path.
    pub values: &'static str,
    /// Short options with a value that is a file to read.
    pub files: &'static str,
    /// Short options that make the command not understood.
    pub bad: &'static str,
    /// The same for long options; abbreviations count.
    pub bad_long: &'static [&'static str],
    /// Long options whose value is the next word.
    pub long_values: &'static [&'static str],
    /// When set, any other short option is not understood, and neither is any long one but `only_long`.
    pub only: Option<&'static str>,
    pub only_long: &'static [&'static str],
}

/// Nothing known of any option.
pub(crate) const NO_OPTIONS: Options =
    Options { values: "", files: "", bad: "", bad_long: &[], long_values: &[], only: None, only_long: &[] };

/// Arguments told apart.
#[derive(Debug, Default)]
pub(crate) struct Parsed<'a> {
    pub operands: Vec<&'a Word>,
    pub short: String,
    /// Long options without their values.
    pub long: Vec<String>,
    /// Values that are, or may be, files.
    pub files: Vec<Word>,
}

impl Parsed<'_> {
    pub(crate) fn has(&self, short: &str, long: &[&str]) -> bool {
        self.short.contains(|c| short.contains(c)) || self.long.iter().any(|l| long.contains(&l.as_str()))
    }
}

/// Tells options from operands. The error names the option that is not understood.
pub(crate) fn parse<'a>(args: &'a [Word], options: &Options) -> Result<Parsed<'a>, String> {
    let mut parsed = Parsed::default();
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let text = word.text.as_str();
        if text == "--" {
            parsed.operands.extend(words.by_ref());
        } else if let Some(option) = text.strip_prefix("--") {
            // `--include=*.rs` stays the option that it is, whatever files there are.
            let fixed = text.split(['*', '?', '[']).next().is_some_and(|before| before.contains('='));
            if word.glob && !fixed {
                return Err(format!("the option `{text}`"));
            }
            let (key, value) = option.split_once('=').map_or((option, None), |(k, v)| (k, Some(v)));
            let near = |bad: &&&str| {
                (bad.starts_with(key) && !options.long_values.contains(&key)) || key.starts_with(**bad)
            };
            let closed = options.only.is_some() && !options.only_long.contains(&key);
            if closed || options.bad_long.iter().any(|bad| near(&bad)) {
                return Err(format!("the option `--{key}`"));
            }
            parsed.long.push(key.to_owned());
            match value {
                Some(value) if looks_like_a_path(value) => parsed.files.push(Word::literal(value)),
                Some(_) => {}
                // A separate value may after all be a file: it is held against the rules like one.
                None if options.long_values.iter().any(|long| long.starts_with(key)) => {
                    parsed.files.extend(words.next().cloned());
                }
                None => {}
            }
        } else if text.len() > 1 && text.starts_with('-') {
            let letters = &text[1..];
            if word.glob {
                return Err(format!("the option `{text}`"));
            }
            for (i, c) in letters.char_indices() {
                let takes_file = options.files.contains(c);
                let closed = options.only.is_some_and(|only| !only.contains(c));
                if options.bad.contains(c) || (closed && !takes_file && !options.values.contains(c)) {
                    return Err(format!("the option `-{c}`"));
                }
                parsed.short.push(c);
                if takes_file || options.values.contains(c) {
                    let attached = &letters[i + c.len_utf8()..];
                    if attached.is_empty() {
                        parsed.files.extend(words.next().cloned());
                    } else if takes_file {
                        parsed.files.push(Word::literal(attached));
                    }
                    break;
                }
            }
        } else {
            parsed.operands.push(word);
        }
    }
    Ok(parsed)
}

/// Values of long options that may be files: held against the rules to be safe.
fn looks_like_a_path(value: &str) -> bool {
    value.starts_with(['/', '~', '.'])
        || value.contains("..")
        || value.contains("/.")
        || value.contains(".env")
}
