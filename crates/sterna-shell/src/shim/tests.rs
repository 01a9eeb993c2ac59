//! The format on disk, and every state that a crash may leave there.

use std::collections::BTreeMap;
use std::fs;

use proptest::prelude::*;
use sterna_model::Digest;

use super::format::{FormatError, decode, encode};
use super::plan::{AtCap, Cause, Exit, How, Input, Leftovers, Plan, PlanFile, Run};
use super::spool::{Claim, Spool, SpoolError, Started, State, Won};
use crate::Limits;

fn plan_file() -> PlanFile {
    PlanFile {
        key: "demo/3/12/tool/2".parse().unwrap(),
        attempt: 1,
        created_at: 1_700_000_000_000,
        plan: Plan {
            run: Run::Shell { line: "echo \"é\"; exit 3".into() },
            cwd: "/work".into(),
            env: BTreeMap::from([("PATH".into(), "/bin".into())]),
            input: Some(Input { text: "one\n".into(), open: true }),
            limits: Limits { cpu_seconds: Some(9), ..Limits::default() },
            confine: None,
            time_limit_ms: Some(120_000),
            grace_ms: 2_000,
            output_cap: 1 << 30,
            at_cap: AtCap::End,
            leftovers: Leftovers::Leave,
            bound: false,
            job: false,
            terminal: None,
        },
    }
}

fn started() -> Started {
    Started { at: 1_700_000_000_001, pid: 4711, boot: "b00t".into() }
}

fn exit() -> Exit {
    Exit {
        how: How::Code(3),
        cause: Cause::Itself,
        started_at: 1_700_000_000_002,
        ended_at: 1_700_000_000_010,
        duration_ms: 8,
        bytes: 3,
        dropped: 0,
        hash: Digest(*blake3::hash("é\n".as_bytes()).as_bytes()),
        left_behind: 1,
        denied: Vec::new(),
    }
}

