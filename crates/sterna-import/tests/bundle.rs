//! Bundles: what goes out comes in again, and what was changed in any way does not.

#![allow(clippy::unwrap_used)]

use std::io::Cursor;

use bytes::Bytes;
use futures::executor::block_on;
use proptest::prelude::*;
use serde_json::{Value, json};
use sterna_import::{Bundle, BundleError, ImportError, Imported, NewSession, salvage, write_bundle};
use sterna_log::{Append, DamageKind, Expect, Fsck, Log, LogError, MemoryLog, digest, verify};
use sterna_model::{
    Approval, Billed, BlobRef, Body, ChildEnd, ChildRef, ChildTurn, Delivery, Digest, Draft, EffectClass,
    EffectKey, EffectKind, EffectResult, Fact, Given, Grant, GrantScope, InDoubtPolicy, InputAccepted,
    InputPart, Intended, Intent, Manifest, Mode, ModelIntent, ModelOutcome, ModelStop, OnAsk, Outcome,
    Parent, Part, PromptPart, Route, Ruling, SessionId, SessionOpened, Span, Spawned, Stability, StopReason,
    TodoItem, TodoStatus, ToolCall, ToolIntent, ToolOutcome, ToolStatus, Transition, TurnCommitted,
    TurnOutcome, TurnStarted, Usage, WaitOn, WaitOpened,
};

/// Ids that stand nowhere else in the records.
const OLD: &str = "ancient-otter";
const NEW: &str = "recent-otter";

fn id(text: &str) -> SessionId {
    SessionId::new(text).unwrap()
}

fn route() -> Route {
    Route { provider: "p".into(), model: "m".into() }
}

fn new(name: &str) -> NewSession {
    NewSession { id: id(name), folder: Some("/w".into()), mode: Mode::Ask, now: 99, sterna: "9".into() }
}

/// A log with a bit of everything, its blobs, and the turn that its last record leaves open.
struct Reference {
    drafts: Vec<Draft>,
    blobs: Vec<Bytes>,
}

