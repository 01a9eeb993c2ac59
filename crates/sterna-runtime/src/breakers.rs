//! The circuit breakers of all routes, shared by all sessions of the process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sterna_llm::breaker::{Admit, Breaker};
use sterna_llm::ladder;
use sterna_model::{ErrorClass, Millis, Route};

use crate::Env;

/// A breaker that is open, as `Runtime::open_breakers` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenBreaker {
    pub route: Route,
    /// Nothing is sent before. Then one request looks.
    pub until: Millis,
}

#[derive(Default)]
pub(crate) struct Breakers(Mutex<BTreeMap<Route, Breaker>>);

/// Leave to send one request. Its end must be told; dropped without, it tells nothing about the route.
pub(crate) struct Ticket {
    breakers: Arc<Breakers>,
    env: Arc<dyn Env>,
    route: Route,
    probe: bool,
    told: bool,
}

/// What the end of a request did to its route's breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    None,
    Opened,
    Closed,
}

impl Breakers {
    /// Asks for leave to send on a route now. An error is the time before which nothing is sent.
    pub fn admit(self: &Arc<Self>, route: &Route, env: &Arc<dyn Env>) -> Result<Ticket, Millis> {
        // Routes without a failure have no breaker yet, and need none.
        let admitted = self.lock().get_mut(route).map_or(Admit::Yes, |breaker| breaker.admit(env.now()));
        let ticket = |probe| Ticket {
            breakers: self.clone(),
            env: env.clone(),
            route: route.clone(),
            probe,
            told: false,
        };
        match admitted {
            Admit::Yes => Ok(ticket(false)),
            Admit::Probe => Ok(ticket(true)),
            Admit::No { until } => Err(until),
        }
    }

    pub fn open(&self) -> Vec<OpenBreaker> {
        let open = |(route, breaker): (&Route, &Breaker)| {
            breaker.open_until().map(|until| OpenBreaker { route: route.clone(), until })
        };
        self.lock().iter().filter_map(open).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Route, Breaker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// How the request ended: with an answer, or with a failure of this class.
    pub fn ended(mut self, failure: Option<ErrorClass>) -> Change {
        self.told = true;
        let mut breakers = self.breakers.lock();
        match failure {
            Some(class) if ladder::trips(class) => {
                let breaker = breakers.entry(self.route.clone()).or_default();
                if breaker.failed(self.env.now()) { Change::Opened } else { Change::None }
            }
            // Also a refusal is an answer: the route is there.
            Some(_) | None => {
                let closed =
                    breakers.get_mut(&self.route).is_some_and(|breaker| breaker.answered(self.probe));
                if closed { Change::Closed } else { Change::None }
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.probe
            && !self.told
            && let Some(breaker) = self.breakers.lock().get_mut(&self.route)
        {
            breaker.abandoned(self.env.now());
        }
    }
}
