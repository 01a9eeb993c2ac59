//! Files in inputs and results, from the blob to the request and back in replay.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::{Say, TestEnv, TestModel, World, tool};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::json;
use sterna_llm::{EncodeCache, Encoded, ModelInfo, ModelReply, Provider, Request, StreamEvent};
use sterna_log::{Blobs, MemoryLog};
use sterna_model::*;
use sterna_runtime::*;
use sterna_tool::{ToolDone, ToolReturn};

/// The test's model, with eyes.
struct Sees(TestModel);

impl Provider for Sees {
    fn model(&self, _: &Route) -> Result<ModelInfo, String> {
        let sight = Sight { images: true, documents: false };
        Ok(ModelInfo { sight, ..ModelInfo::default() })
    }
    fn encoder(&self, route: &Route) -> String {
        self.0.encoder(route)
    }
    fn encode(&self, request: &Request, cache: &mut EncodeCache) -> Encoded {
        self.0.encode(request, cache)
    }
    fn send<'a>(
        &'a self,
        route: &'a Route,
        body: Encoded,
        events: &'a mut (dyn FnMut(StreamEvent) + Send),
    ) -> BoxFuture<'a, Result<ModelReply, ProviderFailure>> {
        self.0.send(route, body, events)
    }
}

/// A world whose model sees; its tool `look` gives an image of the bytes `DEF`.
fn world(model: TestModel, log: Arc<MemoryLog>, env: TestEnv) -> World {
    let look = tool("look", EffectClass::Pure, |cx, _| {
        async move {
            let blob = cx.blobs.put(b"DEF".as_slice().into()).await.unwrap();
            let attachments = vec![Attachment::new("d.png", "image/png", blob)];
            Ok(ToolReturn::Done(ToolDone { attachments, ..ToolDone::text("an image") }))
        }
        .boxed()
    });
    World::with(log.clone(), log, env, model.clone(), Arc::new(Sees(model)), vec![look])
}

fn fresh(list: impl IntoIterator<Item = Say>) -> World {
    world(TestModel::new(list), Arc::default(), TestEnv::new("one"))
}

/// An input of `look` and an image of these bytes.
async fn asked(world: &World, bytes: &'static [u8], n: usize) -> Submit {
    let blob = world.log.put(bytes.into()).await.unwrap();
    let mut submit = world.submit("s", "look");
    submit.parts.extend((0..n).map(|_| InputPart::File(Attachment::new("a.png", "image/png", blob.clone()))));
    submit
}

async fn differs(world: &World) -> Option<String> {
    let replayed = replay(world.runtime.parts(), &SessionId::new("s").unwrap()).await.unwrap();
    assert!(replayed.requests > 0);
    replayed.difference.map(|found| found.what)
}

/// `ABC` and `DEF` in base64, as URLs.
const ABC: &str = "data:image/png;base64,QUJD";
const DEF: &str = "data:image/png;base64,REVG";

#[tokio::test]
async fn files_reach_the_model_and_replay_is_byte_exact() {
    let world = fresh([Say::Calls(vec![("look", json!({}))]), Say::Text("seen"), Say::Text("again")]);
    assert_eq!(world.run(asked(&world, b"ABC", 1).await).await.message.as_deref(), Some("seen"));
    world.run(world.submit("s", "and now?")).await;
    let bodies = world.model.bodies.lock().unwrap().clone();
    let shown: Vec<_> = bodies.iter().map(|body| (body.contains(ABC), body.contains(DEF))).collect();
    assert_eq!(shown, [(true, false), (true, true), (true, true)]);
    assert_eq!(differs(&world).await, None);
    // The bytes are in no record, and the log keeps them from being collected.
    let records = world.records("s").await;
    assert!(!serde_json::to_string(&records).unwrap().contains("QUJD"));
    let held: Vec<Digest> = records.iter().flat_map(|record| sterna_log::blob_refs(&record.body)).collect();
    for bytes in [b"ABC", b"DEF"] {
        assert!(held.contains(&sterna_log::digest(bytes)));
    }
    // What is counted by tokens is not what base64 is long.
    let sent: Vec<FilesSent> = records.iter().filter_map(files_of).collect();
    assert_eq!(
        sent.iter().map(|sent| (sent.bytes, sent.tokens)).collect::<Vec<_>>(),
        [(4, 5_000), (8, 10_000), (8, 10_000)]
    );
}

fn files_of(record: &Record) -> Option<FilesSent> {
    match &record.body {
        Body::Intent(intent) => match &intent.what {
            Intended::Model(model) => model.files,
            _ => None,
        },
        _ => None,
    }
}

/// The request of a life that died is sent again as it was.
#[tokio::test]
async fn another_life_sends_the_same_bytes() {
    let first = fresh([Say::Hang("I see")]);
    first.runtime.submit(asked(&first, b"ABC", 1).await).await.unwrap();
    first.model.arrived.notified().await;
    let env = TestEnv { name: "two".into(), ..first.env.clone() };
    env.dead.lock().unwrap().push("one".into());
    let second = world(TestModel::new([Say::Text("seen")]), first.log.clone(), env);
    let id = SessionId::new("s").unwrap();
    second.runtime.resume(&id, second.config());
    let result = second.runtime.result(&id, 2).await.unwrap();
    assert_eq!(result.message.as_deref(), Some("seen"));
    assert_eq!(*second.model.bodies.lock().unwrap(), *first.model.bodies.lock().unwrap());
    assert!(second.model.bodies.lock().unwrap()[0].contains(ABC));
}

#[tokio::test]
async fn a_model_that_is_not_known_to_see_is_told() {
    let world = World::new(TestModel::new([Say::Text("no")]), Vec::new());
    world.run(asked(&world, b"ABC", 1).await).await;
    let body = world.model.body(0).to_string();
    let note = "[image a.png (image/png, 3 bytes) is not shown: this model is not known to take images]";
    assert!(body.contains(note) && !body.contains("QUJD"), "{body}");
    assert_eq!(differs(&world).await, None);
}

#[tokio::test]
async fn too_many_too_large_and_missing_files_are_refused_whole() {
    let world = fresh([]);
    let refused = |submit: Submit| async {
        match world.runtime.submit(submit).await {
            Err(RuntimeError::Attached(why)) => why,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused(asked(&world, b"ABC", 21).await).await, FilesError::TooMany(21));
    let of = |bytes| {
        let blob = BlobRef { hash: Digest([9; 32]), bytes };
        let mut submit = world.submit("s", "look");
        submit.parts.push(InputPart::File(Attachment::new("a.png", "image/png", blob)));
        submit
    };
    assert_eq!(refused(of(20_000_001)).await, FilesError::TooLarge(20_000_001));
    assert_eq!(refused(of(20_000_000)).await, FilesError::Missing("a.png".into()));
    let none = sterna_log::Log::head(&*world.log, &SessionId::new("s").unwrap()).await;
    assert!(matches!(none, Err(sterna_log::LogError::NotFound(_))), "{none:?}");
}
