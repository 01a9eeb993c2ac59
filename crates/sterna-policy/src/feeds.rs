//! What the commands of a pipeline give each other as far as it is certain: the names that `xargs` hands on.

use crate::effects::{Class, Effects, How, NO_OPTIONS, Options, Parsed, Reach, Touch, parse};
use crate::find::{self, Taken};
use crate::option_tables;
use crate::paths::base_name;
use crate::patterns;
use crate::programs;
use crate::readers::LISTING;
use crate::rule::trusted_name;
use crate::shell::{Hidden, RedirectKind, SimpleCommand, Word};
use crate::wrappers;

/// Some of what a command reads from its standard input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Given {
    /// This very word.
    Name(Word),
    /// Names of what is in this folder.
    In(Taken, Word),
    /// Whatever it may be.
    Unseen,
}

/// The commands of a pipeline are given what those of the part before them print. The parts are between `ends`; the
/// first one is given `given`.
pub(crate) fn flow(all: &mut [SimpleCommand], ends: &[usize], mut given: Vec<Given>) {
    let first = ends.first().copied().unwrap_or_default();
    // Nobody else asks.
    let asks = |command: &SimpleCommand| command.via.iter().chain([&command.argv]).any(|argv| hands_on(argv));
    if !all.get(first..).unwrap_or_default().iter().any(asks) {
        return;
    }
    let at_most = |given: &mut Vec<Given>| {
        if given.len() > MAX_GIVEN {
            given.truncate(MAX_GIVEN);
            given.push(Given::Unseen);
        }
    };
    at_most(&mut given);
    for pair in ends.windows(2) {
        let mut next = Vec::new();
        for command in all.get_mut(pair[0]..pair[1]).unwrap_or_default() {
            if command.input.is_empty() {
                command.input.clone_from(&given);
            }
            next.append(&mut printed(command));
        }
        at_most(&mut next);
        given = next;
    }
}

/// The names in a text that a command is given: those of a here-string.
pub(crate) fn names_in(words: &[Word]) -> Vec<Given> {
    words.iter().flat_map(pieces).collect()
}

/// Whether a program runs another one with the names that it reads.
pub(crate) fn hands_on(argv: &[Word]) -> bool {
    argv.first().is_some_and(|w| HANDS_ON.contains(&base_name(&w.text)))
}

/// The names that `parallel` finds among its own words for the program that begins `at`, and where that one's words end.
/// `None`: they are in what it reads.
pub(crate) fn given_behind(argv: &[Word], at: usize) -> Option<(usize, Vec<Given>)> {
    let from_a_file = |w: &Word| w.text.starts_with("--arg-f") || w.text == "-a";
    let sign = |w: &Word| w.text.starts_with(":::");
    let end = argv.iter().position(sign).filter(|end| *end > at);
    let mut given = Vec::new();
    let mut files = argv[..at].iter().any(from_a_file);
    let mut names = false;
    for word in argv.get(end.unwrap_or(argv.len())..).unwrap_or_default() {
        match word.text.as_str() {
            ":::" | ":::+" => names = true,
            text if text.starts_with("::::") => (files, names) = (true, false),
            _ if names && given.len() < MAX_GIVEN => given.append(&mut pieces(word)),
            _ => files = true,
        }
    }
    given.extend(files.then_some(Given::Unseen));
    (files || end.is_some()).then(|| (end.unwrap_or(argv.len()), given))
}