impl Reference {
    fn new(session: &str, words: &str, parent: Option<Parent>) -> Self {
        let mut of = Self { drafts: Vec::new(), blobs: Vec::new() };
        let session = id(session);
        let key =
            |turn, step, kind, ordinal| EffectKey { session: session.clone(), turn, step, kind, ordinal };
        of.push(
            None,
            Body::SessionOpened(SessionOpened {
                id: session.clone(),
                parent: parent.clone(),
                root: "/w".into(),
                cwd: "/w".into(),
                route: route(),
                mode: Mode::Bypass,
                sterna: "0".into(),
                spawned: None,
            }),
        );
        let part = of.blob(words.as_bytes());
        let manifest = Manifest {
            v: 1,
            parts: vec![PromptPart {
                name: "x".into(),
                owner: "x".into(),
                stability: Stability::Stable,
                text: part,
            }],
            tools: vec![],
        };
        let manifest = of.blob(&serde_json::to_vec(&manifest).unwrap()).hash;
        for turn in 1..=2 {
            let tool = key(turn, 1, EffectKind::Tool, 0);
            let input = of.push(
                None,
                Body::InputAccepted(InputAccepted {
                    key: Some(format!("k{turn}")),
                    delivery: Delivery::NextTurn,
                    parts: vec![InputPart::Text(format!("{words} {turn}"))],
                    origin: "test".into(),
                    given: None,
                    ended: None,
                    compact: None,
                    tainted: Vec::new(),
                }),
            );
            of.push(
                Some((turn, None)),
                Body::TurnStarted(Box::new(TurnStarted {
                    inputs: vec![input],
                    given: Given {
                        mode: Mode::Bypass,
                        on_ask: OnAsk::Park,
                        in_doubt: InDoubtPolicy::Rerun,
                        cwd: "/elsewhere".into(),
                        ..Given::new(route(), "/")
                    },
                    now: 5,
                })),
            );
            of.push(
                Some((turn, Some(1))),
                Body::Intent(Box::new(Intent {
                    key: key(turn, 1, EffectKind::Model, 0),
                    class: EffectClass::AtMostOnce,
                    attempt: 1,
                    what: Intended::Model(ModelIntent {
                        route: route(),
                        transition: Transition::Input,
                        inputs: vec![],
                        history: vec![Span {
                            session: parent.as_ref().map(|parent| parent.session.clone()),
                            from: 1,
                            to: 1,
                        }],
                        manifest,
                        tools_off: false,
                        max_output: 1,
                        encoder: "e/1".into(),
                        request: Digest::ZERO,
                        bytes: 0,
                        prefix: None,
                        prefix_broken: Vec::new(),
                        left_out: 0,
                        schema_native: false,
                        files: None,
                        thinking: None,
                    }),
                })),
            );
            of.push(
                Some((turn, Some(1))),
                Body::Outcome(Box::new(Outcome {
                    key: key(turn, 1, EffectKind::Model, 0),
                    attempt: 1,
                    result: EffectResult::Model(ModelOutcome {
                        parts: vec![
                            Part::Text(words.into()),
                            Part::ToolCall(ToolCall {
                                id: "c".into(),
                                name: "shell".into(),
                                arguments: "{}".into(),
                                truncated: false,
                            }),
                        ],
                        stop: ModelStop::ToolCalls,
                        classes: vec![EffectClass::Idempotent],
                        billed: Billed {
                            usage: Usage { output: 7, ..Usage::default() },
                            cost: Some(3),
                            ..Billed::default()
                        },
                        partial: false,
                        duration_ms: 1,
                        checked: None,
                    }),
                })),
            );
            of.push(
                Some((turn, Some(1))),
                Body::WaitOpened(Box::new(WaitOpened {
                    wait: tool.to_string(),
                    key: tool.clone(),
                    deadline: None,
                    answered: false,
                    on: WaitOn::Approval(Approval {
                        tool: "shell".into(),
                        summary: words.into(),
                        reason: "r".into(),
                        rule: None,
                        source: None,
                        preview: None,
                        content: digest(b"g"),
                        untrusted: Vec::new(),
                        effects: None,
                    }),
                })),
            );
            of.push(
                Some((turn, None)),
                Body::WaitResolved {
                    wait: tool.to_string(),
                    ruling: Ruling::Allow,
                    by: "me".into(),
                    early: false,
                },
            );
            of.push(
                Some((turn, None)),
                Body::GrantGiven {
                    grant: Grant {
                        tool: "shell".into(),
                        summary: "all".into(),
                        scope: GrantScope::Session,
                        permits: None,
                        effects: None,
                        content: digest(format!("g{turn}").as_bytes()),
                        expires: None,
                    },
                    by: "me".into(),
                },
            );
            of.push(
                Some((turn, Some(1))),
                Body::Intent(Box::new(Intent {
                    key: tool.clone(),
                    class: EffectClass::Idempotent,
                    attempt: 1,
                    what: Intended::Tool(ToolIntent {
                        call_id: "c".into(),
                        name: "shell".into(),
                        input: digest(b"i"),
                        sandbox: "none".into(),
                    }),
                })),
            );
            let full = of.blob(format!("{words} in full {turn}").repeat(turn as usize * 9_000).as_bytes());
            of.push(
                Some((turn, Some(1))),
                Body::Outcome(Box::new(Outcome {
                    key: tool,
                    attempt: 1,
                    result: EffectResult::Tool(ToolOutcome {
                        status: ToolStatus::Ok,
                        // A body that is kept as a blob itself.
                        view: words.repeat(3_000 / words.len().max(1) * 8),
                        full: Some(full),
                        facts: vec![Fact::Command { exit_code: Some(0), signal: None, bytes: 1 }],
                        started_at: 1,
                        duration_ms: 1,
                        untrusted: None,
                        attachments: Vec::new(),
                    }),
                })),
            );
            of.push(
                None,
                Body::TodoSet {
                    items: vec![TodoItem {
                        id: "1".into(),
                        subject: words.into(),
                        description: String::new(),
                        active_form: String::new(),
                        status: TodoStatus::Pending,
                        owner: None,
                        blocks: vec![],
                        blocked_by: vec![],
                        metadata: Some(json!({"x": 0.1, "y": 1e-7, "z": {"b": [1.5, -0.0], "a": u64::MAX}})),
                    }],
                    by: "me".into(),
                },
            );
            of.push(
                Some((turn, None)),
                Body::TurnCommitted(Box::new(TurnCommitted {
                    outcome: TurnOutcome::Stopped {
                        reason: StopReason::MaxSteps,
                        detail: words.into(),
                        by: None,
                    },
                    steps: 1,
                    usage: Usage::default(),
                    cost: Some(3),
                })),
            );
        }
        of
    }

