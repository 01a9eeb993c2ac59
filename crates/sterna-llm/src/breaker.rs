//! The circuit breaker of one route: after many failures nothing is sent for a while, then one request looks whether
//! the route is well again.
//!
//! Pure: the caller brings the time.

use std::collections::VecDeque;

use sterna_model::Millis;

/// One route's breaker.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Breaker {
    /// Failures of the last `WINDOW_MS`, oldest first.
    failures: VecDeque<Millis>,
    state: State,
}

/// Whether a request may be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admit {
    Yes,
    /// As the one request that looks. Its end must be told.
    Probe,
    /// Not before this time.
    No {
        until: Millis,
    },
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum State {
    #[default]
    Closed,
    Open {
        until: Millis,
    },
    /// The one request that looks is under way.
    Probing {
        since: Millis,
    },
}

impl Breaker {
    /// Asks for leave to send.
    pub fn admit(&mut self, now: Millis) -> Admit {
        match self.state {
            State::Closed => Admit::Yes,
            State::Open { until } if now < until => Admit::No { until },
            State::Open { .. } => {
                self.state = State::Probing { since: now };
                Admit::Probe
            }
            State::Probing { since } => Admit::No { until: since.saturating_add(OPEN_MS).max(now) },
        }
    }

    /// A request that was admitted failed in a way that says that the route is not well. `true`: this opened it.
    pub fn failed(&mut self, now: Millis) -> bool {
        match self.state {
            // Sent before it opened: nothing new.
            State::Open { .. } => false,
            State::Probing { .. } => {
                self.open(now);
                true
            }
            State::Closed => {
                self.failures.push_back(now);
                while self.failures.front().is_some_and(|at| at.saturating_add(WINDOW_MS) <= now) {
                    self.failures.pop_front();
                }
                let opens = self.failures.len() >= FAILURES;
                if opens {
                    self.open(now);
                }
                opens
            }
        }
    }

    /// A request that was admitted was answered. `true`: this closed it.
    pub fn answered(&mut self, probe: bool) -> bool {
        let closes = probe && self.state != State::Closed;
        if probe || self.state == State::Closed {
            *self = Self::default();
        }
        closes
    }

    /// The request that looks was given up before it told anything: the next one looks.
    pub fn abandoned(&mut self, now: Millis) {
        if let State::Probing { .. } = self.state {
            self.state = State::Open { until: now };
        }
    }

    /// Until when nothing is sent; `None`: it is closed.
    pub fn open_until(&self) -> Option<Millis> {
        match self.state {
            State::Closed => None,
            State::Open { until } => Some(until),
            State::Probing { since } => Some(since.saturating_add(OPEN_MS)),
        }
    }

    fn open(&mut self, now: Millis) {
        self.failures.clear();
        self.state = State::Open { until: now.saturating_add(OPEN_MS) };
    }
}

// Design: 5 failures in 60 s open it, 60 s of failing fast, then one probe.
const FAILURES: usize = 5;
const WINDOW_MS: u64 = 60_000;
const OPEN_MS: u64 = 60_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn opened() -> Breaker {
        let mut breaker = Breaker::default();
        for at in [0, 10, 20, 30] {
            assert!(!breaker.failed(at) && breaker.admit(at) == Admit::Yes);
        }
        assert!(breaker.failed(59_999));
        breaker
    }

    #[test]
    fn five_failures_within_a_minute_open_it_for_a_minute() {
        let mut breaker = opened();
        assert_eq!(breaker.admit(60_000), Admit::No { until: 119_999 });
        assert_eq!(breaker.admit(119_998), Admit::No { until: 119_999 });
        assert_eq!(breaker.open_until(), Some(119_999));
        assert_eq!(breaker.admit(119_999), Admit::Probe);
    }

    #[test]
    fn old_failures_do_not_count_and_an_answer_forgets_them() {
        let mut breaker = Breaker::default();
        assert!([0, 10, 20, 30, 60_000, 60_010].map(|at| breaker.failed(at)).iter().all(|opens| !opens));
        let mut breaker = Breaker::default();
        for at in 0..20 {
            assert!(!breaker.failed(at), "{at}");
            if at % 4 == 3 {
                assert!(!breaker.answered(false));
            }
        }
    }

    #[test]
    fn one_request_looks_and_its_end_decides() {
        let mut breaker = opened();
        assert_eq!(breaker.admit(120_000), Admit::Probe);
        assert!(matches!(breaker.admit(120_001), Admit::No { .. }));
        // Others that were sent before it opened change nothing.
        assert!(!breaker.answered(false) && breaker.open_until().is_some());
        let mut again = breaker.clone();
        assert!(breaker.answered(true));
        assert_eq!((breaker.admit(120_002), breaker.open_until()), (Admit::Yes, None));
        assert!(again.failed(121_000));
        assert_eq!(again.admit(180_999), Admit::No { until: 181_000 });
        assert_eq!(again.admit(181_000), Admit::Probe);
        again.abandoned(181_001);
        assert_eq!(again.admit(181_001), Admit::Probe);
    }
}