/// Adds what a command removes of the names that `xargs` hands on.
pub(crate) fn remove_given(command: &SimpleCommand, effects: &mut Effects) {
    let Some(own) = command.via.iter().rfind(|argv| hands_on(argv)) else { return };
    let mut argv = command.argv.clone();
    match replaced(own, &argv) {
        None => argv.push(Word::literal(MARK)),
        Some(sign) => argv.iter_mut().for_each(|word| word.text = word.text.replace(&sign, MARK)),
    }
    let marked = |word: &Word| word.text.contains(MARK);
    if !argv.iter().any(marked) {
        return;
    }
    let names = argv.iter().filter(|w| marked(w)).count();
    // What gets a name beside its old one is still there, and `rmdir` takes only what is empty.
    let loses = |name: &str| if name == "mv" { names == 1 } else { name != "rmdir" };
    let first = SimpleCommand { argv, ..SimpleCommand::default() };
    let mut removed = Vec::new();
    for one in wrappers::all_that_run(&first) {
        let name = trusted_name(one.program());
        let touches = programs::of_program(name, one.argv.get(1..).unwrap_or_default()).touches;
        let deletes = |t: &Touch| t.how == How::Delete && marked(&t.word) && loses(name);
        removed.extend(touches.into_iter().filter(deletes).map(|touch| (name.to_owned(), touch)));
    }
    for (name, touch) in removed {
        for given in &command.input {
            let (word, reach) = match given {
                Given::Name(word) => (word.clone(), touch.reach),
                Given::In(taken @ Taken::Some, folder) => (taken.of(folder), Reach::Tree),
                Given::In(taken, folder) => (taken.of(folder), touch.reach),
                Given::Unseen => continue,
            };
            let alone = touch.word.text == MARK;
            let text = touch.word.text.replace(MARK, &word.text);
            let tilde = if alone { word.tilde } else { touch.word.tilde };
            let glob = word.glob || touch.word.glob;
            effects.touch(How::Delete, &Word { text, tilde, glob, ..word }, reach);
        }
        let file = command.redirects.iter().any(|redirect| redirect.kind == RedirectKind::Read)
            || cuts_elsewhere(own);
        // What only moves is not lost.
        if name != "mv" && (file || command.input.is_empty() || command.input.contains(&Given::Unseen)) {
            effects.class =
                Class::Unknown(format!("`{name}` removes names that it is given, and nobody has seen"));
            effects.removes_unseen = true;
        }
    }
}

/// Whether `xargs` is told to cut names at something else than what ends them here.
fn cuts_elsewhere(own: &[Word]) -> bool {
    let Some((program, words)) = own.split_first() else { return false };
    if base_name(&program.text).starts_with("fd") {
        return false;
    }
    let is_one = |option: &option_tables::Given| ["d", "delimiter"].contains(&option.name.as_str());
    option_tables::XARGS.read(words).options.iter().filter(|option| is_one(option)).any(|option| {
        let value = option.value.as_ref().map_or("", |word| word.text.as_str());
        !["\\n", "\\0", "\\t", "\n", "\t", " "].contains(&value)
    })
}

/// What stands for a name among the words behind `xargs`. `None`: names come after them.
fn replaced(own: &[Word], argv: &[Word]) -> Option<String> {
    let (program, words) = own.split_first()?;
    if !base_name(&program.text).ends_with("xargs") {
        return argv.iter().any(|w| w.text.contains("{}")).then(|| "{}".to_owned());
    }
    let line = option_tables::XARGS.read(words);
    let option = line.options.iter().rfind(|option| ["I", "i", "replace"].contains(&option.name.as_str()))?;
    let sign = option.value.as_ref().map_or("{}", |word| word.text.as_str());
    Some(sign.to_owned()).filter(|sign| !sign.is_empty())
}