    fn push(&mut self, place: Option<(u64, Option<u32>)>, body: Body) -> u64 {
        let at = 1_000 + self.drafts.len() as u64;
        let (turn, step) = (place.map(|place| place.0), place.and_then(|place| place.1));
        self.drafts.push(Draft { at, turn, step, body });
        self.drafts.len() as u64
    }

    fn blob(&mut self, bytes: &[u8]) -> BlobRef {
        self.blobs.push(Bytes::copy_from_slice(bytes));
        BlobRef { hash: digest(bytes), bytes: bytes.len() as u64 }
    }

    /// Puts the first records of it into a store.
    fn store(&self, log: &MemoryLog, session: &str, records: usize) {
        let append = Append {
            session: id(session),
            expect: Expect::New(None),
            id: "test".into(),
            records: self.drafts[..records].to_vec(),
            blobs: self.blobs.clone(),
        };
        block_on(log.append(append)).unwrap();
    }
}

fn export(log: &MemoryLog, session: &str) -> Vec<u8> {
    let session = id(session);
    let head = block_on(log.head(&session)).unwrap();
    let mut out = Vec::new();
    let mut put = |bytes: &[u8]| {
        out.extend_from_slice(bytes);
        Ok(())
    };
    block_on(write_bundle(log, log, &session, &head, "0", &mut put)).unwrap();
    out
}

fn read(bytes: &[u8]) -> Result<Bundle, ImportError> {
    Bundle::read(|| Ok(Cursor::new(bytes)))
}

/// Imports into a store, as a door does it.
fn import(log: &MemoryLog, bytes: &[u8], name: &str) -> Result<Imported, ImportError> {
    let bundle = read(bytes)?;
    block_on(bundle.store_blobs(Cursor::new(bytes), log))?;
    let known = |parent: &Parent| {
        block_on(log.read(&parent.session, parent.seq, 1))
            .is_ok_and(|page| page.first().is_some_and(|found| found.hash == parent.hash))
    };
    let mut shared = 0;
    let plan = bundle.plan(&new(name), known, || {
        shared += 1;
        id(&format!("{name}-shared-{shared}"))
    })?;
    for append in plan.appends {
        block_on(log.append(append))?;
    }
    Ok(plan.imported)
}

fn whole(log: &MemoryLog, session: &str) -> u64 {
    let found = block_on(verify(log, log, &id(session))).unwrap();
    assert_eq!((found.first_bad, found.kind), (None, None), "{session}");
    found.records
}

/// The records of the first log of a bundle, as text.
fn records(bundle: &[u8]) -> Vec<String> {
    let lines: Vec<Value> = bundle
        .split(|b| *b == b'\n')
        .filter(|l| !l.is_empty())
        .map(|l| serde_json::from_slice(l).unwrap())
        .collect();
    let count = lines[0]["records"].as_u64().unwrap() as usize;
    lines[1..=count].iter().map(|line| line["record"].to_string()).collect()
}

