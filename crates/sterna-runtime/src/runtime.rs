//! The runtime's face: identity lives outside the run. Submit, steer, cancel, answer and observe are O(1) and never
//! wait for a running turn.

mod drivers;
mod goal;
mod modes;
mod results;
mod untaken;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde_json::json;
use sterna_log::{Append, Expect, Lease, LeaseRequest, LogError, Receipt, is_reserved};
use sterna_model::{
    Body, Delivery, Digest, Draft, HookEvent, InputAccepted, InputPart, Parent, Record, Route, RuleText, Seq,
    SessionId, SessionOpened, Spawned, TurnNo,
};
use sterna_policy::Rule;
use sterna_turn::TurnMachine;
use tokio::sync::oneshot;

use crate::breakers::{Breakers, OpenBreaker};
use crate::budget::Budgets;
use crate::driver::{Configs, Msg, Opening, Start};
use crate::folded::{Folded, Kept};
use crate::resident::Residents;
use crate::shared::Shared;
use crate::state::State;
use crate::{Observer, Parts, RuntimeError, TurnConfig, files, snapshot};

/// One process's runtime. Cheap to clone.
#[derive(Clone)]
pub struct Runtime(pub(crate) Arc<Inner>);

/// An input on its way.
pub struct Submit {
    /// `None`: a new session.
    pub session: Option<SessionId>,
    /// Idempotency key: the same key in the same session makes one turn, however often it is sent.
    pub key: Option<String>,
    pub parts: Vec<InputPart>,
    pub delivery: Delivery,
    /// The surface it comes through.
    pub origin: String,
    /// What a turn is given that starts here.
    pub config: TurnConfig,
    /// Somebody will observe: live events are kept from the beginning.
    pub live: bool,
    /// Only accept; another call or process drives.
    pub drive: bool,
}

/// A durable input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    pub session: SessionId,
    /// The input's record.
    pub input: Seq,
    /// It was accepted before, under the same key.
    pub repeated: bool,
    /// This submission opened the session.
    pub opened: bool,
}

pub(crate) struct Inner {
    pub parts: Parts,
    sessions: Mutex<HashMap<SessionId, Weak<Shared>>>,
    prompts: Mutex<HashSet<Digest>>,
    pub residents: Residents,
    rules: Mutex<Option<(Vec<RuleText>, Arc<Vec<Rule>>)>>,
    /// Turns of children in the background whose end is awaited here.
    pub background: Mutex<HashSet<(SessionId, Seq)>>,
    draining: AtomicBool,
    pub snapshot_every: AtomicU64,
    pub breakers: Arc<Breakers>,
    pub budgets: Budgets,
    /// Machines of sessions, for those who act on them from outside.
    pub folded: Kept,
}

