//! Repositories that make git run programs, with real git: what the environment does not switch off is found.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sterna::{git_contacts, git_outside, git_suspect};

struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn at(&self, name: &str) -> PathBuf {
        fs::canonicalize(self.dir.path()).unwrap().join(name)
    }

    /// A repository with two commits of `a.x`, and a change of it.
    fn repository(&self, name: &str) -> PathBuf {
        let repo = self.at(name);
        fs::create_dir_all(&repo).unwrap();
        git(&repo, &["init", "-q", "-b", "main"]);
        for (key, value) in [("user.name", "A"), ("user.email", "a@b"), ("commit.gpgsign", "false")] {
            git(&repo, &["config", key, value]);
        }
        for text in ["one\n", "two\n"] {
            fs::write(repo.join("a.x"), text).unwrap();
            git(&repo, &["add", "."]);
            git(&repo, &["commit", "-q", "-m", text]);
        }
        fs::write(repo.join("a.x"), "six\n").unwrap();
        repo
    }
}

fn git(repo: &Path, args: &[&str]) {
    let out = plain(repo, args).output().unwrap();
    assert!(out.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&out.stderr));
}

fn plain(repo: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("git");
    command.current_dir(repo).args(args).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", repo.parent().unwrap());
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_ALLOW_PROTOCOL", "file");
    command
}

/// As Sterna runs git's reading commands.
fn quiet(repo: &Path, args: &[&str]) {
    let mut command = plain(repo, args);
    command.envs(sterna_policy::QUIET_GIT);
    drop(command.output().unwrap());
}

#[test]
fn what_git_would_run_is_found_and_what_is_not_found_does_not_run() {
    let reading: &[&[&str]] = &[
        &["status"],
        &["diff"],
        &["log", "-p"],
        &["show"],
        &["blame", "a.x"],
        &["grep", "six"],
        &["branch", "-a"],
        &["stash", "list"],
    ];
    // The setting, whether it is found, and whether git runs it although it is told not to.
    let table = [
        ("diff.x.textconv", true, true),
        ("diff.x.command", true, true),
        ("filter.x.clean", true, true),
        ("filter.x.process", true, true),
        ("filter.x.smudge", true, true),
        ("core.sshCommand", true, false),
        ("gpg.program", true, false),
        ("gpg.ssh.program", true, false),
        ("credential.helper", true, false),
        ("merge.x.driver", true, false),
        ("core.editor", true, false),
        ("include.path", true, false),
        ("core.hooksPath", false, false),
        ("core.fsmonitor", false, false),
        ("core.pager", false, false),
        ("diff.external", false, false),
    ];
    for (key, found, runs) in table {
        let world = World::new();
        let repo = world.repository("repo");
        let marker = world.at("marker");
        let program = world.at("program");
        fs::write(&program, format!("#!/bin/sh\ntouch {}\ncat \"$1\" 2>/dev/null\n", marker.display()))
            .unwrap();
        let mut mode = fs::metadata(&program).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o755);
        fs::set_permissions(&program, mode).unwrap();
        fs::write(repo.join(".git/info/attributes"), "*.x diff=x filter=x merge=x\n").unwrap();
        let value = match key {
            "core.hooksPath" => {
                fs::create_dir(world.at("hooks")).unwrap();
                for hook in ["post-index-change", "pre-commit", "post-checkout", "reference-transaction"] {
                    fs::copy(&program, world.at("hooks").join(hook)).unwrap();
                }
                world.at("hooks")
            }
            "include.path" => {
                fs::write(world.at("more"), "[user]\n\tname = B\n").unwrap();
                world.at("more")
            }
            _ => program,
        };
        git(&repo, &["config", key, value.to_str().unwrap()]);
        // Times that git cannot trust make it look into the file.
        fs::write(repo.join("a.x"), "ten\n").unwrap();
        let why = git_suspect(&repo);
        let named =
            why.as_ref().is_some_and(|why| why.contains(&key.to_lowercase()) && why.contains("config"));
        assert_eq!((why.is_some(), named), (found, found), "{key}: {why:?}");
        reading.iter().for_each(|args| quiet(&repo, args));
        assert_eq!(marker.exists(), runs, "{key}: what git does by itself");
    }
}

