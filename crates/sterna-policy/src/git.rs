//! What a git command would do: the reading ones by a list of what is safe, the rest only by rule.

use std::borrow::Cow;

use crate::effects::{Class, Contact, Effects, How, NO_OPTIONS, Options, Reach, parse};
use crate::git_remote;
use crate::network::{host_in, host_of};
use crate::programs::named;
use crate::shell::Word;

/// Environment that keeps git's reading commands from running the programs that a repository's configuration names
/// most often. Set it on every command whose verdict says `Need::QuietGit`; what it cannot switch off asks.
pub const QUIET_GIT: [(&str, &str); 15] = [
    ("GIT_NO_LAZY_FETCH", "1"),
    ("GIT_PAGER", "cat"),
    ("GIT_OPTIONAL_LOCKS", "0"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_CONFIG_COUNT", "5"),
    ("GIT_CONFIG_KEY_0", "core.fsmonitor"),
    ("GIT_CONFIG_VALUE_0", "false"),
    ("GIT_CONFIG_KEY_1", "core.pager"),
    ("GIT_CONFIG_VALUE_1", "cat"),
    ("GIT_CONFIG_KEY_2", "diff.external"),
    ("GIT_CONFIG_VALUE_2", ""),
    ("GIT_CONFIG_KEY_3", "core.hooksPath"),
    ("GIT_CONFIG_VALUE_3", "/dev/null"),
    ("GIT_CONFIG_KEY_4", "log.showSignature"),
    ("GIT_CONFIG_VALUE_4", "false"),
];

/// The effects of `git` with these arguments.
pub(crate) fn effects(args: &[Word]) -> Effects {
    let mut folders = Vec::new();
    let mut effects = reading(args, &mut folders);
    if folders.iter().any(|word| word.glob) {
        effects.class = Class::Unclear("`git -C` with a pattern: its folder cannot be seen".into());
    }
    if effects.class != Class::Known
        && let Some((name, rest)) = command(args).split_first()
    {
        if !matches!(effects.class, Class::Arbitrary(_)) {
            // Whatever else it does, it may read and keep what it is told.
            effects.touches.append(&mut kept(&name.text, rest).touches);
        }
        for word in written(&name.text, rest) {
            effects.touch(How::Write, &word, Reach::This);
        }
        from_folders(&folders, &mut effects);
    }
    effects.git = true;
    effects.git_folders = folders.into_iter().cloned().collect();
    effects
}

/// git's command and what follows, behind the options of git itself.
pub(crate) fn command(args: &[Word]) -> &[Word] {
    let mut at = 0;
    while let Some(word) = args.get(at).filter(|word| word.text.starts_with('-')) {
        at += 1 + usize::from(WITH_A_VALUE.contains(&word.text.as_str()));
    }
    args.get(at..).unwrap_or_default()
}

/// Whether git with these arguments writes the configuration of a repository that is there. No sandbox lets a command do
/// that: git runs what stands in it.
pub(crate) fn configures(args: &[Word]) -> bool {
    let Some((name, words)) = command(args).split_first() else { return false };
    let rest: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
    let any = |options: &[&str]| {
        rest.iter().any(|word| options.iter().any(|o| word == o || word.starts_with(&format!("{o}="))))
    };
    let first = rest.iter().find(|word| !word.starts_with('-')).copied();
    match name.text.as_str() {
        "config" => config(words).class != Class::Known,
        "remote" => matches!(
            first,
            Some("add" | "remove" | "rm" | "rename" | "set-url" | "set-branches" | "set-head")
        ),
        "submodule" => matches!(
            first,
            Some("add" | "init" | "update" | "sync" | "deinit" | "set-url" | "set-branch" | "absorbgitdirs")
        ),
        "branch" => any(&["-u", "--set-upstream-to", "--unset-upstream", "--edit-description"]),
        "push" => any(&["-u", "--set-upstream"]),
        _ => false,
    }
}

/// What options before git's command do to where it goes, and which command it may be.
fn rerouted(args: &[Word], effects: &mut Effects) {
    let is_name = |word: &Word| {
        let name = word.text.as_str();
        REACHING.contains(&name) || BY_ITSELF.contains(&name)
    };
    let Some(at) = args.iter().position(is_name) else { return };
    let inner = match args[at].text.as_str() {
        "remote" => of_remote(&args[at + 1..]),
        name if BY_ITSELF.contains(&name) => by_itself(name, &args[at + 1..]),
        name => reaching(name, &args[at + 1..]),
    };
    effects.contact = inner.contact;
    effects.may_reach = inner.may_reach;
    effects.may_reach.extend(inner.hosts);
    for (i, word) in args[..at].iter().enumerate() {
        let text = word.text.as_str();
        let next = || args.get(i + 1).map_or("", |next| next.text.as_str());
        let setting = match text {
            "-c" | "--config-env" => next(),
            _ => text.strip_prefix("-c").or_else(|| text.strip_prefix("--config-env=")).unwrap_or_default(),
        };
        let other = ["--git-dir", "--work-tree", "--exec-path"].iter().any(|option| text.starts_with(option));
        if other || git_remote::routes(setting) {
            effects.may_reach.push("*".to_owned());
        }
    }
}

/// `folder`: the operands of `-C`, each from the one before.
fn reading<'a>(args: &'a [Word], folder: &mut Vec<&'a Word>) -> Effects {
    let mut at = 0;
    while let Some(word) = args.get(at) {
        match word.text.as_str() {
            "--no-pager" | "-P" | "--no-optional-locks" | "--literal-pathspecs" => at += 1,
            // Before the name of a command it shows a page of help, by a program of the configuration.
            "--version" | "--help" | "-v" | "-h" if args.len() == at + 1 => return Effects::none(),
            "-C" => {
                folder.extend(args.get(at + 1));
                at += 2;
            }
            option if option.starts_with('-') => {
                let mut effects = Effects::unclear(format!("`git {option}` changes how git runs"));
                rerouted(&args[at..], &mut effects);
                return effects;
            }
            _ => break,
        }
    }
    let Some(name) = args.get(at) else { return Effects::none() };
    let rest = &args[at + 1..];
    if rest.iter().take_while(|w| w.text != "--").any(|w| "--help".starts_with(&w.text) && w.text.len() > 3) {
        return Effects::unclear("a page of git's help is shown by a program of the configuration");
    }
    let folder = &*folder;
    // git judges paths from the folder of `-C`; both are held against the rules.
    let here = Word::literal(".");
    let base = |effects: Effects| {
        let folders = if folder.is_empty() { vec![&here] } else { folder.clone() };
        effects.with(How::Read, &folders, Reach::Names)
    };
    match name.text.as_str() {
        "status" | "log" | "diff" | "show" | "rev-parse" | "ls-files" | "ls-tree" | "blame" | "describe"
        | "shortlog" | "rev-list" | "merge-base" | "cat-file" | "show-ref" | "name-rev" | "cherry"
        | "whatchanged" | "count-objects" | "check-ignore" | "grep" | "diff-tree" | "range-diff" | "var" => {
            if name.text == "var" && rest.iter().any(|w| w.text.contains("EDITOR")) {
                return Effects::unclear("`git var` of an editor");
            }
            base(revisions(&name.text, rest, folder))
        }
        "branch" | "tag" => listing(&name.text, rest).map_or_else(|e| by_rule(&name.text, rest, &e), base),
        "remote" => {
            let words: Vec<_> = rest.iter().map(|w| w.text.as_str()).collect();
            match words.as_slice() {
                [] | ["-v"] | ["--verbose"] | ["get-url", _] => base(Effects::none()),
                // A push there would run what hooks that repository has.
                ["add" | "set-url", words @ ..] if words.iter().any(|word| git_remote::is_path(word)) => {
                    Effects::unclear("a remote on this machine is a repository with hooks of its own")
                }
                _ => of_remote(rest),
            }
        }
        "stash" => match rest.iter().map(|w| w.text.as_str()).collect::<Vec<_>>().as_slice() {
            ["list"] => base(Effects::none()),
            _ => by_rule("stash", rest, "it changes the work tree"),
        },
        "worktree" if rest.len() == 1 && rest[0].text == "list" => base(Effects::none()),
        "config" => config(rest),
        "reflog" if rest.is_empty() || rest[0].text == "show" => {
            base(revisions("log", rest.get(1..).unwrap_or_default(), folder))
        }
        "version" if rest.is_empty() => Effects::none(),
        "clone" | "fetch" | "pull" | "push" | "ls-remote" | "submodule" | "archive" => {
            reaching(&name.text, rest)
        }
        name if BY_ITSELF.contains(&name) => by_itself(name, rest),
        "filter-branch" | "difftool" | "mergetool" | "send-email" | "daemon" | "upload-pack"
        | "receive-pack" => {
            Effects::unclear(format!("`git {}` runs programs that cannot be seen", name.text))
        }
        "bisect" | "rebase"
            if rest.iter().any(|w| {
                let text = w.text.split('=').next().unwrap_or_default();
                ["run", "visualize", "view"].contains(&text)
                    || abbreviates(text, "--exec")
                    || has_letter(text, "x", "sXSC")
            }) =>
        {
            Effects::unclear(format!("`git {}` runs a program", name.text))
        }
        known if WRITERS.contains(&known) => {
            by_rule(known, rest, "it changes the repository and may run its hooks")
        }
        other => {
            let may_reach = addresses(rest);
            let why = format!("`git {other}` is not known and may be an alias");
            Effects { may_reach, ..Effects::unclear(why) }
        }
    }
}

