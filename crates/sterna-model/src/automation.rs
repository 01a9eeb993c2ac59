//! What starts turns when nobody is there: schedules and triggers, and the runs that they made.

use serde::{Deserialize, Serialize};

use crate::{Given, Millis, NanoUsd, Seq, SessionId, StopReason};

/// A schedule or a trigger, as it was made. It is never changed: another one takes its name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Automation {
    /// 1 to 64 characters of `a-z0-9-`. One name is one automation.
    pub name: String,
    pub start: Start,
    /// IANA name of the zone whose clock counts, such as `Europe/Berlin`.
    pub zone: String,
    /// Nothing starts in these hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet: Option<QuietHours>,
    #[serde(default)]
    pub missed: Missed,
    #[serde(default)]
    pub overlap: Overlap,
    #[serde(default)]
    pub target: RunTarget,
    /// What each run is told.
    pub prompt: String,
    /// What each run may do: fixed when the automation was made, and never more than its maker might.
    pub given: Box<Given>,
    /// Who made it: `cli`, `sdk`, or the session of an agent.
    pub by: String,
}

/// When a run is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// 5 fields, or 6 with seconds first.
    Cron { expr: String },
    /// Milliseconds, counted from when it was made.
    Every { ms: u64 },
    /// Once.
    At { at: Millis },
    /// When something happens: a trigger.
    On { source: Source, key: String },
}

/// Where an occurrence comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Somebody published it.
    Publish,
    /// A run of the automation of this name has ended.
    Automation,
    /// A background job of this session has ended.
    Job,
}

impl Source {
    pub const ALL: [Self; 3] = [Self::Publish, Self::Automation, Self::Job];

    pub fn word(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Automation => "automation",
            Self::Job => "job",
        }
    }
}

/// A span of the day in the automation's zone, in minutes since midnight. It may pass midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuietHours {
    pub from: u16,
    /// The first minute after it.
    pub to: u16,
}

/// What becomes of times that were due while nobody was there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missed {
    Skip,
    /// One run makes up for all of them.
    #[default]
    Once,
    /// Each is made up for, one after the other.
    All,
}

/// What becomes of a time that is due while the run before is not over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    #[default]
    Skip,
    /// It starts when that one has ended.
    Queue,
    Parallel,
}

/// Which session a run works in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunTarget {
    /// One of its own.
    #[default]
    Own,
    Session(SessionId),
}

/// Something that happened, which triggers may be waiting for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occurrence {
    pub source: Source,
    pub key: String,
    /// The same occurrence has the same id, however often it is delivered.
    pub id: String,
    /// At most 16 KiB.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub payload: String,
    /// How many runs led to it, one by the other.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hops: u32,
}

fn is_zero<T: Default + PartialEq>(n: &T) -> bool {
    *n == T::default()
}

/// What a record does to the automations. `made` is the record that made the one that is meant: what was decided on
/// another one of the same name counts for nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AutomationChange {
    Made(Box<Automation>),
    Paused {
        name: String,
        by: String,
    },
    /// Times that were due while it was paused are not made up for.
    Resumed {
        name: String,
        by: String,
    },
    Removed {
        name: String,
        by: String,
    },
    /// A run is to start. It is driven from here on, by whoever is there.
    Fired(Box<Fired>),
    /// Times that no run is made for, with the reason.
    Passed {
        name: String,
        made: Seq,
        /// The last time that was decided before.
        after: Millis,
        /// The last time that is passed over.
        until: Millis,
        times: u64,
        why: PassedWhy,
    },
    /// An occurrence that no run is made for.
    Dropped {
        name: String,
        made: Seq,
        occurrence: Box<Occurrence>,
        why: PassedWhy,
    },
    Ended {
        run: String,
        end: Box<RunEnd>,
    },
    /// Something was to be told to a session that is not there any more.
    Discarded {
        session: SessionId,
        /// The idempotency key under which it would have been told.
        key: String,
        why: Discard,
    },
}

