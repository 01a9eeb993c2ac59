//! The store as a worker sees it: slow, failing, full, losing its answers, and the place where workers die.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use sterna_log::*;
use sterna_model::*;

use crate::dice::{lane_of, mix};
use crate::world::{Life, World};

/// A defect that is put into the store, to see that the simulation finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// A driver's generation is not looked at.
    NoFence,
    /// Intents of tools are answered for and not written.
    NoIntent,
    /// An append is answered for before it is written.
    EarlyAnswer,
    /// A key that was used is not known any more.
    NoKeys,
    /// Outcomes of tools are answered for and lost.
    LostOutcome,
}

impl Mutation {
    pub const ALL: [Self; 5] =
        [Self::NoFence, Self::NoIntent, Self::EarlyAnswer, Self::NoKeys, Self::LostOutcome];
}

pub struct SimLog {
    pub world: Arc<World>,
    pub life: Arc<Life>,
}

impl SimLog {
    fn lane(&self, session: &SessionId) -> u64 {
        lane_of(&format!("{}/{session}", self.life.id))
    }

    fn failure(&self, lane: u64, what: &str) -> LogError {
        match self.world.dice.below("store.which", lane, 4) {
            0 => LogError::DiskFull(what.into()),
            1 => LogError::ReadOnly(what.into()),
            _ => LogError::Io(what.into()),
        }
    }

    /// Reads fail alike for whoever asks alike: their order is not known.
    fn read_fails(&self, site: &'static str, session: &SessionId, from: u64) -> Result<(), LogError> {
        let lane = mix(self.lane(session) ^ from) ^ self.world.now();
        if self.world.dice.fault_at(site, lane, 4) {
            self.world.tell(|| format!("{} {site} {session} fails", self.life.name));
            return Err(LogError::Io(site.into()));
        }
        Ok(())
    }

    async fn slow(&self, site: &'static str, lane: u64) {
        let ms = match self.world.dice.pick(site, lane, &[925, 50, 10, 15]) {
            _ if self.world.dice.is_calm() => return,
            0 => return,
            1 => 1 + self.world.dice.below("store.ms", lane, 300),
            2 => 2_000 + self.world.dice.below("store.ms", lane, 9_000),
            // Longer than a lease holds.
            _ => 31_000 + self.world.dice.below("store.ms", lane, 9_000),
        };
        self.world.tell(|| format!("{} {site} takes {ms} ms", self.life.name));
        self.world.sleep(ms).await;
    }

    /// The write itself, past all faults, and what the ledger says of it.
    async fn write(&self, append: Append) -> Result<Receipt, LogError> {
        let (session, expect) = (append.session.clone(), append.expect.clone());
        let names: Vec<String> = append.records.iter().map(|draft| name_of(&draft.body)).collect();
        let intent = |draft: &Draft| match &draft.body {
            Body::Intent(intent) => match intent.what {
                Intended::Model(_) | Intended::Tool(_) => Some((intent.key.clone(), intent.attempt)),
                // Whoever recovers takes back what another life did.
                Intended::Undo(_) | Intended::Compact(_) | Intended::Judge(_) => None,
            },
            _ => None,
        };
        let intents = append.records.iter().filter_map(intent).collect();
        let written = self.write_mutated(append).await;
        self.world.tell(|| match &written {
            Ok(receipt) => format!(
                "{} {session} {}..{}{} {}",
                self.life.name,
                receipt.first,
                receipt.last,
                if receipt.repeated { " again" } else { "" },
                names.join(", ")
            ),
            Err(error) => format!("{} {session} refused: {error}: {}", self.life.name, names.join(", ")),
        });
        if let Ok(receipt) = &written {
            self.judge(&session, &expect, intents, receipt);
        }
        written
    }

