//! One session's driver: it leads the session's turns while it holds the lease, and follows the log while another
//! process does. It is the only task that appends turn records.

mod alarm;
mod beside;
pub(crate) mod caps;
mod child;
pub(crate) mod compact;
mod doubt;
mod early;
mod follow;
mod frames;
pub(crate) mod goal;
mod handle;
mod hooks;
pub(crate) mod judge;
mod ladder;
mod makers;
mod memory;
mod people;
mod prefix;
mod stage;
pub(crate) mod titles;
mod wake;
mod want;

use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use sterna_context::{Loaded, Prompt};
use sterna_llm::{EncodeCache, Encoded};
use sterna_log::{Fence, Lease, LeaseRequest, LogError, Receipt};
use sterna_model::{
    Body, Draft, EffectKey, EffectKind, Event, EventKind, Given, HookIntent, MemoryChange, Millis, Mode,
    OnAsk, ResultEvent, Ruling, Seq, SessionId, ToolCall, TurnCommitted, TurnNo, TurnOutcome, TurnStarted,
    WaitId,
};
use sterna_policy::Rule;
use sterna_secrets::Scoped;
use sterna_tool::{Cancel, GoalView, SessionView, SharedTool};
use sterna_turn::Next;
use tokio::sync::{mpsc, oneshot};

use self::alarm::Alarm;
use self::beside::Beside;
use crate::children::{ChildDone, ChildSeen};
use crate::effects::model::ModelEnd;
use crate::effects::pipeline::Passed;
use crate::effects::tool::{Found, ToolEnd};
use crate::hooks::HookAnswered;
use crate::resident::Rested;
use crate::runtime::Inner;
use crate::schema::OutputSchema;
use crate::shared::Shared;
use crate::waits::resolution_id;
use crate::{RuntimeError, State, TurnConfig};

/// Milliseconds that a lease holds, and after which it is renewed (design: lease 30 s, renew 10 s).
pub(crate) const LEASE_MS: u64 = 30_000;
const RENEW_MS: u64 = 10_000;
/// Milliseconds between two looks at the log while effects run: how late another process's cancel is heard at most.
const LOOK_MS: u64 = 500;
/// How long a model's outcome waits for the quick pure calls it asked for, so that they share its commit.
const SHARE_COMMIT: Duration = Duration::from_millis(2);

/// What the driver is told.
pub(crate) enum Msg {
    /// Records of others: inputs, answers, cancels, grants.
    Append {
        id: String,
        records: Vec<Draft>,
        /// What a turn that these records start is given.
        config: Option<Box<TurnConfig>>,
        reply: oneshot::Sender<Result<Receipt, LogError>>,
    },
    /// What the turn of this input is given; without an input, what the turn that is driven now is given.
    Configure {
        input: Option<Seq>,
        config: Box<TurnConfig>,
    },
    /// No new step: let what runs settle, and leave the turn for later.
    Drain,
    Model {
        key: EffectKey,
        attempt: u32,
        end: ModelEnd,
    },
    /// The arguments of a call are whole, and the answer that asks for it still streams.
    Proposed {
        /// Of the model call.
        key: EffectKey,
        attempt: u32,
        ordinal: u32,
        call: ToolCall,
    },
    /// A call that was started while its answer streamed has ended. `None`: it takes the usual way.
    Early {
        key: EffectKey,
        /// Of the model call.
        attempt: u32,
        end: Option<ToolEnd>,
    },
    Passed {
        key: EffectKey,
        passed: Passed,
        /// The turn's mode when it was judged.
        mode: Mode,
        /// The record of the checkpoint that was taken before the call may start.
        checkpoint: Option<Body>,
    },
    Tool {
        key: EffectKey,
        end: ToolEnd,
    },
    /// What became of a call of another life.
    Recovered {
        key: EffectKey,
        found: Found,
    },
    /// How an undo ended. An error says why what was done may still be there.
    Undone {
        key: EffectKey,
        undone: Result<(), String>,
    },
    /// What a call wanted of a child session was done.
    Child {
        key: EffectKey,
        done: ChildDone,
    },
    /// What became of a child's turn that a call waits for.
    ChildTurn {
        wait: WaitId,
        seen: ChildSeen,
    },
    Deadline {
        turn: TurnNo,
    },
    /// A hook is about to ask a model, and waits until that is durable.
    HookAsks {
        intent: Box<HookIntent>,
        durable: oneshot::Sender<()>,
    },
    /// What the hooks of an occurrence came to.
    Hooked {
        key: String,
        answered: HookAnswered,
    },
}

