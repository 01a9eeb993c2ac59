//! Whoever acts: workers that are born, die and are born again, people who send, steer, cancel, withdraw, answer and
//! watch; and the end, when faults stop and everything must settle.

use std::future::Future;
use std::sync::{Arc, Mutex};

use sterna_context::{Template, builtin_sections};
use sterna_model::*;
use sterna_runtime::*;
use sterna_turn::Next;

use crate::dice::lane_of;
use crate::model::SimModel;
use crate::store::SimLog;
use crate::tools::{FORBIDDEN, SIGNALS, toolbox};
use crate::world::{Life, SimEnv, Submitted, Watch, World};

/// A process.
#[derive(Clone)]
pub struct Worker {
    pub life: Arc<Life>,
    pub runtime: Runtime,
}

pub struct People {
    pub world: Arc<World>,
    slots: Mutex<Vec<Option<Worker>>>,
    prompt: PromptSource,
    /// Waits for results that have not come back, by worker.
    waiting: Mutex<Vec<(Arc<Life>, SessionId, Seq)>>,
    /// Sendings of keyed inputs that are not through.
    pending: Mutex<usize>,
}

/// How long the end may take, in milliseconds of the world.
const SETTLED_WITHIN: u64 = 1_200_000;

/// Lives a world to its end.
pub async fn live(world: Arc<World>) -> Arc<People> {
    let workers = 1 + world.dice.pick("workers", 0, &[1, 2]);
    let people = Arc::new(People {
        world: world.clone(),
        slots: Mutex::new(vec![None; workers]),
        prompt: PromptSource::new(builtin_sections(Template::Main)),
        waiting: Mutex::default(),
        pending: Mutex::default(),
    });
    for slot in 0..workers {
        people.bear(slot);
        tokio::spawn(people.clone().keep_alive(slot));
    }
    let sessions = 1 + world.dice.pick("sessions", 0, &[3, 1]) as u64;
    let span = 500 + world.dice.below("span", 0, 40_000);
    let actions = 3 + world.dice.below("actions", 0, 14);
    for n in 0..actions {
        let at = if n == 0 { 0 } else { world.dice.below("action.at", n, span) };
        let people = people.clone();
        tokio::spawn(async move {
            people.world.sleep(at).await;
            people.act(n, sessions).await;
        });
    }
    world.sleep(span + 1_000 + world.dice.below("tail", 0, 20_000)).await;
    world.tell(|| "from now on nothing fails".into());
    world.dice.calm_down();
    people.settle().await;
    people
}

impl People {
    fn bear(&self, slot: usize) -> Worker {
        let life = self.world.born(slot);
        let log = Arc::new(SimLog { world: self.world.clone(), life: life.clone() });
        let parts = Parts {
            checkpoints: None,
            secrets: sterna_runtime::Secrets::default(),
            hooks: None,
            levels: None,
            memory: None,
            worktrees: None,
            log,
            blobs: self.world.inner.clone(),
            provider: Arc::new(SimModel { world: self.world.clone(), life: life.clone() }),
            env: Arc::new(SimEnv { world: self.world.clone(), life: life.clone() }),
            tools: Toolbox::new(toolbox(&self.world, &life)),
        };
        self.world.tell(|| format!("{} lives", life.name));
        let worker = Worker { life, runtime: Runtime::new(parts) };
        worker.runtime.snapshot_every(1 + slot as u64);
        self.slots.lock().unwrap()[slot] = Some(worker.clone());
        worker
    }

    /// A worker that dies is followed by another, which drives on what is unfinished.
    async fn keep_alive(self: Arc<Self>, slot: usize) {
        let lane = slot as u64;
        loop {
            let worker = self.slots.lock().unwrap()[slot].clone();
            let Some(worker) = worker else { return };
            let dies = self.world.dice.fault("kill", lane, 250);
            let after = 50 + self.world.dice.below("kill.after", lane, 20_000);
            tokio::select! {
                biased;
                () = worker.life.death.cancelled() => {}
                () = self.world.sleep(after) => {
                    if dies && !self.world.dice.is_calm() {
                        self.world.kill(&worker.life, "by kill");
                    } else {
                        self.resume_all(&worker, lane);
                        continue;
                    }
                }
            }
            self.slots.lock().unwrap()[slot] = None;
            self.world.sleep(1 + self.world.dice.below("rebirth", lane, 5_000)).await;
            let worker = self.bear(slot);
            self.resume_all(&worker, lane);
        }
    }

