//! The time for which the journal was stalled. The answers of clients are held back then, so it must not count for the
//! time that they have for a transaction.

use std::sync::Mutex;
use std::time::Duration;

use crate::time::Clock;
use crate::types::IgnorePoison;

/// A round that takes longer is a stall. This is far above a healthy sync.
const STALL: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Stalls {
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The time at which the current round began, if there is one.
    began: Option<Duration>,
    /// The sum of all stalls before it.
    before: Duration,
}

impl Stalls {
    pub fn new(clock: Clock) -> Stalls {
        Stalls { clock, state: Mutex::default() }
    }

    pub fn round_begins(&self) {
        self.state.lock().ignoring_poison().began = Some(self.now());
    }

    pub fn round_ends(&self) {
        let mut state = self.state.lock().ignoring_poison();
        state.before = state.total(self.now());
        state.began = None;
    }

    /// The sum of all stalls so far. It grows while the journal is stalled.
    pub fn total(&self) -> Duration {
        self.state.lock().ignoring_poison().total(self.now())
    }

    /// The time without that by which a test turns the clock.
    fn now(&self) -> Duration {
        self.clock.monotonic_and_turned().0
    }
}

impl State {
    fn total(&self, now: Duration) -> Duration {
        self.before + self.began.map_or(Duration::ZERO, |began| now.saturating_sub(began + STALL))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Timestamp;

    #[test]
    fn the_time_of_a_round_counts_from_its_second_second_on() {
        let clock = Clock::manual(Timestamp(0));
        let stalls = Stalls::new(clock.clone());
        let after = |seconds: u64| {
            clock.turn(Duration::from_secs(seconds));
            stalls.total().as_secs()
        };
        assert_eq!(after(10), 0, "no round");
        stalls.round_begins();
        assert_eq!([after(1), after(1), after(28)], [0, 1, 29]);
        stalls.round_ends();
        assert_eq!(after(10), 29);
        stalls.round_begins();
        assert_eq!(after(1), 29);
        stalls.round_ends();
        assert_eq!(after(10), 29);
        stalls.round_begins();
        assert_eq!(after(3), 31);
    }
}
