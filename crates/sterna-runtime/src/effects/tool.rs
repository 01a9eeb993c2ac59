//! The tool effect: run what policy allowed, keep the whole output, project the view, report one outcome.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::FutureExt;
use serde_json::Value;
use sterna_context::{injections, project, project_ends};
use sterna_log::SharedBlobs;
use sterna_model::{
    BlobRef, EventKind, GrantScope, Millis, Permits, Question, ToolOutcome, ToolStatus, Untrusted, WaitOn,
};
use sterna_secrets::Scoped;
use sterna_tool::{
    ChildOp, Output, Recovered, SharedTool, ToolContext, ToolDone, ToolError, ToolReturn, ViewBudget,
};

use crate::driver::told_by;
use crate::files::MAX_FILES;
use crate::hub::Hub;

/// How a call ended.
pub enum ToolEnd {
    Done(ToolOutcome),
    /// A person must answer first.
    Ask(Vec<Question>),
    /// A child session is to be seen to.
    Child(ChildOp),
    /// A fresh window is wanted.
    Continue {
        task: String,
        seed: serde_json::Map<String, Value>,
    },
    /// The model wants to plan before it acts.
    EnterPlan,
    /// Rights for later calls, which a person said yes to.
    Permit {
        permits: Permits,
        scope: GrantScope,
    },
    /// A plan for a person to approve.
    Plan {
        slug: String,
        content: String,
    },
    /// It comes again when the time has come, or the signal.
    Wait {
        on: WaitOn,
        until: Option<Millis>,
    },
}

/// What is done with a result before anybody sees it.
pub struct After {
    pub secrets: Scoped,
    /// Something was taken out of output that was streamed into a blob.
    pub edited: Arc<AtomicBool>,
    /// Where it comes from, when it is text of strangers.
    pub origin: Option<String>,
}

/// Runs one allowed call to its end. A panic, a time-out and a cancel are outcomes like any other.
pub async fn run(tool: SharedTool, cx: ToolContext, args: Value, after: After) -> ToolEnd {
    let started_at = (cx.now)();
    let limit = tool.timeout_ms(&args);
    let (cancel, blobs, now) = (cx.cancel.clone(), cx.blobs.clone(), cx.now.clone());
    let name = tool.spec().name.clone();
    let call = AssertUnwindSafe(async { tool.call(cx, args).await }).catch_unwind();
    let ended = tokio::select! {
        // What ends at once needs no timer.
        biased;
        ended = call => ended.unwrap_or_else(|panic| Err(panicked(&name, &*panic))),
        () = tokio::time::sleep(std::time::Duration::from_millis(limit)) => Err(ToolError {
            status: ToolStatus::Timeout,
            message: format!("`{name}` gave no answer within {} s and was stopped", limit / 1000),
        }),
        () = given_up(&cancel) => Err(ToolError::cancelled()),
    };
    settle(ended, started_at, &*now, &blobs, &after).await
}

/// Asks a tool what became of a call of another life.
pub async fn recover(tool: SharedTool, cx: ToolContext, args: Value, after: After) -> Found {
    let started_at = cx.intended_at;
    let (blobs, now) = (cx.blobs.clone(), cx.now.clone());
    match tool.recover(cx, args).await {
        Recovered::Ended(ended) => Found::Ended(settle(ended, started_at, &*now, &blobs, &after).await),
        Recovered::NeverRan => Found::NeverRan,
        Recovered::Unknown => Found::Unknown,
    }
}

/// Lets a tool take back what an attempt of another life may have done. An error says why it may still be there.
pub async fn undo(tool: SharedTool, cx: ToolContext, args: Value) -> Result<(), String> {
    let limit = tool.timeout_ms(&args);
    let name = tool.spec().name.clone();
    let undo = AssertUnwindSafe(async { tool.undo(cx, args).await }).catch_unwind();
    match tokio::time::timeout(std::time::Duration::from_millis(limit), undo).await {
        Ok(ended) => ended.unwrap_or_else(|panic| Err(panicked(&name, &*panic))).map_err(|e| e.message),
        Err(_) => Err(format!("`{name}` did not take it back within {} s", limit / 1000)),
    }
}

/// What recovery found.
pub enum Found {
    Ended(ToolEnd),
    NeverRan,
    Unknown,
}

async fn settle(
    ended: Result<ToolReturn, ToolError>,
    started_at: Millis,
    now: &(dyn Fn() -> Millis + Send + Sync),
    blobs: &SharedBlobs,
    after: &After,
) -> ToolEnd {
    let since = |now: Millis| now.saturating_sub(started_at);
    match ended {
        Ok(ToolReturn::Ask(questions)) => ToolEnd::Ask(questions),
        Ok(ToolReturn::Child(op)) => ToolEnd::Child(op),
        Ok(ToolReturn::Sleep { until }) => ToolEnd::Wait { on: WaitOn::Timer, until: Some(until) },
        Ok(ToolReturn::Signal { name, until }) => ToolEnd::Wait { on: WaitOn::Signal { name }, until },
        Ok(ToolReturn::Continue { task, seed }) => ToolEnd::Continue { task, seed },
        Ok(ToolReturn::EnterPlan) => ToolEnd::EnterPlan,
        Ok(ToolReturn::Permit { permits, scope }) => ToolEnd::Permit { permits, scope },
        Ok(ToolReturn::Plan { slug, content }) => ToolEnd::Plan { slug, content },
        Ok(ToolReturn::Done(done)) => {
            let took = done.took_ms;
            let mut outcome = finished(done, blobs, after).await;
            outcome.started_at = started_at;
            outcome.duration_ms = took.unwrap_or_else(|| since(now()));
            ToolEnd::Done(outcome)
        }
        Err(error) => {
            let budget = ViewBudget { head_percent: 40, ..ViewBudget::default() };
            let done =
                ToolDone { output: Output::Text(error.message), budget, failed: true, ..ToolDone::default() };
            let mut outcome = finished(done, blobs, after).await;
            outcome.status = error.status;
            // Words of our own: nobody else's were heard.
            outcome.untrusted.take_if(|_| !error.status.ran());
            outcome.started_at = started_at;
            outcome.duration_ms = since(now());
            ToolEnd::Done(outcome)
        }
    }
}

