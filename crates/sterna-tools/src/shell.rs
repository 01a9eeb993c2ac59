//! `shell`: a command line of the user's shell.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use sterna_log::SharedBlobs;
use sterna_model::{EffectClass, EffectKey, Fact, ToolSpec, ToolStatus};
use sterna_shell::sandbox::Confinement;
use sterna_shell::shim::{self, AtCap, Followed, Found, Handle, Input, Run, Screen, ShimError, Shims, Spool};
use sterna_shell::{Captured, Command, Confined, Ended, GRACE, lossy_head, lossy_tail};
use sterna_tool::{
    Access, Output, Plan, PlanContext, Recovered, Tool, ToolContext, ToolDone, ToolError, ToolReturn,
    ViewBudget,
};

use crate::jobs::NO_SHIM;
use crate::sandbox::Sandboxes;
use crate::support::{cut, first_line, number, parse, place, planned};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Args {
    /// Command line for bash.
    command: String,
    /// Folder to run in; the working directory when left out.
    cwd: Option<String>,
    /// Seconds until it is ended, 120 when left out.
    #[schemars(range(min = 1, max = 600))]
    timeout_s: Option<u64>,
    /// Run it as a job that outlives the call, without a time limit.
    background: Option<bool>,
    /// With `background`: keep its input open for `shell_input`.
    open_stdin: Option<bool>,
    /// Text for its input; empty when left out.
    stdin: Option<String>,
    /// With `background`: give it a terminal.
    tty: Option<bool>,
    /// Columns of the terminal, 80 when left out.
    #[schemars(range(min = 1, max = 500))]
    cols: Option<u16>,
    /// Rows of the terminal, 24 when left out.
    #[schemars(range(min = 1, max = 500))]
    rows: Option<u16>,
}

impl Args {
    fn cwd(&self) -> &str {
        self.cwd.as_deref().unwrap_or(".")
    }

    fn terminal(&self) -> Option<Screen> {
        let size = Screen { cols: self.cols.unwrap_or(COLS), rows: self.rows.unwrap_or(ROWS) };
        (self.tty == Some(true)).then_some(size)
    }

    fn is_job(&self) -> bool {
        self.background == Some(true)
    }
}

pub(crate) struct Shell {
    spec: ToolSpec,
    /// Where commands run on when this process dies. Without: they end with the call, and a crash leaves a doubt.
    shims: Option<Arc<Shims>>,
    /// Without: what was to be confined does not run.
    sandboxes: Option<Arc<Sandboxes>>,
}

impl Shell {
    pub(crate) fn new(shims: Option<Arc<Shims>>, sandboxes: Option<Arc<Sandboxes>>) -> Self {
        let spec = crate::schema::spec::<Args>("shell", include_str!("shell.md"));
        Self { spec, shims, sandboxes }
    }

    async fn confined(&self, cx: &ToolContext) -> Result<Option<Confined>, ToolError> {
        match &self.sandboxes {
            Some(sandboxes) => sandboxes.confined(cx).await.map_err(unconfined),
            None if cx.confine.level.holds() => Err(unconfined("nothing here can confine it")),
            None => Ok(None),
        }
    }
}

/// It was decided under a sandbox, so it does not run without.
fn unconfined(why: impl std::fmt::Display) -> ToolError {
    ToolError::failed(format!("sandbox_failed: the command was not run: {why}"))
}

impl Tool for Shell {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn class(&self, _: &Value) -> EffectClass {
        EffectClass::AtMostOnce
    }

