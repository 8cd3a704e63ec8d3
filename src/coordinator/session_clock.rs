//! The clock for sessions and rebalances: the monotonic clock, except that it stops while the
//! journal is stalled. A member whose answer is held back cannot send its next heartbeat, so a
//! hanging disk must not end its session. It also knows by how much the records grow the kernel's state that are on
//! their way to it.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake};
use std::time::Duration;

use super::Settled;
use crate::time::Clock;
use crate::types::IgnorePoison;

/// The time without anything becoming durable that counts as a stall. It is far above a healthy
/// sync and well below the shortest session timeout.
const STALL: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct SessionClock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Submitted records that have not settled, the oldest first, each with its growth.
    in_flight: VecDeque<(Settled, Growth)>,
    /// The growth by all of them.
    growth: Growth,
    /// The time when records last settled, or when the oldest were submitted if none were in flight
    /// before.
    progress: Duration,
    /// The total time that the clock was stopped, up to `progress`.
    stood: Duration,
}

/// A moment of the session clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct SessionMoment {
    pub now: Duration,
    /// The growth by records that have not settled.
    pub in_flight: Growth,
}

/// The growth of the kernel's state by records. It is negative if they make it smaller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Growth {
    pub machines: isize,
    pub bytes: isize,
}

impl SessionClock {
    pub fn new(clock: Clock) -> SessionClock {
        SessionClock(Arc::new(Inner { clock, state: Mutex::default() }))
    }

    pub fn look(&self) -> SessionMoment {
        self.0.look(None)
    }

    pub fn now(&self) -> Duration {
        self.look().now
    }

    /// Adds records that are waiting to become durable.
    pub fn submitted(&self, settled: &Settled, growth: Growth) {
        self.0.look(Some((settled, growth)));
        // Settling wakes the clock, which then measures the time it took.
        let waker = self.0.clone().into();
        let _ = pin!(settled.clone()).poll(&mut Context::from_waker(&waker));
    }
}

impl Wake for Inner {
    fn wake(self: Arc<Inner>) {
        self.look(None);
    }
}

impl Inner {
    fn look(&self, new: Option<(&Settled, Growth)>) -> SessionMoment {
        // A stall is measured without the time by which a test turns the clock.
        let (monotonic, turned) = self.clock.monotonic_and_turned();
        let mut state = self.state.lock().ignoring_poison();
        let before = state.in_flight.len();
        while let Some((_, growth)) = state.in_flight.pop_front_if(|(oldest, _)| oldest.peek().is_some()) {
            state.growth.machines -= growth.machines;
            state.growth.bytes -= growth.bytes;
        }
        let mut stands_for = match before {
            0 => Duration::ZERO,
            _ => monotonic.saturating_sub(state.progress + STALL),
        };
        if state.in_flight.len() < before {
            state.stood += stands_for;
            stands_for = Duration::ZERO;
            state.progress = monotonic;
        }
        if let Some((new, growth)) = new.filter(|(new, _)| new.peek().is_none()) {
            if state.in_flight.is_empty() {
                state.progress = monotonic;
            }
            state.in_flight.push_back((new.clone(), growth));
            state.growth.machines += growth.machines;
            state.growth.bytes += growth.bytes;
        }
        let now = (monotonic + turned).saturating_sub(state.stood + stands_for);
        SessionMoment { now, in_flight: state.growth }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Timestamp;

    fn at(clock: &Clock, seconds: i64) {
        clock.set(Timestamp(seconds * 1000));
    }

    #[test]
    fn it_runs_while_writes_settle() {
        let clock = Clock::manual(Timestamp(0));
        let session = SessionClock::new(clock.clone());
        let (first, settled) = Settled::pair();
        session.submitted(&settled, Growth::default());
        at(&clock, 1);
        first.settle(Ok(()));
        let (second, settled) = Settled::pair();
        session.submitted(&settled, Growth::default());
        at(&clock, 2);
        assert_eq!(session.now(), Duration::from_secs(2));
        second.settle(Ok(()));
        at(&clock, 100);
        assert_eq!(session.now(), Duration::from_secs(100), "and while there are none");
    }

    #[test]
    fn it_stands_while_the_journal_hangs_and_goes_on_from_there() {
        let clock = Clock::manual(Timestamp(0));
        let session = SessionClock::new(clock.clone());
        at(&clock, 10);
        let (hanging, settled) = Settled::pair();
        session.submitted(&settled, Growth::default());
        at(&clock, 70);
        assert_eq!(session.now(), Duration::from_secs(11));
        at(&clock, 100);
        assert_eq!(session.now(), Duration::from_secs(11));
        hanging.settle(Ok(()));
        assert_eq!(session.now(), Duration::from_secs(11));
        at(&clock, 105);
        assert_eq!(session.now(), Duration::from_secs(16));
    }

    #[test]
    fn the_time_by_which_a_test_turns_the_clock_counts_also_while_the_journal_is_busy() {
        let clock = Clock::turnable();
        let session = SessionClock::new(clock.clone());
        let (_busy, settled) = Settled::pair();
        session.submitted(&settled, Growth::default());
        let before = session.now();
        clock.turn(Duration::from_secs(100));
        assert!(session.now() >= before + Duration::from_secs(100));
    }

    #[test]
    fn records_count_until_they_have_settled() {
        let session = SessionClock::new(Clock::manual(Timestamp(0)));
        let (first, settled) = Settled::pair();
        session.submitted(&settled, Growth { machines: 1, bytes: 100 });
        let (second, settled) = Settled::pair();
        let shrinks = Growth { machines: -1, bytes: -30 };
        session.submitted(&settled, shrinks);
        assert_eq!(session.look().in_flight, Growth { machines: 0, bytes: 70 });
        first.settle(Ok(()));
        assert_eq!(session.look().in_flight, shrinks);
        drop(second);
        assert_eq!(session.look().in_flight, Growth::default(), "it was not stored");
        session.submitted(&Settled::known(Ok(())), Growth { machines: 1, bytes: 50 });
        assert_eq!(session.look().in_flight, Growth::default(), "the kernel has it");
    }
}
