//! Stores that are full, read-only, damaged or from the future: a clear error, an exit code, and nothing is lost that
//! was durable.

// A test that was not run says so on stdout.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod support;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use support::{Done, World};

const HI: &str = r#"{"text":"the first answer"}"#;

/// The settled events of a session, which must still be whole.
fn kept(world: &World, session: &str) -> Vec<Value> {
    let shown = world.sterna(&["sessions", "show", session, "--json"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    support::event_lines(&shown.out)
}

/// Stdout is empty, and stderr is these two lines.
fn refused(done: &Done, code: i32, error: &str, hint: &str) {
    assert_eq!((done.code, done.out.as_str()), (code, ""), "{}", done.err);
    let mut lines = done.err.lines();
    let (what, way_out) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    assert!(what.starts_with(&format!("error: {error}")), "{}", done.err);
    assert!(way_out.starts_with(&format!("hint: {hint}")), "{}", done.err);
    assert_eq!(lines.next(), None, "{}", done.err);
}

/// Runs `body` where it may mount, if this machine lets anybody: in a mount name space that goes with the process.
fn with_mounts(test: &str, body: impl FnOnce()) {
    const INSIDE: &str = "STERNA_TEST_MAY_MOUNT";
    if std::env::var_os(INSIDE).is_some() {
        body();
        println!("the mounted test ran");
        return;
    }
    let mut command = Command::new("unshare");
    command.args(["-r", "-m"]).arg(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(INSIDE, "1");
    let Ok(output) = command.output() else {
        return println!("{test} was not run: there is no `unshare` to mount a small disk with");
    };
    let (said, why) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !said.contains("running 1 test") || said.contains("this machine lets nobody mount") {
        return println!("{test} was not run: nothing may be mounted here: {why}");
    }
    assert!(output.status.success() && said.contains("the mounted test ran"), "{said}{why}");
}

/// False, and a line that says so, where even this name space may not mount.
fn mount(args: &[&str], at: &Path) -> bool {
    let done = Command::new("mount").args(args).arg(at).output();
    let mounted = done.is_ok_and(|done| done.status.success());
    if !mounted {
        println!("this machine lets nobody mount");
    }
    mounted
}

fn fill(path: &Path) {
    let mut file = fs::File::create(path).unwrap();
    for size in [64 * 1024, 1024, 1] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
}

#[test]
fn on_a_full_disk_nothing_is_lost_and_space_is_asked_for() {
    with_mounts("on_a_full_disk_nothing_is_lost_and_space_is_asked_for", || {
        let world = World::new(HI);
        if !mount(&["-t", "tmpfs", "-o", "size=6m", "tmpfs"], &world.home()) {
            return;
        }
        assert_eq!(world.run(&["--session", "s", "hello"]).code, 0);
        let before = kept(&world, "s");
        let filler = world.home().join("filler");
        fill(&filler);
        // What is there can be read, and nothing new is begun.
        assert_eq!(kept(&world, "s"), before);
        let (full, free) = ("no space left where the store is", "free some space");
        refused(&world.run(&["--session", "s", "more"]), 1, full, free);
        refused(&world.run(&["--session", "new", "more"]), 1, full, free);
        let doctor = world.sterna(&["doctor", "--json"]);
        assert!(doctor.code == 1 && doctor.out.contains("free some space"), "{}", doctor.out);
        assert_eq!(kept(&world, "s"), before);
        fs::remove_file(&filler).unwrap();
        assert_eq!(world.run(&["--session", "s", "more"]).code, 5, "the script has no second answer");
        world.script("{\"text\":\"a\"}\n{\"text\":\"b\"}\n{\"text\":\"c\"}");
        assert_eq!(world.run(&["--session", "s", "more"]).code, 0);
        assert_eq!(kept(&world, "s")[..before.len() - 1], before[..before.len() - 1]);
        assert_eq!(world.sterna(&["sessions", "fsck"]).code, 0);
    });
}

/// The disk becomes full under a turn: the model is told that the output is lost, and the turn ends and is kept.
#[test]
fn a_disk_that_fills_under_a_turn_keeps_what_it_did() {
    with_mounts("a_disk_that_fills_under_a_turn_keeps_what_it_did", || {
        let world = World::new(
            r#"{"calls":[{"name":"shell","arguments":{"command":"echo x >> made; cat /dev/zero > \"$FILLER\"; head -c 4000000 /dev/zero | tr '\\0' y; true"}}]}
{"text":"done"}"#,
        );
        if !mount(&["-t", "tmpfs", "-o", "size=6m", "tmpfs"], &world.home()) {
            return;
        }
        world.config("env_pass = [\"FILLER\"]\n");
        let filler = world.home().join("filler");
        let args = [
            "run",
            "-m",
            "scripted:s.jsonl",
            "--json",
            "--mode",
            "bypass",
            "--sandbox",
            "none",
            "--session",
            "s",
            "go",
        ];
        let done = Done::of(world.command(&args).env("FILLER", &filler).spawn().unwrap());
        // The outcome and the end have the space that the store held back.
        assert_eq!((done.code, done.result()["message"].as_str()), (0, Some("done")), "{}", done.out);
        fs::remove_file(&filler).unwrap();
        let again = world.sterna(&["resume", "s", "--json"]);
        assert_eq!((again.code, again.result()), (0, done.result()));
        // The command ran once, whatever became of its output.
        assert_eq!(support::lines_of(&world.work().join("made")), 1);
        let ended: Vec<Value> =
            kept(&world, "s").into_iter().filter(|event| event["type"] == "tool.ended").collect();
        let output = ended[0]["output"].as_str().unwrap();
        // Its true end is known, and that its output is not whole is told.
        assert_eq!((ended.len(), &ended[0]["status"]), (1, &json!("ok")));
        assert!(output.contains("bytes of its output were lost"), "{output}");
        assert_eq!(world.sterna(&["sessions", "fsck", "s"]).code, 0);
    });
}

/// A limit on the size of files holds for everybody, also where nothing can be mounted.
#[test]
fn a_store_that_may_not_grow_is_told_and_loses_nothing() {
    let world = World::new(HI);
    assert_eq!(world.run(&["--session", "s", "hello"]).code, 0);
    let before = kept(&world, "s");
    // 512-byte blocks: far less than the file has, and than the next turn's records need.
    let limited = "trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\"";
    let mut command = world.command(&[]);
    let sterna = command.get_program().to_owned();
    let envs: Vec<_> = command.get_envs().filter_map(|(k, v)| Some((k.to_owned(), v?.to_owned()))).collect();
    command = Command::new("sh");
    command.args(["-c", limited]).arg(sterna).args([
        "run",
        "-m",
        "scripted:s.jsonl",
        "--session",
        "s",
        "more",
    ]);
    command.current_dir(world.work()).env_clear().envs(envs);
    let output = command.output().unwrap();
    let done = Done {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    };
    refused(&done, 1, "store failed: ", "`sterna doctor` looks at the folders");
    assert_eq!(kept(&world, "s"), before);
    assert_eq!(world.sterna(&["sessions", "fsck", "s"]).code, 0);
    world.script("{\"text\":\"a\"}\n{\"text\":\"b\"}");
    assert_eq!(world.run(&["--session", "s", "more"]).code, 0);
}

#[test]
fn a_read_only_store_is_read_and_says_so() {
    with_mounts("a_read_only_store_is_read_and_says_so", || {
        let world = World::new(HI);
        if !mount(&["-t", "tmpfs", "-o", "size=16m", "tmpfs"], &world.home()) {
            return;
        }
        assert_eq!(world.run(&["--session", "s", "hello"]).code, 0);
        let before = kept(&world, "s");
        assert!(mount(&["-o", "remount,ro"], &world.home()));
        let way_out = "make it writable, or set STERNA_HOME to a folder that is";
        refused(&world.run(&["--session", "s", "more"]), 1, "the store cannot be written: ", way_out);
        refused(&world.run(&["more"]), 1, "the store cannot be written: ", way_out);
        refused(
            &world.sterna(&["sessions", "rename", "s", "x"]),
            1,
            "the store cannot be written: ",
            way_out,
        );
        assert_eq!(world.sterna(&["sessions", "export", "s"]).code, 0);
        assert_eq!(kept(&world, "s"), before);
        let doctor = world.sterna(&["doctor", "--json"]);
        assert!(doctor.code == 1 && doctor.out.contains("cannot be written"), "{}", doctor.out);
        // Without a store it works all the same.
        assert_eq!(world.run(&["--ephemeral", "hello"]).code, 0);
        assert!(mount(&["-o", "remount,rw"], &world.home()));
        world.script("{\"text\":\"a\"}\n{\"text\":\"b\"}");
        assert_eq!(world.run(&["--session", "s", "more"]).code, 0);
    });
}

/// The folder that is worked in may not be written: the tool says so, and the turn goes on.
#[test]
fn a_read_only_workspace_is_the_tools_matter() {
    with_mounts("a_read_only_workspace_is_the_tools_matter", || {
        let world = World::new("");
        let folder = world.work().join("fixed");
        fs::create_dir(&folder).unwrap();
        let script = r#"{"calls":[{"name":"write","arguments":{"path":"a.txt","content":"1"}}]}
{"text":"it cannot be written"}"#;
        fs::write(folder.join("s.jsonl"), script).unwrap();
        if !mount(&["-t", "tmpfs", "tmpfs"], &folder) {
            return;
        }
        fs::write(folder.join("s.jsonl"), script).unwrap();
        assert!(mount(&["-o", "remount,ro"], &folder));
        let done = world.run(&["-C", "fixed", "go"]);
        assert_eq!((done.code, &done.result()["changed_files"]), (0, &json!([])), "{}", done.err);
        let ended = done.events().into_iter().find(|event| event["type"] == "tool.ended").unwrap();
        let output = ended["output"].as_str().unwrap().to_lowercase();
        assert!(ended["status"] == "failed" && output.contains("read-only"), "{ended}");
    });
}

#[test]
fn a_file_where_a_folder_belongs_is_named() {
    let world = World::new(HI);
    let file = world.work().join("file");
    fs::write(&file, "x").unwrap();
    let run = |args: &[&str]| Done::of(world.command(args).env("STERNA_HOME", &file).spawn().unwrap());
    let error = format!("store failed: cannot create the folder {}/data", file.display());
    let way_out = "`sterna doctor` looks at the folders";
    refused(&run(&["run", "-m", "scripted:s.jsonl", "hello"]), 1, &error, way_out);
    let doctor = run(&["doctor"]);
    assert!(doctor.code == 1 && doctor.out.contains("file/data cannot be written"), "{}", doctor.out);
    assert_eq!(fs::read_to_string(&file).unwrap(), "x");
}

/// A page of the file is overwritten: what it held is named, and the rest is whole.
#[test]
fn a_corrupt_page_costs_what_was_on_it() {
    let world = World::new(&format!("{{\"text\":\"{}\"}}", "zebra ".repeat(6_000)));
    assert_eq!(world.run(&["--session", "bad", "go"]).code, 0);
    world.script(HI);
    assert_eq!(world.run(&["--session", "good", "go"]).code, 0);
    let before = kept(&world, "good");
    let file = world.home().join("data/sterna.db");
    let store = rusqlite::Connection::open(&file).unwrap();
    store.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    // The first page in the middle of the long answer.
    let mut query = store
        .prepare("SELECT pageno FROM dbstat WHERE name IN ('records', 'blobs') AND pagetype = 'overflow'")
        .unwrap();
    let pages = query.query_map([], |row| row.get::<_, u32>(0)).unwrap();
    let pages: Vec<usize> = pages.map(|page| page.unwrap() as usize).collect();
    let mut bytes = fs::read(&file).unwrap();
    let holds = |page: usize| bytes[(page - 1) * 4096..page * 4096].windows(11).any(|w| w == b"zebra zebra");
    let page = pages.into_iter().find(|page| holds(*page)).unwrap();
    drop(query);
    drop(store);
    bytes[(page - 1) * 4096..page * 4096].fill(0x5A);
    fs::write(&file, &bytes).unwrap();
    let shown = world.sterna(&["sessions", "show", "bad"]);
    assert_eq!(shown.code, 1, "{}", shown.out);
    assert!(shown.err.contains("damaged") && shown.err.contains("hint: "), "{}", shown.err);
    assert!(shown.err.contains("sterna sessions fsck"), "{}", shown.err);
    for args in [&["resume", "bad"][..], &["run", "-m", "scripted:s.jsonl", "--session", "bad", "more"]] {
        let done = world.sterna(args);
        assert_eq!((done.code, done.out.as_str()), (1, ""), "{args:?}: {}", done.err);
        assert!(done.err.contains("sterna sessions fsck"), "{}", done.err);
    }
    let found = world.sterna(&["sessions", "fsck", "--json"]);
    assert_eq!(found.code, 1);
    let verdicts: Vec<(Value, Value)> = found
        .out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|row| (row["session"].clone(), row["ok"].clone()))
        .collect();
    assert!(verdicts.contains(&(json!("bad"), json!(false))), "{}", found.out);
    assert!(verdicts.contains(&(json!("good"), json!(true))), "{}", found.out);
    assert_eq!(kept(&world, "good"), before);
    // What is whole works on.
    world.script("{\"text\":\"a\"}\n{\"text\":\"b\"}");
    assert_eq!(world.run(&["--session", "good", "more"]).code, 0);
}

#[test]
fn a_store_of_a_newer_version_is_read_and_never_written() {
    let world = World::new(HI);
    assert_eq!(world.run(&["--session", "s", "hello"]).code, 0);
    let before = kept(&world, "s");
    let file = world.home().join("data/sterna.db");
    let store = rusqlite::Connection::open(&file).unwrap();
    store.execute_batch("PRAGMA user_version = 7; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    drop(store);
    let bytes = fs::read(&file).unwrap();
    let newer = "written by a newer version of Sterna (format 7, this one reads up to 3)";
    for args in [
        &["run", "-m", "scripted:s.jsonl", "--session", "s", "more"][..],
        &["run", "-m", "scripted:s.jsonl", "more"],
        &["sessions", "rename", "s", "other"],
        &["sessions", "delete", "s", "--yes"],
    ] {
        refused(&world.sterna(args), 1, newer, "upgrade Sterna; until then");
    }
    // As the hint says.
    assert_eq!(kept(&world, "s"), before);
    assert_eq!(world.sterna(&["sessions", "export", "s"]).code, 0);
    assert_eq!(world.sterna(&["sessions", "list"]).code, 0);
    let doctor = world.sterna(&["doctor", "--json"]);
    assert!(doctor.code == 1 && doctor.out.contains("written by a newer version"), "{}", doctor.out);
    assert_eq!(fs::read(&file).unwrap(), bytes);
}

/// The store is of this version, and one record is of a later one: what comes before it is shown.
#[test]
fn a_record_of_a_newer_version_ends_what_can_be_read() {
    let world = World::new(HI);
    assert_eq!(world.run(&["--session", "s", "hello"]).code, 0);
    let store = rusqlite::Connection::open(world.home().join("data/sterna.db")).unwrap();
    let of = |column: &str, seq: i64| -> Vec<u8> {
        let text = format!("SELECT {column} FROM records WHERE seq = {seq}");
        store.query_row(&text, [], |row| row.get(0)).unwrap()
    };
    let row = String::from_utf8(of("data", 4)).unwrap().replacen(
        &format!("\"v\":{}", sterna_model::RECORD_VERSION),
        "\"v\":9",
        1,
    );
    let prev: [u8; 32] = of("hash", 3).try_into().unwrap();
    let hash = sterna_log::chain(&sterna_model::Digest(prev), row.as_bytes());
    store
        .execute("UPDATE records SET data = ?1, hash = ?2 WHERE seq = 4", (row.as_bytes(), &hash.0[..]))
        .unwrap();
    let shown = world.sterna(&["sessions", "show", "s"]);
    assert_eq!(shown.code, 1, "{}", shown.out);
    assert!(shown.out.contains("> hello"), "{}", shown.out);
    assert!(shown.err.contains("newer version") && shown.err.contains("hint: upgrade"), "{}", shown.err);
    let done = world.run(&["--session", "s", "more"]);
    assert_eq!((done.code, done.out.as_str()), (1, ""), "{}", done.err);
    assert!(done.err.contains("newer version") && done.err.contains("hint: upgrade"), "{}", done.err);
    let found = world.sterna(&["sessions", "fsck", "s"]);
    assert!(found.code == 1 && found.out.contains("damaged at record 4"), "{}", found.out);
}
