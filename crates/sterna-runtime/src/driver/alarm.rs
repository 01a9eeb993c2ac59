//! A time that is waited for over many waits. A timer that is armed anew at each wait is the next one of all each time, and
//! wakes whoever waits for timers.

use std::sync::{Mutex, PoisonError};

use futures::future::BoxFuture;
use sterna_model::Millis;

use crate::Env;

#[derive(Default)]
pub(super) struct Alarm {
    at: Millis,
    /// Never locked: it makes the driver `Sync`, which a future that is only `Send` does not.
    sleep: Mutex<Option<BoxFuture<'static, ()>>>,
}

impl Alarm {
    /// What ends at this time. Once it has ended, [`Alarm::off`] is due before it is asked for again.
    pub fn at(&mut self, at: Millis, env: &dyn Env) -> &mut BoxFuture<'static, ()> {
        let sleep = self.sleep.get_mut().unwrap_or_else(PoisonError::into_inner);
        if self.at != at {
            (self.at, *sleep) = (at, None);
        }
        sleep.get_or_insert_with(|| env.sleep_until(at))
    }

    pub fn off(&mut self) {
        *self.sleep.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
