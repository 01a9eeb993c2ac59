//! No secret is in the log, the events, the requests or a blob; what may write one gets it back, and nobody else.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/custom.rs"]
mod custom;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use common::*;
use custom::Custom;
use futures::FutureExt;
use serde_json::{Value, json};
use sterna_log::Blobs;
use sterna_model::*;
use sterna_runtime::*;
use sterna_secrets::{Config, Known};
use sterna_tool::{Access, Output, Placeholders, SharedTool, ToolDone, ToolReturn};

const TOKEN: &str = concat!("ghp", "_Zt5Wq8Kc1Xv4Rn7Lb2Mp9Hd6Gf3Js0Ty5Ua8");
const KEY: &str = "quill-4471-zebra";

/// A world that knows a key.
fn world(model: TestModel, tools: Vec<SharedTool>) -> World {
    knowing(World::new(model, tools))
}

fn knowing(world: World) -> World {
    let secrets = Secrets::new(|| {
        let known = vec![Known { name: "MY_KEY".into(), value: KEY.into() }];
        Config { known, key: Box::new(|| [3; 32]), ..Config::default() }
    });
    let parts = Parts { secrets, ..world.runtime.parts().clone() };
    World { runtime: Runtime::new(parts), ..world }
}

/// Says what it is told to say, and keeps what it was given.
fn writer(name: &str, placeholders: Placeholders) -> (SharedTool, Arc<Mutex<Vec<Value>>>) {
    let given = Arc::new(Mutex::new(Vec::new()));
    let kept = given.clone();
    let inner = tool_of(name, EffectClass::Idempotent, Access::Session, move |_, args| {
        kept.lock().unwrap().push(args);
        async move { Ok(ToolReturn::Done(ToolDone::text("written"))) }.boxed()
    });
    (Arc::new(Custom { inner, placeholders: Some(placeholders), origin: None }), given)
}

fn says(name: &str, text: String) -> SharedTool {
    tool(name, EffectClass::Pure, move |_, _| {
        let text = text.clone();
        async move { Ok(ToolReturn::Done(ToolDone::text(text))) }.boxed()
    })
}

/// All that the world keeps and has sent, as text.
async fn everything(world: &World) -> String {
    let records = world.records("s").await;
    let events = shown(world, "s").await;
    let bodies = world.model.bodies.lock().unwrap().join("\n");
    format!("{}\n{events:?}\n{bodies}", serde_json::to_string(&records).unwrap())
}

fn placeholder_in(text: &str, name: &str) -> String {
    let found: Vec<&str> = sterna_model::placeholders(text).map(|(_, p)| p).collect();
    let begin = format!("[secret:{name}:");
    (*found.iter().find(|p| p.starts_with(&begin)).unwrap_or_else(|| panic!("{name} in {text}"))).to_owned()
}

#[tokio::test]
async fn no_secret_is_kept_shown_or_sent() {
    let model = TestModel::new([
        Say::Calls(vec![("look", json!({"with": TOKEN}))]),
        Say::Text(concat!("it is ghp", "_Zt5Wq8Kc1Xv4Rn7Lb2Mp9Hd6Gf3Js0Ty5Ua8, I think")),
    ]);
    let world = world(model, vec![says("look", format!("line 1\nkey={KEY} token={TOKEN}\n"))]);
    let mut submit = world.submit("s", &format!("use {TOKEN} and {KEY}"));
    submit.live = true;
    let session = SessionId::new("s").unwrap();
    let mut observer = world.runtime.observe(&session, 0);
    let told = tokio::spawn(async move {
        let (mut live, mut notice) = (String::new(), String::new());
        loop {
            match &observer.next().await.unwrap().kind {
                EventKind::ModelDelta { text, .. } => live.push_str(text),
                EventKind::Warning { code, message } if code == "secret_redacted" => {
                    notice.clone_from(message)
                }
                EventKind::Result(_) => return (live, notice),
                _ => {}
            }
        }
    });
    let result = world.run(submit).await;
    let token = placeholder_in(result.message.as_deref().unwrap(), "github-token");
    assert_eq!(result.message, Some(format!("it is {token}, I think")));
    world.runtime.set_title(&session, &format!("about {KEY}"), "t").await.unwrap();
    let all = everything(&world).await;
    assert!(!all.contains(TOKEN) && !all.contains(KEY), "{all}");
    // The same placeholder wherever it stood: input, arguments, result, answer, title.
    let key = placeholder_in(&all, "MY_KEY");
    assert_eq!(
        sterna_model::placeholders(&all).map(|(_, p)| p).filter(|p| *p != token && *p != key).count(),
        0
    );
    // The model reads placeholders, and the person is told what became of the input.
    assert!(world.model.body(1).to_string().contains(&format!("key={key} token={token}")));
    let (live, notice) = told.await.unwrap();
    assert_eq!(live, format!("it is {token}, I think"));
    assert!(notice.contains(&token) && notice.contains(&key), "{notice}");
    let replayed = replay(world.runtime.parts(), &session).await.unwrap();
    assert_eq!((replayed.requests, replayed.difference), (2, None));
}

