//! `job_kill`: ends a background job and all it started.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use sterna_model::{EffectClass, ToolSpec};
use sterna_shell::shim::{ShimError, State};
use sterna_tool::{Access, Plan, PlanContext, Tool, ToolContext, ToolDone, ToolError, ToolReturn};

use crate::jobs::{Jobs, refused};
use crate::support::parse;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Args {
    /// The job.
    job: String,
    /// Seconds between SIGTERM and SIGKILL, 2 when left out.
    #[schemars(range(min = 0, max = 60))]
    grace_s: Option<u64>,
}

pub(crate) struct JobKill {
    spec: ToolSpec,
    jobs: Jobs,
}

impl JobKill {
    pub(crate) fn new(jobs: Jobs) -> Self {
        Self { spec: crate::schema::spec::<Args>("job_kill", include_str!("job_kill.md")), jobs }
    }
}

impl Tool for JobKill {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn class(&self, _: &Value) -> EffectClass {
        EffectClass::Idempotent
    }

    fn plan(&self, _: &PlanContext, args: &Value) -> Result<Plan, ToolError> {
        let args = parse_checked(args)?;
        Ok(Plan { accesses: vec![Access::Session], summary: format!("end {}", args.job), preview: None })
    }

    fn call<'a>(&'a self, cx: ToolContext, args: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        async move {
            let args = parse_checked(&args)?;
            let job = self.jobs.find(&cx.key.session, &args.job)?;
            let shims = self.jobs.shims()?;
            let (id, spool) = (&job.id, &job.listed.spool);
            let state = job.state()?;
            let ran = matches!(state, State::Running(_) | State::Open);
            if ran {
                let grace = Duration::from_secs(args.grace_s.unwrap_or(sterna_shell::GRACE.as_secs()));
                let mut handle = shims.open(spool);
                match handle.control().kill(grace).await {
                    // It has ended by itself meanwhile: the spool says how.
                    Ok(()) | Err(ShimError::Ended) => {}
                    Err(error) => return Err(refused(id, &error)),
                }
                // Nobody wants to read it all here.
                handle.seek(spool.output_len());
                if tokio::time::timeout(grace + SPARE, handle.end()).await.is_err() {
                    return Err(ToolError::failed(format!("{id} was told to end, and still runs")));
                }
            } else if matches!(state, State::Dead(_)) {
                shims.end_strays(spool).map_err(ToolError::failed)?;
            }
            let told = spool.state().map_err(ToolError::failed)?.told();
            let text = if ran { format!("{id} {told}") } else { format!("{id} had ended before: {told}") };
            let note = "its output can still be read with job_output";
            Ok(ToolReturn::Done(ToolDone::text(format!("{text}\n{note}"))))
        }
        .boxed()
    }
}

fn parse_checked(args: &Value) -> Result<Args, ToolError> {
    let args: Args = parse(args)?;
    if args.grace_s.is_some_and(|seconds| seconds > MAX_GRACE_SECONDS) {
        return Err(ToolError::invalid(format!("grace_s is 0 to {MAX_GRACE_SECONDS}")));
    }
    Ok(args)
}

const MAX_GRACE_SECONDS: u64 = 60;
/// After SIGKILL an end is a matter of milliseconds, on a machine that works.
const SPARE: Duration = Duration::from_secs(10);
