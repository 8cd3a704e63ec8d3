//! Decides whether the wall clock may be used to expire data. A clock that jumped must not delete anything
//! (`docs/decisions/0016-when-a-clock-is-trusted.md`).
//!
//! It is compared with the clock that counts from boot, sleep included. A step backwards, or forward by at
//! most a day, is trusted once the clock has run steadily for ten minutes. A larger step forward is never
//! trusted by waiting, because everything past retention would be deleted. Then the clock is trusted again
//! when it comes back, or when an operator confirms it. While the clock is not trusted, nothing expires by
//! age, and nothing is stored with an earlier time than the boot clock gives.

use std::sync::Mutex;
use std::time::Duration;

use crate::time::Clock;
use crate::types::{IgnorePoison, Timestamp};

/// The maximum deviation of a trusted clock.
const DRIFT: Duration = Duration::from_mins(5);
/// The time that the clock must run steadily after a step before it is trusted.
const KEPT: Duration = Duration::from_mins(10);
/// The maximum deviation in that time.
const STEADY: Duration = Duration::from_mins(1);
/// The largest step forward that is trusted by waiting.
const STEP: Duration = Duration::from_hours(24);
/// The longest down-time: at start it cannot be distinguished from a step of the clock.
const AWAY: Duration = Duration::from_hours(30 * 24);

/// The maximum age of the last [`Command::ClockTrusted`](crate::kernel::Command::ClockTrusted) in the journal.
const NOTED: Duration = Duration::from_hours(1);

/// The time, for two purposes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The time that is stored with new data.
    pub time: Timestamp,
    /// The time for expiry by age; `None` while the clock is not trusted.
    pub trusted: Option<Timestamp>,
}

/// The condition for trusting the clock again, if it does not come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// It has run steadily for ten minutes.
    UntilKept,
    /// An operator has confirmed it.
    UntilConfirmed,
}

/// Whether the next entry has to record that the clock is trusted. `noted` is the last time that is recorded.
pub(super) fn must_note(noted: Option<Timestamp>, trusted: Option<Timestamp>) -> bool {
    trusted.is_some_and(|now| noted.is_none_or(|noted| now.since(noted).max(noted.since(now)) >= NOTED))
}

/// The clocks of the machine, and whether the wall clock is trusted.
pub(super) struct Clocks {
    clock: Clock,
    state: Mutex<State>,
}

struct State {
    belief: Belief,
    /// The time at which an operator last confirmed the clock.
    confirmed: Option<Timestamp>,
}

impl Clocks {
    /// `seen` is the last time at which the clock was trusted; `None` if it is not known.
    pub(super) fn start(clock: Clock, seen: Option<Timestamp>, confirmed: Option<Timestamp>) -> Clocks {
        let belief = Belief::at_start(ClockReading::of(&clock), seen);
        if let Some(doubt) = belief.doubt() {
            warn_of(doubt, &belief);
        }
        let clocks = Clocks { clock, state: Mutex::new(State { belief, confirmed: None }) };
        clocks.confirm(confirmed);
        clocks
    }

    /// Reads the clocks.
    pub(super) fn now(&self) -> Now {
        let mut state = self.state.lock().ignoring_poison();
        let State { belief, confirmed } = &mut *state;
        let reading = ClockReading::of(&self.clock);
        let turn = belief.look(reading, *confirmed);
        match turn {
            None => {}
            Some(ClockChange::Untrusted(doubt)) => warn_of(doubt, belief),
            Some(ClockChange::CameBack) => tracing::info!("the clock came back and is trusted again"),
            Some(ClockChange::Kept) => tracing::info!("the clock has run steadily and is trusted again"),
            Some(ClockChange::Confirmed) => tracing::info!("the clock is confirmed and is trusted again"),
        }
        belief.now(reading)
    }

