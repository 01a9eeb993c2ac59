//! `web_fetch`: a page of the public network as text.
//!
//! Each hop is judged anew: the host is resolved once, its addresses are judged, and only those are connected to.

use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use sterna_model::{EffectClass, ToolSpec, ToolStatus};
use sterna_tool::{
    Access, Output, Plan, PlanContext, Tool, ToolContext, ToolDone, ToolError, ToolReturn, ViewBudget,
};
use url::Url;

use crate::pdf;
use crate::support::{blocking, cut, number, parse};
use crate::web::cache::Cache;
use crate::web::focus::focus;
use crate::web::get::{Answer, GetError, Web};
use crate::web::guard;
use crate::web::page::{self, Page};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Args {
    /// Address of the page.
    url: String,
    /// What is looked for in it.
    prompt: Option<String>,
}

pub(crate) struct WebFetch {
    spec: ToolSpec,
    web: Web,
    /// Pages by the address that was asked for.
    pages: Cache<String, Fetched>,
}

/// A page that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fetched {
    /// What it is, in brackets.
    head: String,
    text: Bytes,
    failed: bool,
}

impl WebFetch {
    pub(crate) fn new(web: Web) -> Self {
        let spec = crate::schema::spec::<Args>("web_fetch", include_str!("web_fetch.md"));
        Self { spec, web, pages: Cache::new(PAGE_LIFE_MS, PAGES) }
    }

    async fn fetch(&self, asked: &Url, cx: &ToolContext) -> Result<Fetched, ToolError> {
        let mut url = asked.clone();
        for _ in 0..=REDIRECTS {
            let answer = self.web.get(&url, ACCEPT, MAX_BYTES).await.map_err(|error| match error {
                GetError::Refused(refusal) => ToolError::failed(refusal),
                GetError::Failed(why) => ToolError::failed(format!("{url} cannot be fetched: {why}")),
            })?;
            let leads = answer.location.as_deref().filter(|_| matches!(answer.status, 301..=303 | 307 | 308));
            let Some(leads) = leads else { return told(&url, answer, cx).await };
            let next = url.join(leads).ok().and_then(|next| guard::read(next.as_str()).ok());
            let Some(next) = next else {
                let leads = cut(leads, SHOWN_BYTES);
                let message = format!("{url} leads to `{leads}`, which cannot be fetched");
                return Err(ToolError::failed(message));
            };
            // The policy that was asked knows one host.
            if guard::authority(&next) != guard::authority(asked) {
                let text = format!(
                    "{url} leads to another host: {next}\nIt was not fetched. Call web_fetch with that address if you want it."
                );
                let head = format!("[status {}]", answer.status);
                return Ok(Fetched { head, text: text.into(), failed: false });
            }
            url = next;
        }
        Err(ToolError::failed(format!(
            "{asked} leads from one address to the next, more than {REDIRECTS} times"
        )))
    }
}

impl Tool for WebFetch {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    /// GET changes nothing where it is used as it is meant.
    fn class(&self, _: &Value) -> EffectClass {
        EffectClass::Idempotent
    }

    fn plan(&self, _: &PlanContext, args: &Value) -> Result<Plan, ToolError> {
        let args: Args = parse(args)?;
        let url = guard::read(&args.url).map_err(ToolError::invalid)?;
        guard::judge_literal(&url, self.web.private()).map_err(ToolError::failed)?;
        let summary = format!("fetch {}", cut(url.as_str(), SHOWN_BYTES));
        Ok(Plan { accesses: vec![Access::Web { host: guard::authority(&url) }], summary, preview: None })
    }

    fn timeout_ms(&self, _: &Value) -> u64 {
        (WITHIN + SPARE).as_millis() as u64
    }

