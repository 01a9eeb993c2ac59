//! The hot paths: what every step does, each beside the least that touches the same bytes.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use sterna_context::{Prompt, Template, TurnFacts, builtin_sections, derive};
use sterna_llm::sse::SseDecoder;
use sterna_llm::{EncodeCache, wire};
use sterna_log::{Sealed, prepare, read_history, seal};
use sterna_model::{Digest, Draft, EffectClass, Mode, Record, Route, Transition};
use sterna_policy::{Access, Ask, Contacts, Look, Sandbox, builtin_rules, decide};
use sterna_runtime::State;

use crate::{Counting, World};

/// One path, and the least that could be done in its place.
pub struct Hot {
    pub name: &'static str,
    /// Bytes that one run goes through; 0 where they are not what counts.
    pub bytes: usize,
    pub target: &'static str,
    pub ours: Box<dyn FnMut()>,
    pub floor: Box<dyn FnMut()>,
}

/// The paths that are measured.
pub const NAMES: [&str; 6] = ["sse", "answer", "fold", "record", "request", "check"];

/// What a path is, in words.
pub fn about(name: &str) -> &'static str {
    match name {
        "sse" => "events of a stream, beside its lines copied",
        "answer" => "a streamed answer decoded, beside its JSON skipped",
        "fold" => "a turn of 100 steps folded, beside its records cloned",
        "record" => "its records encoded and chained, beside their JSON",
        "request" => "its last request derived and encoded again, beside its bytes copied",
        _ => "a compound command judged, beside it read",
    }
}

/// Prepares a path, which costs more than to run it.
pub fn make(name: &str) -> Result<Hot> {
    match name {
        "sse" => Ok(sse()),
        "answer" => answer(),
        "fold" => fold(),
        "record" => record(),
        "request" => request(),
        "check" => Ok(check()),
        other => bail!("there is no path `{other}`"),
    }
}

fn sse() -> Hot {
    let stream = stream();
    let (ours, floor) = (stream.clone(), stream.clone());
    Hot {
        name: "sse",
        bytes: stream.len(),
        target: "≥ 500",
        ours: Box::new(move || {
            let (mut decoder, mut bytes) = (SseDecoder::new(), 0);
            for piece in ours.chunks(PIECE) {
                let taken = decoder.push(piece, &mut |event| bytes += event.data.len());
                assert!(taken.is_ok(), "no event is too large");
            }
            black_box(bytes);
        }),
        floor: Box::new(move || {
            for line in floor.split(|byte| *byte == b'\n') {
                black_box(String::from_utf8_lossy(line).into_owned());
            }
        }),
    }
}

fn answer() -> Result<Hot> {
    let stream = stream();
    let (ours, floor) = (stream.clone(), stream.clone());
    let wire = wire::by_name("openai_chat").context("a wire that is always there")?;
    let route: Route = "bench/x".parse()?;
    Ok(Hot {
        name: "answer",
        bytes: stream.len(),
        target: "",
        ours: Box::new(move || {
            let (mut decoder, mut events) = (wire.decoder(&route), 0_usize);
            for piece in ours.chunks(PIECE) {
                let taken = decoder.push(piece, &mut |event| events += event.text.len());
                assert!(taken.is_ok(), "the stream is whole");
            }
            black_box(events);
        }),
        floor: Box::new(move || {
            for line in floor.split(|byte| *byte == b'\n') {
                if let Some(data) = line.strip_prefix(b"data: ") {
                    // `[DONE]` is no object, and skipped as well.
                    let _ = black_box(serde_json::from_slice::<serde::de::IgnoredAny>(data));
                }
            }
        }),
    })
}

fn fold() -> Result<Hot> {
    let (_, records) = turn()?;
    let (ours, floor) = (records.clone(), records);
    Ok(Hot {
        name: "fold",
        bytes: 0,
        target: "",
        ours: Box::new(move || {
            let mut state = State::default();
            for record in &ours {
                assert!(state.apply(record).is_ok(), "the log is whole");
            }
            black_box(state.head);
        }),
        floor: Box::new(move || drop(black_box(floor.clone()))),
    })
}

