//! One transactional id: a pure state machine (Kafka's `TransactionMetadata` and `TransactionCoordinator`, KIP-98,
//! KIP-360, KIP-890).
//!
//! ```text
//!            Init                 Join, batch, offsets               End
//! (nothing) ──────► Empty ──────────────────────────────► Ongoing ─────────► CompleteCommit, CompleteAbort
//!                     ▲                                      ▲                       │         │
//!                     └──────────────── Init ────────────────┼───────────────────────┘         │
//!                                                            └────────── Join, batch ──────────┘
//! ```
//!
//! The end of a transaction is one command, so Kafka's states PrepareCommit and PrepareAbort do not exist.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::command::Refusal;
use super::weight::{allocated, entry, text};
use crate::types::{Offset, ProducerEpoch, ProducerId, SharedMap, Timestamp, TopicPartition, TransactionEnd};

/// The last epoch that a client gets. The marker of its end has the next one, and then comes a new producer id.
const LAST_EPOCH: ProducerEpoch = ProducerEpoch(i16::MAX - 1);

/// Kafka's names of the states, which are case-sensitive. Transactions here are only in some of them.
pub const STATE_NAMES: [&str; 8] = [
    "Empty",
    "Ongoing",
    "PrepareCommit",
    "PrepareAbort",
    "CompleteCommit",
    "CompleteAbort",
    "Dead",
    "PrepareEpochFence",
];

/// A producer id with an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducerAt {
    pub id: ProducerId,
    pub epoch: ProducerEpoch,
}

/// The state of a transactional id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transaction {
    /// The producer that may use the id.
    pub producer: ProducerAt,
    /// The producer id before the present one, if that was used up.
    pub(super) previous_id: Option<ProducerId>,
    /// The epoch before the last bump, with which a client may repeat the request that bumped it.
    pub(super) last_epoch: Option<ProducerEpoch>,
    /// In milliseconds.
    pub timeout_ms: i32,
    /// The transaction is ended only by its producer, never by time (KIP-939).
    pub two_phase: bool,
    pub phase: Phase,
    /// The start of the last transaction; `None` if there was none since the last InitProducerId.
    pub started: Option<Timestamp>,
    /// The time of the last change.
    pub updated: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Phase {
    /// No transaction since the last InitProducerId.
    Empty,
    Ongoing(Ongoing),
    /// The last transaction has ended.
    Complete(TransactionEnd),
}

/// An open transaction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "StoredOngoing")]
pub struct Ongoing {
    /// The position of the entry that opened it.
    pub began: u64,
    /// Its partitions, each with the offset of the first record; `None` if it has none.
    pub partitions: SharedMap<TopicPartition, Option<Offset>>,
    /// The groups that it may commit offsets of.
    pub groups: SharedMap<Arc<str>, ()>,
    /// The memory of the groups.
    #[serde(skip)]
    group_bytes: usize,
}

/// An open transaction as a snapshot has it.
#[derive(Deserialize)]
struct StoredOngoing {
    began: u64,
    partitions: SharedMap<TopicPartition, Option<Offset>>,
    groups: SharedMap<Arc<str>, ()>,
}

impl From<StoredOngoing> for Ongoing {
    fn from(StoredOngoing { began, partitions, groups }: StoredOngoing) -> Ongoing {
        let group_bytes = groups.keys().map(|group| weigh_group(group)).sum();
        Ongoing { began, partitions, groups, group_bytes }
    }
}

fn weigh_group(name: &str) -> usize {
    entry::<Arc<str>, ()>() + text(name)
}

impl Ongoing {
    /// A partition that has records of the transaction.
    pub fn first_written(&self) -> Option<TopicPartition> {
        self.partitions.iter().find_map(|(partition, first)| first.map(|_| *partition))
    }

    pub(super) fn add_group(&mut self, group: &str) {
        if !self.groups.contains_key(group) {
            self.groups.insert_mut(group.into(), ());
            self.group_bytes += weigh_group(group);
        }
    }
}

/// The requester of an end. It decides the epoch of the markers and the next epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndedBy {
    /// EndTxn up to version 4: the epoch stays.
    Client,
    /// EndTxn from version 5 on: each end begins a new epoch (KIP-890).
    ClientWithNewEpoch,
    /// The transaction was open for too long. Its producer is fenced.
    Timeout,
}

/// The decision on InitProducerId.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Init {
    /// The request is a repetition: the epoch stays.
    SameEpoch,
    NewEpoch {
        last: Option<ProducerEpoch>,
    },
    /// The epochs of the producer id are used up.
    NewId {
        last: Option<ProducerEpoch>,
    },
    /// A transaction is open and has to be aborted first.
    Abort(Ending),
}