/// A run that is to start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fired {
    pub name: String,
    pub made: Seq,
    /// Its name, derived from what it is made for: whoever decides the same gives it the same one.
    pub run: String,
    /// When it was due.
    pub due: Millis,
    pub cause: Cause,
}

/// What a run is made for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Its time had come.
    Time {
        /// The last time that was decided before.
        after: Millis,
        /// Earlier times that it makes up for.
        #[serde(default, skip_serializing_if = "is_zero")]
        missed: u64,
    },
    Occurrence(Box<Occurrence>),
    /// Somebody wanted it now.
    Hand {
        by: String,
    },
}

/// Why no run was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PassedWhy {
    /// Nobody was there at the time, and missed times are skipped.
    Missed,
    /// The run before was not over.
    Overlap,
    /// It came in the quiet hours.
    Quiet,
    /// Too many runs led to it, one by the other.
    Hops,
}

impl PassedWhy {
    pub fn word(self) -> &'static str {
        match self {
            Self::Missed => "missed",
            Self::Overlap => "overlap",
            Self::Quiet => "quiet",
            Self::Hops => "hops",
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunEnd {
    pub outcome: RunOutcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// The beginning of what the model said last, or what went wrong: at most 1 KiB.
    pub message: String,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub steps: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tokens: u64,
    /// `None` when a price is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<NanoUsd>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunOutcome {
    Finished,
    Stopped(StopReason),
    /// It could not start.
    Failed,
    Discarded(Discard),
}

/// Why something reached nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Discard {
    /// Its session was deleted, and ids are used once.
    SessionDeleted,
    /// It is older than 7 days.
    Expired,
}

impl Discard {
    pub fn word(self) -> &'static str {
        match self {
            Self::SessionDeleted => "session_deleted",
            Self::Expired => "expired",
        }
    }
}

/// What happened to an automation, as events name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AutomationWord {
    Made,
    Paused,
    Resumed,
    Removed,
    Fired,
    Passed,
    Dropped,
    Ended,
    Discarded,
}

impl AutomationChange {
    pub fn word(&self) -> AutomationWord {
        match self {
            Self::Made(_) => AutomationWord::Made,
            Self::Paused { .. } => AutomationWord::Paused,
            Self::Resumed { .. } => AutomationWord::Resumed,
            Self::Removed { .. } => AutomationWord::Removed,
            Self::Fired(_) => AutomationWord::Fired,
            Self::Passed { .. } => AutomationWord::Passed,
            Self::Dropped { .. } => AutomationWord::Dropped,
            Self::Ended { .. } => AutomationWord::Ended,
            Self::Discarded { .. } => AutomationWord::Discarded,
        }
    }

    /// What people and models wrote in it.
    pub fn texts_mut(&mut self) -> Vec<&mut String> {
        match self {
            Self::Made(made) => vec![&mut made.prompt],
            Self::Fired(fired) => match &mut fired.cause {
                Cause::Occurrence(occurrence) => vec![&mut occurrence.payload],
                Cause::Time { .. } | Cause::Hand { .. } => Vec::new(),
            },
            Self::Dropped { occurrence, .. } => vec![&mut occurrence.payload],
            Self::Ended { end, .. } => vec![&mut end.message],
            Self::Paused { .. }
            | Self::Resumed { .. }
            | Self::Removed { .. }
            | Self::Passed { .. }
            | Self::Discarded { .. } => Vec::new(),
        }
    }

    /// The automation, the run or the session that it is about.
    pub fn about(&self) -> &str {
        match self {
            Self::Made(made) => &made.name,
            Self::Paused { name, .. }
            | Self::Resumed { name, .. }
            | Self::Removed { name, .. }
            | Self::Passed { name, .. }
            | Self::Dropped { name, .. } => name,
            Self::Fired(fired) => &fired.run,
            Self::Ended { run, .. } => run,
            Self::Discarded { session, .. } => session.as_str(),
        }
    }
}
