//! list, glob and grep.

// Helpers of tests may unwrap too.
#![allow(clippy::unwrap_used)]

mod common;

use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

use common::World;
use serde_json::{Value, json};
use sterna_model::ToolStatus::{Failed, InvalidArguments};

fn world() -> World {
    let world = World::new();
    world.file(".gitignore", "out/\n");
    world.file(".env", "KEY=secret\n");
    world.file("a.rs", "fn a() {}\nlet x = 1;\n// end\n");
    world.file("src/b.rs", "fn b() {}\n\n\n\nfn c() {}\n");
    world.file("src/deep/c.txt", "no function\n");
    world.file("out/gen.rs", "fn generated() {}\n");
    world.file("bin", b"fn \0 binary\n");
    symlink("/etc", world.cwd.join("link")).unwrap();
    world
}

async fn check(world: &mut World, tool: &str, cases: &[(Value, &str)]) {
    for (args, want) in cases {
        assert_eq!(world.told(tool, args.clone()).await, *want, "{tool} {args}");
    }
}

#[tokio::test]
async fn list_shows_a_folder() {
    let mut world = world();
    let cases = [
        (json!({}), "a.rs\t28\nbin\t12\nlink -> /etc\nout/\nsrc/\n"),
        (json!({"path": "src", "depth": 2}), "b.rs\t23\ndeep/\ndeep/c.txt\t12\n"),
        (json!({"depth": 2}), "a.rs\t28\nbin\t12\nlink -> /etc\nsrc/\nsrc/b.rs\t23\nsrc/deep/\n"),
        (
            json!({"hidden": true, "limit": 2}),
            "[2 of 7 entries; list a folder below, or use glob]\n.env\t11\n.gitignore\t5\n",
        ),
        (json!({"path": "no"}), "failed: `no` does not exist"),
        (json!({"path": "a.rs"}), "failed: `a.rs` is not a folder"),
        (json!({"depth": 6}), "invalid_arguments: depth is 1 to 5, limit 1 to 1000"),
        (json!({"limit": 0}), "invalid_arguments: depth is 1 to 5, limit 1 to 1000"),
    ];
    check(&mut world, "list", &cases).await;
    std::fs::create_dir(world.cwd.join("void")).unwrap();
    check(&mut world, "list", &[(json!({"path": "void"}), "`void` has nothing to show")]).await;
}

#[tokio::test]
async fn glob_finds_files_newest_first() {
    let mut world = world();
    let ages = [("a.rs", 30), ("src/b.rs", 20), ("src/deep/c.txt", 10)];
    for (name, age) in ages {
        let file = std::fs::File::options().write(true).open(world.cwd.join(name)).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 - age)).unwrap();
    }
    let cases = [
        (json!({"pattern": "*.rs"}), "src/b.rs\na.rs"),
        (json!({"pattern": "**/*.{rs,txt}"}), "src/deep/c.txt\nsrc/b.rs\na.rs"),
        (json!({"pattern": "src/*"}), "src/b.rs"),
        (json!({"pattern": "*.txt", "path": "src"}), "src/deep/c.txt"),
        (
            json!({"pattern": "**/*.{rs,txt}", "limit": 1}),
            "[files 1–1 of 3; offset 1 shows more]\nsrc/deep/c.txt",
        ),
        (json!({"pattern": "**/*.{rs,txt}", "offset": 2}), "[files 3–3 of 3]\na.rs"),
        (json!({"pattern": "*.rs", "offset": 9}), "[2 files match; offset 9 is past the last]"),
        (json!({"pattern": ".env"}), ".env"),
        (json!({"pattern": "*.no"}), "no file matches `*.no` in `.`"),
        (
            json!({"pattern": "../*"}),
            "invalid_arguments: pattern `../*` is not relative to a folder; give the folder as path and the rest as pattern",
        ),
        (json!({"pattern": "a.rs", "path": "a.rs"}), "failed: `a.rs` is not a folder"),
    ];
    check(&mut world, "glob", &cases).await;
    let told = world.told("glob", json!({"pattern": "[a"})).await;
    assert!(told.starts_with("invalid_arguments: pattern `[a`: "), "{told}");
}

