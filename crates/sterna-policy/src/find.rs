//! What a `find` touches. Programs behind `-exec` are commands of their own in the plan.

use crate::effects::{Effects, How, Reach};
use crate::patterns;
use crate::programs::named;
use crate::shell::Word;

pub(crate) fn effects(args: &[Word]) -> Effects {
    let mut effects = search(args).unwrap_or_else(|why| {
        let removes = args.iter().any(|w| w.text == "-delete");
        named(if removes { Effects::unknown(why) } else { Effects::unclear(why) }, args)
    });
    // Wherever they stand: what would be another test's argument may be the action after all.
    for (i, _) in args.iter().enumerate().filter(|(_, w)| WRITES.contains(&w.text.as_str())) {
        if let Some(file) = args.get(i + 1) {
            effects.touch(How::Write, file, Reach::This);
        }
    }
    effects
}

/// The search by its tests and actions. The error says what of it is not known.
fn search(args: &[Word]) -> Result<Effects, String> {
    if args.iter().any(|w| ["-L", "-follow", "-files0-from"].contains(&w.text.as_str())) {
        return Err("a `find` that follows links".into());
    }
    // Options that stand before the folders.
    if args.iter().any(|w| w.text == "-D" || w.text.starts_with("-O")) {
        return Err("an option of `find` that is not known".into());
    }
    let is_test =
        |w: &Word| w.text.starts_with('-') && w.text.len() > 1 || ["(", ")", "!"].contains(&w.text.as_str());
    let skip = args.iter().take_while(|w| ["-H", "-P"].contains(&w.text.as_str())).count();
    let rest = &args[skip..];
    let count = rest.iter().take_while(|w| !is_test(w)).count();
    let here = Word::literal(".");
    let starts: Vec<&Word> = if count == 0 { vec![&here] } else { rest[..count].iter().collect() };
    let mut effects = Effects::none().with(How::Read, &starts, Reach::Names);
    // Of each `-delete`, whether a test before it spares most of what is there.
    let mut narrowed = Vec::new();
    let mut groups = vec![Group::default()];
    let mut negated = false;
    let mut tests = rest[count..].iter();
    while let Some(word) = tests.next() {
        let text = word.text.as_str();
        let mut narrows = false;
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
                narrows = group.narrows();
                groups.pop();
            }
            "-delete" => narrowed.push(groups.iter().any(|group| group.narrowed)),
            "-exec" | "-execdir" | "-ok" | "-okdir" => {
                let mut braces = false;
                for word in tests.by_ref() {
                    if word.text == ";" || braces && word.text == "+" {
                        break;
                    }
                    braces = word.text == "{}";
                }
            }
            _ if ALONE.contains(&text) => narrows = narrowing(text, "", negated),
            _ => {
                let value = tests.next().map_or("", |w| w.text.as_str());
                match text {
                    "-fprintf" => drop(tests.next()),
                    _ if WITH_ONE.contains(&text) => {}
                    _ if is_newer(text) => {
                        if !text.ends_with('t') {
                            effects.touch(How::Read, &Word::literal(value), Reach::Names);
                        }
                    }
                    _ => return Err(format!("the test `{text}` of `find`")),
                }
                narrows = narrowing(text, value, negated);
            }
        }
        negated = false;
        if groups.len() > MAX_GROUPS {
            return Err("brackets within brackets of a `find`".into());
        }
        if let Some(group) = groups.last_mut() {
            group.narrowed |= narrows;
        }
    }
    if narrowed.is_empty() && args.iter().any(|w| w.text == "-delete") {
        narrowed.push(true);
    }
    // One is as good as many.
    narrowed.sort_unstable();
    narrowed.dedup();
    for narrowed in narrowed {
        // With a test it removes some of what is there; without, all of it.
        for start in &starts {
            let below = Word { text: format!("{}/**/*", start.text), glob: true, ..(*start).clone() };
            effects.touch(How::Delete, if narrowed { &below } else { start }, Reach::Tree);
        }
    }
    Ok(effects)
}

/// What stands in one pair of brackets.
#[derive(Default)]
struct Group {
    negated: bool,
    /// A test since the last `-o` spares most files.
    narrowed: bool,
    /// An earlier one of its alternatives spares few.
    wide: bool,
}

impl Group {
    fn or(&mut self) {
        self.wide |= !self.narrowed;
        self.narrowed = false;
    }
    fn narrows(&self) -> bool {
        self.narrowed && !self.wide && !self.negated
    }
}

/// Whether a test lets only some of the files pass.
fn narrowing(test: &str, value: &str, negated: bool) -> bool {
    match test {
        "-name" | "-iname" | "-path" | "-ipath" | "-wholename" | "-iwholename" | "-lname" | "-ilname" => {
            !negated
                && !value.split('/').all(|part| part.is_empty() || part == "." || patterns::is_broad(part))
        }
        "-regex" | "-iregex" => !negated && value.contains(|c: char| c.is_alphanumeric()),
        // Without its files a folder is nothing.
        "-type" | "-xtype" => negated == value.contains('f'),
        "-maxdepth" => ["0", "1"].contains(&value),
        "-empty" | "-executable" | "-nouser" | "-nogroup" => !negated,
        "-inum" | "-links" | "-samefile" | "-perm" => !negated,
        "-size" | "-mtime" | "-mmin" | "-atime" | "-amin" | "-ctime" | "-cmin" => true,
        _ => is_newer(test),
    }
}

/// `-newer` and its like, and `-newerXY`.
fn is_newer(test: &str) -> bool {
    ["-newer", "-anewer", "-cnewer", "-samefile"].contains(&test)
        || test
            .strip_prefix("-newer")
            .is_some_and(|xy| xy.len() == 2 && xy.chars().all(|c| "aBcmt".contains(c)))
}

const MAX_GROUPS: usize = 64;
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
