//! No space left.

use std::fs;
use std::path::PathBuf;

use sterna_log::conformance::{driven, open_leased};
use sterna_log::{Blobs, conformance};
use sterna_model::{Body, Draft, Seq};

use super::*;

/// The file may not grow: refused whole, with a hint, and what is there stays.
#[test]
fn a_full_file_is_told_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { max_pages: Some(240), ..Options::default() };
    let main = SqliteStore::open(dir.path(), options).unwrap();
    block_on(open(&main, "s"));
    let mut sent = 0;
    let error = loop {
        match send(&main, "s", &sent.to_string(), &"x".repeat(9_000)) {
            Ok(_) => sent += 1,
            Err(error) => break error,
        }
    };
    assert!(sent > 3, "{sent}");
    assert!(matches!(&error, LogError::DiskFull(text) if text.contains("free some space")), "{error}");
    assert!(matches!(block_on(main.put(vec![1; 500_000].into())), Err(LogError::DiskFull(_))));
    assert_eq!(whole(&main, "s").0, 1 + sent);
    drop(main);
    let main = store(dir.path());
    send(&main, "s", "later", &"x".repeat(9_000)).unwrap();
    assert_eq!(whole(&main, "s").0, 2 + sent);
}

/// One that does not fit is no reason to refuse the others of its group.
#[test]
fn one_that_does_not_fit_fails_alone() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { max_pages: Some(480), ..Options::default() };
    let main = SqliteStore::open(dir.path(), options).unwrap();
    let (_, fence) = block_on(open_leased(&main, "s", "a"));
    block_on(open_leased(&main, "t", "a"));
    let thick = |session: &str, text: String| driven(session, 1, fence, "x", vec![stop(&text)]);
    let (small, large) = block_on(async {
        let mut big = thick("t", "large".into());
        big.blobs = vec![vec![7; 900_000].into()];
        futures::join!(main.append(thick("s", "small".into())), main.append(big))
    });
    assert!(matches!(large, Err(LogError::DiskFull(_))), "{large:?}");
    assert_eq!(small.unwrap().last, 2);
}

/// A real full disk: new inputs are refused, the outcome and the stop of what runs are written, and when there is
/// space again all goes on.
#[test]
fn on_a_full_disk_outcomes_are_still_written() {
    if let Some((_, dir)) = job() {
        return full_disk(&dir);
    }
    let dir = tempfile::tempdir().unwrap();
    let name = "tests::full::on_a_full_disk_outcomes_are_still_written";
    let mount = "mount -t tmpfs -o size=6m tmpfs \"$STERNA_SQLITE_TEST_DIR\" && exec \"$@\"";
    // A file system of its own, in a name space that goes with the process.
    let exe = std::env::current_exe().unwrap();
    let mut command = Command::new("unshare");
    command.args(["-r", "-m", "sh", "-c", mount, "sh"]).arg(exe);
    command.args(["--exact", name, "--nocapture"]).env(JOB, "full").env(DIR, dir.path());
    let Ok(output) = command.output() else {
        return println!("skipped: there is no `unshare` to mount a small disk with");
    };
    let said = String::from_utf8_lossy(&output.stdout);
    if !said.contains("running 1 test") {
        return println!(
            "skipped: no small disk can be mounted: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("the full disk was seen"), "{said}");
}

fn full_disk(dir: &Path) {
    let main = store(dir);
    let (_, fence) = block_on(open_leased(&main, "s", "a"));
    let filler = fill(dir);
    let error = (0..2_000).find_map(|n| send(&main, "s", &n.to_string(), &"x".repeat(9_000)).err()).unwrap();
    assert!(matches!(&error, LogError::DiskFull(text) if text.contains("free some space")), "{error}");
    let mut head: Seq = block_on(main.head(&id("s"))).unwrap().seq;
    // The outcome of an effect that ran, and the stop: they use the space held back.
    for n in 0..4 {
        let outcome = driven("s", head, fence, &format!("out:{n}"), vec![stop(&"y".repeat(12_000))]);
        head = block_on(main.append(outcome)).unwrap().last;
    }
    assert!(!dir.join("reserve").exists());
    for _ in 0..3 {
        let error = send(&main, "s", "new", "x").unwrap_err();
        assert!(matches!(error, LogError::DiskFull(_)), "{error}");
        let error = block_on(main.append(conformance::append(
            "n",
            Expect::New(None),
            "open",
            vec![conformance::opened("n")],
        )));
        assert!(matches!(error, Err(LogError::DiskFull(_))), "{error:?}");
    }
    block_on(main.release(&id("s"), fence)).unwrap();
    // Large bytes go to files, and those do not fit either; nothing stays behind.
    let error = block_on(main.put(vec![1; 3 << 20].into())).unwrap_err();
    assert!(matches!(error, LogError::DiskFull(_)), "{error}");
    assert_eq!(fs::read_dir(dir.join("blobs/tmp")).map_or(0, Iterator::count), 0);
    assert_eq!(whole(&main, "s").0, head);
    fs::remove_file(filler).unwrap();
    send(&main, "s", "new", "x").unwrap();
    assert!(dir.join("reserve").exists(), "the space is held back again");
    assert_eq!(whole(&main, "s").0, head + 1);
    drop(main);
    assert_eq!(whole(&store(dir), "s").0, head + 1);
    println!("the full disk was seen");
}

/// A record that ends something, and is worth the space held back.
fn stop(reason: &str) -> Draft {
    let body = Body::CancelRequested { turn: 1, request: "r".into(), by: "t".into(), reason: reason.into() };
    Draft { at: 1, turn: None, step: None, body }
}

/// Leaves a few hundred kilobytes.
fn fill(dir: &Path) -> PathBuf {
    let path = dir.join("filler");
    fs::write(&path, vec![1u8; 3_900_000]).unwrap();
    path
}