    fn resume_all(&self, worker: &Worker, lane: u64) {
        for id in self.world.session_ids() {
            if self.world.dice.pick("resume", lane, &[3, 1]) == 0 {
                worker.runtime.resume(&id, self.config(lane));
            }
        }
    }

    fn a_worker(&self, lane: u64) -> Option<Worker> {
        let slots = self.slots.lock().unwrap();
        let living: Vec<&Worker> = slots.iter().flatten().filter(|worker| !worker.life.is_dead()).collect();
        let at = self.world.dice.below("which.worker", lane, living.len() as u64);
        living.get(at as usize).map(|worker| Worker::clone(worker))
    }

    async fn act(self: Arc<Self>, n: u64, sessions: u64) {
        let dice = &self.world.dice;
        let session = SessionId::new(&format!("s{}", dice.below("action.session", n, sessions))).unwrap();
        let what =
            if n == 0 { 1 } else { dice.pick("action", n, &[10, 60, 25, 12, 8, 30, 20, 6, 3, 6, 25, 30]) };
        let Some(worker) = self.a_worker(n) else { return };
        let runtime = worker.runtime.clone();
        match what {
            1 => self.submit(n, session, Delivery::NextTurn).await,
            2 => {
                let late = dice.below("action.delivery", n, 2) == 0;
                let delivery = if late { Delivery::BeforeCompletion } else { Delivery::AfterWork };
                self.submit(n, session, delivery).await;
            }
            3 => {
                self.world.tell(|| format!("cancel {session}"));
                // Nothing may run.
                while_alive(&worker, runtime.cancel(&session, "person", "enough")).await;
            }
            4 => {
                let first =
                    self.world.look(&session, |seen| seen.machine.waiting().map(|(seq, _)| seq).next());
                let Some(input) = first else { return };
                let done = while_alive(&worker, runtime.withdraw(&session, vec![input], "person")).await;
                if let Some(Ok(_)) = done {
                    self.world.tell(|| format!("{session}: {input} is withdrawn"));
                    self.world.facts().withdrawn.push((session, input));
                }
            }
            5 => self.answer(&worker, &session, n).await,
            6 => {
                let seen = match dice.below("watch.from", n, 2) {
                    0 => 0,
                    _ => dice.below("watch.seen", n, self.world.head(&session) + 1),
                };
                let slow = dice.below("watch.slow", n, 3) == 0;
                self.watch(&worker, session, seen, slow).await;
            }
            7 if sessions == 1 => {
                self.world.tell(|| format!("{} drains", worker.life.name));
                if while_alive(&worker, runtime.drain()).await.is_some() {
                    self.world.kill(&worker.life, "drained");
                }
            }
            8 => {
                while_alive(&worker, runtime.set_mode(&session, Mode::Ask, "person")).await;
            }
            9 => runtime.resume(&session, self.config(n)),
            10 => self.answer_early(&worker, &session, n).await,
            11 => {
                let name = SIGNALS[dice.below("signal.name", n, SIGNALS.len() as u64) as usize];
                self.signal(&worker, &session, name).await;
            }
            _ => {}
        }
    }

    async fn submit(self: &Arc<Self>, n: u64, session: SessionId, delivery: Delivery) {
        let dice = &self.world.dice;
        let keyed = dice.below("submit.keyed", n, 2) == 0;
        // Some keys are used twice, for the same words.
        let name = if keyed { dice.below("submit.key", n, 6) } else { n };
        // No two sessions hear the same: a request tells where it comes from.
        let text = if keyed { format!("keyed {name} {session}") } else { format!("input {n} {session}") };
        let key = keyed.then(|| format!("k{name}"));
        let delivery = if keyed { Delivery::NextTurn } else { delivery };
        let at = {
            let mut facts = self.world.facts();
            let (session, key, text) = (session.clone(), key.clone(), text.clone());
            facts.submits.push(Submitted { session, key, text, accepted: None, sure: keyed });
            facts.submits.len() - 1
        };
        let live = dice.below("submit.live", n, 2) == 0;
        let drive = dice.pick("submit.undriven", n, &[9, 1]) == 0;
        *self.pending.lock().unwrap() += usize::from(keyed);
        loop {
            if let Some(worker) = self.a_worker(n) {
                let submit = Submit {
                    session: Some(session.clone()),
                    key: key.clone(),
                    parts: vec![InputPart::Text(text.clone())],
                    delivery,
                    origin: "sim".into(),
                    config: self.config(n),
                    live,
                    drive,
                };
                self.world.tell(|| format!("{} is sent `{text}` for {session}", worker.life.name));
                let sent = while_alive(&worker, worker.runtime.submit(submit)).await;
                match sent {
                    Some(Ok(accepted)) => {
                        self.world.facts().submits[at].accepted = Some(accepted.input);
                        *self.pending.lock().unwrap() -= usize::from(keyed);
                        tokio::spawn(self.clone().wait_for(worker, session, accepted.input));
                        return;
                    }
                    Some(Err(error)) => self.world.tell(|| format!("`{text}` is refused: {error}")),
                    None => {}
                }
            }
            if !keyed {
                return;
            }
            // Not known whether it came: the same key makes it safe to send again.
            self.world.sleep(200 + dice.below("submit.again", n, 3_000)).await;
        }
    }

