//! The clients of a round: producers, idempotent and plain, a reader at the tail, a group that commits, one
//! with static members, and an administrator who deletes records and adds partitions. They never give up:
//! librdkafka retries requests that a kill left unanswered.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use jackdaw::protocol::messages::metadata_request::MetadataRequest;
use jackdaw::time::Clock;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::statistics::Statistics;
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use crate::board::Board;
use crate::checker::{Event, Log, Place, Raised};
use crate::raw::Raw;
use crate::statics::{Counts, Statics};
use crate::value::{Random, Value};

/// The partitions under load. The first topic and the last one roll their segments every 64 KiB. The
/// administrator deletes the beginning of the last one again and again.
pub const PLACES: [(&str, i32); 7] = [
    ("rolling", 0),
    ("rolling", 1),
    ("rolling", 2),
    ("large", 0),
    ("large", 1),
    ("large", 2),
    ("shrinking", 0),
];

/// The first place of the second topic.
const LARGE: Place = 3;
/// The partition whose records are deleted. It is read only at the end.
pub const SHRINKING: Place = 6;

/// A topic that gets more and more partitions, up to this number.
const GROWING: &str = "growing";
const MOST_PARTITIONS: usize = 200;
/// A setting of that topic that is changed again and again.
const SETTING: &str = "segment.ms";

const GROUP: &str = "crash";

/// The kind of a producer, and how it sends.
struct Style {
    idempotent: bool,
    /// The partitions that it sends to.
    to: Range<Place>,
    settings: &'static [(&'static str, &'static str)],
    most_unanswered: usize,
    smallest: usize,
    largest: usize,
}

const STYLES: [Style; 5] = [
    Style {
        idempotent: true,
        to: 0..PLACES.len(),
        settings: &[("linger.ms", "0")],
        most_unanswered: 60,
        smallest: 10,
        largest: 2_000,
    },
    Style {
        idempotent: true,
        to: 0..PLACES.len(),
        settings: &[("compression.codec", "lz4"), ("batch.num.messages", "10")],
        most_unanswered: 300,
        smallest: 100,
        largest: 1_000,
    },
    // So much at once that a partition gets more than 1 MiB in one round of the committer. As in Kafka, a
    // batch must not be larger than a segment.
    Style {
        idempotent: true,
        to: LARGE..SHRINKING,
        settings: &[("batch.size", "1000000")],
        most_unanswered: 12,
        smallest: 100_000,
        largest: 400_000,
    },
    Style {
        idempotent: false,
        to: 0..PLACES.len(),
        settings: &[("acks", "all")],
        most_unanswered: 60,
        smallest: 10,
        largest: 2_000,
    },
    Style {
        idempotent: false,
        to: 0..PLACES.len(),
        settings: &[("acks", "1")],
        most_unanswered: 60,
        smallest: 10,
        largest: 20_000,
    },
];

pub struct Load {
    pub history: Arc<History>,
    address: String,
    stopping: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    statics: JoinHandle<Counts>,
}

impl Load {
    /// Topics have as many replicas as there are brokers.
    pub fn start(address: &str, seed: u64) -> Load {
        let brokers = 1 + address.matches(',').count();
        create_topics(address, brokers);
        let history = Arc::new(History::default());
        let stopping = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for (number, style) in STYLES.iter().enumerate() {
            let noting = Noting::new(&history);
            let mut config = config(address);
            config.set("enable.idempotence", style.idempotent.to_string());
            // Without idempotence, retries keep the order only with one request in flight. If leaders change,
            // one request may be refused and the next one accepted; librdkafka then takes another epoch or
            // producer id.
            config.set("max.in.flight", if style.idempotent && brokers == 1 { "5" } else { "1" });
            config.set("debug", "eos").set_log_level(RDKafkaLogLevel::Debug);
            config.set("message.timeout.ms", "600000").set("statistics.interval.ms", "100");
            config.set("retry.backoff.ms", "10").set("batch.size", "30000");
            for (name, value) in style.settings {
                config.set(*name, *value);
            }
            let producer: BaseProducer<Noting> = config.create_with_context(noting).unwrap();
            let mut random = Random::new(seed + 1000 * (1 + number as u64));
            let stopping = stopping.clone();
            let name = u32::try_from(number).unwrap();
            threads.push(std::thread::spawn(move || produce(&producer, name, style, &mut random, &stopping)));
        }
        let administrator = Administrator::new(address, &history);
        let (mut random, ends) = (Random::new(seed + 77), stopping.clone());
        threads.push(std::thread::spawn(move || administrator.work(&mut random, &ends)));
        for reader in [Reader::tail(address, &history), Reader::member(address, &history)] {
            let stopping = stopping.clone();
            threads.push(std::thread::spawn(move || reader.read(&stopping)));
        }
        let statics = Statics::start(address, &history);
        let (mut random, ends) = (Random::new(seed + 99), stopping.clone());
        let statics = std::thread::spawn(move || statics.work(&mut random, &ends));
        Load { history, address: address.to_string(), stopping, threads, statics }
    }