/// Commands that talk to another repository in a way of their own, with the address among their words or a remote's name.
fn by_itself(name: &str, rest: &[Word]) -> Effects {
    let mut words = rest.iter().map(|w| w.text.as_str()).filter(|text| !text.starts_with('-'));
    let command = ["lfs", "subtree", "svn"].contains(&name).then(|| words.next()).flatten();
    let remote = words.next().unwrap_or_default().to_owned();
    let push = name.ends_with("push") || name == "send-pack" || command == Some("push");
    let talks = command.is_none_or(|command| TALKS.contains(&command));
    let operands = rest.iter().filter(|w| !w.text.starts_with('-'));
    let may_reach = operands.filter_map(|w| host_in(&w.text)).collect();
    let contact = talks.then_some(Contact { remote, push });
    Effects {
        may_reach,
        contact,
        ..Effects::unclear(format!("`git {name}` talks to another repository by itself"))
    }
}

/// The hosts of words that are plainly addresses, wherever they stand: `https://…`, `me@host:path`.
fn addresses(words: &[Word]) -> Vec<String> {
    // `HEAD@{1}:path` is none.
    let is_one =
        |word: &&Word| word.text.contains("://") || host_of(&word.text).is_some_and(|host| host != "*");
    words.iter().filter(is_one).filter_map(|word| host_of(&word.text)).collect()
}

