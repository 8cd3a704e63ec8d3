//! Transactional clients that send exactly their requests. They speak version 2 of the protocol (KIP-890) or
//! version 1, meet zombies, start anew in the middle of a transaction, and abandon some for their timeout.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jackdaw::api::error::ErrorCode;
use jackdaw::protocol::Request;
use jackdaw::protocol::messages::add_offsets_to_txn_request::AddOffsetsToTxnRequest;
use jackdaw::protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnTopic,
};
use jackdaw::protocol::messages::add_partitions_to_txn_response::AddPartitionsToTxnResponse;
use jackdaw::protocol::messages::end_txn_request::EndTxnRequest;
use jackdaw::protocol::messages::init_producer_id_request::InitProducerIdRequest;
use jackdaw::protocol::messages::offset_fetch_request::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use jackdaw::protocol::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use jackdaw::protocol::messages::produce_response::ProduceResponse;
use jackdaw::protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use jackdaw::protocol::messages::txn_offset_commit_response::TxnOffsetCommitResponse;
use jackdaw::record::{BatchBuilder, Producer};
use jackdaw::time::Clock;
use jackdaw::types::{ProducerEpoch, ProducerId, Timestamp};

use super::checker::{End, Event, Identity, Transaction};
use super::notes::Notes;
use super::{ABANDONED, PLACES, group_of, legs};
use crate::DEADLINE;
use crate::checker::Place;
use crate::raw::Raw;
use crate::value::{Random, Value};

/// A connection that is made again after an error.
pub struct Link {
    address: String,
    socket: Option<Raw>,
}

impl Link {
    pub fn to(address: &str) -> Link {
        Link { address: address.to_owned(), socket: None }
    }

    /// An error means that the broker is gone: the request may have been carried out or not.
    pub fn call<R: Request>(&mut self, version: i16, request: &R) -> io::Result<R::Response> {
        let mut socket = match self.socket.take() {
            Some(socket) => socket,
            None => Raw::of(&self.address)?,
        };
        let answer = socket.call(version, request)?;
        self.socket = Some(socket);
        Ok(answer)
    }

    /// Repeats a request until its answer is not "ask again".
    pub fn ask<R: Request>(
        &mut self,
        notes: &Notes,
        version: i16,
        request: &R,
        code: impl Fn(&R::Response) -> i16,
    ) -> R::Response {
        let clock = Clock::machine();
        let give_up = clock.monotonic() + DEADLINE;
        loop {
            let answer = self.call(version, request);
            let got = answer.as_ref().map(&code);
            match answer {
                Ok(answer) if !asks_again(code(&answer)) => return answer,
                _ if clock.monotonic() > give_up => {
                    notes.broken(format!("H22: key {} has no answer: {got:?}", R::KEY));
                }
                _ => {}
            }
            notes.wait_or_quit(Duration::from_millis(5));
        }
    }
}

fn is(code: i16, error: ErrorCode) -> bool {
    code == error.code()
}

/// The request was not carried out, and the same request may succeed later.
fn asks_again(code: i16) -> bool {
    const LATER: [ErrorCode; 8] = [
        ErrorCode::NotCoordinator,
        ErrorCode::CoordinatorNotAvailable,
        ErrorCode::CoordinatorLoadInProgress,
        ErrorCode::ConcurrentTransactions,
        ErrorCode::UnstableOffsetCommit,
        ErrorCode::NotLeaderOrFollower,
        ErrorCode::UnknownTopicOrPartition,
        ErrorCode::RequestTimedOut,
    ];
    LATER.iter().any(|later| is(code, *later))
}

/// The transaction has ended without its client.
fn is_lost(code: i16) -> bool {
    const LOST: [ErrorCode; 3] =
        [ErrorCode::InvalidTxnState, ErrorCode::ProducerFenced, ErrorCode::InvalidProducerEpoch];
    LOST.iter().any(|lost| is(code, *lost))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    V1,
    V2,
}

/// The versions of the requests.
struct Versions {
    init: i16,
    produce: i16,
    offsets: i16,
    end: i16,
}

impl Protocol {
    fn versions(self) -> Versions {
        match self {
            Protocol::V1 => Versions { init: 4, produce: 11, offsets: 3, end: 4 },
            Protocol::V2 => Versions { init: 5, produce: 12, offsets: 5, end: 5 },
        }
    }
}

/// The version of AddPartitionsToTxn and AddOffsetsToTxn, which only clients of version 1 send.
const ADD: i16 = 3;

fn code_of_add(answer: &AddPartitionsToTxnResponse) -> i16 {
    answer.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code
}

