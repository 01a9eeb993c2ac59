//! Embeddings against the script server.

#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use sterna_llm::embed::Embedder;
use sterna_llm_http::{Endpoint, HttpEmbedder, KeySource, Secret};
use sterna_model::ErrorClass;
use sterna_testkit::{Chunk, Exchange, Framing, ScriptServer};

fn exchange(status: u16, body: &Value) -> Exchange {
    let headers = vec![("content-type".into(), "application/json".into())];
    let body = vec![Chunk::Bytes(body.to_string().into_bytes())];
    Exchange { status, headers, body, rechunk: Some(7), framing: Framing::Length }
}

fn embedder(server: &ScriptServer) -> HttpEmbedder {
    let key = KeySource::Value(Secret::new("k-1"), "a test".into());
    HttpEmbedder::new(
        "p",
        "m",
        Endpoint { key, ..Endpoint::new("openai_chat", format!("{}/v1", server.url())) },
    )
}

#[tokio::test]
async fn many_texts_are_asked_for_in_parts_and_stay_in_order() {
    let part = |from: usize, to: usize| {
        let one = |at: usize| json!({"index": at - from, "embedding": [at + 1, 0]});
        json!({"data": (from..to).rev().map(one).collect::<Vec<_>>(), "usage": {"prompt_tokens": to - from}})
    };
    let server =
        ScriptServer::start(vec![exchange(200, &part(0, 96)), exchange(200, &part(96, 100))]).unwrap();
    let texts: Vec<String> = (0..100).map(|n| format!("text {n}")).collect();
    let embedder = embedder(&server);
    let embedded = embedder.embed(&texts).await.unwrap();
    assert_eq!((embedded.vectors.len(), embedded.usage.input_uncached), (100, 100));
    assert!(embedded.vectors.iter().all(|vector| *vector == [1.0, 0.0]));
    assert_eq!(embedder.name(), "p/m");
    let asked = server.requests();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0].path, "/v1/embeddings");
    let body: Value = serde_json::from_slice(&asked[1].body).unwrap();
    assert_eq!(body, json!({"model": "m", "input": texts[96..], "encoding_format": "float"}));
}

#[tokio::test]
async fn a_configured_header_replaces_its_namesake() {
    let answer = exchange(200, &json!({"data": [{"index": 0, "embedding": [1]}]}));
    let server = ScriptServer::start(vec![answer]).unwrap();
    let key = KeySource::Value(Secret::new("k-1"), "a test".into());
    let headers = vec![("Authorization".to_owned(), "Basic x".to_owned())];
    let url = format!("{}/v1", server.url());
    let endpoint = Endpoint { key, headers, ..Endpoint::new("openai_chat", url) };
    HttpEmbedder::new("p", "m", endpoint).embed(&["x".into()]).await.unwrap();
    let asked = server.requests();
    let sent = asked[0].headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("authorization"));
    assert_eq!(sent.map(|(_, value)| value.as_str()).collect::<Vec<_>>(), ["Basic x"]);
}

#[tokio::test]
async fn a_refusal_has_its_class() {
    for (status, class) in
        [(401, ErrorClass::Auth), (429, ErrorClass::RateLimit), (503, ErrorClass::Overloaded)]
    {
        let answer = exchange(status, &json!({"error": {"message": "no"}}));
        let server = ScriptServer::start(vec![answer]).unwrap();
        let failed = embedder(&server).embed(&["x".into()]).await.unwrap_err();
        assert_eq!((failed.class, failed.status), (class, Some(status)));
    }
}
