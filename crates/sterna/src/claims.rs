//! Sessions that go on by themselves while nobody is there: those with a goal, those that were told what happened, and
//! those that wait for a time which has come.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sterna_log::{Filter, LogError, Page, SharedLog, Status};
use sterna_model::{Body, Given, InputAccepted, Millis, Seq, SessionId};
use sterna_runtime::{Env, RuntimeError, State};

/// Finds them. Cheap to clone.
#[derive(Clone)]
pub struct Claims(Arc<Inner>);

struct Inner {
    log: SharedLog,
    env: Arc<dyn Env>,
    looks: Mutex<Looks>,
}

#[derive(Default)]
struct Looks {
    /// Where sessions stood when they were looked at: they are looked at again when they have moved.
    seen: BTreeMap<SessionId, Seq>,
    /// When the first wait of a parked session ends by itself, by where the session stood.
    due: BTreeMap<SessionId, (Seq, Option<Millis>)>,
    /// Those that were given out.
    claimed: BTreeSet<SessionId>,
}

/// A session whose next turn nobody has to begin.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    pub session: SessionId,
    /// The input that its turn takes, or has taken.
    pub input: Seq,
    /// Where the input comes from: `goal` or `job`; `timer` for a turn that waits for a time which has come.
    pub origin: String,
    pub given: Given,
}

impl Claims {
    pub fn new(log: SharedLog, env: Arc<dyn Env>) -> Self {
        Self(Arc::new(Inner { log, env, looks: Mutex::default() }))
    }

    /// Those that have moved since they were looked at last, that nobody alive leads, and that were not given
    /// out before. What a person has said waits for
    /// a person: `sterna resume` goes on with that.
    pub async fn open(&self) -> Result<Vec<Claim>, RuntimeError> {
        let filter = Filter { status: Some(Status::Running), ..Filter::default() };
        let rows = self.0.log.list(&filter, Page { after: None, limit: INTAKE }).await?;
        let mut claims = Vec::new();
        for row in rows {
            let is_known = {
                let looks = self.looks();
                looks.claimed.contains(&row.id) || looks.seen.get(&row.id) == Some(&row.head)
            };
            if is_known || self.is_led(&row.id).await? {
                continue;
            }
            // One that cannot be read is left to a person.
            let claim = self.claim(&row.id).await.unwrap_or_default();
            let mut looks = self.looks();
            looks.claimed.extend(claim.as_ref().map(|claim| claim.session.clone()));
            looks.seen.insert(row.id, row.head);
            claims.extend(claim);
        }
        claims.extend(self.overdue().await?);
        Ok(claims)
    }

    /// Parked sessions of which a wait is over by its time.
    async fn overdue(&self) -> Result<Vec<Claim>, RuntimeError> {
        let filter = Filter { status: Some(Status::Parked), ..Filter::default() };
        let rows = self.0.log.list(&filter, Page { after: None, limit: INTAKE }).await?;
        let mut claims = Vec::new();
        for row in rows {
            let known = self.looks().due.get(&row.id).copied().filter(|(head, _)| *head == row.head);
            let due = match known {
                Some((_, due)) => due,
                None => {
                    // One that cannot be read is left to a person.
                    let state = State::load(&self.0.log, &row.id).await.ok();
                    let due = state.as_ref().and_then(first_deadline);
                    self.looks().due.insert(row.id.clone(), (row.head, due));
                    due
                }
            };
            if due.is_none_or(|at| at > self.0.env.now()) {
                continue;
            }
            // A child is driven by whoever drives the session that waits for it.
            let Ok(top) = who_waits(&self.0.log, row.id).await else { continue };
            if self.looks().claimed.contains(&top) || self.is_led(&top).await? {
                continue;
            }
            let Some(claim) = running(&self.0.log, &top).await.unwrap_or_default() else { continue };
            self.looks().claimed.insert(top);
            claims.push(claim);
        }
        Ok(claims)
    }

    /// Its turn has ended: it is looked at again.
    pub fn ended(&self, session: &SessionId) {
        let mut looks = self.looks();
        looks.claimed.remove(session);
        looks.seen.remove(session);
    }

    /// It could not be driven on: it is looked at again when it has moved.
    pub fn failed(&self, session: &SessionId) {
        self.looks().claimed.remove(session);
    }

    fn looks(&self) -> MutexGuard<'_, Looks> {
        self.0.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn claim(&self, session: &SessionId) -> Result<Option<Claim>, RuntimeError> {
        let state = match State::load(&self.0.log, session).await {
            // It went between two looks.
            Err(RuntimeError::Log(error)) if is_gone(&error) => return Ok(None),
            state => state?,
        };
        let running = state.turn.as_ref().filter(|_| state.machine.turn().is_some());
        let taken = running.and_then(|turn| turn.inputs.first().copied());
        let Some(input) = taken.or_else(|| state.machine.waiting().next().map(|(input, _)| input)) else {
            return Ok(None);
        };
        let page = self.0.log.read(session, input, 1).await?;
        let Some(Body::InputAccepted(InputAccepted { origin, given: Some(given), .. })) =
            page.into_iter().next().map(|sealed| sealed.record.body)
        else {
            return Ok(None);
        };
        let ours = ORIGINS.contains(&origin.as_str());
        Ok(ours.then(|| Claim { session: session.clone(), input, origin, given: *given }))
    }

    async fn is_led(&self, session: &SessionId) -> Result<bool, RuntimeError> {
        let lease = match self.0.log.head(session).await {
            Err(error) if is_gone(&error) => return Ok(true),
            head => head?.lease,
        };
        let env = &self.0.env;
        Ok(lease
            .is_some_and(|lease| !lease.released && lease.expires > env.now() && !env.is_dead(&lease.owner)))
    }
}

/// The session that waits for this agent, or the one that waits for that one: whoever drives it drives them all.
pub async fn who_waits(log: &SharedLog, mut session: SessionId) -> Result<SessionId, RuntimeError> {
    loop {
        let state = State::load(log, &session).await?;
        let Some(spawned) = state.machine.session().and_then(|opened| opened.spawned.clone()) else {
            return Ok(session);
        };
        let maker = State::load(log, &spawned.by.session).await;
        let waits = maker.as_ref().is_ok_and(|maker| {
            maker
                .machine
                .turn()
                .is_some_and(|turn| turn.children().any(|(_, child)| child.session == session))
        });
        if !waits {
            return Ok(session);
        }
        session = spawned.by.session;
    }
}

/// When the first wait of the running turn ends by itself.
fn first_deadline(state: &State) -> Option<Millis> {
    let turn = state.machine.turn().filter(|turn| !turn.is_ending())?;
    turn.waits().filter_map(|(_, deadline)| deadline).min()
}

/// The running turn of a session, with the rights that it has.
async fn running(log: &SharedLog, session: &SessionId) -> Result<Option<Claim>, RuntimeError> {
    let state = State::load(log, session).await?;
    let Some(turn) = state.turn.as_ref().filter(|_| state.machine.turn().is_some()) else { return Ok(None) };
    let Some(input) = turn.inputs.first().copied() else { return Ok(None) };
    let (session, given) = (session.clone(), turn.given.clone());
    Ok(Some(Claim { session, input, origin: "timer".into(), given }))
}

fn is_gone(error: &LogError) -> bool {
    matches!(error, LogError::NotFound(_) | LogError::Tombstone(_))
}

/// Inputs that nobody has said.
const ORIGINS: [&str; 2] = ["goal", "job"];
/// Sessions that are looked at in one go (design: intake page 256).
const INTAKE: usize = 256;
