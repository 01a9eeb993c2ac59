//! The world: its clock, its workers' lives, and the ledger of what really happened, kept apart from the code under
//! test.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use sterna_log::{Fence, Log, MemoryLog, Owner};
use sterna_model::*;
use sterna_runtime::Env;
use sterna_tool::Cancel;
use sterna_turn::TurnMachine;
use tokio::time::Instant;

use crate::dice::{Choice, Dice};
use crate::store::Mutation;
use crate::waits::Waits;

/// When the world begins.
const EPOCH: Millis = 1_795_260_000_000;

pub struct World {
    pub dice: Dice,
    /// What is durable.
    pub inner: Arc<MemoryLog>,
    pub mutation: Option<Mutation>,
    began: Instant,
    /// Times at which somebody wakes: no two of them alike, so that no two things happen at once.
    slots: Mutex<BTreeSet<Millis>>,
    facts: Mutex<Facts>,
    /// Lines of the story are kept.
    telling: bool,
}

/// What happened.
#[derive(Default)]
pub struct Facts {
    pub lives: Vec<Arc<Life>>,
    /// Who leads each session by the store's word.
    pub leases: BTreeMap<SessionId, (u32, Fence)>,
    pub sessions: BTreeMap<SessionId, Seen>,
    /// Who wrote each intent.
    pub intended: HashMap<(EffectKey, u32), u32>,
    pub runs: Vec<ToolRun>,
    /// Attempts that were taken back.
    pub undone: HashSet<(EffectKey, u32)>,
    pub sends: Vec<ModelSend>,
    pub submits: Vec<Submitted>,
    /// Inputs that a person was told are withdrawn.
    pub withdrawn: Vec<(SessionId, Seq)>,
    /// Who was told that their answer counts.
    pub resolved: Vec<(SessionId, WaitId, String)>,
    /// Signals that were taken from those who sent them: session, name, payload, by.
    pub signalled: Vec<(SessionId, String, String, String)>,
    /// What calls were woken with.
    pub delivered: BTreeMap<String, BTreeSet<EffectKey>>,
    pub watches: Vec<Watch>,
    pub wrong: Vec<String>,
    pub story: Vec<String>,
    ids: u64,
}

/// One process's life.
pub struct Life {
    pub id: u32,
    pub name: String,
    pub death: Cancel,
    /// Its death can be known: it lived on the same machine.
    pub local: bool,
}

/// A session's log as it was read last, past all wrappers.
#[derive(Default)]
pub struct Seen {
    pub records: Vec<Record>,
    pub machine: TurnMachine,
    pub intents: HashSet<(EffectKey, u32)>,
    /// Intents to take back what an attempt did.
    pub undos: HashSet<(EffectKey, u32)>,
    pub requests: HashMap<Digest, EffectKey>,
    pub waits: Waits,
}

/// A tool that was started.
#[derive(Clone)]
pub struct ToolRun {
    pub key: EffectKey,
    pub attempt: u32,
    pub class: EffectClass,
    pub name: String,
    /// It asked a person and ended with that.
    pub asked: bool,
    /// Its side effect happened.
    pub effect: bool,
}

/// A request that reached the provider.
#[derive(Clone)]
pub struct ModelSend {
    pub key: EffectKey,
    /// What the provider billed with its answer; `None` when it gave none.
    pub billed: Option<Usage>,
}

/// An input that somebody sent.
pub struct Submitted {
    pub session: SessionId,
    pub key: Option<String>,
    pub text: String,
    /// What was said to whoever sent it.
    pub accepted: Option<Seq>,
    /// It must be accepted at last.
    pub sure: bool,
}

/// What an observer saw.
pub struct Watch {
    pub session: SessionId,
    pub seen: Seq,
    pub events: Vec<Event>,
    pub life: Arc<Life>,
    /// It takes its time, or the store failed it.
    pub partial: bool,
}

impl World {
    pub fn new(seed: u64, mask: BTreeSet<Choice>, mutation: Option<Mutation>, telling: bool) -> Arc<Self> {
        Arc::new(Self {
            dice: Dice::new(seed, mask),
            inner: Arc::default(),
            mutation,
            began: Instant::now(),
            slots: Mutex::default(),
            facts: Mutex::default(),
            telling,
        })
    }