/// What git's command is told of paths, from the folder that `-C` leads to. What is written outside of here a person was
/// asked about by its own name.
fn from_folders(folders: &[&Word], effects: &mut Effects) {
    let is_whole = |word: &Word| word.tilde || word.text.starts_with('/');
    let joined = folders.iter().fold(Word::default(), |at, to| match is_whole(to) || at.text.is_empty() {
        true => (*to).clone(),
        false => Word { text: format!("{}/{}", at.text, to.text), ..at },
    });
    if joined.text.is_empty() {
        return;
    }
    let inside = !is_whole(&joined) && !joined.text.split('/').any(|part| part == "..");
    for i in 0..effects.touches.len() {
        let touch = &effects.touches[i];
        if is_whole(&touch.word) || touch.how == How::Write && !inside {
            continue;
        }
        let text = format!("{}/{}", joined.text, touch.word.text);
        let word = Word { text, tilde: joined.tilde, ..touch.word.clone() };
        effects.touch(touch.how, &word, touch.reach);
    }
}

/// The files that a command writes where its words say.
fn written<'a>(name: &str, rest: &'a [Word]) -> Vec<Cow<'a, Word>> {
    let has = |short: &str, long: &[&str]| {
        rest.iter()
            .any(|w| has_letter(&w.text, short, "") || long.iter().any(|long| abbreviates(&w.text, long)))
    };
    let operands = || rest.iter().filter(|w| !w.text.starts_with('-')).map(Cow::Borrowed);
    let (letter, long) = match name {
        "archive" => ("o", "--output"),
        "format-patch" => ("o", "--output-directory"),
        "config" if !has("l", &["--list", "--get-regexp"]) => ("f", "--file"),
        _ => ("", "--output"),
    };
    let mut files: Vec<Cow<Word>> = match name {
        "mv" | "clean" => operands().collect(),
        "rm" if !has("", &["--cached"]) => operands().collect(),
        "restore" if !has("S", &["--staged"]) || has("W", &["--worktree"]) => operands().collect(),
        "checkout" if !has("bBt", &["--orphan", "--track"]) => operands().collect(),
        "bundle" if operands().next().is_some_and(|w| w.text == "create") => {
            operands().skip(1).take(1).collect()
        }
        _ => Vec::new(),
    };
    for (i, word) in rest.iter().enumerate() {
        let text = word.text.as_str();
        let (key, value) = text.split_once('=').map_or((text, ""), |(key, value)| (key, value));
        let joined = match text.strip_prefix('-').filter(|own| !own.starts_with('-')) {
            _ if key.len() > 4 && long.starts_with(key) => Some(value),
            Some(own) if !letter.is_empty() => own.split_once(letter).map(|(_, value)| value),
            _ => None,
        };
        match joined {
            Some("") => files.extend(rest.get(i + 1).map(Cow::Borrowed)),
            Some(value) => {
                files.push(Cow::Owned(Word { glob: word.glob, hidden: word.hidden, ..Word::literal(value) }))
            }
            None => {}
        }
    }
    files
}

