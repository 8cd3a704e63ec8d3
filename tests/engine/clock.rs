//! A wrong clock must not make a store delete anything by age, over any restart.

use jackdaw::config::{BrokerSettings, Durability, Given};
use jackdaw::kernel::Refusal;
use jackdaw::kernel::producers::PRODUCER_BYTES;
use jackdaw::storage::local::fs::SimFs;
use jackdaw::storage::{AppendError, NewTopic, Store, StoreOptions};
use jackdaw::time::Clock;
use jackdaw::types::{Offset, Timestamp};

use crate::disk::{batch, batch_of, now, options};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const START: i64 = 1_790_000_000_000;

/// A store whose topics keep records for a week, and its clock.
struct Broker {
    fs: SimFs,
    clock: Clock,
    settings: Vec<(&'static str, String)>,
    store: Store,
}

impl Broker {
    fn start(seed: u64) -> Broker {
        let (fs, clock) = (SimFs::new(seed), Clock::manual(Timestamp(START)));
        Broker { store: open(&fs, &clock, &[]), fs, clock, settings: Vec::new() }
    }

    /// Appends two records, each in its own segment, with the time of the clock.
    fn write(&self) {
        let overrides = [("segment.ms".to_owned(), "1".to_owned())].into();
        let new = NewTopic { name: "t".into(), partitions: 1, overrides };
        let topic = now(self.store.create_topic(new)).unwrap();
        for _ in 0..2 {
            let value = jackdaw::record::BatchBuilder::new().value(self.clock.now(), "a");
            now(self.store.append(topic.partition(0).unwrap(), crate::disk::checked(value.build()))).unwrap();
            self.wait(1000);
        }
    }

    fn wait(&self, millis: i64) {
        self.clock.set(Timestamp(self.clock.now().0 + millis));
    }

    /// Lets the time pass, with the periodic work every half minute.
    fn run(&self, millis: i64) {
        for _ in 0..millis / 30_000 {
            self.wait(30_000);
            self.housekeep();
        }
    }

    fn housekeep(&self) {
        self.store.watch();
        self.store.housekeep();
        self.store.run_background();
    }

    /// Starts at another time of the wall clock, and runs the checks that follow a start.
    fn started_at(self, wall: i64) -> Broker {
        self.clock.step_to(Timestamp(wall));
        let store = open(&self.fs, &self.clock, &self.settings);
        let broker = Broker { store, ..self };
        broker.housekeep();
        broker
    }

    fn stopped(self) -> Broker {
        self.store.close();
        self
    }

    fn killed(self) -> Broker {
        let fs = self.fs.crash(7);
        Broker { fs, ..self }
    }

    fn log_start(&self) -> i64 {
        self.store.topics().by_name("t").unwrap().partition(0).unwrap().ends().log_start.0
    }

