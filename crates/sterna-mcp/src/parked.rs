//! A tool call under way: its time limits, what it says meanwhile, and how it waits for a person.

use std::sync::Arc;
use std::time::Duration;

use rmcp::RoleClient;
use rmcp::model::{
    CallToolRequest, CallToolRequestParams, CallToolResult, ClientRequest, ElicitResult, ElicitationAction,
    InputRequest, InputRequiredResult, InputResponses, ServerResult,
};
use rmcp::service::{PeerRequestOptions, RequestHandle};
use sterna_model::{EffectKey, Question};
use sterna_tool::Cancel;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::connection::{Busy, Client, Live};
use crate::elicit::Form;
use crate::error::McpError;
use crate::handler::{CallEvent, roots};

/// What a call led to.
pub(crate) enum Called {
    Done(Box<CallToolResult>),
    /// A person must answer first; the call waits under its key.
    Ask(Vec<Question>),
    Cancelled,
    /// It was asked about in another life, and its server has ended with that.
    Interrupted,
}

/// A call that waits for a person.
pub(crate) struct Parked {
    pub(crate) since: Instant,
    tries: u32,
    held: Held,
}

enum Held {
    /// The server waits for the answer in the middle of the call.
    Open { flight: Box<Flight>, form: Form, reply: oneshot::Sender<ElicitResult> },
    /// The server has answered that it needs to know something, and has forgotten the call.
    Rounds(Box<Rounds>),
}

/// A call of 2026-07-28 that is sent again with answers.
struct Rounds {
    params: CallToolRequestParams,
    forms: Vec<(String, Form)>,
    ready: InputResponses,
    state: Option<String>,
    round: u32,
}

/// How a call is watched.
pub(crate) struct Watch<'a> {
    pub(crate) key: &'a EffectKey,
    pub(crate) cancel: &'a Cancel,
    pub(crate) progress: &'a (dyn Fn(String) + Send + Sync),
}

impl Client {
    /// Calls a tool, or goes on with a call that waited for these answers.
    pub(crate) async fn call(
        &self,
        params: CallToolRequestParams,
        answers: Option<Vec<String>>,
        watch: Watch<'_>,
    ) -> Result<Called, McpError> {
        let parked = self.parked().remove(watch.key);
        match (parked, answers) {
            (Some(parked), Some(answers)) => self.go_on(parked, answers, watch).await,
            (_, answers) => {
                let live = tokio::select! {
                    live = self.live() => live?,
                    () = watch.cancel.cancelled() => return Ok(Called::Cancelled),
                };
                if answers.is_some() && live.is_legacy() {
                    return Ok(Called::Interrupted);
                }
                self.run(live, params, 1, answers, &watch).await
            }
        }
    }

    /// The call is over, or will not come again: what waits for it is let go.
    pub(crate) fn forget(&self, key: &EffectKey) {
        self.parked().remove(key);
    }

    fn parked(&self) -> std::sync::MutexGuard<'_, std::collections::HashMap<EffectKey, Parked>> {
        self.0.parked.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Sends the call, and goes through the rounds of questions that need no person.
    async fn run(
        &self,
        live: Arc<Live>,
        mut params: CallToolRequestParams,
        mut round: u32,
        mut answers: Option<Vec<String>>,
        watch: &Watch<'_>,
    ) -> Result<Called, McpError> {
        loop {
            let flight = Flight::start(self, live.clone(), params.clone()).await?;
            let needs = match self.fly(Box::new(flight), 0, watch).await? {
                Flown::Called(called) => return Ok(called),
                Flown::Needs(needs) => needs,
            };
            if round >= ROUNDS {
                return Err(self.strange("it asks for more and more input"));
            }
            round += 1;
            let mut rounds = self.needed(params, *needs, round)?;
            let questions = rounds.questions();
            if !questions.is_empty() {
                match answers.take().filter(|answers| answers.len() == questions.len()) {
                    Some(answers) if rounds.answer(&answers).is_ok() => {}
                    _ => {
                        let held = Held::Rounds(Box::new(rounds));
                        self.parked()
                            .insert(watch.key.clone(), Parked { since: Instant::now(), tries: 0, held });
                        return Ok(Called::Ask(questions));
                    }
                }
            }
            params = rounds.again();
        }
    }