#[tokio::test]
async fn what_only_writes_gets_the_secret_and_what_runs_does_not() {
    let model = TestModel::new([Say::Calls(vec![("look", json!({}))])]);
    let (write, written) = writer("put", Placeholders::Restore);
    let (run, ran) = writer("run", Placeholders::Refuse);
    let (note, noted) = writer("note", Placeholders::Keep);
    let tools = vec![says("look", format!("a {TOKEN} b\n")), write, run, note];
    let first = world(model.clone(), tools);
    model.list.lock().unwrap().push_back(Say::Text("seen"));
    first.run(first.submit("s", "look")).await;
    let token = placeholder_in(&first.model.body(1).to_string(), "github-token");
    let text = format!("T={token}\n");
    let calls = || {
        vec![
            ("put", json!({"content": [text]})),
            ("run", json!({"command": text})),
            ("note", json!({"text": text})),
        ]
    };
    model.list.lock().unwrap().extend([Say::Calls(calls()), Say::Text("done")]);
    first.run(first.submit("s", "write it")).await;
    assert_eq!(*written.lock().unwrap(), [json!({"content": [format!("T={TOKEN}\n")]})]);
    assert!(ran.lock().unwrap().is_empty());
    assert_eq!(*noted.lock().unwrap(), [json!({"text": text})]);
    let told = first.model.body(3).to_string();
    assert!(told.contains("stands for a secret, which neither you nor this tool is given"), "{told}");
    let all = everything(&first).await;
    assert!(!all.contains(TOKEN), "{all}");
    // Another process never saw it, and does not guess.
    let model = TestModel::new([Say::Calls(calls()), Say::Text("done")]);
    let second = knowing(first.next_life("two", model));
    second.run(second.submit("s", "write it again")).await;
    assert_eq!(written.lock().unwrap().len(), 1);
    let told = second.model.body(1).to_string();
    assert!(told.contains("is not known to this process any more"), "{told}");
}

#[tokio::test]
async fn streamed_output_is_kept_without_secrets_and_put_bytes_as_they_are() {
    let whole = format!("{}{TOKEN}\n{}", "0123456789\n".repeat(3_000), "abcdefghij\n".repeat(3_000));
    let output = whole.clone();
    let stream = tool("stream", EffectClass::Pure, move |cx, _| {
        let output = output.clone();
        async move {
            let mut writer = cx.blobs.writer().unwrap();
            output.as_bytes().chunks(7).for_each(|piece| writer.write(piece).unwrap());
            let blob = writer.finish().unwrap();
            // The ends as the tool has them: cut in the middle of the secret.
            let at = output.find(TOKEN).unwrap();
            let (head, tail) = (output[..at + 12].to_owned(), output[at + 12..].to_owned());
            let note = String::new();
            let output = Output::Large { blob, head, tail, note };
            Ok(ToolReturn::Done(ToolDone { output, ..ToolDone::default() }))
        }
        .boxed()
    });
    let put = tool("put", EffectClass::Pure, |cx, _| {
        async move {
            let blob = cx.blobs.put(Bytes::from_static(TOKEN.as_bytes())).await.unwrap();
            Ok(ToolReturn::Done(ToolDone::text(blob.hash.to_string())))
        }
        .boxed()
    });
    let model =
        TestModel::new([Say::Calls(vec![("stream", json!({})), ("put", json!({}))]), Say::Text("ok")]);
    let world = world(model, vec![stream, put]);
    world.run(world.submit("s", "go")).await;
    let all = everything(&world).await;
    assert!(!all.contains(&TOKEN[..12]) && !all.contains(&TOKEN[12..]), "{all}");
    let records = world.records("s").await;
    let full = records.iter().find_map(|record| match &record.body {
        Body::Outcome(outcome) => match &outcome.result {
            EffectResult::Tool(result) => result.full.clone(),
            _ => None,
        },
        _ => None,
    });
    let kept = world.log.get(&full.unwrap().hash).await.unwrap();
    let kept = String::from_utf8(kept.to_vec()).unwrap();
    assert_eq!(kept, whole.replace(TOKEN, &placeholder_in(&kept, "github-token")));
    // An old version of a file is found by its hash.
    assert!(all.contains(&sterna_log::digest(TOKEN.as_bytes()).to_string()));
}