/// Passes by a rule.
fn by_rule(name: &str, rest: &[Word], why: &str) -> Effects {
    Effects { class: Class::Arbitrary(format!("`git {name}`: {why}")), ..kept(name, rest) }
}

/// What the words of a command may name is held against rules that forbid reading: git keeps what it is given.
fn kept(name: &str, rest: &[Word]) -> Effects {
    let mut files = Vec::new();
    let mut words = rest.iter().peekable();
    while let Some(word) = words.next() {
        // Sterna's own files may be kept like others.
        let own = ["add", "commit"].contains(&name) && word.text.split('/').any(|part| part == ".sterna");
        if !own {
            files.push(word.clone());
            files.extend(parts(word));
        }
        if takes_a_message(name, &word.text) {
            // `-m` may itself be the value of what stands before it; then this is an option.
            words.next_if(|word| !word.text.starts_with('-'));
        }
    }
    let effects = named(Effects::none(), &files);
    // An address that is only kept reaches nobody.
    Effects { hosts: Vec::new(), ..effects }
}

/// The files within a word: what follows a colon (`HEAD:a`, `:0:a`, `:(top)a`), and the letters `-F` and `-t`.
fn parts(word: &Word) -> Vec<Word> {
    let text = word.text.as_str();
    let mut parts = Vec::new();
    let mut colons: Vec<usize> = text.match_indices(':').map(|(at, _)| at).collect();
    if colons.len() > MAX_PARTS {
        // A revision may end anywhere, and a path begin.
        colons.drain(MAX_PARTS / 2..colons.len() - MAX_PARTS / 2);
    }
    for at in colons {
        let part = &text[at + 1..];
        let magic = part.strip_prefix('(').and_then(|rest| rest.split_once(')')).map(|(_, path)| path);
        parts.push(magic.unwrap_or(part).trim_start_matches(['/', '!', '^']));
    }
    if text.starts_with('-') && !text.starts_with("--") {
        parts.extend(text.split_once(['F', 't']).map(|(_, file)| file));
    }
    parts.retain(|part| !part.is_empty());
    parts.into_iter().map(|text| Word { text: text.to_owned(), ..Word::default() }).collect()
}

/// Whether the next word is text for people: `-m`, `-am`.
fn takes_a_message(name: &str, option: &str) -> bool {
    let message =
        |letters: &str| letters.find(|c| "mFcCtSuX".contains(c)).is_some_and(|at| letters[at..] == *"m");
    let writes = ["commit", "tag", "merge", "notes", "stash"].contains(&name);
    writes
        && match option.strip_prefix("--") {
            Some(long) => long.len() > 1 && "message".starts_with(long),
            None => option.strip_prefix('-').is_some_and(message),
        }
}