    async fn go_on(
        &self,
        parked: Parked,
        answers: Vec<String>,
        watch: Watch<'_>,
    ) -> Result<Called, McpError> {
        let Parked { since, tries, held } = parked;
        let ask_again = |wrong: String, mut questions: Vec<Question>, held: Held| {
            if let Some(first) = questions.first_mut() {
                first.question = format!("{wrong}.\n{}", first.question);
            }
            self.parked().insert(watch.key.clone(), Parked { since, tries: tries + 1, held });
            Ok(Called::Ask(questions))
        };
        match held {
            Held::Open { mut flight, form, reply } => {
                flight.waited += since.elapsed();
                flight.heard = Instant::now();
                let result = match form.answer(&answers) {
                    Ok(result) => result,
                    Err(_) if tries >= TRIES => ElicitResult::new(ElicitationAction::Cancel),
                    Err(wrong) => {
                        let questions = form.questions.clone();
                        return ask_again(wrong, questions, Held::Open { flight, form, reply });
                    }
                };
                // A connection that is gone says so below.
                let _ = reply.send(result);
                match self.fly(flight, 0, &watch).await? {
                    Flown::Called(called) => Ok(called),
                    Flown::Needs(_) => Err(self.strange("it asks in two ways at once")),
                }
            }
            Held::Rounds(mut rounds) => {
                if let Err(wrong) = rounds.answer(&answers) {
                    if tries < TRIES {
                        let questions = rounds.questions();
                        return ask_again(wrong, questions, Held::Rounds(rounds));
                    }
                    rounds.give_up();
                }
                let live = self.live().await?;
                let round = rounds.round;
                self.run(live, rounds.again(), round, None, &watch).await
            }
        }
    }

    /// Waits for the end of a call, or for its next question.
    async fn fly(&self, mut flight: Box<Flight>, tries: u32, watch: &Watch<'_>) -> Result<Flown, McpError> {
        let times = self.config().times;
        let server = || self.config().name.clone();
        loop {
            let Some(handle) = flight.handle.as_mut() else {
                return Err(self.strange("the call was lost"));
            };
            let idle_at = flight.heard + times.idle;
            let total_at = flight.began + times.total + flight.waited;
            tokio::select! {
                biased;
                answer = &mut handle.rx => {
                    flight.finish();
                    return match answer {
                        Ok(Ok(ServerResult::CallToolResult(result))) => {
                            Ok(Flown::Called(Called::Done(Box::new(result))))
                        }
                        Ok(Ok(ServerResult::InputRequiredResult(needs))) => Ok(Flown::Needs(Box::new(needs))),
                        Ok(Ok(_)) => Err(self.strange("a call gave something that is no result of a call")),
                        Ok(Err(error)) => Err(self.told(&flight.live, error).await),
                        Err(_) => Err(crate::connection::ended(&server(), &flight.live.fate).await),
                    };
                }
                () = watch.cancel.cancelled() => return Ok(Flown::Called(Called::Cancelled)),
                event = flight.events.recv() => match event {
                    Some(CallEvent::Progress(told)) => {
                        flight.heard = Instant::now();
                        (watch.progress)(told);
                    }
                    Some(CallEvent::Question { asked, reply }) => {
                        let Some(form) = Form::of(&self.config().name, &asked) else {
                            let _ = reply.send(ElicitResult::new(ElicitationAction::Decline));
                            continue;
                        };
                        let questions = form.questions.clone();
                        let held = Held::Open { flight, form, reply };
                        self.parked().insert(watch.key.clone(), Parked { since: Instant::now(), tries, held });
                        return Ok(Flown::Called(Called::Ask(questions)));
                    }
                    None => return Err(self.strange("the call was lost")),
                },
                () = tokio::time::sleep_until(idle_at) => {
                    return Err(McpError::Silent { server: server(), seconds: times.idle.as_secs() });
                }
                () = tokio::time::sleep_until(total_at) => {
                    return Err(McpError::TooLong { server: server(), seconds: times.total.as_secs() });
                }
            }
        }
    }

