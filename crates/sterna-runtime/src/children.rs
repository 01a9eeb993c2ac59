//! Child sessions: made, told, awaited and closed under the key of the call that wants it. A child is an ordinary
//! session with a log of its own; its maker's log holds what it was told, and how that ended.
//!
//! It must never give a child a right that its maker's turn does not have.

use std::path::Path;
use std::sync::{Arc, PoisonError};

use sterna_log::{Append, Expect, LogError};
use sterna_model::{
    Body, ChildEnd, ChildRef, ChildTurn, Delivery, EffectKey, EffectKind, Fact, Given, InputAccepted,
    InputPart, Limits, Millis, Parent, ResultEvent, Seq, SessionId, Spawned, Spent, StopReason, TurnStarted,
};
use sterna_tool::{CALL_TOOL, ChildOp, SpawnChild, TOOL_SEARCH};
use sterna_turn::Next;

use crate::runtime::Inner;
use crate::shared::Shared;
use crate::{Runtime, RuntimeError, State, TurnConfig};

/// What a call wanted of a child session, done.
pub(crate) enum ChildDone {
    /// The call waits for this turn, until then if it says so.
    Await(ChildTurn, Option<Millis>),
    /// The call has its answer.
    Answer { text: String, facts: Vec<Fact> },
    /// It was not done, and why.
    Refused(String),
}

/// What became of a child's turn.
pub(crate) enum ChildSeen {
    Ended(Box<ChildEnd>),
    /// It waits for somebody who is not here: what its result says, and the head of its log then.
    Parked(String, Seq),
}

/// What the maker of a child lends to it.
pub(crate) struct Maker {
    pub key: EffectKey,
    pub turn: Arc<TurnStarted>,
    /// 0 for a session that a person opened.
    pub depth: u32,
    /// The turn's bounds, less what it has used up.
    pub left: Limits,
    /// Who drives the maker, and with what prompt.
    pub config: TurnConfig,
    /// Where the texts of strangers come from that the maker had before it.
    pub tainted: Vec<String>,
}

impl Runtime {
    /// Does what a call wants of a child session. Under the same key it does it once.
    pub(crate) async fn see_to_child(&self, maker: Maker, op: ChildOp) -> Result<ChildDone, RuntimeError> {
        match op {
            ChildOp::Spawn(spawn) => self.spawn_child(maker, *spawn).await,
            ChildOp::Tell { child, text, background } => {
                self.tell_child(maker, child, text, background).await
            }
            ChildOp::Wait { child, timeout_ms } => self.await_child(&maker, child, timeout_ms).await,
            ChildOp::Close { child } => self.close_child(&maker, child).await,
        }
    }

    async fn spawn_child(&self, maker: Maker, spawn: SpawnChild) -> Result<ChildDone, RuntimeError> {
        let depth = maker.depth + 1;
        let deepest = maker.turn.limits.max_child_depth.min(DEEPEST);
        if depth > deepest {
            let text = format!(
                "agents may start agents {deepest} deep, and you are {} deep: do it yourself",
                maker.depth
            );
            return Ok(ChildDone::Refused(text));
        }
        let Some((tools, deferred)) = narrowed(&maker.turn, &spawn.tools) else {
            let text = "none of these tools is available to you, so none can be given to an agent";
            return Ok(ChildDone::Refused(text.into()));
        };
        let id = child_id(&maker.key)?;
        let mut config = maker.lent();
        (config.tools, config.deferred) = (tools, deferred);
        config.limits = maker.bounds(spawn.max_steps);
        if let Some(route) = spawn.route.clone() {
            config.route = route;
        }
        let worktree = match spawn.worktree {
            false => None,
            true => match self.add_worktree(&maker.key.session, &maker.turn.root, &id).await? {
                Ok(worktree) => Some(Box::new(worktree)),
                Err(why) => return Ok(ChildDone::Refused(why)),
            },
        };
        if let Some(worktree) = &worktree {
            // There and nowhere else: what its maker may write stays its maker's.
            (config.root, config.cwd) = (worktree.path.clone(), worktree.root.clone());
        }
        let parent = match spawn.fork {
            true => Some(self.before_answer(&maker.key).await?),
            false => None,
        };
        let (by, agent) = (maker.key.clone(), spawn.agent.clone());
        let spawned = Spawned { by, depth, agent, prompt: spawn.prompt, worktree };
        let key = format!("task:{}", maker.key);
        let input = self.draft(None, told(key, spawn.task.clone(), &config, maker.tainted.clone()));
        let mut records = self.opening_records(&id, &input, &config, Some(Box::new(spawned)));
        if let Some(Body::SessionOpened(opened)) = records.first_mut().map(|draft| &mut draft.body) {
            opened.parent = parent;
        }
        let append = Append {
            session: id.clone(),
            expect: Expect::New(None),
            id: format!("spawn:{}", maker.key),
            records,
            blobs: Vec::new(),
        };
        match self.0.parts.log.append(append).await {
            Ok(_) => {}
            // Made in another life of this call; what it was told then stands.
            Err(LogError::Exists(_) | LogError::Conflict { .. }) => self.made_by(&id, &maker.key).await?,
            Err(error) => return Err(error.into()),
        }
        let turn =
            ChildTurn { session: id, input: FIRST_INPUT, agent: spawn.agent, task: brief(&spawn.task) };
        Ok(under_way(turn, spawn.background))
    }

