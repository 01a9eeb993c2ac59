//! What a turn was begun with is what it ends with, and what the log holds is what is asked for.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::*;
use futures::FutureExt;
use futures::future::pending;
use serde_json::{Value, json};
use sterna_context::Section;
use sterna_log::{Append, Expect, Log, LogError};
use sterna_model::*;
use sterna_runtime::*;
use sterna_tool::{ToolDone, ToolReturn};
use tokio::sync::Notify;

/// A prompt of one text.
fn prompt(text: &str) -> PromptSource {
    let section = Section {
        name: "project".into(),
        owner: "AGENTS.md".into(),
        stability: Stability::Stable,
        text: text.into(),
    };
    PromptSource::new(vec![section])
}

fn system(body: &Value) -> &str {
    body["messages"][0]["content"].as_str().unwrap()
}

/// Killed while its tool ran, and while its second model call did.
#[test]
fn new_prompt_files_count_from_the_next_turn_on() {
    for in_model in [false, true] {
        // A process of its own: with it all of its tasks are gone.
        let process = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let life = process();
        let (first, accepted) = life.block_on(until_killed(in_model));
        drop(life);
        process().block_on(async {
            let next = first.next_life("two", TestModel::new([Say::Text("one"), Say::Text("two")]));
            let new = TurnConfig { prompt: prompt("the new text"), ..next.config() };
            next.runtime.resume(&accepted.session, new.clone());
            assert_eq!(next.result(&accepted).await.message.as_deref(), Some("one"));
            let again = Submit { config: new, ..next.submit("s", "on") };
            let accepted = next.runtime.submit(again).await.unwrap();
            assert_eq!(next.result(&accepted).await.message.as_deref(), Some("two"));
            assert_eq!(system(&first.model.body(0)), "the old text");
            assert_eq!(system(&next.model.body(0)), "the old text", "in_model: {in_model}");
            assert_eq!(system(&next.model.body(1)), "the new text", "in_model: {in_model}");
            // And each of them can be derived again.
            let session = SessionId::new("s").unwrap();
            assert_eq!(replay(next.runtime.parts(), &session).await.unwrap().difference, None);
        });
    }
}

/// A life that begins a turn with the old text, and gets as far as its tool, or as its second model call.
async fn until_killed(in_model: bool) -> (World, Accepted) {
    let begun = Arc::new(Notify::new());
    let tool = {
        let begun = begun.clone();
        tool("slow", EffectClass::Idempotent, move |cx, _| {
            let begun = begun.clone();
            async move {
                if cx.attempt == 1 && !in_model {
                    begun.notify_one();
                    pending::<()>().await;
                }
                Ok(ToolReturn::Done(ToolDone::text("slow done")))
            }
            .boxed()
        })
    };
    let first =
        World::new(TestModel::new([Say::Calls(vec![("slow", json!({}))]), Say::Hang("never")]), vec![tool]);
    let mut submit = first.submit("s", "go");
    submit.config.prompt = prompt("the old text");
    let accepted = first.runtime.submit(submit).await.unwrap();
    if in_model {
        while first.model.asked() < 2 {
            first.model.arrived.notified().await;
        }
    } else {
        begun.notified().await;
    }
    (first, accepted)
}

/// A prompt's manifest and all that it names.
async fn prompt_blobs(world: &World, manifest: &Digest) -> Vec<bytes::Bytes> {
    let list = sterna_log::Blobs::get(&*world.log, manifest).await.unwrap();
    let parsed: Manifest = serde_json::from_slice(&list).unwrap();
    let parts = parsed.parts.iter().map(|part| part.text.hash);
    let hashes: Vec<Digest> = parts.chain(parsed.tools.iter().map(|tool| tool.spec.hash)).collect();
    let mut blobs = vec![list];
    for hash in hashes {
        blobs.push(sterna_log::Blobs::get(&*world.log, &hash).await.unwrap());
    }
    blobs
}