#[test]
fn ordinary_repositories_have_nothing() {
    let world = World::new();
    let repo = world.repository("repo");
    let origin = world.repository("origin");
    git(&repo, &["remote", "add", "origin", origin.to_str().unwrap()]);
    git(&repo, &["fetch", "-q", "origin"]);
    git(&repo, &["branch", "-q", "--set-upstream-to=origin/main"]);
    git(&repo, &["stash", "-q"]);
    git(&repo, &["worktree", "add", "-q", "../tree", "-b", "other"]);
    git(&repo, &["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "../origin", "sub/one"]);
    git(&repo, &["commit", "-q", "-m", "sub"]);
    git(&world.at(""), &["clone", "-q", "--bare", "origin", "bare.git"]);
    for folder in ["repo", "repo/.git", "repo/sub/one", "tree", "bare.git", "origin", "repo/not/yet", ""] {
        assert_eq!(git_suspect(&world.at(folder)), None, "{folder}");
    }
    for version in ["3", "4"] {
        git(&repo, &["update-index", "--index-version", version]);
        assert_eq!(git_suspect(&repo), None);
    }
}

/// Who receives a push runs hooks that nothing switches off.
#[test]
fn a_push_to_a_repository_at_hand_runs_its_hooks_and_is_found() {
    let world = World::new();
    let repo = world.repository("repo");
    git(&world.at(""), &["init", "-q", "--bare", "evil.git"]);
    let (marker, evil) = (world.at("marker"), world.at("evil.git"));
    let hook = evil.join("hooks/post-receive");
    fs::write(&hook, format!("#!/bin/sh\ntouch {}\n", marker.display())).unwrap();
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut pushes = 0;
    let mut runs = |args: &[&str]| {
        pushes += 1;
        let to = format!("HEAD:refs/heads/x{pushes}");
        quiet(&repo, &[&["push", "-q"], args, &[to.as_str()]].concat());
        std::fs::remove_file(&marker).is_ok()
    };
    git(&repo, &["remote", "add", "origin", "https://example.org/a.git"]);
    assert_eq!(git_outside(&repo, Some("origin")), None);
    assert_eq!(git_outside(&repo, Some("")), None);
    assert_eq!(git_outside(&repo, None), None);
    assert!(runs(&["../evil.git"]) && git_outside(&repo, Some("../evil.git")).is_some());
    // Every way to name it.
    let path = evil.to_str().unwrap();
    for (key, value) in [
        ("remote.up.url", path),
        ("remote.origin.pushurl", "../evil.git"),
        (&*format!("url.{path}.pushInsteadOf"), "https://example.org/a.git"),
    ] {
        git(&repo, &["config", key, value]);
        let remote = if key.starts_with("remote.up") { "up" } else { "origin" };
        assert!(runs(&[remote]), "{key}");
        assert!(git_outside(&repo, Some(remote)).is_some(), "{key}");
        git(&repo, &["config", "--unset", key]);
    }
    fs::create_dir_all(repo.join(".git/remotes")).unwrap();
    fs::write(repo.join(".git/remotes/old"), format!("URL: {path}\n")).unwrap();
    assert!(git_outside(&repo, Some("old")).is_some());
    fs::remove_dir_all(repo.join(".git/remotes")).unwrap();
    assert_eq!(git_outside(&repo, Some("origin")), None);
    // What the line may come to make is not seen, and hooks of submodules are not switched off.
    assert!(git_outside(&repo.join("not/yet"), None).is_some());
    git(&repo, &["stash", "-q"]);
    let origin = world.repository("origin");
    let add = ["-c", "protocol.file.allow=always", "submodule", "--quiet", "add"];
    git(&repo, &[&add[..], &[origin.to_str().unwrap(), "sub/one"]].concat());
    git(&repo, &["config", "submodule.sub/one.url", "https://example.org/sub.git"]);
    assert_eq!(git_outside(&repo, None), None);
    fs::copy(&hook, repo.join(".git/modules/sub/one/hooks/post-checkout")).unwrap();
    let why = git_outside(&repo, None).unwrap();
    assert!(why.contains("post-checkout"), "{why}");
}

/// git itself says which address it would use.
#[test]
fn the_hosts_that_git_would_reach_are_those_that_are_told() {
    let world = World::new();
    let repo = world.repository("repo");
    let told = |remote: &str, push: bool| {
        let found = git_contacts(&repo, remote, push);
        (found.hosts, found.suspect.is_some())
    };
    let used = |remote: &str, push: bool| {
        let args = ["remote", "get-url", "--all", "--push", remote];
        let args = if push { args.to_vec() } else { ["remote", "get-url", "--all", remote].to_vec() };
        let out = plain(&repo, &args).output().unwrap();
        let hosts = String::from_utf8_lossy(&out.stdout).lines().map(host).collect::<BTreeSet<_>>();
        hosts.into_iter().collect::<Vec<_>>()
    };
    for (settings, suspect) in [
        (&[("remote.origin.url", "https://good.example/a.git")][..], false),
        (&[("http.postBuffer", "1000000"), ("branch.main.merge", "refs/heads/main")], false),
        (&[("remote.origin.pushurl", "git@evil.example:a.git")], false),
        (&[("url.https://evil.example/.insteadOf", "https://good.example/")], true),
        (&[("url.ssh://git@other.example/.pushInsteadOf", "https://good.example/")], true),
        (&[("url.https://far.example/.insteadOf", "https://good.example/a")], true),
        (&[("remote.up.url", "me@up.example:x")], true),
    ] {
        for (key, value) in settings {
            git(&repo, &["config", key, value]);
        }
        let remotes =
            if settings[0].0.starts_with("remote.up") { &["origin", "up"][..] } else { &["origin"] };
        for (remote, push) in remotes.iter().flat_map(|remote| [(remote, false), (remote, true)]) {
            let (hosts, _) = told(remote, push);
            assert_eq!(hosts, used(remote, push), "{settings:?} {remote} {push}");
        }
        assert_eq!(told("origin", true).1 || told("origin", false).1, suspect, "{settings:?}");
    }
    // One that the settings name: any of them.
    assert_eq!(told("", false).0, ["far.example", "up.example"]);
    for (key, value) in [
        ("http.proxy", "http://evil.example"),
        ("http.https://up.example.proxy", "http://evil.example"),
        ("remote.up.proxy", "http://evil.example"),
        ("http.sslVerify", "false"),
        ("http.sslCAInfo", "/tmp/x"),
        ("http.extraHeader", "a: b"),
        ("http.cookieFile", "x"),
        ("core.sshCommand", "x"),
        ("credential.helper", "x"),
    ] {
        assert_eq!(told("up", true), (vec!["up.example".to_owned()], false), "{key}");
        git(&repo, &["config", key, value]);
        assert!(told("up", true).1, "{key}");
        git(&repo, &["config", "--unset", key]);
    }
    git(&repo, &["config", "include.path", "more"]);
    assert_eq!(told("up", true), (vec!["*".to_owned(), "up.example".to_owned()], true));
    git(&repo, &["config", "--unset", "include.path"]);
    // Submodules are fetched, too.
    fs::write(repo.join(".gitmodules"), "[submodule \"s\"]\n\turl = https://sub.example/s\n\tpath = s\n")
        .unwrap();
    assert!(told("", false).0.contains(&"sub.example".to_owned()));
    assert!(!told("up", true).0.contains(&"sub.example".to_owned()));
    fs::remove_file(repo.join(".gitmodules")).unwrap();
    fs::create_dir_all(repo.join(".git/modules/s/objects")).unwrap();
    fs::write(repo.join(".git/modules/s/HEAD"), "ref: refs/heads/main\n").unwrap();
    let config = "[remote \"origin\"]\n\turl = https://inner.example/s\n[http]\n\tproxy = x\n";
    fs::write(repo.join(".git/modules/s/config"), config).unwrap();
    let (hosts, suspect) = told("", false);
    assert!(hosts.contains(&"inner.example".to_owned()) && suspect, "{hosts:?}");
    // What cannot be seen is any host, and no repository goes nowhere.
    assert_eq!(git_contacts(&repo.join("not/yet"), "origin", true).hosts, ["*"]);
    fs::create_dir_all(repo.join(".git/remotes")).unwrap();
    fs::write(repo.join(".git/remotes/old"), "URL: https://evil.example/x\n").unwrap();
    assert!(told("old", true).0.contains(&"*".to_owned()));
    assert_eq!(git_contacts(&world.at(""), "origin", true).hosts, [""; 0]);
}

/// The host of an address as git prints it.
fn host(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', ':']).next().unwrap();
    host.rsplit('@').next().unwrap().to_owned()
}

/// What git takes for no repository must not hide the one that it uses.
#[test]
fn the_repository_that_git_uses_is_the_one_that_is_looked_at() {
    let uses = |folder: &Path| {
        let out = plain(folder, &["config", "diff.x.textconv"]).output().unwrap();
        String::from_utf8_lossy(&out.stdout).trim() == "evil"
    };
    let world = World::new();
    let repo = world.repository("repo");
    git(&repo, &["config", "diff.x.textconv", "evil"]);
    let sub = repo.join("sub");
    for (made, hides) in [
        (&[(".git/HEAD", "ref: refs/heads/main\n"), (".git/config", "")][..], true),
        (&[(".git/HEAD", "junk\n"), (".git/objects/x", ""), (".git/refs/x", "")], true),
        (&[("HEAD", "ref: refs/heads/main\n"), ("objects/x", "")], true),
        (&[(".git/HEAD", "ref: refs/heads/main\n"), (".git/objects/x", ""), (".git/refs/x", "")], false),
    ] {
        for (file, text) in made {
            let path = sub.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        assert_eq!(uses(&sub), hides, "{made:?}");
        assert_eq!(git_suspect(&sub).is_some(), hides, "{made:?}");
        fs::remove_dir_all(&sub).unwrap();
    }
    // A folder that is a repository itself, with a `.git` that is none.
    let clean = world.repository("clean");
    git(&clean, &["init", "-q", "--bare", "bare"]);
    let bare = clean.join("bare");
    git(&bare, &["config", "diff.x.textconv", "evil"]);
    fs::create_dir(bare.join(".git")).unwrap();
    assert!(uses(&bare) && git_suspect(&bare).is_some());
}

#[test]
fn other_folders_of_a_repository_are_looked_at_too() {
    let world = World::new();
    let (repo, origin) = (world.repository("repo"), world.repository("origin"));
    git(&repo, &["stash", "-q"]);
    git(&repo, &["worktree", "add", "-q", "../tree", "-b", "other"]);
    git(&repo, &["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "../origin", "sub/one"]);
    drop(origin);
    let marker = world.at("marker");
    let touch = format!("touch {}", marker.display());
    // git runs processes of its own in submodules.
    let sub = repo.join("sub/one");
    git(&sub, &["config", "filter.x.clean", &touch]);
    fs::write(repo.join(".git/modules/sub/one/info/attributes"), "*.x filter=x\n").unwrap();
    fs::write(sub.join("a.x"), "ten\n").unwrap();
    quiet(&repo, &["status"]);
    assert!(marker.exists(), "git looks into submodules");
    for folder in ["repo", "repo/sub", "repo/sub/one"] {
        let why = git_suspect(&world.at(folder)).unwrap();
        assert!(why.contains("filter.x.clean") && why.contains("modules/sub/one/config"), "{why}");
    }
    assert_eq!(git_suspect(&world.at("tree")), None);
    git(&sub, &["config", "--unset", "filter.x.clean"]);
    assert_eq!(git_suspect(&repo), None);
    // Older versions of git take the environment from these.
    git(&sub, &["config", "core.fsmonitor", &touch]);
    assert!(git_suspect(&repo).unwrap().contains("core.fsmonitor"));
    git(&sub, &["config", "core.fsmonitor", "false"]);
    assert_eq!(git_suspect(&repo), None);
    // Settings of one work tree.
    git(&repo, &["config", "extensions.worktreeConfig", "true"]);
    git(&world.at("tree"), &["config", "--worktree", "diff.x.textconv", &touch]);
    assert!(git_suspect(&world.at("tree")).unwrap().contains("diff.x.textconv"));
    assert_eq!(git_suspect(&repo), None);
    // A work tree elsewhere shows the files there.
    git(&repo, &["config", "core.worktree", "/etc"]);
    assert!(git_suspect(&repo).unwrap().contains("core.worktree"));
    // What is no repository may be one within a folder of the workspace.
    let bare = world.at("data/inner");
    fs::create_dir_all(bare.join("objects")).unwrap();
    fs::create_dir(bare.join("refs")).unwrap();
    fs::write(bare.join("HEAD"), "ref: refs/heads/main\n").unwrap();
    fs::write(bare.join("config"), format!("[core]\nsshCommand = {touch}\n")).unwrap();
    assert!(git_suspect(&bare).is_some());
    // What cannot be looked at is not taken for harmless.
    fs::remove_file(bare.join("config")).unwrap();
    fs::create_dir(bare.join("config")).unwrap();
    assert!(git_suspect(&bare).unwrap().contains("cannot be looked at"));
}
