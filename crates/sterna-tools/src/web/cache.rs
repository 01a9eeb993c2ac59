//! Answers of the last minutes, so that asking again costs nothing.

use std::sync::{Mutex, PoisonError};

use sterna_model::Millis;

/// The newest entries, each for a while.
pub(crate) struct Cache<K, V> {
    entries: Mutex<Vec<(Millis, K, V)>>,
    life: Millis,
    most: usize,
}

impl<K: PartialEq, V: Clone> Cache<K, V> {
    pub(crate) fn new(life: Millis, most: usize) -> Self {
        Self { entries: Mutex::default(), life, most }
    }

    pub(crate) fn get(&self, key: &K, now: Millis) -> Option<V> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|(at, _, _)| now.saturating_sub(*at) < self.life && *at <= now);
        entries.iter().find(|(_, held, _)| held == key).map(|(_, _, value)| value.clone())
    }

    pub(crate) fn put(&self, key: K, value: V, now: Millis) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|(_, held, _)| *held != key);
        if entries.len() >= self.most {
            entries.remove(0);
        }
        entries.push((now, key, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_live_for_a_while_and_the_oldest_goes_first() {
        let cache = Cache::new(100, 2);
        cache.put("a", 1, 0);
        cache.put("b", 2, 10);
        assert_eq!((cache.get(&"a", 99), cache.get(&"b", 99)), (Some(1), Some(2)));
        assert_eq!((cache.get(&"a", 100), cache.get(&"b", 100)), (None, Some(2)));
        cache.put("c", 3, 100);
        cache.put("d", 4, 100);
        assert_eq!(
            (cache.get(&"b", 101), cache.get(&"c", 101), cache.get(&"d", 101)),
            (None, Some(3), Some(4))
        );
        cache.put("c", 5, 101);
        assert_eq!((cache.get(&"c", 102), cache.get(&"d", 102)), (Some(5), Some(4)));
        // A clock that was set back.
        assert_eq!(cache.get(&"d", 50), None);
    }
}
