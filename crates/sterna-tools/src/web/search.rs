//! Search engines behind one trait: what is asked, what is found. Parsing is pure; no bytes panic.

use std::fmt;
use std::str::FromStr;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Deserialize;
use url::Url;

use super::get::{Answer, GetError, get_configured};
use super::guard::authority;

/// Where and how `web_search` searches.
#[derive(Clone)]
pub struct SearchSettings {
    pub backend: Backend,
    /// Base address; `None`: the backend's own.
    pub url: Option<String>,
    /// The key, or why there is none.
    pub key: Result<String, String>,
}

/// The engines that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// A SearXNG instance, or what speaks like one (`/search?format=json`). Needs an address, and no key.
    Searxng,
    /// The Brave Search API. Needs a key.
    Brave,
}

impl Backend {
    pub const ALL: [(&'static str, Self); 2] = [("searxng", Self::Searxng), ("brave", Self::Brave)];

    pub fn word(self) -> &'static str {
        match self {
            Self::Searxng => "searxng",
            Self::Brave => "brave",
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Backend {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(word, _)| *word == text);
        found.map(|(_, backend)| *backend).ok_or_else(|| format!("`{text}` is not searxng or brave"))
    }
}

/// What is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Query {
    /// The words, with the domains as search engines write them.
    pub text: String,
    pub limit: usize,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hit {
    pub title: String,
    pub url: String,
    pub snippet: String,
}

/// A search engine.
pub(crate) trait Engine: Send + Sync {
    /// What policy is told.
    fn host(&self) -> String;

    /// Hits, best first; more than asked for is fine. An error says what to do.
    fn search<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Vec<Hit>, String>>;
}

/// The engine of these settings; an error says what is missing.
pub(crate) fn engine(settings: &SearchSettings) -> Result<Box<dyn Engine>, String> {
    let base = |default: Option<&str>| {
        let text = settings.url.as_deref().or(default).ok_or_else(|| {
            format!(
                "web_search has no address: set `url` in [web_search] to that of your {} instance",
                settings.backend
            )
        })?;
        let url =
            Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        url.ok_or_else(|| format!("`{text}` in [web_search] is not a web address: write https://HOST"))
    };
    Ok(match settings.backend {
        Backend::Searxng => Box::new(Searxng { base: base(None)? }),
        Backend::Brave => Box::new(Brave { base: base(Some(BRAVE_URL))?, key: settings.key.clone()? }),
    })
}

struct Searxng {
    base: Url,
}

impl Engine for Searxng {
    fn host(&self) -> String {
        authority(&self.base)
    }

    fn search<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Vec<Hit>, String>> {
        async move {
            let mut url = below(&self.base, "search");
            url.query_pairs_mut().append_pair("q", &query.text).append_pair("format", "json");
            let answer = ask(&url, &[]).await?;
            match answer.status {
                200 => parse_searxng(&answer.bytes),
                // What an instance says whose operator has not allowed JSON.
                403 => Err(
                    "the SearXNG instance refuses JSON: add `json` to `search.formats` in its settings.yml"
                        .into(),
                ),
                status => Err(refused("the SearXNG instance", status, &answer.bytes)),
            }
        }
        .boxed()
    }
}

struct Brave {
    base: Url,
    key: String,
}

impl Engine for Brave {
    fn host(&self) -> String {
        authority(&self.base)
    }

    fn search<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Vec<Hit>, String>> {
        async move {
            let mut url = below(&self.base, "res/v1/web/search");
            url.query_pairs_mut()
                .append_pair("q", &query.text)
                .append_pair("count", &query.limit.clamp(1, BRAVE_MOST).to_string())
                .append_pair("text_decorations", "false");
            let answer = ask(&url, &[("x-subscription-token", self.key.clone())]).await?;
            match answer.status {
                200 => parse_brave(&answer.bytes),
                401 | 403 | 422 => Err(format!(
                    "the Brave Search API refuses the key (status {}): check `key_env` in [web_search]",
                    answer.status
                )),
                429 => {
                    Err("the Brave Search API has no more answers for this key now: try again later".into())
                }
                status => Err(refused("the Brave Search API", status, &answer.bytes)),
            }
        }
        .boxed()
    }
}

async fn ask(url: &Url, headers: &[(&'static str, String)]) -> Result<Answer, String> {
    let answer = get_configured(url, headers, MAX_BYTES).await;
    answer.map_err(|error| match error {
        GetError::Refused(why) => why.to_string(),
        // It may name the address with the query, which the model knows, and never the key, which is in a header.
        GetError::Failed(why) => format!("{} cannot be asked: {why}", authority(url)),
    })
}

/// The address of something below the base, whatever the base ends with.
fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    let root = base.path().trim_end_matches('/');
    url.set_path(&format!("{root}/{path}"));
    url.set_query(None);
    url
}

fn refused(who: &str, status: u16, bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]);
    format!("{who} answered with status {status}: {}", text.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn parse_searxng(bytes: &[u8]) -> Result<Vec<Hit>, String> {
    #[derive(Deserialize)]
    struct Body {
        results: Vec<Found>,
    }
    #[derive(Deserialize)]
    struct Found {
        #[serde(default)]
        url: Option<String>,
        #[serde(default)]
        title: Option<String>,
        #[serde(default)]
        content: Option<String>,
    }
    let body: Body = serde_json::from_slice(bytes).map_err(|error| odd("the SearXNG instance", &error))?;
    let hits = body.results.into_iter().filter_map(|found| hit(found.url, found.title, found.content));
    Ok(hits.collect())
}

fn parse_brave(bytes: &[u8]) -> Result<Vec<Hit>, String> {
    #[derive(Deserialize)]
    struct Body {
        /// Left out when nothing was found.
        #[serde(default)]
        web: Option<Web>,
    }
    #[derive(Deserialize)]
    struct Web {
        #[serde(default)]
        results: Vec<Found>,
    }
    #[derive(Deserialize)]
    struct Found {
        #[serde(default)]
        url: Option<String>,
        #[serde(default)]
        title: Option<String>,
        #[serde(default)]
        description: Option<String>,
    }
    let body: Body = serde_json::from_slice(bytes).map_err(|error| odd("the Brave Search API", &error))?;
    let results = body.web.map(|web| web.results).unwrap_or_default();
    Ok(results.into_iter().filter_map(|found| hit(found.url, found.title, found.description)).collect())
}

fn hit(url: Option<String>, title: Option<String>, snippet: Option<String>) -> Option<Hit> {
    let line = |text: Option<String>, max: usize| {
        let text = text.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
        crate::support::cut(&text, max).to_owned()
    };
    let url = url.filter(|url| !url.is_empty() && url.len() <= URL_BYTES)?;
    Some(Hit { title: line(title, TITLE_BYTES), url, snippet: line(snippet, SNIPPET_BYTES) })
}

fn odd(who: &str, error: &serde_json::Error) -> String {
    format!("{who} answered with something else than was expected: {error}")
}

const BRAVE_URL: &str = "https://api.search.brave.com";
/// The most that the API gives at once.
const BRAVE_MOST: usize = 20;
const MAX_BYTES: usize = 2 << 20;
const TITLE_BYTES: usize = 200;
const SNIPPET_BYTES: usize = 500;
const URL_BYTES: usize = 2 << 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn answers_are_read_as_far_as_they_go() {
        let hit = |title: &str, url: &str, snippet: &str| Hit {
            title: title.into(),
            url: url.into(),
            snippet: snippet.into(),
        };
        let found = parse_searxng(
            br#"{"query":"q","results":[{"url":"https://a.example/","title":"A\n page","content":" text ","engine":"x","score":1},
                {"title":"no address"},{"url":"https://b.example/","title":null}],"answers":[]}"#,
        );
        assert_eq!(
            found.unwrap(),
            [hit("A page", "https://a.example/", "text"), hit("", "https://b.example/", "")]
        );
        let found = parse_brave(
            br#"{"type":"search","web":{"type":"search","results":[{"title":"A","url":"https://a.example/","description":"d","age":"1 day"}]}}"#,
        );
        assert_eq!(found.unwrap(), [hit("A", "https://a.example/", "d")]);
        assert_eq!(parse_brave(b"{\"type\":\"search\"}").unwrap(), []);
        assert!(parse_searxng(b"<html>").unwrap_err().contains("something else than was expected"));
    }

    #[test]
    fn settings_that_lack_something_say_what() {
        let settings = |backend, url: Option<&str>, key: Result<&str, &str>| SearchSettings {
            backend,
            url: url.map(str::to_owned),
            key: key.map(str::to_owned).map_err(str::to_owned),
        };
        let of = |settings: SearchSettings| engine(&settings).map(|engine| engine.host());
        assert_eq!(of(settings(Backend::Brave, None, Ok("k"))), Ok("api.search.brave.com".into()));
        assert_eq!(
            of(settings(Backend::Searxng, Some("http://localhost:8080/sx/"), Err(""))),
            Ok("localhost:8080".into())
        );
        assert_eq!(of(settings(Backend::Brave, None, Err("set X"))), Err("set X".into()));
        assert!(of(settings(Backend::Searxng, None, Err(""))).unwrap_err().contains("set `url`"));
        assert!(
            of(settings(Backend::Searxng, Some("nonsense"), Err("")))
                .unwrap_err()
                .contains("write https://HOST")
        );
        assert_eq!(below(&Url::parse("http://h/sx/?a=b").unwrap(), "search").as_str(), "http://h/sx/search");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = (parse_brave(&bytes), parse_searxng(&bytes), refused("x", 500, &bytes));
        }
    }
}