    /// Requests the leader epochs of all partitions from a broker.
    pub fn ask_for_epochs(&self, limit: Duration) {
        let clock = Clock::machine();
        let give_up = clock.monotonic() + limit;
        for at in 0..PLACES.len() {
            self.history.note(Event::AskedFor { what: Raised::Epoch(at) });
        }
        let epochs = loop {
            let found = self.address.split(',').find_map(|address| epochs(address).ok());
            match found {
                Some(epochs) => break epochs,
                None => assert!(clock.monotonic() < give_up, "no broker tells of epochs"),
            }
        };
        for (topic, partition, epoch) in epochs {
            let at = PLACES.iter().position(|(name, index)| *name == topic && *index == partition);
            if let Some(at) = at {
                self.history.note(Event::Found { what: Raised::Epoch(at), value: epoch.into() });
            }
        }
    }

    /// Requests the group's committed offsets, as another client would.
    pub fn ask_for_commits(&self, limit: Duration) {
        let consumer: BaseConsumer = config(&self.address).set("group.id", GROUP).create().unwrap();
        let mut asked = TopicPartitionList::new();
        for (topic, partition) in &PLACES[..SHRINKING] {
            asked.add_partition(topic, *partition);
        }
        let clock = Clock::machine();
        let give_up = clock.monotonic() + limit;
        let found = loop {
            for at in 0..SHRINKING {
                self.history.note(Event::AskedForCommit { at });
            }
            match consumer.committed_offsets(asked.clone(), limit) {
                Ok(found) => break found,
                // A coordinator may need a moment after its start, and librdkafka reports that as an error.
                Err(error) => assert!(clock.monotonic() < give_up, "{error}"),
            }
            self.history.wait_or_quit(Duration::from_millis(20));
        };
        for one in found.elements() {
            one.error().unwrap();
            let offset = match one.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            };
            self.history.note(Event::FoundCommit { at: place(one.topic(), one.partition()), offset });
        }
    }

    /// Requests the results of the administrator's changes, as another client would.
    pub fn ask_for_changes(&self, limit: Duration) {
        let consumer: BaseConsumer = config(&self.address).set("group.id", "unused").create().unwrap();
        let clock = Clock::machine();
        let give_up = clock.monotonic() + limit;
        while !look(&consumer, &self.history, limit) {
            assert!(clock.monotonic() < give_up, "no answer about topics");
        }
    }

    /// Waits until every producer has its answers, and returns the events.
    pub fn stop(self, limit: Duration) -> (Vec<Event>, Counts) {
        self.ask_for_commits(limit);
        self.ask_for_epochs(limit);
        self.ask_for_changes(limit);
        self.stopping.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().unwrap();
        }
        let statics = self.statics.join().unwrap();
        // Checks the last events of the clients.
        self.history.wait_or_quit(Duration::ZERO);
        assert_eq!(self.history.unanswered(), 0, "every send has its answer");
        let events = self.history.board.look(|notes| notes.events.clone());
        (events, statics)
    }
}

