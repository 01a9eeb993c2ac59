//! What-if for hosts: a session lived again, its model outside and its tools in a cage that holds a copy of the
//! workspace and nothing else that can be written.
//!
//! The new run is a process of its own under bubblewrap, so that tools that work in this process are held as commands
//! are. It has no network and no key: model calls are made here, and asked for over a pipe.

mod cage;
mod copy;
mod frames;
mod inside;

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Child, ExitCode};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Serialize;
use sterna_llm::{EncodeCache, Encoded};
use sterna_log::read_history;
use sterna_model::{Body, Digest, Record, SessionId};
use sterna_runtime::{Divergence, Parts, State, WhatIf, WhatIfHost, WhatIfRun};
use tokio::runtime::Handle;

use self::cage::Cage;
pub use self::copy::FileDiff;
use self::copy::{Filled, Scratch};
use self::frames::{Answer, Ask, Begin};
use crate::{Error, Sterna};

/// What a host must say, so that a new run can be caged.
#[derive(Debug, Clone)]
pub struct WhatIfPlaces {
    /// A folder of ours on a disk with room for a copy of the workspace. Made when there is none.
    pub scratch: PathBuf,
    /// Folders that the new run sees empty: where sessions are kept.
    pub hidden: Vec<PathBuf>,
    /// The words after this program's name with which it becomes the caged run, by calling [`what_if_inside`].
    pub words: Vec<OsString>,
    /// The words with which it becomes the helper that confines commands, within the cage too. Empty: commands that write
    /// ask first there, as where no sandbox is to be had.
    pub helper: Vec<OsString>,
}

/// How a new run went, beside the record.
#[derive(Debug, Clone, Serialize)]
pub struct WhatIfReport {
    #[serde(flatten)]
    pub run: WhatIfRun,
    /// How tools were held: `bubblewrap`, or `none` where none ran.
    pub sandbox: &'static str,
    /// What became of the files; `None` when the record answered to the end, or tools were refused.
    pub files: Option<WhatIfFiles>,
}

/// What both runs changed in files.
#[derive(Debug, Clone, Serialize)]
pub struct WhatIfFiles {
    /// The workspace.
    pub root: String,
    /// The record of the checkpoint that the copy was made from; `None`: from the workspace as it is now.
    pub checkpoint: Option<u64>,
    /// What is not in the copy, with the reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// From where both begin to the workspace as it is now.
    pub recorded: Vec<FileDiff>,
    /// What the new run did in the copy.
    pub new: Vec<FileDiff>,
}

impl Sterna {
    /// Lives a session again from one of its records. Writes nothing to the session, its workspace or the store.
    ///
    /// Tools of the host, and tools where bubblewrap is not to be had, are refused from the first divergence on.
    pub async fn what_if(&self, ask: &WhatIf, places: &WhatIfPlaces) -> Result<WhatIfReport, Error> {
        let parts = self.runtime().parts().clone();
        let state = State::load(&parts.log, &ask.session).await?;
        let opened = state.machine.session().map(|session| session.root.clone());
        let root =
            PathBuf::from(state.turn.as_ref().map(|turn| turn.root.clone()).or(opened).unwrap_or_default());
        let mut records: Vec<(SessionId, Record)> = Vec::new();
        let mut history = read_history(&*parts.log, &ask.session).await?;
        loop {
            let page = history.next_page().await?;
            records.extend(page.iter().map(|(owner, sealed)| (owner.clone(), sealed.record.clone())));
            if page.is_empty() {
                break;
            }
        }
        let watch = Watch {
            parts: parts.clone(),
            ask: ask.clone(),
            root,
            places: places.clone(),
            records,
            handle: Handle::current(),
        };
        let child = Arc::new(Mutex::new(None));
        // Whoever gives up ends the cage with it.
        let _guard = Guard(child.clone());
        let watched = tokio::task::spawn_blocking(move || watch.run(&child)).await;
        match watched {
            Ok(Watched::Run(report)) => Ok(*report),
            Ok(Watched::Failed(why)) => Err(Error::Setup { message: why, hint: None }),
            Ok(Watched::NoCage(why)) => {
                let refuse = Arc::new(Refuse(why));
                let run = sterna_runtime::what_if(&parts, ask, refuse).await?;
                Ok(WhatIfReport { run, sandbox: "none", files: None })
            }
            Err(error) => Err(Error::Setup { message: format!("the new run panicked: {error}"), hint: None }),
        }
    }
}

