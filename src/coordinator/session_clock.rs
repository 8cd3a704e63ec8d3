//! The clock for sessions and rebalances: the monotonic clock, except that it stops while the
//! journal is stalled. A member whose answer is held back cannot send its next heartbeat, so a
//! hanging disk must not end its session. It also knows how much memory the records take that are on their way to
//! the kernel.

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
    /// Submitted records that have not settled, the oldest first, each with the memory by which it makes the
    /// kernel's state grow.
    in_flight: VecDeque<(Settled, isize)>,
    /// The memory of all of them.
    bytes: isize,
    /// The time when records last settled, or when the oldest were submitted if none were in flight
    /// before.
    progress: Duration,
    /// The total time that the clock was stopped, up to `progress`.
    stood: Duration,
}

/// A moment of the session clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub now: Duration,
    /// The memory of the records that have not settled. It is negative if they free memory.
    pub in_flight: isize,
}

impl SessionClock {
    pub fn new(clock: Clock) -> SessionClock {
        SessionClock(Arc::new(Inner { clock, state: Mutex::default() }))
    }

    pub fn look(&self) -> Look {
        self.0.look(None)
    }

    pub fn now(&self) -> Duration {
        self.look().now
    }

    /// Adds records that are waiting to become durable, and by which the kernel's state will grow.
    pub fn submitted(&self, settled: &Settled, grown: isize) {
        self.0.look(Some((settled, grown)));
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
    fn look(&self, new: Option<(&Settled, isize)>) -> Look {
        let monotonic = self.clock.monotonic();
        let mut state = self.state.lock().ignoring_poison();
        let before = state.in_flight.len();
        while let Some((_, grown)) = state.in_flight.pop_front_if(|(oldest, _)| oldest.peek().is_some()) {
            state.bytes -= grown;
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
        if let Some((new, grown)) = new.filter(|(new, _)| new.peek().is_none()) {
            if state.in_flight.is_empty() {
                state.progress = monotonic;
            }
            state.in_flight.push_back((new.clone(), grown));
            state.bytes += grown;
        }
        Look { now: monotonic.saturating_sub(state.stood + stands_for), in_flight: state.bytes }
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
        session.submitted(&settled, 0);
        at(&clock, 1);
        first.settle(Ok(()));
        let (second, settled) = Settled::pair();
        session.submitted(&settled, 0);
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
        session.submitted(&settled, 0);
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
    fn records_count_until_they_have_settled() {
        let session = SessionClock::new(Clock::manual(Timestamp(0)));
        let (first, settled) = Settled::pair();
        session.submitted(&settled, 100);
        let (second, settled) = Settled::pair();
        session.submitted(&settled, -30);
        assert_eq!(session.look().in_flight, 70);
        first.settle(Ok(()));
        assert_eq!(session.look().in_flight, -30);
        drop(second);
        assert_eq!(session.look().in_flight, 0, "it was not stored");
        session.submitted(&Settled::known(Ok(())), 50);
        assert_eq!(session.look().in_flight, 0, "the kernel has it");
    }
}
