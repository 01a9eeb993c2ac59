//! What a `find` touches. Programs behind `-exec` are commands of their own in the plan.

use crate::effects::{Effects, How, Reach};
use crate::patterns;
use crate::programs::{self, named};
use crate::rule::trusted_name;
use crate::shell::{SimpleCommand, Word};
use crate::wrappers;

pub(crate) fn effects(args: &[Word]) -> Effects {
    let deletes = args.iter().any(|w| w.text == "-delete");
    let unsure = |why: String| if deletes { Effects::unknown(why) } else { Effects::unclear(why) };
    let mut effects = match search(args) {
        Err(why) => named(unsure(why), args),
        Ok(Search { starts, removed, compared, unsure: why, .. }) => {
            let mut effects = match why {
                Some(why) => named(unsure(why), args),
                None => {
                    let read: Vec<&Word> = starts.iter().chain(&compared).collect();
                    Effects::none().with(How::Read, &read, Reach::Names)
                }
            };
            for (taken, reach) in removed {
                for start in &starts {
                    effects.touch(How::Delete, &taken.of(start), reach);
                }
            }
            effects
        }
    };
    // Wherever they stand: what would be another test's argument may be the action after all.
    for (i, _) in args.iter().enumerate().filter(|(_, w)| WRITES.contains(&w.text.as_str())) {
        if let Some(file) = args.get(i + 1) {
            effects.touch(How::Write, file, Reach::This);
        }
    }
    effects
}

/// The names that a search prints, each time by where it starts, and whether it prints nothing else.
pub(crate) fn printed(args: &[Word]) -> (Vec<(Taken, Word)>, bool) {
    let Ok(search) = search(args) else { return (Vec::new(), false) };
    let each = |taken: &Taken| search.starts.iter().map(|start| (*taken, start.clone())).collect::<Vec<_>>();
    (search.printed.iter().flat_map(each).collect(), !search.formats)
}

/// What of the places where a search starts something is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Taken {
    /// Some of what is there: a test spares the most of it.
    Some,
    /// Each name in it, or the folders: with what they hold that is everything.
    Names,
    All,
}

impl Taken {
    pub(crate) fn of(self, start: &Word) -> Word {
        let below = |pattern: &str| Word {
            text: format!("{}/{pattern}", start.text.trim_end_matches('/')),
            glob: true,
            ..start.clone()
        };
        match self {
            Self::Some => below("**/*"),
            Self::Names => below("*"),
            Self::All => start.clone(),
        }
    }
}

/// A search by its tests and actions.
#[derive(Default)]
struct Search {
    starts: Vec<Word>,
    /// What `-delete` and programs remove.
    removed: Vec<(Taken, Reach)>,
    /// What it tells.
    printed: Vec<Taken>,
    /// It tells something else than names.
    formats: bool,
    /// Files whose age is looked at.
    compared: Vec<Word>,
    /// Why it may find more than it says.
    unsure: Option<String>,
}

