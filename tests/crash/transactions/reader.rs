//! A read_committed reader that sends exactly its requests and leaves out aborted records itself, as consumers
//! do; and everything that is in the log at the end, by two clients.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jackdaw::protocol::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use jackdaw::protocol::messages::fetch_response::PartitionData;
use jackdaw::record;
use jackdaw::time::Clock;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use super::PLACES;
use super::checker::{Event, Truth};
use super::notes::Notes;
use super::plain::Link;
use crate::DEADLINE;
use crate::checker::{Log, Place};
use crate::load::config;
use crate::value::{Random, Value};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Isolation {
    Uncommitted,
    Committed,
}

/// Records with their offsets, and the offset after the last batch.
struct Fetched {
    records: Vec<(i64, Option<Value>)>,
    next: i64,
    stable: i64,
    high: i64,
}

fn fetch(
    link: &mut Link,
    at: Place,
    from: i64,
    isolation: Isolation,
    most_bytes: usize,
) -> io::Result<Fetched> {
    let (topic, partition) = PLACES[at];
    let most_bytes = i32::try_from(most_bytes).unwrap();
    let wanted = FetchPartition {
        partition,
        current_leader_epoch: -1,
        fetch_offset: from,
        last_fetched_epoch: -1,
        log_start_offset: -1,
        partition_max_bytes: most_bytes,
        ..Default::default()
    };
    let request = FetchRequest {
        replica_id: -1,
        max_bytes: most_bytes,
        isolation_level: i8::from(isolation == Isolation::Committed),
        session_epoch: -1,
        topics: vec![FetchTopic { topic: topic.to_owned(), partitions: vec![wanted], ..Default::default() }],
        ..Default::default()
    };
    let mut answer = link.call(12, &request)?;
    let data = answer.responses.pop().and_then(|mut topic| topic.partitions.pop());
    let data = data.filter(|data| data.error_code == 0);
    Ok(visible(from, isolation, data.ok_or(io::ErrorKind::NotFound)?))
}

/// Leaves out control records and those of aborted transactions, as Kafka's consumer does.
fn visible(from: i64, isolation: Isolation, data: PartitionData) -> Fetched {
    let mut aborted = data.aborted_transactions.unwrap_or_default();
    aborted.sort_by_key(|one| std::cmp::Reverse(one.first_offset));
    let mut active = HashSet::new();
    let mut found = Fetched {
        records: Vec::new(),
        next: from,
        stable: data.last_stable_offset,
        high: data.high_watermark,
    };
    let bytes = data.records.map(|records| records.into_bytes()).unwrap_or_default();
    for batch in record::batches(&bytes) {
        let (header, batch) = batch.expect("whole batches");
        let last = header.last_offset().expect("there are offsets left").0;
        while let Some(one) = aborted.pop_if(|one| one.first_offset <= last) {
            active.insert(one.producer_id);
        }
        found.next = found.next.max(last + 1);
        if header.attributes.control() {
            if is_abort(&batch) {
                active.remove(&header.producer_id.0);
            }
            continue;
        }
        let is_hidden = header.attributes.transactional() && active.contains(&header.producer_id.0);
        if is_hidden && isolation == Isolation::Committed {
            continue;
        }
        for one in record::records(&batch).expect("readable") {
            let one = one.expect("readable");
            if one.offset.0 >= from {
                found
                    .records
                    .push((one.offset.0, Value::of_record(one.key.as_deref(), one.value.as_deref())));
            }
        }
    }
    found
}

/// Whether a control batch is the marker of an abort: its key is version 0 and type 0.
fn is_abort(batch: &Bytes) -> bool {
    let mut records = record::records(batch).expect("readable");
    let marker = records.next().expect("a control batch has a record").expect("readable");
    marker.key.as_deref() == Some(&[0, 0, 0, 0])
}

pub struct Reader {
    name: u32,
    notes: Arc<Notes>,
    link: Link,
    positions: [i64; PLACES.len()],
}

impl Reader {
    pub fn new(name: u32, address: &str, notes: &Arc<Notes>) -> Reader {
        Reader { name, notes: Arc::clone(notes), link: Link::to(address), positions: [0; PLACES.len()] }
    }

    /// The broker has another process.
    pub fn reconnect(&mut self, address: &str) {
        self.link = Link::to(address);
    }