    fn plan(&self, cx: &PlanContext, args: &Value) -> Result<Plan, ToolError> {
        let args = parse_checked(args)?;
        let cwd = place(&cx.cwd, args.cwd())?;
        let name = if args.is_job() { "shell in the background" } else { "shell" };
        let summary = format!("{name}: {}", first_line(&args.command, SUMMARY_BYTES));
        let mut preview = String::new();
        if args.command.trim().contains('\n') || args.command.len() > SUMMARY_BYTES {
            preview.push_str(&args.command);
        }
        if let Some(stdin) = &args.stdin {
            preview.push_str(&format!("\ninput ({} bytes):\n{stdin}", number(stdin.len() as u64)));
        }
        let preview = (!preview.is_empty()).then(|| cut(&preview, PREVIEW_BYTES).to_owned());
        Ok(Plan { accesses: vec![Access::Shell { command: args.command, cwd }], summary, preview })
    }

    fn confines(&self) -> bool {
        self.sandboxes.is_some()
    }

    fn call<'a>(&'a self, cx: ToolContext, args: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        async move {
            let args = parse_checked(&args)?;
            let cwd = planned(&cx, args.cwd())?;
            let confined = self.confined(&cx).await?;
            let confinement = confined.as_ref().map(|confined| confined.confinement.clone());
            if args.is_job() {
                let shims = self.shims.as_ref().ok_or_else(|| ToolError::failed(NO_SHIM))?;
                return begin(shims, &cx, &args, cwd, confinement).await.map(ToolReturn::Done);
            }
            let blobs = cx.blobs.clone();
            let seconds = args.timeout_s.unwrap_or(DEFAULT_SECONDS);
            if let Some(shims) = &self.shims {
                let mut plan = shim_plan(&cx, &args, cwd.clone(), seconds);
                plan.confine = confinement;
                match shims.start(&cx.key, cx.attempt, &plan).await {
                    Ok(handle) => return followed(handle, cx, seconds).await,
                    // No program that could be the shim: as without.
                    Err(ShimError::NoShim { .. }) => {}
                    Err(error) => return Err(ToolError::failed(error)),
                }
            }
            let ended = sterna_shell::run(command(cx, args, cwd, seconds, confined))
                .await
                .map_err(ToolError::failed)?;
            result(ended, seconds, &blobs).await.map(ToolReturn::Done)
        }
        .boxed()
    }

    /// The shim keeps the limit that was asked for; this is only for one that does not answer.
    fn timeout_ms(&self, args: &Value) -> u64 {
        let asked = args.get("timeout_s").and_then(Value::as_u64).unwrap_or(DEFAULT_SECONDS);
        (asked.min(MAX_SECONDS) + SPARE_SECONDS) * 1_000
    }

    fn recover<'a>(&'a self, cx: ToolContext, args: Value) -> BoxFuture<'a, Recovered> {
        async move {
            let (Some(shims), Ok(args)) = (&self.shims, parse_checked(&args)) else {
                return Recovered::Unknown;
            };
            if shims.may_be_lost(&cx.key, cx.attempt, cx.intended_at) {
                return Recovered::Unknown;
            }
            if args.is_job() {
                return begun(shims, &cx, &args);
            }
            let seconds = args.timeout_s.unwrap_or(DEFAULT_SECONDS);
            match shims.attach(&cx.key, cx.attempt) {
                Ok(Found::Running(handle) | Found::Exited(_, handle)) => {
                    match followed(handle, cx, seconds).await {
                        Err(ToolError { status: ToolStatus::OutcomeUnknown, .. }) => Recovered::Unknown,
                        ended => Recovered::Ended(ended),
                    }
                }
                Ok(Found::Revoked) => Recovered::NeverRan,
                Ok(Found::InDoubt(_, handle)) => {
                    // Whatever it left must not go on beside what is done about it.
                    drop(shims.end_strays(handle.spool()));
                    Recovered::Unknown
                }
                Err(_) => Recovered::Unknown,
            }
        }
        .boxed()
    }

    fn settled(&self, key: &EffectKey, attempt: u32) {
        // At once, and not beside: a process that is about to exit would leave it behind.
        if let Some(shims) = &self.shims {
            // What cannot be removed is listed by `sterna doctor`, and `sterna ps --clean` takes it.
            drop(shims.settle(key, attempt));
        }
    }
}