    async fn tell_child(
        &self,
        maker: Maker,
        child: SessionId,
        text: String,
        background: bool,
    ) -> Result<ChildDone, RuntimeError> {
        let state = State::load(&self.0.parts.log, &child).await?;
        let Some(agent) = made_here(&state, &maker.key) else { return Ok(not_yours(&child)) };
        // What it was given when it was made, and no more.
        let Some(turn) = &state.turn else {
            return Ok(ChildDone::Refused(format!("`{child}` has not begun yet: wait for it")));
        };
        let mut given = maker.lent();
        given.route = turn.route.clone();
        let Some((tools, deferred)) = still_lent(&maker.turn, turn) else {
            let text = format!("none of the tools of `{child}` is available to you any more: do it yourself");
            return Ok(ChildDone::Refused(text));
        };
        (given.tools, given.deferred) = (tools, deferred);
        given.limits = maker.bounds(turn.limits.max_steps);
        let spawned = state.machine.session().and_then(|session| session.spawned.as_ref());
        if let Some(worktree) = spawned.and_then(|spawned| spawned.worktree.as_ref()) {
            (given.root, given.cwd) = (worktree.path.clone(), worktree.root.clone());
        }
        let task = brief(&text);
        // A turn that has other rights than its maker has now is told nothing: the next one has the maker's.
        let alike = (state.mode.now(), &turn.rules, turn.sandbox)
            == (given.mode, &given.rules, given.sandbox)
            && (&turn.tools, &turn.deferred) == (&given.tools, &given.deferred);
        let steers = state.machine.turn().is_some() && alike;
        let delivery = if steers { Delivery::AfterWork } else { Delivery::NextTurn };
        let mut body = told(format!("tell:{}", maker.key), text, &given, maker.tainted.clone());
        if let Body::InputAccepted(input) = &mut body {
            input.delivery = delivery;
        }
        let draft = self.draft(None, body);
        let id = format!("tell:{}", maker.key);
        let shared = self.0.shared(&child);
        let input = match self.append(&shared, &id, vec![draft]).await {
            Ok(receipt) => receipt.last,
            Err(RuntimeError::Log(error)) if matches!(*error, LogError::Conflict { .. }) => {
                // Told in another life of this call, at another moment of the child's turn.
                self.told_before(&child, &id).await?.ok_or(RuntimeError::Log(error))?
            }
            Err(error) => return Err(error),
        };
        Ok(under_way(ChildTurn { session: child, input, agent, task }, background))
    }

    async fn await_child(
        &self,
        maker: &Maker,
        child: SessionId,
        timeout_ms: Option<u64>,
    ) -> Result<ChildDone, RuntimeError> {
        let known = State::load(&self.0.parts.log, &maker.key.session).await?;
        let Some(known) = known.folded.world.children.get(&child).cloned() else {
            return Ok(not_yours(&child));
        };
        let until = timeout_ms.map(|ms| self.0.parts.env.now().saturating_add(ms));
        Ok(ChildDone::Await(known.last.turn, until))
    }