/// All records of the partitions, which must be the same with both isolation levels.
pub fn read_everything(address: &str, limit: Duration) -> Log {
    let [committed, uncommitted] = ["read_committed", "read_uncommitted"].map(|isolation| {
        let mut config = config(address);
        config.set("group.id", "unused").set("enable.auto.commit", "false").set("auto.offset.reset", "error");
        config
            .set("isolation.level", isolation)
            .set("enable.partition.eof", "true")
            .set("check.crcs", "true");
        config.set("fetch.wait.max.ms", "10").set("fetch.error.backoff.ms", "10");
        // One for all partitions, because closing a consumer takes a second.
        let consumer: BaseConsumer = config.create().unwrap();
        PLACES.map(|(topic, partition)| read_partition(&consumer, topic, partition, limit)).to_vec()
    });
    assert!(committed == uncommitted, "isolation levels differ");
    committed
}

fn read_partition(
    consumer: &BaseConsumer,
    topic: &str,
    partition: i32,
    limit: Duration,
) -> Vec<(i64, Option<Value>)> {
    let mut wanted = TopicPartitionList::new();
    wanted.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    consumer.assign(&wanted).unwrap();
    let (start, end) = consumer.fetch_watermarks(topic, partition, limit).unwrap();
    let mut log = Vec::new();
    while log.last().is_none_or(|(offset, _)| offset + 1 < end) && end > start {
        match consumer.poll(limit) {
            Some(Ok(message)) => {
                log.push((message.offset(), Value::of_record(message.key(), message.payload())));
            }
            Some(Err(error)) => {
                panic!("{topic}-{partition} ends at {end}, and after {:?}: {error}", log.last())
            }
            None => panic!("{topic}-{partition} ends at {end}, and nothing came after {:?}", log.last()),
        }
    }
    log
}

pub fn config(address: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address);
    config.set("reconnect.backoff.ms", "5").set("reconnect.backoff.max.ms", "50");
    config
}

/// Topic, partition and leader epoch in the answer of one broker.
fn epochs(address: &str) -> std::io::Result<Vec<(String, i32, i32)>> {
    let request = MetadataRequest { topics: None, ..Default::default() };
    let mut epochs = Vec::new();
    for topic in Raw::of(address)?.call(12, &request)?.topics {
        let name = topic.name.unwrap_or_default();
        epochs
            .extend(topic.partitions.iter().map(|one| (name.clone(), one.partition_index, one.leader_epoch)));
    }
    Ok(epochs)
}

fn create_topics(address: &str, replicas: usize) {
    let replicas = i32::try_from(replicas).unwrap();

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let admin: AdminClient<DefaultClientContext> = config(address).create().unwrap();
    let new = |name| NewTopic::new(name, 3, TopicReplication::Fixed(replicas));
    let one = |name| NewTopic::new(name, 1, TopicReplication::Fixed(replicas));
    let topics = [
        new("rolling").set("internal.segment.bytes", "65536"),
        new("large"),
        one("shrinking").set("internal.segment.bytes", "65536"),
        one(GROWING),
    ];
    let made = runtime.block_on(admin.create_topics(&topics, &AdminOptions::new())).unwrap();
    assert!(made.iter().all(Result::is_ok), "{made:?}");
}

fn place(topic: &str, partition: i32) -> Place {
    PLACES.iter().position(|known| *known == (topic, partition)).expect("a partition of the round")
}

// --- history ------------------------------------------------------------------------------------

#[derive(Default)]
pub struct History {
    board: Board<Notes>,
    /// Held from a question about the administrator's changes until its answer.
    asking: Mutex<()>,
}

#[derive(Default)]
struct Notes {
    events: Vec<Event>,
    sent: usize,
    answered: usize,
}

impl History {
    fn note(&self, event: Event) {
        self.board.change(|notes| {
            match event {
                Event::Sent { .. } => notes.sent += 1,
                Event::Acked { .. } | Event::Refused { .. } => notes.answered += 1,
                _ => {}
            }
            notes.events.push(event);
        });
    }

    pub fn broken(&self, what: String) {
        self.board.broken(what);
    }

    /// The number of acknowledged changes of this value.
    pub fn times_raised(&self, what: Raised) -> usize {
        let raised = |event: &&Event| matches!(event, Event::Raised { what: raised, .. } if *raised == what);
        self.board.look(|notes| notes.events.iter().filter(raised).count())
    }

