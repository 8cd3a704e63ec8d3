//! Transactional clients with librdkafka, which speaks version 1 of the protocol: transfers, and a pipeline
//! that consumes the accounts, sends a copy of every record to the output and commits its offsets in the same
//! transaction.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

use super::checker::{End, Event, Transaction};
use super::notes::Notes;
use super::{ACCOUNTS, OUTPUT, PIPELINE, PLACES, group_of, legs, place};
use crate::checker::Place;
use crate::load::config;
use crate::value::{Random, Value};

/// The limit of one call; a call that took longer is made again.
const LIMIT: Duration = Duration::from_secs(3);

pub struct Client {
    name: u32,
    address: String,
    notes: Arc<Notes>,
    producer: ThreadedProducer<DefaultProducerContext>,
    transactions: u32,
    records: u32,
}

impl Client {
    pub fn new(name: u32, address: &str, notes: &Arc<Notes>) -> Client {
        let client = Client {
            name,
            address: address.to_owned(),
            notes: Arc::clone(notes),
            producer: producer(name, address),
            transactions: 0,
            records: 0,
        };
        client.initialize();
        client
    }

    /// Moves money between accounts.
    pub fn transfer(mut self, random: &mut Random, stopping: &AtomicBool) {
        while !stopping.load(Ordering::SeqCst) {
            let transaction = self.begin();
            let are_sent =
                legs(random).into_iter().all(|(to, amount)| self.send(transaction, to, amount, None, random));
            if are_sent {
                self.finish(transaction, random);
            } else {
                self.end(transaction, End::Abort);
            }
        }
    }

    /// Copies the accounts to the output until it has everything.
    pub fn copy(mut self, random: &mut Random, draining: &AtomicBool) {
        let mut input = Input::new(&self.address, &self.notes);
        let mut drains = false;
        loop {
            if !drains && draining.load(Ordering::SeqCst) {
                // What comes from now on is the end of the input.
                drains = true;
                input.rewind();
            }
            let batch = input.read(1 + random.below(200));
            if batch.is_empty() {
                if drains && input.is_at_its_end() {
                    return;
                }
                continue;
            }
            let transaction = self.begin();
            let are_sent = batch.iter().all(|(_, _, value)| {
                let to = OUTPUT.start + random.below(OUTPUT.len());
                self.send(transaction, to, 0, *value, random)
            });
            let end = if are_sent && self.commit_offsets(transaction, &input, &batch) {
                self.finish(transaction, random)
            } else {
                self.end(transaction, End::Abort)
            };
            if end == End::Abort {
                input.rewind();
            }
        }
    }

    fn begin(&mut self) -> Transaction {
        let transaction = Transaction { client: self.name, number: self.transactions };
        self.transactions += 1;
        if let Err(error) = self.producer.begin_transaction() {
            self.fails(format!("begin: {error}"));
        }
        transaction
    }

    /// `false` if the transaction has to be aborted: the broker waits for a sequence of records that the abort before it
    /// has purged.
    fn send(
        &mut self,
        transaction: Transaction,
        to: Place,
        amount: i64,
        from: Option<Value>,
        random: &mut Random,
    ) -> bool {
        let value = Value { producer: self.name, seq: self.records };
        self.records += 1;
        self.notes.note(Event::Sent { transaction, value, to, amount, from });
        let (topic, partition) = PLACES[to];
        let (key, bytes) = (value.key(), value.bytes(20 + random.below(1_000)));
        let record = BaseRecord::to(topic).partition(partition).key(&key[..]).payload(&bytes);
        match self.producer.send(record) {
            Ok(()) => true,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::State), _)) => false,
            Err((error, _)) => {
                self.fails(format!("send: {error}"));
                false
            }
        }
    }

    /// Commits, aborts, or starts anew in the middle of the transaction.
    fn finish(&mut self, transaction: Transaction, random: &mut Random) -> End {
        match random.below(100) {
            0..5 => self.end(transaction, End::Abort),
            5..7 => self.start_anew(transaction),
            _ => self.end(transaction, End::Commit),
        }
    }

    /// An error that can be retried is retried; after one that ends the transaction it is aborted.
    fn end(&mut self, transaction: Transaction, end: End) -> End {
        self.notes.note(Event::Ending { transaction, end });
        loop {
            let done = match end {
                End::Commit => self.producer.commit_transaction(LIMIT),
                End::Abort => self.producer.abort_transaction(LIMIT),
            };
            match done {
                Ok(()) => {
                    self.notes.note(Event::Ended { transaction, end });
                    return end;
                }
                // Not all records were acknowledged, and nothing was committed. Only an abort gets librdkafka on if the
                // broker waits for a sequence of records that were purged by the abort before.
                Err(KafkaError::Flush(_)) if end == End::Commit => return self.end(transaction, End::Abort),
                Err(KafkaError::Transaction(error)) if error.is_retriable() => {}
                Err(KafkaError::Transaction(error)) if error.txn_requires_abort() && end == End::Commit => {
                    return self.end(transaction, End::Abort);
                }
                // The broker was killed before it got AddPartitionsToTxn, so it has no transaction to abort. For
                // librdkafka that is fatal, with Kafka too.
                Err(KafkaError::Transaction(error))
                    if end == End::Abort && error.code() == RDKafkaErrorCode::InvalidTransactionalState =>
                {
                    return self.start_anew(transaction);
                }
                Err(error) => self.fails(format!("{end:?} of {transaction:?}: {error:?}")),
            }
        }
    }

    /// The process restarts, and its transaction is aborted by the next one.
    fn start_anew(&mut self, transaction: Transaction) -> End {
        // Records that were not sent yet are not sent any more.
        self.producer = producer(self.name, &self.address);
        self.initialize();
        self.notes.note(Event::Over { transaction });
        End::Abort
    }

    fn initialize(&self) {
        loop {
            match self.producer.init_transactions(LIMIT) {
                Ok(()) => return,
                Err(KafkaError::Transaction(error)) if error.is_retriable() => {}
                Err(error) => self.fails(format!("init: {error:?}")),
            }
        }
    }

    /// `false` if the transaction has to be aborted.
    fn commit_offsets(
        &self,
        transaction: Transaction,
        input: &Input,
        batch: &[(Place, i64, Option<Value>)],
    ) -> bool {
        let mut offsets = TopicPartitionList::new();
        for at in ACCOUNTS {
            let last = batch.iter().rev().find(|(from, _, _)| *from == at);
            if let Some((_, offset, _)) = last {
                let (topic, partition) = PLACES[at];
                offsets.add_partition_offset(topic, partition, Offset::Offset(offset + 1)).unwrap();
                self.notes.note(Event::Staged { transaction, at, offset: offset + 1 });
            }
        }
        let group = input.consumer.group_metadata().expect("it has a group");
        loop {
            match self.producer.send_offsets_to_transaction(&offsets, &group, LIMIT) {
                Ok(()) => return true,
                Err(KafkaError::Transaction(error)) if error.is_retriable() => {}
                Err(KafkaError::Transaction(error)) if error.txn_requires_abort() => return false,
                Err(error) => self.fails(format!("offsets: {error:?}")),
            }
        }
    }

    fn fails(&self, what: String) {
        self.notes.broken(format!("librdkafka client {}: {what}", self.name));
        self.notes.wait_or_quit(Duration::ZERO);
    }
}