/// How a driver comes to its session.
pub(crate) enum Start {
    /// It is in the log.
    Stored,
    /// It was opened just now, under this lease.
    Opened(Box<State>, Lease),
    /// It is new, and nobody else knows its name yet: its first records are written with the first step's.
    Unwritten(Opening),
}

/// The append that opens a session.
pub(crate) struct Opening {
    pub id: String,
    pub records: Vec<Draft>,
    pub lease: LeaseRequest,
    /// Told when these records are durable. Dropped without a word when they are not.
    pub reply: oneshot::Sender<Receipt>,
}

/// Why a lead or a follow ended.
enum End {
    /// Nothing is left to do.
    Idle,
    /// The turn waits for somebody, and nobody is here.
    Parked,
    Drained,
    /// Another process drives the session.
    Lost,
    /// The other process is gone.
    Leaderless(Option<Fence>),
}

/// What the machine's wish led to.
enum Flow {
    /// Records were staged or the state moved: ask again.
    Again,
    /// Effects or answers are under way.
    Wait,
    Stop(End),
}

struct InFlight {
    cancel: Cancel,
    task: Beside,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Passing,
    Running,
    /// It was started while its answer streamed.
    Early,
    /// It is looked for: it was started in another life.
    Recovering,
    /// What it may have done in another life is taken back.
    Undoing,
}

pub(crate) struct Driver {
    rt: Arc<Inner>,
    shared: Arc<Shared>,
    id: SessionId,
    /// Who drives the turn, and what it was given.
    config: TurnConfig,
    /// Who submitted waiting inputs here. Others are driven with `config`, and with what their records say.
    configs: Configs,
    rx: mpsc::UnboundedReceiver<Msg>,
    tx: mpsc::UnboundedSender<Msg>,
    state: State,
    fence: Option<Fence>,
    /// The session is to be opened with the next append.
    opening: Option<Opening>,
    renew_at: Millis,
    /// When the log is looked at next, while effects run.
    look_at: Option<Millis>,
    look: Alarm,
    /// Shared with model calls that wait for their time.
    leased_until: Arc<AtomicU64>,
    /// Records that are folded and not yet durable.
    staged: Vec<Draft>,
    staged_events: Vec<Event>,
    staged_blobs: Vec<bytes::Bytes>,
    staged_results: Vec<(Vec<Seq>, ResultEvent)>,
    /// Calls whose outcome is staged: their tools are told when it is durable.
    staged_settled: Vec<(SharedTool, EffectKey, u32)>,
    /// The last record whose events were shown.
    shown: Seq,
    inflight: HashMap<EffectKey, InFlight>,
    /// Effects that this driver started: an intent without an outcome is in doubt only for others.
    own: HashSet<EffectKey>,
    /// Calls for which something is reserved in the tree, with their attempt.
    held: Vec<(EffectKey, u32)>,
    /// Waits for children, and what is known of them.
    watched: HashMap<WaitId, child::Watched>,
    /// Turns of children in the background that were seen to in this turn.
    seen_to: HashSet<(SessionId, Seq)>,
    /// Calls of another life of which nobody knows what became.
    unknown: HashSet<EffectKey>,
    /// Compensable calls of another life that could not be taken back, and why.
    not_undone: HashMap<EffectKey, String>,
    /// Allowed calls whose intent is staged: they start when it is durable.
    ready: Vec<want::Ready>,
    hooking: hooks::Hooking,
    makers: makers::Makers,
    early: early::Early,
    request: Option<(EffectKey, Encoded)>,
    prompt: Option<Prompt>,
    schema: Option<Arc<OutputSchema>>,
    rules: Option<(TurnNo, Arc<Vec<Rule>>)>,
    view: Arc<SessionView>,
    secrets: Scoped,
    cache: EncodeCache,
    /// Files that the last request showed.
    files: Loaded,
    child_env: Arc<std::collections::BTreeMap<String, String>>,
    deadline: Option<tokio::task::AbortHandle>,
    deadline_of: TurnNo,
    draining: bool,
    /// A flush met somebody else's records: what was decided before it does not stand.
    decided_again: bool,
}