    async fn wait_for(self: Arc<Self>, worker: Worker, session: SessionId, input: Seq) {
        self.waiting.lock().unwrap().push((worker.life.clone(), session.clone(), input));
        let result = while_alive(&worker, worker.runtime.result(&session, input)).await;
        let mut waiting = self.waiting.lock().unwrap();
        let found =
            waiting.iter().position(|(life, s, i)| life.id == worker.life.id && *s == session && *i == input);
        found.map(|at| waiting.remove(at));
        drop(waiting);
        match result {
            Some(Ok(result)) => self.is_true(&session, input, &result),
            Some(Err(error @ (RuntimeError::Panicked(_) | RuntimeError::Fold { .. }))) => {
                self.world.wrong(format!("{session}: {error}"));
            }
            Some(Err(error)) => self.world.tell(|| format!("the result of {input} is {error}")),
            None => {}
        }
    }

    /// What somebody is told of a turn is what its log says.
    fn is_true(&self, session: &SessionId, input: Seq, result: &ResultEvent) {
        self.world.tell(|| format!("the result of {session}:{input} is {}", result.outcome));
        if matches!(result.outcome, "parked" | "drained") {
            return;
        }
        let said = self.world.look(session, |seen| {
            seen.records.iter().find_map(|record| match &record.body {
                Body::TurnCommitted(committed) if record.turn == Some(result.turn) => {
                    Some(committed.outcome.clone())
                }
                _ => None,
            })
        });
        let fits = match &said {
            Some(TurnOutcome::Finished { message, .. }) => {
                result.outcome == "finished" && result.message.as_ref() == Some(message)
            }
            Some(TurnOutcome::Stopped { reason, .. }) => {
                result.outcome == "stopped" && result.stop == Some(*reason)
            }
            None => false,
        };
        if !fits {
            self.world.wrong(format!("{session}:{input} is told {result:?}, and the log says {said:?}"));
        }
    }

    async fn answer(&self, worker: &Worker, session: &SessionId, lane: u64) {
        let waits = self.world.look(session, |seen| match seen.machine.next() {
            Next::Wait(waits) => waits,
            _ => Vec::new(),
        });
        for wait in waits {
            let on = self.world.look(session, |seen| {
                seen.records.iter().find_map(|record| match &record.body {
                    Body::WaitOpened(opened) if opened.wait == wait => Some(opened.on.clone()),
                    _ => None,
                })
            });
            let ended = self.world.dice.pick("answer.wake", lane, &[9, 1]) == 1;
            match &on {
                // Time answers it.
                Some(WaitOn::Timer) if !ended => continue,
                Some(WaitOn::Signal { name }) if !ended => {
                    self.signal(worker, session, name).await;
                    continue;
                }
                _ => {}
            }
            let question = matches!(on, Some(WaitOn::Questions(_)));
            let ruling = match self.world.dice.below("answer", lane, 4) {
                0 => Ruling::Deny { feedback: "no".into() },
                // Whoever waits for nobody is told of no time that has not come.
                _ if matches!(on, Some(WaitOn::Timer | WaitOn::Signal { .. })) => {
                    Ruling::Deny { feedback: "enough".into() }
                }
                1 => Ruling::Timeout,
                _ if question => Ruling::Answers(vec!["yes".into()]),
                _ => Ruling::Allow,
            };
            let grant = (self.world.dice.below("answer.grant", lane, 4) == 0).then_some(GrantScope::Once);
            let by = self.somebody();
            let (s, w) = (session.clone(), wait.clone());
            let resolve = Resolve { session: s, wait: w, ruling, grant, by: by.clone() };
            if let Some(Ok(_)) = while_alive(worker, worker.runtime.resolve(resolve)).await {
                self.world.tell(|| format!("{wait} is answered by {by}"));
                self.world.facts().resolved.push((session.clone(), wait, by));
            }
        }
    }