/// Starts a job. The answer tells only what stays true of it, so that recovery can give the same one.
async fn begin(
    shims: &Shims,
    cx: &ToolContext,
    args: &Args,
    cwd: PathBuf,
    confine: Option<Confinement>,
) -> Result<ToolDone, ToolError> {
    let mut plan = shim::Plan::new(Run::Shell { line: args.command.clone() }, cwd, (*cx.env).clone());
    plan.terminal = args.terminal();
    if plan.terminal.is_some() {
        plan.env.insert("TERM".into(), TERM.into());
    }
    // Whoever gives a command a terminal means to type.
    let open = args.open_stdin == Some(true) || plan.terminal.is_some();
    let text = args.stdin.clone();
    plan.input = (open || text.is_some()).then(|| Input { text: text.unwrap_or_default(), open });
    // A server that logs much is not ended for it.
    plan.at_cap = AtCap::Drop;
    plan.job = true;
    plan.confine = confine;
    match shims.start(&cx.key, cx.attempt, &plan).await {
        // It runs on without the handle.
        Ok(handle) => Ok(job_started(handle.spool(), args)),
        Err(error @ ShimError::NoShim { .. }) => Err(ToolError::failed(format!("{NO_SHIM} ({error})"))),
        Err(error @ ShimError::Spool(_)) => match begun(shims, cx, args) {
            Recovered::Ended(Ok(ToolReturn::Done(done))) => Ok(done),
            Recovered::Ended(_) | Recovered::NeverRan => Err(ToolError::failed(error)),
            Recovered::Unknown => {
                let message = format!("outcome_unknown: {error}");
                Err(ToolError { status: ToolStatus::OutcomeUnknown, message })
            }
        },
        Err(error) => Err(ToolError::failed(error)),
    }
}

/// Whether a job was started. What became of it since is `job_output`'s to tell, also when that is not known.
fn begun(shims: &Shims, cx: &ToolContext, args: &Args) -> Recovered {
    match shims.attach(&cx.key, cx.attempt) {
        Ok(Found::Running(handle) | Found::Exited(_, handle)) => {
            Recovered::Ended(Ok(ToolReturn::Done(job_started(handle.spool(), args))))
        }
        Ok(Found::InDoubt(started, handle)) => {
            drop(shims.end_strays(handle.spool()));
            match started {
                Some(_) => Recovered::Ended(Ok(ToolReturn::Done(job_started(handle.spool(), args)))),
                None => Recovered::Unknown,
            }
        }
        Ok(Found::Revoked) => Recovered::NeverRan,
        Err(_) => Recovered::Unknown,
    }
}

fn job_started(spool: &Spool, args: &Args) -> ToolDone {
    let id = spool.job_id();
    let mut text = format!("started {id}: {}\n", first_line(&args.command, SUMMARY_BYTES));
    text.push_str(&format!(
        "job_output{{\"job\":\"{id}\"}} reads its output and tells whether it still runs"
    ));
    if args.tty == Some(true) {
        text.push_str("; it has a terminal: job_output shows its screen, shell_input types into it");
    } else if args.open_stdin == Some(true) {
        text.push_str("; shell_input gives it input");
    }
    text.push_str("; job_kill ends it");
    ToolDone::text(text)
}

/// Follows a command under its shim to its end: live, and after a restart.
async fn followed(handle: Handle, cx: ToolContext, seconds: u64) -> Result<ToolReturn, ToolError> {
    let followed = shim::follow(handle, cx.blobs.clone(), cx.cancel, GRACE, cx.progress).await;
    match followed.map_err(ToolError::failed)? {
        Followed::Ended { ended, cause: _, lost } => {
            let mut done = result(ended, seconds, &cx.blobs).await?;
            if lost > 0 {
                let note = format!("{} bytes of its output were lost", number(lost));
                match &mut done.output {
                    Output::Text(text) => *text = joined(text, &note),
                    Output::Large { note: had, .. } => *had = joined(had, &note),
                }
            }
            Ok(ToolReturn::Done(done))
        }
        Followed::Lost(output) => {
            let note = "outcome_unknown: the process that ran it was killed";
            let message = joined(&excerpt(output, &cx.blobs).await, note);
            Err(ToolError { status: ToolStatus::OutcomeUnknown, message })
        }
    }
}

