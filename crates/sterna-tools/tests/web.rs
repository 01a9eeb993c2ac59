//! web_fetch and web_search, against servers of this machine.

// Helpers of tests may unwrap too.
#![allow(clippy::unwrap_used)]

mod common;

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use common::{World, text};
use futures::FutureExt;
use serde_json::{Value, json};
use sterna_log::{Blobs, digest};
use sterna_model::EffectClass;
use sterna_model::ToolStatus::{Failed, InvalidArguments};
use sterna_tool::{Access, Output, SharedTool, ToolDone, ToolError, ToolReturn};
use sterna_tools::{Backend, Options, Resolver, SearchSettings, WebSettings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A server that gives these answers, one a connection, and keeps what it was asked.
struct Server {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn new(answers: Vec<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = asked.clone();
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                heard.lock().unwrap().push(String::from_utf8(head).unwrap());
                // Who has enough hangs up.
                drop(stream.write_all(&answer).await);
            }
        });
        Self { port, asked }
    }

    fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|head| head.lines().next().unwrap().to_owned()).collect()
    }

    fn headers(&self) -> String {
        self.asked.lock().unwrap().concat().to_lowercase()
    }
}

fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}

fn html(body: &str) -> Vec<u8> {
    answer("200 OK", "Content-Type: text/html; charset=utf-8\r\n", body)
}

fn redirect(to: &str) -> Vec<u8> {
    answer("302 Found", &format!("Location: {to}\r\n"), "")
}

/// Every name leads to the next of these addresses, and to the last one from then on.
fn resolver(addresses: &[&str]) -> (Resolver, Arc<AtomicUsize>) {
    let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let resolver: Resolver = Arc::new(move |_| {
        let at = count.fetch_add(1, Ordering::SeqCst).min(addresses.len() - 1);
        std::future::ready(Ok(vec![addresses[at]])).boxed()
    });
    (resolver, asked)
}

/// `web_fetch` that may reach these places of this network.
fn fetcher(allow: &[String], resolver: Resolver) -> SharedTool {
    let allow_private = allow.iter().map(|rule| rule.parse().unwrap()).collect();
    let web = WebSettings { allow_private, resolver: Some(resolver), search: None };
    tool("web_fetch", web)
}

fn tool(name: &str, web: WebSettings) -> SharedTool {
    let all = sterna_tools::builtin(Options { web, ..Options::default() });
    all.into_iter().find(|tool| tool.spec().name == name).unwrap()
}

async fn call(tool: &SharedTool, world: &World, args: Value) -> Result<ToolDone, ToolError> {
    let cx = sterna_tool::PlanContext { cwd: world.cwd.clone(), roots: vec![world.cwd.clone()] };
    let plan = tool.plan(&cx, &args)?;
    match tool.call(world.context(plan), args).await? {
        ToolReturn::Done(done) => Ok(done),
        other => panic!("{other:?}"),
    }
}

async fn told(tool: &SharedTool, world: &World, args: Value) -> String {
    match call(tool, world, args).await {
        Ok(done) => text(&done),
        Err(error) => format!("{}: {}", error.status.word(), error.message),
    }
}

#[tokio::test]
async fn a_page_is_fetched_once_and_read_as_markdown() {
    let server = Server::new(vec![html("<h1>Guide</h1><p>See <a href='/more'>more</a>.</p>")]).await;
    let at = format!("docs.example:{}", server.port);
    let (resolver, resolved) = resolver(&["127.0.0.1"]);
    let fetch = fetcher(std::slice::from_ref(&at), resolver);
    let world = World::new();
    let args = json!({"url": format!("http://{at}/guide#part")});
    let cx = sterna_tool::PlanContext { cwd: world.cwd.clone(), roots: vec![] };
    let plan = fetch.plan(&cx, &args).unwrap();
    assert_eq!(plan.accesses, [Access::Web { host: at.clone() }]);
    assert_eq!(plan.summary, format!("fetch http://{at}/guide"));
    assert_eq!(fetch.class(&args), EffectClass::Idempotent);
    let want = format!("[http://{at}/guide, text/html, 50 bytes]\n# Guide\n\nSee [more](http://{at}/more).");
    // The second answer comes from the cache: the server has only one.
    for _ in 0..2 {
        assert_eq!(told(&fetch, &world, args.clone()).await, want);
    }
    assert_eq!(server.asked(), ["GET /guide HTTP/1.1"]);
    assert!(server.headers().contains(&format!("host: {at}")) && !server.headers().contains("cookie"));
    assert_eq!(resolved.load(Ordering::SeqCst), 1);
}

