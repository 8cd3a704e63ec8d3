//! The wait for outcomes: records are given up when none of them has had one for as long as a response may take. A long
//! input waits longer than that for a slow network, and is not given up.

use std::time::Duration;

/// The time that requests under way get when the records behind them are given up.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// The records to give up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GiveUp {
    /// Those that no request has yet.
    Queued,
    All,
}

#[derive(Debug)]
pub struct Patience {
    timeout: Duration,
    /// The number of outcomes at the last look.
    outcomes: u64,
    /// The time of the last outcome, or the last time at which no record was under way.
    since: Duration,
    gave_up: Option<Duration>,
}

impl Patience {
    pub fn new(timeout: Duration) -> Patience {
        Patience { timeout, outcomes: 0, since: Duration::ZERO, gave_up: None }
    }

    /// Called again and again, with the time since the start, the number of all outcomes so far, and whether records are
    /// under way.
    pub fn look(&mut self, now: Duration, outcomes: u64, are_under_way: bool) -> Option<GiveUp> {
        if !are_under_way || (self.gave_up.is_none() && outcomes != self.outcomes) {
            (self.outcomes, self.since, self.gave_up) = (outcomes, now, None);
            return None;
        }
        if self.gave_up.is_none() && now.saturating_sub(self.since) < self.timeout {
            return None;
        }
        let gave_up = *self.gave_up.get_or_insert(now);
        let is_last = now.saturating_sub(gave_up) >= LAST_WAIT;
        Some(if is_last { GiveUp::All } else { GiveUp::Queued })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(10);

    fn looks(looks: &[(u64, u64, bool)]) -> Vec<Option<GiveUp>> {
        let mut patience = Patience::new(TIMEOUT);
        looks
            .iter()
            .map(|(ms, outcomes, way)| patience.look(Duration::from_millis(*ms), *outcomes, *way))
            .collect()
    }

    #[test]
    fn records_wait_as_long_as_others_have_outcomes() {
        assert_eq!(looks(&[(0, 0, true), (9_000, 1, true), (18_000, 2, true), (27_999, 2, true)]), [None; 4]);
    }

    #[test]
    fn a_silent_broker_is_given_up_first_behind_the_requests_and_a_second_later_altogether() {
        let given_up = looks(&[(0, 0, true), (10_000, 0, true), (10_500, 80, true), (11_000, 80, true)]);
        assert_eq!(given_up, [None, Some(GiveUp::Queued), Some(GiveUp::Queued), Some(GiveUp::All)]);
    }

    #[test]
    fn the_time_in_which_no_record_is_under_way_does_not_count() {
        assert_eq!(
            looks(&[(0, 0, false), (99_000, 0, false), (99_001, 0, true), (108_999, 0, true)]),
            [None; 4]
        );
    }

    #[test]
    fn an_answer_that_comes_just_too_late_is_taken_and_the_next_record_has_all_its_time() {
        let late = looks(&[
            (0, 0, true),
            (10_000, 0, true),
            (10_400, 1, false),
            (59_999, 1, false),
            (69_998, 1, true),
        ]);
        assert_eq!(late, [None, Some(GiveUp::Queued), None, None, None]);
    }
}
