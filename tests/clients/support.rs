//! A broker for one test, records to send to it, and clients that wait for events, never for a fixed time.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jackdaw::hooks::{HookError, TestHooks};
use jackdaw::time::Clock;
use jackdaw::types::NodeId;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{ClientContext, Offset, TopicPartitionList};

/// Time limit of one operation on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(90);

// --- the broker ---------------------------------------------------------------------------------

/// A new broker in this process, or the one of `BOOTSTRAP`.
pub struct Server {
    runtime: tokio::runtime::Runtime,
    bootstrap: String,
    broker: Option<jackdaw::broker::Broker>,
}

impl Server {
    pub fn start() -> Server {
        match std::env::var("BOOTSTRAP") {
            Ok(bootstrap) => Server { runtime: runtime(), bootstrap, broker: None },
            Err(_) => Server::of_brokers(1),
        }
    }

    /// This many virtual brokers in one process; `None` if `BOOTSTRAP` is set.
    pub fn of_virtual_brokers(brokers: u16) -> Option<Server> {
        std::env::var("BOOTSTRAP").is_err().then(|| Server::of_brokers(brokers))
    }

    fn of_brokers(brokers: u16) -> Server {
        Server::of(brokers, &[])
    }

    /// A broker in this process with these settings; `None` if `BOOTSTRAP` is set.
    pub fn with(settings: &[(&str, &str)]) -> Option<Server> {
        std::env::var("BOOTSTRAP").is_err().then(|| Server::of(1, settings))
    }

    /// Virtual brokers with test hooks; `None` if `BOOTSTRAP` is set.
    pub fn with_hooks(brokers: u16) -> Option<Server> {
        std::env::var("BOOTSTRAP").is_err().then(|| Server::of(brokers, &[("jackdaw.test.hooks", "true")]))
    }

    /// Waits for a call of test hooks, which must succeed.
    pub fn hook(&self, call: impl AsyncFnOnce(TestHooks) -> Result<(), HookError>) {
        self.wait(call(self.hooks())).unwrap();
    }

    pub fn wait<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Stops the broker, and then waits for this.
    pub fn stopped<T>(mut self, then: impl AsyncFnOnce() -> T) -> T {
        let process = self.broker.take().expect("it is one of ours");
        self.runtime.block_on(async {
            process.stop().await;
            then().await
        })
    }

    pub fn hooks(&self) -> TestHooks {
        let process = self.broker.as_ref().expect("it is one of ours");
        process.hooks().expect("they are on").clone()
    }

    fn of(brokers: u16, settings: &[(&str, &str)]) -> Server {
        let runtime = runtime();
        let mut builder = jackdaw::broker::Broker::builder()
            .ephemeral()
            .brokers(brokers)
            .set("group.initial.rebalance.delay.ms", "0")
            .set("log.cleaner.backoff.ms", "100");
        for (name, value) in settings {
            builder = builder.set(name, *value);
        }
        let broker = runtime.block_on(builder.start()).unwrap();
        Server { runtime, bootstrap: broker.bootstrap().to_string(), broker: Some(broker) }
    }

    pub fn stop_one(&self, broker: i32) {
        let process = self.broker.as_ref().expect("it is one of ours");
        self.runtime.block_on(process.stop_one(NodeId(broker))).unwrap();
    }

    pub fn start_one(&self, broker: i32) {
        let process = self.broker.as_ref().expect("it is one of ours");
        self.runtime.block_on(process.start_one(NodeId(broker))).unwrap();
    }

    /// A name for a topic or group that no other test uses, also on a shared broker.
    pub fn name(&self, what: &str) -> String {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        format!("clients-{}-{id}-{what}", std::process::id())
    }

    pub fn config(&self, settings: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap);
        for (name, value) in settings {
            config.set(*name, *value);
        }
        config
    }

    pub fn consumer(&self, settings: &[(&str, &str)]) -> BaseConsumer {
        // Without a group id librdkafka refuses to consume; nothing is committed to this group.
        let mut config = self.config(&[
            ("group.id", "clients-unused"),
            ("enable.auto.commit", "false"),
            ("auto.offset.reset", "error"),
            ("check.crcs", "true"),
        ]);
        for (name, value) in settings {
            config.set(*name, *value);
        }
        config.create().unwrap()
    }

    pub fn producer(&self, settings: &[(&str, &str)]) -> Sender {
        Sender { producer: self.config(settings).create_with_context(Outcomes::default()).unwrap() }
    }

    pub fn admin(&self) -> Admin<'_> {
        Admin { server: self, client: self.config(&[]).create().unwrap() }
    }

    /// Creates a topic and returns its name.
    pub fn topic(&self, what: &str, partitions: i32) -> String {
        let name = self.name(what);
        let made = self.admin().create(&[NewTopic::new(&name, partitions, TopicReplication::Fixed(1))]);
        assert_eq!(made, [Ok(())]);
        name
    }

    /// Reads `count` records of one partition from an offset on.
    pub fn read(&self, topic: &str, partition: i32, from: Offset, count: usize) -> Vec<Read> {
        read(&self.assigned(topic, partition, from, &[]), count)
    }

    /// A consumer that is positioned at an offset of one partition.
    pub fn assigned(
        &self,
        topic: &str,
        partition: i32,
        from: Offset,
        settings: &[(&str, &str)],
    ) -> BaseConsumer {
        let consumer = self.consumer(settings);
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition_offset(topic, partition, from).unwrap();
        consumer.assign(&wanted).unwrap();
        consumer
    }

    /// The first offset of a partition, and the offset after the last one.
    pub fn ends(&self, topic: &str, partition: i32) -> (i64, i64) {
        self.consumer(&[]).fetch_watermarks(topic, partition, DEADLINE).unwrap()
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

pub struct Admin<'a> {
    server: &'a Server,
    pub client: AdminClient<DefaultClientContext>,
}