/// What a command writes to its standard output, as names.
fn printed(command: &SimpleCommand) -> Vec<Given> {
    let args = command.argv.get(1..).unwrap_or_default();
    let reads = command.redirects.iter().any(|redirect| redirect.kind == RedirectKind::Read);
    let input = || match reads || command.input.is_empty() {
        true => vec![Given::Unseen],
        false => command.input.clone(),
    };
    let name = trusted_name(command.program());
    let operands = || args.iter().filter(|w| !w.text.starts_with('-'));
    if let Some(own) = command.via.iter().rfind(|argv| hands_on(argv)) {
        let sign = replaced(own, args);
        let is_sign = |w: &&Word| sign.as_ref().is_some_and(|sign| *sign == w.text);
        let all: Vec<Given> =
            input().into_iter().chain(operands().filter(|w| !is_sign(w)).flat_map(pieces)).collect();
        let within = sign
            .as_ref()
            .is_some_and(|sign| args.iter().any(|w| w.text.contains(sign.as_str()) && !is_sign(&w)));
        let known = WORDS.contains(&name) && !within && !cuts_elsewhere(own);
        return if known { all } else { and_more(all) };
    }
    match name {
        _ if SILENT.contains(&name) => Vec::new(),
        "echo" => echoed(args),
        "printf" => formatted(args),
        "yes" => operands().flat_map(pieces).collect(),
        "realpath" if args.iter().all(|w| !w.text.starts_with("--re")) => {
            operands().flat_map(pieces).collect()
        }
        "realpath" | "readlink" => and_more(operands().flat_map(pieces).collect()),
        "dirname" => operands().map(parent).collect(),
        "seq"
            if args
                .iter()
                .all(|w| w.text.trim_start_matches('-').starts_with(|c: char| c.is_ascii_digit())) =>
        {
            vec![Given::Name(Word::literal("0"))]
        }
        "pwd" => vec![Given::Name(Word::literal("."))],
        "ls" | "dir" | "vdir" => list(args),
        "find" => {
            let (all, is_all) = find::printed(args);
            let all = all.into_iter().map(|(taken, start)| Given::In(taken, start)).collect();
            if is_all { all } else { and_more(all) }
        }
        "git" => tracked(args),
        // With a file they read that.
        "cat" | "tac" | "sort" | "uniq" | "shuf" | "nl" if operands().next().is_some() => vec![Given::Unseen],
        "sort" | "shuf"
            if args.iter().any(|w| ["--f", "--i", "-i"].iter().any(|o| w.text.starts_with(o))) =>
        {
            vec![Given::Unseen]
        }
        "tr" if !operands().all(is_blank) => and_more(input()),
        "cat" | "tac" | "sort" | "uniq" | "shuf" | "nl" | "tee" | "tr" => input(),
        "head" | "tail" if cuts_lines(name, args).is_none() => vec![Given::Unseen],
        "head" | "tail" if cuts_lines(name, args) == Some(false) => input(),
        "head" | "tail" => some_of(input()),
        "grep" | "egrep" | "fgrep" => filter(args, input),
        _ => vec![Given::Unseen],
    }
}

/// The names that a listing shows.
fn list(args: &[Word]) -> Vec<Given> {
    let Ok(Parsed { operands, short, long, .. }) = parse(args, &LISTING) else {
        return vec![Given::Unseen];
    };
    let itself = short.contains('d') || long.iter().any(|l| l == "directory");
    let here = Word::literal(".");
    match operands.is_empty() {
        true if itself => vec![Given::Name(here)],
        true => vec![Given::In(Taken::Names, here)],
        false => operands
            .into_iter()
            .map(|word| {
                let text = word.text.trim_end_matches('/');
                match word {
                    word if word.hidden != Hidden::No => Given::Unseen,
                    word if itself || word.glob => Given::Name(word.clone()),
                    _ if text == "." => Given::In(Taken::Names, here.clone()),
                    // Of a folder its names, told from elsewhere.
                    word => Given::In(Taken::Some, word.clone()),
                }
            })
            .collect(),
    }
}