fn record() -> Result<Hot> {
    let (_, records) = turn()?;
    let draft = |r: &Record| Draft { at: r.at, turn: r.turn, step: r.step, body: r.body.clone() };
    let drafts: Vec<Draft> = records.iter().map(draft).collect();
    Ok(Hot {
        name: "record",
        bytes: 0,
        target: "",
        ours: Box::new(move || {
            let mut prev = Digest::ZERO;
            for (draft, seq) in drafts.iter().zip(1..) {
                let Ok(prepared) = prepare(draft) else { unreachable!("it was in a log") };
                prev = seal(&prepared, seq, &prev).1;
            }
            black_box(prev);
        }),
        floor: Box::new(move || {
            for record in &records {
                let _ = black_box(serde_json::to_vec(&record.body));
            }
        }),
    })
}

fn request() -> Result<Hot> {
    let (state, _) = turn()?;
    let started = state.turn.clone().context("a turn has run")?;
    let prompt = Prompt::assemble(builtin_sections(Template::Minimal), Vec::new())?;
    let (facts, route) = (TurnFacts::of(&started), started.route.clone());
    let wire = wire::by_name("openai_chat").context("a wire that is always there")?;
    let mut cache = EncodeCache::default();
    let mut ours = move || {
        let items = state.transcript.with(&[]);
        let world = &state.folded.world;
        let request = derive(&prompt, items, world, &facts, &route, Transition::ToolResults, false, 1_000);
        wire.encode(&request, &mut cache)
    };
    let bytes = ours().body();
    ensure!(bytes.len() > 10_000, "a request of {} bytes", bytes.len());
    Ok(Hot {
        name: "request",
        bytes: 0,
        target: "",
        ours: Box::new(move || drop(black_box(ours()))),
        floor: Box::new(move || drop(black_box(bytes.to_vec()))),
    })
}

fn check() -> Hot {
    let rules = builtin_rules();
    let (root, home) = (PathBuf::from("/w"), PathBuf::from("/home/ada"));
    let accesses = [Access::Shell { command: LINE.into(), cwd: root.clone() }];
    Hot {
        name: "check",
        bytes: 0,
        target: "≤ 100",
        ours: Box::new(move || {
            let verdict = decide(&Ask {
                tool: "shell",
                accesses: &accesses,
                mode: Mode::Execute,
                rules: &rules,
                grants: &[],
                content: Digest::ZERO,
                now: 1_000,
                roots: std::slice::from_ref(&root),
                home: Some(&home),
                cwd: &root,
                state_dirs: &[],
                sandbox: Sandbox::None,
                untrusted: &[],
                resolve: &Path::to_path_buf,
                git: &|_| None,
                git_outside: &|_, _| None,
                git_contacts: &|_, _, _| Contacts::default(),
                look: &|_, _| Look::Nothing,
            });
            black_box(verdict);
        }),
        floor: Box::new(|| drop(black_box(sterna_policy::ShellPlan::read(black_box(LINE))))),
    }
}

/// A streamed answer of about a megabyte, in pieces of a few words as providers send them.
fn stream() -> Vec<u8> {
    let mut all = String::new();
    for n in 0..6_000 {
        all.push_str(&format!(
            "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"x\",\"choices\":\
             [{{\"index\":0,\"delta\":{{\"content\":\"and so the count goes on to {n} \"}},\"finish_reason\":null}}]}}\n\n"
        ));
    }
    all.into_bytes()
}

/// A turn of 100 steps, kept in memory: its state and its records.
fn turn() -> Result<(State, Vec<Record>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let world = World::in_memory(Arc::new(Counting::new(99)), EffectClass::Pure)?;
        let (session, _) = world.turn(None).await?;
        let records = read_history(&*world.log, &session).await?.rest().await?;
        let record = |(_, sealed): (_, Sealed)| sealed.record;
        Ok((State::load_whole(&world.log, &session).await?, records.into_iter().map(record).collect()))
    })
}

/// Bytes that come from the network at a time.
const PIECE: usize = 16 << 10;
const LINE: &str = "cd crates/core && cargo test 2>&1 | tail -30";
