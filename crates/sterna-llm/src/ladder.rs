//! What follows a failed model call: one table, a row for each class of error. Again here, another model, another
//! provider, or the end.
//!
//! Pure: the caller brings the attempt's number, what was waited so far, and a seed for the jitter.

use sterna_model::{ErrorClass, Route};

/// What to do on the same route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Send the request again after this many milliseconds.
    After(u64),
    /// No further attempt here.
    End,
}

/// Decides after a failed attempt.
///
/// `attempt` counts the attempts of this step that failed, from 1; interrupted ones are counted by themselves, so for
/// `Interrupted` it is the number of interruptions. `waited_ms` is what this step has waited for retries already.
/// The same arguments give the same answer.
pub fn decide(
    class: ErrorClass,
    attempt: u32,
    retry_after_ms: Option<u64>,
    waited_ms: u64,
    jitter_seed: u64,
) -> Retry {
    match row(class).here {
        Here::End => Retry::End,
        Here::AtOnce if attempt < MAX_INTERRUPTED => Retry::After(0),
        Here::AtOnce => Retry::End,
        Here::Backoff if attempt >= MAX_ATTEMPTS => Retry::End,
        Here::Backoff => {
            let asked = retry_after_ms.unwrap_or(0);
            let wait = backoff(attempt, jitter_seed).max(asked);
            if asked > MAX_RETRY_AFTER_MS || waited_ms.saturating_add(wait) > MAX_WAITED_MS {
                return Retry::End;
            }
            Retry::After(wait)
        }
    }
}

/// The route that takes over when no further attempt follows on `failed`: the next one down the list of `top` and its
/// `fallback` that the class allows and that `usable` says could be asked. `None`: the turn ends.
///
/// Only listed routes are ever asked: whoever lists one of another provider sends that provider what is said.
pub fn next_rung<'a>(
    class: ErrorClass,
    failed: &Route,
    top: &Route,
    fallback: &'a [Route],
    usable: impl Fn(&Route) -> bool,
) -> Option<&'a Route> {
    let Row { model, provider, .. } = row(class);
    let below = if failed == top { 0 } else { fallback.iter().position(|route| route == failed)? + 1 };
    fallback.get(below..)?.iter().find(|route| {
        let allowed = if route.provider == failed.provider { model } else { provider };
        allowed && *route != failed && usable(route)
    })
}

/// Whether a failure of this class says that the route itself is not well, for its circuit breaker.
pub fn trips(class: ErrorClass) -> bool {
    row(class).trips
}

/// How long a provider may take, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    pub connect_ms: u64,
    /// From sending the request to the first byte of the answer's body.
    pub first_byte_ms: u64,
    /// Between two pieces of the answer.
    pub idle_ms: u64,
    /// The whole call.
    pub total_ms: u64,
}

impl Default for Timeouts {
    /// Design: connect 15 s, first byte 60 s, idle stream 120 s, whole call 30 min.
    fn default() -> Self {
        Self { connect_ms: 15_000, first_byte_ms: 60_000, idle_ms: 120_000, total_ms: 1_800_000 }
    }
}

impl Timeouts {
    /// The defaults of a provider: a model on this machine may read its prompt for ten minutes. Its server begins to
    /// answer before it has read it, so that the same holds for its silence.
    pub fn of_provider(name: &str) -> Self {
        match name {
            "local" => Self { first_byte_ms: 600_000, idle_ms: 600_000, ..Self::default() },
            _ => Self::default(),
        }
    }
}

/// A row's column "retry here".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Here {
    /// After a wait that doubles.
    Backoff,
    /// Without a wait: nothing is wrong with the provider.
    AtOnce,
    /// The same request would fail again.
    End,
}

/// What a class leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    here: Here,
    /// Another model of the same provider may do better.
    model: bool,
    /// Another provider may do better.
    provider: bool,
    /// It counts for the circuit breaker of the route.
    trips: bool,
}

/// The table: retry here, next model, next provider, breaker.
fn row(class: ErrorClass) -> Row {
    let row = |here, model, provider, trips| Row { here, model, provider, trips };
    match class {
        ErrorClass::RateLimit => row(Here::Backoff, true, true, true),
        ErrorClass::Overloaded => row(Here::Backoff, true, true, true),
        ErrorClass::Timeout => row(Here::Backoff, true, true, true),
        // The other models of a provider are behind the same name and the same line.
        ErrorClass::Network => row(Here::Backoff, false, true, true),
        ErrorClass::Server => row(Here::Backoff, true, true, true),
        ErrorClass::StreamCut => row(Here::Backoff, true, true, true),
        // Nothing is wrong with anybody but us.
        ErrorClass::Interrupted => row(Here::AtOnce, false, false, false),
        // One key, and one purse, for all models of a provider.
        ErrorClass::Auth => row(Here::End, false, true, false),
        ErrorClass::Quota => row(Here::End, false, true, false),
        // Somebody has to look at these: elsewhere they would fail again, or be got round.
        ErrorClass::InvalidRequest => row(Here::End, false, false, false),
        ErrorClass::ContextOverflow => row(Here::End, false, false, false),
        ErrorClass::ContentFilter => row(Here::End, false, false, false),
        ErrorClass::ModelGone => row(Here::End, true, true, false),
        // It is open for a minute, and the answer is wanted now.
        ErrorClass::BreakerOpen => row(Here::End, true, true, false),
    }
}

/// 1 s doubled each time, with 75 to 125 percent of it by the seed, at most 30 s.
fn backoff(attempt: u32, seed: u64) -> u64 {
    let doubled = FIRST_WAIT_MS.saturating_mul(1 << attempt.saturating_sub(1).min(16));
    let permille = 750 + mix(seed ^ u64::from(attempt)) % 501;
    (doubled.min(MAX_WAIT_MS) * permille / 1_000).min(MAX_WAIT_MS)
}

