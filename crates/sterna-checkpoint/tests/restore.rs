//! The way back.

#![allow(clippy::unwrap_used)]

mod common;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use common::{Thing, Workspace, as_nobody, look, path};
use sterna_checkpoint::{CheckpointError, Checkpointer, Kind, Stay, What, Why};
use sterna_log::{Blobs, digest};
use sterna_tool::Cancel;

fn git(w: &Workspace, args: &[&str]) -> String {
    let mut git = Command::new("git");
    git.current_dir(w.root()).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    git.args(["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]).args(args);
    let output = git.output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn what_rm_took_comes_back_and_git_sees_no_difference() {
    let w = Workspace::new();
    git(&w, &["init", "-q"]);
    w.write(".gitignore", "*.log\nsecret/\n");
    w.write("src/main.rs", "fn main() {}\n");
    w.write("src/run.sh", "#!/bin/sh\n");
    w.chmod("src/run.sh", 0o755);
    w.link("main.rs", "src/link");
    git(&w, &["add", "-A"]);
    git(&w, &["commit", "-qm", "one"]);
    w.write("src/main.rs", "fn main() { stashed() }\n");
    git(&w, &["stash", "-q"]);
    w.write("src/main.rs", "fn main() { changed() }\n");
    w.write("staged", "staged");
    git(&w, &["add", "staged"]);
    w.write("untracked/deep/file", b"\0\xff raw");
    w.write("x.log", "ignored");
    w.write("secret/key", "ignored too");
    w.chmod("secret/key", 0o400);
    w.chmod("secret", 0o700);
    fs::create_dir(w.at("empty")).unwrap();
    w.chmod("empty", 0o1777);
    w.link("/nowhere/at all", "dangling");
    let status = git(&w, &["status", "--porcelain", "--ignored"]);
    let before = w.look();
    let taken = w.take();
    assert_eq!(taken.skipped, []);

    for gone in ["src", "untracked", "secret", "empty"] {
        fs::remove_dir_all(w.at(gone)).unwrap();
    }
    for gone in [".gitignore", "staged", "x.log", "dangling"] {
        fs::remove_file(w.at(gone)).unwrap();
    }
    assert_eq!(w.look().keys().filter(|path| !path.starts_with(b".git")).count(), 0);
    w.restore(&taken);
    // All of it: `.git` with its index, branches and stash too.
    assert_eq!(w.look(), before);
    assert_eq!(git(&w, &["status", "--porcelain", "--ignored"]), status);
    assert!(git(&w, &["stash", "list"]).contains("stash@{0}"));
    assert!(w.preview(&taken).is_empty());
}

#[test]
fn git_is_never_touched() {
    let w = Workspace::new();
    w.write("a", "one");
    w.write("sub/.git/config", "inner");
    w.write("sub/file", "two");
    let taken = w.take();
    assert_eq!(common::named(&taken.skipped), [("sub/.git".to_owned(), Why::GitData)]);
    git(&w, &["init", "-q"]);
    w.write("sub/.git/config", "changed");
    w.write("new/.git/config", "newer");
    w.write("new/file", "goes");
    let expected: Vec<_> = w.look().into_iter().filter(|(path, _)| *path != b"new/file").collect();
    let plan = w.preview(&taken);
    let kept: Vec<(String, Stay)> = plan.kept.iter().map(|(p, s)| (p.to_string(), s.clone())).collect();
    let of_git = || Stay::LeftOut { why: Why::GitData };
    let named = [(".git", of_git()), ("new", Stay::Holds), ("new/.git", of_git())];
    assert_eq!(kept, named.map(|(path, stay)| (path.to_owned(), stay)));
    w.carry_out(&plan).unwrap();
    assert_eq!(w.look().into_iter().collect::<Vec<_>>(), expected);
    // A folder with a repository in it cannot become a file again.
    w.write("b", "file");
    let taken = w.take();
    fs::remove_file(w.at("b")).unwrap();
    w.write("b/.git/HEAD", "ref");
    w.write("b/x", "x");
    let plan = w.preview(&taken);
    assert_eq!(plan.blocked, [(path("b"), Stay::Holds)]);
    assert!(plan.is_empty(), "{plan:?}");
}

#[test]
fn every_kind_becomes_every_other() {
    let make = |w: &Workspace, kind: usize, text: &str| match kind {
        0 => w.write("x", text),
        1 => w.link(text, "x"),
        2 => w.write("x/in/file", text),
        3 => fs::create_dir(w.at("x")).unwrap(),
        _ => assert!(Command::new("mkfifo").arg(w.at("x")).status().unwrap().success()),
    };
    let clear = |w: &Workspace| {
        let _ = fs::remove_file(w.at("x"));
        let _ = fs::remove_dir_all(w.at("x"));
    };
    for then in 0..4 {
        for now in 0..5 {
            let w = Workspace::new();
            make(&w, then, "then");
            let (before, taken) = (w.look(), w.take());
            clear(&w);
            make(&w, now, "now!");
            w.restore(&taken);
            assert_eq!(w.look(), before, "{then} {now}");
        }
    }
}

#[test]
fn the_preview_says_all_and_changes_nothing() {
    let w = Workspace::new();
    for name in ["same", "changed", "deleted", "mode"] {
        w.write(name, "then");
    }
    w.write("dir/was", "then");
    let taken = w.take();
    fs::remove_file(w.at("deleted")).unwrap();
    w.write("changed", "now!");
    w.chmod("mode", 0o600);
    w.write("created", "now");
    fs::remove_dir_all(w.at("dir")).unwrap();
    w.write("dir", "a file now");
    let before = w.look();
    let told = |remove| {
        let plan = w.checkpointer().preview_restore(&taken.manifest, remove, &Cancel::new()).unwrap();
        let steps: Vec<(String, What)> =
            plan.steps.iter().map(|s| (s.change.path.to_string(), s.change.what)).collect();
        (steps, plan.bytes, plan.kept)
    };
    let mut expected: Vec<(String, What)> = [
        ("dir", What::Kind),
        ("changed", What::Modified),
        ("deleted", What::Created),
        ("dir/was", What::Created),
        ("mode", What::Mode),
        ("created", What::Deleted),
    ]
    .map(|(path, what)| (path.to_owned(), what))
    .to_vec();
    assert_eq!(told(true), (expected.clone(), 12, vec![]));
    expected.pop();
    assert_eq!(told(false), (expected, 12, vec![(path("created"), Stay::Created)]));
    assert_eq!(w.look(), before);

    let plan = w.checkpointer().preview_restore(&taken.manifest, false, &Cancel::new()).unwrap();
    w.carry_out(&plan).unwrap();
    assert_eq!(fs::read(w.at("created")).unwrap(), b"now");
    assert_eq!(fs::read(w.at("dir/was")).unwrap(), b"then");
}

#[test]
fn names_that_are_no_text() {
    let w = Workspace::new();
    for name in [&b"\xff\xfe"[..], b"new\nline", b"%41", b"-rf", "\u{202e}gnp".as_bytes(), b"d\xc3/\xe9"] {
        w.write(OsStr::from_bytes(name), name);
    }
    symlink(OsStr::from_bytes(b"\xff\xfe"), w.at(OsStr::from_bytes(b"l\xff"))).unwrap();
    let (before, taken) = (w.look(), w.take());
    for entry in fs::read_dir(w.root()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
    }
    w.restore(&taken);
    assert_eq!(w.look(), before);
}

#[test]
fn an_edit_with_the_old_size_and_time_is_seen() {
    let w = Workspace::new();
    w.write("a", "then");
    let time = fs::metadata(w.at("a")).unwrap().modified().unwrap();
    let (before, taken) = (w.look(), w.take());
    w.write("a", "now!");
    fs::File::options().write(true).open(w.at("a")).unwrap().set_modified(time).unwrap();
    assert_eq!(w.restore(&taken).restored, 1);
    assert_eq!(w.look(), before);
}

#[test]
fn a_symlink_on_the_way_leads_nowhere() {
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(outside.path().join("deep")).unwrap();
    for name in ["file", "deep/file"] {
        fs::write(outside.path().join(name), "outside").unwrap();
    }
    let untouched = look(outside.path());
    let w = Workspace::new();
    w.write("d/file", "inside");
    w.write("d/deep/file", "inside");
    w.write("f", "inside");
    let (before, taken) = (w.look(), w.take());
    let swap = || {
        fs::remove_dir_all(w.at("d")).unwrap();
        fs::remove_file(w.at("f")).unwrap();
        symlink(outside.path(), w.at("d")).unwrap();
        symlink(outside.path().join("file"), w.at("f")).unwrap();
    };

    // Swapped before the preview: taken as the symlinks they are.
    swap();
    let linked = w.take();
    assert_eq!((linked.files, linked.bytes), (0, 0));
    w.restore(&taken);
    assert_eq!((w.look(), look(outside.path())), (before.clone(), untouched.clone()));

    // Swapped between the preview and the restore: a conflict, and nothing is written.
    for name in ["d/file", "d/deep/file", "f"] {
        w.write(name, "changed");
    }
    w.write("d/created", "new");
    let plan = w.preview(&taken);
    swap();
    let swapped = w.look();
    let error = w.carry_out(&plan).unwrap_err();
    assert!(matches!(&error, CheckpointError::Conflict { paths } if paths.contains(&path("f"))), "{error}");
    assert_eq!((w.look(), look(outside.path())), (swapped, untouched.clone()));
    w.checkpointer().restore(&plan, true, &Cancel::new()).unwrap();
    assert_eq!((w.look(), look(outside.path())), (before, untouched));
}

#[test]
fn a_folder_that_moved_out_is_not_followed() {
    // The files are the very same, times and all; only the way to them is a symlink now.
    let outside = tempfile::tempdir().unwrap();
    let w = Workspace::new();
    w.write("d/changed", "then");
    w.write("d/deleted", "then");
    w.write("d/mode", "then");
    let (before, taken) = (w.look(), w.take());
    w.write("d/changed", "now");
    w.write("d/created", "now");
    w.chmod("d/mode", 0o600);
    fs::remove_file(w.at("d/deleted")).unwrap();
    let plan = w.preview(&taken);
    fs::rename(w.at("d"), outside.path().join("d")).unwrap();
    symlink(outside.path().join("d"), w.at("d")).unwrap();
    let untouched = look(outside.path());
    let error = w.carry_out(&plan).unwrap_err();
    let conflicts = ["d/changed", "d/mode"].map(path);
    assert!(matches!(&error, CheckpointError::Conflict { paths } if *paths == conflicts), "{error}");
    assert_eq!(look(outside.path()), untouched);
    w.checkpointer().restore(&plan, true, &Cancel::new()).unwrap();
    assert_eq!((w.look(), look(outside.path())), (before, untouched));
}

#[test]
fn what_changed_since_the_preview_is_a_conflict() {
    let changes: [(&str, fn(&Workspace)); 5] = [
        ("changed", |w| w.write("changed", "newer")),
        ("deleted", |w| w.write("deleted", "back, but other")),
        ("created", |w| w.write("created", "worked on")),
        ("changed", |w| fs::remove_file(w.at("changed")).unwrap()),
        ("new", |w| w.write("new/more", "work")),
    ];
    for (name, change) in changes {
        let w = Workspace::new();
        w.write("changed", "then");
        w.write("deleted", "then");
        let (before, taken) = (w.look(), w.take());
        w.write("changed", "now!!");
        fs::remove_file(w.at("deleted")).unwrap();
        w.write("created", "now");
        fs::create_dir(w.at("new")).unwrap();
        let plan = w.preview(&taken);
        change(&w);
        let error = w.carry_out(&plan).unwrap_err();
        assert!(matches!(&error, CheckpointError::Conflict { paths } if *paths == [path(name)]), "{error}");
        // The work of somebody else is still there, unless it is forced.
        if name == "new" {
            assert_eq!(fs::read(w.at("new/more")).unwrap(), b"work");
        }
        w.checkpointer().restore(&plan, true, &Cancel::new()).unwrap();
        assert_eq!(w.look(), before, "{name}");
    }
}

#[test]
fn a_lost_blob_is_found_before_anything_is_changed() {
    let mut w = Workspace::new();
    w.write("a", "one");
    w.write("b", "two");
    let taken = w.take();
    fs::remove_file(w.at("a")).unwrap();
    fs::remove_file(w.at("b")).unwrap();
    w.write("c", "new");
    w.store.lost = Some(digest(b"two"));
    let before = w.look();
    let plan = w.preview(&taken);
    assert_eq!(plan.missing, [(path("b"), digest(b"two"))]);
    let error = w.carry_out(&plan).unwrap_err();
    assert!(matches!(&error, CheckpointError::Missing { paths } if *paths == [path("b")]), "{error}");
    assert_eq!(w.look(), before);
    // A checkpoint that is gone itself.
    w.store.lost = Some(taken.manifest);
    assert!(w.checkpointer().load(&taken.manifest).is_err());
}

#[test]
fn a_restore_that_was_cut_is_repeated() {
    let arrange = || {
        let w = Workspace::new();
        for n in 0..4 {
            w.write(format!("d{n}/file"), format!("then {n}"));
            w.write(format!("k{n}"), format!("kind {n}"));
        }
        w.link("k0", "l");
        w.chmod("d3", 0o555);
        let (before, taken) = (w.look(), w.take());
        w.chmod("d3", 0o755);
        for n in 0..4 {
            fs::remove_dir_all(w.at(format!("d{n}"))).unwrap();
            fs::remove_file(w.at(format!("k{n}"))).unwrap();
            w.write(format!("k{n}/in/the/way"), "now");
            w.write(format!("created/{n}"), "now");
        }
        w.write("d0", "a file now");
        w.write("created/.sterna-restore-0123456789abcdef", "half of what an earlier one wrote");
        (w, before, taken)
    };
    // The manifest and its page are read by the preview; each file is one more reading.
    for cut in 0..8 {
        for same_plan in [true, false] {
            let (w, before, taken) = arrange();
            let plan = w.preview(&taken);
            let cancel = Cancel::new();
            let mut store = w.store.clone();
            store.cancel_at = Some((Arc::new(AtomicU64::new(cut)), cancel.clone()));
            let cutting = Checkpointer::new(w.root(), Arc::new(store), w.options()).unwrap();
            let error = cutting.restore(&plan, false, &cancel).unwrap_err();
            assert!(matches!(error, CheckpointError::Cancelled), "{error}");
            assert_ne!(w.look(), before);
            // What was cut left no half file under any name but one of ours.
            for (name, thing) in w.look() {
                if let (Some(Thing::File(_, then)), Thing::File(_, now)) = (before.get(&name), thing) {
                    assert!(*then == now || now == b"a file now", "{cut} {name:?}");
                }
            }
            let plan = if same_plan { plan } else { w.preview(&taken) };
            let done = w.carry_out(&plan).unwrap();
            assert_eq!(w.look(), before, "{cut} {same_plan}");
            assert!(!same_plan || done.already > 0);
            // And once more is nothing.
            assert!(w.preview(&taken).is_empty());
            assert_eq!(w.carry_out(&plan).unwrap().restored, 0);
        }
    }
}

#[test]
fn a_damaged_blob_never_gets_a_name() {
    let w = Workspace::new();
    w.write("a", "one");
    let taken = w.take();
    w.write("a", "new");
    let plan = w.preview(&taken);
    // A store that gives other bytes than it was given.
    struct Wrong(common::Store);
    #[async_trait::async_trait]
    impl Blobs for Wrong {
        async fn put(&self, bytes: bytes::Bytes) -> Result<sterna_model::BlobRef, sterna_log::LogError> {
            self.0.put(bytes).await
        }
        async fn get(&self, _: &sterna_model::Digest) -> Result<bytes::Bytes, sterna_log::LogError> {
            Ok("0ne".into())
        }
        async fn has(&self, hash: &sterna_model::Digest) -> Result<bool, sterna_log::LogError> {
            self.0.has(hash).await
        }
        fn writer(&self) -> Result<Box<dyn sterna_log::BlobWriter>, sterna_log::LogError> {
            self.0.writer()
        }
    }
    let before = w.look();
    let wrong = Checkpointer::new(w.root(), Arc::new(Wrong(w.store.clone())), w.options()).unwrap();
    let error = wrong.restore(&plan, false, &Cancel::new()).unwrap_err();
    assert!(error.to_string().contains("does not hold the contents of `a`"), "{error}");
    assert_eq!(w.look(), before);
}

#[test]
fn modes_come_back_and_locked_folders_are_opened_up() {
    let w = Workspace::new();
    w.write("ro/deep/file", "one");
    w.write("suid", "two");
    w.write("twin", "three");
    fs::hard_link(w.at("twin"), w.at("twin2")).unwrap();
    w.chmod("suid", 0o4751);
    w.chmod("ro/deep", 0o555);
    w.chmod("ro", 0o500);
    w.chmod("", 0o750);
    let (before, taken) = (w.look(), w.take());
    w.chmod("ro", 0o700);
    w.chmod("ro/deep", 0o700);
    fs::remove_file(w.at("ro/deep/file")).unwrap();
    w.chmod("ro/deep", 0o555);
    w.chmod("ro", 0o500);
    w.chmod("suid", 0o600);
    w.write("twin", "other");
    w.chmod("", 0o755);
    assert_eq!(w.restore(&taken).restored, 4);
    assert_eq!(w.look(), before);
    assert!(w.preview(&taken).is_empty());
    w.chmod("ro", 0o700);
    w.chmod("ro/deep", 0o700);
}

#[test]
fn permissions_that_keep_us_out_are_given_back_first() {
    as_nobody(|| {
        let w = Workspace::new();
        for name in ["d/x", "d/deep/y", "e/z", "f"] {
            w.write(name, "then");
        }
        w.chmod("e", 0o711);
        let (before, taken) = (w.look(), w.take());
        fs::remove_file(w.at("d/x")).unwrap();
        fs::remove_file(w.at("d/deep/y")).unwrap();
        for (name, mode) in [("d/deep", 0), ("d", 0o500), ("e", 0o100), ("f", 0)] {
            w.chmod(name, mode);
        }
        // What cannot be looked into is said, and its permissions are what is restored of it.
        let plan = w.preview(&taken);
        let closed = || Stay::LeftOut { why: Why::Unreadable };
        assert_eq!(plan.blocked, [(path("d/deep"), closed()), (path("e"), closed())]);
        w.carry_out(&plan).unwrap();
        let plan = w.preview(&taken);
        assert_eq!((plan.blocked.len(), plan.steps.len()), (0, 1), "{plan:?}");
        w.carry_out(&plan).unwrap();
        assert_eq!(w.look(), before);
    });
}

#[test]
fn a_workspace_that_was_removed_whole_comes_back() {
    let parent = tempfile::tempdir().unwrap();
    let w = Workspace::new();
    let root = parent.path().join("w");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("a"), "one").unwrap();
    let new = || Checkpointer::new(&root, Arc::new(w.store.clone()), w.options()).unwrap();
    let cancel = Cancel::new();
    let taken = new().take(sterna_checkpoint::Scope::Hot, &cancel).unwrap();
    let before = look(parent.path());
    fs::remove_dir_all(&root).unwrap();
    let plan = new().preview_restore(&taken.manifest, true, &cancel).unwrap();
    assert!(!root.exists());
    new().restore(&plan, false, &cancel).unwrap();
    assert_eq!(look(parent.path()), before);
}

#[test]
fn sides_tell_what_was_and_is() {
    let w = Workspace::new();
    w.write("a", "one");
    let taken = w.take();
    fs::remove_file(w.at("a")).unwrap();
    fs::create_dir(w.at("a")).unwrap();
    let plan = w.preview(&taken);
    let change = &plan.steps[0].change;
    let kinds = [&change.before, &change.after].map(|side| side.as_ref().map(|side| side.kind));
    assert_eq!(kinds, [Some(Kind::Dir), Some(Kind::File)]);
    let json = serde_json::to_string(&plan).unwrap();
    assert!(json.contains(r#""path":"a","what":"kind","before":{"kind":"dir""#), "{json}");
}
