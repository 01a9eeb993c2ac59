//! Files of a history: what a model that sees is shown, and what stands for them where it does not.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use sterna_context::{
    Form, Load, Loaded, Step, Transcript, first_step, has_files, marked, reference, show, wanted,
};
use sterna_llm::{Item, Shown, UserPart};
use sterna_model::*;

const SEES: Sight = Sight { images: true, documents: true };
const BLIND: Sight = Sight { images: false, documents: false };

fn blob(n: u8, bytes: u64) -> BlobRef {
    BlobRef { hash: Digest([n; 32]), bytes }
}

fn png(n: u8, bytes: u64) -> Attachment {
    let size = (Some(640), Some(480));
    Attachment { width: size.0, height: size.1, ..Attachment::new("a.png", "image/png", blob(n, bytes)) }
}

fn pdf(text: Option<BlobRef>) -> Attachment {
    Attachment { pages: Some(2), text, ..Attachment::new("b.pdf", PDF, blob(2, 20)) }
}

/// An input, as the request that takes it has it.
fn said(files: Vec<Attachment>) -> Vec<Arc<Item>> {
    let mut parts = vec![InputPart::Text("look".into())];
    parts.extend(files.into_iter().map(InputPart::File));
    let body = Body::InputAccepted(InputAccepted {
        key: None,
        delivery: Delivery::NextTurn,
        parts,
        origin: "test".into(),
        given: None,
        compact: None,
        tainted: Vec::new(),
        ended: None,
    });
    let mut transcript = Transcript::new();
    transcript.apply(&Draft { at: 1, turn: None, step: None, body }.at_seq(1));
    transcript.with(&[1])
}

fn loaded() -> Loaded {
    let some = |text: &str| Some(Arc::from(text));
    Loaded::from([
        ((Digest([1; 32]), Form::Base64), some("QUFB")),
        ((Digest([2; 32]), Form::Base64), some("QkJC")),
        ((Digest([3; 32]), Form::Text), some("a \"text\"\n")),
        ((Digest([4; 32]), Form::Base64), None),
    ])
}

/// The parts after the prompt: `=DATA` for bytes.
fn shown(files: Vec<Attachment>, sight: Sight) -> (Vec<String>, FilesSent) {
    let (items, sent) = show(said(files), sight, &loaded());
    let Item::Mixed(parts) = &*items[0] else { panic!("{items:?}") };
    let text = |part: &UserPart| match part {
        UserPart::Text(text) => text.clone(),
        UserPart::File(file) => match &file.shown {
            Shown::Text(text) => text.to_string(),
            Shown::Data(data) => format!("={data}"),
        },
    };
    (parts.iter().skip(1).map(text).collect(), sent.unwrap())
}

#[test]
fn each_file_is_shown_or_stands_for_itself() {
    let named = "image a.png (image/png, 640×480, 10 bytes)";
    let text = Attachment::new("c\"\n.txt", "text/plain", blob(3, 9));
    let quoted = |name: &str| format!("<file name=\"{name}\">\na \"text\"\n</file>");
    let unseen = format!("[{named} is not shown: this model is not known to take images]");
    let document = "document b.pdf (application/pdf, 2 pages, 20 bytes)";
    for (file, sight, expected) in [
        (png(1, 10), SEES, vec![format!("[{named}]"), "=QUFB".into()]),
        (png(1, 10), BLIND, vec![unseen]),
        (png(4, 10), SEES, vec![format!("[{named} is not shown: its bytes are not kept any more]")]),
        (png(9, 10), SEES, vec![format!("[{named} is not shown: its bytes are not kept any more]")]),
        (pdf(None), SEES, vec![format!("[{document}]"), "=QkJC".into()]),
        (pdf(Some(blob(3, 9))), BLIND, vec![quoted("b.pdf")]),
        (
            pdf(None),
            BLIND,
            vec![format!(
                "[{document} is not shown: this model is not known to take PDF documents, and it has no text]"
            )],
        ),
        (text.clone(), BLIND, vec![quoted("c__.txt")]),
        (
            Attachment::new("x.zip", "application/zip", blob(1, 10)),
            SEES,
            vec![
                "[file x.zip (application/zip, 10 bytes) is not shown: no model takes files of this kind]"
                    .into(),
            ],
        ),
    ] {
        let (parts, sent) = shown(vec![file], sight);
        assert_eq!(parts, expected);
        assert_eq!(sent.sight, sight);
    }
    // By hand: 640 × 480 / 750 = 409; two pages at 3,000. Four bytes of base64 each.
    let (_, sent) = shown(vec![png(1, 10), pdf(None), text], SEES);
    assert_eq!((sent.bytes, sent.tokens), (8, 409 + 6_000));
    assert_eq!(FilesSent::weight(Some(&sent), 1_000), 1_000 - 8 + 4 * 6_409);
    assert_eq!(FilesSent::weight(None, 1_000), 1_000);
}

