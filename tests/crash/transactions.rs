//! kill -9 at any moment leaves every transaction whole.
//!
//! A round has clients that move money between accounts, of both versions of the protocol, a pipeline that copies
//! the accounts exactly once, and clients that abandon their transactions; and readers of committed records. It
//! kills the broker at random moments. At the end [`checker`] checks the history.
//!
//! `CRASH_TRANSACTIONS=100000 cargo test --test crash transaction` kills until so many transactions are over.

pub mod checker;
mod library;
mod notes;
mod plain;
mod reader;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

use checker::{End, Event, Markers, Setting, check};
use notes::Notes;
use plain::{Link, Protocol, look_at_offset};
use reader::Reader;

use crate::DEADLINE;
use crate::checker::Place;
use crate::child::Home;
use crate::load::config;
use crate::proxy::{Counts, Proxy};
use crate::value::Random;

/// The partitions of a round.
const PLACES: [(&str, i32); 7] = [
    ("accounts", 0),
    ("accounts", 1),
    ("accounts", 2),
    ("output", 0),
    ("output", 1),
    ("output", 2),
    ("abandoned", 0),
];
const ACCOUNTS: Range<Place> = 0..3;
const OUTPUT: Range<Place> = 3..6;
const ABANDONED: Place = 6;

/// Clients with librdkafka that move money …
const LIBRARY: [u32; 2] = [1, 2];
/// … and those that send exactly their requests.
const PLAIN: [(u32, Protocol); 3] = [(3, Protocol::V2), (4, Protocol::V2), (5, Protocol::V1)];
const PIPELINE: u32 = 6;
const ABANDONING: [(u32, Protocol); 2] = [(7, Protocol::V2), (8, Protocol::V1)];

/// Readers of committed records. The first one reads after each start of the broker, the others all the time.
const AFTER_A_START: u32 = 100;
const FOLLOWING: u32 = 101;
const TAIL: u32 = 102;

/// The least number of kills in a round.
const KILLS: usize = 24;

fn place(topic: &str, partition: i32) -> Place {
    PLACES.iter().position(|known| *known == (topic, partition)).expect("a partition of the round")
}

fn group_of(client: u32) -> String {
    format!("transactions-{client}")
}

/// The records of a transfer: amounts that add up to zero, on different accounts or on the same one.
fn legs(random: &mut Random) -> Vec<(Place, i64)> {
    let account = |random: &mut Random| ACCOUNTS.start + random.below(ACCOUNTS.len());
    let mut legs: Vec<_> =
        (0..1 + random.below(4)).map(|_| (account(random), random.below(1_000) as i64)).collect();
    let sum: i64 = legs.iter().map(|(_, amount)| amount).sum();
    legs.push((account(random), -sum));
    legs
}

#[test]
fn i5_i6_kill_9_at_any_moment_leaves_every_transaction_whole() {
    crate::rounds(|seed| round(seed, &Home::of_one(), None));
}

#[test]
fn i5_i6_repeated_late_and_unanswered_requests_and_kill_9_leave_every_transaction_whole() {
    crate::rounds(|seed| {
        let proxy = Proxy::start(seed);
        round(seed, &Home::behind(proxy.address()), Some(&proxy));
        let Counts { delayed, repeated, lost, late } = proxy.counts();
        println!(
            "seed {seed}: {delayed} requests held up, {repeated} sent twice, {lost} answers lost, \
             {late} late copies of EndTxn"
        );
        assert!(delayed.min(repeated).min(lost).min(late) > 5, "the proxy did too little");
    });
}

#[test]
#[ignore = "shows that the clients and the checker are right: BOOTSTRAP=HOST:PORT of an Apache Kafka"]
fn another_broker_without_kills_has_no_violations() {
    let address = std::env::var("BOOTSTRAP").expect("BOOTSTRAP=HOST:PORT");
    let seed = crate::number_from("CRASH_SEED").unwrap_or(1);
    let load = Load::start(&address, seed, Markers::Later);
    load.notes.wait_for_each(&everyone(), 50, DEADLINE);
    load.stop(&address).judge(seed, Tally::default(), Markers::Later);
}

