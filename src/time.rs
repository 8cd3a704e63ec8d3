//! The only room that reads a clock, sleeps or draws random bytes (clippy forbids it elsewhere),
//! so that everything else can be driven by a test.

#![expect(clippy::disallowed_methods, reason = "this is the room the rule points to")]

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::types::{IgnorePoison, Timestamp, Uuid};

/// The source of time: the machine, or a test.
#[derive(Clone, Debug, Default)]
pub struct Clock(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    Machine,
    /// The machine's clocks, ahead by this many milliseconds.
    Turned(Arc<AtomicU64>),
    Manual(Arc<Mutex<Hands>>),
}

/// The state of a manual clock, in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Hands {
    /// The time that has passed.
    ran: i64,
    /// The difference between the wall clock and `ran`.
    ahead: i64,
}

impl Hands {
    fn wall(self) -> Timestamp {
        Timestamp(self.ran.saturating_add(self.ahead))
    }

    fn ran(self) -> Duration {
        Duration::from_millis(u64::try_from(self.ran).unwrap_or(0))
    }
}

impl Clock {
    pub fn machine() -> Clock {
        Clock(Source::Machine)
    }

    /// The machine's clock, which a test can turn forward.
    pub fn turnable() -> Clock {
        Clock(Source::Turned(Arc::default()))
    }

    /// Turns the clock forward, as if this much time had passed: the wall clock and the others stay together. Does nothing
    /// to a clock that cannot be turned.
    pub fn turn(&self, by: Duration) {
        let ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        match &self.0 {
            Source::Machine => {}
            Source::Turned(ahead) => {
                ahead.fetch_add(ms, Ordering::SeqCst);
            }
            Source::Manual(hands) => {
                let mut hands = hands.lock().ignoring_poison();
                hands.ran = hands.ran.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX));
            }
        }
    }

    /// [`Clock::now`] and [`Clock::since_boot`], to compare them. If a test turns the clock meanwhile, both include the
    /// turn, or neither does.
    pub fn wall_and_since_boot(&self) -> (Timestamp, Duration) {
        match &self.0 {
            Source::Machine => (timestamp(since_epoch()), since_boot()),
            Source::Turned(ahead) => {
                let turned = turned_by(ahead);
                (timestamp(since_epoch() + turned), since_boot() + turned)
            }
            Source::Manual(hands) => {
                let hands = *hands.lock().ignoring_poison();
                (hands.wall(), hands.ran())
            }
        }
    }

    /// [`Clock::monotonic`] without the time by which a test has turned the clock, and that time.
    pub fn monotonic_and_turned(&self) -> (Duration, Duration) {
        match &self.0 {
            Source::Machine | Source::Manual(_) => (self.monotonic(), Duration::ZERO),
            Source::Turned(ahead) => (since_start(), turned_by(ahead)),
        }
    }

    /// A clock that does not advance until [`Clock::set`].
    pub fn manual(now: Timestamp) -> Clock {
        Clock(Source::Manual(Arc::new(Mutex::new(Hands { ran: now.0, ahead: 0 }))))
    }

    /// Advances a manual clock until the wall clock shows `now`. Does nothing to the machine's
    /// clock.
    pub fn set(&self, now: Timestamp) {
        if let Source::Manual(hands) = &self.0 {
            let mut hands = hands.lock().ignoring_poison();
            hands.ran = now.0.saturating_sub(hands.ahead);
        }
    }

    /// Sets only the wall clock of a manual clock, as an operator or NTP does. No time passes.
    pub fn step_to(&self, wall: Timestamp) {
        if let Source::Manual(hands) = &self.0 {
            let mut hands = hands.lock().ignoring_poison();
            hands.ahead = wall.0.saturating_sub(hands.ran);
        }
    }

    /// The wall clock.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::Machine => timestamp(since_epoch()),
            Source::Turned(ahead) => timestamp(since_epoch() + turned_by(ahead)),
            Source::Manual(hands) => hands.lock().ignoring_poison().wall(),
        }
    }

    /// A clock that is never set and that also runs while the machine sleeps, as time since a fixed
    /// moment. The wall clock is compared with it.
    pub fn since_boot(&self) -> Duration {
        match &self.0 {
            Source::Machine => since_boot(),
            Source::Turned(ahead) => since_boot() + turned_by(ahead),
            Source::Manual(_) => self.monotonic(),
        }
    }

    /// The monotonic clock, for deadlines and session timers, as time since a fixed moment. It may
    /// stop while the machine sleeps.
    pub fn monotonic(&self) -> Duration {
        match &self.0 {
            Source::Machine => since_start(),
            Source::Turned(ahead) => since_start() + turned_by(ahead),
            Source::Manual(hands) => hands.lock().ignoring_poison().ran(),
        }
    }
}

