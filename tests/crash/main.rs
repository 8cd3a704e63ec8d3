//! kill -9 at any moment loses nothing that was acknowledged.
//!
//! A round starts the built binary, puts it under producers, a committing group and a reader at the tail,
//! kills it at random moments, also while it recovers, starts it again at once on the same port and data
//! directory, and finally reads everything and lets [`checker`] judge the history.
//!
//! `CRASH_SEED=7 cargo test --test crash` repeats the choices of a seed; `CRASH_MINUTES=120` goes on with
//! new rounds for two hours.

mod checker;
mod child;
mod load;
mod value;

use std::collections::BTreeMap;
use std::time::Duration;

use jackdaw::time::Clock;

use checker::{Event, Log, Raised, check};
use child::{Home, Running};
use load::{Load, PLACES, SHRINKING};
use value::Random;

/// How long anything may take on a busy machine before a round gives up.
const DEADLINE: Duration = Duration::from_secs(120);

/// A round kills this often at least …
const KILLS: usize = 24;
/// … and this often while the broker recovers, rolls, trims or writes a snapshot.
const DELICATE_KILLS: usize = 5;
/// A round that needs more than this to meet its moments is broken itself.
const MOST_KILLS: usize = 80;

#[test]
fn kill_9_at_any_moment_loses_nothing_that_was_acknowledged() {
    let clock = Clock::machine();
    let minutes: u64 = number_from("CRASH_MINUTES").unwrap_or(0);
    let stop_at = clock.monotonic() + Duration::from_secs(60 * minutes);
    let first_seed = number_from("CRASH_SEED").unwrap_or(1);
    for seed in first_seed.. {
        round(seed);
        if clock.monotonic() >= stop_at {
            break;
        }
    }
}

fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

fn round(seed: u64) {
    let mut random = Random::new(seed);
    let home = Home::new();
    let mut running = home.start().ready(DEADLINE);
    let load = Load::start(running.address(), seed);

    let mut tally = Tally::default();
    while tally.kills < KILLS || tally.delicate() < DELICATE_KILLS {
        assert!(tally.kills < MOST_KILLS, "seed {seed}: {tally:?}");
        load.history.wait_for_acks(1 + random.below(100), DEADLINE);
        load.history.wait_or_quit(random.duration(Duration::from_millis(250)));
        tally.unanswered += load.history.unanswered();
        running.kill();
        tally.kills += 1;
        running = start_again(&home, &mut random, &mut tally);
        load.ask_for_commits(DEADLINE);
        load.ask_for_changes(DEADLINE);
    }
    load.history.wait_for_acks(100, DEADLINE);
    let history = load.stop(DEADLINE);
    println!("seed {seed}: {tally:?}, {} events", history.len());
    assert!(tally.unanswered > 0, "no kill met an unanswered request");
    for what in [Raised::Start(SHRINKING), Raised::Partitions, Raised::Setting] {
        let raised = |event: &&Event| matches!(event, Event::Raised { what: raised, .. } if *raised == what);
        let times = history.iter().filter(raised).count();
        assert!(times > 5, "{what:?} was raised {times} times only");
    }

    let log = load::read_everything(running.address(), DEADLINE);
    judge(seed, &history, &log);
    running.stops_cleanly(DEADLINE);

    // Neither a clean stop nor one more crash changes what is there.
    let mut running = home.start().ready(DEADLINE);
    assert!(
        load::read_everything(running.address(), DEADLINE) == log,
        "seed {seed}: changed by a clean stop"
    );
    running.kill();
    let running = home.start().ready(DEADLINE);
    assert!(load::read_everything(running.address(), DEADLINE) == log, "seed {seed}: changed by a kill");
    running.stops_cleanly(DEADLINE);
    home.verifies();
}

/// Starts the broker, and one time in two kills it again before it is ready.
fn start_again(home: &Home, random: &mut Random, tally: &mut Tally) -> Running {
    loop {
        let starting = home.start();
        if random.below(2) == 0 {
            return starting.ready(DEADLINE);
        }
        match starting.ready_within(random.duration(home.usual_start())) {
            Ok(running) => return running,
            Err(mut starting) => {
                starting.kill();
                tally.kills += 1;
                tally.in_recovery += 1;
            }
        }
    }
}

fn judge(seed: u64, history: &[Event], log: &Log) {
    let violations = check(history, log);
    for violation in violations.iter().take(20) {
        eprintln!("{violation}");
    }
    let mut sums: BTreeMap<&str, usize> = BTreeMap::new();
    for violation in &violations {
        *sums.entry(violation.check).or_default() += 1;
    }
    assert!(sums.is_empty(), "seed {seed}: {sums:?}");
    assert_eq!(log.len(), PLACES.len());
}

/// What the kills of a round met.
#[derive(Debug, Default)]
struct Tally {
    kills: usize,
    /// Sends without an answer at the moment of a kill.
    unanswered: usize,
    in_recovery: usize,
}

impl Tally {
    fn delicate(&self) -> usize {
        self.in_recovery
    }
}