/// Clients connect to the proxy, if there is one.
fn round(seed: u64, home: &Home, proxy: Option<&Proxy>) {
    let wanted = crate::number_from("CRASH_TRANSACTIONS").unwrap_or(0) as usize;
    let mut random = Random::new(seed);
    let mut running = home.start().ready(DEADLINE);
    let address = running.addresses().to_owned();
    if let Some(proxy) = proxy {
        proxy.leads_to(&address);
    }
    let load = Load::start(&proxy.map_or(address, Proxy::address), seed, Markers::AtOnce);
    let mut reader = Reader::new(AFTER_A_START, running.addresses(), &load.notes);
    let mut tally = Tally::default();
    // A long run is about many transactions, a short one about many kills.
    let longest_life = Duration::from_millis(if wanted > 0 { 10_000 } else { 400 });
    while tally.kills < KILLS || tally.in_an_end < 3 || load.notes.over() < wanted {
        load.notes.wait_or_quit(random.duration(longest_life));
        let (open, ending) = load.notes.unfinished();
        tally.in_a_transaction += usize::from(open > 0);
        tally.in_an_end += usize::from(ending > 0);
        running.kill();
        tally.kills += 1;
        let in_recovery;
        (running, in_recovery) = crate::start_again(home, &mut random, 4);
        tally.kills += in_recovery;
        tally.in_recovery += in_recovery;
        // As soon as the broker answers, a reader sees whole transactions.
        reader.reconnect(running.addresses());
        for _ in 0..2 {
            reader.pass(&mut random).expect("the broker answers");
        }
        load.notes.wait_for_each(&everyone(), 1, DEADLINE);
    }
    load.stop(running.addresses()).judge(seed, tally, Markers::AtOnce);
    running.stops_cleanly(DEADLINE);
    home.verifies();
}

/// The moments at which the kills of a round happened.
#[derive(Debug, Default)]
struct Tally {
    kills: usize,
    in_recovery: usize,
    /// While a transaction was open, and while the answer to a commit or an abort was awaited.
    in_a_transaction: usize,
    in_an_end: usize,
}

fn everyone() -> Vec<u32> {
    let plain = PLAIN.iter().chain(&ABANDONING).map(|(name, _)| *name);
    LIBRARY.into_iter().chain([PIPELINE]).chain(plain).collect()
}

struct Load {
    notes: Arc<Notes>,
    seed: u64,
    stopping: Arc<AtomicBool>,
    draining: Arc<AtomicBool>,
    reading: Arc<AtomicBool>,
    writers: Vec<JoinHandle<()>>,
    pipeline: JoinHandle<()>,
    readers: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(address: &str, seed: u64, markers: Markers) -> Load {
        create_topics(address);
        let notes = Arc::new(Notes::default());
        let [stopping, draining, reading] = [(); 3].map(|()| Arc::new(AtomicBool::new(false)));
        let mut writers = Vec::new();
        let spawn = |work: Box<dyn FnOnce(&mut Random) + Send>, name: u32| {
            let mut random = Random::new(seed + 1000 * u64::from(name));
            std::thread::spawn(move || work(&mut random))
        };
        for name in LIBRARY {
            let (client, ends) = (library::Client::new(name, address, &notes), stopping.clone());
            writers.push(spawn(Box::new(move |random| client.transfer(random, &ends)), name));
        }
        for (name, protocol) in PLAIN {
            let mut client = plain::Client::new(name, protocol, address, &notes);
            client.reuses_sequences = markers == Markers::AtOnce;
            let ends = stopping.clone();
            writers.push(spawn(Box::new(move |random| client.transfer(random, &ends)), name));
        }
        for (name, protocol) in ABANDONING {
            let (client, ends) = (plain::Client::new(name, protocol, address, &notes), stopping.clone());
            writers.push(spawn(Box::new(move |random| client.abandon(random, &ends)), name));
        }
        let (client, drains) = (library::Client::new(PIPELINE, address, &notes), draining.clone());
        let pipeline = spawn(Box::new(move |random| client.copy(random, &drains)), PIPELINE);
        let (reader, ends) = (Reader::new(FOLLOWING, address, &notes), reading.clone());
        let follower = spawn(Box::new(move |random| reader.follow(random, &ends)), FOLLOWING);
        let (address, noting, ends) = (address.to_owned(), notes.clone(), reading.clone());
        let tail = std::thread::spawn(move || library::tail(TAIL, &address, &noting, &ends));
        Load { notes, seed, stopping, draining, reading, writers, pipeline, readers: vec![follower, tail] }
    }

