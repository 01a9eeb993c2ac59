//! What a tool reads of its own session: the log, whatever requests show of it.

use futures::FutureExt;
use futures::future::BoxFuture;
use sterna_log::{SharedBlobs, SharedLog};
use sterna_model::{Body, EffectResult, Part, Place, Record, SessionId, ToolCall, input_text};
use sterna_tool::{Found, SessionReader};

use crate::state::for_each_record;
use crate::{ContextReport, Parts};

/// Reads one session's history.
pub(crate) struct Reader {
    parts: Parts,
    session: SessionId,
}

impl Reader {
    pub fn new(parts: Parts, session: SessionId) -> Self {
        Self { parts, session }
    }

    fn log(&self) -> &SharedLog {
        &self.parts.log
    }

    fn blobs(&self) -> &SharedBlobs {
        &self.parts.blobs
    }

    /// Every record that says something, with who said it.
    async fn each(&self, mut each: impl FnMut(Place, Said)) -> Result<(), String> {
        let (mut place, mut calls) = (0, Vec::new());
        let read = for_each_record(self.log(), &self.session, |_, sealed| {
            place += 1;
            if let Some(said) = said(&sealed.record, &mut calls) {
                each(place, said);
            }
            Ok(())
        });
        read.await.map_err(|error| error.to_string())
    }

    async fn read(&self, wanted: Place) -> Result<Option<String>, String> {
        let mut found = None;
        let mut head = None;
        let (mut place, mut calls) = (0, Vec::new());
        let read = for_each_record(self.log(), &self.session, |_, sealed| {
            place += 1;
            let text = said(&sealed.record, &mut calls);
            if place == wanted {
                if let Body::Compacted(compacted) = &sealed.record.body {
                    head = Some(compacted.clone());
                }
                found = Some(text.map_or_else(
                    || serde_json::to_string_pretty(&sealed.record.body).unwrap_or_default(),
                    |said| format!("{}:\n{}", said.who, said.text),
                ));
            }
            Ok(())
        });
        read.await.map_err(|error| error.to_string())?;
        if let Some(compacted) = head {
            let summary = match &compacted.summary {
                Some(blob) => match self.blobs().get(&blob.hash).await {
                    Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                    Err(_) => format!("[archived context unavailable: blob:{}]", blob.hash),
                },
                None => "no summary".into(),
            };
            return Ok(Some(format!("compacted:\n{summary}")));
        }
        Ok(found)
    }
}

impl SessionReader for Reader {
    fn record(&self, place: Place) -> BoxFuture<'_, Result<Option<String>, String>> {
        self.read(place).boxed()
    }

    fn search<'a>(&'a self, query: &'a str, limit: usize) -> BoxFuture<'a, Result<Vec<Found>, String>> {
        async move {
            let words = words(query);
            if words.is_empty() {
                return Err("the query has no words".to_owned());
            }
            let mut found: Vec<(usize, Found)> = Vec::new();
            let read = self.each(|place, said| {
                // What was recalled stands where it was said.
                if said.who == "recall" {
                    return;
                }
                let lower = said.text.to_lowercase();
                let hits = words.iter().filter(|word| lower.contains(word.as_str())).count();
                if hits > 0 {
                    let snippet = snippet(&said.text, &words);
                    found.push((hits, Found { place, who: said.who, snippet }));
                    if found.len() >= 4 * limit.max(16) {
                        best(&mut found, limit);
                    }
                }
            });
            read.await?;
            best(&mut found, limit);
            Ok(found.into_iter().map(|(_, found)| found).collect())
        }
        .boxed()
    }

    fn context(&self) -> BoxFuture<'_, Result<String, String>> {
        async move {
            let found = crate::context::context(&self.parts, &self.session, None).await;
            let report = found.map_err(|error| error.to_string())?;
            report
                .map(|report| told(&report))
                .ok_or_else(|| "this session has sent no request yet".to_owned())
        }
        .boxed()
    }
}