fn producer(name: u32, address: &str) -> ThreadedProducer<DefaultProducerContext> {
    let mut config = config(address);
    config.set("transactional.id", format!("transactions-{name}")).set("transaction.timeout.ms", "600000");
    config.set("linger.ms", "1").set("batch.num.messages", "3").set("retry.backoff.ms", "10");
    config.create().unwrap()
}

/// The consumer of the pipeline. It reads on from the offsets that the broker has.
struct Input {
    notes: Arc<Notes>,
    consumer: BaseConsumer,
    ended: BTreeSet<i32>,
}

impl Input {
    fn new(address: &str, notes: &Arc<Notes>) -> Input {
        let mut config = config(address);
        config.set("group.id", group_of(PIPELINE)).set("enable.auto.commit", "false");
        config.set("isolation.level", "read_committed").set("auto.offset.reset", "error");
        config.set("enable.partition.eof", "true").set("check.crcs", "true");
        config.set("fetch.wait.max.ms", "10").set("fetch.error.backoff.ms", "10");
        let consumer = config.create().unwrap();
        let mut input = Input { notes: Arc::clone(notes), consumer, ended: BTreeSet::new() };
        input.rewind();
        input
    }

    /// Begins again at the committed offsets.
    fn rewind(&mut self) {
        let mut asked = TopicPartitionList::new();
        for at in ACCOUNTS {
            asked.add_partition(PLACES[at].0, PLACES[at].1);
        }
        let found = loop {
            for at in ACCOUNTS {
                self.notes.note(Event::AskedForOffset { group: PIPELINE, at });
            }
            match self.consumer.committed_offsets(asked.clone(), LIMIT) {
                Ok(found) if found.elements().iter().all(|one| one.error().is_ok()) => break found,
                _ => self.notes.wait_or_quit(Duration::from_millis(10)),
            }
        };
        let mut from = TopicPartitionList::new();
        for one in found.elements() {
            let at = place(one.topic(), one.partition());
            let offset = match one.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            };
            self.notes.note(Event::FoundOffset { group: PIPELINE, at, offset });
            self.notes.note(Event::Positioned { reader: PIPELINE, at });
            let start = Offset::Offset(offset.unwrap_or(0));
            from.add_partition_offset(one.topic(), one.partition(), start).unwrap();
        }
        self.ended.clear();
        self.consumer.assign(&from).unwrap();
    }

    fn is_at_its_end(&self) -> bool {
        self.ended.len() == ACCOUNTS.len()
    }

    /// Up to this many records: those that are there.
    fn read(&mut self, most: usize) -> Vec<(Place, i64, Option<Value>)> {
        let mut batch = Vec::new();
        while batch.len() < most {
            match self.consumer.poll(Duration::from_millis(20)) {
                Some(Ok(message)) => {
                    let (at, offset) = (place(message.topic(), message.partition()), message.offset());
                    let value = Value::of_record(message.key(), message.payload());
                    self.notes.note(Event::Polled { reader: PIPELINE, at, offset, value });
                    self.ended.remove(&message.partition());
                    batch.push((at, offset, value));
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    self.ended.insert(partition);
                }
                // The broker is gone; librdkafka reconnects by itself.
                Some(Err(_)) => {}
                None => break,
            }
        }
        batch
    }
}

/// Reads everything at the tail, without a group.
pub fn tail(name: u32, address: &str, notes: &Notes, stopping: &AtomicBool) {
    let mut config = config(address);
    config.set("group.id", "unused").set("enable.auto.commit", "false").set("check.crcs", "true");
    config.set("isolation.level", "read_committed").set("fetch.message.max.bytes", "5000");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut all = TopicPartitionList::new();
    for (topic, partition) in PLACES {
        all.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&all).unwrap();
    while !stopping.load(Ordering::SeqCst) {
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) else { continue };
        let (at, offset) = (place(message.topic(), message.partition()), message.offset());
        let value = Value::of_record(message.key(), message.payload());
        notes.note(Event::Polled { reader: name, at, offset, value });
    }
}