    pub fn follow(mut self, random: &mut Random, stopping: &AtomicBool) {
        while !stopping.load(Ordering::SeqCst) {
            // A pass that a kill cut off is followed by the next one.
            let _ = self.pass(random);
            self.notes.wait_or_quit(random.duration(Duration::from_millis(20)));
        }
    }

    /// Reads every partition up to its last stable offset. Whether no transaction is open.
    pub fn pass(&mut self, random: &mut Random) -> io::Result<bool> {
        let mut is_quiet = true;
        self.notes.note(Event::Pass { reader: self.name });
        for at in 0..PLACES.len() {
            let (stable, high) = self.read(at, random)?;
            is_quiet &= stable == high;
        }
        Ok(is_quiet)
    }

    fn read(&mut self, at: Place, random: &mut Random) -> io::Result<(i64, i64)> {
        let reader = self.name;
        self.notes.note(Event::Looking { reader, at });
        let mut ends = None;
        loop {
            let from = self.positions[at];
            // Small answers begin and end in the middle of transactions.
            let most_bytes = [200, 3_000, 100_000][random.below(3)];
            let fetched = fetch(&mut self.link, at, from, Isolation::Committed, most_bytes)?;
            let (stable, high) = *ends.get_or_insert((fetched.stable, fetched.high));
            for (offset, value) in fetched.records {
                self.notes.note(Event::Polled { reader, at, offset, value });
            }
            self.positions[at] = fetched.next;
            if fetched.next >= stable {
                self.notes.note(Event::Looked { reader, at, stable, high });
                return Ok((stable, high));
            }
            if fetched.next == from {
                self.notes.broken(format!("H22: nothing is read at {at}/{from} below {stable}"));
                self.notes.wait_or_quit(Duration::ZERO);
            }
        }
    }
}

/// Waits until no transaction holds a partition back.
pub fn wait_until_stable(link: &mut Link, notes: &Notes, at: Place) {
    let clock = Clock::machine();
    let give_up = clock.monotonic() + DEADLINE;
    loop {
        let seen = fetch(link, at, 0, Isolation::Committed, 1).map(|fetched| (fetched.stable, fetched.high));
        match seen {
            Ok((stable, high)) if stable == high => return,
            _ if clock.monotonic() > give_up => notes.broken(format!("H22: {at} is held back: {seen:?}")),
            _ => {}
        }
        notes.wait_or_quit(Duration::from_millis(20));
    }
}

/// All records, which must be the same for both clients.
pub fn read_everything(address: &str) -> Truth {
    let [all, committed] = [Isolation::Uncommitted, Isolation::Committed].map(|isolation| {
        let mut link = Link::to(address);
        let plain: Log = (0..PLACES.len()).map(|at| read_plainly(&mut link, at, isolation)).collect();
        assert!(read_with_rdkafka(address, isolation) == plain, "two clients read different records");
        plain
    });
    Truth { committed, all }
}

fn read_plainly(link: &mut Link, at: Place, isolation: Isolation) -> Vec<(i64, Option<Value>)> {
    let (mut found, mut next) = (Vec::new(), 0);
    loop {
        let fetched = fetch(link, at, next, isolation, 5_000).expect("the broker answers");
        found.extend(fetched.records);
        if fetched.next == next {
            assert_eq!((next, next), (fetched.stable, fetched.high), "{at} ends");
            return found;
        }
        next = fetched.next;
    }
}

fn read_with_rdkafka(address: &str, isolation: Isolation) -> Log {
    let mut config = config(address);
    config.set("group.id", "unused").set("enable.auto.commit", "false").set("enable.partition.eof", "true");
    config.set("check.crcs", "true").set("fetch.wait.max.ms", "10").set("fetch.error.backoff.ms", "10");
    let level = if isolation == Isolation::Committed { "read_committed" } else { "read_uncommitted" };
    let consumer: BaseConsumer = config.set("isolation.level", level).create().unwrap();
    let mut all = TopicPartitionList::new();
    for (topic, partition) in PLACES {
        all.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&all).unwrap();
    let (mut log, mut ended): (Log, usize) = (vec![Vec::new(); PLACES.len()], 0);
    while ended < PLACES.len() {
        match consumer.poll(DEADLINE).expect("the broker answers") {
            Ok(message) => {
                let at = super::place(message.topic(), message.partition());
                log[at].push((message.offset(), Value::of_record(message.key(), message.payload())));
            }
            Err(KafkaError::PartitionEOF(_)) => ended += 1,
            Err(error) => panic!("{error}"),
        }
    }
    log
}
