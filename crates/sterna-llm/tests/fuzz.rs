//! Mutated recordings through the SSE decoder and every wire's decoder: never a panic, never a success that was not
//! whole, never a difference by how the bytes were cut.
//!
//! A short run by default; `cargo xtask fuzz` runs it for minutes, from a seed of its own. A failure names its seed.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::{Duration, Instant};

use sterna_llm::sse::SseDecoder;
use sterna_llm::wire::{self, NAMES};
use sterna_llm::{ModelReply, StreamEvent};
use sterna_model::{ErrorClass, Part, Phase, ProviderFailure, Route};

type Decoded = (Vec<StreamEvent>, Result<ModelReply, ProviderFailure>);

/// A generator that needs no state of the machine (splitmix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { (self.next() % n as u64) as usize }
    }
}

/// Recordings by the wire that their names begin with.
fn corpus() -> Vec<(&'static str, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|end| end == "sse"));
    files.sort();
    let of = |file: &std::path::PathBuf| {
        let stem = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let wire = NAMES.into_iter().find(|name| stem.starts_with(&format!("{name}-"))).unwrap();
        (wire, std::fs::read(file).unwrap())
    };
    files.iter().map(of).collect()
}

/// Words that decoders look at.
const WORDS: &[&str] = &[
    "\r\n\r\n",
    "\n\n",
    "\r",
    "data:",
    "data: [DONE]\n\n",
    "event: error\n",
    ": comment\n",
    "\u{feff}",
    "\u{0}",
    "null",
    "{}",
    "[]",
    "-1",
    "1e999",
    "18446744073709551616",
    "\"",
    "\\u0000",
    "\\ud800",
    "\"index\":4294967295",
    "\"type\":1",
    "message_stop",
    "response.completed",
    "\"finishReason\":\"STOP\"",
    "\"finish_reason\":\"stop\"",
    "\"tool_calls\":[",
    "\"content_block\":{",
    "\"input_json_delta\"",
    "\"thoughtSignature\":\"\"",
    "\"usage\":{}",
    "{\"error\":{",
];

fn mutate(dice: &mut Dice, bytes: &mut Vec<u8>, corpus: &[(&str, Vec<u8>)]) {
    for _ in 0..=dice.below(6) {
        let at = dice.below(bytes.len() + 1);
        let end = (at + dice.below(64)).min(bytes.len());
        match dice.below(9) {
            0 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << dice.below(8);
                }
            }
            1 => drop(bytes.drain(at..end)),
            2 => {
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            3 => {
                let word = WORDS[dice.below(WORDS.len())];
                bytes.splice(at..at, word.bytes());
            }
            4 => {
                let word = WORDS[dice.below(WORDS.len())];
                bytes.splice(at..end, word.bytes());
            }
            5 => bytes.truncate(at),
            6 => {
                let other = &corpus[dice.below(corpus.len())].1;
                let from = dice.below(other.len());
                let to = (from + dice.below(400)).min(other.len());
                bytes.splice(at..end, other[from..to].iter().copied());
            }
            7 => {
                let random: Vec<u8> = (0..dice.below(24)).map(|_| dice.next() as u8).collect();
                bytes.splice(at..at, random);
            }
            // Whole events change places.
            _ => {
                let text = String::from_utf8_lossy(bytes).into_owned();
                let mut events: Vec<&str> = text.split("\n\n").collect();
                let (one, other) = (dice.below(events.len()), dice.below(events.len()));
                events.swap(one, other);
                *bytes = events.join("\n\n").into_bytes();
            }
        }
    }
}

fn decode(name: &str, pieces: &[&[u8]], complete: bool) -> Decoded {
    let route = Route { provider: "p".into(), model: "m".into() };
    let mut decoder = wire::by_name(name).unwrap().decoder(&route);
    let mut events = Vec::new();
    for piece in pieces {
        if let Err(failure) = decoder.push(piece, &mut |event| events.push(event)) {
            return (events, Err(failure));
        }
    }
    assert!(decoder.partial().iter().all(|part| !matches!(part, Part::ToolCall(_))), "half a call is shown");
    let result = decoder.finish(complete, &mut |event| events.push(event));
    (events, result)
}

