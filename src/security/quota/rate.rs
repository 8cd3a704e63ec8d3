//! A rate over the last windows, as Kafka's `Rate` of a sum.

use std::collections::VecDeque;
use std::time::Duration;

use super::used::IdleMeter;
use super::{Windows, rounded};

/// The use in the last windows, the oldest first. A window begins when something is used after the end of the
/// one before; so there may be gaps between them.
#[derive(Clone, Debug, Default)]
pub struct Rate(VecDeque<Window>);

#[derive(Clone, Debug)]
struct Window {
    begins: Duration,
    /// The last use.
    last: Duration,
    sum: f64,
}

impl Rate {
    /// Adds `amount` at the time `now`. Returns how long the client is held back, so that its rate is back at the
    /// limit.
    pub fn use_up(&mut self, amount: f64, limit: f64, now: Duration, windows: Windows) -> Duration {
        self.add(amount, now, windows);
        self.held_back(limit, now, windows)
    }

    /// Adds `amount`, which may be negative: it takes back an earlier one.
    pub fn add(&mut self, amount: f64, now: Duration, windows: Windows) {
        let is_new = self.0.back().is_none_or(|last| now.saturating_sub(last.begins) >= windows.size);
        if is_new {
            self.forget_old(now, windows);
            self.0.push_back(Window { begins: now, last: now, sum: 0.0 });
        }
        if let Some(window) = self.0.back_mut() {
            window.sum += amount;
            window.last = now;
        }
    }

    /// The use in all windows.
    pub fn sum(&mut self, now: Duration, windows: Windows) -> f64 {
        self.forget_old(now, windows);
        self.0.iter().map(|window| window.sum).sum()
    }

    fn held_back(&mut self, limit: f64, now: Duration, windows: Windows) -> Duration {
        let sum = self.sum(now, windows);
        let time = self.measured_time(now, windows).as_secs_f64();
        let rate = sum / time;
        if rate <= limit { Duration::ZERO } else { rounded((rate - limit) / limit * time) }
    }

    /// The time that the windows cover: since the oldest one began, but no less than all windows except the newest. So
    /// a client that has just begun may use what it did not use before.
    fn measured_time(&self, now: Duration, windows: Windows) -> Duration {
        const LEAST: Duration = Duration::from_millis(1);
        let elapsed = self.0.front().map_or(Duration::ZERO, |oldest| now.saturating_sub(oldest.begins));
        let complete = elapsed.as_nanos() / windows.size.as_nanos().max(1);
        let missing = u128::from(windows.count).saturating_sub(1).saturating_sub(complete);
        let missing = windows.size.saturating_mul(u32::try_from(missing).unwrap_or(u32::MAX));
        elapsed.saturating_add(missing).max(LEAST)
    }

    fn forget_old(&mut self, now: Duration, windows: Windows) {
        let is_old = |window: &mut Window| now.saturating_sub(window.last) >= windows.span();
        while self.0.pop_front_if(is_old).is_some() {}
    }
}

impl IdleMeter for Rate {
    /// A rate without use in its windows is equal to a new one.
    fn is_idle(&self, now: Duration, windows: Windows) -> bool {
        self.0.back().is_none_or(|last| now.saturating_sub(last.last) >= windows.span())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KAFKAS: Windows = Windows { count: 11, size: Duration::from_secs(1) };
    const LIMIT: f64 = 10_000.0;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn held(rate: &mut Rate, bytes: f64, now: u64) -> u64 {
        rate.use_up(bytes, LIMIT, at(now), KAFKAS).as_millis().try_into().unwrap()
    }

    #[test]
    fn a_client_may_use_ten_seconds_of_its_quota_at_once_and_waits_for_the_rest() {
        // A running Kafka 4.4 says 5 s to 150 kB at 10 kB/s.
        assert_eq!(held(&mut Rate::default(), 150_000.0, 7_000), 5_000);
        assert_eq!(held(&mut Rate::default(), 100_000.0, 7_000), 0, "exactly the limit");
        assert_eq!(held(&mut Rate::default(), 100_010.0, 7_000), 1);
    }

    #[test]
    fn a_rate_falls_with_the_time_and_is_forgotten_when_its_windows_are_over() {
        let mut rate = Rate::default();
        assert_eq!(held(&mut rate, 150_000.0, 0), 5_000);
        // The first window is measured with the time since its begin.
        assert_eq!(held(&mut rate, 0.0, 500), 4_500);
        assert_eq!(held(&mut rate, 0.0, 5_000), 5_000);
        assert_eq!(held(&mut rate, 0.0, 11_499), 3_501);
        assert!(!rate.is_idle(at(22_498), KAFKAS));
        assert_eq!(held(&mut rate, 0.0, 11_500), 0, "the first window was last used 11 s ago");
        assert!(rate.is_idle(at(22_500), KAFKAS));
    }

    #[test]
    fn a_use_that_is_taken_back_does_not_count() {
        let mut rate = Rate::default();
        assert_eq!(held(&mut rate, 150_000.0, 0), 5_000);
        rate.add(-150_000.0, at(0), KAFKAS);
        assert_eq!(held(&mut rate, 100_000.0, 1), 0);
    }
}