    async fn signal(&self, worker: &Worker, session: &SessionId, name: &str) {
        let by = self.somebody();
        let payload = serde_json::json!(by);
        let told = while_alive(worker, worker.runtime.signal(session, name, &payload, &by)).await;
        if let Some(Ok(_)) = told {
            self.world.tell(|| format!("{session} is sent the signal {name} by {by}"));
            let signal = (session.clone(), name.to_owned(), payload.to_string(), by);
            self.world.facts().signalled.push(signal);
        }
    }

    /// No two who answer are the same: the log tells whose answer counts.
    fn somebody(&self) -> String {
        format!("person {}", self.world.next_id())
    }

    /// Answers with a signed key what may be asked next, or is asked just now.
    async fn answer_early(&self, worker: &Worker, session: &SessionId, lane: u64) {
        let dice = &self.world.dice;
        let (turn, step, calls) = self.world.look(session, |seen| match seen.machine.turn() {
            Some(turn) => {
                let waits: Vec<u32> = turn.calls().iter().map(|call| call.waits).collect();
                (turn.number, turn.steps(), waits)
            }
            None => (seen.machine.turns() + 1, 0, Vec::new()),
        });
        let key = |step: StepNo, ordinal: u32| EffectKey {
            session: session.clone(),
            turn,
            step,
            kind: EffectKind::Tool,
            ordinal,
        };
        let now = calls.iter().zip(0..).map(|(waits, n)| wait_id(&key(step, n), waits + 1));
        // The last that was asked, too: it may be open by now.
        let last = calls.iter().zip(0..).map(|(waits, n)| wait_id(&key(step, n), (*waits).max(1)));
        let next = (0..3).map(|n| wait_id(&key(step + 1, n), 1));
        let asked: Vec<WaitId> = now.chain(last).collect();
        let one = dice.below("early.which", lane, asked.len().max(1) as u64) as usize;
        for wait in next.chain(asked.get(one).cloned()) {
            self.answer_with_key(worker, session, wait, lane).await;
        }
    }

    async fn answer_with_key(&self, worker: &Worker, session: &SessionId, wait: WaitId, lane: u64) {
        let dice = &self.world.dice;
        let ruling = match dice.below("early.ruling", lane, 6) {
            0 => Ruling::Deny { feedback: "no".into() },
            1 => Ruling::Timeout,
            2 | 3 => Ruling::Answers(vec!["yes".into()]),
            _ => Ruling::Allow,
        };
        let Ok(key) = worker.runtime.wait_key(&wait) else {
            self.world.wrong(format!("{wait} has no key"));
            return;
        };
        if dice.below("early.forged", lane, 16) == 0 {
            let forged = key.replacen('/', "/1", 1);
            let told = while_alive(worker, worker.runtime.resolve_key(&forged, ruling, "thief")).await;
            if !matches!(told, None | Some(Err(RuntimeError::ForgedKey))) {
                self.world.wrong(format!("{forged} is taken for a key: {told:?}"));
            }
            return;
        }
        let by = self.somebody();
        let told = while_alive(worker, worker.runtime.resolve_key(&key, ruling, &by)).await;
        if let Some(Ok(_)) = told {
            self.world.tell(|| format!("{wait} is answered by {by} with a key"));
            self.world.facts().resolved.push((session.clone(), wait, by));
        }
    }

    async fn watch(&self, worker: &Worker, session: SessionId, seen: Seq, slow: bool) {
        let mut observer = worker.runtime.observe(&session, seen);
        let at = {
            let mut facts = self.world.facts();
            let (session, life) = (session.clone(), worker.life.clone());
            facts.watches.push(Watch { session, seen, events: Vec::new(), life, partial: slow });
            facts.watches.len() - 1
        };
        while let Some(next) = while_alive(worker, observer.next()).await {
            let Ok(event) = next else {
                self.world.facts().watches[at].partial = true;
                return;
            };
            let head = self.world.head(&session);
            if event.seq > head {
                self.world.wrong(format!("{session}: shown before it is durable at {head}: {event:?}"));
            }
            let back = {
                let mut facts = self.world.facts();
                let events = &mut facts.watches[at].events;
                let back = events.last().is_some_and(|last| last.seq > event.seq);
                events.push(event);
                back
            };
            if back {
                self.world.wrong(format!("{session}: an observer was led back"));
            }
            if slow {
                // Its own clock: in which order observers wake is not known.
                tokio::time::sleep(std::time::Duration::from_millis(700)).await;
            }
        }
    }