    /// All acknowledged records: value, partition and offset.
    pub fn acknowledged(&self) -> Vec<(Value, Place, i64)> {
        let acked = |event: &Event| match *event {
            Event::Acked { value, at, offset } => Some((value, at, offset)),
            _ => None,
        };
        self.board.look(|notes| notes.events.iter().filter_map(acked).collect())
    }

    pub fn unanswered(&self) -> usize {
        self.board.look(|notes| notes.sent - notes.answered)
    }

    /// Waits until this many more sends were answered.
    pub fn wait_for_acks(&self, more: usize, limit: Duration) {
        let wanted = self.board.look(|notes| notes.answered) + more;
        let is_so = self.board.wait(limit, |notes| notes.answered >= wanted);
        assert!(is_so, "no progress: {wanted} answers wanted");
    }

    /// Waits for this time, or until the round fails.
    pub fn wait_or_quit(&self, time: Duration) {
        self.board.wait_or_quit(time);
    }
}

// --- producers ----------------------------------------------------------------------------------

struct Noting {
    history: Arc<History>,
    unanswered: Mutex<usize>,
    /// Producer ids and epochs that librdkafka has used, and why it took another one.
    identities: Mutex<BTreeSet<(i64, i64)>>,
    reasons: Mutex<Vec<String>>,
}

impl Noting {
    fn new(history: &Arc<History>) -> Noting {
        Noting {
            history: history.clone(),
            unanswered: Mutex::default(),
            identities: Mutex::default(),
            reasons: Mutex::default(),
        }
    }
}

impl ClientContext for Noting {
    fn log(&self, _: RDKafkaLogLevel, _: &str, message: &str) {
        if message.contains("epoch bump") {
            self.reasons.lock().unwrap().push(message.to_string());
        }
    }

    fn stats(&self, statistics: Statistics) {
        let Some(eos) = statistics.eos else { return };
        if eos.producer_id < 0 {
            return;
        }
        let mut identities = self.identities.lock().unwrap();
        identities.insert((eos.producer_id, eos.producer_epoch));
        if identities.len() > 1 {
            let reasons = self.reasons.lock().unwrap();
            self.history.broken(format!("an idempotent producer started anew: {identities:?}, {reasons:?}"));
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            self.history.broken(format!("a producer gave up: {error}: {reason}"));
        }
    }
}

impl ProducerContext for Noting {
    type DeliveryOpaque = Box<Value>;

    fn delivery(&self, result: &DeliveryResult<'_>, value: Box<Value>) {
        *self.unanswered.lock().unwrap() -= 1;
        match result {
            Ok(message) => {
                let at = place(message.topic(), message.partition());
                self.history.note(Event::Acked { value: *value, at, offset: message.offset() });
            }
            Err((error, _)) => self.history.broken(format!("{value:?} was given up: {error}")),
        }
    }
}

fn produce(
    producer: &BaseProducer<Noting>,
    name: u32,
    style: &Style,
    random: &mut Random,
    stopping: &AtomicBool,
) {
    let history = &producer.context().history;
    for seq in 0.. {
        if stopping.load(Ordering::SeqCst) {
            break;
        }
        let value = Value { producer: name, seq };
        let to = style.to.start + random.below(style.to.len());
        let bytes = value.bytes(style.smallest + random.below(style.largest - style.smallest));
        history.note(Event::Sent { value, to, idempotent: style.idempotent });
        *producer.context().unanswered.lock().unwrap() += 1;
        let (topic, partition) = PLACES[to];
        let (key, payload) = (value.key(), bytes);
        let record = BaseRecord::with_opaque_to(topic, Box::new(value))
            .partition(partition)
            .key(&key[..])
            .payload(&payload);
        if let Err((error, _)) = producer.send(record) {
            history.broken(format!("{value:?} could not be sent: {error}"));
            return;
        }
        producer.poll(Duration::ZERO);
        while *producer.context().unanswered.lock().unwrap() >= style.most_unanswered
            && !stopping.load(Ordering::SeqCst)
        {
            producer.poll(Duration::from_millis(20));
        }
    }
    if producer.flush(crate::DEADLINE).is_err() {
        history.broken(format!("producer {name} did not get its answers"));
    }
}

