//! Hooks of files. A command is a line for the shell that is given an event on stdin, and answers by its exit code and its
//! output; an address is given it as the body of a POST, and answers with the same output.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use sterna_log::SharedBlobs;
use sterna_runtime::{
    Dialect, Hook, HookAnswer, HookCall, HookRun, HookSet, HookSpec, Listening, SharedHooks, Written,
    read_command,
};
use sterna_shell::shim::Helper;
use sterna_shell::{Command, MAX_TIMEOUT, run_split};
use sterna_tools::{Poster, Sandboxes};

use crate::config::WebWish;
use crate::places::Places;
use crate::sandbox::{Beside, grounds, holds};

/// The hooks of configuration, with the file that each is of.
#[derive(Debug, Clone, Default)]
pub struct HookSettings(pub(crate) Vec<(String, HookSpec)>);

impl HookSettings {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Ready to run. `None`: there are none.
    pub fn shared(&self, blobs: &SharedBlobs, places: &Places, web: &WebWish) -> Option<SharedHooks> {
        if self.is_empty() {
            return None;
        }
        let helper = crate::is_initialised().then(Helper::this_host);
        let sandboxes = helper.map(|helper| Arc::new(Sandboxes::new(helper, grounds(places, true))));
        all(self, Vec::new(), blobs, sandboxes.as_ref(), web)
    }

    /// Each hook: `file:place`, and what it is.
    pub fn shown(&self) -> impl Iterator<Item = (String, &HookSpec)> {
        self.0.iter().map(|(file, spec)| (format!("{file}:{}", spec.place), spec))
    }
}

/// Configured hooks, then those of the host. `None`: there are none.
pub(crate) fn all(
    settings: &HookSettings,
    host: Vec<Listening>,
    blobs: &SharedBlobs,
    sandboxes: Option<&Arc<Sandboxes>>,
    web: &WebWish,
) -> Option<SharedHooks> {
    let listening = |(name, spec): (String, &HookSpec)| Listening {
        event: spec.event,
        matcher: spec.matcher.clone(),
        timeout_ms: spec.timeout_ms,
        fails_closed: spec.fails_closed,
        dialect: spec.dialect,
        hook: match &spec.run {
            HookRun::Command(command) => Arc::new(CommandHook {
                name,
                command: command.clone(),
                dialect: spec.dialect,
                confined: spec.sandbox,
                sandboxes: sandboxes.cloned(),
                blobs: blobs.clone(),
            }),
            HookRun::Http { url, headers } => Arc::new(HttpHook {
                name,
                url: url.clone(),
                headers: headers.clone(),
                dialect: spec.dialect,
                confined: spec.sandbox,
                poster: Poster::new(&web.allow_private, None),
            }),
        },
    };
    let all: Vec<Listening> = settings.shown().map(listening).chain(host).collect();
    (!all.is_empty()).then(|| Arc::new(HookSet::new(all)) as SharedHooks)
}

struct CommandHook {
    name: String,
    command: String,
    dialect: Dialect,
    /// Unless the person's own file says otherwise.
    confined: bool,
    /// Without: nothing can be confined.
    sandboxes: Option<Arc<Sandboxes>>,
    blobs: SharedBlobs,
}

impl Hook for CommandHook {
    fn name(&self) -> &str {
        &self.name
    }

    fn on<'a>(&'a self, call: &'a HookCall) -> BoxFuture<'a, HookAnswer> {
        async move {
            let mut env = (*call.env).clone();
            let own = [
                ("STERNA_HOOK_EVENT", call.event.word().to_owned()),
                ("STERNA_EFFECT_KEY", call.key.clone()),
                ("STERNA_PROJECT_DIR", call.cwd.display().to_string()),
            ];
            env.extend(own.map(|(name, value)| (name.to_owned(), value)));
            if self.dialect == Dialect::Imported {
                env.insert("CLAUDE_PROJECT_DIR".into(), call.cwd.display().to_string());
            }
            let of = Beside {
                session: &call.session,
                roots: &call.roots,
                env: &env,
                wish: call.sandbox,
                bounds: &call.bounds,
                confined: self.confined,
            };
            let confined = match holds(self.sandboxes.as_deref(), of).await {
                Ok(confined) => confined,
                Err(why) => return HookAnswer::Failed(why),
            };
            let mut command = Command::new(&self.command, &call.cwd, env, self.blobs.clone());
            command.confine = confined;
            command.stdin = Some(call.input.to_string());
            // Whoever asks gives it up earlier, and it dies then.
            command.timeout = MAX_TIMEOUT;
            match run_split(command, MAX_OUTPUT).await {
                Ok(split) if split.timed_out => HookAnswer::Failed("it gave no answer in time".into()),
                Ok(split) => {
                    let (exit_code, stdout, stderr) = (split.exit_code, &*split.stdout, &*split.stderr);
                    read_command(call.event, self.dialect, Written { exit_code, stdout, stderr })
                }
                Err(error) => HookAnswer::Failed(error.to_string()),
            }
        }
        .boxed()
    }
}

struct HttpHook {
    name: String,
    url: String,
    headers: Vec<(String, String)>,
    dialect: Dialect,
    /// Its host must be one that rules open to commands.
    confined: bool,
    poster: Poster,
}

impl Hook for HttpHook {
    fn name(&self) -> &str {
        &self.name
    }

    fn on<'a>(&'a self, call: &'a HookCall) -> BoxFuture<'a, HookAnswer> {
        async move {
            let hosts = self.confined.then_some(&*call.bounds.hosts);
            let body = call.input.to_string();
            match self.poster.post(&self.url, &self.headers, body, hosts, MAX_OUTPUT).await {
                Ok(posted) if (200..300).contains(&posted.status) => {
                    let written = Written { exit_code: Some(0), stdout: &posted.text, stderr: "" };
                    read_command(call.event, self.dialect, written)
                }
                Ok(posted) => HookAnswer::Failed(format!("{} answered {}", self.url, posted.status)),
                Err(why) => HookAnswer::Failed(why),
            }
        }
        .boxed()
    }
}

/// Bytes of each output of a hook that are read.
const MAX_OUTPUT: usize = 256 << 10;