impl Runtime {
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(Inner {
            parts,
            sessions: Mutex::default(),
            prompts: Mutex::default(),
            residents: Residents::default(),
            rules: Mutex::default(),
            background: Mutex::default(),
            draining: AtomicBool::new(false),
            snapshot_every: AtomicU64::new(snapshot::EVERY),
            breakers: Arc::default(),
            budgets: Budgets::default(),
            folded: Kept::default(),
        }))
    }

    pub fn parts(&self) -> &Parts {
        &self.0.parts
    }

    /// Waits until nobody drives the session here: what a driver does after its turn's result is done.
    pub async fn rest(&self, session: &SessionId) {
        let shared = self.0.shared(session);
        let mut changed = shared.changes();
        loop {
            changed.borrow_and_update();
            if !shared.is_driven() {
                return;
            }
            // The sender lives as long as `shared`.
            let _ = changed.changed().await;
        }
    }

    /// After the turn of this input no other turn of its session is begun here: what waits is for whoever drives it next.
    /// `resume`, and a later input of which the same is said, go on.
    pub fn end_after(&self, session: &SessionId, input: Seq) {
        self.0.shared(session).end_after(input);
    }

    /// From now on a turn's end leaves a snapshot after so many records, where it is 256 otherwise. `u64::MAX`: never.
    pub fn snapshot_every(&self, records: u64) {
        self.0.snapshot_every.store(records, Ordering::Relaxed);
    }

    /// Routes to which nothing is sent now, because they failed too often. All sessions of the process share them.
    pub fn open_breakers(&self) -> Vec<OpenBreaker> {
        self.0.breakers.open()
    }

    /// Makes an input durable, then drives its session. The input survives any crash from here on.
    ///
    /// Errors: `LogError::Conflict` when the key was used for other content, `LogError::Tombstone` for a deleted id.
    pub async fn submit(&self, submit: Submit) -> Result<Accepted, RuntimeError> {
        self.accept(submit, None).await
    }

    /// Asks for a compaction: a turn of its own, which says nothing to the model. `focus` is what a summary keeps above
    /// all. Like any input it survives a crash, waits for the turn that runs, and can be cancelled.
    pub async fn compact(
        &self,
        session: &SessionId,
        focus: &str,
        config: TurnConfig,
        origin: &str,
    ) -> Result<Accepted, RuntimeError> {
        // It makes no session.
        self.0.parts.log.head(session).await?;
        let submit = Submit {
            session: Some(session.clone()),
            key: None,
            parts: Vec::new(),
            delivery: Delivery::NextTurn,
            origin: origin.to_owned(),
            config,
            live: true,
            drive: true,
        };
        self.accept(submit, Some(focus.trim().to_owned())).await
    }

    async fn accept(&self, submit: Submit, compact: Option<String>) -> Result<Accepted, RuntimeError> {
        let env = &self.0.parts.env;
        let (id, fresh) = match &submit.session {
            Some(id) => (id.clone(), false),
            None => (env.new_session_id(), true),
        };
        if is_reserved(&id) {
            return Err(RuntimeError::Refused(format!("`{id}` is the name of a log that is no session's")));
        }
        files::check(&submit.parts, &self.0.parts.blobs).await?;
        let shared = self.0.shared(&id);
        if submit.live {
            shared.hub.activate();
        }
        let nonce = || format!("once:{}", env.new_session_id());
        let append_id = submit.key.as_ref().map_or_else(nonce, |key| format!("input:{key}"));
        let mut input = Draft {
            at: env.now(),
            turn: None,
            step: None,
            body: Body::InputAccepted(InputAccepted {
                key: submit.key.clone(),
                delivery: submit.delivery,
                parts: submit.parts.clone(),
                origin: submit.origin.clone(),
                given: Some(Box::new(submit.config.given.clone())),
                ended: None,
                compact,
                tainted: Vec::new(),
            }),
        };
        crate::secrets::clean(&mut input.body, &self.0.parts.secrets.of(&id));
        if fresh && submit.key.is_none() && submit.drive {
            if let Some(accepted) = self.open_driven(&shared, &append_id, &input, &submit).await {
                return Ok(accepted);
            }
            // The driver could not begin: the input is kept all the same, and whoever waits is told why.
            let receipt = self.open(&id, &append_id, &input, &submit, &mut None).await?;
            return Ok(Accepted { session: id, input: receipt.last, repeated: false, opened: true });
        }
        let mut opened = None;
        let receipt = if fresh {
            self.open(&id, &append_id, &input, &submit, &mut opened).await?
        } else {
            let config = submit.drive.then_some(&submit.config);
            match self.append_with(&shared, &append_id, vec![input.clone()], config).await {
                Err(RuntimeError::Log(error)) if matches!(*error, LogError::NotFound(_)) => {
                    match self.open(&id, &append_id, &input, &submit, &mut opened).await {
                        // Creating an id that another just created is opening it.
                        Err(RuntimeError::Log(error)) if matches!(*error, LogError::Exists(_)) => {
                            self.append_with(&shared, &append_id, vec![input], config).await?
                        }
                        other => other?,
                    }
                }
                other => other?,
            }
        };
        let accepted = Accepted {
            session: id,
            input: receipt.last,
            repeated: receipt.repeated,
            opened: opened.is_some(),
        };
        if submit.drive {
            let input = (!accepted.repeated).then_some(accepted.input);
            self.0.spawn(&shared, input, submit.config, opened);
        }
        Ok(accepted)
    }

    /// Drives a session on: an interrupted turn, or inputs that wait. Recovery runs first.
    pub fn resume(&self, session: &SessionId, config: TurnConfig) {
        let shared = self.0.shared(session);
        shared.end_after(0);
        self.0.spawn(&shared, None, config, None);
    }

    /// Events of records after `seen`, then what is live. `seen` 0: from the beginning.
    pub fn observe(&self, session: &SessionId, seen: Seq) -> Observer {
        Observer::new(self.0.parts.log.clone(), session.clone(), self.0.shared(session), seen)
    }

    /// Asks the running turn to end. The first request counts; what was said so far is kept.
    pub async fn cancel(&self, session: &SessionId, by: &str, reason: &str) -> Result<Receipt, RuntimeError> {
        let mut folded = self.folded(session).await?;
        let turn = folded.machine().turn().ok_or_else(|| RuntimeError::NoTurn(session.clone()))?.number;
        let request = self.0.parts.env.new_session_id().to_string();
        let body = Body::CancelRequested { turn, request, by: by.into(), reason: reason.into() };
        // The first of many cancels gives the receipt of all.
        let id = format!("cancel:{turn}");
        match self.append(&self.0.shared(session), &id, vec![self.draft(Some(turn), body)]).await {
            // Another cancel came first: this one has the same effect.
            Err(RuntimeError::Log(error)) if matches!(*error, LogError::Conflict { .. }) => {
                self.first_cancel(session, &mut folded, turn).await?.ok_or(RuntimeError::Log(error))
            }
            other => other,
        }
    }

    /// Takes back inputs that no turn has taken.
    pub async fn withdraw(
        &self,
        session: &SessionId,
        inputs: Vec<Seq>,
        by: &str,
    ) -> Result<Receipt, RuntimeError> {
        let mut folded = self.untaken(session, &inputs).await?;
        let body = Body::InputWithdrawn { inputs: inputs.clone(), by: by.into() };
        let receipt = self.append_one(session, body).await?;
        self.was_untaken(session, &mut folded, &inputs, receipt).await
    }

    /// Replaces the text of an input that no turn has taken.
    pub async fn edit(
        &self,
        session: &SessionId,
        input: Seq,
        parts: Vec<InputPart>,
        by: &str,
    ) -> Result<Receipt, RuntimeError> {
        files::check(&parts, &self.0.parts.blobs).await?;
        let mut folded = self.untaken(session, &[input]).await?;
        let receipt = self.append_one(session, Body::InputEdited { input, parts, by: by.into() }).await?;
        self.was_untaken(session, &mut folded, &[input], receipt).await
    }

    /// Changes the route from the next turn on.
    pub async fn set_route(
        &self,
        session: &SessionId,
        route: Route,
        cause: &str,
    ) -> Result<Receipt, RuntimeError> {
        let change = json!({ "key": "model", "value": route.to_string(), "by": cause });
        self.ask_outside(session, HookEvent::ConfigChange, "model", change).await?;
        self.append_one(session, Body::RouteChanged { route, cause: cause.into(), turn: None }).await
    }

    pub async fn set_title(
        &self,
        session: &SessionId,
        title: &str,
        by: &str,
    ) -> Result<Receipt, RuntimeError> {
        self.append_one(session, Body::TitleSet { title: title.into(), by: by.into(), made: None }).await
    }

    pub async fn close(&self, session: &SessionId, by: &str) -> Result<Receipt, RuntimeError> {
        let receipt = self.append_one(session, Body::SessionClosed { by: by.into() }).await?;
        self.tell_outside(session, HookEvent::SessionEnd, "", json!({ "by": by })).await?;
        Ok(receipt)
    }

    /// A new session that shares the history of `parent` up to `seq` (`None`: all of it). Nothing is copied.
    pub async fn fork(
        &self,
        parent: &SessionId,
        seq: Option<Seq>,
        id: Option<SessionId>,
    ) -> Result<SessionId, RuntimeError> {
        let log = &self.0.parts.log;
        let head = log.head(parent).await?;
        let seq = seq.unwrap_or(head.seq);
        if seq == 0 || seq > head.seq {
            return Err(RuntimeError::Refused(format!(
                "session `{parent}` has records 1 to {}, not {seq}",
                head.seq
            )));
        }
        let at = log.read(parent, seq, 1).await?;
        let hash = at.first().map(|sealed| sealed.hash).ok_or_else(|| LogError::NotFound(parent.clone()))?;
        let state = State::load(log, parent).await?;
        let Some(opened) = state.machine.session().cloned() else {
            return Err(LogError::NotFound(parent.clone()).into());
        };
        let id = id.unwrap_or_else(|| self.0.parts.env.new_session_id());
        let fork = SessionOpened {
            id: id.clone(),
            parent: Some(Parent { session: parent.clone(), seq, hash }),
            route: state.machine.route().cloned().unwrap_or(opened.route),
            mode: state.machine.mode(),
            root: opened.root,
            cwd: opened.cwd,
            sterna: VERSION.into(),
            spawned: opened.spawned,
        };
        let append = Append {
            session: id.clone(),
            expect: Expect::New(None),
            id: format!("open:{id}"),
            records: vec![self.draft(None, Body::SessionOpened(fork))],
            blobs: Vec::new(),
        };
        log.append(append).await?;
        Ok(id)
    }

    /// Starts no new step anywhere, lets tools settle, and returns when every driver has stopped. From then on this
    /// runtime accepts inputs and drives none.
    pub async fn drain(&self) {
        self.0.draining.store(true, Ordering::Release);
        let live: Vec<Arc<Shared>> = self.0.lock_sessions().values().filter_map(Weak::upgrade).collect();
        for shared in &live {
            if let Some(tx) = &*shared.lock_tx() {
                // A driver that is gone has drained.
                let _ = tx.send(Msg::Drain);
            }
        }
        for shared in live {
            let mut changed = shared.changes();
            while shared.is_driven() {
                let _ = changed.changed().await;
                changed.borrow_and_update();
            }
        }
    }

    /// Opens a session together with its first turn's first records: one commit instead of two.
    async fn open_driven(
        &self,
        shared: &Arc<Shared>,
        append_id: &str,
        input: &Draft,
        submit: &Submit,
    ) -> Option<Accepted> {
        let (reply, opened) = oneshot::channel();
        let opening = Opening {
            id: append_id.to_owned(),
            records: self.opening_records(&shared.id, input, &submit.config, None),
            lease: self.lease_request(),
            reply,
        };
        self.0.spawn_with(shared, submit.config.clone(), Configs::new(), Start::Unwritten(opening));
        opened.await.ok()?;
        Some(Accepted { session: shared.id.clone(), input: 2, repeated: false, opened: true })
    }

    /// A session's first record, and the input that it is opened for.
    pub(crate) fn opening_records(
        &self,
        id: &SessionId,
        input: &Draft,
        config: &TurnConfig,
        spawned: Option<Box<Spawned>>,
    ) -> Vec<Draft> {
        let body = Body::SessionOpened(SessionOpened {
            id: id.clone(),
            parent: None,
            root: config.root.clone(),
            cwd: config.cwd.clone(),
            route: config.route.clone(),
            mode: config.mode,
            sterna: VERSION.into(),
            spawned,
        });
        vec![self.draft(None, body), input.clone()]
    }

    fn lease_request(&self) -> LeaseRequest {
        let env = &self.0.parts.env;
        let now = env.now();
        let expires = now.saturating_add(crate::driver::LEASE_MS);
        LeaseRequest { owner: env.owner(), now, expires, takeover: None }
    }

    async fn open(
        &self,
        id: &SessionId,
        append_id: &str,
        input: &Draft,
        submit: &Submit,
        opened: &mut Option<(State, Lease)>,
    ) -> Result<Receipt, RuntimeError> {
        let records = self.opening_records(id, input, &submit.config, None);
        let lease = submit.drive.then(|| self.lease_request());
        let append = Append {
            session: id.clone(),
            expect: Expect::New(lease),
            id: append_id.to_owned(),
            records: records.clone(),
            blobs: Vec::new(),
        };
        let receipt = self.0.parts.log.append(append).await?;
        if let Some(lease) = receipt.lease.clone() {
            let mut state = State::default();
            for (draft, seq) in records.into_iter().zip(receipt.first..) {
                state.apply(&draft.at_seq(seq))?;
            }
            *opened = Some((state, lease));
        }
        Ok(receipt)
    }

    pub(crate) async fn append_one(&self, session: &SessionId, body: Body) -> Result<Receipt, RuntimeError> {
        let id = format!("once:{}", self.0.parts.env.new_session_id());
        self.append(&self.0.shared(session), &id, vec![self.draft(None, body)]).await
    }

    pub(crate) async fn append(
        &self,
        shared: &Arc<Shared>,
        id: &str,
        records: Vec<Draft>,
    ) -> Result<Receipt, RuntimeError> {
        self.append_with(shared, id, records, None).await
    }

    /// Through the driver when it is here, else straight to the log. With what a turn that starts of it is given.
    async fn append_with(
        &self,
        shared: &Arc<Shared>,
        id: &str,
        mut records: Vec<Draft>,
        config: Option<&TurnConfig>,
    ) -> Result<Receipt, RuntimeError> {
        let secrets = self.0.parts.secrets.of(&shared.id);
        records.iter_mut().for_each(|draft| crate::secrets::clean(&mut draft.body, &secrets));
        let (reply, answer) = oneshot::channel();
        let sent = match &*shared.lock_tx() {
            Some(tx) => {
                let (id, records, config) = (id.to_owned(), records.clone(), config.cloned().map(Box::new));
                tx.send(Msg::Append { id, records, config, reply }).is_ok()
            }
            None => false,
        };
        if sent && let Ok(appended) = answer.await {
            return Ok(appended?);
        }
        let append = Append {
            session: shared.id.clone(),
            expect: Expect::Any,
            id: id.to_owned(),
            records,
            blobs: Vec::new(),
        };
        Ok(self.0.parts.log.append(append).await?)
    }

    async fn first_cancel(
        &self,
        session: &SessionId,
        folded: &mut Folded,
        of: TurnNo,
    ) -> Result<Option<Receipt>, RuntimeError> {
        let mut first = folded.places().cancel(of);
        let look = |_: &TurnMachine, record: &Record| {
            if matches!(&record.body, Body::CancelRequested { turn, .. } if *turn == of) {
                first.get_or_insert(record.seq);
            }
        };
        self.read_on(folded, look).await?;
        let Some(seq) = first else { return Ok(None) };
        let read = self.0.parts.log.read(session, seq, 1).await?;
        Ok(read.first().map(|sealed| Receipt {
            first: seq,
            last: seq,
            hash: sealed.hash,
            repeated: true,
            lease: None,
        }))
    }

    pub(crate) fn draft(&self, turn: Option<u64>, body: Body) -> Draft {
        Draft { at: self.0.parts.env.now(), turn, step: None, body }
    }
}