    /// Sets the time at which an operator confirmed the clock.
    pub(super) fn confirm(&self, at: Option<Timestamp>) {
        let before = std::mem::replace(&mut self.state.lock().ignoring_poison().confirmed, at);
        if let Some(at) = at.filter(|_| at != before)
            && is_another_time(at, self.clock.now())
        {
            tracing::warn!(
                given = at.0,
                now = self.clock.now().0,
                "jackdaw.clock.confirmed.ms is more than a day from the present time and has no effect: remove it, \
                 or set it to the present time"
            );
        }
        self.now();
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// See [`Clock::since_boot`].
    pub(super) fn since_boot(&self) -> Duration {
        self.clock.since_boot()
    }

    /// The reason why the clock is not trusted; `None` if it is.
    pub(super) fn complaint(&self) -> Option<String> {
        self.now();
        let state = self.state.lock().ignoring_poison();
        state.belief.doubt().map(|doubt| complaint(doubt, &state.belief))
    }
}

/// Whether a time that an operator gave does not confirm the clock.
fn is_another_time(given: Timestamp, now: Timestamp) -> bool {
    apart(now, given) > STEP
}

fn warn_of(doubt: Doubt, belief: &Belief) {
    tracing::warn!(
        why = complaint(doubt, belief),
        "the clock is not trusted: nothing is deleted by age and nothing is compacted"
    );
}

fn complaint(doubt: Doubt, belief: &Belief) -> String {
    let (expected, shown) = (belief.trusted, belief.kept);
    let off = if shown > expected {
        format!("{} s later", shown.since(expected).as_secs())
    } else {
        format!("{} s earlier", expected.since(shown).as_secs())
    };
    let ends = match doubt {
        Doubt::UntilKept => "it is trusted again once it has run steadily for ten minutes",
        Doubt::UntilConfirmed => {
            "correct the clock, or set jackdaw.clock.confirmed.ms of the broker to the present time"
        }
    };
    format!("the clock is {off} than expected; {ends}")
}

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
struct ClockReading {
    wall: Timestamp,
    since_boot: Duration,
}

impl ClockReading {
    fn of(clock: &Clock) -> ClockReading {
        let (wall, since_boot) = clock.wall_and_since_boot();
        ClockReading { wall, since_boot }
    }

    /// The boot time of the machine according to the wall clock. A step of the wall clock moves it.
    fn boot(self) -> Timestamp {
        Timestamp(self.wall.0.saturating_sub(millis(self.since_boot)))
    }
}

/// Whether the wall clock is trusted, and why not.
#[derive(Clone, Copy, Debug)]
struct Belief {
    /// The boot time according to the wall clock when it was last trusted.
    trusted: Timestamp,
    /// The boot time according to the wall clock as it runs now.
    kept: Timestamp,
    /// The time since boot at which the clock began to run like `kept`.
    kept_since: Duration,
    /// The maximum time that a clock may be ahead of `trusted` and still be trusted by waiting.
    most_ahead: Duration,
    is_untrusted: bool,
}

/// A change found by reading the clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClockChange {
    Untrusted(Doubt),
    CameBack,
    Kept,
    Confirmed,
}

impl Belief {
    fn at_start(reading: ClockReading, seen: Option<Timestamp>) -> Belief {
        let kept = reading.boot();
        let is_known =
            |seen: Timestamp| reading.wall.since(seen) <= AWAY && seen.since(reading.wall) <= DRIFT;
        let untrusted = seen.filter(|seen| !is_known(*seen));
        Belief {
            trusted: untrusted.map_or(kept, |seen| ClockReading { wall: seen, ..reading }.boot()),
            kept,
            kept_since: reading.since_boot,
            most_ahead: if untrusted.is_some() { AWAY } else { STEP },
            is_untrusted: untrusted.is_some(),
        }
    }

    fn look(&mut self, reading: ClockReading, confirmed: Option<Timestamp>) -> Option<ClockChange> {
        let shown = reading.boot();
        if apart(shown, self.kept) > STEADY {
            (self.kept, self.kept_since) = (shown, reading.since_boot);
        }
        let is_kept = reading.since_boot.saturating_sub(self.kept_since) >= KEPT && !self.is_too_far_ahead();
        let was_untrusted = self.is_untrusted;
        // A step of exactly this size must not change the state at every check.
        let near = if was_untrusted { DRIFT - STEADY } else { DRIFT };
        let came_back = apart(shown, self.trusted) <= near;
        let is_confirmed = was_untrusted && confirmed.is_some_and(|at| !is_another_time(at, reading.wall));
        self.is_untrusted = !(came_back || is_kept || is_confirmed);
        if self.is_untrusted {
            let doubt = self.doubt().filter(|_| !was_untrusted);
            return doubt.map(ClockChange::Untrusted);
        }
        // Small corrections are accepted, so that many of them do not add up to a step.
        if is_kept || !came_back {
            self.trusted = shown;
        }
        self.most_ahead = STEP;
        if !was_untrusted {
            None
        } else if came_back {
            Some(ClockChange::CameBack)
        } else if is_kept {
            Some(ClockChange::Kept)
        } else {
            Some(ClockChange::Confirmed)
        }
    }

