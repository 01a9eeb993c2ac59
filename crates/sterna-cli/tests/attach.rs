//! Files on the command line: what the provider is sent of them.

#![allow(clippy::unwrap_used)]

mod support;

use sterna_testkit::{Api, Exchange, Reply, ScriptServer};
use support::World;

/// A PNG image of one black pixel, and what it is in base64: both written by an independent program.
const PIXEL: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0\x3a\x7e\x9b\x55\
    \0\0\0\nIDAT\x78\x9c\x63\x60\0\0\0\x02\0\x01\x48\xaf\xa4\x71\0\0\0\0IEND\xae\x42\x60\x82";
const BASE64: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==";

const WIRES: [(Api, &str, &str); 2] =
    [(Api::OpenAiChat, "openai_chat", "/v1"), (Api::Anthropic, "anthropic", "")];

fn world(server: &ScriptServer, wire: &str, path: &str, images: bool) -> World {
    let world = World::new("");
    let url = server.url();
    world.config(&format!(
        "model = \"mine/m\"\n[providers.mine]\nwire = \"{wire}\"\nbase_url = \"{url}{path}\"\n\
         [providers.mine.models.m]\nimages = {images}\n"
    ));
    std::fs::write(world.work().join("p.png"), PIXEL).unwrap();
    world
}

fn bodies(server: &ScriptServer) -> Vec<String> {
    server.requests().iter().map(|request| request.json().to_string()).collect()
}

#[test]
fn an_attached_image_reaches_the_model() {
    for (api, wire, path) in WIRES {
        let server = ScriptServer::start(vec![Exchange::reply_text(api, "black")]).unwrap();
        let world = world(&server, wire, path, true);
        std::fs::write(world.work().join("notes.txt"), "it is small\n").unwrap();
        let done = world.sterna(&[
            "run",
            "--json",
            "--session",
            "s",
            "what is it?",
            "--attach",
            "p.png",
            "--attach",
            "notes.txt",
        ]);
        assert_eq!((done.code, done.result()["message"].as_str()), (0, Some("black")), "{}", done.err);
        let [body] = &bodies(&server)[..] else { panic!() };
        assert_eq!(body.matches(BASE64).count(), 1, "{body}");
        assert!(body.contains(r#"<file name=\"notes.txt\">\nit is small\n</file>"#), "{body}");
        assert_eq!(world.sterna(&["replay", "s"]).code, 0);
        let shown = world.sterna(&["sessions", "show", "s"]);
        assert!(shown.out.contains("[file p.png]") && !shown.out.contains(BASE64), "{}", shown.out);
    }
}

#[test]
fn an_image_that_is_read_reaches_the_model() {
    for (api, wire, path) in WIRES {
        let call = Exchange::reply(api, &Reply::calls(&[("c1", "read", r#"{"path":"p.png"}"#)]));
        let server = ScriptServer::start(vec![call, Exchange::reply_text(api, "black")]).unwrap();
        let world = world(&server, wire, path, true);
        let done = world.sterna(&["run", "--json", "--session", "s", "what is p.png?"]);
        assert_eq!((done.code, done.result()["message"].as_str()), (0, Some("black")), "{}", done.err);
        let sent: Vec<bool> = bodies(&server).iter().map(|body| body.contains(BASE64)).collect();
        assert_eq!(sent, [false, true], "{wire}");
        assert_eq!(world.sterna(&["replay", "s"]).code, 0);
    }
}

#[test]
fn a_model_that_takes_no_images_is_told_so() {
    let server = ScriptServer::start(vec![Exchange::reply_text(Api::OpenAiChat, "I cannot see")]).unwrap();
    let world = world(&server, "openai_chat", "/v1", false);
    assert_eq!(world.sterna(&["run", "what is it?", "--attach", "p.png"]).code, 0);
    let [body] = &bodies(&server)[..] else { panic!() };
    let note =
        "[image p.png (image/png, 1×1, 67 bytes) is not shown: this model is not known to take images]";
    assert!(body.contains(note) && !body.contains(BASE64), "{body}");
}

#[test]
fn a_file_that_no_model_takes_is_refused_before_anything_is_kept() {
    let server = ScriptServer::start(Vec::new()).unwrap();
    let world = world(&server, "openai_chat", "/v1", true);
    std::fs::write(world.work().join("a.zip"), b"PK\x03\x04\0").unwrap();
    let many: Vec<&str> = std::iter::repeat_n(["--attach", "p.png"], 21).flatten().collect();
    for (more, message) in [
        (
            vec!["--attach", "a.zip"],
            "`a.zip` is no PNG, JPEG, GIF or WebP image, no PDF document and no text",
        ),
        (vec!["--attach", "gone.png"], "cannot read `gone.png`"),
        (vec!["--attach", "."], "`.` is no regular file"),
        (many, "an input takes 20 files, and this one has 21"),
    ] {
        let done = world.sterna(&[&["run", "--session", "s", "look"], &more[..]].concat());
        assert_eq!(done.code, 2, "{}", done.err);
        assert!(done.err.contains(message), "{}", done.err);
    }
    assert_eq!(world.sterna(&["sessions", "list", "--json"]).out, "");
    assert!(server.requests().is_empty());
}

#[test]
fn a_conversation_attaches_to_its_next_prompt() {
    let text = |text| Exchange::reply_text(Api::OpenAiChat, text);
    let server = ScriptServer::start(vec![text("black"), text("bye")]).unwrap();
    let world = world(&server, "openai_chat", "/v1", true);
    let said = b"/attach p.png\n/attach\n/attach p.png\nwhat is it?\nthanks\n";
    let done = world.with_stdin(&["chat"], said);
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(done.err.contains("with the next prompt: p.png"), "{}", done.err);
    // Once in the first request, and in the history of the second.
    let sent: Vec<usize> = bodies(&server).iter().map(|body| body.matches(BASE64).count()).collect();
    assert_eq!(sent, [1, 1]);
}