// --- the administrator --------------------------------------------------------------------------

struct Administrator {
    history: Arc<History>,
    client: AdminClient<DefaultClientContext>,
    looking: BaseConsumer,
    runtime: tokio::runtime::Runtime,
}

impl Administrator {
    fn new(address: &str, history: &Arc<History>) -> Administrator {
        Administrator {
            history: history.clone(),
            client: config(address).create().unwrap(),
            looking: config(address).set("group.id", "unused").create().unwrap(),
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
        }
    }

    /// Makes one change after the other. A change without an answer may have been made or not.
    fn work(self, random: &mut Random, stopping: &AtomicBool) {
        let (mut partitions, mut setting) = (1, 0);
        while !stopping.load(Ordering::SeqCst) {
            match random.below(4) {
                0 => self.delete_records(random),
                1 if partitions < MOST_PARTITIONS => {
                    partitions += 1;
                    self.grow(partitions);
                }
                2 => {
                    setting += 1;
                    self.alter(setting);
                }
                _ => drop(self.look()),
            }
            self.history.wait_or_quit(random.duration(Duration::from_millis(30)));
        }
    }

    fn delete_records(&self, random: &mut Random) {
        let (topic, partition) = PLACES[SHRINKING];
        let Ok((start, end)) = self.looking.fetch_watermarks(topic, partition, LIMIT) else { return };
        let to = start + random.below(1 + usize::try_from(end - start).unwrap()) as i64;
        let what = Raised::Start(SHRINKING);
        self.history.note(Event::Raising { what, to });
        let mut before = TopicPartitionList::new();
        before.add_partition_offset(topic, partition, Offset::Offset(to)).unwrap();
        let deleted = self.runtime.block_on(self.client.delete_records(&before, &options()));
        if deleted.is_ok_and(|deleted| deleted.elements().iter().all(|one| one.error().is_ok())) {
            self.history.note(Event::Raised { what, to });
        }
    }

    fn alter(&self, to: i64) {
        let what = Raised::Setting;
        self.history.note(Event::Raising { what, to });
        let value = to.to_string();
        let change = AlterConfig::new(ResourceSpecifier::Topic(GROWING)).set(SETTING, &value);
        let altered = self.runtime.block_on(self.client.alter_configs([&change], &options()));
        if altered.is_ok_and(|altered| altered.iter().all(Result::is_ok)) {
            self.history.note(Event::Raised { what, to });
        }
    }

    /// Notes the setting in the broker's answer, and what other clients see.
    fn look(&self) -> bool {
        look(&self.looking, &self.history, LIMIT) && self.look_at_setting()
    }

    fn look_at_setting(&self) -> bool {
        let what = Raised::Setting;
        self.history.note(Event::AskedFor { what });
        let topic = ResourceSpecifier::Topic(GROWING);
        let Ok(described) = self.runtime.block_on(self.client.describe_configs([&topic], &options())) else {
            return false;
        };
        let Some(Ok(topic)) = described.first() else { return false };
        let value = topic.get(SETTING).and_then(|setting| setting.value.as_deref()?.parse::<i64>().ok());
        // Its default is far above all values that it is set to.
        if let Some(value) = value.filter(|value| *value < 1_000_000) {
            self.history.note(Event::Found { what, value });
        }
        true
    }

    fn grow(&self, partitions: usize) {
        let (what, to) = (Raised::Partitions, partitions as i64);
        self.history.note(Event::Raising { what, to });
        let new = [NewPartitions::new(GROWING, partitions)];
        let grown = self.runtime.block_on(self.client.create_partitions(&new, &options()));
        if grown.is_ok_and(|grown| grown.iter().all(Result::is_ok)) {
            self.history.note(Event::Raised { what, to });
        }
    }
}

/// How long the administrator waits for an answer from a broker that may be gone.
const LIMIT: Duration = Duration::from_secs(5);

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(LIMIT))
}