/// The decision on the end of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The request is a repetition: nothing changes.
    Repeated(ProducerAt),
    Now(Ending),
}

/// The epochs of an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    /// The producer of the markers.
    pub marker: ProducerAt,
    pub next: Next,
}

/// The producer after the end of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Same,
    NewEpoch(ProducerEpoch),
    NewId,
}

impl Transaction {
    pub(super) fn new(producer: ProducerId, timeout_ms: i32, two_phase: bool, now: Timestamp) -> Transaction {
        Transaction {
            producer: ProducerAt { id: producer, epoch: ProducerEpoch(0) },
            previous_id: None,
            last_epoch: None,
            timeout_ms,
            two_phase,
            phase: Phase::Empty,
            started: None,
            updated: now,
        }
    }

    pub fn ongoing(&self) -> Option<&Ongoing> {
        match &self.phase {
            Phase::Ongoing(ongoing) => Some(ongoing),
            Phase::Empty | Phase::Complete(_) => None,
        }
    }

    pub fn is_open(&self) -> bool {
        self.ongoing().is_some()
    }

    /// Kafka's name of the state.
    pub fn state_name(&self) -> &'static str {
        match self.phase {
            Phase::Empty => "Empty",
            Phase::Ongoing(_) => "Ongoing",
            Phase::Complete(TransactionEnd::Commit) => "CompleteCommit",
            Phase::Complete(TransactionEnd::Abort) => "CompleteAbort",
        }
    }

    /// The memory of the transaction under this id.
    pub(super) fn weigh(&self, id: &str) -> usize {
        let open = self.ongoing().map_or(0, |ongoing| {
            ongoing.partitions.size() * entry::<TopicPartition, Option<Offset>>() + ongoing.group_bytes
        });
        allocated(size_of::<Transaction>() + 16)
            + text(id)
            + entry::<Arc<str>, Arc<Transaction>>()
            + 2 * entry::<ProducerId, Arc<str>>()
            + open
    }

    /// Decides InitProducerId. `known` is the producer that the client knows from before.
    pub(super) fn init(&self, known: Option<ProducerAt>) -> Result<Init, Refusal> {
        let may_know = |known: ProducerAt| {
            known.id == self.producer.id || Some(known.id) == self.previous_id && known.epoch >= LAST_EPOCH
        };
        if known.is_some_and(|known| !may_know(known)) {
            return Err(Refusal::ProducerFenced);
        }
        if self.is_open() {
            return Ok(Init::Abort(self.fence()));
        }
        let ProducerAt { epoch, .. } = self.producer;
        let is_current = known.is_none_or(|known| known.epoch == epoch);
        let last = known.map(|known| known.epoch);
        match () {
            () if is_current && epoch >= LAST_EPOCH => Ok(Init::NewId { last }),
            () if is_current => Ok(Init::NewEpoch { last }),
            () if last == self.last_epoch => Ok(Init::SameEpoch),
            () => Err(Refusal::ProducerFenced),
        }
    }

    /// Decides EndTxn, or an end by the broker.
    pub(super) fn end(&self, producer: ProducerAt, end: TransactionEnd, by: EndedBy) -> Result<End, Refusal> {
        let is_complete = matches!(self.phase, Phase::Complete(_));
        let is_overflow_again = is_complete
            && Some(producer.id) == self.previous_id
            && producer.epoch == LAST_EPOCH
            && self.producer.epoch == ProducerEpoch(0);
        let bumps = match by {
            EndedBy::Client => false,
            EndedBy::ClientWithNewEpoch => true,
            EndedBy::Timeout => {
                let is_same = producer == self.producer && self.is_open();
                return if is_same { Ok(End::Now(self.fence())) } else { Err(Refusal::ProducerFenced) };
            }
        };
        if producer.id != self.producer.id && !(bumps && is_overflow_again) {
            return Err(Refusal::UnknownTransactionalId);
        }
        // The client repeats an end that has begun the present epoch.
        let is_again = bumps
            && is_complete
            && producer.epoch >= ProducerEpoch(0)
            && (is_overflow_again || next_epoch(producer.epoch) == Some(self.producer.epoch));
        if producer != self.producer && !is_again {
            return Err(Refusal::ProducerFenced);
        }
        match &self.phase {
            Phase::Ongoing(_) if bumps => Ok(End::Now(self.bump())),
            Phase::Ongoing(_) => Ok(End::Now(Ending { marker: self.producer, next: Next::Same })),
            Phase::Complete(ended) if is_again || !bumps => {
                if *ended == end {
                    Ok(End::Repeated(self.producer))
                } else {
                    Err(Refusal::InvalidTransactionState)
                }
            }
            // An abort in the new protocol may find nothing to abort. It begins a new epoch nevertheless.
            Phase::Empty | Phase::Complete(_) if bumps && end == TransactionEnd::Abort => {
                Ok(End::Now(self.bump()))
            }
            Phase::Empty | Phase::Complete(_) => Err(Refusal::InvalidTransactionState),
        }
    }

    /// Whether the partition was added to the open transaction.
    pub fn has(&self, partition: &TopicPartition) -> bool {
        self.ongoing().is_some_and(|open| open.partitions.contains_key(partition))
    }

    /// Whether the group was added to the open transaction.
    pub fn has_group(&self, group: &str) -> bool {
        self.ongoing().is_some_and(|open| open.groups.contains_key(group))
    }

    /// Whether the id was not used since then, and has no open transaction.
    pub fn is_idle_since(&self, since: Timestamp) -> bool {
        !self.is_open() && self.updated < since
    }

    /// Checks the producer of a request that belongs to a transaction.
    pub fn check(&self, producer: ProducerAt) -> Result<(), Refusal> {
        if producer.id != self.producer.id {
            Err(Refusal::UnknownTransactionalId)
        } else if producer.epoch != self.producer.epoch {
            Err(Refusal::ProducerFenced)
        } else {
            Ok(())
        }
    }

    /// The epochs of an abort that fences the producer.
    fn fence(&self) -> Ending {
        let bumped = next_epoch(self.producer.epoch).filter(|_| !cfg!(feature = "bug-same-epoch"));
        let epoch = bumped.unwrap_or(self.producer.epoch);
        Ending { marker: ProducerAt { epoch, ..self.producer }, next: Next::NewEpoch(epoch) }
    }

    /// The epochs of an end that begins a new epoch.
    fn bump(&self) -> Ending {
        let Ending { marker, next } = self.fence();
        let next = if self.producer.epoch >= LAST_EPOCH { Next::NewId } else { next };
        Ending { marker, next }
    }

    /// Ends the transaction. `new_id` is a producer id that was never used, if [`Next::NewId`] needs one.
    pub(super) fn complete(
        &mut self,
        ending: Ending,
        end: TransactionEnd,
        new_id: ProducerId,
        now: Timestamp,
    ) {
        // As in Kafka, the abort of nothing counts as a transaction of no length.
        if !self.is_open() {
            self.started = Some(now);
        }
        match ending.next {
            Next::Same => {}
            Next::NewEpoch(epoch) => {
                self.last_epoch = Some(self.producer.epoch);
                self.producer.epoch = epoch;
            }
            Next::NewId => self.take_id(new_id, Some(self.producer.epoch)),
        }
        self.phase = Phase::Complete(end);
        self.updated = now;
    }

    /// A client starts, and no transaction is open. `new_id` is a producer id that was never used.
    pub(super) fn restart(&mut self, init: Init, new_id: ProducerId, now: Timestamp) {
        match init {
            Init::SameEpoch | Init::Abort(_) => {}
            Init::NewEpoch { last } => {
                self.last_epoch = last;
                self.producer.epoch = next_epoch(self.producer.epoch).unwrap_or(self.producer.epoch);
            }
            Init::NewId { last } => self.take_id(new_id, last),
        }
        (self.phase, self.started, self.updated) = (Phase::Empty, None, now);
    }

    fn take_id(&mut self, id: ProducerId, last: Option<ProducerEpoch>) {
        self.previous_id = Some(self.producer.id);
        self.last_epoch = last;
        self.producer = ProducerAt { id, epoch: ProducerEpoch(0) };
    }

    /// The open transaction, which begins now if there is none. `position` is that of the entry.
    pub(super) fn opened(&mut self, position: u64, now: Timestamp) -> &mut Ongoing {
        self.updated = now;
        if !self.is_open() {
            self.started = Some(now);
            let (partitions, groups) = (SharedMap::default(), SharedMap::default());
            self.phase = Phase::Ongoing(Ongoing { began: position, partitions, groups, group_bytes: 0 });
        }
        match &mut self.phase {
            Phase::Ongoing(ongoing) => ongoing,
            Phase::Empty | Phase::Complete(_) => unreachable!("it was just opened"),
        }
    }
}

fn next_epoch(epoch: ProducerEpoch) -> Option<ProducerEpoch> {
    epoch.0.checked_add(1).map(ProducerEpoch)
}
