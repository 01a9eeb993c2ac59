//! The automations of a store: read, changed and decided on in one reserved log, which is the only truth.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use sterna_log::{LogError, Receipt, SharedLog, append_reserved_all, automation_log};
use sterna_model::{
    Automation, AutomationChange, Body, Cause, Discard, Draft, Fired, Millis, Occurrence, RunEnd, Seq,
    SessionId,
};

use sterna_secrets::Scoped;

use crate::decide::{self, Decision};
use crate::fold::{Automations, Held, Run};
use crate::times::Times;

/// The automations of one store. Holds nothing that the log does not say.
pub struct Board {
    log: SharedLog,
    secrets: Option<Box<dyn Fn() -> Scoped + Send + Sync>>,
    read: Mutex<Read>,
}

/// The fold, as far as it was read.
#[derive(Clone, Default)]
struct Read {
    next: Seq,
    all: Automations,
}

/// Why an automation was not changed.
#[derive(Debug, thiserror::Error)]
pub enum BoardError {
    /// What was wrong, and what to do.
    #[error("{0}")]
    Refused(String),
    #[error("there is no schedule or trigger `{0}`")]
    Unknown(String),
    #[error(transparent)]
    Log(#[from] LogError),
    /// The same from a runtime, which keeps it for others too.
    #[error(transparent)]
    Shared(#[from] Arc<LogError>),
}

/// What publishing an occurrence came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    /// It was published before, and what it came to stands.
    pub repeated: bool,
    /// Runs and refusals, one for each trigger that waits for it.
    pub decided: Vec<AutomationChange>,
}

impl Board {
    /// Reads nothing yet.
    pub fn new(log: SharedLog) -> Self {
        Self { log, secrets: None, read: Mutex::default() }
    }

    /// What is a secret here: it is replaced in what people and models wrote.
    pub fn secrets(self, secrets: impl Fn() -> Scoped + Send + Sync + 'static) -> Self {
        Self { secrets: Some(Box::new(secrets)), ..self }
    }

    /// The automations as they are now. What was read before is not read again.
    pub async fn all(&self) -> Result<Automations, BoardError> {
        let id = automation_log();
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if read.next == 0 {
            read = self.snapshot().await?;
        }
        let from = read.next;
        loop {
            let page = match self.log.read(&id, read.next, PAGE).await {
                Err(LogError::NotFound(_)) => break,
                page => page?,
            };
            let Some(last) = page.last() else { break };
            read.next = last.record.seq + 1;
            page.iter().for_each(|sealed| read.all.apply(&sealed.record));
        }
        if read.next / SNAPSHOT > from / SNAPSHOT
            && let Ok(bytes) = serde_json::to_vec(&read.all)
        {
            // A cache: losing it loses nothing.
            let _ = self.log.snapshot_put(&id, read.next - 1, VERSION, Bytes::from(bytes)).await;
        }
        let all = read.all.clone();
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = read;
        Ok(all)
    }

    /// Makes an automation. `once`: the same with the same content makes it once.
    ///
    /// Errors: `Refused` for one that is not in its proper form, or whose name is taken.
    pub async fn add(&self, once: &str, now: Millis, automation: Automation) -> Result<Held, BoardError> {
        check(&automation, now)?;
        let name = automation.name.clone();
        if self.all().await?.iter().count() >= MOST {
            return Err(refused(&format!(
                "there are {MOST} schedules and triggers, which is all there may be"
            )));
        }
        let made = AutomationChange::Made(Box::new(automation));
        let receipt = match self.append(&format!("made:{once}"), now, vec![made]).await {
            Err(LogError::Conflict { .. }) => return Err(taken(&name)),
            receipt => receipt?,
        };
        let all = self.all().await?;
        let held = all.named(&name).filter(|held| held.made == receipt.last).cloned();
        held.ok_or_else(|| taken(&name))
    }

    pub async fn pause(&self, once: &str, now: Millis, name: &str, by: &str) -> Result<(), BoardError> {
        self.held(name).await?;
        let (name, by) = (name.to_owned(), by.to_owned());
        self.change(once, now, AutomationChange::Paused { name, by }).await
    }

    /// Times that were due meanwhile are not made up for.
    pub async fn resume(&self, once: &str, now: Millis, name: &str, by: &str) -> Result<(), BoardError> {
        self.held(name).await?;
        let (name, by) = (name.to_owned(), by.to_owned());
        self.change(once, now, AutomationChange::Resumed { name, by }).await
    }

    /// Takes it away. A run that has begun goes on.
    pub async fn remove(&self, once: &str, now: Millis, name: &str, by: &str) -> Result<(), BoardError> {
        self.held(name).await?;
        let (name, by) = (name.to_owned(), by.to_owned());
        self.change(once, now, AutomationChange::Removed { name, by }).await
    }