/// Notes the administrator's changes that are visible; `false` if there was no answer.
fn look(consumer: &BaseConsumer, history: &History, limit: Duration) -> bool {
    let _one_at_a_time = history.asking.lock().unwrap();
    let (topic, partition) = PLACES[SHRINKING];
    let what = Raised::Start(SHRINKING);
    history.note(Event::AskedFor { what });
    let Ok((start, _)) = consumer.fetch_watermarks(topic, partition, limit) else { return false };
    history.note(Event::Found { what, value: start });
    let what = Raised::Partitions;
    history.note(Event::AskedFor { what });
    let Ok(metadata) = consumer.fetch_metadata(Some(GROWING), limit) else { return false };
    let partitions = metadata.topics().iter().map(|topic| topic.partitions().len()).sum::<usize>();
    // The topic existed at the beginning with one partition, so the value 1 needs no request.
    if partitions > 1 {
        history.note(Event::Found { what, value: partitions as i64 });
    }
    true
}

// --- readers ------------------------------------------------------------------------------------

struct Reader {
    name: u32,
    consumer: BaseConsumer<Following>,
}

/// Notes the positions at which a group member starts again.
struct Following {
    name: u32,
    history: Arc<History>,
}

impl ClientContext for Following {}

impl ConsumerContext for Following {
    fn pre_rebalance(&self, _: &BaseConsumer<Following>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(list) = rebalance {
            for one in list.elements() {
                let at = place(one.topic(), one.partition());
                self.history.note(Event::Positioned { reader: self.name, at });
            }
        }
    }
}

const TAIL: u32 = 1;
const MEMBER: u32 = 2;

impl Reader {
    fn new(address: &str, history: &Arc<History>, name: u32) -> Reader {
        let mut config = config(address);
        config.set("group.id", if name == MEMBER { GROUP } else { "unused" });
        config
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("check.crcs", "true");
        config.set("heartbeat.interval.ms", "100").set("session.timeout.ms", "60000");
        let consumer = config.create_with_context(Following { name, history: history.clone() }).unwrap();
        Reader { name, consumer }
    }

    /// Reads every partition from its beginning, without a group.
    fn tail(address: &str, history: &Arc<History>) -> Reader {
        let reader = Reader::new(address, history, TAIL);
        let mut all = TopicPartitionList::new();
        for (topic, partition) in &PLACES[..SHRINKING] {
            all.add_partition_offset(topic, *partition, Offset::Beginning).unwrap();
        }
        reader.consumer.assign(&all).unwrap();
        reader
    }

    /// The only member of the group; it commits every fifty records.
    fn member(address: &str, history: &Arc<History>) -> Reader {
        let reader = Reader::new(address, history, MEMBER);
        let topics: BTreeSet<&str> = PLACES[..SHRINKING].iter().map(|(topic, _)| *topic).collect();
        reader.consumer.subscribe(&topics.into_iter().collect::<Vec<_>>()).unwrap();
        reader
    }

    fn read(self, stopping: &AtomicBool) {
        let history = &self.consumer.context().history;
        let mut uncommitted: BTreeMap<Place, i64> = BTreeMap::new();
        let mut since_commit = 0;
        while !stopping.load(Ordering::SeqCst) {
            // An error means that the broker is gone; librdkafka reconnects by itself.
            let Some(Ok(message)) = self.consumer.poll(Duration::from_millis(50)) else { continue };
            let (at, offset) = (place(message.topic(), message.partition()), message.offset());
            let value = Value::of_record(message.key(), message.payload());
            history.note(Event::Polled { reader: self.name, at, offset, value });
            uncommitted.insert(at, offset + 1);
            since_commit += 1;
            if self.name == MEMBER && since_commit >= 50 {
                self.commit(&std::mem::take(&mut uncommitted));
                since_commit = 0;
            }
        }
    }

    fn commit(&self, offsets: &BTreeMap<Place, i64>) {
        let history = &self.consumer.context().history;
        let mut list = TopicPartitionList::new();
        for (at, offset) in offsets {
            let (topic, partition) = PLACES[*at];
            list.add_partition_offset(topic, partition, Offset::Offset(*offset)).unwrap();
            history.note(Event::Committing { at: *at, offset: *offset });
        }
        // A commit without an answer may have been stored or not.
        if self.consumer.commit(&list, CommitMode::Sync).is_ok() {
            for (at, offset) in offsets {
                history.note(Event::Committed { at: *at, offset: *offset });
            }
        }
    }
}
