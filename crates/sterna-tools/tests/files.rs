//! read, write and edit.

// Helpers of tests may unwrap too.
#![allow(clippy::unwrap_used)]

mod common;

use std::os::unix::fs::{PermissionsExt, symlink};

use common::{World, text, tree};
use serde_json::json;
use sterna_log::{Blobs, digest};
use sterna_model::ToolStatus::{Cancelled, Failed, InvalidArguments};
use sterna_model::{EffectClass, Fact};
use sterna_tool::Access;

fn path(world: &World, name: &str) -> String {
    world.cwd.join(name).to_str().unwrap().to_owned()
}

#[tokio::test]
async fn read_shows_lines_with_numbers() {
    let mut world = World::new();
    let long = "é".repeat(2010);
    world.file("a.txt", "one\r\ntwo\n\nfour");
    world.file("bom.txt", "\u{feff}x\n");
    world.file("empty", "");
    world.file("long", format!("{long}\nend\n"));
    world.file("odd", b"caf\xe9 and a lot of other text\n");
    let cases = [
        (json!({"path": "a.txt"}), "1\tone\n2\ttwo\n3\t\n4\tfour\n".to_owned()),
        (
            json!({"path": "a.txt", "offset": 2, "limit": 1}),
            "2\ttwo\n[lines 2–2 of 4, 14 bytes in all; offset 3 reads on]".into(),
        ),
        (json!({"path": "a.txt", "offset": 4}), "4\tfour\n[lines 4–4 of 4, 14 bytes in all]".into()),
        (json!({"path": "bom.txt"}), "1\tx\n".into()),
        (json!({"path": "empty"}), "`empty` is empty (0 bytes)".into()),
        (json!({"path": "long"}), format!("1\t{}… [10 more characters]\n2\tend\n", "é".repeat(2000))),
        (json!({"path": "odd"}), "1\tcaf\u{fffd} and a lot of other text\n".into()),
    ];
    for (args, want) in cases {
        assert_eq!(world.told("read", args.clone()).await, want, "{args}");
    }
    let done = world.call("read", json!({"path": "a.txt", "limit": 1})).await.unwrap();
    let whole = Fact::FileRead { path: path(&world, "a.txt"), hash: digest(b"one\r\ntwo\n\nfour") };
    assert_eq!(done.facts, [whole]);
}

#[tokio::test]
async fn read_keeps_to_its_budget() {
    let mut world = World::new();
    world.file("many", "x\n".repeat(5000));
    world.file("wide", format!("{}\n", "y".repeat(999)).repeat(200));
    let many = world.call("read", json!({"path": "many", "limit": 9000})).await.unwrap();
    let view = text(&many);
    assert!(view.ends_with("2000\tx\n[lines 1–2,000 of 5,000, 10,000 bytes in all; offset 2001 reads on]"));
    assert!(view.lines().count() <= many.budget.lines && view.len() <= many.budget.bytes);
    let view = world.told("read", json!({"path": "wide"})).await;
    assert!(view.len() <= 64 << 10 && view.len() > 63 << 10, "{}", view.len());
    // 9 lines of 1,002 bytes, 55 of 1,003
    assert!(
        view.ends_with("[lines 1–65 of 200, 200,000 bytes in all; offset 66 reads on]"),
        "{}",
        &view[view.len() - 99..]
    );
}

