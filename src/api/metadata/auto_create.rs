//! How fast, and up to how many, topics may come into being only because somebody asked for them:
//! a client with random names must not fill the broker (RELIABILITY §7).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// So many at once …
const BURST: u32 = 1_000;
/// … and so many per second after that.
const PER_SECOND: f64 = 100.0;
/// With so many partitions in the broker a topic has to be made on purpose.
const PARTITIONS: usize = 100_000;

#[derive(Debug)]
pub struct AutoCreate {
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Duration,
}

impl Default for AutoCreate {
    fn default() -> AutoCreate {
        AutoCreate { bucket: Mutex::new(Bucket { tokens: f64::from(BURST), filled: Duration::ZERO }) }
    }
}

impl AutoCreate {
    /// Whether one more topic may be made; `partitions` is how many there are.
    pub fn may_create(&self, partitions: usize, now: Duration) -> bool {
        if partitions >= PARTITIONS {
            return false;
        }
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let since = now.saturating_sub(bucket.filled);
        bucket.tokens = (bucket.tokens + since.as_secs_f64() * PER_SECOND).min(f64::from(BURST));
        bucket.filled = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_made_in_bursts_and_then_at_a_bounded_rate() {
        let auto = AutoCreate::default();
        let at = |ms| Duration::from_millis(ms);
        assert!((0..BURST).all(|_| auto.may_create(0, at(0))));
        assert!(!auto.may_create(0, at(0)));
        assert!(!auto.may_create(0, at(9)));
        assert!(auto.may_create(0, at(20)));
        assert!((0..BURST).all(|_| auto.may_create(0, at(1_000_000))));
        assert!(!auto.may_create(0, at(1_000_000)), "a long rest gives no more than one burst");
    }

    #[test]
    fn a_full_broker_makes_topics_on_purpose_only() {
        let auto = AutoCreate::default();
        assert!(auto.may_create(PARTITIONS - 1, Duration::ZERO));
        assert!(!auto.may_create(PARTITIONS, Duration::ZERO));
    }
}