fn blobs(bundle: &[u8]) -> Vec<String> {
    let text = String::from_utf8(bundle.to_vec()).unwrap();
    let mut lines: Vec<String> =
        text.lines().filter(|line| line.contains("\"base64\"")).map(str::to_owned).collect();
    lines.sort();
    lines
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// From any point of a log: out, in, out again gives the same records under the new name, and the same bytes.
    #[test]
    fn what_goes_out_comes_in_again(words in "[a-zé\u{1F986}\"\\\\ ]{1,40}", records_kept in 1usize..25) {
        let reference = Reference::new(OLD, &words, None);
        let kept = records_kept.min(reference.drafts.len());
        let first = MemoryLog::new();
        reference.store(&first, OLD, kept);
        let out = export(&first, OLD);
        let second = MemoryLog::new();
        let imported = import(&second, &out, NEW).unwrap();
        prop_assert_eq!(whole(&second, NEW), imported.records);
        let again = export(&second, NEW);
        let before: Vec<String> = records(&out).iter().map(|record| record.replace(OLD, NEW)).collect();
        let after = records(&again);
        prop_assert_eq!(before.len(), kept);
        prop_assert_eq!(&after[..kept], &before[..]);
        prop_assert_eq!(blobs(&out), blobs(&again));
        // What was open is ended, and a third store gets what the second had.
        let third = MemoryLog::new();
        let imported = import(&third, &again, "third").unwrap();
        prop_assert_eq!(imported.ended, Default::default());
        prop_assert_eq!(imported.records, after.len() as u64 + 1);
    }
}

/// What is written by hand of each place where a log may end: turns, unknown calls, inputs, grants that the import ends.
#[test]
fn nothing_that_was_open_goes_on() {
    let reference = Reference::new(OLD, "x", None);
    for (kept, ended, tail) in [
        (1, [0, 0, 0, 0], "mode_changed"),
        (2, [0, 0, 1, 0], "input_withdrawn mode_changed"),
        (3, [1, 0, 0, 0], "cancel_requested turn_committed mode_changed"),
        (4, [1, 0, 0, 0], "cancel_requested outcome turn_committed mode_changed"),
        (5, [1, 0, 0, 0], "cancel_requested outcome turn_committed mode_changed"),
        (6, [1, 0, 0, 0], "cancel_requested outcome turn_committed mode_changed"),
        (8, [1, 0, 0, 1], "cancel_requested outcome turn_committed grant_revoked mode_changed"),
        (9, [1, 1, 0, 1], "cancel_requested outcome turn_committed grant_revoked mode_changed"),
        (10, [1, 0, 0, 1], "cancel_requested turn_committed grant_revoked mode_changed"),
        (12, [0, 0, 0, 1], "grant_revoked mode_changed"),
        (23, [0, 0, 0, 2], "grant_revoked grant_revoked mode_changed"),
    ] {
        let log = MemoryLog::new();
        reference.store(&log, OLD, kept);
        let imported = import(&log, &export(&log, OLD), NEW).unwrap();
        let of = imported.ended;
        assert_eq!([of.turns, of.unknown_calls, of.withdrawn_inputs, of.revoked_grants], ended, "{kept}");
        let all = records(&export(&log, NEW));
        let kinds: Vec<String> = all[kept..]
            .iter()
            .map(|record| {
                let record: Value = serde_json::from_str(record).unwrap();
                record["body"].as_object().unwrap().keys().next().unwrap().clone()
            })
            .collect();
        assert_eq!(kinds.join(" "), tail, "{kept}");
        let last = all.last().unwrap();
        assert!(
            last.contains("import: sterna session `ancient-otter`") && last.contains("\"ask\""),
            "{last}"
        );
    }
}

#[test]
fn a_bundle_cut_anywhere_is_none() {
    let log = MemoryLog::new();
    Reference::new(OLD, "duck", None).store(&log, OLD, 4);
    let bundle = export(&log, OLD);
    assert!(read(&bundle).is_ok());
    let header = bundle.iter().position(|byte| *byte == b'\n').unwrap();
    for to in 0..bundle.len() {
        match read(&bundle[..to]) {
            Err(ImportError::Bundle(BundleError::Cut)) => {}
            Err(ImportError::Bundle(BundleError::NotOne)) if to < header => {}
            other => panic!("cut at {to}: {:?}", other.err()),
        }
    }
    let longer = [&bundle[..], b"\n"].concat();
    assert!(matches!(read(&longer), Err(ImportError::Bundle(BundleError::Trailing(1)))));
    let twice = [&bundle[..], &bundle[..]].concat();
    assert!(matches!(read(&twice), Err(ImportError::Bundle(BundleError::Trailing(_)))));
}

