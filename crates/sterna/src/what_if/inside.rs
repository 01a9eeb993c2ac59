//! The caged side: the new run itself. Whatever it needs of the world outside it asks for, frame by frame.

use std::io::{self, Stdin, Stdout};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use sterna_llm::{EncodeCache, Encoded, ModelInfo, ModelReply, Provider, Request, StreamEvent};
use sterna_log::{BlobWriter, Blobs, LogError, MemoryLog, SharedLog, digest};
use sterna_model::{Billed, BlobRef, Digest, ErrorClass, ProviderFailure, Route};
use sterna_runtime::{Divergence, Parts, RuntimeError, Toolbox, WhatIfHost, WhatIfRun, refill};

use super::frames::{self, Answer, Ask, Begin};
use crate::SystemEnv;

/// Lives a session again in the cage, and says how it went. An error only when nobody listens.
pub(super) async fn run() -> io::Result<()> {
    let line = Arc::new(Line(Mutex::new((io::stdin(), io::stdout()))));
    let begin = line.begin()?;
    let run = live(&line, begin).await;
    line.tell(&Ask::Done(Box::new(run)))
}

async fn live(line: &Arc<Line>, begin: Begin) -> Result<WhatIfRun, String> {
    let Begin { ask, records, state_dirs } = begin;
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
        // Without a helper: commands end with the run.
        tools: Toolbox::new(sterna_tools::builtin(sterna_tools::Options::default())),
        checkpoints: None,
    };
    sterna_runtime::what_if(&parts, &ask, outside).await.map_err(told)
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
            Ok((Answer::Encoded { hash, bytes }, _)) => Encoded { chunks: Vec::new(), hash, bytes },
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
