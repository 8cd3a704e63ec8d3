//! Deadlines of many members. The next one is known without looking at all of them.

use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Clone, Debug)]
pub(super) struct Deadlines<K> {
    of: BTreeMap<K, Duration>,
    /// No deadline is earlier. A member that was heard from moves its own deadline and not this one, which is
    /// found anew when it has passed.
    next: Duration,
}

impl<K: Ord + Clone> Deadlines<K> {
    pub fn set(&mut self, of: K, at: Duration) {
        self.next = if self.of.is_empty() { at } else { self.next.min(at) };
        self.of.insert(of, at);
    }

    /// Moves a deadline, if there is one, by this time.
    pub fn prolong(&mut self, of: &K, by: Duration) {
        if let Some(at) = self.of.get_mut(of) {
            *at += by;
        }
    }

    /// Returns whether there was a deadline.
    pub fn remove<Q: Ord + ?Sized>(&mut self, of: &Q) -> bool
    where
        K: std::borrow::Borrow<Q>,
    {
        self.of.remove(of).is_some()
    }

    pub fn contains<Q: Ord + ?Sized>(&self, of: &Q) -> bool
    where
        K: std::borrow::Borrow<Q>,
    {
        self.of.contains_key(of)
    }

    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.of.keys()
    }

    pub fn len(&self) -> usize {
        self.of.len()
    }

    pub fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// The earliest deadline, or a time before it.
    pub fn next(&self) -> Option<Duration> {
        (!self.of.is_empty()).then_some(self.next)
    }

    /// The members whose deadlines have passed, in order. Their deadlines stay until they are removed.
    pub fn passed(&mut self, now: Duration) -> Vec<K> {
        if self.next().is_none_or(|next| next > now) {
            return Vec::new();
        }
        let passed = self.of.iter().filter(|(_, at)| **at <= now).map(|(of, _)| of.clone()).collect();
        if let Some(next) = self.of.values().copied().filter(|at| *at > now).min() {
            self.next = next;
        }
        passed
    }
}

impl<K> Default for Deadlines<K> {
    fn default() -> Deadlines<K> {
        Deadlines { of: BTreeMap::new(), next: Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_next_deadline_is_never_too_late_and_no_passed_one_is_left_out() {
        let mut deadlines = Deadlines::default();
        assert_eq!(deadlines.next(), None);
        deadlines.set("a", at(10));
        deadlines.set("b", at(12));
        assert_eq!(deadlines.next(), Some(at(10)));
        deadlines.set("a", at(20));
        assert_eq!(deadlines.next(), Some(at(10)), "too early, and found anew when it has passed");
        assert_eq!(deadlines.passed(at(9)), Vec::<&str>::new());
        assert_eq!(deadlines.passed(at(10)), Vec::<&str>::new());
        assert_eq!(deadlines.next(), Some(at(12)));
        assert_eq!(deadlines.passed(at(20)), ["a", "b"]);
        assert!(deadlines.remove("b") && !deadlines.remove("b"));
        assert_eq!(deadlines.passed(at(20)), ["a"], "it was not removed");
        deadlines.remove("a");
        assert_eq!(deadlines.next(), None);
        deadlines.set("c", at(30));
        assert_eq!(deadlines.next(), Some(at(30)));
    }
}