/// One flipped bit, at every byte of a small bundle.
#[test]
fn a_flipped_bit_anywhere_is_found() {
    let log = MemoryLog::new();
    Reference::new(OLD, "duck", None).store(&log, OLD, 4);
    let bundle = export(&log, OLD);
    for at in 0..bundle.len() {
        let mut changed = bundle.clone();
        changed[at] ^= 1 << (at % 8);
        assert!(matches!(read(&changed), Err(ImportError::Bundle(_))), "byte {at}");
    }
}

/// A bundle that somebody made anew, closing hash and all: the chain and the blobs still tell.
#[test]
fn a_forged_bundle_is_named() {
    let log = MemoryLog::new();
    Reference::new(OLD, "duck", None).store(&log, OLD, 11);
    let bundle = String::from_utf8(export(&log, OLD)).unwrap();
    let lines: Vec<String> = bundle.lines().map(str::to_owned).collect();
    assert!(read(sealed(&lines).as_bytes()).is_ok());
    let check = |what: &str, change: &dyn Fn(&mut Vec<String>), expected: &dyn Fn(&BundleError) -> bool| {
        let mut lines = lines.clone();
        change(&mut lines);
        match read(sealed(&lines).as_bytes()) {
            Err(ImportError::Bundle(error)) => assert!(expected(&error), "{what}: {error}"),
            other => panic!("{what}: {:?}", other.err()),
        }
    };
    let edit = |line: usize, from: &'static str, to: &'static str| {
        move |lines: &mut Vec<String>| {
            assert!(lines[line].contains(from), "{}", lines[line]);
            lines[line] = lines[line].replacen(from, to, 1);
        }
    };
    let tampered =
        |due: u64| move |error: &BundleError| matches!(error, BundleError::Record { seq, .. } if *seq == due);
    check("a word of a record", &edit(2, "duck 1", "dock 1"), &tampered(2));
    check("the time of a record", &edit(3, "\"at\":1002", "\"at\":1003"), &tampered(3));
    check("a field more", &edit(3, "\"at\":1002", "\"at\":1002,\"x\":1"), &|_| true);
    check("a record gone", &|lines| drop(lines.remove(4)), &tampered(4));
    check("two records swapped", &|lines| lines.swap(3, 4), &tampered(3));
    check("a later version", &edit(2, "\"v\":3", "\"v\":9"), &|error| {
        matches!(error, BundleError::Newer { seq: 2, found: 9, known: 3, .. })
    });
    check("another session's name", &edit(0, OLD, NEW), &tampered(1));
    check("fewer records than told", &edit(0, "\"records\":11", "\"records\":12"), &|error| {
        matches!(error, BundleError::Line { line: 13, .. })
    });
    check("more records than told", &edit(0, "\"records\":11", "\"records\":10"), &|_| true);
    check("a later export", &edit(0, "\"sterna_export\":1", "\"sterna_export\":2"), &|error| {
        matches!(error, BundleError::Version { found: 2, known: 1 })
    });
    let pieces: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].contains("\"base64\"")).collect();
    check(
        "a blob's bytes",
        &|lines| lines[pieces[1]] = lines[pieces[1]].replacen("\"base64\":\"", "\"base64\":\"AAAA", 1),
        &|error| matches!(error, BundleError::Blob(_)),
    );
    for gone in &pieces {
        check("a blob gone", &|lines| drop(lines.remove(*gone)), &|error| {
            matches!(error, BundleError::BlobMissing { .. } | BundleError::Blob(_) | BundleError::Line { .. })
        });
    }
    check("a blob twice", &|lines| lines.insert(pieces[0], lines[pieces[0]].clone()), &|error| {
        matches!(error, BundleError::Blob(_))
    });
}