/// The caged side of [`Sterna::what_if`]: the whole of a process that was started with `WhatIfPlaces::words`.
pub async fn what_if_inside() -> ExitCode {
    match inside::run().await {
        Ok(()) => ExitCode::SUCCESS,
        // Nobody is there to be told.
        Err(_) => ExitCode::FAILURE,
    }
}

/// No copy, for this reason.
struct Refuse(String);

impl WhatIfHost for Refuse {
    fn ground<'a>(&'a self, _divergence: &'a Divergence) -> BoxFuture<'a, Result<(), String>> {
        std::future::ready(Err(self.0.clone())).boxed()
    }
}

enum Watched {
    Run(Box<WhatIfReport>),
    /// The level is not to be had.
    NoCage(String),
    Failed(String),
}

/// Ends the cage.
struct Guard(Arc<Mutex<Option<Child>>>);

impl Drop for Guard {
    fn drop(&mut self) {
        let mut child = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut child) = child.take() {
            // It has ended by itself, as a rule.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The side outside the cage. Blocks.
struct Watch {
    parts: Parts,
    ask: WhatIf,
    root: PathBuf,
    places: WhatIfPlaces,
    records: Vec<(SessionId, Record)>,
    handle: Handle,
}

impl Watch {
    fn run(mut self, slot: &Mutex<Option<Child>>) -> Watched {
        if let Err(why) = self.is_a_workspace() {
            return Watched::NoCage(why);
        }
        let state_dirs = self.parts.env.state_dirs();
        let scratch =
            match Scratch::new(&self.places.scratch, &self.root, self.parts.blobs.clone(), &state_dirs) {
                Ok(scratch) => scratch,
                Err(error) => {
                    let place = self.places.scratch.display();
                    return Watched::NoCage(format!("no copy can be made in {place}: {error}"));
                }
            };
        let cage = Cage {
            copy: &scratch.files(),
            root: &self.root,
            hidden: &self.places.hidden,
            words: &self.places.words,
            env: self.parts.env.child_env(),
        };
        let mut child = match cage.start() {
            Ok(child) => child,
            Err(why) => return Watched::NoCage(why),
        };
        let (Some(mut to), Some(mut from)) = (child.stdin.take(), child.stdout.take()) else {
            return Watched::Failed("the caged run has no pipes".into());
        };
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
        let records = std::mem::take(&mut self.records);
        let helper = self.places.helper.clone();
        let begin = Begin { ask: self.ask.clone(), records, state_dirs, helper };
        let gone = |error: std::io::Error| Watched::Failed(format!("the caged run has ended: {error}"));
        if let Err(error) = frames::write(&mut to, &begin, &[]) {
            return gone(error);
        }
        let mut serve = Serve {
            parts: &self.parts,
            handle: &self.handle,
            scratch: &scratch,
            records: &begin.records,
            session: &self.ask.session,
            root: &self.root,
            cache: EncodeCache::default(),
            bodies: HashMap::new(),
            filled: None,
        };
        let run = loop {
            let ask = match frames::read::<Ask>(&mut from) {
                Ok((Ask::Done(run), _)) => break *run,
                Ok((ask, _)) => ask,
                Err(error) => return gone(error),
            };
            let (answer, data) = serve.answer(ask);
            if let Err(error) = frames::write(&mut to, &answer, &data) {
                return gone(error);
            }
        };
        match run {
            Ok(run) => serve.report(run),
            Err(why) => Watched::Failed(why),
        }
    }

    /// A folder that can be copied and covered.
    fn is_a_workspace(&self) -> Result<(), String> {
        let home = self.parts.env.home();
        let too_much = self.root.parent().is_none() || home.is_some_and(|home| home.starts_with(&self.root));
        if too_much {
            return Err(format!("{} is too much to be copied", self.root.display()));
        }
        if self.root.is_dir() { Ok(()) } else { Err(format!("{} is gone", self.root.display())) }
    }
}

/// Answers what the cage asks.
struct Serve<'a> {
    parts: &'a Parts,
    handle: &'a Handle,
    scratch: &'a Scratch,
    records: &'a [(SessionId, Record)],
    session: &'a SessionId,
    root: &'a PathBuf,
    cache: EncodeCache,
    /// The body that was encoded last.
    bodies: HashMap<Digest, Encoded>,
    filled: Option<(Option<u64>, Filled)>,
}

impl Serve<'_> {
    fn answer(&mut self, ask: Ask) -> (Answer, Bytes) {
        let provider = &self.parts.provider;
        let answer = match ask {
            Ask::Model(route) => Answer::Model(provider.model(&route)),
            Ask::Encoder(route) => Answer::Encoder(provider.encoder(&route)),
            Ask::Encode(request) => {
                let body = provider.encode(&request, &mut self.cache);
                let (hash, bytes) = (body.hash, body.bytes);
                self.bodies = HashMap::from([(hash, body)]);
                Answer::Encoded { hash, bytes }
            }
            Ask::Send(route, hash) => {
                let body = self.bodies.get(&hash).cloned().unwrap_or_else(|| Encoded::of(Vec::new()));
                let mut unheard = |_| {};
                let reply = self.handle.block_on(provider.send(&route, body, &mut unheard));
                Answer::Sent(Box::new(reply))
            }
            Ask::Blob(hash) => match self.handle.block_on(self.parts.blobs.get(&hash)) {
                Ok(bytes) => return (Answer::Blob(Ok(())), bytes),
                Err(error) => Answer::Blob(Err(error.to_string())),
            },
            Ask::Ground(divergence) => Answer::Ground(self.fill(&divergence)),
            // It says so once, at the beginning, and `Done` ends the talk.
            Ask::Hello | Ask::Done(_) => Answer::Blob(Err("nothing was asked".into())),
        };
        (answer, Bytes::new())
    }