/// The error says what of it is not known.
fn search(args: &[Word]) -> Result<Search, String> {
    let mut search = Search::default();
    let follows = |w: &Word| ["-L", "-follow"].contains(&w.text.as_str());
    if args.iter().any(follows) {
        search.unsure = Some("a `find` that follows links".into());
    }
    if args.iter().any(|w| w.text == "-files0-from") {
        return Err("a `find` that reads where it starts".into());
    }
    let is_test =
        |w: &Word| w.text.starts_with('-') && w.text.len() > 1 || ["(", "!"].contains(&w.text.as_str());
    // Options that stand before the folders.
    let mut at = 0;
    while let Some(word) = args.get(at) {
        match word.text.as_str() {
            "-H" | "-L" | "-P" => {}
            text if text == "-D" || text.starts_with("-O") => {
                search.unsure = Some("an option of `find` that is not known".into());
                at += usize::from(text == "-D");
            }
            "--" => {
                at += 1;
                break;
            }
            _ => break,
        }
        at += 1;
    }
    let rest = args.get(at..).unwrap_or_default();
    let count = rest.iter().take_while(|w| !is_test(w)).count();
    search.starts = if count == 0 { vec![Word::literal(".")] } else { rest[..count].to_vec() };
    let mut groups = vec![Group::default()];
    let mut negated = false;
    let mut acts = false;
    // So many that nobody looks at more are taken for the worst.
    let mut execs = 0;
    let mut tests = rest[count..].iter();
    while let Some(word) = tests.next() {
        let text = word.text.as_str();
        let mut spares = Spared::default();
        acts |= ACTIONS.contains(&text);
        if PRINTS.contains(&text) {
            search.printed.push(taken(&groups, Reach::Tree));
            let format = tests.as_slice().first().map_or("", |w| w.text.as_str());
            search.formats |= text == "-ls" || text == "-printf" && !NAMES.contains(&format);
        }
        let group = groups.last_mut().ok_or("a `)` of `find` without its `(`")?;
        match text {
            "!" | "-not" => {
                negated = !negated;
                continue;
            }
            "-a" | "-and" => continue,
            "-o" | "-or" => group.or(),
            "," => *group = Group { negated: group.negated, ..Group::default() },
            "(" => groups.push(Group { negated: std::mem::take(&mut negated), ..Group::default() }),
            ")" => {
                spares = group.spares();
                groups.pop();
            }
            "-delete" => search.removed.push((taken(&groups, Reach::This), Reach::Tree)),
            "-exec" | "-execdir" | "-ok" | "-okdir" => {
                let mut program: Vec<Word> = Vec::new();
                loop {
                    match tests.next() {
                        None => return Err("a `find -exec` that never ends".into()),
                        Some(w) if w.text == ";" => break,
                        Some(w) if w.text == "+" && program.last().is_some_and(|l| l.text == "{}") => break,
                        Some(w) => program.push(w.clone()),
                    }
                }
                execs += 1;
                match execs > wrappers::MAX_EXECS {
                    true => search.removed.push((Taken::All, Reach::Tree)),
                    false => {
                        search.removed.extend(removal(program).map(|reach| (taken(&groups, reach), reach)));
                    }
                }
            }
            _ if ALONE.contains(&text) => spares = sparing(text, "", negated, &search.starts),
            "-follow" => {}
            _ => {
                let value = tests.next().map_or("", |w| w.text.as_str());
                match text {
                    "-fprintf" => drop(tests.next()),
                    _ if WITH_ONE.contains(&text) => {}
                    _ if is_newer(text) => {
                        if !text.ends_with('t') {
                            search.compared.push(Word::literal(value));
                        }
                    }
                    _ => return Err(format!("the test `{text}` of `find`")),
                }
                spares = sparing(text, value, negated, &search.starts);
            }
        }
        negated = false;
        if groups.len() > MAX_GROUPS {
            return Err("brackets within brackets of a `find`".into());
        }
        if let Some(group) = groups.last_mut() {
            group.now = group.now.or(spares);
        }
    }
    if search.removed.is_empty() && args.iter().any(|w| w.text == "-delete") {
        search.removed.push((Taken::Some, Reach::Tree));
    }
    if !acts {
        // It prints what passes all tests.
        let all = groups.first().map(Group::spares).unwrap_or_default();
        search.printed.push(taken(&[Group { now: all, ..Group::default() }], Reach::Tree));
    }
    search.printed.sort_unstable();
    search.printed.dedup();
    // One is as good as many.
    search.removed.sort_unstable_by_key(|(taken, reach)| (*taken, *reach == Reach::Tree));
    search.removed.dedup();
    Ok(search)
}

/// How much of what lies below a program behind `-exec` takes away. `None`: it removes nothing that it is given.
fn removal(argv: Vec<Word>) -> Option<Reach> {
    let given = |w: &Word| w.text.contains("{}");
    let names = argv.iter().filter(|w| given(w)).count();
    let inner = wrappers::all_that_run(&SimpleCommand { argv, ..SimpleCommand::default() });
    // What gets a name beside its old one is still there, and `rmdir` takes only what is empty.
    let loses = |c: &&SimpleCommand| match trusted_name(c.program()) {
        "mv" => names == 1,
        name => name != "rmdir",
    };
    let touches = inner.iter().filter(loses).flat_map(|c| programs::effects(c).touches);
    let reaches = touches.filter(|t| t.how == How::Delete && given(&t.word)).map(|t| t.reach);
    reaches.max_by_key(|reach| *reach == Reach::Tree)
}

/// What an action takes, by the tests before it.
fn taken(groups: &[Group], reach: Reach) -> Taken {
    let spared = groups.iter().fold(Spared::default(), |all, group| all.or(group.now));
    let whole_folders = reach == Reach::Tree && !spared.folders;
    match spared {
        Spared { files: false, .. } => Taken::All,
        Spared { trees: false, .. } if whole_folders => Taken::Names,
        Spared { .. } => Taken::Some,
    }
}

/// What a test spares.
#[derive(Clone, Copy, Default)]
struct Spared {
    /// Most files.
    files: bool,
    /// Most folders with what they hold. Not so where only few names are left out, as each may hold many files.
    trees: bool,
    /// All folders.
    folders: bool,
}

impl Spared {
    const MOST: Self = Self { files: true, trees: true, folders: false };
    const FILES: Self = Self { files: true, trees: false, folders: false };

    fn or(self, other: Self) -> Self {
        Self {
            files: self.files || other.files,
            trees: self.trees || other.trees,
            folders: self.folders || other.folders,
        }
    }
    fn and(self, other: Self) -> Self {
        Self {
            files: self.files && other.files,
            trees: self.trees && other.trees,
            folders: self.folders && other.folders,
        }
    }
}

