//! What a request asks of the whole history is counted as the log is folded. The oracle looks at each item.

#![allow(clippy::unwrap_used)]

#[path = "../../sterna-turn/tests/world/mod.rs"]
mod world;

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;
use sterna_context::{Transcript, has_files};
use sterna_llm::Item;
use sterna_model::*;
use world::{answered, input, record};

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn counts_are_those_of_a_look_at_every_item(moves in prop::collection::vec((0u8..8, any::<u8>()), 1..60)) {
        let mut transcript = Transcript::new();
        let mut seq = 0;
        let mut waiting = Vec::new();
        for (what, how) in moves {
            let body = match what {
                // Two inputs, with a file or without.
                0 | 1 => said(how % 3 == 0),
                2 | 3 => thought(seq, how),
                4 => begun(std::mem::take(&mut waiting)),
                5 if seq > 0 => Body::Rewound(Rewound {
                    to: u64::from(how) % seq + 1,
                    files: None,
                    conversation: true,
                    by: "p".into(),
                }),
                6 => withheld(u64::from(how) % (seq + 1)),
                _ => compacted(u64::from(how) % (seq + 1)),
            };
            seq += 1;
            transcript.apply(&record(seq, Some(1), body));
            waiting.retain(|input| transcript.input(*input).is_some());
            if transcript.input(seq).is_some() {
                waiting.push(seq);
            }
            for shown in [transcript.with(&[]), transcript.with(&waiting)] {
                prop_assert_eq!(transcript.has_files(&shown), has_files(&shown));
                for route in ["test/a", "test/b", "test/c"] {
                    let route = route.parse().unwrap();
                    prop_assert_eq!(transcript.foreign(&shown, &route), foreign(&shown, &route));
                }
            }
        }
    }
}

fn foreign(items: &[Arc<Item>], route: &Route) -> u32 {
    let mut count = 0;
    for item in items {
        let Item::Assistant(parts) = &**item else { continue };
        for part in parts {
            match part {
                Part::Opaque(opaque) if opaque.route != *route => count += 1,
                Part::Reasoning(Reasoning { opaque: Some(opaque), .. }) if opaque.route != *route => {
                    count += 1
                }
                _ => {}
            }
        }
    }
    count
}

fn said(with_file: bool) -> Body {
    let Body::InputAccepted(mut accepted) = input("look", Delivery::NextTurn) else { panic!() };
    if with_file {
        let blob = BlobRef { hash: Digest([1; 32]), bytes: 3 };
        accepted.parts.push(InputPart::File(Attachment::new("a.png", "image/png", blob)));
    }
    Body::InputAccepted(accepted)
}

fn begun(inputs: Vec<Seq>) -> Body {
    world::started(inputs, Limits::default(), OnAsk::Deny)
}

fn thought(seq: Seq, how: u8) -> Body {
    let key: EffectKey = format!("s/1/{seq}/model/0").parse().unwrap();
    let opaque =
        || Opaque { route: ["test/a", "test/b"][usize::from(how % 2)].parse().unwrap(), json: "{}".into() };
    let mut parts = vec![Part::Text("said".into())];
    if !how.is_multiple_of(3) {
        parts.push(Part::Opaque(opaque()));
    }
    if how.is_multiple_of(5) {
        parts.push(Part::Reasoning(Reasoning { text: "so".into(), opaque: Some(opaque()) }));
    }
    answered(&key, parts, Vec::new(), ModelStop::EndTurn)
}

fn withheld(input: Seq) -> Body {
    let says = json!({"blocked": true});
    let ran = json!({"key": "k", "event": "UserPromptSubmit", "input": input, "hooks": [], "says": says});
    Body::HookRan(Box::new(serde_json::from_value(ran).unwrap()))
}

/// Everything up to a record leaves the requests.
fn compacted(to: Seq) -> Body {
    let compacted = json!({
        "trigger": "manual", "stage": "summary", "archive": {"from": 1, "to": to.max(1)},
        "tokens_before": 2, "tokens_after": 1, "bytes_before": 2, "bytes_after": 1,
    });
    Body::Compacted(Box::new(serde_json::from_value(compacted).unwrap()))
}