/// Revisions and paths cannot be told apart, so every operand counts as a path that is read.
fn revisions(name: &str, rest: &[Word], folder: &[&Word]) -> Effects {
    let options = Options {
        bad: if name == "grep" { "O" } else { "" },
        bad_long: &[
            "output",
            "ext-diff",
            "textconv",
            "open-files-in-pager",
            "show-signature",
            "filters",
            "batch-command",
            // Processes of git's own in submodules.
            "submodule",
            "recurse-submodules",
        ],
        // What takes no value must not hide the letters behind it.
        values: if name == "grep" { "eABCm" } else { "nSGL" },
        files: if name == "grep" { "f" } else { "" },
        ..NO_OPTIONS
    };
    // Lines of a file, by numbers or by what stands in them: `-L 1,9:a.rs`, `-L '/fn main/,+9'`.
    let mut rest: Vec<Word> = rest.to_vec();
    let lines = |pair: &[Word]| pair[0].text == "-L";
    let values = rest.windows(2).filter(|pair| lines(pair)).map(|pair| &pair[1]);
    let joined = rest.iter().filter(|w| w.text.starts_with("-L"));
    let of_lines: Vec<Word> = values.chain(joined).flat_map(parts).collect();
    while let Some(at) = rest.iter().position(|w| w.text == "-L").filter(|_| ["blame", "log"].contains(&name))
    {
        rest.drain(at..rest.len().min(at + 2));
    }
    let rest = rest.as_slice();
    // `--output-indicator-new` and `--no-textconv` fall with them; nobody misses them.
    let parsed = match parse(rest, &options) {
        Ok(parsed) => parsed,
        Err(option) => {
            return Effects::unclear(format!("{option} of `git {name}` may run or write something"));
        }
    };
    if rest.iter().any(|w| w.text.contains("%G")) {
        return Effects::unclear("a format with %G runs the signature checker that is configured");
    }
    let mut effects = Effects::none();
    if name == "grep" {
        // What lies beneath is searched, and all of it where no path is given.
        let here = Word::literal(".");
        let folders = if folder.is_empty() { vec![&here] } else { folder.to_vec() };
        // Of these only what is kept in the repository.
        let all = ["--untracked", "--no-index", "--no-exclude-standard"];
        let all = rest.iter().any(|w| all.iter().any(|option| abbreviates(&w.text, option)));
        effects = effects.with(How::Read, &folders, if all { Reach::Tree } else { Reach::Visible });
    }
    // Two folders are compared with all beneath: also without the option, where one is outside of the work tree.
    let two = name == "diff" && parsed.operands.len() == 2;
    let is_outside =
        |w: &&Word| w.tilde || w.text.starts_with('/') || w.text.split('/').any(|part| part == "..");
    let folders =
        rest.iter().any(|w| w.text == "--no-index") || two && parsed.operands.iter().any(is_outside);
    let reach = if folders { Reach::Tree } else { Reach::Names };
    for word in parsed.operands.iter().copied().chain(&parsed.files).chain(&of_lines) {
        let whole = Word { text: word.text.clone(), tilde: word.tilde, ..Word::default() };
        for word in std::iter::once(whole).chain(parts(word)) {
            let from = |folder: &&Word| {
                let text = format!("{}/{}", folder.text, word.text);
                Word { text, tilde: folder.tilde, ..Word::default() }
            };
            for place in std::iter::once(word.clone()).chain(folder.iter().map(from)) {
                effects.touch(How::Read, &place, reach);
                if two {
                    // Outside of repositories they are folders.
                    effects.touch(How::Named, &place, Reach::Whole);
                }
            }
        }
    }
    effects
}

/// The forms of `branch` and `tag` that list.
fn listing(name: &str, rest: &[Word]) -> Result<Effects, String> {
    let lists = rest.iter().any(|w| ["-l", "--list"].contains(&w.text.as_str()));
    for word in rest {
        let text = word.text.as_str();
        let flag = match name {
            "branch" => {
                [
                    "-a",
                    "-r",
                    "-v",
                    "-vv",
                    "-l",
                    "--all",
                    "--remotes",
                    "--list",
                    "--show-current",
                    "--no-color",
                    "--verbose",
                ]
                .contains(&text)
                    || text.starts_with("--sort=")
                    || text.starts_with("--format=")
            }
            _ => ["-l", "--list"].contains(&text) || text.starts_with("--sort="),
        };
        if !flag && (text.starts_with('-') || !lists) {
            return Err("this form changes the repository".into());
        }
    }
    Ok(Effects::none())
}