#[tokio::test]
async fn read_says_what_is_wrong_and_what_to_do() {
    let mut world = World::new();
    world.file("src/main.rs", "x\n");
    world.file("src/Makefile", "");
    world.file("img", b"\x89PNG\r\n\x1a\n\0\0\0");
    world.file("pdf", b"%PDF-1.7 plain ASCII");
    world.file("bin", b"abc\0def");
    world.file("latin", [0xe9; 40]);
    std::process::Command::new("mkfifo").arg(world.cwd.join("pipe")).status().unwrap();
    let cases = [
        (json!({"path": "src/mian.rs"}), Failed, "`src/mian.rs` does not exist; did you mean `src/main.rs`?"),
        (
            json!({"path": "src/makefile"}),
            Failed,
            "`src/makefile` does not exist; did you mean `src/Makefile`?",
        ),
        (json!({"path": "no/such"}), Failed, "`no/such` does not exist"),
        (json!({"path": "src"}), Failed, "`src` is a folder; use list to see what is in it"),
        (json!({"path": "/"}), Failed, "`/` is a folder; use list to see what is in it"),
        (json!({"path": "pipe"}), Failed, "`pipe` is a named pipe, not a regular file"),
        (
            json!({"path": "img"}),
            Failed,
            "`img` is a PNG image of 11 bytes, not text; use shell with a program that knows this format",
        ),
        (json!({"path": "pdf"}), Failed, "`pdf` is a PDF document that cannot be read: couldn't parse input"),
        (
            json!({"path": "src/main.rs", "pages": "1"}),
            InvalidArguments,
            "`src/main.rs` has no pages; offset and limit choose its lines",
        ),
        (json!({"path": "pdf", "pages": "5-2"}), InvalidArguments, "`5-2` names no pages; write 3 or 21-40"),
        (
            json!({"path": "bin"}),
            Failed,
            "`bin` is binary data of 7 bytes, not text; use shell with a program that knows this format",
        ),
        (
            json!({"path": "latin"}),
            Failed,
            "`latin` is binary data of 40 bytes, not text; use shell with a program that knows this format",
        ),
        (
            json!({"path": "src/main.rs", "offset": 3}),
            Failed,
            "`src/main.rs` has 1 line; offset 3 is past its end",
        ),
        (json!({"path": "src/main.rs", "offset": 0}), InvalidArguments, "offset and limit count from 1"),
        (json!({"path": "src/main.rs", "limit": 0}), InvalidArguments, "offset and limit count from 1"),
        (json!({"path": ""}), InvalidArguments, "the path is empty"),
        (json!({"path": "a\0"}), InvalidArguments, "the path holds a NUL byte"),
        (json!({}), InvalidArguments, "missing field `path`"),
    ];
    for (args, status, message) in cases {
        world.refuses("read", args, status, message).await;
    }
    let large = std::fs::File::create(world.cwd.join("large")).unwrap();
    large.set_len((50 << 20) + 1).unwrap();
    let told = world.told("read", json!({"path": "large"})).await;
    assert_eq!(
        told,
        "failed: `large` has 52,428,801 bytes, more than the 52,428,800 that are read at once; \
         use grep, or shell with head, tail or sed"
    );
}

#[tokio::test]
async fn plans_name_the_real_place() {
    let world = World::new();
    let file = world.file("real/f", "a\nb\n");
    symlink("real", world.cwd.join("link")).unwrap();
    let plan = world.plan("read", &json!({"path": "link/../link/f"})).unwrap();
    assert_eq!((plan.accesses, plan.summary.as_str()), (vec![Access::Read(file.clone())], "read real/f"));
    let plan = world.plan("write", &json!({"path": "link/f", "content": "a\nc\n"})).unwrap();
    assert_eq!(
        (plan.accesses, plan.summary.as_str()),
        (vec![Access::Write(file.clone())], "write real/f (4 bytes)")
    );
    let diff = "--- real/f\n+++ real/f\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n";
    assert_eq!(plan.preview.as_deref(), Some(diff));
    let edit = json!({"path": "link/f", "old_string": "b", "new_string": "c"});
    let plan = world.plan("edit", &edit).unwrap();
    assert_eq!((plan.accesses, plan.preview.as_deref()), (vec![Access::Write(file)], Some(diff)));
    let plan = world.plan("write", &json!({"path": "new/deep", "content": "x\n".repeat(9000)})).unwrap();
    assert_eq!(plan.accesses, [Access::Write(world.cwd.join("new/deep"))]);
    let preview = plan.preview.unwrap();
    assert!(preview.len() <= 4096 && preview.len() > 4000 && preview.ends_with("[… the diff goes on]\n"));
    for (name, args, class) in [
        ("read", json!({"path": "a"}), EffectClass::Pure),
        ("write", json!({"path": "a", "content": ""}), EffectClass::Idempotent),
        ("edit", edit, EffectClass::Idempotent),
        ("shell", json!({"command": "ls"}), EffectClass::AtMostOnce),
        ("todo", json!({"op": "list"}), EffectClass::Pure),
        ("todo", json!({"op": "create"}), EffectClass::Idempotent),
    ] {
        assert_eq!(common::tool(name).class(&args), class, "{name}");
    }
}

