//! `shell_input`: gives text to a background job, or ends its input.
//!
//! What a job makes of its input is as dangerous as the job. A program that only shows or counts it takes it without a
//! question; for any other, this asks; and what may reach a shell is held against the rules for command lines too. A
//! shell's own state (its folder, aliases, half a line given before) is not known, so no rule for command lines is enough
//! to let its input pass.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use sterna_model::{EffectClass, ToolSpec, ToolStatus};
use sterna_shell::shim::Control;
use sterna_tool::{Plan, PlanContext, Tool, ToolContext, ToolDone, ToolError, ToolReturn};

use crate::job_output::read;
use crate::jobs::{Jobs, refused};
use crate::support::{cut, first_line, number, parse};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Args {
    /// The job.
    job: String,
    /// Text for its input, written as it is: end a line with a line break.
    text: String,
    /// End its input after the text.
    close: Option<bool>,
    /// Milliseconds to wait for what it answers; 250 when left out and it has a terminal, else none.
    #[schemars(range(min = 0, max = 60000))]
    wait_ms: Option<u64>,
}

impl Args {
    fn closes(&self) -> bool {
        self.close == Some(true)
    }
}

pub(crate) struct ShellInput {
    spec: ToolSpec,
    jobs: Jobs,
}

impl ShellInput {
    pub(crate) fn new(jobs: Jobs) -> Self {
        Self { spec: crate::schema::spec::<Args>("shell_input", include_str!("shell_input.md")), jobs }
    }
}

impl Tool for ShellInput {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn class(&self, _: &Value) -> EffectClass {
        EffectClass::AtMostOnce
    }

    fn plan(&self, _: &PlanContext, args: &Value) -> Result<Plan, ToolError> {
        let args = parse_checked(args)?;
        let mut summary = format!("input for {}", args.job);
        if !args.text.is_empty() {
            summary.push_str(&format!(": {}", first_line(&args.text, SUMMARY_BYTES)));
        }
        let preview = args.text.trim().contains('\n') || args.text.len() > SUMMARY_BYTES;
        let preview = preview.then(|| cut(&args.text, PREVIEW_BYTES).to_owned());
        Ok(Plan { accesses: self.jobs.accesses(&args.job, &args.text), summary, preview })
    }

    fn call<'a>(&'a self, cx: ToolContext, args: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        async move {
            let args = parse_checked(&args)?;
            let job = self.jobs.find(&cx.key.session, &args.job)?;
            let id = &job.id;
            if self.jobs.accesses(&args.job, &args.text) != cx.plan.accesses {
                return Err(ToolError::failed(format!(
                    "{id} was not there when this was judged; send it again"
                )));
            }
            if job.state()?.is_over() {
                let told = job.told();
                return Err(ToolError::failed(format!("{id} takes no input any more: {told}")));
            }
            if !job.plan.open_input {
                return Err(ToolError::failed(format!(
                    "{id} takes no input: it was started without `open_stdin`"
                )));
            }
            let before = job.listed.spool.output_len();
            let control = self.jobs.shims()?.open(&job.listed.spool).control();
            tokio::select! {
                biased;
                () = cx.cancel.cancelled() => return Err(ToolError::cancelled()),
                given = give(&control, &args) => given.map_err(|error| refused(id, &error))?,
                () = tokio::time::sleep(PATIENCE) => {
                    let seconds = PATIENCE.as_secs();
                    let message = format!(
                        "{id} has not taken all of it within {seconds} s; how much it took is not known"
                    );
                    return Err(ToolError { status: ToolStatus::Timeout, message });
                }
            }
            let mut text = format!("gave {id} {} bytes", number(args.text.len() as u64));
            if args.closes() {
                text.push_str(", and closed its input");
            }
            let usual = if job.plan.terminal.is_some() { TERMINAL_WAIT_MS } else { 0 };
            let wait = Duration::from_millis(args.wait_ms.unwrap_or(usual));
            if !wait.is_zero() {
                // It was given: what cannot be read now can be read later.
                let answer = read(&self.jobs, &job, Some(before), wait, &cx.cancel).await;
                text = format!("{text}\n{}", answer.unwrap_or_else(|error| error.message));
            }
            Ok(ToolReturn::Done(ToolDone::text(text)))
        }
        .boxed()
    }
}

async fn give(control: &Control, args: &Args) -> Result<(), sterna_shell::shim::ShimError> {
    if !args.text.is_empty() {
        control.input(args.text.as_bytes()).await?;
    }
    if args.closes() { control.close_input().await } else { Ok(()) }
}

fn parse_checked(args: &Value) -> Result<Args, ToolError> {
    let args: Args = parse(args)?;
    if args.text.is_empty() && !args.closes() {
        return Err(ToolError::invalid("text is empty; give some, or close the input"));
    }
    if args.wait_ms.is_some_and(|wait| wait > MAX_WAIT_MS) {
        return Err(ToolError::invalid(format!("wait_ms is 0 to {MAX_WAIT_MS}")));
    }
    Ok(args)
}

/// A job that does not read for so long does not want it.
const PATIENCE: Duration = Duration::from_secs(30);
const TERMINAL_WAIT_MS: u64 = 250;
const MAX_WAIT_MS: u64 = 60_000;
const SUMMARY_BYTES: usize = 200;
const PREVIEW_BYTES: usize = 4 << 10;
