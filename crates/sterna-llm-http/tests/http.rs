//! The HTTP provider against the script server: every way in which an answer can come, or not.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use sterna_llm::ladder::Timeouts;
use sterna_llm::{EncodeCache, Item, ModelReply, Provider, Request, StreamEvent};
use sterna_llm_http::{Endpoint, HttpProvider, KeySource, Secret, local};
use sterna_model::{ErrorClass, ModelStop, Part, ProviderFailure, Route, answer_text};
use sterna_testkit::{Api, Chunk, Exchange, Framing, Reply, ScriptServer};

const APIS: [(Api, &str); 2] = [(Api::OpenAiChat, "openai_chat"), (Api::Anthropic, "anthropic")];

fn route() -> Route {
    "p/m".parse().unwrap()
}

fn endpoint(wire: &'static str, url: &str) -> Endpoint {
    let key = KeySource::Value(Secret::new("k-1"), "a test".into());
    Endpoint {
        key,
        headers: vec![("x-more".into(), "1".into()), ("Accept".into(), "a/b".into())],
        ..Endpoint::new(wire, url)
    }
}

fn provider(endpoint: Endpoint) -> HttpProvider {
    HttpProvider::new(BTreeMap::from([("p".to_owned(), endpoint)]))
}

fn request() -> Request {
    Request {
        route: route(),
        system: Arc::new([]),
        tools: Arc::new([]),
        items: vec![Arc::new(Item::User(vec!["hällo".into()]))],
        tail: String::new(),
        tools_off: false,
        max_output: 10,
        temperature: None,
        schema: None,
        thinking: None,
    }
}

async fn send(provider: &HttpProvider) -> (Vec<StreamEvent>, Result<ModelReply, ProviderFailure>) {
    let body = provider.encode(&request(), &mut EncodeCache::default());
    let mut events = Vec::new();
    let mut push = |event| events.push(event);
    let result = provider.send(&route(), body, &mut push).await;
    (events, result)
}

/// One exchange, one answer.
async fn play(wire: &'static str, exchange: Exchange) -> Result<ModelReply, ProviderFailure> {
    let server = ScriptServer::start(vec![exchange]).unwrap();
    send(&provider(endpoint(wire, &server.url()))).await.1
}

fn reply() -> Reply {
    Reply {
        reasoning: "plän".into(),
        text: "Grüße 😀".into(),
        ..Reply::calls(&[("c1", "read", "{\"path\":\"é\"}")])
    }
}

#[tokio::test]
async fn a_whole_answer_in_pieces_of_every_size_and_framing() {
    for (api, wire) in APIS {
        let mut first = None;
        for framing in [Framing::Chunked, Framing::Length] {
            for size in [1, 2, 3, 5, 17, 1 << 20] {
                let seen =
                    play(wire, Exchange::reply(api, &reply()).rechunked(size).framed(framing)).await.unwrap();
                assert_eq!(answer_text(&seen.parts), "Grüße 😀");
                assert_eq!((seen.stop, seen.parts.len()), (ModelStop::ToolCalls, 3));
                assert_eq!((seen.billed.usage.input_uncached, seen.billed.usage.output), (10, 5));
                assert_eq!(*first.get_or_insert_with(|| seen.clone()), seen, "{wire} {framing:?} {size}");
            }
        }
    }
}