#[tokio::test]
async fn write_makes_and_replaces() {
    let mut world = World::new();
    let done = world.call("write", json!({"path": "new/deep/f", "content": "a\nb"})).await.unwrap();
    assert_eq!(text(&done), "made `new/deep/f` (2 lines, 3 bytes)");
    let made = Fact::FileWritten { path: path(&world, "new/deep/f"), before: None, after: digest(b"a\nb") };
    assert_eq!(done.facts, [made]);
    assert_eq!(world.text("new/deep/f"), "a\nb");

    // Written by this session: known to it.
    std::fs::set_permissions(world.cwd.join("new/deep/f"), std::fs::Permissions::from_mode(0o751)).unwrap();
    let done = world.call("write", json!({"path": "new/deep/f", "content": "c\n"})).await.unwrap();
    assert_eq!(text(&done), "wrote `new/deep/f` (1 line, 2 bytes)");
    let wrote = Fact::FileWritten {
        path: path(&world, "new/deep/f"),
        before: Some(digest(b"a\nb")),
        after: digest(b"c\n"),
    };
    assert_eq!(done.facts, [wrote]);
    let mode = std::fs::metadata(world.cwd.join("new/deep/f")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o751);

    let done = world.call("write", json!({"path": "new/deep/f", "content": "c\n"})).await.unwrap();
    assert_eq!(text(&done), "`new/deep/f` is unchanged: it has exactly this content (1 line, 2 bytes)");

    world.seen("dos", "a\r\nb\r\n");
    let told = world.told("write", json!({"path": "dos", "content": "x\ny\n"})).await;
    assert_eq!(told, "wrote `dos` (2 lines, 6 bytes); line endings kept as CRLF");
    assert_eq!(world.text("dos"), "x\r\ny\r\n");
    // Nothing else is left in the folder.
    let names: Vec<_> =
        tree(&world.cwd).into_keys().map(|p| p.strip_prefix(&world.cwd).unwrap().to_owned()).collect();
    assert_eq!(names, ["dos", "new", "new/deep", "new/deep/f"].map(std::path::PathBuf::from));
}

#[tokio::test]
async fn write_refuses_what_it_has_not_seen() {
    let mut world = World::new();
    world.file("unread", "a\n");
    world.seen("stale", "a\n");
    world.file("stale", "changed by another\n");
    world.file("folder/x", "");
    let args = |name: &str| json!({"path": name, "content": "b\n"});
    let unread = "`unread` exists and was not read in this session; read it first, then change it";
    world.refuses("write", args("unread"), Failed, unread).await;
    let stale = "stale_file: `stale` was changed since this session last saw it; read it again, then repeat the change";
    world.refuses("write", args("stale"), Failed, stale).await;
    world
        .refuses("write", args("folder"), Failed, "`folder` is a folder; use list to see what is in it")
        .await;
    world.told("read", json!({"path": "stale"})).await;
    assert_eq!(world.told("write", args("stale")).await, "wrote `stale` (1 line, 2 bytes)");
    world.cancel.cancel();
    world.refuses("write", args("other"), Cancelled, "cancelled").await;
}

#[tokio::test]
async fn a_second_attempt_finds_its_own_work_done() {
    let mut world = World::new();
    // The first attempt wrote, and the crash took its outcome: the view knows the old version only.
    let old = "one\ntwo\ntwo\n";
    world.seen("w", old);
    world.seen("e", old);
    let view = world.view.clone();
    let write = json!({"path": "w", "content": "three\n"});
    let edit = json!({"path": "e", "old_string": "two", "new_string": "", "replace_all": true});
    let first = (world.told("write", write.clone()).await, world.told("edit", edit.clone()).await);
    let files = tree(&world.cwd);
    world.view = view.clone();
    world.attempt = 2;
    let done = world.call("write", write.clone()).await.unwrap();
    let fact = |name: &str, before: &str, after: &str| Fact::FileWritten {
        path: path(&world, name),
        before: Some(digest(before.as_bytes())),
        after: digest(after.as_bytes()),
    };
    let want = [fact("w", old, "three\n"), fact("e", old, "one\n\n\n")];
    assert_eq!((text(&done), &done.facts[..]), (first.0.clone(), &want[..1]));
    let done = world.call("edit", edit.clone()).await.unwrap();
    assert_eq!((text(&done), &done.facts[..]), (first.1.clone(), &want[1..]));
    assert_eq!(tree(&world.cwd), files);
    // Somebody else's change is still that.
    world.view = view;
    world.file("e", "one\ntwo\n");
    assert!(world.told("edit", edit).await.starts_with("failed: stale_file: `e` was changed"));
    // A crash before the rename left a temporary file of this effect: it is cleared away.
    let mut other = World::new();
    other.told("write", json!({"path": "x", "content": "1"})).await;
    let mark = &digest(b"demo/1/1/tool/0").to_string()[..16];
    other.file(&format!(".sterna-{mark}.tmp"), "half");
    assert_eq!(
        other.told("write", json!({"path": "x", "content": "2"})).await,
        "wrote `x` (1 line, 1 bytes)"
    );
    assert_eq!(tree(&other.cwd).into_values().collect::<Vec<_>>(), [b"2"]);
}