    /// What of it a person must answer; where the workspace is we know ourselves.
    fn needed(
        &self,
        params: CallToolRequestParams,
        needs: InputRequiredResult,
        round: u32,
    ) -> Result<Rounds, McpError> {
        let mut rounds = Rounds {
            params,
            forms: Vec::new(),
            ready: InputResponses::new(),
            state: needs.request_state,
            round,
        };
        for (id, request) in needs.input_requests.unwrap_or_default() {
            match request {
                InputRequest::Elicitation(asked) => match Form::of(&self.config().name, &asked.params) {
                    Some(form) => rounds.forms.push((id, form)),
                    None => rounds.put(id, &ElicitResult::new(ElicitationAction::Decline)),
                },
                InputRequest::ListRoots(_) => {
                    rounds.put(id, &serde_json::json!({ "roots": roots(&self.0.setup.roots) }));
                }
                InputRequest::CreateMessage(_) => {
                    return Err(self.strange("it asks for a model call (sampling), which is not offered"));
                }
                _ => return Err(self.strange("it asks for something that is not known")),
            }
        }
        Ok(rounds)
    }
}

impl Rounds {
    fn questions(&self) -> Vec<Question> {
        self.forms.iter().flat_map(|(_, form)| form.questions.clone()).collect()
    }

    fn answer(&mut self, answers: &[String]) -> Result<(), String> {
        let mut rest = answers;
        let mut all = Vec::new();
        for (id, form) in &self.forms {
            let (own, others) = rest.split_at(form.questions.len().min(rest.len()));
            rest = others;
            all.push((id.clone(), form.answer(own)?));
        }
        for (id, result) in all {
            self.put(id, &result);
        }
        Ok(())
    }

    fn give_up(&mut self) {
        for (id, _) in std::mem::take(&mut self.forms) {
            self.put(id, &ElicitResult::new(ElicitationAction::Cancel));
        }
    }

    fn put(&mut self, id: String, result: &impl serde::Serialize) {
        // These forms have no value that JSON has not.
        self.ready.insert(id, serde_json::to_value(result).unwrap_or_default());
    }

    fn again(self) -> CallToolRequestParams {
        let Self { mut params, ready, state, .. } = self;
        params.input_responses = (!ready.is_empty()).then_some(ready);
        params.request_state = state;
        params
    }
}

enum Flown {
    Called(Called),
    Needs(Box<InputRequiredResult>),
}

/// A request whose answer is waited for. Dropped before that, it is cancelled at the server.
struct Flight {
    live: Arc<Live>,
    handle: Option<RequestHandle<RoleClient>>,
    events: mpsc::Receiver<CallEvent>,
    began: Instant,
    /// When the server last said something.
    heard: Instant,
    /// How long a person took.
    waited: Duration,
    _busy: Busy,
}

impl Flight {
    async fn start(
        client: &Client,
        live: Arc<Live>,
        params: CallToolRequestParams,
    ) -> Result<Self, McpError> {
        let busy = client.busy();
        let request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
        let sent = live.peer.send_cancellable_request(request, PeerRequestOptions::no_options()).await;
        let handle = match sent {
            Ok(handle) => handle,
            Err(error) => return Err(client.told(&live, error).await),
        };
        let events = live.calls.open(handle.id.clone(), handle.progress_token.clone());
        let now = Instant::now();
        Ok(Self {
            live,
            handle: Some(handle),
            events,
            began: now,
            heard: now,
            waited: Duration::ZERO,
            _busy: busy,
        })
    }

    fn finish(&mut self) {
        if let Some(handle) = self.handle.take() {
            self.live.calls.close(&handle.id);
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let Some(handle) = self.handle.take() else { return };
        self.live.calls.close(&handle.id);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // A server that is gone need not hear it.
            runtime.spawn(async move { drop(handle.cancel(Some("the call was given up".into())).await) });
        }
    }
}

/// Requests for input within one call.
const ROUNDS: u32 = 10;
/// Answers that did not fit, before the server is told that there is none.
const TRIES: u32 = 2;
