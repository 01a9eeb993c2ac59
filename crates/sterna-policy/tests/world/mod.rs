//! A made-up machine for decisions: a workspace, a home, links, our own state. Nothing of it exists.

#![allow(dead_code)]

use std::path::{Component, Path, PathBuf};
use std::sync::LazyLock;

use sterna_model::{Decision, Digest, Grant, GrantScope, Mode, RuleText, Scope};
use sterna_policy::{Access, Ask, Contacts, Look, Rule, Sandbox, Verdict, builtin_rules, decide};

pub const ROOT: &str = "/w";
pub const HOME: &str = "/home/me";
pub const STATE: &str = "/home/me/.local/share/sterna";

/// Links of this machine.
const LINKS: [(&str, &str); 6] = [
    ("/w/out", "/opt/elsewhere"),
    ("/w/key", "/home/me/.ssh/id_ed25519"),
    ("/w/in", "/w/src/deep"),
    ("/w/harmless.txt", "/w/.env"),
    ("/w/up", "/opt/elsewhere/deep"),
    ("/w/state", STATE),
];

/// Resolves as a kernel does: component by component, `..` after the link.
pub fn resolve(path: &Path) -> PathBuf {
    let mut out = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::ParentDir => {
                out.pop();
            }
            Component::Normal(name) => {
                out.push(name);
                if let Some((_, target)) = LINKS.iter().find(|(link, _)| out == Path::new(link)) {
                    out = PathBuf::from(target);
                }
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    out
}

pub fn mode(word: &str) -> Mode {
    *Mode::ALL.iter().find(|m| m.word() == word).unwrap_or_else(|| panic!("no mode {word}"))
}

/// `deny Shell(rm *); allow Read` as rules of the session, each with its place.
pub fn rules(text: &str) -> Vec<Rule> {
    static BUILTIN: LazyLock<Vec<Rule>> = LazyLock::new(builtin_rules);
    let mut rules = BUILTIN.clone();
    for (i, rule) in text.split(';').map(str::trim).filter(|r| !r.is_empty()).enumerate() {
        let (decision, text) = rule.split_once(' ').expect("a decision and a rule");
        let decision = match decision {
            "allow" => Decision::Allow,
            "ask" => Decision::Ask,
            "deny" => Decision::Deny,
            other => panic!("no decision {other}"),
        };
        let source = format!("rules.toml:{}", i + 1);
        let written = RuleText { decision, text: text.into(), scope: Scope::User, source };
        rules.push(Rule::parse(&written).expect("the table's rules parse"));
    }
    rules
}

/// The tool and what it would touch: `$ ls`, `read a`, `write a`, `delete a`, `web h`, `session`, `person`, `input ls` (text for a job), or a
/// tool's name.
pub fn call(text: &str) -> (String, Vec<Access>) {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let access = match word {
        "$" => Access::Shell { command: rest.replace("␤", "\n"), cwd: ROOT.into() },
        "read" => Access::Read(rest.into()),
        "write" => Access::Write(rest.into()),
        "delete" => Access::Delete(rest.into()),
        "web" => Access::Web { host: rest.into() },
        // Text for a background job that may be a shell.
        "input" => {
            let command = rest.replace("␤", "\n");
            let accesses = vec![Access::Shell { command, cwd: ROOT.into() }, Access::Other];
            return ("shell_input".into(), accesses);
        }
        "job_kill" => return ("job_kill".into(), vec![Access::Session]),
        "keep" => return ("remember".into(), vec![Access::Keep]),
        "session" => return ("todo".into(), vec![Access::Session]),
        "person" => return ("ask_user".into(), vec![Access::Person]),
        tool => return (tool.into(), vec![Access::Other]),
    };
    let tool = match word {
        "$" => "shell",
        "web" => "web_fetch",
        other => other,
    };
    (tool.into(), vec![access])
}

/// A stand-in for the hash of a call's content.
pub fn content(text: &str) -> Digest {
    let mut hash = [0u8; 32];
    text.bytes().enumerate().for_each(|(i, b)| hash[i % 32] = hash[i % 32].wrapping_mul(31).wrapping_add(b));
    Digest(hash)
}

pub fn grant(text: &str, expires: Option<u64>) -> Grant {
    Grant {
        tool: call(text).0,
        summary: text.into(),
        scope: GrantScope::Session,
        content: content(text),
        effects: None,
        expires,
        permits: None,
    }
}

/// A repository of strangers, and none elsewhere.
fn suspect(folder: &Path) -> Option<String> {
    folder.starts_with(Path::new(ROOT).join("hostile")).then(|| "`diff.x.textconv` in .git/config".into())
}

/// `evil` is a repository at hand, and no other name of a remote is.
fn outside(folder: &Path, remote: Option<&str>) -> Option<String> {
    suspect(folder).or_else(|| remote.filter(|r| r.contains("evil")).map(|r| format!("`{r}` is at hand")))
}

/// `routed` has a remote at `evil.example`, and `proxied` a proxy. Other repositories name none.
fn contacts(folder: &Path, remote: &str, push: bool) -> Contacts {
    let of = |text: &str| sterna_policy::contacts(&[text.to_owned()], remote, push);
    if folder.starts_with(Path::new(ROOT).join("routed")) {
        return of("[remote \"origin\"]\nurl = git@good.example:a/b\npushurl = https://evil.example/a/b\n");
    }
    match folder.starts_with(Path::new(ROOT).join("proxied")) {
        true => of("[remote \"origin\"]\nurl = https://good.example/a/b\n[http]\nproxy = evil.example:80\n"),
        false => Contacts::default(),
    }
}

/// Files of this machine, but for those of `/w/huge`, which are too many.
const FILES: [&str; 7] = [
    "/w/src/a.rs",
    "/w/src/deep/b.rs",
    "/w/kept/.env",
    "/w/kept/src/.env.local",
    "/w/sample/.env.example",
    "/w/conf.d/k.pem",
    "/w/other/x",
];

fn look(folder: &Path, wanted: &dyn Fn(&Path) -> bool) -> Look {
    if folder.starts_with("/w/huge") {
        return Look::Unseen;
    }
    // The workspace itself holds what ordinary ones hold.
    let mut files = FILES.iter().map(Path::new).filter(|file| file.starts_with(folder) && *file != folder);
    match folder == Path::new(ROOT) {
        true => Look::Nothing,
        false if files.clone().next().is_none() => Look::NoFolder,
        false if files.any(wanted) => Look::Found,
        false => Look::Nothing,
    }
}

pub fn judge(mode: Mode, rules: &[Rule], grants: &[&Grant], text: &str) -> Verdict {
    judge_in(Sandbox::None, mode, rules, grants, text)
}

pub fn judge_in(sandbox: Sandbox, mode: Mode, rules: &[Rule], grants: &[&Grant], text: &str) -> Verdict {
    judge_tainted(sandbox, mode, rules, grants, &[], text)
}

/// With texts from these places before the model.
pub fn judge_tainted(
    sandbox: Sandbox,
    mode: Mode,
    rules: &[Rule],
    grants: &[&Grant],
    untrusted: &[&str],
    text: &str,
) -> Verdict {
    let (tool, accesses) = call(text);
    let roots = [PathBuf::from(ROOT), PathBuf::from("/data")];
    let state = [PathBuf::from(STATE)];
    decide(&Ask {
        tool: &tool,
        accesses: &accesses,
        mode,
        rules,
        grants,
        content: content(text),
        now: 1_000,
        roots: &roots,
        home: Some(Path::new(HOME)),
        cwd: Path::new(ROOT),
        state_dirs: &state,
        sandbox,
        untrusted,
        resolve: &resolve,
        git: &suspect,
        git_outside: &outside,
        git_contacts: &contacts,
        look: &look,
    })
}
