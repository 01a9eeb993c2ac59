//! The effect shim: one small process per command, which outlives the runtime and keeps the true result on disk.
//!
//! It must never know policy, a session's log or a model: it is given a [`Plan`], runs exactly that, and is asked for
//! its end by the effect key. What it knows it tells through its *spool*, a folder named by a hash of key and attempt:
//!
//! | file | what it says |
//! |---|---|
//! | `plan` | what is to run |
//! | `lock` | held by the shim's process while it lives; a lock, because a process id may belong to another tomorrow |
//! | `claim` | `started` by the shim or `revoked` by recovery, whoever links it first; there is never another |
//! | `output` | stdout and stderr in the order in which they came, raw |
//! | `control` | a socket for input, its end, and kill |
//! | `exited` | code or signal, cause, times, byte count and hash of the output |
//!
//! From these a spool's [`State`] is read, and nothing else decides:
//!
//! ```text
//!   (no folder) ── start ──▶ Open ── shim claims ──▶ Running ── command ends ──▶ Exited
//!        │                    │                         │
//!        └──── attach ────────┴─ recovery claims ─▶ Revoked (it never ran, and never will)
//!                                                       └─ shim is killed, power is lost ─▶ Dead (in doubt)
//! ```
//!
//! The claim is durable before the command starts. `exited` can be seen as soon as it is written, whole, and the shim makes
//! it durable with the output before it goes: who reads it writes the outcome to a durable log, which acknowledges it. An
//! end that the power takes with it before either is a doubt, never another end.
//! The runtime reads the spool in one way, live and after a restart: [`Handle`].
//!
//! A spool goes when its outcome is in the log, unless its plan says `job`: a background job is read, given input and
//! ended later, by its id ([`Spool::job_id`]), and its spool stays until somebody removes it.
//!
//! The shim leads a session of its own and adopts what its command leaves, so that its kill finds every descendant,
//! also one that called `setsid`. It does not confine itself; what confines the command stands between
//! the two ([`sandbox`](crate::sandbox)).
//! What is not found: a process that another daemon starts for the command, and one of another user. If the shim itself
//! is killed, its command is killed by the system; what the command had started before then is found by its session
//! ([`Shims::end_strays`]).

mod bound;
mod client;
mod control;
mod follow;
mod format;
mod handle;
mod host;
mod kin;
mod list;
mod plan;
mod spool;
mod supervise;
mod terminal;
#[cfg(test)]
mod tests;

pub(crate) use bound::NOT_STARTED;
pub use bound::{Server, start_unbound};
pub use client::{Found, Helper, ShimError, Shims};
pub use control::Control;
pub use follow::{Followed, follow};
pub use format::{FormatError, VERSION};
pub use handle::{End, Event, Handle};
pub use host::{MARKER, init, main, refuse};
#[doc(hidden)]
pub use host::{Step, main_observed};
pub use list::{Listed, ListedPlan};
pub use plan::{AtCap, Cause, DEFAULT_OUTPUT_CAP, Exit, How, Input, Leftovers, Plan, Run, Screen};
pub use spool::{Spool, SpoolError, Started, State};