    async fn write_mutated(&self, mut append: Append) -> Result<Receipt, LogError> {
        let inner = &self.world.inner;
        let tools =
            |draft: &Draft| matches!(&draft.body, Body::Intent(i) if matches!(i.what, Intended::Tool(_)));
        let ended = |draft: &Draft| matches!(&draft.body, Body::Outcome(o) if matches!(o.result, EffectResult::Tool(_)));
        match self.world.mutation {
            None => {}
            Some(Mutation::NoFence) => {
                if let Expect::Head { fence, .. } = &mut append.expect {
                    let lease = inner.head(&append.session).await?.lease;
                    *fence = lease.map_or(0, |lease| lease.fence);
                }
            }
            Some(Mutation::NoIntent) => {
                for draft in append.records.iter_mut().filter(|draft| tools(draft)) {
                    draft.body = Body::TitleSet { title: "x".into(), by: "x".into(), made: None };
                }
            }
            Some(Mutation::EarlyAnswer) if append.records.iter().any(tools) => {
                let head = inner.head(&append.session).await?;
                let (first, last) = (head.seq + 1, head.seq + append.records.len() as Seq);
                let (world, late) = (self.world.clone(), append);
                tokio::spawn(async move {
                    world.sleep(3).await;
                    // Whatever comes of it.
                    let _ = world.inner.append(late).await;
                });
                return Ok(Receipt { first, last, hash: head.hash, repeated: false, lease: None });
            }
            Some(Mutation::NoKeys) if append.expect == Expect::Any => {
                append.id = format!("{}:{}", append.id, self.world.next_id());
                for draft in &mut append.records {
                    if let Body::InputAccepted(input) = &mut draft.body {
                        input.key = None;
                    }
                }
            }
            Some(Mutation::LostOutcome) if append.records.iter().all(ended) => {
                let head = inner.head(&append.session).await?;
                let last = head.seq + append.records.len() as Seq;
                let first = head.seq + 1;
                return Ok(Receipt { first, last, hash: head.hash, repeated: false, lease: None });
            }
            Some(Mutation::EarlyAnswer | Mutation::NoKeys | Mutation::LostOutcome) => {}
        }
        inner.append(append).await
    }

    fn judge(&self, session: &SessionId, expect: &Expect, intents: Vec<(EffectKey, u32)>, receipt: &Receipt) {
        self.world.look(session, |_| ());
        if let Some(lease) = &receipt.lease {
            self.leads(session, lease.fence);
        }
        // Who is told that it is there already has written nothing.
        if let Expect::Head { fence, .. } = expect
            && !receipt.repeated
        {
            self.world.facts().intended.extend(intents.into_iter().map(|intent| (intent, self.life.id)));
            let leader = self.world.facts().leases.get(session).copied();
            if leader != Some((self.life.id, *fence)) {
                self.world.wrong(format!(
                    "{} wrote {session} {}..{} under generation {fence}, and {leader:?} leads",
                    self.life.name, receipt.first, receipt.last
                ));
            }
        }
    }

    fn leads(&self, session: &SessionId, fence: Fence) {
        self.world.tell(|| format!("{} leads {session}, generation {fence}", self.life.name));
        self.world.facts().leases.insert(session.clone(), (self.life.id, fence));
    }
}

#[async_trait]
impl Log for SimLog {
    async fn append(&self, append: Append) -> Result<Receipt, LogError> {
        let lane = self.lane(&append.session);
        let dice = &self.world.dice;
        self.world.boundary(&self.life, "crash.before_append", lane, 8).await;
        self.slow("store.slow", lane).await;
        self.life.stop_if_dead().await;
        if dice.fault("store.fails", lane, 8) {
            self.world.tell(|| format!("{} append to {} fails", self.life.name, append.session));
            return Err(self.failure(lane, "before the write"));
        }
        let written = self.write(append).await;
        self.world.boundary(&self.life, "crash.after_append", lane, 8).await;
        self.slow("store.late_answer", lane).await;
        self.life.stop_if_dead().await;
        if dice.fault("store.lost_answer", lane, 8) {
            self.world.tell(|| format!("{} answer is lost", self.life.name));
            return Err(self.failure(lane, "after the write"));
        }
        written
    }

    async fn read(&self, session: &SessionId, from: Seq, limit: usize) -> Result<Vec<Sealed>, LogError> {
        self.life.stop_if_dead().await;
        self.read_fails("store.read", session, from)?;
        self.world.inner.read(session, from, limit).await
    }

    async fn head(&self, session: &SessionId) -> Result<Head, LogError> {
        self.life.stop_if_dead().await;
        self.read_fails("store.head", session, 0)?;
        self.world.inner.head(session).await
    }