fn code_of_produce(answer: &ProduceResponse) -> i16 {
    answer.responses[0].partition_responses[0].error_code
}

fn code_of_offsets(answer: &TxnOffsetCommitResponse) -> i16 {
    answer.topics[0].partitions[0].error_code
}

pub struct Client {
    name: u32,
    protocol: Protocol,
    notes: Arc<Notes>,
    link: Link,
    id: String,
    timeout_ms: i32,
    identity: Identity,
    /// The next sequence in each partition.
    sequences: BTreeMap<Place, i32>,
    transactions: u32,
    records: u32,
    zombies: u64,
    /// After an abort in version 1 it sends its next records with the sequences of the aborted ones, as a client may
    /// whose records of the aborted transaction were not all acknowledged. Apache Kafka takes them for duplicates.
    pub reuses_sequences: bool,
    /// The sequences at the beginning of the transaction.
    before: BTreeMap<Place, i32>,
}

impl Client {
    pub fn new(name: u32, protocol: Protocol, address: &str, notes: &Arc<Notes>) -> Client {
        Client {
            name,
            protocol,
            notes: Arc::clone(notes),
            link: Link::to(address),
            id: format!("transactions-{name}"),
            timeout_ms: 600_000,
            identity: Identity { producer: -1, epoch: -1 },
            sequences: BTreeMap::new(),
            transactions: 0,
            records: 0,
            zombies: 0,
            reuses_sequences: false,
            before: BTreeMap::new(),
        }
    }

    /// Moves money between accounts.
    pub fn transfer(mut self, random: &mut Random, stopping: &AtomicBool) {
        self.take_over();
        while !stopping.load(Ordering::SeqCst) {
            let transaction = self.next();
            for (to, amount) in legs(random) {
                self.send(transaction, to, amount, random);
            }
            if random.below(3) == 0 {
                self.stage(transaction);
                // The offset is not visible before the commit.
                look_at_offset(&mut self.link, &self.notes, self.name, 0, random.below(2) == 0);
            }
            match random.below(100) {
                0..5 => self.end(transaction, End::Abort, random),
                5..8 => self.meet_zombie(transaction, random),
                8..10 => self.start_anew(transaction),
                _ => self.end(transaction, End::Commit, random),
            }
            if random.below(10) == 0 {
                look_at_offset(&mut self.link, &self.notes, self.name, 0, true);
            }
        }
    }

    /// Begins transactions that the broker has to abort after their timeout, and tries to commit some of them
    /// at that moment.
    pub fn abandon(mut self, random: &mut Random, stopping: &AtomicBool) {
        self.timeout_ms = 300;
        while !stopping.load(Ordering::SeqCst) {
            self.id = format!("abandoned-{}-{}", self.name, self.transactions);
            self.take_over_as_someone_else();
            let transaction = self.next();
            if !self.send(transaction, ABANDONED, 0, random) {
                self.notes.note(Event::Over { transaction });
                continue;
            }
            if random.below(2) == 0 {
                let around = Duration::from_millis(200) + random.duration(Duration::from_millis(200));
                self.notes.wait_or_quit(around);
                self.end(transaction, End::Commit, random);
            } else {
                super::reader::wait_until_stable(&mut self.link, &self.notes, ABANDONED);
                self.notes.note(Event::Over { transaction });
            }
        }
    }

    fn next(&mut self) -> Transaction {
        let transaction = Transaction { client: self.name, number: self.transactions };
        self.transactions += 1;
        self.before.clone_from(&self.sequences);
        transaction
    }

    /// Requests an identity as a process that has just started.
    fn take_over(&mut self) {
        self.take_over_as_someone_else();
        self.notes.note(Event::Took { client: self.name, identity: self.identity });
    }

    fn take_over_as_someone_else(&mut self) {
        let request = InitProducerIdRequest {
            transactional_id: Some(self.id.clone()),
            transaction_timeout_ms: self.timeout_ms,
            producer_id: -1,
            producer_epoch: -1,
            ..Default::default()
        };
        let version = self.protocol.versions().init;
        let answer = self.link.ask(&self.notes, version, &request, |answer| answer.error_code);
        self.holds(answer.error_code == 0, || format!("InitProducerId: {answer:?}"));
        self.identity = Identity { producer: answer.producer_id, epoch: answer.producer_epoch };
        self.sequences.clear();
    }

    /// The process restarts in the middle of a transaction.
    fn start_anew(&mut self, transaction: Transaction) {
        self.take_over();
        self.notes.note(Event::Over { transaction });
    }

