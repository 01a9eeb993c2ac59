//! Handles: cheap, hold no lock, and outlive nothing. A session is its log, not its handle.

use std::future::IntoFuture;
use std::path::PathBuf;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use sterna_model::{
    Delivery, Event, EventKind, InputPart, Limits, Mode, OnAsk, ResultEvent, Seq, SessionId, StopReason,
    TurnNo,
};
use sterna_runtime::{Accepted, Observer, Resolve, Runtime, RuntimeError, State, Submit, TurnConfig};

use crate::attach::Source;
use crate::{Error, Sterna};

/// A session by its name. It is made by its first turn.
#[derive(Clone)]
pub struct Session {
    sterna: Sterna,
    /// The error of a name that is none comes with the first call.
    id: Result<Option<SessionId>, sterna_model::BadId>,
}

/// A turn that is about to be sent.
pub struct Turn {
    session: Session,
    parts: Vec<InputPart>,
    /// Files that are kept when the turn is sent.
    files: Vec<Source>,
    key: Option<String>,
    delivery: Delivery,
    config: TurnConfig,
    guest: Option<String>,
}

/// What a turn came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply(ResultEvent);

/// A running turn's events.
pub struct TurnStream {
    runtime: Runtime,
    accepted: Accepted,
    observer: Observer,
    /// The turn that took our input.
    turn: Option<TurnNo>,
    /// How the turn ends, also where no event tells it.
    result: Option<BoxFuture<'static, Result<ResultEvent, RuntimeError>>>,
    done: bool,
}

impl Session {
    pub(crate) fn new(sterna: Sterna, id: Option<&str>) -> Self {
        Self { sterna, id: id.map(SessionId::new).transpose() }
    }

    /// A turn with this input: await it, or `stream` it.
    pub fn turn(&self, input: impl Into<String>) -> Turn {
        Turn {
            session: self.clone(),
            parts: vec![InputPart::Text(input.into())],
            files: Vec::new(),
            key: None,
            delivery: Delivery::NextTurn,
            config: self.sterna.turn_config_now(),
            guest: None,
        }
    }

    /// Asks the running turn to end.
    pub async fn cancel(&self, reason: &str) -> Result<(), Error> {
        let id = self.named()?;
        self.sterna.runtime().cancel(&id, "sdk", reason).await?;
        Ok(())
    }

    /// Answers an approval or a question.
    pub async fn resolve(&self, wait: &str, ruling: sterna_model::Ruling) -> Result<(), Error> {
        let session = self.named()?;
        let resolve = Resolve { session, wait: wait.into(), ruling, grant: None, by: "sdk".into() };
        self.sterna.runtime().resolve(resolve).await?;
        Ok(())
    }

    /// Sends a signal to whichever call waits for it, or to the first that will (`ToolReturn::Signal`). The first of a name
    /// counts: until a call has taken it, another is refused (`AlreadyResolved`). `resume` drives a parked turn on.
    ///
    /// `name`: 1 to 128 characters of `A-Za-z0-9._:-`. `payload`: at most 16 KiB.
    pub async fn signal(&self, name: &str, payload: &serde_json::Value) -> Result<(), Error> {
        let session = self.named()?;
        self.sterna.runtime().signal(&session, name, payload, "sdk").await?;
        Ok(())
    }

    /// Switches the mode from the next turn on, for turns that are given none of their own. `plan`, which only takes rights
    /// away, holds also in the turn that runs or is parked, from its next step on.
    pub async fn set_mode(&self, mode: Mode) -> Result<(), Error> {
        let id = self.named()?;
        self.sterna.runtime().set_mode(&id, mode, "sdk").await?;
        Ok(())
    }

    /// A signed key for one of this session's waits, to be given to whoever shall answer it from outside: it is good
    /// before the wait is opened, too. `wait`: `SESSION/TURN/STEP/tool/N`, as events name it.
    pub fn wait_key(&self, wait: &str) -> Result<String, Error> {
        Ok(self.sterna.runtime().wait_key(&wait.to_owned())?)
    }

    /// Drives an interrupted turn, or inputs that wait, to their end.
    pub async fn resume(&self) -> Result<Option<Reply>, Error> {
        let id = self.named()?;
        let state = self.view().await?;
        let running = state.turn.as_ref().filter(|_| state.machine.turn().is_some());
        let first = running.and_then(|turn| turn.inputs.first().copied());
        let Some(input) = first.or_else(|| state.machine.waiting().next().map(|(seq, _)| seq)) else {
            return Ok(None);
        };
        self.sterna.runtime().resume(&id, self.sterna.turn_config_now());
        Ok(Some(Reply(self.sterna.runtime().result(&id, input).await?)))
    }

    /// The folded state of the session, as its log tells it.
    pub async fn view(&self) -> Result<State, Error> {
        Ok(State::load(&self.sterna.runtime().parts().log, &self.named()?).await?)
    }

    /// Events of records after `seen`, then what is live.
    pub fn observe(&self, seen: Seq) -> Result<Observer, Error> {
        Ok(self.sterna.runtime().observe(&self.named()?, seen))
    }

    /// The session under the name that its first turn gave it.
    pub(crate) fn renamed(&self, id: &SessionId) -> Self {
        Self { sterna: self.sterna.clone(), id: Ok(Some(id.clone())) }
    }

