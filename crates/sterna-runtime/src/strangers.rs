//! Which results are text of strangers, and where they come from.

use std::path::{Path, PathBuf};

use sterna_model::Untrusted;
use sterna_tool::Access;

/// Where the result of a call comes from, when it is text of strangers. `told` is what its tool says.
pub(crate) fn origin(
    name: &str,
    told: Option<String>,
    accesses: &[Access],
    roots: &[PathBuf],
) -> Option<String> {
    if let Some(rest) = name.strip_prefix("mcp__") {
        let server = rest.split("__").next().unwrap_or(rest);
        return Some(format!("mcp:{server}"));
    }
    told.or_else(|| accesses.iter().find_map(|access| of_access(access, roots)))
}

/// One origin for what was written by who had read texts of these. `None`: of none.
pub(crate) fn joined(origins: &[String]) -> Option<String> {
    let more = origins.len().saturating_sub(JOINED);
    let named = origins.iter().take(JOINED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match (origins.is_empty(), more) {
        (true, _) => None,
        (false, 0) => Some(named),
        (false, more) => Some(format!("{named} and {more} more")),
    }
}

/// What a person who is asked is told of: those that look like orders first, and not more than anybody reads.
pub(crate) fn told(all: &[Untrusted]) -> Vec<Untrusted> {
    let (flagged, plain): (Vec<_>, Vec<_>) = all.iter().partition(|one| !one.flags.is_empty());
    flagged.into_iter().chain(plain).take(TOLD).cloned().collect()
}

fn of_access(access: &Access, roots: &[PathBuf]) -> Option<String> {
    match access {
        Access::Read(path) | Access::ReadTree(path) => {
            let ours = roots.iter().any(|root| path.starts_with(root));
            let installed = SYSTEM.iter().any(|folder| path.starts_with(Path::new(folder)));
            (!ours && !installed).then(|| format!("file:{}", path.display()))
        }
        Access::Shell { command, .. } => sterna_policy::fetched_from(command),
        Access::Web { host } => Some(format!("web:{host}")),
        Access::Write(_)
        | Access::Person
        | Access::Permission(_)
        | Access::Session
        | Access::Keep
        | Access::Other
        | Access::Unaccepted { .. } => None,
    }
}

/// Origins that one names at most.
const JOINED: usize = 4;
/// Origins that an approval names at most.
const TOLD: usize = 20;
/// What whoever runs the machine has installed.
const SYSTEM: [&str; 8] = ["/usr", "/etc", "/bin", "/sbin", "/lib", "/lib64", "/opt", "/nix/store"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_told_of_orders_first() {
        let one = |n: usize, flags: &[&str]| Untrusted {
            origin: format!("web:{n}"),
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
        };
        let mut all: Vec<Untrusted> = (0..30).map(|n| one(n, &[])).collect();
        all.push(one(30, &["new-role"]));
        let told = told(&all);
        assert_eq!((told.len(), told[0].origin.as_str(), told[1].origin.as_str()), (20, "web:30", "web:0"));
    }

    #[test]
    fn results_come_from_where_their_calls_reach() {
        let check = |name: &str, told: Option<&str>, access: Access, expected: Option<&str>| {
            let roots = [PathBuf::from("/w"), PathBuf::from("/data")];
            let found = origin(name, told.map(str::to_owned), std::slice::from_ref(&access), &roots);
            assert_eq!(found.as_deref(), expected, "{name} {access:?}");
        };
        let read = |path: &str| Access::Read(path.into());
        let shell = |command: &str| Access::Shell { command: command.into(), cwd: "/w".into() };
        check("read", None, read("/w/src/a.rs"), None);
        check("read", None, read("/data/x"), None);
        check("read", None, read("/wide/x"), Some("file:/wide/x"));
        check("grep", None, Access::ReadTree("/home/me/Downloads".into()), Some("file:/home/me/Downloads"));
        check("read", None, read("/usr/include/stdio.h"), None);
        check("shell", None, shell("cargo test"), None);
        check("shell", None, shell("curl https://docs.rs/a"), Some("web:docs.rs"));
        check("post", None, Access::Web { host: "a.b".into() }, Some("web:a.b"));
        check("web_search", Some("web:search"), Access::Web { host: "engine".into() }, Some("web:search"));
        check("mcp__tickets__read", None, Access::Other, Some("mcp:tickets"));
        check("write", None, Access::Write("/tmp/x".into()), None);
    }
}