    /// Another process takes over the transactional id, and this one continues for a while.
    fn meet_zombie(&mut self, transaction: Transaction, random: &mut Random) {
        let before = (self.identity, self.sequences.clone());
        self.start_anew(transaction);
        let after = (self.identity, std::mem::take(&mut self.sequences));
        (self.identity, self.sequences) = before;
        let (to, amount) = legs(random)[0];
        let value = self.sent(transaction, to, amount);
        let produce = self.produce(value, to, random);
        let offsets = self.offsets(i64::MAX);
        let (commit, add) = (self.ending(End::Commit), self.adding(to));
        let versions = self.protocol.versions();
        if self.protocol == Protocol::V1 {
            self.as_zombie(|link| Ok(code_of_add(&link.call(ADD, &add)?)));
        }
        self.as_zombie(|link| Ok(code_of_produce(&link.call(versions.produce, &produce)?)));
        self.as_zombie(|link| Ok(code_of_offsets(&link.call(versions.offsets, &offsets)?)));
        self.as_zombie(|link| Ok(link.call(versions.end, &commit)?.error_code));
        (self.identity, self.sequences) = after;
    }

    /// Sends a request of the replaced identity once.
    fn as_zombie(&mut self, act: impl FnOnce(&mut Link) -> io::Result<i16>) {
        let request = u64::from(self.name) << 32 | self.zombies;
        self.zombies += 1;
        self.notes.note(Event::Acting { client: self.name, identity: self.identity, request });
        if act(&mut self.link).is_ok_and(|code| code == 0) {
            self.notes.note(Event::Acted { request });
        }
    }

    fn sent(&mut self, transaction: Transaction, to: Place, amount: i64) -> Value {
        let value = Value { producer: self.name, seq: self.records };
        self.records += 1;
        self.notes.note(Event::Sent { transaction, value, to, amount, from: None });
        value
    }

    /// Sends a record until it is acknowledged. `false` if the transaction has ended without its client.
    fn send(&mut self, transaction: Transaction, to: Place, amount: i64, random: &mut Random) -> bool {
        let is_abandoned = to == ABANDONED;
        if self.protocol == Protocol::V1 {
            let code = code_of_add(&self.link.ask(&self.notes, ADD, &self.adding(to), code_of_add));
            if is_abandoned && is_lost(code) {
                return false;
            }
            self.holds(code == 0, || format!("AddPartitionsToTxn: {code}"));
        }
        let value = self.sent(transaction, to, amount);
        let produce = self.produce(value, to, random);
        let version = self.protocol.versions().produce;
        let answer = self.link.ask(&self.notes, version, &produce, code_of_produce);
        let answer = &answer.responses[0].partition_responses[0];
        if is_abandoned && answer.error_code != 0 {
            return false;
        }
        self.holds(answer.error_code == 0, || format!("Produce: {answer:?}"));
        *self.sequences.entry(to).or_default() += 1;
        self.notes.note(Event::Acked { value, at: to, offset: answer.base_offset });
        true
    }

    fn produce(&self, value: Value, to: Place, random: &mut Random) -> ProduceRequest {
        let Identity { producer, epoch } = self.identity;
        let base_sequence = self.sequences.get(&to).copied().unwrap_or(0);
        let producer = Producer { id: ProducerId(producer), epoch: ProducerEpoch(epoch), base_sequence };
        let time = Timestamp(Clock::machine().now().0);
        let bytes = value.bytes(20 + random.below(1_000));
        let batch = BatchBuilder::new().producer(producer).transactional();
        let batch = batch.record(time, Some(&value.key()), Some(&bytes), &[]).build();
        let (topic, index) = PLACES[to];
        ProduceRequest {
            transactional_id: Some(self.id.clone()),
            acks: -1,
            timeout_ms: 10_000,
            topic_data: vec![TopicProduceData {
                name: topic.to_owned(),
                partition_data: vec![PartitionProduceData { index, records: Some(batch.into()) }],
                ..Default::default()
            }],
        }
    }