/// No connection is made: the server hears nothing, though it stands where each of these leads.
#[tokio::test]
async fn private_addresses_are_refused_before_a_connection() {
    let server = Server::new(vec![html("secret"); 20]).await;
    let port = server.port;
    let world = World::new();
    let literal = [
        format!("http://127.0.0.1:{port}/"),
        format!("http://2130706433:{port}/"),
        format!("http://0x7f.1:{port}/"),
        format!("http://[::1]:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        "http://169.254.169.254/latest/meta-data/".into(),
        "http://100.64.0.1/".into(),
        "http://0.0.0.0/".into(),
    ];
    let fetch = fetcher(&[], resolver(&["127.0.0.1"]).0);
    for url in literal {
        let error = call(&fetch, &world, json!({"url": url})).await.unwrap_err();
        assert!(error.status == Failed && error.message.ends_with("nothing was sent"), "{url}: {error}");
    }
    // Names that lead there.
    for (address, told) in [
        ("127.0.0.1", "which is not of the public network"),
        ("::1", "which is not of the public network"),
        ("10.1.2.3", "which is not of the public network"),
        ("169.254.169.254", "where clouds hand out credentials"),
    ] {
        let fetch = fetcher(&[], resolver(&[address]).0);
        let error =
            call(&fetch, &world, json!({"url": format!("http://inner.example:{port}/")})).await.unwrap_err();
        assert_eq!(error.message, format!("inner.example leads to {address}, {told}; nothing was sent"));
    }
    // Leave for one port is no leave for another, and none for metadata.
    let other = fetcher(&["localhost:1".into()], resolver(&["127.0.0.1"]).0);
    assert!(call(&other, &world, json!({"url": format!("http://localhost:{port}/")})).await.is_err());
    let meta = fetcher(&["meta.example:*".into()], resolver(&["169.254.169.254"]).0);
    assert!(call(&meta, &world, json!({"url": "http://meta.example:80/"})).await.is_err());
    assert_eq!(server.asked(), Vec::<String>::new());
}

/// The name leads to the server first and to metadata later: one look decides for one request.
#[tokio::test]
async fn a_name_that_rebinds_is_held_to_its_first_answer() {
    let server = Server::new(vec![html("first"), redirect("/second"), html("never")]).await;
    let at = format!("rebind.example:{}", server.port);
    let world = World::new();
    let (names, resolved) = resolver(&["127.0.0.1", "169.254.169.254"]);
    let fetch = fetcher(std::slice::from_ref(&at), names);
    let page = told(&fetch, &world, json!({"url": format!("http://{at}/a")})).await;
    assert!(page.ends_with("\nfirst"), "{page}");
    assert_eq!(resolved.load(Ordering::SeqCst), 1);
    // Each hop is judged anew.
    let fetch = fetcher(std::slice::from_ref(&at), resolver(&["127.0.0.1", "169.254.169.254"]).0);
    let error = call(&fetch, &world, json!({"url": format!("http://{at}/b")})).await.unwrap_err();
    assert!(error.message.contains("leads to 169.254.169.254"), "{error}");
    assert_eq!(server.asked(), ["GET /a HTTP/1.1", "GET /b HTTP/1.1"]);
}

#[tokio::test]
async fn redirects_are_followed_on_the_host_and_told_to_another() {
    let mut hops: Vec<Vec<u8>> = (1..=10).map(|n| redirect(&format!("/{n}"))).collect();
    hops.push(html("arrived"));
    let server = Server::new(hops).await;
    let at = format!("docs.example:{}", server.port);
    let world = World::new();
    let fetch = fetcher(std::slice::from_ref(&at), resolver(&["127.0.0.1"]).0);
    let page = told(&fetch, &world, json!({"url": format!("http://{at}/0")})).await;
    assert_eq!(page, format!("[http://{at}/10, text/html, 7 bytes]\narrived"));
    assert_eq!(server.asked().len(), 11);

    let server = Server::new((0..11).map(|_| redirect("/again")).collect()).await;
    let at = format!("docs.example:{}", server.port);
    let fetch = fetcher(std::slice::from_ref(&at), resolver(&["127.0.0.1"]).0);
    let page = told(&fetch, &world, json!({"url": format!("http://{at}/0")})).await;
    assert_eq!(page, format!("failed: http://{at}/0 leads from one address to the next, more than 10 times"));

    for (to, want) in [
        ("https://other.example/x", "https://other.example/x"),
        ("//other.example/x", "https://other.example/x"),
        ("http://169.254.169.254/latest", "http://169.254.169.254/latest"),
        // Another port is another place.
        ("http://docs.example:1/", "http://docs.example:1/"),
    ] {
        let server = Server::new(vec![redirect(to)]).await;
        let at = format!("docs.example:{}", server.port);
        let fetch = fetcher(&[at.clone(), "other.example:*".into()], resolver(&["127.0.0.1"]).0);
        let page = told(&fetch, &world, json!({"url": format!("http://{at}/")})).await;
        let told = format!("[status 302]\nhttp://{at}/ leads to another host: {want}\nIt was not fetched.");
        assert!(page.starts_with(&told), "{page}");
    }
    let server = Server::new(vec![redirect("file:///etc/passwd")]).await;
    let at = format!("docs.example:{}", server.port);
    let fetch = fetcher(std::slice::from_ref(&at), resolver(&["127.0.0.1"]).0);
    let page = told(&fetch, &world, json!({"url": format!("http://{at}/")})).await;
    assert_eq!(page, format!("failed: http://{at}/ leads to `file:///etc/passwd`, which cannot be fetched"));
}

#[tokio::test]
async fn what_is_no_page_is_told() {
    let world = World::new();
    let png = answer("200 OK", "Content-Type: image/png\r\n", "\u{1}PNG");
    let missing = answer("404 Not Found", "Content-Type: text/html\r\n", "<p>no such page</p>");
    let endless = {
        let mut bytes = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n".to_vec();
        bytes.resize(bytes.len() + (10 << 20) + 5_000, b'x');
        bytes
    };
    let server = Server::new(vec![png, missing, endless, b"nonsense\r\n\r\n".to_vec()]).await;
    let at = format!("docs.example:{}", server.port);
    let fetch = fetcher(std::slice::from_ref(&at), resolver(&["127.0.0.1"]).0);
    let url = |path: &str| json!({"url": format!("http://{at}/{path}")});
    assert_eq!(
        told(&fetch, &world, url("png")).await,
        format!("failed: http://{at}/png is image/png of 4 bytes, not text; fetch it with shell into a file")
    );
    let done = call(&fetch, &world, url("gone")).await.unwrap();
    assert!(done.failed);
    assert_eq!(text(&done), format!("[http://{at}/gone, status 404, text/html, 19 bytes]\nno such page"));
    let page = told(&fetch, &world, url("endless")).await;
    let head = format!(
        "[http://{at}/endless, text/plain, 10,485,760 bytes; there is more, which is not fetched]\nxxx"
    );
    assert!(page.starts_with(&head), "{}", &page[..200]);
    assert!(
        told(&fetch, &world, url("broken"))
            .await
            .starts_with(&format!("failed: http://{at}/broken cannot be fetched: "))
    );
    for (url, message) in [
        ("ftp://a.example/", "only http and https can be fetched, not `ftp`"),
        ("nonsense", "`nonsense` is not a web address: write https://HOST/PATH"),
        ("https://me:pw@a.example/", "the address holds a name or a password; leave them out"),
    ] {
        let error = call(&fetch, &world, json!({"url": url})).await.unwrap_err();
        assert_eq!((error.status, error.message.as_str()), (InvalidArguments, message));
    }
}

#[tokio::test]
async fn of_a_long_page_the_prompt_chooses_what_is_shown() {
    let mut body = "<h1>Manual</h1>".to_owned();
    for n in 0..400 {
        let more = "and so on ".repeat(12);
        body.push_str(&format!("<p>Chapter {n}: {more}</p>"));
        if n == 300 {
            body.push_str(&format!("<p>The frobnicator wants oil every week, {more}</p>"));
        }
    }
    let server = Server::new(vec![html(&body)]).await;
    let at = format!("docs.example:{}", server.port);
    let fetch = fetcher(std::slice::from_ref(&at), resolver(&["127.0.0.1"]).0);
    let world = World::new();
    let args = json!({"url": format!("http://{at}/"), "prompt": "How is the frobnicator cared for?"});
    let done = call(&fetch, &world, args).await.unwrap();
    let Output::Large { blob, head, .. } = &done.output else { panic!("{done:?}") };
    assert!(head.contains("frobnicator wants oil") && head.contains("# Manual") && head.len() < 16 << 10);
    let whole = world.blobs.get(&blob.hash).await.unwrap();
    assert_eq!((digest(&whole), whole.len() as u64), (blob.hash, blob.bytes));
    assert!(String::from_utf8_lossy(&whole).contains("Chapter 399"));
}

fn search(backend: Backend, url: Option<String>, key: Result<&str, &str>) -> WebSettings {
    let key = key.map(str::to_owned).map_err(str::to_owned);
    WebSettings { search: Some(SearchSettings { backend, url, key }), ..WebSettings::default() }
}

#[tokio::test]
async fn searxng_is_asked_and_the_domains_are_held() {
    let found = json!({"query": "q", "results": [
        {"url": "https://docs.rs/a", "title": "A", "content": "about a"},
        {"url": "https://evil.example/docs.rs", "title": "B", "content": "not asked for"},
        {"url": "https://api.docs.rs/c", "title": "C"},
        {"url": "https://docs.rs/a", "title": "A again", "content": ""},
        {"url": "https://old.docs.rs/d", "title": "D", "content": ""},
    ]});
    let server =
        Server::new(vec![answer("200 OK", "Content-Type: application/json\r\n", &found.to_string())]).await;
    let base = format!("http://127.0.0.1:{}/searx/", server.port);
    let tool = tool("web_search", search(Backend::Searxng, Some(base), Err("")));
    let world = World::new();
    let args = json!({"query": " borrow  checker ", "allowed_domains": ["docs.rs"], "blocked_domains": ["old.docs.rs"]});
    let cx = sterna_tool::PlanContext { cwd: world.cwd.clone(), roots: vec![] };
    let plan = tool.plan(&cx, &args).unwrap();
    assert_eq!(plan.accesses, [Access::Web { host: format!("127.0.0.1:{}", server.port) }]);
    let want = "[2 results]\n1. A\n   https://docs.rs/a\n   about a\n2. C\n   https://api.docs.rs/c";
    for _ in 0..2 {
        assert_eq!(told(&tool, &world, args.clone()).await, want);
    }
    assert_eq!(
        server.asked(),
        ["GET /searx/search?q=borrow+checker+site%3Adocs.rs+-site%3Aold.docs.rs&format=json HTTP/1.1"]
    );
}

#[tokio::test]
async fn brave_is_asked_with_the_key_in_a_header() {
    let found = json!({"web": {"results": [
        {"url": "https://a.example/", "title": "A", "description": "one"},
        {"url": "https://b.example/", "title": "B", "description": "two"},
    ]}});
    let json = "Content-Type: application/json\r\n";
    let server = Server::new(vec![
        answer("200 OK", json, &found.to_string()),
        answer("401 Unauthorized", json, "{}"),
        answer("429 Too Many Requests", json, "{}"),
        answer("500 Oops", "", "broken\n badly"),
        answer("200 OK", "", "<html>"),
        answer("200 OK", json, "{}"),
    ])
    .await;
    let base = format!("http://127.0.0.1:{}", server.port);
    let tool = tool("web_search", search(Backend::Brave, Some(base), Ok("the-key")));
    let world = World::new();
    assert_eq!(
        told(&tool, &world, json!({"query": "x", "limit": 1, "allowed_domains": ["a.example", "b.example"]}))
            .await,
        "[1 result]\n1. A\n   https://a.example/\n   one"
    );
    let first = "GET /res/v1/web/search?q=x+%28site%3Aa.example+OR+site%3Ab.example%29&count=1&text_decorations=false HTTP/1.1";
    assert_eq!(server.asked(), [first]);
    assert!(server.headers().contains("x-subscription-token: the-key"));
    for (query, want) in [
        ("a", "failed: the Brave Search API refuses the key (status 401): check `key_env` in [web_search]"),
        ("b", "failed: the Brave Search API has no more answers for this key now: try again later"),
        ("c", "failed: the Brave Search API answered with status 500: broken badly"),
        (
            "d",
            "failed: the Brave Search API answered with something else than was expected: expected value at line 1 column 1",
        ),
        ("e", "nothing was found; try other words or fewer limits"),
    ] {
        assert_eq!(told(&tool, &world, json!({"query": query})).await, want);
    }
}

#[tokio::test]
async fn a_search_that_cannot_be_asked_says_what_to_do() {
    let world = World::new();
    let names: Vec<String> =
        sterna_tools::builtin(Options::default()).iter().map(|tool| tool.spec().name.clone()).collect();
    assert!(!names.contains(&"web_search".to_owned()), "not advertised without a backend");
    let no_key = tool("web_search", search(Backend::Brave, None, Err("web_search has no key: set X")));
    assert_eq!(told(&no_key, &world, json!({"query": "x"})).await, "failed: web_search has no key: set X");
    let tool = tool("web_search", search(Backend::Searxng, Some("http://127.0.0.1:1/".into()), Err("")));
    for (args, message) in [
        (json!({"query": "  "}), "query is empty"),
        (json!({"query": "x", "limit": 21}), "limit is 1 to 20"),
        (json!({"query": "x", "limit": 0}), "limit is 1 to 20"),
        (json!({"query": "x".repeat(401)}), "query is longer than 400 bytes"),
        (
            json!({"query": "x", "allowed_domains": ["https://a.b"]}),
            "`https://a.b` is not a domain; write docs.rs, without a scheme or path",
        ),
        (
            json!({"query": "x", "blocked_domains": vec!["a.b"; 21]}),
            "there are more than 20 domains in a list",
        ),
    ] {
        let error = call(&tool, &world, args).await.unwrap_err();
        assert_eq!((error.status, error.message.as_str()), (InvalidArguments, message));
    }
}