#[tokio::test]
async fn the_request_is_the_encoded_bytes_with_the_wires_headers() {
    for (api, wire) in APIS {
        let server = ScriptServer::start(vec![Exchange::reply_text(api, "ok"); 2]).unwrap();
        let provider = provider(endpoint(wire, &format!("{}/base/", server.url())));
        for _ in 0..2 {
            send(&provider).await.1.unwrap();
        }
        let seen = server.requests();
        let body = provider.encode(&request(), &mut EncodeCache::default());
        assert_eq!(
            (seen[0].method.as_str(), seen[0].path.as_str()),
            ("POST", &*format!("/base{}", api.path()))
        );
        assert_eq!(seen[0].body, body.body());
        assert_eq!(seen[0].header("content-length"), Some(&*body.bytes.to_string()));
        assert_eq!(seen[0].header("content-type"), Some("application/json"));
        assert_eq!(seen[0].header("x-more"), Some("1"));
        // A configured header replaces the wire's.
        let accept: Vec<_> = seen[0].headers.iter().filter(|(name, _)| name == "accept").collect();
        assert_eq!(accept, [&("accept".to_owned(), "a/b".to_owned())]);
        let key = match api {
            Api::OpenAiChat => ("authorization", "Bearer k-1"),
            Api::Anthropic => ("x-api-key", "k-1"),
        };
        assert_eq!(seen[0].header(key.0), Some(key.1));
        // The second request goes over the first one's connection.
        assert_eq!([seen[0].connection, seen[1].connection], [0, 0]);
    }
}

#[tokio::test]
async fn errors_are_classified_and_say_how_long_to_wait() {
    for (_, wire) in APIS {
        let limited = Exchange::error_message(429, "rate_limit_error", "slow down", Some(2));
        let failure = play(wire, limited).await.unwrap_err();
        let told = (failure.class, failure.status, failure.retry_after_ms, failure.message.as_str());
        assert_eq!(told, (ErrorClass::RateLimit, Some(429), Some(2_000), "slow down"));
        assert!(failure.billed.usage.total() == 0 && !failure.billed.estimated);

        let broken = Exchange::new(502, "text/html", "<html>".repeat(50_000));
        let failure = play(wire, broken).await.unwrap_err();
        assert_eq!((failure.class, failure.message.chars().count()), (ErrorClass::Server, 200));

        let mut moved = Exchange::error(307, "", None);
        moved.headers.push(("location".into(), "http://elsewhere.invalid/".into()));
        let failure = play(wire, moved).await.unwrap_err();
        assert_eq!(failure.class, ErrorClass::InvalidRequest);
        assert!(failure.message.contains("redirects to http://elsewhere.invalid/"), "{}", failure.message);

        let json = Exchange::error_message(200, "overloaded_error", "busy", None);
        let failure = play(wire, json).await.unwrap_err();
        assert_eq!(failure.message, "the endpoint sent no event stream: busy");
    }
}

#[tokio::test]
async fn a_cut_stream_is_a_failure_wherever_it_is_cut() {
    for (api, wire) in APIS {
        let whole = Exchange::reply(api, &reply());
        let size = whole.bytes().count();
        for at in (0..size - 2).step_by(97).chain([size - 2]) {
            for framing in [Framing::Chunked, Framing::Length] {
                let cut = whole.clone().then_at(at, Chunk::Cut).framed(framing);
                let failure = play(wire, cut).await.unwrap_err();
                let class = failure.class;
                assert_eq!(class, ErrorClass::StreamCut, "{wire} {framing:?} at {at}: {}", failure.message);
                assert!(failure.billed.estimated && failure.billed.usage.input() > 0);
            }
        }
    }
}

#[tokio::test]
async fn a_finish_reason_counts_only_with_a_whole_body() {
    let stream = concat!(
        "data: {\"choices\":[{\"delta\":{\"content\":\"all\"}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
    );
    for framing in [Framing::Chunked, Framing::Length] {
        let seen = play("openai_chat", Exchange::stream(stream).framed(framing)).await.unwrap();
        assert_eq!(seen.parts, [Part::Text("all".into())]);
    }
    let broken = Exchange::stream(stream).then_at(stream.len(), Chunk::Cut);
    assert_eq!(play("openai_chat", broken).await.unwrap_err().class, ErrorClass::StreamCut);
    // Nobody can tell such an end from a broken connection.
    let bare = Exchange::stream(stream).framed(Framing::Close);
    assert_eq!(play("openai_chat", bare).await.unwrap_err().class, ErrorClass::StreamCut);
    let done = Exchange::stream(format!("{stream}data: [DONE]\n\n")).framed(Framing::Close);
    assert_eq!(play("openai_chat", done).await.unwrap().parts, [Part::Text("all".into())]);
}