    fn named(&self) -> Result<SessionId, Error> {
        match &self.id {
            Ok(Some(id)) => Ok(id.clone()),
            Ok(None) => Err(Error::setup("this session has no name yet", "name it with Sterna::session")),
            Err(error) => Err(error.clone().into()),
        }
    }
}

impl Turn {
    /// Idempotency key: the same key makes one turn, however often it is sent.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// A file that comes with the input: an image, a PDF document or a text. 20 of them, and 20 MB together. It is read
    /// when the turn is sent; if it cannot be, nothing is.
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.files.push(Source::File(path.into()));
        self
    }

    /// The same for bytes that are at hand.
    pub fn bytes(mut self, name: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
        self.files.push(Source::Bytes { name: name.into(), bytes: bytes.into() });
        self
    }

    /// Where the input enters: a turn of its own (default), or the running one.
    pub fn delivery(mut self, delivery: Delivery) -> Self {
        self.delivery = delivery;
        self
    }

    pub fn mode(mut self, mode: Mode) -> Self {
        self.config.mode = mode;
        self.config.mode_of_session = false;
        self
    }

    /// Another agent answers, once: its prompt, no tools. Whoever answers later is shown its words as its own.
    pub fn guest(mut self, agent: impl Into<String>) -> Self {
        self.guest = Some(agent.into());
        self
    }

    pub fn on_ask(mut self, on_ask: OnAsk) -> Self {
        self.config.on_ask = on_ask;
        self
    }

    pub fn limits(mut self, limits: Limits) -> Self {
        self.config.limits = limits;
        self
    }

    /// Makes the input durable, and returns without waiting for the turn.
    pub async fn send(self) -> Result<Accepted, Error> {
        self.submit(false).await
    }

    /// Makes the input durable, and gives its events as they come. The last one is `result`.
    pub async fn stream(self) -> Result<TurnStream, Error> {
        let runtime = self.session.sterna.runtime().clone();
        let accepted = self.submit(true).await?;
        let seen = if accepted.opened { 0 } else { accepted.input - 1 };
        let observer = runtime.observe(&accepted.session, seen);
        let result = {
            let (runtime, session, input) = (runtime.clone(), accepted.session.clone(), accepted.input);
            async move { runtime.result(&session, input).await }.boxed()
        };
        Ok(TurnStream { runtime, accepted, observer, turn: None, result: Some(result), done: false })
    }

    async fn submit(self, live: bool) -> Result<Accepted, Error> {
        let session = self.session.id.clone()?;
        let mut config = self.config;
        if let Some(guest) = &self.guest {
            self.session.sterna.as_guest(&mut config, guest)?;
        }
        let mut parts = self.parts;
        for file in self.files {
            parts.push(self.session.sterna.attached(file).await?);
        }
        let submit = Submit {
            session,
            key: self.key,
            parts,
            delivery: self.delivery,
            origin: "sdk".into(),
            config,
            live,
            drive: true,
        };
        Ok(self.session.sterna.runtime().submit(submit).await?)
    }
}

impl IntoFuture for Turn {
    type Output = Result<Reply, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        async move {
            let runtime = self.session.sterna.runtime().clone();
            let accepted = self.submit(false).await?;
            Ok(Reply(runtime.result(&accepted.session, accepted.input).await?))
        }
        .boxed()
    }
}

impl TurnStream {
    /// The next event; `None` after `result`.
    pub async fn next(&mut self) -> Result<Option<Event>, Error> {
        if self.done {
            return Ok(None);
        }
        loop {
            let event = match &mut self.result {
                Some(result) => tokio::select! {
                    biased;
                    event = self.observer.next() => event?,
                    ended = result => {
                        self.result = None;
                        // The turn's own result comes as an event. One that cannot go on has none.
                        ended?;
                        continue;
                    }
                },
                None => self.observer.next().await?,
            };
            let ours = |inputs: &[Seq]| inputs.contains(&self.accepted.input);
            match &event.kind {
                EventKind::TurnStarted { inputs, .. } | EventKind::InputSteered { inputs }
                    if ours(inputs) =>
                {
                    self.turn = event.turn;
                }
                // Of the turn before, which was running when our input came.
                EventKind::Result(_) => self.done = self.turn.is_some() && event.turn == self.turn,
                _ => {}
            }
            return Ok(Some(event));
        }
    }

    pub fn accepted(&self) -> &Accepted {
        &self.accepted
    }

    /// The turn's reply. Events that were not read are passed over.
    pub async fn reply(self) -> Result<Reply, Error> {
        Ok(Reply(self.runtime.result(&self.accepted.session, self.accepted.input).await?))
    }
}

impl Reply {
    /// The answer, or what stopped the turn.
    pub fn message(&self) -> &str {
        self.0.message.as_deref().unwrap_or("")
    }

    /// The answer as the output schema has it, if the turn had one.
    pub fn value(&self) -> Option<&serde_json::Value> {
        self.0.value.as_ref()
    }

    /// The turn ended by itself, with an answer.
    pub fn is_finished(&self) -> bool {
        self.0.outcome == "finished"
    }

    /// Why it stopped, when it did.
    pub fn stop(&self) -> Option<StopReason> {
        self.0.stop
    }

    /// Everything, as the `result` event has it.
    pub fn result(&self) -> &ResultEvent {
        &self.0
    }
}