#[tokio::test]
async fn opaque_parts_with_a_secret_are_dropped_whole() {
    let opaque = |json: String| Opaque { route: "test/model".parse().unwrap(), json };
    let thought = |text: &str, json: &str| {
        Part::Reasoning(Reasoning { text: text.into(), opaque: Some(opaque(json.into())) })
    };
    let parts = vec![
        thought("plain", r#"{"sig":"abc"}"#),
        thought("hidden", &format!(r#"{{"enc":"{TOKEN}"}}"#)),
        thought(&format!("it is {KEY}"), r#"{"sig":"def"}"#),
        Part::Opaque(opaque(format!(r#"["{KEY}"]"#))),
        Part::Opaque(opaque(r#"["kept"]"#.into())),
        // Split over two parts.
        Part::Text(format!("the key is {}", &KEY[..5])),
        Part::Text(format!("{} and so on", &KEY[5..])),
    ];
    let world = world(TestModel::new([Say::Reply(reply(parts, ModelStop::EndTurn))]), vec![]);
    let result = world.run(world.submit("s", "go")).await;
    let all = everything(&world).await;
    assert!(!all.contains(TOKEN) && !all.contains(KEY), "{all}");
    let key = placeholder_in(&all, "MY_KEY");
    assert_eq!(result.message, Some(format!("the key is {key} and so on")));
    let records = world.records("s").await;
    let kept = records.iter().find_map(|record| match &record.body {
        Body::Outcome(outcome) => match &outcome.result {
            EffectResult::Model(model) => Some(model.parts.clone()),
            _ => None,
        },
        _ => None,
    });
    let without = |text: &str| Part::Reasoning(Reasoning { text: text.into(), opaque: None });
    let expected = vec![
        thought("plain", r#"{"sig":"abc"}"#),
        without("hidden"),
        without(&format!("it is {key}")),
        Part::Opaque(opaque(r#"["kept"]"#.into())),
        Part::Text(format!("the key is {key} and so on")),
    ];
    assert_eq!(kept, Some(expected));
}

#[tokio::test]
async fn a_cut_answer_keeps_no_beginning_of_a_secret() {
    let world = world(TestModel::new([Say::Hang(concat!("look: ghp", "_Zt5Wq8Kc1Xv4"))]), vec![]);
    let accepted = world.runtime.submit(world.submit("s", "go")).await.unwrap();
    world.model.arrived.notified().await;
    tokio::task::yield_now().await;
    world.runtime.cancel(&accepted.session, "t", "enough").await.unwrap();
    world.result(&accepted).await;
    let all = everything(&world).await;
    assert!(!all.contains("Zt5Wq8"), "{all}");
}

#[tokio::test]
async fn what_a_provider_or_a_tool_complains_of_has_no_secret() {
    let failing = tool("fail", EffectClass::Pure, |_, _| {
        async { Err(sterna_tool::ToolError::failed(format!("cannot log in with {TOKEN}"))) }.boxed()
    });
    let panicking = tool("panic", EffectClass::Pure, |_, _| panic!("bad key {KEY}"));
    let calls = Say::Calls(vec![("fail", json!({})), ("panic", json!({})), ("none", json!({"k": KEY}))]);
    let world = world(TestModel::new([calls, Say::Text("ok")]), vec![failing, panicking]);
    world.run(world.submit("s", "go")).await;
    let all = everything(&world).await;
    assert!(all.contains("cannot log in with [secret:github-token:"), "{all}");
    assert!(!all.contains(TOKEN) && !all.contains(KEY), "{all}");
}