    /// Ends every client at a transaction's end, and reads everything.
    fn stop(self, address: &str) -> Ended {
        self.stopping.store(true, Ordering::SeqCst);
        for writer in self.writers {
            writer.join().unwrap();
        }
        self.draining.store(true, Ordering::SeqCst);
        self.pipeline.join().unwrap();
        self.reading.store(true, Ordering::SeqCst);
        for reader in self.readers {
            reader.join().unwrap();
        }
        let mut link = Link::to(address);
        for at in 0..PLACES.len() {
            reader::wait_until_stable(&mut link, &self.notes, at);
        }
        for at in ACCOUNTS {
            look_at_offset(&mut link, &self.notes, PIPELINE, at, true);
        }
        for (client, _) in PLAIN {
            look_at_offset(&mut link, &self.notes, client, 0, true);
        }
        let mut last = Reader::new(TAIL + 1, address, &self.notes);
        let mut random = Random::new(self.seed);
        for _ in 0..3 {
            assert!(last.pass(&mut random).expect("the broker answers"), "no transaction is open");
        }
        Ended { history: self.notes.events(), truth: reader::read_everything(address) }
    }
}

/// A round after its end.
struct Ended {
    history: Vec<Event>,
    truth: checker::Truth,
}

impl Ended {
    fn judge(&self, seed: u64, tally: Tally, markers: Markers) {
        let input: Vec<Place> = ACCOUNTS.collect();
        let violations =
            check(&self.history, &self.truth, Setting { markers, pipeline: PIPELINE, input: &input });
        let count = |is_it: fn(&Event) -> bool| self.history.iter().filter(|event| is_it(event)).count();
        let committed = count(|event| matches!(event, Event::Ended { end: End::Commit, .. }));
        let aborted = count(|event| matches!(event, Event::Ended { end: End::Abort, .. }));
        let replaced = count(|event| matches!(event, Event::Over { .. }));
        let zombies = count(|event| matches!(event, Event::Acting { .. }));
        let passes = count(|event| matches!(event, Event::Pass { .. }));
        let records: usize = self.truth.all.iter().map(Vec::len).sum();
        println!(
            "seed {seed}: {} transactions ({committed} committed, {aborted} aborted, {replaced} taken over or \
             timed out), {records} records, {zombies} requests of zombies, {passes} passes of readers, {tally:?}: \
             {} violations",
            committed + aborted + replaced,
            violations.len(),
        );
        for violation in violations.iter().take(20) {
            eprintln!("{violation}");
        }
        let mut sums: BTreeMap<&str, usize> = BTreeMap::new();
        for violation in &violations {
            *sums.entry(violation.check).or_default() += 1;
        }
        assert!(sums.is_empty(), "seed {seed}: {sums:?}");
        for met in [committed, aborted, replaced, zombies, passes, self.truth.all[OUTPUT.start].len()] {
            assert!(met > 10, "seed {seed}: the round met too little");
        }
    }
}

fn create_topics(address: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let admin: AdminClient<DefaultClientContext> = config(address).create().unwrap();
    let new = |name, partitions| {
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        topic.set("internal.segment.bytes", "65536")
    };
    let topics = [new("accounts", 3), new("output", 3), new("abandoned", 1)];
    let made = runtime.block_on(admin.create_topics(&topics, &AdminOptions::new())).unwrap();
    assert!(made.iter().all(Result::is_ok), "{made:?}");
}