/// What turns of inputs are given, by the input's record.
pub(crate) type Configs = std::collections::BTreeMap<Seq, TurnConfig>;

impl Driver {
    pub fn new(
        rt: Arc<Inner>,
        shared: Arc<Shared>,
        config: TurnConfig,
        configs: Configs,
        rx: mpsc::UnboundedReceiver<Msg>,
        tx: mpsc::UnboundedSender<Msg>,
    ) -> Self {
        let draining = rt.is_draining();
        let child_env = Arc::new(rt.parts.env.child_env());
        let secrets = rt.parts.secrets.of(&shared.id);
        Self {
            id: shared.id.clone(),
            rt,
            shared,
            config,
            configs,
            rx,
            tx,
            state: State::default(),
            fence: None,
            opening: None,
            renew_at: 0,
            look_at: None,
            look: Alarm::default(),
            leased_until: Arc::default(),
            staged: Vec::new(),
            staged_events: Vec::new(),
            staged_blobs: Vec::new(),
            staged_results: Vec::new(),
            staged_settled: Vec::new(),
            shown: 0,
            inflight: HashMap::new(),
            own: HashSet::new(),
            held: Vec::new(),
            watched: HashMap::new(),
            seen_to: HashSet::new(),
            unknown: HashSet::new(),
            not_undone: HashMap::new(),
            ready: Vec::new(),
            hooking: hooks::Hooking::default(),
            makers: makers::Makers::default(),
            early: early::Early::default(),
            request: None,
            prompt: None,
            schema: None,
            rules: None,
            view: Arc::default(),
            secrets,
            cache: EncodeCache::default(),
            files: Loaded::new(),
            child_env,
            deadline: None,
            deadline_of: 0,
            draining,
            decided_again: false,
        }
    }

    /// Drives until nothing is left to do.
    pub async fn run(mut self, start: Start) {
        let driven = AssertUnwindSafe(self.drive(start)).catch_unwind().await;
        let ended = driven.unwrap_or_else(|panic| Err(RuntimeError::Panicked(told_by(&*panic))));
        self.stop_effects();
        if let Some(fence) = self.fence.take().filter(|_| self.opening.take().is_none()) {
            // A lease that cannot be let go expires, and its owner's death frees it at once.
            let release = AssertUnwindSafe(self.rt.parts.log.release(&self.id, fence));
            let _ = release.catch_unwind().await;
        }
        let turn = self.state.machine.turn().map(|turn| (turn.number, turn.steps()));
        let unfinished = match &ended {
            Ok(End::Parked) => Some(("parked", self.parked_on())),
            Ok(End::Drained) => {
                Some(("drained", "Sterna was asked to stop; `sterna resume` carries on".to_owned()))
            }
            Ok(End::Idle | End::Lost | End::Leaderless(_)) | Err(_) => None,
        };
        if let (Some((outcome, message)), Some((number, steps))) = (unfinished, turn)
            && let Some(result) = self.state.folded.unfinished(number, outcome, steps, message)
        {
            self.shared.finish(self.state.heard.clone(), result.clone());
            let now = self.rt.parts.env.now();
            self.shared.hub.say(Some(number), now, EventKind::Result(Box::new(result)));
        }
        if matches!(ended, Ok(End::Idle)) {
            let (state, mut cache) = (std::mem::take(&mut self.state), std::mem::take(&mut self.cache));
            if !self.files.is_empty() {
                // Their bytes would weigh more than all that is kept.
                cache = EncodeCache::default();
            }
            self.rt.residents.keep(self.id.clone(), Rested { state, cache });
        }
        let error = ended.err();
        if let Some(LogError::BlobMissing(_)) = error.as_ref().and_then(RuntimeError::log) {
            // It was collected meanwhile: the next turn sends its prompt again.
            self.rt.forget_stored();
        }
        self.rt.retire(&self.shared, self.rx, error, Some(self.config), self.configs).await;
    }