    async fn close_child(&self, maker: &Maker, child: SessionId) -> Result<ChildDone, RuntimeError> {
        let state = State::load(&self.0.parts.log, &child).await?;
        if made_here(&state, &maker.key).is_none() {
            return Ok(not_yours(&child));
        }
        self.stop_child(&child, "closed by the agent that made it").await?;
        if !state.machine.closed() {
            self.append(
                &self.0.shared(&child),
                &format!("close:{}", maker.key),
                vec![self.draft(None, Body::SessionClosed { by: "agent".into() })],
            )
            .await?;
        }
        let spawned = state.machine.session().and_then(|session| session.spawned.as_ref());
        let worktree = spawned.and_then(|spawned| spawned.worktree.as_deref());
        let kept = match worktree {
            None => None,
            Some(worktree) => {
                // What it still does is over before its folder goes.
                self.rest(&child).await;
                let removed = self.remove_worktree(&maker.key.session, &child, worktree).await?;
                removed.err().map(|why| (&worktree.path, &worktree.branch, why))
            }
        };
        let facts = vec![Fact::ChildClosed(child.clone())];
        let text = match kept {
            None => format!("closed {child}"),
            Some((path, branch, why)) => {
                format!("closed {child}\nIts worktree {path} (branch {branch}) was not removed: {why}")
            }
        };
        Ok(ChildDone::Answer { text, facts })
    }

    /// The last record before the answer that asked for this call.
    async fn before_answer(&self, call: &EffectKey) -> Result<Parent, RuntimeError> {
        let model = EffectKey { kind: EffectKind::Model, ordinal: 0, ..call.clone() };
        let (mut last, mut found) = (None, None);
        let read = crate::state::for_each_record(&self.0.parts.log, &call.session, |owner, sealed| {
            let answers = matches!(&sealed.record.body, Body::Outcome(outcome) if outcome.key == model);
            if *owner == call.session {
                if answers {
                    found = last.take();
                }
                last = Some((sealed.record.seq, sealed.hash));
            }
            Ok(())
        });
        read.await?;
        let Some((seq, hash)) = found else {
            return Err(RuntimeError::Refused(format!("no answer asked for {call}")));
        };
        Ok(Parent { session: call.session.clone(), seq, hash })
    }