    /// Starts a run by hand, beside what is due. The same `once` starts one.
    pub async fn run_now(&self, once: &str, now: Millis, name: &str, by: &str) -> Result<Run, BoardError> {
        let held = self.held(name).await?;
        let digest = blake3::hash(once.as_bytes()).to_hex();
        let run = decide::run_name(&held, &format!("h{}", &digest[..HAND_DIGITS]));
        let mut all = self.all().await?;
        let is_there = |all: &Automations| all.open_run(&run).map(|(_, open)| open.clone());
        if let Some(there) = is_there(&all) {
            return Ok(there);
        }
        if !decide::may_start(&held) {
            return Err(refused(&format!("a run of `{name}` is not over yet; wait for it, or cancel it")));
        }
        let (name, by) = (name.to_owned(), by.to_owned());
        let cause = Cause::Hand { by };
        let fired = Fired { name, made: held.made, run: run.clone(), due: now, cause };
        self.change(once, now, AutomationChange::Fired(Box::new(fired.clone()))).await?;
        all = self.all().await?;
        // The same was wanted before, and is over.
        Ok(is_there(&all).unwrap_or(Run { fired, fired_at: now }))
    }

    /// Decides what is due, and gives the decisions that were made here. Of two processes that decide at the same time
    /// one is right, and the other reads what it decided.
    pub async fn decide(&self, now: Millis) -> Result<Vec<AutomationChange>, BoardError> {
        let mut decided = Vec::new();
        // Each round decides one thing of each automation.
        for _ in 0..ROUNDS {
            let all = self.all().await?;
            let due: Vec<Decision> =
                all.iter().filter_map(|held| decide::due(held, &times(held)?, now)).collect();
            if due.is_empty() {
                break;
            }
            for Decision { once, change } in due {
                match self.append(&once, now, vec![change.clone()]).await {
                    Ok(receipt) if receipt.repeated => {}
                    Ok(_) => decided.push(change),
                    // Another process has decided otherwise.
                    Err(LogError::Conflict { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(decided)
    }

    /// When something is due next.
    pub async fn next(&self, now: Millis) -> Result<Option<Millis>, BoardError> {
        let all = self.all().await?;
        Ok(all.iter().filter_map(|held| decide::next(held, &times(held)?, now)).min())
    }

    /// Tells the triggers that something happened. However often it is delivered, it counts once.
    pub async fn publish(&self, now: Millis, occurrence: Occurrence) -> Result<Published, BoardError> {
        self.publish_at(now, now, occurrence).await
    }

    /// The same for something that happened then: triggers that were made later do not wait for it.
    pub async fn publish_at(
        &self,
        now: Millis,
        happened: Millis,
        occurrence: Occurrence,
    ) -> Result<Published, BoardError> {
        if occurrence.payload.len() > MAX_PAYLOAD {
            let got = occurrence.payload.len();
            return Err(refused(&format!(
                "its payload has {got} bytes and may have {MAX_PAYLOAD}; name a file"
            )));
        }
        if occurrence.key.is_empty() || occurrence.key.len() > MAX_KEY || occurrence.id.len() > MAX_KEY {
            return Err(refused(&format!("its key and its id have 1 to {MAX_KEY} bytes")));
        }
        let decided = self.occurred(&occurrence, now, happened).await?;
        if decided.is_empty() {
            return Ok(Published { repeated: false, decided });
        }
        let once = format!("on:{}", decide::occurrence_hash(&occurrence));
        match self.append(&once, now, decided.clone()).await {
            Ok(receipt) => Ok(Published { repeated: receipt.repeated, decided }),
            // It was decided before, when other triggers were there.
            Err(LogError::Conflict { .. }) => Ok(Published { repeated: true, decided: Vec::new() }),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes down how a run ended, and what that is to triggers, in one step.
    pub async fn ended(&self, now: Millis, run: &str, end: RunEnd) -> Result<(), BoardError> {
        let all = self.all().await?;
        let Some((held, open)) = all.open_run(run) else { return Ok(()) };
        let occurrence = decide::ended(held, open, &end);
        let mut changes = vec![AutomationChange::Ended { run: run.to_owned(), end: Box::new(end) }];
        if let Some(occurrence) = occurrence {
            changes.extend(self.occurred(&occurrence, now, now).await?);
        }
        match self.append(&format!("ended:{run}"), now, changes).await {
            // Another process saw the same end.
            Ok(_) | Err(LogError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes down that something could not be told to a session. Once for each key.
    pub async fn discard(
        &self,
        now: Millis,
        session: &SessionId,
        key: &str,
        why: Discard,
    ) -> Result<(), BoardError> {
        let change = AutomationChange::Discarded { session: session.clone(), key: key.to_owned(), why };
        match self.append(&format!("discarded:{session}:{key}"), now, vec![change]).await {
            Ok(_) | Err(LogError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Where the log stands: changes when anything here does. 0: nothing was ever made.
    pub async fn head(&self) -> Result<Seq, BoardError> {
        match self.log.head(&automation_log()).await {
            Ok(head) => Ok(head.seq),
            Err(LogError::NotFound(_)) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    async fn occurred(
        &self,
        occurrence: &Occurrence,
        now: Millis,
        happened: Millis,
    ) -> Result<Vec<AutomationChange>, BoardError> {
        let all = self.all().await?;
        let is_quiet = |held: &Held| times(held).is_some_and(|times| times.is_quiet(now));
        Ok(decide::occurred(&all, occurrence, now, happened, is_quiet))
    }

    async fn held(&self, name: &str) -> Result<Held, BoardError> {
        let held = self.all().await?.named(name).cloned();
        held.ok_or_else(|| BoardError::Unknown(name.to_owned()))
    }

    async fn change(&self, once: &str, now: Millis, change: AutomationChange) -> Result<(), BoardError> {
        match self.append(once, now, vec![change]).await {
            // The same call again.
            Ok(_) | Err(LogError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn append(
        &self,
        once: &str,
        at: Millis,
        changes: Vec<AutomationChange>,
    ) -> Result<Receipt, LogError> {
        let id = automation_log();
        let mut changes = changes;
        if let Some(secrets) = self.secrets.as_ref().map(|secrets| secrets()) {
            changes.iter_mut().flat_map(AutomationChange::texts_mut).for_each(|text| {
                secrets.redact_in_place(text);
            });
        }
        let draft = |change| Draft { at, turn: None, step: None, body: Body::Automation(Box::new(change)) };
        let records: Vec<Draft> = changes.into_iter().map(draft).collect();
        append_reserved_all(&*self.log, &id, "/", once, records).await
    }

    async fn snapshot(&self) -> Result<Read, BoardError> {
        let kept = match self.log.snapshot_get(&automation_log(), VERSION).await {
            Err(LogError::NotFound(_)) => None,
            kept => kept?,
        };
        // One that cannot be read is made again.
        let fold = kept.and_then(|(seq, bytes)| Some((seq, serde_json::from_slice(&bytes).ok()?)));
        Ok(fold
            .map_or(Read { next: 1, all: Automations::default() }, |(seq, all)| Read { next: seq + 1, all }))
    }
}

/// The times of an automation that was checked when it was made. `None`: this build cannot read them.
pub fn times(held: &Held) -> Option<Times> {
    Times::of(&held.automation, held.made_at).ok()
}

fn check(automation: &Automation, now: Millis) -> Result<(), BoardError> {
    let Automation { name, prompt, start, given, .. } = automation;
    let is_name = (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !is_name {
        return Err(refused(&format!(
            "`{name}` is no name; a name has 1 to {MAX_NAME} characters of a-z, 0-9 and -"
        )));
    }
    if prompt.trim().is_empty() || prompt.len() > MAX_PROMPT {
        return Err(refused(&format!("what it does has 1 to {MAX_PROMPT} bytes; write more into a file")));
    }
    if given.mode == sterna_model::Mode::Bypass {
        return Err(refused(
            "nobody is there to see what it does, so its mode cannot be bypass; use --allow rules",
        ));
    }
    if given.on_ask == sterna_model::OnAsk::Prompt {
        return Err(refused("nobody is there to be asked; choose deny, fail or park"));
    }
    match start {
        sterna_model::Start::At { at } if *at <= now => return Err(refused("its time is over already")),
        sterna_model::Start::On { key, .. } if key.is_empty() || key.len() > MAX_KEY => {
            return Err(refused(&format!("its key has 1 to {MAX_KEY} bytes")));
        }
        _ => {}
    }
    Times::of(automation, now).map(|_| ()).map_err(|why| refused(&why))
}

fn refused(why: &str) -> BoardError {
    BoardError::Refused(why.to_owned())
}

fn taken(name: &str) -> BoardError {
    refused(&format!(
        "there is a schedule or trigger `{name}` already; remove it first, or take another name"
    ))
}

/// The fold's form, as a snapshot has it.
const VERSION: u32 = 1;
const PAGE: usize = 256;
/// Records between snapshots.
const SNAPSHOT: Seq = 256;
/// Automations of a store.
const MOST: usize = 1_000;
/// Decisions about one automation in one go. What is left is decided in the next.
const ROUNDS: usize = 128;
const MAX_NAME: usize = 64;
const MAX_PROMPT: usize = 64 << 10;
const MAX_KEY: usize = 256;
/// Design: payload ≤ 16 KiB.
const MAX_PAYLOAD: usize = 16 << 10;
const HAND_DIGITS: usize = 12;