    /// Faults have stopped: drives everything on, and answers whatever is asked, until nothing is left to do.
    async fn settle(&self) {
        // What is on its way to the store arrives.
        self.world.sleep(45_000).await;
        let since = self.world.now();
        loop {
            self.world.sleep(1_000).await;
            let Some(worker) = self.a_worker(9_999) else { continue };
            let mut busy = *self.pending.lock().unwrap() > 0;
            for id in self.world.session_ids() {
                let next = self.world.look(&id, |seen| seen.machine.next());
                match next {
                    Next::Idle => continue,
                    // Some of those who are asked never come. Where time answers for them, that must do.
                    Next::Wait(_) => {
                        let nobody =
                            self.world.dice.pick("settle.nobody", lane_of(id.as_str()), &[1, 1]) == 1;
                        if !(nobody && self.world.look(&id, |seen| seen.waits.all_end())) {
                            self.answer(&worker, &id, 9_999).await;
                        }
                    }
                    Next::Start { .. } | Next::Effects(_) | Next::Done(_) => {}
                }
                busy = true;
                worker.runtime.resume(&id, self.config(9_999));
            }
            if !busy {
                break;
            }
            if self.world.now() > since + SETTLED_WITHIN {
                let unsettled: Vec<String> = (self.world.session_ids().iter())
                    .map(|id| format!("{id}: {:?}", self.world.look(id, |seen| seen.machine.next())))
                    .collect();
                self.world.wrong(format!("does not settle: {}", unsettled.join("; ")));
                return;
            }
        }
        // Drivers that have nothing to do leave, and whoever waits is told.
        self.world.sleep(60_000).await;
        let waiting = self.waiting.lock().unwrap().clone();
        for (life, session, input) in waiting {
            if !life.is_dead() {
                self.world.wrong(format!("{} never tells the result of {session}:{input}", life.name));
            }
        }
        self.world.tell(|| "settled".into());
    }

    /// Whoever is alive at the end.
    pub fn last_worker(&self) -> Option<Worker> {
        self.a_worker(10_000)
    }

    fn config(&self, lane: u64) -> TurnConfig {
        let dice = &self.world.dice;
        let mut limits =
            Limits { max_steps: 4 + dice.below("max_steps", lane, 6) as u32, ..Limits::default() };
        match dice.pick("limits", lane, &[60, 8, 8, 8, 8, 8]) {
            1 => limits.deadline = Some(1_000 + dice.below("deadline", lane, 20_000)),
            2 => limits.max_parallel_tools = 1,
            3 => limits.max_tokens = Some(1_000 + dice.below("max_tokens", lane, 9_000)),
            4 => limits.max_cost = Some(500_000 + dice.below("max_cost", lane, 20_000_000)),
            5 => limits.max_consecutive_denials = 1,
            _ => {}
        }
        if dice.pick("max_wait", lane, &[3, 1]) == 1 {
            limits.max_wait = Some(500 + dice.below("max_wait.ms", lane, 15_000));
        }
        let deny = RuleText {
            decision: Decision::Deny,
            text: FORBIDDEN.into(),
            scope: Scope::User,
            source: "sim".into(),
        };
        let given = Given {
            limits,
            rules: vec![deny],
            on_ask: [OnAsk::Deny, OnAsk::Prompt, OnAsk::Fail, OnAsk::Park]
                [dice.pick("on_ask", lane, &[2, 3, 1, 3])],
            in_doubt: [InDoubtPolicy::Report, InDoubtPolicy::Rerun, InDoubtPolicy::Stop, InDoubtPolicy::Ask]
                [dice.pick("in_doubt", lane, &[4, 1, 1, 1])],
            in_doubt_of: match dice.pick("in_doubt_of", lane, &[3, 1]) {
                1 => [("fire".into(), InDoubtPolicy::Rerun), ("mail".into(), InDoubtPolicy::Report)].into(),
                _ => Default::default(),
            },
            ..Given::new("sim/model".parse().unwrap(), "/w")
        };
        TurnConfig::new(given, self.prompt.clone())
    }
}

/// What a person gets from a worker; `None` when the worker died meanwhile.
async fn while_alive<T>(worker: &Worker, asked: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = worker.life.death.cancelled() => None,
        done = asked => Some(done),
    }
}
