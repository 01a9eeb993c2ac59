//! Which calls of a step run together.

use std::ops::Range;

use sterna_model::EffectClass;

/// Cuts the calls of a step into batches, in order: consecutive pure calls together, at most `max`; any other alone.
pub(crate) fn batches(classes: &[EffectClass], max: usize) -> Vec<Range<usize>> {
    let max = max.max(1);
    let mut batches: Vec<Range<usize>> = Vec::new();
    let mut open = false;
    for (i, class) in classes.iter().enumerate() {
        let pure = *class == EffectClass::Pure;
        match batches.last_mut() {
            Some(last) if open && pure && last.len() < max => last.end = i + 1,
            _ => batches.push(i..i + 1),
        }
        open = pure;
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;
    use EffectClass::{AtMostOnce as A, Idempotent as I, Pure as P};

    #[test]
    fn pure_neighbours_run_together_and_the_rest_alone() {
        let check = |classes: &[EffectClass], max: usize, expected: &[Range<usize>]| {
            assert_eq!(batches(classes, max), expected, "{classes:?} by {max}");
        };
        check(&[], 10, &[]);
        check(&[P, P, I, P], 10, &[0..2, 2..3, 3..4]);
        check(&[A, I], 10, &[0..1, 1..2]);
        check(&[P, P, P, P, P], 2, &[0..2, 2..4, 4..5]);
        check(&[P, P], 0, &[0..1, 1..2]);
    }
}
