//! What holds for every log: a fold that begins with a snapshot is the fold of the whole log.

#![allow(clippy::unwrap_used)]

#[path = "../../../sterna-turn/tests/world/mod.rs"]
mod world;

use std::sync::Arc;

use futures::executor::block_on;
use proptest::prelude::*;
use sterna_log::{Append, Expect, MemoryLog};
use sterna_model::*;
use world::{SESSION, input, opened, random_log, record, started};

use super::*;
use crate::RuntimeError;

fn id(name: &str) -> SessionId {
    SessionId::new(name).unwrap()
}

/// A random log whose intents name the calls that the answers before them asked for, as those of a driver do.
fn log_of(bytes: &[u8]) -> Vec<Record> {
    let (mut records, mut calls) = (random_log(bytes), Vec::new());
    for record in &mut records {
        match &mut record.body {
            Body::Outcome(outcome) => {
                let EffectResult::Model(model) = &outcome.result else { continue };
                let call = |part: &Part| match part {
                    Part::ToolCall(call) => Some(call.clone()),
                    Part::Text(_) | Part::Reasoning(_) | Part::Opaque(_) => None,
                };
                calls = model.parts.iter().filter_map(call).collect();
            }
            Body::Intent(intent) => {
                if let Intended::Tool(tool) | Intended::Undo(tool) = &mut intent.what {
                    let call: &ToolCall = &calls[intent.key.ordinal as usize];
                    (tool.call_id, tool.name) = (call.id.clone(), call.name.clone());
                }
            }
            _ => {}
        }
    }
    records
}

/// A log in memory that is appended to as records come.
struct Kept {
    log: SharedLog,
    name: SessionId,
    head: Seq,
}

impl Kept {
    fn new() -> Self {
        Self { log: Arc::new(MemoryLog::new()), name: id(SESSION), head: 0 }
    }

    fn append(&mut self, records: &[Record]) {
        for chunk in records.chunks(100) {
            let expect = if self.head == 0 { Expect::New(None) } else { Expect::Any };
            let draft = |r: &Record| Draft { at: r.at, turn: r.turn, step: r.step, body: r.body.clone() };
            let append = Append {
                session: self.name.clone(),
                expect,
                id: format!("append:{}", self.head),
                records: chunk.iter().map(draft).collect(),
                blobs: Vec::new(),
            };
            self.head = block_on(self.log.append(append)).unwrap().last;
        }
    }

    fn push(&mut self, turn: Option<TurnNo>, body: Body) {
        let next = record(self.head + 1, turn, body);
        self.append(&[next]);
    }

    /// As a driver does when it rests.
    fn keep(&self) {
        let mut state = self.load();
        block_on(keep(&self.log, &self.name, &mut state));
        assert_eq!(kept_at(&self.log, &self.name), Some(self.head));
    }

    fn load(&self) -> State {
        block_on(State::load(&self.log, &self.name)).unwrap()
    }

    /// The fold from the snapshot on is the fold of everything; and what either decides, shows and derives.
    fn check(&self) {
        let (loaded, whole) = (self.load(), block_on(State::load_whole(&self.log, &self.name)).unwrap());
        assert_eq!(loaded.machine, whole.machine);
        assert_eq!(loaded.machine.next(), whole.machine.next());
        let waiting: Vec<Seq> = whole.machine.waiting().map(|(seq, _)| seq).collect();
        assert_eq!(loaded.transcript.with(&waiting), whole.transcript.with(&waiting));
        assert_eq!(loaded.history(), whole.history());
        let outside = block_on(self.outside());
        assert_eq!((outside.machine, outside.places), (whole.machine.clone(), whole.places.clone()));
        assert_eq!(text(loaded), text(whole));
    }

    /// What those outside need, from the small snapshot on.
    async fn outside(&self) -> Outside {
        let (mut outside, mut cursor): (Outside, _) = begin(&self.log, &self.name).await.unwrap();
        loop {
            let page = cursor.next_page(&*self.log).await.unwrap();
            if page.is_empty() {
                return outside;
            }
            page.iter().for_each(|(_, sealed)| outside.apply(&sealed.record).unwrap());
        }
    }
}

/// All of a state that a later record can meet.
fn text(mut state: State) -> String {
    state.forget_past();
    (state.weight, state.fresh, state.snapped) = (0, 0, 0);
    format!("{state:?}")
}

fn kept_at(log: &SharedLog, session: &SessionId) -> Option<Seq> {
    block_on(log.snapshot_get(session, VERSION)).unwrap().map(|(seq, _)| seq)
}

