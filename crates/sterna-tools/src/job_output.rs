//! `job_output`: what a background job has written since a byte, and whether it still runs.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use sterna_model::{EffectClass, ToolSpec};
use sterna_shell::shim::{End, Event, Handle, Screen};
use sterna_tool::{
    Access, Cancel, Output, Plan, PlanContext, Tool, ToolContext, ToolDone, ToolError, ToolReturn, ViewBudget,
};
use tokio::time::{Instant, timeout_at};

use crate::jobs::{Job, Jobs, refused};
use crate::screen::show;
use crate::support::{blocking, number, parse};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Args {
    /// The job; left out: lists the session's jobs.
    job: Option<String>,
    /// Byte to start at, as the last answer named it.
    offset: Option<u64>,
    /// Seconds to wait for new output or the end.
    #[schemars(range(min = 0, max = 60))]
    wait_s: Option<u64>,
}

pub(crate) struct JobOutput {
    spec: ToolSpec,
    jobs: Jobs,
}

impl JobOutput {
    pub(crate) fn new(jobs: Jobs) -> Self {
        Self { spec: crate::schema::spec::<Args>("job_output", include_str!("job_output.md")), jobs }
    }
}

impl Tool for JobOutput {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn class(&self, _: &Value) -> EffectClass {
        EffectClass::Pure
    }

    fn plan(&self, _: &PlanContext, args: &Value) -> Result<Plan, ToolError> {
        let args = parse_checked(args)?;
        let summary = match &args.job {
            Some(job) => format!("read the output of {job}"),
            None => "list the background jobs".to_owned(),
        };
        Ok(Plan { accesses: vec![Access::Session], summary, preview: None })
    }

    fn call<'a>(&'a self, cx: ToolContext, args: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        async move {
            let args = parse_checked(&args)?;
            let Some(id) = &args.job else {
                return Ok(ToolReturn::Done(ToolDone::text(list(&self.jobs.of(&cx.key.session)?))));
            };
            let job = self.jobs.find(&cx.key.session, id)?;
            let wait = Duration::from_secs(args.wait_s.unwrap_or(0));
            let text = read(&self.jobs, &job, args.offset, wait, &cx.cancel).await?;
            Ok(ToolReturn::Done(ToolDone {
                output: Output::Text(text),
                budget: BUDGET,
                ..ToolDone::default()
            }))
        }
        .boxed()
    }
}

