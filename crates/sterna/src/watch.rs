//! Nobody is there: due schedules fire, and runs are driven. The loop round this is the door's, and so is the clock.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sterna_automation::{Board, BoardError, Run, decide};
use sterna_log::{LogError, SharedLog};
use sterna_model::{
    Automation, AutomationChange, Cause, Decision, Delivery, Discard, InputPart, Millis, OnAsk, ResultEvent,
    RunEnd, RunOutcome, RunTarget, Seq, SessionId,
};
use sterna_runtime::{RuntimeError, Secrets, Submit, TurnConfig};

use crate::Sterna;

/// Drives the automations of a store. Cheap to clone.
#[derive(Clone)]
pub struct Watch(Arc<Inner>);

struct Inner {
    log: SharedLog,
    board: Board,
    runs: Mutex<Runs>,
}

#[derive(Default)]
struct Runs {
    /// Those that are driven here.
    driven: BTreeSet<String>,
    /// Those that wait for somebody, with their session and where it stood: it is looked at again when that moves.
    parked: BTreeMap<String, (SessionId, Seq)>,
}

/// A run that is to be driven, until it is dropped.
pub struct Work {
    watch: Watch,
    pub automation: Automation,
    pub run: Run,
}

/// What became of a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Worked {
    /// It is over, and that is written down.
    Ended(RunEnd),
    /// It waits for a person, or Sterna was asked to stop: whoever is there next goes on with it.
    Open { session: SessionId, message: String },
}

impl Watch {
    /// Reads nothing yet.
    pub fn new(log: SharedLog, secrets: Secrets) -> Self {
        let board = Board::new(log.clone()).secrets(move || secrets.common());
        Self(Arc::new(Inner { log, board, runs: Mutex::default() }))
    }

    pub fn board(&self) -> &Board {
        &self.0.board
    }

    /// Decides what is due, and gives the decisions that were made here.
    pub async fn decide(&self, now: Millis) -> Result<Vec<AutomationChange>, BoardError> {
        self.0.board.decide(now).await
    }

    /// The runs that nobody drives here yet, each to be given to `Work::drive`. A run that is open because another life
    /// of it was killed is among them.
    pub async fn work(&self) -> Result<Vec<Work>, BoardError> {
        let all = self.0.board.all().await?;
        let parked = self.runs().parked.clone();
        for (run, (session, stood)) in parked {
            let stands = self.0.log.head(&session).await.is_ok_and(|head| head.seq == stood);
            if !stands || all.open_run(&run).is_none() {
                self.runs().parked.remove(&run);
            }
        }
        let mut runs = self.runs();
        let mut work = Vec::new();
        for held in all.iter() {
            for run in decide::to_drive(held) {
                let name = &run.fired.run;
                if !runs.parked.contains_key(name) && runs.driven.insert(name.clone()) {
                    let (automation, run) = (held.automation.clone(), run.clone());
                    work.push(Work { watch: self.clone(), automation, run });
                }
            }
        }
        Ok(work)
    }