    /// Cancels what a child does. `false`: it did nothing.
    pub(crate) async fn stop_child(&self, child: &SessionId, why: &str) -> Result<bool, RuntimeError> {
        match self.cancel(child, "parent", why).await {
            Ok(_) => Ok(true),
            Err(RuntimeError::NoTurn(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Drives a child until its turn is over. Waits for a place among those that work at the same time.
    pub(crate) async fn drive_child(
        &self,
        maker: &Arc<Shared>,
        turn: &ChildTurn,
        config: TurnConfig,
    ) -> ChildSeen {
        let _place = maker.place(config.limits.max_children).await;
        let shared = self.0.shared(&turn.session);
        shared.hub.activate();
        if !shared.is_driven() {
            self.0.spawn(&shared, None, config.clone(), None);
        }
        // What comes after this may be the answer that it waits for.
        let head = |state: Result<State, RuntimeError>| state.map_or(0, |state| state.head);
        match self.result(&turn.session, turn.input).await {
            Ok(result) if matches!(result.outcome, "parked" | "drained") => {
                let state = State::load(&self.0.parts.log, &turn.session).await;
                let waits = state.as_ref().is_ok_and(|state| matches!(state.machine.next(), Next::Wait(_)));
                // One that was answered meanwhile is looked at again at once.
                ChildSeen::Parked(result.message.unwrap_or_default(), if waits { head(state) } else { 0 })
            }
            Ok(result) => {
                let (tainted, root) = self.what_it_had(&turn.session, &config).await;
                let end = end_of(turn.input, result, Path::new(&root));
                ChildSeen::Ended(Box::new(ChildEnd { tainted, ..end }))
            }
            Err(error) => ChildSeen::Ended(Box::new(ChildEnd {
                session: turn.session.clone(),
                input: turn.input,
                turn: None,
                stop: Some(StopReason::RuntimeError),
                message: error.to_string(),
                steps: 0,
                spent: Vec::new(),
                changed_files: Vec::new(),
                tainted: Vec::new(),
            })),
        }
    }

    /// Where the texts of strangers come from that a child had before it when it answered, and where it worked.
    async fn what_it_had(&self, child: &SessionId, config: &TurnConfig) -> (Vec<String>, String) {
        match State::load(&self.0.parts.log, child).await {
            Ok(state) => {
                let tainted = state.transcript.untrusted().into_iter().map(|one| one.origin).collect();
                let root = state.turn.as_ref().map_or_else(|| config.root.clone(), |turn| turn.root.clone());
                (tainted, root)
            }
            // What it has read cannot be told: that may be anything.
            Err(_) => (vec![format!("agent:{child}")], config.root.clone()),
        }
    }

    /// The child of this name was made by this call, or somebody took its name.
    async fn made_by(&self, child: &SessionId, key: &EffectKey) -> Result<(), RuntimeError> {
        let first = self.0.parts.log.read(child, 1, 1).await?;
        let ours = first.first().is_some_and(|sealed| match &sealed.record.body {
            Body::SessionOpened(opened) => opened.spawned.as_ref().is_some_and(|spawned| spawned.by == *key),
            _ => false,
        });
        if ours { Ok(()) } else { Err(RuntimeError::Refused(format!("session `{child}` is there already"))) }
    }

    /// Writes the end of a turn down as an input of its maker, unless a call is told it.
    async fn tell_end(&self, maker: &Arc<Shared>, turn: &ChildTurn, end: Box<ChildEnd>, config: TurnConfig) {
        let mut config = config;
        // What cannot be read now can still be appended to.
        if let Ok(state) = State::load(&self.0.parts.log, &maker.id).await {
            if is_told(&state, turn) {
                return;
            }
            // Whoever switched since means what comes from now on.
            config.mode = state.switched_since.unwrap_or(config.mode);
        }
        let key = format!("child:{}:{}", turn.session, turn.input);
        let mut body = told(key.clone(), ending_text(turn, &end), &config, end.tainted.clone());
        if let Body::InputAccepted(input) = &mut body {
            input.delivery = Delivery::AfterWork;
            input.ended = Some(end);
        }
        let draft = self.draft(None, body);
        // A maker that was deleted meanwhile wants to know nothing; one that is closed is opened by it.
        let told = self.append(maker, &format!("input:{key}"), vec![draft]).await;
        if told.is_ok() && !self.0.is_draining() && !maker.is_driven() {
            self.0.spawn(maker, None, config, None);
        }
    }

    async fn told_before(&self, child: &SessionId, key: &str) -> Result<Option<Seq>, RuntimeError> {
        let mut found = None;
        let read = crate::state::for_each_record(&self.0.parts.log, child, |_, sealed| {
            if let Body::InputAccepted(input) = &sealed.record.body
                && input.key.as_deref() == Some(key)
            {
                found = Some(sealed.record.seq);
            }
            Ok(())
        });
        read.await?;
        Ok(found)
    }
}

impl Inner {
    /// Awaits a child in the background, once in this process, and writes its end down as an input of its maker: under
    /// a key of its own, so that it is written once.
    pub fn await_in_background(self: &Arc<Self>, maker: &Arc<Shared>, turn: &ChildTurn, config: &TurnConfig) {
        let name = (turn.session.clone(), turn.input);
        if !self.background.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone()) {
            return;
        }
        let (rt, maker, turn, config) = (Runtime(self.clone()), maker.clone(), turn.clone(), config.clone());
        tokio::spawn(async move {
            if let ChildSeen::Ended(end) = rt.drive_child(&maker, &turn, config.clone()).await {
                rt.tell_end(&maker, &turn, end, config).await;
            }
            rt.0.background.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
        });
    }
}

impl Maker {
    /// The bounds of a child's turn.
    fn bounds(&self, max_steps: u32) -> Limits {
        let deadline = Some(self.left.deadline.unwrap_or(CHILD_MS).min(CHILD_MS));
        Limits { max_steps, deadline, ..self.left.clone() }
    }

    /// What it may do itself.
    fn lent(&self) -> TurnConfig {
        let tree = self.turn.tree.clone().unwrap_or_else(|| self.key.session.clone());
        self.config.with(Given {
            limits: self.left.clone(),
            max_output: None,
            output_schema: None,
            tree: Some(tree),
            ..self.turn.given.clone()
        })
    }
}

/// A child's name: the same whenever its maker's turn is driven again.
fn child_id(key: &EffectKey) -> Result<SessionId, RuntimeError> {
    let hash = blake3::hash(key.to_string().as_bytes()).to_hex();
    SessionId::new(&format!("agent-{}", &hash[..16])).map_err(|bad| RuntimeError::Refused(bad.to_string()))
}

/// The tools that both the turn and the wish name: those that are shown, and those by name only. An empty wish names
/// all. `None`: none is left.
fn narrowed(turn: &TurnStarted, wish: &[String]) -> Option<(Vec<String>, Vec<String>)> {
    if wish.is_empty() {
        return Some((turn.tools.clone(), turn.deferred.clone()));
    }
    let deferred: Vec<String> = turn.deferred.iter().filter(|name| wish.contains(name)).cloned().collect();
    let mut tools: Vec<String> = wish.iter().filter(|name| !deferred.contains(name)).cloned().collect();
    if !deferred.is_empty() {
        let finds = [TOOL_SEARCH, CALL_TOOL].map(str::to_owned);
        let missing: Vec<String> = finds.into_iter().filter(|name| !tools.contains(name)).collect();
        tools.extend(missing);
    }
    tools.retain(|name| turn.tools.is_empty() || turn.tools.contains(name));
    // An empty list would be all of them.
    (!tools.is_empty()).then_some((tools, deferred))
}

/// What an agent was given that its maker still has. `None`: nothing.
fn still_lent(maker: &TurnStarted, child: &TurnStarted) -> Option<(Vec<String>, Vec<String>)> {
    if child.tools.is_empty() {
        // It was given all, as its maker was then.
        return Some((maker.tools.clone(), maker.deferred.clone()));
    }
    let has = |name: &String| maker.tools.is_empty() || maker.tools.contains(name);
    let lent: Vec<String> = child.tools.iter().filter(|name| has(name)).cloned().collect();
    let deferred: Vec<String> =
        child.deferred.iter().filter(|name| maker.deferred.contains(name)).cloned().collect();
    (!lent.is_empty()).then_some((lent, deferred))
}

fn under_way(turn: ChildTurn, background: bool) -> ChildDone {
    if !background {
        return ChildDone::Await(turn, None);
    }
    let text = format!(
        "started: {}\nYou are told when it ends. `wait` waits for it, `message` tells it something.",
        turn.session
    );
    ChildDone::Answer { text, facts: vec![Fact::Child(ChildRef { turn, background })] }
}

fn not_yours(child: &SessionId) -> ChildDone {
    ChildDone::Refused(format!("you have no agent `{child}`; `list` names yours"))
}

/// The maker's log has the end of this turn, or a call waits for it and will be told.
fn is_told(maker: &State, turn: &ChildTurn) -> bool {
    let ended = maker.folded.world.children.get(&turn.session).and_then(|child| child.end.as_ref());
    let running = maker.machine.turn().filter(|running| !running.is_ending());
    let mut waited_for = running.into_iter().flat_map(|running| running.children());
    ended.is_some_and(|end| end.input == turn.input)
        || waited_for.any(|(_, child)| (&child.session, child.input) == (&turn.session, turn.input))
}

/// The kind of agent that a session is, if this session made it.
fn made_here(child: &State, by: &EffectKey) -> Option<String> {
    let spawned = child.machine.session()?.spawned.as_ref()?;
    (spawned.by.session == by.session).then(|| spawned.agent.clone())
}

fn told(key: String, text: String, config: &TurnConfig, tainted: Vec<String>) -> Body {
    Body::InputAccepted(InputAccepted {
        key: Some(key),
        delivery: Delivery::NextTurn,
        parts: vec![InputPart::Text(text)],
        origin: "agent".into(),
        given: Some(Box::new(config.given.clone())),
        ended: None,
        compact: None,
        tainted,
    })
}

fn end_of(input: Seq, result: ResultEvent, root: &Path) -> ChildEnd {
    let nano = |dollars: f64| (dollars * 1e9).round() as u64;
    let spent = result.usage.into_iter().map(|used| Spent {
        route: used.model,
        calls: used.calls,
        usage: used.usage,
        cost: used.cost.map(nano),
    });
    let whole = |path: String| root.join(path).display().to_string();
    ChildEnd {
        session: result.session,
        input,
        turn: Some(result.turn),
        stop: result.stop,
        message: result.message.unwrap_or_default(),
        steps: result.steps,
        spent: spent.collect(),
        changed_files: result.changed_files.into_iter().map(whole).collect(),
        tainted: Vec::new(),
    }
}

/// What its maker is told of a child's end.
fn ending_text(turn: &ChildTurn, end: &ChildEnd) -> String {
    let how =
        end.stop.map_or_else(|| "has finished".to_owned(), |stop| format!("has stopped: {}", stop.word()));
    format!(
        "The agent {} ({}), which you started in the background, {how}.\n\n{}",
        turn.session, turn.agent, end.message
    )
}

/// The beginning of a task, in one line.
fn brief(task: &str) -> String {
    let line = task.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= BRIEF { line } else { line.chars().take(BRIEF - 1).chain(['…']).collect() }
}

/// Characters of a task in events and lists.
const BRIEF: usize = 120;
/// A child's first input comes after its opening.
const FIRST_INPUT: Seq = 2;
/// How deep children go whatever is configured (design: `max_child_depth` absolute).
const DEEPEST: u32 = 5;
/// Milliseconds that a child's turn lasts at most (design: 30 min).
const CHILD_MS: u64 = 30 * 60 * 1000;