/// A report in a few lines: the largest owners, and what is left.
fn told(report: &ContextReport) -> String {
    let mut rows: Vec<_> = report.rows.iter().filter(|row| row.tokens > 0).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.tokens));
    let mut text = String::new();
    for row in rows.iter().take(TOLD_ROWS) {
        text.push_str(&format!("{:>8}  {}\n", row.tokens, row.owned.owner));
    }
    if let Some(rest) = rows.get(TOLD_ROWS..).filter(|rest| !rest.is_empty()) {
        let tokens: u64 = rest.iter().map(|row| row.tokens).sum();
        text.push_str(&format!("{tokens:>8}  {} others\n", rest.len()));
    }
    let about = if report.counted { "" } else { "about " };
    text.push_str(&format!(
        "{about}{} tokens of {}; room for {}",
        report.tokens,
        report.window,
        report.room()
    ));
    match sterna_model::dollars(report.cost) {
        Some(cost) => text.push_str(&format!("; ${cost:.4} spent so far")),
        None => text.push_str("; what it costs is not known"),
    }
    text
}

const TOLD_ROWS: usize = 20;

/// What a record says, and who.
struct Said {
    who: String,
    text: String,
}

/// `calls` are those of the last answer.
fn said(record: &Record, calls: &mut Vec<ToolCall>) -> Option<Said> {
    match &record.body {
        Body::InputAccepted(input) if input.compact.is_none() => {
            Some(Said { who: "person".into(), text: input_text(&input.parts) })
        }
        Body::InputEdited { parts, .. } => Some(Said { who: "person".into(), text: input_text(parts) }),
        Body::Outcome(outcome) => match &outcome.result {
            EffectResult::Model(model) => {
                calls.clear();
                let mut text = String::new();
                for part in &model.parts {
                    match part {
                        Part::Text(said) => text.push_str(said),
                        Part::ToolCall(call) => {
                            text.push_str(&format!("\n[calls {} {}]", call.name, call.arguments));
                            calls.push(call.clone());
                        }
                        Part::Reasoning(_) | Part::Opaque(_) => {}
                    }
                }
                Some(Said { who: "model".into(), text: text.trim().to_owned() })
            }
            EffectResult::Tool(result) => {
                let name = calls.get(outcome.key.ordinal as usize).map(|call| call.name.clone());
                Some(Said { who: name.unwrap_or_else(|| "tool".into()), text: result.view.clone() })
            }
            EffectResult::ModelFailed(_) | EffectResult::Summary(_) | EffectResult::Judged(_) => None,
        },
        _ => None,
    }
}

fn words(query: &str) -> Vec<String> {
    let mut words: Vec<String> = query
        .to_lowercase()
        .split(|c: char| !c.is_alphanumeric())
        .filter(|w| !w.is_empty())
        .map(Into::into)
        .collect();
    words.sort_unstable();
    words.dedup();
    words
}

/// Those with more of the words first, then the newer ones.
fn best(found: &mut Vec<(usize, Found)>, limit: usize) {
    found.sort_by_key(|(hits, found)| (std::cmp::Reverse(*hits), std::cmp::Reverse(found.place)));
    found.truncate(limit);
}

/// The text round the place with most of the words, in a line.
fn snippet(text: &str, words: &[String]) -> String {
    let line = text
        .lines()
        .max_by_key(|line| {
            let lower = line.to_lowercase();
            words.iter().filter(|word| lower.contains(word.as_str())).count()
        })
        .unwrap_or_default();
    let lower = line.to_lowercase();
    let first = words.iter().filter_map(|word| lower.find(word.as_str())).min().unwrap_or(0);
    // Lower case may be of another length: this is where to begin, about.
    let skip = line.char_indices().take_while(|(at, _)| *at < first).count().saturating_sub(SNIPPET_BEFORE);
    line.chars().skip(skip).take(SNIPPET_CHARS).collect::<String>().trim().to_owned()
}

const SNIPPET_BEFORE: usize = 80;
const SNIPPET_CHARS: usize = 400;
