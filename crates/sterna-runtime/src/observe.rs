//! Observers: the log first, then live. What the ring has dropped is an explicit gap, then the settled state.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use sterna_log::fold::Folded;
use sterna_log::{HISTORY_PAGE, HistoryCursor, LogError, Sealed, SharedLog};
use sterna_model::{EVENT_VERSION, Event, EventKind, Seq, SessionId};
use tokio::sync::watch;

use crate::hub::{Hub, Read};
use crate::shared::Shared;
use crate::snapshot;

/// A reader of one session's events. Slow readers cost nobody anything: they find a gap.
pub struct Observer {
    log: SharedLog,
    session: SessionId,
    /// Keeps the session's hub where others find it.
    shared: Arc<Shared>,
    moved: watch::Receiver<u64>,
    cursor: u64,
    /// The last record whose events were given.
    seen: Seq,
    /// The last record whose events came from the log: the ring may hold them too.
    from_log: Seq,
    backlog: VecDeque<Event>,
    /// The log as far as it was read, and its fold.
    reader: Option<HistoryCursor>,
    /// A page on its way: a caller that looks away comes back to it.
    reading: Option<BoxFuture<'static, Turned>>,
    folded: Folded,
    /// The log must be read before the ring.
    behind: bool,
}

impl Observer {
    /// Events of records after `seen`, and what is live.
    pub(crate) fn new(log: SharedLog, session: SessionId, shared: Arc<Shared>, seen: Seq) -> Self {
        let cursor = shared.hub.activate();
        let moved = shared.hub.subscribe();
        Self {
            log,
            session,
            shared,
            moved,
            cursor,
            seen,
            from_log: seen,
            backlog: VecDeque::new(),
            reader: None,
            reading: None,
            folded: Folded::new(),
            behind: true,
        }
    }

    /// The next event. Waits for ever when nothing happens any more: stop at `result`.
    pub async fn next(&mut self) -> Result<Event, LogError> {
        loop {
            if let Some(event) = self.backlog.pop_front() {
                return Ok(event);
            }
            if self.behind {
                self.behind = !self.catch_up().await?;
                continue;
            }
            self.moved.borrow_and_update();
            match self.hub().read(self.cursor) {
                Read::Events(events) if events.is_empty() => {
                    // Records that were staged before anyone looked came without events.
                    if self.hub().settled() > self.seen {
                        self.behind = true;
                    } else {
                        // The hub lives as long as we do: the channel is never closed.
                        let _ = self.moved.changed().await;
                    }
                }
                Read::Events(events) => self.take(&events),
                Read::Lost { missed, from } => {
                    self.cursor = from;
                    self.behind = true;
                    self.backlog.push_back(self.gap(missed));
                }
            }
        }
    }

    fn hub(&self) -> &Hub {
        &self.shared.hub
    }

    fn take(&mut self, events: &[Arc<Event>]) {
        for event in events {
            let unrecorded = match &event.kind {
                // A parked or drained result carries the seq of the record before it.
                EventKind::Result(result) => matches!(result.outcome, "parked" | "drained"),
                kind => kind.is_live(),
            };
            // An event that is no record must not hide records that came without events.
            let due = if unrecorded { self.seen } else { self.seen + 1 };
            if event.seq > due {
                self.behind = true;
                return;
            }
            self.cursor += 1;
            // What the log gave already, and deltas of what is settled by now, are old.
            let old = if unrecorded { event.seq < self.from_log } else { event.seq <= self.from_log };
            if !old {
                self.seen = self.seen.max(event.seq);
                self.backlog.push_back(Event::clone(event));
            }
        }
    }

    fn gap(&self, missed: u64) -> Event {
        Event {
            v: EVENT_VERSION,
            seq: self.seen,
            session: self.session.clone(),
            turn: None,
            step: None,
            at: 0,
            kind: EventKind::Gap { missed },
        }
    }

    /// Gives a page of what the log has beyond what was given; `true` when that was all. What is done stays done
    /// when the future is dropped.
    async fn catch_up(&mut self) -> Result<bool, LogError> {
        let reading = match &mut self.reading {
            Some(reading) => reading,
            None => {
                let (log, session, reader) = (self.log.clone(), self.session.clone(), self.reader.take());
                self.reading.insert(next_page(log, session, reader, self.seen).boxed())
            }
        };
        let (reader, page, folded) = reading.await;
        self.reading = None;
        self.reader = reader;
        if let Some(folded) = folded {
            self.folded = folded;
        }
        let page = match page {
            Ok(page) => page,
            // Asked before the session exists: it begins with the ring.
            Err(LogError::NotFound(_)) if self.reader.is_none() => return Ok(true),
            Err(error) => return Err(error),
        };
        let own = page.last().is_none_or(|(owner, _)| *owner == self.session);
        let end = own && page.len() < HISTORY_PAGE;
        for (owner, sealed) in page {
            self.folded.apply(&sealed.record);
            if owner == self.session && sealed.record.seq > self.seen {
                self.seen = sealed.record.seq;
                self.backlog.extend(self.folded.events(&sealed.record));
            }
        }
        if end {
            self.from_log = self.from_log.max(self.seen);
        }
        Ok(end)
    }
}

/// Records, each with the log it lies in.
type Page = Vec<(SessionId, Sealed)>;
/// A page, with the reader behind it; and the fold that it goes on from, where reading began with a snapshot.
type Turned = (Option<HistoryCursor>, Result<Page, LogError>, Option<Folded>);

async fn next_page(log: SharedLog, session: SessionId, reader: Option<HistoryCursor>, seen: Seq) -> Turned {
    let mut kept = None;
    let mut reader = match reader {
        Some(reader) => reader,
        None => match snapshot::shown(&log, &session, seen).await {
            Some((folded, reader)) => {
                kept = Some(folded);
                reader
            }
            None => match HistoryCursor::open(&*log, &session).await {
                Ok(reader) => reader,
                Err(error) => return (None, Err(error), None),
            },
        },
    };
    let page = reader.next_page(&*log).await;
    (Some(reader), page, kept)
}