fn pieces<'a>(dice: &mut Dice, bytes: &'a [u8]) -> Vec<&'a [u8]> {
    let (mut rest, mut pieces) = (bytes, Vec::new());
    let most = 1 + dice.below(200);
    while !rest.is_empty() {
        let (piece, more) = rest.split_at((1 + dice.below(most)).min(rest.len()));
        pieces.push(piece);
        rest = more;
    }
    pieces
}

/// What holds of any bytes.
fn check(name: &str, bytes: &[u8], dice: &mut Dice) {
    let complete = dice.below(2) == 0;
    let whole = decode(name, &[bytes], complete);
    assert_eq!(decode(name, &pieces(dice, bytes), complete), whole, "pieces matter");
    let mut open = None;
    for event in &whole.0 {
        match event.phase {
            Phase::Start => assert_eq!(open.replace(event.segment), None, "two segments are open"),
            Phase::Delta => assert_eq!(open, Some(event.segment), "a delta outside its segment"),
            Phase::End => assert_eq!(open.take(), Some(event.segment), "an end without a start"),
        }
    }
    match &whole.1 {
        Ok(reply) => {
            assert_eq!(open, None, "a segment of a whole answer is open");
            let mut ids = std::collections::BTreeSet::new();
            for part in &reply.parts {
                if let Part::ToolCall(call) = part {
                    assert!(
                        !call.name.is_empty() && ids.insert(&call.id),
                        "a call without a name or an id of its own"
                    );
                }
            }
            assert!(
                reply.billed.usage.reasoning <= reply.billed.usage.output,
                "reasoning is part of the output"
            );
        }
        Err(failure) => {
            assert!(failure.message.chars().count() <= wire::MAX_MESSAGE_CHARS, "a message without end");
            assert_ne!(failure.class, ErrorClass::Interrupted);
        }
    }
    let (mut one, mut many) = (Vec::new(), Vec::new());
    let mut sse = SseDecoder::default();
    let first = sse.push(bytes, &mut |event| one.push(event));
    let mut sse = SseDecoder::default();
    let rest =
        pieces(dice, bytes).into_iter().try_for_each(|piece| sse.push(piece, &mut |event| many.push(event)));
    assert_eq!((one, first.is_ok()), (many, rest.is_ok()), "pieces matter to the SSE decoder");
}

#[test]
fn mutated_recordings_never_break_a_decoder() {
    let corpus = corpus();
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seconds = number("STERNA_FUZZ_SECONDS");
    let first = number("STERNA_FUZZ_SEED").unwrap_or(1);
    let until = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut runs = 0;
    for seed in first.. {
        if until.map_or(runs >= 6_000, |until| Instant::now() >= until) {
            break;
        }
        let mut dice = Dice(seed);
        let (wire, recording) = &corpus[dice.below(corpus.len())];
        // Now and then a wire gets what another one speaks.
        let name = if dice.below(8) == 0 { NAMES[dice.below(NAMES.len())] } else { *wire };
        let mut bytes = recording.clone();
        mutate(&mut dice, &mut bytes, &corpus);
        let checked =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(name, &bytes, &mut dice)));
        if let Err(panic) = checked {
            eprintln!("STERNA_FUZZ_SEED={seed} breaks {name} with:\n{}", String::from_utf8_lossy(&bytes));
            std::panic::resume_unwind(panic);
        }
        runs += 1;
    }
    println!("{runs} mutated streams from seed {first} on");
}

#[test]
fn every_recording_is_the_same_in_any_two_pieces_and_cut_nowhere_a_success_too_early() {
    for (name, bytes) in corpus() {
        let whole = decode(name, &[&bytes], true);
        let mut first_success = None;
        for cut in 0..=bytes.len() {
            assert_eq!(decode(name, &[&bytes[..cut], &bytes[cut..]], true), whole, "{name} in two at {cut}");
            let (_, result) = decode(name, &[&bytes[..cut]], false);
            match result {
                // Once it was whole, it stays what it was.
                Ok(reply) => {
                    first_success.get_or_insert(cut);
                    assert_eq!(Ok(reply), whole.1, "{name} cut at {cut}");
                }
                Err(_) => assert_eq!(first_success, None, "{name} cut at {cut}"),
            }
        }
        let one_by_one: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(decode(name, &one_by_one, true), whole, "{name} byte by byte");
    }
    let wires: std::collections::BTreeSet<_> = corpus().iter().map(|(name, _)| *name).collect();
    assert_eq!(wires.len(), NAMES.len());
}