    pub fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap()
    }

    pub fn now(&self) -> Millis {
        EPOCH + self.began.elapsed().as_millis() as Millis
    }

    /// A moment of one's own, taken now: who waits for several polls them in no known order.
    fn slot<W: Deref<Target = Self>>(world: W, at: Millis) -> Slot<W> {
        let mut due = at.max(world.now() + 1);
        let mut slots = world.slots.lock().unwrap();
        while !slots.insert(due) {
            due += 1;
        }
        drop(slots);
        Slot { world, due }
    }

    pub async fn sleep(&self, ms: u64) {
        Self::slot(self, self.now() + ms).wait().await;
    }

    /// Something that must never be.
    pub fn wrong(&self, what: String) {
        let at = self.now() - EPOCH;
        self.tell(|| format!("WRONG: {what}"));
        self.facts().wrong.push(format!("{what} (at {at} ms)"));
    }

    pub fn tell(&self, line: impl FnOnce() -> String) {
        if self.telling {
            let line = format!("{:>8} {}", self.now() - EPOCH, line());
            self.facts().story.push(line);
        }
    }

    pub fn born(&self, slot: usize) -> Arc<Life> {
        let mut facts = self.facts();
        let id = facts.lives.len() as u32;
        let local = self.dice.pick("remote", u64::from(id), &[3, 1]) == 0;
        let name = format!("w{slot}.{id}");
        let life = Arc::new(Life { id, name, death: Cancel::new(), local });
        facts.lives.push(life.clone());
        life
    }

    pub fn kill(&self, life: &Life, why: &str) {
        if !life.is_dead() {
            self.tell(|| format!("{} dies {why}", life.name));
            life.death.cancel();
        }
    }

    /// A boundary of an effect: the worker may die here, and a dead one gets no further.
    pub async fn boundary(&self, life: &Life, site: &'static str, lane: u64, per_mille: u64) {
        if !life.is_dead() && self.dice.fault(site, lane, per_mille) {
            self.kill(life, site);
        }
        life.stop_if_dead().await;
    }

    pub fn next_id(&self) -> u64 {
        let mut facts = self.facts();
        facts.ids += 1;
        facts.ids
    }

    /// Reads what is durable of a session, and looks at it.
    pub fn look<T>(&self, session: &SessionId, with: impl FnOnce(&Seen) -> T) -> T {
        let mut facts = self.facts();
        let seen = facts.sessions.entry(session.clone()).or_default();
        let from = seen.records.len() as Seq + 1;
        let read = self.inner.read(session, from, 100_000).now_or_never();
        let mut refused = Vec::new();
        for sealed in read.and_then(Result::ok).unwrap_or_default() {
            if let Err(wrong) = seen.take(sealed.record) {
                refused.push(format!("{session}: {wrong}"));
            }
        }
        let found = with(seen);
        facts.wrong.extend(refused);
        found
    }

    pub fn head(&self, session: &SessionId) -> Seq {
        let head = self.inner.head(session).now_or_never();
        head.and_then(Result::ok).map_or(0, |head| head.seq)
    }

    pub fn session_ids(&self) -> Vec<SessionId> {
        let facts = self.facts();
        let there = facts.sessions.iter().filter(|(_, seen)| !seen.records.is_empty());
        there.map(|(id, _)| id.clone()).collect()
    }
}

struct Slot<W: Deref<Target = World>> {
    world: W,
    due: Millis,
}

impl<W: Deref<Target = World>> Slot<W> {
    /// Never done when it is asked first.
    async fn wait(self) {
        tokio::time::sleep_until(self.world.began + Duration::from_millis(self.due - EPOCH)).await;
    }
}

impl<W: Deref<Target = World>> Drop for Slot<W> {
    fn drop(&mut self) {
        self.world.slots.lock().unwrap().remove(&self.due);
    }
}

impl Life {
    pub fn is_dead(&self) -> bool {
        self.death.is_cancelled()
    }

    /// What a dead process was about to do is never done.
    pub async fn stop_if_dead(&self) {
        if self.is_dead() {
            futures::future::pending::<()>().await;
        }
    }
}

impl Seen {
    fn take(&mut self, record: Record) -> Result<(), String> {
        let due = self.records.len() as Seq + 1;
        if record.seq != due {
            return Err(format!("record {} stands where {due} is due", record.seq));
        }
        self.machine.apply(&record).map_err(|wrong| wrong.to_string())?;
        if let Body::Intent(intent) = &record.body {
            let attempt = (intent.key.clone(), intent.attempt);
            let first = match &intent.what {
                Intended::Undo(_) => self.undos.insert(attempt),
                Intended::Tool(_) | Intended::Judge(_) => self.intents.insert(attempt),
                Intended::Model(_) | Intended::Compact(_) => {
                    let request = intent.what.request().map(|model| model.request);
                    self.requests.extend(request.map(|request| (request, intent.key.clone())));
                    self.intents.insert(attempt)
                }
            };
            if !first {
                return Err(format!("{} #{} is intended twice", intent.key, intent.attempt));
            }
        }
        let waits = self.waits.take(&record);
        self.records.push(record);
        waits
    }
}

/// The machine that a worker runs on.
pub struct SimEnv {
    pub world: Arc<World>,
    pub life: Arc<Life>,
}

impl Env for SimEnv {
    fn now(&self) -> Millis {
        self.world.now()
    }
    fn sleep_until(&self, at: Millis) -> BoxFuture<'static, ()> {
        let life = self.life.clone();
        let slot = World::slot(self.world.clone(), at);
        async move {
            life.stop_if_dead().await;
            slot.wait().await;
            life.stop_if_dead().await;
        }
        .boxed()
    }
    fn new_session_id(&self) -> SessionId {
        SessionId::new(&format!("n{}", self.world.next_id())).unwrap()
    }
    fn owner(&self) -> Owner {
        Owner(self.life.name.clone())
    }
    fn is_dead(&self, owner: &Owner) -> bool {
        self.world.facts().lives.iter().any(|life| life.name == owner.0 && life.local && life.is_dead())
    }
    fn child_env(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }
    fn home(&self) -> Option<PathBuf> {
        None
    }
    fn resolve(&self, path: &Path) -> PathBuf {
        path.to_path_buf()
    }
    fn wait_secret(&self) -> Option<[u8; 32]> {
        Some([7; 32])
    }
    fn state_dirs(&self) -> Vec<PathBuf> {
        Vec::new()
    }
}