    async fn drive(&mut self, start: Start) -> Result<End, RuntimeError> {
        let mut takeover = None;
        match start {
            Start::Opened(state, lease) => {
                self.state = *state;
                self.take_lease(&lease);
                self.refresh_view();
            }
            Start::Unwritten(mut opening) => {
                for draft in std::mem::take(&mut opening.records) {
                    self.stage_at(draft.turn, draft.step, draft.body)?;
                }
                self.opening = Some(opening);
                // A new session's first lease.
                self.fence = Some(1);
                self.renew_at = self.rt.parts.env.now().saturating_add(RENEW_MS);
            }
            Start::Stored => match self.rt.residents.take(&self.id) {
                Some(rested) => {
                    self.state = rested.state;
                    self.cache = rested.cache;
                    self.refresh_view();
                    self.shown = self.state.head;
                    self.catch_up().await?;
                }
                None => {
                    self.load().await?;
                    self.hooking.restored = (self.state.machine.turns() > 0).then_some(self.state.head);
                }
            },
        }
        if self.opening.is_none() {
            self.show_as_durable();
        }
        loop {
            if self.fence.is_none() && !self.try_lease(takeover.take()).await? {
                match self.follow().await? {
                    End::Leaderless(fence) => {
                        takeover = fence;
                        continue;
                    }
                    end => return Ok(end),
                }
            }
            match self.lead().await? {
                End::Lost => {
                    self.fence = None;
                    self.start_over().await?;
                }
                end => return Ok(end),
            }
        }
    }

    async fn lead(&mut self) -> Result<End, RuntimeError> {
        loop {
            while let Ok(msg) = self.rx.try_recv() {
                if let Some(end) = self.handle(msg).await? {
                    return Ok(end);
                }
            }
            if self.fence.is_none() {
                // A flush found another driver: what was folded since is in no log.
                return Ok(End::Lost);
            }
            if !self.held.is_empty() {
                self.settle_unmade().await;
            }
            match self.step().await? {
                Flow::Again => {}
                Flow::Stop(end) => {
                    self.decided_again = false;
                    if !self.flush().await? {
                        return Ok(End::Lost);
                    }
                    if self.decided_again {
                        continue;
                    }
                    if matches!(end, End::Parked) {
                        self.keep_snapshot().await;
                    }
                    return Ok(end);
                }
                Flow::Wait => {
                    if let Some(end) = self.wait().await? {
                        return Ok(end);
                    }
                }
            }
        }
    }

