//! kill -9 at any moment loses no acknowledged record.
//!
//! A round starts the built binary under a load of producers, a committing group, static members and a reader
//! at the tail. It kills the binary at random moments, also during recovery, and starts it again at once on
//! the same port and data directory. At the end it reads all records, and [`checker`] checks the history.
//! Another kind of round does the same with three virtual brokers, and also stops and starts them one by one.
//!
//! `CRASH_SEED=7 cargo test --test crash` repeats the choices of a seed; `CRASH_MINUTES=120` runs new rounds
//! for two hours.

mod backup;
mod board;
mod checker;
mod child;
mod load;
mod proxy;
mod raw;
mod statics;
mod transactions;
mod value;
mod virtual_brokers;

use std::collections::BTreeMap;
use std::time::Duration;

use jackdaw::time::Clock;

use checker::{Event, Leaders, Log, Raised, check};
use child::{Home, Running};
use load::{Load, PLACES, SHRINKING};
use value::Random;
use virtual_brokers::Order;

/// Time limit of one operation on a busy machine.
const DEADLINE: Duration = Duration::from_secs(120);

/// The least number of kills in a round …
const KILLS: usize = 24;
/// … and of kills while the broker recovers, rolls, trims or writes a snapshot.
const DELICATE_KILLS: usize = 5;
/// The least number of changes of each kind by the administrator.
const CHANGES: usize = 5;
/// A round that needs more kills than this for its delicate moments is itself broken.
const MOST_KILLS: usize = 80;
/// The least number of kills of the process in a round of virtual brokers.
const KILLS_OF_VIRTUAL_BROKERS: usize = 16;

#[test]
fn kill_9_at_any_moment_loses_nothing_that_was_acknowledged() {
    rounds(|seed| {
        let home = Home::of_one();
        round(seed, &home, KILLS, Leaders::Stay, |running, load, random, tally| {
            load.history.wait_for_acks(1 + random.below(100), DEADLINE);
            load.history.wait_or_quit(random.duration(Duration::from_millis(250)));
            tally.unanswered += load.history.unanswered();
            running.kill();
        });
    });
}

#[test]
fn virtual_brokers_that_stop_start_and_die_together_lose_nothing_that_was_acknowledged() {
    rounds(|seed| {
        let home = Home::of_virtual_brokers();
        round(seed, &home, KILLS_OF_VIRTUAL_BROKERS, Leaders::Move, |running, load, random, tally| {
            for _ in 0..1 + random.below(3) {
                let one = any_broker(random);
                for order in [Order::Stop, Order::Start] {
                    running.send(order, one);
                    running.has_done(order, one, DEADLINE);
                    // Every client continues with the new leaders and coordinators.
                    load.history.wait_for_acks(1 + random.below(200), DEADLINE);
                    load.ask_for_epochs(DEADLINE);
                }
                tally.stops += 1;
            }
            // The process is killed while a broker stops, or after a broker has started again.
            let one = any_broker(random);
            running.send(Order::Stop, one);
            if random.below(2) == 0 {
                running.has_done(Order::Stop, one, DEADLINE);
                running.send(Order::Start, one);
            }
            load.history.wait_or_quit(random.duration(Duration::from_millis(20)));
            tally.unanswered += load.history.unanswered();
            running.kill();
        });
    });
}

fn any_broker(random: &mut Random) -> usize {
    1 + random.below(virtual_brokers::BROKERS.into())
}

/// One round, and more of them for `CRASH_MINUTES`.
fn rounds(round: impl Fn(u64)) {
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

/// `life` runs from a start until the next kill.
fn round(
    seed: u64,
    home: &Home,
    kills: usize,
    leaders: Leaders,
    life: impl Fn(&mut Running, &Load, &mut Random, &mut Tally),
) {
    let mut random = Random::new(seed);
    let mut running = home.start().ready(DEADLINE);
    let load = Load::start(running.addresses(), seed);

    let mut tally = Tally::default();
    let changes = [Raised::Start(SHRINKING), Raised::Partitions, Raised::Setting];
    let is_altered_enough = || changes.iter().all(|what| load.history.times_raised(*what) > CHANGES);
    while tally.kills < kills || tally.delicate() < DELICATE_KILLS || !is_altered_enough() {
        assert!(tally.kills < MOST_KILLS, "seed {seed}: {tally:?}");
        life(&mut running, &load, &mut random, &mut tally);
        tally.kills += 1;
        let in_recovery;
        (running, in_recovery) = start_again(home, &mut random, 2);
        tally.kills += in_recovery;
        tally.in_recovery += in_recovery;
        load.ask_for_commits(DEADLINE);
        load.ask_for_changes(DEADLINE);
        load.ask_for_epochs(DEADLINE);
    }
    load.history.wait_for_acks(100, DEADLINE);
    let (history, statics) = load.stop(DEADLINE);
    println!("seed {seed}: {tally:?}, {statics:?}, {} events", history.len());
    assert!(tally.unanswered > 0, "no kill met an unanswered request");
    let met = [statics.returned, statics.fenced, statics.committed, statics.found];
    assert!(met.iter().all(|times| *times > 5), "{statics:?}");
    let log = load::read_everything(running.addresses(), DEADLINE);
    judge(seed, &history, &log, leaders);
    running.stops_cleanly(DEADLINE);

    // Neither a clean stop nor one more crash changes the records.
    let mut running = home.start().ready(DEADLINE);
    assert!(
        load::read_everything(running.addresses(), DEADLINE) == log,
        "seed {seed}: changed by a clean stop"
    );
    running.kill();
    let running = home.start().ready(DEADLINE);
    assert!(load::read_everything(running.addresses(), DEADLINE) == log, "seed {seed}: changed by a kill");
    running.stops_cleanly(DEADLINE);
    home.verifies();
}

/// Starts the broker, and kills it again before it is ready in one of `cases` cases. Returns the number of kills too.
fn start_again(home: &Home, random: &mut Random, cases: usize) -> (Running, usize) {
    let mut kills = 0;
    loop {
        let starting = home.start();
        if random.below(cases) > 0 {
            return (starting.ready(DEADLINE), kills);
        }
        match starting.ready_within(random.duration(home.usual_start())) {
            Ok(running) => return (running, kills),
            Err(mut starting) => {
                starting.kill();
                kills += 1;
            }
        }
    }
}

fn judge(seed: u64, history: &[Event], log: &Log, leaders: Leaders) {
    let violations = check(history, log, leaders);
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

/// The moments at which the kills of a round happened.
#[derive(Debug, Default)]
struct Tally {
    kills: usize,
    /// Sends without an answer at the moment of a kill.
    unanswered: usize,
    in_recovery: usize,
    /// Brokers that were stopped and started while the others ran.
    stops: usize,
}

impl Tally {
    fn delicate(&self) -> usize {
        self.in_recovery
    }
}