impl Inner {
    /// Rules parsed once for as long as they stay the same.
    pub fn rules(&self, texts: &[RuleText]) -> Result<Arc<Vec<Rule>>, RuntimeError> {
        let mut held = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, rules)) = &*held
            && of == texts
        {
            return Ok(rules.clone());
        }
        let parse = |text: &RuleText| {
            Rule::parse(text)
                .map_err(|e| RuntimeError::Refused(format!("{}: rule `{}`: {e}", text.source, text.text)))
        };
        let mut rules: Vec<Rule> = texts.iter().map(parse).collect::<Result<_, _>>()?;
        rules.extend(sterna_policy::builtin_rules());
        let rules = Arc::new(rules);
        *held = Some((texts.to_vec(), rules.clone()));
        Ok(rules)
    }

    /// The children's environment with git's own programs switched off.
    pub fn quiet_git(&self, env: &BTreeMap<String, String>) -> Arc<BTreeMap<String, String>> {
        let quiet =
            sterna_policy::QUIET_GIT.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Arc::new(env.iter().map(|(name, value)| (name.clone(), value.clone())).chain(quiet).collect())
    }

    /// Whether this process knows the prompt to be in the store.
    pub fn is_stored(&self, prompt: &Digest) -> bool {
        self.prompts.lock().unwrap_or_else(PoisonError::into_inner).contains(prompt)
    }

    /// The prompt's parts are durable: nobody needs to send them again.
    pub fn stored(&self, prompt: Digest) {
        self.prompts.lock().unwrap_or_else(PoisonError::into_inner).insert(prompt);
    }

    /// What this process believed to be stored may have been collected.
    pub fn forget_stored(&self) {
        self.prompts.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// The version that is written into a session's first record.
const VERSION: &str = env!("CARGO_PKG_VERSION");