fn rewound(to: Seq) -> Body {
    Body::Rewound(Rewound { to, files: None, conversation: true, by: "p".into() })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_fold_from_a_snapshot_is_the_fold_of_the_whole_log(
        bytes in prop::collection::vec(any::<u8>(), 0..160),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 1..4),
        backs in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..5),
        forked in any::<prop::sample::Index>(),
    ) {
        let records = log_of(&bytes);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| 1 + cut.index(records.len())).collect();
        cuts.sort_unstable();
        cuts.dedup();
        let (mut kept, mut done) = (Kept::new(), 0);
        for cut in cuts {
            kept.append(&records[done..cut]);
            done = cut;
            // Each is made of the one before and what came since, wherever a turn stands.
            kept.keep();
            kept.check();
        }
        kept.append(&records[done..]);
        kept.check();

        // Back to any record, before the snapshot too, and on from there.
        for (n, (back, again)) in backs.iter().enumerate() {
            let to = 1 + back.index(kept.head as usize) as Seq;
            kept.push(None, rewound(to));
            kept.check();
            let seq = kept.head + 1;
            kept.push(None, input("go on", Delivery::NextTurn));
            kept.check();
            if *again {
                kept.keep();
            }
            let first = block_on(State::load_whole(&kept.log, &kept.name)).unwrap();
            let first = first.machine.waiting().next().map_or(seq, |(first, _)| first);
            kept.push(Some(1_000 + n as TurnNo), started(vec![first], Limits::default(), OnAsk::Deny));
            kept.check();
        }

        // A fork begins with the snapshot of the log that it shares, where that is not past the fork.
        let at = 1 + forked.index(kept.head as usize) as Seq;
        let hash = block_on(kept.log.read(&kept.name, at, 1)).unwrap()[0].hash;
        let parent = Parent { session: kept.name.clone(), seq: at, hash };
        let mut fork = Kept { log: kept.log.clone(), name: id("fork"), head: 0 };
        fork.append(&[record(1, None, opened("fork", Some(parent)))]);
        fork.check();
        fork.push(None, input("from the fork", Delivery::NextTurn));
        fork.push(Some(5_000), started(vec![2], Limits::default(), OnAsk::Deny));
        fork.check();
        fork.keep();
        fork.push(None, rewound(2));
        fork.check();
    }
}

/// A session with two inputs that wait, and a snapshot of it.
fn waiting() -> Kept {
    let mut kept = Kept::new();
    kept.append(&[record(1, None, opened(SESSION, None))]);
    kept.push(None, input("one", Delivery::NextTurn));
    kept.push(None, input("two", Delivery::NextTurn));
    kept.keep();
    kept
}

fn begun_at(log: &SharedLog) -> Seq {
    block_on(begin::<State>(log, &id(SESSION))).unwrap().0.head
}

#[test]
fn only_what_came_since_is_read() {
    let mut kept = waiting();
    kept.push(None, input("three", Delivery::NextTurn));
    let (state, mut cursor) = block_on(begin::<State>(&kept.log, &kept.name)).unwrap();
    assert_eq!(state.head, 3);
    let page = block_on(cursor.next_page(&*kept.log)).unwrap();
    assert_eq!(page.iter().map(|(_, sealed)| sealed.record.seq).collect::<Vec<_>>(), [4]);
}

#[test]
fn what_does_not_fit_is_passed_over() {
    let kept = waiting();
    let (_, bytes) = block_on(kept.log.snapshot_get(&kept.name, VERSION)).unwrap().unwrap();
    let other = {
        let mut other = Kept::new();
        other.append(&[record(1, None, opened(SESSION, None))]);
        other.push(None, input("one", Delivery::NextTurn));
        other.push(None, input("another", Delivery::NextTurn));
        other
    };
    let check = |what: &str, bytes: &[u8], seq: Seq| {
        block_on(other.log.snapshot_put(&other.name, seq, VERSION, Bytes::copy_from_slice(bytes))).unwrap();
        assert_eq!(begun_at(&other.log), 0, "{what}");
        other.check();
    };
    check("of another log with the same name", &bytes, 3);
    check("nothing", b"", 3);
    check("cut", &bytes[..bytes.len() / 2], 3);
    check("of a later record than there is", &bytes, 9);

    // In the log that it is of, with a bit flipped wherever it may be.
    assert_eq!(begun_at(&kept.log), 3);
    for at in (0..bytes.len()).step_by(97) {
        let mut flipped = bytes.to_vec();
        flipped[at] ^= 1;
        block_on(kept.log.snapshot_put(&kept.name, 3, VERSION, flipped.into())).unwrap();
        assert_eq!(begun_at(&kept.log), 0, "bit of byte {at}");
        kept.check();
    }
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let newer = text.replacen(&made_by(), "sterna 99.0.0", 1);
    block_on(kept.log.snapshot_put(&kept.name, 3, VERSION, newer.into())).unwrap();
    assert_eq!(begun_at(&kept.log), 0, "of another Sterna");
    block_on(kept.log.snapshot_put(&kept.name, 3, VERSION, bytes)).unwrap();
    assert_eq!(begun_at(&kept.log), 3);
}

#[test]
fn a_rewind_behind_a_snapshot_is_told_and_the_whole_log_read() {
    let mut kept = waiting();
    kept.push(None, rewound(2));
    let (mut state, _) = block_on(begin::<State>(&kept.log, &kept.name)).unwrap();
    let back = record(4, None, rewound(2));
    assert!(matches!(state.apply(&back), Err(RuntimeError::Forgotten { to: 2, from: 3 })));
    let waits: Vec<Seq> = kept.load().machine.waiting().map(|(seq, _)| seq).collect();
    assert_eq!(waits, [2]);
}

#[test]
fn snapshots_are_a_share_of_what_the_log_writes() {
    let due = |head: Seq, horizon: Seq, fresh: usize, snapped: usize, every: u64| {
        let mut state = State::default();
        (state.head, state.horizon) = (head, horizon);
        (state.fresh, state.snapped) = (fresh, snapped);
        state.is_snapshot_due(every)
    };
    assert!(!due(255, 0, 1, 0, 256));
    assert!(due(256, 0, 1, 0, 256));
    assert!(!due(256, 0, 1, 0, u64::MAX));
    // The last one had 10,000 bytes: one more when four times as much came.
    assert!(!due(600, 256, 39_999, 10_000, 256));
    assert!(due(600, 256, 40_000, 10_000, 256));
    assert!(!due(511, 256, 40_000, 10_000, 256));
}
