//! `web_search`: what a search engine finds.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use sterna_model::{EffectClass, ToolSpec, ToolStatus};
use sterna_tool::{Access, Plan, PlanContext, Tool, ToolContext, ToolDone, ToolError, ToolReturn};
use url::Url;

use crate::support::{counted, first_line, parse};
use crate::web::SearchSettings;
use crate::web::cache::Cache;
use crate::web::search::{Engine, Hit, Query, engine};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Args {
    /// What to search for.
    query: String,
    /// Only results of these domains, such as `docs.rs`.
    allowed_domains: Option<Vec<String>>,
    /// No results of these domains.
    blocked_domains: Option<Vec<String>>,
    /// Results, 10 when left out.
    #[schemars(range(min = 1, max = 20))]
    limit: Option<u64>,
}

pub(crate) struct WebSearch {
    spec: ToolSpec,
    /// The engine, or what is missing in the settings.
    engine: Result<Box<dyn Engine>, String>,
    found: Cache<Wanted, Vec<Hit>>,
}

/// The arguments, checked and in one form.
#[derive(Clone, PartialEq, Eq)]
struct Wanted {
    query: Query,
    allowed: Vec<String>,
    blocked: Vec<String>,
}

impl WebSearch {
    pub(crate) fn new(settings: &SearchSettings) -> Self {
        let spec = crate::schema::spec::<Args>("web_search", include_str!("web_search.md"));
        Self { spec, engine: engine(settings), found: Cache::new(LIFE_MS, ENTRIES) }
    }

    fn engine(&self) -> Result<&dyn Engine, ToolError> {
        self.engine.as_deref().map_err(ToolError::failed)
    }
}

impl Tool for WebSearch {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn class(&self, _: &Value) -> EffectClass {
        EffectClass::Idempotent
    }

    fn plan(&self, _: &PlanContext, args: &Value) -> Result<Plan, ToolError> {
        let wanted = wanted(args)?;
        let summary = format!("search the web for {}", first_line(&wanted.query.text, SUMMARY_BYTES));
        Ok(Plan { accesses: vec![Access::Web { host: self.engine()?.host() }], summary, preview: None })
    }

    fn call<'a>(&'a self, cx: ToolContext, args: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        async move {
            let wanted = wanted(&args)?;
            let engine = self.engine()?;
            let now = (cx.now)();
            let hits = match self.found.get(&wanted, now) {
                Some(hits) => hits,
                None => {
                    let found = tokio::select! {
                        biased;
                        () = cx.cancel.cancelled() => return Err(ToolError::cancelled()),
                        found = tokio::time::timeout(WITHIN, engine.search(&wanted.query)) => found,
                    };
                    let late = |_| {
                        let message =
                            format!("{} gave no answer within {} s", engine.host(), WITHIN.as_secs());
                        ToolError { status: ToolStatus::Timeout, message }
                    };
                    let hits = wanted.of(found.map_err(late)?.map_err(ToolError::failed)?);
                    self.found.put(wanted.clone(), hits.clone(), now);
                    hits
                }
            };
            Ok(ToolReturn::Done(ToolDone::text(told(&hits))))
        }
        .boxed()
    }
}

impl Wanted {
    /// Engines take the domains as a wish: here they are held.
    fn of(&self, hits: Vec<Hit>) -> Vec<Hit> {
        let mut kept: Vec<Hit> = Vec::new();
        for hit in hits {
            let Some(host) = Url::parse(&hit.url).ok().and_then(|url| Some(url.host_str()?.to_owned()))
            else {
                continue;
            };
            let of = |domains: &[String]| domains.iter().any(|domain| beneath(&host, domain));
            let wanted = (self.allowed.is_empty() || of(&self.allowed)) && !of(&self.blocked);
            if wanted && kept.len() < self.query.limit && !kept.iter().any(|other| other.url == hit.url) {
                kept.push(hit);
            }
        }
        kept
    }
}

fn wanted(args: &Value) -> Result<Wanted, ToolError> {
    let args: Args = parse(args)?;
    let words = args.query.split_whitespace().collect::<Vec<_>>().join(" ");
    if words.is_empty() {
        return Err(ToolError::invalid("query is empty"));
    }
    if words.len() > QUERY_BYTES {
        return Err(ToolError::invalid(format!("query is longer than {QUERY_BYTES} bytes")));
    }
    let limit = args.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MOST).contains(&limit) {
        return Err(ToolError::invalid(format!("limit is 1 to {MOST}")));
    }
    let (allowed, blocked) = (domains(args.allowed_domains)?, domains(args.blocked_domains)?);
    let mut text = words;
    match allowed.as_slice() {
        [] => {}
        [one] => text.push_str(&format!(" site:{one}")),
        many => {
            let sites: Vec<String> = many.iter().map(|domain| format!("site:{domain}")).collect();
            text.push_str(&format!(" ({})", sites.join(" OR ")));
        }
    }
    blocked.iter().for_each(|domain| text.push_str(&format!(" -site:{domain}")));
    Ok(Wanted { query: Query { text, limit: limit as usize }, allowed, blocked })
}

/// Lower case, without a `*.` that says what holds anyway.
fn domains(given: Option<Vec<String>>) -> Result<Vec<String>, ToolError> {
    let given = given.unwrap_or_default();
    if given.len() > DOMAINS {
        return Err(ToolError::invalid(format!("there are more than {DOMAINS} domains in a list")));
    }
    let domain = |text: &String| {
        let name = text.trim().trim_start_matches("*.").trim_end_matches('.').to_ascii_lowercase();
        let valid = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "-._".contains(c));
        valid.then_some(name).ok_or_else(|| {
            ToolError::invalid(format!("`{text}` is not a domain; write docs.rs, without a scheme or path"))
        })
    };
    given.iter().map(domain).collect()
}

fn beneath(host: &str, domain: &str) -> bool {
    let host = host.trim_end_matches('.');
    host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn told(hits: &[Hit]) -> String {
    if hits.is_empty() {
        return "nothing was found; try other words or fewer limits".to_owned();
    }
    let mut text = format!("[{}]", counted(hits.len(), "result"));
    for (at, hit) in hits.iter().enumerate() {
        let title = if hit.title.is_empty() { "(no title)" } else { &hit.title };
        text.push_str(&format!("\n{}. {title}\n   {}", at + 1, hit.url));
        if !hit.snippet.is_empty() {
            text.push_str(&format!("\n   {}", hit.snippet));
        }
    }
    text
}

const DEFAULT_LIMIT: u64 = 10;
const MOST: u64 = 20;
const DOMAINS: usize = 20;
const QUERY_BYTES: usize = 400;
const LIFE_MS: u64 = 5 * 60 * 1000;
const ENTRIES: usize = 128;
const WITHIN: Duration = Duration::from_secs(30);
const SUMMARY_BYTES: usize = 200;