    fn call<'a>(&'a self, cx: ToolContext, args: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        async move {
            let args: Args = parse(&args)?;
            let url = guard::read(&args.url).map_err(ToolError::invalid)?;
            let now = (cx.now)();
            let held = self.pages.get(&url.to_string(), now);
            let fetched = match held {
                Some(held) => held,
                None => {
                    let fetched = tokio::select! {
                        biased;
                        () = cx.cancel.cancelled() => return Err(ToolError::cancelled()),
                        fetched = tokio::time::timeout(WITHIN, self.fetch(&url, &cx)) => fetched,
                    };
                    let late = |_| {
                        let message = format!("{url} did not come within {} s", WITHIN.as_secs());
                        ToolError { status: ToolStatus::Timeout, message }
                    };
                    let fetched = fetched.map_err(late)??;
                    if !fetched.failed && fetched.text.len() <= KEPT_BYTES {
                        self.pages.put(url.to_string(), fetched.clone(), now);
                    }
                    fetched
                }
            };
            shown(&cx, &args, fetched).await.map(ToolReturn::Done)
        }
        .boxed()
    }
}

/// What the model sees: the page if it fits, else its beginning, or what it is asked about.
async fn shown(cx: &ToolContext, args: &Args, fetched: Fetched) -> Result<ToolDone, ToolError> {
    let Fetched { head, text, failed } = fetched;
    let page = String::from_utf8_lossy(&text);
    let budget = ViewBudget::default();
    let room = budget.bytes.saturating_sub(head.len() + MARKER_BYTES);
    let question = args.prompt.as_deref().filter(|prompt| !prompt.trim().is_empty());
    let output = match question {
        Some(question) if page.len() > room => {
            let passages = focus(&page, question, room);
            let kept = cx.blobs.put(text.clone()).await;
            let blob =
                kept.map_err(|error| ToolError::failed(format!("the page could not be kept: {error}")))?;
            let head = format!("{head}\n[passages about the prompt]\n{passages}");
            Output::Large { blob, head, tail: String::new(), note: String::new() }
        }
        Some(_) | None => Output::Text(format!("{head}\n{page}")),
    };
    Ok(ToolDone { output, budget, failed, ..ToolDone::default() })
}

async fn told(url: &Url, answer: Answer, cx: &ToolContext) -> Result<Fetched, ToolError> {
    let (status, was_cut, size) = (answer.status, answer.cut, answer.bytes.len());
    let failed = !(200..300).contains(&status);
    let at = url.clone();
    let (page, media) = blocking(&cx.cancel, move |_| {
        let media = answer.content_type.split(';').next().unwrap_or_default().trim().to_owned();
        if media.eq_ignore_ascii_case("application/pdf") {
            let pages = pdf::read(answer.bytes, 1, pdf::MAX_PAGES);
            let text =
                pages.map(|pages| format!("{}[pages 1–{} of {}]", pages.text, pages.last, pages.total));
            return Ok((
                text.map_or_else(
                    |why| Page::Binary(format!("{media} that cannot be read ({why})")),
                    Page::Text,
                ),
                media,
            ));
        }
        Ok((page::read(&answer.bytes, &answer.content_type, &at), media))
    })
    .await?;
    let mut head = format!("[{url}");
    if status != 200 {
        head.push_str(&format!(", status {status}"));
    }
    if !media.is_empty() {
        head.push_str(&format!(", {media}"));
    }
    head.push_str(&format!(", {} bytes", number(size as u64)));
    if was_cut {
        head.push_str("; there is more, which is not fetched");
    }
    head.push(']');
    match page {
        Page::Text(text) if text.trim().is_empty() => Ok(Fetched { head, text: "(no text)".into(), failed }),
        Page::Text(text) => Ok(Fetched { head, text: text.into(), failed }),
        Page::Binary(kind) => Err(ToolError::failed(format!(
            "{url} is {kind} of {} bytes, not text{}",
            number(size as u64),
            if failed { format!(" (status {status})") } else { "; fetch it with shell into a file".into() }
        ))),
    }
}

const ACCEPT: &str =
    "text/markdown, text/html;q=0.9, application/xhtml+xml;q=0.9, text/plain;q=0.8, */*;q=0.5";
/// For all hops together.
const WITHIN: Duration = Duration::from_secs(60);
/// For reading the page.
const SPARE: Duration = Duration::from_secs(15);
const MAX_BYTES: usize = 10 << 20;
const REDIRECTS: usize = 10;
const PAGE_LIFE_MS: u64 = 15 * 60 * 1000;
const PAGES: usize = 32;
/// A larger page is fetched again.
const KEPT_BYTES: usize = 1 << 20;
const SHOWN_BYTES: usize = 300;
/// For the note on what is not shown.
const MARKER_BYTES: usize = 300;
