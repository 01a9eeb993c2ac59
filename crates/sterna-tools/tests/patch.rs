//! apply_patch: all files or none.

// Helpers of tests may unwrap too.
#![allow(clippy::unwrap_used)]

mod common;

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use common::{World, text, tree};
use serde_json::{Value, json};
use sterna_log::{Blobs, digest};
use sterna_model::ToolStatus::{Failed, InvalidArguments};
use sterna_model::{EffectClass, Fact};
use sterna_tool::Access;

fn patch(body: &str) -> Value {
    json!({"patch": format!("*** Begin Patch\n{body}\n*** End Patch")})
}

fn mode(world: &World, name: &str) -> u32 {
    std::fs::metadata(world.cwd.join(name)).unwrap().permissions().mode() & 0o7777
}

fn set_mode(world: &World, name: &str, mode: u32) {
    std::fs::set_permissions(world.cwd.join(name), std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Four files, and a patch that does everything a patch can do.
fn workspace() -> (World, Value) {
    let mut world = World::new();
    world.seen("src/a.rs", "fn a() {}\nfn b() {}\n");
    world.seen("crlf.txt", "one\r\ntwo\r\n");
    world.seen("run.sh", "echo 1\n");
    world.seen("old.txt", "old\n");
    world.file("other.txt", "other\n");
    set_mode(&world, "run.sh", 0o755);
    set_mode(&world, "src/a.rs", 0o600);
    let all = patch(
        "*** Update File: src/a.rs\n@@\n-fn a() {}\n+fn a() -> u8 {\n+    1\n+}\n fn b() {}\n\
         *** Update File: crlf.txt\n@@\n one\n+between\n two\n\
         *** Update File: run.sh\n*** Move to: bin/deep/run\n@@\n-echo 1\n+echo 2\n\
         *** Add File: new/file.txt\n+fresh\n\
         *** Delete File: old.txt",
    );
    (world, all)
}

const AFTER: [(&str, &str); 5] = [
    ("src/a.rs", "fn a() -> u8 {\n    1\n}\nfn b() {}\n"),
    ("crlf.txt", "one\r\nbetween\r\ntwo\r\n"),
    ("bin/deep/run", "echo 2\n"),
    ("new/file.txt", "fresh\n"),
    ("other.txt", "other\n"),
];

/// Names and contents of all files below.
fn files(world: &World) -> Vec<(PathBuf, Vec<u8>)> {
    tree(&world.cwd).into_iter().filter(|(path, _)| path.is_file()).collect()
}

fn assert_applied(world: &World) {
    let mut want: Vec<(PathBuf, Vec<u8>)> =
        AFTER.iter().map(|(name, content)| (world.cwd.join(name), content.as_bytes().to_vec())).collect();
    want.sort();
    assert_eq!(files(world), want);
}

#[tokio::test]
async fn a_patch_adds_updates_moves_and_deletes() {
    let (mut world, all) = workspace();
    let plan = world.plan("apply_patch", &all).unwrap();
    assert_eq!(plan.summary, "patch src/a.rs, crlf.txt, run.sh and 3 more");
    let names = ["src/a.rs", "crlf.txt", "run.sh", "bin/deep/run", "new/file.txt", "old.txt"];
    assert_eq!(plan.accesses, names.map(|name| Access::Write(world.cwd.join(name))));
    let preview = plan.preview.unwrap();
    for part in ["--- src/a.rs\n", "-fn a() {}\n", "run.sh becomes bin/deep/run\n", "+fresh\n", "-old\n"] {
        assert!(preview.contains(part), "{preview}");
    }
    assert_eq!(common::tool("apply_patch").class(&all), EffectClass::Idempotent);
    let done = world.call("apply_patch", all).await.unwrap();
    assert_eq!(
        text(&done),
        "updated `src/a.rs` (1 hunk)\nupdated `crlf.txt` (1 hunk)\nmoved `run.sh` to `bin/deep/run` (1 hunk)\n\
         added `new/file.txt` (1 line)\ndeleted `old.txt`"
    );
    assert_applied(&world);
    assert_eq!((mode(&world, "bin/deep/run"), mode(&world, "src/a.rs")), (0o755, 0o600));
    let path = |name: &str| world.cwd.join(name).to_str().unwrap().to_owned();
    let hash = |text: &str| digest(text.as_bytes());
    let written = |name: &str, before: Option<&str>, after: &str| Fact::FileWritten {
        path: path(name),
        before: before.map(hash),
        after: hash(after),
    };
    let removed =
        |name: &str, before: &str| Fact::FileRemoved { path: path(name), before: Some(hash(before)) };
    assert_eq!(
        done.facts,
        [
            written("src/a.rs", Some("fn a() {}\nfn b() {}\n"), AFTER[0].1),
            written("crlf.txt", Some("one\r\ntwo\r\n"), AFTER[1].1),
            written("bin/deep/run", None, AFTER[2].1),
            removed("run.sh", "echo 1\n"),
            written("new/file.txt", None, AFTER[3].1),
            removed("old.txt", "old\n"),
        ]
    );
    // The versions before are kept.
    assert_eq!(&world.blobs.get(&digest(b"old\n")).await.unwrap()[..], b"old\n");
    // What it wrote may be changed on without another read.
    let more = patch("*** Update File: new/file.txt\n@@\n-fresh\n+fresher");
    assert_eq!(world.told("apply_patch", more).await, "updated `new/file.txt` (1 hunk)");
}

#[tokio::test]
async fn a_patch_has_an_error_for_each_case_and_touches_nothing() {
    let mut world = World::new();
    world.seen("good", "g\n");
    world.file("unread", "a\n");
    world.seen("stale", "a\n");
    world.file("stale", "a\nb\n");
    world.seen("f", "x\ny\nx\n");
    world.seen("latin", b"caf\xe9\n");
    world.seen("dir/f", "d\n");
    symlink("good", world.cwd.join("link")).unwrap();
    // What would work alone stands before each.
    let behind_good =
        |body: &str| patch(&format!("*** Update File: good\n@@\n-g\n+h\n*** Add File: n/w\n+x\n{body}"));
    let cases = [
        (
            "*** Update File: unread\n@@\n-a\n+b",
            Failed,
            "`unread` exists and was not read in this session; read it first, then change it",
        ),
        (
            "*** Delete File: unread",
            Failed,
            "`unread` exists and was not read in this session; read it first, then change it",
        ),
        (
            "*** Update File: stale\n@@\n-a\n+b",
            Failed,
            "stale_file: `stale` was changed since this session last saw it; read it again, then repeat the change",
        ),
        (
            "*** Update File: f\n@@\n-x\n+z",
            Failed,
            "hunk 1 of `f` does not fit: its lines fit in 2 places (lines 1 and 3); give more lines around the change, \
             or `@@` with a line that stands above it",
        ),
        (
            "*** Update File: f\n@@\n-z\n+x",
            Failed,
            "hunk 1 of `f` does not fit: its lines are not in the file (`z`); read it again",
        ),
        (
            "*** Update File: f\n@@\n x\n-y\n+Y\n@@\n-x\n+X\n@@\n-nowhere\n+z",
            Failed,
            "hunk 3 of `f` does not fit: its lines are not in the file (`nowhere`); read it again",
        ),
        ("*** Update File: f\n@@\n-y\n+y", Failed, "`f` already is as the patch would make it"),
        (
            "*** Update File: f\n@@\n+new",
            Failed,
            "hunk 1 of `f` does not fit: it only adds lines and does not say where; give lines around the change, or \
             `@@` with the line above it, or `*** End of File` behind it",
        ),
        (
            "*** Update File: f\n@@\n x\n y",
            InvalidArguments,
            "line 9 of the patch: this hunk changes nothing: it has no line with `+` or `-`",
        ),
        ("*** Add File: f\n+x", Failed, "`f` exists already; change it with `*** Update File:`"),
        (
            "*** Update File: f\n*** Move to: unread",
            Failed,
            "`unread` exists already; change it with `*** Update File:`",
        ),
        ("*** Delete File: gone", Failed, "`gone` does not exist"),
        ("*** Delete File: dir", Failed, "`dir` is a folder; use list to see what is in it"),
        (
            "*** Update File: latin\n@@\n-caf\n+x",
            Failed,
            "`latin` is not UTF-8 text (byte 3); change it with shell and a program that knows its encoding",
        ),
        (
            "*** Delete File: ./good",
            InvalidArguments,
            "`good` is named twice in the patch; put all its changes in one section",
        ),
        (
            "*** Delete File: link",
            InvalidArguments,
            "`link` is a symlink; a patch moves and deletes files only",
        ),
        ("*** Delete File: a\0", InvalidArguments, "the path holds a NUL byte"),
    ];
    for (body, status, message) in cases {
        let whole = if message.starts_with("the path") { message.to_owned() } else { untouched(message) };
        world.refuses("apply_patch", behind_good(body), status, &whole).await;
    }
    world
        .refuses(
            "apply_patch",
            json!({"patch": "diff --git"}),
            InvalidArguments,
            &untouched("line 1 of the patch: a patch begins with the line `*** Begin Patch`"),
        )
        .await;
}

fn untouched(message: &str) -> String {
    // Where the path of a symlink or of a file that is named twice is told, it is told in the same sentence.
    let joint = if message.contains("symlink;") || message.contains("named twice") { ", " } else { "; " };
    format!("{message}{joint}nothing was changed")
}

/// The last file cannot be written: those before it, and the folders that were made, go back.
#[tokio::test]
async fn a_failure_in_the_middle_is_taken_back() {
    let (mut world, all) = workspace();
    world.file("wall", "a file where a folder is wanted");
    let before = (tree(&world.cwd), mode(&world, "run.sh"), mode(&world, "src/a.rs"));
    let body = all["patch"].as_str().unwrap().replace("\n*** End Patch", "");
    let stuck = json!({"patch": format!("{body}\n*** Add File: wall/x\n+y\n*** End Patch")});
    let error = world.call("apply_patch", stuck).await.unwrap_err();
    assert!(error.message.contains("wall/x"), "{error}");
    assert_eq!((tree(&world.cwd), mode(&world, "run.sh"), mode(&world, "src/a.rs")), before);
    // Between the check and the use another program has put a file where one is to be made.
    let plan = world.plan("apply_patch", &all).unwrap();
    let mut context = world.context(plan);
    let (blocker, late) = (world.cwd.join("new/file.txt"), world.blobs.clone());
    context.blobs = std::sync::Arc::new(Late { inner: late, blocker });
    let error = common::tool("apply_patch").call(context, all).await.unwrap_err();
    assert!(error.message.contains("stale_file: `new/file.txt`"), "{error}");
    let mut want = before.0;
    want.insert(world.cwd.join("new"), Vec::new());
    want.insert(world.cwd.join("new/file.txt"), b"not yours".to_vec());
    assert_eq!(
        (tree(&world.cwd), mode(&world, "run.sh"), mode(&world, "src/a.rs")),
        (want, before.1, before.2)
    );
}

/// Makes a file when the last old version is kept: after everything was checked, before the first change.
struct Late {
    inner: std::sync::Arc<common::Memory>,
    blocker: PathBuf,
}

#[async_trait::async_trait]
impl Blobs for Late {
    async fn put(&self, bytes: bytes::Bytes) -> Result<sterna_model::BlobRef, sterna_log::LogError> {
        std::fs::create_dir_all(self.blocker.parent().unwrap()).unwrap();
        std::fs::write(&self.blocker, "not yours").unwrap();
        self.inner.put(bytes).await
    }
    async fn get(&self, hash: &sterna_model::Digest) -> Result<bytes::Bytes, sterna_log::LogError> {
        self.inner.get(hash).await
    }
    async fn has(&self, hash: &sterna_model::Digest) -> Result<bool, sterna_log::LogError> {
        self.inner.has(hash).await
    }
    fn writer(&self) -> Result<Box<dyn sterna_log::BlobWriter>, sterna_log::LogError> {
        self.inner.writer()
    }
}

/// Killed after each of its changes: the next attempt brings the rest.
#[tokio::test]
async fn a_second_attempt_goes_on_where_the_first_was_cut() {
    // What the first attempt had done, in its order.
    let steps: [fn(&World); 6] = [
        |w| drop(w.file("src/a.rs", AFTER[0].1)),
        |w| drop(w.file("crlf.txt", AFTER[1].1)),
        |w| drop(w.file("bin/deep/run", AFTER[2].1)),
        |w| std::fs::remove_file(w.cwd.join("run.sh")).unwrap(),
        |w| drop(w.file("new/file.txt", AFTER[3].1)),
        |w| std::fs::remove_file(w.cwd.join("old.txt")).unwrap(),
    ];
    for done in 0..=steps.len() {
        let (mut world, all) = workspace();
        for old in ["fn a() {}\nfn b() {}\n", "one\r\ntwo\r\n", "echo 1\n", "old\n"] {
            world.blobs.put(bytes::Bytes::from_static(old.as_bytes())).await.unwrap();
        }
        steps[..done].iter().for_each(|step| step(&world));
        world.attempt = 2;
        let done = world.call("apply_patch", all).await.unwrap();
        assert!(text(&done).starts_with("updated `src/a.rs` (1 hunk)\n"), "{done:?}");
        assert_eq!(done.facts.len(), 6);
        assert_applied(&world);
    }
    // Somebody has changed the last one meanwhile: what was done is taken back, and theirs stays.
    let (mut world, all) = workspace();
    let before = tree(&world.cwd);
    for old in ["fn a() {}\nfn b() {}\n", "one\r\ntwo\r\n"] {
        world.blobs.put(bytes::Bytes::from_static(old.as_bytes())).await.unwrap();
    }
    steps[0](&world);
    steps[1](&world);
    world.file("old.txt", "theirs\n");
    world.attempt = 2;
    let error = world.call("apply_patch", all).await.unwrap_err();
    assert!(error.message.starts_with("stale_file: `old.txt`"), "{error}");
    let mut want = before;
    want.insert(world.cwd.join("old.txt"), b"theirs\n".to_vec());
    assert_eq!(tree(&world.cwd), want);
}