    fn now(&self, reading: ClockReading) -> Now {
        if !self.is_untrusted {
            return Now { time: reading.wall, trusted: Some(reading.wall) };
        }
        let expected = self.trusted.0.saturating_add(millis(reading.since_boot));
        Now { time: reading.wall.max(Timestamp(expected)), trusted: None }
    }

    fn doubt(&self) -> Option<Doubt> {
        let doubt = if self.is_too_far_ahead() { Doubt::UntilConfirmed } else { Doubt::UntilKept };
        self.is_untrusted.then_some(doubt)
    }

    fn is_too_far_ahead(&self) -> bool {
        self.kept.since(self.trusted) > self.most_ahead + STEADY
    }
}

fn apart(one: Timestamp, other: Timestamp) -> Duration {
    one.since(other).max(other.since(one))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    /// Some day in 2026.
    const START: Timestamp = Timestamp(1_790_000_000_000);
    const IN_2100: Timestamp = Timestamp(4_102_444_800_000);

    /// A simulated broker that reads its clocks every half minute.
    struct Story {
        clock: Clock,
        clocks: Clocks,
    }

    impl Story {
        fn start() -> Story {
            Story::start_after(None)
        }

        /// The clock was last trusted `away` milliseconds before the start.
        fn start_after(away: Option<i64>) -> Story {
            let clock = Clock::manual(START);
            let seen = away.map(|away| Timestamp(START.0 - away));
            Story { clocks: Clocks::start(clock.clone(), seen, None), clock }
        }

        fn step(&self, by: i64) -> &Story {
            self.step_to(Timestamp(self.clock.now().0 + by))
        }

        fn step_to(&self, wall: Timestamp) -> &Story {
            self.clock.step_to(wall);
            self
        }

        fn wait(&self, millis: i64) -> &Story {
            let until = self.clock.now().0 + millis;
            while self.clock.now().0 < until {
                self.clock.set(Timestamp(until.min(self.clock.now().0 + 30_000)));
                self.clocks.now();
            }
            self
        }

        fn doubt(&self) -> Option<Doubt> {
            self.clocks.now();
            self.clocks.state.lock().unwrap().belief.doubt()
        }
    }

    #[test]
    fn i13_a_step_backwards_or_of_at_most_a_day_is_trusted_once_it_was_kept_for_ten_minutes() {
        for step in [20 * MINUTE, HOUR, DAY, -6 * MINUTE, -20 * MINUTE, -DAY, -365 * DAY, -START.0] {
            let story = Story::start();
            assert_eq!(story.wait(HOUR).doubt(), None);
            assert_eq!(story.step(step).doubt(), Some(Doubt::UntilKept), "{step}");
            assert_eq!(story.wait(9 * MINUTE).doubt(), Some(Doubt::UntilKept), "{step}");
            assert_eq!(story.wait(MINUTE).doubt(), None, "{step}");
            assert_eq!(story.clocks.now().trusted, Some(story.clock.now()), "{step}");
        }
    }

    #[test]
    fn i13_a_larger_step_forward_is_never_trusted_by_waiting() {
        for step in [DAY + 2 * MINUTE, 31 * DAY, IN_2100.0 - START.0] {
            let story = Story::start();
            assert_eq!(story.step(step).doubt(), Some(Doubt::UntilConfirmed), "{step}");
            assert_eq!(story.wait(3 * DAY).doubt(), Some(Doubt::UntilConfirmed), "{step}");
            assert_eq!(story.step(-step).doubt(), None, "{step}: it came back");
            assert_eq!(story.wait(DAY).doubt(), None, "{step}");
        }
    }

    #[test]
    fn i13_an_operator_confirms_a_step_and_with_it_no_other_one() {
        let story = Story::start();
        story.step(31 * DAY).wait(HOUR);
        story.clocks.confirm(Some(Timestamp(story.clock.now().0 - 2 * DAY)));
        assert_eq!(story.doubt(), Some(Doubt::UntilConfirmed), "what was right then need not be now");
        story.clocks.confirm(Some(Timestamp(story.clock.now().0 - 5 * MINUTE)));
        assert_eq!(story.doubt(), None);
        assert_eq!(story.step(2 * DAY).wait(HOUR).doubt(), Some(Doubt::UntilConfirmed));
    }

    #[test]
    fn a_time_more_than_a_day_from_the_present_one_confirms_nothing() {
        let given = |days: i64| Timestamp(START.0 + days * DAY);
        assert!(is_another_time(Timestamp(5), START) && is_another_time(given(2), START));
        assert!(!is_another_time(given(-1), START) && !is_another_time(given(1), START));
    }

    #[test]
    fn i13_at_start_a_clock_far_from_the_time_when_it_was_last_trusted_is_not_trusted() {
        let doubt = |away| Story::start_after(Some(away)).doubt();
        assert_eq!(Story::start().doubt(), None, "a new directory has no past");
        assert_eq!((doubt(0), doubt(29 * DAY), doubt(-MINUTE)), (None, None, None));
        assert_eq!(doubt(31 * DAY), Some(Doubt::UntilConfirmed));
        assert_eq!(doubt(-HOUR), Some(Doubt::UntilKept));
        assert_eq!(doubt(-31 * DAY), Some(Doubt::UntilKept));
    }

    #[test]
    fn i13_a_doubt_of_the_start_ends_as_any_other() {
        let ahead = || Story::start_after(Some(31 * DAY));
        assert_eq!(ahead().wait(3 * DAY).doubt(), Some(Doubt::UntilConfirmed));
        assert_eq!(ahead().step(-3 * DAY).wait(10 * MINUTE + 30_000).doubt(), None, "as if it had been away");
        let confirmed = ahead();
        confirmed.clocks.confirm(Some(confirmed.clock.now()));
        assert_eq!(confirmed.doubt(), None);
        assert_eq!(Story::start_after(Some(-HOUR)).wait(10 * MINUTE).doubt(), None);
        let without_battery = Story::start_after(Some(-56 * 365 * DAY));
        assert_eq!(without_battery.step(56 * 365 * DAY).doubt(), None, "NTP put it right");
    }

    #[test]
    fn a_clock_that_keeps_no_pace_is_not_trusted() {
        let story = Story::start();
        for _ in 0..100 {
            story.step(6 * MINUTE).wait(9 * MINUTE).step(-12 * MINUTE).wait(9 * MINUTE).step(6 * MINUTE);
            story.step(7 * MINUTE);
            assert_eq!(story.doubt(), Some(Doubt::UntilKept));
            story.step(-7 * MINUTE);
        }
        assert_eq!(story.doubt(), None, "now it is where it was");
    }

    #[test]
    fn a_step_of_just_the_size_that_is_not_trusted_begins_one_doubt() {
        let story = Story::start();
        assert_eq!(story.step(5 * MINUTE + 1).doubt(), Some(Doubt::UntilKept));
        assert_eq!(story.step(-1).doubt(), Some(Doubt::UntilKept));
        assert_eq!(story.step(-2 * MINUTE).doubt(), None);
    }

    #[test]
    fn many_small_corrections_make_no_doubt() {
        let story = Story::start();
        for _ in 0..100 {
            assert_eq!(story.step(4 * MINUTE).wait(HOUR).doubt(), None);
        }
    }

    #[test]
    fn sleep_is_no_step() {
        let story = Story::start();
        story.clock.set(Timestamp(START.0 + 60 * DAY));
        assert_eq!(story.doubt(), None);
    }

    #[test]
    fn i13_records_stored_while_the_clock_is_not_trusted_never_look_older_than_they_are() {
        let story = Story::start();
        story.wait(HOUR);
        let before = story.clock.now();
        assert_eq!(story.step_to(Timestamp(0)).wait(5 * MINUTE).clocks.now().time.0, before.0 + 5 * MINUTE);
        story.step_to(IN_2100);
        assert_eq!(story.clocks.now(), Now { time: IN_2100, trusted: None });
    }
}