#[tokio::test]
async fn edit_replaces_one_or_all() {
    let mut world = World::new();
    // file before, old, new, all, file after, told
    let cases = [
        ("a\nb\n", "b", "c", false, "a\nc\n", "edited `f` at line 2"),
        (
            "b b\nb\n",
            "b",
            "cc",
            true,
            "cc cc\ncc\n",
            "edited `f`: 3 occurrences replaced, the first at line 1",
        ),
        ("a\r\nb\r\n", "a\nb", "x\ny\nz", false, "x\r\ny\r\nz\r\n", "edited `f` at line 1"),
        ("a\r\nb\r\n", "a", "x\ny", false, "x\r\ny\r\nb\r\n", "edited `f` at line 1"),
        (
            "{\n    a();\n}\n",
            "a( );",
            "b();",
            false,
            "",
            "failed: old_string is not in `f`; the nearest line is 2: `a();`",
        ),
        (
            "{\n    if a  {\n    }\n}\n",
            "if a {\n}",
            "if b {\n}",
            false,
            "{\n    if b {\n    }\n}\n",
            "edited `f` at line 2: old_string matched there only when differences in whitespace were ignored, \
             and new_string was given the indentation of the file",
        ),
    ];
    for (before, old, new, all, after, told) in cases {
        world.seen("f", before);
        let args = json!({"path": "f", "old_string": old, "new_string": new, "replace_all": all});
        assert_eq!(world.told("edit", args).await, told, "{before:?}");
        assert_eq!(world.text("f"), if after.is_empty() { before } else { after });
    }
    // The version before is kept.
    world.seen("f", "kept\n");
    world.told("edit", json!({"path": "f", "old_string": "kept", "new_string": "gone"})).await;
    assert_eq!(&world.blobs.get(&digest(b"kept\n")).await.unwrap()[..], b"kept\n");
}

#[tokio::test]
async fn edit_has_an_error_for_each_case() {
    let mut world = World::new();
    world.file("unread", "a\n");
    world.seen("stale", "a\n");
    world.file("stale", "a\nb\n");
    world.seen("f", "x = 1\ny = 2\nx = 1\n z\n  z\n");
    world.seen("latin", b"caf\xe9 a\n");
    let args = |name: &str, old: &str, new: &str| json!({"path": name, "old_string": old, "new_string": new});
    let cases = [
        (
            args("unread", "a", "b"),
            Failed,
            "`unread` exists and was not read in this session; read it first, then change it",
        ),
        (
            args("stale", "a", "b"),
            Failed,
            "stale_file: `stale` was changed since this session last saw it; read it again, then repeat the change",
        ),
        (
            args("f", "", "b"),
            InvalidArguments,
            "old_string is empty; give the text to replace, or make a file with write",
        ),
        (
            args("f", "x", "x"),
            InvalidArguments,
            "old_string and new_string are identical; there is nothing to change",
        ),
        (args("f", "y = 3", "b"), Failed, "old_string is not in `f`; the nearest line is 2: `y = 2`"),
        (
            args("f", "########", "b"),
            Failed,
            "old_string is not in `f`; nothing in it is alike; read the file again",
        ),
        (
            args("f", "x = 1\n", "b"),
            Failed,
            "old_string occurs 2 times in `f` (lines 1, 3); add lines around it to make it unique, or set replace_all",
        ),
        (
            args("f", "\tz\n", "b"),
            Failed,
            "old_string is not in `f` exactly, and 2 places differ from it only in whitespace (lines 4, 5); \
             copy the text exactly as it is in the file",
        ),
        (args("g", "a", "b"), Failed, "`g` does not exist"),
        (
            args("latin", "a", "b"),
            Failed,
            "`latin` is not UTF-8 text (byte 3); change it with shell and a program that knows its encoding",
        ),
    ];
    for (args, status, message) in cases {
        world.refuses("edit", args, status, message).await;
    }
}

/// Between the check and the use somebody puts a symlink where a folder or a file was.
#[tokio::test]
async fn a_swapped_folder_leads_nowhere() {
    let calls = [
        ("read", json!({"path": "dir/f"})),
        ("write", json!({"path": "dir/f", "content": "new"})),
        ("edit", json!({"path": "dir/f", "old_string": "inside", "new_string": "new"})),
        ("list", json!({"path": "dir"})),
        ("glob", json!({"path": "dir", "pattern": "*"})),
        ("grep", json!({"path": "dir", "pattern": "secret"})),
        ("shell", json!({"cwd": "dir", "command": "cat f; touch made"})),
    ];
    for (name, args) in calls {
        let mut world = World::new();
        world.seen("dir/f", "inside\n");
        let target = world.outside().join("target");
        std::fs::create_dir(&target).unwrap();
        std::fs::write(target.join("f"), "secret\n").unwrap();
        let plan = world.plan(name, &args).unwrap();
        std::fs::rename(world.cwd.join("dir"), world.cwd.join("moved")).unwrap();
        symlink(&target, world.cwd.join("dir")).unwrap();
        let before = tree(&world.outside());
        let error = world.call_planned(name, args, plan).await.unwrap_err();
        assert_eq!(error.status, Failed, "{name}");
        assert!(
            error.message.contains("leads to another place than when this call was checked"),
            "{name}: {error}"
        );
        assert_eq!(tree(&world.outside()), before, "{name}");
    }
}