impl Admin<'_> {
    pub fn create(&self, topics: &[NewTopic<'_>]) -> Vec<Result<(), RDKafkaErrorCode>> {
        self.create_with(topics, &AdminOptions::new())
    }

    pub fn create_with(
        &self,
        topics: &[NewTopic<'_>],
        options: &AdminOptions,
    ) -> Vec<Result<(), RDKafkaErrorCode>> {
        let made = self.server.runtime.block_on(self.client.create_topics(topics, options)).unwrap();
        made.into_iter().map(|one| one.map(|_| ()).map_err(|(_, code)| code)).collect()
    }

    pub fn delete(&self, topics: &[&str]) -> Vec<Result<(), RDKafkaErrorCode>> {
        let gone =
            self.server.runtime.block_on(self.client.delete_topics(topics, &AdminOptions::new())).unwrap();
        gone.into_iter().map(|one| one.map(|_| ()).map_err(|(_, code)| code)).collect()
    }

    pub fn grow(&self, topics: &[NewPartitions<'_>]) -> Vec<Result<(), RDKafkaErrorCode>> {
        let grown = self.client.create_partitions(topics, &AdminOptions::new());
        let grown = self.server.runtime.block_on(grown).unwrap();
        grown.into_iter().map(|one| one.map(|_| ()).map_err(|(_, code)| code)).collect()
    }

    /// Deletes the records before the offsets. Returns topic, partition and the new first offset, or the
    /// error.
    pub fn delete_records(
        &self,
        before: &[(&str, i32, Offset)],
    ) -> Vec<(String, i32, Result<Offset, RDKafkaErrorCode>)> {
        let mut offsets = TopicPartitionList::new();
        for (topic, partition, offset) in before {
            offsets.add_partition_offset(topic, *partition, *offset).unwrap();
        }
        let deleted = self.client.delete_records(&offsets, &AdminOptions::new());
        let deleted = self.server.runtime.block_on(deleted).unwrap();
        let outcomes = deleted.elements().into_iter().map(|one| {
            let outcome = one.error().map(|()| one.offset());
            let outcome = outcome.map_err(|error| error.rdkafka_error_code().expect("a code"));
            (one.topic().to_owned(), one.partition(), outcome)
        });
        outcomes.collect()
    }

    pub fn delete_groups(&self, groups: &[&str]) -> Vec<Result<(), RDKafkaErrorCode>> {
        let gone =
            self.server.runtime.block_on(self.client.delete_groups(groups, &AdminOptions::new())).unwrap();
        gone.into_iter().map(|one| one.map(|_| ()).map_err(|(_, code)| code)).collect()
    }

    /// Replaces all settings of one resource.
    pub fn alter(&self, change: rdkafka::admin::AlterConfig<'_>) -> Result<(), RDKafkaErrorCode> {
        let altered = self.client.alter_configs([&change], &AdminOptions::new());
        let outcome = self.server.runtime.block_on(altered).unwrap().remove(0);
        outcome.map(drop).map_err(|(_, code)| code)
    }

    pub fn configs(
        &self,
        resource: rdkafka::admin::ResourceSpecifier<'_>,
    ) -> Result<rdkafka::admin::ConfigResource, RDKafkaErrorCode> {
        let asked = self.client.describe_configs([&resource], &AdminOptions::new());
        self.server.runtime.block_on(asked).unwrap().remove(0)
    }
}

// --- records ------------------------------------------------------------------------------------

/// A record as a test sends it and expects it back.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    pub timestamp: i64,
}

impl Record {
    /// A record without key and headers, with the current time.
    pub fn of(value: impl AsRef<[u8]>) -> Record {
        Record { key: None, value: Some(value.as_ref().to_vec()), headers: Vec::new(), timestamp: now() }
    }
}

/// Records whose value is a prefix and a number.
pub fn numbered(prefix: &str, count: usize) -> Vec<Record> {
    (0..count).map(|number| Record::of(format!("{prefix}{number}"))).collect()
}

/// The values as text, to compare them.
pub fn values(read: &[Read]) -> Vec<String> {
    read.iter().map(|one| String::from_utf8(one.record.value.clone().unwrap()).unwrap()).collect()
}

pub fn now() -> i64 {
    Clock::machine().now().0
}

#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    pub offset: i64,
    pub record: Record,
}