fn config(rest: &[Word]) -> Effects {
    let words: Vec<_> = rest.iter().map(|w| w.text.as_str()).collect();
    match words.as_slice() {
        ["--list" | "-l" | "list"] | ["--get" | "--get-all" | "get", _] => {
            Effects::none().with(How::Read, &[&Word::literal(".")], Reach::Names)
        }
        [name] if !name.starts_with('-') && name.contains('.') => {
            Effects::none().with(How::Read, &[&Word::literal(".")], Reach::Names)
        }
        _ => {
            let mut effects = Effects::unknown("`git config` that writes can make git run programs");
            if words.iter().any(|word| git_remote::routes(word)) {
                effects.keeps = words.iter().filter_map(|word| host_in(word)).collect();
                effects.keeps.push("*".to_owned());
            }
            effects
        }
    }
}

/// The forms of `git remote` that change or reach remotes.
fn of_remote(rest: &[Word]) -> Effects {
    let mut effects = by_rule("remote", rest, "it changes or reaches remotes");
    let named: Vec<String> = rest.iter().filter_map(|word| host_in(&word.text)).collect();
    let fetches = |w: &Word| has_letter(&w.text, "f", "tm") || abbreviates(&w.text, "--fetch");
    let first = rest.iter().find(|word| !word.text.starts_with('-')).map_or("", |word| word.text.as_str());
    if rest.iter().any(fetches) {
        effects.hosts = named.clone();
    }
    if ["update", "show", "prune", "set-head"].contains(&first) || rest.iter().any(fetches) {
        effects.contact = Some(Contact { remote: String::new(), push: false });
    }
    effects.keeps = named;
    effects
}

/// Commands that talk to a remote. A URL names its host; a remote's name is in the repository.
fn reaching(name: &str, rest: &[Word]) -> Effects {
    const BAD: [&str; 7] =
        ["--upload-pack", "--receive-pack", "--exec", "--config", "--template", "--remote", "--output"];
    // Letters that run or write something, and those with a value, behind which none counts.
    let (letters, values) = match name {
        "clone" => ("uc", "job"),
        "push" => ("c", "o"),
        "pull" => ("uc", "josXS"),
        "submodule" => ("uc", "bjn"),
        "archive" => ("uco", ""),
        _ => ("uc", "jo"),
    };
    let bad = |w: &&Word| {
        let text = w.text.split('=').next().unwrap_or_default();
        BAD.iter().any(|b| abbreviates(text, b))
            || has_letter(text, letters, values)
            || w.text.contains("ext::")
            || w.text == "foreach"
            // Submodules have remotes and hooks of their own.
            || name == "push" && text.len() > 5 && "--recurse-submodules".starts_with(text)
                && !["check", "no"].iter().any(|v| w.text.split_once('=').is_some_and(|(_, value)| value == *v))
    };
    let remote = git_remote::remote(name, rest);
    let mut hosts: Vec<String> = match name {
        "fetch" | "pull" | "push" => remote.and_then(host_in).into_iter().collect(),
        // `HEAD:path` is of the repository itself.
        "archive" => Vec::new(),
        _ => rest.iter().filter(|w| !w.text.starts_with('-')).filter_map(|w| host_in(&w.text)).collect(),
    };
    // All of them, or more than one.
    let several = |w: &Word| ["--all", "--multiple"].iter().any(|option| abbreviates(&w.text, option));
    let contact = match name {
        "push" => Some(Contact { remote: remote.unwrap_or_default().to_owned(), push: true }),
        "fetch" | "pull" if rest.iter().any(several) => Some(Contact { remote: String::new(), push: false }),
        "fetch" | "pull" | "ls-remote" => {
            Some(Contact { remote: remote.unwrap_or_default().to_owned(), push: false })
        }
        "submodule" => Some(Contact { remote: String::new(), push: false }),
        _ => None,
    };
    let unclear = |why: String| {
        let values = rest.iter().filter_map(|w| w.text.strip_prefix("--remote=")).filter_map(host_in);
        let mut may_reach: Vec<String> = hosts.iter().cloned().chain(values).collect();
        for (i, word) in rest.iter().enumerate() {
            let (text, next) = (word.text.as_str(), rest.get(i + 1).map_or("", |next| next.text.as_str()));
            let key = text.split('=').next().unwrap_or_default();
            match name {
                "archive" if key == text && abbreviates(key, "--remote") => may_reach.extend(host_in(next)),
                // Settings of the new repository, which hold for the clone itself.
                "clone" if abbreviates(key, "--config") || has_letter(text, "c", "job") => {
                    let sign = if text.starts_with("--") { '=' } else { 'c' };
                    let joined = text.split_once(sign).map_or("", |(_, value)| value);
                    if git_remote::routes(next) || git_remote::routes(joined) {
                        may_reach.push("*".to_owned());
                    }
                }
                _ => {}
            }
        }
        Effects { may_reach, contact: contact.clone(), ..Effects::unclear(why) }
    };
    if let Some(word) = rest.iter().find(bad) {
        return unclear(format!("`git {name} {}` may run a program", word.text));
    }
    if let Some(path) = remote.filter(|remote| name == "push" && git_remote::is_path(remote)) {
        return unclear(format!("`git push` to `{path}`, a repository that runs hooks of its own"));
    }
    let mut effects = by_rule(name, rest, "it reaches a remote or changes the repository");
    // A clone's submodules are where it says.
    let deep = |w: &Word| {
        ["--recurse-submodules", "--recursive"]
            .iter()
            .any(|o| abbreviates(w.text.split('=').next().unwrap_or_default(), o))
    };
    if name == "clone" && rest.iter().any(deep) {
        effects.may_reach.push("*".to_owned());
    }
    effects.contact = contact;
    // An option that is not known here may have taken what looks like the remote for its value.
    effects.may_reach.extend(addresses(rest));
    hosts.sort();
    hosts.dedup();
    effects.hosts = hosts;
    effects
}

