//! The live ring of a session: settled events and deltas in one order, bounded, never waiting for a reader.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sterna_model::{EVENT_VERSION, EffectKey, Event, EventKind, Millis, Seq, SessionId};
use tokio::sync::watch;

/// Events that the ring holds at most (design: 2,048).
const RING_EVENTS: usize = 2_048;
/// Events that one read takes, and the rest of the last one's record.
const READ_EVENTS: usize = 256;
/// Milliseconds that an event stays in the ring (design: 120 s).
const RING_MS: u64 = 120_000;

/// One session's ring.
pub(crate) struct Hub {
    session: SessionId,
    ring: Mutex<Ring>,
    /// Ordinal of the next event: readers wait for it to move.
    next: watch::Sender<u64>,
}

struct Ring {
    /// Nobody has ever looked: nothing is kept.
    active: bool,
    events: VecDeque<(Millis, Arc<Event>)>,
    /// Ordinal of the event after the last.
    next: u64,
    settled: Seq,
    deltas: u64,
}

/// What a reader gets.
pub(crate) enum Read {
    Events(Vec<Arc<Event>>),
    /// Events between the cursor and the ring's beginning are gone.
    Lost {
        missed: u64,
        from: u64,
    },
}

impl Hub {
    pub fn new(session: SessionId) -> Self {
        let ring = Ring { active: false, events: VecDeque::new(), next: 0, settled: 0, deltas: 0 };
        Self { session, ring: Mutex::new(ring), next: watch::Sender::new(0) }
    }

    /// Somebody looks from now on. Returns the cursor of the oldest event that is still here.
    pub fn activate(&self) -> u64 {
        let mut ring = self.lock();
        ring.active = true;
        ring.next - ring.events.len() as u64
    }

    pub fn is_active(&self) -> bool {
        self.lock().active
    }

    /// Publishes the events of durable records, and says how far the log is.
    pub fn settle(&self, events: Vec<Event>, settled: Seq, now: Millis) {
        let mut ring = self.lock();
        ring.settled = ring.settled.max(settled);
        for event in events {
            ring.push(event, now);
        }
        self.wake(&ring);
    }

    /// Publishes a live event, unless nobody has ever looked.
    pub fn live(&self, key: &EffectKey, now: Millis, make: impl FnOnce(u64) -> EventKind) {
        let mut ring = self.lock();
        if !ring.active {
            return;
        }
        ring.deltas += 1;
        let kind = make(ring.deltas);
        let event = Event {
            v: EVENT_VERSION,
            seq: ring.settled,
            session: self.session.clone(),
            turn: Some(key.turn),
            step: Some(key.step),
            at: now,
            kind,
        };
        ring.push(event, now);
        self.wake(&ring);
    }

    /// Publishes an event that is no record and belongs to no effect, such as the result of a parked turn.
    pub fn say(&self, turn: Option<u64>, now: Millis, kind: EventKind) {
        let mut ring = self.lock();
        let (v, seq, session) = (EVENT_VERSION, ring.settled, self.session.clone());
        ring.push(Event { v, seq, session, turn, step: None, at: now, kind }, now);
        self.wake(&ring);
    }

    /// What there is from `cursor` on.
    pub fn read(&self, cursor: u64) -> Read {
        let ring = self.lock();
        let first = ring.next - ring.events.len() as u64;
        if cursor < first {
            return Read::Lost { missed: first - cursor, from: first };
        }
        let skip = usize::try_from(cursor - first).unwrap_or(usize::MAX);
        let mut events: Vec<Arc<Event>> = Vec::new();
        for (_, event) in ring.events.iter().skip(skip) {
            // Never a part of a record's events: the rest could be dropped before the next read.
            if events.len() >= READ_EVENTS && events.last().is_some_and(|last| last.seq != event.seq) {
                break;
            }
            events.push(event.clone());
        }
        Read::Events(events)
    }

    /// The last record that is durable and shown.
    pub fn settled(&self) -> Seq {
        self.lock().settled
    }

    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.next.subscribe()
    }

    fn wake(&self, ring: &Ring) {
        self.next.send_replace(ring.next);
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn push(&mut self, event: Event, now: Millis) {
        if !self.active {
            return;
        }
        self.events.push_back((now, Arc::new(event)));
        self.next += 1;
        let old = |(at, _): &(Millis, Arc<Event>)| at.saturating_add(RING_MS) < now;
        while self.events.len() > RING_EVENTS || self.events.front().is_some_and(old) {
            self.events.pop_front();
        }
    }
}
