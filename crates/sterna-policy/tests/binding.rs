//! What a yes is bound to beside the arguments: the same places give the same hash, others another.

#![allow(clippy::unwrap_used)]

#[allow(unused)]
mod world;

use std::path::{Path, PathBuf};

use sterna_model::{Decision, Digest, Grant, Mode};
use sterna_policy::{Ask, Contacts, Look, Sandbox, Verdict, decide};

/// A call in a workspace on a machine with these links.
fn judged(root: &str, links: &[(&str, &str)], grants: &[&Grant], suspect: bool, text: &str) -> Verdict {
    let (tool, accesses) = world::call(text);
    let accesses: Vec<_> = accesses
        .into_iter()
        .map(|access| match access {
            sterna_policy::Access::Shell { command, .. } => {
                sterna_policy::Access::Shell { command, cwd: root.into() }
            }
            other => other,
        })
        .collect();
    let resolve = |path: &Path| {
        let link = links.iter().find(|(link, _)| path.starts_with(link));
        link.map_or(path.to_owned(), |(link, to)| Path::new(to).join(path.strip_prefix(link).unwrap()))
    };
    decide(&Ask {
        tool: &tool,
        accesses: &accesses,
        mode: Mode::Ask,
        rules: &world::rules(""),
        grants,
        content: world::content(text),
        now: 1_000,
        roots: &[PathBuf::from(root)],
        home: Some(Path::new("/home/me")),
        cwd: Path::new(root),
        state_dirs: &[],
        sandbox: Sandbox::None,
        untrusted: &[],
        resolve: &resolve,
        git: &|_| suspect.then(|| "`diff.x.textconv`".into()),
        git_outside: &|_, _| None,
        git_contacts: &|_, _, _| Contacts::default(),
        look: &|_, _| Look::NoFolder,
    })
}

fn bound(root: &str, links: &[(&str, &str)], text: &str) -> Digest {
    judged(root, links, &[], false, text).effects
}

#[test]
fn another_place_is_another_hash() {
    let one: &[(&str, &str)] = &[("/w/link", "/opt/one")];
    let two: &[(&str, &str)] = &[("/w/link", "/opt/two")];
    for text in [
        "write link/x",
        "read link/x",
        "delete link/x",
        "$ cp a link/x",
        "$ cat a > link/x",
        "$ rm link/*.rs",
        "$ cd link && touch x",
        "$ ./link/build.sh",
        "$ sh link/build.sh",
        "$ python3 link/build.py --all",
        "$ env A=1 link/build.sh",
    ] {
        assert_eq!(bound("/w", one, text), bound("/w", one, text), "{text}");
        assert_ne!(bound("/w", one, text), bound("/w", two, text), "{text}");
        assert_ne!(bound("/w", one, text), bound("/w", &[], text), "{text}");
    }
    // What does not lead through it is the same.
    for text in ["write x", "$ cp a b", "$ ./build.sh", "web docs.rs"] {
        assert_eq!(bound("/w", one, text), bound("/w", two, text), "{text}");
    }
    // Writing is not reading, and one host is not another.
    assert_ne!(bound("/w", &[], "write x"), bound("/w", &[], "read x"));
    assert_ne!(bound("/w", &[], "web docs.rs"), bound("/w", &[], "web crates.io"));
}

#[test]
fn what_is_granted_everywhere_holds_in_each_workspace_but_for_programs_of_one() {
    for (text, same) in [
        ("$ git add src", true),
        ("$ cargo publish", true),
        ("$ touch a/b", true),
        ("write a/b", true),
        ("write /etc/x", true),
        ("$ ./build.sh", false),
        ("$ scripts/build.sh x", false),
        ("$ bash build.sh", false),
        ("$ python3.12 build.py", false),
        ("$ node build.js", false),
        ("$ timeout 5 ./build.sh", false),
        ("$ /opt/tool/run", true),
        ("$ ~/bin/run", true),
    ] {
        assert_eq!(bound("/w", &[], text) == bound("/v", &[], text), same, "{text}");
    }
}

#[test]
fn a_grant_answers_only_for_its_places() {
    let text = "write link/x";
    let one: &[(&str, &str)] = &[("/w/link", "/opt/one")];
    let held = Grant { effects: Some(bound("/w", one, text)), ..world::grant(text, None) };
    assert_eq!(judged("/w", one, &[&held], false, text).decision, Decision::Allow);
    for links in [&[("/w/link", "/opt/two")][..], &[]] {
        assert_eq!(judged("/w", links, &[&held], false, text).decision, Decision::Ask, "{links:?}");
    }
    // One from before this was kept holds as it did.
    assert_eq!(judged("/w", &[], &[&world::grant(text, None)], false, text).decision, Decision::Allow);
}

#[test]
fn a_grant_of_what_only_reads_is_none_once_the_repository_may_run_programs() {
    let text = "$ git diff";
    let held =
        Grant { effects: Some(judged("/w", &[], &[], false, text).effects), ..world::grant(text, None) };
    let now = judged("/w", &[], &[&held], true, text);
    assert_eq!(now.decision, Decision::Ask, "{}", now.reason);
}
