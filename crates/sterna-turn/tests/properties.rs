//! What holds for every log that the machine's own wishes make.

#![allow(clippy::unwrap_used)]

mod world;

use std::collections::BTreeMap;

use proptest::prelude::*;
use sterna_model::*;
use sterna_turn::{Next, TurnMachine};
use world::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_prefix_decides_the_same_from_scratch_and_from_a_snapshot(bytes in choices()) {
        let records = random_log(&bytes);
        let mut live = TurnMachine::new();
        // Goes through its text form at every record: a snapshot may be taken anywhere.
        let mut stored = TurnMachine::new();
        for (n, record) in records.iter().enumerate() {
            live.apply(record).unwrap();
            stored.apply(record).unwrap();
            stored = serde_json::from_str(&serde_json::to_string(&stored).unwrap()).unwrap();
            prop_assert_eq!(&live, &stored);
            prop_assert_eq!(live.next(), live.next());
            prop_assert_eq!(live.next(), stored.next());
            if n % 7 == 0 || n + 1 == records.len() {
                let mut scratch = TurnMachine::new();
                records[..=n].iter().for_each(|record| scratch.apply(record).unwrap());
                prop_assert_eq!(&scratch, &live);
            }
        }
        prop_assert_eq!(live.next(), Next::Idle);
    }

    #[test]
    fn a_rewind_closes_the_turn_and_drops_the_inputs_that_came_since(
        bytes in choices(),
        at in any::<prop::sample::Index>(),
        back in any::<prop::sample::Index>(),
    ) {
        let records = random_log(&bytes);
        let n = at.index(records.len());
        let mut before = TurnMachine::new();
        records[..=n].iter().for_each(|record| before.apply(record).unwrap());
        let to = 1 + back.index(n + 1) as u64;
        let rewound = |conversation: bool, to: Seq| {
            let body = Body::Rewound(Rewound { to, files: None, conversation, by: "p".into() });
            record(before.head() + 1, None, body)
        };

        let mut machine = before.clone();
        machine.apply(&rewound(true, to)).unwrap();
        prop_assert!(machine.turn().is_none());
        let kept: Vec<_> = before.waiting().filter(|(input, _)| *input <= to).collect();
        prop_assert_eq!(machine.waiting().collect::<Vec<_>>(), kept.clone());
        // Numbers of turns go on: none is used twice, and no key of an effect either.
        prop_assert_eq!(machine.turns(), before.turns());
        prop_assert_eq!(machine.next(), match kept.first() {
            Some((input, _)) => Next::Start { turn: before.turns() + 1, inputs: vec![*input] },
            None => Next::Idle,
        });

        let mut machine = before.clone();
        machine.apply(&rewound(false, to)).unwrap();
        prop_assert_eq!(machine.next(), before.next());
        for wrong in [0, before.head() + 1] {
            prop_assert!(before.clone().apply(&rewound(true, wrong)).is_err());
        }
    }

    #[test]
    fn turns_end_once_and_calls_are_answered_once_before_the_next_request(bytes in choices()) {
        let records = random_log(&bytes);
        let mut turns: BTreeMap<TurnNo, usize> = BTreeMap::new();
        let mut open: Vec<usize> = Vec::new();
        let mut taken: BTreeMap<Seq, usize> = BTreeMap::new();
        for record in &records {
            match &record.body {
                Body::TurnStarted(started) => {
                    turns.insert(record.turn.unwrap(), 0);
                    started.inputs.iter().for_each(|input| *taken.entry(*input).or_default() += 1);
                }
                Body::TurnCommitted(_) => {
                    prop_assert!(open.iter().all(|answers| *answers == 1), "{open:?}");
                    *turns.get_mut(&record.turn.unwrap()).unwrap() += 1;
                }
                Body::Intent(intent) => if let Intended::Model(model) = &intent.what {
                    prop_assert!(open.iter().all(|answers| *answers == 1), "{open:?}");
                    open.clear();
                    model.inputs.iter().for_each(|input| *taken.entry(*input).or_default() += 1);
                },
                Body::Outcome(outcome) => match &outcome.result {
                    EffectResult::Model(model) => {
                        let calls = model.parts.iter().filter(|part| matches!(part, Part::ToolCall(_)));
                        open = vec![0; calls.count()];
                    }
                    EffectResult::Tool(_) => open[outcome.key.ordinal as usize] += 1,
                    EffectResult::ModelFailed(_) | EffectResult::Summary(_) | EffectResult::Judged(_) => {}
                },
                _ => {}
            }
        }
        prop_assert!(turns.values().all(|ends| *ends == 1), "{turns:?}");
        // Every input is heard once, or was withdrawn.
        for record in &records {
            if matches!(record.body, Body::InputAccepted(_)) {
                let withdrawn = records.iter().any(|other| {
                    matches!(&other.body, Body::InputWithdrawn { inputs, .. } if inputs.contains(&record.seq))
                });
                let times = taken.get(&record.seq).copied().unwrap_or(0);
                prop_assert_eq!(times, usize::from(!withdrawn), "input {}", record.seq);
            }
        }
    }

    #[test]
    fn a_record_out_of_its_place_changes_nothing(bytes in choices(), at in any::<prop::sample::Index>()) {
        let records = random_log(&bytes);
        let n = at.index(records.len());
        let mut machine = TurnMachine::new();
        records[..n].iter().for_each(|record| machine.apply(record).unwrap());
        for (other, record) in records.iter().enumerate().filter(|(other, _)| *other != n) {
            let before = machine.clone();
            prop_assert!(machine.apply(record).is_err(), "record {other} after {n}");
            prop_assert_eq!(&machine, &before);
        }
        // In the right place, and of another moment: applied whole, or not at all.
        for record in &records {
            let mut tried = machine.clone();
            let misplaced = Record { seq: machine.head() + 1, ..record.clone() };
            if let Err(wrong) = tried.apply(&misplaced) {
                prop_assert_eq!(wrong.seq, misplaced.seq);
                prop_assert_eq!(&tried, &machine);
            } else {
                prop_assert_eq!(tried.head(), misplaced.seq);
            }
        }
    }
}

fn choices() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..160)
}
