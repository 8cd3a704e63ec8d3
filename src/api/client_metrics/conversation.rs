//! When a client may ask for its subscription and push its metrics. Both are limited to one per interval, as in Kafka's
//! `ClientMetricsInstance`.

use std::time::Duration;

use crate::api::error::ErrorCode;

/// The requests of one client so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Conversation {
    asked: Option<Duration>,
    pushed: Option<Duration>,
    has_said_goodbye: bool,
    /// The last answer was an error after which the client has to ask again.
    may_ask_again: bool,
}

/// The facts about a push that decide whether it is taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Push {
    /// It names the current subscription.
    pub is_subscribed: bool,
    pub is_terminating: bool,
    pub has_known_compression: bool,
    pub fits: bool,
}

impl Conversation {
    /// The client asks for its subscription. An error leaves the interval as it is.
    pub fn ask(&mut self, now: Duration, interval: Duration) -> Result<(), ErrorCode> {
        let last = self.asked.max(self.pushed);
        let is_time = last.is_none_or(|last| now.saturating_sub(last) >= interval);
        if is_time {
            self.asked = Some(now);
        }
        let may_ask = is_time || self.may_ask_again;
        self.may_ask_again = false;
        if may_ask { Ok(()) } else { Err(ErrorCode::ThrottlingQuotaExceeded) }
    }

    /// The client pushes. The first push after a question is always in time, and so is the last push of a client that
    /// ends.
    pub fn push(&mut self, push: Push, now: Duration, interval: Duration) -> Result<(), ErrorCode> {
        let result = self.judge(push, now, interval);
        self.has_said_goodbye |= push.is_terminating;
        self.may_ask_again =
            matches!(result, Err(ErrorCode::UnknownSubscriptionId | ErrorCode::UnsupportedCompressionType));
        result
    }

    fn judge(&mut self, push: Push, now: Duration, interval: Duration) -> Result<(), ErrorCode> {
        if self.has_said_goodbye {
            return Err(ErrorCode::InvalidRequest);
        }
        let is_time = self.asked > self.pushed
            || self.pushed.is_none_or(|pushed| now.saturating_sub(pushed) >= interval);
        if is_time {
            self.pushed = Some(now);
        } else if !push.is_terminating {
            return Err(ErrorCode::ThrottlingQuotaExceeded);
        }
        if !push.is_subscribed {
            return Err(ErrorCode::UnknownSubscriptionId);
        }
        if !push.has_known_compression {
            return Err(ErrorCode::UnsupportedCompressionType);
        }
        if !push.fits { Err(ErrorCode::TelemetryTooLarge) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Push =
        Push { is_subscribed: true, is_terminating: false, has_known_compression: true, fits: true };
    const TOO_EARLY: Result<(), ErrorCode> = Err(ErrorCode::ThrottlingQuotaExceeded);

    /// A client whose interval is ten seconds.
    #[derive(Default)]
    struct Play(Conversation);

    impl Play {
        fn ask(&mut self, second: u64) -> Result<(), ErrorCode> {
            self.0.ask(Duration::from_secs(second), Duration::from_secs(10))
        }

        fn push(&mut self, second: u64, push: Push) -> Result<(), ErrorCode> {
            self.0.push(push, Duration::from_secs(second), Duration::from_secs(10))
        }
    }

    #[test]
    fn a_client_asks_once_and_pushes_once_per_interval() {
        let mut client = Play::default();
        assert_eq!(client.ask(100), Ok(()));
        assert_eq!(client.ask(109), TOO_EARLY);
        assert_eq!(client.push(109, GOOD), Ok(()), "the first push after the question");
        assert_eq!(client.push(118, GOOD), TOO_EARLY);
        assert_eq!(client.push(119, GOOD), Ok(()));
        assert_eq!(client.ask(128), TOO_EARLY, "a push counts, too");
        assert_eq!(client.ask(129), Ok(()));
        assert_eq!(client.push(129, GOOD), Ok(()));
    }

    #[test]
    fn a_client_with_an_outdated_subscription_or_an_unknown_compression_asks_again_at_once() {
        for wrong in [Push { is_subscribed: false, ..GOOD }, Push { has_known_compression: false, ..GOOD }] {
            let mut client = Play::default();
            assert_eq!(client.ask(100), Ok(()));
            assert!(client.push(101, wrong).is_err());
            assert_eq!(client.ask(102), Ok(()));
            assert_eq!(client.ask(103), TOO_EARLY, "only once");
            assert_eq!(client.push(104, GOOD), TOO_EARLY, "the wrong push was one");
            assert_eq!(client.push(111, GOOD), Ok(()));
        }
        let mut client = Play::default();
        let large = Push { fits: false, ..GOOD };
        assert_eq!(client.push(100, large), Err(ErrorCode::TelemetryTooLarge));
        assert_eq!(client.ask(101), TOO_EARLY);
    }

    #[test]
    fn a_client_that_ends_pushes_at_any_time_and_then_never_again() {
        let mut client = Play::default();
        let last = Push { is_terminating: true, ..GOOD };
        assert_eq!(client.push(100, GOOD), Ok(()));
        assert_eq!(client.push(101, last), Ok(()));
        assert_eq!(client.push(120, GOOD), Err(ErrorCode::InvalidRequest));
        assert_eq!(client.push(140, last), Err(ErrorCode::InvalidRequest));
        let mut client = Play::default();
        assert!(client.push(100, Push { is_subscribed: false, ..last }).is_err());
        assert_eq!(client.push(101, last), Err(ErrorCode::InvalidRequest), "also if it was refused");
    }
}