#[test]
fn a_history_without_files_is_as_it_was() {
    let items = said(Vec::new());
    assert!(!has_files(&items) && wanted(&items, SEES).is_empty());
    let (after, sent) = show(items.clone(), SEES, &Loaded::new());
    assert!(Arc::ptr_eq(&items[0], &after[0]) && sent.is_none());
}

#[test]
fn the_newest_files_are_sent_and_the_others_are_named() {
    let files = vec![png(1, 9_000_000), png(2, 9_000_000), png(4, 9_000_000)];
    assert_eq!(
        wanted(&said(files.clone()), SEES),
        [(Digest([4; 32]), Form::Base64), (Digest([2; 32]), Form::Base64)]
    );
    let (parts, _) = shown(files, SEES);
    let first = "[image a.png (image/png, 640×480, 9000000 bytes) was shown before and is left out here]";
    assert_eq!((parts[0].as_str(), parts[2].as_str()), (first, "=QkJC"));
    assert_eq!(wanted(&said(vec![png(1, 1); 101]), SEES).len(), 100);
}

/// A compaction cuts files as it cuts long results, first where that is enough, and says in the history what they were.
#[test]
fn old_files_become_references_when_the_window_fills() {
    let said = |text: &str, file: Attachment| {
        let parts = vec![InputPart::Text(text.into()), InputPart::File(file)];
        Body::InputAccepted(InputAccepted {
            key: None,
            delivery: Delivery::NextTurn,
            parts,
            origin: "test".into(),
            given: None,
            compact: None,
            tainted: Vec::new(),
            ended: None,
        })
    };
    let taken = |input| {
        let what = Intended::Model(ModelIntent {
            route: "test/m".parse().unwrap(),
            transition: Transition::Input,
            inputs: vec![input],
            history: Vec::new(),
            manifest: Digest::ZERO,
            tools_off: false,
            max_output: 1,
            encoder: "test/1".into(),
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
    };
    let answer = |text: String| {
        let result = EffectResult::Model(ModelOutcome {
            parts: vec![Part::Text(text)],
            stop: ModelStop::EndTurn,
            classes: Vec::new(),
            billed: Billed::default(),
            partial: false,
            duration_ms: 0,
            checked: None,
        });
        let key = "s/1/1/model/0".parse().unwrap();
        Body::Outcome(Box::new(Outcome { key, attempt: 1, result }))
    };
    let mut transcript = Transcript::new();
    let mut seq = 0;
    let mut apply = |transcript: &mut Transcript, body| {
        seq += 1;
        transcript.apply(&Draft { at: 1, turn: None, step: None, body }.at_seq(seq));
    };
    // An image of 5,000 tokens, far from the end; then one that waits.
    let large = Attachment::new("old.png", "image/png", blob(1, 10));
    apply(&mut transcript, said("first", large.clone()));
    apply(&mut transcript, taken(1));
    apply(&mut transcript, answer("x".repeat(4_000)));
    apply(&mut transcript, said("now", Attachment { name: "new.png".into(), ..large.clone() }));
    let entries = transcript.entries(&[4]);
    let bytes = entries.iter().map(|entry| sterna_context::size(&entry.item)).sum();
    // A token is four bytes; without the old image it is less than half of the window.
    let load = Load { window: 13_000, bytes, tokens: bytes / 4 };
    let Step::Change(change) = first_step(&entries, &load, true, false) else { panic!() };
    assert_eq!((change.stage, &change.cut[..]), (CompactStage::Results, &[1][..]));
    let compacted = change.record(CompactTrigger::Window, None, load.tokens, None, None);
    assert!(compacted.tokens_after + 4_900 < compacted.tokens_before, "{compacted:?}");
    apply(&mut transcript, Body::Compacted(Box::new(compacted)));
    let items = transcript.with(&[4]);
    assert_eq!(*items[0], Item::User(vec!["first".into(), reference(&large)]));
    let Item::Mixed(parts) = &*items[2] else { panic!("{items:?}") };
    assert!(matches!(&parts[1], UserPart::File(part) if part.file.name == "new.png"));
}

#[test]
fn a_reference_tells_how_to_read_on() {
    assert_eq!(
        reference(&pdf(Some(blob(3, 9)))),
        format!(
            "[document b.pdf (application/pdf, 2 pages, 20 bytes) was shown before and is left out here; recall \
             {{\"ref\":\"blob:{}\"}} reads its text]",
            Digest([3; 32])
        )
    );
}

/// A result of `read` of a file that strangers made.
fn read(view: &str, file: Attachment, sight: Sight) -> (String, Vec<Shown>) {
    let mut transcript = Transcript::new();
    let key = |kind: &str| format!("s/1/1/{kind}/0").parse::<EffectKey>().unwrap();
    let call = ToolCall { id: "c1".into(), name: "read".into(), arguments: "{}".into(), truncated: false };
    let model = EffectResult::Model(ModelOutcome {
        parts: vec![Part::ToolCall(call)],
        stop: ModelStop::ToolCalls,
        classes: Vec::new(),
        billed: Billed::default(),
        partial: false,
        duration_ms: 0,
        checked: None,
    });
    let tool = EffectResult::Tool(ToolOutcome {
        status: ToolStatus::Ok,
        view: view.into(),
        full: None,
        facts: Vec::new(),
        started_at: 1,
        duration_ms: 0,
        untrusted: Some(Box::new(Untrusted { origin: "file:/tmp/b".into(), flags: Vec::new() })),
        attachments: vec![file],
    });
    for (seq, (kind, result)) in [("model", model), ("tool", tool)].into_iter().enumerate() {
        let outcome = Outcome { key: key(kind), attempt: 1, result };
        let body = Body::Outcome(Box::new(outcome));
        transcript.apply(&Draft { at: 1, turn: Some(1), step: Some(1), body }.at_seq(seq as u64 + 1));
    }
    let (items, _) = show(transcript.with(&[]), sight, &loaded());
    let Item::Results(results) = &*items[1] else { panic!("{items:?}") };
    assert!(results[0].files.iter().all(|file| file.origin.as_deref() == Some("file:/tmp/b")));
    (results[0].text.clone(), results[0].files.iter().map(|file| file.shown.clone()).collect())
}

#[test]
fn a_document_is_shown_as_it_is_or_as_its_text() {
    let file = Attachment { in_view: true, ..pdf(None) };
    let strange = |text: &str| marked(text, "file:/tmp/b");
    let instead = "[document b.pdf (application/pdf, 2 pages, 20 bytes) is shown as it is]";
    assert_eq!(read("its text", file.clone(), SEES), (strange(instead), vec![Shown::Data("QkJC".into())]));
    assert_eq!(read("its text", file, BLIND), (strange("its text"), Vec::new()));
    let (text, shown) = read("an image", png(1, 10), SEES);
    assert_eq!((text, shown), (strange("an image"), vec![Shown::Data("QUFB".into())]));
}