    /// Waits for something to happen. Staged records wait a moment for company.
    async fn wait(&mut self) -> Result<Option<End>, RuntimeError> {
        let passing = self.inflight.values().any(|flight| flight.stage == Stage::Passing);
        if !self.staged.is_empty() || !self.ready.is_empty() || !self.hooking.queue.is_empty() {
            let quick = self.ready.is_empty() && !self.inflight.is_empty();
            if (quick || passing)
                && let Ok(msg) = tokio::time::timeout(SHARE_COMMIT, self.rx.recv()).await
            {
                return match msg {
                    Some(msg) => self.handle(msg).await,
                    None => Ok(None),
                };
            }
            if !self.flush().await? {
                return Ok(Some(End::Lost));
            }
            if !self.ready.is_empty() && !self.still_leads().await? {
                return Ok(Some(End::Lost));
            }
            self.start_ready();
            self.start_hooks();
            return Ok(None);
        }
        let env = self.rt.parts.env.clone();
        let renew = env.sleep_until(self.renew_at);
        let now = env.now();
        let due = self.next_deadline(now).unwrap_or(Millis::MAX);
        let look_at = *self.look_at.get_or_insert(now.saturating_add(LOOK_MS));
        tokio::select! {
            msg = self.rx.recv() => match msg {
                Some(msg) => self.handle(msg).await,
                None => Ok(Some(End::Drained)),
            },
            () = renew => match self.try_lease(None).await? {
                true => Ok(None),
                false => Ok(Some(End::Lost)),
            },
            // Another process may have cancelled, answered or steered.
            () = self.look.at(look_at.min(due), &*env) => {
                self.look.off();
                self.look_at = None;
                if self.rt.parts.log.head(&self.id).await?.seq != self.state.head {
                    self.catch_up().await?;
                }
                self.look_at_parked().await?;
                Ok(None)
            }
        }
    }

    /// Asks the machine, and does what it says.
    async fn step(&mut self) -> Result<Flow, RuntimeError> {
        self.start_pure();
        self.arm_deadline();
        if !self.end_overdue_waits().await? {
            return Ok(Flow::Stop(End::Lost));
        }
        self.watch_children();
        let next = self.state.machine.next();
        if self.rt.parts.hooks.is_some()
            && let Some(flow) = self.gate(&next).await?
        {
            return Ok(flow);
        }
        match next {
            Next::Idle => Ok(Flow::Stop(End::Idle)),
            Next::Start { .. } if self.draining => Ok(Flow::Stop(End::Drained)),
            // Whoever is here came for one turn: what waits behind it is for who comes next.
            Next::Start { .. } if self.shared.ends_with(&self.state.heard) => Ok(Flow::Stop(End::Drained)),
            Next::Start { turn, inputs } => {
                self.start_turn(turn, inputs).await?;
                Ok(Flow::Again)
            }
            Next::Effects(effects) => {
                let mut again = false;
                for effect in effects {
                    again |= self.want(effect).await?;
                }
                if again {
                    return Ok(Flow::Again);
                }
                if self.draining && self.is_settled() {
                    return Ok(Flow::Stop(End::Drained));
                }
                Ok(Flow::Wait)
            }
            Next::Wait(_) if self.draining => Ok(Flow::Stop(End::Drained)),
            Next::Wait(_) if self.awaits_children() => Ok(Flow::Wait),
            Next::Wait(_) if self.config.on_ask == OnAsk::Prompt || self.wakes_soon() => Ok(Flow::Wait),
            Next::Wait(_) => Ok(Flow::Stop(End::Parked)),
            Next::Done(outcome) => {
                self.commit(outcome).await?;
                Ok(Flow::Again)
            }
        }
    }

    async fn start_turn(&mut self, turn: TurnNo, inputs: Vec<Seq>) -> Result<(), RuntimeError> {
        let first = inputs.first().copied().unwrap_or_default();
        let recorded = self.state.given(first).cloned();
        if let Some(config) = self.configs.remove(&first) {
            self.config = config;
        } else if let Some(given) = &recorded {
            self.config = self.config.driving(given);
        }
        // Tools and rules may be others than those of the turn before.
        self.prompt = None;
        self.seen_to.clear();
        // The record is what was promised when the input was accepted, whatever is known here.
        let mut given = recorded.map_or_else(|| self.config.given.clone(), |given| Given::clone(&given));
        if let (true, Some(mode)) = (given.mode_of_session, self.state.machine.switched()) {
            given.mode = mode;
        }
        let recalled = self.remind(turn, &given.root, &inputs).await;
        given.mode_of_session = false;
        let started = TurnStarted { inputs, given, now: self.rt.parts.env.now() };
        self.stage_at(Some(turn), None, Body::TurnStarted(Box::new(started)))?;
        match recalled {
            notes if notes.is_empty() => Ok(()),
            notes => {
                self.stage_at(Some(turn), None, Body::Memory(Box::new(MemoryChange::Recalled { notes })))
            }
        }
    }