/// What git tells of the files that it keeps.
fn tracked(args: &[Word]) -> Vec<Given> {
    // What stands before its command and changes nothing of what it tells.
    let quiet = |w: &&Word| ["--no-pager", "-P", "--no-optional-locks"].contains(&w.text.as_str());
    let args = args.get(args.iter().take_while(quiet).count()..).unwrap_or_default();
    let Some((name, rest)) = args.split_first() else { return vec![Given::Unseen] };
    let options = Options {
        values: if name.text == "ls-files" { "xX" } else { "" },
        long_values: &["exclude", "exclude-from", "with-tree", "diff-filter"],
        ..NO_OPTIONS
    };
    let Ok(parsed) = parse(rest, &options) else { return vec![Given::Unseen] };
    let of_here = |taken: Taken| vec![Given::In(taken, Word::literal("."))];
    let all = parsed.operands.iter().all(|w| is_broad_pathspec(&w.text));
    let known = parsed.operands.iter().all(|w| w.hidden == Hidden::No);
    match name.text.as_str() {
        _ if parsed.long.iter().any(|long| long.starts_with('f')) => vec![Given::Unseen],
        "ls-files" => {
            let chosen =
                parsed.has("dmoiuk", &["deleted", "modified", "others", "ignored", "unmerged", "killed"]);
            let tracked = !chosen || parsed.has("c", &["cached"]);
            of_here(if tracked && all { Taken::All } else { Taken::Some })
        }
        "ls-tree" if parsed.has("r", &[]) => of_here(Taken::All),
        "ls-tree" => of_here(Taken::Names),
        "diff" if parsed.has("", &["no-index"]) || !known => vec![Given::Unseen],
        "diff" if parsed.has("", &["name-only"]) => {
            let from_nothing = parsed.operands.iter().any(|w| w.text.split("..").any(is_empty_tree));
            of_here(if from_nothing { Taken::All } else { Taken::Some })
        }
        _ => vec![Given::Unseen],
    }
}

/// Whether most files fit a word that tells git which ones: `*`, `:/`, and what only leaves some out (`:!x`).
fn is_broad_pathspec(text: &str) -> bool {
    let path = match text.strip_prefix(':') {
        None => text,
        Some(short) if short.starts_with(['!', '^']) => return true,
        Some(long) => match long.strip_prefix('(').and_then(|long| long.split_once(')')) {
            Some((magic, _)) if magic.contains("exclude") => return true,
            Some((_, path)) => path,
            None => long.trim_start_matches(['/', ':']),
        },
    };
    path.split('/').all(|part| part.is_empty() || part == "." || patterns::is_broad(part))
}

/// Whether a revision is the tree without files: what differs from it is everything.
fn is_empty_tree(revision: &str) -> bool {
    let revision = revision.trim_start_matches('.').to_ascii_lowercase();
    revision.len() > 3 && EMPTY_TREES.iter().any(|tree| tree.starts_with(&revision))
}

/// Whether `head` and `tail` leave out much of what they are given. `None`: they read something else, or cut names.
fn cuts_lines(name: &str, args: &[Word]) -> Option<bool> {
    let mut words = args.iter().map(|w| w.text.as_str());
    let mut much = true;
    while let Some(text) = words.next() {
        let value = match text {
            "-n" | "--lines" => words.next()?,
            "-q" | "-v" | "--quiet" | "--silent" | "--verbose" | "-" => continue,
            _ => {
                let of_lines = text.strip_prefix("--lines=").or_else(|| text.strip_prefix("-n"));
                let digits = |rest: &&str| rest.bytes().all(|b| b.is_ascii_digit());
                let short = text.strip_prefix('-').filter(digits);
                let old = Some(text).filter(|text| text.starts_with('+'));
                of_lines.or(short).or(old)?
            }
        };
        let number = value.trim_start_matches(['-', '+']).parse::<u64>().ok();
        much = match (name, number) {
            ("head", _) if value.starts_with('-') => false,
            ("tail", Some(n)) if value.starts_with('+') => n > 2,
            (_, Some(n)) => n < MANY_LINES,
            (_, None) => false,
        };
    }
    Some(much)
}

/// What `fd` gives a program: what it finds here.
pub(crate) fn found_by_fd(words: &[Word]) -> Vec<Given> {
    let line = option_tables::FD.read(words.get(1..).unwrap_or_default());
    let mut folders = Vec::new();
    let mut narrow = false;
    let flat = line.has(&["d", "max-depth", "maxdepth", "exact-depth"]);
    for option in &line.options {
        let Some(value) = &option.value else { continue };
        match option.name.as_str() {
            "base-directory" | "search-path" => folders.push(value.clone()),
            "e" | "extension" => narrow = true,
            "S" | "size" => narrow |= is_large(&value.text),
            "and" => narrow |= find::regex_spares(&value.text),
            _ => {}
        }
    }
    if let Some((pattern, places)) = line.operands.split_first() {
        narrow |= find::regex_spares(&pattern.text);
        folders.extend(places.iter().copied().cloned());
    }
    if line.unknown.is_some() {
        // What looks like the pattern may be the value of that option.
        narrow = false;
        folders.extend(line.operands.first().copied().cloned());
        folders.push(Word::literal("."));
    }
    if folders.is_empty() {
        folders.push(Word::literal("."));
    }
    let taken = match (narrow, flat) {
        (true, _) => Taken::Some,
        (false, true) => Taken::Names,
        (false, false) => Taken::All,
    };
    folders.into_iter().map(|folder| Given::In(taken, folder)).collect()
}