    fn expires(&self) -> bool {
        self.store.now().trusted.is_some()
    }
}

fn open(fs: &SimFs, clock: &Clock, settings: &[(&str, String)]) -> Store {
    let mut given = Given::default();
    for (name, value) in settings {
        given.set(*name, value);
    }
    let settings = BrokerSettings::load(given).unwrap().into();
    let options = options(fs, Durability::Fsync);
    Store::open(StoreOptions { clock: clock.clone(), settings, ..options }).unwrap()
}

#[test]
fn i13_a_start_in_a_later_month_or_century_deletes_nothing_however_the_last_run_ended() {
    for wall in [START + 31 * DAY, 4_102_444_800_000] {
        for ends in [Broker::stopped, Broker::killed] {
            let broker = Broker::start(1);
            broker.write();
            let mut broker = ends(broker).started_at(wall);
            for _ in 0..3 {
                assert_eq!((broker.log_start(), broker.expires()), (0, false));
                broker.run(HOUR);
                // New records do not confirm the clock.
                let log = broker.store.topics().by_name("t").unwrap().partition(0).cloned().unwrap();
                now(broker.store.append(&log, batch(&["b"]))).unwrap();
                let wall = broker.clock.now().0;
                broker = ends(broker).started_at(wall);
            }
            let back = broker.stopped().started_at(START + 3 * DAY);
            assert_eq!((back.log_start(), back.expires()), (0, true), "the clock is right again");
        }
    }
}

#[test]
fn a_start_after_29_days_deletes_what_is_past_retention() {
    let broker = Broker::start(2);
    broker.write();
    let broker = broker.stopped().started_at(START + 29 * DAY);
    assert_eq!((broker.log_start(), broker.expires()), (2, true));
}

#[test]
fn a_broker_that_ran_idle_for_two_months_trusts_the_clock_at_the_next_start() {
    for ends in [Broker::stopped, Broker::killed] {
        let broker = Broker::start(3);
        broker.write();
        for _ in 0..60 {
            broker.wait(DAY);
            broker.housekeep();
        }
        let wall = broker.clock.now().0 + DAY;
        assert!(ends(broker).started_at(wall).expires());
    }
}

#[test]
fn i13_while_running_no_jump_forward_deletes_by_age_until_it_is_confirmed() {
    let broker = Broker::start(4);
    broker.write();
    broker.clock.step_to(Timestamp(START + 31 * DAY));
    assert!(!broker.expires(), "also before anything looked at the clock");
    broker.run(2 * HOUR);
    assert_eq!((broker.log_start(), broker.expires()), (0, false));
    let confirm = |store: &Store, at: i64| {
        let change = [("jackdaw.clock.confirmed.ms".to_owned(), Some(at.to_string()))].into();
        now(store.alter_settings(jackdaw::kernel::Scope::DefaultBroker, change)).unwrap();
    };
    confirm(&broker.store, START);
    broker.housekeep();
    assert_eq!((broker.log_start(), broker.expires()), (0, false), "that is another time");
    confirm(&broker.store, broker.clock.now().0);
    assert!(broker.expires(), "at once");
    broker.housekeep();
    assert_eq!(broker.log_start(), 2);
    let wall = broker.clock.now().0;
    assert!(broker.stopped().started_at(wall).expires(), "the next start knows it");
}

#[test]
fn i13_an_operator_confirms_the_clock_of_a_start_in_the_settings() {
    let broker = Broker::start(5);
    broker.write();
    let mut broker = broker.stopped();
    broker.settings.push(("jackdaw.clock.confirmed.ms", (START + 31 * DAY - HOUR).to_string()));
    let broker = broker.started_at(START + 31 * DAY);
    assert_eq!((broker.log_start(), broker.expires()), (2, true));
}

#[test]
fn i13_a_clock_put_right_by_20_minutes_deletes_again_after_ten() {
    let broker = Broker::start(6);
    broker.write();
    broker.wait(7 * DAY - 15 * MINUTE);
    broker.housekeep();
    broker.clock.step_to(Timestamp(broker.clock.now().0 + 20 * MINUTE));
    broker.run(9 * MINUTE);
    assert_eq!((broker.log_start(), broker.expires()), (0, false));
    broker.run(2 * MINUTE);
    assert_eq!((broker.log_start(), broker.expires()), (2, true));
}

#[test]
fn i13_while_the_clock_is_not_trusted_no_producer_is_forgotten_for_another_nor_by_the_next_start() {
    const MOST: i64 = (1 << 20) / PRODUCER_BYTES as i64;
    let mut broker = Broker::start(8);
    broker.settings.push(("jackdaw.producers.max.bytes", "1048576".to_owned()));
    let broker = broker.stopped().started_at(START);
    let new = NewTopic { name: "t".into(), partitions: 1, overrides: [].into() };
    let _ = now(broker.store.create_topic(new)).unwrap();
    let write = |broker: &Broker, producer| {
        let log = broker.store.topics().by_name("t").unwrap().partition(0).cloned().unwrap();
        now(broker.store.append(&log, batch_of(producer, 0, 0, &["x"]))).map(|appended| appended.repeated)
    };
    (0..MOST).for_each(|producer| assert_eq!(write(&broker, producer), Ok(false)));
    broker.clock.step_to(Timestamp(START + 40 * DAY));
    let refused = Err(AppendError::Refused(Refusal::TooManyProducers));
    assert_eq!(write(&broker, MOST), refused);
    let mut broker = broker;
    for ends in [Broker::stopped, Broker::killed] {
        broker = ends(broker).started_at(START + 40 * DAY);
        broker.run(HOUR);
        assert_eq!((write(&broker, MOST), write(&broker, 0)), (refused.clone(), Ok(true)));
    }
    broker.clock.step_to(Timestamp(START + HOUR));
    assert_eq!(write(&broker, MOST), Ok(false), "the clock is right again");
    let broker = broker.killed().started_at(START + HOUR);
    assert_eq!(
        (write(&broker, 1), write(&broker, MOST)),
        (Ok(true), Ok(true)),
        "the replay forgets the same"
    );
    assert_eq!(write(&broker, 0), Ok(false), "it was forgotten");
}

#[test]
fn i13_a_clock_that_is_in_1970_for_five_minutes_makes_nothing_look_old() {
    let broker = Broker::start(7);
    broker.wait(HOUR);
    assert!(broker.expires());
    broker.clock.step_to(Timestamp(0));
    let written_at = broker.store.now().time;
    assert_eq!(written_at, Timestamp(START + HOUR), "what commits are stored with");
    // Records without a timestamp age from the time of their append.
    let overrides = [("segment.ms".to_owned(), "1".to_owned())].into();
    let new = NewTopic { name: "t".into(), partitions: 1, overrides };
    let topic = now(broker.store.create_topic(new)).unwrap();
    for _ in 0..2 {
        let value = jackdaw::record::BatchBuilder::new().value(Timestamp(-1), "a");
        now(broker.store.append(topic.partition(0).unwrap(), crate::disk::checked(value.build()))).unwrap();
        broker.wait(1000);
    }
    broker.run(5 * MINUTE);
    broker.clock.step_to(Timestamp(START + HOUR + 6 * MINUTE));
    broker.run(HOUR);
    assert_eq!((broker.log_start(), broker.expires()), (0, true));
    assert_eq!(topic.partition(0).unwrap().ends().high_watermark, Offset(2));
}
