use futures::executor::block_on;
use sterna_model::{
    BlobRef, Draft, EffectClass, Intent, ModelIntent, Outcome, PromptPart, Stability, ToolOutcome,
    ToolStatus, Transition,
};

use super::*;
use crate::conformance::{append, draft, id, input, open, opened_in};
use crate::{Expect, MemoryLog};

fn add(log: &MemoryLog, session: &str, name: &str, records: Vec<Draft>) {
    block_on(log.append(append(session, Expect::Any, name, records))).unwrap();
}

#[test]
fn a_history_comes_in_bounded_pages() {
    let log = MemoryLog::new();
    block_on(open(&log, "p"));
    for n in 0..5 {
        add(&log, "p", &n.to_string(), (0..500).map(|i| input(&i.to_string(), None)).collect());
    }
    let at = block_on(log.read(&id("p"), 1500, 1)).unwrap().remove(0);
    let parent = Parent { session: id("p"), seq: 1500, hash: at.hash };
    let fork = vec![opened_in("f", "/work", Some(parent))];
    block_on(log.append(append("f", Expect::New(None), "open", fork))).unwrap();
    let pages = |session: &str| {
        let session = id(session);
        let mut history = block_on(read_history(&log, &session)).unwrap();
        let mut sizes = Vec::new();
        loop {
            match block_on(history.next_page()).unwrap().len() {
                0 => return sizes,
                size => sizes.push(size),
            }
        }
    };
    assert_eq!(pages("p"), [1024, 1024, 453]);
    assert_eq!(pages("f"), [1024, 476, 1]);
    assert_eq!(block_on(block_on(read_history(&log, &id("f"))).unwrap().rest()).unwrap().len(), 1501);
    assert!(matches!(block_on(read_history(&log, &id("none"))), Err(LogError::NotFound(_))));
}

#[test]
fn a_record_whose_blobs_are_gone_is_bad() {
    let part =
        |text: &'static str| BlobRef { hash: crate::digest(text.as_bytes()), bytes: text.len() as u64 };
    let manifest = |text: &'static str| {
        let part = PromptPart {
            name: "base".into(),
            owner: "sterna".into(),
            stability: Stability::Stable,
            text: part(text),
        };
        serde_json::to_vec(&Manifest { v: 1, parts: vec![part], tools: vec![] }).unwrap()
    };
    let (whole, broken) = (manifest("kept"), manifest("lost"));
    let cases: [(Body, Option<&str>); 5] = [
        (tool(None), None),
        (tool(Some(part("kept"))), None),
        (tool(Some(part("lost"))), Some("is missing")),
        (model(crate::digest(&whole)), None),
        (model(crate::digest(&broken)), Some("is missing")),
    ];
    for (n, (body, bad)) in cases.into_iter().enumerate() {
        let log = MemoryLog::new();
        block_on(open(&log, "s"));
        for blob in ["kept".into(), whole.clone().into(), broken.clone().into()] {
            block_on(log.put(blob)).unwrap();
        }
        add(&log, "s", "x", vec![draft(1, body)]);
        let found = block_on(verify(&log, &log, &id("s"))).unwrap();
        match (found.first_bad, bad) {
            (None, None) => assert_eq!(found.records, 2),
            (Some((seq, detail)), Some(part)) => {
                assert!(seq == 2 && found.records == 1 && detail.contains(part), "{n}: {detail}");
            }
            (found, _) => panic!("{n}: {found:?}"),
        }
    }
}

fn tool(full: Option<BlobRef>) -> Body {
    let result = EffectResult::Tool(ToolOutcome {
        status: ToolStatus::Ok,
        view: String::new(),
        full,
        facts: vec![],
        started_at: 1,
        duration_ms: 1,
        untrusted: None,
        attachments: Vec::new(),
    });
    Body::Outcome(Box::new(Outcome { key: "s/1/1/tool/0".parse().unwrap(), attempt: 1, result }))
}

fn model(manifest: Digest) -> Body {
    let what = Intended::Model(ModelIntent {
        route: "local".parse().unwrap(),
        transition: Transition::Input,
        inputs: vec![],
        history: vec![],
        manifest,
        tools_off: false,
        max_output: 1,
        encoder: "x/1".into(),
        request: Digest::ZERO,
        bytes: 1,
        prefix: None,
        prefix_broken: Vec::new(),
        left_out: 0,
        schema_native: false,
        files: None,
        thinking: None,
    });
    let key = "s/1/1/model/0".parse().unwrap();
    Body::Intent(Box::new(Intent { key, class: EffectClass::Idempotent, attempt: 1, what }))
}
