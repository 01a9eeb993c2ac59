//! The caged side: the new run itself. Whatever it needs of the world outside it asks for, frame by frame.

use std::ffi::OsString;
use std::io::{self, Stdin, Stdout};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use sterna_llm::{EncodeCache, Encoded, ModelInfo, ModelReply, Provider, Request, StreamEvent};
use sterna_log::{BlobWriter, Blobs, LogError, MemoryLog, SharedLog, digest};
use sterna_model::{Billed, BlobRef, Digest, ErrorClass, ProviderFailure, Route};
use sterna_runtime::{
    Divergence, Levels, Parts, RuntimeError, Secrets, Toolbox, WhatIfHost, WhatIfRun, refill,
};
use sterna_shell::shim::Helper;
use sterna_tools::{Grounds, Sandboxes};

use super::frames::{self, Answer, Ask, Begin};
use crate::SystemEnv;
use crate::sandbox::MachineLevels;

/// Lives a session again in the cage, and says how it went. An error only when nobody listens.
pub(super) async fn run() -> io::Result<()> {
    let line = Arc::new(Line(Mutex::new((io::stdin(), io::stdout()))));
    let begin = line.begin()?;
    let run = live(&line, begin).await;
    line.tell(&Ask::Done(Box::new(run)))
}

async fn live(line: &Arc<Line>, begin: Begin) -> Result<WhatIfRun, String> {
    let Begin { ask, records, state_dirs, helper } = begin;
    let sandboxes = (!helper.is_empty()).then(|| sandboxes(helper, &state_dirs));
    let every: Vec<String> = std::env::vars().map(|(name, _)| name).collect();
    let env = Arc::new(SystemEnv::new(&every, state_dirs));
    let log: SharedLog = Arc::new(MemoryLog::new());
    let told = |error: RuntimeError| error.to_string();
    refill(&log, &*env, records.into_iter()).await.map_err(told)?;
    let outside = Arc::new(Outside(line.clone()));
    let parts = Parts {
        log,
        blobs: outside.clone(),
        provider: outside.clone(),
        env,
        // Without shims: commands end with the run.
        tools: Toolbox::new(sterna_tools::builtin(sterna_tools::Options {
            sandboxes: sandboxes.clone(),
            ..sterna_tools::Options::default()
        })),
        checkpoints: None,
        // No key of anybody is in here.
        secrets: Secrets::default(),
        hooks: None,
        levels: sandboxes.map(|sandboxes| Arc::new(MachineLevels(sandboxes)) as Arc<dyn Levels>),
        // What the record was reminded of is in the record.
        memory: None,
        worktrees: None,
    };
    sterna_runtime::what_if(&parts, &ask, outside).await.map_err(told)
}

/// What confines commands once more: they are held as they were when they were recorded, where a sandbox can stand within
/// the cage. `/tmp` is the cage's own.
fn sandboxes(helper: Vec<OsString>, state_dirs: &[PathBuf]) -> Arc<Sandboxes> {
    let state = PathBuf::from("/tmp/.sterna");
    let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
    let grounds = Grounds {
        tmp: state.join("tmp"),
        state,
        home,
        own: state_dirs.to_vec(),
        secret: Vec::new(),
        ephemeral: true,
    };
    Arc::new(Sandboxes::new(Helper::this_program(helper), grounds))
}

/// The way out: one question at a time.
struct Line(Mutex<(Stdin, Stdout)>);

impl Line {
    fn begin(&self) -> io::Result<Begin> {
        self.tell(&Ask::Hello)?;
        let mut pipes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(frames::read(&mut pipes.0)?.0)
    }

    fn tell(&self, ask: &Ask) -> io::Result<()> {
        let mut pipes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        frames::write(&mut pipes.1, ask, &[])
    }

    fn ask(&self, ask: &Ask) -> io::Result<(Answer, Bytes)> {
        let mut pipes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        frames::write(&mut pipes.1, ask, &[])?;
        frames::read(&mut pipes.0)
    }
}

/// The world outside, as far as a new run needs it.
struct Outside(Arc<Line>);

impl Outside {
    /// Asks on a thread where it may block.
    async fn ask(&self, ask: Ask) -> io::Result<(Answer, Bytes)> {
        let line = self.0.clone();
        tokio::task::spawn_blocking(move || line.ask(&ask)).await.map_err(io::Error::other)?
    }
}

impl Provider for Outside {
    fn model(&self, route: &Route) -> Result<ModelInfo, String> {
        match self.0.ask(&Ask::Model(route.clone())) {
            Ok((Answer::Model(info), _)) => info,
            other => Err(unexpected(other)),
        }
    }

    fn encoder(&self, route: &Route) -> String {
        match self.0.ask(&Ask::Encoder(route.clone())) {
            Ok((Answer::Encoder(name), _)) => name,
            other => unexpected(other),
        }
    }

    fn encode(&self, request: &Request, _cache: &mut EncodeCache) -> Encoded {
        match self.0.ask(&Ask::Encode(Box::new(request.clone()))) {
            Ok((Answer::Encoded { hash, bytes }, _)) => {
                Encoded { chunks: Vec::new(), hash, bytes, prefix: None }
            }
            // Nobody is there to send it to either.
            _ => Encoded::of(Vec::new()),
        }
    }

    fn send<'a>(
        &'a self,
        route: &'a Route,
        body: Encoded,
        _events: &'a mut (dyn FnMut(StreamEvent) + Send),
    ) -> BoxFuture<'a, Result<ModelReply, ProviderFailure>> {
        async move {
            match Self::ask(self, Ask::Send(route.clone(), body.hash)).await {
                Ok((Answer::Sent(reply), _)) => *reply,
                other => Err(ProviderFailure {
                    class: ErrorClass::InvalidRequest,
                    status: None,
                    message: unexpected(other),
                    retry_after_ms: None,
                    billed: Billed::default(),
                }),
            }
        }
        .boxed()
    }
}

#[async_trait]
impl Blobs for Outside {
    async fn put(&self, _bytes: Bytes) -> Result<BlobRef, LogError> {
        Err(LogError::ReadOnly("what was recorded is only read".into()))
    }

    async fn get(&self, hash: &Digest) -> Result<Bytes, LogError> {
        match Self::ask(self, Ask::Blob(*hash)).await {
            Ok((Answer::Blob(Ok(())), bytes)) if digest(&bytes) == *hash => Ok(bytes),
            Ok((Answer::Blob(_), _)) => Err(LogError::BlobMissing(*hash)),
            other => Err(LogError::Io(unexpected(other))),
        }
    }

    async fn has(&self, hash: &Digest) -> Result<bool, LogError> {
        match self.get(hash).await {
            Ok(_) => Ok(true),
            Err(LogError::BlobMissing(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn writer(&self) -> Result<Box<dyn BlobWriter>, LogError> {
        Err(LogError::ReadOnly("what was recorded is only read".into()))
    }
}

impl WhatIfHost for Outside {
    fn ground<'a>(&'a self, divergence: &'a Divergence) -> BoxFuture<'a, Result<(), String>> {
        async move {
            match Self::ask(self, Ask::Ground(divergence.clone())).await {
                Ok((Answer::Ground(ground), _)) => ground,
                other => Err(unexpected(other)),
            }
        }
        .boxed()
    }
}

fn unexpected(answer: io::Result<(Answer, Bytes)>) -> String {
    match answer {
        Ok(_) => "the watching process gave another answer than was asked for".into(),
        Err(error) => format!("the watching process has gone: {error}"),
    }
}