    /// Fills the copy as the files were when the record's answer was given.
    fn fill(&mut self, divergence: &Divergence) -> Result<(), String> {
        let later = self
            .records
            .iter()
            .filter(|(owner, record)| owner == self.session && record.seq > divergence.record)
            .find_map(|(_, record)| match &record.body {
                Body::CheckpointTaken(taken) => Some(Ok((record.seq, taken.clone()))),
                Body::CheckpointMissed { why, .. } => Some(Err(why.clone())),
                _ => None,
            });
        let checkpoint = match later {
            None => None,
            Some(Ok((seq, taken))) if *self.root == *taken.root => Some((seq, taken.manifest)),
            Some(Ok((_, taken))) => return Err(format!("its files were those of {}", taken.root)),
            Some(Err(why)) => return Err(format!("the files of then were not kept: {why}")),
        };
        let filled = self.scratch.fill(checkpoint.map(|(_, manifest)| manifest))?;
        self.filled = Some((checkpoint.map(|(seq, _)| seq), filled));
        Ok(())
    }

    fn report(&self, run: WhatIfRun) -> Watched {
        let Some((checkpoint, filled)) = &self.filled else {
            let sandbox = "none";
            return Watched::Run(Box::new(WhatIfReport { run, sandbox, files: None }));
        };
        let both = self.scratch.changes(&filled.start);
        let both = both.and_then(|new| Ok((new, self.scratch.recorded(&filled.start)?)));
        let (new, recorded) = match both {
            Ok(both) => both,
            Err(why) => return Watched::Failed(format!("the files cannot be compared: {why}")),
        };
        let files = WhatIfFiles {
            root: self.root.display().to_string(),
            checkpoint: *checkpoint,
            missing: filled.missing.clone(),
            recorded,
            new,
        };
        Watched::Run(Box::new(WhatIfReport { run, sandbox: "bubblewrap", files: Some(files) }))
    }
}