/// `+10k` and more: few files are so large.
fn is_large(size: &str) -> bool {
    let Some(number) = size.strip_prefix('+') else { return false };
    let digits = number.bytes().take_while(u8::is_ascii_digit).count();
    let unit = number[digits..].to_ascii_lowercase();
    let large = unit.starts_with(['m', 'g', 't']) || unit.starts_with('k') && digits > 1;
    large && !number.starts_with('0')
}

/// `grep` of what it is given, or for the names of files.
fn filter(args: &[Word], input: impl Fn() -> Vec<Given>) -> Vec<Given> {
    let options = Options {
        values: "mABC",
        bad: "ef",
        bad_long: &["regexp", "file", "label", "only-matching", "recursive", "files-without-match"],
        ..NO_OPTIONS
    };
    let Ok(parsed) = parse(args, &options) else { return vec![Given::Unseen] };
    let Some((pattern, files)) = parsed.operands.split_first() else { return vec![Given::Unseen] };
    let here = Word::literal(".");
    let places = || if files.is_empty() { vec![&here] } else { files.to_vec() };
    if parsed.has("l", &["files-with-matches"]) {
        let known = places().into_iter().all(|word| word.hidden == Hidden::No);
        // A line in which it is, or in which it is not, has nearly every file.
        let spares = find::regex_spares(&pattern.text) && !parsed.has("v", &["invert-match"]);
        let all_in = |word: &Word| match parsed.has("r", &[]) {
            true => Given::In(Taken::All, word.clone()),
            false => Given::Name(word.clone()),
        };
        return match known {
            true if spares => places().into_iter().map(some_in).collect(),
            true => places().into_iter().map(all_in).collect(),
            false => vec![Given::Unseen],
        };
    }
    match files.is_empty() && !parsed.has("rRLoc", &["count"]) {
        false => vec![Given::Unseen],
        true if parsed.has("v", &["invert-match"]) => input(),
        true if pattern.hidden == Hidden::No && find::regex_spares(&pattern.text) => some_of(input()),
        true => input(),
    }
}

/// What is left where some of it is taken out.
fn some_of(given: Vec<Given>) -> Vec<Given> {
    given
        .into_iter()
        .map(|one| match one {
            Given::In(_, folder) => Given::In(Taken::Some, folder),
            Given::Name(word) => Given::Name(word),
            Given::Unseen => Given::Unseen,
        })
        .collect()
}

/// Some of what lies in a folder, or fits a pattern.
fn some_in(word: &Word) -> Given {
    let (folder, name) = word.text.rsplit_once('/').unwrap_or((".", &word.text));
    match word.glob {
        true if patterns::is_broad(name) => {
            Given::In(Taken::Some, Word { text: folder.to_owned(), ..word.clone() })
        }
        true => Given::Name(word.clone()),
        false => Given::In(Taken::Some, word.clone()),
    }
}

/// These, and others that nobody has seen.
fn and_more(mut given: Vec<Given>) -> Vec<Given> {
    given.push(Given::Unseen);
    given
}

/// Whether a set of `tr` has only signs in it that end a name, or none.
fn is_blank(set: &Word) -> bool {
    let rest = ["\\n", "\\0", "\\r", "\\t", "[:space:]", "[:blank:]"]
        .iter()
        .fold(set.text.clone(), |text, sign| text.replace(sign, " "));
    set.hidden == Hidden::No && rest.chars().all(char::is_whitespace)
}