/// Spreads a seed over all bits (the finaliser of splitmix64).
fn mix(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

// Design: 4 attempts, 1 s x 2, at most 30 s, Retry-After up to 60 s, 90 s of waiting a step.
const MAX_ATTEMPTS: u32 = 4;
const FIRST_WAIT_MS: u64 = 1_000;
const MAX_WAIT_MS: u64 = 30_000;
const MAX_RETRY_AFTER_MS: u64 = 60_000;
const MAX_WAITED_MS: u64 = 90_000;
/// A call that kills its process every time must not do so for ever.
const MAX_INTERRUPTED: u32 = 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_class_has_its_row() {
        use ErrorClass::*;
        for class in [RateLimit, Overloaded, Timeout, Network, Server, StreamCut] {
            let Retry::After(wait) = decide(class, 1, None, 0, 7) else { panic!("{class:?} ends") };
            assert!((750..=1_250).contains(&wait), "{class:?} {wait}");
            assert_eq!(decide(class, 4, None, 0, 7), Retry::End, "{class:?}");
        }
        for class in [Auth, Quota, InvalidRequest, ContextOverflow, ContentFilter, ModelGone, BreakerOpen] {
            assert_eq!(decide(class, 1, Some(1), 0, 7), Retry::End, "{class:?}");
        }
        assert_eq!(decide(Interrupted, 1, None, 0, 7), Retry::After(0));
        assert_eq!(decide(Interrupted, 9, None, 89_999, 7), Retry::After(0));
        assert_eq!(decide(Interrupted, 10, None, 0, 7), Retry::End);
    }

    #[test]
    fn the_ladder_goes_down_as_each_class_allows() {
        use ErrorClass::*;
        let of = |text: &str| text.parse::<Route>().unwrap();
        let (top, list) = (of("a/1"), [of("a/2"), of("b/1"), of("b/2"), of("c/1")]);
        // Class, where it failed, what follows: written by hand from the design's table.
        for (class, failed, expected) in [
            (RateLimit, "a/1", Some("a/2")),
            (Overloaded, "a/2", Some("b/1")),
            (Timeout, "b/1", Some("b/2")),
            (Server, "b/2", Some("c/1")),
            (StreamCut, "c/1", None),
            (Network, "a/1", Some("b/1")),
            (Network, "b/1", Some("c/1")),
            (Auth, "a/1", Some("b/1")),
            (Quota, "a/2", Some("b/1")),
            (ModelGone, "a/1", Some("a/2")),
            (BreakerOpen, "a/1", Some("a/2")),
            (Interrupted, "a/1", None),
            (InvalidRequest, "a/1", None),
            (ContextOverflow, "a/1", None),
            (ContentFilter, "a/1", None),
        ] {
            let next = next_rung(class, &of(failed), &top, &list, |_| true).map(ToString::to_string);
            assert_eq!(next.as_deref(), expected, "{class:?} on {failed}");
        }
        // What cannot be asked is passed over; a route that is not of the list leads nowhere.
        let next = next_rung(Server, &top, &top, &list, |route| route.provider == "c");
        assert_eq!(next, Some(&list[3]));
        assert_eq!(next_rung(Server, &of("z/1"), &top, &list, |_| true), None);
        assert_eq!(next_rung(Server, &top, &top, &[], |_| true), None);
    }

    #[test]
    fn waits_double_within_their_jitter() {
        for (attempt, low, high) in [(1, 750, 1_250), (2, 1_500, 2_500), (3, 3_000, 5_000)] {
            let waits: Vec<u64> = (0..200).map(|seed| backoff(attempt, seed)).collect();
            assert!(waits.iter().all(|wait| (low..=high).contains(wait)), "attempt {attempt}: {waits:?}");
            let distinct: std::collections::BTreeSet<_> = waits.iter().collect();
            assert!(distinct.len() > 50, "attempt {attempt} does not spread");
        }
        assert!((0..200).all(|seed| (22_500..=30_000).contains(&backoff(40, seed))));
    }

    #[test]
    fn what_the_provider_asks_is_honoured() {
        let limited = |asked, waited| decide(ErrorClass::RateLimit, 1, Some(asked), waited, 7);
        assert_eq!(limited(20_000, 0), Retry::After(20_000));
        assert_eq!(limited(60_000, 0), Retry::After(60_000));
        assert_eq!(limited(60_001, 0), Retry::End);
        assert_eq!(limited(60_000, 30_000), Retry::After(60_000));
        assert_eq!(limited(60_000, 30_001), Retry::End);
        assert_eq!(decide(ErrorClass::Server, 1, None, 90_000, 7), Retry::End);
    }

    #[test]
    fn local_models_may_take_their_time() {
        assert_eq!(Timeouts::of_provider("local").first_byte_ms, 600_000);
        assert_eq!(Timeouts::of_provider("openai"), Timeouts::default());
    }

    proptest! {
        #[test]
        fn never_earlier_than_asked_and_always_the_same(
            attempt in 0u32..6, asked in proptest::option::of(0u64..70_000), waited in 0u64..100_000, seed in any::<u64>(),
        ) {
            let first = decide(ErrorClass::RateLimit, attempt, asked, waited, seed);
            prop_assert_eq!(first, decide(ErrorClass::RateLimit, attempt, asked, waited, seed));
            if let Retry::After(wait) = first {
                prop_assert!(wait >= asked.unwrap_or(0) && wait + waited <= 90_000);
            }
        }
    }
}
