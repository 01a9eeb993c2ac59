//! What follows a failed model call: one table, a row for each class of error.
//!
//! Pure: the caller brings the attempt's number, what was waited so far, and a seed for the jitter.

use sterna_model::ErrorClass;

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
    match here(class) {
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
    /// The defaults of a provider: a model on this machine may read its prompt for ten minutes.
    pub fn of_provider(name: &str) -> Self {
        match name {
            "local" => Self { first_byte_ms: 600_000, ..Self::default() },
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

/// The table.
fn here(class: ErrorClass) -> Here {
    match class {
        ErrorClass::RateLimit => Here::Backoff,
        ErrorClass::Overloaded => Here::Backoff,
        ErrorClass::Timeout => Here::Backoff,
        ErrorClass::Network => Here::Backoff,
        ErrorClass::Server => Here::Backoff,
        ErrorClass::StreamCut => Here::Backoff,
        ErrorClass::Interrupted => Here::AtOnce,
        ErrorClass::Auth => Here::End,
        ErrorClass::Quota => Here::End,
        ErrorClass::InvalidRequest => Here::End,
        ErrorClass::ContextOverflow => Here::End,
        ErrorClass::ContentFilter => Here::End,
        ErrorClass::ModelGone => Here::End,
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
        for class in [Auth, Quota, InvalidRequest, ContextOverflow, ContentFilter, ModelGone] {
            assert_eq!(decide(class, 1, Some(1), 0, 7), Retry::End, "{class:?}");
        }
        assert_eq!(decide(Interrupted, 1, None, 0, 7), Retry::After(0));
        assert_eq!(decide(Interrupted, 9, None, 89_999, 7), Retry::After(0));
        assert_eq!(decide(Interrupted, 10, None, 0, 7), Retry::End);
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