/// The wires that the script server has no words for, by their recorded bytes.
#[tokio::test]
async fn recorded_streams_of_the_other_wires() {
    for (wire, path, key, stream, ends_itself) in [
        (
            "openai_responses",
            "/responses",
            ("authorization", "Bearer k-1"),
            &include_bytes!("../../sterna-llm/tests/recordings/openai_responses-text.sse")[..],
            true,
        ),
        (
            "gemini",
            "/models/m:streamGenerateContent?alt=sse",
            ("x-goog-api-key", "k-1"),
            &include_bytes!("../../sterna-llm/tests/recordings/gemini-text.sse")[..],
            false,
        ),
    ] {
        for framing in [Framing::Chunked, Framing::Length] {
            let exchange = Exchange::stream(stream).rechunked(17).framed(framing);
            let server = ScriptServer::start(vec![exchange]).unwrap();
            let (_, result) = send(&provider(endpoint(wire, &server.url()))).await;
            assert_eq!(answer_text(&result.unwrap().parts), "Grüße 😀\n");
            let seen = server.requests();
            assert_eq!((seen[0].path.as_str(), seen[0].header(key.0)), (path, Some(key.1)));
        }
        // Whether an end can be told from a broken connection decides only where no event says it.
        for odd in [
            Exchange::stream(stream).then_at(stream.len(), Chunk::Cut),
            Exchange::stream(stream).framed(Framing::Close),
        ] {
            match play(wire, odd).await {
                Ok(_) => assert!(ends_itself, "{wire}"),
                Err(failure) => {
                    assert!(!ends_itself && failure.class == ErrorClass::StreamCut, "{failure:?}")
                }
            }
        }
        let half = Exchange::stream(&stream[..stream.len() / 2]).framed(Framing::Length);
        assert_eq!(play(wire, half).await.unwrap_err().class, ErrorClass::StreamCut);
        let limited = Exchange::error_message(429, "rate_limit_error", "slow down", Some(2));
        let failure = play(wire, limited).await.unwrap_err();
        assert_eq!((failure.class, failure.retry_after_ms), (ErrorClass::RateLimit, Some(2_000)));
    }
}

#[tokio::test]
async fn an_answer_is_over_at_its_terminal_event() {
    for (api, wire) in APIS {
        let whole = Exchange::reply_text(api, "ok");
        let size = whole.bytes().count();
        for then in [Chunk::Cut, Chunk::Hang] {
            let seen = play(wire, whole.clone().then_at(size, then)).await.unwrap();
            assert_eq!(answer_text(&seen.parts), "ok");
        }
    }
}

#[tokio::test]
async fn silence_ends_at_its_own_limit() {
    let check = async |timeouts: Timeouts, exchange: Exchange, says: &str| {
        let server = ScriptServer::start(vec![exchange]).unwrap();
        let endpoint = Endpoint { timeouts, ..endpoint("openai_chat", &server.url()) };
        let (events, result) = send(&provider(endpoint)).await;
        let failure = result.unwrap_err();
        assert_eq!(failure.class, ErrorClass::Timeout);
        assert!(failure.message.contains(says), "{}", failure.message);
        events.len()
    };
    let whole = || Exchange::reply_text(Api::OpenAiChat, "some text");
    let tight = |first_byte_ms, idle_ms, total_ms| Timeouts {
        first_byte_ms,
        idle_ms,
        total_ms,
        ..Timeouts::default()
    };
    let nothing = Exchange { body: vec![Chunk::Hang], ..whole() };
    check(tight(30, 60_000, 60_000), nothing, "first byte").await;
    let some = whole().bytes().count() / 2;
    let events =
        check(tight(60_000, 30, 60_000), whole().then_at(some, Chunk::Hang), "silent for 30 ms").await;
    assert!(events > 0);
    check(tight(60_000, 60_000, 30), whole().then_at(some, Chunk::Hang), "longer than its time limit").await;
    // Limits beyond reason are no limits.
    let far = tight(u64::MAX, u64::MAX, u64::MAX);
    let server = ScriptServer::start(vec![whole()]).unwrap();
    let endpoint = Endpoint { timeouts: far, ..endpoint("openai_chat", &server.url()) };
    assert!(send(&provider(endpoint)).await.1.is_ok());
}

