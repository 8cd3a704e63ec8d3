//! Counters of the rooms, which `metrics` reads. Counting is one relaxed atomic operation: no lock, no
//! allocation.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The number or amount of something; it never decreases.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub const fn new() -> Count {
        Count(AtomicU64::new(0))
    }

    pub fn one(&self) {
        self.add(1);
    }

    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A histogram of durations.
#[derive(Debug, Default)]
pub struct Durations {
    /// One for each bound, and one for durations above all of them.
    buckets: [Count; Durations::BOUNDS.len() + 1],
    nanoseconds: Count,
}

impl Durations {
    pub const BOUNDS: [Duration; 16] = [
        Duration::from_micros(100),
        Duration::from_micros(250),
        Duration::from_micros(500),
        Duration::from_millis(1),
        Duration::from_micros(2500),
        Duration::from_millis(5),
        Duration::from_millis(10),
        Duration::from_millis(25),
        Duration::from_millis(50),
        Duration::from_millis(100),
        Duration::from_millis(250),
        Duration::from_millis(500),
        Duration::from_secs(1),
        Duration::from_millis(2500),
        Duration::from_secs(5),
        Duration::from_secs(10),
    ];

    pub fn add(&self, took: Duration) {
        let bucket = Self::BOUNDS.partition_point(|bound| *bound < took);
        self.buckets[bucket].one();
        self.nanoseconds.add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.get())
    }

    /// The number of durations between each bound and the one before; `None` means no bound.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<Duration>, u64)> {
        let bounds = Self::BOUNDS.into_iter().map(Some).chain([None]);
        bounds.zip(self.buckets.iter().map(Count::get))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_at_the_first_bound_that_it_does_not_pass() {
        let durations = Durations::default();
        for micros in [0, 100, 101, 1000, 3_600_000_000] {
            durations.add(Duration::from_micros(micros));
        }
        let counted: Vec<(Option<Duration>, u64)> = durations.buckets().filter(|(_, n)| *n > 0).collect();
        let at = |micros| Some(Duration::from_micros(micros));
        assert_eq!(counted, [(at(100), 2), (at(250), 1), (at(1000), 1), (None, 1)]);
        assert_eq!(durations.sum(), Duration::from_micros(3_600_001_201));
    }
}