/// Polls until `count` records have arrived.
pub fn read(consumer: &BaseConsumer, count: usize) -> Vec<Read> {
    let mut got = Vec::new();
    while got.len() < count {
        match poll(consumer) {
            Ok(message) => got.push(taken(&message)),
            Err(error) => panic!("after {} of {count} records: {error:?}", got.len()),
        }
    }
    got
}

/// The next record or error. A poll that handled a rebalance returns neither and is repeated. It is no error
/// if all brokers are unreachable: on a busy machine librdkafka may lose a connection and reconnects by
/// itself.
pub fn poll<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> Result<BorrowedMessage<'_>, KafkaError> {
    let clock = Clock::machine();
    let give_up = clock.monotonic() + DEADLINE;
    loop {
        let event = consumer.poll(DEADLINE);
        let is_news = matches!(&event, Some(Err(error)) if is_news(error));
        if let Some(event) = event.filter(|_| !is_news) {
            return event;
        }
        assert!(clock.monotonic() < give_up, "nothing came");
    }
}

fn is_news(error: &KafkaError) -> bool {
    let news = [RDKafkaErrorCode::AllBrokersDown, RDKafkaErrorCode::BrokerTransportFailure];
    error.rdkafka_error_code().is_some_and(|code| news.contains(&code))
}

pub fn taken(message: &impl Message) -> Read {
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    Read {
        offset: message.offset(),
        record: Record {
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: headers.map(|one| (one.key.to_string(), one.value.map(<[u8]>::to_vec))).collect(),
            timestamp: message.timestamp().to_millis().unwrap(),
        },
    }
}

// --- sending ------------------------------------------------------------------------------------

/// Partition and offset of a record, or its error.
pub type Outcome = Result<(i32, i64), RDKafkaErrorCode>;

/// A producer that reports the outcome of each record in the order of sending.
pub struct Sender {
    producer: BaseProducer<Outcomes>,
}

#[derive(Default)]
struct Outcomes(Mutex<Vec<Option<Outcome>>>);

impl ClientContext for Outcomes {}

impl ProducerContext for Outcomes {
    type DeliveryOpaque = Box<usize>;

    fn delivery(&self, result: &DeliveryResult<'_>, place: Box<usize>) {
        let outcome = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((KafkaError::MessageProduction(code), _)) => Err(*code),
            Err((other, _)) => panic!("{other:?}"),
        };
        self.0.lock().unwrap()[*place] = Some(outcome);
    }
}

impl Sender {
    /// Sends all records to one partition and waits for their outcomes.
    pub fn send(&self, topic: &str, partition: i32, records: &[Record]) -> Vec<Outcome> {
        *self.producer.context().0.lock().unwrap() = vec![None; records.len()];
        for (place, record) in records.iter().enumerate() {
            self.enqueue(topic, partition, record, place);
        }
        self.producer.flush(DEADLINE).unwrap();
        let outcomes = std::mem::take(&mut *self.producer.context().0.lock().unwrap());
        outcomes.into_iter().map(|outcome| outcome.expect("flush waits for every outcome")).collect()
    }

    /// Sends records that must all be accepted; returns the offsets.
    pub fn send_all(&self, topic: &str, partition: i32, records: &[Record]) -> Vec<i64> {
        let outcomes = self.send(topic, partition, records);
        outcomes.into_iter().map(|outcome| outcome.unwrap().1).collect()
    }

    fn enqueue(&self, topic: &str, partition: i32, record: &Record, place: usize) {
        let mut message = BaseRecord::<[u8], [u8], Box<usize>>::with_opaque_to(topic, Box::new(place))
            .partition(partition)
            .timestamp(record.timestamp);
        if let Some(key) = &record.key {
            message = message.key(key);
        }
        if let Some(value) = &record.value {
            message = message.payload(value);
        }
        if !record.headers.is_empty() {
            let mut headers = OwnedHeaders::new();
            for (key, value) in &record.headers {
                headers = headers.insert(Header { key, value: value.as_ref() });
            }
            message = message.headers(headers);
        }
        while let Err((error, refused)) = self.producer.send(message) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                let code = error.rdkafka_error_code().unwrap();
                self.producer.context().0.lock().unwrap()[place] = Some(Err(code));
                return;
            }
            self.producer.poll(DEADLINE);
            message = refused;
        }
    }
}