/// A log whose turn is open, with one record changed: to this build's machine it is the log of another machine.
async fn altered(change: impl Fn(&mut Body) + Send) -> (World, RuntimeError) {
    let first = World::new(
        TestModel::new([Say::Calls(vec![("a", json!({})), ("b", json!({}))]), Say::Hang("never")]),
        vec![echo("a", EffectClass::Idempotent), echo("b", EffectClass::Idempotent)],
    );
    first.runtime.submit(first.submit("s", "go")).await.unwrap();
    while first.model.asked() < 2 {
        first.model.arrived.notified().await;
    }
    let records = first.records("s").await;
    let next = World::new(TestModel::default(), first.tools.clone());
    let session = SessionId::new("s").unwrap();
    let changed = records.into_iter().map(|mut record| {
        change(&mut record.body);
        (session.clone(), record)
    });
    let log: sterna_log::SharedLog = next.log.clone();
    refill(&log, &next.env, changed).await.unwrap();
    for record in first.records("s").await {
        if let Body::Intent(intent) = &record.body
            && let Intended::Model(model) = &intent.what
        {
            for blob in prompt_blobs(&first, &model.manifest).await {
                sterna_log::Blobs::put(&*next.log, blob).await.unwrap();
            }
        }
    }
    let before = next.records("s").await.len();
    next.runtime.resume(&session, next.config());
    let error = next.runtime.result(&session, 2).await.unwrap_err();
    assert_eq!(next.model.asked(), 0);
    let after = next.records("s").await;
    assert_eq!(after.len(), before);
    assert!(!after.iter().any(|record| matches!(record.body, Body::TurnCommitted(_))));
    (next, error)
}

#[tokio::test]
async fn an_effect_that_is_not_asked_for_is_a_replay_mismatch() {
    let mut seen = Vec::new();
    // The machine asks for `b` where the log has run another tool; for two calls where the log has three; for step 2
    // where the log has 3.
    let name = |body: &mut Body| {
        if let Body::Intent(intent) = body
            && let Intended::Tool(tool) = &mut intent.what
            && tool.name == "b"
        {
            tool.name = "c".into();
        }
    };
    seen.push(altered(name).await.1);
    let ordinal = |body: &mut Body| {
        if let Body::Outcome(outcome) = body
            && outcome.key.kind == EffectKind::Tool
            && outcome.key.ordinal == 1
        {
            outcome.key.ordinal = 2;
        }
    };
    seen.push(altered(ordinal).await.1);
    let step = |body: &mut Body| {
        if let Body::Intent(intent) = body
            && intent.key.kind == EffectKind::Model
            && intent.key.step == 2
        {
            intent.key.step = 3;
        }
    };
    let (world, error) = altered(step).await;
    seen.push(error);
    let told: Vec<String> = seen
        .iter()
        .map(|error| match error {
            RuntimeError::ReplayMismatch { session, paths, .. } => format!("{session}: {paths}"),
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(
        told,
        [
            "s: name is `c` in the log, and `b` is asked for",
            "s: ordinal is 2 in the log, and one of 2 calls is asked for",
            "s: step is 3 in the log, and 2 is asked for",
        ]
    );
    assert!(seen[0].to_string().starts_with("replay_mismatch at record "), "{}", seen[0]);
    // It can still be read, and replay says the same.
    let replayed = replay(world.runtime.parts(), &SessionId::new("s").unwrap()).await;
    assert!(matches!(replayed, Err(RuntimeError::ReplayMismatch { .. })), "{replayed:?}");
    let append = Append {
        session: SessionId::new("s").unwrap(),
        expect: Expect::Any,
        id: "title".into(),
        records: vec![Draft {
            at: 1,
            turn: None,
            step: None,
            body: Body::TitleSet { title: "t".into(), by: "t".into(), made: None },
        }],
        blobs: Vec::new(),
    };
    let appended: Result<_, LogError> = world.log.append(append).await;
    appended.unwrap();
}