/// An answer to a call that was not run.
pub fn unrun(status: ToolStatus, text: String, now: Millis) -> ToolOutcome {
    let budget = ViewBudget::default();
    let view = project(&text, None, budget.bytes, budget.lines, 100).view;
    ToolOutcome {
        status,
        view,
        full: None,
        facts: Vec::new(),
        started_at: now,
        duration_ms: 0,
        untrusted: None,
        attachments: Vec::new(),
    }
}

/// Live progress of a call.
pub fn progress(
    hub: Arc<Hub>,
    secrets: Scoped,
    key: sterna_model::EffectKey,
    call_id: String,
    name: String,
    now: Arc<dyn Fn() -> Millis + Send + Sync>,
) -> Arc<dyn Fn(String) + Send + Sync> {
    Arc::new(move |text: String| {
        if !hub.is_active() {
            return;
        }
        // The last lines so far: one may be cut in the middle of a secret.
        let text = secrets.redact_cut(&text).into_owned();
        hub.live(&key, now(), |delta| EventKind::ToolProgress {
            delta,
            call_id: call_id.clone(),
            name: name.clone(),
            text,
        });
    })
}

async fn finished(done: ToolDone, blobs: &SharedBlobs, after: &After) -> ToolOutcome {
    let ToolDone { output, budget, facts, failed, took_ms: _, mut attachments, origin } = done;
    attachments.truncate(MAX_FILES);
    let origin = after.origin.clone().or(origin);
    let ViewBudget { bytes, lines, head_percent } = budget;
    let mut flags = Vec::new();
    let mut look = |text: &str| {
        if origin.is_some() {
            let new = injections(text).into_iter().filter(|flag| !flags.contains(flag));
            let new: Vec<String> = new.collect();
            flags.extend(new);
        }
    };
    let (view, full) = match output {
        Output::Text(text) => {
            // Before it is cut: half a secret would not be found.
            let text = after.secrets.redact(&text);
            look(&text);
            let projected = project(&text, None, bytes, lines, head_percent);
            if projected.whole {
                (projected.view, None)
            } else {
                match keep(&text, blobs).await {
                    Ok(blob) => (project(&text, Some(&blob), bytes, lines, head_percent).view, Some(blob)),
                    // The model is told less than there was, and told so.
                    Err(error) => {
                        (format!("{}\n[the whole output could not be kept: {error}]", projected.view), None)
                    }
                }
            }
        }
        Output::Large { blob, mut head, mut tail, note } => {
            if after.edited.load(Ordering::Acquire) {
                (head, tail) = ends_of(&blob, &head, &tail, blobs).await;
            }
            look(&head);
            look(&tail);
            (project_ends(&head, &tail, &note, &blob, bytes, lines, head_percent), Some(blob))
        }
    };
    let status = if failed { ToolStatus::Failed } else { ToolStatus::Ok };
    let untrusted = origin.clone().map(|origin| Box::new(Untrusted { origin, flags }));
    ToolOutcome { status, view, full, facts, started_at: 0, duration_ms: 0, untrusted, attachments }
}

/// The ends of output of which something was taken out: those of the blob, since a cut through a secret shows a part.
async fn ends_of(blob: &BlobRef, head: &str, tail: &str, blobs: &SharedBlobs) -> (String, String) {
    let (first, last) = (head.len() as u64, tail.len() as u64);
    let head = blobs.get_range(&blob.hash, 0, first).await;
    let tail = blobs.get_range(&blob.hash, blob.bytes.saturating_sub(last), last).await;
    let text = |read: Result<Bytes, sterna_log::LogError>| {
        let lost = |error| format!("[the output could not be read: {error}]");
        read.map_or_else(lost, |bytes| String::from_utf8_lossy(&bytes).into_owned())
    };
    (text(head), text(tail))
}

async fn keep(text: &str, blobs: &sterna_log::SharedBlobs) -> Result<BlobRef, sterna_log::LogError> {
    blobs.put(Bytes::copy_from_slice(text.as_bytes())).await
}

/// A cancelled tool is given time to stop its own children (TERM, 2 s, KILL) before it is dropped.
async fn given_up(cancel: &sterna_tool::Cancel) {
    cancel.cancelled().await;
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
}

fn panicked(name: &str, panic: &(dyn std::any::Any + Send)) -> ToolError {
    ToolError { status: ToolStatus::Panicked, message: format!("`{name}` panicked: {}", told_by(panic)) }
}