fn turned_by(ahead: &AtomicU64) -> Duration {
    Duration::from_millis(ahead.load(Ordering::SeqCst))
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn timestamp(since_epoch: Duration) -> Timestamp {
    Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

fn since_boot() -> Duration {
    // On macOS the monotonic clock counts the time of sleep.
    #[cfg(target_os = "linux")]
    let counts_sleep = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let counts_sleep = rustix::time::ClockId::Monotonic;
    let ran = rustix::time::clock_gettime(counts_sleep);
    Duration::try_from(ran).unwrap_or_default()
}

fn since_start() -> Duration {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// A moment on the runtime's clock, for the deadlines of tasks. Tests can pause that clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(tokio::time::Instant);

impl Moment {
    pub fn now() -> Moment {
        Moment(tokio::time::Instant::now())
    }

    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    /// The time from `earlier` to this moment; 0 if it is later.
    pub fn since(self, earlier: Moment) -> Duration {
        self.0.saturating_duration_since(earlier.0)
    }

    /// The moment `how_long` later, at most ten years.
    pub fn after(self, how_long: Duration) -> Moment {
        const FAR: Duration = Duration::from_hours(24 * 365 * 10);
        Moment(self.0 + how_long.min(FAR))
    }
}

/// A timer that a hand-written future owns and can move.
#[derive(Debug)]
pub struct Timer(Pin<Box<tokio::time::Sleep>>);

impl Timer {
    pub fn at(when: Moment) -> Timer {
        Timer(Box::pin(tokio::time::sleep_until(when.0)))
    }

    pub fn when(&self) -> Moment {
        Moment(self.0.deadline())
    }

    pub fn set(&mut self, when: Moment) {
        self.0.as_mut().reset(when.0);
    }

    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(context)
    }
}

/// Waits on the runtime's timer.
pub async fn sleep(how_long: Duration) {
    tokio::time::sleep(how_long).await;
}

/// The result of the future; `None` if it took longer than `limit`.
pub async fn within<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    tokio::time::timeout(limit, future).await.ok()
}

/// A new random id. It is never zero, and its text never starts with a dash, which command-line
/// tools would take for a flag (as in Kafka).
pub fn random_uuid() -> Uuid {
    loop {
        let id = Uuid(random_bytes());
        if !id.is_zero() && !id.to_string().starts_with('-') {
            return id;
        }
    }
}

pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system has randomness");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turned_clock_is_ahead_in_all_of_its_parts_and_those_of_the_machine_are_not() {
        const HOUR: Duration = Duration::from_hours(1);
        let (machine, turned) = (Clock::machine(), Clock::turnable());
        let parts = |clock: &Clock| {
            let wall = Duration::from_millis(u64::try_from(clock.now().0).unwrap());
            [wall, clock.since_boot(), clock.monotonic()]
        };
        let before = parts(&machine);
        machine.turn(HOUR);
        turned.turn(HOUR);
        turned.clone().turn(HOUR);
        let (now, ahead) = (parts(&machine), parts(&turned));
        for (before, (now, ahead)) in before.into_iter().zip(now.into_iter().zip(ahead)) {
            assert!(now < before + HOUR, "{now:?} {before:?}");
            assert!(ahead >= now + 2 * HOUR, "{ahead:?} {now:?}");
        }
        let by = |clock: &Clock| clock.monotonic_and_turned().1;
        assert_eq!((by(&machine), by(&turned)), (Duration::ZERO, 2 * HOUR));
    }

    #[test]
    fn clocks_that_are_read_together_are_both_before_a_turn_or_both_after_it() {
        const HOUR: Duration = Duration::from_hours(1);
        const TURNS: u32 = 100_000;
        let clock = Clock::turnable();
        std::thread::scope(|scope| {
            scope.spawn(|| (0..TURNS).for_each(|_| clock.turn(HOUR)));
            let boot = || {
                let (wall, since_boot) = clock.wall_and_since_boot();
                Duration::from_millis(u64::try_from(wall.0).unwrap()) - since_boot
            };
            let first = boot();
            while clock.monotonic_and_turned().1 < HOUR * TURNS {
                let now = boot();
                assert!(first.abs_diff(now) < HOUR / 2, "{first:?} {now:?}");
            }
        });
    }
}