/// What stands in one pair of brackets.
#[derive(Default)]
struct Group {
    negated: bool,
    /// By the tests since the last `-o`.
    now: Spared,
    /// By each of the alternatives before it.
    before: Option<Spared>,
}

impl Group {
    fn or(&mut self) {
        self.before = Some(self.before.map_or(self.now, |before| before.and(self.now)));
        self.now = Spared::default();
    }
    fn spares(&self) -> Spared {
        match self.negated {
            true => Spared::default(),
            false => self.before.map_or(self.now, |before| before.and(self.now)),
        }
    }
}

/// What a test spares. In doubt nothing: one that nearly all there is passes is no test.
fn sparing(test: &str, value: &str, negated: bool, starts: &[Word]) -> Spared {
    let most = |spares: bool| if spares { Spared::MOST } else { Spared::default() };
    let files = |spares: bool| if spares { Spared::FILES } else { Spared::default() };
    match test {
        "-name" | "-iname" | "-path" | "-ipath" | "-wholename" | "-iwholename" | "-lname" | "-ilname" => {
            let whole = !test.ends_with("name") || test.ends_with("wholename");
            // What is before it is the same for all that is found.
            let below = |start: &Word| value.strip_prefix(start.text.trim_end_matches('/'));
            let part = match whole {
                true => starts.iter().filter_map(below).min_by_key(|rest| rest.len()).unwrap_or(value),
                false => value,
            };
            let spares = !negated && !part.split('/').all(broad_part);
            let last = |start: &Word| start.text.trim_end_matches('/').rsplit('/').next() == Some(value);
            // Where it is the name of the folder itself, all that is in it goes along.
            if starts.iter().any(last) { files(spares) } else { most(spares) }
        }
        "-regex" | "-iregex" => most(!negated && regex_spares(value)),
        "-type" | "-xtype" => {
            let finds = |kind: char| value.contains(kind) != negated;
            Spared { files: !finds('f'), trees: !finds('f') && !finds('d'), folders: !finds('d') }
        }
        "-maxdepth" => files(["0", "1"].contains(&value)),
        "-empty" | "-nouser" | "-nogroup" => most(!negated),
        "-executable" => files(!negated),
        "-samefile" if starts.iter().any(|start| start.text == value) => files(!negated),
        "-samefile" => most(!negated),
        "-inum" => most(!negated && value.starts_with(|c: char| c.is_ascii_digit())),
        "-links" => files(
            !negated && count(value).is_some_and(|(sign, n)| sign != '-' && n + u64::from(sign == '+') > 1),
        ),
        "-size" => most(size_spares(value, negated)),
        "-mtime" | "-atime" | "-ctime" => files(age_spares(value, negated, 1)),
        "-mmin" | "-amin" | "-cmin" => files(age_spares(value, negated, MINUTES)),
        // A mark that somebody has set here. A day, or a file of the system, may be older than all there is.
        "-newer" | "-anewer" | "-cnewer" => files(!negated && !value.starts_with(['/', '~'])),
        _ => Spared::default(),
    }
}

fn broad_part(part: &str) -> bool {
    part.is_empty() || part == "." || patterns::is_broad(part)
}

/// `+5`, `-5`, `5`: the sign and the number.
fn count(value: &str) -> Option<(char, u64)> {
    let sign = value.chars().next().filter(|c| ['+', '-'].contains(c));
    let number = &value[usize::from(sign.is_some())..];
    Some((sign.unwrap_or('='), number.parse().ok()?))
}

/// Older than a day. What is younger may be all there is: all files of a fresh clone are. `a_day` in units of the test.
fn age_spares(value: &str, negated: bool, a_day: u64) -> bool {
    match (count(value), negated) {
        (Some(('+' | '=', n)), false) | (Some(('-', n)), true) => n >= a_day,
        (_, _) => false,
    }
}

/// Empty, or larger than most files are. A size is told in whole units, rounded up: `1G` is whatever is not empty.
fn size_spares(value: &str, negated: bool) -> bool {
    let unit = match value.chars().next_back() {
        Some('c') => 1,
        Some('w') => 2,
        Some('k') => 1 << 10,
        Some('M') => 1 << 20,
        Some('G') => 1 << 30,
        _ => 512,
    };
    let number = value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    match (count(number), negated) {
        (Some(('=', n)), negated) => !negated && (n != 1 || unit < 512),
        (Some(('+', n)), false) | (Some(('-', n)), true) => n.saturating_mul(unit) >= LARGE,
        (Some(('-', n)), false) => n.saturating_sub(1).saturating_mul(unit) < 512,
        (Some((_, n)), _) => n.saturating_mul(unit) < 512,
        (None, _) => false,
    }
}

