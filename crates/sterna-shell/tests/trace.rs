//! What commands really do, seen by the kernel, against what policy says they would do: nothing is written, removed,
//! opened in the workspace or connected to that the plan does not name.
//!
//! `strace` watches. Where it is missing this test fails, unless `STERNA_NO_STRACE` says that this is known.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use globset::GlobBuilder;
use sterna_policy::{Certainty, EffectSet, QUIET_GIT, ShellPlan, Touched};

#[test]
fn commands_do_nothing_that_their_plan_does_not_say() {
    let probe =
        Command::new("strace").args(["-qqq", "-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    if !probe.is_ok_and(|status| status.success()) {
        assert!(
            std::env::var_os("STERNA_NO_STRACE").is_some(),
            "strace is not on PATH or may not trace: mend that, or set STERNA_NO_STRACE to leave this unproved"
        );
        eprintln!("no strace: what commands really do is not proved here");
        return;
    }
    let lines = lines();
    assert!(lines.len() >= 100, "only {} lines of the table can be run", lines.len());
    let next = Mutex::new(lines.iter());
    let wrong = Mutex::new(Vec::new());
    let seen = Mutex::new((0, 0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let Some(line) = next.lock().unwrap().next() else { break };
                    let world = World::new(line.contains("git"));
                    let found = world.run(line);
                    let effects = ShellPlan::read(line).effects(&world.work(), Some(&world.home()));
                    let mut seen = seen.lock().unwrap();
                    seen.0 += found.iter().filter(|d| matches!(d, Deed::Change(..))).count();
                    seen.1 += found.iter().filter(|d| matches!(d, Deed::Read(_))).count();
                    drop(seen);
                    let bad: Vec<&Deed> =
                        found.iter().filter(|d| !world.foreseen(d, &effects, line)).collect();
                    if !bad.is_empty() {
                        wrong
                            .lock()
                            .unwrap()
                            .push(format!("{line:?}\n    did {bad:?}\n    plan {effects:?}"));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {} lines:\n{}", wrong.len(), lines.len(), wrong.join("\n"));
    // Otherwise nothing was watched.
    let (changes, reads) = seen.into_inner().unwrap();
    assert!(changes > 40 && reads > 60, "only {changes} changes and {reads} reads were seen");
}

/// The check itself sees what a plan leaves out.
#[test]
fn what_a_plan_leaves_out_is_found() {
    if std::env::var_os("STERNA_NO_STRACE").is_some() {
        return;
    }
    // What is run, the plan that it is held against, and how much of it that plan does not say.
    let table = [
        ("touch new; rm b; cat c", "true", 3),
        ("touch new; rm b; cat c", "touch new; cat c", 1),
        ("cd src && rm a.rs && mv b.rs c.rs", "cd src && rm a.rs", 1),
        ("ln -s b new; chmod 600 b", "ls", 2),
        ("cat ~/notes", "cat notes", 1),
        ("(exec 3<>/dev/tcp/127.0.0.1/9) 2>/dev/null", "ls", 1),
        ("mkdir new; echo a > new/b", "mkdir new", 1),
    ];
    for (line, other, count) in table {
        let world = World::new(false);
        let found = world.run(line);
        let effects = ShellPlan::read(other).effects(&world.work(), Some(&world.home()));
        let missed: Vec<&Deed> = found.iter().filter(|d| !world.foreseen(d, &effects, line)).collect();
        assert!(missed.len() >= count, "{line:?} against {other:?}: only {missed:?} of {found:?}");
    }
}

/// The harmless parts of the public table, as far as the plan is certain and stays in the workspace.
fn lines() -> Vec<String> {
    let mut section = "";
    let mut lines = Vec::new();
    for row in include_str!("../../sterna-policy/tests/corpus/plans.txt").lines() {
        if let Some(name) = row.strip_prefix("== ") {
            section = name;
        }
        let fields: Vec<&str> = row.split(" ¦").map(str::trim).collect();
        let [_, line, _, _] = fields[..] else { continue };
        let line = line.replace('␤', "\n").replace('␉', "\t");
        let effects = ShellPlan::read(&line).effects(Path::new("/w"), Some(Path::new("/home/me")));
        let inside = |t: &Touched| t.path.starts_with("/w") && t.path != Path::new("/w");
        let tame = ["reading", "compound", "wrapped", "changing"].contains(&section)
            && effects.certainty == Certainty::Known
            && effects.hosts.is_empty()
            && effects.writes.iter().chain(&effects.deletes).all(inside)
            && !line.contains("while true");
        if tame {
            lines.push(line);
        }
    }
    lines
}

/// Something that happened.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Deed {
    /// A path that was made, written, changed or removed, and the call that did it. Relative where the folder is not known.
    Change(String, PathBuf),
    /// A file of the workspace or the home folder that was opened for reading.
    Read(PathBuf),
    Connect(String),
}

/// A workspace and a home folder of their own for one line.
struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn new(with_git: bool) -> Self {
        let world = Self { folder: tempfile::tempdir().unwrap() };
        let (work, home) = (world.work(), world.home());
        for folder in ["src/a", "target/x", "build/x", "crates/x"] {
            std::fs::create_dir_all(work.join(folder)).unwrap();
        }
        std::fs::create_dir_all(home.join("x")).unwrap();
        std::fs::write(home.join("notes"), "text\n").unwrap();
        std::fs::write(home.join("x/a"), "text\n").unwrap();
        for file in FILES {
            std::fs::write(work.join(file), "fn a b h text\n{\"name\": 1}\n").unwrap();
        }
        if with_git {
            for args in [&["init", "-q"][..], &["add", "README.md", "a.rs"], &["commit", "-qm", "x"]] {
                let who = ["-c", "user.name=x", "-c", "user.email=x@example.org"];
                let git = world.command("git").args(who).args(args).stderr(Stdio::null()).status();
                assert!(git.unwrap().success());
            }
        }
        world
    }

    fn work(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join("w")
    }

    fn home(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join("home")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().envs(QUIET_GIT).env("HOME", self.home()).env("LANG", "C");
        command.env("PATH", std::env::var_os("PATH").unwrap()).current_dir(self.work());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// Runs a line under strace, and says what it did.
    fn run(&self, line: &str) -> BTreeSet<Deed> {
        let log = self.folder.path().join("trace");
        let mut strace = self.command("timeout");
        strace.args([
            "-k",
            "1",
            "20",
            "strace",
            "-f",
            "-qqq",
            "-y",
            "-xx",
            "-s",
            "4096",
            "-e",
            "signal=none",
            "-e",
        ]);
        strace.arg("trace=%file,%network,fchmod,fchown,ftruncate,fchdir").arg("-o").arg(&log);
        strace.args(["bash", "-c", line]).stderr(Stdio::null());
        let status = strace.status().unwrap();
        assert_ne!(status.code(), Some(124), "{line:?} does not end");
        let trace = std::fs::read_to_string(&log).unwrap();
        assert!(trace.contains("execve("), "strace cannot trace here: {line:?}");
        let own = [self.work(), self.home()];
        let mut deeds = BTreeSet::new();
        let mut cut: BTreeMap<String, String> = BTreeMap::new();
        for entry in trace.lines() {
            let (pid, entry) = entry.split_once(' ').unwrap_or(("", entry));
            // A call that another process interrupted stands on two lines.
            let entry = entry.trim_start();
            let whole = match (entry.strip_suffix("<unfinished ...>"), entry.split_once("resumed>")) {
                (Some(start), _) => {
                    cut.insert(pid.to_owned(), start.to_owned());
                    continue;
                }
                (None, Some((_, rest))) if entry.starts_with("<...") => {
                    cut.remove(pid).unwrap_or_default() + rest
                }
                _ => entry.to_owned(),
            };
            deeds.extend(call(&whole).into_iter().filter(|deed| match deed {
                // A folder that is opened by its name alone.
                Deed::Read(path) => !path.is_dir() && own.iter().any(|folder| path.starts_with(folder)),
                Deed::Change(..) | Deed::Connect(_) => true,
            }));
        }
        deeds
    }

    fn foreseen(&self, deed: &Deed, effects: &EffectSet, line: &str) -> bool {
        let work = self.work();
        let named = |path: &Path, sets: &[&BTreeSet<Touched>]| {
            // A legacy call does not say from which folder its path starts: from one of those that the line enters.
            let folders = effects.lists.iter().map(|t| t.path.clone()).chain([work.clone()]);
            let mut paths = folders.map(|folder| folder.join(path));
            paths.any(|path| sets.iter().copied().flatten().any(|touched| covers(touched, &path)))
        };
        match deed {
            Deed::Connect(_) => false,
            Deed::Change(call, path) => {
                let device = ["/dev/null", "/dev/tty"].iter().any(|d| path == Path::new(d));
                // The shell keeps a here-document there while the command runs.
                let document = path.starts_with("/tmp") && path.to_string_lossy().contains("sh-thd");
                // `mkdir -p a/b` makes `a` where it is missing.
                let ancestor = call.starts_with("mkdir")
                    && effects
                        .writes
                        .iter()
                        .any(|t| t.path.starts_with(work.join(path)) || last_part_of(&t.path, path));
                // `sed -i` writes beside the file and renames.
                let aside = line.starts_with("sed -i") && path.file_name().is_some_and(|f| f.len() == 9);
                device || document || ancestor || aside || named(path, &[&effects.writes, &effects.deletes])
            }
            Deed::Read(path) => {
                // `git status` compares files with its index, and tells names.
                line.contains("git")
                    || named(path, &[&effects.reads, &effects.lists, &effects.writes, &effects.deletes])
            }
        }
    }
}

/// `mkdir -p` goes into each folder that it made: the trace has the last part only.
fn last_part_of(path: &Path, part: &Path) -> bool {
    part.components().count() == 1 && path.components().any(|c| Some(c.as_os_str()) == part.file_name())
}

fn covers(touched: &Touched, path: &Path) -> bool {
    let glob = |pattern: &Path| {
        let builder = GlobBuilder::new(pattern.to_str().unwrap()).literal_separator(true).build().unwrap();
        builder.compile_matcher().is_match(path)
    };
    let itself = touched.path == path || (touched.pattern && glob(&touched.path));
    let beneath = path.starts_with(&touched.path) || (touched.pattern && glob(&touched.path.join("**")));
    itself || (touched.beneath && beneath)
}

/// The deeds of one call, when it succeeded.
fn call(entry: &str) -> Vec<Deed> {
    let Some((name, rest)) = entry.split_once('(') else { return Vec::new() };
    let Some((args, result)) = rest.rsplit_once(" = ") else { return Vec::new() };
    let failed = result.starts_with('-');
    if name == "connect" {
        // A name service that is not there is asked in vain.
        let local = args.contains("AF_UNIX") && failed;
        return if local { Vec::new() } else { vec![Deed::Connect(args.to_owned())] };
    }
    if failed {
        return Vec::new();
    }
    let paths = paths(args);
    let change = |path: Option<&PathBuf>| path.map(|p| Deed::Change(name.to_owned(), p.clone()));
    let deeds = match name {
        "open" | "openat" | "openat2" | "creat" => {
            let writes = name == "creat"
                || ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"].iter().any(|f| args.contains(f));
            match paths.first() {
                _ if writes => vec![change(paths.first())],
                Some(path) if !args.contains("O_DIRECTORY") && !args.contains("O_PATH") => {
                    vec![Some(Deed::Read(path.clone()))]
                }
                _ => Vec::new(),
            }
        }
        "unlink" | "unlinkat" | "rmdir" | "mkdir" | "mkdirat" | "chmod" | "fchmodat" | "fchmodat2"
        | "chown" | "lchown" | "fchownat" | "truncate" | "mknod" | "mknodat" | "setxattr" | "lsetxattr"
        | "removexattr" | "utime" | "utimes" | "utimensat" | "futimesat" => vec![change(paths.first())],
        "rename" | "renameat" | "renameat2" => paths.iter().map(|p| change(Some(p))).collect(),
        "link" | "linkat" | "symlink" | "symlinkat" => vec![change(paths.last())],
        "fchmod" | "fchown" | "ftruncate" => vec![change(handles(args).first())],
        _ => Vec::new(),
    };
    deeds.into_iter().flatten().collect()
}

/// Paths in arguments, from the folder that stands before them where there is one. All text is in hexadecimal.
fn paths(args: &str) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    let mut folder = PathBuf::new();
    let mut rest = args;
    while let Some(at) = rest.find(['<', '"']) {
        let close = if rest[at..].starts_with('<') { '>' } else { '"' };
        let Some(length) = rest[at + 1..].find(close) else { break };
        let text = text_of(&rest[at + 1..at + 1 + length]);
        if close == '>' {
            folder = PathBuf::from(text);
        } else {
            // An empty path is the handle itself.
            paths.push(if text.is_empty() { folder.clone() } else { tidy(&folder.join(text)) });
            folder = PathBuf::new();
        }
        rest = &rest[at + length + 2..];
    }
    // `utimensat(0</tmp/a>, NULL, …)` names a file by its handle.
    if paths.is_empty() && !folder.as_os_str().is_empty() {
        paths.push(folder);
    }
    paths
}

/// Without `.` and `..`, which no link of this world stands before.
fn tidy(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(out.pop()),
            Component::CurDir => {}
            part => out.push(part),
        }
    }
    out
}

fn handles(args: &str) -> Vec<PathBuf> {
    let inner = args.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inner.map(|(path, _)| PathBuf::from(text_of(path))).into_iter().collect()
}

fn text_of(hex: &str) -> String {
    let bytes: Option<Vec<u8>> =
        hex.split("\\x").skip(1).map(|h| u8::from_str_radix(h.get(..2)?, 16).ok()).collect();
    match bytes {
        Some(bytes) if hex.starts_with("\\x") => String::from_utf8_lossy(&bytes).into_owned(),
        _ => hex.to_owned(),
    }
}

const FILES: [&str; 30] = [
    "README.md",
    "package.json",
    "a",
    "b",
    "c",
    "f",
    "in",
    "a b",
    "c d",
    "e f",
    "-x",
    "-a",
    "a.rs",
    "b.rs",
    "x.o",
    "y.o",
    "x",
    "y",
    "a.txt",
    "b.txt",
    "src/a.rs",
    "src/b.rs",
    "src/a/c",
    "src/c",
    "target/x/y",
    "build/x/y",
    "crates/x/z",
    "1",
    "2",
    "srcb",
];