#[tokio::test]
async fn grep_finds_lines() {
    let mut world = world();
    let cases = [
        (json!({"pattern": "fn [a-z]\\("}), "a.rs\n1:fn a() {}\nsrc/b.rs\n1:fn b() {}\n5:fn c() {}\n"),
        (json!({"pattern": "FN A"}), "no match for `FN A` in `.` (3 files searched, 1 binary file skipped)"),
        (json!({"pattern": "FN A", "case_insensitive": true}), "a.rs\n1:fn a() {}\n"),
        (json!({"pattern": "fn", "mode": "files"}), "a.rs\nsrc/b.rs\n"),
        (json!({"pattern": "fn", "mode": "count"}), "a.rs:1\nsrc/b.rs:2\n"),
        (json!({"pattern": "x =", "context": 1}), "a.rs\n1-fn a() {}\n2:let x = 1;\n3-// end\n"),
        (
            json!({"pattern": "fn", "path": "src", "context": 1}),
            "src/b.rs\n1:fn b() {}\n2-\n--\n4-\n5:fn c() {}\n",
        ),
        (json!({"pattern": "fn", "path": "src/b.rs"}), "src/b.rs\n1:fn b() {}\n5:fn c() {}\n"),
        (json!({"pattern": "f", "glob": "*.txt"}), "src/deep/c.txt\n1:no function\n"),
        (json!({"pattern": "f", "type": "txt"}), "src/deep/c.txt\n1:no function\n"),
        (json!({"pattern": "1;\n// e", "multiline": true}), "a.rs\n2:let x = 1;\n3:// end\n"),
        (
            json!({"pattern": "fn", "limit": 2}),
            "[the first 2 matches after offset 0; there are more, offset 2 shows them]\na.rs\n1:fn a() {}\nsrc/b.rs\n1:fn b() {}\n",
        ),
        (json!({"pattern": "fn", "offset": 2}), "src/b.rs\n5:fn c() {}\n"),
        (json!({"pattern": "fn", "offset": 2, "context": 1}), "src/b.rs\n4-\n5:fn c() {}\n"),
        (json!({"pattern": "fn", "offset": 3}), "[nothing from offset 3 on: there are 3 to show]"),
        (
            json!({"pattern": "fn", "mode": "files", "limit": 1}),
            "[the first 1 files after offset 0; there are more, offset 1 shows them]\na.rs\n",
        ),
        (json!({"pattern": "secret", "path": ".env"}), ".env\n1:KEY=secret\n"),
        // Policy judged the folder, not this file.
        (json!({"pattern": "secret", "glob": ".env"}), "no match for `secret` in `.` (0 files searched)"),
        (json!({"pattern": "fn", "path": "no"}), "failed: `no` does not exist"),
        (
            json!({"pattern": "fn", "type": "no"}),
            "invalid_arguments: `no` is not a known file type; use glob",
        ),
    ];
    check(&mut world, "grep", &cases).await;
    let told = world.told("grep", json!({"pattern": "("})).await;
    assert!(told.starts_with("invalid_arguments: pattern: ") && told.contains("unclosed group"), "{told}");
    world
        .refuses(
            "grep",
            json!({"pattern": "a", "mode": "all"}),
            InvalidArguments,
            "unknown variant `all`, expected one of `content`, `files`, `count`",
        )
        .await;
    world.refuses("list", json!({"path": "bin/x"}), Failed, "`bin/x` is not a folder").await;
}

#[tokio::test]
async fn grep_is_bounded_in_lines_and_width() {
    let mut world = World::new();
    world.file("many", "hit\n".repeat(300));
    let told = world.told("grep", json!({"pattern": "hit", "limit": 1000})).await;
    assert_eq!(told.lines().count(), 252, "a note, a name and 250 matches");
    world.file("many", format!("{}é hit {}\n", "é".repeat(1000), "z".repeat(1000)));
    let told = world.told("grep", json!({"pattern": "hit"})).await;
    // 500 characters: 100 before the match and 400 from it on.
    let line = format!("…{} hit {}…", "é".repeat(99), "z".repeat(396));
    assert_eq!(told, format!("many\n1:{line}\n"));
}

#[tokio::test]
async fn a_cancelled_search_stops() {
    let mut world = world();
    world.cancel.cancel();
    for (tool, args) in
        [("list", json!({})), ("glob", json!({"pattern": "*"})), ("grep", json!({"pattern": "a"}))]
    {
        assert_eq!(world.told(tool, args).await, "cancelled: cancelled");
    }
}