#[tokio::test]
async fn nobody_there() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let failure = send(&provider(endpoint("anthropic", &url))).await.1.unwrap_err();
    assert_eq!((failure.class, failure.billed.estimated), (ErrorClass::Network, false));
    assert!(failure.message.starts_with("cannot connect (127.0.0.1:"), "{}", failure.message);
    assert!(!local::probe(&url).await);
}

#[tokio::test]
async fn wrong_configuration_says_what_to_do() {
    let missing = KeySource::Missing { hint: "set P_KEY".into() };
    let keyless = provider(Endpoint { key: missing, ..Endpoint::new("anthropic", "http://127.0.0.1:9") });
    assert_eq!(keyless.ready(&route()).unwrap_err(), "no key for p: set P_KEY");
    assert!(keyless.model(&route()).unwrap().assumed);
    let failure = send(&keyless).await.1.unwrap_err();
    assert_eq!((failure.class, failure.message.as_str()), (ErrorClass::Auth, "no key for p: set P_KEY"));

    let stranger: Route = "q/m".parse().unwrap();
    assert_eq!(keyless.model(&stranger).unwrap_err(), "there is no provider `q`; there are: p");
    let bare: Route = "opus".parse().unwrap();
    let written = "there is no provider `opus`; there are: p; a model is written PROVIDER/MODEL";
    assert_eq!(keyless.model(&bare).unwrap_err(), written);
    let nameless: Route = "p".parse().unwrap();
    assert_eq!(keyless.ready(&nameless).unwrap_err(), "`p` names no model; write it as p/MODEL");
    let vertex: Route = "vertex/m".parse().unwrap();
    assert!(keyless.model(&vertex).unwrap_err().contains("not built yet"));
    let failure = send(&provider(endpoint("anthropic", "nonsense"))).await.1.unwrap_err();
    assert_eq!(failure.class, ErrorClass::InvalidRequest);
    // A key with a line break would be another header.
    let evil = Endpoint {
        key: KeySource::Value(Secret::new("a\nb"), "x".into()),
        ..endpoint("anthropic", "http://127.0.0.1:9")
    };
    let failure = send(&provider(evil)).await.1.unwrap_err();
    assert_eq!(failure.class, ErrorClass::InvalidRequest);
}

#[tokio::test]
async fn dropping_the_call_closes_the_connection() {
    let whole = Exchange::reply_text(Api::Anthropic, "some text");
    let some = whole.bytes().count() - 300;
    let server = ScriptServer::start(vec![whole.clone().then_at(some, Chunk::Hang), whole]).unwrap();
    let provider = provider(endpoint("anthropic", &server.url()));
    let body = provider.encode(&request(), &mut EncodeCache::default());
    let route = route();
    let (told, first) = tokio::sync::oneshot::channel();
    let mut told = Some(told);
    let mut push = move |_| {
        if let Some(told) = told.take() {
            told.send(()).unwrap();
        }
    };
    tokio::select! {
        _ = provider.send(&route, body, &mut push) => panic!("a hanging answer ended"),
        first = first => first.unwrap(),
    }
    send(&provider).await.1.unwrap();
    let connections: Vec<usize> = server.requests().iter().map(|request| request.connection).collect();
    assert_eq!(connections, [0, 1]);
}

#[tokio::test]
async fn a_server_is_found_by_its_models_or_its_health() {
    let server = ScriptServer::start_with(|_, request| match request.path.as_str() {
        "/v1/models" => Exchange::error(200, "{\"data\":[]}", None),
        "/health" => Exchange::error(200, "{}", None),
        _ => Exchange::error(404, "", None),
    })
    .unwrap();
    assert!(local::probe(&format!("{}/v1", server.url())).await);
    assert!(!local::probe(&format!("{}/other/", server.url())).await);
    let loading = ScriptServer::start_with(|_, _| Exchange::error(503, "loading", None)).unwrap();
    assert!(!local::probe(&format!("{}/v1", loading.url())).await);
}