/// Whether each alternative of an expression has a letter that must be there. Brackets and bars count with a backslash
/// and without one: there are two ways to write them.
pub(crate) fn regex_spares(value: &str) -> bool {
    /// What must be there in one pair of brackets.
    #[derive(Default)]
    struct Level {
        must: bool,
        /// In each of the alternatives before.
        before: Option<bool>,
        /// Nothing in it is known to be there: `(?!x)`.
        odd: bool,
    }
    impl Level {
        fn or(&mut self) {
            self.before = Some(self.before.unwrap_or(true) && std::mem::take(&mut self.must));
        }
        fn holds(&self) -> bool {
            !self.odd && self.must && self.before.unwrap_or(true)
        }
    }
    let optional = |at: usize| ["*", "?", "{", "\\{", "\\?"].iter().any(|sign| value[at..].starts_with(sign));
    let mut levels = vec![Level::default()];
    let mut chars = value.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        // `\w` and its like; of others it is the sign itself.
        let c = match (c, chars.peek()) {
            ('\\', Some((_, '(' | ')' | '|'))) => chars.next().map_or(c, |(_, c)| c),
            ('\\', _) => {
                chars.next();
                continue;
            }
            (c, _) => c,
        };
        let depth = levels.len();
        let Some(level) = levels.last_mut() else { return false };
        match c {
            '[' => {
                let Some((spares, after)) = patterns::sparing_bracket(&value[at..]) else { return false };
                let end = value.len() - after.len();
                level.must |= spares && !optional(end);
                while chars.next_if(|(at, _)| *at < end).is_some() {}
            }
            '|' => level.or(),
            '(' => {
                let odd = value[at..].trim_start_matches(['\\', '(']).starts_with('?');
                levels.push(Level { odd, ..Level::default() });
            }
            ')' if depth > 1 => {
                let end = chars.peek().map_or(value.len(), |(at, _)| *at);
                let must = levels.pop().is_some_and(|inner| inner.holds()) && !optional(end);
                if let Some(level) = levels.last_mut() {
                    level.must |= must;
                }
            }
            c if c.is_alphanumeric() => level.must |= !optional(at + c.len_utf8()),
            _ => {}
        }
    }
    // Without its other one a bracket is a sign like others.
    levels.iter().any(Level::holds) && levels.iter().all(|level| level.before != Some(false))
}

/// `-newer` and its like, and `-newerXY`.
fn is_newer(test: &str) -> bool {
    ["-newer", "-anewer", "-cnewer", "-samefile"].contains(&test)
        || test
            .strip_prefix("-newer")
            .is_some_and(|xy| xy.len() == 2 && xy.chars().all(|c| "aBcmt".contains(c)))
}

const MAX_GROUPS: usize = 64;
/// Of a day.
const MINUTES: u64 = 24 * 60;
/// Bytes that most files of a workspace do not have.
const LARGE: u64 = 10 << 10;
/// What it does with what it finds, in the place of printing it.
const ACTIONS: [&str; 13] = [
    "-print", "-print0", "-printf", "-ls", "-fprint", "-fprint0", "-fprintf", "-fls", "-delete", "-exec",
    "-execdir", "-ok", "-okdir",
];
/// Formats of a name with its end.
const NAMES: [&str; 4] = ["%p\\n", "%p\\0", "%p ", "%p\n"];
const PRINTS: [&str; 4] = ["-print", "-print0", "-printf", "-ls"];
const WRITES: [&str; 4] = ["-fprint", "-fprint0", "-fls", "-fprintf"];
/// Tests and actions without an argument.
const ALONE: [&str; 27] = [
    "-print",
    "-print0",
    "-ls",
    "-prune",
    "-quit",
    "-depth",
    "-d",
    "-xdev",
    "-mount",
    "-daystart",
    "-noleaf",
    "-ignore_readdir_race",
    "-noignore_readdir_race",
    "-warn",
    "-nowarn",
    "-empty",
    "-true",
    "-false",
    "-readable",
    "-writable",
    "-executable",
    "-nouser",
    "-nogroup",
    "-help",
    "-version",
    "--help",
    "--version",
];
/// Those with one.
const WITH_ONE: [&str; 35] = [
    "-name",
    "-iname",
    "-path",
    "-ipath",
    "-wholename",
    "-iwholename",
    "-lname",
    "-ilname",
    "-regex",
    "-iregex",
    "-regextype",
    "-type",
    "-xtype",
    "-size",
    "-perm",
    "-mtime",
    "-mmin",
    "-atime",
    "-amin",
    "-ctime",
    "-cmin",
    "-used",
    "-user",
    "-group",
    "-uid",
    "-gid",
    "-inum",
    "-links",
    "-maxdepth",
    "-mindepth",
    "-fstype",
    "-printf",
    "-fprint",
    "-fprint0",
    "-fls",
];