fn shim_plan(cx: &ToolContext, args: &Args, cwd: PathBuf, seconds: u64) -> shim::Plan {
    let mut plan = shim::Plan::new(Run::Shell { line: args.command.clone() }, cwd, (*cx.env).clone());
    plan.input = args.stdin.as_ref().map(|text| Input { text: text.clone(), open: false });
    plan.time_limit_ms = Some(seconds * 1_000);
    plan
}

fn parse_checked(args: &Value) -> Result<Args, ToolError> {
    let args: Args = parse(args)?;
    if args.is_job() && args.timeout_s.is_some() {
        return Err(ToolError::invalid(
            "a background job has no time limit: leave timeout_s out, and use job_kill",
        ));
    }
    if !args.is_job() && args.open_stdin == Some(true) {
        return Err(ToolError::invalid("open_stdin is for background jobs; give the input as `stdin`"));
    }
    if !args.is_job() && args.tty == Some(true) {
        return Err(ToolError::invalid("a terminal is for background jobs: set `background` too"));
    }
    if args.tty != Some(true) && (args.cols.is_some() || args.rows.is_some()) {
        return Err(ToolError::invalid("cols and rows are the size of a terminal: set `tty` too"));
    }
    if ![args.cols, args.rows].into_iter().flatten().all(|n| (1..=MAX_SIZE).contains(&n)) {
        return Err(ToolError::invalid(format!("cols and rows are 1 to {MAX_SIZE}")));
    }
    if args.command.trim().is_empty() {
        return Err(ToolError::invalid("command is empty"));
    }
    if args.command.contains('\0') {
        return Err(ToolError::invalid("command holds a NUL byte"));
    }
    if !args.timeout_s.is_none_or(|seconds| (1..=MAX_SECONDS).contains(&seconds)) {
        return Err(ToolError::invalid(format!("timeout_s is 1 to {MAX_SECONDS}")));
    }
    Ok(args)
}

fn command(cx: ToolContext, args: Args, cwd: PathBuf, seconds: u64, confined: Option<Confined>) -> Command {
    let mut command = Command::new(args.command, cwd, (*cx.env).clone(), cx.blobs);
    command.stdin = args.stdin;
    command.confine = confined;
    command.timeout = Duration::from_secs(seconds);
    command.cancel = cx.cancel;
    command.progress = cx.progress;
    command
}

async fn result(ended: Ended, seconds: u64, blobs: &SharedBlobs) -> Result<ToolDone, ToolError> {
    let note = note(&ended, seconds);
    let failed = !ended.succeeded();
    let took_ms = Some(ended.duration_ms);
    let facts =
        vec![Fact::Command { exit_code: ended.exit_code, signal: ended.signal, bytes: ended.output.bytes() }];
    if ended.timed_out || ended.cancelled {
        let status = if ended.cancelled { ToolStatus::Cancelled } else { ToolStatus::Timeout };
        let message = joined(&excerpt(ended.output, blobs).await, &note);
        return Err(ToolError { status, message });
    }
    let output = match ended.output {
        Captured::Whole(bytes) => Output::Text(joined(&String::from_utf8_lossy(&bytes), &note)),
        Captured::Large { blob, head, tail } => Output::Large { blob, head, tail, note },
    };
    Ok(ToolDone { output, budget: BUDGET, facts, failed, took_ms })
}