/// Lines under a closing line that is true of them, with as many blobs as there are.
fn sealed(lines: &[String]) -> String {
    let mut text = lines[..lines.len() - 1].join("\n") + "\n";
    let firsts =
        lines.iter().filter(|line| line.contains("\"base64\"") && line.contains("\"offset\":0}")).count();
    let hash = digest(text.as_bytes());
    text.push_str(&json!({"sterna_export_end": 1, "blobs": firsts, "blake3": hash}).to_string());
    text + "\n"
}

/// The records may be chained by who ever wrote them: what no session can have written is not taken.
#[test]
fn records_that_no_session_wrote_are_refused() {
    let mut reference = Reference::new(OLD, "duck", None);
    let commit = reference.drafts[11].clone();
    reference.drafts.insert(1, commit);
    let log = MemoryLog::new();
    reference.store(&log, OLD, 3);
    let error = import(&log, &export(&log, OLD), NEW).unwrap_err();
    assert!(matches!(error, ImportError::Unfoldable { seq: 2, .. }), "{error}");
    assert!(matches!(block_on(log.head(&id(NEW))), Err(LogError::NotFound(_))));
}

/// A fork brings the history that it shares, unless the store has that very history.
#[test]
fn a_fork_comes_with_what_it_shares() {
    let log = MemoryLog::new();
    Reference::new(OLD, "duck", None).store(&log, OLD, 12);
    let hash = block_on(log.read(&id(OLD), 9, 1)).unwrap()[0].hash;
    let parent = Parent { session: id(OLD), seq: 9, hash };
    let mut fork = Reference::new("fork", "swan", Some(parent.clone()));
    // Turn numbers go on where the shared history ends.
    fork.drafts.truncate(3);
    fork.drafts[2].turn = Some(2);
    fork.store(&log, "fork", 3);
    let bundle = export(&log, "fork");
    // Where it comes from.
    let imported = import(&log, &bundle, "again").unwrap();
    assert_eq!((imported.shared.len(), whole(&log, "again")), (0, imported.records));
    // Elsewhere.
    let other = MemoryLog::new();
    let imported = import(&other, &bundle, "away").unwrap();
    assert_eq!(imported.shared, [id("away-shared-1")]);
    assert_eq!((whole(&other, "away"), whole(&other, "away-shared-1") > 9), (imported.records, true));
    let first = &block_on(other.read(&id("away"), 1, 1)).unwrap()[0].record;
    let Body::SessionOpened(opened) = &first.body else { panic!("{first:?}") };
    let link = opened.parent.clone().unwrap();
    assert_eq!((link.session, link.seq), (id("away-shared-1"), 9));
    let out = records(&export(&other, "away"));
    assert_eq!(records(&bundle)[1], out[1]);
    // Without what it shares it is nothing.
    let text = String::from_utf8(bundle).unwrap();
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let log_line = lines.iter().position(|line| line.contains("\"log\":")).unwrap();
    let mut short = lines.clone();
    short.drain(log_line..=log_line + 9);
    let error = import(&other, sealed(&short).as_bytes(), "lost").unwrap_err();
    assert!(matches!(&error, ImportError::Bundle(BundleError::ParentMissing { seq: 9, .. })), "{error}");
}