    fn runs(&self) -> MutexGuard<'_, Runs> {
        self.0.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Work {
    /// The folder that it works in.
    pub fn folder(&self) -> &Path {
        Path::new(&self.automation.given.cwd)
    }

    /// The session that it works in.
    pub fn session(&self) -> Result<SessionId, RuntimeError> {
        session_of(&self.automation, &self.run)
    }

    /// Gives the run's input to its session, and drives that to its end. Under the same key it is one input, whoever
    /// gives it and however often.
    pub async fn drive(&self, sterna: &Sterna) -> Result<Worked, BoardError> {
        let runtime = sterna.runtime();
        let ended = match self.submit(sterna).await {
            Ok((session, result)) if matches!(result.outcome, "parked" | "drained") => {
                return self.rests(session, result.message.unwrap_or_default()).await;
            }
            Ok((session, result)) => end_of(session, &result),
            Err(RuntimeError::Interrupted { session, detail, .. }) => {
                return self.rests(session, detail).await;
            }
            Err(RuntimeError::Log(error)) => match &*error {
                LogError::Tombstone(session) | LogError::NotFound(session) => {
                    let why = format!("session `{session}` was deleted");
                    unstarted(RunOutcome::Discarded(Discard::SessionDeleted), Some(session.clone()), &why)
                }
                // The store could not be used: that says nothing about the run.
                LogError::Io(_) | LogError::DiskFull(_) | LogError::ReadOnly(_) | LogError::Damaged(_) => {
                    return Err(error.into());
                }
                other => unstarted(RunOutcome::Failed, self.session().ok(), &other.to_string()),
            },
            Err(error) => unstarted(RunOutcome::Failed, self.session().ok(), &error.to_string()),
        };
        self.watch.0.board.ended(runtime.parts().env.now(), &self.run.fired.run, ended.clone()).await?;
        Ok(Worked::Ended(ended))
    }

    /// It cannot be driven: its folder is gone, or its model cannot be reached at all.
    pub async fn fail(&self, now: Millis, why: &str) -> Result<RunEnd, BoardError> {
        let end = unstarted(RunOutcome::Failed, None, why);
        self.watch.0.board.ended(now, &self.run.fired.run, end.clone()).await?;
        Ok(end)
    }

    async fn rests(&self, session: SessionId, message: String) -> Result<Worked, BoardError> {
        let stands = self.watch.0.log.head(&session).await?.seq;
        self.watch.runs().parked.insert(self.run.fired.run.clone(), (session.clone(), stands));
        Ok(Worked::Open { session, message })
    }

    async fn submit(&self, sterna: &Sterna) -> Result<(SessionId, ResultEvent), RuntimeError> {
        let runtime = sterna.runtime();
        let session = self.session()?;
        let mut parts = vec![InputPart::Text(self.automation.prompt.clone())];
        if let Cause::Occurrence(occurrence) = &self.run.fired.cause {
            let (source, key) = (occurrence.source.word(), &occurrence.key);
            parts.push(InputPart::Text(format!("\n\nWhat happened: {source} {key}\n{}", occurrence.payload)));
        }
        let submit = Submit {
            session: Some(session.clone()),
            key: Some(key_of(&self.run)),
            parts,
            delivery: Delivery::NextTurn,
            origin: "automation".into(),
            config: rights(&self.automation, sterna.turn_config()),
            live: false,
            drive: true,
        };
        let accepted = runtime.submit(submit).await?;
        let result = runtime.result(&session, accepted.input).await?;
        Ok((session, result))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.watch.runs().driven.remove(&self.run.fired.run);
    }
}

/// The key of a run's input: the same whoever gives it.
pub fn key_of(run: &Run) -> String {
    format!("run:{}", run.fired.run)
}

/// What a turn of an automation may do: what was fixed when it was made, less what is denied here by now.
fn rights(automation: &Automation, host: &TurnConfig) -> TurnConfig {
    let mut config = host.driving(&automation.given);
    // Nor has it tools that came later.
    config.late = None;
    // Whoever made it cannot be asked, wherever it is driven.
    if config.on_ask == OnAsk::Prompt {
        config.on_ask = OnAsk::Deny;
    }
    let denied = host.rules.iter().filter(|rule| rule.decision == Decision::Deny);
    for rule in denied {
        if !config.rules.contains(rule) {
            config.rules.push(rule.clone());
        }
    }
    config
}

fn session_of(automation: &Automation, run: &Run) -> Result<SessionId, RuntimeError> {
    match &automation.target {
        RunTarget::Session(id) => Ok(id.clone()),
        RunTarget::Own => SessionId::new(&format!("auto-{}", run.fired.run))
            .map_err(|bad| RuntimeError::Refused(bad.to_string())),
    }
}

fn end_of(session: SessionId, result: &ResultEvent) -> RunEnd {
    let tokens = result.usage.iter().map(|used| used.usage.total()).sum();
    let outcome = match result.stop {
        None => RunOutcome::Finished,
        Some(reason) => RunOutcome::Stopped(reason),
    };
    RunEnd {
        outcome,
        session: Some(session),
        message: beginning(result.message.as_deref().unwrap_or_default()),
        steps: result.steps,
        tokens,
        cost: result.cost.map(|dollars| (dollars * 1e9).round() as u64),
    }
}

fn unstarted(outcome: RunOutcome, session: Option<SessionId>, why: &str) -> RunEnd {
    RunEnd { outcome, session, message: beginning(why), steps: 0, tokens: 0, cost: None }
}

fn beginning(text: &str) -> String {
    text[..text.floor_char_boundary(MESSAGE)].to_owned()
}

/// Bytes of a run's last words that are kept with it.
const MESSAGE: usize = 1 << 10;
