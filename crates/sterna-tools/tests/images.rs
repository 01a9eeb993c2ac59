//! `read` of what a model is to look at: images, and documents as they are.

// Helpers of tests may unwrap too.
#![allow(clippy::unwrap_used)]

mod common;

use common::{World, text};
use serde_json::json;
use sterna_log::{Blobs, digest};
use sterna_model::Fact;
use sterna_model::ToolStatus::Failed;

/// The header of an image of this size, and nothing that could be decoded.
fn gif(width: u16, height: u16) -> Vec<u8> {
    [b"GIF89a".as_slice(), &width.to_le_bytes(), &height.to_le_bytes(), &[0; 3]].concat()
}

#[tokio::test]
async fn an_image_comes_beside_a_line_about_it() {
    let mut world = World::new();
    let bytes = gif(320, 1_240);
    let path = world.file("shots/a.gif", &bytes);
    let done = world.call("read", json!({"path": "shots/a.gif"})).await.unwrap();
    assert_eq!(text(&done), "`shots/a.gif`: image/gif, 320×1240 pixels, 13 bytes");
    let [file] = &done.attachments[..] else { panic!("{done:?}") };
    assert_eq!((file.name.as_str(), file.media_type.as_str()), ("a.gif", "image/gif"));
    assert_eq!((file.width, file.height, file.in_view), (Some(320), Some(1_240), false));
    assert_eq!((file.blob.hash, file.blob.bytes), (digest(&bytes), 13));
    assert_eq!(world.blobs.get(&file.blob.hash).await.unwrap(), bytes);
    let read = Fact::FileRead { path: path.to_str().unwrap().into(), hash: digest(&bytes) };
    assert_eq!(done.facts, [read]);
}

#[tokio::test]
async fn an_image_that_no_provider_takes_is_refused() {
    let mut world = World::new();
    world.file("wide.gif", gif(8_001, 10));
    world.file("large.gif", [gif(10, 10), vec![0; 5 << 20]].concat());
    for (path, message) in [
        ("wide.gif", "`wide.gif` has 8001×10 pixels, more than the 8000 of one side; make it smaller"),
        (
            "large.gif",
            "`large.gif` has 5,242,893 bytes, more than the 5,242,880 of one image; make it smaller, for example \
             with fewer pixels",
        ),
    ] {
        world.refuses("read", json!({"path": path}), Failed, message).await;
    }
}