    async fn commit(&mut self, outcome: TurnOutcome) -> Result<(), RuntimeError> {
        self.settle_hooks()?;
        let Some(turn) = self.state.machine.turn() else { return Ok(()) };
        let ended = outcome.clone();
        let (number, committed) = (
            turn.number,
            TurnCommitted { outcome, steps: turn.steps(), usage: turn.usage(), cost: turn.cost() },
        );
        self.stage_at(Some(number), None, Body::TurnCommitted(Box::new(committed)))?;
        self.go_on_with_goal(&ended)?;
        // The next turn's first records could share this commit, but whoever waits for this one waits now.
        if self.flush().await? && self.state.machine.turn().is_none() {
            self.see_to_title(&ended);
            self.own.clear();
            self.unknown.clear();
            self.not_undone.clear();
            self.request = None;
            for input in &self.state.heard {
                self.configs.remove(input);
            }
            if let Some(deadline) = self.deadline.take() {
                deadline.abort();
            }
            self.keep_snapshot().await;
        }
        Ok(())
    }

    fn arm_deadline(&mut self) {
        let Some(turn) = self.state.machine.turn() else { return };
        let number = turn.number;
        if let (Some(at), true) = (turn.deadline(), self.deadline_of != number) {
            self.deadline_of = number;
            let (sleep, tx) = (self.rt.parts.env.sleep_until(at), self.tx.clone());
            let task = tokio::spawn(async move {
                sleep.await;
                // A driver that is gone needs no deadline.
                let _ = tx.send(Msg::Deadline { turn: number });
            });
            self.deadline = Some(task.abort_handle());
        }
    }