    async fn find_key(&self, session: &SessionId, key: &str) -> Result<Option<KeyReceipt>, LogError> {
        self.life.stop_if_dead().await;
        self.world.inner.find_key(session, key).await
    }

    async fn list(&self, filter: &Filter, page: Page) -> Result<Vec<SessionRow>, LogError> {
        self.world.inner.list(filter, page).await
    }

    async fn search(&self, query: &str, limit: usize) -> Result<Vec<Hit>, LogError> {
        self.world.inner.search(query, limit).await
    }

    async fn lease(&self, session: &SessionId, request: LeaseRequest) -> Result<Lease, LogError> {
        let lane = self.lane(session);
        let dice = &self.world.dice;
        self.world.boundary(&self.life, "crash.before_lease", lane, 3).await;
        self.slow("store.slow_lease", lane).await;
        self.life.stop_if_dead().await;
        if dice.fault("store.lease_fails", lane, 5) {
            return Err(LogError::Io("before the lease".into()));
        }
        let lease = self.world.inner.lease(session, request).await?;
        self.leads(session, lease.fence);
        self.world.boundary(&self.life, "crash.after_lease", lane, 3).await;
        if dice.fault("store.lost_lease", lane, 3) {
            return Err(LogError::Io("after the lease".into()));
        }
        Ok(lease)
    }

    async fn release(&self, session: &SessionId, fence: Fence) -> Result<(), LogError> {
        self.life.stop_if_dead().await;
        if self.world.dice.fault("store.release_fails", self.lane(session), 10) {
            return Err(LogError::Io("release".into()));
        }
        self.world.inner.release(session, fence).await
    }

    async fn snapshot_put(&self, s: &SessionId, seq: Seq, v: u32, bytes: Bytes) -> Result<(), LogError> {
        self.life.stop_if_dead().await;
        self.world.inner.snapshot_put(s, seq, v, bytes).await
    }

    async fn snapshot_get(&self, s: &SessionId, v: u32) -> Result<Option<(Seq, Bytes)>, LogError> {
        self.world.inner.snapshot_get(s, v).await
    }

    async fn delete(&self, session: &SessionId) -> Result<(), LogError> {
        self.life.stop_if_dead().await;
        self.world.inner.delete(session).await
    }
}

/// A record in a few words.
pub fn name_of(body: &Body) -> String {
    let short = |key: &EffectKey| format!("{}.{}.{}.{}", key.turn, key.step, key.kind.word(), key.ordinal);
    match body {
        Body::Intent(intent) => format!("intent {} #{}", short(&intent.key), intent.attempt),
        Body::Outcome(outcome) => match &outcome.result {
            EffectResult::Tool(tool) => format!("outcome {} {}", short(&outcome.key), tool.status.word()),
            EffectResult::Model(model) => format!("outcome {} {}", short(&outcome.key), model.stop.word()),
            EffectResult::Summary(_) | EffectResult::Judged(_) => format!("outcome {}", short(&outcome.key)),
            EffectResult::ModelFailed(failure) => {
                format!("outcome {} failed {}", short(&outcome.key), failure.class.word())
            }
        },
        Body::Attempt(attempt) => {
            format!("attempt {} #{} {}", short(&attempt.key), attempt.attempt, attempt.failure.class.word())
        }
        Body::InDoubt { key, resolution } => format!("in_doubt {} {resolution:?}", short(key)),
        Body::WaitOpened(wait) => format!("wait {}", wait.wait),
        Body::WaitResolved { wait, ruling, by, early: _ } => format!("resolved {wait} {ruling:?} by {by}"),
        Body::InputAccepted(input) => format!("input {:?} key {:?}", input.delivery, input.key),
        Body::InputWithdrawn { inputs, .. } => format!("withdrawn {inputs:?}"),
        Body::TurnStarted(started) => format!("turn of {:?}", started.inputs),
        Body::TurnCommitted(committed) => match &committed.outcome {
            TurnOutcome::Finished { .. } => "finished".into(),
            TurnOutcome::Stopped { reason, .. } => format!("stopped {}", reason.word()),
        },
        other => {
            let text = format!("{other:?}");
            text.chars().take(60).collect()
        }
    }
}
