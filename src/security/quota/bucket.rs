//! The token bucket for changes of topics (KIP-599). It fills with the quota's rate, up to the rate times all windows.

use std::time::Duration;

use super::used::IdleMeter;
use super::{Windows, rounded};

/// A full bucket at first. It may be overdrawn: the client waits until it is no longer.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    tokens: f64,
    /// The time when `tokens` was right.
    at: Duration,
}

impl Default for TokenBucket {
    fn default() -> TokenBucket {
        TokenBucket { tokens: f64::INFINITY, at: Duration::ZERO }
    }
}

impl TokenBucket {
    /// Takes tokens, also from an empty bucket. `Err` has the time until the bucket is no longer overdrawn.
    pub fn take(&mut self, tokens: f64, limit: f64, now: Duration, windows: Windows) -> Result<(), Duration> {
        self.refill(limit, now, windows);
        self.tokens -= tokens;
        self.check(limit)
    }

    /// Takes tokens, unless the bucket is overdrawn already.
    pub fn take_if_any(
        &mut self,
        tokens: f64,
        limit: f64,
        now: Duration,
        windows: Windows,
    ) -> Result<(), Duration> {
        self.refill(limit, now, windows);
        self.check(limit)?;
        self.tokens -= tokens;
        Ok(())
    }

    fn check(&self, limit: f64) -> Result<(), Duration> {
        if self.tokens < 0.0 { Err(rounded(-self.tokens / limit)) } else { Ok(()) }
    }

    fn refill(&mut self, limit: f64, now: Duration, windows: Windows) {
        let grown = self.tokens + limit * now.saturating_sub(self.at).as_secs_f64();
        self.tokens = grown.min(limit * windows.span().as_secs_f64());
        self.at = now;
    }
}

impl IdleMeter for TokenBucket {
    /// A bucket that is not overdrawn fills within the time of all windows, and is equal to a new one then.
    fn is_idle(&self, now: Duration, windows: Windows) -> bool {
        self.tokens >= 0.0 && now.saturating_sub(self.at) >= windows.span()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KAFKAS: Windows = Windows { count: 11, size: Duration::from_secs(1) };

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_full_bucket_gives_eleven_seconds_at_once_and_is_overdrawn_by_the_last_request() {
        let mut bucket = TokenBucket::default();
        assert_eq!(bucket.take_if_any(20.0, 1.0, at(5), KAFKAS), Ok(()));
        assert_eq!(bucket.take_if_any(1.0, 1.0, at(5), KAFKAS), Err(at(9_000)));
        assert_eq!(bucket.take_if_any(1.0, 1.0, at(6_005), KAFKAS), Err(at(3_000)), "nothing was taken");
        assert_eq!(bucket.take_if_any(1.0, 1.0, at(9_005), KAFKAS), Ok(()));
        assert_eq!(bucket.take_if_any(1.0, 1.0, at(9_005), KAFKAS), Err(at(1_000)));
    }

    #[test]
    fn an_older_client_overdraws_the_bucket_further_and_waits_for_all_of_it() {
        let mut bucket = TokenBucket::default();
        assert_eq!(bucket.take(20.0, 1.0, at(0), KAFKAS), Err(at(9_000)));
        assert_eq!(bucket.take(5.0, 1.0, at(1_000), KAFKAS), Err(at(13_000)));
        assert_eq!(bucket.take(0.0, 2.0, at(1_000), KAFKAS), Err(at(6_500)), "at another quota");
        assert!(!bucket.is_idle(at(90_000), KAFKAS), "it is overdrawn");
    }

    #[test]
    fn a_bucket_never_has_more_than_all_windows() {
        let mut bucket = TokenBucket::default();
        assert_eq!(bucket.take(1.0, 1.0, at(0), KAFKAS), Ok(()));
        assert!(bucket.is_idle(at(11_000), KAFKAS) && !bucket.is_idle(at(10_999), KAFKAS));
        assert_eq!(bucket.take(11.5, 1.0, at(60_000), KAFKAS), Err(at(500)));
    }
}