/// Every kind of file, as version 1 has written it. These bytes never change; a new version gets a folder of its own.
#[test]
fn the_files_of_version_1_are_read_and_written_as_ever() {
    fn check<T>(kind: &'static str, golden: &str, value: T)
    where
        T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
    {
        assert_eq!(decode::<T>(kind, golden.as_bytes()).unwrap(), value);
        assert_eq!(String::from_utf8(encode(kind, &value).unwrap()).unwrap(), golden);
    }
    check("plan", include_str!("../../tests/golden/spool-v1/plan"), plan_file());
    check("claim", include_str!("../../tests/golden/spool-v1/claim-started"), Claim::Started(started()));
    check(
        "claim",
        include_str!("../../tests/golden/spool-v1/claim-revoked"),
        Claim::Revoked { at: 1_700_000_000_003 },
    );
    check("exited", include_str!("../../tests/golden/spool-v1/exited"), exit());
    // A hash of the name alone, so that every version finds it.
    let key = plan_file().key;
    assert_eq!(Spool::name(&key, 1), "173e7eecf8d0d788c67acbd436a47424");
    assert_ne!(Spool::name(&key, 1), Spool::name(&key, 2));
}

#[test]
fn a_newer_version_is_named_and_another_kind_refused() {
    let text = "sterna-spool 2 exited\n{}\n";
    let newer = format!("{text}{}\n", sterna_log::digest(text.as_bytes()));
    let read = decode::<Exit>("exited", newer.as_bytes());
    assert_eq!(read, Err(FormatError::Newer { kind: "exited", version: 2 }));
    let claim = encode("claim", &Claim::Started(started())).unwrap();
    assert_eq!(decode::<Exit>("exited", &claim), Err(FormatError::Damaged { kind: "exited" }));
}

#[test]
fn a_file_cut_or_changed_at_any_byte_is_found_out() {
    fn check<T: serde::de::DeserializeOwned + std::fmt::Debug>(kind: &'static str, bytes: &[u8]) {
        for at in 0..bytes.len() {
            assert!(decode::<T>(kind, &bytes[..at]).is_err(), "{kind} cut at {at}");
            for bit in 0..8 {
                let mut changed = bytes.to_vec();
                changed[at] ^= 1 << bit;
                assert!(decode::<T>(kind, &changed).is_err(), "{kind} bit {bit} of {at}");
            }
        }
    }
    check::<PlanFile>("plan", &encode("plan", &plan_file()).unwrap());
    check::<Claim>("claim", &encode("claim", &Claim::Started(started())).unwrap());
    check::<Exit>("exited", &encode("exited", &exit()).unwrap());
}

/// What recovery says of the folder that a crash between two system calls of the shim or the runtime has left.
#[test]
fn every_state_between_two_system_calls_has_its_answer() {
    let plan = encode("plan", &plan_file()).unwrap();
    let claim = encode("claim", &Claim::Started(started())).unwrap();
    let end = encode("exited", &exit()).unwrap();
    let room = vec![b' '; 2048];
    let half = |bytes: &[u8]| bytes[..bytes.len() / 2].to_vec();
    let over = |bytes: &[u8]| [bytes, &room[bytes.len()..]].concat();
    let (never, doubt, ended) = (State::Revoked, State::Dead(Some(started())), State::Exited(exit()));
    // A file and its bytes, or what it becomes; and the answer from then on.
    enum Does {
        Write(Vec<u8>),
        Rename(&'static str),
        Remove,
    }
    use Does::{Remove, Rename, Write};
    let steps = [
        ("plan.tmp", Write(vec![]), &never),
        ("plan.tmp", Write(half(&plan)), &never),
        ("plan.tmp", Write(plan.clone()), &never),
        ("plan.tmp", Rename("plan"), &never),
        ("lock", Write(vec![]), &never),
        ("control", Write(vec![]), &never),
        ("output", Write(vec![]), &never),
        ("exited.tmp", Write(half(&room)), &never),
        ("exited.tmp", Write(room.clone()), &never),
        ("claim.9.0.tmp", Write(half(&claim)), &never),
        ("claim.9.0.tmp", Write(claim.clone()), &never),
        ("claim.9.0.tmp", Rename("claim"), &doubt),
        ("claim.9.0.tmp", Remove, &doubt),
        ("output", Write(b"\xc3".to_vec()), &doubt),
        ("output", Write("é\n".as_bytes().to_vec()), &doubt),
        ("exited.tmp", Write(over(&half(&end))), &doubt),
        ("exited.tmp", Write(over(&end)), &doubt),
        ("exited.tmp", Write(end.clone()), &doubt),
        ("exited.tmp", Rename("exited"), &ended),
    ];
    for count in 0..=steps.len() {
        let root = tempfile::tempdir().unwrap();
        let spool = Spool::of(root.path(), &plan_file().key, 1);
        let mut want = &never;
        for (name, does, answer) in &steps[..count] {
            want = answer;
            fs::create_dir_all(spool.dir()).unwrap();
            let path = spool.dir().join(name);
            match does {
                Write(bytes) => fs::write(path, bytes).unwrap(),
                Rename(to) => fs::rename(path, spool.dir().join(to)).unwrap(),
                Remove => drop(fs::remove_file(path)),
            }
        }
        for again in 0..2 {
            spool.ensure().unwrap();
            spool.revoke().unwrap();
            assert_eq!(&spool.state().unwrap(), want, "after {count} steps, asked {again}");
        }
        // Whatever was found, nobody can claim it now.
        assert_eq!(
            spool.claim(&Claim::Started(started()), || ()).unwrap(),
            Won::Other,
            "after {count} steps"
        );
    }
}

#[test]
fn one_claim_is_won_however_many_try() {
    for _ in 0..20 {
        let root = tempfile::tempdir().unwrap();
        let spool = Spool::of(root.path(), &plan_file().key, 1);
        spool.create(&plan_file()).unwrap();
        assert!(matches!(spool.create(&plan_file()), Err(SpoolError::Exists)));
        let gate = std::sync::Barrier::new(4);
        let wins = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..4)
                .map(|who| {
                    let (spool, gate) = (&spool, &gate);
                    scope.spawn(move || {
                        gate.wait();
                        let won = if who % 2 == 0 {
                            spool.revoke()
                        } else {
                            spool.claim(&Claim::Started(started()), || ())
                        };
                        (who, won.unwrap())
                    })
                })
                .collect();
            tries
                .into_iter()
                .map(|t| t.join().unwrap())
                .filter(|(_, won)| *won == Won::Me)
                .collect::<Vec<_>>()
        });
        let [(who, _)] = wins[..] else { panic!("{wins:?}") };
        let revoked = spool.state().unwrap() == State::Revoked;
        assert_eq!(revoked, who % 2 == 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A spool with any bytes in any file is looked at without a panic, and never believed.
    #[test]
    fn any_bytes_are_no_answer(
        files in proptest::collection::vec(("(plan|claim|exited|lock|output)", proptest::collection::vec(any::<u8>(), 0..200)), 1..5),
    ) {
        let root = tempfile::tempdir().unwrap();
        let spool = Spool::of(root.path(), &plan_file().key, 1);
        fs::create_dir_all(spool.dir()).unwrap();
        for (name, bytes) in &files {
            fs::write(spool.dir().join(name), bytes).unwrap();
        }
        prop_assert!(spool.plan().is_err());
        let claimed = files.iter().any(|(name, _)| name == "claim");
        prop_assert_eq!(spool.state().unwrap(), if claimed { State::Dead(None) } else { State::Open });
    }

    /// Files of a true spool cut anywhere: what is then said was true of the whole one, or is a doubt.
    #[test]
    fn a_spool_cut_anywhere_says_nothing_false(claim_cut in 0usize..300, exit_cut in 0usize..600) {
        let root = tempfile::tempdir().unwrap();
        let spool = Spool::of(root.path(), &plan_file().key, 1);
        spool.create(&plan_file()).unwrap();
        let claim = encode("claim", &Claim::Started(started())).unwrap();
        let end = encode("exited", &exit()).unwrap();
        fs::write(spool.dir().join("claim"), &claim[..claim_cut.min(claim.len())]).unwrap();
        fs::write(spool.dir().join("exited"), &end[..exit_cut.min(end.len())]).unwrap();
        let who = (claim_cut >= claim.len()).then(started);
        let want = if exit_cut >= end.len() { State::Exited(exit()) } else { State::Dead(who) };
        prop_assert_eq!(spool.state().unwrap(), want);
    }
}

/// The output, cut or changed after its end was written: the end stays true, and the reader says that it is not whole.
#[test]
fn output_cut_anywhere_is_read_and_told() {
    use super::handle::{End, Event, Handle};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let root = tempfile::tempdir().unwrap();
    let spool = Spool::of(root.path(), &plan_file().key, 1);
    spool.create(&plan_file()).unwrap();
    spool.claim(&Claim::Started(started()), || ()).unwrap();
    spool.publish_exit(&exit(), || ()).unwrap();
    let outputs: [(&[u8], bool); 6] = [
        (b"", false),
        (b"\xc3", false),
        (b"\xc3\xa9", false),
        (b"\xc3\xa9\n", true),
        (b"e!\n", false),
        (b"\xc3\xa9\nx", false),
    ];
    for (bytes, want) in outputs {
        fs::write(spool.dir().join("output"), bytes).unwrap();
        let (read, end) = runtime.block_on(async {
            let mut handle = Handle::open(spool.clone(), None, None);
            let mut read = Vec::new();
            loop {
                match handle.next().await.unwrap() {
                    Event::Output(bytes) => read.extend(bytes),
                    Event::End(end) => return (read, end),
                }
            }
        });
        assert_eq!(read, bytes);
        assert_eq!(end, End::Exited { exit: exit(), whole: want }, "{bytes:?}");
    }
}
