//! Many processes, killed processes, torn files.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Child;
use std::thread;

use super::*;

/// SC-82, the store's part: 8 processes append to one store, and nobody ever sees a lock.
#[test]
fn eight_processes_share_one_store() {
    if let Some((who, dir)) = job() {
        let store = store(&dir);
        for n in 0..200 {
            // One session that all write to, one of its own, and the list, which is nobody's.
            let session = if n % 2 == 0 { "shared".to_owned() } else { format!("own-{who}") };
            send(&store, &session, &format!("{who}-{n}"), &format!("from {who}")).unwrap();
        }
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let main = store(dir.path());
    block_on(open(&main, "shared"));
    (0..8).for_each(|who| drop(block_on(open(&main, &format!("own-{who}")))));
    let name = "tests::crash::eight_processes_share_one_store";
    let children: Vec<Child> =
        (0..8).map(|who| child(name, &who.to_string(), dir.path()).spawn().unwrap()).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(whole(&main, "shared").0, 1 + 8 * 100);
    for who in 0..8 {
        assert_eq!(whole(&main, &format!("own-{who}")).0, 1 + 100);
    }
}

/// Twelve processes that find no store make it once.
#[test]
fn a_store_is_made_once() {
    if let Some((who, dir)) = job() {
        let store = store(&dir);
        block_on(open(&store, &format!("s{who}")));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("not/yet");
    let name = "tests::crash::a_store_is_made_once";
    let children: Vec<Child> =
        (0..12).map(|who| child(name, &who.to_string(), &folder).spawn().unwrap()).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let main = store(&folder);
    (0..12).for_each(|who| assert_eq!(whole(&main, &format!("s{who}")).0, 1));
}

#[test]
fn eight_threads_share_one_store() {
    let dir = tempfile::tempdir().unwrap();
    let main = store(dir.path());
    filled(&main, "shared", 0);
    thread::scope(|scope| {
        for who in 0..8 {
            let main = main.clone();
            scope.spawn(move || {
                for n in 0..50 {
                    send(&main, "shared", &format!("{who}-{n}"), "x").unwrap();
                }
            });
        }
    });
    assert_eq!(whole(&main, "shared").0, 401);
}

/// What a process said was durable is there after SIGKILL, and the log is whole.
#[test]
fn what_was_acknowledged_survives_sigkill() {
    if let Some((round, dir)) = job() {
        let store = store(&dir);
        block_on(open(&store, &format!("s{round}")));
        let sizes = [10, 300, 20_000, 100, 1_200_000, 10, 40_000, 100, 10, 300];
        for (n, size) in sizes.into_iter().cycle().enumerate() {
            // Now and then a body that becomes a blob, and one that becomes a file.
            send(&store, &format!("s{round}"), &n.to_string(), &"x".repeat(size)).unwrap();
            println!("ack {n}");
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..20 {
        let name = "tests::crash::what_was_acknowledged_survives_sigkill";
        let mut writer = child(name, &round.to_string(), dir.path()).spawn().unwrap();
        let said = BufReader::new(writer.stdout.take().unwrap());
        let mut acks = 0;
        for line in said.lines().filter(|line| line.as_ref().unwrap().contains("ack ")) {
            line.unwrap();
            acks += 1;
            if acks == 1 + round * 7 % 13 {
                // Killed after another number of appends each time, somewhere inside one of those that follow. On
                // with reading: what it said before it died counts too.
                writer.kill().unwrap();
            }
        }
        writer.wait().unwrap();
        acknowledged.push(acks);
        let (store, session) = (store(dir.path()), format!("s{round}"));
        let (records, _) = whole(&store, &session);
        assert!((acks + 1..=acks + 2).contains(&records), "{acks} acknowledged, {records} there");
        // The one that was cut is sent again by somebody who does not know, and is there once.
        let size = |n: u64| [10, 300, 20_000, 100, 1_200_000, 10, 40_000, 100, 10, 300][n as usize % 10];
        for _ in 0..2 {
            let receipt = send(&store, &session, &acks.to_string(), &"x".repeat(size(acks))).unwrap();
            assert_eq!(receipt.first, acks + 2);
        }
    }
    let store = store(dir.path());
    for (round, acks) in acknowledged.into_iter().enumerate() {
        assert_eq!(whole(&store, &format!("s{round}")).0, acks + 2);
    }
}

/// SC-46: a write-ahead log that is cut or zeroed anywhere opens, with a whole prefix of the appends.
#[test]
fn a_torn_tail_leaves_a_whole_prefix() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    let first = store(&source);
    filled(&first, "s", 30);
    // As a crash leaves it: copied while the store is open, so nothing is checkpointed.
    let wal = fs::read(source.join("sterna.db-wal")).unwrap();
    let database = fs::read(source.join("sterna.db")).unwrap();
    let mut lengths = BTreeSet::new();
    let step = wal.len() / 30;
    for cut in (0..30).map(|n| n * step + n * 37 % 100) {
        for zeroed in [false, true] {
            let torn = dir.path().join(format!("torn-{cut}-{zeroed}"));
            fs::create_dir(&torn).unwrap();
            fs::write(torn.join("sterna.db"), &database).unwrap();
            let mut tail = wal[..cut.min(wal.len())].to_vec();
            if zeroed {
                tail.resize(wal.len(), 0);
            }
            fs::write(torn.join("sterna.db-wal"), &tail).unwrap();
            lengths.insert(prefix(&torn));
        }
    }
    assert!(lengths.len() > 10 && lengths.contains(&0), "{lengths:?}");
    assert_eq!(whole(&first, "s").0, 31);
}

/// How many records a torn store has; whatever it has is whole and can be written on.
fn prefix(dir: &Path) -> u64 {
    let torn = store(dir);
    match block_on(torn.head(&id("s"))) {
        Ok(head) => {
            assert_eq!(whole(&torn, "s").0, head.seq);
            assert_eq!(send(&torn, "s", "later", "x").unwrap().first, head.seq + 1);
            head.seq
        }
        Err(LogError::NotFound(_)) => {
            block_on(open(&torn, "s"));
            0
        }
        Err(error) => panic!("{error}"),
    }
}