/// A log that breaks in the middle: what is before is a session, and what is after is told.
#[test]
fn what_is_whole_is_saved_and_the_rest_told() {
    let log = MemoryLog::new();
    let reference = Reference::new(OLD, "duck", None);
    reference.store(&log, OLD, 12);
    let found = Fsck {
        records: 9,
        first_bad: Some((10, "x".into())),
        kind: Some(DamageKind::TamperedRecord),
        last_hash: block_on(log.read(&id(OLD), 9, 1)).unwrap()[0].hash,
    };
    let new = NewSession { folder: None, ..new(NEW) };
    let saved = block_on(salvage(&log, &id(OLD), &found, &new)).unwrap();
    let lost = json!(saved.lost);
    let kinds = json!({"outcome": 1, "todo_set": 1, "turn_committed": 1});
    assert_eq!(lost, json!({"from": 10, "to": 12, "records": 3, "kinds": kinds, "turns": [1]}));
    assert_eq!(saved.plan.imported.ended.unknown_calls, 1);
    for append in saved.plan.appends {
        block_on(log.append(append)).unwrap();
    }
    assert_eq!(whole(&log, NEW), 9 + 5);
    let kept: Vec<String> = records(&export(&log, NEW));
    let before: Vec<String> =
        records(&export(&log, OLD)).iter().map(|record| record.replace(OLD, NEW)).collect();
    assert_eq!(kept[..9], before[..9]);
    assert!(kept[13].contains("salvage: session `ancient-otter`, records 1 to 9"), "{}", kept[13]);
}

/// Every record that can name an agent, or whoever made one.
fn with_an_agent() -> Reference {
    let mut of = Reference::new(OLD, "x", None);
    let (kid, boss) = (id("agent-kid"), id("the-boss"));
    if let Body::SessionOpened(opened) = &mut of.drafts[0].body {
        let by = EffectKey { session: boss.clone(), turn: 1, step: 1, kind: EffectKind::Tool, ordinal: 0 };
        let agent = "general".to_owned();
        opened.spawned =
            Some(Box::new(Spawned { by, depth: 1, agent, prompt: String::new(), worktree: None }));
    }
    let turn =
        ChildTurn { session: kid.clone(), input: 2, agent: "explore".into(), task: "ask agent-kid".into() };
    let end = ChildEnd {
        session: kid.clone(),
        input: 2,
        turn: Some(1),
        stop: None,
        message: "found".into(),
        steps: 1,
        spent: Vec::new(),
        changed_files: Vec::new(),
        tainted: Vec::new(),
    };
    for draft in &mut of.drafts {
        match &mut draft.body {
            Body::TurnStarted(started) => started.given.tree = Some(boss.clone()),
            Body::WaitOpened(opened) => opened.on = WaitOn::Child(turn.clone()),
            Body::WaitResolved { ruling, .. } => *ruling = Ruling::Ended(Box::new(end.clone())),
            Body::InputAccepted(input) => {
                input.ended = Some(Box::new(end.clone()));
                let given = Given { tree: Some(boss.clone()), ..Given::new(route(), "/") };
                input.given = Some(Box::new(given));
            }
            Body::Outcome(outcome) => {
                if let EffectResult::Tool(tool) = &mut outcome.result {
                    let child = ChildRef { turn: turn.clone(), background: true };
                    tool.facts = vec![Fact::Child(child), Fact::ChildClosed(kid.clone())];
                }
            }
            _ => {}
        }
    }
    of
}

/// The original's agent is in the same store: nothing of the import may speak to it, or be told by it.
#[test]
fn an_import_has_no_agent_of_the_original() {
    let log = MemoryLog::new();
    let reference = with_an_agent();
    reference.store(&log, OLD, reference.drafts.len());
    let out = export(&log, OLD);
    let mut names = std::collections::BTreeSet::new();
    for name in [NEW, "another-one"] {
        import(&log, &out, name).unwrap();
        whole(&log, name);
        let (mut kids, mut bosses) = (0, 0);
        for record in records(&export(&log, name)) {
            // What was told to it stays.
            let record = record.replace("ask agent-kid", "");
            assert!(!record.contains("agent-kid") && !record.contains("the-boss"), "{record}");
            for word in record.split('"').filter(|word| word.starts_with("absent-")) {
                names.insert(word.split('/').next().unwrap().to_owned());
            }
            kids += record.matches("\"session\":\"absent-").count();
            bosses += record.matches("\"tree\":\"absent-").count();
        }
        // In each of two turns: an input, a wait, its end, and a fact of a call.
        assert_eq!((kids, bosses), (8, 4), "{name}");
    }
    // An agent and a boss for each of the two.
    assert_eq!(names.len(), 4, "{names:?}");
}