/// Whether git takes a word for this long option.
fn abbreviates(text: &str, option: &str) -> bool {
    text.len() > 2 && option.starts_with(text)
}

/// Whether one of these short options stands in a word, before one that takes the rest as its value.
fn has_letter(text: &str, letters: &str, values: &str) -> bool {
    let options = text.strip_prefix('-').filter(|rest| !rest.starts_with('-')).unwrap_or_default();
    let before = options.split(|c| values.contains(c)).next().unwrap_or_default();
    before.contains(|c| letters.contains(c))
}

/// Commands that reach a remote, or may.
const REACHING: [&str; 8] = ["clone", "fetch", "pull", "push", "ls-remote", "submodule", "archive", "remote"];
/// Commands that talk to another repository without asking git's other ones, and programs beside git that do.
const BY_ITSELF: [&str; 13] = [
    "send-pack",
    "fetch-pack",
    "http-push",
    "http-fetch",
    "remote-http",
    "remote-https",
    "remote-ftp",
    "remote-ftps",
    "lfs",
    "subtree",
    "svn",
    "cvsimport",
    "imap-send",
];
/// What of those that have commands of their own does so.
const TALKS: [&str; 11] =
    ["push", "pull", "fetch", "clone", "add", "lock", "locks", "unlock", "dcommit", "rebase", "init"];
/// Options of git itself whose value is the next word.
const WITH_A_VALUE: [&str; 8] = [
    "-C",
    "-c",
    "--git-dir",
    "--work-tree",
    "--namespace",
    "--super-prefix",
    "--config-env",
    "--attr-source",
];
/// Colons of a word that are looked behind.
const MAX_PARTS: usize = 64;
const WRITERS: [&str; 25] = [
    "add",
    "am",
    "apply",
    "bisect",
    "branch",
    "checkout",
    "cherry-pick",
    "clean",
    "commit",
    "format-patch",
    "gc",
    "init",
    "merge",
    "mv",
    "notes",
    "prune",
    "rebase",
    "reset",
    "restore",
    "revert",
    "rm",
    "sparse-checkout",
    "switch",
    "update-index",
    "worktree",
];