/// How it ended, where that is not plain. Empty: exit code 0.
fn note(ended: &Ended, seconds: u64) -> String {
    let mut lines = Vec::new();
    if ended.cancelled {
        lines.push("cancelled: the command and what it started were ended".to_owned());
    } else if ended.timed_out {
        lines.push(format!("timed out after {seconds} s: the command and what it started were ended"));
    } else if let Some(signal) = ended.signal {
        lines.push(format!("ended by signal {signal}"));
    } else if ended.exit_code != Some(0) {
        lines.push(ended.exit_code.map_or("did not end".to_owned(), |code| format!("exit code {code}")));
    }
    lines.extend(ended.denied.iter().map(|denied| denied.told()));
    if !ended.denied.is_empty() {
        lines.push(ASK_FOR_IT.to_owned());
    }
    if ended.left_behind && !ended.cancelled && !ended.timed_out {
        lines.push("something that it started is still running; its further output is lost".to_owned());
    }
    lines.join("\n")
}

fn joined(output: &str, note: &str) -> String {
    match (output.is_empty(), note.is_empty()) {
        (true, true) => "(no output)".to_owned(),
        (false, true) => output.to_owned(),
        (true, false) => note.to_owned(),
        (false, false) => format!("{output}{}{note}", if output.ends_with('\n') { "" } else { "\n" }),
    }
}

/// Output for an error, which has no view budget of its own: the two ends, and where the rest is.
async fn excerpt(output: Captured, blobs: &SharedBlobs) -> String {
    let head_budget = BUDGET.bytes * usize::from(BUDGET.head_percent) / 100;
    let tail_budget = BUDGET.bytes - head_budget - MARKER_BYTES;
    let (blob, head, tail) = match output {
        Captured::Whole(bytes) if bytes.len() <= head_budget + tail_budget => {
            return String::from_utf8_lossy(&bytes).into_owned();
        }
        // The runtime cuts it, and keeps the rest.
        Captured::Whole(bytes) => return String::from_utf8_lossy(&bytes).into_owned(),
        // The blob's own ends: it has no secrets, and a cut through one would show a part.
        Captured::Large { blob, head, tail } => {
            let from = blob.bytes.saturating_sub(tail_budget as u64);
            let of = |from: u64, len: usize| blobs.get_range(&blob.hash, from, len as u64);
            let (first, last) = (of(0, head_budget).await, of(from, tail_budget).await);
            let head = first
                .map_or_else(|_| lossy_head(head.as_bytes(), head_budget), |b| lossy_head(&b, head_budget));
            let tail = last
                .map_or_else(|_| lossy_tail(tail.as_bytes(), tail_budget), |b| lossy_tail(&b, tail_budget));
            (Some(blob), head, tail)
        }
    };
    let marker = match blob {
        Some(blob) => {
            let hidden = blob.bytes.saturating_sub((head.len() + tail.len()) as u64);
            format!(
                "[… {} bytes not shown; recall{{\"ref\":\"blob:{}\"}} reads them]",
                number(hidden),
                blob.hash
            )
        }
        None => "[… the rest could not be kept]".to_owned(),
    };
    format!("{head}\n{marker}\n{tail}")
}

/// What the model may do about what the sandbox refused.
const ASK_FOR_IT: &str = "request_permission asks the person for a path or a host that it needs";
const BUDGET: ViewBudget = ViewBudget { bytes: 16 << 10, lines: 400, head_percent: 40 };
const MARKER_BYTES: usize = 400;
const DEFAULT_SECONDS: u64 = sterna_shell::DEFAULT_TIMEOUT.as_secs();
/// Seconds beyond a command's own limit after which the call is given up.
const SPARE_SECONDS: u64 = 15;
const MAX_SECONDS: u64 = sterna_shell::MAX_TIMEOUT.as_secs();
const COLS: u16 = 80;
const ROWS: u16 = 24;
const MAX_SIZE: u16 = 500;
/// What the screen that we read with understands.
const TERM: &str = "xterm-256color";
const SUMMARY_BYTES: usize = 200;
const PREVIEW_BYTES: usize = 4 << 10;