    /// Answers waits whose time is over. Nothing sleeps for them: a driver looks when it looks at the log, and one that
    /// comes to a parked session looks first. `false`: another process drives now.
    async fn end_overdue_waits(&mut self) -> Result<bool, RuntimeError> {
        if self.overdue_waits().is_empty() {
            return Ok(true);
        }
        if !self.flush().await? {
            return Ok(false);
        }
        for wait in self.overdue_waits() {
            let (at, turn) = (self.rt.parts.env.now(), Some(self.state.machine.turns()));
            let step = self.state.machine.turn().map(|turn| turn.steps());
            let (id, by) = (resolution_id(&wait), "deadline".into());
            let body = Body::WaitResolved { wait, ruling: Ruling::Timeout, by, early: false };
            // In the way in which people answer: of all answers to a wait the store takes one.
            match self.append_for_others(id, vec![Draft { at, turn, step, body }]).await {
                Ok(receipt) if !receipt.repeated => {}
                Ok(_) | Err(LogError::Conflict { .. }) => self.catch_up().await?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    fn overdue_waits(&self) -> Vec<WaitId> {
        let Some(turn) = self.state.machine.turn().filter(|turn| !turn.is_ending()) else {
            return Vec::new();
        };
        let now = self.rt.parts.env.now();
        let overdue = turn.waits().filter(|(_, deadline)| deadline.is_some_and(|at| at <= now));
        overdue.map(|(wait, _)| wait.clone()).collect()
    }

    async fn load(&mut self) -> Result<(), RuntimeError> {
        self.state = State::load(&self.rt.parts.log, &self.id).await?;
        self.prompt = None;
        self.rules = None;
        self.request = None;
        self.cache = EncodeCache::default();
        self.refresh_view();
        Ok(())
    }

    /// After a commit that may have taken longer than our lease holds: somebody else may lead by now, and have found that
    /// what was to be started is in doubt. What is still ours then is started under a new lease.
    async fn still_leads(&mut self) -> Result<bool, RuntimeError> {
        if self.holds_lease() { Ok(true) } else { self.try_lease(None).await }
    }

    /// Whether our lease holds by our clock.
    fn holds_lease(&self) -> bool {
        self.rt.parts.env.now() < self.leased_until.load(Ordering::Acquire)
    }

    async fn try_lease(&mut self, takeover: Option<Fence>) -> Result<bool, RuntimeError> {
        let env = &self.rt.parts.env;
        let now = env.now();
        let request =
            LeaseRequest { owner: env.owner(), now, expires: now.saturating_add(LEASE_MS), takeover };
        match self.rt.parts.log.lease(&self.id, request).await {
            Ok(lease) => {
                let led_between = self.fence.is_some_and(|ours| lease.fence != ours + 1);
                self.take_lease(&lease);
                // Whoever held it before may have written since we read.
                let head = self.rt.parts.log.head(&self.id).await?;
                let ours = self.state.head - self.staged.len() as u64;
                if led_between && head.seq != ours {
                    self.start_over().await?;
                } else if self.staged.is_empty() && head.seq != ours {
                    self.catch_up().await?;
                }
                Ok(true)
            }
            Err(LogError::Held { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn take_lease(&mut self, lease: &Lease) {
        self.fence = Some(lease.fence);
        self.leased_until.store(lease.expires, Ordering::Release);
        self.renew_at = self.rt.parts.env.now().saturating_add(RENEW_MS);
    }

    /// Somebody else led since: nothing that was under way or staged here counts, and nothing of it is ours.
    async fn start_over(&mut self) -> Result<(), RuntimeError> {
        self.stop_effects();
        self.forget_staged();
        self.watched.clear();
        self.seen_to.clear();
        self.own.clear();
        // Whoever leads now asks for the same call, and that is what is held then.
        self.held.clear();
        self.unknown.clear();
        self.not_undone.clear();
        let before = self.shown;
        self.load().await?;
        self.show_from_log(before).await
    }

    fn stop_effects(&mut self) {
        for (_, flight) in self.inflight.drain() {
            flight.cancel.cancel();
            flight.task.abort();
        }
        self.ready.clear();
        self.early.drop_all();
        self.unwatch_children();
        self.hooking.stop();
        if let Some(deadline) = self.deadline.take() {
            deadline.abort();
        }
        self.deadline_of = 0;
    }

    /// What was folded so far is in the log: observers read it there.
    fn show_as_durable(&mut self) {
        self.shown = self.state.head;
        self.shared.hub.settle(Vec::new(), self.state.head, self.rt.parts.env.now());
    }

    fn refresh_view(&mut self) {
        let world = &self.state.folded.world;
        let children = world.children.values().map(|child| (child.last.clone(), child.end.clone()));
        self.view = Arc::new(SessionView {
            files: world.files.clone(),
            todos: world.todos.clone(),
            children: children.collect(),
            goal: world.goal.held().map(|held| GoalView {
                id: held.goal.id.clone(),
                objective: held.goal.objective.clone(),
                status: held.status,
                why: held.why.clone(),
                token_budget: held.goal.token_budget,
                tokens: held.tokens,
            }),
            deferred: Vec::new(),
            untrusted: self.state.strangers.clone(),
            strangers: self.state.heard_strangers,
        });
    }

    fn model_key(&self, key: &EffectKey) -> bool {
        matches!(key.kind, EffectKind::Model | EffectKind::Compact | EffectKind::Judge)
    }
}

/// What a panic said.
pub(crate) fn told_by(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
