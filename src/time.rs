//! The only room that reads a clock, sleeps or draws random bytes (clippy forbids it elsewhere),
//! so that everything else can be driven by a test.

#![expect(clippy::disallowed_methods, reason = "this is the room the rule points to")]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::types::{Timestamp, Uuid};

/// Where the time comes from: the machine, or a test's hand.
#[derive(Clone, Debug, Default)]
pub struct Clock(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    Machine,
    Manual(Arc<Hands>),
}

/// In milliseconds.
#[derive(Debug, Default)]
struct Hands {
    /// How long it has been running.
    ran: AtomicI64,
    /// How far the wall clock is ahead of that.
    ahead: AtomicI64,
}

impl Clock {
    pub fn machine() -> Clock {
        Clock(Source::Machine)
    }

    /// A clock that stands still until [`Clock::set`].
    pub fn manual(now: Timestamp) -> Clock {
        Clock(Source::Manual(Arc::new(Hands { ran: now.0.into(), ahead: 0.into() })))
    }

    /// Lets time pass on a manual clock until the wall clock shows `now`; the machine's stays as it is.
    pub fn set(&self, now: Timestamp) {
        if let Source::Manual(hands) = &self.0 {
            hands.ran.store(now.0.saturating_sub(hands.ahead.load(Ordering::SeqCst)), Ordering::SeqCst);
        }
    }

    /// Sets the wall clock of a manual clock, without any time passing, as an operator or NTP does.
    pub fn step_to(&self, wall: Timestamp) {
        if let Source::Manual(hands) = &self.0 {
            hands.ahead.store(wall.0.saturating_sub(hands.ran.load(Ordering::SeqCst)), Ordering::SeqCst);
        }
    }

    /// The wall clock.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::Machine => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
            }
            Source::Manual(hands) => {
                let (ran, ahead) = (hands.ran.load(Ordering::SeqCst), hands.ahead.load(Ordering::SeqCst));
                Timestamp(ran.saturating_add(ahead))
            }
        }
    }

    /// The clock that nobody sets and that runs on while the machine sleeps, in time since some fixed
    /// moment: what the wall clock is held against.
    pub fn since_boot(&self) -> Duration {
        match &self.0 {
            Source::Machine => {
                // On macOS the monotonic clock is the one that counts sleep.
                #[cfg(target_os = "linux")]
                let counts_sleep = rustix::time::ClockId::Boottime;
                #[cfg(not(target_os = "linux"))]
                let counts_sleep = rustix::time::ClockId::Monotonic;
                let ran = rustix::time::clock_gettime(counts_sleep);
                Duration::try_from(ran).unwrap_or_default()
            }
            Source::Manual(_) => self.monotonic(),
        }
    }

    /// The monotonic clock, for deadlines and session timers, in time since some fixed moment. It may
    /// stand while the machine sleeps.
    pub fn monotonic(&self) -> Duration {
        match &self.0 {
            Source::Machine => {
                static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
                START.get_or_init(Instant::now).elapsed()
            }
            Source::Manual(hands) => {
                Duration::from_millis(u64::try_from(hands.ran.load(Ordering::SeqCst)).unwrap_or(0))
            }
        }
    }
}

/// A moment on the runtime's clock, for the deadlines of tasks. A test can pause that clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(tokio::time::Instant);

impl Moment {
    pub fn now() -> Moment {
        Moment(tokio::time::Instant::now())
    }

    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    /// So much later; very much later is merely far away.
    pub fn after(self, how_long: Duration) -> Moment {
        const FAR: Duration = Duration::from_hours(24 * 365 * 10);
        Moment(self.0 + how_long.min(FAR))
    }
}

/// A timer that a hand-written future keeps and moves.
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

/// `None` where the future took longer than `limit`.
pub async fn within<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    tokio::time::timeout(limit, future).await.ok()
}

/// A new random id; never zero, and never one that starts with a dash when shown, which
/// command-line tools would take for a flag (as in Kafka).
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