    fn adding(&self, to: Place) -> AddPartitionsToTxnRequest {
        let (topic, partition) = PLACES[to];
        AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: self.id.clone(),
            v3_and_below_producer_id: self.identity.producer,
            v3_and_below_producer_epoch: self.identity.epoch,
            v3_and_below_topics: vec![AddPartitionsToTxnTopic {
                name: topic.to_owned(),
                partitions: vec![partition],
            }],
            ..Default::default()
        }
    }

    /// Commits the number of the transaction as an offset of the client's group.
    fn stage(&mut self, transaction: Transaction) {
        if self.protocol == Protocol::V1 {
            let add = AddOffsetsToTxnRequest {
                transactional_id: self.id.clone(),
                producer_id: self.identity.producer,
                producer_epoch: self.identity.epoch,
                group_id: group_of(self.name),
            };
            let code = self.link.ask(&self.notes, ADD, &add, |answer| answer.error_code).error_code;
            self.holds(code == 0, || format!("AddOffsetsToTxn: {code}"));
        }
        let offset = i64::from(transaction.number);
        self.notes.note(Event::Staged { transaction, at: 0, offset });
        let (offsets, version) = (self.offsets(offset), self.protocol.versions().offsets);
        let code = code_of_offsets(&self.link.ask(&self.notes, version, &offsets, code_of_offsets));
        self.holds(code == 0, || format!("TxnOffsetCommit: {code}"));
    }

    fn offsets(&self, committed_offset: i64) -> TxnOffsetCommitRequest {
        let (topic, partition_index) = PLACES[0];
        let partition = TxnOffsetCommitRequestPartition {
            partition_index,
            committed_offset,
            committed_leader_epoch: -1,
            ..Default::default()
        };
        TxnOffsetCommitRequest {
            transactional_id: self.id.clone(),
            group_id: group_of(self.name),
            producer_id: self.identity.producer,
            producer_epoch: self.identity.epoch,
            generation_id_or_member_epoch: -1,
            topics: vec![TxnOffsetCommitRequestTopic {
                name: topic.to_owned(),
                partitions: vec![partition],
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    fn ending(&self, end: End) -> EndTxnRequest {
        EndTxnRequest {
            transactional_id: self.id.clone(),
            producer_id: self.identity.producer,
            producer_epoch: self.identity.epoch,
            committed: end == End::Commit,
        }
    }

    /// Repeats EndTxn until it is answered; sometimes the process restarts instead and never gets to know.
    fn end(&mut self, transaction: Transaction, end: End, random: &mut Random) {
        let request = self.ending(end);
        let version = self.protocol.versions().end;
        let abandons = self.timeout_ms < 1_000;
        self.notes.note(Event::Ending { transaction, end });
        loop {
            match self.link.call(version, &request) {
                Ok(answer) if answer.error_code == 0 => {
                    if self.protocol == Protocol::V2 {
                        let (producer, epoch) = (answer.producer_id, answer.producer_epoch);
                        self.identity = Identity { producer, epoch };
                        self.sequences.clear();
                    }
                    if self.protocol == Protocol::V1 && end == End::Abort && self.reuses_sequences {
                        self.sequences.clone_from(&self.before);
                    }
                    if self.protocol == Protocol::V2 && !abandons {
                        self.notes.note(Event::Took { client: self.name, identity: self.identity });
                    }
                    return self.notes.note(Event::Ended { transaction, end });
                }
                Ok(answer) if abandons && is_lost(answer.error_code) => {
                    return self.notes.note(Event::Ended { transaction, end: End::Abort });
                }
                Ok(answer) => {
                    let code = answer.error_code;
                    self.holds(asks_again(code), || format!("EndTxn {end:?} of {transaction:?}: {code}"));
                }
                Err(_) if !abandons && random.below(2) == 0 => return self.start_anew(transaction),
                Err(_) => {}
            }
            self.notes.wait_or_quit(Duration::from_millis(5));
        }
    }

    fn holds(&self, is_so: bool, what: impl FnOnce() -> String) {
        if !is_so {
            self.notes.broken(format!("client {} ({:?}): {}", self.name, self.protocol, what()));
            self.notes.wait_or_quit(Duration::ZERO);
        }
    }
}

/// Requests a committed offset of a client's group.
pub fn look_at_offset(link: &mut Link, notes: &Notes, group: u32, at: Place, require_stable: bool) {
    let (topic, index) = PLACES[at];
    let topics = vec![OffsetFetchRequestTopics {
        name: topic.into(),
        partition_indexes: vec![index],
        ..Default::default()
    }];
    let asked =
        OffsetFetchRequestGroup { group_id: group_of(group), topics: Some(topics), ..Default::default() };
    let request = OffsetFetchRequest { groups: vec![asked], require_stable, ..Default::default() };
    notes.note(Event::AskedForOffset { group, at });
    let Ok(answer) = link.call(8, &request) else { return };
    let answer = &answer.groups[0];
    let found = answer.topics.first().map(|topic| &topic.partitions[0]);
    let Some(found) = found.filter(|found| answer.error_code == 0 && found.error_code == 0) else { return };
    let offset = Some(found.committed_offset).filter(|offset| *offset >= 0);
    notes.note(Event::FoundOffset { group, at, offset });
}