/// What a job has written since `offset`, after a wait for something new: its bytes, or its screen.
pub(crate) async fn read(
    jobs: &Jobs,
    job: &Job,
    offset: Option<u64>,
    wait: Duration,
    cancel: &Cancel,
) -> Result<String, ToolError> {
    let (id, from) = (&job.id, offset.unwrap_or(0));
    if from > job.listed.spool.output_len() {
        let size = number(job.listed.spool.output_len());
        return Err(ToolError::invalid(format!("{id} has written {size} bytes; offset {from} is beyond")));
    }
    if let Some(screen) = job.plan.terminal {
        return screen_of(jobs, job, screen, offset, wait, cancel).await;
    }
    let mut handle = jobs.shims()?.open(&job.listed.spool);
    if from > 0 {
        handle.seek(from);
    }
    let page = tokio::select! {
        biased;
        () = cancel.cancelled() => return Err(ToolError::cancelled()),
        page = page(&mut handle, wait) => page.map_err(|error| refused(id, &error))?,
    };
    let state = job.listed.spool.state().map_err(ToolError::failed)?;
    let size = job.listed.spool.output_len().max(from);
    let taken = match &page.end {
        Some(_) => page.bytes.len(),
        // What comes next may complete the last character.
        None => whole_characters(&page.bytes),
    };
    let next = from + taken as u64;
    let mut text = String::from_utf8_lossy(&page.bytes[..taken]).into_owned();
    if text.is_empty() {
        text.push_str(if from == 0 { "(no output)" } else { "(no new output)" });
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let range = format!("bytes {from}–{next}");
    text.push_str(&match &page.end {
        Some(_) => format!("[{id} {}; {range}, the end]", state.told()),
        None if next < size => {
            format!("[{id} {}; {range} of {size}; offset {next} reads on]", state.told())
        }
        None => format!("[{id} running; {range}; offset {next} reads on]"),
    });
    if let Some(End::Exited { exit, whole }) = page.end {
        if exit.dropped > 0 {
            text.push_str(&format!("\n[{} bytes of its output were lost]", number(exit.dropped)));
        } else if !whole {
            text.push_str("\n[its output was damaged since]");
        }
    }
    Ok(text)
}

/// The screen of a job with a terminal: as it is, and all that it showed once it has ended.
async fn screen_of(
    jobs: &Jobs,
    job: &Job,
    screen: Screen,
    offset: Option<u64>,
    wait: Duration,
    cancel: &Cancel,
) -> Result<String, ToolError> {
    let id = &job.id;
    let seen = offset.unwrap_or(job.listed.output_bytes);
    let mut handle = jobs.shims()?.open(&job.listed.spool);
    // What a screen shows depends on what came before; what is long gone from it does not matter.
    handle.seek(seen.saturating_sub(SCREEN_BYTES));
    let mut bytes = Vec::new();
    let look = async {
        let mut at = seen.saturating_sub(SCREEN_BYTES);
        let until = Instant::now() + wait;
        loop {
            let page = page(
                &mut handle,
                if at <= seen { until - Instant::now().min(until) } else { Duration::ZERO },
            )
            .await?;
            at += page.bytes.len() as u64;
            let nothing = page.bytes.is_empty();
            bytes.extend(page.bytes);
            let old = bytes.len().saturating_sub(2 * SCREEN_BYTES as usize);
            bytes.drain(..old);
            if nothing || page.end.is_some() {
                return Ok((at, page.end.is_some()));
            }
        }
    };
    let (at, ended) = tokio::select! {
        biased;
        () = cancel.cancelled() => return Err(ToolError::cancelled()),
        looked = look => looked.map_err(|error| refused(id, &error))?,
    };
    let state = job.listed.spool.state().map_err(ToolError::failed)?;
    let shown = blocking(cancel, move |_| Ok(show(&bytes, screen, ended))).await?;
    let text = if shown.text.is_empty() { "(empty screen)" } else { &shown.text };
    let (line, column) = shown.cursor;
    let Screen { cols, rows } = screen;
    let told = state.told();
    Ok(if ended {
        format!("{text}\n[{id} {told}; all that its terminal showed]")
    } else {
        format!(
            "{text}\n[{id} {told}; screen {cols}x{rows}, cursor in line {line}, column {column}; {at} bytes so far]"
        )
    })
}

/// What was there, and the end if that was reached.
struct Page {
    bytes: Vec<u8>,
    end: Option<End>,
}

/// Reads what is there. With nothing there, waits for more or the end, and a moment longer for what comes with it.
async fn page(handle: &mut Handle, wait: Duration) -> Result<Page, sterna_shell::shim::ShimError> {
    let mut bytes = Vec::new();
    let mut until = Instant::now() + wait;
    let mut waited = false;
    loop {
        let event = match handle.look()? {
            Some(event) => event,
            None if !bytes.is_empty() && !waited => return Ok(Page { bytes, end: None }),
            None => {
                waited = true;
                match timeout_at(until, handle.next()).await {
                    Ok(event) => event?,
                    Err(_) => return Ok(Page { bytes, end: None }),
                }
            }
        };
        match event {
            Event::Output(more) => {
                if waited && bytes.is_empty() {
                    until = until.min(Instant::now() + LINGER);
                }
                bytes.extend(more);
                if bytes.len() >= PAGE_BYTES {
                    return Ok(Page { bytes, end: None });
                }
            }
            Event::End(end) => return Ok(Page { bytes, end: Some(end) }),
        }
    }
}

fn parse_checked(args: &Value) -> Result<Args, ToolError> {
    let args: Args = parse(args)?;
    if args.job.is_none() && (args.offset.is_some() || args.wait_s.is_some()) {
        return Err(ToolError::invalid("offset and wait_s need a job"));
    }
    if args.wait_s.is_some_and(|seconds| seconds > MAX_WAIT_SECONDS) {
        return Err(ToolError::invalid(format!("wait_s is 0 to {MAX_WAIT_SECONDS}")));
    }
    Ok(args)
}

fn list(jobs: &[Job]) -> String {
    if jobs.is_empty() {
        return "this session has no background jobs".to_owned();
    }
    let line = |job: &Job| {
        let bytes = number(job.listed.output_bytes);
        format!("{}  {}  {bytes} bytes of output  {}", job.id, job.told(), job.command())
    };
    jobs.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// How many of the bytes end with a whole character. Bytes that are no text count as they are.
fn whole_characters(bytes: &[u8]) -> usize {
    let back = bytes.len().saturating_sub(3);
    let start = (back..bytes.len()).rev().find(|at| bytes[*at] & 0xC0 != 0x80);
    match start.map(|at| (at, std::str::from_utf8(&bytes[at..]))) {
        Some((at, Err(error))) if error.error_len().is_none() => at,
        _ => bytes.len(),
    }
}

const BUDGET: ViewBudget = ViewBudget { bytes: 16 << 10, lines: 400, head_percent: 40 };
/// What one call reads at most; beyond the view it goes to a blob.
const PAGE_BYTES: usize = 1 << 20;
/// As much of what a terminal was sent as a screen is made from.
const SCREEN_BYTES: u64 = 2 << 20;
const MAX_WAIT_SECONDS: u64 = 60;
/// After a wait, output that follows at once belongs to what was waited for.
const LINGER: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::whole_characters;

    #[test]
    fn a_character_that_is_not_all_there_waits_for_the_rest() {
        for (bytes, want) in [
            (&b""[..], 0),
            (b"ab", 2),
            ("a€".as_bytes(), 4),
            (b"a\xe2\x82", 1),
            (b"a\xe2", 1),
            (b"\xf0\x9f\x98", 0),
            (b"a\xff", 2),
            (b"\x80\x80\x80\x80", 4),
        ] {
            assert_eq!(whole_characters(bytes), want, "{bytes:?}");
        }
    }
}