/// What `echo` prints. Its own signs for what cannot be seen are read with `-e` alone.
fn echoed(args: &[Word]) -> Vec<Given> {
    let reads = args.iter().any(|w| w.text.starts_with('-') && w.text.contains('e'));
    let operands = args.iter().filter(|w| !w.text.starts_with('-'));
    operands.flat_map(|word| if reads { pieces(&blanks(word)) } else { pieces(word) }).collect()
}

/// What `printf` prints, where the words that it is given come out as they are, each for itself.
fn formatted(args: &[Word]) -> Vec<Given> {
    let args = if args.first().is_some_and(|w| w.text == "--") { &args[1..] } else { args };
    let Some((format, words)) = args.split_first() else { return vec![Given::Unseen] };
    let plain = blanks(format);
    let names: Vec<&str> = plain.text.split_whitespace().collect();
    let signs = names.iter().filter(|name| **name == "%s").count();
    let ends = plain.text.starts_with(char::is_whitespace) || plain.text.ends_with(char::is_whitespace);
    let one_each = ends || words.len() <= signs && words.iter().all(|word| !word.glob);
    let known = one_each && names.iter().all(|name| *name == "%s" || !name.contains('%'));
    let own = Word {
        text: names.into_iter().filter(|name| *name != "%s").collect::<Vec<_>>().join(" "),
        ..plain.clone()
    };
    let all: Vec<Given> = pieces(&own).into_iter().chain(words.iter().flat_map(pieces)).collect();
    if known { all } else { and_more(all) }
}

/// With blanks for the signs that stand for them. Behind digits they are signs for others.
fn blanks(word: &Word) -> Word {
    let mut text = String::new();
    let mut rest = word.text.as_str();
    while let Some((before, after)) = rest.split_once('\\') {
        text.push_str(before);
        let mut signs = after.chars();
        let blank = match (signs.next(), signs.next()) {
            (Some('n' | 't' | 'r'), _) => true,
            (Some('0'), next) => !next.is_some_and(|c| c.is_ascii_digit()),
            _ => false,
        };
        text.push(if blank { ' ' } else { '\\' });
        rest = if blank { &after[1..] } else { after };
    }
    text.push_str(rest);
    Word { text, ..word.clone() }
}

/// The names in a word: `xargs` cuts at blanks, and takes away quotes.
fn pieces(word: &Word) -> Vec<Given> {
    if word.hidden != Hidden::No {
        return vec![Given::Unseen];
    }
    let text = word.text.replace(QUOTES, "");
    let one = |(at, piece): (usize, &str)| {
        Given::Name(Word {
            tilde: word.tilde && at == 0 && text.starts_with(piece),
            text: piece.to_owned(),
            ..word.clone()
        })
    };
    let all = text.split_whitespace().enumerate().map(one).collect();
    if word.text.contains(QUOTES) { and_more(all) } else { all }
}

fn parent(word: &Word) -> Given {
    match word.text.trim_end_matches('/').rsplit_once('/') {
        _ if word.hidden != Hidden::No => Given::Unseen,
        Some(("", _)) => Given::Name(Word::literal("/")),
        Some((folder, _)) => Given::Name(Word { text: folder.to_owned(), ..word.clone() }),
        None => Given::Name(Word::literal(".")),
    }
}

/// Programs that run another one with what they read.
const HANDS_ON: [&str; 5] = ["xargs", "gxargs", "parallel", "fd", "fdfind"];
/// Programs that print the words that they are given.
const WORDS: [&str; 3] = ["echo", "realpath", "ls"];
const QUOTES: [char; 3] = ['\'', '"', '\\'];
/// Programs that print nothing.
const SILENT: [&str; 12] =
    ["cd", ":", "true", "false", "test", "[", "[[", "mkdir", "touch", "sleep", "set", "wait"];
/// The names of the tree without files, in both formats of objects.
const EMPTY_TREES: [&str; 2] = [
    "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
    "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321",
];
const MAX_GIVEN: usize = 64;
/// So many hold most of what there is.
const MANY_LINES: u64 = 100;
/// Stands for a name that is handed on, in no line.
const MARK: &str = "\u{1}";
